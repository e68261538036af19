/* Calls on their way, whatever the way: waiting, slots, replies, time. See callback_private.h. */
#include "nfsd/callback/callback_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/random.h"
#include "nfsd/callback/callbacks.h"
#include "nfsd/callback/waiters.h"
#include "nfsd/server_private.h"

/* An answer is awaited a third of the lease, within these. */
#define TIMEOUT_MOST  (10 * NS_PER_SEC)
#define TIMEOUT_LEAST (2 * NS_PER_SEC)

static void kick(struct callbacks *cb) REQUIRES(&cb->lock)
{
	cb->kicked = true;
	cond_signal(&cb->wake);
}

void callbacks_kick(struct callbacks *cb)
{
	mutex_lock(&cb->lock);
	kick(cb);
	mutex_unlock(&cb->lock);
}

struct waiters *callbacks_waiters(struct callbacks *cb)
{
	return cb->waiters;
}

/* ---- finishing calls ---- */

static void finish_call(struct callbacks *cb, struct callback_call *call,
			enum callback_outcome outcome) REQUIRES(&cb->lock)
{
	call->outcome = outcome;
	list_remove(&call->link);
	list_remove(&call->by_deadline);
	list_push_back(&cb->finished, &call->link);
	kick(cb);
}

/* Without memory for it the result is empty, which is no answer to anything that has one. */
static void keep_body(struct callback_call *call, const struct xdr_in *body)
{
	size_t len = xdr_in_left(body);

	call->body = len ? malloc(len) : NULL;
	if (call->body)
		memcpy(call->body, body->p, len);
	xdr_in_init(&call->result, call->body, call->body ? len : 0);
}

void slot_answered(struct callbacks *cb, struct cb_slot *slot, enum nfsstat4 status,
		   const struct xdr_in *body)
{
	struct callback_call *call = slot->call;

	slot_release(cb, slot);
	if (!call)
		return;
	call->status = status;
	keep_body(call, body);
	finish_call(cb, call, CALLBACK_ANSWERED);
}

/* Calls done() of all that are finished; takes the lock away meanwhile. */
static void run_finished(struct callbacks *cb) REQUIRES(&cb->lock)
{
	while (!list_empty(&cb->finished)) {
		struct callback_call *call =
		    list_first(&cb->finished, struct callback_call, link);
		uint8_t *body = call->body;

		list_remove(&call->link);
		mutex_unlock(&cb->lock);
		call->done(call);
		free(body);
		mutex_lock(&cb->lock);
	}
}

/* ---- slots ---- */

static void unlink_sending(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock)
{
	if (!slot->conn_id)
		return;
	table_remove(&cb->xids, &slot->by_xid);
	list_remove(&slot->in_flight);
	slot->conn_id = 0;
	slot->overdue = false;
}

void slot_release(struct callbacks *cb, struct cb_slot *slot)
{
	unlink_sending(cb, slot);
	slot->busy = false;
	slot->call = NULL;
	slot->tries = 0;
	slot->due_ns = 0;
}

void slot_unsend(struct callbacks *cb, struct cb_slot *slot, uint64_t due)
{
	unlink_sending(cb, slot);
	slot->due_ns = due;
}

void slot_requeue(struct callbacks *cb, struct cb_slot *slot)
{
	struct callback_call *call = slot->call;

	slot_release(cb, slot);
	if (call)
		list_push_front(&slot->channel->client->waiting, &call->link);
}

static struct cb_slot *free_slot(struct channel *ch)
{
	for (uint32_t i = 0; i < ch->nslots; i++) {
		if (!ch->slots[i].busy)
			return &ch->slots[i];
	}
	return NULL;
}

/* Sends what is on the slot. */
static int slot_send(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock)
{
	bool v40 = slot->channel->client->v40;
	int err;

	slot->xid = ++cb->next_xid;
	err = v40 ? address_send(cb, slot) : session_send(cb, slot);
	if (err)
		return err;
	slot->deadline_ns = clock_mono_ns() + cb->timeout_ns;
	table_insert(&cb->xids, &slot->by_xid, hash_u64(slot->xid));
	list_push_back(&cb->inflight, &slot->in_flight);
	if (slot->call)
		slot->call->sent = true;
	kick(cb);
	return 0;
}

static struct cb_slot *slot_by_xid(struct callbacks *cb, uint32_t xid) REQUIRES(&cb->lock)
{
	struct table_node *n;

	table_for_each(n, &cb->xids, hash_u64(xid))
	{
		struct cb_slot *slot = container_of(n, struct cb_slot, by_xid);

		if (slot->xid == xid)
			return slot;
	}
	return NULL;
}

/* ---- channels ---- */

void channel_wake_at(struct callbacks *cb, struct channel *ch, uint64_t when)
{
	if (ch->wake_ns && ch->wake_ns <= when)
		return;
	ch->wake_ns = when;
	list_remove(&ch->in_wakeful);
	list_push_back(&cb->wakeful, &ch->in_wakeful);
	kick(cb);
}

static bool probing(const struct channel *ch)
{
	for (uint32_t i = 0; i < ch->nslots; i++) {
		const struct cb_slot *slot = &ch->slots[i];

		if (slot->busy && !slot->call && !slot->overdue)
			return true;
	}
	return false;
}

void channel_probe(struct callbacks *cb, struct channel *ch)
{
	struct cb_slot *slot = probing(ch) ? NULL : free_slot(ch);

	if (!slot)
		return;
	slot->busy = true;
	if (slot_send(cb, slot) != 0)
		slot_release(cb, slot);
}

void channel_call_null(struct callbacks *cb, struct channel *ch)
{
	if (ch->null.busy || probing(ch))
		return;
	ch->null.busy = true;
	if (slot_send(cb, &ch->null) != 0)
		slot_release(cb, &ch->null);
}

/* Those whose connection has gone. */
static void send_again(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock)
{
	uint64_t now = clock_mono_ns();

	for (uint32_t i = 0; i < ch->nslots; i++) {
		struct cb_slot *slot = &ch->slots[i];

		if (!slot->busy || slot->conn_id)
			continue;
		if (slot->due_ns > now)
			channel_wake_at(cb, ch, slot->due_ns);
		else if (slot_send(cb, slot) == -EMSGSIZE)
			slot_requeue(cb, slot);
	}
}

/* The next waiting call onto a slot; false if there is none, or it cannot go. */
static bool send_next(struct callbacks *cb, struct cb_client *client, struct channel *ch)
    REQUIRES(&cb->lock)
{
	struct callback_call *call = list_first(&client->waiting, struct callback_call, link);
	struct cb_slot *slot = call ? free_slot(ch) : NULL;
	int err;

	if (!slot)
		return false;
	list_remove(&call->link);
	slot->busy = true;
	slot->call = call;
	err = slot_send(cb, slot);
	if (err == 0)
		return true;
	slot_requeue(cb, slot);
	if (err != -EMSGSIZE)
		return false;
	finish_call(cb, call, CALLBACK_NO_PATH);
	return true;
}

void client_pump(struct callbacks *cb, struct cb_client *client)
{
	struct channel *ch;

	list_for_each (ch, &client->channels, in_client) {
		bool usable = client->v40 ? address_usable(cb, ch) : session_usable(cb, ch);

		if (!client->v40)
			send_again(cb, ch);
		while (usable && send_next(cb, client, ch)) {
			/* and the next */
		}
	}
}

struct channel *channel_new(struct callbacks *cb, struct cb_client *client, uint32_t nslots)
{
	struct channel *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return NULL;
	ch->client = client;
	ch->nslots = nslots;
	list_init(&ch->in_wakeful);
	for (uint32_t i = 0; i < BACK_SLOTS_MAX; i++) {
		ch->slots[i].channel = ch;
		ch->slots[i].index = i;
		list_init(&ch->slots[i].in_flight);
	}
	ch->null.channel = ch;
	list_init(&ch->null.in_flight);
	list_push_back(&client->channels, &ch->in_client);
	return ch;
}

void channel_free(struct callbacks *cb, struct channel *ch)
{
	for (uint32_t i = ch->nslots; i-- > 0;) {
		if (ch->slots[i].busy)
			slot_requeue(cb, &ch->slots[i]);
	}
	slot_release(cb, &ch->null);
	address_close(cb, ch);
	list_remove(&ch->in_client);
	list_remove(&ch->in_wakeful);
	free(ch);
}

/* ---- clients ---- */

struct cb_client *client_find(struct callbacks *cb, uint64_t clientid)
{
	struct table_node *n;

	table_for_each(n, &cb->clients, hash_u64(clientid))
	{
		struct cb_client *client = container_of(n, struct cb_client, by_id);

		if (client->clientid == clientid)
			return client;
	}
	return NULL;
}

/*
 * Only for a client that the state machine has: the caller has seen that under our lock. If it goes,
 * the effect that says so comes later.
 */
struct cb_client *client_obtain(struct callbacks *cb, uint64_t clientid, bool v40)
{
	struct cb_client *client = client_find(cb, clientid);

	if (client)
		return client;
	client = calloc(1, sizeof(*client));
	if (!client)
		return NULL;
	client->clientid = clientid;
	client->v40 = v40;
	list_init(&client->channels);
	list_init(&client->waiting);
	list_push_back(&cb->all_clients, &client->in_all);
	table_insert(&cb->clients, &client->by_id, hash_u64(clientid));
	return client;
}

static void client_free(struct callbacks *cb, struct cb_client *client) REQUIRES(&cb->lock)
{
	while (!list_empty(&client->channels))
		channel_free(cb, list_first(&client->channels, struct channel, in_client));
	while (!list_empty(&client->waiting))
		finish_call(cb, list_first(&client->waiting, struct callback_call, link),
			    CALLBACK_GONE);
	table_remove(&cb->clients, &client->by_id);
	list_remove(&client->in_all);
	free(client);
}

void callbacks_client_gone(struct callbacks *cb, uint64_t clientid)
{
	struct cb_client *client;

	mutex_lock(&cb->lock);
	client = client_find(cb, clientid);
	if (client)
		client_free(cb, client);
	mutex_unlock(&cb->lock);
}

/* ---- connections ---- */

struct cb_conn *conn_find(struct callbacks *cb, uint64_t conn_id)
{
	struct table_node *n;

	table_for_each(n, &cb->conns, hash_u64(conn_id))
	{
		struct cb_conn *c = container_of(n, struct cb_conn, by_id);

		if (rpc_conn_id(c->conn) == conn_id)
			return c;
	}
	return NULL;
}

bool conn_register(struct callbacks *cb, struct rpc_conn *conn, struct channel *v40)
{
	struct cb_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	c->conn = rpc_conn_ref(conn);
	c->v40 = v40;
	table_insert(&cb->conns, &c->by_id, hash_u64(rpc_conn_id(conn)));
	return true;
}

void conn_forget(struct callbacks *cb, struct cb_conn *c)
{
	table_remove(&cb->conns, &c->by_id);
	rpc_conn_unref(c->conn);
	free(c);
}

/* What was sent over it to sessions and not answered is sent again over another, if there is one. */
static void slots_lost(struct callbacks *cb, struct list *slots, uint64_t conn_id)
    REQUIRES(&cb->lock)
{
	struct cb_slot *slot, *next;

	list_for_each_safe (slot, next, slots, in_flight) {
		if (slot->conn_id != conn_id)
			continue;
		if (slot == &slot->channel->null) {
			slot_release(cb, slot);
			continue;
		}
		slot_unsend(cb, slot, 0);
		channel_wake_at(cb, slot->channel, 1);
	}
}

void callbacks_conn_closed(struct callbacks *cb, struct rpc_conn *conn)
{
	uint64_t id = rpc_conn_id(conn);
	struct cb_conn *c;

	mutex_lock(&cb->lock);
	c = conn_find(cb, id);
	if (c) {
		struct channel *v40 = c->v40;

		conn_forget(cb, c);
		if (v40) {
			address_conn_lost(cb, v40);
		} else {
			slots_lost(cb, &cb->inflight, id);
			slots_lost(cb, &cb->overdue, id);
		}
	}
	mutex_unlock(&cb->lock);
}

void callbacks_reply(struct rpc_conn *conn, const void *bytes, size_t len, void *ctx)
{
	struct callbacks *cb = ctx;
	struct cb_slot *slot;
	struct xdr_in x;
	uint32_t xid;

	xdr_in_init(&x, bytes, len);
	if (!xdr_get_u32(&x, &xid))
		return;
	mutex_lock(&cb->lock);
	slot = slot_by_xid(cb, xid);
	/* Only who was asked may answer. */
	if (slot && slot->conn_id == rpc_conn_id(conn)) {
		if (slot->channel->client->v40)
			address_reply(cb, slot, &x);
		else
			session_reply(cb, slot, &x);
	}
	mutex_unlock(&cb->lock);
}

/* ---- calls ---- */

/* No way is known to be good: have those tried that there are. */
static void wake_channels(struct callbacks *cb, struct cb_client *client) REQUIRES(&cb->lock)
{
	struct channel *ch;

	list_for_each (ch, &client->channels, in_client) {
		if (!(client->v40 ? address_usable(cb, ch) : session_usable(cb, ch)))
			channel_wake_at(cb, ch, clock_mono_ns());
	}
}

/* Most have the usual time, and go to the end. */
static void insert_by_deadline(struct callbacks *cb, struct callback_call *call)
    REQUIRES(&cb->lock)
{
	struct list *behind = cb->calls.prev;

	while (behind != &cb->calls &&
	       list_entry(behind, struct callback_call, by_deadline)->deadline_ns >
		   call->deadline_ns)
		behind = behind->prev;
	list_insert_between(behind, &call->by_deadline, behind->next);
}

void callback_send(struct nfs_server *server, struct callback_call *call)
{
	struct callbacks *cb = server->callbacks;
	struct cb_client *client;

	call->sent = false;
	call->body = NULL;
	call->deadline_ns =
	    clock_mono_ns() + (call->timeout_ns && call->timeout_ns < cb->timeout_ns ? call->timeout_ns
										     : cb->timeout_ns);
	xdr_in_init(&call->result, NULL, 0);
	list_init(&call->link);
	list_init(&call->by_deadline);
	mutex_lock(&cb->lock);
	client = cb->stopping ? NULL : client_find(cb, call->clientid);
	if (!client && cb->rpc && !cb->stopping)
		client = address_restore(cb, call->clientid);
	if (client) {
		insert_by_deadline(cb, call);
		list_push_back(&client->waiting, &call->link);
		client_pump(cb, client);
		if (!call->sent)
			wake_channels(cb, client);
		kick(cb);
	} else {
		finish_call(cb, call, cb->stopping ? CALLBACK_GONE : CALLBACK_NO_PATH);
	}
	mutex_unlock(&cb->lock);
}

bool callback_path_up(struct nfs_server *server, uint64_t clientid)
{
	return state_callback_up(server->state, clientid);
}

/* ---- time ---- */

/* The slot goes on without its call. */
static void abandon(struct callbacks *cb, struct callback_call *call) REQUIRES(&cb->lock)
{
	struct cb_client *client = client_find(cb, call->clientid);
	struct channel *ch;

	if (!client)
		return;
	list_for_each (ch, &client->channels, in_client) {
		for (uint32_t i = 0; i < ch->nslots; i++) {
			if (ch->slots[i].call == call)
				ch->slots[i].call = NULL;
		}
	}
}

static uint64_t expire_calls(struct callbacks *cb, uint64_t now) REQUIRES(&cb->lock)
{
	struct callback_call *call;

	while ((call = list_first(&cb->calls, struct callback_call, by_deadline)) != NULL) {
		if (call->deadline_ns > now)
			return call->deadline_ns;
		abandon(cb, call);
		finish_call(cb, call, call->sent ? CALLBACK_TIMED_OUT : CALLBACK_NO_PATH);
	}
	return UINT64_MAX;
}

static uint64_t expire_slots(struct callbacks *cb, uint64_t now) REQUIRES(&cb->lock)
{
	struct cb_slot *slot;

	while ((slot = list_first(&cb->inflight, struct cb_slot, in_flight)) != NULL) {
		if (slot->deadline_ns > now)
			return slot->deadline_ns;
		list_remove(&slot->in_flight);
		list_push_back(&cb->overdue, &slot->in_flight);
		slot->overdue = true;
		if (slot->channel->client->v40)
			address_overdue(cb, slot);
		else
			session_overdue(cb, slot);
	}
	return UINT64_MAX;
}

static void awake(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock)
{
	list_remove(&ch->in_wakeful);
	ch->wake_ns = 0;
	if (ch->client->v40)
		address_awake(cb, ch);
	else
		session_awake(cb, ch);
}

static uint64_t wake_those_due(struct callbacks *cb, uint64_t now) REQUIRES(&cb->lock)
{
	struct list due = LIST_INITIALIZER(due);
	struct channel *ch, *next;
	uint64_t soonest = UINT64_MAX;

	list_for_each_safe (ch, next, &cb->wakeful, in_wakeful) {
		if (ch->wake_ns > now)
			continue;
		list_remove(&ch->in_wakeful);
		list_push_back(&due, &ch->in_wakeful);
	}
	while (!list_empty(&due))
		awake(cb, list_first(&due, struct channel, in_wakeful));
	list_for_each (ch, &cb->wakeful, in_wakeful)
		soonest = ch->wake_ns < soonest ? ch->wake_ns : soonest;
	return soonest;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Does what is due, and waits until there is more. False: stopping. */
static bool turn(struct callbacks *cb, uint64_t next) REQUIRES(&cb->lock)
{
	uint64_t now = clock_mono_ns();

	cb->kicked = false;
	next = earliest(next, expire_calls(cb, now));
	next = earliest(next, expire_slots(cb, now));
	next = earliest(next, wake_those_due(cb, now));
	run_finished(cb);
	if (cb->stopping)
		return false;
	if (cb->kicked)
		return true;
	if (next == UINT64_MAX)
		cond_wait(&cb->wake, &cb->lock);
	else
		cond_wait_until(&cb->wake, &cb->lock, next);
	return true;
}

static void *callbacks_main(void *arg)
{
	struct callbacks *cb = arg;
	bool more = true;

	while (more) {
		uint64_t next = waiters_run(cb->waiters);

		mutex_lock(&cb->lock);
		more = turn(cb, next);
		mutex_unlock(&cb->lock);
	}
	return NULL;
}

/* ---- life ---- */

struct callbacks *callbacks_new(struct nfs_server *server)
{
	struct callbacks *cb = calloc(1, sizeof(*cb));

	if (!cb)
		return NULL;
	mutex_init(&cb->lock);
	cond_init(&cb->wake);
	list_init(&cb->all_clients);
	list_init(&cb->calls);
	list_init(&cb->inflight);
	list_init(&cb->overdue);
	list_init(&cb->wakeful);
	list_init(&cb->finished);
	cb->server = server;
	cb->state = server->state;
	cb->next_xid = (uint32_t)random_u64();
	cb->timeout_ns = server->options.lease_seconds * NS_PER_SEC / 3;
	if (cb->timeout_ns > TIMEOUT_MOST)
		cb->timeout_ns = TIMEOUT_MOST;
	if (cb->timeout_ns < TIMEOUT_LEAST)
		cb->timeout_ns = TIMEOUT_LEAST;
	if (gethostname(cb->machine, sizeof(cb->machine)) != 0)
		strcpy(cb->machine, "atoll");
	cb->machine[sizeof(cb->machine) - 1] = '\0';
	cb->waiters = waiters_new(server);
	if (!cb->waiters) {
		callbacks_free(cb);
		return NULL;
	}
	return cb;
}

int callbacks_start(struct callbacks *cb, struct rpc_server *rpc)
{
	sigset_t all, old;
	int err;

	mutex_lock(&cb->lock);
	cb->rpc = rpc;
	mutex_unlock(&cb->lock);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&cb->thread, NULL, callbacks_main, cb);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	cb->running = err == 0;
	return -err;
}

void callbacks_stop(struct callbacks *cb)
{
	struct table_node *n;

	mutex_lock(&cb->lock);
	cb->stopping = true;
	kick(cb);
	mutex_unlock(&cb->lock);
	if (cb->running)
		pthread_join(cb->thread, NULL);
	cb->running = false;
	mutex_lock(&cb->lock);
	while (!list_empty(&cb->all_clients))
		client_free(cb, list_first(&cb->all_clients, struct cb_client, in_all));
	while ((n = table_any(&cb->conns)) != NULL)
		conn_forget(cb, container_of(n, struct cb_conn, by_id));
	run_finished(cb);
	mutex_unlock(&cb->lock);
}

void callbacks_free(struct callbacks *cb)
{
	if (!cb)
		return;
	callbacks_stop(cb);
	waiters_free(cb->waiters);
	table_free(&cb->clients);
	table_free(&cb->conns);
	table_free(&cb->xids);
	cond_destroy(&cb->wake);
	mutex_destroy(&cb->lock);
	free(cb);
}

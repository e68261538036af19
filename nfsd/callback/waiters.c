/*
 * Waiting for locks.
 *
 *	            the range is free, nobody ahead           answered
 *	WAITING ------------------------------------> CALLED ----------> TOLD
 *	   ^  ^                                         |                  | does not come in time
 *	   |  `--- the LOCK comes and is denied again --+---- not called,  |
 *	   |                                            |     refused      |
 *	 waiters_add()                                  `------------------+--> forgotten
 *
 * A waiter that is granted its lock, or whose client goes, is forgotten from anywhere. CALLED and
 * TOLD keep the range for the waiter against those who came later and wait, too, but not against
 * a LOCK that does not wait: that one is granted what is free. The time for which they do is
 * short, because a process may have been killed while it waited, and its client does not say so.
 *
 * What a process of this machine has locked on the file becomes free without a word. Waiters because of
 * such a lock are looked at from time to time, POLL_NS apart or a multiple of the time that it takes.
 *
 * A file with waiters keeps them in the order in which they came. When something of it becomes
 * free it is put on `dirty`, and the callbacks' thread looks who can be told. `lock` guards
 * everything; the state machine's and the callbacks' locks may be taken under it. A waiter that is
 * CALLED is not freed before its call is done.
 */
#include "nfsd/callback/waiters.h"

#include <stdlib.h>
#include <string.h>

#include "base/blocking.h"
#include "base/clock.h"
#include "base/hash.h"
#include "nfsd/callback/callbacks.h"
#include "nfsd/local_locks.h"
#include "nfsd/server_private.h"
#include "nfsd/state/back.h"
#include "nfsd/state/table.h"

#define WAITERS_MOST	    65536
#define WAITERS_OF_A_CLIENT 1024
#define TOLD_NS		    (2 * NS_PER_SEC)
#define POLL_NS		    (NS_PER_SEC / 10)
#define POLL_SHARE	    20 /* polling takes less than this part of the time */
/* Clients poll more often than that; one that does not has given up. */
#define KEEP_LEAST_NS (120 * NS_PER_SEC)

enum waiter_state { WAITING, CALLED, TOLD };

struct wait_file {
	struct table_node by_key;
	struct list queue;    /* struct waiter.in_file, the first first */
	struct list in_dirty; /* waiters.dirty, or alone */
	uint32_t len;
	uint8_t key[];
};

struct wait_client {
	struct table_node by_id;
	uint64_t clientid;
	struct list all; /* struct waiter.in_client */
	unsigned count;
};

struct waiter {
	struct waiters *waiters;
	struct wait_file *file;
	struct wait_client *client;
	struct list in_file, in_client;
	struct list in_time; /* waiters.waiting or .told, by until_ns */
	enum waiter_state state;
	uint64_t until_ns;
	bool forgotten; /* CALLED: to be freed when done */
	bool again;	/* CALLED: its LOCK was denied meanwhile */
	enum nfs_lock_type4 type;
	struct lock_range range;
	struct locker *local; /* a reference; NULL: no local process is known to be in the way */
	struct callback_call call;
	struct bytes owner; /* within `bytes` */
	uint8_t bytes[];    /* the arguments of CB_NOTIFY_LOCK */
};

struct waiters {
	struct nfs_server *server; /* immutable, as is keep_ns */
	uint64_t keep_ns;
	_Atomic unsigned count; /* written under lock */

	struct mutex lock; /* guards the rest */
	struct table files, clients;
	struct list dirty;
	struct list waiting, told;
	unsigned nlocal;  /* waiters with `local` */
	uint64_t poll_ns; /* when they are to be looked at, if there are any */
};

/* ---- files and clients ---- */

static struct wait_file *file_find(struct waiters *w, struct bytes key) REQUIRES(&w->lock)
{
	uint64_t hash = hash_bytes(key.p, key.len);
	struct table_node *n;

	table_for_each(n, &w->files, hash)
	{
		struct wait_file *f = container_of(n, struct wait_file, by_key);

		if (f->len == key.len && memcmp(f->key, key.p, key.len) == 0)
			return f;
	}
	return NULL;
}

static struct wait_file *file_obtain(struct waiters *w, struct bytes key) REQUIRES(&w->lock)
{
	struct wait_file *f = file_find(w, key);

	if (f)
		return f;
	f = malloc(sizeof(*f) + key.len);
	if (!f)
		return NULL;
	f->len = key.len;
	memcpy(f->key, key.p, key.len);
	list_init(&f->queue);
	list_init(&f->in_dirty);
	table_insert(&w->files, &f->by_key, hash_bytes(key.p, key.len));
	return f;
}

static void file_settle(struct waiters *w, struct wait_file *f) REQUIRES(&w->lock)
{
	if (!list_empty(&f->queue))
		return;
	list_remove(&f->in_dirty);
	table_remove(&w->files, &f->by_key);
	free(f);
}

static void make_dirty(struct waiters *w, struct wait_file *f) REQUIRES(&w->lock)
{
	if (list_empty(&f->in_dirty))
		list_push_back(&w->dirty, &f->in_dirty);
	callbacks_kick(w->server->callbacks);
}

static struct wait_client *client_lookup(struct waiters *w, uint64_t clientid) REQUIRES(&w->lock)
{
	struct table_node *n;

	table_for_each(n, &w->clients, hash_u64(clientid))
	{
		struct wait_client *c = container_of(n, struct wait_client, by_id);

		if (c->clientid == clientid)
			return c;
	}
	return NULL;
}

static struct wait_client *client_get_or_make(struct waiters *w, uint64_t clientid)
    REQUIRES(&w->lock)
{
	struct wait_client *c = client_lookup(w, clientid);

	if (c)
		return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->clientid = clientid;
	list_init(&c->all);
	table_insert(&w->clients, &c->by_id, hash_u64(clientid));
	return c;
}

static void client_settle(struct waiters *w, struct wait_client *c) REQUIRES(&w->lock)
{
	if (!list_empty(&c->all))
		return;
	table_remove(&w->clients, &c->by_id);
	free(c);
}

/* ---- waiters ---- */

static void set_local(struct waiters *w, struct waiter *wt, struct locker *local)
    REQUIRES(&w->lock)
{
	w->nlocal += (local != NULL) - (unsigned)(wt->local != NULL);
	locker_unref(wt->local);
	wt->local = local;
}

static void waiter_forget(struct waiters *w, struct waiter *wt) REQUIRES(&w->lock)
{
	struct wait_file *f = wt->file;
	struct wait_client *c = wt->client;
	bool held_up_others = wt->state != WAITING;

	list_remove(&wt->in_file);
	list_remove(&wt->in_client);
	list_remove(&wt->in_time);
	set_local(w, wt, NULL);
	c->count--;
	w->count--;
	if (wt->state == CALLED)
		wt->forgotten = true;
	else
		free(wt);
	client_settle(w, c);
	if (held_up_others && !list_empty(&f->queue))
		make_dirty(w, f);
	file_settle(w, f);
}

/* It waits from now on, the longest time that it may. */
static void waiter_wait(struct waiters *w, struct waiter *wt) REQUIRES(&w->lock)
{
	wt->state = WAITING;
	wt->until_ns = clock_mono_ns() + w->keep_ns;
	list_remove(&wt->in_time);
	list_push_back(&w->waiting, &wt->in_time);
}

static bool is_waiter_of(const struct waiter *wt, const struct lock_wait *wait)
{
	return wt->client->clientid == wait->clientid && wt->owner.len == wait->owner.len &&
	       memcmp(wt->owner.p, wait->owner.p, wait->owner.len) == 0;
}

static bool is_same(const struct waiter *wt, const struct lock_wait *wait)
{
	return is_waiter_of(wt, wait) && wt->type == wait->type &&
	       wt->range.offset == wait->range.offset && wt->range.length == wait->range.length;
}

static struct waiter *waiter_find(struct wait_file *f, const struct lock_wait *wait)
{
	struct waiter *wt;

	list_for_each (wt, &f->queue, in_file) {
		if (is_same(wt, wait))
			return wt;
	}
	return NULL;
}

static uint64_t last_byte(struct lock_range r)
{
	return r.length == NFS4_UINT64_MAX ? NFS4_UINT64_MAX : r.offset + r.length - 1;
}

static bool ranges_clash(enum nfs_lock_type4 type1, struct lock_range a, enum nfs_lock_type4 type2,
			 struct lock_range b)
{
	if (type1 == READW_LT && type2 == READW_LT)
		return false;
	return a.offset <= last_byte(b) && b.offset <= last_byte(a);
}

/* The arguments of CB_NOTIFY_LOCK: nfs_fh4, lock_owner4 (clientid and owner). */
static size_t args_len(const struct lock_wait *wait)
{
	return 4 + wait->fh.len + xdr_pad(wait->fh.len) + 8 + 4 + wait->owner.len +
	       xdr_pad(wait->owner.len);
}

static uint8_t *put_word(uint8_t *p, uint32_t v)
{
	uint32_t be = htobe32(v);

	memcpy(p, &be, 4);
	return p + 4;
}

static uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
	p = put_word(p, b.len);
	memcpy(p, b.p, b.len);
	memset(p + b.len, 0, xdr_pad(b.len));
	return p + b.len + xdr_pad(b.len);
}

static void done(struct callback_call *call);

static void waiter_fill(struct waiter *wt, const struct lock_wait *wait)
{
	uint8_t *p = put_bytes(wt->bytes, wait->fh);

	p = put_word(p, (uint32_t)(wait->clientid >> 32));
	p = put_word(p, (uint32_t)wait->clientid);
	put_bytes(p, wait->owner);
	wt->owner = (struct bytes){ p + 4, wait->owner.len };
	wt->type = wait->type;
	wt->range = wait->range;
	wt->call = (struct callback_call){
		.clientid = wait->clientid,
		.op = OP_CB_NOTIFY_LOCK,
		.args = { wt->bytes, (uint32_t)args_len(wait) },
		.done = done,
	};
	list_init(&wt->in_file);
	list_init(&wt->in_client);
	list_init(&wt->in_time);
}

/* NULL: too many, or no memory. */
static struct waiter *waiter_new(struct waiters *w, const struct lock_wait *wait)
    REQUIRES(&w->lock)
{
	struct wait_client *c = client_get_or_make(w, wait->clientid);
	struct wait_file *f = c ? file_obtain(w, wait->file) : NULL;
	struct waiter *wt = NULL;

	if (f && w->count < WAITERS_MOST && c->count < WAITERS_OF_A_CLIENT)
		wt = calloc(1, sizeof(*wt) + args_len(wait));
	if (!wt) {
		if (f)
			file_settle(w, f);
		if (c)
			client_settle(w, c);
		return NULL;
	}
	waiter_fill(wt, wait);
	wt->waiters = w;
	wt->file = f;
	wt->client = c;
	list_push_back(&f->queue, &wt->in_file);
	list_push_back(&c->all, &wt->in_client);
	c->count++;
	w->count++;
	return wt;
}

/* ---- LOCK ---- */

/* The callbacks' thread may hold it while it asks a file system that keeps it waiting. */
static void enter(struct waiters *w) ACQUIRES(&w->lock)
{
	if (mutex_trylock(&w->lock))
		return;
	blocking_section();
	mutex_lock(&w->lock);
}

void waiters_add(struct waiters *w, const struct lock_wait *wait)
{
	struct wait_file *f;
	struct waiter *wt;

	enter(w);
	f = file_find(w, wait->file);
	wt = f ? waiter_find(f, wait) : NULL;
	if (!wt)
		wt = waiter_new(w, wait);
	if (wt)
		set_local(w, wt, wait->local);
	else
		locker_unref(wait->local);
	if (wt && wt->state == CALLED) {
		wt->again = true;
	} else if (wt) {
		wt->call.referral = wait->referral;
		waiter_wait(w, wt);
		/* What was in the way may have gone before anybody could see that we wait. */
		make_dirty(w, wt->file);
	}
	mutex_unlock(&w->lock);
}

void waiters_granted(struct waiters *w, const struct lock_wait *wait)
{
	struct wait_file *f;
	struct waiter *wt;

	if (w->count == 0)
		return;
	enter(w);
	f = file_find(w, wait->file);
	wt = f ? waiter_find(f, wait) : NULL;
	if (wt)
		waiter_forget(w, wt);
	mutex_unlock(&w->lock);
}

static void describe(const struct waiter *wt, struct lock_conflict *out)
{
	out->clientid = wt->client->clientid;
	out->range = wt->range;
	out->type = wt->type == READW_LT ? READ_LT : WRITE_LT;
	out->owner_len = wt->owner.len;
	memcpy(out->owner, wt->owner.p, wt->owner.len);
}

bool waiters_ahead(struct waiters *w, const struct lock_wait *wait, struct lock_conflict *denied)
{
	struct wait_file *f;
	struct waiter *wt;
	bool ahead = false;

	if (w->count == 0)
		return false;
	enter(w);
	f = file_find(w, wait->file);
	if (f) {
		list_for_each (wt, &f->queue, in_file) {
			if (is_same(wt, wait))
				break;
			ahead = wt->state != WAITING && !is_waiter_of(wt, wait) &&
				ranges_clash(wt->type, wt->range, wait->type, wait->range);
			if (ahead) {
				describe(wt, denied);
				break;
			}
		}
	}
	mutex_unlock(&w->lock);
	return ahead;
}

/* ---- telling them ---- */

static void tell(struct waiters *w, struct waiter *wt) REQUIRES(&w->lock)
{
	wt->state = CALLED;
	wt->again = false;
	list_remove(&wt->in_time);
	callback_send(w->server, &wt->call);
}

/* By the callbacks' thread. */
static void done(struct callback_call *call)
{
	struct waiter *wt = container_of(call, struct waiter, call);
	struct waiters *w = wt->waiters;

	mutex_lock(&w->lock);
	if (wt->forgotten) {
		free(wt);
	} else if (call->outcome != CALLBACK_ANSWERED || call->status != NFS4_OK) {
		wt->state = TOLD;
		waiter_forget(w, wt);
	} else if (wt->again) {
		waiter_wait(w, wt);
		make_dirty(w, wt->file);
	} else {
		wt->state = TOLD;
		wt->until_ns = clock_mono_ns() + TOLD_NS;
		list_push_back(&w->told, &wt->in_time);
	}
	mutex_unlock(&w->lock);
}

/* Somebody before `me` has been told and has not come yet. */
static bool held_up(const struct wait_file *f, const struct waiter *me)
{
	const struct waiter *wt;

	list_for_each (wt, &f->queue, in_file) {
		if (wt == me)
			return false;
		if (wt->state != WAITING && ranges_clash(wt->type, wt->range, me->type, me->range))
			return true;
	}
	return false;
}

static void look_at(struct waiters *w, struct wait_file *f) REQUIRES(&w->lock)
{
	struct bytes key = { f->key, f->len };
	struct waiter *wt;

	list_for_each (wt, &f->queue, in_file) {
		if (wt->state == WAITING && !held_up(f, wt) &&
		    state_lock_is_free(w->server->state, wt->client->clientid, wt->owner, key,
				       wt->type, wt->range) &&
		    (!wt->local || local_lock_is_free_now(wt->local, wt->type, wt->range)))
			tell(w, wt);
	}
}

/* Those whose time is over; when the next one's will be. */
static uint64_t expire(struct waiters *w, struct list *by_time, uint64_t now) REQUIRES(&w->lock)
{
	struct waiter *wt;

	while ((wt = list_first(by_time, struct waiter, in_time)) != NULL) {
		if (wt->until_ns > now)
			return wt->until_ns;
		waiter_forget(w, wt);
	}
	return UINT64_MAX;
}

/* Those that wait because of local processes. */
static void poll_local(struct waiters *w, uint64_t now) REQUIRES(&w->lock)
{
	struct waiter *wt;

	if (w->nlocal == 0 || now < w->poll_ns)
		return;
	list_for_each (wt, &w->waiting, in_time) {
		if (wt->local && list_empty(&wt->file->in_dirty))
			list_push_back(&w->dirty, &wt->file->in_dirty);
	}
}

/* When to look again. */
static uint64_t next_poll(struct waiters *w, uint64_t began) REQUIRES(&w->lock)
{
	uint64_t now = clock_mono_ns(), pause = (now - began) * POLL_SHARE;

	if (w->nlocal == 0)
		return UINT64_MAX;
	if (w->poll_ns <= began)
		w->poll_ns = now + (pause > POLL_NS ? pause : POLL_NS);
	return w->poll_ns;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t waiters_run(struct waiters *w)
{
	uint64_t now, told, waiting, poll;

	if (w->count == 0)
		return UINT64_MAX;
	now = clock_mono_ns();
	mutex_lock(&w->lock);
	told = expire(w, &w->told, now);
	waiting = expire(w, &w->waiting, now);
	poll_local(w, now);
	while (!list_empty(&w->dirty)) {
		struct wait_file *f = list_first(&w->dirty, struct wait_file, in_dirty);

		list_remove(&f->in_dirty);
		look_at(w, f);
	}
	poll = next_poll(w, now);
	mutex_unlock(&w->lock);
	return earliest(earliest(told, waiting), poll);
}

/* ---- effects ---- */

bool waiters_any(const struct waiters *w)
{
	return w->count != 0;
}

void waiters_freed(struct waiters *w, struct bytes file)
{
	struct wait_file *f;

	if (w->count == 0)
		return;
	mutex_lock(&w->lock);
	f = file_find(w, file);
	if (f)
		make_dirty(w, f);
	mutex_unlock(&w->lock);
}

void waiters_client_gone(struct waiters *w, uint64_t clientid)
{
	struct wait_client *c;

	if (w->count == 0)
		return;
	mutex_lock(&w->lock);
	c = client_lookup(w, clientid);
	for (unsigned left = c ? c->count : 0; left > 0; left--)
		waiter_forget(w, list_first(&c->all, struct waiter, in_client));
	mutex_unlock(&w->lock);
}

/* ---- life ---- */

struct waiters *waiters_new(struct nfs_server *server)
{
	struct waiters *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->server = server;
	w->keep_ns = server->options.lease_seconds * NS_PER_SEC;
	if (w->keep_ns < KEEP_LEAST_NS)
		w->keep_ns = KEEP_LEAST_NS;
	mutex_init(&w->lock);
	list_init(&w->dirty);
	list_init(&w->waiting);
	list_init(&w->told);
	return w;
}

/* No call is on its way any more. */
void waiters_free(struct waiters *w)
{
	if (!w)
		return;
	mutex_lock(&w->lock);
	while (!list_empty(&w->waiting))
		waiter_forget(w, list_first(&w->waiting, struct waiter, in_time));
	while (!list_empty(&w->told))
		waiter_forget(w, list_first(&w->told, struct waiter, in_time));
	mutex_unlock(&w->lock);
	table_free(&w->files);
	table_free(&w->clients);
	mutex_destroy(&w->lock);
	free(w);
}

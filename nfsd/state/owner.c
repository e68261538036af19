/*
 * Open-owners and lock-owners; for minor version 0 also their sequence ids.
 *
 * An owner is busy while it has stateids. With sessions it is forgotten with the last. Minor
 * version 0 keeps idle ones, at most OWNERS_IDLE_MAX of a client, the longest idle going first:
 * they know the last sequence id and its reply, and that the client need not confirm
 * its next OPEN (RFC 7530 sections 9.1.7 to 9.1.11).
 *
 * An owner_hold makes the requests of an owner come one after the other. It is the node's own:
 * where the state machine does not know the owner yet, the hold puts a placeholder (!known)
 * into the table that no command counts. A command that needs the owner makes it known.
 */
#include <stdlib.h>
#include <string.h>

#include "base/blocking.h"
#include "base/hash.h"
#include "nfsd/state/state_private.h"

uint64_t principal_hash(struct bytes principal)
{
	static const struct siphash_key key; /* the same everywhere; nothing to keep secret */

	return siphash(&key, principal.p, principal.len);
}

static uint64_t owner_hash(enum owner_kind kind, struct bytes bytes)
{
	return hash_bytes(bytes.p, bytes.len) + kind;
}

struct owner *owner_find(struct client *c, enum owner_kind kind, struct bytes bytes)
{
	uint64_t hash = owner_hash(kind, bytes);
	struct table_node *n;

	table_for_each(n, &c->owners, hash)
	{
		struct owner *o = container_of(n, struct owner, by_name);

		if (o->kind == kind && bytes_equal(bytes, o->bytes, o->len))
			return o;
	}
	return NULL;
}

struct owner *owner_find_known(struct client *c, enum owner_kind kind, struct bytes bytes)
{
	struct owner *o = owner_find(c, kind, bytes);

	return o && o->known ? o : NULL;
}

/* Into the table, which gets the only reference. */
static struct owner *owner_new(struct client *c, enum owner_kind kind, struct bytes bytes)
    REQUIRES(&c->lock)
{
	struct owner *o = malloc(sizeof(*o) + bytes.len);

	if (!o)
		return NULL;
	memset(o, 0, sizeof(*o));
	o->client = c;
	o->kind = (uint8_t)kind;
	o->refs = 1;
	o->linked = true;
	o->confirmed = !c->v40 || kind == OWNER_LOCK;
	o->len = bytes.len;
	if (bytes.len)
		memcpy(o->bytes, bytes.p, bytes.len);
	list_init(&o->in_client);
	list_init(&o->states);
	table_insert(&c->owners, &o->by_name, owner_hash(kind, bytes));
	return o;
}

static _Atomic uint64_t *owner_count(struct state *s, const struct owner *o)
{
	return o->kind == OWNER_OPEN ? &s->nopen_owners : &s->nlock_owners;
}

static bool owners_left(const struct state *s)
{
	return s->nopen_owners + s->nlock_owners < s->config.limits.max_owners;
}

enum nfsstat4 owner_obtain(struct state *s, struct client *c, enum owner_kind kind,
			   struct bytes bytes, struct state_result *result, struct owner **out)
{
	struct owner *o = owner_find(c, kind, bytes);
	uint32_t minor = c->v40 ? 0 : 1;

	if (!o || !o->known) {
		/* Idle owners give way, as they would sooner or later. */
		result->over_limit = !owners_left(s);
		if (result->over_limit && c->nidle) {
			owner_unlink(s, c, list_first(&c->idle, struct owner, in_client));
			result->over_limit = !owners_left(s);
		}
		if (result->over_limit)
			return over_limit(minor);
		if (c->nowners - c->nidle >= s->config.limits.max_owners_per_client)
			return over_limit(minor);
		if (!o)
			o = owner_new(c, kind, bytes);
		if (!o)
			return out_of_memory(minor);
		o->known = true;
		o->uid = ++c->last_id;
		list_push_back(&c->idle, &o->in_client);
		c->nidle++;
		c->nowners++;
		++*owner_count(s, o);
	}
	*out = o;
	return NFS4_OK;
}

bool owner_restore_closed(struct state *s, struct owner *o, uint32_t id, uint32_t seqid)
{
	struct open *open = calloc(1, sizeof(*open));
	struct stripe *stripe;

	if (!open)
		return false;
	open->h.client = o->client;
	open->h.owner = o;
	open->h.kind = HELD_CLOSED;
	open->h.id = id;
	open->h.seqid = seqid;
	list_init(&open->h.in_owner);
	list_init(&open->lock_states);
	stripe = held_stripe(s, &open->h);
	mutex_lock(&stripe->lock);
	table_insert(&stripe->table, &open->h.by_id, stateid_hash(o->client->counter, id));
	mutex_unlock(&stripe->lock);
	o->closed = open;
	return true;
}

void owner_unref(struct owner *o)
{
	if (--o->refs)
		return;
	free(o->reply);
	free(o);
}

void owner_drop_closed(struct state *s, struct client *c, struct owner *o)
{
	struct open *closed = o->closed;
	struct stripe *stripe;

	if (!closed)
		return;
	o->closed = NULL;
	stripe = held_stripe(s, &closed->h);
	mutex_lock(&stripe->lock);
	table_remove(&stripe->table, &closed->h.by_id);
	mutex_unlock(&stripe->lock);
	free(closed);
}

/* Commands know it no more; a hold may. */
static void owner_disown(struct state *s, struct client *c, struct owner *o) REQUIRES(&c->lock)
{
	owner_drop_closed(s, c, o);
	list_remove(&o->in_client);
	c->nidle--;
	c->nowners--;
	--*owner_count(s, o);
	o->known = false;
}

void owner_unlink(struct state *s, struct client *c, struct owner *o)
{
	if (o->known)
		owner_disown(s, c, o);
	table_remove(&c->owners, &o->by_name);
	o->linked = false;
	owner_unref(o);
}

void owner_became_busy(struct client *c, struct owner *o)
{
	if (o->busy)
		return;
	list_remove(&o->in_client);
	c->nidle--;
	list_push_back(&c->busy, &o->in_client);
	o->busy = true;
}

/* Without stateids only a sequence id, or that it has been confirmed, is worth remembering. */
static bool worth_keeping(const struct owner *o)
{
	if (!o->client->v40)
		return false;
	return o->has_seqid || (o->kind == OWNER_OPEN && o->confirmed);
}

void owner_settle(struct state *s, struct client *c, struct owner *o)
{
	if (!list_empty(&o->states))
		return;
	/* To the young end of the idle list, whether it was there or busy. */
	list_remove(&o->in_client);
	list_push_back(&c->idle, &o->in_client);
	if (o->busy) {
		o->busy = false;
		c->nidle++;
	}
	if (!worth_keeping(o) && o->held)
		owner_disown(s, c, o);
	else if (!worth_keeping(o))
		owner_unlink(s, c, o);
	else if (c->nidle > OWNERS_IDLE_MAX)
		owner_unlink(s, c, list_first(&c->idle, struct owner, in_client));
}

bool owner_seqid_is_next(const struct owner *o, uint32_t seqid)
{
	/* Past the greatest comes 1; some clients say 0. */
	if (o->seqid == NFS4_UINT32_MAX)
		return seqid == 1 || seqid == 0;
	return seqid == o->seqid + 1;
}

/* --------------------------------------------------------------------- commands ---- */

/*
 * A request of minor version 0 is two commands: what it does, and OWNER_ADVANCE with its reply. The node may
 * die between them; then the first has left its sequence id here.
 */
void work_sequenced(struct work *w, struct owner *o)
{
	if (!w->cmd->sequenced || !o || w->sequenced)
		return;
	o->refs++;
	w->sequenced = o;
}

bool work_is_again(const struct work *w, const struct owner *o)
{
	return w->cmd->sequenced && o && o->applied && o->applied_seqid == w->cmd->owner_seqid;
}

void owner_applied(struct work *w, enum nfsstat4 status)
{
	struct owner *o = w->sequenced;

	if (!o)
		return;
	if (status == NFS4_OK) {
		o->applied = true;
		o->applied_seqid = w->cmd->owner_seqid;
	}
	owner_unref(o);
}

struct owner_reply *owner_reply_new(struct bytes reply, struct bytes fh)
{
	struct owner_reply *r = malloc(sizeof(*r) + reply.len + fh.len);

	if (!r)
		return NULL;
	r->reply_len = reply.len;
	r->fh_len = fh.len;
	if (reply.len)
		memcpy(r->bytes, reply.p, reply.len);
	if (fh.len)
		memcpy(r->bytes + reply.len, fh.p, fh.len);
	return r;
}

static void owner_record(struct state *s, struct client *c, struct owner *o, uint32_t seqid,
			 struct owner_reply *reply) REQUIRES(&c->lock)
{
	free(o->reply);
	o->reply = reply;
	o->seqid = seqid;
	o->has_seqid = true;
	o->applied = false;
	o->denied = false;
	/* A request after the CLOSE has been sequenced: no retry of that will come. */
	if (o->closed_now)
		o->closed_now = false;
	else
		owner_drop_closed(s, c, o);
}

enum nfsstat4 cmd_owner_advance(struct work *w)
{
	bool lock_owner = w->cmd->owner_advance.lock_owner;
	enum owner_kind kind = lock_owner ? OWNER_LOCK : OWNER_OPEN;
	struct owner_reply *reply = NULL;
	struct owner *o = owner_find_known(w->c, kind, w->cmd->owner_advance.owner);
	enum nfsstat4 status;

	if (!o && lock_owner)
		return NFS4_OK; /* it was released meanwhile */
	if (w->cmd->owner_advance.reply.len) {
		reply = owner_reply_new(w->cmd->owner_advance.reply, w->cmd->owner_advance.fh);
		if (!reply)
			return out_of_memory(0);
	}
	if (!o) {
		/* The first OPEN of an owner has failed: even that must not run twice. */
		status = owner_obtain(w->s, w->c, kind, w->cmd->owner_advance.owner, w->result,
				      &o);
		if (status) {
			free(reply);
			return status;
		}
	}
	owner_record(w->s, w->c, o, w->cmd->owner_advance.seqid, reply);
	owner_settle(w->s, w->c, o);
	return NFS4_OK;
}

static bool locks_held(const struct owner *o)
{
	struct held *h;

	list_for_each (h, &o->states, in_owner) {
		if (held_lock(h)->nranges)
			return true;
	}
	return false;
}

enum nfsstat4 cmd_release_lockowner(struct work *w)
{
	struct owner *o = owner_find_known(w->c, OWNER_LOCK, w->cmd->release_lockowner.owner);

	if (!o)
		return NFS4_OK;
	if (locks_held(o))
		return NFS4ERR_LOCKS_HELD;
	if (list_empty(&o->states)) {
		owner_unlink(w->s, w->c, o);
		return NFS4_OK;
	}
	o->refs++; /* the last stateid must not take it from under the loop */
	while (!list_empty(&o->states))
		lock_state_free(w->s, w->c,
				held_lock(list_first(&o->states, struct held, in_owner)),
				w->after);
	if (o->linked)
		owner_unlink(w->s, w->c, o);
	owner_unref(o);
	return NFS4_OK;
}

/* ------------------------------------------------------------------------ holds ---- */

struct owner_hold {
	struct client *client; /* a reference */
	struct owner *owner;   /* a reference */
	uint32_t seqid;
	struct owner_reply *replay; /* a copy: a LOCK that names the owner may replace the original */
};

/*
 * Is `seqid` the next of this owner, a retry of the last, or neither? An open-owner that
 * never was confirmed may begin anew with any OPEN (RFC 7530 section 16.18.5).
 */
static enum nfsstat4 check_owner_seqid(const struct owner *o, uint32_t seqid, bool is_open,
				       struct owner_replay *replay)
{
	const struct owner_reply *r = o->reply;

	if (!o->has_seqid)
		return NFS4_OK;
	if (seqid == o->seqid && r) {
		*replay = (struct owner_replay){
			.replay = true,
			.reply = { r->bytes, r->reply_len },
			.fh = { r->bytes + r->reply_len, r->fh_len },
		};
		return NFS4_OK;
	}
	if (seqid != o->seqid && (owner_seqid_is_next(o, seqid) || (is_open && !o->confirmed)))
		return NFS4_OK;
	return NFS4ERR_BAD_SEQID;
}

static enum nfsstat4 hold_owner(struct client *c, struct owner *o, uint32_t seqid, bool is_open,
				struct owner_hold *hold, struct owner_replay *replay)
    REQUIRES(&c->lock)
{
	enum nfsstat4 status = check_owner_seqid(o, seqid, is_open, replay);

	if (status)
		return status;
	if (replay->replay) {
		hold->replay = owner_reply_new(replay->reply, replay->fh);
		if (!hold->replay)
			return out_of_memory(0);
		replay->reply.p = hold->replay->bytes;
		replay->fh.p = hold->replay->bytes + hold->replay->reply_len;
	}
	o->held = true;
	o->refs++;
	hold->owner = o;
	hold->seqid = seqid;
	return NFS4_OK;
}

/* Lets others work while this thread waits for the owner; then look again. */
static void wait_for_owner(struct client *c, bool *told) REQUIRES(&c->lock)
{
	if (*told) {
		cond_wait(&c->owner_released, &c->lock);
		return;
	}
	*told = true;
	mutex_unlock(&c->lock);
	blocking_section();
	mutex_lock(&c->lock);
}

static enum nfsstat4 hold_by_name(struct client *c, struct bytes owner, uint32_t seqid,
				  struct owner_hold *hold, struct owner_replay *replay)
    REQUIRES(&c->lock)
{
	bool told = false;
	struct owner *o;

	while (!c->dead && (o = owner_find(c, OWNER_OPEN, owner)) != NULL && o->held)
		wait_for_owner(c, &told);
	if (c->dead)
		return NFS4ERR_EXPIRED;
	o = owner_find(c, OWNER_OPEN, owner);
	if (!o)
		o = owner_new(c, OWNER_OPEN, owner);
	if (!o)
		return NFS4ERR_RESOURCE;
	return hold_owner(c, o, seqid, true, hold, replay);
}

static enum nfsstat4 hold_by_stateid(struct state *s, struct client *c, const struct stateid *id,
				     uint32_t seqid, struct owner_hold *hold,
				     struct owner_replay *replay) REQUIRES(&c->lock)
{
	bool told = false;
	struct held *h;

	while (!c->dead && (h = held_find(s, c, id)) != NULL && h->owner && h->owner->held)
		wait_for_owner(c, &told);
	if (c->dead)
		return NFS4ERR_EXPIRED;
	h = held_find(s, c, id);
	if (!h || !h->owner) /* a delegation has none */
		return NFS4ERR_BAD_STATEID;
	return hold_owner(c, h->owner, seqid, false, hold, replay);
}

static enum nfsstat4 hold_new(struct client *c, struct owner_hold **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out) {
		client_unref(c);
		return NFS4ERR_RESOURCE;
	}
	(*out)->client = c;
	return NFS4_OK;
}

/* The hold is the caller's if there is one; else it goes, with its client's reference. */
static enum nfsstat4 hold_done(struct state *s, struct owner_hold *hold, enum nfsstat4 status,
			       struct owner_hold **out)
{
	if (status == NFS4_OK) {
		client_heard(s, hold->client);
		*out = hold;
	} else {
		client_unref(hold->client);
		free(hold);
	}
	return status;
}

enum nfsstat4 state_owner_hold(struct state *s, uint64_t clientid, struct bytes owner,
			       uint32_t seqid, struct owner_hold **out, struct owner_replay *replay)
{
	struct owner_hold *hold;
	struct client *c;
	enum nfsstat4 status = client_get_v40(s, clientid, &c);

	*replay = (struct owner_replay){ 0 };
	if (status == NFS4_OK)
		status = hold_new(c, &hold);
	if (status)
		return status;
	mutex_lock(&c->lock);
	status = hold_by_name(c, owner, seqid, hold, replay);
	mutex_unlock(&c->lock);
	return hold_done(s, hold, status, out);
}

enum nfsstat4 state_owner_hold_by_stateid(struct state *s, const struct stateid *id, uint32_t seqid,
					  struct owner_hold **out, struct owner_replay *replay)
{
	struct owner_hold *hold;
	struct client *c;
	enum nfsstat4 status = stateid_client(s, 0, 0, id, &c);

	*replay = (struct owner_replay){ 0 };
	if (status == NFS4_OK)
		status = hold_new(c, &hold);
	if (status)
		return status;
	mutex_lock(&c->lock);
	status = hold_by_stateid(s, c, id, seqid, hold, replay);
	mutex_unlock(&c->lock);
	return hold_done(s, hold, status, out);
}

bool status_advances_seqid(enum nfsstat4 status)
{
	switch (status) {
	case NFS4ERR_STALE_CLIENTID:
	case NFS4ERR_STALE_STATEID:
	case NFS4ERR_BAD_STATEID:
	case NFS4ERR_BAD_SEQID:
	case NFS4ERR_BADXDR:
	case NFS4ERR_RESOURCE:
	case NFS4ERR_NOFILEHANDLE:
	case NFS4ERR_MOVED:
		return false;
	default:
		return true;
	}
}

bool state_owner_advance(struct owner_hold *hold, enum nfsstat4 status, struct bytes reply,
			 struct bytes fh, struct state_command *cmd)
{
	const struct owner *o = hold->owner;

	if (!status_advances_seqid(status))
		return false;
	*cmd = (struct state_command){
		.type = CMD_OWNER_ADVANCE,
		.clientid = hold->client->id,
		.owner_advance = { .lock_owner = o->kind == OWNER_LOCK,
				   .owner = { o->bytes, o->len },
				   .seqid = hold->seqid,
				   .reply = reply,
				   .fh = fh },
	};
	return true;
}

void state_owner_release(struct state *s, struct owner_hold *hold)
{
	struct client *c = hold->client;
	struct owner *o = hold->owner;

	mutex_lock(&c->lock);
	o->held = false;
	if (o->linked && !o->known)
		owner_unlink(s, c, o);
	owner_unref(o);
	cond_broadcast(&c->owner_released);
	mutex_unlock(&c->lock);
	client_unref(c);
	free(hold->replay);
	free(hold);
}

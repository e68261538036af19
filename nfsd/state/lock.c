/*
 * Byte-range locks: LOCK, LOCKU, LOCKT, FREE_STATEID. The ranges themselves are in ranges.c.
 *
 * Locks are POSIX's: advisory, of a lock-owner; setting one replaces what the owner had in
 * that range, so upgrades, downgrades, splits and merges are one operation. A lock stateid
 * stands for what a lock-owner got through one open, and goes with that open.
 */
#include <stdlib.h>
#include <string.h>

#include "nfsd/state/state_private.h"

static bool is_exclusive(enum nfs_lock_type4 type)
{
	return type == WRITE_LT || type == WRITEW_LT;
}

/* Reading needs an open for reading, as POSIX has it; writing one for writing. */
static enum nfsstat4 check_open_mode(const struct open *open, bool exclusive)
{
	uint32_t need = exclusive ? OPEN4_SHARE_ACCESS_WRITE : OPEN4_SHARE_ACCESS_READ;

	return open->access & need ? NFS4_OK : NFS4ERR_OPENMODE;
}

/* ------------------------------------------------------------------------ LOCK ---- */

/* What a LOCK works on. */
struct locking {
	struct open *open;
	struct owner *owner;
	struct lock_state *st;	  /* NULL: to be made... */
	struct lock_state *fresh; /* ...of this */
	struct span span;
	bool exclusive;
};

static enum nfsstat4 find_held(struct work *w, enum held_kind kind, struct held **h)
    REQUIRES(&w->c->lock)
{
	return work_find(w, &w->cmd->lock.stateid, w->cmd->lock.file, kind, h);
}

/*
 * Minor version 0: the lock-owner's own sequence id comes with the open stateid. A known owner's
 * must fit, and with a lock stateid at hand the client should have used it (RFC 7530 16.10.5).
 */
static enum nfsstat4 check_new_owner(struct work *w, const struct locking *l)
{
	uint32_t seqid = w->cmd->lock.lock_seqid;
	const struct owner *o = l->owner;

	if (w->cmd->minor > 0)
		return NFS4_OK;
	if (l->st)
		return NFS4ERR_BAD_SEQID;
	if (!o->has_seqid || owner_seqid_is_next(o, seqid))
		return NFS4_OK;
	/* Denied, and submitted again now that the client in the way has expired. */
	return o->denied && seqid == o->seqid ? NFS4_OK : NFS4ERR_BAD_SEQID;
}

/* Minor version 0 names the lock-owner's client, which must be the open's. */
static enum nfsstat4 check_clientid(struct work *w) REQUIRES(&w->c->lock)
{
	struct client *named;
	enum nfsstat4 status;

	if (w->cmd->minor > 0 || w->cmd->clientid == w->c->id)
		return NFS4_OK;
	status = client_get_v40(w->s, w->cmd->clientid, &named);
	if (status)
		return status;
	client_unref(named);
	return NFS4ERR_BAD_STATEID;
}

static enum nfsstat4 lock_by_open(struct work *w, struct locking *l) REQUIRES(&w->c->lock)
{
	struct held *h;
	enum nfsstat4 status = check_clientid(w);

	if (status == NFS4_OK)
		status = find_held(w, HELD_OPEN, &h);
	if (status)
		return status;
	l->open = held_open(h);
	if (l->open->unconfirmed)
		return NFS4ERR_BAD_STATEID;
	status = owner_obtain(w->s, w->c, OWNER_LOCK, w->cmd->lock.owner, w->result,
			      &l->owner);
	if (status)
		return status;
	l->st = lock_state_find(w->c, l->owner, l->open);
	if (l->st && work_is_again(w, h->owner)) {
		w->repeated = true;
		return NFS4_OK;
	}
	status = check_new_owner(w, l);
	if (status || l->st)
		return status;
	l->fresh = calloc(1, sizeof(*l->fresh));
	return l->fresh ? NFS4_OK : out_of_memory(w->cmd->minor);
}

static enum nfsstat4 lock_by_lock(struct work *w, struct locking *l) REQUIRES(&w->c->lock)
{
	struct held *h;
	enum nfsstat4 status = find_held(w, HELD_LOCK, &h);

	if (status)
		return status;
	l->st = held_lock(h);
	l->open = l->st->open;
	l->owner = h->owner;
	return NFS4_OK;
}

static void lock_state_link(struct work *w, struct locking *l) REQUIRES(&w->c->lock)
{
	struct lock_state *st = l->fresh;

	st->h.client = w->c;
	st->h.owner = l->owner;
	st->h.file = l->open->h.file;
	st->h.kind = HELD_LOCK;
	st->open = l->open;
	list_push_back(&l->open->lock_states, &st->in_open);
	held_link(w->s, w->c, &st->h, l->open);
	l->st = st;
	l->fresh = NULL;
}

struct lock_state *lock_state_restore(struct state *s, struct client *c, struct owner *o,
				      struct open *open, uint32_t id, uint32_t seqid)
{
	struct lock_state *st = calloc(1, sizeof(*st));

	if (!st)
		return NULL;
	st->h.client = c;
	st->h.owner = o;
	st->h.file = open->h.file;
	st->h.kind = HELD_LOCK;
	st->open = open;
	list_push_back(&open->lock_states, &st->in_open);
	held_restore(s, c, &st->h, open, id, seqid);
	return st;
}

static bool locks_left(const struct work *w, unsigned needed)
{
	const struct state_limits *limits = &w->s->config.limits;

	w->result->over_limit = w->s->nlocks + needed > limits->max_locks;
	return w->c->nlocks + needed <= limits->max_locks_per_client && !w->result->over_limit;
}

static void count_locks(struct state *s, struct client *c, int change) REQUIRES(&c->lock)
{
	c->nlocks += (uint32_t)change;
	s->nlocks += (uint64_t)(int64_t)change;
}

bool lock_restore(struct state *s, struct client *c, struct lock_state *st, struct span span,
		  bool exclusive)
{
	struct state_file *f = st->h.file;
	struct range *spare = ranges_alloc(2);
	bool weakened;

	if (!spare)
		return false;
	mutex_lock(&f->lock);
	count_locks(s, c, ranges_set(f, st, span, exclusive, &spare, &weakened));
	mutex_unlock(&f->lock);
	ranges_free(spare);
	return true;
}

static enum nfsstat4 denied(struct work *w, const struct range *r)
{
	if (w->cmd->lock.reclaim)
		return NFS4ERR_RECLAIM_CONFLICT;
	range_describe(r, &w->result->denied);
	w->result->conflict_client = w->result->denied.clientid;
	return NFS4ERR_DENIED;
}

/* What the command brought with it is in the way. */
static enum nfsstat4 refused(struct work *w)
{
	const struct state_command *cmd = w->cmd;
	struct lock_conflict *d = &w->result->denied;

	w->result->over_limit = cmd->lock.refuse_over_limit;
	if (cmd->lock.refuse != NFS4ERR_DENIED)
		return cmd->lock.refuse;
	if (cmd->lock.reclaim)
		return NFS4ERR_RECLAIM_CONFLICT;
	*d = (struct lock_conflict){ .range = cmd->lock.refuse_range,
				     .type = cmd->lock.refuse_type };
	d->owner_len = cmd->lock.refuse_owner.len < sizeof(d->owner)
			   ? cmd->lock.refuse_owner.len
			   : (uint32_t)sizeof(d->owner);
	if (d->owner_len)
		memcpy(d->owner, cmd->lock.refuse_owner.p, d->owner_len);
	return NFS4ERR_DENIED;
}

static enum nfsstat4 lock_ranges(struct work *w, struct locking *l, struct state_file *f)
    REQUIRES(&w->c->lock) REQUIRES(&f->lock)
{
	const struct range *other = ranges_conflict(f, l->owner, l->span, l->exclusive);
	struct range *spare;
	unsigned needed;
	bool weakened;
	int change;

	if (other)
		return denied(w, other);
	if (w->cmd->lock.refuse != NFS4_OK)
		return refused(w);
	needed = ranges_needed(f, l->owner, l->span, true);
	/* What is replaced makes room. */
	if (!locks_left(w, needed) &&
	    !locks_left(w, needed - ranges_within(f, l->owner, l->span, needed)))
		return over_limit(w->cmd->minor);
	spare = ranges_alloc(needed);
	if (!spare)
		return out_of_memory(w->cmd->minor);
	if (!l->st)
		lock_state_link(w, l);
	else
		work_bump(w, &l->st->h);
	l->st->local |= w->cmd->lock.local;
	change = ranges_set(f, l->st, l->span, l->exclusive, &spare, &weakened);
	ranges_free(spare);
	count_locks(w->s, w->c, change);
	if (weakened)
		after_freed(w->s, w->after, f);
	return NFS4_OK;
}

static enum nfsstat4 lock(struct work *w, struct locking *l) REQUIRES(&w->c->lock)
{
	struct state_file *f;
	enum nfsstat4 status;

	status = w->cmd->lock.new_owner ? lock_by_open(w, l) : lock_by_lock(w, l);
	if (status)
		return status;
	status = check_open_mode(l->open, l->exclusive);
	if (status)
		return status;
	f = l->open->h.file;
	mutex_lock(&f->lock);
	status = lock_ranges(w, l, f);
	mutex_unlock(&f->lock);
	if (status == NFS4_OK)
		stateid_fill(w->s, &l->st->h, &w->result->stateid);
	return status;
}

/* The lock-owner's sequence id advances with the open-owner's, unless the error says it does not. */
static void advance_lock_owner(struct work *w, struct locking *l, enum nfsstat4 status)
{
	if (w->cmd->minor > 0 || !w->cmd->lock.new_owner || !status_advances_seqid(status))
		return;
	/* A new owner that got nothing is forgotten, and may begin as it likes. */
	if (status != NFS4_OK && !l->owner->has_seqid)
		return;
	l->owner->seqid = w->cmd->lock.lock_seqid;
	l->owner->has_seqid = true;
	l->owner->denied = status == NFS4ERR_DENIED;
	free(l->owner->reply);
	l->owner->reply = NULL;
}

enum nfsstat4 cmd_lock(struct work *w)
{
	struct locking l = { .exclusive = is_exclusive(w->cmd->lock.type) };
	enum nfsstat4 status = span_from(w->cmd->lock.range, &l.span);

	if (status == NFS4_OK)
		status = w->cmd->lock.reclaim ? grace_may_reclaim(w->s, w->c)
					      : grace_may_claim_new(w->s, w->c);
	if (status)
		return status;
	status = lock(w, &l);
	free(l.fresh);
	if (!l.owner)
		return status;
	advance_lock_owner(w, &l, status);
	owner_settle(w->s, w->c, l.owner);
	return status;
}

/* ----------------------------------------------------------------------- LOCKU ---- */

static enum nfsstat4 unlock_ranges(struct work *w, struct lock_state *st, struct state_file *f,
				   struct span span) REQUIRES(&w->c->lock) REQUIRES(&f->lock)
{
	unsigned needed = ranges_needed(f, st->h.owner, span, false);
	struct range *spare = NULL;
	int change;

	if (needed) {
		spare = ranges_alloc(needed);
		if (!spare)
			return out_of_memory(w->cmd->minor);
	}
	change = ranges_clear(f, st->h.owner, span, &spare);
	ranges_free(spare);
	count_locks(w->s, w->c, change);
	w->result->locks_left = ranges_any(f, st->h.owner);
	return NFS4_OK;
}

enum nfsstat4 cmd_unlock(struct work *w)
{
	struct state_file *f;
	struct span span;
	struct held *h;
	enum nfsstat4 status = span_from(w->cmd->unlock.range, &span);

	if (status)
		return status;
	status = work_find(w, &w->cmd->unlock.stateid, w->cmd->unlock.file, HELD_LOCK, &h);
	if (status)
		return status;
	f = h->file;
	mutex_lock(&f->lock);
	status = unlock_ranges(w, held_lock(h), f, span);
	mutex_unlock(&f->lock);
	if (status)
		return status;
	after_freed(w->s, w->after, f);
	work_bump(w, h);
	stateid_fill(w->s, h, &w->result->stateid);
	return NFS4_OK;
}

/* ------------------------------------------------------------- freeing stateids ---- */

void lock_state_free(struct state *s, struct client *c, struct lock_state *st, struct after *after)
{
	struct state_file *f = st->h.file;
	struct owner *o = st->h.owner;
	int change;

	mutex_lock(&f->lock);
	change = ranges_drop(f, st);
	mutex_unlock(&f->lock);
	count_locks(s, c, change);
	held_unlink(s, c, &st->h);
	list_remove(&st->in_open);
	/* Out of its stripe, so nobody attaches anything to it any more. */
	if (st->attached)
		list_push_back(&after->locks, &st->h.in_owner);
	else
		free(st);
	owner_settle(s, c, o);
}

enum nfsstat4 cmd_free_stateid(struct work *w)
{
	struct held *h = held_find(w->s, w->c, &w->cmd->free_stateid.stateid);
	enum nfsstat4 status;

	if (!h && w->cmd->maybe_retry)
		return NFS4_OK;
	if (!h || h->kind == HELD_CLOSED)
		return NFS4ERR_BAD_STATEID;
	status = stateid_check_seqid(w->cmd->minor, w->cmd->free_stateid.stateid.seqid, h->seqid);
	if (status)
		return status;
	if (h->kind == HELD_DELEG && held_deleg(h)->revoked) {
		deleg_unlink(w->s, w->c, held_deleg(h), w->after);
		client_acknowledged(w->c, w->after);
		return NFS4_OK;
	}
	if (h->kind != HELD_LOCK || held_lock(h)->nranges)
		return NFS4ERR_LOCKS_HELD;
	lock_state_free(w->s, w->c, held_lock(h), w->after);
	return NFS4_OK;
}

/* ----------------------------------------------------------------------- LOCKT ---- */

/*
 * The asker's own locks are not in its way (RFC 7530 section 16.11.5); an owner that the server
 * does not know has none. The client's lock keeps the owner while the file is looked at.
 */
static enum nfsstat4 test_ranges(struct state *s, struct client *c, struct bytes owner,
				 struct state_file *f, struct span span, bool exclusive,
				 struct lock_conflict *denied_by)
{
	const struct range *other;

	mutex_lock(&c->lock);
	mutex_lock(&f->lock);
	other = ranges_conflict(f, owner_find_known(c, OWNER_LOCK, owner), span, exclusive);
	if (other)
		range_describe(other, denied_by);
	mutex_unlock(&f->lock);
	mutex_unlock(&c->lock);
	return other ? NFS4ERR_DENIED : NFS4_OK;
}

enum nfsstat4 state_lockt(struct state *s, uint64_t clientid, struct bytes owner, struct bytes file,
			  enum nfs_lock_type4 type, struct lock_range range,
			  struct lock_conflict *denied_by)
{
	struct client *c = client_get(s, clientid);
	struct state_file *f;
	struct span span;
	enum nfsstat4 status;

	if (!c)
		return client_missing(s, clientid);
	client_heard(s, c);
	status = c->confirmed ? span_from(range, &span) : NFS4ERR_STALE_CLIENTID;
	/* What is not held now may be reclaimed yet. */
	if (status == NFS4_OK && state_in_grace(s))
		status = NFS4ERR_GRACE;
	f = status == NFS4_OK ? state_file_get(s, file, false) : NULL;
	if (f) {
		status = test_ranges(s, c, owner, f, span, is_exclusive(type), denied_by);
		state_file_put(s, f);
	}
	client_unref(c);
	return status;
}

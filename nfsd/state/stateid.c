/*
 * Stateids: what is in them, and the checks when one comes in.
 *
 *	other = epoch (4 bytes) | the client's counter (4) | an ID of this client's (4)
 *
 * so that another epoch (STALE_STATEID), a client that is gone (EXPIRED) and anything else
 * (BAD_STATEID) are told apart for minor version 0. With sessions all three are BAD_STATEID.
 */
#include <endian.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/state/state_private.h"

static uint32_t get_word(const struct stateid *id, unsigned n)
{
	uint32_t word;

	memcpy(&word, id->other + 4 * n, sizeof(word));
	return be32toh(word);
}

void stateid_fill(const struct state *s, const struct held *h, struct stateid *out)
{
	uint32_t words[3] = { htobe32(s->config.epoch), htobe32(h->client->counter),
			      htobe32(h->id) };

	out->seqid = h->seqid;
	memcpy(out->other, words, sizeof(words));
}

uint64_t stateid_hash(uint32_t counter, uint32_t id)
{
	return hash_u64((uint64_t)counter << 32 | id);
}

uint32_t stateid_counter(const struct stateid *id)
{
	return get_word(id, 1);
}

uint64_t state_stateid_client(struct state *s, const struct stateid *id)
{
	if (stateid_is_special(id) || get_word(id, 0) != s->config.epoch)
		return 0;
	return (uint64_t)s->config.epoch << 32 | stateid_counter(id);
}

/* "other" all zeros or all ones: reserved, whatever the seqid. */
bool stateid_is_special(const struct stateid *id)
{
	uint32_t first = get_word(id, 0);

	return (first == 0 || first == UINT32_MAX) && get_word(id, 1) == first &&
	       get_word(id, 2) == first;
}

/*
 * Serial-number comparison (RFC 7530 section 9.1.3): wraparound is as good as a small step. With
 * sessions 0 stands for the current seqid (RFC 8881 section 8.2.2).
 */
enum nfsstat4 stateid_check_seqid(uint32_t minor, uint32_t seqid, uint32_t current)
{
	if (seqid == current || (minor > 0 && seqid == 0))
		return NFS4_OK;
	return (int32_t)(seqid - current) > 0 && seqid != 0 ? NFS4ERR_BAD_STATEID
							    : NFS4ERR_OLD_STATEID;
}

enum nfsstat4 stateid_client_gone(struct state *s, uint32_t minor, const struct stateid *id)
{
	uint32_t counter = stateid_counter(id);

	if (minor > 0 || stateid_is_special(id))
		return NFS4ERR_BAD_STATEID;
	if (get_word(id, 0) != s->config.epoch)
		return NFS4ERR_STALE_STATEID;
	if (counter == 0 || counter > s->last_client)
		return NFS4ERR_BAD_STATEID;
	return NFS4ERR_EXPIRED;
}

enum nfsstat4 stateid_client(struct state *s, uint32_t minor, uint64_t clientid,
			     const struct stateid *id, struct client **out)
{
	struct client *c = NULL;

	if (!stateid_is_special(id) && get_word(id, 0) == s->config.epoch &&
	    (minor == 0 || stateid_counter(id) == (uint32_t)clientid))
		c = client_get_counter(s, stateid_counter(id));
	if (!c)
		return stateid_client_gone(s, minor, id);
	if (c->v40 != (minor == 0)) {
		client_unref(c);
		return NFS4ERR_BAD_STATEID;
	}
	*out = c;
	return NFS4_OK;
}

/* ------------------------------------------------------- stateids and tables ---- */

struct stripe *held_stripe(struct state *s, const struct held *h)
{
	return stripe_of(s->by_stateid, stateid_hash(h->client->counter, h->id));
}

static struct held *find_in(struct stripe *stripe, uint64_t hash, uint32_t counter, uint32_t id)
    REQUIRES(&stripe->lock)
{
	struct table_node *n;

	table_for_each(n, &stripe->table, hash)
	{
		struct held *h = container_of(n, struct held, by_id);

		if (h->id == id && h->client->counter == counter)
			return h;
	}
	return NULL;
}

struct held *held_find(struct state *s, struct client *c, const struct stateid *id)
{
	uint64_t hash = stateid_hash(c->counter, get_word(id, 2));
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	struct held *h;

	if (get_word(id, 0) != s->config.epoch || stateid_counter(id) != c->counter)
		return NULL;
	mutex_lock(&stripe->lock);
	h = find_in(stripe, hash, c->counter, get_word(id, 2));
	mutex_unlock(&stripe->lock);
	return h; /* stays: only its client's lock lets it go */
}

enum nfsstat4 held_check(struct state *s, struct client *c, uint32_t minor,
			 const struct stateid *id, struct bytes file, enum held_kind kind,
			 struct held **out)
{
	struct held *h = held_find(s, c, id);
	enum nfsstat4 status;

	if (!h || h->kind == HELD_CLOSED)
		return NFS4ERR_BAD_STATEID;
	if (file.len && !state_file_is(h->file, file))
		return NFS4ERR_BAD_STATEID;
	if (h->kind != kind)
		return NFS4ERR_BAD_STATEID;
	status = stateid_check_seqid(minor, id->seqid, h->seqid);
	if (status == NFS4_OK)
		*out = h;
	return status;
}

enum nfsstat4 work_find(struct work *w, const struct stateid *id, struct bytes file,
			enum held_kind kind, struct held **out)
{
	enum nfsstat4 status = held_check(w->s, w->c, w->cmd->minor, id, file, kind, out);
	struct held *h;

	if (likely(status == NFS4_OK)) {
		work_sequenced(w, (*out)->owner);
		return NFS4_OK;
	}
	if (status != NFS4ERR_OLD_STATEID)
		return status;
	h = held_find(w->s, w->c, id);
	if (h->seqid != id->seqid + 1 || (!w->cmd->maybe_retry && !work_is_again(w, h->owner)))
		return status;
	*out = h;
	w->repeated = true;
	work_sequenced(w, h->owner);
	return NFS4_OK;
}

void work_bump(struct work *w, struct held *h)
{
	if (likely(!w->repeated))
		held_bump(w->s, w->c, h);
}

static uint64_t pair_hash(const struct owner *o, const void *parent)
{
	return hash_u64((uintptr_t)parent ^ (uint64_t)o->uid << 48 ^ o->uid);
}

void held_publish(struct state *s, struct client *c, struct held *h)
{
	struct stripe *stripe;

	h->id = ++c->last_id;
	h->seqid = 1;
	stripe = held_stripe(s, h);
	mutex_lock(&stripe->lock);
	table_insert(&stripe->table, &h->by_id, stateid_hash(c->counter, h->id));
	mutex_unlock(&stripe->lock);
}

void held_link(struct state *s, struct client *c, struct held *h, const void *parent)
{
	held_publish(s, c, h);
	table_insert(&c->pairs, &h->by_pair, pair_hash(h->owner, parent));
	if (list_empty(&h->owner->states))
		owner_became_busy(c, h->owner);
	list_push_back(&h->owner->states, &h->in_owner);
}

void held_restore(struct state *s, struct client *c, struct held *h, const void *parent,
		  uint32_t id, uint32_t seqid)
{
	uint32_t last = c->last_id;
	struct stripe *stripe;

	c->last_id = id - 1;
	held_link(s, c, h, parent);
	c->last_id = last;
	stripe = held_stripe(s, h);
	mutex_lock(&stripe->lock);
	h->seqid = seqid;
	mutex_unlock(&stripe->lock);
}

void held_unlink(struct state *s, struct client *c, struct held *h)
{
	struct stripe *stripe = held_stripe(s, h);

	mutex_lock(&stripe->lock);
	table_remove(&stripe->table, &h->by_id);
	mutex_unlock(&stripe->lock);
	table_remove(&c->pairs, &h->by_pair);
	list_remove(&h->in_owner);
}

void held_bump(struct state *s, struct client *c, struct held *h)
{
	struct stripe *stripe = held_stripe(s, h);

	mutex_lock(&stripe->lock);
	h->seqid = h->seqid == NFS4_UINT32_MAX ? 1 : h->seqid + 1;
	mutex_unlock(&stripe->lock);
}

struct open *open_find(struct client *c, const struct owner *o, const struct state_file *f)
{
	uint64_t hash = pair_hash(o, f);
	struct table_node *n;

	table_for_each(n, &c->pairs, hash)
	{
		struct held *h = container_of(n, struct held, by_pair);

		if (h->kind == HELD_OPEN && h->owner == o && h->file == f)
			return held_open(h);
	}
	return NULL;
}

struct lock_state *lock_state_find(struct client *c, const struct owner *o, const struct open *open)
{
	uint64_t hash = pair_hash(o, open);
	struct table_node *n;

	table_for_each(n, &c->pairs, hash)
	{
		struct held *h = container_of(n, struct held, by_pair);

		if (h->kind == HELD_LOCK && h->owner == o && held_lock(h)->open == open)
			return held_lock(h);
	}
	return NULL;
}

/* ------------------------------------------------------- READ, WRITE, SETATTR ---- */

/* What a hot request learns of a stateid while it holds its stripe. */
struct look {
	enum nfsstat4 status;
	struct file *file;
	uint32_t open_id; /* not 0: a lock stateid; look at this open instead */
};

static struct file *attached(const struct open *open, unsigned access)
{
	struct file *file = open->files[access - 1];

	if (!file)
		file = open->files[(ACCESS_READ | ACCESS_WRITE) - 1];
	return file ? file_ref(file) : NULL;
}

static void look_at_open(const struct open *open, unsigned access, struct look *look)
{
	if (open->unconfirmed)
		look->status = NFS4ERR_BAD_STATEID;
	else if ((open->access & access) != access)
		look->status = NFS4ERR_OPENMODE;
	else
		look->file = attached(open, access);
}

static void look_at_deleg(const struct deleg *d, unsigned access, struct look *look)
{
	if (d->revoked)
		look->status = NFS4ERR_DELEG_REVOKED;
	else if ((access & ACCESS_WRITE) && d->type == OPEN_DELEGATE_READ)
		look->status = NFS4ERR_OPENMODE;
	else if (d->file && (d->file->access & access) == access)
		look->file = file_ref(d->file);
}

/*
 * Everything is read under the stripe's lock alone, see state_private.h. `seqid_check` is false
 * when an open is looked at in place of a lock stateid.
 */
static struct look look_up(struct state *s, uint32_t minor, uint64_t clientid,
			   const struct stateid *id, uint32_t held_id, struct bytes file,
			   unsigned access, bool seqid_check)
{
	uint32_t counter = stateid_counter(id);
	uint64_t hash = stateid_hash(counter, held_id);
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	struct look look = { NFS4_OK, NULL, 0 };
	struct held *h;

	mutex_lock(&stripe->lock);
	h = find_in(stripe, hash, counter, held_id);
	if (!h || h->kind == HELD_CLOSED || h->client->v40 != (minor == 0) ||
	    (minor > 0 && h->client->id != clientid) || !state_file_is(h->file, file)) {
		look.status = NFS4ERR_BAD_STATEID;
	} else {
		client_heard(s, h->client);
		if (seqid_check)
			look.status = stateid_check_seqid(minor, id->seqid, h->seqid);
		if (look.status == NFS4_OK && h->kind == HELD_LOCK)
			look.open_id = held_lock(h)->open->h.id;
		else if (look.status == NFS4_OK && h->kind == HELD_DELEG)
			look_at_deleg(held_deleg(h), access, &look);
		else if (look.status == NFS4_OK)
			look_at_open(held_open(h), access, &look);
	}
	mutex_unlock(&stripe->lock);
	return look;
}

static enum nfsstat4 use_special(struct state *s, const struct stateid *id, struct bytes file,
				 unsigned access, uint64_t *conflict_client)
{
	/* A share reservation that denies it may be reclaimed yet. */
	if (state_in_grace(s) && (stateid_is_anonymous(id) || stateid_is_read_bypass(id)))
		return NFS4ERR_GRACE;
	if (stateid_is_read_bypass(id) && access == ACCESS_READ)
		return NFS4_OK;
	if (!stateid_is_anonymous(id) && !stateid_is_read_bypass(id))
		return NFS4ERR_BAD_STATEID;
	return state_file_denied(s, file, access, conflict_client) ? NFS4ERR_LOCKED : NFS4_OK;
}

/* A stateid that was not found: is its client gone, too? */
static enum nfsstat4 not_found(struct state *s, uint32_t minor, const struct stateid *id)
{
	struct client *c;
	enum nfsstat4 status = stateid_client_gone(s, minor, id);

	if (status != NFS4ERR_EXPIRED)
		return status;
	c = client_get_counter(s, stateid_counter(id));
	if (!c)
		return NFS4ERR_EXPIRED;
	client_unref(c);
	return NFS4ERR_BAD_STATEID;
}

enum nfsstat4 state_use_stateid(struct state *s, uint32_t minor, uint64_t clientid,
				const struct stateid *id, struct bytes file, unsigned access,
				struct file **out, uint64_t *conflict_client)
{
	struct look look;

	*out = NULL;
	*conflict_client = 0;
	if (stateid_is_special(id))
		return use_special(s, id, file, access, conflict_client);
	if (get_word(id, 0) != s->config.epoch)
		return stateid_client_gone(s, minor, id);
	look = look_up(s, minor, clientid, id, get_word(id, 2), file, access, true);
	if (look.open_id)
		look = look_up(s, minor, clientid, id, look.open_id, file, access, false);
	if (look.status == NFS4ERR_BAD_STATEID)
		return not_found(s, minor, id);
	*out = look.file;
	return look.status;
}

void state_attach_file(struct state *s, const struct stateid *id, struct file *file)
{
	uint32_t counter = stateid_counter(id);
	uint64_t hash = stateid_hash(counter, get_word(id, 2));
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	struct file **slot = NULL;
	struct held *h;

	mutex_lock(&stripe->lock);
	h = find_in(stripe, hash, counter, get_word(id, 2));
	if (h && h->kind == HELD_OPEN)
		slot = &held_open(h)->files[file->access - 1];
	else if (h && h->kind == HELD_DELEG && !held_deleg(h)->revoked)
		slot = &held_deleg(h)->file;
	if (slot && !*slot) {
		*slot = file;
		file = NULL;
	}
	mutex_unlock(&stripe->lock);
	file_unref(file);
}

/* The lock stateid, or NULL. */
static struct lock_state *find_lock(struct stripe *stripe, uint64_t hash, const struct stateid *id)
    REQUIRES(&stripe->lock)
{
	struct held *h = find_in(stripe, hash, stateid_counter(id), get_word(id, 2));

	return h && h->kind == HELD_LOCK ? held_lock(h) : NULL;
}

struct lock_attachment *state_lock_attachment(struct state *s, const struct stateid *id)
{
	uint64_t hash = stateid_hash(stateid_counter(id), get_word(id, 2));
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	struct lock_attachment *a = NULL;
	struct lock_state *st;

	if (stateid_is_special(id) || get_word(id, 0) != s->config.epoch)
		return NULL;
	mutex_lock(&stripe->lock);
	st = find_lock(stripe, hash, id);
	if (st)
		a = st->attached;
	if (a)
		atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	mutex_unlock(&stripe->lock);
	return a;
}

bool state_attach_lock(struct state *s, const struct stateid *id, struct lock_attachment *a)
{
	uint64_t hash = stateid_hash(stateid_counter(id), get_word(id, 2));
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	struct lock_state *st;
	bool taken;

	mutex_lock(&stripe->lock);
	st = find_lock(stripe, hash, id);
	taken = st && !st->attached;
	if (taken)
		st->attached = a;
	mutex_unlock(&stripe->lock);
	return taken;
}

struct lock_attachment *state_detach_lock(struct state *s, const struct stateid *id)
{
	uint64_t hash = stateid_hash(stateid_counter(id), get_word(id, 2));
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	struct lock_attachment *a = NULL;
	struct lock_state *st;

	mutex_lock(&stripe->lock);
	st = find_lock(stripe, hash, id);
	if (st) {
		a = st->attached;
		st->attached = NULL;
	}
	mutex_unlock(&stripe->lock);
	return a;
}

/* Whoever opened it with all of `access`, with nothing else if possible. */
static const struct cred *opener(const struct open *open, unsigned access, unsigned *with)
{
	unsigned both = ACCESS_READ | ACCESS_WRITE;

	*with = open->creds[access - 1] ? access : both;
	return open->creds[*with - 1];
}

bool state_opener(struct state *s, const struct stateid *id, unsigned access,
		  const struct cred **cred, unsigned *with, struct stateid *holder)
{
	struct client *c = stateid_is_special(id) ? NULL
						  : client_get_counter(s, stateid_counter(id));
	const struct cred *found = NULL;
	struct held *h;

	if (!c)
		return false;
	mutex_lock(&c->lock);
	h = c->dead ? NULL : held_find(s, c, id);
	if (h && h->kind == HELD_LOCK)
		h = &held_lock(h)->open->h;
	if (h && h->kind == HELD_OPEN)
		found = opener(held_open(h), access, with);
	if (h && h->kind == HELD_DELEG) {
		found = held_deleg(h)->cred;
		*with = held_deleg(h)->type == OPEN_DELEGATE_WRITE ? ACCESS_READ | ACCESS_WRITE
								   : ACCESS_READ;
	}
	if (found) {
		*cred = cred_ref(found);
		stateid_fill(s, h, holder);
	}
	mutex_unlock(&c->lock);
	client_unref(c);
	return found != NULL;
}

enum nfsstat4 state_test_stateid(struct state *s, uint64_t clientid, const struct stateid *id)
{
	uint32_t counter = stateid_counter(id);
	uint64_t hash = stateid_hash(counter, get_word(id, 2));
	struct stripe *stripe = stripe_of(s->by_stateid, hash);
	enum nfsstat4 status = NFS4ERR_BAD_STATEID;
	struct held *h;

	if (stateid_is_special(id) || get_word(id, 0) != s->config.epoch)
		return status;
	mutex_lock(&stripe->lock);
	h = find_in(stripe, hash, counter, get_word(id, 2));
	if (h && h->kind != HELD_CLOSED && h->client->id == clientid)
		status = stateid_check_seqid(1, id->seqid, h->seqid);
	if (status == NFS4_OK && h->kind == HELD_DELEG && held_deleg(h)->revoked)
		status = NFS4ERR_DELEG_REVOKED;
	mutex_unlock(&stripe->lock);
	return status;
}

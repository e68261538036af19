/*
 * The whole state in a file, for the next process, or in memory, for another node: see snapshot.h.
 *
 *	snapshot   magic, version, whether it is a replica, instance, epoch
 *	           of a replica: limits, grace period
 *	           { 1, client }..., 0, last client's counter
 *	           { 1, order of a file's opens and delegations }..., 0, sorted by file
 *	client     record; sessions with slots; owners, those with stateids first; stateids
 *	           in the order of their IDs (an open comes before its locks); delegations
 *
 * Lists are restored in their order, because commands depend on it: an owner's stateids, a file's
 * opens of one client, an open's lock stateids are in the order of IDs as they were made. What
 * cannot be had from that is written: the order of a client's owners, and of the opens of
 * several clients in a file.
 *
 * Not in it is what is a process's own: connections, open files, when a client was last heard of
 * (every lease begins anew), what is known of callback paths.
 *
 * For the next process a delegation that has been recalled is as if it had not: whoever needs it
 * comes again, and it is recalled again. A replica remembers it. It knows nothing of sessions' slots
 * but the replies that are replicated: two nodes' replicas are the same bytes.
 *
 * A change of the format is a new SNAPSHOT_VERSION; others are not read. When it is read nobody
 * knows of the state yet, and the locks are taken for form's sake, as when a file is written. While a
 * replica is written no command is applied, but requests read the state.
 */
#include "nfsd/state/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfsd/state/snapshot_io.h"
#include "nfsd/state/state_private.h"

#define MAGIC 0x61746f6c6c737401u

#define PRINCIPAL_MAX 65536
#define REPLY_MAX     (16u << 20)
#define FILE_KEY_MAX  4096
#define GRACE_KEY_MAX (PRINCIPAL_MAX + 8192)
#define OWNER_MAX     (NFS4_OPAQUE_LIMIT + CLIENT_OWNER_EXTRA)

/* ---------------------------------------------------------------- small things ---- */

static void put_channel(struct snapshot_out *o, const struct channel_attrs *a)
{
	snapshot_put_u32(o, a->header_pad);
	snapshot_put_u32(o, a->max_request);
	snapshot_put_u32(o, a->max_response);
	snapshot_put_u32(o, a->max_response_cached);
	snapshot_put_u32(o, a->max_ops);
	snapshot_put_u32(o, a->max_slots);
}

static void get_channel(struct snapshot_in *in, struct channel_attrs *a)
{
	a->header_pad = snapshot_get_u32(in);
	a->max_request = snapshot_get_u32(in);
	a->max_response = snapshot_get_u32(in);
	a->max_response_cached = snapshot_get_u32(in);
	a->max_ops = snapshot_get_u32(in);
	a->max_slots = snapshot_get_u32(in);
}

static void put_callback(struct snapshot_out *o, const struct callback *cb)
{
	snapshot_put_u32(o, cb->program);
	snapshot_put_u32(o, cb->ident);
	snapshot_put(o, cb->netid, sizeof(cb->netid));
	snapshot_put(o, cb->addr, sizeof(cb->addr));
}

static void get_callback(struct snapshot_in *in, struct callback *cb)
{
	cb->program = snapshot_get_u32(in);
	cb->ident = snapshot_get_u32(in);
	snapshot_get(in, cb->netid, sizeof(cb->netid));
	snapshot_get(in, cb->addr, sizeof(cb->addr));
	cb->netid[sizeof(cb->netid) - 1] = '\0';
	cb->addr[sizeof(cb->addr) - 1] = '\0';
}

static void put_cred(struct snapshot_out *o, const struct cred *cred)
{
	snapshot_put_u32(o, cred != NULL);
	if (!cred)
		return;
	snapshot_put_u32(o, cred->uid);
	snapshot_put_u32(o, cred->gid);
	snapshot_put_u32(o, cred->ngroups);
	for (uint32_t i = 0; i < cred->ngroups; i++)
		snapshot_put_u32(o, cred->groups[i]);
}

static const struct cred *get_cred(struct snapshot_in *in)
{
	gid_t groups[CRED_MAX_GROUPS];
	const struct cred *cred;
	uint32_t uid, gid, n;

	if (!snapshot_get_bool(in))
		return NULL;
	uid = snapshot_get_u32(in);
	gid = snapshot_get_u32(in);
	n = snapshot_get_u32(in);
	if (n > CRED_MAX_GROUPS)
		snapshot_bad(in);
	for (uint32_t i = 0; in->err == 0 && i < n; i++)
		groups[i] = snapshot_get_u32(in);
	if (in->err)
		return NULL;
	cred = cred_get(uid, gid, groups, n);
	if (!cred)
		in->err = -ENOMEM;
	return cred;
}

/* --------------------------------------------------------------------- sessions ---- */

static bool slot_is_used(const struct slot *slot)
{
	return slot->used || slot->told_target || slot->unknown;
}

/*
 * A request that had not ended when the server stopped may have run: its retry must not run
 * again, and has no reply.
 */
static void put_slot(struct snapshot_out *o, uint32_t n, const struct slot *slot)
{
	bool cached = slot->cached && slot->state != SLOT_RUNNING;

	snapshot_put_u32(o, n);
	snapshot_put_u32(o, slot->seqid);
	snapshot_put_u32(o, slot->used);
	snapshot_put_u32(o, slot->told_target);
	snapshot_put_u32(o, slot->unknown);
	snapshot_put_u64(o, slot->request_hash);
	snapshot_put_u32(o, cached);
	snapshot_put_bytes(o, slot->reply, cached ? slot->reply_len : 0);
}

/* Those whose replies are replicated. */
static void put_kept(struct snapshot_out *o, const struct session *session)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(session->chunks); i++) {
		const struct slot *chunk = session->chunks[i];

		for (uint32_t k = 0; chunk && k < SLOTS_PER_CHUNK; k++) {
			const struct slot_reply *kept = chunk[k].kept;

			if (!kept)
				continue;
			snapshot_put_u32(o, i * SLOTS_PER_CHUNK + k);
			snapshot_put_u32(o, kept->seqid);
			snapshot_put_u64(o, kept->request_hash);
			snapshot_put_u32(o, kept->begun.op);
			snapshot_put_u64(o, kept->begun.object);
			snapshot_put_bytes(o, kept->bytes, kept->len);
		}
	}
	snapshot_put_u32(o, UINT32_MAX);
}

static void get_kept(struct snapshot_in *in, struct session *session) REQUIRES(&session->lock)
{
	struct slot_reply what;
	const uint8_t *bytes;
	uint32_t n;

	while ((n = snapshot_get_u32(in)) != UINT32_MAX && in->err == 0) {
		what.seqid = snapshot_get_u32(in);
		what.request_hash = snapshot_get_u64(in);
		what.begun.op = snapshot_get_u32(in);
		what.begun.object = snapshot_get_u64(in);
		bytes = snapshot_get_bytes(in, REPLY_MAX, &what.len);
		if (n >= session->fore.max_slots || n >= SLOTS_MAX)
			snapshot_bad(in);
		else if (in->err == 0 && !slot_keep(session, n, &what, bytes))
			in->err = -ENOMEM;
	}
}

static void put_slots(struct snapshot_out *o, const struct session *session)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(session->chunks); i++) {
		const struct slot *chunk = session->chunks[i];

		for (uint32_t k = 0; chunk && k < SLOTS_PER_CHUNK; k++) {
			if (slot_is_used(&chunk[k]))
				put_slot(o, i * SLOTS_PER_CHUNK + k, &chunk[k]);
		}
	}
	snapshot_put_u32(o, UINT32_MAX);
}

static void put_session(struct snapshot_out *o, struct session *session)
{
	mutex_lock(&session->lock);
	snapshot_put(o, session->id.data, sizeof(session->id.data));
	snapshot_put_u32(o, session->flags);
	put_channel(o, &session->fore);
	put_channel(o, &session->back);
	snapshot_put_u32(o, session->minor);
	snapshot_put_u32(o, session->cb_program);
	snapshot_put_u32(o, session->cb_flavor);
	snapshot_put_u32(o, session->cb_uid);
	snapshot_put_u32(o, session->cb_gid);
	for (unsigned i = 0; i < BACK_SLOTS_MAX; i++)
		snapshot_put_u32(o, session->back_seqids[i]);
	put_kept(o, session);
	if (!o->replica) {
		snapshot_put_u32(o, session->had_back);
		snapshot_put_u32(o, session->moved);
		snapshot_put_u32(o, session->nslots);
		snapshot_put_u32(o, session->target);
		put_slots(o, session);
	}
	mutex_unlock(&session->lock);
}

static bool keep_reply(struct state *s, struct session *session, struct slot *slot,
		       const uint8_t *reply, uint32_t len) REQUIRES(&session->lock)
{
	uint32_t cap = session->fore.max_response_cached;

	slot->reply = slot->small;
	if (len > SLOT_SMALL_REPLY) {
		slot->reply_cap = cap > len ? cap : len;
		slot->reply = malloc(slot->reply_cap);
		if (!slot->reply) {
			slot->reply_cap = 0;
			return false;
		}
		s->cached_bytes += slot->reply_cap;
	}
	memcpy(slot->reply, reply, len);
	slot->reply_len = len;
	return true;
}

static void get_slot(struct snapshot_in *in, struct state *s, struct session *session, uint32_t n)
    REQUIRES(&session->lock)
{
	struct slot *slot = n < session->nslots ? session_slot(session, n) : NULL;
	const uint8_t *reply;
	uint32_t len;

	if (!slot) {
		if (n < session->nslots)
			in->err = -ENOMEM;
		snapshot_bad(in);
		return;
	}
	slot->seqid = snapshot_get_u32(in);
	slot->used = snapshot_get_bool(in);
	slot->told_target = snapshot_get_bool(in);
	slot->unknown = snapshot_get_bool(in);
	slot->request_hash = snapshot_get_u64(in);
	slot->cached = snapshot_get_bool(in);
	reply = snapshot_get_bytes(in, REPLY_MAX, &len);
	if (in->err == 0 && slot->cached && !keep_reply(s, session, slot, reply, len))
		in->err = -ENOMEM;
}

static void get_session_rest(struct snapshot_in *in, struct state *s, struct session *session)
    REQUIRES(&session->lock)
{
	uint32_t n;

	session->minor = snapshot_get_u32(in);
	session->cb_program = snapshot_get_u32(in);
	session->cb_flavor = snapshot_get_u32(in);
	session->cb_uid = snapshot_get_u32(in);
	session->cb_gid = snapshot_get_u32(in);
	for (unsigned i = 0; i < BACK_SLOTS_MAX; i++)
		session->back_seqids[i] = snapshot_get_u32(in);
	session->nslots = session->target = session->fore.max_slots;
	if (session->nslots == 0 || session->nslots > SLOTS_MAX) {
		snapshot_bad(in);
		session->nslots = session->target = 1;
		return;
	}
	session->moved = in->replica;
	get_kept(in, session);
	if (in->replica) {
		session->had_back = session->flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN;
		return;
	}
	session->had_back = snapshot_get_bool(in);
	session->moved = snapshot_get_bool(in);
	session->nslots = snapshot_get_u32(in);
	session->target = snapshot_get_u32(in);
	if (session->nslots == 0 || session->nslots > SLOTS_MAX || session->target == 0 ||
	    session->target > session->nslots) {
		snapshot_bad(in);
		session->nslots = session->target = 1;
	}
	while (in->err == 0 && (n = snapshot_get_u32(in)) != UINT32_MAX)
		get_slot(in, s, session, n);
}

static void get_session(struct snapshot_in *in, struct state *s, struct client *c)
    REQUIRES(&c->lock)
{
	struct channel_attrs fore, back;
	struct sessionid id;
	struct session *session;
	uint32_t flags;

	snapshot_get(in, id.data, sizeof(id.data));
	flags = snapshot_get_u32(in);
	get_channel(in, &fore);
	get_channel(in, &back);
	if (in->err)
		return;
	session = session_restore(s, c, &id, flags, &fore, &back);
	if (!session) {
		in->err = -ENOMEM;
		return;
	}
	mutex_lock(&session->lock);
	get_session_rest(in, s, session);
	mutex_unlock(&session->lock);
}

/* ----------------------------------------------------------------------- owners ---- */

static void put_owner(struct snapshot_out *o, const struct owner *owner)
{
	const struct owner_reply *r = owner->reply;

	snapshot_put_u32(o, owner->kind);
	snapshot_put_bytes(o, owner->bytes, owner->len);
	snapshot_put_u32(o, owner->uid);
	snapshot_put_u64(o, owner->principal);
	snapshot_put_u32(o, owner->confirmed);
	snapshot_put_u32(o, owner->has_seqid);
	snapshot_put_u32(o, owner->seqid);
	snapshot_put_u32(o, owner->applied);
	snapshot_put_u32(o, owner->applied ? owner->applied_seqid : 0);
	snapshot_put_u32(o, r != NULL);
	if (r) {
		snapshot_put_u32(o, r->fh_len);
		snapshot_put_bytes(o, r->bytes, r->reply_len + r->fh_len);
	}
	snapshot_put_u32(o, owner->denied);
	snapshot_put_u32(o, owner->closed_now);
	snapshot_put_u32(o, owner->closed != NULL);
	if (owner->closed) {
		snapshot_put_u32(o, owner->closed->h.id);
		snapshot_put_u32(o, owner->closed->h.seqid);
	}
}

/* With a mark before each, and after the last. */
static void put_owners(struct snapshot_out *o, const struct list *owners)
{
	const struct owner *owner;

	list_for_each (owner, owners, in_client) {
		snapshot_put_u32(o, 1);
		put_owner(o, owner);
	}
	snapshot_put_u32(o, 0);
}

static void get_reply(struct snapshot_in *in, struct owner *owner)
{
	const uint8_t *bytes;
	uint32_t fh_len, len;

	if (!snapshot_get_bool(in))
		return;
	fh_len = snapshot_get_u32(in);
	bytes = snapshot_get_bytes(in, REPLY_MAX, &len);
	if (fh_len > len) {
		snapshot_bad(in);
		return;
	}
	owner->reply = owner_reply_new((struct bytes){ bytes, len - fh_len },
				       (struct bytes){ bytes + len - fh_len, fh_len });
	if (!owner->reply)
		in->err = -ENOMEM;
}

static void get_owner_rest(struct snapshot_in *in, struct state *s, struct owner *owner)
{
	uint32_t id, seqid;

	owner->principal = snapshot_get_u64(in);
	owner->confirmed = snapshot_get_bool(in);
	owner->has_seqid = snapshot_get_bool(in);
	owner->seqid = snapshot_get_u32(in);
	owner->applied = snapshot_get_bool(in);
	owner->applied_seqid = snapshot_get_u32(in);
	get_reply(in, owner);
	owner->denied = snapshot_get_bool(in);
	owner->closed_now = snapshot_get_bool(in);
	if (!snapshot_get_bool(in))
		return;
	id = snapshot_get_u32(in);
	seqid = snapshot_get_u32(in);
	if (in->err == 0 && !owner_restore_closed(s, owner, id, seqid))
		in->err = -ENOMEM;
}

static struct owner *get_owner(struct snapshot_in *in, struct state *s, struct client *c)
    REQUIRES(&c->lock)
{
	uint32_t kind = snapshot_get_u32(in), len, last = c->last_id;
	struct owner *owner = NULL;
	const uint8_t *bytes = snapshot_get_bytes(in, NFS4_OPAQUE_LIMIT, &len);
	struct bytes name = { bytes, len };
	struct state_result ignored;

	if (kind > OWNER_LOCK)
		snapshot_bad(in);
	if (in->err)
		return NULL;
	if (owner_find(c, kind, name)) {
		snapshot_bad(in);
		return NULL;
	}
	if (owner_obtain(s, c, kind, name, &ignored, &owner) != NFS4_OK) {
		in->err = -ENOMEM;
		return NULL;
	}
	c->last_id = last;
	owner->uid = snapshot_get_u32(in);
	get_owner_rest(in, s, owner);
	return owner;
}

/* The owners that have stateids, for finding them by uid and to restore their order. */
struct owners {
	struct owner **in_order, **by_uid;
	size_t n, cap;
};

static bool owners_add(struct owners *all, struct owner *owner)
{
	if (all->n == all->cap) {
		size_t cap = all->cap ? all->cap * 2 : 16;
		struct owner **more = reallocarray(all->in_order, cap, sizeof(struct owner *));

		if (!more)
			return false;
		all->in_order = more;
		all->cap = cap;
	}
	all->in_order[all->n++] = owner;
	return true;
}

static int by_uid(const void *a, const void *b)
{
	const struct owner *x = *(struct owner *const *)a, *y = *(struct owner *const *)b;

	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

static bool owners_sort(struct owners *all)
{
	all->by_uid = calloc(all->n ? all->n : 1, sizeof(struct owner *));
	if (!all->by_uid)
		return false;
	if (all->n) {
		memcpy(all->by_uid, all->in_order, all->n * sizeof(struct owner *));
		qsort(all->by_uid, all->n, sizeof(struct owner *), by_uid);
	}
	return true;
}

static struct owner *owners_find(const struct owners *all, uint32_t uid, enum owner_kind kind)
{
	size_t low = 0, high = all->n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (all->by_uid[mid]->uid < uid)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == all->n || all->by_uid[low]->uid != uid || all->by_uid[low]->kind != kind)
		return NULL;
	return all->by_uid[low];
}

/* Becoming busy in the order of their first stateids, they may have got out of theirs. */
static void owners_reorder(const struct owners *all, struct client *c) REQUIRES(&c->lock)
{
	for (size_t i = 0; i < all->n; i++) {
		if (!all->in_order[i]->busy)
			continue;
		list_remove(&all->in_order[i]->in_client);
		list_push_back(&c->busy, &all->in_order[i]->in_client);
	}
}

/* --------------------------------------------------------------------- stateids ---- */

static void put_open(struct snapshot_out *o, const struct open *open)
{
	snapshot_put_bytes(o, open->h.file->key, open->h.file->len);
	snapshot_put_u32(o, open->access);
	snapshot_put_u32(o, open->deny);
	snapshot_put_u32(o, open->pairs);
	snapshot_put_u64(o, open->request);
	snapshot_put_u32(o, open->unconfirmed);
	for (unsigned i = 0; i < ARRAY_SIZE(open->creds); i++)
		put_cred(o, open->creds[i]);
}

static void put_locks(struct snapshot_out *o, const struct lock_state *st)
{
	struct state_file *f = st->h.file;
	const struct lock_state *whose;
	struct span span;
	uint64_t from = 0;
	bool exclusive;

	snapshot_put_u32(o, st->open->h.id);
	snapshot_put_u32(o, st->local);
	snapshot_put_u32(o, st->nranges);
	mutex_lock(&f->lock);
	while (ranges_next(f, st->h.owner, from, &span, &exclusive, &whose)) {
		if (whose == st) {
			snapshot_put_u64(o, span.first);
			snapshot_put_u64(o, span.last);
			snapshot_put_u32(o, exclusive);
		}
		if (span.last == NFS4_UINT64_MAX)
			break;
		from = span.last + 1;
	}
	mutex_unlock(&f->lock);
}

static int by_id(const void *a, const void *b)
{
	const struct held *x = *(struct held *const *)a, *y = *(struct held *const *)b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static size_t count_held(struct client *c) REQUIRES(&c->lock)
{
	const struct owner *owner;
	const struct held *h;
	size_t n = 0;

	list_for_each (owner, &c->busy, in_client)
		list_for_each (h, &owner->states, in_owner)
			n++;
	return n;
}

static void put_held(struct snapshot_out *o, struct client *c) REQUIRES(&c->lock)
{
	size_t n = count_held(c), i = 0;
	struct held **all = calloc(n ? n : 1, sizeof(struct held *)), *h;
	const struct owner *owner;

	if (!all) {
		o->err = -ENOMEM;
		return;
	}
	list_for_each (owner, &c->busy, in_client)
		list_for_each (h, &owner->states, in_owner)
			all[i++] = h;
	qsort(all, n, sizeof(struct held *), by_id);
	for (i = 0; i < n; i++) {
		h = all[i];
		snapshot_put_u32(o, 1);
		snapshot_put_u32(o, h->kind);
		snapshot_put_u32(o, h->id);
		snapshot_put_u32(o, h->seqid);
		snapshot_put_u32(o, h->owner->uid);
		if (h->kind == HELD_OPEN)
			put_open(o, held_open(h));
		else
			put_locks(o, held_lock(h));
	}
	snapshot_put_u32(o, 0);
	free(all);
}

static void get_creds(struct snapshot_in *in, struct open *open)
{
	for (unsigned i = 0; i < ARRAY_SIZE(open->creds); i++)
		open->creds[i] = get_cred(in);
}

static void get_open(struct snapshot_in *in, struct state *s, struct client *c,
		     struct owner *owner, uint32_t id, uint32_t seqid) REQUIRES(&c->lock)
{
	struct open what = { .h = { .id = id, .seqid = seqid } }, *open = NULL;
	uint8_t key[FILE_KEY_MAX];
	const uint8_t *bytes;
	uint32_t len, access, deny;

	bytes = snapshot_get_bytes(in, sizeof(key), &len);
	memcpy(key, bytes, len);
	access = snapshot_get_u32(in);
	deny = snapshot_get_u32(in);
	what.pairs = (uint16_t)snapshot_get_u32(in);
	what.request = snapshot_get_u64(in);
	what.unconfirmed = snapshot_get_bool(in);
	if (access == 0 || access > OPEN4_SHARE_ACCESS_BOTH || deny > OPEN4_SHARE_DENY_BOTH)
		snapshot_bad(in);
	what.access = (uint8_t)access;
	what.deny = (uint8_t)deny;
	if (in->err == 0) {
		open = open_restore(s, c, owner, (struct bytes){ key, len }, &what);
		if (!open)
			in->err = -ENOMEM;
	}
	if (open)
		get_creds(in, open);
}

static struct held *find_held(struct state *s, struct client *c, uint32_t id) REQUIRES(&c->lock)
{
	struct held wanted = { .client = c, .id = id };
	struct stateid stateid;

	stateid_fill(s, &wanted, &stateid);
	return held_find(s, c, &stateid);
}

static struct open *find_open(struct state *s, struct client *c, uint32_t id) REQUIRES(&c->lock)
{
	struct held *h = find_held(s, c, id);

	return h && h->kind == HELD_OPEN ? held_open(h) : NULL;
}

static void get_locks(struct snapshot_in *in, struct state *s, struct client *c,
		      struct owner *owner, uint32_t id, uint32_t seqid) REQUIRES(&c->lock)
{
	struct open *open = find_open(s, c, snapshot_get_u32(in));
	bool local = snapshot_get_bool(in);
	uint32_t n = snapshot_get_u32(in);
	struct lock_state *st;

	if (!open)
		snapshot_bad(in);
	if (in->err)
		return;
	st = lock_state_restore(s, c, owner, open, id, seqid);
	if (!st)
		in->err = -ENOMEM;
	else
		st->local = local;
	while (in->err == 0 && n-- > 0) {
		struct span span = { snapshot_get_u64(in), snapshot_get_u64(in) };
		bool exclusive = snapshot_get_bool(in);

		if (span.first > span.last)
			snapshot_bad(in);
		else if (in->err == 0 && !lock_restore(s, c, st, span, exclusive))
			in->err = -ENOMEM;
	}
}

static void get_held(struct snapshot_in *in, struct state *s, struct client *c,
		     const struct owners *all) REQUIRES(&c->lock)
{
	uint32_t last = 0;

	while (snapshot_get_bool(in)) {
		uint32_t kind = snapshot_get_u32(in), id = snapshot_get_u32(in);
		uint32_t seqid = snapshot_get_u32(in), uid = snapshot_get_u32(in);
		bool is_open = kind == HELD_OPEN;
		struct owner *owner = owners_find(all, uid, is_open ? OWNER_OPEN : OWNER_LOCK);

		if (!owner || id <= last || (!is_open && kind != HELD_LOCK))
			snapshot_bad(in);
		if (in->err)
			return;
		last = id;
		if (is_open)
			get_open(in, s, c, owner, id, seqid);
		else
			get_locks(in, s, c, owner, id, seqid);
	}
}

/* ------------------------------------------------------------------ delegations ---- */

static void put_recalled(struct snapshot_out *o, const struct deleg *d)
{
	struct state_file *f = d->h.file;

	mutex_lock(&f->lock);
	snapshot_put_u32(o, d->recalled);
	mutex_unlock(&f->lock);
}

static void put_request(struct snapshot_out *o, const struct request_ref *r)
{
	snapshot_put_u32(o, r->present);
	if (!r->present)
		return;
	snapshot_put(o, r->session.data, sizeof(r->session.data));
	snapshot_put_u32(o, r->slot);
	snapshot_put_u32(o, r->seqid);
}

static void get_request(struct snapshot_in *in, struct request_ref *r)
{
	*r = (struct request_ref){ .present = snapshot_get_bool(in) };
	if (!r->present)
		return;
	snapshot_get(in, r->session.data, sizeof(r->session.data));
	r->slot = snapshot_get_u32(in);
	r->seqid = snapshot_get_u32(in);
}

static void put_delegs(struct snapshot_out *o, struct client *c) REQUIRES(&c->lock)
{
	struct held *h;

	list_for_each (h, &c->delegs, in_owner) {
		const struct deleg *d = held_deleg(h);

		snapshot_put_u32(o, 1);
		snapshot_put_u32(o, h->id);
		snapshot_put_u32(o, h->seqid);
		snapshot_put_bytes(o, h->file->key, h->file->len);
		snapshot_put_u32(o, d->type);
		snapshot_put_u32(o, d->revoked);
		if (o->replica)
			put_recalled(o, d);
		snapshot_put_bytes(o, d->fh, d->fh_len);
		snapshot_put_u64(o, d->change);
		snapshot_put_u64(o, d->granted_change);
		snapshot_put_u32(o, d->times);
		snapshot_put_u32(o, d->directory);
		put_request(o, &d->granted_by);
		put_cred(o, d->cred);
	}
	snapshot_put_u32(o, 0);
}

static void get_deleg(struct snapshot_in *in, struct state *s, struct client *c)
    REQUIRES(&c->lock)
{
	struct deleg what = { 0 }, *d = NULL;
	uint8_t key[FILE_KEY_MAX];
	const uint8_t *bytes;
	uint32_t len, type, fh_len;

	what.h.id = snapshot_get_u32(in);
	what.h.seqid = snapshot_get_u32(in);
	bytes = snapshot_get_bytes(in, sizeof(key), &len);
	memcpy(key, bytes, len);
	type = snapshot_get_u32(in);
	what.revoked = snapshot_get_bool(in);
	what.recalled = in->replica && snapshot_get_bool(in);
	bytes = snapshot_get_bytes(in, sizeof(what.fh), &fh_len);
	memcpy(what.fh, bytes, fh_len);
	what.fh_len = (uint8_t)fh_len;
	what.change = snapshot_get_u64(in);
	what.granted_change = snapshot_get_u64(in);
	what.times = snapshot_get_bool(in);
	what.directory = snapshot_get_bool(in);
	get_request(in, &what.granted_by);
	what.type = (uint8_t)type;
	if (type != OPEN_DELEGATE_READ && type != OPEN_DELEGATE_WRITE)
		snapshot_bad(in);
	if (in->err == 0) {
		d = deleg_restore(s, c, (struct bytes){ key, len }, &what);
		if (!d)
			in->err = -ENOMEM;
	}
	if (d)
		d->cred = get_cred(in);
}

/* ---------------------------------------------------------------------- clients ---- */

static void put_record(struct snapshot_out *o, const struct client *c)
{
	snapshot_put_bytes(o, c->name->bytes, c->name->len);
	snapshot_put(o, c->verifier.data, sizeof(c->verifier.data));
	snapshot_put_bytes(o, c->principal, c->principal_len);
	snapshot_put_u32(o, c->state_protect);
	snapshot_put(o, c->confirm.data, sizeof(c->confirm.data));
	put_callback(o, &c->callback);
	snapshot_put_u32(o, c->update != NULL);
	if (c->update) {
		put_callback(o, &c->update->callback);
		snapshot_put(o, c->update->confirm.data, sizeof(c->update->confirm.data));
	}
	snapshot_put_u32(o, c->create.sequence);
	snapshot_put_u64(o, c->create.principal);
	snapshot_put_u32(o, c->create.status);
	snapshot_put(o, c->create.session.data, sizeof(c->create.session.data));
	snapshot_put_u32(o, c->create.flags);
	put_channel(o, &c->create.fore);
	put_channel(o, &c->create.back);
	snapshot_put_u32(o, c->last_session);
}

static void put_client(struct snapshot_out *o, struct client *c)
{
	struct session *session;

	snapshot_put_u32(o, c->counter);
	snapshot_put_u32(o, c->v40);
	snapshot_put_u32(o, c->confirmed);
	put_record(o, c);
	mutex_lock(&c->lock);
	snapshot_put_u32(o, c->reclaim_complete);
	snapshot_put_u32(o, c->reclaim_needed);
	snapshot_put_u32(o, c->reclaimed);
	snapshot_put_u32(o, c->recorded);
	snapshot_put_u32(o, c->home);
	snapshot_put_u32(o, c->adoptions);
	snapshot_put_u32(o, c->silent);
	snapshot_put_u32(o, c->last_id);
	list_for_each (session, &c->sessions, in_client) {
		snapshot_put_u32(o, 1);
		put_session(o, session);
	}
	snapshot_put_u32(o, 0);
	put_owners(o, &c->busy);
	put_owners(o, &c->idle);
	put_held(o, c);
	snapshot_put_u32(o, c->kept_deleg);
	put_delegs(o, c);
	mutex_unlock(&c->lock);
}

static bool get_update(struct snapshot_in *in, struct client *c)
{
	if (!snapshot_get_bool(in))
		return true;
	c->update = calloc(1, sizeof(*c->update));
	if (!c->update)
		return false;
	get_callback(in, &c->update->callback);
	snapshot_get(in, c->update->confirm.data, sizeof(c->update->confirm.data));
	return true;
}

static void get_record_rest(struct snapshot_in *in, struct client *c)
{
	c->state_protect = snapshot_get_u32(in);
	snapshot_get(in, c->confirm.data, sizeof(c->confirm.data));
	get_callback(in, &c->callback);
	if (!get_update(in, c))
		in->err = -ENOMEM;
	c->create.sequence = snapshot_get_u32(in);
	c->create.principal = snapshot_get_u64(in);
	c->create.status = (enum nfsstat4)snapshot_get_u32(in);
	snapshot_get(in, c->create.session.data, sizeof(c->create.session.data));
	c->create.flags = snapshot_get_u32(in);
	get_channel(in, &c->create.fore);
	get_channel(in, &c->create.back);
	c->last_session = snapshot_get_u32(in);
}

static struct client *get_record(struct snapshot_in *in, struct state *s)
    REQUIRES(&s->names_lock)
{
	uint8_t owner[OWNER_MAX];
	struct nfs_verifier verifier;
	uint32_t counter = snapshot_get_u32(in), owner_len, len;
	bool v40 = snapshot_get_bool(in), confirmed = snapshot_get_bool(in);
	const uint8_t *bytes = snapshot_get_bytes(in, sizeof(owner), &owner_len);
	struct client *c;

	memcpy(owner, bytes, owner_len);
	snapshot_get(in, verifier.data, sizeof(verifier.data));
	bytes = snapshot_get_bytes(in, PRINCIPAL_MAX, &len);
	if (counter <= s->last_client)
		snapshot_bad(in);
	if (in->err)
		return NULL;
	c = client_restore(s, counter, v40, confirmed, (struct bytes){ owner, owner_len },
			   &verifier, (struct bytes){ bytes, len });
	if (!c) {
		in->err = -ENOMEM;
		return NULL;
	}
	get_record_rest(in, c);
	return c;
}

static void get_owners(struct snapshot_in *in, struct state *s, struct client *c,
		       struct owners *busy) REQUIRES(&c->lock)
{
	while (snapshot_get_bool(in)) {
		struct owner *owner = get_owner(in, s, c);

		if (!owner)
			return;
		if (!owners_add(busy, owner))
			in->err = -ENOMEM;
	}
	while (snapshot_get_bool(in))
		get_owner(in, s, c);
	if (in->err == 0 && !owners_sort(busy))
		in->err = -ENOMEM;
}

static void get_client(struct snapshot_in *in, struct state *s) REQUIRES(&s->names_lock)
{
	struct client *c = get_record(in, s);
	struct owners busy = { 0 };

	if (!c)
		return;
	mutex_lock(&c->lock);
	c->reclaim_complete = snapshot_get_bool(in);
	c->reclaim_needed = snapshot_get_bool(in);
	c->reclaimed = snapshot_get_bool(in);
	c->recorded = snapshot_get_bool(in);
	c->home = snapshot_get_u32(in);
	c->adoptions = snapshot_get_u32(in);
	c->silent = snapshot_get_bool(in);
	c->last_id = snapshot_get_u32(in);
	while (snapshot_get_bool(in))
		get_session(in, s, c);
	get_owners(in, s, c, &busy);
	if (in->err == 0)
		get_held(in, s, c, &busy);
	if (in->err == 0)
		owners_reorder(&busy, c);
	c->kept_deleg = snapshot_get_bool(in);
	while (snapshot_get_bool(in))
		get_deleg(in, s, c);
	mutex_unlock(&c->lock);
	free(busy.in_order);
	free(busy.by_uid);
}

/* ------------------------------------------------------- the order of files' opens ---- */

static void put_place(struct snapshot_out *o, const struct held *h)
{
	snapshot_put_u32(o, h->client->counter);
	snapshot_put_u32(o, h->id);
}

static void put_order(struct snapshot_out *o, struct state_file *f)
{
	struct open *open;
	struct deleg *d;

	mutex_lock(&f->lock);
	if (f->opens.next != f->opens.prev || f->delegs.next != f->delegs.prev) {
		snapshot_put_u32(o, 1);
		snapshot_put_bytes(o, f->key, f->len);
		list_for_each (open, &f->opens, in_file)
			put_place(o, &open->h);
		list_for_each (d, &f->delegs, in_file)
			put_place(o, &d->h);
		snapshot_put_u32(o, 0);
	}
	mutex_unlock(&f->lock);
}

struct files {
	struct state_file **all; /* references */
	size_t n, room;
};

static bool files_add(struct files *files, struct state_file *f)
{
	if (files->n == files->room) {
		size_t room = files->room ? files->room * 2 : 64;
		struct state_file **more =
		    reallocarray(files->all, room, sizeof(struct state_file *));

		if (!more)
			return false;
		files->all = more;
		files->room = room;
	}
	files->all[files->n++] = f;
	return true;
}

static bool gather(struct files *files, struct stripe *stripe) REQUIRES(&stripe->lock)
{
	uint32_t size = stripe->table.size ? stripe->table.size : 1;
	bool room = true;

	for (uint32_t k = 0; k < size; k++) {
		struct table_node *n = stripe->table.size ? stripe->table.buckets[k]
							  : stripe->table.one;

		for (; n && room; n = n->next) {
			struct state_file *f = container_of(n, struct state_file, by_key);

			room = files_add(files, f);
			f->refs += room;
		}
	}
	return room;
}

static int by_key(const void *a, const void *b)
{
	const struct state_file *x = *(struct state_file *const *)a;
	const struct state_file *y = *(struct state_file *const *)b;
	int order = memcmp(x->key, y->key, x->len < y->len ? x->len : y->len);

	return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void put_orders(struct snapshot_out *o, struct state *s)
{
	struct files files = { 0 };
	bool room = true;

	for (unsigned i = 0; i < STRIPES && room; i++) {
		mutex_lock(&s->by_file[i].lock);
		room = gather(&files, &s->by_file[i]);
		mutex_unlock(&s->by_file[i].lock);
	}
	if (!room && o->err == 0)
		o->err = -ENOMEM;
	if (files.n)
		qsort(files.all, files.n, sizeof(struct state_file *), by_key);
	for (size_t i = 0; i < files.n; i++) {
		put_order(o, files.all[i]);
		state_file_put(s, files.all[i]);
	}
	free(files.all);
	snapshot_put_u32(o, 0);
}

static void move_in_file(struct held *h)
{
	struct state_file *f = h->file;
	struct list *link = h->kind == HELD_OPEN ? &held_open(h)->in_file : &held_deleg(h)->in_file;

	mutex_lock(&f->lock);
	list_remove(link);
	list_push_back(h->kind == HELD_OPEN ? &f->opens : &f->delegs, link);
	mutex_unlock(&f->lock);
}

/* The open or delegation to the end of its file's list. */
static bool move_last(struct state *s, uint32_t counter, uint32_t id)
{
	struct client *c = client_get_counter(s, counter);
	struct held *h;

	if (!c)
		return false;
	mutex_lock(&c->lock);
	h = find_held(s, c, id);
	if (h && h->kind != HELD_OPEN && (h->kind != HELD_DELEG || held_deleg(h)->revoked))
		h = NULL;
	if (h)
		move_in_file(h);
	mutex_unlock(&c->lock);
	client_unref(c);
	return h != NULL;
}

static void get_orders(struct snapshot_in *in, struct state *s)
{
	uint32_t counter, id, len;

	while (snapshot_get_bool(in)) {
		snapshot_get_bytes(in, FILE_KEY_MAX, &len);
		while ((counter = snapshot_get_u32(in)) != 0) {
			id = snapshot_get_u32(in);
			if (in->err == 0 && !move_last(s, counter, id))
				snapshot_bad(in);
		}
	}
}

/* ------------------------------------------- what a replica has of the server itself ---- */

static void put_limits(struct snapshot_out *o, const struct state_limits *l)
{
	snapshot_put_u32(o, l->max_clients);
	snapshot_put_u32(o, l->max_sessions_per_client);
	snapshot_put_u32(o, l->max_slots_per_session);
	snapshot_put_u32(o, l->max_opens_per_client);
	snapshot_put_u32(o, l->max_locks_per_client);
	snapshot_put_u32(o, l->max_owners_per_client);
	snapshot_put_u32(o, l->max_delegs_per_client);
	snapshot_put_u32(o, l->max_locks);
	snapshot_put_u32(o, l->max_delegs);
	snapshot_put_u32(o, l->max_opens);
	snapshot_put_u32(o, l->max_sessions);
	snapshot_put_u32(o, l->max_owners);
	snapshot_put_u64(o, l->max_reply_cache);
	put_channel(o, &l->fore);
}

static void get_limits(struct snapshot_in *in, struct state_limits *l)
{
	l->max_clients = snapshot_get_u32(in);
	l->max_sessions_per_client = snapshot_get_u32(in);
	l->max_slots_per_session = snapshot_get_u32(in);
	l->max_opens_per_client = snapshot_get_u32(in);
	l->max_locks_per_client = snapshot_get_u32(in);
	l->max_owners_per_client = snapshot_get_u32(in);
	l->max_delegs_per_client = snapshot_get_u32(in);
	l->max_locks = snapshot_get_u32(in);
	l->max_delegs = snapshot_get_u32(in);
	l->max_opens = snapshot_get_u32(in);
	l->max_sessions = snapshot_get_u32(in);
	l->max_owners = snapshot_get_u32(in);
	l->max_reply_cache = snapshot_get_u64(in);
	get_channel(in, &l->fore);
	if (l->max_slots_per_session > SLOTS_MAX)
		snapshot_bad(in);
}

static void put_grace(struct snapshot_out *o, struct state *s)
{
	struct grace *g = &s->grace;

	snapshot_put_u32(o, s->granted);
	mutex_lock(&g->lock);
	snapshot_put_u32(o, g->active);
	snapshot_put_u32(o, g->started);
	snapshot_put_u32(o, g->more_to_come);
	snapshot_put_u32(o, g->complete);
	for (unsigned i = 0; i < ARRAY_SIZE(g->generation); i++)
		snapshot_put_u64(o, g->generation[i]);
	snapshot_put_u32(o, g->anybody);
	snapshot_put_u32(o, g->listed);
	snapshot_put_u32(o, g->waiting);
	for (uint32_t i = 0; i < g->nentries; i++) {
		const struct grace_entry *e = g->all[i];

		snapshot_put_u32(o, 1);
		snapshot_put_u32(o, e->done);
		snapshot_put_u32(o, e->stale);
		snapshot_put(o, e->verifier.data, sizeof(e->verifier.data));
		snapshot_put_bytes(o, e->key, e->len);
	}
	snapshot_put_u32(o, 0);
	mutex_unlock(&g->lock);
}

static void get_grace_entry(struct snapshot_in *in, struct grace *g) REQUIRES(&g->lock)
{
	struct nfs_verifier verifier;
	uint32_t len;
	bool done = snapshot_get_bool(in), stale = snapshot_get_bool(in);
	const uint8_t *key;

	snapshot_get(in, verifier.data, sizeof(verifier.data));
	key = snapshot_get_bytes(in, GRACE_KEY_MAX, &len);
	if (in->err == 0 && !grace_restore(g, (struct bytes){ key, len }, &verifier, done, stale))
		in->err = -ENOMEM;
}

static void get_grace(struct snapshot_in *in, struct state *s)
{
	struct grace *g = &s->grace;

	s->granted = snapshot_get_bool(in);
	mutex_lock(&g->lock);
	g->active = snapshot_get_bool(in);
	g->started = snapshot_get_bool(in);
	g->more_to_come = snapshot_get_bool(in);
	g->complete = snapshot_get_bool(in);
	for (unsigned i = 0; i < ARRAY_SIZE(g->generation); i++)
		g->generation[i] = snapshot_get_u64(in);
	g->anybody = snapshot_get_bool(in);
	g->listed = snapshot_get_u32(in);
	g->waiting = snapshot_get_u32(in);
	while (snapshot_get_bool(in))
		get_grace_entry(in, g);
	mutex_unlock(&g->lock);
}

/* -------------------------------------------------------------------- the whole ---- */

static void put_all(struct snapshot_out *o, struct state *s, uint64_t instance)
{
	struct client *c;

	snapshot_put_u64(o, MAGIC);
	snapshot_put_u32(o, SNAPSHOT_VERSION);
	snapshot_put_u32(o, o->replica);
	snapshot_put_u64(o, instance);
	snapshot_put_u32(o, s->config.epoch);
	if (o->replica) {
		put_limits(o, &s->config.limits);
		put_grace(o, s);
	}
	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients) {
		snapshot_put_u32(o, 1);
		put_client(o, c);
	}
	snapshot_put_u32(o, 0);
	snapshot_put_u32(o, s->last_client);
	mutex_unlock(&s->names_lock);
	put_orders(o, s);
}

int state_save(struct state *s, int fd, uint64_t instance)
{
	struct snapshot_out o;
	int err = snapshot_out_init(&o, fd);

	if (err)
		return err;
	put_all(&o, s, instance);
	return snapshot_out_finish(&o);
}

int state_replicate(struct state *s, uint8_t **out, size_t *len)
{
	struct snapshot_out o;
	int err = snapshot_out_init_sink(&o, SNAPSHOT_MEMORY);

	if (err)
		return err;
	o.replica = true;
	put_all(&o, s, 0);
	err = snapshot_out_finish(&o);
	if (err) {
		free(o.bytes);
		return err;
	}
	*out = o.bytes;
	*len = o.nbytes;
	return 0;
}

int state_digest(struct state *s, uint64_t *digest)
{
	struct snapshot_out o;
	int err = snapshot_out_init_sink(&o, SNAPSHOT_DIGEST);

	if (err)
		return err;
	o.replica = true;
	put_all(&o, s, 0);
	err = snapshot_out_finish(&o);
	*digest = o.tag;
	return err;
}

static void get_header(struct snapshot_in *in, uint64_t instance)
{
	uint64_t magic = snapshot_get_u64(in), written_by;
	uint32_t version = snapshot_get_u32(in);

	if (in->err == 0 && magic != MAGIC)
		snapshot_bad(in);
	if (in->err == 0 && version != SNAPSHOT_VERSION)
		in->err = -EPROTONOSUPPORT;
	if (snapshot_get_bool(in) != in->replica)
		snapshot_bad(in);
	written_by = snapshot_get_u64(in);
	if (in->err == 0 && written_by != instance)
		in->err = -ESTALE;
}

static void get_all(struct snapshot_in *in, struct state *s)
{
	struct state_limits limits = s->config.limits;
	uint32_t last;

	s->config.epoch = snapshot_get_u32(in);
	if (in->replica) {
		get_limits(in, &limits);
		get_grace(in, s);
	}
	/* What clients have stays theirs, also if they could not have so much any more. */
	s->config.limits.max_owners_per_client = UINT32_MAX;
	s->config.limits.max_owners = UINT32_MAX;
	mutex_lock(&s->names_lock);
	while (snapshot_get_bool(in))
		get_client(in, s);
	last = snapshot_get_u32(in);
	if (last < s->last_client)
		snapshot_bad(in);
	s->last_client = last;
	mutex_unlock(&s->names_lock);
	get_orders(in, s);
	s->config.limits = limits;
}

int state_load(struct state *s, int fd, uint64_t instance)
{
	struct snapshot_in in;
	int err = snapshot_in_init(&in, fd);

	if (err)
		return err;
	get_header(&in, instance);
	if (in.err == 0)
		get_all(&in, s);
	return snapshot_in_finish(&in);
}

int state_restore(struct state *s, const uint8_t *p, size_t len)
{
	struct snapshot_in in;
	int err = snapshot_in_init_memory(&in, p, len);

	if (err)
		return err;
	in.replica = true;
	get_header(&in, 0);
	if (in.err == 0)
		get_all(&in, s);
	return snapshot_in_finish(&in);
}

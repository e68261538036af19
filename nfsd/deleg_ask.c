/*
 * Questions to holders of write delegations; see deleg_ask.h.
 *
 *	compound -- wait (in its arena), one for each file
 *	                \
 *	                 query, one for each delegation that is being asked about --> CB_GETATTR
 *
 * Compounds that ask about the same delegation at once share a query. Everything is under
 * delegations.ask_lock, also the resuming of compounds: so a call that ends otherwise (the server
 * stops) and takes its waits out of the queries is never resumed afterwards.
 */
#include "nfsd/deleg_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "nfsd/callback/callback.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_private.h"
#include "nfsd/ops.h"

/* One more than this many seconds later a client that asks for attributes is told to come again. */
#define ANSWER_SECONDS 3

struct query {
	struct callback_call call;
	struct nfs_server *server; /* immutable, as the next */
	struct state_deleg deleg;
	struct list link;  /* delegations.queries */
	struct list waits; /* struct wait */
	size_t nargs;
	uint8_t args[4 + NFS4_FHSIZE + 4 + 4 * ATTR_WORDS]; /* CB_GETATTR4args */
};

struct wait {
	struct wait *next; /* of the compound's */
	struct compound *c;
	struct bytes key; /* in the arena */
	struct list link; /* in query.waits, until answered */
	struct deleg_answer answer;
};

/* What a compound waits for. */
struct asking {
	struct wait *waits;
	unsigned pending;
	bool parked;
};

bool deleg_knows_better(const struct attr_bitmap *wanted)
{
	return attr_test(wanted, FATTR4_CHANGE) || attr_test(wanted, FATTR4_SIZE) ||
	       attr_test(wanted, FATTR4_SPACE_USED) || attr_test(wanted, FATTR4_TIME_ACCESS) ||
	       attr_test(wanted, FATTR4_TIME_MODIFY) || attr_test(wanted, FATTR4_TIME_METADATA);
}

/* ---- the answer ---- */

static bool get_time(struct xdr_in *x, struct timespec *ts)
{
	uint64_t sec;
	uint32_t nsec;

	if (!xdr_get_u64(x, &sec) || !xdr_get_u32(x, &nsec) || nsec >= NS_PER_SEC)
		return false;
	ts->tv_sec = (time_t)(int64_t)sec;
	ts->tv_nsec = (long)nsec;
	return true;
}

/* fattr4; false unless it is well-formed and has nothing but what was asked for. */
static bool get_answer(struct xdr_in *x, struct deleg_answer *a)
{
	struct fattr f;
	struct xdr_in v;
	bool good = xdr_get_fattr(x, &f) && !f.unknown_bits;

	if (!good)
		return false;
	xdr_in_init(&v, f.values.p, f.values.len);
	a->has_change = attr_test(&f.mask, FATTR4_CHANGE);
	a->has_size = attr_test(&f.mask, FATTR4_SIZE);
	a->has_atime = attr_test(&f.mask, FATTR4_TIME_DELEG_ACCESS);
	a->has_mtime = attr_test(&f.mask, FATTR4_TIME_DELEG_MODIFY);
	if (a->has_change)
		good = good && xdr_get_u64(&v, &a->change);
	if (a->has_size)
		good = good && xdr_get_u64(&v, &a->size) && a->size <= INT64_MAX;
	if (a->has_atime)
		good = good && get_time(&v, &a->atime);
	if (a->has_mtime)
		good = good && get_time(&v, &a->mtime);
	return good && xdr_in_left(&v) == 0;
}

static void give(struct wait *w, const struct deleg_answer *answer)
{
	struct asking *asking = w->c->asking;

	list_remove(&w->link);
	w->answer = *answer;
	asking->pending--;
	if (asking->pending == 0 && asking->parked) {
		asking->parked = false;
		compound_resume(w->c);
	}
}

static void query_done(struct callback_call *call)
{
	struct query *q = container_of(call, struct query, call);
	struct delegations *d = q->server->delegations;
	struct deleg_answer answer = {
		.known_change = q->deleg.change,
		.granted_change = q->deleg.granted_change,
	};
	struct wait *w;

	if (call->outcome == CALLBACK_ANSWERED && call->status == NFS4_OK)
		answer.answered = get_answer(&call->result, &answer);
	mutex_lock(&d->ask_lock);
	list_remove(&q->link);
	while ((w = list_first(&q->waits, struct wait, link)))
		give(w, &answer);
	mutex_unlock(&d->ask_lock);
	free(q);
}

/* ---- the question ---- */

static void put_word(struct query *q, uint32_t word)
{
	word = htobe32(word);
	memcpy(q->args + q->nargs, &word, sizeof(word));
	q->nargs += sizeof(word);
}

static void put_args(struct query *q)
{
	struct attr_bitmap wanted = { 0 };

	attr_add(&wanted, FATTR4_CHANGE);
	attr_add(&wanted, FATTR4_SIZE);
	if (q->deleg.times) {
		attr_add(&wanted, FATTR4_TIME_DELEG_ACCESS);
		attr_add(&wanted, FATTR4_TIME_DELEG_MODIFY);
	}
	put_word(q, q->deleg.fh_len);
	memcpy(q->args + q->nargs, q->deleg.fh, q->deleg.fh_len);
	q->nargs += q->deleg.fh_len + xdr_pad(q->deleg.fh_len);
	if (!q->deleg.times) {
		put_word(q, 1);
		put_word(q, wanted.word[0]);
		return;
	}
	put_word(q, ATTR_WORDS);
	for (unsigned i = 0; i < ATTR_WORDS; i++)
		put_word(q, wanted.word[i]);
}

static struct query *query_new(struct nfs_server *s, const struct state_deleg *deleg)
{
	struct query *q = calloc(1, sizeof(*q));

	if (!q)
		return NULL;
	q->server = s;
	q->deleg = *deleg;
	list_init(&q->waits);
	put_args(q);
	q->call = (struct callback_call){
		.clientid = deleg->clientid,
		.op = OP_CB_GETATTR,
		.args = { q->args, (uint32_t)q->nargs },
		.timeout_ns = ANSWER_SECONDS * NS_PER_SEC,
		.done = query_done,
	};
	return q;
}

static struct query *query_find(struct delegations *d, const struct state_deleg *deleg)
    REQUIRES(&d->ask_lock)
{
	struct query *q;

	list_for_each (q, &d->queries, link) {
		if (q->deleg.clientid == deleg->clientid && q->deleg.fh_len == deleg->fh_len &&
		    memcmp(q->deleg.fh, deleg->fh, deleg->fh_len) == 0)
			return q;
	}
	return NULL;
}

static struct wait *wait_find(struct compound *c, struct bytes key)
{
	struct wait *w = c->asking ? c->asking->waits : NULL;

	while (w && (w->key.len != key.len || memcmp(w->key.p, key.p, key.len) != 0))
		w = w->next;
	return w;
}

static struct wait *wait_new(struct compound *c, struct bytes key)
{
	struct arena *arena = &c->call->arena;
	struct wait *w = arena_zalloc(arena, sizeof(*w));
	uint8_t *own_key = arena_alloc(arena, key.len);

	if (!c->asking)
		c->asking = arena_zalloc(arena, sizeof(*c->asking));
	if (!w || !own_key || !c->asking)
		return NULL;
	memcpy(own_key, key.p, key.len);
	w->c = c;
	w->key = (struct bytes){ own_key, key.len };
	list_init(&w->link);
	w->next = c->asking->waits;
	c->asking->waits = w;
	return w;
}

bool deleg_ask(struct compound *c, struct bytes key)
{
	struct nfs_server *s = c->server;
	struct delegations *d = s->delegations;
	struct state_deleg deleg;
	struct query *q, *fresh = NULL;
	struct wait *w;

	if (wait_find(c, key))
		return true;
	if (!s->options.delegations || !state_write_deleg(s->state, key, c->clientid, &deleg))
		return false;
	w = wait_new(c, key);
	/* Unanswered: one that is on its way back, or whose holder cannot be called. */
	if (!w || deleg.recalled || !callback_path_up(s, deleg.clientid))
		return w != NULL;
	mutex_lock(&d->ask_lock);
	q = query_find(d, &deleg);
	if (!q) {
		q = fresh = query_new(s, &deleg);
		if (q)
			list_push_back(&d->queries, &q->link);
	}
	if (q) {
		list_push_back(&q->waits, &w->link);
		c->asking->pending++;
	}
	mutex_unlock(&d->ask_lock);
	/* It is done() by another thread, so the query is there until it has been sent. */
	if (fresh)
		callback_send(s, &fresh->call);
	return true;
}

enum nfsstat4 deleg_ask_wait(struct compound *c)
{
	struct delegations *d = c->server->delegations;
	bool wait;

	if (!c->asking)
		return NFS4_OK;
	mutex_lock(&d->ask_lock);
	wait = c->asking->pending > 0;
	c->asking->parked = wait;
	mutex_unlock(&d->ask_lock);
	return wait ? NFS4_PARKED : NFS4_OK;
}

const struct deleg_answer *deleg_answer(struct compound *c, struct bytes key)
{
	struct wait *w = wait_find(c, key);
	struct state_deleg now;

	/* What has been returned since is in the file. */
	if (!w || !state_write_deleg(c->server->state, key, c->clientid, &now))
		return NULL;
	return &w->answer;
}

void deleg_ask_end(struct compound *c)
{
	struct delegations *d = c->server->delegations;

	if (likely(!c->asking))
		return;
	mutex_lock(&d->ask_lock);
	for (struct wait *w = c->asking->waits; w; w = w->next)
		list_remove(&w->link);
	c->asking->parked = false;
	mutex_unlock(&d->ask_lock);
	c->asking = NULL;
}

/* ---- applying it ---- */

static bool later(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec > b->tv_sec : a->tv_nsec > b->tv_nsec;
}

static struct timespec clamp(struct timespec t, const struct timespec *now)
{
	return later(&t, now) ? *now : t;
}

/*
 * The holder has changed the file if it says another change attribute than it was told last or with
 * the grant (some keep to that, whatever they write), or the file's own now.
 */
static bool is_modified(const struct deleg_answer *a, const struct attr *attr)
{
	return (a->has_change && a->change != a->known_change && a->change != a->granted_change &&
		a->change != attr->change) ||
	       (a->has_size && a->size != attr->size) ||
	       (a->has_mtime && later(&a->mtime, &attr->mtime));
}

enum nfsstat4 deleg_answer_apply(struct compound *c, struct object *obj,
				 const struct deleg_answer *a, struct attr *attr)
{
	struct attr_set set = { .mask = ATTR_SET_MTIME_NOW };
	struct timespec now;
	uint32_t done;
	int err;

	clock_gettime(CLOCK_REALTIME, &now);
	if (is_modified(a, attr)) {
		if (a->has_mtime && later(&a->mtime, &attr->mtime)) {
			set.mask = ATTR_SET_MTIME;
			set.mtime = clamp(a->mtime, &now);
		}
		set.lazy = true;
		err = obj->backend->setattr
			  ? obj->backend->setattr(obj, NULL, cred_root(), &set, &done)
			  : 0;
		if (!err)
			err = obj->backend->getattr(obj, attr);
		if (err)
			return status_from_errno(err);
		if (a->has_size)
			attr->size = a->size;
	}
	if (a->has_atime && later(&a->atime, &attr->atime))
		attr->atime = clamp(a->atime, &now);
	return NFS4_OK;
}

enum nfsstat4 deleg_store_times(struct object *obj, const struct timespec *atime,
				const struct timespec *mtime)
{
	struct attr_set set = { 0 };
	struct timespec now;
	struct attr attr;
	uint32_t done;
	int err = obj->backend->getattr(obj, &attr);

	if (err)
		return status_from_errno(err);
	clock_gettime(CLOCK_REALTIME, &now);
	if (!mtime || !later(mtime, &attr.mtime))
		return NFS4_OK;
	set.mask = ATTR_SET_MTIME;
	set.mtime = clamp(*mtime, &now);
	if (atime && later(atime, &attr.atime)) {
		set.mask |= ATTR_SET_ATIME;
		set.atime = clamp(*atime, &now);
	}
	return status_from_errno(obj->backend->setattr(obj, NULL, cred_root(), &set, &done));
}

/*
 * Visiting what clients hold. The clients are collected first, with references, under names_lock;
 * then each is looked at under its own lock, so that only one of them waits at a time.
 */
#include "nfsd/state/inspect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "nfsd/state/state_private.h"

struct crowd {
	struct client **clients; /* references */
	uint32_t n;
};

static int crowd_gather(struct state *s, struct crowd *out)
{
	struct client *c;
	int err = 0;

	*out = (struct crowd){ 0 };
	mutex_lock(&s->names_lock);
	out->clients = malloc((s->nclients + 1) * sizeof(*out->clients));
	if (out->clients) {
		list_for_each (c, &s->clients, in_clients) {
			atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
			out->clients[out->n++] = c;
		}
	} else {
		err = -ENOMEM;
	}
	mutex_unlock(&s->names_lock);
	return err;
}

static void crowd_release(struct crowd *crowd)
{
	for (uint32_t i = 0; i < crowd->n; i++)
		client_unref(crowd->clients[i]);
	free(crowd->clients);
}

/* ------------------------------------------------------------------------ clients ---- */

static void describe_client(struct state *s, struct client *c, struct state_client_info *info)
    REQUIRES(&s->names_lock)
{
	uint64_t now = state_now(s), heard = c->heard_ns;
	uint64_t silent = now > heard ? now - heard : 0;

	*info = (struct state_client_info){
		.clientid = c->id,
		.v40 = c->v40,
		.confirmed = c->confirmed,
		.owner = { c->name->bytes, c->name->len },
		.home = c->home,
		.silent_ms = silent / NS_PER_MS,
		.lease_passed = silent > s->config.lease_seconds * NS_PER_SEC,
		.recorded = c->record == RECORD_STORED,
		.delegations = c->ndelegs,
		.revoked = c->nrevoked,
		.opens = c->nopens,
		.callback = c->v40 ? c->callback.addr : "",
	};
}

static bool visit_client(struct state *s, struct client *c, state_visit_client *visit, void *arg)
{
	struct state_client_info info;
	bool on = true;

	mutex_lock(&s->names_lock);
	if (c->name) { /* else it has gone meanwhile */
		describe_client(s, c, &info);
		mutex_lock(&c->lock);
		info.sessions = c->nsessions;
		info.owners = c->nowners;
		info.locks = c->nlocks;
		mutex_unlock(&c->lock);
		on = visit(arg, &info);
	}
	mutex_unlock(&s->names_lock);
	return on;
}

int state_visit_clients(struct state *s, state_visit_client *visit, void *arg)
{
	struct crowd crowd;
	int err = crowd_gather(s, &crowd);

	for (uint32_t i = 0; i < crowd.n && visit_client(s, crowd.clients[i], visit, arg); i++)
		;
	crowd_release(&crowd);
	return err;
}

/* ----------------------------------------------------------------------- sessions ---- */

static bool visit_session(struct session *session, state_visit_session *visit, void *arg)
{
	struct state_session_info info;
	struct binding *b;

	mutex_lock(&session->lock);
	info = (struct state_session_info){
		.clientid = session->client->id,
		.session = session->id,
		.minor = session->minor,
		.slots = session->nslots,
		.connections = session->nbindings,
		.back_path = session->back_path,
	};
	list_for_each (b, &session->bindings, in_session)
		info.back_channel |= (b->dir & CDFS4_BACK) != 0;
	mutex_unlock(&session->lock);
	return visit(arg, &info);
}

int state_visit_sessions(struct state *s, state_visit_session *visit, void *arg)
{
	struct crowd crowd;
	struct session *session;
	int err = crowd_gather(s, &crowd);
	bool on = true;

	for (uint32_t i = 0; i < crowd.n && on; i++) {
		struct client *c = crowd.clients[i];

		mutex_lock(&c->lock);
		list_for_each (session, &c->sessions, in_client) {
			on = visit_session(session, visit, arg);
			if (!on)
				break;
		}
		mutex_unlock(&c->lock);
	}
	crowd_release(&crowd);
	return err;
}

/* ------------------------------------------------------------------- what is held ---- */

struct tour {
	state_visit_hold *visit;
	void *arg;
};

static struct bytes file_key(const struct held *h)
{
	return h->file ? (struct bytes){ h->file->key, h->file->len } : (struct bytes){ 0 };
}

static struct state_hold_info describe_held(const struct held *h, enum state_hold_kind kind)
{
	return (struct state_hold_info){
		.kind = kind,
		.clientid = h->client->id,
		.owner = h->owner ? (struct bytes){ h->owner->bytes, h->owner->len }
				  : (struct bytes){ 0 },
		.file = file_key(h),
	};
}

static bool visit_ranges(const struct tour *tour, struct lock_state *st)
{
	struct state_hold_info info = describe_held(&st->h, HOLD_LOCK);
	const struct lock_state *of;
	struct state_file *f = st->open->h.file;
	struct span span;
	uint64_t from = 0;
	bool on = true;

	if (!f)
		return true;
	info.file = (struct bytes){ f->key, f->len };
	mutex_lock(&f->lock);
	while (on && ranges_next(f, st->h.owner, from, &span, &info.exclusive, &of)) {
		info.first = span.first;
		info.last = span.last;
		if (of == st)
			on = tour->visit(tour->arg, &info);
		if (span.last == NFS4_UINT64_MAX)
			break;
		from = span.last + 1;
	}
	mutex_unlock(&f->lock);
	return on;
}

static bool visit_open(const struct tour *tour, struct open *open)
{
	struct state_hold_info info = describe_held(&open->h, HOLD_OPEN);

	info.access = open->access;
	info.deny = open->deny;
	return tour->visit(tour->arg, &info);
}

static bool visit_owners(const struct tour *tour, struct client *c) REQUIRES(&c->lock)
{
	struct owner *o;
	struct held *h;

	list_for_each (o, &c->busy, in_client) {
		list_for_each (h, &o->states, in_owner) {
			if (h->kind == HELD_OPEN && !visit_open(tour, held_open(h)))
				return false;
			if (h->kind == HELD_LOCK && !visit_ranges(tour, held_lock(h)))
				return false;
		}
	}
	return true;
}

static bool visit_delegs(const struct tour *tour, struct client *c) REQUIRES(&c->lock)
{
	struct held *h;

	list_for_each (h, &c->delegs, in_owner) {
		struct state_hold_info info = describe_held(h, HOLD_DELEGATION);
		const struct deleg *d = held_deleg(h);

		info.access = d->type;
		info.revoked = d->revoked;
		if (h->file) {
			mutex_lock(&h->file->lock);
			info.recalled = d->recalled;
			mutex_unlock(&h->file->lock);
		}
		if (!tour->visit(tour->arg, &info))
			return false;
	}
	return true;
}

int state_visit_holds(struct state *s, state_visit_hold *visit, void *arg)
{
	const struct tour tour = { visit, arg };
	struct crowd crowd;
	int err = crowd_gather(s, &crowd);
	bool on = true;

	for (uint32_t i = 0; i < crowd.n && on; i++) {
		struct client *c = crowd.clients[i];

		mutex_lock(&c->lock);
		on = visit_owners(&tour, c) && visit_delegs(&tour, c);
		mutex_unlock(&c->lock);
	}
	crowd_release(&crowd);
	return err;
}

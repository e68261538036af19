/*
 * Agreements on grants; see deleg_agree.h.
 *
 * An agreement is made by the log's thread when the grant is applied, so it is there before any answer. It
 * is found by the delegation's stateid, and is under delegations.agree_lock, as is the resuming of compounds: so a
 * call that ends otherwise (the server stops) and lets go of its agreement is never resumed afterwards.
 * Without memory for one nobody is asked, and the delegation goes back.
 */
#include "nfsd/deleg_agree.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/list.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_private.h"
#include "nfsd/server_private.h"

#define PATIENCE_NS (5 * NS_PER_SEC)
/* Nodes say something every half second. Who waits for one that does not, or its log's thread, waits no longer. */
#define SILENCE_NS  (3 * NS_PER_SEC / 2)

struct agreement {
	struct list link;
	struct stateid stateid;
	uint64_t since_ns;
	struct compound *parked; /* NULL: it has not asked yet, or has gone */
	bool contended;
	uint32_t n; /* those not heard yet */
	uint32_t nodes[CLUSTER_MAX_NODES];
};

static bool same_stateid(const struct stateid *a, const struct stateid *b)
{
	return memcmp(a->other, b->other, NFS4_OTHER_SIZE) == 0;
}

static struct agreement *find(struct delegations *d, const struct stateid *id)
    REQUIRES(d->agree_lock)
{
	struct agreement *a;

	list_for_each (a, &d->agreements, link) {
		if (same_stateid(&a->stateid, id))
			return a;
	}
	return NULL;
}

static void drop(struct agreement *a)
{
	list_remove(&a->link);
	free(a);
}

static void go_on(struct agreement *a)
{
	struct compound *c = a->parked;

	if (!c || a->n)
		return;
	a->parked = NULL;
	compound_resume(c);
}

/* ---- the log's thread ---- */

static void wait_for_others(struct nfs_server *s, struct agreement *a)
{
	mutex_lock(&s->members_lock);
	for (uint32_t i = 0; i < s->members.n; i++) {
		if (s->members.nodes[i] != s->members.self)
			a->nodes[a->n++] = s->members.nodes[i];
	}
	mutex_unlock(&s->members_lock);
}

static void begin_agreement(struct nfs_server *s, const struct stateid *id)
{
	struct delegations *d = s->delegations;
	struct agreement *a = calloc(1, sizeof(*a)), *before;

	if (a) {
		a->stateid = *id;
		a->since_ns = clock_mono_ns();
		wait_for_others(s, a);
	}
	mutex_lock(&d->agree_lock);
	/* A retry is told of the same delegation again. */
	before = find(d, id);
	if (before && !before->parked)
		drop(before);
	if (a)
		list_push_back(&d->agreements, &a->link);
	mutex_unlock(&d->agree_lock);
}

/* The grant stands in the state by now: who comes later and looks finds it. */
static void say_seen(struct nfs_server *s, const struct state_effect *e)
{
	struct state_command cmd = {
		.type = CMD_GRANT_SEEN,
		.clientid = e->clientid,
		.grant_seen = { .stateid = e->stateid, .contended = deleg_is_busy(s, e->file) },
	};

	cluster_submit(s->cluster, &cmd, NULL, NULL, NULL);
}

void deleg_granted_effect(struct nfs_server *s, const struct state_effect *e)
{
	if (!s->replicated)
		return;
	if (e->node == state_node(s->state))
		begin_agreement(s, &e->stateid);
	else if (s->serving)
		say_seen(s, e);
}

static void strike_out(struct agreement *a, uint32_t node)
{
	for (uint32_t i = 0; i < a->n; i++) {
		if (a->nodes[i] == node) {
			a->nodes[i] = a->nodes[--a->n];
			return;
		}
	}
}

void deleg_seen_effect(struct nfs_server *s, const struct state_effect *e)
{
	struct delegations *d = s->delegations;
	struct agreement *a;

	mutex_lock(&d->agree_lock);
	a = find(d, &e->stateid);
	if (a) {
		a->contended |= e->contended;
		strike_out(a, e->node);
		go_on(a);
	}
	mutex_unlock(&d->agree_lock);
}

static bool is_member(const struct cluster_members *m, uint32_t node)
{
	for (uint32_t i = 0; i < m->n; i++) {
		if (m->nodes[i] == node)
			return true;
	}
	return false;
}

void deleg_agree_members(struct nfs_server *s, const struct cluster_members *m)
{
	struct delegations *d = s->delegations;
	struct agreement *a;

	mutex_lock(&d->agree_lock);
	list_for_each (a, &d->agreements, link) {
		for (uint32_t i = a->n; i > 0; i--) {
			if (!is_member(m, a->nodes[i - 1]))
				strike_out(a, a->nodes[i - 1]);
		}
		go_on(a);
	}
	mutex_unlock(&d->agree_lock);
}

/* ---- the compound ---- */

bool deleg_agree_is_likely(struct nfs_server *s)
{
	return !s->delegations->is_silent;
}

enum nfsstat4 deleg_agree(struct compound *c, const struct state_command *cmd,
			  const struct state_result *result, bool *contended)
{
	struct delegations *d = c->server->delegations;
	enum nfsstat4 status = NFS4_OK;
	struct agreement *a;

	*contended = false;
	/* Nothing can have been done to what is reclaimed. */
	if (!c->server->replicated || cmd->open.claim == CLAIM_PREVIOUS ||
	    result->open.delegation == OPEN_DELEGATE_NONE)
		return NFS4_OK;
	mutex_lock(&d->agree_lock);
	a = find(d, &result->open.deleg_stateid);
	if (a && a->n) {
		a->parked = c;
		c->agreeing = true;
		status = NFS4_PARKED;
	} else {
		*contended = !a || a->contended;
		c->agreeing = false;
		if (a)
			drop(a);
	}
	mutex_unlock(&d->agree_lock);
	return status;
}

void deleg_agree_end(struct compound *c)
{
	struct delegations *d = c->server->delegations;
	struct agreement *a;

	if (likely(!c->agreeing))
		return;
	c->agreeing = false;
	mutex_lock(&d->agree_lock);
	list_for_each (a, &d->agreements, link) {
		if (a->parked == c)
			a->parked = NULL;
	}
	mutex_unlock(&d->agree_lock);
}

/* ---- time, the end ---- */

static bool is_any_silent(struct nfs_server *s)
{
	struct cluster_status st = { 0 };
	bool any = false;

	cluster_get_status(s->cluster, &st);
	for (uint32_t i = 0; i < st.n; i++)
		any |= st.nodes[i].phase == CLUSTER_SERVING && st.nodes[i].present &&
		       st.nodes[i].node != st.self &&
		       st.nodes[i].heard_ns > SILENCE_NS;
	return any;
}

void deleg_agree_tick(struct nfs_server *s, uint64_t now)
{
	struct delegations *d = s->delegations;
	struct agreement *a, *next;
	uint64_t patience = PATIENCE_NS;

	if (!s->replicated)
		return;
	d->is_silent = is_any_silent(s);
	if (d->is_silent)
		patience = SILENCE_NS;
	mutex_lock(&d->agree_lock);
	list_for_each_safe (a, next, &d->agreements, link) {
		/* It may have begun after `now` was read. */
		if (now < a->since_ns + patience)
			break; /* those behind are younger */
		if (a->parked) {
			a->contended = true;
			a->n = 0;
			go_on(a);
		} else if (now - a->since_ns > 2 * PATIENCE_NS) {
			drop(a); /* its compound has gone */
		}
	}
	mutex_unlock(&d->agree_lock);
}

void deleg_agree_free(struct delegations *d)
{
	struct agreement *a, *next;

	list_for_each_safe (a, next, &d->agreements, link)
		drop(a);
}

/* Views, HELLOs, decisions, commands. The model is in replica.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "cluster/replica_private.h"

#define DEFAULT_HANG_MS	 5000
#define EPOCH_RING_SHIFT 16 /* generations that can be told apart within a ring */
#define NS_PER_MS	1000000ull
#define UNTOLD_S	 10 /* an eviction may be what it takes */

static const char *const phase_names[] = { "joining", "serving", "suspended", "lost" };

/* ---- small things ---- */

bool replica_same(struct node_address a, struct node_address b)
{
	return a.node == b.node && a.pid == b.pid;
}

struct peer *replica_find(struct replica *r, struct node_address a)
{
	for (unsigned i = 0; i < r->npeers; i++)
		if (replica_same(r->peers[i].addr, a))
			return &r->peers[i];
	return NULL;
}

struct peer *replica_self(struct replica *r)
{
	return replica_find(r, r->self);
}

unsigned replica_count(const struct replica *r, enum peer_state state)
{
	unsigned n = 0;

	for (unsigned i = 0; i < r->npeers; i++)
		n += r->peers[i].state == state;
	return n;
}

struct peer *replica_first_active(struct replica *r)
{
	for (unsigned i = 0; i < r->npeers; i++)
		if (r->peers[i].state == PEER_ACTIVE)
			return &r->peers[i];
	return NULL;
}

static uint64_t now(const struct replica *r)
{
	return r->o.io.mono_ns(r->o.io.ctx);
}

static uint64_t hang_ns(const struct replica *r)
{
	return (r->o.hang_ms ? r->o.hang_ms : DEFAULT_HANG_MS) * NS_PER_MS;
}

/* What depends on how long nodes that live may be silent, not on when others give up on those that hang. */
static uint64_t pace_ns(const struct replica *r)
{
	uint64_t hang = hang_ns(r), most = DEFAULT_HANG_MS * NS_PER_MS;

	return hang < most ? hang : most;
}

/* So long a word of the order, or of this node's corosync, is proof that the others have not gone on without it. */
static uint64_t trust_ns(const struct replica *r)
{
	uint64_t most = pace_ns(r) / 4;

	return r->token_ns && r->token_ns < most ? r->token_ns : most;
}

static void trust(struct replica *r, uint64_t heard_ns)
{
	if (r->current_until < heard_ns + trust_ns(r))
		r->current_until = heard_ns + trust_ns(r);
}

/* < 0, 0, > 0: a is earlier than, equal to, later than b. */
static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int compare_generations(const struct generation *a, const struct generation *b)
{
	int c = compare_u64(a->created, b->created);

	if (!c)
		c = compare_u64(a->id, b->id);
	return c ? c : compare_u64(a->epoch, b->epoch);
}

static int compare_positions(const struct position *a, const struct position *b)
{
	int c = compare_generations(&a->generation, &b->generation);

	return c ? c : compare_u64(a->index, b->index);
}

static bool same_position(const struct position *a, const struct position *b)
{
	return compare_positions(a, b) == 0 && a->digest == b->digest;
}

/* True if it is news. */
static bool see(struct generation *latest, const struct generation *g)
{
	if (compare_generations(g, latest) <= 0)
		return false;
	*latest = *g;
	return true;
}

static void remember(struct replica *r, const struct generation *decided, const struct generation *served)
{
	bool news = see(&r->memory.decided, decided);

	if (served)
		news |= see(&r->memory.served, served);
	if (!news)
		return;
	/* The others are to know that this node does. */
	r->hello_due |= r->connected;
	if (r->o.io.remember)
		r->o.io.remember(r->o.io.ctx, &r->memory);
}

int replica_send(struct replica *r, struct message *m)
{
	uint8_t bytes[MESSAGE_HEADER + 128];
	size_t len;
	int err;

	m->protocol = MESSAGE_PROTOCOL;
	m->session = atomic_load(&r->outbox.session);
	len = message_write(bytes, m);
	err = r->o.io.send(r->o.io.ctx, bytes, len);
	if (err)
		r->blocked = true;
	return err;
}

/* ---- votes ---- */

static bool is_awake(const struct replica *r, const struct peer *p)
{
	return p->state != PEER_OUT;
}

static bool knows_generation(const struct replica *r, const struct peer *p)
{
	return p->state != PEER_OUT && p->heard && !p->foreign &&
	       compare_generations(&p->memory.decided, &r->position.generation) >= 0;
}

/*
 * Have the nodes of these members a quorum of votes? corosync counts those of nodes without a daemon as well,
 * which remember nothing of what their votes were for.
 */
static bool have_votes(const struct replica *r, bool (*counts)(const struct replica *r, const struct peer *p))
{
	uint32_t nodes[CLUSTER_MAX_NODES];
	unsigned n = 0;

	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];

		if (counts(r, p) && (n == 0 || nodes[n - 1] != p->addr.node))
			nodes[n++] = p->addr.node;
	}
	return n > 0 && r->o.io.enough(r->o.io.ctx, nodes, n);
}

static void note_told(struct replica *r)
{
	r->told = r->phase == CLUSTER_SERVING && have_votes(r, knows_generation);
}

/* ---- own commands ---- */

static void finish(struct outbox_entry *e)
{
	if (e->done)
		e->done(e->arg);
	free(e);
}

static void refuse_all(struct replica *r, struct list *entries)
{
	struct outbox_entry *e, *tmp;

	list_for_each_safe(e, tmp, entries, link) {
		list_remove(&e->link);
		if (e->done && e->result)
			r->o.app.refuse(r->o.app.ctx, e->result);
		finish(e);
	}
}

enum cluster_submitted replica_submit(struct replica *r, const void *command, void *result,
				      void (*done)(void *arg), void *arg)
{
	uint8_t *bytes;
	size_t len;
	int err = r->o.app.encode(r->o.app.ctx, command, &bytes, &len);

	/* Without done() nobody knows how long `result` will live. */
	if (!done && result)
		r->o.app.refuse(r->o.app.ctx, result);
	if (!err) {
		err = outbox_submit(&r->outbox, bytes, len, done ? result : NULL, done, arg);
		if (!err)
			return CLUSTER_PENDING;
		free(bytes);
	}
	if (done && result)
		r->o.app.refuse(r->o.app.ctx, result);
	return CLUSTER_APPLIED;
}

int replica_broadcast(struct replica *r, const void *p, size_t len)
{
	return len > CLUSTER_MAX_BROADCAST ? -EMSGSIZE : outbox_say(&r->outbox, p, len);
}

/* What all active members have applied. */
static uint64_t applied_everywhere(const struct replica *r)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];
		uint64_t acked = replica_same(p->addr, r->self) ? r->position.index : p->acked;

		if (p->state == PEER_ACTIVE && acked < least)
			least = acked;
	}
	return least;
}

static void tell_submitters(struct replica *r)
{
	struct outbox_entry *e, *tmp;
	uint64_t everywhere;

	if (r->phase != CLUSTER_SERVING || r->unsure || !r->quorate || !r->told)
		return;
	list_for_each_safe(e, tmp, &r->applied, link) {
		list_remove(&e->link);
		finish(e);
	}
	if (list_empty(&r->waiting))
		return;
	everywhere = applied_everywhere(r);
	list_for_each_safe(e, tmp, &r->waiting, link) {
		if (e->index > everywhere)
			break;
		list_remove(&e->link);
		finish(e);
	}
}

static void settle(struct replica *r, struct outbox_entry *e)
{
	list_remove(&e->link);
	e->index = r->position.index;
	if (e->done)
		list_push_back(r->o.safe ? &r->waiting : &r->applied, &e->link);
	else
		free(e);
}

static uint64_t digest(const struct position *at, struct node_address from, const uint8_t *p, size_t len)
{
	struct siphash_key key = { at->digest, at->index ^ (uint64_t)from.node << 32 };

	return siphash(&key, p, len);
}

static void apply_batch(struct replica *r, struct node_address from, struct message_batch b,
			struct list *own)
{
	struct outbox_entry *e;
	const uint8_t *p;
	size_t len;

	r->position.digest = digest(&r->position, from, b.commands, b.len);
	while (message_next_command(&b, &p, &len)) {
		e = list_first(own, struct outbox_entry, link);
		r->o.app.apply_bytes(r->o.app.ctx, from.node, p, len, e ? e->result : NULL);
		r->position.index++;
		if (e)
			settle(r, e);
	}
	atomic_store(&r->outbox.applied, r->position.index);
	if (b.safe && !replica_same(from, r->self))
		r->ack_due = true;
}

void replica_apply_message(struct replica *r, struct node_address from, const struct message *m)
{
	struct list own;

	list_init(&own);
	if (m->type == MESSAGE_APP) {
		/* Who has been given other broadcasts has another state. */
		r->position.digest = digest(&r->position, from, m->app.p, m->app.len);
		if (r->o.app.message)
			r->o.app.message(r->o.app.ctx, from.node, m->app.p, m->app.len);
		return;
	}
	if (replica_same(from, r->self))
		outbox_take(&r->outbox, m->batch.seq, &own);
	apply_batch(r, from, m->batch, &own);
	refuse_all(r, &own); /* none, as a batch has as many commands as entries */
}

/* A batch or a broadcast. */
static void take_ordered(struct replica *r, struct peer *from, const struct message *m, const uint8_t *p,
			 size_t len)
{
	if (m->type == MESSAGE_BATCH_OF_COMMANDS && m->batch.acked > from->acked)
		from->acked = m->batch.acked;
	/* Of an earlier session: its sender has refused it. */
	if (from->state != PEER_ACTIVE || m->session != from->session)
		return;
	if (r->tracking)
		replica_apply_message(r, from->addr, m);
	else if (r->loading)
		join_keep(r, from->addr, p, len);
}

/* ---- phases ---- */

void replica_set_phase(struct replica *r, enum cluster_phase phase)
{
	if (phase == r->phase)
		return;
	log_info("cluster: %s (was %s)", phase_names[phase], phase_names[r->phase]);
	r->phase = phase;
	r->o.app.phase(r->o.app.ctx, phase);
}

/*
 * Who joins is told, too, from the mark on at which its state was taken: what depends on who was a member
 * when must come out the same everywhere. At the mark it knows of all active members, since the giver has heard
 * them all before it sent that.
 */
void replica_tell_members(struct replica *r)
{
	const struct generation *g = &r->position.generation, *e = &r->earlier;
	struct cluster_members m = { .self = r->self.node,
				     .generation = { g->created, g->id, g->epoch },
				     .earlier = { e->created, e->id, e->epoch } };

	for (unsigned i = 0; i < r->npeers; i++)
		if (r->peers[i].state == PEER_ACTIVE)
			m.nodes[m.n++] = r->peers[i].addr.node;
	if (r->phase == CLUSTER_SERVING || r->tracking)
		r->o.app.members(r->o.app.ctx, &m);
	else if (r->loading)
		join_keep_members(r, &m);
}

/* This process is an active member from here on. */
void replica_activate(struct replica *r)
{
	r->tracking = true;
	/* What made it active may have waited here for long: a STATUS that comes back says when it was sent. */
	r->status_due = true;
	atomic_store(&r->outbox.applied, r->position.index);
	remember(r, &r->position.generation, NULL);
	outbox_open(&r->outbox);
	replica_set_phase(r, CLUSTER_SERVING);
	replica_tell_members(r);
	note_told(r);
}

static void close_outbox(struct replica *r)
{
	struct list queued;

	list_init(&queued);
	outbox_close(&r->outbox, &queued, &r->adrift);
	refuse_all(r, &queued);
}

/* Nobody is active any more. What was sent or applied waits for what becomes of this node's state. */
static void suspend(struct replica *r)
{
	bool had_state = r->tracking;

	join_stop(r);
	r->tracking = false;
	r->ready_due = r->mark_due = false;
	r->current_until = r->awake_ns = 0;
	for (unsigned i = 0; i < r->npeers; i++)
		if (r->peers[i].state != PEER_OUT)
			r->peers[i].state = PEER_UNHEARD;
	if (!had_state)
		return;
	/* What the active members did without it, they may have called done. */
	if (r->phase == CLUSTER_JOINING) {
		replica_lost(r, "it had not quite joined when the others were suspended");
		return;
	}
	replica_set_phase(r, CLUSTER_SUSPENDED);
	close_outbox(r);
}

void replica_lost(struct replica *r, const char *why)
{
	if (r->phase == CLUSTER_LOST)
		return;
	log_warn("cluster: this node's state is void: %s", why);
	r->tracking = false;
	r->current_until = r->awake_ns = 0;
	join_stop(r);
	replica_set_phase(r, CLUSTER_LOST);
	close_outbox(r);
	refuse_all(r, &r->applied);
	refuse_all(r, &r->waiting);
	refuse_all(r, &r->adrift);
}

/* ---- views ---- */

/*
 * Whatever is decided in a later ring is later. Two sets of members may each decide on a generation without knowing of
 * the other's, one of them in vain: they must not be the same, and the one in vain must be the earlier. If both
 * had quorum, some node was in both rings.
 */
static void raise_epoch(const struct replica *r, struct generation *g)
{
	uint64_t least = r->last_ring_seq << EPOCH_RING_SHIFT;

	g->epoch = g->epoch + 1 > least ? g->epoch + 1 : least;
}

/* Members of the active set have gone: the rest goes on as a later generation. */
static void shrink(struct replica *r)
{
	if (r->phase == CLUSTER_SUSPENDED || !r->position.generation.epoch)
		return;
	raise_epoch(r, &r->position.generation);
	remember(r, &r->position.generation, NULL);
	replica_tell_members(r);
}

/* Does the view say that it left? */
static bool has_left(const struct replica_view *v, struct node_address a)
{
	bool member = false;

	for (unsigned i = 0; i < v->nleft; i++)
		if (replica_same(v->left[i], a))
			return true;
	for (unsigned i = 0; i < v->nmembers; i++)
		member |= replica_same(v->members[i], a);
	return !member;
}

/* True if an active member was among them. */
static bool remove_left(struct replica *r, const struct replica_view *v)
{
	bool active = false;
	unsigned n = 0;

	for (unsigned i = 0; i < r->npeers; i++) {
		if (!has_left(v, r->peers[i].addr))
			r->peers[n++] = r->peers[i];
		else
			active |= r->peers[i].state == PEER_ACTIVE;
	}
	r->npeers = n;
	return active;
}

static bool before(struct node_address a, struct node_address b)
{
	return a.node != b.node ? a.node < b.node : a.pid < b.pid;
}

static void add_member(struct replica *r, struct node_address a)
{
	unsigned i = r->npeers++;

	for (; i > 0 && before(a, r->peers[i - 1].addr); i--)
		r->peers[i] = r->peers[i - 1];
	r->peers[i] = (struct peer){
		.addr = a,
		.heard_ns = now(r),
		.before_us = r->first_view && !replica_same(a, r->self),
	};
}

static void put_address(uint8_t *p, struct node_address a)
{
	put32(p, a.node);
	put32(p + 4, a.pid);
}

/*
 * Who was there and has gone tells two views of the same members in one ring apart. All members of a view know
 * that of the time since the youngest of them came, and nobody who has left a ring comes back to it.
 */
static void note_gone(struct replica *r, const struct replica_view *v)
{
	struct siphash_key key = { v->ring_node, v->ring_seq };
	bool same_ring = !r->first_view && r->last_ring_node == v->ring_node &&
			 r->last_ring_seq == v->ring_seq;
	bool joined = false;
	uint8_t bytes[8];

	for (unsigned i = 0; i < v->nmembers; i++)
		joined |= !replica_find(r, v->members[i]) || has_left(v, v->members[i]);
	if (joined || !same_ring) {
		r->gone = 0;
		return;
	}
	for (unsigned i = 0; i < r->npeers; i++) {
		if (!has_left(v, r->peers[i].addr))
			continue;
		put_address(bytes, r->peers[i].addr);
		r->gone += siphash(&key, bytes, sizeof(bytes));
	}
}

/* The view's name: equal for all its members, and different from that of every other view. */
static uint64_t view_name(const struct replica *r, const struct replica_view *v)
{
	struct siphash_key key = { v->ring_node, v->ring_seq };
	uint8_t bytes[(CLUSTER_MAX_NODES + 1) * 8];

	for (unsigned i = 0; i < r->npeers; i++)
		put_address(bytes + 8 * i, r->peers[i].addr);
	memcpy(bytes + 8 * r->npeers, &r->gone, 8);
	return siphash(&key, bytes, 8 * (r->npeers + 1));
}

/* ---- quorum ---- */

static void set_quorate(struct replica *r, bool quorate)
{
	r->quorate = quorate;
	if (!quorate)
		r->quorate_since = 0;
	else if (!r->quorate_since)
		r->quorate_since = now(r);
}

static void note_quorum(struct replica *r, bool ring_quorate)
{
	bool quorate = ring_quorate && have_votes(r, is_awake);

	if (ring_quorate && !quorate && (r->quorate || !r->ring_quorate))
		log_warn("cluster: there is quorum, but not of nodes whose atolld runs: waiting for more of them");
	r->ring_quorate = ring_quorate;
	set_quorate(r, quorate);
}

/* ---- rounds ---- */

/* Who is neither active nor getting a snapshot has to say hello again. */
static void forget_hellos(struct replica *r)
{
	for (unsigned i = 0; i < r->npeers; i++) {
		struct peer *p = &r->peers[i];

		p->heard = false;
		if (p->state != PEER_ACTIVE && p->state != PEER_LOADING && p->state != PEER_OUT)
			p->state = PEER_UNHEARD;
	}
	r->hello_due = true;
	r->told = false;
	r->mark_due = r->mark_flight = r->ready_flight = false;
	r->ready_due = r->tracking && r->phase == CLUSTER_JOINING;
}

static void add_members(struct replica *r, const struct replica_view *v)
{
	for (unsigned i = 0; i < v->nmembers; i++) {
		if (replica_find(r, v->members[i]))
			continue;
		if (r->npeers == CLUSTER_MAX_NODES) {
			log_error("cluster: more than %d daemons in the group; node %u is ignored",
				  CLUSTER_MAX_NODES, v->members[i].node);
			continue;
		}
		add_member(r, v->members[i]);
	}
	r->first_view = false;
}

static bool passed(const struct replica *r, uint32_t ms)
{
	return r->quorate_since && now(r) >= r->quorate_since + ms * NS_PER_MS;
}

/* Nodes that were evicted. */
static unsigned count_out(const struct replica *r)
{
	return replica_count(r, PEER_OUT);
}

/* Do those that are here outnumber the nodes that are not, or hang? */
static bool are_most(const struct replica *r)
{
	unsigned nodes = 0;

	for (unsigned i = 0; i < r->npeers; i++)
		nodes += r->peers[i].state != PEER_OUT &&
			 (i == 0 || r->peers[i].addr.node != r->peers[i - 1].addr.node);
	return nodes > r->missing + count_out(r);
}

/*
 * Does it wait, before a state is begun or resumed, for daemons that may come at any moment? Longer if those
 * that are here are few: a node without a daemon gives its vote, but cannot say what it knows.
 */
static bool is_patient(const struct replica *r)
{
	bool few = r->memory.decided.epoch && !are_most(r);

	return (r->absent || count_out(r)) && r->phase != CLUSTER_SERVING &&
	       !passed(r, few ? r->o.begin_patience_ms : r->o.patience_ms);
}

/* May a state be begun as far as this node knows? */
static bool is_eager(const struct replica *r)
{
	return (!r->missing && !count_out(r)) || !r->memory.decided.epoch || passed(r, r->o.begin_patience_ms);
}

static void adopt_view(struct replica *r, const struct replica_view *v)
{
	r->unsure = false;
	/* Nobody could be heard while the ring changed. */
	r->alive_ns = now(r);
	r->absent = v->absent;
	r->missing = v->missing;
	note_quorum(r, v->quorate);
	r->round = (struct round){ view_name(r, v), 0 };
	r->last_ring_node = v->ring_node;
	r->last_ring_seq = v->ring_seq;
}

static bool is_active(const struct peer *p)
{
	return p && p->state == PEER_ACTIVE;
}

/*
 * Has this process left the group and come back while the ring stayed the same? Then views with the same members
 * have the same name, and what a slow member said in the earlier one could be taken for a word in this one. A
 * new process has another address.
 */
static bool was_here_before(const struct replica *r, const struct replica_view *v)
{
	return r->first_view && r->last_ring_seq && r->last_ring_node == v->ring_node &&
	       r->last_ring_seq == v->ring_seq;
}

void replica_view(struct replica *r, const struct replica_view *v)
{
	bool shrunk;

	if (r->phase == CLUSTER_LOST)
		return;
	if (was_here_before(r, v)) {
		replica_lost(r, "it was in this ring before, so that nobody can tell its two stays apart");
		return;
	}
	note_gone(r, v);
	shrunk = remove_left(r, v);
	add_members(r, v);
	adopt_view(r, v);
	log_debug("cluster: view of %u members, %squorate, %s", r->npeers, v->quorate ? "" : "not ",
		  v->continues ? "continues" : "begins anew");
	if (r->giving && !is_active(replica_find(r, r->giver)))
		join_stop(r);
	/*
	 * A suspended node may have seen others resume when it was unsure itself, and they may have been as
	 * well: whether they serve they have to say again.
	 */
	if (!v->continues || !r->quorate || !replica_count(r, PEER_ACTIVE) || r->phase == CLUSTER_SUSPENDED ||
	    (r->phase == CLUSTER_SERVING && !is_active(replica_self(r))))
		suspend(r);
	else if (shrunk)
		shrink(r);
	forget_hellos(r);
}

/* All say hello again, in a new round of the same view. */
static void new_round(struct replica *r)
{
	r->round.n++;
	forget_hellos(r);
}

void replica_connected(struct replica *r, struct node_address self)
{
	r->self = self;
	r->connected = true;
	r->first_view = true;
	r->said_duplicate = false;
	r->alive_ns = r->tick_ns = r->heard_self_ns = now(r);
}

void replica_disconnected(struct replica *r)
{
	if (!r->connected)
		return;
	r->connected = false;
	r->ring_quorate = false;
	set_quorate(r, false);
	r->npeers = 0;
	r->hello_due = r->failed_due = r->withdraw_due = r->ack_due = r->status_due = false;
	r->mark_flight = r->ready_flight = r->ack_flight = false;
	if (r->phase != CLUSTER_LOST)
		suspend(r);
}

void replica_unsure(struct replica *r)
{
	r->unsure = true;
}

/*
 * While a ring changes, which takes seconds when a node is lost, nothing comes back that would say that the
 * others have not gone on without this node. But corosync would find out about as soon as they, provided that
 * neither it nor this process has slept: so only an unbroken row of answers counts, each soon after the last, and
 * the order has to begin it. If that is not so the state is not trusted.
 */
void replica_heard_all(struct replica *r, uint64_t asked_ns)
{
	if (r->phase != CLUSTER_SERVING || !r->awake_ns)
		return;
	if (asked_ns > r->awake_ns + trust_ns(r)) {
		r->awake_ns = r->current_until = 0;
		return;
	}
	r->awake_ns = asked_ns;
	trust(r, asked_ns);
}

void replica_token(struct replica *r, uint32_t ms)
{
	r->token_ns = ms * NS_PER_MS;
}

void replica_quorum(struct replica *r, bool quorate)
{
	bool before = r->quorate;

	if (r->phase == CLUSTER_LOST)
		return;
	note_quorum(r, quorate);
	/* Told to all in order: all suspend, or go on, at the same place. */
	r->hello_due |= r->quorate != before;
}

/* ---- decisions ---- */

/* An older process of the same node must go first. */
static bool is_duplicate(struct replica *r)
{
	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];

		if (p->addr.node != r->self.node || replica_same(p->addr, r->self) || !p->before_us ||
		    p->state == PEER_OUT)
			continue;
		if (!r->said_duplicate)
			log_warn("cluster: another atolld of this node (process %u) is in the group; "
				 "waiting until it has gone",
				 p->addr.pid);
		r->said_duplicate = true;
		return true;
	}
	return false;
}

static void send_hello(struct replica *r)
{
	struct message m = { .type = MESSAGE_HELLO };

	m.hello = (struct message_hello){
		.format = r->o.app.format,
		.phase = r->phase,
		.quorate = r->quorate && !is_patient(r),
		.restored = r->tracking && r->phase == CLUSTER_JOINING,
		.eager = is_eager(r),
		.round = r->round,
		.position = r->position,
		.memory = r->memory,
	};
	if (!replica_self(r) || is_duplicate(r))
		return;
	if (r->phase == CLUSTER_JOINING)
		m.hello.position.generation = (struct generation){
			.created = r->o.io.wall_ns(r->o.io.ctx),
			.id = r->o.io.random(r->o.io.ctx),
			.epoch = 1,
		};
	r->hello_due = replica_send(r, &m) != 0;
	r->said_quorate = m.hello.quorate;
	r->said_eager = m.hello.eager;
}

static bool same_version(const struct peer *a, const struct peer *b)
{
	return a->protocol == b->protocol && a->format == b->format;
}

/* Have all that count said hello, with quorum? */
static bool all_heard(const struct replica *r)
{
	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];

		if (p->state != PEER_OUT && (!p->heard || !p->quorate))
			return false;
	}
	return r->npeers > 0;
}

static bool all_eager(const struct replica *r)
{
	for (unsigned i = 0; i < r->npeers; i++)
		if (r->peers[i].state != PEER_OUT && !r->peers[i].eager)
			return false;
	return true;
}

/* What all that are here know together. */
static struct memory common_memory(const struct replica *r)
{
	struct memory m = { 0 };

	for (unsigned i = 0; i < r->npeers; i++) {
		if (r->peers[i].state == PEER_OUT)
			continue;
		see(&m.decided, &r->peers[i].memory.decided);
		see(&m.served, &r->peers[i].memory.served);
	}
	return m;
}

/*
 * Of those that have a state: the one with the latest. NULL: none has one, or a later one was decided on, which
 * somebody may have who is not here. If all are here and it has not served, nobody has it.
 */
static struct peer *latest(struct replica *r)
{
	struct memory m = common_memory(r);
	const struct generation *least = r->missing || count_out(r) ? &m.decided : &m.served;
	struct peer *best = NULL;

	for (unsigned i = 0; i < r->npeers; i++) {
		struct peer *p = &r->peers[i];

		if (p->state == PEER_SUSPENDED &&
		    (!best || compare_positions(&p->position, &best->position) > 0))
			best = p;
	}
	if (best && compare_generations(&best->position.generation, least) < 0)
		best = NULL;
	return best;
}

/* `best` and whoever has just the same state become active; other states are void. */
static void resume(struct replica *r, const struct peer *best)
{
	struct position at = best->position;
	struct generation next = common_memory(r).decided;
	struct peer winner = *best, *self = replica_self(r);

	for (unsigned i = 0; i < r->npeers; i++) {
		struct peer *p = &r->peers[i];

		if (p->state != PEER_SUSPENDED)
			continue;
		p->state = same_position(&p->position, &at) && same_version(p, &winner) ? PEER_ACTIVE
											 : PEER_VOID;
		p->acked = at.index;
	}
	/* Those that only gave their vote remember as well what it was for. */
	see(&next, &at.generation);
	raise_epoch(r, &next);
	remember(r, &next, NULL);
	/* A ring that is changing: the others may not know of it. They will find this node as it was. */
	if (self->state == PEER_ACTIVE && r->unsure) {
		self->state = PEER_SUSPENDED;
		return;
	}
	r->hello_due |= self->state == PEER_ACTIVE;
	if (self->state == PEER_ACTIVE || self->state == PEER_JOINING)
		r->position.generation = next;
	if (self->state == PEER_VOID)
		replica_lost(r, "others have gone on from a later one");
	else if (self->state == PEER_ACTIVE)
		replica_activate(r);
	if (r->phase == CLUSTER_SERVING)
		refuse_all(r, &r->adrift);
}

/* Nobody has a state that counts: the lowest node begins one. */
static void begin(struct replica *r)
{
	struct peer *first = NULL;
	struct memory known = common_memory(r);

	for (unsigned i = 0; i < r->npeers; i++) {
		struct peer *p = &r->peers[i];

		if (p->state == PEER_SUSPENDED)
			p->state = PEER_VOID;
		if (p->state == PEER_JOINING && !first)
			first = p;
	}
	if (replica_self(r)->state == PEER_VOID)
		replica_lost(r, "a later one has served since");
	if (!first)
		return;
	first->state = PEER_ACTIVE;
	first->acked = 0;
	if (first->position.generation.created <= known.decided.created)
		first->position.generation.created = known.decided.created + 1;
	remember(r, &first->position.generation, NULL);
	if (replica_same(first->addr, r->self) && r->unsure) {
		first->state = PEER_JOINING;
		return;
	}
	r->hello_due |= replica_same(first->addr, r->self);
	if (r->phase != CLUSTER_JOINING)
		return;
	r->position = (struct position){ .generation = first->position.generation };
	if (!replica_same(first->addr, r->self))
		return;
	log_info("cluster: no node has a state; beginning one");
	r->earlier = known.served;
	replica_activate(r);
}

static void say_foreign(struct replica *r, const struct peer *p)
{
	log_warn("cluster: node %u speaks protocol %u, command format %u, and this node protocol %u, format "
		 "%u: they cannot be in one cluster; run the same version on both",
		 p->addr.node, p->protocol, p->format, MESSAGE_PROTOCOL, r->o.app.format);
}

static void decide(struct replica *r)
{
	struct peer *best;

	if (r->phase == CLUSTER_LOST || !replica_self(r))
		return;
	if (!replica_count(r, PEER_ACTIVE) && all_heard(r)) {
		best = latest(r);
		if (best)
			resume(r, best);
		else if (all_eager(r))
			begin(r);
	}
	join_consider(r);
}

/* ---- messages ---- */

/* A member that serves says hello. */
static void meet_active(struct replica *r, struct peer *from)
{
	remember(r, &from->position.generation, &from->position.generation);
	if (from->state == PEER_ACTIVE) {
		/* The order has shown this node everything that the sender had seen. */
		if (r->phase == CLUSTER_SERVING &&
		    compare_generations(&from->position.generation, &r->position.generation) > 0)
			replica_lost(r, "an active node knows of a later generation");
		return;
	}
	if (r->phase == CLUSTER_SERVING) {
		/* Two parts have gone on: that needs two quorums. The later generation stays. */
		if (compare_generations(&from->position.generation, &r->position.generation) > 0 ||
		    (compare_generations(&from->position.generation, &r->position.generation) == 0 &&
		     before(from->addr, r->self)))
			replica_lost(r, "another part of the cluster had quorum as well");
		else
			from->state = PEER_VOID;
		return;
	}
	from->state = PEER_ACTIVE;
	from->acked = 0;
	/* Who gives its vote must know what for. */
	if (r->phase == CLUSTER_JOINING && !r->tracking && !r->loading)
		r->position.generation = from->position.generation;
	if (r->phase == CLUSTER_SUSPENDED)
		replica_lost(r, "others have gone on without it");
}

/*
 * What a HELLO says of a member. An active one stays active: its HELLO may be older than the decision
 * that made it so.
 */
static void hear(struct replica *r, struct peer *from, const struct message_hello *h)
{
	if (h->phase == CLUSTER_SERVING) {
		meet_active(r, from);
		return;
	}
	if (from->state == PEER_ACTIVE)
		return;
	if (h->phase == CLUSTER_SUSPENDED)
		from->state = PEER_SUSPENDED;
	else if (h->phase == CLUSTER_LOST)
		from->state = PEER_VOID;
	else if (from->state == PEER_UNHEARD)
		from->state = h->restored ? PEER_RESTORED : PEER_JOINING;
}

static void take_hello(struct replica *r, struct peer *from, const struct message *m)
{
	const struct message_hello *h = &m->hello;
	if (h->round.view != r->round.view || h->round.n != r->round.n || from->state == PEER_OUT)
		return;
	from->heard = true;
	from->protocol = m->protocol;
	from->format = h->format;
	from->session = m->session;
	from->position = h->position;
	from->memory = h->memory;
	remember(r, &h->memory.decided, &h->memory.served);
	if (m->protocol != MESSAGE_PROTOCOL || h->format != r->o.app.format) {
		if (!from->foreign)
			say_foreign(r, from);
		from->foreign = true;
	}
	from->quorate = h->quorate;
	from->eager = h->eager;
	/*
	 * Quorum has gone while the ring stayed the same: everything is decided anew from here on. By these words
	 * alone, as who has just come may not know yet that the sender is active, and is to be in the same round.
	 */
	if (h->phase == CLUSTER_SERVING && !h->quorate) {
		suspend(r);
		new_round(r);
		return;
	}
	hear(r, from, h);
	decide(r);
	note_told(r);
}

static void take_evict(struct replica *r, struct peer *from, const struct message *m)
{
	struct peer *who = replica_find(r, m->evict.who);
	bool active;

	if (m->evict.round.view != r->round.view || m->evict.round.n != r->round.n || !who ||
	    who->state == PEER_OUT)
		return;
	log_warn("cluster: node %u (process %u) has been silent for too long: it is out", who->addr.node,
		 who->addr.pid);
	active = who->state == PEER_ACTIVE;
	who->state = PEER_OUT;
	/* It knows what nobody else may know: those that are left wait as if it were missing. */
	if (r->quorate_since)
		r->quorate_since = now(r);
	if (replica_same(who->addr, r->self)) {
		replica_lost(r, "the others have put it out, since it was silent");
		return;
	}
	note_quorum(r, r->ring_quorate);
	if (r->giving && replica_same(who->addr, r->giver))
		join_stop(r);
	/*
	 * As in a new view all say hello again, whatever they know: who has just come may know of nobody who is
	 * active, and whether the votes suffice members may see differently. Who sees too few says so.
	 */
	if (!replica_count(r, PEER_ACTIVE))
		suspend(r);
	else if (active)
		shrink(r);
	new_round(r);
	decide(r);
	note_told(r);
}

static void take_status(struct replica *r, struct peer *from, const struct message *m)
{
	if (m->status.acked > from->acked)
		from->acked = m->status.acked;
	if (!replica_same(from->addr, r->self) || r->phase != CLUSTER_SERVING)
		return;
	trust(r, m->status.sent_ns);
	if (r->awake_ns < m->status.sent_ns)
		r->awake_ns = m->status.sent_ns;
}

static void take_ack(struct replica *r, struct peer *from, uint64_t acked)
{
	if (acked > from->acked)
		from->acked = acked;
	if (!replica_same(from->addr, r->self))
		return;
	r->ack_flight = false;
	if (r->tracking && r->position.index > acked)
		r->ack_due = true;
}

void replica_message(struct replica *r, struct node_address sender, const uint8_t *p, size_t len)
{
	struct peer *from = replica_find(r, sender);
	struct message m;
	int err;

	if (!from || r->phase == CLUSTER_LOST)
		return;
	from->heard_ns = now(r);
	if (replica_same(sender, r->self))
		r->heard_self_ns = from->heard_ns;
	if (from->state == PEER_OUT)
		return;
	err = message_read(p, len, &m);
	if (err == -EINVAL && !r->said_malformed) {
		log_error("cluster: node %u sent a malformed message of %zu bytes; such are ignored", sender.node,
			  len);
		r->said_malformed = true;
	}
	if (err || (from->foreign && m.type != MESSAGE_HELLO))
		return;
	switch (m.type) {
	case MESSAGE_HELLO:
		take_hello(r, from, &m);
		break;
	case MESSAGE_BATCH_OF_COMMANDS:
	case MESSAGE_APP:
		take_ordered(r, from, &m, p, len);
		break;
	case MESSAGE_ACK:
		take_ack(r, from, m.acked);
		break;
	case MESSAGE_STATUS:
		take_status(r, from, &m);
		break;
	case MESSAGE_MARK:
		join_mark(r, from, &m);
		break;
	case MESSAGE_SNAPSHOT:
		join_snapshot(r, from, &m);
		break;
	case MESSAGE_SNAPSHOT_FAILED:
		join_failed(r, from, m.failed);
		break;
	case MESSAGE_READY:
		join_ready(r, from, &m.ready);
		break;
	case MESSAGE_EVICT:
		take_evict(r, from, &m);
		break;
	}
}

/* ---- sending ---- */

static void send_ack(struct replica *r)
{
	struct message m = { .type = MESSAGE_ACK, .acked = r->position.index };

	if (!r->tracking) {
		r->ack_due = false;
		return;
	}
	if (r->ack_flight || replica_send(r, &m) != 0)
		return;
	r->ack_due = false;
	r->ack_flight = true;
}

static void send_status(struct replica *r)
{
	struct message m = {
		.type = MESSAGE_STATUS,
		.status = { r->tracking ? r->position.index : 0, now(r) },
	};

	r->status_due = replica_send(r, &m) != 0;
	if (!r->status_due)
		r->status_ns = m.status.sent_ns;
}

void replica_flush(struct replica *r)
{
	tell_submitters(r);
	r->blocked = false;
	if (!r->connected || r->phase == CLUSTER_LOST)
		return;
	if (r->ack_due)
		send_ack(r);
	if (r->hello_due)
		send_hello(r);
	join_pump(r);
	if (r->status_due)
		send_status(r);
	outbox_pump(&r->outbox);
}

uint64_t replica_gathers(struct replica *r)
{
	return outbox_gathers(&r->outbox);
}

bool replica_blocked(struct replica *r)
{
	return r->blocked || outbox_blocked(&r->outbox);
}

/* ---- time ---- */

static void evict(struct replica *r, const struct peer *p)
{
	struct message m = { .type = MESSAGE_EVICT, .evict = { r->round, p->addr } };

	replica_send(r, &m);
}

/*
 * Silence counts only if this process was awake all the time and the order flows: its own messages
 * come back. One member, the lowest that is not silent itself, does it.
 */
static void find_silent(struct replica *r, uint64_t t)
{
	uint64_t limit = hang_ns(r);
	bool first = true;

	if (t - r->alive_ns < limit || t - r->heard_self_ns > limit / 4)
		return;
	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];

		if (p->state == PEER_OUT)
			continue;
		if (t - p->heard_ns <= limit) {
			if (first && !replica_same(p->addr, r->self))
				return;
			first = false;
		}
	}
	for (unsigned i = 0; i < r->npeers; i++)
		if (r->peers[i].state != PEER_OUT && t - r->peers[i].heard_ns > limit)
			evict(r, &r->peers[i]);
}

/*
 * Votes may come, a quorum device's, of which nobody tells while the ring has quorum anyway; or corosync could not say
 * for a moment. Votes that go are left to what is told: a moment without an answer would stop the cluster.
 */
static void look_for_votes(struct replica *r)
{
	if (r->ring_quorate && !r->quorate)
		replica_quorum(r, true);
	if (r->quorate && !r->told)
		note_told(r);
}

/* It serves but may not call anything done: whoever asks why clients wait shall find it in the log. */
static void watch_told(struct replica *r, uint64_t t)
{
	unsigned knowing = 0, foreign = 0;

	if (r->phase != CLUSTER_SERVING || !r->quorate || r->told) {
		r->untold_since = 0;
		r->said_untold = false;
		return;
	}
	if (!r->untold_since)
		r->untold_since = t;
	if (r->said_untold || t < r->untold_since + UNTOLD_S * 1000 * NS_PER_MS)
		return;
	r->said_untold = true;
	for (unsigned i = 0; i < r->npeers; i++) {
		knowing += knows_generation(r, &r->peers[i]);
		foreign += r->peers[i].foreign;
	}
	log_warn("cluster: this node serves, but opens, locks and closes have waited for %d s: of %u daemons only %u "
		 "have said that they know of its state, which is no quorum%s",
		 UNTOLD_S, r->npeers, knowing,
		 foreign ? "; others have another version: run the same on all nodes (stop all, if the versions cannot "
			   "be in one cluster)"
			 : "");
}

void replica_tick(struct replica *r)
{
	uint64_t t = now(r);

	if (t > r->tick_ns + pace_ns(r) / 4)
		r->alive_ns = t;
	r->tick_ns = t;
	if (!r->connected || r->phase == CLUSTER_LOST)
		return;
	if (t >= r->status_ns + pace_ns(r) / 10)
		r->status_due = true;
	look_for_votes(r);
	watch_told(r, t);
	if (r->quorate && !replica_count(r, PEER_ACTIVE) &&
	    ((!r->said_quorate && !is_patient(r)) || (!r->said_eager && is_eager(r))))
		r->hello_due = true;
	find_silent(r, t);
	join_consider(r);
	replica_flush(r);
}

/* ---- life cycle, looking in ---- */

struct replica *replica_new(const struct replica_options *options)
{
	struct replica *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->o = *options;
	r->memory = options->memory;
	list_init(&r->applied);
	list_init(&r->waiting);
	list_init(&r->adrift);
	list_init(&r->kept);
	if (outbox_init(&r->outbox, r->o.io.send, r->o.io.mono_ns, r->o.io.ctx, r->o.safe) != 0) {
		free(r);
		return NULL;
	}
	return r;
}

void replica_free(struct replica *r)
{
	close_outbox(r);
	refuse_all(r, &r->applied);
	refuse_all(r, &r->waiting);
	refuse_all(r, &r->adrift);
	join_stop(r);
	outbox_destroy(&r->outbox);
	free(r);
}

enum cluster_phase replica_phase(const struct replica *r)
{
	return r->phase;
}

struct position replica_position(const struct replica *r)
{
	return r->position;
}

uint64_t replica_current_until(const struct replica *r)
{
	return r->current_until;
}

static enum cluster_phase phase_of(enum peer_state state)
{
	return state == PEER_ACTIVE	 ? CLUSTER_SERVING
	       : state == PEER_SUSPENDED ? CLUSTER_SUSPENDED
	       : state == PEER_VOID	 ? CLUSTER_LOST
					 : CLUSTER_JOINING;
}

void replica_status(const struct replica *r, struct cluster_status *s)
{
	uint64_t t = now(r);

	s->phase = r->phase;
	s->quorate = r->quorate;
	s->safe = r->o.safe;
	s->self = r->self.node;
	s->epoch = r->position.generation.epoch;
	s->applied = r->position.index;
	s->n = r->npeers;
	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];
		bool self = replica_same(p->addr, r->self);

		s->nodes[i] = (struct cluster_node_status){
			.node = p->addr.node,
			.phase = self ? r->phase : phase_of(p->state),
			.present = p->state != PEER_OUT,
			.applied = self && r->tracking ? r->position.index : p->acked,
			.heard_ns = t - p->heard_ns,
		};
	}
}

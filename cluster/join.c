/*
 * How a joining node gets the state: MARK, SNAPSHOT..., READY. See replica.h.
 *
 *	active members		giving: from MARK until the last SNAPSHOT, or until the giver has gone or failed
 *	the giver		takes the snapshot where its MARK is delivered, sends it piece by piece, few at a time
 *	the joining node	loading: from MARK on it keeps batches; with the last piece it restores and applies
 *				them (tracking), and says READY until its READY is delivered in the round it names
 *
 * A MARK that comes while something is being given counts for nothing, but who has just come may not know that.
 * So its sender takes it back with a SNAPSHOT_FAILED.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cluster/replica_private.h"

#define CHUNKS_IN_FLIGHT 2
#define MAX_KEPT	 (256u << 20) /* bytes */
#define RETRY_NS	 1000000000ull
#define WAIT_NS		 3000000000ull /* for the one whose turn it is to give */

static uint64_t now(const struct replica *r)
{
	return r->o.io.mono_ns(r->o.io.ctx);
}

/* ---- giving ---- */

/* After a failure the next active node tries, in a circle. */
static bool is_giver(struct replica *r)
{
	struct peer *chosen = NULL;

	for (unsigned i = 0; i < r->npeers && !chosen; i++)
		if (r->peers[i].state == PEER_ACTIVE && r->peers[i].addr.node > r->failed_giver)
			chosen = &r->peers[i];
	if (!chosen)
		chosen = replica_first_active(r);
	return chosen && replica_same(chosen->addr, r->self);
}

/*
 * Does somebody need one, and has every active member said hello in this round? Only then do those
 * that join know who is active.
 */
static bool is_needed(const struct replica *r)
{
	bool needed = false;

	for (unsigned i = 0; i < r->npeers; i++) {
		const struct peer *p = &r->peers[i];

		if (p->state == PEER_ACTIVE && !p->heard)
			return false;
		needed |= p->state == PEER_JOINING && !p->foreign;
	}
	return needed;
}

/* Members may know of different failures: if nobody gives, whoever can does. */
static bool is_my_turn(struct replica *r)
{
	if (!r->needed_ns)
		r->needed_ns = now(r);
	return is_giver(r) || now(r) - r->needed_ns > WAIT_NS;
}

void join_consider(struct replica *r)
{
	if (r->phase != CLUSTER_SERVING || r->giving || !is_needed(r))
		r->needed_ns = 0;
	else if (!r->mark_flight && is_my_turn(r) && now(r) >= r->retry_ns)
		r->mark_due = true;
}

static void send_mark(struct replica *r)
{
	struct message m = {
		.type = MESSAGE_MARK,
		.mark = { r->round, r->o.io.random(r->o.io.ctx), r->position.generation },
	};

	r->mark_flight = replica_send(r, &m) == 0;
	r->mark_due = !r->mark_flight;
}

static void drop_given(struct replica *r)
{
	free(r->give);
	r->give = NULL;
}

static void take_snapshot(struct replica *r)
{
	drop_given(r);
	r->give_sent = 0;
	r->give_flight = 0;
	r->give_position = r->position;
	if (r->o.app.snapshot(r->o.app.ctx, &r->give, &r->give_len) != 0 ||
	    (!r->give && !(r->give = malloc(1)))) {
		log_warn("cluster: no memory for a snapshot of the state; another node, or this one later, will "
			  "give it to those that join");
		r->give = NULL;
		r->failed_due = true;
		return;
	}
	log_info("cluster: giving the state (%zu bytes) to nodes that join", r->give_len);
}

static int send_piece(struct replica *r)
{
	uint8_t bytes[MESSAGE_HEADER + 128 + MESSAGE_CHUNK];
	size_t left = r->give_len - r->give_sent, n = left < MESSAGE_CHUNK ? left : MESSAGE_CHUNK;
	struct message m = {
		.type = MESSAGE_SNAPSHOT,
		.protocol = MESSAGE_PROTOCOL,
		.session = atomic_load(&r->outbox.session),
		.snapshot = {
			.id = r->giving_id,
			.position = r->give_position,
			.total = r->give_len,
			.offset = r->give_sent,
			.p = r->give + r->give_sent,
			.len = n,
		},
	};

	if (r->o.io.send(r->o.io.ctx, bytes, message_write(bytes, &m)) != 0) {
		r->blocked = true;
		return -1;
	}
	r->give_sent += n;
	r->give_flight++;
	return 0;
}

static void pump_snapshot(struct replica *r)
{
	/* An empty state is one empty piece. */
	while (r->give && r->give_flight < CHUNKS_IN_FLIGHT) {
		if (send_piece(r) != 0)
			return;
		if (r->give_sent == r->give_len)
			drop_given(r);
	}
}

/* ---- getting ---- */

static void drop_kept(struct replica *r)
{
	struct kept *k, *tmp;

	list_for_each_safe(k, tmp, &r->kept, link) {
		list_remove(&k->link);
		free(k);
	}
	r->kept_bytes = 0;
}

static void drop_load(struct replica *r)
{
	free(r->load);
	r->load = NULL;
	r->load_got = 0;
	r->loading = false;
	drop_kept(r);
}

void join_keep(struct replica *r, struct node_address from, const uint8_t *p, size_t len)
{
	struct kept *k = r->kept_bytes + len > MAX_KEPT ? NULL : malloc(sizeof(*k) + len);

	if (!k) {
		replica_lost(r, "no memory for what happened while it joined");
		return;
	}
	k->from = from;
	k->len = len;
	memcpy(k->bytes, p, len);
	list_push_back(&r->kept, &k->link);
	r->kept_bytes += len;
}

void join_keep_members(struct replica *r, const struct cluster_members *m)
{
	join_keep(r, (struct node_address){ 0 }, (const uint8_t *)m, sizeof(*m));
}

static void apply_one(struct replica *r, const struct kept *k)
{
	struct cluster_members members;
	struct message m;

	if (k->from.node) {
		if (message_read(k->bytes, k->len, &m) == 0)
			replica_apply_message(r, k->from, &m);
		return;
	}
	memcpy(&members, k->bytes, sizeof(members));
	r->o.app.members(r->o.app.ctx, &members);
}

static void apply_kept(struct replica *r)
{
	struct kept *k;

	list_for_each(k, &r->kept, link)
		apply_one(r, k);
	drop_kept(r);
}

/* All pieces are there. */
static void restore(struct replica *r)
{
	int err = r->o.app.restore(r->o.app.ctx, r->load, r->load_total);

	if (err) {
		drop_load(r);
		replica_lost(r, "the others' state could not be restored");
		return;
	}
	log_info("cluster: restored the state (%zu bytes)", r->load_total);
	/* The generation may have grown since the mark; index and digest are the mark's. */
	r->position.index = r->load_position.index;
	r->position.digest = r->load_position.digest;
	r->tracking = true;
	apply_kept(r);
	drop_load(r);
	r->ready_due = true;
}

static void take_piece(struct replica *r, const struct message_snapshot *s)
{
	if (!r->load) {
		r->load = malloc(s->total ? s->total : 1);
		r->load_total = s->total;
		r->load_position = s->position;
		r->load_got = 0;
	}
	if (!r->load || s->total != r->load_total || s->offset != r->load_got) {
		replica_lost(r, r->load ? "the others' state came in pieces that do not fit"
					: "no memory for the others' state");
		return;
	}
	memcpy(r->load + s->offset, s->p, s->len);
	r->load_got += s->len;
	if (r->load_got == r->load_total)
		restore(r);
}

/* ---- what the order brings ---- */

static bool counts(const struct replica *r, const struct peer *from, const struct message *m)
{
	if (from->state != PEER_ACTIVE || m->mark.round.view != r->round.view ||
	    m->mark.round.n != r->round.n)
		return false;
	/* Said before members left: the giver will say it again. */
	if (r->tracking)
		return !r->giving && m->mark.generation.epoch == r->position.generation.epoch;
	return !r->loading || m->mark.generation.epoch > r->position.generation.epoch;
}

void join_mark(struct replica *r, struct peer *from, const struct message *m)
{
	bool own = replica_same(from->addr, r->self);
	struct peer *self = replica_self(r);

	if (own)
		r->mark_flight = false;
	if (!counts(r, from, m)) {
		if (own) {
			r->withdrawn_id = m->mark.id;
			r->withdraw_due = true;
		}
		return;
	}
	drop_load(r);
	r->giving = true;
	r->giving_id = m->mark.id;
	r->giver = from->addr;
	for (unsigned i = 0; i < r->npeers; i++) {
		struct peer *p = &r->peers[i];

		if (p->state == PEER_JOINING && !p->foreign)
			p->state = PEER_LOADING;
	}
	if (self && self->state == PEER_LOADING) {
		r->loading = true;
		r->position.generation = m->mark.generation;
	}
	if (own)
		take_snapshot(r);
}

static void end_giving(struct replica *r, enum peer_state receivers)
{
	r->giving = false;
	drop_given(r);
	r->failed_due = false;
	for (unsigned i = 0; i < r->npeers; i++)
		if (r->peers[i].state == PEER_LOADING)
			r->peers[i].state = receivers;
}

void join_snapshot(struct replica *r, struct peer *from, const struct message *m)
{
	const struct message_snapshot *s = &m->snapshot;

	if (!r->giving || s->id != r->giving_id || !replica_same(from->addr, r->giver))
		return;
	if (replica_same(from->addr, r->self))
		r->give_flight--;
	if (r->loading)
		take_piece(r, s);
	if (s->offset + s->len < s->total)
		return;
	/* They have all of it now, and will say READY; none of them needs the giver any more. */
	r->failed_giver = 0;
	end_giving(r, PEER_RESTORED);
}

void join_failed(struct replica *r, struct peer *from, uint64_t id)
{
	if (!r->giving || id != r->giving_id || !replica_same(from->addr, r->giver))
		return;
	r->failed_giver = from->addr.node;
	if (replica_same(from->addr, r->self))
		r->retry_ns = now(r) + RETRY_NS;
	drop_load(r);
	end_giving(r, PEER_JOINING);
}

void join_stop(struct replica *r)
{
	if (r->loading)
		drop_load(r);
	if (r->giving)
		end_giving(r, PEER_JOINING);
}

void join_ready(struct replica *r, struct peer *from, const struct round *round)
{
	bool own = replica_same(from->addr, r->self);

	if (own)
		r->ready_flight = false;
	/*
	 * A node that has just come may not know yet that somebody is active; but whenever nobody is
	 * active any more a new round begins.
	 */
	if (round->view != r->round.view || round->n != r->round.n || from->state == PEER_ACTIVE)
		return;
	/*
	 * A ring that is changing: it may not have reached all. Those that it has reached count this node among
	 * the members from here on, which it cannot be for the others.
	 */
	if (own && r->unsure) {
		replica_lost(r, "it was taken in while the ring was changing");
		return;
	}
	from->state = PEER_ACTIVE;
	from->acked = r->tracking ? r->position.index : 0;
	if (own)
		replica_activate(r);
	else
		replica_tell_members(r);
	join_consider(r);
}

/* ---- sending ---- */

static void send_ready(struct replica *r)
{
	struct message m = { .type = MESSAGE_READY, .ready = r->round };

	r->ready_flight = replica_send(r, &m) == 0;
	r->ready_due = !r->ready_flight;
}

/* True if it went out. */
static bool send_failed(struct replica *r, uint64_t id)
{
	struct message m = { .type = MESSAGE_SNAPSHOT_FAILED, .failed = id };

	return replica_send(r, &m) == 0;
}

void join_pump(struct replica *r)
{
	struct peer *self = replica_self(r);

	/* READY says hello's round: it must come behind this node's HELLO of that round. */
	if (r->ready_due && !r->ready_flight && !r->hello_due && self)
		send_ready(r);
	if (r->mark_due && !r->mark_flight && r->phase == CLUSTER_SERVING)
		send_mark(r);
	if (r->failed_due)
		r->failed_due = !send_failed(r, r->giving_id);
	if (r->withdraw_due)
		r->withdraw_due = !send_failed(r, r->withdrawn_id);
	pump_snapshot(r);
}

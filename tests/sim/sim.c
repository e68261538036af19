/*
 * The simulated network and its nodes. See sim.h.
 *
 * A RING is a set of nodes whose corosyncs talk to each other; every node that is up is in one. A new ring is
 * SYNCING until its view is shown. GOERS are the nodes that have been together since the last view that was
 * shown: while a ring is syncing, messages reach only the sender's goers.
 */
#include "tests/sim/sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/list.h"
#include "cluster/replica.h"

#define NS_PER_MS 1000000ull
#define TICK_MS	  100

enum event_type { EVENT_MESSAGE, EVENT_VIEW, EVENT_UNSURE, EVENT_QUORUM, EVENT_JOIN, EVENT_LEAVE };

/* A message on its way, or a view; shared by those who get it. */
struct payload {
	unsigned refs;
	size_t len;
	uint8_t bytes[];
};

struct event {
	struct list link;
	enum event_type type;
	struct node_address from; /* MESSAGE; JOIN and LEAVE: who */
	struct payload *payload;  /* MESSAGE */
	uint64_t ring, order;	  /* MESSAGE: where it was ordered */
	struct node_address members[SIM_MAX_NODES * 2], left[SIM_MAX_NODES * 2]; /* VIEW */
	unsigned nmembers, nleft, absent, missing;
	bool quorate, continues;
};

struct ring {
	uint64_t seq; /* 0: unused */
	unsigned nodes; /* bit per node */
	bool syncing;
	bool denied; /* it would be quorate, but is not */
	uint64_t next_order, shown_order; /* the next message's place; that of the view */
};

struct node {
	struct sim *sim;
	unsigned number;
	/* corosync */
	bool up;
	unsigned side; /* of the partition */
	bool voteless; /* it finds too few votes, whoever is there */
	struct ring *ring;
	unsigned goers;	    /* bits: together with them since the last view */
	struct list outbox; /* sent by the process, not ordered yet; JOIN and LEAVE as well */
	unsigned nout;
	/* The group as this node's corosync knows it; valid for processes of its goers. */
	struct node_address group[SIM_MAX_NODES * 2];
	unsigned ngroup;
	struct node_address shown[SIM_MAX_NODES * 2]; /* in the last view */
	unsigned nshown;
	/* the process */
	struct replica *replica; /* NULL: none */
	void *app_ctx;
	uint32_t pid;
	bool hung, joined; /* joined: has asked to */
	struct list inbox;
	uint64_t delivered; /* the place in the ring of the last message that it was given */
	uint64_t delivered_ring;
	struct memory memory; /* on its disk */
	uint64_t start_at, tick_at, resume_at;
	uint64_t wall_ahead; /* nanoseconds that its wall clock is ahead */
};

struct sim {
	struct sim_world world;
	uint64_t random, now;
	uint64_t next_ring, deliveries;
	struct ring rings[SIM_MAX_NODES * 2];
	struct node nodes[SIM_MAX_NODES + 1];
};

static NORETURN void bug(struct sim *s, const char *what)
{
	fprintf(stderr, "sim: seed %llu: %s\n", (unsigned long long)s->world.seed, what);
	abort();
}

/* ---- chance ---- */

uint64_t sim_random(struct sim *s)
{
	/* xorshift64* */
	s->random ^= s->random >> 12;
	s->random ^= s->random << 25;
	s->random ^= s->random >> 27;
	return s->random * 0x2545f4914f6cdd1dull;
}

static unsigned below(struct sim *s, unsigned n)
{
	return (unsigned)((sim_random(s) >> 33) % n);
}

static bool chance(struct sim *s, unsigned percent)
{
	return below(s, 100) < percent;
}

static unsigned bit(unsigned node)
{
	return 1u << node;
}

/* ---- events ---- */

static struct event *new_event(struct sim *s, enum event_type type)
{
	struct event *e = calloc(1, sizeof(*e));

	if (!e)
		bug(s, "out of memory");
	e->type = type;
	return e;
}

static void free_event(struct event *e)
{
	list_remove(&e->link);
	if (e->payload && --e->payload->refs == 0)
		free(e->payload);
	free(e);
}

static void clear(struct list *l)
{
	struct event *e, *tmp;

	list_for_each_safe(e, tmp, l, link)
		free_event(e);
}

static void clear_outbox(struct node *n)
{
	clear(&n->outbox);
	n->nout = 0;
}

/* ---- what a replica asks of the world ---- */

static int send_message(void *ctx, const uint8_t *p, size_t len)
{
	struct node *n = ctx;
	struct sim *s = n->sim;
	struct event *e;

	/* Sometimes corosync is busy. */
	if (!n->up || !n->joined || n->nout > 100 || below(s, 50) == 0)
		return -1;
	e = new_event(s, EVENT_MESSAGE);
	e->payload = malloc(sizeof(*e->payload) + len);
	if (!e->payload)
		bug(s, "out of memory");
	e->payload->refs = 1;
	e->payload->len = len;
	memcpy(e->payload->bytes, p, len);
	e->from = (struct node_address){ n->number, n->pid };
	list_push_back(&n->outbox, &e->link);
	n->nout++;
	return 0;
}

static uint64_t mono_ns(void *ctx)
{
	return ((struct node *)ctx)->sim->now;
}

static uint64_t wall_ns(void *ctx)
{
	const struct node *n = ctx;

	return n->sim->now + n->wall_ahead;
}

static uint64_t draw(void *ctx)
{
	return sim_random(((struct node *)ctx)->sim);
}

static void remember(void *ctx, const struct memory *memory)
{
	((struct node *)ctx)->memory = *memory;
}

static bool enough(void *ctx, const uint32_t *nodes, unsigned n)
{
	const struct node *at = ctx;

	return !at->voteless && 2 * n > at->sim->world.nodes;
}

/* ---- the group ---- */

static bool same(struct node_address a, struct node_address b)
{
	return a.node == b.node && a.pid == b.pid;
}

static bool among(const struct node_address *a, unsigned n, struct node_address x)
{
	for (unsigned i = 0; i < n; i++)
		if (same(a[i], x))
			return true;
	return false;
}

static void drop(struct node_address *a, unsigned *n, struct node_address x)
{
	unsigned m = 0;

	for (unsigned i = 0; i < *n; i++)
		if (!same(a[i], x))
			a[m++] = a[i];
	*n = m;
}

static unsigned count_bits(unsigned x)
{
	return (unsigned)__builtin_popcount(x);
}

static bool is_quorate(const struct sim *s, unsigned nodes)
{
	return 2 * count_bits(nodes) > s->world.nodes;
}

/* Is the node's own process a member that gets what is ordered? */
static bool receives(const struct node *n)
{
	return n->replica && n->joined && among(n->group, n->ngroup, (struct node_address){ n->number, n->pid });
}

static unsigned count_absent(const struct node *n)
{
	unsigned absent = 0;

	for (unsigned i = 1; i <= n->sim->world.nodes; i++) {
		bool there = !(n->ring->nodes & bit(i));

		for (unsigned k = 0; k < n->ngroup; k++)
			there |= n->group[k].node == i;
		absent += !there;
	}
	return absent;
}

/* The group as the node knows it, as a view for its process. */
static void show_view(struct node *n, const struct node_address *left, unsigned nleft, bool continues)
{
	struct event *e;

	if (receives(n)) {
		e = new_event(n->sim, EVENT_VIEW);
		memcpy(e->members, n->group, n->ngroup * sizeof(n->group[0]));
		e->nmembers = n->ngroup;
		if (nleft)
			memcpy(e->left, left, nleft * sizeof(left[0]));
		e->nleft = nleft;
		e->absent = count_absent(n);
		e->missing = e->absent + n->sim->world.nodes - count_bits(n->ring->nodes);
		e->ring = n->ring->seq;
		e->quorate = is_quorate(n->sim, n->ring->nodes) && !n->ring->denied;
		e->continues = e->quorate && continues;
		list_push_back(&n->inbox, &e->link);
	}
	memcpy(n->shown, n->group, n->ngroup * sizeof(n->group[0]));
	n->nshown = n->ngroup;
}

/* ---- ordering ---- */

static void order_message(struct node *from, struct event *e)
{
	struct sim *s = from->sim;
	struct ring *ring = from->ring;
	uint64_t order = ring->next_order++;

	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];
		struct event *copy;

		if (n->ring != ring || !receives(n) || (ring->syncing && !(n->goers & bit(from->number))))
			continue;
		copy = new_event(s, EVENT_MESSAGE);
		copy->from = e->from;
		copy->payload = e->payload;
		copy->payload->refs++;
		copy->ring = ring->seq;
		copy->order = order;
		list_push_back(&n->inbox, &copy->link);
	}
	free_event(e);
}

static void order_change(struct node *from, struct event *e)
{
	struct sim *s = from->sim;
	bool join = e->type == EVENT_JOIN;

	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];

		if (n->ring != from->ring || among(n->group, n->ngroup, e->from) == join)
			continue;
		if (join)
			n->group[n->ngroup++] = e->from;
		else
			drop(n->group, &n->ngroup, e->from);
		show_view(n, &e->from, join ? 0 : 1, true);
	}
	free_event(e);
}

/* The first thing that the node has sent gets its place. */
static bool order_one(struct node *n)
{
	struct event *e = list_first(&n->outbox, struct event, link);

	if (!e || !n->up)
		return false;
	if (e->type != EVENT_MESSAGE && n->ring->syncing)
		return false;
	list_remove(&e->link);
	n->nout--;
	if (e->type == EVENT_MESSAGE)
		order_message(n, e);
	else
		order_change(n, e);
	return true;
}

/* ---- rings ---- */

static struct ring *new_ring(struct sim *s, unsigned nodes)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->rings); i++) {
		if (s->rings[i].seq)
			continue;
		s->rings[i] = (struct ring){ .seq = s->next_ring++, .nodes = nodes, .syncing = true, .next_order = 1 };
		return &s->rings[i];
	}
	bug(s, "too many rings");
}

/* The last place of `ring` that a process of these nodes was given. */
static uint64_t last_delivered(struct sim *s, unsigned nodes, uint64_t ring)
{
	uint64_t last = 0;

	for (unsigned i = 1; i <= s->world.nodes; i++)
		if ((nodes & bit(i)) && s->nodes[i].delivered_ring == ring && s->nodes[i].delivered > last)
			last = s->nodes[i].delivered;
	return last;
}

/*
 * `nodes` go from `old` to another ring together: of the messages that none of them was given yet, those
 * behind a random place have not reached them if they came from elsewhere. From that place on they know
 * that the ring changes.
 */
static void part(struct sim *s, const struct ring *old, unsigned nodes)
{
	uint64_t from = last_delivered(s, nodes, old->seq), cut;
	struct event *e, *tmp, *unsure;

	if (old->shown_order > from)
		from = old->shown_order;
	cut = from + sim_random(s) % (old->next_order - from);
	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];
		struct list tail;

		if (!(nodes & bit(i)) || !n->replica)
			continue;
		list_init(&tail);
		list_for_each_safe(e, tmp, &n->inbox, link) {
			if (e->type != EVENT_MESSAGE || e->ring != old->seq || e->order <= cut)
				continue;
			if (!(nodes & bit(e->from.node))) {
				free_event(e);
				continue;
			}
			list_remove(&e->link);
			list_push_back(&tail, &e->link);
		}
		unsure = new_event(s, EVENT_UNSURE);
		list_push_back(&n->inbox, &unsure->link);
		list_splice_back(&n->inbox, &tail);
	}
}

/* All nodes that are up and on one side form a ring, unless they are one. */
static void reform(struct sim *s)
{
	unsigned sides[SIM_MAX_NODES] = { 0 };
	unsigned done = 0;

	for (unsigned i = 1; i <= s->world.nodes; i++)
		if (s->nodes[i].up)
			sides[s->nodes[i].side] |= bit(i);
	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];
		struct ring *old = n->ring, *ring;
		unsigned to;

		if (!n->up || (done & bit(i)))
			continue;
		to = sides[n->side];
		done |= to;
		if (old && old->nodes == to)
			continue;
		ring = new_ring(s, to);
		for (unsigned k = 1; k <= s->world.nodes; k++) {
			struct node *m = &s->nodes[k];
			unsigned together;

			if (!(to & bit(k)))
				continue;
			together = m->goers & to;
			if (m->ring && m->ring != ring) {
				/* Everyone of the old ring who comes along, once. */
				struct ring *was = m->ring;
				unsigned group = 0;

				for (unsigned j = 1; j <= s->world.nodes; j++)
					if ((to & bit(j)) && s->nodes[j].ring == was &&
					    (s->nodes[j].goers & bit(k)))
						group |= bit(j);
				part(s, was, group);
				for (unsigned j = 1; j <= s->world.nodes; j++) {
					if (!(group & bit(j)))
						continue;
					s->nodes[j].goers = group;
					s->nodes[j].ring = ring;
				}
			} else if (!m->ring) {
				m->goers = together | bit(k);
				m->ring = ring;
			}
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(s->rings); i++) {
		bool used = false;

		for (unsigned k = 1; k <= s->world.nodes; k++)
			used |= s->nodes[k].ring == &s->rings[i];
		if (!used)
			s->rings[i].seq = 0;
	}
}

/* The nodes of a ring have told each other which processes they have: its view. */
static void end_sync(struct sim *s, struct ring *ring)
{
	struct node_address group[SIM_MAX_NODES * 2];
	unsigned n = 0;

	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *m = &s->nodes[i];

		/* A node knows its own processes best. */
		for (unsigned k = 0; m->ring == ring && k < m->ngroup; k++)
			if (m->group[k].node == i)
				group[n++] = m->group[k];
	}
	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *m = &s->nodes[i];
		struct node_address left[SIM_MAX_NODES * 2];
		unsigned nleft = 0;

		if (m->ring != ring)
			continue;
		for (unsigned k = 0; k < m->nshown; k++)
			if (!(m->goers & bit(m->shown[k].node)) || !among(group, n, m->shown[k]))
				left[nleft++] = m->shown[k];
		memcpy(m->group, group, sizeof(group[0]) * n);
		m->ngroup = n;
		show_view(m, left, nleft, m->goers == ring->nodes || is_quorate(s, m->goers));
	}
	for (unsigned i = 1; i <= s->world.nodes; i++)
		if (s->nodes[i].ring == ring)
			s->nodes[i].goers = ring->nodes;
	ring->syncing = false;
	ring->shown_order = ring->next_order - 1;
}

/* ---- processes ---- */

static void join_group(struct node *n)
{
	struct event *e = new_event(n->sim, EVENT_JOIN);

	e->from = (struct node_address){ n->number, n->pid };
	list_push_back(&n->outbox, &e->link);
	n->nout++;
	n->joined = true;
	replica_connected(n->replica, e->from);
}

static void leave_group(struct node *n)
{
	struct event *e;

	clear(&n->inbox);
	if (!n->joined)
		return;
	n->joined = false;
	if (!n->up)
		return;
	e = new_event(n->sim, EVENT_LEAVE);
	e->from = (struct node_address){ n->number, n->pid };
	list_push_back(&n->outbox, &e->link);
	n->nout++;
}

static void begin_process(struct node *n)
{
	struct sim *s = n->sim;
	struct replica_options o = {
		.app = s->world.begin(s->world.ctx, n->number),
		.io = { send_message, mono_ns, wall_ns, draw, remember, enough, n },
		.safe = s->world.safe,
		.hang_ms = s->world.hang_ms,
		.patience_ms = 2000,
		.begin_patience_ms = s->world.begin_patience_ms ? s->world.begin_patience_ms : 10000,
		.memory = n->memory,
	};

	n->app_ctx = o.app.ctx;
	n->pid++;
	n->hung = false;
	n->delivered = n->delivered_ring = 0;
	n->replica = replica_new(&o);
	if (!n->replica)
		bug(s, "out of memory");
	n->tick_at = s->now;
	if (n->up)
		join_group(n);
}

static void end_process(struct node *n, uint64_t restart_ms)
{
	struct replica *r = n->replica;

	if (!r)
		return;
	leave_group(n);
	n->replica = NULL;
	replica_free(r);
	n->sim->world.end(n->sim->world.ctx, n->number, n->app_ctx);
	n->app_ctx = NULL;
	n->start_at = n->sim->now + restart_ms * NS_PER_MS;
}

static void corosync_down(struct node *n)
{
	n->up = false;
	n->ring = NULL;
	n->goers = 0;
	n->ngroup = n->nshown = 0;
	clear_outbox(n);
	if (n->replica) {
		clear(&n->inbox);
		n->joined = false;
		replica_disconnected(n->replica);
	}
	reform(n->sim);
}

static void corosync_up(struct node *n)
{
	n->up = true;
	reform(n->sim);
}

/* With SIM_TRACE in the environment: what is delivered where. */
static void trace(const struct node *n, const struct event *e)
{
	static int on = -1;
	struct message m;

	if (on < 0)
		on = getenv("SIM_TRACE") != NULL;
	if (!on)
		return;
	fprintf(stderr, "%llu node %u.%u (%d, index %llu, epoch %llu): ", (unsigned long long)(n->sim->now / 1000),
		n->number, n->pid, (int)replica_phase(n->replica),
		(unsigned long long)replica_position(n->replica).index,
		(unsigned long long)replica_position(n->replica).generation.epoch);
	if (e->type == EVENT_MESSAGE && message_read(e->payload->bytes, e->payload->len, &m) == 0 &&
	    m.type == MESSAGE_HELLO)
		fprintf(stderr, "hello from %u.%u, ring %llu place %llu: phase %d, quorate %d, eager %d, round %llx.%u\n",
			e->from.node, e->from.pid, (unsigned long long)e->ring, (unsigned long long)e->order,
			(int)m.hello.phase, m.hello.quorate, m.hello.eager,
			(unsigned long long)(m.hello.round.view & 0xffff), m.hello.round.n);
	else if (e->type == EVENT_MESSAGE && message_read(e->payload->bytes, e->payload->len, &m) == 0)
		fprintf(stderr, "message %d from %u.%u, ring %llu place %llu; acked %llu, batch %llu\n", (int)m.type,
			e->from.node, e->from.pid, (unsigned long long)e->ring, (unsigned long long)e->order,
			(unsigned long long)(m.type == MESSAGE_BATCH_OF_COMMANDS ? m.batch.acked : m.acked),
			(unsigned long long)m.batch.seq);
	else if (e->type == EVENT_UNSURE)
		fprintf(stderr, "unsure\n");
	else if (e->type == EVENT_QUORUM)
		fprintf(stderr, "quorum %d\n", e->quorate);
	else
		fprintf(stderr, "view of %u, %u left, ring %llu, %d %d\n", e->nmembers, e->nleft,
			(unsigned long long)e->ring, e->quorate, e->continues);
}

static void deliver(struct node *n)
{
	struct event *e = list_first(&n->inbox, struct event, link);
	struct replica_view v;

	if (!e)
		return;
	trace(n, e);
	list_remove(&e->link);
	n->sim->deliveries++;
	if (e->type == EVENT_MESSAGE) {
		n->delivered = e->order;
		n->delivered_ring = e->ring;
		replica_message(n->replica, e->from, e->payload->bytes, e->payload->len);
	} else if (e->type == EVENT_UNSURE) {
		replica_unsure(n->replica);
	} else if (e->type == EVENT_QUORUM) {
		replica_quorum(n->replica, e->quorate);
	} else {
		v = (struct replica_view){
			.ring_node = 1,
			.ring_seq = e->ring,
			.members = e->members,
			.nmembers = e->nmembers,
			.left = e->left,
			.nleft = e->nleft,
			.absent = e->absent,
			.missing = e->missing,
			.quorate = e->quorate,
			.continues = e->continues,
		};
		replica_view(n->replica, &v);
	}
	free_event(e);
}

/* What a process does after something has happened to it. */
static void look_after(struct node *n)
{
	struct sim *s = n->sim;

	if (!n->replica || n->hung)
		return;
	if (replica_phase(n->replica) == CLUSTER_LOST) {
		end_process(n, 1 + below(s, 50));
		return;
	}
	if (chance(s, 70) || list_empty(&n->inbox))
		replica_flush(n->replica);
}

static void pass_time(struct sim *s, uint64_t ns)
{
	s->now += ns;
	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];

		if (!n->replica && n->start_at <= s->now) {
			begin_process(n);
		} else if (n->replica && n->hung && n->resume_at <= s->now) {
			n->hung = false;
		}
		if (n->replica && !n->hung && n->up && !n->joined)
			join_group(n);
		if (n->replica && !n->hung && n->tick_at <= s->now) {
			n->tick_at = s->now + TICK_MS * NS_PER_MS;
			replica_tick(n->replica);
			look_after(n);
		}
	}
}

/* ---- the outside ---- */

struct sim *sim_new(const struct sim_world *world)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->world = *world;
	s->random = hash_u64(world->seed + 1) | 1;
	s->now = 1000 * NS_PER_MS;
	s->next_ring = 1;
	for (unsigned i = 1; i <= world->nodes; i++) {
		struct node *n = &s->nodes[i];

		n->sim = s;
		n->number = i;
		list_init(&n->outbox);
		list_init(&n->inbox);
	}
	return s;
}

void sim_free(struct sim *s)
{
	for (unsigned i = 1; i <= s->world.nodes; i++) {
		end_process(&s->nodes[i], 0);
		clear(&s->nodes[i].inbox);
		clear(&s->nodes[i].outbox);
	}
	free(s);
}

void sim_start_all(struct sim *s)
{
	for (unsigned i = 1; i <= s->world.nodes; i++)
		s->nodes[i].up = true;
	reform(s);
	for (unsigned i = 1; i <= s->world.nodes; i++)
		if (!s->nodes[i].replica)
			begin_process(&s->nodes[i]);
}

static bool step_rings(struct sim *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->rings); i++)
		if (s->rings[i].seq && s->rings[i].syncing && chance(s, 10)) {
			end_sync(s, &s->rings[i]);
			return true;
		}
	return false;
}

void sim_step(struct sim *s)
{
	struct node *n = &s->nodes[1 + below(s, s->world.nodes)];
	unsigned what = below(s, 100);

	if (what < 2) {
		step_rings(s);
	} else if (what < 35) {
		order_one(n);
		pass_time(s, 1000);
	} else if (what < 98) {
		if (n->replica && !n->hung) {
			for (unsigned k = 1 + below(s, 8); k && n->replica; k--)
				deliver(n);
			look_after(n);
		}
	} else {
		pass_time(s, 1 + sim_random(s) % (20 * NS_PER_MS));
	}
}

static void fault_partition(struct sim *s)
{
	bool whole = chance(s, 50);

	for (unsigned i = 1; i <= s->world.nodes; i++)
		s->nodes[i].side = whole ? 0 : below(s, 2 + below(s, 2));
	reform(s);
}

static void set_denied(struct sim *s, struct ring *ring, bool denied)
{
	if (!ring || ring->syncing || ring->denied == denied || !is_quorate(s, ring->nodes))
		return;
	ring->denied = denied;
	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];
		struct event *e;

		if (n->ring != ring || !receives(n))
			continue;
		e = new_event(s, EVENT_QUORUM);
		e->quorate = !denied;
		list_push_back(&n->inbox, &e->link);
	}
}

/* Something that is broken is mended. */
static bool mend(struct sim *s, struct node *n)
{
	if (!n->up) {
		corosync_up(n);
		return true;
	}
	if (n->replica && n->hung) {
		n->hung = false;
		return true;
	}
	if (!n->replica && n->start_at > s->now) {
		n->start_at = s->now;
		return true;
	}
	if (n->ring->denied) {
		set_denied(s, n->ring, false);
		return true;
	}
	if (n->voteless) {
		n->voteless = false;
		return true;
	}
	if (n->side) {
		n->side = 0;
		reform(s);
		return true;
	}
	return false;
}

void sim_random_fault(struct sim *s, unsigned kinds)
{
	struct node *n = &s->nodes[1 + below(s, s->world.nodes)];
	unsigned kind;

	if (!kinds || (chance(s, 50) && mend(s, n)))
		return;
	do /* who does not want SIM_VOTES draws as before there was such a thing */
		kind = 1u << below(s, kinds & SIM_VOTES ? 8 : 7);
	while (!(kinds & kind));
	if (kind == SIM_PARTITION) {
		fault_partition(s);
	} else if (kind == SIM_CRASH) {
		end_process(n, below(s, 3000));
	} else if (kind == SIM_POWER && n->up) {
		end_process(n, below(s, 3000));
		corosync_down(n);
	} else if (kind == SIM_COROSYNC && n->up) {
		corosync_down(n);
	} else if (kind == SIM_QUORUM) {
		set_denied(s, n->ring, n->ring && !n->ring->denied);
	} else if (kind == SIM_VOTES) {
		n->voteless = !n->voteless;
	} else if (kind == SIM_CLOCK) {
		n->wall_ahead = below(s, 2) * (uint64_t)below(s, 1u << 30) * NS_PER_MS;
	} else if (kind == SIM_HANG && n->replica) {
		n->hung = true;
		n->resume_at = s->now + below(s, 2 * s->world.hang_ms) * NS_PER_MS;
	}
}

void sim_stop(struct sim *s, unsigned node)
{
	end_process(&s->nodes[node], 0);
	s->nodes[node].start_at = UINT64_MAX;
}

void sim_start(struct sim *s, unsigned node)
{
	if (!s->nodes[node].replica)
		begin_process(&s->nodes[node]);
}

void sim_move(struct sim *s, unsigned node, unsigned side)
{
	s->nodes[node].side = side;
	reform(s);
}

void sim_hang(struct sim *s, unsigned node, bool hung)
{
	s->nodes[node].hung = hung;
	s->nodes[node].resume_at = hung ? UINT64_MAX : s->now;
}

void sim_deny_quorum(struct sim *s, unsigned node, bool denied)
{
	set_denied(s, s->nodes[node].ring, denied);
}

void sim_deny_votes(struct sim *s, unsigned node, bool denied)
{
	s->nodes[node].voteless = denied;
}

void sim_reconnect(struct sim *s, unsigned node)
{
	struct node *n = &s->nodes[node];

	leave_group(n);
	replica_disconnected(n->replica);
	join_group(n);
}

static bool is_quiet(const struct sim *s)
{
	struct position at = { 0 };

	for (unsigned i = 1; i <= s->world.nodes; i++) {
		const struct node *n = &s->nodes[i];
		struct position p;

		if (!n->replica || n->hung || replica_phase(n->replica) != CLUSTER_SERVING ||
		    !list_empty(&n->inbox) || !list_empty(&n->outbox) || n->ring->syncing)
			return false;
		p = replica_position(n->replica);
		if (i == 1)
			at = p;
		if (p.index != at.index)
			return false;
	}
	return true;
}

bool sim_settle(struct sim *s)
{
	uint64_t end = s->now + 60000 * NS_PER_MS;

	for (unsigned i = 1; i <= s->world.nodes; i++) {
		struct node *n = &s->nodes[i];

		n->side = 0;
		n->voteless = false;
		n->resume_at = 0;
		if (n->start_at > s->now)
			n->start_at = s->now;
		n->up = true;
	}
	reform(s);
	for (unsigned i = 1; i <= s->world.nodes; i++)
		set_denied(s, s->nodes[i].ring, false);
	while (s->now < end) {
		for (unsigned i = 0; i < 50; i++)
			sim_step(s);
		if (is_quiet(s))
			return true;
	}
	return false;
}

bool sim_submit(struct sim *s, unsigned node, const void *command, void *result,
		void (*done)(void *arg), void *arg, enum cluster_submitted *how)
{
	struct node *n = &s->nodes[node];

	if (!n->replica)
		return false;
	*how = replica_submit(n->replica, command, result, done, arg);
	return true;
}

int sim_broadcast(struct sim *s, unsigned node, const void *p, size_t len)
{
	return s->nodes[node].replica ? replica_broadcast(s->nodes[node].replica, p, len) : -EAGAIN;
}

uint64_t sim_now_ns(const struct sim *s)
{
	return s->now;
}

bool sim_running(const struct sim *s, unsigned node)
{
	return s->nodes[node].replica && !s->nodes[node].hung;
}

enum cluster_phase sim_phase(const struct sim *s, unsigned node)
{
	return s->nodes[node].replica ? replica_phase(s->nodes[node].replica) : CLUSTER_LOST;
}

struct position sim_position(const struct sim *s, unsigned node)
{
	return replica_position(s->nodes[node].replica);
}

bool sim_has_quorum(const struct sim *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(s->rings); i++)
		if (s->rings[i].seq && is_quorate(s, s->rings[i].nodes) && !s->rings[i].denied)
			return true;
	return false;
}

uint64_t sim_deliveries(const struct sim *s)
{
	return s->deliveries;
}

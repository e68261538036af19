#include "cluster/gate.h"

#include <stdlib.h>
#include <string.h>

enum event_type { EVENT_MESSAGE, EVENT_CHANGE, EVENT_RING };

struct event {
	struct list link;
	enum event_type type;
	struct node_address from; /* MESSAGE */
	bool by_nodes;		  /* CHANGE */
	struct ring ring;	  /* RING */
	unsigned nmembers, nleft; /* CHANGE; RING: nmembers nodes */
	size_t len;
	uint8_t bytes[]; /* the message; members, then who left; nodes */
};

void gate_init(struct gate *g, struct replica *replica)
{
	*g = (struct gate){ .replica = replica, .closed = true };
	list_init(&g->events);
}

void gate_reset(struct gate *g)
{
	struct event *e, *tmp;

	list_for_each_safe(e, tmp, &g->events, link) {
		list_remove(&e->link);
		free(e);
	}
	g->closed = true;
	g->have_ring = g->have_quorum = false;
}

static bool same_ring(struct ring a, struct ring b)
{
	return a.node == b.node && a.seq == b.seq;
}

static struct event *keep(struct gate *g, enum event_type type, const void *p, size_t len)
{
	struct event *e = calloc(1, sizeof(*e) + len);

	if (!e)
		return NULL;
	e->type = type;
	e->len = len;
	if (len)
		memcpy(e->bytes, p, len);
	list_push_back(&g->events, &e->link);
	return e;
}

/* ---- letting through ---- */

static bool has_member(const struct replica_view *v, uint32_t node)
{
	for (unsigned i = 0; i < v->nmembers; i++)
		if (v->members[i].node == node)
			return true;
	return false;
}

/* Nodes of the ring that have no member. */
static unsigned count_absent(const struct gate *g, const struct replica_view *v)
{
	unsigned absent = 0;

	for (unsigned i = 0; i < g->nnodes; i++)
		absent += !has_member(v, g->nodes[i]);
	return absent;
}

static void show_view(struct gate *g, struct replica_view *v)
{
	v->ring_node = g->ring.node;
	v->ring_seq = g->ring.seq;
	v->absent = count_absent(g, v);
	v->missing = v->absent;
	if (g->configured > g->nnodes)
		v->missing += g->configured - g->nnodes;
	replica_view(g->replica, v);
}

static void show_change(struct gate *g, const struct event *e, bool quorate, bool continues)
{
	struct node_address left[GATE_MAX_MEMBERS];
	struct replica_view v = {
		.members = g->members,
		.nmembers = e->nmembers,
		.left = left,
		.nleft = e->nleft,
		.quorate = quorate,
		.continues = continues,
	};

	memcpy(g->members, e->bytes, e->nmembers * sizeof(*left));
	memcpy(left, e->bytes + e->nmembers * sizeof(*left), e->nleft * sizeof(*left));
	g->nmembers = e->nmembers;
	show_view(g, &v);
}

/* The last view's members in a new ring. */
static void show_ring(struct gate *g, bool quorate, bool continues)
{
	struct replica_view v = {
		.members = g->members,
		.nmembers = g->nmembers,
		.left = g->members,
		.quorate = quorate,
		.continues = continues,
	};

	show_view(g, &v);
}

/* The event that ends the first segment: its ring's. */
static struct event *first_ring(struct gate *g)
{
	struct event *e;

	list_for_each(e, &g->events, link)
		if (e->type == EVENT_RING)
			return e;
	return NULL;
}

static bool later_ring(struct gate *g, const struct event *ring)
{
	const struct list *l;

	for (l = ring->link.next; l != &g->events; l = l->next)
		if (list_entry(l, struct event, link)->type == EVENT_RING)
			return true;
	return false;
}

static void let_through(struct gate *g, struct event *e, bool quorate, bool continues)
{
	list_remove(&e->link);
	if (e->type == EVENT_MESSAGE)
		replica_message(g->replica, e->from, e->bytes, e->len);
	else if (e->type == EVENT_CHANGE)
		show_change(g, e, quorate, continues);
	free(e);
}

/*
 * Everything up to `end`, the event of a ring. Messages before the changes belong to the last view; the
 * changes make views of the new ring. A ring without changes is news as well: those that were unsure
 * can be sure again. So its last view is shown once more.
 */
static void end_segment(struct gate *g, struct event *end, bool quorate)
{
	struct event *e, *tmp;
	bool changed = false, continues;

	g->drain(g->ctx);
	g->ring = end->ring;
	g->have_ring = true;
	g->nnodes = end->nmembers < CLUSTER_MAX_NODES ? end->nmembers : CLUSTER_MAX_NODES;
	memcpy(g->nodes, end->bytes, g->nnodes * sizeof(uint32_t));
	continues = quorate && g->moved_had_quorum(g->ctx, end->ring);
	list_for_each_safe(e, tmp, &g->events, link) {
		if (e == end)
			break;
		changed |= e->type == EVENT_CHANGE;
		let_through(g, e, quorate, continues);
	}
	list_remove(&end->link);
	free(end);
	if (!changed)
		show_ring(g, quorate, continues);
}

static void try_open(struct gate *g)
{
	struct event *ring, *e, *tmp;

	while ((ring = first_ring(g))) {
		bool known = g->have_quorum && same_ring(g->quorum_ring, ring->ring);

		if (!known && !later_ring(g, ring) &&
		    !(g->have_quorum && g->quorum_ring.seq > ring->ring.seq))
			return;
		end_segment(g, ring, known && g->quorate);
	}
	/* Behind the last ring: changes by nodes wait for theirs. */
	list_for_each_safe(e, tmp, &g->events, link) {
		if (e->type == EVENT_CHANGE && e->by_nodes)
			return;
		let_through(g, e, g->quorate, g->quorate);
	}
	g->closed = false;
}

/* ---- events ---- */

bool gate_message(struct gate *g, struct node_address from, const void *p, size_t len)
{
	struct event *e;

	if (!g->closed) {
		replica_message(g->replica, from, p, len);
		return true;
	}
	e = keep(g, EVENT_MESSAGE, p, len);
	if (e)
		e->from = from;
	return e != NULL;
}

bool gate_change(struct gate *g, const struct node_address *members, unsigned nmembers,
		 const struct node_address *left, unsigned nleft, bool by_nodes)
{
	struct node_address all[2 * GATE_MAX_MEMBERS];
	struct event *e;

	if (nmembers > GATE_MAX_MEMBERS || nleft > GATE_MAX_MEMBERS)
		return false;
	memcpy(all, members, nmembers * sizeof(*all));
	if (nleft)
		memcpy(all + nmembers, left, nleft * sizeof(*all));
	e = keep(g, EVENT_CHANGE, all, (nmembers + nleft) * sizeof(*all));
	if (!e)
		return false;
	e->nmembers = nmembers;
	e->nleft = nleft;
	e->by_nodes = by_nodes;
	if (by_nodes)
		g->closed = true;
	if (!g->closed)
		let_through(g, e, g->quorate, g->quorate);
	return true;
}

bool gate_ring(struct gate *g, struct ring ring, const uint32_t *nodes, unsigned nnodes)
{
	struct event *e = keep(g, EVENT_RING, nodes, nnodes * sizeof(*nodes));

	if (!e)
		return false;
	e->ring = ring;
	e->nmembers = nnodes;
	g->closed = true;
	try_open(g);
	return true;
}

void gate_quorum(struct gate *g, struct ring ring, bool quorate)
{
	g->have_quorum = true;
	g->quorum_ring = ring;
	g->quorate = quorate;
	if (g->closed)
		try_open(g);
	if (!g->closed && same_ring(ring, g->ring)) {
		replica_quorum(g->replica, quorate);
	}
}

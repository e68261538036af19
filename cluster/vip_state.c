#include "cluster/vip_state.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

#define CONNS_MOST 65536 /* remembered for one address; clients of others notice later */
#define NODES_MOST CLUSTER_MAX_NODES

enum message { CONN_OPEN = 1, CONN_CLOSE, RELEASED, DRAINED, UNDRAINED, LEAVING, LIST };

struct conn {
	struct vip_peer peer;
	uint32_t node; /* where it is */
};

struct entry {
	struct vip vip;
	uint32_t holder, next;
	struct conn *conns;
	unsigned nconns, room;
	bool mine; /* this node was told to hold it, and not to drop it since */
};

/* A set of nodes. */
struct nodes {
	uint32_t n, id[NODES_MOST];
};

struct vip_state {
	struct vip_ops ops;
	enum cluster_phase phase;
	uint32_t self; /* 0: not known yet */
	struct nodes members, drained, leaving;
	unsigned n;
	struct entry entries[VIP_MOST];
};

/* ---- sets of nodes ---- */

static bool in(const struct nodes *set, uint32_t id)
{
	for (uint32_t i = 0; i < set->n; i++)
		if (set->id[i] == id)
			return true;
	return false;
}

static void take_out(struct nodes *set, uint32_t id)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < set->n; i++)
		if (set->id[i] != id)
			set->id[kept++] = set->id[i];
	set->n = kept;
}

static void put_in(struct nodes *set, uint32_t id)
{
	if (!in(set, id) && set->n < NODES_MOST)
		set->id[set->n++] = id;
}

/* ---- life ---- */

static void set_list(struct vip_state *s, const struct vip *vips, unsigned n)
{
	for (unsigned i = 0; i < n && s->n < VIP_MOST; i++)
		s->entries[s->n++] = (struct entry){ .vip = vips[i] };
}

struct vip_state *vip_state_new(const struct vip_ops *ops, const struct vip *vips, unsigned n)
{
	struct vip_state *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->ops = *ops;
	s->phase = CLUSTER_JOINING;
	set_list(s, vips, n);
	return s;
}

static void clear_list(struct vip_state *s)
{
	for (unsigned i = 0; i < s->n; i++)
		free(s->entries[i].conns);
	s->n = 0;
}

void vip_state_free(struct vip_state *s)
{
	if (s)
		clear_list(s);
	free(s);
}

/* ---- what this node has to do ---- */

/* The connections to `e` that are not at its holder, who provokes them; they are forgotten. */
static void tell_hold(struct vip_state *s, struct entry *e)
{
	struct vip_peer *lost = calloc(e->nconns ? e->nconns : 1, sizeof(*lost));
	unsigned nlost = 0, kept = 0;

	for (unsigned i = 0; i < e->nconns; i++) {
		if (e->conns[i].node == s->self)
			e->conns[kept++] = e->conns[i];
		else if (lost)
			lost[nlost++] = e->conns[i].peer;
	}
	e->nconns = kept;
	e->mine = true;
	/* Without memory clients notice by their own means that nobody answers. */
	s->ops.hold(s->ops.ctx, &e->vip, lost, nlost);
	free(lost);
}

static void tell_drop(struct vip_state *s, struct entry *e)
{
	if (!e->mine)
		return;
	e->mine = false;
	s->ops.drop(s->ops.ctx, &e->vip);
}

/* At the other nodes the same connections are forgotten. */
static void forget_lost(struct entry *e, uint32_t holder)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < e->nconns; i++)
		if (e->conns[i].node == holder)
			e->conns[kept++] = e->conns[i];
	e->nconns = kept;
}

static bool active(const struct vip_state *s)
{
	return s->phase == CLUSTER_SERVING;
}

static void set_holder(struct vip_state *s, struct entry *e, uint32_t holder)
{
	e->holder = holder;
	e->next = 0;
	if (holder == s->self && active(s)) {
		tell_hold(s, e);
		return;
	}
	forget_lost(e, holder);
	tell_drop(s, e);
}

/* ---- who gets which ---- */

static unsigned candidates(const struct vip_state *s, struct vip_node *nodes)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < s->members.n; i++) {
		uint32_t id = s->members.id[i];

		if (!in(&s->leaving, id))
			nodes[n++] = (struct vip_node){ id, in(&s->drained, id) };
	}
	return n;
}

static void apply_target(struct vip_state *s, struct entry *e, uint32_t target)
{
	bool alive = in(&s->members, e->holder);
	uint32_t next;

	if (!alive) {
		if (e->holder != target)
			set_holder(s, e, target);
		return;
	}
	/* Nobody else can have it: it stays until its holder goes. */
	next = target == e->holder ? 0 : target;
	if (next && !e->next && e->holder == s->self && active(s))
		s->ops.release(s->ops.ctx, &e->vip);
	/* If it is to stay after all, RELEASED is on its way, and answered by hold(). */
	e->next = next ? next : e->next ? e->holder : 0;
}

static void reassign(struct vip_state *s)
{
	struct vip_node nodes[NODES_MOST];
	uint32_t before[VIP_MOST], after[VIP_MOST];
	unsigned nnodes = candidates(s, nodes);

	for (unsigned i = 0; i < s->n; i++) {
		const struct entry *e = &s->entries[i];

		before[i] = e->next ? e->next : e->holder;
	}
	vip_assign(nodes, nnodes, before, after, s->n);
	for (unsigned i = 0; i < s->n; i++)
		apply_target(s, &s->entries[i], after[i]);
}

/* ---- what the log says ---- */

static void forget_node(struct vip_state *s, uint32_t id)
{
	take_out(&s->leaving, id);
	for (unsigned i = 0; i < s->n; i++) {
		struct entry *e = &s->entries[i];
		unsigned kept = 0;

		/* Those to an address of its own are for whoever takes that over. */
		for (unsigned j = 0; j < e->nconns; j++)
			if (e->conns[j].node != id)
				e->conns[kept++] = e->conns[j];
		e->nconns = kept;
	}
}

void vip_state_members(struct vip_state *s, const struct cluster_members *m)
{
	struct nodes old = s->members;

	s->self = m->self;
	s->members.n = 0;
	for (uint32_t i = 0; i < m->n && i < NODES_MOST; i++)
		s->members.id[s->members.n++] = m->nodes[i];
	reassign(s);
	for (uint32_t i = 0; i < old.n; i++)
		if (!in(&s->members, old.id[i]))
			forget_node(s, old.id[i]);
}

void vip_state_phase(struct vip_state *s, enum cluster_phase phase)
{
	enum cluster_phase before = s->phase;

	s->phase = phase;
	for (unsigned i = 0; i < s->n; i++) {
		struct entry *e = &s->entries[i];

		if (phase != CLUSTER_SERVING)
			tell_drop(s, e);
		else if (before != phase && e->holder == s->self && s->self)
			tell_hold(s, e);
	}
	/* What was to be let go of is let go of now that there is somebody to tell. */
	for (unsigned i = 0; phase == CLUSTER_SERVING && before != phase && i < s->n; i++)
		if (s->entries[i].mine && s->entries[i].next)
			s->ops.release(s->ops.ctx, &s->entries[i].vip);
}

/* ---- messages ---- */

struct reader {
	const uint8_t *p, *end;
};

static bool get(struct reader *r, void *out, size_t n)
{
	if ((size_t)(r->end - r->p) < n)
		return false;
	memcpy(out, r->p, n);
	r->p += n;
	return true;
}

static bool get_u32(struct reader *r, uint32_t *out)
{
	uint8_t b[4];

	if (!get(r, b, sizeof(b)))
		return false;
	*out = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
	return true;
}

static bool get_port(struct reader *r, uint16_t *out)
{
	uint8_t b[2];

	if (!get(r, b, sizeof(b)))
		return false;
	*out = (uint16_t)(b[0] << 8 | b[1]);
	return true;
}

static bool get_vip(struct reader *r, struct vip *out)
{
	return get(r, &out->family, 1) && get(r, &out->prefix, 1) && get(r, out->addr, 16) &&
	       (out->family == 4 || out->family == 6) && out->prefix >= 1 &&
	       out->prefix <= (out->family == 4 ? 32 : 128);
}

static struct entry *find(struct vip_state *s, const struct vip *v)
{
	for (unsigned i = 0; i < s->n; i++)
		if (vip_same(&s->entries[i].vip, v))
			return &s->entries[i];
	return NULL;
}

static bool add_conn(struct entry *e, const struct conn *c)
{
	unsigned room = e->room ? 2 * e->room : 16;
	struct conn *bigger;

	if (e->nconns == CONNS_MOST)
		return true;
	if (e->nconns == e->room) {
		bigger = reallocarray(e->conns, room, sizeof(*bigger));
		if (!bigger)
			return false;
		e->conns = bigger;
		e->room = room;
	}
	e->conns[e->nconns++] = *c;
	return true;
}

static void remove_conn(struct entry *e, const struct conn *c)
{
	for (unsigned i = 0; i < e->nconns; i++) {
		struct conn *have = &e->conns[i];

		if (have->node == c->node && have->peer.port == c->peer.port &&
		    memcmp(have->peer.addr, c->peer.addr, sizeof(c->peer.addr)) == 0) {
			*have = e->conns[--e->nconns];
			return;
		}
	}
}

static bool take_connection(struct vip_state *s, uint32_t origin, struct reader *r, bool open)
{
	struct conn c = { .node = origin };
	struct entry *e;
	struct vip v;

	if (!get_vip(r, &v) || !get(r, c.peer.addr, sizeof(c.peer.addr)) ||
	    !get_port(r, &c.peer.port))
		return false;
	e = find(s, &v);
	/* Opened while it was on the move: whoever holds it now has provoked the client already. */
	if (!e || (open && e->holder != origin))
		return true;
	if (!open)
		remove_conn(e, &c);
	else
		/* One that is not remembered notices a failover later. */
		add_conn(e, &c);
	return true;
}

static bool take_released(struct vip_state *s, uint32_t origin, struct reader *r)
{
	struct entry *e;
	struct vip v;

	if (!get_vip(r, &v))
		return false;
	e = find(s, &v);
	if (!e || e->holder != origin || !e->next)
		return true;
	if (origin == s->self)
		e->mine = false;
	set_holder(s, e, e->next);
	return true;
}

static bool take_drained(struct vip_state *s, struct reader *r, bool drained)
{
	uint32_t node;

	if (!get_u32(r, &node))
		return false;
	if (drained)
		put_in(&s->drained, node);
	else
		take_out(&s->drained, node);
	reassign(s);
	return true;
}

static void take_leaving(struct vip_state *s, uint32_t origin)
{
	if (in(&s->members, origin))
		put_in(&s->leaving, origin);
	reassign(s);
}

/* Those that stay keep their holder and place; the others go, new ones come at the end. */
static bool take_list(struct vip_state *s, struct reader *r)
{
	struct vip vips[VIP_MOST];
	unsigned n = 0, kept = 0;

	while (r->p < r->end)
		if (n == VIP_MOST || !get_vip(r, &vips[n++]))
			return false;
	for (unsigned i = 0; i < s->n; i++) {
		struct entry *e = &s->entries[i];
		unsigned j = 0;

		while (j < n && !vip_same(&e->vip, &vips[j]))
			j++;
		if (j < n && e->vip.prefix == vips[j].prefix) {
			s->entries[kept++] = *e;
		} else {
			tell_drop(s, e);
			free(e->conns);
		}
	}
	s->n = kept;
	for (unsigned j = 0; j < n; j++)
		if (!find(s, &vips[j]))
			set_list(s, &vips[j], 1);
	reassign(s);
	return true;
}

bool vip_state_message(struct vip_state *s, uint32_t origin, const uint8_t *p, size_t len)
{
	struct reader r = { p, p + len };
	uint8_t kind;

	if (!get(&r, &kind, 1))
		return false;
	switch (kind) {
	case CONN_OPEN:
	case CONN_CLOSE:
		return take_connection(s, origin, &r, kind == CONN_OPEN);
	case RELEASED:
		return take_released(s, origin, &r);
	case DRAINED:
	case UNDRAINED:
		return take_drained(s, &r, kind == DRAINED);
	case LEAVING:
		take_leaving(s, origin);
		return true;
	case LIST:
		return take_list(s, &r);
	}
	return false;
}

/* ---- saying ---- */

static uint8_t *put(uint8_t *p, const void *from, size_t n)
{
	memcpy(p, from, n);
	return p + n;
}

static uint8_t *put_u32(uint8_t *p, uint32_t v)
{
	const uint8_t b[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
			       (uint8_t)v };

	return put(p, b, sizeof(b));
}

static uint8_t *put_port(uint8_t *p, uint16_t v)
{
	*p++ = (uint8_t)(v >> 8);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *put_vip(uint8_t *p, const struct vip *v)
{
	*p++ = v->family;
	*p++ = v->prefix;
	return put(p, v->addr, sizeof(v->addr));
}

/* The address in the family of the virtual one; an IPv4 client may come in IPv6's clothes. */
static bool get_peer(const struct vip *v, const struct sockaddr *sa, struct vip_peer *out)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

	*out = (struct vip_peer){ 0 };
	if (sa->sa_family == AF_INET && v->family == 4) {
		memcpy(out->addr, &in4->sin_addr, 4);
		out->port = ntohs(in4->sin_port);
		return true;
	}
	if (sa->sa_family != AF_INET6 || IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) != (v->family == 4))
		return false;
	if (v->family == 4)
		memcpy(out->addr, in6->sin6_addr.s6_addr + 12, 4);
	else
		memcpy(out->addr, in6->sin6_addr.s6_addr, 16);
	out->port = ntohs(in6->sin6_port);
	return true;
}

size_t vip_say_connection(uint8_t *out, bool open, const struct vip *v, const struct sockaddr *sa)
{
	struct vip_peer peer;
	uint8_t *p = out;

	if (!get_peer(v, sa, &peer))
		return 0;
	*p++ = open ? CONN_OPEN : CONN_CLOSE;
	p = put_vip(p, v);
	p = put(p, peer.addr, sizeof(peer.addr));
	p = put_port(p, peer.port);
	return (size_t)(p - out);
}

size_t vip_say_released(uint8_t *out, const struct vip *v)
{
	out[0] = RELEASED;
	return (size_t)(put_vip(out + 1, v) - out);
}

size_t vip_say_drained(uint8_t *out, uint32_t node, bool drained)
{
	out[0] = drained ? DRAINED : UNDRAINED;
	return (size_t)(put_u32(out + 1, node) - out);
}

size_t vip_say_leaving(uint8_t *out)
{
	out[0] = LEAVING;
	return 1;
}

size_t vip_say_list(uint8_t *out, const struct vip *vips, unsigned n)
{
	uint8_t *p = out;

	*p++ = LIST;
	for (unsigned i = 0; i < n && i < VIP_MOST; i++)
		p = put_vip(p, &vips[i]);
	return (size_t)(p - out);
}

/* ---- snapshots ---- */

#define CONN_BYTES 22u

static uint8_t *put_nodes(uint8_t *p, const struct nodes *set)
{
	p = put_u32(p, set->n);
	for (uint32_t i = 0; i < set->n; i++)
		p = put_u32(p, set->id[i]);
	return p;
}

static bool get_nodes(struct reader *r, struct nodes *set)
{
	if (!get_u32(r, &set->n) || set->n > NODES_MOST)
		return false;
	for (uint32_t i = 0; i < set->n; i++)
		if (!get_u32(r, &set->id[i]))
			return false;
	return true;
}

static uint8_t *put_entry(uint8_t *p, const struct entry *e)
{
	p = put_vip(p, &e->vip);
	p = put_u32(p, e->holder);
	p = put_u32(p, e->next);
	p = put_u32(p, e->nconns);
	for (unsigned i = 0; i < e->nconns; i++) {
		p = put(p, e->conns[i].peer.addr, 16);
		p = put_port(p, e->conns[i].peer.port);
		p = put_u32(p, e->conns[i].node);
	}
	return p;
}

static int get_entry(struct reader *r, struct entry *e)
{
	uint32_t nconns;

	*e = (struct entry){ 0 };
	if (!get_vip(r, &e->vip) || !get_u32(r, &e->holder) || !get_u32(r, &e->next) ||
	    !get_u32(r, &nconns) || nconns > CONNS_MOST)
		return -EINVAL;
	while (e->nconns < nconns) {
		struct conn c;

		if (!get(r, c.peer.addr, 16) || !get_port(r, &c.peer.port) || !get_u32(r, &c.node))
			return -EINVAL;
		if (!add_conn(e, &c))
			return -ENOMEM;
	}
	return 0;
}

int vip_state_snapshot(const struct vip_state *s, uint8_t **out, size_t *len)
{
	size_t size = 3 * (4 + 4 * NODES_MOST) + 4;
	uint8_t *p;

	for (unsigned i = 0; i < s->n; i++)
		size += 18 + 12 + CONN_BYTES * s->entries[i].nconns;
	*out = p = malloc(size);
	if (!p)
		return -ENOMEM;
	p = put_nodes(p, &s->members);
	p = put_nodes(p, &s->drained);
	p = put_nodes(p, &s->leaving);
	p = put_u32(p, s->n);
	for (unsigned i = 0; i < s->n; i++)
		p = put_entry(p, &s->entries[i]);
	*len = (size_t)(p - *out);
	return 0;
}

int vip_state_restore(struct vip_state *s, const uint8_t *p, size_t len)
{
	struct reader r = { p, p + len };
	struct vip_state *now = calloc(1, sizeof(*now));
	uint32_t n;
	int rc = 0;

	if (!now)
		return -ENOMEM;
	if (!get_nodes(&r, &now->members) || !get_nodes(&r, &now->drained) ||
	    !get_nodes(&r, &now->leaving) || !get_u32(&r, &n) || n > VIP_MOST)
		rc = -EINVAL;
	while (!rc && now->n < n)
		rc = get_entry(&r, &now->entries[now->n++]);
	if (!rc && r.p != r.end)
		rc = -EINVAL;
	if (rc) {
		vip_state_free(now);
		return rc;
	}
	for (unsigned i = 0; i < s->n; i++)
		tell_drop(s, &s->entries[i]);
	clear_list(s);
	now->ops = s->ops;
	now->phase = s->phase;
	now->self = s->self;
	*s = *now;
	free(now);
	return 0;
}

/* ---- for people and tests ---- */

unsigned vip_state_count(const struct vip_state *s)
{
	return s->n;
}

void vip_state_view(const struct vip_state *s, unsigned i, struct vip_view *out)
{
	const struct entry *e = &s->entries[i];

	*out = (struct vip_view){ e->vip, e->holder, e->next, e->nconns };
}

const struct vip *vip_state_find(const struct vip_state *s, const struct sockaddr *local)
{
	for (unsigned i = 0; i < s->n; i++)
		if (vip_matches(&s->entries[i].vip, local))
			return &s->entries[i].vip;
	return NULL;
}

bool vip_state_is_drained(const struct vip_state *s, uint32_t node)
{
	return in(&s->drained, node);
}

bool vip_state_drained_full(const struct vip_state *s)
{
	return s->drained.n == NODES_MOST;
}

unsigned vip_state_able(const struct vip_state *s, uint32_t but)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < s->members.n; i++) {
		uint32_t id = s->members.id[i];

		n += id != but && !in(&s->drained, id) && !in(&s->leaving, id);
	}
	return n;
}

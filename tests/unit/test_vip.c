/*
 * Virtual addresses: text, who gets which, and what the nodes know in common, with several nodes
 * that hear the same things in the same order.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "cluster/vip.h"
#include "cluster/vip_state.h"

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % below;
}

/* ---- text ---- */

static void text_case(const char *text, const char *expected)
{
	char out[VIP_TEXT];
	struct vip v;

	if (!expected) {
		assert_int_not_equal(vip_parse(text, &v), 0);
		return;
	}
	assert_int_equal(vip_parse(text, &v), 0);
	assert_string_equal(vip_format(&v, true, out), expected);
}

static void test_text(void **state)
{
	text_case("10.0.0.5/24", "10.0.0.5/24");
	text_case("10.0.0.5", "10.0.0.5/32");
	text_case("2001:db8::5/64", "2001:db8::5/64");
	text_case("2001:DB8:0::5", "2001:db8::5/128");
	text_case("10.0.0.5/0", NULL);
	text_case("10.0.0.5/33", NULL);
	text_case("2001:db8::5/129", NULL);
	text_case("10.0.0.5/", NULL);
	text_case("10.0.0.5/2x", NULL);
	text_case("10.0.0", NULL);
	text_case("0.0.0.0/8", NULL);
	text_case("::/64", NULL);
	text_case("", NULL);
	text_case("host/24", NULL);
}

static void test_matches(void **state)
{
	struct vip v4, v6;
	struct sockaddr_storage ss;
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };
	socklen_t len;

	assert_int_equal(vip_parse("10.0.0.5/24", &v4), 0);
	assert_int_equal(vip_parse("2001:db8::5/64", &v6), 0);
	vip_sockaddr(&v4, 2049, &ss, &len);
	assert_true(vip_matches(&v4, (struct sockaddr *)&ss));
	assert_false(vip_matches(&v6, (struct sockaddr *)&ss));
	vip_sockaddr(&v6, 2049, &ss, &len);
	assert_true(vip_matches(&v6, (struct sockaddr *)&ss));
	assert_false(vip_matches(&v4, (struct sockaddr *)&ss));
	inet_pton(AF_INET6, "::ffff:10.0.0.5", &mapped.sin6_addr);
	assert_true(vip_matches(&v4, (struct sockaddr *)&mapped));
	inet_pton(AF_INET6, "::ffff:10.0.0.6", &mapped.sin6_addr);
	assert_false(vip_matches(&v4, (struct sockaddr *)&mapped));
}

/* ---- who gets which ---- */

static unsigned count(uint32_t id, const uint32_t *holder, unsigned n)
{
	unsigned c = 0;

	for (unsigned i = 0; i < n; i++)
		c += holder[i] == id;
	return c;
}

/* The fewest moves that any balanced assignment needs. */
static unsigned fewest_moves(const uint32_t *ids, unsigned nids, const uint32_t *before, unsigned n)
{
	unsigned low = n / nids, extra = n % nids, stay = 0;

	/* Each keeps up to `low`, and `extra` of those with more keep one more. */
	for (unsigned i = 0; i < nids; i++) {
		unsigned have = count(ids[i], before, n);

		stay += have < low ? have : low;
		if (have > low && extra) {
			stay++;
			extra--;
		}
	}
	return n - stay;
}

static void check_assignment(const struct vip_node *nodes, unsigned nnodes, const uint32_t *before,
			     unsigned n)
{
	uint32_t after[VIP_MOST], again[VIP_MOST], ids[CLUSTER_MAX_NODES];
	unsigned nids = 0, moves = 0, least = n, most = 0;
	bool all_avoid = true;

	for (unsigned i = 0; i < nnodes; i++)
		all_avoid &= nodes[i].avoid;
	for (unsigned i = 0; i < nnodes; i++)
		if (all_avoid || !nodes[i].avoid)
			ids[nids++] = nodes[i].id;
	vip_assign(nodes, nnodes, before, after, n);
	vip_assign(nodes, nnodes, after, again, n);
	assert_memory_equal(after, again, n * sizeof(*after));
	if (!nids) {
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(after[i], 0);
		return;
	}
	for (unsigned i = 0; i < nids; i++) {
		unsigned c = count(ids[i], after, n);

		least = c < least ? c : least;
		most = c > most ? c : most;
		moves += c;
	}
	assert_int_equal(moves, n); /* each is held by one that may */
	assert_true(most - least <= 1);
	moves = 0;
	for (unsigned i = 0; i < n; i++)
		moves += after[i] != before[i];
	assert_int_equal(moves, fewest_moves(ids, nids, before, n));
}

static void test_assign_examples(void **state)
{
	struct vip_node nodes[] = { { 1, false }, { 2, false }, { 3, false } };
	uint32_t none[6] = { 0 }, all[6], two[6], back[6];

	vip_assign(nodes, 3, none, all, 6);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(all[i], 1 + i % 3);
	/* Node 2 dies: only what it had moves. */
	nodes[1] = nodes[2];
	vip_assign(nodes, 2, all, two, 6);
	for (unsigned i = 0; i < 6; i++)
		if (all[i] != 2)
			assert_int_equal(two[i], all[i]);
	/* It returns: two come back, no more. */
	nodes[1] = (struct vip_node){ 2, false };
	vip_assign(nodes, 3, two, back, 6);
	assert_int_equal(count(2, back, 6), 2);
	for (unsigned i = 0; i < 6; i++)
		if (back[i] != 2)
			assert_int_equal(back[i], two[i]);
	/* Drained it has none, unless all are. */
	nodes[1].avoid = true;
	vip_assign(nodes, 3, back, two, 6);
	assert_int_equal(count(2, two, 6), 0);
	nodes[0].avoid = nodes[2].avoid = true;
	vip_assign(nodes, 3, back, two, 6);
	assert_int_equal(count(2, two, 6), 2);
	/* Nobody. */
	vip_assign(nodes, 0, back, two, 6);
	assert_int_equal(count(0, two, 6), 6);
}

static void test_assign_random(void **state)
{
	for (seed = 1; seed < 20000; seed += 1 + draw(2)) {
		struct vip_node nodes[8];
		uint32_t before[VIP_MOST];
		unsigned nnodes = draw(9), n = draw(20);

		for (unsigned i = 0; i < nnodes; i++)
			nodes[i] = (struct vip_node){ 10 * (i + 1), draw(4) == 0 };
		for (unsigned i = 0; i < n; i++)
			before[i] = 10 * draw(10);
		check_assignment(nodes, nnodes, before, n);
	}
}

/* ---- what the nodes know in common ---- */

#define MOST  5
#define QUEUE 4096

/* A node, and what it was told to do. */
struct node {
	uint32_t id;
	struct vip_state *s;
	bool up;
	bool holds[VIP_MOST];	  /* it answers to the address */
	bool releasing[VIP_MOST]; /* it is to say RELEASED */
	unsigned lost;		  /* connections provoked in all */
};

struct message {
	uint32_t origin;
	uint8_t bytes[VIP_MESSAGE_MOST];
	size_t len;
};

static struct vip vips[VIP_MOST];
static struct node nodes[MOST];
static struct message queue[QUEUE];
static unsigned queued;

static unsigned index_of(const struct vip *v)
{
	for (unsigned i = 0; i < VIP_MOST; i++)
		if (vip_same(&vips[i], v))
			return i;
	fail();
	return 0;
}

static void hold(void *ctx, const struct vip *v, const struct vip_peer *lost, unsigned nlost)
{
	struct node *n = ctx;

	n->holds[index_of(v)] = true;
	n->releasing[index_of(v)] = false;
	n->lost += nlost;
}

static void release(void *ctx, const struct vip *v)
{
	struct node *n = ctx;

	assert_true(n->holds[index_of(v)]);
	n->releasing[index_of(v)] = true;
}

static void drop(void *ctx, const struct vip *v)
{
	struct node *n = ctx;

	n->holds[index_of(v)] = n->releasing[index_of(v)] = false;
}

static void make_node(uint32_t id, unsigned nvips)
{
	struct node *n = &nodes[id - 1];
	const struct vip_ops ops = { hold, release, drop, n };

	*n = (struct node){ .id = id, .s = vip_state_new(&ops, vips, nvips), .up = true };
	assert_non_null(n->s);
}

static void say(uint32_t origin, const uint8_t *bytes, size_t len)
{
	assert_true(len && queued < QUEUE);
	queue[queued] = (struct message){ .origin = origin, .len = len };
	memcpy(queue[queued++].bytes, bytes, len);
}

/* Everything that has been said arrives everywhere. */
static void deliver(void)
{
	for (unsigned i = 0; i < queued; i++)
		for (unsigned j = 0; j < MOST; j++)
			if (nodes[j].up)
				assert_true(vip_state_message(nodes[j].s, queue[i].origin,
							      queue[i].bytes, queue[i].len));
	queued = 0;
}

static void tell_members(void)
{
	struct cluster_members m = { 0 };

	deliver();
	for (unsigned i = 0; i < MOST; i++)
		if (nodes[i].up)
			m.nodes[m.n++] = nodes[i].id;
	for (unsigned i = 0; i < MOST; i++) {
		m.self = nodes[i].id;
		if (nodes[i].up)
			vip_state_members(nodes[i].s, &m);
	}
}

static void kill_node(uint32_t id)
{
	struct node *n = &nodes[id - 1];

	n->up = false;
	memset(n->holds, 0, sizeof(n->holds));
	vip_state_free(n->s);
	n->s = NULL;
	tell_members();
}

static struct node *first_up(void)
{
	for (unsigned i = 0; i < MOST; i++)
		if (nodes[i].up)
			return &nodes[i];
	return NULL;
}

static void join_node(uint32_t id, unsigned nvips)
{
	struct node *other = first_up();
	uint8_t *p;
	size_t len;

	deliver();
	make_node(id, nvips);
	if (other && other->id != id) {
		assert_int_equal(vip_state_snapshot(other->s, &p, &len), 0);
		assert_int_equal(vip_state_restore(nodes[id - 1].s, p, len), 0);
		free(p);
	}
	tell_members();
	vip_state_phase(nodes[id - 1].s, CLUSTER_SERVING);
}

/* Those that are to let go do so. */
static bool let_go(void)
{
	uint8_t bytes[VIP_MESSAGE_MOST];
	bool any = false;

	for (unsigned i = 0; i < MOST; i++) {
		for (unsigned v = 0; nodes[i].up && v < VIP_MOST; v++) {
			if (!nodes[i].releasing[v])
				continue;
			nodes[i].releasing[v] = nodes[i].holds[v] = false;
			say(nodes[i].id, bytes, vip_say_released(bytes, &vips[v]));
			any = true;
		}
	}
	deliver();
	return any;
}

/* At most one node answers to each address; they agree on who. With `settled` exactly one does. */
static void check_nodes(bool settled)
{
	struct node *first = first_up();
	unsigned n = first ? vip_state_count(first->s) : 0;
	uint8_t *a, *b;
	size_t alen, blen;

	for (unsigned v = 0; v < VIP_MOST; v++) {
		unsigned holders = 0;

		for (unsigned i = 0; i < MOST; i++)
			holders += nodes[i].holds[v];
		assert_true(holders <= 1);
	}
	for (unsigned v = 0; v < n; v++) {
		struct vip_view view;
		struct node *holder;

		vip_state_view(first->s, v, &view);
		holder = view.holder ? &nodes[view.holder - 1] : NULL;
		if (settled) {
			assert_non_null(holder);
			assert_true(holder->up && holder->holds[index_of(&view.vip)]);
		}
	}
	for (unsigned i = 0; first && i < MOST; i++) {
		if (!nodes[i].up)
			continue;
		assert_int_equal(vip_state_snapshot(first->s, &a, &alen), 0);
		assert_int_equal(vip_state_snapshot(nodes[i].s, &b, &blen), 0);
		assert_int_equal(alen, blen);
		assert_memory_equal(a, b, alen);
		free(a);
		free(b);
	}
}

static void settle(void)
{
	deliver();
	while (let_go())
		check_nodes(false);
	check_nodes(true);
}

static unsigned held_at(uint32_t id)
{
	unsigned n = 0;

	for (unsigned v = 0; v < VIP_MOST; v++)
		n += nodes[id - 1].holds[v];
	return n;
}

static int setup(void **state)
{
	char text[32];

	memset(nodes, 0, sizeof(nodes));
	queued = 0;
	for (unsigned i = 0; i < VIP_MOST; i++) {
		snprintf(text, sizeof(text), i % 2 ? "10.0.0.%u/24" : "fd00::%u/64", i + 1);
		if (vip_parse(text, &vips[i]) != 0)
			return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < MOST; i++)
		vip_state_free(nodes[i].s);
	return 0;
}

static void connect_client(uint32_t node, unsigned v, uint16_t port, bool open)
{
	uint8_t bytes[VIP_MESSAGE_MOST];
	struct sockaddr_storage ss;
	struct vip client;
	socklen_t len;

	assert_int_equal(vip_parse(vips[v].family == 4 ? "10.0.0.200" : "fd00::c", &client), 0);
	vip_sockaddr(&client, port, &ss, &len);
	say(node, bytes, vip_say_connection(bytes, open, &vips[v], (const struct sockaddr *)&ss));
	deliver();
}

static void test_failure_and_return(void **state)
{
	for (uint32_t id = 1; id <= 3; id++)
		join_node(id, 6);
	settle();
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(held_at(id), 2);
	kill_node(2);
	check_nodes(true); /* at once, nobody has to let go */
	assert_int_equal(held_at(1) + held_at(3), 6);
	join_node(2, 6);
	settle();
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(held_at(id), 2);
}

static void test_drain(void **state)
{
	uint8_t bytes[VIP_MESSAGE_MOST];

	for (uint32_t id = 1; id <= 3; id++)
		join_node(id, 6);
	settle();
	say(3, bytes, vip_say_drained(bytes, 1, true));
	deliver();
	/* It has them until it says that it has let go. */
	assert_int_equal(held_at(1), 2);
	assert_int_equal(held_at(2) + held_at(3), 4);
	assert_true(vip_state_is_drained(nodes[1].s, 1));
	assert_int_equal(vip_state_able(nodes[1].s, 3), 1);
	settle();
	assert_int_equal(held_at(1), 0);
	/* A restart does not end it. */
	kill_node(1);
	join_node(1, 6);
	settle();
	assert_int_equal(held_at(1), 0);
	say(2, bytes, vip_say_drained(bytes, 1, false));
	settle();
	assert_int_equal(held_at(1), 2);
}

/* Undrained before it has let go: it gets back what it is about to lose. */
static void test_drain_taken_back(void **state)
{
	uint8_t bytes[VIP_MESSAGE_MOST];

	for (uint32_t id = 1; id <= 3; id++)
		join_node(id, 6);
	settle();
	say(3, bytes, vip_say_drained(bytes, 1, true));
	deliver();
	say(3, bytes, vip_say_drained(bytes, 1, false));
	deliver();
	settle();
	for (uint32_t id = 1; id <= 3; id++)
		assert_int_equal(held_at(id), 2);
}

static void test_leaving(void **state)
{
	uint8_t bytes[VIP_MESSAGE_MOST];

	for (uint32_t id = 1; id <= 2; id++)
		join_node(id, 4);
	settle();
	say(1, bytes, vip_say_leaving(bytes));
	settle();
	assert_int_equal(held_at(1), 0);
	assert_int_equal(held_at(2), 4);
	/* The last one keeps what it has until it ends. */
	say(2, bytes, vip_say_leaving(bytes));
	deliver();
	assert_int_equal(held_at(2), 4);
	kill_node(1);
	join_node(1, 4);
	settle();
	assert_int_equal(held_at(1), 4);
}

static void test_suspended(void **state)
{
	for (uint32_t id = 1; id <= 3; id++)
		join_node(id, 6);
	settle();
	vip_state_phase(nodes[0].s, CLUSTER_SUSPENDED);
	assert_int_equal(held_at(1), 0);
	vip_state_phase(nodes[0].s, CLUSTER_SERVING);
	assert_int_equal(held_at(1), 2);
	check_nodes(true);
}

static void test_connections(void **state)
{
	uint32_t holder = 0;
	struct vip_view view;
	unsigned lost;

	for (uint32_t id = 1; id <= 3; id++)
		join_node(id, 6);
	settle();
	for (unsigned v = 0; v < 6; v++)
		if (nodes[1].holds[v]) {
			holder = 2;
			connect_client(2, v, 700, true);
			connect_client(2, v, 701, true);
			connect_client(2, v, 702, true);
			connect_client(2, v, 701, false);
			/* Such as come too late are not noted. */
			connect_client(1, v, 703, true);
			vip_state_view(nodes[2].s, v, &view);
			assert_int_equal(view.connections, 2);
		}
	assert_int_equal(holder, 2);
	lost = nodes[0].lost + nodes[2].lost;
	kill_node(2);
	assert_int_equal(nodes[0].lost + nodes[2].lost - lost, 4);
	for (unsigned v = 0; v < 6; v++) {
		vip_state_view(nodes[2].s, v, &view);
		assert_int_equal(view.connections, 0);
	}
}

static void test_other_list(void **state)
{
	uint8_t bytes[VIP_MESSAGE_MOST];
	struct vip some[4] = { vips[1], vips[4], vips[6], vips[7] };

	for (uint32_t id = 1; id <= 2; id++)
		join_node(id, 6);
	settle();
	say(1, bytes, vip_say_list(bytes, some, 4));
	settle();
	assert_int_equal(held_at(1), 2);
	assert_int_equal(held_at(2), 2);
	for (unsigned v = 0; v < VIP_MOST; v++)
		if (v != 1 && v != 4 && v != 6 && v != 7)
			assert_false(nodes[0].holds[v] || nodes[1].holds[v]);
	say(2, bytes, vip_say_list(bytes, some, 0));
	settle();
	assert_int_equal(held_at(1) + held_at(2), 0);
}

static void test_nonsense(void **state)
{
	uint8_t bytes[VIP_MESSAGE_MOST] = { 0 }, *p;
	size_t len, full;

	join_node(1, 3);
	settle();
	assert_false(vip_state_message(nodes[0].s, 1, bytes, 0));
	assert_false(vip_state_message(nodes[0].s, 1, bytes, 1));
	full = vip_say_released(bytes, &vips[0]);
	for (len = 1; len < full; len++)
		assert_false(vip_state_message(nodes[0].s, 1, bytes, len));
	assert_int_equal(vip_state_snapshot(nodes[0].s, &p, &full), 0);
	for (len = 0; len < full; len++)
		assert_int_not_equal(vip_state_restore(nodes[0].s, p, len), 0);
	assert_int_equal(vip_state_restore(nodes[0].s, p, full), 0);
	free(p);
}

static void random_event(unsigned nvips)
{
	uint8_t bytes[VIP_MESSAGE_MOST];
	uint32_t id = 1 + draw(MOST), other = 1 + draw(MOST);
	struct node *n = &nodes[id - 1];

	switch (draw(8)) {
	case 0:
		if (n->up)
			kill_node(id);
		break;
	case 1:
	case 2:
		if (!n->up)
			join_node(id, nvips);
		break;
	case 3:
		if (n->up)
			say(id, bytes, vip_say_drained(bytes, other, draw(2)));
		break;
	case 4:
		if (n->up && !draw(4))
			say(id, bytes, vip_say_leaving(bytes));
		break;
	case 5:
		if (n->up)
			connect_client(id, draw(nvips), (uint16_t)(1 + draw(50)), draw(3) != 0);
		break;
	case 6:
		let_go();
		break;
	case 7:
		deliver();
		break;
	}
	check_nodes(false);
}

static void test_random(void **state)
{
	for (unsigned run = 0; run < 60; run++) {
		unsigned nvips = 1 + run % 9;

		seed = run + 1;
		for (unsigned i = 0; i < 300; i++)
			random_event(nvips);
		if (!first_up())
			join_node(1, nvips);
		settle();
		for (uint32_t id = 1; id <= MOST; id++)
			if (nodes[id - 1].up)
				kill_node(id);
		assert_null(first_up());
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_assign_examples),
		cmocka_unit_test(test_assign_random),
		cmocka_unit_test_setup_teardown(test_failure_and_return, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
		cmocka_unit_test_setup_teardown(test_drain_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_leaving, setup, teardown),
		cmocka_unit_test_setup_teardown(test_suspended, setup, teardown),
		cmocka_unit_test_setup_teardown(test_connections, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nonsense, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

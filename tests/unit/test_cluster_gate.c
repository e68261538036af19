/* The gate: what corosync says in pieces reaches the replica as views, in order. The replica is a fake here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cluster/gate.h"

/* What the replica was told: m (message), V (view that continues), v (one that does not), q/Q (quorum). */
static char told[64];
static struct replica_view last;
static struct node_address last_left[4];
static unsigned drained;
static bool moved_quorum;

static void tell(const char *what)
{
	strncat(told, what, sizeof(told) - strlen(told) - 1);
}

void replica_view(struct replica *r, const struct replica_view *v)
{
	last = *v;
	memcpy(last_left, v->left, sizeof(last_left[0]) * (v->nleft < 4 ? v->nleft : 4));
	tell(v->continues ? "V" : "v");
}

void replica_message(struct replica *r, struct node_address from, const uint8_t *p, size_t len)
{
	char what[2] = { (char)p[0], 0 };

	tell(what);
}

void replica_quorum(struct replica *r, bool quorate)
{
	tell(quorate ? "Q" : "q");
}

static bool moved_had_quorum(void *ctx, struct ring ring)
{
	return moved_quorum;
}

static void drain(void *ctx)
{
	drained++;
}

static const struct node_address a = { 1, 10 }, b = { 2, 20 }, c = { 3, 30 };
static struct gate gate;

static void say(const char *letter)
{
	assert_true(gate_message(&gate, a, letter, 1));
}

static void check(const char *expected)
{
	assert_string_equal(told, expected);
	told[0] = '\0';
}

/* Node 1 joins a ring of three in which 2 and 3 are members. */
static int setup(void **state)
{
	struct node_address all[] = { a, b, c };
	uint32_t nodes[] = { 1, 2, 3 };

	gate_init(&gate, NULL);
	gate.moved_had_quorum = moved_had_quorum;
	gate.drain = drain;
	gate.configured = 4;
	told[0] = '\0';
	drained = 0;
	moved_quorum = true;
	assert_true(gate_change(&gate, all, 3, NULL, 0, false));
	say("x");
	assert_true(gate_ring(&gate, (struct ring){ 1, 8 }, nodes, 3));
	check("");
	gate_quorum(&gate, (struct ring){ 1, 8 }, true);
	check("VxQ");
	assert_int_equal(last.nmembers, 3);
	assert_int_equal(last.ring_seq, 8);
	assert_int_equal(last.absent, 0);
	assert_int_equal(last.missing, 1);
	assert_int_equal(drained, 1);
	say("y");
	check("y");
	return 0;
}

static int teardown(void **state)
{
	gate_reset(&gate);
	return 0;
}

static void test_process_leaves(void **state)
{
	struct node_address rest[] = { a, b };

	assert_true(gate_change(&gate, rest, 2, &c, 1, false));
	say("z");
	check("Vz");
	assert_int_equal(last.nleft, 1);
	assert_true(last_left[0].node == 3);
	assert_int_equal(last.absent, 1);
	assert_true(last.quorate);
}

static void test_node_dies(void **state)
{
	struct node_address rest[] = { a, b };
	uint32_t nodes[] = { 1, 2 };

	say("1"); /* within the new ring, before its view: of the old view */
	assert_true(gate_change(&gate, rest, 2, &c, 1, true));
	check("1");
	assert_true(gate_ring(&gate, (struct ring){ 1, 12 }, nodes, 2));
	say("2");
	check("");
	gate_quorum(&gate, (struct ring){ 1, 12 }, true);
	check("V2Q");
	assert_int_equal(last.ring_seq, 12);
	assert_int_equal(last.missing, 2);
}

static void test_minority(void **state)
{
	struct node_address left[] = { b, c };
	uint32_t nodes[] = { 1 };

	assert_true(gate_change(&gate, &a, 1, left, 2, true));
	assert_true(gate_ring(&gate, (struct ring){ 1, 12 }, nodes, 1));
	gate_quorum(&gate, (struct ring){ 1, 12 }, false);
	check("vq");
	assert_false(last.quorate);
}

/* Quorum first, of a ring whose other pieces are still to come. */
static void test_quorum_first(void **state)
{
	struct node_address rest[] = { a, b };
	uint32_t nodes[] = { 1, 2 };

	gate_quorum(&gate, (struct ring){ 1, 12 }, true);
	check("");
	assert_true(gate_change(&gate, rest, 2, &c, 1, true));
	assert_true(gate_ring(&gate, (struct ring){ 1, 12 }, nodes, 2));
	check("V");
}

/* The first ring was replaced before its quorum was known. */
static void test_ring_replaced(void **state)
{
	struct node_address left[] = { b, c }, all[] = { a, b, c };
	uint32_t nodes[] = { 1, 2, 3 };

	assert_true(gate_change(&gate, &a, 1, left, 2, true));
	assert_true(gate_ring(&gate, (struct ring){ 1, 12 }, nodes, 1));
	say("1");
	assert_true(gate_change(&gate, all, 3, NULL, 0, true));
	assert_true(gate_ring(&gate, (struct ring){ 1, 16 }, nodes, 3));
	moved_quorum = false; /* node 1 alone had none */
	check("v"); /* not quorate, whatever it was */
	gate_quorum(&gate, (struct ring){ 1, 16 }, true);
	check("1vQ");
	assert_true(last.quorate);
}

static void test_merge(void **state)
{
	struct node_address all[] = { a, b, c, { 4, 40 } };
	uint32_t nodes[] = { 1, 2, 3, 4 };

	assert_true(gate_change(&gate, all, 4, NULL, 0, true));
	assert_true(gate_ring(&gate, (struct ring){ 1, 12 }, nodes, 4));
	gate_quorum(&gate, (struct ring){ 1, 12 }, true);
	check("VQ");
	assert_int_equal(last.missing, 0);
}

/* A ring without changes of the group shows its view again: who was unsure can be sure. */
static void test_ring_alone(void **state)
{
	uint32_t nodes[] = { 1, 2, 3 };

	assert_true(gate_ring(&gate, (struct ring){ 1, 12 }, nodes, 3));
	gate_quorum(&gate, (struct ring){ 1, 12 }, true);
	check("VQ");
	assert_int_equal(last.nmembers, 3);
	assert_int_equal(last.nleft, 0);
}

static void test_quorum_within_ring(void **state)
{
	gate_quorum(&gate, (struct ring){ 1, 8 }, false);
	check("q");
	gate_quorum(&gate, (struct ring){ 1, 8 }, true);
	check("Q");
}

static void test_reset(void **state)
{
	struct node_address rest[] = { a, b };

	assert_true(gate_change(&gate, rest, 2, &c, 1, true));
	say("1");
	gate_reset(&gate);
	gate_quorum(&gate, (struct ring){ 1, 12 }, true);
	check("");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_process_leaves), CASE(test_node_dies),  CASE(test_minority),
		CASE(test_quorum_first),   CASE(test_ring_replaced), CASE(test_merge),
		CASE(test_ring_alone),	   CASE(test_quorum_within_ring), CASE(test_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

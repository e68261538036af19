/*
 * The replica alone with a clock of the test's: how long it trusts its state, and what it says to people. What several
 * of them do together is the simulations' (tests/sim). What it sends goes nowhere until the test lets it come back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster/replica.h"

#define MS    1000000ull
#define TRUST (1250 * MS)

static const struct node_address self = { 1, 10 }, other = { 2, 20 };

static struct {
	uint64_t now;
	struct {
		size_t len;
		uint8_t bytes[256];
	} sent[16];
	unsigned nsent;
	unsigned enough; /* nodes */
	struct cluster_members members; /* as it was told last */
	struct replica *r;
} t;

/* ---- what it asks of the world ---- */

static int send_message(void *ctx, const uint8_t *p, size_t len)
{
	assert_true(len <= sizeof(t.sent[0].bytes) && t.nsent < 16);
	memcpy(t.sent[t.nsent].bytes, p, len);
	t.sent[t.nsent++].len = len;
	return 0;
}

static uint64_t clock_of_test(void *ctx)
{
	return t.now;
}

static uint64_t draw(void *ctx)
{
	return 1;
}

static bool enough(void *ctx, const uint32_t *nodes, unsigned n)
{
	return n >= t.enough;
}

static void members(void *ctx, const struct cluster_members *m)
{
	t.members = *m;
}

static void phase(void *ctx, enum cluster_phase p)
{
}

/* ---- steps ---- */

/* All that it has sent, and sends upon that, comes back in the order. */
static void come_back(void)
{
	do {
		for (unsigned i = 0; i < t.nsent; i++)
			replica_message(t.r, self, t.sent[i].bytes, t.sent[i].len);
		t.nsent = 0;
		replica_flush(t.r);
	} while (t.nsent);
}

/* The last HELLO that it has sent, as if `from` had said it, with another format. */
static void say_foreign_hello(struct node_address from)
{
	uint8_t bytes[256];
	struct message m;

	for (unsigned i = t.nsent; i-- > 0;) {
		if (message_read(t.sent[i].bytes, t.sent[i].len, &m) != 0 || m.type != MESSAGE_HELLO)
			continue;
		m.hello.format++;
		m.hello.phase = CLUSTER_JOINING;
		replica_message(t.r, from, bytes, message_write(bytes, &m));
		return;
	}
	fail();
}

/* Time passes; how often has it complained meanwhile? */
static unsigned complaints(unsigned seconds)
{
	FILE *log = tmpfile();
	int stderr_fd = dup(STDERR_FILENO);
	unsigned n = 0;
	char line[512];

	assert_true(log && stderr_fd >= 0 && dup2(fileno(log), STDERR_FILENO) >= 0);
	for (unsigned i = 0; i < 10 * seconds; i++) {
		t.now += 100 * MS;
		replica_message(t.r, other, (const uint8_t *)"", 0); /* it lives */
		replica_tick(t.r);
		come_back();
	}
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	rewind(log);
	while (fgets(line, sizeof(line), log))
		n += strstr(line, "opens, locks and closes have waited") != NULL;
	fclose(log);
	return n;
}

static void trusts_until(uint64_t ns)
{
	assert_int_equal(replica_current_until(t.r), ns);
}

/* One node, alone, which serves. */
static int setup(void **state)
{
	struct replica_options o = {
		.app = { .format = 1, .members = members, .phase = phase },
		.io = { .send = send_message, .mono_ns = clock_of_test, .wall_ns = clock_of_test,
			.random = draw, .enough = enough },
		.memory = { .decided = { 5, 6, 9 }, .served = { 5, 6, 7 } },
	};
	struct replica_view v = {
		.ring_node = 1, .ring_seq = 4, .members = &self, .nmembers = 1, .quorate = true, .continues = true
	};

	memset(&t, 0, sizeof(t));
	t.now = 10000 * MS;
	t.r = replica_new(&o);
	if (!t.r)
		return -1;
	replica_connected(t.r, self);
	replica_view(t.r, &v);
	replica_flush(t.r);
	return 0;
}

static int teardown(void **state)
{
	replica_free(t.r);
	return 0;
}

static void serve(void)
{
	come_back();
	assert_int_equal(replica_phase(t.r), CLUSTER_SERVING);
	trusts_until(t.now + TRUST);
}

/* Who begins a state is told what has served before. */
static void test_earlier(void **state)
{
	serve();
	assert_int_equal(t.members.earlier[0], 5);
	assert_int_equal(t.members.earlier[1], 6);
	assert_int_equal(t.members.earlier[2], 7);
	assert_true(t.members.generation[0] > 5);
}

/* Its STATUS has come back, and then the whole machine sleeps. */
static void test_sleep_after_status(void **state)
{
	uint64_t begun;

	serve();
	begun = t.now += 500 * MS;
	replica_tick(t.r);
	come_back();
	trusts_until(begun + TRUST);
	t.now += 3000 * MS;
	assert_true(replica_current_until(t.r) < t.now);
	/* That corosync answers now proves nothing of the time in between. */
	replica_heard_all(t.r, t.now);
	assert_true(replica_current_until(t.r) < t.now);
	/* The order does. */
	replica_tick(t.r);
	come_back();
	trusts_until(t.now + TRUST);
}

/* It sleeps before what makes it active has reached it. */
static void test_sleep_before_active(void **state)
{
	assert_int_equal(t.nsent, 1); /* HELLO */
	replica_message(t.r, self, t.sent[0].bytes, t.sent[0].len);
	assert_int_equal(replica_phase(t.r), CLUSTER_SERVING);
	assert_true(replica_current_until(t.r) <= t.now);
	t.nsent = 0;
	replica_flush(t.r);
	serve();
}

/* While a ring changes nothing comes back: an unbroken row of corosync's answers does as well. */
static void test_row_of_answers(void **state)
{
	uint64_t last;

	serve();
	for (int i = 0; i < 50; i++) {
		t.now += 100 * MS;
		replica_heard_all(t.r, t.now);
		trusts_until(t.now + TRUST);
	}
	last = t.now;
	t.now += TRUST + 1;
	replica_heard_all(t.r, t.now);
	assert_true(replica_current_until(t.r) <= last + TRUST);
	t.now += 100 * MS;
	replica_heard_all(t.r, t.now);
	assert_true(replica_current_until(t.r) < t.now);
}

/* A STATUS that was long on its way takes nothing back of what is known since. */
static void test_late_status(void **state)
{
	serve();
	t.now += 500 * MS;
	replica_tick(t.r);
	for (int i = 0; i < 20; i++)
		replica_heard_all(t.r, t.now += 100 * MS);
	come_back();
	trusts_until(t.now + TRUST);
}

/* With a short token the others go on sooner. */
static void test_short_token(void **state)
{
	replica_token(t.r, 500);
	come_back();
	trusts_until(t.now + 500 * MS);
	t.now += 400 * MS;
	replica_heard_all(t.r, t.now);
	trusts_until(t.now + 500 * MS);
	t.now += 501 * MS;
	replica_heard_all(t.r, t.now);
	assert_true(replica_current_until(t.r) < t.now);
}

/* A node's daemon is updated to a version with which it cannot be in one cluster. */
static void test_foreign(void **state)
{
	const struct node_address both[] = { self, other };
	struct replica_view v = {
		.ring_node = 1, .ring_seq = 4, .members = both, .nmembers = 2, .quorate = true, .continues = true
	};

	serve();
	t.enough = 2;
	replica_view(t.r, &v);
	replica_flush(t.r);
	say_foreign_hello(other);
	come_back();
	assert_int_equal(replica_phase(t.r), CLUSTER_SERVING);
	assert_int_equal(complaints(9), 0);
	assert_int_equal(complaints(10), 1);
	t.enough = 1;
	assert_int_equal(complaints(20), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_earlier, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sleep_after_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sleep_before_active, setup, teardown),
		cmocka_unit_test_setup_teardown(test_row_of_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_late_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_token, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages between nodes as bytes, and the outbox that makes batches of commands. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "cluster/message.h"
#include "cluster/outbox.h"

/* ---- messages ---- */

static const uint8_t some_bytes[] = "some bytes";

static const struct message samples[] = {
	{ .type = MESSAGE_HELLO,
	  .protocol = MESSAGE_PROTOCOL,
	  .session = 7,
	  .hello = { .format = 0x01020304,
		     .phase = CLUSTER_SUSPENDED,
		     .quorate = true,
		     .restored = false,
		     .eager = true,
		     .round = { 0x1122334455667788, 3 },
		     .position = { { 1, 2, 3 }, 4, 5 },
		     .memory = { { 6, 7, 8 }, { 9, 10, 11 } } } },
	{ .type = MESSAGE_ACK, .protocol = MESSAGE_PROTOCOL, .session = 1, .acked = 1ull << 60 },
	{ .type = MESSAGE_STATUS, .protocol = MESSAGE_PROTOCOL, .status = { 5, 6 } },
	{ .type = MESSAGE_MARK,
	  .protocol = MESSAGE_PROTOCOL,
	  .mark = { { 9, 1 }, 77, { 1, 2, 3 } } },
	{ .type = MESSAGE_SNAPSHOT,
	  .protocol = MESSAGE_PROTOCOL,
	  .snapshot = { .id = 3,
			.position = { { 1, 2, 3 }, 4, 5 },
			.total = 100,
			.offset = 90,
			.p = some_bytes,
			.len = 10 } },
	{ .type = MESSAGE_SNAPSHOT_FAILED, .protocol = MESSAGE_PROTOCOL, .failed = 12 },
	{ .type = MESSAGE_READY, .protocol = MESSAGE_PROTOCOL, .ready = { 5, 6 } },
	{ .type = MESSAGE_EVICT, .protocol = MESSAGE_PROTOCOL, .evict = { { 1, 2 }, { 3, 4 } } },
	{ .type = MESSAGE_APP,
	  .protocol = MESSAGE_PROTOCOL,
	  .app = { some_bytes, sizeof(some_bytes) } },
};

/* In a block of just that size, so that a sanitizer sees what is read behind it. */
static int read_exact(const uint8_t *p, size_t len, struct message *m)
{
	uint8_t *copy = malloc(len ? len : 1);
	int err;

	assert_non_null(copy);
	memcpy(copy, p, len);
	err = message_read(copy, len, m);
	free(copy);
	return err;
}

static void test_round_trips(void **state)
{
	uint8_t bytes[512], again[512];
	struct message m;

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		size_t len = message_write(bytes, &samples[i]);

		memset(&m, 0, sizeof(m));
		assert_int_equal(message_read(bytes, len, &m), 0);
		assert_int_equal(m.type, samples[i].type);
		assert_int_equal(m.session, samples[i].session);
		assert_int_equal(message_write(again, &m), len);
		assert_memory_equal(again, bytes, len);
	}
}

static void test_big_endian(void **state)
{
	uint8_t bytes[64];
	struct message m = {
		.type = MESSAGE_ACK, .protocol = 1, .session = 2, .acked = 0x0102030405060708
	};
	static const uint8_t expected[] = { 0, 3, 0, 1, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8 };

	assert_int_equal(message_write(bytes, &m), sizeof(expected));
	assert_memory_equal(bytes, expected, sizeof(expected));
}

static void test_cut_and_long(void **state)
{
	uint8_t bytes[512];
	struct message m;

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		size_t len = message_write(bytes, &samples[i]);
		size_t least = samples[i].type == MESSAGE_APP	     ? MESSAGE_HEADER
			       : samples[i].type == MESSAGE_SNAPSHOT ? len - samples[i].snapshot.len
								     : len;

		for (size_t n = 0; n < least; n++)
			assert_int_equal(read_exact(bytes, n, &m), -EINVAL);
		bytes[len] = 0;
		if (least == len)
			assert_int_equal(read_exact(bytes, len + 1, &m), -EINVAL);
	}
}

static void test_versions(void **state)
{
	uint8_t bytes[512];
	struct message m, hello = samples[0], ack = samples[1];
	size_t len;

	hello.protocol = ack.protocol = MESSAGE_PROTOCOL + 1;
	len = message_write(bytes, &ack);
	assert_int_equal(message_read(bytes, len, &m), -EPROTO);
	/* A later HELLO may be longer. */
	len = message_write(bytes, &hello);
	bytes[len] = 1;
	assert_int_equal(message_read(bytes, len + 1, &m), 0);
	assert_int_equal(m.protocol, MESSAGE_PROTOCOL + 1);
	assert_int_equal(m.hello.format, hello.hello.format);
}

static void test_snapshot_bounds(void **state)
{
	uint8_t bytes[512];
	struct message m, s = samples[4];

	s.snapshot.offset = 91;
	assert_int_equal(message_read(bytes, message_write(bytes, &s), &m), -EINVAL);
	s.snapshot.offset = UINT64_MAX;
	assert_int_equal(message_read(bytes, message_write(bytes, &s), &m), -EINVAL);
}

static size_t make_batch(uint8_t *bytes, uint32_t count, uint32_t each)
{
	struct message_batch b = { .seq = 4, .acked = 5, .count = count };
	size_t len = MESSAGE_BATCH_HEADER;

	message_write_batch_header(bytes, 9, &b);
	for (uint32_t i = 0; i < count; i++) {
		put32(bytes + len, each);
		memset(bytes + len + 4, (int)i, each);
		len += 4 + each;
	}
	return len;
}

static void test_batch(void **state)
{
	uint8_t bytes[1000];
	size_t len = make_batch(bytes, 3, 20), n;
	const uint8_t *p;
	struct message m;

	assert_int_equal(message_read(bytes, len, &m), 0);
	assert_int_equal(m.batch.seq, 4);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(message_next_command(&m.batch, &p, &n));
		assert_int_equal(n, 20);
		assert_int_equal(p[19], i);
	}
	assert_false(message_next_command(&m.batch, &p, &n));
	for (size_t cut = 0; cut < len; cut++)
		assert_int_equal(read_exact(bytes, cut, &m), -EINVAL);
	/* Fewer commands than bytes, more than bytes, a length beyond the end. */
	put32(bytes + MESSAGE_BATCH_HEADER - 4, 2);
	assert_int_equal(read_exact(bytes, len, &m), -EINVAL);
	put32(bytes + MESSAGE_BATCH_HEADER - 4, 4);
	assert_int_equal(read_exact(bytes, len, &m), -EINVAL);
	put32(bytes + MESSAGE_BATCH_HEADER - 4, 3);
	put32(bytes + MESSAGE_BATCH_HEADER, UINT32_MAX);
	assert_int_equal(read_exact(bytes, len, &m), -EINVAL);
}

/* Whatever comes: no byte outside is read (the sanitizers see it), and what is accepted adds up. */
static void test_noise(void **state)
{
	uint8_t bytes[300];
	struct message m;
	const uint8_t *p;
	size_t n;

	for (unsigned i = 0; i < 200000; i++) {
		size_t len = random_u64() % sizeof(bytes);

		random_bytes(bytes, len);
		if (len >= 8) {
			put32(bytes, (uint32_t)(1 + random_u64() % 10) << 16 | MESSAGE_PROTOCOL);
			if (i & 1 && len >= MESSAGE_BATCH_HEADER + 4) {
				put32(bytes + MESSAGE_BATCH_HEADER - 4,
				      (uint32_t)(random_u64() % 4));
				put32(bytes + MESSAGE_BATCH_HEADER, (uint32_t)(random_u64() % 300));
			}
		}
		if (read_exact(bytes, len, &m) != 0 || m.type != MESSAGE_BATCH_OF_COMMANDS)
			continue;
		assert_int_equal(message_read(bytes, len, &m), 0);
		while (message_next_command(&m.batch, &p, &n))
			assert_true(p >= bytes && p + n <= bytes + len);
	}
}

/* ---- the outbox ---- */

static struct {
	unsigned batches, commands, says;
	size_t longest;
	bool busy;
	uint32_t session;
	uint64_t ns;
} out;

static uint64_t now(void *ctx)
{
	return out.ns;
}

static int take_message(void *ctx, const uint8_t *p, size_t len)
{
	struct message m;

	if (out.busy)
		return -EAGAIN;
	assert_int_equal(message_read(p, len, &m), 0);
	out.session = m.session;
	if (len > out.longest)
		out.longest = len;
	if (m.type == MESSAGE_APP) {
		out.says++;
		return 0;
	}
	assert_int_equal(m.batch.seq, ++out.batches);
	out.commands += m.batch.count;
	return 0;
}

static int submit(struct outbox *o, size_t len)
{
	uint8_t *bytes = calloc(1, len ? len : 1);
	int err;

	assert_non_null(bytes);
	err = outbox_submit(o, bytes, len, NULL, NULL, NULL);
	if (err)
		free(bytes);
	return err;
}

static unsigned drop(struct list *l)
{
	struct outbox_entry *e, *tmp;
	unsigned n = 0;

	list_for_each_safe (e, tmp, l, link) {
		list_remove(&e->link);
		assert_null(e->bytes);
		free(e);
		n++;
	}
	return n;
}

static void open_outbox(struct outbox *o)
{
	memset(&out, 0, sizeof(out));
	out.ns = 1000;
	assert_int_equal(outbox_init(o, take_message, now, NULL, false), 0);
	assert_int_equal(submit(o, 1), -EAGAIN);
	outbox_open(o);
}

static void close_outbox(struct outbox *o)
{
	struct list queued, flight;

	list_init(&queued);
	list_init(&flight);
	outbox_close(o, &queued, &flight);
	drop(&queued);
	drop(&flight);
	outbox_destroy(o);
}

/* Own batch `seq` comes back and those who waited are told. */
static unsigned come_back(struct outbox *o, uint64_t seq)
{
	struct list back;
	unsigned n;

	list_init(&back);
	outbox_take(o, seq, &back);
	n = drop(&back);
	outbox_pump(o);
	return n;
}

static void submit_some(struct outbox *o, unsigned n, size_t len)
{
	while (n--)
		assert_int_equal(submit(o, len), 0);
}

static void test_group_commit(void **state)
{
	struct outbox o;

	open_outbox(&o);
	submit_some(&o, 20, 100);
	/* The first went alone, the others wait for it. */
	assert_int_equal(out.batches, 1);
	assert_int_equal(out.commands, 1);
	assert_int_equal(come_back(&o, 1), 1);
	assert_int_equal(out.batches, 2);
	assert_int_equal(out.commands, 20);
	/* What is not in flight is nobody's. */
	assert_int_equal(come_back(&o, 99), 0);
	assert_int_equal(come_back(&o, 2), 19);
	close_outbox(&o);
}

/* A full batch does not wait for the one in flight, but two at most are. */
static void test_two_in_flight(void **state)
{
	struct outbox o;

	open_outbox(&o);
	submit_some(&o, 1 + MESSAGE_BATCH / 4096, 4096);
	assert_int_equal(out.batches, 2);
	submit_some(&o, MESSAGE_BATCH / 4096, 4096);
	assert_int_equal(out.batches, 2);
	come_back(&o, 1);
	assert_int_equal(out.batches, 3);
	close_outbox(&o);
}

/* One batch of n, which takes 1000 ns, and comes back. */
static void one_round(struct outbox *o, unsigned n)
{
	submit_some(o, 1 + n, 100);
	come_back(o, out.batches);
	out.ns += 1000;
	assert_int_equal(come_back(o, out.batches), n);
}

/* Who was told together comes back together. */
static void test_gathers(void **state)
{
	unsigned batches;
	struct outbox o;

	open_outbox(&o);
	one_round(&o, 8);
	batches = out.batches;
	/* Half of them are enough. */
	submit_some(&o, 3, 100);
	assert_int_equal(out.batches, batches);
	assert_true(outbox_gathers(&o) > 0);
	submit_some(&o, 1, 100);
	assert_int_equal(out.batches, batches + 1);
	assert_int_equal(outbox_gathers(&o), 0);
	/* Those who do not come are not waited for for long; what comes afterwards goes at once. */
	come_back(&o, out.batches);
	submit_some(&o, 1, 100);
	assert_int_equal(out.batches, batches + 1);
	out.ns += outbox_gathers(&o);
	outbox_pump(&o);
	assert_int_equal(out.batches, batches + 2);
	assert_int_equal(come_back(&o, out.batches), 1);
	submit_some(&o, 1, 100);
	assert_int_equal(out.batches, batches + 3);
	/* Nobody came at all. */
	come_back(&o, out.batches);
	one_round(&o, 8);
	out.ns += outbox_gathers(&o);
	outbox_pump(&o);
	batches = out.batches;
	submit_some(&o, 1, 100);
	assert_int_equal(out.batches, batches + 1);
	/* What makes a full one waits for nobody: few, but large. */
	come_back(&o, out.batches);
	one_round(&o, 200);
	batches = out.batches;
	submit_some(&o, MESSAGE_BATCH / 4096, 4096);
	assert_int_equal(out.batches, batches + 1);
	close_outbox(&o);
}

static void test_batches_are_bounded(void **state)
{
	struct outbox o;
	struct list back;

	list_init(&back);
	open_outbox(&o);
	assert_int_equal(submit(&o, MESSAGE_MAX_COMMAND + 1), -EMSGSIZE);
	assert_int_equal(submit(&o, MESSAGE_MAX_COMMAND), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(submit(&o, 4000), 0);
	for (unsigned seq = 1; seq <= out.batches; seq++) {
		outbox_take(&o, seq, &back);
		outbox_pump(&o);
		out.ns += outbox_gathers(&o);
		outbox_pump(&o);
	}
	assert_int_equal(drop(&back), 101);
	assert_true(out.longest <= MESSAGE_MAX);
	assert_true(out.batches >= 100 * 4000 / MESSAGE_BATCH);
	close_outbox(&o);
}

static void test_busy(void **state)
{
	struct outbox o;

	open_outbox(&o);
	out.busy = true;
	assert_int_equal(submit(&o, 10), 0);
	assert_int_equal(outbox_say(&o, "x", 1), 0);
	assert_true(outbox_blocked(&o));
	assert_int_equal(out.batches, 0);
	out.busy = false;
	outbox_pump(&o);
	assert_false(outbox_blocked(&o));
	assert_int_equal(out.batches, 1);
	assert_int_equal(out.says, 1);
	close_outbox(&o);
}

static void test_full(void **state)
{
	struct outbox o;

	open_outbox(&o);
	o.limits.commands = 5;
	out.busy = true;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(submit(&o, 1), 0);
	assert_int_equal(submit(&o, 1), -ENOBUFS);
	o.limits.commands = 1000;
	o.limits.bytes = 100;
	assert_int_equal(submit(&o, 96), -ENOBUFS);
	assert_int_equal(submit(&o, 95), 0);
	close_outbox(&o);
}

/* While corosync takes nothing, what is said is bounded; what was refused has cost nothing. */
static void test_too_much_said(void **state)
{
	static const uint8_t bytes[100];
	struct outbox o;

	open_outbox(&o);
	o.limits.says = 3 * (MESSAGE_HEADER + sizeof(bytes));
	out.busy = true;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(outbox_say(&o, bytes, sizeof(bytes)), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(outbox_say(&o, bytes, sizeof(bytes)), -ENOBUFS);
	out.busy = false;
	outbox_pump(&o);
	assert_int_equal(out.says, 3);
	assert_int_equal(outbox_say(&o, bytes, sizeof(bytes)), 0);
	assert_int_equal(out.says, 4);
	/* There is as much room as at first, also after closing. */
	out.busy = true;
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(outbox_say(&o, bytes, sizeof(bytes)), 0);
	assert_int_equal(outbox_say(&o, bytes, sizeof(bytes)), -ENOBUFS);
	close_outbox(&o);
	assert_int_equal(o.says_bytes, 0);
}

static void test_close(void **state)
{
	struct list queued, flight;
	uint32_t session;
	struct outbox o;

	list_init(&queued);
	list_init(&flight);
	open_outbox(&o);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(submit(&o, 8), 0);
	session = out.session;
	outbox_close(&o, &queued, &flight);
	assert_int_equal(drop(&flight), 1);
	assert_int_equal(drop(&queued), 9);
	assert_int_equal(submit(&o, 8), -EAGAIN);
	assert_int_equal(outbox_say(&o, "x", 1), -EAGAIN);
	/* It can be opened again: a new session, and room in flight. */
	outbox_open(&o);
	assert_int_equal(submit(&o, 8), 0);
	assert_int_equal(out.session, session + 1);
	close_outbox(&o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trips),
		cmocka_unit_test(test_big_endian),
		cmocka_unit_test(test_cut_and_long),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_snapshot_bounds),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_group_commit),
		cmocka_unit_test(test_two_in_flight),
		cmocka_unit_test(test_gathers),
		cmocka_unit_test(test_batches_are_bounded),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_too_much_said),
		cmocka_unit_test(test_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Records and connections: fragments, pipelining, threads that block or are stuck, parked calls,
 * extents, limits, stopping. Every test has a server of its own and awaits events, never times
 * (but the ones about time-outs await the closing that a time-out brings).
 */
#include "tests/unit/rpc_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- helpers ---- */

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8));
}

static void put_echo(struct bytes *record, uint32_t xid, size_t len)
{
	uint8_t *p = malloc(len + 1);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(i);
	put_call(record, xid, PROC_ECHO);
	put_opaque(record, p, (uint32_t)len);
	free(p);
}

static void check_echo(struct bytes *reply, uint32_t xid, size_t len)
{
	assert_int_equal(take_success(reply), xid);
	assert_int_equal(take_u32(reply), len);
	assert_int_equal(reply->len, len + (4 - len % 4) % 4);
	for (size_t i = 0; i < len; i++) {
		if (reply->p[i] != pattern(i))
			fail_msg("byte %zu of %zu differs", i, len);
	}
}

static void expect_key(int fd, uint32_t xid, uint32_t key)
{
	struct bytes reply = { 0 };

	assert_true(client_recv(fd, &reply));
	assert_int_equal(take_success(&reply), xid);
	assert_int_equal(take_u32(&reply), key);
	assert_int_equal(reply.len, 0);
	bytes_free(&reply);
}

static void expect_null(int fd, uint32_t xid)
{
	struct bytes r = { 0 }, reply = { 0 };

	put_call(&r, xid, PROC_NULL);
	assert_true(client_exchange(fd, &r, &reply));
	assert_int_equal(take_success(&reply), xid);
	bytes_free(&r);
	bytes_free(&reply);
}

/* The statistics count a parked call a moment after its handler has let it go. */
static void wait_parked(struct fixture *f, unsigned n)
{
	while (fixture_stats(f).parked < n)
		poll(NULL, 0, 1);
}

/* Fragment of `len` bytes of the record. */
static void put_fragment(struct bytes *out, const void *p, uint32_t len, bool last)
{
	put_u32(out, len | (last ? 0x80000000u : 0));
	put_raw(out, p, len);
}

/* ---- records ---- */

static void split_at_every_byte(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, out = { 0 }, reply = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	put_echo(&r, 5, 20);
	put_record(&out, &r);
	for (size_t cut = 1; cut < out.len; cut++) {
		struct bytes a = { .p = out.p, .len = cut };
		struct bytes b = { .p = out.p + cut, .len = out.len - cut };

		client_send(fd, &a);
		client_send(fd, &b);
		assert_true(client_recv(fd, &reply));
		check_echo(&reply, 5, 20);
	}
	/* And byte by byte. */
	for (size_t i = 0; i < out.len; i++) {
		struct bytes a = { .p = out.p + i, .len = 1 };

		client_send(fd, &a);
	}
	assert_true(client_recv(fd, &reply));
	check_echo(&reply, 5, 20);
	close(fd);
	bytes_free(&r);
	bytes_free(&out);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void fragments_of_every_size(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, reply = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	put_echo(&r, 9, 300);
	for (size_t size = 1; size <= r.len; size += 1 + size / 7) {
		struct bytes out = { 0 };

		for (size_t at = 0; at < r.len; at += size) {
			size_t n = r.len - at < size ? r.len - at : size;

			put_fragment(&out, r.p + at, (uint32_t)n, at + n == r.len);
		}
		client_send(fd, &out);
		assert_true(client_recv(fd, &reply));
		check_echo(&reply, 9, 300);
		bytes_free(&out);
	}
	close(fd);
	bytes_free(&r);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void empty_fragments(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, reply = { 0 }, out = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	put_echo(&r, 9, 64);
	for (size_t at = 0; at < r.len; at += 4) {
		for (int i = 0; i < 500; i++)
			put_fragment(&out, NULL, 0, false);
		put_fragment(&out, r.p + at, 4, false);
	}
	put_fragment(&out, NULL, 0, true);
	client_send(fd, &out);
	assert_true(client_recv(fd, &reply));
	check_echo(&reply, 9, 64);
	expect_null(fd, 10);
	close(fd);
	bytes_free(&r);
	bytes_free(&out);
	bytes_free(&reply);
	fixture_stop(&f);
}

/* 200,000 fragments: quadratic work would take minutes. */
static void very_many_tiny_fragments(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, reply = { 0 }, out = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	put_echo(&r, 9, 200000);
	for (size_t at = 0; at < r.len; at++)
		put_fragment(&out, r.p + at, 1, at + 1 == r.len);
	client_send(fd, &out);
	assert_true(client_recv(fd, &reply));
	check_echo(&reply, 9, 200000);
	close(fd);
	bytes_free(&r);
	bytes_free(&out);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void records_of_all_sizes(void **state)
{
	static const size_t sizes[] = { 0,     1,     100,   4000,   16000,  32000,  60000,
					65000, 65400, 65536, 100000, 131072, 500000, 1048576 };
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct bytes r = { 0 }, reply = { 0 };

		put_echo(&r, (uint32_t)i, sizes[i]);
		assert_true(client_exchange(fd, &r, &reply));
		check_echo(&reply, (uint32_t)i, sizes[i]);
		bytes_free(&r);
		bytes_free(&reply);
	}
	close(fd);
	fixture_stop(&f);
}

struct stream {
	int fd;
	struct bytes out;
};

/* A thread's main: a peer that sends and does not wait for replies. */
static void *send_all(void *arg)
{
	const struct stream *s = arg;

	client_send(s->fd, &s->out);
	return NULL;
}

/* Big and small records in one stream: each arrives whole and all are answered. */
static void pipelined_mixture(void **state)
{
	struct fixture f;
	struct stream s = { 0 };
	struct bytes reply = { 0 };
	pthread_t sender;
	enum { N = 400 };
	bool seen[N] = { false };

	fixture_start(&f, 1, NULL);
	s.fd = client_connect(&f);
	for (uint32_t i = 0; i < N; i++) {
		struct bytes r = { 0 };

		put_echo(&r, i, i % 50 == 7 ? 300000 + i : i % 11 == 3 ? 20000 + i : i);
		put_record(&s.out, &r);
		bytes_free(&r);
	}
	assert_int_equal(pthread_create(&sender, NULL, send_all, &s), 0);
	for (uint32_t i = 0; i < N; i++) {
		uint32_t be, xid;

		assert_true(client_recv(s.fd, &reply));
		memcpy(&be, reply.p, 4);
		xid = __builtin_bswap32(be);
		assert_true(xid < N && !seen[xid]);
		seen[xid] = true;
		check_echo(&reply, xid,
			   xid % 50 == 7   ? 300000 + xid
			   : xid % 11 == 3 ? 20000 + xid
					   : xid);
	}
	pthread_join(sender, NULL);
	close(s.fd);
	bytes_free(&s.out);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void pipelined_in_one_write(void **state)
{
	struct fixture f;
	struct bytes out = { 0 }, reply = { 0 };
	enum { N = 500 };
	bool seen[N] = { false };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < N; i++) {
		struct bytes r = { 0 };

		put_call(&r, i, PROC_SELF);
		put_u32(&r, i % KEYS);
		put_record(&out, &r);
		bytes_free(&r);
	}
	client_send(fd, &out);
	for (uint32_t i = 0; i < N; i++) {
		uint32_t xid;

		assert_true(client_recv(fd, &reply));
		xid = take_success(&reply);
		assert_true(xid < N && !seen[xid]);
		seen[xid] = true;
		assert_int_equal(take_u32(&reply), xid % KEYS);
	}
	close(fd);
	fixture_wait_closed(&f, 1);
	pthread_mutex_lock(&f.lock);
	assert_int_equal(f.done, N);
	pthread_mutex_unlock(&f.lock);
	assert_int_equal(fixture_stats(&f).calls, N);
	assert_int_equal(fixture_stats(&f).replies, N);
	assert_int_equal(fixture_stats(&f).parked, 0);
	bytes_free(&out);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void small_records(struct rpc_limits *l)
{
	l->max_record = 1000;
	l->max_reply = 500;
}

static void oversized_record_closes(void **state)
{
	struct fixture f;
	struct bytes out = { 0 }, zeros = { 0 };
	int fd;

	fixture_start(&f, 1, small_records);
	while (zeros.len < 1001)
		put_u32(&zeros, 0);

	fd = client_connect(&f);
	put_u32(&out, 0x80000000u | 1001);
	client_send(fd, &out);
	assert_true(client_closed(fd));
	close(fd);

	/* In two fragments that are each allowed. */
	fd = client_connect(&f);
	out.len = 0;
	put_fragment(&out, zeros.p, 600, false);
	put_fragment(&out, zeros.p, 401, true);
	client_send(fd, &out);
	assert_true(client_closed(fd));
	close(fd);

	fd = client_connect(&f);
	out.len = 0;
	put_u32(&out, 0x7fffffff);
	client_send(fd, &out);
	assert_true(client_closed(fd));
	close(fd);

	/* Exactly the limit is fine (and garbage of RPC version 0). */
	fd = client_connect(&f);
	out.len = 0;
	put_fragment(&out, zeros.p, 600, false);
	put_fragment(&out, zeros.p, 400, true);
	client_send(fd, &out);
	assert_true(client_recv(fd, &out));
	close(fd);
	assert_int_equal(fixture_stats(&f).dropped_connections, 3);
	bytes_free(&out);
	bytes_free(&zeros);
	fixture_stop(&f);
}

static void reply_over_the_limit_is_system_err(void **state)
{
	struct fixture f;
	struct bytes reply = { 0 };
	int fd;

	fixture_start(&f, 1, small_records);
	fd = client_connect(&f);
	client_call_u32(fd, 1, PROC_FILL, 500 - 24 - 4); /* header and length leave this much */
	assert_true(client_recv(fd, &reply));
	assert_int_equal(reply.len, 500);
	assert_int_equal(take_success(&reply), 1);
	client_call_u32(fd, 2, PROC_FILL, 500 - 24 - 4 + 1);
	assert_true(client_recv(fd, &reply));
	assert_int_equal(take_u32(&reply), 2);
	assert_int_equal(take_u32(&reply), 1);
	assert_int_equal(take_u32(&reply), 0);
	assert_int_equal(take_u32(&reply), 0);
	assert_int_equal(take_u32(&reply), 0);
	assert_int_equal(take_u32(&reply), 5);
	expect_null(fd, 3);
	close(fd);
	bytes_free(&reply);
	fixture_stop(&f);
}

/* ---- threads ---- */

static void blocking_call_holds_up_nobody(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t key = 0; key < 5; key++)
		client_call_u32(fd, 100 + key, PROC_BLOCK, key);
	for (uint32_t key = 0; key < 5; key++)
		fixture_wait_entered(&f, key);
	for (uint32_t i = 0; i < 50; i++)
		expect_null(fd, i);
	/* In any order. */
	for (uint32_t key = 5; key-- > 0;) {
		fixture_open_gate(&f, key);
		expect_key(fd, 100 + key, key);
	}
	assert_true(fixture_stats(&f).loops_given >= 5);
	close(fd);
	fixture_stop(&f);
}

/* What a call hears about being alone on its loop. */
static bool is_alone(int fd)
{
	struct bytes r = { 0 }, reply = { 0 };
	bool alone;

	put_call(&r, 7, PROC_ALONE);
	assert_true(client_exchange(fd, &r, &reply));
	assert_int_equal(take_success(&reply), 7);
	alone = take_u32(&reply);
	bytes_free(&r);
	bytes_free(&reply);
	return alone;
}

static void calls_know_when_they_are_alone(void **state)
{
	struct bytes r = { 0 }, out = { 0 }, reply = { 0 };
	struct fixture f;
	int fd, other;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (int i = 0; i < 4; i++)
		assert_false(is_alone(fd));
	/* A thread that is slow to end a call may make the next one think that it has company. */
	while (!is_alone(fd))
		;
	/* Two of them in one read: neither is. */
	put_call(&r, 8, PROC_ALONE);
	put_record(&out, &r);
	put_record(&out, &r);
	client_send(fd, &out);
	for (int i = 0; i < 2; i++) {
		assert_true(client_recv(fd, &reply));
		assert_int_equal(take_success(&reply), 8);
		assert_int_equal(take_u32(&reply), 0);
	}
	while (!is_alone(fd))
		;
	other = client_connect(&f);
	expect_null(other, 9);
	for (int i = 0; i < 40; i++)
		assert_false(is_alone(fd));
	close(other);
	fixture_wait_closed(&f, 1);
	while (!is_alone(fd))
		;
	close(fd);
	bytes_free(&r);
	bytes_free(&out);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void stuck_call_is_overtaken(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t key = 0; key < 5; key++)
		client_call_u32(fd, 100 + key, PROC_STUCK, key);
	for (uint32_t key = 0; key < 5; key++)
		fixture_wait_entered(&f, key);
	for (uint32_t i = 0; i < 50; i++)
		expect_null(fd, i);
	for (uint32_t key = 5; key-- > 0;) {
		fixture_open_gate(&f, key);
		expect_key(fd, 100 + key, key);
	}
	assert_true(fixture_stats(&f).loops_stolen >= 5);
	close(fd);
	fixture_stop(&f);
}

/* One that computes, too: the watcher sees that it has a processor. */
static void busy_call_is_overtaken(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	client_call_u32(fd, 100, PROC_BUSY, 1);
	fixture_wait_entered(&f, 1);
	for (uint32_t i = 0; i < 50; i++)
		expect_null(fd, i);
	fixture_open_gate(&f, 1);
	expect_key(fd, 100, 1);
	assert_true(fixture_stats(&f).loops_stolen >= 1);
	close(fd);
	fixture_stop(&f);
}

/* The calls behind it were read in the same batch, the replies before it were not sent yet. */
static void batch_around_a_blocking_call(void **state)
{
	for (uint32_t proc = PROC_BLOCK; proc <= PROC_STUCK; proc++) {
		struct fixture f;
		struct bytes out = { 0 };
		bool seen[21] = { false };
		int fd;

		fixture_start(&f, 1, NULL);
		fd = client_connect(&f);
		for (uint32_t i = 0; i < 21; i++) {
			struct bytes r = { 0 };

			put_call(&r, i, i == 10 ? proc : PROC_SELF);
			put_u32(&r, i);
			put_record(&out, &r);
			bytes_free(&r);
		}
		client_send(fd, &out);
		for (uint32_t i = 0; i < 20; i++) {
			struct bytes reply = { 0 };
			uint32_t xid;

			assert_true(client_recv(fd, &reply));
			xid = take_success(&reply);
			assert_true(xid < 21 && xid != 10 && !seen[xid]);
			seen[xid] = true;
			bytes_free(&reply);
		}
		fixture_open_gate(&f, 10);
		expect_key(fd, 10, 10);
		close(fd);
		bytes_free(&out);
		fixture_stop(&f);
	}
}

/* ---- what calls leave to be done later ---- */

static void send_laters(int fd, uint32_t n, uint32_t last)
{
	struct bytes out = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		struct bytes r = { 0 };

		put_call(&r, i, i + 1 < n ? PROC_LATER : last);
		put_u32(&r, i);
		put_record(&out, &r);
		bytes_free(&r);
	}
	client_send(fd, &out);
	bytes_free(&out);
}

static unsigned laters_alone(struct fixture *f)
{
	unsigned n;

	pthread_mutex_lock(&f->lock);
	n = f->laters_alone;
	pthread_mutex_unlock(&f->lock);
	return n;
}

/* `n` replies to PROC_LATER, which had `begun` together. */
static void expect_laters(int fd, uint32_t n, uint32_t begun)
{
	for (uint32_t i = 0; i < n; i++) {
		struct bytes reply = { 0 };
		uint32_t xid;

		assert_true(client_recv(fd, &reply));
		xid = take_success(&reply);
		assert_int_equal(take_u32(&reply), xid);
		assert_int_equal(take_u32(&reply), begun);
		bytes_free(&reply);
	}
}

static void later_is_when_all_that_has_come_was_run(void **state)
{
	struct fixture f;
	int fd, other;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	send_laters(fd, 8, PROC_LATER);
	expect_laters(fd, 8, 8);
	send_laters(fd, 1, PROC_LATER);
	expect_laters(fd, 1, 9);
	assert_int_equal(laters_alone(&f), 9);
	/* There is another one that would have to wait. */
	other = client_connect(&f);
	expect_null(other, 1);
	send_laters(fd, 8, PROC_LATER);
	expect_laters(fd, 8, 17);
	assert_int_equal(laters_alone(&f), 9);
	close(other);
	close(fd);
	fixture_stop(&f);
}

/* The loop goes on in another thread: what was left to it is done there. */
static void later_does_not_wait_for_who_blocks(void **state)
{
	for (uint32_t proc = PROC_BLOCK; proc <= PROC_STUCK; proc++) {
		struct fixture f;
		int fd;

		fixture_start(&f, 1, NULL);
		fd = client_connect(&f);
		send_laters(fd, 9, proc);
		expect_laters(fd, 8, 8);
		assert_int_equal(laters_alone(&f), 0);
		fixture_open_gate(&f, 8);
		expect_key(fd, 8, 8);
		close(fd);
		fixture_stop(&f);
	}
}

/* A call whose loop was taken away, and waits for events, has something done later. */
static void later_without_a_loop(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t key = 0; key < 20; key++) {
		client_call_u32(fd, key, PROC_LATE, key);
		fixture_wait_entered(&f, key);
		expect_null(fd, 1000 + key);
		fixture_open_gate(&f, key);
		expect_laters(fd, 1, key + 1);
	}
	assert_int_equal(fixture_stats(&f).parked, 0);
	close(fd);
	fixture_stop(&f);
}

static void four_threads(struct rpc_limits *l)
{
	l->max_threads = 4;
}

/* More blocking calls than threads: they wait for each other, and none is lost. */
static void threads_are_bounded(void **state)
{
	for (uint32_t proc = PROC_BLOCK; proc <= PROC_STUCK; proc++) {
		struct fixture f;
		int fd;
		bool seen[20] = { false };

		fixture_start(&f, 1, four_threads);
		fd = client_connect(&f);
		for (uint32_t key = 0; key < 20; key++)
			client_call_u32(fd, key, proc, key);
		for (uint32_t key = 0; key < 4; key++)
			fixture_wait_entered(&f, key);
		assert_int_equal(fixture_stats(&f).threads, 4);
		for (uint32_t key = 0; key < 20; key++)
			fixture_open_gate(&f, key);
		for (uint32_t i = 0; i < 20; i++) {
			struct bytes reply = { 0 };
			uint32_t xid;

			assert_true(client_recv(fd, &reply));
			xid = take_success(&reply);
			assert_true(xid < 20 && !seen[xid]);
			seen[xid] = true;
			bytes_free(&reply);
		}
		assert_true(fixture_stats(&f).threads <= 4);
		close(fd);
		fixture_stop(&f);
	}
}

static void impatient_spares(struct rpc_limits *l)
{
	l->spare_seconds = 1;
}

static void idle_spares_end(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, impatient_spares);
	fd = client_connect(&f);
	for (uint32_t key = 0; key < 6; key++) {
		client_call_u32(fd, key, PROC_BLOCK, key);
		fixture_wait_entered(&f, key);
	}
	assert_true(fixture_stats(&f).threads >= 7);
	for (uint32_t key = 0; key < 6; key++) {
		fixture_open_gate(&f, key);
		expect_key(fd, key, key);
	}
	/* A loop and one spare remain. */
	while (fixture_stats(&f).threads > 2)
		poll(NULL, 0, 20);
	expect_null(fd, 7);
	assert_int_equal(fixture_stats(&f).calls, 7);
	close(fd);
	fixture_stop(&f);
}

/* ---- parking ---- */

struct resumer {
	struct fixture *f;
	uint32_t n;
};

static void *resume_all(void *arg)
{
	struct resumer *r = arg;

	for (uint32_t key = r->n; key-- > 0;)
		rpc_call_resume(fixture_wait_parked(r->f, key));
	return NULL;
}

static void echo_big(int fd)
{
	struct bytes call = { 0 }, reply = { 0 };
	static uint8_t data[900 * 1000];

	put_call(&call, 1, PROC_ECHO);
	put_opaque(&call, data, sizeof(data));
	assert_true(client_exchange(fd, &call, &reply));
	take_success(&reply);
	bytes_free(&call);
	bytes_free(&reply);
}

/* Ticks until it says that memory has been given back. */
static void tick_until_given_back(struct fixture *f)
{
	const struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };
	unsigned ticks = 0;

	while (!rpc_server_tick(f->server)) {
		assert_true(++ticks < 20);
		nanosleep(&pause, NULL);
	}
}

/* What is kept for reuse is used while there is work and given back when there is none. */
static void quiet_gives_buffers_back(void **state)
{
	enum { ROUNDS = 3, LEAST = 1 << 20 };
	struct fixture f;
	int fd[4];

	fixture_start(&f, 2, NULL);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < 4; i++) {
			fd[i] = client_connect(&f);
			echo_big(fd[i]);
		}
		assert_true(fixture_stats(&f).memory > LEAST);
		for (unsigned i = 0; i < 4; i++)
			close(fd[i]);
		fixture_wait_closed(&f, round * 5 + 4);
		tick_until_given_back(&f);
		while (fixture_stats(&f).memory > LEAST / 2)
			sched_yield();
		/* Once is enough as long as nothing has happened. */
		for (unsigned i = 0; i < 20; i++)
			assert_false(rpc_server_tick(f.server));
		fd[0] = client_connect(&f);
		for (uint32_t i = 0; i < 2100; i++) {
			client_call_u32(fd[0], i, PROC_SELF, i % KEYS);
			expect_key(fd[0], i, i % KEYS);
		}
		close(fd[0]);
		fixture_wait_closed(&f, round * 5 + 5);
	}
	fixture_stop(&f);
}

static void parked_calls_come_back(void **state)
{
	struct fixture f;
	struct resumer r = { &f, 100 };
	pthread_t t;
	bool seen[100] = { false };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	assert_int_equal(pthread_create(&t, NULL, resume_all, &r), 0);
	for (uint32_t key = 0; key < 100; key++)
		client_call_u32(fd, key, PROC_PARK, key);
	for (uint32_t i = 0; i < 100; i++) {
		struct bytes reply = { 0 };
		uint32_t xid;

		assert_true(client_recv(fd, &reply));
		xid = take_success(&reply);
		assert_true(xid < 100 && !seen[xid]);
		assert_int_equal(take_u32(&reply), xid);
		seen[xid] = true;
		bytes_free(&reply);
	}
	pthread_join(t, NULL);
	assert_int_equal(fixture_stats(&f).parked, 0);
	close(fd);
	fixture_stop(&f);
}

static void parked_call_holds_no_thread_and_no_bytes(void **state)
{
	struct fixture f;
	struct rpc_call *parked;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	client_call_u32(fd, 77, PROC_PARK, 7);
	parked = fixture_wait_parked(&f, 7);
	/* Long enough to use the receive buffer many times over. */
	for (uint32_t i = 0; i < 200; i++) {
		struct bytes r = { 0 }, reply = { 0 };

		put_echo(&r, i, 5000);
		assert_true(client_exchange(fd, &r, &reply));
		check_echo(&reply, i, 5000);
		bytes_free(&r);
		bytes_free(&reply);
	}
	wait_parked(&f, 1);
	rpc_call_resume(parked);
	expect_key(fd, 77, 7); /* its argument is still there */
	close(fd);
	fixture_stop(&f);
}

static void resume_after_the_connection_has_gone(void **state)
{
	struct fixture f;
	struct rpc_call *parked;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	client_call_u32(fd, 77, PROC_PARK, 7);
	parked = fixture_wait_parked(&f, 7);
	assert_true(rpc_conn_is_open(parked->conn));
	/* A reset; a mere end of stream would let the call go on. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
	close(fd);
	fixture_wait_closed(&f, 1);
	assert_false(rpc_conn_is_open(parked->conn));
	rpc_call_resume(parked);
	pthread_mutex_lock(&f.lock);
	while (f.done < 1)
		pthread_cond_wait(&f.changed, &f.lock);
	pthread_mutex_unlock(&f.lock);
	fixture_stop(&f);
	assert_int_equal(f.closed, 1);
}

static void replies_after_the_end_of_stream(void **state)
{
	struct fixture f;
	struct rpc_call *parked;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	client_call_u32(fd, 1, PROC_PARK, 1);
	client_call_u32(fd, 2, PROC_BLOCK, 2);
	shutdown(fd, SHUT_WR);
	parked = fixture_wait_parked(&f, 1);
	fixture_wait_entered(&f, 2);
	rpc_call_resume(parked);
	expect_key(fd, 1, 1);
	fixture_open_gate(&f, 2);
	expect_key(fd, 2, 2);
	assert_true(client_closed(fd));
	close(fd);
	fixture_wait_closed(&f, 1);
	fixture_stop(&f);
}

/* ---- extents ---- */

static void make_file(struct fixture *f, size_t len)
{
	f->file = memfd_create("extent", MFD_CLOEXEC);
	assert_true(f->file >= 0);
	for (size_t i = 0; i < len;) {
		uint8_t chunk[4096];
		size_t n = 0;

		for (; n < sizeof(chunk) && i < len; n++, i++)
			chunk[n] = pattern(i);
		assert_int_equal(write(f->file, chunk, n), n);
	}
}

static void put_read(struct bytes *r, uint32_t xid, uint64_t offset, uint32_t len)
{
	put_call(r, xid, PROC_READ);
	put_u64(r, offset);
	put_u32(r, len);
}

/* `real` bytes of the file, then zeros. */
static void check_read(struct bytes *reply, uint32_t xid, size_t offset, size_t len, size_t real)
{
	size_t pad = (4 - len % 4) % 4;

	assert_int_equal(take_success(reply), xid);
	assert_int_equal(take_u32(reply), len);
	assert_int_equal(reply->len, len + pad + 4);
	for (size_t i = 0; i < len + pad; i++) {
		if (reply->p[i] != (i < real ? pattern(offset + i) : 0))
			fail_msg("byte %zu of %zu differs", i, len);
	}
	assert_memory_equal(reply->p + len + pad, "\0\0\xfe\xed", 4);
}

static void extents_of_all_sizes(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 2, 3, 4, 4095, 4096, 65537, 500000, 1000000 };
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	make_file(&f, 1100000);
	fd = client_connect(&f);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct bytes r = { 0 }, reply = { 0 };

		put_read(&r, (uint32_t)i, 77, sizes[i]);
		assert_true(client_exchange(fd, &r, &reply));
		check_read(&reply, (uint32_t)i, 77, sizes[i], sizes[i]);
		bytes_free(&r);
		bytes_free(&reply);
	}
	close(fd);
	fixture_stop(&f);
}

static void truncated_file_is_filled_with_zeros(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	make_file(&f, 1000);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < 5; i++) {
		struct bytes r = { 0 }, reply = { 0 };
		size_t offset = i * 300, real = offset < 1000 ? 1000 - offset : 0;

		put_read(&r, i, offset, 100001);
		assert_true(client_exchange(fd, &r, &reply));
		check_read(&reply, i, offset, 100001, real);
		bytes_free(&r);
		bytes_free(&reply);
	}
	expect_null(fd, 9);
	close(fd);
	fixture_stop(&f);
}

static void many_extents_in_one_reply(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, reply = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	make_file(&f, 100000);
	fd = client_connect(&f);
	put_call(&r, 3, PROC_COUNT_EXTENTS);
	put_u32(&r, 100);
	put_u32(&r, 1000);
	assert_true(client_exchange(fd, &r, &reply));
	assert_int_equal(take_success(&reply), 3);
	assert_int_equal(reply.len, 100 * 1004);
	for (size_t i = 0; i < 100; i++) {
		const uint8_t *p = reply.p + i * 1004;

		assert_int_equal(p[3], i);
		for (size_t k = 0; k < 1000; k++)
			assert_int_equal(p[4 + k], pattern(i * 1000 + k));
	}
	close(fd);
	bytes_free(&r);
	bytes_free(&reply);
	fixture_stop(&f);
}

/* Replies pile up behind a peer that does not read, then it reads everything. */
static void slow_reader_gets_everything(void **state)
{
	struct fixture f;
	struct bytes reply = { 0 };
	enum { N = 60 };
	bool seen[N] = { false };
	int fd;

	fixture_start(&f, 1, NULL);
	make_file(&f, 400000);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < N; i++) {
		struct bytes r = { 0 }, out = { 0 };

		if (i % 3 == 0) {
			put_call(&r, i, PROC_FILL);
			put_u32(&r, 200000);
		} else {
			put_read(&r, i, i, 300000 + i);
		}
		put_record(&out, &r);
		client_send(fd, &out);
		bytes_free(&r);
		bytes_free(&out);
	}
	/* All have run, so most are waiting for the socket. */
	while (fixture_stats(&f).replies < N)
		poll(NULL, 0, 5);
	for (uint32_t i = 0; i < N; i++) {
		uint32_t be, xid;

		assert_true(client_recv(fd, &reply));
		memcpy(&be, reply.p, 4);
		xid = __builtin_bswap32(be);
		assert_true(xid < N && !seen[xid]);
		seen[xid] = true;
		if (xid % 3 == 0) {
			assert_int_equal(take_success(&reply), xid);
			assert_int_equal(take_u32(&reply), 200000);
			for (size_t k = 0; k < 200000; k++)
				assert_true(reply.p[k] == (uint8_t)k);
		} else {
			check_read(&reply, xid, xid, 300000 + xid, 300000 + xid);
		}
	}
	close(fd);
	bytes_free(&reply);
	fixture_stop(&f);
}

static void extents_are_released_when_the_peer_goes(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	make_file(&f, 1000000);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < 40; i++) {
		struct bytes r = { 0 }, out = { 0 };

		put_read(&r, i, 0, 1000000);
		put_record(&out, &r);
		client_send(fd, &out);
		bytes_free(&r);
		bytes_free(&out);
	}
	while (fixture_stats(&f).replies < 40)
		poll(NULL, 0, 5);
	close(fd);
	pthread_mutex_lock(&f.lock);
	while (f.extents_released < 40 || f.done < 40)
		pthread_cond_wait(&f.changed, &f.lock);
	pthread_mutex_unlock(&f.lock);
	fixture_wait_closed(&f, 1);
	fixture_stop(&f);
	assert_int_equal(f.extents_released, 40);
	assert_int_equal(f.extents_unreadable, 0); /* the connection's fault */
	assert_int_equal(f.done, 40);
}

/* A descriptor that sendfile() refuses to read from ends the connection, not the server. */
static void unreadable_extent_closes(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, out = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	f.file = open("/", O_PATH | O_CLOEXEC);
	assert_true(f.file >= 0);
	fd = client_connect(&f);
	put_read(&r, 1, 0, 100);
	put_record(&out, &r);
	client_send(fd, &out);
	fixture_wait_closed(&f, 1);
	close(fd);
	fd = client_connect(&f);
	expect_null(fd, 2);
	close(fd);
	bytes_free(&r);
	bytes_free(&out);
	fixture_stop(&f);
	assert_int_equal(f.extents_unreadable, 1);
}

/* True if neither the first nor the last page is in memory. Looking does not bring any there. */
static bool range_is_cold(int file, off_t offset, size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), first = (size_t)offset / page;
	size_t last = ((size_t)offset + len - 1) / page;
	unsigned char in_memory[2];
	uint8_t *map = mmap(NULL, (last + 1) * page, PROT_READ, MAP_SHARED, file, 0);

	assert_true(map != MAP_FAILED);
	assert_int_equal(mincore(map + first * page, page, &in_memory[0]), 0);
	assert_int_equal(mincore(map + last * page, page, &in_memory[1]), 0);
	munmap(map, (last + 1) * page);
	return !(in_memory[0] & 1) && !(in_memory[1] & 1);
}

/* Pages that are not in memory are waited for by a thread without a loop. */
static void cold_extent_gives_the_loop_away(void **state)
{
	char name[] = "cold-XXXXXX";
	struct fixture f;
	struct bytes r = { 0 }, reply = { 0 };
	int fd, file = mkstemp(name);

	assert_true(file >= 0);
	unlink(name);
	fixture_start(&f, 1, NULL);
	make_file(&f, 3000000);
	for (off_t at = 0; at < 3000000;)
		assert_true(sendfile(file, f.file, &at, 3000000) > 0);
	close(f.file);
	f.file = file;
	assert_int_equal(fsync(file), 0);
	assert_int_equal(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);

	bool cold = range_is_cold(file, 2000000, 1000000);

	fd = client_connect(&f);
	put_read(&r, 1, 2000000, 1000000);
	assert_true(client_exchange(fd, &r, &reply));
	check_read(&reply, 1, 2000000, 1000000, 1000000);
	if (cold)
		assert_true(fixture_stats(&f).loops_given >= 1);
	expect_null(fd, 2);
	close(fd);
	bytes_free(&r);
	bytes_free(&reply);
	fixture_stop(&f);
}

/* ---- limits ---- */

static void three_connections(struct rpc_limits *l)
{
	l->max_connections = 3;
}

static void connection_limit(void **state)
{
	struct fixture f;
	int fds[3], fd;

	fixture_start(&f, 2, three_connections);
	for (int i = 0; i < 3; i++) {
		fds[i] = client_connect(&f);
		expect_null(fds[i], 1);
	}
	assert_int_equal(fixture_stats(&f).connections, 3);
	fd = client_connect(&f);
	assert_true(client_closed(fd));
	close(fd);
	close(fds[0]);
	fixture_wait_closed(&f, 1);
	while (fixture_stats(&f).connections > 2)
		poll(NULL, 0, 1);
	fds[0] = client_connect(&f);
	for (int i = 0; i < 3; i++) {
		expect_null(fds[i], 2);
		close(fds[i]);
	}
	fixture_stop(&f);
	assert_int_equal(f.closed, 4);
}

static void few_calls(struct rpc_limits *l)
{
	l->max_calls_per_conn = 8;
}

/* Calls beyond the limit wait in the socket, and go on when others are done. */
static void calls_per_connection(void **state)
{
	struct fixture f;
	struct rpc_call *parked[8];
	struct bytes out = { 0 };
	int fd, other;

	fixture_start(&f, 1, few_calls);
	fd = client_connect(&f);
	for (uint32_t key = 0; key < 40; key++) {
		struct bytes r = { 0 };

		put_call(&r, key, PROC_PARK);
		put_u32(&r, key);
		put_record(&out, &r);
		bytes_free(&r);
	}
	client_send(fd, &out);
	for (uint32_t key = 0; key < 8; key++)
		parked[key] = fixture_wait_parked(&f, key);
	wait_parked(&f, 8);
	/* Another connection does not mind; and when it is answered, nothing else has begun. */
	other = client_connect(&f);
	expect_null(other, 1);
	assert_int_equal(fixture_stats(&f).parked, 8);
	for (uint32_t key = 0; key < 8; key++)
		rpc_call_resume(parked[key]);
	for (uint32_t key = 8; key < 40; key++)
		rpc_call_resume(fixture_wait_parked(&f, key));
	for (uint32_t i = 0; i < 40; i++) {
		struct bytes reply = { 0 };

		assert_true(client_recv(fd, &reply));
		bytes_free(&reply);
	}
	expect_null(fd, 50);
	close(fd);
	close(other);
	bytes_free(&out);
	fixture_stop(&f);
}

static void little_conn_memory(struct rpc_limits *l)
{
	l->max_conn_memory = 300000;
}

static void memory_per_connection(void **state)
{
	struct fixture f;
	struct stream s = { 0 };
	pthread_t sender;
	int other;

	fixture_start(&f, 1, little_conn_memory);
	s.fd = client_connect(&f);
	for (uint32_t i = 0; i < 40; i++) {
		struct bytes r = { 0 };

		put_call(&r, i, PROC_PARK);
		put_u32(&r, i);
		for (int k = 0; k < 10000; k++)
			put_u32(&r, 0);
		put_record(&s.out, &r);
		bytes_free(&r);
	}
	assert_int_equal(pthread_create(&sender, NULL, send_all, &s), 0);
	/* 300,000 bytes are reached by the eighth. */
	for (uint32_t key = 0; key < 8; key++) {
		struct rpc_call *call = fixture_wait_parked(&f, key);

		pthread_mutex_lock(&f.lock);
		f.parked[key] = call;
		pthread_mutex_unlock(&f.lock);
	}
	wait_parked(&f, 8);
	other = client_connect(&f);
	expect_null(other, 1);
	assert_int_equal(fixture_stats(&f).parked, 8);
	for (uint32_t key = 0; key < 40; key++)
		rpc_call_resume(fixture_wait_parked(&f, key));
	for (uint32_t i = 0; i < 40; i++) {
		struct bytes reply = { 0 };

		assert_true(client_recv(s.fd, &reply));
		bytes_free(&reply);
	}
	pthread_join(sender, NULL);
	close(s.fd);
	close(other);
	bytes_free(&s.out);
	fixture_stop(&f);
}

static void little_memory(struct rpc_limits *l)
{
	l->max_memory = 1; /* raised to the least that works: 8 MiB and four records */
	l->max_record = 300000;
	l->record_seconds = 0;
}

/* Parked calls hold all the memory; the server reads nothing more until they are done. */
static void memory_of_the_server(void **state)
{
	struct fixture f;
	enum { CONNS = 12, EACH = 10 };
	struct stream s[CONNS] = { 0 };
	pthread_t senders[CONNS];
	size_t limit = (8u << 20) + 4 * 300000;

	fixture_start(&f, 1, little_memory);
	for (int c = 0; c < CONNS; c++) {
		s[c].fd = client_connect(&f);
		for (uint32_t i = 0; i < EACH; i++) {
			struct bytes r = { 0 };
			uint32_t key = (uint32_t)c * EACH + i;

			put_call(&r, key, PROC_PARK);
			put_u32(&r, key);
			for (int k = 0; k < 50000; k++)
				put_u32(&r, 0);
			put_record(&s[c].out, &r);
			bytes_free(&r);
		}
		assert_int_equal(pthread_create(&senders[c], NULL, send_all, &s[c]), 0);
	}
	while (fixture_stats(&f).memory < limit)
		poll(NULL, 0, 1);
	/* Resume whatever is parked until all have been. */
	for (unsigned done = 0; done < CONNS * EACH;) {
		struct rpc_call *call = NULL;

		pthread_mutex_lock(&f.lock);
		while (!call) {
			for (unsigned k = 0; k < CONNS * EACH && !call; k++) {
				call = f.parked[k];
				f.parked[k] = NULL;
			}
			if (!call)
				pthread_cond_wait(&f.changed, &f.lock);
		}
		pthread_mutex_unlock(&f.lock);
		assert_true(fixture_stats(&f).memory < limit + limit / 2);
		rpc_call_resume(call);
		done++;
	}
	for (int c = 0; c < CONNS; c++) {
		for (uint32_t i = 0; i < EACH; i++) {
			struct bytes reply = { 0 };

			assert_true(client_recv(s[c].fd, &reply));
			bytes_free(&reply);
		}
		pthread_join(senders[c], NULL);
		close(s[c].fd);
		bytes_free(&s[c].out);
	}
	fixture_stop(&f);
}

static void one_second(struct rpc_limits *l)
{
	l->record_seconds = 1;
	l->idle_seconds = 0;
}

static void half_a_record_times_out(void **state)
{
	struct fixture f;
	struct bytes out = { 0 };
	int fd, idle;

	fixture_start(&f, 1, one_second);
	idle = client_connect(&f);
	expect_null(idle, 1);
	fd = client_connect(&f);
	put_u32(&out, 0x80000000u | 100);
	put_u32(&out, 1);
	client_send(fd, &out);
	assert_true(client_closed(fd));
	close(fd);

	/* Half of a record's mark. */
	fd = client_connect(&f);
	out.len = 2;
	client_send(fd, &out);
	assert_true(client_closed(fd));
	close(fd);
	expect_null(idle, 2); /* being idle is allowed */
	close(idle);
	bytes_free(&out);
	fixture_stop(&f);
}

static void unread_replies_time_out(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, one_second);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < 40; i++)
		client_call_u32(fd, i, PROC_FILL, 500000);
	fixture_wait_closed(&f, 1);
	close(fd);
	fixture_stop(&f);
}

static void idle_second(struct rpc_limits *l)
{
	l->idle_seconds = 1;
}

static void idle_connection_is_closed(void **state)
{
	struct fixture f;
	struct rpc_call *parked;
	int fd, busy;

	fixture_start(&f, 1, idle_second);
	busy = client_connect(&f);
	client_call_u32(busy, 1, PROC_PARK, 1);
	parked = fixture_wait_parked(&f, 1);
	fd = client_connect(&f);
	expect_null(fd, 1);
	assert_true(client_closed(fd));
	close(fd);
	/* The other one waits for an answer as long as that takes. */
	rpc_call_resume(parked);
	expect_key(busy, 1, 1);
	close(busy);
	fixture_stop(&f);
}

/* Out of descriptors: no spinning; the connection is served once there are some again. */
static void descriptors_run_out(void **state)
{
	struct fixture f;
	struct rlimit old, rl;
	struct rusage before, after;
	int fd, first, top, spent;

	fixture_start(&f, 1, NULL);
	first = client_connect(&f);
	expect_null(first, 1);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	top = dup(fd);
	close(top);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	rl = old;
	rl.rlim_cur = (rlim_t)top;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &rl), 0);

	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(f.port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	getrusage(RUSAGE_SELF, &before);
	poll(NULL, 0, 300);
	expect_null(first, 2);
	getrusage(RUSAGE_SELF, &after);
	spent = (int)((after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000 +
		      (after.ru_stime.tv_usec - before.ru_stime.tv_usec) / 1000);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	expect_null(fd, 3);
	assert_true(spent < 150);
	close(fd);
	close(first);
	fixture_stop(&f);
}

/* ---- closing, sending by ourselves ---- */

static void dropped_call_closes(void **state)
{
	struct fixture f;
	struct bytes r = { 0 }, reply = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	put_call(&r, 1, PROC_DROP);
	assert_false(client_exchange(fd, &r, &reply));
	close(fd);
	fixture_wait_closed(&f, 1);

	/* Closing behind the reply. */
	fd = client_connect(&f);
	r.len = 0;
	put_call(&r, 2, PROC_CLOSE);
	assert_true(client_exchange(fd, &r, &reply));
	assert_int_equal(take_success(&reply), 2);
	assert_true(client_closed(fd));
	close(fd);
	fixture_wait_closed(&f, 2);
	bytes_free(&r);
	bytes_free(&reply);
	fixture_stop(&f);
	assert_int_equal(f.closed, 2);
	assert_int_equal(f.done, 2);
}

static void calls_to_the_peer(void **state)
{
	struct fixture f;
	struct bytes got = { 0 }, answer = { 0 }, out = { 0 };
	struct xdr_out x;
	int fd;

	fixture_start(&f, 1, NULL);
	f.keep = true;
	fd = client_connect(&f);
	expect_null(fd, 1);
	for (uint32_t i = 0; i < 10; i++) {
		rpc_record_begin(&x, 1000);
		xdr_put_u32(&x, 900 + i);
		xdr_put_u32(&x, 0);
		assert_int_equal(rpc_conn_send(f.kept, &x), 0);
		assert_null(x.buf);
	}
	for (uint32_t i = 0; i < 10; i++) {
		assert_true(client_recv(fd, &got));
		assert_int_equal(got.len, 8);
		assert_int_equal(take_u32(&got), 900 + i);
	}
	put_u32(&answer, 900);
	put_u32(&answer, 1); /* REPLY */
	put_u32(&answer, 4711);
	put_record(&out, &answer);
	client_send(fd, &out);
	pthread_mutex_lock(&f.lock);
	while (!f.peer_replies)
		pthread_cond_wait(&f.changed, &f.lock);
	assert_int_equal(f.peer_reply_len, 12);
	assert_memory_equal(f.peer_reply, answer.p, 12);
	pthread_mutex_unlock(&f.lock);
	expect_null(fd, 2);

	rpc_record_begin(&x, 4);
	xdr_put_u64(&x, 0); /* fails */
	assert_int_equal(rpc_conn_send(f.kept, &x), -EMSGSIZE);
	close(fd);
	fixture_wait_closed(&f, 1);
	rpc_record_begin(&x, 1000);
	xdr_put_u64(&x, 0);
	assert_int_equal(rpc_conn_send(f.kept, &x), -ENOTCONN);
	bytes_free(&got);
	bytes_free(&answer);
	bytes_free(&out);
	fixture_stop(&f);
}

static int listen_somewhere(struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)addr, len), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return fd;
}

static int connect_to(struct fixture *f, const struct sockaddr_in *addr, struct rpc_conn **out)
{
	return rpc_server_connect(f->server, (const struct sockaddr *)addr, sizeof(*addr), out);
}

/* What is sent before the connection stands arrives; replies come; calls close it. */
static void connection_made(void **state)
{
	struct fixture f;
	struct bytes got = { 0 }, answer = { 0 }, out = { 0 };
	struct sockaddr_in addr;
	struct rpc_conn *conn;
	struct xdr_out x;
	int listener = listen_somewhere(&addr), fd;

	assert_int_equal(listen(listener, 1), 0);
	fixture_start(&f, 2, NULL);
	assert_int_equal(connect_to(&f, &addr, &conn), 0);
	rpc_record_begin(&x, 1000);
	xdr_put_u32(&x, 900);
	xdr_put_u32(&x, 0);
	assert_int_equal(rpc_conn_send(conn, &x), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_true(client_recv(fd, &got));
	assert_int_equal(take_u32(&got), 900);
	put_u32(&answer, 900);
	put_u32(&answer, 1); /* REPLY */
	put_record(&out, &answer);
	client_send(fd, &out);
	pthread_mutex_lock(&f.lock);
	while (!f.peer_replies)
		pthread_cond_wait(&f.changed, &f.lock);
	pthread_mutex_unlock(&f.lock);
	assert_true(rpc_conn_is_open(conn));

	answer.len = out.len = 0;
	put_call(&answer, 1, PROC_NULL);
	put_record(&out, &answer);
	client_send(fd, &out);
	assert_true(client_closed(fd));
	fixture_wait_closed(&f, 1);
	assert_int_equal(fixture_stats(&f).calls, 0);
	rpc_conn_unref(conn);
	close(fd);
	close(listener);
	bytes_free(&got);
	bytes_free(&answer);
	bytes_free(&out);
	fixture_stop(&f);
}

/* Nobody listens; given up by us; the server stops. Nothing of it is left. */
static void connection_not_made(void **state)
{
	struct fixture f;
	struct sockaddr_in addr;
	struct rpc_conn *conn, *given_up, *left;
	struct xdr_out x;
	int bound = listen_somewhere(&addr), fd, err;

	fixture_start(&f, 1, NULL);
	assert_int_equal(connect_to(&f, &addr, &conn), 0);
	rpc_record_begin(&x, 1000);
	xdr_put_u32(&x, 900);
	err = rpc_conn_send(conn, &x);
	assert_true(err == 0 || err == -ENOTCONN); /* it may have failed by now */
	fixture_wait_closed(&f, 1);
	assert_false(rpc_conn_is_open(conn));
	rpc_conn_unref(conn);

	assert_int_equal(listen(bound, 4), 0);
	assert_int_equal(connect_to(&f, &addr, &given_up), 0);
	fd = accept(bound, NULL, NULL);
	rpc_conn_abort(given_up);
	assert_true(client_closed(fd));
	close(fd);
	fixture_wait_closed(&f, 2);
	rpc_record_begin(&x, 1000);
	xdr_put_u32(&x, 900);
	assert_int_equal(rpc_conn_send(given_up, &x), -ENOTCONN);
	rpc_conn_unref(given_up);

	assert_int_equal(connect_to(&f, &addr, &left), 0);
	rpc_server_stop(f.server, 1);
	assert_int_equal(connect_to(&f, &addr, &conn), -ESHUTDOWN);
	rpc_conn_unref(left);
	close(bound);
	fixture_stop(&f);
}

static void connection_identity(void **state)
{
	struct fixture f;
	struct sockaddr_in own;
	socklen_t len = sizeof(own);
	int a, b;
	uint64_t first;

	fixture_start(&f, 2, NULL);
	f.keep = true;
	a = client_connect(&f);
	expect_null(a, 1);
	first = f.last_conn;
	assert_int_not_equal(first, 0);
	assert_int_equal(getsockname(a, (struct sockaddr *)&own, &len), 0);
	assert_int_equal(((const struct sockaddr_in *)rpc_conn_peer(f.kept))->sin_port,
			 own.sin_port);
	assert_int_equal(((const struct sockaddr_in *)rpc_conn_local(f.kept))->sin_port,
			 htons(f.port));
	b = client_connect(&f);
	expect_null(b, 1);
	assert_int_not_equal(f.last_conn, first);
	rpc_conn_close(f.kept);
	assert_true(client_closed(a));
	expect_null(b, 2);
	close(a);
	close(b);
	fixture_stop(&f);
}

/* ---- everything at once ---- */

struct storm {
	struct fixture *f;
	unsigned seed, rounds;
	bool failed;
};

static void put_storm_call(struct bytes *out, unsigned *seed, uint32_t xid)
{
	struct bytes r = { 0 };

	switch (rand_r(seed) % 8) {
	case 0:
		put_call(&r, xid, PROC_NAP);
		put_u32(&r, (uint32_t)rand_r(seed) % KEYS);
		break;
	case 1:
		put_call(&r, xid, PROC_SELF);
		put_u32(&r, 5);
		break;
	case 2:
		put_read(&r, xid, xid, (uint32_t)rand_r(seed) % 100000);
		break;
	case 3:
		put_echo(&r, xid, (size_t)rand_r(seed) % 150000);
		break;
	case 4:
		put_call(&r, xid, 999);
		break;
	default:
		put_echo(&r, xid, (size_t)rand_r(seed) % 200);
		break;
	}
	put_record(out, &r);
	bytes_free(&r);
}

/* A client that pipelines a few calls, sometimes leaves before the answers. */
static void *storm_client(void *arg)
{
	struct storm *s = arg;

	for (unsigned round = 0; round < s->rounds; round++) {
		int fd = client_connect(s->f);

		for (unsigned burst = 0; burst < 10; burst++) {
			struct bytes out = { 0 }, reply = { 0 };
			unsigned n = 1 + (unsigned)rand_r(&s->seed) % 12;
			struct stream st = { .fd = fd };
			bool leave = rand_r(&s->seed) % 20 == 0;
			pthread_t sender;

			for (uint32_t i = 0; i < n; i++)
				put_storm_call(&out, &s->seed, i);
			st.out = out;
			if (leave) {
				put_u32(&out, 0x80000000u | 100);
				client_send(fd, &out);
				bytes_free(&out);
				break;
			}
			if (pthread_create(&sender, NULL, send_all, &st) != 0)
				abort();
			for (uint32_t i = 0; i < n; i++)
				s->failed |= !client_recv(fd, &reply);
			pthread_join(sender, NULL);
			bytes_free(&out);
			bytes_free(&reply);
		}
		close(fd);
	}
	return NULL;
}

static void storm(void **state)
{
	struct fixture f;
	struct storm s[4];
	pthread_t t[4];

	fixture_start(&f, 2, NULL);
	make_file(&f, 150000);
	for (unsigned i = 0; i < 4; i++) {
		s[i] = (struct storm){ .f = &f, .seed = i + 1, .rounds = 6 };
		assert_int_equal(pthread_create(&t[i], NULL, storm_client, &s[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_false(s[i].failed);
	}
	fixture_wait_closed(&f, 24);
	fixture_stop(&f);
	assert_int_equal(f.closed, 24);
}

/* ---- stopping ---- */

static void *stop_server(void *arg)
{
	struct fixture *f = arg;

	rpc_server_stop(f->server, 30);
	return NULL;
}

/* Running calls reply, parked ones are dropped, new ones are not taken. */
static void stop_lets_running_calls_reply(void **state)
{
	struct fixture f;
	struct rpc_call *parked;
	pthread_t t;
	int fd, idle, with_parked;

	fixture_start(&f, 2, NULL);
	idle = client_connect(&f);
	expect_null(idle, 1);
	with_parked = client_connect(&f);
	client_call_u32(with_parked, 1, PROC_PARK, 1);
	parked = fixture_wait_parked(&f, 1);
	fd = client_connect(&f);
	client_call_u32(fd, 2, PROC_BLOCK, 2);
	client_call_u32(fd, 3, PROC_STUCK, 3);
	fixture_wait_entered(&f, 2);
	fixture_wait_entered(&f, 3);
	assert_int_equal(pthread_create(&t, NULL, stop_server, &f), 0);
	assert_true(client_closed(idle));
	assert_true(client_closed(with_parked));
	fixture_open_gate(&f, 2);
	expect_key(fd, 2, 2);
	fixture_open_gate(&f, 3);
	expect_key(fd, 3, 3);
	assert_true(client_closed(fd));
	pthread_join(t, NULL);
	rpc_call_resume(parked); /* too late, and harmless */
	assert_int_equal(f.done, 3);
	close(fd);
	close(idle);
	close(with_parked);
	fixture_stop(&f);
	assert_int_equal(f.done, 4);
	assert_int_equal(f.closed, 3);
}

static void stop_under_load(void **state)
{
	for (int round = 0; round < 5; round++) {
		struct fixture f;
		int fds[8];

		fixture_start(&f, 2, NULL);
		make_file(&f, 200000);
		for (int i = 0; i < 8; i++) {
			struct bytes out = { 0 };

			fds[i] = client_connect(&f);
			for (uint32_t k = 0; k < 20; k++) {
				struct bytes r = { 0 };

				if (k % 4 == 0) {
					put_read(&r, k, 0, 200000);
				} else {
					put_call(&r, k, k % 4 == 1 ? PROC_SELF : PROC_PARK);
					put_u32(&r, (uint32_t)i * 20 + k);
				}
				put_record(&out, &r);
				bytes_free(&r);
			}
			client_send(fds[i], &out);
			bytes_free(&out);
		}
		rpc_server_stop(f.server, (unsigned)round % 2);
		for (int i = 0; i < 8; i++)
			close(fds[i]);
		fixture_stop(&f);
	}
}

static void never_started(void **state)
{
	struct rpc_limits l;
	struct rpc_server *s;

	rpc_limits_default(&l);
	assert_int_equal(rpc_server_new(&l, 3, &s), 0);
	rpc_server_stop(s, 1);
	rpc_server_free(s);
	l.max_record = SIZE_MAX;
	assert_int_equal(rpc_server_new(&l, 3, &s), -EINVAL);
}

static void listening_errors(void **state)
{
	struct fixture f;
	struct rpc_limits l;
	struct rpc_server *s;
	struct sockaddr_storage bound;
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 addr6 = { .sin6_family = AF_INET6 };

	fixture_start(&f, 1, NULL);
	rpc_limits_default(&l);
	assert_int_equal(rpc_server_new(&l, 1, &s), 0);
	addr.sin_port = htons(f.port);
	assert_int_equal(rpc_server_listen(s, (struct sockaddr *)&addr, sizeof(addr), &bound),
			 -EADDRINUSE);
	addr.sin_addr.s_addr = htonl(0x01020304);
	assert_int_equal(rpc_server_listen(s, (struct sockaddr *)&addr, sizeof(addr), &bound),
			 -EADDRNOTAVAIL);
	/* The same port on IPv6 is another one: without the IPv4 range. */
	addr6.sin6_port = htons(f.port);
	int err = rpc_server_listen(s, (struct sockaddr *)&addr6, sizeof(addr6), &bound);
	assert_true(err == 0 || err == -EAFNOSUPPORT);
	rpc_server_free(s);
	fixture_stop(&f);
}

static enum rpc_verdict just_reply(struct rpc_call *call, void *ctx)
{
	return RPC_REPLY;
}

static void ipv6(void **state)
{
	struct rpc_program p = { .number = TEST_PROGRAM,
				 .min_version = TEST_VERS_LO,
				 .max_version = TEST_VERS_LO,
				 .handle = just_reply };
	struct sockaddr_in6 addr = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	struct sockaddr_in addr4 = { .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage bound;
	struct rpc_limits l;
	struct rpc_server *s;
	int fd, err;

	rpc_limits_default(&l);
	assert_int_equal(rpc_server_new(&l, 1, &s), 0);
	assert_int_equal(rpc_server_add_program(s, &p), 0);
	err = rpc_server_listen(s, (struct sockaddr *)&addr, sizeof(addr), &bound);
	if (err) {
		rpc_server_free(s);
		skip();
	}
	assert_int_equal(rpc_server_start(s), 0);
	assert_int_equal(rpc_server_add_program(s, &p), -EBUSY);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&bound, sizeof(addr)), 0);
	expect_null(fd, 1);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	addr4.sin_port = ((struct sockaddr_in6 *)&bound)->sin6_port;
	assert_int_not_equal(connect(fd, (struct sockaddr *)&addr4, sizeof(addr4)), 0);
	close(fd);
	rpc_server_stop(s, 5);
	rpc_server_free(s);
}

/* ---- an address that goes elsewhere ---- */

static _Atomic unsigned opened, ended;

static void count_conn(struct rpc_conn *conn, bool open, void *ctx)
{
	assert_true(rpc_conn_is_open(conn) == open);
	atomic_fetch_add(open ? &opened : &ended, 1);
}

static void frozen_address(void **state)
{
	struct sockaddr_in here = { .sin_family = AF_INET };
	const struct sockaddr *local = (struct sockaddr *)&here;
	struct fixture f;
	uint8_t c;
	int before, during, after;

	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fixture_start(&f, 2, NULL);
	before = client_connect(&f);
	client_call_u32(before, 1, PROC_BLOCK, 7);
	fixture_wait_entered(&f, 7);
	assert_int_equal(rpc_server_freeze(f.server, local), 1);
	/* Neither this one nor a new connection is heard any more; what runs ends as ever. */
	client_call_u32(before, 2, PROC_BLOCK, 8);
	during = client_connect(&f);
	client_call_u32(during, 3, PROC_BLOCK, 9);
	assert_int_equal(rpc_server_freeze(f.server, local), 1);
	fixture_open_gate(&f, 7);
	expect_key(before, 1, 7);
	while (rpc_server_freeze(f.server, local)) {
		/* The thread that has sent the reply is not back yet. */
	}
	assert_false(f.entered[8] || f.entered[9]);
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	assert_int_equal(rpc_server_freeze(f.server, local), 0);
	rpc_server_reset(f.server, local);
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rpc_server_reset(f.server, local);
	/* A reset, not an end. */
	assert_int_equal(recv(before, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	assert_int_equal(recv(during, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	after = client_connect(&f);
	fixture_open_gate(&f, 10);
	client_call_u32(after, 4, PROC_BLOCK, 10);
	expect_key(after, 4, 10);
	assert_false(f.entered[8] || f.entered[9]);
	close(before);
	close(during);
	close(after);
	fixture_stop(&f);
}

static void told_of_connections(void **state)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct sockaddr_storage bound;
	struct rpc_limits limits;
	struct rpc_server *s;
	int fds[8];
	char c;

	opened = ended = 0;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	rpc_limits_default(&limits);
	assert_int_equal(rpc_server_new(&limits, 2, &s), 0);
	rpc_server_on_conn(s, count_conn, NULL);
	assert_int_equal(rpc_server_listen(s, (struct sockaddr *)&addr, sizeof(addr), &bound), 0);
	assert_int_equal(rpc_server_start(s), 0);
	for (unsigned i = 0; i < 8; i++) {
		fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&bound, sizeof(addr)), 0);
	}
	/* Whoever is refused an answer has been noticed. */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(send(fds[i], "\x80\0\0\4abcd", 8, 0), 8);
		assert_true(recv(fds[i], &c, 1, 0) <= 0);
		close(fds[i]);
	}
	rpc_server_stop(s, 5);
	rpc_server_free(s);
	assert_int_equal(opened, ended);
	assert_true(opened >= 4 && opened <= 8);
	for (unsigned i = 4; i < 8; i++)
		close(fds[i]);
}

/* An argument is a pattern of tests to run alone. */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_at_every_byte),
		cmocka_unit_test(fragments_of_every_size),
		cmocka_unit_test(empty_fragments),
		cmocka_unit_test(very_many_tiny_fragments),
		cmocka_unit_test(records_of_all_sizes),
		cmocka_unit_test(pipelined_mixture),
		cmocka_unit_test(pipelined_in_one_write),
		cmocka_unit_test(oversized_record_closes),
		cmocka_unit_test(reply_over_the_limit_is_system_err),
		cmocka_unit_test(blocking_call_holds_up_nobody),
		cmocka_unit_test(calls_know_when_they_are_alone),
		cmocka_unit_test(stuck_call_is_overtaken),
		cmocka_unit_test(busy_call_is_overtaken),
		cmocka_unit_test(batch_around_a_blocking_call),
		cmocka_unit_test(later_is_when_all_that_has_come_was_run),
		cmocka_unit_test(later_does_not_wait_for_who_blocks),
		cmocka_unit_test(later_without_a_loop),
		cmocka_unit_test(threads_are_bounded),
		cmocka_unit_test(idle_spares_end),
		cmocka_unit_test(quiet_gives_buffers_back),
		cmocka_unit_test(parked_calls_come_back),
		cmocka_unit_test(parked_call_holds_no_thread_and_no_bytes),
		cmocka_unit_test(resume_after_the_connection_has_gone),
		cmocka_unit_test(replies_after_the_end_of_stream),
		cmocka_unit_test(extents_of_all_sizes),
		cmocka_unit_test(truncated_file_is_filled_with_zeros),
		cmocka_unit_test(many_extents_in_one_reply),
		cmocka_unit_test(slow_reader_gets_everything),
		cmocka_unit_test(extents_are_released_when_the_peer_goes),
		cmocka_unit_test(unreadable_extent_closes),
		cmocka_unit_test(cold_extent_gives_the_loop_away),
		cmocka_unit_test(connection_limit),
		cmocka_unit_test(calls_per_connection),
		cmocka_unit_test(memory_per_connection),
		cmocka_unit_test(memory_of_the_server),
		cmocka_unit_test(half_a_record_times_out),
		cmocka_unit_test(unread_replies_time_out),
		cmocka_unit_test(idle_connection_is_closed),
		cmocka_unit_test(descriptors_run_out),
		cmocka_unit_test(dropped_call_closes),
		cmocka_unit_test(calls_to_the_peer),
		cmocka_unit_test(connection_made),
		cmocka_unit_test(connection_not_made),
		cmocka_unit_test(connection_identity),
		cmocka_unit_test(storm),
		cmocka_unit_test(stop_lets_running_calls_reply),
		cmocka_unit_test(stop_under_load),
		cmocka_unit_test(never_started),
		cmocka_unit_test(listening_errors),
		cmocka_unit_test(ipv6),
		cmocka_unit_test(frozen_address),
		cmocka_unit_test(told_of_connections),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

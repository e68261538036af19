/*
 * Payloads that come by a pipe (rpc/payload.c): whatever becomes of them, every byte is in its place,
 * and no byte is seen by another call.
 */
#include "tests/unit/rpc_fixture.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MIB   (1u << 20)
#define LEAST 65536 /* bytes in the pipe of a call of 1 MiB, at least */

static uint8_t pattern(uint32_t xid, size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16) + xid * 101);
}

static void put_payload(struct bytes *record, uint32_t xid, enum payload_way way, uint32_t len)
{
	uint8_t *p = malloc(len + 1);

	assert_non_null(p);
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(xid, i);
	put_call(record, xid, PROC_PAYLOAD);
	put_u32(record, way);
	put_opaque(record, p, len);
	put_u32(record, xid ^ 0xabcd);
	free(p);
}

/* Returns how many bytes waited in a pipe. */
static uint32_t check_payload(struct bytes *reply, uint32_t xid, uint32_t len)
{
	uint32_t waited, word;

	assert_int_equal(take_success(reply), xid);
	waited = take_u32(reply);
	assert_int_equal(take_u32(reply), len);
	assert_int_equal(reply->len, len + (4 - len % 4) % 4 + 4);
	for (size_t i = 0; i < len; i++) {
		if (reply->p[i] != pattern(xid, i))
			fail_msg("call %u: byte %zu of %u differs", xid, i, len);
	}
	memcpy(&word, reply->p + reply->len - 4, 4);
	assert_int_equal(__builtin_bswap32(word), xid ^ 0xabcd);
	return waited;
}

/* The stream of such a call: record mark and record. */
static struct bytes stream_of(uint32_t xid, enum payload_way way, uint32_t len)
{
	struct bytes record = { 0 }, out = { 0 };

	put_payload(&record, xid, way, len);
	put_record(&out, &record);
	bytes_free(&record);
	return out;
}

static uint32_t exchange(int fd, uint32_t xid, enum payload_way way, uint32_t len)
{
	struct bytes record = { 0 }, reply = { 0 };
	uint32_t waited;

	put_payload(&record, xid, way, len);
	assert_true(client_exchange(fd, &record, &reply));
	waited = check_payload(&reply, xid, way == PAYLOAD_LEAVE || way == PAYLOAD_HALF ? 0 : len);
	bytes_free(&record);
	bytes_free(&reply);
	return waited;
}

static void send_part(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		p += n;
		len -= (size_t)n;
	}
}

/* ---- the cases ---- */

static void long_payloads_come_by_a_pipe(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < 8; i++) {
		enum payload_way way = i % 2 ? PAYLOAD_FILL : PAYLOAD_TAKE;

		assert_true(exchange(fd, 10 + i, way, MIB - i) >= LEAST);
	}
	assert_int_equal(fixture_stats(&f).payloads, 8);
	assert_int_equal(fixture_stats(&f).payloads_spilled, 0);
	/* Short ones do not. */
	assert_int_equal(exchange(fd, 1, PAYLOAD_TAKE, 4096), 0);
	assert_int_equal(exchange(fd, 2, PAYLOAD_TAKE, 65536), 0);
	assert_int_equal(fixture_stats(&f).payloads, 8);
	close(fd);
	fixture_stop(&f);
}

/* What a call has left in the pipe is not the next one's. */
static void what_is_left_is_gone(void **state)
{
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < 12; i++) {
		assert_true(exchange(fd, 3 * i, i % 2 ? PAYLOAD_LEAVE : PAYLOAD_HALF, MIB) >=
			    LEAST);
		assert_true(exchange(fd, 3 * i + 1, PAYLOAD_TAKE, MIB - 3) >= LEAST);
		assert_true(exchange(fd, 3 * i + 2, PAYLOAD_FILL, MIB - 1) >= LEAST);
	}
	close(fd);
	fixture_stop(&f);
}

/* A parked call keeps its payload while others on the connection come and go. */
static void parked_with_its_payload(void **state)
{
	struct bytes out, reply = { 0 };
	struct rpc_call *parked;
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	out = stream_of(99, PAYLOAD_PARK, MIB);
	client_send(fd, &out);
	parked = fixture_wait_parked(&f, 0);
	for (uint32_t i = 0; i < 4; i++)
		exchange(fd, i, PAYLOAD_TAKE, MIB);
	rpc_call_resume(parked);
	assert_true(client_recv(fd, &reply));
	assert_true(check_payload(&reply, 99, MIB) >= LEAST);
	bytes_free(&out);
	bytes_free(&reply);
	close(fd);
	fixture_stop(&f);
}

/* Many records in one stream, long and short in turn, cut anywhere; the seed is fixed. */
static void cut_anywhere(void **state)
{
	enum { CALLS = 48 };
	static const uint32_t sizes[] = { 5,	  MIB, 200000,	     98304 + 1023,
					  131072, 0,   98304 + 4096, 700001 };
	struct bytes stream = { 0 }, reply = { 0 };
	uint64_t random = 12345;
	bool answered[CALLS] = { false };
	struct fixture f;
	size_t at = 0;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < CALLS; i++) {
		struct bytes record = { 0 };

		put_payload(&record, i, i % 3 ? PAYLOAD_TAKE : PAYLOAD_FILL, sizes[i % 8]);
		put_record(&stream, &record);
		bytes_free(&record);
	}
	for (uint32_t i = 0; i < CALLS; i++) {
		/* The next reply's call is sent whole, with something of what follows. */
		size_t upto = i + 1 == CALLS ? stream.len : 0;

		for (uint32_t k = 0, p = 0; !upto && k <= i; k++) {
			uint32_t mark;

			memcpy(&mark, stream.p + p, 4);
			p += 4 + (__builtin_bswap32(mark) & 0x7fffffff);
			if (k == i)
				upto = p + random % 3000;
		}
		if (upto > stream.len)
			upto = stream.len;
		while (at < upto) {
			size_t n;

			random = random * 6364136223846793005u + 1442695040888963407u;
			n = (random >> 33) % (i % 2 ? 150000 : 3000) + 1;
			if (n > upto - at)
				n = upto - at;
			send_part(fd, stream.p + at, n);
			at += n;
		}
		/* A short one behind it overtakes it if the thread is held up. */
		while (!answered[i]) {
			uint32_t xid;

			reply.len = 0;
			assert_true(client_recv(fd, &reply));
			assert_true(reply.len >= 4);
			memcpy(&xid, reply.p, 4);
			xid = __builtin_bswap32(xid);
			assert_true(xid < CALLS && !answered[xid]);
			check_payload(&reply, xid, sizes[xid % 8]);
			answered[xid] = true;
		}
	}
	assert_true(fixture_stats(&f).payloads > 0);
	bytes_free(&stream);
	bytes_free(&reply);
	close(fd);
	fixture_stop(&f);
}

/* Fragments: a payload may begin in any of them but is looked for in the last one only. */
static void in_fragments(void **state)
{
	static const size_t cuts[] = { 1, 50, 1500, 40000, MIB / 2, MIB - 50000, MIB - 10 };
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	for (uint32_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct bytes record = { 0 }, out = { 0 }, reply = { 0 };

		put_payload(&record, i, PAYLOAD_TAKE, MIB);
		put_u32(&out, (uint32_t)cuts[i]);
		put_raw(&out, record.p, cuts[i]);
		put_u32(&out, 0x80000000u | (uint32_t)(record.len - cuts[i]));
		put_raw(&out, record.p + cuts[i], record.len - cuts[i]);
		send_part(fd, out.p, out.len);
		assert_true(client_recv(fd, &reply));
		check_payload(&reply, i, MIB);
		bytes_free(&record);
		bytes_free(&out);
		bytes_free(&reply);
	}
	close(fd);
	fixture_stop(&f);
}

/* Waits until the server has read everything that was sent so far. */
static void wait_read(struct fixture *f, uint64_t bytes)
{
	while (fixture_stats(f).bytes_in < bytes)
		usleep(100);
}

/*
 * Sends 40000 bytes and then up to `most` pieces of 200, each of which is read before the next is sent,
 * so that the kernel cannot join them; stops when the pipe has been too small. Returns the pieces.
 */
static unsigned send_pieces(struct fixture *f, int fd, const struct bytes *out, unsigned most)
{
	uint64_t before = fixture_stats(f).bytes_in, spilled = fixture_stats(f).payloads_spilled;
	size_t at = 40000;
	unsigned n = 0;

	send_part(fd, out->p, at);
	wait_read(f, before + at);
	while (n < most && fixture_stats(f).payloads_spilled == spilled) {
		assert_true(at + 200 < out->len);
		send_part(fd, out->p + at, 200);
		at += 200;
		n++;
		wait_read(f, before + at);
	}
	return n;
}

/*
 * The pipe holds fewer small pieces than the payload has: the record becomes an ordinary one, and its
 * connection goes without pipes for a while.
 */
static void too_many_pieces(void **state)
{
	struct bytes out, reply = { 0 };
	struct fixture f;
	size_t sent;
	int fd;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	out = stream_of(7, PAYLOAD_TAKE, MIB);
	sent = 40000 + 200 * (size_t)send_pieces(&f, fd, &out, UINT_MAX);
	send_part(fd, out.p + sent, out.len - sent);
	assert_true(client_recv(fd, &reply));
	assert_int_equal(check_payload(&reply, 7, MIB), 0);
	assert_int_equal(fixture_stats(&f).payloads_spilled, 1);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(exchange(fd, i, PAYLOAD_TAKE, MIB), 0);
	/* Another connection is not concerned. */
	close(fd);
	fd = client_connect(&f);
	assert_true(exchange(fd, 1, PAYLOAD_TAKE, MIB) >= LEAST);
	bytes_free(&out);
	bytes_free(&reply);
	close(fd);
	fixture_stop(&f);
}

/*
 * A thread gets stuck while payloads are in their pipes, and the watcher gives its loop to another one: that goes on
 * with them where the first has left off.
 */
static void loop_taken_in_payloads(void **state)
{
	enum { MANY = 4 };
	struct bytes out[MANY], reply = { 0 };
	uint64_t before;
	struct fixture f;
	int fds[MANY], other;

	fixture_start(&f, 1, NULL);
	other = client_connect(&f);
	before = fixture_stats(&f).bytes_in;
	for (uint32_t i = 0; i < MANY; i++) {
		fds[i] = client_connect(&f);
		out[i] = stream_of(i, PAYLOAD_TAKE, MIB);
		send_part(fds[i], out[i].p, 200000 + 100000 * i);
		before += 200000 + 100000 * i;
	}
	wait_read(&f, before);
	assert_int_equal(fixture_stats(&f).payloads, MANY);
	for (uint32_t key = 1; key < 3; key++) {
		client_call_u32(other, 100 + key, PROC_STUCK, key);
		fixture_wait_entered(&f, key);
		for (uint32_t i = key - 1; i < MANY; i += 2) {
			size_t sent = 200000 + 100000 * i;

			send_part(fds[i], out[i].p + sent, out[i].len - sent);
			reply.len = 0;
			assert_true(client_recv(fds[i], &reply));
			assert_true(check_payload(&reply, i, MIB) >= LEAST);
			bytes_free(&out[i]);
			close(fds[i]);
		}
	}
	assert_true(fixture_stats(&f).loops_stolen >= 2);
	for (uint32_t key = 1; key < 3; key++) {
		fixture_open_gate(&f, key);
		reply.len = 0;
		assert_true(client_recv(other, &reply));
		assert_int_equal(take_success(&reply), 100 + key);
	}
	bytes_free(&reply);
	close(other);
	fixture_stop(&f);
}

/* It gets stuck in the call that has the payload, before it takes it: others on the connection have their own. */
static void loop_taken_from_a_payload(void **state)
{
	struct bytes out, reply = { 0 };
	struct fixture f;
	int fd, other;

	fixture_start(&f, 1, NULL);
	fd = client_connect(&f);
	other = client_connect(&f);
	out = stream_of(99, PAYLOAD_STUCK, MIB);
	client_send(fd, &out);
	fixture_wait_entered(&f, 0);
	for (uint32_t i = 0; i < 4; i++) {
		assert_true(exchange(fd, i, i % 2 ? PAYLOAD_FILL : PAYLOAD_TAKE, MIB) >= LEAST);
		assert_true(exchange(other, i, i % 2 ? PAYLOAD_HALF : PAYLOAD_TAKE, MIB) >= LEAST);
	}
	assert_true(fixture_stats(&f).loops_stolen >= 1);
	fixture_open_gate(&f, 0);
	assert_true(client_recv(fd, &reply));
	assert_true(check_payload(&reply, 99, MIB) >= LEAST);
	assert_true(exchange(fd, 5, PAYLOAD_TAKE, MIB) >= LEAST);
	bytes_free(&out);
	bytes_free(&reply);
	close(fd);
	close(other);
	fixture_stop(&f);
}

static void tune_no_timeouts(struct rpc_limits *l)
{
	l->record_seconds = l->idle_seconds = 0;
}

/* The peer has sent all and says so, and the pipe is full to the last piece: the connection ends. */
static void end_of_stream_behind_a_full_pipe(void **state)
{
	struct bytes out;
	unsigned pieces, closed = 0;
	struct fixture f;
	int fd;

	fixture_start(&f, 1, tune_no_timeouts);
	out = stream_of(7, PAYLOAD_TAKE, MIB);
	fd = client_connect(&f);
	pieces = send_pieces(&f, fd, &out, UINT_MAX);
	close(fd);
	fixture_wait_closed(&f, ++closed);
	/* Now those that fit, or a little less: how the first bytes are cut is not the same every time. */
	for (unsigned less = 1; less < 6; less++) {
		fd = client_connect(&f);
		send_pieces(&f, fd, &out, pieces - less);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		fixture_wait_closed(&f, ++closed);
		close(fd);
	}
	bytes_free(&out);
	fixture_stop(&f);
}

/* A byte out of band is no part of the stream, and nothing that splice() passes. */
static void urgent_data_in_a_payload(void **state)
{
	struct bytes out, reply = { 0 };
	struct fixture f;
	uint64_t before;
	int fd;

	fixture_start(&f, 1, tune_no_timeouts);
	fd = client_connect(&f);
	out = stream_of(7, PAYLOAD_TAKE, MIB);
	before = fixture_stats(&f).bytes_in;
	send_part(fd, out.p, MIB / 2);
	wait_read(&f, before + MIB / 2);
	assert_int_equal(fixture_stats(&f).payloads, 1);
	assert_int_equal(send(fd, "!", 1, MSG_OOB), 1);
	send_part(fd, out.p + MIB / 2, out.len - MIB / 2);
	assert_true(client_recv(fd, &reply));
	check_payload(&reply, 7, MIB);
	bytes_free(&out);
	bytes_free(&reply);
	close(fd);
	fixture_stop(&f);
}

/* Clients die at any point of a payload; others get what is theirs. */
static void killed_in_a_payload(void **state)
{
	struct linger reset = { .l_onoff = 1 };
	struct bytes out;
	struct fixture f;
	unsigned killed = 0;
	int other;

	fixture_start(&f, 2, NULL);
	other = client_connect(&f);
	out = stream_of(13, PAYLOAD_FILL, MIB);
	for (size_t at = 900; at < out.len; at += 61234) {
		int fd = client_connect(&f);
		uint64_t before = fixture_stats(&f).bytes_in;

		send_part(fd, out.p, at);
		if (killed % 3)
			wait_read(&f, before + at);
		if (killed % 2)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
		assert_true(exchange(other, killed, PAYLOAD_TAKE, MIB) >= LEAST);
		fixture_wait_closed(&f, ++killed);
	}
	bytes_free(&out);
	close(other);
	fixture_stop(&f);
}

/* The peer has sent all and says so: it is answered, and then the connection ends. */
static void end_of_stream_behind_a_payload(void **state)
{
	struct bytes out, reply = { 0 };
	struct fixture f;
	int fd;

	fixture_start(&f, 1, NULL);
	for (unsigned half = 0; half < 2; half++) {
		fd = client_connect(&f);
		reply.len = 0;
		out = stream_of(half, PAYLOAD_TAKE, MIB);
		send_part(fd, out.p, half ? out.len / 2 : out.len);
		bytes_free(&out);
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		if (!half) {
			assert_true(client_recv(fd, &reply));
			assert_true(check_payload(&reply, half, MIB) >= LEAST);
		}
		assert_true(client_closed(fd));
		close(fd);
	}
	bytes_free(&reply);
	fixture_stop(&f);
}

/* The server stops while payloads are in its pipes: nothing is lost by it but what had not come. */
static void stopped_in_a_payload(void **state)
{
	struct bytes out;
	struct fixture f;
	uint64_t sent;
	int fds[4];

	fixture_start(&f, 2, NULL);
	out = stream_of(13, PAYLOAD_PARK, MIB);
	for (unsigned i = 0; i < 4; i++)
		fds[i] = client_connect(&f);
	for (unsigned i = 0; i < 3; i++)
		send_part(fds[i], out.p, out.len / 2);
	sent = 3 * (out.len / 2);
	send_part(fds[3], out.p, out.len);
	wait_read(&f, sent + out.len);
	fixture_wait_parked(&f, 0);
	fixture_stop(&f);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	bytes_free(&out);
}

static void tune_few_files(struct rpc_limits *l)
{
	l->max_connections = 64;
}

/* More payloads at a time than there are pipes for: the others are in memory. */
static void more_than_pipes(void **state)
{
	enum { MANY = 48 };
	struct bytes out;
	struct fixture f;
	uint64_t before;
	unsigned piped = 0;
	int fds[MANY];

	fixture_start(&f, 2, tune_few_files);
	out = stream_of(21, PAYLOAD_TAKE, MIB);
	before = fixture_stats(&f).bytes_in;
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = client_connect(&f);
		send_part(fds[i], out.p, 200000);
	}
	wait_read(&f, before + MANY * (uint64_t)200000);
	assert_in_range(fixture_stats(&f).payloads, 1, MANY - 1);
	for (unsigned i = 0; i < MANY; i++) {
		struct bytes reply = { 0 };

		send_part(fds[i], out.p + 200000, out.len - 200000);
		assert_true(client_recv(fds[i], &reply));
		piped += check_payload(&reply, 21, MIB) > 0;
		bytes_free(&reply);
		close(fds[i]);
	}
	assert_in_range(piped, 1, MANY - 1);
	bytes_free(&out);
	fixture_stop(&f);
}

static void tune_one_second(struct rpc_limits *l)
{
	l->max_connections = 64;
	l->record_seconds = 1;
	l->idle_seconds = 0;
}

/* Who begins payloads and sends no more keeps the pipes no longer than a record may take. */
static void stalled_with_all_pipes(void **state)
{
	enum { MANY = 20 };
	struct bytes out;
	struct fixture f;
	uint64_t before;
	int fds[MANY], other;

	fixture_start(&f, 2, tune_one_second);
	other = client_connect(&f);
	out = stream_of(21, PAYLOAD_TAKE, MIB);
	before = fixture_stats(&f).bytes_in;
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = client_connect(&f);
		send_part(fds[i], out.p, 200000);
	}
	wait_read(&f, before + MANY * (uint64_t)200000);
	exchange(other, 1, PAYLOAD_TAKE, MIB);
	fixture_wait_closed(&f, MANY);
	assert_true(exchange(other, 2, PAYLOAD_TAKE, MIB) >= LEAST);
	for (unsigned i = 0; i < MANY; i++)
		close(fds[i]);
	bytes_free(&out);
	close(other);
	fixture_stop(&f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(long_payloads_come_by_a_pipe),
		cmocka_unit_test(what_is_left_is_gone),
		cmocka_unit_test(parked_with_its_payload),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(in_fragments),
		cmocka_unit_test(too_many_pieces),
		cmocka_unit_test(loop_taken_in_payloads),
		cmocka_unit_test(loop_taken_from_a_payload),
		cmocka_unit_test(end_of_stream_behind_a_full_pipe),
		cmocka_unit_test(urgent_data_in_a_payload),
		cmocka_unit_test(killed_in_a_payload),
		cmocka_unit_test(end_of_stream_behind_a_payload),
		cmocka_unit_test(stopped_in_a_payload),
		cmocka_unit_test(more_than_pipes),
		cmocka_unit_test(stalled_with_all_pipes),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

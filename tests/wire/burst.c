/*
 * Many requests at a time: what a client gets must be its own, and come soon, whatever others do.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define FILES	   8u
#define FILE_BYTES (200u * 1024)

static struct fh files[FILES];

/* What a file holds at an offset: the same nowhere else within reach. */
static uint8_t byte_of(uint32_t file, uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + file * 31 + 1);
}

static void make_files(struct client *cl)
{
	struct fh dir = test_dir(cl);
	uint8_t *data = test_alloc(FILE_BYTES);

	for (uint32_t i = 0; i < FILES; i++) {
		char name[8];

		for (uint32_t at = 0; at < FILE_BYTES; at++)
			data[at] = byte_of(i, at);
		snprintf(name, sizeof(name), "f%u", i);
		files[i] = make_file(cl, &dir, name, data, FILE_BYTES);
	}
}

/* A READ that has been sent. */
struct asked {
	struct compound *q;
	uint32_t file, offset, len;
};

static void ask_read(struct client *cl, struct asked *a, uint32_t file, uint32_t offset,
		     uint32_t len)
{
	a->q = begin_at(cl, &files[file]);
	a->file = file;
	a->offset = offset;
	a->len = len;
	add_read(a->q, &SID_ANONYMOUS, offset, len);
	check(compound_send(a->q));
}

/* Takes a reply, which must be one of those, and be right to the last byte; returns which. */
static uint32_t take_read(struct client *cl, const struct asked *asked, uint32_t n)
{
	struct rpc_reply *rpc = rpc_must_recv(cl->conn);
	struct reply *r;
	uint32_t i = 0;

	while (i < n && (!asked[i].q || asked[i].q->xid != rpc->xid))
		i++;
	check(i < n);
	r = compound_parse(asked[i].q, rpc);
	compound_done(asked[i].q, r);
	expect(r, NFS4_OK);
	check_num(last(r)->len, asked[i].len);
	for (uint32_t k = 0; k < asked[i].len; k++)
		check(((const uint8_t *)last(r)->data)[k] ==
		      byte_of(asked[i].file, asked[i].offset + k));
	return i;
}

/* ---- clients that are killed ---- */

/* The connection ends at once, whatever is on its way. */
static void kill_conn(struct conn *c)
{
	struct linger reset = { .l_onoff = 1 };

	check(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) == 0);
	conn_close(c);
}

/* Leaves requests behind: large and small ones being answered, and half of a WRITE. */
static void die_in_the_middle(const struct fh *target, uint32_t round)
{
	struct client *cl = client_bare(0);
	uint8_t *data = test_alloc(FILE_BYTES);
	struct asked asked[12];
	struct compound *q;
	const uint8_t *bytes;
	uint8_t mark[4];
	size_t len;

	for (uint32_t i = 0; i < 12; i++)
		ask_read(cl, &asked[i], (round + i) % FILES, 0, i % 3 ? FILE_BYTES : 3000);
	memset(data, 0xee, FILE_BYTES);
	q = begin_at(cl, target);
	add_write(q, &SID_ANONYMOUS, 0, UNSTABLE4, data, FILE_BYTES);
	bytes = compound_bytes(q, &len);
	mark[0] = 0x80 | (uint8_t)(len >> 24);
	mark[1] = (uint8_t)(len >> 16);
	mark[2] = (uint8_t)(len >> 8);
	mark[3] = (uint8_t)len;
	check(conn_send_raw(cl->conn, mark, sizeof(mark)));
	check(conn_send_raw(cl->conn, bytes, len / 2));
	/* Some die while their replies arrive, some before. */
	if (round % 2)
		conn_readable(cl->conn, 10);
	kill_conn(cl->conn);
}

/*
 * Clients die with requests in flight, others come and ask for other things: every reply is to the
 * request that it says, and holds that file's bytes; and of the half WRITE nothing was done.
 */
static void killed_clients_leave_nothing_behind(void **state)
{
	enum { ROUNDS = 40, LATER = 2, REQUESTS = 8 };
	struct client *first = client_new(1);
	struct fh dir = test_dir(first), target;

	make_files(first);
	target = make_file(first, &dir, "target", "as it was", 9);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct asked asked[LATER][REQUESTS];
		struct client *later[LATER];

		die_in_the_middle(&target, round);
		die_in_the_middle(&target, round + 1);
		for (uint32_t i = 0; i < LATER; i++) {
			later[i] = client_bare(0);
			for (uint32_t k = 0; k < REQUESTS; k++)
				ask_read(later[i], &asked[i][k], (round + i + k) % FILES, 1000 * k,
					 k % 2 ? 100000 : 2500);
		}
		for (uint32_t k = 0; k < REQUESTS; k++) {
			for (uint32_t i = 0; i < LATER; i++)
				asked[i][take_read(later[i], asked[i], REQUESTS)].q = NULL;
		}
		for (uint32_t i = 0; i < LATER; i++)
			conn_close(later[i]->conn);
	}
	check_num(getattr_num(first, &target, FATTR4_SIZE), 9);
}

/* ---- clients that want much ---- */

/* A client keeps many large READs in flight; those of others are answered in between. */
static void nobody_starves(void **state)
{
	enum { FLOOD = 32, OTHERS = 4, TIMES = 15, MOST = 10 * FLOOD };
	struct client *flood = client_bare(0), *others[OTHERS];
	struct asked asked[FLOOD];
	struct client *first = client_new(1);

	make_files(first);
	for (uint32_t i = 0; i < OTHERS; i++)
		others[i] = client_bare(0);
	for (uint32_t i = 0; i < FLOOD; i++)
		ask_read(flood, &asked[i], i % FILES, 0, 65536);
	for (uint32_t n = 0; n < TIMES * OTHERS; n++) {
		const void *mark = test_mark();
		struct client *cl = others[n % OTHERS];
		struct compound *q = begin_at(cl, &files[n % FILES]);
		struct rpc_reply *rpc;
		struct reply *r;
		uint32_t before = 0;

		add_getattr(q, bm_of(FATTR4_SIZE, -1));
		check(compound_send(q));
		while (!conn_readable(cl->conn, 0)) {
			uint32_t i = take_read(flood, asked, FLOOD);

			ask_read(flood, &asked[i], (i + n) % FILES, 0, 65536);
			check(++before < MOST);
		}
		rpc = rpc_must_recv(cl->conn);
		check_num(rpc->xid, q->xid);
		r = compound_parse(q, rpc);
		compound_done(q, r);
		expect(r, NFS4_OK);
		check_num(last(r)->attrs->a[FATTR4_SIZE].num, FILE_BYTES);
		/* What is in flight was allocated before and after the mark. */
		if (before == 0)
			test_release(mark);
	}
	for (uint32_t i = 0; i < FLOOD; i++)
		asked[take_read(flood, asked, FLOOD)].q = NULL;
}

/* Clients that do not read what they have asked for are in nobody's way, and get it in the end. */
static void slow_readers_stop_nobody(void **state)
{
	enum { SLOW = 4, REQUESTS = 100, OTHERS = 4, TIMES = 50 };
	struct client *first = client_new(1), *slow[SLOW], *others[OTHERS];
	static struct asked asked[SLOW][REQUESTS];

	make_files(first);
	for (uint32_t i = 0; i < SLOW; i++) {
		slow[i] = client_bare(0);
		for (uint32_t k = 0; k < REQUESTS; k++)
			ask_read(slow[i], &asked[i][k], (i + k) % FILES, 0, FILE_BYTES);
	}
	for (uint32_t i = 0; i < OTHERS; i++)
		others[i] = client_bare(0);
	for (uint32_t n = 0; n < TIMES * OTHERS; n++)
		check_num(getattr_num(others[n % OTHERS], &files[n % FILES], FATTR4_SIZE),
			  FILE_BYTES);
	for (uint32_t k = 0; k < REQUESTS; k++) {
		for (uint32_t i = 0; i < SLOW; i++) {
			const void *mark = test_mark();

			asked[i][take_read(slow[i], asked[i], REQUESTS)].q = NULL;
			test_release(mark);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_TEST(killed_clients_leave_nothing_behind),
		WIRE_TEST(nobody_starves),
		WIRE_TEST(slow_readers_stop_nobody),
	};

	return wire_main("burst", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

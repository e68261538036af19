/*
 * WRITEs whose data come by a pipe (rpc/payload.c) at a node that loses the quorum, for tests/cluster/faults.
 * ATOLL_WIRE_SERVER and ATOLL_WIRE_DIR say where (tests/wire/daemon.h), ATOLL_PAYLOAD is a path; the script and this
 * program tell each other by files how far they are:
 *
 *	PATH.ready	files are open and have been written
 *	PATH.cut	the node has no quorum: the same files are written by other data
 *	PATH.delayed	that has been put off, and the connections are in step
 *	PATH.joined	the node serves again: the data are sent once more
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define MIB	       (1u << 20)
#define CLIENTS	       3  /* one of each minor version */
#define ANSWER_SECONDS 60 /* what waits for the quorum is put off after 20 */
#define SCRIPT_SECONDS 60

struct writer {
	struct client *cl;
	struct open_file f;
	char name[32];
};

static const char *file_of(const char *step)
{
	static char path[300];

	snprintf(path, sizeof(path), "%s.%s", getenv("ATOLL_PAYLOAD"), step);
	return path;
}

static void tell(const char *step)
{
	int fd = open(file_of(step), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	check(fd >= 0);
	close(fd);
}

static void rest(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 50 * 1000 * 1000 }, NULL);
}

static void wait_for(const char *step)
{
	for (unsigned i = 0; access(file_of(step), F_OK) != 0; i++) {
		if (i > SCRIPT_SECONDS * 20)
			fail_with("%s does not come", file_of(step));
		rest();
	}
}

static uint8_t byte_of(uint32_t seed, uint32_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + (at >> 16) + seed * 31 + 1);
}

static struct compound *write_of(struct writer *w, uint32_t seed)
{
	struct compound *q = begin_at(w->cl, &w->f.fh);
	uint8_t *p = test_alloc(MIB);

	for (uint32_t i = 0; i < MIB; i++)
		p[i] = byte_of(seed, i);
	add_write(q, &w->f.sid, 0, UNSTABLE4, p, MIB);
	return q;
}

/* On the file system that all nodes share. */
static void check_disk(const struct writer *w, uint32_t seed)
{
	static uint8_t bytes[MIB + 1];
	char path[400];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", wire_server_dir(), w->name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd >= 0);
	n = pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	check_num(n, MIB);
	for (uint32_t i = 0; i < MIB; i++) {
		if (bytes[i] != byte_of(seed, i))
			fail_with("%s: byte %u differs", w->name, i);
	}
}

static struct writer writer_of(uint32_t minor)
{
	struct writer w = { .cl = client_new(minor) };
	struct timeval tv = { .tv_sec = ANSWER_SECONDS };
	struct fh root = root_fh(w.cl);

	setsockopt(w.cl->conn->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	snprintf(w.name, sizeof(w.name), "payload-%u", minor);
	w.f = open_create(w.cl, owner_new(), &root, w.name, OPEN4_SHARE_ACCESS_BOTH, 0);
	expect(call(write_of(&w, minor)), NFS4_OK);
	check_disk(&w, minor);
	return w;
}

/* A call that no node is too weak for, on the same connection: it is answered before the WRITE is. */
static void expect_in_step(struct writer *w)
{
	struct rpc_reply *r;
	struct enc e;
	uint32_t xid;

	enc_init(&e, 256);
	xid = rpc_put_call(&e, w->cl->conn, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
	r = rpc_call(w->cl->conn, &e);
	check_num(r->xid, xid);
}

/* Until the node does it; requests that are put off leave their slot as it was. */
static struct reply *write_at_last(struct writer *w, uint32_t seed)
{
	for (unsigned i = 0; i < 100; i++) {
		struct compound *q = write_of(w, seed);
		struct reply *r;

		check(compound_send(q));
		r = compound_parse(q, rpc_must_recv(w->cl->conn));
		if (r->status != NFS4ERR_DELAY) {
			compound_done(q, r);
			return r;
		}
		rest();
	}
	fail_with("%s is put off for ever", w->name);
	return NULL;
}

static void in_a_lull(void **state)
{
	struct writer w[CLIENTS];
	struct compound *q[CLIENTS];

	for (uint32_t i = 0; i < CLIENTS; i++)
		w[i] = writer_of(i);
	tell("ready");
	wait_for("cut");
	/* All wait at the same time. */
	for (uint32_t i = 0; i < CLIENTS; i++) {
		q[i] = write_of(&w[i], 10 + i);
		check(compound_send(q[i]));
	}
	for (uint32_t i = 0; i < CLIENTS; i++)
		expect_in_step(&w[i]);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct rpc_reply *r = rpc_must_recv(w[i].cl->conn);

		expect_status(compound_parse(q[i], r)->status, NFS4ERR_DELAY);
		expect_in_step(&w[i]);
		check_disk(&w[i], i);
	}
	tell("delayed");
	wait_for("joined");
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct reply *r = write_at_last(&w[i], 10 + i);

		expect(r, NFS4_OK);
		check_num(last(r)->count, MIB);
		check_disk(&w[i], 10 + i);
		expect(call(write_of(&w[i], 20 + i)), NFS4_OK);
		check_disk(&w[i], 20 + i);
		close_file(w[i].cl, &w[i].f);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = { WIRE_TEST(in_a_lull) };

	return wire_main("payload", NULL, tests, 1);
}

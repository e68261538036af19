/*
 * WRITEs so long that their data come by a pipe (rpc/payload.c): whatever becomes of the request, the
 * file holds what was written and nothing else, and the next request on the connection is understood.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define MIB	  (1u << 20)
#define KIB	  1024u
#define FILE_MOST (64u * MIB) /* the server's RLIMIT_FSIZE */

static uint8_t byte_of(uint32_t seed, uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) * 13 + (at >> 16) + seed * 31 + 1);
}

static uint8_t *data_of(uint32_t seed, uint32_t len)
{
	uint8_t *p = test_alloc(len + 1);

	for (uint32_t i = 0; i < len; i++)
		p[i] = byte_of(seed, i);
	return p;
}

/*
 * Data of which every 44 bytes are the record of a call: were the rest of a payload taken for requests,
 * they would be answered.
 */
static uint8_t *calls_of(uint32_t len)
{
	static const uint32_t null_call[11] = { 0x80000028, 0xfeedface, 0, 2, 100003, 4 };
	uint8_t *p = test_alloc(len + 1);

	for (uint32_t i = 0; i < len; i++)
		p[i] = (uint8_t)(null_call[i / 4 % 11] >> (24 - 8 * (i % 4)));
	return p;
}

/* A client with an empty file open for reading and writing. */
struct scene {
	struct client *cl;
	struct fh dir;
	struct open_file f;
};

static struct scene *scene_of(uint32_t minor)
{
	struct scene *s = test_alloc(sizeof(*s));

	s->cl = client_new(minor);
	s->dir = test_dir(s->cl);
	s->f = open_create(s->cl, owner_new(), &s->dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	return s;
}

static struct compound *write_of(struct client *cl, const struct open_file *f, uint64_t off,
				 uint32_t stable, uint32_t seed, uint32_t len)
{
	struct compound *q = begin_at(cl, &f->fh);

	add_write(q, &f->sid, off, stable, data_of(seed, len), len);
	return q;
}

/* The file has these bytes at `off`; read in pieces of an odd length. */
static void check_bytes(struct client *cl, const struct open_file *f, uint64_t off,
			const uint8_t *bytes, uint32_t len)
{
	for (uint32_t at = 0; at < len;) {
		uint32_t want = len - at < 300007 ? len - at : 300007;
		struct compound *q = begin_at(cl, &f->fh);
		struct result *r;

		add_read(q, &f->sid, off + at, want);
		r = last(call(q));
		expect_status(r->status, NFS4_OK);
		check(r->len > 0 && r->len <= want);
		for (uint32_t i = 0; i < r->len; i++) {
			if (((const uint8_t *)r->data)[i] != bytes[at + i])
				fail_with("byte %u of %u differs", at + i, len);
		}
		at += r->len;
	}
}

static void check_file(struct client *cl, const struct open_file *f, uint64_t off, uint32_t seed,
		       uint32_t len)
{
	check_bytes(cl, f, off, data_of(seed, len), len);
}

static void write_whole(struct scene *s, uint64_t off, uint32_t stable, uint32_t seed, uint32_t len)
{
	struct compound *q = write_of(s->cl, &s->f, off, stable, seed, len);
	struct result *r;

	/* What the Linux client asks, too. */
	add_getattr(q, bm_of(FATTR4_SIZE, FATTR4_CHANGE, -1));
	r = call(q)->op;
	r = &r[q->nops - 2];
	expect_status(r->status, NFS4_OK);
	check_num(r->count, len);
	check_file(s->cl, &s->f, off, seed, len);
}

/* All lengths and offsets, one after the other on one connection. */
static void written_whole(void **state)
{
	static const uint32_t lens[] = { MIB,	MIB - 1, 131072, 99000, 98304,
					 65537, 700001,	 5,	 500000 };
	struct scene *s = scene_of(minor_of(state));
	static unsigned before; /* the first of these tests */

	if (!before && !wire_server_external())
		before = wire_server_descriptors();
	for (uint32_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		write_whole(s, 0, UNSTABLE4, i, lens[i]);
		write_whole(s, 4095 * i + 1, UNSTABLE4, i + 100, lens[i]);
		write_whole(s, 12345, i % 2 ? FILE_SYNC4 : DATA_SYNC4, i + 200, lens[i]);
	}
	/* The pipe that they came by is kept for the next: it shows that there was one. */
	if (!wire_server_external())
		check(wire_server_descriptors() >= before + 2);
}

/* Several that are sent together, each with a slot of its own. */
static void pipelined(void **state)
{
	enum { N = 6 };
	struct scene *s = scene_of(minor_of(state));
	struct compound *q[N];

	for (uint32_t i = 0; i < N; i++) {
		q[i] = begin_slot(s->cl, i);
		add_putfh(q[i], &s->f.fh);
		add_write(q[i], &s->f.sid, (uint64_t)i * MIB, UNSTABLE4, data_of(i, MIB), MIB);
		check(compound_send(q[i]));
	}
	for (uint32_t i = 0; i < N; i++) {
		struct rpc_reply *rpc = rpc_must_recv(s->cl->conn);
		struct reply *r;
		uint32_t k = 0;

		while (k < N && q[k]->xid != rpc->xid)
			k++;
		check(k < N);
		r = compound_parse(q[k], rpc);
		compound_done(q[k], r);
		expect(r, NFS4_OK);
		check_num(last(r)->count, MIB);
	}
	for (uint32_t i = 0; i < N; i++)
		check_file(s->cl, &s->f, (uint64_t)i * MIB, i, MIB);
}

static void refused(struct scene *s, struct compound *q, uint32_t a, uint32_t b)
{
	expect_one_of(call(q)->status, a, b);
	check_num(getattr_num(s->cl, &s->f.fh, FATTR4_SIZE), MIB);
	check_file(s->cl, &s->f, 0, 1, MIB);
}

/* What fails, before the WRITE or in it, changes nothing, and the next one is right. */
static void errors(void **state)
{
	struct scene *s = scene_of(minor_of(state));
	struct open_file other = s->f, reader;
	struct compound *q;

	write_whole(s, 0, UNSTABLE4, 1, MIB);
	for (uint32_t round = 0; round < 3; round++) {
		other = s->f;
		other.fh.data[other.fh.len - 1] ^= 1;
		refused(s, write_of(s->cl, &other, 0, UNSTABLE4, 2, MIB), NFS4ERR_BADHANDLE,
			NFS4ERR_STALE);
		other = s->f;
		other.fh = s->dir;
		refused(s, write_of(s->cl, &other, 0, UNSTABLE4, 3, MIB), NFS4ERR_ISDIR,
			NFS4ERR_BAD_STATEID);
		other = s->f;
		other.sid.other[5] ^= 0x55;
		refused(s, write_of(s->cl, &other, 0, UNSTABLE4, 4, MIB), NFS4ERR_BAD_STATEID,
			NFS4ERR_STALE_STATEID);
		refused(s, write_of(s->cl, &s->f, UINT64_MAX - 4, UNSTABLE4, 5, MIB), NFS4ERR_FBIG,
			NFS4ERR_INVAL);
		expect_status(open_status(s->cl, owner_new(), &s->dir, "f", OPEN4_SHARE_ACCESS_READ,
					  0, &reader),
			      NFS4_OK);
		refused(s, write_of(s->cl, &reader, 0, UNSTABLE4, 6, MIB), NFS4ERR_OPENMODE,
			NFS4ERR_OPENMODE);
		close_file(s->cl, &reader);
		/* An operation behind the WRITE fails: the WRITE has been done. */
		q = write_of(s->cl, &s->f, 2 * MIB, UNSTABLE4, 7 + round, MIB);
		add_lookup(q, "no-directory");
		expect_one_of(call(q)->status, NFS4ERR_NOTDIR, NFS4ERR_SYMLINK);
		check_file(s->cl, &s->f, 2 * MIB, 7 + round, MIB);
		q = begin_at(s->cl, &s->f.fh);
		{
			struct attrs a = { 0 };

			at_num(&a, FATTR4_SIZE, MIB);
			add_setattr(q, &s->f.sid, &a);
		}
		expect(call(q), NFS4_OK);
		write_whole(s, 0, UNSTABLE4, 1, MIB);
	}
}

/* Two WRITEs in one request; only the first can come by a pipe. */
static void two_in_one(void **state)
{
	struct scene *s = scene_of(minor_of(state));
	struct compound *q = write_of(s->cl, &s->f, 0, UNSTABLE4, 1, MIB / 2);

	add_write(q, &s->f.sid, MIB / 2, UNSTABLE4, data_of(2, MIB / 4), MIB / 4);
	expect(call(q), NFS4_OK);
	check_file(s->cl, &s->f, 0, 1, MIB / 2);
	check_file(s->cl, &s->f, MIB / 2, 2, MIB / 4);
}

/* A retry is answered from memory and not written again: with sessions, by slot and sequence id. */
static void retried(void **state)
{
	struct scene *s = scene_of(minor_of(state));
	struct compound *q;
	struct rpc_reply *first, *again;
	struct conn *later;

	s->cl->cache_this = true;
	q = write_of(s->cl, &s->f, 0, UNSTABLE4, 1, MIB);
	check(compound_send(q));
	first = rpc_must_recv(s->cl->conn);
	expect(compound_parse(q, first), NFS4_OK);
	for (uint32_t i = 0; i < 3; i++) {
		check(compound_send(q));
		again = rpc_must_recv(s->cl->conn);
		check_num(again->xid, first->xid);
		check_num(again->body_len, first->body_len);
		check(memcmp(again->body, first->body, first->body_len) == 0);
	}
	/* By another connection, after the first has died. */
	later = conn_new();
	conn_close(s->cl->conn);
	s->cl->conn = q->conn = later;
	check(compound_send(q));
	again = rpc_must_recv(later);
	check(memcmp(again->body, first->body, first->body_len) == 0);
	compound_done(q, compound_parse(q, again));
	check_file(s->cl, &s->f, 0, 1, MIB);
	write_whole(s, 77, UNSTABLE4, 2, MIB);
}

/*
 * Minor version 0: a request with something that must not be done twice behind the WRITE is known
 * again by its bytes, all of them.
 */
static void retried_by_bytes(void **state)
{
	struct scene *s = scene_of(0);
	struct compound *q = write_of(s->cl, &s->f, 0, UNSTABLE4, 1, MIB);
	struct rpc_reply *first, *again;
	struct attrs a = { 0 };

	at_num(&a, FATTR4_MODE, 0600);
	add_setattr(q, &s->f.sid, &a);
	check(compound_send(q));
	first = rpc_must_recv(s->cl->conn);
	expect(compound_parse(q, first), NFS4_OK);
	check_file(s->cl, &s->f, 0, 1, MIB);
	{
		struct compound *other = begin_at(s->cl, &s->f.fh);
		struct attrs b = { 0 };

		at_num(&b, FATTR4_MODE, 0640);
		add_setattr(other, &s->f.sid, &b);
		expect(call(other), NFS4_OK);
	}
	check(compound_send(q));
	again = rpc_must_recv(s->cl->conn);
	check_num(again->body_len, first->body_len);
	check(memcmp(again->body, first->body, first->body_len) == 0);
	/* The SETATTR was not done again. */
	check_num(getattr_num(s->cl, &s->f.fh, FATTR4_MODE), 0640);
}

/*
 * A WRITE of calls_of(MIB), and right behind its last byte the next request, which must be understood whatever has
 * become of the WRITE. The WRITE's result; what it says to have written is right, and is where the file ends if
 * it was to grow.
 */
static struct result *write_and_go_on(struct scene *s, uint64_t off)
{
	struct compound *q[2] = { begin_at(s->cl, &s->f.fh),
				  s->cl->minor ? begin_slot(s->cl, 1) : begin(s->cl) };
	struct reply *r[2] = { NULL, NULL };

	add_write(q[0], &s->f.sid, off, UNSTABLE4, calls_of(MIB), MIB);
	add_putfh(q[1], &s->f.fh);
	add_getattr(q[1], bm_of(FATTR4_TYPE, -1));
	check(compound_send(q[0]) && compound_send(q[1]));
	for (unsigned i = 0; i < 2; i++) {
		struct rpc_reply *rpc = rpc_must_recv(s->cl->conn);
		unsigned k = rpc->xid == q[1]->xid;

		check_num(rpc->xid, q[k]->xid);
		check(!r[k]);
		r[k] = compound_parse(q[k], rpc);
		compound_done(q[k], r[k]);
	}
	expect(r[1], NFS4_OK);
	if (r[0]->status == NFS4_OK) {
		check(last(r[0])->count > 0 && last(r[0])->count <= MIB);
		check_bytes(s->cl, &s->f, off, calls_of(MIB), last(r[0])->count);
		check_num(getattr_num(s->cl, &s->f.fh, FATTR4_SIZE), off + last(r[0])->count);
	}
	return last(r[0]);
}

/* No file may be longer: a short count up to there, and then an error. */
static void file_too_long(void **state)
{
	struct scene *s = scene_of(minor_of(state));
	static const uint32_t rooms[] = { 400 * KIB + 1, 1, MIB - 1, 65536 };

	wire_need_disk();
	if (wire_server_external())
		skip();
	for (unsigned i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		struct attrs a = { 0 };
		struct compound *q = begin_at(s->cl, &s->f.fh);
		struct result *r = write_and_go_on(s, FILE_MOST - rooms[i]);

		expect_status(r->status, NFS4_OK);
		check_num(r->count, rooms[i]);
		/* What of the payload was not written is nobody's. */
		write_whole(s, 12345, UNSTABLE4, 50 + i, MIB);
		for (unsigned k = 0; k < 3; k++) {
			r = write_and_go_on(s, FILE_MOST);
			expect_status(r->status, NFS4ERR_FBIG);
			write_whole(s, k, UNSTABLE4, 60 + k, MIB);
		}
		check_num(getattr_num(s->cl, &s->f.fh, FATTR4_SIZE), FILE_MOST);
		at_num(&a, FATTR4_SIZE, 0);
		q = begin_at(s->cl, &s->f.fh);
		add_setattr(q, &s->f.sid, &a);
		expect(call(q), NFS4_OK);
		write_whole(s, i, UNSTABLE4, i, MIB);
	}
}

/* A shell command; $AT is where it works. */
static bool run(const char *command)
{
	return system(command) == 0;
}

/* A quota in the middle of a payload: of a btrfs group, which a file system of every kernel has. */
static void over_quota(void **state)
{
	struct scene *s = scene_of(minor_of(state)), elsewhere = *s;
	struct fh root = root_fh(s->cl), dir;
	char at[300];
	uint64_t off = 0;
	bool full = false;

	wire_need_disk();
	if (wire_server_external())
		skip();
	snprintf(at, sizeof(at), "%s/quota", wire_server_dir());
	check(setenv("AT", at, 1) == 0);
	if (!run("exec >/dev/null 2>&1; truncate -s 256M $AT.img && mkfs.btrfs -q $AT.img") ||
	    !run("exec >/dev/null 2>&1; mkdir $AT && mount -o loop $AT.img $AT")) {
		print_message("skipped: no btrfs on a loop device here\n");
		run("rm -rf $AT.img $AT");
		skip();
	}
	check(run(
	    "chmod 777 $AT && btrfs quota enable $AT && btrfs qgroup limit 2500K $AT >/dev/null"));
	expect_status(lookup(s->cl, &root, "quota", &dir), NFS4_OK);
	s->f = open_create(s->cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	/* Each is written or cut short, up to the first of which nothing is. */
	for (unsigned i = 0; i < 8 && !full; i++) {
		struct result *r = write_and_go_on(s, off);

		full = r->status != NFS4_OK;
		if (full)
			expect_status(r->status, NFS4ERR_DQUOT);
		else
			off += r->count;
		/* What of the payload was not written is nobody's. */
		write_whole(&elsewhere, i, UNSTABLE4, i, MIB);
	}
	check(full);
	check(off >= MIB && off < 2500 * KIB);
	check_num(getattr_num(s->cl, &s->f.fh, FATTR4_SIZE), off);
	check(run("btrfs qgroup limit none $AT >/dev/null"));
	write_whole(s, off, UNSTABLE4, 3, MIB);
	close_file(s->cl, &s->f);
	check(run("umount -l $AT && rm -r $AT.img $AT"));
}

/* Fewer bytes are free than the request has: what was written is said, and is right. */
static void disk_full(void **state)
{
	struct scene *s = scene_of(minor_of(state));
	struct statvfs fs;
	struct result *r;
	char path[512];
	int fd;

	wire_need_disk();
	snprintf(path, sizeof(path), "%s/filler", wire_server_dir());
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	check(fd >= 0);
	check(statvfs(wire_server_dir(), &fs) == 0);
	check(fallocate(fd, 0, 0, (off_t)(fs.f_bfree * fs.f_bsize) - 400 * 1024) == 0);
	r = write_and_go_on(s, 0);
	expect_status(r->status, NFS4_OK);
	check(r->count >= 128 * KIB && r->count <= 400 * KIB);
	/* What there is may be written over, and by nothing that was left of the first. */
	write_whole(s, 0, UNSTABLE4, 1, 128 * KIB);
	for (unsigned i = 0; i < 3; i++) {
		/* Nothing at all. */
		r = write_and_go_on(s, MIB);
		expect_status(r->status, NFS4ERR_NOSPC);
		write_whole(s, 0, UNSTABLE4, 2 + i, 128 * KIB);
	}
	close(fd);
	check(unlink(path) == 0);
	write_whole(s, 0, UNSTABLE4, 3, MIB);
}

/* A delegation is in the way: the WRITE is put off, comes again and is done. */
static void waits_for_a_delegation(void **state)
{
	uint32_t minor = minor_of(state);
	struct client *holder = client_new_back(minor, &(struct conn *){ NULL });
	struct scene *s = scene_of(minor);
	struct open_file theirs;
	struct cb_call *cb;
	struct compound *q;

	if (wire_server_external())
		return;
	write_whole(s, 0, UNSTABLE4, 1, MIB);
	close_file(s->cl, &s->f);
	expect_status(open_status(holder, owner_new(), &s->dir, "f", OPEN4_SHARE_ACCESS_READ, 0,
				  &theirs),
		      NFS4_OK);
	if (theirs.result->delegation != OPEN_DELEGATE_READ)
		fail_with("no delegation");
	s->f.sid = SID_ANONYMOUS;
	expect_status(call(write_of(s->cl, &s->f, 0, UNSTABLE4, 2, MIB))->status, NFS4ERR_DELAY);
	check_file(s->cl, &s->f, 0, 1, MIB);
	cb = cb_recv(holder->conn);
	check_num(cb->op, OP_CB_RECALL);
	cb_answer(cb, NFS4_OK);
	q = begin_at(holder, &theirs.fh);
	add_delegreturn(q, &theirs.result->deleg_sid);
	expect(call(q), NFS4_OK);
	write_whole(s, 0, UNSTABLE4, 2, MIB);
}

/* The client dies in the middle of its payload: nothing of it is written, whoever comes next. */
static void killed(void **state)
{
	struct linger reset = { .l_onoff = 1 };
	struct scene *s = scene_of(minor_of(state));
	struct fh target = make_file(s->cl, &s->dir, "target", "as it was", 9);

	for (uint32_t i = 0; i < 20; i++) {
		struct client *dying = client_bare(0);
		struct compound *q = begin_at(dying, &target);
		const uint8_t *bytes;
		uint8_t mark[4];
		size_t len;

		add_write(q, &SID_ANONYMOUS, 0, UNSTABLE4, data_of(i, MIB), MIB);
		bytes = compound_bytes(q, &len);
		for (unsigned k = 0; k < 4; k++)
			mark[k] = (uint8_t)((0x80000000u | len) >> (24 - 8 * k));
		check(conn_send_raw(dying->conn, mark, 4));
		check(conn_send_raw(dying->conn, bytes, (size_t)(len - 1) * i / 19));
		if (i % 2)
			setsockopt(dying->conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		conn_close(dying->conn);
		write_whole(s, i, UNSTABLE4, i, MIB);
	}
	check_num(getattr_num(s->cl, &target, FATTR4_SIZE), 9);
}

/* The server stops while a payload is in its pipe, and in grace after a crash it says so. */
static void restarts(void **state)
{
	struct scene *s = scene_of(minor_of(state));
	struct client *half = client_bare(0), *late;
	struct open_file f = s->f;
	struct compound *q;
	const uint8_t *bytes;
	uint8_t mark[4];
	size_t len;

	wire_need_restart();
	f.sid = SID_ANONYMOUS;
	q = write_of(half, &f, 0, UNSTABLE4, 1, MIB);
	bytes = compound_bytes(q, &len);
	for (unsigned k = 0; k < 4; k++)
		mark[k] = (uint8_t)((0x80000000u | len) >> (24 - 8 * k));
	check(conn_send_raw(half->conn, mark, 4));
	check(conn_send_raw(half->conn, bytes, len / 2));
	wire_server_restart();
	check(conn_closed_by_server(half->conn));
	wire_server_kill();
	wire_server_start();
	late = client_bare(0);
	expect_status(call(write_of(late, &f, 0, UNSTABLE4, 2, MIB))->status, NFS4ERR_GRACE);
	expect_status(call(write_of(late, &f, 0, UNSTABLE4, 2, MIB))->status, NFS4ERR_GRACE);
	check_num(getattr_num(late, &f.fh, FATTR4_SIZE), 0);
}

/*
 * The server restarts in its process and hands the state over while a payload of a file's is in its pipe. Half of
 * it has not been written; the same request is done by the next instance.
 */
static void handed_over(void **state)
{
	uint32_t minor = minor_of(state);
	struct scene *s = scene_of(minor);
	struct open_file unlocked;
	struct client *other;
	struct compound *q;
	const uint8_t *bytes;
	uint8_t mark[4];
	size_t len;

	wire_need_restart();
	write_whole(s, 0, UNSTABLE4, 1, MIB);
	for (uint32_t round = 0; round < 3; round++) {
		q = write_of(s->cl, &s->f, 0, UNSTABLE4, 2 + round, MIB);
		bytes = compound_bytes(q, &len);
		for (unsigned k = 0; k < 4; k++)
			mark[k] = (uint8_t)((0x80000000u | len) >> (24 - 8 * k));
		check(conn_send_raw(s->cl->conn, mark, 4));
		check(conn_send_raw(s->cl->conn, bytes, len * (1 + round) / 4));
		wire_server_exec();
		check(conn_closed_by_server(s->cl->conn));
		other = client_new(minor);
		unlocked = s->f;
		unlocked.sid = SID_ANONYMOUS;
		check_file(other, &unlocked, 0, 1 + round, MIB);
		s->cl->conn = q->conn = conn_new();
		check(compound_send(q));
		{
			struct reply *r = compound_parse(q, rpc_must_recv(s->cl->conn));

			compound_done(q, r);
			expect(r, NFS4_OK);
			check_num(last(r)->count, MIB);
		}
		check_file(s->cl, &s->f, 0, 2 + round, MIB);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(written_whole), WIRE_SESSIONS(pipelined),
		WIRE_ALL_MINORS(errors),	WIRE_ALL_MINORS(two_in_one),
		WIRE_SESSIONS(retried),		WIRE_TEST(retried_by_bytes),
		WIRE_ALL_MINORS(disk_full),	WIRE_SESSIONS(waits_for_a_delegation),
		WIRE_ALL_MINORS(file_too_long), WIRE_ALL_MINORS(over_quota),
		WIRE_ALL_MINORS(killed),	WIRE_ALL_MINORS(handed_over),
		WIRE_MINOR(restarts, 1),
	};
	static const struct wire_options options = { .fsize = FILE_MOST };

	return wire_main("payload", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

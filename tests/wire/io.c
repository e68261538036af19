/*
 * READ, WRITE, COMMIT (RFC 7530 sections 16.23, 16.36, 16.3) and RFC 7862's operations on
 * files: ALLOCATE, DEALLOCATE, SEEK, COPY, CLONE, READ_PLUS, IO_ADVISE.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

/* A client with an empty file open for reading and writing. */
struct file {
	struct client *cl;
	struct fh dir;
	struct open_file f;
};

static struct file *open_new(uint32_t minor)
{
	struct file *f = test_alloc(sizeof(*f));

	f->cl = client_new(minor);
	f->dir = test_dir(f->cl);
	f->f = open_create(f->cl, owner_new(), &f->dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	return f;
}

static struct result *write_at(struct file *f, uint64_t off, uint32_t stable, const void *data,
			       uint32_t len)
{
	struct compound *q = begin_at(f->cl, &f->f.fh);

	add_write(q, &f->f.sid, off, stable, data, len);
	return last(call(q));
}

static struct result *read_at(struct file *f, uint64_t off, uint32_t len)
{
	struct compound *q = begin_at(f->cl, &f->f.fh);

	add_read(q, &f->f.sid, off, len);
	return last(call(q));
}

/* Written bytes come back; the answer says how much was written and how stable. */
static void write_and_read(void **state)
{
	struct file *f = open_new(minor_of(state));

	for (uint32_t stable = UNSTABLE4; stable <= FILE_SYNC4; stable++) {
		struct result *w = write_at(f, stable * 10, stable, "0123456789", 10), *r;

		expect_status(w->status, NFS4_OK);
		check_num(w->count, 10);
		check(w->committed >= stable && w->committed <= FILE_SYNC4);
		r = read_at(f, stable * 10, 10);
		expect_status(r->status, NFS4_OK);
		check_num(r->len, 10);
		check(memcmp(r->data, "0123456789", 10) == 0);
		check(r->eof);
	}
}

/* Every length around XDR's padding. */
static void odd_lengths(void **state)
{
	struct file *f = open_new(minor_of(state));
	uint8_t data[40];
	uint64_t off = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i + 1);
	for (uint32_t len = 1; len < sizeof(data); len++) {
		struct result *r;

		check_num(write_at(f, off, UNSTABLE4, data, len)->count, len);
		r = read_at(f, off, len);
		check_num(r->len, len);
		check(memcmp(r->data, data, len) == 0);
		off += len;
	}
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), off);
	/* The whole, in pieces that fall across the writes. */
	for (uint64_t at = 0; at < off; at += 7) {
		struct result *r = read_at(f, at, 7);

		check_num(r->len, off - at < 7 ? off - at : 7);
		check(r->eof == (at + 7 >= off));
	}
}

/* eof: at the last byte and behind it, not before. */
static void end_of_file(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct result *r = read_at(f, 0, 10);

	check(r->status == NFS4_OK && r->len == 0 && r->eof);
	write_at(f, 0, FILE_SYNC4, "0123456789", 10);
	r = read_at(f, 0, 9);
	check(r->len == 9 && !r->eof);
	r = read_at(f, 0, 10);
	check(r->len == 10 && r->eof);
	r = read_at(f, 0, 11);
	check(r->len == 10 && r->eof);
	r = read_at(f, 10, 1);
	check(r->status == NFS4_OK && r->len == 0 && r->eof);
	r = read_at(f, 1000, 1);
	check(r->status == NFS4_OK && r->len == 0 && r->eof);
	/* Nothing asked for: eof as the offset has it (section 16.23.4). */
	r = read_at(f, 0, 0);
	check(r->status == NFS4_OK && r->len == 0 && !r->eof);
	r = read_at(f, 10, 0);
	check(r->status == NFS4_OK && r->len == 0 && r->eof);
}

/* WRITE of nothing changes nothing (section 16.36.4). */
static void write_nothing(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct result *w;

	write_at(f, 0, FILE_SYNC4, "01234", 5);
	w = write_at(f, 100, FILE_SYNC4, "", 0);
	expect_status(w->status, NFS4_OK);
	check_num(w->count, 0);
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), 5);
}

/* Offsets near the end of what 64 bits can say. */
static void far_offsets(void **state)
{
	static const uint64_t offs[] = { 1ull << 62, (1ull << 63) - 1, 1ull << 63, UINT64_MAX - 4,
					 UINT64_MAX };
	struct file *f = open_new(minor_of(state));

	write_at(f, 0, FILE_SYNC4, "01234", 5);
	for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		struct result *r = read_at(f, offs[i], 100), *w;
		uint64_t max = getattr_num(f->cl, &f->f.fh, FATTR4_MAXFILESIZE);

		/* Behind the end of the file; some servers refuse (section 16.23.4). */
		expect_one_of(r->status, NFS4_OK, NFS4ERR_INVAL);
		if (r->status == NFS4_OK)
			check(r->len == 0 && r->eof);
		if (offs[i] < max)
			continue;
		w = write_at(f, offs[i], FILE_SYNC4, "x", 1);
		expect_one_of(w->status, NFS4ERR_FBIG, NFS4ERR_INVAL);
		w = write_at(f, offs[i], FILE_SYNC4, "0123456789", 10);
		expect_one_of(w->status, NFS4ERR_FBIG, NFS4ERR_INVAL);
	}
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), 5);
	/* COMMIT of a range beyond 64 bits (section 16.3.4). */
	{
		struct compound *q = begin_at(f->cl, &f->f.fh);

		add_commit(q, UINT64_MAX, 2);
		expect_one_of(call(q)->status, NFS4_OK, NFS4ERR_INVAL);
	}
}

/* Beyond 4 GiB, with a hole before. */
static void beyond_4_gib(void **state)
{
	struct file *f = open_new(minor_of(state));
	uint64_t off = (1ull << 32) + 12345;
	struct result *r;

	check_num(write_at(f, off, UNSTABLE4, "far away", 8)->count, 8);
	r = read_at(f, off - 4, 100);
	check_num(r->len, 12);
	check(memcmp(r->data, "\0\0\0\0far away", 12) == 0);
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), off + 8);
	check(getattr_num(f->cl, &f->f.fh, FATTR4_SPACE_USED) < 1 << 20);
}

/* As much as maxread and maxwrite say; of more, a part. */
static void large_payloads(void **state)
{
	struct file *f = open_new(minor_of(state));
	uint32_t max_read = (uint32_t)getattr_num(f->cl, &f->f.fh, FATTR4_MAXREAD);
	uint32_t max_write = (uint32_t)getattr_num(f->cl, &f->f.fh, FATTR4_MAXWRITE);
	uint32_t len = 1 << 20;
	uint8_t *data = test_alloc(len);
	struct result *w, *r;

	check(max_read >= len && max_write >= len);
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
	w = write_at(f, 1, UNSTABLE4, data, len);
	expect_status(w->status, NFS4_OK);
	check_num(w->count, len);
	r = read_at(f, 1, len);
	expect_status(r->status, NFS4_OK);
	check_num(r->len, len);
	check(r->eof && memcmp(r->data, data, len) == 0);
	/* More than anybody grants: less is returned, and no eof. */
	r = read_at(f, 0, 0xffffffff);
	expect_one_of(r->status, NFS4_OK, NFS4ERR_REP_TOO_BIG);
	if (r->status == NFS4_OK)
		check(r->len > 0 && r->eof == (r->len == len + 1));
}

/* Several READs and WRITEs in one compound. */
static void several_in_one(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct compound *q = begin_at(f->cl, &f->f.fh);
	struct reply *r;
	char data[3000];

	memset(data, 'q', sizeof(data));
	add_write(q, &f->f.sid, 0, UNSTABLE4, data, 3000);
	add_write(q, &f->f.sid, 3000, UNSTABLE4, data, 1);
	add_read(q, &f->f.sid, 0, 10);
	add_read(q, &f->f.sid, 2990, 100);
	add_write(q, &f->f.sid, 5, FILE_SYNC4, "XYZ", 3);
	add_read(q, &f->f.sid, 3, 7);
	add_getattr(q, bm_of(FATTR4_SIZE, -1));
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->attrs->a[FATTR4_SIZE].num, 3001);
	check_num(r->op[r->nops - 4].len, 11);
	check(memcmp(r->op[r->nops - 2].data, "qqXYZqq", 7) == 0);
}

/* ---- COMMIT and the write verifier ---- */

static void commit_verifier(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct result *w = write_at(f, 0, UNSTABLE4, "unstable", 8), *c;
	struct compound *q = begin_at(f->cl, &f->f.fh);

	add_commit(q, 0, 0);
	c = last(call(q));
	expect_status(c->status, NFS4_OK);
	check(memcmp(&w->verf, &c->verf, sizeof(c->verf)) == 0);
	q = begin_at(f->cl, &f->f.fh);
	add_commit(q, 4, 1000000);
	expect(call(q), NFS4_OK);
	/* Also by somebody who has nothing open. */
	{
		struct client *other = client_new(minor_of(state));

		q = begin_at(other, &f->f.fh);
		add_commit(q, 0, 0);
		c = last(call(q));
		expect_status(c->status, NFS4_OK);
		check(memcmp(&w->verf, &c->verf, sizeof(c->verf)) == 0);
	}
}

/* Another server instance has another verifier (section 16.36.4). */
static void verifier_after_restart(void **state)
{
	struct file *f = open_new(1);
	struct result *w = write_at(f, 0, UNSTABLE4, "unstable", 8), *c;
	struct client *cl;
	struct compound *q;

	wire_need_restart();
	wire_server_restart();
	cl = client_new(1);
	q = begin_at(cl, &f->f.fh);
	add_commit(q, 0, 0);
	c = last(call(q));
	expect_status(c->status, NFS4_OK);
	check(memcmp(&w->verf, &c->verf, sizeof(c->verf)) != 0);
}

/* A stable_how that does not exist. */
static void bad_stable_how(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct compound *q = begin_at(f->cl, &f->f.fh);
	struct rpc_reply *rpc;
	struct reply *r;
	size_t len;

	add_write(q, &f->f.sid, 0, 3, "x", 1);
	compound_bytes(q, &len);
	rpc = rpc_call(q->conn, &q->enc);
	if (rpc->outcome == RPC_GARBAGE_ARGS_R)
		return;
	r = compound_parse(q, rpc);
	expect_one_of(r->status, NFS4ERR_BADXDR, NFS4ERR_INVAL);
}

/* ---- stateids ---- */

/* The special ones, and how they stand to share reservations (RFC 7530 section 9.1.4.3). */
static void special_stateids(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct client *other = client_new(minor_of(state));
	struct open_file deny;
	struct compound *q;

	write_at(f, 0, FILE_SYNC4, "01234", 5);
	q = begin_at(other, &f->f.fh);
	add_read(q, &SID_ANONYMOUS, 0, 5);
	add_read(q, &SID_BYPASS, 0, 5);
	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "x", 1);
	add_write(q, &SID_BYPASS, 1, FILE_SYNC4, "y", 1);
	expect(call(q), NFS4_OK);
	/* Somebody denies reading and writing. */
	close_file(f->cl, &f->f);
	expect_status(open_status(f->cl, owner_new(), &f->dir, "f", OPEN4_SHARE_ACCESS_READ,
				  OPEN4_SHARE_DENY_BOTH, &deny),
		      NFS4_OK);
	q = begin_at(other, &f->f.fh);
	add_read(q, &SID_ANONYMOUS, 0, 5);
	expect(call(q), NFS4ERR_LOCKED);
	q = begin_at(other, &f->f.fh);
	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_LOCKED);
	/* All ones read past it, but for writing they are as all zeros. */
	q = begin_at(other, &f->f.fh);
	add_read(q, &SID_BYPASS, 0, 5);
	expect(call(q), NFS4_OK);
	q = begin_at(other, &f->f.fh);
	add_write(q, &SID_BYPASS, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_LOCKED);
	close_file(f->cl, &deny);
	q = begin_at(other, &f->f.fh);
	add_read(q, &SID_ANONYMOUS, 0, 5);
	expect(call(q), NFS4_OK);
}

/* What an open was not made for (section 16.23.4: OPENMODE). */
static void open_modes(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct open_file r, w;
	struct compound *q;

	write_at(f, 0, FILE_SYNC4, "01234", 5);
	expect_status(open_status(f->cl, owner_new(), &f->dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &r),
		      NFS4_OK);
	expect_status(open_status(f->cl, owner_new(), &f->dir, "f", OPEN4_SHARE_ACCESS_WRITE, 0,
				  &w),
		      NFS4_OK);
	q = begin_at(f->cl, &f->f.fh);
	add_write(q, &r.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_OPENMODE);
	/* Reading through an open for writing is allowed to be allowed (page caches need it). */
	q = begin_at(f->cl, &f->f.fh);
	add_read(q, &w.sid, 0, 1);
	expect_one_of(call(q)->status, NFS4_OK, NFS4ERR_OPENMODE);
	q = begin_at(f->cl, &f->f.fh);
	add_read(q, &r.sid, 0, 1);
	add_write(q, &w.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4_OK);
}

/* Stateids of other files, and made up. */
static void wrong_stateids(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct open_file g =
	    open_create(f->cl, owner_new(), &f->dir, "g", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct sid bad = f->f.sid;
	struct compound *q = begin_at(f->cl, &f->f.fh);

	add_read(q, &g.sid, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
	q = begin_at(f->cl, &f->f.fh);
	add_write(q, &g.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
	for (int i = 0; i < NFS4_OTHER_SIZE; i++) {
		bad = f->f.sid;
		bad.other[i] ^= 0x81;
		q = begin_at(f->cl, &f->f.fh);
		add_read(q, &bad, 0, 1);
		expect_one_of(call(q)->status, NFS4ERR_BAD_STATEID,
			      f->cl->minor ? NFS4ERR_BAD_STATEID : NFS4ERR_STALE_STATEID,
			      f->cl->minor ? NFS4ERR_BAD_STATEID : NFS4ERR_EXPIRED);
	}
}

/* An open was the check: what happens to the mode later is no matter. */
static void mode_changed_after_open(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct client *user = client_new(minor_of(state));
	struct attrs *a = test_alloc(sizeof(*a));
	struct open_file mine;
	struct compound *q;

	write_at(f, 0, FILE_SYNC4, "01234", 5);
	at_num(a, FATTR4_MODE, 0666);
	q = begin_at(f->cl, &f->f.fh);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	user->conn->uid = user->conn->gid = 2001;
	expect_status(open_status(user, owner_new(), &f->dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0,
				  &mine),
		      NFS4_OK);
	at_num(a, FATTR4_MODE, 0600);
	q = begin_at(f->cl, &f->f.fh);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	q = begin_at(user, &f->f.fh);
	add_read(q, &mine.sid, 0, 5);
	add_write(q, &mine.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4_OK);
	q = begin_at(user, &f->f.fh);
	add_read(q, &SID_ANONYMOUS, 0, 5);
	expect(call(q), NFS4ERR_ACCESS);
}

/* Stateids can be guessed: an open is of use only to those who have its permission themselves. */
static void stateid_of_another_user(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct attrs *mode = test_alloc(sizeof(*mode)), *size = test_alloc(sizeof(*size));
	struct compound *q;

	write_at(f, 0, FILE_SYNC4, "01234", 5);
	at_num(mode, FATTR4_MODE, 0600);
	q = begin_at(f->cl, &f->f.fh);
	add_setattr(q, &SID_ANONYMOUS, mode);
	expect(call(q), NFS4_OK);
	f->cl->conn->uid = f->cl->conn->gid = 2001;
	q = begin_at(f->cl, &f->f.fh);
	add_read(q, &f->f.sid, 0, 5);
	expect(call(q), NFS4ERR_ACCESS);
	q = begin_at(f->cl, &f->f.fh);
	add_write(q, &f->f.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_ACCESS);
	at_num(size, FATTR4_SIZE, 0);
	q = begin_at(f->cl, &f->f.fh);
	add_setattr(q, &f->f.sid, size);
	expect(call(q), NFS4ERR_ACCESS);
	f->cl->conn->uid = f->cl->conn->gid = 0;
	expect_status(read_at(f, 0, 5)->status, NFS4_OK);
}

/* WRITE by others than root takes the set-user-ID bit away, as the kernel does. */
static void suid_is_cleared(void **state)
{
	struct file *f = open_new(minor_of(state));
	struct client *user = client_new(minor_of(state));
	struct attrs *a = test_alloc(sizeof(*a));
	struct open_file mine;
	struct compound *q;

	at_num(a, FATTR4_MODE, 06777);
	q = begin_at(f->cl, &f->f.fh);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_MODE), 06777);
	user->conn->uid = user->conn->gid = 2001;
	expect_status(open_status(user, owner_new(), &f->dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0,
				  &mine),
		      NFS4_OK);
	q = begin_at(user, &f->f.fh);
	add_write(q, &mine.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4_OK);
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_MODE), 0777);
}

/* ---- minor version 2 ---- */

static void need_42(uint32_t status)
{
	if (status == NFS4ERR_NOTSUPP) {
		print_message("not supported by the server\n");
		skip();
	}
}

/* ALLOCATE makes the file longer, DEALLOCATE a hole (RFC 7862 sections 15.1, 15.4). */
static void allocate_and_deallocate(void **state)
{
	struct file *f = open_new(2);
	struct compound *q = begin_at(f->cl, &f->f.fh);
	char *data = test_alloc(65536);
	struct result *r;
	uint32_t status;

	add_allocate(q, &f->f.sid, 0, 65536);
	status = call(q)->status;
	need_42(status);
	expect_status(status, NFS4_OK);
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), 65536);
	check(getattr_num(f->cl, &f->f.fh, FATTR4_SPACE_USED) >= 65536);
	memset(data, 'd', 65536);
	write_at(f, 0, FILE_SYNC4, data, 65536);
	q = begin_at(f->cl, &f->f.fh);
	add_deallocate(q, &f->f.sid, 4096, 8192);
	expect(call(q), NFS4_OK);
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), 65536);
	r = read_at(f, 0, 65536);
	for (uint32_t i = 0; i < 65536; i++)
		check(r->data[i] == (i >= 4096 && i < 12288 ? 0 : 'd'));
	/* Arguments that cannot be. */
	q = begin_at(f->cl, &f->f.fh);
	add_allocate(q, &f->f.sid, UINT64_MAX - 1, 10);
	expect_one_of(call(q)->status, NFS4ERR_INVAL, NFS4ERR_FBIG);
	q = begin_at(f->cl, &f->f.fh);
	add_deallocate(q, &f->f.sid, UINT64_MAX - 1, 10);
	expect_one_of(call(q)->status, NFS4ERR_INVAL, NFS4ERR_FBIG, NFS4_OK);
	q = begin_at(f->cl, &f->f.fh);
	add_allocate(q, &f->f.sid, 0, 0);
	expect_one_of(call(q)->status, NFS4ERR_INVAL, NFS4_OK);
}

/* SEEK (section 15.11). */
static void seek(void **state)
{
	struct file *f = open_new(2);
	char *data = test_alloc(65536);
	struct compound *q;
	struct attrs *a;
	struct result *r;
	uint32_t status;

	memset(data, 's', 65536);
	write_at(f, 0, FILE_SYNC4, data, 65536);
	write_at(f, 1 << 20, FILE_SYNC4, data, 65536);
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, 0, NFS4_CONTENT_HOLE);
	r = last(call(q));
	status = r->status;
	need_42(status);
	expect_status(status, NFS4_OK);
	check_num(r->offset, 65536);
	check(!r->eof);
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, 65536, NFS4_CONTENT_DATA);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	check_num(r->offset, 1 << 20);
	/* The hole behind the end of the file. */
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, 1 << 20, NFS4_CONTENT_HOLE);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	check_num(r->offset, (1 << 20) + 65536);
	/* Beyond the end; the end itself is the virtual hole's first byte. */
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, (1 << 20) + 65537, NFS4_CONTENT_DATA);
	expect(call(q), NFS4ERR_NXIO);
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, (1 << 20) + 65537, NFS4_CONTENT_HOLE);
	expect(call(q), NFS4ERR_NXIO);
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, (1 << 20) + 65536, NFS4_CONTENT_DATA);
	expect_one_of(call(q)->status, NFS4ERR_NXIO, NFS4_OK);
	/* No data any more before the end: eof. */
	a = test_alloc(sizeof(*a));
	at_num(a, FATTR4_SIZE, 4 << 20);
	q = begin_at(f->cl, &f->f.fh);
	add_setattr(q, &f->f.sid, a);
	add_seek(q, &f->f.sid, 3 << 20, NFS4_CONTENT_DATA);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	check(r->eof);
	q = begin_at(f->cl, &f->f.fh);
	add_seek(q, &f->f.sid, 0, 7);
	expect_one_of(call(q)->status, NFS4ERR_UNION_NOTSUPP, NFS4ERR_BADXDR, NFS4ERR_INVAL);
}

static void two_files(struct file **src, struct open_file *dst)
{
	*src = open_new(2);
	*dst = open_create((*src)->cl, owner_new(), &(*src)->dir, "g", OPEN4_SHARE_ACCESS_BOTH, 0);
}

/* COPY within the server (section 15.2). */
static void copy(void **state)
{
	struct file *f;
	struct open_file g;
	char *data = test_alloc(100000);
	struct compound *q;
	struct result *r;
	uint32_t status;

	two_files(&f, &g);
	for (int i = 0; i < 100000; i++)
		data[i] = (char)(i * 3 + i / 256);
	write_at(f, 0, FILE_SYNC4, data, 100000);
	q = begin_at(f->cl, &f->f.fh);
	add_savefh(q);
	add_putfh(q, &g.fh);
	add_copy(q, &f->f.sid, &g.sid, 10, 20, 50000, true, true);
	r = last(call(q));
	status = r->status;
	need_42(status);
	expect_status(status, NFS4_OK);
	check_num(r->count64, 50000);
	q = begin_at(f->cl, &g.fh);
	add_read(q, &g.sid, 0, 60000);
	r = last(call(q));
	check_num(r->len, 50020);
	check(memcmp(r->data + 20, data + 10, 50000) == 0);
	/* Count 0: to the end. */
	q = begin_at(f->cl, &f->f.fh);
	add_savefh(q);
	add_putfh(q, &g.fh);
	add_copy(q, &f->f.sid, &g.sid, 99990, 0, 0, true, true);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	check_num(r->count64, 10);
	/* Beyond the source's end: INVAL (section 15.2.3). */
	q = begin_at(f->cl, &f->f.fh);
	add_savefh(q);
	add_putfh(q, &g.fh);
	add_copy(q, &f->f.sid, &g.sid, 99990, 0, 11, true, true);
	expect_one_of(call(q)->status, NFS4ERR_INVAL, NFS4_OK);
	q = begin_at(f->cl, &f->f.fh);
	add_savefh(q);
	add_putfh(q, &g.fh);
	add_copy(q, &f->f.sid, &g.sid, 200000, 0, 1, true, true);
	expect(call(q), NFS4ERR_INVAL);
	/* It is over with the reply: no stateid is that of a copy under way (15.8, 15.9). */
	q = begin_at(f->cl, &g.fh);
	add_offload_status(q, OP_OFFLOAD_STATUS, &g.sid);
	expect_one_of(call(q)->status, NFS4ERR_BAD_STATEID, NFS4ERR_NOTSUPP);
	q = begin_at(f->cl, &g.fh);
	add_offload_status(q, OP_OFFLOAD_CANCEL, &g.sid);
	expect_one_of(call(q)->status, NFS4ERR_BAD_STATEID, NFS4ERR_NOTSUPP);
}

/* CLONE where the file system can (section 15.13). */
static void clone_range(void **state)
{
	struct file *f;
	struct open_file g;
	char *data = test_alloc(65536);
	struct compound *q;
	uint32_t status;

	two_files(&f, &g);
	memset(data, 'c', 65536);
	write_at(f, 0, FILE_SYNC4, data, 65536);
	q = begin_at(f->cl, &f->f.fh);
	add_savefh(q);
	add_putfh(q, &g.fh);
	add_clone(q, &f->f.sid, &g.sid, 0, 0, 65536);
	status = call(q)->status;
	expect_one_of(status, NFS4_OK, NFS4ERR_NOTSUPP);
	check_num(getattr_num(f->cl, &g.fh, FATTR4_SIZE), status == NFS4_OK ? 65536 : 0);
}

/* READ_PLUS: data and holes together give the same bytes as READ (section 15.10). */
static void read_plus(void **state)
{
	struct file *f = open_new(2);
	char *data = test_alloc(200000);
	struct compound *q;
	struct result *r, *p;
	uint32_t status;

	memset(data, 'p', 65536);
	write_at(f, 4096, FILE_SYNC4, data, 10000);
	write_at(f, 150000, FILE_SYNC4, data, 1000);
	for (uint64_t off = 0; off < 160000; off += 30001) {
		for (uint32_t len = 1; len < 200000; len = len * 7 + 1) {
			r = read_at(f, off, len);
			q = begin_at(f->cl, &f->f.fh);
			add_read_plus(q, &f->f.sid, off, len);
			p = last(call(q));
			status = p->status;
			need_42(status);
			expect_status(status, NFS4_OK);
			/* A READ_PLUS may be shorter, never wrong. */
			check(p->len <= r->len);
			check(p->len > 0 || r->len == 0);
			check(memcmp(p->data, r->data, p->len) == 0);
			if (p->eof)
				check(r->eof && p->len == r->len);
		}
	}
}

/* IO_ADVISE may be ignored, but not misunderstood (section 15.5). */
static void io_advise(void **state)
{
	struct file *f = open_new(2);
	struct compound *q = begin_at(f->cl, &f->f.fh);
	uint32_t status;

	add_io_advise(q, &f->f.sid, 0, 4096, bm_of(1, 2, -1));
	status = call(q)->status;
	need_42(status);
	expect_status(status, NFS4_OK);
}

/* ---- a full file system ---- */

static void no_space(void **state)
{
	struct file *f = open_new(minor_of(state));
	char path[128];
	struct result *w = NULL;
	uint64_t off = 0;
	int ballast;
	uint32_t len = 1 << 20;
	char *data = test_alloc(len);
	struct attrs *a = getattrs(f->cl, &f->dir, bm_of(FATTR4_SPACE_AVAIL, -1));

	if (wire_server_external())
		skip(); /* not our disk to fill */
	wire_need_disk();
	write_at(f, 0, FILE_SYNC4, "precious", 8);
	snprintf(path, sizeof(path), "%s/ballast", wire_server_dir());
	ballast = open(path, O_CREAT | O_WRONLY, 0600);
	check(ballast >= 0);
	check(posix_fallocate(ballast, 0, (off_t)(a->a[FATTR4_SPACE_AVAIL].num - (4 << 20))) == 0);
	memset(data, 'n', len);
	for (int i = 0; i < 10; i++) {
		w = write_at(f, 4096 + off, FILE_SYNC4, data, len);
		if (w->status != NFS4_OK)
			break;
		check(w->count > 0 && w->count <= len);
		off += w->count;
	}
	close(ballast);
	unlink(path);
	expect_status(w->status, NFS4ERR_NOSPC);
	/* What was there is intact, and there is room again. */
	check(memcmp(read_at(f, 0, 8)->data, "precious", 8) == 0);
	expect_status(write_at(f, 0, FILE_SYNC4, "x", 1)->status, NFS4_OK);
	expect_status(remove_name(f->cl, &f->dir, "f"), NFS4_OK);
}

/* Random writes, truncations and reads against a copy in memory. */
static void random_io(void **state)
{
	enum { SIZE = 100000, STEPS = 300 };
	struct file *f = open_new(minor_of(state));
	unsigned seed = (unsigned)time(NULL) + minor_of(state);
	uint8_t *model = test_alloc(SIZE), *buf = test_alloc(SIZE);
	uint32_t size = 0;

	print_message("seed %u\n", seed);
	for (int step = 0; step < STEPS; step++) {
		uint32_t off = (uint32_t)rand_r(&seed) % SIZE;
		uint32_t len = (uint32_t)rand_r(&seed) % 5000;
		uint32_t what = (uint32_t)rand_r(&seed) % 5;
		struct result *r;

		if (len > SIZE - off)
			len = SIZE - off;
		if (what < 2) {
			for (uint32_t i = 0; i < len; i++)
				model[off + i] = buf[i] = (uint8_t)rand_r(&seed);
			r = write_at(f, off, what ? FILE_SYNC4 : UNSTABLE4, buf, len);
			expect_status(r->status, NFS4_OK);
			check_num(r->count, len);
			if (len && off + len > size)
				size = off + len;
		} else if (what == 2 && step % 4 == 0) {
			struct attrs *a = test_alloc(sizeof(*a));
			struct compound *q = begin_at(f->cl, &f->f.fh);

			at_num(a, FATTR4_SIZE, off);
			add_setattr(q, &f->f.sid, a);
			expect(call(q), NFS4_OK);
			if (off < size)
				memset(model + off, 0, size - off);
			size = off;
		} else {
			uint32_t want = off >= size ? 0 : size - off < len ? size - off : len;

			r = read_at(f, off, len);
			expect_status(r->status, NFS4_OK);
			check_num(r->len, want);
			check(memcmp(r->data, model + off, want) == 0);
			check(r->eof == (off + len >= size));
		}
	}
	check_num(getattr_num(f->cl, &f->f.fh, FATTR4_SIZE), size);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(write_and_read),
		WIRE_ALL_MINORS(odd_lengths),
		WIRE_ALL_MINORS(end_of_file),
		WIRE_ALL_MINORS(write_nothing),
		WIRE_ALL_MINORS(far_offsets),
		WIRE_ALL_MINORS(beyond_4_gib),
		WIRE_ALL_MINORS(large_payloads),
		WIRE_ALL_MINORS(several_in_one),
		WIRE_ALL_MINORS(commit_verifier),
		WIRE_TEST(verifier_after_restart),
		WIRE_ALL_MINORS(bad_stable_how),
		WIRE_ALL_MINORS(special_stateids),
		WIRE_ALL_MINORS(open_modes),
		WIRE_ALL_MINORS(wrong_stateids),
		WIRE_ALL_MINORS(mode_changed_after_open),
		WIRE_ALL_MINORS(stateid_of_another_user),
		WIRE_ALL_MINORS(suid_is_cleared),
		WIRE_TEST(allocate_and_deallocate),
		WIRE_TEST(seek),
		WIRE_TEST(copy),
		WIRE_TEST(clone_range),
		WIRE_TEST(read_plus),
		WIRE_TEST(io_advise),
		WIRE_ALL_MINORS(no_space),
		WIRE_ALL_MINORS(random_io),
	};

	return wire_main("io", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

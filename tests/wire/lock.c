/*
 * Byte-range locks (RFC 7530 sections 9.1 to 9.3 and 16.10 to 16.12, RFC 8881 sections 9 and
 * 18.10 to 18.12): conflicts, what DENIED says, splitting and merging, and the edges of 64 bits.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define TO_EOF UINT64_MAX

/* Two clients with a file open for reading and writing. */
struct two {
	struct client *a, *b;
	struct fh dir;
	struct open_file fa, fb;
	struct lock_state la, lb;
};

static struct two *two_clients(uint32_t minor)
{
	struct two *t = test_alloc(sizeof(*t));

	t->a = client_new(minor);
	t->b = client_new((minor + 1) % 3);
	t->dir = test_dir(t->a);
	t->fa = open_create(t->a, owner_new(), &t->dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	expect_status(open_status(t->b, owner_new(), &t->dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0,
				  &t->fb),
		      NFS4_OK);
	t->la.owner = owner_new();
	t->lb.owner = owner_new();
	return t;
}

static uint32_t lock_a(struct two *t, uint32_t type, uint64_t off, uint64_t len)
{
	return lock_range(t->a, &t->fa, &t->la, type, off, len, NULL);
}

static uint32_t unlock_a(struct two *t, uint64_t off, uint64_t len)
{
	return unlock_range(t->a, &t->fa, &t->la, off, len);
}

/* What a third party finds in the way of a write lock; len 0: nothing. */
static struct denied probe(struct two *t, uint32_t type, uint64_t off, uint64_t len)
{
	struct result *r;
	uint32_t status = lockt(t->b, &t->fb.fh, owner_new(), type, off, len, &r);

	if (status == NFS4_OK)
		return (struct denied){ 0 };
	expect_status(status, NFS4ERR_DENIED);
	return r->denied;
}

static void check_free(struct two *t, uint64_t off, uint64_t len)
{
	struct denied d = probe(t, WRITE_LT, off, len);

	if (d.length)
		fail_with("%llu+%llu is locked at %llu+%llu, expected it free",
			  (unsigned long long)off, (unsigned long long)len,
			  (unsigned long long)d.offset, (unsigned long long)d.length);
}

/* [off, off+len) is locked in that type as one range, and what is around it is not. */
static void check_locked(struct two *t, uint32_t type, uint64_t off, uint64_t len)
{
	struct denied d = probe(t, WRITE_LT, off, len);

	check(d.length != 0);
	check_num(d.offset, off);
	check_num(d.length, len);
	check_num(d.type, type);
	d = probe(t, WRITE_LT, off + len - 1, 1);
	check_num(d.offset, off);
}

/* ---- conflicts ---- */

static void conflicts(void **state)
{
	static const uint32_t types[] = { READ_LT, WRITE_LT, READW_LT, WRITEW_LT };
	struct two *t = two_clients(minor_of(state));

	for (int i = 0; i < 4; i++) {
		expect_status(lock_a(t, types[i], 100, 50), NFS4_OK);
		for (int j = 0; j < 4; j++) {
			bool reads = i % 2 == 0 && j % 2 == 0;
			uint32_t got = lock_range(t->b, &t->fb, &t->lb, types[j], 149, 10, NULL);

			expect_status(got, reads ? NFS4_OK : NFS4ERR_DENIED);
			if (reads)
				expect_status(unlock_range(t->b, &t->fb, &t->lb, 149, 10), NFS4_OK);
			/* Beside it there is room. */
			expect_status(lock_range(t->b, &t->fb, &t->lb, types[j], 150, 10, NULL),
				      NFS4_OK);
			expect_status(unlock_range(t->b, &t->fb, &t->lb, 150, 10), NFS4_OK);
			expect_status(lock_range(t->b, &t->fb, &t->lb, types[j], 90, 10, NULL),
				      NFS4_OK);
			expect_status(unlock_range(t->b, &t->fb, &t->lb, 90, 10), NFS4_OK);
		}
		expect_status(unlock_a(t, 100, 50), NFS4_OK);
	}
}

/* LOCK4denied: the range, the type and the owner that are in the way. */
static void denied_contents(void **state)
{
	struct two *t = two_clients(minor_of(state));
	struct result *r;

	expect_status(lock_a(t, WRITE_LT, 1000, 24), NFS4_OK);
	expect_status(lock_range(t->b, &t->fb, &t->lb, READ_LT, 0, TO_EOF, &r), NFS4ERR_DENIED);
	check_num(r->denied.offset, 1000);
	check_num(r->denied.length, 24);
	check_num(r->denied.type, WRITE_LT);
	check_num(r->denied.owner_len, strlen(t->la.owner->name));
	check(memcmp(r->denied.owner, t->la.owner->name, r->denied.owner_len) == 0);
	if (t->a->minor == 0)
		check_num(r->denied.clientid, t->a->clientid);
	/* LOCKT says the same. */
	expect_status(lockt(t->b, &t->fb.fh, t->lb.owner, WRITEW_LT, 1010, 1, &r), NFS4ERR_DENIED);
	check_num(r->denied.offset, 1000);
	check_num(r->denied.length, 24);
	check_num(r->denied.type, WRITE_LT);
	check(memcmp(r->denied.owner, t->la.owner->name, r->denied.owner_len) == 0);
	/* A reader in the way of a writer. */
	expect_status(lock_a(t, READ_LT, 1000, 24), NFS4_OK);
	expect_status(lockt(t->b, &t->fb.fh, t->lb.owner, WRITE_LT, 1023, 5, &r), NFS4ERR_DENIED);
	check_num(r->denied.type, READ_LT);
	expect_status(lockt(t->b, &t->fb.fh, t->lb.owner, READ_LT, 1023, 5, &r), NFS4_OK);
}

/* One's own locks are never in the way, also for LOCKT (section 16.11.4). */
static void own_locks(void **state)
{
	struct two *t = two_clients(minor_of(state));

	expect_status(lock_a(t, WRITE_LT, 0, 100), NFS4_OK);
	expect_status(lockt(t->a, &t->fa.fh, t->la.owner, WRITE_LT, 0, 100, NULL), NFS4_OK);
	expect_status(lock_a(t, WRITE_LT, 50, 100), NFS4_OK);
	expect_status(lock_a(t, READ_LT, 0, 200), NFS4_OK);
	expect_status(lockt(t->b, &t->fb.fh, t->lb.owner, READ_LT, 0, 200, NULL), NFS4_OK);
	/* Another owner at the same client is somebody else. */
	expect_status(lockt(t->a, &t->fa.fh, owner_new(), WRITE_LT, 0, 1, NULL), NFS4ERR_DENIED);
}

/* LOCKT by somebody who has never opened anything, on a file nobody has open. */
static void lockt_without_open(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);

	expect_status(lockt(cl, &f, owner_new(), WRITE_LT, 0, TO_EOF, NULL), NFS4_OK);
	expect_status(lockt(cl, &f, owner_new(), READ_LT, 5, 1, NULL), NFS4_OK);
}

/* LOCKT with a client ID that does not exist; the session's counts in later versions. */
static void lockt_stale_client(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	struct compound *q = begin_at(cl, &f);

	add_lockt(q, WRITE_LT, 0, 1, 0, "owner");
	expect(call(q), cl->minor == 0 ? NFS4ERR_STALE_CLIENTID : NFS4_OK);
}

/* ---- splitting, merging, changing ---- */

/* A hole in the middle leaves two ranges; filling it makes one again. */
static void split_and_merge(void **state)
{
	struct two *t = two_clients(minor_of(state));

	expect_status(lock_a(t, WRITE_LT, 0, 100), NFS4_OK);
	check_locked(t, WRITE_LT, 0, 100);
	expect_status(unlock_a(t, 40, 20), NFS4_OK);
	check_locked(t, WRITE_LT, 0, 40);
	check_locked(t, WRITE_LT, 60, 40);
	check_free(t, 40, 20);
	expect_status(lock_a(t, WRITE_LT, 40, 20), NFS4_OK);
	check_locked(t, WRITE_LT, 0, 100);
	/* From both ends. */
	expect_status(unlock_a(t, 0, 10), NFS4_OK);
	expect_status(unlock_a(t, 90, 1000), NFS4_OK);
	check_locked(t, WRITE_LT, 10, 80);
	/* Overlapping and adjacent locks of the same type are one. */
	expect_status(lock_a(t, WRITE_LT, 5, 5), NFS4_OK);
	expect_status(lock_a(t, WRITE_LT, 80, 40), NFS4_OK);
	check_locked(t, WRITE_LT, 5, 115);
	expect_status(unlock_a(t, 0, TO_EOF), NFS4_OK);
	check_free(t, 0, TO_EOF);
	/* Nothing to unlock is no error. */
	expect_status(unlock_a(t, 0, TO_EOF), NFS4_OK);
}

/* Changing the type of a part splits by type. */
static void change_of_type(void **state)
{
	struct two *t = two_clients(minor_of(state));

	expect_status(lock_a(t, READ_LT, 0, 100), NFS4_OK);
	expect_status(lock_a(t, WRITE_LT, 30, 10), NFS4_OK);
	check_locked(t, READ_LT, 0, 30);
	check_locked(t, WRITE_LT, 30, 10);
	check_locked(t, READ_LT, 40, 60);
	expect_status(lock_a(t, READ_LT, 30, 10), NFS4_OK);
	check_locked(t, READ_LT, 0, 100);
	expect_status(lock_a(t, WRITE_LT, 0, 100), NFS4_OK);
	check_locked(t, WRITE_LT, 0, 100);
}

/* An upgrade that conflicts with another reader leaves everything as it was. */
static void upgrade_denied(void **state)
{
	struct two *t = two_clients(minor_of(state));
	struct denied d;

	expect_status(lock_a(t, READ_LT, 0, 100), NFS4_OK);
	expect_status(lock_range(t->b, &t->fb, &t->lb, READ_LT, 50, 10, NULL), NFS4_OK);
	expect_status(lock_a(t, WRITE_LT, 0, 100), NFS4ERR_DENIED);
	d = probe(t, WRITE_LT, 0, 50);
	check_num(d.type, READ_LT);
	check_num(d.length, 100);
	expect_status(unlock_range(t->b, &t->fb, &t->lb, 50, 10), NFS4_OK);
	expect_status(lock_a(t, WRITE_LT, 0, 100), NFS4_OK);
}

/* Random locks and unlocks of one owner against a plain array of bytes. */
static void random_ranges(void **state)
{
	enum { SIZE = 64, STEPS = 300 };
	struct two *t = two_clients(minor_of(state));
	unsigned seed = (unsigned)time(NULL) ^ (unsigned)minor_of(state);
	uint32_t model[SIZE] = { 0 };

	print_message("seed %u\n", seed);
	for (int step = 0; step < STEPS; step++) {
		uint64_t off = (uint64_t)rand_r(&seed) % SIZE;
		uint64_t len = 1 + (uint64_t)rand_r(&seed) % (SIZE - off);
		uint32_t what = (uint32_t)rand_r(&seed) % 3;
		uint64_t at = (uint64_t)rand_r(&seed) % SIZE;
		struct denied d;
		uint64_t from, to;

		if (what == 0) {
			if (!t->la.have)
				continue;
			expect_status(unlock_a(t, off, len), NFS4_OK);
		} else {
			expect_status(lock_a(t, what == 1 ? READ_LT : WRITE_LT, off, len), NFS4_OK);
		}
		for (uint64_t i = off; i < off + len; i++)
			model[i] = what;
		d = probe(t, WRITE_LT, at, 1);
		if (!model[at]) {
			check_num(d.length, 0);
			continue;
		}
		check(d.length != 0);
		for (from = at; from > 0 && model[from - 1] == model[at]; from--)
			;
		for (to = at; to + 1 < SIZE && model[to + 1] == model[at]; to++)
			;
		check_num(d.type, model[at] == 1 ? READ_LT : WRITE_LT);
		check_num(d.offset, from);
		check_num(d.length, to + 1 - from);
	}
}

/* ---- the edges of 64 bits ---- */

/* Length 0, and ranges that go beyond the last byte (section 16.10.4). */
static void bad_ranges(void **state)
{
	struct two *t = two_clients(minor_of(state));
	static const struct {
		uint64_t off, len;
	} bad[] = { { 0, 0 },
		    { 100, 0 },
		    { UINT64_MAX, 0 },
		    { 2, UINT64_MAX - 1 },
		    { UINT64_MAX, 2 },
		    { UINT64_MAX - 5, 7 },
		    { UINT64_MAX / 2 + 1, UINT64_MAX / 2 + 2 } };
	enum { N = sizeof(bad) / sizeof(bad[0]) };

	for (size_t i = 0; i < N; i++) {
		expect_status(lock_a(t, READ_LT, bad[i].off, bad[i].len), NFS4ERR_INVAL);
		expect_status(lockt(t->b, &t->fb.fh, owner_new(), READ_LT, bad[i].off, bad[i].len,
				    NULL),
			      NFS4ERR_INVAL);
	}
	expect_status(lock_a(t, WRITE_LT, 0, 10), NFS4_OK);
	for (size_t i = 0; i < N; i++)
		expect_status(unlock_a(t, bad[i].off, bad[i].len), NFS4ERR_INVAL);
	check_locked(t, WRITE_LT, 0, 10);
}

/* To the end of the file, wherever that may come to be. */
static void to_end_of_file(void **state)
{
	struct two *t = two_clients(minor_of(state));

	expect_status(lock_a(t, WRITE_LT, 100, TO_EOF), NFS4_OK);
	check_free(t, 0, 100);
	check_num(probe(t, WRITE_LT, 0, 101).offset, 100);
	check_num(probe(t, WRITE_LT, 0, 101).length, TO_EOF);
	check_num(probe(t, WRITE_LT, 1ull << 62, 1).offset, 100);
	check_num(probe(t, WRITE_LT, UINT64_MAX - 1, 1).offset, 100);
	/* A piece out of it: the rest still goes to the end. */
	expect_status(unlock_a(t, 200, 100), NFS4_OK);
	check_locked(t, WRITE_LT, 100, 100);
	check_free(t, 200, 100);
	check_num(probe(t, WRITE_LT, 300, 1).offset, 300);
	check_num(probe(t, WRITE_LT, 300, 1).length, TO_EOF);
	expect_status(unlock_a(t, 1000, TO_EOF), NFS4_OK);
	check_locked(t, WRITE_LT, 300, 700);
	check_free(t, 1000, TO_EOF);
	expect_status(unlock_a(t, 0, TO_EOF), NFS4_OK);
	check_free(t, 0, TO_EOF);
}

/* Offsets beyond any file's size; the last byte there is. */
static void far_ranges(void **state)
{
	static const uint64_t offs[] = { 0x7fffffff,	     0x80000000,	 0xffffffff,
					 0x100000000,	     0x7fffffffffffffff, 0x8000000000000000,
					 0xfffffffffffffff0, 0xfffffffffffffffe };
	struct two *t = two_clients(minor_of(state));

	for (size_t i = 0; i < sizeof(offs) / sizeof(offs[0]); i++) {
		uint32_t got = lock_a(t, WRITE_LT, offs[i], 1);

		/* Servers of 63 bits may say so (section 16.10.4). */
		expect_one_of(got, NFS4_OK, NFS4ERR_BAD_RANGE);
		if (got != NFS4_OK)
			continue;
		check_num(probe(t, WRITE_LT, offs[i], 1).offset, offs[i]);
		expect_status(unlock_a(t, offs[i], 1), NFS4_OK);
		check_free(t, offs[i], 1);
	}
}

/* ---- stateids and modes ---- */

/* A lock needs an open of its kind (section 16.10.4: OPENMODE). */
static void open_modes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file r, w;
	struct lock_state lr = { .owner = owner_new() }, lw = { .owner = owner_new() };

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &r),
		      NFS4_OK);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_WRITE, 0, &w),
		      NFS4_OK);
	expect_status(lock_range(cl, &r, &lr, WRITE_LT, 0, 1, NULL), NFS4ERR_OPENMODE);
	expect_status(lock_range(cl, &r, &lr, READ_LT, 0, 1, NULL), NFS4_OK);
	expect_status(lock_range(cl, &r, &lr, WRITE_LT, 0, 1, NULL), NFS4ERR_OPENMODE);
	expect_status(lock_range(cl, &w, &lw, WRITE_LT, 5, 1, NULL), NFS4_OK);
	/* Read locks by those who may only write: POSIX says no, Windows says yes. */
	expect_one_of(lock_range(cl, &w, &lw, READ_LT, 6, 1, NULL), NFS4_OK, NFS4ERR_OPENMODE);
}

static void lock_stateids(void **state)
{
	struct two *t = two_clients(minor_of(state));
	struct open_file wrong = t->fa;
	struct lock_state other = { .owner = owner_new() }, old;

	/* An open stateid that is none. */
	wrong.sid.other[11] ^= 0x33;
	expect_one_of(lock_range(t->a, &wrong, &other, READ_LT, 0, 1, NULL), NFS4ERR_BAD_STATEID);
	wrong = t->fa;
	wrong.sid = SID_ANONYMOUS;
	expect_status(lock_range(t->a, &wrong, &other, READ_LT, 0, 1, NULL), NFS4ERR_BAD_STATEID);
	/* Of another file. */
	wrong = t->fa;
	wrong.fh = make_file(t->a, &t->dir, "g", "x", 1);
	expect_status(lock_range(t->a, &wrong, &other, READ_LT, 0, 1, NULL), NFS4ERR_BAD_STATEID);
	/* Of another client. */
	wrong = t->fa;
	wrong.sid = t->fb.sid;
	if (t->a->minor > 0)
		expect_status(lock_range(t->a, &wrong, &other, READ_LT, 0, 1, NULL),
			      NFS4ERR_BAD_STATEID);
	/* An old lock stateid. */
	expect_status(lock_a(t, READ_LT, 0, 1), NFS4_OK);
	old = t->la;
	expect_status(lock_a(t, READ_LT, 2, 1), NFS4_OK);
	check_num(t->la.sid.seqid, old.sid.seqid + 1);
	check(memcmp(t->la.sid.other, old.sid.other, sizeof(old.sid.other)) == 0);
	expect_status(unlock_range(t->a, &t->fa, &old, 0, 1), NFS4ERR_OLD_STATEID);
	old = t->la;
	old.sid.seqid += 3;
	expect_status(unlock_range(t->a, &t->fa, &old, 0, 1), NFS4ERR_BAD_STATEID);
	/* LOCKU with an open stateid. */
	old = t->la;
	old.sid = t->fa.sid;
	expect_one_of(unlock_range(t->a, &t->fa, &old, 0, 1), NFS4ERR_BAD_STATEID,
		      NFS4ERR_BAD_SEQID);
}

/* One lock-owner on two files has two stateids. */
static void owner_of_two_files(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct open_file g = open_create(cl, owner_new(), &dir, "g", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct lock_state lf = { .owner = owner_new() }, lg = { .owner = lf.owner };

	expect_status(lock_range(cl, &f, &lf, WRITE_LT, 0, 10, NULL), NFS4_OK);
	expect_status(lock_range(cl, &g, &lg, WRITE_LT, 0, 10, NULL), NFS4_OK);
	check(memcmp(lf.sid.other, lg.sid.other, sizeof(lf.sid.other)) != 0);
	expect_status(unlock_range(cl, &f, &lf, 0, 10), NFS4_OK);
	expect_status(lockt(cl, &f.fh, owner_new(), WRITE_LT, 0, 10, NULL), NFS4_OK);
	expect_status(lockt(cl, &g.fh, owner_new(), WRITE_LT, 0, 10, NULL), NFS4ERR_DENIED);
}

/* READ and WRITE with a lock's stateid have the rights of its open. */
static void io_with_lock_stateid(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f;
	struct lock_state ls = { .owner = owner_new() };
	struct compound *q;

	make_file(cl, &dir, "f", "content", 7);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f),
		      NFS4_OK);
	expect_status(lock_range(cl, &f, &ls, READ_LT, 0, 10, NULL), NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_read(q, &ls.sid, 0, 10);
	expect(call(q), NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_write(q, &ls.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_OPENMODE);
}

/* Byte-range locks are advisory: they hinder no READ or WRITE of others. */
static void advisory(void **state)
{
	struct two *t = two_clients(minor_of(state));
	struct compound *q;

	expect_status(lock_a(t, WRITE_LT, 0, TO_EOF), NFS4_OK);
	q = begin_at(t->b, &t->fb.fh);
	add_write(q, &t->fb.sid, 0, FILE_SYNC4, "x", 1);
	add_read(q, &t->fb.sid, 0, 1);
	expect(call(q), NFS4_OK);
}

/* CLOSE gives back what is locked. */
static void released_by_close(void **state)
{
	struct two *t = two_clients(minor_of(state));
	uint32_t status;

	expect_status(lock_a(t, WRITE_LT, 0, 10), NFS4_OK);
	status = close_status(t->a, &t->fa);
	expect_one_of(status, NFS4_OK, NFS4ERR_LOCKS_HELD);
	if (status == NFS4_OK)
		expect_status(lock_range(t->b, &t->fb, &t->lb, WRITE_LT, 0, 10, NULL), NFS4_OK);
}

/* Lock types that do not exist. */
static void bad_types(void **state)
{
	struct two *t = two_clients(minor_of(state));

	for (uint32_t type = 0; type <= 5; type += 5) {
		struct compound *q = begin_at(t->a, &t->fa.fh);
		struct rpc_reply *rpc;
		size_t len;

		add_lockt(q, type, 0, 1, t->a->clientid, "owner");
		compound_bytes(q, &len);
		rpc = rpc_call(q->conn, &q->enc);
		if (rpc->outcome == RPC_GARBAGE_ARGS_R)
			continue;
		{
			struct reply *r = compound_parse(q, rpc);

			compound_done(q, r);
			expect_one_of(r->status, NFS4ERR_BADXDR, NFS4ERR_INVAL);
		}
	}
}

/* Thousands of ranges of one owner, every other byte. */
static void many_ranges(void **state)
{
	enum { N = 1000 };
	struct two *t = two_clients(minor_of(state));

	for (uint64_t i = 0; i < N; i++)
		expect_status(lock_a(t, WRITE_LT, 2 * i, 1), NFS4_OK);
	check_locked(t, WRITE_LT, 2 * (N / 2), 1);
	check_free(t, 2 * (N / 2) + 1, 1);
	expect_status(unlock_a(t, 0, TO_EOF), NFS4_OK);
	check_free(t, 0, TO_EOF);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(conflicts),	     WIRE_ALL_MINORS(denied_contents),
		WIRE_ALL_MINORS(own_locks),	     WIRE_ALL_MINORS(lockt_without_open),
		WIRE_ALL_MINORS(lockt_stale_client), WIRE_ALL_MINORS(split_and_merge),
		WIRE_ALL_MINORS(change_of_type),     WIRE_ALL_MINORS(upgrade_denied),
		WIRE_ALL_MINORS(random_ranges),	     WIRE_ALL_MINORS(bad_ranges),
		WIRE_ALL_MINORS(to_end_of_file),     WIRE_ALL_MINORS(far_ranges),
		WIRE_ALL_MINORS(open_modes),	     WIRE_ALL_MINORS(lock_stateids),
		WIRE_ALL_MINORS(owner_of_two_files), WIRE_ALL_MINORS(io_with_lock_stateid),
		WIRE_ALL_MINORS(advisory),	     WIRE_ALL_MINORS(released_by_close),
		WIRE_ALL_MINORS(bad_types),	     WIRE_MINOR(many_ranges, 0),
		WIRE_MINOR(many_ranges, 1),
	};

	return wire_main("lock", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

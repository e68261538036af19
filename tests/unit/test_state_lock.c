/* Byte-range locks: LOCK, LOCKU, LOCKT, RELEASE_LOCKOWNER, FREE_STATEID. */
#include "test_state_fixture.h"

#define RW OPEN4_SHARE_ACCESS_BOTH

/* Two lock-owners, "p" of client a and "q" of client b, each with a lock stateid. */
struct pair {
	struct fixture *f;
	uint64_t a, b;
	struct stateid open_a, open_b, p, q;
};

/* The stateids come from locks far away, which are let go again. */
static void pair_init(struct pair *x, struct fixture *f)
{
	x->f = f;
	x->a = client_v41(f, "a", NULL);
	x->b = client_v41(f, "b", NULL);
	x->open_a = open_v41(f, x->a, "o", "file", RW, 0);
	x->open_b = open_v41(f, x->b, "o", "file", RW, 0);
	assert_ok(lock_new(f, 1, x->a, x->open_a, "p", "file", READ_LT, 1 << 30, 1));
	assert_ok(unlock(f, 1, x->a, f->r.stateid, "file", 1 << 30, 1));
	x->p = f->r.stateid;
	assert_ok(lock_new(f, 1, x->b, x->open_b, "q", "file", READ_LT, 1 << 30, 1));
	assert_ok(unlock(f, 1, x->b, f->r.stateid, "file", 1 << 30, 1));
	x->q = f->r.stateid;
	x->p.seqid = x->q.seqid = 0; /* always the current */
	assert_int_equal(counts(f).locks, 0);
}

static enum nfsstat4 lock_p(struct pair *x, enum nfs_lock_type4 type, uint64_t offset,
			    uint64_t length)
{
	return lock_more(x->f, 1, x->a, x->p, "file", type, offset, length);
}

static enum nfsstat4 lock_q(struct pair *x, enum nfs_lock_type4 type, uint64_t offset,
			    uint64_t length)
{
	return lock_more(x->f, 1, x->b, x->q, "file", type, offset, length);
}

static enum nfsstat4 unlock_p(struct pair *x, uint64_t offset, uint64_t length)
{
	return unlock(x->f, 1, x->a, x->p, "file", offset, length);
}

/* What q would meet at each byte of [0, len): 'R', 'W' or '.', of p's locks. */
static void assert_map(struct pair *x, const char *map)
{
	for (uint64_t i = 0; map[i]; i++) {
		char c = '.';

		if (lockt(x->f, x->b, "q", "file", READ_LT, i, 1) == NFS4ERR_DENIED)
			c = 'W';
		else if (lockt(x->f, x->b, "q", "file", WRITE_LT, i, 1) == NFS4ERR_DENIED)
			c = 'R';
		if (c != map[i])
			fail_msg("byte %u is %c in %s", (unsigned)i, c, map);
	}
}

static void test_conflicts(void **state)
{
	struct pair x;

	pair_init(&x, *state);
	assert_ok(lock_p(&x, READ_LT, 10, 10));
	assert_ok(lock_q(&x, READ_LT, 0, 100));
	assert_status(lock_q(&x, WRITE_LT, 19, 1), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.conflict_client, x.a);
	assert_int_equal(x.f->r.denied.clientid, x.a);
	assert_int_equal(x.f->r.denied.type, READ_LT);
	assert_int_equal(x.f->r.denied.range.offset, 10);
	assert_int_equal(x.f->r.denied.range.length, 10);
	assert_int_equal(x.f->r.denied.owner_len, 1);
	assert_memory_equal(x.f->r.denied.owner, "p", 1);
	assert_status(lock_q(&x, WRITEW_LT, 0, TO_EOF), NFS4ERR_DENIED);
	assert_ok(lock_q(&x, WRITEW_LT, 20, 5));
	assert_status(lock_p(&x, READW_LT, 24, 1), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.denied.type, WRITE_LT);
	assert_ok(lock_p(&x, READ_LT, 25, 1));
	assert_int_equal(counts(x.f).locks, 5);
}

static void test_split_and_merge(void **state)
{
	struct pair x;

	pair_init(&x, *state);
	assert_ok(lock_p(&x, WRITE_LT, 2, 10));
	assert_map(&x, "..WWWWWWWWWW...");
	assert_ok(unlock_p(&x, 5, 2));
	assert_map(&x, "..WWW..WWWWW...");
	assert_int_equal(counts(x.f).locks, 2);
	assert_ok(lock_p(&x, READ_LT, 8, 2)); /* downgrade of the middle */
	assert_map(&x, "..WWW..WRRWW...");
	assert_int_equal(counts(x.f).locks, 4);
	assert_ok(lock_p(&x, READ_LT, 5, 2));
	assert_map(&x, "..WWWRRWRRWW...");
	assert_ok(lock_p(&x, READ_LT, 7, 1)); /* joins its neighbours */
	assert_map(&x, "..WWWRRRRRWW...");
	assert_int_equal(counts(x.f).locks, 3);
	assert_ok(lock_p(&x, WRITE_LT, 0, TO_EOF)); /* upgrade of all */
	assert_map(&x, "WWWWWWWWWWWWWWW");
	assert_int_equal(counts(x.f).locks, 1);
	assert_ok(unlock_p(&x, 0, 3));
	assert_ok(unlock_p(&x, 12, TO_EOF));
	assert_map(&x, "...WWWWWWWWW...");
	assert_ok(unlock_p(&x, 0, TO_EOF));
	assert_map(&x, "...............");
	assert_int_equal(counts(x.f).locks, 0);
	assert_ok(unlock_p(&x, 0, TO_EOF)); /* nothing there: fine */
	assert_ok(lock_p(&x, WRITE_LT, 0, 1));
	assert_ok(lock_p(&x, WRITE_LT, 2, 1));
	assert_ok(lock_p(&x, WRITE_LT, 0, 1)); /* again: nothing changes */
	assert_map(&x, "W.W....");
	assert_ok(lock_p(&x, READ_LT, 0, 3));
	assert_map(&x, "RRR....");
	assert_int_equal(counts(x.f).locks, 1);
}

static void test_edges(void **state)
{
	const uint64_t max = NFS4_UINT64_MAX;
	struct pair x;

	pair_init(&x, *state);
	assert_status(lock_p(&x, READ_LT, 0, 0), NFS4ERR_INVAL);
	assert_status(unlock_p(&x, 0, 0), NFS4ERR_INVAL);
	assert_status(lockt(x.f, x.a, "p", "file", READ_LT, 0, 0), NFS4ERR_INVAL);
	assert_status(lock_p(&x, READ_LT, 2, max - 1), NFS4ERR_INVAL);
	assert_status(lock_p(&x, READ_LT, max, 1), NFS4ERR_INVAL);
	assert_status(unlock_p(&x, max - 1, 2), NFS4ERR_INVAL);
	assert_status(lockt(x.f, x.a, "p", "file", READ_LT, max, 2), NFS4ERR_INVAL);
	assert_ok(lock_p(&x, WRITE_LT, max - 1, 1));
	assert_ok(lock_p(&x, WRITE_LT, max, max)); /* the last byte of all, "to the end" */
	assert_int_equal(counts(x.f).locks, 1);
	assert_status(lockt(x.f, x.b, "q", "file", READ_LT, max - 1, 1), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.denied.range.offset, max - 1);
	assert_int_equal(x.f->r.denied.range.length, TO_EOF);
	assert_ok(lockt(x.f, x.b, "q", "file", READ_LT, 0, max - 1));
	assert_status(lockt(x.f, x.b, "q", "file", READ_LT, 0, max), NFS4ERR_DENIED);
	assert_ok(lock_p(&x, WRITE_LT, 1, max - 1)); /* 1 to max - 1, and what is there already */
	assert_int_equal(counts(x.f).locks, 1);
	assert_status(lockt(x.f, x.b, "q", "file", READ_LT, 0, 2), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.denied.range.offset, 1);
	assert_int_equal(x.f->r.denied.range.length, TO_EOF);
	assert_ok(unlock_p(&x, max, max));
	assert_status(lockt(x.f, x.b, "q", "file", READ_LT, 0, 2), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.denied.range.length, max - 1);
	assert_ok(lockt(x.f, x.b, "q", "file", READ_LT, max, max));
	assert_ok(lock_q(&x, READ_LT, 0, 1));
	assert_status(lock_p(&x, WRITE_LT, 0, TO_EOF), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.denied.range.offset, 0);
	assert_int_equal(x.f->r.denied.range.length, 1);
}

static void test_stateid_seqids(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid open = open_v41(f, a, "o", "file", RW, 0), id, bad;

	assert_ok(lock_new(f, 1, a, open, "p", "file", READ_LT, 0, 1));
	id = f->r.stateid;
	assert_int_equal(id.seqid, 1);
	assert_ok(lock_more(f, 1, a, id, "file", READ_LT, 5, 1));
	assert_int_equal(f->r.stateid.seqid, 2);
	assert_status(lock_more(f, 1, a, id, "file", READ_LT, 5, 1), NFS4ERR_OLD_STATEID);
	assert_status(unlock(f, 1, a, id, "file", 5, 1), NFS4ERR_OLD_STATEID);
	id.seqid = 2;
	assert_ok(unlock(f, 1, a, id, "file", 5, 1));
	assert_int_equal(f->r.stateid.seqid, 3);
	id = f->r.stateid;
	bad = id;
	bad.seqid = 4;
	assert_status(unlock(f, 1, a, bad, "file", 5, 1), NFS4ERR_BAD_STATEID);
	assert_status(unlock(f, 1, a, id, "other", 5, 1), NFS4ERR_BAD_STATEID);
	/* Each kind of stateid where it belongs. */
	assert_status(unlock(f, 1, a, open, "file", 5, 1), NFS4ERR_BAD_STATEID);
	assert_status(lock_more(f, 1, a, open, "file", READ_LT, 5, 1), NFS4ERR_BAD_STATEID);
	assert_status(lock_new(f, 1, a, id, "p", "file", READ_LT, 5, 1), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 1, a, id, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", 1, 0), NFS4ERR_BAD_STATEID);
	/* A DENIED changes nothing. */
	assert_ok(state_test_stateid(f->s, a, &id));
	/* With sessions the open stateid does as well as the lock stateid. */
	assert_ok(lock_new(f, 1, a, open, "p", "file", READ_LT, 9, 1));
	assert_memory_equal(f->r.stateid.other, id.other, sizeof(id.other));
	assert_int_equal(f->r.stateid.seqid, 4);
}

static void test_open_mode(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid r = open_v41(f, a, "r", "file", 1, 0);
	struct stateid w = open_v41(f, a, "w", "file", 2, 0);

	assert_status(lock_new(f, 1, a, r, "p", "file", WRITE_LT, 0, 1), NFS4ERR_OPENMODE);
	assert_status(lock_new(f, 1, a, w, "p", "file", READ_LT, 0, 1), NFS4ERR_OPENMODE);
	assert_int_equal(counts(f).lock_owners, 0);
	assert_ok(lock_new(f, 1, a, r, "p", "file", READ_LT, 0, 1));
	assert_ok(lock_new(f, 1, a, w, "p", "file", WRITE_LT, 1, 1));
	assert_int_equal(counts(f).lock_owners, 1);
	assert_status(use(f, 1, a, f->r.stateid, "file", ACCESS_READ), NFS4ERR_OPENMODE);
	assert_ok(use(f, 1, a, f->r.stateid, "file", ACCESS_WRITE));
}

/* One lock-owner through two opens: its own locks never conflict, and are replaced. */
static void test_two_opens_one_owner(void **state)
{
	struct pair x;
	struct stateid other, second;

	pair_init(&x, *state);
	other = open_v41(x.f, x.a, "o2", "file", RW, 0);
	assert_ok(lock_p(&x, WRITE_LT, 0, 8));
	assert_ok(lock_new(x.f, 1, x.a, other, "p", "file", WRITE_LT, 4, 8));
	second = x.f->r.stateid;
	second.seqid = 0;
	assert_memory_not_equal(second.other, x.p.other, sizeof(second.other));
	assert_map(&x, "WWWWWWWWWWWW..");
	assert_int_equal(counts(x.f).locks, 2); /* of two stateids: they do not merge */
	/* CLOSE frees what came through that open. */
	assert_ok(on_open(x.f, CMD_CLOSE, 1, x.a, x.open_a, "file", 0, 0));
	assert_map(&x, "....WWWWWWWW..");
	assert_status(unlock_p(&x, 0, 1), NFS4ERR_BAD_STATEID);
	assert_ok(unlock(x.f, 1, x.a, second, "file", 0, 6));
	assert_map(&x, "......WWWWWW..");
	assert_ok(on_open(x.f, CMD_CLOSE, 1, x.a, other, "file", 0, 0));
	assert_int_equal(counts(x.f).locks, 0);
	assert_int_equal(counts(x.f).lock_owners, 1); /* q */
}

static void test_free_stateid(void **state)
{
	struct pair x;

	pair_init(&x, *state);
	assert_ok(lock_p(&x, WRITE_LT, 0, 8));
	assert_status(free_stateid(x.f, x.a, x.p), NFS4ERR_LOCKS_HELD);
	assert_status(free_stateid(x.f, x.b, x.p), NFS4ERR_BAD_STATEID);
	assert_ok(unlock_p(&x, 0, 8));
	assert_ok(free_stateid(x.f, x.a, x.p));
	assert_status(free_stateid(x.f, x.a, x.p), NFS4ERR_BAD_STATEID);
	assert_status(state_test_stateid(x.f->s, x.a, &x.p), NFS4ERR_BAD_STATEID);
	assert_status(lock_p(&x, WRITE_LT, 0, 8), NFS4ERR_BAD_STATEID);
	assert_int_equal(counts(x.f).lock_owners, 1);
	assert_ok(lock_new(x.f, 1, x.a, x.open_a, "p", "file", WRITE_LT, 0, 1));
	assert_memory_not_equal(x.f->r.stateid.other, x.p.other, NFS4_OTHER_SIZE);
}

static void test_effects(void **state)
{
	struct pair x;

	pair_init(&x, *state);
	assert_ok(lock_p(&x, WRITE_LT, 0, 8));
	fixture_forget_effects(x.f);
	assert_ok(unlock_p(&x, 0, 8));
	assert_int_equal(x.f->nfreed, 1);
	assert_string_equal(x.f->freed[0], "file");
	fixture_forget_effects(x.f);
	assert_ok(lock_p(&x, WRITE_LT, 0, 8));
	assert_int_equal(x.f->nfreed, 0);
	assert_ok(lock_p(&x, READ_LT, 0, 8)); /* a downgrade lets readers in */
	assert_int_equal(x.f->nfreed, 1);
}

static void test_lockt(void **state)
{
	struct fixture *f = *state;
	struct pair x;
	uint64_t v40 = client_v40(f, "v40");

	pair_init(&x, f);
	assert_status(lockt(f, 0, "p", "file", READ_LT, 0, 1), NFS4ERR_STALE_CLIENTID);
	assert_ok(lockt(f, v40, "p", "nobody knows", READ_LT, 0, 1));
	assert_ok(lock_p(&x, WRITE_LT, 0, 8));
	assert_ok(lockt(f, x.a, "p", "file", WRITE_LT, 0, 8)); /* its own */
	assert_status(lockt(f, x.a, "another", "file", READ_LT, 0, 8), NFS4ERR_DENIED);
	assert_status(lockt(f, x.b, "p", "file", READ_LT, 0, 8), NFS4ERR_DENIED);
	assert_status(lockt(f, v40, "p", "file", READW_LT, 7, 1), NFS4ERR_DENIED);
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, v40));
	assert_status(lockt(f, v40, "p", "file", READ_LT, 0, 1), NFS4ERR_EXPIRED);
	assert_int_equal(counts(f).lock_owners, 2); /* LOCKT makes none */
}

static void test_expiry_frees(void **state)
{
	struct pair x;

	pair_init(&x, *state);
	assert_ok(lock_p(&x, WRITE_LT, 0, 8));
	assert_status(lock_q(&x, WRITE_LT, 4, 8), NFS4ERR_DENIED);
	assert_int_equal(x.f->r.conflict_client, x.a);
	assert_ok(on_client(x.f, CMD_EXPIRE_CLIENT, x.a));
	assert_ok(lock_q(&x, WRITE_LT, 4, 8));
	assert_int_equal(counts(x.f).locks, 1);
}

/* --------------------------------------------------------------- minor version 0 ---- */

static void test_v40_lock_owners(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid one = open_v40(f, a, "o", "one", RW, 0);
	struct stateid two = open_v40(f, a, "o", "two", RW, 0);
	struct stateid lock;
	struct owner_replay replay;
	struct owner_hold *h;

	f->lock_seqid = 20;
	assert_ok(lock_new(f, 0, a, one, "lo", "one", WRITE_LT, 0, 8));
	lock = f->r.stateid;
	/* There is a lock stateid: it must be used (RFC 7530 section 16.10.5). */
	f->lock_seqid = 21;
	assert_status(lock_new(f, 0, a, one, "lo", "one", WRITE_LT, 0, 8), NFS4ERR_BAD_SEQID);
	/* For another file the lock-owner is new, but its sequence goes on. */
	f->lock_seqid = 20;
	assert_status(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8), NFS4ERR_BAD_SEQID);
	f->lock_seqid = 22;
	assert_status(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8), NFS4ERR_BAD_SEQID);
	f->lock_seqid = 21;
	assert_ok(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8));
	/* The lock-owner's hold continues from there. */
	assert_status(state_owner_hold_by_stateid(f->s, &lock, 21, &h, &replay), NFS4ERR_BAD_SEQID);
	assert_status(state_owner_hold_by_stateid(f->s, &lock, 23, &h, &replay), NFS4ERR_BAD_SEQID);
	assert_ok(state_owner_hold_by_stateid(f->s, &lock, 22, &h, &replay));
	assert_false(replay.replay);
	state_owner_release(f->s, h);
	assert_status(lock_new(f, 0, 0, one, "x", "one", READ_LT, 20, 1), NFS4ERR_STALE_CLIENTID);
	assert_status(lock_new(f, 0, client_v40(f, "b"), one, "x", "one", READ_LT, 20, 1),
		      NFS4ERR_BAD_STATEID);
}

static void test_v40_denied_keeps_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a"), b = client_v40(f, "b");
	struct stateid open_a = open_v40(f, a, "o", "file", RW, 0);
	struct stateid open_b = open_v40(f, b, "o", "file", RW, 0);

	assert_ok(lock_new(f, 0, a, open_a, "lo", "file", WRITE_LT, 0, 8));
	f->lock_seqid = 5;
	assert_status(lock_new(f, 0, b, open_b, "lo", "file", WRITE_LT, 0, 8), NFS4ERR_DENIED);
	assert_int_equal(counts(f).lock_owners, 1);
	f->lock_seqid = 6;
	assert_ok(lock_new(f, 0, b, open_b, "lo", "file", WRITE_LT, 8, 8));
}

/* A LOCK that is denied because of a client that then expires is submitted again as it is. */
static void test_v40_submitted_again(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a"), b = client_v40(f, "b");
	struct stateid one = open_v40(f, a, "o", "one", RW, 0);
	struct stateid two = open_v40(f, a, "o", "two", RW, 0);
	struct stateid open_b = open_v40(f, b, "o", "two", RW, 0);

	assert_ok(lock_new(f, 0, b, open_b, "lo", "two", WRITE_LT, 0, 8));
	f->lock_seqid = 5;
	assert_ok(lock_new(f, 0, a, one, "lo", "one", WRITE_LT, 0, 8));
	f->lock_seqid = 6;
	assert_status(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8), NFS4ERR_DENIED);
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, b));
	assert_ok(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8));
	assert_ok(on_open(f, CMD_CLOSE, 0, 0, two, "two", 0, 0));
	two = open_v40(f, a, "o", "two", RW, 0);
	assert_status(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8), NFS4ERR_BAD_SEQID);
	f->lock_seqid = 7;
	assert_ok(lock_new(f, 0, a, two, "lo", "two", WRITE_LT, 0, 8));
}

static void test_release_lockowner(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid one = open_v40(f, a, "o", "one", RW, 0), lock;

	assert_status(release_lockowner(f, 0, "lo"), NFS4ERR_STALE_CLIENTID);
	assert_ok(release_lockowner(f, a, "unknown"));
	assert_ok(lock_new(f, 0, a, one, "lo", "one", WRITE_LT, 0, 8));
	lock = f->r.stateid;
	assert_status(release_lockowner(f, a, "lo"), NFS4ERR_LOCKS_HELD);
	assert_ok(unlock(f, 0, 0, lock, "one", 0, TO_EOF));
	lock = f->r.stateid;
	assert_ok(release_lockowner(f, a, "lo"));
	assert_int_equal(counts(f).lock_owners, 0);
	assert_status(unlock(f, 0, 0, lock, "one", 0, 8), NFS4ERR_BAD_STATEID);
	/* It may begin anew, with any seqid. */
	f->lock_seqid = 1000;
	assert_ok(lock_new(f, 0, a, one, "lo", "one", WRITE_LT, 0, 8));
	/* CLOSE frees the locks; the owner stays for its sequence until it is released. */
	assert_ok(on_open(f, CMD_CLOSE, 0, 0, one, "one", 0, 0));
	assert_int_equal(counts(f).locks, 0);
	assert_int_equal(counts(f).lock_owners, 1);
	assert_ok(release_lockowner(f, a, "lo"));
	assert_int_equal(counts(f).lock_owners, 0);
}

static void few(struct state_config *c)
{
	c->limits.max_locks_per_client = 3;
	c->limits.max_locks = 4;
}

static void test_limits(void **state)
{
	struct fixture f;
	struct pair x;

	fixture_init(&f, few);
	pair_init(&x, &f);
	assert_ok(lock_p(&x, WRITE_LT, 0, 1));
	assert_ok(lock_p(&x, WRITE_LT, 4, 1));
	assert_ok(lock_p(&x, WRITE_LT, 8, 3));
	assert_status(lock_p(&x, WRITE_LT, 20, 1), NFS4ERR_DELAY);
	/* What replaces others needs no room. */
	assert_ok(lock_p(&x, READ_LT, 0, 1));
	assert_status(lock_p(&x, READ_LT, 9, 1), NFS4ERR_DELAY);
	assert_ok(lock_p(&x, WRITE_LT, 0, 1));
	assert_ok(lock_q(&x, WRITE_LT, 40, 1));
	assert_status(lock_q(&x, WRITE_LT, 42, 1), NFS4ERR_DELAY);
	assert_map(&x, "W...W...WWW..");
	/* Freeing always works, even if it makes two of one. */
	assert_ok(unlock_p(&x, 9, 1));
	assert_map(&x, "W...W...W.W..");
	assert_ok(unlock_p(&x, 0, TO_EOF));
	assert_ok(lock_p(&x, WRITE_LT, 0, 1));
	fixture_end(&f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_conflicts),
		TEST(test_split_and_merge),
		TEST(test_edges),
		TEST(test_stateid_seqids),
		TEST(test_open_mode),
		TEST(test_two_opens_one_owner),
		TEST(test_free_stateid),
		TEST(test_effects),
		TEST(test_lockt),
		TEST(test_expiry_frees),
		TEST(test_v40_lock_owners),
		TEST(test_v40_denied_keeps_nothing),
		TEST(test_v40_submitted_again),
		TEST(test_release_lockowner),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests_name("state_lock", tests, NULL, NULL);
}

/*
 * OPEN, CLOSE, OPEN_DOWNGRADE (RFC 7530 sections 16.16, 16.2, 16.19; RFC 8881 section 18.16):
 * create modes, claims, share reservations.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define R	OPEN4_SHARE_ACCESS_READ
#define W	OPEN4_SHARE_ACCESS_WRITE
#define RW	OPEN4_SHARE_ACCESS_BOTH
#define DENY_R	OPEN4_SHARE_DENY_READ
#define DENY_W	OPEN4_SHARE_DENY_WRITE
#define DENY_RW OPEN4_SHARE_DENY_BOTH

static struct attrs *one_num(unsigned attr, uint64_t v)
{
	struct attrs *a = test_alloc(sizeof(*a));

	at_num(a, attr, v);
	return a;
}

static uint32_t open_mode(struct client *cl, struct owner *o, const struct fh *dir,
			  const char *name, uint32_t mode, const struct attrs *attrs,
			  const struct verf *verf, struct open_file *out)
{
	struct open_args a = { .access = RW,
			       .opentype = OPEN4_CREATE,
			       .createmode = mode,
			       .attrs = attrs,
			       .name = name };
	struct open_file f;

	if (verf)
		a.verf = *verf;
	return open_any(cl, o, dir, &a, out ? out : &f);
}

/* ---- create modes ---- */

/* Without create the name must exist. */
static void open_existing(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f;

	expect_status(open_status(cl, owner_new(), &dir, "f", R, 0, &f), NFS4ERR_NOENT);
	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, owner_new(), &dir, "f", R, 0, &f), NFS4_OK);
	/* The filehandle has become the file's. */
	check_num(getattr_num(cl, &f.fh, FATTR4_SIZE), 1);
	check(f.rflags & OPEN4_RESULT_LOCKTYPE_POSIX);
	check(f.result->delegation == OPEN_DELEGATE_NONE ||
	      f.result->delegation == OPEN_DELEGATE_NONE_EXT);
	close_file(cl, &f);
}

/* UNCHECKED4: a new file gets the attributes, an existing one only its size cut off. */
static void create_unchecked(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct attrs *a = one_num(FATTR4_MODE, 0640);
	struct open_file f;

	expect_status(open_mode(cl, owner_new(), &dir, "f", UNCHECKED4, a, NULL, &f), NFS4_OK);
	check(bm_has(&f.result->attrset, FATTR4_MODE));
	check_num(getattr_num(cl, &f.fh, FATTR4_MODE), 0640);
	check(f.result->cinfo.before != f.result->cinfo.after);
	close_file(cl, &f);

	make_file(cl, &dir, "g", "0123456789", 10);
	at_num(a, FATTR4_MODE, 0777);
	expect_status(open_mode(cl, owner_new(), &dir, "g", UNCHECKED4, a, NULL, &f), NFS4_OK);
	check_num(f.result->cinfo.before, f.result->cinfo.after);
	check_num(getattr_num(cl, &f.fh, FATTR4_MODE), 0644);
	check_num(getattr_num(cl, &f.fh, FATTR4_SIZE), 10);
	close_file(cl, &f);
	at_num(a, FATTR4_SIZE, 0);
	expect_status(open_mode(cl, owner_new(), &dir, "g", UNCHECKED4, a, NULL, &f), NFS4_OK);
	check(bm_has(&f.result->attrset, FATTR4_SIZE));
	check_num(getattr_num(cl, &f.fh, FATTR4_SIZE), 0);
	check_num(getattr_num(cl, &f.fh, FATTR4_MODE), 0644);
	close_file(cl, &f);
}

/* GUARDED4: the name must not exist. */
static void create_guarded(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct attrs *a = one_num(FATTR4_MODE, 0600);
	struct open_file f;

	expect_status(open_mode(cl, owner_new(), &dir, "f", GUARDED4, a, NULL, &f), NFS4_OK);
	check_num(getattr_num(cl, &f.fh, FATTR4_MODE), 0600);
	close_file(cl, &f);
	expect_status(open_mode(cl, owner_new(), &dir, "f", GUARDED4, a, NULL, NULL),
		      NFS4ERR_EXIST);
	make(cl, &dir, NF4DIR, "d");
	make(cl, &dir, NF4LNK, "l");
	expect_status(open_mode(cl, owner_new(), &dir, "d", GUARDED4, a, NULL, NULL),
		      NFS4ERR_EXIST);
	expect_status(open_mode(cl, owner_new(), &dir, "l", GUARDED4, a, NULL, NULL),
		      NFS4ERR_EXIST);
	expect_one_of(open_mode(cl, owner_new(), &dir, "d", UNCHECKED4, a, NULL, NULL),
		      NFS4ERR_ISDIR, NFS4ERR_EXIST);
	expect_one_of(open_mode(cl, owner_new(), &dir, "l", UNCHECKED4, a, NULL, NULL),
		      NFS4ERR_SYMLINK, NFS4ERR_EXIST);
}

/* EXCLUSIVE4: the verifier makes a retry succeed, and nothing else. */
static void create_exclusive(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct verf v = { { 1, 2, 3, 4, 0xff, 0xfe, 0xfd, 0xfc } }, w = v;
	struct open_file f, again;

	w.data[7]++;
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4, NULL, &v, &f), NFS4_OK);
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4, NULL, &v, &again), NFS4_OK);
	check(f.fh.len == again.fh.len && !memcmp(f.fh.data, again.fh.data, f.fh.len));
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4, NULL, &w, NULL),
		      NFS4ERR_EXIST);
	make_file(cl, &dir, "other", "x", 1);
	expect_status(open_mode(cl, owner_new(), &dir, "other", EXCLUSIVE4, NULL, &v, NULL),
		      NFS4ERR_EXIST);
	close_file(cl, &f);
	close_file(cl, &again);
}

/* A retry after the server has restarted is recognised; the times are undamaged. */
static void create_exclusive_over_restart(void **state)
{
	struct client *cl = client_new(1);
	struct fh dir = test_dir(cl);
	struct verf v = { { 0x80, 2, 3, 4, 5, 6, 7, 0x81 } }, w = { { 9 } };
	struct open_file f;
	struct attrs *a;

	wire_need_restart();
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4, NULL, &v, &f), NFS4_OK);
	a = getattrs(cl, &f.fh, bm_of(FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, -1));
	check(a->a[FATTR4_TIME_MODIFY].num + 60 > (uint64_t)time(NULL));
	check(a->a[FATTR4_TIME_MODIFY].num < (uint64_t)time(NULL) + 60);
	check(a->a[FATTR4_TIME_ACCESS].num + 60 > (uint64_t)time(NULL));
	check(a->a[FATTR4_TIME_ACCESS].num < (uint64_t)time(NULL) + 60);
	wire_server_restart();
	cl = client_new(0);
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4, NULL, &w, NULL),
		      NFS4ERR_EXIST);
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4, NULL, &v, &f), NFS4_OK);
}

/* EXCLUSIVE4_1: the same with attributes (RFC 8881 section 18.16.3). */
static void create_exclusive_41(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct verf v = { { 1, 1, 2, 3, 5, 8, 13, 21 } }, w = v;
	struct attrs *a = one_num(FATTR4_MODE, 0640), *bad = test_alloc(sizeof(*bad));
	struct open_file f, again;

	w.data[0] = 0;
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4_1, a, &v, &f), NFS4_OK);
	check(bm_has(&f.result->attrset, FATTR4_MODE));
	check_num(getattr_num(cl, &f.fh, FATTR4_MODE), 0640);
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4_1, a, &v, &again), NFS4_OK);
	expect_status(open_mode(cl, owner_new(), &dir, "f", EXCLUSIVE4_1, a, &w, NULL),
		      NFS4ERR_EXIST);
	/* Attributes that suppattr_exclcreat does not have. */
	at_str(bad, FATTR4_MIMETYPE, "text/plain");
	expect_one_of(open_mode(cl, owner_new(), &dir, "g", EXCLUSIVE4_1, bad, &v, NULL),
		      NFS4ERR_ATTRNOTSUPP, NFS4ERR_INVAL);
	expect_status(lookup(cl, &dir, "g", NULL), NFS4ERR_NOENT);
}

/* Attributes that cannot be: nothing is created. */
static void create_bad_attributes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct attrs *a = test_alloc(sizeof(*a));

	at_str(a, FATTR4_MIMETYPE, "text/plain");
	expect_status(open_mode(cl, owner_new(), &dir, "f", UNCHECKED4, a, NULL, NULL),
		      NFS4ERR_ATTRNOTSUPP);
	expect_status(open_mode(cl, owner_new(), &dir, "f", GUARDED4, one_num(FATTR4_FILEID, 1),
				NULL, NULL),
		      NFS4ERR_INVAL);
	expect_status(lookup(cl, &dir, "f", NULL), NFS4ERR_NOENT);
}

/* A file created without any rights can be written by the one who created it. */
static void create_without_rights(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f;
	struct compound *q = begin_at(cl, &dir);

	add_setattr(q, &SID_ANONYMOUS, one_num(FATTR4_MODE, 0777));
	expect(call(q), NFS4_OK);
	cl->conn->uid = cl->conn->gid = 2001;
	/* Another principal than that of SETCLIENTID is fine for OPEN. */
	expect_status(open_mode(cl, owner_new(), &dir, "f", GUARDED4, one_num(FATTR4_MODE, 0), NULL,
				&f),
		      NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_write(q, &f.sid, 0, FILE_SYNC4, "data", 4);
	add_read(q, &f.sid, 0, 4);
	expect(call(q), NFS4_OK);
	close_file(cl, &f);
	expect_status(open_status(cl, owner_new(), &dir, "f", R, 0, NULL), NFS4ERR_ACCESS);
}

/* ---- arguments ---- */

/* Share bits that do not exist, or no access at all (section 16.16.5: INVAL). */
static void bad_share_bits(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();

	make_file(cl, &dir, "f", "x", 1);
	expect_one_of(open_status(cl, o, &dir, "f", 0, 0, NULL), NFS4ERR_INVAL, NFS4ERR_BADXDR);
	expect_one_of(open_status(cl, o, &dir, "f", 4, 0, NULL), NFS4ERR_INVAL, NFS4ERR_BADXDR);
	expect_one_of(open_status(cl, o, &dir, "f", R, 4, NULL), NFS4ERR_INVAL, NFS4ERR_BADXDR);
	expect_one_of(open_status(cl, o, &dir, "f", R | 0x80000000, 0, NULL), NFS4ERR_INVAL,
		      NFS4ERR_BADXDR);
}

/* Wishes for delegations are wishes (RFC 8881 section 18.16.3). */
static void delegation_wishes(void **state)
{
	static const uint32_t wants[] = { 0x100, 0x200, 0x300, 0x400, 0x500, 0x10100, 0x20100 };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	make_file(cl, &dir, "f", "x", 1);
	for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
		struct open_file f;

		expect_status(open_status(cl, owner_new(), &dir, "f", R | wants[i], 0, &f),
			      NFS4_OK);
		check(f.result->delegation == OPEN_DELEGATE_NONE ||
		      f.result->delegation == OPEN_DELEGATE_NONE_EXT);
		if (wants[i] == 0x400 && f.result->delegation == OPEN_DELEGATE_NONE_EXT)
			check_num(f.result->why_none, WND4_NOT_WANTED);
		close_file(cl, &f);
	}
}

/* Permissions are the caller's. */
static void open_permissions(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();

	make_file(cl, &dir, "f", "x", 1); /* 0644 of root */
	cl->conn->uid = cl->conn->gid = 2001;
	expect_status(open_status(cl, o, &dir, "f", R, 0, NULL), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", W, 0, NULL), NFS4ERR_ACCESS);
	expect_status(open_status(cl, o, &dir, "f", RW, 0, NULL), NFS4ERR_ACCESS);
	expect_status(open_mode(cl, o, &dir, "new", GUARDED4, one_num(FATTR4_MODE, 0600), NULL,
				NULL),
		      NFS4ERR_ACCESS);
}

/* ---- claims (section 18.16.3 of RFC 8881) ---- */

static void claim_fh(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct open_args a = { .access = R, .claim = CLAIM_FH };
	struct open_file f;
	struct compound *q;

	expect_status(open_any(cl, owner_new(), &fh, &a, &f), NFS4_OK);
	check(f.fh.len == fh.len && !memcmp(f.fh.data, fh.data, fh.len));
	q = begin_at(cl, &fh);
	add_read(q, &f.sid, 0, 1);
	expect(call(q), NFS4_OK);
	close_file(cl, &f);
}

/*
 * What a program on the server, or another node, has removed is gone, whatever the server still has in
 * its cache; but who has it open may open it again.
 */
static void claim_fh_of_removed_file(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl), gone, held;
	struct open_args a = { .access = R, .claim = CLAIM_FH };
	struct open_file f, again;
	char path[256], name[32];

	wire_need_disk();
	snprintf(name, sizeof(name), "gone%u", cl->minor);
	gone = make_file(cl, &root, name, "x", 1);
	snprintf(path, sizeof(path), "%s/%s", wire_server_dir(), name);
	getattrs(cl, &gone, bm_of(FATTR4_SIZE, -1));
	check(unlink(path) == 0);
	expect_status(open_any(cl, owner_new(), &gone, &a, &f), NFS4ERR_STALE);

	held = make_file(cl, &root, name, "x", 1);
	expect_status(open_any(cl, owner_new(), &held, &a, &f), NFS4_OK);
	check(unlink(path) == 0);
	expect_status(open_any(cl, owner_new(), &held, &a, &again), NFS4_OK);
	close_file(cl, &again);
	close_file(cl, &f);
}

/* Claims of delegations that nobody has. */
static void claims_of_delegations(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct open_args a = { .access = R, .claim = CLAIM_DELEGATE_CUR, .name = "f" };
	struct open_file f;

	a.deleg_sid = (struct sid){ 1, { 1, 2, 3, 4, 5 } };
	expect_one_of(open_any(cl, owner_new(), &dir, &a, &f), NFS4ERR_BAD_STATEID,
		      NFS4ERR_STALE_STATEID, NFS4ERR_NOTSUPP);
	a.claim = CLAIM_DELEGATE_PREV;
	expect_one_of(open_any(cl, owner_new(), &dir, &a, &f), NFS4ERR_NOTSUPP, NFS4ERR_RECLAIM_BAD,
		      NFS4ERR_NO_GRACE);
	if (cl->minor == 0)
		return;
	a.claim = CLAIM_DELEG_CUR_FH;
	expect_one_of(open_any(cl, owner_new(), &fh, &a, &f), NFS4ERR_BAD_STATEID, NFS4ERR_NOTSUPP);
	a.claim = CLAIM_DELEG_PREV_FH;
	expect_one_of(open_any(cl, owner_new(), &fh, &a, &f), NFS4ERR_NOTSUPP, NFS4ERR_RECLAIM_BAD,
		      NFS4ERR_NO_GRACE);
}

/* ---- share reservations (RFC 7530 section 9.9) ---- */

/* Every pair of two owners, at the same client and at two. */
static void share_conflicts(void **state)
{
	struct client *cl = client_new(minor_of(state)),
		      *other = client_new((minor_of(state) + 1) % 3);
	struct fh dir = test_dir(cl);

	make_file(cl, &dir, "f", "x", 1);
	for (uint32_t who = 0; who < 2; who++) {
		struct client *second = who ? other : cl;
		struct owner *o1 = owner_new(), *o2 = owner_new();

		for (uint32_t i = 0; i < 12 * 12; i++) {
			uint32_t a1 = i % 3 + 1, d1 = i / 3 % 4, a2 = i / 12 % 3 + 1, d2 = i / 36;
			bool conflict = (a1 & d2) || (a2 & d1);
			struct open_file f, g;
			uint32_t got;

			expect_status(open_status(cl, o1, &dir, "f", a1, d1, &f), NFS4_OK);
			got = open_status(second, o2, &dir, "f", a2, d2, &g);
			if (got != (conflict ? NFS4ERR_SHARE_DENIED : NFS4_OK))
				fail_with("access %u deny %u against access %u deny %u: %s", a2, d2,
					  a1, d1, status_name(got));
			if (got == NFS4_OK)
				close_file(second, &g);
			close_file(cl, &f);
		}
	}
}

/* The same owner again: its open is upgraded; it never conflicts with itself. */
static void upgrade(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new(), *oo = owner_new();
	struct open_file f, g;
	struct compound *q;

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", R, 0, &f), NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_write(q, &f.sid, 0, FILE_SYNC4, "y", 1);
	expect(call(q), NFS4ERR_OPENMODE);
	expect_status(open_status(cl, o, &dir, "f", W, DENY_W, &g), NFS4_OK);
	check(memcmp(f.sid.other, g.sid.other, sizeof(f.sid.other)) == 0);
	check_num(g.sid.seqid, f.sid.seqid + 1);
	q = begin_at(cl, &f.fh);
	add_write(q, &g.sid, 0, FILE_SYNC4, "y", 1);
	add_read(q, &g.sid, 0, 1);
	expect(call(q), NFS4_OK);
	expect_status(open_status(other, oo, &dir, "f", W, 0, NULL), NFS4ERR_SHARE_DENIED);
	expect_status(open_status(other, oo, &dir, "f", R, DENY_R, NULL), NFS4ERR_SHARE_DENIED);
	expect_status(open_status(other, oo, &dir, "f", R, 0, NULL), NFS4_OK);
	/* One CLOSE ends it all. */
	close_file(cl, &g);
	expect_status(open_status(other, oo, &dir, "f", W, 0, NULL), NFS4_OK);
}

/*
 * Shares are checked "with no exception for an existing OPEN for the same open-owner" (RFC 7530
 * section 9.9, RFC 8881 section 9.7): what it denies it denies itself.
 */
static void upgrade_denied_by_oneself(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f, g;

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", R, DENY_W, &f), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", W, 0, NULL), NFS4ERR_SHARE_DENIED);
	expect_status(open_status(cl, o, &dir, "f", R, DENY_R, NULL), NFS4ERR_SHARE_DENIED);
	expect_status(open_status(cl, o, &dir, "f", RW, DENY_W, NULL), NFS4ERR_SHARE_DENIED);
	/* The same again is as before, with another seqid. */
	expect_status(open_status(cl, o, &dir, "f", R, DENY_W, &g), NFS4_OK);
	check(memcmp(f.sid.other, g.sid.other, sizeof(f.sid.other)) == 0);
	check_num(g.sid.seqid, f.sid.seqid + 1);
	close_file(cl, &g);
}

/* An upgrade that conflicts with others fails, and the open is as it was. */
static void upgrade_denied(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f, g;
	struct compound *q;

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", R, 0, &f), NFS4_OK);
	expect_status(open_status(other, owner_new(), &dir, "f", R, DENY_W, &g), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", W, 0, NULL), NFS4ERR_SHARE_DENIED);
	expect_status(open_status(cl, o, &dir, "f", R, DENY_R, NULL), NFS4ERR_SHARE_DENIED);
	q = begin_at(cl, &f.fh);
	add_read(q, &f.sid, 0, 1);
	expect(call(q), NFS4_OK);
	close_file(other, &g);
	expect_status(open_status(cl, o, &dir, "f", W, 0, &g), NFS4_OK);
	close_file(cl, &g);
}

static struct result *downgrade(struct client *cl, struct open_file *f, uint32_t access,
				uint32_t deny)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_open_downgrade(q, &f->sid, cl->minor ? 0 : f->owner->seqid, access, deny);
	r = call(q);
	if (cl->minor == 0 && seqid_advances(r->status))
		f->owner->seqid++;
	if (r->status == NFS4_OK)
		f->sid = last(r)->sid;
	return last(r);
}

/* OPEN_DOWNGRADE: to what was opened before, and only that (section 16.19.4). */
static void downgrade_rules(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new(), *oo = owner_new();
	struct open_file f, g;
	struct sid before;
	struct compound *q;

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", R, 0, &f), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", RW, DENY_W, &f), NFS4_OK);
	/* Never opened so. */
	expect_status(downgrade(cl, &f, W, 0)->status, NFS4ERR_INVAL);
	expect_status(downgrade(cl, &f, RW, DENY_RW)->status, NFS4ERR_INVAL);
	expect_status(downgrade(cl, &f, 0, 0)->status, NFS4ERR_INVAL);
	expect_status(downgrade(cl, &f, 8, 0)->status, NFS4ERR_INVAL);
	before = f.sid;
	expect_status(downgrade(cl, &f, R, 0)->status, NFS4_OK);
	check_num(f.sid.seqid, before.seqid + 1);
	check(memcmp(before.other, f.sid.other, sizeof(before.other)) == 0);
	q = begin_at(cl, &f.fh);
	add_write(q, &f.sid, 0, FILE_SYNC4, "y", 1);
	expect(call(q), NFS4ERR_OPENMODE);
	expect_status(open_status(other, oo, &dir, "f", W, 0, &g), NFS4_OK);
	close_file(other, &g);
	/* There is nothing above any more. */
	expect_status(downgrade(cl, &f, RW, DENY_W)->status, NFS4ERR_INVAL);
	expect_status(downgrade(cl, &f, R, 0)->status, NFS4_OK);
	close_file(cl, &f);
}

static void downgrade_stateids(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f, old, g = { .fh = make_file(cl, &dir, "g", "x", 1) };

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", R, 0, &old), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", RW, 0, &f), NFS4_OK);
	expect_status(downgrade(cl, &old, R, 0)->status, NFS4ERR_OLD_STATEID);
	/* The stateid of another file. */
	g.sid = f.sid;
	g.owner = o;
	expect_status(downgrade(cl, &g, R, 0)->status, NFS4ERR_BAD_STATEID);
	expect_status(downgrade(cl, &f, R, 0)->status, NFS4_OK);
}

/* ---- CLOSE ---- */

static void close_rules(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f, old, wrong;
	struct compound *q;

	make_file(cl, &dir, "f", "x", 1);
	make_file(cl, &dir, "g", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", R, 0, &old), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", RW, 0, &f), NFS4_OK);
	expect_status(close_status(cl, &old), NFS4ERR_OLD_STATEID);
	wrong = f;
	expect_status(lookup(cl, &dir, "g", &wrong.fh), NFS4_OK);
	expect_status(close_status(cl, &wrong), NFS4ERR_BAD_STATEID);
	wrong = f;
	wrong.sid = SID_ANONYMOUS;
	expect_status(close_status(cl, &wrong), NFS4ERR_BAD_STATEID);
	close_file(cl, &f);
	expect_one_of(close_status(cl, &f), NFS4ERR_BAD_STATEID, NFS4ERR_OLD_STATEID);
	q = begin_at(cl, &f.fh);
	add_read(q, &f.sid, 0, 1);
	expect_one_of(call(q)->status, NFS4ERR_BAD_STATEID, NFS4ERR_OLD_STATEID);
}

/* A removed file goes on for those who have it open. */
static void removed_while_open(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", RW, 0);
	struct compound *q = begin_at(cl, &f.fh);
	struct reply *r;

	add_write(q, &f.sid, 0, FILE_SYNC4, "still here", 10);
	expect(call(q), NFS4_OK);
	expect_status(remove_name(cl, &dir, "f"), NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_read(q, &f.sid, 0, 100);
	add_getattr(q, bm_of(FATTR4_NUMLINKS, FATTR4_SIZE, -1));
	r = call(q);
	expect(r, NFS4_OK);
	check_num(result_of(r, OP_READ)->len, 10);
	check_num(last(r)->attrs->a[FATTR4_NUMLINKS].num, 0);
	close_file(cl, &f);
	q = begin_at(cl, &f.fh);
	expect(call(q), NFS4ERR_STALE);
}

/* Many opens of many owners at once. */
static void many_opens(void **state)
{
	enum { N = 300 };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file *f = test_alloc(N * sizeof(*f));

	for (int i = 0; i < N; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i % 10);
		f[i] = open_create(cl, owner_new(), &dir, name, RW, 0);
		for (int j = 0; j < i; j++)
			check(memcmp(f[i].sid.other, f[j].sid.other, sizeof(f[i].sid.other)) != 0);
	}
	for (int i = N; i-- > 0;)
		close_file(cl, &f[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(open_existing),
		WIRE_ALL_MINORS(create_unchecked),
		WIRE_ALL_MINORS(create_guarded),
		WIRE_ALL_MINORS(create_exclusive),
		WIRE_TEST(create_exclusive_over_restart),
		WIRE_SESSIONS(create_exclusive_41),
		WIRE_ALL_MINORS(create_bad_attributes),
		WIRE_ALL_MINORS(create_without_rights),
		WIRE_ALL_MINORS(bad_share_bits),
		WIRE_SESSIONS(delegation_wishes),
		WIRE_ALL_MINORS(open_permissions),
		WIRE_SESSIONS(claim_fh),
		WIRE_SESSIONS(claim_fh_of_removed_file),
		WIRE_ALL_MINORS(claims_of_delegations),
		WIRE_ALL_MINORS(share_conflicts),
		WIRE_ALL_MINORS(upgrade),
		WIRE_ALL_MINORS(upgrade_denied),
		WIRE_ALL_MINORS(upgrade_denied_by_oneself),
		WIRE_ALL_MINORS(downgrade_rules),
		WIRE_ALL_MINORS(downgrade_stateids),
		WIRE_ALL_MINORS(close_rules),
		WIRE_ALL_MINORS(removed_while_open),
		WIRE_ALL_MINORS(many_opens),
	};

	return wire_main("open", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Delegations that are asked for: WANT_DELEGATION (RFC 8881 section 18.49), and what
 * draft-ietf-nfsv4-delstid adds: delegations instead of opens, times that their holder keeps.
 */
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define QUIET_MS 150
#define R	 OPEN4_SHARE_ACCESS_READ
#define W	 OPEN4_SHARE_ACCESS_WRITE
#define RW	 OPEN4_SHARE_ACCESS_BOTH
#define XOR	 OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION
#define TIMES	 OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS

struct scene {
	struct client *cl, *other;
	struct fh dir, fh;
	struct owner *owner;
	struct open_file open;
	struct sid deleg;
};

static struct scene scene_of(void **state)
{
	struct scene s = { .cl = client_new_back(minor_of(state), NULL),
			   .other = client_new(minor_of(state)),
			   .owner = owner_new() };

	s.dir = test_dir(s.other);
	s.fh = make_file(s.other, &s.dir, "f", "content", 7);
	return s;
}

static struct reply *want_of(struct client *cl, const struct fh *fh, uint32_t want, uint32_t claim)
{
	struct compound *q = begin_at(cl, fh);

	add_want_delegation(q, want, claim, OPEN_DELEGATE_WRITE);
	return call(q);
}

static struct result *want(struct scene *s, uint32_t flags)
{
	struct reply *r = want_of(s->cl, &s->fh, flags, CLAIM_FH);

	expect(r, NFS4_OK);
	s->deleg = last(r)->deleg_sid;
	return last(r);
}

static uint32_t deleg_return(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_delegreturn(q, sid);
	return call(q)->status;
}

static void recalled(struct scene *s)
{
	struct cb_call *cb = cb_recv(s->cl->conn);

	check_num(cb->op, OP_CB_RECALL);
	check(memcmp(&cb->sid, &s->deleg, sizeof(cb->sid)) == 0);
	cb_answer(cb, NFS4_OK);
}

static uint32_t open_other(struct scene *s, uint32_t access, uint32_t deny)
{
	return open_status(s->other, owner_new(), &s->dir, "f", access, deny,
			   &(struct open_file){ 0 });
}

static uint32_t read_with(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_read(q, sid, 0, 10);
	return call(q)->status;
}

static uint32_t write_with(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_write(q, sid, 0, FILE_SYNC4, "new", 3);
	return call(q)->status;
}

/* ---- WANT_DELEGATION ---- */

static void want_granted(void **state)
{
	struct scene s = scene_of(state);
	struct result *r = want(&s, OPEN4_SHARE_ACCESS_WANT_READ_DELEG);

	check_num(r->delegation, OPEN_DELEGATE_READ);
	check(!r->recall);
	expect_status(read_with(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(write_with(s.cl, &s.fh, &s.deleg), NFS4ERR_OPENMODE);
	expect_status(open_other(&s, R, 0), NFS4_OK);
	expect_status(open_other(&s, W, 0), NFS4ERR_DELAY);
	recalled(&s);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(open_other(&s, W, 0), NFS4_OK);

	s = scene_of(state);
	r = want(&s, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG | RW);
	check_num(r->delegation, OPEN_DELEGATE_WRITE);
	expect_status(write_with(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(open_other(&s, R, 0), NFS4ERR_DELAY);
	recalled(&s);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(open_other(&s, R, 0), NFS4_OK);

	s = scene_of(state);
	check_num(want(&s, OPEN4_SHARE_ACCESS_WANT_ANY_DELEG)->delegation, OPEN_DELEGATE_READ);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
}

static void why_not(struct scene *s, uint32_t flags, uint32_t why)
{
	struct result *r = want(s, flags);

	check_num(r->delegation, OPEN_DELEGATE_NONE_EXT);
	check_num(r->why_none, why);
}

static void want_refused(void **state)
{
	struct scene s = scene_of(state), t;
	struct fh link = make(s.other, &s.dir, NF4LNK, "l");
	struct fh file = s.fh;

	/* Nothing is remembered, so there is nothing to be cancelled or pushed. */
	why_not(&s, OPEN4_SHARE_ACCESS_WANT_CANCEL, WND4_CANCELLED);
	expect(want_of(s.cl, &s.fh, 0, CLAIM_FH), NFS4ERR_INVAL);
	expect(want_of(s.cl, &s.fh, RW, CLAIM_FH), NFS4ERR_INVAL);
	expect(want_of(s.cl, &s.fh, OPEN4_SHARE_ACCESS_WANT_NO_DELEG, CLAIM_FH), NFS4ERR_INVAL);
	expect(want_of(s.cl, &s.fh, 0x0600, CLAIM_FH), NFS4ERR_INVAL);
	expect(want_of(s.cl, &s.fh, OPEN4_SHARE_ACCESS_WANT_READ_DELEG | 0x40000000, CLAIM_FH),
	       NFS4ERR_INVAL);
	expect(want_of(s.cl, &s.fh, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, CLAIM_DELEG_PREV_FH),
	       NFS4ERR_NOTSUPP);
	expect(want_of(s.cl, &s.fh, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, CLAIM_NULL),
	       NFS4ERR_BADXDR);
	expect(want_of(s.cl, &s.fh, 0, CLAIM_PREVIOUS), NFS4ERR_NO_GRACE);
	s.fh = s.dir;
	why_not(&s, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, WND4_IS_DIR);
	s.fh = link;
	why_not(&s, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, WND4_NOT_SUPP_FTYPE);
	why_not(&s, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG, WND4_WRITE_DELEG_NOT_SUPP_FTYPE);
	s.fh = file;
	/* Who has one keeps it. */
	check_num(want(&s, OPEN4_SHARE_ACCESS_WANT_READ_DELEG)->delegation, OPEN_DELEGATE_READ);
	t = s;
	why_not(&t, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG, WND4_NOT_SUPP_UPGRADE);
	why_not(&t, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, WND4_RESOURCE);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	check_num(want(&s, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG)->delegation, OPEN_DELEGATE_WRITE);
	t = s;
	why_not(&t, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, WND4_NOT_SUPP_DOWNGRADE);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	/* Others are not called back for it. */
	expect_status(open_other(&s, R, 0), NFS4_OK);
	why_not(&s,
		OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG |
		    OPEN4_SHARE_ACCESS_WANT_PUSH_DELEG_WHEN_UNCONTENDED,
		WND4_CONTENTION);
	/* A client that cannot be called. */
	t.cl = s.other;
	why_not(&t, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, WND4_RESOURCE);
	check(cb_quiet(s.cl->conn, QUIET_MS));
}

/* Only what the user could open. */
static void want_permission(void **state)
{
	struct scene s = scene_of(state);
	struct compound *q = begin_at(s.other, &s.fh);
	struct attrs at = { 0 };

	at_num(&at, FATTR4_MODE, 0644);
	add_setattr(q, &SID_ANONYMOUS, &at);
	expect(call(q), NFS4_OK);
	s.cl->conn->uid = s.cl->conn->gid = 4711;
	why_not(&s, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG, WND4_RESOURCE);
	check_num(want(&s, OPEN4_SHARE_ACCESS_WANT_READ_DELEG)->delegation, OPEN_DELEGATE_READ);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
}

/* ---- one of open and delegation ---- */

static void open_wanting(struct scene *s, uint32_t access)
{
	struct open_args a = { .access = access, .name = "f" };

	expect_status(open_any(s->cl, s->owner, &s->dir, &a, &s->open), NFS4_OK);
	s->deleg = s->open.result->deleg_sid;
}

static bool has_open(const struct scene *s)
{
	bool none = s->open.result->rflags & OPEN4_RESULT_NO_OPEN_STATEID;

	check(none == (memcmp(&s->open.sid, &SID_ANONYMOUS, sizeof(s->open.sid)) == 0));
	return !none;
}

static void xor_delegation(void **state)
{
	struct scene s = scene_of(state);
	struct sid deleg;

	open_wanting(&s, RW | XOR | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE);
	check(!has_open(&s));
	expect_status(write_with(s.cl, &s.fh, &s.deleg), NFS4_OK);
	/* The delegation counts as the open, and has no share reservation. */
	deleg = s.deleg;
	expect_status(open_other(&s, R, 0), NFS4ERR_DELAY);
	recalled(&s);
	{
		struct open_args a = { .access = RW,
				       .claim = CLAIM_DELEG_CUR_FH,
				       .deleg_sid = deleg };

		expect_status(open_any(s.cl, s.owner, &s.fh, &a, &s.open), NFS4_OK);
		check(has_open(&s));
	}
	expect_status(deleg_return(s.cl, &s.fh, &deleg), NFS4_OK);
	expect_status(open_other(&s, R, 0), NFS4_OK);
	expect_status(write_with(s.cl, &s.fh, &s.open.sid), NFS4_OK);

	/* Nothing is left when it is returned. */
	s = scene_of(state);
	open_wanting(&s, R | XOR | OPEN4_SHARE_ACCESS_WANT_READ_DELEG);
	check_num(s.open.result->delegation, OPEN_DELEGATE_READ);
	check(!has_open(&s));
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(open_other(&s, RW, OPEN4_SHARE_DENY_BOTH), NFS4_OK);
}

/* Without a delegation, with an open of the owner's before, and to deny something: an open. */
static void xor_open(void **state)
{
	struct scene s = scene_of(state);
	struct open_args a = { .access = RW | XOR | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG,
			       .deny = OPEN4_SHARE_DENY_WRITE,
			       .name = "f" };

	expect_status(open_other(&s, R, 0), NFS4_OK);
	open_wanting(&s, RW | XOR | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(s.open.result->delegation, OPEN_DELEGATE_NONE_EXT);
	check_num(s.open.result->why_none, WND4_CONTENTION);
	check(has_open(&s));

	s = scene_of(state);
	open_wanting(&s, R | XOR | OPEN4_SHARE_ACCESS_WANT_NO_DELEG);
	check(has_open(&s));
	open_wanting(&s, RW | XOR | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE);
	check(has_open(&s));
	check_num(s.open.sid.seqid, 2);

	s = scene_of(state);
	expect_status(open_any(s.cl, s.owner, &s.dir, &a, &s.open), NFS4_OK);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE);
	check(has_open(&s));
}

/* A file made by an OPEN that brings no open; the current stateid is the delegation's. */
static void xor_create(void **state)
{
	struct scene s = scene_of(state);
	struct attrs at = { 0 };
	struct open_args a = { .access = RW | XOR | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG,
			       .clientid = s.cl->clientid,
			       .owner = "maker",
			       .opentype = OPEN4_CREATE,
			       .createmode = UNCHECKED4,
			       .attrs = &at,
			       .name = "made" };
	struct compound *q = begin_at(s.cl, &s.dir);
	struct reply *r;

	at_num(&at, FATTR4_MODE, 0600);
	add_open(q, &a);
	add_write(q, &SID_CURRENT, 0, FILE_SYNC4, "x", 1);
	add_getattr(q, bm_of(FATTR4_SIZE, -1));
	r = call(q);
	expect(r, NFS4_OK);
	check(result_of(r, OP_OPEN)->rflags & OPEN4_RESULT_NO_OPEN_STATEID);
	check_num(last(r)->attrs->a[FATTR4_SIZE].num, 1);
}

/* ---- times ---- */

static struct timespec now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

static uint32_t set_times(struct client *cl, const struct fh *fh, const struct sid *sid,
			  int64_t atime, int64_t mtime)
{
	struct compound *q = begin_at(cl, fh);
	struct attrs at = { 0 };
	struct reply *r;

	at_time(&at, FATTR4_TIME_DELEG_MODIFY, mtime, 5);
	at_time(&at, FATTR4_TIME_DELEG_ACCESS, atime, 6);
	add_setattr(q, sid, &at);
	r = call(q);
	if (r->status == NFS4_OK)
		check(bm_has(&last(r)->attrset, FATTR4_TIME_DELEG_MODIFY) &&
		      bm_has(&last(r)->attrset, FATTR4_TIME_DELEG_ACCESS));
	return r->status;
}

static void times(void **state)
{
	struct scene s = scene_of(state);
	struct bitmap wanted = bm_of(FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, -1);
	struct attrs *before, *after;
	int64_t t;

	open_wanting(&s, RW | TIMES | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE_ATTRS_DELEG);
	before = getattrs(s.cl, &s.fh, wanted);
	/* The past is ignored, */
	t = (int64_t)before->a[FATTR4_TIME_MODIFY].num;
	expect_status(set_times(s.cl, &s.fh, &s.deleg, t - 100, t - 100), NFS4_OK);
	after = getattrs(s.cl, &s.fh, wanted);
	check_num(after->a[FATTR4_TIME_MODIFY].num, before->a[FATTR4_TIME_MODIFY].num);
	check_num(after->a[FATTR4_TIME_MODIFY].num2, before->a[FATTR4_TIME_MODIFY].num2);
	/* the future is now, */
	expect_status(set_times(s.cl, &s.fh, &s.deleg, t + 1000, t + 1000), NFS4_OK);
	after = getattrs(s.cl, &s.fh, wanted);
	check((int64_t)after->a[FATTR4_TIME_MODIFY].num <= (int64_t)now().tv_sec);
	check((int64_t)after->a[FATTR4_TIME_ACCESS].num <= (int64_t)now().tv_sec);
	check(after->a[FATTR4_TIME_MODIFY].num > before->a[FATTR4_TIME_MODIFY].num ||
	      after->a[FATTR4_TIME_MODIFY].num2 > before->a[FATTR4_TIME_MODIFY].num2);
	/* and nobody else may: not without the delegation, with another stateid, as another client. */
	expect_status(set_times(s.cl, &s.fh, &s.open.sid, t, t), NFS4ERR_BAD_STATEID);
	expect_status(set_times(s.cl, &s.fh, &SID_ANONYMOUS, t, t), NFS4ERR_BAD_STATEID);
	expect_status(set_times(s.other, &s.fh, &s.deleg, t, t), NFS4ERR_BAD_STATEID);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(set_times(s.cl, &s.fh, &s.deleg, t, t), NFS4ERR_BAD_STATEID);
}

/* A time between the file's and now is what the file gets. */
static void times_kept(void **state)
{
	struct scene s = scene_of(state);
	struct compound *q = begin_at(s.other, &s.fh);
	struct attrs at = { 0 }, *after;
	int64_t t = (int64_t)now().tv_sec;

	at_time(&at, FATTR4_TIME_MODIFY_SET, t - 1000, 0);
	at_time(&at, FATTR4_TIME_ACCESS_SET, t - 1000, 0);
	add_setattr(q, &SID_ANONYMOUS, &at);
	expect(call(q), NFS4_OK);
	open_wanting(&s, RW | TIMES | XOR | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE_ATTRS_DELEG);
	expect_status(set_times(s.cl, &s.fh, &s.deleg, t - 400, t - 500), NFS4_OK);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4_OK);
	after = getattrs(s.other, &s.fh, bm_of(FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, -1));
	check_num(after->a[FATTR4_TIME_MODIFY].num, (uint64_t)(t - 500));
	check_num(after->a[FATTR4_TIME_MODIFY].num2, 5);
	check_num(after->a[FATTR4_TIME_ACCESS].num, (uint64_t)(t - 400));
	check_num(after->a[FATTR4_TIME_ACCESS].num2, 6);
}

/* Who asks for attributes sees the holder's times. */
static void times_asked(void **state)
{
	struct scene s = scene_of(state);
	struct compound *q;
	struct cb_call *cb;
	struct attrs *granted, *a;
	struct reply *r;
	struct enc e;
	struct timespec t;

	open_wanting(&s, RW | TIMES | OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	granted = getattrs(s.cl, &s.fh, bm_of(FATTR4_CHANGE, FATTR4_SIZE, -1));
	q = begin_at(s.other, &s.fh);
	add_getattr(q, bm_of(FATTR4_CHANGE, FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, -1));
	check(compound_send(q));
	cb = cb_recv(s.cl->conn);
	check_num(cb->op, OP_CB_GETATTR);
	check(bm_has(&cb->bm, FATTR4_TIME_DELEG_ACCESS) &&
	      bm_has(&cb->bm, FATTR4_TIME_DELEG_MODIFY));
	t = now();
	enc_init(&e, 128);
	put_u32(&e, 3);
	put_u32(&e, 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE);
	put_u32(&e, 0);
	put_u32(&e, 1u << (FATTR4_TIME_DELEG_ACCESS - 64) | 1u << (FATTR4_TIME_DELEG_MODIFY - 64));
	put_u32(&e, 40);
	put_u64(&e, granted->a[FATTR4_CHANGE].num + 1);
	put_u64(&e, 7);
	put_i64(&e, t.tv_sec + 5000);
	put_u32(&e, 1);
	put_i64(&e, t.tv_sec);
	put_u32(&e, (uint32_t)t.tv_nsec);
	cb_answer_body(cb, NFS4_OK, e.buf, enc_len(&e));
	r = compound_parse(q, rpc_must_recv(q->conn));
	compound_done(q, r);
	expect(r, NFS4_OK);
	a = last(r)->attrs;
	check_num(a->a[FATTR4_TIME_MODIFY].num, (uint64_t)t.tv_sec);
	check_num(a->a[FATTR4_TIME_MODIFY].num2, (uint64_t)t.tv_nsec);
	check(a->a[FATTR4_TIME_ACCESS].num <= (uint64_t)now().tv_sec);
	check(a->a[FATTR4_CHANGE].num != granted->a[FATTR4_CHANGE].num);
}

/* Only SETATTR and CB_GETATTR have these attributes, and only minor version 2. */
static void times_elsewhere(void **state)
{
	struct scene s = scene_of(state);
	struct compound *q = begin_at(s.cl, &s.fh);
	struct attrs at = { 0 }, *a;
	struct open_args o = { .access = RW | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
			       .opentype = OPEN4_CREATE,
			       .createmode = UNCHECKED4,
			       .attrs = &at,
			       .name = "g" };

	add_getattr(q, bm_of(FATTR4_TIME_DELEG_MODIFY, -1));
	expect(call(q), NFS4ERR_INVAL);
	at_time(&at, FATTR4_TIME_DELEG_MODIFY, 1, 0);
	q = begin_at(s.cl, &s.fh);
	add_verify(q, &at);
	expect(call(q), NFS4ERR_INVAL);
	q = begin_at(s.cl, &s.dir);
	add_create(q, NF4DIR, "d", NULL, 0, 0, &at);
	expect(call(q), NFS4ERR_INVAL);
	expect_status(open_any(s.cl, s.owner, &s.dir, &o, &s.open), NFS4ERR_INVAL);
	a = getattrs(s.cl, &s.fh, bm_of(FATTR4_OPEN_ARGUMENTS, -1));
	check(a->a[FATTR4_OPEN_ARGUMENTS].bits[2] & XOR);
	check(a->a[FATTR4_OPEN_ARGUMENTS].bits[2] & TIMES);
	check_num(a->a[FATTR4_OPEN_ARGUMENTS].bits[0], 0xe);
	check_num(a->a[FATTR4_OPEN_ARGUMENTS].bits[1], 0xf);
}

static void not_in_minor_1(void **state)
{
	struct scene s = scene_of(state);
	struct open_args a = { .access = RW | XOR, .name = "f" };
	struct attrs at = { 0 };
	struct compound *q = begin_at(s.cl, &s.fh);

	expect_status(open_any(s.cl, s.owner, &s.dir, &a, &s.open), NFS4ERR_INVAL);
	at_time(&at, FATTR4_TIME_DELEG_MODIFY, 1, 0);
	q = begin_at(s.cl, &s.fh);
	add_setattr(q, &SID_ANONYMOUS, &at);
	expect(call(q), NFS4ERR_ATTRNOTSUPP);
	check(!bm_has(
	    &getattrs(s.cl, &s.fh, bm_of(FATTR4_SUPPORTED_ATTRS, -1))->a[FATTR4_SUPPORTED_ATTRS].bm,
	    FATTR4_OPEN_ARGUMENTS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_SESSIONS(want_granted),	WIRE_SESSIONS(want_refused),
		WIRE_SESSIONS(want_permission), WIRE_MINOR(xor_delegation, 2),
		WIRE_MINOR(xor_open, 2),	WIRE_MINOR(xor_create, 2),
		WIRE_MINOR(times, 2),		WIRE_MINOR(times_kept, 2),
		WIRE_MINOR(times_asked, 2),	WIRE_MINOR(times_elsewhere, 2),
		WIRE_MINOR(not_in_minor_1, 1),
	};

	return wire_main("wire_deleg_want", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

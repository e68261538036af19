/*
 * Delegations (RFC 8881 section 10.4, RFC 7530 section 10.4): who is given one, what recalls it, what
 * becomes of it. The lease is the shortest: what is not returned within it is revoked.
 *
 * After a file's delegation has been recalled the server leaves the file alone for a while, so every
 * test has files of its own.
 */
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE	 10
#define QUIET_MS 150 /* that nothing comes within it is as good as never */
#define R	 OPEN4_SHARE_ACCESS_READ
#define W	 OPEN4_SHARE_ACCESS_WRITE
#define RW	 OPEN4_SHARE_ACCESS_BOTH

/* Two clients and a file; the first can be called. */
struct scene {
	struct client *cl, *other;
	struct conn *back; /* where calls to the first one arrive */
	struct fh dir, fh;
	struct owner *owner;
	struct open_file open;
	struct sid deleg;
};

static struct scene scene_of(uint32_t minor, uint32_t other_minor)
{
	struct scene s = { .cl = client_new_back(minor, &s.back), .other = client_new(other_minor) };

	if (minor > 0)
		s.back = s.cl->conn;
	s.dir = test_dir(s.other);
	s.fh = make_file(s.other, &s.dir, "f", "content", 7);
	s.owner = owner_new();
	return s;
}

static uint32_t open_again(struct scene *s, uint32_t access)
{
	expect_status(open_status(s->cl, s->owner, &s->dir, "f", access, 0, &s->open), NFS4_OK);
	s->deleg = s->open.result->deleg_sid;
	return s->open.result->delegation;
}

/* The file is open with that access and delegated. */
static struct scene delegated_of(uint32_t minor, uint32_t other_minor, uint32_t access)
{
	struct scene s = scene_of(minor, other_minor);

	/* Minor version 0's first OPEN must be confirmed, which goes before everything else. */
	if (minor == 0) {
		struct open_file g;

		make_file(s.other, &s.dir, "g", "", 0);
		expect_status(open_status(s.cl, s.owner, &s.dir, "g", R, 0, &g), NFS4_OK);
		check_num(g.result->delegation, OPEN_DELEGATE_NONE);
	}
	check_num(open_again(&s, access), access == R ? OPEN_DELEGATE_READ : OPEN_DELEGATE_WRITE);
	check(!s.open.result->recall);
	check_num(s.deleg.seqid, 1);
	return s;
}

static struct scene delegated(void **state, uint32_t access)
{
	return delegated_of(minor_of(state), minor_of(state), access);
}

static uint32_t deleg_return(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_delegreturn(q, sid);
	return call(q)->status;
}

/* The recall comes; answered with `status`. */
static void recalled_with(struct scene *s, uint32_t status)
{
	struct cb_call *cb = cb_recv(s->back);

	check_num(cb->op, OP_CB_RECALL);
	check(memcmp(&cb->sid, &s->deleg, sizeof(cb->sid)) == 0);
	check_num(cb->fh.len, s->fh.len);
	check(memcmp(cb->fh.data, s->fh.data, cb->fh.len) == 0);
	check(!cb->truncate);
	cb_answer(cb, status);
}

static void recalled(struct scene *s)
{
	recalled_with(s, NFS4_OK);
}

static void give_back(struct scene *s)
{
	expect_status(deleg_return(s->cl, &s->fh, &s->deleg), NFS4_OK);
}

/* The other client's operation as a compound of its own, again and again. */
typedef uint32_t operation(struct scene *s);

/* It must wait for the delegation, recalls it once, and goes ahead when it is back. */
static void recalls(struct scene *s, operation *op)
{
	expect_status(op(s), NFS4ERR_DELAY);
	recalled(s);
	expect_status(op(s), NFS4ERR_DELAY);
	check(cb_quiet(s->back, QUIET_MS));
	give_back(s);
	expect_status(op(s), NFS4_OK);
}

static void does_not_recall(struct scene *s, operation *op)
{
	expect_status(op(s), NFS4_OK);
	check(cb_quiet(s->back, QUIET_MS));
}

/* ---- granting ---- */

static void granted(void **state)
{
	struct scene s = delegated(state, R);

	/* One is enough; it stays when the file is closed. */
	check_num(open_again(&s, R), OPEN_DELEGATE_NONE);
	close_file(s.cl, &s.open);
	check(cb_quiet(s.back, QUIET_MS));
	s = delegated(state, R);
	give_back(&s);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4ERR_BAD_STATEID);
}

static void not_without_callback_path(void **state)
{
	struct scene s = scene_of(minor_of(state), minor_of(state));
	struct open_file f;
	struct owner *o = owner_new();

	for (int i = 0; i < 2; i++) {
		expect_status(open_status(s.other, o, &s.dir, "f", R, 0, &f), NFS4_OK);
		check_num(f.result->delegation, OPEN_DELEGATE_NONE);
	}
}

/* Minor version 0 cannot be asked who reads attributes. */
static void no_write_delegation_v40(void **state)
{
	struct scene s = delegated_of(0, 1, R);

	give_back(&s);
	check_num(open_again(&s, RW), OPEN_DELEGATE_NONE);
}

static void not_beside_a_writer(void **state)
{
	struct scene s = scene_of(minor_of(state), minor_of(state));
	struct open_file writer;

	expect_status(open_status(s.other, owner_new(), &s.dir, "f", W, 0, &writer), NFS4_OK);
	check_num(open_again(&s, R), OPEN_DELEGATE_NONE);
	check_num(open_again(&s, RW), OPEN_DELEGATE_NONE);
	close_file(s.other, &writer);
	check_num(open_again(&s, RW), OPEN_DELEGATE_WRITE);
}

static struct result *open_wanting(struct scene *s, uint32_t access, uint32_t want)
{
	struct open_args a = { .access = access | want, .name = "f" };

	expect_status(open_any(s->cl, s->owner, &s->dir, &a, &s->open), NFS4_OK);
	return s->open.result;
}

static void want_flags(void **state)
{
	struct scene s = scene_of(minor_of(state), minor_of(state));
	struct result *r = open_wanting(&s, R, OPEN4_SHARE_ACCESS_WANT_NO_DELEG);

	check_num(r->delegation, OPEN_DELEGATE_NONE_EXT);
	check_num(r->why_none, WND4_NOT_WANTED);
	r = open_wanting(&s, R, OPEN4_SHARE_ACCESS_WANT_CANCEL);
	check_num(r->delegation, OPEN_DELEGATE_NONE_EXT);
	check_num(r->why_none, WND4_CANCELLED);
	r = open_wanting(&s, R, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(r->delegation, OPEN_DELEGATE_NONE_EXT);
	r = open_wanting(&s, RW, OPEN4_SHARE_ACCESS_WANT_READ_DELEG);
	check_num(r->delegation, OPEN_DELEGATE_READ);
	expect_status(deleg_return(s.cl, &s.fh, &r->deleg_sid), NFS4_OK);
	r = open_wanting(&s, RW, OPEN4_SHARE_ACCESS_WANT_ANY_DELEG);
	check_num(r->delegation, OPEN_DELEGATE_WRITE);
	expect_status(deleg_return(s.cl, &s.fh, &r->deleg_sid), NFS4_OK);
	/* Somebody else has it open. */
	expect_status(open_status(s.other, owner_new(), &s.dir, "f", R, 0, &(struct open_file){ 0 }),
		      NFS4_OK);
	r = open_wanting(&s, RW, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(r->delegation, OPEN_DELEGATE_NONE_EXT);
	check_num(r->why_none, WND4_CONTENTION);
}

/* A file that was recalled a moment ago is left alone, other files are not. */
static void back_off(void **state)
{
	struct scene s = delegated(state, R);

	expect_status(open_status(s.other, owner_new(), &s.dir, "f", W, 0, &(struct open_file){ 0 }),
		      NFS4ERR_DELAY);
	recalled(&s);
	give_back(&s);
	check_num(open_again(&s, R), OPEN_DELEGATE_NONE);
}

/* ---- conflicts ---- */

static uint32_t do_open_read(struct scene *s)
{
	return open_status(s->other, owner_new(), &s->dir, "f", R, 0, &(struct open_file){ 0 });
}

static uint32_t do_open_write(struct scene *s)
{
	return open_status(s->other, owner_new(), &s->dir, "f", W, 0, &(struct open_file){ 0 });
}

static uint32_t do_open_truncate(struct scene *s)
{
	struct attrs at = { 0 };
	struct open_args a = { .access = R,
			       .opentype = OPEN4_CREATE,
			       .createmode = UNCHECKED4,
			       .attrs = &at,
			       .name = "f" };

	at_num(&at, FATTR4_SIZE, 0);
	return open_any(s->other, owner_new(), &s->dir, &a, &(struct open_file){ 0 });
}

static uint32_t set_attr(struct client *cl, const struct fh *fh, const struct sid *sid,
			 unsigned attr, uint64_t value)
{
	struct compound *q = begin_at(cl, fh);
	struct attrs at = { 0 };

	at_num(&at, attr, value);
	add_setattr(q, sid, &at);
	return call(q)->status;
}

static uint32_t do_chmod(struct scene *s)
{
	return set_attr(s->other, &s->fh, &SID_ANONYMOUS, FATTR4_MODE, 0600);
}

static uint32_t do_truncate(struct scene *s)
{
	return set_attr(s->other, &s->fh, &SID_ANONYMOUS, FATTR4_SIZE, 3);
}

static uint32_t do_remove(struct scene *s)
{
	return remove_name(s->other, &s->dir, "f");
}

static uint32_t rename_names(struct client *cl, const struct fh *dir, const char *from,
			     const char *to)
{
	struct compound *q = begin_at(cl, dir);

	add_savefh(q);
	add_rename(q, from, to);
	return call(q)->status;
}

static uint32_t do_rename(struct scene *s)
{
	return rename_names(s->other, &s->dir, "f", "new");
}

static uint32_t do_rename_onto(struct scene *s)
{
	return rename_names(s->other, &s->dir, "x", "f");
}

static uint32_t do_link(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_savefh(q);
	add_putfh(q, &s->dir);
	add_link(q, "second");
	return call(q)->status;
}

static uint32_t do_write(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "x", 1);
	return call(q)->status;
}

static uint32_t do_read(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_read(q, &SID_ANONYMOUS, 0, 1);
	return call(q)->status;
}

static uint32_t do_read_bypass(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_read(q, &SID_BYPASS, 0, 1);
	return call(q)->status;
}

static uint32_t do_getattr(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_getattr(q, bm_of(FATTR4_SIZE, FATTR4_CHANGE, -1));
	return call(q)->status;
}

static uint32_t do_getattr_type(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_getattr(q, bm_of(FATTR4_TYPE, FATTR4_FILEID, -1));
	return call(q)->status;
}

static uint32_t do_verify(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);
	struct attrs at = { 0 };

	at_num(&at, FATTR4_SIZE, 7);
	add_verify(q, &at);
	return call(q)->status;
}

static uint32_t do_lookup(struct scene *s)
{
	return lookup(s->other, &s->dir, "f", &(struct fh){ 0 });
}

static uint32_t do_setxattr(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_setxattr(q, 0, "key", "value", 5);
	return call(q)->status;
}

static uint32_t do_getxattr(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_getxattr(q, "key");
	return call(q)->status;
}

static uint32_t do_removexattr(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_removexattr(q, "key");
	return call(q)->status;
}

static void check_all(void **state, operation *const *ops, size_t n, uint32_t access,
		      void (*check_one)(struct scene *s, operation *op))
{
	struct scene s = delegated(state, access);
	struct client *cl = s.cl, *other = s.other;
	struct conn *back = s.back;

	for (size_t i = 0; i < n; i++) {
		if (i > 0) {
			s = (struct scene){ .cl = cl, .other = other, .back = back };
			s.dir = test_dir(other);
			s.fh = make_file(other, &s.dir, "f", "content", 7);
			s.owner = owner_new();
			if (cl->minor == 0) {
				make_file(other, &s.dir, "g", "", 0);
				expect_status(open_status(cl, s.owner, &s.dir, "g", R, 0,
							  &(struct open_file){ 0 }),
					      NFS4_OK);
			}
			check(open_again(&s, access) != OPEN_DELEGATE_NONE);
		}
		make_file(other, &s.dir, "x", "", 0);
		/* Not the open stands in the way, but the delegation. */
		close_file(cl, &s.open);
		check_one(&s, ops[i]);
	}
}

static void read_conflicts(void **state)
{
	static operation *const ops[] = { do_open_write, do_open_truncate, do_chmod,
					  do_truncate,	 do_remove,	   do_rename,
					  do_rename_onto, do_link,	   do_write };

	check_all(state, ops, sizeof(ops) / sizeof(ops[0]), R, recalls);
}

static void read_peace(void **state)
{
	static operation *const ops[] = { do_open_read, do_read,   do_read_bypass, do_getattr,
					  do_verify,	do_lookup, do_getattr_type };

	check_all(state, ops, sizeof(ops) / sizeof(ops[0]), R, does_not_recall);
}

static void write_conflicts(void **state)
{
	static operation *const ops[] = { do_open_read, do_open_write, do_open_truncate, do_chmod,
					  do_truncate,	do_remove,     do_rename,	 do_link,
					  do_write,	do_read,       do_read_bypass };

	check_all(state, ops, sizeof(ops) / sizeof(ops[0]), RW, recalls);
}

static void write_peace(void **state)
{
	static operation *const ops[] = { do_getattr_type, do_lookup };

	check_all(state, ops, sizeof(ops) / sizeof(ops[0]), RW, does_not_recall);
}

/* RFC 8276 sections 8.4.2.4 and 8.4.4.4: changing an extended attribute recalls, reading does not. */
static void extended_attributes(void **state)
{
	struct scene s = delegated_of(2, 2, R);
	struct client *other = s.other;

	if (do_setxattr(&(struct scene){ .other = s.cl, .fh = s.fh }) == NFS4ERR_NOTSUPP)
		skip();
	close_file(s.cl, &s.open);
	does_not_recall(&s, do_getxattr);
	s.other = s.cl;
	does_not_recall(&s, do_setxattr);
	s.other = other;
	recalls(&s, do_removexattr);
	s = delegated_of(2, 2, R);
	close_file(s.cl, &s.open);
	recalls(&s, do_setxattr);
}

/* A client of another minor version is another client. */
static void across_minor_versions(void **state)
{
	struct scene s = delegated_of(1, 0, RW);

	close_file(s.cl, &s.open);
	recalls(&s, do_read);
	s = delegated_of(0, 1, R);
	close_file(s.cl, &s.open);
	recalls(&s, do_remove);
}

/* Its holder may do everything; nobody is called. */
static void own_operations(void **state)
{
	struct scene s = delegated(state, RW);

	s.other = s.cl;
	does_not_recall(&s, do_getattr);
	does_not_recall(&s, do_chmod);
	does_not_recall(&s, do_write);
	does_not_recall(&s, do_open_write);
	does_not_recall(&s, do_link);
	does_not_recall(&s, do_rename);
	expect_status(remove_name(s.cl, &s.dir, "new"), NFS4_OK);
	check(cb_quiet(s.back, QUIET_MS));
}

/* Readers share delegations; a writer calls them all back. */
static void many_readers(void **state)
{
	struct scene s = delegated(state, R), t = s;
	struct client *third = client_new(minor_of(state));

	t.cl = client_new_back(minor_of(state), &t.back);
	if (minor_of(state) > 0)
		t.back = t.cl->conn;
	t.owner = owner_new();
	if (minor_of(state) == 0)
		expect_status(open_status(t.cl, t.owner, &t.dir, "g", R, 0, &(struct open_file){ 0 }),
			      NFS4_OK);
	check_num(open_again(&t, R), OPEN_DELEGATE_READ);
	s.other = third;
	expect_status(do_open_write(&s), NFS4ERR_DELAY);
	recalled(&s);
	recalled(&t);
	give_back(&s);
	expect_status(do_open_write(&s), NFS4ERR_DELAY);
	give_back(&t);
	expect_status(do_open_write(&s), NFS4_OK);
}

/* ---- using it ---- */

static uint32_t write_with(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_write(q, sid, 0, FILE_SYNC4, "new", 3);
	return call(q)->status;
}

static uint32_t read_with(struct client *cl, const struct fh *fh, const struct sid *sid,
			  const char *content)
{
	struct compound *q = begin_at(cl, fh);
	struct reply *r;

	add_read(q, sid, 0, 100);
	r = call(q);
	if (r->status == NFS4_OK) {
		check_num(last(r)->len, strlen(content));
		check(memcmp(last(r)->data, content, last(r)->len) == 0);
	}
	return r->status;
}

static void io_with_read_delegation(void **state)
{
	struct scene s = delegated(state, R);

	/* The open is gone, and the opener's permission as well: the delegation is enough. */
	close_file(s.cl, &s.open);
	expect_status(read_with(s.cl, &s.fh, &s.deleg, "content"), NFS4_OK);
	expect_status(write_with(s.cl, &s.fh, &s.deleg), NFS4ERR_OPENMODE);
	expect_status(set_attr(s.cl, &s.fh, &s.deleg, FATTR4_SIZE, 1), NFS4ERR_OPENMODE);
	check(cb_quiet(s.back, QUIET_MS));
}

/*
 * A write delegation is for all opens (RFC 8881 section 10.4): who opens a file for writing only and
 * asks for one reads with it as well, if the file may be read at all.
 */
static void write_only_open(void **state)
{
	struct scene s = scene_of(minor_of(state), minor_of(state));
	struct result *r = open_wanting(&s, W, 0);

	check_num(r->delegation, OPEN_DELEGATE_NONE);
	r = open_wanting(&s, W, OPEN4_SHARE_ACCESS_WANT_ANY_DELEG);
	check_num(r->delegation, OPEN_DELEGATE_WRITE);
	for (int i = 0; i < 2; i++) {
		expect_status(read_with(s.cl, &s.fh, &r->deleg_sid, i ? "newtent" : "content"),
			      NFS4_OK);
		expect_status(write_with(s.cl, &s.fh, &r->deleg_sid), NFS4_OK);
	}
	close_file(s.cl, &s.open);
	expect_status(read_with(s.cl, &s.fh, &r->deleg_sid, "newtent"), NFS4_OK);
	s.deleg = r->deleg_sid;
	recalls(&s, do_open_read);

	s = (struct scene){ .cl = s.cl, .other = s.other, .back = s.back, .dir = test_dir(s.other) };
	s.fh = make_file(s.other, &s.dir, "f", "content", 7);
	s.owner = owner_new();
	expect_status(set_attr(s.other, &s.fh, &SID_ANONYMOUS, FATTR4_MODE, 0222), NFS4_OK);
	s.cl->conn->uid = s.cl->conn->gid = 2001;
	r = open_wanting(&s, W, OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG);
	check_num(r->delegation, OPEN_DELEGATE_NONE_EXT);
}

static void io_with_write_delegation(void **state)
{
	struct scene s = delegated(state, RW);

	close_file(s.cl, &s.open);
	expect_status(write_with(s.cl, &s.fh, &s.deleg), NFS4_OK);
	expect_status(read_with(s.cl, &s.fh, &s.deleg, "newtent"), NFS4_OK);
	expect_status(set_attr(s.cl, &s.fh, &s.deleg, FATTR4_SIZE, 3), NFS4_OK);
	expect_status(read_with(s.cl, &s.fh, &s.deleg, "new"), NFS4_OK);
	check(cb_quiet(s.back, QUIET_MS));
	give_back(&s);
	expect_status(read_with(s.cl, &s.fh, &s.deleg, "new"), NFS4ERR_BAD_STATEID);
}

static void wrong_uses(void **state)
{
	struct scene s = delegated(state, RW);
	struct fh elsewhere = make_file(s.cl, &s.dir, "other", "", 0);
	struct compound *q;
	struct reply *r;

	expect_status(read_with(s.cl, &elsewhere, &s.deleg, ""), NFS4ERR_BAD_STATEID);
	expect_status(deleg_return(s.cl, &elsewhere, &s.deleg), NFS4ERR_BAD_STATEID);
	expect_status(deleg_return(s.other, &s.fh, &s.deleg), NFS4ERR_BAD_STATEID);
	expect_status(deleg_return(s.cl, &s.fh, &s.open.sid), NFS4ERR_BAD_STATEID);
	q = begin_at(s.cl, &s.fh);
	add_close(q, 0, &s.deleg);
	expect_status(call(q)->status, NFS4ERR_BAD_STATEID);
	q = begin_at(s.cl, &s.fh);
	add_lock_new(q, WRITE_LT, false, 0, 1, 0, &s.deleg, 0, s.cl->clientid, "lock-owner");
	expect_status(call(q)->status, NFS4ERR_BAD_STATEID);
	q = begin(s.cl);
	add_free_stateid(q, &s.deleg);
	expect_status(call(q)->status, NFS4ERR_LOCKS_HELD);
	q = begin(s.cl);
	add_test_stateid(q, &s.deleg, 1);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->list[0], NFS4_OK);
	give_back(&s);
}

/* Before it is returned, what was opened under it is opened for real. */
static void claim_delegate_cur(void **state)
{
	struct scene s = delegated(state, R);
	struct open_args a = { .access = R,
			       .claim = CLAIM_DELEGATE_CUR,
			       .name = "f",
			       .deleg_sid = s.deleg };
	struct open_file f;

	expect_status(do_open_write(&s), NFS4ERR_DELAY);
	recalled(&s);
	expect_status(open_any(s.cl, s.owner, &s.dir, &a, &f), NFS4_OK);
	check_num(f.result->delegation, OPEN_DELEGATE_NONE);
	a.access = RW;
	expect_status(open_any(s.cl, s.owner, &s.dir, &a, &f), NFS4ERR_INVAL);
	give_back(&s);
	a.access = R;
	expect_status(open_any(s.cl, s.owner, &s.dir, &a, &f), NFS4ERR_BAD_STATEID);
	expect_status(do_open_write(&s), NFS4_OK);
}

static void claim_deleg_cur_fh(void **state)
{
	struct scene s = delegated(state, RW);
	struct open_args a = { .access = RW, .claim = CLAIM_DELEG_CUR_FH, .deleg_sid = s.deleg };
	struct open_file f;

	expect_status(do_open_read(&s), NFS4ERR_DELAY);
	recalled(&s);
	expect_status(open_any(s.cl, owner_new(), &s.fh, &a, &f), NFS4_OK);
	give_back(&s);
	expect_status(do_open_read(&s), NFS4_OK);
	expect_status(write_with(s.cl, &s.fh, &f.sid), NFS4_OK);
}

/* ---- clients that do not do as they should ---- */

/* The recall overtook the OPEN's reply, or the client is busy: it is called again. */
static void recalled_again(void **state)
{
	struct scene s = delegated(state, R);

	expect_status(do_open_write(&s), NFS4ERR_DELAY);
	recalled_with(&s, NFS4ERR_BADHANDLE);
	recalled_with(&s, NFS4ERR_DELAY);
	recalled(&s);
	give_back(&s);
	expect_status(do_open_write(&s), NFS4_OK);
}

/* The recall says which request it is about while the client may not have its reply. */
static void referring_call(void **state)
{
	struct scene s = delegated(state, R);
	struct cb_call *cb;

	/* The OPEN was the last request of its slot. */
	expect_status(do_open_write(&s), NFS4ERR_DELAY);
	cb = cb_recv(s.back);
	check_num(cb->nreferrals, 1);
	check(memcmp(cb->ref_session, s.cl->session, sizeof(cb->ref_session)) == 0);
	check_num(cb->ref_slot, 0);
	check_num(cb->ref_seqid, s.cl->slot_seq[0] - 1);
	cb_answer(cb, NFS4_OK);
	give_back(&s);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Until the other client gets through; its lease and the holder's are kept alive meanwhile. */
static void await_revocation(struct scene *s)
{
	struct timespec step = { .tv_nsec = 200 * 1000 * 1000 };
	double start = now();
	uint32_t status;

	while ((status = do_open_write(s)) == NFS4ERR_DELAY) {
		check(now() - start < LEASE + 5);
		if (s->cl->minor > 0)
			client_status_flags(s->cl);
		else
			getattr_num(s->cl, &s->dir, FATTR4_TYPE);
		nanosleep(&step, NULL);
	}
	expect_status(status, NFS4_OK);
	check(now() - start > LEASE - 2);
}

static void revoked(void **state)
{
	struct scene s = delegated(state, R);
	struct compound *q;
	struct reply *r;

	expect_status(do_open_write(&s), NFS4ERR_DELAY);
	recalled(&s);
	await_revocation(&s);
	check(client_status_flags(s.cl) & SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
	expect_status(read_with(s.cl, &s.fh, &s.deleg, ""), NFS4ERR_DELEG_REVOKED);
	expect_status(deleg_return(s.cl, &s.fh, &s.deleg), NFS4ERR_DELEG_REVOKED);
	q = begin(s.cl);
	add_test_stateid(q, &s.deleg, 1);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->list[0], NFS4ERR_DELEG_REVOKED);
	q = begin(s.cl);
	add_free_stateid(q, &s.deleg);
	expect(call(q), NFS4_OK);
	check_num(client_status_flags(s.cl) & SEQ4_STATUS_RECALLABLE_STATE_REVOKED, 0);
	expect_status(read_with(s.cl, &s.fh, &s.deleg, ""), NFS4ERR_BAD_STATEID);
	/* It gets no more. */
	make_file(s.other, &s.dir, "next", "", 0);
	expect_status(open_status(s.cl, s.owner, &s.dir, "next", R, 0, &s.open), NFS4_OK);
	check_num(s.open.result->delegation, OPEN_DELEGATE_NONE);
}

/* A holder that has gone is not waited for longer than its lease. */
static void vanished(void **state)
{
	struct scene s = delegated(state, R);
	struct timespec step = { .tv_nsec = 200 * 1000 * 1000 };
	double start = now();
	uint32_t status;

	conn_close(s.cl->conn);
	while ((status = do_open_write(&s)) == NFS4ERR_DELAY) {
		check(now() - start < LEASE + 5);
		nanosleep(&step, NULL);
	}
	expect_status(status, NFS4_OK);
}

int main(void)
{
	static const struct wire_options options = { .lease = LEASE };
	const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(granted),
		WIRE_ALL_MINORS(not_without_callback_path),
		WIRE_TEST(no_write_delegation_v40),
		WIRE_SESSIONS(not_beside_a_writer),
		WIRE_SESSIONS(want_flags),
		WIRE_ALL_MINORS(back_off),
		WIRE_ALL_MINORS(read_conflicts),
		WIRE_ALL_MINORS(read_peace),
		WIRE_SESSIONS(write_conflicts),
		WIRE_SESSIONS(write_peace),
		WIRE_TEST(extended_attributes),
		WIRE_TEST(across_minor_versions),
		WIRE_SESSIONS(own_operations),
		WIRE_ALL_MINORS(many_readers),
		WIRE_ALL_MINORS(io_with_read_delegation),
		WIRE_SESSIONS(io_with_write_delegation),
		WIRE_SESSIONS(write_only_open),
		WIRE_SESSIONS(wrong_uses),
		WIRE_ALL_MINORS(claim_delegate_cur),
		WIRE_SESSIONS(claim_deleg_cur_fh),
		WIRE_ALL_MINORS(recalled_again),
		WIRE_SESSIONS(referring_call),
		WIRE_MINOR(revoked, 1),
		WIRE_MINOR(vanished, 1),
		WIRE_MINOR(vanished, 0),
	};

	return wire_main("wire_deleg", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

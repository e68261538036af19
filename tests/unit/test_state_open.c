/* Opens, share reservations, stateids; minor version 0's owners and sequence ids. */
#include "test_state_fixture.h"

#include <stdio.h>

#define R    OPEN4_SHARE_ACCESS_READ
#define W    OPEN4_SHARE_ACCESS_WRITE
#define RW   OPEN4_SHARE_ACCESS_BOTH
#define NONE OPEN4_SHARE_DENY_NONE

/* ------------------------------------------------------------ share reservations ---- */

static void test_share_matrix(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);

	for (uint32_t access = 1; access <= 3; access++) {
		for (uint32_t deny = 0; deny <= 3; deny++) {
			struct stateid first = open_v41(f, a, "o", "file", access, deny);

			for (uint32_t access2 = 1; access2 <= 3; access2++) {
				for (uint32_t deny2 = 0; deny2 <= 3; deny2++) {
					bool denied = (access & deny2) || (access2 & deny);

					do_open(f, 1, b, "o", "file", access2, deny2);
					if (denied) {
						assert_int_equal(f->r.status, NFS4ERR_SHARE_DENIED);
						assert_int_equal(f->r.conflict_client, a);
						continue;
					}
					assert_int_equal(f->r.status, NFS4_OK);
					assert_ok(on_open(f, CMD_CLOSE, 1, b, f->r.open.stateid,
							  "file", 0, 0));
				}
			}
			assert_ok(on_open(f, CMD_CLOSE, 1, a, first, "file", 0, 0));
		}
	}
	assert_int_equal(counts(f).files, 0);
	assert_int_equal(counts(f).open_owners, 0);
}

static void test_open_invalid(void **state)
{
	struct fixture *f = *state;
	uint64_t id = client_v41(f, "a", NULL);
	struct state_command reclaim = { .type = CMD_OPEN,
					 .minor = 1,
					 .clientid = id,
					 .open = { text("o"), text("file"), R, 0,
						   CLAIM_PREVIOUS } };

	assert_status(do_open(f, 1, id, "o", "file", 0, 0), NFS4ERR_INVAL);
	assert_status(do_open(f, 1, id, "o", "file", 4, 0), NFS4ERR_INVAL);
	assert_status(do_open(f, 1, id, "o", "file", 1, 4), NFS4ERR_INVAL);
	assert_status(run(f, &reclaim), NFS4ERR_NO_GRACE);
	assert_int_equal(counts(f).files, 0);
}

static void test_upgrade(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct stateid one, two, other;

	one = open_v41(f, a, "o", "file", R, NONE);
	assert_int_equal(one.seqid, 1);
	assert_false(f->r.open.upgraded);
	assert_false(f->r.open.needs_confirm);
	other = open_v41(f, b, "o", "file", R, NONE);
	assert_status(do_open(f, 1, a, "o", "file", W, OPEN4_SHARE_DENY_READ),
		      NFS4ERR_SHARE_DENIED);
	two = open_v41(f, a, "o", "file", W, OPEN4_SHARE_DENY_WRITE);
	assert_true(f->r.open.upgraded);
	assert_int_equal(two.seqid, 2);
	assert_memory_equal(one.other, two.other, sizeof(one.other));
	assert_int_equal(counts(f).opens, 2);
	assert_status(do_open(f, 1, b, "o", "file", W, NONE), NFS4ERR_SHARE_DENIED);
	/* Another owner of the same client conflicts like anybody else. */
	assert_status(do_open(f, 1, a, "p", "file", W, NONE), NFS4ERR_SHARE_DENIED);
	assert_ok(on_open(f, CMD_CLOSE, 1, a, two, "file", 0, 0));
	assert_ok(do_open(f, 1, b, "o", "file", W, NONE));
	assert_memory_equal(f->r.open.stateid.other, other.other, sizeof(other.other));
}

/* The reply was lost with the node; what the client asks again at another is no second open. */
static void test_open_retried(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t client = client_v41(f, "a", &session);
	struct state_command cmd = {
		.type = CMD_OPEN,
		.minor = 1,
		.clientid = client,
		.open = { .owner = text("o"),
			  .file = text("file"),
			  .access = OPEN4_SHARE_ACCESS_WRITE,
			  .deny = OPEN4_SHARE_DENY_WRITE,
			  .claim = CLAIM_NULL,
			  .request = { true, session, 3, 77 } },
	};
	struct stateid first;

	assert_ok(run(f, &cmd));
	first = f->r.open.stateid;
	assert_int_equal(first.seqid, 1);
	assert_ok(run(f, &cmd));
	assert_memory_equal(&f->r.open.stateid, &first, sizeof(first));
	assert_ok(run(f, &cmd));
	assert_memory_equal(&f->r.open.stateid, &first, sizeof(first));
	/* Another slot or another sequence id is another request. */
	cmd.open.deny = OPEN4_SHARE_DENY_NONE;
	cmd.open.access = OPEN4_SHARE_ACCESS_READ;
	cmd.open.request.seqid++;
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.stateid.seqid, 2);
	cmd.open.request.slot++;
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.stateid.seqid, 3);
	cmd.open.request.present = false;
	assert_ok(run(f, &cmd));
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.stateid.seqid, 5);
	assert_ok(on_open(f, CMD_CLOSE, 1, client, f->r.open.stateid, "file", 0, 0));
}

static void test_downgrade(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct stateid id = open_v41(f, a, "o", "file", R, NONE);

	/* Never opened so. */
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", W, NONE), NFS4ERR_INVAL);
	id = open_v41(f, a, "o", "file", RW, OPEN4_SHARE_DENY_WRITE);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", RW, NONE), NFS4ERR_INVAL);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", R, OPEN4_SHARE_DENY_WRITE),
		      NFS4ERR_INVAL);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", W, NONE), NFS4ERR_INVAL);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", 0, NONE), NFS4ERR_INVAL);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", R, 7), NFS4ERR_INVAL);
	assert_status(do_open(f, 1, b, "o", "file", W, NONE), NFS4ERR_SHARE_DENIED);
	/* To the union of all: nothing changes but the seqid. */
	assert_ok(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", RW, OPEN4_SHARE_DENY_WRITE));
	id = f->r.stateid;
	assert_int_equal(id.seqid, 3);
	assert_ok(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", R, NONE));
	id = f->r.stateid;
	assert_ok(do_open(f, 1, b, "o", "file", W, NONE));
	/* That with DENY_WRITE is no longer in effect. */
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", RW, OPEN4_SHARE_DENY_WRITE),
		      NFS4ERR_INVAL);
}

/* Unions of several opens are as good as opens (RFC 7530 section 16.19.4). */
static void test_downgrade_union(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid id;

	open_v41(f, a, "o", "file", R, NONE);
	id = open_v41(f, a, "o", "file", W, OPEN4_SHARE_DENY_WRITE);
	assert_ok(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", RW, OPEN4_SHARE_DENY_WRITE));
	id = f->r.stateid;
	assert_status(use(f, 1, a, id, "file", ACCESS_WRITE), NFS4_OK);
	assert_ok(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, id, "file", R, NONE));
	assert_status(use(f, 1, a, f->r.stateid, "file", ACCESS_WRITE), NFS4ERR_OPENMODE);
	assert_true(f->nfreed > 0);
}

/* What an owner denies it denies itself, too (RFC 7530 section 9.9, RFC 8881 section 9.7). */
static void test_denied_by_oneself(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);

	open_v41(f, a, "o", "file", R, OPEN4_SHARE_DENY_WRITE);
	assert_status(do_open(f, 1, a, "o", "file", W, NONE), NFS4ERR_SHARE_DENIED);
	assert_status(do_open(f, 1, a, "o", "file", R, OPEN4_SHARE_DENY_READ),
		      NFS4ERR_SHARE_DENIED);
	assert_ok(do_open(f, 1, a, "o", "file", R, OPEN4_SHARE_DENY_WRITE));
}

static void test_conflict_effects(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid id = open_v41(f, a, "o", "file", R, NONE);
	uint64_t who = 0;

	assert_false(state_file_denied(f->s, text("file"), R, &who));
	assert_true(state_file_denied(f->s, text("file"), 0, &who));
	assert_int_equal(who, a);
	assert_false(state_file_denied(f->s, text("other"), 0, &who));
	fixture_forget_effects(f);
	assert_ok(on_open(f, CMD_CLOSE, 1, a, id, "file", 0, 0));
	assert_int_equal(f->nfreed, 1);
	assert_string_equal(f->freed[0], "file");
}

/* ----------------------------------------------------------------------- stateids ---- */

static void test_close_result(void **state)
{
	static const uint8_t zeros[NFS4_OTHER_SIZE];
	struct fixture *f = *state;
	uint64_t v41 = client_v41(f, "a", NULL), v40 = client_v40(f, "b");
	struct stateid id = open_v41(f, v41, "o", "file", R, NONE);

	assert_ok(on_open(f, CMD_CLOSE, 1, v41, id, "file", 0, 0));
	assert_int_equal(f->r.stateid.seqid, NFS4_UINT32_MAX);
	assert_memory_equal(f->r.stateid.other, zeros, sizeof(zeros));
	assert_status(on_open(f, CMD_CLOSE, 1, v41, id, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 1, v41, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 1, v41, f->r.stateid, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	id = open_v40(f, v40, "o", "file", R, NONE);
	assert_ok(on_open(f, CMD_CLOSE, 0, 0, id, "file", 0, 0));
	assert_status(on_open(f, CMD_CLOSE, 0, 0, id, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_int_equal(counts(f).opens, 0);
	assert_int_equal(counts(f).files, 0);
}

static void test_stateid_errors_v40(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a"), b;
	struct stateid id, bad;

	open_v40(f, a, "o", "file", R, NONE);
	id = open_v40(f, a, "o", "file", W, NONE); /* seqid 3 */
	bad = id;
	bad.seqid = id.seqid - 1;
	assert_status(on_open(f, CMD_CLOSE, 0, 0, bad, "file", 0, 0), NFS4ERR_OLD_STATEID);
	assert_status(use(f, 0, 0, bad, "file", ACCESS_READ), NFS4ERR_OLD_STATEID);
	bad.seqid = 0; /* not special in minor version 0 */
	assert_status(on_open(f, CMD_CLOSE, 0, 0, bad, "file", 0, 0), NFS4ERR_OLD_STATEID);
	assert_status(use(f, 0, 0, bad, "file", ACCESS_READ), NFS4ERR_OLD_STATEID);
	bad.seqid = id.seqid + 1;
	assert_status(on_open(f, CMD_CLOSE, 0, 0, bad, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 0, 0, id, "other", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, id, "other", ACCESS_READ), NFS4ERR_BAD_STATEID);
	bad = id;
	bad.other[0] ^= 1; /* another instance of the server */
	assert_status(on_open(f, CMD_CLOSE, 0, 0, bad, "file", 0, 0), NFS4ERR_STALE_STATEID);
	assert_status(use(f, 0, 0, bad, "file", ACCESS_READ), NFS4ERR_STALE_STATEID);
	bad = id;
	memset(bad.other + 4, 0, 8); /* no such client ever */
	assert_status(on_open(f, CMD_CLOSE, 0, 0, bad, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	bad = id;
	bad.other[11] ^= 0x40; /* no such state */
	assert_status(on_open(f, CMD_CLOSE, 0, 0, bad, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 1, a, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_ok(use(f, 0, 0, id, "file", ACCESS_READ));
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, a));
	assert_status(on_open(f, CMD_CLOSE, 0, 0, id, "file", 0, 0), NFS4ERR_EXPIRED);
	assert_status(use(f, 0, 0, id, "file", ACCESS_READ), NFS4ERR_EXPIRED);
	b = client_v40(f, "b");
	assert_status(do_open(f, 0, a, "o", "file", R, NONE), NFS4ERR_EXPIRED);
	assert_status(do_open(f, 0, b + 1, "o", "file", R, NONE), NFS4ERR_STALE_CLIENTID);
}

static void test_stateid_errors_v41(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct stateid id, bad;

	open_v41(f, a, "o", "file", R, NONE);
	id = open_v41(f, a, "o", "file", R, NONE);
	bad = id;
	bad.seqid = 1;
	assert_status(use(f, 1, a, bad, "file", ACCESS_READ), NFS4ERR_OLD_STATEID);
	assert_status(state_test_stateid(f->s, a, &bad), NFS4ERR_OLD_STATEID);
	bad.seqid = 3;
	assert_status(use(f, 1, a, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(state_test_stateid(f->s, a, &bad), NFS4ERR_BAD_STATEID);
	bad.seqid = 0; /* the current one */
	assert_ok(use(f, 1, a, bad, "file", ACCESS_READ));
	assert_ok(state_test_stateid(f->s, a, &bad));
	assert_ok(state_test_stateid(f->s, a, &id));
	assert_status(use(f, 1, b, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(state_test_stateid(f->s, b, &id), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 1, b, id, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 0, 0, id, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 1, a, id, "file", ACCESS_WRITE), NFS4ERR_OPENMODE);
	bad = id;
	bad.other[0] ^= 1;
	assert_status(use(f, 1, a, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(state_test_stateid(f->s, a, &bad), NFS4ERR_BAD_STATEID);
	assert_status(free_stateid(f, a, id), NFS4ERR_LOCKS_HELD);
	assert_status(free_stateid(f, a, bad), NFS4ERR_BAD_STATEID);
	assert_status(free_stateid(f, b, id), NFS4ERR_BAD_STATEID);
	bad = id;
	bad.seqid = 1;
	assert_status(free_stateid(f, a, bad), NFS4ERR_OLD_STATEID);
	bad.seqid = 0;
	assert_ok(on_open(f, CMD_CLOSE, 1, a, bad, "file", 0, 0));
}

static void test_special_stateids(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid zeros = { 0 }, ones, bad = { .seqid = 1 };
	struct stateid deny_read, deny_write;

	memset(&ones, 0xff, sizeof(ones));
	assert_ok(use(f, 0, 0, zeros, "file", ACCESS_READ));
	assert_ok(use(f, 1, a, zeros, "file", ACCESS_WRITE));
	deny_write = open_v41(f, a, "o", "w", R, OPEN4_SHARE_DENY_WRITE);
	deny_read = open_v41(f, a, "o", "r", R, OPEN4_SHARE_DENY_READ);
	assert_ok(use(f, 0, 0, zeros, "w", ACCESS_READ));
	assert_status(use(f, 0, 0, zeros, "w", ACCESS_WRITE), NFS4ERR_LOCKED);
	assert_int_equal(f->r.conflict_client, a);
	assert_status(use(f, 0, 0, ones, "w", ACCESS_WRITE), NFS4ERR_LOCKED);
	assert_status(use(f, 0, 0, zeros, "r", ACCESS_READ), NFS4ERR_LOCKED);
	assert_ok(use(f, 0, 0, ones, "r", ACCESS_READ)); /* bypass */
	assert_status(use(f, 1, a, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	bad = ones;
	bad.seqid = 3;
	assert_status(use(f, 1, a, bad, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 1, a, zeros, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 0, 0, zeros, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_CLOSE, 0, 0, ones, "file", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(state_test_stateid(f->s, a, &zeros), NFS4ERR_BAD_STATEID);
	assert_status(state_test_stateid(f->s, a, &ones), NFS4ERR_BAD_STATEID);
	assert_ok(use(f, 1, a, deny_read, "r", ACCESS_READ));
	assert_ok(use(f, 1, a, deny_write, "w", ACCESS_READ));
}

static struct file *file_of(struct fixture *f, uint64_t client, struct stateid id, unsigned access)
{
	struct file *out;
	uint64_t who;

	assert_ok(state_use_stateid(f->s, 1, client, &id, text("file"), access, &out, &who));
	file_unref(out);
	return out;
}

static void test_attached_files(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid id = open_v41(f, a, "o", "file", R, NONE), lock;
	struct file *r = make_file(ACCESS_READ), *w = make_file(ACCESS_WRITE);
	struct file *rw = make_file(ACCESS_READ | ACCESS_WRITE);

	assert_null(file_of(f, a, id, ACCESS_READ));
	state_attach_file(f->s, &id, r);
	assert_ptr_equal(file_of(f, a, id, ACCESS_READ), r);
	state_attach_file(f->s, &id, make_file(ACCESS_READ)); /* it has one */
	assert_ptr_equal(file_of(f, a, id, ACCESS_READ), r);
	id = open_v41(f, a, "o", "file", W, NONE);
	assert_null(file_of(f, a, id, ACCESS_WRITE));
	state_attach_file(f->s, &id, rw);
	assert_ptr_equal(file_of(f, a, id, ACCESS_WRITE), rw);
	assert_ptr_equal(file_of(f, a, id, ACCESS_READ), r);
	state_attach_file(f->s, &id, w);
	assert_ptr_equal(file_of(f, a, id, ACCESS_WRITE), w);
	/* A lock stateid finds its open's. */
	assert_ok(lock_new(f, 1, a, id, "lo", "file", WRITE_LT, 0, 1));
	lock = f->r.stateid;
	assert_ptr_equal(file_of(f, a, lock, ACCESS_WRITE), w);
	lock.seqid = 7;
	assert_status(use(f, 1, a, lock, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_int_equal(files_live, 3);
	assert_ok(on_open(f, CMD_CLOSE, 1, a, id, "file", 0, 0));
	assert_int_equal(files_live, 0);
	state_attach_file(f->s, &id, make_file(ACCESS_READ)); /* too late */
	assert_int_equal(files_live, 0);
}

/* -------------------------------------- sequence ids of minor version 0, RFC 7530 9.1.7 ---- */

static enum nfsstat4 hold(struct fixture *f, uint64_t clientid, const char *owner, uint32_t seqid,
			  struct owner_hold **h, struct owner_replay *replay)
{
	return state_owner_hold(f->s, clientid, text(owner), seqid, h, replay);
}

/* The end of a seqid-bearing request, with a reply that tells the seqid. */
static void done(struct fixture *f, struct owner_hold *h, enum nfsstat4 status, const char *reply,
		 const char *fh)
{
	struct state_result kept = f->r;
	struct state_command cmd;

	if (state_owner_advance(h, status, text(reply), text(fh), &cmd))
		assert_ok(run(f, &cmd));
	state_owner_release(f->s, h);
	f->r = kept;
}

/* A whole OPEN. */
static struct stateid seq_open(struct fixture *f, uint64_t clientid, const char *owner,
			       uint32_t seqid, const char *file, uint32_t access)
{
	struct owner_replay replay;
	struct owner_hold *h;

	assert_ok(hold(f, clientid, owner, seqid, &h, &replay));
	assert_false(replay.replay);
	assert_ok(do_open(f, 0, clientid, owner, file, access, NONE));
	done(f, h, NFS4_OK, "open", file);
	return f->r.open.stateid;
}

/* A whole OPEN_CONFIRM, OPEN_DOWNGRADE or CLOSE: its status. */
static enum nfsstat4 seq_op(struct fixture *f, enum state_command_type type, struct stateid id,
			    uint32_t seqid, const char *file, const char *reply)
{
	struct owner_replay replay;
	struct owner_hold *h;
	enum nfsstat4 status = state_owner_hold_by_stateid(f->s, &id, seqid, &h, &replay);

	if (status)
		return status;
	assert_false(replay.replay);
	status = on_open(f, type, 0, 0, id, file, R, NONE);
	done(f, h, status, reply, "");
	return status;
}

static void assert_replayed(struct fixture *f, enum nfsstat4 status, struct owner_hold **h,
			    const struct owner_replay *replay, const char *reply, const char *fh)
{
	assert_ok(status);
	assert_true(replay->replay);
	assert_int_equal(replay->reply.len, strlen(reply));
	assert_memory_equal(replay->reply.p, reply, strlen(reply));
	assert_int_equal(replay->fh.len, strlen(fh));
	assert_memory_equal(replay->fh.p, fh, strlen(fh));
	state_owner_release(f->s, *h);
}

static void test_open_confirm(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid id = seq_open(f, a, "o", 5, "file", R), bad;

	assert_true(f->r.open.needs_confirm);
	/* Nothing but OPEN_CONFIRM, whatever the seqid. */
	assert_status(seq_op(f, CMD_CLOSE, id, 6, "file", ""), NFS4ERR_BAD_STATEID);
	assert_status(seq_op(f, CMD_OPEN_DOWNGRADE, id, 6, "file", ""), NFS4ERR_BAD_STATEID);
	assert_status(lock_new(f, 0, a, id, "lo", "file", READ_LT, 0, 1), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 0, 0, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(seq_op(f, CMD_OPEN_CONFIRM, id, 7, "file", ""), NFS4ERR_BAD_SEQID);
	bad = id;
	bad.other[11] ^= 1;
	assert_status(seq_op(f, CMD_OPEN_CONFIRM, bad, 6, "file", ""), NFS4ERR_BAD_STATEID);
	bad = id;
	bad.other[0] ^= 1;
	assert_status(seq_op(f, CMD_OPEN_CONFIRM, bad, 6, "file", ""), NFS4ERR_STALE_STATEID);
	assert_ok(seq_op(f, CMD_OPEN_CONFIRM, id, 6, "file", "confirmed"));
	assert_int_equal(f->r.stateid.seqid, 2);
	id = f->r.stateid;
	assert_ok(use(f, 0, 0, id, "file", ACCESS_READ));
	/* Once is enough. */
	assert_status(seq_op(f, CMD_OPEN_CONFIRM, id, 7, "file", ""), NFS4ERR_BAD_STATEID);
	seq_open(f, a, "o", 7, "other", R);
	assert_false(f->r.open.needs_confirm);
}

static void test_open_unconfirmed_again(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid first = seq_open(f, a, "o", 5, "file", R), second;
	struct owner_replay replay;
	struct owner_hold *h;

	/* A retry, not a new OPEN. */
	assert_replayed(f, hold(f, a, "o", 5, &h, &replay), &h, &replay, "open", "file");
	/* Any other seqid cancels it. */
	second = seq_open(f, a, "o", 77, "other", R);
	assert_true(f->r.open.needs_confirm);
	assert_int_equal(counts(f).opens, 1);
	assert_int_equal(counts(f).files, 1);
	assert_status(seq_op(f, CMD_OPEN_CONFIRM, first, 6, "file", ""), NFS4ERR_BAD_STATEID);
	assert_ok(seq_op(f, CMD_OPEN_CONFIRM, second, 78, "other", "confirmed"));
}

static void test_owner_seqids(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid id;
	struct owner_replay replay;
	struct owner_hold *h;

	assert_status(hold(f, 0, "o", 1, &h, &replay), NFS4ERR_STALE_CLIENTID);
	assert_status(hold(f, a ^ 1ull << 33, "o", 1, &h, &replay), NFS4ERR_STALE_CLIENTID);
	id = seq_open(f, a, "o", 1, "file", R);
	assert_ok(seq_op(f, CMD_OPEN_CONFIRM, id, 2, "file", "confirm"));
	id = f->r.stateid;
	assert_replayed(f, state_owner_hold_by_stateid(f->s, &id, 2, &h, &replay), &h, &replay,
			"confirm", "");
	assert_status(hold(f, a, "o", 1, &h, &replay), NFS4ERR_BAD_SEQID);
	assert_status(hold(f, a, "o", 4, &h, &replay), NFS4ERR_BAD_SEQID);
	assert_status(seq_op(f, CMD_CLOSE, id, 4, "file", ""), NFS4ERR_BAD_SEQID);
	/* BAD_SEQID goes before the stateid's own errors. */
	id.seqid = 1;
	assert_status(seq_op(f, CMD_CLOSE, id, 4, "file", ""), NFS4ERR_BAD_SEQID);
	/* An error that advances, and its replay. */
	assert_status(seq_op(f, CMD_CLOSE, id, 3, "file", "old"), NFS4ERR_OLD_STATEID);
	assert_replayed(f, state_owner_hold_by_stateid(f->s, &id, 3, &h, &replay), &h, &replay,
			"old", "");
	/* One that does not. */
	id.seqid = 9;
	assert_status(seq_op(f, CMD_CLOSE, id, 4, "file", ""), NFS4ERR_BAD_STATEID);
	id.seqid = 2;
	assert_ok(seq_op(f, CMD_CLOSE, id, 4, "file", "closed"));
	assert_int_equal(counts(f).opens, 0);
	/* A retried CLOSE finds its owner by a stateid that is no more. */
	assert_replayed(f, state_owner_hold_by_stateid(f->s, &id, 4, &h, &replay), &h, &replay,
			"closed", "");
	assert_status(seq_op(f, CMD_CLOSE, id, 5, "file", ""), NFS4ERR_BAD_STATEID);
	/* The owner lives on, confirmed; with its next request the closed stateid is forgotten. */
	seq_open(f, a, "o", 5, "file", R);
	assert_false(f->r.open.needs_confirm);
	assert_status(state_owner_hold_by_stateid(f->s, &id, 4, &h, &replay), NFS4ERR_BAD_STATEID);
}

static void test_owner_failed_first_open(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct owner_replay replay;
	struct owner_hold *h;

	assert_ok(hold(f, a, "o", 9, &h, &replay));
	assert_status(do_open(f, 0, a, "o", "file", 9, NONE), NFS4ERR_INVAL);
	done(f, h, NFS4ERR_INVAL, "inval", "");
	assert_replayed(f, hold(f, a, "o", 9, &h, &replay), &h, &replay, "inval", "");
	seq_open(f, a, "o", 10, "file", R);
	assert_true(f->r.open.needs_confirm);
	/* A hold that ends without anything leaves nothing. */
	assert_int_equal(counts(f).open_owners, 1);
	assert_ok(hold(f, a, "p", 1, &h, &replay));
	state_owner_release(f->s, h);
	assert_int_equal(counts(f).open_owners, 1);
}

static void test_seqid_wraps(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid id = seq_open(f, a, "o", NFS4_UINT32_MAX - 1, "file", R);

	assert_ok(seq_op(f, CMD_OPEN_CONFIRM, id, NFS4_UINT32_MAX, "file", ""));
	id = f->r.stateid;
	assert_ok(seq_op(f, CMD_OPEN_DOWNGRADE, id, 1, "file", "")); /* never 0 */
	id = f->r.stateid;
	assert_ok(seq_op(f, CMD_CLOSE, id, 2, "file", ""));
}

static void test_idle_owners(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	char name[16];

	for (unsigned i = 0; i < 600; i++) {
		struct stateid id;

		snprintf(name, sizeof(name), "o%u", i);
		id = open_v40(f, a, name, "file", R, NONE);
		assert_ok(on_open(f, CMD_CLOSE, 0, 0, id, "file", 0, 0));
	}
	assert_int_equal(counts(f).open_owners, 512);
	assert_ok(do_open(f, 0, a, "o599", "file", R, NONE));
	assert_false(f->r.open.needs_confirm);
	assert_ok(do_open(f, 0, a, "o0", "file", R, NONE)); /* the longest idle went */
	assert_true(f->r.open.needs_confirm);
}

static void test_expiry_while_held(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct stateid id = seq_open(f, a, "o", 1, "file", R);
	struct owner_replay replay;
	struct owner_hold *h, *h2;

	assert_ok(hold(f, a, "o", 2, &h, &replay));
	assert_ok(hold(f, a, "new", 1, &h2, &replay));
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, a));
	assert_status(do_open(f, 0, a, "o", "file", R, NONE), NFS4ERR_EXPIRED);
	state_owner_release(f->s, h);
	state_owner_release(f->s, h2);
	assert_status(state_owner_hold_by_stateid(f->s, &id, 2, &h, &replay), NFS4ERR_EXPIRED);
	assert_status(hold(f, a, "o", 2, &h, &replay), NFS4ERR_EXPIRED);
}

static void few(struct state_config *c)
{
	c->limits.max_opens_per_client = 2;
	c->limits.max_opens = 3;
	c->limits.max_owners_per_client = 2;
}

static void test_limits(void **state)
{
	struct fixture f;
	uint64_t a, b;
	struct stateid id;

	fixture_init(&f, few);
	a = client_v41(&f, "a", NULL);
	b = client_v40(&f, "b");
	id = open_v41(&f, a, "o", "1", R, NONE);
	open_v41(&f, a, "o", "2", R, NONE);
	assert_status(do_open(&f, 1, a, "o", "3", R, NONE), NFS4ERR_DELAY);
	open_v40(&f, b, "o", "1", R, NONE);
	assert_status(do_open(&f, 0, b, "o", "2", R, NONE), NFS4ERR_RESOURCE);
	assert_ok(do_open(&f, 1, a, "o", "2", W, NONE)); /* an upgrade needs no room */
	assert_ok(on_open(&f, CMD_CLOSE, 1, a, id, "1", 0, 0));
	open_v41(&f, a, "p", "1", R, NONE);
	assert_status(do_open(&f, 1, a, "q", "2", R, NONE), NFS4ERR_DELAY);
	assert_int_equal(counts(&f).open_owners, 3);
	assert_int_equal(counts(&f).files, 2);
	fixture_end(&f);
}

static void few_owners(struct state_config *c)
{
	c->limits.max_owners = 2;
}

static void test_owners_together(void **state)
{
	struct fixture f;
	uint64_t a, b;
	struct stateid id;

	fixture_init(&f, few_owners);
	a = client_v41(&f, "a", NULL);
	b = client_v40(&f, "b");
	open_v41(&f, a, "o", "1", R, NONE);
	id = open_v40(&f, b, "p", "1", R, NONE);
	assert_status(do_open(&f, 0, b, "q", "1", R, NONE), NFS4ERR_RESOURCE);
	assert_true(f.r.over_limit);
	assert_status(do_open(&f, 1, a, "q", "1", R, NONE), NFS4ERR_DELAY);
	assert_true(f.r.over_limit);
	assert_ok(do_open(&f, 1, a, "o", "2", R, NONE));
	/* Its own idle ones make room for a client. */
	assert_ok(on_open(&f, CMD_CLOSE, 0, b, id, "1", 0, 0));
	assert_int_equal(counts(&f).open_owners, 2);
	assert_status(do_open(&f, 1, a, "q", "1", R, NONE), NFS4ERR_DELAY);
	open_v40(&f, b, "q", "1", R, NONE);
	assert_int_equal(counts(&f).open_owners, 2);
	fixture_end(&f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_share_matrix),
		TEST(test_open_invalid),
		TEST(test_upgrade),
		TEST(test_open_retried),
		TEST(test_downgrade),
		TEST(test_downgrade_union),
		TEST(test_denied_by_oneself),
		TEST(test_conflict_effects),
		TEST(test_close_result),
		TEST(test_stateid_errors_v40),
		TEST(test_stateid_errors_v41),
		TEST(test_special_stateids),
		TEST(test_attached_files),
		TEST(test_open_confirm),
		TEST(test_open_unconfirmed_again),
		TEST(test_owner_seqids),
		TEST(test_owner_failed_first_open),
		TEST(test_seqid_wraps),
		TEST(test_idle_owners),
		TEST(test_expiry_while_held),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_owners_together),
	};

	return cmocka_run_group_tests_name("state_open", tests, NULL, NULL);
}

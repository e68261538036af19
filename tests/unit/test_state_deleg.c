/* Delegations: granting, conflicts and recalls, return, revocation, what their stateids are good for. */
#include <stdlib.h>

#include "base/clock.h"
#include "nfsd/state/snapshot.h"
#include "test_state_fixture.h"

#define R  OPEN4_SHARE_ACCESS_READ
#define W  OPEN4_SHARE_ACCESS_WRITE
#define RW OPEN4_SHARE_ACCESS_BOTH

static struct state_command open_cmd(uint32_t minor, uint64_t clientid, const char *owner,
				     const char *file, uint32_t access, uint32_t wish)
{
	return (struct state_command){ .type = CMD_OPEN,
				       .minor = minor,
				       .clientid = clientid,
				       .open = { .owner = text(owner),
						 .file = text(file),
						 .access = access,
						 .delegate = wish,
						 .fh = text("fh") } };
}

/* An OPEN that wishes a delegation of that type; what was granted. */
static uint32_t wish(struct fixture *f, uint64_t clientid, const char *file, uint32_t access,
		     uint32_t type)
{
	struct state_command cmd = open_cmd(1, clientid, "o", file, access, type);

	assert_ok(run(f, &cmd));
	return f->r.open.delegation;
}

static struct stateid granted(struct fixture *f, uint64_t clientid, const char *file,
			      uint32_t access, uint32_t type)
{
	assert_int_equal(wish(f, clientid, file, access, type), type);
	return f->r.open.deleg_stateid;
}

static enum nfsstat4 give_back(struct fixture *f, uint32_t minor, uint64_t clientid,
			       struct stateid id, const char *file)
{
	return run(f, &(struct state_command){ .type = CMD_DELEG_RETURN,
					       .minor = minor,
					       .clientid = clientid,
					       .deleg_return = { id, text(file) } });
}

static enum nfsstat4 revoke(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id)
{
	return run(f, &(struct state_command){ .type = CMD_REVOKE,
					       .minor = minor,
					       .clientid = clientid,
					       .revoke = { id } });
}

static void recall(struct fixture *f, uint64_t clientid, const char *file, bool changes)
{
	assert_ok(run(f, &(struct state_command){ .type = CMD_RECALL,
						  .clientid = clientid,
						  .recall = { text(file), changes } }));
}

static void close_file(struct fixture *f, uint64_t clientid, struct stateid id, const char *file)
{
	assert_ok(on_open(f, CMD_CLOSE, 1, clientid, id, file, 0, 0));
}

static bool same(const struct stateid *a, const struct stateid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ---------------------------------------------------------------------- granting ---- */

static void test_grant(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);
	struct stateid id;

	assert_int_equal(wish(f, a, "none", R, OPEN_DELEGATE_NONE), OPEN_DELEGATE_NONE);
	id = granted(f, a, "file", R, OPEN_DELEGATE_READ);
	assert_int_equal(id.seqid, 1);
	assert_int_equal(counts(f).delegations, 1);
	/* One of a file is enough. */
	assert_int_equal(wish(f, a, "file", R, OPEN_DELEGATE_READ), OPEN_DELEGATE_NONE);
	assert_int_equal(wish(f, a, "file", RW, OPEN_DELEGATE_WRITE), OPEN_DELEGATE_NONE);
	granted(f, a, "other", RW, OPEN_DELEGATE_WRITE);
	assert_int_equal(counts(f).delegations, 2);
	assert_int_equal(f->nrecalls, 0);
	assert_ok(give_back(f, 1, a, id, "file"));
	assert_status(give_back(f, 1, a, id, "file"), NFS4ERR_BAD_STATEID);
	assert_int_equal(counts(f).delegations, 1);
	assert_int_equal(f->nfreed, 1);
	assert_string_equal(f->freed[0], "file");
}

static void test_grant_beside_others(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);

	/* Readers share; a writer stands in the way of both kinds, a reader of a write one. */
	granted(f, a, "r", R, OPEN_DELEGATE_READ);
	granted(f, b, "r", R, OPEN_DELEGATE_READ);
	open_v41(f, a, "o", "w", W, 0);
	assert_int_equal(wish(f, b, "w", R, OPEN_DELEGATE_READ), OPEN_DELEGATE_NONE);
	assert_int_equal(f->r.open.why_none, WND4_CONTENTION);
	open_v41(f, a, "o", "x", R, 0);
	assert_int_equal(wish(f, b, "x", RW, OPEN_DELEGATE_WRITE), OPEN_DELEGATE_NONE);
	assert_int_equal(f->r.open.why_none, WND4_CONTENTION);
	/* One's own opens do not count. */
	open_v41(f, a, "p", "y", RW, 0);
	granted(f, a, "y", RW, OPEN_DELEGATE_WRITE);
	open_v41(f, a, "p", "z", W, 0);
	granted(f, a, "z", R, OPEN_DELEGATE_READ);
	assert_int_equal(f->nrecalls, 0);
}

static void test_grant_v40(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct state_command cmd = open_cmd(0, a, "o", "file", R, OPEN_DELEGATE_READ);
	struct stateid id;

	/* Not with an OPEN that must be confirmed. */
	assert_ok(run(f, &cmd));
	assert_true(f->r.open.needs_confirm);
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_NONE);
	assert_ok(on_open(f, CMD_OPEN_CONFIRM, 0, 0, f->r.open.stateid, "file", 0, 0));
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_READ);
	id = f->r.open.deleg_stateid;
	assert_ok(use(f, 0, 0, id, "file", ACCESS_READ));
	assert_status(use(f, 1, a, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(give_back(f, 0, 0, id, "other"), NFS4ERR_BAD_STATEID);
	assert_ok(give_back(f, 0, 0, id, "file"));
	assert_status(use(f, 0, 0, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
}

static void few_delegations(struct state_config *c)
{
	c->limits.max_delegs_per_client = 1;
	c->limits.max_delegs = 2;
}

static void test_limits(void **state)
{
	struct fixture f;
	uint64_t a, b, c;

	fixture_init(&f, few_delegations);
	a = client_v41(&f, "a", NULL);
	b = client_v41(&f, "b", NULL);
	c = client_v41(&f, "c", NULL);
	granted(&f, a, "1", R, OPEN_DELEGATE_READ);
	assert_int_equal(wish(&f, a, "2", R, OPEN_DELEGATE_READ), OPEN_DELEGATE_NONE);
	assert_int_equal(f.r.open.why_none, WND4_RESOURCE);
	granted(&f, b, "1", R, OPEN_DELEGATE_READ);
	assert_int_equal(wish(&f, c, "1", R, OPEN_DELEGATE_READ), OPEN_DELEGATE_NONE);
	assert_ok(on_client(&f, CMD_EXPIRE_CLIENT, a));
	granted(&f, c, "1", R, OPEN_DELEGATE_READ);
	fixture_end(&f);
}

/* --------------------------------------------------------------------- conflicts ---- */

/* What another client's OPEN does to a delegation, and once is enough. */
static void check_open_conflict(struct fixture *f, uint32_t type, uint32_t access, uint32_t deny,
				bool truncates, bool conflict)
{
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct stateid id =
	    granted(f, a, "file", type == OPEN_DELEGATE_READ ? R : RW, type);
	struct state_command cmd = open_cmd(1, b, "o", "file", access, OPEN_DELEGATE_NONE);

	/* The open is closed: the delegation alone stands in the way. */
	close_file(f, a, f->r.open.stateid, "file");
	fixture_forget_effects(f);
	cmd.open.deny = deny;
	cmd.open.truncates = truncates;
	run(f, &cmd);
	assert_int_equal(f->r.status, conflict ? NFS4ERR_DELAY : NFS4_OK);
	assert_int_equal(f->nrecalls, conflict);
	if (conflict) {
		assert_int_equal(f->r.conflict_client, a);
		assert_int_equal(f->recalled_client, a);
		assert_true(same(&f->recalled, &id));
		assert_status(run(f, &cmd), NFS4ERR_DELAY);
		assert_int_equal(f->nrecalls, 1);
		assert_int_equal(counts(f).opens, 0);
		assert_ok(give_back(f, 1, a, id, "file"));
		assert_ok(run(f, &cmd));
	}
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, a));
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, b));
	assert_int_equal(counts(f).files, 0);
}

static void test_open_conflicts(void **state)
{
	struct fixture *f = *state;

	for (uint32_t access = 1; access <= 3; access++) {
		for (uint32_t deny = 0; deny <= 3; deny++) {
			bool conflict = (access & W) || (deny & OPEN4_SHARE_DENY_READ);

			check_open_conflict(f, OPEN_DELEGATE_READ, access, deny, false, conflict);
			check_open_conflict(f, OPEN_DELEGATE_WRITE, access, deny, false, true);
		}
	}
	check_open_conflict(f, OPEN_DELEGATE_READ, R, 0, true, true);
}

static void test_own_opens_do_not_recall(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);

	granted(f, a, "r", R, OPEN_DELEGATE_READ);
	open_v41(f, a, "p", "r", RW, OPEN4_SHARE_DENY_WRITE);
	granted(f, a, "w", RW, OPEN_DELEGATE_WRITE);
	open_v41(f, a, "p", "w", RW, 0);
	recall(f, a, "w", true);
	assert_int_equal(f->nrecalls, 0);
}

/* A writer recalls the delegations of all readers, each once. */
static void test_recall_many(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	uint64_t c = client_v41(f, "c", NULL);
	struct stateid of_a = granted(f, a, "file", R, OPEN_DELEGATE_READ);
	struct stateid of_b = granted(f, b, "file", R, OPEN_DELEGATE_READ);

	assert_status(do_open(f, 1, c, "o", "file", W, 0), NFS4ERR_DELAY);
	assert_int_equal(f->nrecalls, 2);
	assert_ok(give_back(f, 1, a, of_a, "file"));
	assert_status(do_open(f, 1, c, "o", "file", W, 0), NFS4ERR_DELAY);
	assert_int_equal(f->r.conflict_client, b);
	assert_ok(give_back(f, 1, b, of_b, "file"));
	assert_ok(do_open(f, 1, c, "o", "file", W, 0));
	assert_int_equal(f->nrecalls, 2);
	assert_int_equal(counts(f).delegations, 0);
}

static void test_recall_command(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL), other;
	bool due;

	assert_false(state_deleg_conflict(f->s, text("r"), b, true, &other, &due));
	granted(f, a, "r", R, OPEN_DELEGATE_READ);
	granted(f, a, "w", RW, OPEN_DELEGATE_WRITE);
	assert_false(state_deleg_conflict(f->s, text("x"), b, true, &other, &due));
	assert_false(state_deleg_conflict(f->s, text("r"), a, true, &other, &due));
	assert_false(state_deleg_conflict(f->s, text("r"), b, false, &other, &due));
	assert_true(state_deleg_conflict(f->s, text("r"), b, true, &other, &due));
	assert_true(due);
	assert_int_equal(other, a);
	/* Nobody known is anybody. */
	assert_true(state_deleg_conflict(f->s, text("r"), 0, true, &other, &due));
	assert_true(state_deleg_conflict(f->s, text("w"), b, false, &other, &due));
	recall(f, b, "x", true);
	recall(f, b, "r", false);
	recall(f, a, "r", true);
	assert_int_equal(f->nrecalls, 0);
	recall(f, b, "r", true);
	recall(f, b, "r", true);
	assert_int_equal(f->nrecalls, 1);
	assert_true(state_deleg_conflict(f->s, text("r"), b, true, &other, &due));
	assert_false(due);
	recall(f, b, "w", false);
	assert_int_equal(f->nrecalls, 2);
}

/* ---------------------------------------------------------------- using stateids ---- */

static void test_use(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL), conflict;
	struct stateid read = granted(f, a, "r", R, OPEN_DELEGATE_READ);
	struct stateid write = granted(f, a, "w", RW, OPEN_DELEGATE_WRITE), old = write, current = write;
	struct file *file = make_file(ACCESS_READ | ACCESS_WRITE), *out;

	current.seqid = 0;
	old.seqid = 2;
	assert_ok(use(f, 1, a, read, "r", ACCESS_READ));
	assert_status(use(f, 1, a, read, "r", ACCESS_WRITE), NFS4ERR_OPENMODE);
	assert_status(use(f, 1, a, read, "w", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(use(f, 1, b, read, "r", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_ok(use(f, 1, a, write, "w", ACCESS_WRITE));
	assert_ok(use(f, 1, a, current, "w", ACCESS_WRITE));
	assert_status(use(f, 1, a, old, "w", ACCESS_WRITE), NFS4ERR_BAD_STATEID);
	state_attach_file(f->s, &write, file);
	state_attach_file(f->s, &write, make_file(ACCESS_READ)); /* it has one */
	assert_ok(state_use_stateid(f->s, 1, a, &write, text("w"), ACCESS_WRITE, &out, &conflict));
	assert_ptr_equal(out, file);
	file_unref(out);
	assert_ok(state_test_stateid(f->s, a, &write));
	assert_status(state_test_stateid(f->s, b, &write), NFS4ERR_BAD_STATEID);
	/* It is no open, no lock, and not to be freed. */
	assert_status(free_stateid(f, a, write), NFS4ERR_LOCKS_HELD);
	assert_status(on_open(f, CMD_CLOSE, 1, a, write, "w", 0, 0), NFS4ERR_BAD_STATEID);
	assert_status(on_open(f, CMD_OPEN_DOWNGRADE, 1, a, write, "w", R, 0), NFS4ERR_BAD_STATEID);
	assert_status(lock_new(f, 1, a, write, "l", "w", WRITE_LT, 0, 1), NFS4ERR_BAD_STATEID);
	assert_status(lock_more(f, 1, a, write, "w", WRITE_LT, 0, 1), NFS4ERR_BAD_STATEID);
	assert_status(unlock(f, 1, a, write, "w", 0, 1), NFS4ERR_BAD_STATEID);
	assert_ok(give_back(f, 1, a, write, "w"));
}

/* Minor version 0 sends sequence ids with stateids; a delegation's has no owner. */
static void test_v40_seqid_with_delegation(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct state_command cmd = open_cmd(0, a, "o", "file", R, OPEN_DELEGATE_READ);
	struct owner_replay replay;
	struct owner_hold *hold;

	open_v40(f, a, "o", "file", R, 0);
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_READ);
	assert_status(state_owner_hold_by_stateid(f->s, &f->r.open.deleg_stateid, 1, &hold, &replay),
		      NFS4ERR_BAD_STATEID);
}

static void test_claim_delegate_cur(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct stateid read = granted(f, a, "r", R, OPEN_DELEGATE_READ);
	struct stateid write = granted(f, a, "w", RW, OPEN_DELEGATE_WRITE);
	struct state_command cmd = open_cmd(1, a, "p", "r", R, OPEN_DELEGATE_NONE);

	cmd.open.claim = CLAIM_DELEG_CUR_FH;
	cmd.open.deleg_stateid = read;
	assert_ok(run(f, &cmd));
	cmd.open.access = RW;
	assert_status(run(f, &cmd), NFS4ERR_INVAL);
	cmd.open.file = text("w");
	assert_status(run(f, &cmd), NFS4ERR_BAD_STATEID);
	cmd.open.deleg_stateid = write;
	/* While it is being recalled is when it is needed. */
	assert_status(do_open(f, 1, b, "o", "w", R, 0), NFS4ERR_DELAY);
	assert_ok(run(f, &cmd));
	cmd.clientid = b;
	assert_status(run(f, &cmd), NFS4ERR_BAD_STATEID);
	cmd.clientid = a;
	assert_ok(revoke(f, 1, a, write));
	assert_status(run(f, &cmd), NFS4ERR_DELEG_REVOKED);

}

/* --------------------------------------------------------- revocation and expiry ---- */

static unsigned overdue(struct fixture *f, struct state_overdue *first)
{
	struct state_overdue all[4];
	unsigned n = state_revocable(f->s, all, 4);

	if (n)
		*first = all[0];
	return n;
}

static void test_revocation(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t a = client_v41(f, "a", &session), b = client_v41(f, "b", NULL);
	struct stateid id = granted(f, a, "file", R, OPEN_DELEGATE_READ);
	struct sequence_args args = { .session = session, .seqid = 1, .request_len = 100, .nops = 1 };
	struct state_overdue due = { 0 };
	struct slot_use use_slot;

	close_file(f, a, f->r.open.stateid, "file");
	state_attach_file(f->s, &id, make_file(ACCESS_READ));
	assert_true(state_may_delegate(f->s, a, text("other")));
	assert_false(state_may_delegate(f->s, a, text("file"))); /* it has one */
	assert_true(state_deleg_is_held(f->s, a, &id));
	pass_seconds(f, 2 * LEASE);
	assert_int_equal(overdue(f, &due), 0); /* nobody minds it */
	assert_status(do_open(f, 1, b, "o", "file", W, 0), NFS4ERR_DELAY);
	pass_seconds(f, LEASE);
	assert_int_equal(overdue(f, &due), 0);
	pass_seconds(f, 1);
	assert_int_equal(overdue(f, &due), 1);
	assert_true(due.clientid == a && due.minor == 1 && same(&due.stateid, &id));
	assert_ok(revoke(f, due.minor, due.clientid, due.stateid));
	assert_ok(revoke(f, due.minor, due.clientid, due.stateid)); /* again: nothing more */
	assert_int_equal(overdue(f, &due), 0);
	assert_int_equal(files_live, 0);
	assert_int_equal(counts(f).delegations, 0);
	assert_ok(do_open(f, 1, b, "o", "file", W, 0));

	assert_false(state_may_delegate(f->s, a, text("other")));
	assert_int_equal(wish(f, a, "other", R, OPEN_DELEGATE_READ), OPEN_DELEGATE_NONE);
	assert_false(state_deleg_is_held(f->s, a, &id));
	assert_status(use(f, 1, a, id, "file", ACCESS_READ), NFS4ERR_DELEG_REVOKED);
	assert_status(state_test_stateid(f->s, a, &id), NFS4ERR_DELEG_REVOKED);
	assert_status(give_back(f, 1, a, id, "file"), NFS4ERR_DELEG_REVOKED);
	state_attach_file(f->s, &id, make_file(ACCESS_READ)); /* too late */

	assert_ok(state_sequence(f->s, &args, &use_slot));
	assert_true(use_slot.status_flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
	state_sequence_end(f->s, &use_slot, NULL, 0);
	assert_ok(free_stateid(f, a, id));
	assert_status(free_stateid(f, a, id), NFS4ERR_BAD_STATEID);
	args.seqid = 2;
	assert_ok(state_sequence(f->s, &args, &use_slot));
	assert_false(use_slot.status_flags & SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
	state_sequence_end(f->s, &use_slot, NULL, 0);
}

/* Minor version 0 has no FREE_STATEID: nothing remains. */
static void test_revocation_v40(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v40(f, "a");
	struct state_command cmd = open_cmd(0, a, "o", "file", R, OPEN_DELEGATE_READ);
	struct state_overdue due = { 0 };
	struct stateid id;

	open_v40(f, a, "o", "file", R, 0);
	assert_ok(run(f, &cmd));
	id = f->r.open.deleg_stateid;
	recall(f, 0, "file", true);
	assert_int_equal(f->nrecalls, 1);
	pass_seconds(f, LEASE + 1);
	assert_int_equal(overdue(f, &due), 1);
	assert_int_equal(due.minor, 0);
	assert_ok(revoke(f, due.minor, due.clientid, due.stateid));
	assert_status(use(f, 0, 0, id, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_int_equal(counts(f).delegations, 0);
}

/* It goes with its client; until then the client has state, and is not destroyed. */
static void test_client_gone(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t a = client_v41(f, "a", &session), b = client_v41(f, "b", NULL), id;
	struct stateid revoked = granted(f, a, "2", R, OPEN_DELEGATE_READ), deleg;

	close_file(f, a, f->r.open.stateid, "2");
	deleg = granted(f, a, "1", R, OPEN_DELEGATE_READ);
	close_file(f, a, f->r.open.stateid, "1");
	state_attach_file(f->s, &deleg, make_file(ACCESS_READ));
	assert_ok(revoke(f, 1, a, revoked));
	assert_ok(run(f, &(struct state_command){ .type = CMD_DESTROY_SESSION,
						  .minor = 1,
						  .destroy_session = { session } }));
	assert_status(on_client(f, CMD_DESTROY_CLIENTID, a), NFS4ERR_CLIENTID_BUSY);
	/* Silent, but within the courtesy: nobody has asked. */
	pass_seconds(f, LEASE + 1);
	assert_int_equal(state_expirable(f->s, &id, 1), 1); /* b, which has nothing */
	assert_int_equal(id, b);
	b = client_v41(f, "b2", NULL);
	assert_status(do_open(f, 1, b, "o", "1", W, 0), NFS4ERR_DELAY);
	assert_int_equal(f->r.conflict_client, a);
	assert_true(state_is_courtesy(f->s, a));
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, a));
	assert_int_equal(files_live, 0);
	assert_ok(do_open(f, 1, b, "o", "1", W, 0));
	pass_seconds(f, LEASE + 1);
	assert_int_equal(overdue(f, &(struct state_overdue){ 0 }), 0);
}

/* A node that joins knows the same of the delegation of "w". */
static void check_joiner(struct fixture *f, const struct state_deleg *want)
{
	struct state_deleg d;
	struct state *joiner;
	uint8_t *bytes;
	size_t len;

	assert_int_equal(state_replicate(f->s, &bytes, &len), 0);
	assert_int_equal(state_new(&f->config, &joiner), 0);
	assert_int_equal(state_restore(joiner, bytes, len), 0);
	free(bytes);
	assert_true(state_write_deleg(joiner, text("w"), 0, &d));
	assert_true(d.change == want->change && d.granted_change == want->granted_change);
	state_free(joiner);
}

/* Whom to ask about a file's attributes, and by what change attribute the holder knows it. */
static void test_write_deleg(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct state_command cmd = open_cmd(1, a, "o", "w", RW, OPEN_DELEGATE_WRITE);
	struct state_deleg d;
	struct stateid id;

	assert_false(state_has_write_delegs(f->s));
	granted(f, a, "r", R, OPEN_DELEGATE_READ);
	assert_false(state_has_write_delegs(f->s));
	assert_false(state_write_deleg(f->s, text("r"), b, &d));
	cmd.open.change = 7;
	assert_ok(run(f, &cmd));
	id = f->r.open.deleg_stateid;
	assert_true(state_has_write_delegs(f->s));
	assert_false(state_write_deleg(f->s, text("w"), a, &d));
	assert_true(state_write_deleg(f->s, text("w"), b, &d));
	assert_true(d.clientid == a && d.type == OPEN_DELEGATE_WRITE && !d.recalled);
	assert_int_equal(d.change, 7);
	assert_memory_equal(d.fh, "fh", 2);
	state_note_change(f->s, text("w"), b, 8);
	state_note_change(f->s, text("r"), a, 8);
	assert_true(state_write_deleg(f->s, text("w"), 0, &d));
	assert_int_equal(d.change, 7);
	state_note_change(f->s, text("w"), a, 9);
	recall(f, b, "w", false);
	assert_true(state_write_deleg(f->s, text("w"), b, &d));
	assert_true(d.recalled && d.change == 9);
	assert_int_equal(d.granted_change, 7);
	check_joiner(f, &d);
	assert_ok(give_back(f, 1, a, id, "w"));
	assert_false(state_has_write_delegs(f->s));
	assert_false(state_write_deleg(f->s, text("w"), b, &d));
}

/* A delegation in place of an open: nothing is left when it is returned, and it counts as one. */
static void test_instead_of_open(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct state_command cmd = open_cmd(1, a, "o", "file", RW, OPEN_DELEGATE_WRITE);
	struct stateid id;

	cmd.open.xor_delegation = true;
	assert_ok(run(f, &cmd));
	assert_true(f->r.open.no_open);
	assert_int_equal(counts(f).opens, 0);
	assert_int_equal(counts(f).open_owners, 0);
	id = f->r.open.deleg_stateid;
	assert_true(stateid_is_anonymous(&f->r.open.stateid));
	assert_status(do_open(f, 1, b, "o", "file", R, 0), NFS4ERR_DELAY);
	assert_ok(give_back(f, 1, a, id, "file"));
	assert_int_equal(counts(f).files, 0);
	assert_ok(do_open(f, 1, b, "o", "file", R, 0));
	/* None to be had: an open. */
	assert_ok(run(f, &cmd));
	assert_false(f->r.open.no_open);
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_NONE);
	assert_int_equal(counts(f).opens, 2);
}

static void test_without_open(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct state_command cmd = open_cmd(1, a, "", "dir", 0, OPEN_DELEGATE_READ);
	struct state_deleg d;
	struct stateid id;

	cmd.type = CMD_DELEGATE;
	cmd.open.directory = true;
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_READ);
	id = f->r.open.deleg_stateid;
	assert_int_equal(state_deleg_type(f->s, a, text("dir")), OPEN_DELEGATE_READ);
	assert_int_equal(state_deleg_type(f->s, b, text("dir")), OPEN_DELEGATE_NONE);
	assert_ok(run(f, &cmd)); /* one is enough */
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_NONE);
	assert_int_equal(counts(f).delegations, 1);
	recall(f, b, "dir", true);
	assert_int_equal(f->nrecalls, 1);
	assert_ok(give_back(f, 1, a, id, "dir"));
	assert_int_equal(counts(f).files, 0);
	/* Whose stateid it is that keeps a file's times. */
	cmd = open_cmd(1, a, "o", "file", RW, OPEN_DELEGATE_WRITE);
	cmd.open.times = true;
	assert_ok(run(f, &cmd));
	id = f->r.open.deleg_stateid;
	assert_true(state_keeps_times(f->s, a, &id, text("file")));
	assert_false(state_keeps_times(f->s, a, &id, text("other")));
	assert_false(state_keeps_times(f->s, b, &id, text("file")));
	assert_false(state_keeps_times(f->s, a, &f->r.open.stateid, text("file")));
	assert_true(state_write_deleg(f->s, text("file"), b, &d) && d.times);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_grant),
		TEST(test_grant_beside_others),
		TEST(test_grant_v40),
		cmocka_unit_test(test_limits),
		TEST(test_open_conflicts),
		TEST(test_own_opens_do_not_recall),
		TEST(test_recall_many),
		TEST(test_recall_command),
		TEST(test_use),
		TEST(test_v40_seqid_with_delegation),
		TEST(test_claim_delegate_cur),
		TEST(test_revocation),
		TEST(test_revocation_v40),
		TEST(test_client_gone),
		TEST(test_write_deleg),
		TEST(test_instead_of_open),
		TEST(test_without_open),
	};

	return cmocka_run_group_tests_name("state_deleg", tests, NULL, NULL);
}

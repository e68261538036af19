/* Client records: SETCLIENTID, EXCHANGE_ID, their confirmation, leases and expiry. */
#include "test_state_fixture.h"

#define UPDATE EXCHGID4_FLAG_UPD_CONFIRMED_REC_A

static uint64_t v40_with_open(struct fixture *f, const char *owner)
{
	uint64_t id = client_v40(f, owner);

	open_v40(f, id, "oo", "file", 1, 0);
	return id;
}

/* RFC 7530 section 16.33.5: confirmed, same verifier: the callback is updated. */
static void test_setclientid_update(void **state)
{
	struct fixture *f = *state;
	uint64_t id = v40_with_open(f, "x");
	struct nfs_verifier first, second;

	assert_ok(setclientid(f, "x", 'v', 'A'));
	assert_int_equal(f->r.setclientid.clientid, id);
	first = f->r.setclientid.confirm;
	assert_ok(setclientid(f, "x", 'v', 'A'));
	assert_int_equal(f->r.setclientid.clientid, id);
	second = f->r.setclientid.confirm;
	assert_memory_not_equal(&first, &second, sizeof(first));
	/* The first update was replaced. */
	assert_status(setclientid_confirm(f, id, first, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_status(setclientid_confirm(f, id, second, 'B'), NFS4ERR_CLID_INUSE);
	assert_ok(setclientid_confirm(f, id, second, 'A'));
	assert_ok(setclientid_confirm(f, id, second, 'A')); /* a retry */
	assert_int_equal(counts(f).opens, 1);
}

/* Confirmed, another verifier: a new ID; its confirmation takes the old one's state. */
static void test_setclientid_reboot(void **state)
{
	struct fixture *f = *state;
	uint64_t old = v40_with_open(f, "x"), first, second;
	struct nfs_verifier first_confirm, second_confirm;

	assert_ok(setclientid(f, "x", 'w', 'A'));
	first = f->r.setclientid.clientid;
	first_confirm = f->r.setclientid.confirm;
	assert_int_not_equal(first, old);
	assert_ok(setclientid(f, "x", 'u', 'A'));
	second = f->r.setclientid.clientid;
	second_confirm = f->r.setclientid.confirm;
	assert_int_not_equal(second, first);
	assert_int_not_equal(second, old);
	assert_int_equal(counts(f).opens, 1);
	assert_int_equal(counts(f).clients, 2);
	assert_status(setclientid_confirm(f, first, first_confirm, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_status(setclientid_confirm(f, second, first_confirm, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_status(setclientid_confirm(f, second, second_confirm, 'B'), NFS4ERR_CLID_INUSE);
	assert_ok(setclientid_confirm(f, second, second_confirm, 'A'));
	assert_int_equal(counts(f).opens, 0);
	assert_int_equal(counts(f).clients, 1);
	assert_status(state_renew(f->s, old, text("A")), NFS4ERR_EXPIRED);
	assert_ok(state_renew(f->s, second, text("A")));
	/* Retry of the confirmation. */
	assert_ok(setclientid_confirm(f, second, second_confirm, 'A'));
}

/* A reboot that came after a callback update drops the update, and the other way round. */
static void test_setclientid_one_unconfirmed(void **state)
{
	struct fixture *f = *state;
	uint64_t id = client_v40(f, "x"), other;
	struct nfs_verifier update, reboot;

	assert_ok(setclientid(f, "x", 'v', 'A'));
	update = f->r.setclientid.confirm;
	assert_ok(setclientid(f, "x", 'w', 'A'));
	other = f->r.setclientid.clientid;
	reboot = f->r.setclientid.confirm;
	assert_status(setclientid_confirm(f, id, update, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_ok(setclientid(f, "x", 'v', 'A'));
	update = f->r.setclientid.confirm;
	assert_status(setclientid_confirm(f, other, reboot, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_ok(setclientid_confirm(f, id, update, 'A'));
	assert_int_equal(counts(f).clients, 1);
}

/* Only unconfirmed records: each SETCLIENTID replaces the one before. */
static void test_setclientid_unconfirmed(void **state)
{
	struct fixture *f = *state;
	struct nfs_verifier confirm;
	uint64_t first;

	assert_ok(setclientid(f, "x", 'v', 'A'));
	first = f->r.setclientid.clientid;
	confirm = f->r.setclientid.confirm;
	assert_status(state_renew(f->s, first, text("A")), NFS4ERR_STALE_CLIENTID);
	assert_status(do_open(f, 0, first, "oo", "file", 1, 0), NFS4ERR_STALE_CLIENTID);
	assert_ok(setclientid(f, "x", 'v', 'B')); /* whoever asks */
	assert_int_not_equal(f->r.setclientid.clientid, first);
	assert_int_equal(counts(f).clients, 1);
	assert_status(setclientid_confirm(f, first, confirm, 'A'), NFS4ERR_STALE_CLIENTID);
}

static void test_setclientid_in_use(void **state)
{
	struct fixture *f = *state;
	uint64_t id = v40_with_open(f, "x");

	assert_status(setclientid(f, "x", 'v', 'B'), NFS4ERR_CLID_INUSE);
	assert_string_equal(f->r.setclientid.netid, "tcp");
	assert_string_equal(f->r.setclientid.addr, "127.0.0.1.3.4");
	assert_int_equal(f->r.conflict_client, id);
	assert_false(state_is_courtesy(f->s, id));
	pass_seconds(f, LEASE + 1);
	assert_true(state_is_courtesy(f->s, id));
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, id));
	assert_ok(setclientid(f, "x", 'v', 'B'));
}

/* RFC 7530 section 9.1.2: an ID without state may be taken over. */
static void test_setclientid_takeover(void **state)
{
	struct fixture *f = *state;
	uint64_t old = client_v40(f, "x"), new;
	struct nfs_verifier confirm;

	assert_ok(setclientid(f, "x", 'v', 'B'));
	new = f->r.setclientid.clientid;
	confirm = f->r.setclientid.confirm;
	assert_int_not_equal(new, old);
	/* State that came meanwhile is protected. */
	open_v40(f, old, "oo", "file", 1, 0);
	assert_status(setclientid_confirm(f, new, confirm, 'B'), NFS4ERR_CLID_INUSE);
	assert_int_equal(counts(f).opens, 1);
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, old));
	assert_ok(setclientid_confirm(f, new, confirm, 'B'));
}

static void test_confirm_unknown(void **state)
{
	struct fixture *f = *state;
	struct nfs_verifier v = { { 1 } };
	uint64_t v41;

	assert_status(setclientid_confirm(f, 0, v, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_status(setclientid_confirm(f, (uint64_t)EPOCH << 32 | 7, v, 'A'),
		      NFS4ERR_STALE_CLIENTID);
	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	v41 = f->r.exchange_id.clientid;
	assert_status(setclientid_confirm(f, v41, (struct nfs_verifier){ 0 }, 'A'),
		      NFS4ERR_STALE_CLIENTID);
}

/* -------------------------------------------------- EXCHANGE_ID, RFC 8881 18.35.4 ---- */

static void test_exchange_new(void **state) /* cases 1 and 4 */
{
	struct fixture *f = *state;
	uint64_t first;

	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	first = f->r.exchange_id.clientid;
	assert_int_equal(f->r.exchange_id.flags, EXCHGID4_FLAG_USE_NON_PNFS);
	assert_int_equal(f->r.exchange_id.sequence, 1);
	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	assert_int_not_equal(f->r.exchange_id.clientid, first);
	assert_status(create_session(f, first, 1, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_int_equal(counts(f).clients, 1);
}

static void test_exchange_again(void **state) /* case 2 */
{
	struct fixture *f = *state;
	uint64_t id = client_v41(f, "x", NULL), restarted;

	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	assert_int_equal(f->r.exchange_id.clientid, id);
	assert_int_equal(f->r.exchange_id.flags,
			 EXCHGID4_FLAG_USE_NON_PNFS | EXCHGID4_FLAG_CONFIRMED_R);
	/* The sequence to go on with. */
	assert_int_equal(f->r.exchange_id.sequence, 2);
	/* An unconfirmed record of another incarnation goes. */
	assert_ok(exchange_id(f, "x", 'w', 'A', 0));
	restarted = f->r.exchange_id.clientid;
	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	assert_int_equal(f->r.exchange_id.clientid, id);
	assert_status(create_session(f, restarted, 1, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_int_equal(counts(f).clients, 1);
}

static void test_exchange_collision(void **state) /* case 3 */
{
	struct fixture *f = *state;
	uint64_t id = client_v41(f, "x", NULL);
	struct state_command destroy = { .type = CMD_DESTROY_SESSION };

	open_v41(f, id, "oo", "file", 1, 0);
	assert_status(exchange_id(f, "x", 'v', 'B', 0), NFS4ERR_CLID_INUSE);
	assert_int_equal(f->r.conflict_client, id);
	assert_int_equal(counts(f).opens, 1);
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, id));

	id = client_v41(f, "x", &destroy.destroy_session.session);
	assert_status(exchange_id(f, "x", 'v', 'B', 0), NFS4ERR_CLID_INUSE); /* a session */
	assert_ok(run(f, &destroy));
	fixture_forget_effects(f);
	assert_ok(exchange_id(f, "x", 'v', 'B', 0)); /* it held nothing */
	assert_int_not_equal(f->r.exchange_id.clientid, id);
	assert_int_equal(f->nclients_gone, 1);
	assert_int_equal(counts(f).clients, 1);
	assert_int_equal(counts(f).sessions, 0);
}

static void test_exchange_restart(void **state) /* case 5 */
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t old = client_v41(f, "x", &session), new, who;

	open_v41(f, old, "oo", "file", 1, 0);
	assert_ok(exchange_id(f, "x", 'w', 'A', 0));
	new = f->r.exchange_id.clientid;
	assert_int_not_equal(new, old);
	assert_false(f->r.exchange_id.flags & EXCHGID4_FLAG_CONFIRMED_R);
	assert_int_equal(counts(f).opens, 1);
	assert_ok(state_session_client(f->s, &session, &who));
	assert_int_equal(who, old);
	/* A CREATE_SESSION that fails changes nothing. */
	assert_status(create_session(f, new, 3, 'A'), NFS4ERR_SEQ_MISORDERED);
	assert_status(create_session(f, new, 1, 'B'), NFS4ERR_CLID_INUSE);
	assert_int_equal(counts(f).opens, 1);
	assert_ok(create_session(f, new, 1, 'A'));
	assert_int_equal(counts(f).opens, 0);
	assert_int_equal(counts(f).clients, 1);
	assert_status(state_session_client(f->s, &session, &who), NFS4ERR_BADSESSION);
}

static void test_exchange_update(void **state) /* cases 6 to 9 */
{
	struct fixture *f = *state;
	uint64_t id;

	assert_status(exchange_id(f, "x", 'v', 'A', UPDATE), NFS4ERR_NOENT);
	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	assert_status(exchange_id(f, "x", 'v', 'A', UPDATE), NFS4ERR_NOENT); /* unconfirmed */
	assert_ok(create_session(f, id, 1, 'A'));
	assert_ok(exchange_id(f, "x", 'v', 'A', UPDATE));
	assert_int_equal(f->r.exchange_id.clientid, id);
	assert_true(f->r.exchange_id.flags & EXCHGID4_FLAG_CONFIRMED_R);
	assert_false(f->r.exchange_id.flags & UPDATE);
	assert_status(exchange_id(f, "x", 'w', 'A', UPDATE), NFS4ERR_NOT_SAME);
	assert_status(exchange_id(f, "x", 'w', 'B', UPDATE), NFS4ERR_NOT_SAME);
	assert_status(exchange_id(f, "x", 'v', 'B', UPDATE), NFS4ERR_PERM);
}

static void test_separate_names(void **state)
{
	struct fixture *f = *state;
	uint64_t v40 = v40_with_open(f, "x"), v41 = client_v41(f, "x", NULL);

	assert_int_not_equal(v40, v41);
	assert_int_equal(counts(f).opens, 1);
	assert_status(create_session(f, v40, 1, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_status(on_client(f, CMD_DESTROY_CLIENTID, v40), NFS4ERR_STALE_CLIENTID);
	assert_status(state_renew(f->s, v41, text("A")), NFS4ERR_STALE_CLIENTID);
}

static void test_destroy_clientid(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct stateid open;
	uint64_t id;

	assert_status(on_client(f, CMD_DESTROY_CLIENTID, 0), NFS4ERR_STALE_CLIENTID);
	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	assert_ok(on_client(f, CMD_DESTROY_CLIENTID, f->r.exchange_id.clientid));
	id = client_v41(f, "x", &session);
	assert_status(on_client(f, CMD_DESTROY_CLIENTID, id), NFS4ERR_CLIENTID_BUSY);
	open = open_v41(f, id, "oo", "file", 1, 0);
	assert_ok(run(f, &(struct state_command){ .type = CMD_DESTROY_SESSION,
						  .destroy_session.session = session }));
	assert_status(on_client(f, CMD_DESTROY_CLIENTID, id), NFS4ERR_CLIENTID_BUSY);
	assert_ok(on_open(f, CMD_CLOSE, 1, id, open, "file", 0, 0));
	assert_ok(on_client(f, CMD_DESTROY_CLIENTID, id));
	assert_status(on_client(f, CMD_DESTROY_CLIENTID, id), NFS4ERR_STALE_CLIENTID);
	assert_int_equal(counts(f).clients, 0);
}

static void test_reclaim_complete(void **state)
{
	struct fixture *f = *state;
	struct state_command one_fs = { .type = CMD_RECLAIM_COMPLETE,
					.minor = 1,
					.reclaim_complete.one_fs = true };
	uint64_t id;

	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	one_fs.clientid = id = f->r.exchange_id.clientid;
	assert_ok(create_session(f, id, 1, 'A'));
	assert_false(state_reclaim_completed(f->s, id));
	assert_status(do_open(f, 1, id, "oo", "file", 1, 0), NFS4ERR_GRACE);
	assert_ok(run(f, &one_fs));
	assert_false(state_reclaim_completed(f->s, id));
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, id));
	assert_true(state_reclaim_completed(f->s, id));
	assert_status(on_client(f, CMD_RECLAIM_COMPLETE, id), NFS4ERR_COMPLETE_ALREADY);
	assert_ok(run(f, &one_fs));
	assert_ok(do_open(f, 1, id, "oo", "file", 1, 0));
}

/* ------------------------------------------------------------------------ leases ---- */

static void test_renew(void **state)
{
	struct fixture *f = *state;
	uint64_t id = client_v40(f, "x");
	struct state_command open = { .type = CMD_OPEN,
				      .clientid = id,
				      .principal = text("Q"),
				      .open = { text("oo"), text("file"), 1, 0, CLAIM_NULL } };

	assert_status(state_renew(f->s, 0, text("A")), NFS4ERR_STALE_CLIENTID);
	assert_status(state_renew(f->s, id ^ 1ull << 40, text("A")), NFS4ERR_STALE_CLIENTID);
	assert_status(state_renew(f->s, id + 5, text("A")), NFS4ERR_STALE_CLIENTID);
	assert_ok(state_renew(f->s, id, text("A")));
	assert_status(state_renew(f->s, id, text("Q")), NFS4ERR_ACCESS);
	assert_ok(run(f, &open));
	assert_ok(state_renew(f->s, id, text("Q"))); /* it has a file open */
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, id));
	assert_status(state_renew(f->s, id, text("A")), NFS4ERR_EXPIRED);
}

static void test_expiry(void **state)
{
	struct fixture *f = *state;
	uint64_t ids[8], holder = v40_with_open(f, "holder"), idle = client_v40(f, "idle");
	uint64_t unconfirmed;

	assert_ok(setclientid(f, "unconfirmed", 'v', 'A'));
	unconfirmed = f->r.setclientid.clientid;
	assert_int_equal(state_expirable(f->s, ids, 8), 0);
	pass_seconds(f, LEASE);
	assert_int_equal(state_expirable(f->s, ids, 8), 0);
	pass_seconds(f, 1);
	assert_true(state_is_courtesy(f->s, holder));
	assert_int_equal(state_expirable(f->s, ids, 8), 2);
	assert_int_equal(ids[0], idle);
	assert_int_equal(ids[1], unconfirmed);
	assert_int_equal(state_expirable(f->s, ids, 1), 1);
	/* Any use of a stateid renews. */
	assert_ok(state_renew(f->s, idle, text("A")));
	assert_int_equal(state_expirable(f->s, ids, 8), 1);
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, unconfirmed));
	pass_seconds(f, 24 * 3600);
	assert_int_equal(state_expirable(f->s, ids, 8), 2);
	assert_int_equal(ids[0], holder);
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, holder));
	assert_int_equal(counts(f).opens, 0);
	assert_int_equal(f->nclients_gone, 2);
	assert_int_equal(f->nfreed, 1);
	assert_string_equal(f->freed[0], "file");
	assert_status(on_client(f, CMD_EXPIRE_CLIENT, holder), NFS4ERR_STALE_CLIENTID);
	assert_false(state_is_courtesy(f->s, holder));
}

static void test_client_id_use_renews(void **state)
{
	struct fixture *f = *state;
	uint64_t id = client_v40(f, "x");

	pass_seconds(f, LEASE - 1);
	state_heard_v40(f->s, id);
	state_heard_v40(f->s, id + 1);
	pass_seconds(f, LEASE - 1);
	assert_false(state_is_courtesy(f->s, id));
	pass_seconds(f, 2);
	assert_true(state_is_courtesy(f->s, id));
}

static void test_stateid_use_renews(void **state)
{
	struct fixture *f = *state;
	uint64_t id = client_v40(f, "x");
	struct stateid open = open_v40(f, id, "oo", "file", 1, 0);

	pass_seconds(f, LEASE - 1);
	assert_ok(use(f, 0, 0, open, "file", ACCESS_READ));
	pass_seconds(f, LEASE - 1);
	assert_false(state_is_courtesy(f->s, id));
	pass_seconds(f, 2);
	assert_true(state_is_courtesy(f->s, id));
	/* A courteous server: it comes back and finds all as it was. */
	assert_ok(use(f, 0, 0, open, "file", ACCESS_READ));
	assert_false(state_is_courtesy(f->s, id));
}

static void few_clients(struct state_config *c)
{
	c->limits.max_clients = 2;
}

static void test_client_limit(void **state)
{
	struct fixture f;
	uint64_t unconfirmed, confirmed, v41;

	fixture_init(&f, few_clients);
	confirmed = client_v40(&f, "a");
	assert_ok(setclientid(&f, "b", 'v', 'A'));
	unconfirmed = f.r.setclientid.clientid;
	/* The oldest that never was confirmed makes room. */
	assert_ok(exchange_id(&f, "c", 'v', 'A', 0));
	v41 = f.r.exchange_id.clientid;
	assert_int_equal(f.nclients_gone, 1);
	assert_status(setclientid_confirm(&f, unconfirmed, (struct nfs_verifier){ 0 }, 'A'),
		      NFS4ERR_STALE_CLIENTID);
	assert_ok(create_session(&f, v41, 1, 'A'));
	assert_ok(state_renew(f.s, confirmed, text("A")));
	fixture_end(&f);
}

static void test_client_limit_full(void **state)
{
	struct fixture f;

	fixture_init(&f, few_clients);
	client_v40(&f, "a");
	client_v41(&f, "b", NULL);
	assert_status(setclientid(&f, "c", 'v', 'A'), NFS4ERR_RESOURCE);
	assert_status(exchange_id(&f, "c", 'v', 'A', 0), NFS4ERR_DELAY);
	assert_int_equal(counts(&f).clients, 2);
	fixture_end(&f);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_setclientid_update),
		TEST(test_setclientid_reboot),
		TEST(test_setclientid_one_unconfirmed),
		TEST(test_setclientid_unconfirmed),
		TEST(test_setclientid_in_use),
		TEST(test_setclientid_takeover),
		TEST(test_confirm_unknown),
		TEST(test_exchange_new),
		TEST(test_exchange_again),
		TEST(test_exchange_collision),
		TEST(test_exchange_restart),
		TEST(test_exchange_update),
		TEST(test_separate_names),
		TEST(test_destroy_clientid),
		TEST(test_reclaim_complete),
		TEST(test_renew),
		TEST(test_expiry),
		TEST(test_client_id_use_renews),
		TEST(test_stateid_use_renews),
		cmocka_unit_test(test_client_limit),
		cmocka_unit_test(test_client_limit_full),
	};

	return cmocka_run_group_tests_name("state_client", tests, NULL, NULL);
}

/*
 * The grace period as the state machine sees it, who is to be recorded for the next one, and
 * clients that make room for others.
 */
#include <errno.h>
#include <stdlib.h>

#include "test_state_fixture.h"

#define RDWR OPEN4_SHARE_ACCESS_BOTH

/* A record as state_record_take() gives it, for clients of principal A. */
struct known {
	uint8_t bytes[64];
	struct state_reclaimer r;
};

static struct known *known(bool v40, const char *owner, char verifier)
{
	struct known *k = calloc(1, sizeof(*k));
	uint32_t len = (uint32_t)strlen(owner);

	assert_non_null(k);
	k->bytes[0] = v40 ? 0 : 1;
	k->bytes[4] = (uint8_t)len;
	memcpy(k->bytes + 5, owner, len);
	k->bytes[5 + len] = 'A';
	k->r.key = (struct bytes){ k->bytes, 6 + len };
	memset(&k->r.verifier, verifier, sizeof(k->r.verifier));
	return k;
}

static void start_grace(struct fixture *f, bool anybody, unsigned n, struct known *all[])
{
	struct state_reclaimer list[8];

	for (unsigned i = 0; i < n; i++)
		list[i] = all[i]->r;
	assert_ok(run(f, &(struct state_command){
			     .type = CMD_START_GRACE,
			     .start_grace = { .clients = list, .n = n, .anybody = anybody } }));
	for (unsigned i = 0; i < n; i++)
		free(all[i]);
}

static enum nfsstat4 end_grace(struct fixture *f)
{
	return run(f, &(struct state_command){ .type = CMD_END_GRACE });
}

/* With a session, but before RECLAIM_COMPLETE. */
static uint64_t returned(struct fixture *f, const char *owner)
{
	uint64_t id;

	assert_ok(exchange_id(f, owner, 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	assert_ok(create_session(f, id, f->r.exchange_id.sequence, 'A'));
	return id;
}

static enum nfsstat4 reclaim_open(struct fixture *f, uint32_t minor, uint64_t clientid,
				  const char *file, uint32_t deny)
{
	return run(f, &(struct state_command){ .type = CMD_OPEN,
					       .minor = minor,
					       .clientid = clientid,
					       .principal = text("A"),
					       .open = { .owner = text("o"),
							 .file = text(file),
							 .access = RDWR,
							 .deny = deny,
							 .claim = CLAIM_PREVIOUS } });
}

static enum nfsstat4 reclaim_lock(struct fixture *f, uint32_t minor, uint64_t clientid,
				  struct stateid open, const char *file)
{
	return run(f, &(struct state_command){ .type = CMD_LOCK,
					       .minor = minor,
					       .clientid = clientid,
					       .lock = { .file = text(file),
							 .type = WRITE_LT,
							 .range = { 0, 10 },
							 .new_owner = true,
							 .stateid = open,
							 .owner = text("l"),
							 .lock_seqid = f->lock_seqid++,
							 .reclaim = true } });
}

/* Minor version 0 with its first request for something new. */
static void ask_new(struct fixture *f, uint64_t clientid)
{
	assert_ok(run(f, &(struct state_command){ .type = CMD_RECLAIM_COMPLETE,
						  .clientid = clientid }));
}

static void test_none(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	assert_false(state_in_grace(f->s));
	start_grace(f, false, 0, NULL);
	assert_false(state_in_grace(f->s));
	id = returned(f, "a");
	assert_status(reclaim_open(f, 1, id, "file", 0), NFS4ERR_NO_GRACE);
	assert_ok(end_grace(f));
	assert_int_equal(f->ngraces_ended, 0);
}

static void test_sessions(void **state)
{
	struct fixture *f = *state;
	struct known *list[] = { known(false, "a", 'v'), known(false, "b", 'v') };
	uint32_t listed, waiting;
	struct stateid open;
	uint64_t a, b, c;

	start_grace(f, false, 2, list);
	assert_true(state_in_grace(f->s));
	a = returned(f, "a");
	c = client_v41(f, "c", NULL);
	assert_status(do_open(f, 1, a, "o", "file", RDWR, 0), NFS4ERR_GRACE);
	assert_status(do_open(f, 1, c, "o", "file", RDWR, 0), NFS4ERR_GRACE);
	assert_status(reclaim_open(f, 1, c, "file", 0), NFS4ERR_NO_GRACE);
	assert_ok(state_may_reclaim(f->s, 1, a));
	assert_status(state_may_reclaim(f->s, 1, c), NFS4ERR_NO_GRACE);
	assert_status(state_may_reclaim(f->s, 1, 99), NFS4ERR_EXPIRED);
	assert_ok(reclaim_open(f, 1, a, "file", 0));
	open = f->r.open.stateid;
	assert_ok(reclaim_lock(f, 1, a, open, "file"));
	assert_status(lock_new(f, 1, a, open, "m", "file", WRITE_LT, 20, 10), NFS4ERR_GRACE);
	assert_status(lockt(f, c, "l", "file", READ_LT, 0, 1), NFS4ERR_GRACE);
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, a));
	assert_status(on_client(f, CMD_RECLAIM_COMPLETE, a), NFS4ERR_COMPLETE_ALREADY);
	assert_status(reclaim_open(f, 1, a, "file", 0), NFS4ERR_NO_GRACE);
	assert_status(reclaim_lock(f, 1, a, open, "file"), NFS4ERR_NO_GRACE);
	assert_status(do_open(f, 1, a, "o", "other", RDWR, 0), NFS4ERR_GRACE);
	state_grace_progress(f->s, &listed, &waiting);
	assert_int_equal(listed, 2);
	assert_int_equal(waiting, 1);
	assert_int_equal(f->ngraces_ended, 0);
	b = returned(f, "b");
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, b));
	assert_int_equal(f->ngraces_ended, 1);
	assert_false(state_in_grace(f->s));
	assert_ok(do_open(f, 1, c, "o", "file", RDWR, 0));
	assert_status(lockt(f, c, "l", "file", READ_LT, 0, 1), NFS4ERR_DENIED);
}

static void test_v40(void **state)
{
	struct fixture *f = *state;
	struct known *list[] = { known(true, "a", 'v'), known(true, "rebooted", 'w'),
				 known(false, "b", 'v') };
	struct stateid open;
	uint64_t a, b;

	start_grace(f, false, 3, list);
	a = client_v40(f, "a");
	assert_status(state_may_reclaim(f->s, 0, a + 100), NFS4ERR_STALE_CLIENTID);
	ask_new(f, a); /* it has reclaimed nothing yet */
	assert_ok(reclaim_open(f, 0, a, "file", 0));
	assert_false(f->r.open.needs_confirm);
	open = f->r.open.stateid;
	assert_ok(reclaim_lock(f, 0, a, open, "file"));
	client_v40(f, "rebooted"); /* with verifier 'v' */
	b = returned(f, "b");
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, b));
	assert_true(state_in_grace(f->s));
	ask_new(f, a);
	assert_false(state_in_grace(f->s));
	assert_int_equal(f->ngraces_ended, 1);
	assert_ok(use(f, 0, 0, open, "file", ACCESS_WRITE));
}

/* A confirmed owner afterwards; but one that got nothing by a reclaim is not confirmed by it. */
static void test_v40_owner(void **state)
{
	struct fixture *f = *state;
	struct known *list[] = { known(true, "a", 'v'), known(false, "b", 'v') };
	uint64_t a, b;

	start_grace(f, false, 2, list);
	a = client_v40(f, "a");
	b = returned(f, "b");
	assert_ok(reclaim_open(f, 1, b, "denied", OPEN4_SHARE_DENY_WRITE));
	assert_status(reclaim_open(f, 0, a, "denied", 0), NFS4ERR_RECLAIM_CONFLICT);
	assert_ok(end_grace(f));
	assert_ok(do_open(f, 0, a, "o", "file", RDWR, 0));
	assert_true(f->r.open.needs_confirm);
}

static void test_conflicts(void **state)
{
	struct fixture *f = *state;
	struct known *list[] = { known(false, "a", 'v'), known(false, "b", 'v') };
	uint64_t a, b;

	start_grace(f, false, 2, list);
	a = returned(f, "a");
	b = returned(f, "b");
	assert_ok(reclaim_open(f, 1, a, "file", 0));
	assert_ok(reclaim_lock(f, 1, a, f->r.open.stateid, "file"));
	assert_status(reclaim_open(f, 1, b, "file", OPEN4_SHARE_DENY_READ),
		      NFS4ERR_RECLAIM_CONFLICT);
	assert_int_equal(f->r.conflict_client, 0); /* nobody is expired for it */
	assert_ok(reclaim_open(f, 1, b, "file", 0));
	assert_status(reclaim_lock(f, 1, b, f->r.open.stateid, "file"), NFS4ERR_RECLAIM_CONFLICT);
	assert_int_equal(f->r.conflict_client, 0);
}

/* Nobody knows who: everybody may, and it takes its time. */
static void test_anybody(void **state)
{
	struct fixture *f = *state;
	uint64_t a, b;

	start_grace(f, true, 0, NULL);
	a = returned(f, "a");
	b = client_v40(f, "b");
	assert_ok(reclaim_open(f, 1, a, "file", 0));
	assert_ok(reclaim_open(f, 0, b, "file", 0));
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, a));
	ask_new(f, b);
	assert_true(state_in_grace(f->s));
	assert_status(do_open(f, 1, a, "o", "g", RDWR, 0), NFS4ERR_GRACE);
	assert_ok(end_grace(f));
	assert_ok(do_open(f, 1, a, "o", "g", RDWR, 0));
	assert_int_equal(f->ngraces_ended, 1);
	assert_status(run(f, &(struct state_command){ .type = CMD_START_GRACE,
						      .start_grace.anybody = true }),
		      NFS4ERR_INVAL);
}

/* The same bytes, but another kind or user. */
static void test_identity(void **state)
{
	struct fixture *f = *state;
	struct known *list[] = { known(false, "a", 'v'), known(false, "a", 'v') };
	uint32_t listed, waiting;
	uint64_t id;

	start_grace(f, false, 2, list);
	state_grace_progress(f->s, &listed, &waiting);
	assert_int_equal(listed, 1); /* named twice */
	id = client_v40(f, "a");
	assert_status(reclaim_open(f, 0, id, "file", 0), NFS4ERR_NO_GRACE);
	assert_ok(exchange_id(f, "a", 'v', 'B', 0));
	id = f->r.exchange_id.clientid;
	assert_ok(create_session(f, id, f->r.exchange_id.sequence, 'B'));
	assert_status(reclaim_open(f, 1, id, "file", 0), NFS4ERR_NO_GRACE);
	assert_true(state_in_grace(f->s));
}

static void test_destroyed(void **state)
{
	struct fixture *f = *state;
	struct known *list[] = { known(false, "a", 'v') };
	struct sessionid session;
	uint64_t id;

	start_grace(f, false, 1, list);
	id = returned(f, "a");
	session = f->r.create_session.session;
	assert_ok(run(f, &(struct state_command){ .type = CMD_DESTROY_SESSION,
						  .minor = 1,
						  .clientid = id,
						  .principal = text("A"),
						  .destroy_session.session = session }));
	assert_true(state_in_grace(f->s));
	assert_ok(run(f, &(struct state_command){ .type = CMD_DESTROY_CLIENTID,
						  .minor = 1,
						  .clientid = id,
						  .principal = text("A") }));
	assert_false(state_in_grace(f->s));
	assert_int_equal(f->ngraces_ended, 1);
}

/* ---- who is recorded ---- */

static void test_recorded(void **state)
{
	struct fixture *f = *state;
	struct state_record r;
	uint64_t *ids, a, b;
	size_t n;

	a = client_v41(f, "a", NULL);
	b = client_v40(f, "b");
	assert_int_equal(f->nrecords, 0);
	assert_ok(do_open(f, 0, b, "o", "file", RDWR, 0));
	assert_int_equal(f->nrecords, 0); /* not confirmed */
	assert_ok(on_open(f, CMD_OPEN_CONFIRM, 0, 0, f->r.open.stateid, "file", 0, 0));
	assert_int_equal(f->nrecords, 1);
	open_v41(f, a, "o", "file", RDWR, 0);
	open_v41(f, a, "o", "g", RDWR, 0);
	assert_int_equal(f->nrecords, 2);

	assert_false(state_record_is_stored(f->s, a));
	assert_int_equal(state_record_take(f->s, a, &r), 0);
	assert_int_equal(r.key_len, 7);
	assert_memory_equal(r.key, "\1\0\0\0\1aA", 7);
	assert_memory_equal(&r.verifier, "vvvvvvvv", 8);
	free(r.key);
	assert_int_equal(state_record_take(f->s, a, &r), -EALREADY);
	state_record_untake(f->s, a);
	assert_int_equal(state_record_take(f->s, a, &r), 0);
	free(r.key);
	state_record_stored(f->s, a);
	assert_true(state_record_is_stored(f->s, a));
	assert_int_equal(state_recorded_clients(f->s, &ids, &n), 0);
	assert_int_equal(n, 2);
	assert_true(ids[0] == a && ids[1] == b);
	free(ids);

	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, a));
	assert_int_equal(f->nforgotten, 1);
	assert_int_equal(state_record_take(f->s, a, &r), -ENOENT);
	assert_true(state_record_is_stored(f->s, a));
	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, b));
	assert_int_equal(f->nforgotten, 2);
}

/* One that had nothing is not worth a word when it goes. */
static void test_not_recorded(void **state)
{
	struct fixture *f = *state;
	uint64_t id = client_v41(f, "a", NULL);

	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, id));
	assert_int_equal(f->nforgotten, 0);
	/* A client that reboots: its earlier life's record goes. */
	id = client_v41(f, "b", NULL);
	open_v41(f, id, "o", "file", RDWR, 0);
	assert_ok(exchange_id(f, "b", 'w', 'A', 0));
	assert_int_equal(f->nforgotten, 0);
	assert_ok(create_session(f, f->r.exchange_id.clientid, f->r.exchange_id.sequence, 'A'));
	assert_int_equal(f->nforgotten, 1);
}

static struct stateid delegated(struct fixture *f, uint32_t minor, uint64_t clientid,
				const char *file)
{
	assert_ok(run(f, &(struct state_command){ .type = CMD_OPEN,
						  .minor = minor,
						  .clientid = clientid,
						  .principal = text("A"),
						  .open = { .owner = text("o"),
							    .file = text(file),
							    .access = OPEN4_SHARE_ACCESS_READ,
							    .delegate = OPEN_DELEGATE_READ,
							    .fh = text("fh") } }));
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_READ);
	return f->r.open.deleg_stateid;
}

static void revoke(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id)
{
	assert_ok(run(f, &(struct state_command){ .type = CMD_REVOKE,
						  .minor = minor,
						  .clientid = clientid,
						  .revoke = { id } }));
}

/* Who does not know what it has lost must not reclaim it; who does may reclaim the rest. */
static void test_revoked(void **state)
{
	struct fixture *f = *state;
	struct stateid first, second;
	struct state_record r;
	uint64_t a, b;

	a = client_v41(f, "a", NULL);
	first = delegated(f, 1, a, "1");
	second = delegated(f, 1, a, "2");
	assert_int_equal(f->nrecords, 1);
	assert_int_equal(state_record_take(f->s, a, &r), 0);
	free(r.key);
	state_record_stored(f->s, a);
	revoke(f, 1, a, first);
	revoke(f, 1, a, second);
	assert_int_equal(f->nforgotten, 1);
	/* Nobody could have been granted what is taken before the record's end was known. */
	assert_int_equal(f->delegs_when_forgotten, 2);
	state_record_untake(f->s, a); /* as is done with the effect */
	state_record_stored(f->s, a); /* of the earlier record: too late */
	open_v41(f, a, "o", "3", RDWR, 0);
	assert_int_equal(f->nrecords, 1);
	assert_int_equal(state_record_take(f->s, a, &r), -ENOENT);
	assert_true(state_record_is_stored(f->s, a));
	assert_ok(free_stateid(f, a, first));
	assert_int_equal(f->nrecords, 1);
	assert_ok(free_stateid(f, a, second));
	assert_int_equal(f->nrecords, 2);
	assert_false(state_record_is_stored(f->s, a));
	assert_int_equal(state_record_take(f->s, a, &r), 0);
	free(r.key);

	/* Minor version 0 cannot say that it knows. */
	b = client_v40(f, "b");
	open_v40(f, b, "o", "4", RDWR, 0);
	assert_int_equal(f->nrecords, 3);
	first = delegated(f, 0, b, "5");
	revoke(f, 0, b, first);
	assert_int_equal(f->nforgotten, 2);
	open_v40(f, b, "o", "6", RDWR, 0);
	assert_int_equal(f->nrecords, 3);
}

/* ---- limits ---- */

static void few(struct state_config *c)
{
	c->limits.max_clients = 3;
	c->limits.max_opens = 2;
	c->limits.max_opens_per_client = 2;
	c->limits.max_locks = 2;
}

static void test_make_room(void **state)
{
	struct fixture f;
	struct stateid open;
	uint64_t a, b, c;

	fixture_init(&f, few);
	a = client_v41(&f, "a", NULL);
	open_v41(&f, a, "o", "file", RDWR, 0);
	pass_seconds(&f, 10);
	b = client_v41(&f, "b", NULL);
	open = open_v41(&f, b, "o", "file", RDWR, 0);
	assert_ok(lock_new(&f, 1, b, open, "l", "file", WRITE_LT, 0, 1));
	c = client_v40(&f, "c");
	assert_status(do_open(&f, 0, c, "o", "file", RDWR, 0), NFS4ERR_RESOURCE);
	assert_true(f.r.over_limit);
	assert_int_equal(state_longest_silent(f.s), 0); /* all are alive */
	pass_seconds(&f, LEASE - 5);
	assert_ok(state_renew(f.s, c, text("A")));
	assert_true(state_longest_silent(f.s) == a); /* b may be silent for another five seconds */
	pass_seconds(&f, 10);
	assert_ok(state_renew(f.s, c, text("A")));
	assert_true(state_longest_silent(f.s) == a);
	assert_status(exchange_id(&f, "d", 'v', 'A', 0), NFS4ERR_DELAY);
	assert_true(f.r.over_limit);
	assert_ok(on_client(&f, CMD_EXPIRE_CLIENT, a));
	assert_ok(exchange_id(&f, "d", 'v', 'A', 0));
	assert_false(f.r.over_limit);
	open = open_v40(&f, c, "o", "file", RDWR, 0);
	assert_ok(lock_new(&f, 0, c, open, "l", "file", WRITE_LT, 10, 1));
	f.lock_seqid++;
	assert_status(lock_new(&f, 0, c, open, "m", "file", WRITE_LT, 20, 1), NFS4ERR_RESOURCE);
	assert_true(f.r.over_limit);
	assert_true(state_longest_silent(f.s) == b);
	assert_ok(on_client(&f, CMD_EXPIRE_CLIENT, b));
	assert_ok(lock_new(&f, 0, c, open, "m", "file", WRITE_LT, 20, 1));
	/* A client's own limit is no reason to expire others. */
	open_v40(&f, c, "o", "g", RDWR, 0);
	assert_status(do_open(&f, 0, c, "o", "h", RDWR, 0), NFS4ERR_RESOURCE);
	fixture_end(&f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_none),
		TEST(test_sessions),
		TEST(test_v40),
		TEST(test_v40_owner),
		TEST(test_conflicts),
		TEST(test_anybody),
		TEST(test_identity),
		TEST(test_destroyed),
		TEST(test_recorded),
		TEST(test_not_recorded),
		TEST(test_revoked),
		cmocka_unit_test(test_make_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

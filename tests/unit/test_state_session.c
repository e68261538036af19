/* Sessions, slots and cached replies, connections. */
#include "test_state_fixture.h"

#define CONN 17u

static struct sequence_args seq(const struct sessionid *session, uint32_t slot, uint32_t seqid,
				bool cache)
{
	return (struct sequence_args){ .session = *session,
				       .seqid = seqid,
				       .slot = slot,
				       .highest_slot = slot,
				       .cache_this = cache,
				       .request_len = 200,
				       .nops = 2,
				       .request_hash = 1000u * slot + seqid,
				       .conn_id = CONN };
}

static enum nfsstat4 sequence(struct fixture *f, struct sequence_args args, struct slot_use *use)
{
	return state_sequence(f->s, &args, use);
}

/* A whole request with the reply `reply`, NULL: not cached. */
static void request(struct fixture *f, const struct sessionid *session, uint32_t slot,
		    uint32_t seqid, const char *reply)
{
	struct slot_use use;

	assert_ok(sequence(f, seq(session, slot, seqid, reply != NULL), &use));
	assert_null(use.replay);
	state_sequence_end(f->s, &use, reply, reply ? (uint32_t)strlen(reply) : 0);
}

static void assert_replay(struct fixture *f, const struct sessionid *session, uint32_t slot,
			  uint32_t seqid, const char *reply)
{
	struct slot_use use;

	assert_ok(sequence(f, seq(session, slot, seqid, true), &use));
	assert_non_null(use.replay);
	assert_int_equal(use.replay_len, strlen(reply));
	assert_memory_equal(use.replay, reply, use.replay_len);
	state_sequence_end(f->s, &use, NULL, 0);
}

/* -------------------------------------------- CREATE_SESSION, RFC 8881 section 18.36 ---- */

static void test_create_unknown(void **state)
{
	struct fixture *f = *state;

	assert_status(create_session(f, 0, 1, 'A'), NFS4ERR_STALE_CLIENTID);
	assert_status(create_session(f, (uint64_t)EPOCH << 32 | 9, 1, 'A'), NFS4ERR_STALE_CLIENTID);
}

static void test_create_sequence(void **state)
{
	struct fixture *f = *state;
	struct state_result first;
	uint64_t id;

	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	assert_status(create_session(f, id, 0, 'A'), NFS4ERR_SEQ_MISORDERED); /* contrived */
	assert_status(create_session(f, id, 2, 'A'), NFS4ERR_SEQ_MISORDERED);
	assert_status(create_session(f, id, 1, 'B'), NFS4ERR_CLID_INUSE);
	assert_ok(create_session(f, id, 1, 'A'));
	first = f->r;
	assert_int_equal(first.create_session.sequence, 1);
	/* A replay, with other arguments even. */
	assert_ok(create_session(f, id, 1, 'A'));
	assert_memory_equal(&first.create_session, &f->r.create_session,
			    sizeof(first.create_session));
	assert_int_equal(counts(f).sessions, 1);
	assert_status(create_session(f, id, 3, 'A'), NFS4ERR_SEQ_MISORDERED);
	assert_status(create_session(f, id, 0, 'A'), NFS4ERR_SEQ_MISORDERED);
	assert_ok(create_session(f, id, 2, 'A'));
	assert_memory_not_equal(&first.create_session.session, &f->r.create_session.session,
				sizeof(struct sessionid));
	assert_status(create_session(f, id, 1, 'A'), NFS4ERR_SEQ_MISORDERED);
	assert_int_equal(counts(f).sessions, 2);
}

/* An error is an answer, too, and is given again; but who asks for other sizes may do so at once. */
static void test_create_error_replay(void **state)
{
	struct fixture *f = *state;
	struct state_command cmd;
	uint64_t id;

	assert_ok(exchange_id(f, "x", 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	cmd = create_session_cmd(id, 1, 'A');
	cmd.create_session.fore.max_request = 20;
	assert_status(run(f, &cmd), NFS4ERR_TOOSMALL);
	assert_status(run(f, &cmd), NFS4ERR_TOOSMALL);
	assert_ok(exchange_id(f, "x", 'v', 'A', 0)); /* was not confirmed by it */
	assert_int_not_equal(f->r.exchange_id.clientid, id);
	id = f->r.exchange_id.clientid;
	cmd = create_session_cmd(id, 1, 'A');
	cmd.create_session.fore.max_response = 0;
	assert_status(run(f, &cmd), NFS4ERR_TOOSMALL);
	cmd = create_session_cmd(id, 2, 'A');
	cmd.create_session.back.max_response = 8;
	assert_status(run(f, &cmd), NFS4ERR_TOOSMALL);
	cmd.create_session.flags = CREATE_SESSION4_FLAG_CONN_BACK_CHAN;
	assert_status(run(f, &cmd), NFS4ERR_TOOSMALL);
	assert_status(create_session(f, id, 1, 'A'), NFS4ERR_SEQ_MISORDERED);
	assert_ok(create_session(f, id, 2, 'A'));
	assert_ok(create_session(f, id, 3, 'A'));
}

static void test_create_negotiation(void **state)
{
	struct fixture *f = *state;
	struct state_command cmd;
	uint64_t id = client_v41(f, "x", NULL);
	struct channel_attrs huge = {
		9, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX
	};

	cmd = create_session_cmd(id, 2, 'A');
	cmd.create_session.fore = huge;
	cmd.create_session.back = huge;
	cmd.create_session.flags = CREATE_SESSION4_FLAG_PERSIST |
				   CREATE_SESSION4_FLAG_CONN_BACK_CHAN |
				   CREATE_SESSION4_FLAG_CONN_RDMA;
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.create_session.flags, CREATE_SESSION4_FLAG_CONN_BACK_CHAN);
	assert_int_equal(f->r.create_session.fore.header_pad, 0);
	assert_int_equal(f->r.create_session.fore.max_request, (1 << 20) + 65536);
	assert_int_equal(f->r.create_session.fore.max_response_cached, 4096);
	assert_int_equal(f->r.create_session.fore.max_ops, 128);
	assert_int_equal(f->r.create_session.fore.max_slots, 63); /* its share of the cache */
	/* The back channel's are the client's to say. */
	assert_int_equal(f->r.create_session.back.max_ops, UINT32_MAX);
	assert_int_equal(f->r.create_session.back.max_slots, UINT32_MAX);
	assert_int_equal(f->r.create_session.back.header_pad, 0);

	cmd = create_session_cmd(id, 3, 'A');
	cmd.create_session.fore.max_slots = 0;
	cmd.create_session.fore.max_response_cached = 10;
	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.create_session.flags, 0);
	assert_int_equal(f->r.create_session.fore.max_slots, 1);
	assert_int_equal(f->r.create_session.fore.max_response_cached, 10);
}

static void small_cache(struct state_config *c)
{
	c->limits.max_reply_cache = 2048 * 40;
	c->limits.max_sessions_per_client = 100;
}

/* Sessions pay for their replies in advance; what is left gets less and never exceeds. */
static void test_create_cache_budget(void **state)
{
	struct fixture f;
	uint32_t slots = 0, n = 1, last = UINT32_MAX;
	struct sessionid session;
	uint64_t id;

	fixture_init(&f, small_cache);
	id = client_v41(&f, "x", &session);
	for (; create_session(&f, id, n + 1, 'A') == NFS4_OK; n++) {
		assert_true(f.r.create_session.fore.max_slots <= last);
		last = f.r.create_session.fore.max_slots;
		slots += last;
	}
	assert_int_equal(f.r.status, NFS4ERR_DELAY);
	assert_true(f.r.over_limit); /* who has been silent for too long may go */
	assert_true(n > 5);
	assert_int_equal(slots, 40 - 4); /* client_v41's session has 4 */
	assert_ok(run(&f, &(struct state_command){ .type = CMD_DESTROY_SESSION,
						   .destroy_session.session = session }));
	assert_ok(create_session(&f, id, n + 1, 'A'));
	fixture_end(&f);
}

static void one_session(struct state_config *c)
{
	c->limits.max_sessions_per_client = 1;
}

static void test_create_session_limit(void **state)
{
	struct fixture f;
	uint64_t id;

	fixture_init(&f, one_session);
	id = client_v41(&f, "x", NULL);
	assert_status(create_session(&f, id, 2, 'A'), NFS4ERR_NOSPC);
	assert_int_equal(counts(&f).sessions, 1);
	fixture_end(&f);
}

static void test_destroy_session(void **state)
{
	struct fixture *f = *state;
	struct state_command destroy = { .type = CMD_DESTROY_SESSION };
	struct sessionid session;
	struct slot_use busy, use;
	uint64_t id = client_v41(f, "x", &session);

	open_v41(f, id, "oo", "file", 1, 0);
	assert_ok(sequence(f, seq(&session, 0, 1, false), &busy));
	assert_true(slot_use_is_session(&busy, &session));
	destroy.destroy_session.session = session;
	assert_ok(run(f, &destroy));
	assert_int_equal(f->nsessions_gone, 1);
	assert_status(run(f, &destroy), NFS4ERR_BADSESSION);
	assert_status(sequence(f, seq(&session, 1, 1, false), &use), NFS4ERR_BADSESSION);
	/* The request that was at work ends as any. */
	state_sequence_end(f->s, &busy, "reply", 5);
	assert_int_equal(counts(f).opens, 1);
	assert_int_equal(counts(f).sessions, 0);
	assert_ok(create_session(f, id, 2, 'A'));
}

/* ------------------------------------------------ SEQUENCE, RFC 8881 section 18.46 ---- */

static void test_sequence_order(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct slot_use use;
	uint64_t id = client_v41(f, "x", &session);

	assert_status(sequence(f, seq(&session, 0, 0, true), &use), NFS4ERR_SEQ_MISORDERED);
	assert_status(sequence(f, seq(&session, 0, 2, true), &use), NFS4ERR_SEQ_MISORDERED);
	assert_ok(sequence(f, seq(&session, 0, 1, true), &use));
	assert_int_equal(use.clientid, id);
	assert_int_equal(use.highest_slot, 31);
	assert_int_equal(use.target_highest_slot, 31);
	assert_int_equal(use.status_flags, 0);
	assert_int_equal(use.fore.max_ops, 16);
	assert_true(use.cache_this);
	state_sequence_end(f->s, &use, "first", 5);
	assert_replay(f, &session, 0, 1, "first");
	assert_replay(f, &session, 0, 1, "first");
	request(f, &session, 0, 2, "second");
	assert_replay(f, &session, 0, 2, "second");
	assert_status(sequence(f, seq(&session, 0, 1, true), &use), NFS4ERR_SEQ_MISORDERED);
	assert_status(sequence(f, seq(&session, 0, 4, true), &use), NFS4ERR_SEQ_MISORDERED);
	/* Slots do not know of each other. */
	request(f, &session, 31, 1, "other");
	assert_replay(f, &session, 0, 2, "second");
}

static void test_sequence_errors(void **state)
{
	struct fixture *f = *state;
	struct sessionid session, other;
	struct sequence_args args;
	struct slot_use use;

	client_v41(f, "x", &session);
	other = session;
	other.data[0] ^= 1;
	assert_status(sequence(f, seq(&other, 0, 1, true), &use), NFS4ERR_BADSESSION);
	assert_status(sequence(f, seq(&session, 32, 1, true), &use), NFS4ERR_BADSLOT);
	args = seq(&session, 0, 1, true);
	args.highest_slot = 32;
	assert_status(sequence(f, args, &use), NFS4ERR_BAD_HIGH_SLOT);
	args = seq(&session, 0, 1, true);
	args.nops = 17;
	assert_status(sequence(f, args, &use), NFS4ERR_TOO_MANY_OPS);
	args = seq(&session, 0, 1, true);
	args.request_len = (1 << 20) + 1;
	assert_status(sequence(f, args, &use), NFS4ERR_REQ_TOO_BIG);
	request(f, &session, 0, 1, "ok"); /* none of them touched the slot */
}

static void test_sequence_uncached(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct sequence_args args;
	struct slot_use use;

	client_v41(f, "x", &session);
	request(f, &session, 3, 1, NULL);
	assert_status(sequence(f, seq(&session, 3, 1, false), &use), NFS4ERR_RETRY_UNCACHED_REP);
	assert_int_equal(use.highest_slot, 31); /* for SEQUENCE's own answer */
	args = seq(&session, 3, 1, false);
	args.request_hash++;
	assert_status(sequence(f, args, &use), NFS4ERR_SEQ_FALSE_RETRY);
	/* SEQUENCE alone is kept though nobody asked. */
	assert_ok(sequence(f, seq(&session, 3, 2, false), &use));
	state_sequence_end(f->s, &use, "sequence only", 13);
	assert_replay(f, &session, 3, 2, "sequence only");
	/* An older reply is not taken for that of an uncached request. */
	request(f, &session, 3, 3, NULL);
	assert_status(sequence(f, seq(&session, 3, 3, false), &use), NFS4ERR_RETRY_UNCACHED_REP);
}

static void test_sequence_in_progress(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct sequence_args args;
	struct slot_use use, again, replay;

	client_v41(f, "x", &session);
	assert_ok(sequence(f, seq(&session, 0, 1, true), &use));
	assert_status(sequence(f, seq(&session, 0, 1, true), &again), NFS4ERR_DELAY);
	assert_status(sequence(f, seq(&session, 0, 2, true), &again), NFS4ERR_DELAY);
	args = seq(&session, 0, 1, true);
	args.request_hash++;
	assert_status(sequence(f, args, &again), NFS4ERR_SEQ_FALSE_RETRY);
	state_sequence_end(f->s, &use, "done", 4);
	assert_ok(sequence(f, seq(&session, 0, 1, true), &replay));
	assert_non_null(replay.replay);
	/* While it is read the reply must stay. */
	assert_status(sequence(f, seq(&session, 0, 2, true), &again), NFS4ERR_DELAY);
	assert_memory_equal(replay.replay, "done", 4);
	state_sequence_end(f->s, &replay, NULL, 0);
	request(f, &session, 0, 2, "next");
}

static void test_sequence_long(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct slot_use use;
	uint32_t i;

	client_v41(f, "x", &session);
	for (i = 1; i <= 300; i++)
		request(f, &session, 0, i, i % 3 ? "r" : NULL);
	assert_status(sequence(f, seq(&session, 0, UINT32_MAX, true), &use),
		      NFS4ERR_SEQ_MISORDERED);
}

static void test_reply_sizes(void **state)
{
	struct fixture *f = *state;
	static char reply[4096];
	struct sessionid session;
	struct slot_use use;

	memset(reply, 'r', sizeof(reply));
	client_v41(f, "x", &session);
	for (uint32_t len = 1, seqid = 1; len <= 2048; len = len * 2, seqid++) {
		assert_ok(sequence(f, seq(&session, 0, seqid, true), &use));
		state_sequence_end(f->s, &use, reply, len);
		assert_ok(sequence(f, seq(&session, 0, seqid, true), &use));
		assert_int_equal(use.replay_len, len);
		assert_memory_equal(use.replay, reply, len);
		state_sequence_end(f->s, &use, NULL, 0);
	}
	assert_int_equal(counts(f).cached_bytes, 2048);
	/* More than was agreed is not kept. */
	assert_ok(sequence(f, seq(&session, 1, 1, true), &use));
	state_sequence_end(f->s, &use, reply, 2049);
	assert_status(sequence(f, seq(&session, 1, 1, true), &use), NFS4ERR_RETRY_UNCACHED_REP);
}

static void test_sequence_renews(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct slot_use use;
	uint64_t id = client_v41(f, "x", &session);

	pass_seconds(f, LEASE + 1);
	assert_true(state_is_courtesy(f->s, id));
	assert_status(sequence(f, seq(&session, 0, 7, true), &use), NFS4ERR_SEQ_MISORDERED);
	assert_true(state_is_courtesy(f->s, id)); /* an error does not renew */
	request(f, &session, 0, 1, NULL);
	assert_false(state_is_courtesy(f->s, id));
}

static void test_expired_session(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct slot_use slot;
	uint64_t id = client_v41(f, "x", &session);
	struct stateid open = open_v41(f, id, "oo", "file", 1, 0);

	assert_ok(on_client(f, CMD_EXPIRE_CLIENT, id));
	assert_status(sequence(f, seq(&session, 0, 1, true), &slot), NFS4ERR_BADSESSION);
	assert_status(use(f, 1, id, open, "file", ACCESS_READ), NFS4ERR_BAD_STATEID);
	assert_status(do_open(f, 1, id, "oo", "file", 1, 0), NFS4ERR_EXPIRED);
}

/* -------------------------------------------------------------------- connections ---- */

static uint32_t flags_of(struct fixture *f, const struct sessionid *session, uint64_t conn)
{
	static struct sessionid last;
	static uint32_t seqid;
	struct sequence_args args;
	struct slot_use use;

	if (memcmp(&last, session, sizeof(last)) != 0)
		seqid = 0;
	last = *session;
	args = seq(session, 5, ++seqid, false);
	args.conn_id = conn;
	assert_ok(sequence(f, args, &use));
	state_sequence_end(f->s, &use, NULL, 0);
	return use.status_flags;
}

static enum nfsstat4 bind_conn(struct fixture *f, const struct sessionid *session, uint64_t conn,
			       uint32_t dir, uint32_t *out)
{
	*out = dir;
	return state_bind_conn(f->s, session, conn, out);
}

static void test_back_channel_flags(void **state)
{
	const uint32_t down = SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION;
	struct fixture *f = *state;
	struct sessionid session;
	uint32_t dir;

	client_v41(f, "x", &session);
	assert_false(state_conn_is_bound(f->s, &session, 1));
	assert_int_equal(flags_of(f, &session, 1), 0); /* never had one */
	assert_true(state_conn_is_bound(f->s, &session, 1));
	assert_ok(bind_conn(f, &session, 2, CDFC4_BACK_OR_BOTH, &dir));
	assert_int_equal(dir, CDFS4_BOTH);
	assert_int_equal(flags_of(f, &session, 1), 0);
	state_conn_closed(f->s, 1);
	assert_int_equal(flags_of(f, &session, 3), 0);
	state_conn_closed(f->s, 2);
	assert_false(state_conn_is_bound(f->s, &session, 2));
	assert_int_equal(flags_of(f, &session, 3), down);
	/* A connection that a SEQUENCE has bound may be bound to the back channel, too. */
	assert_ok(bind_conn(f, &session, 3, CDFC4_BACK_OR_BOTH, &dir));
	assert_int_equal(flags_of(f, &session, 3), 0);
}

static void test_bind_conn(void **state)
{
	struct fixture *f = *state;
	struct sessionid session, other, unknown = { { 1 } };
	uint32_t dir;

	client_v41(f, "x", &session);
	client_v41(f, "y", &other);
	assert_status(bind_conn(f, &unknown, 1, CDFC4_FORE, &dir), NFS4ERR_BADSESSION);
	assert_status(bind_conn(f, &session, 1, 4, &dir), NFS4ERR_INVAL);
	assert_ok(bind_conn(f, &session, 1, CDFC4_FORE, &dir));
	assert_int_equal(dir, CDFS4_FORE);
	assert_ok(bind_conn(f, &session, 1, CDFC4_FORE, &dir));
	assert_ok(bind_conn(f, &session, 1, CDFC4_FORE_OR_BOTH, &dir));
	assert_int_equal(dir, CDFS4_FORE);
	/* Demanding a change: RFC 8881 section 18.34.3. */
	assert_status(bind_conn(f, &session, 1, CDFC4_BACK, &dir), NFS4ERR_INVAL);
	assert_status(bind_conn(f, &session, 1, CDFC4_BACK_OR_BOTH, &dir), NFS4ERR_INVAL);
	assert_ok(bind_conn(f, &session, 2, CDFC4_BACK, &dir));
	assert_int_equal(dir, CDFS4_BACK);
	assert_ok(bind_conn(f, &other, 1, CDFC4_FORE_OR_BOTH, &dir));
	assert_int_equal(dir, CDFS4_BOTH);
	/* One connection, two sessions: its end unbinds both. */
	state_conn_closed(f->s, 1);
	assert_false(state_conn_is_bound(f->s, &session, 1));
	assert_false(state_conn_is_bound(f->s, &other, 1));
	assert_true(state_conn_is_bound(f->s, &session, 2));
}

static void test_many_connections(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;

	client_v41(f, "x", &session);
	for (uint64_t conn = 100; conn < 1100; conn++)
		flags_of(f, &session, conn);
	assert_false(state_conn_is_bound(f->s, &session, 100)); /* the oldest were let go */
	assert_true(state_conn_is_bound(f->s, &session, 1099));
}

/* SP4_MACH_CRED: a connection must be bound by the client itself. */
static void test_state_protect(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct slot_use use;
	uint64_t id;
	uint32_t dir;

	assert_ok(
	    run(f, &(struct state_command){
		       .type = CMD_EXCHANGE_ID,
		       .minor = 1,
		       .principal = text("A"),
		       .exchange_id = { .owner = text("x"), .state_protect = SP4_MACH_CRED } }));
	id = f->r.exchange_id.clientid;
	assert_ok(create_session(f, id, 1, 'A'));
	session = f->r.create_session.session;
	assert_status(sequence(f, seq(&session, 0, 1, false), &use),
		      NFS4ERR_CONN_NOT_BOUND_TO_SESSION);
	assert_ok(bind_conn(f, &session, CONN, CDFC4_FORE, &dir));
	request(f, &session, 0, 1, NULL);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_create_unknown),
		TEST(test_create_sequence),
		TEST(test_create_error_replay),
		TEST(test_create_negotiation),
		cmocka_unit_test(test_create_cache_budget),
		cmocka_unit_test(test_create_session_limit),
		TEST(test_destroy_session),
		TEST(test_sequence_order),
		TEST(test_sequence_errors),
		TEST(test_sequence_uncached),
		TEST(test_sequence_in_progress),
		TEST(test_sequence_long),
		TEST(test_reply_sizes),
		TEST(test_sequence_renews),
		TEST(test_expired_session),
		TEST(test_back_channel_flags),
		TEST(test_bind_conn),
		TEST(test_many_connections),
		TEST(test_state_protect),
	};

	return cmocka_run_group_tests_name("state_session", tests, NULL, NULL);
}

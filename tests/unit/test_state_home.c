/* Homes: who may submit for a client, who judges its lease, what moves with it and what does not. */
#include <stdlib.h>

#include "nfsd/state/back.h"
#include "nfsd/state/snapshot.h"
#include "test_state_fixture.h"

#define RW OPEN4_SHARE_ACCESS_BOTH

static enum nfsstat4 adopt(struct fixture *f, uint64_t client, uint32_t node)
{
	return run(f, &(struct state_command){
			  .type = CMD_ADOPT, .node = node, .clientid = client });
}

static uint32_t home(struct fixture *f, uint64_t client)
{
	uint32_t node = UINT32_MAX;

	assert_true(state_client_home(f->s, client, &node));
	return node;
}

static void members(struct fixture *f, uint32_t a, uint32_t b)
{
	uint32_t nodes[2] = { a, b };

	assert_ok(run(f, &(struct state_command){ .type = CMD_MEMBERS,
						  .members = { nodes, b ? 2 : 1 } }));
	assert_false(state_has_orphans(f->s, nodes, b ? 2 : 1));
	state_set_lowest(f->s, a == state_node(f->s));
}

static enum nfsstat4 open_at(struct fixture *f, uint32_t node, uint64_t client, const char *file,
			     uint32_t deny)
{
	return run(f, &(struct state_command){ .type = CMD_OPEN,
					       .node = node,
					       .minor = 1,
					       .clientid = client,
					       .principal = text("A"),
					       .open = { .owner = text("owner"),
							 .file = text(file),
							 .access = RW,
							 .deny = deny } });
}

static void test_home_is_where_it_came(void **state)
{
	struct fixture *f = *state;
	struct state_command cmd = { .type = CMD_EXCHANGE_ID,
				     .node = 2,
				     .minor = 1,
				     .principal = text("A"),
				     .exchange_id = { .owner = text("x") } };
	uint64_t a = client_v41(f, "a", NULL), b;

	assert_int_equal(home(f, a), 1);
	assert_false(state_is_away(f->s, a));
	assert_ok(run(f, &cmd));
	b = f->r.exchange_id.clientid;
	assert_int_equal(home(f, b), 2);
	assert_true(state_is_away(f->s, b));
	/* It asks again elsewhere. */
	cmd.node = 3;
	assert_ok(run(f, &cmd));
	cmd = create_session_cmd(f->r.exchange_id.clientid, 1, 'A');
	cmd.node = 3;
	assert_ok(run(f, &cmd));
	assert_int_equal(home(f, cmd.clientid), 3);
	cmd = create_session_cmd(cmd.clientid, 2, 'A');
	cmd.node = 1;
	assert_ok(run(f, &cmd));
	assert_int_equal(home(f, cmd.clientid), 1);
	assert_int_equal(f->nmoved, 1);
}

/* What a node submitted for a client that has gone elsewhere is not done. */
static void test_others_are_refused(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL);

	assert_ok(open_at(f, 1, a, "file", 0));
	assert_status(open_at(f, 2, a, "file", 0), NFS4ERR_DELAY);
	assert_ok(adopt(f, a, 2));
	assert_ok(open_at(f, 2, a, "file", 0));
	assert_status(open_at(f, 1, a, "file2", 0), NFS4ERR_DELAY);
	assert_int_equal(counts(f).opens, 1);
}

static void test_homeless(void **state)
{
	struct fixture *f = *state;
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);
	struct state_command expire;

	members(f, 1, 2);
	assert_ok(adopt(f, b, 2));
	pass_seconds(f, LEASE - 1);
	members(f, 1, 0); /* 2 has gone: b has a whole lease from now */
	assert_int_equal(home(f, a), 1);
	assert_int_equal(home(f, b), 0);
	pass_seconds(f, LEASE - 1);
	assert_true(state_judge(f->s, a, &expire));
	assert_false(state_judge(f->s, b, &expire));
	pass_seconds(f, 2);
	assert_true(state_judge(f->s, b, &expire)); /* this is the lowest node */
	/* It comes back before that has its place in the order. */
	assert_ok(adopt(f, b, 1));
	assert_status(run(f, &expire), NFS4ERR_STALE_CLIENTID);
	assert_int_equal(home(f, b), 1);
	assert_int_equal(counts(f).clients, 2);
}

static void test_not_ours_to_judge(void **state)
{
	struct fixture *f = *state;
	struct state_command expire, late, cmds[4];
	uint64_t a = client_v41(f, "a", NULL), ids[4];

	state_set_node(f->s, 2);
	members(f, 1, 2);
	pass_seconds(f, 10 * LEASE);
	assert_false(state_judge(f->s, a, &expire));
	assert_int_equal(state_expirable(f->s, ids, 4), 0);
	assert_true(state_longest_silent(f->s) == 0);
	assert_int_equal(state_silence(f->s, cmds, 4), 0);
	/* Its judge has said so. */
	assert_ok(run(f, &(struct state_command){
			     .type = CMD_SILENT,
			     .clientid = a,
			     .silent = { .adoptions = expire.expire_client.adoptions } }));
	assert_true(state_judge(f->s, a, &expire));
	assert_true(state_is_away(f->s, a));
	late = expire;
	/* Nothing is done for it before it is said that it is back; then that was another life. */
	assert_status(open_at(f, 1, a, "file", 0), NFS4ERR_DELAY);
	assert_ok(adopt(f, a, 1));
	assert_ok(open_at(f, 1, a, "file", 0));
	assert_false(state_judge(f->s, a, &expire));
	assert_status(run(f, &late), NFS4ERR_STALE_CLIENTID);
	/* The lowest has gone, and it with it: now it is ours, after a lease. */
	members(f, 2, 0);
	assert_int_equal(home(f, a), 0);
	assert_false(state_judge(f->s, a, &expire));
	pass_seconds(f, LEASE + 1);
	assert_int_equal(state_silence(f->s, cmds, 4), 1);
	assert_ok(run(f, &cmds[0]));
	assert_int_equal(state_silence(f->s, cmds, 4), 0);
	assert_true(state_judge(f->s, a, &expire));
	assert_ok(run(f, &expire));
	assert_int_equal(counts(f).clients, 0);
}

/* A judgement about an earlier home's client says nothing about the new one's. */
static void test_silence_is_of_one_home(void **state)
{
	struct fixture *f = *state;
	struct state_command cmds[2], expire;
	uint64_t a = client_v41(f, "a", NULL);

	pass_seconds(f, LEASE + 1);
	assert_int_equal(state_silence(f->s, cmds, 2), 1);
	assert_ok(adopt(f, a, 2));
	assert_ok(run(f, &cmds[0]));
	assert_false(state_judge(f->s, a, &expire));
}

/* A client that comes back while its judge's word is on its way has its lease again only behind that. */
static void test_back_while_judged(void **state)
{
	struct fixture *f = *state;
	struct state_command silent, expire;
	uint64_t a = client_v41(f, "a", NULL);

	pass_seconds(f, LEASE + 1);
	assert_false(state_is_away(f->s, a));
	assert_true(state_is_courtesy(f->s, a)); /* only asks */
	assert_false(state_is_away(f->s, a));
	assert_true(state_judge(f->s, a, &expire));
	assert_true(state_is_away(f->s, a));
	assert_ok(adopt(f, a, 1));
	assert_false(state_is_away(f->s, a));
	assert_status(run(f, &expire), NFS4ERR_STALE_CLIENTID);
	pass_seconds(f, LEASE + 1);
	assert_int_equal(state_silence(f->s, &silent, 1), 1);
	assert_true(state_is_away(f->s, a));
	assert_ok(adopt(f, a, 1));
	assert_ok(run(f, &silent));
	assert_false(state_is_away(f->s, a));
}

static enum nfsstat4 request(struct fixture *f, const struct sessionid *session, uint32_t slot,
			     uint32_t seqid, uint64_t hash, const char *reply)
{
	struct sequence_args args = { .session = *session,
				      .seqid = seqid,
				      .slot = slot,
				      .cache_this = true,
				      .request_hash = hash,
				      .conn_id = 7 };
	struct slot_use use;
	enum nfsstat4 status = state_sequence(f->s, &args, &use);

	if (status != NFS4_OK)
		return status;
	if (use.replay && reply) {
		assert_int_equal(use.replay_len, strlen(reply));
		assert_memory_equal(use.replay, reply, use.replay_len);
	} else if (reply) {
		fail_msg("no replay");
	}
	state_sequence_end(f->s, &use, "other", 5);
	return status;
}

static enum nfsstat4 slot_reply(struct fixture *f, uint64_t client, const struct sessionid *session,
				uint32_t slot, uint32_t seqid, uint64_t hash, const char *reply)
{
	return run(f, &(struct state_command){ .type = CMD_SLOT_REPLY,
					       .node = 2,
					       .minor = 1,
					       .clientid = client,
					       .slot_reply = { .session = *session,
							       .slot = slot,
							       .seqid = seqid,
							       .request_hash = hash,
							       .reply = text(reply) } });
}

static void test_slots_after_a_move(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t a = client_v41(f, "a", &session), id;
	char longer[400];

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_ok(request(f, &session, 0, 1, 11, NULL));
	assert_ok(adopt(f, a, 2));
	assert_true(state_session_is_away(f->s, &session, &id));
	assert_true(id == a);
	assert_status(request(f, &session, 0, 2, 12, NULL), STATE_AWAY);
	/* There it goes on, and some replies are replicated. */
	assert_ok(slot_reply(f, a, &session, 1, 40, 99, "kept"));
	assert_ok(slot_reply(f, a, &session, 2, 50, 98, longer));
	assert_ok(slot_reply(f, a, &session, 3, 60, 97, "old"));
	assert_status(slot_reply(f, a, &session, 32, 60, 97, "none"), NFS4ERR_BADSLOT);
	assert_ok(adopt(f, a, 1));
	assert_false(state_session_is_away(f->s, &session, &id));
	/* Any seqid first, then strictly. */
	assert_ok(request(f, &session, 0, 17, 12, NULL));
	assert_status(request(f, &session, 0, 16, 12, NULL), NFS4ERR_SEQ_MISORDERED);
	assert_status(request(f, &session, 0, 19, 12, NULL), NFS4ERR_SEQ_MISORDERED);
	assert_ok(request(f, &session, 0, 18, 13, NULL));
	assert_ok(request(f, &session, 20, 5, 13, NULL)); /* never used here */
	/* A retry of what was answered there. */
	assert_status(request(f, &session, 1, 39, 99, NULL), NFS4ERR_SEQ_MISORDERED);
	assert_status(request(f, &session, 1, 40, 98, NULL), NFS4ERR_SEQ_FALSE_RETRY);
	assert_ok(request(f, &session, 1, 40, 99, "kept"));
	assert_ok(request(f, &session, 1, 40, 99, "kept"));
	assert_ok(request(f, &session, 1, 41, 99, NULL));
	assert_ok(request(f, &session, 2, 50, 98, longer));
	assert_ok(request(f, &session, 3, 70, 97, NULL)); /* behind it: it went on there */
	assert_status(request(f, &session, 3, 60, 97, NULL), NFS4ERR_SEQ_MISORDERED);
}

/* What was begun there, and not answered, runs again and is told so; nothing else is. */
static void test_begun_after_a_move(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t a = client_v41(f, "a", &session);
	struct state_command cmd = { .type = CMD_SLOT_REPLY,
				     .node = 2,
				     .minor = 1,
				     .clientid = a,
				     .slot_reply = { .session = session,
						     .slot = 1,
						     .seqid = 40,
						     .request_hash = 99,
						     .begun = { 3, 4711 } } };
	struct sequence_args args = { .session = session,
				      .slot = 1,
				      .seqid = 40,
				      .request_hash = 99,
				      .highest_slot = 3,
				      .nops = 2,
				      .conn_id = 7 };
	struct slot_use use;

	assert_ok(adopt(f, a, 2));
	assert_ok(run(f, &cmd));
	/* Who has lost the client begins nothing any more. */
	cmd.node = 3;
	cmd.slot_reply.begun.op = 4;
	assert_status(run(f, &cmd), NFS4ERR_DELAY);
	assert_true(f->r.refused);
	assert_ok(adopt(f, a, 1));
	assert_ok(state_sequence(f->s, &args, &use));
	assert_null(use.replay);
	assert_int_equal(use.begun.op, 3);
	assert_true(use.begun.object == 4711);
	state_sequence_end(f->s, &use, NULL, 0);
	args.seqid++;
	assert_ok(state_sequence(f->s, &args, &use));
	assert_int_equal(use.begun.op, 0);
	state_sequence_end(f->s, &use, NULL, 0);
	/* Another request with that sequence id. */
	assert_ok(adopt(f, a, 2));
	assert_ok(adopt(f, a, 1));
	args.seqid = 40;
	args.request_hash++;
	assert_ok(state_sequence(f->s, &args, &use));
	assert_int_equal(use.begun.op, 0);
	state_sequence_end(f->s, &use, NULL, 0);
}

/* The connections of before are no good, and the client is told to bind its back channel. */
static void test_connections_after_a_move(void **state)
{
	struct fixture *f = *state;
	uint32_t dir = CDFC4_FORE_OR_BOTH;
	struct state_command cmd;
	struct sequence_args args = { .seqid = 1, .conn_id = 8 };
	struct slot_use use;
	uint64_t a;

	assert_ok(exchange_id(f, "a", 'v', 'A', 0));
	a = f->r.exchange_id.clientid;
	cmd = create_session_cmd(a, 1, 'A');
	cmd.create_session.flags = CREATE_SESSION4_FLAG_CONN_BACK_CHAN;
	assert_ok(run(f, &cmd));
	args.session = f->r.create_session.session;
	assert_ok(state_bind_conn(f->s, &args.session, 7, &dir));
	assert_ok(adopt(f, a, 2));
	assert_ok(adopt(f, a, 1));
	assert_int_equal(f->nmoved, 2);
	assert_false(state_conn_is_bound(f->s, &args.session, 7));
	assert_ok(state_sequence(f->s, &args, &use));
	assert_true(use.status_flags & SEQ4_STATUS_CB_PATH_DOWN_SESSION);
	state_sequence_end(f->s, &use, NULL, 0);
}

static void test_recalled_again(void **state)
{
	struct fixture *f = *state;
	struct state_command open = { .type = CMD_OPEN,
				      .minor = 1,
				      .principal = text("A"),
				      .open = { .owner = text("o"),
						.file = text("file"),
						.access = RW,
						.delegate = OPEN_DELEGATE_WRITE,
						.fh = text("fh") } };
	struct state_overdue overdue[2];
	uint64_t a = client_v41(f, "a", NULL), b = client_v41(f, "b", NULL);

	open.clientid = a;
	assert_ok(run(f, &open));
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_WRITE);
	assert_status(do_open(f, 1, b, "o", "file", RW, 0), NFS4ERR_DELAY);
	assert_int_equal(f->nrecalls, 1);
	pass_seconds(f, LEASE - 1);
	assert_ok(adopt(f, a, 2));
	assert_int_equal(f->nrecalls, 2);
	pass_seconds(f, 2);
	assert_int_equal(state_revocable(f->s, overdue, 2), 0);
	pass_seconds(f, LEASE); /* it is the other's to revoke */
	assert_int_equal(state_revocable(f->s, overdue, 2), 0);
	state_set_node(f->s, 2);
	assert_int_equal(state_revocable(f->s, overdue, 2), 1);
	assert_ok(run(f, &(struct state_command){ .type = CMD_REVOKE,
						  .node = 2,
						  .minor = 1,
						  .clientid = a,
						  .revoke = { overdue[0].stateid } }));
}

/* A full outage: two nodes' lists are one grace period, that ends when it is told to. */
static void test_grace_of_several(void **state)
{
	struct fixture *f = *state;
	struct state_reclaimer one = { .key = text("one") }, two = { .key = text("two") };
	struct state_command start = {
		.type = CMD_START_GRACE,
		.start_grace = { .clients = &one, .n = 1, .more_to_come = true }
	};
	uint32_t listed, waiting;

	assert_ok(run(f, &start));
	assert_true(state_in_grace(f->s));
	assert_ok(run(f, &start));
	state_grace_progress(f->s, &listed, &waiting);
	assert_int_equal(listed, 1);
	assert_true(state_grace_gathers(f->s));
	start.start_grace.clients = &two;
	assert_ok(run(f, &start));
	state_grace_progress(f->s, &listed, &waiting);
	assert_int_equal(listed, 2);
	assert_int_equal(waiting, 2);
	assert_false(state_grace_is_done(f->s));
	assert_ok(run(f, &(struct state_command){ .type = CMD_END_GRACE }));
	assert_false(state_in_grace(f->s));
	/* Nothing has been granted: a node that comes late may still tell of its clients. */
	assert_ok(run(f, &start));
	assert_true(state_in_grace(f->s));
	assert_ok(run(f, &(struct state_command){ .type = CMD_END_GRACE }));
	assert_ok(do_open(f, 1, client_v41(f, "c", NULL), "o", "file", RW, 0));
	assert_status(run(f, &start), NFS4ERR_INVAL);
	assert_false(state_in_grace(f->s));
}

/*
 * A record that was confirmed late: its judge says that it is silent, behind the confirmation that is on its way.
 * The client has been answered and has a whole lease.
 */
static void test_confirmed_meanwhile(void **state)
{
	struct fixture *f = *state;
	struct state_command silent, expire;
	uint64_t id;

	assert_ok(exchange_id(f, "a", 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	pass_seconds(f, LEASE + 1);
	assert_int_equal(state_silence(f->s, &silent, 1), 1);
	assert_true(state_judge(f->s, id, &expire));
	assert_ok(create_session(f, id, f->r.exchange_id.sequence, 'A'));
	run(f, &silent);
	run(f, &expire);
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, id));
}

/* The key of a client of minor version 1 as stable storage has it. */
static struct bytes key_of(struct fixture *f, uint64_t clientid, struct state_record *record)
{
	assert_int_equal(state_record_take(f->s, clientid, record), 0);
	return (struct bytes){ record->key, record->key_len };
}

/* It has not said RECLAIM_COMPLETE. */
static uint64_t client_unfinished(struct fixture *f, const char *owner)
{
	uint64_t id;

	assert_ok(exchange_id(f, owner, 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	assert_ok(create_session(f, id, f->r.exchange_id.sequence, 'A'));
	return id;
}

static enum nfsstat4 reclaim(struct fixture *f, uint64_t clientid)
{
	struct state_command cmd = { .type = CMD_OPEN,
				     .minor = 1,
				     .clientid = clientid,
				     .open = { .owner = text("o"),
					       .file = text("file"),
					       .access = RW,
					       .claim = CLAIM_PREVIOUS } };

	return run(f, &cmd);
}

/*
 * A node that was away before the outage lists a client that had been expired since: whether its list
 * comes first or last, the client may not reclaim what another has got.
 */
static void test_stale_list(void **state)
{
	struct fixture *f = *state;
	struct state_record gone, held;
	struct state_reclaimer old, new;
	struct state_command lists[2] = {
		{ .type = CMD_START_GRACE,
		  .start_grace = { .clients = &old,
				   .n = 1,
				   .more_to_come = true,
				   .generation = { 9, 1, 4 } } },
		{ .type = CMD_START_GRACE,
		  .start_grace = { .clients = &new,
				   .n = 1,
				   .more_to_come = true,
				   .generation = { 9, 1, 5 } } },
	};
	struct state_command complete = { .type = CMD_START_GRACE,
					  .start_grace = { .more_to_come = true,
							   .complete = true } };
	uint64_t a, b;
	uint32_t listed, waiting;

	/* Their keys, from another life. */
	a = client_v41(f, "a", NULL);
	b = client_v41(f, "b", NULL);
	assert_ok(do_open(f, 1, a, "o", "x", RW, 0));
	assert_ok(do_open(f, 1, b, "o", "y", RW, 0));
	old = (struct state_reclaimer){ .key = key_of(f, a, &gone) };
	new = (struct state_reclaimer){ .key = key_of(f, b, &held) };
	for (unsigned first = 0; first < 2; first++) {
		fixture_end(f);
		fixture_init(f, NULL);
		assert_ok(run(f, &lists[first]));
		a = client_unfinished(f, "a");
		b = client_unfinished(f, "b");
		assert_status(reclaim(f, a), NFS4ERR_DELAY);
		run(f, &lists[1 - first]);
		assert_int_equal(f->r.status, first ? NFS4ERR_INVAL : NFS4_OK);
		state_grace_progress(f->s, &listed, &waiting);
		assert_int_equal(listed, 1);
		assert_int_equal(waiting, 1);
		assert_status(reclaim(f, b), NFS4ERR_DELAY);
		assert_ok(run(f, &complete));
		assert_status(reclaim(f, a), NFS4ERR_NO_GRACE);
		assert_ok(reclaim(f, b));
		assert_true(state_in_grace(f->s));
	}
	free(gone.key);
	free(held.key);
}

/* If nobody is listed the grace period is over when all have said so. */
static void test_nobody_listed(void **state)
{
	struct fixture *f = *state;
	struct state_command cmd = { .type = CMD_START_GRACE,
				     .start_grace = { .more_to_come = true } };

	assert_ok(run(f, &cmd));
	assert_true(state_in_grace(f->s));
	cmd.start_grace.complete = true;
	assert_ok(run(f, &cmd));
	assert_false(state_in_grace(f->s));
	assert_int_equal(f->ngraces_ended, 1);
}

/* All that a replica carries; and the epoch and limits of who wrote it. */
static void test_replica(void **state)
{
	struct fixture *f = *state;
	struct state_config other = f->config;
	struct sessionid session;
	struct state *joiner;
	uint64_t a = client_v41(f, "a", &session), here, there;
	uint8_t *bytes;
	size_t len;

	assert_ok(open_at(f, 1, a, "file", OPEN4_SHARE_DENY_WRITE));
	assert_ok(adopt(f, a, 2));
	assert_ok(slot_reply(f, a, &session, 1, 40, 99, "kept"));
	assert_ok(run(f, &(struct state_command){ .type = CMD_BACK_ANSWERED,
						  .node = 2,
						  .minor = 1,
						  .clientid = a,
						  .back_answered = { session, 3, 17 } }));
	assert_int_equal(state_replicate(f->s, &bytes, &len), 0);
	other.epoch++;
	other.limits.max_opens = 1;
	assert_int_equal(state_new(&other, &joiner), 0);
	state_set_node(joiner, 3);
	assert_int_equal(state_restore(joiner, bytes, len), 0);
	assert_int_equal(state_digest(f->s, &here), 0);
	assert_int_equal(state_digest(joiner, &there), 0);
	assert_true(here == there);
	state_free(joiner);
	/* Damaged it is refused. */
	for (size_t i = 0; i < len; i += 7) {
		assert_int_equal(state_new(&other, &joiner), 0);
		bytes[i] ^= 1;
		assert_int_not_equal(state_restore(joiner, bytes, len), 0);
		bytes[i] ^= 1;
		state_free(joiner);
	}
	free(bytes);
}

/* The node that granted a delegation dies before it answered: one that has joined since tells of it. */
static void test_grant_again_at_joiner(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	uint64_t a = client_v41(f, "a", &session);
	struct state_command cmd = {
		.type = CMD_OPEN,
		.minor = 1,
		.clientid = a,
		.open = { .owner = text("o"),
			  .file = text("file"),
			  .access = OPEN4_SHARE_ACCESS_READ,
			  .delegate = OPEN_DELEGATE_READ,
			  .fh = text("fh"),
			  .request = { .present = true, .session = session, .slot = 2, .seqid = 7 } },
	};
	struct state_result again;
	struct state *joiner;
	uint8_t *bytes;
	size_t len;

	assert_ok(run(f, &cmd));
	assert_int_equal(f->r.open.delegation, OPEN_DELEGATE_READ);
	assert_int_equal(state_replicate(f->s, &bytes, &len), 0);
	assert_int_equal(state_new(&f->config, &joiner), 0);
	assert_int_equal(state_restore(joiner, bytes, len), 0);
	free(bytes);
	cmd.maybe_retry = true;
	state_apply(joiner, &cmd, &again, &(struct state_effects){ 0 });
	assert_int_equal(again.status, NFS4_OK);
	assert_int_equal(again.open.delegation, OPEN_DELEGATE_READ);
	assert_memory_equal(&again.open.deleg_stateid, &f->r.open.deleg_stateid,
			    sizeof(struct stateid));
	state_free(joiner);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_home_is_where_it_came), TEST(test_others_are_refused),
		TEST(test_homeless),		  TEST(test_not_ours_to_judge),
		TEST(test_silence_is_of_one_home), TEST(test_slots_after_a_move),
		TEST(test_begun_after_a_move),
		TEST(test_connections_after_a_move), TEST(test_recalled_again),
		TEST(test_grace_of_several),	  TEST(test_replica),
		TEST(test_grant_again_at_joiner), TEST(test_stale_list),
		TEST(test_confirmed_meanwhile),	  TEST(test_back_while_judged),
		TEST(test_nobody_listed),
	};

	return cmocka_run_group_tests_name("state_home", tests, NULL, NULL);
}

/*
 * Threads at work on the same clients, files and owners at once, while clients expire under
 * them. Run under ThreadSanitizer it shows races; anywhere it shows lost updates, deadlocks and
 * leaks.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "test_state_fixture.h"

#define THREADS 4
#define CLIENTS 3
#define ROUNDS	8000

/* A client as the threads see it: replaced by whoever expires it. */
struct shared_client {
	pthread_mutex_t lock;
	uint64_t id;
	struct sessionid session;
	_Atomic uint64_t clientid; /* for those who do not care to lock */
};

static struct fixture fixture;
static struct state *machine;
static struct shared_client clients[CLIENTS];
static _Atomic unsigned incarnation;
static _Atomic unsigned effects_seen;

static void count_effect(void *arg, const struct state_effect *e)
{
	effects_seen++;
}

static enum nfsstat4 apply(const struct state_command *cmd, struct state_result *result)
{
	struct state_effects effects = { count_effect, NULL };

	state_apply(machine, cmd, result, &effects);
	return result->status;
}

static unsigned pick(uint64_t *random, unsigned n)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return (unsigned)(*random >> 20) % n;
}

static void must(bool condition, const char *what)
{
	if (condition)
		return;
	fprintf(stderr, "failed: %s\n", what); /* cmocka's asserts are the main thread's */
	abort();
}

static void make_client(struct shared_client *c)
{
	struct state_command cmd = { .type = CMD_EXCHANGE_ID, .minor = 1, .principal = text("A") };
	struct state_result result;
	char name[24];

	snprintf(name, sizeof(name), "client %u", incarnation++);
	cmd.exchange_id.owner = text(name);
	must(apply(&cmd, &result) == NFS4_OK, "EXCHANGE_ID");
	c->id = result.exchange_id.clientid;
	cmd = create_session_cmd(c->id, 1, 'A');
	memcpy(cmd.create_session.random, &c->id, 8);
	must(apply(&cmd, &result) == NFS4_OK, "CREATE_SESSION");
	c->session = result.create_session.session;
	cmd = (struct state_command){ .type = CMD_RECLAIM_COMPLETE, .minor = 1, .clientid = c->id };
	must(apply(&cmd, &result) == NFS4_OK, "RECLAIM_COMPLETE");
	c->clientid = c->id;
}

static void expire_and_remake(struct shared_client *c)
{
	struct state_command cmd;
	struct state_result result;

	pthread_mutex_lock(&c->lock);
	(void)!state_judge(machine, c->id, &cmd);
	must(apply(&cmd, &result) == NFS4_OK, "EXPIRE_CLIENT");
	make_client(c);
	pthread_mutex_unlock(&c->lock);
}

static struct file *some_file(void)
{
	struct file *file = calloc(1, sizeof(*file));

	must(file != NULL, "memory");
	file->access = ACCESS_READ;
	file->refs = 1;
	__atomic_fetch_add(&files_live, 1, __ATOMIC_RELAXED);
	return file;
}

static void read_with(uint64_t clientid, const struct stateid *id, const char *file)
{
	struct file *out;
	uint64_t who;

	state_use_stateid(machine, 1, clientid, id, text(file), ACCESS_READ, &out, &who);
	file_unref(out);
}

/* What a delegation goes through at the hands of several clients. */
static void use_a_delegation(uint64_t *random, uint64_t clientid, struct stateid id,
			     const char *file)
{
	struct state_command cmd = { .type = CMD_DELEG_RETURN,
				     .minor = 1,
				     .clientid = clientid,
				     .deleg_return = { id, text(file) } };
	struct state_overdue overdue[4];
	struct state_result result;
	uint64_t who;
	bool due;

	state_attach_file(machine, &id, some_file());
	read_with(clientid, &id, file);
	state_test_stateid(machine, clientid, &id);
	if (state_deleg_conflict(machine, text(file), 0, true, &who, &due) && due &&
	    pick(random, 2))
		apply(&(struct state_command){ .type = CMD_RECALL,
					       .recall = { text(file), true } },
		      &result);
	state_revocable(machine, overdue, 4);
	if (pick(random, 20) == 0)
		cmd = (struct state_command){ .type = CMD_REVOKE,
					      .minor = 1,
					      .clientid = clientid,
					      .revoke = { id } };
	if (pick(random, 3))
		apply(&cmd, &result);
}

/* OPEN, some I/O and locks, CLOSE; any of it may meet an expired client. */
static void use_a_file(uint64_t *random, uint64_t clientid)
{
	static const char *const files[] = { "x", "y" }, *const owners[] = { "one", "two" };
	const char *file = files[pick(random, 2)], *owner = owners[pick(random, 2)];
	struct state_command cmd = { .type = CMD_OPEN,
				     .minor = 1,
				     .clientid = clientid,
				     .open = { text(owner), text(file), 1 + pick(random, 3),
					       pick(random, 8) == 0, CLAIM_NULL } };
	struct state_result result;
	struct stateid open;
	struct lock_conflict denied;

	cmd.open.delegate = pick(random, 3);
	cmd.open.fh = text("fh");
	if (apply(&cmd, &result) != NFS4_OK)
		return;
	open = result.open.stateid;
	if (result.open.delegation != OPEN_DELEGATE_NONE)
		use_a_delegation(random, clientid, result.open.deleg_stateid, file);
	state_attach_file(machine, &open, some_file());
	open.seqid = 0;
	read_with(clientid, &open, file);
	cmd = (struct state_command){ .type = CMD_LOCK,
				      .minor = 1,
				      .clientid = clientid,
				      .lock = { .file = text(file),
						.type = 1 + pick(random, 2),
						.range = { pick(random, 30), 1 + pick(random, 9) },
						.new_owner = true,
						.stateid = open,
						.owner = text(owner) } };
	if (apply(&cmd, &result) == NFS4_OK) {
		read_with(clientid, &result.stateid, file);
		state_test_stateid(machine, clientid, &result.stateid);
	}
	state_lockt(machine, clientid, text(owner), text(file), WRITE_LT,
		    (struct lock_range){ 0, TO_EOF }, &denied);
	if (pick(random, 3))
		return;
	cmd = (struct state_command){ .type = CMD_CLOSE,
				      .minor = 1,
				      .clientid = clientid,
				      .open_downgrade = { .stateid = open, .file = text(file) } };
	apply(&cmd, &result);
}

/* One request on a slot of this thread's own; the session may be gone at any time. */
static void send_sequence(struct shared_client *c, unsigned thread, uint32_t *seqid,
			  struct sessionid *last)
{
	struct sequence_args args = {
		.slot = thread, .highest_slot = thread, .cache_this = true, .conn_id = 100 + thread
	};
	struct slot_use use;

	pthread_mutex_lock(&c->lock);
	args.session = c->session;
	pthread_mutex_unlock(&c->lock);
	if (memcmp(last, &args.session, sizeof(*last)) != 0)
		*seqid = 0;
	*last = args.session;
	args.seqid = ++*seqid;
	if (state_sequence(machine, &args, &use) == NFS4_OK)
		state_sequence_end(machine, &use, "reply", 5);
	if (args.seqid % 16 == 0)
		state_conn_closed(machine, 100 + thread);
}

static void *work(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg;
	uint64_t random = 0x9e3779b97f4a7c15u * (thread + 1), ids[4];
	struct sessionid last[CLIENTS] = { 0 };
	uint32_t seqid[CLIENTS] = { 0 };

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned c = pick(&random, CLIENTS);

		send_sequence(&clients[c], thread, &seqid[c], &last[c]);
		use_a_file(&random, clients[c].clientid);
		if (pick(&random, 40) == 0)
			expire_and_remake(&clients[c]);
		if (pick(&random, 100) == 0)
			state_expirable(machine, ids, 4);
	}
	return NULL;
}

static void run_threads(void *(*body)(void *))
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, body, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

static int setup(void **state)
{
	fixture_init(&fixture, NULL);
	machine = fixture.s;
	for (unsigned i = 0; i < CLIENTS; i++) {
		pthread_mutex_init(&clients[i].lock, NULL);
		make_client(&clients[i]);
	}
	return 0;
}

static int teardown(void **state)
{
	struct state_command cmd;
	struct state_result result;
	struct state_counts c;

	for (unsigned i = 0; i < CLIENTS; i++) {
		(void)!state_judge(machine, clients[i].id, &cmd);
		apply(&cmd, &result);
		pthread_mutex_destroy(&clients[i].lock);
	}
	state_get_counts(machine, &c);
	assert_int_equal(c.clients + c.sessions + c.open_owners + c.lock_owners, 0);
	assert_int_equal(c.opens + c.locks + c.files + c.cached_bytes, 0);
	fixture_end(&fixture);
	return 0;
}

static void test_everything_at_once(void **state)
{
	run_threads(work);
	assert_true(effects_seen > 0);
}

/* -------------------------------------------------------- locks that really exclude ---- */

static unsigned long guarded; /* by the lock-owners' exclusive lock and nothing else */

static void *lock_and_count(void *arg)
{
	unsigned thread = (unsigned)(uintptr_t)arg;
	uint64_t clientid = clients[thread % CLIENTS].id;
	char owner[] = { (char)('a' + thread), 0 };
	struct state_command open = { .type = CMD_OPEN,
				      .minor = 1,
				      .clientid = clientid,
				      .open = { text(owner), text("guard"), 3, 0, CLAIM_NULL } };
	struct state_command lock = { .type = CMD_LOCK,
				      .minor = 1,
				      .clientid = clientid,
				      .lock = { .file = text("guard"),
						.type = WRITE_LT,
						.range = { 5, 5 },
						.new_owner = true,
						.owner = text(owner) } };
	struct state_command unlock = { .type = CMD_UNLOCK,
					.minor = 1,
					.clientid = clientid,
					.unlock = { .file = text("guard"),
						    .range = { 0, TO_EOF } } };
	struct state_result result;

	must(apply(&open, &result) == NFS4_OK, "OPEN");
	lock.lock.stateid = result.open.stateid;
	for (unsigned i = 0; i < ROUNDS; i++) {
		while (apply(&lock, &result) == NFS4ERR_DENIED)
			sched_yield();
		must(result.status == NFS4_OK, "LOCK");
		unlock.unlock.stateid = result.stateid;
		guarded++;
		must(apply(&unlock, &result) == NFS4_OK, "LOCKU");
	}
	return NULL;
}

static void test_locks_exclude(void **state)
{
	guarded = 0;
	run_threads(lock_and_count);
	assert_int_equal(guarded, THREADS * ROUNDS);
}

/* --------------------------------------- requests of one owner come one after the other ---- */

static uint64_t v40_client;
static _Atomic uint32_t next_seqid;

static void *hold_in_turn(void *arg)
{
	struct owner_replay replay;
	struct state_command cmd;
	struct state_result result;
	struct owner_hold *hold;

	for (unsigned i = 0; i < ROUNDS / 4; i++) {
		uint32_t seqid;
		enum nfsstat4 status;

		/* Whoever comes with the right number is let in, one at a time. */
		do {
			seqid = next_seqid;
			status = state_owner_hold(machine, v40_client, text("oo"), seqid, &hold,
						  &replay);
			if (status == NFS4_OK && replay.replay)
				state_owner_release(machine, hold);
		} while (status == NFS4ERR_BAD_SEQID || (status == NFS4_OK && replay.replay));
		must(status == NFS4_OK, "owner_hold");
		guarded++;
		must(state_owner_advance(hold, NFS4_OK, text("r"), text(""), &cmd), "advance");
		must(apply(&cmd, &result) == NFS4_OK, "OWNER_ADVANCE");
		next_seqid = seqid + 1;
		state_owner_release(machine, hold);
	}
	return NULL;
}

static void test_owners_take_turns(void **state)
{
	guarded = 0;
	v40_client = client_v40(&fixture, "v40");
	open_v40(&fixture, v40_client, "oo", "file", 1, 0);
	next_seqid = 1;
	run_threads(hold_in_turn);
	assert_int_equal(guarded, THREADS * (ROUNDS / 4));
	assert_ok(on_client(&fixture, CMD_EXPIRE_CLIENT, v40_client));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_everything_at_once),
		TEST(test_locks_exclude),
		TEST(test_owners_take_turns),
	};

	return cmocka_run_group_tests_name("state_threads", tests, NULL, NULL);
}

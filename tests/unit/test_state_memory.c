/*
 * Memory: every allocation of every command is made to fail in turn, and nothing may have
 * changed then; and what an open costs.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "test_state_fixture.h"

#define RW OPEN4_SHARE_ACCESS_BOTH

/* Allocations until one fails; negative: none does. */
static int countdown = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);

static bool fails_now(void)
{
	return countdown >= 0 && countdown-- == 0;
}

void *__wrap_malloc(size_t size)
{
	return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

/* What the scenario has come to know. */
struct scene {
	struct fixture *f;
	uint64_t v40, v41, new_v41;
	struct nfs_verifier confirm;
	struct sessionid session;
	struct stateid open40, open41, lock40, lock41, deleg;
	struct owner_hold *hold;
	struct slot_use use;
};

typedef enum nfsstat4 scene_step(struct scene *x);

static enum nfsstat4 do_setclientid(struct scene *x)
{
	enum nfsstat4 status = setclientid(x->f, "v40", 'v', 'A');

	x->v40 = x->f->r.setclientid.clientid;
	x->confirm = x->f->r.setclientid.confirm;
	return status;
}

static enum nfsstat4 do_confirm(struct scene *x)
{
	return setclientid_confirm(x->f, x->v40, x->confirm, 'A');
}

static enum nfsstat4 do_exchange(struct scene *x)
{
	enum nfsstat4 status = exchange_id(x->f, "v41", 'v', 'A', 0);

	x->v41 = x->f->r.exchange_id.clientid;
	return status;
}

static enum nfsstat4 do_restart(struct scene *x)
{
	enum nfsstat4 status = exchange_id(x->f, "v41", 'w', 'A', 0);

	x->new_v41 = x->f->r.exchange_id.clientid;
	return status;
}

static enum nfsstat4 do_create_session(struct scene *x)
{
	enum nfsstat4 status = create_session(x->f, x->v41, 1, 'A');

	x->session = x->f->r.create_session.session;
	return status;
}

static enum nfsstat4 do_confirm_restart(struct scene *x)
{
	return create_session(x->f, x->new_v41, 1, 'A');
}

static enum nfsstat4 do_reclaim_complete(struct scene *x)
{
	return on_client(x->f, CMD_RECLAIM_COMPLETE, x->v41);
}

static enum nfsstat4 do_sequence(struct scene *x)
{
	struct sequence_args args = { .session = x->session,
				      .seqid = 1,
				      .slot = 20,
				      .highest_slot = 20,
				      .cache_this = true,
				      .conn_id = 5 };

	return state_sequence(x->f->s, &args, &x->use);
}

static enum nfsstat4 do_sequence_end(struct scene *x)
{
	static const char reply[1000];

	state_sequence_end(x->f->s, &x->use, reply, sizeof(reply));
	return NFS4_OK;
}

static enum nfsstat4 do_bind(struct scene *x)
{
	uint32_t dir = CDFC4_FORE_OR_BOTH;

	return state_bind_conn(x->f->s, &x->session, 6, &dir);
}

static enum nfsstat4 do_hold(struct scene *x)
{
	struct owner_replay replay;

	return state_owner_hold(x->f->s, x->v40, text("open-owner"), 1, &x->hold, &replay);
}

static enum nfsstat4 do_open40(struct scene *x)
{
	enum nfsstat4 status = do_open(x->f, 0, x->v40, "open-owner", "file", RW, 0);

	x->open40 = x->f->r.open.stateid;
	return status;
}

static enum nfsstat4 do_open40_again(struct scene *x) /* cancels the first */
{
	enum nfsstat4 status = do_open(x->f, 0, x->v40, "open-owner", "file2", RW, 0);

	x->open40 = x->f->r.open.stateid;
	return status;
}

static enum nfsstat4 do_advance(struct scene *x)
{
	struct state_command cmd;

	assert_true(state_owner_advance(x->hold, NFS4_OK, text("reply"), text("fh"), &cmd));
	return run(x->f, &cmd);
}

static enum nfsstat4 do_release(struct scene *x)
{
	state_owner_release(x->f->s, x->hold);
	return NFS4_OK;
}

static enum nfsstat4 do_open_confirm(struct scene *x)
{
	enum nfsstat4 status = on_open(x->f, CMD_OPEN_CONFIRM, 0, 0, x->open40, "file2", 0, 0);

	x->open40 = x->f->r.stateid;
	return status;
}

static enum nfsstat4 do_lock40(struct scene *x)
{
	enum nfsstat4 status =
	    lock_new(x->f, 0, x->v40, x->open40, "lock-owner", "file2", WRITE_LT, 0, 100);

	x->lock40 = x->f->r.stateid;
	return status;
}

static enum nfsstat4 do_unlock_middle(struct scene *x)
{
	return unlock(x->f, 0, 0, x->lock40, "file2", 40, 10);
}

/* Without memory for the delegation there is none, but the open: not an error. */
static enum nfsstat4 do_delegation(struct scene *x)
{
	enum nfsstat4 status = run(x->f, &(struct state_command){
						 .type = CMD_OPEN,
						 .minor = 1,
						 .clientid = x->v41,
						 .open = { .owner = text("delegated"),
							   .file = text("file4"),
							   .access = RW,
							   .delegate = OPEN_DELEGATE_WRITE,
							   .fh = text("fh") } });

	if (status == NFS4_OK && x->f->r.open.delegation == OPEN_DELEGATE_NONE) {
		assert_ok(on_open(x->f, CMD_CLOSE, 1, x->v41, x->f->r.open.stateid, "file4", 0, 0));
		return NFS4ERR_DELAY;
	}
	x->deleg = x->f->r.open.deleg_stateid;
	return status;
}

/* The effect needs memory: a recall that cannot be told of has not happened. */
static enum nfsstat4 do_recall(struct scene *x)
{
	unsigned before = x->f->nrecalls;

	assert_ok(run(x->f, &(struct state_command){ .type = CMD_RECALL,
						     .recall = { text("file4"), true } }));
	return x->f->nrecalls == before ? NFS4ERR_DELAY : NFS4_OK;
}

static enum nfsstat4 do_deleg_return(struct scene *x)
{
	return run(x->f, &(struct state_command){ .type = CMD_DELEG_RETURN,
						  .minor = 1,
						  .clientid = x->v41,
						  .deleg_return = { x->deleg, text("file4") } });
}

static enum nfsstat4 do_open41(struct scene *x)
{
	enum nfsstat4 status = do_open(x->f, 1, x->v41, "open-owner", "file3", RW, 0);

	x->open41 = x->f->r.open.stateid;
	return status;
}

static enum nfsstat4 do_upgrade41(struct scene *x)
{
	return do_open(x->f, 1, x->v41, "open-owner", "file3", 1, 0);
}

static enum nfsstat4 do_lock41(struct scene *x)
{
	struct stateid open = x->open41;
	enum nfsstat4 status;

	open.seqid = 0;
	status = lock_new(x->f, 1, x->v41, open, "lock-owner", "file3", WRITE_LT, 0, 100);
	x->lock41 = x->f->r.stateid;
	return status;
}

static enum nfsstat4 do_lock_middle(struct scene *x)
{
	return lock_more(x->f, 1, x->v41, x->lock41, "file3", READ_LT, 40, 10);
}

static enum nfsstat4 do_close40(struct scene *x)
{
	return on_open(x->f, CMD_CLOSE, 0, 0, x->open40, "file2", 0, 0);
}

static scene_step *const steps[] = {
	do_setclientid, do_confirm,	   do_setclientid, /* an update of the callback */
	do_exchange,	do_create_session, do_reclaim_complete,
	do_sequence,	do_sequence_end,   do_bind,
	do_hold,	do_open40,	   do_advance,
	do_release,	do_open40_again,   do_open_confirm,
	do_lock40,	do_unlock_middle,  do_open41,
	do_upgrade41,	do_lock41,	   do_lock_middle,
	do_delegation,	do_recall,	   do_deleg_return,
	do_close40,	do_restart,	   do_confirm_restart,
};

static void test_every_allocation_fails(void **state)
{
	struct scene x = { .f = *state };
	unsigned failures = 0;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (int n = 0;; n++) {
			struct state_counts before = counts(x.f), after;
			struct scene kept = x;
			enum nfsstat4 status;

			countdown = n;
			status = steps[i](&x);
			countdown = -1;
			if (status == NFS4_OK)
				break; /* it makes fewer, or a table did without growing */
			assert_true(status == NFS4ERR_DELAY || status == NFS4ERR_RESOURCE);
			after = counts(x.f);
			assert_memory_equal(&before, &after, sizeof(before));
			x = kept;
			failures++;
		}
	}
	assert_true(failures >= 20);
	assert_int_equal(counts(x.f).clients, 2);
	assert_int_equal(counts(x.f).opens, 0);
}

/* ------------------------------------------------- slots when memory is short ---- */

static enum nfsstat4 one_request(struct fixture *f, const struct sessionid *session, uint32_t slot,
				 uint32_t highest, uint32_t seqid, struct slot_use *use)
{
	struct sequence_args args = { .session = *session,
				      .seqid = seqid,
				      .slot = slot,
				      .highest_slot = highest,
				      .cache_this = true,
				      .conn_id = 1 };
	enum nfsstat4 status = state_sequence(f->s, &args, use);

	if (status == NFS4_OK)
		state_sequence_end(f->s, use, "reply", 5);
	return status;
}

static void test_slots_squeezed(void **state)
{
	struct fixture *f = *state;
	struct sessionid session;
	struct slot_use use;

	client_v41(f, "x", &session); /* with 32 slots */
	assert_ok(one_request(f, &session, 0, 20, 1, &use));
	assert_ok(one_request(f, &session, 20, 20, 1, &use));
	assert_int_equal(counts(f).cached_bytes, 2 * 2048);
	countdown = 0;
	assert_status(one_request(f, &session, 3, 20, 1, &use), NFS4ERR_DELAY);
	countdown = -1;
	/* The client learns it, but may use what it has until it has learnt it. */
	assert_ok(one_request(f, &session, 0, 20, 2, &use));
	assert_int_equal(use.highest_slot, 31);
	assert_int_equal(use.target_highest_slot, 2);
	assert_ok(one_request(f, &session, 20, 20, 2, &use));
	assert_ok(one_request(f, &session, 2, 2, 1, &use)); /* sent before it knew? */
	assert_int_equal(use.highest_slot, 31);
	assert_ok(one_request(f, &session, 0, 2, 3, &use)); /* it knows */
	assert_int_equal(use.highest_slot, 2);
	assert_int_equal(use.target_highest_slot, 2);
	assert_int_equal(counts(f).cached_bytes, 2 * 2048);
	assert_status(one_request(f, &session, 20, 20, 3, &use), NFS4ERR_BADSLOT);
	assert_status(one_request(f, &session, 0, 20, 4, &use), NFS4ERR_BAD_HIGH_SLOT);
	/* Memory is back: one more with each request; a retired slot begins anew. */
	pass_seconds(f, 11);
	assert_ok(one_request(f, &session, 0, 2, 4, &use));
	assert_int_equal(use.target_highest_slot, 3);
	for (uint32_t i = 0; i < 40; i++)
		assert_ok(one_request(f, &session, 0, 2, 5 + i, &use));
	assert_int_equal(use.highest_slot, 31);
	assert_status(one_request(f, &session, 20, 20, 3, &use), NFS4ERR_SEQ_MISORDERED);
	assert_ok(one_request(f, &session, 20, 20, 1, &use));
}

/* One open of its own owner and its own file, as a Linux client names them. */
static void open_one(struct fixture *f, uint64_t client, unsigned n)
{
	char owner[25], file[45];

	snprintf(owner, sizeof(owner), "open id: %08x %06u", n, n % 1000000);
	snprintf(file, sizeof(file), "handle of some forty bytes %016x", n);
	assert_ok(do_open(f, 1, client, owner, file, RW, 0));
}

static size_t heap(void)
{
	return mallinfo2().uordblks;
}

static void test_bytes_per_open(void **state)
{
	struct fixture *f = *state;
	uint64_t client = client_v41(f, "x", NULL);
	const char *asked = getenv("ATOLL_OPENS");
	unsigned n = asked ? (unsigned)atoi(asked) : 20000;
	size_t before = heap(), each;

	if (before == 0)
		skip(); /* a sanitizer's allocator does not tell */
	for (unsigned i = 0; i < n; i++)
		open_one(f, client, i);
	each = (heap() - before) / n;
	print_message("%zu bytes for an open with its owner and file (%u opens)\n", each, n);
	assert_true(each <= 900);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_every_allocation_fails),
		TEST(test_slots_squeezed),
		TEST(test_bytes_per_open),
	};

	return cmocka_run_group_tests_name("state_memory", tests, NULL, NULL);
}

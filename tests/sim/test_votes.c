/*
 * Who may begin or continue a state, and who may not: histories of three nodes in which corosync
 * has quorum by the votes of nodes that know nothing. Each is run with many seeds, which vary the
 * order of everything else.
 *
 * Options: runner.h; the profiles are the histories.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "tests/sim/runner.h"
#include "tests/sim/sim.h"
#include "tests/sim/toy.h"

#define NS_PER_MS	  1000000ull
#define NODES		  3
#define BEGIN_PATIENCE_MS 10000

struct process {
	struct toy toy; /* first: toy_app() */
	bool restored;
};

struct op;

struct run {
	const char *name;
	uint64_t seed;
	struct sim *sim;
	struct process *processes[NODES + 1];
	uint64_t seq[NODES + 1];
	unsigned processes_begun[NODES + 1];
	unsigned begun; /* states that were begun */
	struct op *ops;
};

struct op {
	struct op *next; /* of its run */
	struct toy_result result;
	bool done;
};

static NORETURN void fail_run(const struct run *r, const char *what)
{
	printf("not ok - %s seed %" PRIu64 ": %s\n", r->name, r->seed, what);
	fflush(stdout);
	exit(1);
}

/* ---- the application ---- */

static int restore(void *ctx, const uint8_t *p, size_t len)
{
	((struct process *)ctx)->restored = true;
	return toy_restore(&((struct process *)ctx)->toy, p, len);
}

static struct run *the_run;

static void phase(void *ctx, enum cluster_phase p)
{
	struct process *pr = ctx;

	the_run->begun += p == CLUSTER_SERVING && !pr->restored;
	pr->restored |= p == CLUSTER_SERVING;
}

static struct cluster_app begin(void *ctx, unsigned node)
{
	struct run *r = ctx;
	struct process *pr = calloc(1, sizeof(*pr));
	struct cluster_app app = toy_app(pr);

	if (!pr)
		fail_run(r, "out of memory");
	r->processes[node] = pr;
	r->processes_begun[node]++;
	app.restore = restore;
	app.phase = phase;
	return app;
}

static void end(void *ctx, unsigned node, void *app_ctx)
{
	((struct run *)ctx)->processes[node] = NULL;
	free(app_ctx);
}

/* ---- the steps of a history ---- */

static void pass(struct run *r, uint64_t ms)
{
	uint64_t until = sim_now_ns(r->sim) + ms * NS_PER_MS;

	while (sim_now_ns(r->sim) < until)
		sim_step(r->sim);
}

static bool serves(const struct run *r, unsigned node)
{
	return sim_running(r->sim, node) && sim_phase(r->sim, node) == CLUSTER_SERVING;
}

/* All of these nodes (bits) serve, within ten seconds. */
static void await(struct run *r, unsigned nodes)
{
	uint64_t until = sim_now_ns(r->sim) + 10000 * NS_PER_MS;
	bool all = false;

	while (!all) {
		if (sim_now_ns(r->sim) > until)
			fail_run(r, "nodes do not serve that should");
		sim_step(r->sim);
		all = true;
		for (unsigned i = 1; i <= NODES; i++)
			all &= !(nodes & 1u << i) || serves(r, i);
	}
}

static void none_serves(struct run *r, unsigned nodes, uint64_t ms)
{
	pass(r, ms);
	for (unsigned i = 1; i <= NODES; i++)
		if ((nodes & 1u << i) && serves(r, i))
			fail_run(r, "a node serves that must not");
}

static void finished(void *arg)
{
	((struct op *)arg)->done = true;
}

/* Is a command of `node` done within that time? It must have an end before its process has. */
static bool is_done(struct run *r, unsigned node, uint64_t ms)
{
	uint64_t until = sim_now_ns(r->sim) + ms * NS_PER_MS;
	struct toy_command c = { .source = node, .seq = ++r->seq[node] };
	enum cluster_submitted how;
	struct op *op = calloc(1, sizeof(*op)); /* it may come back when its process ends */

	if (!op || !sim_submit(r->sim, node, &c, &op->result, finished, op, &how))
		fail_run(r, "no process to ask");
	op->next = r->ops;
	r->ops = op;
	if (how == CLUSTER_APPLIED)
		return !op->result.refused;
	while (!op->done && sim_now_ns(r->sim) < until)
		sim_step(r->sim);
	return op->done && !op->result.refused;
}

static void do_some(struct run *r, unsigned node)
{
	for (int i = 0; i < 5; i++)
		if (!is_done(r, node, 5000))
			fail_run(r, "nothing gets done where it should");
}

/* Once everything that is on its way has arrived. */
static void has_all_of(struct run *r, unsigned node, unsigned source, uint64_t n)
{
	pass(r, 1000);
	if (toy_applied(&r->processes[node]->toy, source) < n)
		fail_run(r, "something that was done is lost");
}

static void began(struct run *r, unsigned n)
{
	if (r->begun != n)
		fail_run(r, "another number of states was begun");
}

/* ---- histories ---- */

#define BIT(n) (1u << (n))

/* Only one daemon of three was ever there: its state would be known to nobody else. */
static void first_alone(struct run *r)
{
	sim_stop(r->sim, 2);
	sim_stop(r->sim, 3);
	none_serves(r, BIT(1), 3 * BEGIN_PATIENCE_MS);
	began(r, 0);
	sim_start(r->sim, 3);
	await(r, BIT(1) | BIT(3));
	do_some(r, 3);
	has_all_of(r, 1, 3, 5);
	began(r, 1);
}

/*
 * One that has served is left with votes of nodes without daemons, then cut off; those come back.
 * What was done must be known to them, and the state goes on where it is.
 */
static void last_one(struct run *r)
{
	uint64_t done = 5;

	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	sim_stop(r->sim, 2);
	sim_stop(r->sim, 3);
	done += is_done(r, 1, 3000);
	sim_move(r->sim, 1, 1);
	sim_start(r->sim, 2);
	sim_start(r->sim, 3);
	none_serves(r, BIT(1) | BIT(2) | BIT(3), BEGIN_PATIENCE_MS / 2);
	sim_move(r->sim, 1, 0);
	await(r, BIT(1) | BIT(2) | BIT(3));
	for (unsigned i = 1; i <= NODES; i++)
		has_all_of(r, i, 1, done);
	began(r, 1);
}

/* The same, but it never comes back: after a while those that know of it give it up. */
static void lost_one(struct run *r)
{
	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	sim_stop(r->sim, 2);
	sim_stop(r->sim, 3);
	pass(r, 1000);
	sim_stop(r->sim, 1);
	sim_move(r->sim, 1, 1);
	sim_start(r->sim, 2);
	sim_start(r->sim, 3);
	none_serves(r, BIT(2) | BIT(3), BEGIN_PATIENCE_MS / 2);
	pass(r, BEGIN_PATIENCE_MS);
	await(r, BIT(2) | BIT(3));
	began(r, 2);
}

/*
 * The third is cut off with its state; the second hangs, and dies without having seen that. The
 * first must not have done anything meanwhile that the second and the third do not know of when
 * they go on.
 */
static void hung_voter(struct run *r)
{
	uint64_t done = 5;

	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	pass(r, 100);
	sim_hang(r->sim, 2, true);
	sim_move(r->sim, 3, 1);
	done += is_done(r, 1, 3000);
	sim_stop(r->sim, 1);
	sim_move(r->sim, 1, 2);
	sim_stop(r->sim, 2);
	sim_move(r->sim, 3, 0);
	sim_start(r->sim, 2);
	await(r, BIT(2) | BIT(3));
	has_all_of(r, 2, 1, done);
	has_all_of(r, 3, 1, done);
	began(r, 1);
}

/* Two of three are enough, and the third may be away for as long as it likes. */
static void two_of_three(struct run *r)
{
	await(r, BIT(1) | BIT(2) | BIT(3));
	sim_stop(r->sim, 3);
	do_some(r, 1);
	sim_stop(r->sim, 1);
	sim_start(r->sim, 3);
	await(r, BIT(2) | BIT(3));
	has_all_of(r, 3, 1, 5);
	began(r, 1);
}

/* Nobody is in one ring twice: another process takes its place. */
static void same_ring(struct run *r)
{
	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	sim_reconnect(r->sim, 3);
	pass(r, 1000);
	await(r, BIT(1) | BIT(2) | BIT(3));
	if (r->processes_begun[3] != 2)
		fail_run(r, "the same process joined the same ring again");
	/* But another ring it may join. */
	sim_move(r->sim, 2, 1);
	pass(r, 1000);
	sim_move(r->sim, 2, 0);
	pass(r, 1000);
	await(r, BIT(1) | BIT(2) | BIT(3));
	if (r->processes_begun[1] != 1)
		fail_run(r, "a process has ended without need");
	has_all_of(r, 3, 1, 5);
	began(r, 1);
}

/* Votes that come back (a quorum device's) while the ring stays, and nobody says so. */
static void untold_votes(struct run *r)
{
	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	for (unsigned i = 1; i <= NODES; i++)
		sim_deny_votes(r->sim, i, true);
	sim_stop(r->sim, 3);
	none_serves(r, BIT(1) | BIT(2), 5000);
	for (unsigned i = 1; i <= NODES; i++)
		sim_deny_votes(r->sim, i, false);
	await(r, BIT(1) | BIT(2));
	do_some(r, 2);
	sim_start(r->sim, 3);
	await(r, BIT(1) | BIT(2) | BIT(3));
	/* Of those that go on one cannot count them at the moment of the view. */
	sim_deny_votes(r->sim, 1, true);
	sim_stop(r->sim, 3);
	pass(r, 1000);
	sim_deny_votes(r->sim, 1, false);
	await(r, BIT(1) | BIT(2));
	do_some(r, 1);
	do_some(r, 2);
	began(r, 1);
}

/* One is put out, and those that are left do not agree on whether they have enough votes without it. */
static void evicted(struct run *r)
{
	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	pass(r, 100);
	sim_deny_votes(r->sim, 3, true);
	sim_hang(r->sim, 2, true);
	none_serves(r, BIT(1) | BIT(3), 3000);
	sim_deny_votes(r->sim, 3, false);
	await(r, BIT(1) | BIT(3));
	do_some(r, 1);
	do_some(r, 3);
	sim_hang(r->sim, 2, false);
	await(r, BIT(1) | BIT(2) | BIT(3));
	began(r, 1);
}

/* What a node that has just come hears first of one that serves is that there is no quorum. */
static void first_word(struct run *r)
{
	await(r, BIT(1) | BIT(2) | BIT(3));
	do_some(r, 1);
	for (unsigned i = 0; i < 20; i++) {
		sim_stop(r->sim, 3);
		pass(r, 200);
		sim_start(r->sim, 3);
		for (uint64_t k = sim_random(r->sim) % 500; k; k--)
			sim_step(r->sim);
		sim_deny_quorum(r->sim, 1, true);
		pass(r, 200);
		sim_deny_quorum(r->sim, 1, false);
		await(r, BIT(1) | BIT(2) | BIT(3));
	}
	do_some(r, 3);
	began(r, 1);
}

static const struct history {
	const char *name;
	void (*run)(struct run *r);
	uint32_t hang_ms; /* 0: nobody is put out */
} histories[] = {
	{ "first-alone", first_alone, 0 },   { "last-one", last_one, 0 },
	{ "lost-one", lost_one, 0 },	     { "hung-voter", hung_voter, 0 },
	{ "two-of-three", two_of_three, 0 }, { "same-ring", same_ring, 0 },
	{ "untold-votes", untold_votes, 0 }, { "evicted", evicted, 1000 },
	{ "first-word", first_word, 0 },
};

static const char *history_name(unsigned i)
{
	return histories[i].name;
}

static void run_history(unsigned i, uint64_t seed, uint64_t commands, struct runner_counts *counts)
{
	const struct history *h = &histories[i];
	struct run r = { .name = h->name, .seed = seed };
	struct sim_world world = {
		.seed = seed,
		.nodes = NODES,
		.hang_ms = h->hang_ms ? h->hang_ms : 60000,
		.begin_patience_ms = BEGIN_PATIENCE_MS,
		.begin = begin,
		.end = end,
		.ctx = &r,
	};

	the_run = &r;
	r.sim = sim_new(&world);
	if (!r.sim)
		fail_run(&r, "out of memory");
	sim_start_all(r.sim);
	h->run(&r);
	for (unsigned node = 1; node <= NODES; node++)
		counts->done += r.seq[node];
	sim_free(r.sim);
	while (r.ops) {
		struct op *op = r.ops;

		r.ops = op->next;
		free(op);
	}
	printf("ok - %s seed %" PRIu64 "\n", r.name, seed);
}

int main(int argc, char **argv)
{
	static const struct runner runner = {
		.program = "sim_votes",
		.nprofiles = ARRAY_SIZE(histories),
		.profile = history_name,
		.run = run_history,
	};

	return runner_main(&runner, argc, argv);
}

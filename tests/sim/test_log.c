/*
 * The replicated log under faults, with the toy state machine.
 *
 * The history of every process is a path in a tree: an applied command is a child of what was applied
 * before it, so two processes have the same history if they are at the same place of the tree. Checked
 * are
 *   - what was done (its submitter told) is in the history that all nodes have in the end, as long as that
 *     history's root has not been replaced, which happens only if all who had a state are gone;
 *   - a command that was submitted after another was done comes behind it (so no two parts can have
 *     served at the same time), and no two have the same place;
 *   - what was refused is in no history that lasts;
 *   - in the end all nodes have the same history, and the digests of the logs are equal where they are;
 *   - damaged and reordered commands.
 *
 * Options: runner.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/log.h"
#include "tests/sim/runner.h"
#include "tests/sim/sim.h"
#include "tests/sim/toy.h"

#define IN_FLIGHT 64

struct profile {
	const char *name;
	bool safe;
	unsigned nodes, faults;
	unsigned every; /* steps between faults, on average */
	bool keeps;	/* no state may ever be lost */
};

static const struct profile profiles[] = {
	{ "calm", false, 3, 0, 1000000, true },
	{ "calm-safe", true, 3, 0, 1000000, true },
	{ "crash", false, 3, SIM_CRASH, 1500, false },
	{ "partition-safe", true, 3, SIM_PARTITION, 1000, true },
	{ "partition5-safe", true, 5, SIM_PARTITION, 1000, true },
	{ "quorum-safe", true, 3, SIM_QUORUM | SIM_PARTITION, 1500, true },
	{ "corosync-safe", true, 3, SIM_COROSYNC | SIM_PARTITION, 1500, false },
	{ "hang", false, 3, SIM_HANG | SIM_CRASH, 1500, false },
	{ "votes-safe", true, 3, SIM_VOTES | SIM_HANG | SIM_CRASH, 1500, false },
	{ "votes5-safe", true, 5, SIM_VOTES | SIM_ALL_FAULTS, 1500, false },
	{ "all-safe", true, 3, SIM_ALL_FAULTS, 2000, false },
	{ "all5-safe", true, 5, SIM_ALL_FAULTS, 1500, false },
	{ "all7-safe", true, 7, SIM_ALL_FAULTS, 1000, false },
};

/* A command that was applied, behind `before`. */
struct place {
	struct place *before, *first_child, *next_sibling;
	const struct place *root;
	struct place *all; /* every place, to free them */
	uint64_t source, seq, n;
	bool final;
};

#define MAX_OPS 4000000

/* A command that was submitted. */
struct op {
	struct list link; /* of those under way, or done */
	struct run *run;
	struct toy_command command;
	struct result {
		struct toy_result toy;
		struct place *place;
	} result;
	struct place *floor; /* the last that was done before it was submitted */
	bool abandoned;	     /* its process ended: nobody was told anything */
};

struct process {
	struct run *run;
	unsigned node;
	struct toy toy;
	struct place *at;
	bool serving, restored, lost;
	/* What it was told of members since the state began, where that was news: everywhere the same. */
	struct told {
		struct cluster_members last;
		uint64_t hash;
	} told;
};

struct run {
	const struct profile *profile;
	uint64_t seed;
	struct sim *sim;
	struct process *processes[SIM_MAX_NODES + 1];
	struct place *places;
	struct list flying, finished;
	unsigned nflying;
	uint64_t next_seq, ndone, nrefused;
	struct place *floor;
	unsigned roots, lost; /* states begun; those that were lost after something was done */
};

static uint64_t napplied; /* by all processes */

static NORETURN void fail_run(struct run *r, const char *what)
{
	printf("not ok - %s seed %" PRIu64 ": %s\n", r->profile->name, r->seed, what);
	fflush(stdout);
	exit(1);
}

static void *must(struct run *r, void *p)
{
	if (!p)
		fail_run(r, "out of memory");
	return p;
}

/* ---- the application ---- */

static struct place *new_place(struct run *r, struct place *before)
{
	struct place *p = must(r, calloc(1, sizeof(*p)));

	p->before = before;
	p->root = before ? before->root : p;
	p->all = r->places;
	r->places = p;
	return p;
}

static struct place *child(struct run *r, struct place *at, const struct toy_command *c)
{
	struct place *p;

	for (p = at->first_child; p; p = p->next_sibling)
		if (p->source == c->source && p->seq == c->seq)
			return p;
	p = new_place(r, at);
	p->source = c->source;
	p->seq = c->seq;
	p->n = at->n + 1;
	p->next_sibling = at->first_child;
	at->first_child = p;
	return p;
}

static void apply_bytes(void *ctx, uint32_t origin, const uint8_t *p, size_t len, void *result)
{
	struct process *pr = ctx;
	struct result *res = result;
	struct toy_command c;

	toy_apply(&pr->toy, origin, p, len, &c, res ? &res->toy : NULL);
	napplied++;
	pr->at = child(pr->run, pr->at, &c);
	if (res)
		res->place = pr->at;
}

static void refuse(void *ctx, void *result)
{
	struct process *pr = ctx;
	struct op *op = container_of((struct result *)result, struct op, result);

	op->result.toy.refused = true;
	op->abandoned = pr->lost || !sim_running(pr->run->sim, pr->node);
}

static int snapshot(void *ctx, uint8_t **out, size_t *len)
{
	struct process *pr = ctx;
	uint8_t *bytes;
	int err;

	/* Somebody else, or the same node later, will have memory. */
	if (pr->run->profile->faults && sim_random(pr->run->sim) % 8 == 0)
		return -ENOMEM;
	err = toy_snapshot(&pr->toy, &bytes, len);
	if (err)
		return err;
	/* Long enough for several pieces. */
	*out = must(pr->run, calloc(1, *len + 100000));
	memcpy(*out, &pr->at, sizeof(pr->at));
	memcpy(*out + sizeof(pr->at), &pr->told, sizeof(pr->told));
	memcpy(*out + 100000, bytes, *len);
	*len += 100000;
	free(bytes);
	return 0;
}

static int restore(void *ctx, const uint8_t *p, size_t len)
{
	struct process *pr = ctx;

	if (pr->restored || pr->serving)
		fail_run(pr->run, "restored over a state");
	if (pr->run->profile->faults && sim_random(pr->run->sim) % 16 == 0)
		return -ENOMEM;
	pr->restored = true;
	memcpy(&pr->at, p, sizeof(pr->at));
	memcpy(&pr->told, p + sizeof(pr->at), sizeof(pr->told));
	return toy_restore(&pr->toy, p + 100000, len - 100000);
}

static void members(void *ctx, const struct cluster_members *m)
{
	struct process *pr = ctx;
	struct told *t = &pr->told;
	bool among = false;

	for (uint32_t i = 0; i < m->n; i++)
		among |= m->nodes[i] == pr->node;
	if (among != pr->serving)
		fail_run(pr->run, pr->serving ? "a serving node is not among the members"
					      : "a node that does not serve is among the members");
	if (!pr->serving && !pr->restored)
		fail_run(pr->run, "a node without state is told of members");
	if (m->n == t->last.n && !memcmp(m->nodes, t->last.nodes, m->n * sizeof(m->nodes[0])))
		return;
	t->last = *m;
	for (uint32_t i = 0; i <= m->n; i++)
		t->hash = (t->hash ^ (i ? m->nodes[i - 1] : 1000)) * 0x100000001b3u;
}

static void phase(void *ctx, enum cluster_phase p)
{
	struct process *pr = ctx;

	if (p == CLUSTER_SERVING && !pr->restored && !pr->serving) {
		pr->run->roots++;
		pr->run->lost += pr->run->floor != NULL;
		pr->run->floor = NULL;
	}
	pr->serving |= p == CLUSTER_SERVING;
	pr->lost |= p == CLUSTER_LOST;
}

static struct cluster_app begin(void *ctx, unsigned node)
{
	struct run *r = ctx;
	struct process *pr = must(r, calloc(1, sizeof(*pr)));
	struct cluster_app app = toy_app(pr);

	pr->run = r;
	pr->node = node;
	pr->at = new_place(r, NULL);
	r->processes[node] = pr;
	app.apply_bytes = apply_bytes;
	app.refuse = refuse;
	app.snapshot = snapshot;
	app.restore = restore;
	app.members = members;
	app.phase = phase;
	return app;
}

static void end(void *ctx, unsigned node, void *app_ctx)
{
	struct run *r = ctx;

	if (r->processes[node] == app_ctx)
		r->processes[node] = NULL;
	free(app_ctx);
}

/* ---- submitters ---- */

static void check_order(struct run *r, const struct op *op)
{
	const struct place *p = op->result.place, *f = op->floor;

	if (!p || p->source != op->command.source || p->seq != op->command.seq)
		fail_run(r, "done without having been applied");
	if (f && p->n <= f->n && p->root == f->root) {
		printf("# node %" PRIu64 "'s %" PRIu64 " at place %" PRIu64 ", node %" PRIu64 "'s %" PRIu64
		       " was done at %" PRIu64 "\n",
		       p->source, p->seq, p->n, f->source, f->seq, f->n);
		fail_run(r, "done at a place before what was done earlier");
	}
}

static void finished(void *arg)
{
	struct op *op = arg;
	struct run *r = op->run;

	list_remove(&op->link);
	list_push_back(&r->finished, &op->link);
	r->nflying--;
	if (op->result.toy.refused) {
		r->nrefused++;
		return;
	}
	r->ndone++;
	check_order(r, op);
	if (!r->floor || op->result.place->n > r->floor->n)
		r->floor = op->result.place;
}

static void submit(struct run *r)
{
	unsigned node = 1 + (unsigned)(sim_random(r->sim) % r->profile->nodes);
	enum cluster_submitted how;
	struct op *op;

	if (r->nflying >= IN_FLIGHT || r->next_seq == MAX_OPS - 1 || !sim_running(r->sim, node) ||
	    sim_phase(r->sim, node) != CLUSTER_SERVING)
		return;
	op = must(r, calloc(1, sizeof(*op)));
	op->run = r;
	op->floor = r->floor;
	op->command = (struct toy_command){ .source = node, .seq = ++r->next_seq };
	if (sim_random(r->sim) % 256 == 0)
		op->command.padding = (uint32_t)(sim_random(r->sim) % 90000);
	list_push_back(&r->flying, &op->link);
	r->nflying++;
	if (!sim_submit(r->sim, node, &op->command, &op->result, finished, op, &how))
		fail_run(r, "no process to ask");
	if (how == CLUSTER_APPLIED) {
		if (!op->result.toy.refused)
			fail_run(r, "done at once");
		finished(op);
	}
}

/* ---- the end ---- */

static void check_final(struct run *r)
{
	struct place *at = r->processes[1]->at;
	const struct place *root = at->root;
	bool *lasts = must(r, calloc(MAX_OPS, 1));
	struct op *op;

	for (unsigned i = 1; i <= r->profile->nodes; i++) {
		if (r->processes[i]->at != at)
			fail_run(r, "nodes have different histories in the end");
		if (r->processes[i]->toy.hash != r->processes[1]->toy.hash || r->processes[i]->toy.errors)
			fail_run(r, "nodes have different or damaged states in the end");
		if (sim_position(r->sim, i).digest != sim_position(r->sim, 1).digest)
			fail_run(r, "the logs' digests differ");
		if (r->processes[i]->told.hash != r->processes[1]->told.hash)
			fail_run(r, "nodes were told of different members");
	}
	for (; at; at = at->before) {
		at->final = true;
		lasts[at->seq] = true;
	}
	list_for_each(op, &r->finished, link) {
		const struct place *p = op->result.place;

		if (!op->result.toy.refused && p->root == root && !p->final)
			fail_run(r, "something that was done is lost");
		if (op->result.toy.refused && !op->abandoned && lasts[op->command.seq])
			fail_run(r, "something that was refused is there");
	}
	free(lasts);
	if (r->profile->keeps && r->lost)
		fail_run(r, "the state is lost");
}

static void free_run(struct run *r)
{
	struct op *op, *tmp;

	sim_free(r->sim);
	list_for_each_safe(op, tmp, &r->finished, link)
		free(op);
	while (r->places) {
		struct place *p = r->places;

		r->places = p->all;
		free(p);
	}
}

/* How many commands were done. */
static uint64_t run(const struct profile *p, uint64_t seed, uint64_t commands)
{
	struct run r = { .profile = p, .seed = seed };
	struct sim_world world = {
		.seed = seed,
		.nodes = p->nodes,
		.safe = p->safe,
		.hang_ms = 1000,
		.begin_patience_ms = 3600000,
		.begin = begin,
		.end = end,
		.ctx = &r,
	};
	uint64_t steps, most = commands * 100 + 500000;

	list_init(&r.flying);
	list_init(&r.finished);
	r.sim = must(&r, sim_new(&world));
	sim_start_all(r.sim);
	for (steps = 0; r.ndone < commands && steps < most; steps++) {
		/* With faults so few that there are many faults for each thousand commands. */
		if (!p->faults) {
			submit(&r);
			submit(&r);
		} else if (sim_random(r.sim) % 8 == 0) {
			submit(&r);
		}
		sim_step(r.sim);
		if (p->faults && sim_random(r.sim) % p->every == 0)
			sim_random_fault(r.sim, p->faults);
	}
	if (!sim_settle(r.sim))
		fail_run(&r, "nodes do not come together again");
	for (steps = 0; r.nflying && steps < 20000; steps++)
		sim_step(r.sim);
	if (r.nflying)
		fail_run(&r, "something is neither done nor refused");
	/* What an outbox still gathered when all was quiet is done where it was submitted: the others are to have it as well. */
	if (!sim_settle(r.sim))
		fail_run(&r, "nodes do not come to rest");
	check_final(&r);
	if (p->keeps && r.ndone < commands / 4)
		fail_run(&r, "hardly anything was done");
	printf("ok - %s seed %" PRIu64 ": %" PRIu64 " done, %" PRIu64 " refused, %u states begun, %" PRIu64
	       " events\n",
	       p->name, seed, r.ndone, r.nrefused, r.roots, sim_deliveries(r.sim));
	free_run(&r);
	return r.ndone;
}

static const char *profile_name(unsigned i)
{
	return profiles[i].name;
}

static void run_profile(unsigned i, uint64_t seed, uint64_t commands, struct runner_counts *counts)
{
	counts->done = run(&profiles[i], seed, commands);
	counts->applied = napplied;
}

int main(int argc, char **argv)
{
	static const struct runner runner = { "sim_log", ARRAY_SIZE(profiles), profile_name, run_profile, 4 };

	return runner_main(&runner, argc, argv);
}

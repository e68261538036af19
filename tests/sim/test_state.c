/*
 * The state machine on the replicated log under faults: clients open and lock files through random nodes,
 * their nodes die, hang and are cut off, and they go on elsewhere as the protocol has it: the same
 * session and stateids, a retry with the same sequence id. Checked are
 *   - two processes that have applied the same commands have the same state (its digest), also if one of
 *     them was given the state by another;
 *   - no two clients that believe to hold conflicting locks do so at the same (simulated) time, where a
 *     client believes it from the answer on until it unlocks, or has not been answered for a lease;
 *   - what a client was told is its own stays so for as long: no stateid, lock or session is gone;
 *   - slots: a client that does everything right is never told that it does not;
 *   - in the end all nodes have the same state, with every lock in it that a client holds.
 * If all who had the state are gone (profiles that do not keep it) the clients begin anew.
 *
 * Options: runner.h.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "base/clock.h"
#include "base/hash.h"
#include "nfsd/state/command_io.h"
#include "nfsd/state/snapshot.h"
#include "nfsd/state/state.h"
#include "tests/sim/runner.h"
#include "tests/sim/sim.h"

#define CLIENTS 5
#define FILES	2
#define BYTES	8
#define LEASE	6 /* seconds of the simulated time */
#define DIGESTS (1u << 16)

struct profile {
	const char *name;
	bool safe;
	unsigned nodes, faults;
	unsigned every; /* steps between faults, on average */
	bool keeps;	/* no state may ever be lost */
};

static const struct profile profiles[] = {
	{ "calm", false, 3, 0, 1000000, true },
	{ "partition-safe", true, 3, SIM_PARTITION, 2000, true },
	{ "partition5-safe", true, 5, SIM_PARTITION, 1500, true },
	{ "crash-safe", true, 3, SIM_CRASH, 6000, false },
	{ "hang-safe", true, 3, SIM_HANG | SIM_CRASH, 6000, false },
	{ "all-safe", true, 3, SIM_ALL_FAULTS, 50000, false },
	{ "all5-safe", true, 5, SIM_ALL_FAULTS, 6000, false },
};

struct run;

/* A process of a node, with its state. */
struct process {
	struct run *run;
	unsigned node;
	struct state *state;
	uint64_t history; /* a hash over all that was applied since the state began */
	uint64_t applied, ticked_ns;
	bool serving, restored, lost;
	struct cluster_members members;
};

enum doing { IDLE, EXCHANGING, CREATING, COMPLETING, ADOPTING, OPENING, CLOSING, LOCKING, UNLOCKING };

struct held_file {
	bool open, has_lock;
	struct stateid open_id, lock_id;
	char bytes[BYTES]; /* 'R', 'W' or 0: as the client believes */
};

struct client {
	struct run *run;
	unsigned number, incarnation, sent_by;
	unsigned node; /* where it asks */
	uint64_t asleep_until;

	bool has_session, ready;
	uint64_t id;
	uint32_t sequence;
	struct sessionid session;
	uint32_t seqid; /* of its slot: the last one used */
	bool sure;	/* the node has caught up */
	bool answered;	/* that one was: the next is the next */
	uint64_t valid_from; /* when the last request that was answered was sent: its lease counts from then */
	struct held_file files[FILES];

	/* What it does now. */
	enum doing doing, after; /* ADOPTING: what it wants to do then */
	bool flying, silent_end; /* the process has ended: no answer */
	uint64_t sent_ns;
	struct process *at;
	struct slot_use use;
	unsigned file;
	struct lock_range range;
	char type;
	char owner[24];
	struct state_command cmd;
	struct state_result result;
};

struct run {
	const struct profile *profile;
	uint64_t seed;
	struct sim *sim;
	struct process *processes[SIM_MAX_NODES + 1];
	struct client clients[CLIENTS];
	uint64_t ticked_ns;
	uint64_t done, applied, expired, adopted, retried, denied;
	unsigned roots;
	struct {
		uint64_t history, digest;
	} digests[DIGESTS];
	uint64_t compared;
};

/* The state machine keeps open files; here there are none. */
void file_unref(struct file *file)
{
}

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

static unsigned pick(struct run *r, unsigned n)
{
	return (unsigned)(sim_random(r->sim) % n);
}

/* -------------------------------------------------------------- the application ---- */

static void mix(struct process *p, const void *bytes, size_t len)
{
	struct siphash_key key = { p->history, 1 };

	p->history = siphash(&key, bytes, len);
}

/* Whoever has the same history has the same state. */
static void compare(struct process *p)
{
	struct run *r = p->run;
	unsigned place = (unsigned)(p->history % DIGESTS);
	uint64_t digest;

	if (state_digest(p->state, &digest) != 0)
		fail_run(r, "out of memory");
	if (r->digests[place].history == p->history) {
		if (r->digests[place].digest != digest)
			fail_run(r, "two nodes have applied the same and differ");
		r->compared++;
	}
	r->digests[place].history = p->history;
	r->digests[place].digest = digest;
}

static int encode(void *ctx, const void *command, uint8_t **out, size_t *len)
{
	return command_encode(command, out, len);
}

static void apply_bytes(void *ctx, uint32_t origin, const uint8_t *bytes, size_t len, void *result)
{
	struct process *p = ctx;
	struct command_decoded decoded;
	struct state_result ignored;

	if (command_decode(bytes, len, &decoded) != 0)
		fail_run(p->run, "a command cannot be decoded");
	decoded.cmd.node = origin;
	state_apply(p->state, &decoded.cmd, result ? result : &ignored, NULL);
	command_decoded_free(&decoded);
	mix(p, &origin, sizeof(origin));
	mix(p, bytes, len);
	/* By the history, so that all look at the same places. */
	if (p->history % 4 == 0)
		compare(p);
	p->applied++;
	p->run->applied++;
}

static void refuse(void *ctx, void *result)
{
	struct state_result *res = result;
	struct process *p = ctx;

	*res = (struct state_result){ .status = NFS4ERR_DELAY, .refused = true };
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &p->run->clients[i];

		if (res == &c->result)
			c->silent_end = p->lost || !sim_running(p->run->sim, p->node);
	}
}

static int snapshot(void *ctx, uint8_t **out, size_t *len)
{
	struct process *p = ctx;
	uint8_t *bytes;
	size_t n;
	int err = state_replicate(p->state, &bytes, &n);

	if (err)
		return err;
	*out = must(p->run, malloc(n + sizeof(p->history)));
	memcpy(*out, &p->history, sizeof(p->history));
	memcpy(*out + sizeof(p->history), bytes, n);
	*len = n + sizeof(p->history);
	free(bytes);
	return 0;
}

static int restore(void *ctx, const uint8_t *bytes, size_t len)
{
	struct process *p = ctx;

	if (p->restored || p->serving)
		fail_run(p->run, "restored over a state");
	p->restored = true;
	memcpy(&p->history, bytes, sizeof(p->history));
	if (state_restore(p->state, bytes + sizeof(p->history), len - sizeof(p->history)) != 0)
		fail_run(p->run, "a state cannot be restored");
	compare(p);
	return 0;
}

static void name_orphans(struct process *p)
{
	const struct cluster_members *m = &p->members;
	struct state_command cmd = { .type = CMD_MEMBERS, .members = { m->nodes, m->n } };
	enum cluster_submitted how;

	if (m->n && m->nodes[0] == m->self && state_has_orphans(p->state, m->nodes, m->n))
		sim_submit(p->run->sim, p->node, &cmd, NULL, NULL, NULL, &how);
}

static void members(void *ctx, const struct cluster_members *m)
{
	struct process *p = ctx;

	p->members = *m;
	state_set_node(p->state, m->self);
	state_set_lowest(p->state, m->nodes[0] == m->self);
	name_orphans(p);
}

static void begin_anew(struct client *c);

static void phase(void *ctx, enum cluster_phase now)
{
	struct process *p = ctx;

	if (now == CLUSTER_SERVING) {
		state_renew_all(p->state);
		if (!p->restored && !p->serving) {
			/* A state begins: what there was before is gone for all. */
			p->run->roots++;
			for (unsigned i = 0; i < CLIENTS; i++)
				begin_anew(&p->run->clients[i]);
		}
		p->serving = true;
	}
	p->lost |= now == CLUSTER_LOST;
}

static uint64_t run_now(void *arg)
{
	return sim_now_ns(((struct run *)arg)->sim) + NS_PER_SEC;
}

static struct cluster_app begin(void *ctx, unsigned node)
{
	struct run *r = ctx;
	struct process *p = must(r, calloc(1, sizeof(*p)));
	struct state_config config;
	static uint32_t epoch;

	state_config_default(&config);
	config.epoch = ++epoch;
	config.lease_seconds = LEASE;
	config.courtesy_seconds = 5 * LEASE;
	config.now_ns = run_now;
	config.now_arg = r;
	if (state_new(&config, &p->state) != 0)
		fail_run(r, "out of memory");
	state_set_node(p->state, 0);
	p->run = r;
	p->node = node;
	p->history = epoch;
	r->processes[node] = p;
	return (struct cluster_app){
		.ctx = p,
		.format = COMMAND_FORMAT,
		.encode = encode,
		.apply_bytes = apply_bytes,
		.refuse = refuse,
		.snapshot = snapshot,
		.restore = restore,
		.members = members,
		.phase = phase,
	};
}

static void end(void *ctx, unsigned node, void *app_ctx)
{
	struct run *r = ctx;
	struct process *p = app_ctx;

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &r->clients[i];

		if (c->at == p) {
			state_sequence_end(p->state, &c->use, NULL, 0);
			c->at = NULL;
		}
	}
	if (r->processes[node] == p)
		r->processes[node] = NULL;
	state_free(p->state);
	free(p);
}

/* -------------------------------------------------------------------- the clients ---- */

static bool lease_is_valid(const struct client *c)
{
	return sim_now_ns(c->run->sim) - c->valid_from < LEASE * NS_PER_SEC;
}

/* It knows of nothing any more that it had. */
static void begin_anew(struct client *c)
{
	memset(c->files, 0, sizeof(c->files));
	c->has_session = c->ready = false;
	c->seqid = 0;
	c->answered = true;
	c->incarnation++;
}

/* The server says that it does not know what the client has: only if it kept away for too long. */
static void lost_state(struct client *c, const char *what)
{
	if (c->ready && lease_is_valid(c))
		fail_run(c->run, what);
	c->run->expired++;
	begin_anew(c);
}

static struct process *process_of(struct client *c)
{
	struct process *p = c->run->processes[c->node];

	if (!p || !sim_running(c->run->sim, c->node) ||
	    sim_phase(c->run->sim, c->node) != CLUSTER_SERVING)
		return NULL;
	return p;
}

static NORETURN void say_conflict(const struct client *c, const struct client *o, unsigned byte)
{
	uint64_t now = sim_now_ns(c->run->sim);

	printf("# byte %u of file %u: client %u (node %u, heard %.3f s ago) got it, client %u (node %u, "
	       "heard %.3f s ago) has it\n",
	       byte, c->file, c->number, c->node, (double)(now - c->valid_from) / 1e9, o->number,
	       o->node, (double)(now - o->valid_from) / 1e9);
	fail_run(c->run, "two clients hold conflicting locks");
}

static void check_conflicts(struct client *c)
{
	const char *mine = c->files[c->file].bytes;

	for (unsigned i = 0; i < CLIENTS; i++) {
		const struct client *o = &c->run->clients[i];
		const char *theirs = o->files[c->file].bytes;

		if (o == c || !lease_is_valid(o))
			continue;
		for (unsigned b = 0; b < BYTES; b++) {
			if (mine[b] && theirs[b] && (mine[b] == 'W' || theirs[b] == 'W'))
				say_conflict(c, o, b);
		}
	}
}

static void set_bytes(struct client *c, char type)
{
	for (uint64_t b = c->range.offset; b < c->range.offset + c->range.length; b++)
		c->files[c->file].bytes[b] = type;
}

static void took_open(struct client *c)
{
	struct held_file *f = &c->files[c->file];

	f->open = true;
	f->open_id = c->result.open.stateid;
}

static void took_lock(struct client *c)
{
	struct held_file *f = &c->files[c->file];

	f->has_lock = true;
	f->lock_id = c->result.stateid;
	if (lease_is_valid(c)) {
		set_bytes(c, c->type);
		check_conflicts(c);
	}
}

/* Somebody silent is in the way: whoever finds that has it expired. */
static void was_denied(struct client *c, struct process *p)
{
	struct state_command expire;
	enum cluster_submitted how;

	c->run->denied++;
	if (p && state_judge(p->state, c->result.conflict_client, &expire))
		sim_submit(c->run->sim, p->node, &expire, NULL, NULL, NULL, &how);
}

static void answer_session(struct client *c)
{
	switch (c->doing) {
	case EXCHANGING:
		c->id = c->result.exchange_id.clientid;
		c->sequence = c->result.exchange_id.sequence;
		c->doing = CREATING;
		break;
	case CREATING:
		c->session = c->result.create_session.session;
		c->has_session = true;
		c->seqid = 0;
		c->answered = true;
		c->doing = IDLE;
		break;
	case COMPLETING:
		c->ready = true;
		break;
	default:
		break;
	}
}

static void answer_held(struct client *c)
{
	struct held_file *f = &c->files[c->file];

	switch (c->doing) {
	case OPENING:
		took_open(c);
		break;
	case CLOSING:
		*f = (struct held_file){ 0 };
		break;
	case LOCKING:
		took_lock(c);
		break;
	case UNLOCKING:
		f->lock_id = c->result.stateid;
		break;
	default:
		break;
	}
}

static void answered(struct client *c, struct process *p)
{
	switch (c->result.status) {
	case NFS4_OK:
	case NFS4ERR_COMPLETE_ALREADY: /* said before, and not heard */
		c->valid_from = c->sent_ns;
		c->run->done++;
		if (c->result.status == NFS4ERR_COMPLETE_ALREADY)
			c->ready = true;
		else if (c->doing <= COMPLETING)
			answer_session(c);
		else
			answer_held(c);
		break;
	case NFS4ERR_DENIED:
	case NFS4ERR_SHARE_DENIED:
		c->valid_from = c->sent_ns;
		was_denied(c, p);
		break;
	case NFS4ERR_DELAY:
		if (!c->result.refused)
			c->valid_from = c->sent_ns;
		break;
	case NFS4ERR_STALE_CLIENTID:
	case NFS4ERR_EXPIRED:
	case NFS4ERR_BAD_STATEID:
	case NFS4ERR_BADSESSION:
		lost_state(c, "what a client has is gone");
		break;
	default:
		printf("# status %d of %d\n", c->result.status, c->doing);
		fail_run(c->run, "a client that does everything right is told that it does not");
	}
}

static void finished(void *arg)
{
	struct client *c = arg;
	struct process *p = c->at;
	unsigned incarnation = c->sent_by;

	c->flying = false;
	c->use.refused = c->result.refused;
	if (p && c->use.session)
		state_sequence_end(p->state, &c->use, NULL, 0);
	c->at = NULL;
	if (c->silent_end || !p) {
		/* No answer: the same again, perhaps elsewhere. */
		c->silent_end = false;
		if (c->doing == ADOPTING)
			c->doing = c->after;
		return;
	}
	if (incarnation != c->incarnation) {
		c->doing = IDLE; /* of a life before */
		return;
	}
	if (c->doing == ADOPTING) {
		c->run->adopted += c->result.status == NFS4_OK;
		c->doing = c->after;
		return;
	}
	answered(c, p);
	if (incarnation != c->incarnation)
		c->doing = IDLE;
	c->answered = true;
	/* Whoever is told to wait asks for the same again. */
	if (c->doing != CREATING && c->result.status != NFS4ERR_DELAY)
		c->doing = IDLE;
}

static void submit(struct client *c, struct process *p)
{
	enum cluster_submitted how;

	c->flying = true;
	c->at = p;
	c->sent_ns = sim_now_ns(c->run->sim);
	c->sent_by = c->incarnation;
	c->silent_end = false;
	if (!sim_submit(c->run->sim, c->node, &c->cmd, &c->result, finished, c, &how))
		fail_run(c->run, "no process to ask");
	if (how == CLUSTER_APPLIED)
		finished(c);
}

static struct bytes text(const char *t)
{
	return (struct bytes){ (const uint8_t *)t, (uint32_t)strlen(t) };
}

static void ask_session(struct client *c)
{
	static const struct channel_attrs channel = { 0, 4096, 4096, 1024, 8, 4 };

	c->cmd = (struct state_command){ .minor = 1, .principal = text("p") };
	if (c->doing == EXCHANGING) {
		/* Another life begins with another verifier. */
		snprintf(c->owner, sizeof(c->owner), "client %u", c->number);
		c->cmd.type = CMD_EXCHANGE_ID;
		c->cmd.exchange_id.owner = text(c->owner);
		memcpy(&c->cmd.exchange_id.verifier, &c->incarnation, sizeof(c->incarnation));
		return;
	}
	c->cmd.type = CMD_CREATE_SESSION;
	c->cmd.clientid = c->id;
	c->cmd.create_session.sequence = c->sequence;
	c->cmd.create_session.fore = c->cmd.create_session.back = channel;
	memcpy(c->cmd.create_session.random, &c->id, sizeof(c->id));
}

static void ask_lock(struct client *c)
{
	struct held_file *f = &c->files[c->file];

	c->cmd.type = CMD_LOCK;
	c->cmd.lock.file = text(c->file ? "one" : "zero");
	c->cmd.lock.type = c->type == 'W' ? WRITE_LT : READ_LT;
	c->cmd.lock.range = c->range;
	c->cmd.lock.new_owner = !f->has_lock;
	c->cmd.lock.stateid = f->has_lock ? f->lock_id : f->open_id;
	c->cmd.lock.owner = text("l");
}

static void ask_held(struct client *c)
{
	struct held_file *f = &c->files[c->file];
	struct bytes file = text(c->file ? "one" : "zero");

	c->cmd = (struct state_command){
		.minor = 1, .clientid = c->id, .principal = text("p"), .maybe_retry = c->use.maybe_retry
	};
	switch (c->doing) {
	case COMPLETING:
		c->cmd.type = CMD_RECLAIM_COMPLETE;
		break;
	case OPENING:
		c->cmd.type = CMD_OPEN;
		c->cmd.open.owner = text("o");
		c->cmd.open.file = file;
		c->cmd.open.access = OPEN4_SHARE_ACCESS_BOTH;
		break;
	case CLOSING:
		c->cmd.type = CMD_CLOSE;
		c->cmd.open_downgrade.stateid = f->open_id;
		c->cmd.open_downgrade.file = file;
		break;
	case LOCKING:
		ask_lock(c);
		break;
	case UNLOCKING:
		c->cmd.type = CMD_UNLOCK;
		c->cmd.unlock.file = file;
		c->cmd.unlock.stateid = f->lock_id;
		c->cmd.unlock.range = c->range;
		break;
	default:
		fail_run(c->run, "nothing to do");
	}
}

/* What to do next; what is given up is not held from now on. */
static void choose(struct client *c)
{
	struct held_file *f = &c->files[c->file = pick(c->run, FILES)];

	if (!c->ready) {
		c->doing = COMPLETING;
		return;
	}
	c->range.offset = pick(c->run, BYTES);
	c->range.length = 1 + pick(c->run, BYTES - (unsigned)c->range.offset);
	c->type = pick(c->run, 3) ? 'W' : 'R';
	if (!f->open)
		c->doing = OPENING;
	else if (f->has_lock && pick(c->run, 2))
		c->doing = UNLOCKING;
	else if (pick(c->run, 20) == 0)
		c->doing = CLOSING;
	else
		c->doing = LOCKING;
	if (c->doing == UNLOCKING)
		set_bytes(c, 0);
	/* A write lock that becomes a read lock is none any more before the client hears of it. */
	if (c->doing == LOCKING && c->type == 'R') {
		for (uint64_t b = c->range.offset; b < c->range.offset + c->range.length; b++)
			f->bytes[b] = f->bytes[b] ? 'R' : 0;
	}
	if (c->doing == CLOSING)
		memset(f->bytes, 0, sizeof(f->bytes));
}

static void adopt(struct client *c, struct process *p, uint64_t id)
{
	c->after = c->doing;
	c->doing = ADOPTING;
	c->cmd = (struct state_command){ .type = CMD_ADOPT, .minor = 1, .clientid = id };
	submit(c, p);
}

/* A request with SEQUENCE: the next, or the last once more if it was not answered. */
static void request(struct client *c, struct process *p)
{
	bool again = !c->answered;
	struct sequence_args args = {
		.session = c->session,
		.seqid = again ? c->seqid : c->seqid + 1,
		.cache_this = true,
		.request_len = 200,
		.nops = 3,
		.request_hash = c->seqid + !again,
		.conn_id = c->number + 1,
	};
	enum nfsstat4 status = state_sequence(p->state, &args, &c->use);

	if (status == STATE_AWAY) {
		adopt(c, p, c->id);
		return;
	}
	/* The node may lag behind where the client was: it makes sure first. */
	if ((status == NFS4ERR_BADSESSION || status == NFS4ERR_SEQ_MISORDERED) && !c->sure) {
		adopt(c, p, 0);
		c->sure = true;
		return;
	}
	c->sure = false;
	switch (status) {
	case NFS4_OK:
		break;
	case NFS4ERR_BADSESSION:
		lost_state(c, "a session is gone");
		c->doing = IDLE;
		return;
	case NFS4ERR_DELAY: /* the first try is still running there */
		return;
	case NFS4ERR_RETRY_UNCACHED_REP:
		/* It was refused here, which the client hears now. */
		c->answered = true;
		c->seqid = args.seqid;
		return;
	default:
		printf("# SEQUENCE: %d\n", status);
		fail_run(c->run, "a slot does not know its client");
	}
	c->run->retried += again && c->use.maybe_retry;
	c->seqid = args.seqid;
	c->answered = false;
	ask_held(c);
	submit(c, p);
}

static void act(struct client *c)
{
	struct process *p;

	if (c->flying || sim_now_ns(c->run->sim) < c->asleep_until)
		return;
	p = process_of(c);
	if (!p || pick(c->run, 200) == 0) {
		c->node = 1 + pick(c->run, c->run->profile->nodes);
		return;
	}
	if (pick(c->run, 600) == 0) {
		c->asleep_until = sim_now_ns(c->run->sim) + (1 + pick(c->run, 3)) * LEASE * NS_PER_SEC;
		return;
	}
	if (!c->has_session) {
		if (c->doing != CREATING)
			c->doing = EXCHANGING;
		ask_session(c);
		submit(c, p);
		return;
	}
	if (c->doing == IDLE || c->doing == EXCHANGING || c->doing == CREATING)
		choose(c);
	request(c, p);
}

/* What the daemon does once a second. */
static void tick(struct process *p)
{
	struct state_command cmds[CLIENTS], expire;
	enum cluster_submitted how;
	uint64_t ids[CLIENTS];
	unsigned n;

	if (sim_now_ns(p->run->sim) < p->ticked_ns + NS_PER_SEC)
		return;
	p->ticked_ns = sim_now_ns(p->run->sim);
	name_orphans(p);
	n = state_silence(p->state, cmds, CLIENTS);
	for (unsigned i = 0; i < n; i++)
		sim_submit(p->run->sim, p->node, &cmds[i], NULL, NULL, NULL, &how);
	n = state_expirable(p->state, ids, CLIENTS);
	for (unsigned i = 0; i < n; i++) {
		if (state_judge(p->state, ids[i], &expire))
			sim_submit(p->run->sim, p->node, &expire, NULL, NULL, NULL, &how);
	}
}

static void tick_all(struct run *r)
{
	if (sim_now_ns(r->sim) < r->ticked_ns + 10 * NS_PER_MS)
		return;
	r->ticked_ns = sim_now_ns(r->sim);
	for (unsigned i = 1; i <= r->profile->nodes; i++) {
		if (r->processes[i] && sim_running(r->sim, i) &&
		    sim_phase(r->sim, i) == CLUSTER_SERVING)
			tick(r->processes[i]);
	}
}

/* ------------------------------------------------------------------------ the end ---- */

static void check_client(struct run *r, struct client *c, struct state *s)
{
	struct state_span spans[BYTES + 1];
	uint32_t home;

	if (!c->ready || !state_client_home(s, c->id, &home)) {
		if (c->ready && lease_is_valid(c))
			fail_run(r, "a client is not there in the end");
		return;
	}
	for (unsigned f = 0; f < FILES; f++) {
		const char *bytes = c->files[f].bytes;
		size_t n = state_lock_spans(s, c->id, text("l"), text(f ? "one" : "zero"), 0,
					    BYTES - 1, spans, BYTES + 1);

		for (unsigned b = 0; b < BYTES; b++) {
			bool found = false;

			for (size_t i = 0; i < n; i++)
				found |= spans[i].first <= b && b <= spans[i].last &&
					 (bytes[b] == 'R' || spans[i].exclusive);
			if (bytes[b] && !found)
				fail_run(r, "a lock is not there in the end");
		}
	}
}

static void check_final(struct run *r)
{
	uint64_t first = 0, digest;

	for (unsigned i = 1; i <= r->profile->nodes; i++) {
		if (state_digest(r->processes[i]->state, &digest) != 0)
			fail_run(r, "out of memory");
		if (i > 1 && digest != first)
			fail_run(r, "nodes have different states in the end");
		if (r->processes[i]->history != r->processes[1]->history)
			fail_run(r, "nodes have different histories in the end");
		first = digest;
		/* Of a request without an answer nobody knows what it has done. */
		for (unsigned c = 0; c < CLIENTS; c++) {
			if (r->clients[c].answered)
				check_client(r, &r->clients[c], r->processes[i]->state);
		}
	}
	if (r->profile->keeps && r->roots != 1)
		fail_run(r, "the state was begun again");
}

static void run(const struct profile *p, uint64_t seed, uint64_t commands, struct runner_counts *counts)
{
	struct run *r = calloc(1, sizeof(*r));
	struct sim_world world = {
		.seed = seed,
		.nodes = p->nodes,
		.safe = p->safe,
		.hang_ms = 5000,
		.begin = begin,
		.end = end,
	};
	uint64_t steps, most = commands * 200 + 1000000;

	if (!r)
		exit(1);
	r->profile = p;
	r->seed = seed;
	world.ctx = r;
	for (unsigned i = 0; i < CLIENTS; i++)
		r->clients[i] = (struct client){
			.run = r, .number = i, .node = 1 + i % p->nodes, .answered = true
		};
	r->sim = must(r, sim_new(&world));
	sim_start_all(r->sim);
	for (steps = 0; r->done < commands && steps < most; steps++) {
		act(&r->clients[pick(r, CLIENTS)]);
		tick_all(r);
		sim_step(r->sim);
		if (p->faults && pick(r, p->every) == 0)
			sim_random_fault(r->sim, p->faults);
	}
	if (!sim_settle(r->sim))
		fail_run(r, "nodes do not come together again");
	check_final(r);
	if (r->done < commands / 10)
		fail_run(r, "hardly anything was done");
	printf("ok - %s seed %" PRIu64 ": %" PRIu64 " done, %" PRIu64 " denied, %" PRIu64
	       " adopted, %" PRIu64 " retried elsewhere, %" PRIu64 " expired, %" PRIu64
	       " states compared, %u begun\n",
	       p->name, seed, r->done, r->denied, r->adopted, r->retried, r->expired, r->compared,
	       r->roots);
	counts->done = r->done;
	counts->applied = r->applied;
	sim_free(r->sim);
	free(r);
}

static const char *profile_name(unsigned i)
{
	return profiles[i].name;
}

static void run_profile(unsigned i, uint64_t seed, uint64_t commands, struct runner_counts *counts)
{
	run(&profiles[i], seed, commands, counts);
}

int main(int argc, char **argv)
{
	static const struct runner runner = { "sim_state", ARRAY_SIZE(profiles), profile_name, run_profile, 0 };

	return runner_main(&runner, argc, argv);
}

/*
 * The state machine on the replicated log under faults: clients open and lock files through random nodes,
 * their nodes die, hang and are cut off, and they go on elsewhere as the protocol has it: the same
 * session and stateids, a retry with the same sequence id. Checked are
 *   - two processes that have applied the same commands have the same state (its digest), also if one of
 *     them was given the state by another;
 *   - no two clients that believe to hold conflicting locks do so at the same (simulated) time, where a
 *     client believes it from the answer on until it unlocks, or has not been answered for a lease;
 *   - what a client was told is its own stays so for as long: no stateid, lock or session is gone;
 *   - slots, and owners' sequence ids: a client that does everything right is never told that it does not;
 *   - no client is told of a delegation, or of an open, that does not go with what another believes to have;
 *   - broadcasts come in the order of commands everywhere: they are part of the history;
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

/*
 * Clients from here on speak minor version 0: EXCHANGING is SETCLIENTID, CREATING its confirmation, and each
 * request with a sequence id is two commands, the second of which is OWNER_ADVANCE.
 */
#define FIRST_V40 3

enum doing {
	IDLE,
	EXCHANGING,
	CREATING,
	COMPLETING,
	ADOPTING,
	OPENING,
	CONFIRMING, /* minor version 0 */
	CLOSING,
	LOCKING,
	UNLOCKING,
	RELEASING,    /* minor version 0: RELEASE_LOCKOWNER */
	SHARED_OPEN,  /* the others: of the file that is delegated */
	SHARED_CLOSE,
	RETURNING,
};

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
	struct {
		char open, deleg; /* 'R', 'W' or 0 */
		struct stateid open_id, deleg_id, recalled;
	} shared;
	/* Minor version 0: the last sequence ids that were answered; the file to be confirmed, and 1. */
	uint32_t open_seqid, lock_seqid[FILES];
	unsigned unconfirmed;
	struct nfs_verifier confirm;

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
	struct owner_hold *hold; /* minor version 0, as the rest: at the node that it asks */
	bool advancing;
	uint8_t reply[64];
	struct state_result advanced;
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
	uint64_t compared, replayed, granted, recalled, revoked;
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

/* The client's home calls it back. */
static void take_effect(void *arg, const struct state_effect *e)
{
	struct process *p = arg;

	for (unsigned i = 0; e->type == EFFECT_RECALL && i < CLIENTS; i++) {
		struct client *c = &p->run->clients[i];

		if (c->id == e->clientid && state_is_at_home(p->state, c->id))
			c->shared.recalled = e->stateid;
	}
}

static void take_message(void *ctx, uint32_t origin, const uint8_t *bytes, size_t len)
{
	struct process *p = ctx;

	mix(p, &origin, sizeof(origin));
	mix(p, bytes, len);
}

static void apply_bytes(void *ctx, uint32_t origin, const uint8_t *bytes, size_t len, void *result)
{
	struct process *p = ctx;
	struct command_decoded decoded;
	struct state_result ignored;

	if (command_decode(bytes, len, &decoded) != 0)
		fail_run(p->run, "a command cannot be decoded");
	decoded.cmd.node = origin;
	state_apply(p->state, &decoded.cmd, result ? result : &ignored,
		    &(struct state_effects){ take_effect, p });
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

		if (res == &c->result || res == &c->advanced)
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
		.message = take_message,
	};
}

static void drop_hold(struct client *c)
{
	if (c->hold)
		state_owner_release(c->at->state, c->hold);
	c->hold = NULL;
	c->advancing = false;
}

static void end(void *ctx, unsigned node, void *app_ctx)
{
	struct run *r = ctx;
	struct process *p = app_ctx;

	for (unsigned i = 0; i < CLIENTS; i++) {
		struct client *c = &r->clients[i];

		if (c->at == p) {
			if (c->use.session)
				state_sequence_end(p->state, &c->use, NULL, 0);
			c->use.session = NULL;
			drop_hold(c);
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
	memset(&c->shared, 0, sizeof(c->shared));
	memset(c->lock_seqid, 0, sizeof(c->lock_seqid));
	c->open_seqid = c->unconfirmed = 0;
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

static bool is_v40(const struct client *c)
{
	return c->number >= FIRST_V40;
}

/* Does what `c` was told just now go with what the others have? */
static void check_shared(struct client *c)
{
	for (unsigned i = 0; i < FIRST_V40; i++) {
		const struct client *o = &c->run->clients[i];
		bool either, writes;

		if (o == c || !lease_is_valid(o) || !lease_is_valid(c))
			continue;
		either = (c->shared.deleg && (o->shared.deleg || o->shared.open)) ||
			 (o->shared.deleg && c->shared.open);
		writes = (c->shared.deleg == 'W' || o->shared.deleg == 'W') ||
			 (c->shared.deleg && o->shared.open == 'W') ||
			 (o->shared.deleg && c->shared.open == 'W');
		if (either && writes)
			fail_run(c->run, "a delegation does not go with what another has");
	}
}

static void took_shared(struct client *c)
{
	uint32_t type = c->result.open.delegation;

	c->shared.open = c->type;
	c->shared.open_id = c->result.open.stateid;
	if (type != OPEN_DELEGATE_NONE) {
		c->shared.deleg = type == OPEN_DELEGATE_WRITE ? 'W' : 'R';
		c->shared.deleg_id = c->result.open.deleg_stateid;
		c->run->granted++;
	}
	check_shared(c);
}

static bool is_recalled(const struct client *c)
{
	return c->shared.deleg && memcmp(c->shared.recalled.other, c->shared.deleg_id.other,
					 NFS4_OTHER_SIZE) == 0;
}

static void took_open(struct client *c)
{
	struct held_file *f = &c->files[c->file];

	f->open = true;
	f->open_id = c->result.open.stateid;
	if (is_v40(c) && c->result.open.needs_confirm)
		c->unconfirmed = c->file + 1;
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
		if (is_v40(c)) {
			c->id = c->result.setclientid.clientid;
			c->confirm = c->result.setclientid.confirm;
			c->doing = CREATING;
			break;
		}
		c->id = c->result.exchange_id.clientid;
		c->sequence = c->result.exchange_id.sequence;
		c->doing = CREATING;
		break;
	case CREATING:
		if (is_v40(c)) {
			c->has_session = c->ready = c->answered = true;
			c->doing = IDLE;
			break;
		}
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
	case CONFIRMING:
		f->open_id = c->result.stateid;
		c->unconfirmed = 0;
		break;
	case RELEASING:
		f->has_lock = false;
		c->lock_seqid[c->file] = pick(c->run, 1000);
		break;
	case SHARED_OPEN:
		took_shared(c);
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
	case NFS4ERR_LOCKS_HELD: /* of RELEASE_LOCKOWNER */
		c->valid_from = c->sent_ns;
		break;
	case NFS4ERR_DELAY:
		if (!c->result.refused)
			c->valid_from = c->sent_ns;
		if (c->doing == SHARED_OPEN) {
			was_denied(c, p);
			c->doing = IDLE; /* it may have to return something itself first */
		}
		break;
	case NFS4ERR_DELEG_REVOKED: /* it slept */
		c->run->revoked++;
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

static void finished(void *arg);

static void advance_seqids(struct client *c)
{
	bool by_lock = c->doing == UNLOCKING || (c->doing == LOCKING && c->files[c->file].has_lock);

	if (c->doing == RELEASING || c->result.status == NFS4ERR_BAD_STATEID ||
	    c->result.status == NFS4ERR_STALE_CLIENTID)
		return;
	if (!by_lock)
		c->open_seqid++;
	if (c->doing == LOCKING || c->doing == UNLOCKING)
		c->lock_seqid[c->file]++;
}

/*
 * Minor version 0: what was done is followed by its sequence id, unless it was not done; true if that is on
 * its way. If the log does not take it there is no answer.
 */
static bool advance(struct client *c, struct process *p)
{
	struct bytes reply = { c->reply, sizeof(c->reply) };
	enum cluster_submitted how;

	if (c->advancing || c->result.refused) {
		c->silent_end = c->advancing ? c->advanced.refused : true;
		return false;
	}
	memcpy(c->reply, &c->result.status, sizeof(c->result.status));
	memcpy(c->reply + 4, &c->result.stateid, sizeof(struct stateid));
	if (c->doing == OPENING) {
		memcpy(c->reply + 4, &c->result.open.stateid, sizeof(struct stateid));
		c->reply[4 + sizeof(struct stateid)] = c->result.open.needs_confirm;
	}
	if (!state_owner_advance(c->hold, c->result.status, reply, (struct bytes){ 0 }, &c->cmd))
		return false;
	c->flying = c->advancing = true;
	c->advanced.refused = false;
	if (!sim_submit(c->run->sim, p->node, &c->cmd, &c->advanced, finished, c, &how))
		fail_run(c->run, "no process to ask");
	if (how != CLUSTER_APPLIED)
		return true;
	c->flying = false;
	c->silent_end = c->advanced.refused;
	return false;
}

static void finished(void *arg)
{
	struct client *c = arg;
	struct process *p = c->at;
	unsigned incarnation = c->sent_by;

	c->flying = false;
	c->use.refused = c->result.refused;
	if (p && c->hold && !c->silent_end && advance(c, p))
		return;
	if (p && c->use.session)
		state_sequence_end(p->state, &c->use, NULL, 0);
	c->use.session = NULL;
	if (p)
		drop_hold(c);
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
		c->sure &= !c->result.refused;
		c->run->adopted += c->result.status == NFS4_OK;
		c->doing = c->after;
		return;
	}
	if (is_v40(c) && c->has_session)
		advance_seqids(c);
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

/* Minor version 0. */
static void ask_clientid(struct client *c)
{
	uint64_t confirm = sim_random(c->run->sim);

	if (c->doing == CREATING) {
		c->cmd.type = CMD_SETCLIENTID_CONFIRM;
		c->cmd.clientid = c->id;
		c->cmd.setclientid_confirm.confirm = c->confirm;
		return;
	}
	snprintf(c->owner, sizeof(c->owner), "old client %u", c->number);
	c->cmd.type = CMD_SETCLIENTID;
	c->cmd.setclientid.owner = text(c->owner);
	memcpy(&c->cmd.setclientid.verifier, &c->incarnation, sizeof(c->incarnation));
	memcpy(&c->cmd.setclientid.confirm, &confirm, sizeof(confirm));
	c->cmd.setclientid.callback.netid = text("tcp");
	c->cmd.setclientid.callback.addr = text("127.0.0.1.8.1");
}

static struct bytes lock_owner(const struct client *c, unsigned file)
{
	return text(!is_v40(c) ? "l" : file ? "l1" : "l0");
}

static void ask_session(struct client *c)
{
	static const struct channel_attrs channel = { 0, 4096, 4096, 1024, 8, 4 };

	c->cmd = (struct state_command){ .minor = !is_v40(c), .principal = text("p") };
	if (is_v40(c)) {
		ask_clientid(c);
		return;
	}
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
	c->cmd.lock.owner = lock_owner(c, c->file);
	c->cmd.lock.lock_seqid = c->lock_seqid[c->file] + 1;
}

static void ask_shared(struct client *c)
{
	struct request_ref *r = &c->cmd.open.request;

	c->cmd.type = c->doing == SHARED_OPEN	 ? CMD_OPEN
		      : c->doing == SHARED_CLOSE ? CMD_CLOSE
						 : CMD_DELEG_RETURN;
	if (c->doing == SHARED_CLOSE) {
		c->cmd.open_downgrade.stateid = c->shared.open_id;
		c->cmd.open_downgrade.file = text("shared");
	} else if (c->doing == RETURNING) {
		c->cmd.deleg_return.stateid = c->shared.deleg_id;
		c->cmd.deleg_return.file = text("shared");
	} else {
		c->cmd.open.owner = text("s");
		c->cmd.open.file = text("shared");
		c->cmd.open.access = c->type == 'W' ? OPEN4_SHARE_ACCESS_BOTH
						    : OPEN4_SHARE_ACCESS_READ;
		c->cmd.open.delegate = c->type == 'W' ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ;
		c->cmd.open.fh = text("fh");
		*r = (struct request_ref){ .present = true, .session = c->session, .seqid = c->seqid };
	}
}

static void ask_held(struct client *c)
{
	struct held_file *f = &c->files[c->file];
	struct bytes file = text(c->file ? "one" : "zero");

	c->cmd = (struct state_command){
		.minor = !is_v40(c),
		.clientid = c->id,
		.principal = text("p"),
		.maybe_retry = !is_v40(c) && c->use.maybe_retry,
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
	case CONFIRMING:
	case CLOSING:
		c->cmd.type = c->doing == CLOSING ? CMD_CLOSE : CMD_OPEN_CONFIRM;
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
	case RELEASING:
		c->cmd.type = CMD_RELEASE_LOCKOWNER;
		c->cmd.release_lockowner.owner = lock_owner(c, c->file);
		break;
	case SHARED_OPEN:
	case SHARED_CLOSE:
	case RETURNING:
		ask_shared(c);
		break;
	default:
		fail_run(c->run, "nothing to do");
	}
}

/* The file that is delegated. */
static bool choose_shared(struct client *c)
{
	if (is_v40(c) || (pick(c->run, 8) && !is_recalled(c)))
		return false;
	c->type = pick(c->run, 3) ? 'R' : 'W';
	if (c->shared.deleg && (is_recalled(c) || pick(c->run, 8) == 0)) {
		c->run->recalled += is_recalled(c);
		c->doing = RETURNING;
		c->shared.deleg = 0;
	} else if (c->shared.open) {
		c->doing = SHARED_CLOSE;
		c->shared.open = 0;
	} else {
		c->doing = SHARED_OPEN;
	}
	return true;
}

/* What to do next; what is given up is not held from now on. */
static void choose(struct client *c)
{
	struct held_file *f = &c->files[c->file = pick(c->run, FILES)];

	if (!c->ready) {
		c->doing = COMPLETING;
		return;
	}
	if (choose_shared(c))
		return;
	if (c->unconfirmed) {
		c->file = c->unconfirmed - 1;
		c->doing = CONFIRMING;
		return;
	}
	c->range.offset = pick(c->run, BYTES);
	c->range.length = 1 + pick(c->run, BYTES - (unsigned)c->range.offset);
	c->type = pick(c->run, 3) ? 'W' : 'R';
	if (!f->open)
		c->doing = OPENING;
	else if (f->has_lock && pick(c->run, 2))
		c->doing = UNLOCKING;
	else if (is_v40(c) && f->has_lock && pick(c->run, 10) == 0)
		c->doing = RELEASING;
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

/* The owner's part of a request of minor version 0. */
static enum nfsstat4 hold_owner(struct client *c, struct state *s, struct owner_replay *replay)
{
	struct held_file *f = &c->files[c->file];
	bool by_lock = c->doing == UNLOCKING || (c->doing == LOCKING && f->has_lock);
	uint32_t seqid = (by_lock ? c->lock_seqid[c->file] : c->open_seqid) + 1;

	c->cmd.sequenced = c->doing != OPENING;
	c->cmd.owner_seqid = seqid;
	if (c->doing != OPENING)
		return state_owner_hold_by_stateid(s, by_lock ? &f->lock_id : &f->open_id, seqid, &c->hold,
						   replay);
	c->cmd.open.request = (struct request_ref){ .present = true, .seqid = seqid };
	memcpy(&c->cmd.open.request.session, &c->id, sizeof(c->id));
	return state_owner_hold(s, c->id, text("o"), seqid, &c->hold, replay);
}

/* It was done elsewhere, and its outcome is known here. */
static void take_replay(struct client *c, const struct owner_replay *replay)
{
	c->run->replayed++;
	if (replay->reply.len != sizeof(c->reply))
		fail_run(c->run, "a reply was not kept as it was");
	c->result = (struct state_result){ 0 };
	memcpy(&c->result.status, replay->reply.p, sizeof(c->result.status));
	memcpy(&c->result.stateid, replay->reply.p + 4, sizeof(struct stateid));
	if (c->doing == OPENING) {
		memcpy(&c->result.open.stateid, replay->reply.p + 4, sizeof(struct stateid));
		c->result.open.needs_confirm = replay->reply.p[4 + sizeof(struct stateid)];
	}
	c->sent_ns = sim_now_ns(c->run->sim);
	c->sent_by = c->incarnation;
	c->advancing = true; /* it has */
	c->advanced.refused = false;
	finished(c);
}

static void request_v40(struct client *c, struct process *p)
{
	struct owner_replay replay = { 0 };
	enum nfsstat4 status = NFS4_OK;
	uint32_t home;

	if (!state_client_home(p->state, c->id, &home)) {
		/* The node may lag behind where the client was: it makes sure first. */
		if (!c->sure)
			adopt(c, p, 0);
		else
			lost_state(c, "a client is gone");
		c->sure = !c->sure;
		return;
	}
	c->sure = false;
	if (state_is_away(p->state, c->id)) {
		adopt(c, p, c->id);
		return;
	}
	c->run->retried += !c->answered;
	c->answered = false;
	c->use.session = NULL;
	ask_held(c);
	if (c->doing == RELEASING)
		state_heard_v40(p->state, c->id);
	else
		status = hold_owner(c, p->state, &replay);
	if (status == NFS4ERR_BAD_SEQID)
		fail_run(c->run, "an owner does not know its client");
	if (status != NFS4_OK) {
		lost_state(c, "an owner or what it has is gone");
		c->doing = IDLE;
		return;
	}
	c->at = p;
	c->silent_end = false;
	if (replay.replay)
		take_replay(c, &replay);
	else
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
		c->sure = false;
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
	if (pick(c->run, 300) == 0)
		sim_broadcast(c->run->sim, c->node, &c->seqid, sizeof(c->seqid));
	if (is_v40(c))
		request_v40(c, p);
	else
		request(c, p);
}

/* What the daemon does once a second. */
static void tick(struct process *p)
{
	struct state_command cmds[CLIENTS], expire, revoke = { .type = CMD_REVOKE };
	struct state_overdue overdue[CLIENTS];
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
	n = state_revocable(p->state, overdue, CLIENTS);
	for (unsigned i = 0; i < n; i++) {
		revoke.minor = overdue[i].minor;
		revoke.clientid = overdue[i].clientid;
		revoke.revoke.stateid = overdue[i].stateid;
		sim_submit(p->run->sim, p->node, &revoke, NULL, NULL, NULL, &how);
	}
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
		size_t n = state_lock_spans(s, c->id, lock_owner(c, f), text(f ? "one" : "zero"), 0,
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
	       " adopted, %" PRIu64 " retried elsewhere, %" PRIu64 " replayed, %" PRIu64
	       " delegations, %" PRIu64 " recalled, %" PRIu64 " revoked, %" PRIu64 " expired, %" PRIu64
	       " states compared, %u begun\n",
	       p->name, seed, r->done, r->denied, r->adopted, r->retried, r->replayed, r->granted,
	       r->recalled, r->revoked, r->expired, r->compared, r->roots);
	*counts = (struct runner_counts){
		.done = r->done,
		.applied = r->applied,
		.seen = { r->granted, r->recalled, r->adopted, r->retried, r->replayed,
			  r->expired },
	};
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
	static const struct runner runner = {
		.program = "sim_state",
		.nprofiles = ARRAY_SIZE(profiles),
		.profile = profile_name,
		.run = run_profile,
		.least = 2,
		.seen = { "delegations granted", "delegations recalled", "clients adopted",
			  "requests retried elsewhere", "requests replayed", "clients expired" },
	};

	return runner_main(&runner, argc, argv);
}

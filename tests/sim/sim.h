/*
 * N nodes in one process over a simulated group: the real replica (cluster/replica.h) of each, a network that
 * orders their messages as corosync does, a clock of its own, and faults. Everything that happens is drawn from one
 * seed, so a seed and a commit reproduce a run.
 *
 * What the network does is what corosync promises (extended virtual synchrony), at its worst: a message is ordered
 * when it pleases, and reaches each member when it pleases; in a change of the ring, those that go together
 * are given the same messages, but which of the last ones the parted ones got is drawn; a message may be
 * ordered within a new ring among those who came to it together, before the new view is shown; a ring may be
 * replaced before its view was shown; a process may hang while its node's corosync goes on.
 *
 * An application brings a struct cluster_app for each process that is started. Nodes are numbered from 1.
 *
 *	struct sim *s = sim_new(&world);
 *	sim_start_all(s);
 *	for (...) {
 *		sim_submit(s, node, &command, &result, done, arg);
 *		sim_step(s);				// something happens somewhere
 *		if (...)
 *			sim_random_fault(s, SIM_PARTITION | SIM_CRASH);
 *	}
 *	sim_settle(s);		// faults end; true once all serve and nothing is in flight
 *	sim_free(s);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "cluster/message.h"

#define SIM_MAX_NODES 9

struct sim;

struct sim_world {
	uint64_t seed;
	unsigned nodes;
	bool safe;	  /* the logs' durability */
	uint32_t hang_ms; /* see struct cluster_config */
	/* How long none begins a state anew while somebody is missing who may have it; 0: 10 s. */
	uint32_t begin_patience_ms;
	/* A process begins at `node`: its application, which has no state. */
	struct cluster_app (*begin)(void *ctx, unsigned node);
	/* It has ended, whether killed or because its state was lost; no callback comes from it any more. */
	void (*end)(void *ctx, unsigned node, void *app_ctx);
	void *ctx;
};

/* NULL when out of memory. */
struct sim *sim_new(const struct sim_world *world);
void sim_free(struct sim *s);

void sim_start_all(struct sim *s);
/* A random one of the things that can happen now: a message is ordered, or delivered, or time passes. */
void sim_step(struct sim *s);

enum sim_fault {
	SIM_PARTITION = 1, /* the network is divided anew, or whole again */
	SIM_CRASH = 2,	   /* a process is killed; it starts again later */
	SIM_POWER = 4,	   /* a node fails with all that it had not sent; it starts again later */
	SIM_COROSYNC = 8,  /* corosync ends under a running process; it starts again later */
	SIM_HANG = 16,	   /* a process hangs; it goes on later */
	SIM_QUORUM = 32,   /* quorum goes, or comes back, while the ring stays the same (a quorum device) */
	SIM_CLOCK = 64,	   /* a node's wall clock jumps */
	SIM_VOTES = 128,   /* a node finds too few votes for its members, or enough again, and is not told so */
};
#define SIM_ALL_FAULTS 127u /* without SIM_VOTES */

/* Faults one by one: a process is killed and stays so, one begins; the network is divided; a process hangs. */
void sim_stop(struct sim *s, unsigned node);
void sim_start(struct sim *s, unsigned node);
/* The node is on that side of the division; all on one side see each other. At first all are on 0. */
void sim_move(struct sim *s, unsigned node, unsigned side);
void sim_hang(struct sim *s, unsigned node, bool hung);
/* As SIM_QUORUM, in the node's ring, and SIM_VOTES, at the node. */
void sim_deny_quorum(struct sim *s, unsigned node, bool denied);
void sim_deny_votes(struct sim *s, unsigned node, bool denied);
/* The process loses its connection to corosync and is there again, in the same ring. */
void sim_reconnect(struct sim *s, unsigned node);
/* One fault of those in `kinds`, or the end of one. */
void sim_random_fault(struct sim *s, unsigned kinds);
/*
 * Ends all faults and runs until all nodes serve and nothing is under way; false if that does not
 * happen in a minute of the simulated time.
 */
bool sim_settle(struct sim *s);

/* As cluster_submit(); false if there is no process at the node that could be asked. */
bool sim_submit(struct sim *s, unsigned node, const void *command, void *result,
		void (*done)(void *arg), void *arg, enum cluster_submitted *how);
/* As cluster_broadcast(). */
int sim_broadcast(struct sim *s, unsigned node, const void *p, size_t len);
/* At a place between events: */
uint64_t sim_now_ns(const struct sim *s);
bool sim_running(const struct sim *s, unsigned node); /* it has a process, which does not hang */
enum cluster_phase sim_phase(const struct sim *s, unsigned node);
struct position sim_position(const struct sim *s, unsigned node);
/* What node numbers mean to the application: the same. */
uint64_t sim_random(struct sim *s); /* of the same seed */
/* Can a majority of the nodes' corosyncs talk to each other now? */
bool sim_has_quorum(const struct sim *s);
uint64_t sim_deliveries(const struct sim *s);

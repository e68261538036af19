/*
 * The ordered log: commands go in at any node and are applied at every node in one order.
 *
 * The application (nfsd's state machine) is seen through struct cluster_app; the cluster
 * knows nothing of what commands mean. Implementations: solo.c (a cluster of one: a command
 * is applied at once, in the submitter's thread) and corosync.c. Tests have others that delay
 * and reorder, and one that simulates many nodes.
 *
 * A node's life in a replicated log:
 *
 *	started --quorum; nobody has state--> (lowest node) serving, its state is the cluster's
 *	   |                                        ^   |
 *	   `--quorum; another has it--> joining     |   | quorum lost
 *	                                  | restore |   v
 *	                                  `---------+--suspended --quorum, nobody went on--> serving
 *	                                                  |
 *	                                                  `--another part went on--> lost: this
 *	                                                     process must end and start as new
 *
 * Only a serving node applies commands, and a joining one, between restore() and serving, those that
 * came behind the snapshot's place. Everything that the log tells the application (apply_bytes,
 * members, snapshot, restore, phase) comes from one thread in the log's order, so `members` says that
 * a node has gone at the same place between the same commands everywhere.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

#define CLUSTER_MAX_NODES 32

enum cluster_phase {
	CLUSTER_JOINING,   /* no state yet */
	CLUSTER_SERVING,
	CLUSTER_SUSPENDED, /* the state may be old: no quorum */
	CLUSTER_LOST,	   /* others went on without this node: its state is void */
};

/* Who is in the cluster, at one place in the order. Node numbers are corosync's; solo is node 1. */
struct cluster_members {
	uint32_t self;
	uint32_t n;
	uint32_t nodes[CLUSTER_MAX_NODES]; /* ascending; those that have the state */
	/*
	 * Which generation of a state this is: of two the one with the greater first number is the later, or
	 * the greater second, or third, which grows when members have gone.
	 */
	uint64_t generation[3];
	/* Likewise, where this state was begun: the last that is known to have served before it; zeros: none is. */
	uint64_t earlier[3];
};

/* What the log drives. In solo only apply() is called, by several threads at once. */
struct cluster_app {
	/* Applies `command`, submitted at this node, in its place in the order. */
	void (*apply)(void *ctx, const void *command, void *result);
	void *ctx;

	/* The rest is for replicated logs. */

	/* Differs when nodes that speak it cannot be in one cluster with others. */
	uint32_t format;
	/*
	 * The bytes of a command: malloc'ed, in *out; 0 or -ENOMEM. In the submitter's thread.
	 */
	int (*encode)(void *ctx, const void *command, uint8_t **out, size_t *len);
	/*
	 * Applies a command's bytes that node `origin` submitted. `result` is NULL unless the
	 * submitter is this process and waits. A command that cannot be decoded must not get so
	 * far: `format` keeps its sender out.
	 */
	void (*apply_bytes)(void *ctx, uint32_t origin, const uint8_t *p, size_t len, void *result);
	/*
	 * Fills `result` of a command that will not be applied (suspended, out of memory). After
	 * phase(CLUSTER_LOST) it may have been applied: nobody must be told anything.
	 */
	void (*refuse)(void *ctx, void *result);
	/* The whole state at this place in the order: malloc'ed; 0 or -errno. */
	int (*snapshot)(void *ctx, uint8_t **out, size_t *len);
	/* It becomes the state of this node, which has none yet: 0 or -errno. */
	int (*restore)(void *ctx, const uint8_t *p, size_t len);
	/*
	 * Others than before have the state. Those that left are dead, or as good as. In phase JOINING as
	 * well, after restore() and until this node is one of them: all are told the same in the same places.
	 */
	void (*members)(void *ctx, const struct cluster_members *members);
	/*
	 * The phase has changed. First time CLUSTER_SERVING without restore(): this node's own state
	 * begins the cluster's. In every phase but SERVING nothing may be granted.
	 */
	void (*phase)(void *ctx, enum cluster_phase phase);
	/*
	 * Bytes that node `origin` gave to cluster_broadcast(), in the order like a command; also at
	 * that node itself. May be NULL.
	 */
	void (*message)(void *ctx, uint32_t origin, const uint8_t *p, size_t len);
};

enum cluster_submitted {
	CLUSTER_APPLIED, /* the result is there; done() is not called */
	CLUSTER_PENDING, /* done() will be called, by any thread, once the result is there */
};

/* One node as another sees it, for people. */
struct cluster_node_status {
	uint32_t node;
	enum cluster_phase phase; /* as far as known */
	bool present;		  /* its daemon is in the group */
	uint64_t applied;	  /* commands that it has said to have applied */
	uint64_t heard_ns;	  /* since its last message, nanoseconds */
};

/* What a log can say about itself. */
struct cluster_status {
	enum cluster_phase phase;
	bool quorate;
	bool safe;
	uint32_t self;
	uint64_t epoch;	  /* grows whenever a node has gone */
	uint64_t applied; /* commands, since the cluster's state began */
	char scope[65];
	uint32_t n;
	struct cluster_node_status nodes[CLUSTER_MAX_NODES]; /* ascending; self among them */
	/* All that there can be, as configured, in no order; 0: not known. */
	uint32_t nconfigured, configured[CLUSTER_MAX_NODES];
};

/* How a replicated log shall work. */
struct cluster_config {
	const char *scope; /* the cluster's name; NULL: corosync's cluster_name */
	bool safe;	   /* a command is done when all nodes, not only this one, have applied it */
	/* A directory where the log remembers which states there have been; NULL: none. */
	const char *state_dir;
	/* A node that has not been heard for so long is put out; 0: 5 s. */
	uint32_t hang_ms;
};

/* An implementation, which embeds it. */
struct cluster {
	struct cluster_app app;
	/*
	 * From here on the log calls the application. Before it, submit() must not be called, but in
	 * solo. 0 or -errno.
	 */
	int (*start)(struct cluster *c);
	void (*status)(struct cluster *c, struct cluster_status *status);
	/*
	 * Until when (clock_mono_ns()) this node may trust that its state is current without hearing
	 * from the log again. A process that was stopped and goes on finds it in the past.
	 */
	_Atomic uint64_t current_until;
	/*
	 * When the log's thread was last seen to move (clock_mono_ns()): it does several times a second,
	 * whatever state corosync is in. In the future: it is busy with something that may last until
	 * then (cluster_busy()). 0: it does not run; solo has none.
	 */
	_Atomic uint64_t moved_ns;
	enum cluster_submitted (*submit)(struct cluster *c, const void *command, void *result,
					 void (*done)(void *arg), void *arg);
	/* See cluster_broadcast(); NULL in solo. */
	int (*broadcast)(struct cluster *c, const void *p, size_t len);
	void (*free)(struct cluster *c);
};

#define CLUSTER_MAX_BROADCAST 65536 /* bytes */

/* A cluster of one; `config` is not looked at and may be NULL. NULL when out of memory. */
struct cluster *cluster_solo_new(const struct cluster_app *app, const struct cluster_config *config);
/*
 * A node of a cluster over corosync (corosync.c). `config` is copied. NULL when out of memory, or
 * if Atoll was built without corosync.
 */
struct cluster *cluster_corosync_new(const struct cluster_app *app,
				     const struct cluster_config *config);
/* Was it? */
bool cluster_has_corosync(void);

/*
 * Submits a command. `command` and `result` stay the caller's and must live until the command
 * has been applied. `done` may be NULL if the caller does not wait: then `result` may be NULL, and
 * the command must have been applied, or been copied whole, when cluster_submit() returns.
 */
static inline enum cluster_submitted cluster_submit(struct cluster *c, const void *command,
						    void *result, void (*done)(void *arg),
						    void *arg)
{
	return c->submit(c, command, result, done, arg);
}

/*
 * Says something to all nodes that have the state, this one included, in the order of commands:
 * app.message() gets it. Rare and small things that are no commands: who listens to what address, which
 * connections there are. Any thread; the bytes are copied. 0, -ENOMEM, -EMSGSIZE; -EAGAIN: this
 * node does not serve, nobody will get it; -ENOBUFS: nor will they, as too much waits already for
 * corosync to take it; -ENOTSUP in solo. A node that is cut off afterwards may
 * never get what it has sent.
 */
static inline int cluster_broadcast(struct cluster *c, const void *p, size_t len)
{
	return c->broadcast ? c->broadcast(c, p, len) : -ENOTSUP;
}

/* 0 or -errno. */
static inline int cluster_start(struct cluster *c)
{
	return c->start ? c->start(c) : 0;
}

static inline void cluster_get_status(struct cluster *c, struct cluster_status *status)
{
	c->status(c, status);
}

/*
 * The application, on the log's thread: what follows may take so long, without any harm being meant.
 */
static inline void cluster_busy(struct cluster *c, uint64_t ns)
{
	atomic_store_explicit(&c->moved_ns, clock_mono_ns() + ns, memory_order_relaxed);
}

/* Has the log's thread moved since `then` (clock_mono_ns())? Where there is none, yes. */
static inline bool cluster_has_moved(struct cluster *c, uint64_t then)
{
	uint64_t moved = atomic_load_explicit(&c->moved_ns, memory_order_relaxed);

	return !moved || moved > then;
}

/* After this no callback runs; commands that were pending have been refused. */
static inline void cluster_free(struct cluster *c)
{
	if (c)
		c->free(c);
}

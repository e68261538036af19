/* The NFS server as its composition root (main.c) and tests see it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "cluster/cluster.h"
#include "config/exports.h"
#include "rpc/rpc.h"

struct nfs_server;

struct nfs_server_options {
	unsigned minor_versions;   /* bit n: minor version n is served */
	unsigned lease_seconds;
	unsigned courtesy_seconds; /* 0: a day */
	uint32_t max_io;	   /* greatest READ and WRITE payload, bytes */
	unsigned cache_seconds;	   /* unused objects are kept so long; 0: the backend's default */
	struct siphash_key handle_key; /* authenticates filehandles; the same after a restart */
	/* Differs at every start (and is not reused): part of client IDs and stateids. */
	uint32_t epoch;
	/*
	 * Where clients are recorded, so that they can reclaim after a crash; NULL: nowhere. Its
	 * instances have numbers that grow; `earlier`: there was one before this.
	 */
	const char *state_dir;
	uint64_t instance;
	bool earlier;
	unsigned grace_seconds; /* 0: the lease */
	/* What clients may hold, in total and each; 0: the default. */
	uint32_t max_clients, max_opens, max_locks, max_owners, max_sessions;
	uint32_t max_opens_per_client, max_locks_per_client, max_owners_per_client;
	uint32_t max_sessions_per_client;
	uint32_t max_delegations, max_delegations_per_client;
	uint32_t max_slots_per_session;
	/* With state_dir: the last instance that served on it (epoch.h); its state may be there. */
	uint64_t served;
	bool delegations;	/* give some, where they help */
	const char *scope; /* server_scope and major id; NULL: the host's name */
	/* The ordered log to run the state machine on. */
	struct cluster *(*cluster_new)(const struct cluster_app *app,
				       const struct cluster_config *config);
	struct cluster_config cluster; /* for cluster_new */
	/* That log is shared with other nodes. */
	bool replicated;
	/* Others went on without this node: the process must start anew. By any thread; may be NULL. */
	void (*lost)(void *arg);
	/* The state was given by another node, and this is its epoch; likewise. */
	void (*joined)(void *arg, uint32_t epoch);
	void *node_arg;
	/* Replicated: how long a request waits for this node to serve before it is put off with DELAY. */
	uint32_t lull_ms;
};

/* Every minor version, 90 s, 1 MiB, a random key and an epoch from the clock. */
void nfs_server_options_default(struct nfs_server_options *o);

/*
 * A server of `exports` (taken over on success). 0, or -errno with `err` filled: an export whose
 * directory is missing, is no directory, or lies on a file system without handles.
 */
int nfs_server_new(const struct nfs_server_options *options, struct exports *exports,
		   struct nfs_server **out, struct config_error *err);
/*
 * Replaces the exports (taken over on success) while requests run. Unchanged exports and their
 * clients are not touched. On failure the old ones stay.
 */
int nfs_server_reload(struct nfs_server *s, struct exports *exports, struct config_error *err);
/* The RPC program to add to an rpc_server. `s` must outlive the rpc_server. */
struct rpc_program nfs_server_program(struct nfs_server *s);
/*
 * Adds that program to `rpc`, and calls clients back over its connections from now on. Before
 * rpc_server_start(). 0 or -errno.
 */
int nfs_server_attach(struct nfs_server *s, struct rpc_server *rpc);
/*
 * No client is called any more: after rpc_server_stop() (or when it was never started), and before
 * rpc_server_free(), since it gives up what it has of the connections.
 */
void nfs_server_detach(struct nfs_server *s);
/*
 * Housekeeping, each to be called about once a second by one thread: of the state (leases); of
 * the records of clients, which waits for the state directory's disk (in a cluster all nodes' grace period may hang on
 * it); and of what waits for a file system that is served, which may be long in recovering.
 */
void nfs_server_tick(struct nfs_server *s);
void nfs_server_tick_records(struct nfs_server *s);
void nfs_server_tick_files(struct nfs_server *s);
/*
 * Has the log's thread, without which nothing that clients hold can change, moved since `then`
 * (clock_mono_ns())? Any thread; never blocks.
 */
bool nfs_server_moves(struct nfs_server *s, uint64_t then);
/*
 * Leaves the state for the next instance (handover.h). After the rpc_server has been freed, if it
 * has served.
 */
void nfs_server_hand_over(struct nfs_server *s, const char *state_dir);
/* Before a restart in place, likewise: nameless.h. */
void nfs_server_keep_nameless(struct nfs_server *s);
/* After the rpc_server has stopped. */
void nfs_server_free(struct nfs_server *s);

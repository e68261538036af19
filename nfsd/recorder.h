/*
 * Between the state machine and stable storage: clients are recorded with the first thing that is
 * granted to them and forgotten when they lose it; and the grace period after a crash.
 */
#pragma once

#include <stdint.h>

#include "config/error.h"
#include "nfsd/state/state.h"

struct nfs_server;
struct recorder;

struct recorder_params {
	const char *state_dir;
	uint64_t instance;	/* of struct nfs_server_options */
	bool earlier;
	unsigned lease_seconds, grace_seconds; /* grace 0: the lease */
	bool restored; /* the last instance's state has been read back: no grace period */
	/* A node of a cluster: the grace period begins with recorder_serve(), and is everybody's. */
	bool replicated;
};

/*
 * Opens stable storage and begins the grace period, if earlier instances' clients may reclaim.
 * 0, or -errno with `err` filled.
 */
int recorder_new(struct nfs_server *server, const struct recorder_params *params,
		 struct recorder **out, struct config_error *err);
void recorder_free(struct recorder *r); /* NULL is allowed */
/*
 * A replicated log serves now, before anything is granted at this node. `restored`: with a state that
 * it has been given, or had already. By the log's thread; does not block.
 */
void recorder_serve(struct recorder *r, bool restored);

/*
 * This node is an active member of that generation of the state (cluster_members). By the log's thread,
 * before anything that is granted in it; does not block.
 */
void recorder_generation(struct recorder *r, const uint64_t generation[3]);

/*
 * This node began the state; `generation` is the last that is known to have served before, zeros: none is. If
 * no node's list of clients is so late it says so. Before recorder_serve(), by the log's thread.
 */
void recorder_expect(struct recorder *r, const uint64_t generation[3]);

/* An effect of a command; those that do not concern it are passed over. */
void recorder_effect(struct recorder *r, const struct state_effect *effect);

/*
 * Something is about to be promised to `clientid`, which must be on stable storage by then; 0: to
 * somebody who is there already. What others lost before must be, too. 0 when all that
 * is so; else NFS4ERR_DELAY. May block. `r` NULL: there is no stable storage, 0.
 */
enum nfsstat4 recorder_promise(struct recorder *r, uint64_t clientid);
/* About once a second: ends the grace period in time, writes what is waiting. */
void recorder_tick(struct recorder *r);

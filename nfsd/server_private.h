/* The server's own structure, for nfsd/ only. */
#pragma once

#include "base/lock.h"
#include "cluster/cluster.h"
#include "nfsd/exports.h"
#include "nfsd/server.h"
#include "nfsd/state/state.h"

struct callbacks;
struct delegations;
struct drc;
struct local_locks;
struct recorder;

struct nfs_server {
	/* Immutable after nfs_server_new(). */
	struct nfs_server_options options;
	char owner_major[64]; /* server_owner4.so_major_id, server_scope */
	struct state *state;
	struct cluster *cluster;
	struct callbacks *callbacks;
	struct delegations *delegations;
	struct export_registry *registry;
	bool restored; /* the state is the last process's */
	struct recorder *recorder; /* NULL: there is no stable storage */
	struct local_locks *local_locks;
	struct drc *drc; /* duplicate requests of minor version 0 */

	struct mutex exports_lock;
	struct export_set *exports; /* under exports_lock: the set in force; a reference */

	uint64_t expire_after_ns; /* the ticking thread's: when to look for silent clients next */

	struct mutex settling_lock;
	struct cond settled;
	unsigned settling; /* compounds that wait for a backend's settle(); under settling_lock */
};

/* Takes a client's state away: its lease has passed. */
void nfs_server_expire_client(struct nfs_server *s, uint64_t clientid);
/* The set in force, with a reference for the caller. */
struct export_set *nfs_server_exports(struct nfs_server *s);

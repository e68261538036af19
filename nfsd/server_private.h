/* The server's own structure, for nfsd/ only. */
#pragma once

#include "base/clock.h"
#include "base/lock.h"
#include "cluster/cluster.h"
#include "nfsd/exports.h"
#include "nfsd/server.h"
#include "nfsd/state/state.h"

struct callbacks;
struct chores;
struct delegations;
struct drc;
struct local_locks;
struct recorder;

/*
 * Every compound uses the set of exports in force. The threads do so by stripes, so that they do not
 * pass one lock and one counter between the processors: a stripe has a reference to the set, and
 * stands with it for those whose use it counts.
 */
#define EXPORT_STRIPES 16

struct exports_stripe {
	struct mutex lock;
	struct export_set *set; /* under lock, as the next */
	unsigned users;
} __attribute__((aligned(64)));

struct nfs_server {
	/* Immutable after nfs_server_new(). */
	struct nfs_server_options options;
	char owner_major[65]; /* server_scope; alone in it also server_owner4.so_major_id */
	struct state *state;
	struct cluster *cluster;
	struct callbacks *callbacks;
	struct delegations *delegations;
	struct export_registry *registry;
	bool restored; /* the state is the last process's, or was given by another node */
	bool replicated; /* this is a node of a cluster: replication.c */
	enum cluster_phase phase; /* the log thread's */
	_Atomic bool serving; /* the log's phase; always in a cluster of one */
	_Atomic uint32_t closings; /* how often it has ceased to serve */
	struct lulls *lulls; /* replicated: requests that wait until it serves */
	struct chores *chores; /* replicated: once attached */
	struct recorder *recorder; /* NULL: there is no stable storage */
	struct local_locks *local_locks;
	struct drc *drc; /* duplicate requests of minor version 0 */

	struct mutex members_lock;
	struct cluster_members members; /* under members_lock; replicated: who has the state */

	struct mutex exports_lock;
	struct export_set *exports; /* under exports_lock: the set in force; a reference */
	struct exports_stripe stripes[EXPORT_STRIPES];

	uint64_t expire_after_ns; /* the ticking thread's: when to look for silent clients next */

	struct mutex settling_lock;
	struct cond settled;
	unsigned settling; /* compounds that wait for a backend's settle(); under settling_lock */
};

/* What became of a client whose state somebody needs. */
enum expiry {
	EXPIRY_NONE,	/* its lease has not passed, as far as is known here */
	EXPIRY_DONE,	/* its state is free */
	EXPIRY_ORDERED, /* it will be, before any command that is submitted from now on is applied */
};
enum expiry nfs_server_expire_client(struct nfs_server *s, uint64_t clientid);
/* May anything be promised, or read from the state, now? */
static inline bool nfs_server_serves(struct nfs_server *s)
{
	return likely(!s->replicated) ||
	       (s->serving && clock_mono_ns() < s->cluster->current_until);
}
/* The set in force, with a reference for the caller. */
struct export_set *nfs_server_exports(struct nfs_server *s);
/* For a compound: the set until nfs_server_exports_done(), on any thread, of the same stripe. */
struct export_set *nfs_server_exports_use(struct nfs_server *s, unsigned *stripe);
void nfs_server_exports_done(struct nfs_server *s, struct export_set *set, unsigned stripe);

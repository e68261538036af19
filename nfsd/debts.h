/*
 * Changes of names that a compound has made but that are not on stable storage yet. The reply must
 * not go out before they are; until then the compound needs no thread (struct backend.settle).
 */
#pragma once

#include "nfsd/compound.h"

/* May an operation leave the settling of `n` directories of `dir`'s export to the compound's end? */
bool debts_accept(struct compound *c, const struct object *dir, unsigned n);
/*
 * The running operation has left `dir` (no more than debts_accept() was asked for) to be settled.
 * Should that fail, `undo` (may be NULL) is called: the reply will then say that the operation has
 * failed.
 */
void debts_add(struct compound *c, struct object *dir, void (*undo)(struct compound *c, void *arg),
	       void *arg);
/*
 * The compound has run: true if it has to wait (NFS4_PARKED), upon which debts_settled() follows on
 * resuming.
 */
bool debts_settle(struct compound *c, enum nfsstat4 status, uint32_t nresults);
/* Status and number of results of a compound that has waited. */
enum nfsstat4 debts_settled(struct compound *c, uint32_t *nresults);
void debts_release(struct compound *c);

struct nfs_server;
/* Nobody starts to wait any more: returns when nobody waits. */
void debts_await(struct nfs_server *s);

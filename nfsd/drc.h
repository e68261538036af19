/*
 * The cache of duplicate requests, for minor version 0: a client that lost its connection sends
 * what it had in flight again, and CREATE, REMOVE, RENAME and LINK must then not be done twice.
 * (Minor versions above 0 have sessions for this.)
 *
 * A request is recognised by the client's address, user, XID, length and a hash of its
 * arguments. The cache is small and forgets after some leases: it has to outlive a reconnect. At a
 * planned restart it goes to the next process.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "nfsd/state/state.h"
#include "rpc/rpc.h"

struct drc;
struct drc_entry;

/* Requests are recognised under `hash_key`, on all nodes that have the same. NULL: out of memory. */
struct drc *drc_new(const struct siphash_key *hash_key);
void drc_free(struct drc *d);

/*
 * The request's entry, held by the caller. *reply NULL: first seen, or begun at a node that gave no
 * reply, to be finished with drc_finish(). Else its earlier reply, valid until drc_release(); waits for it while
 * the first is still running. NULL when out of memory: the request goes on unprotected.
 */
struct drc_entry *drc_begin(struct drc *d, struct rpc_call *call, const uint8_t *args,
			    const uint8_t **reply, size_t *len);
/* Remembers a copy of the reply and gives the entry back. */
void drc_finish(struct drc *d, struct drc_entry *e, const uint8_t *reply, size_t len);
/* What another node must know to recognise the request, in its arena. False: out of memory. */
bool drc_make_key(struct drc *d, struct rpc_call *call, const uint8_t *args, struct bytes *key);
/*
 * All nodes remember, under its drc_make_key(), a request that one of them, perhaps this, has begun, or
 * (begun.op 0) the reply that it gives.
 */
void drc_keep(struct drc *d, struct bytes key, struct begun begun, struct bytes reply);
/* What drc_keep() was told last; op 0: nothing, or the reply. */
struct begun drc_begun(struct drc *d, struct bytes key);
/* Gives an entry back that was found with its reply. */
void drc_release(struct drc *d, struct drc_entry *e);
/* Gives a first entry back whose request will have no reply. */
void drc_abandon(struct drc *d, struct drc_entry *e);

/* Forgets what is older. */
void drc_age(struct drc *d, unsigned seconds);

/* Writes the finished requests, when there are no others, for the next process. 0 or -errno. */
int drc_save(struct drc *d, int fd);
/* Reads them; 0 or -errno (-EBADMSG: damaged), and what could be read is known. */
int drc_load(struct drc *d, int fd);
/* What drc_keep() was told, for a node that joins: *out is malloc'ed; 0 or -errno. */
int drc_replicate(struct drc *d, uint8_t **out, size_t *len);
/* Reads it. As drc_load(). */
int drc_restore(struct drc *d, const uint8_t *p, size_t len);

/*
 * The state in one piece: for the next process, so that a planned restart loses nothing and has no
 * grace period after it; and for another node. snapshot.c tells what is in it and snapshot_io.h how
 * it is written.
 */
#pragma once

#include <stdint.h>

#include "nfsd/state/state.h"

/*
 * Writes the state to `fd` when nobody works on it any more. `instance` is the number of
 * the process that writes. 0 or -errno. The caller makes the file durable.
 */
int state_save(struct state *s, int fd, uint64_t instance);
/*
 * Reads it into a state that is new and that nobody uses yet; its epoch becomes that of the one
 * that was written. `instance` is who must have written it. 0; -ESTALE, it was somebody else;
 * -EPROTONOSUPPORT, another version of the format; -EBADMSG, damaged; -ENOMEM; -errno of read().
 * After an error the state is good for state_free() only.
 */
int state_load(struct state *s, int fd, uint64_t instance);

/* Part of what nodes must agree on to understand each other's snapshots. */
#define SNAPSHOT_VERSION 11

/*
 * What the nodes have in common, for one that has no state yet: no command may be applied
 * meanwhile, reads may go on. *out is malloc'ed; 0 or -ENOMEM.
 */
int state_replicate(struct state *s, uint8_t **out, size_t *len);
/*
 * Reads it into a new state; epoch and limits become those of the node that wrote it. Errors as of
 * state_load().
 */
int state_restore(struct state *s, const uint8_t *p, size_t len);
/*
 * A hash of the same: equal on all nodes at one place in the order of commands. Costs as much as
 * a snapshot. 0 or -ENOMEM.
 */
int state_digest(struct state *s, uint64_t *digest);

/*
 * Handing the state to the next process: a planned restart loses nothing, so that there is no
 * grace period after it. snapshot.c tells what is in the file and snapshot_io.h how it is written.
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

/* Byte ranges that a lock-owner holds in a file, for those who keep them elsewhere as well. */
struct state_span {
	uint64_t first, last; /* inclusive; NFS4_UINT64_MAX: to the end */
	bool exclusive;
};

/*
 * What the lock-owner holds in the file, in order and without overlaps: *spans is malloc'ed. 0 or
 * -ENOMEM. Nothing is held if the client or the owner has gone.
 */
int state_lock_spans(struct state *s, uint64_t clientid, struct bytes owner, struct bytes file,
		     struct state_span **spans, size_t *n);
/* Whose locks a LOCK or LOCKU with this stateid (an open's: no owner yet) is about. */
struct state_locker {
	uint64_t clientid;
	uint32_t owner_len;
	uint8_t owner[NFS4_OPAQUE_LIMIT];
};
/* False: not a stateid of a lock. */
bool state_locker(struct state *s, const struct stateid *id, struct state_locker *out);

/*
 * Every lock-owner with locks, file by file, for a server that has just been restored. `fn` may
 * read the state. Not while commands are applied.
 */
void state_each_locker(struct state *s,
		       void (*fn)(void *arg, const struct state_locker *locker, struct bytes file,
				  const struct stateid *id),
		       void *arg);

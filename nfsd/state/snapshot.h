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

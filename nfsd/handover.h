/*
 * The state that a stop leaves for the next start, in STATE_DIR/snapshot, and behind it the cache of
 * duplicate requests.
 *
 *	stop:   requests are done; the snapshot is written, with the number of the instance
 *	start:  it is read if that is the instance that served last (epoch.h), which also means
 *	        that nobody has used it: who serves becomes the last. Then it is removed.
 *
 * A start that fails before it serves leaves the snapshot for the next. In every other case (there
 * is none after a crash, it is damaged, another version of Atoll wrote it) clients have to
 * reclaim what they hold in a grace period, which the stable storage knows about.
 */
#pragma once

#include <stdint.h>

#include "nfsd/drc.h"
#include "nfsd/state/state.h"

/*
 * Reads what instance `served` left into a new state. 0; -ENOENT, there is nothing for us; another
 * -errno, there was and it cannot be used (logged). Unless 0 `state` is good for state_free() only.
 */
int handover_read(struct state *state, struct drc *drc, const char *state_dir, uint64_t served);
/* Writes it for the next start; a failure is logged. */
void handover_write(struct state *state, struct drc *drc, const char *state_dir, uint64_t instance);
/* Nobody needs the snapshot any more. */
void handover_remove(const char *state_dir);

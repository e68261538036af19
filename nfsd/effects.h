/* What this node does because a command was applied. */
#pragma once

#include "nfsd/state/state.h"

/*
 * state_effects.emit, for a struct nfs_server as `arg`. No lock of the state machine is held, but
 * the command's result has not been delivered yet: nothing here waits or submits a command.
 */
void effects_emit(void *arg, const struct state_effect *effect);

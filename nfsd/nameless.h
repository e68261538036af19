/*
 * Files that are open and have no name any more, over a restart in place. Such a file lives as long
 * as a descriptor of it, and once it is gone its handle is stale; so the descriptors go to the new
 * program, which they keep the file for until no client has it open.
 *
 *	before	nameless_collect(), when requests are done; nameless_pass(), then execve(2)
 *	after	nameless_inherit(); nameless_tick() from time to time lets go what is not needed
 *
 * Opens find the file by its handle as ever: while a descriptor is there the kernel knows it. A stop
 * and a start, and restarts of a supervised process, lose these files.
 */
#pragma once

#include "nfsd/state/state.h"

/* Descriptors of the process before, from the environment. Once, at the start. */
void nameless_inherit(void);
/* Closes what no client has open. In a grace period clients may still come for theirs. */
void nameless_tick(struct state *s);

/* Takes descriptors of all such files that clients have open. */
void nameless_collect(struct state *s);
/* Leaves them to the program that this process becomes. 0 or -errno. */
int nameless_pass(void);

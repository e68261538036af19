/*
 * The latest generation of the state that this node knows of, in a file: after a restart it tells a
 * state that is merely old from the latest one (replica.h).
 */
#pragma once

#include "cluster/message.h"

/* Zeros if there is no file, or none that can be read (which is said). */
void generation_load(const char *state_dir, struct memory *m);
/* Replaces the file and waits for the disk. 0 or -errno. */
int generation_store(const char *state_dir, const struct memory *m);

/*
 * What the daemon may do as a process. Capabilities belong to threads: everything here is for
 * the first thread, before there are others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * True if the process has what serving a kernel's file system takes. Otherwise `missing`
 * receives the names of the capabilities that are not there.
 */
bool privileges_suffice(char *missing, size_t size);
/*
 * Gives up all capabilities but those that the daemon needs, for good: the bounding set too,
 * and no_new_privs is set. 0 or -errno.
 */
int privileges_drop(void);
/* Raises the limit of open files as far as it goes; the limit then in force. */
unsigned long privileges_raise_nofile(void);

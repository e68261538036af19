/*
 * Registration of the NFS program with rpcbind, so that clients which ask it find the port.
 * NFSv4 clients do not: they use port 2049 or the one they are told.
 *
 * libntirpc talks to rpcbind by threads and event channels of its own, and waits as long as it
 * likes. It does so in a child process, which is given some seconds. Both functions fork and so
 * are for a process with one thread: before the servers start and after they have stopped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * Registers program 100003 version 4 for tcp and tcp6 on `port`, in place of what was there. Says
 * in the log what came of it; a machine without rpcbind is no error. True if registered.
 */
bool rpcbind_register(uint16_t port);
/* Undoes it. */
void rpcbind_unregister(void);

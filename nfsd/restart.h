/*
 * A restart in place: the process stops as ever, leaves its state (handover.h), and becomes the
 * new program by execve(2). It keeps its process ID, so that whoever started it (systemd, a shell)
 * notices nothing, and its listening sockets: clients that connect meanwhile wait in their
 * queues. And the file that says which process serves a state directory, for those who ask it to.
 */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "rpc/rpc.h"

#define RESTART_SIGNAL SIGUSR2
/*
 * In the state directory: process ID, instance, and the process that outlasts a restart (itself, or a cluster
 * node's supervisor); locked (fcntl) by the process as long as it is.
 */
#define RESTART_PID_FILE "atolld.pid"

/*
 * Listening sockets of the process before, from the environment. Called once at the start.
 * What rpc_server_listen() is to do for `addr` (*len bytes), with the inherited socket if there is
 * one: same results.
 */
void restart_inherit(void);
int restart_listen(struct rpc_server *rpc, const struct sockaddr *addr, socklen_t len,
		   struct sockaddr_storage *bound);
/* Those that nobody asked for are closed. */
void restart_inherited(void);

/* Before the server stops: keeps its listening sockets for restart_exec(). */
void restart_keep(struct rpc_server *rpc);
/* Becomes `path` with the arguments of this process. Returns only if that fails: -errno. */
int restart_exec(const char *path, char **argv);
/* The program's own file, malloc'ed; the one that has taken its place if it was replaced. */
char *restart_program(void);

/*
 * Says in `state_dir` that this process serves it, and that `lasting` stays when it is restarted. 0 or -errno. The
 * end of the process ends it.
 */
int restart_say_pid(const char *state_dir, uint64_t instance, pid_t lasting);

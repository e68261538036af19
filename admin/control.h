/*
 * The control socket: how `atoll status` and the like ask a running daemon.
 *
 * STATE_DIR/control is a UNIX stream socket for root alone. A client sends one JSON object on
 * a line, {"command": NAME, ...}; the daemon answers with one JSON object and closes. Something
 * that went wrong is {"error": TEXT}. One client is served at a time, by a thread of its own.
 */
#pragma once

#include <jansson.h>

#define CONTROL_SOCKET	    "control"
#define CONTROL_REQUEST_MAX 4096

/*
 * A command of the daemon. Fills the object `reply`. 0, or -errno: the answer is then an error,
 * with the text that json_object_get(reply, "error") has or else that of the errno.
 */
struct control_command {
	const char *name;
	int (*run)(void *ctx, const json_t *request, json_t *reply);
};

struct control;

/*
 * Serves `commands` (they end with a NULL name, and stay the caller's) in `state_dir`. A socket left
 * there by a process that has ended is replaced. 0 or -errno.
 */
int control_start(const char *state_dir, const struct control_command *commands, void *ctx,
		  struct control **out);
/* No command runs afterwards; the socket is removed. NULL is allowed. */
void control_stop(struct control *c);

/*
 * The other side: asks the daemon of `state_dir`. 0 with *reply (the caller's reference); -ENOENT or
 * -ECONNREFUSED: no daemon runs there; -EBADMSG: what came is no answer; another -errno.
 */
int control_ask(const char *state_dir, const json_t *request, json_t **reply);

/* The daemon's side of the control socket. */
#include "admin/control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin/control_address.h"
#include "base/log.h"

#define CLIENT_SECONDS 10 /* how long a client may take to ask or to read */
#define BACKLOG	       16

struct control {
	/* Immutable. */
	const struct control_command *commands;
	void *ctx;
	int listener, stop; /* stop: an eventfd */
	struct control_address address;
	pthread_t thread;
};

/* ---- one client ---- */

/* Up to the newline: its length, or -1. */
static ssize_t read_request(int fd, char *buf, size_t cap)
{
	size_t len = 0;

	while (len < cap) {
		ssize_t n = read(fd, buf + len, cap - len);
		char *newline;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		newline = memchr(buf + len, '\n', (size_t)n);
		if (newline)
			return newline - buf;
		len += (size_t)n;
	}
	return -1;
}

static int fail(json_t *reply, const char *message)
{
	json_object_set_new(reply, "error", json_string(message));
	return -EINVAL;
}

static int run(struct control *c, const json_t *request, json_t *reply)
{
	const char *name = json_string_value(json_object_get(request, "command"));

	if (!name)
		return fail(reply, "expected an object with a \"command\"");
	for (const struct control_command *cmd = c->commands; cmd->name; cmd++) {
		if (strcmp(cmd->name, name) == 0)
			return cmd->run(c->ctx, request, reply);
	}
	return fail(reply, "this server does not know the command");
}

/* The answer as text, malloc'ed; NULL: out of memory. */
static char *answer(struct control *c, const char *text, size_t len)
{
	json_t *request = json_loadb(text, len, 0, NULL), *reply = json_object(), *error;
	char *out = NULL;
	int err;

	if (reply) {
		err = request ? run(c, request, reply) : fail(reply, "expected JSON");
		if (err) {
			/* Nothing but the error: what else is there may be incomplete. */
			error = json_incref(json_object_get(reply, "error"));
			json_object_clear(reply);
			json_object_set_new(reply, "error",
					    error ? error : json_string(strerror(-err)));
		}
		out = json_dumps(reply, JSON_COMPACT);
	}
	json_decref(request);
	json_decref(reply);
	return out;
}

static void write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* it has gone, or does not read */
		p += n;
		len -= (size_t)n;
	}
}

static void serve_client(struct control *c, int fd)
{
	const struct timeval patience = { .tv_sec = CLIENT_SECONDS };
	char request[CONTROL_REQUEST_MAX], *text;
	ssize_t len;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	len = read_request(fd, request, sizeof(request));
	if (len < 0)
		return;
	text = answer(c, request, (size_t)len);
	if (text)
		write_all(fd, text, strlen(text));
	free(text);
}

static void *serve(void *arg)
{
	struct control *c = arg;
	struct pollfd fds[] = { { c->listener, POLLIN, 0 }, { c->stop, POLLIN, 0 } };

	for (;;) {
		int fd;

		if (poll(fds, 2, -1) < 0)
			continue; /* EINTR: this thread takes no signals, but may be traced */
		if (fds[1].revents)
			return NULL;
		fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		serve_client(c, fd);
		close(fd);
	}
}

/* ---- life ---- */

static int listen_at(struct control *c)
{
	mode_t mask;
	int rc = 0;

	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->listener < 0)
		return -errno;
	unlink(c->address.un.sun_path);
	mask = umask(0177);
	if (bind(c->listener, (struct sockaddr *)&c->address.un, sizeof(c->address.un)) != 0 ||
	    listen(c->listener, BACKLOG) != 0)
		rc = -errno;
	umask(mask);
	return rc;
}

static int start_thread(struct control *c)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&c->thread, NULL, serve, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

static void release(struct control *c)
{
	if (c->listener >= 0)
		close(c->listener);
	if (c->stop >= 0)
		close(c->stop);
	control_address_close(&c->address);
	free(c);
}

int control_start(const char *state_dir, const struct control_command *commands, void *ctx,
		  struct control **out)
{
	struct control *c = malloc(sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	*c = (struct control){ .commands = commands, .ctx = ctx, .listener = -1 };
	c->stop = eventfd(0, EFD_CLOEXEC);
	rc = c->stop < 0 ? -errno : 0;
	if (!rc)
		rc = control_address_open(&c->address, state_dir);
	else
		c->address.dir = -1;
	if (!rc)
		rc = listen_at(c);
	if (!rc)
		rc = start_thread(c);
	if (rc)
		release(c);
	else
		*out = c;
	return rc;
}

void control_stop(struct control *c)
{
	const uint64_t one = 1;

	if (!c)
		return;
	if (write(c->stop, &one, sizeof(one)) != sizeof(one))
		log_error("cannot stop the control thread: %s", strerror(errno));
	pthread_join(c->thread, NULL);
	unlink(c->address.un.sun_path);
	release(c);
}

/* The tool's side of the control socket, and the address that both sides use. */
#include "admin/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/control_address.h"

int control_address_open(struct control_address *a, const char *state_dir)
{
	*a = (struct control_address){ .un = { .sun_family = AF_UNIX } };
	a->dir = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (a->dir < 0)
		return -errno;
	snprintf(a->un.sun_path, sizeof(a->un.sun_path), "/proc/self/fd/%d/" CONTROL_SOCKET,
		 a->dir);
	return 0;
}

void control_address_close(struct control_address *a)
{
	if (a->dir >= 0)
		close(a->dir);
	a->dir = -1;
}

static int connect_to(const char *state_dir)
{
	struct control_address a;
	int rc = control_address_open(&a, state_dir);
	int fd;

	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a.un, sizeof(a.un)) != 0) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		fd = rc;
	}
	control_address_close(&a);
	return fd;
}

static int send_request(int fd, const json_t *request)
{
	char *text = json_dumps(request, JSON_COMPACT), *line = NULL;
	int rc = -ENOMEM, len = text ? asprintf(&line, "%s\n", text) : -1;

	if (len > CONTROL_REQUEST_MAX)
		rc = -E2BIG;
	else if (len > 0)
		rc = send(fd, line, (size_t)len, MSG_NOSIGNAL) == len ? 0 : -errno;
	if (len >= 0)
		free(line);
	free(text);
	return rc;
}

int control_ask(const char *state_dir, const json_t *request, json_t **reply)
{
	int fd = connect_to(state_dir), rc;

	if (fd < 0)
		return fd;
	rc = send_request(fd, request);
	if (!rc) {
		*reply = json_loadfd(fd, 0, NULL);
		if (!json_is_object(*reply)) {
			json_decref(*reply);
			rc = -EBADMSG;
		}
	}
	close(fd);
	return rc;
}

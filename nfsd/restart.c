#include "nfsd/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/log.h"

#define ENVIRONMENT "ATOLL_LISTENERS" /* descriptors, in decimal, with commas */
#define MOST	    64

/* The main thread's. */
static int kept[MOST];
static unsigned nkept;

/* ---- after ---- */

static bool is_listening(int fd)
{
	int yes = 0;
	socklen_t len = sizeof(yes);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) == 0 && yes;
}

void restart_inherit(void)
{
	const char *text = getenv(ENVIRONMENT);
	char *end;

	while (text && *text && nkept < MOST) {
		long fd = strtol(text, &end, 10);

		if (end == text || fd < 3 || fd > INT32_MAX)
			break;
		if (is_listening((int)fd)) {
			fcntl((int)fd, F_SETFD, FD_CLOEXEC);
			kept[nkept++] = (int)fd;
		}
		text = *end == ',' ? end + 1 : end;
	}
	unsetenv(ENVIRONMENT);
}

static bool same_address(const struct sockaddr_storage *a, const struct sockaddr *want)
{
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)a, *w4;
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a, *w6;

	if (a->ss_family != want->sa_family)
		return false;
	if (want->sa_family == AF_INET) {
		w4 = (const struct sockaddr_in *)want;
		return a4->sin_addr.s_addr == w4->sin_addr.s_addr &&
		       (w4->sin_port == 0 || w4->sin_port == a4->sin_port);
	}
	w6 = (const struct sockaddr_in6 *)want;
	return memcmp(&a6->sin6_addr, &w6->sin6_addr, sizeof(a6->sin6_addr)) == 0 &&
	       a6->sin6_scope_id == w6->sin6_scope_id &&
	       (w6->sin6_port == 0 || w6->sin6_port == a6->sin6_port);
}

int restart_listen(struct rpc_server *rpc, const struct sockaddr *addr, socklen_t len,
		   struct sockaddr_storage *bound)
{
	for (unsigned i = 0; i < nkept; i++) {
		struct sockaddr_storage ss;
		socklen_t ss_len = sizeof(ss);
		int fd = kept[i], err;

		if (fd < 0 || getsockname(fd, (struct sockaddr *)&ss, &ss_len) != 0 ||
		    !same_address(&ss, addr))
			continue;
		err = rpc_server_adopt(rpc, fd, bound);
		if (err)
			return err;
		kept[i] = -1;
		return 0;
	}
	return rpc_server_listen(rpc, addr, len, bound);
}

void restart_inherited(void)
{
	for (unsigned i = 0; i < nkept; i++) {
		if (kept[i] >= 0)
			close(kept[i]);
	}
	nkept = 0;
}

/* ---- before ---- */

void restart_keep(struct rpc_server *rpc)
{
	nkept = rpc_server_keep_listeners(rpc, kept, MOST);
}

char *restart_program(void)
{
	static const char gone[] = " (deleted)";
	char *path = realpath("/proc/self/exe", NULL);
	ssize_t len;

	if (path)
		return path;
	/* Replaced by another version: the link names what was there. */
	path = calloc(1, 4096 + sizeof(gone));
	len = path ? readlink("/proc/self/exe", path, 4095) : -1;
	if (len < 0) {
		free(path);
		return NULL;
	}
	if ((size_t)len > sizeof(gone) && strcmp(path + len - (sizeof(gone) - 1), gone) == 0)
		path[(size_t)len - (sizeof(gone) - 1)] = '\0';
	return path;
}

int restart_exec(const char *path, char **argv)
{
	char text[MOST * 12] = "";
	size_t len = 0;

	for (unsigned i = 0; i < nkept; i++) {
		fcntl(kept[i], F_SETFD, 0);
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%d", i ? "," : "",
					kept[i]);
	}
	if (nkept && setenv(ENVIRONMENT, text, 1) != 0)
		return -ENOMEM;
	execv(path, argv);
	return -errno;
}

/* ---- which process ---- */

int restart_say_pid(const char *state_dir, uint64_t instance, pid_t lasting)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char *path, text[64];
	int fd, len, err = 0;

	if (asprintf(&path, "%s/" RESTART_PID_FILE, state_dir) < 0)
		return -ENOMEM;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	free(path);
	if (fd < 0)
		return -errno;
	len = snprintf(text, sizeof(text), "%ld %" PRIu64 " %ld\n", (long)getpid(), instance,
		       (long)lasting);
	if (fcntl(fd, F_SETLK, &lock) != 0 || ftruncate(fd, 0) != 0 ||
	    pwrite(fd, text, (size_t)len, 0) != len)
		err = errno ? -errno : -EIO;
	if (err)
		close(fd);
	return err; /* else the descriptor stays open, for the lock */
}

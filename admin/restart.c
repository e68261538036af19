/*
 * `atoll restart`: asks the daemon of a state directory to restart in place, and waits until the
 * new one serves.
 *
 * The daemon holds a lock on STATE_DIR/atolld.pid, so it is found for certain: a process that
 * happens to have its number by now has no lock. It stops, leaves its state, and becomes the new
 * program with the same process ID, arguments and listening sockets; the instance's number in the
 * file tells that this has happened. At a node of a cluster it is the supervisor who stays and becomes
 * the new program; the server is a new process, which serves when it has joined the others.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/control.h"
#include "base/clock.h"

#define PID_FILE       "atolld.pid"
#define WAIT_SECONDS   60
#define LOOK_NS	       (10 * 1000 * 1000)

static const char usage_text[] =
    "usage: atoll restart [DIR] [--state DIR] [--config FILE]\n"
    "\n"
    "Restarts the server, which keeps everything that clients hold: they notice a new connection\n"
    "and nothing else. An update that has been installed takes effect.\n"
    "\n"
    "  DIR            the directory that `atoll serve DIR' serves; default: the system's atolld\n"
    "  --state DIR    the server's state directory\n"
    "  --config FILE  the server's configuration; default " ADMIN_DEFAULT_CONFIG "\n";

/* ---- the process ---- */

struct daemon {
	pid_t pid; /* 0: nobody has the lock */
	uint64_t instance;
	pid_t lasting; /* as long as it is there, there will be a server; 0: not known */
};

/* 0 or -errno. */
static int find_daemon(const char *pid_file, struct daemon *out)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char text[64] = "";
	long pid, lasting;
	int fd = open(pid_file, O_RDONLY | O_CLOEXEC), err = 0, found;

	*out = (struct daemon){ 0 };
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fcntl(fd, F_GETLK, &lock) != 0) {
		err = -errno;
	} else if (lock.l_type != F_UNLCK && pread(fd, text, sizeof(text) - 1, 0) > 0) {
		found = sscanf(text, "%ld %" SCNu64 " %ld", &pid, &out->instance, &lasting);
		if (found >= 2)
			out->pid = lock.l_pid;
		/* Older versions write two. */
		out->lasting = found == 3 ? (pid_t)lasting : 0;
	}
	close(fd);
	return err;
}

/* Does a node of a cluster serve? As it says itself. */
static bool node_serves(const char *state_dir)
{
	json_t *question = json_pack("{s:s}", "command", "nodes"), *reply = NULL, *node;
	bool serves = false;
	size_t i;

	if (question && control_ask(state_dir, question, &reply) == 0) {
		json_array_foreach(json_object_get(reply, "nodes"), i, node) {
			const char *phase = json_string_value(json_object_get(node, "phase"));

			serves |= json_is_true(json_object_get(node, "self")) && phase &&
				  strcmp(phase, "serving") == 0;
		}
		json_decref(reply);
	}
	json_decref(question);
	return serves;
}

/* Another one than before, which serves. */
static bool is_back(const char *state_dir, const char *pid_file, const struct daemon *before)
{
	struct daemon now;

	return find_daemon(pid_file, &now) == 0 && now.pid && now.instance != before->instance &&
	       (!now.lasting || now.lasting == now.pid || node_serves(state_dir));
}

static int await_instance(const char *state_dir, const char *pid_file, const struct daemon *before)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };
	uint64_t start = clock_mono_ns();

	while (clock_mono_ns() - start < WAIT_SECONDS * NS_PER_SEC) {
		nanosleep(&look, NULL);
		if (is_back(state_dir, pid_file, before)) {
			printf("restarted in %u ms\n",
			       (unsigned)((clock_mono_ns() - start) / NS_PER_MS));
			return EXIT_OK;
		}
		if (before->lasting && kill(before->lasting, 0) != 0 && errno == ESRCH) {
			fprintf(stderr, "atoll: the server has ended and does not run any more; "
					"its log says why\n");
			return EXIT_PROBLEM;
		}
	}
	fprintf(stderr, "atoll: the server has not come back within %d s; its log says why\n",
		WAIT_SECONDS);
	return EXIT_PROBLEM;
}

static int restart(const char *state_dir)
{
	struct daemon d;
	char *pid_file;
	int rc;

	if (asprintf(&pid_file, "%s/" PID_FILE, state_dir) < 0)
		return EXIT_PROBLEM;
	rc = find_daemon(pid_file, &d);
	if (rc) {
		fprintf(stderr, "atoll: %s: %s\n", pid_file, strerror(-rc));
		rc = EXIT_PROBLEM;
	} else if (!d.pid) {
		fprintf(stderr, "atoll: no server runs on the state directory %s\n", state_dir);
		rc = EXIT_PROBLEM;
	} else if (kill(d.pid, SIGUSR2) != 0) {
		fprintf(stderr, "atoll: cannot signal process %ld: %s\n", (long)d.pid,
			strerror(errno));
		rc = EXIT_PROBLEM;
	} else {
		rc = await_instance(state_dir, pid_file, &d);
	}
	free(pid_file);
	return rc;
}

static int usage_error(const char *what)
{
	fprintf(stderr, "atoll: %s\n\n%s", what, usage_text);
	return EXIT_USAGE;
}

int admin_restart(int argc, char **argv)
{
	static const struct option options[] = {
		{ "state", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	const char *state = NULL, *config = NULL, *dir;
	char *path;
	int opt, rc;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "hc:", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage_text, stdout);
			return EXIT_OK;
		}
		if (opt == 's')
			state = optarg;
		else if (opt == 'c')
			config = optarg;
		else
			return usage_error("found an option that does not exist, or no value");
	}
	dir = optind < argc ? argv[optind++] : NULL;
	if (optind < argc || (dir != NULL) + (state != NULL) + (config != NULL) > 1)
		return usage_error("expected one of DIR, --state and --config");
	path = admin_state_dir(dir, state, config);
	if (!path)
		return EXIT_PROBLEM;
	rc = restart(path);
	free(path);
	return rc;
}

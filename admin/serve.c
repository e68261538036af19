/*
 * `atoll serve`: becomes `atolld --serve` with the same words. The daemon knows the options;
 * here is only their description, and where the daemon is to be found.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/compiler.h"

static const char usage_text[] =
    "usage: atoll serve DIR [OPTIONS]\n"
    "\n"
    "Serves DIR as / to NFSv4 clients, in the foreground, until SIGINT or SIGTERM. Prints the\n"
    "command to mount it, and `ready' when clients can.\n"
    "\n"
    "  --listen ADDR[:PORT]  listen there; may be repeated. Default: 127.0.0.1 and ::1 only,\n"
    "                        or every address if there is an --allow\n"
    "  --port N              default 2049; 0: any free port\n"
    "  --allow CLIENT        only these clients: host, network (10.0.0.0/8), wildcard or\n"
    "                        @netgroup as in exports(5); may be repeated\n"
    "  --ro                  read-only\n"
    "  --async               answer before changes are on stable storage: see exports(5)\n"
    "  --no-root-squash      let root of the clients be root here\n"
    "  --insecure            also take requests from client ports above 1023, that is, from\n"
    "                        programs that are not root on the client's machine\n"
    "  --lease SECONDS       lease time, 1 to 3600; default 90\n"
    "  --grace SECONDS       how long after a crash clients may reclaim what they held, at most,\n"
    "                        1 to 3600; default the lease time\n"
    "  --cache-time SECONDS  how long files that no client asks for stay open, 10 to 86400;\n"
    "                        default 10\n"
    "  --state DIR           where the key for filehandles is kept; default a directory of\n"
    "                        DIR's own below /var/lib/atoll\n"
    "  --backend NAME        vfs (default), memory or computed\n"
    "  --no-delegations      never let a client keep a file to itself\n"
    "  --rpcbind             register with rpcbind\n"
    "  --log-level LEVEL     error, warning, info or debug\n";

/* Where atolld may be, seen from the directory of atoll itself. */
static const char *const places[] = { "atolld", "../sbin/atolld", "../libexec/atoll/atolld" };

/* The path of the daemon, malloc'ed; NULL if there is none. */
static char *find_daemon(void)
{
	char self[PATH_MAX], *slash, *path;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return NULL;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (!slash)
		return NULL;
	slash[1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		if (asprintf(&path, "%s%s", self, places[i]) < 0)
			return NULL;
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	return NULL;
}

int admin_serve(int argc, char **argv)
{
	char **words, *daemon;

	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(usage_text, stdout);
			return EXIT_OK;
		}
	}
	daemon = find_daemon();
	words = calloc((size_t)argc + 2, sizeof(*words));
	if (!words || !daemon) {
		fprintf(stderr, "atoll: cannot find atolld beside atoll, in ../sbin or in "
				"../libexec/atoll; install it there\n");
		free(words);
		free(daemon);
		return EXIT_PROBLEM;
	}
	words[0] = (char *)"atolld";
	words[1] = (char *)"--serve";
	memcpy(words + 2, argv + 1, (size_t)(argc - 1) * sizeof(*words));
	execv(daemon, words);
	fprintf(stderr, "atoll: cannot run %s: %s\n", daemon, strerror(errno));
	free(words);
	free(daemon);
	return EXIT_PROBLEM;
}

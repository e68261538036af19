/*
 * `atoll ping HOST[:PORT]`: calls the NULL procedure of NFS version 4 over TCP with libtirpc, an
 * RPC implementation that is not Atoll's. rpcbind is not asked: NFSv4 has a port of its own.
 *
 * The connection is made here, for the time limit and for a clear message; libtirpc is handed
 * the connected socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* libtirpc's, not ours: meson.build keeps the top directory out of the <> path for this file. */
#include <rpc/rpc.h>

#include "admin/admin.h"
#include "base/clock.h"

#define NFS_PROGRAM 100003
#define NFS_VERSION 4

static const char usage_text[] =
    "usage: atoll ping [-t SECONDS] HOST[:PORT]\n"
    "\n"
    "Asks the NFSv4 server at HOST (default port 2049) whether it is there and says how long the\n"
    "answer took. IPv6 addresses with a port go in brackets: [::1]:2049. Exits with 0 if it\n"
    "answered, 1 if not.\n"
    "\n"
    "  -t, --timeout SECONDS  wait that long at most; default 5\n";

struct target {
	char host[NI_MAXHOST];
	char port[8];
	bool brackets;
	uint64_t deadline_ns;
	uint64_t timeout_ns;
};

/* HOST, HOST:PORT, [IPV6], [IPV6]:PORT or IPV6. */
static bool parse_target(const char *text, struct target *t)
{
	const char *end, *port = NULL;
	char *rest;
	unsigned long n;

	t->brackets = text[0] == '[';
	if (t->brackets) {
		end = strchr(++text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return false;
		port = end[1] ? end + 2 : NULL;
	} else {
		end = strchr(text, ':');
		if (end && !strchr(end + 1, ':'))
			port = end + 1;
		else
			end = text + strlen(text);
	}
	if (end == text || (size_t)(end - text) >= sizeof(t->host))
		return false;
	memcpy(t->host, text, (size_t)(end - text));
	t->host[end - text] = '\0';
	t->brackets = strchr(t->host, ':') != NULL;
	if (!port)
		port = "2049";
	n = strtoul(port, &rest, 10);
	if (*port < '0' || *port > '9' || *rest || n == 0 || n > 65535)
		return false;
	snprintf(t->port, sizeof(t->port), "%lu", n);
	return true;
}

static int problem(const struct target *t, const char *what)
{
	fprintf(stderr, "atoll: %s%s%s:%s: %s\n", t->brackets ? "[" : "", t->host,
		t->brackets ? "]" : "", t->port, what);
	return EXIT_PROBLEM;
}

static int ms_left(const struct target *t)
{
	uint64_t now = clock_mono_ns();

	return now >= t->deadline_ns ? 0
				     : (int)((t->deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* A connected, blocking socket; -1 with errno. */
static int connect_to(const struct addrinfo *ai, const struct target *t)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int err = 0;
	socklen_t len = sizeof(err);

	if (fd < 0)
		return -1;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) != 0) {
		if (errno != EINPROGRESS)
			err = errno;
		else if (poll(&p, 1, ms_left(t)) != 1)
			err = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
			err = errno;
	}
	if (!err && fcntl(fd, F_SETFL, 0) != 0)
		err = errno;
	if (!err)
		return fd;
	close(fd);
	errno = err;
	return -1;
}

/* No arguments and no results: libtirpc's xdr_void has another type than it asks for. */
static bool_t xdr_nothing(XDR *xdrs, ...)
{
	return TRUE;
}

/* The call itself, over the connection. NULL, or why it failed. */
static const char *call_null(int fd, const struct addrinfo *ai, const struct target *t)
{
	struct sockaddr_storage addr;
	struct netbuf address = { .maxlen = sizeof(addr), .len = ai->ai_addrlen, .buf = &addr };
	int ms = ms_left(t);
	struct timeval limit = { ms / 1000, ms % 1000 * 1000 };
	CLIENT *client;
	enum clnt_stat stat;

	memcpy(&addr, ai->ai_addr, ai->ai_addrlen);
	client = clnt_vc_create(fd, &address, NFS_PROGRAM, NFS_VERSION, 0, 0);
	if (!client)
		return clnt_spcreateerror("cannot make an RPC client");
	clnt_control(client, CLSET_TIMEOUT, (char *)&limit);
	stat = clnt_call(client, NULLPROC, xdr_nothing, NULL, xdr_nothing, NULL, limit);
	clnt_destroy(client);
	return stat == RPC_SUCCESS ? NULL : clnt_sperrno(stat);
}

static int ping(struct target *t)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	int gai = getaddrinfo(t->host, t->port, &hints, &list);
	const char *why = "no address";
	int fd = -1;

	if (gai != 0)
		return problem(t, gai_strerror(gai));
	t->deadline_ns = clock_mono_ns() + t->timeout_ns;
	for (struct addrinfo *ai = list; ai; ai = ai->ai_next) {
		uint64_t start = clock_mono_ns();

		fd = connect_to(ai, t);
		if (fd < 0) {
			why = strerror(errno);
			continue;
		}
		why = call_null(fd, ai, t);
		close(fd);
		if (!why)
			printf("%s%s%s:%s: NFS version 4 answered in %.3f ms\n",
			       t->brackets ? "[" : "", t->host, t->brackets ? "]" : "", t->port,
			       (double)(clock_mono_ns() - start) / NS_PER_MS);
		break;
	}
	freeaddrinfo(list);
	return why ? problem(t, why) : EXIT_OK;
}

static bool parse_timeout(const char *text, uint64_t *ns)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0 && seconds <= 3600))
		return false;
	*ns = (uint64_t)(seconds * NS_PER_SEC);
	return true;
}

int admin_ping(int argc, char **argv)
{
	static const struct option options[] = {
		{ "timeout", required_argument, NULL, 't' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct target t = { .timeout_ns = 5 * NS_PER_SEC };
	int opt;

	while ((opt = getopt_long(argc, argv, "t:h", options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(usage_text, stdout);
			return EXIT_OK;
		}
		if (opt != 't')
			return EXIT_USAGE;
		if (!parse_timeout(optarg, &t.timeout_ns)) {
			fprintf(stderr,
				"atoll: --timeout: found `%s'; expected seconds, more than "
				"0 and at most 3600\n",
				optarg);
			return EXIT_USAGE;
		}
	}
	if (argc - optind != 1 || !parse_target(argv[optind], &t)) {
		if (argc - optind == 1)
			fprintf(stderr, "atoll: found `%s'; expected HOST or HOST:PORT\n\n",
				argv[optind]);
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	return ping(&t);
}

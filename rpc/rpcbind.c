/*
 * libntirpc's rpcbind client needs its event channel and two threads, which ntirpc_start() makes
 * on first use; they stay until the process ends. Whether rpcbind runs is found out without it,
 * by connecting to rpcbind's socket, so that a machine without rpcbind never gets those threads.
 *
 * libntirpc has an rpc/xdr.h as well: this file is compiled with its folder before ours.
 */
#include "rpc/rpcbind.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#pragma GCC diagnostic ignored "-Wshadow"
#include <rpc/rpc.h>
#include <rpc/rpcb_clnt.h>
#pragma GCC diagnostic pop

#include <errno.h>
#include <netconfig.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RPCBIND_SOCKET "/run/rpcbind.sock"
#define SLOW_NS	       2000000000ll /* an answer later than that is none */

/* What libntirpc asks for when a message (rpcbind's reply) arrives on one of its transports. */
static struct svc_req *request_new(SVCXPRT *xprt, XDR *xdrs)
{
	struct svc_req *req = calloc(1, sizeof(*req));

	if (!req)
		abort(); /* libntirpc does the same: its callers know no failure */
	SVC_REF(xprt, SVC_REF_FLAG_NONE);
	req->rq_xprt = xprt;
	req->rq_xdrs = xdrs;
	req->rq_refcnt = 1;
	return req;
}

static void request_free(struct svc_req *req, enum xprt_stat stat)
{
	SVCXPRT *xprt = req->rq_xprt;

	free(req);
	SVC_RELEASE(xprt, SVC_RELEASE_FLAG_NONE);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool started;

/* Its threads are to take no signals. */
static void start(void)
{
	struct svc_init_params p = {
		.alloc_cb = request_new,
		.free_cb = request_free,
		.flags = SVC_INIT_EPOLL | SVC_INIT_NOREG_XPRTS,
		.max_connections = 1024,
		.max_events = 64,
		.ioq_thrd_min = 2,
		.ioq_thrd_max = 16,
		.channels = 1,
		.idle_timeout = 300,
	};
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	started = svc_init(&p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static bool ntirpc_start(void)
{
	pthread_once(&once, start);
	return started;
}

static bool rpcbind_runs(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = RPCBIND_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool runs = fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0;

	if (fd >= 0)
		close(fd);
	return runs;
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* Unsets, and with `set` sets, all versions on one netid. */
static int change(const struct rpcbind_service *s, const char *netid, const struct netbuf *addr)
{
	struct netconfig *nconf = getnetconfigent(netid);
	int err = 0;

	if (!nconf)
		return -EAFNOSUPPORT;
	for (uint32_t v = s->min_version; v <= s->max_version && !err; v++) {
		int64_t before = now_ns();

		/* False also when nothing was registered. */
		rpcb_unset(s->program, v, nconf);
		if (now_ns() - before > SLOW_NS)
			err = -ETIMEDOUT;
		else if (addr && !rpcb_set(s->program, v, nconf, addr))
			err = now_ns() - before > SLOW_NS ? -ETIMEDOUT : -EACCES;
	}
	freenetconfigent(nconf);
	return err;
}

static int change_all(const struct rpcbind_service *s, bool set)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(s->port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(s->port) };
	struct netbuf addr = { .maxlen = sizeof(in), .len = sizeof(in), .buf = &in };
	struct netbuf addr6 = { .maxlen = sizeof(in6), .len = sizeof(in6), .buf = &in6 };
	int err = 0;

	if (!rpcbind_runs())
		return -ECONNREFUSED;
	if (!ntirpc_start())
		return -ENOMEM;
	if (s->ipv4)
		err = change(s, "tcp", set ? &addr : NULL);
	if (s->ipv6 && !err)
		err = change(s, "tcp6", set ? &addr6 : NULL);
	return err;
}

int rpcbind_register(const struct rpcbind_service *s)
{
	return change_all(s, true);
}

int rpcbind_unregister(const struct rpcbind_service *s)
{
	return change_all(s, false);
}

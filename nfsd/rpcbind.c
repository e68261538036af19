#include "nfsd/rpcbind.h"

#include "base/log.h"

#ifdef HAVE_NTIRPC

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <netconfig.h>
#include <rpc/rpc.h>
#include <rpc/rpcb_clnt.h>
#include <rpc/svc.h>

#define NFS_PROGRAM 100003
#define NFS_VERSION 4
#define WAIT_MS	    5000

/* libntirpc asks for a request structure for every reply it reads, too. */
static struct svc_req *alloc_request(SVCXPRT *xprt, XDR *xdrs)
{
	struct svc_req *req = calloc(1, sizeof(*req));

	if (!req)
		abort();
	SVC_REF(xprt, SVC_REF_FLAG_NONE);
	req->rq_xprt = xprt;
	req->rq_xdrs = xdrs;
	req->rq_refcnt = 1;
	return req;
}

static void free_request(struct svc_req *req, enum xprt_stat stat)
{
	SVC_RELEASE(req->rq_xprt, SVC_RELEASE_FLAG_NONE);
	free(req);
}

static bool init_library(void)
{
	svc_init_params params = {
		.alloc_cb = alloc_request,
		.free_cb = free_request,
		.flags = SVC_INIT_EPOLL | SVC_INIT_NOREG_XPRTS,
		.max_connections = 16,
		.max_events = 16,
		.ioq_send_max = 1 << 16,
		.ioq_thrd_min = 2,
		.ioq_thrd_max = 4,
	};

	return svc_init(&params);
}

/* Port 0 only removes. */
static bool set_one(const char *netid, uint16_t port)
{
	struct netconfig *nc = getnetconfigent(netid);
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	bool v6 = strcmp(netid, "tcp6") == 0;
	struct netbuf address = {
		.buf = v6 ? (void *)&in6 : (void *)&in,
		.len = v6 ? sizeof(in6) : sizeof(in),
		.maxlen = v6 ? sizeof(in6) : sizeof(in),
	};
	bool ok;

	if (!nc)
		return false;
	ok = rpcb_unset(NFS_PROGRAM, NFS_VERSION, nc);
	if (port)
		ok = rpcb_set(NFS_PROGRAM, NFS_VERSION, nc, &address);
	freenetconfigent(nc);
	return ok;
}

static NORETURN void child(uint16_t port)
{
	bool tcp, tcp6;

	if (!init_library())
		_exit(1);
	tcp = set_one("tcp", port);
	tcp6 = set_one("tcp6", port);
	_exit(tcp || tcp6 ? 0 : 1);
}

static bool run_child(uint16_t port)
{
	pid_t pid = fork();
	struct pollfd p;
	int status = 0;

	if (pid == 0)
		child(port);
	if (pid < 0)
		return false;
	p = (struct pollfd){ .fd = pidfd_open(pid, 0), .events = POLLIN };
	if (p.fd < 0 || poll(&p, 1, WAIT_MS) != 1)
		kill(pid, SIGKILL);
	if (p.fd >= 0)
		close(p.fd);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool rpcbind_register(uint16_t port)
{
	bool ok = run_child(port);

	if (ok)
		log_info("registered port %u with rpcbind", port);
	else
		log_info(
		    "not registered with rpcbind, which does not run or does not answer; NFSv4 "
		    "clients do not need it");
	return ok;
}

void rpcbind_unregister(void)
{
	if (!run_child(0))
		log_info("rpcbind did not take the registration back");
}

#else

bool rpcbind_register(uint16_t port)
{
	log_info("not registered with rpcbind: built without libntirpc; NFSv4 clients do not need "
		 "it");
	return false;
}

void rpcbind_unregister(void)
{
}

#endif

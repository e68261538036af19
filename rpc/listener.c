/*
 * Listening sockets: all on loop 0, which hands each new connection to the loop with the fewest.
 * When descriptors or memory run out, accepting pauses for a moment (the connection stays in the
 * kernel's queue) instead of being told about it again and again.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define ACCEPT_MOST  64 /* per event, so that connections get their turn */
#define ACCEPT_PAUSE (100 * NS_PER_MS)
#define BACKLOG	     1024
#define LOG_EVERY    (10 * NS_PER_SEC)

static void set_int(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) != 0)
		log_debug("socket option %d/%d: %s", level, name, strerror(errno));
}

/* A peer that has vanished is noticed after two minutes at most. */
void socket_set_options(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
	set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 120 * 1000);
}

struct loop *loop_least_loaded(struct rpc_server *s)
{
	struct loop *best = s->loops[0];

	for (unsigned i = 1; i < s->nloops; i++) {
		if (atomic_load(&s->loops[i]->nconns) < atomic_load(&best->nconns))
			best = s->loops[i];
	}
	return best;
}

static void admit(struct rpc_server *s, int fd, const struct sockaddr_storage *peer)
{
	struct rpc_conn *c = NULL;
	struct loop *l = loop_least_loaded(s);

	if (atomic_load(&s->nconns) < s->limits.max_connections)
		c = conn_new(l, fd, peer, atomic_fetch_add(&s->next_id, 1) + 1);
	if (!c) {
		atomic_fetch_add(&s->dropped_connections, 1);
		close(fd);
		return;
	}
	socket_set_options(fd);
	atomic_fetch_add(&s->nconns, 1);
	atomic_fetch_add(&l->nconns, 1);
	loop_kick_conn(c);
}

static void watch(struct listener *li, bool on)
{
	struct epoll_event ev = { .events = on ? EPOLLIN : 0u, .data.ptr = &li->source };

	if (epoll_ctl(li->server->loops[0]->epfd, EPOLL_CTL_MOD, li->fd, &ev) == 0)
		li->paused = !on;
}

static void pause_accepting(struct listener *li, int err)
{
	struct rpc_server *s = li->server;
	uint64_t now = clock_coarse_ns();

	watch(li, false);
	s->accept_paused_until = now + ACCEPT_PAUSE;
	if (now >= s->accept_log_after) {
		s->accept_log_after = now + LOG_EVERY;
		log_warn("cannot accept connections: %s; new clients wait", strerror(err));
	}
}

void listener_event(struct worker *w, struct listener *li)
{
	for (int i = 0; i < ACCEPT_MOST && li->fd >= 0; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t len = sizeof(peer);
		int fd =
		    accept4(li->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			admit(li->server, fd, &peer);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			pause_accepting(li, errno);
		/* A connection that failed before it was accepted is none of our errors. */
		if (errno != ECONNABORTED && errno != EINTR && errno != EPROTO)
			return;
	}
}

uint64_t listeners_tick(struct rpc_server *s, uint64_t now)
{
	if (likely(!s->accept_paused_until))
		return 0;
	if (now < s->accept_paused_until)
		return s->accept_paused_until;
	s->accept_paused_until = 0;
	for (unsigned i = 0; i < s->nlisteners; i++) {
		if (s->listeners[i].paused)
			watch(&s->listeners[i], true);
	}
	return 0;
}

void listeners_close(struct rpc_server *s)
{
	s->accept_paused_until = 0;
	for (unsigned i = 0; i < s->nlisteners; i++) {
		if (s->listeners[i].fd >= 0)
			close(s->listeners[i].fd);
		s->listeners[i].fd = -1;
	}
}

static int open_listener(const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (addr->sa_family == AF_INET6)
		set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (bind(fd, addr, len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int rpc_server_adopt(struct rpc_server *s, int fd, struct sockaddr_storage *bound)
{
	struct listener *li = &s->listeners[s->nlisteners];
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &li->source };
	socklen_t len = sizeof(*bound);

	if (s->started)
		return -EBUSY;
	if (s->nlisteners == MAX_LISTENERS)
		return -ENOSPC;
	if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
		return -errno;
	if (bound && getsockname(fd, (struct sockaddr *)bound, &len) != 0)
		return -errno;
	*li = (struct listener){ .source.kind = SOURCE_LISTENER, .server = s, .fd = fd };
	if (epoll_ctl(s->loops[0]->epfd, EPOLL_CTL_ADD, fd, &ev) != 0)
		return -errno;
	s->nlisteners++;
	return 0;
}

int rpc_server_listen(struct rpc_server *s, const struct sockaddr *addr, socklen_t len,
		      struct sockaddr_storage *bound)
{
	int fd, err;

	if (s->started)
		return -EBUSY;
	fd = open_listener(addr, len);
	if (fd < 0)
		return fd;
	err = rpc_server_adopt(s, fd, bound);
	if (err)
		close(fd);
	return err;
}

unsigned rpc_server_keep_listeners(struct rpc_server *s, int *fds, unsigned cap)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nlisteners && n < cap; i++) {
		int fd = s->listeners[i].fd;

		fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
		if (fd >= 0)
			fds[n++] = fd;
	}
	return n;
}

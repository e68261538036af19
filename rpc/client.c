/*
 * Connections that the server makes itself, to call a peer that listens (NFSv4.0 callbacks).
 *
 * Such a connection lives on a loop like any other: it is sent to with rpc_conn_send(), its
 * replies come to the handler of rpc_server_on_reply(), its end is told to conn_closed(). It only
 * begins otherwise: `blocked`, as if the socket were full, until the connection stands or has
 * failed. So nobody waits for a peer, and no thread is needed for it. Calls that arrive on it are
 * not answered: whoever names us an address must not become a client from there.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"

static int start_connecting(const struct sockaddr *addr, socklen_t len)
{
	int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	socket_set_options(fd);
	if (connect(fd, addr, len) == 0 || errno == EINPROGRESS)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

/* The loops have ended before they could see the connection. */
static bool came_too_late(struct rpc_conn *c)
{
	struct loop *l = c->loop;
	bool late;

	mutex_lock(&l->inbox_lock);
	late = l->inbox_closed && !c->in_inbox;
	mutex_unlock(&l->inbox_lock);
	return late;
}

int rpc_server_connect(struct rpc_server *s, const struct sockaddr *addr, socklen_t len,
		       struct rpc_conn **out)
{
	struct sockaddr_storage peer = { 0 };
	struct rpc_conn *c;
	struct loop *l;
	int fd;

	if (len > sizeof(peer))
		return -EINVAL;
	if (!s->started || atomic_load(&s->draining))
		return -ESHUTDOWN;
	if (atomic_load(&s->nconns) >= s->limits.max_connections)
		return -EMFILE;
	fd = start_connecting(addr, len);
	if (fd < 0)
		return fd;
	memcpy(&peer, addr, len);
	l = loop_least_loaded(s);
	c = conn_new(l, fd, &peer, atomic_fetch_add(&s->next_id, 1) + 1);
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->outgoing = true;
	c->blocked = true;
	c->blocked_ns = clock_coarse_ns();
	atomic_fetch_add(&s->nconns, 1);
	atomic_fetch_add(&l->nconns, 1);
	*out = rpc_conn_ref(c);
	loop_kick_conn(c);
	if (!came_too_late(c))
		return 0;
	atomic_store(&c->open, false);
	atomic_fetch_sub(&s->nconns, 1);
	atomic_fetch_sub(&l->nconns, 1);
	rpc_conn_unref(c);
	rpc_conn_unref(c);
	return -ESHUTDOWN;
}

void rpc_conn_abort(struct rpc_conn *c)
{
	mutex_lock(&c->lock);
	c->broken = true;
	mutex_unlock(&c->lock);
	loop_kick_conn(c);
}

/*
 * Records to the socket. Runs in the thread that has set conn->sending, which alone may touch
 * sendq and keeps the descriptor open.
 *
 * A record is its encoder's memory with file extents in between. Memory of consecutive records
 * goes out in one sendmsg() up to the next extent, with MSG_MORE if an extent follows; extents go
 * by sendfile(). A file that has become shorter is filled up with zeros: the lengths before them
 * have been sent. What an interrupted send has reached is kept in the record (struct out), so any
 * thread can go on. A file that cannot be read breaks the connection, since the reply has already
 * promised the bytes; whoever gave the extent is told, so that it does not do so again.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"

#define IOVS  64
#define CHUNK 16384

static const uint8_t zeros[CHUNK];

/* Where the memory bytes that can be sent now end. */
static size_t memory_end(const struct out *o)
{
	return o->x->extents ? o->x->extents->at : o->x->len;
}

/* Memory of the first records up to an extent; *more if something follows at once. */
static int gather(const struct rpc_conn *c, struct iovec *iov, bool *more)
{
	const struct out *o;
	int n = 0;

	*more = false;
	list_for_each (o, &c->sendq, link) {
		size_t end = memory_end(o);

		if (n == IOVS) {
			*more = true;
			break;
		}
		if (end > o->sent) {
			iov[n].iov_base = o->x->buf + o->sent;
			iov[n].iov_len = end - o->sent;
			n++;
		}
		if (o->x->extents) {
			*more = true;
			break;
		}
	}
	return n;
}

/* Moves records that are sent completely to `finished`. */
static void consume(struct rpc_conn *c, size_t n, struct list *finished)
{
	while (!list_empty(&c->sendq)) {
		struct out *o = list_first(&c->sendq, struct out, link);
		size_t step = memory_end(o) - o->sent;

		if (step > n)
			step = n;
		o->sent += step;
		n -= step;
		if (o->x->extents || o->sent < o->x->len)
			return;
		list_remove(&o->link);
		list_push_back(finished, &o->link);
	}
}

static void progress(struct worker *w, struct rpc_conn *c, size_t n)
{
	count(&w->n.bytes_out, n);
	atomic_store_explicit(&c->progress_ns, clock_coarse_ns(), memory_order_relaxed);
}

static int send_memory(struct worker *w, struct rpc_conn *c, struct iovec *iov, int iovs, bool more)
{
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)iovs };
	ssize_t n;

	do
		n = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	progress(w, c, (size_t)n);
	return (int)n;
}

/* False if reading the extent's rest is known to wait for the disk. */
static bool resident(const struct xdr_extent *e, size_t done)
{
	uint8_t byte;
	struct iovec iov = { &byte, 1 };
	off_t first = e->offset + (off_t)done, last = e->offset + (off_t)e->len - 1;

	if (preadv2(e->fd, &iov, 1, last, RWF_NOWAIT) < 0 && errno == EAGAIN)
		return false;
	return last - first < 4096 || preadv2(e->fd, &iov, 1, first, RWF_NOWAIT) >= 0 ||
	       errno != EAGAIN;
}

/* For files that sendfile() does not take: by way of memory. */
static ssize_t send_copied(struct rpc_conn *c, const struct xdr_extent *e, size_t done)
{
	uint8_t buf[CHUNK];
	size_t left = e->len - done;
	ssize_t n = pread(e->fd, buf, left < CHUNK ? left : CHUNK, e->offset + (off_t)done);

	if (n <= 0)
		return n < 0 ? -EIO : 0;
	n = send(c->fd, buf, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
	return n < 0 ? -errno : n;
}

static ssize_t send_zeros(struct rpc_conn *c, size_t left, bool more)
{
	if (left > CHUNK) {
		left = CHUNK;
		more = true;
	}

	ssize_t n = send(c->fd, zeros, left, MSG_NOSIGNAL | MSG_DONTWAIT | (more ? MSG_MORE : 0));

	return n < 0 ? -errno : n;
}

/* Was it the file's fault that nothing could be sent, not the connection's? */
static bool is_unreadable(const struct xdr_extent *e, size_t done)
{
	uint8_t byte;

	return pread(e->fd, &byte, 1, e->offset + (off_t)done) < 0 && errno != EINTR;
}

/* Bytes sent (at least 1), or -errno. */
static ssize_t send_extent_some(struct rpc_conn *c, const struct out *o, const struct xdr_extent *e)
{
	size_t left = e->len - o->ext_sent;
	off_t offset = e->offset + (off_t)o->ext_sent;
	ssize_t n = sendfile(c->fd, e->fd, &offset, left);

	if (n > 0)
		return n;
	if (n < 0 && (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
		n = send_copied(c, e, o->ext_sent);
	else if (n < 0)
		n = -errno;
	if (n != 0)
		return n;
	return send_zeros(c, left, e->next || o->x->len > e->at);
}

/* Sends from the first record's first extent; 0 or -errno. */
static int send_extent(struct worker *w, struct rpc_conn *c, struct list *finished)
{
	struct out *o = list_first(&c->sendq, struct out, link);
	struct xdr_extent *e = o->x->extents;

	if (e->len > o->ext_sent) {
		if (w->loop && !resident(e, o->ext_sent))
			loop_give(w);
		section_enter(w);

		ssize_t n = send_extent_some(c, o, e);

		if (n < 0 && n != -EAGAIN && n != -EINTR && e->unreadable &&
		    is_unreadable(e, o->ext_sent))
			e->unreadable(e->release_arg);
		section_leave(w);
		if (n < 0)
			return n == -EINTR ? 0 : (int)n;
		progress(w, c, (size_t)n);
		o->ext_sent += (size_t)n;
		if (o->ext_sent < e->len)
			return 0;
	}
	/* Out of the record first: another thread must not find it again. */
	o->x->extents = e->next;
	if (!e->next)
		o->x->extents_tail = &o->x->extents;
	o->x->extent_len -= e->len;
	o->ext_sent = 0;
	section_enter(w);
	if (e->release)
		e->release(e->release_arg);
	section_leave(w);
	consume(c, 0, finished);
	return 0;
}

int send_queue(struct worker *w, struct rpc_conn *c, bool nested, struct list *finished)
{
	struct iovec iov[IOVS];

	while (!list_empty(&c->sendq)) {
		bool more;
		int iovs = gather(c, iov, &more), n = 0;

		if (iovs) {
			n = send_memory(w, c, iov, iovs, more);
			if (n > 0)
				consume(c, (size_t)n, finished);
		} else if (nested) {
			return -EBUSY;
		} else {
			n = send_extent(w, c, finished);
		}
		if (n < 0)
			return n == -EWOULDBLOCK ? -EAGAIN : n;
	}
	return 0;
}

void out_finish_list(struct worker *w, struct list *outs)
{
	while (!list_empty(outs)) {
		struct out *o = list_first(outs, struct out, link);

		list_remove(&o->link);
		if (o->call) {
			call_finish(w, o->call);
		} else {
			/* May release extents. */
			section_enter(w);
			outgoing_finish(o->outgoing);
			section_leave(w);
		}
	}
}

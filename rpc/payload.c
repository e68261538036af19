/*
 * Payloads that stay outside of memory: the data of a long WRITE go from the socket into a pipe,
 * from which the file's backend may splice them, so that they are copied once and not twice.
 *
 *	record:  | head, and the data that came with it |      hole      | rest |
 *	          ^ in the buffer                         ^ in its pipe    ^ in the buffer
 *
 * A record that is put together in several reads is looked at once, when its first bytes are there:
 * the program that it is for says which of its bytes nobody is going to read (rpc_program.payload).
 * The record gets a big buffer with a pipe then, and the bytes of the hole are spliced to the pipe;
 * their place in the buffer stays as it was. So everything is where it would be without a pipe, and at
 * any time rpc_call_fill() can put the hole's bytes into their place and make the record an ordinary
 * one.
 *
 * A pipe holds a number of pieces, whose size the sender and the network decide. If it is full before
 * the hole is complete (or takes no more for another reason) the record becomes an ordinary one, and
 * for a while nothing is tried on its connection.
 *
 * The pipe belongs to the buffer and is used again with it. It is empty when the buffer is free:
 * whatever was not consumed (a request that failed before its WRITE) goes with the pipe.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LOOK_AT	      1024	   /* bytes of a record in which its payload is found, if at all */
#define PAYLOAD_LEAST (96u * 1024) /* shorter ones cost less if they are copied */
#define PIPES_MOST    SERVER_BIGS
#define PIPE_SIZE     (1 << 20) /* 256 pieces; more needs a privilege that threads do not have */
#define UNPIPED	      256	/* records until it is tried again */

/* ---- pipes ---- */

static bool pipe_make(struct rpc_server *s, struct rxbuf *b)
{
	if (atomic_fetch_add(&s->npipes, 1) < PIPES_MOST &&
	    pipe2(b->pipe, O_CLOEXEC | O_NONBLOCK) == 0) {
		if (fcntl(b->pipe[1], F_SETPIPE_SZ, PIPE_SIZE) >= 0)
			return true;
		close(b->pipe[0]);
		close(b->pipe[1]);
	}
	b->pipe[0] = b->pipe[1] = -1;
	atomic_fetch_sub(&s->npipes, 1);
	return false;
}

void payload_forget(struct rpc_server *s, struct rxbuf *b)
{
	if (b->pipe[0] < 0)
		return;
	close(b->pipe[0]);
	close(b->pipe[1]);
	b->pipe[0] = b->pipe[1] = -1;
	atomic_fetch_sub(&s->npipes, 1);
}

void payload_drop(struct rpc_server *s, struct rxbuf *b)
{
	int left;

	if (b->pipe[0] >= 0 && (ioctl(b->pipe[0], FIONREAD, &left) != 0 || left != 0))
		payload_forget(s, b);
}

static int pipe_read(int fd, uint8_t *to, size_t len)
{
	while (len > 0) {
		ssize_t n = read(fd, to, len);

		if (n < 0 && errno == EINTR)
			continue;
		/* EAGAIN: fewer bytes than there must be. It is no reason to go on without them. */
		if (n <= 0)
			return n < 0 && errno != EAGAIN ? -errno : -EIO;
		to += n;
		len -= (size_t)n;
	}
	return 0;
}

int rpc_call_fill(struct rpc_call *call)
{
	struct rpc_hole hole = call->hole;

	call->hole.len = 0;
	return pipe_read(hole.fd, hole.at, hole.len);
}

/* ---- receiving ---- */

static size_t waiting(int fd)
{
	int n;

	return ioctl(fd, SIOCINQ, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* The record's buffer becomes one with a pipe. */
static bool get_pipe(struct rpc_conn *c)
{
	struct assembly *as = &c->as;
	struct rxbuf *b = as->buf;

	if (b->kind != RX_BIG) {
		b = rxbuf_get_big(c->server);
		if (!b)
			return false;
		memcpy(b->data, as->buf->data, as->len);
		rxbuf_unref(c->server, as->buf);
		as->buf = b;
	}
	return b->pipe[0] >= 0 || pipe_make(c->server, b);
}

void payload_look(struct rpc_conn *c)
{
	struct assembly *as = &c->as;
	struct rpc_span span;
	struct xdr_in head;

	if (as->looked || !as->last || as->len < LOOK_AT)
		return;
	/* A big buffer is for a record of which something has arrived. */
	if (as->frag_left >= PAYLOAD_LEAST && as->len < AS_BIG && as->len + waiting(c->fd) < AS_BIG)
		return;
	as->looked = true;
	if (as->frag_left < PAYLOAD_LEAST || c->outgoing)
		return;
	if (c->unpiped > 0) {
		c->unpiped--;
		return;
	}
	xdr_in_init(&head, as->buf->data, as->len);
	if (!message_payload(c->server, head, as->len + as->frag_left, &span))
		return;
	if (span.from < as->len)
		span.from = as->len;
	if (span.to < span.from + PAYLOAD_LEAST)
		return;
	if (!get_pipe(c)) {
		/* If others have them all there may soon be one. */
		if (atomic_load(&c->server->npipes) < PIPES_MOST)
			c->unpiped = UNPIPED;
		return;
	}
	atomic_fetch_add_explicit(&c->server->payloads, 1, memory_order_relaxed);
	as->hole_from = span.from;
	as->hole_to = span.to;
}

/* No more goes into the pipe: what it holds goes to its place, and the rest will follow it. */
static int fill_in(struct rpc_conn *c)
{
	struct assembly *as = &c->as;
	size_t from = as->hole_from;

	as->hole_to = 0;
	c->unpiped = UNPIPED;
	atomic_fetch_add_explicit(&c->server->payloads_spilled, 1, memory_order_relaxed);
	return pipe_read(as->buf->pipe[0], as->buf->data + from, as->len - from);
}

ssize_t payload_receive(struct rpc_conn *c)
{
	struct assembly *as = &c->as;
	ssize_t n = splice(c->fd, NULL, as->buf->pipe[1], NULL, as->hole_to - as->len,
			   SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	int err = n < 0 ? -errno : 0;

	if (n >= 0)
		return n;
	if (err == -EINTR)
		return -EAGAIN;
	if (err != -EAGAIN && err != -EINVAL && err != -ENOMEM)
		return err;
	/*
	 * EAGAIN: the pipe is full, or what makes the socket readable is nothing that splice() passes
	 * (urgent data). To wait for more would be to be told of the same again and again.
	 */
	err = fill_in(c);
	return err ? err : -EAGAIN;
}

struct rpc_hole payload_hole(const struct assembly *as)
{
	if (!as->hole_to)
		return (struct rpc_hole){ .fd = -1 };
	return (struct rpc_hole){
		.at = as->buf->data + as->hole_from,
		.len = as->hole_to - as->hole_from,
		.fd = as->buf->pipe[0],
	};
}

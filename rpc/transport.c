/*
 * Connections: bytes in, records out of them, replies back.
 *
 * Receive side, the loop owner's alone: bytes are read into the loop's buffer; a record that is
 * complete in there, in one fragment (almost all are), is decoded in place. Any other is put
 * together in a buffer of its own (struct assembly), into which large ones are received directly, or
 * into its pipe (payload.c).
 * Unparsed bytes stay in in_p..in_end with the connection on loop->pending, so that a new owner of
 * the loop goes on where the old one was.
 *
 * Send side: the owner collects the batch's replies in conn->batch; conn_flush() moves them to
 * `queue` and, unless another thread is sending, becomes the sender: it moves `queue` to `sendq`
 * and sends until both are empty or the socket is full (`blocked`: EPOLLOUT is armed and the owner
 * goes on). Threads that lost their loop append to `queue` themselves.
 *
 * Life: conn_new (counted in server->nconns), conn_start on its loop, open until conn_teardown()
 * by the owner; `dead` from then on, and the descriptor is closed at once or by the thread that is
 * sending. Memory goes with the last reference. Reasons to close are noted (failed, broken, eof,
 * close_asked, draining) and acted on in conn_attend() alone.
 *
 * Pausing: when a limit is reached (admits()), the owner sets `paused` and takes EPOLLIN away;
 * whoever lowers the load sees `paused` and kicks the loop, which looks again.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define RX_LEAST      16384 /* less room than that in a shared buffer: a new one */
#define DIRECT_LEAST  8192  /* more left of a fragment than that: received in place */
#define AS_SMALL      4096  /* first size of an assembly buffer */
#define AFTER_PAYLOAD 4096  /* bytes read behind a payload: the head of another, little more */
#define BATCH_MOST    64    /* replies of one batch before they are sent, in one sendmsg() */

/* ---- life ---- */

static void copy_address(int fd, struct sockaddr_storage *local)
{
	socklen_t len = sizeof(*local);

	if (getsockname(fd, (struct sockaddr *)local, &len) != 0)
		local->ss_family = AF_UNSPEC;
}

struct rpc_conn *conn_new(struct loop *l, int fd, const struct sockaddr_storage *peer, uint64_t id)
{
	struct rpc_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->source.kind = SOURCE_CONN;
	c->server = l->server;
	c->loop = l;
	c->id = id;
	c->peer = *peer;
	copy_address(fd, &c->local);
	atomic_init(&c->refs, 1);
	atomic_init(&c->open, true);
	atomic_init(&c->progress_ns, clock_coarse_ns());
	list_init(&c->conns_link);
	list_init(&c->pending_link);
	list_init(&c->flush_link);
	list_init(&c->attention_link);
	list_init(&c->batch);
	list_init(&c->queue);
	list_init(&c->sendq);
	mutex_init(&c->lock);
	c->fd = fd;
	c->reading = true;
	c->received_ns = c->payload_ns = clock_coarse_ns();
	return c;
}

static void conn_free(struct rpc_conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	mutex_destroy(&c->lock);
	free(c);
}

struct rpc_conn *rpc_conn_ref(struct rpc_conn *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void rpc_conn_unref(struct rpc_conn *c)
{
	if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
		conn_free(c);
}

/* Tells epoll what the connection waits for now. */
static void update_events(struct rpc_conn *c) REQUIRES(c->lock)
{
	uint32_t want = (c->reading ? EPOLLIN : 0u) | (c->blocked ? EPOLLOUT : 0u);
	struct epoll_event ev = { .events = want, .data.ptr = &c->source };

	if (want == c->events || c->dead)
		return;
	if (epoll_ctl(c->loop->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->events = want;
}

static void set_reading(struct rpc_conn *c, bool on)
{
	mutex_lock(&c->lock);
	c->reading = on;
	update_events(c);
	mutex_unlock(&c->lock);
}

static void tell_conn(struct worker *w, struct rpc_conn *c, bool open)
{
	struct rpc_server *s = c->server;

	if (likely(!s->on_conn) || c->outgoing || c->told == open)
		return;
	c->told = open;
	section_enter(w);
	s->on_conn(c, open, s->on_conn_ctx);
	section_leave(w);
}

void conn_start(struct worker *w, struct rpc_conn *c)
{
	struct loop *l = c->loop;
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &c->source };
	int err = 0;

	c->started = true;
	list_push_back(&l->conns, &c->conns_link);
	mutex_lock(&c->lock);
	if (c->blocked)
		ev.events |= EPOLLOUT;
	c->events = ev.events;
	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, c->fd, &ev) != 0)
		err = errno;
	mutex_unlock(&c->lock);
	if (err) {
		log_warn("cannot watch a new connection: %s; closing it", strerror(err));
		conn_teardown(w, c);
		return;
	}
	if (unlikely(conn_is_frozen(c)))
		conn_freeze(c);
	tell_conn(w, c, true);
}

/* Everything queued, if no thread is sending; else that thread will do it. */
static void drop_output(struct rpc_conn *c, struct list *finished) REQUIRES(c->lock)
{
	list_splice_back(finished, &c->sendq);
	list_splice_back(finished, &c->queue);
	close(c->fd);
	c->fd = -1;
}

void conn_teardown(struct worker *w, struct rpc_conn *c)
{
	struct rpc_server *s = c->server;
	struct list finished = LIST_INITIALIZER(finished);

	if (!atomic_exchange(&c->open, false))
		return;
	list_remove(&c->conns_link);
	list_remove(&c->pending_link);
	list_remove(&c->flush_link);
	atomic_fetch_sub(&c->loop->nconns, 1);
	rxbuf_unref(s, c->in);
	rxbuf_unref(s, c->as.buf);
	c->in = c->as.buf = NULL;
	for (unsigned i = 0; i < CONN_AUTHS; i++)
		auth_sys_unref(c->auths[i]);

	mutex_lock(&c->lock);
	epoll_ctl(c->loop->epfd, EPOLL_CTL_DEL, c->fd, NULL);
	list_splice_back(&c->queue, &c->batch);
	c->dead = true;
	if (c->sending)
		shutdown(c->fd, SHUT_RDWR);
	else
		drop_output(c, &finished);
	mutex_unlock(&c->lock);

	/* From here on the connection is no part of the loop, which may be taken away. */
	tell_conn(w, c, false);
	section_enter(w);
	for (unsigned i = 0; i < s->nprograms; i++) {
		if (s->programs[i].conn_closed)
			s->programs[i].conn_closed(c, s->programs[i].ctx);
	}
	section_leave(w);
	out_finish_list(w, &finished);
	rpc_conn_unref(c);

	mutex_lock(&s->lock);
	atomic_fetch_sub(&s->nconns, 1);
	if (atomic_load(&s->draining))
		cond_broadcast(&s->changed);
	mutex_unlock(&s->lock);
}

/* ---- load ---- */

static bool below(size_t now, size_t max, bool low)
{
	return now < (low ? max - max / 4 : max);
}

/* May another call be taken? With `low`: has the load fallen well below the limits? */
static bool admits(struct rpc_conn *c, bool low)
{
	const struct rpc_limits *lim = &c->server->limits;
	uint64_t load = atomic_load(&c->load);

	if (!server_memory_ok(c->server, low))
		return false;
	return LOAD_CALLS(load) == 0 || (below(LOAD_CALLS(load), lim->max_calls_per_conn, low) &&
					 below(LOAD_BYTES(load), lim->max_conn_memory, low));
}

/* False if the load has fallen again before anybody could see that we wait for it. */
static bool set_paused(struct rpc_conn *c)
{
	struct rpc_server *s = c->server;

	atomic_store(&c->paused, true);
	if (!server_memory_ok(s, false))
		atomic_store(&s->starved, true);
	return !admits(c, true);
}

static void pause_reading(struct rpc_conn *c)
{
	set_reading(c, false);
	if (!set_paused(c))
		loop_kick_conn(c);
}

/* Sends what the connection's own batch holds before giving in. */
static bool admits_after_flush(struct worker *w, struct rpc_conn *c)
{
	struct loop *l = w->loop;

	if (likely(admits(c, false)))
		return true;
	conn_flush(w, c, false);
	if (w->loop != l)
		return false;
	if (admits(c, false))
		return true;
	pause_reading(c);
	return false;
}

static void unpause(struct rpc_conn *c)
{
	if (!admits(c, false) && set_paused(c))
		return;
	atomic_store(&c->paused, false);
	c->payload_ns = c->loop->now_ns;
	if (!c->eof)
		set_reading(c, true);
	loop_add_pending(c->loop, c);
}

void conn_unload(struct rpc_conn *c, size_t bytes)
{
	atomic_fetch_sub(&c->load, LOAD_CALL + bytes);
	if (unlikely(atomic_load(&c->paused)) && admits(c, true))
		loop_kick_conn(c);
	else if (unlikely(atomic_load(&c->quiet_wanted)))
		loop_kick_conn(c);
}

/* ---- receiving ---- */

static void fail(struct rpc_conn *c, const char *why)
{
	if (c->failed)
		return;
	log_debug("connection %llu: %s; closing it", (unsigned long long)c->id, why);
	c->failed = true;
	atomic_fetch_add(&c->server->dropped_connections, 1);
	loop_kick_conn(c);
}

static bool in_record(const struct rpc_conn *c)
{
	const struct assembly *as = &c->as;

	return as->started || as->mark_have;
}

/* A buffer that holds `have` bytes of a record that is going to have `want`; keeps its contents. */
static bool assembly_room(struct rpc_conn *c, size_t have, size_t want)
{
	struct assembly *as = &c->as;
	struct rxbuf *b;

	if (as->buf && as->buf->cap >= have && as->buf->cap > as->len)
		return true;
	if (want > AS_BIG && have >= AS_BIG) {
		b = rxbuf_get_big(c->server);
	} else {
		size_t cap = as->buf ? 2 * as->buf->cap : AS_SMALL;

		while (cap < have)
			cap *= 2;
		b = rxbuf_get_malloc(c->server, cap);
	}
	if (!b)
		return false;
	if (as->buf)
		memcpy(b->data, as->buf->data, as->len);
	rxbuf_unref(c->server, as->buf);
	as->buf = b;
	return true;
}

/* A fragment's head is complete. */
static void assembly_mark(struct rpc_conn *c)
{
	struct assembly *as = &c->as;
	struct xdr_in x;
	uint32_t mark = 0;

	xdr_in_init(&x, as->mark, 4);
	if (!xdr_get_u32(&x, &mark))
		return;
	as->mark_have = 0;
	as->started = true;
	as->last = mark >> 31;
	as->frag_left = mark & 0x7fffffff;
	if (as->frag_left > c->server->limits.max_record - as->len)
		fail(c, "record too long");
	else if (as->frag_left == 0 && as->last)
		as->complete = true;
}

static void assembly_advance(struct rpc_conn *c, size_t n)
{
	struct assembly *as = &c->as;

	as->len += n;
	as->frag_left -= (uint32_t)n;
	as->complete = as->frag_left == 0 && as->last;
	c->payload_ns = c->loop->now_ns;
}

/* Takes some of the unparsed bytes into the record being put together. */
static void assemble(struct rpc_conn *c)
{
	struct assembly *as = &c->as;
	size_t n = (size_t)(c->in_end - c->in_p);

	if (as->frag_left == 0) {
		if (!in_record(c))
			c->payload_ns = c->loop->now_ns;
		while (as->mark_have < 4 && c->in_p < c->in_end)
			as->mark[as->mark_have++] = *c->in_p++;
		if (as->mark_have == 4)
			assembly_mark(c);
		return;
	}
	if (n > as->frag_left)
		n = as->frag_left;
	if (!assembly_room(c, as->len + n, as->len + as->frag_left)) {
		fail(c, "out of memory");
		return;
	}
	memcpy(as->buf->data + as->len, c->in_p, n);
	c->in_p += n;
	assembly_advance(c, n);
	payload_look(c);
}

/* The next record, if it is all there in one fragment: its length, else 0. */
static size_t whole_record(const struct rpc_conn *c)
{
	struct xdr_in x;
	uint32_t mark;

	xdr_in_init(&x, c->in_p, (size_t)(c->in_end - c->in_p));
	if (in_record(c) || !xdr_get_u32(&x, &mark) || !(mark >> 31))
		return 0;
	mark &= 0x7fffffff;
	return mark <= xdr_in_left(&x) && mark <= c->server->limits.max_record ? mark : 0;
}

/* A reply of the peer's. */
static void take_reply(struct worker *w, struct call *call, const uint8_t *record)
{
	struct rpc_server *s = call->server;

	section_enter(w);
	if (s->on_reply)
		s->on_reply(call->pub.conn, record, call->pub.record_len, s->on_reply_ctx);
	section_leave(w);
	call_finish(w, call);
}

/* Whether nobody else's work could be held up by this call's, going by those before it. */
static bool is_alone(struct loop *l, const struct rpc_conn *c)
{
	bool alone = c->in_p == c->in_end && LOAD_CALLS(atomic_load(&c->load)) == 1 &&
		     atomic_load_explicit(&l->nconns, memory_order_relaxed) == 1;

	if (!alone)
		l->alone = 0;
	else if (l->alone < ALONE_AFTER)
		l->alone++;
	return l->alone == ALONE_AFTER;
}

/* Runs a record. The worker may have lost the loop afterwards, and the connection be gone. */
static void dispatch(struct worker *w, struct rpc_conn *c, struct rxbuf *rx, const uint8_t *record,
		     size_t len, struct rpc_hole hole)
{
	struct call *call = call_new(w, c, rx, record, len);

	if (!call) {
		fail(c, "out of memory");
		return;
	}
	call->pub.hole = hole;

	enum message m = message_decode(call);

	if (unlikely(c->outgoing) && m != MESSAGE_REPLY)
		m = MESSAGE_BAD;
	switch (m) {
	case MESSAGE_CALL:
		count(&w->n.calls, 1);
		call->pub.alone = is_alone(w->loop, c);
		call_run(w, call, false);
		break;
	case MESSAGE_ERROR:
		count(&w->n.calls, 1);
		count(&w->n.garbage, 1);
		call_reply(w, call);
		break;
	case MESSAGE_REPLY:
		take_reply(w, call, record);
		break;
	case MESSAGE_BAD:
		count(&w->n.garbage, 1);
		fail(c, "not an RPC message");
		call_finish(w, call);
		break;
	}
}

static void dispatch_assembled(struct worker *w, struct rpc_conn *c)
{
	struct rxbuf *b = c->as.buf;
	struct rpc_hole hole = payload_hole(&c->as);
	size_t len = c->as.len;

	c->as = (struct assembly){ 0 };
	if (!b) {
		fail(c, "empty record");
		return;
	}

	struct rpc_server *s = c->server;

	dispatch(w, c, b, b->data, len, hole);
	rxbuf_unref(s, b);
}

void conn_process(struct worker *w, struct rpc_conn *c)
{
	struct loop *l = w->loop;

	while (!c->failed && !c->frozen && !l->draining &&
	       !atomic_load_explicit(&c->paused, memory_order_relaxed)) {
		size_t whole;

		if (c->as.complete) {
			if (!admits_after_flush(w, c))
				return;
			dispatch_assembled(w, c);
		} else if (c->in_p == c->in_end) {
			break;
		} else if ((whole = whole_record(c)) != 0) {
			const uint8_t *record = c->in_p + 4;

			if (!admits_after_flush(w, c))
				return;
			c->in_p += 4 + whole;
			dispatch(w, c, c->in, record, whole, (struct rpc_hole){ .fd = -1 });
		} else {
			assemble(c);
		}
		if (w->loop != l)
			return;
	}
	list_remove(&c->pending_link);
	if (c->frozen)
		c->in_p = c->in_end;
	if (c->in_p == c->in_end) {
		rxbuf_unref(c->server, c->in);
		c->in = NULL;
	}
}

/* The loop's buffer with room to read into; NULL: out of memory. */
static struct rxbuf *loop_rx(struct worker *w)
{
	struct loop *l = w->loop;

	if (l->rx && atomic_load_explicit(&l->rx->refs, memory_order_acquire) == 1)
		l->rx_used = 0;
	if (l->rx && l->rx->cap - l->rx_used >= RX_LEAST)
		return l->rx;
	rxbuf_unref(l->server, l->rx);
	l->rx = rxbuf_get(w);
	l->rx_used = 0;
	return l->rx;
}

/* Where the bytes go that belong to the record being put together; 0: nowhere in particular. */
static size_t direct_room(const struct rpc_conn *c)
{
	const struct assembly *as = &c->as;
	size_t room;

	if (as->len < as->hole_from)
		return as->hole_from - as->len;
	if (!as->buf || as->frag_left < DIRECT_LEAST)
		return 0;
	room = as->buf->cap - as->len;
	return room < as->frag_left ? room : as->frag_left;
}

static void received(struct worker *w, struct rpc_conn *c, struct rxbuf *rx, size_t n,
		     size_t direct)
{
	struct loop *l = w->loop;

	count(&w->n.bytes_in, n);
	c->received_ns = l->now_ns;
	if (direct) {
		size_t d = n < direct ? n : direct;

		assembly_advance(c, d);
		n -= d;
	}
	if (n) {
		c->in = rxbuf_ref(rx);
		c->in_p = rx->data + l->rx_used;
		c->in_end = c->in_p + n;
		l->rx_used += n;
	}
	loop_add_pending(l, c);
	conn_process(w, c);
}

/* More memory than allowed; records begun may take a little more to be completed. */
static bool out_of_memory_to_read(const struct rpc_conn *c)
{
	size_t max = c->server->limits.max_memory;

	return atomic_load_explicit(&c->server->memory, memory_order_relaxed) >=
	       (in_record(c) ? max + max / 4 : max);
}

/* Bytes to be read of what does not belong to the record being put together. */
static size_t room_behind(struct worker *w, struct rpc_conn *c)
{
	size_t room = w->loop->rx->cap - w->loop->rx_used;

	if (c->as.len < c->as.hole_from)
		return 0;
	if (!c->payloads)
		return room;
	c->payloads = false;
	return room < AFTER_PAYLOAD ? room : AFTER_PAYLOAD;
}

/* As readv(2), but a payload goes to its pipe; *direct: bytes of the record being put together. */
static ssize_t conn_receive(struct worker *w, struct rpc_conn *c, size_t *direct)
{
	struct assembly *as = &c->as;
	struct iovec iov[2];
	int iovs = 0;
	ssize_t n;

	if (as->hole_to > as->len && as->len >= as->hole_from) {
		n = payload_receive(c);
		*direct = n > 0 ? (size_t)n : 0;
		c->payloads = n > 0;
		return n;
	}
	*direct = direct_room(c);
	if (*direct)
		iov[iovs++] = (struct iovec){ as->buf->data + as->len, *direct };
	iov[iovs++] = (struct iovec){ w->loop->rx->data + w->loop->rx_used, room_behind(w, c) };
	n = readv(c->fd, iov, iovs);
	return n < 0 ? -errno : n;
}

static void conn_read(struct worker *w, struct rpc_conn *c)
{
	struct rxbuf *rx = loop_rx(w);
	size_t direct;
	ssize_t n;

	if (unlikely(out_of_memory_to_read(c))) {
		pause_reading(c);
		return;
	}
	if (!rx) {
		fail(c, "out of memory");
		return;
	}
	n = conn_receive(w, c, &direct);
	if (n > 0) {
		received(w, c, rx, (size_t)n, direct);
	} else if (n == 0) {
		c->eof = true;
		set_reading(c, false);
		atomic_store(&c->quiet_wanted, true);
		loop_kick_conn(c);
	} else if (n != -EAGAIN && n != -EINTR) {
		fail(c, strerror((int)-n));
	}
}

void conn_event(struct worker *w, struct rpc_conn *c, uint32_t events)
{
	struct loop *l = w->loop;

	if (c->failed)
		return;
	if (events & EPOLLOUT) {
		mutex_lock(&c->lock);
		c->blocked = false;
		update_events(c);
		mutex_unlock(&c->lock);
		conn_flush(w, c, false);
		if (w->loop != l)
			return;
	}
	if (events & EPOLLIN && !atomic_load_explicit(&c->paused, memory_order_relaxed) &&
	    !c->eof && !c->frozen && !l->draining && c->in_p == c->in_end)
		conn_read(w, c);
	else if (events & (EPOLLERR | EPOLLHUP))
		fail(c, "gone");
}

/* ---- sending ---- */

void conn_flush(struct worker *w, struct rpc_conn *c, bool nested)
{
	struct loop *l = c->loop;
	struct list finished = LIST_INITIALIZER(finished);
	bool kick = false;
	int err = 0;

	mutex_lock(&c->lock);
	if (w->loop == l) {
		list_splice_back(&c->queue, &c->batch);
		c->batch_len = 0;
	}
	if (c->sending || c->blocked || c->broken || c->dead) {
		mutex_unlock(&c->lock);
		return;
	}
	/* The thread may lose the loop, and with it its hold on the connection. */
	rpc_conn_ref(c);
	c->sending = true;
	for (;;) {
		list_splice_back(&c->sendq, &c->queue);
		if (list_empty(&c->sendq))
			break;
		mutex_unlock(&c->lock);
		err = send_queue(w, c, nested, &finished);
		mutex_lock(&c->lock);
		if (err)
			break;
	}
	c->sending = false;
	if (c->dead) {
		drop_output(c, &finished);
	} else if (err == -EAGAIN) {
		c->blocked = true;
		c->blocked_ns = clock_coarse_ns();
		update_events(c);
	} else if (err && err != -EBUSY) {
		c->broken = kick = true;
	} else if (unlikely(atomic_load(&c->close_asked))) {
		kick = true;
	}
	mutex_unlock(&c->lock);
	if (nested) {
		if (err == -EBUSY)
			loop_add_flush(l, c);
		list_splice_back(&l->finished, &finished);
	} else {
		out_finish_list(w, &finished);
	}
	if (unlikely(kick))
		loop_kick_conn(c);
	rpc_conn_unref(c);
}

/* Queues and sends a reply on a worker that does not own the connection's loop. */
static void reply_foreign(struct worker *w, struct rpc_conn *c, struct out *o)
{
	bool dead;

	mutex_lock(&c->lock);
	dead = c->dead || c->broken;
	if (!dead)
		list_push_back(&c->queue, &o->link);
	mutex_unlock(&c->lock);
	if (dead) {
		call_finish(w, o->call);
		return;
	}
	/* Once queued, the call may be finished by another thread at any time. */
	conn_flush(w, c, false);
}

void call_reply(struct worker *w, struct call *call)
{
	struct rpc_conn *c = call->pub.conn;

	if (!message_seal(&call->pub.reply)) {
		message_error(call, RPC_SYSTEM_ERR);
		if (!message_seal(&call->pub.reply)) {
			rpc_conn_close(c);
			call_finish(w, call);
			return;
		}
	}
	call_held(call);
	count(&w->n.replies, 1);
	if (w->loop != c->loop) {
		rpc_conn_ref(c);
		reply_foreign(w, c, &call->out);
		rpc_conn_unref(c);
	} else if (!atomic_load_explicit(&c->open, memory_order_relaxed) || c->failed) {
		call_finish(w, call);
	} else {
		list_push_back(&c->batch, &call->out.link);
		loop_add_flush(c->loop, c);
		if (++c->batch_len >= BATCH_MOST)
			conn_flush(w, c, false);
	}
}

void outgoing_finish(struct outgoing *o)
{
	struct rpc_conn *c = o->conn;

	mutex_lock(&c->lock);
	c->outgoing_bytes -= o->bytes;
	mutex_unlock(&c->lock);
	xdr_out_free(&o->x);
	server_mem_sub(c->server, o->bytes);
	free(o);
	if (unlikely(atomic_load(&c->quiet_wanted)))
		loop_kick_conn(c);
	rpc_conn_unref(c);
}

static struct outgoing *outgoing_new(struct rpc_conn *c, struct xdr_out *x)
{
	struct outgoing *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->x = *x;
	if (!o->x.extents)
		o->x.extents_tail = &o->x.extents;
	xdr_out_init(x, x->limit);
	o->bytes = o->x.cap;
	o->out = (struct out){ .x = &o->x, .outgoing = o };
	o->conn = rpc_conn_ref(c);
	return o;
}

int rpc_conn_send(struct rpc_conn *c, struct xdr_out *x)
{
	const struct rpc_limits *lim = &c->server->limits;
	struct outgoing *o = NULL;
	int err = 0;

	if (x->failed || xdr_out_total(x) - RPC_MARK_LEN > lim->max_reply || !message_seal(x))
		err = -EMSGSIZE;
	else if (!(o = outgoing_new(c, x)))
		err = -ENOMEM;
	if (err) {
		xdr_out_free(x);
		return err;
	}
	server_mem_add(c->server, o->bytes);
	mutex_lock(&c->lock);
	if (c->dead || c->broken)
		err = -ENOTCONN;
	else if (c->outgoing_bytes && c->outgoing_bytes + o->bytes > lim->max_conn_memory)
		err = -ENOBUFS;
	else
		list_push_back(&c->queue, &o->out.link);
	c->outgoing_bytes += o->bytes;
	mutex_unlock(&c->lock);
	if (err)
		outgoing_finish(o);
	else
		loop_kick_conn(c);
	return err;
}

/* ---- attention: what was noted is acted upon ---- */

/* Nothing is running (parked calls aside) or waiting to be sent. */
static bool is_quiet(struct rpc_conn *c, bool ignore_parked)
{
	unsigned parked = ignore_parked ? atomic_load(&c->parked) : 0;
	bool quiet;

	if (LOAD_CALLS(atomic_load(&c->load)) > parked || !list_empty(&c->batch))
		return false;
	mutex_lock(&c->lock);
	quiet = !c->sending && list_empty(&c->queue) && list_empty(&c->sendq);
	mutex_unlock(&c->lock);
	return quiet;
}

/* All replies of the moment are sent, whatever is still running. */
static bool is_sent(struct rpc_conn *c)
{
	bool sent;

	mutex_lock(&c->lock);
	sent = !c->sending && list_empty(&c->queue) && list_empty(&c->sendq);
	mutex_unlock(&c->lock);
	return sent;
}

void conn_attend(struct worker *w, struct rpc_conn *c)
{
	struct loop *l = w->loop;
	bool broken;

	if (!atomic_load(&c->open))
		return;
	if (!c->started) {
		conn_start(w, c);
		if (w->loop != l || !atomic_load(&c->open))
			return;
	}
	if (c->failed || atomic_load(&c->server->quit)) {
		conn_teardown(w, c);
		return;
	}
	conn_flush(w, c, false);
	if (w->loop != l) {
		/* The news has not been acted upon: that is for the new owner. */
		loop_kick_conn(c);
		return;
	}
	mutex_lock(&c->lock);
	broken = c->broken;
	mutex_unlock(&c->lock);
	if (broken || (atomic_load(&c->close_asked) && is_sent(c)) ||
	    (l->draining && is_quiet(c, true)) ||
	    (c->eof && c->in_p == c->in_end && !c->as.complete && is_quiet(c, false))) {
		conn_teardown(w, c);
		return;
	}
	if (l->draining || c->frozen || atomic_load(&c->close_asked))
		set_reading(c, false);
	else if (atomic_load(&c->paused))
		unpause(c);
}

void conn_recheck(struct rpc_conn *c)
{
	if (atomic_load(&c->paused) && !atomic_load(&c->close_asked) && !c->failed && !c->frozen &&
	    !c->loop->draining)
		unpause(c);
}

void conn_drain(struct rpc_conn *c)
{
	atomic_store(&c->quiet_wanted, true);
	set_reading(c, false);
	loop_kick_conn(c);
}

void conn_freeze(struct rpc_conn *c)
{
	c->frozen = true;
	set_reading(c, false);
}

void conn_reset(struct rpc_conn *c)
{
	struct linger at_once = { .l_onoff = 1 };

	mutex_lock(&c->lock);
	if (!c->dead)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	mutex_unlock(&c->lock);
	fail(c, "its address has gone elsewhere");
}

bool conn_is_busy(struct rpc_conn *c)
{
	int unacknowledged = 0;
	bool busy;

	if (!is_quiet(c, true))
		return true;
	mutex_lock(&c->lock);
	busy = !c->dead && ioctl(c->fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged;
	mutex_unlock(&c->lock);
	return busy;
}

static bool older(uint64_t since, uint64_t now, unsigned seconds)
{
	return seconds && now > since && now - since >= seconds * NS_PER_SEC;
}

static bool unread(struct rpc_conn *c, uint64_t now)
{
	bool unread;

	mutex_lock(&c->lock);
	unread = c->blocked && older(c->blocked_ns, now, c->server->limits.record_seconds);
	mutex_unlock(&c->lock);
	return unread;
}

void conn_sweep(struct rpc_conn *c, uint64_t now)
{
	const struct rpc_limits *lim = &c->server->limits;
	uint64_t sent_ns = atomic_load_explicit(&c->progress_ns, memory_order_relaxed);
	bool paused = atomic_load(&c->paused) && !atomic_load(&c->server->starved);
	uint64_t active = c->received_ns > sent_ns ? c->received_ns : sent_ns;

	if (c->frozen)
		return;
	if (in_record(c) && !paused && older(c->payload_ns, now, lim->record_seconds))
		fail(c, "half a record and no more of it");
	else if (unread(c, now))
		fail(c, "the peer does not read");
	else if (is_quiet(c, false) && older(active, now, lim->idle_seconds))
		fail(c, "idle");
}

/* ---- for programs ---- */

const struct sockaddr *rpc_conn_peer(const struct rpc_conn *c)
{
	return (const struct sockaddr *)&c->peer;
}

const struct sockaddr *rpc_conn_local(const struct rpc_conn *c)
{
	return (const struct sockaddr *)&c->local;
}

uint64_t rpc_conn_id(const struct rpc_conn *c)
{
	return c->id;
}

bool rpc_conn_is_open(const struct rpc_conn *c)
{
	return atomic_load(&c->open);
}

void rpc_conn_close(struct rpc_conn *c)
{
	if (!atomic_exchange(&c->close_asked, true))
		loop_kick_conn(c);
}

void **rpc_conn_slot(struct rpc_conn *c)
{
	return &c->slot;
}

/*
 * Connections of the load generator: setting up and ending clients and sessions, the bytes of
 * calls and replies. See conn.h.
 */
#include "tests/bench/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REPLY_SECONDS 30
#define DELAY_TRIES   200
#define DELAY_NS      5000000
#define SOCKET_BYTES  (4 << 20)
#define IOV_PER_SEND  1024u
#define TX_BYTES      8192u

int conn_fail(struct conn *c, const char *format, ...)
{
	va_list args;

	if (c->error[0])
		return -1;
	va_start(args, format);
	vsnprintf(c->error, sizeof(c->error), format, args);
	va_end(args);
	return -1;
}

static const char *op_name(uint32_t op)
{
	static const char *const names[] = {
		[OP_ACCESS] = "ACCESS",
		[OP_CLOSE] = "CLOSE",
		[OP_COMMIT] = "COMMIT",
		[OP_CREATE] = "CREATE",
		[OP_GETATTR] = "GETATTR",
		[OP_GETFH] = "GETFH",
		[OP_LOCK] = "LOCK",
		[OP_LOCKU] = "LOCKU",
		[OP_LOOKUP] = "LOOKUP",
		[OP_OPEN] = "OPEN",
		[OP_PUTFH] = "PUTFH",
		[OP_PUTROOTFH] = "PUTROOTFH",
		[OP_READ] = "READ",
		[OP_READDIR] = "READDIR",
		[OP_REMOVE] = "REMOVE",
		[OP_RENAME] = "RENAME",
		[OP_SAVEFH] = "SAVEFH",
		[OP_WRITE] = "WRITE",
		[OP_EXCHANGE_ID] = "EXCHANGE_ID",
		[OP_CREATE_SESSION] = "CREATE_SESSION",
		[OP_DESTROY_SESSION] = "DESTROY_SESSION",
		[OP_SEQUENCE] = "SEQUENCE",
		[OP_DESTROY_CLIENTID] = "DESTROY_CLIENTID",
		[OP_RECLAIM_COMPLETE] = "RECLAIM_COMPLETE",
	};

	if (op >= sizeof(names) / sizeof(names[0]) || !names[op])
		return "an operation that was not asked for";
	return names[op];
}

/* ---- calls ---- */

static void enc_start(struct slot *s, struct enc *e)
{
	*e = (struct enc){ .base = s->head, .p = s->head + 4, .end = s->head + HEAD_MAX };
}

void call_begin(struct conn *c, struct slot *s, struct enc *e, const struct cred *cred,
		uint32_t procedure)
{
	enc_start(s, e);
	s->xid = ++c->xids << 8 | s->id;
	put32(e, s->xid);
	put32(e, 0); /* CALL */
	put32(e, 2);
	put32(e, NFS_PROGRAM);
	put32(e, NFS_VERSION);
	put32(e, procedure);
	if (cred)
		put_fixed(e, cred->bytes, cred->len);
	else
		put64(e, 0); /* AUTH_NONE */
	put64(e, 0);	     /* verifier: AUTH_NONE */
}

static void op(struct enc *e, uint32_t number)
{
	e->count++;
	put32(e, number);
}

/* A compound without SEQUENCE: for what makes and ends sessions. */
static void compound_bare(struct conn *c, struct slot *s, struct enc *e)
{
	call_begin(c, s, e, c->cred, 1);
	put32(e, 0); /* tag */
	put32(e, 1); /* minor version */
	e->count_at = e->p;
	put32(e, 0);
}

void compound_begin(struct conn *c, struct slot *s, struct enc *e, const struct cred *cred,
		    bool keep)
{
	call_begin(c, s, e, cred, 1);
	put32(e, 0);
	put32(e, 1);
	e->count_at = e->p;
	put32(e, 0);
	op(e, OP_SEQUENCE);
	put_fixed(e, c->session, sizeof(c->session));
	put32(e, s->seqid);
	put32(e, s->id);
	put32(e, c->depth - 1);
	put32(e, keep);
}

int call_end(struct conn *c, struct slot *s, struct enc *e)
{
	if (e->bad)
		return conn_fail(c, "a request does not fit its buffer");
	if (e->count_at)
		store32(e->count_at, e->count);
	s->head_len = (size_t)(e->p - e->base);
	s->body = e->body;
	s->body_len = e->body_len;
	store32(e->base, 0x80000000u | (uint32_t)(s->head_len - 4 + s->body_len));
	return 0;
}

/* ---- replies ---- */

int rpc_reply(struct conn *c, struct slot *s, struct dec *d)
{
	uint32_t xid = get32(d), type = get32(d), stat = get32(d), len, accepted;

	if (xid != s->xid || type != 1)
		return conn_fail(c, "a record that is no reply to xid %08x", s->xid);
	if (stat != 0)
		return conn_fail(c, "the call was denied (reject_stat %u)", get32(d));
	get32(d);
	get_opaque(d, &len);
	accepted = get32(d);
	if (d->bad)
		return conn_fail(c, "a truncated RPC header");
	if (accepted != 0)
		return conn_fail(c, "the call failed (accept_stat %u)", accepted);
	return 0;
}

enum reply compound_reply(struct conn *c, struct slot *s, struct dec *d)
{
	uint32_t status = get32(d), len, number, seq_status;
	const uint8_t *session;

	get_opaque(d, &len);
	get32(d);
	number = get32(d);
	seq_status = get32(d);
	if (d->bad || number != OP_SEQUENCE) {
		conn_fail(c, "COMPOUND failed before its SEQUENCE: status %u", status);
		return REPLY_FAILED;
	}
	if (seq_status == NFS4ERR_DELAY)
		return REPLY_DELAY;
	if (seq_status != NFS4_OK) {
		conn_fail(c, "SEQUENCE: status %u", seq_status);
		return REPLY_FAILED;
	}
	session = get_fixed(d, NFS4_SESSIONID);
	if (!session || memcmp(session, c->session, NFS4_SESSIONID) != 0 || get32(d) != s->seqid ||
	    get32(d) != s->id) {
		conn_fail(c, "SEQUENCE: another's session, slot or sequence id");
		return REPLY_FAILED;
	}
	get32(d);
	get32(d);
	get32(d);
	s->seqid++;
	return status == NFS4ERR_DELAY ? REPLY_DELAY : REPLY_OK;
}

int expect_any(struct conn *c, struct dec *d, uint32_t op_expected, uint32_t *status)
{
	uint32_t number = get32(d);

	*status = get32(d);
	if (d->bad)
		return conn_fail(c, "the reply ends before %s", op_name(op_expected));
	if (number != op_expected)
		return conn_fail(c, "a result of operation %u instead of %s", number,
				 op_name(op_expected));
	return 0;
}

int expect(struct conn *c, struct dec *d, uint32_t op_expected)
{
	uint32_t status;

	if (expect_any(c, d, op_expected, &status))
		return -1;
	if (status != NFS4_OK)
		return conn_fail(c, "%s: status %u", op_name(op_expected), status);
	return 0;
}

int expect_end(struct conn *c, struct dec *d)
{
	if (d->bad)
		return conn_fail(c, "a truncated result");
	if (d->p != d->end)
		return conn_fail(c, "%zu bytes too many in a reply", (size_t)(d->end - d->p));
	return 0;
}

/* ---- the socket ---- */

/* More of what is to be sent; what lies right behind the last piece makes that one longer. */
static void queue_bytes(struct conn *c, const uint8_t *data, size_t len)
{
	struct iovec *last = c->queued > c->sent ? &c->iov[c->queued - 1] : NULL;

	if (last && (uint8_t *)last->iov_base + last->iov_len == data)
		last->iov_len += len;
	else
		c->iov[c->queued++] = (struct iovec){ (void *)(uintptr_t)data, len };
}

/* Heads are copied together: one long piece costs the kernel less than many short ones. */
void conn_queue(struct conn *c, struct slot *s)
{
	const uint8_t *head = s->head;

	if (c->sent == c->queued) {
		c->sent = c->queued = 0;
		c->tx_len = 0;
	} else if (c->queued + 2 > 4 * c->depth) {
		memmove(c->iov, c->iov + c->sent, (c->queued - c->sent) * sizeof(c->iov[0]));
		c->queued -= c->sent;
		c->sent = 0;
	}
	if (c->tx_len + s->head_len <= TX_BYTES) {
		head = memcpy(c->tx + c->tx_len, s->head, s->head_len);
		c->tx_len += s->head_len;
	}
	queue_bytes(c, head, s->head_len);
	if (s->body_len > 0)
		queue_bytes(c, s->body, s->body_len);
	c->tally.bytes_out += s->head_len + s->body_len;
	c->tally.requests++;
	s->in_flight = true;
}

static ssize_t send_queued(struct conn *c, int flags)
{
	unsigned count = c->queued - c->sent;
	struct msghdr m = { .msg_iov = c->iov + c->sent };

	if (count == 1)
		return send(c->fd, m.msg_iov->iov_base, m.msg_iov->iov_len, flags);
	m.msg_iovlen = count < IOV_PER_SEND ? count : IOV_PER_SEND;
	return sendmsg(c->fd, &m, flags);
}

static void queue_sent(struct conn *c, size_t n)
{
	while (n > 0) {
		struct iovec *v = &c->iov[c->sent];
		size_t part = n < v->iov_len ? n : v->iov_len;

		v->iov_base = (uint8_t *)v->iov_base + part;
		v->iov_len -= part;
		n -= part;
		if (v->iov_len == 0)
			c->sent++;
	}
}

int conn_flush(struct conn *c)
{
	while (c->sent < c->queued) {
		ssize_t n = send_queued(c, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return conn_fail(c, "sending: %s", strerror(errno));
		queue_sent(c, (size_t)n);
	}
	return 0;
}

/*
 * How much to ask the socket for. A long record is read just to its end and a bit: what is left
 * over then is short, and little has to be moved to the buffer's start.
 */
static size_t read_size(struct conn *c)
{
	size_t have = c->end - c->start, record;

	if (have == 0)
		c->start = c->end = 0;
	if (have < 4)
		record = 0;
	else
		record = 4 + (load32(c->rx + c->start) & 0x7fffffffu);
	if (record < have)
		record = have;
	if (record > RECORD_MAX) /* conn_record() will refuse it */
		record = RECORD_MAX;
	if (c->start > 0 && c->start + record > RECORD_MAX) {
		memmove(c->rx, c->rx + c->start, have);
		c->start = 0;
		c->end = have;
	}
	return c->start + record + 65536 - c->end;
}

int conn_read(struct conn *c, bool wait)
{
	size_t size = read_size(c);

	for (;;) {
		ssize_t n = recv(c->fd, c->rx + c->end, size, wait ? 0 : MSG_DONTWAIT);

		if (n > 0) {
			c->end += (size_t)n;
			c->tally.bytes_in += (uint64_t)n;
			return 1;
		}
		if (n == 0)
			return conn_fail(c, "the server closed the connection");
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN && !wait)
			return 0;
		if (errno == EAGAIN)
			return conn_fail(c, "no reply for %d s", REPLY_SECONDS);
		return conn_fail(c, "receiving: %s", strerror(errno));
	}
}

bool conn_record(struct conn *c, struct dec *d)
{
	uint32_t mark;
	size_t len;

	if (c->end - c->start < 4)
		return false;
	mark = load32(c->rx + c->start);
	len = mark & 0x7fffffffu;
	if (!(mark & 0x80000000u) || len > RECORD_MAX - 4) {
		conn_fail(c, "a reply in fragments, or of %zu bytes", len);
		return false;
	}
	if (c->end - c->start < 4 + len)
		return false;
	*d = (struct dec){ .p = c->rx + c->start + 4, .end = c->rx + c->start + 4 + len };
	c->start += 4 + len;
	return true;
}

/* ---- one call at a time ---- */

/* Sends what slot 0 holds and waits for its reply. */
static int exchange(struct conn *c, struct dec *d)
{
	struct slot *s = &c->slots[0];

	conn_queue(c, s);
	while (c->sent < c->queued) {
		ssize_t n = send_queued(c, MSG_NOSIGNAL);

		if (n < 0)
			return conn_fail(c, "sending: %s", strerror(errno));
		queue_sent(c, (size_t)n);
	}
	while (!conn_record(c, d)) {
		if (c->error[0] || conn_read(c, true) < 0)
			return -1;
	}
	s->in_flight = false;
	return rpc_reply(c, s, d);
}

int conn_call(struct conn *c, struct enc *e, struct dec *d)
{
	struct slot *s = &c->slots[0];

	if (call_end(c, s, e))
		return -1;
	for (int i = 0; i < DELAY_TRIES; i++) {
		enum reply r;

		if (exchange(c, d))
			return -1;
		r = compound_reply(c, s, d);
		if (r != REPLY_DELAY)
			return r == REPLY_OK ? 0 : -1;
		/* The same request again, but for the transaction and the slot's sequence. */
		nanosleep(&(struct timespec){ .tv_nsec = DELAY_NS }, NULL);
		s->xid = ++c->xids << 8 | s->id;
		store32(s->head + 4, s->xid);
		store32(e->count_at + 8 + NFS4_SESSIONID, s->seqid);
	}
	return conn_fail(c, "NFS4ERR_DELAY for too long");
}

/* A compound without SEQUENCE; `d` is left at its first result. */
static int call_bare(struct conn *c, struct enc *e, struct dec *d)
{
	uint32_t len;

	if (call_end(c, &c->slots[0], e) || exchange(c, d))
		return -1;
	get32(d);
	get_opaque(d, &len);
	get32(d);
	return 0;
}

/* ---- clients and sessions ---- */

static int exchange_id(struct conn *c)
{
	static atomic_uint serial;
	struct enc e;
	struct dec d;
	struct timespec now;
	char owner[64];

	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(owner, sizeof(owner), "atoll-bench %d.%u", (int)getpid(),
		 atomic_fetch_add(&serial, 1));
	compound_bare(c, &c->slots[0], &e);
	op(&e, OP_EXCHANGE_ID);
	put64(&e, (uint64_t)now.tv_sec << 32 | (uint64_t)now.tv_nsec);
	put_string(&e, owner);
	put32(&e, EXCHGID_NON_PNFS);
	put32(&e, 0); /* SP4_NONE */
	put32(&e, 0); /* no implementation id */
	if (call_bare(c, &e, &d) || expect(c, &d, OP_EXCHANGE_ID))
		return -1;
	c->clientid = get64(&d);
	c->create_seq = get32(&d);
	return d.bad ? conn_fail(c, "a truncated EXCHANGE_ID") : 0;
}

static void put_channel(struct enc *e, uint32_t request, uint32_t reply, uint32_t requests)
{
	put32(e, 0); /* header padding */
	put32(e, request);
	put32(e, reply);
	put32(e, 4096); /* of a cached reply */
	put32(e, 16);	/* operations */
	put32(e, requests);
	put32(e, 0); /* no RDMA */
}

static int create_session(struct conn *c)
{
	const uint8_t *id;
	struct enc e;
	struct dec d;
	uint32_t request, reply, requests;

	compound_bare(c, &c->slots[0], &e);
	op(&e, OP_CREATE_SESSION);
	put64(&e, c->clientid);
	put32(&e, c->create_seq);
	put32(&e, 0); /* neither persistent nor with a back channel */
	put_channel(&e, REPLY_MAX + 4096, REPLY_MAX + 4096, c->depth);
	put_channel(&e, 4096, 4096, 1);
	put32(&e, 0x40000000); /* callback program: never called */
	put32(&e, 1);
	put32(&e, 0); /* with AUTH_NONE */
	if (call_bare(c, &e, &d) || expect(c, &d, OP_CREATE_SESSION))
		return -1;
	id = get_fixed(&d, NFS4_SESSIONID);
	get64(&d); /* sequence, flags */
	get32(&d);
	request = get32(&d);
	reply = get32(&d);
	get64(&d);
	requests = get32(&d);
	if (!id || d.bad)
		return conn_fail(c, "a truncated CREATE_SESSION");
	memcpy(c->session, id, NFS4_SESSIONID);
	if (requests < c->depth || request < REPLY_MAX + 512 || reply < REPLY_MAX + 512)
		return conn_fail(c, "the session has %u slots for %u-byte calls, %u-byte replies",
				 requests, request, reply);
	return 0;
}

static int reclaim_complete(struct conn *c)
{
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op(&e, OP_RECLAIM_COMPLETE);
	put32(&e, 0); /* of all file systems */
	return conn_call(c, &e, &d) || expect(c, &d, OP_RECLAIM_COMPLETE) ? -1 : 0;
}

/* Servers refuse unreserved ports where exports(5) says `secure`. */
static void bind_reserved(int fd)
{
	static atomic_uint next;
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	for (int tries = 0; tries < 400; tries++) {
		unsigned port = 1023 - atomic_fetch_add(&next, 1) % 400;
		struct sockaddr_in sin = { .sin_family = AF_INET,
					   .sin_port = htons((uint16_t)port) };

		if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 || errno == EACCES)
			return;
	}
}

static int connect_socket(struct conn *c, const struct sockaddr_in *to)
{
	struct timeval tv = { .tv_sec = REPLY_SECONDS };
	int one = 1, size = SOCKET_BYTES;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return conn_fail(c, "socket: %s", strerror(errno));
	if (!c->any_port)
		bind_reserved(c->fd);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (connect(c->fd, (const struct sockaddr *)to, sizeof(*to)) != 0)
		return conn_fail(c, "connect: %s", strerror(errno));
	return 0;
}

int conn_open(struct conn *c, const struct sockaddr_in *to, const struct cred *cred, unsigned depth,
	      bool raw)
{
	c->fd = -1;
	c->cred = cred;
	c->depth = depth;
	c->random = 0x9e3779b97f4a7c15u * (c->index + 1);
	c->slots = calloc(depth, sizeof(c->slots[0]));
	c->iov = calloc((size_t)depth * 4, sizeof(c->iov[0]));
	c->rx = malloc(RECORD_MAX + 65536);
	c->tx = malloc(TX_BYTES);
	if (!c->slots || !c->iov || !c->rx || !c->tx)
		return conn_fail(c, "out of memory");
	for (unsigned i = 0; i < depth; i++) {
		c->slots[i].id = i;
		c->slots[i].seqid = 1;
	}
	if (connect_socket(c, to))
		return -1;
	if (raw)
		return 0;
	return exchange_id(c) || create_session(c) || reclaim_complete(c) ? -1 : 0;
}

static void destroy_session(struct conn *c)
{
	struct enc e;
	struct dec d;

	compound_bare(c, &c->slots[0], &e);
	op(&e, OP_DESTROY_SESSION);
	put_fixed(&e, c->session, sizeof(c->session));
	if (call_bare(c, &e, &d) || expect(c, &d, OP_DESTROY_SESSION))
		return;
	compound_bare(c, &c->slots[0], &e);
	op(&e, OP_DESTROY_CLIENTID);
	put64(&e, c->clientid);
	if (call_bare(c, &e, &d))
		return;
	expect(c, &d, OP_DESTROY_CLIENTID);
}

void conn_close(struct conn *c)
{
	/* By a reset: hundreds of connections would else wait out their ports' 60 s. */
	struct linger reset = { .l_onoff = 1 };

	if (c->fd >= 0) {
		if (c->clientid && !c->error[0])
			destroy_session(c);
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(c->fd);
	}
	free(c->slots);
	free(c->iov);
	free(c->rx);
	free(c->tx);
	c->fd = -1;
	c->slots = NULL;
	c->iov = NULL;
	c->rx = NULL;
	c->tx = NULL;
}

/* ---- operations ---- */

static void put_bitmap(struct enc *e, uint32_t word0, uint32_t word1)
{
	put32(e, 2);
	put32(e, word0);
	put32(e, word1);
}

static void put_mode(struct enc *e, uint32_t mode)
{
	put_bitmap(e, 0, ATTR_MODE_1);
	put32(e, 4);
	put32(e, mode);
}

static void put_stateid(struct enc *e, const struct stateid *state)
{
	put_fixed(e, state->bytes, sizeof(state->bytes));
}

static void put_owner(struct enc *e, const struct conn *c, uint32_t id)
{
	char owner[32];

	snprintf(owner, sizeof(owner), "owner %u", id);
	put64(e, c->clientid);
	put_string(e, owner);
}

void op_access(struct enc *e, uint32_t bits)
{
	op(e, OP_ACCESS);
	put32(e, bits);
}

void op_close(struct enc *e, const struct stateid *state)
{
	op(e, OP_CLOSE);
	put32(e, 0);
	put_stateid(e, state);
}

void op_commit(struct enc *e)
{
	op(e, OP_COMMIT);
	put64(e, 0);
	put32(e, 0); /* to the end of the file */
}

void op_create_dir(struct enc *e, const char *name, uint32_t mode)
{
	op(e, OP_CREATE);
	put32(e, 2); /* NF4DIR */
	put_string(e, name);
	put_mode(e, mode);
}

void op_getattr(struct enc *e, uint32_t word0, uint32_t word1)
{
	op(e, OP_GETATTR);
	put_bitmap(e, word0, word1);
}

void op_getfh(struct enc *e)
{
	op(e, OP_GETFH);
}

static void put_lock_range(struct enc *e, uint64_t offset, uint64_t length)
{
	put32(e, WRITE_LT);
	put32(e, 0); /* no reclaim */
	put64(e, offset);
	put64(e, length);
}

void op_lock(struct enc *e, const struct stateid *lock, uint64_t offset, uint64_t length)
{
	op(e, OP_LOCK);
	put_lock_range(e, offset, length);
	put32(e, 0);
	put_stateid(e, lock);
	put32(e, 0);
}

void op_lock_first(struct enc *e, const struct conn *c, const struct stateid *open, uint32_t id,
		   uint64_t offset, uint64_t length)
{
	op(e, OP_LOCK);
	put_lock_range(e, offset, length);
	put32(e, 1);
	put32(e, 0);
	put_stateid(e, open);
	put32(e, 0);
	put_owner(e, c, id);
}

void op_locku(struct enc *e, const struct stateid *lock, uint64_t offset, uint64_t length)
{
	op(e, OP_LOCKU);
	put32(e, WRITE_LT);
	put32(e, 0);
	put_stateid(e, lock);
	put64(e, offset);
	put64(e, length);
}

void op_lookup(struct enc *e, const char *name)
{
	op(e, OP_LOOKUP);
	put_string(e, name);
}

void op_open(struct enc *e, const struct conn *c, uint32_t owner, const char *name, uint32_t access,
	     bool create, uint32_t mode)
{
	op(e, OP_OPEN);
	put32(e, 0);
	put32(e, access | WANT_NO_DELEG);
	put32(e, 0); /* denies nothing */
	put_owner(e, c, owner);
	put32(e, create);
	if (create) {
		put32(e, 0); /* UNCHECKED */
		put_mode(e, mode);
	}
	put32(e, 0); /* CLAIM_NULL */
	put_string(e, name);
}

void op_putfh(struct enc *e, const struct fh *fh)
{
	op(e, OP_PUTFH);
	put_opaque(e, fh->data, fh->len);
}

void op_putrootfh(struct enc *e)
{
	op(e, OP_PUTROOTFH);
}

void op_read(struct enc *e, const struct stateid *state, uint64_t offset, uint32_t count)
{
	op(e, OP_READ);
	put_stateid(e, state);
	put64(e, offset);
	put32(e, count);
}

void op_readdir(struct enc *e, uint64_t cookie, const uint8_t verifier[8], uint32_t maxcount)
{
	op(e, OP_READDIR);
	put64(e, cookie);
	put_fixed(e, verifier, 8);
	put32(e, maxcount / 2);
	put32(e, maxcount);
	put_bitmap(e, LINUX_READDIR_0, LINUX_ATTRS_1);
}

void op_remove(struct enc *e, const char *name)
{
	op(e, OP_REMOVE);
	put_string(e, name);
}

void op_rename(struct enc *e, const char *from, const char *to)
{
	op(e, OP_RENAME);
	put_string(e, from);
	put_string(e, to);
}

void op_savefh(struct enc *e)
{
	op(e, OP_SAVEFH);
}

void op_write(struct enc *e, const struct stateid *state, uint64_t offset, uint32_t stable,
	      const uint8_t *data, uint32_t count)
{
	op(e, OP_WRITE);
	put_stateid(e, state);
	put64(e, offset);
	put32(e, stable);
	put32(e, count);
	e->body = data;
	e->body_len = count;
}

/* ---- results ---- */

int result_fh(struct conn *c, struct dec *d, struct fh *fh)
{
	const uint8_t *data;
	uint32_t len;

	if (expect(c, d, OP_GETFH))
		return -1;
	data = get_opaque(d, &len);
	if (!data || len > NFS4_FH_MAX)
		return conn_fail(c, "GETFH: a filehandle of %u bytes", len);
	fh->len = len;
	memcpy(fh->data, data, len);
	return 0;
}

static int get_stateid(struct conn *c, struct dec *d, struct stateid *state)
{
	const uint8_t *bytes = get_fixed(d, sizeof(state->bytes));

	if (!bytes)
		return conn_fail(c, "a truncated stateid");
	memcpy(state->bytes, bytes, sizeof(state->bytes));
	return 0;
}

int result_stateid(struct conn *c, struct dec *d, uint32_t op_expected, struct stateid *state)
{
	return expect(c, d, op_expected) || get_stateid(c, d, state) ? -1 : 0;
}

int result_open(struct conn *c, struct dec *d, struct stateid *state)
{
	uint32_t words, delegation, why;

	if (expect(c, d, OP_OPEN) || get_stateid(c, d, state))
		return -1;
	get_fixed(d, 20); /* change_info */
	get32(d);	  /* rflags: RFC 8881 knows no OPEN_CONFIRM */
	words = get32(d);
	if (words > 8)
		return conn_fail(c, "OPEN: a bitmap of %u words", words);
	get_fixed(d, (size_t)words * 4);
	delegation = get32(d);
	if (delegation == OPEN_DELEGATE_NONE_EXT) {
		why = get32(d);
		if (why == 1 || why == 2) /* CONTENTION, RESOURCE: will it be pushed, signalled */
			get32(d);
	} else if (delegation != OPEN_DELEGATE_NONE) {
		return conn_fail(c, "OPEN: a delegation that was not wanted");
	}
	return d->bad ? conn_fail(c, "OPEN: truncated") : 0;
}

int result_attrs(struct conn *c, struct dec *d, uint64_t *size, uint64_t *fileid)
{
	const uint8_t *values;
	uint32_t words, word0, word1, len;

	if (expect(c, d, OP_GETATTR))
		return -1;
	words = get32(d);
	word0 = get32(d);
	word1 = get32(d);
	if (words == 3) /* a third word, of nothing */
		get32(d);
	if (words < 2 || words > 3 || word0 != LINUX_ATTRS_0 || word1 != LINUX_ATTRS_1)
		return conn_fail(c, "GETATTR: attributes %08x %08x instead of those asked for",
				 word0, word1);
	values = get_opaque(d, &len);
	if (!values || len < 44)
		return conn_fail(c, "GETATTR: truncated");
	/* type 4, change 8, size 8, fsid 16, fileid 8 */
	*size = (uint64_t)load32(values + 12) << 32 | load32(values + 16);
	*fileid = (uint64_t)load32(values + 36) << 32 | load32(values + 40);
	return 0;
}

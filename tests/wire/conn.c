/*
 * Connections, record marking and RPC messages of the tests' client, and the memory of the
 * running test.
 */
#include "tests/wire/nfs4.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"

#define RECV_SECONDS 20
#define RECORD_MAX   (16u << 20)

struct block {
	struct block *next;
	max_align_t data[];
};

static struct block *blocks;
static struct conn *conns;
static unsigned nconns;

uint8_t *(*conn_local_hook)(struct conn *c, const uint8_t *call, size_t len, size_t *reply_len);

void *test_alloc(size_t len)
{
	struct block *b = calloc(1, sizeof(*b) + len);

	if (!b)
		abort();
	b->next = blocks;
	blocks = b;
	return b->data;
}

const void *test_mark(void)
{
	return blocks;
}

void test_release(const void *mark)
{
	while (blocks != mark) {
		struct block *b = blocks;

		blocks = b->next;
		free(b);
	}
}

void test_memory_free(void)
{
	test_release(NULL);
}

/* ---- connections ---- */

static void set_timeouts(int fd)
{
	struct timeval tv = { .tv_sec = RECV_SECONDS };
	int one = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

struct conn *conn_adopt(int fd)
{
	struct conn *c = test_alloc(sizeof(*c));

	c->fd = fd;
	c->number = nconns++;
	c->next_xid = 0x10000001;
	c->flavor = 1;
	c->next = conns;
	conns = c;
	if (fd >= 0)
		set_timeouts(fd);
	return c;
}

struct conn *conn_new(void)
{
	struct conn *c = conn_adopt(-1);
	socklen_t len;
	const struct sockaddr *a;

	if (conn_local_hook)
		return c;
	a = wire_server_addr(&len);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(c->fd >= 0);
	if (connect(c->fd, a, len))
		fail_with("connect: %s", strerror(errno));
	set_timeouts(c->fd);
	return c;
}

void conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

void conns_free(void)
{
	for (; conns; conns = conns->next)
		conn_close(conns);
	nconns = 0;
}

bool conn_send_raw(struct conn *c, const void *bytes, size_t len)
{
	const char *p = bytes;

	while (len) {
		ssize_t n = send(c->fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return false;
		if (n < 0)
			fail_with("send: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool conn_send(struct conn *c, const void *bytes, size_t len)
{
	uint8_t *buf;
	uint32_t mark = htonl(0x80000000u | (uint32_t)len);

	if (conn_local_hook) {
		c->local_reply = conn_local_hook(c, bytes, len, &c->local_len);
		return true;
	}
	buf = test_alloc(len + 4);
	memcpy(buf, &mark, 4);
	memcpy(buf + 4, bytes, len);
	return conn_send_raw(c, buf, len + 4);
}

/* Exactly `len` bytes; false at the end of the stream. */
static bool recv_all(struct conn *c, void *to, size_t len)
{
	char *p = to;

	while (len) {
		ssize_t n = recv(c->fd, p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return false;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			fail_with("no reply within %d s", RECV_SECONDS);
		if (n < 0)
			fail_with("recv: %s", strerror(errno));
		p += n;
		len -= (size_t)n;
	}
	return true;
}

uint8_t *conn_recv(struct conn *c, size_t *len)
{
	uint8_t *buf = NULL;
	size_t total = 0;
	uint32_t mark;

	if (conn_local_hook) {
		*len = c->local_len;
		return c->local_reply;
	}
	do {
		uint8_t *bigger;
		size_t n;

		if (!recv_all(c, &mark, 4)) {
			if (buf)
				fail_with("the connection was closed within a record");
			return NULL;
		}
		mark = ntohl(mark);
		n = mark & 0x7fffffff;
		if (n > RECORD_MAX - total)
			fail_with("the reply's record is longer than %u bytes", RECORD_MAX);
		bigger = test_alloc(total + n + 1);
		if (buf)
			memcpy(bigger, buf, total);
		buf = bigger;
		if (!recv_all(c, buf + total, n))
			fail_with("the connection was closed within a record");
		total += n;
	} while (!(mark & 0x80000000u));
	*len = total;
	return buf;
}

bool conn_readable(struct conn *c, int ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	return poll(&p, 1, ms) > 0;
}

bool conn_closed_by_server(struct conn *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, 0);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

/* ---- encoding ---- */

void enc_init(struct enc *e, size_t cap)
{
	e->buf = test_alloc(cap);
	e->cap = cap;
	xdrmem_create(&e->xdr, e->buf, (u_int)cap, XDR_ENCODE);
}

size_t enc_len(struct enc *e)
{
	return xdr_getpos(&e->xdr);
}

/* Room for `n` more bytes: XDR's memory streams do not grow by themselves. */
static void enc_room(struct enc *e, size_t n)
{
	u_int at = xdr_getpos(&e->xdr);
	struct enc bigger;

	if (n <= e->cap - at)
		return;
	enc_init(&bigger, (e->cap + n) * 2);
	memcpy(bigger.buf, e->buf, at);
	check(xdr_setpos(&bigger.xdr, at));
	*e = bigger;
}

void put_u32(struct enc *e, uint32_t v)
{
	enc_room(e, 4);
	check(xdr_uint32_t(&e->xdr, &v));
}

void put_u64(struct enc *e, uint64_t v)
{
	enc_room(e, 8);
	check(xdr_uint64_t(&e->xdr, &v));
}

void put_i64(struct enc *e, int64_t v)
{
	enc_room(e, 8);
	check(xdr_int64_t(&e->xdr, &v));
}

void put_bool(struct enc *e, bool v)
{
	bool_t b = v;

	enc_room(e, 4);
	check(xdr_bool(&e->xdr, &b));
}

void put_fixed(struct enc *e, const void *p, uint32_t len)
{
	enc_room(e, (size_t)len + 4);
	check(xdr_opaque(&e->xdr, (char *)(uintptr_t)p, len));
}

void put_opaque(struct enc *e, const void *p, uint32_t len)
{
	char *bytes = (char *)(uintptr_t)p;
	char none[1] = "";

	if (!len)
		bytes = none;
	enc_room(e, (size_t)len + 8);
	check(xdr_bytes(&e->xdr, &bytes, &len, UINT32_MAX));
}

void put_string(struct enc *e, const char *s)
{
	put_opaque(e, s, (uint32_t)strlen(s));
}

/* ---- RPC messages ---- */

static void put_auth_sys(struct enc *e, struct conn *c)
{
	struct enc body;

	enc_init(&body, 512);
	put_u32(&body, 0x41746f6c); /* stamp */
	put_string(&body, "wire.test");
	put_u32(&body, c->uid);
	put_u32(&body, c->gid);
	put_u32(&body, c->ngids);
	for (uint32_t i = 0; i < c->ngids; i++)
		put_u32(&body, c->gids[i]);
	put_opaque(e, body.buf, (uint32_t)enc_len(&body));
}

uint32_t rpc_put_call(struct enc *e, struct conn *c, uint32_t prog, uint32_t vers, uint32_t proc)
{
	uint32_t xid = c->next_xid++;

	put_u32(e, xid);
	put_u32(e, 0); /* CALL */
	put_u32(e, 2); /* RPC version */
	put_u32(e, prog);
	put_u32(e, vers);
	put_u32(e, proc);
	put_u32(e, c->flavor);
	if (c->flavor == 1)
		put_auth_sys(e, c);
	else
		put_u32(e, 0);
	put_u32(e, 0); /* verifier: AUTH_NONE */
	put_u32(e, 0);
	return xid;
}

static uint32_t get_word(XDR *x)
{
	uint32_t v;

	if (!xdr_uint32_t(x, &v))
		fail_with("the RPC reply is too short");
	return v;
}

static void get_accepted(XDR *x, struct rpc_reply *r)
{
	char verf[400];
	uint32_t stat, len;

	check_num(get_word(x), 0); /* verifier's flavor: AUTH_NONE answers AUTH_NONE and _SYS */
	len = get_word(x);
	check(len <= sizeof(verf));
	check(xdr_opaque(x, verf, len));
	stat = get_word(x);
	check(stat <= 5);
	r->outcome = (enum rpc_outcome)stat;
	if (stat == RPC_PROG_MISMATCH_R) {
		r->low = get_word(x);
		r->high = get_word(x);
	}
}

static void get_denied(XDR *x, struct rpc_reply *r)
{
	uint32_t stat = get_word(x);

	check(stat <= 1);
	if (stat == 0) {
		r->outcome = RPC_MISMATCH_R;
		r->low = get_word(x);
		r->high = get_word(x);
	} else {
		r->outcome = RPC_AUTH_ERROR_R;
		r->auth_stat = get_word(x);
	}
}

/* The next record that is not a call of the server's; those are kept. */
static uint8_t *recv_reply(struct conn *c, size_t *len)
{
	uint8_t *bytes;
	uint32_t type;

	while ((bytes = conn_recv(c, len)) != NULL) {
		struct cb_call **tail = &c->calls;

		check(*len >= 8);
		memcpy(&type, bytes + 4, 4);
		if (ntohl(type) != 0)
			break;
		while (*tail)
			tail = &(*tail)->next;
		*tail = cb_parse(c, bytes, *len);
	}
	return bytes;
}

struct rpc_reply *rpc_recv(struct conn *c)
{
	struct rpc_reply *r = test_alloc(sizeof(*r));
	size_t len;
	uint8_t *bytes = recv_reply(c, &len);
	uint32_t stat;
	XDR x;

	if (!bytes)
		return NULL;
	xdrmem_create(&x, (char *)bytes, (u_int)len, XDR_DECODE);
	r->xid = get_word(&x);
	check_num(get_word(&x), 1); /* REPLY */
	stat = get_word(&x);
	check(stat <= 1);
	if (stat == 0)
		get_accepted(&x, r);
	else
		get_denied(&x, r);
	r->body = bytes + xdr_getpos(&x);
	r->body_len = len - xdr_getpos(&x);
	if (r->outcome != RPC_SUCCESS_R)
		check_num(r->body_len, 0);
	return r;
}

struct rpc_reply *rpc_must_recv(struct conn *c)
{
	struct rpc_reply *r = rpc_recv(c);

	if (!r)
		fail_with("the server closed the connection instead of replying");
	return r;
}

struct rpc_reply *rpc_call(struct conn *c, struct enc *e)
{
	if (!conn_send(c, e->buf, enc_len(e)))
		fail_with("the server closed the connection before the call");
	return rpc_must_recv(c);
}

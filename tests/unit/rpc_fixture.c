#include "tests/unit/rpc_fixture.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/blocking.h"

/* ---- the program ---- */

static void call_done(struct rpc_call *call)
{
	struct fixture *f = call->user;

	pthread_mutex_lock(&f->lock);
	f->done++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void extent_released(void *arg)
{
	struct fixture *f = arg;

	pthread_mutex_lock(&f->lock);
	f->extents_released++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void extent_unreadable(void *arg)
{
	struct fixture *f = arg;

	pthread_mutex_lock(&f->lock);
	f->extents_unreadable++;
	pthread_mutex_unlock(&f->lock);
}

/* The key has been decoded already; it lies before args.p. */
static enum rpc_verdict resumed(struct rpc_call *call)
{
	struct xdr_in x;
	uint32_t key = 0;

	xdr_in_init(&x, call->args.p - 4, 4);
	if (!xdr_get_u32(&x, &key))
		return RPC_SYSTEM_ERR;
	xdr_put_u32(&call->reply, key);
	return RPC_REPLY;
}

static bool put_extent(struct fixture *f, struct rpc_call *call, off_t offset, size_t len)
{
	struct xdr_extent *e = arena_zalloc(&call->arena, sizeof(*e));

	if (!e)
		return false;
	e->fd = f->file;
	e->offset = offset;
	e->len = len;
	e->release = extent_released;
	e->unreadable = extent_unreadable;
	e->release_arg = f;
	pthread_mutex_lock(&f->lock);
	f->extents_out++;
	pthread_mutex_unlock(&f->lock);
	xdr_put_extent(&call->reply, e);
	return true;
}

static enum rpc_verdict do_read(struct fixture *f, struct rpc_call *call)
{
	uint64_t offset;
	uint32_t len;

	if (!xdr_get_u64(&call->args, &offset) || !xdr_get_u32(&call->args, &len))
		return RPC_GARBAGE_ARGS;
	xdr_put_u32(&call->reply, len);
	if (!put_extent(f, call, (off_t)offset, len))
		return RPC_SYSTEM_ERR;
	if (xdr_pad(len)) {
		uint8_t *p = xdr_out_reserve(&call->reply, xdr_pad(len));

		if (p)
			memset(p, 0, xdr_pad(len));
	}
	xdr_put_u32(&call->reply, 0xfeed);
	return RPC_REPLY;
}

static enum rpc_verdict do_extents(struct fixture *f, struct rpc_call *call)
{
	uint32_t n, len;

	if (!xdr_get_u32(&call->args, &n) || !xdr_get_u32(&call->args, &len))
		return RPC_GARBAGE_ARGS;
	for (uint32_t i = 0; i < n; i++) {
		xdr_put_u32(&call->reply, i);
		if (!put_extent(f, call, (off_t)i * len, len))
			return RPC_SYSTEM_ERR;
	}
	return RPC_REPLY;
}

static void await_gate(struct fixture *f, uint32_t key)
{
	pthread_mutex_lock(&f->lock);
	f->entered[key] = true;
	pthread_cond_broadcast(&f->changed);
	while (!f->gate[key])
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

static enum rpc_verdict wait_gate(struct fixture *f, struct rpc_call *call, uint32_t key)
{
	await_gate(f, key);
	return resumed(call);
}

/* The same without ever sleeping. */
static enum rpc_verdict look_at_gate(struct fixture *f, struct rpc_call *call, uint32_t key)
{
	bool open = false;

	pthread_mutex_lock(&f->lock);
	f->entered[key] = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	while (!open) {
		pthread_mutex_lock(&f->lock);
		open = f->gate[key];
		pthread_mutex_unlock(&f->lock);
	}
	xdr_put_u32(&call->reply, key);
	return RPC_REPLY;
}

static enum rpc_verdict park(struct fixture *f, struct rpc_call *call, uint32_t key)
{
	call->resume = resumed;
	pthread_mutex_lock(&f->lock);
	f->parked[key] = call;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return RPC_PARKED;
}

static enum rpc_verdict resumed_twice(struct rpc_call *call)
{
	call->resume = resumed;
	rpc_call_resume(call);
	return RPC_PARKED;
}

struct late {
	struct rpc_later later;
	struct rpc_call *call;
	struct fixture *f;
};

static void now(struct list *laters, bool alone)
{
	struct late *late;

	while ((late = list_first(laters, struct late, later.link))) {
		struct fixture *f = late->f;

		list_remove(&late->later.link);
		pthread_mutex_lock(&f->lock);
		xdr_put_u32(&late->call->reply, f->laters);
		f->laters_alone += alone;
		pthread_mutex_unlock(&f->lock);
		rpc_call_resume(late->call);
	}
}

static enum rpc_verdict replied(struct rpc_call *call)
{
	return RPC_REPLY;
}

static enum rpc_verdict leave_for_later(struct fixture *f, struct rpc_call *call, uint32_t key)
{
	struct late *late = arena_zalloc(&call->arena, sizeof(*late));

	if (!late)
		return RPC_SYSTEM_ERR;
	*late = (struct late){ .later.fn = now, .call = call, .f = f };
	call->resume = replied;
	pthread_mutex_lock(&f->lock);
	f->laters++;
	pthread_mutex_unlock(&f->lock);
	xdr_put_u32(&call->reply, key);
	rpc_call_later(call, &late->later);
	return RPC_PARKED;
}

static enum rpc_verdict keyed(struct fixture *f, struct rpc_call *call)
{
	uint32_t key;

	if (!xdr_get_u32(&call->args, &key) || key >= KEYS)
		return RPC_GARBAGE_ARGS;
	switch (call->procedure) {
	case PROC_PARK:
		return park(f, call, key);
	case PROC_BLOCK:
		blocking_section();
		blocking_section();
		return wait_gate(f, call, key);
	case PROC_STUCK:
		return wait_gate(f, call, key);
	case PROC_LATE:
		await_gate(f, key);
		return leave_for_later(f, call, key);
	case PROC_LATER:
		return leave_for_later(f, call, key);
	case PROC_BUSY:
		return look_at_gate(f, call, key);
	case PROC_NAP:
		if (key % 2)
			blocking_section();
		usleep(4 * key);
		return resumed(call);
	default:
		call->resume = resumed_twice;
		rpc_call_resume(call);
		return RPC_PARKED;
	}
}

static enum rpc_verdict do_fill(struct rpc_call *call)
{
	uint32_t n;

	if (!xdr_get_u32(&call->args, &n))
		return RPC_GARBAGE_ARGS;
	xdr_put_u32(&call->reply, n);

	uint8_t *p = xdr_out_reserve(&call->reply, n + xdr_pad(n));

	for (uint32_t i = 0; p && i < n + xdr_pad(n); i++)
		p[i] = i < n ? (uint8_t)i : 0;
	return RPC_REPLY;
}

static enum rpc_verdict do_verdict(struct fixture *f, struct rpc_call *call)
{
	uint32_t verdict, stat;

	if (!xdr_get_u32(&call->args, &verdict) || !xdr_get_u32(&call->args, &stat))
		return RPC_GARBAGE_ARGS;
	xdr_put_u64(&call->reply, 0x6a756e6b6a756e6b);
	if (!put_extent(f, call, 0, 100))
		return RPC_SYSTEM_ERR;
	call->auth_error = (enum rpc_auth_stat)stat;
	return (enum rpc_verdict)verdict;
}

static enum rpc_verdict do_whoami(struct rpc_call *call)
{
	const struct rpc_auth *a = &call->auth;

	xdr_put_u32(&call->reply, a->flavor);
	if (!a->cred)
		return RPC_REPLY;
	xdr_put_u32(&call->reply, a->cred->uid);
	xdr_put_u32(&call->reply, a->cred->gid);
	xdr_put_u32(&call->reply, a->cred->ngroups);
	for (uint32_t i = 0; i < a->cred->ngroups; i++)
		xdr_put_u32(&call->reply, a->cred->groups[i]);
	xdr_put_opaque(&call->reply, a->machine, (uint32_t)strlen(a->machine));
	return RPC_REPLY;
}

/* PROC_PAYLOAD's arguments: all but the first 100 bytes of the opaque. */
static bool find_payload(uint32_t procedure, struct xdr_in head, size_t len, struct rpc_span *span)
{
	uint32_t way, n;

	if (procedure != PROC_PAYLOAD || !xdr_get_u32(&head, &way) || !xdr_get_u32(&head, &n) ||
	    n < 100 || n > len - 8)
		return false;
	*span = (struct rpc_span){ 108, 8 + n };
	return true;
}

static bool take(struct rpc_call *call, size_t len)
{
	for (uint8_t *p = call->hole.at; len > 0;) {
		ssize_t n = read(call->hole.fd, p, len);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	call->hole.len = 0;
	return true;
}

static enum rpc_verdict do_payload(struct rpc_call *call)
{
	size_t waited = call->hole.len;
	uint32_t way, len, word;
	bool all = true;
	const uint8_t *p;

	if (!xdr_get_u32(&call->args, &way) || !xdr_get_opaque(&call->args, UINT32_MAX, &p, &len) ||
	    !xdr_get_u32(&call->args, &word))
		return RPC_GARBAGE_ARGS;
	/* What is no part of the hole must not matter, nor what its place held before. */
	if (waited)
		memset(call->hole.at, 0x5a, waited);
	switch (way) {
	case PAYLOAD_TAKE:
	case PAYLOAD_STUCK:
		if (waited && !take(call, waited))
			return RPC_SYSTEM_ERR;
		break;
	case PAYLOAD_HALF:
		if (waited && !take(call, waited / 2))
			return RPC_SYSTEM_ERR;
		all = false;
		break;
	case PAYLOAD_LEAVE:
		all = false;
		break;
	default:
		if (rpc_call_fill(call) != 0)
			return RPC_SYSTEM_ERR;
		break;
	}
	xdr_put_u32(&call->reply, (uint32_t)waited);
	xdr_put_opaque(&call->reply, p, all ? len : 0);
	xdr_put_u32(&call->reply, word);
	return RPC_REPLY;
}

static enum rpc_verdict handle(struct rpc_call *call, void *ctx)
{
	struct fixture *f = ctx;
	const uint8_t *p;
	uint32_t len;

	call->user = f;
	call->done = call_done;
	switch (call->procedure) {
	case PROC_NULL:
		pthread_mutex_lock(&f->lock);
		f->last_conn = rpc_conn_id(call->conn);
		if (f->keep && !f->kept)
			f->kept = rpc_conn_ref(call->conn);
		pthread_mutex_unlock(&f->lock);
		return RPC_REPLY;
	case PROC_ECHO:
		if (!xdr_get_opaque(&call->args, UINT32_MAX, &p, &len))
			return RPC_GARBAGE_ARGS;
		xdr_put_opaque(&call->reply, p, len);
		return RPC_REPLY;
	case PROC_PARK:
	case PROC_BLOCK:
	case PROC_STUCK:
	case PROC_SELF:
	case PROC_NAP:
	case PROC_LATER:
	case PROC_LATE:
	case PROC_BUSY:
		return keyed(f, call);
	case PROC_READ:
		return do_read(f, call);
	case PROC_DROP:
		return RPC_DROP;
	case PROC_ALONE:
		xdr_put_u32(&call->reply, call->alone);
		return RPC_REPLY;
	case PROC_FILL:
		return do_fill(call);
	case PROC_VERDICT:
		return do_verdict(f, call);
	case PROC_WHOAMI:
		return do_whoami(call);
	case PROC_COUNT_EXTENTS:
		return do_extents(f, call);
	case PROC_CLOSE:
		rpc_conn_close(call->conn);
		return RPC_REPLY;
	case PROC_PAYLOAD:
		if (xdr_in_left(&call->args) >= 4 && call->args.p[3] == PAYLOAD_STUCK)
			await_gate(f, 0);
		if (xdr_in_left(&call->args) < 4 || call->args.p[3] != PAYLOAD_PARK)
			return do_payload(call);
		park(f, call, 0);
		call->resume = do_payload;
		return RPC_PARKED;
	default:
		return RPC_PROC_UNAVAIL;
	}
}

static void conn_closed(struct rpc_conn *conn, void *ctx)
{
	struct fixture *f = ctx;

	pthread_mutex_lock(&f->lock);
	f->closed++;
	if (rpc_conn_is_open(conn))
		f->closed_open++;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

static void peer_reply(struct rpc_conn *conn, const void *bytes, size_t len, void *ctx)
{
	struct fixture *f = ctx;

	pthread_mutex_lock(&f->lock);
	f->peer_replies++;
	f->peer_reply_len = len < sizeof(f->peer_reply) ? len : sizeof(f->peer_reply);
	memcpy(f->peer_reply, bytes, f->peer_reply_len);
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void fixture_start(struct fixture *f, unsigned loops, void (*tune)(struct rpc_limits *l))
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_storage bound;
	struct rpc_limits limits;
	struct rpc_program program = {
		.number = TEST_PROGRAM,
		.min_version = TEST_VERS_LO,
		.max_version = TEST_VERS_HI,
		.handle = handle,
		.conn_closed = conn_closed,
		.payload = find_payload,
		.ctx = f,
	};

	*f = (struct fixture){ .file = -1 };
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	rpc_limits_default(&limits);
	if (tune)
		tune(&limits);
	assert_int_equal(rpc_server_new(&limits, loops ? loops : 1, &f->server), 0);
	assert_int_equal(rpc_server_add_program(f->server, &program), 0);
	rpc_server_on_reply(f->server, peer_reply, f);
	assert_int_equal(rpc_server_listen(f->server, (struct sockaddr *)&addr, sizeof(addr),
					   &bound),
			 0);
	f->port = ntohs(((struct sockaddr_in *)&bound)->sin_port);
	assert_int_not_equal(f->port, 0);
	assert_int_equal(rpc_server_start(f->server), 0);
}

void fixture_stop(struct fixture *f)
{
	struct rpc_stats st;

	rpc_server_stop(f->server, 5);
	/* What is left are a few buffers for reuse and the calls that were dropped. */
	st = fixture_stats(f);
	assert_int_equal(st.threads, 0);
	assert_int_equal(st.connections, 0);
	assert_true(st.memory < 24u << 20);
	rpc_conn_unref(f->kept);
	rpc_server_free(f->server);
	assert_int_equal(f->closed_open, 0);
	assert_int_equal(f->extents_out, f->extents_released);
	if (f->file >= 0)
		close(f->file);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->lock);
}

void fixture_wait_entered(struct fixture *f, unsigned key)
{
	pthread_mutex_lock(&f->lock);
	while (!f->entered[key])
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

struct rpc_call *fixture_wait_parked(struct fixture *f, unsigned key)
{
	struct rpc_call *call;

	pthread_mutex_lock(&f->lock);
	while (!f->parked[key])
		pthread_cond_wait(&f->changed, &f->lock);
	call = f->parked[key];
	f->parked[key] = NULL;
	pthread_mutex_unlock(&f->lock);
	return call;
}

void fixture_open_gate(struct fixture *f, unsigned key)
{
	pthread_mutex_lock(&f->lock);
	f->gate[key] = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void fixture_wait_closed(struct fixture *f, unsigned n)
{
	pthread_mutex_lock(&f->lock);
	while (f->closed < n)
		pthread_cond_wait(&f->changed, &f->lock);
	pthread_mutex_unlock(&f->lock);
}

struct rpc_stats fixture_stats(struct fixture *f)
{
	struct rpc_stats st;

	rpc_server_stats(f->server, &st);
	return st;
}

/* ---- bytes ---- */

void bytes_free(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){ 0 };
}

void put_raw(struct bytes *b, const void *p, size_t len)
{
	if (b->len + len > b->cap) {
		b->cap = 2 * (b->len + len) + 64;
		b->p = realloc(b->p, b->cap);
		assert_non_null(b->p);
	}
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

void put_u32(struct bytes *b, uint32_t v)
{
	uint32_t be = htobe32(v);

	put_raw(b, &be, 4);
}

void put_u64(struct bytes *b, uint64_t v)
{
	put_u32(b, (uint32_t)(v >> 32));
	put_u32(b, (uint32_t)v);
}

void put_opaque(struct bytes *b, const void *p, uint32_t len)
{
	put_u32(b, len);
	put_raw(b, p, len);
	put_raw(b, "\0\0\0", (4 - len % 4) % 4);
}

void put_auth(struct bytes *b, uint32_t flavor, const struct bytes *body)
{
	put_u32(b, flavor);
	put_opaque(b, body ? body->p : NULL, body ? (uint32_t)body->len : 0);
}

void put_auth_sys(struct bytes *b, uint32_t uid)
{
	struct bytes body = { 0 };

	put_u32(&body, 12345); /* stamp */
	put_opaque(&body, "client", 6);
	put_u32(&body, uid);
	put_u32(&body, 100);
	put_u32(&body, 2);
	put_u32(&body, 24);
	put_u32(&body, 4);
	put_auth(b, 1, &body);
	put_auth(b, 0, NULL);
	bytes_free(&body);
}

void put_call_header(struct bytes *b, uint32_t xid, uint32_t rpcvers, uint32_t prog, uint32_t vers,
		     uint32_t proc)
{
	put_u32(b, xid);
	put_u32(b, 0);
	put_u32(b, rpcvers);
	put_u32(b, prog);
	put_u32(b, vers);
	put_u32(b, proc);
}

void put_call(struct bytes *b, uint32_t xid, uint32_t proc)
{
	put_call_header(b, xid, 2, TEST_PROGRAM, TEST_VERS_LO, proc);
	put_auth_sys(b, 1000);
}

void put_record(struct bytes *out, const struct bytes *record)
{
	put_u32(out, 0x80000000u | (uint32_t)record->len);
	put_raw(out, record->p, record->len);
}

/* ---- client ---- */

int client_connect(const struct fixture *f)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(f->port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int one = 1;

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	return fd;
}

void client_send(int fd, const struct bytes *b)
{
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = send(fd, b->p + done, b->len - done, MSG_NOSIGNAL);

		assert_true(n > 0);
		done += (size_t)n;
	}
}

static bool recv_all(int fd, uint8_t *p, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = recv(fd, p + done, len - done, 0);

		if (n <= 0)
			return false;
		done += (size_t)n;
	}
	return true;
}

bool client_recv(int fd, struct bytes *b)
{
	uint8_t mark[4];
	uint32_t len;

	b->len = 0;
	if (!recv_all(fd, mark, 4))
		return false;
	len = (uint32_t)mark[0] << 24 | (uint32_t)mark[1] << 16 | (uint32_t)mark[2] << 8 | mark[3];
	assert_true(len >> 31);
	len &= 0x7fffffff;
	if (len > b->cap) {
		b->p = realloc(b->p, len);
		assert_non_null(b->p);
		b->cap = len;
	}
	b->len = len;
	return recv_all(fd, b->p, len);
}

bool client_closed(int fd)
{
	uint8_t byte;

	return recv(fd, &byte, 1, 0) <= 0;
}

uint32_t take_u32(struct bytes *b)
{
	uint32_t be;

	assert_true(b->len >= 4);
	memcpy(&be, b->p, 4);
	b->len -= 4;
	memmove(b->p, b->p + 4, b->len);
	return be32toh(be);
}

uint32_t take_success(struct bytes *b)
{
	uint32_t xid = take_u32(b);

	assert_int_equal(take_u32(b), 1); /* REPLY */
	assert_int_equal(take_u32(b), 0); /* MSG_ACCEPTED */
	assert_int_equal(take_u32(b), 0); /* AUTH_NONE */
	assert_int_equal(take_u32(b), 0);
	assert_int_equal(take_u32(b), 0); /* SUCCESS */
	return xid;
}

void client_call_u32(int fd, uint32_t xid, uint32_t proc, uint32_t arg)
{
	struct bytes record = { 0 }, out = { 0 };

	put_call(&record, xid, proc);
	put_u32(&record, arg);
	put_record(&out, &record);
	client_send(fd, &out);
	bytes_free(&record);
	bytes_free(&out);
}

bool client_exchange(int fd, const struct bytes *record, struct bytes *reply)
{
	struct bytes out = { 0 };

	put_record(&out, record);
	client_send(fd, &out);
	bytes_free(&out);
	return client_recv(fd, reply);
}

/*
 * RPC over TCP (RFC 5531): errors, record marking, many calls and many connections, and what
 * is no RPC at all.
 */
#include "tests/wire/nfs4.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"

#define CALL_CAP 1024

static void begin_call(struct enc *e, struct conn *c, uint32_t prog, uint32_t vers, uint32_t proc)
{
	enc_init(e, CALL_CAP);
	rpc_put_call(e, c, prog, vers, proc);
}

/* The server serves others, and this connection if it is open. */
static void check_alive(void)
{
	struct conn *c = conn_new();
	struct enc e;

	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
	check_num(rpc_call(c, &e)->outcome, RPC_SUCCESS_R);
	conn_close(c);
}

/* ---- errors ---- */

/* RFC 8881 section 17.1: NULL does nothing, with AUTH_NONE and with AUTH_SYS. */
static void null_procedure(void **state)
{
	struct conn *c = conn_new();
	struct rpc_reply *r;
	struct enc e;

	for (uint32_t flavor = 0; flavor <= 1; flavor++) {
		c->flavor = flavor;
		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		r = rpc_call(c, &e);
		check_num(r->outcome, RPC_SUCCESS_R);
		check_num(r->body_len, 0);
		check_num(r->xid, c->next_xid - 1);
	}
}

/* RFC 5531 section 9: a version of RPC other than 2 is denied with low and high. */
static void rpc_mismatch(void **state)
{
	static const uint32_t versions[] = { 0, 1, 3, 0xffffffff };
	struct conn *c = conn_new();

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct rpc_reply *r;
		struct enc e;

		enc_init(&e, CALL_CAP);
		put_u32(&e, 77);
		put_u32(&e, 0);
		put_u32(&e, versions[i]);
		put_u32(&e, NFS4_PROGRAM);
		put_u32(&e, NFS4_VERSION);
		put_u32(&e, 0);
		put_u64(&e, 0);
		put_u64(&e, 0);
		r = rpc_call(c, &e);
		check_num(r->xid, 77);
		check_num(r->outcome, RPC_MISMATCH_R);
		check_num(r->low, 2);
		check_num(r->high, 2);
	}
}

/* RFC 5531 section 9: PROG_UNAVAIL for programs that are not exported. */
static void prog_unavail(void **state)
{
	static const uint32_t programs[] = { 0, 100000, 100005, 100021, 0x40000000, 0xffffffff };
	struct conn *c = conn_new();
	struct enc e;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		begin_call(&e, c, programs[i], 4, 0);
		check_num(rpc_call(c, &e)->outcome, RPC_PROG_UNAVAIL_R);
	}
}

/* RFC 5531 section 9: PROG_MISMATCH says which versions there are. */
static void prog_mismatch(void **state)
{
	static const uint32_t versions[] = { 0, 2, 3, 5, 0xffffffff };
	struct conn *c = conn_new();
	struct enc e;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		struct rpc_reply *r;

		begin_call(&e, c, NFS4_PROGRAM, versions[i], 0);
		r = rpc_call(c, &e);
		check_num(r->outcome, RPC_PROG_MISMATCH_R);
		check_num(r->low, 4);
		check_num(r->high, 4);
	}
}

/* RFC 5531 section 9: PROC_UNAVAIL. */
static void proc_unavail(void **state)
{
	static const uint32_t procs[] = { 2, 3, 22, 0xffffffff };
	struct conn *c = conn_new();
	struct enc e;

	for (size_t i = 0; i < sizeof(procs) / sizeof(procs[0]); i++) {
		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, procs[i]);
		check_num(rpc_call(c, &e)->outcome, RPC_PROC_UNAVAIL_R);
	}
}

/* RFC 5531 section 9: GARBAGE_ARGS when the arguments of COMPOUND do not decode. */
static void garbage_args(void **state)
{
	struct conn *c = conn_new();
	struct enc e;

	/* Nothing at all. */
	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_COMPOUND);
	check_num(rpc_call(c, &e)->outcome, RPC_GARBAGE_ARGS_R);
	/* A tag longer than the record. */
	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_COMPOUND);
	put_u32(&e, 1000);
	put_u64(&e, 0);
	check_num(rpc_call(c, &e)->outcome, RPC_GARBAGE_ARGS_R);
	/* A tag, and no minor version. */
	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_COMPOUND);
	put_string(&e, "tag");
	check_num(rpc_call(c, &e)->outcome, RPC_GARBAGE_ARGS_R);
	/* No number of operations. */
	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_COMPOUND);
	put_string(&e, "tag");
	put_u32(&e, 0);
	check_num(rpc_call(c, &e)->outcome, RPC_GARBAGE_ARGS_R);
}

/* ---- authentication ---- */

/* A NULL call with that credential; the outcome. */
static struct rpc_reply *call_with(struct conn *c, uint32_t proc, uint32_t flavor, const void *body,
				   uint32_t len, uint32_t verf_flavor, uint32_t verf_len)
{
	static const char zeros[400];
	struct enc e;

	enc_init(&e, CALL_CAP);
	put_u32(&e, c->next_xid++);
	put_u32(&e, 0);
	put_u32(&e, 2);
	put_u32(&e, NFS4_PROGRAM);
	put_u32(&e, NFS4_VERSION);
	put_u32(&e, proc);
	put_u32(&e, flavor);
	put_opaque(&e, body, len);
	put_u32(&e, verf_flavor);
	put_opaque(&e, zeros, verf_len);
	if (proc == NFSPROC4_COMPOUND) {
		put_u32(&e, 0);
		put_u32(&e, 0);
		put_u32(&e, 0);
	}
	return rpc_call(c, &e);
}

static void expect_auth_error(const struct rpc_reply *r, uint32_t stat)
{
	check_num(r->outcome, RPC_AUTH_ERROR_R);
	check_num(r->auth_stat, stat);
}

/* RFC 5531 section 8.2: flavors that the server does not know are rejected. */
static void auth_unknown_flavor(void **state)
{
	static const uint32_t flavors[] = { 2, 3, 99, 0xffffffff };
	struct conn *c = conn_new();

	for (size_t i = 0; i < sizeof(flavors) / sizeof(flavors[0]); i++) {
		struct rpc_reply *r = call_with(c, 0, flavors[i], "abcd", 4, 0, 0);

		check_num(r->outcome, RPC_AUTH_ERROR_R);
		/* BADCRED, REJECTEDCRED or TOOWEAK: the RFC does not say which. */
		check(r->auth_stat == 1 || r->auth_stat == 2 || r->auth_stat == 5);
	}
	check_alive();
}

/* RFC 5531 appendix A: authsys_parms with more than 16 groups, a long name, or cut short. */
static void auth_sys_malformed(void **state)
{
	struct conn *c = conn_new();
	char name[300];
	struct enc e;

	enc_init(&e, CALL_CAP);
	put_u32(&e, 1);
	put_string(&e, "host");
	put_u32(&e, 0);
	put_u32(&e, 0);
	put_u32(&e, 17);
	for (int i = 0; i < 17; i++)
		put_u32(&e, 100);
	expect_auth_error(call_with(c, 0, 1, e.buf, (uint32_t)enc_len(&e), 0, 0), 1);

	memset(name, 'n', sizeof(name));
	name[256] = 0;
	enc_init(&e, CALL_CAP);
	put_u32(&e, 1);
	put_string(&e, name);
	put_u32(&e, 0);
	put_u32(&e, 0);
	put_u32(&e, 0);
	expect_auth_error(call_with(c, 0, 1, e.buf, (uint32_t)enc_len(&e), 0, 0), 1);

	enc_init(&e, CALL_CAP);
	put_u32(&e, 1);
	put_string(&e, "host");
	put_u32(&e, 0);
	put_u32(&e, 0);
	put_u32(&e, 3);
	put_u32(&e, 100);
	for (uint32_t len = 0; len < enc_len(&e); len += 4)
		expect_auth_error(call_with(c, 0, 1, e.buf, len, 0, 0), 1);
	/* The number of groups is larger than what is there. */
	expect_auth_error(call_with(c, 0, 1, e.buf, (uint32_t)enc_len(&e), 0, 0), 1);
}

/* RFC 5531 section 8.2: an opaque_auth body has at most 400 bytes. */
static void auth_body_too_long(void **state)
{
	struct conn *c = conn_new();
	char body[404];

	memset(body, 0, sizeof(body));
	expect_auth_error(call_with(c, 0, 1, body, sizeof(body), 0, 0), 1);
	check_alive();
}

/* RFC 5531 appendix A: AUTH_SYS comes with a verifier of AUTH_NONE. */
static void auth_bad_verifier(void **state)
{
	struct conn *c = conn_new();
	struct enc e;

	enc_init(&e, CALL_CAP);
	put_u32(&e, 1);
	put_string(&e, "host");
	put_u32(&e, 0);
	put_u32(&e, 0);
	put_u32(&e, 0);
	expect_auth_error(call_with(c, 0, 1, e.buf, (uint32_t)enc_len(&e), 1, 8), 3);
}

/* RFC 5531 section 9: COMPOUND by AUTH_NONE is too weak. */
static void auth_too_weak(void **state)
{
	struct conn *c = conn_new();

	expect_auth_error(call_with(c, NFSPROC4_COMPOUND, 0, NULL, 0, 0, 0), 5);
}

/* The record ends within the RPC header: no reply is possible, and nothing breaks. */
static void header_truncated(void **state)
{
	for (size_t len = 0; len < 40; len++) {
		struct conn *c = conn_new();
		struct enc e;

		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		check(conn_send(c, e.buf, len));
		/* Either the connection ends, or the server goes on with the next call. */
		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		if (conn_send(c, e.buf, enc_len(&e))) {
			struct rpc_reply *r = rpc_recv(c);

			/* Header without verifier or so: an error for it may come first. */
			if (r && r->outcome != RPC_SUCCESS_R)
				r = rpc_recv(c);
			check(!r || r->outcome == RPC_SUCCESS_R);
		}
		conn_close(c);
	}
	check_alive();
}

/* A REPLY to nothing, and a message type that does not exist, get no answer. */
static void not_a_call(void **state)
{
	for (uint32_t type = 1; type <= 3; type++) {
		struct conn *c = conn_new();
		struct rpc_reply *r;
		struct enc e;

		enc_init(&e, CALL_CAP);
		put_u32(&e, 4711);
		put_u32(&e, type);
		for (int i = 0; i < 10; i++)
			put_u32(&e, 0);
		check(conn_send(c, e.buf, enc_len(&e)));
		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		if (!conn_send(c, e.buf, enc_len(&e)))
			continue;
		r = rpc_recv(c);
		check(!r || r->xid != 4711);
	}
	check_alive();
}

/* ---- record marking (RFC 5531 section 11) ---- */

/* Bytes of a stream being put together. */
struct stream {
	uint8_t *p;
	size_t len, cap;
};

static struct stream stream_new(void)
{
	return (struct stream){ .p = test_alloc(65536), .cap = 65536 };
}

static void append_fragment(struct stream *s, const char *p, uint32_t len, bool is_last)
{
	uint32_t mark = htonl(len | (is_last ? 0x80000000u : 0));

	check(s->cap - s->len >= len + 4);
	memcpy(s->p + s->len, &mark, 4);
	if (len)
		memcpy(s->p + s->len + 4, p, len);
	s->len += len + 4;
}

/* A call in fragments of every small size, with empty ones between. */
static void fragments(void **state)
{
	struct conn *c = conn_new();

	for (uint32_t size = 1; size <= 64; size = size < 8 ? size + 1 : size * 2) {
		struct stream wire = stream_new();
		struct enc e;
		uint32_t len, xid;

		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		xid = c->next_xid - 1;
		len = (uint32_t)enc_len(&e);
		for (uint32_t at = 0; at < len; at += size) {
			uint32_t n = len - at < size ? len - at : size;

			append_fragment(&wire, NULL, 0, false);
			append_fragment(&wire, e.buf + at, n, at + n == len);
		}
		check(conn_send_raw(c, wire.p, wire.len));
		check_num(rpc_must_recv(c)->xid, xid);
	}
}

/* The last fragment may be an empty one. */
static void empty_last_fragment(void **state)
{
	struct conn *c = conn_new();
	struct stream wire = stream_new();
	struct enc e;

	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
	append_fragment(&wire, e.buf, (uint32_t)enc_len(&e), false);
	append_fragment(&wire, NULL, 0, true);
	check(conn_send_raw(c, wire.p, wire.len));
	check_num(rpc_must_recv(c)->outcome, RPC_SUCCESS_R);
}

/* A byte at a time, each in a segment of its own. */
static void byte_by_byte(void **state)
{
	struct conn *c = conn_new();
	struct enc e;
	uint32_t mark;
	size_t len;

	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
	len = enc_len(&e);
	mark = __builtin_bswap32(0x80000000u | (uint32_t)len);
	for (size_t i = 0; i < 4; i++)
		check(conn_send_raw(c, (char *)&mark + i, 1));
	for (size_t i = 0; i < len; i++)
		check(conn_send_raw(c, e.buf + i, 1));
	check_num(rpc_must_recv(c)->outcome, RPC_SUCCESS_R);
}

/* A record longer than any that the server takes ends the connection, nothing else. */
static void record_too_long(void **state)
{
	static const uint32_t marks[] = { 0xffffffff, 0x7fffffff, 0xc0000000, 0x84000000 };

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		struct conn *c = conn_new();
		uint32_t mark = __builtin_bswap32(marks[i]);
		char junk[64] = { 0 };

		check(conn_send_raw(c, &mark, 4));
		conn_send_raw(c, junk, sizeof(junk));
		if (!conn_closed_by_server(c))
			fail_with("record mark %#x was taken", marks[i]);
	}
	check_alive();
}

/* Fragments without end: their sum is limited as one record's length is. */
static void endless_fragments(void **state)
{
	struct conn *c = conn_new();
	uint32_t size = 65536;
	char *buf = test_alloc(size + 4);
	bool open = true;

	*(uint32_t *)(void *)buf = __builtin_bswap32(size);
	for (int i = 0; open && i < 64 * 16; i++)
		open = conn_send_raw(c, buf, size + 4);
	check(!open || conn_closed_by_server(c));
	check_alive();
}

/* A record that is never finished keeps nobody else waiting, nor does its end. */
static void half_record(void **state)
{
	struct enc e;

	for (size_t part = 1; part < 30; part += 7) {
		struct conn *c = conn_new();
		uint32_t mark;

		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		mark = __builtin_bswap32(0x80000000u | (uint32_t)enc_len(&e));
		if (part < 4) {
			check(conn_send_raw(c, &mark, part));
		} else {
			check(conn_send_raw(c, &mark, 4));
			check(conn_send_raw(c, e.buf, part));
		}
		check_alive();
		conn_close(c);
		check_alive();
	}
}

/* Bytes of another protocol. */
static void not_rpc(void **state)
{
	static const char *const junk[] = { "GET / HTTP/1.0\r\n\r\n", "SSH-2.0-OpenSSH\r\n",
					    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" };

	for (size_t i = 0; i < sizeof(junk) / sizeof(junk[0]); i++) {
		struct conn *c = conn_new();

		check(conn_send_raw(c, junk[i], strlen(junk[i])));
		shutdown(c->fd, SHUT_WR);
		check(conn_closed_by_server(c));
	}
	check_alive();
}

/* ---- many ---- */

/* Calls one behind the other: each is answered once, in whatever order. */
static void pipelining(void **state)
{
	enum { N = 500 };
	struct conn *c = conn_new();
	bool *seen = test_alloc(N);
	uint32_t first = c->next_xid;

	for (int i = 0; i < N; i++) {
		struct enc e;

		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		check(conn_send(c, e.buf, enc_len(&e)));
	}
	for (int i = 0; i < N; i++) {
		struct rpc_reply *r = rpc_recv(c);
		uint32_t n;

		check(r != NULL);
		n = r->xid - first;
		check(n < N && !seen[n]);
		seen[n] = true;
	}
	check(!conn_readable(c, 0));
}

/* Many records in one segment, and a record's end in the next one. */
static void records_joined(void **state)
{
	struct conn *c = conn_new();
	struct stream wire = stream_new();
	size_t total;

	for (int i = 0; i < 100; i++) {
		struct enc e;

		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		append_fragment(&wire, e.buf, (uint32_t)enc_len(&e), true);
	}
	total = wire.len;
	check(conn_send_raw(c, wire.p, total - 3));
	for (int i = 0; i < 99; i++)
		check_num(rpc_must_recv(c)->outcome, RPC_SUCCESS_R);
	check(!conn_readable(c, 0));
	check(conn_send_raw(c, wire.p + total - 3, 3));
	check_num(rpc_must_recv(c)->outcome, RPC_SUCCESS_R);
}

/* The same xid twice on a connection is two calls (RFC 5531 section 9). */
static void same_xid(void **state)
{
	struct conn *c = conn_new();
	struct enc e;

	begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
	check(conn_send(c, e.buf, enc_len(&e)));
	check(conn_send(c, e.buf, enc_len(&e)));
	check_num(rpc_must_recv(c)->xid, c->next_xid - 1);
	check_num(rpc_must_recv(c)->xid, c->next_xid - 1);
}

/* The xid is opaque: all bits come back. */
static void xid_values(void **state)
{
	static const uint32_t xids[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };
	struct conn *c = conn_new();

	for (size_t i = 0; i < sizeof(xids) / sizeof(xids[0]); i++) {
		struct enc e;

		c->next_xid = xids[i];
		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		check_num(rpc_call(c, &e)->xid, xids[i]);
	}
}

/* Some hundred connections at once, each of which gets its own answers. */
static void many_connections(void **state)
{
	enum { N = 300 };
	struct conn **c = test_alloc(N * sizeof(struct conn *));

	for (uint32_t i = 0; i < N; i++) {
		struct enc e;

		c[i] = conn_new();
		c[i]->next_xid = i;
		begin_call(&e, c[i], NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		check(conn_send(c[i], e.buf, enc_len(&e)));
	}
	for (uint32_t i = N; i-- > 0;)
		check_num(rpc_must_recv(c[i])->xid, i);
}

/* Connections that come and go without a byte. */
static void connections_in_vain(void **state)
{
	for (int i = 0; i < 300; i++)
		conn_close(conn_new());
	check_alive();
}

/* A connection that has gone costs no descriptor, however it went. */
static void descriptors_are_given_back(void **state)
{
	struct timespec step = { .tv_nsec = 5 * 1000 * 1000 };
	unsigned before, now = 0;

	if (wire_server_external())
		skip();
	check_alive();
	before = wire_server_descriptors();
	for (int i = 0; i < 200; i++) {
		struct linger l = { .l_onoff = 1 };
		struct conn *c = conn_new();
		struct enc e;

		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		check(conn_send(c, e.buf, enc_len(&e) - (i % 3 == 0)));
		if (i % 3 == 1)
			rpc_must_recv(c);
		if (i & 1)
			setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		conn_close(c);
	}
	for (int i = 0; i < 2000; i++) {
		now = wire_server_descriptors();
		if (now <= before + 5)
			return;
		nanosleep(&step, NULL);
	}
	fail_with("%u descriptors before, %u after 200 connections", before, now);
}

/* The client goes away while its calls run. */
static void closed_with_calls_running(void **state)
{
	for (int i = 0; i < 20; i++) {
		struct conn *c = conn_new();
		struct linger l = { .l_onoff = 1 };

		for (int n = 0; n < 50; n++) {
			struct compound *q = compound_begin(c, 0, "gone");

			add_putrootfh(q);
			add_readdir(q, 0, NULL, 8192, 65536, bm_of(FATTR4_TYPE, FATTR4_SIZE, -1));
			check(compound_send(q));
		}
		if (i & 1) /* a reset in place of an orderly end */
			setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		conn_close(c);
	}
	check_alive();
}

/* Half closed: what was asked before is answered still. */
static void shutdown_after_calls(void **state)
{
	struct conn *c = conn_new();
	struct enc e;

	for (int i = 0; i < 10; i++) {
		begin_call(&e, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_NULL);
		check(conn_send(c, e.buf, enc_len(&e)));
	}
	shutdown(c->fd, SHUT_WR);
	for (int i = 0; i < 10; i++) {
		struct rpc_reply *r = rpc_recv(c);

		check(r != NULL);
	}
	check(conn_closed_by_server(c));
}

/*
 * A client that does not read: the server stops reading in turn (and does not grow without
 * bound), and no reply is lost when the client reads at last.
 */
static void client_does_not_read(void **state)
{
	enum { MAX = 3000 };
	struct client *cl = client_new(0);
	struct conn *c = cl->conn;
	char *data = test_alloc(65536);
	struct fh dir = test_dir(cl);
	struct fh fh = make_file(cl, &dir, "f", data, 65536);
	size_t len, sent = 0, done = 0;
	const uint8_t *bytes;
	struct compound *q;
	uint8_t *record;
	int n = 0;

	q = begin_at(cl, &fh);
	add_read(q, &SID_ANONYMOUS, 0, 65536);
	bytes = compound_bytes(q, &len);
	record = test_alloc(len + 4);
	*(uint32_t *)(void *)record = __builtin_bswap32(0x80000000u | (uint32_t)len);
	memcpy(record + 4, bytes, len);
	while (n < MAX) {
		struct pollfd p = { .fd = c->fd, .events = POLLOUT };
		ssize_t got;

		if (poll(&p, 1, 300) == 0)
			break; /* pushed back */
		got = send(c->fd, record + sent, len + 4 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (got < 0 && errno == EAGAIN)
			continue;
		check(got > 0);
		sent += (size_t)got;
		if (sent == len + 4) {
			sent = 0;
			n++;
		}
	}
	check(n > 10);
	for (int i = 0; i < n; i++) {
		const void *mark = test_mark();
		size_t reply_len;

		check(conn_recv(c, &reply_len) != NULL);
		check(reply_len > 65536);
		done++;
		test_release(mark);
	}
	check_num(done, (uint64_t)n);
}

/* ---- calls in parallel on one connection ---- */

/* One call on every slot of a session at once: every reply is its own call's. */
static void parallel_slots(void **state)
{
	enum { ROUNDS = 20 };
	struct client *cl = client_new(minor_of(state));
	uint32_t slots = cl->fore.max_requests < 16 ? cl->fore.max_requests : 16;
	struct fh dir = test_dir(cl), files[16];
	char data[16][4096];

	for (uint32_t i = 0; i < slots; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		memset(data[i], 'a' + (int)i, sizeof(data[i]));
		files[i] = make_file(cl, &dir, name, data[i], (uint32_t)(100 * (i + 1)));
	}
	for (int round = 0; round < ROUNDS; round++) {
		struct compound *q[16];

		for (uint32_t i = 0; i < slots; i++) {
			q[i] = begin_slot(cl, i);
			add_putfh(q[i], &files[i]);
			if (i % 4 == 3)
				add_write(q[i], &SID_ANONYMOUS, 0, FILE_SYNC4, data[i], 50);
			add_read(q[i], &SID_ANONYMOUS, 0, 4096);
			add_getattr(q[i], bm_of(FATTR4_SIZE, -1));
			check(compound_send(q[i]));
		}
		for (uint32_t n = 0; n < slots; n++) {
			struct rpc_reply *rpc = rpc_must_recv(cl->conn);
			struct result *read;
			struct reply *r;
			uint32_t i = 0;

			while (i < slots && q[i]->xid != rpc->xid)
				i++;
			check(i < slots);
			r = compound_parse(q[i], rpc);
			compound_done(q[i], r);
			expect(r, NFS4_OK);
			read = result_of(r, OP_READ);
			check_num(read->len, 100 * (i + 1));
			check(read->eof);
			check(memcmp(read->data, data[i], read->len) == 0);
			check_num(result_of(r, OP_SEQUENCE)->slot, i);
			check_num(last(r)->attrs->a[FATTR4_SIZE].num, 100 * (i + 1));
		}
	}
}

/* Large writes, each in a record of its own, between small calls of another slot. */
static void large_and_small(void **state)
{
	struct client *cl = client_new(1);
	struct fh dir = test_dir(cl);
	struct fh fh = make(cl, &dir, NF4REG, "big");
	uint32_t len = 1 << 20;
	uint8_t *data = test_alloc(len);

	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	for (int n = 0; n < 4; n++) {
		struct compound *big = begin_slot(cl, 0), *small = begin_slot(cl, 1);

		add_putfh(big, &fh);
		add_write(big, &SID_ANONYMOUS, (uint64_t)n * len, UNSTABLE4, data, len);
		add_putfh(small, &dir);
		add_getattr(small, bm_of(FATTR4_TYPE, -1));
		check(compound_send(big));
		check(compound_send(small));
		for (int i = 0; i < 2; i++) {
			struct rpc_reply *rpc = rpc_must_recv(cl->conn);
			struct compound *q = rpc->xid == big->xid ? big : small;
			struct reply *r = compound_parse(q, rpc);

			compound_done(q, r);
			expect(r, NFS4_OK);
			if (q == big)
				check_num(last(r)->count, len);
		}
	}
	for (int n = 0; n < 4; n++) {
		struct compound *q = begin_at(cl, &fh);
		struct reply *r;

		add_read(q, &SID_ANONYMOUS, (uint64_t)n * len, len);
		r = call(q);
		expect(r, NFS4_OK);
		check_num(last(r)->len, len);
		check(memcmp(last(r)->data, data, len) == 0);
		check(last(r)->eof == (n == 3));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_TEST(null_procedure),
		WIRE_TEST(rpc_mismatch),
		WIRE_TEST(prog_unavail),
		WIRE_TEST(prog_mismatch),
		WIRE_TEST(proc_unavail),
		WIRE_TEST(garbage_args),
		WIRE_TEST(auth_unknown_flavor),
		WIRE_TEST(auth_sys_malformed),
		WIRE_TEST(auth_body_too_long),
		WIRE_TEST(auth_bad_verifier),
		WIRE_TEST(auth_too_weak),
		WIRE_TEST(header_truncated),
		WIRE_TEST(not_a_call),
		WIRE_TEST(fragments),
		WIRE_TEST(empty_last_fragment),
		WIRE_TEST(byte_by_byte),
		WIRE_TEST(record_too_long),
		WIRE_TEST(endless_fragments),
		WIRE_TEST(half_record),
		WIRE_TEST(not_rpc),
		WIRE_TEST(pipelining),
		WIRE_TEST(records_joined),
		WIRE_TEST(same_xid),
		WIRE_TEST(xid_values),
		WIRE_TEST(many_connections),
		WIRE_TEST(connections_in_vain),
		WIRE_TEST(descriptors_are_given_back),
		WIRE_TEST(closed_with_calls_running),
		WIRE_TEST(shutdown_after_calls),
		WIRE_TEST(client_does_not_read),
		WIRE_SESSIONS(parallel_slots),
		WIRE_TEST(large_and_small),
	};

	return wire_main("rpc", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

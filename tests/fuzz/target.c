#include "tests/fuzz/target.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/cred.h"
#include "base/log.h"
#include "base/random.h"
#include "config/exports.h"
#include "nfsd/nfs4.h"
#include "nfsd/server.h"
#include "rpc/rpc.h"

/* ---- what rpc/ and base/ supply in the daemon ---- */

static void give_up(const char *what)
{
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

struct rpc_conn {
	struct sockaddr_in peer, local;
	uint64_t id;
	void *slot;
};

const struct sockaddr *rpc_conn_peer(const struct rpc_conn *conn)
{
	return (const struct sockaddr *)&conn->peer;
}

const struct sockaddr *rpc_conn_local(const struct rpc_conn *conn)
{
	return (const struct sockaddr *)&conn->local;
}

uint64_t rpc_conn_id(const struct rpc_conn *conn)
{
	return conn->id;
}

void **rpc_conn_slot(struct rpc_conn *conn)
{
	return &conn->slot;
}

struct rpc_conn *rpc_conn_ref(struct rpc_conn *conn)
{
	return conn;
}

void rpc_conn_unref(struct rpc_conn *conn)
{
	/* It lives as long as the run. */
}

bool rpc_conn_is_open(const struct rpc_conn *conn)
{
	return true;
}

void rpc_conn_abort(struct rpc_conn *conn)
{
	/* There is no peer that could notice. */
}

/* Callbacks: nobody takes them and nobody listens. */
void rpc_record_begin(struct xdr_out *x, size_t limit)
{
	xdr_out_init(x, limit);
}

int rpc_conn_send(struct rpc_conn *conn, struct xdr_out *x)
{
	xdr_out_free(x);
	return -ENOTCONN;
}

int rpc_server_connect(struct rpc_server *s, const struct sockaddr *addr, socklen_t len,
		       struct rpc_conn **out)
{
	return -ECONNREFUSED;
}

void rpc_server_on_reply(struct rpc_server *s,
			 void (*reply)(struct rpc_conn *conn, const void *bytes, size_t len,
				       void *ctx),
			 void *ctx)
{
	/* Nothing is sent, so nothing comes back. */
}

int rpc_server_add_program(struct rpc_server *s, const struct rpc_program *p)
{
	return 0;
}

static struct rpc_call *resumed;

void rpc_call_resume(struct rpc_call *call)
{
	resumed = call;
}

void rpc_call_later(struct rpc_call *call, struct rpc_later *later)
{
	struct list just_this = LIST_INITIALIZER(just_this);

	list_push_back(&just_this, &later->link);
	later->fn(&just_this, false);
}

/* What was taken out of the record, as if it waited in a pipe. */
static uint8_t hole_bytes[65536];

int rpc_call_fill(struct rpc_call *call)
{
	memcpy(call->hole.at, hole_bytes, call->hole.len);
	call->hole.len = 0;
	return 0;
}

/* What need not be in memory is not: it must not be read before it is asked for. */
static void make_hole(const struct rpc_program *program, struct rpc_call *call, uint8_t *args,
		      size_t len)
{
	struct xdr_in head = call->args;
	struct rpc_span span;

	if (len > 1024)
		head.end = head.p + 1024;
	if (!program->payload(call->procedure, head, len, &span))
		return;
	if (span.from >= span.to || span.to > len || span.to - span.from > sizeof(hole_bytes))
		give_up("a payload that is not there");
	call->hole = (struct rpc_hole){ args + span.from, span.to - span.from, -1 };
	memcpy(hole_bytes, call->hole.at, call->hole.len);
	memset(call->hole.at, 0xa5, call->hole.len);
}

static uint64_t random_state;

uint64_t random_u64(void)
{
	/* splitmix64 */
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

void random_bytes(void *buf, size_t len)
{
	for (uint8_t *p = buf; len > 0;) {
		uint64_t r = random_u64();
		size_t n = len < sizeof(r) ? len : sizeof(r);

		memcpy(p, &r, n);
		p += n;
		len -= n;
	}
}

/* ---- the server ---- */

struct fuzz_server {
	struct nfs_server *nfs;
	struct rpc_program program;
	struct rpc_conn conns[2];
	const struct cred *root, *user;
	uint32_t xid;
};

struct fuzz_server *fuzz_server_new(void)
{
	struct nfs_server_options o;
	struct fuzz_server *s = calloc(1, sizeof(*s));
	struct exports *exports;
	struct config_error err;

	if (!s)
		give_up("out of memory");
	random_state = 1;
	log_set_level(LOG_LEVEL_ERROR);
	nfs_server_options_default(&o);
	memset(&o.handle_key, 7, sizeof(o.handle_key));
	o.epoch = 0x12345678;
	o.scope = "fuzz";
	if (exports_parse("fuzz", "/ *(rw,no_root_squash,insecure,backend=memory)\n", &exports,
			  &err) ||
	    nfs_server_new(&o, exports, &s->nfs, &err))
		give_up("no server");
	s->program = nfs_server_program(s->nfs);
	for (unsigned i = 0; i < 2; i++) {
		s->conns[i].peer.sin_family = s->conns[i].local.sin_family = AF_INET;
		s->conns[i].peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		s->conns[i].peer.sin_port = htons((uint16_t)(1001 + i));
		s->conns[i].id = i + 1;
	}
	s->root = cred_get(0, 0, NULL, 0);
	s->user = cred_get(1000, 1000, NULL, 0);
	s->xid = 1;
	if (!s->root || !s->user)
		give_up("out of memory");
	return s;
}

void fuzz_server_free(struct fuzz_server *s)
{
	for (unsigned i = 0; i < 2; i++)
		s->program.conn_closed(&s->conns[i], s->program.ctx);
	nfs_server_free(s->nfs);
	cred_unref(s->root);
	cred_unref(s->user);
	free(s);
}

/* The reply's bytes in one piece, extents of files included. */
static int gather(const struct xdr_out *x, uint8_t *reply)
{
	const struct xdr_extent *e = x->extents;
	size_t from = 0, n = 0;

	if (xdr_out_total(x) > FUZZ_REPLY_MAX)
		give_up("a reply that is too long");
	for (;;) {
		size_t to = e ? e->at : x->len;

		memcpy(reply + n, x->buf + from, to - from);
		n += to - from;
		from = to;
		if (!e)
			return (int)n;
		if (pread(e->fd, reply + n, e->len, e->offset) != (ssize_t)e->len)
			give_up("an extent that cannot be read");
		n += e->len;
		e = e->next;
	}
}

static uint32_t word_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/*
 * What can be said of any COMPOUND4res without decoding its results: status, tag, their number
 * and, if there are any, the first one's number and status. (The tag need not be the call's: a
 * retry within a session is answered with the first reply, whatever its own tag is.)
 */
static void check_result(const uint8_t *reply, size_t len)
{
	size_t tag_len, at;

	if (len < 12 || len % 4)
		give_up("a result that is too short or not padded");
	tag_len = word_at(reply + 4);
	at = 8 + (tag_len + 3) / 4 * 4;
	if (at > len - 4)
		give_up("a tag that is longer than the result");
	if (len - at - 4 < 8 * (size_t)(word_at(reply + at) > 0))
		give_up("results that are not there");
}

int fuzz_compound(struct fuzz_server *s, unsigned flags, const uint8_t *args, size_t len,
		  uint8_t *reply)
{
	struct rpc_call call = {
		.xid = s->xid++,
		.program = NFS4_PROGRAM,
		.version = NFS4_VERSION,
		.procedure = NFSPROC4_COMPOUND,
		.conn = &s->conns[flags & FUZZ_SECOND_CONN],
		.auth = { .flavor = RPC_AUTH_SYS, .machine = "fuzz" },
		/* As if RPC's header were before it. */
		.record_len = len + 64,
	};
	/* A copy of its exact size, so that a read behind it is noticed. */
	uint8_t *copy = malloc(len ? len : 1);
	enum rpc_verdict verdict;
	int n = -1;

	if (!copy)
		give_up("out of memory");
	memcpy(copy, args, len);
	call.auth.cred = flags & FUZZ_USER ? s->user : s->root;
	arena_init(&call.arena);
	xdr_in_init(&call.args, copy, len);
	xdr_out_init(&call.reply, FUZZ_REPLY_MAX);
	make_hole(&s->program, &call, copy, len);
	for (verdict = s->program.handle(&call, s->program.ctx); verdict == RPC_PARKED;) {
		if (resumed != &call)
			give_up("a call that nobody will resume");
		resumed = NULL;
		verdict = call.resume(&call);
	}
	/* A session may have limits so narrow that nothing fits: rpc says SYSTEM_ERR then. */
	if (verdict == RPC_REPLY && !call.reply.failed) {
		n = gather(&call.reply, reply);
		check_result(reply, (size_t)n);
	}
	if (call.done)
		call.done(&call);
	xdr_out_free(&call.reply);
	arena_free(&call.arena);
	free(copy);
	return n;
}

void fuzz_input(const uint8_t *data, size_t len)
{
	static uint8_t reply[FUZZ_REPLY_MAX];
	struct fuzz_server *s = fuzz_server_new();

	while (len >= FUZZ_HEADER) {
		unsigned flags = data[0];
		size_t n = data[2] | (size_t)data[3] << 8;

		data += FUZZ_HEADER;
		len -= FUZZ_HEADER;
		if (n > len)
			n = len;
		fuzz_compound(s, flags, data, n, reply);
		data += n;
		len -= n;
	}
	fuzz_server_free(s);
}

/*
 * The other direction: calls from the server, over a client's own connection (sessions) or over
 * one that the server makes (minor version 0). Decoded as strictly as replies are.
 */
#include "tests/wire/nfs4.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CB_VERSION	1
#define CB_PROC_NULL	 0
#define CB_PROC_COMPOUND 1
#define ACCEPT_MS	20000

static uint32_t get_u32(XDR *x)
{
	uint32_t v;

	if (!xdr_uint32_t(x, &v))
		fail_with("a call of the server's is too short");
	return v;
}

static uint64_t get_u64(XDR *x)
{
	uint64_t v;

	if (!xdr_uint64_t(x, &v))
		fail_with("a call of the server's is too short");
	return v;
}

static void get_fixed(XDR *x, void *to, uint32_t len)
{
	if (!xdr_opaque(x, to, len))
		fail_with("a call of the server's is too short");
}

static uint8_t *get_opaque(XDR *x, uint32_t max, uint32_t *len)
{
	uint8_t *p;

	*len = get_u32(x);
	if (*len > max)
		fail_with("%u bytes in a call of the server's where %u are the limit", *len, max);
	p = test_alloc((size_t)*len + 1);
	get_fixed(x, p, *len);
	return p;
}

static void get_fh(XDR *x, struct fh *fh)
{
	uint8_t *p = get_opaque(x, NFS4_FHSIZE, &fh->len);

	memcpy(fh->data, p, fh->len);
}

static void get_bitmap(XDR *x, struct bitmap *bm)
{
	bm->n = get_u32(x);
	check(bm->n <= 3);
	for (uint32_t i = 0; i < bm->n; i++)
		bm->w[i] = get_u32(x);
}

/* AUTH_NONE or AUTH_SYS, and an empty verifier. */
static void get_auth(XDR *x, struct cb_call *call)
{
	uint32_t len, n, end;

	call->flavor = get_u32(x);
	len = get_u32(x);
	end = xdr_getpos(x) + len;
	if (call->flavor == 1) {
		get_u32(x);
		get_opaque(x, 255, &n);
		call->uid = get_u32(x);
		call->gid = get_u32(x);
		n = get_u32(x);
		check(n <= 16);
		while (n-- > 0)
			get_u32(x);
	} else {
		check_num(call->flavor, 0);
	}
	check_num(xdr_getpos(x), end);
	check_num(get_u32(x), 0);
	check_num(get_u32(x), 0);
}

static void get_referrals(XDR *x, struct cb_call *call)
{
	call->nreferrals = get_u32(x);
	for (uint32_t i = 0; i < call->nreferrals; i++) {
		uint8_t session[NFS4_SESSIONID_SIZE];
		uint32_t n;

		get_fixed(x, session, sizeof(session));
		n = get_u32(x);
		check(n > 0);
		for (uint32_t j = 0; j < n; j++) {
			uint32_t seqid = get_u32(x), slot = get_u32(x);

			if (i || j)
				continue;
			memcpy(call->ref_session, session, sizeof(session));
			call->ref_seqid = seqid;
			call->ref_slot = slot;
		}
	}
}

static void get_sequence(XDR *x, struct cb_call *call)
{
	uint32_t cache;

	call->sequenced = true;
	get_fixed(x, call->session, sizeof(call->session));
	call->seqid = get_u32(x);
	call->slot = get_u32(x);
	call->highest_slot = get_u32(x);
	check(call->highest_slot >= call->slot);
	cache = get_u32(x);
	check(cache <= 1);
	call->cache_this = cache;
	get_referrals(x, call);
}

static void get_op(XDR *x, struct cb_call *call)
{
	call->op = get_u32(x);
	switch (call->op) {
	case OP_CB_RECALL:
		call->sid.seqid = get_u32(x);
		get_fixed(x, call->sid.other, sizeof(call->sid.other));
		call->truncate = get_u32(x);
		get_fh(x, &call->fh);
		break;
	case OP_CB_GETATTR:
		get_fh(x, &call->fh);
		get_bitmap(x, &call->bm);
		break;
	case OP_CB_RECALL_ANY:
		call->keep = get_u32(x);
		get_bitmap(x, &call->bm);
		break;
	case OP_CB_NOTIFY_LOCK:
		get_fh(x, &call->fh);
		call->clientid = get_u64(x);
		call->owner = get_opaque(x, NFS4_OPAQUE_LIMIT, &call->owner_len);
		break;
	default:
		fail_with("the server called with operation %u, unknown to the test", call->op);
	}
}

static void get_compound(XDR *x, struct cb_call *call)
{
	uint32_t len, nops;

	get_opaque(x, 1024, &len);
	call->minor = get_u32(x);
	call->ident = get_u32(x);
	nops = get_u32(x);
	if (call->minor > 0) {
		check(nops == 1 || nops == 2);
		check_num(get_u32(x), OP_CB_SEQUENCE);
		get_sequence(x, call);
		nops--;
	} else {
		check_num(nops, 1);
	}
	if (nops)
		get_op(x, call);
}

struct cb_call *cb_parse(struct conn *c, const uint8_t *bytes, size_t len)
{
	struct cb_call *call = test_alloc(sizeof(*call));
	XDR x;

	xdrmem_create(&x, (char *)(uintptr_t)bytes, (u_int)len, XDR_DECODE);
	call->conn = c;
	call->xid = get_u32(&x);
	check_num(get_u32(&x), 0); /* CALL */
	check_num(get_u32(&x), 2);
	call->program = get_u32(&x);
	check_num(get_u32(&x), CB_VERSION);
	call->procedure = get_u32(&x);
	get_auth(&x, call);
	if (call->procedure == CB_PROC_COMPOUND)
		get_compound(&x, call);
	else
		check_num(call->procedure, CB_PROC_NULL);
	check_num(xdr_getpos(&x), len);
	return call;
}

/* ---- receiving ---- */

static struct cb_call *take_kept(struct conn *c)
{
	struct cb_call *call = c->calls;

	if (call)
		c->calls = call->next;
	return call;
}

struct cb_call *cb_recv_any(struct conn *c)
{
	struct cb_call *call = take_kept(c);
	uint8_t *bytes;
	size_t len;

	if (call)
		return call;
	bytes = conn_recv(c, &len);
	if (!bytes)
		fail_with("the server closed the connection instead of calling");
	return cb_parse(c, bytes, len);
}

struct cb_call *cb_recv(struct conn *c)
{
	struct cb_call *call;

	while ((call = cb_recv_any(c))->op == 0)
		cb_answer(call, NFS4_OK);
	return call;
}

bool cb_quiet(struct conn *c, int ms)
{
	while (c->calls || conn_readable(c, ms)) {
		struct cb_call *call = cb_recv_any(c);

		if (call->op) {
			call->next = c->calls;
			c->calls = call;
			return false;
		}
		cb_answer(call, NFS4_OK);
	}
	return true;
}

/* ---- answering ---- */

static void put_accepted(struct enc *e, const struct cb_call *call, uint32_t stat)
{
	enc_init(e, 512);
	put_u32(e, call->xid);
	put_u32(e, 1); /* REPLY */
	put_u32(e, 0);
	put_u32(e, 0); /* verifier */
	put_u32(e, 0);
	put_u32(e, stat);
}

static void put_compound_res(struct enc *e, uint32_t status, uint32_t nops)
{
	put_u32(e, status);
	put_u32(e, 0); /* tag */
	put_u32(e, nops);
}

static void put_sequence_res(struct enc *e, const struct cb_call *call)
{
	put_u32(e, OP_CB_SEQUENCE);
	put_u32(e, NFS4_OK);
	put_fixed(e, call->session, sizeof(call->session));
	put_u32(e, call->seqid);
	put_u32(e, call->slot);
	put_u32(e, 15);
	put_u32(e, 15);
}

static void send_answer(const struct cb_call *call, struct enc *e)
{
	check(conn_send(call->conn, e->buf, enc_len(e)));
}

void cb_answer_body(const struct cb_call *call, uint32_t status, const void *body, size_t len)
{
	struct enc e;

	put_accepted(&e, call, 0);
	if (call->procedure == CB_PROC_COMPOUND)
		put_compound_res(&e, status, call->sequenced + (call->op != 0));
	if (call->sequenced)
		put_sequence_res(&e, call);
	if (call->op) {
		put_u32(&e, call->op);
		put_u32(&e, status);
		if (len)
			put_fixed(&e, body, (uint32_t)len);
	}
	send_answer(call, &e);
}

void cb_answer(const struct cb_call *call, uint32_t status)
{
	cb_answer_body(call, status, NULL, 0);
}

void cb_answer_sequence(const struct cb_call *call, uint32_t status)
{
	struct enc e;

	check(call->sequenced);
	put_accepted(&e, call, 0);
	put_compound_res(&e, status, 1);
	put_u32(&e, OP_CB_SEQUENCE);
	put_u32(&e, status);
	send_answer(call, &e);
}

void cb_answer_unavailable(const struct cb_call *call)
{
	struct enc e;

	put_accepted(&e, call, 1); /* PROG_UNAVAIL */
	send_answer(call, &e);
}

/* ---- minor version 0 ---- */

struct cb_listener *cb_listen(int family)
{
	struct cb_listener *l = test_alloc(sizeof(*l));
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr *sa = family == AF_INET ? (void *)&in : (void *)&in6;
	socklen_t len = family == AF_INET ? sizeof(in) : sizeof(in6);
	uint16_t port;

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l->fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	check(l->fd >= 0);
	if (bind(l->fd, sa, len) || listen(l->fd, 16) || getsockname(l->fd, sa, &len))
		fail_with("listening: %s", strerror(errno));
	port = ntohs(family == AF_INET ? in.sin_port : in6.sin6_port);
	snprintf(l->netid, sizeof(l->netid), "%s", family == AF_INET ? "tcp" : "tcp6");
	snprintf(l->addr, sizeof(l->addr), "%s.%u.%u", family == AF_INET ? "127.0.0.1" : "::1",
		 port >> 8, port & 255);
	return l;
}

void cb_listener_close(struct cb_listener *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

struct conn *cb_accept(struct cb_listener *l)
{
	struct pollfd p = { .fd = l->fd, .events = POLLIN };
	int fd = poll(&p, 1, ACCEPT_MS) == 1 ? accept4(l->fd, NULL, NULL, SOCK_CLOEXEC) : -1;

	if (fd < 0)
		fail_with("the server did not connect to %s %s", l->netid, l->addr);
	return conn_adopt(fd);
}

void cb_setclientid(struct client *cl, const char *netid, const char *addr, uint32_t program,
		    uint32_t ident)
{
	struct compound *q = begin(cl);
	struct reply *r;
	struct verf confirm;

	add_setclientid(q, &cl->verf, cl->id, program, netid, addr, ident);
	r = call(q);
	expect(r, NFS4_OK);
	cl->clientid = r->op[0].clientid;
	confirm = r->op[0].verf;
	q = begin(cl);
	add_setclientid_confirm(q, cl->clientid, &confirm);
	expect(call(q), NFS4_OK);
}

/* ---- clients that answer ---- */

static void back_40(struct client *cl, struct conn **back)
{
	struct cb_listener *l = cb_listen(AF_INET);
	struct cb_call *null;

	cb_setclientid(cl, l->netid, l->addr, 0x40000000, 1);
	*back = cb_accept(l);
	cb_listener_close(l);
	null = cb_recv_any(*back);
	check_num(null->procedure, CB_PROC_NULL);
	cb_answer(null, NFS4_OK);
}

static void back_41(struct client *cl)
{
	static const struct chan back = { 0, 4096, 4096, 0, 2, 4 };
	struct chan want = { 0, 1100000, 1100000, 8192, 64, 16 };
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct cb_call *cb;
	struct reply *r;

	add_exchange_id(q, &cl->verf, cl->id, 0, SP4_NONE);
	r = call(q);
	expect(r, NFS4_OK);
	cl->clientid = r->op[0].clientid;
	cl->cs_sequence = r->op[0].sequence;
	q = compound_begin(cl->conn, cl->minor, "");
	add_create_session(q, cl->clientid, cl->cs_sequence, CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
			  &want, &back);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(r->op[0].flags, CREATE_SESSION4_FLAG_CONN_BACK_CHAN);
	cl->cs_sequence++;
	memcpy(cl->session, r->op[0].session, sizeof(cl->session));
	cl->fore = r->op[0].fore;
	q = begin(cl);
	add_reclaim_complete(q, false);
	expect(call(q), NFS4_OK);
	cb = cb_recv_any(cl->conn);
	check(cb->sequenced && cb->op == 0);
	cb_answer(cb, NFS4_OK);
}

struct client *client_new_back(uint32_t minor, struct conn **back)
{
	struct client *cl = client_bare(minor);

	if (minor == 0) {
		back_40(cl, back);
	} else {
		back_41(cl);
		if (back)
			*back = cl->conn;
	}
	return cl;
}

uint32_t client_status_flags(struct client *cl)
{
	struct compound *q = begin(cl);
	struct reply *r = call(q);

	expect(r, NFS4_OK);
	return r->op[0].status_flags;
}

struct conn *client_bind_conn(struct client *cl, uint32_t dir)
{
	struct conn *c = conn_new();
	struct compound *q = compound_begin(c, cl->minor, "");

	add_bind_conn(q, cl->session, dir);
	expect(call(q), NFS4_OK);
	return c;
}

/*
 * RPC messages (RFC 5531 section 9): the call's header in, the reply's header out, and every
 * error that the protocol has.
 *
 * Order of judgement: RPC version, well-formed credentials, program, version, strength of the
 * flavor. A record too short to have a message id and type is no RPC, and nothing that could be
 * answered.
 */
#include "rpc/internal.h"

#include <errno.h>

enum { MSG_CALL = 0, MSG_REPLY = 1 };
enum { MSG_ACCEPTED = 0, MSG_DENIED = 1 };
enum { RPC_MISMATCH = 0, AUTH_ERROR = 1 };
enum {
	ACCEPT_SUCCESS = 0,
	ACCEPT_PROG_UNAVAIL = 1,
	ACCEPT_PROG_MISMATCH = 2,
	ACCEPT_PROC_UNAVAIL = 3,
	ACCEPT_GARBAGE_ARGS = 4,
	ACCEPT_SYSTEM_ERR = 5,
};

#define RPC_VERSION 2

void rpc_record_begin(struct xdr_out *x, size_t limit)
{
	xdr_out_init(x, limit + RPC_MARK_LEN);
	xdr_put_u32(x, 0);
}

bool message_seal(struct xdr_out *x)
{
	size_t len = xdr_out_total(x) - RPC_MARK_LEN;

	if (x->failed || len > 0x7fffffff)
		return false;
	xdr_patch_u32(x, 0, 0x80000000u | (uint32_t)len);
	return true;
}

/* An empty reply: record mark, message id, REPLY. */
static void put_start(struct call *call)
{
	struct xdr_out *x = &call->pub.reply;

	xdr_put_u32(x, 0);
	xdr_put_u32(x, call->pub.xid);
	xdr_put_u32(x, MSG_REPLY);
}

static void put_accepted(struct call *call, uint32_t stat)
{
	struct xdr_out *x = &call->pub.reply;

	put_start(call);
	xdr_put_u32(x, MSG_ACCEPTED);
	if (call->auth_ops && call->auth_ops->put_verf)
		call->auth_ops->put_verf(call, x);
	else
		xdr_put_u64(x, 0); /* AUTH_NONE, no bytes */
	xdr_put_u32(x, stat);
}

static enum message deny_auth(struct call *call, enum rpc_auth_stat why)
{
	call->pub.auth_error = why;
	message_error(call, RPC_AUTH_ERROR);
	return MESSAGE_ERROR;
}

void message_error(struct call *call, enum rpc_verdict v)
{
	struct xdr_out *x = &call->pub.reply;

	xdr_out_rewind(x, (struct xdr_mark){ 0, 0 });
	x->limit = call->server->limits.max_reply + RPC_MARK_LEN;
	switch (v) {
	case RPC_AUTH_ERROR:
		put_start(call);
		xdr_put_u32(x, MSG_DENIED);
		xdr_put_u32(x, AUTH_ERROR);
		xdr_put_u32(x, call->pub.auth_error);
		break;
	case RPC_GARBAGE_ARGS:
		put_accepted(call, ACCEPT_GARBAGE_ARGS);
		break;
	case RPC_PROC_UNAVAIL:
		put_accepted(call, ACCEPT_PROC_UNAVAIL);
		break;
	default:
		put_accepted(call, ACCEPT_SYSTEM_ERR);
		break;
	}
}

static enum message deny_version(struct call *call)
{
	struct xdr_out *x = &call->pub.reply;

	put_start(call);
	xdr_put_u32(x, MSG_DENIED);
	xdr_put_u32(x, RPC_MISMATCH);
	xdr_put_u32(x, RPC_VERSION);
	xdr_put_u32(x, RPC_VERSION);
	return MESSAGE_ERROR;
}

static bool get_auth(struct xdr_in *x, struct opaque_auth *a)
{
	return xdr_get_u32(x, &a->flavor) && xdr_get_opaque(x, AUTH_BODY_MAX, &a->body, &a->len);
}

/* 0, an auth_stat or -ENOMEM. */
static int authenticate(struct call *call)
{
	struct opaque_auth cred, verf;

	if (!get_auth(&call->pub.args, &cred))
		return RPC_AUTH_BADCRED;
	if (!get_auth(&call->pub.args, &verf))
		return RPC_AUTH_BADVERF;

	const struct auth_ops *ops = auth_ops_of(cred.flavor);

	if (!ops)
		return RPC_AUTH_REJECTEDCRED;

	int err = ops->accept(call, &cred, &verf);

	if (!err)
		call->auth_ops = ops;
	return err;
}

/* MESSAGE_CALL and call->program, or MESSAGE_ERROR and the reply. */
static enum message find_program(struct call *call)
{
	const struct rpc_server *s = call->server;
	uint32_t lowest = UINT32_MAX, highest = 0;

	for (unsigned i = 0; i < s->nprograms; i++) {
		const struct rpc_program *p = &s->programs[i];

		if (p->number != call->pub.program)
			continue;
		if (call->pub.version >= p->min_version && call->pub.version <= p->max_version) {
			call->program = p;
			return MESSAGE_CALL;
		}
		lowest = p->min_version < lowest ? p->min_version : lowest;
		highest = p->max_version > highest ? p->max_version : highest;
	}
	if (lowest == UINT32_MAX) {
		put_accepted(call, ACCEPT_PROG_UNAVAIL);
	} else {
		put_accepted(call, ACCEPT_PROG_MISMATCH);
		xdr_put_u32(&call->pub.reply, lowest);
		xdr_put_u32(&call->pub.reply, highest);
	}
	return MESSAGE_ERROR;
}

bool message_payload(const struct rpc_server *s, struct xdr_in head, size_t len,
		     struct rpc_span *span)
{
	const uint8_t *start = head.p;
	uint32_t xid, type, rpcvers, program, version, procedure;
	struct opaque_auth cred, verf;
	size_t args;

	if (!xdr_get_u32(&head, &xid) || !xdr_get_u32(&head, &type) || type != MSG_CALL ||
	    !xdr_get_u32(&head, &rpcvers) || rpcvers != RPC_VERSION ||
	    !xdr_get_u32(&head, &program) || !xdr_get_u32(&head, &version) ||
	    !xdr_get_u32(&head, &procedure) || !get_auth(&head, &cred) || !get_auth(&head, &verf))
		return false;
	/* What is signed or sealed has to be read. */
	if (cred.flavor != RPC_AUTH_SYS)
		return false;
	args = (size_t)(head.p - start);
	for (unsigned i = 0; i < s->nprograms; i++) {
		const struct rpc_program *p = &s->programs[i];

		if (p->number != program || version < p->min_version || version > p->max_version ||
		    !p->payload || !p->payload(procedure, head, len - args, span))
			continue;
		span->from += args;
		span->to += args;
		return span->from < span->to && span->to <= len;
	}
	return false;
}

enum message message_decode(struct call *call)
{
	struct rpc_call *pub = &call->pub;
	uint32_t type, rpcvers;

	if (!xdr_get_u32(&pub->args, &pub->xid) || !xdr_get_u32(&pub->args, &type) ||
	    type > MSG_REPLY)
		return MESSAGE_BAD;
	if (type == MSG_REPLY)
		return MESSAGE_REPLY;
	if (!xdr_get_u32(&pub->args, &rpcvers)) {
		message_error(call, RPC_GARBAGE_ARGS);
		return MESSAGE_ERROR;
	}
	if (rpcvers != RPC_VERSION)
		return deny_version(call);
	if (!xdr_get_u32(&pub->args, &pub->program) || !xdr_get_u32(&pub->args, &pub->version) ||
	    !xdr_get_u32(&pub->args, &pub->procedure)) {
		message_error(call, RPC_GARBAGE_ARGS);
		return MESSAGE_ERROR;
	}

	int err = authenticate(call);

	if (err < 0) {
		message_error(call, RPC_SYSTEM_ERR);
		return MESSAGE_ERROR;
	}
	if (err > 0)
		return deny_auth(call, (enum rpc_auth_stat)err);
	if (find_program(call) == MESSAGE_ERROR)
		return MESSAGE_ERROR;
	/* AUTH_NONE names nobody: good for a ping (the NULL procedure) only. */
	if (pub->auth.flavor == RPC_AUTH_NONE && pub->procedure != 0)
		return deny_auth(call, RPC_AUTH_TOOWEAK);
	put_accepted(call, ACCEPT_SUCCESS);
	return MESSAGE_CALL;
}

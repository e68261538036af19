/* BIND_CONN_TO_SESSION: RFC 8881 section 18.34. */
#include "nfsd/callback/callback.h"
#include "nfsd/ops_list.h"

struct bind_conn_args {
	struct sessionid session;
	uint32_t dir;
	bool rdma;
};

static bool bind_conn_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct bind_conn_args *a = args;

	if (!xdr_get_copy(x, a->session.data, sizeof(a->session.data)) ||
	    !xdr_get_u32(x, &a->dir) || !xdr_get_bool(x, &a->rdma))
		return false;
	return a->dir == CDFC4_FORE || a->dir == CDFC4_BACK || a->dir == CDFC4_FORE_OR_BOTH ||
	       a->dir == CDFC4_BACK_OR_BOTH;
}

static enum nfsstat4 bind_conn_run(struct compound *c, void *args)
{
	struct bind_conn_args *a = args;
	struct xdr_out *x = reply_of(c);
	uint32_t dir = a->dir;
	enum nfsstat4 status;

	if (c->nops > 1)
		return NFS4ERR_NOT_ONLY_OP;
	status = state_bind_conn(c->server->state, &a->session, rpc_conn_id(c->call->conn), &dir);
	if (status != NFS4_OK)
		return status;
	if (dir & CDFS4_BACK)
		callback_conn_bound(c->server, &a->session, c->call->conn);
	xdr_put_fixed(x, a->session.data, NFS4_SESSIONID_SIZE);
	xdr_put_u32(x, dir);
	xdr_put_bool(x, false);
	return NFS4_OK;
}

/* A client whose connection broke may begin with this at another node. */
static uint64_t bind_conn_client(struct compound *c, const void *args)
{
	const struct bind_conn_args *a = args;
	uint64_t clientid;

	return state_session_is_away(c->server->state, &a->session, &clientid) ? clientid : 0;
}

const struct op_row op_bind_conn_to_session = {
	.client = bind_conn_client,
	.name = "BIND_CONN_TO_SESSION",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NO_SESSION,
	.max_body = NFS4_SESSIONID_SIZE + 8,
	.args_size = sizeof(struct bind_conn_args),
	.decode = bind_conn_decode,
	.run = bind_conn_run,
};

/* CREATE_SESSION: RFC 8881 section 18.36. Sequencing, limits and replay are in state/session.c. */
#include "base/random.h"
#include "nfsd/callback/callback.h"
#include "nfsd/ops/callback_sec.h"
#include "nfsd/ops_list.h"

#define KNOWN_FLAGS                                                                                \
	(CREATE_SESSION4_FLAG_PERSIST | CREATE_SESSION4_FLAG_CONN_BACK_CHAN |                      \
	 CREATE_SESSION4_FLAG_CONN_RDMA)

struct create_session_args {
	uint64_t clientid;
	uint32_t sequence, flags, cb_program;
	struct channel_attrs fore, back;
	struct callback_sec sec;
};

static bool get_channel_attrs(struct xdr_in *x, struct channel_attrs *a)
{
	uint32_t n_ird, ird;

	return xdr_get_u32(x, &a->header_pad) && xdr_get_u32(x, &a->max_request) &&
	       xdr_get_u32(x, &a->max_response) && xdr_get_u32(x, &a->max_response_cached) &&
	       xdr_get_u32(x, &a->max_ops) && xdr_get_u32(x, &a->max_slots) &&
	       xdr_get_u32(x, &n_ird) && n_ird <= 1 && (n_ird == 0 || xdr_get_u32(x, &ird));
}

static bool create_session_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct create_session_args *a = args;

	return xdr_get_u64(x, &a->clientid) && xdr_get_u32(x, &a->sequence) &&
	       xdr_get_u32(x, &a->flags) && get_channel_attrs(x, &a->fore) &&
	       get_channel_attrs(x, &a->back) && xdr_get_u32(x, &a->cb_program) &&
	       xdr_get_callback_sec(x, &a->sec);
}

static void put_channel_attrs(struct xdr_out *x, const struct channel_attrs *a)
{
	xdr_put_u32(x, a->header_pad);
	xdr_put_u32(x, a->max_request);
	xdr_put_u32(x, a->max_response);
	xdr_put_u32(x, a->max_response_cached);
	xdr_put_u32(x, a->max_ops);
	xdr_put_u32(x, a->max_slots);
	xdr_put_u32(x, 0); /* ca_rdma_ird<> */
}

static enum nfsstat4 create_session_finish(struct compound *c, struct create_session_args *a,
					   struct state_result *result)
{
	struct xdr_out *x = reply_of(c);
	uint32_t dir;

	if (result->status != NFS4_OK)
		return result->status;
	compound_arrived(c, a->clientid);
	/* The connection on which a session is made belongs to it (section 18.36.3). */
	dir = (result->create_session.flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN) ?
		  CDFC4_FORE_OR_BOTH :
		  CDFC4_FORE;
	state_bind_conn(c->server->state, &result->create_session.session,
			rpc_conn_id(c->call->conn), &dir);
	if (dir & CDFS4_BACK)
		callback_conn_bound(c->server, &result->create_session.session, c->call->conn);
	xdr_put_fixed(x, result->create_session.session.data, NFS4_SESSIONID_SIZE);
	xdr_put_u32(x, result->create_session.sequence);
	xdr_put_u32(x, result->create_session.flags);
	put_channel_attrs(x, &result->create_session.fore);
	put_channel_attrs(x, &result->create_session.back);
	return NFS4_OK;
}

static enum nfsstat4 create_session_begin(struct compound *c, const struct create_session_args *a)
{
	struct submission *s = compound_submission(c, CMD_CREATE_SESSION);
	struct state_command *cmd;

	if (!s)
		return NFS4ERR_DELAY;
	cmd = s->cmd;
	cmd->clientid = a->clientid;
	cmd->create_session.sequence = a->sequence;
	cmd->create_session.flags = a->flags;
	cmd->create_session.fore = a->fore;
	cmd->create_session.back = a->back;
	cmd->create_session.cb_program = a->cb_program;
	cmd->create_session.cb_uid = a->sec.uid;
	cmd->create_session.cb_gid = a->sec.gid;
	cmd->create_session.cb_flavor = a->sec.flavor;
	random_bytes(cmd->create_session.random, sizeof(cmd->create_session.random));
	return NFS4_OK;
}

static enum nfsstat4 create_session_run(struct compound *c, void *args)
{
	struct create_session_args *a = args;
	enum nfsstat4 status = NFS4_OK;

	if (a->flags & ~KNOWN_FLAGS)
		return NFS4ERR_INVAL;
	if (!callback_sec_usable(&a->sec))
		return NFS4ERR_NOENT;
	if (c->phase == 0)
		status = create_session_begin(c, a);
	if (status == NFS4_OK)
		status = compound_submit_firmly(c);
	if (status != NFS4_OK)
		return status;
	return create_session_finish(c, a, ((struct submission *)c->op_state)->result);
}

const struct op_row op_create_session = {
	.name = "CREATE_SESSION",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NO_SESSION,
	.max_body = NFS4_SESSIONID_SIZE + 8 + 2 * 28,
	.args_size = sizeof(struct create_session_args),
	.decode = create_session_decode,
	.run = create_session_run,
};

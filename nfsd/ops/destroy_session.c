/* DESTROY_SESSION: RFC 8881 section 18.37. */
#include <string.h>

#include "nfsd/ops_list.h"

struct destroy_session_args {
	struct sessionid session;
};

static bool destroy_session_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct destroy_session_args *a = args;

	return xdr_get_copy(x, a->session.data, sizeof(a->session.data));
}

/*
 * By itself it must come over a connection of the session (section 18.37.3). Behind a SEQUENCE,
 * which may be another session's, whoever asks is known without.
 */
static bool from_elsewhere(struct compound *c, const struct sessionid *session)
{
	struct state *state = c->server->state;
	uint64_t clientid;

	return !c->has_session && state_session_client(state, session, &clientid) == NFS4_OK &&
	       !state_conn_is_bound(state, session, rpc_conn_id(c->call->conn));
}

static enum nfsstat4 destroy_session_run(struct compound *c, void *args)
{
	struct destroy_session_args *a = args;
	struct state_command *cmd;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	if (c->has_session && c->index + 1 < c->nops &&
	    slot_use_is_session(&c->slot, &a->session))
		return NFS4ERR_NOT_ONLY_OP;
	if (from_elsewhere(c, &a->session))
		return NFS4ERR_CONN_NOT_BOUND_TO_SESSION;
	cmd = compound_command(c, CMD_DESTROY_SESSION);
	if (!cmd)
		return NFS4ERR_DELAY;
	cmd->destroy_session.session = a->session;
	return compound_submit_simple(c, cmd);
}

const struct op_row op_destroy_session = {
	.name = "DESTROY_SESSION",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NO_SESSION,
	.args_size = sizeof(struct destroy_session_args),
	.decode = destroy_session_decode,
	.run = destroy_session_run,
};

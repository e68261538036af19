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

static enum nfsstat4 destroy_session_run(struct compound *c, void *args)
{
	struct destroy_session_args *a = args;
	struct state_command *cmd;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	if (c->has_session && c->index + 1 < c->nops &&
	    slot_use_is_session(&c->slot, &a->session))
		return NFS4ERR_NOT_ONLY_OP;
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

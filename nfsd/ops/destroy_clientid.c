/* DESTROY_CLIENTID: RFC 8881 section 18.50. */
#include "nfsd/ops_list.h"

struct destroy_clientid_args {
	uint64_t clientid;
};

static bool destroy_clientid_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_u64(x, &((struct destroy_clientid_args *)args)->clientid);
}

static enum nfsstat4 destroy_clientid_run(struct compound *c, void *args)
{
	struct state_command *cmd;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	cmd = compound_command(c, CMD_DESTROY_CLIENTID);
	if (!cmd)
		return NFS4ERR_DELAY;
	cmd->clientid = ((struct destroy_clientid_args *)args)->clientid;
	return compound_submit_simple(c, cmd);
}

const struct op_row op_destroy_clientid = {
	.name = "DESTROY_CLIENTID",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NO_SESSION,
	.args_size = sizeof(struct destroy_clientid_args),
	.decode = destroy_clientid_decode,
	.run = destroy_clientid_run,
};

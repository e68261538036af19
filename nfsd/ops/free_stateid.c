/* FREE_STATEID: RFC 8881 section 18.38. */
#include "nfsd/ops_list.h"

struct free_stateid_args {
	struct stateid stateid;
};

static bool free_stateid_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_stateid(x, &((struct free_stateid_args *)args)->stateid);
}

static enum nfsstat4 free_stateid_run(struct compound *c, void *args)
{
	struct free_stateid_args *a = args;
	struct state_command *cmd;
	enum nfsstat4 status;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	status = compound_resolve_stateid(c, &a->stateid);
	if (status != NFS4_OK)
		return status;
	cmd = compound_command(c, CMD_FREE_STATEID);
	if (!cmd)
		return NFS4ERR_DELAY;
	cmd->free_stateid.stateid = a->stateid;
	return compound_submit_simple(c, cmd);
}

const struct op_row op_free_stateid = {
	.name = "FREE_STATEID",
	.min_minor = 1,
	.max_minor = 2,
	.args_size = sizeof(struct free_stateid_args),
	.decode = free_stateid_decode,
	.run = free_stateid_run,
};

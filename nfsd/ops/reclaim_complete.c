/* RECLAIM_COMPLETE: RFC 8881 section 18.51. */
#include "nfsd/ops_list.h"

struct reclaim_complete_args {
	bool one_fs;
};

static bool reclaim_complete_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_bool(x, &((struct reclaim_complete_args *)args)->one_fs);
}

static enum nfsstat4 reclaim_complete_run(struct compound *c, void *args)
{
	struct reclaim_complete_args *a = args;
	struct state_command *cmd;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	if (a->one_fs && !c->current.object)
		return NFS4ERR_NOFILEHANDLE;
	cmd = compound_command(c, CMD_RECLAIM_COMPLETE);
	if (!cmd)
		return NFS4ERR_DELAY;
	cmd->reclaim_complete.one_fs = a->one_fs;
	return compound_submit_simple(c, cmd);
}

const struct op_row op_reclaim_complete = {
	.name = "RECLAIM_COMPLETE",
	.min_minor = 1,
	.max_minor = 2,
	.args_size = sizeof(struct reclaim_complete_args),
	.decode = reclaim_complete_decode,
	.run = reclaim_complete_run,
};

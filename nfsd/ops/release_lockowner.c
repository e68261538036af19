/* RELEASE_LOCKOWNER: RFC 7530 section 16.37. */
#include "nfsd/ops_list.h"

struct release_lockowner_args {
	uint64_t clientid;
	struct bytes owner;
};

static bool release_lockowner_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct release_lockowner_args *a = args;

	return xdr_get_u64(x, &a->clientid) &&
	       xdr_get_opaque(x, NFS4_OPAQUE_LIMIT, &a->owner.p, &a->owner.len);
}

static enum nfsstat4 release_lockowner_run(struct compound *c, void *args)
{
	struct release_lockowner_args *a = args;
	struct state_command *cmd;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	state_heard_v40(c->server->state, a->clientid);
	cmd = compound_command(c, CMD_RELEASE_LOCKOWNER);
	if (!cmd)
		return NFS4ERR_RESOURCE;
	cmd->clientid = a->clientid;
	cmd->release_lockowner.owner = a->owner;
	return compound_submit_simple(c, cmd);
}

static uint64_t release_lockowner_client(struct compound *c, const void *args)
{
	return c->minor == 0 ? ((const struct release_lockowner_args *)args)->clientid : 0;
}

const struct op_row op_release_lockowner = {
	.name = "RELEASE_LOCKOWNER",
	.max_minor = 0,
	.args_size = sizeof(struct release_lockowner_args),
	.decode = release_lockowner_decode,
	.run = release_lockowner_run,
	.client = release_lockowner_client,
};

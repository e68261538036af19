/*
 * DELEGPURGE and DELEGRETURN: RFC 7530 sections 16.5 and 16.6, RFC 8881 sections 18.5 and 18.6.
 * DELEGPURGE is optional, and not supported, as CLAIM_DELEGATE_PREV, which it belongs to: no
 * delegation outlives its client.
 */
#include "nfsd/ops_list.h"

struct delegpurge_args {
	uint64_t clientid;
};

static bool delegpurge_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_u64(x, &((struct delegpurge_args *)args)->clientid);
}

static enum nfsstat4 delegpurge_run(struct compound *c, void *args)
{
	return NFS4ERR_NOTSUPP;
}

const struct op_row op_delegpurge = {
	.name = "DELEGPURGE",
	.max_minor = 2,
	.args_size = sizeof(struct delegpurge_args),
	.decode = delegpurge_decode,
	.run = delegpurge_run,
};

struct delegreturn_args {
	struct stateid stateid;
};

static bool delegreturn_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_stateid(x, &((struct delegreturn_args *)args)->stateid);
}

static enum nfsstat4 delegreturn_run(struct compound *c, void *args)
{
	struct delegreturn_args *a = args;
	struct state_command *cmd;
	enum nfsstat4 status;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	status = compound_resolve_stateid(c, &a->stateid);
	if (status != NFS4_OK)
		return status;
	cmd = compound_command(c, CMD_DELEG_RETURN);
	if (!cmd)
		return NFS4ERR_DELAY;
	cmd->deleg_return.stateid = a->stateid;
	status = compound_file_key(c, &cmd->deleg_return.file);
	return status == NFS4_OK ? compound_submit_simple(c, cmd) : status;
}

static uint64_t delegreturn_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct delegreturn_args *)args)->stateid);
}

const struct op_row op_delegreturn = {
	.name = "DELEGRETURN",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.args_size = sizeof(struct delegreturn_args),
	.decode = delegreturn_decode,
	.run = delegreturn_run,
	.client = delegreturn_client,
};

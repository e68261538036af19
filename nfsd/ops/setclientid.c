/*
 * SETCLIENTID and SETCLIENTID_CONFIRM: RFC 7530 sections 16.33 and 16.34. The decision table is
 * in state/client.c.
 */
#include <string.h>

#include "base/random.h"
#include "nfsd/callback/callback.h"
#include "nfsd/ops_list.h"

struct setclientid_args {
	struct nfs_verifier verifier;
	struct bytes owner;
	struct callback_target callback;
};

static bool setclientid_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct setclientid_args *a = args;
	struct callback_target *cb = &a->callback;

	return xdr_get_copy(x, a->verifier.data, sizeof(a->verifier.data)) &&
	       xdr_get_opaque(x, NFS4_OPAQUE_LIMIT, &a->owner.p, &a->owner.len) &&
	       xdr_get_u32(x, &cb->program) &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &cb->netid.p, &cb->netid.len) &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &cb->addr.p, &cb->addr.len) &&
	       xdr_get_u32(x, &cb->ident);
}

static enum nfsstat4 setclientid_finish(struct compound *c, struct state_result *result)
{
	struct xdr_out *x = reply_of(c);

	switch (result->status) {
	case NFS4_OK:
		compound_arrived(c, result->setclientid.clientid);
		xdr_put_u64(x, result->setclientid.clientid);
		xdr_put_fixed(x, result->setclientid.confirm.data, NFS4_VERIFIER_SIZE);
		break;
	case NFS4ERR_CLID_INUSE:
		c->error_body = true;
		xdr_put_opaque(x, result->setclientid.netid,
			       (uint32_t)strlen(result->setclientid.netid));
		xdr_put_opaque(x, result->setclientid.addr,
			       (uint32_t)strlen(result->setclientid.addr));
		break;
	default:
		break;
	}
	return result->status;
}

static enum nfsstat4 setclientid_run(struct compound *c, void *args)
{
	struct setclientid_args *a = args;
	struct submission *s = c->op_state;
	enum nfsstat4 status;

	if (c->phase == 0) {
		s = compound_submission(c, CMD_SETCLIENTID);
		if (!s || !compound_client_owner(c, a->owner, &s->cmd->setclientid.owner))
			return NFS4ERR_RESOURCE;
		s->cmd->setclientid.verifier = a->verifier;
		s->cmd->setclientid.callback = a->callback;
		random_bytes(s->cmd->setclientid.confirm.data, NFS4_VERIFIER_SIZE);
	}
	status = compound_submit_firmly(c);
	return status == NFS4_OK ? setclientid_finish(c, s->result) : status;
}

const struct op_row op_setclientid = {
	.name = "SETCLIENTID",
	.max_minor = 0,
	.max_body = 96,
	.args_size = sizeof(struct setclientid_args),
	.decode = setclientid_decode,
	.run = setclientid_run,
};

struct setclientid_confirm_args {
	uint64_t clientid;
	struct nfs_verifier confirm;
};

static bool setclientid_confirm_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct setclientid_confirm_args *a = args;

	return xdr_get_u64(x, &a->clientid) &&
	       xdr_get_copy(x, a->confirm.data, sizeof(a->confirm.data));
}

static enum nfsstat4 setclientid_confirm_run(struct compound *c, void *args)
{
	struct setclientid_confirm_args *a = args;
	struct state_command *cmd;

	enum nfsstat4 status;

	if (c->phase == 0) {
		cmd = compound_command(c, CMD_SETCLIENTID_CONFIRM);
		if (!cmd)
			return NFS4ERR_RESOURCE;
		cmd->clientid = a->clientid;
		cmd->setclientid_confirm.confirm = a->confirm;
		status = compound_submit_simple(c, cmd);
		if (status == NFS4_PARKED || !c->op_state)
			return status;
	}
	status = ((struct state_result *)c->op_state)->status;
	if (status == NFS4_OK)
		callback_client_confirmed(c->server, a->clientid, c->call->conn);
	return status;
}

const struct op_row op_setclientid_confirm = {
	.name = "SETCLIENTID_CONFIRM",
	.max_minor = 0,
	.args_size = sizeof(struct setclientid_confirm_args),
	.decode = setclientid_confirm_decode,
	.run = setclientid_confirm_run,
};

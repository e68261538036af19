/*
 * CLOSE, OPEN_CONFIRM and OPEN_DOWNGRADE: what ends, confirms or reduces an open. RFC 8881 sections
 * 18.2 and 18.18; RFC 7530 sections 16.2, 16.18 and 16.19.
 */
#include "nfsd/ops/seqid.h"
#include "nfsd/ops_list.h"

struct open_change_args {
	uint32_t seqid;
	struct stateid stateid;
	uint32_t access, deny; /* OPEN_DOWNGRADE */
};

struct open_change {
	struct seqid seqid;
	struct state_result result;
};

static enum nfsstat4 change_submit(struct compound *c, struct open_change_args *a,
				   enum state_command_type type, struct open_change *o)
{
	struct state_command *cmd = compound_command(c, type);
	enum nfsstat4 status;

	if (!cmd)
		return compound_out_of_memory(c);
	seqid_put(&o->seqid, a->seqid, cmd);
	cmd->open_downgrade.stateid = a->stateid;
	cmd->open_downgrade.access = a->access;
	cmd->open_downgrade.deny = a->deny;
	status = compound_file_key(c, &cmd->open_downgrade.file);
	if (status != NFS4_OK)
		return status;
	c->phase = 1;
	return compound_submit(c, cmd, &o->result);
}

static enum nfsstat4 change_begin(struct compound *c, struct open_change_args *a,
				  struct open_change *o)
{
	enum nfsstat4 status = compound_resolve_stateid(c, &a->stateid);

	return status == NFS4_OK ? seqid_begin(c, &o->seqid, &a->stateid, a->seqid) : status;
}

static enum nfsstat4 change_run(struct compound *c, struct open_change_args *a,
				enum state_command_type type)
{
	struct open_change *o = c->op_state;
	enum nfsstat4 status = NFS4_OK;

	if (c->phase == 0) {
		c->op_state = o = arena_zalloc(&c->call->arena, sizeof(*o));
		if (!o)
			return compound_out_of_memory(c);
		status = change_begin(c, a, o);
		if (status == NFS4_OK && !o->seqid.replayed && type == CMD_OPEN_CONFIRM &&
		    compound_can_promise(c) != NFS4_OK)
			return seqid_end(c, &o->seqid, NFS4ERR_RESOURCE);
		if (status != NFS4_OK || o->seqid.replayed)
			return status;
		status = change_submit(c, a, type, o);
		if (status == NFS4_PARKED)
			return status;
	}
	if (status == NFS4_OK)
		status = o->result.status;
	/* OPEN_CONFIRM has no DELAY (RFC 7530 section 13.2). */
	if (status == NFS4_OK && type == CMD_OPEN_CONFIRM &&
	    compound_promise(c, state_stateid_client(c->server->state, &a->stateid)) != NFS4_OK)
		status = NFS4ERR_RESOURCE;
	if (status == NFS4_OK) {
		xdr_put_stateid(reply_of(c), &o->result.stateid);
		compound_set_stateid(c, &o->result.stateid);
	}
	return seqid_end(c, &o->seqid, status);
}

static bool close_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct open_change_args *a = args;

	return xdr_get_u32(x, &a->seqid) && xdr_get_stateid(x, &a->stateid);
}

static enum nfsstat4 close_run(struct compound *c, void *args)
{
	return change_run(c, args, CMD_CLOSE);
}

static uint64_t change_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct open_change_args *)args)->stateid);
}

const struct op_row op_close = {
	.name = "CLOSE",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 16,
	.args_size = sizeof(struct open_change_args),
	.decode = close_decode,
	.run = close_run,
	.client = change_client,
};

static bool open_confirm_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct open_change_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u32(x, &a->seqid);
}

static enum nfsstat4 open_confirm_run(struct compound *c, void *args)
{
	return change_run(c, args, CMD_OPEN_CONFIRM);
}

const struct op_row op_open_confirm = {
	.name = "OPEN_CONFIRM",
	.max_minor = 0,
	.flags = ROW_NEEDS_FH,
	.max_body = 16,
	.args_size = sizeof(struct open_change_args),
	.decode = open_confirm_decode,
	.run = open_confirm_run,
	.client = change_client,
};

static bool open_downgrade_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct open_change_args *a = args;

	return open_confirm_decode(x, arena, args) && xdr_get_u32(x, &a->access) &&
	       xdr_get_u32(x, &a->deny);
}

static enum nfsstat4 open_downgrade_run(struct compound *c, void *args)
{
	struct open_change_args *a = args;

	/* Want flags mean nothing here but may come (RFC 8881 section 18.18.3). */
	if (c->minor > 0)
		a->access &= ~OPEN4_SHARE_ACCESS_WANT_DELEG_MASK;
	return change_run(c, args, CMD_OPEN_DOWNGRADE);
}

const struct op_row op_open_downgrade = {
	.name = "OPEN_DOWNGRADE",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 16,
	.args_size = sizeof(struct open_change_args),
	.decode = open_downgrade_decode,
	.run = open_downgrade_run,
	.client = change_client,
};

/* BACKCHANNEL_CTL: RFC 8881 section 18.33. */
#include "nfsd/ops/callback_sec.h"
#include "nfsd/ops_list.h"

struct backchannel_ctl_args {
	uint32_t cb_program;
	struct callback_sec sec;
};

static bool backchannel_ctl_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct backchannel_ctl_args *a = args;

	return xdr_get_u32(x, &a->cb_program) && xdr_get_callback_sec(x, &a->sec);
}

static enum nfsstat4 backchannel_ctl_run(struct compound *c, void *args)
{
	struct backchannel_ctl_args *a = args;
	struct state_command *cmd;

	if (c->phase == 1)
		return ((struct state_result *)c->op_state)->status;
	if (!callback_sec_usable(&a->sec))
		return NFS4ERR_NOENT;
	cmd = compound_command(c, CMD_BACKCHANNEL_CTL);
	if (!cmd)
		return NFS4ERR_DELAY;
	slot_use_session_id(&c->slot, &cmd->backchannel_ctl.session);
	cmd->backchannel_ctl.cb_program = a->cb_program;
	cmd->backchannel_ctl.cb_uid = a->sec.uid;
	cmd->backchannel_ctl.cb_gid = a->sec.gid;
	cmd->backchannel_ctl.cb_flavor = a->sec.flavor;
	return compound_submit_simple(c, cmd);
}

const struct op_row op_backchannel_ctl = {
	.name = "BACKCHANNEL_CTL",
	.min_minor = 1,
	.max_minor = 2,
	.args_size = sizeof(struct backchannel_ctl_args),
	.decode = backchannel_ctl_decode,
	.run = backchannel_ctl_run,
};

/*
 * OFFLOAD_CANCEL and OFFLOAD_STATUS: RFC 7862 sections 15.8 and 15.9. Each COPY ends before its
 * reply, so no stateid is that of a copy under way.
 */
#include "nfsd/ops_list.h"

struct offload_args {
	struct stateid stateid;
};

static bool offload_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_stateid(x, &((struct offload_args *)args)->stateid);
}

static enum nfsstat4 offload_run(struct compound *c, void *args)
{
	return NFS4ERR_BAD_STATEID;
}

const struct op_row op_offload_cancel = {
	.name = "OFFLOAD_CANCEL",
	.min_minor = 2,
	.max_minor = 2,
	.args_size = sizeof(struct offload_args),
	.decode = offload_decode,
	.run = offload_run,
};

const struct op_row op_offload_status = {
	.name = "OFFLOAD_STATUS",
	.min_minor = 2,
	.max_minor = 2,
	.args_size = sizeof(struct offload_args),
	.decode = offload_decode,
	.run = offload_run,
};

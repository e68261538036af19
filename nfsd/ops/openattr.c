/*
 * OPENATTR: RFC 8881 section 18.17, RFC 7530 section 16.17. Named attributes are not supported;
 * the extended attributes of Linux are another thing (RFC 8276).
 */
#include "nfsd/ops_list.h"

struct openattr_args {
	bool create;
};

static bool openattr_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_bool(x, &((struct openattr_args *)args)->create);
}

static enum nfsstat4 openattr_run(struct compound *c, void *args)
{
	return NFS4ERR_NOTSUPP;
}

const struct op_row op_openattr = {
	.name = "OPENATTR",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.args_size = sizeof(struct openattr_args),
	.decode = openattr_decode,
	.run = openattr_run,
};

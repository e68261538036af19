/* PUTFH: RFC 8881 section 18.19, RFC 7530 section 16.20. */
#include "nfsd/ops_list.h"

struct putfh_args {
	const uint8_t *fh;
	uint32_t len;
};

static bool putfh_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct putfh_args *a = args;

	return xdr_get_opaque(x, NFS4_FHSIZE, &a->fh, &a->len);
}

static enum nfsstat4 putfh_run(struct compound *c, void *args)
{
	struct putfh_args *a = args;

	return compound_put_fh(c, a->fh, a->len);
}

const struct op_row op_putfh = {
	.name = "PUTFH",
	.max_minor = 2,
	.args_size = sizeof(struct putfh_args),
	.decode = putfh_decode,
	.run = putfh_run,
};

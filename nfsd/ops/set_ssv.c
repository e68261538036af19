/*
 * SET_SSV: RFC 8881 section 18.47. No client ID here uses SP4_SSV, since EXCHANGE_ID refuses it,
 * and for such the section demands NFS4ERR_INVAL.
 */
#include "nfsd/ops_list.h"

struct set_ssv_args {
	const uint8_t *ssv, *digest;
	uint32_t ssv_len, digest_len;
};

static bool set_ssv_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct set_ssv_args *a = args;

	return xdr_get_opaque(x, NFS4_UINT32_MAX, &a->ssv, &a->ssv_len) &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &a->digest, &a->digest_len);
}

static enum nfsstat4 set_ssv_run(struct compound *c, void *args)
{
	return NFS4ERR_INVAL;
}

const struct op_row op_set_ssv = {
	.name = "SET_SSV",
	.min_minor = 1,
	.max_minor = 2,
	.args_size = sizeof(struct set_ssv_args),
	.decode = set_ssv_decode,
	.run = set_ssv_run,
};

/* AUTH_NONE (RFC 5531 section 10.1), and what flavors share. */
#include "rpc/internal.h"

static int none_accept(struct call *call, const struct opaque_auth *cred,
		       const struct opaque_auth *verf)
{
	if (cred->len != 0)
		return RPC_AUTH_BADCRED;
	if (verf->flavor != RPC_AUTH_NONE || verf->len != 0)
		return RPC_AUTH_BADVERF;
	call->pub.auth = (struct rpc_auth){ .flavor = RPC_AUTH_NONE };
	return 0;
}

static void none_put_verf(struct call *call, struct xdr_out *x)
{
	xdr_put_u64(x, 0); /* AUTH_NONE, no bytes */
}

const struct auth_ops auth_none_ops = {
	.flavor = RPC_AUTH_NONE,
	.accept = none_accept,
	.put_verf = none_put_verf,
};

const struct auth_ops *auth_ops_of(uint32_t flavor)
{
	switch (flavor) {
	case RPC_AUTH_NONE:
		return &auth_none_ops;
	case RPC_AUTH_SYS:
		return &auth_sys_ops;
	default:
		return NULL;
	}
}

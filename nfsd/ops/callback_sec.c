#include "nfsd/ops/callback_sec.h"

#include "nfsd/nfs4.h"
#include "rpc/rpc.h"

#define AUTH_SYS_MAX_NAME 255
#define AUTH_SYS_MAX_GIDS 16

static bool get_auth_sys(struct xdr_in *x, struct callback_sec *sec)
{
	const uint8_t *name;
	uint32_t stamp, len, n, gid;

	if (!xdr_get_u32(x, &stamp) || !xdr_get_opaque(x, AUTH_SYS_MAX_NAME, &name, &len) ||
	    !xdr_get_u32(x, &sec->uid) || !xdr_get_u32(x, &sec->gid) || !xdr_get_u32(x, &n) ||
	    n > AUTH_SYS_MAX_GIDS)
		return false;
	while (n-- > 0) {
		if (!xdr_get_u32(x, &gid))
			return false;
	}
	return true;
}

/* gss_cb_handles4 */
static bool get_gss(struct xdr_in *x)
{
	const uint8_t *handle;
	uint32_t service, len;

	return xdr_get_u32(x, &service) && xdr_get_opaque(x, NFS4_UINT32_MAX, &handle, &len) &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &handle, &len);
}

static bool get_flavor(struct xdr_in *x, uint32_t flavor, struct callback_sec *sec)
{
	switch (flavor) {
	case RPC_AUTH_NONE:
		if (sec->flavor != RPC_AUTH_SYS)
			sec->flavor = RPC_AUTH_NONE;
		return true;
	case RPC_AUTH_SYS:
		sec->flavor = RPC_AUTH_SYS;
		return get_auth_sys(x, sec);
	case RPC_AUTH_GSS:
		return get_gss(x);
	default:
		return false;
	}
}

bool callback_sec_usable(const struct callback_sec *sec)
{
	return sec->flavor != UINT32_MAX;
}

bool xdr_get_callback_sec(struct xdr_in *x, struct callback_sec *sec)
{
	uint32_t n, flavor;

	*sec = (struct callback_sec){ .flavor = RPC_AUTH_NONE };
	if (!xdr_get_u32(x, &n))
		return false;
	if (n > 0)
		sec->flavor = UINT32_MAX;
	while (n-- > 0) {
		if (!xdr_get_u32(x, &flavor) || !get_flavor(x, flavor, sec))
			return false;
	}
	return true;
}

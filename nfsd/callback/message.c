/* RPC calls and CB_COMPOUND on the wire (RFC 5531, RFC 7530 section 16.36ff, RFC 8881 section 20). */
#include "nfsd/callback/callback_private.h"

#include <string.h>

#define CALLBACK_VERSION 1
#define VERF_MAX	 400

enum { MSG_CALL = 0, MSG_REPLY = 1 };

static void put_auth_sys(struct xdr_out *x, const struct rpc_head *h)
{
	uint32_t len = (uint32_t)strlen(h->machine);

	xdr_put_u32(x, (uint32_t)(20 + len + xdr_pad(len)));
	xdr_put_u32(x, 0); /* stamp */
	xdr_put_opaque(x, h->machine, len);
	xdr_put_u32(x, h->uid);
	xdr_put_u32(x, h->gid);
	xdr_put_u32(x, 0);
}

void put_rpc_head(struct xdr_out *x, const struct rpc_head *h)
{
	xdr_put_u32(x, h->xid);
	xdr_put_u32(x, MSG_CALL);
	xdr_put_u32(x, 2);
	xdr_put_u32(x, h->program);
	xdr_put_u32(x, CALLBACK_VERSION);
	xdr_put_u32(x, h->procedure);
	xdr_put_u32(x, h->flavor);
	if (h->flavor == RPC_AUTH_SYS)
		put_auth_sys(x, h);
	else
		xdr_put_u32(x, 0);
	xdr_put_u64(x, 0); /* verifier: AUTH_NONE, no bytes */
}

void put_compound_head(struct xdr_out *x, uint32_t minor, uint32_t ident, uint32_t nops)
{
	xdr_put_u32(x, 0); /* no tag */
	xdr_put_u32(x, minor);
	xdr_put_u32(x, ident);
	xdr_put_u32(x, nops);
}

bool get_rpc_reply(struct xdr_in *x)
{
	const uint8_t *verf;
	uint32_t type, denied, flavor, len, stat;

	return xdr_get_u32(x, &type) && type == MSG_REPLY && xdr_get_u32(x, &denied) && !denied &&
	       xdr_get_u32(x, &flavor) && xdr_get_opaque(x, VERF_MAX, &verf, &len) &&
	       xdr_get_u32(x, &stat) && stat == 0;
}

static bool get_status(struct xdr_in *x, enum nfsstat4 *status)
{
	uint32_t value;

	if (!xdr_get_u32(x, &value))
		return false;
	*status = (enum nfsstat4)value;
	return true;
}

bool get_compound_head(struct xdr_in *x, enum nfsstat4 *status, uint32_t *nops)
{
	const uint8_t *tag;
	uint32_t len;

	return get_status(x, status) && xdr_get_opaque(x, NFS4_UINT32_MAX, &tag, &len) &&
	       xdr_get_u32(x, nops);
}

bool get_op_head(struct xdr_in *x, uint32_t *op, enum nfsstat4 *status)
{
	return xdr_get_u32(x, op) && get_status(x, status);
}

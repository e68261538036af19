/* EXCHANGE_ID: RFC 8881 section 18.35. The cases of its decision table are in state/client.c. */
#include <string.h>

#include "nfsd/attrs.h"
#include "nfsd/ops_list.h"

/* EXCHGID4_FLAG_SUPP_FENCE_OPS came with minor version 2 (RFC 7862 section 14.1). */
#define CLIENT_FLAGS                                                                               \
	(EXCHGID4_FLAG_SUPP_MOVED_REFER | EXCHGID4_FLAG_SUPP_MOVED_MIGR |                          \
	 EXCHGID4_FLAG_BIND_PRINC_STATEID | EXCHGID4_FLAG_MASK_PNFS |                              \
	 EXCHGID4_FLAG_UPD_CONFIRMED_REC_A)

struct exchange_id_args {
	struct nfs_verifier verifier;
	struct bytes owner;
	uint32_t flags;
	uint32_t state_protect;
	bool ssv_nonsense; /* SP4_SSV with no algorithm or window to choose from */
	struct bytes impl_name;
};

static bool get_protect_ops(struct xdr_in *x)
{
	struct attr_bitmap ops;
	bool unknown;

	return xdr_get_bitmap(x, &ops, &unknown) && xdr_get_bitmap(x, &ops, &unknown);
}

/* sec_oid4<>: skipped; how many they are. */
static bool skip_oids(struct xdr_in *x, uint32_t *count)
{
	uint32_t n, len;
	const uint8_t *p;

	if (!xdr_get_u32(x, &n))
		return false;
	*count = n;
	while (n-- > 0) {
		if (!xdr_get_opaque(x, NFS4_UINT32_MAX, &p, &len))
			return false;
	}
	return true;
}

static bool get_ssv(struct xdr_in *x, struct exchange_id_args *a)
{
	uint32_t hashes, ciphers, window, handles;

	if (!get_protect_ops(x) || !skip_oids(x, &hashes) || !skip_oids(x, &ciphers) ||
	    !xdr_get_u32(x, &window) || !xdr_get_u32(x, &handles))
		return false;
	a->ssv_nonsense = !hashes || !ciphers || !window;
	return true;
}

static bool get_state_protect(struct xdr_in *x, struct exchange_id_args *a)
{
	if (!xdr_get_u32(x, &a->state_protect))
		return false;
	switch (a->state_protect) {
	case SP4_NONE:
		return true;
	case SP4_MACH_CRED:
		return get_protect_ops(x);
	case SP4_SSV:
		return get_ssv(x, a);
	default:
		return false;
	}
}

/* nfs_impl_id4<1>: domain, name, date. */
static bool get_impl_id(struct xdr_in *x, struct bytes *name)
{
	const uint8_t *p;
	uint32_t n, len, nseconds;
	uint64_t seconds;

	if (!xdr_get_u32(x, &n) || n > 1)
		return false;
	if (n == 0)
		return true;
	return xdr_get_opaque(x, NFS4_UINT32_MAX, &p, &len) &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &name->p, &name->len) &&
	       xdr_get_u64(x, &seconds) && xdr_get_u32(x, &nseconds);
}

static bool exchange_id_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct exchange_id_args *a = args;

	return xdr_get_copy(x, a->verifier.data, sizeof(a->verifier.data)) &&
	       xdr_get_opaque(x, NFS4_OPAQUE_LIMIT, &a->owner.p, &a->owner.len) &&
	       xdr_get_u32(x, &a->flags) && get_state_protect(x, a) &&
	       get_impl_id(x, &a->impl_name);
}

/* server_owner4, scope and implementation. */
static bool put_server(struct compound *c)
{
	static const char domain[] = "atoll", name[] = "Atoll " ATOLL_VERSION;
	struct xdr_out *x = reply_of(c);
	const char *scope = c->server->owner_major, *major = compound_server_major(c);

	if (!major)
		return false;
	xdr_put_u64(x, 0); /* so_minor_id: every way to this major one is the same server */
	xdr_put_opaque(x, major, (uint32_t)strlen(major));
	xdr_put_opaque(x, scope, (uint32_t)strlen(scope));
	xdr_put_u32(x, 1);
	xdr_put_opaque(x, domain, sizeof(domain) - 1);
	xdr_put_opaque(x, name, sizeof(name) - 1);
	xdr_put_u64(x, 0); /* the build's date is nobody's business */
	xdr_put_u32(x, 0);
	return true;
}

static enum nfsstat4 exchange_id_finish(struct compound *c, struct state_result *result)
{
	struct xdr_out *x = reply_of(c);

	if (result->status != NFS4_OK)
		return result->status;
	compound_arrived(c, result->exchange_id.clientid);
	xdr_put_u64(x, result->exchange_id.clientid);
	xdr_put_u32(x, result->exchange_id.sequence);
	xdr_put_u32(x, result->exchange_id.flags);
	xdr_put_u32(x, SP4_NONE);
	return put_server(c) ? NFS4_OK : NFS4ERR_DELAY;
}

static enum nfsstat4 exchange_id_begin(struct compound *c, const struct exchange_id_args *a)
{
	struct submission *s;

	if (a->flags & ~(CLIENT_FLAGS | (c->minor >= 2 ? EXCHGID4_FLAG_SUPP_FENCE_OPS : 0)))
		return NFS4ERR_INVAL;
	/* Protection of the state needs RPCSEC_GSS with integrity; SSV is not offered at all. */
	if (a->state_protect == SP4_MACH_CRED || a->ssv_nonsense)
		return NFS4ERR_INVAL;
	if (a->state_protect == SP4_SSV)
		return NFS4ERR_ENCR_ALG_UNSUPP;
	s = compound_submission(c, CMD_EXCHANGE_ID);
	if (!s || !compound_client_owner(c, a->owner, &s->cmd->exchange_id.owner))
		return NFS4ERR_DELAY;
	s->cmd->exchange_id.verifier = a->verifier;
	s->cmd->exchange_id.flags = a->flags;
	s->cmd->exchange_id.state_protect = a->state_protect;
	s->cmd->exchange_id.impl_name = a->impl_name;
	return NFS4_OK;
}

static enum nfsstat4 exchange_id_run(struct compound *c, void *args)
{
	enum nfsstat4 status = c->phase == 0 ? exchange_id_begin(c, args) : NFS4_OK;

	if (status == NFS4_OK)
		status = compound_submit_firmly(c);
	if (status != NFS4_OK)
		return status;
	return exchange_id_finish(c, ((struct submission *)c->op_state)->result);
}

const struct op_row op_exchange_id = {
	.name = "EXCHANGE_ID",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NO_SESSION,
	.max_body = 500,
	.args_size = sizeof(struct exchange_id_args),
	.decode = exchange_id_decode,
	.run = exchange_id_run,
};

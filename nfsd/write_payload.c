#include "nfsd/write_payload.h"

#include "nfsd/nfs4.h"

/* SEQUENCE's arguments: session, sequence id, slot, highest slot, cache this. */
#define SEQUENCE_ARGS (NFS4_SESSIONID_SIZE + 16)
#define STATEID_BYTES (4 + NFS4_OTHER_SIZE)

static bool get_op(struct xdr_in *x, uint32_t want)
{
	uint32_t op;

	return xdr_get_u32(x, &op) && op == want;
}

bool write_payload_find(uint32_t procedure, struct xdr_in head, size_t len, struct rpc_span *span)
{
	const uint8_t *start = head.p, *p;
	uint32_t n, minor, nops, stable, count;
	size_t hashed = 0, at;
	uint64_t offset;

	if (procedure != NFSPROC4_COMPOUND || !xdr_get_opaque(&head, UINT32_MAX, &p, &n) ||
	    !xdr_get_u32(&head, &minor) || !xdr_get_u32(&head, &nops))
		return false;
	if (minor > 0) {
		if (!get_op(&head, OP_SEQUENCE) || !xdr_get_fixed(&head, &p, SEQUENCE_ARGS))
			return false;
		hashed = (size_t)(head.p - start) + REQUEST_HASHED;
	}
	if (!get_op(&head, OP_PUTFH) || !xdr_get_opaque(&head, NFS4_FHSIZE, &p, &n) ||
	    !get_op(&head, OP_WRITE) || !xdr_get_fixed(&head, &p, STATEID_BYTES) ||
	    !xdr_get_u64(&head, &offset) || !xdr_get_u32(&head, &stable) || stable != UNSTABLE4 ||
	    !xdr_get_u32(&head, &count))
		return false;
	at = (size_t)(head.p - start);
	if (count > len - at || at + count <= hashed)
		return false;
	span->from = at > hashed ? at : hashed;
	span->to = at + count;
	return true;
}

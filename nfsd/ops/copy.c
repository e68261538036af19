/*
 * COPY within this server: RFC 7862 section 15.2.
 *
 * Synchronous and in order, whatever the client would allow. Where the file system can share
 * blocks that is done at once; else bytes are copied for at most TIME_LIMIT, and the answer says
 * how many: the client asks for the rest. So no COPY holds a thread or a session's slot for long.
 * Copies are unstable: the client sends COMMIT, as after WRITE.
 */
#include "base/blocking.h"
#include "base/clock.h"
#include "nfsd/ops/io_pair.h"
#include "nfsd/ops_list.h"

#define TIME_LIMIT (1 * NS_PER_SEC)
#define PIECE	   (8u << 20) /* bytes between two looks at the clock */

struct copy_args {
	struct stateid source_id, target_id;
	uint64_t source_offset, target_offset, count;
	bool consecutive, synchronous;
	uint32_t nservers; /* not 0: the source is on another server */
};

static bool skip_string(struct xdr_in *x)
{
	const uint8_t *p;
	uint32_t len;

	return xdr_get_opaque(x, NFS4_UINT32_MAX, &p, &len);
}

/* netloc4 */
static bool skip_server(struct xdr_in *x)
{
	uint32_t type;

	if (!xdr_get_u32(x, &type))
		return false;
	switch (type) {
	case NL4_NAME:
	case NL4_URL:
		return skip_string(x);
	case NL4_NETADDR:
		return skip_string(x) && skip_string(x);
	default:
		return false;
	}
}

static bool copy_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct copy_args *a = args;

	if (!xdr_get_stateid(x, &a->source_id) || !xdr_get_stateid(x, &a->target_id) ||
	    !xdr_get_u64(x, &a->source_offset) || !xdr_get_u64(x, &a->target_offset) ||
	    !xdr_get_u64(x, &a->count) || !xdr_get_bool(x, &a->consecutive) ||
	    !xdr_get_bool(x, &a->synchronous) || !xdr_get_u32(x, &a->nservers))
		return false;
	for (uint32_t i = 0; i < a->nservers; i++)
		if (!skip_server(x))
			return false;
	return true;
}

/* Bytes by bytes until all is done, the source ends, an error, or the time is up. */
static int copy_bytes(const struct backend *backend, const struct io_pair *pair, uint64_t from,
		      uint64_t to, uint64_t len, uint64_t *copied)
{
	uint64_t deadline = clock_mono_ns() + TIME_LIMIT, part;
	int err;

	*copied = 0;
	while (*copied < len) {
		part = len - *copied < PIECE ? len - *copied : PIECE;
		err = backend->copy(pair->source, from + *copied, pair->target, to + *copied, part,
				    &part);
		if (err)
			return *copied ? 0 : err; /* the rest will meet the error again */
		*copied += part;
		if (part == 0 || clock_mono_ns() >= deadline)
			break;
	}
	return 0;
}

static enum nfsstat4 copy(const struct copy_args *a, const struct io_pair *pair, uint64_t *copied)
{
	const struct backend *backend = pair->target->object->backend;
	uint64_t len = a->count;
	enum nfsstat4 status;

	if (pair->same_file)
		return NFS4ERR_INVAL;
	status = io_pair_check_range(pair, a->source_offset, a->target_offset, len);
	if (status)
		return status;
	if (len == 0)
		len = pair->source_size - a->source_offset;
	if (len > INT64_MAX - a->target_offset)
		return NFS4ERR_FBIG;
	*copied = len;
	if (len == 0)
		return NFS4_OK;
	if (backend->clone && backend->clone(pair->source, a->source_offset, pair->target,
					     a->target_offset, len) == 0)
		return NFS4_OK;
	return status_from_errno(
	    copy_bytes(backend, pair, a->source_offset, a->target_offset, len, copied));
}

static void put_result(struct xdr_out *x, uint64_t copied, const uint8_t *verifier)
{
	xdr_put_u32(x, 0); /* no callback: it is done */
	xdr_put_u64(x, copied);
	xdr_put_u32(x, UNSTABLE4);
	xdr_put_fixed(x, verifier, BACKEND_VERIFIER_LEN);
	xdr_put_bool(x, true); /* consecutive */
	xdr_put_bool(x, true); /* synchronous */
}

static enum nfsstat4 copy_run(struct compound *c, void *args)
{
	struct copy_args *a = args;
	struct backend_export *exp = c->current.export->backend;
	uint8_t verifier[BACKEND_VERIFIER_LEN];
	struct io_pair pair;
	uint64_t copied;
	enum nfsstat4 status;

	if (a->nservers || !c->current.object->backend->copy)
		return NFS4ERR_NOTSUPP;
	status = io_pair_open(c, &a->source_id, &a->target_id, &pair);
	if (status)
		return status;
	/* Before the copy: should data be lost from now on, the verifier of COMMIT differs. */
	exp->backend->write_verifier(exp, verifier);
	status = copy(a, &pair, &copied);
	io_pair_close(&pair);
	if (!status)
		put_result(reply_of(c), copied, verifier);
	return status;
}

const struct op_row op_copy = {
	.name = "COPY",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_NEEDS_SAVED_FH | ROW_MODIFIES,
	.max_body = 4 + 8 + 4 + NFS4_VERIFIER_SIZE + 8,
	.args_size = sizeof(struct copy_args),
	.decode = copy_decode,
	.run = copy_run,
};

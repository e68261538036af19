/* CLONE: RFC 7862 section 15.13. Alignment and overlap are the file system's to judge. */
#include "nfsd/ops/io_pair.h"
#include "nfsd/ops_list.h"

struct clone_args {
	struct stateid source_id, target_id;
	uint64_t source_offset, target_offset, count;
};

static bool clone_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct clone_args *a = args;

	return xdr_get_stateid(x, &a->source_id) && xdr_get_stateid(x, &a->target_id) &&
	       xdr_get_u64(x, &a->source_offset) && xdr_get_u64(x, &a->target_offset) &&
	       xdr_get_u64(x, &a->count);
}

static enum nfsstat4 clone_run(struct compound *c, void *args)
{
	struct clone_args *a = args;
	const struct backend *backend = c->current.object->backend;
	struct io_pair pair;
	enum nfsstat4 status;

	if (!backend->clone)
		return NFS4ERR_NOTSUPP;
	status = io_pair_open(c, &a->source_id, &a->target_id, &pair);
	if (status)
		return status;
	status = io_pair_check_range(&pair, a->source_offset, a->target_offset, a->count);
	if (!status)
		status = status_from_errno(backend->clone(pair.source, a->source_offset,
							  pair.target, a->target_offset, a->count));
	io_pair_close(&pair);
	return status;
}

const struct op_row op_clone = {
	.name = "CLONE",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_NEEDS_SAVED_FH | ROW_MODIFIES,
	.args_size = sizeof(struct clone_args),
	.decode = clone_decode,
	.run = clone_run,
};

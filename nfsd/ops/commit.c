/* COMMIT: RFC 8881 section 18.3, RFC 7530 section 16.3. */
#include "nfsd/ops_list.h"

struct commit_args {
	uint64_t offset;
	uint32_t count;
};

static bool commit_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct commit_args *a = args;

	return xdr_get_u64(x, &a->offset) && xdr_get_u32(x, &a->count);
}

static enum nfsstat4 commit_run(struct compound *c, void *args)
{
	struct commit_args *a = args;
	struct backend_export *exp = c->current.export->backend;
	uint8_t verifier[BACKEND_VERIFIER_LEN] = { 0 };
	enum nfsstat4 status = compound_want_regular(c);
	int err = 0;

	/* Later minor versions do not have INVAL here; the range is a hint and all is committed. */
	if (status == NFS4_OK && c->minor == 0 && a->count > NFS4_UINT64_MAX - a->offset)
		status = NFS4ERR_INVAL;
	if (status != NFS4_OK)
		return status;
	if (!c->current.options->async && exp->backend->commit)
		err = exp->backend->commit(c->current.object, a->offset, a->count);
	if (err)
		return status_from_errno(err);
	if (exp->backend->write_verifier)
		exp->backend->write_verifier(exp, verifier);
	xdr_put_fixed(reply_of(c), verifier, sizeof(verifier));
	return NFS4_OK;
}

const struct op_row op_commit = {
	.name = "COMMIT",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = NFS4_VERIFIER_SIZE,
	.args_size = sizeof(struct commit_args),
	.decode = commit_decode,
	.run = commit_run,
};

/* VERIFY and NVERIFY: RFC 8881 sections 18.31 and 18.15. */
#include "nfsd/attrs.h"
#include "nfsd/ops_list.h"

struct verify_args {
	struct fattr attrs;
};

static bool verify_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct verify_args *a = args;

	return xdr_get_fattr(x, &a->attrs);
}

static enum nfsstat4 compare(struct compound *c, const struct verify_args *a, bool *same)
{
	const struct place *p = &c->current;
	struct attr_source src;
	enum nfsstat4 status = NFS4_OK;

	if (c->phase == 0)
		status = attr_ask_holder(c, p->object, &a->attrs.mask);
	if (!status)
		status = attr_source_init(&src, c, p->export, p->object, p->options);
	if (!status)
		status = attr_take_answer(&src);
	return status ? status : attr_compare(&src, &a->attrs, same);
}

static enum nfsstat4 verify_run(struct compound *c, void *args)
{
	bool same;
	enum nfsstat4 status = compare(c, args, &same);

	if (status)
		return status;
	return same ? NFS4_OK : NFS4ERR_NOT_SAME;
}

static enum nfsstat4 nverify_run(struct compound *c, void *args)
{
	bool same;
	enum nfsstat4 status = compare(c, args, &same);

	if (status)
		return status;
	return same ? NFS4ERR_SAME : NFS4_OK;
}

const struct op_row op_verify = {
	.name = "VERIFY",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.args_size = sizeof(struct verify_args),
	.decode = verify_decode,
	.run = verify_run,
};

const struct op_row op_nverify = {
	.name = "NVERIFY",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.args_size = sizeof(struct verify_args),
	.decode = verify_decode,
	.run = nverify_run,
};

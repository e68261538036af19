/* GETATTR: RFC 8881 section 18.7. */
#include "nfsd/attrs.h"
#include "nfsd/ops_list.h"

struct getattr_args {
	struct attr_bitmap wanted;
};

static bool getattr_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct getattr_args *a = args;
	bool unknown;

	return xdr_get_bitmap(x, &a->wanted, &unknown);
}

static enum nfsstat4 getattr_run(struct compound *c, void *args)
{
	const struct getattr_args *a = args;
	const struct place *p = &c->current;
	struct attr_source src;
	enum nfsstat4 status;

	if (attr_intersects(&a->wanted, attr_set_only(c->minor)))
		return NFS4ERR_INVAL;
	status = c->phase == 0 ? attr_ask_holder(c, p->object, &a->wanted) : NFS4_OK;
	if (!status)
		status = attr_source_init(&src, c, p->export, p->object, p->options);
	if (!status)
		status = attr_take_answer(&src);
	if (status)
		return status;
	attr_note_told(&src, &a->wanted);
	return attr_encode(&src, &a->wanted, reply_of(c));
}

const struct op_row op_getattr = {
	.name = "GETATTR",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.args_size = sizeof(struct getattr_args),
	.decode = getattr_decode,
	.run = getattr_run,
};

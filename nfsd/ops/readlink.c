/* READLINK: RFC 8881 section 18.24. */
#include <limits.h>

#include "nfsd/ops_list.h"

static enum nfsstat4 readlink_run(struct compound *c, void *args)
{
	struct object *obj = c->current.object;
	struct xdr_out *x = reply_of(c);
	char *text;
	size_t len;
	int err;

	if (obj->type != FILE_SYMLINK)
		return c->minor ? NFS4ERR_WRONG_TYPE : NFS4ERR_INVAL;
	if (!obj->backend->readlink)
		return NFS4ERR_NOTSUPP;
	text = arena_alloc(&c->call->arena, PATH_MAX);
	if (!text)
		return NFS4ERR_DELAY;
	err = obj->backend->readlink(obj, c->current.cred, text, PATH_MAX, &len);
	if (err)
		return status_from_errno(err);
	xdr_put_opaque(x, text, (uint32_t)len);
	return NFS4_OK;
}

const struct op_row op_readlink = {
	.name = "READLINK",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.run = readlink_run,
};

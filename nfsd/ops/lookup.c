/* LOOKUP: RFC 8881 section 18.13. */
#include "nfsd/ops_list.h"

static bool lookup_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_name(x, args);
}

static enum nfsstat4 lookup_run(struct compound *c, void *args)
{
	struct object *dir = c->current.object, *found;
	const char *name;
	enum nfsstat4 status = compound_want_search(c);
	int err;

	if (!status)
		status = compound_check_name(c, args, &name);
	if (status)
		return status;
	err = dir->backend->lookup(dir, c->current.cred, name, &found);
	return err ? status_from_errno(err) : compound_enter(c, found);
}

const struct op_row op_lookup = {
	.name = "LOOKUP",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_LEADS_ON,
	.args_size = sizeof(struct name4),
	.decode = lookup_decode,
	.run = lookup_run,
};

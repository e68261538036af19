/*
 * LOOKUPP: RFC 8881 section 18.14. From the root of an export it leads to the directory that
 * holds the export's in the enclosing one; above the top there is nothing (NOENT).
 */
#include <errno.h>

#include "nfsd/ops_list.h"

static enum nfsstat4 lookupp_run(struct compound *c, void *args)
{
	struct export *exp = c->current.export;
	struct object *dir = c->current.object, *found;
	enum nfsstat4 status = compound_want_search(c);
	int err;

	if (status)
		return status;
	err = dir->backend->lookup_parent
		  ? dir->backend->lookup_parent(dir, c->current.cred, &found)
		  : -ENOENT;
	if (err == -ENOENT && exp->parent)
		return compound_set_current(c, exp->parent, object_ref(exp->parent_object));
	return err ? status_from_errno(err) : compound_set_current(c, exp, found);
}

const struct op_row op_lookupp = {
	.name = "LOOKUPP",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_LEADS_ON,
	.run = lookupp_run,
};

/* REMOVE: RFC 8881 section 18.25. */
#include "nfsd/debts.h"
#include "nfsd/deleg.h"
#include "nfsd/intent.h"
#include "nfsd/ops_list.h"

static bool remove_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_name(x, args);
}

/* A directory that another export covers is in use: FILE_OPEN, as for a mount point. */
static enum nfsstat4 check_junction(struct compound *c, const char *name)
{
	struct object *dir = c->current.object, *found;
	bool covered;

	if (!c->current.export->has_junctions ||
	    dir->backend->lookup(dir, c->current.cred, name, &found) != 0)
		return NFS4_OK;
	covered = export_set_cross(c->exports, c->current.export, found) != NULL;
	object_unref(found);
	return covered ? NFS4ERR_FILE_OPEN : NFS4_OK;
}

static enum nfsstat4 remove_run(struct compound *c, void *args)
{
	struct object *dir = c->current.object;
	struct dir_change change = { 0 };
	struct intent intent = { .kind = INTENT_REMOVE, .dir = &c->current };
	const char *name;
	enum nfsstat4 status = place_want_directory(&c->current);
	int err;

	if (!status)
		status = compound_check_name(c, args, &name);
	if (!status)
		status = compound_want_writable(c);
	if (!status)
		status = check_junction(c, name);
	if (status)
		return status;
	if (!dir->backend->remove)
		return NFS4ERR_NOTSUPP;
	status = deleg_break_name(c, &c->current, name);
	if (!status)
		status = deleg_break_dir(c, &c->current, c->clientid, NULL);
	intent.name = name;
	if (!status)
		status = intent_begin(c, &intent);
	if (status)
		return status;
	change.may_owe = debts_accept(c, dir, 1);
	err = intent.done ? intent_change(dir, &change)
			  : dir->backend->remove(dir, c->current.cred, name, &change);
	if (err)
		return status_from_errno(err);
	if (change.owes)
		debts_add(c, dir, NULL, NULL);
	xdr_put_change_info(reply_of(c), &change);
	return NFS4_OK;
}

const struct op_row op_remove = {
	.name = "REMOVE",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES,
	.max_body = 20,
	.args_size = sizeof(struct name4),
	.decode = remove_decode,
	.run = remove_run,
};

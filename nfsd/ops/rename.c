/*
 * RENAME: from a name in the saved directory to one in the current directory. RFC 8881
 * section 18.26.
 */
#include <errno.h>

#include "nfsd/debts.h"
#include "nfsd/deleg.h"
#include "nfsd/intent.h"
#include "nfsd/ops_list.h"

struct rename_args {
	struct name4 from, to;
};

static bool rename_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct rename_args *a = args;

	return xdr_get_name(x, &a->from) && xdr_get_name(x, &a->to);
}

/*
 * A file onto a directory, or the reverse, is EXIST to the protocol; both parents are known to be
 * directories, so that is what the file system means.
 */
static enum nfsstat4 status_of_rename(int err)
{
	return err == -EISDIR || err == -ENOTDIR ? NFS4ERR_EXIST : status_from_errno(err);
}

static bool is_covered(struct compound *c, const struct place *dir, const char *name)
{
	struct object *found;
	bool covered;

	if (!dir->export->has_junctions ||
	    dir->object->backend->lookup(dir->object, dir->cred, name, &found) != 0)
		return false;
	covered = export_set_cross(c->exports, dir->export, found) != NULL;
	object_unref(found);
	return covered;
}

static enum nfsstat4 check_args(struct compound *c, const struct rename_args *a, const char **from,
				const char **to)
{
	enum nfsstat4 status = place_want_directory(&c->saved);

	if (!status)
		status = place_want_directory(&c->current);
	if (!status)
		status = compound_check_name(c, &a->from, from);
	if (!status)
		status = compound_check_name(c, &a->to, to);
	if (status)
		return status;
	if (c->saved.export != c->current.export)
		return NFS4ERR_XDEV;
	status = compound_want_writable(c);
	/* A directory that another export covers is in use, as a mount point is. */
	if (!status && (is_covered(c, &c->saved, *from) || is_covered(c, &c->current, *to)))
		status = NFS4ERR_FILE_OPEN;
	return status;
}

/* As the node that had the request before has left them. */
static int changes_seen(struct object *source, struct object *target,
			struct dir_change *source_change, struct dir_change *target_change)
{
	int err = intent_change(source, source_change);

	return err ? err : intent_change(target, target_change);
}

static enum nfsstat4 rename_run(struct compound *c, void *args)
{
	struct object *source = c->saved.object, *target = c->current.object;
	struct dir_change source_change = { 0 }, target_change = { 0 };
	struct intent intent = { .kind = INTENT_RENAME, .dir = &c->saved, .to = &c->current };
	const char *from, *to;
	enum nfsstat4 status = check_args(c, args, &from, &to);
	int err;

	if (status)
		return status;
	if (!source->backend->rename)
		return NFS4ERR_NOTSUPP;
	status = deleg_break_name(c, &c->saved, from);
	if (!status)
		status = deleg_break_name(c, &c->current, to);
	if (!status)
		status = deleg_break_dir(c, &c->saved, c->clientid, NULL);
	if (!status)
		status = deleg_break_dir(c, &c->current, c->clientid, NULL);
	intent.name = from;
	intent.to_name = to;
	if (!status)
		status = intent_begin(c, &intent);
	if (status)
		return status;
	source_change.may_owe = target_change.may_owe = debts_accept(c, target, 2);
	err = intent.done ? changes_seen(source, target, &source_change, &target_change)
			  : source->backend->rename(source, from, target, to, c->current.cred,
						    &source_change, &target_change);
	if (err)
		return status_of_rename(err);
	if (target_change.owes)
		debts_add(c, target, NULL, NULL);
	if (source_change.owes)
		debts_add(c, source, NULL, NULL);
	xdr_put_change_info(reply_of(c), &source_change);
	xdr_put_change_info(reply_of(c), &target_change);
	return NFS4_OK;
}

const struct op_row op_rename = {
	.name = "RENAME",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_NEEDS_SAVED_FH | ROW_MODIFIES,
	.max_body = 40,
	.args_size = sizeof(struct rename_args),
	.decode = rename_decode,
	.run = rename_run,
};

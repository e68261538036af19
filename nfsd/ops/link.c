/* LINK: the saved filehandle's object gets a name in the current directory. RFC 8881 18.9. */
#include "nfsd/debts.h"
#include "nfsd/deleg.h"
#include "nfsd/intent.h"
#include "nfsd/ops_list.h"

static bool link_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_name(x, args);
}

static enum nfsstat4 check_args(struct compound *c, const struct name4 *new_name, const char **name)
{
	enum nfsstat4 status = place_want_directory(&c->current);

	if (!status)
		status = compound_check_name(c, new_name, name);
	if (status)
		return status;
	if (c->saved.object->type == FILE_DIRECTORY)
		return NFS4ERR_ISDIR;
	if (c->saved.export != c->current.export)
		return NFS4ERR_XDEV;
	return compound_want_writable(c);
}

static enum nfsstat4 link_run(struct compound *c, void *args)
{
	struct object *obj = c->saved.object, *dir = c->current.object;
	struct dir_change change = { 0 };
	struct intent intent = { .kind = INTENT_LINK, .dir = &c->current, .linked = obj };
	const char *name;
	enum nfsstat4 status = check_args(c, args, &name);
	int err;

	if (status)
		return status;
	if (!obj->backend->link)
		return NFS4ERR_NOTSUPP;
	status = deleg_break(c, obj, c->clientid, true);
	if (!status)
		status = deleg_break_dir(c, &c->current, c->clientid, NULL);
	intent.name = name;
	if (!status)
		status = intent_begin(c, &intent);
	if (status)
		return status;
	change.may_owe = debts_accept(c, dir, 1);
	err = intent.done ? intent_change(dir, &change)
			  : obj->backend->link(obj, dir, c->current.cred, name, &change);
	if (err)
		return status_from_errno(err);
	if (change.owes)
		debts_add(c, dir, NULL, NULL);
	xdr_put_change_info(reply_of(c), &change);
	return NFS4_OK;
}

const struct op_row op_link = {
	.name = "LINK",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_NEEDS_SAVED_FH | ROW_MODIFIES,
	.max_body = 20,
	.args_size = sizeof(struct name4),
	.decode = link_decode,
	.run = link_run,
};

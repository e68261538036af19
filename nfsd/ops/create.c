/* CREATE: everything but regular files. RFC 8881 section 18.4. */
#include <string.h>

#include "nfsd/attrs.h"
#include "nfsd/deleg.h"
#include "nfsd/debts.h"
#include "nfsd/intent.h"
#include "nfsd/ops_list.h"

struct create_op_args {
	uint32_t type; /* enum nfs_ftype4, as sent */
	struct bytes target;
	uint32_t rdev_major, rdev_minor;
	struct name4 name;
	struct fattr attrs;
};

/* What createtype4 carries for the type; nothing for those that cannot be created. */
static bool decode_type(struct xdr_in *x, struct create_op_args *a)
{
	if (!xdr_get_u32(x, &a->type))
		return false;
	switch (a->type) {
	case NF4LNK:
		return xdr_get_opaque(x, NFS4_UINT32_MAX, &a->target.p, &a->target.len);
	case NF4BLK:
	case NF4CHR:
		return xdr_get_u32(x, &a->rdev_major) && xdr_get_u32(x, &a->rdev_minor);
	default:
		return true;
	}
}

static bool create_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct create_op_args *a = args;

	return decode_type(x, a) && xdr_get_name(x, &a->name) && xdr_get_fattr(x, &a->attrs);
}

/* A link's text: anything but nothing and NUL; how long it may be the file system knows. */
static enum nfsstat4 check_target(struct compound *c, const struct bytes *target, const char **out)
{
	if (target->len == 0 || memchr(target->p, '\0', target->len))
		return NFS4ERR_INVAL;
	*out = arena_strndup(&c->call->arena, target->p, target->len);
	return *out ? NFS4_OK : NFS4ERR_DELAY;
}

static enum nfsstat4 check_type(struct compound *c, const struct create_op_args *a,
				struct create_args *out)
{
	switch (a->type) {
	case NF4DIR:
	case NF4SOCK:
	case NF4FIFO:
		break;
	case NF4BLK:
	case NF4CHR:
		out->rdev_major = a->rdev_major;
		out->rdev_minor = a->rdev_minor;
		break;
	case NF4LNK:
		out->type = FILE_SYMLINK;
		return check_target(c, &a->target, &out->target);
	default:
		return NFS4ERR_BADTYPE;
	}
	out->type = (enum file_type)a->type;
	return NFS4_OK;
}

static enum nfsstat4 check_args(struct compound *c, const struct create_op_args *a,
				struct create_args *out, const char **name)
{
	enum nfsstat4 status = place_want_directory(&c->current);

	if (!status)
		status = check_type(c, a, out);
	if (!status)
		status = compound_check_name(c, &a->name, name);
	if (!status)
		status = fattr_to_attr_set(c, &a->attrs, false, &out->attrs);
	if (!status)
		status = attr_set_check_new(&out->attrs);
	if (!status && (out->attrs.mask & ATTR_SET_SIZE))
		status = NFS4ERR_INVAL; /* of regular files only */
	if (!status)
		status = compound_want_writable(c);
	return status;
}

static enum nfsstat4 create_run(struct compound *c, void *args)
{
	const struct create_op_args *a = args;
	struct object *dir = c->current.object, *made;
	struct create_args create = { .mode = CREATE_GUARDED };
	struct attr_bitmap attrset;
	struct dir_change change = { 0 };
	struct intent intent = { .kind = INTENT_MAKE, .dir = &c->current, .make = &create };
	const char *name;
	enum nfsstat4 status = check_args(c, a, &create, &name);
	int err;

	if (status)
		return status;
	if (!dir->backend->create)
		return NFS4ERR_NOTSUPP;
	status = deleg_break_dir(c, &c->current, c->clientid, name);
	intent.name = name;
	if (!status)
		status = intent_begin(c, &intent);
	if (status)
		return status;
	change.may_owe = debts_accept(c, dir, 1);
	if (intent.done)
		err = intent_made(c, &intent, &change, &made);
	else
		err = dir->backend->create(dir, c->current.cred, name, &create, &change, &made);
	if (err)
		return status_from_errno(err);
	if (change.owes)
		debts_add(c, dir, NULL, NULL);
	xdr_put_change_info(reply_of(c), &change);
	attr_set_bitmap(&a->attrs, create.attrs.mask, &attrset);
	xdr_put_bitmap(reply_of(c), &attrset);
	return compound_set_current(c, c->current.export, made);
}

const struct op_row op_create = {
	.name = "CREATE",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES,
	.max_body = 20 + ATTR_BITMAP_MAX,
	.args_size = sizeof(struct create_op_args),
	.decode = create_decode,
	.run = create_run,
};

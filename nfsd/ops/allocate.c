/* ALLOCATE and DEALLOCATE: RFC 7862 sections 15.1 and 15.4. */
#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

struct allocate_args {
	struct stateid stateid;
	uint64_t offset, length;
};

typedef int change_space(struct file *file, uint64_t offset, uint64_t len);

static bool allocate_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct allocate_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u64(x, &a->offset) &&
	       xdr_get_u64(x, &a->length);
}

static enum nfsstat4 check_range(const struct allocate_args *a)
{
	if (a->length == 0)
		return NFS4ERR_INVAL;
	if (a->offset > INT64_MAX || a->length > INT64_MAX - a->offset)
		return NFS4ERR_FBIG;
	return NFS4_OK;
}

static enum nfsstat4 run(struct compound *c, struct allocate_args *a, change_space *change)
{
	struct file *file;
	enum nfsstat4 status;

	/* Directories and symbolic links are no exception (sections 15.1.3 and 15.4.3). */
	if (c->current.object->type != FILE_REGULAR)
		return NFS4ERR_WRONG_TYPE;
	status = compound_want_writable(c);
	if (!status)
		status = check_range(a);
	if (!status && !change)
		status = NFS4ERR_NOTSUPP;
	if (!status)
		status = io_file(c, &a->stateid, ACCESS_WRITE, &file);
	if (status)
		return status;
	status = status_from_errno(change(file, a->offset, a->length));
	file_unref(file);
	return status;
}

static enum nfsstat4 allocate_run(struct compound *c, void *args)
{
	return run(c, args, c->current.object->backend->allocate);
}

static enum nfsstat4 deallocate_run(struct compound *c, void *args)
{
	return run(c, args, c->current.object->backend->deallocate);
}

const struct op_row op_allocate = {
	.name = "ALLOCATE",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES,
	.args_size = sizeof(struct allocate_args),
	.decode = allocate_decode,
	.run = allocate_run,
};

const struct op_row op_deallocate = {
	.name = "DEALLOCATE",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES,
	.args_size = sizeof(struct allocate_args),
	.decode = allocate_decode,
	.run = deallocate_run,
};

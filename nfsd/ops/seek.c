/* SEEK: the next data or hole. RFC 7862 section 15.11. */
#include <errno.h>

#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

struct seek_args {
	struct stateid stateid;
	uint64_t offset;
	uint32_t what; /* enum data_content4 */
};

static bool seek_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct seek_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u64(x, &a->offset) &&
	       xdr_get_u32(x, &a->what);
}

/*
 * Every file ends in a hole; one that cannot have others is data up to there. No data behind the
 * offset is no error to the protocol: the answer is the end of the file.
 */
static enum nfsstat4 find(struct file *file, const struct seek_args *a, uint64_t size,
			  uint64_t *found)
{
	const struct backend *backend = file->object->backend;
	bool hole = a->what == NFS4_CONTENT_HOLE;
	int err = 0;

	if (!backend->seek)
		*found = hole ? size : a->offset;
	else
		err = backend->seek(file, a->offset, hole, found);
	if (err == -ENXIO) {
		*found = size;
		err = 0;
	}
	return status_from_errno(err);
}

static enum nfsstat4 seek_file(struct compound *c, struct file *file, const struct seek_args *a)
{
	struct attr attr;
	uint64_t found;
	enum nfsstat4 status =
	    status_from_errno(file->object->backend->getattr(c->current.object, &attr));

	if (!status && a->offset >= attr.size)
		status = NFS4ERR_NXIO;
	if (!status)
		status = find(file, a, attr.size, &found);
	if (status)
		return status;
	xdr_put_bool(reply_of(c), found >= attr.size);
	xdr_put_u64(reply_of(c), found);
	return NFS4_OK;
}

static enum nfsstat4 seek_run(struct compound *c, void *args)
{
	struct seek_args *a = args;
	struct file *file;
	enum nfsstat4 status;

	if (a->what != NFS4_CONTENT_DATA && a->what != NFS4_CONTENT_HOLE)
		return NFS4ERR_UNION_NOTSUPP;
	status = io_file(c, &a->stateid, ACCESS_READ, &file);
	if (status)
		return status;
	status = seek_file(c, file, a);
	file_unref(file);
	return status;
}

const struct op_row op_seek = {
	.name = "SEEK",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 12,
	.args_size = sizeof(struct seek_args),
	.decode = seek_decode,
	.run = seek_run,
};

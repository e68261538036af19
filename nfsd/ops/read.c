/* READ: RFC 8881 section 18.22, RFC 7530 section 16.23. */
#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

/* eof, length, padding */
#define READ_OVERHEAD 12

struct read_args {
	struct stateid stateid;
	uint64_t offset;
	uint32_t count;
};

static bool read_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct read_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u64(x, &a->offset) &&
	       xdr_get_u32(x, &a->count);
}

/* No more than what was asked for, what we allow, and what the reply has room for. */
static size_t read_most(struct compound *c, const struct read_args *a)
{
	struct xdr_out *x = reply_of(c);
	size_t used = xdr_out_total(x) + READ_OVERHEAD;
	size_t room = x->limit > used ? x->limit - used : 0;
	size_t most = a->count < c->server->options.max_io ? a->count : c->server->options.max_io;

	return most < room ? most : room;
}

static enum nfsstat4 read_file(struct compound *c, struct file *file, struct read_args *a,
			       size_t most)
{
	struct xdr_out *x = reply_of(c);
	size_t head = x->len, filled;
	bool eof;
	enum nfsstat4 status;

	xdr_put_bool(x, false);
	status = io_read(c, file, a->offset, most, &filled, &eof);
	if (status == NFS4_OK)
		xdr_patch_u32(x, head, eof);
	return status;
}

static enum nfsstat4 read_run(struct compound *c, void *args)
{
	struct read_args *a = args;
	struct file *file;
	enum nfsstat4 status = io_file(c, &a->stateid, ACCESS_READ, &file);

	if (status != NFS4_OK)
		return status;
	if (a->offset > INT64_MAX) {
		/* No file is that long: behind its end. */
		xdr_put_bool(reply_of(c), true);
		xdr_put_u32(reply_of(c), 0);
	} else {
		status = read_file(c, file, a, read_most(c, a));
	}
	file_unref(file);
	return status;
}

static uint64_t read_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct read_args *)args)->stateid);
}

const struct op_row op_read = {
    .name = "READ",
    .max_minor = 2,
    .flags = ROW_NEEDS_FH,
    .max_body = READ_OVERHEAD,
    .args_size = sizeof(struct read_args),
    .decode = read_decode,
    .run = read_run,
	.client = read_client,
};

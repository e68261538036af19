/*
 * IO_ADVISE: RFC 7862 section 15.5. Advice may be ignored, and is: the kernel's read-ahead
 * recognises patterns by itself. The answer says so: no hint but NORMAL.
 */
#include "nfsd/attrs.h"
#include "nfsd/ops_list.h"

enum { IO_ADVISE4_NORMAL = 0 };

struct io_advise_args {
	struct stateid stateid;
	uint64_t offset, count;
};

static bool io_advise_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct io_advise_args *a = args;
	struct attr_bitmap hints;
	bool unknown;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u64(x, &a->offset) &&
	       xdr_get_u64(x, &a->count) && xdr_get_bitmap(x, &hints, &unknown);
}

/* Any stateid of the file will do, whatever it was opened for. */
static enum nfsstat4 check_stateid(struct compound *c, struct stateid *id)
{
	struct file *file = NULL;
	struct bytes key;
	uint64_t conflict;
	enum nfsstat4 status = compound_resolve_stateid(c, id);

	if (status || stateid_is_anonymous(id) || stateid_is_read_bypass(id))
		return status;
	status = compound_file_key(c, &key);
	if (status)
		return status;
	status = state_use_stateid(c->server->state, c->minor, c->clientid, id, key, ACCESS_READ,
				   &file, &conflict);
	if (status == NFS4ERR_OPENMODE)
		status = state_use_stateid(c->server->state, c->minor, c->clientid, id, key,
					   ACCESS_WRITE, &file, &conflict);
	file_unref(file);
	return status;
}

static enum nfsstat4 io_advise_run(struct compound *c, void *args)
{
	struct io_advise_args *a = args;
	struct attr_bitmap answer = { .word = { 1u << IO_ADVISE4_NORMAL } };
	enum nfsstat4 status = compound_want_regular(c);

	if (!status && a->count > NFS4_UINT64_MAX - a->offset)
		status = NFS4ERR_INVAL;
	if (!status)
		status = check_stateid(c, &a->stateid);
	if (status)
		return status;
	xdr_put_bitmap(reply_of(c), &answer);
	return NFS4_OK;
}

const struct op_row op_io_advise = {
	.name = "IO_ADVISE",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 8,
	.args_size = sizeof(struct io_advise_args),
	.decode = io_advise_decode,
	.run = io_advise_run,
};

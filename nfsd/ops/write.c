/* WRITE: RFC 8881 section 18.32, RFC 7530 section 16.36. */
#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

struct write_args {
	struct stateid stateid;
	uint64_t offset;
	uint32_t stable;
	const uint8_t *data; /* in the received record */
	uint32_t len;
};

static bool write_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct write_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u64(x, &a->offset) &&
	       xdr_get_u32(x, &a->stable) && a->stable <= FILE_SYNC4 &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &a->data, &a->len);
}

/*
 * Minor version 0 knows a retry of a request that modifies something by all of its bytes (drc.c). So
 * they must not be gone if such an operation follows.
 */
static bool is_read_later(const struct compound *c)
{
	struct xdr_in rest = c->call->args;
	uint32_t next;

	if (c->minor > 0 || c->index + 1 == c->nops)
		return false;
	return c->index + 2 < c->nops || !xdr_get_u32(&rest, &next) || next != OP_GETATTR;
}

/* What waits in a pipe is left there for a backend that splices, or fetched. */
static int find_payload(struct compound *c, const struct write_args *a, struct iovec *iov,
			struct payload_in *in)
{
	struct rpc_hole *hole = &c->call->hole;
	const struct backend_export *exp = c->current.export->backend;
	size_t before = hole->len ? (size_t)(hole->at - a->data) : a->len;

	*iov = (struct iovec){ (void *)a->data, a->len };
	*in = (struct payload_in){ .iov = iov, .iovcnt = 1, .pipe_fd = -1, .len = a->len };
	if (likely(hole->len == 0))
		return 0;
	if (!(exp->capabilities & BACKEND_WRITE_SPLICE) || is_read_later(c) || before > a->len ||
	    hole->len != a->len - before)
		return rpc_call_fill(c->call);
	iov->iov_len = before;
	in->pipe_fd = hole->fd;
	in->pipe_len = hole->len;
	hole->len = 0;
	return 0;
}

static enum nfsstat4 write_file(struct compound *c, struct file *file, struct write_args *a)
{
	struct iovec iov;
	struct payload_in in;
	/* exports(5) async: say that it is stable, and let the kernel write when it likes. */
	enum stability how = c->current.options->async ? UNSTABLE : (enum stability)a->stable;
	struct backend_export *exp = c->current.export->backend;
	uint8_t verifier[BACKEND_VERIFIER_LEN];
	struct xdr_out *x = reply_of(c);
	size_t written = 0;
	int err = find_payload(c, a, &iov, &in);

	if (err)
		return status_from_errno(err);
	/* Before the write: should data be lost from now on, the verifier of COMMIT differs. */
	exp->backend->write_verifier(exp, verifier);
	if (a->len > 0)
		err = file->object->backend->write(file, a->offset, &in, &how, &written);
	if (err)
		return status_from_errno(err);
	xdr_put_u32(x, (uint32_t)written);
	xdr_put_u32(x, how < a->stable ? a->stable : how);
	xdr_put_fixed(x, verifier, sizeof(verifier));
	return NFS4_OK;
}

static enum nfsstat4 write_run(struct compound *c, void *args)
{
	struct write_args *a = args;
	struct file *file;
	enum nfsstat4 status = compound_want_regular(c);

	if (status == NFS4_OK)
		status = compound_want_writable(c);
	if (status == NFS4_OK && (a->offset > INT64_MAX || a->len > INT64_MAX - a->offset))
		status = NFS4ERR_FBIG;
	if (status == NFS4_OK)
		status = io_file(c, &a->stateid, ACCESS_WRITE, &file);
	if (status != NFS4_OK)
		return status;
	status = write_file(c, file, a);
	file_unref(file);
	return status;
}

static uint64_t write_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct write_args *)args)->stateid);
}

const struct op_row op_write = {
	.name = "WRITE",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 8 + NFS4_VERIFIER_SIZE,
	.args_size = sizeof(struct write_args),
	.decode = write_decode,
	.run = write_run,
	.client = write_client,
};

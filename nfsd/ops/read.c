/*
 * READ: RFC 8881 section 18.22, RFC 7530 section 16.23. Long reads of a file with a descriptor go
 * from the page cache to the socket (an extent in the reply); others are read into the reply.
 */
#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

/* Below this a copy is cheaper than sendfile(2) and the system call that precedes it. */
#define EXTENT_MIN (32 * 1024)
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

/* A cached reply must be bytes; an extent is gone once it is sent. */
static bool wants_extent(struct compound *c, size_t most)
{
	return most >= EXTENT_MIN && !c->slot.cache_this &&
	       (c->current.export->backend->capabilities & BACKEND_READ_BY_FD);
}

static void put_extent(struct compound *c, const struct payload_out *p)
{
	struct xdr_extent *ext = arena_zalloc(&c->call->arena, sizeof(*ext));

	if (!ext) {
		if (p->release)
			p->release(p->release_arg);
		reply_of(c)->failed = true;
		return;
	}
	ext->fd = p->fd;
	ext->offset = p->offset;
	ext->len = p->filled;
	ext->release = p->release;
	ext->release_arg = p->release_arg;
	xdr_put_extent(reply_of(c), ext);
}

static enum nfsstat4 read_file(struct compound *c, struct file *file, struct read_args *a,
			       size_t most)
{
	struct xdr_out *x = reply_of(c);
	struct payload_out out = { .cap = most, .fd_wanted = wants_extent(c, most), .fd = -1 };
	size_t head = x->len, pad;
	int err;

	xdr_put_bool(x, false);
	xdr_put_u32(x, 0);
	if (!xdr_out_grow(x, out.fd_wanted ? 4 : most + 4))
		return NFS4ERR_RESOURCE;
	if (out.fd_wanted)
		out.buf = NULL;
	else
		out.buf = x->buf + x->len;
	err = file->object->backend->read(file, a->offset, &out);
	if (err)
		return status_from_errno(err);
	xdr_patch_u32(x, head, out.eof);
	xdr_patch_u32(x, head + 4, (uint32_t)out.filled);
	if (out.fd >= 0)
		put_extent(c, &out);
	else if (out.filled)
		xdr_out_reserve(x, out.filled);
	pad = xdr_pad(out.filled);
	if (pad) {
		uint8_t *p = xdr_out_reserve(x, pad);

		for (size_t i = 0; p && i < pad; i++)
			p[i] = 0;
	}
	return NFS4_OK;
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

const struct op_row op_read = {
	.name = "READ",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = READ_OVERHEAD,
	.args_size = sizeof(struct read_args),
	.decode = read_decode,
	.run = read_run,
};

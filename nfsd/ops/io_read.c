/* A file's bytes into the reply, for READ and READ_PLUS. */
#include <errno.h>
#include <string.h>

#include "nfsd/ops.h"
#include "nfsd/ops/io_file.h"

/* Below this a copy is cheaper than sendfile(2) and the system call that precedes it. */
#define EXTENT_MIN (32 * 1024)

/* A cached reply must be bytes; an extent is gone once it is sent. */
static bool wants_extent(struct compound *c, size_t most)
{
	return most >= EXTENT_MIN && !c->slot.cache_this && !c->drc &&
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
	ext->unreadable = p->unreadable;
	ext->release_arg = p->release_arg;
	xdr_put_extent(reply_of(c), ext);
}

static void put_padding(struct xdr_out *x, size_t len)
{
	size_t pad = xdr_pad(len);
	uint8_t *p = pad ? xdr_out_reserve(x, pad) : NULL;

	if (p)
		memset(p, 0, pad);
}

/* As an extent if that will do, else into the reply's own memory. */
static int read_payload(struct xdr_out *x, struct file *file, uint64_t offset,
			struct payload_out *out)
{
	const struct backend *be = file->object->backend;
	int err;

	if (out->fd_wanted) {
		err = be->read(file, offset, out);
		if (err != -EAGAIN)
			return err;
	}
	out->fd_wanted = false;
	if (!xdr_out_grow(x, out->cap + 4))
		return -ENOMEM;
	out->buf = x->buf + x->len;
	return be->read(file, offset, out);
}

enum nfsstat4 io_read(struct compound *c, struct file *file, uint64_t offset, size_t most,
		      size_t *filled, bool *eof)
{
	struct xdr_out *x = reply_of(c);
	struct payload_out out = { .cap = most, .fd_wanted = wants_extent(c, most), .fd = -1 };
	size_t len_at = x->len;
	int err;

	xdr_put_u32(x, 0);
	err = read_payload(x, file, offset, &out);
	if (err)
		return status_from_errno(err);
	xdr_patch_u32(x, len_at, (uint32_t)out.filled);
	if (out.fd >= 0)
		put_extent(c, &out);
	else
		xdr_out_reserve(x, out.filled);
	put_padding(x, out.filled);
	*filled = out.filled;
	*eof = out.eof;
	return NFS4_OK;
}

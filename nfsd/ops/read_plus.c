/*
 * READ_PLUS: data and holes. RFC 7862 section 15.10.
 *
 * The answer is a row of contents, each data or a hole, without gaps from the asked offset on. A
 * hole is told only as far as it was asked for: what lies beyond may be locked by others.
 */
#include <errno.h>

#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

/* eof and the number of contents */
#define RESULT_HEAD 8
/* Kind, offset, length, and padding of data. */
#define CONTENT_OVERHEAD 20
/* A file that alternates more often gets a short answer. */
#define MAX_CONTENTS 64

struct read_plus_args {
	struct stateid stateid;
	uint64_t offset;
	uint32_t count;
};

/* Where the answer stands. */
struct reading {
	struct compound *c;
	struct file *file;
	uint64_t pos, end; /* what is still to be told: [pos, end) */
	uint64_t size;
	uint32_t contents;
	bool eof;
};

static bool read_plus_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct read_plus_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_u64(x, &a->offset) &&
	       xdr_get_u32(x, &a->count);
}

/* The start of the next data or hole at or behind pos, at most `end`. */
static enum nfsstat4 next_start(struct reading *r, bool hole, uint64_t *start)
{
	const struct backend *backend = r->file->object->backend;
	int err;

	if (!backend->seek) {
		*start = hole ? r->end : r->pos;
		return NFS4_OK;
	}
	err = backend->seek(r->file, r->pos, hole, start);
	if (err == -ENXIO) {
		*start = r->end;
		err = 0;
	}
	if (!err && *start > r->end)
		*start = r->end;
	return status_from_errno(err);
}

static void put_hole(struct reading *r, uint64_t until)
{
	struct xdr_out *x = reply_of(r->c);

	xdr_put_u32(x, NFS4_CONTENT_HOLE);
	xdr_put_u64(x, r->pos);
	xdr_put_u64(x, until - r->pos);
	r->pos = until;
}

/* Reads up to `until`, or to where the reply is full. */
static enum nfsstat4 put_data(struct reading *r, uint64_t until)
{
	struct xdr_out *x = reply_of(r->c);
	size_t used = xdr_out_total(x) + CONTENT_OVERHEAD, filled, most = until - r->pos;
	size_t room = x->limit > used ? x->limit - used : 0;
	enum nfsstat4 status;
	bool eof;

	if (most > room)
		most = room;
	xdr_put_u32(x, NFS4_CONTENT_DATA);
	xdr_put_u64(x, r->pos);
	status = io_read(r->c, r->file, r->pos, most, &filled, &eof);
	if (status)
		return status;
	r->pos += filled;
	if (eof)
		r->eof = true;
	if (filled < until - (r->pos - filled))
		r->end = r->pos; /* short: the reply is full, or the file has shrunk */
	return NFS4_OK;
}

static enum nfsstat4 put_content(struct reading *r)
{
	uint64_t data, hole;
	enum nfsstat4 status = next_start(r, false, &data);

	if (status)
		return status;
	r->contents++;
	if (data > r->pos) {
		put_hole(r, data);
		return NFS4_OK;
	}
	status = next_start(r, true, &hole);
	if (status)
		return status;
	/* A hole came here between the two questions: what it reads as is right all the same. */
	return put_data(r, hole > r->pos ? hole : r->end);
}

static bool has_room(const struct reading *r)
{
	const struct xdr_out *x = reply_of(r->c);

	return xdr_out_total(x) + CONTENT_OVERHEAD < x->limit;
}

static enum nfsstat4 put_contents(struct reading *r)
{
	struct xdr_out *x = reply_of(r->c);
	size_t head = x->len;
	enum nfsstat4 status = NFS4_OK;

	xdr_put_bool(x, false);
	xdr_put_u32(x, 0);
	while (!status && r->pos < r->end && r->contents < MAX_CONTENTS &&
	       (r->contents == 0 || has_room(r)))
		status = put_content(r);
	xdr_patch_u32(x, head, r->eof || r->pos >= r->size);
	xdr_patch_u32(x, head + 4, r->contents);
	return status;
}

static enum nfsstat4 read_file(struct compound *c, struct file *file,
			       const struct read_plus_args *a)
{
	uint32_t max_io = c->server->options.max_io;
	uint32_t count = a->count < max_io ? a->count : max_io;
	struct reading r = { .c = c, .file = file, .pos = a->offset };
	struct attr attr;
	enum nfsstat4 status =
	    status_from_errno(file->object->backend->getattr(c->current.object, &attr));

	if (status)
		return status;
	r.size = attr.size;
	r.end = r.size;
	if (r.pos < r.size && count < r.size - r.pos)
		r.end = r.pos + count;
	return put_contents(&r);
}

static enum nfsstat4 read_plus_run(struct compound *c, void *args)
{
	struct read_plus_args *a = args;
	struct file *file;
	enum nfsstat4 status = io_file(c, &a->stateid, ACCESS_READ, &file);

	if (status)
		return status;
	status = read_file(c, file, a);
	file_unref(file);
	return status;
}

const struct op_row op_read_plus = {
	.name = "READ_PLUS",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = RESULT_HEAD,
	.args_size = sizeof(struct read_plus_args),
	.decode = read_plus_decode,
	.run = read_plus_run,
};

#include "nfsd/ops/io_pair.h"

#include <string.h>

#include "nfsd/ops.h"
#include "nfsd/ops/io_file.h"

/* The saved filehandle takes the current one's place, and back. */
static void swap_places(struct compound *c)
{
	struct place tmp = c->current;

	c->current = c->saved;
	c->saved = tmp;
}

static enum nfsstat4 check_places(struct compound *c)
{
	const struct place *source = &c->saved, *target = &c->current;

	if (source->object->type != FILE_REGULAR || target->object->type != FILE_REGULAR)
		return NFS4ERR_WRONG_TYPE;
	if (source->object->backend != target->object->backend)
		return NFS4ERR_XDEV;
	return compound_want_writable(c);
}

/* The source, with its size and the key by which it is told from the target. */
static enum nfsstat4 open_source(struct compound *c, struct stateid *id, struct io_pair *pair,
				 struct bytes *key)
{
	struct object *obj = c->saved.object;
	struct attr attr;
	enum nfsstat4 status;

	swap_places(c);
	status = compound_file_key(c, key);
	if (!status)
		status = io_file(c, id, ACCESS_READ, &pair->source);
	swap_places(c);
	if (!status)
		status = status_from_errno(obj->backend->getattr(obj, &attr));
	if (!status)
		pair->source_size = attr.size;
	return status;
}

enum nfsstat4 io_pair_open(struct compound *c, struct stateid *source_id, struct stateid *target_id,
			   struct io_pair *out)
{
	struct bytes source_key, target_key;
	enum nfsstat4 status = check_places(c);

	*out = (struct io_pair){ 0 };
	if (!status)
		status = open_source(c, source_id, out, &source_key);
	if (!status)
		status = io_file(c, target_id, ACCESS_WRITE, &out->target);
	if (!status)
		status = compound_file_key(c, &target_key);
	if (status) {
		io_pair_close(out);
		return status;
	}
	out->same_file = source_key.len == target_key.len &&
			 memcmp(source_key.p, target_key.p, source_key.len) == 0;
	return NFS4_OK;
}

void io_pair_close(struct io_pair *pair)
{
	file_unref(pair->source);
	file_unref(pair->target);
	pair->source = pair->target = NULL;
}

enum nfsstat4 io_pair_check_range(const struct io_pair *pair, uint64_t source_offset,
				  uint64_t target_offset, uint64_t len)
{
	if (source_offset > pair->source_size || len > pair->source_size - source_offset)
		return NFS4ERR_INVAL;
	if (target_offset > INT64_MAX || len > INT64_MAX - target_offset)
		return NFS4ERR_FBIG;
	return NFS4_OK;
}

/* COPY and CLONE: from the saved file to the current one. */
#pragma once

#include "nfsd/compound.h"

struct io_pair {
	struct file *source, *target; /* references */
	uint64_t source_size;
	bool same_file;
};

/*
 * Checks types (WRONG_TYPE), that one backend holds both (XDEV) and that the target may be
 * written, and opens both with their stateids: the source's for reading, the target's for
 * writing. The caller ends with io_pair_close().
 */
enum nfsstat4 io_pair_open(struct compound *c, struct stateid *source_id, struct stateid *target_id,
			   struct io_pair *out);
void io_pair_close(struct io_pair *pair);

/* The ranges of both: INVAL beyond the source's end, FBIG beyond what a file can be. */
enum nfsstat4 io_pair_check_range(const struct io_pair *pair, uint64_t source_offset,
				  uint64_t target_offset, uint64_t len);

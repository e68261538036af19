/* READ, WRITE and their like of 4.2: from a stateid to an open file. */
#pragma once

#include "nfsd/compound.h"

/*
 * The file to use for `access` (ACCESS_READ or ACCESS_WRITE) on the current filehandle with this
 * stateid (the current stateid is resolved first): the one opened by OPEN, or for special stateids
 * one opened now as the caller. A reference for the caller. Expires courtesy clients in the way.
 */
/*
 * NFS4_OK if the caller may use an open file: the OPEN was theirs, or they have the permission
 * themselves (to execute is to read, and an owner may do what the OPEN of another was allowed). Else
 * ACCESS: who knows or guesses a stateid gets nothing by it.
 */
enum nfsstat4 io_caller_may(struct compound *c, const struct file *file, unsigned access);
enum nfsstat4 io_file(struct compound *c, struct stateid *id, unsigned access, struct file **out);

/*
 * state_use_stateid() has let `access` to the current filehandle pass but has no open file: if
 * there was one in an earlier process, *out is that again, else untouched. NFS4_OK or an error.
 */
enum nfsstat4 io_reopen(struct compound *c, const struct stateid *id, unsigned access,
			struct file **out);

/*
 * Reads at most `most` bytes at `offset` into the reply, as an opaque<>: length, bytes, padding.
 * Long reads of a file with a descriptor go from the page cache to the socket (an extent in the
 * reply), others are read into the reply's memory. *eof: they reach the end of the file.
 */
enum nfsstat4 io_read(struct compound *c, struct file *file, uint64_t offset, size_t most,
		      size_t *filled, bool *eof);

/* READ, WRITE and their like of 4.2: from a stateid to an open file. */
#pragma once

#include "nfsd/compound.h"

/*
 * The file to use for `access` (ACCESS_READ or ACCESS_WRITE) on the current filehandle with this
 * stateid (the current stateid is resolved first): the one opened by OPEN, or for special stateids
 * one opened now as the caller. A reference for the caller. Expires courtesy clients in the way.
 */
enum nfsstat4 io_file(struct compound *c, struct stateid *id, unsigned access, struct file **out);

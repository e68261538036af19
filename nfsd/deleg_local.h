/*
 * Programs on the server's own machine and delegations. A delegated file is watched (backend.h,
 * watch): a local process that opens it against the delegation waits until that has been
 * returned or revoked; what a process does without opening it recalls the delegation afterwards.
 * Files that cannot be watched are not delegated, unless nobody but this server gets at them.
 */
#pragma once

#include "nfsd/compound.h"

/* Begins to notice, if delegations are to be given; says so if it cannot be done. */
void local_start(struct nfs_server *s);
/* Whoever waits goes on. No request is running any more. */
void local_stop(struct nfs_server *s);
/* Watches what is delegated already, as after a restart; recalls what cannot be watched. */
void local_restore(struct nfs_server *s);
/* The same for what a client has that has come from another node. May block. */
void local_adopt(struct nfs_server *s, uint64_t clientid);

/*
 * Before a delegation of `obj` (open_delegation_type4; of a directory: type 0 and no file) is
 * granted: true if it can be; then local_settled() must follow when it has been, or has not.
 * Else *why (why_no_delegation4).
 */
bool local_watch(struct compound *c, struct object *obj, struct file *file, uint32_t type,
		 uint32_t *why);
void local_settled(struct object *obj);
/* Some delegation of the file has gone. */
void local_again(struct bytes key);

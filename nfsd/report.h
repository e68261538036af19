/* What the server knows of itself, its exports and its clients, as JSON for the control socket. */
#pragma once

#include <jansson.h>

#include "nfsd/server.h"

#define REPORT_MOST 10000 /* entries of a listing unless more are asked for */

/*
 * Each fills the object `reply`: 0, or -errno (-ENOMEM; what has been filled by then is of no use).
 * Any thread, at any time while the server is there. `most`: how many entries at most; if there are
 * more, "truncated" is true.
 */
int report_status(struct nfs_server *s, json_t *reply);
int report_clients(struct nfs_server *s, uint64_t most, json_t *reply);
int report_sessions(struct nfs_server *s, uint64_t most, json_t *reply);
/* Opens, byte-range locks and delegations. */
int report_locks(struct nfs_server *s, uint64_t most, json_t *reply);
int report_exports(struct nfs_server *s, json_t *reply);

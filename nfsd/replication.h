/*
 * The server as a node of a cluster: what the replicated log is told and asks (struct cluster_app).
 */
#pragma once

#include "nfsd/server_private.h"

/* Fills in what a replicated log needs beyond apply(). */
void replication_app(struct nfs_server *s, struct cluster_app *app);
/* About once a second. */
void replication_tick(struct nfs_server *s);

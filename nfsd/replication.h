/*
 * The server as a node of a cluster: what the replicated log is told and asks (struct cluster_app).
 */
#pragma once

#include "nfsd/server_private.h"

/* Fills in what a replicated log needs beyond apply(). */
void replication_app(struct nfs_server *s, struct cluster_app *app);
/* An effect of something that is no command; server.c. */
void nfs_server_effect(struct nfs_server *s, const struct state_effect *effect);

/*
 * What a node of a cluster has that a server of its own has not: a supervisor, virtual addresses.
 * For main.c, which calls all of these in any case; without [cluster] in the configuration they
 * do nothing.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "config/conf.h"
#include "nfsd/server.h"
#include "nfsd/vips.h"
#include "rpc/rpc.h"

struct node {
	struct supervisor *supervisor; /* NULL: not in a cluster */
	struct vip *vips;
	unsigned nvips;
	struct vips *addresses;
};

/*
 * First of all, before any thread and with all privileges: from here on the process is the
 * supervisor's worker. `argv` is what a restart runs. 0; -1: cannot be (logged).
 */
int node_begin(struct node *n, const struct config *c, char **argv);
/* `o` makes a server that is a node of the cluster. 0 or -1 (logged). */
int node_prepare(struct node *n, const struct config *c, struct nfs_server_options *o);
void node_attach(struct node *n, struct rpc_server *rpc);
/* The configuration has been read again: its addresses are the cluster's now. 0 or -errno. */
int node_reload(struct node *n, const struct config *c);
/* About once a second, if the server moves. */
void node_tick(struct node *n);
/* The addresses go elsewhere. Before the RPC server stops. */
void node_leave(struct node *n);
/* When the NFS server has been freed. */
void node_free(struct node *n);

/* What the control socket asks for; as commands of admin/control.h. */
int node_report_nodes(struct node *n, json_t *reply);
int node_report_addresses(struct node *n, json_t *reply);
/* Draining is over when this returns. */
int node_drain(struct node *n, const json_t *request, bool drained, json_t *reply);

/* atolld --drop-addresses: for when supervisor and worker were killed together. 0 or -1 (logged). */
int node_drop_addresses(const struct config *c);

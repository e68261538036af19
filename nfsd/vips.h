/*
 * The virtual addresses of a cluster node: composes what the nodes agree on (cluster/vip_state.h),
 * the supervisor, who puts addresses on interfaces, and the RPC server, whose connections come and
 * go with them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "cluster/supervisor.h"
#include "cluster/vip_state.h"
#include "rpc/rpc.h"

struct vips_options {
	const struct vip *vips; /* as configured; none if others manage them */
	unsigned n;
	struct supervisor *supervisor;
	/* Makes the log; the process's only one. */
	struct cluster *(*cluster_new)(const struct cluster_app *app,
				       const struct cluster_config *config);
};

struct vips;

/* One for a process. NULL when out of memory or threads. */
struct vips *vips_new(const struct vips_options *o);
/*
 * What the server makes its log with instead: the same log, but vips hears what it says, and its
 * share of a snapshot travels along.
 */
struct cluster *vips_cluster_new(const struct cluster_app *app,
				 const struct cluster_config *config);
/* Before the RPC server starts. */
void vips_attach(struct vips *v, struct rpc_server *rpc);
/*
 * This node stops: its addresses go to others, in good order, for which it waits some seconds at
 * most; then those that are left go. While the log and the RPC server still run. From then on the
 * RPC server is left alone.
 */
void vips_leave(struct vips *v);
/* When the log is gone. NULL is allowed. */
void vips_free(struct vips *v);

/*
 * `node` is to have no addresses any more, or may again: asks all nodes. 0; -ENOENT: there is no such
 * node, by corosync's configuration; -ENOSPC: too many are drained, some of which are no nodes any
 * more; -EBUSY: it is the last one that could; -EAGAIN: this node does not serve now; -ENOMEM.
 */
int vips_drain(struct vips *v, uint32_t node, bool drained);
/* The cluster's addresses are to be these (after a reload). 0 or as above. */
int vips_set_list(struct vips *v, const struct vip *vips, unsigned n);

bool vips_is_drained(struct vips *v, uint32_t node);
/* What the log says about itself. False: there is none. */
bool vips_status(struct vips *v, struct cluster_status *out);
/* At most `room` of them; returns how many. */
unsigned vips_list(struct vips *v, struct vip_view *out, unsigned room);

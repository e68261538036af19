/* What stands in for corosync.c in a build without it: no cluster can be had. */
#include "cluster/cluster.h"

bool cluster_has_corosync(void)
{
	return false;
}

struct cluster *cluster_corosync_new(const struct cluster_app *app,
				     const struct cluster_config *config)
{
	return NULL;
}

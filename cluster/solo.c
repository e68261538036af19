/*
 * A cluster of one. The order is the order in which the application's own locks let commands
 * pass, so nothing is queued and nobody waits.
 */
#include <stdlib.h>

#include "cluster/cluster.h"

static enum cluster_submitted solo_submit(struct cluster *c, const void *command, void *result,
					  void (*done)(void *arg), void *arg)
{
	c->app.apply(c->app.ctx, command, result);
	return CLUSTER_APPLIED;
}

static void solo_free(struct cluster *c)
{
	free(c);
}

static void solo_status(struct cluster *c, struct cluster_status *status)
{
	*status = (struct cluster_status){
		.phase = CLUSTER_SERVING,
		.quorate = true,
		.self = 1,
		.n = 1,
		.nodes[0] = { .node = 1, .phase = CLUSTER_SERVING, .present = true },
	};
}

struct cluster *cluster_solo_new(const struct cluster_app *app, const struct cluster_config *config)
{
	struct cluster *c = malloc(sizeof(*c));

	if (c)
		*c = (struct cluster){
			.app = *app,
			.status = solo_status,
			.current_until = UINT64_MAX,
			.submit = solo_submit,
			.free = solo_free,
		};
	return c;
}

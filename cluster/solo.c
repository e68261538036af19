#include "cluster/cluster.h"

#include <stdlib.h>

struct cluster {
	struct cluster_app app; /* immutable */
};

struct cluster *cluster_solo_new(const struct cluster_app *app)
{
	struct cluster *c = malloc(sizeof(*c));

	if (c)
		c->app = *app;
	return c;
}

void cluster_free(struct cluster *c)
{
	free(c);
}

/*
 * The order of a cluster of one is the order in which the application's own locks let
 * commands pass.
 */
enum cluster_submitted cluster_submit(struct cluster *c, const void *command, void *result,
				      void (*done)(void *arg), void *arg)
{
	c->app.apply(c->app.ctx, command, result);
	return CLUSTER_APPLIED;
}

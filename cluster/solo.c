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

struct cluster *cluster_solo_new(const struct cluster_app *app)
{
	struct cluster *c = malloc(sizeof(*c));

	if (c)
		*c = (struct cluster){ .app = *app, .submit = solo_submit, .free = solo_free };
	return c;
}

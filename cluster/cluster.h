/*
 * The ordered log: commands go in at any node and are applied at every node in one order.
 *
 * The application (nfsd's state machine) is seen through struct cluster_app; the cluster
 * knows nothing of what commands mean. Implementations: solo.c (a cluster of one: a command
 * is applied at once, in the submitter's thread). Tests have others that delay and reorder.
 */
#pragma once

#include <stdbool.h>

/* What the log drives. All functions may be called by several threads at once. */
struct cluster_app {
	/* Applies `command` in its place in the order. `result` is NULL at other nodes. */
	void (*apply)(void *ctx, const void *command, void *result);
	void *ctx;
};

enum cluster_submitted {
	CLUSTER_APPLIED, /* the result is there; done() is not called */
	CLUSTER_PENDING, /* done() will be called, by any thread, once the result is there */
};

/* An implementation, which embeds it. */
struct cluster {
	struct cluster_app app;
	enum cluster_submitted (*submit)(struct cluster *c, const void *command, void *result,
					 void (*done)(void *arg), void *arg);
	void (*free)(struct cluster *c);
};

/* A cluster of one. NULL when out of memory. */
struct cluster *cluster_solo_new(const struct cluster_app *app);

/*
 * Submits a command. `command` and `result` stay the caller's and must live until the command
 * has been applied. `done` may be NULL if the caller does not wait: then `result` may be NULL, and
 * the command must have been applied, or been copied whole, when cluster_submit() returns.
 */
static inline enum cluster_submitted cluster_submit(struct cluster *c, const void *command,
						    void *result, void (*done)(void *arg),
						    void *arg)
{
	return c->submit(c, command, result, done, arg);
}

static inline void cluster_free(struct cluster *c)
{
	if (c)
		c->free(c);
}

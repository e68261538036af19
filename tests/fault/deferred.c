/*
 * A cluster of one that takes its time: stands in for cluster/solo.c when linked before it.
 *
 * A command is applied by another thread, after a random moment of up to a quarter of a
 * millisecond, so every compound that changes state is parked and goes on elsewhere, and commands of
 * several clients overtake each other. What is correct with solo.c must be correct with this.
 */
#include <stdlib.h>
#include <time.h>

#include "base/list.h"
#include "base/lock.h"
#include "cluster/cluster.h"

#define MAX_DELAY_NS 250000

struct pending {
	struct list link;
	const void *command;
	void *result;
	void (*done)(void *arg);
	void *arg;
};

struct deferred {
	struct cluster cluster;
	struct mutex lock;
	struct cond news;
	struct list queue; /* under lock */
	bool stopping;	   /* under lock */
	unsigned seed;	   /* the thread's */
	pthread_t thread;
};

static struct pending *next_command(struct deferred *d)
{
	struct pending *p;

	mutex_lock(&d->lock);
	while (list_empty(&d->queue) && !d->stopping)
		cond_wait(&d->news, &d->lock);
	p = list_first(&d->queue, struct pending, link);
	if (p)
		list_remove(&p->link);
	mutex_unlock(&d->lock);
	return p;
}

static void *apply_late(void *arg)
{
	struct deferred *d = arg;
	struct pending *p;

	while ((p = next_command(d))) {
		struct timespec delay = { .tv_nsec = rand_r(&d->seed) % MAX_DELAY_NS };

		nanosleep(&delay, NULL);
		d->cluster.app.apply(d->cluster.app.ctx, p->command, p->result);
		p->done(p->arg);
		free(p);
	}
	return NULL;
}

static enum cluster_submitted deferred_submit(struct cluster *c, const void *command, void *result,
					      void (*done)(void *arg), void *arg)
{
	struct deferred *d = container_of(c, struct deferred, cluster);
	struct pending *p = done ? malloc(sizeof(*p)) : NULL;

	if (!p) {
		c->app.apply(c->app.ctx, command, result);
		return CLUSTER_APPLIED;
	}
	*p = (struct pending){ .command = command, .result = result, .done = done, .arg = arg };
	mutex_lock(&d->lock);
	list_push_back(&d->queue, &p->link);
	cond_signal(&d->news);
	mutex_unlock(&d->lock);
	return CLUSTER_PENDING;
}

static void deferred_free(struct cluster *c)
{
	struct deferred *d = container_of(c, struct deferred, cluster);

	mutex_lock(&d->lock);
	d->stopping = true;
	cond_signal(&d->news);
	mutex_unlock(&d->lock);
	pthread_join(d->thread, NULL);
	free(d);
}

struct cluster *cluster_solo_new(const struct cluster_app *app, const struct cluster_config *config)
{
	struct deferred *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->cluster = (struct cluster){
		.app = *app,
		.current_until = UINT64_MAX,
		.submit = deferred_submit,
		.free = deferred_free,
	};
	mutex_init(&d->lock);
	cond_init(&d->news);
	list_init(&d->queue);
	d->seed = (unsigned)time(NULL);
	if (pthread_create(&d->thread, NULL, apply_late, d) != 0) {
		free(d);
		return NULL;
	}
	return &d->cluster;
}

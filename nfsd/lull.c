/*
 * One thread looks every few milliseconds whether the node serves, as long as somebody waits: who waits
 * is rare, and what it waits for ends in several ways (a message, a view, the clock).
 */
#include "nfsd/lull.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/lock.h"
#include "nfsd/compound.h"
#include "nfsd/server_private.h"
#include "rpc/rpc.h"

#define LOOK_NS (5 * NS_PER_MS)

struct lulls {
	struct nfs_server *server;
	pthread_t thread;
	bool started; /* the main thread's */
	struct mutex lock;
	struct cond changed;
	/* Under lock. */
	struct list waiting; /* compounds, by their `lull` */
	bool quit;
};

/* Those that go on now: all, or who has waited for too long. */
static void resume_some(struct lulls *l, bool all, uint64_t now) REQUIRES(l->lock)
{
	struct compound *c, *next;

	list_for_each_safe(c, next, &l->waiting, lull) {
		if (!all && now < c->lull_until)
			continue;
		list_remove(&c->lull);
		c->lulled = LULL_OVER;
		/* From here on it may be gone. */
		compound_resume(c);
	}
}

static void *watch(void *arg)
{
	struct lulls *l = arg;

	pthread_setname_np(pthread_self(), "lull");
	mutex_lock(&l->lock);
	while (!l->quit) {
		if (list_empty(&l->waiting)) {
			cond_wait(&l->changed, &l->lock);
			continue;
		}
		resume_some(l, nfs_server_serves(l->server), clock_mono_ns());
		if (!list_empty(&l->waiting))
			cond_wait_until(&l->changed, &l->lock, clock_mono_ns() + LOOK_NS);
	}
	mutex_unlock(&l->lock);
	return NULL;
}

struct lulls *lulls_new(struct nfs_server *s)
{
	struct lulls *l = calloc(1, sizeof(*l));
	sigset_t all, before;

	if (!l)
		return NULL;
	l->server = s;
	list_init(&l->waiting);
	mutex_init(&l->lock);
	cond_init(&l->changed);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	l->started = pthread_create(&l->thread, NULL, watch, l) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (l->started)
		return l;
	lulls_free(l);
	return NULL;
}

void lulls_stop(struct lulls *l)
{
	if (!l || !l->started)
		return;
	mutex_lock(&l->lock);
	l->quit = true;
	cond_broadcast(&l->changed);
	mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	l->started = false;
}

void lulls_free(struct lulls *l)
{
	if (!l)
		return;
	lulls_stop(l);
	mutex_destroy(&l->lock);
	cond_destroy(&l->changed);
	free(l);
}

bool lull_wait(struct compound *c)
{
	struct nfs_server *s = c->server;
	uint64_t now = clock_mono_ns();

	if (!s->lulls || !s->options.lull_ms)
		return false;
	if (!c->lull_until) {
		c->lull_until = now + s->options.lull_ms * NS_PER_MS;
		c->lull_closings = s->closings;
		/* It has served before, and does not any more. */
		c->lull_void = c->lull_closings && !s->serving;
	}
	if (now >= c->lull_until)
		return false;
	mutex_lock(&s->lulls->lock);
	c->lulled = LULL_WAITING;
	list_push_back(&s->lulls->waiting, &c->lull);
	cond_broadcast(&s->lulls->changed);
	mutex_unlock(&s->lulls->lock);
	return true;
}

bool lull_over(struct compound *c)
{
	struct nfs_server *s = c->server;

	c->lulled = LULL_NONE;
	return !nfs_server_serves(s) || (!c->lull_void && c->lull_closings == s->closings);
}

void lull_forget(struct compound *c)
{
	struct lulls *l = c->server->lulls;

	if (c->lulled == LULL_NONE || !l)
		return;
	mutex_lock(&l->lock);
	if (c->lulled == LULL_WAITING)
		list_remove(&c->lull);
	c->lulled = LULL_NONE;
	mutex_unlock(&l->lock);
}

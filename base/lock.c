#include "base/lock.h"

static void must(int err)
{
	if (err != 0)
		abort();
}

void mutex_init(struct mutex *m)
{
	must(pthread_mutex_init(&m->m, NULL));
}

void mutex_destroy(struct mutex *m)
{
	must(pthread_mutex_destroy(&m->m));
}

void rwlock_init(struct rwlock *l)
{
	must(pthread_rwlock_init(&l->l, NULL));
}

void rwlock_destroy(struct rwlock *l)
{
	must(pthread_rwlock_destroy(&l->l));
}

void cond_init(struct cond *c)
{
	pthread_condattr_t attr;

	must(pthread_condattr_init(&attr));
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
	must(pthread_cond_init(&c->c, &attr));
	pthread_condattr_destroy(&attr);
}

void cond_destroy(struct cond *c)
{
	must(pthread_cond_destroy(&c->c));
}

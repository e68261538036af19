#include "nfsd/housekeeping.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/lock.h"

#define TICK_NS NS_PER_SEC

struct keeping {
	struct keeping_work work; /* immutable */
	pthread_t thread;

	struct mutex lock;
	struct cond news;
	bool asked, stop; /* under lock */
};

static void *run(void *arg)
{
	struct keeping *k = arg;
	uint64_t next = clock_mono_ns() + TICK_NS;

	pthread_setname_np(pthread_self(), k->work.name);
	mutex_lock(&k->lock);
	while (!k->stop) {
		bool asked = k->asked;

		if (!asked && clock_mono_ns() < next) {
			cond_wait_until(&k->news, &k->lock, next);
			continue;
		}
		k->asked = false;
		mutex_unlock(&k->lock);
		if (asked) {
			k->work.ask(k->work.arg);
		} else {
			k->work.tick(k->work.arg);
			next = clock_mono_ns() + TICK_NS;
		}
		mutex_lock(&k->lock);
	}
	mutex_unlock(&k->lock);
	return NULL;
}

int keeping_start(const struct keeping_work *work, struct keeping **out)
{
	struct keeping *k = calloc(1, sizeof(*k));
	sigset_t all, before;
	int err;

	if (!k)
		return -ENOMEM;
	k->work = *work;
	mutex_init(&k->lock);
	cond_init(&k->news);
	/* Signals are the first thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&k->thread, NULL, run, k);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		mutex_destroy(&k->lock);
		cond_destroy(&k->news);
		free(k);
		return -err;
	}
	*out = k;
	return 0;
}

void keeping_ask(struct keeping *k)
{
	mutex_lock(&k->lock);
	k->asked = true;
	cond_signal(&k->news);
	mutex_unlock(&k->lock);
}

void keeping_stop(struct keeping *k)
{
	if (!k)
		return;
	mutex_lock(&k->lock);
	k->stop = true;
	cond_signal(&k->news);
	mutex_unlock(&k->lock);
	pthread_join(k->thread, NULL);
	mutex_destroy(&k->lock);
	cond_destroy(&k->news);
	free(k);
}

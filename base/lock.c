#include "base/lock.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void must(int err)
{
	if (err != 0)
		abort();
}

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};
}

void rwlock_init(struct rwlock *l)
{
	must(pthread_rwlock_init(&l->l, NULL));
}

void rwlock_destroy(struct rwlock *l)
{
	must(pthread_rwlock_destroy(&l->l));
}

#if LOCK_BY_PTHREAD

void mutex_init(struct mutex *m)
{
	must(pthread_mutex_init(&m->m, NULL));
}

void mutex_destroy(struct mutex *m)
{
	must(pthread_mutex_destroy(&m->m));
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

void cond_wait(struct cond *c, struct mutex *m)
{
	must(pthread_cond_wait(&c->c, &m->m));
}

bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
	struct timespec ts = timespec_of(deadline_ns);
	int err = pthread_cond_timedwait(&c->c, &m->m, &ts);

	must(err == ETIMEDOUT ? 0 : err);
	return err == 0;
}

void cond_signal(struct cond *c)
{
	pthread_cond_signal(&c->c);
}

void cond_broadcast(struct cond *c)
{
	pthread_cond_broadcast(&c->c);
}

#else

/*
 * Until the word is not `seen` any more, perhaps, or `until` on the monotonic clock. 0, or -errno:
 * -ETIMEDOUT; -EAGAIN and -EINTR tell nothing that the caller would not find out itself.
 */
static int sleep_on(_Atomic uint32_t *word, uint32_t seen, const struct timespec *until)
{
	int saved = errno, err = 0;

	if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, seen, until, NULL,
		    FUTEX_BITSET_MATCH_ANY) < 0)
		err = -errno;
	if (err != 0 && err != -ETIMEDOUT && err != -EAGAIN && err != -EINTR)
		abort();
	errno = saved;
	return err;
}

/* The memory may have been given back by now: then there is nobody, and at worst an error. */
static void wake(_Atomic uint32_t *word, int most)
{
	int saved = errno;

	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most);
	errno = saved;
}

void mutex_init(struct mutex *m)
{
	atomic_init(&m->word, 0);
}

void mutex_destroy(struct mutex *m)
{
	must((int)atomic_load_explicit(&m->word, memory_order_relaxed));
}

void mutex_lock_slowly(struct mutex *m)
{
	while (atomic_exchange_explicit(&m->word, 2, memory_order_acquire) != 0)
		(void)sleep_on(&m->word, 2, NULL);
}

void mutex_wake(struct mutex *m)
{
	wake(&m->word, 1);
}

void cond_init(struct cond *c)
{
	atomic_init(&c->signals, 0);
	atomic_init(&c->sleepers, 0);
}

/* Who has been woken may still be on its way. */
void cond_destroy(struct cond *c)
{
	while (atomic_load_explicit(&c->sleepers, memory_order_acquire) != 0)
		sched_yield();
}

static bool cond_sleep(struct cond *c, struct mutex *m,
		       const struct timespec *until) NO_THREAD_SAFETY
{
	uint32_t seen = atomic_load_explicit(&c->signals, memory_order_relaxed);
	int err;

	/* Whoever changes what is waited for does so after it got the mutex, and so sees this. */
	atomic_fetch_add_explicit(&c->sleepers, 1, memory_order_relaxed);
	mutex_unlock(m);
	err = sleep_on(&c->signals, seen, until);
	atomic_fetch_sub_explicit(&c->sleepers, 1, memory_order_release);
	mutex_lock(m);
	return err != -ETIMEDOUT;
}

void cond_wait(struct cond *c, struct mutex *m)
{
	(void)cond_sleep(c, m, NULL);
}

bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
{
	struct timespec until = timespec_of(deadline_ns);

	return cond_sleep(c, m, &until);
}

static void cond_wake(struct cond *c, int most)
{
	if (atomic_load_explicit(&c->sleepers, memory_order_relaxed) == 0)
		return;
	atomic_fetch_add_explicit(&c->signals, 1, memory_order_release);
	wake(&c->signals, most);
}

void cond_signal(struct cond *c)
{
	cond_wake(c, 1);
}

void cond_broadcast(struct cond *c)
{
	cond_wake(c, INT_MAX);
}

#endif

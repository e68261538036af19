/*
 * Mutexes, reader-writer locks and conditions that Clang's thread-safety
 * analysis knows. They never fail: a failing pthread call on them is a bug in
 * Atoll, not a condition to handle, and aborts.
 */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "base/compiler.h"

struct CAPABILITY("mutex") mutex {
	pthread_mutex_t m;
};

struct CAPABILITY("rwlock") rwlock {
	pthread_rwlock_t l;
};

struct cond {
	pthread_cond_t c; /* timed waits are on CLOCK_MONOTONIC */
};

#define MUTEX_INITIALIZER { PTHREAD_MUTEX_INITIALIZER }

void mutex_init(struct mutex *m);
void mutex_destroy(struct mutex *m);
void rwlock_init(struct rwlock *l);
void rwlock_destroy(struct rwlock *l);
void cond_init(struct cond *c);
void cond_destroy(struct cond *c);

static inline void mutex_lock(struct mutex *m) ACQUIRES(m) NO_THREAD_SAFETY
{
	if (unlikely(pthread_mutex_lock(&m->m) != 0))
		abort();
}

static inline bool mutex_trylock(struct mutex *m) TRY_ACQUIRES(true, m) NO_THREAD_SAFETY
{
	return pthread_mutex_trylock(&m->m) == 0;
}

static inline void mutex_unlock(struct mutex *m) RELEASES(m) NO_THREAD_SAFETY
{
	if (unlikely(pthread_mutex_unlock(&m->m) != 0))
		abort();
}

static inline void rwlock_read(struct rwlock *l) ACQUIRES_SHARED(l) NO_THREAD_SAFETY
{
	if (unlikely(pthread_rwlock_rdlock(&l->l) != 0))
		abort();
}

static inline void rwlock_write(struct rwlock *l) ACQUIRES(l) NO_THREAD_SAFETY
{
	if (unlikely(pthread_rwlock_wrlock(&l->l) != 0))
		abort();
}

static inline void rwlock_read_unlock(struct rwlock *l) RELEASES_SHARED(l) NO_THREAD_SAFETY
{
	if (unlikely(pthread_rwlock_unlock(&l->l) != 0))
		abort();
}

static inline void rwlock_write_unlock(struct rwlock *l) RELEASES(l) NO_THREAD_SAFETY
{
	if (unlikely(pthread_rwlock_unlock(&l->l) != 0))
		abort();
}

static inline void cond_wait(struct cond *c, struct mutex *m) REQUIRES(m)
{
	if (unlikely(pthread_cond_wait(&c->c, &m->m) != 0))
		abort();
}

/* Waits until signalled or until clock_mono_ns() reaches `deadline_ns`; false on time-out. */
static inline bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns)
    REQUIRES(m)
{
	struct timespec ts = {
		.tv_sec = (time_t)(deadline_ns / 1000000000u),
		.tv_nsec = (long)(deadline_ns % 1000000000u),
	};
	int err = pthread_cond_timedwait(&c->c, &m->m, &ts);

	if (unlikely(err != 0 && err != ETIMEDOUT))
		abort();
	return err == 0;
}

static inline void cond_signal(struct cond *c)
{
	pthread_cond_signal(&c->c);
}

static inline void cond_broadcast(struct cond *c)
{
	pthread_cond_broadcast(&c->c);
}

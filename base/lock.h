/*
 * Mutexes, reader-writer locks and conditions that Clang's thread-safety
 * analysis knows. They never fail: a failing pthread call on them is a bug in
 * Atoll, not a condition to handle, and aborts.
 *
 * A mutex is one word, and taking it without contention one inlined instruction: a request takes
 * twenty of them, and those of the C library, which must tell many kinds apart, were a tenth of its
 * time.
 *
 *	0 free   1 held   2 held, and there may be sleepers
 *
 * Who sleeps sets 2 and keeps doing so when it gets the mutex, because it cannot know whether it
 * was the last; who gives a 2 back wakes one. After the word has been given back it is touched by
 * nobody but the kernel, which only looks whether somebody sleeps at that address: so the last user
 * of a structure may free it as soon as it has its mutex.
 *
 * A condition is a count of signals: who waits sleeps while it is what it was before the mutex was
 * given back. Under the thread sanitizer, which knows neither, both are the C library's.
 */
#pragma once

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/compiler.h"

#if defined(__SANITIZE_THREAD__)
#define LOCK_BY_PTHREAD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LOCK_BY_PTHREAD 1
#endif
#endif
#ifndef LOCK_BY_PTHREAD
#define LOCK_BY_PTHREAD 0
#endif

struct CAPABILITY("mutex") mutex {
#if LOCK_BY_PTHREAD
	pthread_mutex_t m;
#else
	_Atomic uint32_t word;
#endif
};

struct CAPABILITY("rwlock") rwlock {
	pthread_rwlock_t l;
};

/* Timed waits are on CLOCK_MONOTONIC. */
struct cond {
#if LOCK_BY_PTHREAD
	pthread_cond_t c;
#else
	_Atomic uint32_t signals, sleepers;
#endif
};

#if LOCK_BY_PTHREAD
#define MUTEX_INITIALIZER                 \
	{                                 \
		PTHREAD_MUTEX_INITIALIZER \
	}
#else
#define MUTEX_INITIALIZER \
	{                 \
		0         \
	}
#endif

void mutex_init(struct mutex *m);
void mutex_destroy(struct mutex *m);
void rwlock_init(struct rwlock *l);
void rwlock_destroy(struct rwlock *l);
void cond_init(struct cond *c);
void cond_destroy(struct cond *c);

#if LOCK_BY_PTHREAD

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

#else

void mutex_lock_slowly(struct mutex *m);
void mutex_wake(struct mutex *m);

static inline bool mutex_trylock(struct mutex *m) TRY_ACQUIRES(true, m) NO_THREAD_SAFETY
{
	uint32_t free_word = 0;

	return atomic_compare_exchange_strong_explicit(&m->word, &free_word, 1,
						       memory_order_acquire, memory_order_relaxed);
}

static inline void mutex_lock(struct mutex *m) ACQUIRES(m) NO_THREAD_SAFETY
{
	if (unlikely(!mutex_trylock(m)))
		mutex_lock_slowly(m);
}

static inline void mutex_unlock(struct mutex *m) RELEASES(m) NO_THREAD_SAFETY
{
	if (unlikely(atomic_exchange_explicit(&m->word, 0, memory_order_release) == 2))
		mutex_wake(m);
}

#endif

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

void cond_wait(struct cond *c, struct mutex *m) REQUIRES(m);
/* Waits until signalled or until clock_mono_ns() reaches `deadline_ns`; false on time-out. */
bool cond_wait_until(struct cond *c, struct mutex *m, uint64_t deadline_ns) REQUIRES(m);
/* Who changes what is waited for holds the mutex for that; it need not hold it here. */
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

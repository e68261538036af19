/*
 * Compiler attributes: lock annotations that Clang's -Wthread-safety checks,
 * and the few others that the tree uses. Without Clang the annotations vanish.
 */
#pragma once

#include <stddef.h>

#if defined(__clang__)
#define THREAD_ANNOTATION(x) __attribute__((x))
#else
#define THREAD_ANNOTATION(x)
#endif

#define CAPABILITY(name)	THREAD_ANNOTATION(capability(name))
/*
 * Of file-scope variables only: in C, a member cannot name its neighbour here (Clang 14), so
 * structures say in a comment which lock guards which fields, and functions use REQUIRES.
 */
#define GUARDED_BY(lock)	THREAD_ANNOTATION(guarded_by(lock))
#define ACQUIRES(...)		THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define ACQUIRES_SHARED(...)	THREAD_ANNOTATION(acquire_shared_capability(__VA_ARGS__))
#define TRY_ACQUIRES(...)	THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define RELEASES(...)		THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define RELEASES_SHARED(...)	THREAD_ANNOTATION(release_shared_capability(__VA_ARGS__))
#define RELEASES_ANY(...)	THREAD_ANNOTATION(release_generic_capability(__VA_ARGS__))
#define REQUIRES(...)		THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...)	THREAD_ANNOTATION(requires_shared_capability(__VA_ARGS__))
#define EXCLUDES(...)		THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY	THREAD_ANNOTATION(no_thread_safety_analysis)

#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#define MUST_CHECK		__attribute__((warn_unused_result))
#define NORETURN		__attribute__((noreturn))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The structure of type `type` whose member `member` is at `ptr`. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

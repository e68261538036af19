/* base/: arena, lists, hashes, identities, the log's levels, the blocking hook. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>

#include "base/arena.h"
#include "base/blocking.h"
#include "base/clock.h"
#include "base/cred.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/random.h"

/* ---- arena ---- */

static void arena_alignment_and_contents(void **state)
{
	struct arena a;
	uint8_t *p[500];

	arena_init(&a);
	for (size_t i = 0; i < 500; i++) {
		p[i] = arena_alloc(&a, i);
		assert_non_null(p[i]);
		assert_int_equal((uintptr_t)p[i] % 16, 0);
		memset(p[i], (int)i, i);
	}
	/* Nothing has moved or overlaps. */
	for (size_t i = 0; i < 500; i++) {
		for (size_t k = 0; k < i; k++)
			assert_int_equal(p[i][k], (uint8_t)i);
	}
	arena_free(&a);
	assert_int_equal(a.total, 0);
}

static void arena_big_and_absurd(void **state)
{
	struct arena a;
	uint8_t *big, *zeros;

	arena_init(&a);
	big = arena_alloc(&a, 1000000);
	assert_non_null(big);
	memset(big, 0xff, 1000000);
	arena_reset(&a);
	zeros = arena_zalloc(&a, 100000);
	assert_non_null(zeros);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(zeros[i], 0);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 20));
	assert_null(arena_strndup(&a, "x", SIZE_MAX));
	arena_free(&a);
}

static void arena_reset_keeps_one_chunk(void **state)
{
	struct arena a;
	void *first, *again;
	size_t kept;

	arena_init(&a);
	first = arena_alloc(&a, 100);
	for (int i = 0; i < 1000; i++)
		assert_non_null(arena_alloc(&a, 100));
	arena_reset(&a);
	kept = a.total;
	assert_true(kept > 0 && kept < 20000);
	again = arena_alloc(&a, 100);
	assert_non_null(first);
	assert_non_null(again);
	assert_int_equal(a.total, kept);
	arena_free(&a);
}

static void arena_strings(void **state)
{
	struct arena a;
	char *s;

	arena_init(&a);
	s = arena_strndup(&a, "hello, world", 5);
	assert_string_equal(s, "hello");
	s = arena_strndup(&a, "", 0);
	assert_string_equal(s, "");
	arena_free(&a);
}

/* ---- lists ---- */

struct member {
	int n;
	struct list link;
};

static void expect_list(struct list *head, const int *want, size_t n)
{
	struct member *m;
	size_t i = 0;

	list_for_each (m, head, link) {
		assert_true(i < n);
		assert_int_equal(m->n, want[i++]);
	}
	assert_int_equal(i, n);
}

static void lists(void **state)
{
	struct list a = LIST_INITIALIZER(a), b = LIST_INITIALIZER(b);
	struct member m[4], *pos, *tmp;

	for (int i = 0; i < 4; i++) {
		m[i].n = i;
		list_init(&m[i].link);
	}
	list_splice_back(&a, &b); /* empty to empty */
	assert_true(list_empty(&a));
	list_push_back(&b, &m[1].link);
	list_push_back(&b, &m[2].link);
	list_splice_back(&a, &b); /* to empty */
	assert_true(list_empty(&b));
	expect_list(&a, (int[]){ 1, 2 }, 2);
	list_push_front(&b, &m[0].link);
	list_splice_back(&b, &a);
	assert_true(list_empty(&a));
	list_push_back(&b, &m[3].link);
	expect_list(&b, (int[]){ 0, 1, 2, 3 }, 4);
	list_splice_back(&b, &a); /* of nothing */
	expect_list(&b, (int[]){ 0, 1, 2, 3 }, 4);
	list_for_each_safe (pos, tmp, &b, link) {
		if (pos->n % 2)
			list_remove(&pos->link);
	}
	expect_list(&b, (int[]){ 0, 2 }, 2);
	list_remove(&m[1].link); /* twice is harmless */
	assert_int_equal(list_first(&b, struct member, link)->n, 0);
	assert_null(list_first(&a, struct member, link));
}

/* ---- hashes ---- */

/* The first outputs of the reference: key 00 01 .. 0f, messages of 0, 1, 2... bytes 00 01 .. */
static void siphash_vectors(void **state)
{
	static const uint64_t want[] = {
		0x726fdb47dd0e0e31u, 0x74f839c593dc67fdu, 0x0d6c8009d9a94f5au,
		0x85676696d7fb7e2du, 0xcf2794e0277187b7u, 0x18765564cd99a68du,
		0xcbc9466e58fee3ceu, 0xab0200f58b01d137u, 0x93f5f5799a932462u,
	};
	struct siphash_key key = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };
	uint8_t message[16];

	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	for (size_t len = 0; len < ARRAY_SIZE(want); len++)
		assert_true(siphash(&key, message, len) == want[len]);
	/* The paper's example: 15 bytes. */
	assert_true(siphash(&key, message, 15) == 0xa129ca6149be45e5u);
}

static void table_hash(void **state)
{
	assert_true(hash_bytes("abc", 3) == hash_bytes("abc", 3));
	assert_true(hash_bytes("abc", 3) != hash_bytes("abd", 3));
	assert_true(hash_u64(1) != hash_u64(2));
	assert_true(random_u64() != random_u64());
}

/* ---- identities ---- */

static void creds_are_interned(void **state)
{
	const gid_t messy[] = { 30, 10, 20, 10, 30 }, tidy[] = { 10, 20, 30 };
	const struct cred *a = cred_get(1000, 100, messy, 5);
	const struct cred *b = cred_get(1000, 100, tidy, 3);
	const struct cred *c = cred_get(1000, 101, tidy, 3);
	const struct cred *d = cred_get(1000, 100, tidy, 2);

	assert_non_null(a);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_ptr_not_equal(a, d);
	assert_int_equal(a->ngroups, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(a->groups[i], tidy[i]);
	assert_true(cred_in_group(a, 100));
	assert_true(cred_in_group(a, 20));
	assert_false(cred_in_group(a, 1000));
	assert_false(cred_in_group(d, 30));
	cred_unref(a);
	assert_int_equal(b->uid, 1000); /* the other reference keeps it */
	cred_unref(b);
	cred_unref(c);
	cred_unref(d);
	cred_unref(NULL);
}

static void root_is_root(void **state)
{
	const struct cred *r = cred_get(0, 0, NULL, 0);
	gid_t wheel = 10;
	const struct cred *w = cred_get(0, 0, &wheel, 1);

	assert_ptr_equal(r, cred_root());
	cred_unref(r);
	cred_unref(r);
	assert_int_equal(cred_root()->uid, 0);
	assert_ptr_not_equal(w, cred_root());
	cred_unref(w);
}

static void *churn(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < 20000; i++) {
		gid_t g = (gid_t)rand_r(&seed) % 4;
		const struct cred *c = cred_get((uid_t)rand_r(&seed) % 8, 1, &g, 1);
		const struct cred *same = c ? cred_ref(c) : NULL;

		if (!c || c->groups[0] != g)
			abort();
		cred_unref(c);
		cred_unref(same);
	}
	return NULL;
}

static void creds_in_many_threads(void **state)
{
	pthread_t t[4];

	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, churn, (void *)(i + 1)), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

/* ---- the rest ---- */

static void log_levels(void **state)
{
	enum log_level l = LOG_LEVEL_ERROR;

	assert_int_equal(log_level_parse("debug", &l), 0);
	assert_int_equal(l, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("warn", &l), 0);
	assert_int_equal(l, LOG_LEVEL_WARN);
	assert_int_equal(log_level_parse("warning", &l), 0);
	assert_int_equal(l, LOG_LEVEL_WARN);
	assert_int_equal(log_level_parse("loud", &l), -EINVAL);
	assert_int_equal(l, LOG_LEVEL_WARN);
	assert_int_equal(log_get_level(), LOG_LEVEL_INFO);
}

static void hooked(void *arg)
{
	++*(int *)arg;
}

static void *without_hook(void *arg)
{
	blocking_section();
	return NULL;
}

static void blocking_hook_is_the_threads_own(void **state)
{
	int n = 0;
	pthread_t t;

	blocking_section();
	blocking_set_hook(hooked, &n);
	blocking_section();
	blocking_section();
	assert_int_equal(pthread_create(&t, NULL, without_hook, NULL), 0);
	pthread_join(t, NULL);
	assert_int_equal(n, 2);
	blocking_set_hook(NULL, NULL);
	blocking_section();
	assert_int_equal(n, 2);
}

static void condition_times_out(void **state)
{
	struct mutex m;
	struct cond c;
	uint64_t start = clock_mono_ns();

	mutex_init(&m);
	cond_init(&c);
	mutex_lock(&m);
	assert_false(cond_wait_until(&c, &m, start + 20 * NS_PER_MS));
	mutex_unlock(&m);
	assert_true(clock_mono_ns() - start >= 20 * NS_PER_MS);
	cond_destroy(&c);
	mutex_destroy(&m);
}

#define CONTENDERS 4
#define ROUNDS	   50000

/* Freed by whoever gives the last reference back, as soon as it has the mutex. */
struct contended {
	struct mutex lock;
	unsigned refs, count;
};

static void *contend(void *arg)
{
	struct contended *c = arg;
	bool last;

	for (int i = 0; i < ROUNDS; i++) {
		if (i % 3 != 0)
			mutex_lock(&c->lock);
		else if (!mutex_trylock(&c->lock))
			mutex_lock(&c->lock);
		c->count++;
		mutex_unlock(&c->lock);
	}
	mutex_lock(&c->lock);
	last = --c->refs == 0;
	if (last)
		assert_int_equal(c->count, CONTENDERS * ROUNDS);
	mutex_unlock(&c->lock);
	if (last)
		free(c);
	return NULL;
}

static void mutex_excludes(void **state)
{
	struct contended *c = calloc(1, sizeof(*c));
	pthread_t t[CONTENDERS];

	assert_non_null(c);
	mutex_init(&c->lock);
	c->refs = CONTENDERS;
	for (int i = 0; i < CONTENDERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, contend, c), 0);
	for (int i = 0; i < CONTENDERS; i++)
		pthread_join(t[i], NULL);
}

static void mutex_is_tried(void **state) NO_THREAD_SAFETY
{
	struct mutex m = MUTEX_INITIALIZER;

	assert_true(mutex_trylock(&m));
	assert_false(mutex_trylock(&m));
	mutex_unlock(&m);
	assert_true(mutex_trylock(&m));
	mutex_unlock(&m);
}

/* A baton that goes round: each thread waits for its turn and wakes whoever may be next. */
struct baton {
	struct mutex lock;
	struct cond passed;
	bool one_waits; /* of two: a signal is enough */
	unsigned threads, turn, rounds;
};

struct runner {
	struct baton *baton;
	unsigned number;
};

static void *run_with(void *arg)
{
	struct runner *r = arg;
	struct baton *b = r->baton;

	for (unsigned i = 0; i < b->rounds; i++) {
		mutex_lock(&b->lock);
		while (b->turn != r->number)
			cond_wait(&b->passed, &b->lock);
		b->turn = (b->turn + 1) % b->threads;
		mutex_unlock(&b->lock);
		if (b->one_waits)
			cond_signal(&b->passed);
		else
			cond_broadcast(&b->passed);
	}
	return NULL;
}

static void pass_baton(unsigned threads, bool one_waits)
{
	struct baton b = { .threads = threads, .one_waits = one_waits, .rounds = 2000 };
	struct runner r[CONTENDERS];
	pthread_t t[CONTENDERS];

	mutex_init(&b.lock);
	cond_init(&b.passed);
	for (unsigned i = 0; i < threads; i++) {
		r[i] = (struct runner){ &b, i };
		assert_int_equal(pthread_create(&t[i], NULL, run_with, &r[i]), 0);
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(b.turn, 0);
	cond_destroy(&b.passed);
	mutex_destroy(&b.lock);
}

static void condition_wakes_one(void **state)
{
	pass_baton(2, true);
}

static void condition_wakes_all(void **state)
{
	pass_baton(CONTENDERS, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(arena_alignment_and_contents),
		cmocka_unit_test(arena_big_and_absurd),
		cmocka_unit_test(arena_reset_keeps_one_chunk),
		cmocka_unit_test(arena_strings),
		cmocka_unit_test(lists),
		cmocka_unit_test(siphash_vectors),
		cmocka_unit_test(table_hash),
		cmocka_unit_test(creds_are_interned),
		cmocka_unit_test(root_is_root),
		cmocka_unit_test(creds_in_many_threads),
		cmocka_unit_test(log_levels),
		cmocka_unit_test(blocking_hook_is_the_threads_own),
		cmocka_unit_test(condition_times_out),
		cmocka_unit_test(condition_wakes_one),
		cmocka_unit_test(condition_wakes_all),
		cmocka_unit_test(mutex_excludes),
		cmocka_unit_test(mutex_is_tried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

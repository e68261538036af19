/*
 * Memory runs out at every place in turn: the server's threads have one allocation (or all from
 * it on) fail while a client makes calls. It gets an answer, if only SYSTEM_ERR, or its
 * connection closed; and the server serves the next one.
 */
#include "tests/unit/rpc_fixture.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FOREVER 1000000

static _Atomic int countdown = -1; /* allocations that succeed; -1: all */
static _Atomic int fail_for;	   /* then so many fail */
static _Atomic unsigned failures;
static pthread_t tester;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset);

static bool fails(void)
{
	int left = atomic_load(&countdown);

	if (left < 0 || pthread_equal(pthread_self(), tester))
		return false;
	if (atomic_fetch_sub(&countdown, 1) > 0)
		return false;
	atomic_store(&countdown, atomic_fetch_sub(&fail_for, 1) > 1 ? 0 : -1);
	atomic_fetch_add(&failures, 1);
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	return fails() ? MAP_FAILED : __real_mmap(at, n, prot, flags, fd, offset);
}

/* One call; false if the connection was closed instead. */
static bool try_call(int fd, const struct bytes *record)
{
	struct bytes out = { 0 }, reply = { 0 };
	size_t done = 0;
	bool answered;

	put_record(&out, record);
	while (done < out.len) {
		ssize_t n = send(fd, out.p + done, out.len - done, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		done += (size_t)n;
	}
	answered = client_recv(fd, &reply);
	if (answered)
		assert_int_equal(take_u32(&reply), 42);
	bytes_free(&out);
	bytes_free(&reply);
	return answered;
}

static void calls(struct fixture *f)
{
	static const size_t sizes[] = { 10, 3000, 40000, 90000, 300000 };
	int fd = client_connect(f);
	bool open = true;

	for (unsigned i = 0; i < 5 && open; i++) {
		struct bytes r = { 0 };

		put_call(&r, 42, PROC_ECHO);
		put_u32(&r, (uint32_t)sizes[i]);
		while (r.len < sizes[i] + 200)
			put_u32(&r, 0);
		open = try_call(fd, &r);
		r.len = 0;
		put_call(&r, 42, i % 2 ? PROC_BLOCK : PROC_SELF);
		put_u32(&r, i);
		open = open && try_call(fd, &r);
		r.len = 0;
		put_call(&r, 42, PROC_COUNT_EXTENTS);
		put_u32(&r, 200);
		put_u32(&r, 10);
		open = open && try_call(fd, &r);
		bytes_free(&r);
	}
	close(fd);
}

static void run(int from, int n)
{
	struct fixture f;
	struct bytes r = { 0 };
	int fd;

	fixture_start(&f, 1, NULL);
	f.file = memfd_create("nomem", MFD_CLOEXEC);
	assert_true(f.file >= 0);
	for (unsigned key = 0; key < 5; key++)
		fixture_open_gate(&f, key);
	atomic_store(&fail_for, n);
	atomic_store(&countdown, from);
	calls(&f);
	atomic_store(&countdown, -1);

	fd = client_connect(&f);
	put_call(&r, 42, PROC_NULL);
	assert_true(try_call(fd, &r));
	close(fd);
	bytes_free(&r);
	fixture_stop(&f);
}

static void one_allocation_fails(void **state)
{
	unsigned failed = 0;

	/* Until no run reaches its failure any more. */
	for (int from = 0; from < 200; from++) {
		atomic_store(&failures, 0);
		run(from, 1);
		failed += atomic_load(&failures);
		if (!atomic_load(&failures) && from > 20)
			break;
	}
	assert_true(failed > 20);
}

static void all_allocations_fail(void **state)
{
	for (int from = 0; from < 40; from += 3)
		run(from, FOREVER);
}

/* Making a server fails cleanly. */
static void *make_servers(void *arg)
{
	struct rpc_limits l;
	unsigned *made = arg;

	rpc_limits_default(&l);
	for (int from = 0; from < 20; from++) {
		struct rpc_server *s;

		atomic_store(&fail_for, 1);
		atomic_store(&countdown, from);
		if (rpc_server_new(&l, 2, &s) == 0) {
			++*made;
			if (rpc_server_start(s) == 0)
				rpc_server_stop(s, 0);
			rpc_server_free(s);
		}
		atomic_store(&countdown, -1);
	}
	return NULL;
}

static void making_a_server_fails(void **state)
{
	unsigned made = 0;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, make_servers, &made), 0);
	pthread_join(t, NULL);
	assert_true(made > 0 && made < 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_allocation_fails),
		cmocka_unit_test(all_allocations_fail),
		cmocka_unit_test(making_a_server_fails),
	};

	tester = pthread_self();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Attributes of a listing's entries, fetched by two threads (backends/vfs/fetch.c): complete and
 * right whoever fetches them, with the caller's identity, and without the second thread as well.
 */
#include "tests/unit/backend_fixture.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"

#define FILES 600

static atomic_bool no_threads;
static struct fixture fx;
static struct object *dir;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return atomic_load(&no_threads) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}

static unsigned number_of(const char *name)
{
	return (unsigned)strtoul(name + 1, NULL, 10);
}

static uint32_t mode_of(unsigned number)
{
	return number % 3 ? 0600 : 0444;
}

static int begin(void **state)
{
	char name[16];

	make_dir(place_path("export"), 0755);
	fx = (struct fixture){ .persistent = true };
	fixture_open(&fx, "vfs", place_path("export"));
	dir = make(&fx, fx.root, "d", FILE_DIRECTORY, 0777, fx.super);
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		touch(&fx, dir, name, mode_of(i), i % 2 ? fx.alice : fx.super);
	}
	return 0;
}

static int end(void **state)
{
	object_unref(dir);
	fixture_close(&fx);
	return 0;
}

/* ---- through READDIR ---- */

struct seen {
	unsigned times[FILES];
	unsigned errors[FILES];
};

static bool see(void *arg, const struct dir_entry *entry)
{
	struct seen *seen = arg;
	unsigned n = number_of(entry->name);

	assert_true(n < FILES);
	seen->times[n]++;
	if (entry->error) {
		assert_int_equal(entry->error, -EACCES);
		seen->errors[n]++;
		return true;
	}
	assert_int_equal(entry->attr.mode, mode_of(n));
	assert_int_equal(entry->attr.type, FILE_REGULAR);
	assert_true(entry->handle.len > 0);
	return true;
}

static void list_all(const struct cred *cred, struct seen *seen)
{
	struct readdir_args args = {
		.want_attr = true, .want_handle = true, .emit = see, .arg = seen
	};

	*seen = (struct seen){ 0 };
	assert_ok(fx.b->readdir(dir, cred, &args));
	assert_true(args.eof);
}

static void assert_all(const struct cred *cred, unsigned errors)
{
	struct seen seen;

	list_all(cred, &seen);
	for (unsigned i = 0; i < FILES; i++) {
		assert_int_equal(seen.times[i], 1);
		assert_int_equal(seen.errors[i], errors);
	}
}

static void without_a_thread(void **state)
{
	atomic_store(&no_threads, true);
	assert_null(vfs_fetch_enter());
	vfs_fetch_leave(NULL);
	assert_all(fx.alice, 0);
	atomic_store(&no_threads, false);
}

/* ---- by the helper alone ---- */

/* As it is when nothing else has run for a while. */
static struct vfs_fetch *enter(void)
{
	uint64_t give_up = clock_mono_ns() + 30 * NS_PER_SEC;
	struct vfs_fetch *f;

	for (;;) {
		f = vfs_fetch_enter();
		if (f)
			return f;
		vfs_fetch_leave(NULL);
		assert_true(clock_mono_ns() < give_up);
		usleep(1000);
	}
}

static void skip_without_processors(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2)
		skip();
}

/* The helper fetches every entry before anybody asks for one. */
static void fetch_by_helper(struct vfs_fetch *f, const struct dirent64 *dirents,
			    const struct cred *cred, const struct readdir_args *args)
{
	f->n = VFS_FETCH_MOST;
	for (unsigned i = 0; i < f->n; i++)
		f->dirent[i] = &dirents[i];
	vfs_fetch_start(f, vfs_object(dir), cred, args);
	mutex_lock(&f->lock);
	while (f->offered || f->helper_in)
		cond_wait(&f->progress, &f->lock);
	assert_int_equal(f->next, f->n);
	assert_true(f->helped);
	mutex_unlock(&f->lock);
}

static void helper_is_the_caller(void **state)
{
	static struct dirent64 dirents[VFS_FETCH_MOST];
	const struct readdir_args args = { .want_attr = true, .want_handle = true };
	const struct cred *callers[] = { fx.bob, fx.super, fx.alice, fx.bob };
	struct vfs_fetch *f;

	skip_without_processors();
	for (unsigned i = 0; i < VFS_FETCH_MOST; i++)
		snprintf(dirents[i].d_name, sizeof(dirents[i].d_name), "f%u", i);
	/* Names can be read, but nothing be learnt about them, except by alice and root. */
	backend_restore_identity();
	assert_int_equal(chown(place_path("export/d"), ALICE, ALICE), 0);
	assert_int_equal(chmod(place_path("export/d"), 0744), 0);
	f = enter();
	for (unsigned i = 0; i < ARRAY_SIZE(callers); i++) {
		int expected = callers[i] == fx.bob ? -EACCES : 0;

		fetch_by_helper(f, dirents, callers[i], &args);
		for (unsigned k = 0; k < f->n; k++)
			assert_int_equal(vfs_fetch_entry(f, k)->error, expected);
		vfs_fetch_stop(f);
	}
	vfs_fetch_leave(f);
	assert_all(fx.bob, 1);
	assert_all(fx.alice, 0);
	assert_all(fx.bob, 1);
	backend_restore_identity();
	assert_int_equal(chmod(place_path("export/d"), 0777), 0);
}

static void gone_entries(void **state)
{
	static struct dirent64 dirents[VFS_FETCH_MOST];
	const struct readdir_args args = { .want_attr = true, .want_handle = true };
	struct vfs_fetch *f;

	skip_without_processors();
	for (unsigned i = 0; i < VFS_FETCH_MOST; i++)
		snprintf(dirents[i].d_name, sizeof(dirents[i].d_name), "%s%u", i % 5 ? "f" : "gone",
			 i);
	f = enter();
	fetch_by_helper(f, dirents, fx.alice, &args);
	for (unsigned i = 0; i < f->n; i++)
		assert_int_equal(vfs_fetch_entry(f, i)->error, i % 5 ? 0 : -ENOENT);
	vfs_fetch_stop(f);
	vfs_fetch_leave(f);
}

/* ---- both ---- */

static void *remove_odd(void *arg)
{
	char name[16];

	for (unsigned i = 1; i < FILES; i += 2) {
		snprintf(name, sizeof(name), "f%u", i);
		assert_ok(try_remove(&fx, dir, name, fx.super));
	}
	return NULL;
}

/* What stays is listed once, with its own attributes, while others go; and then alone. */
static void entries_go_meanwhile(void **state)
{
	struct seen seen;
	pthread_t thread;

	assert_all(fx.alice, 0);
	assert_int_equal(pthread_create(&thread, NULL, remove_odd, NULL), 0);
	for (unsigned round = 0; round < 20; round++) {
		list_all(fx.alice, &seen);
		for (unsigned i = 0; i < FILES; i++)
			assert_true(i % 2 ? seen.times[i] <= 1 : seen.times[i] == 1);
	}
	pthread_join(thread, NULL);
	list_all(fx.alice, &seen);
	for (unsigned i = 0; i < FILES; i++)
		assert_int_equal(seen.times[i], i % 2 == 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_thread),
		cmocka_unit_test(helper_is_the_caller),
		cmocka_unit_test(gone_entries),
		cmocka_unit_test(entries_go_meanwhile),
	};
	int failed;

	if (!place_begin())
		return 77; /* meson: skipped */
	failed = cmocka_run_group_tests_name("fetch", tests, begin, end);
	place_end();
	return failed;
}

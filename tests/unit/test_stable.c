/*
 * Stable storage of client records: what survives, and what happens when the database is missing,
 * damaged, in use, or cannot be written.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "cluster/stable.h"

struct fixture {
	char dir[64];
	struct stable *s;
	struct stable_list list;
	uint64_t instance;
};

static const char *path_of(const struct fixture *f, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", f->dir, name);
	return path;
}

static bool exists(const struct fixture *f, const char *name)
{
	struct stat st;

	return stat(path_of(f, name), &st) == 0;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(f->dir, sizeof(f->dir), "%s/stable.XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static void close_stable(struct fixture *f)
{
	stable_list_free(&f->list);
	stable_close(f->s);
	f->s = NULL;
}

static int teardown(void **state)
{
	static const char *const names[] = { "clients.db", "clients.db-wal", "clients.db-journal",
					     "clients.db.damaged", "clients.complete/x",
					     "clients.complete" };
	struct fixture *f = *state;

	close_stable(f);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (remove(path_of(f, names[i])) != 0)
			assert_true(errno == ENOENT || errno == ENOTDIR);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

/* The next instance, on what the last one left. */
static int try_open(struct fixture *f)
{
	struct stable_params p = { .dir = f->dir,
				   .instance = f->instance + 1,
				   .earlier = f->instance > 0,
				   .lease = 90 };
	int err = stable_open(&p, &f->s, &f->list);

	if (err == 0)
		f->instance++;
	return err;
}

static void open_stable(struct fixture *f, enum stable_found found, size_t n)
{
	assert_int_equal(try_open(f), 0);
	assert_int_equal(f->list.found, found);
	assert_int_equal(f->list.n, n);
}

/* A restart that left nothing behind. */
static void reopen(struct fixture *f, enum stable_found found, size_t n)
{
	close_stable(f);
	open_stable(f, found, n);
}

static struct stable_bytes text(const char *t)
{
	return (struct stable_bytes){ (const uint8_t *)t, (uint32_t)strlen(t) };
}

static int put(struct fixture *f, const char *key, uint64_t holder, const char *value)
{
	struct stable_change c = { .holder = holder, .key = text(key), .value = text(value) };

	return stable_commit(f->s, &c, 1);
}

static int take(struct fixture *f, const char *key, uint64_t holder)
{
	struct stable_change c = { .remove = true, .holder = holder, .key = text(key) };

	return stable_commit(f->s, &c, 1);
}

static bool is(struct stable_bytes b, const char *t)
{
	return b.len == strlen(t) && memcmp(b.p, t, b.len) == 0;
}

static const struct stable_record *record(const struct fixture *f, const char *key)
{
	for (size_t i = 0; i < f->list.n; i++)
		if (is(f->list.records[i].key, key))
			return &f->list.records[i];
	return NULL;
}

/* ---- what it is for ---- */

static void first_start(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(f->list.lease, 0);
	assert_true(exists(f, "clients.complete"));
	assert_int_equal(stat(path_of(f, "clients.db"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	reopen(f, STABLE_COMPLETE, 0);
	assert_int_equal(f->list.lease, 90);
}

static void records_survive(void **state)
{
	struct fixture *f = *state;
	const struct stable_record *r;

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", UINT64_MAX, "one"), 0);
	assert_int_equal(put(f, "b", 2, ""), 0);
	assert_int_equal(put(f, "b", 3, "two"), 0); /* in its place */
	reopen(f, STABLE_COMPLETE, 2);
	r = record(f, "a");
	assert_non_null(r);
	assert_true(r->holder == UINT64_MAX && is(r->value, "one"));
	r = record(f, "b");
	assert_non_null(r);
	assert_true(r->holder == 3 && is(r->value, "two"));
}

/* A key with NUL bytes, an empty value, and a lot of both. */
static void any_bytes(void **state)
{
	struct fixture *f = *state;
	static uint8_t big[5000];
	struct stable_change c[2] = {
		{ .holder = 1, .key = { (const uint8_t *)"a\0b", 3 } },
		{ .holder = 2, .key = { big, sizeof(big) }, .value = { big, sizeof(big) } },
	};

	memset(big, 0xff, sizeof(big));
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(stable_commit(f->s, c, 2), 0);
	reopen(f, STABLE_COMPLETE, 2);
	assert_int_equal(f->list.records[0].key.len, 3);
	assert_memory_equal(f->list.records[0].key.p, "a\0b", 3);
	assert_int_equal(f->list.records[0].value.len, 0);
	assert_int_equal(f->list.records[1].value.len, sizeof(big));
	assert_memory_equal(f->list.records[1].key.p, big, sizeof(big));
}

/* An earlier life of a client does not take the record of a later one away. */
static void removal_by_holder(void **state)
{
	struct fixture *f = *state;

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	assert_int_equal(put(f, "a", 2, ""), 0);
	assert_int_equal(take(f, "a", 1), 0);
	reopen(f, STABLE_COMPLETE, 1);
	assert_int_equal(take(f, "a", 2), 0);
	assert_int_equal(take(f, "a", 2), 0); /* nothing there: fine */
	reopen(f, STABLE_COMPLETE, 0);
}

/* Within one commit the order counts. */
static void order_of_changes(void **state)
{
	struct fixture *f = *state;
	struct stable_change c[3] = {
		{ .holder = 1, .key = text("a") },
		{ .remove = true, .holder = 1, .key = text("a") },
		{ .holder = 2, .key = text("a") },
	};

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(stable_commit(f->s, c, 3), 0);
	reopen(f, STABLE_COMPLETE, 1);
	assert_int_equal(f->list.records[0].holder, 2);
	assert_int_equal(stable_commit(f->s, c, 2), 0);
	reopen(f, STABLE_COMPLETE, 0);
}

/* Records wait for their client over any number of starts, until a grace period ends. */
static void earlier_instances(void **state)
{
	struct fixture *f = *state;

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "came back", 1, ""), 0);
	assert_int_equal(put(f, "stayed away", 2, ""), 0);
	reopen(f, STABLE_COMPLETE, 2);
	assert_int_equal(put(f, "came back", 11, ""), 0);
	reopen(f, STABLE_COMPLETE, 2); /* crashed within the grace period */
	assert_int_equal(put(f, "came back", 21, ""), 0);
	assert_int_equal(stable_forget_earlier(f->s), 0);
	reopen(f, STABLE_COMPLETE, 1);
	assert_non_null(record(f, "came back"));
}

/* A commit that has returned is there after SIGKILL, one that has not may be. */
static void killed(void **state)
{
	struct fixture *f = *state;
	int to_parent[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(to_parent), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char key[32];

		if (try_open(f) != 0)
			_exit(1);
		for (unsigned i = 0; i < 100; i++) {
			snprintf(key, sizeof(key), "client %u", i);
			if (put(f, key, i, "") != 0)
				_exit(1);
		}
		if (write(to_parent[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(to_parent[1]);
	assert_int_equal(read(to_parent[0], &byte, 1), 1);
	close(to_parent[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	f->instance = 1;
	open_stable(f, STABLE_COMPLETE, 100);
}

static void in_use(void **state)
{
	struct fixture *f = *state;
	struct fixture other = *f;

	open_stable(f, STABLE_FIRST, 0);
	other.instance = 1;
	assert_int_equal(try_open(&other), -EBUSY);
	assert_int_equal(put(f, "a", 1, ""), 0);
	reopen(f, STABLE_COMPLETE, 1);
}

/* ---- what can go wrong ---- */

static void write_file(const struct fixture *f, const char *name, const char *content)
{
	FILE *file = fopen(path_of(f, name), "w");

	assert_non_null(file);
	fputs(content, file);
	assert_int_equal(fclose(file), 0);
}

/* Nobody is known; from the end of that grace period on everybody is again. */
static void lost_and_found(struct fixture *f)
{
	close_stable(f);
	open_stable(f, STABLE_LOST, 0);
	assert_false(exists(f, "clients.complete"));
	assert_int_equal(put(f, "b", 2, ""), 0);
	/* Another crash before the grace period has ended: still nobody knows. */
	reopen(f, STABLE_LOST, 0);
	assert_int_equal(put(f, "b", 3, ""), 0);
	assert_int_equal(stable_forget_earlier(f->s), 0);
	assert_true(exists(f, "clients.complete"));
	reopen(f, STABLE_COMPLETE, 1);
	assert_int_equal(record(f, "b")->holder, 3);
}

static void missing(void **state)
{
	struct fixture *f = *state;

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	close_stable(f);
	assert_int_equal(unlink(path_of(f, "clients.db")), 0);
	lost_and_found(f);
}

/* An upgrade from a version that kept no records. */
static void never_there(void **state)
{
	struct fixture *f = *state;

	f->instance = 7;
	lost_and_found(f);
}

static void no_voucher(void **state)
{
	struct fixture *f = *state;

	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	close_stable(f);
	assert_int_equal(unlink(path_of(f, "clients.complete")), 0);
	lost_and_found(f);
}

static void not_a_database(void **state)
{
	struct fixture *f = *state;

	open_stable(f, STABLE_FIRST, 0);
	close_stable(f);
	write_file(f, "clients.db", "clients.db was once a database, and is one no more, alas");
	lost_and_found(f);
	assert_true(exists(f, "clients.db.damaged"));
}

static void empty_file(void **state)
{
	struct fixture *f = *state;

	open_stable(f, STABLE_FIRST, 0);
	close_stable(f);
	assert_int_equal(truncate(path_of(f, "clients.db"), 0), 0);
	lost_and_found(f);
}

/* A page in the middle is overwritten. */
static void damaged_page(void **state)
{
	struct fixture *f = *state;
	char key[100], junk[4096];
	int fd;

	open_stable(f, STABLE_FIRST, 0);
	for (unsigned i = 0; i < 300; i++) {
		snprintf(key, sizeof(key), "%080u", i);
		assert_int_equal(put(f, key, i, ""), 0);
	}
	close_stable(f);
	memset(junk, 0x5a, sizeof(junk));
	fd = open(path_of(f, "clients.db"), O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 4 * sizeof(junk)), sizeof(junk));
	close(fd);
	lost_and_found(f);
	assert_true(exists(f, "clients.db.damaged"));
}

static void limit_files(rlim_t bytes)
{
	struct rlimit r = { bytes, RLIM_INFINITY };

	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

/* While changes cannot be written the voucher is away; once they can, all are written. */
static void no_room(void **state)
{
	struct fixture *f = *state;

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	assert_int_equal(put(f, "gone", 1, ""), 0);
	limit_files(1);
	assert_int_equal(put(f, "b", 2, "two"), 0);
	assert_false(exists(f, "clients.complete"));
	assert_int_equal(take(f, "gone", 1), 0);
	assert_false(exists(f, "clients.complete"));
	limit_files(RLIM_INFINITY);
	assert_int_equal(put(f, "c", 3, ""), 0);
	assert_int_equal(stable_retry(f->s), 0);
	assert_true(exists(f, "clients.complete"));
	reopen(f, STABLE_COMPLETE, 3);
	assert_true(is(record(f, "b")->value, "two"));
	assert_null(record(f, "gone"));
}

/* Nobody need change anything more for that. */
static void room_again(void **state)
{
	struct fixture *f = *state;

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	limit_files(1);
	assert_int_equal(put(f, "b", 2, "two"), 0);
	assert_int_equal(stable_retry(f->s), 0);
	assert_false(exists(f, "clients.complete"));
	limit_files(RLIM_INFINITY);
	assert_int_equal(stable_retry(f->s), 0);
	assert_true(exists(f, "clients.complete"));
	reopen(f, STABLE_COMPLETE, 2);
	assert_true(is(record(f, "b")->value, "two"));
}

/* What is kept to be written has a bound; beyond it the records are lost, and known to be. */
static void no_room_for_long(void **state)
{
	struct fixture *f = *state;
	char key[32];

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	limit_files(1);
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(key, sizeof(key), "%u", i);
		assert_int_equal(put(f, key, i, ""), 0);
	}
	limit_files(RLIM_INFINITY);
	assert_int_equal(stable_retry(f->s), 0);
	assert_false(exists(f, "clients.complete"));
	assert_int_equal(put(f, "b", 2, ""), 0);
	assert_false(exists(f, "clients.complete"));
	close_stable(f);
	lost_and_found(f);
}

/* The same, but the server crashes before there is room. */
static void no_room_until_the_end(void **state)
{
	struct fixture *f = *state;

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	limit_files(1);
	assert_int_equal(put(f, "b", 2, ""), 0);
	close_stable(f);
	limit_files(RLIM_INFINITY);
	lost_and_found(f);
}

/* What earlier instances left is removed later if it cannot be at once. */
static void no_room_to_forget(void **state)
{
	struct fixture *f = *state;

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "old", 1, ""), 0);
	reopen(f, STABLE_COMPLETE, 1);
	limit_files(1);
	assert_int_equal(stable_forget_earlier(f->s), 0);
	assert_false(exists(f, "clients.complete"));
	limit_files(RLIM_INFINITY);
	assert_int_equal(put(f, "new", 2, ""), 0);
	assert_true(exists(f, "clients.complete"));
	reopen(f, STABLE_COMPLETE, 1);
	assert_non_null(record(f, "new"));
}

/* The list is read before anything must be written, and is good. */
static void no_room_at_start(void **state)
{
	struct fixture *f = *state;

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	close_stable(f);
	limit_files(1);
	open_stable(f, STABLE_COMPLETE, 1);
	assert_false(exists(f, "clients.complete"));
	assert_int_equal(put(f, "b", 2, ""), 0);
	close_stable(f);
	limit_files(RLIM_INFINITY);
	lost_and_found(f);
}

/* Neither a record nor the admission that one is missing can be written: no promise. */
static void nothing_works(void **state)
{
	struct fixture *f = *state;

	signal(SIGXFSZ, SIG_IGN);
	open_stable(f, STABLE_FIRST, 0);
	assert_int_equal(put(f, "a", 1, ""), 0);
	/* A directory in its place cannot be unlinked, whoever asks. */
	assert_int_equal(unlink(path_of(f, "clients.complete")), 0);
	assert_int_equal(mkdir(path_of(f, "clients.complete"), 0700), 0);
	limit_files(1);
	assert_true(put(f, "b", 2, "") < 0);
	assert_true(put(f, "c", 3, "") < 0);
	limit_files(RLIM_INFINITY);
	assert_int_equal(put(f, "d", 4, ""), 0);
	reopen(f, STABLE_COMPLETE, 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(first_start),
		TEST(records_survive),
		TEST(any_bytes),
		TEST(removal_by_holder),
		TEST(order_of_changes),
		TEST(earlier_instances),
		TEST(killed),
		TEST(in_use),
		TEST(missing),
		TEST(never_there),
		TEST(no_voucher),
		TEST(not_a_database),
		TEST(empty_file),
		TEST(damaged_page),
		TEST(no_room),
		TEST(room_again),
		TEST(no_room_for_long),
		TEST(no_room_until_the_end),
		TEST(no_room_to_forget),
		TEST(no_room_at_start),
		TEST(nothing_works),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

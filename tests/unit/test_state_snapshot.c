/*
 * What a stop leaves for the next start: the same state, for the start that it is meant for only, and
 * nothing at all if one bit of it is not as it was written (nfsd/handover.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nfsd/handover.h"
#include "nfsd/state/snapshot.h"
#include "nfsd/state/snapshot_io.h"
#include "test_state_fixture.h"

#define RDWR	 OPEN4_SHARE_ACCESS_BOTH
#define INSTANCE 7

/* A bit of everything. */
static void fill(struct fixture *f)
{
	uint64_t a = client_v41(f, "a", NULL), b = client_v40(f, "b");
	struct stateid id = open_v41(f, a, "o", "file", RDWR, 0);

	assert_ok(lock_new(f, 1, a, id, "l", "file", WRITE_LT, 0, 10));
	assert_ok(lock_more(f, 1, a, f->r.stateid, "file", READ_LT, 20, UINT64_MAX));
	id = open_v40(f, b, "p", "other", RDWR, OPEN4_SHARE_DENY_WRITE);
	assert_ok(lock_new(f, 0, b, id, "m", "other", READ_LT, 5, 5));
}

static int file_new(void)
{
	int fd = memfd_create("snapshot", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int saved(struct fixture *f)
{
	int fd = file_new();

	assert_int_equal(state_save(f->s, fd, INSTANCE), 0);
	return fd;
}

static int load(struct fixture *f, int fd, uint64_t instance, struct state **out)
{
	struct state *s;
	int err;

	assert_int_equal(state_new(&f->config, &s), 0);
	assert_true(lseek(fd, 0, SEEK_SET) == 0);
	err = state_load(s, fd, instance);
	if (out)
		*out = s;
	else
		state_free(s);
	return err;
}

static uint8_t *content(int fd, size_t *len)
{
	struct stat st;
	uint8_t *p;

	assert_int_equal(fstat(fd, &st), 0);
	*len = (size_t)st.st_size;
	p = malloc(*len);
	assert_non_null(p);
	assert_int_equal(pread(fd, p, *len, 0), *len);
	return p;
}

/* Read and written again it is the same, byte for byte. */
static void test_same_again(void **state)
{
	struct fixture *f = *state;
	int fd, fd2 = file_new();
	size_t len, len2;
	uint8_t *p, *p2;
	struct state *s;

	fill(f);
	fd = saved(f);
	assert_int_equal(load(f, fd, INSTANCE, &s), 0);
	assert_int_equal(state_save(s, fd2, INSTANCE), 0);
	p = content(fd, &len);
	p2 = content(fd2, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(p, p2, len);
	state_free(s);
	free(p);
	free(p2);
	close(fd);
	close(fd2);
}

static void test_other_instance(void **state)
{
	struct fixture *f = *state;
	int fd;

	fill(f);
	fd = saved(f);
	assert_int_equal(load(f, fd, INSTANCE + 1, NULL), -ESTALE);
	assert_int_equal(load(f, fd, INSTANCE - 1, NULL), -ESTALE);
	assert_int_equal(load(f, fd, INSTANCE, NULL), 0);
	close(fd);
}

/* Every byte changed, every length: none is taken for a snapshot. */
static void test_damage(void **state)
{
	struct fixture *f = *state;
	int fd, bad = file_new();
	uint8_t *p;
	size_t len;

	fill(f);
	fd = saved(f);
	p = content(fd, &len);
	for (size_t i = 0; i < len; i++) {
		p[i] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(pwrite(bad, p, len, 0), len);
		assert_int_equal(load(f, bad, INSTANCE, NULL), -EBADMSG);
		p[i] ^= (uint8_t)(1u << i % 8);
	}
	assert_int_equal(pwrite(bad, p, len, 0), len);
	for (size_t n = len; n-- > 0;) {
		assert_int_equal(ftruncate(bad, (off_t)n), 0);
		assert_int_equal(load(f, bad, INSTANCE, NULL), -EBADMSG);
	}
	free(p);
	close(fd);
	close(bad);
}

/* The same content, well-formed, with another number in front. */
static int of_version(int fd, uint32_t version)
{
	struct snapshot_out out;
	struct snapshot_in in;
	int other = file_new();
	uint8_t byte;

	assert_true(lseek(fd, 0, SEEK_SET) == 0);
	assert_int_equal(snapshot_in_init(&in, fd), 0);
	assert_int_equal(snapshot_out_init(&out, other), 0);
	snapshot_put_u64(&out, snapshot_get_u64(&in));
	assert_int_equal(snapshot_get_u32(&in), SNAPSHOT_VERSION);
	snapshot_put_u32(&out, version);
	for (;;) {
		snapshot_get(&in, &byte, 1);
		if (in.err)
			break;
		snapshot_put(&out, &byte, 1);
	}
	assert_int_equal(snapshot_in_finish(&in), -EBADMSG); /* we have read beyond the end */
	assert_int_equal(snapshot_out_finish(&out), 0);
	return other;
}

static void test_other_version(void **state)
{
	struct fixture *f = *state;
	int fd, other;

	fill(f);
	fd = saved(f);
	other = of_version(fd, SNAPSHOT_VERSION);
	assert_int_equal(load(f, other, INSTANCE, NULL), 0);
	close(other);
	other = of_version(fd, SNAPSHOT_VERSION + 1);
	assert_int_equal(load(f, other, INSTANCE, NULL), -EPROTONOSUPPORT);
	close(other);
	other = of_version(fd, SNAPSHOT_VERSION - 1);
	assert_int_equal(load(f, other, INSTANCE, NULL), -EPROTONOSUPPORT);
	close(other);
	close(fd);
}

/* ---- in its place ---- */

static const struct siphash_key drc_key = { 1, 2 };
static char dir[] = "/tmp/atoll-snapshot-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[100];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put_file(int from)
{
	int to = open(in_dir("snapshot"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t len;
	uint8_t *p = content(from, &len);

	assert_true(to >= 0);
	assert_int_equal(write(to, p, len), len);
	close(to);
	free(p);
}

/* What handover_read() says, and that it has said `message` (NULL: nothing). */
static void expect_read(struct fixture *f, int want, const char *message)
{
	char said[1000] = "";
	int log = file_new(), keep = dup(2), err;
	struct drc *drc = drc_new(&drc_key);
	struct state *s;

	assert_int_equal(state_new(&f->config, &s), 0);
	assert_non_null(drc);
	assert_true(dup2(log, 2) == 2);
	err = handover_read(s, drc, dir, INSTANCE);
	assert_true(dup2(keep, 2) == 2);
	state_free(s);
	drc_free(drc);
	assert_true(pread(log, said, sizeof(said) - 1, 0) >= 0);
	close(keep);
	close(log);
	assert_int_equal(err, want);
	if (message ? !strstr(said, message) : said[0] != 0)
		fail_msg("said `%s', expected `%s'", said, message ? message : "");
}

static void test_said(void **state)
{
	struct fixture *f = *state;
	struct drc *drc = drc_new(&drc_key);
	int fd, other;

	assert_non_null(drc);
	assert_non_null(mkdtemp(dir));
	fill(f);
	expect_read(f, -ENOENT, NULL);
	handover_write(f->s, drc, dir, INSTANCE);
	expect_read(f, 0, NULL);
	handover_write(f->s, drc, dir, INSTANCE + 1);
	expect_read(f, -ENOENT, "is not from the last instance that served and is ignored");
	fd = saved(f);
	other = of_version(fd, SNAPSHOT_VERSION + 1);
	put_file(other);
	expect_read(f, -EPROTONOSUPPORT, "another version of Atoll wrote it; clients have to reclaim");
	assert_int_equal(ftruncate(fd, 100), 0);
	put_file(fd);
	expect_read(f, -EBADMSG, "it is damaged; clients have to reclaim");
	handover_remove(dir);
	expect_read(f, -ENOENT, NULL);
	close(fd);
	close(other);
	assert_int_equal(rmdir(dir), 0);
	drc_free(drc);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same_again),	  TEST(test_other_instance), TEST(test_damage),
		TEST(test_other_version), TEST(test_said),
	};

	return cmocka_run_group_tests_name("state_snapshot", tests, NULL, NULL);
}

/*
 * The same cases for every backend that stores: memory, and vfs on every file system at hand.
 * Arguments choose among the subjects: test_backend_conformance memory ext4
 */
#include "backend_cases.h"

#include <sys/mount.h>
#include <sys/utsname.h>
#include <unistd.h>

static const struct CMUnitTest *const groups[] = {
	cases_names, cases_permissions, cases_files, cases_listing, cases_sharing,
	cases_xattrs,
};

static int before_case(void **state)
{
	fixture_fresh_dir(*state);
	return 0;
}

static int after_case(void **state)
{
	fixture_drop_dir(*state);
	return 0;
}

static int run_cases(const char *subject, struct fixture *fx)
{
	struct CMUnitTest tests[128];
	char names[128][96];
	size_t n = 0;

	for (unsigned g = 0; g < ARRAY_SIZE(groups); g++) {
		for (const struct CMUnitTest *t = groups[g]; t->name; t++, n++) {
			assert_true(n < ARRAY_SIZE(tests));
			snprintf(names[n], sizeof(names[n]), "%s: %s", subject, t->name);
			tests[n] = *t;
			tests[n].name = names[n];
			tests[n].setup_func = before_case;
			tests[n].teardown_func = after_case;
			tests[n].initial_state = fx;
		}
	}
	return _cmocka_run_group_tests(subject, tests, n, NULL, NULL);
}

static int run_memory(void)
{
	struct fixture fx = { .small = true, .params.max_bytes = 64 << 20 };
	int failed;

	fixture_open(&fx, "memory", "/memory");
	failed = run_cases("memory", &fx);
	fixture_close(&fx);
	return failed;
}

/* Before Linux 6.6 a position in a directory of tmpfs was a count of the names before it. */
static bool positions_shift(const char *fs)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	return strcmp(fs, "tmpfs") == 0 && (major < 6 || (major == 6 && minor < 6));
}

static int run_vfs(const char *fs, bool small)
{
	struct fixture fx = { .persistent = true, .small = small, .shifting = positions_shift(fs) };
	const char *at = place_path("%s", fs);
	char subject[32];
	int failed;

	fixture_open(&fx, "vfs", at);
	snprintf(subject, sizeof(subject), "vfs on %s", fs);
	failed = run_cases(subject, &fx);
	fixture_close(&fx);
	return failed;
}

static int run_image(const char *fs, unsigned megabytes, bool small)
{
	const char *at = place_path("%s", fs);
	int failed;

	if (!mount_image(fs, megabytes, at))
		return 0;
	failed = run_vfs(fs, small);
	umount(at);
	return failed;
}

static bool chosen(int argc, char **argv, const char *subject)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], subject) == 0)
			return true;
	}
	return argc < 2;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (chosen(argc, argv, "memory"))
		failed += run_memory();
	if (!place_begin())
		return failed;
	make_dir(place_path("tmpfs"), 0755);
	if (chosen(argc, argv, "tmpfs"))
		failed += run_vfs("tmpfs", false);
	if (chosen(argc, argv, "ext4"))
		failed += run_image("ext4", 64, true);
	if (chosen(argc, argv, "xfs"))
		failed += run_image("xfs", 320, false);
	if (chosen(argc, argv, "btrfs"))
		failed += run_image("btrfs", 128, false);
	place_end();
	return failed;
}

/*
 * Two trees and one sequence of random operations: every operation is done in both, and must have
 * the same result or the same error; in the end both trees must be equal. One of them is on NFS,
 * the other on a file system of the guest's own kernel.
 *
 *   cl-tree DIR1 DIR2 SEED OPERATIONS
 */
#include <dirent.h>
#include <limits.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "cl.h"

enum { RESULT = 256 };

/* What an operation gave in one tree. */
struct result {
	int error;
	char text[RESULT];
};

/* An operation's random choices, made once for both trees. */
struct choice {
	char a[40], b[40];
	unsigned op, mode, flags;
	int64_t number;
};

static void some_path(struct stream *s, char *out)
{
	static const char names[] = "abcdef";
	int depth = 1 + (int)below(s, 3);

	*out = 0;
	for (int i = 0; i < depth; i++) {
		char part[4] = { '/', names[below(s, sizeof(names) - 1)], 0 };

		strcat(out, part);
	}
}

static int op_open(int dir, const struct choice *c, struct result *r)
{
	static const int flags[] = { O_RDONLY,
				     O_WRONLY | O_CREAT,
				     O_RDWR | O_CREAT | O_EXCL,
				     O_WRONLY | O_CREAT | O_TRUNC,
				     O_WRONLY | O_TRUNC,
				     O_RDONLY | O_DIRECTORY,
				     O_WRONLY | O_CREAT | O_APPEND,
				     O_RDONLY | O_CREAT | O_NOFOLLOW };
	int flag = flags[c->flags % (sizeof(flags) / sizeof(*flags))];
	int fd = openat(dir, c->a + 1, flag | O_NONBLOCK, 0600 | c->mode);
	ssize_t n = 0;

	if (fd < 0)
		return -1;
	if ((flag & O_ACCMODE) != O_RDONLY)
		n = write(fd, c->b, strlen(c->b));
	snprintf(r->text, RESULT, "wrote %zd", n);
	return close(fd);
}

static int op_read(int dir, const struct choice *c, struct result *r)
{
	int fd = openat(dir, c->a + 1, O_RDONLY | O_NONBLOCK);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, r->text, RESULT - 1);
	if (n < 0) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	r->text[n] = 0;
	return close(fd);
}

static int op_stat(int dir, const struct choice *c, struct result *r)
{
	struct stat st;

	if (fstatat(dir, c->a + 1, &st, c->flags & 1 ? AT_SYMLINK_NOFOLLOW : 0))
		return -1;
	if (S_ISDIR(st.st_mode))
		st.st_size = st.st_nlink = 0; /* file systems differ here */
	snprintf(r->text, RESULT, "mode %o nlink %u size %lld uid %u gid %u rdev %u:%u", st.st_mode,
		 (unsigned)st.st_nlink, (long long)st.st_size, st.st_uid, st.st_gid,
		 major(st.st_rdev), minor(st.st_rdev));
	return 0;
}

static int op_times(int dir, const struct choice *c, struct result *r)
{
	struct timespec t[2] = { { .tv_sec = c->number % 2000000000 },
				 { .tv_sec = (c->number * 7) % 2000000000 } };
	struct stat st;

	if (utimensat(dir, c->a + 1, t, AT_SYMLINK_NOFOLLOW) ||
	    fstatat(dir, c->a + 1, &st, AT_SYMLINK_NOFOLLOW))
		return -1;
	snprintf(r->text, RESULT, "atime %lld mtime %lld", (long long)st.st_atime,
		 (long long)st.st_mtime);
	return 0;
}

static int op_readlink(int dir, const struct choice *c, struct result *r)
{
	ssize_t n = readlinkat(dir, c->a + 1, r->text, RESULT - 1);

	if (n < 0)
		return -1;
	r->text[n] = 0;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int op_list(int dir, const struct choice *c, struct result *r)
{
	int fd = openat(dir, c->a + 1, O_RDONLY | O_DIRECTORY);
	char names[20][8], *sorted[20];
	unsigned n = 0;
	struct dirent *e;
	DIR *d;

	if (fd < 0)
		return -1;
	d = fdopendir(fd);
	if (!d)
		die_errno("fdopendir", c->a);
	while (n < 20 && (e = readdir(d))) {
		snprintf(names[n], sizeof(names[n]), "%.7s", e->d_name);
		sorted[n] = names[n];
		n++;
	}
	closedir(d);
	qsort(sorted, n, sizeof(*sorted), by_name);
	for (unsigned i = 0; i < n; i++)
		snprintf(r->text + strlen(r->text), RESULT - strlen(r->text), "%s ", sorted[i]);
	return 0;
}

static int run_one(int dir, const struct choice *c, struct result *r)
{
	switch (c->op) {
	case 0:
	case 1:
	case 2:
		return op_open(dir, c, r);
	case 3:
	case 4:
		return mkdirat(dir, c->a + 1, 0700 | c->mode);
	case 5:
		return unlinkat(dir, c->a + 1, 0);
	case 6:
		return unlinkat(dir, c->a + 1, AT_REMOVEDIR);
	case 7:
	case 8:
		return renameat(dir, c->a + 1, dir, c->b + 1);
	case 9:
		return linkat(dir, c->a + 1, dir, c->b + 1, 0);
	case 10:
		return symlinkat(c->b + 1, dir, c->a + 1);
	case 11:
		return mknodat(dir, c->a + 1, (c->flags & 1 ? S_IFIFO : S_IFSOCK) | c->mode, 0);
	case 12:
		return fchmodat(dir, c->a + 1, c->mode | 0700, 0);
	case 13:
		return op_times(dir, c, r);
	case 14:
		return op_readlink(dir, c, r);
	case 15:
		return op_list(dir, c, r);
	case 16:
		return op_read(dir, c, r);
	case 17:
		return fchownat(dir, c->a + 1, (uid_t)(c->number % 5), (gid_t)(c->number % 7),
				AT_SYMLINK_NOFOLLOW);
	default:
		return op_stat(dir, c, r);
	}
}

static const char *const op_names[] = { "open",	   "open",  "open",   "mkdir",	"mkdir",
					"unlink",  "rmdir", "rename", "rename", "link",
					"symlink", "mknod", "chmod",  "utimes", "readlink",
					"list",	   "read",  "chown",  "stat",	"stat" };

static void step(int dir, const struct choice *c, struct result *r)
{
	memset(r, 0, sizeof(*r));
	if (run_one(dir, c, r))
		r->error = errno == EEXIST && c->op >= 6 && c->op <= 8
			       ? ENOTEMPTY
			       : errno; /* POSIX allows both */
	if (r->error)
		*r->text = 0;
}

/* Everything in a tree, one line each, sorted. */
static void walk(int dir, const char *path, char ***lines, size_t *count)
{
	DIR *d = fdopendir(openat(dir, *path ? path : ".", O_RDONLY | O_DIRECTORY));
	struct dirent *e;

	if (!d)
		die_errno("opendir", path);
	while ((e = readdir(d))) {
		struct choice c = { .flags = 1 };
		struct result r = { 0 };
		char sub[PATH_MAX], *line;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%s%s%s", path, *path ? "/" : "", e->d_name);
		snprintf(c.a, sizeof(c.a), "/%.38s", sub);
		if (op_stat(dir, &c, &r))
			die_errno("stat", sub);
		if (asprintf(&line, "%s %s", sub, r.text) < 0)
			die("no memory");
		*lines = realloc(*lines, (*count + 1) * sizeof(**lines));
		if (!*lines)
			die("no memory");
		(*lines)[(*count)++] = line;
		if (e->d_type == DT_DIR)
			walk(dir, sub, lines, count);
	}
	closedir(d);
}

static void same_tree(int one, int two)
{
	char **a = NULL, **b = NULL;
	size_t na = 0, nb = 0;

	walk(one, "", &a, &na);
	walk(two, "", &b, &nb);
	if (na)
		qsort(a, na, sizeof(*a), by_name);
	if (nb)
		qsort(b, nb, sizeof(*b), by_name);
	for (size_t i = 0; i < na || i < nb; i++)
		if (i >= na || i >= nb || strcmp(a[i], b[i]))
			die("the trees differ: \"%s\" and \"%s\"", i < na ? a[i] : "-",
			    i < nb ? b[i] : "-");
	printf("%zu objects are equal\n", na);
}

int main(int argc, char **argv)
{
	struct stream s;
	int one, two;

	if (argc != 5)
		die("usage: cl-tree DIR1 DIR2 SEED OPERATIONS");
	umask(022);
	one = open(argv[1], O_RDONLY | O_DIRECTORY);
	two = open(argv[2], O_RDONLY | O_DIRECTORY);
	if (one < 0 || two < 0)
		die_errno("open", one < 0 ? argv[1] : argv[2]);
	s.at = (uint64_t)number(argv[3]);
	for (int64_t i = 0, n = number(argv[4]); i < n; i++) {
		struct choice c = { .op = (unsigned)below(&s, 20),
				    .mode = (unsigned)below(&s, 01000),
				    .flags = (unsigned)below(&s, 64),
				    .number = (int64_t)below(&s, INT64_MAX) };
		struct result r1, r2;

		some_path(&s, c.a);
		some_path(&s, c.b);
		step(one, &c, &r1);
		step(two, &c, &r2);
		if (r1.error != r2.error || strcmp(r1.text, r2.text))
			die("operation %lld, %s %s %s (mode %o, flags %u): %s \"%s\", and %s "
			    "\"%s\"",
			    (long long)i, op_names[c.op], c.a, c.b, c.mode, c.flags,
			    r1.error ? strerror(r1.error) : "ok", r1.text,
			    r2.error ? strerror(r2.error) : "ok", r2.text);
	}
	same_tree(one, two);
	return 0;
}

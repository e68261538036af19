/*
 * What POSIX says of a file system, one function a subject: cl-posix SUBJECT, in an empty folder,
 * as root. The programs do things the way applications do (no debugging interfaces), and end at the
 * first surprise.
 */
#include <dirent.h>
#include <grp.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#include "cl.h"

#define must(call)                                                                \
	({                                                                        \
		__typeof__(call) must_result = (call);                            \
		if (must_result == (__typeof__(call))-1)                          \
			die("line %d: " #call ": %s", __LINE__, strerror(errno)); \
		must_result;                                                      \
	})
#define must_fail(error, call)                                                           \
	do {                                                                             \
		errno = 0;                                                               \
		if ((call) != -1)                                                        \
			die("line %d: " #call " succeeded, expected " #error, __LINE__); \
		if (errno != (error))                                                    \
			die("line %d: " #call ": %s, expected " #error, __LINE__,        \
			    strerror(errno));                                            \
	} while (0)
#define check(condition)                                                 \
	do {                                                             \
		if (!(condition))                                        \
			die("line %d: not true: " #condition, __LINE__); \
	} while (0)
#define check_eq(a, b)                                                                            \
	do {                                                                                      \
		long long check_a = (long long)(a), check_b = (long long)(b);                     \
		if (check_a != check_b)                                                           \
			die("line %d: " #a " is %lld, expected " #b " = %lld", __LINE__, check_a, \
			    check_b);                                                             \
	} while (0)

static void touch(const char *name)
{
	int fd = must(open(name, O_WRONLY | O_CREAT | O_EXCL, 0644));

	must(close(fd));
}

static void put(const char *name, const char *text)
{
	int fd = must(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	check_eq(write(fd, text, strlen(text)), strlen(text));
	must(close(fd));
}

static void check_content(const char *name, const char *text)
{
	char buf[4096];
	int fd = must(open(name, O_RDONLY));
	ssize_t n = must(read(fd, buf, sizeof(buf)));

	if (n != (ssize_t)strlen(text) || memcmp(buf, text, (size_t)n))
		die("%s holds \"%.*s\", expected \"%s\"", name, (int)n, buf, text);
	must(close(fd));
}

static struct stat status(const char *name)
{
	struct stat st;

	if (lstat(name, &st))
		die_errno("stat", name);
	return st;
}

/* --- names ----------------------------------------------------------------------------------- */

static void names(void)
{
	static const char *const odd[] = { "...",
					   " ",
					   "a b",
					   "back\\slash",
					   "colon:",
					   "new\nline",
					   "*?[x]",
					   "-rf",
					   "\xc3\xa4\xc3\xb6",
					   "\xe6\x97\xa5\xe6\x9c\xac",
					   "\xf0\x9f\x90\xa2",
					   "A",
					   "a",
					   "\x01\x7f",
					   "%s%n",
					   ".nfs-is-fine",
					   "e\xcc\x81",
					   "\xc3\xa9" };
	char name[300];
	size_t n = sizeof(odd) / sizeof(*odd), found = 0;
	DIR *dir;
	struct dirent *e;

	memset(name, 'n', sizeof(name));
	name[255] = 0;
	touch(name);
	check_eq(status(name).st_size, 0);
	must(rename(name, "short"));
	must(rename("short", name));
	must(unlink(name));
	must(mkdir(name, 0755));
	must(rmdir(name));
	name[255] = 'n';
	name[256] = 0;
	must_fail(ENAMETOOLONG, open(name, O_WRONLY | O_CREAT, 0644));
	must_fail(ENAMETOOLONG, mkdir(name, 0755));
	must_fail(ENAMETOOLONG, unlink(name));
	must_fail(ENAMETOOLONG, symlink("x", name));
	for (size_t i = 0; i < n; i++)
		put(odd[i], odd[i]);
	for (size_t i = 0; i < n; i++)
		check_content(odd[i], odd[i]);
	dir = opendir(".");
	check(dir);
	while ((e = readdir(dir)))
		for (size_t i = 0; i < n; i++)
			found += !strcmp(e->d_name, odd[i]);
	closedir(dir);
	check_eq(found, n);
	must_fail(ENOENT, open("", O_RDONLY));
	must_fail(ENOENT, open("missing", O_RDONLY));
	must_fail(ENOTDIR, open("a/x", O_RDONLY));
	must_fail(ENOTDIR, mkdir("a/x", 0755));
	must_fail(ENOENT, open("missing/x", O_RDONLY | O_CREAT, 0644));
}

/* --- open and create ------------------------------------------------------------------------- */

static void create(void)
{
	int fd;

	fd = must(
	    open("f", O_RDWR | O_CREAT | O_EXCL, 0444)); /* the mode does not bind its creator */
	check_eq(write(fd, "abc", 3), 3);
	check_eq(status("f").st_mode & 07777, 0444);
	must(close(fd));
	check_content("f", "abc");
	must_fail(EEXIST, open("f", O_RDWR | O_CREAT | O_EXCL, 0644));
	must_fail(EEXIST, mkdir("f", 0755));
	must_fail(EEXIST, symlink("x", "f"));
	must_fail(EEXIST, mknod("f", S_IFIFO | 0644, 0));
	must_fail(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
	fd = must(open("zero", O_RDWR | O_CREAT | O_EXCL, 0));
	check_eq(write(fd, "x", 1), 1);
	must(close(fd));
	check_eq(status("zero").st_mode & 07777, 0);
	must(symlink("nowhere", "dangling"));
	must_fail(EEXIST, open("dangling", O_RDWR | O_CREAT | O_EXCL, 0644));
	must_fail(ENOENT, open("dangling", O_RDWR));
	must_fail(ELOOP, open("dangling", O_RDWR | O_NOFOLLOW));
	fd = must(open("dangling", O_RDWR | O_CREAT, 0644)); /* creates its target */
	must(close(fd));
	check(S_ISREG(status("nowhere").st_mode));
	fd = must(open("f", O_WRONLY | O_TRUNC));
	must(close(fd));
	check_eq(status("f").st_size, 0);
	must(mkdir("d", 0755));
	must_fail(EISDIR, open("d", O_WRONLY));
	must_fail(EISDIR, open("d", O_RDWR | O_CREAT, 0644));
	must_fail(EISDIR, read(must(open("d", O_RDONLY)), &fd, 1));
	umask(027);
	touch("masked");
	check_eq(status("masked").st_mode & 07777, 0640);
	must(mkdir("maskeddir", 0777));
	check_eq(status("maskeddir").st_mode & 07777, 0750);
	umask(022);
	must(symlink("loop2", "loop1"));
	must(symlink("loop1", "loop2"));
	must_fail(ELOOP, open("loop1", O_RDONLY));
}

/* --- unlink and rename while open ------------------------------------------------------------- */

/* The client removes them behind the last close's back, so give it a while. */
static void check_no_silly_names(void)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	bool found = true;

	for (int i = 0; found && i < 500; i++) {
		DIR *dir = opendir(".");
		struct dirent *e;

		check(dir);
		found = false;
		while ((e = readdir(dir)))
			found |= !strncmp(e->d_name, ".nfs", 4);
		closedir(dir);
		if (found)
			nanosleep(&pause, NULL);
	}
	if (found)
		die("the name of an unlinked file stayed behind");
}

static void silly(void)
{
	char buf[10] = "";
	int fd, other;

	put("f", "before");
	fd = must(open("f", O_RDWR));
	must(unlink("f"));
	must_fail(ENOENT, open("f", O_RDONLY));
	check_eq(pread(fd, buf, 6, 0), 6);
	check(!memcmp(buf, "before", 6));
	check_eq(pwrite(fd, "after!", 6, 0), 6);
	must(fsync(fd));
	must(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ? -1 : 0);
	check_eq(pread(fd, buf, 6, 0), 6);
	check(!memcmp(buf, "after!", 6));
	must(ftruncate(fd, 3));
	must(fchmod(fd, 0600));
	touch("f"); /* the name is free */
	must(close(fd));
	check_eq(status("f").st_size, 0);

	put("g", "old");
	put("h", "new");
	fd = must(open("g", O_RDONLY));
	other = must(open("g", O_RDONLY));
	must(rename("h", "g")); /* over an open file */
	check_eq(pread(fd, buf, 10, 0), 3);
	check(!memcmp(buf, "old", 3));
	check_content("g", "new");
	must(close(fd));
	check_eq(pread(other, buf, 10, 0), 3);
	check(!memcmp(buf, "old", 3));
	must(close(other));

	fd = must(open("t", O_RDWR | O_CREAT, 0600));
	check_eq(write(fd, "data", 4), 4);
	must(rename("t", "u")); /* under its open descriptor */
	check_eq(write(fd, "more", 4), 4);
	must(close(fd));
	check_content("u", "datamore");

	must(mkdir("d", 0755));
	fd = must(open("d/x", O_RDWR | O_CREAT, 0600));
	must(unlink("d/x"));
	must(close(fd));
	must(rmdir("d")); /* nothing stayed behind */
	check_no_silly_names();
}

static void renames(void)
{
	put("a", "a");
	put("b", "b");
	must(rename("a", "b"));
	check_content("b", "a");
	must_fail(ENOENT, rename("a", "c"));
	must(rename("b", "b"));
	must(link("b", "b2"));
	must(rename("b", "b2")); /* two names of one file: nothing happens */
	check_content("b", "a");
	check_eq(status("b").st_nlink, 2);
	must(mkdir("d", 0755));
	must(mkdir("d/e", 0755));
	must(mkdir("empty", 0755));
	must_fail(EISDIR, rename("b", "d"));
	must_fail(ENOTDIR, rename("d", "b"));
	must_fail(EINVAL, rename("d", "d/e/f"));
	if (!rename("empty", "d") || (errno != ENOTEMPTY && errno != EEXIST))
		die("rename over a folder that is not empty: %s", strerror(errno));
	must(rename("d", "empty"));
	check(S_ISDIR(status("empty/e").st_mode));
	must_fail(ENOENT, rename("empty/e", "nowhere/e"));
	must(rename("empty/e", "e"));
	check_eq(status("empty").st_nlink, 2);
	must(rename("b", "e/b"));
	check_content("e/b", "a");
	must_fail(ENOTDIR, rmdir("e/b"));
	must_fail(EISDIR, unlink("empty"));
	must_fail(ENOENT, rmdir("nowhere"));
	if (!rmdir("e") || (errno != ENOTEMPTY && errno != EEXIST))
		die("rmdir of a folder that is not empty: %s", strerror(errno));
	must(symlink("e", "s"));
	must(rename("s", "t")); /* the link, not its target */
	check(S_ISLNK(status("t").st_mode));
}

/* --- links, symlinks, special files ----------------------------------------------------------- */

static void links(void)
{
	char name[32], target[2001], buf[4096];

	put("f", "text");
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		must(link("f", name));
	}
	check_eq(status("f").st_nlink, 101);
	check_eq(status("l50").st_ino, status("f").st_ino);
	put("l7", "changed");
	check_content("f", "changed");
	must(unlink("f"));
	check_eq(status("l0").st_nlink, 100);
	check_content("l99", "changed");
	must_fail(EEXIST, link("l0", "l1"));
	must_fail(ENOENT, link("f", "x"));
	must(mkdir("d", 0755));
	must_fail(EPERM, link("d", "d2"));
	must(symlink("l0", "s"));
	must(link("s", "s2")); /* a hard link to the symlink itself */
	check(S_ISLNK(status("s2").st_mode));
	check_eq(status("s").st_nlink, 2);
	check_content("s2", "changed");
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = 0;
	must(symlink(target, "long"));
	check_eq(readlink("long", buf, sizeof(buf)), 2000);
	check(!memcmp(buf, target, 2000));
	check_eq(status("long").st_size, 2000);
	must_fail(EINVAL, readlink("l0", buf, sizeof(buf)));
	must(symlink("../l0", "d/up"));
	check_content("d/up", "changed");
	must(symlink("/no/../\xc3\xa4 \n", "odd"));
	check_eq(readlink("odd", buf, sizeof(buf)), 11);
}

static void special(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "socket" };
	int fd, peer;
	char c;
	pid_t pid;

	must(mkfifo("fifo", 0640));
	check(S_ISFIFO(status("fifo").st_mode));
	check_eq(status("fifo").st_mode & 0777, 0640);
	pid = must(fork());
	if (pid == 0) {
		fd = must(open("fifo", O_WRONLY));
		check_eq(write(fd, "x", 1), 1);
		_exit(0);
	}
	fd = must(open("fifo", O_RDONLY));
	check_eq(read(fd, &c, 1), 1);
	must(close(fd));
	must(waitpid(pid, NULL, 0));

	fd = must(socket(AF_UNIX, SOCK_STREAM, 0));
	must(bind(fd, (struct sockaddr *)&address, sizeof(address)));
	must(listen(fd, 1));
	check(S_ISSOCK(status("socket").st_mode));
	peer = must(socket(AF_UNIX, SOCK_STREAM, 0));
	must(connect(peer, (struct sockaddr *)&address, sizeof(address)));
	must(close(peer));
	must(close(fd));

	must(mknod("null", S_IFCHR | 0666, makedev(1, 3)));
	check(S_ISCHR(status("null").st_mode));
	check_eq(status("null").st_rdev, makedev(1, 3));
	fd = must(open("null", O_WRONLY));
	check_eq(write(fd, "gone", 4), 4);
	must(close(fd));
	must(mknod("disk", S_IFBLK | 0600, makedev(259, 70000)));
	check(S_ISBLK(status("disk").st_mode));
	check_eq(status("disk").st_rdev, makedev(259, 70000));
	must(mknod("plain", S_IFREG | 0600, 0));
	check(S_ISREG(status("plain").st_mode));
}

/* --- sizes ------------------------------------------------------------------------------------ */

static void truncates(void)
{
	char buf[100];
	int fd;

	put("f", "0123456789");
	must(truncate("f", 4));
	check_content("f", "0123");
	must(truncate("f", 8));
	fd = must(open("f", O_RDWR));
	check_eq(read(fd, buf, sizeof(buf)), 8);
	check(!memcmp(buf, "0123\0\0\0\0", 8));
	must(ftruncate(fd, 0));
	check_eq(status("f").st_size, 0);
	check_eq(pwrite(fd, "x", 1, 5000), 1);
	must(ftruncate(fd, 3000));
	must(ftruncate(fd, 6000));
	check_eq(pread(fd, buf, 1, 5000), 1);
	check_eq(buf[0], 0); /* what was cut off does not come back */
	must(close(fd));
	fd = must(open("f", O_RDONLY));
	must_fail(EINVAL, ftruncate(fd, 1));
	must_fail(EBADF, write(fd, "x", 1));
	must(close(fd));
	must_fail(EINVAL, truncate("f", -1));
	must(mkdir("d", 0755));
	must_fail(EISDIR, truncate("d", 0));
	must_fail(ENOENT, truncate("missing", 0));
}

static void append(void)
{
	int a = must(open("f", O_WRONLY | O_CREAT | O_APPEND, 0644));
	int b = must(open("f", O_WRONLY | O_APPEND));
	char expected[1001] = "";

	for (int i = 0; i < 100; i++) {
		check_eq(write(i & 1 ? a : b, i & 1 ? "aaaaaaaaaa" : "bbbbbbbbbb", 10), 10);
		strcat(expected, i & 1 ? "aaaaaaaaaa" : "bbbbbbbbbb");
	}
	must(close(a));
	must(close(b));
	check_content("f", expected);
}

static void vectors(void)
{
	char a[10], b[20];
	struct iovec out[3] = { { "one", 3 }, { "", 0 }, { "three", 5 } },
		     in[2] = { { a, 4 }, { b, 20 } };
	int fd = must(open("f", O_RDWR | O_CREAT, 0644));

	check_eq(pwritev(fd, out, 3, 4094), 8); /* over the end of a page */
	check_eq(preadv(fd, in, 2, 4094), 8);
	check(!memcmp(a, "onet", 4) && !memcmp(b, "hree", 4));
	check_eq(pread(fd, a, 10, 5000), 0); /* behind the end */
	check_eq(read(fd, a, 0), 0);
	check_eq(lseek(fd, 0, SEEK_END), 4102);
	must(close(fd));
}

/* --- times and attributes --------------------------------------------------------------------- */

static bool before(struct timespec a, struct timespec b)
{
	return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

static void times(void)
{
	static const time_t some[] = { 0,	   1,	       1000000000, 2147483648,
				       4102444800, 4294967296, -1000000000 };
	struct timespec t[2], now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };
	struct stat a, b;
	int fd;

	put("f", "x");
	for (size_t i = 0; i < sizeof(some) / sizeof(*some); i++) {
		t[0] = (struct timespec){ some[i], 123456789 };
		t[1] = (struct timespec){ some[i] + 5, 987654321 };
		must(utimensat(AT_FDCWD, "f", t, 0));
		a = status("f");
		check_eq(a.st_atim.tv_sec, some[i]);
		check_eq(a.st_atim.tv_nsec, 123456789);
		check_eq(a.st_mtim.tv_sec, some[i] + 5);
		check_eq(a.st_mtim.tv_nsec, 987654321);
	}
	t[0].tv_nsec = UTIME_OMIT;
	t[1] = (struct timespec){ 77, 7 };
	must(utimensat(AT_FDCWD, "f", t, 0));
	check_eq(status("f").st_atim.tv_sec, some[6]);
	check_eq(status("f").st_mtim.tv_sec, 77);
	must(utimensat(AT_FDCWD, "f", now, 0));
	check(llabs((long long)status("f").st_mtim.tv_sec - time(NULL)) < 30);
	must(symlink("f", "s"));
	t[0] = t[1] = (struct timespec){ 1234, 0 };
	must(utimensat(AT_FDCWD, "s", t, AT_SYMLINK_NOFOLLOW));
	check_eq(status("s").st_mtim.tv_sec, 1234);
	check(status("f").st_mtim.tv_sec != 1234);

	must(utimensat(AT_FDCWD, "f", t, 0));
	fd = must(open("f", O_WRONLY));
	check_eq(write(fd, "y", 1), 1);
	must(close(fd));
	check(status("f").st_mtim.tv_sec != 1234);
	must(utimensat(AT_FDCWD, "f", t, 0));
	a = status("f");
	must(chmod("f", 0600));
	b = status("f");
	check_eq(b.st_mtim.tv_sec, 1234);
	check(!before(b.st_ctim, a.st_ctim));
	must(truncate("f", 9));
	check(status("f").st_mtim.tv_sec != 1234);

	must(mkdir("d", 0755));
	must(utimensat(AT_FDCWD, "d", t, 0));
	touch("d/x");
	check(status("d").st_mtim.tv_sec != 1234);
	must(utimensat(AT_FDCWD, "d", t, 0));
	must(rename("d/x", "x"));
	check(status("d").st_mtim.tv_sec != 1234);
}

static void attributes(void)
{
	struct stat a, b;
	DIR *dir;
	struct dirent *e;
	int fd;

	touch("f");
	must(mkdir("d", 0755));
	for (mode_t mode = 0; mode < 010000; mode += 0111) {
		must(chmod("f", mode));
		check_eq(status("f").st_mode, S_IFREG | mode);
	}
	must(chmod("d", 07755));
	check_eq(status("d").st_mode, S_IFDIR | 07755);
	must(chown("f", 1001, 2001));
	check_eq(status("f").st_uid, 1001);
	check_eq(status("f").st_gid, 2001);
	must(chown("f", (uid_t)-1, 4294967293u)); /* ids are 32 bits, unsigned */
	check_eq(status("f").st_uid, 1001);
	check_eq(status("f").st_gid, 4294967293u);
	must(symlink("f", "s"));
	must(lchown("s", 5, 6));
	check_eq(status("s").st_uid, 5);
	check_eq(status("f").st_uid, 1001);

	a = status("f");
	dir = opendir(".");
	check(dir);
	while ((e = readdir(dir))) {
		if (!strcmp(e->d_name, ".."))
			continue;
		b = status(e->d_name);
		check_eq(e->d_ino, b.st_ino);
		check(e->d_type == DT_UNKNOWN || e->d_type == IFTODT(b.st_mode));
	}
	closedir(dir);
	fd = must(open("f", O_RDONLY));
	must(fstat(fd, &b));
	check_eq(a.st_ino, b.st_ino);
	check_eq(a.st_dev, b.st_dev);
	must(close(fd));
	must(rename("f", "d/f"));
	check_eq(status("d/f").st_ino, a.st_ino);
	check_eq(status("d").st_nlink, 2);
	must(mkdir("d/e", 0755));
	check_eq(status("d").st_nlink, 3);
}

/* --- extended attributes ---------------------------------------------------------------------- */

static bool lists(const char *names, ssize_t len, const char *name)
{
	for (ssize_t at = 0; at < len; at += (ssize_t)strlen(names + at) + 1) {
		if (!strcmp(names + at, name))
			return true;
	}
	return false;
}

static void xattrs_of(const char *path)
{
	static char big[65536], got[65536];
	char name[64], value[16];
	ssize_t len;

	must_fail(ENODATA, getxattr(path, "user.a", value, sizeof(value)));
	must_fail(ENODATA, removexattr(path, "user.a"));
	must_fail(ENODATA, setxattr(path, "user.a", "1", 1, XATTR_REPLACE));
	must(setxattr(path, "user.a", "12345", 5, XATTR_CREATE));
	must_fail(EEXIST, setxattr(path, "user.a", "1", 1, XATTR_CREATE));
	check_eq(getxattr(path, "user.a", value, sizeof(value)), 5);
	check(!memcmp(value, "12345", 5));
	check_eq(getxattr(path, "user.a", NULL, 0), 5);
	must_fail(ERANGE, getxattr(path, "user.a", value, 4));
	must(setxattr(path, "user.a", "", 0, XATTR_REPLACE));
	check_eq(getxattr(path, "user.a", value, sizeof(value)), 0);
	/* More than fits into one small page, but into any file system. */
	memset(big, 'b', 3000);
	must(setxattr(path, "user.big", big, 3000, 0));
	check_eq(getxattr(path, "user.big", got, sizeof(got)), 3000);
	check(!memcmp(big, got, 3000));
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "user.%d of thirty", i);
		must(setxattr(path, name, "x", 1, 0));
	}
	check_eq(listxattr(path, NULL, 0) > 32 * 6, 1);
	len = must(listxattr(path, got, sizeof(got)));
	check(lists(got, len, "user.a") && lists(got, len, "user.big"));
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "user.%d of thirty", i);
		check(lists(got, len, name));
		must(removexattr(path, name));
	}
	must_fail(ERANGE, listxattr(path, got, 5));
	must(removexattr(path, "user.big"));
	len = must(listxattr(path, got, sizeof(got)));
	check(lists(got, len, "user.a") && !lists(got, len, "user.big"));
}

static void xattrs(void)
{
	char names[4096];
	int child;

	touch("f");
	must(mkdir("d", 0755));
	must(symlink("f", "l"));
	xattrs_of("f");
	xattrs_of("d");
	must(rename("f", "g"));
	check_eq(getxattr("g", "user.a", names, sizeof(names)), 0);
	check(!lists(names, must(llistxattr("l", names, sizeof(names))), "user.a"));
	must(chmod("g", 0600));
	if (fork() == 0) {
		must(setgid(1001));
		must(setuid(1001));
		must_fail(EACCES, getxattr("g", "user.a", names, sizeof(names)));
		must_fail(EACCES, setxattr("g", "user.a", "1", 1, 0));
		must_fail(EACCES, setxattr("d", "user.a", "1", 1, 0));
		_exit(0);
	}
	must(wait(&child));
	check_eq(child, 0);
}

static void deep(void)
{
	char path[PATH_MAX] = "", cwd[PATH_MAX];
	int fd;

	for (int i = 0; i < 150; i++) {
		must(mkdir("deeper-and-deeper", 0755));
		must(chdir("deeper-and-deeper"));
	}
	touch("bottom");
	check(getcwd(cwd, sizeof(cwd)));
	for (int i = 0; i < 150; i++)
		must(chdir(".."));
	for (int i = 0; i < 150; i++)
		strcat(path, "deeper-and-deeper/");
	strcat(path, "bottom");
	fd = must(open(path, O_RDONLY));
	must(close(fd));
	check(!strcmp(cwd + strlen(cwd) - 17, "deeper-and-deeper"));
}

static void statfs_(void)
{
	struct statvfs a, b;
	static char data[4 << 20];
	int fd;

	must(statvfs(".", &a));
	check_eq(a.f_namemax, 255);
	check(a.f_blocks > 0 && a.f_bfree <= a.f_blocks && a.f_bavail <= a.f_bfree);
	check(a.f_files > 0 && a.f_ffree <= a.f_files);
	memset(data, 'd', sizeof(data));
	fd = must(open("f", O_WRONLY | O_CREAT, 0644));
	for (int i = 0; i < 4; i++)
		check_eq(write(fd, data, sizeof(data)), sizeof(data));
	must(fsync(fd));
	must(close(fd));
	must(statvfs(".", &b));
	check(b.f_bfree * b.f_frsize + (12 << 20) < a.f_bfree * a.f_frsize);
	check(status("f").st_blocks * 512 >= 4 * (int64_t)sizeof(data));
}

static void mapping(void)
{
	char *a, *b;
	int fd = must(open("f", O_RDWR | O_CREAT, 0644));
	pid_t pid;
	int result;

	must(ftruncate(fd, 100000));
	a = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(a != MAP_FAILED);
	check_eq(pwrite(fd, "by write", 8, 70000), 8);
	check(!memcmp(a + 70000, "by write", 8));
	pid = must(fork());
	if (pid == 0) {
		memcpy(a + 4090, "by the child", 12);
		_exit(msync(a, 100000, MS_SYNC) ? 1 : 0);
	}
	must(waitpid(pid, &result, 0));
	check_eq(result, 0);
	check(!memcmp(a + 4090, "by the child", 12));
	b = malloc(100000);
	check(b);
	must(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) ? -1 : 0);
	check_eq(pread(fd, b, 100000, 0), 100000);
	check(!memcmp(a, b, 100000));
	munmap(a, 100000);
	a = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	check(a != MAP_FAILED);
	strcpy(a, "private");
	munmap(a, 4096);
	check_eq(pread(fd, b, 7, 0), 7);
	check(memcmp(b, "private", 7) != 0);
	free(b);
	must(close(fd));
}

/* --- who may do what -------------------------------------------------------------------------- */

struct user {
	const char *what;
	uid_t uid;
	gid_t gid;
	size_t count;
	gid_t groups[16];
};

enum { OWNER = 1001, OTHER = 1002, GROUP = 2001, FOREIGN = 3000 };

static const struct user users[] = {
	{ "owner", OWNER, FOREIGN, 0, { 0 } },
	{ "owner in the group", OWNER, GROUP, 0, { 0 } },
	{ "group", OTHER, GROUP, 0, { 0 } },
	{ "supplementary group", OTHER, FOREIGN, 2, { 3001, GROUP } },
	{ "last of 16 groups",
	  OTHER,
	  FOREIGN,
	  16,
	  { 4001, 4002, 4003, 4004, 4005, 4006, 4007, 4008, 4009, 4010, 4011, 4012, 4013, 4014,
	    4015, GROUP } },
	{ "other", OTHER, FOREIGN, 2, { 3001, 3002 } },
};

/* Runs f(argument) as a user, in a process of its own. */
static void as(const struct user *u, void (*f)(const void *), const void *argument)
{
	int result;
	pid_t pid;

	fflush(stdout);
	pid = must(fork());
	if (pid == 0) {
		must(setgroups(u->count, u->groups));
		must(setresgid(u->gid, u->gid, u->gid));
		must(setresuid(u->uid, u->uid, u->uid));
		f(argument);
		fflush(stdout);
		_exit(0);
	}
	must(waitpid(pid, &result, 0));
	if (result)
		die("as %s", u->what);
}

static bool in_group(const struct user *u)
{
	if (u->gid == GROUP)
		return true;
	for (size_t i = 0; i < u->count; i++)
		if (u->groups[i] == GROUP)
			return true;
	return false;
}

/* The three bits of a mode that count for a user of a file of OWNER and GROUP. */
static unsigned bits(const struct user *u, mode_t mode)
{
	return (u->uid == OWNER ? mode >> 6 : in_group(u) ? mode >> 3 : mode) & 7;
}

static void try_open(const char *name, int flags, bool allowed)
{
	int fd = open(name, flags);

	if (allowed && fd < 0)
		die("open %s for %d: %s", name, flags, strerror(errno));
	if (!allowed && fd >= 0)
		die("open %s for %d succeeded", name, flags);
	if (!allowed && errno != EACCES)
		die("open %s for %d: %s, expected EACCES", name, flags, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static const mode_t modes[] = { 0,    0400, 0200, 0100, 040,  020,  010,  04,	02,   01,
				0600, 0060, 0006, 0777, 0077, 0707, 0770, 0644, 0750, 0711 };

static void try_files(const void *argument)
{
	const struct user *u = argument;

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		unsigned allowed = bits(u, modes[i]);
		char name[40];

		snprintf(name, sizeof(name), "f%03o", modes[i]);
		try_open(name, O_RDONLY, allowed & 4);
		try_open(name, O_WRONLY, allowed & 2);
		try_open(name, O_RDWR, (allowed & 6) == 6);
		check_eq(access(name, R_OK), allowed & 4 ? 0 : -1);
		check_eq(access(name, W_OK), allowed & 2 ? 0 : -1);
		check_eq(access(name, X_OK), allowed & 1 ? 0 : -1);
	}
}

static void try_folders(const void *argument)
{
	const struct user *u = argument;

	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		unsigned allowed = bits(u, modes[i]);
		struct stat st;
		char name[40], sub[60];
		DIR *dir;

		snprintf(name, sizeof(name), "d%03o", modes[i]);
		snprintf(sub, sizeof(sub), "%s/x", name);
		dir = opendir(name);
		if (!dir != !(allowed & 4))
			die("opendir %s: %s", name, dir ? "succeeded" : strerror(errno));
		if (dir) {
			int n = 0;

			while (readdir(dir))
				n++;
			check_eq(n, 3);
			closedir(dir);
		}
		if (allowed & 1)
			must(stat(sub, &st));
		else
			must_fail(EACCES, stat(sub, &st));
		snprintf(sub, sizeof(sub), "%s/new", name);
		if ((allowed & 3) == 3) {
			touch(sub);
			check_eq(status(sub).st_uid, u->uid);
			check_eq(status(sub).st_gid, u->gid);
			must(unlink(sub));
			must(mkdir(sub, 0700));
			must(rmdir(sub));
		} else {
			must_fail(EACCES, open(sub, O_WRONLY | O_CREAT, 0600));
			must_fail(EACCES, mkdir(sub, 0700));
			must_fail(EACCES, symlink("x", sub));
		}
	}
}

static void permissions(void)
{
	must(chmod(".", 0755));
	umask(0);
	for (size_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		char name[40], sub[60];

		snprintf(name, sizeof(name), "f%03o", modes[i]);
		put(name, "x");
		must(chown(name, OWNER, GROUP));
		must(chmod(name, modes[i]));
		snprintf(name, sizeof(name), "d%03o", modes[i]);
		must(mkdir(name, 0700));
		snprintf(sub, sizeof(sub), "%s/x", name);
		put(sub, "x");
		must(chown(name, OWNER, GROUP));
		must(chmod(name, modes[i]));
	}
	for (size_t i = 0; i < sizeof(users) / sizeof(*users); i++) {
		as(&users[i], try_files, &users[i]);
		as(&users[i], try_folders, &users[i]);
	}
}

static void denied(int result, const char *what)
{
	if (result != -1)
		die("%s succeeded", what);
	if (errno != EPERM && errno != EACCES)
		die("%s: %s, expected EPERM or EACCES", what, strerror(errno));
}

static void others_deeds(const void *unused)
{
	struct timespec t[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

	denied(chmod("f", 0777), "chmod of another's file");
	denied(chown("f", OTHER, (gid_t)-1), "chown of another's file");
	denied(utimensat(AT_FDCWD, "f", t, 0), "utimes of another's file");
	denied(utimensat(AT_FDCWD, "private", NULL, 0), "touch of a file that is not writable");
	must(utimensat(AT_FDCWD, "f", NULL, 0)); /* f is writable for all */
	denied(unlink("sticky/f"), "unlink in a sticky folder");
	denied(rename("sticky/f", "sticky/g"), "rename in a sticky folder");
	touch("sticky/mine");
	denied(rename("sticky/mine", "sticky/f"), "rename over another's file in a sticky folder");
	must(unlink("sticky/mine"));
}

static void owners_deeds(const void *unused)
{
	must(chmod("f", 0666));
	denied(chown("f", OTHER, (gid_t)-1), "giving a file away");
	denied(chown("f", (uid_t)-1, 9999), "chgrp to a group of others");
	must(chown("f", (uid_t)-1, GROUP));
	must(chmod("suid", 06755));
	check_eq(status("suid").st_mode & 07777, 06755);
	must(chown("suid", (uid_t)-1, GROUP)); /* takes both bits away */
	check_eq(status("suid").st_mode & 07777, 0755);
	must(chmod("foreign", 02755)); /* not in its group: no setgid */
	check_eq(status("foreign").st_mode & 07777, 0755);
	touch("setgid/f");
	check_eq(status("setgid/f").st_gid, 7777);
	must(mkdir("setgid/d", 0755));
	check_eq(status("setgid/d").st_gid, 7777);
	check(status("setgid/d").st_mode & S_ISGID);
	must(symlink("x", "setgid/s"));
	check_eq(status("setgid/s").st_gid, 7777);
	must(unlink("sticky/f"));
}

static void writes_to_suid(const void *unused)
{
	int fd = must(open("suid-open-to-all", O_WRONLY));

	check_eq(write(fd, "x", 1), 1);
	must(close(fd));
}

static void ownership(void)
{
	const struct user owner = { "owner", OWNER, FOREIGN, 1, { GROUP } };

	must(chmod(".", 0755));
	put("f", "x");
	put("private", "x");
	put("suid", "x");
	put("foreign", "x");
	put("suid-open-to-all", "x");
	must(chown("f", OWNER, FOREIGN));
	must(chmod("f", 0666));
	must(chown("suid", OWNER, FOREIGN));
	must(chown("foreign", OWNER, 9999));
	must(chown("private", OWNER, FOREIGN));
	must(mkdir("sticky", 0777));
	must(chmod("sticky", 01777));
	must(mkdir("setgid", 0777));
	must(chown("setgid", 0, 7777));
	must(chmod("setgid", 02777));
	put("sticky/f", "x");
	must(chown("sticky/f", OWNER, FOREIGN));
	must(chmod("suid-open-to-all", 06777));
	as(&users[5], others_deeds, NULL);
	as(&owner, owners_deeds, NULL);
	as(&users[5], writes_to_suid, NULL);
	check_eq(status("suid-open-to-all").st_mode & 07777, 0777);
}

/* A descriptor keeps its rights whatever happens to the mode. */
static void write_after_chmod(const void *unused)
{
	int fd = must(open("f", O_RDWR | O_CREAT, 0600));
	char buf[10];

	check_eq(write(fd, "one", 3), 3);
	must(fsync(fd));
	must(fchmod(fd, 0));
	check_eq(write(fd, "two", 3), 3);
	must(fsync(fd));
	check_eq(pread(fd, buf, 10, 0), 6);
	must(close(fd));
	must_fail(EACCES, open("f", O_RDONLY));
	must(chmod("f", 0400));
	check_content("f", "onetwo");
}

static void revoked(void)
{
	must(chmod(".", 0777));
	as(&users[0], write_after_chmod, NULL);
}

/* --- flock ------------------------------------------------------------------------------------ */

static void flocks(void)
{
	int a = must(open("f", O_RDWR | O_CREAT, 0644)), b = must(open("f", O_RDWR)), c;

	must(flock(a, LOCK_SH));
	must(flock(b, LOCK_SH | LOCK_NB));
	must_fail(EWOULDBLOCK, flock(a, LOCK_EX | LOCK_NB));
	must(flock(b, LOCK_UN));
	must(flock(a, LOCK_EX | LOCK_NB));
	must_fail(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
	c = must(dup(a));
	must(close(a)); /* the copy still holds it */
	must_fail(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
	must(close(c));
	must(flock(b, LOCK_EX | LOCK_NB));
	must(close(b));
}

static const struct {
	const char *name;
	void (*run)(void);
} subjects[] = {
	{ "names", names },	    { "create", create },	  { "silly", silly },
	{ "renames", renames },	    { "links", links },		  { "special", special },
	{ "truncates", truncates }, { "append", append },	  { "vectors", vectors },
	{ "times", times },	    { "attributes", attributes }, { "deep", deep },
	{ "statfs", statfs_ },	    { "mapping", mapping },	  { "permissions", permissions },
	{ "ownership", ownership }, { "revoked", revoked },	  { "flocks", flocks },
	{ "xattrs", xattrs },
};

int main(int argc, char **argv)
{
	umask(022);
	for (size_t i = 0; argc == 2 && i < sizeof(subjects) / sizeof(*subjects); i++) {
		if (strcmp(argv[1], subjects[i].name))
			continue;
		subjects[i].run();
		return 0;
	}
	die("usage: cl-posix SUBJECT");
}

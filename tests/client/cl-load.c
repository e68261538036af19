/*
 * Load that minds interruptions: a process for each kind of work, until SIGTERM; each checks what
 * it reads, and the first thing that is wrong ends it. The exit status tells of all of them.
 *
 *   cl-load work DIR [nameless]
 *	in the folder DIR; the server may crash, unless "nameless" says that one of the files is removed by
 *	somebody else meanwhile
 *   cl-load pause N
 *	waits for N more records of the writer; prints the longest time in ms that one has taken since the
 *	last time it was asked for
 *   cl-load thief FILE
 *	tries to take the lock that the load holds in FILE, until SIGTERM
 *   cl-load fight DIR SECONDS
 *	counts up numbers in files that others count up, too, under locks; prints how often
 *
 * Beside the load is /tmp/cl-load (of the guest), by which "pause" knows of the writer.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "cl.h"

enum { FILES = 10, FILE_SIZE = 64 << 10, BIG_SIZE = 512 << 10, RECORD = 100, NUMBERS = 8 };

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	stop = 1;
}

/* What "pause" sees. */
static struct shared {
	_Atomic uint64_t records, longest_ns;
} * shared;

static void share(void)
{
	int fd = open("/tmp/cl-load", O_RDWR | O_CREAT, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(*shared)))
		die_errno("open", "/tmp/cl-load");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		die_errno("map", "/tmp/cl-load");
	close(fd);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void nap(unsigned ms)
{
	struct timespec ts = { ms / 1000, (long)(ms % 1000) * 1000000 };

	nanosleep(&ts, NULL);
}

/* ---- files ---- */

static int open_file(const char *name, int flags)
{
	int fd = open(name, flags, 0666);

	if (fd < 0)
		die_errno("open", name);
	return fd;
}

static void fill(char *buf, size_t len, uint64_t seed)
{
	struct stream s = { seed };

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)('a' + below(&s, 26));
}

static void write_at(int fd, const char *buf, size_t len, int64_t at, const char *name)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, at);

		if (n <= 0)
			die_errno("write", name);
		buf += n;
		at += n;
		len -= (size_t)n;
	}
}

static void compare_at(int fd, const char *want, size_t len, int64_t at, const char *name)
{
	static char got[BIG_SIZE];
	size_t have = 0;

	while (have < len) {
		ssize_t n = pread(fd, got + have, len - have, at + (int64_t)have);

		if (n < 0)
			die_errno("read", name);
		if (n == 0)
			die("%s ends at %lld", name, (long long)at + (long long)have);
		have += (size_t)n;
	}
	for (size_t i = 0; i < len; i++)
		if (got[i] != want[i])
			die("%s: byte %lld is %02x, expected %02x", name,
			    (long long)at + (long long)i, got[i], want[i]);
}

/* From the server: what the client has cached is dropped first. */
static void expect_at(int fd, const char *want, size_t len, int64_t at, const char *name)
{
	posix_fadvise(fd, at, (off_t)len, POSIX_FADV_DONTNEED);
	compare_at(fd, want, len, at, name);
}

static int set_lock(int fd, int command, short type, int64_t start, int64_t len)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };

	return fcntl(fd, command, &l);
}

/* ---- the kinds of work, in their folder ---- */

static void record_of(char *buf, uint64_t n)
{
	fill(buf, RECORD, n + 1);
	snprintf(buf, 21, "%020llu", (unsigned long long)n);
}

/* Records that are on the server's disk before the next one is written. */
static void writer(void)
{
	int fd = open_file("log", O_RDWR | O_CREAT | O_TRUNC | O_DSYNC);
	char buf[RECORD];
	uint64_t n = 0;

	for (; !stop; n++) {
		uint64_t begin = now_ns(), took;

		record_of(buf, n);
		write_at(fd, buf, RECORD, (int64_t)n * RECORD, "log");
		took = now_ns() - begin;
		if (took > shared->longest_ns)
			shared->longest_ns = took;
		shared->records++;
	}
	close(fd);
	fd = open_file("log", O_RDONLY);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (uint64_t i = 0; i < n; i++) {
		record_of(buf, i);
		compare_at(fd, buf, RECORD, (int64_t)i * RECORD, "log");
	}
}

/* Holds a lock all the time (see thief). */
static void holder(void)
{
	int fd = open_file("held", O_RDWR | O_CREAT);

	if (set_lock(fd, F_SETLK, F_WRLCK, 0, 10))
		die_errno("lock", "held");
	close(open_file("held.locked", O_WRONLY | O_CREAT));
	while (!stop) {
		write_at(fd, "hold", 4, 0, "held");
		if (fsync(fd))
			die_errno("fsync", "held");
		expect_at(fd, "hold", 4, 0, "held");
		nap(50);
	}
}

/* Two of these count up one number under a lock. */
static void counter(void)
{
	int fd = open_file("counter", O_RDWR | O_CREAT);
	uint64_t mine = 0, n = 0;
	char name[32];

	while (!stop) {
		uint64_t before = n;

		if (set_lock(fd, F_SETLKW, F_WRLCK, 0, 0))
			die_errno("lock", "counter");
		n = 0;
		if (pread(fd, &n, sizeof(n), 0) < 0)
			die_errno("read", "counter");
		if (n < before)
			die("counter: %llu after %llu", (unsigned long long)n,
			    (unsigned long long)before);
		n++;
		mine++;
		write_at(fd, (char *)&n, sizeof(n), 0, "counter");
		if (set_lock(fd, F_SETLK, F_UNLCK, 0, 0))
			die_errno("unlock", "counter");
	}
	snprintf(name, sizeof(name), "counted.%d", getpid());
	fd = open_file(name, O_WRONLY | O_CREAT);
	write_at(fd, (char *)&mine, sizeof(mine), 0, name);
	if (close(fd))
		die_errno("close", name);
}

/*
 * A crash takes the server's memory of what it has answered: a request whose answer was lost is
 * done again when it is sent again, and then finds it done. Not so at a planned restart.
 */
static bool may_crash;

static void once(int result, int done, const char *what, const char *name)
{
	if (result && !(may_crash && errno == done))
		die_errno(what, name);
}

static void namer(void)
{
	struct stat st;

	for (unsigned n = 0; !stop; n++) {
		char a[32], b[32], c[32];

		snprintf(a, sizeof(a), "name.%u", n);
		snprintf(b, sizeof(b), "renamed.%u", n);
		snprintf(c, sizeof(c), "folder.%u", n);
		close(open_file(a, O_WRONLY | O_CREAT | O_EXCL));
		once(rename(a, b), ENOENT, "rename", a);
		once(mkdir(c, 0777), EEXIST, "mkdir", c);
		once(link(b, a), EEXIST, "link", a);
		if (stat(b, &st) || st.st_nlink != 2)
			die("%s has %u links", b, (unsigned)st.st_nlink);
		once(unlink(a), ENOENT, "unlink", a);
		once(unlink(b), ENOENT, "unlink", b);
		once(rmdir(c), ENOENT, "rmdir", c);
		if (!stat(a, &st) || !stat(b, &st) || !stat(c, &st))
			die("%s, %s or %s is still there", a, b, c);
	}
}

/* Files open for reading only: what can be delegated. */
static void reader(void)
{
	static char text[FILE_SIZE];
	int fd[FILES];
	char name[32];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "read.%d", i);
		fill(text, FILE_SIZE, (uint64_t)i);
		fd[i] = open_file(name, O_WRONLY | O_CREAT);
		write_at(fd[i], text, FILE_SIZE, 0, name);
		close(fd[i]);
		fd[i] = open_file(name, O_RDONLY);
	}
	for (int i = 0; !stop; i = (i + 1) % FILES) {
		snprintf(name, sizeof(name), "read.%d", i);
		fill(text, FILE_SIZE, (uint64_t)i);
		expect_at(fd[i], text, FILE_SIZE, 0, name);
		if (i % 3 == 0) {
			close(fd[i]);
			fd[i] = open_file(name, O_RDONLY);
		}
		nap(5);
	}
}

static void rewrite(int fd, const char *name)
{
	static char text[BIG_SIZE];

	for (uint64_t n = 1; !stop; n++) {
		fill(text, BIG_SIZE, n);
		write_at(fd, text, BIG_SIZE, 0, name);
		if (fsync(fd))
			die_errno("fsync", name);
		expect_at(fd, text, BIG_SIZE, 0, name);
		nap(20);
	}
}

/* A file that stays. */
static void rewriter(void)
{
	rewrite(open_file("rewritten", O_RDWR | O_CREAT), "rewritten");
}

/* A file that its user has removed. */
static void unlinked(void)
{
	int fd = open_file("unlinked", O_RDWR | O_CREAT);

	if (unlink("unlinked"))
		die_errno("unlink", "unlinked");
	rewrite(fd, "unlinked");
}

/* A file that somebody else removes: it has no name at all. */
static void nameless(void)
{
	rewrite(open_file("nameless", O_RDWR | O_CREAT), "nameless");
}

static const struct kind {
	const char *name;
	void (*work)(void);
} kinds[] = {
	{ "writer", writer },	  { "holder", holder },	    { "counter", counter },
	{ "counter", counter },	  { "namer", namer },	    { "reader", reader },
	{ "rewriter", rewriter }, { "unlinked", unlinked }, { "nameless", nameless }, /* the last */
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void signals(void)
{
	struct sigaction sa = { .sa_handler = on_term, .sa_flags = SA_RESTART };

	sigaction(SIGTERM, &sa, NULL);
}

static int work(const char *dir, int n)
{
	sigset_t term, before;
	pid_t pid[KINDS];
	int failed = 0, status;

	if (chdir(dir))
		die_errno("chdir", dir);
	unlink("/tmp/cl-load");
	share();
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	for (int i = 0; i < n; i++) {
		pid[i] = fork();
		if (pid[i] < 0)
			die_errno("fork", "");
		if (pid[i] == 0) {
			signals();
			sigprocmask(SIG_SETMASK, &before, NULL);
			kinds[i].work();
			_exit(0);
		}
	}
	sigwait(&term, &status);
	for (int i = 0; i < n; i++)
		kill(pid[i], SIGTERM);
	for (int i = 0; i < n; i++) {
		if (waitpid(pid[i], &status, 0) != pid[i] || status) {
			printf("%s failed\n", kinds[i].name);
			failed = 1;
		}
	}
	if (!failed)
		printf("ok: %llu records\n", (unsigned long long)shared->records);
	return failed;
}

static int pause_of(int64_t more)
{
	uint64_t until;

	share();
	until = shared->records + (uint64_t)more;
	while (shared->records < until)
		nap(5);
	printf("%llu\n", (unsigned long long)(shared->longest_ns / 1000000));
	shared->longest_ns = 0;
	return 0;
}

static int thief(const char *name)
{
	unsigned n = 0;
	int fd;

	signals(); /* first: the open may have to wait for the end of a grace period */
	fd = open_file(name, O_RDWR);
	for (; !stop; n++) {
		if (set_lock(fd, F_SETLK, F_WRLCK, 5, 1) == 0)
			die("%s: got the lock that another client holds, try %u", name, n);
		if (errno != EAGAIN && errno != EACCES)
			die_errno("lock", name);
		nap(10);
	}
	printf("ok: %u tries\n", n);
	return 0;
}

/* ---- fights ---- */

static uint64_t number_in(const char *name)
{
	int fd = open_file(name, O_RDONLY | O_CREAT);
	char text[32] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) < 0)
		die_errno("read", name);
	close(fd);
	return strtoull(text, NULL, 10);
}

static void put_number(const char *name, uint64_t n)
{
	int fd = open_file(name, O_WRONLY);
	char text[32];

	snprintf(text, sizeof(text), "%020llu", (unsigned long long)n);
	write_at(fd, text, 20, 0, name);
	if (close(fd))
		die_errno("close", name);
}

/*
 * Nobody holds the files open, so that they are delegated to and fro; the lock is of another file
 * and says whose turn it is. A stale number would be counted twice.
 */
static int fight(const char *dir, int64_t seconds)
{
	struct stream s = { (uint64_t)getpid() };
	uint64_t seen[NUMBERS] = { 0 }, end = now_ns() + (uint64_t)seconds * 1000000000, n = 0;
	int lock;

	if (chdir(dir))
		die_errno("chdir", dir);
	lock = open_file("turns", O_RDWR | O_CREAT);
	while (now_ns() < end) {
		unsigned i = (unsigned)below(&s, NUMBERS);
		char name[32];
		uint64_t found;

		snprintf(name, sizeof(name), "number.%u", i);
		if (set_lock(lock, F_SETLKW, F_WRLCK, i, 1))
			die_errno("lock", "turns");
		found = number_in(name);
		if (found < seen[i])
			die("%s: %llu was %llu before", name, (unsigned long long)found,
			    (unsigned long long)seen[i]);
		if (below(&s, 3)) {
			put_number(name, ++found);
			n++;
		}
		seen[i] = found;
		if (number_in(name) != found)
			die("%s: what was written is not there", name);
		if (set_lock(lock, F_SETLK, F_UNLCK, i, 1))
			die_errno("unlock", "turns");
	}
	printf("%llu\n", (unsigned long long)n);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	if (argc == 3 && !strcmp(verb, "work")) {
		may_crash = true;
		return work(argv[2], KINDS - 1);
	}
	if (argc == 4 && !strcmp(verb, "work") && !strcmp(argv[3], "nameless"))
		return work(argv[2], KINDS);
	if (argc == 3 && !strcmp(verb, "pause"))
		return pause_of(number(argv[2]));
	if (argc == 3 && !strcmp(verb, "thief"))
		return thief(argv[2]);
	if (argc == 4 && !strcmp(verb, "fight"))
		return fight(argv[2], number(argv[3]));
	die("usage: cl-load work DIR [nameless], pause N, thief FILE, fight DIR SECONDS");
}

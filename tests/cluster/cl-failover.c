/*
 * The load of the failover tests, in a guest, on a mount of a virtual address.
 *
 *   cl-failover work DIR SECONDS    create, write, fsync, read, lock and unlock, over and over, one
 * operation after the other, and a lock held from the beginning to the end
 *   cl-failover rival DIR SECONDS   tries for that lock all the time; it must never get it
 *   cl-failover check DIR           are all the files as they were written?
 *
 * Both print one line: "longest_ms OPERATION operations", the longest operation and how many there
 * were; anything wrong ends them with a message and status 1. A third word after SECONDS is a file that
 * is made once the work has begun; they end early when it is removed.
 */
#include <time.h>

#include "tests/client/cl.h"

#define FILES 64
#define SIZE  4096

static double longest;
static const char *longest_name = "none";
static uint64_t operations;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static double began;

/* The operation since the last one has ended. */
static void done(const char *name)
{
	double t = now();

	operations++;
	if (t - began > longest) {
		longest = t - began;
		longest_name = name;
	}
	began = t;
}

static struct flock range(short type, off_t start, off_t length)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length };
}

static char *path_of(const char *dir, const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int open_in(const char *dir, const char *name, int flags)
{
	int fd = open(path_of(dir, name), flags, 0666);

	if (fd < 0)
		die_errno("open", path_of(dir, name));
	return fd;
}

/* A file says which one it is, how often it has been written, and the rest follows from that. */
static void fill(uint64_t *words, uint64_t file, uint64_t turn)
{
	words[0] = file;
	words[1] = turn;
	for (size_t i = 2; i < SIZE / sizeof(*words); i++)
		words[i] = (file * 1000003 + turn) * 6364136223846793005u + i;
}

static void check_file(const char *dir, uint64_t file, uint64_t turn)
{
	uint64_t got[SIZE / 8 + 1], want[SIZE / 8];
	char name[32];
	int fd;
	ssize_t n;

	snprintf(name, sizeof(name), "f%llu", (unsigned long long)file);
	fd = open_in(dir, name, O_RDONLY);
	n = read(fd, got, sizeof(got));
	if (n < 0)
		die_errno("read", name);
	if (close(fd))
		die_errno("close", name);
	fill(want, file, turn == UINT64_MAX ? got[1] : turn);
	if (n != SIZE || memcmp(got, want, SIZE))
		die("%s: %zd bytes, file %llu turn %llu; expected turn %llu", name, n,
		    (unsigned long long)got[0], (unsigned long long)got[1],
		    (unsigned long long)turn);
}

static void write_file(const char *dir, uint64_t file, uint64_t turn)
{
	uint64_t words[SIZE / 8];
	char name[32];
	int fd;

	snprintf(name, sizeof(name), "f%llu", (unsigned long long)file);
	fill(words, file, turn);
	fd = open_in(dir, name, O_WRONLY | O_CREAT | O_TRUNC);
	done("create");
	if (write(fd, words, SIZE) != SIZE)
		die_errno("write", name);
	if (fsync(fd))
		die_errno("fsync", name);
	done("write");
	if (close(fd))
		die_errno("close", name);
	done("close");
}

static void set_lock(int fd, short type, off_t start, const char *name)
{
	struct flock l = range(type, start, 10);

	if (fcntl(fd, F_SETLK, &l))
		die_errno(name, "toggle");
	done(name);
}

static void say_begun(const char *file)
{
	int fd = file ? open(file, O_WRONLY | O_CREAT, 0666) : -1;

	if (file && fd < 0)
		die_errno("open", file);
	if (fd >= 0)
		close(fd);
}

static bool go_on(double end, const char *begun)
{
	return began < end && (!begun || access(begun, F_OK) == 0);
}

static int report(void)
{
	printf("%.1f %s %llu\n", longest, longest_name, (unsigned long long)operations);
	return 0;
}

static int work(const char *dir, double seconds, const char *begun)
{
	struct flock hold = range(F_WRLCK, 0, 10);
	int held = open_in(dir, "held", O_RDWR | O_CREAT);
	int toggle = open_in(dir, "toggle", O_RDWR | O_CREAT);
	double end;
	uint64_t turn;

	if (fcntl(held, F_SETLK, &hold))
		die_errno("lock", "held");
	say_begun(begun);
	began = now();
	end = began + seconds * 1e3;
	for (turn = 0; go_on(end, begun); turn++) {
		write_file(dir, turn % FILES, turn);
		set_lock(toggle, F_WRLCK, (off_t)(turn % 100) * 10, "lock");
		check_file(dir, turn % FILES, turn);
		done("read");
		if (turn % 8 == 7) {
			char name[32];

			snprintf(name, sizeof(name), "f%llu", (unsigned long long)(turn % FILES));
			if (unlink(path_of(dir, name)))
				die_errno("unlink", name);
			done("unlink");
		}
		set_lock(toggle, F_UNLCK, (off_t)(turn % 100) * 10, "unlock");
	}
	for (uint64_t i = turn > FILES ? turn - FILES : 0; i < turn; i++)
		if (i % 8 != 7)
			check_file(dir, i % FILES, i);
	if (close(held))
		die_errno("close", "held");
	return report();
}

static int rival(const char *dir, double seconds, const char *begun)
{
	int fd = open_in(dir, "held", O_RDWR | O_CREAT);
	double end;

	say_begun(begun);
	began = now();
	end = began + seconds * 1e3;
	while (go_on(end, begun)) {
		struct flock l = range(F_WRLCK, 5, 1);

		if (fcntl(fd, F_SETLK, &l) == 0)
			die("got a lock that another client holds");
		if (errno != EAGAIN && errno != EACCES)
			die_errno("lock", "held");
		done("refusal");
	}
	return report();
}

static int check(const char *dir)
{
	for (uint64_t i = 0; i < FILES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "f%llu", (unsigned long long)i);
		if (access(path_of(dir, name), F_OK) == 0)
			check_file(dir, i, UINT64_MAX);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "work"))
		return work(argv[2], (double)number(argv[3]), argv[4]);
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "rival"))
		return rival(argv[2], (double)number(argv[3]), argv[4]);
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(argv[2]);
	die("usage: cl-failover work|rival DIR SECONDS [BEGUN], cl-failover check DIR");
}

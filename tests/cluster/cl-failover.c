/*
 * The load of the failover tests, in a guest, on a mount of a virtual address.
 *
 *   cl-failover work DIR BEGUN     the client whose node is stricken: create, write, fsync, read, lock
 *				    and unlock, over and over, one operation after the other, and a
 *				    lock held from the beginning to the end
 *   cl-failover others DIR BEGUN   a client of another node, as three processes: a thief who tries for
 *				    that lock all the time and must never get it; one who reads, writes
 *				    and asks for attributes of a file that it has open; and one who
 *				    opens, locks, unlocks and closes a file of its own
 *   cl-failover check DIR	    are all the files as they were written?
 *
 * BEGUN is a file that is made once the work has begun; they end when it is removed. Each operation is timed by
 * what the program waits for. They print lines:
 *
 *   slow SECONDS MS KIND	an operation that took SLOW_MS or more, and when it began; at once
 *   kind KIND COUNT MS		at the end: how many there were, and the longest
 *   anew COUNT			at the end: how often this machine has made itself known anew to a
 *				server, or said that it has reclaimed everything
 *   grief KIND TEXT		something is wrong (error, lost-lock, wrong-bytes): ends with status 1
 */
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "tests/client/cl.h"

#define FILES	64
#define SIZE	4096
#define SLOW_MS 40
#define REST_NS (2 * 1000 * 1000) /* after each turn: else they would take the processor from each other and the nodes */

/* ---- what is told ---- */

/* One write, so that lines of several processes do not mix; on the disk, so that the host sees it now. */
__attribute__((format(printf, 1, 2))) static void tell(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		exit(2);
	fsync(STDOUT_FILENO);
}

#define grief(kind, fmt, ...)                                                                      \
	do {                                                                                       \
		tell("grief " kind " " fmt "\n", ##__VA_ARGS__);                                   \
		exit(1);                                                                           \
	} while (0)
#define grief_errno(what, name) grief("error", "%s %s: %s", what, name, strerror(errno))

static double time_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static struct kind {
	const char *name;
	uint64_t count;
	double longest;
} kinds[16];

static double began, began_real;

static void start(void)
{
	began_real = time_of(CLOCK_REALTIME);
	began = time_of(CLOCK_MONOTONIC);
}

/* The operation since the last one, or since start(), has ended. */
static void done(const char *name)
{
	double took = time_of(CLOCK_MONOTONIC) - began;
	struct kind *k = kinds;

	while (k->name && strcmp(k->name, name))
		k++;
	k->name = name;
	k->count++;
	if (took > k->longest)
		k->longest = took;
	if (took >= SLOW_MS)
		tell("slow %.4f %.1f %s\n", began_real / 1e3, took, name);
	start();
}

static void tell_kinds(void)
{
	for (struct kind *k = kinds; k->name; k++)
		tell("kind %s %llu %.1f\n", k->name, (unsigned long long)k->count, k->longest);
}

/*
 * How many SETCLIENTID, SETCLIENTID_CONFIRM, EXCHANGE_ID, CREATE_SESSION and RECLAIM_COMPLETE this machine
 * has sent: the places in the line "proc4" are those of the kernel's list of client procedures
 * (include/linux/nfs4.h), after the number of them.
 */
static unsigned long known_anew(void)
{
	static const int places[] = { 12, 13, 38, 39, 43 };
	char line[2048];
	unsigned long sum = 0;
	FILE *f = fopen("/proc/net/rpc/nfs", "r");

	if (!f)
		grief_errno("open", "/proc/net/rpc/nfs");
	while (fgets(line, sizeof(line), f)) {
		char *p = line + strcspn(line, " ");

		if (strncmp(line, "proc4 ", 6))
			continue;
		strtoul(p, &p, 10);
		for (int place = 0, i = 0; i < 5 && *p; place++) {
			unsigned long count = strtoul(p, &p, 10);

			if (place == places[i]) {
				sum += count;
				i++;
			}
		}
	}
	fclose(f);
	return sum;
}

static void say_begun(const char *file)
{
	int fd = open(file, O_WRONLY | O_CREAT, 0666);

	if (fd < 0)
		grief_errno("open", file);
	close(fd);
}

static bool go_on(const char *begun)
{
	return access(begun, F_OK) == 0;
}

static void rest(void)
{
	const struct timespec ts = { .tv_nsec = REST_NS };

	nanosleep(&ts, NULL);
	start();
}

/* ---- files and locks ---- */

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
		grief_errno("open", name);
	return fd;
}

static void close_file(int fd, const char *name)
{
	if (close(fd))
		grief_errno("close", name);
}

/* A file says which one it is, how often it has been written, and the rest follows from that. */
static void fill(uint64_t *words, uint64_t file, uint64_t turn)
{
	words[0] = file;
	words[1] = turn;
	for (size_t i = 2; i < SIZE / sizeof(*words); i++)
		words[i] = (file * 1000003 + turn) * 6364136223846793005u + i;
}

static void compare(const char *name, const uint64_t *got, ssize_t n, uint64_t file, uint64_t turn)
{
	uint64_t want[SIZE / 8];

	fill(want, file, turn);
	if (n != SIZE || memcmp(got, want, SIZE))
		grief("wrong-bytes", "%s: %zd bytes, file %llu turn %llu; expected turn %llu", name, n,
		      (unsigned long long)got[0], (unsigned long long)got[1],
		      (unsigned long long)turn);
}

static void check_file(const char *dir, uint64_t file, uint64_t turn)
{
	uint64_t got[SIZE / 8 + 1] = { 0 };
	char name[32];
	int fd;
	ssize_t n;

	snprintf(name, sizeof(name), "f%llu", (unsigned long long)file);
	fd = open_in(dir, name, O_RDONLY);
	n = read(fd, got, sizeof(got));
	if (n < 0)
		grief_errno("read", name);
	close_file(fd, name);
	compare(name, got, n, file, turn == UINT64_MAX ? got[1] : turn);
}

static void set_lock(int fd, short type, off_t start, const char *name)
{
	struct flock l = range(type, start, 10);

	if (fcntl(fd, F_SETLK, &l))
		grief_errno(name, "own file");
	done(name);
}

/* ---- the client whose node is stricken ---- */

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
		grief_errno("write", name);
	if (fsync(fd))
		grief_errno("fsync", name);
	done("write");
	close_file(fd, name);
	done("close");
}

static void remove_file(const char *dir, uint64_t file)
{
	char name[32];

	snprintf(name, sizeof(name), "f%llu", (unsigned long long)file);
	if (unlink(path_of(dir, name)))
		grief_errno("unlink", name);
	done("unlink");
}

/* Below a lock that it has lost the client's kernel does not write. */
static void write_held(int fd, uint64_t turn)
{
	if (pwrite(fd, &turn, sizeof(turn), 0) != sizeof(turn) || fsync(fd))
		grief("lost-lock", "write to the file with the lock: %s", strerror(errno));
	done("write");
}

static int work(const char *dir, const char *begun)
{
	struct flock hold = range(F_WRLCK, 0, 10);
	int held = open_in(dir, "held", O_RDWR | O_CREAT);
	int toggle = open_in(dir, "toggle", O_RDWR | O_CREAT);
	unsigned long anew = known_anew();
	uint64_t turn;

	if (fcntl(held, F_SETLK, &hold))
		grief_errno("lock", "held");
	say_begun(begun);
	start();
	for (turn = 0; go_on(begun); turn++) {
		write_file(dir, turn % FILES, turn);
		set_lock(toggle, F_WRLCK, (off_t)(turn % 100) * 10, "lock");
		check_file(dir, turn % FILES, turn);
		done("read");
		if (turn % 8 == 7) {
			remove_file(dir, turn % FILES);
			write_held(held, turn);
		}
		set_lock(toggle, F_UNLCK, (off_t)(turn % 100) * 10, "unlock");
		rest();
	}
	write_held(held, turn);
	for (uint64_t i = turn > FILES ? turn - FILES : 0; i < turn; i++)
		if (i % 8 != 7)
			check_file(dir, i % FILES, i);
	close_file(held, "held");
	close_file(toggle, "toggle");
	tell_kinds();
	tell("anew %lu\n", known_anew() - anew);
	return 0;
}

/* ---- a client of another node ---- */

static int thief(const char *dir, const char *begun)
{
	int fd = open_in(dir, "held", O_RDWR | O_CREAT);

	start();
	while (go_on(begun)) {
		struct flock l = range(F_WRLCK, 5, 1);

		if (fcntl(fd, F_SETLK, &l) == 0)
			grief("lost-lock", "got the lock that another client holds");
		if (errno != EAGAIN && errno != EACCES)
			grief_errno("lock", "held");
		done("refusal");
		rest();
	}
	tell_kinds();
	return 0;
}

/* All of it goes to the server, and none of it changes what the client holds. */
static int data(const char *dir, const char *begun)
{
	static uint64_t words[SIZE / 8] __attribute__((aligned(SIZE)));
	int fd = open_in(dir, "data", O_RDWR | O_CREAT | O_DIRECT);
	struct statx sx;

	start();
	for (uint64_t turn = 0; go_on(begun); turn++) {
		ssize_t n;

		fill(words, FILES, turn);
		if (pwrite(fd, words, SIZE, 0) != SIZE)
			grief_errno("write", "data");
		done("write");
		memset(words, 0, sizeof(words));
		n = pread(fd, words, SIZE, 0);
		if (n < 0)
			grief_errno("read", "data");
		done("read");
		compare("data", words, n, FILES, turn);
		if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &sx) ||
		    sx.stx_size != SIZE)
			grief_errno("attributes", "data");
		done("getattr");
		rest();
	}
	close_file(fd, "data");
	tell_kinds();
	return 0;
}

static int locks(const char *dir, const char *begun)
{
	while (go_on(begun)) {
		int fd;

		start();
		fd = open_in(dir, "other", O_RDWR | O_CREAT);
		done("open");
		set_lock(fd, F_WRLCK, 0, "lock");
		set_lock(fd, F_UNLCK, 0, "unlock");
		close_file(fd, "other");
		done("close");
		rest();
	}
	tell_kinds();
	return 0;
}

static int others(const char *dir, const char *begun)
{
	static int (*const parts[])(const char *, const char *) = { thief, data, locks };
	unsigned long anew = known_anew();
	int worst = 0, status;

	say_begun(begun);
	for (int i = 0; i < 3; i++) {
		pid_t pid = fork();

		if (pid < 0)
			grief_errno("fork", "");
		if (pid == 0)
			exit(parts[i](dir, begun));
	}
	while (wait(&status) > 0)
		worst = status ? 1 : worst;
	tell("anew %lu\n", known_anew() - anew);
	return worst;
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
	if (argc == 4 && !strcmp(argv[1], "work"))
		return work(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "others"))
		return others(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "check"))
		return check(argv[2]);
	die("usage: cl-failover work|others DIR BEGUN, cl-failover check DIR");
}

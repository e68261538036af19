/*
 * Byte-range locks (fcntl) held by a process of their own.
 *
 *   cl-lock hold FILE r|w START LENGTH   takes the lock or fails at once; prints the holder's pid.
 * The holder has the lock when this returns, and keeps it until it is killed cl-lock wait FILE r|w
 * START LENGTH   waits for the lock and takes it, then lets go cl-lock test FILE r|w START LENGTH
 * "free", or "held TYPE START LENGTH" by someone cl-lock count FILE N                 N times: lock
 * the file, add one to the number in it, unlock cl-lock split FILE                   one process:
 * locks that split, merge, upgrade and reach the ends of the range
 *
 * LENGTH 0 is up to the end of the file, whatever it will be.
 */
#include <signal.h>

#include "cl.h"

static struct flock range(const char *type, int64_t start, int64_t length)
{
	struct flock l = { .l_whence = SEEK_SET, .l_start = start, .l_len = length };

	l.l_type = *type == 'r' ? F_RDLCK : *type == 'w' ? F_WRLCK : F_UNLCK;
	return l;
}

static int open_file(const char *name)
{
	int fd = open(name, O_RDWR | O_CREAT, 0666);

	if (fd < 0)
		die_errno("open", name);
	return fd;
}

static int hold(const char *name, struct flock l)
{
	int up[2];
	pid_t pid;
	char answer[128] = "";

	if (pipe(up))
		die_errno("pipe", "");
	pid = fork();
	if (pid < 0)
		die_errno("fork", "");
	if (pid == 0) {
		int fd = open_file(name);

		/* nothing may hold the caller's output open, it waits for its end */
		freopen("/dev/null", "r+", stdout);
		dup2(1, 2);
		setsid();
		if (fcntl(fd, F_SETLK, &l))
			dprintf(up[1], "%s", strerror(errno));
		else
			dprintf(up[1], "ok");
		close(up[1]);
		for (;;)
			pause();
	}
	close(up[1]);
	if (read(up[0], answer, sizeof(answer) - 1) < 0)
		die_errno("read", "pipe");
	if (strcmp(answer, "ok")) {
		kill(pid, SIGKILL);
		die("%s", answer);
	}
	printf("%d\n", (int)pid);
	return 0;
}

static int wait_for(const char *name, struct flock l)
{
	int fd = open_file(name);

	if (fcntl(fd, F_SETLKW, &l))
		die_errno("lock", name);
	puts("locked");
	return 0;
}

static int test(const char *name, struct flock l)
{
	int fd = open_file(name);

	if (fcntl(fd, F_GETLK, &l))
		die_errno("test lock", name);
	if (l.l_type == F_UNLCK)
		puts("free");
	else
		printf("held %s %lld %lld\n", l.l_type == F_RDLCK ? "r" : "w", (long long)l.l_start,
		       (long long)l.l_len);
	return 0;
}

static int count(const char *name, int64_t times)
{
	int fd = open_file(name);

	for (int64_t i = 0; i < times; i++) {
		struct flock l = range("w", 0, 0);
		char text[32] = "";

		if (fcntl(fd, F_SETLKW, &l))
			die_errno("lock", name);
		if (pread(fd, text, sizeof(text) - 1, 0) < 0)
			die_errno("read", name);
		snprintf(text, sizeof(text), "%020lld", atoll(text) + 1);
		if (pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text))
			die_errno("write", name);
		l.l_type = F_UNLCK;
		if (fcntl(fd, F_SETLK, &l))
			die_errno("unlock", name);
	}
	if (close(fd))
		die_errno("close", name);
	return 0;
}

static void set(int fd, const char *type, int64_t start, int64_t length)
{
	struct flock l = range(type, start, length);

	if (fcntl(fd, F_SETLK, &l))
		die("lock %s %lld %lld: %s", type, (long long)start, (long long)length,
		    strerror(errno));
}

/* What another process sees of our locks: the first one that conflicts with a write lock of the
 * range. */
static void seen(const char *name, int64_t start, int64_t length, const char *expected)
{
	char command[512], answer[128] = "";
	FILE *p;

	snprintf(command, sizeof(command), "exec cl-lock test %s w %lld %lld", name,
		 (long long)start, (long long)length);
	p = popen(command, "r");
	if (!p || !fgets(answer, sizeof(answer), p))
		die("cannot run %s", command);
	pclose(p);
	answer[strcspn(answer, "\n")] = 0;
	if (strcmp(answer, expected))
		die("%s: \"%s\", expected \"%s\"", command, answer, expected);
}

static int split(const char *name)
{
	int fd = open_file(name);

	set(fd, "w", 100, 100);
	seen(name, 0, 0, "held w 100 100");
	set(fd, "u", 140, 20); /* in two */
	seen(name, 0, 140, "held w 100 40");
	seen(name, 140, 20, "free");
	seen(name, 150, 0, "held w 160 40");
	set(fd, "r", 110, 10); /* a downgrade in the middle */
	seen(name, 105, 1, "held w 100 10");
	seen(name, 110, 10, "held r 110 10");
	seen(name, 120, 5, "held w 120 20");
	set(fd, "w", 100, 100); /* whole again */
	seen(name, 0, 0, "held w 100 100");
	set(fd, "w", 200, 0); /* up to the end of the file: joins */
	seen(name, 1000, 1, "held w 100 0");
	set(fd, "u", 1000, 0);
	seen(name, 1000, 0, "free");
	seen(name, 999, 1, "held w 100 900");
	set(fd, "u", 0, 0);
	seen(name, 0, 0, "free");
	set(fd, "w", INT64_MAX, 0); /* the last byte there can be */
	seen(name, INT64_MAX - 1, 1, "free");
	set(fd, "u", INT64_MAX, 0);
	set(fd, "w", INT64_MAX - 10, 5);
	seen(name, 0, 0, "held w 9223372036854775797 5");
	set(fd, "u", 0, 0);
	seen(name, 0, 0, "free");
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	if (argc == 4 && !strcmp(verb, "count"))
		return count(argv[2], number(argv[3]));
	if (argc == 3 && !strcmp(verb, "split"))
		return split(argv[2]);
	if (argc == 6) {
		struct flock l = range(argv[3], number(argv[4]), number(argv[5]));

		if (!strcmp(verb, "hold"))
			return hold(argv[2], l);
		if (!strcmp(verb, "wait"))
			return wait_for(argv[2], l);
		if (!strcmp(verb, "test"))
			return test(argv[2], l);
	}
	die("usage: cl-lock hold|wait|test FILE r|w START LENGTH, cl-lock count FILE N, cl-lock "
	    "split FILE");
}

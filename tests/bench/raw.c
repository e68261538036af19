/*
 * The time of raw system calls that an operation cannot avoid, on the file system that is exported:
 * CPU time of this thread, the least of a few rounds (anything above it was disturbed).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/lab.h"
#include "tests/bench/limit.h"
#include "tests/bench/tree.h"

#define RAW_DIR LAB_FS "/raw"
#define ROUNDS	5

static struct {
	int dir;     /* of RAW_DIR */
	int file;    /* read-write, FILE_BYTES */
	int path;    /* O_PATH of the same */
	int entries; /* a directory of ENTRIES files */
	char proc[32];
	struct file_handle *handle;
	char buffer[65536];
} lab;

#define FILE_BYTES (16u * MIB)

/* Each returns how many units it did, or -1. */

static int raw_getppid(void)
{
	return syscall(SYS_getppid) < 0 ? -1 : 1;
}

static int raw_statx(void)
{
	struct statx st;

	return statx(lab.path, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) ? -1 : 1;
}

static int raw_fstat(void)
{
	struct stat st;

	return fstat(lab.file, &st) ? -1 : 1;
}

static int raw_by_handle(void)
{
	int fd = open_by_handle_at(lab.dir, lab.handle, O_PATH | O_CLOEXEC);

	return fd < 0 || close(fd) ? -1 : 1;
}

static int raw_to_handle(void)
{
	int mount;

	return name_to_handle_at(lab.dir, "file", lab.handle, &mount, 0) ? -1 : 1;
}

static int raw_faccess(void)
{
	return faccessat(lab.dir, "file", R_OK, AT_EACCESS) ? -1 : 1;
}

static int raw_open_proc(void)
{
	int fd = open(lab.proc, O_RDONLY | O_CLOEXEC);

	return fd < 0 || close(fd) ? -1 : 1;
}

static off_t next_page(void)
{
	static unsigned at;

	at = at * 1103515245u + 12345u;
	return (off_t)(at >> 8) % (FILE_BYTES / PAGE) * PAGE;
}

static int raw_pread(void)
{
	return pread(lab.file, lab.buffer, PAGE, next_page()) == PAGE ? 1 : -1;
}

static int raw_pwrite(void)
{
	return pwrite(lab.file, lab.buffer, PAGE, next_page()) == PAGE ? 1 : -1;
}

static int raw_create(void)
{
	int fd = openat(lab.dir, "new", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	return fd < 0 || close(fd) || unlinkat(lab.dir, "new", 0) ? -1 : 1;
}

static int raw_lock(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100 };

	if (fcntl(lab.file, F_OFD_SETLK, &l) != 0)
		return -1;
	l.l_type = F_UNLCK;
	return fcntl(lab.file, F_OFD_SETLK, &l) ? -1 : 1;
}

/* The thread's own: glibc's setgroups would change the process. */
static int raw_credentials(void)
{
	static const gid_t groups[] = { 24, 27, 44, 100, 1000, 3000, 4000 };

	if (syscall(SYS_setgroups, 7, groups) != 0)
		return -1;
	setfsgid(1000);
	setfsuid(1000);
	setfsuid(0);
	setfsgid(0);
	return syscall(SYS_setgroups, 0, NULL) ? -1 : 1;
}

static int raw_readdir(void)
{
	struct statx st;
	int n = 0;

	if (lseek(lab.entries, 0, SEEK_SET) != 0)
		return -1;
	for (;;) {
		long got = syscall(SYS_getdents64, lab.entries, lab.buffer, sizeof(lab.buffer));

		if (got <= 0)
			return got < 0 ? -1 : n;
		for (long at = 0; at < got;) {
			struct dirent64 *d = (struct dirent64 *)(void *)(lab.buffer + at);

			if (statx(lab.entries, d->d_name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
				  &st))
				return -1;
			at += d->d_reclen;
			n++;
		}
	}
}

static struct {
	int (*run)(void);
	struct raw_cost cost;
} calls[] = {
	{ raw_getppid, { "getppid", "a bare system call", 0 } },
	{ raw_statx, { "statx", "of an O_PATH descriptor", 0 } },
	{ raw_fstat, { "fstat", "of an open file", 0 } },
	{ raw_by_handle, { "open_by_handle_at", "O_PATH, and close", 0 } },
	{ raw_to_handle, { "name_to_handle_at", "of a name in a directory", 0 } },
	{ raw_faccess, { "faccessat", "of a name in a directory", 0 } },
	{ raw_open_proc, { "open-proc-fd", "open of /proc/self/fd/N, and close", 0 } },
	{ raw_pread, { "pread-4k", "4 KiB at random, page cache", 0 } },
	{ raw_pwrite, { "pwrite-4k", "4 KiB at random, page cache", 0 } },
	{ raw_create, { "create-unlink", "open of a new file, close, unlink", 0 } },
	{ raw_readdir, { "getdents+statx", "per entry of 10,000", 0 } },
	{ raw_lock, { "ofd-lock", "F_OFD_SETLK lock and unlock", 0 } },
	{ raw_credentials, { "credentials", "setgroups setfsgid setfsuid, there and back", 0 } },
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* us of one, at best; -1 if it fails. */
static double measure(int (*run)(void), double seconds)
{
	double best = -1;

	for (int round = 0; round < ROUNDS; round++) {
		double began = cpu_ns(), spent = 0, units = 0, us;

		for (unsigned i = 0; spent < seconds / ROUNDS * 1e9; i++) {
			int n = run();

			if (n < 0)
				return -1;
			units += n;
			if (i % 64 == 0 || n > 1)
				spent = cpu_ns() - began;
		}
		us = (cpu_ns() - began) / units / 1e3;
		if (best < 0 || us < best)
			best = us;
	}
	return best;
}

static int prepare(void)
{
	int mount;

	if (mkdir(RAW_DIR, 0755) != 0 || mkdir(RAW_DIR "/entries", 0755) != 0)
		return -1;
	lab.dir = open(RAW_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lab.entries = open(RAW_DIR "/entries", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lab.file = open(RAW_DIR "/file", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	lab.path = open(RAW_DIR "/file", O_PATH | O_CLOEXEC);
	if (lab.dir < 0 || lab.entries < 0 || lab.file < 0 || lab.path < 0)
		return -1;
	snprintf(lab.proc, sizeof(lab.proc), "/proc/self/fd/%d", lab.path);
	for (off_t at = 0; at < FILE_BYTES; at += MIB) {
		if (pwrite(lab.file, page_data(0, 0, 0), MIB, at) != MIB)
			return -1;
	}
	for (unsigned i = 0; i < ENTRIES; i++) {
		char name[32];
		int fd;

		snprintf(name, sizeof(name), "entry-%05u", i);
		fd = openat(lab.entries, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
		if (fd < 0 || close(fd) != 0)
			return -1;
	}
	lab.handle = malloc(sizeof(*lab.handle) + MAX_HANDLE_SZ);
	if (!lab.handle)
		return -1;
	lab.handle->handle_bytes = MAX_HANDLE_SZ;
	return name_to_handle_at(lab.dir, "file", lab.handle, &mount, 0);
}

const struct raw_cost *raw_measure(double seconds_each)
{
	static struct raw_cost costs[CALLS + 1];

	if (prepare() != 0) {
		fprintf(stderr, "bench: preparing %s: %s\n", RAW_DIR, strerror(errno));
		return NULL;
	}
	for (size_t i = 0; i < CALLS; i++) {
		costs[i] = calls[i].cost;
		costs[i].us = measure(calls[i].run, seconds_each);
		if (costs[i].us < 0) {
			fprintf(stderr, "bench: %s: %s\n", costs[i].name, strerror(errno));
			return NULL;
		}
	}
	free(lab.handle);
	close(lab.dir);
	close(lab.entries);
	close(lab.file);
	close(lab.path);
	return costs;
}

/*
 * To be preloaded: a file system that does not answer. While the first number (8 bytes, the
 * machine's order) in the file that ATOLL_STUCK names is not 0, nobody who closes a file whose name
 * begins with ATOLL_STUCK_NAME comes back. The second one counts who waits.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct {
	_Atomic int64_t stuck, waiting;
} * shared;
static const char *name;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("ATOLL_STUCK");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED
			 : mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	name = getenv("ATOLL_STUCK_NAME");
	if (p != MAP_FAILED && name)
		shared = p;
}

static void wait_for(int fd)
{
	const struct timespec look = { .tv_nsec = 5000000 };
	char link[64], path[4096], *last;
	ssize_t n;

	if (!shared || !atomic_load(&shared->stuck) || (fcntl(fd, F_GETFL) & O_PATH))
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = '\0';
	last = strrchr(path, '/');
	if (!last || strncmp(last + 1, name, strlen(name)) != 0)
		return;
	atomic_fetch_add(&shared->waiting, 1);
	while (atomic_load(&shared->stuck))
		nanosleep(&look, NULL);
	atomic_fetch_sub(&shared->waiting, 1);
}

int close(int fd)
{
	wait_for(fd);
	return (int)syscall(SYS_close, fd);
}

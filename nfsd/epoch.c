#include "nfsd/epoch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

#define EPOCH_FILE "epoch"

static int fail(struct config_error *err, const char *dir, const char *doing)
{
	int code = errno ? -errno : -EIO;

	*err = (struct config_error){ 0 };
	snprintf(err->file, sizeof(err->file), "%.200s/" EPOCH_FILE, dir);
	snprintf(err->message, sizeof(err->message), "cannot %s: %s; the state directory must be "
		 "writable, or name another one (state-dir, --state)", doing, strerror(-code));
	return code;
}

/*
 * The file's two numbers: of the last instance, and of the last one that has served. 0: none, or a
 * file that says nothing. -errno.
 */
static int read_last(int dir_fd, uint32_t *last, uint32_t *served)
{
	char text[32] = "";
	int fd = openat(dir_fd, EPOCH_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	*last = *served = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	if (sscanf(text, "%" SCNu32 " %" SCNu32, last, served) == 1)
		*served = *last;
	return 0;
}

/* A crash leaves the old file or the new one, never half of it. */
static int write_new(int dir_fd, uint32_t epoch, uint32_t served)
{
	static const char temporary[] = EPOCH_FILE ".new";
	char text[32];
	int len = snprintf(text, sizeof(text), "%" PRIu32 " %" PRIu32 "\n", epoch, served);
	int fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int rc = -1;

	if (fd < 0)
		return -1;
	errno = EIO;
	if (write(fd, text, (size_t)len) == len && fsync(fd) == 0)
		rc = 0;
	close(fd);
	if (rc == 0)
		rc = renameat(dir_fd, temporary, dir_fd, EPOCH_FILE);
	return rc == 0 ? fsync(dir_fd) : rc;
}

bool epoch_has_earlier(const char *state_dir)
{
	struct stat st;
	char *path;
	bool found;

	/* When in doubt there was one: then nobody's state is forgotten. */
	if (asprintf(&path, "%s/" EPOCH_FILE, state_dir) < 0)
		return true;
	found = stat(path, &st) == 0 || errno != ENOENT;
	free(path);
	return found;
}

int epoch_next(const char *state_dir, uint32_t *epoch, uint32_t *served, struct config_error *err)
{
	uint32_t now = (uint32_t)(clock_real_ns() / NS_PER_SEC), last;
	int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	if (dir_fd < 0)
		return fail(err, state_dir, "open the directory");
	if (read_last(dir_fd, &last, served) != 0)
		rc = fail(err, state_dir, "read");
	*epoch = now > last ? now : last + 1;
	if (rc == 0 && write_new(dir_fd, *epoch, *served) != 0)
		rc = fail(err, state_dir, "write");
	close(dir_fd);
	return rc;
}

int epoch_raise(const char *state_dir, uint32_t epoch, struct config_error *err)
{
	int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	uint32_t last, served;

	if (dir_fd < 0)
		return fail(err, state_dir, "open the directory");
	if (read_last(dir_fd, &last, &served) != 0)
		rc = fail(err, state_dir, "read");
	if (rc == 0 && last < epoch && write_new(dir_fd, epoch, served) != 0)
		rc = fail(err, state_dir, "write");
	close(dir_fd);
	return rc;
}

int epoch_serve(const char *state_dir, uint32_t epoch, struct config_error *err)
{
	int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;

	uint32_t last, served;

	if (dir_fd < 0)
		return fail(err, state_dir, "open the directory");
	if (read_last(dir_fd, &last, &served) != 0 || last < epoch)
		last = epoch; /* else it has been raised */
	if (write_new(dir_fd, last, epoch) != 0)
		rc = fail(err, state_dir, "write");
	close(dir_fd);
	return rc;
}

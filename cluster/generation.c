#include "cluster/generation.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

#define NAME "cluster-generation"

static int path_of(const char *state_dir, const char *suffix, char path[PATH_MAX])
{
	int n = snprintf(path, PATH_MAX, "%s/" NAME "%s", state_dir, suffix);

	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

void generation_load(const char *state_dir, struct memory *m)
{
	struct generation *d = &m->decided, *s = &m->served;
	char path[PATH_MAX];
	FILE *f;

	*m = (struct memory){ 0 };
	if (path_of(state_dir, "", path) != 0)
		return;
	f = fopen(path, "re");
	if (!f) {
		if (errno != ENOENT)
			log_warn("cannot read %s: %s", path, strerror(errno));
		return;
	}
	if (fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &d->created,
		   &d->id, &d->epoch, &s->created, &s->id, &s->epoch) != 6) {
		log_warn("%s is damaged; going on without it", path);
		*m = (struct memory){ 0 };
	}
	fclose(f);
}

static int write_file(const char *path, const struct memory *m)
{
	const struct generation *d = &m->decided, *s = &m->served;
	char text[160];
	int len = snprintf(text, sizeof(text),
			   "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			   d->created, d->id, d->epoch, s->created, s->id, s->epoch);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int err = 0;

	if (fd < 0)
		return -errno;
	errno = EIO;
	if (write(fd, text, (size_t)len) != len || fsync(fd) != 0)
		err = -errno;
	if (close(fd) != 0 && !err)
		err = -errno;
	return err;
}

static int sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err;

	if (fd < 0)
		return -errno;
	err = fsync(fd) == 0 ? 0 : -errno;
	close(fd);
	return err;
}

int generation_store(const char *state_dir, const struct memory *m)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	int err = path_of(state_dir, "", path);

	if (!err)
		err = path_of(state_dir, ".new", tmp);
	if (!err)
		err = write_file(tmp, m);
	if (!err && rename(tmp, path) != 0)
		err = -errno;
	return err ? err : sync_directory(state_dir);
}

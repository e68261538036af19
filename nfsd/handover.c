#include "nfsd/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "nfsd/state/snapshot.h"

#define SNAPSHOT_FILE "snapshot"
#define TEMPORARY     SNAPSHOT_FILE ".new"

static int open_dir(const char *state_dir)
{
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static const char *reason(int err)
{
	switch (err) {
	case -EBADMSG:
		return "it is damaged";
	case -EPROTONOSUPPORT:
		return "another version of Atoll wrote it";
	default:
		return strerror(-err);
	}
}

int handover_read(struct state *state, struct drc *drc, const char *state_dir, uint64_t served)
{
	int dir_fd = open_dir(state_dir), fd, err;

	if (dir_fd < 0)
		return dir_fd;
	fd = openat(dir_fd, SNAPSHOT_FILE, O_RDONLY | O_CLOEXEC);
	err = fd < 0 ? -errno : state_load(state, fd, served);
	/* Without it a client's worst is to hear that what it had made exists. */
	if (!err && drc_load(drc, fd) != 0)
		log_warn("%s/" SNAPSHOT_FILE ": what was answered last is not known", state_dir);
	if (fd >= 0)
		close(fd);
	close(dir_fd);
	if (err == -ESTALE) {
		log_warn("%s/" SNAPSHOT_FILE " is not from the last instance that served and is "
			 "ignored", state_dir);
		err = -ENOENT;
	} else if (err && err != -ENOENT) {
		log_error("%s/" SNAPSHOT_FILE " cannot be used: %s; clients have to reclaim what "
			  "they hold", state_dir, reason(err));
	}
	return err;
}

/* A crash leaves a whole snapshot or none. */
static int write_file(struct state *state, struct drc *drc, int dir_fd, uint64_t instance)
{
	int fd = openat(dir_fd, TEMPORARY, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), err;

	if (fd < 0)
		return -errno;
	err = state_save(state, fd, instance);
	if (!err)
		err = drc_save(drc, fd);
	if (!err && fsync(fd) != 0)
		err = -errno;
	if (close(fd) != 0 && !err)
		err = -errno;
	if (!err && (renameat(dir_fd, TEMPORARY, dir_fd, SNAPSHOT_FILE) != 0 || fsync(dir_fd) != 0))
		err = -errno;
	if (err)
		unlinkat(dir_fd, TEMPORARY, 0);
	return err;
}

void handover_write(struct state *state, struct drc *drc, const char *state_dir, uint64_t instance)
{
	int dir_fd, err;

	/* Who has reclaimed so far would be unsaid; stable storage knows who may go on with it. */
	if (state_in_grace(state)) {
		log_info("stopped in the grace period: the next start begins another one");
		return;
	}
	dir_fd = open_dir(state_dir);
	err = dir_fd < 0 ? dir_fd : write_file(state, drc, dir_fd, instance);
	if (err)
		log_error("%s/" SNAPSHOT_FILE " cannot be written: %s; clients will have to reclaim "
			  "what they hold", state_dir, strerror(-err));
	if (dir_fd >= 0)
		close(dir_fd);
}

void handover_remove(const char *state_dir)
{
	int dir_fd = open_dir(state_dir);

	if (dir_fd < 0)
		return;
	unlinkat(dir_fd, SNAPSHOT_FILE, 0);
	close(dir_fd);
}

/*
 * Verifiers of exclusive creation (RFC 7530 section 16.16.5, RFC 8881 section 18.16.3).
 *
 * A file made exclusively remembers its verifier in an extended attribute, so that a client that
 * asks again, even after a restart, is told that the file is its own. (Servers without extended
 * attributes keep it in the file's times, to everybody's confusion.) trusted.* can be read and
 * written by the server only; where a file system has no such thing, user.*; where it has none of
 * these, a table in memory of the last VERIFIERS made, which a restart forgets.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>
#include <stdio.h>

#include "backends/vfs/vfs.h"

#define VERIFIERS 1024

static const char *const names[] = { "trusted.atoll.verifier", "user.atoll.verifier" };

static struct mutex lock = MUTEX_INITIALIZER;
static struct {
	const struct vfs_export *export;
	uint64_t dev, ino;
	int64_t btime_sec;
	uint32_t btime_nsec;
	uint8_t verifier[BACKEND_VERIFIER_LEN];
} remembered[VERIFIERS] GUARDED_BY(lock);
static unsigned next_slot GUARDED_BY(lock);

static int identify(int fd, struct statx *sx)
{
	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, sx) < 0)
		return -errno;
	if (!(sx->stx_mask & STATX_BTIME))
		memset(&sx->stx_btime, 0, sizeof(sx->stx_btime));
	return 0;
}

static uint64_t device(const struct statx *sx)
{
	return (uint64_t)sx->stx_dev_major << 32 | sx->stx_dev_minor;
}

static int remember(struct vfs_export *exp, int fd, const uint8_t *verifier)
{
	struct statx sx;
	int err = identify(fd, &sx);

	if (err)
		return err;
	mutex_lock(&lock);
	remembered[next_slot].export = exp;
	remembered[next_slot].dev = device(&sx);
	remembered[next_slot].ino = sx.stx_ino;
	remembered[next_slot].btime_sec = sx.stx_btime.tv_sec;
	remembered[next_slot].btime_nsec = sx.stx_btime.tv_nsec;
	memcpy(remembered[next_slot].verifier, verifier, BACKEND_VERIFIER_LEN);
	next_slot = (next_slot + 1) % VERIFIERS;
	mutex_unlock(&lock);
	return 0;
}

static bool remembers(struct vfs_export *exp, int fd, const uint8_t *verifier)
{
	struct statx sx;
	bool found = false;

	if (identify(fd, &sx) < 0)
		return false;
	mutex_lock(&lock);
	for (unsigned i = 0; i < VERIFIERS && !found; i++)
		found = remembered[i].export == exp && remembered[i].dev == device(&sx) &&
			remembered[i].ino == sx.stx_ino &&
			remembered[i].btime_sec == sx.stx_btime.tv_sec &&
			remembered[i].btime_nsec == sx.stx_btime.tv_nsec &&
			memcmp(remembered[i].verifier, verifier, BACKEND_VERIFIER_LEN) == 0;
	mutex_unlock(&lock);
	return found;
}

bool vfs_verifier_is_kept_in(const char *user_name)
{
	static const char prefix[] = "user.";

	return strcmp(names[1] + sizeof(prefix) - 1, user_name) == 0;
}

int vfs_verifier_store(struct vfs_export *exp, int fd, const uint8_t *verifier)
{
	int err = vfs_assume_privileged();

	if (err)
		return err;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (fsetxattr(fd, names[i], verifier, BACKEND_VERIFIER_LEN, 0) == 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != EPERM)
			return -errno;
	}
	return remember(exp, fd, verifier);
}

bool vfs_verifier_matches(struct vfs_object *obj, const uint8_t *verifier)
{
	uint8_t value[BACKEND_VERIFIER_LEN];
	char path[32];

	if (vfs_assume_privileged() < 0)
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", obj->fd);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (getxattr(path, names[i], value, sizeof(value)) == sizeof(value))
			return memcmp(value, verifier, sizeof(value)) == 0;
	}
	return remembers(vfs_object_export(obj), obj->fd, verifier);
}

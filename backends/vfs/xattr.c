/*
 * Extended attributes: those of the namespace user.* (xattr(7)), by system calls on the object's
 * descriptor, as the caller. Names go without the prefix; those of other namespaces (ACLs, labels,
 * capabilities) are neither shown nor to be had.
 *
 * The calls take no O_PATH descriptor, so they are given its name in /proc, which leads to the very
 * object. Who may list the attributes of an object the kernel does not care; as everywhere with
 * NFS it is who may read it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "backends/vfs/vfs.h"

#define PREFIX	   "user."
#define PREFIX_LEN (sizeof(PREFIX) - 1)

struct target {
	char path[32];
	char name[PREFIX_LEN + XATTR_NAME_MOST + 1];
};

bool vfs_has_xattrs(int fd)
{
	/* That there is none of this name is an answer, too; so is that it must not be read. */
	return fgetxattr(fd, PREFIX "atoll.any", NULL, 0) >= 0 || errno != EOPNOTSUPP;
}

static int find_target(const struct vfs_object *obj, struct target *t)
{
	if (obj->base.type != FILE_REGULAR && obj->base.type != FILE_DIRECTORY)
		return -EPERM;
	if (!obj->mount->xattrs)
		return -EOPNOTSUPP;
	snprintf(t->path, sizeof(t->path), "/proc/self/fd/%d", obj->fd);
	return 0;
}

/* The same for one attribute, with the caller's identity. */
static int begin(const struct vfs_object *obj, const struct cred *cred, const char *name,
		 struct target *t)
{
	int err = find_target(obj, t);

	if (err)
		return err;
	if (vfs_verifier_is_kept_in(name))
		return -EPERM;
	if ((size_t)snprintf(t->name, sizeof(t->name), PREFIX "%s", name) >= sizeof(t->name))
		return -ENAMETOOLONG;
	return vfs_assume(cred);
}

int vfs_getxattr(struct object *base, const struct cred *cred, const char *name, void *buf,
		 size_t cap, size_t *len)
{
	struct target t;
	int err = begin(vfs_object(base), cred, name, &t);
	ssize_t got;

	if (err)
		return err;
	got = getxattr(t.path, t.name, buf, cap);
	if (got < 0)
		return -errno;
	*len = (size_t)got;
	return 0;
}

/* It has happened: only the storage can still fail it. */
static int finish(struct vfs_object *obj, struct dir_change *change)
{
	int err = vfs_settle(obj);

	vfs_change_after(obj, change);
	return err;
}

int vfs_setxattr(struct object *base, const struct cred *cred, const char *name, const void *value,
		 size_t len, enum xattr_mode mode, struct dir_change *change)
{
	static const int flags[] = { [XATTR_SET_EITHER] = 0,
				     [XATTR_SET_NEW] = XATTR_CREATE,
				     [XATTR_SET_OLD] = XATTR_REPLACE };
	struct vfs_object *obj = vfs_object(base);
	struct target t;
	int err = begin(obj, cred, name, &t);

	if (err)
		return err;
	vfs_change_before(obj, change);
	if (setxattr(t.path, t.name, value, len, flags[mode]) < 0)
		return -errno;
	return finish(obj, change);
}

int vfs_removexattr(struct object *base, const struct cred *cred, const char *name,
		    struct dir_change *change)
{
	struct vfs_object *obj = vfs_object(base);
	struct target t;
	int err = begin(obj, cred, name, &t);

	if (err)
		return err;
	vfs_change_before(obj, change);
	if (removexattr(t.path, t.name) < 0)
		return -errno;
	return finish(obj, change);
}

/* Leaves those of user.* in the list, without the prefix; its length. */
static size_t keep_users(char *names, size_t len)
{
	size_t kept = 0;

	for (size_t at = 0, one; at < len; at += one) {
		one = strnlen(names + at, len - at - 1) + 1;
		if (one <= PREFIX_LEN || memcmp(names + at, PREFIX, PREFIX_LEN) != 0 ||
		    vfs_verifier_is_kept_in(names + at + PREFIX_LEN))
			continue;
		memmove(names + kept, names + at + PREFIX_LEN, one - PREFIX_LEN);
		kept += one - PREFIX_LEN;
	}
	return kept;
}

int vfs_listxattr(struct object *base, const struct cred *cred, char buf[XATTR_NAMES_MOST],
		  size_t *len)
{
	struct vfs_object *obj = vfs_object(base);
	unsigned granted = 0;
	struct target t;
	ssize_t got;
	int err = find_target(obj, &t);

	if (!err)
		err = vfs_access(base, cred, ACCESS_READ, &granted);
	if (err)
		return err;
	if (!granted)
		return -EACCES;
	got = listxattr(t.path, buf, XATTR_NAMES_MOST);
	if (got < 0)
		return -errno;
	*len = keep_users(buf, (size_t)got);
	return 0;
}

/*
 * Directories: finding, making and removing names, always by *at() on the directory's descriptor
 * with the caller's identity.
 *
 * The change attribute before and after an operation is read around it, with nothing that keeps
 * others (local processes, other clients) from changing the directory in between: it is
 * reported as not atomic. A lock in this process would make it true of ourselves only.
 *
 * In a synchronous export (the default) an operation answers when its effect is on stable
 * storage, which takes an fsync of the directory (settle.c). That covers the new entry
 * and what it names, as journalling file systems commit the directory's change with all that it
 * depends on. Ownership, mode and times set on symlinks and special files, which cannot be opened,
 * are left to the file system's own pace.
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"

#define MODE_DIRECTORY 0700 /* when the caller names none */
#define MODE_FILE      0600

/* ---- change and stability ---- */

void vfs_change_before(struct vfs_object *dir, struct dir_change *change)
{
	change->atomic = false;
	if (vfs_change_of(dir, &change->before) < 0)
		change->before = 0;
}

void vfs_change_after(struct vfs_object *dir, struct dir_change *change)
{
	if (vfs_change_of(dir, &change->after) < 0)
		change->after = change->before;
}

/*
 * Ends an operation that changed `dir`: it happened, so only the storage can still fail it, now or
 * when the caller has it settled.
 */
static int finish(struct vfs_object *dir, struct dir_change *change)
{
	int err = vfs_settle_names(dir, change);

	vfs_change_after(dir, change);
	return err;
}

/* ---- finding ---- */

int vfs_lookup(struct object *dir, const struct cred *cred, const char *name, struct object **out)
{
	struct vfs_object *obj;
	int err;

	if (dir->type != FILE_DIRECTORY)
		return dir->type == FILE_SYMLINK ? -ELOOP : -ENOTDIR;
	err = vfs_assume(cred);
	if (!err)
		err = vfs_object_at(vfs_object(dir), name, &obj);
	if (!err)
		*out = &obj->base;
	return err;
}

/* What tells one directory from all others of the system. */
struct place {
	uint64_t mnt_id, ino;
	uint32_t dev_major, dev_minor;
};

static int place_of(int fd, struct place *p)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &sx) < 0)
		return -errno;
	*p = (struct place){ sx.stx_mnt_id, sx.stx_ino, sx.stx_dev_major, sx.stx_dev_minor };
	return 0;
}

static bool same_place(const struct place *a, const struct place *b)
{
	return a->mnt_id == b->mnt_id && a->ino == b->ino && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor;
}

/*
 * -ENOENT unless `fd` is the export's root or below it. A private clone needs no check: the
 * kernel refuses to go above its root, also for directories moved out of it.
 */
static int check_inside(struct vfs_export *exp, int fd)
{
	struct place root, here, up;
	int err, next, at = -1;

	if (exp->clone)
		return 0;
	err = place_of(exp->root->fd, &root);
	if (!err)
		err = place_of(fd, &here);
	while (!err && !same_place(&here, &root)) {
		next = openat(at < 0 ? fd : at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (at >= 0)
			close(at);
		at = next;
		if (at < 0) {
			err = -errno;
			break;
		}
		err = place_of(at, &up);
		if (!err && same_place(&up, &here))
			err = -ENOENT; /* the top of everything, and the root was not met */
		here = up;
	}
	if (at >= 0)
		close(at);
	return err;
}

int vfs_lookup_parent(struct object *base, const struct cred *cred, struct object **out)
{
	struct vfs_export *exp = vfs_export(base->export);
	struct vfs_object *dir = vfs_object(base), *parent;
	int fd, err;

	if (base->type != FILE_DIRECTORY)
		return base->type == FILE_SYMLINK ? -ELOOP : -ENOTDIR;
	if (dir == exp->root)
		return -ENOENT;
	err = vfs_assume(cred);
	if (err)
		return err;
	fd = openat(dir->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	err = vfs_assume_privileged();
	if (!err)
		err = check_inside(exp, fd);
	if (err) {
		close(fd);
		return err;
	}
	err = vfs_object_from_fd(exp, fd, &parent);
	if (err)
		return err;
	/* A deleted directory, or the top of the file system, is its own parent. */
	if (parent == dir) {
		object_unref(&parent->base);
		return -ENOENT;
	}
	*out = &parent->base;
	return 0;
}

int vfs_readlink(struct object *base, const struct cred *cred, char *buf, size_t cap, size_t *len)
{
	ssize_t n;

	if (base->type != FILE_SYMLINK)
		return -EINVAL;
	n = readlinkat(vfs_object(base)->fd, "", buf, cap);
	if (n < 0)
		return -errno;
	if ((size_t)n == cap)
		return -ENAMETOOLONG; /* it may have been cut */
	*len = (size_t)n;
	return 0;
}

/* ---- making ---- */

static int make(int dir, const char *name, const struct create_args *args, mode_t mode)
{
	static const mode_t kinds[] = {
		[FILE_BLOCK] = S_IFBLK,
		[FILE_CHAR] = S_IFCHR,
		[FILE_SOCKET] = S_IFSOCK,
		[FILE_FIFO] = S_IFIFO,
	};
	int r;

	switch (args->type) {
	case FILE_DIRECTORY:
		r = mkdirat(dir, name, mode);
		break;
	case FILE_SYMLINK:
		r = symlinkat(args->target, dir, name);
		break;
	case FILE_BLOCK:
	case FILE_CHAR:
	case FILE_SOCKET:
	case FILE_FIFO:
		r = mknodat(dir, name, kinds[args->type] | mode,
			    makedev(args->rdev_major, args->rdev_minor));
		break;
	default:
		return -EINVAL;
	}
	return r < 0 ? -errno : 0;
}

/*
 * The attributes that remain to be set once the object was made with `mode`: setuid and setgid of
 * a directory, which mkdir ignores, and those bits again where a change of owner clears them.
 */
static struct attr_set remaining(const struct create_args *args)
{
	struct attr_set rest = args->attrs;

	rest.mask &= ~(uint32_t)(ATTR_SET_SIZE | ATTR_SET_MODE);
	if (args->type == FILE_SYMLINK || !(args->attrs.mask & ATTR_SET_MODE))
		return rest;
	if ((args->attrs.mask & (ATTR_SET_UID | ATTR_SET_GID)) ||
	    (args->type == FILE_DIRECTORY && (args->attrs.mode & (S_ISUID | S_ISGID))))
		rest.mask |= ATTR_SET_MODE;
	return rest;
}

/* Made for another owner or group: nobody but the maker has permissions until it is theirs. */
static bool starts_private(const struct create_args *args)
{
	return (args->attrs.mask & (ATTR_SET_UID | ATTR_SET_GID)) &&
	       (args->attrs.mask & ATTR_SET_MODE) && !args->attrs.has_umask;
}

static int finish_made(struct vfs_object *obj, const struct create_args *args)
{
	struct attr_set rest = remaining(args);
	struct statx sx;
	uint32_t done;

	if (rest.mask == 0)
		return 0;
	if (rest.mask & ATTR_SET_MODE) {
		/* With umask or a default ACL the permission bits are those the kernel has chosen. */
		if (statx(obj->fd, "", AT_EMPTY_PATH, STATX_MODE, &sx) < 0)
			return -errno;
		rest.mode = (args->attrs.mode & 07000) |
			    (starts_private(args) ? args->attrs.mode & 0777 : sx.stx_mode & 0777);
		if (args->type == FILE_DIRECTORY)
			rest.mode |= sx.stx_mode & S_ISGID; /* inherited */
	}
	return vfs_apply(vfs_object_export(obj), obj->fd, -1, &rest, &done);
}

static void take_back(struct vfs_object *dir, const char *name, const struct create_args *args)
{
	unlinkat(dir->fd, name, args->type == FILE_DIRECTORY ? AT_REMOVEDIR : 0);
}

int vfs_create(struct object *base, const struct cred *cred, const char *name,
	       const struct create_args *args, struct dir_change *change, struct object **out)
{
	struct vfs_object *dir = vfs_object(base), *obj;
	mode_t mode = args->type == FILE_DIRECTORY ? MODE_DIRECTORY : MODE_FILE;
	int err;

	if (base->type != FILE_DIRECTORY)
		return -ENOTDIR;
	if (args->attrs.mask & ATTR_SET_MODE)
		mode = args->attrs.mode & (starts_private(args) ? 0700 : 07777);
	vfs_change_before(dir, change);
	err = vfs_assume(cred);
	if (err)
		return err;
	vfs_umask(args->attrs.has_umask ? args->attrs.umask & 0777 : 0);
	err = make(dir->fd, name, args, mode);
	vfs_umask(0);
	if (err)
		return err;
	err = vfs_object_at(dir, name, &obj);
	if (err) {
		take_back(dir, name, args);
		return err;
	}
	err = finish_made(obj, args);
	if (err) {
		take_back(dir, name, args);
		vfs_object_unlinked(obj);
		goto fail;
	}
	if (remaining(args).mask != 0)
		err = vfs_settle(obj);
	if (!err)
		err = finish(dir, change);
	if (err)
		goto fail;
	*out = &obj->base;
	return 0;
fail:
	object_unref(&obj->base);
	return err;
}

int vfs_link(struct object *obj, struct object *dir, const struct cred *cred, const char *name,
	     struct dir_change *change)
{
	struct vfs_fd_name from = vfs_fd_name(vfs_object(obj)->fd);
	struct vfs_object *to = vfs_object(dir);
	int err;

	if (dir->type != FILE_DIRECTORY)
		return -ENOTDIR;
	vfs_change_before(to, change);
	err = vfs_assume(cred);
	if (err)
		return err;
	if (linkat(vfs_proc_fd(), from.text, to->fd, name, AT_SYMLINK_FOLLOW) < 0)
		return -errno;
	return finish(to, change);
}

/* ---- removing ---- */

/*
 * The object of `name` if it is in memory, because it may be about to lose its last name; NULL if
 * it is not, and then there is nothing to be done about it.
 */
static struct vfs_object *known_object(struct vfs_object *dir, const char *name)
{
	struct vfs_export *exp = vfs_object_export(dir);
	struct vfs_object *obj;
	struct backend_handle h;

	if (vfs_handle_at(dir, name, &h) < 0)
		return NULL;
	/* A parked file needs an object to come back to once the name is gone: see lost_name(). */
	if (vfs_files_parked() && vfs_object_at(dir, name, &obj) == 0)
		return obj;
	return vfs_object_find(exp, h.bytes, h.len);
}

static void lost_name(struct vfs_object *obj)
{
	if (!obj)
		return;
	vfs_object_unlinked(obj);
	/* Files without a name are not parked again, so this ends. */
	if (atomic_load(&obj->unlinked))
		vfs_files_revive(&obj->handle);
	object_unref(&obj->base);
}

int vfs_remove(struct object *base, const struct cred *cred, const char *name,
	       struct dir_change *change)
{
	struct vfs_object *dir = vfs_object(base), *victim;
	int err, r;

	if (base->type != FILE_DIRECTORY)
		return -ENOTDIR;
	vfs_change_before(dir, change);
	err = vfs_assume(cred);
	if (err)
		return err;
	victim = known_object(dir, name);
	r = unlinkat(dir->fd, name, 0);
	if (r < 0 && errno == EISDIR)
		r = unlinkat(dir->fd, name, AT_REMOVEDIR);
	if (r < 0)
		err = -errno;
	lost_name(victim);
	return err ? err : finish(dir, change);
}

/*
 * Two names of one file, or one name: there is nothing to do (RFC 8881 section 18.26.3). A file without another
 * link has no other name, whatever number the file system gives it.
 */
static bool names_one(struct vfs_object *source, const char *from_name, struct vfs_object *target,
		      const char *to_name)
{
	struct statx a, b;
	const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
	const unsigned mask = STATX_TYPE | STATX_NLINK | STATX_INO | STATX_MNT_ID;

	if (source == target && strcmp(from_name, to_name) == 0)
		return statx(source->fd, from_name, flags, STATX_INO, &a) == 0;
	return statx(source->fd, from_name, flags, mask, &a) == 0 &&
	       statx(target->fd, to_name, flags, mask, &b) == 0 && !S_ISDIR(a.stx_mode) &&
	       a.stx_nlink > 1 && a.stx_ino == b.stx_ino && a.stx_mnt_id == b.stx_mnt_id &&
	       a.stx_dev_major == b.stx_dev_major && a.stx_dev_minor == b.stx_dev_minor;
}

int vfs_rename(struct object *from, const char *from_name, struct object *to, const char *to_name,
	       const struct cred *cred, struct dir_change *from_change,
	       struct dir_change *to_change)
{
	struct vfs_object *source = vfs_object(from), *target = vfs_object(to), *victim;
	int err;

	if (from->type != FILE_DIRECTORY || to->type != FILE_DIRECTORY)
		return -ENOTDIR;
	vfs_change_before(source, from_change);
	vfs_change_before(target, to_change);
	err = vfs_assume(cred);
	if (err)
		return err;
	/* The kernel does not touch the directories then, which change.c cannot always see. */
	if (source->mount->granularity != 0 && names_one(source, from_name, target, to_name)) {
		to_change->after = to_change->before;
		from_change->after = from_change->before;
		return 0;
	}
	victim = known_object(target, to_name);
	if (renameat(source->fd, from_name, target->fd, to_name) < 0)
		err = -errno;
	lost_name(victim);
	if (err)
		return err;
	err = finish(target, to_change);
	if (source == target) {
		*from_change = *to_change;
		return err;
	}
	if (!err)
		err = finish(source, from_change);
	return err;
}

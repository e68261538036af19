/*
 * The mounts of an export and what identifies their file systems.
 *
 * An export without crossmnt works on a private clone of its mount (open_tree(2)): nothing is
 * mounted upon the clone, so what lies beneath mount points shows; and as the clone's root is the
 * exported directory, the kernel itself refuses to go above it. Where there is no clone to be had
 * (old kernel, no CAP_SYS_ADMIN), objects on other mounts are recognised and refused.
 *
 * An export with crossmnt works on the mounts as they are. Those below are found when
 * somebody steps onto one or shows a handle of one, by reading /proc/self/mountinfo if it has
 * changed since the last time, and forgotten again when they have no objects, so that unmounting
 * them is held up for no longer than vfs_mounts_trim() takes to come by.
 *
 * The identity of a file system goes into handles, so it has to be the same after a reboot and on
 * every node: the administrator's fsid if there is one, else what the file system has of its own
 * (the UUID of XFS; what statfs reports for ext4 and btrfs, made of the UUID; a UUID by
 * ioctl), and only for want of these its device number. Methods that every kernel has come first,
 * so that a new kernel does not change the identity.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/hash.h"
#include "base/log.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* XFS_IOC_FSGEOMETRY_V1 of the kernel's XFS interface; only the UUID matters here. */
struct xfs_geometry {
	uint32_t sizes[8];
	uint64_t counts[4];
	uint8_t uuid[16];
	uint32_t rest[7];
};
_Static_assert(sizeof(struct xfs_geometry) == 112, "the size is part of the ioctl's number");
#define XFS_GEOMETRY _IOR('X', 100, struct xfs_geometry)

/* FS_IOC_GETFSUUID, Linux 6.9. */
struct fs_uuid {
	uint8_t len;
	uint8_t uuid[16];
};
#ifndef FS_IOC_GETFSUUID
#define FS_IOC_GETFSUUID _IOR(0x15, 0, struct fs_uuid)
#endif

/* A key that is the same everywhere and for ever: identities are made with it. */
static const struct siphash_key identity_key = { 0x61746f6c6c2d6673u, 0x6964656e74697479u };

static uint64_t fsid_value(const struct statfs *st)
{
	uint32_t half[2];

	_Static_assert(sizeof(st->f_fsid) == sizeof(half), "fsid of 64 bits");
	memcpy(half, &st->f_fsid, sizeof(half));
	return (uint64_t)half[1] << 32 | half[0];
}

/* Many file systems have nothing better to report as their fsid than the device. */
static bool fsid_is_device(uint64_t fsid, dev_t dev)
{
	uint64_t kernel_dev =
	    (minor(dev) & 0xff) | (uint64_t)major(dev) << 8 | (uint64_t)(minor(dev) & ~0xffu) << 12;

	return fsid == kernel_dev || fsid == dev;
}

static uint64_t identity(int fd, const struct statfs *st, dev_t dev)
{
	struct xfs_geometry xfs;
	struct fs_uuid uuid;
	uint64_t fsid = fsid_value(st);

	if (st->f_type == XFS_SUPER_MAGIC && ioctl(fd, XFS_GEOMETRY, &xfs) == 0)
		return siphash(&identity_key, xfs.uuid, sizeof(xfs.uuid));
	if (fsid != 0 && !fsid_is_device(fsid, dev))
		return siphash(&identity_key, &fsid, sizeof(fsid));
	if (ioctl(fd, FS_IOC_GETFSUUID, &uuid) == 0 && uuid.len == sizeof(uuid.uuid))
		return siphash(&identity_key, uuid.uuid, sizeof(uuid.uuid));
	fsid = (uint64_t)dev;
	return siphash(&identity_key, &fsid, sizeof(fsid));
}

void vfs_fsid(const struct vfs_mount *mount, int fd, dev_t dev, uint64_t *major_out,
	      uint64_t *minor_out)
{
	struct statfs st;

	*major_out = mount->fsid_major;
	*minor_out = mount->fsid_minor;
	if (dev == mount->dev)
		return;
	if (fstatfs(fd, &st) == 0 && fsid_value(&st) != 0)
		*minor_out = fsid_value(&st);
	else
		*minor_out = dev;
}

uint64_t vfs_subvolume(const struct vfs_mount *mount, int fd, dev_t dev, uint64_t ino)
{
	struct btrfs_ioctl_ino_lookup_args args = { .objectid = BTRFS_FIRST_FREE_OBJECTID };
	struct vfs_fd_name name = vfs_fd_name(fd);
	bool was_privileged = vfs_privileged();
	uint64_t id = 0;
	int dir;

	if (likely(dev == mount->dev) || mount->fs_type != BTRFS_SUPER_MAGIC ||
	    ino != BTRFS_FIRST_FREE_OBJECTID || vfs_assume_privileged() < 0)
		return 0;
	dir = openat(vfs_proc_fd(), name.text, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0 && ioctl(dir, BTRFS_IOC_INO_LOOKUP, &args) == 0)
		id = args.treeid;
	if (dir >= 0)
		close(dir);
	if (!was_privileged)
		vfs_drop_privileges();
	return id;
}

static void mount_free(struct vfs_mount *m)
{
	if (m->fd >= 0)
		close(m->fd);
	vfs_handles_free(m);
	free(m);
}

void vfs_mount_unref(struct vfs_mount *m)
{
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		mount_free(m);
}

/* True if the kernel can name the object by a handle and find it again. */
static int handles_work(const struct vfs_mount *m, int path_fd)
{
	union {
		struct file_handle h;
		char room[sizeof(struct file_handle) + VFS_KERNEL_HANDLE];
	} u = { .h.handle_bytes = VFS_KERNEL_HANDLE };
	int mnt_id, fd;

	if (name_to_handle_at(path_fd, "", &u.h, &mnt_id, AT_EMPTY_PATH) < 0)
		return -errno;
	fd = open_by_handle_at(m->fd, &u.h, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Describes the mount whose root (or, for an export's own, whose exported directory) is `path_fd`. */
static int mount_new(struct vfs_export *exp, int path_fd, struct vfs_mount **out)
{
	struct vfs_mount *m = calloc(1, sizeof(*m));
	struct statfs st;
	struct statx sx;
	int err;

	if (!m)
		return -ENOMEM;
	m->refs = 1;
	list_init(&m->link);
	m->fd = vfs_reopen(exp, path_fd, O_RDONLY | O_NONBLOCK);
	if (m->fd < 0) {
		err = m->fd;
		goto fail;
	}
	if (fstatfs(m->fd, &st) < 0 ||
	    statx(path_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &sx) < 0) {
		err = -errno;
		goto fail;
	}
	m->mnt_id = sx.stx_mnt_id;
	m->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	m->fs_type = st.f_type;
	m->one_commit = vfs_commits_all(st.f_type, m->dev);
	m->granularity = vfs_granularity(path_fd, st.f_type);
	m->xattrs = vfs_has_xattrs(m->fd);
	m->covered_fileid = sx.stx_ino;
	m->id = identity(m->fd, &st, m->dev);
	m->fsid_major = m->id;
	err = handles_work(m, path_fd);
	if (err)
		goto fail;
	*out = m;
	return 0;
fail:
	mount_free(m);
	return err;
}

/* The inode number of the directory that is mounted upon at `path`. */
static int covered_fileid(const char *path, uint64_t *fileid)
{
	const char *slash = strrchr(path, '/');
	char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	struct statx sx;
	int dir, beneath, err = 0;

	if (!parent)
		return -ENOMEM;
	dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(parent);
	if (dir < 0)
		return -errno;
	/* On a clone of the parent's mount nothing is mounted, so what is beneath shows. */
	beneath = open_tree(dir, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (beneath < 0 ||
	    statx(beneath, slash + 1, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_INO, &sx) < 0)
		err = -errno;
	else
		*fileid = sx.stx_ino;
	if (beneath >= 0)
		close(beneath);
	close(dir);
	return err;
}

static struct vfs_mount *find_mnt_id(struct vfs_export *exp, uint64_t mnt_id)
    REQUIRES_SHARED(&exp->mounts_lock)
{
	struct vfs_mount *m;

	list_for_each (m, &exp->mounts, link) {
		if (m->mnt_id == mnt_id)
			return m;
	}
	return NULL;
}

static struct vfs_mount *find_id(struct vfs_export *exp, uint64_t id)
    REQUIRES_SHARED(&exp->mounts_lock)
{
	struct vfs_mount *m;

	list_for_each (m, &exp->mounts, link) {
		if (m->id == id)
			return m;
	}
	return NULL;
}

/* Two file systems that claim the same identity are told apart by where they are mounted. */
static void make_unique(struct vfs_export *exp, struct vfs_mount *m, const char *path)
    REQUIRES(&exp->mounts_lock)
{
	const struct vfs_mount *other = find_id(exp, m->id);

	if (!other || other->dev == m->dev)
		return;
	log_warn("the file system at %s has the identity of another one in the export %s "
		 "(a copy?); its filehandles hold only as long as it is mounted there",
		 path, exp->path);
	m->id ^= siphash(&identity_key, path, strlen(path));
	m->fsid_major = m->id;
}

/* What may be better the next time: want of descriptors or memory says nothing of the mount. */
static bool passes(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -EINTR;
}

/* 0, also if the mount cannot be part of the export; -errno: look again. */
static int register_below(struct vfs_export *exp, uint64_t mnt_id, const char *path)
    REQUIRES(&exp->mounts_lock)
{
	struct vfs_mount *m;
	struct statx sx;
	int err = 0, fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return passes(-errno) ? -errno : 0;
	/* The path may lead to another mount, on top of the one looked for: that one is hidden. */
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 || sx.stx_mnt_id != mnt_id) {
		close(fd);
		return 0;
	}
	err = mount_new(exp, fd, &m);
	close(fd);
	if (err) {
		log_debug("%s, below the export %s, cannot be part of it: %s", path, exp->path,
			  strerror(-err));
		return passes(err) ? err : 0;
	}
	m->below = true;
	make_unique(exp, m, path);
	err = covered_fileid(path, &m->covered_fileid);
	if (err)
		log_debug("what %s is mounted on cannot be seen: %s", path, strerror(-err));
	list_push_back(&exp->mounts, &m->link);
	return 0;
}

/* mountinfo writes blanks and backslashes as \ooo. In place. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; to++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*to = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to = *s++;
		}
	}
	*to = '\0';
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(path, top, len) == 0 && path[len] == '/' && path[len + 1] != '\0';
}

/* 0, or -errno if a mount may have been missed. */
static int scan(struct vfs_export *exp) REQUIRES(&exp->mounts_lock)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *path = NULL;
	size_t cap = 0;
	uint64_t id;
	int err = 0, one;

	if (!f)
		return -errno;
	while (getline(&line, &cap, f) > 0) {
		free(path);
		path = NULL;
		/* 36 35 98:0 /root /mount/point options... */
		if (sscanf(line, "%" SCNu64 " %*u %*s %*s %ms", &id, &path) != 2)
			continue;
		unescape(path);
		if (!is_below(path, exp->path) || find_mnt_id(exp, id))
			continue;
		one = register_below(exp, id, path);
		err = one ? one : err;
	}
	if (ferror(f))
		err = -EIO;
	free(path);
	free(line);
	fclose(f);
	return err;
}

/* Looks for mounts that are not known yet, unless there can be none. */
static void scan_if_changed(struct vfs_export *exp) REQUIRES(&exp->mounts_lock)
{
	struct pollfd p = { .fd = exp->mountinfo, .events = POLLPRI };
	bool was_privileged = vfs_privileged();

	if (!exp->crossmnt)
		return;
	if (poll(&p, 1, 0) == 1 && (p.revents & (POLLPRI | POLLERR)))
		exp->rescan = true;
	if (!exp->rescan || vfs_assume_privileged() < 0)
		return;
	exp->rescan = scan(exp) != 0;
	if (!was_privileged)
		vfs_drop_privileges();
}

static struct vfs_mount *mount_ref(struct vfs_mount *m)
{
	if (m)
		atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

struct vfs_mount *vfs_mount_by_id(struct vfs_export *exp, uint64_t id)
{
	struct vfs_mount *m;

	rwlock_read(&exp->mounts_lock);
	m = mount_ref(find_id(exp, id));
	rwlock_read_unlock(&exp->mounts_lock);
	if (m || !exp->crossmnt)
		return m;
	blocking_section();
	rwlock_write(&exp->mounts_lock);
	scan_if_changed(exp);
	m = mount_ref(find_id(exp, id));
	rwlock_write_unlock(&exp->mounts_lock);
	return m;
}

struct vfs_mount *vfs_mount_by_mnt_id(struct vfs_export *exp, uint64_t mnt_id)
{
	struct vfs_mount *m;

	rwlock_read(&exp->mounts_lock);
	m = mount_ref(find_mnt_id(exp, mnt_id));
	rwlock_read_unlock(&exp->mounts_lock);
	if (m || !exp->crossmnt)
		return m;
	blocking_section();
	rwlock_write(&exp->mounts_lock);
	scan_if_changed(exp);
	m = mount_ref(find_mnt_id(exp, mnt_id));
	rwlock_write_unlock(&exp->mounts_lock);
	return m;
}

void vfs_mounts_trim(struct vfs_export *exp)
{
	struct vfs_mount *m, *tmp;

	if (!exp->crossmnt)
		return;
	rwlock_write(&exp->mounts_lock);
	list_for_each_safe (m, tmp, &exp->mounts, link) {
		if (m == exp->root_mount || atomic_load(&m->refs) > 1)
			continue;
		list_remove(&m->link);
		vfs_mount_unref(m);
		exp->rescan = true;
	}
	rwlock_write_unlock(&exp->mounts_lock);
}

/* A private clone of the mount with `path` as its root; -errno where that is not to be had. */
static int clone_tree(const char *path)
{
	struct mount_attr attr = { .propagation = MS_PRIVATE };
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0)
		return -errno;
	/* Otherwise what is mounted on the original might be mounted on the clone, too. */
	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

static int explain(const char *path, int err)
{
	if (err == -EOPNOTSUPP)
		log_error("%s cannot be exported: its file system has no file handles; export a "
			  "directory of another file system (ext4, xfs, btrfs, tmpfs have them)",
			  path);
	else if (err == -EOVERFLOW)
		log_error("%s cannot be exported: its file system's handles are longer than %d "
			  "bytes",
			  path, VFS_KERNEL_HANDLE);
	else if (err == -EPERM)
		log_error("%s cannot be exported: opening files by handle takes "
			  "CAP_DAC_READ_SEARCH; start the server as root",
			  path);
	else
		log_error("%s cannot be exported: %s", path, strerror(-err));
	return err;
}

int vfs_mounts_open(struct vfs_export *exp, int *root_fd)
{
	struct vfs_mount *m;
	int fd, err;

	rwlock_init(&exp->mounts_lock);
	list_init(&exp->mounts);
	exp->mountinfo = -1;
	exp->tree_fd = -1;
	err = vfs_assume_privileged();
	if (err)
		return explain(exp->path, err);
	if (!exp->crossmnt) {
		exp->tree_fd = clone_tree(exp->path);
		exp->clone = exp->tree_fd >= 0;
		if (!exp->clone)
			log_info("%s: no private clone of its mount (%s); what is mounted below "
				 "is hidden instead",
				 exp->path, strerror(-exp->tree_fd));
	} else {
		exp->rescan = true;
		exp->mountinfo = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
		if (exp->mountinfo < 0)
			return explain(exp->path, -errno);
	}
	fd = exp->clone ? openat(exp->tree_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC)
			: open(exp->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return explain(exp->path, -errno);
	err = mount_new(exp, fd, &m);
	if (err) {
		close(fd);
		return explain(exp->path, err);
	}
	if (exp->fsid) {
		m->id = siphash(&identity_key, exp->fsid, strlen(exp->fsid));
		m->fsid_major = m->id;
	}
	rwlock_write(&exp->mounts_lock);
	list_push_back(&exp->mounts, &m->link);
	rwlock_write_unlock(&exp->mounts_lock);
	exp->root_mount = m;
	*root_fd = fd;
	return 0;
}

void vfs_mounts_close(struct vfs_export *exp)
{
	struct vfs_mount *m, *tmp;

	list_for_each_safe (m, tmp, &exp->mounts, link) {
		list_remove(&m->link);
		vfs_mount_unref(m);
	}
	if (exp->tree_fd >= 0)
		close(exp->tree_fd);
	if (exp->mountinfo >= 0)
		close(exp->mountinfo);
	rwlock_destroy(&exp->mounts_lock);
}

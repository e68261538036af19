/*
 * Attributes: statx(2) on the object's descriptor and back.
 *
 * Setting several attributes takes several system calls, in an order in which none spoils the
 * permission or the effect of a later one: the size first (while the mode still permits writing),
 * then owner and group (which clear setuid and setgid), the mode, the times last (all
 * the others change them). Whatever was set before one failed is reported.
 */
#include <errno.h>
#include <linux/magic.h>
#include <linux/quota.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define STATX_WANTED (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

static struct timespec to_timespec(const struct statx_timestamp *t)
{
	return (struct timespec){ .tv_sec = t->tv_sec, .tv_nsec = t->tv_nsec };
}

/* Everything that does not depend on where the object is mounted. */
static void fill(const struct statx *sx, struct attr *a)
{
	a->type = vfs_type(sx->stx_mode);
	a->mode = sx->stx_mode & 07777;
	a->nlink = sx->stx_nlink;
	a->uid = sx->stx_uid;
	a->gid = sx->stx_gid;
	a->size = sx->stx_size;
	a->used = sx->stx_blocks * 512;
	a->rdev_major = sx->stx_rdev_major;
	a->rdev_minor = sx->stx_rdev_minor;
	a->atime = to_timespec(&sx->stx_atime);
	a->mtime = to_timespec(&sx->stx_mtime);
	a->ctime = to_timespec(&sx->stx_ctime);
	a->btime = to_timespec(&sx->stx_btime);
	if (!(sx->stx_mask & STATX_BTIME))
		a->btime.tv_nsec = -1;
	a->fileid = sx->stx_ino;
	a->mounted_on_fileid = sx->stx_ino;
}

int vfs_getattr(struct object *base, struct attr *out)
{
	struct vfs_object *obj = vfs_object(base);
	struct vfs_instant before = vfs_instant(obj->mount->granularity);
	struct statx sx;

	if (statx(obj->fd, "", AT_EMPTY_PATH, STATX_WANTED, &sx) < 0)
		return -errno;
	fill(&sx, out);
	out->change = vfs_change(obj->mount->granularity, &out->ctime, before);
	out->fsid_major = obj->fsid_major;
	out->fsid_minor = obj->fsid_minor;
	if (obj->covered_fileid)
		out->mounted_on_fileid = obj->covered_fileid;
	else if (obj->mount->below && (sx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
		out->mounted_on_fileid = obj->mount->covered_fileid;
	if (unlikely(sx.stx_nlink == 0))
		atomic_store_explicit(&obj->unlinked, true, memory_order_relaxed);
	return 0;
}

int vfs_change_of(struct vfs_object *obj, uint64_t *change)
{
	struct vfs_instant before = vfs_instant(obj->mount->granularity);
	struct timespec ctime;
	struct statx sx;

	if (statx(obj->fd, "", AT_EMPTY_PATH, STATX_CTIME, &sx) < 0)
		return -errno;
	ctime = to_timespec(&sx.stx_ctime);
	*change = vfs_change(obj->mount->granularity, &ctime, before);
	return 0;
}

static int stat_entry(struct vfs_object *dir, const char *name, struct statx *sx)
{
	if (statx(dir->fd, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_WANTED, sx) < 0)
		return -errno;
	return 0;
}

/* Attributes of an entry that is not simply on its directory's mount and device. */
static int getattr_elsewhere(struct vfs_object *dir, const char *name, struct attr *out)
{
	struct vfs_instant before = vfs_instant(1);
	struct vfs_mount *m;
	struct statx sx;
	dev_t dev;
	int fd, err = stat_entry(dir, name, &sx);

	if (err)
		return err;
	fill(&sx, out);
	dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	m = vfs_mount_by_mnt_id(vfs_object_export(dir), sx.stx_mnt_id);
	if (!m)
		return -EACCES;
	fd = dev == m->dev ? -1 : openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	vfs_fsid(m, fd, dev, &out->fsid_major, &out->fsid_minor);
	out->change = vfs_change(m->granularity, &out->ctime, before);
	if (fd >= 0)
		close(fd);
	vfs_mount_unref(m);
	return 0;
}

int vfs_getattr_at(struct vfs_object *dir, const char *name, uint64_t dirent_ino, struct attr *out,
		   struct backend_handle *handle)
{
	struct vfs_mount *m = dir->mount;
	struct vfs_instant before = vfs_instant(m->granularity);
	struct statx sx;
	dev_t dev;
	int err = stat_entry(dir, name, &sx);

	if (err)
		return err;
	dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	/* On one mount, too, there may be several devices: btrfs's subvolumes. */
	if (unlikely(sx.stx_mnt_id != m->mnt_id || dev != dir->dev)) {
		err = getattr_elsewhere(dir, name, out);
		out->mounted_on_fileid = dirent_ino;
		return err || !handle ? err : vfs_handle_at(dir, name, handle);
	}
	fill(&sx, out);
	out->change = vfs_change(m->granularity, &out->ctime, before);
	out->fsid_major = dir->fsid_major;
	out->fsid_minor = dir->fsid_minor;
	if (!handle)
		return 0;
	/* Within a subvolume numbers repeat those of others. */
	if (dev != m->dev)
		return vfs_handle_at(dir, name, handle);
	return vfs_handle_of(dir, name, &sx, handle);
}

/* ---- setting ---- */

static int set_size(struct vfs_export *exp, int fd, int write_fd, uint64_t size)
{
	int own = -1, err = 0;

	if (size > INT64_MAX)
		return -EFBIG;
	if (write_fd < 0) {
		/* The kernel checks that the caller may write. */
		own = vfs_reopen(exp, fd, O_WRONLY | O_NONBLOCK);
		if (own < 0)
			return own;
		write_fd = own;
	}
	if (ftruncate(write_fd, (off_t)size) < 0)
		err = -errno;
	if (own >= 0)
		close(own);
	return err;
}

static int set_owner(int fd, const struct attr_set *set)
{
	uid_t uid = set->mask & ATTR_SET_UID ? set->uid : (uid_t)-1;
	gid_t gid = set->mask & ATTR_SET_GID ? set->gid : (gid_t)-1;

	if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return 0;
}

static int set_mode(int fd, uint32_t mode)
{
	struct vfs_fd_name name = vfs_fd_name(fd);

	if (fchmodat(vfs_proc_fd(), name.text, mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

static struct timespec time_to_set(const struct attr_set *set, uint32_t given, uint32_t now,
				   struct timespec value)
{
	if (set->mask & now)
		return (struct timespec){ .tv_nsec = UTIME_NOW };
	if (set->mask & given)
		return value;
	return (struct timespec){ .tv_nsec = UTIME_OMIT };
}

static int set_times(int fd, const struct attr_set *set)
{
	struct timespec times[2] = {
		time_to_set(set, ATTR_SET_ATIME, ATTR_SET_ATIME_NOW, set->atime),
		time_to_set(set, ATTR_SET_MTIME, ATTR_SET_MTIME_NOW, set->mtime),
	};

	if (utimensat(fd, "", times, AT_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

#define OWNER_BITS (ATTR_SET_UID | ATTR_SET_GID)
#define TIME_BITS  (ATTR_SET_ATIME | ATTR_SET_MTIME | ATTR_SET_ATIME_NOW | ATTR_SET_MTIME_NOW)

int vfs_apply(struct vfs_export *exp, int fd, int write_fd, const struct attr_set *set,
	      uint32_t *done)
{
	int err = 0;

	*done = 0;
	if (set->mask & ATTR_SET_SIZE) {
		err = set_size(exp, fd, write_fd, set->size);
		if (err)
			return err;
		*done |= ATTR_SET_SIZE;
	}
	if (set->mask & OWNER_BITS) {
		err = set_owner(fd, set);
		if (err)
			return err;
		*done |= set->mask & OWNER_BITS;
	}
	if (set->mask & ATTR_SET_MODE) {
		err = set_mode(fd, set->mode);
		if (err)
			return err;
		*done |= ATTR_SET_MODE;
	}
	if (set->mask & TIME_BITS) {
		err = set_times(fd, set);
		if (err)
			return err;
		*done |= set->mask & TIME_BITS;
	}
	return 0;
}

int vfs_setattr(struct object *base, struct file *file, const struct cred *cred,
		const struct attr_set *set, uint32_t *done)
{
	struct vfs_object *obj = vfs_object(base);
	struct vfs_file *f = file ? vfs_file(file) : NULL;
	int err, settled;

	*done = 0;
	if ((set->mask & ATTR_SET_SIZE) && base->type != FILE_REGULAR)
		return base->type == FILE_DIRECTORY ? -EISDIR : -EINVAL;
	if ((set->mask & ATTR_SET_MODE) && base->type == FILE_SYMLINK)
		return -EOPNOTSUPP;
	err = f ? vfs_file_use(f) : 0;
	if (err)
		return err;
	err = vfs_assume(cred);
	if (!err)
		err = vfs_apply(vfs_object_export(obj), obj->fd, f ? f->fd : -1, set, done);
	if (f)
		vfs_file_done(f);
	settled = *done && !set->lazy ? vfs_settle(obj) : 0;
	return err ? err : settled;
}

/* ---- permission ---- */

static int may(const struct vfs_object *obj, unsigned bits)
{
	int mode = (bits & ACCESS_READ ? R_OK : 0) | (bits & ACCESS_WRITE ? W_OK : 0) |
		   (bits & ACCESS_EXECUTE ? X_OK : 0);

	if (syscall(SYS_faccessat2, obj->fd, "", mode, AT_EMPTY_PATH | AT_EACCESS) < 0)
		return -errno;
	return 0;
}

static bool is_refusal(int err)
{
	return err == -EACCES || err == -EPERM || err == -EROFS || err == -ETXTBSY;
}

/* What is granted of `wanted`, more than one bit of which the whole has been refused. */
static int may_in_part(const struct vfs_object *obj, unsigned wanted, unsigned *granted)
{
	unsigned rest = wanted & (ACCESS_READ | ACCESS_WRITE);
	int err;

	/* Most often what can be read and written cannot be executed: that is settled by one call. */
	if ((wanted & ACCESS_EXECUTE) && rest) {
		err = may(obj, rest);
		if (err && !is_refusal(err))
			return err;
		if (!err) {
			*granted = rest;
			return 0;
		}
	}
	for (unsigned bit = ACCESS_READ; bit <= ACCESS_EXECUTE; bit <<= 1) {
		if (!(wanted & bit))
			continue;
		err = bit == rest ? -EACCES : may(obj, bit);
		if (err && !is_refusal(err))
			return err;
		if (!err)
			*granted |= bit;
	}
	return 0;
}

int vfs_access(struct object *base, const struct cred *cred, unsigned wanted, unsigned *granted)
{
	struct vfs_object *obj = vfs_object(base);
	unsigned got = 0;
	int err = vfs_assume(cred);

	if (err)
		return err;
	wanted &= ACCESS_READ | ACCESS_WRITE | ACCESS_EXECUTE;
	err = may(obj, wanted);
	if (!err)
		got = wanted;
	else if (!is_refusal(err))
		return err;
	else if (wanted & (wanted - 1))
		err = may_in_part(obj, wanted, &got);
	else
		err = 0;
	if (!err)
		*granted = got;
	return err;
}

/* ---- file systems ---- */

static void limits_of(long fs_type, uint64_t block, struct fs_info *out)
{
	out->max_file_size = INT64_MAX;
	switch (fs_type) {
	case EXT4_SUPER_MAGIC:
		/* Extents count blocks in 32 bits. */
		out->max_file_size = block * UINT32_MAX;
		out->max_link = 65000;
		break;
	case XFS_SUPER_MAGIC:
		out->max_link = INT32_MAX;
		break;
	case BTRFS_SUPER_MAGIC:
		out->max_link = 65535;
		break;
	case TMPFS_MAGIC:
		out->max_link = INT32_MAX;
		break;
	default:
		out->max_link = 32000;
		break;
	}
}

/* QCMD of the kernel's header shifts into the sign. */
#define GET_USER_QUOTA ((unsigned)Q_GETQUOTA << SUBCMDSHIFT | USRQUOTA)

/* What the user may still use, where quotas are on; otherwise there is nothing to report. */
static void quota_of(const struct vfs_object *obj, const struct cred *cred, struct fs_info *out)
{
	struct if_dqblk dq = { 0 };
	uint64_t used, soft, hard;

	if (vfs_assume_privileged() < 0 ||
	    syscall(SYS_quotactl_fd, obj->mount->fd, GET_USER_QUOTA, cred->uid, &dq) < 0)
		return;
	used = dq.dqb_curspace;
	soft = dq.dqb_bsoftlimit * QIF_DQBLKSIZE;
	hard = dq.dqb_bhardlimit * QIF_DQBLKSIZE;
	if (hard == 0)
		return; /* no limit */
	out->has_quota = true;
	out->quota_used = used;
	out->quota_avail_hard = hard > used ? hard - used : 0;
	out->quota_avail_soft = soft == 0 ? out->quota_avail_hard : soft > used ? soft - used : 0;
}

int vfs_statfs(struct object *base, const struct cred *cred, struct fs_info *out)
{
	struct vfs_object *obj = vfs_object(base);
	uint64_t block;
	struct statfs st;

	if (fstatfs(obj->fd, &st) < 0)
		return -errno;
	block = (uint64_t)(st.f_frsize ? st.f_frsize : st.f_bsize);
	*out = (struct fs_info){
		.bytes_total = st.f_blocks * block,
		.bytes_free = st.f_bfree * block,
		.bytes_avail = st.f_bavail * block,
		.files_total = st.f_files,
		.files_free = st.f_ffree,
		.files_avail = st.f_ffree,
		.max_name = (uint32_t)st.f_namelen,
		.time_delta = obj->mount->granularity >= NS_PER_SEC
				  ? (struct timespec){ .tv_sec = (time_t)(obj->mount->granularity /
									  NS_PER_SEC) }
				  : (struct timespec){ .tv_nsec = 1 },
		.case_preserving = true,
		.no_trunc = true,
		.chown_restricted = true,
		.has_links = true,
		.has_symlinks = true,
		.has_unique_handles = true,
		.can_set_time = true,
		.has_xattrs = obj->mount->xattrs,
	};
	limits_of(st.f_type, block, out);
	quota_of(obj, cred, out);
	return 0;
}

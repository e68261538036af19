/* Attributes and permissions of the memory backend, by POSIX's rules as Linux has them. */
#include <errno.h>
#include <sys/stat.h>

#include "backends/memory/memory.h"

static bool in_group(const struct cred *cred, gid_t gid)
{
	return cred_in_group(cred, gid);
}

int mem_permit(const struct mem_inode *inode, const struct cred *cred, unsigned access)
{
	unsigned shift, bits, wanted = 0;

	if (cred->uid == 0) {
		/* Root may do everything, but run only what somebody may run. */
		bool runs = inode->base.type == FILE_DIRECTORY || (inode->mode & 0111);

		return (access & ACCESS_EXECUTE) && !runs ? -EACCES : 0;
	}
	shift = cred->uid == inode->uid ? 6 : in_group(cred, inode->gid) ? 3 : 0;
	bits = (inode->mode >> shift) & 7;
	wanted |= access & ACCESS_READ ? 4 : 0;
	wanted |= access & ACCESS_WRITE ? 2 : 0;
	wanted |= access & ACCESS_EXECUTE ? 1 : 0;
	return (bits & wanted) == wanted ? 0 : -EACCES;
}

void mem_drop_privileges(struct mem_inode *inode, const struct cred *cred)
{
	if (cred && cred->uid == 0)
		return;
	inode->mode &= ~(uint32_t)S_ISUID;
	if (inode->mode & S_IXGRP)
		inode->mode &= ~(uint32_t)S_ISGID;
}

void mem_fill_attr(const struct mem_inode *inode, struct attr *a)
{
	*a = (struct attr){
		.type = inode->base.type,
		.mode = inode->mode,
		.nlink = inode->nlink,
		.uid = inode->uid,
		.gid = inode->gid,
		.size = inode->size,
		.used = inode->pages.count * PAGE_BYTES,
		.rdev_major = inode->rdev_major,
		.rdev_minor = inode->rdev_minor,
		.atime = inode->atime,
		.mtime = inode->mtime,
		.ctime = inode->ctime,
		.btime = inode->btime,
		.change = inode->change,
		.fileid = inode->fileid,
		.mounted_on_fileid = inode->fileid,
		.fsid_major = mem_export_of(inode)->fsid,
	};
}

int mem_getattr(struct object *obj, struct attr *out)
{
	struct mem_export *exp = mem_export(obj->export);

	mutex_lock(&exp->lock);
	mem_fill_attr(mem_inode(obj), out);
	mutex_unlock(&exp->lock);
	return 0;
}

static bool owns(const struct mem_inode *inode, const struct cred *cred)
{
	return cred->uid == 0 || cred->uid == inode->uid;
}

static int set_owner(struct mem_inode *inode, const struct cred *cred, const struct attr_set *set)
{
	uid_t uid = set->mask & ATTR_SET_UID ? set->uid : inode->uid;
	gid_t gid = set->mask & ATTR_SET_GID ? set->gid : inode->gid;

	if (cred->uid != 0) {
		if (cred->uid != inode->uid || uid != inode->uid)
			return -EPERM;
		if (gid != inode->gid && !in_group(cred, gid))
			return -EPERM;
	}
	inode->uid = uid;
	inode->gid = gid;
	if (inode->base.type != FILE_DIRECTORY)
		mem_drop_privileges(inode, NULL); /* root's chown takes them, too */
	return 0;
}

static int set_mode(struct mem_inode *inode, const struct cred *cred, uint32_t mode)
{
	if (inode->base.type == FILE_SYMLINK)
		return -EOPNOTSUPP;
	if (!owns(inode, cred))
		return -EPERM;
	inode->mode = mode & 07777;
	if (cred->uid != 0 && !in_group(cred, inode->gid))
		inode->mode &= ~(uint32_t)S_ISGID;
	return 0;
}

#define GIVEN (ATTR_SET_ATIME | ATTR_SET_MTIME)
#define NOW   (ATTR_SET_ATIME_NOW | ATTR_SET_MTIME_NOW)

static int set_times(struct mem_inode *inode, const struct cred *cred, const struct attr_set *set)
{
	/* Whoever may write may set both times to now; anything else is the owner's. */
	bool both_now = (set->mask & NOW) == NOW && !(set->mask & GIVEN);

	if (!owns(inode, cred)) {
		if (!both_now)
			return -EPERM;
		if (mem_permit(inode, cred, ACCESS_WRITE) < 0)
			return -EACCES;
	}
	if (set->mask & ATTR_SET_ATIME)
		inode->atime = set->atime;
	if (set->mask & ATTR_SET_MTIME)
		inode->mtime = set->mtime;
	if (set->mask & ATTR_SET_ATIME_NOW)
		inode->atime = mem_now();
	if (set->mask & ATTR_SET_MTIME_NOW)
		inode->mtime = mem_now();
	return 0;
}

static int set_size(struct mem_export *exp, struct mem_inode *inode, const struct cred *cred,
		    uint64_t size, bool writable) REQUIRES(&exp->lock)
{
	int err;

	if (inode->base.type != FILE_REGULAR)
		return inode->base.type == FILE_DIRECTORY ? -EISDIR : -EINVAL;
	if (!writable && mem_permit(inode, cred, ACCESS_WRITE) < 0)
		return -EACCES;
	err = mem_set_size(exp, inode, size);
	if (!err)
		mem_drop_privileges(inode, cred);
	return err;
}

int mem_apply(struct mem_export *exp, struct mem_inode *inode, const struct cred *cred,
	      const struct attr_set *set, bool writable, uint32_t *done)
{
	uint32_t owner = set->mask & (ATTR_SET_UID | ATTR_SET_GID);
	uint32_t times = set->mask & (GIVEN | NOW);
	int err = 0;

	*done = 0;
	if (set->mask & ATTR_SET_SIZE) {
		err = set_size(exp, inode, cred, set->size, writable);
		*done |= err ? 0 : ATTR_SET_SIZE;
	}
	if (!err && owner) {
		err = set_owner(inode, cred, set);
		*done |= err ? 0 : owner;
	}
	if (!err && (set->mask & ATTR_SET_MODE)) {
		err = set_mode(inode, cred, set->mode);
		*done |= err ? 0 : ATTR_SET_MODE;
	}
	if (!err && times) {
		err = set_times(inode, cred, set);
		*done |= err ? 0 : times;
	}
	if (*done)
		mem_touch(exp, inode);
	return err;
}

int mem_setattr(struct object *obj, struct file *file, const struct cred *cred,
		const struct attr_set *set, uint32_t *done)
{
	struct mem_export *exp = mem_export(obj->export);
	int err;

	mutex_lock(&exp->lock);
	err = mem_apply(exp, mem_inode(obj), cred, set, file != NULL, done);
	mutex_unlock(&exp->lock);
	return err;
}

int mem_access(struct object *obj, const struct cred *cred, unsigned wanted, unsigned *granted)
{
	struct mem_export *exp = mem_export(obj->export);
	unsigned got = 0;

	mutex_lock(&exp->lock);
	for (unsigned bit = ACCESS_READ; bit <= ACCESS_EXECUTE; bit <<= 1) {
		if ((wanted & bit) && mem_permit(mem_inode(obj), cred, bit) == 0)
			got |= bit;
	}
	mutex_unlock(&exp->lock);
	*granted = got;
	return 0;
}

int mem_statfs(struct object *obj, const struct cred *cred, struct fs_info *out)
{
	struct mem_export *exp = mem_export(obj->export);
	uint64_t used, files;

	mutex_lock(&exp->lock);
	used = exp->used;
	files = exp->inodes;
	mutex_unlock(&exp->lock);
	*out = (struct fs_info){
		.bytes_total = exp->max_bytes,
		.bytes_free = exp->max_bytes - used,
		.bytes_avail = exp->max_bytes - used,
		.files_total = files + (exp->max_bytes - used) / MEM_INODE_CHARGE,
		.files_free = (exp->max_bytes - used) / MEM_INODE_CHARGE,
		.files_avail = (exp->max_bytes - used) / MEM_INODE_CHARGE,
		.max_file_size = INT64_MAX,
		.max_name = MEM_NAME_MAX,
		.max_link = MEM_LINK_MAX,
		.time_delta = { .tv_nsec = 1 },
		.case_preserving = true,
		.no_trunc = true,
		.chown_restricted = true,
		.has_links = true,
		.has_symlinks = true,
		.has_unique_handles = true,
		.can_set_time = true,
		.has_xattrs = true,
	};
	return 0;
}

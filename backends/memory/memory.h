/*
 * memory: a file system in RAM. The reference of backend.h's semantics, written to be read: POSIX
 * permissions, sticky and setgid directories, hard links, rename, holes, exclusive creation.
 *
 * One mutex per export covers everything in it; no operation blocks. An inode lives as long as it
 * has a name or somebody has a reference: `refs` goes from 0 to 1 (found in the table) and to 0
 * only under that mutex. An export's contents end with it: its handles carry a number drawn when it
 * was opened, so that those of an earlier life are stale.
 *
 * The change attribute is one counter of the whole export; names change under the lock, so
 * directory changes are atomic.
 */
#pragma once

#include "backends/backend.h"
#include "backends/memory/pages.h"
#include "base/list.h"
#include "base/lock.h"

extern const struct backend memory_backend;

#define MEM_NAME_MAX	 255
#define MEM_TARGET_MAX	 4095
#define MEM_LINK_MAX	 65000
#define MEM_INODE_CHARGE 512 /* bytes that an inode counts for, and a name */
#define MEM_XATTR_CHARGE 64  /* an extended attribute, beside its name and value */

struct mem_inode {
	struct object base;
	uint64_t fileid; /* immutable, never used again */
	struct mem_inode *next_in_bucket;

	/* all under mem_export.lock */
	uint32_t mode, nlink;
	uid_t uid;
	gid_t gid;
	uint32_t rdev_major, rdev_minor;
	struct timespec atime, mtime, ctime, btime;
	uint64_t change;
	struct list xattrs; /* struct mem_xattr */
	/* files */
	uint64_t size;
	struct pages pages;
	bool has_verifier;
	uint8_t verifier[BACKEND_VERIFIER_LEN];
	/* symlinks */
	char *target;
	/* directories */
	struct mem_inode *parent; /* NULL: the root, or removed */
	void *names;		  /* tsearch(3) tree of mem_name by name */
	struct list order;	  /* the same by cookie */
	uint64_t next_cookie;
};

/* A directory entry, owned by its directory; counts in the inode's nlink. */
struct mem_name {
	struct list link; /* mem_inode.order */
	uint64_t cookie;
	struct mem_inode *inode;
	const char *name; /* in room */
	char room[];
};

struct mem_export {
	struct backend_export base;
	/* immutable */
	uint64_t life;
	uint64_t fsid;
	uint64_t max_bytes;
	uint64_t verifier;

	struct mutex lock;
	/* under lock */
	struct mem_inode **buckets;
	uint32_t bucket_mask, inodes;
	uint64_t used; /* bytes of pages, and charges */
	uint64_t next_fileid, last_change;
	struct mem_inode *root;
};

static inline struct mem_inode *mem_inode(struct object *obj)
{
	return container_of(obj, struct mem_inode, base);
}

static inline struct mem_export *mem_export(struct backend_export *exp)
{
	return container_of(exp, struct mem_export, base);
}

static inline struct mem_export *mem_export_of(const struct mem_inode *inode)
{
	return mem_export(inode->base.export);
}

/* ---- memory.c ---- */

/* A new inode without a name, with a reference; NULL: out of memory or space (*err says). */
struct mem_inode *mem_inode_new(struct mem_export *exp, enum file_type type, int *err)
    REQUIRES(&exp->lock);
/* Frees an inode that has neither name nor reference. */
void mem_inode_reap(struct mem_export *exp, struct mem_inode *inode) REQUIRES(&exp->lock);
struct timespec mem_now(void);
/* The inode was changed: new ctime and change attribute. */
void mem_touch(struct mem_export *exp, struct mem_inode *inode) REQUIRES(&exp->lock);
/* Takes `bytes` of the export's space; -ENOSPC. */
int mem_charge(struct mem_export *exp, uint64_t bytes) REQUIRES(&exp->lock);

/* ---- attr.c ---- */

int mem_permit(const struct mem_inode *inode, const struct cred *cred, unsigned access);
void mem_fill_attr(const struct mem_inode *inode, struct attr *out);
/* Sets attributes with cred's permission; `writable`: the size needs none. */
int mem_apply(struct mem_export *exp, struct mem_inode *inode, const struct cred *cred,
	      const struct attr_set *set, bool writable, uint32_t *done) REQUIRES(&exp->lock);
/* Writing by anybody but root takes setuid and setgid away. */
void mem_drop_privileges(struct mem_inode *inode, const struct cred *cred);
int mem_getattr(struct object *obj, struct attr *out);
int mem_setattr(struct object *obj, struct file *file, const struct cred *cred,
		const struct attr_set *set, uint32_t *done);
int mem_access(struct object *obj, const struct cred *cred, unsigned wanted, unsigned *granted);
int mem_statfs(struct object *obj, const struct cred *cred, struct fs_info *out);

/* ---- names.c ---- */

void mem_names_free(struct mem_inode *dir);
int mem_lookup(struct object *dir, const struct cred *cred, const char *name, struct object **out);
int mem_lookup_parent(struct object *dir, const struct cred *cred, struct object **out);
int mem_readdir(struct object *dir, const struct cred *cred, struct readdir_args *args);
int mem_readlink(struct object *obj, const struct cred *cred, char *buf, size_t cap, size_t *len);
int mem_create(struct object *dir, const struct cred *cred, const char *name,
	       const struct create_args *args, struct dir_change *change, struct object **out);
int mem_link(struct object *obj, struct object *dir, const struct cred *cred, const char *name,
	     struct dir_change *change);
int mem_remove(struct object *dir, const struct cred *cred, const char *name,
	       struct dir_change *change);
int mem_rename(struct object *from, const char *from_name, struct object *to, const char *to_name,
	       const struct cred *cred, struct dir_change *from_change,
	       struct dir_change *to_change);
int mem_open_create(struct object *dir, const struct cred *cred, const char *name, unsigned access,
		    const struct create_args *args, struct dir_change *change, bool *created,
		    struct object **out_obj, struct file **out_file);

/* ---- xattr.c ---- */

/* The inode is going. */
void mem_xattrs_free(struct mem_export *exp, struct mem_inode *inode) REQUIRES(&exp->lock);
int mem_getxattr(struct object *obj, const struct cred *cred, const char *name, void *buf,
		 size_t cap, size_t *len);
int mem_setxattr(struct object *obj, const struct cred *cred, const char *name, const void *value,
		 size_t len, enum xattr_mode mode, struct dir_change *change);
int mem_listxattr(struct object *obj, const struct cred *cred, char buf[XATTR_NAMES_MOST],
		  size_t *len);
int mem_removexattr(struct object *obj, const struct cred *cred, const char *name,
		    struct dir_change *change);

/* ---- file.c ---- */

int mem_file_new(struct mem_inode *inode, const struct cred *cred, unsigned access,
		 struct file **out);
int mem_may_open(const struct mem_inode *inode, const struct cred *cred, unsigned access);
int mem_set_size(struct mem_export *exp, struct mem_inode *inode, uint64_t size)
    REQUIRES(&exp->lock);
int mem_open(struct object *obj, const struct cred *cred, unsigned access, struct file **out);
void mem_file_free(struct file *file);
int mem_read(struct file *file, uint64_t offset, struct payload_out *out);
int mem_write(struct file *file, uint64_t offset, const struct payload_in *in, enum stability *how,
	      size_t *written);
int mem_commit(struct object *obj, uint64_t offset, uint64_t len);
int mem_seek(struct file *file, uint64_t offset, bool hole, uint64_t *found);
int mem_allocate(struct file *file, uint64_t offset, uint64_t len);
int mem_deallocate(struct file *file, uint64_t offset, uint64_t len);
int mem_copy(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	     uint64_t len, uint64_t *copied);
int mem_clone(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	      uint64_t len);

/*
 * vfs: a directory of a Linux file system, by file handles (open_by_handle_at(2)).
 *
 * Model
 *  - An export has mounts: the one its path is on, and with crossmnt those below it. Each has an
 *    identity of 64 bits that stays the same over restarts; a handle on the wire is that identity
 *    and the kernel's own handle.
 *  - An object is an O_PATH descriptor, found by its handle in the export's table (object.c). One
 *    handle is one object as long as anybody has a reference to it.
 *  - Every operation with a caller's identity runs as that identity on its own thread
 *    (credentials.c), so that it is the kernel that permits or refuses.
 *
 * Locks, in this order: object.c's registry, vfs_object.commit_lock, vfs_export.mounts_lock, a
 * table shard's lock, vfs_object.lock; by themselves settle.c's, readdir.c's and fetch.c's. Only commit_lock
 * (fdatasync), mounts_lock (looking for mounts) and the registry are held over system calls that
 * may block.
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "backends/backend.h"
#include "base/list.h"
#include "base/lock.h"

/* backends/backend.c lists it. */
extern const struct backend vfs_backend;

/* ---- handles ---- */

/* On the wire: version, identity of the file system (8 bytes), kernel handle type, its bytes. */
#define VFS_HANDLE_VERSION 1
#define VFS_HANDLE_HEADER  10
#define VFS_KERNEL_HANDLE  (BACKEND_HANDLE_MAX - VFS_HANDLE_HEADER)

/* ---- mounts (mount.c) ---- */

struct vfs_mount {
	/* immutable */
	uint64_t id; /* in handles */
	uint64_t fsid_major, fsid_minor;
	uint64_t mnt_id; /* the kernel's, as statx and name_to_handle_at tell it */
	dev_t dev;
	int fd; /* open for reading, for open_by_handle_at */
	/* The mount root's number within what is mounted on, and whether there is such a thing. */
	bool below;
	uint64_t covered_fileid;
	/* Granularity of ctime in ns; 0: no two states that anybody saw have the same (change.c). */
	uint64_t granularity;
	long fs_type; /* statfs */
	/* fsync() of any directory puts on stable storage what was done to all (settle.c). */
	bool one_commit;
	bool xattrs; /* it has extended attributes of the namespace user.* */

	struct vfs_handles *_Atomic handles; /* handles.c; NULL: none yet */

	_Atomic uint32_t refs; /* one of the export's list, one of each object */
	struct list link;      /* vfs_export.mounts; under mounts_lock */
};

/* ---- exports ---- */

#define VFS_SHARDS 64

struct vfs_shard {
	struct mutex lock;
	struct vfs_object **buckets; /* under lock */
	struct list objects;	     /* under lock; eviction looks from the front */
};

struct vfs_export {
	struct backend_export base;
	/* immutable */
	char *path; /* as the kernel resolves it */
	bool crossmnt;
	bool sync;   /* names and attributes are on stable storage before the answer */
	bool clone;  /* the mounts are private clones that nothing is mounted upon */
	char *fsid;  /* the administrator's or NULL */
	int tree_fd; /* keeps the private clone mounted; -1: none */
	uint32_t bucket_mask;
	unsigned max_cached;
	uint64_t cache_ns;	 /* unused objects are kept so long */
	struct vfs_object *root; /* a reference of the export's */
	struct vfs_mount *root_mount;

	struct rwlock mounts_lock;
	struct list mounts; /* under mounts_lock */
	int mountinfo;	    /* polled to learn that mounts have changed; -1: unused */
	bool rescan;	    /* under mounts_lock: a mount that exists may be missing here */

	struct vfs_shard shards[VFS_SHARDS];
	_Atomic uint32_t cached; /* objects in the table */

	_Atomic uint64_t verifier; /* write verifier */
	struct list registered;	   /* in object.c's list of exports */
	uint64_t evict_at;	   /* the trimming thread's: when unused objects go next */

	struct mutex settlers_lock;
	struct list settlers; /* struct vfs_settler (settle.c); under settlers_lock */
};

/* ---- objects ---- */

struct vfs_object {
	struct object base;
	/*
	 * From here to the handle: what finding it and asking for its attributes look at, in as few
	 * cache lines as possible, because with many objects each is a miss. Immutable but for
	 * three.
	 */
	uint64_t hash;
	struct vfs_object *next; /* under the shard's lock */
	struct vfs_mount *mount; /* a reference */
	int fd;			 /* O_PATH */
	bool recent;		 /* asked for since eviction last came by; under the shard's lock */
	/* Its last name is gone: not to be cached, for it would keep its storage occupied. */
	_Atomic bool unlinked;
	uint64_t covered_fileid; /* of a btrfs subvolume's root, its number in the parent; else 0 */
	uint64_t fsid_major, fsid_minor;
	struct backend_handle handle;

	dev_t dev;	  /* immutable */
	struct list link; /* under the shard's lock */

	/* Of a directory, to fsync() it: opened when that is first needed; -1: none (settle.c). */
	_Atomic int settle_fd;

	/* Bytes of it could not be read when they were to be sent: it is read into memory first. */
	_Atomic bool unreadable;

	/* Unstable writes and commits: file.c tells the story. */
	_Atomic uint64_t writes_begun, writes_ended;
	_Atomic bool unstable;	  /* sync_fd is there; changed under lock */
	struct mutex commit_lock; /* held over fdatasync; before lock */
	struct mutex lock;
	int sync_fd; /* under lock; closed under commit_lock as well; -1: none */
};

struct vfs_file {
	struct file base;
	/* immutable */
	struct object shell;	 /* what base.object is: the object itself may be let go */
	const struct cred *cred; /* the opener, a reference */
	struct backend_handle handle;
	uint64_t hash; /* of the handle */

	/* Between vfs_file_use() and vfs_file_done() these stay: descriptors.c tells the story. */
	int fd;
	struct vfs_object *obj; /* a reference */
	_Atomic uint32_t pins;
	_Atomic bool recent; /* used since parking last came by */
	_Atomic bool locked; /* there may be locks: it counts as a user of its own */
	struct list link;    /* under its shard's lock */
};

static inline struct vfs_object *vfs_object(struct object *obj)
{
	return container_of(obj, struct vfs_object, base);
}

static inline struct vfs_export *vfs_export(struct backend_export *exp)
{
	return container_of(exp, struct vfs_export, base);
}

static inline struct vfs_export *vfs_object_export(const struct vfs_object *obj)
{
	return vfs_export(obj->base.export);
}

static inline struct vfs_file *vfs_file(struct file *file)
{
	return container_of(file, struct vfs_file, base);
}

/* A descriptor's name in /proc/self/fd, for calls that take no O_PATH descriptor. */
struct vfs_fd_name {
	char text[12];
};

struct vfs_fd_name vfs_fd_name(int fd);
/* O_PATH descriptor of /proc/self/fd, opened once. */
int vfs_proc_fd(void);
/* Opens anew, with the calling thread's identity, what O_PATH descriptor `fd` stands for. */
int vfs_reopen(struct vfs_export *exp, int fd, int flags);
/* An O_PATH descriptor of what `fd` stands for; -errno. */
int vfs_path_of(struct vfs_export *exp, int fd);

/* ---- credentials.c ---- */

/* The calling thread acts as `cred` from now on. 0 or -errno; on failure it acts as nobody sure. */
int vfs_assume(const struct cred *cred) MUST_CHECK;
/* The calling thread has all the process's capabilities, until the next vfs_assume(). */
int vfs_assume_privileged(void) MUST_CHECK;
bool vfs_privileged(void);
/* Ends vfs_assume_privileged(): the identity assumed before is all there is again. */
void vfs_drop_privileges(void);
/* The calling thread's umask, which is its own. */
void vfs_umask(mode_t mask);

/* ---- mount.c ---- */

int vfs_mounts_open(struct vfs_export *exp, int *root_fd);
void vfs_mounts_close(struct vfs_export *exp);
/* The mount with that identity in handles, with a reference; looks for new mounts. NULL: none. */
struct vfs_mount *vfs_mount_by_id(struct vfs_export *exp, uint64_t id);
/* The mount that the kernel numbers `mnt_id`, with a reference. NULL: not part of the export. */
struct vfs_mount *vfs_mount_by_mnt_id(struct vfs_export *exp, uint64_t mnt_id);
void vfs_mount_unref(struct vfs_mount *mount);
/* Closes mounts below that have no objects any more, so that they can be unmounted. */
void vfs_mounts_trim(struct vfs_export *exp);
/* The fsid of what `fd` is on: the mount's, or within it (btrfs) a subvolume's own. */
void vfs_fsid(const struct vfs_mount *mount, int fd, dev_t dev, uint64_t *major, uint64_t *minor);

/* The number that a btrfs subvolume with `fd` as its root has in its parent directory; else 0. */
uint64_t vfs_subvolume(const struct vfs_mount *mount, int fd, dev_t dev, uint64_t ino);

/* ---- object.c ---- */

int vfs_table_init(struct vfs_export *exp, const struct export_params *params);
void vfs_table_destroy(struct vfs_export *exp);
/* The object of `handle` if it is in the table, with a reference. */
struct vfs_object *vfs_object_find(struct vfs_export *exp, const uint8_t *handle, size_t len);
/*
 * The object that O_PATH descriptor `fd` stands for, with a reference. Takes `fd` over, also on
 * failure. -EACCES: it is on a mount that is not part of the export.
 */
int vfs_object_from_fd(struct vfs_export *exp, int fd, struct vfs_object **out);
/* Finds the object by `name` in the directory, with the thread's identity. */
int vfs_object_at(struct vfs_object *dir, const char *name, struct vfs_object **out);
/* The handle of `name` in the directory, with the thread's identity, without making an object. */
int vfs_handle_at(struct vfs_object *dir, const char *name, struct backend_handle *out);
/* The same if statx on the name has just told `sx`, which is of the directory's mount and device. */
int vfs_handle_of(struct vfs_object *dir, const char *name, const struct statx *sx,
		  struct backend_handle *out);
/*
 * What the trimming thread does every 10 seconds, at `now` (clock_mono_ns()): commits unstable writes of unused
 * objects; if it has not done so for cache_ns evicts what nobody has asked for since; and lets go of mounts that nothing
 * is left of.
 */
void vfs_trim_at(struct vfs_export *exp, uint64_t now);
/* The same without regard to the time. */
void vfs_trim(struct vfs_export *exp);
/* Closes idle objects because descriptors have run out; false when there are none. */
bool vfs_shed(struct vfs_export *exp);
/* The object lost a name: if it was the last, it is not to be cached any longer. */
void vfs_object_unlinked(struct vfs_object *obj);
int vfs_from_handle(struct backend_export *exp, const uint8_t *bytes, size_t len,
		    struct object **out);
int vfs_to_handle(struct object *obj, struct backend_handle *out);
void vfs_object_free(struct object *obj);

/* ---- handles.c ---- */

/* The kernel's handle of the inode that statx has told of, if it is remembered. */
bool vfs_handles_find(struct vfs_mount *m, const struct statx *sx, uint8_t *kind, uint8_t *bytes,
		      uint8_t *len);
/* It will be asked for soon. */
void vfs_handles_prefetch(struct vfs_mount *m, uint64_t ino);
/* Remembers it if that is safe. */
void vfs_handles_keep(struct vfs_mount *m, const struct statx *sx, uint8_t kind,
		      const uint8_t *bytes, size_t len);
/* The handle has turned out to be stale. */
void vfs_handles_forget(struct vfs_mount *m, uint8_t kind, const uint8_t *bytes, size_t len);
void vfs_handles_free(struct vfs_mount *m);

/* ---- change.c ---- */

/* Clock readings from before an object's statx. */
struct vfs_instant {
	uint64_t coarse, fine;
};

struct vfs_instant vfs_instant(uint64_t granularity);
/* The change attribute of an object whose ctime was read after `before`. */
uint64_t vfs_change(uint64_t granularity, const struct timespec *ctime, struct vfs_instant before);
/* The granularity of the file system that `root_fd` is on (struct vfs_mount). */
uint64_t vfs_granularity(int root_fd, long fs_type);

/* ---- attr.c ---- */

int vfs_getattr(struct object *obj, struct attr *out);
/*
 * Attributes of `name` in the directory, and its handle unless that is NULL; -ENOENT: it has gone.
 * `dirent_ino` as readdir told.
 */
int vfs_getattr_at(struct vfs_object *dir, const char *name, uint64_t dirent_ino, struct attr *out,
		   struct backend_handle *handle);
int vfs_change_of(struct vfs_object *obj, uint64_t *change);
int vfs_setattr(struct object *obj, struct file *file, const struct cred *cred,
		const struct attr_set *set, uint32_t *done);
/* The same on descriptors: `fd` any kind, `write_fd` open for writing or -1. */
int vfs_apply(struct vfs_export *exp, int fd, int write_fd, const struct attr_set *set,
	      uint32_t *done);
int vfs_access(struct object *obj, const struct cred *cred, unsigned wanted, unsigned *granted);
int vfs_statfs(struct object *obj, const struct cred *cred, struct fs_info *out);
enum file_type vfs_type(mode_t mode);

/* ---- names.c ---- */

int vfs_lookup(struct object *dir, const struct cred *cred, const char *name, struct object **out);
int vfs_lookup_parent(struct object *dir, const struct cred *cred, struct object **out);
int vfs_readlink(struct object *obj, const struct cred *cred, char *buf, size_t cap, size_t *len);
int vfs_create(struct object *dir, const struct cred *cred, const char *name,
	       const struct create_args *args, struct dir_change *change, struct object **out);
int vfs_link(struct object *obj, struct object *dir, const struct cred *cred, const char *name,
	     struct dir_change *change);
int vfs_remove(struct object *dir, const struct cred *cred, const char *name,
	       struct dir_change *change);
int vfs_rename(struct object *from, const char *from_name, struct object *to, const char *to_name,
	       const struct cred *cred, struct dir_change *from_change,
	       struct dir_change *to_change);
void vfs_change_before(struct vfs_object *dir, struct dir_change *change);
void vfs_change_after(struct vfs_object *dir, struct dir_change *change);

/* ---- settle.c ---- */

/* Are changes of it answered only when they are on stable storage? */
bool vfs_must_settle(const struct vfs_object *obj);
/* Puts there what an export of synchronous changes owes before it answers; 0 or -errno. */
int vfs_settle(struct vfs_object *obj);
/* The same for a change of names in `dir`, or leaves it to the caller if he offered that. */
int vfs_settle_names(struct vfs_object *dir, struct dir_change *change);
void vfs_settle_later(struct list *jobs, bool alone);
/* Does the file system have a journal whose commits are of all changes before them? */
bool vfs_commits_all(long fs_type, dev_t dev);
/* The object is being freed. */
void vfs_settle_release(struct vfs_object *obj);
/* The export closes: nobody waits any more. */
void vfs_settlers_end(struct vfs_export *exp);

/* ---- readdir.c ---- */

int vfs_readdir(struct object *dir, const struct cred *cred, struct readdir_args *args);
/* Fills what was asked for. -ENOENT: the entry has gone. */
int vfs_fill_entry(struct vfs_object *dir, const struct dirent64 *d,
		   const struct readdir_args *args, struct dir_entry *entry);
/* Closes directories that an export (NULL: any) keeps open between READDIRs, all or the too old; how many. */
unsigned vfs_listings_close(const struct vfs_export *exp, bool old_only);

/* ---- fetch.c ---- */

#define VFS_FETCH_MOST 512

/* Entries whose attributes and handles two threads fetch. */
struct vfs_fetch {
	/* The owner's, and read by the helper between start and stop. */
	struct vfs_object *dir;
	const struct cred *cred; /* who holds it waits in stop */
	const struct readdir_args *args;
	unsigned n;
	const struct dirent64 *dirent[VFS_FETCH_MOST];

	struct dir_entry entry[VFS_FETCH_MOST]; /* who has claimed it */

	struct mutex lock;
	struct cond work, progress;
	/* under lock */
	unsigned next;			 /* the first that nobody has claimed */
	unsigned helper_from, helper_to; /* what the helper is at; equal: nothing */
	bool offered, helper_in, helped;
};

/* A READDIR with attributes begins. NULL: nobody can help it. */
struct vfs_fetch *vfs_fetch_enter(void);
/* It ends; `f` as it was got. */
void vfs_fetch_leave(struct vfs_fetch *f);
/* Begins to fetch `n` entries as `cred`, whom the thread acts as; `dirent` and `n` are set. */
void vfs_fetch_start(struct vfs_fetch *f, struct vfs_object *dir, const struct cred *cred,
		     const struct readdir_args *args);
/* One of them, as vfs_fill_entry() does it. */
const struct dir_entry *vfs_fetch_entry(struct vfs_fetch *f, unsigned i);
/* Nothing more is fetched, and nothing that `dirent` points to is used any longer. */
void vfs_fetch_stop(struct vfs_fetch *f);

/* ---- exclusive.c ---- */

/* Remembers with the new file `fd` the verifier it was made with. */
int vfs_verifier_store(struct vfs_export *exp, int fd, const uint8_t *verifier);
/* True if the file was made with that verifier. */
bool vfs_verifier_matches(struct vfs_object *obj, const uint8_t *verifier);

/* Is that attribute of user.* where verifiers are kept for want of trusted.*? */
bool vfs_verifier_is_kept_in(const char *user_name);

/* ---- xattr.c ---- */

/* Whether the file system that the directory `fd` is on has those of user.*. */
bool vfs_has_xattrs(int fd);
int vfs_getxattr(struct object *obj, const struct cred *cred, const char *name, void *buf,
		 size_t cap, size_t *len);
int vfs_setxattr(struct object *obj, const struct cred *cred, const char *name, const void *value,
		 size_t len, enum xattr_mode mode, struct dir_change *change);
int vfs_listxattr(struct object *obj, const struct cred *cred, char buf[XATTR_NAMES_MOST],
		  size_t *len);
int vfs_removexattr(struct object *obj, const struct cred *cred, const char *name,
		    struct dir_change *change);

/* ---- descriptors.c ---- */

/* An open file, with fd and obj set, begins to be one of those that may be parked. */
void vfs_file_register(struct vfs_file *f);
/* It is being freed: closes what is open. */
void vfs_file_unregister(struct vfs_file *f);
/*
 * f->fd and f->obj are there until vfs_file_done(). 0 or -errno (-ESTALE: the file has gone). May
 * leave the thread privileged.
 */
int vfs_file_use(struct vfs_file *f) MUST_CHECK;
void vfs_file_done(struct vfs_file *f);
/* Closes idle files because descriptors have run out; false when there are none. */
bool vfs_files_park(void);
/* Closes the other idle files of the same object; false when there are none. */
bool vfs_files_park_others(const struct vfs_file *keep);
bool vfs_files_parked(void);
void vfs_files_nameless(void (*fn)(void *arg, int fd, const struct backend_handle *handle),
			void *arg);
/* The object has lost its last name: its files are opened while the caller's reference keeps it. */
void vfs_files_revive(const struct backend_handle *handle);

/* ---- open.c ---- */

int vfs_open_flags(unsigned access);
int vfs_reopen_file(struct object *obj, const struct cred *cred, unsigned access,
		    struct file **out);

int vfs_open(struct object *obj, const struct cred *cred, unsigned access, struct file **out);
int vfs_open_create(struct object *dir, const struct cred *cred, const char *name, unsigned access,
		    const struct create_args *args, struct dir_change *change, bool *created,
		    struct object **out_obj, struct file **out_file);
void vfs_file_free(struct file *file);

/* ---- file.c ---- */

int vfs_read(struct file *file, uint64_t offset, struct payload_out *out);
int vfs_write(struct file *file, uint64_t offset, const struct payload_in *in, enum stability *how,
	      size_t *written);
int vfs_commit(struct object *obj, uint64_t offset, uint64_t len);
/* Commits unless another commit is running; true if no unstable write is left. */
bool vfs_try_commit(struct vfs_object *obj);
/* The object is being freed. */
void vfs_sync_release(struct vfs_object *obj);
void vfs_write_verifier(struct backend_export *exp, uint8_t out[BACKEND_VERIFIER_LEN]);
int vfs_seek(struct file *file, uint64_t offset, bool hole, uint64_t *found);
int vfs_lock(struct file *file, const struct file_lock *want, struct file_lock *holder);
int vfs_lock_test(struct file *file, const struct file_lock *want, struct file_lock *holder);
int vfs_allocate(struct file *file, uint64_t offset, uint64_t len);
int vfs_deallocate(struct file *file, uint64_t offset, uint64_t len);
int vfs_copy(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	     uint64_t len, uint64_t *copied);
int vfs_clone(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	      uint64_t len);

/* ---- watch.c ---- */

int vfs_watch_start(local_use_fn *fn, void *arg);
void vfs_watch_stop(void);
int vfs_watch(struct object *obj, struct file *file, enum watch_kind kind);
void vfs_watch_settled(struct object *obj);
void vfs_watch_again(const uint8_t *handle, size_t len);

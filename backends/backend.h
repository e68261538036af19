/*
 * Storage backends: what nfsd calls and what an implementer fills in.
 *
 * A backend serves exports. An export has objects (files, directories, links...), each
 * named for ever by a handle: bytes that mean the same object after a restart and on every
 * node that serves the same storage. An object in memory (`struct object`) is reference
 * counted and shared by threads; an open file (`struct file`) likewise.
 *
 * Rules for every operation
 *  - returns 0 or -errno; nothing is left half done on failure unless said;
 *  - enforces permissions for `cred` itself (vfs: the kernel does, by fsuid);
 *  - is called by many threads at once; may block, and says so first with blocking_section();
 *  - names are NUL-terminated, without '/', neither "", "." nor "..";
 *  - out-parameters carry a reference for the caller, and are untouched on failure;
 *  - operations marked (optional) may be NULL: nfsd answers NFS4ERR_NOTSUPP.
 *
 * A read-only backend of two files, each saying hello, needs export_open, export_close, root,
 * from_handle, object_free, getattr, access, lookup, readdir, open, file_free, read and statfs;
 * see backends/computed for one that small, backends/memory for the reference of all semantics.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "base/blocking.h"
#include "base/cred.h"
#include "base/list.h"
#include "base/payload.h"

#define BACKEND_HANDLE_MAX   104
#define BACKEND_VERIFIER_LEN 8

struct backend_handle {
	uint8_t len;
	uint8_t bytes[BACKEND_HANDLE_MAX];
};

enum file_type {
	FILE_REGULAR = 1, /* numbers as nfs_ftype4, RFC 7530 section 2.2 */
	FILE_DIRECTORY = 2,
	FILE_BLOCK = 3,
	FILE_CHAR = 4,
	FILE_SYMLINK = 5,
	FILE_SOCKET = 6,
	FILE_FIFO = 7,
};

/* One object's attributes. All fields are always filled by getattr. */
struct attr {
	enum file_type type;
	uint32_t mode; /* permission bits with setuid, setgid, sticky: 07777 */
	uint32_t nlink;
	uid_t uid;
	gid_t gid;
	uint64_t size;
	uint64_t used; /* bytes of storage */
	uint32_t rdev_major, rdev_minor;
	struct timespec atime, mtime, ctime;
	struct timespec btime; /* tv_nsec -1: not known */
	uint64_t change;       /* never the same for two different contents or attribute sets */
	uint64_t fileid;
	uint64_t mounted_on_fileid; /* differs from fileid at the root of a mounted file system */
	uint64_t fsid_major, fsid_minor; /* the file system's identity, same after a restart */
};

/* What setattr and create shall set. */
enum attr_set_bits {
	ATTR_SET_MODE = 1 << 0,
	ATTR_SET_UID = 1 << 1,
	ATTR_SET_GID = 1 << 2,
	ATTR_SET_SIZE = 1 << 3,
	ATTR_SET_ATIME = 1 << 4,
	ATTR_SET_MTIME = 1 << 5,
	ATTR_SET_ATIME_NOW = 1 << 6, /* server's time */
	ATTR_SET_MTIME_NOW = 1 << 7,
	/* nfsd's own, never asked of a backend: times that a delegation's holder has kept. */
	ATTR_SET_HOLDER_ATIME = 1 << 8,
	ATTR_SET_HOLDER_MTIME = 1 << 9,
};

struct attr_set {
	uint32_t mask; /* enum attr_set_bits */
	uint32_t mode;
	uid_t uid;
	gid_t gid;
	uint64_t size;
	struct timespec atime, mtime;
	struct timespec holder_atime, holder_mtime; /* nfsd's own */
	/*
	 * create only: mode is to be limited by `umask` (RFC 8275) unless the directory has a
	 * default ACL; mask has ATTR_SET_MODE then.
	 */
	bool has_umask;
	uint32_t umask;
	bool lazy; /* setattr only: need not be on stable storage, whatever the export says */
};

/* A file system's figures, for the per-file-system attributes. */
struct fs_info {
	uint64_t bytes_total, bytes_free, bytes_avail; /* avail: for unprivileged users */
	uint64_t files_total, files_free, files_avail;
	uint64_t max_file_size;
	uint32_t max_name, max_link;
	struct timespec time_delta; /* granularity of times */
	bool case_insensitive, case_preserving, no_trunc, chown_restricted;
	bool has_links, has_symlinks, has_unique_handles, can_set_time, has_xattrs;
	bool has_quota; /* the next three are known for the asking user */
	uint64_t quota_used, quota_avail_soft, quota_avail_hard;
};

enum access_bits {
	ACCESS_READ = 1,
	ACCESS_WRITE = 2,
	ACCESS_EXECUTE = 4,
	/*
	 * With open: the file's owner may open it whatever its mode, because an earlier OPEN was
	 * allowed it (a reclaim, a retry).
	 */
	ACCESS_OWNER = 8,
};

/* enum stable_how4: how much of a write must be on stable storage before it returns. */
enum stability { UNSTABLE = 0, DATA_SYNC = 1, FILE_SYNC = 2 };

/* Capabilities of an export, struct backend_export.capabilities. */
enum backend_capability {
	BACKEND_READ_ONLY = 1 << 0,    /* no changing operation is offered */
	BACKEND_READ_BY_FD = 1 << 1,   /* read may answer with a descriptor extent */
	BACKEND_WRITE_SPLICE = 1 << 2, /* write takes payload from a pipe */
	BACKEND_PRIVATE = 1 << 3,      /* nobody but this server gets at the files */
};

/* What somebody relies on who has a watch. */
enum watch_kind {
	WATCH_SHARED,	 /* that nobody writes to the file */
	WATCH_EXCLUSIVE, /* that nobody has the file open */
	WATCH_DIRECTORY, /* that the directory does not change */
};

/* What others do with something watched. */
enum local_use {
	LOCAL_NONE,    /* nothing: is it still of interest? */
	LOCAL_READ,    /* somebody is about to open the file, for reading only */
	LOCAL_WRITE,   /* somebody is about to open the file, for writing maybe */
	LOCAL_CHANGED, /* attributes, names, size, entries: it has happened */
};

/* The answer. */
enum local_verdict {
	LOCAL_UNWATCHED, /* nobody relies on it any more: go on, and the watch may end */
	LOCAL_MAY,	 /* go on */
	LOCAL_WAIT,	 /* not yet: ask again after watch_again() */
};

struct object;

/* Any thread of the backend's, which does nothing else meanwhile; it may submit commands. */
typedef enum local_verdict local_use_fn(void *arg, struct object *obj, enum local_use use);

struct backend;

/* An opened export. The implementer embeds it. */
struct backend_export {
	const struct backend *backend;
	uint32_t capabilities;
};

struct object {
	const struct backend *backend;
	struct backend_export *export;
	enum file_type type; /* never changes */
	_Atomic uint32_t refs;
};

struct file {
	/*
	 * Of the backend and export, for calling operations of files. It is not counted, and not
	 * necessarily an object for operations on objects: a backend may let the object itself go
	 * while nobody works on the file.
	 */
	struct object *object;
	unsigned access; /* ACCESS_READ | ACCESS_WRITE as opened */
	/*
	 * Whose permission the open was: a reference of the file's own. NULL: the backend does not
	 * keep it. Others who use the file (stateids can be guessed) are asked for theirs by nfsd.
	 */
	const struct cred *opener;
	_Atomic uint32_t refs;
};

enum file_lock_kind { FILE_UNLOCKED, FILE_SHARED, FILE_EXCLUSIVE };

/* A byte range and how it is locked. */
struct file_lock {
	enum file_lock_kind kind; /* shared needs a file open for reading, exclusive for writing */
	uint64_t first, last;	  /* inclusive; UINT64_MAX: to the end, however far that will be */
	pid_t pid;		  /* of a holder; 0: not known */
};

struct export_params {
	const char *path;
	bool crossmnt;	     /* follow into file systems mounted below */
	const char *fsid;    /* an identity chosen by the administrator, or NULL */
	unsigned max_cached; /* objects the export may keep in memory unused; 0: default */
	unsigned cache_seconds; /* how long at least, if there is room; 0: default */
	/*
	 * exports(5)'s async: changes of names and attributes may be answered before they are on
	 * stable storage. Default: sync.
	 */
	bool async;
	uint64_t max_bytes; /* memory: what it may hold; 0: default */
};

enum create_mode {
	CREATE_UNCHECKED, /* an existing file is opened; attributes then apply only as nfsd asks */
	CREATE_GUARDED,	  /* -EEXIST if the name exists */
	CREATE_EXCLUSIVE, /* -EEXIST unless it was made with the same verifier */
};

/* Bytes of an extended attribute: of its name, of its value, and of the names of all with their NULs. */
#define XATTR_NAME_MOST	 250
#define XATTR_VALUE_MOST 65536
#define XATTR_NAMES_MOST 65536

enum xattr_mode {
	XATTR_SET_EITHER, /* whether it is there or not */
	XATTR_SET_NEW,	  /* -EEXIST if it is there */
	XATTR_SET_OLD,	  /* -ENODATA if it is not */
};

/* What to make: mknod-like for create, a regular file for open_create. */
struct create_args {
	enum file_type type;
	struct attr_set attrs; /* applied at creation, no window with other permissions */
	const char *target;    /* FILE_SYMLINK */
	uint32_t rdev_major, rdev_minor;
	enum create_mode mode;			/* open_create */
	uint8_t verifier[BACKEND_VERIFIER_LEN]; /* CREATE_EXCLUSIVE; found again after a restart */
};

/* One directory entry, valid during the call that hands it over. */
struct dir_entry {
	const char *name;
	uint64_t cookie; /* readdir goes on behind this entry when given it; above 2, never 0 */
	uint64_t fileid; /* as mounted_on_fileid */
	enum file_type type;
	int error;		      /* why attr and handle are not filled: -errno; 0: filled */
	struct attr attr;	      /* when asked for */
	struct backend_handle handle; /* when asked for */
};

struct readdir_args {
	uint64_t cookie; /* 0: from the start */
	bool want_attr, want_handle;
	size_t room; /* bytes the entries may take in the reply, about: a hint; 0: not known */
	/* False: the entry did not fit; readdir stops and this entry comes first next time. */
	bool (*emit)(void *arg, const struct dir_entry *entry);
	void *arg;
	bool eof; /* out: nothing behind the last emitted entry */
};

/* The changeid of a directory around an operation on it (change_info4). */
struct dir_change {
	bool atomic;
	uint64_t before, after;
	/*
	 * In: the caller will settle() the directory before it tells anybody, so the operation need
	 * not wait for stable storage. Out: that has to be done.
	 */
	bool may_owe, owes;
};

#define SETTLE_DIRS 4

/* Directories whose changes are to be put on stable storage. In memory of the caller's. */
struct settle_job {
	struct object *dirs[SETTLE_DIRS]; /* of one export; references of the caller's */
	unsigned n;			  /* at least 1 */
	/* Called once, on any thread, perhaps before settle() has returned. */
	void (*done)(struct settle_job *job);
	int err;	  /* in done(): 0 or -errno */
	struct list link; /* in settle()'s list; then the backend's */
};

struct backend {
	const char *name;

	/* -- exports -- */
	int (*export_open)(const struct export_params *params, struct backend_export **out);
	void (*export_close)(struct backend_export *exp); /* all objects are unreferenced */

	/* -- objects and handles -- */
	int (*root)(struct backend_export *exp, struct object **out);
	/* -ESTALE: vanished; -EBADF: these bytes were never a handle here. */
	int (*from_handle)(struct backend_export *exp, const uint8_t *bytes, size_t len,
			   struct object **out);
	int (*to_handle)(struct object *obj, struct backend_handle *out);
	/*
	 * The last reference is being given back, and obj->refs is still 1. A backend whose
	 * objects nobody can find frees it; one that finds them in a table takes the table's lock
	 * and then gives the reference back itself: somebody may have found the object meanwhile.
	 */
	void (*object_free)(struct object *obj);

	/* -- attributes -- */
	int (*getattr)(struct object *obj, struct attr *out);
	/*
	 * `file`, when not NULL, is open for writing by the caller: a size change then needs no
	 * permission of cred. Several attributes: all or, on failure, *done tells which were set.
	 */
	int (*setattr)(struct object *obj, struct file *file, const struct cred *cred,
		       const struct attr_set *set, uint32_t *done);
	/* *granted: the bits of `wanted` (enum access_bits) that cred has. */
	int (*access)(struct object *obj, const struct cred *cred, unsigned wanted,
		      unsigned *granted);
	int (*statfs)(struct object *obj, const struct cred *cred, struct fs_info *out);

	/* -- names -- */
	int (*lookup)(struct object *dir, const struct cred *cred, const char *name,
		      struct object **out);
	/* The parent directory; the export's root has none: -ENOENT. */
	int (*lookup_parent)(struct object *dir, const struct cred *cred, struct object **out);
	int (*readdir)(struct object *dir, const struct cred *cred, struct readdir_args *args);
	/* At most `cap` bytes without a NUL; *len the target's length. */
	int (*readlink)(struct object *obj, const struct cred *cred, char *buf, size_t cap,
			size_t *len);
	/* Directories, symlinks, special files; never regular files. -EEXIST if the name exists. */
	int (*create)(struct object *dir, const struct cred *cred, const char *name,
		      const struct create_args *args, struct dir_change *change,
		      struct object **out);
	int (*link)(struct object *obj, struct object *dir, const struct cred *cred,
		    const char *name, struct dir_change *change);
	/* Removes a file or an empty directory. */
	int (*remove)(struct object *dir, const struct cred *cred, const char *name,
		      struct dir_change *change);
	int (*rename)(struct object *from, const char *from_name, struct object *to,
		      const char *to_name, const struct cred *cred, struct dir_change *from_change,
		      struct dir_change *to_change);

	/*
	 * (optional) What operations on names have left undone by saying change->owes: all changes
	 * of the jobs' directories that have been made so far go to stable storage. Many jobs at a
	 * time cost little more than one. They are of one export; the list is empty afterwards.
	 * `alone`: nobody waits for this thread, it may do it itself if that is quick. The export is
	 * not closed before this has returned, even if all jobs are done.
	 */
	void (*settle)(struct list *jobs, bool alone);

	/* -- open files -- */
	/* `access`: ACCESS_READ, ACCESS_WRITE or both; regular files only (else -EINVAL/-EISDIR/-ELOOP). */
	int (*open)(struct object *obj, const struct cred *cred, unsigned access,
		    struct file **out);
	/*
	 * Opens `name`, making it first if need be as args->mode says; *created tells. Whoever
	 * makes a file may open it whatever its mode. An existing name that is no regular file:
	 * -EISDIR, -ELOOP (symlink) or -EINVAL.
	 */
	int (*open_create)(struct object *dir, const struct cred *cred, const char *name,
			   unsigned access, const struct create_args *args,
			   struct dir_change *change, bool *created, struct object **out_obj,
			   struct file **out_file);
	void (*file_free)(struct file *file); /* last reference gone: closes */
	int (*read)(struct file *file, uint64_t offset, struct payload_out *out);
	/*
	 * Writes in->len bytes or fewer (*written); `*how` in: what is asked, out: what was done.
	 * A write that fails after a part reports the part.
	 */
	int (*write)(struct file *file, uint64_t offset, const struct payload_in *in,
		     enum stability *how, size_t *written);
	/*
	 * Makes earlier unstable writes of the object stable, by whomever. On -EIO and the like the
	 * write verifier has changed, so that every writer learns that its data may be lost.
	 */
	int (*commit)(struct object *obj, uint64_t offset, uint64_t len);
	/* Changes whenever unstable data may have been lost: restart, failed write-back. */
	void (*write_verifier)(struct backend_export *exp, uint8_t out[BACKEND_VERIFIER_LEN]);

	/* -- optional -- */
	/*
	 * As open, but without asking for permission: an open in the past was allowed it, and its
	 * file has been lost (a restart). What is done with it later is done as `cred`.
	 */
	int (*reopen)(struct object *obj, const struct cred *cred, unsigned access,
		      struct file **out);
	/*
	 * Calls `fn` for every open file that has no name any more, with a descriptor of it, which
	 * stays the backend's: as long as there is one the file can be opened by its handle. Files
	 * must neither be opened nor closed meanwhile.
	 */
	void (*each_nameless)(void (*fn)(void *arg, int fd, const struct backend_handle *handle),
			      void *arg);
	/*
	 * Locks a byte range of the file as seen by local processes, changes the kind of lock it
	 * has or unlocks it; never waits. The locks belong to this `struct file` and go with it;
	 * those of two are in each other's way. A file that has locks keeps its descriptor until
	 * everything (0 to UINT64_MAX) is unlocked; the caller does not lock one file from
	 * several threads at once. `want`.pid is not looked at. -EAGAIN: somebody's
	 * lock is in the way; *holder (if not NULL) tells whose. -EBADF: the file is not open for
	 * what the kind of lock demands.
	 */
	int (*lock)(struct file *file, const struct file_lock *want, struct file_lock *holder);
	/* Would lock() succeed? 0, or -EAGAIN with *holder filled. */
	int (*lock_test)(struct file *file, const struct file_lock *want, struct file_lock *holder);
	/*
	 * For messages to the administrator: where the object is, as a path on the server, always
	 * NUL-terminated. Nothing is decided by it. -ENOENT: it has no name.
	 */
	int (*path)(struct object *obj, char *buf, size_t cap);
	/*
	 * Files that others than this server can use (not BACKEND_PRIVATE) are delegated only if
	 * they can be watched. watch_start() once before, for the whole process: 0 or -errno.
	 */
	int (*watch_start)(local_use_fn *fn, void *arg);
	void (*watch_stop)(void);
	/*
	 * Others who want to use the object against `kind` wait from now on until `fn` lets them;
	 * -EAGAIN: they do so already. -EOPNOTSUPP and others: it cannot be watched. `file` is what
	 * the caller has open of it (NULL: it is a directory); with others of the server's own it
	 * may be EAGAIN, too. After success watch_settled() must follow: until then nobody is asked
	 * about. The watch ends when `fn` says that it may; several of one object are one.
	 */
	int (*watch)(struct object *obj, struct file *file, enum watch_kind kind);
	void (*watch_settled)(struct object *obj);
	/* `fn` may answer otherwise now. Cheap. */
	void (*watch_again)(const uint8_t *handle, size_t len);
	/* lseek SEEK_DATA / SEEK_HOLE; -ENXIO: no such thing behind offset. */
	int (*seek)(struct file *file, uint64_t offset, bool hole, uint64_t *found);
	int (*allocate)(struct file *file, uint64_t offset, uint64_t len);
	int (*deallocate)(struct file *file, uint64_t offset, uint64_t len); /* punch a hole */
	/* copy_file_range: *copied may be short. */
	int (*copy)(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
		    uint64_t len, uint64_t *copied);
	/* Share the storage (FICLONERANGE); len 0: to the end. */
	int (*clone)(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
		     uint64_t len);
	/*
	 * Extended attributes that users may set, of regular files and directories (else -EPERM): all
	 * four or none. Names are of XATTR_NAME_MOST bytes at most, with '/' if it pleases, and without
	 * the prefix that the storage may want. Reading the object is what getting and listing need,
	 * writing what changing does. -EOPNOTSUPP: this file system has none (fs_info.has_xattrs).
	 * -ENODATA: there is no such attribute. -E2BIG, -ENOSPC, -EDQUOT: that is too much.
	 */
	/* *len is the value's; with `cap` 0 nothing else is asked for. -ERANGE: it is longer. */
	int (*getxattr)(struct object *obj, const struct cred *cred, const char *name, void *buf,
			size_t cap, size_t *len);
	/* *change is the object's own. */
	int (*setxattr)(struct object *obj, const struct cred *cred, const char *name,
			const void *value, size_t len, enum xattr_mode mode,
			struct dir_change *change);
	/* The names in no order, each with its NUL. */
	int (*listxattr)(struct object *obj, const struct cred *cred, char buf[XATTR_NAMES_MOST],
			 size_t *len);
	int (*removexattr)(struct object *obj, const struct cred *cred, const char *name,
			   struct dir_change *change);
};

/*
 * Operations may leave the calling thread with the identity of the request's user, for the next
 * request. Whoever then works on files of the server's own on that thread (the state's storage, a
 * reload, a new thread) calls this first; cheap when there is nothing to do.
 */
void backend_restore_identity(void);

/* All backends built in, ended by NULL. */
extern const struct backend *const backend_list[];
/* The one that `backend=` names, or NULL. */
const struct backend *backend_find(const char *name);

/* ---- for callers: reference counting and the calls that need more than a table look-up ---- */

static inline struct object *object_ref(struct object *obj)
{
	atomic_fetch_add_explicit(&obj->refs, 1, memory_order_relaxed);
	return obj;
}

void object_unref(struct object *obj); /* NULL is allowed */

static inline struct file *file_ref(struct file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

void file_unref(struct file *file); /* NULL is allowed */
/*
 * From now on, when this thread gives back a file's last reference, `take` is asked: true if it will see to it
 * that the backend's file_free() is called. NULL: nobody is.
 */
void file_on_last(bool (*take)(struct file *file));

/*
 * This process is one of several nodes that serve the same file systems, and the others have other
 * numbers. 0: it is alone.
 */
void backend_set_node(uint32_t node);
uint32_t backend_node(void);

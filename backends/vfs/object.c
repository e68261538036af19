/*
 * Objects: O_PATH descriptors found by their handles.
 *
 * Each export has a table of shards; a shard has a lock, buckets and a list of its objects. An
 * object is in the table from its making to its freeing, so that as long as anybody has a
 * reference the same handle finds the same object.
 *
 *	            find +1             last object_free: 1 -> 0
 *	[made, refs 1] --> [in use, refs > 0] <==> [idle, refs 0] --evict--> [freed]
 *
 * References: every holder of a struct object pointer outside this file has one; the table has
 * none. refs goes from 0 to 1 and an object is freed only under its shard's lock; giving back a
 * reference is the last thing that touches the object, so the common case takes no lock.
 *
 * Idle objects are a cache, evicted by second chance (`recent`) when there are more than the
 * export may have, when descriptors run out, and by a thread that comes by every TRIM_SECONDS and
 * each time that the export's cache_ns are over evicts what nobody asked for since it last did: an
 * O_PATH descriptor keeps a file's storage occupied after its last name is gone and its file system
 * mounted. When Atoll itself removes the last name, the object is freed with its last reference.
 *
 * The descriptors of all exports come out of one budget, RLIMIT_NOFILE: half of it may be objects.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

#define TRIM_SECONDS	 10
#define DESCRIPTORS_MOST (1u << 22)
#define BUCKETS_MOST	 (DESCRIPTORS_MOST / 2 / VFS_SHARDS) /* of a shard */

/* All exports, for what concerns descriptors of the whole process; and the thread that trims. */
static struct mutex registry_lock = MUTEX_INITIALIZER;
static struct list registry GUARDED_BY(registry_lock) = LIST_INITIALIZER(registry);
static struct cond trimmer_wake;
static pthread_t trimmer GUARDED_BY(registry_lock);
static bool trimmer_stop GUARDED_BY(registry_lock);
static _Atomic uint32_t cached_all; /* objects of all exports */
static _Atomic uint32_t cached_max;

static struct vfs_shard *shard_of(struct vfs_export *exp, uint64_t hash)
{
	return &exp->shards[hash % VFS_SHARDS];
}

static struct vfs_object **bucket_of(struct vfs_export *exp, struct vfs_shard *s, uint64_t hash)
{
	return &s->buckets[(hash / VFS_SHARDS) & exp->bucket_mask];
}

/* ---- making and freeing ---- */

/* Of an object that is in no table any more. */
static void object_destroy(struct vfs_object *obj)
{
	vfs_sync_release(obj);
	vfs_settle_release(obj);
	close(obj->fd);
	vfs_mount_unref(obj->mount);
	mutex_destroy(&obj->lock);
	mutex_destroy(&obj->commit_lock);
	free(obj);
}

static void table_remove(struct vfs_export *exp, struct vfs_shard *s, struct vfs_object *obj)
    REQUIRES(&s->lock)
{
	struct vfs_object **link = bucket_of(exp, s, obj->hash);

	while (*link != obj)
		link = &(*link)->next;
	*link = obj->next;
	list_remove(&obj->link);
	atomic_fetch_sub_explicit(&exp->cached, 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&cached_all, 1, memory_order_relaxed);
}

static struct vfs_object *table_find(struct vfs_export *exp, struct vfs_shard *s, uint64_t hash,
				     const uint8_t *bytes, size_t len) REQUIRES(&s->lock)
{
	struct vfs_object *obj;

	for (obj = *bucket_of(exp, s, hash); obj; obj = obj->next) {
		if (obj->hash == hash && obj->handle.len == len &&
		    memcmp(obj->handle.bytes, bytes, len) == 0) {
			atomic_fetch_add_explicit(&obj->base.refs, 1, memory_order_relaxed);
			if (!obj->recent)
				obj->recent = true;
			return obj;
		}
	}
	return NULL;
}

struct vfs_object *vfs_object_find(struct vfs_export *exp, const uint8_t *handle, size_t len)
{
	uint64_t hash = hash_bytes(handle, len);
	struct vfs_shard *s = shard_of(exp, hash);
	struct vfs_object *obj;

	mutex_lock(&s->lock);
	obj = table_find(exp, s, hash, handle, len);
	mutex_unlock(&s->lock);
	return obj;
}

void vfs_object_free(struct object *base)
{
	struct vfs_object *obj = vfs_object(base);

	if (likely(!atomic_load_explicit(&obj->unlinked, memory_order_relaxed))) {
		atomic_fetch_sub_explicit(&base->refs, 1, memory_order_release);
		return;
	}

	struct vfs_export *exp = vfs_object_export(obj);
	struct vfs_shard *s = shard_of(exp, obj->hash);
	bool last;

	mutex_lock(&s->lock);
	last = atomic_fetch_sub_explicit(&base->refs, 1, memory_order_acq_rel) == 1;
	if (last)
		table_remove(exp, s, obj);
	mutex_unlock(&s->lock);
	if (last)
		object_destroy(obj);
}

void vfs_object_unlinked(struct vfs_object *obj)
{
	struct statx sx;

	if (statx(obj->fd, "", AT_EMPTY_PATH, STATX_NLINK, &sx) == 0 && sx.stx_nlink == 0)
		atomic_store(&obj->unlinked, true);
}

/* ---- eviction ---- */

/*
 * Moves idle objects from the shard to `out`: at most `max`, and with `second_chance` only those
 * that nobody asked for since the last time. Returns how many. Those with unstable writes are left
 * out (see file.c), but for an export that closes.
 */
static unsigned shard_evict(struct vfs_export *exp, struct vfs_shard *s, unsigned max,
			    bool second_chance, bool and_unstable, struct list *out)
    REQUIRES(&s->lock)
{
	struct vfs_object *obj, *tmp;
	struct list seen;
	unsigned n = 0;

	list_init(&seen);
	list_for_each_safe (obj, tmp, &s->objects, link) {
		if (n == max)
			break;
		if (atomic_load_explicit(&obj->base.refs, memory_order_acquire) > 0)
			continue;
		if (obj->unstable && !and_unstable)
			continue;
		if (second_chance && obj->recent) {
			obj->recent = false;
			list_remove(&obj->link);
			list_push_back(&seen, &obj->link);
			continue;
		}
		table_remove(exp, s, obj);
		list_push_back(out, &obj->link);
		n++;
	}
	while ((obj = list_first(&seen, struct vfs_object, link))) {
		list_remove(&obj->link);
		list_push_back(&s->objects, &obj->link);
	}
	return n;
}

static void destroy_all(struct list *evicted)
{
	struct vfs_object *obj;

	while ((obj = list_first(evicted, struct vfs_object, link))) {
		list_remove(&obj->link);
		object_destroy(obj);
	}
}

/* Evicts up to `max` objects of each shard. */
static unsigned export_evict(struct vfs_export *exp, unsigned max, bool second_chance,
			     bool and_unstable)
{
	struct list evicted;
	unsigned n = 0;

	list_init(&evicted);
	for (unsigned i = 0; i < VFS_SHARDS; i++) {
		struct vfs_shard *s = &exp->shards[i];

		mutex_lock(&s->lock);
		n += shard_evict(exp, s, max, second_chance, and_unstable, &evicted);
		mutex_unlock(&s->lock);
	}
	destroy_all(&evicted);
	return n;
}

static bool is_unstable(const struct vfs_object *obj, bool in_use)
{
	return atomic_load(&obj->unstable) && (in_use || atomic_load(&obj->base.refs) == 0);
}

static unsigned count_unstable(struct vfs_shard *s, bool in_use)
{
	struct vfs_object *obj;
	unsigned n = 0;

	mutex_lock(&s->lock);
	list_for_each (obj, &s->objects, link)
		n += is_unstable(obj, in_use);
	mutex_unlock(&s->lock);
	return n;
}

/* With a reference; to the end of the list, so that the next time it is another one's turn. */
static struct vfs_object *next_unstable(struct vfs_shard *s, bool in_use)
{
	struct vfs_object *obj;

	mutex_lock(&s->lock);
	list_for_each (obj, &s->objects, link) {
		if (!is_unstable(obj, in_use))
			continue;
		object_ref(&obj->base);
		list_remove(&obj->link);
		list_push_back(&s->objects, &obj->link);
		mutex_unlock(&s->lock);
		return obj;
	}
	mutex_unlock(&s->lock);
	return NULL;
}

/* One that cannot be written does not keep the others from it. */
static unsigned shard_commit(struct vfs_shard *s, unsigned max, bool in_use)
{
	unsigned left = count_unstable(s, in_use), n = 0;

	for (; left > 0 && n < max; left--) {
		struct vfs_object *obj = next_unstable(s, in_use);

		if (!obj)
			break;
		n += vfs_try_commit(obj);
		object_unref(&obj->base);
	}
	return n;
}

/*
 * Commits up to `max` unstable objects of each shard, idle ones or all, upon which they have no
 * sync_fd and can be evicted; how many.
 */
static unsigned export_commit(struct vfs_export *exp, unsigned max, bool in_use)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VFS_SHARDS; i++)
		n += shard_commit(&exp->shards[i], max, in_use);
	return n;
}

/*
 * From the cheapest to what hurts: directories kept open, idle objects, here and in other exports; the descriptors of
 * open files that are not being used; unstable writes, which have to be committed first.
 */
bool vfs_shed(struct vfs_export *exp)
{
	struct vfs_export *e;
	unsigned n = vfs_listings_close(NULL, false) + export_evict(exp, 4, false, false);

	if (n > 0)
		return true;
	if (mutex_trylock(&registry_lock)) {
		list_for_each (e, &registry, registered)
			n += export_evict(e, 4, false, false);
		mutex_unlock(&registry_lock);
	}
	if (n > 0 || vfs_files_park())
		return true;
	if (export_commit(exp, 1, false) > 0 && export_evict(exp, 4, false, false) > 0)
		return true;
	return export_commit(exp, 1, true) > 0;
}

/*
 * Called when an object has been added to shard `s`, so that the table does not grow beyond its
 * bounds. Looks at a few shards only: when nearly all objects are in use there is nothing to win.
 */
static void keep_bounds(struct vfs_export *exp, const struct vfs_shard *s)
{
	unsigned first = (unsigned)(s - exp->shards), n = 0;
	struct list evicted;

	if (atomic_load_explicit(&exp->cached, memory_order_relaxed) <= exp->max_cached &&
	    atomic_load_explicit(&cached_all, memory_order_relaxed) <= cached_max)
		return;
	list_init(&evicted);
	for (unsigned i = 0; i < 4 && n == 0; i++) {
		struct vfs_shard *t = &exp->shards[(first + i) % VFS_SHARDS];

		mutex_lock(&t->lock);
		n = shard_evict(exp, t, 2, true, false, &evicted);
		if (n == 0)
			n = shard_evict(exp, t, 2, false, false, &evicted);
		mutex_unlock(&t->lock);
	}
	destroy_all(&evicted);
}

static void export_trim(struct vfs_export *exp, bool evict)
{
	export_commit(exp, UINT32_MAX, false);
	if (evict)
		export_evict(exp, UINT32_MAX, true, false);
	vfs_listings_close(exp, true);
	vfs_mounts_trim(exp);
}

void vfs_trim(struct vfs_export *exp)
{
	export_trim(exp, true);
}

void vfs_trim_at(struct vfs_export *exp, uint64_t now)
{
	bool due = now >= exp->evict_at;

	if (due)
		exp->evict_at = now + exp->cache_ns;
	export_trim(exp, due);
}

static void *trim(void *unused)
{
	struct vfs_export *e;
	uint64_t now;

	mutex_lock(&registry_lock);
	while (!trimmer_stop) {
		cond_wait_until(&trimmer_wake, &registry_lock,
				clock_mono_ns() + TRIM_SECONDS * NS_PER_SEC);
		if (trimmer_stop)
			break;
		now = clock_mono_ns();
		list_for_each (e, &registry, registered)
			vfs_trim_at(e, now);
	}
	mutex_unlock(&registry_lock);
	return NULL;
}

/* ---- the table ---- */

static unsigned descriptor_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur > DESCRIPTORS_MOST)
		return DESCRIPTORS_MOST;
	return (unsigned)rl.rlim_cur;
}

static int registry_add(struct vfs_export *exp)
{
	int err = 0;

	mutex_lock(&registry_lock);
	if (list_empty(&registry)) {
		cond_init(&trimmer_wake);
		trimmer_stop = false;
		err = -pthread_create(&trimmer, NULL, trim, NULL);
		if (err)
			cond_destroy(&trimmer_wake);
	}
	if (!err)
		list_push_back(&registry, &exp->registered);
	mutex_unlock(&registry_lock);
	return err;
}

static void registry_remove(struct vfs_export *exp)
{
	bool last;
	pthread_t thread;

	mutex_lock(&registry_lock);
	list_remove(&exp->registered);
	last = list_empty(&registry);
	thread = trimmer;
	trimmer_stop = last;
	mutex_unlock(&registry_lock);
	if (last) {
		cond_signal(&trimmer_wake);
		pthread_join(thread, NULL);
		cond_destroy(&trimmer_wake);
	}
}

static void table_free(struct vfs_export *exp)
{
	for (unsigned i = 0; i < VFS_SHARDS; i++) {
		free(exp->shards[i].buckets);
		mutex_destroy(&exp->shards[i].lock);
	}
}

int vfs_table_init(struct vfs_export *exp, const struct export_params *params)
{
	unsigned limit = descriptor_limit(), buckets = 16;
	int err = 0;

	cached_max = limit / 2;
	exp->max_cached = params->max_cached ? params->max_cached : limit / 2;
	exp->cache_ns = (params->cache_seconds ? params->cache_seconds : TRIM_SECONDS) * NS_PER_SEC;
	exp->evict_at = clock_mono_ns() + exp->cache_ns;
	while (buckets * VFS_SHARDS < exp->max_cached && buckets < BUCKETS_MOST)
		buckets *= 2;
	exp->bucket_mask = buckets - 1;
	for (unsigned i = 0; i < VFS_SHARDS; i++) {
		struct vfs_shard *s = &exp->shards[i];

		mutex_init(&s->lock);
		list_init(&s->objects);
		s->buckets = calloc(buckets, sizeof(struct vfs_object *));
		if (!s->buckets)
			err = -ENOMEM;
	}
	if (!err)
		err = registry_add(exp);
	if (err)
		table_free(exp);
	return err;
}

void vfs_table_destroy(struct vfs_export *exp)
{
	registry_remove(exp);
	export_evict(exp, UINT32_MAX, false, true);
	if (atomic_load(&exp->cached) != 0) {
		log_error("%s: closed with %u objects in use", exp->path, exp->cached);
		abort();
	}
	table_free(exp);
}

/* ---- from descriptors and handles ---- */

struct vfs_fd_name vfs_fd_name(int fd)
{
	struct vfs_fd_name n;
	unsigned rest = (unsigned)fd;
	size_t len = 1;

	for (unsigned r = rest / 10; r; r /= 10)
		len++;
	n.text[len] = '\0';
	do {
		n.text[--len] = (char)('0' + rest % 10);
		rest /= 10;
	} while (len > 0);
	return n;
}

static int proc_fd = -1;
static pthread_once_t proc_once = PTHREAD_ONCE_INIT;

static void open_proc(void)
{
	proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

int vfs_proc_fd(void)
{
	pthread_once(&proc_once, open_proc);
	return proc_fd;
}

static bool out_of_descriptors(int err)
{
	return err == EMFILE || err == ENFILE;
}

int vfs_reopen(struct vfs_export *exp, int fd, int flags)
{
	struct vfs_fd_name name = vfs_fd_name(fd);

	for (;;) {
		int new_fd = openat(vfs_proc_fd(), name.text, flags | O_CLOEXEC | O_NOCTTY);

		if (new_fd >= 0)
			return new_fd;
		if (!out_of_descriptors(errno))
			return -errno;
		if (!vfs_shed(exp))
			return -ENFILE;
	}
}

/*
 * Not by way of /proc, whose entry for a descriptor that has just been opened must first be made: that
 * takes five times as long.
 */
int vfs_path_of(struct vfs_export *exp, int fd)
{
	for (;;) {
		int path_fd = open_tree(fd, "", AT_EMPTY_PATH | OPEN_TREE_CLOEXEC);

		if (path_fd >= 0)
			return path_fd;
		if (!out_of_descriptors(errno))
			return vfs_reopen(exp, fd, O_PATH); /* older than Linux 5.2 */
		if (!vfs_shed(exp))
			return -ENFILE;
	}
}

/* A kernel handle with room for its bytes. */
union kernel_handle {
	struct file_handle h;
	char room[sizeof(struct file_handle) + VFS_KERNEL_HANDLE];
};

/* All of the handle that goes out but the kernel's bytes. */
static void encode_header(const struct vfs_mount *m, uint8_t kind, size_t len,
			  struct backend_handle *out)
{
	uint64_t id = htole64(m->id);

	out->len = (uint8_t)(VFS_HANDLE_HEADER + len);
	out->bytes[0] = VFS_HANDLE_VERSION;
	memcpy(out->bytes + 1, &id, sizeof(id));
	out->bytes[9] = kind;
}

/* The handle that goes out, of the kernel's handle and what identifies its file system. */
static int encode(const struct vfs_mount *m, const union kernel_handle *k,
		  struct backend_handle *out)
{
	if (k->h.handle_type < 0 || k->h.handle_type > UINT8_MAX)
		return -EOVERFLOW;
	encode_header(m, (uint8_t)k->h.handle_type, k->h.handle_bytes, out);
	memcpy(out->bytes + VFS_HANDLE_HEADER, k->h.f_handle, k->h.handle_bytes);
	return 0;
}

/* The handle of what `fd` stands for, and its mount with a reference. */
static int handle_of_fd(struct vfs_export *exp, int fd, struct backend_handle *out,
			struct vfs_mount **mount)
{
	union kernel_handle k = { .h.handle_bytes = VFS_KERNEL_HANDLE };
	struct vfs_mount *m;
	int mnt_id, err;

	if (name_to_handle_at(fd, "", &k.h, &mnt_id, AT_EMPTY_PATH) < 0)
		return -errno;
	m = vfs_mount_by_mnt_id(exp, (uint64_t)mnt_id);
	if (!m)
		return -EACCES;
	err = encode(m, &k, out);
	if (err)
		vfs_mount_unref(m);
	else
		*mount = m;
	return err;
}

/*
 * Most names are on their directory's mount, which needs no look-up and no reference then: both
 * are shared by all threads. *here tells whether this one is.
 */
static int handle_near(struct vfs_object *dir, const char *name, struct backend_handle *out,
		       bool *here)
{
	union kernel_handle k = { .h.handle_bytes = VFS_KERNEL_HANDLE };
	struct vfs_mount *m;
	int mnt_id, err;

	if (name_to_handle_at(dir->fd, name, &k.h, &mnt_id, 0) < 0)
		return -errno;
	*here = (uint64_t)mnt_id == dir->mount->mnt_id;
	if (likely(*here))
		return encode(dir->mount, &k, out);
	m = vfs_mount_by_mnt_id(vfs_object_export(dir), (uint64_t)mnt_id);
	if (!m)
		return -EACCES;
	err = encode(m, &k, out);
	vfs_mount_unref(m);
	return err;
}

int vfs_handle_at(struct vfs_object *dir, const char *name, struct backend_handle *out)
{
	bool here;

	return handle_near(dir, name, out, &here);
}

int vfs_handle_of(struct vfs_object *dir, const char *name, const struct statx *sx,
		  struct backend_handle *out)
{
	uint8_t kind, len;
	bool here;
	int err;

	if (vfs_handles_find(dir->mount, sx, &kind, out->bytes + VFS_HANDLE_HEADER, &len)) {
		encode_header(dir->mount, kind, len, out);
		return 0;
	}
	err = handle_near(dir, name, out, &here);
	/* Something may have been mounted there since. */
	if (!err && here)
		vfs_handles_keep(dir->mount, sx, out->bytes[9], out->bytes + VFS_HANDLE_HEADER,
				 out->len - VFS_HANDLE_HEADER);
	return err;
}

enum file_type vfs_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return FILE_DIRECTORY;
	case S_IFBLK:
		return FILE_BLOCK;
	case S_IFCHR:
		return FILE_CHAR;
	case S_IFLNK:
		return FILE_SYMLINK;
	case S_IFSOCK:
		return FILE_SOCKET;
	case S_IFIFO:
		return FILE_FIFO;
	default:
		return FILE_REGULAR;
	}
}

/* Makes the object; takes over `fd` and the reference to `m` if it succeeds. */
static int object_new(struct vfs_export *exp, int fd, struct vfs_mount *m,
		      const struct backend_handle *handle, struct vfs_object **out)
{
	struct vfs_object *obj;
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_NLINK | STATX_INO, &sx) < 0)
		return -errno;
	obj = calloc(1, sizeof(*obj));
	if (!obj)
		return -ENOMEM;
	obj->base.backend = &vfs_backend;
	obj->base.export = &exp->base;
	obj->base.type = vfs_type(sx.stx_mode);
	obj->base.refs = 1;
	obj->mount = m;
	obj->fd = fd;
	obj->handle = *handle;
	obj->hash = hash_bytes(handle->bytes, handle->len);
	obj->recent = true;
	obj->unlinked = sx.stx_nlink == 0;
	obj->sync_fd = -1;
	obj->settle_fd = -1;
	mutex_init(&obj->lock);
	mutex_init(&obj->commit_lock);
	list_init(&obj->link);
	obj->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
	obj->covered_fileid = vfs_subvolume(m, fd, obj->dev, sx.stx_ino);
	vfs_fsid(m, fd, obj->dev, &obj->fsid_major, &obj->fsid_minor);
	*out = obj;
	return 0;
}

/* Puts a new object into the table, unless somebody was faster: then it is theirs that counts. */
static struct vfs_object *table_insert(struct vfs_export *exp, struct vfs_object *obj)
{
	struct vfs_shard *s = shard_of(exp, obj->hash);
	struct vfs_object *other;

	mutex_lock(&s->lock);
	other = table_find(exp, s, obj->hash, obj->handle.bytes, obj->handle.len);
	if (!other) {
		struct vfs_object **bucket = bucket_of(exp, s, obj->hash);

		obj->next = *bucket;
		*bucket = obj;
		list_push_back(&s->objects, &obj->link);
		atomic_fetch_add_explicit(&exp->cached, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&cached_all, 1, memory_order_relaxed);
	}
	mutex_unlock(&s->lock);
	if (other) {
		object_destroy(obj);
		return other;
	}
	keep_bounds(exp, s);
	return obj;
}

int vfs_object_from_fd(struct vfs_export *exp, int fd, struct vfs_object **out)
{
	struct backend_handle handle;
	struct vfs_mount *m = NULL;
	struct vfs_object *obj;
	int err = handle_of_fd(exp, fd, &handle, &m);

	if (err)
		goto fail;
	obj = vfs_object_find(exp, handle.bytes, handle.len);
	if (obj) {
		vfs_mount_unref(m);
		close(fd);
		*out = obj;
		return 0;
	}
	err = object_new(exp, fd, m, &handle, &obj);
	if (err)
		goto fail;
	*out = table_insert(exp, obj);
	return 0;
fail:
	vfs_mount_unref(m);
	close(fd);
	return err;
}

static int open_path(struct vfs_export *exp, int dir_fd, const char *name)
{
	for (;;) {
		int fd = openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0)
			return fd;
		if (!out_of_descriptors(errno))
			return -errno;
		if (!vfs_shed(exp))
			return -ENFILE;
	}
}

int vfs_object_at(struct vfs_object *dir, const char *name, struct vfs_object **out)
{
	struct vfs_export *exp = vfs_object_export(dir);
	struct backend_handle handle;
	struct vfs_object *obj;
	int fd, err = vfs_handle_at(dir, name, &handle);

	if (err)
		return err;
	obj = vfs_object_find(exp, handle.bytes, handle.len);
	if (obj) {
		*out = obj;
		return 0;
	}
	/* What the name stands for may have changed by now: the descriptor decides. */
	fd = open_path(exp, dir->fd, name);
	if (fd < 0)
		return fd;
	return vfs_object_from_fd(exp, fd, out);
}

int vfs_to_handle(struct object *obj, struct backend_handle *out)
{
	*out = vfs_object(obj)->handle;
	return 0;
}

static int open_handle(struct vfs_export *exp, const struct vfs_mount *m, const uint8_t *bytes,
		       size_t len)
{
	union kernel_handle k;

	k.h.handle_bytes = (unsigned)(len - VFS_HANDLE_HEADER);
	k.h.handle_type = bytes[9];
	memcpy(k.h.f_handle, bytes + VFS_HANDLE_HEADER, len - VFS_HANDLE_HEADER);
	for (unsigned attempt = 0;; attempt++) {
		int fd = open_by_handle_at(m->fd, &k.h, O_PATH | O_NOFOLLOW | O_CLOEXEC);

		if (fd >= 0)
			return fd;
		/* The kernel says so also while the inode number is being used for a new file. */
		if (errno == ENOMEM && attempt < 8) {
			nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
			continue;
		}
		if (errno == ENOENT)
			return -ESTALE;
		if (errno == EINVAL)
			return -EBADF;
		if (!out_of_descriptors(errno))
			return -errno;
		if (!vfs_shed(exp))
			return -ENFILE;
	}
}

int vfs_from_handle(struct backend_export *base, const uint8_t *bytes, size_t len,
		    struct object **out)
{
	struct vfs_export *exp = vfs_export(base);
	struct vfs_object *obj;
	struct vfs_mount *m;
	uint64_t id = 0;
	int fd, err;

	if (len <= VFS_HANDLE_HEADER || len > BACKEND_HANDLE_MAX || bytes[0] != VFS_HANDLE_VERSION)
		return -EBADF;
	obj = vfs_object_find(exp, bytes, len);
	if (likely(obj)) {
		*out = &obj->base;
		return 0;
	}
	for (unsigned i = 0; i < 8; i++)
		id |= (uint64_t)bytes[1 + i] << (8 * i);
	m = vfs_mount_by_id(exp, id);
	if (!m)
		return -ESTALE;
	err = vfs_assume_privileged();
	if (!err) {
		fd = open_handle(exp, m, bytes, len);
		err = fd < 0 ? fd : vfs_object_from_fd(exp, fd, &obj);
	}
	if (err == -ESTALE)
		vfs_handles_forget(m, bytes[9], bytes + VFS_HANDLE_HEADER, len - VFS_HANDLE_HEADER);
	vfs_mount_unref(m);
	if (!err)
		*out = &obj->base;
	return err;
}

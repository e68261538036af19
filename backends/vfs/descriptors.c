/*
 * The descriptors of open files, of which there can be more than descriptors.
 *
 *	            park: idle, and descriptors are short
 *	[open] ------------------------------------------------> [parked]
 *	   ^     use: opened again by its handle, as the server      |
 *	   `---------------------------------------------------------'
 *
 * An open file has two descriptors, its own and its object's. When there are more open files than a
 * quarter of RLIMIT_NOFILE or OPEN_MOST, or descriptors have run out, files that nobody works on are parked:
 * they keep their handle only. Whoever uses a parked file opens it again, without asking
 * for permission, which its open had. Never parked is a file that has no name any more (it could
 * not be opened again), that has locks (which belong to the description), or whose descriptor is on its
 * way to a socket. Removing the last name of a parked file through Atoll opens it first; a local
 * process that does so makes it stale.
 *
 * `pins` counts the users of the descriptors, with PARKED as the highest bit. Using an open
 * file is one addition. Parking changes 0 to PARKED, so only what nobody uses is parked; a user
 * who finds PARKED set opens the file on his own, and then, under the shard's lock, either gives it
 * to the file or finds that somebody was faster (or that it was not parked after all).
 *
 * Files are in shards by their handles. Second chance (`recent`) chooses whom to park.
 */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/hash.h"
#include "base/log.h"

#define PARKED	     (1u << 31)
#define SHARDS	     64
#define PARKED_LISTS 64 /* of a shard, by the handle */
#define LOOK_AT	     64 /* files of a shard, when some are to be parked */
#define PARK_BATCH   8
#define OPEN_MOST    65536 /* each keeps an inode and some 2 KiB in the kernel */

struct shard {
	struct mutex lock;
	bool ready;
	struct list open; /* under lock, as the next; parking looks from the front */
	struct list parked[PARKED_LISTS];
};

static struct shard shards[SHARDS] = { [0 ... SHARDS - 1] = { .lock = MUTEX_INITIALIZER } };
static _Atomic uint32_t nopen, nparked;
static _Atomic unsigned next_shard;

static uint64_t handle_hash(const struct backend_handle *h)
{
	return hash_bytes(h->bytes, h->len);
}

/* Lists need their heads before the first use. */
static struct shard *shard_lock(uint64_t hash) ACQUIRES(shards[0].lock) NO_THREAD_SAFETY
{
	struct shard *s = &shards[hash % SHARDS];

	mutex_lock(&s->lock);
	if (unlikely(!s->ready)) {
		list_init(&s->open);
		for (unsigned i = 0; i < PARKED_LISTS; i++)
			list_init(&s->parked[i]);
		s->ready = true;
	}
	return s;
}

static void shard_unlock(struct shard *s) RELEASES(shards[0].lock) NO_THREAD_SAFETY
{
	mutex_unlock(&s->lock);
}

static struct list *parked_list(struct shard *s, uint64_t hash)
{
	return &s->parked[hash / SHARDS % PARKED_LISTS];
}

/* RLIMIT_NOFILE is settled before the first file is opened. */
static uint32_t open_max(void)
{
	static _Atomic uint32_t max;
	struct rlimit rl;

	if (likely(max))
		return max;
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur > 1u << 20)
		rl.rlim_cur = 1u << 20;
	max = rl.rlim_cur >= 16 ? (uint32_t)rl.rlim_cur / 4 : 4;
	if (max > OPEN_MOST)
		max = OPEN_MOST;
	return max;
}

/* ---- parking ---- */

struct dropped {
	unsigned n;
	int fds[PARK_BATCH];
	struct vfs_object *objects[PARK_BATCH];
};

static bool has_name(const struct vfs_file *f)
{
	struct statx sx;

	return !atomic_load(&f->obj->unlinked) &&
	       statx(f->fd, "", AT_EMPTY_PATH, STATX_NLINK, &sx) == 0 && sx.stx_nlink > 0;
}

/* With the shard locked. False: somebody uses it, or it must stay open. */
static bool park(struct shard *s, struct vfs_file *f, struct dropped *out)
{
	uint32_t nobody = 0;

	if (!atomic_compare_exchange_strong(&f->pins, &nobody, PARKED))
		return false;
	if (!has_name(f)) {
		atomic_fetch_and(&f->pins, ~PARKED);
		return false;
	}
	out->fds[out->n] = f->fd;
	out->objects[out->n++] = f->obj;
	f->fd = -1;
	f->obj = NULL;
	list_remove(&f->link);
	list_push_back(parked_list(s, f->hash), &f->link);
	atomic_fetch_sub(&nopen, 1);
	atomic_fetch_add(&nparked, 1);
	return true;
}

/* Without the shard's lock. */
static void drop_all(const struct dropped *dropped)
{
	for (unsigned i = 0; i < dropped->n; i++) {
		close(dropped->fds[i]);
		object_unref(&dropped->objects[i]->base);
	}
}

/* Parks some files of the shard; those used lately get another chance if `second_chance`. */
static unsigned park_some(unsigned index, bool second_chance)
{
	struct shard *s = shard_lock(index);
	struct dropped dropped = { 0 };

	for (unsigned i = 0; i < LOOK_AT && dropped.n < PARK_BATCH; i++) {
		struct vfs_file *f = list_first(&s->open, struct vfs_file, link);

		if (!f)
			break;
		if (!(second_chance && atomic_exchange(&f->recent, false)) &&
		    park(s, f, &dropped))
			continue;
		list_remove(&f->link);
		list_push_back(&s->open, &f->link);
	}
	shard_unlock(s);
	drop_all(&dropped);
	return dropped.n;
}

static void keep_bounds(void)
{
	for (unsigned i = 0; i < SHARDS && atomic_load(&nopen) > open_max(); i++) {
		unsigned index = atomic_fetch_add(&next_shard, 1) % SHARDS;

		if (park_some(index, true) == 0)
			park_some(index, false);
	}
}

bool vfs_files_park(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < SHARDS && n < PARK_BATCH; i++)
		n += park_some(atomic_fetch_add(&next_shard, 1) % SHARDS, false);
	return n > 0;
}

/*
 * So that what else is open here is not taken for somebody else's: they are opened again when they
 * are used. Those being used stay.
 */
bool vfs_files_park_others(const struct vfs_file *keep)
{
	struct dropped dropped = { 0 };
	struct shard *s = shard_lock(keep->hash);
	struct vfs_file *f, *next;

	list_for_each_safe (f, next, &s->open, link) {
		if (dropped.n == PARK_BATCH)
			break;
		if (f != keep && f->hash == keep->hash && f->handle.len == keep->handle.len &&
		    memcmp(f->handle.bytes, keep->handle.bytes, keep->handle.len) == 0)
			park(s, f, &dropped);
	}
	shard_unlock(s);
	drop_all(&dropped);
	return dropped.n > 0;
}

/* ---- coming and going ---- */

void vfs_file_register(struct vfs_file *f)
{
	struct shard *s;

	f->hash = f->obj->hash;
	f->recent = true;
	s = shard_lock(f->hash);
	list_push_back(&s->open, &f->link);
	shard_unlock(s);
	atomic_fetch_add(&nopen, 1);
	keep_bounds();
}

void vfs_file_unregister(struct vfs_file *f)
{
	struct shard *s = shard_lock(f->hash);

	list_remove(&f->link);
	shard_unlock(s);
	if (f->fd < 0) {
		atomic_fetch_sub(&nparked, 1);
		return;
	}
	atomic_fetch_sub(&nopen, 1);
	close(f->fd);
	object_unref(&f->obj->base);
}

/* ---- using ---- */

static int open_again(const struct vfs_file *f, struct vfs_object **obj)
{
	struct backend_export *exp = f->shell.export;
	struct object *base;
	int fd, err = vfs_from_handle(exp, f->handle.bytes, f->handle.len, &base);

	if (err)
		return err;
	err = vfs_assume_privileged();
	fd = err ? err : vfs_reopen(vfs_export(exp), vfs_object(base)->fd,
				    vfs_open_flags(f->base.access));
	if (fd < 0)
		object_unref(base);
	else
		*obj = vfs_object(base);
	return fd;
}

static int unpark(struct vfs_file *f)
{
	struct vfs_object *obj = NULL;
	int fd = open_again(f, &obj);
	struct shard *s;

	if (fd < 0)
		return fd;
	s = shard_lock(f->hash);
	if (atomic_load(&f->pins) & PARKED) {
		if (f->fd < 0) {
			f->fd = fd;
			f->obj = obj;
			fd = -1;
			list_remove(&f->link);
			list_push_back(&s->open, &f->link);
			atomic_fetch_sub(&nparked, 1);
			atomic_fetch_add(&nopen, 1);
		}
		atomic_fetch_and(&f->pins, ~PARKED);
	}
	shard_unlock(s);
	if (fd >= 0) {
		close(fd);
		object_unref(&obj->base);
	}
	keep_bounds();
	return 0;
}

int vfs_file_use(struct vfs_file *f)
{
	uint32_t pins = atomic_fetch_add(&f->pins, 1);
	int err = 0;

	if (!atomic_load_explicit(&f->recent, memory_order_relaxed))
		atomic_store_explicit(&f->recent, true, memory_order_relaxed);
	if (unlikely(pins & PARKED)) {
		err = unpark(f);
		if (err)
			vfs_file_done(f);
	}
	return err;
}

void vfs_file_done(struct vfs_file *f)
{
	atomic_fetch_sub(&f->pins, 1);
}

/* False: the last reference has gone, and whoever gave it back is about to unregister it. */
static bool ref_if_any(struct vfs_file *f)
{
	uint32_t refs = atomic_load(&f->base.refs);

	while (refs > 0) {
		if (atomic_compare_exchange_weak(&f->base.refs, &refs, refs + 1))
			return true;
	}
	return false;
}

/* A parked file of that handle, with a reference; NULL: there is none. */
static struct vfs_file *pin_parked(const struct backend_handle *handle, uint64_t hash)
{
	struct shard *s = shard_lock(hash);
	struct vfs_file *f, *found = NULL;

	list_for_each (f, parked_list(s, hash), link) {
		if (f->hash == hash && f->handle.len == handle->len &&
		    memcmp(f->handle.bytes, handle->bytes, handle->len) == 0 && ref_if_any(f)) {
			found = f;
			break;
		}
	}
	shard_unlock(s);
	return found;
}

bool vfs_files_parked(void)
{
	return atomic_load_explicit(&nparked, memory_order_relaxed) != 0;
}

void vfs_files_revive(const struct backend_handle *handle)
{
	uint64_t hash;
	struct vfs_file *f;
	int err = 0;

	if (likely(atomic_load(&nparked) == 0))
		return;
	hash = handle_hash(handle);
	while (!err && (f = pin_parked(handle, hash))) {
		err = vfs_file_use(f);
		if (!err)
			vfs_file_done(f);
		file_unref(&f->base);
	}
	vfs_drop_privileges();
}

/* Parked files have names. */
void vfs_files_nameless(void (*fn)(void *arg, int fd, const struct backend_handle *handle),
			void *arg)
{
	struct vfs_file *f;

	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *s = shard_lock(i);

		list_for_each (f, &s->open, link) {
			if (!has_name(f))
				fn(arg, f->fd, &f->handle);
		}
		shard_unlock(s);
	}
}

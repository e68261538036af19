/*
 * Handles of directory entries, remembered: a listing with attributes has just called statx(2) on an
 * entry, and asking for its handle as well would walk to the name a second time.
 *
 * What makes an inode the one that it is, is its number and when it was made: (ino, btime). The
 * handle is a function of the inode, so it can be remembered by them, if
 *  - the handle has been told by the kernel for that inode: it names the inode's number in its
 *    first bytes (the kinds of handles known here do). Should the name have got another inode between
 *    statx and name_to_handle_at, its number differs, or the inode of before is gone for good
 *    and nobody will ask for it again;
 *  - no other inode can come to have both: btime is older than OLD_ENOUGH, so whatever is made
 *    with this number from now on has a later one.
 * What remains is a clock that is set back to the very nanosecond, and an administrator who changes a
 * generation by hand; a handle that turns out to be stale is forgotten.
 *
 * The memory is a table of a fixed size for each mount, indexed by the inode's number: neighbours in a
 * directory tend to be neighbours there. A slot is read without a lock: its first word is odd while it
 * is written and differs afterwards.
 */
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define SLOTS	   (1u << 16)
#define BYTES_MAX  32 /* of the kernel's handle */
#define OLD_ENOUGH (2 * NS_PER_SEC)

/* Kinds of handles, as the kernel's file systems number them. */
#define INO32_GEN 1    /* ino (32 bits), generation: ext4, xfs */
#define INO64_GEN 0x81 /* ino (64 bits), generation: xfs */
#define BTRFS	  0x4d /* ino (64 bits), subvolume, generation */

/* sequence; ino; btime's seconds; its nanoseconds, kind and length; the bytes: one cache line */
enum { SEQ, INO, SEC, REST, BYTES, WORDS = BYTES + BYTES_MAX / 8 };

struct slot {
	_Alignas(64) _Atomic uint64_t w[WORDS];
};

struct vfs_handles {
	struct slot slots[SLOTS];
};

static uint64_t rest_of(uint32_t nsec, uint8_t kind, uint8_t len)
{
	return (uint64_t)nsec << 32 | (uint64_t)kind << 8 | len;
}

/* The inode's number in a handle, if it is of a kind known to have it. */
static bool ino_of(long fs_type, uint8_t kind, const uint8_t *bytes, size_t len, uint64_t *ino)
{
	bool narrow = kind == INO32_GEN && len == 8 &&
		      (fs_type == EXT4_SUPER_MAGIC || fs_type == XFS_SUPER_MAGIC);
	bool wide = (kind == INO64_GEN && len == 12 && fs_type == XFS_SUPER_MAGIC) ||
		    (kind == BTRFS && len == 20 && fs_type == BTRFS_SUPER_MAGIC);
	uint32_t ino32;

	if (narrow) {
		memcpy(&ino32, bytes, 4);
		*ino = ino32;
	} else if (wide) {
		memcpy(ino, bytes, 8);
	}
	return narrow || wide;
}

bool vfs_handles_find(struct vfs_mount *m, const struct statx *sx, uint8_t *kind, uint8_t *bytes,
		      uint8_t *len)
{
	struct vfs_handles *h = atomic_load_explicit(&m->handles, memory_order_acquire);
	const struct slot *slot;
	uint64_t seq, w[WORDS];

	if (!h || !(sx->stx_mask & STATX_BTIME))
		return false;
	slot = &h->slots[sx->stx_ino % SLOTS];
	seq = atomic_load_explicit(&slot->w[SEQ], memory_order_acquire);
	for (unsigned i = INO; i < WORDS; i++)
		w[i] = atomic_load_explicit(&slot->w[i], memory_order_acquire);
	if ((seq & 1) || atomic_load_explicit(&slot->w[SEQ], memory_order_relaxed) != seq ||
	    w[INO] != sx->stx_ino || w[SEC] != (uint64_t)sx->stx_btime.tv_sec ||
	    w[REST] >> 32 != sx->stx_btime.tv_nsec || (w[REST] & 0xff) == 0)
		return false;
	*kind = (uint8_t)(w[REST] >> 8);
	*len = (uint8_t)w[REST];
	memcpy(bytes, &w[BYTES], *len);
	return true;
}

void vfs_handles_prefetch(struct vfs_mount *m, uint64_t ino)
{
	struct vfs_handles *h = atomic_load_explicit(&m->handles, memory_order_acquire);

	if (h)
		__builtin_prefetch(&h->slots[ino % SLOTS]);
}

/* The table of a mount, made when it is first needed. NULL: out of memory. */
static struct vfs_handles *table_of(struct vfs_mount *m)
{
	struct vfs_handles *h = atomic_load_explicit(&m->handles, memory_order_acquire), *none = NULL;

	if (h)
		return h;
	/* Pages without a handle take no memory. */
	h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (h == MAP_FAILED)
		return NULL;
	if (!atomic_compare_exchange_strong(&m->handles, &none, h)) {
		munmap(h, sizeof(*h));
		h = none;
	}
	return h;
}

void vfs_handles_free(struct vfs_mount *m)
{
	struct vfs_handles *h = atomic_load(&m->handles);

	if (h)
		munmap(h, sizeof(*h));
}

static void slot_write(struct slot *slot, const uint64_t w[WORDS])
{
	uint64_t seq = atomic_load_explicit(&slot->w[SEQ], memory_order_relaxed);

	/* Another writer is as good. */
	if ((seq & 1) || !atomic_compare_exchange_strong(&slot->w[SEQ], &seq, seq + 1))
		return;
	for (unsigned i = INO; i < WORDS; i++)
		atomic_store_explicit(&slot->w[i], w[i], memory_order_release);
	atomic_store_explicit(&slot->w[SEQ], seq + 2, memory_order_release);
}

void vfs_handles_keep(struct vfs_mount *m, const struct statx *sx, uint8_t kind,
		      const uint8_t *bytes, size_t len)
{
	uint64_t now = clock_ns(CLOCK_REALTIME_COARSE), w[WORDS] = { 0 }, ino;
	struct vfs_handles *h;

	if (!(sx->stx_mask & STATX_BTIME) || sx->stx_btime.tv_sec <= 0 || len > BYTES_MAX ||
	    !ino_of(m->fs_type, kind, bytes, len, &ino) || ino != sx->stx_ino ||
	    (uint64_t)sx->stx_btime.tv_sec * NS_PER_SEC + sx->stx_btime.tv_nsec + OLD_ENOUGH > now)
		return;
	h = table_of(m);
	if (!h)
		return;
	w[INO] = ino;
	w[SEC] = (uint64_t)sx->stx_btime.tv_sec;
	w[REST] = rest_of(sx->stx_btime.tv_nsec, kind, (uint8_t)len);
	memcpy(&w[BYTES], bytes, len);
	slot_write(&h->slots[ino % SLOTS], w);
}

void vfs_handles_forget(struct vfs_mount *m, uint8_t kind, const uint8_t *bytes, size_t len)
{
	struct vfs_handles *h = atomic_load_explicit(&m->handles, memory_order_acquire);
	static const uint64_t nothing[WORDS];
	uint64_t ino;

	if (h && ino_of(m->fs_type, kind, bytes, len, &ino))
		slot_write(&h->slots[ino % SLOTS], nothing);
}

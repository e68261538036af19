/*
 * The change attribute, made of ctime.
 *
 * A change attribute must never be the same for two states of an object. ctime alone is not
 * enough on most kernels: its clock moves once a tick (1 to 10 ms), so a file that is looked at and
 * changed again within a tick keeps its ctime. Linux 6.13 and later stamp a file anew, to the
 * nanosecond, if anybody has looked at its times since the last change (multigrain timestamps); on
 * ext4, xfs and btrfs ctime does serve then. (On tmpfs it does not: removing a name gives the
 * directory the stamp of the removed file, which may not be new.) Elsewhere, T being an object's
 * ctime:
 *
 *  - Settled: the clock that the kernel stamps with (CLOCK_REALTIME_COARSE, cut to the file
 *    system's granularity) had moved past T before the object was looked at, so no further change
 *    can get T. The value is 2 T.
 *  - Unsettled: a further change may get T again. Every look gets a value of its own, 2 N + 1
 *    where N is the fine clock, or one more than the last N if that is greater.
 *
 * Settled and unsettled values are never equal, no two looks at an unsettled object are given one
 * value, and nothing needs to be remembered over a restart. The price: a file looked at within a
 * tick of its change seems to change once more when it settles, and the values do not always grow,
 * so they are of NFSv4.2's change_attr_type "undefined".
 *
 * Several nodes that serve one file system look at the same object, each with its own clock. Their
 * unsettled values are kept apart by the node's number in the low bits of N. A settled value must be
 * safe from stamps that the slowest node's clock has yet to give: an object counts as settled only
 * SKEW after its stamp, and clocks may differ by as much. (Two nodes that look at one unsettled
 * state give it two values, so that it seems to change; it never seems not to.)
 *
 * What remains: a clock that is set back, or a cluster file system whose nodes' clocks disagree,
 * can bring an old stamp back, as with every server that works from ctime. Stamps more
 * than a second in the future are taken for leftovers of such a clock, and for settled.
 */
#include <linux/magic.h>
#include <sys/utsname.h>
#include <stdio.h>
#include <time.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

struct vfs_instant vfs_instant(uint64_t granularity)
{
	struct vfs_instant now = { 0, 0 };

	if (granularity != 0) {
		now.coarse = clock_ns(CLOCK_REALTIME_COARSE);
		now.fine = clock_real_ns();
	}
	return now;
}

#define NODES 64 /* whose numbers differ in the low bits; a power of two */
#define SKEW  (20 * NS_PER_MS)

/* The fine clock, but never twice the same, and with the node's number at its end. */
static uint64_t unique_time(uint64_t fine)
{
	static _Atomic uint64_t last;
	uint64_t before = atomic_load(&last), now, node = backend_node() % NODES;

	if (node)
		fine = (fine & ~(uint64_t)(NODES - 1)) | node;
	do {
		if (fine > before)
			now = fine;
		else if (node)
			now = ((before & ~(uint64_t)(NODES - 1)) + NODES) | node;
		else
			now = before + 1;
	} while (!atomic_compare_exchange_weak(&last, &before, now));
	return now;
}

uint64_t vfs_change(uint64_t granularity, const struct timespec *ctime, struct vfs_instant before)
{
	uint64_t t = (uint64_t)ctime->tv_sec * NS_PER_SEC + (uint64_t)ctime->tv_nsec;

	if (granularity == 0)
		return t;
	if (backend_node())
		before.coarse -= SKEW;
	if (before.coarse - before.coarse % granularity > t || t > before.fine + NS_PER_SEC)
		return 2 * t;
	return 2 * unique_time(before.fine) + 1;
}

static bool kernel_at_least(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned a, b;

	if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &a, &b) != 2)
		return false;
	return a > major || (a == major && b >= minor);
}

static bool is_multigrain(long fs_type)
{
	return fs_type == EXT4_SUPER_MAGIC || fs_type == XFS_SUPER_MAGIC ||
	       fs_type == BTRFS_SUPER_MAGIC;
}

uint64_t vfs_granularity(int root_fd, long fs_type)
{
	struct statx sx;

	/* ext4 made with inodes of 128 bytes has whole seconds only, and no birth time. */
	if (fs_type == EXT4_SUPER_MAGIC &&
	    statx(root_fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) == 0 &&
	    !(sx.stx_mask & STATX_BTIME))
		return NS_PER_SEC;
	if (fs_type == MSDOS_SUPER_MAGIC)
		return 2 * NS_PER_SEC;
	return is_multigrain(fs_type) && kernel_at_least(6, 13) ? 0 : 1;
}

/*
 * The change attribute, made of ctime.
 *
 * A change attribute must never be the same for two states of an object. ctime alone is not
 * enough on most kernels: its clock moves once a tick (1 to 10 ms), so a file read and changed
 * again within a tick keeps its ctime. Linux 6.13 and later stamp a file anew, to the nanosecond,
 * if anybody has looked at its times since the last change (multigrain timestamps: ext4, xfs,
 * btrfs, tmpfs); there ctime does serve. Elsewhere, with D the length of a tick (or the file
 * system's granularity if that is coarser) and T an object's ctime:
 *
 *  - Settled: the clock that the kernel stamps with (CLOCK_REALTIME_COARSE) had moved past T before
 *    the object was looked at, so no further change can get T. The value is T + D.
 *  - Unsettled: a further change may get T again. Every look gets a value of its own, the fine
 *    clock's reading from before the look, at least T and less than T + D, and greater than any
 *    such value given before by this process.
 *
 * Values of one T are all in [T, T + D], the settled one last; the next T' is at least T + D later,
 * so values grow, none stands for two states, and nothing needs to be remembered over a restart.
 * The price: a file looked at within a tick of its change shows one change more than there was. If
 * the tick is late, such that no value below T + D is left, the look is repeated until the tick has
 * come.
 *
 * What remains: a clock that is set back, or a cluster file system whose nodes' clocks disagree,
 * can bring an old stamp back, as with every server that works from ctime.
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

/* The greatest value given for an unsettled state. */
static _Atomic uint64_t last_unsettled;

struct vfs_instant vfs_instant(uint64_t granularity)
{
	struct vfs_instant now = { 0, 0 };

	if (granularity != 0) {
		now.coarse = clock_ns(CLOCK_REALTIME_COARSE);
		now.fine = clock_real_ns();
	}
	return now;
}

/*
 * A value from `at` on that nobody was given before; false if it would reach `limit`. A last value
 * far ahead is from before the clock was set back, and forgotten.
 */
static bool unsettled(uint64_t at, uint64_t limit, uint64_t *change)
{
	uint64_t last = atomic_load(&last_unsettled), value;

	do {
		value = last >= at && last - at < NS_PER_SEC ? last + 1 : at;
		if (value >= limit)
			return false;
	} while (!atomic_compare_exchange_weak(&last_unsettled, &last, value));
	*change = value;
	return true;
}

bool vfs_change(uint64_t granularity, const struct timespec *ctime, struct vfs_instant before,
		uint64_t *change)
{
	uint64_t t = (uint64_t)ctime->tv_sec * NS_PER_SEC + (uint64_t)ctime->tv_nsec;

	if (granularity == 0) {
		*change = t;
		return true;
	}
	if (before.coarse - before.coarse % (granularity >= NS_PER_SEC ? granularity : 1) > t) {
		*change = t + granularity;
		return true;
	}
	/* A stamp from a clock ahead of ours: the clock was set back, nothing gets that stamp now.
	 */
	if (t > clock_ns(CLOCK_REALTIME_COARSE)) {
		*change = t + granularity;
		return true;
	}
	return unsettled(before.fine > t ? before.fine : t, t + granularity, change);
}

void vfs_change_wait(void)
{
	struct timespec ts = { .tv_nsec = 200000 };

	blocking_section();
	nanosleep(&ts, NULL);
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
	       fs_type == BTRFS_SUPER_MAGIC || fs_type == TMPFS_MAGIC;
}

uint64_t vfs_granularity(int root_fd, long fs_type)
{
	struct timespec tick;
	struct statx sx;

	/* ext4 made with inodes of 128 bytes has whole seconds only, and no birth time. */
	if (fs_type == EXT4_SUPER_MAGIC &&
	    statx(root_fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) == 0 &&
	    !(sx.stx_mask & STATX_BTIME))
		return NS_PER_SEC;
	if (fs_type == MSDOS_SUPER_MAGIC)
		return 2 * NS_PER_SEC;
	if (is_multigrain(fs_type) && kernel_at_least(6, 13))
		return 0;
	/* A little less than a tick, as the clock may be slewed by a two-thousandth. */
	if (clock_getres(CLOCK_REALTIME_COARSE, &tick) < 0 || tick.tv_sec > 0)
		return 10 * NS_PER_MS;
	return (uint64_t)tick.tv_nsec - (uint64_t)tick.tv_nsec / 256;
}

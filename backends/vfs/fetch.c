/*
 * The attributes and handles of a directory's entries, fetched by two threads while only one
 * READDIR is under way: each statx(2) waits for memory more than it computes, and a second processor
 * would idle.
 *
 * The serving thread offers a batch of entries (struct vfs_fetch) and takes them back in their
 * order. Both it and one helper thread claim runs of CHUNK entries, the first that nobody has; who
 * claims them fills them in. So the serving thread does everything by itself if the helper
 * gets no processor, and waits only for a run that the helper has begun. The helper acts as the caller
 * (credentials.c), hence the kernel permits it what it permits the caller, and sleeps without a batch.
 *
 *	idle --start: offered--> helper in --nothing to claim--> idle
 *	          stop: nothing to claim any more, and the helper is out
 *
 * What was fetched and not taken when a READDIR stops is thrown away: attributes are never older
 * than the request that they are told to.
 *
 * When other READDIRs run at the same time, or the helper came too late (LATE), there is
 * no idle processor: for QUIET_NS nobody is helped. Neither on a single processor, nor while the thread
 * cannot be made.
 *
 * Locking: `busy` says whose the one batch is. The owner writes what the helper only reads while the
 * helper is out; an entry is written by who has claimed it and read by the owner afterwards, with
 * `lock` taken in between. Nothing else is locked below `lock`.
 */
#include <sched.h>
#include <string.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"
#include "base/log.h"

#define CHUNK	 8
#define LATE	 256 /* entries that the serving thread has fetched before the helper came */
#define QUIET_NS (20 * NS_PER_MS)

static struct vfs_fetch the_fetch = { .lock = MUTEX_INITIALIZER };
static atomic_bool busy;
static _Atomic unsigned readers;	     /* READDIRs with attributes */
static _Atomic uint64_t crowded_ns;	     /* when no processor was idle; clock_coarse_ns() */
static enum { NONE, THERE, USELESS } helper; /* under `busy` */

static bool claim(struct vfs_fetch *f, unsigned *from, unsigned *to) REQUIRES(f->lock)
{
	if (f->next >= f->n)
		return false;
	*from = f->next;
	*to = f->n - f->next < CHUNK ? f->n : f->next + CHUNK;
	f->next = *to;
	return true;
}

static void fill(struct vfs_fetch *f, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++) {
		if (f->args->want_handle && i + 1 < to)
			vfs_handles_prefetch(f->dir->mount, f->dirent[i + 1]->d_ino);
		vfs_fill_entry(f->dir, f->dirent[i], f->args, &f->entry[i]);
	}
}

/* ---- the helper ---- */

static void help(struct vfs_fetch *f) REQUIRES(f->lock)
{
	unsigned from, to;
	int err;

	mutex_unlock(&f->lock);
	err = vfs_assume(f->cred);
	mutex_lock(&f->lock);
	while (!err && claim(f, &from, &to)) {
		f->helper_from = from;
		f->helper_to = to;
		f->helped = true;
		mutex_unlock(&f->lock);
		fill(f, from, to);
		mutex_lock(&f->lock);
		f->helper_from = f->helper_to = 0;
		cond_signal(&f->progress);
	}
}

static void *helper_main(void *arg)
{
	struct vfs_fetch *f = arg;

	mutex_lock(&f->lock);
	for (;;) {
		while (!f->offered)
			cond_wait(&f->work, &f->lock);
		f->offered = false;
		f->helper_in = true;
		help(f);
		f->helper_in = false;
		cond_signal(&f->progress);
	}
	return NULL;
}

static void helper_start(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t set;
	int err;

	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) < 2) {
		helper = USELESS;
		return;
	}
	if (pthread_attr_init(&attr) != 0)
		return;
	cond_init(&the_fetch.work);
	cond_init(&the_fetch.progress);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	err = pthread_create(&thread, &attr, helper_main, &the_fetch);
	pthread_attr_destroy(&attr);
	if (!err) {
		helper = THERE;
		return;
	}
	cond_destroy(&the_fetch.work);
	cond_destroy(&the_fetch.progress);
	/* Not again at once. */
	atomic_store_explicit(&crowded_ns, clock_coarse_ns(), memory_order_relaxed);
	log_debug("no thread to share listings with: %s", strerror(err));
}

/* ---- the serving thread ---- */

static bool is_crowded(unsigned others)
{
	uint64_t now = clock_coarse_ns(), last;

	if (others)
		atomic_store_explicit(&crowded_ns, now, memory_order_relaxed);
	last = atomic_load_explicit(&crowded_ns, memory_order_relaxed);
	return last && now - last < QUIET_NS;
}

struct vfs_fetch *vfs_fetch_enter(void)
{
	unsigned others = atomic_fetch_add_explicit(&readers, 1, memory_order_relaxed);
	bool no = false;

	if (is_crowded(others) || !atomic_compare_exchange_strong(&busy, &no, true))
		return NULL;
	if (helper == NONE)
		helper_start();
	if (helper == THERE)
		return &the_fetch;
	atomic_store(&busy, false);
	return NULL;
}

void vfs_fetch_leave(struct vfs_fetch *f)
{
	if (f)
		atomic_store(&busy, false);
	atomic_fetch_sub_explicit(&readers, 1, memory_order_relaxed);
}

void vfs_fetch_start(struct vfs_fetch *f, struct vfs_object *dir, const struct cred *cred,
		     const struct readdir_args *args)
{
	mutex_lock(&f->lock);
	f->dir = dir;
	f->cred = cred;
	f->args = args;
	f->next = 0;
	f->helped = false;
	f->offered = true;
	mutex_unlock(&f->lock);
	cond_signal(&f->work);
}

const struct dir_entry *vfs_fetch_entry(struct vfs_fetch *f, unsigned i)
{
	unsigned from, to;

	mutex_lock(&f->lock);
	while (i >= f->next || (i >= f->helper_from && i < f->helper_to)) {
		if (!claim(f, &from, &to)) {
			cond_wait(&f->progress, &f->lock);
			continue;
		}
		mutex_unlock(&f->lock);
		fill(f, from, to);
		mutex_lock(&f->lock);
	}
	mutex_unlock(&f->lock);
	return &f->entry[i];
}

void vfs_fetch_stop(struct vfs_fetch *f)
{
	mutex_lock(&f->lock);
	if (!f->helped && f->next >= LATE)
		atomic_store_explicit(&crowded_ns, clock_coarse_ns(), memory_order_relaxed);
	f->offered = false;
	f->next = f->n;
	while (f->helper_in)
		cond_wait(&f->progress, &f->lock);
	mutex_unlock(&f->lock);
}

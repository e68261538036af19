/*
 * Names on stable storage, many at a time.
 *
 * A synchronous export answers a change of names when the directory has been fsync()ed. That
 * takes a commit of the file system's journal, most of whose cost is the same for one change and
 * for thousands. So changes whose caller can wait without a thread (struct dir_change.may_owe)
 * leave it to a settler: a thread that takes all that has come while it was in fsync(), syncs
 * each directory once, and tells everybody.
 *
 *	change ... vfs_settle_later() --> [jobs] --all at once--> fsync of each directory --> done()
 *
 * It begins a directory's fsync after the job has come, and the job comes after the change, so the
 * change is covered. Where a commit is of all changes before it (vfs_mount.one_commit), one fsync is
 * enough for all directories. Errors: fsync fails for all who wait for that directory.
 *
 * The descriptors for fsync of some directories stay with their objects, as long as those are in
 * memory, so that there is nothing to open and no identity to assume the next time.
 *
 * Waking the settler, and being woken by it, takes as long as a small commit does on a fast disk.
 * So if a loop has nothing but requests that wait for it, they are settled by its own thread if the
 * last fsync()s were quick and the settler has nothing to do. The thread does not declare itself
 * blocked then, which would be a wake-up, too.
 *
 * There is a settler for each device of an export, made when it is first needed, so that a slow
 * disk holds up its own changes only. It ends with the export. If it cannot be made, the caller
 * syncs himself.
 *
 * Locks: vfs_export.settlers_lock; struct vfs_settler.lock. Neither is held over fsync().
 */
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"
#include "base/log.h"

#define QUICK_NS  (500 * 1000) /* an fsync() that a thread may well wait for */
#define DIRS_MOST 64	       /* directories synced together, so that none is synced twice */
#define KEPT_MOST 64	       /* descriptors of directories */

struct vfs_settler {
	dev_t dev;
	struct list link; /* vfs_export.settlers */
	pthread_t thread;
	struct mutex lock;
	struct cond wake;
	struct list jobs; /* struct settle_job; under lock, as the next */
	bool stop;
	_Atomic bool busy;  /* syncs, or is about to */
	_Atomic bool quick; /* the last fsync()s took less than QUICK_NS */
};

/* Directories to be synced, and how that went. */
struct round {
	unsigned n;
	struct vfs_object *dirs[DIRS_MOST];
	int errs[DIRS_MOST];
};

/* ---- what fsync does ---- */

/*
 * ext4 has one journal, and fsync() of a directory commits its running transaction, also if the
 * directory itself is not in it (its blocks are journalled data, whose fsync is ext4's "force commit";
 * that of a regular file commits no further than the file's own latest change). Without a journal it
 * writes that directory only. The file says "<none>" then, and does not exist if the driver is another.
 */
bool vfs_commits_all(long fs_type, dev_t dev)
{
	char path[128], target[256], task[16];
	const char *name;
	ssize_t n;
	int fd;

	if (fs_type != EXT4_SUPER_MAGIC)
		return false;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(dev), minor(dev));
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return false;
	target[n] = '\0';
	name = strrchr(target, '/');
	if (!name || strlen(name) > sizeof(path) / 2)
		return false;
	snprintf(path, sizeof(path), "/sys/fs/ext4%s/journal_task", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, task, sizeof(task));
	close(fd);
	return n > 0 && task[0] >= '0' && task[0] <= '9';
}

bool vfs_must_settle(const struct vfs_object *obj)
{
	/* Nothing on tmpfs is ever stable, and nothing there needs waiting for. */
	if (!vfs_object_export(obj)->sync || obj->mount->fs_type == TMPFS_MAGIC)
		return false;
	return obj->base.type == FILE_DIRECTORY || obj->base.type == FILE_REGULAR;
}

/* ---- descriptors ---- */

static _Atomic unsigned kept; /* of all exports */

static int open_to_sync(struct vfs_object *obj)
{
	int err = vfs_assume_privileged();

	return err ? err : vfs_reopen(vfs_object_export(obj), obj->fd, O_RDONLY | O_NONBLOCK);
}

/* Keeps it for the next time if the object is a directory and has none; false: it is the caller's. */
static bool keep(struct vfs_object *obj, int fd)
{
	int none = -1;

	if (obj->base.type != FILE_DIRECTORY)
		return false;
	if (atomic_fetch_add(&kept, 1) < KEPT_MOST &&
	    atomic_compare_exchange_strong(&obj->settle_fd, &none, fd))
		return true;
	atomic_fetch_sub(&kept, 1);
	return false;
}

void vfs_settle_release(struct vfs_object *obj)
{
	if (obj->settle_fd < 0)
		return;
	close(obj->settle_fd);
	atomic_fetch_sub(&kept, 1);
}

static int sync_object(struct vfs_object *obj, bool announce)
{
	int fd = atomic_load(&obj->settle_fd), err = 0;
	bool stays = true;

	if (fd < 0) {
		fd = open_to_sync(obj);
		if (fd < 0)
			return fd;
		stays = keep(obj, fd);
	}
	if (announce)
		blocking_section();
	/* EINVAL: a file system that cannot. Read-only it has become since, because of an error. */
	if (fsync(fd) < 0 && errno != EINVAL)
		err = -errno;
	if (!stays)
		close(fd);
	return err;
}

int vfs_settle(struct vfs_object *obj)
{
	return vfs_must_settle(obj) ? sync_object(obj, true) : 0;
}

int vfs_settle_names(struct vfs_object *dir, struct dir_change *change)
{
	if (!vfs_must_settle(dir))
		return 0;
	if (!change->may_owe)
		return sync_object(dir, true);
	change->owes = true;
	return 0;
}

/* ---- rounds ---- */

/* The directory's place in the round; DIRS_MOST: there is no room for it. */
static unsigned place_in(struct round *r, struct vfs_object *dir)
{
	for (unsigned i = 0; i < r->n; i++) {
		if (r->dirs[i] == dir)
			return i;
	}
	if (r->n == DIRS_MOST)
		return DIRS_MOST;
	r->dirs[r->n] = dir;
	return r->n++;
}

static bool add_job(struct round *r, const struct settle_job *job)
{
	unsigned before = r->n;

	for (unsigned i = 0; i < job->n; i++) {
		if (place_in(r, vfs_object(job->dirs[i])) == DIRS_MOST) {
			r->n = before;
			return false;
		}
	}
	return true;
}

/* Has a directory of the round that comes before this one been synced with which it was, too? */
static bool synced_with(const struct round *r, unsigned i, unsigned *with)
{
	for (*with = 0; *with < i; (*with)++) {
		if (r->dirs[i]->mount->one_commit && r->dirs[*with]->dev == r->dirs[i]->dev)
			return true;
	}
	return false;
}

/* Tells whether it was quick. */
static bool sync_round(struct round *r, bool announce)
{
	uint64_t start = clock_mono_ns();
	unsigned with, fsyncs = 0;

	for (unsigned i = 0; i < r->n; i++) {
		if (synced_with(r, i, &with)) {
			r->errs[i] = r->errs[with];
		} else {
			r->errs[i] = sync_object(r->dirs[i], announce);
			fsyncs++;
		}
	}
	return clock_mono_ns() - start < fsyncs * QUICK_NS;
}

static void finish_job(struct round *r, struct settle_job *job)
{
	job->err = 0;
	for (unsigned i = 0; i < job->n && !job->err; i++)
		job->err = r->errs[place_in(r, vfs_object(job->dirs[i]))];
	/* The job, and its references, may be gone after this. */
	job->done(job);
}

/* Tells whether it was quick. */
static bool settle_all(struct list *jobs, bool announce)
{
	bool quick = true;

	while (!list_empty(jobs)) {
		struct list taken = LIST_INITIALIZER(taken);
		struct round r = { 0 };
		struct settle_job *job;

		while ((job = list_first(jobs, struct settle_job, link)) && add_job(&r, job)) {
			list_remove(&job->link);
			list_push_back(&taken, &job->link);
		}
		quick &= sync_round(&r, announce);
		while ((job = list_first(&taken, struct settle_job, link))) {
			list_remove(&job->link);
			finish_job(&r, job);
		}
	}
	return quick;
}

/* ---- settlers ---- */

static void *settler_main(void *arg)
{
	struct vfs_settler *s = arg;
	struct list jobs = LIST_INITIALIZER(jobs);

	pthread_setname_np(pthread_self(), "settle");
	mutex_lock(&s->lock);
	for (;;) {
		while (list_empty(&s->jobs) && !s->stop)
			cond_wait(&s->wake, &s->lock);
		if (list_empty(&s->jobs))
			break;
		list_splice_back(&jobs, &s->jobs);
		mutex_unlock(&s->lock);
		atomic_store(&s->quick, settle_all(&jobs, true));
		mutex_lock(&s->lock);
		atomic_store(&s->busy, !list_empty(&s->jobs));
	}
	mutex_unlock(&s->lock);
	return NULL;
}

static struct vfs_settler *settler_new(dev_t dev)
{
	struct vfs_settler *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return NULL;
	s->dev = dev;
	mutex_init(&s->lock);
	cond_init(&s->wake);
	list_init(&s->jobs);
	err = pthread_create(&s->thread, NULL, settler_main, s);
	if (!err)
		return s;
	mutex_destroy(&s->lock);
	cond_destroy(&s->wake);
	free(s);
	return NULL;
}

static void settler_free(struct vfs_settler *s)
{
	mutex_lock(&s->lock);
	s->stop = true;
	cond_signal(&s->wake);
	mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	mutex_destroy(&s->lock);
	cond_destroy(&s->wake);
	free(s);
}

/* NULL: there is none and none can be made. */
static struct vfs_settler *settler_of(struct vfs_export *exp, dev_t dev)
{
	struct vfs_settler *s, *found = NULL;

	mutex_lock(&exp->settlers_lock);
	list_for_each (s, &exp->settlers, link) {
		if (s->dev == dev) {
			found = s;
			break;
		}
	}
	if (!found) {
		found = settler_new(dev);
		if (found)
			list_push_front(&exp->settlers, &found->link);
	}
	mutex_unlock(&exp->settlers_lock);
	return found;
}

/* In the caller's thread, unless it is better to leave it to the settler. */
static bool settle_here(struct vfs_settler *s, struct list *jobs)
{
	if (!atomic_load(&s->quick) || atomic_load(&s->busy))
		return false;
	atomic_store(&s->quick, settle_all(jobs, false));
	return true;
}

/* Moves the first job and those whose directories are of the same device. */
static dev_t take_device(struct list *jobs, struct list *out)
{
	struct settle_job *job, *tmp;
	dev_t dev = vfs_object(list_first(jobs, struct settle_job, link)->dirs[0])->dev;

	list_for_each_safe (job, tmp, jobs, link) {
		if (vfs_object(job->dirs[0])->dev != dev)
			continue;
		list_remove(&job->link);
		list_push_back(out, &job->link);
	}
	return dev;
}

static void leave_to(struct vfs_settler *s, struct list *jobs)
{
	bool first;

	mutex_lock(&s->lock);
	first = list_empty(&s->jobs);
	list_splice_back(&s->jobs, jobs);
	atomic_store(&s->busy, true);
	mutex_unlock(&s->lock);
	/*
	 * Not with the lock, which the settler wants first. It stays, though the jobs may be done by now:
	 * the export is not closed under us.
	 */
	if (first)
		cond_signal(&s->wake);
}

void vfs_settle_later(struct list *jobs, bool alone)
{
	struct object *first = list_first(jobs, struct settle_job, link)->dirs[0];
	struct vfs_export *exp = vfs_export(first->export);

	while (!list_empty(jobs)) {
		struct list some = LIST_INITIALIZER(some);
		struct vfs_settler *s = settler_of(exp, take_device(jobs, &some));

		if (!s)
			settle_all(&some, true);
		else if (!alone || !settle_here(s, &some))
			leave_to(s, &some);
	}
}

void vfs_settlers_end(struct vfs_export *exp)
{
	struct vfs_settler *s;

	while ((s = list_first(&exp->settlers, struct vfs_settler, link))) {
		list_remove(&s->link);
		settler_free(s);
	}
}

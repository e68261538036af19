/*
 * Watches: what processes of this machine do with files that somebody relies on (delegations).
 *
 * Two fanotify groups. `opens` has permission events: whoever opens a watched file waits in the
 * kernel until we have answered, unless it is ourselves. `changes` tells afterwards of what needs
 * no open: new attributes, names and links, truncate(2), entries of directories. Events of our own
 * process are nobody's business; nfsd knows what clients do.
 *
 *	vfs_watch: entry made -> marks set -> does nobody have it open?
 *	    | somebody has: -EAGAIN                | nobody
 *	    |                                      v
 *	    |                                 [settling] --settled--> [watched]
 *	    v                                                             |
 *	[to be looked at] <---- vfs_watch_again, an open, a change -------+
 *	    | the thread asks nfsd about every open that waits, and if nobody relies on the file any more
 *	    v
 *	marks removed, entry freed
 *
 * The marks are there before the test, so an open is either seen by the test or stopped by a mark:
 * the kernel counts a writer before it asks us. A reader is counted at the end of its open, so that
 * one who was beyond the question when the mark came may be missed. While an entry is settling
 * (granted or not? nobody knows yet), opens wait.
 *
 * Whether a process has the file open is found out by asking for a lease (F_SETLEASE) and giving it
 * back at once: the kernel refuses it if there are others, and their mappings count, too. Leases
 * are not kept, because our own opens would break them. The test of who waits for writing is the
 * same, on the event's descriptor: the permission event does not say what the open is for.
 *
 * All questions to nfsd are asked by the thread, which never opens anything: whoever opens a
 * watched file in this process waits for the thread. `lock` guards all entries; it is held over
 * fanotify_mark(2) when marks go, so that they cannot be those of a new entry. Nothing is called
 * with it held.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/hash.h"
#include "base/log.h"

#define BUCKETS	  4096
#define READ_SIZE 8192
/* Who waits is asked about that often, whatever happens: an answer may have been lost. */
#define ASK_AGAIN_MS 1000
/* Each holds an O_PATH descriptor: this part of RLIMIT_NOFILE at most. */
#define SHARE_OF_DESCRIPTORS 8

#define MASK_FILE (FAN_ATTRIB | FAN_DELETE_SELF | FAN_MOVE_SELF | FAN_MODIFY)
#define MASK_DIRECTORY                                                                            \
	(FAN_CREATE | FAN_DELETE | FAN_MOVED_FROM | FAN_MOVED_TO | FAN_ATTRIB | FAN_DELETE_SELF | \
	 FAN_MOVE_SELF | FAN_ONDIR)

/* A process that waits for our answer. */
struct waiting_open {
	struct list link;
	int fd; /* the event's */
	bool writes;
};

/* A watched object. All under `lock` but what is immutable. */
struct watch {
	/* Immutable. */
	struct vfs_object *obj; /* a reference */
	dev_t dev;
	ino_t ino;
	fsid_t fsid;
	uint64_t mask; /* of `changes`, once marked */

	struct list by_inode, by_fid;
	struct list in_waiting; /* has opens; the thread's own */
	struct list in_dirty;	/* to be looked at by the thread */
	struct list opens;	/* struct waiting_open */
	unsigned settling;	/* vfs_watch() calls that have not been settled */
	bool marked;
	bool changed;	   /* nfsd is to be told */
	uint64_t attempts; /* vfs_watch() calls so far */
};

static struct mutex lock = MUTEX_INITIALIZER;
/* Before lock: held by the thread while it has descriptors of events that it will close. */
static struct mutex events_lock = MUTEX_INITIALIZER;
static struct list by_inode[BUCKETS] GUARDED_BY(lock);
static struct list by_fid[BUCKETS] GUARDED_BY(lock);
static struct list dirty GUARDED_BY(lock) = LIST_INITIALIZER(dirty);
/* Changed under lock. Whoever has learnt that somebody relies on a watch finds it counted without. */
static _Atomic unsigned nwatches;
static struct list waiting = LIST_INITIALIZER(waiting); /* the thread's own */

/* Immutable while `running`. */
static _Atomic bool running;
static int opens_fd = -1, changes_fd = -1, wake_fd = -1;
static _Atomic bool stopping;
static pthread_t thread;
static local_use_fn *ask;
static void *ask_arg;
static unsigned watches_max;

/* ---- entries ---- */

static struct list *inode_bucket(dev_t dev, ino_t ino) REQUIRES(&lock)
{
	return &by_inode[hash_u64((uint64_t)dev * 0x9e3779b97f4a7c15u + ino) % BUCKETS];
}

static struct list *fid_bucket(int type, const uint8_t *bytes, size_t len) REQUIRES(&lock)
{
	return &by_fid[(hash_bytes(bytes, len) + (uint64_t)type) % BUCKETS];
}

/* The kernel's part of an object's handle: its type, then its bytes. */
static int kernel_type(const struct watch *w)
{
	return w->obj->handle.bytes[VFS_HANDLE_HEADER - 1];
}

static const uint8_t *kernel_bytes(const struct watch *w, size_t *len)
{
	*len = w->obj->handle.len - (size_t)VFS_HANDLE_HEADER;
	return w->obj->handle.bytes + VFS_HANDLE_HEADER;
}

static struct watch *find_by_inode(dev_t dev, ino_t ino) REQUIRES(&lock)
{
	struct watch *w;

	list_for_each (w, inode_bucket(dev, ino), by_inode) {
		if (w->dev == dev && w->ino == ino)
			return w;
	}
	return NULL;
}

static struct watch *find_by_fid(const void *fsid, int type, const uint8_t *bytes, size_t len)
    REQUIRES(&lock)
{
	struct watch *w;

	list_for_each (w, fid_bucket(type, bytes, len), by_fid) {
		size_t own_len;
		const uint8_t *own = kernel_bytes(w, &own_len);

		if (kernel_type(w) == type && own_len == len && memcmp(own, bytes, len) == 0 &&
		    memcmp(&w->fsid, fsid, sizeof(w->fsid)) == 0)
			return w;
	}
	return NULL;
}

static struct watch *find_by_handle(const struct backend_handle *h) REQUIRES(&lock)
{
	struct watch *w;

	if (h->len <= VFS_HANDLE_HEADER)
		return NULL;
	list_for_each (w,
		       fid_bucket(h->bytes[VFS_HANDLE_HEADER - 1], h->bytes + VFS_HANDLE_HEADER,
				  (size_t)h->len - VFS_HANDLE_HEADER),
		       by_fid) {
		if (w->obj->handle.len == h->len &&
		    memcmp(w->obj->handle.bytes, h->bytes, h->len) == 0)
			return w;
	}
	return NULL;
}

/* Under `lock`: while there is an entry, vfs_watch_stop() has not closed the descriptor yet. */
static void kick(void)
{
	uint64_t one = 1;
	ssize_t n;

	/* EAGAIN: the counter is full, so the thread wakes up anyway. */
	do {
		n = write(wake_fd, &one, sizeof(one));
	} while (n < 0 && errno == EINTR);
}

static void look_at(struct watch *w) REQUIRES(&lock)
{
	if (list_empty(&w->in_dirty))
		list_push_back(&dirty, &w->in_dirty);
}

static int watch_new(struct vfs_object *obj, const struct stat *st, struct watch **out)
    REQUIRES(&lock)
{
	struct statfs fs;
	struct watch *w;
	size_t len;
	const uint8_t *bytes;

	if (nwatches >= watches_max)
		return -ENOSPC;
	if (fstatfs(obj->fd, &fs) < 0)
		return -errno;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	object_ref(&obj->base);
	w->obj = obj;
	w->dev = st->st_dev;
	w->ino = st->st_ino;
	w->fsid = fs.f_fsid;
	w->mask = obj->base.type == FILE_DIRECTORY ? MASK_DIRECTORY : MASK_FILE;
	list_init(&w->in_dirty);
	list_init(&w->in_waiting);
	list_init(&w->opens);
	bytes = kernel_bytes(w, &len);
	list_push_back(inode_bucket(w->dev, w->ino), &w->by_inode);
	list_push_back(fid_bucket(kernel_type(w), bytes, len), &w->by_fid);
	nwatches++;
	*out = w;
	return 0;
}

/* ---- marks ---- */

static int mark(const struct watch *w, int group, unsigned how, uint64_t mask)
{
	struct vfs_fd_name name = vfs_fd_name(w->obj->fd);

	return fanotify_mark(group, how, mask, vfs_proc_fd(), name.text) < 0 ? -errno : 0;
}

static int set_marks(const struct watch *w)
{
	int err = mark(w, changes_fd, FAN_MARK_ADD, w->mask);

	if (!err && w->obj->base.type == FILE_REGULAR)
		err = mark(w, opens_fd, FAN_MARK_ADD, FAN_OPEN_PERM);
	return err;
}

/* Also of what has only one of them. */
static void drop_marks(const struct watch *w)
{
	mark(w, changes_fd, FAN_MARK_REMOVE, w->mask);
	if (w->obj->base.type == FILE_REGULAR)
		mark(w, opens_fd, FAN_MARK_REMOVE, FAN_OPEN_PERM);
}

/* ---- who has it open ---- */

/*
 * Would there be a lease, now? 0; -EAGAIN: no, others have the file open; anything else: not for
 * this file system.
 */
static int lease_test(int fd, int kind)
{
	if (fcntl(fd, F_SETLEASE, kind) < 0)
		return errno == EAGAIN || errno == EBUSY ? -EAGAIN : -EOPNOTSUPP;
	fcntl(fd, F_SETLEASE, F_UNLCK);
	return 0;
}

/* The event of an open of our own may still have the thread's descriptor when the open goes on. */
static void await_events(void)
{
	mutex_lock(&events_lock);
	mutex_unlock(&events_lock);
}

/*
 * A read lease is for descriptors that cannot write. One that can must be the only one: others of
 * our own are parked.
 */
static int test_open(struct vfs_file *f, bool exclusive)
{
	int kind = exclusive || (f->base.access & ACCESS_WRITE) ? F_WRLCK : F_RDLCK;
	int err = vfs_file_use(f);

	if (!err)
		err = vfs_assume_privileged();
	if (err)
		return err;
	err = lease_test(f->fd, kind);
	if (err == -EAGAIN) {
		await_events();
		err = lease_test(f->fd, kind);
	}
	while (err == -EAGAIN && vfs_files_park_others(f))
		err = lease_test(f->fd, kind);
	vfs_file_done(f);
	return err;
}

/* ---- callers ---- */

static int obtain(struct vfs_object *obj, struct watch **out)
{
	struct watch *w;
	struct stat st;
	int err = 0;

	if (fstatat(obj->fd, "", &st, AT_EMPTY_PATH) < 0)
		return -errno;
	mutex_lock(&lock);
	w = find_by_inode(st.st_dev, st.st_ino);
	if (!w)
		err = watch_new(obj, &st, &w);
	else if (w->obj->handle.len != obj->handle.len ||
		 memcmp(w->obj->handle.bytes, obj->handle.bytes, obj->handle.len) != 0)
		err = -EOPNOTSUPP; /* known to clients by two handles */
	if (!err) {
		w->settling++;
		w->attempts++;
		*out = w;
	}
	mutex_unlock(&lock);
	return err;
}

/* The entry stays while it is settling. */
int vfs_watch(struct object *base, struct file *file, enum watch_kind kind)
{
	struct vfs_object *obj = vfs_object(base);
	struct watch *w = NULL;
	bool marked;
	int err;

	if (!atomic_load(&running))
		return -EOPNOTSUPP;
	err = vfs_assume_privileged();
	if (!err)
		err = obtain(obj, &w);
	if (err)
		return err;
	mutex_lock(&lock);
	marked = w->marked;
	mutex_unlock(&lock);
	if (!marked)
		err = set_marks(w);
	if (!err && file)
		err = test_open(vfs_file(file), kind == WATCH_EXCLUSIVE);
	mutex_lock(&lock);
	w->marked |= !err || err == -EAGAIN;
	if (!err && kind == WATCH_EXCLUSIVE && !list_empty(&w->opens))
		err = -EAGAIN;
	if (err) {
		w->settling--;
		look_at(w);
		kick();
	}
	mutex_unlock(&lock);
	return err;
}

void vfs_watch_settled(struct object *obj)
{
	struct watch *w;

	mutex_lock(&lock);
	w = find_by_handle(&vfs_object(obj)->handle);
	if (w && w->settling > 0) {
		w->settling--;
		look_at(w);
		kick();
	}
	mutex_unlock(&lock);
}

void vfs_watch_again(const uint8_t *handle, size_t len)
{
	struct backend_handle h = { .len = (uint8_t)len };
	struct watch *w;

	if (atomic_load_explicit(&nwatches, memory_order_acquire) == 0 || len > sizeof(h.bytes))
		return;
	memcpy(h.bytes, handle, len);
	mutex_lock(&lock);
	w = find_by_handle(&h);
	if (w) {
		look_at(w);
		kick();
	}
	mutex_unlock(&lock);
}

/* ---- the thread: events ---- */

static void answer(int fd)
{
	struct fanotify_response r = { .fd = fd, .response = FAN_ALLOW };

	/* ENOENT: it has been killed. */
	if (write(opens_fd, &r, sizeof(r)) < 0 && errno != ENOENT)
		log_error("a program on this machine cannot be told to go on: %s", strerror(errno));
	close(fd);
}

static void open_event(const struct fanotify_event_metadata *m)
{
	struct waiting_open *o;
	struct watch *w;
	struct stat st;

	if (m->fd < 0)
		return;
	if (m->pid == getpid() || fstat(m->fd, &st) < 0) {
		answer(m->fd);
		return;
	}
	o = malloc(sizeof(*o));
	mutex_lock(&lock);
	w = o ? find_by_inode(st.st_dev, st.st_ino) : NULL;
	if (w) {
		o->fd = m->fd;
		o->writes = lease_test(m->fd, F_RDLCK) != 0;
		list_push_back(&w->opens, &o->link);
		if (list_empty(&w->in_waiting))
			list_push_back(&waiting, &w->in_waiting);
		look_at(w);
	}
	mutex_unlock(&lock);
	if (!w) {
		if (!o)
			log_warn("out of memory: a program on this machine may see old contents of "
				 "a delegated file");
		free(o);
		answer(m->fd);
	}
}

static void change_event(const struct fanotify_event_metadata *m)
{
	const struct fanotify_event_info_fid *info = (const void *)(m + 1);
	const struct file_handle *h = (const void *)info->handle;
	struct watch *w;

	if (m->pid == getpid() || m->event_len < sizeof(*m) + sizeof(*info) + sizeof(*h) ||
	    info->hdr.info_type != FAN_EVENT_INFO_TYPE_FID)
		return;
	mutex_lock(&lock);
	w = find_by_fid(&info->fsid, h->handle_type, h->f_handle, h->handle_bytes);
	if (w) {
		w->changed = true;
		look_at(w);
	}
	mutex_unlock(&lock);
}

static void read_events(int group, void (*take)(const struct fanotify_event_metadata *m))
{
	_Alignas(struct fanotify_event_metadata) char buf[READ_SIZE];
	const struct fanotify_event_metadata *m = (const void *)buf;
	ssize_t n;

	mutex_lock(&events_lock);
	n = read(group, buf, sizeof(buf));
	for (; n > 0 && FAN_EVENT_OK(m, n); m = FAN_EVENT_NEXT(m, n))
		take(m);
	mutex_unlock(&events_lock);
}

/* ---- the thread: what is to be looked at ---- */

/* Nobody relies on it, nobody waits. Its last use of the object is behind the lock. */
static struct vfs_object *forget(struct watch *w) REQUIRES(&lock)
{
	struct vfs_object *obj = w->obj;

	drop_marks(w);
	list_remove(&w->by_inode);
	list_remove(&w->by_fid);
	list_remove(&w->in_dirty);
	list_remove(&w->in_waiting);
	nwatches--;
	free(w);
	return obj;
}

/*
 * Lets those go on that may. They stay in the list while they are asked for, so that vfs_watch()
 * sees them; only this thread changes the list.
 */
static void ask_for_opens(struct watch *w)
{
	struct waiting_open *o, *next;

	list_for_each_safe (o, next, &w->opens, link) {
		enum local_use use = o->writes ? LOCAL_WRITE : LOCAL_READ;

		if (ask(ask_arg, &w->obj->base, use) == LOCAL_WAIT)
			continue;
		answer(o->fd);
		mutex_lock(&lock);
		list_remove(&o->link);
		mutex_unlock(&lock);
		free(o);
	}
	if (list_empty(&w->opens))
		list_remove(&w->in_waiting);
}

static void ask_again(void)
{
	struct watch *w;

	mutex_lock(&lock);
	list_for_each (w, &waiting, in_waiting)
		look_at(w);
	mutex_unlock(&lock);
}

/* The entry stays meanwhile: only this thread frees them. */
static void look(struct watch *w)
{
	struct vfs_object *obj = NULL;
	uint64_t attempts;
	bool changed, settling;

	mutex_lock(&lock);
	settling = w->settling > 0;
	attempts = w->attempts;
	changed = w->changed;
	w->changed = false;
	mutex_unlock(&lock);
	if (changed)
		ask(ask_arg, &w->obj->base, LOCAL_CHANGED);
	if (settling)
		return; /* vfs_watch_settled() leads back here */
	ask_for_opens(w);
	if (ask(ask_arg, &w->obj->base, LOCAL_NONE) != LOCAL_UNWATCHED)
		return;
	mutex_lock(&lock);
	if (w->settling == 0 && w->attempts == attempts && list_empty(&w->opens))
		obj = forget(w);
	mutex_unlock(&lock);
	if (obj)
		object_unref(&obj->base);
}

static void look_at_all(void)
{
	for (;;) {
		struct watch *w;

		mutex_lock(&lock);
		w = list_first(&dirty, struct watch, in_dirty);
		if (w)
			list_remove(&w->in_dirty);
		mutex_unlock(&lock);
		if (!w)
			return;
		look(w);
	}
}

static void *watch_main(void *unused)
{
	struct pollfd fds[] = { { .fd = wake_fd, .events = POLLIN },
				{ .fd = opens_fd, .events = POLLIN },
				{ .fd = changes_fd, .events = POLLIN } };
	uint64_t kicks;

	backend_restore_identity();
	while (!atomic_load(&stopping)) {
		int n = poll(fds, ARRAY_SIZE(fds), list_empty(&waiting) ? -1 : ASK_AGAIN_MS);

		if (n < 0)
			continue;
		if (n == 0)
			ask_again();
		if (fds[0].revents && read(wake_fd, &kicks, sizeof(kicks)) < 0)
			continue;
		if (fds[1].revents)
			read_events(opens_fd, open_event);
		if (fds[2].revents)
			read_events(changes_fd, change_event);
		look_at_all();
	}
	return NULL;
}

/* ---- life ---- */

static void close_all(void)
{
	int *fds[] = { &opens_fd, &changes_fd, &wake_fd };

	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

static int open_groups(void)
{
	const unsigned flags =
	    FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS;

	opens_fd = fanotify_init(FAN_CLASS_CONTENT | flags,
				 O_RDONLY | O_LARGEFILE | O_CLOEXEC | O_NONBLOCK);
	if (opens_fd < 0)
		return -errno;
	changes_fd =
	    fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | flags, O_RDONLY | O_LARGEFILE);
	if (changes_fd < 0)
		return -errno;
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return wake_fd < 0 ? -errno : 0;
}

static void lists_init(void)
{
	mutex_lock(&lock);
	for (unsigned i = 0; i < BUCKETS; i++) {
		list_init(&by_inode[i]);
		list_init(&by_fid[i]);
	}
	mutex_unlock(&lock);
}

int vfs_watch_start(local_use_fn *fn, void *arg)
{
	struct rlimit rl;
	sigset_t all, old;
	int err = open_groups();

	if (err) {
		close_all();
		return err;
	}
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur > 1u << 20)
		rl.rlim_cur = 1u << 20;
	watches_max = (unsigned)rl.rlim_cur / SHARE_OF_DESCRIPTORS;
	lists_init();
	ask = fn;
	ask_arg = arg;
	stopping = false;
	/* Should somebody open a file in the instant that a lease is being tried. */
	signal(SIGIO, SIG_IGN);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = -pthread_create(&thread, NULL, watch_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		close_all();
	atomic_store(&running, !err);
	return err;
}

static struct vfs_object *forget_any(void)
{
	struct vfs_object *obj = NULL;
	struct waiting_open *o;
	struct watch *w;

	mutex_lock(&lock);
	for (unsigned i = 0; i < BUCKETS && !obj; i++) {
		w = list_first(&by_inode[i], struct watch, by_inode);
		if (!w)
			continue;
		while ((o = list_first(&w->opens, struct waiting_open, link))) {
			answer(o->fd);
			list_remove(&o->link);
			free(o);
		}
		obj = forget(w);
	}
	mutex_unlock(&lock);
	return obj;
}

void vfs_watch_stop(void)
{
	struct vfs_object *obj;

	if (!atomic_exchange(&running, false))
		return;
	atomic_store(&stopping, true);
	kick();
	pthread_join(thread, NULL);
	while ((obj = forget_any()))
		object_unref(&obj->base);
	close_all();
}

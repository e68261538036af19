/*
 * Reading directories by getdents64(2). The cookie of an entry is the position behind it that the
 * file system tells (d_off), which stays right while others add and remove entries.
 *
 * A READDIR opens the directory with the caller's identity, so that the kernel checks the
 * permission, and goes to the cookie. If it ends because no more fits, the open directory and what
 * getdents64 has told beyond that entry are kept for the next READDIR: who comes with the same
 * identity to the same directory with the cookie of the last entry within KEEP_NS goes on there, if the
 * directory's change attribute is what it was before it was opened. So nothing is told that is older
 * than a change attribute that the client may have (it would cache the names under that), and
 * a permission that is taken away is noticed. A listing is taken out for its use, so nobody else has it
 * meanwhile; whoever finds none opens the directory anew, which is as good, and only takes longer.
 *
 *	opened at a cookie --no more fits--> kept --the same cookie--> taken --no more fits--> kept ...
 *
 * It is closed at the end of the directory, upon an error, when it is too old or one too many, and when
 * descriptors are short.
 *
 * Kept listings have no reference to the object, so that a removed directory is let go by it; the thread
 * that trims (object.c) closes what is too old.
 *
 * tmpfs before Linux 6.6 counts names for a position: one that is removed while a listing is under
 * way can make it repeat or miss another there. No server can do better with it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"

#define DENTS_BYTES 16384
#define KEEP_MOST   64 /* of all exports; each has a descriptor */
#define KEEP_NS	    NS_PER_SEC

/* Fewer entries are not worth the helper's waking up. */
#define SHARED_LEAST 64
/* What an entry with attributes takes of a reply, about: no more are fetched than may fit. */
#define ENTRY_BYTES 192

/* A directory that is being listed: one thread's, or kept. */
struct listing {
	struct list link; /* under `lock` */

	/* Whose it is; immutable. */
	const struct vfs_export *exp;
	const struct cred *cred; /* a reference */
	struct backend_handle dir;
	uint64_t change; /* the directory's, before it was opened */
	int fd;

	uint64_t cookie; /* the last entry's that was taken */
	uint64_t kept_ns;
	size_t at, len; /* what of buf has not been taken */
	char buf[DENTS_BYTES] __attribute__((aligned(8)));
};

static struct mutex lock = MUTEX_INITIALIZER;
static struct list kept GUARDED_BY(lock) = LIST_INITIALIZER(kept); /* the oldest first */
static unsigned nkept GUARDED_BY(lock);

static enum file_type type_of(unsigned char d_type)
{
	switch (d_type) {
	case DT_DIR:
		return FILE_DIRECTORY;
	case DT_BLK:
		return FILE_BLOCK;
	case DT_CHR:
		return FILE_CHAR;
	case DT_LNK:
		return FILE_SYMLINK;
	case DT_SOCK:
		return FILE_SOCKET;
	case DT_FIFO:
		return FILE_FIFO;
	default:
		return FILE_REGULAR;
	}
}

static bool is_dots(const char *name)
{
	return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

int vfs_fill_entry(struct vfs_object *dir, const struct dirent64 *d,
		   const struct readdir_args *args, struct dir_entry *entry)
{
	entry->name = d->d_name;
	entry->cookie = (uint64_t)d->d_off;
	entry->fileid = d->d_ino;
	entry->type = type_of(d->d_type);
	entry->error = 0;
	/* Not every file system tells types. */
	if (args->want_attr || d->d_type == DT_UNKNOWN) {
		entry->error = vfs_getattr_at(dir, d->d_name, d->d_ino, &entry->attr,
					      args->want_handle ? &entry->handle : NULL);
		if (entry->error == 0) {
			entry->type = entry->attr.type;
			entry->fileid = entry->attr.mounted_on_fileid;
		}
	} else if (args->want_handle) {
		entry->error = vfs_handle_at(dir, d->d_name, &entry->handle);
	}
	return entry->error;
}

/* ---- listings ---- */

static void listing_close(struct listing *l)
{
	close(l->fd);
	cred_unref(l->cred);
	free(l);
}

static int listing_open(struct vfs_object *dir, const struct cred *cred, uint64_t cookie,
			uint64_t change, struct listing **out)
{
	struct listing *l = malloc(sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->fd = vfs_reopen(vfs_object_export(dir), dir->fd, O_RDONLY | O_DIRECTORY);
	if (l->fd < 0) {
		err = l->fd;
		free(l);
		return err;
	}
	list_init(&l->link);
	l->exp = vfs_object_export(dir);
	l->cred = cred_ref(cred);
	l->dir = dir->handle;
	l->change = change;
	l->cookie = cookie;
	l->at = l->len = 0;
	if (cookie != 0 && lseek(l->fd, (off_t)cookie, SEEK_SET) < 0) {
		err = -errno;
		listing_close(l);
		return err;
	}
	*out = l;
	return 0;
}

static bool is_old(const struct listing *l, uint64_t now)
{
	return now - l->kept_ns > KEEP_NS;
}

static bool is_at(const struct listing *l, struct vfs_object *dir, const struct cred *cred,
		  uint64_t cookie)
{
	return l->cookie == cookie && l->cred == cred && l->exp == vfs_object_export(dir) &&
	       l->dir.len == dir->handle.len &&
	       memcmp(l->dir.bytes, dir->handle.bytes, l->dir.len) == 0;
}

static struct listing *take_kept(struct vfs_object *dir, const struct cred *cred, uint64_t cookie)
{
	struct listing *l;

	mutex_lock(&lock);
	list_for_each (l, &kept, link) {
		if (is_at(l, dir, cred, cookie)) {
			list_remove(&l->link);
			nkept--;
			mutex_unlock(&lock);
			return l;
		}
	}
	mutex_unlock(&lock);
	return NULL;
}

/* The one that is at this place of the directory as it is now; NULL: none. */
static struct listing *listing_take(struct vfs_object *dir, const struct cred *cred,
				    uint64_t cookie, uint64_t change)
{
	struct listing *l = take_kept(dir, cred, cookie);

	if (!l || (l->change == change && !is_old(l, clock_coarse_ns())))
		return l;
	listing_close(l);
	return NULL;
}

static void listing_keep(struct listing *l)
{
	struct listing *oldest = NULL;

	l->kept_ns = clock_coarse_ns();
	mutex_lock(&lock);
	if (nkept == KEEP_MOST) {
		oldest = list_first(&kept, struct listing, link);
		list_remove(&oldest->link);
		nkept--;
	}
	list_push_back(&kept, &l->link);
	nkept++;
	mutex_unlock(&lock);
	if (oldest)
		listing_close(oldest);
}

unsigned vfs_listings_close(const struct vfs_export *exp, bool old_only)
{
	struct list closing = LIST_INITIALIZER(closing);
	uint64_t now = clock_coarse_ns();
	struct listing *l, *next;
	unsigned n = 0;

	mutex_lock(&lock);
	list_for_each_safe (l, next, &kept, link) {
		if ((exp && l->exp != exp) || (old_only && !is_old(l, now)))
			continue;
		list_remove(&l->link);
		list_push_back(&closing, &l->link);
		n++;
	}
	nkept -= n;
	mutex_unlock(&lock);
	list_for_each_safe (l, next, &closing, link)
		listing_close(l);
	return n;
}

/* ---- reading ---- */

enum progress { GO_ON, STOP };

/* Hands on what has been read. */
static enum progress emit_all(struct vfs_object *dir, struct listing *l, struct readdir_args *args,
			      struct dir_entry *entry)
{
	while (l->at < l->len) {
		const struct dirent64 *d = (const struct dirent64 *)(l->buf + l->at);
		size_t next = l->at + d->d_reclen;

		if (args->want_handle && next < l->len)
			vfs_handles_prefetch(dir->mount,
					     ((const struct dirent64 *)(l->buf + next))->d_ino);
		if (!is_dots(d->d_name) && vfs_fill_entry(dir, d, args, entry) != -ENOENT) {
			if (!args->emit(args->arg, entry))
				return STOP;
			l->cookie = entry->cookie;
		}
		l->at = next;
	}
	return GO_ON;
}

/* The entries that have been read and may fit beside those that were handed on. */
static void gather(struct listing *l, const struct readdir_args *args, unsigned handed_on,
		   struct vfs_fetch *f)
{
	size_t most = args->room ? args->room / ENTRY_BYTES : SIZE_MAX, at = l->at;

	f->n = 0;
	while (at < l->len && f->n < VFS_FETCH_MOST && handed_on + f->n < most) {
		const struct dirent64 *d = (const struct dirent64 *)(l->buf + at);

		if (!is_dots(d->d_name))
			f->dirent[f->n++] = d;
		at += d->d_reclen;
	}
}

/* The same as emit_all() with a helper, or a part of it: f->n entries. */
static enum progress emit_shared(struct vfs_object *dir, const struct cred *cred, struct listing *l,
				 struct readdir_args *args, struct vfs_fetch *f)
{
	enum progress progress = GO_ON;

	vfs_fetch_start(f, dir, cred, args);
	for (unsigned i = 0; i < f->n; i++) {
		const struct dirent64 *d = f->dirent[i];
		const struct dir_entry *entry = vfs_fetch_entry(f, i);

		if (entry->error != -ENOENT) {
			if (!args->emit(args->arg, entry)) {
				progress = STOP;
				break;
			}
			l->cookie = entry->cookie;
		}
		l->at = (size_t)((const char *)d - l->buf) + d->d_reclen;
	}
	vfs_fetch_stop(f);
	return progress;
}

/* Hands on the directory from l->at; *eof: all of it. */
static int emit_listing(struct vfs_object *dir, const struct cred *cred, struct listing *l,
			struct readdir_args *args, bool *eof)
{
	struct vfs_fetch *f = args->want_attr ? vfs_fetch_enter() : NULL;
	enum progress progress = GO_ON;
	struct dir_entry entry;
	unsigned handed_on = 0;
	ssize_t n = 1;
	int err = 0;

	while (progress == GO_ON) {
		if (l->at == l->len) {
			n = getdents64(l->fd, l->buf, sizeof(l->buf));
			l->at = 0;
			l->len = n > 0 ? (size_t)n : 0;
			if (n < 0)
				err = -errno;
			if (n <= 0)
				break;
		}
		if (f)
			gather(l, args, handed_on, f);
		if (f && f->n >= SHARED_LEAST) {
			progress = emit_shared(dir, cred, l, args, f);
			handed_on += f->n;
		} else {
			progress = emit_all(dir, l, args, &entry);
		}
	}
	if (args->want_attr)
		vfs_fetch_leave(f);
	*eof = n == 0;
	return err;
}

int vfs_readdir(struct object *base, const struct cred *cred, struct readdir_args *args)
{
	struct vfs_object *dir = vfs_object(base);
	struct listing *l = NULL;
	uint64_t change;
	bool keep;
	int err;

	if (base->type != FILE_DIRECTORY)
		return -ENOTDIR;
	args->eof = false;
	err = vfs_assume(cred);
	if (err)
		return err;
	keep = vfs_change_of(dir, &change) == 0;
	if (keep && args->cookie != 0)
		l = listing_take(dir, cred, args->cookie, change);
	if (!l)
		err = listing_open(dir, cred, args->cookie, change, &l);
	if (err)
		return err;
	err = emit_listing(dir, cred, l, args, &args->eof);
	if (!err && !args->eof && keep && l->cookie != args->cookie)
		listing_keep(l);
	else
		listing_close(l);
	return err;
}

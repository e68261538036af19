/*
 * Open files: reading, writing, and making writes stable.
 *
 * Unstable writes. What a client wrote unstably and has not committed yet must not be lost
 * unnoticed. The kernel tells a failed write-back once to each open file description that was there
 * when it failed (and to the next one opened, if nobody has been told yet). So from before the
 * first unstable write to an object until a commit has covered the last one, the object has a
 * description of its own, `sync_fd`, that nobody else uses: whatever fails meanwhile, and whoever
 * else calls fsync (local processes, synchronous writes here), fdatasync(sync_fd) reports it. Any
 * failure changes the export's write verifier, upon which every client of the export writes again
 * what it had not committed.
 *
 *	writes_begun, then `unstable`? no: open sync_fd ... write ... writes_ended
 *
 * A commit may close sync_fd if no write was under way when it began and none has begun since.
 * Writer and committer see each other: the writer counts itself, then looks at `unstable`; the
 * committer takes `unstable` back, then looks at the count. At least one of the two notices. Commits
 * of one object exclude each other until the verifier has changed, for the error is told but once
 * and the second must not answer with the old verifier. Objects with sync_fd are not evicted; if
 * they are idle (their client died, or was content), the trimming thread commits them first.
 *
 * Who writes. Writes run as the file's opener: the kernel clears setuid and setgid, and counts
 * quota, by the writer's identity.
 *
 * Whether a read blocks is found out by trying (RWF_NOWAIT); only if the pages are not there does
 * the thread declare itself blocked.
 */
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/log.h"
#include "base/random.h"

#define IOV_BATCH  64
#define COPY_BYTES 65536

/* ---- reading ---- */

static bool past_end(uint64_t offset)
{
	return offset > INT64_MAX;
}

/* Reads until `len` bytes are there or the file ends. */
static ssize_t pread_all(int fd, uint8_t *buf, size_t len, uint64_t offset)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(fd, buf + got, len - got, (off_t)(offset + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return got > 0 ? (ssize_t)got : -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

static int size_of(int fd, uint64_t *size)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx) < 0)
		return -errno;
	*size = sx.stx_size;
	return 0;
}

/* tmpfs does not know RWF_NOWAIT, and is in memory anyway. */
static int nowait(const struct vfs_file *f)
{
	return f->obj->mount->fs_type == TMPFS_MAGIC ? 0 : RWF_NOWAIT;
}

/*
 * One byte more than is wanted tells whether the file ends, at no cost when all is in
 * memory.
 */
static int read_buffer(const struct vfs_file *f, uint64_t offset, struct payload_out *out)
{
	int fd = f->fd;
	uint8_t behind;
	struct iovec iov[2] = { { out->buf, out->cap }, { &behind, 1 } };
	/* No file has a byte at INT64_MAX, and to ask for one is EINVAL. */
	int count = out->cap < INT64_MAX - offset ? 2 : 1;
	ssize_t n = preadv2(fd, iov, count, (off_t)offset, nowait(f));
	uint64_t size;
	size_t got = n > 0 ? (size_t)n : 0;
	int err;

	out->fd = -1;
	if (n < 0 && errno != EAGAIN && errno != EOPNOTSUPP && errno != EINVAL)
		return -errno;
	if (got > out->cap) {
		out->filled = out->cap;
		out->eof = false;
		return 0;
	}
	if (n == 0) {
		out->filled = 0;
		out->eof = true;
		return 0;
	}
	err = size_of(fd, &size);
	if (err)
		return err;
	if (got < out->cap && offset + got < size) {
		blocking_section();
		n = pread_all(fd, (uint8_t *)out->buf + got, out->cap - got, offset + got);
		if (n < 0 && got == 0)
			return (int)n;
		got += n > 0 ? (size_t)n : 0;
	}
	out->filled = got;
	out->eof = offset + got >= size;
	return 0;
}

static bool in_memory(const struct vfs_file *f, uint64_t offset)
{
	uint8_t byte;
	struct iovec iov = { &byte, 1 };

	return preadv2(f->fd, &iov, 1, (off_t)offset, nowait(f)) == 1;
}

static void release_file(void *arg)
{
	struct vfs_file *f = arg;

	vfs_file_done(f);
	file_unref(&f->base);
}

/*
 * The reply has promised what the disk does not give. The connection ends, the client asks again,
 * and then the error is found while it can still be said.
 */
static void extent_unreadable(void *arg)
{
	struct vfs_file *f = arg;

	atomic_store(&f->obj->unreadable, true);
}

/* An extent to be sent from the page cache; false: better read into the buffer. */
static bool read_extent(struct vfs_file *f, uint64_t offset, struct payload_out *out)
{
	uint64_t size, len;

	if (atomic_load_explicit(&f->obj->unreadable, memory_order_relaxed) ||
	    size_of(f->fd, &size) < 0 || offset >= size)
		return false;
	len = size - offset < out->cap ? size - offset : out->cap;
	/* Sending must not wait for the disk: a cold extent is read here, where that is announced. */
	if (len == 0 || !in_memory(f, offset) || !in_memory(f, offset + len - 1))
		return false;
	out->offset = (off_t)offset;
	out->filled = (size_t)len;
	out->eof = offset + len >= size;
	/* It goes on being used: with a pin there is no need to open it. */
	if (vfs_file_use(f) != 0)
		return false;
	file_ref(&f->base);
	out->fd = f->fd;
	out->release = release_file;
	out->unreadable = extent_unreadable;
	out->release_arg = f;
	return true;
}

static int read_file(struct vfs_file *f, uint64_t offset, struct payload_out *out)
{
	if (out->fd_wanted && read_extent(f, offset, out))
		return 0;
	if (!out->buf)
		return -EAGAIN;
	return read_buffer(f, offset, out);
}

int vfs_read(struct file *base, uint64_t offset, struct payload_out *out)
{
	struct vfs_file *f = vfs_file(base);
	int err;

	if (!(base->access & ACCESS_READ))
		return -EBADF;
	out->fd = -1;
	out->filled = 0;
	if (past_end(offset)) {
		out->eof = true;
		return 0;
	}
	if (out->cap > INT64_MAX - offset)
		out->cap = INT64_MAX - offset;
	err = vfs_file_use(f);
	if (err)
		return err;
	err = read_file(f, offset, out);
	vfs_file_done(f);
	return err;
}

/* ---- the write verifier ---- */

static void change_verifier(struct vfs_export *exp, int err)
{
	atomic_store(&exp->verifier, random_u64());
	log_error("%s: writing to storage failed (%s): clients will send again what they had not "
		  "committed",
		  exp->path, strerror(-err));
}

void vfs_write_verifier(struct backend_export *exp, uint8_t out[BACKEND_VERIFIER_LEN])
{
	uint64_t v = atomic_load(&vfs_export(exp)->verifier);

	memcpy(out, &v, BACKEND_VERIFIER_LEN);
}

/* ---- unstable writes and commits ---- */

/* Before an unstable write. */
static int unstable_begin(struct vfs_object *obj)
{
	int fd, err;

	atomic_fetch_add(&obj->writes_begun, 1);
	if (likely(atomic_load(&obj->unstable)))
		return 0;
	err = vfs_assume_privileged();
	fd = err ? err : vfs_reopen(vfs_object_export(obj), obj->fd, O_RDONLY | O_NONBLOCK);
	if (fd < 0) {
		atomic_fetch_add(&obj->writes_ended, 1);
		return fd;
	}
	mutex_lock(&obj->lock);
	if (obj->sync_fd < 0) {
		obj->sync_fd = fd;
		fd = -1;
	}
	atomic_store(&obj->unstable, true);
	mutex_unlock(&obj->lock);
	if (fd >= 0)
		close(fd);
	return 0;
}

static void unstable_end(struct vfs_object *obj)
{
	atomic_fetch_add(&obj->writes_ended, 1);
}

/* After fdatasync: gives sync_fd up unless a write has begun since the counts were read. */
static void forget_sync_fd(struct vfs_object *obj, uint64_t begun)
{
	int fd = -1;

	mutex_lock(&obj->lock);
	atomic_store(&obj->unstable, false);
	if (atomic_load(&obj->writes_begun) == begun) {
		fd = obj->sync_fd;
		obj->sync_fd = -1;
	} else {
		atomic_store(&obj->unstable, true);
	}
	mutex_unlock(&obj->lock);
	if (fd >= 0)
		close(fd);
}

static int commit_locked(struct vfs_object *obj)
{
	struct vfs_export *exp = vfs_object_export(obj);
	uint64_t ended = atomic_load(&obj->writes_ended);
	uint64_t begun = atomic_load(&obj->writes_begun);
	int fd, own = -1, err = 0;

	mutex_lock(&obj->lock);
	fd = obj->sync_fd; /* only a commit closes it, and we hold commit_lock */
	mutex_unlock(&obj->lock);
	if (fd < 0) {
		/* No unstable write since the last commit, but maybe from before a restart. */
		err = vfs_assume_privileged();
		own = err ? err : vfs_reopen(exp, obj->fd, O_RDONLY | O_NONBLOCK);
		if (own < 0)
			return own;
		fd = own;
	}
	blocking_section();
	if (fdatasync(fd) < 0) {
		err = -errno;
		change_verifier(exp, err);
	} else if (own < 0 && ended == begun) {
		forget_sync_fd(obj, begun);
	}
	if (own >= 0)
		close(own);
	return err;
}

int vfs_commit(struct object *base, uint64_t offset, uint64_t len)
{
	struct vfs_object *obj = vfs_object(base);
	int err;

	if (base->type != FILE_REGULAR)
		return base->type == FILE_DIRECTORY ? -EISDIR : -EINVAL;
	mutex_lock(&obj->commit_lock);
	err = commit_locked(obj);
	mutex_unlock(&obj->commit_lock);
	return err;
}

bool vfs_try_commit(struct vfs_object *obj)
{
	int err;

	if (!mutex_trylock(&obj->commit_lock))
		return false;
	/* Somebody else's commit was faster: there is nothing to do, least of all with privileges. */
	err = atomic_load(&obj->unstable) ? commit_locked(obj) : 0;
	mutex_unlock(&obj->commit_lock);
	return !err && !atomic_load(&obj->unstable);
}

void vfs_sync_release(struct vfs_object *obj)
{
	if (obj->sync_fd >= 0)
		close(obj->sync_fd);
}

/* ---- writing ---- */

/* Writes `iov` as far as it goes; -errno only if nothing was written. */
static ssize_t write_iov(int fd, const struct iovec *iov, int count, uint64_t offset, int flags)
{
	struct iovec part[IOV_BATCH];
	size_t total = 0, skip = 0;

	while (count > 0) {
		int n = count < IOV_BATCH ? count : IOV_BATCH;
		ssize_t w;

		memcpy(part, iov, (size_t)n * sizeof(*iov));
		part[0].iov_base = (uint8_t *)part[0].iov_base + skip;
		part[0].iov_len -= skip;
		w = pwritev2(fd, part, n, (off_t)(offset + total), flags);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return total > 0 ? (ssize_t)total : -errno;
		total += (size_t)w;
		skip += (size_t)w;
		while (count > 0 && skip >= iov->iov_len) {
			skip -= iov->iov_len;
			iov++;
			count--;
		}
		if (w == 0 && count > 0)
			break;
	}
	return (ssize_t)total;
}

/* To a file system that cannot splice: by way of memory. */
static ssize_t write_pipe_by_hand(int fd, int pipe_fd, size_t len, uint64_t offset)
{
	uint8_t *buf = malloc(COPY_BYTES);
	size_t total = 0;
	ssize_t n, w = 0;

	if (!buf)
		return -ENOMEM;
	while (total < len) {
		struct iovec iov = { buf, 0 };

		n = read(pipe_fd, buf, len - total < COPY_BYTES ? len - total : COPY_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			w = n < 0 ? -errno : -EIO;
			break;
		}
		iov.iov_len = (size_t)n;
		w = write_iov(fd, &iov, 1, offset + total, 0);
		total += w > 0 ? (size_t)w : 0;
		/* What it has not taken is gone from the pipe. */
		if (w < n)
			break;
	}
	free(buf);
	return total > 0 ? (ssize_t)total : w;
}

static ssize_t write_pipe(int fd, int pipe_fd, size_t len, uint64_t offset)
{
	size_t total = 0;

	while (total < len) {
		off_t at = (off_t)(offset + total);
		ssize_t w = splice(pipe_fd, NULL, fd, &at, len - total, SPLICE_F_MOVE);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0 && errno == EINVAL && total == 0)
			return write_pipe_by_hand(fd, pipe_fd, len, offset);
		if (w < 0)
			return total > 0 ? (ssize_t)total : -errno;
		if (w == 0)
			break;
		total += (size_t)w;
	}
	return (ssize_t)total;
}

static size_t iov_bytes(const struct payload_in *in)
{
	size_t n = 0;

	for (int i = 0; i < in->iovcnt; i++)
		n += in->iov[i].iov_len;
	return n;
}

static ssize_t write_payload(int fd, uint64_t offset, const struct payload_in *in, int flags)
{
	size_t first = iov_bytes(in);
	ssize_t n = 0, m;

	if (first > 0)
		n = write_iov(fd, in->iov, in->iovcnt, offset, flags);
	if (n < 0 || (size_t)n < first || in->pipe_fd < 0 || in->pipe_len == 0)
		return n;
	m = write_pipe(fd, in->pipe_fd, in->pipe_len, offset + first);
	if (m < 0)
		return n > 0 ? n : m;
	return n + m;
}

static int write_stable(int fd, uint64_t offset, const struct payload_in *in, enum stability how,
			size_t *written)
{
	bool piped = in->pipe_fd >= 0 && in->pipe_len > 0;
	int flag = how == DATA_SYNC ? RWF_DSYNC : RWF_SYNC;
	ssize_t n;

	blocking_section();
	n = write_payload(fd, offset, in, piped ? 0 : flag);
	if (n < 0)
		return (int)n;
	if (piped && (how == DATA_SYNC ? fdatasync(fd) : fsync(fd)) < 0)
		return -errno;
	*written = (size_t)n;
	return 0;
}

static int write_unstable(struct vfs_file *f, uint64_t offset, const struct payload_in *in,
			  size_t *written)
{
	struct vfs_object *obj = f->obj;
	int err = unstable_begin(obj);
	ssize_t n;

	if (err)
		return err;
	err = vfs_assume(f->cred);
	if (!err) {
		n = write_payload(f->fd, offset, in, 0);
		if (n < 0)
			err = (int)n;
		else
			*written = (size_t)n;
	}
	unstable_end(obj);
	return err;
}

int vfs_write(struct file *base, uint64_t offset, const struct payload_in *in, enum stability *how,
	      size_t *written)
{
	struct vfs_file *f = vfs_file(base);
	int err;

	if (!(base->access & ACCESS_WRITE))
		return -EBADF;
	if (offset > INT64_MAX || in->len > INT64_MAX - offset)
		return -EFBIG;
	if (in->len == 0) {
		*written = 0;
		return 0;
	}
	err = vfs_file_use(f);
	if (err)
		return err;
	if (*how == UNSTABLE) {
		err = write_unstable(f, offset, in, written);
	} else {
		err = vfs_assume(f->cred);
		if (!err)
			err = write_stable(f->fd, offset, in, *how, written);
	}
	vfs_file_done(f);
	return err;
}

/* ---- the optional operations ---- */

static int lseek_to(int fd, uint64_t offset, int whence, uint64_t *found)
{
	off_t at = lseek(fd, (off_t)offset, whence);

	if (at < 0)
		return -errno;
	*found = (uint64_t)at;
	return 0;
}

int vfs_seek(struct file *base, uint64_t offset, bool hole, uint64_t *found)
{
	struct vfs_file *f = vfs_file(base);
	int err;

	if (past_end(offset))
		return -ENXIO;
	err = vfs_file_use(f);
	if (err)
		return err;
	err = lseek_to(f->fd, offset, hole ? SEEK_HOLE : SEEK_DATA, found);
	vfs_file_done(f);
	return err;
}

static int change_space(struct file *base, int mode, uint64_t offset, uint64_t len)
{
	struct vfs_file *f = vfs_file(base);
	int err;

	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return -EFBIG;
	err = vfs_file_use(f);
	if (err)
		return err;
	err = vfs_assume(f->cred);
	if (!err) {
		blocking_section();
		if (fallocate(f->fd, mode, (off_t)offset, (off_t)len) < 0)
			err = -errno;
	}
	if (!err)
		err = vfs_settle(f->obj);
	vfs_file_done(f);
	return err;
}

int vfs_allocate(struct file *base, uint64_t offset, uint64_t len)
{
	return change_space(base, 0, offset, len);
}

int vfs_deallocate(struct file *base, uint64_t offset, uint64_t len)
{
	return change_space(base, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len);
}

/* Between file systems that cannot do it among themselves. */
static ssize_t copy_by_hand(int from, uint64_t from_offset, int to, uint64_t to_offset, size_t len)
{
	size_t n = len < COPY_BYTES ? len : COPY_BYTES;
	uint8_t *buf = malloc(n);
	ssize_t got;

	if (!buf)
		return -ENOMEM;
	got = pread_all(from, buf, n, from_offset);
	if (got > 0) {
		struct iovec iov = { buf, (size_t)got };

		got = write_iov(to, &iov, 1, to_offset, 0);
	}
	free(buf);
	return got;
}

static ssize_t copy_range(int from, uint64_t from_offset, int to, uint64_t to_offset, size_t len)
{
	off_t in = (off_t)from_offset, out = (off_t)to_offset;
	ssize_t n = copy_file_range(from, &in, to, &out, len, 0);

	if (n >= 0)
		return n;
	if (errno == EXDEV || errno == EOPNOTSUPP || errno == ENOSYS)
		return copy_by_hand(from, from_offset, to, to_offset, len);
	return -errno;
}

/* Both files are in use until end_pair(). */
static int use_pair(struct vfs_file *from, struct vfs_file *to)
{
	int err = vfs_file_use(from);

	if (err)
		return err;
	err = vfs_file_use(to);
	if (err)
		vfs_file_done(from);
	return err;
}

static void end_pair(struct vfs_file *from, struct vfs_file *to)
{
	vfs_file_done(to);
	vfs_file_done(from);
}

static int copy_file(struct vfs_file *from, uint64_t from_offset, struct vfs_file *to,
		     uint64_t to_offset, size_t bytes, uint64_t *copied)
{
	int err = unstable_begin(to->obj);
	ssize_t n;

	if (err)
		return err;
	err = vfs_assume(to->cred);
	if (!err) {
		blocking_section();
		n = copy_range(from->fd, from_offset, to->fd, to_offset, bytes);
		if (n < 0)
			err = (int)n;
		else
			*copied = (uint64_t)n;
	}
	unstable_end(to->obj);
	return err;
}

int vfs_copy(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	     uint64_t len, uint64_t *copied)
{
	size_t bytes = len < SSIZE_MAX ? (size_t)len : SSIZE_MAX;
	int err;

	if (from_offset > INT64_MAX || to_offset > INT64_MAX || len > INT64_MAX - to_offset)
		return -EFBIG;
	err = use_pair(vfs_file(from), vfs_file(to));
	if (err)
		return err;
	err = copy_file(vfs_file(from), from_offset, vfs_file(to), to_offset, bytes, copied);
	end_pair(vfs_file(from), vfs_file(to));
	return err;
}

static int clone_file(struct vfs_file *from, uint64_t from_offset, struct vfs_file *to,
		      uint64_t to_offset, uint64_t len)
{
	struct file_clone_range range = {
		.src_fd = from->fd,
		.src_offset = from_offset,
		.src_length = len,
		.dest_offset = to_offset,
	};
	int err = vfs_assume(to->cred);

	if (err)
		return err;
	blocking_section();
	if (ioctl(to->fd, FICLONERANGE, &range) < 0)
		return -errno;
	return vfs_settle(to->obj);
}

int vfs_clone(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	      uint64_t len)
{
	int err = use_pair(vfs_file(from), vfs_file(to));

	if (err)
		return err;
	err = clone_file(vfs_file(from), from_offset, vfs_file(to), to_offset, len);
	end_pair(vfs_file(from), vfs_file(to));
	return err;
}

/* ---- byte-range locks, as local processes see them ---- */

/* False: the kernel's offsets do not go so far, and nobody here can have a lock there. */
static bool kernel_lock(const struct file_lock *l, struct flock *fl)
{
	static const short types[] = { F_UNLCK, F_RDLCK, F_WRLCK };

	if (l->first > INT64_MAX)
		return false;
	*fl = (struct flock){ .l_type = types[l->kind], .l_whence = SEEK_SET };
	fl->l_start = (off_t)l->first;
	/* 0: to the end */
	fl->l_len = l->last >= INT64_MAX ? 0 : (off_t)(l->last - l->first + 1);
	return true;
}

/* A description's lock has no process: l_pid is -1. */
static void describe(const struct flock *fl, struct file_lock *out)
{
	out->kind = fl->l_type == F_WRLCK ? FILE_EXCLUSIVE : FILE_SHARED;
	out->first = (uint64_t)fl->l_start;
	out->last = fl->l_len == 0 ? UINT64_MAX : out->first + (uint64_t)fl->l_len - 1;
	out->pid = fl->l_pid > 0 ? fl->l_pid : 0;
}

static int lock_test(int fd, const struct file_lock *want, struct file_lock *holder)
{
	struct flock fl;

	if (!kernel_lock(want, &fl))
		return 0;
	if (fcntl(fd, F_OFD_GETLK, &fl) < 0)
		return -errno;
	if (fl.l_type == F_UNLCK)
		return 0;
	describe(&fl, holder);
	return -EAGAIN;
}

static int lock_file(int fd, const struct file_lock *want, struct file_lock *holder)
{
	struct flock fl;

	for (unsigned attempt = 0;; attempt++) {
		if (!kernel_lock(want, &fl) || fcntl(fd, F_OFD_SETLK, &fl) == 0)
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		if (!holder || lock_test(fd, want, holder) != 0 || attempt == 8)
			break;
		/* Whoever was in the way has gone. */
	}
	return -EAGAIN;
}

static bool is_everything(const struct file_lock *l)
{
	return l->first == 0 && l->last == UINT64_MAX;
}

int vfs_lock(struct file *base, const struct file_lock *want, struct file_lock *holder)
{
	struct vfs_file *f = vfs_file(base);
	int err;

	if (want->kind == FILE_UNLOCKED && !atomic_load(&f->locked))
		return 0;
	err = vfs_file_use(f);
	if (err)
		return err;
	if (holder)
		*holder = *want;
	err = lock_file(f->fd, want, holder);
	/* The locks are the description's: it stays as long as there may be any. */
	if (err == 0 && want->kind == FILE_UNLOCKED && is_everything(want)) {
		if (atomic_exchange(&f->locked, false))
			vfs_file_done(f);
	} else if (err == 0 && want->kind != FILE_UNLOCKED && !atomic_exchange(&f->locked, true)) {
		return 0;
	}
	vfs_file_done(f);
	return err;
}

int vfs_lock_test(struct file *base, const struct file_lock *want, struct file_lock *holder)
{
	struct vfs_file *f = vfs_file(base);
	int err = vfs_file_use(f);

	if (err)
		return err;
	err = lock_test(f->fd, want, holder);
	vfs_file_done(f);
	return err;
}

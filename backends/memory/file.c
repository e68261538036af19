/* Open files and their contents. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/memory/memory.h"

struct mem_file {
	struct file base;
	const struct cred *cred; /* the opener, a reference */
};

static struct mem_inode *inode_of(struct file *file)
{
	return mem_inode(file->object);
}

static const struct cred *opener(struct file *file)
{
	return container_of(file, struct mem_file, base)->cred;
}

int mem_file_new(struct mem_inode *inode, const struct cred *cred, unsigned access,
		 struct file **out)
{
	struct mem_file *f = malloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->base.object = object_ref(&inode->base);
	f->base.access = access & (ACCESS_READ | ACCESS_WRITE);
	f->base.refs = 1;
	f->cred = cred_ref(cred);
	f->base.opener = f->cred;
	*out = &f->base;
	return 0;
}

void mem_file_free(struct file *file)
{
	struct mem_file *f = container_of(file, struct mem_file, base);

	cred_unref(f->cred);
	object_unref(file->object);
	free(f);
}

int mem_may_open(const struct mem_inode *inode, const struct cred *cred, unsigned access)
{
	unsigned wanted = access & (ACCESS_READ | ACCESS_WRITE);

	switch (inode->base.type) {
	case FILE_REGULAR:
		break;
	case FILE_DIRECTORY:
		return -EISDIR;
	case FILE_SYMLINK:
		return -ELOOP;
	default:
		return -EINVAL;
	}
	if ((access & ACCESS_OWNER) && cred->uid == inode->uid)
		return 0;
	/* To run a program its client has to read it. */
	if (wanted == ACCESS_READ && mem_permit(inode, cred, ACCESS_EXECUTE) == 0)
		return 0;
	return mem_permit(inode, cred, wanted);
}

int mem_open(struct object *obj, const struct cred *cred, unsigned access, struct file **out)
{
	struct mem_export *exp = mem_export(obj->export);
	int err;

	mutex_lock(&exp->lock);
	err = mem_may_open(mem_inode(obj), cred, access);
	mutex_unlock(&exp->lock);
	return err ? err : mem_file_new(mem_inode(obj), cred, access, out);
}

/* ---- contents ---- */

/* Zeros within one page, if it exists. */
static void clear_part(struct mem_inode *inode, uint64_t offset, uint64_t len)
{
	uint8_t *page = pages_get(&inode->pages, offset / PAGE_BYTES);

	if (page)
		memset(page + offset % PAGE_BYTES, 0, len);
}

/* Makes offset..end a hole: whole pages are freed, parts of pages cleared. */
static void clear_range(struct mem_export *exp, struct mem_inode *inode, uint64_t offset,
			uint64_t end) REQUIRES(&exp->lock)
{
	uint64_t first = (offset + PAGE_BYTES - 1) / PAGE_BYTES, behind = end / PAGE_BYTES;
	uint64_t before = inode->pages.count;

	if (offset >= end)
		return;
	if (offset / PAGE_BYTES == end / PAGE_BYTES) {
		clear_part(inode, offset, end - offset);
		return;
	}
	if (offset % PAGE_BYTES)
		clear_part(inode, offset, PAGE_BYTES - offset % PAGE_BYTES);
	if (end % PAGE_BYTES)
		clear_part(inode, end - end % PAGE_BYTES, end % PAGE_BYTES);
	if (first < behind)
		pages_drop(&inode->pages, first, behind - 1);
	exp->used -= (before - inode->pages.count) * PAGE_BYTES;
}

int mem_set_size(struct mem_export *exp, struct mem_inode *inode, uint64_t size)
{
	if (size > INT64_MAX)
		return -EFBIG;
	if (size < inode->size) {
		uint64_t end = (inode->size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

		clear_range(exp, inode, size, end);
	}
	inode->size = size;
	inode->mtime = mem_now();
	return 0;
}

static uint8_t *page_for_writing(struct mem_export *exp, struct mem_inode *inode, uint64_t offset,
				 int *err) REQUIRES(&exp->lock)
{
	uint8_t *page = pages_get(&inode->pages, offset / PAGE_BYTES);

	if (page)
		return page;
	*err = mem_charge(exp, PAGE_BYTES);
	if (*err)
		return NULL;
	page = pages_make(&inode->pages, offset / PAGE_BYTES);
	if (!page) {
		exp->used -= PAGE_BYTES;
		*err = -ENOMEM;
	}
	return page;
}

static size_t within_page(uint64_t offset, size_t len)
{
	size_t room = PAGE_BYTES - offset % PAGE_BYTES;

	return len < room ? len : room;
}

static void read_bytes(const struct mem_inode *inode, uint64_t offset, uint8_t *to, size_t len)
{
	while (len > 0) {
		const uint8_t *page = pages_get(&inode->pages, offset / PAGE_BYTES);
		size_t n = within_page(offset, len);

		if (page)
			memcpy(to, page + offset % PAGE_BYTES, n);
		else
			memset(to, 0, n);
		offset += n;
		to += n;
		len -= n;
	}
}

/* Writes as far as there is space; *err says what stopped it. */
static size_t write_bytes(struct mem_export *exp, struct mem_inode *inode, uint64_t offset,
			  const uint8_t *from, size_t len, int *err) REQUIRES(&exp->lock)
{
	size_t total = 0;

	while (total < len) {
		size_t n = within_page(offset + total, len - total);
		uint8_t *page = page_for_writing(exp, inode, offset + total, err);

		if (!page)
			break;
		memcpy(page + (offset + total) % PAGE_BYTES, from + total, n);
		total += n;
	}
	if (total > 0 && offset + total > inode->size)
		inode->size = offset + total;
	return total;
}

static void was_written(struct mem_export *exp, struct mem_inode *inode, const struct cred *cred)
    REQUIRES(&exp->lock)
{
	inode->mtime = mem_now();
	mem_drop_privileges(inode, cred);
	mem_touch(exp, inode);
}

int mem_read(struct file *file, uint64_t offset, struct payload_out *out)
{
	struct mem_inode *inode = inode_of(file);
	struct mem_export *exp = mem_export_of(inode);
	uint64_t left;

	if (!(file->access & ACCESS_READ))
		return -EBADF;
	mutex_lock(&exp->lock);
	left = offset < inode->size ? inode->size - offset : 0;
	out->fd = -1;
	out->filled = left < out->cap ? left : out->cap;
	out->eof = out->filled == left;
	read_bytes(inode, offset, out->buf, out->filled);
	if (out->filled > 0)
		inode->atime = mem_now();
	mutex_unlock(&exp->lock);
	return 0;
}

static size_t write_iov(struct file *file, uint64_t offset, const struct iovec *iov, int count,
			int *err)
{
	struct mem_inode *inode = inode_of(file);
	struct mem_export *exp = mem_export_of(inode);
	size_t total = 0;

	mutex_lock(&exp->lock);
	for (int i = 0; i < count && *err == 0; i++)
		total +=
		    write_bytes(exp, inode, offset + total, iov[i].iov_base, iov[i].iov_len, err);
	if (total > 0)
		was_written(exp, inode, opener(file));
	mutex_unlock(&exp->lock);
	return total;
}

/* Takes the part of the payload that waits in a pipe, page by page. */
static size_t write_pipe(struct file *file, uint64_t offset, int pipe_fd, size_t len, int *err)
{
	uint8_t buf[PAGE_BYTES];
	size_t total = 0;

	while (total < len && *err == 0) {
		size_t want = len - total < sizeof(buf) ? len - total : sizeof(buf);
		ssize_t n = read(pipe_fd, buf, want);
		struct iovec iov = { buf, n > 0 ? (size_t)n : 0 };

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			*err = n < 0 ? -errno : -EIO;
			break;
		}
		total += write_iov(file, offset + total, &iov, 1, err);
	}
	return total;
}

int mem_write(struct file *file, uint64_t offset, const struct payload_in *in, enum stability *how,
	      size_t *written)
{
	size_t total;
	int err = 0;

	if (!(file->access & ACCESS_WRITE))
		return -EBADF;
	if (offset > INT64_MAX || in->len > INT64_MAX - offset)
		return -EFBIG;
	total = write_iov(file, offset, in->iov, in->iovcnt, &err);
	if (err == 0 && in->pipe_fd >= 0)
		total += write_pipe(file, offset + total, in->pipe_fd, in->pipe_len, &err);
	if (total == 0 && err)
		return err;
	*written = total;
	return 0;
}

int mem_commit(struct object *obj, uint64_t offset, uint64_t len)
{
	if (obj->type != FILE_REGULAR)
		return obj->type == FILE_DIRECTORY ? -EISDIR : -EINVAL;
	return 0;
}

/* ---- holes and copies ---- */

int mem_seek(struct file *file, uint64_t offset, bool hole, uint64_t *found)
{
	struct mem_inode *inode = inode_of(file);
	struct mem_export *exp = mem_export_of(inode);
	uint64_t page = offset / PAGE_BYTES, at;
	int err = 0;

	mutex_lock(&exp->lock);
	if (offset >= inode->size) {
		err = -ENXIO;
	} else if (hole) {
		at = pages_next_hole(&inode->pages, page) * PAGE_BYTES;
		at = at < offset ? offset : at;
		*found = at < inode->size ? at : inode->size;
	} else if (pages_next(&inode->pages, page, &at) && at * PAGE_BYTES < inode->size) {
		*found = at * PAGE_BYTES < offset ? offset : at * PAGE_BYTES;
	} else {
		err = -ENXIO;
	}
	mutex_unlock(&exp->lock);
	return err;
}

int mem_allocate(struct file *file, uint64_t offset, uint64_t len)
{
	struct mem_inode *inode = inode_of(file);
	struct mem_export *exp = mem_export_of(inode);
	int err = 0;

	if (!(file->access & ACCESS_WRITE))
		return -EBADF;
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return -EFBIG;
	if (len == 0)
		return -EINVAL;
	mutex_lock(&exp->lock);
	for (uint64_t at = offset; at < offset + len && !err; at += within_page(at, PAGE_BYTES))
		page_for_writing(exp, inode, at, &err);
	if (!err && offset + len > inode->size)
		inode->size = offset + len;
	if (!err)
		was_written(exp, inode, opener(file));
	mutex_unlock(&exp->lock);
	return err;
}

int mem_deallocate(struct file *file, uint64_t offset, uint64_t len)
{
	struct mem_inode *inode = inode_of(file);
	struct mem_export *exp = mem_export_of(inode);

	if (!(file->access & ACCESS_WRITE))
		return -EBADF;
	if (offset > INT64_MAX || len > INT64_MAX - offset)
		return -EFBIG;
	if (len == 0)
		return -EINVAL;
	mutex_lock(&exp->lock);
	clear_range(exp, inode, offset, offset + len);
	was_written(exp, inode, opener(file));
	mutex_unlock(&exp->lock);
	return 0;
}

int mem_copy(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	     uint64_t len, uint64_t *copied)
{
	struct mem_inode *source = inode_of(from), *target = inode_of(to);
	struct mem_export *exp = mem_export_of(target);
	uint64_t left, total = 0;
	int err = 0;

	if (!(from->access & ACCESS_READ) || !(to->access & ACCESS_WRITE))
		return -EBADF;
	if (from_offset > INT64_MAX || to_offset > INT64_MAX || len > INT64_MAX - to_offset)
		return -EFBIG;
	if (source->base.export != target->base.export)
		return -EXDEV;
	if (source == target && from_offset < to_offset + len && to_offset < from_offset + len)
		return -EINVAL;
	mutex_lock(&exp->lock);
	left = from_offset < source->size ? source->size - from_offset : 0;
	left = left < len ? left : len;
	while (total < left && !err) {
		uint8_t buf[PAGE_BYTES];
		size_t n = left - total < sizeof(buf) ? (size_t)(left - total) : sizeof(buf);

		read_bytes(source, from_offset + total, buf, n);
		total += write_bytes(exp, target, to_offset + total, buf, n, &err);
	}
	if (total > 0)
		was_written(exp, target, opener(to));
	mutex_unlock(&exp->lock);
	if (total == 0 && err)
		return err;
	*copied = total;
	return 0;
}

/* Nothing to share here: a clone is a copy that is not short. */
int mem_clone(struct file *from, uint64_t from_offset, struct file *to, uint64_t to_offset,
	      uint64_t len)
{
	struct mem_inode *source = inode_of(from);
	struct mem_export *exp = mem_export_of(source);
	uint64_t copied = 0;
	int err;

	mutex_lock(&exp->lock);
	if (from_offset > source->size || (len > 0 && len > source->size - from_offset))
		err = -EINVAL;
	else
		err = 0;
	if (len == 0 && !err)
		len = source->size - from_offset;
	mutex_unlock(&exp->lock);
	if (err || len == 0)
		return err;
	err = mem_copy(from, from_offset, to, to_offset, len, &copied);
	return !err && copied < len ? -ENOSPC : err;
}

/*
 * Reading directories by getdents64(2). The cookie of an entry is the position behind it that the
 * file system tells (d_off), which stays right while others add and remove entries. Every
 * call opens the directory with the caller's identity, so that the kernel checks
 * the permission each time, and goes to the cookie. What getdents64 read ahead of the entry that
 * did not fit is read again by the next call.
 *
 * tmpfs before Linux 6.6 counts names for a position: one that is removed while a listing is under
 * way can make it repeat or miss another there. No server can do better with it.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"

/*
 * What is read ahead of the entry that does not fit is read in vain; a further getdents64 of an open
 * directory costs next to nothing.
 */
#define DENTS_BYTES 4096

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

/* Fills what was asked for. -ENOENT: the entry has gone. */
static int fill_entry(struct vfs_object *dir, const struct dirent64 *d,
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
		entry->error =
		    vfs_handle_at(dir, d->d_name, &entry->handle);
	}
	return entry->error;
}

enum progress { GO_ON, STOP };

static enum progress emit_all(struct vfs_object *dir, const char *buf, size_t len,
			      struct readdir_args *args, struct dir_entry *entry)
{
	for (size_t at = 0; at < len;) {
		const struct dirent64 *d = (const struct dirent64 *)(buf + at);

		at += d->d_reclen;
		if (args->want_handle && at < len)
			vfs_handles_prefetch(dir->mount,
					     ((const struct dirent64 *)(buf + at))->d_ino);
		if (is_dots(d->d_name) || fill_entry(dir, d, args, entry) == -ENOENT)
			continue;
		if (!args->emit(args->arg, entry))
			return STOP;
	}
	return GO_ON;
}

int vfs_readdir(struct object *base, const struct cred *cred, struct readdir_args *args)
{
	char buf[DENTS_BYTES] __attribute__((aligned(8)));
	struct vfs_object *dir = vfs_object(base);
	struct dir_entry entry;
	int fd, err;
	ssize_t n;

	if (base->type != FILE_DIRECTORY)
		return -ENOTDIR;
	args->eof = false;
	err = vfs_assume(cred);
	if (err)
		return err;
	fd = vfs_reopen(vfs_export(base->export), dir->fd, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return fd;
	if (args->cookie != 0 && lseek(fd, (off_t)args->cookie, SEEK_SET) < 0) {
		err = -errno;
		goto out;
	}
	while ((n = getdents64(fd, buf, sizeof(buf))) > 0) {
		if (emit_all(dir, buf, (size_t)n, args, &entry) == STOP)
			goto out;
	}
	if (n < 0)
		err = -errno;
	else
		args->eof = true;
out:
	close(fd);
	return err;
}

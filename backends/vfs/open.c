/*
 * Opening and making regular files.
 *
 * A plain new file is one open(O_CREAT | O_EXCL). One with a verifier or with more attributes than
 * its mode is first made without a name (O_TMPFILE), then given all of them, then its name:
 * nobody sees it half made, and a crash in between leaves nothing. File systems without O_TMPFILE
 * get it the other way round, and the name is taken back if something fails.
 *
 * Existing names are looked up first and opened through their object, never by name:
 * opening a fifo or a device has effects.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"

#define MODE_DEFAULT 0600 /* when the caller names none */

int vfs_open_flags(unsigned access)
{
	/* O_NONBLOCK: a local process's lease is answered by EWOULDBLOCK, not waited for. */
	switch (access & (ACCESS_READ | ACCESS_WRITE)) {
	case ACCESS_READ:
		return O_RDONLY | O_NONBLOCK;
	case ACCESS_WRITE:
		return O_WRONLY | O_NONBLOCK;
	default:
		return O_RDWR | O_NONBLOCK;
	}
}

static int file_new(struct vfs_object *obj, int fd, const struct cred *cred, unsigned access,
		    struct file **out)
{
	struct vfs_file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->shell.backend = obj->base.backend;
	f->shell.export = obj->base.export;
	f->shell.type = obj->base.type;
	f->shell.refs = 1;
	f->base.object = &f->shell;
	f->base.access = access & (ACCESS_READ | ACCESS_WRITE);
	f->base.refs = 1;
	f->handle = obj->handle;
	f->fd = fd;
	object_ref(&obj->base);
	f->obj = obj;
	f->cred = cred_ref(cred);
	f->base.opener = f->cred;
	vfs_file_register(f);
	*out = &f->base;
	return 0;
}

void vfs_file_free(struct file *base)
{
	struct vfs_file *f = vfs_file(base);

	vfs_file_unregister(f);
	cred_unref(f->cred);
	free(f);
}

static int not_regular(const struct object *obj)
{
	switch (obj->type) {
	case FILE_REGULAR:
		return 0;
	case FILE_DIRECTORY:
		return -EISDIR;
	case FILE_SYMLINK:
		return -ELOOP;
	default:
		return -EINVAL;
	}
}

/* To run a program its client has to read it, so execute permission is one to read, too. */
static bool may_read_to_execute(const struct vfs_object *obj, unsigned access)
{
	return (access & (ACCESS_READ | ACCESS_WRITE)) == ACCESS_READ &&
	       syscall(SYS_faccessat2, obj->fd, "", X_OK, AT_EMPTY_PATH | AT_EACCESS) == 0;
}

static bool owns(const struct vfs_object *obj, const struct cred *cred)
{
	struct statx sx;

	return statx(obj->fd, "", AT_EMPTY_PATH, STATX_UID, &sx) == 0 && sx.stx_uid == cred->uid;
}

/* With the thread's identity being cred's. */
static int open_object(struct vfs_object *obj, const struct cred *cred, unsigned access,
		       struct file **out)
{
	struct vfs_export *exp = vfs_object_export(obj);
	int fd, err = not_regular(&obj->base);

	if (err)
		return err;
	fd = vfs_reopen(exp, obj->fd, vfs_open_flags(access));
	if (fd == -EACCES &&
	    (may_read_to_execute(obj, access) || ((access & ACCESS_OWNER) && owns(obj, cred)))) {
		err = vfs_assume_privileged();
		fd = err ? err : vfs_reopen(exp, obj->fd, vfs_open_flags(access));
	}
	if (fd < 0)
		return fd;
	err = file_new(obj, fd, cred, access, out);
	if (err)
		close(fd);
	return err;
}

int vfs_open(struct object *obj, const struct cred *cred, unsigned access, struct file **out)
{
	int err = vfs_assume(cred);

	return err ? err : open_object(vfs_object(obj), cred, access, out);
}

int vfs_reopen_file(struct object *base, const struct cred *cred, unsigned access,
		    struct file **out)
{
	struct vfs_object *obj = vfs_object(base);
	int fd, err = not_regular(base);

	if (!err)
		err = vfs_assume_privileged();
	if (err)
		return err;
	fd = vfs_reopen(vfs_object_export(obj), obj->fd, vfs_open_flags(access));
	if (fd < 0)
		return fd;
	err = file_new(obj, fd, cred, access, out);
	if (err)
		close(fd);
	return err;
}

/* ---- making ---- */

/* What is left to set when the file has been made with its mode. */
static struct attr_set remaining(const struct create_args *args)
{
	struct attr_set rest = args->attrs;

	if (!(rest.mask & (ATTR_SET_UID | ATTR_SET_GID)) || rest.has_umask)
		rest.mask &= ~(uint32_t)ATTR_SET_MODE;
	if ((rest.mask & ATTR_SET_SIZE) && rest.size == 0)
		rest.mask &= ~(uint32_t)ATTR_SET_SIZE;
	return rest;
}

static int open_new(struct vfs_export *exp, int dir, const char *name, int flags,
		    const struct create_args *args)
{
	mode_t mode = args->attrs.mask & ATTR_SET_MODE ? args->attrs.mode & 07777 : MODE_DEFAULT;
	int fd, err = 0;

	if (remaining(args).mask & ATTR_SET_MODE)
		mode &= 0700; /* the rest when it has its owner */
	vfs_umask(args->attrs.has_umask ? args->attrs.umask & 0777 : 0);
	do {
		fd = openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
		err = fd < 0 ? -errno : 0;
	} while ((err == -EMFILE || err == -ENFILE) && vfs_shed(exp));
	vfs_umask(0);
	return err ? err : fd;
}

static int equip(struct vfs_export *exp, int fd, const struct cred *cred,
		 const struct create_args *args)
{
	struct attr_set rest = remaining(args);
	uint32_t done;
	int err = 0;

	if (rest.mask)
		err = vfs_apply(exp, fd, fd, &rest, &done);
	if (!err && args->mode == CREATE_EXCLUSIVE) {
		err = vfs_verifier_store(exp, fd, args->verifier);
		if (!err)
			err = vfs_assume(cred);
	}
	return err;
}

static bool no_tmpfile(int err)
{
	return err == -EOPNOTSUPP || err == -EISDIR || err == -EINVAL;
}

static int create_unnamed(struct vfs_export *exp, int dir, const char *name,
			  const struct cred *cred, const struct create_args *args)
{
	int err, fd = open_new(exp, dir, ".", O_TMPFILE | O_RDWR, args);
	struct vfs_fd_name fd_name;

	if (fd < 0)
		return fd;
	err = equip(exp, fd, cred, args);
	fd_name = vfs_fd_name(fd);
	if (!err && linkat(vfs_proc_fd(), fd_name.text, dir, name, AT_SYMLINK_FOLLOW) < 0)
		err = -errno;
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static int create_named(struct vfs_export *exp, int dir, const char *name, unsigned access,
			const struct cred *cred, const struct create_args *args)
{
	bool more = remaining(args).mask != 0 || args->mode == CREATE_EXCLUSIVE;
	int flags = more ? O_RDWR : vfs_open_flags(access);
	int err, fd = open_new(exp, dir, name, O_CREAT | O_EXCL | flags, args);

	if (fd < 0 || !more)
		return fd;
	err = equip(exp, fd, cred, args);
	if (err) {
		unlinkat(dir, name, 0);
		close(fd);
		return err;
	}
	return fd;
}

/* A descriptor of the new file, or -EEXIST. */
static int create_file(struct vfs_export *exp, int dir, const char *name, unsigned access,
		       const struct cred *cred, const struct create_args *args)
{
	struct statx sx;
	int fd;

	if (remaining(args).mask == 0 && args->mode != CREATE_EXCLUSIVE)
		return create_named(exp, dir, name, access, cred, args);
	/* Retried creations are common with verifiers, and cheap to recognise. */
	if (statx(dir, name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, STATX_TYPE, &sx) == 0)
		return -EEXIST;
	fd = create_unnamed(exp, dir, name, cred, args);
	if (no_tmpfile(fd))
		fd = create_named(exp, dir, name, access, cred, args);
	return fd;
}

/* The new file as an object and an open file. Takes `fd`; if it fails, the name is taken back. */
static int open_made(struct vfs_export *exp, int dir, const char *name, int fd,
		     const struct cred *cred, unsigned access, struct vfs_object **out_obj,
		     struct file **out_file)
{
	struct vfs_object *obj = NULL;
	int err, path_fd = vfs_path_of(exp, fd);

	err = path_fd < 0 ? path_fd : vfs_object_from_fd(exp, path_fd, &obj);
	if (!err) {
		err = file_new(obj, fd, cred, access, out_file);
		if (err)
			object_unref(&obj->base);
	}
	if (err) {
		unlinkat(dir, name, 0);
		close(fd);
	} else {
		*out_obj = obj;
	}
	return err;
}

/* The name exists: may it be opened as if it had been made by this request? */
static int open_existing(struct vfs_object *dir, const char *name, unsigned access,
			 const struct cred *cred, const struct create_args *args, bool *made,
			 struct vfs_object **out_obj, struct file **out_file)
{
	struct vfs_object *obj;
	int err = vfs_object_at(dir, name, &obj);

	if (err)
		return err;
	*made = false;
	if (args->mode == CREATE_EXCLUSIVE) {
		if (obj->base.type != FILE_REGULAR || !vfs_verifier_matches(obj, args->verifier))
			err = -EEXIST;
		else
			err = vfs_assume(cred);
		*made = true;
		access |= ACCESS_OWNER;
	}
	if (!err)
		err = open_object(obj, cred, access, out_file);
	if (err)
		object_unref(&obj->base);
	else
		*out_obj = obj;
	return err;
}

int vfs_open_create(struct object *base, const struct cred *cred, const char *name, unsigned access,
		    const struct create_args *args, struct dir_change *change, bool *created,
		    struct object **out_obj, struct file **out_file)
{
	struct vfs_export *exp = vfs_export(base->export);
	struct vfs_object *dir = vfs_object(base), *obj = NULL;
	struct file *file = NULL;
	int fd, err;
	bool made;

	if (base->type != FILE_DIRECTORY)
		return -ENOTDIR;
	vfs_change_before(dir, change);
	err = vfs_assume(cred);
	if (err)
		return err;
	/* The name may come and go between the two attempts. */
	for (unsigned attempt = 0; attempt < 16; attempt++) {
		made = true;
		fd = create_file(exp, dir->fd, name, access, cred, args);
		if (fd >= 0)
			err = open_made(exp, dir->fd, name, fd, cred, access, &obj, &file);
		else if (fd != -EEXIST || args->mode == CREATE_GUARDED)
			err = fd;
		else
			err = open_existing(dir, name, access, cred, args, &made, &obj,
					    &file);
		if (fd != -EEXIST || err != -ENOENT)
			break;
	}
	if (err)
		return err;
	/* By whether it changes clients know whether the file has been made. */
	if (made) {
		err = vfs_settle_names(dir, change);
		vfs_change_after(dir, change);
	} else {
		change->after = change->before;
	}
	if (err) {
		file_unref(file);
		object_unref(&obj->base);
		return err;
	}
	*created = made;
	*out_obj = &obj->base;
	*out_file = file;
	return 0;
}

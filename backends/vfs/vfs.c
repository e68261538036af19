/* The vfs backend's exports, and its table of operations. */
#include "backends/vfs/vfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/random.h"

static void export_free(struct vfs_export *exp)
{
	vfs_settlers_end(exp);
	vfs_listings_close(exp, false);
	mutex_destroy(&exp->settlers_lock);
	free(exp->path);
	free(exp->fsid);
	free(exp);
}

static int export_new(const struct export_params *params, struct vfs_export **out)
{
	struct vfs_export *exp = calloc(1, sizeof(*exp));
	int err;

	if (!exp)
		return -ENOMEM;
	mutex_init(&exp->settlers_lock);
	list_init(&exp->settlers);
	exp->path = realpath(params->path, NULL);
	if (!exp->path) {
		err = -errno;
		log_error("%s cannot be exported: %s", params->path, strerror(errno));
		export_free(exp);
		return err;
	}
	if (params->fsid) {
		exp->fsid = strdup(params->fsid);
		if (!exp->fsid) {
			export_free(exp);
			return -ENOMEM;
		}
	}
	exp->base.backend = &vfs_backend;
	exp->base.capabilities = BACKEND_READ_BY_FD | BACKEND_WRITE_SPLICE;
	exp->crossmnt = params->crossmnt;
	exp->sync = !params->async;
	exp->verifier = random_u64();
	list_init(&exp->registered);
	*out = exp;
	return 0;
}

static int vfs_export_open(const struct export_params *params, struct backend_export **out)
{
	struct vfs_export *exp = NULL;
	int root_fd, err = vfs_proc_fd() < 0 ? -ENOENT : 0;

	if (err) {
		log_error("the vfs backend needs /proc, which is not mounted");
		return err;
	}
	err = export_new(params, &exp);
	if (err)
		return err;
	err = vfs_mounts_open(exp, &root_fd);
	if (err)
		goto fail_mounts;
	err = vfs_table_init(exp, params);
	if (err) {
		close(root_fd);
		goto fail_mounts;
	}
	err = vfs_object_from_fd(exp, root_fd, &exp->root);
	if (err) {
		vfs_table_destroy(exp);
		goto fail_mounts;
	}
	*out = &exp->base;
	return 0;
fail_mounts:
	vfs_mounts_close(exp);
	export_free(exp);
	return err;
}

static void vfs_export_close(struct backend_export *base)
{
	struct vfs_export *exp = vfs_export(base);

	vfs_settlers_end(exp);
	object_unref(&exp->root->base);
	vfs_table_destroy(exp);
	vfs_mounts_close(exp);
	export_free(exp);
}

static int vfs_root(struct backend_export *exp, struct object **out)
{
	*out = object_ref(&vfs_export(exp)->root->base);
	return 0;
}

/* The kernel marks what has no name any more by this suffix. */
#define DELETED " (deleted)"

static int vfs_path(struct object *obj, char *buf, size_t cap)
{
	char link[32];
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", vfs_object(obj)->fd);
	len = readlink(link, buf, cap - 1);
	if (len < 0)
		return -errno;
	buf[len] = '\0';
	if ((size_t)len >= strlen(DELETED) &&
	    strcmp(buf + (size_t)len - strlen(DELETED), DELETED) == 0)
		return -ENOENT;
	return 0;
}

const struct backend vfs_backend = {
	.name = "vfs",
	.export_open = vfs_export_open,
	.export_close = vfs_export_close,
	.root = vfs_root,
	.from_handle = vfs_from_handle,
	.to_handle = vfs_to_handle,
	.object_free = vfs_object_free,
	.getattr = vfs_getattr,
	.setattr = vfs_setattr,
	.access = vfs_access,
	.statfs = vfs_statfs,
	.lookup = vfs_lookup,
	.lookup_parent = vfs_lookup_parent,
	.readdir = vfs_readdir,
	.readlink = vfs_readlink,
	.create = vfs_create,
	.link = vfs_link,
	.remove = vfs_remove,
	.rename = vfs_rename,
	.settle = vfs_settle_later,
	.open = vfs_open,
	.open_create = vfs_open_create,
	.file_free = vfs_file_free,
	.read = vfs_read,
	.write = vfs_write,
	.commit = vfs_commit,
	.write_verifier = vfs_write_verifier,
	.reopen = vfs_reopen_file,
	.each_nameless = vfs_files_nameless,
	.lock = vfs_lock,
	.lock_test = vfs_lock_test,
	.path = vfs_path,
	.watch_start = vfs_watch_start,
	.watch_stop = vfs_watch_stop,
	.watch = vfs_watch,
	.watch_settled = vfs_watch_settled,
	.watch_again = vfs_watch_again,
	.seek = vfs_seek,
	.allocate = vfs_allocate,
	.deallocate = vfs_deallocate,
	.copy = vfs_copy,
	.clone = vfs_clone,
	.getxattr = vfs_getxattr,
	.setxattr = vfs_setxattr,
	.listxattr = vfs_listxattr,
	.removexattr = vfs_removexattr,
};

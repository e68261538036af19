/* Extended attributes of the memory backend: a list, in the order in which they came. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/memory/memory.h"

struct mem_xattr {
	struct list link; /* mem_inode.xattrs */
	size_t name_size; /* with the NUL */
	size_t len;	  /* of the value, which stands behind the name */
	char bytes[];
};

static uint64_t charge_of(const struct mem_xattr *x)
{
	return MEM_XATTR_CHARGE + x->name_size + x->len;
}

static struct mem_xattr *xattr_new(const char *name, const void *value, size_t len)
{
	size_t name_size = strlen(name) + 1;
	struct mem_xattr *x = malloc(sizeof(*x) + name_size + len);

	if (!x)
		return NULL;
	list_init(&x->link);
	x->name_size = name_size;
	x->len = len;
	memcpy(x->bytes, name, name_size);
	if (len)
		memcpy(x->bytes + name_size, value, len);
	return x;
}

static struct mem_xattr *find(struct mem_inode *inode, const char *name)
{
	struct mem_xattr *x;

	list_for_each (x, &inode->xattrs, link) {
		if (strcmp(x->bytes, name) == 0)
			return x;
	}
	return NULL;
}

static void drop(struct mem_export *exp, struct mem_xattr *x) REQUIRES(&exp->lock)
{
	exp->used -= charge_of(x);
	list_remove(&x->link);
	free(x);
}

void mem_xattrs_free(struct mem_export *exp, struct mem_inode *inode)
{
	while (!list_empty(&inode->xattrs))
		drop(exp, list_first(&inode->xattrs, struct mem_xattr, link));
}

static int permit(const struct mem_inode *inode, const struct cred *cred, unsigned access)
{
	bool writes = access & ACCESS_WRITE;

	if (inode->base.type != FILE_REGULAR && inode->base.type != FILE_DIRECTORY)
		return -EPERM;
	/* As Linux has it: in a directory like /tmp everybody may write. */
	if (writes && inode->base.type == FILE_DIRECTORY && (inode->mode & S_ISVTX) &&
	    cred->uid != 0 && cred->uid != inode->uid)
		return -EPERM;
	return mem_permit(inode, cred, access);
}

int mem_getxattr(struct object *obj, const struct cred *cred, const char *name, void *buf,
		 size_t cap, size_t *len)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *inode = mem_inode(obj);
	const struct mem_xattr *x;
	int err;

	mutex_lock(&exp->lock);
	err = permit(inode, cred, ACCESS_READ);
	x = err ? NULL : find(inode, name);
	if (!err && !x)
		err = -ENODATA;
	if (!err && cap && x->len > cap)
		err = -ERANGE;
	if (!err) {
		*len = x->len;
		if (cap && x->len)
			memcpy(buf, x->bytes + x->name_size, x->len);
	}
	mutex_unlock(&exp->lock);
	return err;
}

static bool names_fit(struct mem_inode *inode, const struct mem_xattr *fresh)
{
	size_t sum = fresh->name_size;
	struct mem_xattr *x;

	list_for_each (x, &inode->xattrs, link)
		sum += x->name_size;
	return sum <= XATTR_NAMES_MOST;
}

static int set(struct mem_export *exp, struct mem_inode *inode, struct mem_xattr *fresh,
	       enum xattr_mode mode) REQUIRES(&exp->lock)
{
	struct mem_xattr *old = find(inode, fresh->bytes);
	int err;

	if (old && mode == XATTR_SET_NEW)
		return -EEXIST;
	if (!old && mode == XATTR_SET_OLD)
		return -ENODATA;
	if (!old && !names_fit(inode, fresh))
		return -E2BIG;
	err = mem_charge(exp, charge_of(fresh));
	if (err)
		return err;
	if (old)
		drop(exp, old);
	list_push_back(&inode->xattrs, &fresh->link);
	return 0;
}

int mem_setxattr(struct object *obj, const struct cred *cred, const char *name, const void *value,
		 size_t len, enum xattr_mode mode, struct dir_change *change)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *inode = mem_inode(obj);
	struct mem_xattr *fresh;
	int err;

	if (len > XATTR_VALUE_MOST)
		return -E2BIG;
	fresh = xattr_new(name, value, len);
	if (!fresh)
		return -ENOMEM;
	mutex_lock(&exp->lock);
	err = permit(inode, cred, ACCESS_WRITE);
	if (!err)
		err = set(exp, inode, fresh, mode);
	if (!err) {
		change->atomic = true;
		change->before = inode->change;
		mem_touch(exp, inode);
		change->after = inode->change;
	}
	mutex_unlock(&exp->lock);
	if (err)
		free(fresh);
	return err;
}

int mem_removexattr(struct object *obj, const struct cred *cred, const char *name,
		    struct dir_change *change)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *inode = mem_inode(obj);
	struct mem_xattr *x;
	int err;

	mutex_lock(&exp->lock);
	err = permit(inode, cred, ACCESS_WRITE);
	x = err ? NULL : find(inode, name);
	if (x) {
		drop(exp, x);
		change->atomic = true;
		change->before = inode->change;
		mem_touch(exp, inode);
		change->after = inode->change;
	} else if (!err) {
		err = -ENODATA;
	}
	mutex_unlock(&exp->lock);
	return err;
}

int mem_listxattr(struct object *obj, const struct cred *cred, char buf[XATTR_NAMES_MOST],
		  size_t *len)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *inode = mem_inode(obj);
	struct mem_xattr *x;
	size_t at = 0;
	int err;

	mutex_lock(&exp->lock);
	err = permit(inode, cred, ACCESS_READ);
	if (!err) {
		list_for_each (x, &inode->xattrs, link) {
			memcpy(buf + at, x->bytes, x->name_size);
			at += x->name_size;
		}
		*len = at;
	}
	mutex_unlock(&exp->lock);
	return err;
}

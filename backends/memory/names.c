/*
 * Directories of the memory backend. A directory's names are in a tree for looking up and in a
 * list for listing. A name keeps its cookie for as long as it exists, and later names
 * have greater ones, so a listing that is interrupted misses nothing and repeats nothing.
 */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/memory/memory.h"

#define MODE_DIRECTORY 0700 /* when the caller names none */
#define MODE_FILE      0600

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct mem_name *)a)->name, ((const struct mem_name *)b)->name);
}

/* ---- names ---- */

static struct mem_name *find(const struct mem_inode *dir, const char *name)
{
	const struct mem_name key = { .name = name };
	void *const *node = tfind(&key, (void *const *)&dir->names, by_name);

	return node ? *node : NULL;
}

/* Adds a name that is not there yet. The inode's nlink is the caller's business. */
static int add(struct mem_export *exp, struct mem_inode *dir, const char *name,
	       struct mem_inode *inode) REQUIRES(&exp->lock)
{
	size_t len = strlen(name);
	struct mem_name *n;
	int err;

	if (len > MEM_NAME_MAX)
		return -ENAMETOOLONG;
	err = mem_charge(exp, MEM_INODE_CHARGE);
	if (err)
		return err;
	n = malloc(sizeof(*n) + len + 1);
	if (n) {
		memcpy(n->room, name, len + 1);
		n->name = n->room;
		n->inode = inode;
		n->cookie = dir->next_cookie;
	}
	if (!n || !tsearch(n, &dir->names, by_name)) {
		free(n);
		exp->used -= MEM_INODE_CHARGE;
		return -ENOMEM;
	}
	dir->next_cookie++;
	list_push_back(&dir->order, &n->link);
	return 0;
}

static void drop(struct mem_export *exp, struct mem_inode *dir, struct mem_name *n)
    REQUIRES(&exp->lock)
{
	tdelete(n, &dir->names, by_name);
	list_remove(&n->link);
	free(n);
	exp->used -= MEM_INODE_CHARGE;
}

void mem_names_free(struct mem_inode *dir)
{
	struct mem_name *n;

	while ((n = list_first(&dir->order, struct mem_name, link))) {
		tdelete(n, &dir->names, by_name);
		list_remove(&n->link);
		free(n);
	}
}

static void dir_changed(struct mem_export *exp, struct mem_inode *dir) REQUIRES(&exp->lock)
{
	dir->mtime = mem_now();
	mem_touch(exp, dir);
}

/* The inode lost the name that it had in `dir`. */
static void unlinked(struct mem_export *exp, struct mem_inode *dir, struct mem_inode *inode)
    REQUIRES(&exp->lock)
{
	if (inode->base.type == FILE_DIRECTORY) {
		dir->nlink--;
		inode->nlink = 0;
		inode->parent = NULL;
	} else {
		inode->nlink--;
	}
	mem_touch(exp, inode);
	mem_inode_reap(exp, inode);
}

/* ---- permissions ---- */

static int must_be_directory(const struct object *obj)
{
	if (obj->type == FILE_DIRECTORY)
		return 0;
	return obj->type == FILE_SYMLINK ? -ELOOP : -ENOTDIR;
}

/* May cred add names to the directory? A removed directory takes none. */
static int may_add(const struct mem_inode *dir, const struct cred *cred)
{
	int err = mem_permit(dir, cred, ACCESS_WRITE | ACCESS_EXECUTE);

	return err ? err : dir->nlink == 0 ? -ENOENT : 0;
}

static int may_take(const struct mem_inode *dir, const struct mem_inode *victim,
		    const struct cred *cred)
{
	int err = mem_permit(dir, cred, ACCESS_WRITE | ACCESS_EXECUTE);

	if (err)
		return err;
	if ((dir->mode & S_ISVTX) && cred->uid != 0 && cred->uid != victim->uid &&
	    cred->uid != dir->uid)
		return -EPERM;
	return 0;
}

/* ---- finding ---- */

int mem_lookup(struct object *obj, const struct cred *cred, const char *name, struct object **out)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *dir = mem_inode(obj);
	struct mem_name *n;
	int err = must_be_directory(obj);

	if (err)
		return err;
	mutex_lock(&exp->lock);
	err = mem_permit(dir, cred, ACCESS_EXECUTE);
	if (!err) {
		n = find(dir, name);
		if (n)
			*out = object_ref(&n->inode->base);
		else
			err = strlen(name) > MEM_NAME_MAX ? -ENAMETOOLONG : -ENOENT;
	}
	mutex_unlock(&exp->lock);
	return err;
}

int mem_lookup_parent(struct object *obj, const struct cred *cred, struct object **out)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *dir = mem_inode(obj);
	int err = must_be_directory(obj);

	if (err)
		return err;
	mutex_lock(&exp->lock);
	err = mem_permit(dir, cred, ACCESS_EXECUTE);
	if (!err && !dir->parent)
		err = -ENOENT;
	if (!err)
		*out = object_ref(&dir->parent->base);
	mutex_unlock(&exp->lock);
	return err;
}

int mem_readlink(struct object *obj, const struct cred *cred, char *buf, size_t cap, size_t *len)
{
	const char *target = mem_inode(obj)->target; /* immutable */
	size_t n;

	if (obj->type != FILE_SYMLINK)
		return -EINVAL;
	n = strlen(target);
	if (n >= cap)
		return -ENAMETOOLONG;
	memcpy(buf, target, n);
	*len = n;
	return 0;
}

/* ---- listing: a batch is copied under the lock and handed over without it ---- */

#define BATCH 32

struct batch {
	unsigned count;
	bool more; /* there were entries behind the last */
	struct dir_entry entries[BATCH];
	char names[BATCH][MEM_NAME_MAX + 1];
};

static void fill_entry(const struct mem_name *n, bool may_search, struct batch *b)
{
	struct dir_entry *e = &b->entries[b->count];

	strcpy(b->names[b->count], n->name);
	e->name = b->names[b->count];
	e->cookie = n->cookie;
	e->fileid = n->inode->fileid;
	e->type = n->inode->base.type;
	e->error = may_search ? 0 : -EACCES;
	if (may_search) {
		mem_fill_attr(n->inode, &e->attr);
		n->inode->base.backend->to_handle(&n->inode->base, &e->handle);
	}
	b->count++;
}

static void fill_batch(struct mem_inode *dir, const struct cred *cred, uint64_t cookie,
		       bool want_more, struct batch *b)
{
	bool may_search = !want_more || mem_permit(dir, cred, ACCESS_EXECUTE) == 0;
	struct mem_name *n;

	b->count = 0;
	b->more = false;
	list_for_each (n, &dir->order, link) {
		if (n->cookie <= cookie)
			continue;
		if (b->count == BATCH) {
			b->more = true;
			break;
		}
		fill_entry(n, may_search, b);
	}
}

int mem_readdir(struct object *obj, const struct cred *cred, struct readdir_args *args)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *dir = mem_inode(obj);
	uint64_t cookie = args->cookie;
	int err = must_be_directory(obj);
	struct batch *b;

	args->eof = false;
	if (err)
		return err;
	b = malloc(sizeof(*b));
	if (!b)
		return -ENOMEM;
	do {
		mutex_lock(&exp->lock);
		err = mem_permit(dir, cred, ACCESS_READ);
		if (!err)
			fill_batch(dir, cred, cookie, args->want_attr || args->want_handle, b);
		mutex_unlock(&exp->lock);
		for (unsigned i = 0; !err && i < b->count; i++) {
			if (!args->emit(args->arg, &b->entries[i]))
				goto out;
			cookie = b->entries[i].cookie;
		}
	} while (!err && b->more);
	args->eof = !err;
out:
	free(b);
	return err;
}

/* ---- making ---- */

/* A new inode as cred would make it in `dir`: owner, inherited group, mode. Has a reference. */
static struct mem_inode *new_child(struct mem_export *exp, const struct mem_inode *dir,
				   const struct cred *cred, const struct create_args *args,
				   int *err) REQUIRES(&exp->lock)
{
	struct mem_inode *inode = mem_inode_new(exp, args->type, err);
	uint32_t mode = args->type == FILE_DIRECTORY ? MODE_DIRECTORY : MODE_FILE;

	if (!inode)
		return NULL;
	if (args->attrs.mask & ATTR_SET_MODE)
		mode = args->attrs.mode & 07777;
	if (args->attrs.has_umask)
		mode &= ~(args->attrs.umask & 0777);
	inode->uid = cred->uid;
	inode->gid = dir->mode & S_ISGID ? dir->gid : cred->gid;
	inode->mode = args->type == FILE_SYMLINK ? 0777 : mode;
	if ((mode & S_ISGID) && cred->uid != 0 && !cred_in_group(cred, inode->gid))
		inode->mode &= ~(uint32_t)S_ISGID;
	if ((dir->mode & S_ISGID) && args->type == FILE_DIRECTORY)
		inode->mode |= S_ISGID;
	return inode;
}

/* Attributes beyond the mode, and the mode again where a change of owner spoils it. */
static int equip(struct mem_export *exp, struct mem_inode *inode, const struct cred *cred,
		 const struct create_args *args) REQUIRES(&exp->lock)
{
	struct attr_set rest = args->attrs;
	uint32_t done, mode = inode->mode;

	rest.mask &= ~(uint32_t)ATTR_SET_MODE;
	if (args->type != FILE_REGULAR)
		rest.mask &= ~(uint32_t)ATTR_SET_SIZE;
	if ((rest.mask & (ATTR_SET_UID | ATTR_SET_GID)) && args->type != FILE_SYMLINK) {
		rest.mask |= ATTR_SET_MODE;
		rest.mode = mode;
	}
	return rest.mask ? mem_apply(exp, inode, cred, &rest, true, &done) : 0;
}

static int fill_special(struct mem_inode *inode, const struct create_args *args)
{
	inode->rdev_major = args->rdev_major;
	inode->rdev_minor = args->rdev_minor;
	if (args->type != FILE_SYMLINK)
		return 0;
	inode->target = strdup(args->target);
	if (!inode->target)
		return -ENOMEM;
	inode->size = strlen(args->target);
	return 0;
}

static void give_back(struct mem_export *exp, struct mem_inode *inode) REQUIRES(&exp->lock)
{
	atomic_fetch_sub(&inode->base.refs, 1);
	mem_inode_reap(exp, inode);
}

/* Makes an inode and its name; the caller gets the inode's reference. */
static int make(struct mem_export *exp, struct mem_inode *dir, const struct cred *cred,
		const char *name, const struct create_args *args, struct mem_inode **out)
    REQUIRES(&exp->lock)
{
	struct mem_inode *inode;
	int err = may_add(dir, cred);

	if (err)
		return err;
	if (args->type == FILE_DIRECTORY && dir->nlink >= MEM_LINK_MAX)
		return -EMLINK;
	inode = new_child(exp, dir, cred, args, &err);
	if (!inode)
		return err;
	err = fill_special(inode, args);
	if (!err)
		err = equip(exp, inode, cred, args);
	if (!err)
		err = add(exp, dir, name, inode);
	if (err) {
		give_back(exp, inode);
		return err;
	}
	inode->nlink = 1;
	if (args->type == FILE_DIRECTORY) {
		inode->nlink = 2;
		inode->parent = dir;
		dir->nlink++;
	}
	dir_changed(exp, dir);
	*out = inode;
	return 0;
}

static int check_args(const struct cred *cred, const struct create_args *args)
{
	switch (args->type) {
	case FILE_REGULAR:
		return -EINVAL;
	case FILE_BLOCK:
	case FILE_CHAR:
		return cred->uid == 0 ? 0 : -EPERM;
	case FILE_SYMLINK:
		if (args->target[0] == '\0')
			return -ENOENT;
		return strlen(args->target) > MEM_TARGET_MAX ? -ENAMETOOLONG : 0;
	default:
		return 0;
	}
}

int mem_create(struct object *obj, const struct cred *cred, const char *name,
	       const struct create_args *args, struct dir_change *change, struct object **out)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *dir = mem_inode(obj), *inode = NULL;
	int err = must_be_directory(obj);

	if (err)
		return -ENOTDIR;
	mutex_lock(&exp->lock);
	change->atomic = true;
	change->before = dir->change;
	err = mem_permit(dir, cred, ACCESS_EXECUTE);
	if (!err && find(dir, name))
		err = -EEXIST;
	if (!err)
		err = may_add(dir, cred);
	if (!err)
		err = check_args(cred, args);
	if (!err)
		err = make(exp, dir, cred, name, args, &inode);
	change->after = dir->change;
	mutex_unlock(&exp->lock);
	if (!err)
		*out = &inode->base;
	return err;
}

/* What an OPEN that may create does with a name that exists. */
static int use_existing(struct mem_inode *inode, const struct cred *cred, unsigned access,
			const struct create_args *args, bool *made)
{
	bool same = inode->has_verifier &&
		    memcmp(inode->verifier, args->verifier, BACKEND_VERIFIER_LEN) == 0;

	*made = args->mode == CREATE_EXCLUSIVE;
	if (args->mode == CREATE_GUARDED || (args->mode == CREATE_EXCLUSIVE && !same))
		return -EEXIST;
	return mem_may_open(inode, cred, *made ? access | ACCESS_OWNER : access);
}

static int find_or_make(struct mem_export *exp, struct mem_inode *dir, const struct cred *cred,
			const char *name, unsigned access, const struct create_args *args,
			bool *made, struct mem_inode **out) REQUIRES(&exp->lock)
{
	int err = mem_permit(dir, cred, ACCESS_EXECUTE);
	struct mem_name *n;

	if (err)
		return err;
	n = find(dir, name);
	if (n) {
		err = use_existing(n->inode, cred, access, args, made);
		if (!err)
			*out = mem_inode(object_ref(&n->inode->base));
		return err;
	}
	err = make(exp, dir, cred, name, args, out);
	if (!err && args->mode == CREATE_EXCLUSIVE) {
		(*out)->has_verifier = true;
		memcpy((*out)->verifier, args->verifier, BACKEND_VERIFIER_LEN);
	}
	*made = true;
	return err;
}

int mem_open_create(struct object *obj, const struct cred *cred, const char *name, unsigned access,
		    const struct create_args *args, struct dir_change *change, bool *created,
		    struct object **out_obj, struct file **out_file)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *dir = mem_inode(obj), *inode = NULL;
	struct create_args regular = *args;
	struct file *file;
	bool made = false;
	int err = must_be_directory(obj);

	if (err)
		return -ENOTDIR;
	regular.type = FILE_REGULAR;
	mutex_lock(&exp->lock);
	change->atomic = true;
	change->before = dir->change;
	err = find_or_make(exp, dir, cred, name, access, &regular, &made, &inode);
	change->after = dir->change;
	mutex_unlock(&exp->lock);
	if (err)
		return err;
	err = mem_file_new(inode, cred, access, &file);
	if (err) {
		object_unref(&inode->base);
		return err;
	}
	*created = made;
	*out_obj = &inode->base;
	*out_file = file;
	return 0;
}

int mem_link(struct object *obj, struct object *dir_obj, const struct cred *cred, const char *name,
	     struct dir_change *change)
{
	struct mem_export *exp = mem_export(dir_obj->export);
	struct mem_inode *inode = mem_inode(obj), *dir = mem_inode(dir_obj);
	int err = must_be_directory(dir_obj);

	if (err)
		return -ENOTDIR;
	if (obj->export != dir_obj->export)
		return -EXDEV;
	mutex_lock(&exp->lock);
	change->atomic = true;
	change->before = dir->change;
	err = mem_permit(dir, cred, ACCESS_EXECUTE);
	if (!err && find(dir, name))
		err = -EEXIST;
	if (!err)
		err = may_add(dir, cred);
	if (!err && obj->type == FILE_DIRECTORY)
		err = -EPERM;
	if (!err && inode->nlink == 0)
		err = -ENOENT;
	if (!err && inode->nlink >= MEM_LINK_MAX)
		err = -EMLINK;
	if (!err)
		err = add(exp, dir, name, inode);
	if (!err) {
		inode->nlink++;
		mem_touch(exp, inode);
		dir_changed(exp, dir);
	}
	change->after = dir->change;
	mutex_unlock(&exp->lock);
	return err;
}

/* ---- removing and renaming ---- */

static bool is_empty(const struct mem_inode *dir)
{
	return list_empty(&dir->order);
}

int mem_remove(struct object *obj, const struct cred *cred, const char *name,
	       struct dir_change *change)
{
	struct mem_export *exp = mem_export(obj->export);
	struct mem_inode *dir = mem_inode(obj), *victim;
	struct mem_name *n = NULL;
	int err = must_be_directory(obj);

	if (err)
		return -ENOTDIR;
	mutex_lock(&exp->lock);
	change->atomic = true;
	change->before = dir->change;
	err = mem_permit(dir, cred, ACCESS_EXECUTE);
	if (!err && !(n = find(dir, name)))
		err = strlen(name) > MEM_NAME_MAX ? -ENAMETOOLONG : -ENOENT;
	if (!err)
		err = may_take(dir, n->inode, cred);
	if (!err && n->inode->base.type == FILE_DIRECTORY && !is_empty(n->inode))
		err = -ENOTEMPTY;
	if (!err) {
		victim = n->inode;
		drop(exp, dir, n);
		unlinked(exp, dir, victim);
		dir_changed(exp, dir);
	}
	change->after = dir->change;
	mutex_unlock(&exp->lock);
	return err;
}

static bool is_within(const struct mem_inode *dir, const struct mem_inode *top)
{
	for (; dir; dir = dir->parent) {
		if (dir == top)
			return true;
	}
	return false;
}

/* May `moving`, named in `source`, take the name of `there` (NULL: nothing) in `target`? */
static int check_rename(const struct mem_inode *source, const struct mem_inode *moving,
			const struct mem_inode *target, const struct mem_inode *there,
			const struct cred *cred)
{
	bool is_dir = moving->base.type == FILE_DIRECTORY;
	int err;

	if (is_dir && is_within(target, moving))
		return -EINVAL;
	if (there && there->base.type == FILE_DIRECTORY && is_within(source, there))
		return -ENOTEMPTY;
	err = may_take(source, moving, cred);
	if (!err)
		err = there ? may_take(target, there, cred) : may_add(target, cred);
	if (err)
		return err;
	if (there && is_dir != (there->base.type == FILE_DIRECTORY))
		return is_dir ? -ENOTDIR : -EISDIR;
	/* A directory's ".." is part of it. */
	if (is_dir && source != target) {
		err = mem_permit(moving, cred, ACCESS_WRITE);
		if (err)
			return err;
		if (!there && target->nlink >= MEM_LINK_MAX)
			return -EMLINK;
	}
	return there && is_dir && !is_empty(there) ? -ENOTEMPTY : 0;
}

static int do_rename(struct mem_export *exp, struct mem_inode *source, const char *from_name,
		     struct mem_inode *target, const char *to_name, const struct cred *cred)
    REQUIRES(&exp->lock)
{
	struct mem_inode *moving, *replaced;
	struct mem_name *from, *to;
	int err = mem_permit(source, cred, ACCESS_EXECUTE);

	if (!err)
		err = mem_permit(target, cred, ACCESS_EXECUTE);
	if (err)
		return err;
	from = find(source, from_name);
	if (!from)
		return strlen(from_name) > MEM_NAME_MAX ? -ENAMETOOLONG : -ENOENT;
	moving = from->inode;
	to = find(target, to_name);
	if (to && to->inode == moving)
		return 0; /* two names of one file: nothing happens, both stay */
	err = check_rename(source, moving, target, to ? to->inode : NULL, cred);
	if (err)
		return err;
	if (to) {
		replaced = to->inode;
		to->inode = moving;
		unlinked(exp, target, replaced);
	} else {
		err = add(exp, target, to_name, moving);
		if (err)
			return err;
	}
	drop(exp, source, from);
	if (moving->base.type == FILE_DIRECTORY) {
		source->nlink--;
		target->nlink++;
		moving->parent = target;
	}
	mem_touch(exp, moving);
	dir_changed(exp, source);
	if (target != source)
		dir_changed(exp, target);
	return 0;
}

int mem_rename(struct object *from, const char *from_name, struct object *to, const char *to_name,
	       const struct cred *cred, struct dir_change *from_change,
	       struct dir_change *to_change)
{
	struct mem_export *exp = mem_export(from->export);
	struct mem_inode *source = mem_inode(from), *target = mem_inode(to);
	int err;

	if (from->type != FILE_DIRECTORY || to->type != FILE_DIRECTORY)
		return -ENOTDIR;
	if (from->export != to->export)
		return -EXDEV;
	mutex_lock(&exp->lock);
	from_change->atomic = to_change->atomic = true;
	from_change->before = source->change;
	to_change->before = target->change;
	err = do_rename(exp, source, from_name, target, to_name, cred);
	from_change->after = source->change;
	to_change->after = target->change;
	mutex_unlock(&exp->lock);
	return err;
}

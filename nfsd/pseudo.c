/*
 * A node is in the tree as long as the tree lives, so its object needs no life of its own:
 * references are counted as everywhere and mean nothing here. A node's handle is the hash of its path,
 * the same after a restart whatever else is exported.
 */
#include "nfsd/pseudo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"

#define PSEUDO_FIRST_COOKIE 3

struct pseudo_node {
	struct object object;
	struct pseudo_node *parent; /* the root is its own */
	struct list sibling;	    /* in parent->children, in order of making */
	struct list children;
	unsigned nchildren;
	uint64_t id; /* hash of the path: handle and fileid */
	struct export *export;
	char name[];
};

struct pseudo {
	struct backend_export export;
	struct pseudo_node *root;
	uint64_t made_ns; /* wall clock: the nodes' times and change attribute */
};

static const struct backend pseudo_backend;

static struct pseudo *tree_of(struct object *obj)
{
	return container_of(obj->export, struct pseudo, export);
}

static struct pseudo_node *node_new(struct pseudo *tree, struct pseudo_node *parent,
				    const char *name, size_t len)
{
	static const struct siphash_key path_key = { 0x61746f6c6c2d7066u, 0x70736575646f2d31u };
	struct pseudo_node *n = calloc(1, sizeof(*n) + len + 1);

	if (!n)
		return NULL;
	memcpy(n->name, name, len);
	n->object = (struct object){
		.backend = &pseudo_backend,
		.export = &tree->export,
		.type = FILE_DIRECTORY,
		.refs = 1,
	};
	list_init(&n->children);
	list_init(&n->sibling);
	n->parent = parent ? parent : n;
	/* A path's hash by way of its parent's: the path need not be put together. */
	n->id = siphash(&path_key, name, len);
	if (parent) {
		uint64_t pair[2] = { parent->id, n->id };

		n->id = siphash(&path_key, pair, sizeof(pair)) >> 1;
		list_push_back(&parent->children, &n->sibling);
		parent->nchildren++;
	}
	if (n->id < 2)
		n->id += 2;
	return n;
}

static void node_free(struct pseudo_node *n)
{
	struct pseudo_node *child, *tmp;

	list_for_each_safe(child, tmp, &n->children, sibling)
		node_free(child);
	free(n);
}

struct backend_export *pseudo_new(void)
{
	struct pseudo *tree = calloc(1, sizeof(*tree));

	if (!tree)
		return NULL;
	tree->export = (struct backend_export){
		.backend = &pseudo_backend,
		.capabilities = BACKEND_READ_ONLY,
	};
	tree->made_ns = clock_real_ns();
	tree->root = node_new(tree, NULL, "", 0);
	if (!tree->root) {
		free(tree);
		return NULL;
	}
	return &tree->export;
}

void pseudo_free(struct backend_export *pseudo)
{
	if (!pseudo)
		return;

	struct pseudo *tree = container_of(pseudo, struct pseudo, export);

	node_free(tree->root);
	free(tree);
}

static struct pseudo_node *node_child(struct pseudo_node *n, const char *name, size_t len)
{
	struct pseudo_node *child;

	list_for_each(child, &n->children, sibling) {
		if (strlen(child->name) == len && memcmp(child->name, name, len) == 0)
			return child;
	}
	return NULL;
}

struct pseudo_node *pseudo_make(struct backend_export *pseudo, const char *path)
{
	struct pseudo *tree = container_of(pseudo, struct pseudo, export);
	struct pseudo_node *n = tree->root;

	while (n && *path) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			break;

		struct pseudo_node *child = node_child(n, path, len);

		n = child ? child : node_new(tree, n, path, len);
		path += len;
	}
	return n;
}

void pseudo_set_export(struct pseudo_node *node, struct export *exp)
{
	node->export = exp;
}

struct pseudo_node *pseudo_node_of(struct object *obj)
{
	return container_of(obj, struct pseudo_node, object);
}

struct object *pseudo_object(struct pseudo_node *node)
{
	return &node->object;
}

struct export *pseudo_export(const struct pseudo_node *node)
{
	return node->export;
}

struct pseudo_node *pseudo_parent(struct pseudo_node *node)
{
	return node->parent;
}

uint64_t pseudo_fileid(const struct pseudo_node *node)
{
	return node->id;
}

bool pseudo_any(const struct pseudo_node *node, bool (*pred)(struct export *exp, void *arg),
		void *arg)
{
	struct pseudo_node *child;

	if (node->export && pred(node->export, arg))
		return true;
	list_for_each(child, &node->children, sibling) {
		if (pseudo_any(child, pred, arg))
			return true;
	}
	return false;
}

/* ---- as a backend ---- */

static int pseudo_root(struct backend_export *exp, struct object **out)
{
	struct pseudo *tree = container_of(exp, struct pseudo, export);

	*out = object_ref(&tree->root->object);
	return 0;
}

static struct pseudo_node *node_find(struct pseudo_node *n, uint64_t id)
{
	struct pseudo_node *child, *found = n->id == id ? n : NULL;

	list_for_each(child, &n->children, sibling) {
		if (found)
			break;
		found = node_find(child, id);
	}
	return found;
}

static int pseudo_from_handle(struct backend_export *exp, const uint8_t *bytes, size_t len,
			      struct object **out)
{
	struct pseudo *tree = container_of(exp, struct pseudo, export);
	struct pseudo_node *n;
	uint64_t id;

	if (len != sizeof(id))
		return -EBADF;
	memcpy(&id, bytes, sizeof(id));
	n = node_find(tree->root, id);
	if (!n)
		return -ESTALE;
	*out = object_ref(&n->object);
	return 0;
}

static int pseudo_to_handle(struct object *obj, struct backend_handle *out)
{
	out->len = sizeof(uint64_t);
	memcpy(out->bytes, &pseudo_node_of(obj)->id, sizeof(uint64_t));
	return 0;
}

static void pseudo_object_free(struct object *obj)
{
	/* It lives as long as the tree. */
}

static void node_attr(struct pseudo_node *n, struct attr *out)
{
	struct pseudo *tree = tree_of(&n->object);
	struct timespec made = {
		.tv_sec = (time_t)(tree->made_ns / NS_PER_SEC),
		.tv_nsec = (long)(tree->made_ns % NS_PER_SEC),
	};

	*out = (struct attr){
		.type = FILE_DIRECTORY,
		.mode = 0555,
		.nlink = 2 + n->nchildren,
		.size = 4096,
		.atime = made,
		.mtime = made,
		.ctime = made,
		.btime = made,
		.change = tree->made_ns,
		.fileid = n->id,
		.mounted_on_fileid = n->id,
	};
}

static int pseudo_getattr(struct object *obj, struct attr *out)
{
	node_attr(pseudo_node_of(obj), out);
	return 0;
}

static int pseudo_access(struct object *obj, const struct cred *cred, unsigned wanted,
			 unsigned *granted)
{
	*granted = wanted & (ACCESS_READ | ACCESS_EXECUTE);
	return 0;
}

static int pseudo_statfs(struct object *obj, const struct cred *cred, struct fs_info *out)
{
	*out = (struct fs_info){
		.max_file_size = INT64_MAX,
		.max_name = 255,
		.max_link = 1,
		.time_delta = { .tv_nsec = 1 },
		.case_preserving = true,
		.no_trunc = true,
		.chown_restricted = true,
		.has_unique_handles = true,
	};
	return 0;
}

static int pseudo_lookup(struct object *dir, const struct cred *cred, const char *name,
			 struct object **out)
{
	struct pseudo_node *n = node_child(pseudo_node_of(dir), name, strlen(name));

	if (!n)
		return -ENOENT;
	*out = object_ref(&n->object);
	return 0;
}

static int pseudo_lookup_parent(struct object *dir, const struct cred *cred, struct object **out)
{
	struct pseudo_node *n = pseudo_node_of(dir);

	if (n->parent == n)
		return -ENOENT;
	*out = object_ref(&n->parent->object);
	return 0;
}

static int pseudo_readdir(struct object *dir, const struct cred *cred, struct readdir_args *args)
{
	struct pseudo_node *child;
	struct dir_entry entry;
	uint64_t cookie = PSEUDO_FIRST_COOKIE;

	args->eof = false;
	list_for_each(child, &pseudo_node_of(dir)->children, sibling) {
		if (cookie++ <= args->cookie && args->cookie != 0)
			continue;
		entry.name = child->name;
		entry.cookie = cookie - 1;
		entry.fileid = child->id;
		entry.type = FILE_DIRECTORY;
		entry.error = 0;
		node_attr(child, &entry.attr);
		pseudo_to_handle(&child->object, &entry.handle);
		if (!args->emit(args->arg, &entry))
			return 0;
	}
	args->eof = true;
	return 0;
}

static const struct backend pseudo_backend = {
	.name = "pseudo",
	.root = pseudo_root,
	.from_handle = pseudo_from_handle,
	.to_handle = pseudo_to_handle,
	.object_free = pseudo_object_free,
	.getattr = pseudo_getattr,
	.access = pseudo_access,
	.statfs = pseudo_statfs,
	.lookup = pseudo_lookup,
	.lookup_parent = pseudo_lookup_parent,
	.readdir = pseudo_readdir,
};

/* The memory backend's exports, inodes and handles, and its table of operations. */
#include "backends/memory/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/random.h"

#define HANDLE_VERSION 2
#define HANDLE_LEN     17
#define DEFAULT_BYTES  (1ull << 30)
#define FIRST_BUCKETS  256
#define ROOT_MODE      0755

static struct mem_inode **bucket_of(struct mem_export *exp, uint64_t fileid) REQUIRES(&exp->lock)
{
	return &exp->buckets[hash_u64(fileid) & exp->bucket_mask];
}

struct timespec mem_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts;
}

void mem_touch(struct mem_export *exp, struct mem_inode *inode)
{
	inode->ctime = mem_now();
	inode->change = ++exp->last_change;
}

int mem_charge(struct mem_export *exp, uint64_t bytes)
{
	if (bytes > exp->max_bytes - exp->used)
		return -ENOSPC;
	exp->used += bytes;
	return 0;
}

/* A table that cannot grow still works, only slower. */
static void grow_table(struct mem_export *exp) REQUIRES(&exp->lock)
{
	uint32_t old_size = exp->bucket_mask + 1;
	struct mem_inode **old = exp->buckets;
	struct mem_inode **fresh = calloc(old_size * 2, sizeof(struct mem_inode *));

	if (!fresh)
		return;
	exp->buckets = fresh;
	exp->bucket_mask = old_size * 2 - 1;
	for (uint32_t i = 0; i < old_size; i++) {
		struct mem_inode *inode, *next;

		for (inode = old[i]; inode; inode = next) {
			struct mem_inode **to = bucket_of(exp, inode->fileid);

			next = inode->next_in_bucket;
			inode->next_in_bucket = *to;
			*to = inode;
		}
	}
	free(old);
}

struct mem_inode *mem_inode_new(struct mem_export *exp, enum file_type type, int *err)
{
	struct mem_inode *inode, **bucket;

	*err = mem_charge(exp, MEM_INODE_CHARGE);
	if (*err)
		return NULL;
	inode = calloc(1, sizeof(*inode));
	if (!inode) {
		exp->used -= MEM_INODE_CHARGE;
		*err = -ENOMEM;
		return NULL;
	}
	inode->base.backend = &memory_backend;
	inode->base.export = &exp->base;
	inode->base.type = type;
	inode->base.refs = 1;
	inode->fileid = exp->next_fileid++;
	inode->btime = inode->atime = inode->mtime = mem_now();
	list_init(&inode->xattrs);
	list_init(&inode->order);
	inode->next_cookie = 3;
	mem_touch(exp, inode);
	if (++exp->inodes > exp->bucket_mask)
		grow_table(exp);
	bucket = bucket_of(exp, inode->fileid);
	inode->next_in_bucket = *bucket;
	*bucket = inode;
	return inode;
}

void mem_inode_reap(struct mem_export *exp, struct mem_inode *inode)
{
	struct mem_inode **link = bucket_of(exp, inode->fileid);

	if (inode->nlink > 0 || atomic_load(&inode->base.refs) > 0)
		return;
	while (*link != inode)
		link = &(*link)->next_in_bucket;
	*link = inode->next_in_bucket;
	exp->inodes--;
	exp->used -= MEM_INODE_CHARGE + inode->pages.count * PAGE_BYTES;
	pages_drop(&inode->pages, 0, UINT64_MAX);
	mem_xattrs_free(exp, inode);
	free(inode->target);
	free(inode);
}

static void mem_object_free(struct object *obj)
{
	struct mem_inode *inode = mem_inode(obj);
	struct mem_export *exp = mem_export(obj->export);

	mutex_lock(&exp->lock);
	if (atomic_fetch_sub(&obj->refs, 1) == 1)
		mem_inode_reap(exp, inode);
	mutex_unlock(&exp->lock);
}

/* ---- handles: version, life, fileid ---- */

static void put_u64(uint8_t *to, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_u64(const uint8_t *from)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 8; i++)
		value |= (uint64_t)from[i] << (8 * i);
	return value;
}

static int mem_to_handle(struct object *obj, struct backend_handle *out)
{
	out->len = HANDLE_LEN;
	out->bytes[0] = HANDLE_VERSION;
	put_u64(out->bytes + 1, mem_export(obj->export)->life);
	put_u64(out->bytes + 9, mem_inode(obj)->fileid);
	return 0;
}

static int mem_from_handle(struct backend_export *base, const uint8_t *bytes, size_t len,
			   struct object **out)
{
	struct mem_export *exp = mem_export(base);
	struct mem_inode *inode;
	uint64_t fileid;

	if (len != HANDLE_LEN || bytes[0] != HANDLE_VERSION)
		return -EBADF;
	if (get_u64(bytes + 1) != exp->life)
		return -ESTALE;
	fileid = get_u64(bytes + 9);
	mutex_lock(&exp->lock);
	for (inode = *bucket_of(exp, fileid); inode; inode = inode->next_in_bucket) {
		if (inode->fileid == fileid) {
			*out = object_ref(&inode->base);
			break;
		}
	}
	mutex_unlock(&exp->lock);
	return inode ? 0 : -ESTALE;
}

/* ---- exports ---- */

static int make_root(struct mem_export *exp)
{
	int err;

	mutex_lock(&exp->lock);
	exp->root = mem_inode_new(exp, FILE_DIRECTORY, &err);
	if (exp->root) {
		exp->root->mode = ROOT_MODE;
		exp->root->nlink = 2;
	}
	mutex_unlock(&exp->lock);
	return err;
}

static int mem_export_open(const struct export_params *params, struct backend_export **out)
{
	static const struct siphash_key key = { 1, 2 };
	const char *id = params->fsid ? params->fsid : params->path;
	struct mem_export *exp = calloc(1, sizeof(*exp));
	int err;

	if (!exp)
		return -ENOMEM;
	exp->buckets = calloc(FIRST_BUCKETS, sizeof(struct mem_inode *));
	if (!exp->buckets) {
		free(exp);
		return -ENOMEM;
	}
	exp->bucket_mask = FIRST_BUCKETS - 1;
	exp->base.backend = &memory_backend;
	exp->base.capabilities = BACKEND_PRIVATE;
	exp->life = random_u64();
	exp->verifier = random_u64();
	exp->fsid = siphash(&key, id, strlen(id));
	exp->max_bytes = params->max_bytes ? params->max_bytes : DEFAULT_BYTES;
	exp->next_fileid = 2;
	mutex_init(&exp->lock);
	err = make_root(exp);
	if (err) {
		mutex_destroy(&exp->lock);
		free(exp->buckets);
		free(exp);
		return err;
	}
	*out = &exp->base;
	return 0;
}

/* Nothing is in use any more, so nobody needs the lock; but the annotations like to see it. */
static void mem_export_close(struct backend_export *base)
{
	struct mem_export *exp = mem_export(base);

	mutex_lock(&exp->lock);
	for (uint32_t i = 0; i <= exp->bucket_mask; i++) {
		struct mem_inode *inode;

		while ((inode = exp->buckets[i])) {
			mem_names_free(inode);
			inode->nlink = 0;
			inode->base.refs = 0;
			mem_inode_reap(exp, inode);
		}
	}
	mutex_unlock(&exp->lock);
	mutex_destroy(&exp->lock);
	free(exp->buckets);
	free(exp);
}

static int mem_root(struct backend_export *base, struct object **out)
{
	*out = object_ref(&mem_export(base)->root->base);
	return 0;
}

static void mem_write_verifier(struct backend_export *base, uint8_t out[BACKEND_VERIFIER_LEN])
{
	put_u64(out, mem_export(base)->verifier);
}

const struct backend memory_backend = {
	.name = "memory",
	.export_open = mem_export_open,
	.export_close = mem_export_close,
	.root = mem_root,
	.from_handle = mem_from_handle,
	.to_handle = mem_to_handle,
	.object_free = mem_object_free,
	.getattr = mem_getattr,
	.setattr = mem_setattr,
	.access = mem_access,
	.statfs = mem_statfs,
	.lookup = mem_lookup,
	.lookup_parent = mem_lookup_parent,
	.readdir = mem_readdir,
	.readlink = mem_readlink,
	.create = mem_create,
	.link = mem_link,
	.remove = mem_remove,
	.rename = mem_rename,
	.open = mem_open,
	.open_create = mem_open_create,
	.file_free = mem_file_free,
	.read = mem_read,
	.write = mem_write,
	.commit = mem_commit,
	.write_verifier = mem_write_verifier,
	.seek = mem_seek,
	.allocate = mem_allocate,
	.deallocate = mem_deallocate,
	.copy = mem_copy,
	.clone = mem_clone,
	.getxattr = mem_getxattr,
	.setxattr = mem_setxattr,
	.listxattr = mem_listxattr,
	.removexattr = mem_removexattr,
};

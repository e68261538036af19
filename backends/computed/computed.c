/*
 * A file system of functions, and an example of a backend that is as small as they get:
 *
 *	/README		says what there is
 *	/calc/EXPR	any arithmetic expression is a file; reading it gives the value
 *	/clock/		its listing shows the time; "now" and "uptime" tell it when read
 *
 * Nothing is stored. An object is its directory and its name, and that is also its handle, so
 * handles hold for ever. Objects are made when somebody looks and freed with their last reference;
 * one file may be several objects at a time, which is fine where they have no state. Contents that
 * depend on time have the time as their change attribute, so nobody caches them for longer than they
 * are true.
 */
#include "backends/computed/computed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/backend.h"
#include "base/clock.h"
#include "base/hash.h"

#define NAME_MAX_LEN 96 /* has to fit into a handle */
#define CONTENT_MAX  256

enum place { ROOT = 1, CALC, CLOCK, IN_ROOT, IN_CALC, IN_CLOCK };

struct node {
	struct object base;
	enum place place;
	char name[NAME_MAX_LEN + 1]; /* of files; "" for directories */
};

struct computed_export {
	struct backend_export base;
	uint64_t fsid;
};

static const struct siphash_key key = { 3, 4 };

static const struct node *node_of(const struct object *obj)
{
	return container_of(obj, struct node, base);
}

static bool is_directory(enum place place)
{
	return place <= CLOCK;
}

/* ---- contents ---- */

static struct tm local_now(void)
{
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	return tm;
}

static bool is_time(const char *name)
{
	static const char pattern[] = "29:59:59"; /* no digit may be greater */

	for (unsigned i = 0; i < sizeof(pattern); i++) {
		if (pattern[i] == ':' || pattern[i] == '\0' ? name[i] != pattern[i]
							    : name[i] < '0' || name[i] > pattern[i])
			return false;
	}
	return name[0] < '2' || name[1] < '4';
}

static bool exists(enum place place, const char *name)
{
	int64_t value;

	switch (place) {
	case IN_ROOT:
		return strcmp(name, "README") == 0;
	case IN_CALC:
		return expression_value(name, &value);
	case IN_CLOCK:
		return strcmp(name, "now") == 0 || strcmp(name, "uptime") == 0 || is_time(name);
	default:
		return name[0] == '\0';
	}
}

/* What reading the file gives at this moment; its length. */
static size_t content(const struct node *n, char out[CONTENT_MAX])
{
	int64_t value = 0;
	struct tm tm = local_now();

	if (n->place == IN_ROOT)
		snprintf(out, CONTENT_MAX,
			 "Nothing here is stored.\n"
			 "cat 'calc/(1+2)*3'   any expression of + - * : %% ( ) is a file\n"
			 "ls clock             tells the time, as do clock/now and clock/uptime\n");
	else if (n->place == IN_CALC && expression_value(n->name, &value))
		snprintf(out, CONTENT_MAX, "%" PRId64 "\n", value);
	else if (strcmp(n->name, "now") == 0)
		strftime(out, CONTENT_MAX, "%F %T %z\n", &tm);
	else if (strcmp(n->name, "uptime") == 0)
		snprintf(out, CONTENT_MAX, "%llu seconds\n",
			 (unsigned long long)(clock_ns(CLOCK_BOOTTIME) / NS_PER_SEC));
	else
		snprintf(out, CONTENT_MAX, "It was %s when this name was listed.\n", n->name);
	return strlen(out);
}

static bool changes(const struct node *n)
{
	return n->place == CLOCK || (n->place == IN_CLOCK && !is_time(n->name));
}

/* ---- objects and handles ---- */

static int node_new(struct backend_export *exp, enum place place, const char *name,
		    struct object **out)
{
	struct node *n;

	if (strlen(name) > NAME_MAX_LEN)
		return -ENAMETOOLONG;
	if (!exists(place, name))
		return -ENOENT;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->base.backend = exp->backend;
	n->base.export = exp;
	n->base.type = is_directory(place) ? FILE_DIRECTORY : FILE_REGULAR;
	n->base.refs = 1;
	n->place = place;
	strcpy(n->name, name);
	*out = &n->base;
	return 0;
}

static void computed_object_free(struct object *obj)
{
	free(
	    container_of(obj, struct node, base)); /* in no table: the last reference is the last */
}

static int computed_root(struct backend_export *exp, struct object **out)
{
	return node_new(exp, ROOT, "", out);
}

static int computed_to_handle(struct object *obj, struct backend_handle *out)
{
	const struct node *n = node_of(obj);
	size_t len = strlen(n->name);

	out->len = (uint8_t)(1 + len);
	out->bytes[0] = (uint8_t)n->place;
	memcpy(out->bytes + 1, n->name, len);
	return 0;
}

static int computed_from_handle(struct backend_export *exp, const uint8_t *bytes, size_t len,
				struct object **out)
{
	char name[NAME_MAX_LEN + 1] = "";
	int err;

	if (len < 1 || len > 1 + NAME_MAX_LEN || bytes[0] < ROOT || bytes[0] > IN_CLOCK ||
	    memchr(bytes + 1, 0, len - 1))
		return -EBADF;
	memcpy(name, bytes + 1, len - 1);
	err = node_new(exp, bytes[0], name, out);
	return err == -ENOENT ? -EBADF : err;
}

static int computed_getattr(struct object *obj, struct attr *out)
{
	const struct node *n = node_of(obj);
	struct backend_handle h;
	char text[CONTENT_MAX];
	struct timespec now;

	computed_to_handle(obj, &h);
	clock_gettime(CLOCK_REALTIME, &now);
	if (!changes(n))
		now = (struct timespec){ 0 };
	*out = (struct attr){
		.type = obj->type,
		.mode = obj->type == FILE_DIRECTORY ? 0555 : 0444,
		.nlink = obj->type == FILE_DIRECTORY ? 2 : 1,
		.size = obj->type == FILE_DIRECTORY ? 0 : content(n, text),
		.atime = now,
		.mtime = now,
		.ctime = now,
		.btime = { .tv_nsec = -1 },
		.fileid = siphash(&key, h.bytes, h.len),
		.fsid_major = container_of(obj->export, struct computed_export, base)->fsid,
	};
	out->mounted_on_fileid = out->fileid;
	if (changes(n))
		out->change = (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec;
	else
		out->change = siphash(&key, text, out->size);
	return 0;
}

static int computed_access(struct object *obj, const struct cred *cred, unsigned wanted,
			   unsigned *granted)
{
	*granted =
	    wanted & (obj->type == FILE_DIRECTORY ? ACCESS_READ | ACCESS_EXECUTE : ACCESS_READ);
	return 0;
}

static int computed_statfs(struct object *obj, const struct cred *cred, struct fs_info *out)
{
	*out = (struct fs_info){
		.max_file_size = CONTENT_MAX,
		.max_name = NAME_MAX_LEN,
		.max_link = 1,
		.time_delta = { .tv_nsec = 1 },
		.case_preserving = true,
		.no_trunc = true,
		.has_unique_handles = true,
	};
	return 0;
}

/* ---- names ---- */

static int computed_lookup(struct object *obj, const struct cred *cred, const char *name,
			   struct object **out)
{
	if (obj->type != FILE_DIRECTORY)
		return -ENOTDIR;
	switch (node_of(obj)->place) {
	case CALC:
		return node_new(obj->export, IN_CALC, name, out);
	case CLOCK:
		return node_new(obj->export, IN_CLOCK, name, out);
	default:
		if (strcmp(name, "calc") == 0)
			return node_new(obj->export, CALC, "", out);
		if (strcmp(name, "clock") == 0)
			return node_new(obj->export, CLOCK, "", out);
		return node_new(obj->export, IN_ROOT, name, out);
	}
}

static int computed_lookup_parent(struct object *obj, const struct cred *cred, struct object **out)
{
	if (obj->type != FILE_DIRECTORY)
		return -ENOTDIR;
	return node_of(obj)->place == ROOT ? -ENOENT : node_new(obj->export, ROOT, "", out);
}

static int computed_readdir(struct object *obj, const struct cred *cred, struct readdir_args *args)
{
	static const char *const lists[][4] = {
		[ROOT] = { "README", "calc", "clock" },
		[CALC] = { "1+1", "(2+3)*4", "1000:7" },
		[CLOCK] = { "", "now", "uptime" },
	};
	char the_time[16];
	struct tm tm = local_now();

	if (obj->type != FILE_DIRECTORY)
		return -ENOTDIR;
	strftime(the_time, sizeof(the_time), "%T", &tm);
	for (uint64_t i = args->cookie > 2 ? args->cookie - 2 : 0; i < 3; i++) {
		const char *name = lists[node_of(obj)->place][i];
		struct dir_entry e = { .name = name[0] ? name : the_time, .cookie = i + 3 };
		struct object *child;

		if (computed_lookup(obj, cred, e.name, &child) < 0)
			continue;
		computed_getattr(child, &e.attr);
		computed_to_handle(child, &e.handle);
		e.fileid = e.attr.fileid;
		e.type = child->type;
		object_unref(child);
		if (!args->emit(args->arg, &e)) {
			args->eof = false;
			return 0;
		}
	}
	args->eof = true;
	return 0;
}

/* ---- reading ---- */

static int computed_open(struct object *obj, const struct cred *cred, unsigned access,
			 struct file **out)
{
	struct file *f;

	if (obj->type == FILE_DIRECTORY)
		return -EISDIR;
	if (access & ACCESS_WRITE)
		return -EROFS;
	f = malloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	*f = (struct file){ .object = object_ref(obj), .access = ACCESS_READ, .refs = 1 };
	*out = f;
	return 0;
}

static void computed_file_free(struct file *file)
{
	object_unref(file->object);
	free(file);
}

static int computed_read(struct file *file, uint64_t offset, struct payload_out *out)
{
	char text[CONTENT_MAX];
	size_t len = content(node_of(file->object), text);
	size_t left = offset < len ? len - offset : 0;

	out->fd = -1;
	out->filled = left < out->cap ? left : out->cap;
	out->eof = out->filled == left;
	if (out->filled)
		memcpy(out->buf, text + offset, out->filled);
	return 0;
}

/* ---- exports ---- */

static int computed_export_open(const struct export_params *params, struct backend_export **out)
{
	const char *id = params->fsid ? params->fsid : params->path;
	struct computed_export *exp = calloc(1, sizeof(*exp));

	if (!exp)
		return -ENOMEM;
	exp->base.backend = &computed_backend;
	exp->base.capabilities = BACKEND_READ_ONLY | BACKEND_PRIVATE;
	exp->fsid = siphash(&key, id, strlen(id));
	*out = &exp->base;
	return 0;
}

static void computed_export_close(struct backend_export *exp)
{
	free(container_of(exp, struct computed_export, base));
}

const struct backend computed_backend = {
	.name = "computed",
	.export_open = computed_export_open,
	.export_close = computed_export_close,
	.root = computed_root,
	.from_handle = computed_from_handle,
	.to_handle = computed_to_handle,
	.object_free = computed_object_free,
	.getattr = computed_getattr,
	.access = computed_access,
	.statfs = computed_statfs,
	.lookup = computed_lookup,
	.lookup_parent = computed_lookup_parent,
	.readdir = computed_readdir,
	.open = computed_open,
	.file_free = computed_file_free,
	.read = computed_read,
};

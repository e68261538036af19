/*
 * How a set is built
 *
 *  1. Every entry becomes a `struct export` with an open backend (from the registry if an earlier
 *     set had the same one) and an id.
 *  2. Sorted by path, so that an export comes after those that contain it.
 *  3. Each is joined to the name space: if its path lies within another export's, by a junction
 *     at the directory of that name there; else by a node of the pseudo file system. An export
 *     with fsid=0 is the root itself and there is no pseudo file system.
 *
 * Everything is immutable afterwards but the reference count and the cache of clients' options.
 */
#include "nfsd/exports.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "nfsd/pseudo.h"

#define CLIENT_CACHE_BUCKETS 64
#define CLIENT_CACHE_MAX     8192
#define CLIENT_CACHE_TTL_NS  (120 * NS_PER_SEC)

/* A directory of `within` that another export covers. */
struct junction {
	struct export *within;
	struct backend_handle handle;
	struct export *to;
};

/* What export_match() answered for one address. */
struct client_answer {
	struct client_answer *next;
	const struct export *export;
	struct in6_addr addr; /* IPv4 as mapped */
	const struct export_options *options;
	uint64_t expires_ns;
};

struct client_cache {
	struct rwlock lock;
	struct client_answer *first; /* under lock */
	unsigned count;		     /* under lock */
};

/*
 * What a thread was answered last, so that it need not ask for a lock that all share: found by the
 * same hash. No set has the number of one before it, and whoever asks has a reference to its set.
 */
#define LAST_ANSWERS 16

struct last_answer {
	uint64_t set; /* its number; 0: none */
	struct client_answer answer;
};

static _Thread_local struct last_answer last_answers[LAST_ANSWERS];
static _Atomic uint64_t sets_made;

struct export_set {
	uint64_t number;       /* from 1 */
	_Atomic uint32_t refs; /* the server's, and one of each compound */
	struct exports *config;
	struct export *exports; /* sorted by path */
	unsigned nexports;
	struct export pseudo; /* in use if pseudo.backend is set */
	struct export *top;
	struct junction *junctions;
	unsigned njunctions;
	struct client_cache clients[CLIENT_CACHE_BUCKETS];
};

/* ---- registry ---- */

struct registered {
	struct list link;
	const struct backend *backend;
	bool crossmnt, async;
	char *fsid;
	struct backend_export *export;
	char path[];
};

struct export_registry {
	unsigned cache_seconds;
	struct list opened; /* used by one thread at a time: start, reload, stop */
};

struct export_registry *export_registry_new(unsigned cache_seconds)
{
	struct export_registry *r = malloc(sizeof(*r));

	if (!r)
		return NULL;
	r->cache_seconds = cache_seconds;
	list_init(&r->opened);
	return r;
}

void export_registry_free(struct export_registry *r)
{
	struct registered *e, *tmp;

	if (!r)
		return;
	list_for_each_safe (e, tmp, &r->opened, link) {
		e->backend->export_close(e->export);
		free(e->fsid);
		free(e);
	}
	free(r);
}

static bool same_string(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static int registry_open(struct export_registry *r, const struct backend *backend,
			 const struct export_params *params, struct backend_export **out)
{
	struct registered *e;
	size_t path_len = strlen(params->path);
	int err;

	list_for_each (e, &r->opened, link) {
		if (e->backend == backend && e->crossmnt == params->crossmnt &&
		    e->async == params->async && same_string(e->path, params->path) &&
		    same_string(e->fsid, params->fsid)) {
			*out = e->export;
			return 0;
		}
	}
	e = calloc(1, sizeof(*e) + path_len + 1);
	if (!e)
		return -ENOMEM;
	e->backend = backend;
	e->crossmnt = params->crossmnt;
	e->async = params->async;
	memcpy(e->path, params->path, path_len + 1);
	if (params->fsid && !(e->fsid = strdup(params->fsid))) {
		free(e);
		return -ENOMEM;
	}
	err = backend->export_open(params, &e->export);
	if (err) {
		free(e->fsid);
		free(e);
		return err;
	}
	list_push_back(&r->opened, &e->link);
	*out = e->export;
	return 0;
}

/* ---- building a set ---- */

static int export_error(struct config_error *err, const struct export_entry *entry, int code,
			const char *what)
{
	snprintf(err->file, sizeof(err->file), "%s", entry->file ? entry->file : "");
	err->line = entry->line;
	err->column = 0;
	snprintf(err->message, sizeof(err->message), "%s: %s", entry->path, what);
	return code;
}

/* The same in every run and on every node; the top bit keeps hashes apart from fsid= numbers. */
static uint64_t export_id(const struct export_entry *entry)
{
	static const struct siphash_key id_key = { 0x61746f6c6c2d6578u, 0x706f72742d696473u };

	switch (entry->fsid.kind) {
	case FSID_NUMBER:
		return entry->fsid.number;
	case FSID_UUID:
		return siphash(&id_key, entry->fsid.uuid, sizeof(entry->fsid.uuid)) | 1ull << 63;
	case FSID_NONE:
	case FSID_ROOT:
		break;
	}
	return siphash(&id_key, entry->path, strlen(entry->path)) | 1ull << 63;
}

/* The administrator's fsid= as text for the backend; NULL: none. */
static const char *fsid_text(const struct export_fsid *fsid, char *buf, size_t size)
{
	switch (fsid->kind) {
	case FSID_NUMBER:
		snprintf(buf, size, "%u", fsid->number);
		return buf;
	case FSID_UUID:
		for (size_t i = 0; i < sizeof(fsid->uuid); i++)
			snprintf(buf + 2 * i, size - 2 * i, "%02x", fsid->uuid[i]);
		return buf;
	case FSID_NONE:
	case FSID_ROOT:
		break;
	}
	return NULL;
}

static bool any_crossmnt(const struct export_entry *entry)
{
	const struct export_options *options;
	bool any = false;

	for (unsigned i = 0; i < export_client_count(entry); i++) {
		export_client_get(entry, i, &options);
		any |= options->crossmnt;
	}
	return any;
}

/* async, as far as names and attributes go, likewise: if every client has it. */
static bool all_async(const struct export_entry *entry)
{
	const struct export_options *options;
	bool all = true;

	for (unsigned i = 0; i < export_client_count(entry); i++) {
		export_client_get(entry, i, &options);
		all &= options->async;
	}
	return all;
}

/* crossmnt is the backend's affair and so one for all clients: on if any entry asks for it. */
static int export_start(struct export_registry *registry, const struct export_entry *entry,
			struct export *exp, struct config_error *err)
{
	const struct backend *backend = backend_find(entry->backend);
	char fsid[40];
	struct export_params params = {
		.path = entry->path,
		.crossmnt = any_crossmnt(entry),
		.async = all_async(entry),
		.fsid = fsid_text(&entry->fsid, fsid, sizeof(fsid)),
		.cache_seconds = registry->cache_seconds,
	};
	int code;

	if (!backend)
		return export_error(err, entry, -EINVAL, "no such backend in this build");
	code = registry_open(registry, backend, &params, &exp->backend);
	switch (code) {
	case 0:
		break;
	case -EOPNOTSUPP:
		return export_error(err, entry, code,
				    "its file system has no filehandles (name_to_handle_at) and "
				    "cannot be exported");
	case -ENOENT:
		return export_error(err, entry, code, "no such directory");
	case -ENOTDIR:
		return export_error(err, entry, code, "not a directory");
	case -EPERM:
		return export_error(err, entry, code,
				    "opening files by handle was refused: run as root or with "
				    "CAP_DAC_READ_SEARCH");
	default:
		return export_error(err, entry, code, strerror(-code));
	}
	exp->id = export_id(entry);
	exp->entry = entry;
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct export *)a)->entry->path,
		      ((const struct export *)b)->entry->path);
}

/* `path` below `dir` as a relative path; NULL if it is not below. */
static const char *path_below(const char *dir, const char *path)
{
	size_t len = strlen(dir);

	if (strcmp(dir, "/") == 0)
		return path[1] ? path + 1 : NULL;
	if (strncmp(dir, path, len) != 0 || path[len] != '/')
		return NULL;
	return path + len + 1;
}

/* The innermost other export whose directory contains this one's. */
static struct export *enclosing(struct export_set *set, const struct export *exp)
{
	struct export *best = NULL;

	for (unsigned i = 0; i < set->nexports; i++) {
		struct export *e = &set->exports[i];

		if (path_below(e->entry->path, exp->entry->path) &&
		    (!best || strlen(e->entry->path) > strlen(best->entry->path)))
			best = e;
	}
	return best;
}

/* Walks `rel` from the export's root: the directory there and the one that contains it. */
static int walk(struct export *exp, const char *rel, struct object **parent, struct object **dir)
{
	const struct backend *be = exp->backend->backend;
	struct object *above = NULL, *here = NULL, *next;
	int err = be->root(exp->backend, &here);

	while (err == 0 && *rel) {
		size_t len = strcspn(rel, "/");
		char name[256];

		if (len >= sizeof(name)) {
			err = -ENAMETOOLONG;
			break;
		}
		memcpy(name, rel, len);
		name[len] = '\0';
		err = be->lookup(here, cred_root(), name, &next);
		if (err)
			break;
		object_unref(above);
		above = here;
		here = next;
		rel += len;
		rel += strspn(rel, "/");
	}
	if (err) {
		object_unref(above);
		object_unref(here);
		return err;
	}
	*parent = above;
	*dir = here;
	return 0;
}

/* Puts `exp` in its place inside `outer`. */
static int join_inside(struct export_set *set, struct export *outer, struct export *exp)
{
	const struct backend *be = outer->backend->backend;
	struct junction *j = &set->junctions[set->njunctions];
	struct object *dir;
	struct attr attr;
	int err = walk(outer, path_below(outer->entry->path, exp->entry->path), &exp->parent_object,
		       &dir);

	if (err)
		return err;
	err = be->to_handle(dir, &j->handle);
	if (err == 0)
		err = be->getattr(dir, &attr);
	object_unref(dir);
	if (err)
		return err;
	j->within = outer;
	j->to = exp;
	set->njunctions++;
	outer->has_junctions = true;
	exp->parent = outer;
	exp->mounted_on_fileid = attr.mounted_on_fileid;
	return 0;
}

static int join_pseudo(struct export_set *set, struct export *exp)
{
	struct pseudo_node *node;

	if (!set->pseudo.backend) {
		set->pseudo.backend = pseudo_new();
		if (!set->pseudo.backend)
			return -ENOMEM;
		set->pseudo.id = PSEUDO_EXPORT_ID;
		set->pseudo.has_junctions = true;
		set->top = &set->pseudo;
	}
	node = pseudo_make(set->pseudo.backend, exp->entry->path);
	if (!node)
		return -ENOMEM;
	pseudo_set_export(node, exp);
	exp->mounted_on_fileid = pseudo_fileid(node);
	if (pseudo_parent(node) == node) {
		set->top = exp; /* exported "/": nothing is above it */
		return 0;
	}
	exp->parent = &set->pseudo;
	exp->parent_object = object_ref(pseudo_object(pseudo_parent(node)));
	return 0;
}

static int join(struct export_set *set, struct export *exp, struct config_error *err)
{
	struct export *outer = enclosing(set, exp);
	int code;

	if (exp == set->top)
		return 0;
	if (outer) {
		code = join_inside(set, outer, exp);
		if (code == -ENOENT || code == -ENOTDIR) {
			log_warn("%s: not reachable from %s, which is exported without crossmnt; "
				 "add crossmnt there, or clients cannot look it up",
				 exp->entry->path, outer->entry->path);
			return 0;
		}
	} else if (set->top && set->top != &set->pseudo) {
		log_warn("%s: not below %s, which is exported with fsid=0 and so is the root that "
			 "clients see; they cannot look it up",
			 exp->entry->path, set->top->entry->path);
		return 0;
	} else {
		code = join_pseudo(set, exp);
	}
	return code ? export_error(err, exp->entry, code, strerror(-code)) : 0;
}

static int check_ids(struct export_set *set, struct config_error *err)
{
	for (unsigned i = 0; i < set->nexports; i++) {
		for (unsigned k = 0; k < i; k++) {
			if (set->exports[i].id == set->exports[k].id)
				return export_error(err, set->exports[i].entry, -EINVAL,
						    "same fsid= as another export");
		}
	}
	return 0;
}

static int set_build(struct export_set *set, struct export_registry *registry,
		     struct exports *config, struct config_error *err)
{
	int code;

	for (unsigned i = 0; i < exports_count(config); i++) {
		code = export_start(registry, exports_get(config, i), &set->exports[i], err);
		if (code)
			return code;
		set->nexports++;
	}
	qsort(set->exports, set->nexports, sizeof(*set->exports), by_path);
	code = check_ids(set, err);
	for (unsigned i = 0; code == 0 && i < set->nexports; i++) {
		if (set->exports[i].entry->fsid.kind == FSID_ROOT)
			set->top = &set->exports[i];
	}
	for (unsigned i = 0; code == 0 && i < set->nexports; i++)
		code = join(set, &set->exports[i], err);
	return code;
}

/* An empty set has an empty pseudo file system. */
static int set_complete(struct export_set *set)
{
	if (set->top)
		return 0;
	set->pseudo.backend = pseudo_new();
	set->top = &set->pseudo;
	return set->pseudo.backend ? 0 : -ENOMEM;
}

int export_set_new(struct export_registry *registry, struct exports *exports,
		   struct export_set **out, struct config_error *err)
{
	unsigned n = exports_count(exports);
	struct export_set *set = calloc(1, sizeof(*set));
	int code;

	if (!set)
		return -ENOMEM;
	set->refs = 1;
	set->number = atomic_fetch_add(&sets_made, 1) + 1;
	for (unsigned i = 0; i < CLIENT_CACHE_BUCKETS; i++)
		rwlock_init(&set->clients[i].lock);
	set->exports = calloc(n + 1, sizeof(*set->exports));
	set->junctions = calloc(n + 1, sizeof(*set->junctions));
	if (!set->exports || !set->junctions)
		code = -ENOMEM;
	else
		code = set_build(set, registry, exports, err);
	if (code == 0)
		code = set_complete(set);
	if (code) {
		export_set_unref(set);
		return code;
	}
	set->config = exports;
	*out = set;
	return 0;
}

static void client_cache_clear(struct client_cache *cache)
{
	for (struct client_answer *a = cache->first, *next; a; a = next) {
		next = a->next;
		free(a);
	}
	cache->first = NULL;
	cache->count = 0;
}

static void set_free(struct export_set *set)
{
	for (unsigned i = 0; i < set->nexports; i++)
		object_unref(set->exports[i].parent_object);
	pseudo_free(set->pseudo.backend);
	for (unsigned i = 0; i < CLIENT_CACHE_BUCKETS; i++) {
		client_cache_clear(&set->clients[i]);
		rwlock_destroy(&set->clients[i].lock);
	}
	if (set->config)
		exports_free(set->config);
	free(set->exports);
	free(set->junctions);
	free(set);
}

struct export_set *export_set_ref(struct export_set *set)
{
	atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
	return set;
}

void export_set_unref(struct export_set *set)
{
	if (set && atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) == 1)
		set_free(set);
}

/* ---- finding ---- */

struct export *export_set_root(struct export_set *set)
{
	return set->top;
}

struct export *export_set_get(struct export_set *set, unsigned index)
{
	return index < set->nexports ? &set->exports[index] : NULL;
}

struct export *export_set_find(struct export_set *set, uint64_t id)
{
	if (id == PSEUDO_EXPORT_ID)
		return set->pseudo.backend ? &set->pseudo : NULL;
	for (unsigned i = 0; i < set->nexports; i++) {
		if (set->exports[i].id == id)
			return &set->exports[i];
	}
	return NULL;
}

struct export *export_set_cross_handle(struct export_set *set, struct export *exp,
				       const struct backend_handle *handle)
{
	if (exp == &set->pseudo) {
		struct object *obj;
		struct export *to;

		if (exp->backend->backend->from_handle(exp->backend, handle->bytes, handle->len,
						       &obj) != 0)
			return NULL;
		to = pseudo_export(pseudo_node_of(obj));
		object_unref(obj);
		return to;
	}
	for (unsigned i = 0; i < set->njunctions; i++) {
		struct junction *j = &set->junctions[i];

		if (j->within == exp && j->handle.len == handle->len &&
		    memcmp(j->handle.bytes, handle->bytes, handle->len) == 0)
			return j->to;
	}
	return NULL;
}

struct export *export_set_cross(struct export_set *set, struct export *exp, struct object *obj)
{
	struct backend_handle handle;

	if (!exp->has_junctions || obj->type != FILE_DIRECTORY)
		return NULL;
	if (exp == &set->pseudo)
		return pseudo_export(pseudo_node_of(obj));
	if (exp->backend->backend->to_handle(obj, &handle) != 0)
		return NULL;
	return export_set_cross_handle(set, exp, &handle);
}

/* ---- what clients may do ---- */

static const struct export_options pseudo_options = {
	.read_only = true,
	.secure = false,
	.squash = SQUASH_ROOT,
	.anon_uid = 65534,
	.anon_gid = 65534,
	.sec_flavors = SEC_SYS | SEC_KRB5 | SEC_KRB5I | SEC_KRB5P,
	.sec_order = { SEC_SYS, SEC_KRB5, SEC_KRB5I, SEC_KRB5P },
};

static struct in6_addr address_of(const struct sockaddr *addr)
{
	struct in6_addr a = { 0 };

	if (addr->sa_family == AF_INET6) {
		a = ((const struct sockaddr_in6 *)addr)->sin6_addr;
	} else if (addr->sa_family == AF_INET) {
		a.s6_addr[10] = a.s6_addr[11] = 0xff;
		memcpy(&a.s6_addr[12], &((const struct sockaddr_in *)addr)->sin_addr, 4);
	}
	return a;
}

static bool is_answer(const struct client_answer *a, const struct export *exp,
		      const struct in6_addr *addr)
{
	return a->export == exp && memcmp(&a->addr, addr, sizeof(*addr)) == 0;
}

static struct client_answer *answer_find(struct client_cache *cache, const struct export *exp,
					 const struct in6_addr *addr) REQUIRES_SHARED(cache->lock)
{
	struct client_answer *a;

	for (a = cache->first; a; a = a->next) {
		if (is_answer(a, exp, addr))
			break;
	}
	return a;
}

static void answer_store(struct client_cache *cache, const struct export *exp,
			 const struct in6_addr *addr, const struct export_options *options)
{
	struct client_answer *a;

	rwlock_write(&cache->lock);
	if (cache->count >= CLIENT_CACHE_MAX / CLIENT_CACHE_BUCKETS)
		client_cache_clear(cache);
	a = answer_find(cache, exp, addr);
	if (!a) {
		a = malloc(sizeof(*a)); /* without memory it is simply not remembered */
		if (a) {
			a->next = cache->first;
			a->export = exp;
			a->addr = *addr;
			cache->first = a;
			cache->count++;
		}
	}
	if (a) {
		a->options = options;
		a->expires_ns = clock_coarse_ns() + CLIENT_CACHE_TTL_NS;
	}
	rwlock_write_unlock(&cache->lock);
}

const struct export_options *export_client_options(struct export_set *set, struct export *exp,
						   const struct sockaddr *addr)
{
	struct in6_addr key = address_of(addr);
	const struct export_options *options = NULL;
	struct client_cache *cache;
	struct client_answer *a;
	struct last_answer *last;
	uint64_t halves[2], hash, now = clock_coarse_ns();
	bool known;

	if (exp == &set->pseudo)
		return &pseudo_options;
	memcpy(halves, &key, sizeof(key));
	hash = hash_u64(hash_u64(halves[0]) ^ halves[1]);
	last = &last_answers[(hash ^ exp->id) % LAST_ANSWERS];
	if (last->set == set->number && is_answer(&last->answer, exp, &key) &&
	    last->answer.expires_ns > now)
		return last->answer.options;
	cache = &set->clients[hash % CLIENT_CACHE_BUCKETS];
	rwlock_read(&cache->lock);
	a = answer_find(cache, exp, &key);
	known = a && a->expires_ns > now;
	if (known) {
		*last = (struct last_answer){ set->number, *a };
		options = a->options;
	}
	rwlock_read_unlock(&cache->lock);
	if (known)
		return options;
	options = export_match(exp->entry, addr);
	answer_store(cache, exp, &key, options);
	return options;
}

struct visible_arg {
	struct export_set *set;
	const struct sockaddr *addr;
};

static bool visible_to(struct export *exp, void *arg)
{
	struct visible_arg *v = arg;

	return export_client_options(v->set, exp, v->addr) != NULL;
}

bool export_pseudo_visible(struct export_set *set, struct object *node, const struct sockaddr *addr)
{
	struct visible_arg arg = { set, addr };

	return pseudo_any(pseudo_node_of(node), visible_to, &arg);
}

int export_set_object(struct export_set *set, const uint8_t *key, size_t len, struct object **out)
{
	int err = -ESTALE;

	for (unsigned i = 0; i < set->nexports && err; i++) {
		struct backend_export *exp = set->exports[i].backend;
		size_t name = strlen(exp->backend->name);

		if (len < name || memcmp(key, exp->backend->name, name) != 0)
			continue;
		/* -EBADF: a handle of another backend with a longer name, or of another file
		 * system. */
		err = exp->backend->from_handle(exp, key + name, len - name, out);
	}
	return err == -EBADF ? -ESTALE : err;
}

/*
 * The set of exports: lines and files into entries.
 *
 * One entry per path; lines about the same path add clients to it. fsid=, backend= and
 * mountpoint= belong to the path: any of its clients may give them, two different values are
 * refused. Two paths with one fsid, and one client twice for a path, are refused too.
 *
 * Where Atoll is stricter than exportfs: a path without clients and an option list without a
 * client ("host (rw)") are errors, because exportfs takes both to mean the whole world.
 */
#include "config/exports_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define EXPORTS_MAX_FILE (16u << 20)
#define DEFAULT_BACKEND	 "vfs"

struct exports {
	struct exports_defaults defaults;
	struct export_entry **v;
	unsigned n, cap;
};

/* A place in a text, for messages. */
struct place {
	const char *file;
	unsigned line, column;
};

#define FAIL_AT(err, place, ...) \
	config_error_set((err), -EINVAL, (place)->file, (place)->line, (place)->column, __VA_ARGS__)

/* ---- entries ---- */

/* Room for one more in an array of `n` elements of `size` bytes. */
static int grow(void **v, unsigned n, unsigned *cap, size_t size)
{
	unsigned want = *cap ? *cap * 2 : 8;
	void *bigger;

	if (n < *cap)
		return 0;
	bigger = reallocarray(*v, want, size);
	if (!bigger)
		return -ENOMEM;
	*v = bigger;
	*cap = want;
	return 0;
}

static void entry_free(struct export_entry *e)
{
	if (!e)
		return;
	for (unsigned i = 0; e->clients && i < e->clients->n; i++)
		client_release(&e->clients->v[i]);
	if (e->clients)
		free(e->clients->v);
	free(e->clients);
	free((char *)e->path);
	free((char *)e->backend);
	free((char *)e->file);
	free((char *)e->mountpoint);
	free(e);
}

static struct export_entry *entry_new(const char *path, const struct place *at)
{
	struct export_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->path = strdup(path);
	e->file = strdup(at->file);
	e->line = at->line;
	e->clients = calloc(1, sizeof(*e->clients));
	if (e->path && e->file && e->clients)
		return e;
	entry_free(e);
	return NULL;
}

/* The entry of `path`, made if there is none; NULL when out of memory. */
static struct export_entry *entry_get(struct exports *x, const char *path, const struct place *at)
{
	struct export_entry *e;

	for (unsigned i = 0; i < x->n; i++)
		if (strcmp(x->v[i]->path, path) == 0)
			return x->v[i];
	if (grow((void **)&x->v, x->n, &x->cap, sizeof(x->v[0])) != 0)
		return NULL;
	e = entry_new(path, at);
	if (e)
		x->v[x->n++] = e;
	return e;
}

/* ---- what belongs to the export as a whole ---- */

static struct export_fsid fsid_of(const struct option_set *set)
{
	struct export_fsid f = { .kind = FSID_NONE };

	if (set->has_fsid_number) {
		f.kind = set->fsid_number ? FSID_NUMBER : FSID_ROOT;
		f.number = set->fsid_number;
	}
	if (set->has_fsid_uuid) {
		memcpy(f.uuid, set->fsid_uuid, sizeof(f.uuid));
		if (f.kind != FSID_ROOT)
			f.kind = FSID_UUID;
	}
	return f;
}

static bool fsid_equal(const struct export_fsid *a, const struct export_fsid *b)
{
	return a->kind == b->kind && a->number == b->number &&
	       memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0;
}

/* Would clients take the two for one file system? */
static bool fsid_collides(const struct export_fsid *a, const struct export_fsid *b)
{
	if (a->kind != b->kind || a->kind == FSID_NONE)
		return false;
	return a->kind == FSID_UUID ? memcmp(a->uuid, b->uuid, sizeof(a->uuid)) == 0
				    : a->number == b->number;
}

static int merge_fsid(struct exports *x, struct export_entry *e, const struct option_set *set,
		      const struct place *at, struct config_error *err)
{
	struct export_fsid f = fsid_of(set);
	char old[40], now[40];

	if (f.kind == FSID_NONE)
		return 0;
	export_fsid_format(&f, now, sizeof(now));
	if (e->fsid.kind != FSID_NONE && !fsid_equal(&e->fsid, &f)) {
		export_fsid_format(&e->fsid, old, sizeof(old));
		return FAIL_AT(err, at,
			       "found fsid=%s; expected the fsid=%s that another client of %s has: "
			       "all clients of one path must agree",
			       now, old, e->path);
	}
	for (unsigned i = 0; i < x->n; i++)
		if (x->v[i] != e && fsid_collides(&x->v[i]->fsid, &f))
			return FAIL_AT(err, at,
				       "found fsid=%s, which is that of %s (%s:%u); expected "
				       "another one",
				       now, x->v[i]->path, x->v[i]->file, x->v[i]->line);
	e->fsid = f;
	return 0;
}

/* Sets *slot to a copy of `value`, or checks that it is the same already. */
static int merge_text(const char **slot, const char *name, const char *value,
		      const struct export_entry *e, const struct place *at,
		      struct config_error *err)
{
	if (!value || (*slot && strcmp(*slot, value) == 0))
		return 0;
	if (*slot)
		return FAIL_AT(err, at,
			       "found %s=%s; expected the %s=%s that another client of %s has: all "
			       "clients of one path must agree",
			       name, value, name, *slot, e->path);
	*slot = strdup(value);
	return *slot ? 0 : config_error_nomem(err);
}

static int merge_common(struct exports *x, struct export_entry *e, const struct option_set *set,
			const struct place *at, struct config_error *err)
{
	const char *mountpoint = set->mountpoint && !*set->mountpoint ? e->path : set->mountpoint;
	int rc = merge_fsid(x, e, set, at, err);

	if (!rc)
		rc = merge_text(&e->backend, "backend", set->backend, e, at, err);
	if (!rc)
		rc = merge_text(&e->mountpoint, "mountpoint", mountpoint, e, at, err);
	return rc;
}

/* ---- clients ---- */

static const struct export_client *find_client(const struct export_clients *list,
					       const struct export_client *c)
{
	for (unsigned i = 0; i < list->n; i++)
		if (list->v[i].kind == c->kind && strcmp(list->v[i].spec, c->spec) == 0)
			return &list->v[i];
	return NULL;
}

/*
 * Adds the client `spec` with the finished `set` to the entry. Takes nothing over from the
 * caller.
 */
static int add_client(struct exports *x, struct export_entry *e, const char *spec,
		      struct option_set *set, const struct place *at, struct config_error *err)
{
	struct export_clients *list = e->clients;
	struct export_client c;
	char why[160];
	int rc = client_parse(spec, &c, why, sizeof(why));

	if (rc == -ENOMEM)
		return config_error_nomem(err);
	if (rc)
		return FAIL_AT(err, at, "client `%.80s': %s", spec, why);
	if (c.kind == CLIENT_GSS) {
		set->o.sec_flavors = c.gss;
		memset(set->o.sec_order, 0, sizeof(set->o.sec_order));
		set->o.sec_order[0] = (uint8_t)c.gss;
	}
	options_finish(set);
	c.options = set->o;
	if (find_client(list, &c)) {
		rc = FAIL_AT(err, at, "found client `%.80s' a second time for %s; expected it once",
			     spec, e->path);
		goto out;
	}
	rc = merge_common(x, e, set, at, err);
	if (rc)
		goto out;
	if (grow((void **)&list->v, list->n, &list->cap, sizeof(list->v[0])) != 0) {
		rc = config_error_nomem(err);
		goto out;
	}
	list->v[list->n++] = c;
	return 0;
out:
	client_release(&c);
	return rc;
}

/* ---- lines ---- */

/* Removes doubled and trailing slashes in place; -EINVAL for . and .. components. */
static int normalise_path(char *path)
{
	char *to = path;

	for (char *p = path; *p;) {
		size_t len;

		while (*p == '/')
			p++;
		len = strcspn(p, "/");
		if (!len)
			break;
		if ((len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return -EINVAL;
		*to++ = '/';
		memmove(to, p, len);
		to += len;
		p += len;
	}
	if (to == path)
		*to++ = '/';
	*to = '\0';
	return 0;
}

static int check_path(char *path, const struct place *at, struct config_error *err)
{
	if (path[0] != '/')
		return FAIL_AT(err, at, "found `%.120s'; expected an absolute path to export",
			       path);
	if (normalise_path(path) != 0)
		return FAIL_AT(err, at, "found `%.120s'; expected a path without . and ..", path);
	return 0;
}

static bool at_line_end(const struct lexer *lx)
{
	return lex_peek(lx) == '\n' || lex_peek(lx) == 0;
}

static int expect_blank(struct lexer *lx, const char *behind)
{
	int c = lex_peek(lx);

	if (at_line_end(lx) || lex_is_blank(c) || c == '#')
		return 0;
	return config_error_set(lx->err, -EINVAL, lx->file, lx->line, lx->column,
				"found `%c' behind %s; expected a blank or the line's end", c,
				behind);
}

/* "-opts": what the clients behind it on the line start from. */
static int parse_default_options(struct lexer *lx, struct option_set *defaults)
{
	int rc;

	lex_advance(lx);
	rc = options_parse(lx, false, defaults);
	return rc ? rc : expect_blank(lx, "default options");
}

/* The parenthesized list behind a client, if there is one. */
static int parse_client_options(struct lexer *lx, struct option_set *set)
{
	unsigned line = lx->line, column = lx->column;
	int rc, c;

	if (lex_peek(lx) != '(')
		return 0;
	lex_advance(lx);
	rc = options_parse(lx, true, set);
	if (rc)
		return rc;
	c = lex_peek(lx);
	if (at_line_end(lx))
		return config_error_set(lx->err, -EINVAL, lx->file, line, column,
					"found `(' that is not closed; expected `)' on the same "
					"line");
	if (c != ')')
		return config_error_set(lx->err, -EINVAL, lx->file, lx->line, lx->column,
					"found %s in an option list; expected `,' or `)'",
					lex_is_blank(c) ? "a blank" : "`('");
	lex_advance(lx);
	return expect_blank(lx, "`)'");
}

static int parse_client(struct exports *x, struct export_entry *e, struct lexer *lx,
			const struct option_set *defaults)
{
	struct word w;
	struct option_set set;
	int rc = lex_word(lx, "()", &w);
	struct place at = { lx->file, w.line, w.column };

	if (rc)
		return rc;
	if (!w.len && !w.quoted && lex_peek(lx) == '(')
		return FAIL_AT(lx->err, &at,
			       "found `(' without a client; expected the client directly before "
			       "it, or *(...) for every client");
	if (!w.len && !w.quoted)
		return FAIL_AT(lx->err, &at, "found `%c'; expected a client", lex_peek(lx));
	if (options_copy(&set, defaults) != 0)
		return config_error_nomem(lx->err);
	rc = parse_client_options(lx, &set);
	if (!rc && lex_peek(lx) == ')')
		rc = expect_blank(lx, "a client");
	if (!rc)
		rc = add_client(x, e, w.text, &set, &at, lx->err);
	options_release(&set);
	return rc;
}

static int parse_clients(struct exports *x, struct export_entry *e, struct lexer *lx)
{
	struct option_set defaults;
	unsigned found = 0;
	int rc = 0;

	options_init(&defaults, &x->defaults);
	while (!rc) {
		lex_skip_blanks(lx);
		if (at_line_end(lx))
			break;
		if (lex_peek(lx) == '-') {
			rc = parse_default_options(lx, &defaults);
			continue;
		}
		rc = parse_client(x, e, lx, &defaults);
		found++;
	}
	options_release(&defaults);
	if (!rc && !found)
		rc = config_error_set(lx->err, -EINVAL, lx->file, lx->line, lx->column,
				      "found no client for %.120s; expected a host, network, "
				      "wildcard, @netgroup, or * for every client",
				      e->path);
	return rc;
}

static int parse_line(struct exports *x, struct lexer *lx)
{
	struct word w;
	int rc = lex_word(lx, "", &w);
	struct place at = { lx->file, w.line, w.column };
	struct export_entry *e;

	if (!rc)
		rc = check_path(w.text, &at, lx->err);
	if (rc)
		return rc;
	e = entry_get(x, w.text, &at);
	return e ? parse_clients(x, e, lx) : config_error_nomem(lx->err);
}

static int parse_text(struct exports *x, const char *name, const char *text,
		      struct config_error *err)
{
	struct lexer lx;
	int rc = 0;

	lex_init(&lx, name, text, err);
	while (!rc) {
		lex_skip_blanks(&lx);
		if (!lex_peek(&lx))
			return 0;
		if (lex_peek(&lx) == '\n')
			lex_advance(&lx);
		else
			rc = parse_line(x, &lx);
	}
	return rc;
}

/* ---- files ---- */

/* The line of the byte at `at`. */
static unsigned line_of(const char *text, const char *at)
{
	unsigned line = 1;

	for (; text < at; text++)
		line += *text == '\n';
	return line;
}

static int file_error(struct config_error *err, const char *path, const char *what, int errnum)
{
	return config_error_set(err, -errnum, path, 0, 0,
				"cannot %s: %s; expected an exports(5) file", what,
				strerror(errnum));
}

/* The whole file, NUL-terminated, malloc'ed. */
static int read_whole(int fd, const char *path, char **out, struct config_error *err)
{
	size_t len = 0, cap = 4096;
	char *text = malloc(cap), *bigger;
	ssize_t n;

	if (!text)
		return config_error_nomem(err);
	while ((n = read(fd, text + len, cap - len - 1)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int errnum = errno;

			free(text);
			return file_error(err, path, "read", errnum);
		}
		len += (size_t)n;
		if (cap - len > 1)
			continue;
		bigger = cap < EXPORTS_MAX_FILE ? realloc(text, cap * 2) : NULL;
		if (!bigger) {
			free(text);
			return cap < EXPORTS_MAX_FILE ? config_error_nomem(err)
						      : file_error(err, path, "read", EFBIG);
		}
		text = bigger;
		cap *= 2;
	}
	text[len] = '\0';
	if (strlen(text) != len) {
		unsigned line = line_of(text, text + strlen(text));

		free(text);
		return config_error_set(err, -EINVAL, path, line, 0,
					"found a NUL byte; expected text");
	}
	*out = text;
	return 0;
}

static int load_open_file(struct exports *x, int fd, const char *path, struct config_error *err)
{
	char *text = NULL;
	int rc = read_whole(fd, path, &text, err);

	if (rc)
		return rc;
	rc = parse_text(x, path, text, err);
	free(text);
	return rc;
}

/* As exportfs: *.exports, but no hidden files. */
static int is_exports_file(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 8 && strcmp(d->d_name + len - 8, ".exports") == 0;
}

static int load_path(struct exports *x, const char *path, bool directories,
		     struct config_error *err);

static int load_directory(struct exports *x, const char *path, struct config_error *err)
{
	struct dirent **names;
	int n = scandir(path, &names, is_exports_file, alphasort);
	int rc = 0;

	if (n < 0)
		return file_error(err, path, "list the directory", errno);
	for (int i = 0; i < n; i++) {
		char *file;

		if (!rc && asprintf(&file, "%s/%s", path, names[i]->d_name) < 0) {
			rc = config_error_nomem(err);
		} else if (!rc) {
			rc = load_path(x, file, false, err);
			free(file);
		}
		free(names[i]);
	}
	free(names);
	return rc;
}

static int load_path(struct exports *x, const char *path, bool directories,
		     struct config_error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc;

	if (fd < 0)
		return file_error(err, path, "open", errno);
	if (fstat(fd, &st) != 0)
		rc = file_error(err, path, "read", errno);
	else if (S_ISDIR(st.st_mode) && directories)
		rc = load_directory(x, path, err);
	else if (S_ISDIR(st.st_mode))
		rc = file_error(err, path, "read", EISDIR);
	else
		rc = load_open_file(x, fd, path, err);
	close(fd);
	return rc;
}

/* ---- the public half ---- */

struct exports *exports_new(void)
{
	return calloc(1, sizeof(struct exports));
}

void exports_free(struct exports *x)
{
	if (!x)
		return;
	for (unsigned i = 0; i < x->n; i++)
		entry_free(x->v[i]);
	free(x->v);
	free(x);
}

/* Gives every entry what no line said. */
static int complete(struct exports *x, struct config_error *err)
{
	for (unsigned i = 0; i < x->n; i++) {
		if (x->v[i]->backend)
			continue;
		x->v[i]->backend = strdup(DEFAULT_BACKEND);
		if (!x->v[i]->backend)
			return config_error_nomem(err);
	}
	return 0;
}

/* Hands the set out, or frees it after a failure. */
static int deliver(struct exports *x, int rc, struct exports **out, struct config_error *err)
{
	if (!rc)
		rc = complete(x, err);
	if (rc)
		exports_free(x);
	else
		*out = x;
	return rc;
}

int exports_load_with(const struct exports_defaults *defaults, const char *const *paths,
		      unsigned npaths, struct exports **out, struct config_error *err)
{
	struct exports *x = exports_new();
	int rc = 0;

	if (!x)
		return config_error_nomem(err);
	if (defaults)
		x->defaults = *defaults;
	for (unsigned i = 0; i < npaths && !rc; i++)
		rc = load_path(x, paths[i], true, err);
	return deliver(x, rc, out, err);
}

int exports_load(const char *const *paths, unsigned npaths, struct exports **out,
		 struct config_error *err)
{
	return exports_load_with(NULL, paths, npaths, out, err);
}

int exports_parse(const char *name, const char *text, struct exports **out,
		  struct config_error *err)
{
	struct exports *x = exports_new();

	if (!x)
		return config_error_nomem(err);
	return deliver(x, parse_text(x, name, text, err), out, err);
}

/* The whole text is one option list. */
static int parse_option_text(const char *options, struct option_set *set, struct config_error *err)
{
	struct lexer lx;
	int rc;

	lex_init(&lx, "", options, err);
	if (!*options)
		return 0;
	rc = options_parse(&lx, false, set);
	if (!rc && lex_peek(&lx) != 0)
		rc = config_error_set(err, -EINVAL, "", 0, 0,
				      "found a blank in the options `%.80s'; expected them "
				      "separated by commas",
				      options);
	return rc;
}

/* An entry made for a client that then was refused must not stay. */
static void drop_empty_last(struct exports *x)
{
	if (x->n && !x->v[x->n - 1]->clients->n)
		entry_free(x->v[--x->n]);
}

int exports_add(struct exports *x, const char *path, const char *client_spec, const char *options,
		struct config_error *err)
{
	struct place at = { "", 0, 0 };
	char *copy = strdup(path);
	struct option_set set;
	struct export_entry *e;
	int rc;

	if (!copy)
		return config_error_nomem(err);
	options_init(&set, &x->defaults);
	rc = check_path(copy, &at, err);
	if (!rc)
		rc = parse_option_text(options, &set, err);
	if (!rc) {
		e = entry_get(x, copy, &at);
		rc = e ? add_client(x, e, client_spec, &set, &at, err) : config_error_nomem(err);
	}
	if (!rc)
		rc = complete(x, err);
	drop_empty_last(x);
	options_release(&set);
	free(copy);
	return rc;
}

unsigned exports_count(const struct exports *x)
{
	return x->n;
}

const struct export_entry *exports_get(const struct exports *x, unsigned index)
{
	return x->v[index];
}

bool export_is_mounted(const struct export_entry *e)
{
	struct statx stx;

	if (!e->mountpoint)
		return true;
	return statx(AT_FDCWD, e->mountpoint, AT_NO_AUTOMOUNT, 0, &stx) == 0 &&
	       (stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) &&
	       (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT);
}

void exports_drop_unmounted(struct exports *x)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < x->n; i++) {
		struct export_entry *e = x->v[i];

		if (export_is_mounted(e)) {
			x->v[kept++] = e;
			continue;
		}
		log_warn("%s:%u: %s is not exported: nothing is mounted at %s; mount it and reload",
			 e->file, e->line, e->path, e->mountpoint);
		entry_free(e);
	}
	x->n = kept;
}

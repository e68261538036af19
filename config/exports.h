/*
 * exports(5): who may see which directory, and how. Text is parsed once into immutable
 * structures; a changed file makes new ones. See docs/exports.md for the syntax.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct exports;

enum export_squash { SQUASH_ROOT, SQUASH_NONE, SQUASH_ALL };

/* Bits of export_options.sec_flavors: which security flavors a client may use. */
enum export_sec {
	SEC_SYS = 1 << 0,
	SEC_KRB5 = 1 << 1,
	SEC_KRB5I = 1 << 2,
	SEC_KRB5P = 1 << 3,
	SEC_NONE = 1 << 4,
};

/* What one client (or pattern of clients) gets of one export. Immutable. */
struct export_options {
	bool read_only;	   /* ro, the default */
	bool secure;	   /* requests must come from a port below 1024; the default */
	bool async;	   /* replies may precede stable storage; default sync */
	bool crossmnt;	   /* mounts below the export are part of it */
	bool nohide;	   /* this export shows through its parent's directory */
	bool utf8_names;   /* our own: utf8 = refuse names that are not UTF-8 (BADCHAR) */
	enum export_squash squash;
	uid_t anon_uid; /* 65534 by default */
	gid_t anon_gid;
	uint32_t sec_flavors; /* enum export_sec bits in use; sec_order has their preference */
	uint8_t sec_order[5]; /* bits as listed in sec=, most preferred first; 0 ends */
};

/* fsid= of an export: at most one of the forms. */
struct export_fsid {
	enum { FSID_NONE, FSID_ROOT /* fsid=0 or fsid=root */, FSID_NUMBER, FSID_UUID } kind;
	uint32_t number;
	uint8_t uuid[16];
};

/* One exported directory. Immutable, owned by its struct exports. */
struct export_entry {
	const char *path; /* absolute, no trailing or doubled slashes */
	const char *backend; /* backend=NAME; "vfs" by default */
	struct export_fsid fsid;
	const char *file; /* where it was defined, for messages */
	unsigned line;
	/* the rest is private to config/ */
	struct export_clients *clients;
};

/* Where parsing stopped and why. `message` says what was found and what was expected. */
struct config_error {
	char file[256];
	unsigned line, column; /* from 1; 0: not about a place in the text */
	char message[256];
};

/*
 * Parses exports files in order: plain files, and for a directory every *.exports in it (as
 * exportfs does for /etc/exports.d). A missing file named by the caller is an error.
 * 0, or -EINVAL/-ENOMEM/-errno with `err` filled. The caller frees with exports_free().
 */
int exports_load(const char *const *paths, unsigned npaths, struct exports **out,
		 struct config_error *err);
/* Parses one text, as if read from a file called `name`. */
int exports_parse(const char *name, const char *text, struct exports **out,
		  struct config_error *err);
void exports_free(struct exports *e);

/* A new, empty set, to be filled by code (`atoll serve`). NULL when out of memory. */
struct exports *exports_new(void);
/*
 * Adds `client_spec` (exports(5) client, e.g. "10.0.0.0/8", "*", "@group") with `options`
 * (text as within the parentheses) to the export of `path`, making it if it is not there yet.
 */
int exports_add(struct exports *e, const char *path, const char *client_spec, const char *options,
		struct config_error *err);

unsigned exports_count(const struct exports *e);
const struct export_entry *exports_get(const struct exports *e, unsigned index);

/*
 * The options of the client at `addr` for the export, or NULL if it may not see it at all.
 * Precedence as exports(5): single host, network, wildcard, netgroup, anonymous "*".
 * May ask the name service (host names, netgroups) and so block; results are cached by the
 * caller, not here.
 */
const struct export_options *export_match(const struct export_entry *entry,
					  const struct sockaddr *addr);

/*
 * exports(5): who may see which directory, and how. Text is parsed once into immutable
 * structures; a changed file makes new ones. See docs/exports.md for the syntax.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "config/error.h"

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

#define EXPORT_NSEC 5 /* bits in enum export_sec */

/* The options that may differ between security flavors (several sec= in one list). */
struct export_flavor {
	bool read_only;
	enum export_squash squash;
};

/* What one client (or pattern of clients) gets of one export. Immutable. */
struct export_options {
	bool read_only;	 /* ro, the default */
	bool secure;	 /* requests must come from a port below 1024; the default */
	bool async;	 /* replies may precede stable storage; default sync */
	bool crossmnt;	 /* mounts below the export are part of it */
	bool nohide;	 /* this export shows through its parent's directory */
	bool local_locks; /* our own: locks are taken on the files, too; the default */
	bool exactly_once; /* our own: replies of what changes names survive a node's death */
	bool no_delegations; /* our own: the client gets none of files of this export */
	bool utf8_names; /* our own: utf8 = refuse names that are not UTF-8 (BADCHAR) */
	enum export_squash squash;
	uid_t anon_uid; /* 65534 by default */
	gid_t anon_gid;
	uint32_t sec_flavors; /* enum export_sec bits in use; sec_order has their preference */
	uint8_t sec_order[EXPORT_NSEC]; /* bits as listed in sec=, most preferred first; 0 ends */
	/*
	 * read_only and squash per flavor, by the bit's number; use export_flavor(). The fields
	 * above hold those of SEC_SYS if that is in use, else of the most preferred flavor.
	 */
	struct export_flavor by_flavor[EXPORT_NSEC];
};

/* What a request of security flavor `sec` (one bit) gets; `sec` is one of o->sec_flavors. */
static inline const struct export_flavor *export_flavor(const struct export_options *o,
							enum export_sec sec)
{
	return &o->by_flavor[__builtin_ctz(sec)];
}

/* fsid= of an export. With a number and a UUID, the root's 0 goes first, then the UUID. */
struct export_fsid {
	enum { FSID_NONE, FSID_ROOT /* fsid=0 or fsid=root */, FSID_NUMBER, FSID_UUID } kind;
	uint32_t number;
	uint8_t uuid[16];
};

/* One exported directory. Immutable, owned by its struct exports. */
struct export_entry {
	const char *path;    /* absolute, no trailing or doubled slashes */
	const char *backend; /* backend=NAME; "vfs" by default */
	struct export_fsid fsid;
	const char *file; /* where it was defined, for messages */
	unsigned line;
	/*
	 * mountpoint=PATH (the export's own path for plain `mountpoint`): the export exists only
	 * while something is mounted there; see export_is_mounted(). NULL: no condition.
	 */
	const char *mountpoint;
	/* the rest is private to config/ */
	struct export_clients *clients;
};

/* What an option list starts from where exports(5) leaves the default to the server. */
struct exports_defaults {
	bool utf8_names;
};

/*
 * Parses exports files in order: plain files, and for a directory every *.exports in it (as
 * exportfs does for /etc/exports.d). A missing file named by the caller is an error.
 * 0, or -EINVAL/-ENOMEM/-errno with `err` filled. The caller frees with exports_free().
 */
int exports_load(const char *const *paths, unsigned npaths, struct exports **out,
		 struct config_error *err);
/* The same with other defaults; `defaults` NULL means all false. */
int exports_load_with(const struct exports_defaults *defaults, const char *const *paths,
		      unsigned npaths, struct exports **out, struct config_error *err);
/* Parses one text, as if read from a file called `name`. */
int exports_parse(const char *name, const char *text, struct exports **out,
		  struct config_error *err);
void exports_free(struct exports *e); /* NULL is allowed */

/* A new, empty set, to be filled by code (`atoll serve`). NULL when out of memory. */
struct exports *exports_new(void);
/*
 * Adds `client_spec` (exports(5) client, e.g. "10.0.0.0/8", "*", "@group") with `options`
 * (text as within the parentheses) to the export of `path`, making it if it is not there yet.
 * `path` and `client_spec` are taken as they are, without quotes and escapes.
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

/*
 * False while the export has a mountpoint= condition and nothing is mounted there: it is then
 * to be treated as if it were not in the file.
 */
bool export_is_mounted(const struct export_entry *entry);
/* Removes the entries of which that is not so, with a warning in the log for each. */
void exports_drop_unmounted(struct exports *e);

/* The export's clients in the order of the file, for listings. */
unsigned export_client_count(const struct export_entry *entry);
/* The client as text (networks in CIDR form); *options are what it gets. */
const char *export_client_get(const struct export_entry *entry, unsigned index,
			      const struct export_options **options);
/* `o` in exports(5) syntax, every option spelled out; always NUL-terminated. 512 bytes suffice. */
void export_options_format(const struct export_options *o, char *buf, size_t size);
/* "root", a number or a UUID; "" for none. 40 bytes suffice. */
void export_fsid_format(const struct export_fsid *fsid, char *buf, size_t size);

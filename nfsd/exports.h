/*
 * The exports being served, joined into one name space.
 *
 * An export_set is immutable and reference counted; a reload builds a new one and swaps. Its
 * exports are open backends with an id that is the same after a restart (the fsid= number, or a
 * hash of the path), so filehandles stay valid. Where no export is at the root, a pseudo file
 * system of the directories that lead to exports joins them (RFC 8881 section 7); where an export
 * lies inside another one, a LOOKUP of its directory crosses over.
 */
#pragma once

#include "backends/backend.h"
#include "config/exports.h"
#include "nfsd/nfs4.h"

#define PSEUDO_EXPORT_ID 0

struct export_set;

/* One export being served. Immutable but for the reference count. */
struct export {
	uint64_t id; /* never PSEUDO_EXPORT_ID for a real one */
	const struct export_entry *entry; /* NULL: the pseudo file system */
	struct backend_export *backend;
	struct export *parent;	     /* where LOOKUPP from the root leads; NULL: this is the top */
	struct object *parent_object; /* the directory in parent that contains this export's */
	uint64_t mounted_on_fileid;  /* of the directory that the export covers; 0: none */
	bool has_junctions;	     /* other exports lie inside */
};

/*
 * The backends opened so far, by path and options. They outlive the sets: an open file may belong
 * to an export that a reload has removed.
 */
struct export_registry;

/* They keep unused objects for `cache_seconds`; 0: as long as they like. */
struct export_registry *export_registry_new(unsigned cache_seconds);
/* Closes all backends; nothing may refer to their objects any more. */
void export_registry_free(struct export_registry *r);

/* Builds the set; takes `exports` over on success. Errors as nfs_server_new(). */
int export_set_new(struct export_registry *registry, struct exports *exports,
		   struct export_set **out, struct config_error *err);
struct export_set *export_set_ref(struct export_set *set);
void export_set_unref(struct export_set *set);

/* The export at `/`. */
struct export *export_set_root(struct export_set *set);
/* The exports one by one, by path, without the pseudo file system; NULL behind the last. */
struct export *export_set_get(struct export_set *set, unsigned index);
struct export *export_set_find(struct export_set *set, uint64_t id);

/*
 * The export whose root covers `obj` of `exp`, or NULL. A junction's object in the pseudo file
 * system or in an enclosing export leads to the export mounted there.
 */
struct export *export_set_cross(struct export_set *set, struct export *exp, struct object *obj);
/* The same by the handle of a directory entry. */
struct export *export_set_cross_handle(struct export_set *set, struct export *exp,
				       const struct backend_handle *handle);

/*
 * The object that a file's key speaks of (compound_file_key()), in whichever export it is; a
 * reference. 0 or -errno; -ESTALE: in none.
 */
int export_set_object(struct export_set *set, const uint8_t *key, size_t len, struct object **out);

/*
 * What the client at `addr` may do in `exp`: its options, or NULL if it may not see it. For the
 * pseudo file system everybody gets read-only options. Cached; may block on name services.
 */
const struct export_options *export_client_options(struct export_set *set, struct export *exp,
						   const struct sockaddr *addr);
/* True if the client may see some export at or below this directory of the pseudo file system. */
bool export_pseudo_visible(struct export_set *set, struct object *node,
			   const struct sockaddr *addr);

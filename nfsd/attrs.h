/*
 * File attributes (RFC 8881 section 5, RFC 7530 section 5, RFC 7862 section 12.2): a table in
 * attrs.c with one row per attribute: its number, the minor versions that have it, whether it
 * is settable, and how to encode, decode and compare it.
 */
#pragma once

#include "nfsd/compound.h"

#define ATTR_WORDS 3

struct attr_bitmap {
	uint32_t word[ATTR_WORDS];
};

static inline bool attr_test(const struct attr_bitmap *b, unsigned attr)
{
	return b->word[attr / 32] & 1u << (attr % 32);
}

/* bitmap4 of any length; bits beyond the last known word are dropped but remembered. */
bool xdr_get_bitmap(struct xdr_in *x, struct attr_bitmap *b, bool *unknown_bits);
/* Without trailing zero words. */
void xdr_put_bitmap(struct xdr_out *x, const struct attr_bitmap *b);

/* A fattr4 as it came: values are decoded when they are used. */
struct fattr {
	struct attr_bitmap mask;
	bool unknown_bits;
	struct bytes values;
};

bool xdr_get_fattr(struct xdr_in *x, struct fattr *f);

/* What encoding may need beside struct attr; gathered once per object by attr_source_init. */
struct attr_source {
	struct compound *c;
	struct export *export; /* that the object belongs to */
	struct object *object; /* NULL: only `attr` and `handle` are known (a READDIR entry) */
	const struct export_options *options;
	struct attr attr;
	const struct nfs_fh *fh; /* NULL: encoded from `object` when asked for */
	bool have_fs_info;
	struct fs_info fs_info;
	enum nfsstat4 rdattr_error;
};

/* Reads the object's attributes. */
enum nfsstat4 attr_source_init(struct attr_source *src, struct compound *c, struct export *export,
			       struct object *object, const struct export_options *options);
/* The attributes of `wanted` that this server supports for the minor version, as a fattr4. */
enum nfsstat4 attr_encode(struct attr_source *src, const struct attr_bitmap *wanted,
			  struct xdr_out *x);
/* Supported attributes of the compound's minor version. */
const struct attr_bitmap *attr_supported(uint32_t minor);

/*
 * Decodes a fattr4 into what the backend shall set. `exclusive`: attributes of EXCLUSIVE4_1, of
 * which only suppattr_exclcreat may come. ATTRNOTSUPP, INVAL (read-only attribute, bad value),
 * BADXDR, BADOWNER, PERM.
 */
enum nfsstat4 fattr_to_attr_set(struct compound *c, const struct fattr *f, bool exclusive,
				struct attr_set *set);
/* attrsset: the attributes of `f` that were set, given the bits in `done` (attr_set_bits). */
void attr_set_bitmap(const struct fattr *f, uint32_t done, struct attr_bitmap *out);

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

static inline void attr_add(struct attr_bitmap *b, unsigned attr)
{
	b->word[attr / 32] |= 1u << (attr % 32);
}

static inline void attr_drop(struct attr_bitmap *b, unsigned attr)
{
	b->word[attr / 32] &= ~(1u << (attr % 32));
}

static inline bool attr_intersects(const struct attr_bitmap *a, const struct attr_bitmap *b)
{
	return (a->word[0] & b->word[0]) | (a->word[1] & b->word[1]) | (a->word[2] & b->word[2]);
}

/* True if every bit of `a` is in `b`. */
static inline bool attr_subset(const struct attr_bitmap *a, const struct attr_bitmap *b)
{
	return !((a->word[0] & ~b->word[0]) | (a->word[1] & ~b->word[1]) |
		 (a->word[2] & ~b->word[2]));
}

static inline bool attr_empty(const struct attr_bitmap *b)
{
	return !(b->word[0] | b->word[1] | b->word[2]);
}

/* bitmap4 of any length; bits beyond the last known word are dropped but remembered. */
bool xdr_get_bitmap(struct xdr_in *x, struct attr_bitmap *b, bool *unknown_bits);
/* Without trailing zero words. */
void xdr_put_bitmap(struct xdr_out *x, const struct attr_bitmap *b);
/* Bytes that xdr_put_bitmap() makes at most. */
#define ATTR_BITMAP_MAX (4 + 4 * ATTR_WORDS)

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
	/* A READDIR entry knows by which directory it was found; else `export` and `attr` tell. */
	bool have_mounted_on;
	uint64_t mounted_on_fileid;
	struct nfs_fh own_fh; /* room for a handle encoded on demand */
};

/*
 * Before attributes are read for a client (phase 0): asks the holder of a write delegation, who may
 * know better. 0, or NFS4_PARKED with phase 1.
 */
enum nfsstat4 attr_ask_holder(struct compound *c, struct object *obj,
			      const struct attr_bitmap *wanted);
/* Reads the object's attributes. */
enum nfsstat4 attr_source_init(struct attr_source *src, struct compound *c, struct export *export,
			       struct object *object, const struct export_options *options);
/*
 * After it: what the holder said, if one was asked. DELAY if it must return the delegation first,
 * because it has not answered.
 */
enum nfsstat4 attr_take_answer(struct attr_source *src);
/* The client has been told them: the holder of a write delegation will speak of what it knows. */
void attr_note_told(struct attr_source *src, const struct attr_bitmap *wanted);
/* The attributes of `wanted` that this server supports for the minor version, as a fattr4. */
enum nfsstat4 attr_encode(struct attr_source *src, const struct attr_bitmap *wanted,
			  struct xdr_out *x);
/*
 * Compares the values in `f` with the object's own: *same. ATTRNOTSUPP, INVAL (rdattr_error and
 * attributes that can only be set), BADXDR, DELAY. For VERIFY and NVERIFY.
 */
enum nfsstat4 attr_compare(struct attr_source *src, const struct fattr *f, bool *same);

/* Supported attributes of the compound's minor version. */
const struct attr_bitmap *attr_supported(uint32_t minor);
/* Those of them that a client can set, and those that it can only set. */
const struct attr_bitmap *attr_settable(uint32_t minor);
const struct attr_bitmap *attr_set_only(uint32_t minor);
/* Those that EXCLUSIVE4_1 can set: all but the times. */
const struct attr_bitmap *attr_exclcreat(uint32_t minor);
/* Those whose value needs statfs, and those that need no getattr of the object. */
const struct attr_bitmap *attr_of_file_system(void);
const struct attr_bitmap *attr_of_dir_entry(void);

/*
 * Decodes a fattr4 into what the backend shall set. `exclusive`: attributes of EXCLUSIVE4_1, of
 * which only suppattr_exclcreat may come. ATTRNOTSUPP, INVAL (read-only attribute, bad value),
 * BADXDR, BADOWNER, FBIG.
 */
enum nfsstat4 fattr_to_attr_set(struct compound *c, const struct fattr *f, bool exclusive,
				struct attr_set *set);
/* Of something to be made: INVAL for what only SETATTR can have (times that a delegation's holder kept). */
enum nfsstat4 attr_set_check_new(const struct attr_set *set);
/* attrsset: the attributes of `f` that were set, given the bits in `done` (attr_set_bits). */
void attr_set_bitmap(const struct fattr *f, uint32_t done, struct attr_bitmap *out);

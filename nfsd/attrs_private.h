/* The table of attributes, for the attrs_*.c files only. */
#pragma once

#include "nfsd/attrs.h"

/* What a value looks like on the wire: enough to step over it and to compare it. */
enum attr_shape {
	SHAPE_NONE = 0, /* no such attribute */
	SHAPE_BOOL,
	SHAPE_U32,
	SHAPE_U64,
	SHAPE_TIME,   /* nfstime4 */
	SHAPE_PAIR32, /* specdata4 */
	SHAPE_PAIR64, /* fsid4 */
	SHAPE_OPAQUE, /* counted bytes */
	SHAPE_USER,   /* counted bytes, compared as the number that they mean */
	SHAPE_GROUP,
	SHAPE_BITMAP, /* compared as a set of bits */
	SHAPE_FS_LOCATIONS,
	SHAPE_SETTIME, /* settime4: only set */
	SHAPE_OPEN_ARGUMENTS, /* five bitmaps */
};

enum attr_flags {
	ATTR_FROM_FS = 1 << 0,	  /* needs statfs */
	ATTR_FROM_ENTRY = 1 << 1, /* known of a directory entry without a getattr */
	ATTR_NO_EXCL = 1 << 2,	  /* settable, but not by EXCLUSIVE4_1 */
};

struct attr_row {
	uint8_t shape;	   /* enum attr_shape */
	uint8_t min_minor; /* first minor version that has it */
	uint8_t flags;	   /* enum attr_flags */
	uint32_t set_bits; /* enum attr_set_bits that setting it may turn on; 0: read-only */
	/* NULL: it can only be set. What may fail was gathered before (attr_prepare). */
	void (*encode)(struct attr_source *src, struct xdr_out *x);
	enum nfsstat4 (*decode)(struct xdr_in *x, struct attr_set *set);
};

#define ATTR_COUNT (32 * ATTR_WORDS)

extern const struct attr_row attr_rows[ATTR_COUNT];

/*
 * Gathers what encoding `mask` needs (statfs, the filehandle) and drops from it what this object
 * does not have: an unknown time_create, quotas of a file system without.
 */
enum nfsstat4 attr_prepare(struct attr_source *src, struct attr_bitmap *mask);

/* The attributes of a bitmap in the order of their numbers: `attr` in the loop's body. */
#define for_each_attr(attr, bitmap)                                                       \
	for (unsigned word_ = 0, attr; word_ < ATTR_WORDS; word_++)                       \
		for (uint32_t bits_ = (bitmap)->word[word_];                              \
		     bits_ && (attr = word_ * 32 + (unsigned)__builtin_ctz(bits_), true); \
		     bits_ &= bits_ - 1)

/* Decoders of the settable attributes: attrs_set.c. */
enum nfsstat4 attr_decode_size(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_mode(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_mode_umask(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_owner(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_owner_group(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_atime(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_mtime(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_holder_atime(struct xdr_in *x, struct attr_set *set);
enum nfsstat4 attr_decode_holder_mtime(struct xdr_in *x, struct attr_set *set);

/*
 * VERIFY and NVERIFY: a client's values against the object's own (RFC 8881 section 18.31).
 *
 * XDR has one encoding for a value, so most are compared as bytes with what we would send. Owners
 * are compared as the numbers that they mean, bitmaps as sets. Everything is decoded before
 * anything is compared: a value that differs must not hide that the next is malformed.
 */
#include "nfsd/attrs_private.h"
#include "nfsd/idmap.h"

static bool skip(struct xdr_in *x, size_t len)
{
	const uint8_t *p;

	return xdr_get_fixed(x, &p, len);
}

static bool skip_opaque(struct xdr_in *x)
{
	const uint8_t *p;
	uint32_t len;

	return xdr_get_opaque(x, NFS4_UINT32_MAX, &p, &len);
}

/* An array of counted byte strings: pathname4, and the servers of an fs_location4. */
static bool skip_strings(struct xdr_in *x)
{
	uint32_t count;

	if (!xdr_get_u32(x, &count))
		return false;
	while (count--)
		if (!skip_opaque(x))
			return false;
	return true;
}

static bool skip_fs_locations(struct xdr_in *x)
{
	uint32_t count;

	if (!skip_strings(x) || !xdr_get_u32(x, &count))
		return false;
	while (count--)
		if (!skip_strings(x) || !skip_strings(x))
			return false;
	return true;
}

/* Steps over one value; false: malformed. */
static bool skip_value(struct xdr_in *x, enum attr_shape shape)
{
	struct attr_bitmap bitmap;
	bool flag;

	switch (shape) {
	case SHAPE_BOOL:
		return xdr_get_bool(x, &flag);
	case SHAPE_U32:
		return skip(x, 4);
	case SHAPE_U64:
	case SHAPE_PAIR32:
		return skip(x, 8);
	case SHAPE_TIME:
		return skip(x, 12);
	case SHAPE_PAIR64:
		return skip(x, 16);
	case SHAPE_OPAQUE:
	case SHAPE_USER:
	case SHAPE_GROUP:
		return skip_opaque(x);
	case SHAPE_BITMAP:
		return xdr_get_bitmap(x, &bitmap, &flag);
	case SHAPE_FS_LOCATIONS:
		return skip_fs_locations(x);
	case SHAPE_OPEN_ARGUMENTS:
		for (unsigned i = 0; i < 5; i++) {
			if (!xdr_get_bitmap(x, &bitmap, &flag))
				return false;
		}
		return true;
	case SHAPE_NONE:
	case SHAPE_SETTIME:
		break;
	}
	return false;
}

static bool values_well_formed(const struct fattr *f)
{
	struct xdr_in x;

	xdr_in_init(&x, f->values.p, f->values.len);
	for_each_attr(attr, &f->mask) if (!skip_value(&x, attr_rows[attr].shape)) return false;
	return xdr_in_left(&x) == 0;
}

/* A name that means nobody here is not the object's owner. */
static enum nfsstat4 compare_id(struct bytes theirs, enum idmap_kind kind, uint32_t ours,
				bool *same)
{
	struct xdr_in x;
	const uint8_t *text;
	uint32_t len, id;
	enum nfsstat4 status;

	xdr_in_init(&x, theirs.p, theirs.len);
	if (!xdr_get_opaque(&x, NFS4_UINT32_MAX, &text, &len))
		return NFS4ERR_BADXDR;
	status = idmap_from_text(kind, text, len, &id);
	if (status == NFS4ERR_BADOWNER) {
		*same = false;
		return NFS4_OK;
	}
	*same = status == NFS4_OK && id == ours;
	return status;
}

static bool bitmaps_equal(struct bytes theirs, const struct xdr_out *ours)
{
	struct xdr_in x, y;
	struct attr_bitmap a, b;
	bool unknown, none;

	xdr_in_init(&x, theirs.p, theirs.len);
	xdr_in_init(&y, ours->buf, ours->len);
	return xdr_get_bitmap(&x, &a, &unknown) && xdr_get_bitmap(&y, &b, &none) && !unknown &&
	       memcmp(&a, &b, sizeof(a)) == 0;
}

static enum nfsstat4 compare_value(struct attr_source *src, unsigned attr, struct bytes theirs,
				   struct xdr_out *ours, bool *same)
{
	const struct attr_row *row = &attr_rows[attr];

	if (row->shape == SHAPE_USER)
		return compare_id(theirs, IDMAP_USER, src->attr.uid, same);
	if (row->shape == SHAPE_GROUP)
		return compare_id(theirs, IDMAP_GROUP, src->attr.gid, same);
	xdr_out_reset(ours);
	row->encode(src, ours);
	if (ours->failed)
		return NFS4ERR_DELAY;
	if (row->shape == SHAPE_BITMAP)
		*same = bitmaps_equal(theirs, ours);
	else
		*same = ours->len == theirs.len && memcmp(ours->buf, theirs.p, theirs.len) == 0;
	return NFS4_OK;
}

static enum nfsstat4 compare_values(struct attr_source *src, const struct fattr *f, bool *same)
{
	struct xdr_in x;
	struct xdr_out ours;
	enum nfsstat4 status = NFS4_OK;

	*same = true;
	xdr_in_init(&x, f->values.p, f->values.len);
	xdr_out_init(&ours, 1 << 16);
	for_each_attr(attr, &f->mask)
	{
		struct bytes theirs = { x.p, 0 };

		if (!skip_value(&x, attr_rows[attr].shape)) {
			status = NFS4ERR_BADXDR;
			goto out;
		}
		theirs.len = (uint32_t)(x.p - theirs.p);
		status = compare_value(src, attr, theirs, &ours, same);
		if (status || !*same)
			goto out;
	}
out:
	xdr_out_free(&ours);
	return status;
}

enum nfsstat4 attr_compare(struct attr_source *src, const struct fattr *f, bool *same)
{
	uint32_t minor = src->c->minor;
	struct attr_bitmap mask = f->mask;
	enum nfsstat4 status;

	if (f->unknown_bits || !attr_subset(&mask, attr_supported(minor)))
		return NFS4ERR_ATTRNOTSUPP;
	if (attr_test(&mask, FATTR4_RDATTR_ERROR) || attr_intersects(&mask, attr_set_only(minor)))
		return NFS4ERR_INVAL;
	status = attr_prepare(src, &mask);
	if (status)
		return status;
	if (memcmp(&mask, &f->mask, sizeof(mask)) != 0)
		return NFS4ERR_ATTRNOTSUPP; /* this object has no such attribute */
	if (!values_well_formed(f))
		return NFS4ERR_BADXDR;
	return compare_values(src, f, same);
}

/*
 * The table of attributes and their encoders.
 *
 * A row says everything about one attribute; the bitmaps of what a minor version supports are
 * made from the rows when the program starts. Encoding walks the wanted bits in order and calls
 * the rows' functions, which only put values: whatever can fail or block (statfs, the filehandle)
 * is gathered before, once, by attr_prepare().
 *
 * What clients ask for all the time, the attributes of LAID, is not put but laid: written by one
 * function with all of them inlined, into room that was looked for once. In a listing this is done
 * for every entry. Values are told once for both ways (PUT).
 */
#include "nfsd/attrs.h"

#include <endian.h>
#include <string.h>

#include "nfsd/attrs_private.h"
#include "nfsd/idmap.h"
#include "nfsd/ops.h"

#define MINORS 3

/*
 * CLONE's granularity: the block size of the file systems that can share blocks. One with smaller
 * blocks could do better, one with greater ones refuses (NFS4ERR_INVAL) what it cannot do.
 */
#define CLONE_BLOCK 4096

struct minor_masks {
	struct attr_bitmap supported, settable, set_only, exclcreat;
};

/* Immutable once build_masks() has run, before main(). */
static struct minor_masks masks[MINORS];
static struct attr_bitmap of_file_system, of_dir_entry;

/* ---- bitmap4, fattr4 ---- */

bool xdr_get_bitmap(struct xdr_in *x, struct attr_bitmap *b, bool *unknown_bits)
{
	uint32_t words, w;

	*b = (struct attr_bitmap){ 0 };
	*unknown_bits = false;
	if (!xdr_get_u32(x, &words) || words > xdr_in_left(x) / 4)
		return false;
	for (uint32_t i = 0; i < words; i++) {
		if (!xdr_get_u32(x, &w))
			return false;
		if (i < ATTR_WORDS)
			b->word[i] = w;
		else if (w)
			*unknown_bits = true;
	}
	return true;
}

void xdr_put_bitmap(struct xdr_out *x, const struct attr_bitmap *b)
{
	uint32_t words = ATTR_WORDS;

	while (words && !b->word[words - 1])
		words--;
	xdr_put_u32(x, words);
	for (uint32_t i = 0; i < words; i++)
		xdr_put_u32(x, b->word[i]);
}

bool xdr_get_fattr(struct xdr_in *x, struct fattr *f)
{
	return xdr_get_bitmap(x, &f->mask, &f->unknown_bits) &&
	       xdr_get_opaque(x, NFS4_UINT32_MAX, &f->values.p, &f->values.len);
}

/* ---- encoders ---- */

/* lay_*(): behind `p` at its place in the reply, where there is room. */
static inline uint8_t *lay_xdr_put_u32(uint8_t *p, uint32_t v)
{
	uint32_t be = htobe32(v);

	memcpy(p, &be, 4);
	return p + 4;
}

static inline uint8_t *lay_xdr_put_u64(uint8_t *p, uint64_t v)
{
	uint64_t be = htobe64(v);

	memcpy(p, &be, 8);
	return p + 8;
}

static inline uint8_t *lay_opaque(uint8_t *p, const void *bytes, uint32_t len)
{
	size_t pad = xdr_pad(len);

	p = lay_xdr_put_u32(p, len);
	memcpy(p, bytes, len);
	memset(p + len, 0, pad);
	return p + len + pad;
}

static inline uint8_t *lay_put_time(uint8_t *p, const struct timespec *ts)
{
	p = lay_xdr_put_u64(p, (uint64_t)(int64_t)ts->tv_sec);
	return lay_xdr_put_u32(p, (uint32_t)ts->tv_nsec);
}

static void put_time(struct xdr_out *x, const struct timespec *ts)
{
	xdr_put_u64(x, (uint64_t)(int64_t)ts->tv_sec);
	xdr_put_u32(x, (uint32_t)ts->tv_nsec);
}

static inline uint8_t *lay_put_id(uint8_t *p, uint32_t id)
{
	char text[IDMAP_TEXT_MAX];

	return lay_opaque(p, text, (uint32_t)idmap_to_text(id, text));
}

static void put_id(struct xdr_out *x, uint32_t id)
{
	char text[IDMAP_TEXT_MAX];

	xdr_put_opaque(x, text, (uint32_t)idmap_to_text(id, text));
}

static bool has_quota(const struct attr_source *src)
{
	return src->have_fs_info && src->fs_info.has_quota;
}

static bool has_birth_time(const struct attr_source *src)
{
	return src->attr.btime.tv_nsec >= 0;
}

/* What this very object does not have goes from `mask`. */
static void drop_absent(const struct attr_source *src, struct attr_bitmap *mask)
{
	if (!has_birth_time(src))
		attr_drop(mask, FATTR4_TIME_CREATE);
	if (!has_quota(src)) {
		attr_drop(mask, FATTR4_QUOTA_AVAIL_HARD);
		attr_drop(mask, FATTR4_QUOTA_AVAIL_SOFT);
		attr_drop(mask, FATTR4_QUOTA_USED);
	}
}

/* Encoders of a constant and of a field, which most are. */
#define PUT(name, put, value)                                              \
	static void put_##name(struct attr_source *src, struct xdr_out *x) \
	{                                                                  \
		put(x, value);                                             \
	}

/* Those of LAID. */
#define PUT_OR_LAY(name, put, value)                                                 \
	PUT(name, put, value)                                                        \
	static inline uint8_t *lay_##name(const struct attr_source *src, uint8_t *p) \
	{                                                                            \
		return lay_##put(p, value);                                          \
	}

static void put_supported_attrs(struct attr_source *src, struct xdr_out *x)
{
	struct attr_bitmap mask = masks[src->c->minor].supported;

	drop_absent(src, &mask);
	xdr_put_bitmap(x, &mask);
}

PUT_OR_LAY(type, xdr_put_u32, src->attr.type)
PUT(fh_expire_type, xdr_put_u32, FH4_PERSISTENT)
PUT_OR_LAY(change, xdr_put_u64, src->attr.change)
PUT_OR_LAY(size, xdr_put_u64, src->attr.size)
PUT(link_support, xdr_put_bool, src->fs_info.has_links)
PUT(symlink_support, xdr_put_bool, src->fs_info.has_symlinks)
PUT(false, xdr_put_bool, false)
PUT(true, xdr_put_bool, true)
PUT(unique_handles, xdr_put_bool, src->fs_info.has_unique_handles)
PUT(lease_time, xdr_put_u32, src->c->server->options.lease_seconds)
PUT_OR_LAY(rdattr_error, xdr_put_u32, src->rdattr_error)
PUT(zero, xdr_put_u32, 0)
PUT(cansettime, xdr_put_bool, src->fs_info.can_set_time)
PUT(case_insensitive, xdr_put_bool, src->fs_info.case_insensitive)
PUT(case_preserving, xdr_put_bool, src->fs_info.case_preserving)
PUT(chown_restricted, xdr_put_bool, src->fs_info.chown_restricted)
PUT_OR_LAY(fileid, xdr_put_u64, src->attr.fileid)
PUT(files_avail, xdr_put_u64, src->fs_info.files_avail)
PUT(files_free, xdr_put_u64, src->fs_info.files_free)
PUT(files_total, xdr_put_u64, src->fs_info.files_total)
PUT(maxfilesize, xdr_put_u64, src->fs_info.max_file_size)
PUT(maxlink, xdr_put_u32, src->fs_info.max_link)
PUT(maxname, xdr_put_u32, src->fs_info.max_name)
PUT(max_io, xdr_put_u64, src->c->server->options.max_io)
PUT_OR_LAY(mode, xdr_put_u32, src->attr.mode)
PUT(no_trunc, xdr_put_bool, src->fs_info.no_trunc)
PUT_OR_LAY(numlinks, xdr_put_u32, src->attr.nlink)
PUT_OR_LAY(owner, put_id, src->attr.uid)
PUT_OR_LAY(owner_group, put_id, src->attr.gid)
PUT(quota_avail_hard, xdr_put_u64, src->fs_info.quota_avail_hard)
PUT(quota_avail_soft, xdr_put_u64, src->fs_info.quota_avail_soft)
PUT(quota_used, xdr_put_u64, src->fs_info.quota_used)
PUT(space_avail, xdr_put_u64, src->fs_info.bytes_avail)
PUT(space_free, xdr_put_u64, src->fs_info.bytes_free)
PUT(space_total, xdr_put_u64, src->fs_info.bytes_total)
PUT_OR_LAY(space_used, xdr_put_u64, src->attr.used)
PUT_OR_LAY(time_access, put_time, &src->attr.atime)
PUT(time_create, put_time, &src->attr.btime)
PUT(time_delta, put_time, &src->fs_info.time_delta)
PUT_OR_LAY(time_metadata, put_time, &src->attr.ctime)
PUT_OR_LAY(time_modify, put_time, &src->attr.mtime)
PUT(suppattr_exclcreat, xdr_put_bitmap, &masks[src->c->minor].exclcreat)
PUT(clone_blksize, xdr_put_u32, CLONE_BLOCK)
PUT(xattr_support, xdr_put_bool, src->fs_info.has_xattrs)
/*
 * Backends promise that a change attribute never repeats, not that it grows: one made from times
 * goes back with the clock.
 */
PUT(change_attr_type, xdr_put_u32, NFS4_CHANGE_TYPE_IS_UNDEFINED)
PUT(fs_charset_cap, xdr_put_u32,
    src->options && src->options->utf8_names ? FSCHARSET_CAP4_ALLOWS_ONLY_UTF8
					     : FSCHARSET_CAP4_CONTAINS_NON_UTF8)

/* What OPEN knows to do: draft-ietf-nfsv4-delstid section 3. Bits are the values of OPEN's
 * arguments. */
static void put_bits(struct xdr_out *x, uint32_t bits)
{
	xdr_put_u32(x, 1);
	xdr_put_u32(x, bits);
}

#define BIT(value) (1u << (value))

static void put_open_arguments(struct attr_source *src, struct xdr_out *x)
{
	put_bits(x, BIT(OPEN4_SHARE_ACCESS_READ) | BIT(OPEN4_SHARE_ACCESS_WRITE) |
			BIT(OPEN4_SHARE_ACCESS_BOTH));
	put_bits(x, BIT(OPEN4_SHARE_DENY_NONE) | BIT(OPEN4_SHARE_DENY_READ) |
			BIT(OPEN4_SHARE_DENY_WRITE) | BIT(OPEN4_SHARE_DENY_BOTH));
	/* ANY_DELEG, NO_DELEG, CANCEL; DELEG_TIMESTAMPS, OPEN_XOR_DELEGATION */
	put_bits(x, BIT(3) | BIT(4) | BIT(5) | OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS |
			OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION);
	put_bits(x, BIT(CLAIM_NULL) | BIT(CLAIM_PREVIOUS) | BIT(CLAIM_DELEGATE_CUR) |
			BIT(CLAIM_FH) | BIT(CLAIM_DELEG_CUR_FH));
	put_bits(x, BIT(UNCHECKED4) | BIT(GUARDED4) | BIT(EXCLUSIVE4) | BIT(EXCLUSIVE4_1));
}

static void put_filehandle(struct attr_source *src, struct xdr_out *x)
{
	xdr_put_opaque(x, src->fh->data, src->fh->len);
}

static inline uint8_t *lay_filehandle(const struct attr_source *src, uint8_t *p)
{
	return lay_opaque(p, src->fh->data, src->fh->len);
}

static inline uint8_t *lay_fsid(const struct attr_source *src, uint8_t *p)
{
	return lay_xdr_put_u64(lay_xdr_put_u64(p, src->attr.fsid_major), src->attr.fsid_minor);
}

static void put_fsid(struct attr_source *src, struct xdr_out *x)
{
	xdr_put_u64(x, src->attr.fsid_major);
	xdr_put_u64(x, src->attr.fsid_minor);
}

static inline uint8_t *lay_rawdev(const struct attr_source *src, uint8_t *p)
{
	return lay_xdr_put_u32(lay_xdr_put_u32(p, src->attr.rdev_major), src->attr.rdev_minor);
}

static void put_rawdev(struct attr_source *src, struct xdr_out *x)
{
	xdr_put_u32(x, src->attr.rdev_major);
	xdr_put_u32(x, src->attr.rdev_minor);
}

/* A path as pathname4: its components. */
static void put_pathname(struct xdr_out *x, const char *path)
{
	size_t count_at = x->len;
	uint32_t count = 0;

	xdr_put_u32(x, 0);
	while (*(path += strspn(path, "/")) != '\0') {
		size_t len = strcspn(path, "/");

		xdr_put_opaque(x, path, (uint32_t)len);
		path += len;
		count++;
	}
	xdr_patch_u32(x, count_at, count);
}

/* Where the export lies in our name space; and no other location of it. */
static void put_fs_locations(struct attr_source *src, struct xdr_out *x)
{
	const struct export *exp = src->export;

	put_pathname(x, exp->entry && exp->parent ? exp->entry->path : "/");
	xdr_put_u32(x, 0);
}

static bool is_export_root(const struct attr_source *src)
{
	const struct backend *backend = src->export->backend->backend;
	struct backend_handle ours, roots;
	struct object *root;
	bool same;

	if (!src->object || src->object->type != FILE_DIRECTORY ||
	    backend->root(src->export->backend, &root) != 0)
		return false;
	same =
	    root == src->object ||
	    (backend->to_handle(src->object, &ours) == 0 && backend->to_handle(root, &roots) == 0 &&
	     ours.len == roots.len && memcmp(ours.bytes, roots.bytes, ours.len) == 0);
	object_unref(root);
	return same;
}

static uint64_t mounted_on_fileid(const struct attr_source *src)
{
	if (src->have_mounted_on)
		return src->mounted_on_fileid;
	if (src->export->mounted_on_fileid && is_export_root(src))
		return src->export->mounted_on_fileid;
	return src->attr.mounted_on_fileid;
}

PUT_OR_LAY(mounted_on_fileid, xdr_put_u64, mounted_on_fileid(src))

/* ---- laying ---- */

/* In the order of the numbers; none takes more than LAID_EACH, but for the filehandle. */
#define LAID(X)                         \
	X(TYPE, type)                   \
	X(CHANGE, change)               \
	X(SIZE, size)                   \
	X(FSID, fsid)                   \
	X(RDATTR_ERROR, rdattr_error)   \
	X(FILEHANDLE, filehandle)       \
	X(FILEID, fileid)               \
	X(MODE, mode)                   \
	X(NUMLINKS, numlinks)           \
	X(OWNER, owner)                 \
	X(OWNER_GROUP, owner_group)     \
	X(RAWDEV, rawdev)               \
	X(SPACE_USED, space_used)       \
	X(TIME_ACCESS, time_access)     \
	X(TIME_METADATA, time_metadata) \
	X(TIME_MODIFY, time_modify)     \
	X(MOUNTED_ON_FILEID, mounted_on_fileid)

#define LAID_EACH	16
#define ONE(attr, name) +1
#define LAID_MAX	(LAID_EACH * (0 LAID(ONE)) + NFS4_FHSIZE)

_Static_assert(4 + IDMAP_TEXT_MAX <= LAID_EACH, "an id in words");

#define BIT_OF(attr, name) | UINT64_C(1) << FATTR4_##attr
#define LAID_BITS	   (UINT64_C(0) LAID(BIT_OF))

#define LAY(attr, name)                          \
	if (bits & UINT64_C(1) << FATTR4_##attr) \
		p = lay_##name(src, p);

static uint8_t *lay(const struct attr_source *src, uint64_t bits, uint8_t *p)
{
	LAID(LAY)
	return p;
}

/* fattr4 with these attributes. False: not all of them are of LAID, or there may be no room. */
static bool lay_fattr(const struct attr_source *src, const struct attr_bitmap *mask,
		      struct xdr_out *x)
{
	uint64_t bits = mask->word[0] | (uint64_t)mask->word[1] << 32;
	const size_t most = ATTR_BITMAP_MAX + 4 + LAID_MAX;
	uint8_t *len_at, *end;

	_Static_assert(ATTR_WORDS == 3, "attributes of the last word are not laid");
	if (mask->word[2] || (bits & ~LAID_BITS) || x->failed ||
	    xdr_out_total(x) + most > x->limit ||
	    (most > x->cap - x->len && !xdr_out_grow(x, most)))
		return false;
	xdr_put_bitmap(x, mask);
	len_at = x->buf + x->len;
	end = lay(src, bits, len_at + 4);
	lay_xdr_put_u32(len_at, (uint32_t)(end - len_at - 4));
	x->len = (size_t)(end - x->buf);
	return true;
}

/* ---- the table ---- */

/* shape, first minor version, flags, bits that setting turns on, encode, decode */
#define READ_ONLY(shape, minor, flags, encode)       \
	{                                            \
		shape, minor, flags, 0, encode, NULL \
	}
#define SETTABLE(shape, minor, flags, bits, encode, decode) \
	{                                                   \
		shape, minor, flags, bits, encode, decode   \
	}

const struct attr_row attr_rows[ATTR_COUNT] = {
	/* Quotas and time_create are in it if this object has them: that takes statfs. */
	[FATTR4_SUPPORTED_ATTRS] = READ_ONLY(SHAPE_BITMAP, 0, ATTR_FROM_FS, put_supported_attrs),
	[FATTR4_TYPE] = READ_ONLY(SHAPE_U32, 0, 0, put_type),
	[FATTR4_FH_EXPIRE_TYPE] = READ_ONLY(SHAPE_U32, 0, 0, put_fh_expire_type),
	[FATTR4_CHANGE] = READ_ONLY(SHAPE_U64, 0, 0, put_change),
	[FATTR4_SIZE] = SETTABLE(SHAPE_U64, 0, 0, ATTR_SET_SIZE, put_size, attr_decode_size),
	[FATTR4_LINK_SUPPORT] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_link_support),
	[FATTR4_SYMLINK_SUPPORT] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_symlink_support),
	[FATTR4_NAMED_ATTR] = READ_ONLY(SHAPE_BOOL, 0, 0, put_false),
	[FATTR4_FSID] = READ_ONLY(SHAPE_PAIR64, 0, 0, put_fsid),
	[FATTR4_UNIQUE_HANDLES] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_unique_handles),
	[FATTR4_LEASE_TIME] = READ_ONLY(SHAPE_U32, 0, 0, put_lease_time),
	[FATTR4_RDATTR_ERROR] = READ_ONLY(SHAPE_U32, 0, ATTR_FROM_ENTRY, put_rdattr_error),
	[FATTR4_ACLSUPPORT] = READ_ONLY(SHAPE_U32, 0, 0, put_zero),
	[FATTR4_CANSETTIME] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_cansettime),
	[FATTR4_CASE_INSENSITIVE] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_case_insensitive),
	[FATTR4_CASE_PRESERVING] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_case_preserving),
	[FATTR4_CHOWN_RESTRICTED] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_chown_restricted),
	[FATTR4_FILEHANDLE] = READ_ONLY(SHAPE_OPAQUE, 0, 0, put_filehandle),
	[FATTR4_FILEID] = READ_ONLY(SHAPE_U64, 0, 0, put_fileid),
	[FATTR4_FILES_AVAIL] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_files_avail),
	[FATTR4_FILES_FREE] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_files_free),
	[FATTR4_FILES_TOTAL] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_files_total),
	[FATTR4_FS_LOCATIONS] = READ_ONLY(SHAPE_FS_LOCATIONS, 0, 0, put_fs_locations),
	[FATTR4_HOMOGENEOUS] = READ_ONLY(SHAPE_BOOL, 0, 0, put_true),
	[FATTR4_MAXFILESIZE] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_maxfilesize),
	[FATTR4_MAXLINK] = READ_ONLY(SHAPE_U32, 0, ATTR_FROM_FS, put_maxlink),
	[FATTR4_MAXNAME] = READ_ONLY(SHAPE_U32, 0, ATTR_FROM_FS, put_maxname),
	[FATTR4_MAXREAD] = READ_ONLY(SHAPE_U64, 0, 0, put_max_io),
	[FATTR4_MAXWRITE] = READ_ONLY(SHAPE_U64, 0, 0, put_max_io),
	[FATTR4_MODE] = SETTABLE(SHAPE_U32, 0, 0, ATTR_SET_MODE, put_mode, attr_decode_mode),
	[FATTR4_NO_TRUNC] = READ_ONLY(SHAPE_BOOL, 0, ATTR_FROM_FS, put_no_trunc),
	[FATTR4_NUMLINKS] = READ_ONLY(SHAPE_U32, 0, 0, put_numlinks),
	[FATTR4_OWNER] = SETTABLE(SHAPE_USER, 0, 0, ATTR_SET_UID, put_owner, attr_decode_owner),
	[FATTR4_OWNER_GROUP] =
	    SETTABLE(SHAPE_GROUP, 0, 0, ATTR_SET_GID, put_owner_group, attr_decode_owner_group),
	[FATTR4_QUOTA_AVAIL_HARD] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_quota_avail_hard),
	[FATTR4_QUOTA_AVAIL_SOFT] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_quota_avail_soft),
	[FATTR4_QUOTA_USED] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_quota_used),
	[FATTR4_RAWDEV] = READ_ONLY(SHAPE_PAIR32, 0, 0, put_rawdev),
	[FATTR4_SPACE_AVAIL] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_space_avail),
	[FATTR4_SPACE_FREE] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_space_free),
	[FATTR4_SPACE_TOTAL] = READ_ONLY(SHAPE_U64, 0, ATTR_FROM_FS, put_space_total),
	[FATTR4_SPACE_USED] = READ_ONLY(SHAPE_U64, 0, 0, put_space_used),
	[FATTR4_TIME_ACCESS] = READ_ONLY(SHAPE_TIME, 0, 0, put_time_access),
	[FATTR4_TIME_ACCESS_SET] =
	    SETTABLE(SHAPE_SETTIME, 0, ATTR_NO_EXCL, ATTR_SET_ATIME | ATTR_SET_ATIME_NOW, NULL,
		     attr_decode_atime),
	[FATTR4_TIME_CREATE] = READ_ONLY(SHAPE_TIME, 0, 0, put_time_create),
	[FATTR4_TIME_DELTA] = READ_ONLY(SHAPE_TIME, 0, ATTR_FROM_FS, put_time_delta),
	[FATTR4_TIME_METADATA] = READ_ONLY(SHAPE_TIME, 0, 0, put_time_metadata),
	[FATTR4_TIME_MODIFY] = READ_ONLY(SHAPE_TIME, 0, 0, put_time_modify),
	[FATTR4_TIME_MODIFY_SET] =
	    SETTABLE(SHAPE_SETTIME, 0, ATTR_NO_EXCL, ATTR_SET_MTIME | ATTR_SET_MTIME_NOW, NULL,
		     attr_decode_mtime),
	[FATTR4_MOUNTED_ON_FILEID] =
	    READ_ONLY(SHAPE_U64, 0, ATTR_FROM_ENTRY, put_mounted_on_fileid),
	[FATTR4_SUPPATTR_EXCLCREAT] = READ_ONLY(SHAPE_BITMAP, 1, 0, put_suppattr_exclcreat),
	[FATTR4_FS_CHARSET_CAP] = READ_ONLY(SHAPE_U32, 1, 0, put_fs_charset_cap),
	[FATTR4_CLONE_BLKSIZE] = READ_ONLY(SHAPE_U32, 2, 0, put_clone_blksize),
	[FATTR4_CHANGE_ATTR_TYPE] = READ_ONLY(SHAPE_U32, 2, 0, put_change_attr_type),
	[FATTR4_MODE_UMASK] =
	    SETTABLE(SHAPE_PAIR32, 2, 0, ATTR_SET_MODE, NULL, attr_decode_mode_umask),
	[FATTR4_XATTR_SUPPORT] = READ_ONLY(SHAPE_BOOL, 2, ATTR_FROM_FS, put_xattr_support),
	[FATTR4_TIME_DELEG_ACCESS] = SETTABLE(SHAPE_TIME, 2, ATTR_NO_EXCL, ATTR_SET_HOLDER_ATIME,
					      NULL, attr_decode_holder_atime),
	[FATTR4_TIME_DELEG_MODIFY] = SETTABLE(SHAPE_TIME, 2, ATTR_NO_EXCL, ATTR_SET_HOLDER_MTIME,
					      NULL, attr_decode_holder_mtime),
	[FATTR4_OPEN_ARGUMENTS] = READ_ONLY(SHAPE_OPEN_ARGUMENTS, 2, 0, put_open_arguments),
};

static void add_row(struct minor_masks *m, unsigned attr, const struct attr_row *row)
{
	attr_add(&m->supported, attr);
	if (!row->set_bits)
		return;
	attr_add(&m->settable, attr);
	if (!row->encode)
		attr_add(&m->set_only, attr);
	if (!(row->flags & ATTR_NO_EXCL))
		attr_add(&m->exclcreat, attr);
}

__attribute__((constructor)) static void build_masks(void)
{
	for (unsigned attr = 0; attr < ATTR_COUNT; attr++) {
		const struct attr_row *row = &attr_rows[attr];

		if (row->shape == SHAPE_NONE)
			continue;
		for (unsigned minor = row->min_minor; minor < MINORS; minor++)
			add_row(&masks[minor], attr, row);
		if (row->flags & ATTR_FROM_FS)
			attr_add(&of_file_system, attr);
		if (row->flags & ATTR_FROM_ENTRY)
			attr_add(&of_dir_entry, attr);
	}
}

const struct attr_bitmap *attr_supported(uint32_t minor)
{
	return &masks[minor].supported;
}

const struct attr_bitmap *attr_settable(uint32_t minor)
{
	return &masks[minor].settable;
}

const struct attr_bitmap *attr_set_only(uint32_t minor)
{
	return &masks[minor].set_only;
}

const struct attr_bitmap *attr_exclcreat(uint32_t minor)
{
	return &masks[minor].exclcreat;
}

const struct attr_bitmap *attr_of_file_system(void)
{
	return &of_file_system;
}

const struct attr_bitmap *attr_of_dir_entry(void)
{
	return &of_dir_entry;
}

/* ---- gathering and encoding ---- */

enum nfsstat4 attr_source_init(struct attr_source *src, struct compound *c, struct export *export,
			       struct object *object, const struct export_options *options)
{
	src->c = c;
	src->export = export;
	src->object = object;
	src->options = options;
	src->fh = NULL;
	src->have_fs_info = false;
	src->rdattr_error = NFS4_OK;
	src->have_mounted_on = false;
	return status_from_errno(object->backend->getattr(object, &src->attr));
}

static enum nfsstat4 prepare_fs_info(struct attr_source *src)
{
	int err;

	if (src->have_fs_info)
		return NFS4_OK;
	if (!src->object)
		return NFS4ERR_SERVERFAULT;
	err = src->object->backend->statfs(src->object, src->c->current.cred, &src->fs_info);
	src->have_fs_info = err == 0;
	return status_from_errno(err);
}

static enum nfsstat4 prepare_fh(struct attr_source *src)
{
	struct backend_handle handle;
	int err;

	if (src->fh)
		return NFS4_OK;
	if (!src->object)
		return NFS4ERR_SERVERFAULT;
	if (src->object == src->c->current.object)
		return compound_fh(src->c, &src->fh);
	err = src->object->backend->to_handle(src->object, &handle);
	if (err)
		return status_from_errno(err);
	fh_encode(&src->c->server->options.handle_key, src->export->id, &handle, &src->own_fh);
	src->fh = &src->own_fh;
	return NFS4_OK;
}

enum nfsstat4 attr_prepare(struct attr_source *src, struct attr_bitmap *mask)
{
	enum nfsstat4 status = NFS4_OK;

	if (attr_intersects(mask, &of_file_system))
		status = prepare_fs_info(src);
	if (!status && attr_test(mask, FATTR4_FILEHANDLE))
		status = prepare_fh(src);
	drop_absent(src, mask);
	return status;
}

enum nfsstat4 attr_encode(struct attr_source *src, const struct attr_bitmap *wanted,
			  struct xdr_out *x)
{
	const struct minor_masks *m = &masks[src->c->minor];
	struct attr_bitmap mask;
	enum nfsstat4 status;
	size_t len_at;

	for (unsigned i = 0; i < ATTR_WORDS; i++)
		mask.word[i] = wanted->word[i] & m->supported.word[i] & ~m->set_only.word[i];
	status = attr_prepare(src, &mask);
	if (status || lay_fattr(src, &mask, x))
		return status;
	xdr_put_bitmap(x, &mask);
	len_at = x->len;
	xdr_put_u32(x, 0);
	for_each_attr(attr, &mask) attr_rows[attr].encode(src, x);
	if (!x->failed)
		xdr_patch_u32(x, len_at, (uint32_t)(x->len - len_at - 4));
	return NFS4_OK;
}

/*
 * The table of attributes, without a server: an object of a backend made here, whose attributes
 * and figures the test knows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include <nfsidmap.h> /* needs sys/types.h */

#include "nfsd/attrs_private.h"
#include "nfsd/idmap.h"
#include "nfsd/ops.h"
#include "nfsd/utf8.h"

/* ---- a backend of two directories: the export's root and one below ---- */

static struct {
	struct attr attr;
	struct fs_info fs;
	int statfs_error;
	unsigned getattrs, statfss, fhs;
} model;

static struct backend_export test_export;
static struct object root_object, other_object;

static int test_getattr(struct object *obj, struct attr *out)
{
	model.getattrs++;
	*out = model.attr;
	return 0;
}

static int test_statfs(struct object *obj, const struct cred *cred, struct fs_info *out)
{
	model.statfss++;
	*out = model.fs;
	return model.statfs_error;
}

static int test_root(struct backend_export *exp, struct object **out)
{
	*out = object_ref(&root_object);
	return 0;
}

static int test_to_handle(struct object *obj, struct backend_handle *out)
{
	out->len = 1;
	out->bytes[0] = obj == &root_object ? 'r' : 'o';
	return 0;
}

static const struct backend test_backend = {
	.name = "test",
	.root = test_root,
	.to_handle = test_to_handle,
	.getattr = test_getattr,
	.statfs = test_statfs,
};

/* In place of the compound's own: the current filehandle. */
enum nfsstat4 compound_fh(struct compound *c, const struct nfs_fh **out)
{
	static const struct nfs_fh fh = { .len = 4, .data = { 1, 2, 3, 4 } };

	model.fhs++;
	*out = &fh;
	return NFS4_OK;
}

/* ---- the scene ---- */

static struct nfs_server server;
static struct export export;
static struct export_options options;
static struct compound compound;

static int setup(void **state)
{
	memset(&model, 0, sizeof(model));
	model.attr = (struct attr){
		.type = FILE_DIRECTORY,
		.mode = 02755,
		.nlink = 3,
		.uid = 1000,
		.gid = 4294967294u,
		.size = 0x123456789aull,
		.used = 8192,
		.rdev_major = 7,
		.rdev_minor = 9,
		.atime = { -1, 999999999 },
		.mtime = { 1700000000, 1 },
		.ctime = { 1700000001, 2 },
		.btime = { 1600000000, 3 },
		.change = 0xfedcba9876543210ull,
		.fileid = 42,
		.mounted_on_fileid = 41,
		.fsid_major = 11,
		.fsid_minor = 12,
	};
	model.fs = (struct fs_info){
		.bytes_total = 1000,
		.bytes_free = 900,
		.bytes_avail = 800,
		.files_total = 100,
		.files_free = 90,
		.files_avail = 80,
		.max_file_size = INT64_MAX,
		.max_name = 255,
		.max_link = 65000,
		.time_delta = { 0, 4000000 },
		.case_preserving = true,
		.no_trunc = true,
		.chown_restricted = true,
		.has_links = true,
		.has_symlinks = true,
		.has_unique_handles = true,
		.can_set_time = true,
		.has_quota = true,
		.quota_used = 5,
		.quota_avail_soft = 6,
		.quota_avail_hard = 7,
	};
	test_export = (struct backend_export){ .backend = &test_backend };
	root_object = other_object = (struct object){ .backend = &test_backend,
						      .export = &test_export,
						      .type = FILE_DIRECTORY };
	root_object.refs = other_object.refs = 1;
	export = (struct export){ .id = 77, .backend = &test_export };
	options = (struct export_options){ .anon_uid = 65534 };
	server = (struct nfs_server){ .options = { .lease_seconds = 90, .max_io = 1 << 20 } };
	compound = (struct compound){ .server = &server, .minor = 2 };
	return 0;
}

/* Encodes `wanted` of `obj` and decodes the frame around it. The values stay in `out`. */
static enum nfsstat4 encode(struct object *obj, const struct attr_bitmap *wanted,
			    struct xdr_out *out, struct fattr *f)
{
	struct attr_source src;
	struct xdr_in in;
	enum nfsstat4 status;

	xdr_out_init(out, 1 << 16);
	assert_int_equal(attr_source_init(&src, &compound, &export, obj, &options), NFS4_OK);
	status = attr_encode(&src, wanted, out);
	if (status)
		return status;
	assert_false(out->failed);
	xdr_in_init(&in, out->buf, out->len);
	assert_true(xdr_get_fattr(&in, f));
	assert_int_equal(xdr_in_left(&in), 0);
	assert_false(f->unknown_bits);
	return NFS4_OK;
}

static enum nfsstat4 compare(struct object *obj, const struct fattr *f, bool *same)
{
	struct attr_source src;

	assert_int_equal(attr_source_init(&src, &compound, &export, obj, &options), NFS4_OK);
	return attr_compare(&src, f, same);
}

static struct attr_bitmap bits(unsigned attr)
{
	struct attr_bitmap b = { 0 };

	attr_add(&b, attr);
	return b;
}

static struct attr_bitmap readable(uint32_t minor)
{
	struct attr_bitmap b = *attr_supported(minor);

	for (unsigned i = 0; i < ATTR_WORDS; i++)
		b.word[i] &= ~attr_set_only(minor)->word[i];
	return b;
}

/* The value of one attribute, in `buf`; returns its length. */
static uint32_t value_of(struct object *obj, unsigned attr, uint8_t *buf, size_t cap)
{
	struct attr_bitmap wanted = bits(attr);
	struct xdr_out out;
	struct fattr f;
	uint32_t len;

	assert_int_equal(encode(obj, &wanted, &out, &f), NFS4_OK);
	assert_true(attr_test(&f.mask, attr));
	len = f.values.len;
	assert_true(len <= cap);
	memcpy(buf, f.values.p, len);
	xdr_out_free(&out);
	return len;
}

static uint32_t u32_of(struct object *obj, unsigned attr)
{
	uint8_t buf[64];
	uint32_t be;

	assert_int_equal(value_of(obj, attr, buf, sizeof(buf)), 4);
	memcpy(&be, buf, 4);
	return be32toh(be);
}

static uint64_t u64_of(struct object *obj, unsigned attr)
{
	uint8_t buf[64];
	uint64_t be;

	assert_int_equal(value_of(obj, attr, buf, sizeof(buf)), 8);
	memcpy(&be, buf, 8);
	return be64toh(be);
}

/* ---- bitmaps ---- */

static void bitmap_decoding(void **state)
{
	static const uint8_t zero_words[] = { 0, 0, 0, 0 };
	static const uint8_t four_words[] = { 0, 0, 0, 4, 0, 0, 0, 1, 0x80, 0,
					      0, 0, 0, 0, 0, 2, 0, 0, 0,    0 };
	static const uint8_t unknown_bit[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0, 0,
					       0, 0, 0, 0, 0, 0, 0, 0, 0, 8 };
	static const uint8_t too_long[] = { 0, 0, 0, 2, 0, 0, 0, 1 };
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1 };
	struct attr_bitmap b;
	struct xdr_in x;
	bool unknown;

	xdr_in_init(&x, zero_words, sizeof(zero_words));
	assert_true(xdr_get_bitmap(&x, &b, &unknown));
	assert_true(attr_empty(&b));
	xdr_in_init(&x, four_words, sizeof(four_words));
	assert_true(xdr_get_bitmap(&x, &b, &unknown));
	assert_int_equal(b.word[0], 1);
	assert_int_equal(b.word[1], 0x80000000u);
	assert_int_equal(b.word[2], 2);
	assert_false(unknown);
	xdr_in_init(&x, unknown_bit, sizeof(unknown_bit));
	assert_true(xdr_get_bitmap(&x, &b, &unknown));
	assert_true(unknown);
	xdr_in_init(&x, too_long, sizeof(too_long));
	assert_false(xdr_get_bitmap(&x, &b, &unknown));
	xdr_in_init(&x, huge, sizeof(huge));
	assert_false(xdr_get_bitmap(&x, &b, &unknown));
}

static void bitmap_encoding_drops_trailing_zero_words(void **state)
{
	struct attr_bitmap b = { { 0, 5, 0 } };
	static const uint8_t expected[] = { 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5 };
	struct xdr_out x;

	xdr_out_init(&x, 100);
	xdr_put_bitmap(&x, &b);
	assert_int_equal(x.len, sizeof(expected));
	assert_memory_equal(x.buf, expected, sizeof(expected));
	xdr_out_reset(&x);
	b = (struct attr_bitmap){ 0 };
	xdr_put_bitmap(&x, &b);
	assert_int_equal(x.len, 4);
	xdr_out_free(&x);
}

/* ---- the table ---- */

static void required_attributes_are_supported(void **state)
{
	static const unsigned required[] = {
		FATTR4_SUPPORTED_ATTRS, FATTR4_TYPE,	   FATTR4_FH_EXPIRE_TYPE,
		FATTR4_CHANGE,		FATTR4_SIZE,	   FATTR4_LINK_SUPPORT,
		FATTR4_SYMLINK_SUPPORT, FATTR4_NAMED_ATTR, FATTR4_FSID,
		FATTR4_UNIQUE_HANDLES,	FATTR4_LEASE_TIME, FATTR4_RDATTR_ERROR,
		FATTR4_FILEHANDLE,
	};

	for (uint32_t minor = 0; minor < 3; minor++)
		for (unsigned i = 0; i < ARRAY_SIZE(required); i++)
			assert_true(attr_test(attr_supported(minor), required[i]));
	assert_false(attr_test(attr_supported(0), FATTR4_SUPPATTR_EXCLCREAT));
	assert_true(attr_test(attr_supported(1), FATTR4_SUPPATTR_EXCLCREAT));
	assert_true(attr_test(attr_supported(2), FATTR4_SUPPATTR_EXCLCREAT));
	assert_false(attr_test(attr_supported(1), FATTR4_MODE_UMASK));
	assert_true(attr_test(attr_supported(2), FATTR4_MODE_UMASK));
	assert_true(attr_test(attr_supported(2), FATTR4_CHANGE_ATTR_TYPE));
	assert_false(attr_test(attr_supported(2), FATTR4_ACL));
}

static void settable_attributes(void **state)
{
	struct attr_bitmap expected = { 0 };

	attr_add(&expected, FATTR4_SIZE);
	attr_add(&expected, FATTR4_MODE);
	attr_add(&expected, FATTR4_OWNER);
	attr_add(&expected, FATTR4_OWNER_GROUP);
	assert_true(attr_subset(&expected, attr_exclcreat(1)));
	attr_add(&expected, FATTR4_TIME_ACCESS_SET);
	attr_add(&expected, FATTR4_TIME_MODIFY_SET);
	assert_memory_equal(&expected, attr_settable(0), sizeof(expected));
	assert_memory_equal(&expected, attr_settable(1), sizeof(expected));
	attr_add(&expected, FATTR4_MODE_UMASK);
	attr_add(&expected, FATTR4_TIME_DELEG_ACCESS);
	attr_add(&expected, FATTR4_TIME_DELEG_MODIFY);
	assert_memory_equal(&expected, attr_settable(2), sizeof(expected));
	assert_false(attr_test(attr_exclcreat(2), FATTR4_TIME_ACCESS_SET));
	assert_false(attr_test(attr_exclcreat(2), FATTR4_TIME_MODIFY_SET));
	assert_true(attr_test(attr_exclcreat(2), FATTR4_MODE_UMASK));
	assert_false(attr_test(attr_exclcreat(2), FATTR4_TIME_DELEG_MODIFY));
	assert_true(attr_test(attr_set_only(2), FATTR4_TIME_DELEG_ACCESS));
}

/* What is asked for all the time is encoded by a function of its own: no difference may be seen. */
static void laid_as_put(void **state)
{
	static const unsigned common[] = {
		FATTR4_TYPE,
		FATTR4_CHANGE,
		FATTR4_SIZE,
		FATTR4_FSID,
		FATTR4_RDATTR_ERROR,
		FATTR4_FILEHANDLE,
		FATTR4_FILEID,
		FATTR4_MODE,
		FATTR4_NUMLINKS,
		FATTR4_OWNER,
		FATTR4_OWNER_GROUP,
		FATTR4_RAWDEV,
		FATTR4_SPACE_USED,
		FATTR4_TIME_ACCESS,
		FATTR4_TIME_METADATA,
		FATTR4_TIME_MODIFY,
		FATTR4_MOUNTED_ON_FILEID,
	};
	const uint32_t before = 4 + 8 + 8 + 16; /* type to fsid */
	struct attr_bitmap wanted = { 0 }, more;
	struct attr_source src;
	struct xdr_out laid, put, tight;
	struct fattr of_laid, of_put;

	for (unsigned i = 0; i < ARRAY_SIZE(common); i++)
		attr_add(&wanted, common[i]);
	more = wanted;
	attr_add(&more, FATTR4_LEASE_TIME); /* the one that makes it put them all */
	assert_int_equal(encode(&other_object, &wanted, &laid, &of_laid), NFS4_OK);
	assert_int_equal(encode(&other_object, &more, &put, &of_put), NFS4_OK);
	assert_memory_equal(&of_laid.mask, &wanted, sizeof(wanted));
	assert_int_equal(of_put.values.len, of_laid.values.len + 4);
	assert_memory_equal(of_put.values.p, of_laid.values.p, before);
	assert_memory_equal(of_put.values.p + before + 4, of_laid.values.p + before,
			    of_laid.values.len - before);

	/* Just room enough for what they take. */
	xdr_out_init(&tight, laid.len);
	assert_int_equal(attr_source_init(&src, &compound, &export, &other_object, &options),
			 NFS4_OK);
	assert_int_equal(attr_encode(&src, &wanted, &tight), NFS4_OK);
	assert_false(tight.failed);
	assert_int_equal(tight.len, laid.len);
	assert_memory_equal(tight.buf, laid.buf, laid.len);
	xdr_out_free(&tight);
	xdr_out_init(&tight, laid.len - 1);
	assert_int_equal(attr_encode(&src, &wanted, &tight), NFS4_OK);
	assert_true(tight.failed);
	xdr_out_free(&tight);
	xdr_out_free(&laid);
	xdr_out_free(&put);
}

static void values(void **state)
{
	struct object *obj = &other_object;
	uint8_t buf[128];

	assert_int_equal(u32_of(obj, FATTR4_TYPE), NF4DIR);
	assert_int_equal(u32_of(obj, FATTR4_FH_EXPIRE_TYPE), FH4_PERSISTENT);
	assert_int_equal(u64_of(obj, FATTR4_CHANGE), model.attr.change);
	assert_int_equal(u64_of(obj, FATTR4_SIZE), model.attr.size);
	assert_int_equal(u32_of(obj, FATTR4_LEASE_TIME), 90);
	assert_int_equal(u32_of(obj, FATTR4_ACLSUPPORT), 0);
	assert_int_equal(u64_of(obj, FATTR4_MAXREAD), 1 << 20);
	assert_int_equal(u64_of(obj, FATTR4_MAXWRITE), 1 << 20);
	assert_int_equal(u32_of(obj, FATTR4_MODE), 02755);
	assert_int_equal(u32_of(obj, FATTR4_NUMLINKS), 3);
	assert_int_equal(u64_of(obj, FATTR4_SPACE_AVAIL), 800);
	assert_int_equal(u64_of(obj, FATTR4_SPACE_USED), 8192);
	assert_int_equal(u64_of(obj, FATTR4_FILES_FREE), 90);
	assert_int_equal(u64_of(obj, FATTR4_QUOTA_USED), 5);
	assert_int_equal(u32_of(obj, FATTR4_RDATTR_ERROR), NFS4_OK);
	assert_int_equal(u32_of(obj, FATTR4_CASE_INSENSITIVE), 0);
	assert_int_equal(u32_of(obj, FATTR4_NO_TRUNC), 1);
	assert_int_equal(u32_of(obj, FATTR4_FS_CHARSET_CAP), FSCHARSET_CAP4_CONTAINS_NON_UTF8);
	options.utf8_names = true;
	assert_int_equal(u32_of(obj, FATTR4_FS_CHARSET_CAP), FSCHARSET_CAP4_ALLOWS_ONLY_UTF8);

	assert_int_equal(value_of(obj, FATTR4_OWNER, buf, sizeof(buf)), 8);
	assert_memory_equal(buf,
			    "\0\0\0\4"
			    "1000",
			    8);
	assert_int_equal(value_of(obj, FATTR4_OWNER_GROUP, buf, sizeof(buf)), 16);
	assert_memory_equal(buf,
			    "\0\0\0\12"
			    "4294967294\0\0",
			    16);
	assert_int_equal(value_of(obj, FATTR4_TIME_ACCESS, buf, sizeof(buf)), 12);
	assert_memory_equal(buf, "\xff\xff\xff\xff\xff\xff\xff\xff\x3b\x9a\xc9\xff", 12);
	assert_int_equal(value_of(obj, FATTR4_RAWDEV, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "\0\0\0\7\0\0\0\11", 8);
	assert_int_equal(value_of(obj, FATTR4_FSID, buf, sizeof(buf)), 16);
	assert_memory_equal(buf, "\0\0\0\0\0\0\0\13\0\0\0\0\0\0\0\14", 16);
	assert_int_equal(value_of(obj, FATTR4_FS_LOCATIONS, buf, sizeof(buf)), 8);
}

static void fs_locations_has_the_export_path(void **state)
{
	static const struct export_entry entry = { .path = "/srv/data" };
	static struct export top;
	static const uint8_t expected[] = { 0, 0, 0, 2, 0,   0,	  0,   3,   's', 'r', 'v', 0,
					    0, 0, 0, 4, 'd', 'a', 't', 'a', 0,	 0,   0,   0 };
	uint8_t buf[128];

	export.entry = &entry;
	export.parent = &top;
	assert_int_equal(value_of(&other_object, FATTR4_FS_LOCATIONS, buf, sizeof(buf)),
			 sizeof(expected));
	assert_memory_equal(buf, expected, sizeof(expected));
}

static void filehandle_of_current_and_other_object(void **state)
{
	struct backend_handle handle;
	uint8_t buf[256];
	struct nfs_fh fh;

	compound.current.object = &root_object;
	assert_int_equal(value_of(&root_object, FATTR4_FILEHANDLE, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "\0\0\0\4\1\2\3\4", 8);
	test_to_handle(&other_object, &handle);
	fh_encode(&server.options.handle_key, export.id, &handle, &fh);
	assert_true(value_of(&other_object, FATTR4_FILEHANDLE, buf, sizeof(buf)) > fh.len);
	assert_int_equal(buf[3], fh.len);
	assert_memory_equal(buf + 4, fh.data, fh.len);
}

static void mounted_on_fileid(void **state)
{
	assert_int_equal(u64_of(&root_object, FATTR4_MOUNTED_ON_FILEID), 41);
	export.mounted_on_fileid = 4711;
	assert_int_equal(u64_of(&root_object, FATTR4_MOUNTED_ON_FILEID), 4711);
	assert_int_equal(u64_of(&other_object, FATTR4_MOUNTED_ON_FILEID), 41);
	assert_int_equal(root_object.refs, 1);
}

static void costs(void **state)
{
	struct attr_bitmap wanted = { 0 };
	struct xdr_out out;
	struct fattr f;

	attr_add(&wanted, FATTR4_SIZE);
	attr_add(&wanted, FATTR4_OWNER);
	attr_add(&wanted, FATTR4_TIME_MODIFY);
	assert_int_equal(encode(&other_object, &wanted, &out, &f), NFS4_OK);
	xdr_out_free(&out);
	assert_int_equal(model.getattrs, 1);
	assert_int_equal(model.statfss, 0);
	attr_add(&wanted, FATTR4_SPACE_FREE);
	attr_add(&wanted, FATTR4_MAXNAME);
	assert_int_equal(encode(&other_object, &wanted, &out, &f), NFS4_OK);
	xdr_out_free(&out);
	assert_int_equal(model.getattrs, 2);
	assert_int_equal(model.statfss, 1);
	model.statfs_error = -EIO;
	assert_int_equal(encode(&other_object, &wanted, &out, &f), NFS4ERR_IO);
	xdr_out_free(&out);
}

/* What an object does not have is neither given nor said to be supported. */
static void absent_attributes(void **state)
{
	struct attr_bitmap wanted = bits(FATTR4_TIME_CREATE);
	uint8_t buf[64];
	struct attr_bitmap supported;
	struct xdr_out out;
	struct xdr_in in;
	struct fattr f;
	bool unknown, same;

	model.attr.btime.tv_nsec = -1;
	model.fs.has_quota = false;
	attr_add(&wanted, FATTR4_QUOTA_USED);
	assert_int_equal(encode(&other_object, &wanted, &out, &f), NFS4_OK);
	assert_true(attr_empty(&f.mask));
	xdr_out_free(&out);
	xdr_in_init(&in, buf, value_of(&other_object, FATTR4_SUPPORTED_ATTRS, buf, sizeof(buf)));
	assert_true(xdr_get_bitmap(&in, &supported, &unknown));
	assert_false(attr_test(&supported, FATTR4_TIME_CREATE));
	assert_false(attr_test(&supported, FATTR4_QUOTA_AVAIL_HARD));
	assert_true(attr_test(&supported, FATTR4_TIME_MODIFY));
	f = (struct fattr){ .mask = bits(FATTR4_QUOTA_USED), .values = { (uint8_t[8]){ 0 }, 8 } };
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_ATTRNOTSUPP);
}

static void unsupported_attributes_are_left_out(void **state)
{
	struct attr_bitmap wanted = { { NFS4_UINT32_MAX, NFS4_UINT32_MAX, NFS4_UINT32_MAX } };

	for (uint32_t minor = 0; minor < 3; minor++) {
		struct attr_bitmap expected = readable(minor);
		struct xdr_out out;
		struct fattr f;

		compound.minor = minor;
		assert_int_equal(encode(&other_object, &wanted, &out, &f), NFS4_OK);
		assert_memory_equal(&f.mask, &expected, sizeof(expected));
		xdr_out_free(&out);
	}
}

/* ---- comparison: every attribute against itself, cut, extended and changed ---- */

static void own_values_are_the_same(void **state)
{
	for (uint32_t minor = 0; minor < 3; minor++) {
		struct attr_bitmap all = readable(minor);

		compound.minor = minor;
		for_each_attr(attr, &all)
		{
			struct attr_bitmap one = bits(attr);
			struct xdr_out out;
			struct fattr f;
			bool same = false;

			if (attr == FATTR4_RDATTR_ERROR)
				continue;
			assert_int_equal(encode(&other_object, &one, &out, &f), NFS4_OK);
			assert_int_equal(compare(&other_object, &f, &same), NFS4_OK);
			assert_true(same);
			xdr_out_free(&out);
		}
	}
}

static void malformed_values(void **state)
{
	struct attr_bitmap all = readable(2);
	uint8_t longer[4096] = { 0 };
	struct xdr_out out;
	struct fattr f;
	bool same;

	attr_drop(&all, FATTR4_RDATTR_ERROR);
	assert_int_equal(encode(&other_object, &all, &out, &f), NFS4_OK);
	assert_true(f.values.len + 4 <= sizeof(longer));
	memcpy(longer, f.values.p, f.values.len);
	assert_int_equal(compare(&other_object, &f, &same), NFS4_OK);
	assert_true(same);
	for (uint32_t len = 0; len < f.values.len; len++) {
		/* In memory of exactly that size, so that reading on is found. */
		uint8_t *cut = malloc(len + 1u);
		struct fattr short_one = { .mask = f.mask, .values = { cut, len } };

		assert_non_null(cut);
		memcpy(cut, f.values.p, len);
		assert_int_equal(compare(&other_object, &short_one, &same), NFS4ERR_BADXDR);
		free(cut);
	}
	f.values = (struct bytes){ longer, f.values.len + 4 };
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_BADXDR);
	xdr_out_free(&out);
}

static void other_values_are_not_the_same(void **state)
{
	static const unsigned attrs[] = { FATTR4_SIZE,	      FATTR4_CHANGE,	 FATTR4_MODE,
					  FATTR4_TIME_MODIFY, FATTR4_FSID,	 FATTR4_OWNER,
					  FATTR4_FILEHANDLE,  FATTR4_SPACE_TOTAL };

	for (unsigned i = 0; i < ARRAY_SIZE(attrs); i++) {
		uint8_t buf[256];
		struct fattr f = { .mask = bits(attrs[i]) };
		bool same = true;
		uint32_t len = value_of(&other_object, attrs[i], buf, sizeof(buf));
		/* The last byte that is not padding; '0' becomes '1'. */
		uint32_t at = len - 1;

		while (buf[at] == 0 && attrs[i] == FATTR4_FILEHANDLE)
			at--;
		buf[at] ^= 1;
		f.values = (struct bytes){ buf, len };
		assert_int_equal(compare(&other_object, &f, &same), NFS4_OK);
		assert_false(same);
	}
}

static void comparison_by_meaning(void **state)
{
	/* supported_attrs with a superfluous zero word; a size that is right behind it. */
	uint8_t buf[64];
	uint32_t len = value_of(&other_object, FATTR4_SUPPORTED_ATTRS, buf, sizeof(buf));
	struct fattr f = { .mask = bits(FATTR4_SUPPORTED_ATTRS) };
	static const uint8_t bad_utf8[] = { 0, 0, 0, 1, 0xff, 0, 0, 0 };
	static const uint8_t nobody_here[] = { 0, 0, 0, 4, 'a', '@', 'b', 'c' };
	bool same = false;

	buf[3]++;
	memset(buf + len, 0, 4);
	f.values = (struct bytes){ buf, len + 4 };
	assert_int_equal(compare(&other_object, &f, &same), NFS4_OK);
	assert_true(same);

	f.mask = bits(FATTR4_OWNER);
	f.values = (struct bytes){ bad_utf8, sizeof(bad_utf8) };
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_INVAL);
	f.values = (struct bytes){ nobody_here, sizeof(nobody_here) };
	assert_int_equal(compare(&other_object, &f, &same), NFS4_OK);
	assert_false(same);
}

static void what_cannot_be_compared(void **state)
{
	struct fattr f = { .mask = bits(FATTR4_RDATTR_ERROR), .values = { (uint8_t[4]){ 0 }, 4 } };
	bool same;

	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_INVAL);
	f.mask = bits(FATTR4_TIME_MODIFY_SET);
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_INVAL);
	f.mask = bits(FATTR4_MODE_UMASK);
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_INVAL);
	compound.minor = 1;
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_ATTRNOTSUPP);
	f.mask = bits(FATTR4_ACL);
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_ATTRNOTSUPP);
	f.mask = bits(FATTR4_TYPE);
	f.unknown_bits = true;
	assert_int_equal(compare(&other_object, &f, &same), NFS4ERR_ATTRNOTSUPP);
}

/* ---- setting ---- */

static struct attr_set got;

static enum nfsstat4 set(unsigned attr, const void *values, uint32_t len)
{
	struct fattr f = { .mask = bits(attr), .values = { values, len } };

	return fattr_to_attr_set(&compound, &f, false, &got);
}

static void set_plain_values(void **state)
{
	assert_int_equal(set(FATTR4_SIZE, "\0\0\0\1\0\0\0\2", 8), NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_SIZE);
	assert_int_equal(got.size, 0x100000002ull);
	assert_int_equal(set(FATTR4_SIZE, "\x80\0\0\0\0\0\0\0", 8), NFS4ERR_FBIG);
	assert_int_equal(set(FATTR4_MODE, "\0\0\x0f\xff", 4), NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_MODE);
	assert_int_equal(got.mode, 07777);
	assert_int_equal(set(FATTR4_MODE, "\0\0\x10\0", 4), NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_MODE, "\0\0\1\0\0\0\0\0", 8), NFS4ERR_BADXDR);
	assert_int_equal(set(FATTR4_MODE, "", 0), NFS4ERR_BADXDR);
}

static void set_times(void **state)
{
	assert_int_equal(set(FATTR4_TIME_ACCESS_SET, "\0\0\0\0", 4), NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_ATIME_NOW);
	assert_int_equal(set(FATTR4_TIME_MODIFY_SET, "\0\0\0\0", 4), NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_MTIME_NOW);
	assert_int_equal(set(FATTR4_TIME_MODIFY_SET,
			     "\0\0\0\1\xff\xff\xff\xff\xff\xff\xff\xfe\x3b\x9a\xc9\xff", 16),
			 NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_MTIME);
	assert_int_equal(got.mtime.tv_sec, -2);
	assert_int_equal(got.mtime.tv_nsec, 999999999);
	assert_int_equal(set(FATTR4_TIME_MODIFY_SET, "\0\0\0\1\0\0\0\0\0\0\0\1\x3b\x9a\xca\0", 16),
			 NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_TIME_MODIFY_SET, "\0\0\0\2", 4), NFS4ERR_BADXDR);
	assert_int_equal(set(FATTR4_TIME_ACCESS_SET, "\0\0\0\1\0\0\0\0", 8), NFS4ERR_BADXDR);
}

static void set_owners(void **state)
{
	assert_int_equal(set(FATTR4_OWNER,
			     "\0\0\0\4"
			     "1000",
			     8),
			 NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_UID);
	assert_int_equal(got.uid, 1000);
	assert_int_equal(set(FATTR4_OWNER_GROUP,
			     "\0\0\0\1"
			     "0\0\0\0",
			     8),
			 NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_GID);
	assert_int_equal(got.gid, 0);
	assert_int_equal(set(FATTR4_OWNER, "\0\0\0\0", 4), NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_OWNER,
			     "\0\0\0\2"
			     "01\0\0",
			     8),
			 NFS4ERR_BADOWNER);
	assert_int_equal(set(FATTR4_OWNER,
			     "\0\0\0\12"
			     "4294967295\0\0",
			     16),
			 NFS4ERR_BADOWNER);
	assert_int_equal(set(FATTR4_OWNER,
			     "\0\0\0\12"
			     "4294967296\0\0",
			     16),
			 NFS4ERR_BADOWNER);
	assert_int_equal(set(FATTR4_OWNER, "\0\0\0\1\xff\0\0\0", 8), NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_OWNER,
			     "\0\0\0\3"
			     "a\0b\0",
			     8),
			 NFS4ERR_BADOWNER);
	assert_int_equal(set(FATTR4_OWNER,
			     "\0\0\0\11"
			     "1000",
			     8),
			 NFS4ERR_BADXDR);
}

static void set_mode_umask(void **state)
{
	struct fattr both = { .values = { (const uint8_t *)"\0\0\1\xff\0\0\1\xff\0\0\0\22", 12 } };

	assert_int_equal(set(FATTR4_MODE_UMASK, "\0\0\1\xff\0\0\0\22", 8), NFS4_OK);
	assert_int_equal(got.mask, ATTR_SET_MODE);
	assert_int_equal(got.mode, 0777);
	assert_true(got.has_umask);
	assert_int_equal(got.umask, 022);
	assert_int_equal(set(FATTR4_MODE_UMASK, "\0\0\1\xff\0\0\2\0", 8), NFS4ERR_INVAL);
	both.mask = bits(FATTR4_MODE);
	attr_add(&both.mask, FATTR4_MODE_UMASK);
	assert_int_equal(fattr_to_attr_set(&compound, &both, false, &got), NFS4ERR_INVAL);
	compound.minor = 1;
	assert_int_equal(set(FATTR4_MODE_UMASK, "\0\0\1\xff\0\0\0\22", 8), NFS4ERR_ATTRNOTSUPP);
}

static void set_what_cannot_be_set(void **state)
{
	struct fattr f = { .mask = bits(FATTR4_MODE),
			   .unknown_bits = true,
			   .values = { (const uint8_t *)"\0\0\0\0", 4 } };

	assert_int_equal(set(FATTR4_TYPE, "\0\0\0\1", 4), NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_CHANGE, "", 0), NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_TIME_CREATE, "", 0), NFS4ERR_INVAL);
	assert_int_equal(set(FATTR4_ACL, "\0\0\0\0", 4), NFS4ERR_ATTRNOTSUPP);
	assert_int_equal(set(FATTR4_HIDDEN, "\0\0\0\0", 4), NFS4ERR_ATTRNOTSUPP);
	assert_int_equal(fattr_to_attr_set(&compound, &f, false, &got), NFS4ERR_ATTRNOTSUPP);
}

static void exclusive_creation(void **state)
{
	struct fattr f = { .mask = bits(FATTR4_MODE),
			   .values = { (const uint8_t *)"\0\0\1\xa4", 4 } };

	assert_int_equal(fattr_to_attr_set(&compound, &f, true, &got), NFS4_OK);
	assert_int_equal(got.mode, 0644);
	f.mask = bits(FATTR4_TIME_MODIFY_SET);
	f.values.p = (const uint8_t *)"\0\0\0\0";
	assert_int_equal(fattr_to_attr_set(&compound, &f, true, &got), NFS4ERR_INVAL);
	assert_int_equal(fattr_to_attr_set(&compound, &f, false, &got), NFS4_OK);
}

static void attrsset(void **state)
{
	struct fattr f = { 0 };
	struct attr_bitmap set_bits, expected = { 0 };

	attr_add(&f.mask, FATTR4_SIZE);
	attr_add(&f.mask, FATTR4_OWNER);
	attr_add(&f.mask, FATTR4_TIME_ACCESS_SET);
	attr_set_bitmap(&f, ATTR_SET_SIZE | ATTR_SET_ATIME_NOW | ATTR_SET_MODE, &set_bits);
	attr_add(&expected, FATTR4_SIZE);
	attr_add(&expected, FATTR4_TIME_ACCESS_SET);
	assert_memory_equal(&set_bits, &expected, sizeof(expected));
	attr_set_bitmap(&f, 0, &set_bits);
	assert_true(attr_empty(&set_bits));
}

/* ---- names, UTF-8, errors ---- */

static enum nfsstat4 name_to_id(enum idmap_kind kind, const char *name, uint32_t *id)
{
	return idmap_from_text(kind, (const uint8_t *)name, (uint32_t)strlen(name), id);
}

static void names_of_this_system(void **state)
{
	char domain[200] = "", name[256];
	uint32_t id = 1;

	/* What the library takes for our domain: its configuration, or the host's. */
	assert_int_equal(nfs4_init_name_mapping(NULL), 0);
	assert_int_equal(nfs4_get_default_domain(NULL, domain, sizeof(domain)), 0);
	snprintf(name, sizeof(name), "root@%s", domain);
	assert_int_equal(name_to_id(IDMAP_USER, name, &id), NFS4_OK);
	assert_int_equal(id, 0);
	id = 1;
	assert_int_equal(name_to_id(IDMAP_GROUP, name, &id), NFS4_OK);
	assert_int_equal(id, 0);
	/* From the table, as first from the library. */
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "no-such-user-here@%s", domain);
		assert_int_equal(name_to_id(IDMAP_USER, name, &id), NFS4ERR_BADOWNER);
	}
	idmap_flush();
	snprintf(name, sizeof(name), "root@%s", domain);
	id = 1;
	assert_int_equal(name_to_id(IDMAP_USER, name, &id), NFS4_OK);
	assert_int_equal(id, 0);
}

static void numbers_as_text(void **state)
{
	static const uint32_t ids[] = { 0, 1, 9, 10, 1000, 65534, 2147483648u, 4294967294u };

	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		char text[IDMAP_TEXT_MAX], expected[16];
		size_t len = idmap_to_text(ids[i], text);
		uint32_t id = ~ids[i];

		snprintf(expected, sizeof(expected), "%u", ids[i]);
		assert_int_equal(len, strlen(expected));
		assert_memory_equal(text, expected, len);
		assert_int_equal(idmap_from_text(IDMAP_USER, (const uint8_t *)text, (uint32_t)len,
						 &id),
				 NFS4_OK);
		assert_int_equal(id, ids[i]);
	}
}

static void utf8(void **state)
{
	static const struct {
		const char *bytes;
		bool valid;
	} cases[] = {
		{ "", true },
		{ "plain", true },
		{ "\xc3\xa4", true },
		{ "\xe2\x82\xac", true },
		{ "\xef\xbf\xbf", true },
		{ "\xf0\x90\x80\x80", true },
		{ "\xf4\x8f\xbf\xbf", true },
		{ "\x80", false },
		{ "\xc3", false },
		{ "\xc3x", false },
		{ "\xc0\x80", false },
		{ "\xc1\xbf", false },
		{ "\xe0\x80\x80", false },
		{ "\xe0\x9f\xbf", false },
		{ "\xe2\x82", false },
		{ "\xe2\x82\xc0", false },
		{ "\xed\xa0\x80", false },
		{ "\xed\x9f\xbf", true },
		{ "\xf0\x8f\xbf\xbf", false },
		{ "\xf0\x90\x80", false },
		{ "\xf4\x90\x80\x80", false },
		{ "\xf5\x80\x80\x80", false },
		{ "\xff", false },
		{ "ok\xfe", false },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].bytes);
		uint8_t *exact = malloc(len + !len);

		assert_non_null(exact);
		memcpy(exact, cases[i].bytes, len);
		assert_int_equal(utf8_valid(exact, len), cases[i].valid);
		free(exact);
	}
}

static void errors(void **state)
{
	static const struct {
		int err;
		enum nfsstat4 status;
	} cases[] = {
		{ 0, NFS4_OK },
		{ -EPERM, NFS4ERR_PERM },
		{ -ENOENT, NFS4ERR_NOENT },
		{ -EACCES, NFS4ERR_ACCESS },
		{ -EEXIST, NFS4ERR_EXIST },
		{ -EXDEV, NFS4ERR_XDEV },
		{ -ENOTDIR, NFS4ERR_NOTDIR },
		{ -EISDIR, NFS4ERR_ISDIR },
		{ -EINVAL, NFS4ERR_INVAL },
		{ -EFBIG, NFS4ERR_FBIG },
		{ -ENOSPC, NFS4ERR_NOSPC },
		{ -EROFS, NFS4ERR_ROFS },
		{ -EMLINK, NFS4ERR_MLINK },
		{ -ENAMETOOLONG, NFS4ERR_NAMETOOLONG },
		{ -ENOTEMPTY, NFS4ERR_NOTEMPTY },
		{ -EDQUOT, NFS4ERR_DQUOT },
		{ -ESTALE, NFS4ERR_STALE },
		{ -ELOOP, NFS4ERR_SYMLINK },
		{ -EOPNOTSUPP, NFS4ERR_NOTSUPP },
		{ -EBUSY, NFS4ERR_FILE_OPEN },
		{ -ENOMEM, NFS4ERR_DELAY },
		{ -EMFILE, NFS4ERR_DELAY },
		{ -EIO, NFS4ERR_IO },
		{ -EREMOTEIO, NFS4ERR_IO },
		{ -4095, NFS4ERR_IO },
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(status_from_errno(cases[i].err), cases[i].status);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(bitmap_decoding),
		TEST(bitmap_encoding_drops_trailing_zero_words),
		TEST(required_attributes_are_supported),
		TEST(settable_attributes),
		TEST(laid_as_put),
		TEST(values),
		TEST(fs_locations_has_the_export_path),
		TEST(filehandle_of_current_and_other_object),
		TEST(mounted_on_fileid),
		TEST(costs),
		TEST(absent_attributes),
		TEST(unsupported_attributes_are_left_out),
		TEST(own_values_are_the_same),
		TEST(malformed_values),
		TEST(other_values_are_not_the_same),
		TEST(comparison_by_meaning),
		TEST(what_cannot_be_compared),
		TEST(set_plain_values),
		TEST(set_times),
		TEST(set_owners),
		TEST(set_mode_umask),
		TEST(set_what_cannot_be_set),
		TEST(exclusive_creation),
		TEST(attrsset),
		TEST(names_of_this_system),
		TEST(numbers_as_text),
		TEST(utf8),
		TEST(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

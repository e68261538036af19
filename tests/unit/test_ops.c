/* The operations on names and attributes, and 4.2's on ranges: against a server in memory. */
#include "tests/unit/ops_fixture.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- LOOKUP, LOOKUPP ---- */

static void lookup(void **state)
{
	static const uint8_t data[] = "x";
	char name[NAME_MAX + 2];

	make_dir("data", "dir");
	make_file("data", "file", data, 1);
	make_link("data", "link", "dir");
	expect_name_op("data", OP_LOOKUP, "dir", NFS4_OK);
	expect_name_op("data", OP_LOOKUP, "none", NFS4ERR_NOENT);
	expect_name_op("data", OP_LOOKUP, "", NFS4ERR_INVAL);
	expect_name_op("data", OP_LOOKUP, ".", NFS4ERR_BADNAME);
	expect_name_op("data", OP_LOOKUP, "..", NFS4ERR_BADNAME);
	expect_name_op("data/file", OP_LOOKUP, "x", NFS4ERR_NOTDIR);
	expect_name_op("data/link", OP_LOOKUP, "x", NFS4ERR_SYMLINK);
	memset(name, 'n', sizeof(name) - 1);
	name[NAME_MAX] = '\0';
	expect_name_op("data", OP_LOOKUP, name, NFS4ERR_NOENT);
	name[NAME_MAX] = 'n';
	name[NAME_MAX + 1] = '\0';
	expect_name_op("data", OP_LOOKUP, name, NFS4ERR_NAMETOOLONG);
}

static void lookup_needs_search_permission(void **state)
{
	make_dir("data", "closed");
	make_dir("data/closed", "in");
	set_mode("data/closed", 0600);
	expect_name_op("data/closed", OP_LOOKUP, "in", NFS4ERR_ACCESS);
}

static void lookup_without_filehandle(void **state)
{
	struct exchange *e = begin(0);

	ask_name(e, OP_LOOKUP, "x");
	send_expect(e, NFS4ERR_NOFILEHANDLE);
	result(e, OP_LOOKUP, NFS4ERR_NOFILEHANDLE);
	end(e);
}

static bool same_fh(const struct nfs_fh *a, const struct nfs_fh *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The filehandle after `path` and LOOKUPP. */
static struct nfs_fh parent_of(const char *path)
{
	struct exchange *e = begin(0);
	struct nfs_fh fh;
	const uint8_t *p;
	uint32_t len;

	go(e, path);
	ask(e, OP_LOOKUPP);
	ask(e, OP_GETFH);
	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, OP_LOOKUPP);
	ok(e, OP_GETFH);
	assert_true(xdr_get_opaque(&e->res, NFS4_FHSIZE, &p, &len));
	memcpy(fh.data, p, len);
	fh.len = (uint8_t)len;
	end(e);
	return fh;
}

static void lookupp(void **state)
{
	static const char *const paths[][2] = {
		{ "data/dir/sub", "data/dir" },
		{ "data/dir", "data" },
		{ "data", "" },			   /* into the pseudo file system */
		{ "data/inner/ro", "data/inner" }, /* out of an export into the one around it */
	};
	struct exchange *e;

	make_dir("data", "dir");
	make_dir("data/dir", "sub");
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		struct nfs_fh above = parent_of(paths[i][0]), expected = fh_of(paths[i][1]);

		assert_true(same_fh(&above, &expected));
	}
	e = begin(0);
	ask(e, OP_PUTROOTFH);
	ask(e, OP_LOOKUPP);
	send_expect(e, NFS4ERR_NOENT);
	ok(e, OP_PUTROOTFH);
	result(e, OP_LOOKUPP, NFS4ERR_NOENT);
	end(e);
}

static void lookupp_of_a_file(void **state)
{
	struct exchange *e = begin(0);

	make_file("data", "file", "", 0);
	go(e, "data/file");
	ask(e, OP_LOOKUPP);
	send_expect(e, NFS4ERR_NOTDIR);
	went(e, "data/file");
	result(e, OP_LOOKUPP, NFS4ERR_NOTDIR);
	end(e);
}

/* ---- exports in the name space ---- */

static void exports_have_their_own_fsid(void **state)
{
	struct exchange *e = begin(0);
	uint8_t outer[16];
	struct bytes b;

	go(e, "data");
	ask_attr(e, FATTR4_FSID);
	ask_name(e, OP_LOOKUP, "inner");
	ask_name(e, OP_LOOKUP, "ro");
	ask_attr(e, FATTR4_FSID);
	send_expect(e, NFS4_OK);
	went(e, "data");
	b = got_attr(e);
	assert_int_equal(b.len, 16);
	memcpy(outer, b.p, 16);
	ok(e, OP_LOOKUP);
	ok(e, OP_LOOKUP);
	b = got_attr(e);
	assert_int_equal(b.len, 16);
	assert_memory_not_equal(outer, b.p, 16);
	end(e);
}

static void invisible_export(void **state)
{
	expect_name_op("", OP_LOOKUP, "secret", NFS4ERR_NOENT);
	expect_name_op("", OP_SECINFO, "secret", NFS4ERR_NOENT);
}

/* ---- GETATTR, SETATTR, VERIFY ---- */

static void getattr_of_set_only_attribute(void **state)
{
	struct exchange *e = begin(0);

	go(e, "data");
	ask_attr(e, FATTR4_TIME_MODIFY_SET);
	send_expect(e, NFS4ERR_INVAL);
	went(e, "data");
	result(e, OP_GETATTR, NFS4ERR_INVAL);
	end(e);
}

/* SETATTR with the anonymous stateid of one attribute; checks attrsset. */
static void set_attr(const char *path, unsigned attr, const void *value, uint32_t len,
		     enum nfsstat4 status)
{
	struct exchange *e = begin(0);
	struct attr_bitmap set;
	bool unknown;

	go(e, path);
	ask(e, OP_SETATTR);
	put_anonymous(e);
	put_fattr(e, attr, value, len);
	send_expect(e, status);
	went(e, path);
	result(e, OP_SETATTR, status);
	if (status == NFS4ERR_BADXDR && xdr_in_left(&e->res) == 0) {
		end(e);
		return;
	}
	assert_true(xdr_get_bitmap(&e->res, &set, &unknown));
	assert_int_equal(attr_test(&set, attr), status == NFS4_OK);
	end(e);
}

static void setattr(void **state)
{
	static const uint8_t size_5[8] = { [7] = 5 }, mode_600[4] = { 0, 0, 1, 0x80 };
	static const uint8_t bad_time[16] = { 0, 0, 0, 1, [12] = 0x3b, 0x9a, 0xca, 0 };

	make_file("data", "file", "12345678", 8);
	make_dir("data", "dir");
	make_link("data", "link", "file");
	set_attr("data/file", FATTR4_SIZE, size_5, 8, NFS4_OK);
	assert_int_equal(attr_u64("data/file", FATTR4_SIZE), 5);
	set_attr("data/file", FATTR4_MODE, mode_600, 4, NFS4_OK);
	assert_int_equal(attr_u32("data/file", FATTR4_MODE), 0600);
	set_attr("data/dir", FATTR4_SIZE, size_5, 8, NFS4ERR_ISDIR);
	set_attr("data/link", FATTR4_SIZE, size_5, 8, NFS4ERR_INVAL);
	set_attr("data/file", FATTR4_MODE, mode_600, 3, NFS4ERR_BADXDR);
	set_attr("data/file", FATTR4_CHANGE, size_5, 8, NFS4ERR_INVAL);
	set_attr("data/file", FATTR4_ACL, size_5, 4, NFS4ERR_ATTRNOTSUPP);
	set_attr("data/file", FATTR4_TIME_MODIFY_SET, bad_time, 16, NFS4ERR_INVAL);
	set_attr("data/inner/ro", FATTR4_MODE, mode_600, 4, NFS4ERR_ROFS);
	/* Not ours. */
	set_attr("data", FATTR4_MODE, mode_600, 4, NFS4ERR_PERM);
}

static void setattr_with_a_bad_stateid(void **state)
{
	static const uint8_t size[8] = { 0 };
	uint8_t id[4 + NFS4_OTHER_SIZE];
	struct exchange *e = begin(0);

	make_file("data", "file", "1", 1);
	memset(id, 0x5a, sizeof(id));
	go(e, "data/file");
	ask(e, OP_SETATTR);
	xdr_put_fixed(&e->req, id, sizeof(id));
	put_fattr(e, FATTR4_SIZE, size, 8);
	send_expect(e, NFS4ERR_STALE_STATEID); /* of no instance of ours that runs */
	e->res.p = e->res.end;
	end(e);
	assert_int_equal(attr_u64("data/file", FATTR4_SIZE), 1);
}

static void verify(const char *path, uint32_t opnum, unsigned attr, const void *value, uint32_t len,
		   enum nfsstat4 status)
{
	struct exchange *e = begin(0);

	go(e, path);
	ask(e, opnum);
	put_fattr(e, attr, value, len);
	send_expect(e, status);
	went(e, path);
	result(e, opnum, status);
	end(e);
}

static void verify_nverify(void **state)
{
	static const uint8_t three[8] = { [7] = 3 }, four[8] = { [7] = 4 };

	make_file("data", "file", "123", 3);
	verify("data/file", OP_VERIFY, FATTR4_SIZE, three, 8, NFS4_OK);
	verify("data/file", OP_VERIFY, FATTR4_SIZE, four, 8, NFS4ERR_NOT_SAME);
	verify("data/file", OP_NVERIFY, FATTR4_SIZE, three, 8, NFS4ERR_SAME);
	verify("data/file", OP_NVERIFY, FATTR4_SIZE, four, 8, NFS4_OK);
	verify("data/file", OP_VERIFY, FATTR4_SIZE, three, 4, NFS4ERR_BADXDR);
	verify("data/file", OP_VERIFY, FATTR4_RDATTR_ERROR, three, 4, NFS4ERR_INVAL);
	verify("data/file", OP_NVERIFY, FATTR4_TIME_ACCESS_SET, three, 4, NFS4ERR_INVAL);
	verify("data/file", OP_VERIFY, FATTR4_ACL, three, 4, NFS4ERR_ATTRNOTSUPP);
}

/* ---- ACCESS ---- */

static void expect_access(const char *path, uint32_t asked, uint32_t supported, uint32_t granted)
{
	struct exchange *e = begin(0);

	go(e, path);
	ask(e, OP_ACCESS);
	xdr_put_u32(&e->req, asked);
	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, OP_ACCESS);
	assert_int_equal(get_u32(e), supported);
	assert_int_equal(get_u32(e), granted);
	end(e);
}

static void access_bits_by_type(void **state)
{
	const uint32_t all = 0x3f;
	const uint32_t dir =
	    ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE;
	const uint32_t file = ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_EXECUTE;

	make_dir("data", "dir");
	make_file("data", "file", "", 0);
	expect_access("data/dir", all, dir, dir);
	expect_access("data/file", all, file, file & ~ACCESS4_EXECUTE);
	set_mode("data/file", 0500);
	expect_access("data/file", all, file, ACCESS4_READ | ACCESS4_EXECUTE);
	set_mode("data/dir", 0300);
	expect_access("data/dir", all, dir, dir & ~ACCESS4_READ);
	set_mode("data/dir", 0600);
	expect_access("data/dir", all, dir, ACCESS4_READ);
	expect_access("data/file", ACCESS4_LOOKUP | ACCESS4_DELETE, 0, 0);
	expect_access("data/file", 0, 0, 0);
	expect_access("data/inner/ro", all, dir, ACCESS4_READ | ACCESS4_LOOKUP);
	/* A pipe is the client's own: the export being read-only does not matter. */
	make_fifo("data/inner/ro", "fifo");
	expect_access("data/inner/ro/fifo", all, file, file & ~ACCESS4_EXECUTE);
}

/* ---- CREATE ---- */

/* Encodes CREATE with a mode. */
static void ask_create(struct exchange *e, uint32_t type, const char *name)
{
	static const uint8_t mode[4] = { 0, 0, 1, 0xa4 };

	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, type);
	if (type == NF4LNK)
		put_name(e, "target/of/it");
	if (type == NF4BLK || type == NF4CHR) {
		xdr_put_u32(&e->req, 1);
		xdr_put_u32(&e->req, 2);
	}
	put_name(e, name);
	put_fattr(e, FATTR4_MODE, mode, 4);
}

static void expect_create(const char *path, uint32_t type, const char *name, enum nfsstat4 status)
{
	struct exchange *e = begin(0);

	go(e, path);
	ask_create(e, type, name);
	send_expect(e, status);
	went(e, path);
	result(e, OP_CREATE, status);
	e->res.p = e->res.end;
	end(e);
}

static void create_types(void **state)
{
	static const uint32_t types[] = { NF4DIR, NF4LNK, NF4SOCK, NF4FIFO };

	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		struct exchange *e = begin(0);
		struct attr_bitmap set;
		struct dir_change change = { 0 };
		bool unknown;
		char name[8];

		snprintf(name, sizeof(name), "t%u", i);
		go(e, "data");
		ask_attr(e, FATTR4_CHANGE);
		ask_create(e, types[i], name);
		ask_attr(e, FATTR4_TYPE);
		send_expect(e, NFS4_OK);
		went(e, "data");

		uint64_t before = got_u64(e);

		ok(e, OP_CREATE);
		change = get_change(e);
		assert_true(change.before == before);
		assert_true(change.after != before);
		assert_true(xdr_get_bitmap(&e->res, &set, &unknown));
		assert_true(attr_test(&set, FATTR4_MODE));
		assert_int_equal(got_u32(e), types[i]);
		end(e);
		assert_int_equal(attr_u64("data", FATTR4_CHANGE), change.after);
		expect_create("data", types[i], name, NFS4ERR_EXIST);
	}
}

static void create_refusals(void **state)
{
	static const uint8_t yes[4] = { 0, 0, 0, 1 };
	struct exchange *e;

	make_file("data", "file", "", 0);
	expect_create("data", NF4REG, "x", NFS4ERR_BADTYPE);
	expect_create("data", NF4ATTRDIR, "x", NFS4ERR_BADTYPE);
	expect_create("data", 77, "x", NFS4ERR_BADTYPE);
	expect_create("data", NF4DIR, "", NFS4ERR_INVAL);
	expect_create("data", NF4DIR, "..", NFS4ERR_BADNAME);
	expect_create("data/file", NF4DIR, "x", NFS4ERR_NOTDIR);
	expect_create("data/inner/ro", NF4DIR, "x", NFS4ERR_ROFS);
	expect_create("", NF4DIR, "x", NFS4ERR_ROFS);
	/* Only root makes devices. */
	expect_create("data", NF4BLK, "x", NFS4ERR_PERM);

	e = begin(0);
	go(e, "data");
	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, NF4LNK);
	put_name(e, "");
	put_name(e, "x");
	xdr_put_u32(&e->req, 0);
	xdr_put_u32(&e->req, 0);
	send_expect(e, NFS4ERR_INVAL);
	went(e, "data");
	result(e, OP_CREATE, NFS4ERR_INVAL);
	end(e);

	e = begin(0);
	go(e, "data");
	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, NF4DIR);
	put_name(e, "x");
	put_fattr(e, FATTR4_LINK_SUPPORT, yes, 4);
	send_expect(e, NFS4ERR_INVAL);
	went(e, "data");
	result(e, OP_CREATE, NFS4ERR_INVAL);
	end(e);
	expect_name_op("data", OP_LOOKUP, "x", NFS4ERR_NOENT);
}

static void mode_with_umask(void **state)
{
	static const uint8_t value[8] = { 0, 0, 1, 0xff, 0, 0, 0, 027 };
	struct exchange *e = begin(2);

	go(e, "data");
	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, NF4DIR);
	put_name(e, "masked");
	put_fattr(e, FATTR4_MODE_UMASK, value, 8);
	send_expect(e, NFS4_OK);
	e->res.p = e->res.end;
	end(e);
	assert_int_equal(attr_u32("data/masked", FATTR4_MODE), 0750);
	e = begin(2);
	go(e, "data/masked");
	ask(e, OP_SETATTR);
	put_anonymous(e);
	put_fattr(e, FATTR4_MODE_UMASK, value, 8);
	send_expect(e, NFS4ERR_INVAL);
	e->res.p = e->res.end;
	end(e);
}

/* ---- READLINK ---- */

static void readlink_text(void **state)
{
	struct exchange *e = begin(0);
	const uint8_t *p;
	uint32_t len;

	make_link("data", "link", "some/where");
	go(e, "data/link");
	ask(e, OP_READLINK);
	send_expect(e, NFS4_OK);
	went(e, "data/link");
	ok(e, OP_READLINK);
	assert_true(xdr_get_opaque(&e->res, 100, &p, &len));
	assert_int_equal(len, 10);
	assert_memory_equal(p, "some/where", 10);
	end(e);
}

static void readlink_of_something_else(void **state)
{
	static const enum nfsstat4 expected[] = { NFS4ERR_INVAL, NFS4ERR_WRONG_TYPE,
						  NFS4ERR_WRONG_TYPE };

	for (uint32_t minor = 0; minor < 3; minor++) {
		struct exchange *e = begin(minor);

		go(e, "data");
		ask(e, OP_READLINK);
		send_expect(e, expected[minor]);
		went(e, "data");
		result(e, OP_READLINK, expected[minor]);
		end(e);
	}
}

/* ---- REMOVE, RENAME, LINK ---- */

static void remove_names(void **state)
{
	make_dir("data", "dir");
	make_dir("data/dir", "sub");
	make_file("data", "file", "", 0);
	expect_name_op("data", OP_REMOVE, "none", NFS4ERR_NOENT);
	expect_name_op("data", OP_REMOVE, "", NFS4ERR_INVAL);
	expect_name_op("data", OP_REMOVE, ".", NFS4ERR_BADNAME);
	expect_name_op("data", OP_REMOVE, "dir", NFS4ERR_NOTEMPTY);
	expect_name_op("data/file", OP_REMOVE, "x", NFS4ERR_NOTDIR);
	expect_name_op("data/inner/ro", OP_REMOVE, "x", NFS4ERR_ROFS);
	expect_name_op("data/dir", OP_REMOVE, "sub", NFS4_OK);
	expect_name_op("data", OP_REMOVE, "dir", NFS4_OK);
	expect_name_op("data", OP_REMOVE, "file", NFS4_OK);
	expect_name_op("data", OP_LOOKUP, "file", NFS4ERR_NOENT);
}

/* Even root does not remove what another export covers. */
static void remove_of_a_covered_directory(void **state)
{
	caller = cred_root();
	expect_name_op("data/inner", OP_REMOVE, "ro", NFS4ERR_FILE_OPEN);
}

static void expect_rename(const char *from_dir, const char *from, const char *to_dir,
			  const char *to, enum nfsstat4 status, struct dir_change change[2])
{
	struct exchange *e = begin(0);

	go(e, from_dir);
	ask(e, OP_SAVEFH);
	go(e, to_dir);
	ask_name(e, OP_RENAME, from);
	put_name(e, to);
	send_expect(e, status);
	went(e, from_dir);
	ok(e, OP_SAVEFH);
	went(e, to_dir);
	result(e, OP_RENAME, status);
	if (status == NFS4_OK) {
		change[0] = get_change(e);
		change[1] = get_change(e);
	}
	end(e);
}

static void rename_names(void **state)
{
	struct dir_change ch[2] = { 0 };

	make_dir("data", "a");
	make_dir("data", "b");
	make_file("data/a", "file", "1", 1);
	make_file("data/a", "other", "22", 2);
	make_dir("data/a", "dir");
	make_dir("data/a", "full");
	make_dir("data/a/full", "x");

	expect_rename("data/a", "none", "data/b", "n", NFS4ERR_NOENT, ch);
	expect_rename("data/a", "", "data/b", "n", NFS4ERR_INVAL, ch);
	expect_rename("data/a", "file", "data/b", "..", NFS4ERR_BADNAME, ch);
	expect_rename("data/a/file", "x", "data/b", "n", NFS4ERR_NOTDIR, ch);
	expect_rename("data/a", "file", "data/a/other", "n", NFS4ERR_NOTDIR, ch);
	expect_rename("data/a", "file", "data/a", "dir", NFS4ERR_EXIST, ch);
	expect_rename("data/a", "dir", "data/a", "file", NFS4ERR_EXIST, ch);
	expect_rename("data/a", "dir", "data/a", "full", NFS4ERR_NOTEMPTY, ch);
	expect_rename("data/a", "file", "data/inner/ro", "n", NFS4ERR_XDEV, ch);
	expect_rename("data", "a", "data/a/dir", "n", NFS4ERR_INVAL, ch);

	expect_rename("data/a", "file", "data/b", "moved", NFS4_OK, ch);
	assert_true(ch[0].before != ch[0].after);
	assert_true(ch[1].before != ch[1].after);
	assert_int_equal(ch[0].after, attr_u64("data/a", FATTR4_CHANGE));
	assert_int_equal(ch[1].after, attr_u64("data/b", FATTR4_CHANGE));
	expect_rename("data/a", "other", "data/b", "moved", NFS4_OK, ch);
	assert_int_equal(attr_u64("data/b/moved", FATTR4_SIZE), 2);
	expect_name_op("data/a", OP_LOOKUP, "other", NFS4ERR_NOENT);

	expect_rename("data/b", "moved", "data/b", "moved", NFS4_OK, ch);
	assert_true(ch[0].before == ch[0].after);
	assert_true(ch[1].before == ch[1].after);
}

static void rename_of_a_covered_directory(void **state)
{
	struct dir_change ch[2] = { 0 };

	caller = cred_root();
	expect_rename("data/inner", "ro", "data", "elsewhere", NFS4ERR_FILE_OPEN, ch);
	make_dir("data", "new");
	expect_rename("data", "new", "data/inner", "ro", NFS4ERR_FILE_OPEN, ch);
}

static void rename_without_saved_filehandle(void **state)
{
	struct exchange *e = begin(0);

	go(e, "data");
	ask_name(e, OP_RENAME, "a");
	put_name(e, "b");
	send_expect(e, NFS4ERR_NOFILEHANDLE);
	went(e, "data");
	result(e, OP_RENAME, NFS4ERR_NOFILEHANDLE);
	end(e);
}

static void expect_link(const char *source, const char *dir, const char *name, enum nfsstat4 status)
{
	struct exchange *e = begin(0);

	go(e, source);
	ask(e, OP_SAVEFH);
	go(e, dir);
	ask_name(e, OP_LINK, name);
	send_expect(e, status);
	went(e, source);
	ok(e, OP_SAVEFH);
	went(e, dir);
	result(e, OP_LINK, status);
	if (status == NFS4_OK) {
		struct dir_change change = get_change(e);

		assert_true(change.before != change.after);
	}
	end(e);
}

static void link_names(void **state)
{
	make_dir("data", "dir");
	make_file("data", "file", "123", 3);
	expect_link("data/file", "data/dir", "hard", NFS4_OK);
	assert_int_equal(attr_u32("data/file", FATTR4_NUMLINKS), 2);
	assert_int_equal(attr_u64("data/dir/hard", FATTR4_FILEID),
			 attr_u64("data/file", FATTR4_FILEID));
	expect_link("data/file", "data/dir", "hard", NFS4ERR_EXIST);
	expect_link("data/dir", "data", "x", NFS4ERR_ISDIR);
	expect_link("data/file", "data/file", "x", NFS4ERR_NOTDIR);
	expect_link("data/file", "data/dir", "", NFS4ERR_INVAL);
	expect_link("data/file", "data/inner/ro", "x", NFS4ERR_XDEV);
}

/* ---- READDIR ---- */

#define MANY 300

static const uint8_t zero_verifier[NFS4_VERIFIER_SIZE];

struct readdir {
	uint64_t cookie;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	uint32_t dircount, maxcount;
	struct attr_bitmap wanted;
};

static void ask_readdir(struct exchange *e, const struct readdir *r)
{
	ask(e, OP_READDIR);
	xdr_put_u64(&e->req, r->cookie);
	xdr_put_fixed(&e->req, r->verifier, NFS4_VERIFIER_SIZE);
	xdr_put_u32(&e->req, r->dircount);
	xdr_put_u32(&e->req, r->maxcount);
	xdr_put_bitmap(&e->req, &r->wanted);
}

static void expect_readdir(const char *path, const struct readdir *r, enum nfsstat4 status)
{
	struct exchange *e = begin(0);

	go(e, path);
	ask_readdir(e, r);
	send_expect(e, status);
	went(e, path);
	result(e, OP_READDIR, status);
	e->res.p = e->res.end;
	end(e);
}

struct entry {
	uint64_t cookie;
	char name[256];
	struct fattr attrs; /* its bytes are gone after the exchange */
};

/* One entry; false: there is none, and *eof is known. */
static bool next_entry(struct exchange *e, struct entry *out, bool *eof)
{
	const uint8_t *p;
	uint32_t len;
	bool more;

	assert_true(xdr_get_bool(&e->res, &more));
	if (!more) {
		assert_true(xdr_get_bool(&e->res, eof));
		return false;
	}
	out->cookie = get_u64(e);
	assert_true(out->cookie > 2);
	assert_true(xdr_get_opaque(&e->res, 255, &p, &len));
	memcpy(out->name, p, len);
	out->name[len] = '\0';
	assert_true(xdr_get_fattr(&e->res, &out->attrs));
	return true;
}

/* Lists a directory in pieces; marks the numbers in names "nN" as seen; returns the pieces. */
static unsigned list_all(const char *path, struct readdir *r, bool seen[MANY], unsigned *entries)
{
	unsigned pieces = 0;
	bool eof = false;

	*entries = 0;
	while (!eof) {
		struct exchange *e = begin(0);
		const uint8_t *start, *p;
		struct entry entry;
		unsigned here = 0;
		uint64_t names = 0;

		go(e, path);
		ask_readdir(e, r);
		send_expect(e, NFS4_OK);
		went(e, path);
		ok(e, OP_READDIR);
		start = e->res.p;
		assert_true(xdr_get_fixed(&e->res, &p, NFS4_VERIFIER_SIZE));
		memcpy(r->verifier, p, NFS4_VERIFIER_SIZE);
		while (next_entry(e, &entry, &eof)) {
			unsigned n;

			assert_int_equal(sscanf(entry.name, "n%u", &n), 1);
			assert_in_range(n, 0, MANY - 1);
			assert_false(seen[n]);
			seen[n] = true;
			r->cookie = entry.cookie;
			names += 12 + strlen(entry.name) + xdr_pad(strlen(entry.name));
			here++;
		}
		assert_true((size_t)(e->res.p - start) <= r->maxcount);
		if (r->dircount && here > 1)
			assert_true(names <= r->dircount);
		assert_true(here || eof);
		*entries += here;
		pieces++;
		end(e);
	}
	return pieces;
}

static void make_many(void)
{
	char name[16];

	make_dir("data", "many");
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		make_file("data/many", name, "", 0);
	}
}

static void readdir_in_pieces(void **state)
{
	static const struct {
		uint32_t dircount, maxcount;
		unsigned least_pieces;
	} cases[] = {
		{ 0, 1 << 20, 1 }, { 0, 4096, 3 },
		{ 0, 60, MANY },   /* one entry has about 40 bytes */
		{ 100, 4096, 40 }, /* names of 16 bytes and cookies */
		{ 1, 4096, MANY }, /* a hint: one entry always comes */
	};

	make_many();
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct readdir r = { .dircount = cases[i].dircount, .maxcount = cases[i].maxcount };
		bool seen[MANY] = { false };
		unsigned entries;

		assert_true(list_all("data/many", &r, seen, &entries) >= cases[i].least_pieces);
		assert_int_equal(entries, MANY);
	}
}

static void readdir_with_attributes(void **state)
{
	struct readdir r = { .maxcount = 8192 };
	struct exchange *e;
	struct entry entry;
	const uint8_t *p;
	bool eof;

	make_dir("data", "d");
	make_file("data/d", "one", "12345", 5);
	attr_add(&r.wanted, FATTR4_SIZE);
	attr_add(&r.wanted, FATTR4_FILEHANDLE);
	attr_add(&r.wanted, FATTR4_SPACE_TOTAL);
	attr_add(&r.wanted, FATTR4_MOUNTED_ON_FILEID);
	e = begin(0);
	go(e, "data/d");
	ask_readdir(e, &r);
	send_expect(e, NFS4_OK);
	went(e, "data/d");
	ok(e, OP_READDIR);
	assert_true(xdr_get_fixed(&e->res, &p, NFS4_VERIFIER_SIZE));
	assert_memory_not_equal(p, zero_verifier, NFS4_VERIFIER_SIZE);
	assert_true(next_entry(e, &entry, &eof));
	assert_string_equal(entry.name, "one");
	assert_memory_equal(&entry.attrs.mask, &r.wanted, sizeof(r.wanted));

	struct nfs_fh fh = fh_of("data/d/one");
	struct xdr_in x;
	uint64_t v;
	uint32_t len;

	xdr_in_init(&x, entry.attrs.values.p, entry.attrs.values.len);
	assert_true(xdr_get_u64(&x, &v));
	assert_int_equal(v, 5);
	assert_true(xdr_get_opaque(&x, NFS4_FHSIZE, &p, &len));
	assert_int_equal(len, fh.len);
	assert_memory_equal(p, fh.data, fh.len);
	assert_true(xdr_get_u64(&x, &v));
	assert_int_equal(v, attr_u64("data/d/one", FATTR4_SPACE_TOTAL));
	assert_true(xdr_get_u64(&x, &v));
	assert_int_equal(v, attr_u64("data/d/one", FATTR4_FILEID));
	assert_int_equal(xdr_in_left(&x), 0);
	assert_false(next_entry(e, &entry, &eof));
	assert_true(eof);
	end(e);
}

static void readdir_limits(void **state)
{
	struct readdir r = { .maxcount = 0 };

	make_dir("data", "empty");
	make_dir("data", "d");
	make_file("data/d", "a-file-with-a-name-of-some-length", "", 0);
	make_file("data", "file", "", 0);
	expect_readdir("data/empty", &r, NFS4ERR_TOOSMALL);
	r.maxcount = 15;
	expect_readdir("data/empty", &r, NFS4ERR_TOOSMALL);
	r.maxcount = 16;
	expect_readdir("data/empty", &r, NFS4_OK);
	expect_readdir("data/d", &r, NFS4ERR_TOOSMALL);
	/* 16 + (4 + 8 + 4 + 36 for cookie and name, and 8 for no attributes) */
	r.maxcount = 16 + 60 - 1;
	expect_readdir("data/d", &r, NFS4ERR_TOOSMALL);
	r.maxcount = 16 + 60;
	expect_readdir("data/d", &r, NFS4_OK);
	expect_readdir("data/file", &r, NFS4ERR_NOTDIR);
	attr_add(&r.wanted, FATTR4_TIME_MODIFY_SET);
	expect_readdir("data/d", &r, NFS4ERR_INVAL);
}

static void readdir_cookies(void **state)
{
	struct readdir r = { .maxcount = 60 };
	bool seen[MANY] = { false };
	unsigned entries;

	make_dir("data", "d");
	make_file("data/d", "n1", "", 0);
	make_file("data/d", "n2", "", 0);
	for (r.cookie = 1; r.cookie <= 2; r.cookie++)
		expect_readdir("data/d", &r, NFS4ERR_BAD_COOKIE);
	r.cookie = 0;
	/* With cookie 0 the verifier says nothing. */
	memset(r.verifier, 'v', NFS4_VERIFIER_SIZE);
	list_all("data/d", &r, seen, &entries);
	assert_int_equal(entries, 2);
	/* r has the last cookie and our verifier now. */
	expect_readdir("data/d", &r, NFS4_OK);
	r.verifier[0] ^= 1;
	expect_readdir("data/d", &r, NFS4ERR_NOT_SAME);
	memset(r.verifier, 0, NFS4_VERIFIER_SIZE);
	expect_readdir("data/d", &r, NFS4_OK);
}

/* Walks `path` for the entry `name`; its mounted_on_fileid, and fileid unless that is NULL. */
static bool find_entry(const char *path, const char *name, uint64_t *fileid, uint64_t *mounted_on)
{
	struct readdir r = { .maxcount = 8192 };
	struct exchange *e = begin(0);
	struct entry entry;
	const uint8_t *p;
	bool eof, found = false;

	if (fileid)
		attr_add(&r.wanted, FATTR4_FILEID);
	attr_add(&r.wanted, FATTR4_MOUNTED_ON_FILEID);
	go(e, path);
	ask_readdir(e, &r);
	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, OP_READDIR);
	assert_true(xdr_get_fixed(&e->res, &p, NFS4_VERIFIER_SIZE));
	while (next_entry(e, &entry, &eof)) {
		struct xdr_in x;

		if (strcmp(entry.name, name) != 0)
			continue;
		found = true;
		xdr_in_init(&x, entry.attrs.values.p, entry.attrs.values.len);
		if (fileid)
			assert_true(xdr_get_u64(&x, fileid));
		assert_true(xdr_get_u64(&x, mounted_on));
	}
	assert_true(eof);
	end(e);
	return found;
}

static void readdir_shows_what_covers(void **state)
{
	static const char *const covered[][2] = { { "", "data" }, { "data/inner", "ro" } };
	static const char *const roots[] = { "data", "data/inner/ro" };
	uint64_t fileid, mounted_on;

	for (unsigned i = 0; i < ARRAY_SIZE(covered); i++) {
		assert_true(find_entry(covered[i][0], covered[i][1], &fileid, &mounted_on));
		assert_int_equal(fileid, attr_u64(roots[i], FATTR4_FILEID));
		assert_int_equal(mounted_on, attr_u64(roots[i], FATTR4_MOUNTED_ON_FILEID));
		/* Without attributes that need a look at the object. */
		mounted_on = 0;
		assert_true(find_entry(covered[i][0], covered[i][1], NULL, &mounted_on));
		assert_int_equal(mounted_on, attr_u64(roots[i], FATTR4_MOUNTED_ON_FILEID));
	}
	assert_false(find_entry("", "secret", &fileid, &mounted_on));
	assert_false(find_entry("", "secret", NULL, &mounted_on));
}

static void readdir_needs_read_permission(void **state)
{
	struct readdir r = { .maxcount = 4096 };

	make_dir("data", "d");
	set_mode("data/d", 0300);
	expect_readdir("data/d", &r, NFS4ERR_ACCESS);
}

/* ---- SECINFO ---- */

static void got_auth_sys(struct exchange *e)
{
	assert_int_equal(get_u32(e), 1);
	assert_int_equal(get_u32(e), RPC_AUTH_SYS);
}

static void secinfo(void **state)
{
	struct exchange *e = begin(0);

	make_file("data", "file", "", 0);
	go(e, "data");
	ask_name(e, OP_SECINFO, "file");
	ask_attr(e, FATTR4_TYPE);
	send_expect(e, NFS4_OK);
	went(e, "data");
	ok(e, OP_SECINFO);
	got_auth_sys(e);
	assert_int_equal(got_u32(e), NF4DIR);
	end(e);
	expect_name_op("data", OP_SECINFO, "none", NFS4ERR_NOENT);
	expect_name_op("data", OP_SECINFO, "", NFS4ERR_INVAL);
	expect_name_op("data/file", OP_SECINFO, "x", NFS4ERR_NOTDIR);
}

static void secinfo_consumes_the_filehandle(void **state)
{
	struct exchange *e = begin(1);

	make_file("data", "file", "", 0);
	go(e, "data");
	ask_name(e, OP_SECINFO, "file");
	ask(e, OP_GETFH);
	send_expect(e, NFS4ERR_NOFILEHANDLE);
	went(e, "data");
	ok(e, OP_SECINFO);
	got_auth_sys(e);
	result(e, OP_GETFH, NFS4ERR_NOFILEHANDLE);
	end(e);
}

static void expect_secinfo_no_name(const char *path, uint32_t style, enum nfsstat4 status)
{
	struct exchange *e = begin(1);

	go(e, path);
	ask(e, OP_SECINFO_NO_NAME);
	xdr_put_u32(&e->req, style);
	send_expect(e, status);
	went(e, path);
	result(e, OP_SECINFO_NO_NAME, status);
	if (status == NFS4_OK)
		got_auth_sys(e);
	end(e);
}

static void secinfo_no_name(void **state)
{
	make_file("data", "file", "", 0);
	expect_secinfo_no_name("data", SECINFO_STYLE4_CURRENT_FH, NFS4_OK);
	expect_secinfo_no_name("data/file", SECINFO_STYLE4_CURRENT_FH, NFS4_OK);
	expect_secinfo_no_name("data/inner/ro", SECINFO_STYLE4_PARENT, NFS4_OK);
	expect_secinfo_no_name("", SECINFO_STYLE4_PARENT, NFS4ERR_NOENT);
	expect_secinfo_no_name("data/file", SECINFO_STYLE4_PARENT, NFS4ERR_NOTDIR);
	expect_secinfo_no_name("data", 2, NFS4ERR_BADXDR);
}

/* ---- 4.2 ---- */

#define BLOCK 65536u /* surely a multiple of what memory's holes are made of */

/* A file of a block of data, a hole of a block, and a block of data. */
static void make_sparse(const char *dir, const char *name)
{
	static uint8_t data[BLOCK];
	char path[64];
	uint64_t size = htobe64(3 * BLOCK);

	memset(data, 'd', sizeof(data));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	make_file(dir, name, data, sizeof(data));
	set_attr(path, FATTR4_SIZE, &size, 8, NFS4_OK);
	write_block(path, 2 * BLOCK, data, sizeof(data));
}

static void expect_seek(const char *path, uint64_t offset, uint32_t what, enum nfsstat4 status,
			bool eof, uint64_t found)
{
	struct exchange *e = begin(2);

	go(e, path);
	ask(e, OP_SEEK);
	put_anonymous(e);
	xdr_put_u64(&e->req, offset);
	xdr_put_u32(&e->req, what);
	send_expect(e, status);
	went(e, path);
	result(e, OP_SEEK, status);
	if (status == NFS4_OK) {
		assert_int_equal(get_u32(e), eof);
		assert_int_equal(get_u64(e), found);
	}
	end(e);
}

static void seek(void **state)
{
	const uint32_t data = NFS4_CONTENT_DATA, hole = NFS4_CONTENT_HOLE;
	uint64_t size = htobe64(4 * BLOCK);

	make_sparse("data", "sparse");
	expect_seek("data/sparse", 0, data, NFS4_OK, false, 0);
	expect_seek("data/sparse", 0, hole, NFS4_OK, false, BLOCK);
	expect_seek("data/sparse", BLOCK, data, NFS4_OK, false, 2 * BLOCK);
	expect_seek("data/sparse", BLOCK + 5, hole, NFS4_OK, false, BLOCK + 5);
	expect_seek("data/sparse", 2 * BLOCK, hole, NFS4_OK, true, 3 * BLOCK);
	expect_seek("data/sparse", 3 * BLOCK, hole, NFS4ERR_NXIO, false, 0);
	expect_seek("data/sparse", 3 * BLOCK, data, NFS4ERR_NXIO, false, 0);
	expect_seek("data/sparse", NFS4_UINT64_MAX, data, NFS4ERR_NXIO, false, 0);
	expect_seek("data/sparse", 0, 2, NFS4ERR_UNION_NOTSUPP, false, 0);
	/* No data behind the offset: the end of the file, and no error. */
	set_attr("data/sparse", FATTR4_SIZE, &size, 8, NFS4_OK);
	expect_seek("data/sparse", 3 * BLOCK, data, NFS4_OK, true, 4 * BLOCK);
	expect_seek("data", 0, data, NFS4ERR_ISDIR, false, 0);
}

static void expect_range_op(const char *path, uint32_t opnum, uint64_t offset, uint64_t len,
			    enum nfsstat4 status)
{
	struct exchange *e = begin(2);

	go(e, path);
	ask(e, opnum);
	put_anonymous(e);
	xdr_put_u64(&e->req, offset);
	xdr_put_u64(&e->req, len);
	send_expect(e, status);
	went(e, path);
	result(e, opnum, status);
	end(e);
}

static void allocate(void **state)
{
	make_file("data", "file", "12345", 5);
	make_fifo("data/inner/ro", "fifo");
	expect_range_op("data/file", OP_ALLOCATE, 0, 100000, NFS4_OK);
	assert_int_equal(attr_u64("data/file", FATTR4_SIZE), 100000);
	expect_range_op("data/file", OP_ALLOCATE, 0, 0, NFS4ERR_INVAL);
	expect_range_op("data/file", OP_ALLOCATE, INT64_MAX, 1, NFS4ERR_FBIG);
	expect_range_op("data/file", OP_ALLOCATE, 1, NFS4_UINT64_MAX, NFS4ERR_FBIG);
	expect_range_op("data", OP_ALLOCATE, 0, 1, NFS4ERR_WRONG_TYPE);
	expect_range_op("data/inner/ro/fifo", OP_DEALLOCATE, 0, 1, NFS4ERR_WRONG_TYPE);
}

static void deallocate(void **state)
{
	static uint8_t data[3 * BLOCK];

	memset(data, 'd', sizeof(data));
	make_file("data", "file", data, sizeof(data));
	expect_range_op("data/file", OP_DEALLOCATE, BLOCK, BLOCK, NFS4_OK);
	assert_int_equal(attr_u64("data/file", FATTR4_SIZE), 3 * BLOCK);
	expect_seek("data/file", 0, NFS4_CONTENT_HOLE, NFS4_OK, false, BLOCK);
	expect_seek("data/file", BLOCK, NFS4_CONTENT_DATA, NFS4_OK, false, 2 * BLOCK);
}

/* READ_PLUS's contents as text: "d<offset>+<len>", "h<offset>+<len>", "eof". */
static void expect_read_plus(const char *path, uint64_t offset, uint32_t count,
			     const char *expected)
{
	struct exchange *e = begin(2);
	char text[256] = "";
	uint32_t contents;
	bool eof;

	go(e, path);
	ask(e, OP_READ_PLUS);
	put_anonymous(e);
	xdr_put_u64(&e->req, offset);
	xdr_put_u32(&e->req, count);
	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, OP_READ_PLUS);
	assert_true(xdr_get_bool(&e->res, &eof));
	contents = get_u32(e);
	for (uint32_t i = 0; i < contents; i++) {
		bool hole = get_u32(e) == NFS4_CONTENT_HOLE;
		unsigned long long at = get_u64(e), n;
		const uint8_t *p;
		uint32_t len;
		size_t used = strlen(text);

		if (hole) {
			n = get_u64(e);
		} else {
			assert_true(xdr_get_opaque(&e->res, 1 << 20, &p, &len));
			for (uint32_t k = 0; k < len; k++)
				assert_int_equal(p[k], 'd');
			n = len;
		}
		snprintf(text + used, sizeof(text) - used, "%c%llu+%llu ", hole ? 'h' : 'd', at, n);
	}
	if (eof)
		strcat(text, "eof");
	end(e);
	assert_string_equal(text, expected);
}

static void read_plus(void **state)
{
	make_sparse("data", "sparse");
	make_file("data", "empty", "", 0);
	make_file("data", "short", "ddd", 3);
	expect_read_plus("data/sparse", 0, 1 << 20, "d0+65536 h65536+65536 d131072+65536 eof");
	expect_read_plus("data/sparse", 0, 100, "d0+100 ");
	expect_read_plus("data/sparse", 65530, 10, "d65530+6 h65536+4 ");
	expect_read_plus("data/sparse", 65536, 65536, "h65536+65536 ");
	expect_read_plus("data/sparse", 131072, 65536, "d131072+65536 eof");
	expect_read_plus("data/sparse", 3 * BLOCK, 10, "eof");
	expect_read_plus("data/sparse", NFS4_UINT64_MAX, 10, "eof");
	expect_read_plus("data/sparse", 0, 0, "");
	expect_read_plus("data/empty", 0, 10, "eof");
	expect_read_plus("data/short", 1, 10, "d1+2 eof");
}

static void ask_copy(struct exchange *e, uint64_t from, uint64_t to, uint64_t count)
{
	ask(e, OP_COPY);
	put_anonymous(e);
	put_anonymous(e);
	xdr_put_u64(&e->req, from);
	xdr_put_u64(&e->req, to);
	xdr_put_u64(&e->req, count);
	xdr_put_bool(&e->req, true);
	xdr_put_bool(&e->req, true);
	xdr_put_u32(&e->req, 0);
}

static void expect_copy(const char *source, const char *target, const uint64_t range[3],
			enum nfsstat4 status, uint64_t copied)
{
	struct exchange *e = begin(2);
	const uint8_t *p;

	go(e, source);
	ask(e, OP_SAVEFH);
	go(e, target);
	ask_copy(e, range[0], range[1], range[2]);
	send_expect(e, status);
	went(e, source);
	ok(e, OP_SAVEFH);
	went(e, target);
	result(e, OP_COPY, status);
	if (status == NFS4_OK) {
		assert_int_equal(get_u32(e), 0);
		assert_int_equal(get_u64(e), copied);
		assert_int_equal(get_u32(e), UNSTABLE4);
		assert_true(xdr_get_fixed(&e->res, &p, NFS4_VERIFIER_SIZE));
		assert_int_equal(get_u32(e), 1);
		assert_int_equal(get_u32(e), 1);
	}
	end(e);
}

static void copy(void **state)
{
	make_file("data", "from", "dddddddd", 8);
	make_file("data", "to", "", 0);
	expect_copy("data/from", "data/to", (uint64_t[]){ 0, 0, 0 }, NFS4_OK, 8);
	assert_int_equal(attr_u64("data/to", FATTR4_SIZE), 8);
	expect_copy("data/from", "data/to", (uint64_t[]){ 6, 8, 2 }, NFS4_OK, 2);
	assert_int_equal(attr_u64("data/to", FATTR4_SIZE), 10);
	expect_read_plus("data/to", 0, 100, "d0+10 eof");
	expect_copy("data/from", "data/to", (uint64_t[]){ 8, 0, 0 }, NFS4_OK, 0);
	expect_copy("data/from", "data/to", (uint64_t[]){ 9, 0, 0 }, NFS4ERR_INVAL, 0);
	expect_copy("data/from", "data/to", (uint64_t[]){ 0, 0, 9 }, NFS4ERR_INVAL, 0);
	expect_copy("data/from", "data/to", (uint64_t[]){ 1, 0, NFS4_UINT64_MAX }, NFS4ERR_INVAL,
		    0);
	expect_copy("data/from", "data/to", (uint64_t[]){ 0, INT64_MAX, 8 }, NFS4ERR_FBIG, 0);
	expect_copy("data/from", "data/from", (uint64_t[]){ 0, 0, 1 }, NFS4ERR_INVAL, 0);
	expect_copy("data/from", "data", (uint64_t[]){ 0, 0, 1 }, NFS4ERR_WRONG_TYPE, 0);
	expect_copy("data", "data/to", (uint64_t[]){ 0, 0, 1 }, NFS4ERR_WRONG_TYPE, 0);
}

static void copy_between_servers(void **state)
{
	struct exchange *e = begin(2);

	make_file("data", "from", "d", 1);
	make_file("data", "to", "", 0);
	go(e, "data/from");
	ask(e, OP_SAVEFH);
	go(e, "data/to");
	ask_copy(e, 0, 0, 1);
	xdr_patch_u32(&e->req, e->req.len - 4, 1);
	xdr_put_u32(&e->req, NL4_NAME);
	put_name(e, "elsewhere");
	send_expect(e, NFS4ERR_NOTSUPP);
	e->res.p = e->res.end;
	end(e);
}

static void expect_clone(const char *source, const char *target, const uint64_t range[3],
			 enum nfsstat4 status)
{
	struct exchange *e = begin(2);

	go(e, source);
	ask(e, OP_SAVEFH);
	go(e, target);
	ask(e, OP_CLONE);
	put_anonymous(e);
	put_anonymous(e);
	for (unsigned i = 0; i < 3; i++)
		xdr_put_u64(&e->req, range[i]);
	send_expect(e, status);
	went(e, source);
	ok(e, OP_SAVEFH);
	went(e, target);
	result(e, OP_CLONE, status);
	end(e);
}

static void clone_files(void **state)
{
	make_sparse("data", "from");
	make_file("data", "to", "", 0);
	expect_clone("data/from", "data/to", (uint64_t[]){ 0, 0, 0 }, NFS4_OK);
	assert_int_equal(attr_u64("data/to", FATTR4_SIZE), 3 * BLOCK);
	expect_read_plus("data/to", 2 * BLOCK, 10, "d131072+10 ");
	expect_clone("data/from", "data/to", (uint64_t[]){ BLOCK, 0, 3 * BLOCK }, NFS4ERR_INVAL);
	expect_clone("data/from", "data", (uint64_t[]){ 0, 0, 0 }, NFS4ERR_WRONG_TYPE);
	expect_clone("data/from", "data/from", (uint64_t[]){ 0, 1, 2 * BLOCK }, NFS4ERR_INVAL);
}

static void io_advise(void **state)
{
	struct exchange *e = begin(2);
	struct attr_bitmap hints = { { 1u << 1 } }, answer;
	bool unknown;

	make_file("data", "file", "", 0);
	go(e, "data/file");
	ask(e, OP_IO_ADVISE);
	put_anonymous(e);
	xdr_put_u64(&e->req, 0);
	xdr_put_u64(&e->req, 0);
	xdr_put_bitmap(&e->req, &hints);
	send_expect(e, NFS4_OK);
	went(e, "data/file");
	ok(e, OP_IO_ADVISE);
	assert_true(xdr_get_bitmap(&e->res, &answer, &unknown));
	assert_int_equal(answer.word[0], 1);
	end(e);
}

/* What 4.2 has is unknown to the others. */
static void illegal_in_lower_minor_versions(void **state)
{
	for (uint32_t minor = 0; minor < 2; minor++) {
		struct exchange *e = begin(minor);

		go(e, "data");
		ask(e, OP_SEEK);
		send_expect(e, NFS4ERR_OP_ILLEGAL);
		went(e, "data");
		result(e, OP_ILLEGAL, NFS4ERR_OP_ILLEGAL);
		end(e);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(lookup),
		TEST(lookup_needs_search_permission),
		TEST(lookup_without_filehandle),
		TEST(lookupp),
		TEST(lookupp_of_a_file),
		TEST(exports_have_their_own_fsid),
		TEST(invisible_export),
		TEST(getattr_of_set_only_attribute),
		TEST(setattr),
		TEST(setattr_with_a_bad_stateid),
		TEST(verify_nverify),
		TEST(access_bits_by_type),
		TEST(create_types),
		TEST(create_refusals),
		TEST(mode_with_umask),
		TEST(readlink_text),
		TEST(readlink_of_something_else),
		TEST(remove_names),
		TEST(remove_of_a_covered_directory),
		TEST(rename_names),
		TEST(rename_of_a_covered_directory),
		TEST(rename_without_saved_filehandle),
		TEST(link_names),
		TEST(readdir_in_pieces),
		TEST(readdir_with_attributes),
		TEST(readdir_limits),
		TEST(readdir_cookies),
		TEST(readdir_shows_what_covers),
		TEST(readdir_needs_read_permission),
		TEST(secinfo),
		TEST(secinfo_consumes_the_filehandle),
		TEST(secinfo_no_name),
		TEST(seek),
		TEST(allocate),
		TEST(deallocate),
		TEST(read_plus),
		TEST(copy),
		TEST(copy_between_servers),
		TEST(clone_files),
		TEST(io_advise),
		TEST(illegal_in_lower_minor_versions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

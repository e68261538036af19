/*
 * Attributes (RFC 7530 section 5, RFC 8881 section 5, RFC 7862 section 12): which there are,
 * what they say, setting and comparing them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

static struct bitmap supported(struct client *cl, const struct fh *fh)
{
	struct attrs *a = getattrs(cl, fh, bm_of(FATTR4_SUPPORTED_ATTRS, -1));

	check(bm_has(&a->mask, FATTR4_SUPPORTED_ATTRS));
	return a->a[FATTR4_SUPPORTED_ATTRS].bm;
}

static struct reply *setattr(struct client *cl, const struct fh *fh, const struct attrs *a)
{
	struct compound *q = begin_at(cl, fh);

	add_setattr(q, &SID_ANONYMOUS, a);
	return call(q);
}

static struct attrs *one_num(unsigned attr, uint64_t v)
{
	struct attrs *a = test_alloc(sizeof(*a));

	at_num(a, attr, v);
	return a;
}

/* Every REQUIRED attribute is there (RFC 8881 section 5.6), and none of later versions. */
static void required_attributes(void **state)
{
	static const unsigned required[] = {
		FATTR4_SUPPORTED_ATTRS, FATTR4_TYPE,	   FATTR4_FH_EXPIRE_TYPE,
		FATTR4_CHANGE,		FATTR4_SIZE,	   FATTR4_LINK_SUPPORT,
		FATTR4_SYMLINK_SUPPORT, FATTR4_NAMED_ATTR, FATTR4_FSID,
		FATTR4_UNIQUE_HANDLES,	FATTR4_LEASE_TIME, FATTR4_RDATTR_ERROR,
		FATTR4_FILEHANDLE,
	};
	/* What a Linux file system can supply, and clients depend on. */
	static const unsigned expected[] = {
		FATTR4_CANSETTIME,	  FATTR4_CASE_INSENSITIVE, FATTR4_CASE_PRESERVING,
		FATTR4_CHOWN_RESTRICTED,  FATTR4_FILEID,	   FATTR4_FILES_AVAIL,
		FATTR4_FILES_FREE,	  FATTR4_FILES_TOTAL,	   FATTR4_HOMOGENEOUS,
		FATTR4_MAXFILESIZE,	  FATTR4_MAXLINK,	   FATTR4_MAXNAME,
		FATTR4_MAXREAD,		  FATTR4_MAXWRITE,	   FATTR4_MODE,
		FATTR4_NO_TRUNC,	  FATTR4_NUMLINKS,	   FATTR4_OWNER,
		FATTR4_OWNER_GROUP,	  FATTR4_RAWDEV,	   FATTR4_SPACE_AVAIL,
		FATTR4_SPACE_FREE,	  FATTR4_SPACE_TOTAL,	   FATTR4_SPACE_USED,
		FATTR4_TIME_ACCESS,	  FATTR4_TIME_ACCESS_SET,  FATTR4_TIME_DELTA,
		FATTR4_TIME_METADATA,	  FATTR4_TIME_MODIFY,	   FATTR4_TIME_MODIFY_SET,
		FATTR4_MOUNTED_ON_FILEID, FATTR4_FS_LOCATIONS,
	};
	static const unsigned last_of[] = { FATTR4_MOUNTED_ON_FILEID, FATTR4_FS_CHARSET_CAP,
					    ATTR_MAX - 1 };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct bitmap bm = supported(cl, &dir);

	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++)
		if (!bm_has(&bm, required[i]))
			fail_with("required attribute %u is not supported", required[i]);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		if (!bm_has(&bm, expected[i]))
			fail_with("attribute %u is not supported", expected[i]);
	if (cl->minor > 0)
		check(bm_has(&bm, FATTR4_SUPPATTR_EXCLCREAT));
	if (cl->minor > 1) {
		check(bm_has(&bm, FATTR4_CHANGE_ATTR_TYPE));
		check(bm_has(&bm, FATTR4_MODE_UMASK));
		check(bm_has(&bm, FATTR4_OPEN_ARGUMENTS));
	}
	for (unsigned i = last_of[cl->minor] + 1; i < 96; i++)
		if (bm_has(&bm, i))
			fail_with("attribute %u does not exist in minor version %u", i, cl->minor);
}

/* Every supported attribute, alone and all together, on every type of object. */
static void every_attribute(void **state)
{
	static const uint32_t types[] = {
		NF4REG, NF4DIR, NF4LNK, NF4BLK, NF4CHR, NF4FIFO, NF4SOCK
	};
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct bitmap bm = supported(cl, &dir), readable = { 0 };

	for (unsigned i = 0; i < ATTR_MAX; i++)
		if (bm_has(&bm, i) && i != FATTR4_TIME_ACCESS_SET && i != FATTR4_TIME_MODIFY_SET &&
		    i != FATTR4_MODE_UMASK && i != FATTR4_MODE_SET_MASKED &&
		    i != FATTR4_RETENTEVT_SET && i != FATTR4_RETENTION_SET &&
		    i != FATTR4_TIME_DELEG_ACCESS && i != FATTR4_TIME_DELEG_MODIFY)
			bm_set(&readable, i);
	for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
		char name[8];
		struct attrs *a;
		struct fh fh;

		snprintf(name, sizeof(name), "t%zu", t);
		fh = make(cl, &dir, types[t], name);
		for (unsigned i = 0; i < ATTR_MAX; i++) {
			if (!bm_has(&readable, i))
				continue;
			a = getattrs(cl, &fh, bm_of((int)i, -1));
			if (!bm_has(&a->mask, i))
				fail_with("attribute %u is said to be supported and not returned",
					  i);
			check(a->mask.w[0] + a->mask.w[1] + a->mask.w[2] == 1u << i % 32);
		}
		a = getattrs(cl, &fh, readable);
		check(memcmp(a->mask.w, readable.w, sizeof(a->mask.w)) == 0);
		check_num(a->a[FATTR4_TYPE].num, types[t]);
	}
}

/* Attributes that the server does not know are left out, however high their number. */
static void unknown_attributes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q = begin_at(cl, &dir);
	struct reply *r;

	add_raw(q, OP_GETATTR);
	put_u32(&q->enc, 8);
	put_u32(&q->enc, 1u << FATTR4_TYPE);
	for (int i = 1; i < 8; i++)
		put_u32(&q->enc, i < 3 ? 0 : 0xffffffff);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->attrs->mask.w[0], 1u << FATTR4_TYPE);
	check_num(last(r)->attrs->a[FATTR4_TYPE].num, NF4DIR);
	/* Nothing asked for. */
	q = begin_at(cl, &dir);
	add_getattr(q, (struct bitmap){ 0 });
	r = call(q);
	expect(r, NFS4_OK);
	check(!last(r)->attrs->mask.w[0] && !last(r)->attrs->mask.w[1]);
}

/* Attributes that can only be set cannot be read (section 5.5). */
static void write_only_attributes(void **state)
{
	static const unsigned attrs[] = { FATTR4_TIME_ACCESS_SET, FATTR4_TIME_MODIFY_SET };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < sizeof(attrs) / sizeof(attrs[0]); i++) {
		struct compound *q = begin_at(cl, &dir);

		add_getattr(q, bm_of((int)attrs[i], -1));
		expect(call(q), NFS4ERR_INVAL);
		q = begin_at(cl, &dir);
		add_readdir(q, 0, NULL, 4096, 4096, bm_of((int)attrs[i], -1));
		expect(call(q), NFS4ERR_INVAL);
	}
}

/* The values agree with what the file system says. */
static void values(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl), fh;
	struct compound *q;
	struct statvfs vfs;
	struct reply *r;
	struct attrs *a;
	char path[128], name[32];
	struct stat st;

	wire_need_disk();
	snprintf(name, sizeof(name), "values%u", cl->minor);
	snprintf(path, sizeof(path), "%s/%s", wire_server_dir(), name);
	fh = make_file(cl, &root, name, "0123456789", 10);
	a = getattrs(cl, &fh,
		     bm_of(FATTR4_SIZE, FATTR4_FILEID, FATTR4_NUMLINKS, FATTR4_MODE, FATTR4_OWNER,
			   FATTR4_OWNER_GROUP, FATTR4_TIME_MODIFY, FATTR4_TIME_METADATA,
			   FATTR4_SPACE_USED, FATTR4_SPACE_TOTAL, FATTR4_FILES_TOTAL,
			   FATTR4_MOUNTED_ON_FILEID, FATTR4_MAXREAD, FATTR4_MAXWRITE,
			   FATTR4_FILEHANDLE, FATTR4_TIME_DELTA, FATTR4_LINK_SUPPORT,
			   FATTR4_SYMLINK_SUPPORT, FATTR4_UNIQUE_HANDLES, FATTR4_NO_TRUNC,
			   FATTR4_CASE_PRESERVING, FATTR4_CASE_INSENSITIVE, FATTR4_CANSETTIME,
			   FATTR4_FS_LOCATIONS, FATTR4_MAXFILESIZE, FATTR4_MAXLINK, -1));
	check(stat(path, &st) == 0 && statvfs(path, &vfs) == 0);
	check_num(a->a[FATTR4_SIZE].num, 10);
	check_num(a->a[FATTR4_FILEID].num, st.st_ino);
	check_num(a->a[FATTR4_MOUNTED_ON_FILEID].num, st.st_ino);
	check_num(a->a[FATTR4_NUMLINKS].num, st.st_nlink);
	check_num(a->a[FATTR4_MODE].num, st.st_mode & 07777);
	check_num(a->a[FATTR4_TIME_MODIFY].num, (uint64_t)st.st_mtim.tv_sec);
	check_num(a->a[FATTR4_TIME_MODIFY].num2, (uint64_t)st.st_mtim.tv_nsec);
	check_num(a->a[FATTR4_TIME_METADATA].num, (uint64_t)st.st_ctim.tv_sec);
	check_num(a->a[FATTR4_SPACE_USED].num, (uint64_t)st.st_blocks * 512);
	check_num(a->a[FATTR4_SPACE_TOTAL].num, vfs.f_blocks * vfs.f_frsize);
	check_num(a->a[FATTR4_FILES_TOTAL].num, vfs.f_files);
	check(a->a[FATTR4_OWNER].str_len > 0 && a->a[FATTR4_OWNER_GROUP].str_len > 0);
	check(a->a[FATTR4_MAXREAD].num >= 1 << 20 && a->a[FATTR4_MAXWRITE].num >= 1 << 20);
	check(a->a[FATTR4_MAXFILESIZE].num > UINT32_MAX && a->a[FATTR4_MAXLINK].num > 1);
	check(a->a[FATTR4_TIME_DELTA].num == 0 && a->a[FATTR4_TIME_DELTA].num2 > 0);
	check_num(a->a[FATTR4_LINK_SUPPORT].num, 1);
	check_num(a->a[FATTR4_SYMLINK_SUPPORT].num, 1);
	check_num(a->a[FATTR4_UNIQUE_HANDLES].num, 1);
	check_num(a->a[FATTR4_NO_TRUNC].num, 1);
	check_num(a->a[FATTR4_CASE_PRESERVING].num, 1);
	check_num(a->a[FATTR4_CASE_INSENSITIVE].num, 0);
	check_num(a->a[FATTR4_CANSETTIME].num, 1);
	check_num(a->a[FATTR4_FS_LOCATIONS].num, 0);
	/* The filehandle attribute and GETFH are the same. */
	q = begin_at(cl, &fh);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(a->a[FATTR4_FILEHANDLE].str_len, last(r)->fh.len);
	check(memcmp(a->a[FATTR4_FILEHANDLE].str, last(r)->fh.data, last(r)->fh.len) == 0);
	expect_status(remove_name(cl, &root, name), NFS4_OK);
}

/* One file system: the same fsid everywhere, file IDs differ. */
static void fsid_and_fileid(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make(cl, &dir, NF4REG, "f"), root = root_fh(cl);
	struct bitmap bm = bm_of(FATTR4_FSID, FATTR4_FILEID, FATTR4_HOMOGENEOUS, -1);
	struct attrs *a = getattrs(cl, &dir, bm), *b = getattrs(cl, &f, bm),
		     *c = getattrs(cl, &root, bm);

	check_num(a->a[FATTR4_FSID].num, b->a[FATTR4_FSID].num);
	check_num(a->a[FATTR4_FSID].num2, b->a[FATTR4_FSID].num2);
	check_num(a->a[FATTR4_FSID].num, c->a[FATTR4_FSID].num);
	check(a->a[FATTR4_FILEID].num != b->a[FATTR4_FILEID].num);
	check(a->a[FATTR4_FILEID].num != c->a[FATTR4_FILEID].num);
}

/* ---- SETATTR (RFC 7530 section 16.32) ---- */

static void set_everything(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "0123456789", 10);
	struct attrs *a = test_alloc(sizeof(*a)), *got;
	struct reply *r;

	at_num(a, FATTR4_SIZE, 4);
	at_num(a, FATTR4_MODE, 0604);
	at_str(a, FATTR4_OWNER, "2001");
	at_str(a, FATTR4_OWNER_GROUP, "3001");
	at_time(a, FATTR4_TIME_ACCESS_SET, 1234567890, 1);
	at_time(a, FATTR4_TIME_MODIFY_SET, -1, 999999999);
	r = setattr(cl, &f, a);
	expect(r, NFS4_OK);
	for (unsigned i = 0; i < ATTR_MAX; i++)
		check(bm_has(&last(r)->attrset, i) == bm_has(&a->mask, i));
	got = getattrs(cl, &f,
		       bm_of(FATTR4_SIZE, FATTR4_MODE, FATTR4_OWNER, FATTR4_OWNER_GROUP,
			     FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, -1));
	check_num(got->a[FATTR4_SIZE].num, 4);
	check_num(got->a[FATTR4_MODE].num, 0604);
	check(strncmp(got->a[FATTR4_OWNER].str, "2001", 4) == 0);
	check(strncmp(got->a[FATTR4_OWNER_GROUP].str, "3001", 4) == 0);
	check_num(got->a[FATTR4_TIME_ACCESS].num, 1234567890);
	check_num(got->a[FATTR4_TIME_ACCESS].num2, 1);
	check_num(got->a[FATTR4_TIME_MODIFY].num, (uint64_t)-1);
	check_num(got->a[FATTR4_TIME_MODIFY].num2, 999999999);
}

/* The server's time; and nothing at all. */
static void set_times_now(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	struct attrs *a = test_alloc(sizeof(*a)), *got;
	struct reply *r;

	at_time(a, FATTR4_TIME_MODIFY_SET, 1000, 0);
	at_time(a, FATTR4_TIME_ACCESS_SET, 1000, 0);
	expect(setattr(cl, &f, a), NFS4_OK);
	at_time_now(a, FATTR4_TIME_MODIFY_SET);
	at_time_now(a, FATTR4_TIME_ACCESS_SET);
	expect(setattr(cl, &f, a), NFS4_OK);
	got = getattrs(cl, &f, bm_of(FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, -1));
	check(got->a[FATTR4_TIME_MODIFY].num + 60 > (uint64_t)time(NULL));
	check(got->a[FATTR4_TIME_ACCESS].num + 60 > (uint64_t)time(NULL));
	r = setattr(cl, &f, test_alloc(sizeof(*a)));
	expect(r, NFS4_OK);
	check(!last(r)->attrset.w[0] && !last(r)->attrset.w[1]);
}

/* What cannot be set, or not to that value. */
static void set_refused(void **state)
{
	static const unsigned read_only[] = { FATTR4_TYPE,	   FATTR4_CHANGE,
					      FATTR4_FILEID,	   FATTR4_LEASE_TIME,
					      FATTR4_NUMLINKS,	   FATTR4_MAXREAD,
					      FATTR4_LINK_SUPPORT, FATTR4_RDATTR_ERROR };
	static const char *const owners[] = { "no such user@nowhere.example",
					      "99999999999999999999", "@", "12x" };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	struct attrs *a;

	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		expect(setattr(cl, &f, one_num(read_only[i], 1)), NFS4ERR_INVAL);
	a = test_alloc(sizeof(*a));
	at_str(a, FATTR4_MIMETYPE, "text/plain");
	expect(setattr(cl, &f, a), NFS4ERR_ATTRNOTSUPP);
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		a = test_alloc(sizeof(*a));
		at_str(a, FATTR4_OWNER, owners[i]);
		expect_one_of(setattr(cl, &f, a)->status, NFS4ERR_BADOWNER, NFS4ERR_INVAL);
		a = test_alloc(sizeof(*a));
		at_str(a, FATTR4_OWNER_GROUP, owners[i]);
		expect_one_of(setattr(cl, &f, a)->status, NFS4ERR_BADOWNER, NFS4ERR_INVAL);
	}
	a = test_alloc(sizeof(*a));
	at_str(a, FATTR4_OWNER, "");
	expect(setattr(cl, &f, a), NFS4ERR_INVAL);
	a = test_alloc(sizeof(*a));
	at_str(a, FATTR4_OWNER_GROUP, "");
	expect(setattr(cl, &f, a), NFS4ERR_INVAL);
	a = test_alloc(sizeof(*a));
	at_time(a, FATTR4_TIME_MODIFY_SET, 1, 1000000000);
	expect(setattr(cl, &f, a), NFS4ERR_INVAL);
	expect(setattr(cl, &f, one_num(FATTR4_MODE, 010000)), NFS4ERR_INVAL);
	/* Beyond what any file can be. */
	expect_one_of(setattr(cl, &f, one_num(FATTR4_SIZE, UINT64_MAX))->status, NFS4ERR_FBIG,
		      NFS4ERR_INVAL);
	expect_one_of(setattr(cl, &f, one_num(FATTR4_SIZE, 1ull << 63))->status, NFS4ERR_FBIG,
		      NFS4ERR_INVAL);
	/* A number that no minor version has. */
	{
		struct compound *q = begin_at(cl, &f);

		add_raw(q, OP_SETATTR);
		put_u32(&q->enc, 0);
		put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
		put_u32(&q->enc, 3);
		put_u32(&q->enc, 0);
		put_u32(&q->enc, 0);
		put_u32(&q->enc, 1u << 31);
		put_opaque(&q->enc, "\0\0\0", 4);
		expect(call(q), NFS4ERR_ATTRNOTSUPP);
	}
	check_num(getattr_num(cl, &f, FATTR4_SIZE), 1);
}

/* Truncation and growth; growth reads as zeros. */
static void set_size(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "0123456789", 10);
	struct compound *q;
	struct reply *r;

	expect(setattr(cl, &f, one_num(FATTR4_SIZE, 3)), NFS4_OK);
	expect(setattr(cl, &f, one_num(FATTR4_SIZE, 6)), NFS4_OK);
	q = begin_at(cl, &f);
	add_read(q, &SID_ANONYMOUS, 0, 100);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->len, 6);
	check(memcmp(last(r)->data, "012\0\0\0", 6) == 0);
	expect(setattr(cl, &f, one_num(FATTR4_SIZE, 1ull << 40)), NFS4_OK);
	check_num(getattr_num(cl, &f, FATTR4_SIZE), 1ull << 40);
	check(getattr_num(cl, &f, FATTR4_SPACE_USED) < 1 << 20);
	expect(setattr(cl, &f, one_num(FATTR4_SIZE, 0)), NFS4_OK);
	check_num(getattr_num(cl, &f, FATTR4_SIZE), 0);
}

/* SETATTR of the size needs an open for writing, if it comes with a stateid. */
static void set_size_with_stateid(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file r_only, rw;
	struct sid bad;
	struct compound *q;

	rw = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &r_only),
		      NFS4_OK);
	q = begin_at(cl, &rw.fh);
	add_setattr(q, &rw.sid, one_num(FATTR4_SIZE, 5));
	expect(call(q), NFS4_OK);
	q = begin_at(cl, &rw.fh);
	add_setattr(q, &r_only.sid, one_num(FATTR4_SIZE, 6));
	expect(call(q), NFS4ERR_OPENMODE);
	bad = rw.sid;
	bad.other[10] ^= 0x3c;
	q = begin_at(cl, &rw.fh);
	add_setattr(q, &bad, one_num(FATTR4_SIZE, 6));
	expect(call(q), NFS4ERR_BAD_STATEID);
	check_num(getattr_num(cl, &rw.fh, FATTR4_SIZE), 5);
}

/* ---- the change attribute (RFC 7530 section 5.8.1.4) ---- */

/* It never repeats, however fast the changes are. */
static void change_attribute(void **state)
{
	enum { N = 300 };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make(cl, &dir, NF4REG, "f");
	uint64_t *seen = test_alloc((2 * N + 1) * sizeof(*seen));
	int n = 0;

	seen[n++] = getattr_num(cl, &f, FATTR4_CHANGE);
	for (int i = 0; i < N; i++) {
		struct compound *q = begin_at(cl, &f);
		struct reply *r;

		if (i % 2)
			add_write(q, &SID_ANONYMOUS, (uint64_t)i, UNSTABLE4, "x", 1);
		else
			add_setattr(q, &SID_ANONYMOUS, one_num(FATTR4_MODE, 0600 + (i & 7)));
		add_getattr(q, bm_of(FATTR4_CHANGE, -1));
		r = call(q);
		expect(r, NFS4_OK);
		seen[n++] = last(r)->attrs->a[FATTR4_CHANGE].num;
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < i; j++)
			if (seen[i] == seen[j])
				fail_with("change %d of the file has the same value as change %d",
					  i, j);
}

/* The same for directories. */
static void change_of_directories(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	uint64_t before = getattr_num(cl, &dir, FATTR4_CHANGE);

	for (int i = 0; i < 100; i++) {
		struct compound *q = begin_at(cl, &dir);
		struct reply *r;
		uint64_t after;

		if (i % 2)
			add_remove(q, "d");
		else
			add_create(q, NF4DIR, "d", NULL, 0, 0, NULL);
		add_putfh(q, &dir);
		add_getattr(q, bm_of(FATTR4_CHANGE, -1));
		r = call(q);
		expect(r, NFS4_OK);
		after = last(r)->attrs->a[FATTR4_CHANGE].num;
		check(after != before);
		before = after;
	}
}

/*
 * Waits until the last change is older than any clock's granularity: before, every look may
 * find another value (nobody can tell whether there was one more change).
 */
static void settle(void)
{
	struct timespec tick = { .tv_nsec = 50 * 1000 * 1000 };

	nanosleep(&tick, NULL);
}

/* It stays when nothing changes. */
static void change_is_stable(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	uint64_t first;

	settle();
	first = getattr_num(cl, &f, FATTR4_CHANGE);
	for (int i = 0; i < 20; i++)
		check_num(getattr_num(cl, &f, FATTR4_CHANGE), first);
}

/* ---- VERIFY and NVERIFY (RFC 7530 sections 16.35, 16.15) ---- */

static uint32_t verify(struct client *cl, const struct fh *fh, const struct attrs *a, bool negated)
{
	struct compound *q = begin_at(cl, fh);

	if (negated)
		add_nverify(q, a);
	else
		add_verify(q, a);
	add_getfh(q);
	return call(q)->status;
}

static void verify_rules(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "0123456789", 10);
	struct attrs *a = test_alloc(sizeof(*a)), *now;

	at_num(a, FATTR4_SIZE, 10);
	at_num(a, FATTR4_TYPE, NF4REG);
	expect_status(verify(cl, &f, a, false), NFS4_OK);
	expect_status(verify(cl, &f, a, true), NFS4ERR_SAME);
	at_num(a, FATTR4_SIZE, 11);
	expect_status(verify(cl, &f, a, false), NFS4ERR_NOT_SAME);
	expect_status(verify(cl, &f, a, true), NFS4_OK);
	/* What GETATTR returned is the same. */
	settle();
	now = getattrs(cl, &f,
		       bm_of(FATTR4_TYPE, FATTR4_CHANGE, FATTR4_SIZE, FATTR4_FSID, FATTR4_FILEID,
			     FATTR4_MODE, FATTR4_OWNER, FATTR4_OWNER_GROUP, FATTR4_TIME_MODIFY,
			     FATTR4_NUMLINKS, FATTR4_FILEHANDLE, -1));
	expect_status(verify(cl, &f, now, false), NFS4_OK);
	expect_status(verify(cl, &f, now, true), NFS4ERR_SAME);
	/* No attributes: equal. */
	expect_status(verify(cl, &f, test_alloc(sizeof(*a)), false), NFS4_OK);
	expect_status(verify(cl, &f, test_alloc(sizeof(*a)), true), NFS4ERR_SAME);
}

static void verify_refused(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct attrs *a = test_alloc(sizeof(*a));

	at_str(a, FATTR4_MIMETYPE, "text/plain");
	expect_status(verify(cl, &dir, a, false), NFS4ERR_ATTRNOTSUPP);
	expect_status(verify(cl, &dir, a, true), NFS4ERR_ATTRNOTSUPP);
	a = test_alloc(sizeof(*a));
	at_time_now(a, FATTR4_TIME_MODIFY_SET);
	expect_status(verify(cl, &dir, a, false), NFS4ERR_INVAL);
	expect_status(verify(cl, &dir, a, true), NFS4ERR_INVAL);
	a = one_num(FATTR4_RDATTR_ERROR, 0);
	expect_status(verify(cl, &dir, a, false), NFS4ERR_INVAL);
	expect_status(verify(cl, &dir, a, true), NFS4ERR_INVAL);
}

/* ---- what later versions have added ---- */

/* suppattr_exclcreat: attributes for EXCLUSIVE4_1 (RFC 8881 section 5.8.1.14). */
static void exclusive_create_attributes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct bitmap sup = supported(cl, &dir), bm;

	bm = getattrs(cl, &dir, bm_of(FATTR4_SUPPATTR_EXCLCREAT, -1))
		 ->a[FATTR4_SUPPATTR_EXCLCREAT]
		 .bm;
	check(bm_has(&bm, FATTR4_MODE));
	for (unsigned i = 0; i < 96; i++)
		if (bm_has(&bm, i) && !bm_has(&sup, i))
			fail_with("attribute %u is in suppattr_exclcreat but not supported", i);
}

/* mode_umask (RFC 8275): the umask counts where no default ACL does. */
static void mode_umask(void **state)
{
	struct client *cl = client_new(2);
	struct fh dir = test_dir(cl);
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q = begin_at(cl, &dir);
	struct reply *r;

	at_num(a, FATTR4_MODE_UMASK, 0777);
	a->a[FATTR4_MODE_UMASK].num2 = 027;
	add_create(q, NF4DIR, "d", NULL, 0, 0, a);
	add_getattr(q, bm_of(FATTR4_MODE, -1));
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->attrs->a[FATTR4_MODE].num, 0750);
	/* Only in creation, and not beside mode (section 3). */
	q = begin_at(cl, &dir);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4ERR_INVAL);
	at_num(a, FATTR4_MODE, 0700);
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "e", NULL, 0, 0, a);
	expect(call(q), NFS4ERR_INVAL);
}

/* Only the owner and root may change modes; a gift of files is for root (chown_restricted). */
static void set_by_others(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	struct attrs *a = test_alloc(sizeof(*a));

	at_str(a, FATTR4_OWNER, "2001");
	at_num(a, FATTR4_MODE, 0644);
	expect(setattr(cl, &f, a), NFS4_OK);
	cl->conn = conn_new();
	cl->conn->uid = cl->conn->gid = 2002;
	expect(setattr(cl, &f, one_num(FATTR4_MODE, 0666)), NFS4ERR_PERM);
	expect(setattr(cl, &f, one_num(FATTR4_SIZE, 0)), NFS4ERR_ACCESS);
	cl->conn->uid = 2001;
	expect(setattr(cl, &f, one_num(FATTR4_MODE, 0666)), NFS4_OK);
	a = test_alloc(sizeof(*a));
	at_str(a, FATTR4_OWNER, "2002");
	expect(setattr(cl, &f, a), NFS4ERR_PERM);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(required_attributes),
		WIRE_ALL_MINORS(every_attribute),
		WIRE_ALL_MINORS(unknown_attributes),
		WIRE_ALL_MINORS(write_only_attributes),
		WIRE_ALL_MINORS(values),
		WIRE_ALL_MINORS(fsid_and_fileid),
		WIRE_ALL_MINORS(set_everything),
		WIRE_ALL_MINORS(set_times_now),
		WIRE_ALL_MINORS(set_refused),
		WIRE_ALL_MINORS(set_size),
		WIRE_ALL_MINORS(set_size_with_stateid),
		WIRE_ALL_MINORS(change_attribute),
		WIRE_ALL_MINORS(change_of_directories),
		WIRE_ALL_MINORS(change_is_stable),
		WIRE_ALL_MINORS(verify_rules),
		WIRE_ALL_MINORS(verify_refused),
		WIRE_SESSIONS(exclusive_create_attributes),
		WIRE_TEST(mode_umask),
		WIRE_ALL_MINORS(set_by_others),
	};

	return wire_main("attrs", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

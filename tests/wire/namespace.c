/*
 * Names: LOOKUP, LOOKUPP, CREATE, REMOVE, RENAME, LINK, READLINK, ACCESS, SECINFO, and who may
 * do what to them.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

static bool same_fh(const struct fh *a, const struct fh *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static uint32_t create(struct client *cl, const struct fh *dir, uint32_t type, const char *name)
{
	struct compound *q = begin_at(cl, dir);

	add_create(q, type, name, "target", 1, 3, NULL);
	return call(q)->status;
}

static uint32_t rename_names(struct client *cl, const struct fh *from, const char *old,
			     const struct fh *to, const char *new)
{
	struct compound *q = begin_at(cl, from);

	add_savefh(q);
	add_putfh(q, to);
	add_rename(q, old, new);
	return call(q)->status;
}

static uint32_t link_name(struct client *cl, const struct fh *fh, const struct fh *dir,
			  const char *name)
{
	struct compound *q = begin_at(cl, fh);

	add_savefh(q);
	add_putfh(q, dir);
	add_link(q, name);
	return call(q)->status;
}

/* ---- LOOKUP, LOOKUPP (RFC 7530 sections 16.13, 16.14) ---- */

static void lookup_finds(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub"), fh;

	expect_status(lookup(cl, &dir, "sub", &fh), NFS4_OK);
	check(same_fh(&sub, &fh));
	expect_status(lookup(cl, &dir, "SUB", NULL), NFS4ERR_NOENT);
	expect_status(lookup(cl, &dir, "su", NULL), NFS4ERR_NOENT);
}

/* What no name can be, in every operation that takes one (RFC 7530 section 12.7). */
static uint32_t with_name(struct client *cl, const struct fh *dir, const struct fh *file, int how,
			  const char *name, uint32_t len)
{
	struct compound *q = begin_at(cl, dir);
	struct open_args a = { .seqid = 1,
			       .access = OPEN4_SHARE_ACCESS_READ,
			       .clientid = cl->clientid,
			       .owner = owner_new()->name,
			       .name = name,
			       .name_len = len };
	static const uint32_t ops[] = { OP_LOOKUP, OP_REMOVE, OP_SECINFO, OP_LINK };

	switch (how) {
	case 0:
	case 1:
	case 2:
		add_raw(q, ops[how]);
		put_opaque(&q->enc, name, len);
		break;
	case 3:
		add_putfh(q, file);
		add_savefh(q);
		add_putfh(q, dir);
		add_raw(q, OP_LINK);
		put_opaque(&q->enc, name, len);
		break;
	case 4:
	case 5:
		add_savefh(q);
		add_raw(q, OP_RENAME);
		put_opaque(&q->enc, how == 4 ? name : "file", how == 4 ? len : 4);
		put_opaque(&q->enc, how == 4 ? "other" : name, how == 4 ? 5 : len);
		break;
	case 6:
		add_raw(q, OP_CREATE);
		put_u32(&q->enc, NF4DIR);
		put_opaque(&q->enc, name, len);
		put_u32(&q->enc, 0);
		put_u32(&q->enc, 0);
		break;
	default:
		if (len == 0)
			return NFS4ERR_INVAL; /* add_open() takes 0 for strlen */
		add_open(q, &a);
	}
	return call(q)->status;
}

static void impossible_names(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), file = make(cl, &dir, NF4REG, "file");
	char lengthy[300];

	memset(lengthy, 'n', sizeof(lengthy));
	for (int how = 0; how < 8; how++) {
		expect_status(with_name(cl, &dir, &file, how, "", 0), NFS4ERR_INVAL);
		expect_status(with_name(cl, &dir, &file, how, ".", 1), NFS4ERR_BADNAME);
		expect_status(with_name(cl, &dir, &file, how, "..", 2), NFS4ERR_BADNAME);
		expect_one_of(with_name(cl, &dir, &file, how, "a/b", 3), NFS4ERR_BADCHAR,
			      NFS4ERR_BADNAME);
		expect_one_of(with_name(cl, &dir, &file, how, "a\0b", 3), NFS4ERR_BADCHAR,
			      NFS4ERR_BADNAME, NFS4ERR_INVAL);
		expect_status(with_name(cl, &dir, &file, how, lengthy, 256), NFS4ERR_NAMETOOLONG);
		expect_status(with_name(cl, &dir, &file, how, lengthy, 300), NFS4ERR_NAMETOOLONG);
	}
	check_num(getattr_num(cl, &dir, FATTR4_MAXNAME), 255);
}

/* Names as long as they may be, with blanks, dots and all bytes of UTF-8. */
static void unusual_names(void **state)
{
	static const char *const names[] = { " ",    "...",
					     "-",    "\x01\x7f",
					     "a\\b", "\n",
					     "*?",   "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\x9a" };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), fh;
	char lengthy[256];

	memset(lengthy, 'n', 255);
	lengthy[255] = 0;
	expect_status(create(cl, &dir, NF4DIR, lengthy), NFS4_OK);
	expect_status(lookup(cl, &dir, lengthy, &fh), NFS4_OK);
	expect_status(remove_name(cl, &dir, lengthy), NFS4_OK);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		expect_status(create(cl, &dir, NF4DIR, names[i]), NFS4_OK);
		expect_status(lookup(cl, &dir, names[i], &fh), NFS4_OK);
		expect_status(create(cl, &dir, NF4DIR, names[i]), NFS4ERR_EXIST);
		expect_status(remove_name(cl, &dir, names[i]), NFS4_OK);
	}
}

static void lookup_parent(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub");
	struct compound *q = begin_at(cl, &sub);
	struct reply *r;

	add_lookupp(q);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check(same_fh(&last(r)->fh, &dir));
	/* The root has no parent. */
	q = begin(cl);
	add_putrootfh(q);
	add_lookupp(q);
	expect(call(q), NFS4ERR_NOENT);
	/* A directory that has been moved has its new parent. */
	make(cl, &dir, NF4DIR, "other");
	{
		struct fh other;

		expect_status(lookup(cl, &dir, "other", &other), NFS4_OK);
		expect_status(rename_names(cl, &dir, "sub", &other, "sub"), NFS4_OK);
		q = begin_at(cl, &sub);
		add_lookupp(q);
		add_getfh(q);
		r = call(q);
		expect(r, NFS4_OK);
		check(same_fh(&last(r)->fh, &other));
	}
}

/* RFC 7530 section 16.21: the public filehandle is the root's here. */
static void public_filehandle(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);
	struct reply *r;

	add_putpubfh(q);
	add_getfh(q);
	add_putrootfh(q);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check(same_fh(&last(r)->fh, &r->op[r->nops - 3].fh));
}

/* ---- CREATE (section 16.4) ---- */

static void create_types(void **state)
{
	static const uint32_t types[] = { NF4DIR, NF4LNK, NF4BLK, NF4CHR, NF4FIFO, NF4SOCK };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct attrs *a = test_alloc(sizeof(*a)), *got;
		struct compound *q = begin_at(cl, &dir);
		struct reply *r;
		char name[16];

		snprintf(name, sizeof(name), "n%zu", i);
		at_num(a, FATTR4_MODE, 0751);
		add_create(q, types[i], name, "target", 4, 66, a);
		add_getattr(q, bm_of(FATTR4_TYPE, FATTR4_MODE, FATTR4_NUMLINKS, FATTR4_RAWDEV, -1));
		r = call(q);
		expect(r, NFS4_OK);
		got = last(r)->attrs;
		check_num(got->a[FATTR4_TYPE].num, types[i]);
		if (types[i] != NF4LNK) {
			check(bm_has(&result_of(r, OP_CREATE)->attrset, FATTR4_MODE));
			check_num(got->a[FATTR4_MODE].num, 0751);
		}
		check_num(got->a[FATTR4_NUMLINKS].num, types[i] == NF4DIR ? 2 : 1);
		if (types[i] == NF4BLK || types[i] == NF4CHR) {
			check_num(got->a[FATTR4_RAWDEV].num, 4);
			check_num(got->a[FATTR4_RAWDEV].num2, 66);
		}
		expect_status(create(cl, &dir, types[i], name), NFS4ERR_EXIST);
	}
}

/* Types that CREATE does not make (section 16.4.2: BADTYPE). */
static void create_bad_types(void **state)
{
	static const uint32_t types[] = { NF4REG, NF4ATTRDIR, NF4NAMEDATTR };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		expect_status(create(cl, &dir, types[i], "name"), NFS4ERR_BADTYPE);
}

/* Attributes that cannot be set, in CREATE. */
static void create_bad_attributes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q = begin_at(cl, &dir);

	at_num(a, FATTR4_FILEID, 5);
	add_create(q, NF4DIR, "name", NULL, 0, 0, a);
	expect(call(q), NFS4ERR_INVAL);
	a = test_alloc(sizeof(*a));
	at_str(a, FATTR4_MIMETYPE, "text/plain");
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "name", NULL, 0, 0, a);
	expect(call(q), NFS4ERR_ATTRNOTSUPP);
	expect_status(lookup(cl, &dir, "name", NULL), NFS4ERR_NOENT);
}

/* The text of a symbolic link is data: anything but nothing. */
static void symlink_text(void **state)
{
	static const char *const texts[] = { "a",	  "/",		"..",
					     "../../x y", "//double//", "\xff\xfe not UTF-8" };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	char lengthy[4001];
	struct compound *q;
	struct reply *r;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char name[16];

		snprintf(name, sizeof(name), "l%zu", i);
		q = begin_at(cl, &dir);
		add_create(q, NF4LNK, name, texts[i], 0, 0, NULL);
		add_readlink(q);
		add_getattr(q, bm_of(FATTR4_SIZE, -1));
		r = call(q);
		expect(r, NFS4_OK);
		check_num(result_of(r, OP_READLINK)->len, strlen(texts[i]));
		check(strcmp((char *)result_of(r, OP_READLINK)->data, texts[i]) == 0);
		check_num(last(r)->attrs->a[FATTR4_SIZE].num, strlen(texts[i]));
	}
	memset(lengthy, 'l', 4000);
	lengthy[4000] = 0;
	q = begin_at(cl, &dir);
	add_create(q, NF4LNK, "long", lengthy, 0, 0, NULL);
	add_readlink(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->len, 4000);
	q = begin_at(cl, &dir);
	add_create(q, NF4LNK, "empty", "", 0, 0, NULL);
	expect_one_of(call(q)->status, NFS4ERR_INVAL);
}

/* ---- REMOVE (section 16.25) ---- */

static void remove_rules(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub");

	make(cl, &sub, NF4REG, "f");
	expect_status(remove_name(cl, &dir, "nothing"), NFS4ERR_NOENT);
	expect_status(remove_name(cl, &dir, "sub"), NFS4ERR_NOTEMPTY);
	expect_status(remove_name(cl, &sub, "f"), NFS4_OK);
	expect_status(remove_name(cl, &sub, "f"), NFS4ERR_NOENT);
	expect_status(remove_name(cl, &dir, "sub"), NFS4_OK);
	expect_status(lookup(cl, &dir, "sub", NULL), NFS4ERR_NOENT);
	/* In a directory that is gone. */
	expect_status(create(cl, &sub, NF4DIR, "x"), NFS4ERR_STALE);
}

/* ---- RENAME (section 16.26) ---- */

static void rename_moves(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), a = make(cl, &dir, NF4DIR, "a"),
		  b = make(cl, &dir, NF4DIR, "b");
	struct fh f = make_file(cl, &a, "f", "one", 3), fh;

	make_file(cl, &b, "g", "two", 3);
	expect_status(rename_names(cl, &a, "f", &b, "g"), NFS4_OK);
	expect_status(lookup(cl, &a, "f", NULL), NFS4ERR_NOENT);
	expect_status(lookup(cl, &b, "g", &fh), NFS4_OK);
	check(same_fh(&f, &fh));
	expect_status(rename_names(cl, &a, "none", &b, "x"), NFS4ERR_NOENT);
	/* To itself: nothing happens. */
	expect_status(rename_names(cl, &b, "g", &b, "g"), NFS4_OK);
	expect_status(lookup(cl, &b, "g", &fh), NFS4_OK);
	/* To another name of the same object: nothing happens either. */
	expect_status(link_name(cl, &f, &a, "second"), NFS4_OK);
	expect_status(rename_names(cl, &b, "g", &a, "second"), NFS4_OK);
	expect_status(lookup(cl, &b, "g", &fh), NFS4_OK);
	check_num(getattr_num(cl, &f, FATTR4_NUMLINKS), 2);
}

static void rename_directories(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), a = make(cl, &dir, NF4DIR, "a"),
		  full = make(cl, &dir, NF4DIR, "full");
	struct fh sub = make(cl, &a, NF4DIR, "sub"), fh;

	make(cl, &dir, NF4DIR, "empty");
	make(cl, &full, NF4REG, "f");
	make(cl, &dir, NF4REG, "file");
	/* Onto an empty directory; onto one that is not empty. */
	expect_one_of(rename_names(cl, &dir, "a", &dir, "full"), NFS4ERR_EXIST, NFS4ERR_NOTEMPTY);
	expect_status(rename_names(cl, &dir, "a", &dir, "empty"), NFS4_OK);
	expect_status(lookup(cl, &dir, "empty", &fh), NFS4_OK);
	check(same_fh(&fh, &a));
	/* Incompatible types (section 16.26.4: EXIST). */
	expect_status(rename_names(cl, &dir, "empty", &dir, "file"), NFS4ERR_EXIST);
	expect_status(rename_names(cl, &dir, "file", &dir, "empty"), NFS4ERR_EXIST);
	/* Into itself. */
	expect_status(rename_names(cl, &dir, "empty", &a, "x"), NFS4ERR_INVAL);
	expect_status(rename_names(cl, &dir, "empty", &sub, "x"), NFS4ERR_INVAL);
}

/* Nothing is done, and nothing changes, if both names are one file's (RFC 7530 section 16.27.4). */
static void rename_onto_itself(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), other = make(cl, &dir, NF4DIR, "other");
	struct fh f = make_file(cl, &dir, "f", "x", 1);
	static const char *const names[][2] = { { "f", "f" }, { "f", "g" }, { "other", "other" } };
	struct compound *q = begin_at(cl, &f);
	struct result *r;

	add_savefh(q);
	add_putfh(q, &dir);
	add_link(q, "g");
	add_putfh(q, &other);
	add_link(q, "f");
	expect(call(q), NFS4_OK);
	for (size_t i = 0; i < 4; i++) {
		/* The last: from one directory to another. */
		q = begin_at(cl, &dir);
		add_savefh(q);
		add_putfh(q, i == 3 ? &other : &dir);
		add_rename(q, i == 3 ? "f" : names[i][0], i == 3 ? "f" : names[i][1]);
		r = last(call(q));
		expect_status(r->status, NFS4_OK);
		check_num(r->cinfo.before, r->cinfo.after);
		check_num(r->cinfo2.before, r->cinfo2.after);
	}
	check_num(getattr_num(cl, &f, FATTR4_NUMLINKS), 3);
}

/* Both change_info4 tell that the directories have changed. */
static void rename_change_info(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), a = make(cl, &dir, NF4DIR, "a"),
		  b = make(cl, &dir, NF4DIR, "b");
	uint64_t before_a, before_b;
	struct compound *q;
	struct result *res;
	struct reply *r;

	make(cl, &a, NF4REG, "f");
	before_a = getattr_num(cl, &a, FATTR4_CHANGE);
	before_b = getattr_num(cl, &b, FATTR4_CHANGE);
	q = begin_at(cl, &a);
	add_savefh(q);
	add_putfh(q, &b);
	add_rename(q, "f", "g");
	r = call(q);
	expect(r, NFS4_OK);
	res = last(r);
	check(res->cinfo.before != res->cinfo.after);
	check(res->cinfo2.before != res->cinfo2.after);
	if (res->cinfo.atomic)
		check_num(res->cinfo.before, before_a);
	if (res->cinfo2.atomic)
		check_num(res->cinfo2.before, before_b);
	check(getattr_num(cl, &a, FATTR4_CHANGE) != before_a);
	check(getattr_num(cl, &b, FATTR4_CHANGE) != before_b);
}

/* ---- LINK (section 16.9) ---- */

static void link_rules(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	struct fh sub = make(cl, &dir, NF4DIR, "sub"), fh;
	uint64_t change = getattr_num(cl, &f, FATTR4_CHANGE);

	expect_status(link_name(cl, &f, &sub, "second"), NFS4_OK);
	check_num(getattr_num(cl, &f, FATTR4_NUMLINKS), 2);
	check(getattr_num(cl, &f, FATTR4_CHANGE) != change);
	expect_status(lookup(cl, &sub, "second", &fh), NFS4_OK);
	check(same_fh(&f, &fh));
	expect_status(link_name(cl, &f, &sub, "second"), NFS4ERR_EXIST);
	expect_status(link_name(cl, &f, &dir, "sub"), NFS4ERR_EXIST);
	expect_status(remove_name(cl, &dir, "f"), NFS4_OK);
	check_num(getattr_num(cl, &f, FATTR4_NUMLINKS), 1);
	expect_status(remove_name(cl, &sub, "second"), NFS4_OK);
}

/* ---- permissions: the kernel decides with the caller's identity ---- */

static struct conn *conn_as(uint32_t uid, uint32_t gid)
{
	struct conn *c = conn_new();

	c->uid = uid;
	c->gid = gid;
	return c;
}

static uint32_t access_of(struct client *cl, const struct fh *fh, uint32_t uid, uint32_t gid,
			  uint32_t group)
{
	struct conn *mine = cl->conn;
	struct compound *q;
	struct reply *r;

	cl->conn = conn_as(uid, gid);
	if (group) {
		cl->conn->ngids = 1;
		cl->conn->gids[0] = group;
	}
	q = begin_at(cl, fh);
	add_access(q, 0x3f);
	r = call(q);
	conn_close(cl->conn);
	cl->conn = mine;
	expect(r, NFS4_OK);
	check((last(r)->access & ~last(r)->supported) == 0);
	return last(r)->access;
}

/* ACCESS (section 16.1) by owner, group, supplementary group, others, and root. */
static void access_bits(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make_file(cl, &dir, "f", "x", 1);
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q = begin_at(cl, &f);
	uint32_t rights = ACCESS4_READ | ACCESS4_MODIFY | ACCESS4_EXTEND;

	at_num(a, FATTR4_MODE, 0640);
	at_str(a, FATTR4_OWNER, "2001");
	at_str(a, FATTR4_OWNER_GROUP, "3001");
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	check_num(access_of(cl, &f, 2001, 100, 0) & (rights | ACCESS4_EXECUTE), rights);
	check_num(access_of(cl, &f, 2002, 3001, 0) & (rights | ACCESS4_EXECUTE), ACCESS4_READ);
	check_num(access_of(cl, &f, 2002, 100, 3001) & (rights | ACCESS4_EXECUTE), ACCESS4_READ);
	check_num(access_of(cl, &f, 2002, 100, 0) & (rights | ACCESS4_EXECUTE), 0);
	check_num(access_of(cl, &f, 0, 0, 0) & rights, rights);
	/* A directory: LOOKUP and DELETE in place of EXECUTE. */
	check_num(access_of(cl, &dir, 2002, 100, 0) &
		      (ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY | ACCESS4_EXTEND),
		  ACCESS4_READ | ACCESS4_LOOKUP);
}

/* Only what was asked for is answered; bits that do not exist are INVAL. */
static void access_asked(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q;
	struct reply *r;

	for (uint32_t bit = 1; bit < 0x40; bit <<= 1) {
		q = begin_at(cl, &dir);
		add_access(q, bit);
		r = call(q);
		expect(r, NFS4_OK);
		check((last(r)->access & ~bit) == 0 && (last(r)->supported & ~bit) == 0);
	}
	q = begin_at(cl, &dir);
	add_access(q, 0);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->access, 0);
	for (unsigned i = 6; i < 32; i++) {
		bool xattr = cl->minor == 2 && i < 9; /* RFC 8276 section 8.5 */

		q = begin_at(cl, &dir);
		add_access(q, 1u << i | ACCESS4_READ);
		r = call(q);
		expect(r, xattr ? NFS4_OK : NFS4ERR_INVAL);
		/* It means something where there are extended attributes. */
		if (xattr)
			check_num(last(r)->supported & ~(1u << i), ACCESS4_READ);
	}
}

/* What somebody may not do is refused, and nothing has happened. */
static void permissions(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub"), f;
	struct attrs *a = test_alloc(sizeof(*a));
	struct conn *root = cl->conn;
	struct compound *q;

	f = make_file(cl, &dir, "f", "x", 1);
	at_num(a, FATTR4_MODE, 0600);
	q = begin_at(cl, &f);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	q = begin_at(cl, &sub);
	at_num(a, FATTR4_MODE, 0700);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);

	cl->conn = conn_as(2001, 2001);
	expect_status(create(cl, &dir, NF4DIR, "x"), NFS4ERR_ACCESS);
	expect_status(remove_name(cl, &dir, "f"), NFS4ERR_ACCESS);
	expect_status(rename_names(cl, &dir, "f", &dir, "g"), NFS4ERR_ACCESS);
	/* PERM if the kernel protects hard links (fs.protected_hardlinks). */
	expect_one_of(link_name(cl, &f, &dir, "g"), NFS4ERR_ACCESS, NFS4ERR_PERM);
	expect_status(lookup(cl, &sub, "x", NULL), NFS4ERR_ACCESS);
	q = begin_at(cl, &sub);
	add_readdir(q, 0, NULL, 4096, 4096, bm_of(FATTR4_TYPE, -1));
	expect(call(q), NFS4ERR_ACCESS);
	q = begin_at(cl, &f);
	add_read(q, &SID_ANONYMOUS, 0, 1);
	expect(call(q), NFS4ERR_ACCESS);
	q = begin_at(cl, &f);
	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "y", 1);
	expect(call(q), NFS4ERR_ACCESS);
	q = begin_at(cl, &f);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4ERR_PERM);
	conn_close(cl->conn);
	cl->conn = root;
	expect_status(lookup(cl, &dir, "f", NULL), NFS4_OK);
	expect_status(lookup(cl, &dir, "x", NULL), NFS4ERR_NOENT);
}

/* The group of new objects, and the sticky bit. */
static void setgid_and_sticky(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), shared = make(cl, &dir, NF4DIR, "shared"), sub;
	struct attrs *a = test_alloc(sizeof(*a)), *got;
	struct conn *root = cl->conn;
	struct compound *q = begin_at(cl, &shared);

	at_num(a, FATTR4_MODE, 03777);
	at_str(a, FATTR4_OWNER_GROUP, "3001");
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	cl->conn = conn_as(2001, 2001);
	sub = make(cl, &shared, NF4DIR, "sub");
	got = getattrs(cl, &sub, bm_of(FATTR4_MODE, FATTR4_OWNER, FATTR4_OWNER_GROUP, -1));
	check(got->a[FATTR4_MODE].num & 02000);
	check(strncmp(got->a[FATTR4_OWNER].str, "2001", 4) == 0);
	check(strncmp(got->a[FATTR4_OWNER_GROUP].str, "3001", 4) == 0);
	conn_close(cl->conn);
	cl->conn = conn_as(2002, 2002);
	expect_one_of(remove_name(cl, &shared, "sub"), NFS4ERR_ACCESS, NFS4ERR_PERM);
	conn_close(cl->conn);
	cl->conn = conn_as(2001, 2001);
	expect_status(remove_name(cl, &shared, "sub"), NFS4_OK);
	conn_close(cl->conn);
	cl->conn = root;
}

/* ---- SECINFO (sections 16.31 and 2.6.3.1.1.8 of RFC 8881) ---- */

static void secinfo_of_names(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q;
	struct reply *r;
	bool sys = false;

	make(cl, &dir, NF4REG, "f");
	q = begin_at(cl, &dir);
	add_secinfo(q, "f");
	r = call(q);
	expect(r, NFS4_OK);
	for (uint32_t i = 0; i < last(r)->n; i++)
		sys = sys || last(r)->list[i] == 1;
	check(sys);
	q = begin_at(cl, &dir);
	add_secinfo(q, "nothing");
	expect(call(q), NFS4ERR_NOENT);
	if (cl->minor == 0)
		return;
	/* From minor version 1 on the filehandle is consumed. */
	q = begin_at(cl, &dir);
	add_secinfo(q, "f");
	add_getfh(q);
	expect(call(q), NFS4ERR_NOFILEHANDLE);
}

/* Section 16.17: no named attributes. */
static void named_attributes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q = begin_at(cl, &dir);

	add_openattr(q, false);
	expect_one_of(call(q)->status, NFS4ERR_NOTSUPP, NFS4ERR_NOENT);
	check_num(getattr_num(cl, &dir, FATTR4_NAMED_ATTR), 0);
}

/* What a client does is seen in the directory, and what is done there is seen by a client. */
static void on_disk(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl), fh;
	char path[128], name[32];
	struct stat st;

	wire_need_disk();
	snprintf(name, sizeof(name), "disk%u", cl->minor);
	snprintf(path, sizeof(path), "%s/%s", wire_server_dir(), name);
	make_file(cl, &root, name, "hello", 5);
	check(stat(path, &st) == 0);
	check(S_ISREG(st.st_mode) && st.st_size == 5 && (st.st_mode & 07777) == 0644);
	check(unlink(path) == 0);
	expect_status(lookup(cl, &root, name, NULL), NFS4ERR_NOENT);
	check(mkdir(path, 0700) == 0);
	expect_status(lookup(cl, &root, name, &fh), NFS4_OK);
	check(stat(path, &st) == 0);
	check_num(getattr_num(cl, &fh, FATTR4_FILEID), st.st_ino);
	expect_status(remove_name(cl, &root, name), NFS4_OK);
	check(stat(path, &st) != 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(lookup_finds),
		WIRE_ALL_MINORS(impossible_names),
		WIRE_ALL_MINORS(unusual_names),
		WIRE_ALL_MINORS(lookup_parent),
		WIRE_ALL_MINORS(public_filehandle),
		WIRE_ALL_MINORS(create_types),
		WIRE_ALL_MINORS(create_bad_types),
		WIRE_ALL_MINORS(create_bad_attributes),
		WIRE_ALL_MINORS(symlink_text),
		WIRE_ALL_MINORS(remove_rules),
		WIRE_ALL_MINORS(rename_moves),
		WIRE_ALL_MINORS(rename_directories),
		WIRE_ALL_MINORS(rename_onto_itself),
		WIRE_ALL_MINORS(rename_change_info),
		WIRE_ALL_MINORS(link_rules),
		WIRE_ALL_MINORS(access_bits),
		WIRE_ALL_MINORS(access_asked),
		WIRE_ALL_MINORS(permissions),
		WIRE_ALL_MINORS(setgid_and_sticky),
		WIRE_ALL_MINORS(secinfo_of_names),
		WIRE_ALL_MINORS(named_attributes),
		WIRE_ALL_MINORS(on_disk),
	};

	return wire_main("namespace", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

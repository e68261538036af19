/*
 * Several exports (RFC 8881 sections 7 and 2.6.3; exports(5)): the pseudo file system that joins
 * them, crossing between them, what each client may do where, and changes while clients work.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

static const char *const dirs[] = {
	"a",	  "a/inner", "b",   "deep", "deep/er", "deep/er/c", "hidden",  "ro",
	"squash", "all",     "sec", "krb",  "cross",   "cross/sub", "nocross", "nocross/sub",
};

/* The exports, with the directory served in place of every %. */
static const char exports_text[] = "%/a *(rw,no_root_squash,insecure)\n"
				   "%/a/inner *(rw,no_root_squash,insecure)\n"
				   "%/deep/er/c 127.0.0.0/8(rw,no_root_squash,insecure)\n"
				   "%/hidden 10.1.2.3(rw,no_root_squash,insecure)\n"
				   "%/ro *(ro,no_root_squash,insecure)\n"
				   "%/squash *(rw,root_squash,anonuid=4242,anongid=4343,insecure)\n"
				   "%/all *(rw,all_squash,anonuid=4242,anongid=4343,insecure)\n"
				   "%/sec *(rw,no_root_squash,secure)\n"
				   "%/krb *(rw,no_root_squash,insecure,sec=krb5)\n"
				   "%/cross *(rw,no_root_squash,insecure,crossmnt)\n"
				   "%/nocross *(rw,no_root_squash,insecure)\n";
static const char export_b[] = "%/b *(rw,no_root_squash,insecure)\n";

/* The exports and some more. */
static void write_exports_and(const char *more)
{
	const char *dir = wire_server_dir();
	char text[4096] = "", both[2048];
	size_t n = 0;

	snprintf(both, sizeof(both), "%s%s", exports_text, more);
	for (const char *p = both; *p; p++) {
		if (*p == '%')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", dir);
		else
			text[n++] = *p;
	}
	text[n] = 0;
	wire_write_exports(text);
}

static void write_exports(bool with_b)
{
	write_exports_and(with_b ? export_b : "");
}

static void write_text(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f)) {
		perror(path);
		exit(99);
	}
}

static void mount_over(const char *dir, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (mount("atoll-wire", path, "tmpfs", 0, "size=16m")) {
		perror(path);
		exit(99);
	}
}

static void prepare(const char *dir)
{
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		char path[256];

		snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
		if (mkdir(path, 0755)) {
			perror(path);
			exit(99);
		}
	}
	write_text(dir, "ro/file", "read only");
	write_text(dir, "cross/sub/covered", "");
	write_text(dir, "nocross/sub/covered", "");
	mount_over(dir, "cross/sub");
	mount_over(dir, "nocross/sub");
	write_text(dir, "cross/sub/mounted", "on top");
	write_text(dir, "nocross/sub/mounted", "on top");
	write_exports(true);
}

/* ---- walking ---- */

/* PUTROOTFH and LOOKUPs along the path of an export. */
static void walk(struct compound *q, const char *name)
{
	char path[256], *save, *part;

	snprintf(path, sizeof(path), "%s/%s", wire_server_dir(), name);
	add_putrootfh(q);
	for (part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save))
		add_lookup(q, part);
}

static uint32_t walk_status(struct client *cl, const char *name, struct fh *out)
{
	struct compound *q = begin(cl);
	struct reply *r;

	walk(q, name);
	add_getfh(q);
	r = call(q);
	if (r->status == NFS4_OK && out)
		*out = last(r)->fh;
	return r->status;
}

static struct fh export_root(struct client *cl, const char *name)
{
	struct fh fh;

	expect_status(walk_status(cl, name, &fh), NFS4_OK);
	return fh;
}

static bool same_fh(const struct fh *a, const struct fh *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool same_fsid(struct client *cl, const struct fh *a, const struct fh *b)
{
	struct attrs *x = getattrs(cl, a, bm_of(FATTR4_FSID, -1));
	struct attrs *y = getattrs(cl, b, bm_of(FATTR4_FSID, -1));

	return x->a[FATTR4_FSID].num == y->a[FATTR4_FSID].num &&
	       x->a[FATTR4_FSID].num2 == y->a[FATTR4_FSID].num2;
}

static struct result *list(struct client *cl, const struct fh *dir, struct bitmap bm)
{
	struct compound *q = begin_at(cl, dir);
	struct reply *r;

	add_readdir(q, 0, NULL, 65536, 65536, bm);
	r = call(q);
	expect(r, NFS4_OK);
	check(last(r)->eof);
	return last(r);
}

static struct entry *entry_of(struct result *listing, const char *name)
{
	for (uint32_t i = 0; i < listing->n; i++)
		if (strcmp(listing->entries[i].name, name) == 0)
			return &listing->entries[i];
	return NULL;
}

/* ---- the pseudo file system ---- */

/* It shows the way to exports that the client may see, and nothing else. */
static void pseudo_listing(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl), top;
	struct result *l = list(cl, &root, bm_of(FATTR4_TYPE, -1));

	check_num(l->n, 1); /* the first part of the served directory's path */
	check_num(l->entries[0].attrs->a[FATTR4_TYPE].num, NF4DIR);
	expect_status(walk_status(cl, "", &top), NFS4_OK);
	l = list(cl, &top, bm_of(FATTR4_TYPE, FATTR4_RDATTR_ERROR, -1));
	check(entry_of(l, "a") && entry_of(l, "b") && entry_of(l, "deep") && entry_of(l, "ro"));
	check(!entry_of(l, "hidden"));
	expect_status(walk_status(cl, "hidden", NULL), NFS4ERR_NOENT);
	expect_status(walk_status(cl, "nothing", NULL), NFS4ERR_NOENT);
	expect_status(walk_status(cl, "deep", &top), NFS4_OK);
	l = list(cl, &top, bm_of(FATTR4_TYPE, -1));
	check(l->n == 1 && entry_of(l, "er"));
}

/* Nobody changes it. */
static void pseudo_is_read_only(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh top;
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q;
	struct reply *r;

	expect_status(walk_status(cl, "deep", &top), NFS4_OK);
	q = begin_at(cl, &top);
	add_create(q, NF4DIR, "new", NULL, 0, 0, NULL);
	expect(call(q), NFS4ERR_ROFS);
	expect_one_of(remove_name(cl, &top, "er"), NFS4ERR_ROFS, NFS4ERR_ACCESS);
	q = begin_at(cl, &top);
	add_savefh(q);
	add_rename(q, "er", "re");
	expect_one_of(call(q)->status, NFS4ERR_ROFS, NFS4ERR_ACCESS);
	at_num(a, FATTR4_MODE, 0777);
	q = begin_at(cl, &top);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4ERR_ROFS);
	expect_status(open_status(cl, owner_new(), &top, "er", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_ISDIR);
	q = begin_at(cl, &top);
	add_access(q, 0x3f);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->access & (ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE), 0);
	check_num(last(r)->access & (ACCESS4_READ | ACCESS4_LOOKUP), ACCESS4_READ | ACCESS4_LOOKUP);
}

/* Down into an export and up again (section 7.7: LOOKUPP crosses the other way). */
static void crossing(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh er, c = export_root(cl, "deep/er/c"), root = root_fh(cl);
	struct compound *q;
	struct reply *r;

	expect_status(walk_status(cl, "deep/er", &er), NFS4_OK);
	check(!same_fsid(cl, &er, &c));
	check(same_fsid(cl, &er, &root));
	q = begin_at(cl, &c);
	add_lookupp(q);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check(same_fh(&last(r)->fh, &er));
	q = begin_at(cl, &root);
	add_lookupp(q);
	expect(call(q), NFS4ERR_NOENT);
}

/*
 * mounted_on_fileid (section 5.8.2.19): the same from the directory above and from the root of
 * the export itself, and different from other entries'.
 */
static void mounted_on_fileid(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh top, a = export_root(cl, "a"), inner = export_root(cl, "a/inner");
	struct bitmap bm =
	    bm_of(FATTR4_MOUNTED_ON_FILEID, FATTR4_FILEID, FATTR4_FSID, FATTR4_RDATTR_ERROR, -1);
	struct entry *e, *other;
	struct result *l;

	expect_status(walk_status(cl, "", &top), NFS4_OK);
	l = list(cl, &top, bm);
	e = entry_of(l, "a");
	other = entry_of(l, "b");
	check(e && other);
	check(bm_has(&e->attrs->mask, FATTR4_MOUNTED_ON_FILEID));
	check_num(e->attrs->a[FATTR4_MOUNTED_ON_FILEID].num,
		  getattr_num(cl, &a, FATTR4_MOUNTED_ON_FILEID));
	check(e->attrs->a[FATTR4_MOUNTED_ON_FILEID].num !=
	      other->attrs->a[FATTR4_MOUNTED_ON_FILEID].num);
	e = entry_of(list(cl, &a, bm), "inner");
	check(e != NULL);
	check_num(e->attrs->a[FATTR4_MOUNTED_ON_FILEID].num,
		  getattr_num(cl, &inner, FATTR4_MOUNTED_ON_FILEID));
}

/* An export within another one: names do not move between them. */
static void nested_exports(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh a = export_root(cl, "a"), inner = export_root(cl, "a/inner"), other;
	struct fh f = make_file(cl, &a, "f", "x", 1), fh;
	struct compound *q;

	expect_status(lookup(cl, &a, "inner", &fh), NFS4_OK);
	check(same_fh(&fh, &inner));
	q = begin_at(cl, &f);
	add_savefh(q);
	add_putfh(q, &inner);
	add_link(q, "linked");
	expect(call(q), NFS4ERR_XDEV);
	q = begin_at(cl, &a);
	add_savefh(q);
	add_putfh(q, &inner);
	add_rename(q, "f", "moved");
	expect(call(q), NFS4ERR_XDEV);
	other = export_root(cl, "b");
	q = begin_at(cl, &a);
	add_savefh(q);
	add_putfh(q, &other);
	add_rename(q, "f", "moved");
	expect(call(q), NFS4ERR_XDEV);
	q = begin_at(cl, &inner);
	add_lookupp(q);
	add_getfh(q);
	check(same_fh(&last(call(q))->fh, &a));
	expect_status(remove_name(cl, &a, "f"), NFS4_OK);
}

/* ---- what a client may do ---- */

/* ro: everything that would change something says ROFS (section 15.1.4.15). */
static void read_only(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh ro = export_root(cl, "ro"), f;
	struct attrs *a = test_alloc(sizeof(*a));
	struct open_args args = { .access = OPEN4_SHARE_ACCESS_READ,
				  .opentype = OPEN4_CREATE,
				  .createmode = GUARDED4,
				  .name = "new" };
	struct open_file open;
	struct compound *q;
	struct reply *r;

	expect_status(lookup(cl, &ro, "file", &f), NFS4_OK);
	expect_status(open_status(cl, owner_new(), &ro, "file", OPEN4_SHARE_ACCESS_READ, 0, &open),
		      NFS4_OK);
	q = begin_at(cl, &f);
	add_read(q, &open.sid, 0, 100);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->len, 9);
	expect_status(open_status(cl, owner_new(), &ro, "file", OPEN4_SHARE_ACCESS_WRITE, 0, NULL),
		      NFS4ERR_ROFS);
	expect_status(open_any(cl, owner_new(), &ro, &args, &open), NFS4ERR_ROFS);
	q = begin_at(cl, &ro);
	add_create(q, NF4DIR, "new", NULL, 0, 0, NULL);
	expect(call(q), NFS4ERR_ROFS);
	expect_status(remove_name(cl, &ro, "file"), NFS4ERR_ROFS);
	q = begin_at(cl, &ro);
	add_savefh(q);
	add_rename(q, "file", "elif");
	expect(call(q), NFS4ERR_ROFS);
	q = begin_at(cl, &f);
	add_savefh(q);
	add_putfh(q, &ro);
	add_link(q, "second");
	expect(call(q), NFS4ERR_ROFS);
	if (cl->minor == 2) {
		/* NOTSUPP: the file system has no extended attributes anyway. */
		q = begin_at(cl, &f);
		add_setxattr(q, 0, "key", "value", 5);
		expect_one_of(call(q)->status, NFS4ERR_ROFS, NFS4ERR_NOTSUPP);
		q = begin_at(cl, &f);
		add_removexattr(q, "key");
		expect_one_of(call(q)->status, NFS4ERR_ROFS, NFS4ERR_NOTSUPP);
		q = begin_at(cl, &f);
		add_access(q, ACCESS4_XAREAD | ACCESS4_XAWRITE);
		r = call(q);
		expect(r, NFS4_OK);
		check(!(last(r)->access & ACCESS4_XAWRITE));
	}
	at_num(a, FATTR4_MODE, 0777);
	q = begin_at(cl, &f);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4ERR_ROFS);
	q = begin_at(cl, &f);
	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4ERR_ROFS);
	q = begin_at(cl, &f);
	add_access(q, 0x3f);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->access & (ACCESS4_MODIFY | ACCESS4_EXTEND | ACCESS4_DELETE), 0);
}

static void check_owner(struct client *cl, const struct fh *fh, const char *uid, const char *gid)
{
	struct attrs *a = getattrs(cl, fh, bm_of(FATTR4_OWNER, FATTR4_OWNER_GROUP, -1));

	if (strcmp(a->a[FATTR4_OWNER].str, uid) != 0 ||
	    strcmp(a->a[FATTR4_OWNER_GROUP].str, gid) != 0)
		fail_with("owner %s:%s, expected %s:%s", a->a[FATTR4_OWNER].str,
			  a->a[FATTR4_OWNER_GROUP].str, uid, gid);
}

/* Who creates something, as the export maps them. */
static void squashing(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh squash = export_root(cl, "squash"), all = export_root(cl, "all"), fh;
	char path[256], name[16];
	struct compound *q = begin_at(cl, &squash);

	snprintf(name, sizeof(name), "d%u", cl->minor);
	/* Root is nobody in a directory of root. */
	snprintf(path, sizeof(path), "%s/squash", wire_server_dir());
	check(chmod(path, 0755) == 0);
	add_create(q, NF4DIR, name, NULL, 0, 0, NULL);
	expect(call(q), NFS4ERR_ACCESS);
	check(chmod(path, 0777) == 0);
	fh = make(cl, &squash, NF4DIR, name);
	check_owner(cl, &fh, "4242", "4343");
	snprintf(path, sizeof(path), "%s/all", wire_server_dir());
	check(chmod(path, 0777) == 0);
	cl->conn->uid = cl->conn->gid = 2001;
	fh = make(cl, &all, NF4DIR, name);
	check_owner(cl, &fh, "4242", "4343");
	/* With root_squash others are themselves. */
	snprintf(name, sizeof(name), "e%u", cl->minor);
	fh = make(cl, &squash, NF4DIR, name);
	check_owner(cl, &fh, "2001", "2001");
}

/* secure: only from ports below 1024, or from local processes of root. */
static void secure_ports(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh fh = export_root(cl, "sec");
	struct compound *q;

	check(seteuid(65534) == 0);
	cl->conn = conn_new(); /* a socket of nobody's */
	check(seteuid(0) == 0);
	expect_one_of(walk_status(cl, "sec", NULL), NFS4ERR_ACCESS, NFS4ERR_NOENT, NFS4ERR_PERM);
	/* A handle is no way in. */
	q = begin_at(cl, &fh);
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
	expect_one_of(call(q)->status, NFS4ERR_ACCESS, NFS4ERR_STALE, NFS4ERR_PERM);
	/* Other exports are open to it. */
	expect_status(walk_status(cl, "a", NULL), NFS4_OK);
}

/* sec=krb5: AUTH_SYS is not enough (section 2.6.3.1), and SECINFO says so. */
static void wrong_flavor(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q;
	struct reply *r;
	struct fh top;

	expect_status(walk_status(cl, "krb", NULL), NFS4ERR_WRONGSEC);
	expect_status(walk_status(cl, "", &top), NFS4_OK);
	q = begin_at(cl, &top);
	add_secinfo(q, "krb");
	r = call(q);
	expect(r, NFS4_OK);
	for (uint32_t i = 0; i < last(r)->n; i++)
		check(last(r)->list[i] != 1);
	q = begin_at(cl, &top);
	add_secinfo(q, "a");
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->list[0], 1);
	/* READDIR of the directory above goes on past it. */
	check(entry_of(list(cl, &top, bm_of(FATTR4_RDATTR_ERROR, FATTR4_FILEID, FATTR4_TYPE, -1)),
		       "ro") != NULL);
}

/* ---- mounts below an export ---- */

/* crossmnt: the file system mounted there is seen, as one of its own. */
static void mounts_are_crossed(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh cross = export_root(cl, "cross"), sub, f, up;
	struct bitmap bm = bm_of(FATTR4_MOUNTED_ON_FILEID, FATTR4_FSID, FATTR4_FILEID, -1);
	struct compound *q;
	struct reply *r;
	struct entry *e;

	expect_status(lookup(cl, &cross, "sub", &sub), NFS4_OK);
	check(!same_fsid(cl, &cross, &sub));
	expect_status(lookup(cl, &sub, "covered", NULL), NFS4ERR_NOENT);
	expect_status(lookup(cl, &sub, "mounted", &f), NFS4_OK);
	q = begin_at(cl, &f);
	add_read(q, &SID_ANONYMOUS, 0, 100);
	r = call(q);
	expect(r, NFS4_OK);
	check(last(r)->len == 6 && memcmp(last(r)->data, "on top", 6) == 0);
	q = begin_at(cl, &sub);
	add_lookupp(q);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	up = last(r)->fh;
	check(same_fh(&up, &cross));
	/* The covered directory's number, from above and from the mount's root. */
	e = entry_of(list(cl, &cross, bm), "sub");
	check(e != NULL);
	check_num(e->attrs->a[FATTR4_MOUNTED_ON_FILEID].num,
		  getattr_num(cl, &sub, FATTR4_MOUNTED_ON_FILEID));
	q = begin_at(cl, &sub);
	add_savefh(q);
	add_putfh(q, &cross);
	add_rename(q, "mounted", "moved");
	expect(call(q), NFS4ERR_XDEV);
}

/* Without crossmnt: what lies underneath, never what is mounted. */
static void mounts_are_not_crossed(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = export_root(cl, "nocross"), sub;
	uint32_t status = lookup(cl, &root, "sub", &sub);

	expect_status(status, NFS4_OK);
	check(same_fsid(cl, &root, &sub));
	expect_status(lookup(cl, &sub, "mounted", NULL), NFS4ERR_NOENT);
	expect_status(lookup(cl, &sub, "covered", NULL), NFS4_OK);
}

/* Handles of every kind of place survive a restart. */
static void handles_survive_restart(void **state)
{
	static const char *const places[] = { "",   "deep/er",	 "deep/er/c",	     "a/inner",
					      "ro", "cross/sub", "cross/sub/mounted" };
	struct client *cl = client_new(1);
	struct fh fh[sizeof(places) / sizeof(places[0])], again;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		fh[i] = export_root(cl, places[i]);
	wire_server_restart();
	cl = client_new(1);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct compound *q = begin_at(cl, &fh[i]);

		add_getattr(q, bm_of(FATTR4_TYPE, -1));
		expect(call(q), NFS4_OK);
		again = export_root(cl, places[i]);
		check(same_fh(&fh[i], &again));
	}
}

/* ---- reload ---- */

/* Polls until the status is there. */
static void await_status(struct client *cl, const struct fh *fh, bool ok)
{
	struct timespec step = { .tv_nsec = 5 * 1000 * 1000 };

	for (int i = 0; i < 2000; i++) {
		struct compound *q = begin_at(cl, fh);
		uint32_t status;

		add_getattr(q, bm_of(FATTR4_TYPE, -1));
		status = call(q)->status;
		if (ok == (status == NFS4_OK))
			return;
		expect_one_of(status, NFS4_OK, NFS4ERR_STALE, NFS4ERR_ACCESS, NFS4ERR_WRONGSEC);
		nanosleep(&step, NULL);
	}
	fail_with("10 s after the reload nothing has changed");
}

/* An export goes and comes back; clients of the others notice nothing. */
static void reload(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh a = export_root(cl, "a"), b = export_root(cl, "b"), again;
	struct open_file f = open_create(cl, owner_new(), &a, "open", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct lock_state ls = { .owner = owner_new() };
	struct compound *q;

	expect_status(lock_range(cl, &f, &ls, WRITE_LT, 0, 10, NULL), NFS4_OK);
	write_exports(false);
	wire_server_reload();
	await_status(cl, &b, false);
	expect_status(walk_status(cl, "b", NULL), NFS4ERR_NOENT);
	q = begin_at(cl, &f.fh);
	add_write(q, &f.sid, 0, FILE_SYNC4, "still open", 10);
	expect(call(q), NFS4_OK);
	write_exports(true);
	wire_server_reload();
	await_status(cl, &b, true);
	again = export_root(cl, "b");
	check(same_fh(&b, &again));
	expect_status(unlock_range(cl, &f, &ls, 0, 10), NFS4_OK);
	close_file(cl, &f);
	expect_status(remove_name(cl, &a, "open"), NFS4_OK);
}

/* PUTFH of `fh`, or PUTFH and SAVEFH, and what `next` adds: the status of the whole. */
static struct reply *put_and(struct client *cl, const struct fh *fh, bool save,
			     void (*next)(struct compound *q))
{
	struct compound *q = begin_at(cl, fh);

	if (save)
		add_savefh(q);
	if (next)
		next(q);
	return call(q);
}

static void next_lookup(struct compound *q)
{
	add_lookup(q, "f");
}

static void next_lookup_across(struct compound *q)
{
	add_lookup(q, "in");
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
}

static void next_lookupp(struct compound *q)
{
	add_lookupp(q);
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
}

static void next_secinfo(struct compound *q)
{
	add_secinfo(q, "f");
}

static void next_secinfo_and_getattr(struct compound *q)
{
	add_secinfo(q, "f");
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
}

static void next_getattr(struct compound *q)
{
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
}

static void next_putrootfh(struct compound *q)
{
	add_putrootfh(q);
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
}

static void next_put_and_restore(struct compound *q)
{
	add_putrootfh(q);
	add_restorefh(q);
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
}

static void next_put_and_rename(struct compound *q)
{
	add_putrootfh(q);
	add_rename(q, "f", "g");
}

/*
 * RFC 8881 section 2.6.3.1.1: who puts a filehandle that asks for another flavor is told so by the
 * operation that follows if that one leads on, is not told at all if nothing follows, and else at
 * once. Nothing is done with the filehandle in any case.
 */
static void wrong_flavor_leads_on(void **state)
{
	static const struct {
		void (*next)(struct compound *q);
		bool save;
		uint32_t status, nops; /* behind SEQUENCE */
	} cases[] = {
		{ NULL, false, NFS4_OK, 1 },
		{ NULL, true, NFS4_OK, 2 },
		{ next_getattr, false, NFS4ERR_WRONGSEC, 1 },
		{ next_getattr, true, NFS4ERR_WRONGSEC, 1 },
		{ next_lookup, false, NFS4ERR_WRONGSEC, 2 },
		{ next_lookup, true, NFS4ERR_WRONGSEC, 3 },
		{ next_lookup_across, false, NFS4_OK, 3 },
		{ next_lookupp, false, NFS4_OK, 3 },
		{ next_secinfo, false, NFS4_OK, 2 },
		{ next_secinfo_and_getattr, false, NFS4ERR_NOFILEHANDLE, 3 },
		{ next_putrootfh, false, NFS4_OK, 3 },
		{ next_put_and_restore, true, NFS4ERR_WRONGSEC, 4 },
		{ next_put_and_rename, true, NFS4ERR_XDEV, 4 },
	};
	struct client *cl = client_new(minor_of(state));
	struct fh b = export_root(cl, "b"), f = make_file(cl, &b, "f", "x", 1);
	uint32_t sequence = cl->minor > 0;
	struct open_args a = { .access = OPEN4_SHARE_ACCESS_READ, .name = "f" };

	if (wire_server_external())
		skip();
	make(cl, &b, NF4DIR, "in");
	write_exports_and("%/b *(rw,no_root_squash,insecure,sec=krb5)\n"
			  "%/b/in *(rw,no_root_squash,insecure)\n");
	wire_server_reload();
	await_status(cl, &f, false);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct reply *r = put_and(cl, &b, cases[i].save, cases[i].next);

		expect(r, cases[i].status);
		check_num(r->nops, cases[i].nops + sequence);
	}
	expect_status(open_any(cl, owner_new(), &b, &a, NULL), NFS4ERR_WRONGSEC);
	a = (struct open_args){ .access = OPEN4_SHARE_ACCESS_READ,
				.name = "new",
				.opentype = OPEN4_CREATE,
				.createmode = UNCHECKED4 };
	expect_status(open_any(cl, owner_new(), &b, &a, NULL), NFS4ERR_WRONGSEC);
	if (cl->minor > 0) {
		a = (struct open_args){ .access = OPEN4_SHARE_ACCESS_READ, .claim = CLAIM_FH };
		expect_status(open_any(cl, owner_new(), &f, &a, NULL), NFS4ERR_WRONGSEC);
	}
	write_exports(true);
	wire_server_reload();
	await_status(cl, &f, true);
	expect_status(lookup(cl, &b, "new", NULL), NFS4ERR_NOENT);
	expect_status(remove_name(cl, &b, "f"), NFS4_OK);
	expect_status(remove_name(cl, &b, "in"), NFS4_OK);
}

/* A file with an error in it changes nothing. */
static void reload_with_error(void **state)
{
	struct client *cl = client_new(1);
	struct fh b = export_root(cl, "b");
	struct timespec step = { .tv_nsec = 5 * 1000 * 1000 };

	wire_write_exports("/somewhere *(rw,no_such_option)\n");
	wire_server_reload();
	for (int i = 0; i < 20; i++) {
		struct compound *q = begin_at(cl, &b);

		expect(call(q), NFS4_OK);
		nanosleep(&step, NULL);
	}
	write_exports(true);
	wire_server_reload();
	await_status(cl, &b, true);
}

int main(void)
{
	static const struct wire_options options = { .prepare = prepare };
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(pseudo_listing),
		WIRE_ALL_MINORS(pseudo_is_read_only),
		WIRE_ALL_MINORS(crossing),
		WIRE_ALL_MINORS(mounted_on_fileid),
		WIRE_ALL_MINORS(nested_exports),
		WIRE_ALL_MINORS(read_only),
		WIRE_ALL_MINORS(squashing),
		WIRE_ALL_MINORS(secure_ports),
		WIRE_ALL_MINORS(wrong_flavor),
		WIRE_ALL_MINORS(mounts_are_crossed),
		WIRE_ALL_MINORS(mounts_are_not_crossed),
		WIRE_TEST(handles_survive_restart),
		WIRE_ALL_MINORS(reload),
		WIRE_ALL_MINORS(wrong_flavor_leads_on),
		WIRE_TEST(reload_with_error),
	};

	return wire_main("exports", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Extended attributes: RFC 8276. What they do to delegations is in deleg.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

enum { EITHER, CREATE, REPLACE };

#define VALUE_MOST 65536
#define KEY_MOST   250

struct file {
	struct client *cl;
	struct fh dir, fh;
};

static struct result *get(struct file *f, const char *key)
{
	struct compound *q = begin_at(f->cl, &f->fh);

	add_getxattr(q, key);
	return last(call(q));
}

/* A file; if its file system has no extended attributes and says so, the test is skipped. */
static struct file *file_new(void)
{
	struct file *f = test_alloc(sizeof(*f));
	struct attrs *a;

	f->cl = client_new(2);
	f->dir = test_dir(f->cl);
	f->fh = make(f->cl, &f->dir, NF4REG, "f");
	a = getattrs(f->cl, &f->fh, bm_of(FATTR4_XATTR_SUPPORT, -1));
	check(bm_has(&a->mask, FATTR4_XATTR_SUPPORT));
	if (!a->a[FATTR4_XATTR_SUPPORT].num) {
		expect_status(get(f, "key")->status, NFS4ERR_NOTSUPP);
		skip();
	}
	return f;
}

static struct result *set(struct file *f, uint32_t option, const char *key, const char *value)
{
	struct compound *q = begin_at(f->cl, &f->fh);

	add_setxattr(q, option, key, value, (uint32_t)strlen(value));
	return last(call(q));
}

static struct result *unset(struct file *f, const char *key)
{
	struct compound *q = begin_at(f->cl, &f->fh);

	add_removexattr(q, key);
	return last(call(q));
}

static struct result *list(struct file *f, uint64_t cookie, uint32_t maxcount)
{
	struct compound *q = begin_at(f->cl, &f->fh);

	add_listxattrs(q, cookie, maxcount);
	return last(call(q));
}

static void has_value(struct file *f, const char *key, const char *value)
{
	struct result *r = get(f, key);

	expect_status(r->status, NFS4_OK);
	check_num(r->len, strlen(value));
	check(memcmp(r->data, value, r->len) == 0);
}

static bool lists(const struct result *r, const char *key)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (strcmp(r->entries[i].name, key) == 0)
			return true;
	return false;
}

static uint64_t change_of(struct file *f)
{
	return getattr_num(f->cl, &f->fh, FATTR4_CHANGE);
}

/* Set, read, replaced, removed, by each of the options (sections 8.4.1, 8.4.2, 8.4.4). */
static void life(void **state)
{
	struct file *f = file_new();

	expect_status(get(f, "key")->status, NFS4ERR_NOXATTR);
	expect_status(unset(f, "key")->status, NFS4ERR_NOXATTR);
	expect_status(set(f, REPLACE, "key", "a")->status, NFS4ERR_NOXATTR);
	expect_status(get(f, "key")->status, NFS4ERR_NOXATTR);
	expect_status(set(f, CREATE, "key", "first")->status, NFS4_OK);
	has_value(f, "key", "first");
	expect_status(set(f, CREATE, "key", "again")->status, NFS4ERR_EXIST);
	has_value(f, "key", "first");
	expect_status(set(f, REPLACE, "key", "second, and longer")->status, NFS4_OK);
	has_value(f, "key", "second, and longer");
	expect_status(set(f, EITHER, "key", "")->status, NFS4_OK);
	has_value(f, "key", "");
	expect_status(set(f, EITHER, "other/key", "x")->status, NFS4_OK);
	has_value(f, "other/key", "x");
	has_value(f, "key", "");
	expect_status(unset(f, "key")->status, NFS4_OK);
	expect_status(get(f, "key")->status, NFS4ERR_NOXATTR);
	has_value(f, "other/key", "x");
}

/* A directory has them, too. */
static void of_directories(void **state)
{
	struct file *f = file_new();

	f->fh = make(f->cl, &f->dir, NF4DIR, "sub");
	expect_status(set(f, EITHER, "key", "value")->status, NFS4_OK);
	has_value(f, "key", "value");
	check(lists(list(f, 0, 4096), "key"));
}

/* The server's own users see them as user.*, and clients what those have set. */
static void same_on_the_server(void **state)
{
	struct file *f = file_new();
	char path[512], value[16] = "", cmd[1024];
	struct result *r;

	wire_need_disk();
	expect_status(set(f, EITHER, "key", "value")->status, NFS4_OK);
	/* test_dir() made the file's directory below that which is served. */
	snprintf(cmd, sizeof(cmd), "find %s -inum %llu", wire_server_dir(),
		 (unsigned long long)getattr_num(f->cl, &f->fh, FATTR4_FILEID));
	FILE *find = popen(cmd, "r");

	check(find && fgets(path, sizeof(path), find));
	pclose(find);
	path[strcspn(path, "\n")] = '\0';
	check_num((uint64_t)getxattr(path, "user.key", value, sizeof(value)), 5);
	check(strcmp(value, "value") == 0);
	check(setxattr(path, "user.theirs", "12", 2, 0) == 0);
	check(setxattr(path, "trusted.secret", "12", 2, 0) == 0);
	has_value(f, "theirs", "12");
	expect_status(get(f, "secret")->status, NFS4ERR_NOXATTR);
	expect_status(get(f, "trusted.secret")->status, NFS4ERR_NOXATTR);
	r = list(f, 0, 4096);
	expect_status(r->status, NFS4_OK);
	check_num(r->n, 2);
	check(lists(r, "key") && lists(r, "theirs"));
}

/* The change attribute moves with every change, and the answer tells from where to where. */
static void change_info(void **state)
{
	struct file *f = file_new();
	uint64_t seen[6];
	struct result *r;

	seen[0] = change_of(f);
	r = set(f, EITHER, "key", "1");
	expect_status(r->status, NFS4_OK);
	check(r->cinfo.before != r->cinfo.after);
	seen[1] = change_of(f);
	expect_status(set(f, EITHER, "key", "2")->status, NFS4_OK);
	seen[2] = change_of(f);
	r = unset(f, "key");
	expect_status(r->status, NFS4_OK);
	check(r->cinfo.before != r->cinfo.after);
	seen[3] = change_of(f);
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < i; k++)
			check(seen[i] != seen[k]);
}

/* A list is empty, whole, or in pieces, each of which goes on where the one before has ended. */
static void listing(void **state)
{
	struct file *f = file_new();
	char key[32];
	struct result *r = list(f, 0, 4096);
	uint64_t cookie = 0;
	unsigned seen = 0, pieces = 0;

	expect_status(r->status, NFS4_OK);
	check_num(r->n, 0);
	check(r->eof);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "key number %d", i);
		expect_status(set(f, CREATE, key, "x")->status, NFS4_OK);
	}
	r = list(f, 0, 4096);
	expect_status(r->status, NFS4_OK);
	check_num(r->n, 20);
	check(r->eof);
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "key number %d", i);
		check(lists(r, key));
	}
	do {
		r = list(f, cookie, 16 + 3 * 20); /* three of them */
		expect_status(r->status, NFS4_OK);
		check(r->n >= 1 && r->n <= 3);
		seen += r->n;
		pieces++;
		cookie = r->count64;
		/* What is gone meanwhile does not stop it. */
		expect_status(unset(f, r->entries[0].name)->status, NFS4_OK);
	} while (!r->eof);
	check_num(seen, 20);
	check_num(pieces, 7);
	r = list(f, cookie, 4096);
	expect_status(r->status, NFS4_OK);
	check_num(r->n, 0);
	check(r->eof);
}

/* maxcount is all of LISTXATTRS4resok (section 8.4.3.3). */
static void list_sizes(void **state)
{
	struct file *f = file_new();

	expect_status(list(f, 0, 15)->status, NFS4ERR_TOOSMALL);
	expect_status(list(f, 0, 16)->status, NFS4_OK);
	expect_status(set(f, EITHER, "twelve bytes", "x")->status, NFS4_OK);
	expect_status(list(f, 0, 16 + 15)->status, NFS4ERR_TOOSMALL);
	expect_status(list(f, 0, 16 + 16)->status, NFS4_OK);
	expect_status(list(f, 0, 0)->status, NFS4ERR_TOOSMALL);
}

/* Keys: what cannot be one. */
static void keys(void **state)
{
	struct file *f = file_new();
	char key[300] = "";
	struct compound *q;

	memset(key, 'k', KEY_MOST);
	expect_status(set(f, EITHER, key, "x")->status, NFS4_OK);
	has_value(f, key, "x");
	key[KEY_MOST] = 'k';
	expect_status(set(f, EITHER, key, "x")->status, NFS4ERR_NAMETOOLONG);
	expect_status(get(f, key)->status, NFS4ERR_NAMETOOLONG);
	expect_status(unset(f, key)->status, NFS4ERR_NAMETOOLONG);
	expect_status(set(f, EITHER, "", "x")->status, NFS4ERR_INVAL);
	expect_status(get(f, "")->status, NFS4ERR_INVAL);
	expect_status(unset(f, "")->status, NFS4ERR_INVAL);
	/* A NUL in it. */
	q = begin_at(f->cl, &f->fh);
	add_raw(q, OP_SETXATTR);
	put_u32(&q->enc, EITHER);
	put_opaque(&q->enc, "a\0b", 3);
	put_opaque(&q->enc, "x", 1);
	expect(call(q), NFS4ERR_BADCHAR);
	/* An option that there is not. */
	q = begin_at(f->cl, &f->fh);
	add_setxattr(q, 3, "key", "x", 1);
	expect(call(q), NFS4ERR_BADXDR);
}

/* The greatest value comes back; a greater one is refused (section 8.3.2). */
static void values(void **state)
{
	struct file *f = file_new();
	char *value = test_alloc(VALUE_MOST + 1);
	struct compound *q;
	struct result *r;

	for (int i = 0; i <= VALUE_MOST; i++)
		value[i] = (char)(i * 7);
	q = begin_at(f->cl, &f->fh);
	add_setxattr(q, EITHER, "big", value, VALUE_MOST);
	r = last(call(q));
	/* A file system may have less room for it. */
	expect_one_of(r->status, NFS4_OK, NFS4ERR_NOSPC, NFS4ERR_XATTR2BIG);
	if (r->status == NFS4_OK) {
		r = get(f, "big");
		expect_status(r->status, NFS4_OK);
		check_num(r->len, VALUE_MOST);
		check(memcmp(r->data, value, VALUE_MOST) == 0);
	}
	q = begin_at(f->cl, &f->fh);
	add_setxattr(q, EITHER, "bigger", value, VALUE_MOST + 1);
	expect(call(q), NFS4ERR_XATTR2BIG);
	expect_status(get(f, "bigger")->status, NFS4ERR_NOXATTR);
	expect_status(set(f, EITHER, "odd", "12345")->status, NFS4_OK);
	has_value(f, "odd", "12345");
}

/* A session whose replies have `max_response` bytes at most. */
static void narrow_session(struct client *cl, uint32_t max_response)
{
	const struct chan back = { 0, 4096, 4096, 0, 2, 1 };
	const struct chan fore = { 0, 1100000, max_response, 1024, 64, 16 };
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct reply *r;

	add_create_session(q, cl->clientid, cl->cs_sequence, 0, &fore, &back);
	r = call(q);
	expect(r, NFS4_OK);
	cl->cs_sequence++;
	memcpy(cl->session, last(r)->session, sizeof(cl->session));
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		cl->slot_seq[i] = 1;
}

/* A value that the session's replies have no room for (section 8.4.1.3). */
static void too_big_to_send(void **state)
{
	struct file *f = file_new();
	char *value = test_alloc(3001);

	memset(value, 'v', 3000);
	expect_status(set(f, EITHER, "key", value)->status, NFS4_OK);
	narrow_session(f->cl, 2048);
	expect_status(get(f, "key")->status, NFS4ERR_REP_TOO_BIG);
	value[1000] = '\0';
	expect_status(set(f, EITHER, "key", value)->status, NFS4_OK);
	has_value(f, "key", value);
}

static uint32_t access_of(struct file *f, uint32_t wanted)
{
	struct compound *q = begin_at(f->cl, &f->fh);
	struct reply *r;

	add_access(q, wanted);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->supported, wanted);
	return last(r)->access;
}

/* Reading lets read and list, writing change; ACCESS says so before (section 8.5). */
static void permissions(void **state)
{
	const uint32_t all = ACCESS4_XAREAD | ACCESS4_XAWRITE | ACCESS4_XALIST;
	struct file *f = file_new();
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q;

	expect_status(set(f, EITHER, "key", "value")->status, NFS4_OK);
	check_num(access_of(f, all), all);
	f->cl->conn->uid = 2001;
	f->cl->conn->gid = 2001;
	check_num(access_of(f, all), ACCESS4_XAREAD | ACCESS4_XALIST);
	has_value(f, "key", "value");
	check(lists(list(f, 0, 4096), "key"));
	expect_status(set(f, EITHER, "key", "mine")->status, NFS4ERR_ACCESS);
	expect_status(unset(f, "key")->status, NFS4ERR_ACCESS);
	f->cl->conn->uid = 0;
	f->cl->conn->gid = 0;
	q = begin_at(f->cl, &f->fh);
	at_num(a, FATTR4_MODE, 0602);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	f->cl->conn->uid = 2001;
	f->cl->conn->gid = 2001;
	check_num(access_of(f, all), ACCESS4_XAWRITE);
	expect_status(get(f, "key")->status, NFS4ERR_ACCESS);
	expect_status(list(f, 0, 4096)->status, NFS4ERR_ACCESS);
	expect_status(set(f, EITHER, "key", "theirs")->status, NFS4_OK);
	expect_status(unset(f, "key")->status, NFS4_OK);
}

/* Without a filehandle; in the minor versions before. */
static void where_not(void **state)
{
	struct file *f = file_new();
	struct client *old = client_new(1);
	struct compound *q = begin(f->cl);
	struct bitmap bm;

	add_getxattr(q, "key");
	expect(call(q), NFS4ERR_NOFILEHANDLE);
	q = begin_at(old, &f->fh);
	add_getxattr(q, "key");
	expect(call(q), NFS4ERR_OP_ILLEGAL);
	bm = getattrs(old, &f->fh, bm_of(FATTR4_SUPPORTED_ATTRS, -1))->a[FATTR4_SUPPORTED_ATTRS].bm;
	check(!bm_has(&bm, FATTR4_XATTR_SUPPORT));
	/* An exclusive create leaves nothing that is seen. */
	check_num(list(f, 0, 4096)->n, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_TEST(life),	WIRE_TEST(of_directories),
		WIRE_TEST(same_on_the_server), WIRE_TEST(change_info),
		WIRE_TEST(listing),	WIRE_TEST(list_sizes),
		WIRE_TEST(keys),	WIRE_TEST(values),
		WIRE_TEST(too_big_to_send), WIRE_TEST(permissions),
		WIRE_TEST(where_not),
	};

	return wire_main("xattr", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * READDIR (RFC 7530 section 16.24, RFC 8881 section 18.23): completeness, cookies and their
 * verifier, the two limits, attributes of entries.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

struct place {
	struct client *cl;
	struct fh dir;
};

static struct place *new_place(uint32_t minor)
{
	struct place *p = test_alloc(sizeof(*p));

	p->cl = client_new(minor);
	p->dir = test_dir(p->cl);
	return p;
}

/* entry-00000 and so on; links are made many at a time. */
static void fill(struct place *p, int n)
{
	for (int i = 0; i < n;) {
		const void *mark = test_mark();
		struct compound *q = begin(p->cl);

		for (int end = i + 25; i < end && i < n; i++) {
			char name[32];

			snprintf(name, sizeof(name), "entry-%05d", i);
			add_putfh(q, &p->dir);
			add_create(q, NF4LNK, name, "nowhere", 0, 0, NULL);
		}
		expect(call(q), NFS4_OK);
		test_release(mark);
	}
}

static struct reply *readdir_at(struct place *p, uint64_t cookie, const struct verf *verf,
				uint32_t dircount, uint32_t maxcount, struct bitmap bm)
{
	struct compound *q = begin_at(p->cl, &p->dir);

	add_readdir(q, cookie, verf, dircount, maxcount, bm);
	return call(q);
}

static int number_of(const struct entry *e)
{
	int n;

	if (sscanf(e->name, "entry-%d", &n) != 1)
		fail_with("the directory has an entry `%s'", e->name);
	return n;
}

/* Reads it all in pieces of that size; every entry must come once. Returns how many calls. */
static int read_all(struct place *p, int n, uint32_t maxcount, struct bitmap bm)
{
	bool *seen = test_alloc((size_t)n + 1);
	struct verf verf = { { 0 } };
	uint64_t cookie = 0;
	int calls = 0, total = 0;
	bool eof;

	do {
		struct reply *r = readdir_at(p, cookie, &verf, maxcount, maxcount, bm);
		struct result *d;

		expect(r, NFS4_OK);
		d = last(r);
		check(d->n > 0 || d->eof);
		for (uint32_t i = 0; i < d->n; i++) {
			int which = number_of(&d->entries[i]);

			check(which < n && !seen[which]);
			seen[which] = true;
			total++;
			/* 0, 1 and 2 are not cookies of entries (section 16.24.4). */
			check(d->entries[i].cookie > 2);
			cookie = d->entries[i].cookie;
		}
		verf = d->verf;
		eof = d->eof;
		calls++;
		check(calls < 10 * n + 10);
	} while (!eof);
	check_num((uint64_t)total, (uint64_t)n);
	return calls;
}

static void empty_directory(void **state)
{
	struct place *p = new_place(minor_of(state));
	struct reply *r = readdir_at(p, 0, NULL, 4096, 4096, bm_of(FATTR4_TYPE, -1));

	expect(r, NFS4_OK);
	check_num(last(r)->n, 0);
	check(last(r)->eof);
}

/* Everything once, in pieces of every size; `.' and `..' are not there. */
static void complete(void **state)
{
	struct place *p = new_place(minor_of(state));

	fill(p, 500);
	read_all(p, 500, 1 << 20, bm_of(FATTR4_TYPE, FATTR4_FILEID, -1));
	read_all(p, 500, 8192, bm_of(FATTR4_TYPE, FATTR4_FILEID, FATTR4_FILEHANDLE, -1));
	read_all(p, 500, 600, bm_of(FATTR4_FILEID, -1));
	read_all(p, 500, 200, (struct bitmap){ 0 });
}

/* A large directory. */
static void large(void **state)
{
	struct place *p = new_place(minor_of(state));

	fill(p, 5000);
	read_all(p, 5000, 32768, bm_of(FATTR4_TYPE, FATTR4_FILEID, FATTR4_FILEHANDLE, -1));
}

/* maxcount bounds READDIR4resok's bytes, exactly (section 16.24.4). */
static void maxcount_is_kept(void **state)
{
	struct place *p = new_place(minor_of(state));
	struct bitmap bm = bm_of(FATTR4_TYPE, FATTR4_FILEID, FATTR4_OWNER, -1);
	uint32_t least = 0, before = 0;

	fill(p, 100);
	for (uint32_t max = 0; max < 3000; max += max < 300 ? 1 : 37) {
		struct reply *r = readdir_at(p, 0, NULL, 8192, max, bm);
		/* Header of the compound, results before, number and status of READDIR. */
		size_t head, body;

		if (r->status == NFS4ERR_TOOSMALL) {
			if (least)
				fail_with("maxcount %u sufficed and %u is too small", least, max);
			continue;
		}
		expect(r, NFS4_OK);
		if (!least)
			least = max;
		check(last(r)->n >= 1);
		head = 4 + 4 + (r->tag_len + 3) / 4 * 4 + 4;
		head += p->cl->minor ? 8 + 16 + 20 : 0;
		head += 8; /* PUTFH */
		body = r->rpc->body_len - head - 8;
		if (body > max)
			fail_with("maxcount %u, the result has %zu bytes", max, body);
		/* Entries are not held back without need: one entry has about 60 to 70 bytes. */
		if (last(r)->n < 100 && body + 200 < max)
			fail_with("maxcount %u, the result has only %zu bytes", max, body);
		check(last(r)->n >= before);
		before = last(r)->n;
	}
	check(least > 40 && least < 200);
}

/* Not even one entry fits. */
static void too_small(void **state)
{
	struct place *p = new_place(minor_of(state));

	fill(p, 3);
	expect(readdir_at(p, 0, NULL, 8192, 0, bm_of(FATTR4_TYPE, -1)), NFS4ERR_TOOSMALL);
	expect(readdir_at(p, 0, NULL, 8192, 20, bm_of(FATTR4_TYPE, -1)), NFS4ERR_TOOSMALL);
	/* dircount is a hint, 0 means none. */
	expect(readdir_at(p, 0, NULL, 0, 8192, bm_of(FATTR4_TYPE, -1)), NFS4_OK);
	expect(readdir_at(p, 0, NULL, 1, 8192, bm_of(FATTR4_TYPE, -1)), NFS4_OK);
}

/* Every entry's cookie leads to exactly what follows it. */
static void every_cookie(void **state)
{
	struct place *p = new_place(minor_of(state));
	struct reply *r;
	struct result *all;

	fill(p, 60);
	r = readdir_at(p, 0, NULL, 65536, 65536, bm_of(FATTR4_TYPE, -1));
	expect(r, NFS4_OK);
	all = last(r);
	check_num(all->n, 60);
	check(all->eof);
	for (uint32_t i = 0; i < all->n; i++) {
		struct result *rest;

		r = readdir_at(p, all->entries[i].cookie, &all->verf, 65536, 65536,
			       bm_of(FATTR4_TYPE, -1));
		expect(r, NFS4_OK);
		rest = last(r);
		check_num(rest->n, 60 - i - 1);
		check(rest->eof);
		for (uint32_t j = 0; j < rest->n; j++)
			check(strcmp(rest->entries[j].name, all->entries[i + 1 + j].name) == 0);
	}
}

/* Entries come and go meanwhile; those that stay come exactly once. */
static void while_it_changes(void **state)
{
	struct place *p = new_place(minor_of(state));
	bool *seen = test_alloc(400);
	struct verf verf = { { 0 } };
	uint64_t cookie = 0;
	bool eof = false;
	int round = 0;

	fill(p, 400);
	while (!eof) {
		struct reply *r =
		    readdir_at(p, cookie, &verf, 2048, 2048, bm_of(FATTR4_FILEID, -1));
		struct result *d;
		char name[32];

		expect(r, NFS4_OK);
		d = last(r);
		for (uint32_t i = 0; i < d->n; i++) {
			int n;

			cookie = d->entries[i].cookie;
			if (sscanf(d->entries[i].name, "entry-%d", &n) != 1)
				continue; /* a new one: may come or not */
			check(!seen[n]);
			seen[n] = true;
		}
		verf = d->verf;
		eof = d->eof;
		/* Also the one that the cookie stands behind goes. */
		if (d->n)
			remove_name(p->cl, &p->dir, d->entries[d->n - 1].name);
		snprintf(name, sizeof(name), "new-%d", round++);
		make(p->cl, &p->dir, NF4DIR, name);
		check(round < 1000);
	}
	for (int i = 0; i < 400; i++)
		if (!seen[i])
			fail_with("entry %d was there all the time and was not listed", i);
}

/* Cookies that are none (section 16.24.4: 1 and 2 are reserved). */
static void bad_cookies(void **state)
{
	struct place *p = new_place(minor_of(state));

	fill(p, 3);
	expect(readdir_at(p, 1, NULL, 4096, 4096, bm_of(FATTR4_TYPE, -1)), NFS4ERR_BAD_COOKIE);
	expect(readdir_at(p, 2, NULL, 4096, 4096, bm_of(FATTR4_TYPE, -1)), NFS4ERR_BAD_COOKIE);
	/* One that nobody was given: an error, or some part of the directory. */
	expect_one_of(
	    readdir_at(p, 0xfedcba9876543210, NULL, 4096, 4096, bm_of(FATTR4_TYPE, -1))->status,
	    NFS4_OK, NFS4ERR_BAD_COOKIE, NFS4ERR_NOT_SAME);
	/* The first call comes with a verifier of zeros; another one may be refused. */
	{
		struct verf v = { { 1, 2, 3 } };

		expect_one_of(readdir_at(p, 0, &v, 4096, 4096, bm_of(FATTR4_TYPE, -1))->status,
			      NFS4_OK, NFS4ERR_BAD_COOKIE, NFS4ERR_NOT_SAME);
	}
}

/* The attributes are those of GETATTR; what does not exist is left out. */
static void attributes(void **state)
{
	struct place *p = new_place(minor_of(state));
	struct bitmap bm =
	    bm_of(FATTR4_TYPE, FATTR4_CHANGE, FATTR4_SIZE, FATTR4_FSID, FATTR4_RDATTR_ERROR,
		  FATTR4_FILEHANDLE, FATTR4_FILEID, FATTR4_MODE, FATTR4_NUMLINKS, FATTR4_OWNER,
		  FATTR4_TIME_MODIFY, FATTR4_MOUNTED_ON_FILEID, -1);
	struct timespec tick = { .tv_nsec = 50 * 1000 * 1000 };
	struct reply *r;

	make_file(p->cl, &p->dir, "file", "content", 7);
	make(p->cl, &p->dir, NF4DIR, "dir");
	make(p->cl, &p->dir, NF4LNK, "link");
	make(p->cl, &p->dir, NF4FIFO, "fifo");
	nanosleep(&tick, NULL);
	r = readdir_at(p, 0, NULL, 65536, 65536, bm);
	expect(r, NFS4_OK);
	check_num(last(r)->n, 4);
	for (uint32_t i = 0; i < 4; i++) {
		struct entry *e = &last(r)->entries[i];
		struct attrs *a;
		struct fh fh;

		expect_status(lookup(p->cl, &p->dir, e->name, &fh), NFS4_OK);
		a = getattrs(p->cl, &fh, bm);
		for (unsigned n = 0; n < ATTR_MAX; n++) {
			if (!bm_has(&bm, n) || n == FATTR4_RDATTR_ERROR)
				continue;
			check(bm_has(&e->attrs->mask, n));
			if (a->a[n].num != e->attrs->a[n].num ||
			    a->a[n].num2 != e->attrs->a[n].num2)
				fail_with("attribute %u of %s: READDIR %llu, GETATTR %llu", n,
					  e->name, (unsigned long long)e->attrs->a[n].num,
					  (unsigned long long)a->a[n].num);
			check_num(a->a[n].str_len, e->attrs->a[n].str_len);
			check(!a->a[n].str_len ||
			      !memcmp(a->a[n].str, e->attrs->a[n].str, a->a[n].str_len));
		}
		check_num(e->attrs->a[FATTR4_RDATTR_ERROR].num, NFS4_OK);
	}
}

/* A directory that may be listed but not searched: the names come all the same. */
static void unsearchable(void **state)
{
	struct place *p = new_place(minor_of(state));
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q;
	struct reply *r;

	fill(p, 5);
	at_num(a, FATTR4_MODE, 0744);
	q = begin_at(p->cl, &p->dir);
	add_setattr(q, &SID_ANONYMOUS, a);
	expect(call(q), NFS4_OK);
	p->cl->conn->uid = p->cl->conn->gid = 2001;
	r = readdir_at(p, 0, NULL, 65536, 65536,
		       bm_of(FATTR4_RDATTR_ERROR, FATTR4_FILEID, FATTR4_TYPE, -1));
	expect(r, NFS4_OK);
	check_num(last(r)->n, 5);
	for (uint32_t i = 0; i < 5; i++) {
		struct attrs *e = last(r)->entries[i].attrs;

		check(bm_has(&e->mask, FATTR4_RDATTR_ERROR));
		/* All the attributes, or the reason why not. */
		if (e->a[FATTR4_RDATTR_ERROR].num == NFS4_OK)
			check(bm_has(&e->mask, FATTR4_TYPE));
		else
			check_num(e->a[FATTR4_RDATTR_ERROR].num, NFS4ERR_ACCESS);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(empty_directory),
		WIRE_ALL_MINORS(complete),
		WIRE_MINOR(large, 0),
		WIRE_MINOR(large, 2),
		WIRE_ALL_MINORS(maxcount_is_kept),
		WIRE_ALL_MINORS(too_small),
		WIRE_ALL_MINORS(every_cookie),
		WIRE_ALL_MINORS(while_it_changes),
		WIRE_ALL_MINORS(bad_cookies),
		WIRE_ALL_MINORS(attributes),
		WIRE_ALL_MINORS(unsearchable),
	};

	return wire_main("readdir", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

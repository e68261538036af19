/*
 * Crash and recovery: SIGKILL, start, and clients that reclaim what they held (RFC 7530 sections
 * 9.6.2 and 9.6.3, RFC 8881 sections 8.4.2 and 8.4.3). Each test begins with a state directory in
 * which nothing has ever run.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE	      10 /* seconds; the shortest there is */
#define GRACE	      3
#define GRACE_TEXT    "3"
#define RESTART_FLAG  0x100u /* SEQ4_STATUS_RESTART_RECLAIM_NEEDED */
#define RDWR	      OPEN4_SHARE_ACCESS_BOTH

/* ---- the server ---- */

static const char *state_file(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", wire_server_state(), name);
	return path;
}

/* The first start of all; the key for filehandles may stay. */
static void fresh(void)
{
	struct dirent *e;
	DIR *d;

	if (wire_server_external())
		skip();
	wire_server_kill();
	d = opendir(wire_server_state());
	check(d != NULL);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && strcmp(e->d_name, "handle.key") != 0)
			check(unlink(state_file(e->d_name)) == 0);
	closedir(d);
	wire_server_start();
}

static void crash(void)
{
	wire_server_kill();
	wire_server_start();
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- clients that hold something ---- */

struct holder {
	struct client *cl;
	struct fh dir;
	struct open_file f;
	struct lock_state lock;
	const char *name;
};

/* Has `name` open and the first hundred bytes locked. */
static struct holder hold(uint32_t minor, const struct fh *dir, const char *name)
{
	struct holder h = { .cl = client_new(minor), .dir = *dir, .name = name };

	h.f = open_create(h.cl, owner_new(), dir, name, RDWR, 0);
	h.lock.owner = owner_new();
	expect_status(lock_range(h.cl, &h.f, &h.lock, WRITE_LT, 0, 100, NULL), NFS4_OK);
	return h;
}

static uint32_t reclaim_open(struct client *cl, struct open_file *f, uint32_t access, uint32_t deny)
{
	struct open_args a = { .access = access, .deny = deny, .claim = CLAIM_PREVIOUS };
	struct fh fh = f->fh;

	return open_any(cl, f->owner, &fh, &a, f);
}

static uint32_t reclaim_lock(struct client *cl, struct open_file *f, struct lock_state *ls,
			     uint32_t type, uint64_t off, uint64_t len)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;
	bool v40 = cl->minor == 0;

	add_lock_new(q, type, true, off, len, v40 ? f->owner->seqid : 0, &f->sid,
		    v40 ? ls->owner->seqid : 0, cl->clientid, ls->owner->name);
	r = call(q);
	if (v40 && seqid_advances(r->status)) {
		f->owner->seqid++;
		if (r->status == NFS4_OK)
			ls->owner->seqid++;
	}
	ls->have = r->status == NFS4_OK;
	if (ls->have)
		ls->sid = last(r)->sid;
	return r->status;
}

static uint32_t reclaim_complete(struct client *cl, bool one_fs)
{
	struct compound *q = begin(cl);

	if (one_fs)
		add_putrootfh(q);
	add_reclaim_complete(q, one_fs);
	return call(q)->status;
}

/* Back after a crash, with everything. */
static void recover(struct holder *h)
{
	client_return(h->cl);
	expect_status(reclaim_open(h->cl, &h->f, RDWR, 0), NFS4_OK);
	expect_status(reclaim_lock(h->cl, &h->f, &h->lock, WRITE_LT, 0, 100), NFS4_OK);
}

/* It has reclaimed all; in minor version 0 only something new says so. */
static void complete(struct client *cl, const struct fh *dir)
{
	if (cl->minor > 0)
		expect_status(reclaim_complete(cl, false), NFS4_OK);
	else
		expect_one_of((int)open_status(cl, owner_new(), dir, "no such file", RDWR, 0, NULL),
			      NFS4ERR_NOENT, NFS4ERR_GRACE);
}

static uint32_t write_with(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_write(q, sid, 0, FILE_SYNC4, "new", 3);
	return call(q)->status;
}

static uint32_t read_with(struct client *cl, const struct fh *fh, const struct sid *sid)
{
	struct compound *q = begin_at(cl, fh);

	add_read(q, sid, 0, 10);
	return call(q)->status;
}

static uint32_t new_open(struct client *cl, const struct fh *dir, const char *name)
{
	return open_status(cl, owner_new(), dir, name, RDWR, 0, NULL);
}

static bool in_grace(struct client *cl, const struct fh *dir)
{
	uint32_t status = new_open(cl, dir, "no such file");

	expect_one_of((int)status, NFS4ERR_NOENT, NFS4ERR_GRACE);
	return status == NFS4ERR_GRACE;
}

/* Waits for the end of a grace period that began no earlier than `start`. */
static void await_end_of_grace(struct client *cl, const struct fh *dir, double start)
{
	struct timespec step = { .tv_nsec = 50 * 1000 * 1000 };

	while (in_grace(cl, dir)) {
		if (now() - start > GRACE + 5)
			fail_with("the grace period does not end");
		nanosleep(&step, NULL);
	}
	if (now() - start < GRACE - 0.5)
		fail_with("the grace period was over after %.1f s", now() - start);
}

static uint32_t status_flags(struct client *cl)
{
	struct compound *q = begin(cl);
	struct reply *r;

	add_putrootfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	return r->op[0].status_flags;
}

/* The minor version of the others in a test. */
static uint32_t other(uint32_t minor)
{
	return minor ? 0 : 1;
}

/* ---- reclaiming ---- */

/* All of it: what a client reclaims it has, and nobody gets between. */
static void reclaim(void **state)
{
	uint32_t minor = minor_of(state);
	struct client *thief;
	struct open_file theirs;
	struct lock_state want;
	struct holder h;
	struct fh dir;

	fresh();
	dir = test_dir(client_new(1));
	h = hold(minor, &dir, "f");
	expect_status(write_with(h.cl, &h.f.fh, &h.f.sid), NFS4_OK);
	crash();

	thief = client_new(other(minor));
	expect_status(new_open(thief, &dir, "f"), NFS4ERR_GRACE);
	client_return(h.cl);
	if (minor > 0)
		check(status_flags(h.cl) & RESTART_FLAG);
	expect_status(new_open(h.cl, &dir, "f"), NFS4ERR_GRACE);
	expect_status(reclaim_open(h.cl, &h.f, RDWR, 0), NFS4_OK);
	check((h.f.rflags & OPEN4_RESULT_CONFIRM) == 0);
	expect_status(new_open(thief, &dir, "f"), NFS4ERR_GRACE);
	expect_status(reclaim_lock(h.cl, &h.f, &h.lock, WRITE_LT, 0, 100), NFS4_OK);
	expect_status(new_open(thief, &dir, "f"), NFS4ERR_GRACE);
	if (minor > 0) {
		check(status_flags(h.cl) & RESTART_FLAG);
		expect_status(reclaim_complete(h.cl, true), NFS4_OK); /* of no importance */
		expect_status(new_open(thief, &dir, "f"), NFS4ERR_GRACE);
		expect_status(reclaim_complete(h.cl, false), NFS4_OK);
		check(!(status_flags(h.cl) & RESTART_FLAG));
		expect_status(reclaim_complete(h.cl, false), NFS4ERR_COMPLETE_ALREADY);
	} else {
		/* Something new of the client: it is done, and gets it at once. */
		expect_status(write_with(h.cl, &h.f.fh, &h.lock.sid), NFS4_OK);
	}

	/* Everybody is back: the grace period is over. */
	expect_status(open_status(thief, owner_new(), &dir, "f", RDWR, 0, &theirs), NFS4_OK);
	want.owner = owner_new();
	want.have = false;
	expect_status(lock_range(thief, &theirs, &want, WRITE_LT, 50, 1, NULL), NFS4ERR_DENIED);
	expect_status(write_with(h.cl, &h.f.fh, &h.f.sid), NFS4_OK);
	expect_status(write_with(h.cl, &h.f.fh, &h.lock.sid), NFS4_OK);
	expect_status(reclaim_open(h.cl, &h.f, RDWR, 0), NFS4ERR_NO_GRACE);
	expect_status(unlock_range(h.cl, &h.f, &h.lock, 0, 100), NFS4_OK);
	expect_status(lock_range(thief, &theirs, &want, WRITE_LT, 50, 1, NULL), NFS4_OK);
	close_file(h.cl, &h.f);
}

/* What else there is not during the grace period, and what there is. */
static void nothing_new(void **state)
{
	uint32_t minor = minor_of(state);
	struct client *cl;
	struct attrs *size = test_alloc(sizeof(*size)), *mode = test_alloc(sizeof(*mode));
	struct open_args exclusive = { .access = RDWR,
				       .name = "made",
				       .opentype = OPEN4_CREATE,
				       .createmode = GUARDED4,
				       .attrs = mode };
	struct compound *q;
	struct open_file made;
	struct holder h;
	struct fh dir, fh;

	fresh();
	dir = test_dir(client_new(1));
	h = hold(1, &dir, "f");
	fh = make_file(h.cl, &dir, "g", "old", 3);
	make_file(h.cl, &dir, "h", "old", 3);
	crash();
	client_return(h.cl);
	expect_status(reclaim_open(h.cl, &h.f, RDWR, 0), NFS4_OK);
	cl = client_new(minor);

	expect_status(read_with(cl, &fh, &SID_ANONYMOUS), NFS4ERR_GRACE);
	expect_status(read_with(cl, &fh, &SID_BYPASS), NFS4ERR_GRACE);
	expect_status(write_with(cl, &fh, &SID_ANONYMOUS), NFS4ERR_GRACE);
	expect_status(lockt(cl, &fh, owner_new(), WRITE_LT, 0, 1, NULL), NFS4ERR_GRACE);
	at_num(size, FATTR4_SIZE, 0);
	q = begin_at(cl, &fh);
	add_setattr(q, &SID_ANONYMOUS, size);
	expect(call(q), NFS4ERR_GRACE);
	/* Nothing is made by an OPEN that has to be repeated. */
	at_num(mode, FATTR4_MODE, 0644);
	expect_status(open_any(cl, owner_new(), &dir, &exclusive, &made), NFS4ERR_GRACE);
	expect_status(lookup(cl, &dir, "made", NULL), NFS4ERR_NOENT);

	check_num(getattr_num(cl, &fh, FATTR4_SIZE), 3);
	at_num(size, FATTR4_MODE, 0600);
	size->mask = mode->mask;
	q = begin_at(cl, &fh);
	add_setattr(q, &SID_ANONYMOUS, mode);
	expect(call(q), NFS4_OK);
	expect_status(remove_name(cl, &dir, "h"), NFS4_OK);
	/* What has been reclaimed is of use already. */
	expect_status(write_with(h.cl, &h.f.fh, &h.f.sid), NFS4_OK);
	expect_status(read_with(h.cl, &h.f.fh, &h.f.sid), NFS4_OK);
	h.lock.have = false;
	expect_status(lock_range(h.cl, &h.f, &h.lock, READ_LT, 0, 1, NULL), NFS4ERR_GRACE);

	expect_status(reclaim_complete(h.cl, false), NFS4_OK);
	expect_status(open_any(cl, owner_new(), &dir, &exclusive, &made), NFS4_OK);
	expect_status(read_with(cl, &fh, &SID_ANONYMOUS), NFS4_OK);
}

/* Without anybody who held something there is no grace period. */
static void nobody_held_anything(void **state)
{
	uint32_t minor = minor_of(state);
	struct client *cl;
	struct open_file f;
	struct fh dir;

	fresh();
	client_new(minor); /* knows the server, has nothing */
	crash();
	cl = client_new(minor);
	dir = test_dir(cl);
	f = open_create(cl, owner_new(), &dir, "f", RDWR, 0);
	expect_status(reclaim_open(cl, &f, RDWR, 0), NFS4ERR_NO_GRACE);
	close_file(cl, &f);
}

/* A client that is destroyed is waited for no more. */
static void destroyed(void **state)
{
	struct client *cl;
	struct compound *q;
	struct open_file f;
	struct fh dir;

	fresh();
	cl = client_new(minor_of(state));
	dir = test_dir(cl);
	f = open_create(cl, owner_new(), &dir, "f", RDWR, 0);
	close_file(cl, &f);
	q = compound_begin(cl->conn, cl->minor, "");
	add_destroy_session(q, cl->session);
	expect(call(q), NFS4_OK);
	q = compound_begin(cl->conn, cl->minor, "");
	add_destroy_clientid(q, cl->clientid);
	expect(call(q), NFS4_OK);
	/* The removal is written with the next promise, here to somebody who then goes, too. */
	cl = client_new(1);
	f = open_create(cl, owner_new(), &dir, "g", RDWR, 0);
	crash();
	client_return(cl);
	expect_status(reclaim_complete(cl, false), NFS4_OK);
	expect_status(new_open(cl, &dir, "f"), NFS4_OK);
}

/* All must be back. One that destroys its client ID is; one that has rebooted, too. */
static void until_the_last(void **state)
{
	struct holder a, b, c, d;
	struct client *cl;
	struct compound *q;
	struct fh dir;

	fresh();
	dir = test_dir(client_new(1));
	a = hold(0, &dir, "a");
	b = hold(1, &dir, "b");
	c = hold(2, &dir, "c");
	d = hold(0, &dir, "d");
	crash();
	cl = client_new(minor_of(state));
	recover(&b);
	complete(b.cl, &dir);
	check(in_grace(cl, &dir));
	expect_status(new_open(b.cl, &dir, "b"), NFS4ERR_GRACE);
	recover(&a);
	complete(a.cl, &dir);
	check(in_grace(cl, &dir));
	client_return(c.cl);
	q = compound_begin(c.cl->conn, c.cl->minor, "");
	add_destroy_session(q, c.cl->session);
	expect(call(q), NFS4_OK);
	q = compound_begin(c.cl->conn, c.cl->minor, "");
	add_destroy_clientid(q, c.cl->clientid);
	expect(call(q), NFS4_OK);
	check(in_grace(cl, &dir));
	d.cl->verf.data[0] ^= 0xff;
	client_return(d.cl);
	check(!in_grace(cl, &dir));
	expect_status(new_open(b.cl, &dir, "b"), NFS4_OK);
}

/* One after the other, and the server crashes in between: nobody is forgotten. */
static void crash_within_grace(void **state)
{
	uint32_t minor = minor_of(state);
	struct holder a, b;
	struct client *cl;
	struct fh dir;

	fresh();
	dir = test_dir(client_new(1));
	a = hold(minor, &dir, "a");
	b = hold(minor, &dir, "b");
	crash();
	recover(&a);
	crash();
	recover(&a);
	complete(a.cl, &dir);
	crash();
	recover(&b);
	complete(b.cl, &dir);
	cl = client_new(1);
	check(in_grace(cl, &dir));
	recover(&a);
	complete(a.cl, &dir);
	check(!in_grace(cl, &dir));
}

/* ---- edge conditions (RFC 7530 section 9.6.3.4, RFC 8881 section 8.4.3) ---- */

/* Takes what `h` had, gives it back. */
static void use_meanwhile(struct client *cl, struct holder *h)
{
	struct lock_state ls = { .owner = owner_new() };
	struct open_file f;

	expect_status(open_status(cl, owner_new(), &h->dir, h->name, RDWR, 0, &f), NFS4_OK);
	expect_status(lock_range(cl, &f, &ls, WRITE_LT, 0, 100, NULL), NFS4_OK);
	expect_status(write_with(cl, &f.fh, &ls.sid), NFS4_OK);
	expect_status(unlock_range(cl, &f, &ls, 0, 100), NFS4_OK);
	close_file(cl, &f);
}

static void keep_alive(struct client *cl)
{
	struct compound *q = begin(cl);

	if (cl->minor == 0)
		add_renew(q, cl->clientid);
	expect(call(q), NFS4_OK);
}

/* The first: a lease expires, others use the file, the server crashes. All minors in one wait. */
static void first_edge(void **state)
{
	struct timespec step = { .tv_nsec = 500 * 1000 * 1000 };
	struct client *other_cl;
	struct open_file keep;
	struct holder h[3];
	struct fh dir;
	double start;

	fresh();
	other_cl = client_new(1);
	dir = test_dir(other_cl);
	h[0] = hold(0, &dir, "0");
	h[1] = hold(1, &dir, "1");
	h[2] = hold(2, &dir, "2");
	keep = open_create(other_cl, owner_new(), &dir, "keep", RDWR, 0);
	for (start = now(); now() - start < LEASE + 1.5; nanosleep(&step, NULL))
		keep_alive(other_cl);
	for (uint32_t i = 0; i < 3; i++)
		use_meanwhile(other_cl, &h[i]);
	crash();
	for (uint32_t i = 0; i < 3; i++) {
		client_return(h[i].cl);
		expect_status(reclaim_open(h[i].cl, &h[i].f, RDWR, 0), NFS4ERR_NO_GRACE);
	}
	client_return(other_cl);
	expect_status(reclaim_open(other_cl, &keep, RDWR, 0), NFS4_OK);
	expect_status(reclaim_complete(other_cl, false), NFS4_OK);
	/* Nobody waits for those who lost everything; they may begin anew. */
	for (uint32_t i = 0; i < 3; i++) {
		if (i > 0)
			expect_status(reclaim_complete(h[i].cl, false), NFS4_OK);
		expect_status(new_open(h[i].cl, &dir, h[i].name), NFS4_OK);
	}
}

/* The second: a client misses the grace period, others use the file, the server crashes again. */
static void second_edge(void **state)
{
	struct client *other_cl;
	struct holder h[3], present;
	struct fh dir;
	double start;

	fresh();
	other_cl = client_new(1);
	dir = test_dir(other_cl);
	for (uint32_t i = 0; i < 3; i++)
		h[i] = hold(i, &dir, i == 0 ? "0" : i == 1 ? "1" : "2");
	present = hold(0, &dir, "present");
	wire_server_kill();
	start = now();
	wire_server_start();
	recover(&present);
	client_return(other_cl);
	expect_status(reclaim_complete(other_cl, false), NFS4_OK);
	await_end_of_grace(other_cl, &dir, start);
	for (uint32_t i = 0; i < 3; i++)
		use_meanwhile(other_cl, &h[i]);
	crash();
	for (uint32_t i = 0; i < 3; i++) {
		client_return(h[i].cl);
		expect_status(reclaim_open(h[i].cl, &h[i].f, RDWR, 0), NFS4ERR_NO_GRACE);
	}
	recover(&present);
	complete(present.cl, &dir);
	check(in_grace(present.cl, &dir)); /* other_cl is not back */
	client_return(other_cl);
	expect_status(reclaim_complete(other_cl, false), NFS4_OK);
	check(!in_grace(present.cl, &dir));
}

/* ---- who may not ---- */

static void strangers(void **state)
{
	uint32_t minor = minor_of(state);
	struct client *cl;
	struct holder h;
	struct fh dir;

	fresh();
	dir = test_dir(client_new(1));
	h = hold(minor, &dir, "f");
	crash();
	cl = client_bare(minor);
	client_return(cl);
	expect_status(reclaim_open(cl, &h.f, RDWR, 0), NFS4ERR_NO_GRACE);
	/* The same name, but another user's: not the client that held the file. */
	cl = client_bare(minor);
	memcpy(cl->id, h.cl->id, sizeof(cl->id));
	cl->conn->uid = 1234;
	client_return(cl);
	expect_status(reclaim_open(cl, &h.f, RDWR, 0), NFS4ERR_NO_GRACE);
	check(in_grace(client_new(1), &dir));
}

/* What has been reclaimed can be reclaimed by nobody else. */
static void conflicts(void **state)
{
	uint32_t minor = minor_of(state);
	struct holder a, b;
	struct open_file f;
	struct lock_state ls = { .owner = owner_new() };
	struct fh dir;

	fresh();
	dir = test_dir(client_new(1));
	a = hold(minor, &dir, "a");
	b = hold(other(minor), &dir, "b");
	crash();
	recover(&a);
	client_return(b.cl);
	f = (struct open_file){ .fh = a.f.fh, .owner = owner_new() };
	expect_status(reclaim_open(b.cl, &f, RDWR, OPEN4_SHARE_DENY_WRITE),
		      NFS4ERR_RECLAIM_CONFLICT);
	expect_status(reclaim_open(b.cl, &f, RDWR, 0), NFS4_OK);
	expect_status(reclaim_lock(b.cl, &f, &ls, READ_LT, 99, 1), NFS4ERR_RECLAIM_CONFLICT);
	expect_status(reclaim_lock(b.cl, &f, &ls, READ_LT, 100, 1), NFS4_OK);
}

/* A reclaim is no way around permissions; but an owner keeps what its file's mode forbids it. */
static void permissions(void **state)
{
	uint32_t minor = minor_of(state);
	struct attrs *mode = test_alloc(sizeof(*mode));
	struct open_file f, denied;
	struct client *cl;
	struct compound *q;
	struct fh fh;

	fresh();
	cl = client_new(minor);
	at_num(mode, FATTR4_MODE, 0777);
	fh = test_dir(cl);
	q = begin_at(cl, &fh);
	add_setattr(q, &SID_ANONYMOUS, mode);
	expect(call(q), NFS4_OK);
	/* Root's, and closed to others. */
	denied.fh = make_file(cl, &fh, "root's", "x", 1);
	denied.owner = owner_new();
	cl->conn->uid = 4711;
	cl->conn->gid = 4711;
	f = open_create(cl, owner_new(), &fh, "mine", RDWR, 0);
	at_num(mode, FATTR4_MODE, 0);
	q = begin_at(cl, &f.fh);
	add_setattr(q, &SID_ANONYMOUS, mode);
	expect(call(q), NFS4_OK);
	crash();
	cl->conn->uid = 0;
	client_return(cl);
	cl->conn->uid = 4711;
	expect_status(reclaim_open(cl, &f, RDWR, 0), NFS4_OK);
	expect_status(reclaim_open(cl, &denied, RDWR, 0), NFS4ERR_ACCESS);
	cl->conn->uid = 4712;
	expect_status(reclaim_open(cl, &(struct open_file){ .fh = f.fh, .owner = owner_new() }, RDWR,
				   0),
		      NFS4ERR_ACCESS);
	cl->conn->uid = 4711;
	expect_status(write_with(cl, &f.fh, &f.sid), NFS4_OK);
}

/* ---- when the records are not what they should be ---- */

/* Who held something is not known: whoever comes may reclaim, and the time is waited for. */
static void anybody(uint32_t minor, void (*harm)(void), const char *message)
{
	struct client *cl;
	struct holder h;
	struct fh dir;
	unsigned said;
	double start;

	fresh();
	said = wire_server_said(message);
	dir = test_dir(client_new(1));
	h = hold(minor, &dir, "f");
	wire_server_kill();
	harm();
	start = now();
	wire_server_start();
	check_num(wire_server_said(message), said + 1);
	cl = client_new(other(minor));
	expect_status(new_open(cl, &dir, "f"), NFS4ERR_GRACE);
	recover(&h);
	complete(h.cl, &dir);
	expect_status(new_open(cl, &dir, "f"), NFS4ERR_GRACE);
	await_end_of_grace(cl, &dir, start);
	expect_status(new_open(cl, &dir, "f"), NFS4_OK);
	/* And from now on it is known again. */
	crash();
	recover(&h);
	complete(h.cl, &dir);
	client_return(cl);
	if (cl->minor > 0) {
		expect_status(reclaim_complete(cl, false), NFS4_OK);
	} else {
		cl->verf.data[0] ^= 0xff;
		client_return(cl);
	}
	check(!in_grace(cl, &dir));
}

static void remove_database(void)
{
	check(unlink(state_file("clients.db")) == 0);
	(void)!unlink(state_file("clients.db-wal"));
}

static void missing_database(void **state)
{
	anybody(minor_of(state), remove_database, "clients.db is missing");
}

static void overwrite_database(void)
{
	FILE *f = fopen(state_file("clients.db"), "w");

	check(f != NULL);
	for (unsigned i = 0; i < 1000; i++)
		fputs("no database ", f);
	check(fclose(f) == 0);
	(void)!unlink(state_file("clients.db-wal"));
}

static void corrupt_database(void **state)
{
	anybody(minor_of(state), overwrite_database, "clients.db cannot be used (it is damaged)");
	check(access(state_file("clients.db.damaged"), F_OK) == 0);
}

/* The server goes on without recording anybody, and says so; the next start knows that. */
static void read_only_database(void **state)
{
	char path[512];
	struct client *cl;
	struct holder h;
	struct fh dir;
	double start;

	fresh();
	wire_server_kill();
	snprintf(path, sizeof(path), "%s", state_file("clients.db"));
	check(mount(path, path, NULL, MS_BIND, NULL) == 0);
	check(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0);
	wire_server_start();
	check(wire_server_said("cannot record a client"));
	cl = client_new(1);
	dir = test_dir(cl);
	await_end_of_grace(cl, &dir, now() - GRACE);
	h = hold(minor_of(state), &dir, "f");
	wire_server_kill();
	check(umount2(path, 0) == 0);
	start = now();
	wire_server_start();
	recover(&h);
	cl = client_new(1);
	expect_status(new_open(cl, &dir, "f"), NFS4ERR_GRACE);
	await_end_of_grace(cl, &dir, start);
}

static void fill_state_directory(void)
{
	static const char zeros[4096];
	int fd = open(state_file("filler"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	check(fd >= 0);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	check(errno == ENOSPC);
	close(fd);
}

/*
 * Neither can a client be recorded nor is it possible to take back that all are: nothing new is
 * granted, nor left behind by what is refused. Old things go on.
 */
static void nothing_can_be_promised(void **state)
{
	const char *dir_path = wire_server_state();
	char complete_path[512];
	struct lock_state more;
	struct client *other;
	struct holder h;
	struct fh dir;

	fresh();
	wire_server_kill();
	check(mount("state", dir_path, "tmpfs", 0, "size=1m,mode=0700") == 0);
	wire_server_start();
	other = client_new(1);
	dir = test_dir(other);
	h = hold(minor_of(state), &dir, "f");
	snprintf(complete_path, sizeof(complete_path), "%s", state_file("clients.complete"));
	check(mount(complete_path, complete_path, NULL, MS_BIND, NULL) == 0);
	fill_state_directory();

	expect_status(open_status(other, owner_new(), &dir, "f", RDWR, 0, NULL), NFS4ERR_DELAY);
	more = h.lock;
	expect_status(lock_range(h.cl, &h.f, &more, WRITE_LT, 200, 100, NULL), NFS4ERR_DELAY);
	expect_status(lockt(other, &h.f.fh, owner_new(), WRITE_LT, 200, 100, NULL), NFS4_OK);
	expect_status(lockt(other, &h.f.fh, owner_new(), WRITE_LT, 0, 1, NULL), NFS4ERR_DENIED);
	expect_status(unlock_range(h.cl, &h.f, &h.lock, 50, 50), NFS4_OK);

	check(unlink(state_file("filler")) == 0);
	check(umount2(complete_path, 0) == 0);
	expect_status(lock_range(h.cl, &h.f, &h.lock, WRITE_LT, 200, 100, NULL), NFS4_OK);
	expect_status(open_status(other, owner_new(), &dir, "f", RDWR, 0, NULL), NFS4_OK);
	wire_server_kill();
	check(umount2(dir_path, 0) == 0);
	wire_server_start();
}

/*
 * The disk is full, but that not all are recorded can be noted: the server goes on, says so, and after
 * a crash whoever comes may reclaim.
 */
static void full_database(void **state)
{
	const char *dir_path = wire_server_state();
	struct client *other;
	struct holder h;
	struct fh dir;
	unsigned said;
	double start;

	fresh();
	wire_server_kill();
	check(mount("state", dir_path, "tmpfs", 0, "size=1m,mode=0700") == 0);
	wire_server_start();
	other = client_new(1);
	dir = test_dir(other);
	said = wire_server_said("cannot record a client");
	fill_state_directory();
	h = hold(minor_of(state), &dir, "f");
	check_num(wire_server_said("cannot record a client"), said + 1);
	wire_server_kill();
	check(unlink(state_file("filler")) == 0);
	start = now();
	wire_server_start();
	recover(&h);
	other = client_new(1);
	expect_status(new_open(other, &dir, "f"), NFS4ERR_GRACE);
	await_end_of_grace(other, &dir, start);
	wire_server_kill();
	check(umount2(dir_path, 0) == 0);
	wire_server_start();
}

/* A planned stop within the grace period: the next start has one again, and nobody is forgotten. */
static void stopped_within_grace(void **state)
{
	uint32_t minor = minor_of(state);
	struct holder a, b;
	struct client *cl;
	struct fh dir;

	fresh();
	dir = test_dir(client_new(1));
	a = hold(minor, &dir, "a");
	b = hold(minor, &dir, "b");
	crash();
	recover(&a);
	complete(a.cl, &dir);
	wire_server_restart();
	cl = client_new(1);
	check(in_grace(cl, &dir));
	recover(&b);
	complete(b.cl, &dir);
	check(in_grace(cl, &dir));
	recover(&a);
	complete(a.cl, &dir);
	check(!in_grace(cl, &dir));
}

int main(void)
{
	static const char *const extra[] = { "--grace", GRACE_TEXT, NULL };
	static const struct wire_options options = { .lease = LEASE, .extra = extra };
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(reclaim),
		WIRE_ALL_MINORS(nothing_new),
		WIRE_ALL_MINORS(nobody_held_anything),
		WIRE_SESSIONS(destroyed),
		WIRE_ALL_MINORS(until_the_last),
		WIRE_ALL_MINORS(crash_within_grace),
		WIRE_ALL_MINORS(stopped_within_grace),
		WIRE_TEST(first_edge),
		WIRE_TEST(second_edge),
		WIRE_ALL_MINORS(strangers),
		WIRE_ALL_MINORS(conflicts),
		WIRE_ALL_MINORS(permissions),
		WIRE_ALL_MINORS(missing_database),
		WIRE_MINOR(corrupt_database, 1),
		WIRE_MINOR(read_only_database, 1),
		WIRE_MINOR(full_database, 1),
		WIRE_ALL_MINORS(nothing_can_be_promised),
	};

	return wire_main("reclaim", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Planned restarts: whatever clients hold goes on, and they notice a new connection and nothing
 * else. Every test restarts the server both ways: by its end and a new start, and in its process.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

static void restart(unsigned round)
{
	if (round % 2)
		wire_server_exec();
	else
		wire_server_restart();
}

/* How many have begun. */
static unsigned grace_periods(void)
{
	return wire_server_said(": grace period until") + wire_server_said(": grace period of");
}

/* The same client over a new connection. */
static void reconnect(struct client *cl)
{
	struct conn *before = cl->conn;

	cl->conn = conn_new();
	cl->conn->flavor = before->flavor;
	cl->conn->uid = before->uid;
	cl->conn->gid = before->gid;
}

static uint32_t write_status(struct client *cl, struct open_file *f, const struct sid *sid,
			     uint64_t offset, const char *text)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_write(q, sid, offset, UNSTABLE4, text, (uint32_t)strlen(text));
	r = call(q);
	return r->status;
}

static uint32_t getattr_status(struct client *cl, const struct fh *fh)
{
	struct compound *q = begin_at(cl, fh);

	add_getattr(q, bm_of(FATTR4_SIZE, -1));
	return call(q)->status;
}

static void expect_text(struct client *cl, struct open_file *f, const struct sid *sid,
			uint64_t offset, const char *text)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_read(q, sid, offset, (uint32_t)strlen(text));
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->len, strlen(text));
	check(memcmp(last(r)->data, text, strlen(text)) == 0);
}

/* A client with an open file that has a lock on its first bytes. */
struct actor {
	struct client *cl;
	struct open_file f;
	struct lock_state lock;
	char name[32];
};

static void actor_begin(struct actor *a, uint32_t minor, const struct fh *dir)
{
	a->cl = client_new(minor);
	snprintf(a->name, sizeof(a->name), "of-4.%u", minor);
	a->f = open_create(a->cl, owner_new(), dir, a->name, OPEN4_SHARE_ACCESS_BOTH,
			   OPEN4_SHARE_DENY_NONE);
	a->lock.owner = owner_new();
	expect_status(lock_range(a->cl, &a->f, &a->lock, WRITE_LT, 0, 10, NULL), NFS4_OK);
}

static void actor_goes_on(struct actor *a, unsigned round)
{
	char text[32];

	reconnect(a->cl);
	snprintf(text, sizeof(text), "round %u", round);
	expect_status(write_status(a->cl, &a->f, &a->f.sid, round * 10, text), NFS4_OK);
	expect_text(a->cl, &a->f, &a->lock.sid, round * 10, text);
	expect_status(lock_range(a->cl, &a->f, &a->lock, WRITE_LT, 100 + round, 1, NULL), NFS4_OK);
}

/* Has `other` what `a` has locked? It must not. */
static void expect_locked(struct actor *a, struct client *other)
{
	struct result *r;

	expect_status(lockt(other, &a->f.fh, owner_new(), READ_LT, 0, 10, &r), NFS4ERR_DENIED);
	check_num(r->denied.clientid, a->cl->clientid);
}

static void twenty_restarts(void **state)
{
	struct actor a[3] = { 0 };
	struct fh dir = { 0 };
	unsigned graces;

	for (uint32_t minor = 0; minor < 3; minor++) {
		if (minor == 0)
			dir = test_dir(client_new(1));
		actor_begin(&a[minor], minor, &dir);
	}
	graces = grace_periods();
	for (unsigned round = 0; round < 20; round++) {
		restart(round);
		for (unsigned i = 0; i < 3; i++)
			actor_goes_on(&a[i], round);
		for (unsigned i = 0; i < 3; i++)
			expect_locked(&a[i], a[(i + 1) % 3].cl);
	}
	for (unsigned i = 0; i < 3; i++) {
		expect_status(unlock_range(a[i].cl, &a[i].f, &a[i].lock, 0, NFS4_UINT64_MAX),
			      NFS4_OK);
		close_file(a[i].cl, &a[i].f);
	}
	check_num(grace_periods(), graces);
}

/* A request that has been answered, sent again to the next process, gets the same answer. */
static void replays(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct attrs a = { 0 };

	at_num(&a, FATTR4_MODE, 0755);
	for (unsigned round = 0; round < 2; round++) {
		struct compound *q, *again;
		struct rpc_reply *first, *second;
		char name[16];

		snprintf(name, sizeof(name), "made%u", round);
		cl->cache_this = true;
		q = begin_at(cl, &dir);
		add_create(q, NF4DIR, name, NULL, 0, 0, &a);
		add_getfh(q);
		again = q;
		check(compound_send(q));
		first = rpc_must_recv(cl->conn);
		restart(round);
		reconnect(cl);
		again->conn = cl->conn;
		check(compound_send(again));
		second = rpc_must_recv(cl->conn);
		check_num(second->outcome, RPC_SUCCESS_R);
		check_num(second->body_len, first->body_len);
		check(memcmp(second->body, first->body, first->body_len) == 0);
		compound_done(again, compound_parse(again, second));
		cl->cache_this = false;
		/* And it was made once. */
		expect_status(lookup(cl, &dir, name, NULL), NFS4_OK);
	}
}

/* Minor version 0: the same for the requests of open-owners. */
static void owners_replay(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);

	for (unsigned round = 0; round < 2; round++) {
		struct compound *q = begin_at(cl, &f.fh);
		struct sid first;
		struct reply *r;

		add_open_downgrade(q, &f.sid, o->seqid, OPEN4_SHARE_ACCESS_BOTH, 0);
		r = call(q);
		expect(r, NFS4_OK);
		first = last(r)->sid;
		restart(round);
		reconnect(cl);
		q = begin_at(cl, &f.fh);
		add_open_downgrade(q, &f.sid, o->seqid, OPEN4_SHARE_ACCESS_BOTH, 0);
		r = call(q);
		expect(r, NFS4_OK);
		check(memcmp(&first, &last(r)->sid, sizeof(first)) == 0);
		f.sid = first;
		o->seqid++;
	}
	close_file(cl, &f);
}

/*
 * An open file that has lost its name goes on over restarts in place, also over one before which
 * nobody has used it, and is let go when it is closed.
 */
static void nameless_goes_on(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(1);
	struct fh dir = test_dir(cl);
	struct open_file f, g;

	f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	g = open_create(cl, owner_new(), &dir, "g", OPEN4_SHARE_ACCESS_BOTH, 0);
	expect_status(write_status(cl, &f, &f.sid, 0, "before"), NFS4_OK);
	expect_status(write_status(cl, &g, &g.sid, 0, "idle"), NFS4_OK);
	expect_status(remove_name(other, &dir, "f"), NFS4_OK);
	expect_status(remove_name(other, &dir, "g"), NFS4_OK);
	for (unsigned round = 0; round < 3; round++) {
		wire_server_exec();
		reconnect(cl);
		expect_text(cl, &f, &f.sid, 0, "before");
		expect_status(write_status(cl, &f, &f.sid, 100, "after"), NFS4_OK);
	}
	expect_text(cl, &g, &g.sid, 0, "idle");
	check(wire_server_nameless() > 0);
	close_file(cl, &f);
	close_file(cl, &g);
	for (unsigned i = 0; wire_server_nameless() > 0; i++) {
		check(i < 300);
		usleep(100 * 1000);
	}
	check_num(getattr_status(cl, &f.fh), NFS4ERR_STALE);
}

/* What was opened stays so, whatever has become of the permission. */
static void opened_is_opened(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f;
	struct attrs a = { 0 };
	struct compound *q;

	at_num(&a, FATTR4_MODE, 0777);
	q = begin_at(cl, &dir);
	add_setattr(q, &SID_ANONYMOUS, &a);
	expect(call(q), NFS4_OK);
	cl->conn->flavor = 1;
	cl->conn->uid = cl->conn->gid = 4711;
	f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	a = (struct attrs){ 0 };
	at_num(&a, FATTR4_MODE, 0);
	q = begin_at(cl, &f.fh);
	add_setattr(q, &SID_ANONYMOUS, &a);
	expect(call(q), NFS4_OK);
	for (unsigned round = 0; round < 2; round++) {
		restart(round);
		reconnect(cl);
		expect_status(write_status(cl, &f, &f.sid, 0, "mine"), NFS4_OK);
		expect_text(cl, &f, &f.sid, 0, "mine");
	}
	close_file(cl, &f);
	/* Closed, it is lost. */
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_ACCESS);
}

static void delegations_go_on(void **state)
{
	struct conn *back;
	struct client *cl = client_new_back(minor_of(state), &back);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	bool writes = cl->minor > 0; /* minor version 0 is given read delegations only */
	uint32_t access = writes ? OPEN4_SHARE_ACCESS_BOTH : OPEN4_SHARE_ACCESS_READ;
	struct open_file f = { 0 };
	struct sid deleg;
	struct compound *q;

	/*
	 * Minor version 0's first OPEN must be confirmed, and gets none; and the server may not
	 * have read yet that the client answers.
	 */
	for (unsigned i = 0; i < 100; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		f = open_create(cl, o, &dir, name, access, 0);
		if (f.result->delegation != OPEN_DELEGATE_NONE)
			break;
	}
	check_num(f.result->delegation, writes ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_READ);
	deleg = f.result->deleg_sid;
	for (unsigned round = 0; round < 2; round++) {
		char text[16];

		restart(round);
		reconnect(cl);
		snprintf(text, sizeof(text), "%s", "");
		if (writes) {
			snprintf(text, sizeof(text), "text %u", round);
			expect_status(write_status(cl, &f, &deleg, 0, text), NFS4_OK);
		}
		expect_text(cl, &f, &deleg, 0, text);
	}
	q = begin_at(cl, &f.fh);
	add_delegreturn(q, &deleg);
	expect(call(q), NFS4_OK);
	close_file(cl, &f);
}

/* Another boot of the machine in between: its clock begins anew, and nobody's lease has passed. */
static void other_boot(void **state)
{
	static const long clocks[] = { 1000000, 0 };
	struct actor a[3] = { 0 };
	struct fh dir;
	unsigned graces;

	wire_need_restart();
	if (!wire_server_clock(0))
		skip();
	dir = test_dir(client_new(1));
	for (uint32_t minor = 0; minor < 3; minor++)
		actor_begin(&a[minor], minor, &dir);
	graces = grace_periods();
	for (unsigned round = 0; round < 2; round++) {
		wire_server_stop();
		wire_server_clock(clocks[round]);
		wire_server_start();
		for (unsigned i = 0; i < 3; i++)
			reconnect(a[i].cl);
		for (unsigned i = 0; i < 3; i++)
			expect_locked(&a[i], a[(i + 1) % 3].cl);
		for (unsigned i = 0; i < 3; i++)
			actor_goes_on(&a[i], round);
	}
	for (unsigned i = 0; i < 3; i++)
		close_file(a[i].cl, &a[i].f);
	check_num(grace_periods(), graces);
}

/* ---- when there is no going on ---- */

static char *state_path(const char *name)
{
	char *path = test_alloc(512);

	snprintf(path, 512, "%s/%s", wire_server_state(), name);
	return path;
}

static void copy_file(const char *from, const char *to)
{
	char buf[65536];
	ssize_t n;
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	check(in >= 0 && out >= 0);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		check_num((uint64_t)write(out, buf, (size_t)n), (uint64_t)n);
	close(in);
	close(out);
}

static void expect_lost(struct client *cl)
{
	struct compound *q;
	struct reply *r;

	reconnect(cl);
	q = begin(cl);
	if (cl->minor == 0)
		add_renew(q, cl->clientid);
	else
		add_putrootfh(q);
	r = call(q);
	expect_status(r->status, cl->minor == 0 ? NFS4ERR_STALE_CLIENTID : NFS4ERR_BADSESSION);
}

/* Ends the grace period by coming back. */
static void come_back(struct client *cl)
{
	client_return(cl);
	if (cl->minor > 0) {
		struct compound *q = begin(cl);

		add_reclaim_complete(q, false);
		expect(call(q), NFS4_OK);
	}
}

static void damaged(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	const char *path = state_path("snapshot");
	unsigned before = wire_server_said("it is damaged");
	struct stat st;
	uint8_t byte;
	int fd;

	open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	wire_server_stop();
	fd = open(path, O_RDWR);
	check(fd >= 0 && fstat(fd, &st) == 0);
	check_num((uint64_t)pread(fd, &byte, 1, st.st_size / 2), 1);
	byte ^= 1;
	check_num((uint64_t)pwrite(fd, &byte, 1, st.st_size / 2), 1);
	close(fd);
	wire_server_start();
	check_num(wire_server_said("it is damaged"), before + 1);
	expect_lost(cl);
	come_back(cl);
}

/* It cannot be written: said at the stop, and the next start has a grace period. */
static void unwritable(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	const char *path = state_path("snapshot.new");
	unsigned before = wire_server_said("/snapshot cannot be written");

	open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	check(mkdir(path, 0700) == 0);
	wire_server_stop();
	check_num(wire_server_said("/snapshot cannot be written"), before + 1);
	check(rmdir(path) == 0);
	wire_server_start();
	expect_lost(cl);
	client_return(cl);
	expect_status(open_status(client_new(1), owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0,
				  NULL),
		      NFS4ERR_GRACE);
	come_back(cl);
	expect_status(open_status(client_new(1), owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0,
				  NULL),
		      NFS4_OK);
}

/* A crash after it: what an older snapshot says is not so any more. */
static void used_once(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	const char *path = state_path("snapshot"), *kept = state_path("kept");
	unsigned before;

	open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	wire_server_stop();
	copy_file(path, kept);
	wire_server_start();
	check(access(path, F_OK) != 0 && errno == ENOENT);
	wire_server_kill();
	copy_file(kept, path);
	before = wire_server_said("is ignored");
	wire_server_start();
	check_num(wire_server_said("is ignored"), before + 1);
	expect_lost(cl);
	come_back(cl);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		/* First, while nobody else is waited for in the grace period. */
		WIRE_MINOR(damaged, 1),
		WIRE_MINOR(used_once, 1),
		WIRE_MINOR(unwritable, 1),
		WIRE_TEST(twenty_restarts),
		WIRE_TEST(other_boot),
		WIRE_ALL_MINORS(replays),
		WIRE_ALL_MINORS(nameless_goes_on),
		WIRE_TEST(owners_replay),
		WIRE_ALL_MINORS(opened_is_opened),
		WIRE_ALL_MINORS(delegations_go_on),
	};

	return wire_main("restart", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Byte-range locks of clients and of processes on the server's machine (this one): each sees the
 * other's, and they are in each other's way (docs/exports.md, local_locks). The directory is exported
 * twice, below `nolocal' without.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define TO_EOF	   UINT64_MAX
#define RDWR	   OPEN4_SHARE_ACCESS_BOTH
#define LOCKS_MOST 300 /* of a client: see main() */

/* A file that a client has open and this process, too. */
struct both {
	struct client *cl;
	struct fh dir;
	struct open_file f;
	struct lock_state lock;
	int fd;
};

/* test_dir() is made by its client; what it is called here is found by its inode. */
static char *dir_here(struct client *cl, const struct fh *dir)
{
	static char path[300];
	uint64_t fileid = getattr_num(cl, dir, FATTR4_FILEID);
	char command[400];
	FILE *p;

	snprintf(command, sizeof(command), "find %s -xdev -inum %llu -type d", wire_server_dir(),
		 (unsigned long long)fileid);
	p = popen(command, "r");
	check(p && fgets(path, sizeof(path), p));
	pclose(p);
	path[strcspn(path, "\n")] = 0;
	return path;
}

static int open_path(struct client *cl, const struct fh *dir, const char *name)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir_here(cl, dir), name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fail_with("%s: %s", path, strerror(errno));
	return fd;
}

static struct both *both_new(uint32_t minor)
{
	struct both *b = test_alloc(sizeof(*b));

	wire_need_disk();
	b->cl = client_new(minor);
	b->dir = test_dir(b->cl);
	b->f = open_create(b->cl, owner_new(), &b->dir, "f", RDWR, 0);
	b->lock.owner = owner_new();
	b->fd = open_path(b->cl, &b->dir, "f");
	return b;
}

static void both_end(struct both *b)
{
	close(b->fd);
}

static uint32_t nfs_lock(struct both *b, uint32_t type, uint64_t off, uint64_t len,
			 struct result **r)
{
	return lock_range(b->cl, &b->f, &b->lock, type, off, len, r);
}

static uint32_t nfs_unlock(struct both *b, uint64_t off, uint64_t len)
{
	return unlock_range(b->cl, &b->f, &b->lock, off, len);
}

/* fcntl() as a program does it; len 0: to the end. */
static int here(int fd, int cmd, short type, off_t off, off_t len, struct flock *out)
{
	struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = off, .l_len = len };
	int err = fcntl(fd, cmd, &fl) < 0 ? errno : 0;

	if (out)
		*out = fl;
	return err;
}

static void local_lock(struct both *b, short type, off_t off, off_t len)
{
	check_num(here(b->fd, F_SETLK, type, off, len, NULL), 0);
}

static void local_is_denied(struct both *b, short type, off_t off, off_t len)
{
	int err = here(b->fd, F_SETLK, type, off, len, NULL);

	if (err != EAGAIN && err != EACCES)
		fail_with("a local lock of %lld+%lld is %s, expected it denied", (long long)off,
			  (long long)len, err ? strerror(err) : "granted");
}

/* What a local program finds: exactly [off, off+len) in that type, free around it. */
static void seen(struct both *b, short type, off_t off, off_t len)
{
	struct flock fl;

	check_num(here(b->fd, F_GETLK, F_WRLCK, off, len, &fl), 0);
	check_num(fl.l_type, type);
	if (type == F_UNLCK)
		return;
	check_num(fl.l_start, off);
	check_num(fl.l_len, len);
}

/* ---- seen by local processes ---- */

static void locks_are_seen(void **state)
{
	struct both *b = both_new(minor_of(state));

	expect_status(nfs_lock(b, WRITE_LT, 10, 20, NULL), NFS4_OK);
	seen(b, F_WRLCK, 10, 20);
	seen(b, F_UNLCK, 0, 10);
	seen(b, F_UNLCK, 30, 0);
	local_is_denied(b, F_RDLCK, 29, 1);
	local_is_denied(b, F_WRLCK, 0, 0);
	local_lock(b, F_WRLCK, 30, 10);
	expect_status(nfs_unlock(b, 15, 5), NFS4_OK);
	seen(b, F_WRLCK, 10, 5);
	seen(b, F_UNLCK, 15, 5);
	seen(b, F_WRLCK, 20, 10);
	expect_status(nfs_unlock(b, 0, TO_EOF), NFS4_OK);
	seen(b, F_UNLCK, 0, 0);
	/* To the end of the file, and beyond what the kernel can say. */
	local_lock(b, F_UNLCK, 0, 0);
	expect_status(nfs_lock(b, WRITE_LT, 100, TO_EOF, NULL), NFS4_OK);
	seen(b, F_WRLCK, 100, 0);
	expect_status(nfs_unlock(b, 100, TO_EOF), NFS4_OK);
	expect_status(nfs_lock(b, WRITE_LT, 1ULL << 63, 10, NULL), NFS4_OK);
	seen(b, F_UNLCK, 0, 0);
	both_end(b);
}

/* Shared and exclusive, one after the other: each change of kind is seen as it is. */
static void kinds(void **state)
{
	struct both *b = both_new(minor_of(state));

	expect_status(nfs_lock(b, READ_LT, 0, 100, NULL), NFS4_OK);
	seen(b, F_RDLCK, 0, 100);
	local_lock(b, F_RDLCK, 50, 1);
	/* The upgrade is refused because of the local reader, and leaves what there was. */
	expect_status(nfs_lock(b, WRITE_LT, 0, 100, NULL), NFS4ERR_DENIED);
	seen(b, F_RDLCK, 0, 100);
	local_lock(b, F_UNLCK, 50, 1);
	expect_status(nfs_lock(b, WRITE_LT, 0, 100, NULL), NFS4_OK);
	seen(b, F_WRLCK, 0, 100);
	local_is_denied(b, F_RDLCK, 50, 1);
	/* A part of it, and a shared one over exclusive and free parts. */
	expect_status(nfs_lock(b, READ_LT, 40, 20, NULL), NFS4_OK);
	seen(b, F_RDLCK, 40, 20);
	seen(b, F_WRLCK, 60, 40);
	expect_status(nfs_lock(b, READ_LT, 90, 20, NULL), NFS4_OK);
	seen(b, F_WRLCK, 60, 30);
	seen(b, F_RDLCK, 90, 20);
	/* A local lock in the gap: nothing changes. */
	local_lock(b, F_WRLCK, 120, 1);
	expect_status(nfs_lock(b, READ_LT, 80, 60, NULL), NFS4ERR_DENIED);
	seen(b, F_WRLCK, 60, 30);
	seen(b, F_RDLCK, 90, 20);
	seen(b, F_UNLCK, 110, 10);
	both_end(b);
}

/* One lock-owner with the file open twice has one set of locks. */
static void two_opens(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct lock_state second = { .owner = b->lock.owner };
	struct open_file f2;

	expect_status(open_status(b->cl, owner_new(), &b->dir, "f", RDWR, 0, &f2), NFS4_OK);
	expect_status(nfs_lock(b, WRITE_LT, 0, 10, NULL), NFS4_OK);
	expect_status(lock_range(b->cl, &f2, &second, WRITE_LT, 5, 10, NULL), NFS4_OK);
	seen(b, F_WRLCK, 0, 15);
	close_file(b->cl, &b->f);
	seen(b, F_UNLCK, 0, 5);
	seen(b, F_WRLCK, 5, 10);
	close_file(b->cl, &f2);
	seen(b, F_UNLCK, 0, 0);
	both_end(b);
}

/* Read locks through an open for reading, then write locks of the same owner through another. */
static void read_only_first(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct lock_state ro = { .owner = owner_new() }, rw = { .owner = ro.owner };
	struct open_file f2;

	expect_status(open_status(b->cl, owner_new(), &b->dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f2),
		      NFS4_OK);
	expect_status(lock_range(b->cl, &f2, &ro, READ_LT, 0, 10, NULL), NFS4_OK);
	expect_status(lock_range(b->cl, &f2, &ro, READ_LT, 20, 10, NULL), NFS4_OK);
	expect_status(lock_range(b->cl, &f2, &ro, WRITE_LT, 5, 1, NULL), NFS4ERR_OPENMODE);
	seen(b, F_RDLCK, 0, 10);
	expect_status(lock_range(b->cl, &b->f, &rw, WRITE_LT, 5, 10, NULL), NFS4_OK);
	seen(b, F_RDLCK, 0, 5);
	seen(b, F_WRLCK, 5, 10);
	seen(b, F_RDLCK, 20, 10);
	close_file(b->cl, &f2);
	seen(b, F_UNLCK, 0, 5);
	seen(b, F_WRLCK, 5, 10);
	seen(b, F_UNLCK, 15, 0);
	both_end(b);
}

/* However a lock goes, it goes from the file as well. */
static void released(void **state)
{
	struct both *b = both_new(minor_of(state));
	uint32_t minor = b->cl->minor;
	struct lock_state again = { .owner = owner_new() };

	expect_status(nfs_lock(b, WRITE_LT, 0, 10, NULL), NFS4_OK);
	close_file(b->cl, &b->f);
	seen(b, F_UNLCK, 0, 0);
	expect_status(open_status(b->cl, owner_new(), &b->dir, "f", RDWR, 0, &b->f), NFS4_OK);
	expect_status(lock_range(b->cl, &b->f, &again, WRITE_LT, 0, 10, NULL), NFS4_OK);
	seen(b, F_WRLCK, 0, 10);
	/* The client comes again after a restart of its own: a new verifier. */
	b->cl->verf.data[0] ^= 0xff;
	b->cl->conn = conn_new();
	if (minor > 0)
		memset(b->cl->slot_seq, 0, sizeof(b->cl->slot_seq));
	client_establish(b->cl);
	seen(b, F_UNLCK, 0, 0);
	both_end(b);
}

/* ---- in the way of clients ---- */

static void check_holder(const struct result *r, uint32_t type, uint64_t off, uint64_t len,
			 pid_t pid)
{
	char text[64], owner[200];

	check_num(r->denied.type, type);
	check_num(r->denied.offset, off);
	check_num(r->denied.length, len);
	check_num(r->denied.clientid, 0);
	snprintf(owner, sizeof(owner), "%.*s", (int)r->denied.owner_len,
		 (const char *)r->denied.owner);
	snprintf(text, sizeof(text), "process %d on ", (int)pid);
	if (strncmp(owner, text, strlen(text)) != 0)
		fail_with("the holder is `%s', expected `%s...'", owner, text);
}

/* Who may neither read nor write a file does not learn what programs on the server do with it. */
static void strangers_learn_nothing(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct client *cl = client_bare(minor_of(state));

	cl->conn->uid = cl->conn->gid = 4242;
	client_establish(cl);
	local_lock(b, F_WRLCK, 100, 50);
	check_num(fchmod(b->fd, 0600), 0);
	expect_status(lockt(cl, &b->f.fh, owner_new(), WRITE_LT, 0, TO_EOF, NULL), NFS4ERR_ACCESS);
	check_num(fchmod(b->fd, 0604), 0);
	expect_status(lockt(cl, &b->f.fh, owner_new(), WRITE_LT, 0, TO_EOF, NULL), NFS4ERR_DENIED);
	check_num(fchmod(b->fd, 0602), 0);
	expect_status(lockt(cl, &b->f.fh, owner_new(), WRITE_LT, 0, TO_EOF, NULL), NFS4ERR_DENIED);
	both_end(b);
}

static void local_locks_deny(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct result *r;

	local_lock(b, F_WRLCK, 100, 50);
	expect_status(nfs_lock(b, READ_LT, 120, 1, &r), NFS4ERR_DENIED);
	check_holder(r, WRITE_LT, 100, 50, getpid());
	expect_status(lockt(b->cl, &b->f.fh, b->lock.owner, READ_LT, 149, 10, &r), NFS4ERR_DENIED);
	check_holder(r, WRITE_LT, 100, 50, getpid());
	expect_status(lockt(b->cl, &b->f.fh, b->lock.owner, WRITE_LT, 150, 10, NULL), NFS4_OK);
	/* Beside it there is room, also for the same owner, whose sequence id is what it was. */
	expect_status(nfs_lock(b, WRITE_LT, 0, 100, NULL), NFS4_OK);
	expect_status(nfs_lock(b, WRITE_LT, 99, 2, &r), NFS4ERR_DENIED);
	check_holder(r, WRITE_LT, 100, 50, getpid());
	expect_status(lockt(b->cl, &b->f.fh, b->lock.owner, WRITE_LT, 0, 100, NULL), NFS4_OK);
	expect_status(lockt(b->cl, &b->f.fh, b->lock.owner, WRITE_LT, 0, 101, &r), NFS4ERR_DENIED);
	seen(b, F_WRLCK, 0, 100);
	/* A shared one lets readers in. */
	local_lock(b, F_RDLCK, 100, 0);
	expect_status(nfs_lock(b, READ_LT, 100, 10, NULL), NFS4_OK);
	expect_status(nfs_lock(b, WRITE_LT, 100, 10, &r), NFS4ERR_DENIED);
	check_holder(r, READ_LT, 100, UINT64_MAX, getpid());
	local_lock(b, F_UNLCK, 0, 0);
	expect_status(nfs_lock(b, WRITE_LT, 100, 10, NULL), NFS4_OK);
	seen(b, F_WRLCK, 0, 110);
	expect_status(nfs_unlock(b, 0, TO_EOF), NFS4_OK);
	both_end(b);
}

/* What another client holds is named, not that the file has it locked. */
static void clients_are_named(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct client *other = client_new((minor_of(state) + 1) % 3);
	struct lock_state theirs = { .owner = owner_new() };
	struct open_file f;
	struct result *r;

	expect_status(open_status(other, owner_new(), &b->dir, "f", RDWR, 0, &f), NFS4_OK);
	expect_status(lock_range(other, &f, &theirs, WRITE_LT, 0, 10, NULL), NFS4_OK);
	local_lock(b, F_WRLCK, 20, 10);
	expect_status(nfs_lock(b, WRITE_LT, 0, 100, &r), NFS4ERR_DENIED);
	check_num(r->denied.clientid, other->clientid);
	check_num(r->denied.offset, 0);
	expect_status(lockt(b->cl, &b->f.fh, b->lock.owner, WRITE_LT, 0, 100, &r), NFS4ERR_DENIED);
	check_num(r->denied.clientid, other->clientid);
	expect_status(unlock_range(other, &f, &theirs, 0, 10), NFS4_OK);
	expect_status(nfs_lock(b, WRITE_LT, 0, 100, &r), NFS4ERR_DENIED);
	check_holder(r, WRITE_LT, 20, 10, getpid());
	both_end(b);
}

/* What the state machine refuses for another reason has no effect on the file. */
static void refused(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct lock_state gone = { .owner = owner_new() };
	struct compound *q;

	for (uint64_t i = 0; i < LOCKS_MOST; i++)
		expect_status(nfs_lock(b, READ_LT, 10 * i, 1, NULL), NFS4_OK);
	/* Over the limit: the parts that were free are free again, the rest is as before. */
	expect_status(lock_range(b->cl, &b->f, &gone, WRITE_LT, 10 * LOCKS_MOST, 1, NULL),
		      b->cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE);
	seen(b, F_UNLCK, 10 * LOCKS_MOST - 9, 0);
	expect_status(nfs_lock(b, WRITE_LT, 5, 1, NULL),
		      b->cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE);
	seen(b, F_RDLCK, 0, 1);
	seen(b, F_UNLCK, 1, 9);
	seen(b, F_RDLCK, 10, 1);
	/* A stateid that never was. */
	q = begin_at(b->cl, &b->f.fh);
	b->f.sid.other[11] ^= 0x55;
	add_lock_new(q, WRITE_LT, false, 5, 1, 0, &b->f.sid, 0, b->cl->clientid, "nobody");
	expect(call(q), NFS4ERR_BAD_STATEID);
	b->f.sid.other[11] ^= 0x55;
	seen(b, F_UNLCK, 1, 9);
	expect_status(nfs_unlock(b, 0, TO_EOF), NFS4_OK);
	seen(b, F_UNLCK, 0, 0);
	both_end(b);
}

/* ---- waiting ---- */

/* A local process that waits for its lock, and says when it has it. */
struct local_waiter {
	pid_t pid;
	int ready;
};

static struct local_waiter wait_here(struct both *b)
{
	struct local_waiter w;
	int p[2];

	check_num(pipe2(p, O_CLOEXEC), 0);
	w.pid = fork();
	check(w.pid >= 0);
	if (w.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* It is about to wait. */
		if (write(p[1], "w", 1) != 1 || here(b->fd, F_SETLKW, F_WRLCK, 0, 10, NULL) != 0 ||
		    write(p[1], "l", 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(p[1]);
	w.ready = p[0];
	return w;
}

static void expect_byte(int fd, char want)
{
	char c = 0;

	check_num(read(fd, &c, 1), 1);
	check_num(c, want);
}

static void local_process_waits(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct local_waiter w;
	int status;

	expect_status(nfs_lock(b, WRITE_LT, 0, 10, NULL), NFS4_OK);
	w = wait_here(b);
	expect_byte(w.ready, 'w');
	expect_status(nfs_unlock(b, 0, 10), NFS4_OK);
	expect_byte(w.ready, 'l');
	check_num(waitpid(w.pid, &status, 0), w.pid);
	check_num(status, 0);
	close(w.ready);
	/* It has ended, and its lock with it. */
	expect_status(nfs_lock(b, WRITE_LT, 0, 10, NULL), NFS4_OK);
	both_end(b);
}

/* A client that waits for a local process's lock is told when it is free, and not before. */
static void client_waits(void **state)
{
	struct both *b;
	struct client *cl;
	struct lock_state lock = { .owner = owner_new() };
	struct open_file f;
	struct cb_call *call;

	b = both_new(minor_of(state));
	cl = client_new_back(minor_of(state), NULL);
	expect_status(open_status(cl, owner_new(), &b->dir, "f", RDWR, 0, &f), NFS4_OK);
	local_lock(b, F_WRLCK, 0, 10);
	expect_status(lock_range(cl, &f, &lock, WRITEW_LT, 5, 10, NULL), NFS4ERR_DENIED);
	check(cb_quiet(cl->conn, 300));
	local_lock(b, F_UNLCK, 0, 10);
	call = cb_recv(cl->conn);
	check_num(call->op, OP_CB_NOTIFY_LOCK);
	check_num(call->owner_len, strlen(lock.owner->name));
	cb_answer(call, NFS4_OK);
	expect_status(lock_range(cl, &f, &lock, WRITEW_LT, 5, 10, NULL), NFS4_OK);
	seen(b, F_WRLCK, 5, 10);
	both_end(b);
}

/* ---- restarts ---- */

static void reconnect(struct client *cl)
{
	cl->conn = conn_new();
}

static void planned_restarts(void **state)
{
	struct both *b = both_new(minor_of(state));

	wire_need_restart();
	expect_status(nfs_lock(b, READ_LT, 0, 10, NULL), NFS4_OK);
	expect_status(nfs_lock(b, WRITE_LT, 20, 10, NULL), NFS4_OK);
	for (unsigned round = 0; round < 4; round++) {
		if (round % 2)
			wire_server_exec();
		else
			wire_server_restart();
		reconnect(b->cl);
		seen(b, F_RDLCK, 0, 10);
		seen(b, F_WRLCK, 20, 10);
		seen(b, F_UNLCK, 30, 0);
		expect_status(nfs_lock(b, WRITE_LT, 40 + 10 * round, 1, NULL), NFS4_OK);
		seen(b, F_WRLCK, 40 + 10 * round, 1);
		expect_status(nfs_unlock(b, 40 + 10 * round, 1), NFS4_OK);
	}
	expect_status(nfs_unlock(b, 0, 20), NFS4_OK);
	seen(b, F_UNLCK, 0, 20);
	seen(b, F_WRLCK, 20, 10);
	close_file(b->cl, &b->f);
	seen(b, F_UNLCK, 0, 0);
	both_end(b);
}

/* In the moment between two servers a local process is faster: said, and the client's in the end. */
static void overtaken_by_local(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct timespec step = { .tv_nsec = 20 * 1000 * 1000 };
	unsigned said = wire_server_said("is not on the file");
	struct flock fl = { 0 };

	wire_need_restart();
	expect_status(nfs_lock(b, WRITE_LT, 0, 10, NULL), NFS4_OK);
	wire_server_stop();
	local_lock(b, F_WRLCK, 5, 1);
	wire_server_start();
	reconnect(b->cl);
	check_num(wire_server_said("is not on the file"), said + 1);
	/* The client's it is, as far as clients are asked. */
	expect_status(lockt(b->cl, &b->f.fh, b->lock.owner, WRITE_LT, 0, 5, NULL), NFS4_OK);
	local_lock(b, F_UNLCK, 5, 1);
	for (int i = 0; i < 500 && fl.l_len != 10; i++) {
		nanosleep(&step, NULL); /* the server tries every second */
		check_num(here(b->fd, F_GETLK, F_WRLCK, 0, 10, &fl), 0);
	}
	check_num(fl.l_len, 10);
	both_end(b);
}

/* Clients of earlier tests do not come to reclaim. */
static void await_end_of_grace(void)
{
	struct timespec step = { .tv_nsec = 20 * 1000 * 1000 };
	struct client *cl = client_new(1);
	struct fh root = root_fh(cl);
	struct open_args a = { .access = RDWR, .opentype = OPEN4_CREATE, .name = "grace" };
	struct open_file f;
	uint32_t status = NFS4ERR_GRACE;

	for (int i = 0; i < 1000 && status == NFS4ERR_GRACE; i++) {
		status = open_any(cl, owner_new(), &root, &a, &f);
		nanosleep(&step, NULL);
	}
	expect_status(status, NFS4_OK);
}

static void crash(void **state)
{
	struct both *b = both_new(minor_of(state));
	struct open_args a = { .access = RDWR, .claim = CLAIM_PREVIOUS };
	struct compound *q;
	struct fh fh = b->f.fh;
	bool v40 = b->cl->minor == 0;

	wire_need_restart();
	expect_status(nfs_lock(b, WRITE_LT, 0, 10, NULL), NFS4_OK);
	wire_server_kill();
	wire_server_start();
	seen(b, F_UNLCK, 0, 0);
	local_lock(b, F_WRLCK, 50, 1);
	client_return(b->cl);
	expect_status(open_any(b->cl, b->f.owner, &fh, &a, &b->f), NFS4_OK);
	for (int i = 0; i < 2; i++) {
		q = begin_at(b->cl, &b->f.fh);
		add_lock_new(q, WRITE_LT, true, 0, i ? 10 : 51, v40 ? b->f.owner->seqid++ : 0,
			     &b->f.sid, v40 ? b->lock.owner->seqid : 0, b->cl->clientid,
			     b->lock.owner->name);
		expect(call(q), i ? NFS4_OK : NFS4ERR_RECLAIM_CONFLICT);
	}
	seen(b, F_WRLCK, 0, 10);
	if (!v40) {
		q = begin(b->cl);
		add_reclaim_complete(q, false);
		expect(call(q), NFS4_OK);
	}
	both_end(b);
	await_end_of_grace();
}

/* ---- switched off ---- */

static void switched_off(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl), dir;
	struct lock_state lock = { .owner = owner_new() };
	struct open_file f;
	char name[32], path[300];
	struct flock fl;
	int fd;

	wire_need_disk();
	expect_status(lookup(cl, &root, "nolocal", &dir), NFS4_OK);
	snprintf(name, sizeof(name), "f%u", cl->minor);
	f = open_create(cl, owner_new(), &dir, name, RDWR, 0);
	snprintf(path, sizeof(path), "%s/nolocal/%s", wire_server_dir(), name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	check(fd >= 0);
	expect_status(lock_range(cl, &f, &lock, WRITE_LT, 0, 10, NULL), NFS4_OK);
	check_num(here(fd, F_GETLK, F_WRLCK, 0, 0, &fl), 0);
	check_num(fl.l_type, F_UNLCK);
	check_num(here(fd, F_SETLK, F_WRLCK, 0, 0, NULL), 0);
	expect_status(lock_range(cl, &f, &lock, WRITE_LT, 20, 10, NULL), NFS4_OK);
	expect_status(lockt(cl, &f.fh, owner_new(), WRITE_LT, 50, 10, NULL), NFS4_OK);
	close(fd);
}

/* ---- everything together ---- */

enum { SIZE = 48, OWNERS = 3, LOCAL = OWNERS };

/* Who has byte i, and how: 0, READ_LT, WRITE_LT; by owner, the last one being this process. */
typedef uint32_t model_t[OWNERS + 1][SIZE];

static bool may_have(model_t m, int who, uint32_t type, uint64_t off, uint64_t len)
{
	for (int o = 0; o <= OWNERS; o++)
		for (uint64_t i = off; o != who && i < off + len; i++)
			if (m[o][i] == WRITE_LT || (m[o][i] && type == WRITE_LT))
				return false;
	return true;
}

static void check_model(struct both *b, model_t m)
{
	for (uint64_t i = 0; i < SIZE; i++) {
		uint32_t top = 0;
		struct flock fl;

		for (int o = 0; o < OWNERS; o++)
			top = m[o][i] > top ? m[o][i] : top;
		check_num(here(b->fd, F_GETLK, F_WRLCK, (off_t)i, 1, &fl), 0);
		check_num(fl.l_type, top == WRITE_LT ? F_WRLCK : top ? F_RDLCK : F_UNLCK);
	}
}

static void random_locks(void **state)
{
	enum { STEPS = 400 };
	struct both *b = both_new(minor_of(state));
	struct lock_state locks[OWNERS];
	unsigned seed = (unsigned)time(NULL) ^ minor_of(state);
	model_t m = { 0 };

	print_message("seed %u\n", seed);
	for (int o = 0; o < OWNERS; o++)
		locks[o] = (struct lock_state){ .owner = owner_new() };
	for (int step = 0; step < STEPS; step++) {
		uint64_t off = (uint64_t)rand_r(&seed) % SIZE;
		uint64_t len = 1 + (uint64_t)rand_r(&seed) % (SIZE - off);
		int who = rand_r(&seed) % (OWNERS + 1);
		uint32_t type = (uint32_t)rand_r(&seed) % 3; /* 0: unlock */
		bool may = type == 0 || may_have(m, who, type, off, len), did;

		if (who == LOCAL) {
			static const short kinds_here[] = { F_UNLCK, F_RDLCK, F_WRLCK };

			did = here(b->fd, F_SETLK, kinds_here[type], (off_t)off, (off_t)len,
				   NULL) == 0;
		} else if (type) {
			uint32_t got = lock_range(b->cl, &b->f, &locks[who], type, off, len, NULL);

			expect_one_of(got, NFS4_OK, NFS4ERR_DENIED);
			did = got == NFS4_OK;
		} else {
			if (!locks[who].have)
				continue;
			expect_status(unlock_range(b->cl, &b->f, &locks[who], off, len), NFS4_OK);
			did = true;
		}
		if (did != may)
			fail_with("step %d: %d %s %llu+%llu as %u, expected it otherwise", step, who,
				  did ? "got" : "did not get", (unsigned long long)off,
				  (unsigned long long)len, type);
		for (uint64_t i = off; did && i < off + len; i++)
			m[who][i] = type;
		if (step % 10 == 0)
			check_model(b, m);
	}
	check_model(b, m);
	both_end(b);
}

/* ---- many ---- */

/* A reply to one of the requests has come over the connection. */
static void finish_one(struct compound **q, unsigned n, struct conn *conn)
{
	struct rpc_reply *rpc = rpc_must_recv(conn);

	for (unsigned i = 0; i < n; i++) {
		struct reply *r;

		if (q[i]->xid != rpc->xid)
			continue;
		r = compound_parse(q[i], rpc);
		compound_done(q[i], r);
		expect_one_of(r->status, NFS4_OK, NFS4ERR_DENIED, NFS4ERR_DELAY);
		return;
	}
	fail_with("a reply that nobody waits for");
}

/* Bytes as the state has them, by somebody who has none, and as they are on the file. */
static void same_in_both(struct both *b)
{
	struct owner *nobody = owner_new();

	for (uint64_t i = 0; i < SIZE; i++) {
		struct result *r;
		struct flock fl;
		uint32_t status = lockt(b->cl, &b->f.fh, nobody, WRITE_LT, i, 1, &r);
		short want = status == NFS4_OK ? F_UNLCK
			     : r->denied.type == WRITE_LT ? F_WRLCK : F_RDLCK;

		check_num(here(b->fd, F_GETLK, F_WRLCK, (off_t)i, 1, &fl), 0);
		if (fl.l_type != want)
			fail_with("byte %llu is %d on the file, expected %d", (unsigned long long)i,
				  fl.l_type, want);
		/* Nothing is on the file that the state does not have. */
		if (status != NFS4_OK)
			check_num(r->denied.clientid, b->cl->clientid);
	}
}

/* One owner's requests over many slots at once, in whichever order the server takes them. */
static void at_once(void **state)
{
	enum { ROUNDS = 40, SLOTS = 16, OWNERS_HERE = 2 };
	struct both *b = both_new(minor_of(state));
	struct conn *conns[SLOTS];
	struct lock_state locks[OWNERS_HERE];
	unsigned seed = (unsigned)time(NULL) ^ minor_of(state);

	print_message("seed %u\n", seed);
	for (int o = 0; o < OWNERS_HERE; o++) {
		locks[o] = (struct lock_state){ .owner = owner_new() };
		expect_status(lock_range(b->cl, &b->f, &locks[o], READ_LT, 0, 1, NULL), NFS4_OK);
		locks[o].sid.seqid = 0; /* the current one */
	}
	for (int i = 0; i < SLOTS; i++)
		conns[i] = i % 2 ? client_bind_conn(b->cl, CDFC4_FORE) : b->cl->conn;
	for (int round = 0; round < ROUNDS; round++) {
		struct compound *q[SLOTS];

		for (uint32_t i = 0; i < SLOTS; i++) {
			uint64_t off = (uint64_t)rand_r(&seed) % SIZE;
			uint64_t len = 1 + (uint64_t)rand_r(&seed) % (SIZE - off);
			struct lock_state *l = &locks[rand_r(&seed) % OWNERS_HERE];
			uint32_t type = (uint32_t)rand_r(&seed) % 3;

			q[i] = begin_slot(b->cl, i);
			q[i]->conn = conns[i];
			add_putfh(q[i], &b->f.fh);
			if (type)
				add_lock_more(q[i], type, false, off, len, &l->sid, 0);
			else
				add_locku(q[i], WRITE_LT, 0, &l->sid, off, len);
		}
		for (uint32_t i = 0; i < SLOTS; i++)
			check(compound_send(q[i]));
		for (uint32_t i = 0; i < SLOTS; i++)
			finish_one(q, SLOTS, conns[i]);
		same_in_both(b);
	}
	both_end(b);
}

/* Every lock-owner has a description of its own, until its stateid goes. */
static void many_owners(void **state)
{
	enum { N = 50 };
	struct both *b = both_new(minor_of(state));
	struct lock_state locks[N];
	unsigned before = wire_server_descriptors();

	for (uint64_t i = 0; i < N; i++) {
		locks[i] = (struct lock_state){ .owner = owner_new() };
		expect_status(lock_range(b->cl, &b->f, &locks[i], WRITE_LT, 2 * i, 1, NULL),
			      NFS4_OK);
	}
	for (uint64_t i = 0; i < N; i++)
		seen(b, F_WRLCK, (off_t)(2 * i), 1);
	check_num(wire_server_descriptors(), before + N);
	for (uint64_t i = 0; i < N; i += 2)
		expect_status(unlock_range(b->cl, &b->f, &locks[i], 2 * i, 1), NFS4_OK);
	for (uint64_t i = 0; i < N; i++)
		seen(b, i % 2 ? F_WRLCK : F_UNLCK, (off_t)(2 * i), 1);
	close_file(b->cl, &b->f);
	seen(b, F_UNLCK, 0, 0);
	check(wire_server_descriptors() <= before);
	both_end(b);
}

static void prepare(const char *dir)
{
	char text[600], path[256];

	snprintf(path, sizeof(path), "%s/nolocal", dir);
	mkdir(path, 0755);
	snprintf(text, sizeof(text),
		 "%s *(rw,no_root_squash,insecure,fsid=0)\n"
		 "%s/nolocal *(rw,no_root_squash,insecure,no_local_locks)\n",
		 dir, dir);
	wire_write_exports(text);
}

int main(void)
{
	static const struct wire_options options = {
		.prepare = prepare,
		.settings = "max-locks-per-client = 300\ngrace-time = 1\n",
	};
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(locks_are_seen),    WIRE_ALL_MINORS(kinds),
		WIRE_ALL_MINORS(two_opens),	    WIRE_ALL_MINORS(read_only_first),
		WIRE_ALL_MINORS(released),	    WIRE_ALL_MINORS(local_locks_deny),
		WIRE_ALL_MINORS(clients_are_named), WIRE_ALL_MINORS(refused),
		WIRE_ALL_MINORS(strangers_learn_nothing),
		WIRE_ALL_MINORS(local_process_waits), WIRE_SESSIONS(client_waits),
		WIRE_ALL_MINORS(random_locks),	    WIRE_ALL_MINORS(many_owners),
		WIRE_SESSIONS(at_once),
		WIRE_ALL_MINORS(switched_off),	    WIRE_ALL_MINORS(planned_restarts),
		WIRE_ALL_MINORS(overtaken_by_local), WIRE_ALL_MINORS(crash),
	};

	return wire_main("local", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Delegations and programs on the server's own machine, which are real processes here: what they do
 * to a delegated file waits for the delegation, or at least recalls it, and they never read what a
 * client has overwritten in its cache.
 *
 * A process reports by its exit status; while it waits for the server it has not exited.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE	 10
#define QUIET_MS 150
#define R	 OPEN4_SHARE_ACCESS_READ
#define W	 OPEN4_SHARE_ACCESS_WRITE
#define RW	 OPEN4_SHARE_ACCESS_BOTH

/* A client that can be called, and a file that it has open and delegated. */
struct scene {
	struct client *cl;
	struct conn *back;
	struct fh dir, fh;
	struct owner *owner;
	struct open_file open;
	struct sid deleg;
	char path[512];
};

static struct scene scene_of(uint32_t minor)
{
	static unsigned number;
	struct scene s = { .cl = client_new_back(minor, &s.back), .owner = owner_new() };
	struct fh root = root_fh(s.cl);
	struct open_file f;
	char name[32];

	wire_need_disk();
	if (minor > 0)
		s.back = s.cl->conn;
	snprintf(name, sizeof(name), "local%u-%d", number++, (int)getpid());
	s.dir = make(s.cl, &root, NF4DIR, name);
	snprintf(s.path, sizeof(s.path), "%s/%s/f", wire_server_dir(), name);
	/* The first OPEN of minor version 0 is confirmed and brings nothing. */
	make_file(s.cl, &s.dir, "g", "", 0);
	expect_status(open_status(s.cl, s.owner, &s.dir, "g", R, 0, &f), NFS4_OK);
	s.fh = make_file(client_new(minor), &s.dir, "f", "old", 3);
	return s;
}

static uint32_t open_again(struct scene *s, uint32_t access)
{
	expect_status(open_status(s->cl, s->owner, &s->dir, "f", access, 0, &s->open), NFS4_OK);
	s->deleg = s->open.result->deleg_sid;
	return s->open.result->delegation;
}

static struct scene delegated(void **state, uint32_t access)
{
	struct scene s = scene_of(minor_of(state));

	check_num(open_again(&s, access), access == R ? OPEN_DELEGATE_READ : OPEN_DELEGATE_WRITE);
	return s;
}

static void recalled(struct scene *s)
{
	struct cb_call *cb = cb_recv(s->back);

	check_num(cb->op, OP_CB_RECALL);
	check(memcmp(&cb->sid, &s->deleg, sizeof(cb->sid)) == 0);
	cb_answer(cb, NFS4_OK);
}

static void give_back(struct scene *s)
{
	struct compound *q = begin_at(s->cl, &s->fh);

	add_delegreturn(q, &s->deleg);
	expect(call(q), NFS4_OK);
}

static void write_under_delegation(struct scene *s, const char *text)
{
	struct compound *q = begin_at(s->cl, &s->fh);

	add_write(q, &s->deleg, 0, FILE_SYNC4, text, (uint32_t)strlen(text));
	expect(call(q), NFS4_OK);
}

/* ---- processes ---- */

typedef int action(const char *path); /* 0: fine */

struct process {
	pid_t pid;
	int fd; /* readable when it has ended */
};

static struct process start(action *what, const char *path)
{
	struct process p;

	p.pid = fork();
	check(p.pid >= 0);
	if (p.pid == 0)
		_exit(what(path));
	p.fd = (int)syscall(SYS_pidfd_open, p.pid, 0);
	check(p.fd >= 0);
	return p;
}

static bool ended(const struct process *p, int ms)
{
	struct pollfd fd = { .fd = p->fd, .events = POLLIN };

	return poll(&fd, 1, ms) == 1;
}

static void expect_end(struct process *p, int seconds)
{
	int status;

	if (!ended(p, seconds * 1000)) {
		kill(p->pid, SIGKILL);
		fail_with("a local process still waits");
	}
	check(waitpid(p->pid, &status, 0) == p->pid);
	check(WIFEXITED(status));
	check_num((uint64_t)WEXITSTATUS(status), 0);
	close(p->fd);
}

static int reads(const char *path, const char *expected)
{
	char buf[16] = { 0 };
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	return n < 0 ? errno : strcmp(buf, expected) == 0 ? 0 : 255;
}

static int reads_old(const char *path)
{
	return reads(path, "old");
}

static int reads_new(const char *path)
{
	return reads(path, "new");
}

static int writes(const char *path)
{
	int fd = open(path, O_WRONLY);

	return fd < 0 ? errno : write(fd, "loc", 3) == 3 ? 0 : 255;
}

static int appends_nonblock(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_NONBLOCK);

	return fd < 0 ? errno : write(fd, "loc", 3) == 3 ? 0 : 255;
}

static int truncates_by_open(const char *path)
{
	return open(path, O_RDWR | O_TRUNC) < 0 ? errno : 0;
}

static int changes_mode(const char *path)
{
	return chmod(path, 0640) < 0 ? errno : 0;
}

static int renames(const char *path)
{
	char to[600];

	snprintf(to, sizeof(to), "%s-renamed", path);
	return rename(path, to) < 0 ? errno : 0;
}

static int unlinks(const char *path)
{
	return unlink(path) < 0 ? errno : 0;
}

static int links(const char *path)
{
	char to[600];

	snprintf(to, sizeof(to), "%s-linked", path);
	return link(path, to) < 0 ? errno : 0;
}

static int truncates(const char *path)
{
	return truncate(path, 1) < 0 ? errno : 0;
}

static int stats(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? errno : 0;
}

/* ---- waiting ---- */

/* It opens, waits, and goes on when the delegation is back. */
static void waits(struct scene *s, action *what)
{
	struct process p = start(what, s->path);

	recalled(s);
	check(!ended(&p, QUIET_MS));
	if (what == reads_new)
		write_under_delegation(s, "new");
	give_back(s);
	expect_end(&p, 5);
}

static void goes_on(struct scene *s, action *what)
{
	struct process p = start(what, s->path);

	expect_end(&p, 5);
	check(cb_quiet(s->back, QUIET_MS));
}

static void write_delegation(void **state)
{
	static action *const actions[] = { reads_new, writes, appends_nonblock, truncates_by_open };

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		struct scene s = delegated(state, RW);

		close_file(s.cl, &s.open);
		waits(&s, actions[i]);
		/* A file that others want is left alone for a while. */
		check_num(open_again(&s, RW), OPEN_DELEGATE_NONE);
	}
}

static void read_delegation(void **state)
{
	struct scene s = delegated(state, R);
	struct compound *q;
	struct reply *r;

	close_file(s.cl, &s.open);
	goes_on(&s, reads_old);
	goes_on(&s, stats);
	waits(&s, writes);
	q = begin_at(s.cl, &s.fh);
	add_read(q, &SID_ANONYMOUS, 0, 10);
	r = call(q);
	expect(r, NFS4_OK);
	check(last(r)->len == 3 && memcmp(last(r)->data, "loc", 3) == 0);
}

/* Several wait, and all go on; a client who does something itself meanwhile is served. */
static void several_wait(void **state)
{
	struct scene s = delegated(state, RW);
	struct process p[4];

	for (size_t i = 0; i < 4; i++)
		p[i] = start(reads_new, s.path);
	recalled(&s);
	for (size_t i = 0; i < 4; i++)
		check(!ended(&p[i], 20));
	write_under_delegation(&s, "new");
	expect_status(open_status(s.cl, s.owner, &s.dir, "f", RW, 0, &s.open), NFS4_OK);
	check(cb_quiet(s.back, QUIET_MS));
	give_back(&s);
	for (size_t i = 0; i < 4; i++)
		expect_end(&p[i], 5);
}

/* ---- what needs no open is noticed afterwards ---- */

static void afterwards(void **state, uint32_t access)
{
	static action *const actions[] = { changes_mode, renames, unlinks, links, truncates };

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
		struct scene s = delegated(state, access);
		struct process p;

		close_file(s.cl, &s.open);
		p = start(actions[i], s.path);
		expect_end(&p, 5);
		recalled(&s);
		give_back(&s);
	}
}

static void read_afterwards(void **state)
{
	afterwards(state, R);
}

static void write_afterwards(void **state)
{
	afterwards(state, RW);
}

/* What its holder and the server do is no local use. */
static void own_changes(void **state)
{
	struct scene s = delegated(state, RW);
	struct attrs at = { 0 };
	struct compound *q;

	write_under_delegation(&s, "new");
	q = begin_at(s.cl, &s.fh);
	at_num(&at, FATTR4_MODE, 0600);
	add_setattr(q, &SID_ANONYMOUS, &at);
	expect(call(q), NFS4_OK);
	q = begin_at(s.cl, &s.dir);
	add_savefh(q);
	add_rename(q, "f", "new");
	expect(call(q), NFS4_OK);
	check(cb_quiet(s.back, QUIET_MS));
	give_back(&s);
}

/* ---- who has it open already ---- */

static uint32_t why_none(struct scene *s, uint32_t access)
{
	struct open_args a = { .access = access | OPEN4_SHARE_ACCESS_WANT_ANY_DELEG, .name = "f" };

	expect_status(open_any(s->cl, s->owner, &s->dir, &a, &s->open), NFS4_OK);
	if (s->open.result->delegation != OPEN_DELEGATE_NONE_EXT)
		return UINT32_MAX;
	return s->open.result->why_none;
}

static void beside_a_local_reader(void **state)
{
	struct scene s = scene_of(minor_of(state));
	int fd = open(s.path, O_RDONLY);

	check(fd >= 0);
	check_num(why_none(&s, RW), WND4_CONTENTION);
	close_file(s.cl, &s.open);
	check_num(why_none(&s, R), UINT32_MAX);
	check_num(s.open.result->delegation, OPEN_DELEGATE_READ);
	close(fd);
}

static void beside_a_local_writer(void **state)
{
	struct scene s = scene_of(minor_of(state));
	int fd = open(s.path, O_WRONLY);

	check(fd >= 0);
	check_num(why_none(&s, R), WND4_CONTENTION);
	check_num(why_none(&s, RW), WND4_CONTENTION);
	close(fd);
	check_num(why_none(&s, RW), UINT32_MAX);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE);
}

/* The mapping outlives the descriptor. */
static void beside_a_mapping(void **state)
{
	struct scene s = scene_of(minor_of(state));
	int fd = open(s.path, O_RDWR);
	void *p;

	check(fd >= 0);
	p = mmap(NULL, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check(p != MAP_FAILED);
	close(fd);
	check_num(why_none(&s, R), WND4_CONTENTION);
	munmap(p, 3);
	check_num(why_none(&s, R), UINT32_MAX);
}

/* ---- clients that do not return it, servers that stop ---- */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void not_returned(void **state)
{
	struct scene s = delegated(state, RW);
	double start_time = now();
	struct process p = start(writes, s.path);

	recalled(&s);
	while (!ended(&p, 500)) {
		check(now() - start_time < LEASE + 5);
		client_status_flags(s.cl);
	}
	expect_end(&p, 1);
	check(now() - start_time > LEASE - 2);
	check(client_status_flags(s.cl) & SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
}

static void reconnect(struct scene *s)
{
	struct conn *before = s->cl->conn;

	s->cl->conn = conn_new();
	s->cl->conn->uid = before->uid;
	s->cl->conn->gid = before->gid;
	s->back = client_bind_conn(s->cl, CDFC4_FORE_OR_BOTH);
}

/* After a restart the file is watched again, */
static void over_restarts(void **state)
{
	struct scene s = delegated(state, RW);

	wire_need_restart();
	for (int round = 0; round < 2; round++) {
		if (round)
			wire_server_exec();
		else
			wire_server_restart();
		reconnect(&s);
		write_under_delegation(&s, "xxx");
		check(cb_quiet(s.back, QUIET_MS));
	}
	waits(&s, reads_new);
}

/* and what was opened meanwhile recalls the delegation. */
static void opened_during_restart(void **state)
{
	struct scene s = delegated(state, RW);
	int fd;

	wire_need_restart();
	wire_server_stop();
	fd = open(s.path, O_RDONLY);
	check(fd >= 0);
	wire_server_start();
	reconnect(&s);
	client_status_flags(s.cl);
	recalled(&s);
	give_back(&s);
	close(fd);
}

/* The client is back after a crash, and can be called. */
static void come_back(struct scene *s)
{
	struct cb_call *probe;

	client_return(s->cl);
	s->back = client_bind_conn(s->cl, CDFC4_FORE_OR_BOTH);
	probe = cb_recv_any(s->back);
	check(probe->op == 0);
	cb_answer(probe, NFS4_OK);
}

static struct result *reclaim(struct scene *s)
{
	struct open_args a = { .access = RW,
			       .claim = CLAIM_PREVIOUS,
			       .delegate_type = OPEN_DELEGATE_WRITE };

	s->owner = owner_new();
	expect_status(open_any(s->cl, s->owner, &s->fh, &a, &s->open), NFS4_OK);
	s->deleg = s->open.result->deleg_sid;
	check_num(s->open.result->delegation, OPEN_DELEGATE_WRITE);
	return s->open.result;
}

/* Those who were there in earlier tests do not come back. */
static void await_end_of_grace(void)
{
	struct timespec step = { .tv_nsec = 100 * 1000 * 1000 };
	struct client *cl = client_new(1);
	struct fh dir = root_fh(cl);
	struct open_args a = { .access = R, .name = "none" };
	double start_time = now();

	while (open_any(cl, owner_new(), &dir, &a, &(struct open_file){ 0 }) == NFS4ERR_GRACE) {
		check(now() - start_time < LEASE + 5);
		nanosleep(&step, NULL);
	}
}

/* After a crash: what is reclaimed is watched, and what a process uses meanwhile is recalled. */
static void reclaimed(void **state)
{
	struct scene s = delegated(state, RW), used = delegated(state, RW);
	int fd;

	wire_need_restart();
	wire_server_kill();
	fd = open(used.path, O_RDONLY);
	check(fd >= 0);
	wire_server_start();
	come_back(&used);
	check(reclaim(&used)->recall);
	recalled(&used);
	give_back(&used);
	close(fd);
	come_back(&s);
	reclaim(&s);
	waits(&s, reads_new);
	await_end_of_grace();
}

/* Who opens for writing only gets no write delegation by reclaiming one, either, if it may not read. */
static void reclaimed_without_reading(void **state)
{
	struct scene s = delegated(state, RW);
	struct open_args a = { .access = OPEN4_SHARE_ACCESS_WRITE,
			       .claim = CLAIM_PREVIOUS,
			       .delegate_type = OPEN_DELEGATE_WRITE };
	struct attrs *mode = test_alloc(sizeof(*mode));
	struct compound *q = begin_at(s.cl, &s.fh);

	wire_need_restart();
	at_num(mode, FATTR4_MODE, 0222);
	add_setattr(q, &SID_ANONYMOUS, mode);
	expect(call(q), NFS4_OK);
	wire_server_kill();
	wire_server_start();
	come_back(&s);
	s.cl->conn->uid = s.cl->conn->gid = 2001;
	s.owner = owner_new();
	expect_status(open_any(s.cl, s.owner, &s.fh, &a, &s.open), NFS4_OK);
	check(s.open.result->delegation != OPEN_DELEGATE_WRITE);
	await_end_of_grace();
}

/* A server that is killed keeps nobody waiting. */
static void killed(void **state)
{
	struct scene s = delegated(state, RW);
	struct process p;

	wire_need_restart();
	p = start(reads_old, s.path);
	recalled(&s);
	check(!ended(&p, QUIET_MS));
	wire_server_kill();
	expect_end(&p, 5);
}

/* Nothing is left behind, neither watches nor events. */
static void descriptors_come_back(void **state)
{
	struct scene s = scene_of(minor_of(state));
	struct client *other = client_new(minor_of(state));
	size_t dir_len = strlen(s.path) - 1;
	unsigned before = 0, now_open = 0;

	for (int i = 0; i < 30; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		snprintf(s.path + dir_len, sizeof(s.path) - dir_len, "%s", name);
		s.fh = make_file(other, &s.dir, name, "old", 3);
		expect_status(open_status(s.cl, s.owner, &s.dir, name, RW, 0, &s.open), NFS4_OK);
		s.deleg = s.open.result->deleg_sid;
		check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE);
		waits(&s, reads_new);
		close_file(s.cl, &s.open);
		expect_status(remove_name(s.cl, &s.dir, name), NFS4_OK);
		now_open = wire_server_descriptors();
		if (i == 2)
			before = now_open;
	}
	/* The last watch may be about to go. */
	check(now_open <= before + 3);
}

int main(void)
{
	static const char *const extra[] = { "--grace", "4", NULL };
	static const struct wire_options options = { .lease = LEASE, .extra = extra };
	const struct CMUnitTest tests[] = {
		WIRE_SESSIONS(write_delegation),
		WIRE_ALL_MINORS(read_delegation),
		WIRE_MINOR(several_wait, 1),
		WIRE_ALL_MINORS(read_afterwards),
		WIRE_SESSIONS(write_afterwards),
		WIRE_SESSIONS(own_changes),
		WIRE_SESSIONS(beside_a_local_reader),
		WIRE_SESSIONS(beside_a_local_writer),
		WIRE_MINOR(beside_a_mapping, 1),
		WIRE_MINOR(descriptors_come_back, 1),
		WIRE_MINOR(not_returned, 1),
		WIRE_MINOR(over_restarts, 1),
		WIRE_MINOR(opened_during_restart, 1),
		WIRE_MINOR(reclaimed, 1),
		WIRE_MINOR(reclaimed_without_reading, 1),
		WIRE_MINOR(killed, 1),
	};

	return wire_main("wire_deleg_local", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

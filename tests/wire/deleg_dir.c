/*
 * Delegations of directories (RFC 8881 sections 10.9 and 18.39): recalled by whatever others do to
 * the entries, clients and programs on the server's machine; there are no notifications.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define QUIET_MS 150
#define R	 OPEN4_SHARE_ACCESS_READ
#define RW	 OPEN4_SHARE_ACCESS_BOTH

struct scene {
	struct client *cl, *other;
	struct fh root, dir;
	struct sid deleg;
	char path[400];
};

static uint32_t get(struct scene *s)
{
	struct compound *q = begin_at(s->cl, &s->dir);
	struct reply *r;

	/* Asked for notifications, it grants none (get.c checks it). */
	add_get_dir_delegation_of(q, false, 0x3f);
	r = call(q);
	expect(r, NFS4_OK);
	if (last(r)->gdd == GDD4_OK)
		s->deleg = last(r)->deleg_sid;
	return last(r)->gdd;
}

/* Two clients, and a directory with files a and b that the first has a delegation of. */
static struct scene delegated_of(uint32_t minor, uint32_t other_minor)
{
	static unsigned number;
	struct scene s = { .cl = client_new_back(minor, NULL), .other = client_new(other_minor) };
	char name[32];

	s.root = root_fh(s.other);
	snprintf(name, sizeof(name), "dir%u-%d", number++, (int)getpid());
	s.dir = make(s.other, &s.root, NF4DIR, name);
	snprintf(s.path, sizeof(s.path), "%s/%s", wire_server_dir(), name);
	make_file(s.other, &s.dir, "a", "a", 1);
	make_file(s.other, &s.dir, "b", "b", 1);
	check_num(get(&s), GDD4_OK);
	check_num(s.deleg.seqid, 1);
	return s;
}

static void recalled(struct scene *s)
{
	struct cb_call *cb = cb_recv(s->cl->conn);

	check_num(cb->op, OP_CB_RECALL);
	check(memcmp(&cb->sid, &s->deleg, sizeof(cb->sid)) == 0);
	check(cb->fh.len == s->dir.len && memcmp(cb->fh.data, s->dir.data, cb->fh.len) == 0);
	cb_answer(cb, NFS4_OK);
}

static uint32_t deleg_return(struct scene *s)
{
	struct compound *q = begin_at(s->cl, &s->dir);

	add_delegreturn(q, &s->deleg);
	return call(q)->status;
}

/* ---- what others do ---- */

typedef uint32_t operation(struct client *cl, struct scene *s);

static uint32_t makes_directory(struct client *cl, struct scene *s)
{
	struct compound *q = begin_at(cl, &s->dir);
	struct attrs at = { 0 };

	at_num(&at, FATTR4_MODE, 0755);
	add_create(q, NF4DIR, "new", NULL, 0, 0, &at);
	return call(q)->status;
}

static uint32_t open_as(struct client *cl, struct scene *s, const char *name)
{
	struct attrs at = { 0 };
	struct open_args a = { .access = RW,
			       .opentype = OPEN4_CREATE,
			       .createmode = UNCHECKED4,
			       .attrs = &at,
			       .name = name };

	at_num(&at, FATTR4_MODE, 0644);
	return open_any(cl, owner_new(), &s->dir, &a, &(struct open_file){ 0 });
}

static uint32_t makes_file(struct client *cl, struct scene *s)
{
	return open_as(cl, s, "new file");
}

static uint32_t removes(struct client *cl, struct scene *s)
{
	return remove_name(cl, &s->dir, "a");
}

static uint32_t renames(struct client *cl, struct scene *s)
{
	struct compound *q = begin_at(cl, &s->dir);

	add_savefh(q);
	add_rename(q, "b", "c");
	return call(q)->status;
}

static uint32_t moves_out(struct client *cl, struct scene *s)
{
	struct compound *q = begin_at(cl, &s->dir);
	char name[64];

	snprintf(name, sizeof(name), "out-%s", strrchr(s->path, '/') + 1);
	add_savefh(q);
	add_putfh(q, &s->root);
	add_rename(q, "b", name);
	return call(q)->status;
}

static uint32_t moves_in(struct client *cl, struct scene *s)
{
	struct compound *q = begin_at(cl, &s->root);
	char name[64];

	snprintf(name, sizeof(name), "in-%s", strrchr(s->path, '/') + 1);
	make_file(cl, &s->root, name, "", 0);
	q = begin_at(cl, &s->root);
	add_savefh(q);
	add_putfh(q, &s->dir);
	add_rename(q, name, "in");
	return call(q)->status;
}

static uint32_t links(struct client *cl, struct scene *s)
{
	struct compound *q;
	struct fh fh;

	expect_status(lookup(cl, &s->dir, "b", &fh), NFS4_OK);
	q = begin_at(cl, &fh);
	add_savefh(q);
	add_putfh(q, &s->dir);
	add_link(q, "second");
	return call(q)->status;
}

static uint32_t changes_mode(struct client *cl, struct scene *s)
{
	struct compound *q = begin_at(cl, &s->dir);
	struct attrs at = { 0 };

	at_num(&at, FATTR4_MODE, 0700);
	add_setattr(q, &SID_ANONYMOUS, &at);
	return call(q)->status;
}

static uint32_t removes_it(struct client *cl, struct scene *s)
{
	remove_name(s->cl, &s->dir, "a");
	remove_name(s->cl, &s->dir, "b");
	return remove_name(cl, &s->root, strrchr(s->path, '/') + 1);
}

static operation *const changes[] = { makes_directory, makes_file,   removes,
				      renames,	       moves_out,    moves_in,
				      links,	       changes_mode, removes_it };
#define NCHANGES (sizeof(changes) / sizeof(changes[0]))

static void recalls(void **state)
{
	for (size_t i = 0; i < NCHANGES; i++) {
		struct scene s = delegated_of(1, minor_of(state));

		expect_status(changes[i](s.other, &s), NFS4ERR_DELAY);
		recalled(&s);
		check(cb_quiet(s.cl->conn, 20));
		expect_status(deleg_return(&s), NFS4_OK);
		if (changes[i] == moves_in) /* its first part has been done */
			remove_name(s.other, &s.root, "x");
		expect_status(changes[i](s.other, &s), NFS4_OK);
		/* For a while there is none. */
		if (changes[i] != removes_it)
			check_num(get(&s), GDD4_UNAVAIL);
	}
}

/* Its holder may change it. */
static void own_changes(void **state)
{
	struct scene s = delegated_of(minor_of(state), 1);

	for (size_t i = 0; i < NCHANGES - 1; i++) {
		expect_status(changes[i](s.cl, &s), NFS4_OK);
		expect_status(open_as(s.cl, &s, "b"), NFS4_OK); /* it may have been taken away */
	}
	check(cb_quiet(s.cl->conn, QUIET_MS));
	expect_status(deleg_return(&s), NFS4_OK);
	expect_status(deleg_return(&s), NFS4ERR_BAD_STATEID);
}

/* What makes no difference to the entries. */
static void peace(void **state)
{
	struct scene s = delegated_of(1, minor_of(state));
	struct verf none = { 0 };
	struct compound *q;
	struct fh fh;

	expect_status(open_as(s.other, &s, "a"), NFS4_OK); /* it is there */
	expect_status(lookup(s.other, &s.dir, "b", &fh), NFS4_OK);
	q = begin_at(s.other, &s.dir);
	add_readdir(q, 0, &none, 4096, 8192, bm_of(FATTR4_SIZE, -1));
	expect(call(q), NFS4_OK);
	q = begin_at(s.other, &s.dir);
	add_getattr(q, bm_of(FATTR4_CHANGE, -1));
	expect(call(q), NFS4_OK);
	q = begin_at(s.other, &fh);
	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4_OK);
	check(cb_quiet(s.cl->conn, QUIET_MS));
}

/* Several clients may have it. */
static void shared(void **state)
{
	struct scene s = delegated_of(minor_of(state), 1), t = s;

	t.cl = client_new_back(minor_of(state), NULL);
	check_num(get(&t), GDD4_OK);
	expect_status(makes_file(s.other, &s), NFS4ERR_DELAY);
	recalled(&s);
	recalled(&t);
	expect_status(deleg_return(&s), NFS4_OK);
	expect_status(makes_file(s.other, &s), NFS4ERR_DELAY);
	expect_status(deleg_return(&t), NFS4_OK);
	expect_status(makes_file(s.other, &s), NFS4_OK);
}

static void refused(void **state)
{
	struct scene s = delegated_of(minor_of(state), 1);
	struct fh file = make_file(s.cl, &s.dir, "file", "", 0);
	struct compound *q;
	struct reply *r;

	/* It has one: whether or not it would like to be told. */
	check_num(get(&s), GDD4_UNAVAIL);
	q = begin_at(s.cl, &s.dir);
	add_get_dir_delegation_of(q, true, 0);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->gdd, GDD4_UNAVAIL);
	expect_status(deleg_return(&s), NFS4_OK);
	q = begin_at(s.cl, &file);
	add_get_dir_delegation(q);
	expect(call(q), NFS4ERR_NOTDIR);
	/* A client that cannot be called. */
	q = begin_at(s.other, &s.dir);
	add_get_dir_delegation(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->gdd, GDD4_UNAVAIL);
	q = begin_at(s.other, &s.dir);
	add_get_dir_delegation_of(q, true, 0);
	expect(call(q), NFS4ERR_DIRDELEG_UNAVAIL);
	/* Whom the directory cannot be read by. */
	expect_status(changes_mode(s.other, &s), NFS4_OK);
	s.cl->conn->uid = s.cl->conn->gid = 4711;
	q = begin_at(s.cl, &s.dir);
	add_get_dir_delegation(q);
	expect(call(q), NFS4ERR_ACCESS);
}

static void stateid(void **state)
{
	struct scene s = delegated_of(minor_of(state), 1);
	struct compound *q = begin(s.cl);
	struct reply *r;

	add_test_stateid(q, &s.deleg, 1);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->list[0], NFS4_OK);
	q = begin(s.cl);
	add_free_stateid(q, &s.deleg);
	expect(call(q), NFS4ERR_LOCKS_HELD);
	q = begin_at(s.cl, &s.root);
	add_delegreturn(q, &s.deleg);
	expect(call(q), NFS4ERR_BAD_STATEID);
	expect_status(deleg_return(&s), NFS4_OK);
}

/* ---- programs on this machine ---- */

static void local_changes(void **state)
{
	for (int i = 0; i < 5; i++) {
		struct scene s;
		char from[500], to[500];
		int fd;

		wire_need_disk();
		s = delegated_of(minor_of(state), 1);
		snprintf(from, sizeof(from), "%s/a", s.path);
		snprintf(to, sizeof(to), "%s/z", s.path);
		fd = open(from, O_RDONLY); /* a look is no change */
		check(fd >= 0);
		close(fd);
		check(cb_quiet(s.cl->conn, 50));
		switch (i) {
		case 0:
			fd = open(to, O_WRONLY | O_CREAT, 0644);
			check(fd >= 0);
			close(fd);
			break;
		case 1:
			check(mkdir(to, 0755) == 0);
			break;
		case 2:
			check(unlink(from) == 0);
			break;
		case 3:
			check(rename(from, to) == 0);
			break;
		default:
			check(chmod(s.path, 0711) == 0);
		}
		recalled(&s);
		expect_status(deleg_return(&s), NFS4_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(recalls),     WIRE_SESSIONS(own_changes), WIRE_ALL_MINORS(peace),
		WIRE_SESSIONS(shared),	      WIRE_SESSIONS(refused),	  WIRE_SESSIONS(stateid),
		WIRE_SESSIONS(local_changes),
	};

	return wire_main("wire_deleg_dir", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

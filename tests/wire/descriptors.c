/*
 * More open files than descriptors: a server that may have NOFILE of them serves many times as many opens,
 * and none of them is the worse for it. Locks keep theirs, as many as there may be.
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

#define NOFILE	256
#define MANY	(3 * NOFILE)
#define LOCKERS (NOFILE / 8) /* that have locks at once: docs/exports.md */
#define RDWR	OPEN4_SHARE_ACCESS_BOTH

static const char *name_of(const char *kind, unsigned n)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s%u", kind, n);
	return name;
}

static const char *path_of(const char *kind, unsigned n)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", wire_server_dir(), name_of(kind, n));
	return path;
}

/* What is written into the nth file. */
static const char *text_of(unsigned n)
{
	static char text[32];

	snprintf(text, sizeof(text), "this is number %08u", n);
	return text;
}

static uint32_t write_text(struct client *cl, const struct open_file *f, unsigned n)
{
	struct compound *q = begin_at(cl, &f->fh);

	add_write(q, &f->sid, 0, UNSTABLE4, text_of(n), (uint32_t)strlen(text_of(n)));
	return call(q)->status;
}

static void expect_text(struct client *cl, const struct open_file *f, unsigned n)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_read(q, &f->sid, 0, 100);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->len, strlen(text_of(n)));
	check(memcmp(last(r)->data, text_of(n), last(r)->len) == 0);
}

static struct open_file *open_many(struct client *cl, const char *kind, unsigned n)
{
	struct open_file *f = test_alloc(n * sizeof(*f));
	struct fh root = root_fh(cl);
	struct owner *o = owner_new();

	for (unsigned i = 0; i < n; i++) {
		f[i] = open_create(cl, o, &root, name_of(kind, i), RDWR, 0);
		expect_status(write_text(cl, &f[i], i), NFS4_OK);
	}
	check(wire_server_descriptors() <= NOFILE);
	return f;
}

static void close_many(struct client *cl, struct open_file *f, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close_file(cl, &f[i]);
}

/* All are there, in whichever order they are used; an OPEN was the permission once and for all. */
static void many_opens(void **state)
{
	struct client *cl = client_new(minor_of(state));
	unsigned seed = 1 + minor_of(state);
	struct open_file *f = open_many(cl, "many", MANY);

	for (unsigned i = 0; i < MANY; i++) {
		unsigned n = (unsigned)rand_r(&seed) % MANY;

		expect_text(cl, &f[n], n);
		n = (unsigned)rand_r(&seed) % MANY;
		expect_status(write_text(cl, &f[n], n), NFS4_OK);
	}
	check(wire_server_descriptors() <= NOFILE);
	for (unsigned i = 0; i < MANY; i++)
		expect_text(cl, &f[i], i);
	/* It is not short of descriptors for others. */
	expect(call(begin_at(client_new(1), &f[0].fh)), NFS4_OK);
	close_many(cl, f, MANY);
}

/* One user's files that nobody may open any more go on being open for who has them open. */
static void permission_lost(void **state)
{
	enum { N = NOFILE };
	struct client *cl = client_bare(minor_of(state));
	struct open_file *f, *others;

	wire_need_disk();
	check(chmod(wire_server_dir(), 0777) == 0);
	cl->conn->uid = cl->conn->gid = 1234;
	client_establish(cl);
	f = open_many(cl, "mine", N);
	for (unsigned i = 0; i < N; i++)
		check(chmod(path_of("mine", i), 0) == 0);
	others = open_many(cl, "other", N);
	for (unsigned i = 0; i < N; i++) {
		expect_text(cl, &f[i], i);
		expect_status(write_text(cl, &f[i], i), NFS4_OK);
	}
	close_many(cl, others, N);
	close_many(cl, f, N);
	for (unsigned i = 0; i < N; i++)
		check(unlink(path_of("mine", i)) == 0);
}

/* Files without a name cannot be opened again, and need not be; also if the name goes late. */
static void nameless(void **state)
{
	enum { N = 25 };
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl);
	struct open_file *early = open_many(cl, "early", N), *late, *others;

	for (unsigned i = 0; i < N; i++)
		expect_status(remove_name(cl, &root, name_of("early", i)), NFS4_OK);
	late = open_many(cl, "late", N);
	others = open_many(cl, "other", MANY);
	/* Their files are most likely closed now. */
	for (unsigned i = 0; i < N; i++)
		expect_status(remove_name(cl, &root, name_of("late", i)), NFS4_OK);
	for (unsigned i = 0; i < MANY; i++)
		expect_text(cl, &others[i], i);
	for (unsigned i = 0; i < N; i++) {
		expect_text(cl, &early[i], i);
		expect_text(cl, &late[i], i);
	}
	check(wire_server_descriptors() <= NOFILE);
	close_many(cl, others, MANY);
	close_many(cl, early, N);
	close_many(cl, late, N);
}

static short locked_here(const char *kind, unsigned n)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path_of(kind, n), O_RDWR | O_CLOEXEC);

	check(fd >= 0 && fcntl(fd, F_GETLK, &fl) == 0);
	close(fd);
	return fl.l_type;
}

/*
 * As many lock-owners as may have locks; one more is told so and locks nothing; nobody's lock is lost,
 * whatever else is opened; and where one has nothing locked any more another may.
 */
static void lockers(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct open_file *f = open_many(cl, "locked", LOCKERS + 1), *others;
	struct lock_state *l = test_alloc((LOCKERS + 1) * sizeof(*l));
	uint32_t full = cl->minor == 0 ? NFS4ERR_RESOURCE : NFS4ERR_DELAY;
	unsigned i;

	wire_need_disk();
	for (i = 0; i <= LOCKERS; i++)
		l[i].owner = owner_new();
	for (i = 0; i < LOCKERS; i++)
		expect_status(lock_range(cl, &f[i], &l[i], WRITE_LT, 0, 10, NULL), NFS4_OK);
	expect_status(lock_range(cl, &f[i], &l[i], WRITE_LT, 0, 10, NULL), full);
	check_num(locked_here("locked", i), F_UNLCK);
	expect_status(lockt(cl, &f[i].fh, owner_new(), WRITE_LT, 0, 10, NULL), NFS4_OK);
	/* Who has some may have more. */
	expect_status(lock_range(cl, &f[0], &l[0], WRITE_LT, 20, 10, NULL), NFS4_OK);
	others = open_many(cl, "other", MANY);
	for (i = 0; i < LOCKERS; i++)
		check_num(locked_here("locked", i), F_WRLCK);
	expect_status(unlock_range(cl, &f[0], &l[0], 0, 10), NFS4_OK);
	expect_status(lock_range(cl, &f[i], &l[i], WRITE_LT, 0, 10, NULL), full);
	expect_status(unlock_range(cl, &f[0], &l[0], 20, 10), NFS4_OK);
	expect_status(lock_range(cl, &f[i], &l[i], WRITE_LT, 0, 10, NULL), NFS4_OK);
	check_num(locked_here("locked", 0), F_UNLCK);
	check_num(locked_here("locked", i), F_WRLCK);
	/* Idle ones are parked like other files, and come back. */
	for (i = 1; i <= LOCKERS; i++)
		expect_status(unlock_range(cl, &f[i], &l[i], 0, 10), NFS4_OK);
	for (i = 0; i < MANY; i++)
		expect_text(cl, &others[i], i);
	for (i = 0; i < LOCKERS; i++) {
		expect_status(lock_range(cl, &f[i], &l[i], READ_LT, 5, 10, NULL), NFS4_OK);
		check_num(locked_here("locked", i), F_RDLCK);
	}
	close_many(cl, others, MANY);
	close_many(cl, f, LOCKERS + 1);
	check_num(locked_here("locked", 1), F_UNLCK);
}

/* All that is open, over a planned restart. */
static void restarts(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct open_file *f;

	wire_need_restart();
	f = open_many(cl, "kept", MANY);
	for (unsigned round = 0; round < 2; round++) {
		if (round)
			wire_server_exec();
		else
			wire_server_restart();
		cl->conn = conn_new();
		for (unsigned i = 0; i < MANY; i++)
			expect_text(cl, &f[i], i);
		check(wire_server_descriptors() <= NOFILE);
	}
	close_many(cl, f, MANY);
}

int main(void)
{
	static const struct wire_options options = { .nofile = NOFILE };
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(many_opens), WIRE_ALL_MINORS(permission_lost),
		WIRE_ALL_MINORS(nameless),   WIRE_ALL_MINORS(lockers),
		WIRE_ALL_MINORS(restarts),
	};

	return wire_main("descriptors", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

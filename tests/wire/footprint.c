/*
 * What the server's memory grows by for each thing that clients hold. A million opens are to fit into a
 * gibibyte; the other bounds keep what there is from growing unnoticed. The figures are printed;
 * ATOLL_FOOTPRINT=N makes N of each in place of a few thousand (docs/performance.md has those of one run).
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define RDWR OPEN4_SHARE_ACCESS_BOTH

static unsigned many(void)
{
	const char *n = getenv("ATOLL_FOOTPRINT");

	return n ? (unsigned)strtoul(n, NULL, 10) : 4000;
}

/* Since `before`, for each of `n`, at most `bound`. */
static void report(const char *what, uint64_t before, unsigned n, uint64_t bound)
{
	uint64_t after = wire_server_memory();
	uint64_t each = after > before ? (after - before) / n : 0;

	print_message("%-28s %6llu bytes each (of %u)\n", what, (unsigned long long)each, n);
	if (each > bound)
		fail_with("%s: %llu bytes each, expected at most %llu", what,
			  (unsigned long long)each, (unsigned long long)bound);
}

static void a_client(uint32_t minor)
{
	struct client *cl = client_new(minor);

	conn_close(cl->conn);
}

/* Idle clients, whose connections have gone. With a session and a slot that has been used. */
static void clients(void **state)
{
	uint32_t minor = minor_of(state);
	unsigned n = many();
	uint64_t before = 0;

	wire_server_fresh();
	for (unsigned i = 0; i < 100; i++)
		a_client(minor);
	before = wire_server_memory();
	for (unsigned i = 0; i < n; i++)
		a_client(minor);
	report(minor ? "idle client 4.1" : "idle client 4.0", before, n, minor ? 6000 : 4000);
}

static void sessions(void **state)
{
	enum { EACH = 60 };
	unsigned n = many() / EACH + 1;
	struct client **cl = test_alloc(n * sizeof(struct client *));
	uint64_t before = 0;

	wire_server_fresh();
	for (unsigned i = 0; i < n; i++)
		cl[i] = client_new(1);
	before = wire_server_memory();
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = 0; k < EACH; k++)
			client_new_session(cl[i]);
	report("session, unused", before, n * EACH, 4500);
}

/* Files of their own, opened by one owner. */
static void opens(void **state)
{
	unsigned n = many();
	struct owner *o = owner_new();
	struct client *cl;
	struct fh root;
	uint64_t before = 0;
	char name[16];

	wire_server_fresh();
	cl = client_new(minor_of(state));
	root = root_fh(cl);
	for (unsigned i = 0; i < n + 100; i++) {
		if (i == 100)
			before = wire_server_memory();
		snprintf(name, sizeof(name), "o%u", i);
		open_create(cl, o, &root, name, RDWR, 0);
	}
	report(cl->minor ? "open 4.1" : "open 4.0", before, n, 1073);
}

/* Each by an owner of its own. */
static void opens_with_owners(void **state)
{
	unsigned n = many();
	struct client *cl;
	struct fh root;
	uint64_t before = 0;
	char name[16];

	wire_server_fresh();
	cl = client_new(minor_of(state));
	root = root_fh(cl);
	for (unsigned i = 0; i < n + 100; i++) {
		if (i == 100)
			before = wire_server_memory();
		snprintf(name, sizeof(name), "w%u", i);
		open_create(cl, owner_new(), &root, name, RDWR, 0);
	}
	report(cl->minor ? "open and its owner 4.1" : "open and its owner 4.0", before, n, 1500);
}

static void locks(void **state)
{
	unsigned n = many() < 20000 ? many() : 20000;
	struct lock_state l = { .owner = owner_new() };
	struct open_file f;
	struct client *cl;
	struct fh root;
	uint64_t before = 0;

	wire_server_fresh();
	cl = client_new(minor_of(state));
	root = root_fh(cl);
	f = open_create(cl, owner_new(), &root, "locks", RDWR, 0);
	for (unsigned i = 0; i < n + 100; i++) {
		if (i == 100)
			before = wire_server_memory();
		expect_status(lock_range(cl, &f, &l, WRITE_LT, 2 * i, 1, NULL), NFS4_OK);
	}
	report("byte-range lock", before, n, 250);
}

static void locks_with_owners(void **state)
{
	unsigned n = 1000; /* each with a descriptor */
	struct open_file f;
	struct client *cl;
	struct fh root;
	uint64_t before = 0;

	wire_server_fresh();
	cl = client_new(minor_of(state));
	root = root_fh(cl);
	f = open_create(cl, owner_new(), &root, "owners", RDWR, 0);
	for (unsigned i = 0; i < n + 100; i++) {
		struct lock_state l = { .owner = owner_new() };

		if (i == 100)
			before = wire_server_memory();
		expect_status(lock_range(cl, &f, &l, READ_LT, 2 * i, 1, NULL), NFS4_OK);
	}
	report("lock-owner with a lock", before, n, 1500);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_MINOR(clients, 0),		  WIRE_MINOR(clients, 1),
		WIRE_MINOR(sessions, 1),	  WIRE_MINOR(opens, 0),
		WIRE_MINOR(opens, 1),		  WIRE_MINOR(opens_with_owners, 0),
		WIRE_MINOR(opens_with_owners, 1), WIRE_MINOR(locks, 1),
		WIRE_MINOR(locks_with_owners, 1),
	};

	return wire_main("footprint", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

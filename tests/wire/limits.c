/*
 * What clients may have at most (atoll.conf(5), max-...): who asks for more gets an error with which
 * it can go on (RFC 7530 section 13.1.4.2: RESOURCE; with sessions DELAY, fewer slots, NOSPC), keeps all
 * that it has, and gets what it asked for once there is room. Of a server that is full, clients go
 * that have been silent for longer than their lease, and no others. Each test has a server that nobody
 * has been at before.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define RDWR	      OPEN4_SHARE_ACCESS_BOTH
#define LEASE	      5
#define CLIENTS	      8
#define SESSIONS      12
#define SESSIONS_EACH 3
#define SLOTS	      4
#define OWNERS	      30
#define OWNERS_EACH   20
#define OPENS	      40
#define OPENS_EACH    25
#define LOCKS	      40
#define LOCKS_EACH    25

static const char settings[] = "max-clients = 8\n"
			       "max-sessions = 12\n"
			       "max-sessions-per-client = 3\n"
			       "max-slots-per-session = 4\n"
			       "max-owners = 30\n"
			       "max-owners-per-client = 20\n"
			       "max-opens = 40\n"
			       "max-opens-per-client = 25\n"
			       "max-locks = 40\n"
			       "max-locks-per-client = 25\n"
			       "grace-time = 1\n";

/* What says that there is no room. */
static uint32_t full(const struct client *cl)
{
	return cl->minor == 0 ? NFS4ERR_RESOURCE : NFS4ERR_DELAY;
}

static const char *file_name(unsigned n)
{
	static char name[16];

	snprintf(name, sizeof(name), "f%u", n);
	return name;
}

static struct fh dir_with_files(unsigned n)
{
	struct open_file f;
	struct client *cl;
	struct fh dir;

	wire_server_fresh();
	cl = client_new(1);
	dir = test_dir(cl);
	for (unsigned i = 0; i < n; i++) {
		f = open_create(cl, owner_new(), &dir, file_name(i), RDWR, 0);
		close_file(cl, &f);
	}
	/* Nothing is left of it. */
	wire_server_fresh();
	return dir;
}

static uint32_t try_open(struct client *cl, struct owner *o, const struct fh *dir, unsigned n,
			 struct open_file *f)
{
	return open_status(cl, o, dir, file_name(n), RDWR, 0, f);
}

/* ---- one after the other ---- */

static void opens(void **state)
{
	struct fh dir = dir_with_files(OPENS_EACH + 1);
	struct client *a = client_new(minor_of(state)), *b = client_new((minor_of(state) + 1) % 3);
	struct owner *oa = owner_new(), *ob = owner_new();
	struct open_file fa[OPENS_EACH + 1], fb[OPENS_EACH];
	unsigned n;

	for (n = 0; n < OPENS_EACH; n++)
		expect_status(try_open(a, oa, &dir, n, &fa[n]), NFS4_OK);
	expect_status(try_open(a, oa, &dir, n, &fa[n]), full(a));
	/* What it has open it may open again, and the rest goes on. */
	expect_status(try_open(a, oa, &dir, 0, &fa[0]), NFS4_OK);
	close_file(a, &fa[0]);
	expect_status(try_open(a, oa, &dir, n, &fa[n]), NFS4_OK);
	/* All together. */
	for (n = 0; n < OPENS - OPENS_EACH; n++)
		expect_status(try_open(b, ob, &dir, n, &fb[n]), NFS4_OK);
	expect_status(try_open(b, ob, &dir, n, &fb[n]), full(b));
	close_file(a, &fa[1]);
	expect_status(try_open(b, ob, &dir, n, &fb[n]), NFS4_OK);
}

static void locks(void **state)
{
	struct fh dir = dir_with_files(1);
	struct client *a = client_new(minor_of(state)), *b = client_new((minor_of(state) + 1) % 3);
	struct lock_state la = { .owner = owner_new() }, lb = { .owner = owner_new() };
	struct open_file fa, fb;
	uint64_t n;

	expect_status(try_open(a, owner_new(), &dir, 0, &fa), NFS4_OK);
	expect_status(try_open(b, owner_new(), &dir, 0, &fb), NFS4_OK);
	for (n = 0; n < LOCKS_EACH; n++)
		expect_status(lock_range(a, &fa, &la, READ_LT, 3 * n, 1, NULL), NFS4_OK);
	expect_status(lock_range(a, &fa, &la, READ_LT, 3 * n, 1, NULL), full(a));
	/* A range that joins others takes none. */
	expect_status(lock_range(a, &fa, &la, READ_LT, 0, 5, NULL), NFS4_OK);
	expect_status(lock_range(a, &fa, &la, READ_LT, 3 * n, 1, NULL), NFS4_OK);
	expect_status(lock_range(a, &fa, &la, READ_LT, 3 * n + 3, 1, NULL), full(a));
	/* All together; unlocking the middle of a range makes two of it, and is never refused. */
	for (n = 0; n < LOCKS - LOCKS_EACH; n++)
		expect_status(lock_range(b, &fb, &lb, READ_LT, 3 * n, 1, NULL), NFS4_OK);
	expect_status(lock_range(b, &fb, &lb, READ_LT, 3 * n, 1, NULL), full(b));
	expect_status(unlock_range(a, &fa, &la, 2, 1), NFS4_OK);
	expect_status(unlock_range(a, &fa, &la, 0, UINT64_MAX), NFS4_OK);
	expect_status(lock_range(b, &fb, &lb, READ_LT, 3 * n, 1, NULL), NFS4_OK);
}

static void owners(void **state)
{
	struct fh dir = dir_with_files(1);
	struct client *a = client_new(minor_of(state)), *b = client_new(1);
	struct open_file fa[OWNERS_EACH], fb[OWNERS], more;
	unsigned n;

	for (n = 0; n < OWNERS_EACH; n++)
		expect_status(try_open(a, owner_new(), &dir, 0, &fa[n]), NFS4_OK);
	expect_status(try_open(a, owner_new(), &dir, 0, &more), full(a));
	/* One that is known opens what it likes. */
	expect_status(try_open(a, fa[0].owner, &dir, 0, &more), NFS4_OK);
	for (n = 0; n < OWNERS - OWNERS_EACH; n++)
		expect_status(try_open(b, owner_new(), &dir, 0, &fb[n]), NFS4_OK);
	expect_status(try_open(b, owner_new(), &dir, 0, &more), NFS4ERR_DELAY);
	/* With sessions an owner goes with what it has open. */
	close_file(b, &fb[0]);
	expect_status(try_open(b, owner_new(), &dir, 0, &more), NFS4_OK);
}

/* CREATE_SESSION; the status, and what was granted. */
static uint32_t another_session(struct client *cl, struct chan *fore, uint8_t id[NFS4_SESSIONID_SIZE])
{
	static const struct chan back = { 0, 4096, 4096, 0, 2, 1 };
	struct chan want = { 0, 1100000, 1100000, 8192, 64, 1000 };
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct reply *r;

	add_create_session(q, cl->clientid, cl->cs_sequence, 0, &want, &back);
	r = call(q);
	if (r->status == NFS4_OK) {
		*fore = last(r)->fore;
		memcpy(id, last(r)->session, NFS4_SESSIONID_SIZE);
	}
	if (r->status != NFS4ERR_DELAY)
		cl->cs_sequence++;
	return r->status;
}

static void sessions(void **state)
{
	struct client *a, *b[CLIENTS];
	uint8_t id[NFS4_SESSIONID_SIZE];
	struct compound *q;
	struct chan fore;
	unsigned n = SESSIONS_EACH, i;

	wire_server_fresh();
	a = client_new(minor_of(state));
	for (i = 1; i < SESSIONS_EACH; i++)
		expect_status(another_session(a, &fore, id), NFS4_OK);
	check_num(fore.max_requests, SLOTS);
	expect_status(another_session(a, &fore, id), NFS4ERR_NOSPC);
	/* One less, and there is room for one. */
	q = begin(a);
	add_destroy_session(q, id);
	expect(call(q), NFS4_OK);
	expect_status(another_session(a, &fore, id), NFS4_OK);
	/* All together. */
	for (i = 0; n < SESSIONS; i++, n++) {
		b[i] = client_new(minor_of(state));
		for (; n + 1 < SESSIONS && n % SESSIONS_EACH != SESSIONS_EACH - 1; n++)
			expect_status(another_session(b[i], &fore, id), NFS4_OK);
	}
	q = begin(a);
	add_destroy_session(q, a->session);
	expect(call(q), NFS4_OK);
	memcpy(a->session, id, sizeof(id));
	for (i = 0; i < SLOTS_MAX; i++)
		a->slot_seq[i] = 1;
	expect_status(another_session(a, &fore, id), NFS4_OK);
	q = begin(a);
	expect(call(q), NFS4_OK);
}

static void slots(void **state)
{
	struct client *cl;
	struct compound *q;

	wire_server_fresh();
	cl = client_new(minor_of(state));
	check_num(cl->fore.max_requests, SLOTS);
	for (uint32_t i = 0; i < SLOTS; i++)
		expect(call(begin_slot(cl, i)), NFS4_OK);
	q = begin_slot(cl, SLOTS);
	expect(call(q), NFS4ERR_BADSLOT);
}

static uint32_t setclientid(struct client *cl)
{
	struct compound *q = begin(cl);

	if (cl->minor == 0) {
		add_setclientid(q, &cl->verf, cl->id, 0x40000000, "tcp", "127.0.0.1.0.0", 1);
	} else {
		q = compound_begin(cl->conn, cl->minor, "");
		add_exchange_id(q, &cl->verf, cl->id, 0, SP4_NONE);
	}
	return call(q)->status;
}

static void clients(void **state)
{
	struct client *cl[CLIENTS + 1];
	struct compound *q;
	unsigned n;

	wire_server_fresh();
	for (n = 0; n < CLIENTS - 1; n++)
		cl[n] = client_new(n % 3);
	/* Those who have only introduced themselves give way to others. */
	for (unsigned i = 0; i < 5; i++)
		expect_status(setclientid(client_bare(minor_of(state))), NFS4_OK);
	cl[n++] = client_new(1);
	cl[n] = client_bare(minor_of(state));
	expect_status(setclientid(cl[n]), full(cl[n]));
	q = compound_begin(cl[n - 1]->conn, 1, "");
	add_destroy_session(q, cl[n - 1]->session);
	expect(call(q), NFS4_OK);
	q = compound_begin(cl[n - 1]->conn, 1, "");
	add_destroy_clientid(q, cl[n - 1]->clientid);
	expect(call(q), NFS4_OK);
	expect_status(setclientid(cl[n]), NFS4_OK);
	for (unsigned i = 0; i < n - 1; i++)
		if (cl[i]->minor)
			expect(call(begin(cl[i])), NFS4_OK);
}

/* ---- the silent ones go first ---- */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Alive or not, without renewing the lease of minor version 0's other clients. */
static void keep_alive(struct client *cl)
{
	struct compound *q = begin(cl);

	if (cl->minor == 0)
		add_renew(q, cl->clientid);
	expect(call(q), NFS4_OK);
}

static bool is_gone(struct client *cl)
{
	struct compound *q = begin(cl);
	uint32_t status;

	if (cl->minor == 0)
		add_renew(q, cl->clientid);
	status = call(q)->status;
	if (status == NFS4_OK)
		return false;
	expect_one_of(status, NFS4ERR_BADSESSION, NFS4ERR_EXPIRED, NFS4ERR_STALE_CLIENTID);
	return true;
}

/*
 * Three clients fall silent, one after the other; two that are alive fill the server with opens, then
 * with locks. Each time the longest silent goes; the last one is there still.
 */
static void courtesy(void **state)
{
	struct fh dir = dir_with_files(OPENS_EACH);
	struct client *silent[3], *a, *b;
	struct open_file fs, fa, fb[OPENS_EACH], f;
	struct lock_state ls = { .owner = owner_new() }, la = { .owner = owner_new() },
			  lb = { .owner = owner_new() };
	struct owner *oa = owner_new(), *ob = owner_new(), *os = owner_new();
	struct timespec step = { .tv_nsec = 200 * 1000 * 1000 };
	double start;

	for (unsigned i = 0; i < 3; i++)
		silent[i] = client_new(minor_of(state));
	a = client_new(1);
	b = client_new(minor_of(state));
	/* The first has opens, the second locks, the third little. */
	for (unsigned i = 0; i < OPENS - OPENS_EACH - 4; i++)
		expect_status(try_open(silent[0], os, &dir, i, &f), NFS4_OK);
	os = owner_new();
	expect_status(try_open(silent[1], os, &dir, 0, &fs), NFS4_OK);
	for (uint64_t i = 0; i < LOCKS - LOCKS_EACH; i++)
		expect_status(lock_range(silent[1], &fs, &ls, READ_LT, 2 * i, 1, NULL), NFS4_OK);
	expect_status(try_open(silent[2], owner_new(), &dir, 0, &f), NFS4_OK);
	for (unsigned i = 0; i < OPENS_EACH; i++)
		expect_status(try_open(b, ob, &dir, i, &fb[i]), NFS4_OK);
	for (uint64_t i = 0; i < LOCKS_EACH; i++)
		expect_status(lock_range(b, &fb[0], &lb, READ_LT, 2 * i, 1, NULL), NFS4_OK);
	expect_status(try_open(a, oa, &dir, 0, &fa), NFS4_OK);
	expect_status(try_open(a, oa, &dir, 1, &f), NFS4_OK);
	/* Full, and all are alive. */
	expect_status(try_open(a, oa, &dir, 2, &f), NFS4ERR_DELAY);
	expect_status(lock_range(a, &fa, &la, READ_LT, 0, 1, NULL), NFS4ERR_DELAY);
	for (start = now(); now() - start < LEASE + 1.5; nanosleep(&step, NULL)) {
		keep_alive(a);
		keep_alive(b);
	}
	expect_status(try_open(a, oa, &dir, 2, &f), NFS4_OK);
	expect_status(lock_range(a, &fa, &la, READ_LT, 0, 1, NULL), NFS4_OK);
	check(is_gone(silent[0]));
	check(is_gone(silent[1]));
	check(!is_gone(silent[2]));
	keep_alive(b);
	expect_status(unlock_range(b, &fb[0], &lb, 0, UINT64_MAX), NFS4_OK);
	for (unsigned i = 0; i < OPENS_EACH; i++)
		close_file(b, &fb[i]);
}

/* The same for clients and sessions. */
static void courtesy_of_clients(void **state)
{
	struct timespec step = { .tv_nsec = 200 * 1000 * 1000 };
	struct client *cl[CLIENTS], *fresh_one;
	uint8_t id[NFS4_SESSIONID_SIZE];
	struct chan fore;
	double start;

	wire_server_fresh();
	for (unsigned i = 0; i < CLIENTS; i++)
		cl[i] = client_new(1);
	for (unsigned i = 0; i < SESSIONS - CLIENTS; i++)
		expect_status(another_session(cl[i % 4], &fore, id), NFS4_OK);
	fresh_one = client_bare(minor_of(state));
	expect_status(setclientid(fresh_one), full(fresh_one));
	expect_status(another_session(cl[CLIENTS - 1], &fore, id), NFS4ERR_DELAY);
	for (start = now(); now() - start < LEASE + 1.5; nanosleep(&step, NULL))
		for (unsigned i = 2; i < CLIENTS; i++)
			keep_alive(cl[i]);
	/* Without opens they go by themselves as well. */
	expect_status(another_session(cl[CLIENTS - 1], &fore, id), NFS4_OK);
	expect_status(setclientid(fresh_one), NFS4_OK);
	check(is_gone(cl[0]));
	for (unsigned i = 2; i < CLIENTS; i++)
		keep_alive(cl[i]);
}

static void prepare(const char *dir)
{
	char text[300];

	snprintf(text, sizeof(text), "%s *(rw,no_root_squash,insecure,fsid=0)\n", dir);
	wire_write_exports(text);
}

int main(void)
{
	static const struct wire_options options = {
		.prepare = prepare,
		.settings = settings,
		.lease = LEASE,
	};
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(opens),	  WIRE_ALL_MINORS(locks),   WIRE_ALL_MINORS(owners),
		WIRE_SESSIONS(sessions),  WIRE_SESSIONS(slots),	    WIRE_ALL_MINORS(clients),
		WIRE_MINOR(courtesy, 0),  WIRE_MINOR(courtesy, 2),  WIRE_MINOR(courtesy_of_clients, 1),
	};

	return wire_main("limits", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

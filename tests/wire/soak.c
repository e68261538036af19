/*
 * Many clients come, hold much, move data, and go: some in good order, some without a word and
 * back under their name. Afterwards the server is where it was: memory, descriptors and threads
 * after a long round are what they were after a short one.
 *
 * Memory that the server keeps for the next request (buffers, finished calls) it gives back after
 * some seconds of quiet, threads somewhat later; that is waited for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE	5 /* seconds: those of minor version 0 go by its end */
#define CLIENTS 24
#define FILES	40
#define TURNS	5 /* of writing and reading a chunk, and listing */
#define CHUNK	(1000 * 1000)
#define WARM_UP 2
#define ROUNDS	6
#define SETTLE	90 /* seconds that it may take */
#define STILL	12 /* seconds without a change: longer than anything that happens by itself */
#define HEAP_SLACK \
	(100 * 1000)	   /* bytes; some opens that are left behind by each client and round */
#define PROCESS_SLACK 4096 /* kB; the heap's pages are not all full */

static uint8_t chunk[CHUNK];

/* ---- one client ---- */

struct guest {
	struct client *cl;
	struct conn *back; /* where it is called */
	struct fh dir;
	struct owner *owner;
	struct open_file file[FILES];
	struct lock_state lock[FILES];
};

static void name_of(char *name, size_t size, unsigned i)
{
	snprintf(name, size, "file-%u", i);
}

static struct guest *come(unsigned n)
{
	struct guest *g = test_alloc(sizeof(*g));

	g->cl = client_new_back(n % 3, &g->back);
	g->dir = test_dir(g->cl);
	g->owner = owner_new();
	return g;
}

static void return_delegation(struct guest *g, struct open_file *f)
{
	struct compound *q;

	if (f->result->delegation != OPEN_DELEGATE_READ &&
	    f->result->delegation != OPEN_DELEGATE_WRITE)
		return;
	q = begin_at(g->cl, &f->fh);
	add_delegreturn(q, &f->result->deleg_sid);
	expect(call(q), NFS4_OK);
}

/* Opens with locks in several pieces. */
static void hold_files(struct guest *g)
{
	char name[32];

	for (unsigned i = 0; i < FILES; i++) {
		name_of(name, sizeof(name), i);
		g->file[i] = open_create(g->cl, g->owner, &g->dir, name, OPEN4_SHARE_ACCESS_BOTH,
					 OPEN4_SHARE_DENY_NONE);
		g->lock[i] = (struct lock_state){ .owner = owner_new() };
		for (unsigned at = 0; at < 5; at++)
			expect_status(lock_range(g->cl, &g->file[i], &g->lock[i], WRITE_LT, at * 10,
						 5, NULL),
				      NFS4_OK);
	}
}

static void let_files_go(struct guest *g)
{
	char name[32];

	for (unsigned i = 0; i < FILES; i++) {
		return_delegation(g, &g->file[i]);
		expect_status(unlock_range(g->cl, &g->file[i], &g->lock[i], 0, NFS4_UINT64_MAX),
			      NFS4_OK);
		close_file(g->cl, &g->file[i]);
		name_of(name, sizeof(name), i);
		expect_status(remove_name(g->cl, &g->dir, name), NFS4_OK);
	}
}

static void go(struct guest *g)
{
	struct compound *q;

	if (g->cl->minor > 0) {
		q = compound_begin(g->cl->conn, g->cl->minor, "");
		add_destroy_session(q, g->cl->session);
		expect(call(q), NFS4_OK);
		q = compound_begin(g->cl->conn, g->cl->minor, "");
		add_destroy_clientid(q, g->cl->clientid);
		expect(call(q), NFS4_OK);
	}
	conn_close(g->cl->conn);
}

/* The connection is gone, the state is not; then somebody of the same name starts anew. */
static struct guest *vanish_and_return(struct guest *g)
{
	struct guest *again = test_alloc(sizeof(*again));

	conn_close(g->cl->conn);
	if (g->cl->minor == 0)
		conn_close(g->back);
	again->cl = client_bare(g->cl->minor);
	memcpy(again->cl->id, g->cl->id, sizeof(again->cl->id));
	client_establish(again->cl);
	again->dir = g->dir;
	again->owner = owner_new();
	return again;
}

/* ---- all of them at the same time ---- */

/* Sends everybody's request, then waits for the answers. */
static void together(struct guest **g, struct compound *(*ask)(struct guest *g, unsigned turn),
		     unsigned turn)
{
	struct compound *q[CLIENTS];

	for (unsigned i = 0; i < CLIENTS; i++) {
		q[i] = ask(g[i], turn);
		check(compound_send(q[i]));
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct reply *r = compound_parse(q[i], rpc_must_recv(g[i]->cl->conn));

		compound_done(q[i], r);
		expect(r, NFS4_OK);
	}
}

static struct compound *write_chunk(struct guest *g, unsigned turn)
{
	struct open_file *f = &g->file[turn % FILES];
	struct compound *q = begin_at(g->cl, &f->fh);

	add_write(q, &f->sid, 0, UNSTABLE4, chunk, CHUNK);
	return q;
}

static struct compound *read_chunk(struct guest *g, unsigned turn)
{
	struct open_file *f = &g->file[turn % FILES];
	struct compound *q = begin_at(g->cl, &f->fh);

	add_read(q, &f->sid, 0, CHUNK);
	return q;
}

static struct compound *list_dir(struct guest *g, unsigned turn)
{
	struct compound *q = begin_at(g->cl, &g->dir);
	struct verf none = { { 0 } };

	add_readdir(q, 0, &none, 8192, 32768, bm_of(FATTR4_SIZE, FATTR4_FILEID, -1));
	return q;
}

static void move_data(struct guest **g)
{
	for (unsigned turn = 0; turn < TURNS; turn++) {
		const void *mark = test_mark();

		together(g, write_chunk, turn % 2);
		together(g, read_chunk, turn % 2);
		together(g, list_dir, turn);
		test_release(mark);
	}
}

static void visit(void)
{
	struct guest *g[CLIENTS];
	const void *mark = test_mark();

	for (unsigned i = 0; i < CLIENTS; i++) {
		g[i] = come(i);
		hold_files(g[i]);
	}
	move_data(g);
	for (unsigned i = 0; i < CLIENTS; i++) {
		if (i % 4 == 3)
			g[i] = vanish_and_return(g[i]);
		else
			let_files_go(g[i]);
		go(g[i]);
	}
	conns_free();
	test_release(mark);
}

/* ---- what the server has ---- */

struct usage {
	unsigned long held;	     /* clients and all that they hold */
	unsigned long heap, buffers; /* bytes, as the server counts them */
	struct wire_usage process;
};

static unsigned long number_of(const char *status, const char *name)
{
	char quoted[64];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\": ", name);
	at = strstr(status, quoted);
	if (!at)
		fail_with("no %s in %s", quoted, status);
	return strtoul(at + strlen(quoted), NULL, 10);
}

static struct usage usage(void)
{
	static const char *const holdings[] = { "clients", "sessions",	  "opens",
						"locks",   "delegations", "files" };
	struct usage u = { .process = wire_server_usage() };
	char command[512], status[4096];
	FILE *p;
	size_t len;

	snprintf(command, sizeof(command), "%s/atoll status --json --state %s 2>&1",
		 getenv("ATOLL_BUILD_DIR"), wire_server_state());
	p = popen(command, "re");
	check(p != NULL);
	len = fread(status, 1, sizeof(status) - 1, p);
	status[len] = '\0';
	check_num(pclose(p), 0);
	for (size_t i = 0; i < sizeof(holdings) / sizeof(holdings[0]); i++)
		u.held += number_of(status, holdings[i]);
	u.heap = number_of(status, "heap");
	u.buffers = number_of(status, "buffers");
	return u;
}

static void say(const char *when, const struct usage *u)
{
	print_message("%s: %lu held, heap %lu, buffers %lu, process %lu kB, %u descriptors, %u "
		      "threads\n",
		      when, u->held, u->heap, u->buffers, u->process.memory_kb,
		      u->process.descriptors, u->process.threads);
}

static bool same(const struct usage *a, const struct usage *b)
{
	return a->heap == b->heap && a->buffers == b->buffers &&
	       a->process.descriptors == b->process.descriptors;
}

static bool back_again(const struct usage *u, const struct usage *before)
{
	return u->held == 0 && u->heap <= before->heap + HEAP_SLACK &&
	       u->buffers <= before->buffers + HEAP_SLACK &&
	       u->process.memory_kb <= before->process.memory_kb + PROCESS_SLACK &&
	       u->process.descriptors <= before->process.descriptors &&
	       u->process.threads <= before->process.threads;
}

static void rest(void)
{
	const struct timespec second = { .tv_sec = 1 };

	nanosleep(&second, NULL);
}

/* What it has when everybody has gone and nothing has changed for a while. */
static struct usage at_rest(void)
{
	struct usage u = usage(), last;

	for (unsigned i = 0, still = 0; i < SETTLE && still < STILL; i++) {
		rest();
		last = u;
		u = usage();
		still = u.held == 0 && same(&u, &last) ? still + 1 : 0;
	}
	return u;
}

/* The same, once it is what it was: threads that are not needed end after half a minute. */
static struct usage back_at_rest(const struct usage *before)
{
	struct usage u = usage();

	for (unsigned i = 0; i < SETTLE && !back_again(&u, before); i++) {
		rest();
		u = usage();
	}
	return u;
}

static void comes_back(void **state)
{
	struct usage first, u;

	for (unsigned round = 0; round < WARM_UP; round++)
		visit();
	first = at_rest();
	say("after the first rounds", &first);
	check_num(first.held, 0);
	for (unsigned round = 0; round < ROUNDS; round++)
		visit();
	u = usage();
	say("at the end of the load", &u);
	u = back_at_rest(&first);
	say("afterwards", &u);
	check(back_again(&u, &first));
}

static const struct CMUnitTest tests[] = {
	WIRE_TEST(comes_back),
};

int main(void)
{
	static const struct wire_options options = { .lease = LEASE };

	return wire_main("soak", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

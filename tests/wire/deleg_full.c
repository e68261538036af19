/*
 * When there are many delegations, or little memory: CB_RECALL_ANY (RFC 8881 section 20.6). And
 * what a client of minor version 0 with delegations hears whose callback path is down (RFC 7530
 * section 16.30.5).
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE	 4
#define EACH	 40
#define ALL	 60
#define QUIET_MS 2500 /* the server looks once a second, and asks once in a quarter of a lease */
#define R	 OPEN4_SHARE_ACCESS_READ

static const char settings[] = "max-delegations = 60\n"
			       "max-delegations-per-client = 40\n"
			       "grace-time = 1\n";

struct holder {
	struct client *cl, *maker;
	struct fh dir;
	unsigned n, first;
	struct fh fh[EACH];
	struct sid deleg[EACH];
};

/* Read delegations until it has `n`; false: there was none to be had. */
static bool have(struct holder *h, unsigned n)
{
	while (h->n < n) {
		struct open_file f;
		char name[16];

		snprintf(name, sizeof(name), "f%u", h->n);
		h->fh[h->n] = make_file(h->maker, &h->dir, name, "x", 1);
		expect_status(open_status(h->cl, owner_new(), &h->dir, name, R, 0, &f), NFS4_OK);
		if (f.result->delegation != OPEN_DELEGATE_READ)
			return false;
		h->deleg[h->n++] = f.result->deleg_sid;
		close_file(h->cl, &f);
	}
	return true;
}

static struct holder holder_new(uint32_t minor)
{
	struct holder h = { .cl = client_new_back(minor, NULL), .maker = client_new(minor) };

	h.dir = test_dir(h.maker);
	return h;
}

static void keep(struct holder *h, unsigned n)
{
	for (; h->n - h->first > n; h->first++) {
		struct compound *q = begin_at(h->cl, &h->fh[h->first]);

		add_delegreturn(q, &h->deleg[h->first]);
		expect(call(q), NFS4_OK);
	}
}

static uint32_t asked(struct holder *h)
{
	struct cb_call *cb = cb_recv(h->cl->conn);

	check_num(cb->op, OP_CB_RECALL_ANY);
	check(bm_has(&cb->bm, RCA4_TYPE_MASK_RDATA_DLG) &&
	      bm_has(&cb->bm, RCA4_TYPE_MASK_WDATA_DLG) && bm_has(&cb->bm, RCA4_TYPE_MASK_DIR_DLG));
	cb_answer(cb, NFS4_OK);
	return cb->keep;
}

static void one_client(void **state)
{
	struct holder h = holder_new(minor_of(state));
	uint32_t n;

	check(have(&h, 30));
	check(cb_quiet(h.cl->conn, QUIET_MS));
	check(have(&h, EACH));
	h.n = EACH;
	n = asked(&h);
	check_num(n, EACH / 2);
	/* It goes on being asked until it has returned some. */
	check_num(asked(&h), EACH / 2);
	keep(&h, n);
	cb_quiet(h.cl->conn, 10);
	check(cb_quiet(h.cl->conn, QUIET_MS));
	keep(&h, 0);
}

/* All clients together: each in proportion. */
static void all_clients(void **state)
{
	struct holder a = holder_new(minor_of(state)), b = holder_new(minor_of(state));

	check(have(&a, 30));
	check(have(&b, 25));
	check(asked(&a) < 30);
	check(asked(&b) < 25);
	keep(&a, 0);
	keep(&b, 0);
}

/* At the limit there are none, and that is all. */
static void at_the_limit(void **state)
{
	struct holder a = holder_new(minor_of(state)), b = holder_new(minor_of(state));

	check(have(&a, EACH));
	check(!have(&b, EACH));
	check_num(b.n, ALL - EACH);
	keep(&a, 0);
	keep(&b, 0);
}

/* The server finds the machine's memory in /proc/meminfo, which is another file here. */
static void little_memory(void **state)
{
	struct holder h;
	char path[512];
	FILE *f;

	if (wire_server_external())
		skip();
	h = holder_new(minor_of(state));
	check(have(&h, 20));
	snprintf(path, sizeof(path), "%s/meminfo", wire_server_state());
	f = fopen(path, "w");
	check(f != NULL);
	fprintf(f, "MemTotal:       1000000 kB\nMemFree:  5 kB\nMemAvailable:     10000 kB\n");
	fclose(f);
	check(mount(path, "/proc/meminfo", NULL, MS_BIND, NULL) == 0);
	check_num(asked(&h), 10);
	check(umount2("/proc/meminfo", MNT_DETACH) == 0);
	unlink(path);
	keep(&h, 0);
}

/* ---- minor version 0 ---- */

static uint32_t renew(struct client *cl)
{
	struct compound *q = begin(cl);

	add_renew(q, cl->clientid);
	return call(q)->status;
}

static void path_down(void **state)
{
	struct conn *back;
	struct client *cl = client_new_back(0, &back), *other = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(other, &dir, "f", "x", 1);
	struct owner *o = owner_new();
	struct timespec step = { .tv_nsec = 50 * 1000 * 1000 };
	struct open_file f, g;
	struct compound *q;
	uint32_t status = NFS4_OK;

	make_file(other, &dir, "g", "", 0);
	expect_status(open_status(cl, o, &dir, "g", R, 0, &f), NFS4_OK);
	expect_status(open_status(cl, o, &dir, "f", R, 0, &f), NFS4_OK);
	check_num(f.result->delegation, OPEN_DELEGATE_READ);
	expect_status(renew(cl), NFS4_OK);
	/*
	 * The server loses its connection, and nobody listens any more where it was;
	 * it finds out when it has to call.
	 */
	conn_close(back);
	expect_status(open_status(other, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_WRITE, 0, &g),
		      NFS4ERR_DELAY);
	for (int i = 0; i < 200 && status == NFS4_OK; i++) {
		nanosleep(&step, NULL);
		status = renew(cl);
	}
	expect_status(status, NFS4ERR_CB_PATH_DOWN);
	/* The lease has been renewed all the same, and without delegations nobody misses the path. */
	q = begin_at(cl, &fh);
	add_delegreturn(q, &f.result->deleg_sid);
	expect(call(q), NFS4_OK);
	expect_status(renew(cl), NFS4_OK);
}

/* ---- an export without ---- */

static void no_delegations(void **state)
{
	struct client *cl = client_new_back(minor_of(state), NULL), *maker = client_new(1);
	struct fh root = root_fh(cl), dir;
	struct open_file f;

	if (wire_server_external())
		skip();
	expect_status(lookup(cl, &root, "without", &dir), NFS4_OK);
	make_file(maker, &dir, "f", "x", 1);
	expect_status(open_status(cl, owner_new(), &dir, "f", R, 0, &f), NFS4_OK);
	check_num(f.result->delegation, OPEN_DELEGATE_NONE);
	/* The client could have one elsewhere. */
	make_file(maker, &root, "beside", "x", 1);
	expect_status(open_status(cl, owner_new(), &root, "beside", R, 0, &f), NFS4_OK);
	check_num(f.result->delegation, OPEN_DELEGATE_READ);
}

static void prepare(const char *dir)
{
	char text[600];

	snprintf(text, sizeof(text), "%s/without", dir);
	check(mkdir(text, 0755) == 0);
	snprintf(text, sizeof(text),
		 "%s *(rw,no_root_squash,insecure,fsid=0)\n"
		 "%s/without *(rw,no_root_squash,insecure,no_delegations)\n",
		 dir, dir);
	wire_write_exports(text);
}

int main(void)
{
	static const struct wire_options options = { .prepare = prepare,
						     .settings = settings,
						     .lease = LEASE };
	static const struct CMUnitTest tests[] = {
		WIRE_MINOR(one_client, 1),   WIRE_SESSIONS(all_clients),
		WIRE_MINOR(at_the_limit, 1), WIRE_MINOR(little_memory, 2),
		WIRE_TEST(path_down),	     WIRE_MINOR(no_delegations, 2),
	};

	return wire_main("wire_deleg_full", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Leases (RFC 7530 section 9.6, RFC 8881 section 8.3): with a server of a short lease
 * time. One wait serves all clients: some go on renewing, some fall silent.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE 5 /* seconds */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void keep_alive(struct client *cl)
{
	struct compound *q = begin(cl);

	if (cl->minor == 0)
		add_renew(q, cl->clientid);
	expect(call(q), NFS4_OK);
}

/* The lease time is what the administrator has said. */
static void lease_time(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh root = root_fh(cl);

	check_num(getattr_num(cl, &root, FATTR4_LEASE_TIME), LEASE);
}

/* A client that holds a file against everybody, and perhaps falls silent. */
struct holder {
	struct client *cl;
	struct open_file open;
	struct lock_state lock;
	char share[16], range[16]; /* names: denied by share reservation, by byte range */
	struct open_file range_open;
};

static struct holder hold(uint32_t minor, const struct fh *dir, const char *tag)
{
	struct holder h = { .cl = client_new(minor) };

	snprintf(h.share, sizeof(h.share), "s-%s", tag);
	snprintf(h.range, sizeof(h.range), "r-%s", tag);
	h.open = open_create(h.cl, owner_new(), dir, h.share, OPEN4_SHARE_ACCESS_BOTH,
			     OPEN4_SHARE_DENY_BOTH);
	h.range_open = open_create(h.cl, owner_new(), dir, h.range, OPEN4_SHARE_ACCESS_BOTH, 0);
	h.lock.owner = owner_new();
	expect_status(lock_range(h.cl, &h.range_open, &h.lock, WRITE_LT, 0, 100, NULL), NFS4_OK);
	return h;
}

static uint32_t read_with(struct client *cl, const struct open_file *f)
{
	struct compound *q = begin_at(cl, &f->fh);

	add_read(q, &f->sid, 0, 10);
	return call(q)->status;
}

struct contender {
	struct client *cl;
	struct owner *owner;
	struct open_file open; /* of the file with the lock */
	struct lock_state lock;
	bool got_share, got_range;
	const struct holder *against;
};

static struct contender contend(uint32_t minor, const struct fh *dir, const struct holder *h)
{
	struct contender c = { .cl = client_new(minor), .owner = owner_new(), .against = h };

	expect_status(open_status(c.cl, c.owner, dir, h->range, OPEN4_SHARE_ACCESS_BOTH, 0,
				  &c.open),
		      NFS4_OK);
	c.lock.owner = owner_new();
	return c;
}

/* One try each for what is held; whatever else the try may be, it renews the lease. */
static void try_both(struct contender *c, const struct fh *dir)
{
	uint32_t status;

	keep_alive(c->cl);
	if (!c->got_share) {
		status = open_status(c->cl, c->owner, dir, c->against->share,
				     OPEN4_SHARE_ACCESS_READ, 0, NULL);
		expect_one_of(status, NFS4_OK, NFS4ERR_SHARE_DENIED, NFS4ERR_DELAY);
		c->got_share = status == NFS4_OK;
	}
	if (!c->got_range) {
		status = lock_range(c->cl, &c->open, &c->lock, WRITE_LT, 50, 10, NULL);
		expect_one_of(status, NFS4_OK, NFS4ERR_DENIED, NFS4ERR_DELAY);
		c->got_range = status == NFS4_OK;
	}
}

/*
 * Silent clients lose what others ask for once their lease has passed, not before, and no
 * others do; clients that renew lose nothing; silent clients that nobody wants anything of
 * find everything in place (courtesy).
 */
static void expiry(void **state)
{
	struct client *setup = client_new(1);
	struct fh dir = test_dir(setup);
	struct holder silent[2], alive[2], courtesy[2];
	struct contender wants[2], waits[2];
	struct timespec step = { .tv_nsec = 200 * 1000 * 1000 };
	double start;
	uint32_t status;

	for (uint32_t m = 0; m < 2; m++) {
		silent[m] = hold(m, &dir, m ? "silent41" : "silent40");
		alive[m] = hold(m, &dir, m ? "alive41" : "alive40");
		courtesy[m] = hold(m, &dir, m ? "court41" : "court40");
	}
	start = now();
	for (uint32_t m = 0; m < 2; m++) {
		/* Across minor versions: the one's state counts for the other. */
		wants[m] = contend(1 - m, &dir, &silent[m]);
		waits[m] = contend(1 - m, &dir, &alive[m]);
	}
	for (;;) {
		double before = now();
		bool all = true;

		for (uint32_t m = 0; m < 2; m++) {
			keep_alive(alive[m].cl);
			try_both(&wants[m], &dir);
			try_both(&waits[m], &dir);
			check(!waits[m].got_share && !waits[m].got_range);
			if ((wants[m].got_share || wants[m].got_range) &&
			    before - start < LEASE - 1.5)
				fail_with("state was taken %.1f s into a lease of %d s",
					  before - start, LEASE);
			all = all && wants[m].got_share && wants[m].got_range;
		}
		if (all)
			break;
		if (now() - start > 2.5 * LEASE)
			fail_with("%.1f s after the last sign of life the state is held still",
				  now() - start);
		nanosleep(&step, NULL);
	}

	/* What the silent ones find when they come back. */
	status = read_with(silent[0].cl, &silent[0].open);
	expect_one_of(status, NFS4ERR_EXPIRED, NFS4ERR_BAD_STATEID);
	{
		struct compound *q = begin(silent[0].cl);

		add_renew(q, silent[0].cl->clientid);
		expect_one_of(call(q)->status, NFS4ERR_EXPIRED, NFS4ERR_STALE_CLIENTID);
		q = begin(silent[1].cl);
		expect_one_of(call(q)->status, NFS4ERR_BADSESSION, NFS4ERR_DEADSESSION);
	}
	/* Client IDs can be made anew under the same name. */
	client_establish(silent[0].cl);
	client_establish(silent[1].cl);
	for (uint32_t m = 0; m < 2; m++) {
		expect_status(read_with(alive[m].cl, &alive[m].open), NFS4_OK);
		expect_status(read_with(courtesy[m].cl, &courtesy[m].open), NFS4_OK);
		keep_alive(courtesy[m].cl);
		expect_status(unlock_range(courtesy[m].cl, &courtesy[m].range_open,
					   &courtesy[m].lock, 0, 100),
			      NFS4_OK);
	}
}

int main(void)
{
	static const struct wire_options options = { .lease = LEASE };
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(lease_time),
		WIRE_TEST(expiry),
	};

	return wire_main("lease", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

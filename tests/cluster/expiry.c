/*
 * Clients of a cluster of which some fall silent, for tests/cluster/faults. ATOLL_WIRE_SERVER and ATOLL_WIRE_DIR say
 * where (tests/wire/daemon.h), ATOLL_EXPIRY what this one does, at minor versions 0 and 1:
 *
 *	hold TAG	  opens a file that it denies to all others, and locks a range of another; not a word afterwards
 *	keep TAG FILE	  the same, then makes FILE, and renews its leases until FILE is removed
 *	want TAG KEPT SINCE LEASE
 *			  tries for what the clients of TAG hold until it has all of it; what those of KEPT hold it must
 *			  never get. SINCE: /proc/uptime when the leases of TAG began, at the earliest. Before they can
 *			  have passed it must get nothing, and all of it within two and a half.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define MINORS 2

static char words[5][64];

static double uptime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void rest(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 200 * 1000 * 1000 }, NULL);
}

static void keep_alive(struct client *cl)
{
	struct compound *q = begin(cl);

	if (cl->minor == 0)
		add_renew(q, cl->clientid);
	expect(call(q), NFS4_OK);
}

static const char *name_of(char kind, const char *tag, uint32_t minor)
{
	char *name = test_alloc(96);

	snprintf(name, 96, "%c-%s-%u", kind, tag, minor);
	return name;
}

static struct client *hold(uint32_t minor, const char *tag)
{
	struct client *cl = client_new(minor);
	struct fh root = root_fh(cl);
	struct lock_state lock = { .owner = owner_new() };
	struct open_file f;

	open_create(cl, owner_new(), &root, name_of('s', tag, minor), OPEN4_SHARE_ACCESS_BOTH,
		    OPEN4_SHARE_DENY_BOTH);
	f = open_create(cl, owner_new(), &root, name_of('r', tag, minor), OPEN4_SHARE_ACCESS_BOTH,
			0);
	expect_status(lock_range(cl, &f, &lock, WRITE_LT, 0, 100, NULL), NFS4_OK);
	return cl;
}

static void holds(void **state)
{
	for (uint32_t minor = 0; minor < MINORS; minor++)
		hold(minor, words[1]);
}

static void keeps(void **state)
{
	struct client *cl[MINORS];
	int fd;

	for (uint32_t minor = 0; minor < MINORS; minor++)
		cl[minor] = hold(minor, words[1]);
	fd = open(words[2], O_WRONLY | O_CREAT, 0600);
	check(fd >= 0);
	close(fd);
	while (access(words[2], F_OK) == 0) {
		for (uint32_t minor = 0; minor < MINORS; minor++)
			keep_alive(cl[minor]);
		rest();
	}
}

struct wish {
	const char *share;
	struct open_file open; /* of the file with the range */
	struct lock_state lock;
	bool got_share, got_range;
};

static struct wish wish_for(struct client *cl, struct owner *owner, const char *tag, uint32_t minor)
{
	struct wish w = { .share = name_of('s', tag, minor), .lock.owner = owner_new() };
	struct fh root = root_fh(cl);

	expect_status(open_status(cl, owner, &root, name_of('r', tag, minor),
				  OPEN4_SHARE_ACCESS_BOTH, 0, &w.open),
		      NFS4_OK);
	return w;
}

/* One try for each; true if all is there. */
static bool try_both(struct client *cl, struct owner *owner, struct wish *w)
{
	struct fh root = root_fh(cl);
	uint32_t status;

	if (!w->got_share) {
		status = open_status(cl, owner, &root, w->share, OPEN4_SHARE_ACCESS_READ, 0, NULL);
		expect_one_of(status, NFS4_OK, NFS4ERR_SHARE_DENIED, NFS4ERR_DELAY);
		w->got_share = status == NFS4_OK;
	}
	if (!w->got_range) {
		status = lock_range(cl, &w->open, &w->lock, WRITE_LT, 50, 10, NULL);
		expect_one_of(status, NFS4_OK, NFS4ERR_DENIED, NFS4ERR_DELAY);
		w->got_range = status == NFS4_OK;
	}
	return w->got_share && w->got_range;
}

/* Across minor versions: the one's state counts for the other. */
static void wants(void **state)
{
	struct client *cl[MINORS];
	struct owner *owner[MINORS];
	struct wish silent[MINORS], kept[MINORS];
	double since = strtod(words[3], NULL), lease = strtod(words[4], NULL), at;
	bool all;

	for (uint32_t m = 0; m < MINORS; m++) {
		cl[m] = client_new(m);
		owner[m] = owner_new();
		silent[m] = wish_for(cl[m], owner[m], words[1], 1 - m);
		kept[m] = wish_for(cl[m], owner[m], words[2], 1 - m);
	}
	do {
		rest();
		all = true;
		for (uint32_t m = 0; m < MINORS; m++) {
			keep_alive(cl[m]);
			all &= try_both(cl[m], owner[m], &silent[m]);
			try_both(cl[m], owner[m], &kept[m]);
			check(!kept[m].got_share && !kept[m].got_range);
			at = uptime();
			if ((silent[m].got_share || silent[m].got_range) && at < since + lease)
				fail_with("state was taken %.1f s into a lease of %.0f s",
					  at - since, lease);
		}
		if (!all && uptime() > since + 2.5 * lease)
			fail_with("after %.1f s the state is held still", uptime() - since);
	} while (!all);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { WIRE_TEST(holds), WIRE_TEST(keeps),
						   WIRE_TEST(wants) };
	static const char *const modes[] = { "hold", "keep", "want" };
	const char *what = getenv("ATOLL_EXPIRY");

	if (what && sscanf(what, "%63s %63s %63s %63s %63s", words[0], words[1], words[2], words[3],
			   words[4]) >= 2)
		for (unsigned i = 0; i < 3; i++)
			if (strcmp(words[0], modes[i]) == 0)
				return wire_main("expiry", NULL, &tests[i], 1);
	fprintf(stderr, "expiry: ATOLL_EXPIRY must say what to do\n");
	return 2;
}

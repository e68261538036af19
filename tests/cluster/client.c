/*
 * A client that does what must go into the cluster's order and into every node's record of clients:
 * it makes itself known, opens, locks, unlocks, closes. ATOLL_WIRE_SERVER and ATOLL_WIRE_DIR say
 * where (tests/wire/daemon.h).
 */
#include <stdio.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

static void works(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct lock_state lock = { .owner = owner_new() };
	struct fh root = root_fh(cl);
	struct open_file f;
	char name[32];

	snprintf(name, sizeof(name), "work%d", (int)getpid());
	f = open_create(cl, owner_new(), &root, name, OPEN4_SHARE_ACCESS_BOTH, 0);
	expect_status(lock_range(cl, &f, &lock, WRITE_LT, 0, 100, NULL), NFS4_OK);
	expect_status(unlock_range(cl, &f, &lock, 0, 100), NFS4_OK);
	close_file(cl, &f);
	expect_status(remove_name(cl, &root, name), NFS4_OK);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { WIRE_ALL_MINORS(works) };

	return wire_main("client", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

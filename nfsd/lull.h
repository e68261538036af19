/*
 * A lull: for a moment this node may promise nothing, as it does not know whether its state is the
 * latest (nfs_server_serves()). What clients ask for waits here, before anything of it has been done. Told
 * to come again, with NFS4ERR_DELAY, Linux would come after 15 seconds, when it is all over or the
 * address is elsewhere.
 *
 *	arrives --> waits --node serves, without a break--> runs
 *		      |---node serves again-------------> dropped: its connection is closed, the client asks again
 *		      `---lull_ms have passed-----------> runs into NFS4ERR_DELAY
 *
 * Why dropped: while this node did not serve its address may have gone elsewhere, and the client with it. What it
 * has asked for there since must not be followed by what it asked for here before.
 */
#pragma once

#include <stdbool.h>

struct compound;
struct lulls;
struct nfs_server;

/* NULL when out of memory or threads. */
struct lulls *lulls_new(struct nfs_server *s);
/* Nobody is resumed any more; what waits is left where it is. NULL is allowed. */
void lulls_stop(struct lulls *l);
/* After that, when all calls have gone. NULL is allowed. */
void lulls_free(struct lulls *l);

/* True: it is parked, and goes on later. False: it goes on now, into NFS4ERR_DELAY. */
bool lull_wait(struct compound *c);
/* It has been resumed. False: it is to be dropped. */
bool lull_over(struct compound *c);
/* Its call is dropped. */
void lull_forget(struct compound *c);

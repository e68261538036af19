/*
 * The supervisor: the process that starts the worker (the server proper) of a cluster node, holds
 * its virtual addresses, and takes them away the moment the worker dies or hangs. A cluster of one
 * has none.
 *
 *	supervisor ---- channel: PET, HOLD, DROP ---- worker
 *	     |  `--pipe: done                           | shares its descriptors
 *	     `---------------------------------------- keeper
 *
 * - The supervisor has CAP_NET_ADMIN and CAP_NET_RAW, does what the worker asks for, passes signals
 *   on, and starts a new worker when one has died (with a growing pause).
 * - The worker is the rest of the program. It pets the supervisor; if it has done so once and then
 *   does not for `hang_ms`, it is killed.
 * - The keeper is a child of the worker that shares its table of descriptors (CLONE_FILES) and
 *   sleeps. When the worker is killed, its connections stay open in the keeper: clients are not
 *   sent a FIN, upon which they would connect to this very node again, be refused and wait for
 *   seconds. Once the addresses are gone the supervisor lets the keeper go, and the connections
 *   vanish without a word that would reach a client. Should the supervisor die, the keeper does
 *   what has to be done: removes the addresses, ends the worker.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cluster/vip.h"
#include "cluster/vip_state.h"

struct supervisor_params {
	const struct vip *vips; /* removed at every start and end, whoever left them there */
	unsigned nvips;
	const char *interface; /* where they go; "": where the network is */
	uint16_t port;	       /* of the server, for connections to provoke */
	unsigned hang_ms;
	const char *program; /* what is run for SUPERVISOR_RESTART; NULL: nothing can be */
	char **argv;
};

/* The worker's end. */
struct supervisor;

/* The worker's exit status for: run the program again, which may be a new version. */
#define SUPERVISOR_RESTART 86
/* Start a new worker at once: this one's state is void. */
#define SUPERVISOR_RENEW 87

/*
 * Splits the process in two. In the supervisor it does not return. In the worker it does, in each
 * one that is started: NULL if that is all that there is, for want of processes or memory (logged).
 * Before any thread and with all privileges.
 */
struct supervisor *supervisor_start(const struct supervisor_params *params);

/* The worker is well. Any thread; never blocks. */
void supervisor_pet(struct supervisor *s);
/* The worker is about to end, and may take its time. */
void supervisor_unwatch(struct supervisor *s);
/*
 * Holds an address and announces it; provokes `peers`. Or gives it up, which is done when this
 * returns. 0 or -errno (logged by the supervisor, who goes on trying to hold it); -EPIPE: no
 * supervisor any more. Any thread; waits for the supervisor.
 */
int supervisor_hold(struct supervisor *s, const struct vip *v, const struct vip_peer *peers,
		    unsigned n);
int supervisor_drop(struct supervisor *s, const struct vip *v);

/* Removes all of these addresses from this machine: 0 or -errno of the last that failed (logged). */
int supervisor_clean(const struct vip *vips, unsigned n);

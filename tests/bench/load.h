/*
 * Runs a workload on a team of connections for a while and counts.
 *
 * Each thread owns some of the connections and loops: read what came, for every reply let the
 * workload check it and make the slot's next request, send. One request is in flight in every slot
 * all the time. With `batched`, the requests made from one read leave in one send; without, each
 * has a send of its own.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "tests/bench/conn.h"

enum step {
	STEP_FAILED = -1, /* the reason is in conn->error */
	STEP_MORE = 0,	  /* the cycle goes on: slot->step says where */
	STEP_DONE = 1,	  /* the cycle is over, its units are counted */
	STEP_AGAIN = 2,	  /* the server asked for a delay: the same step once more */
};

struct workload {
	const char *name;
	const char *unit;   /* what is counted */
	const char *does;   /* one line for --list */
	unsigned parts;	    /* of the tree that it needs */
	bool raw;	    /* no RPC: records that begin with the xid */
	bool anyone;	    /* does not depend on who asks: not run again as an ordinary user */
	const char *limit;  /* what bounds it: "echo", or streams of limit.h */
	const char *floor;  /* raw system calls that a unit cannot avoid, see raw.h */
	double goal[3];	    /* rate over the peer's, at 1x1, 1x16, 4x8 */
	double goal_cpu;    /* server's CPU per unit, us, plus ... */
	double goal_factor; /* ... so many times `goal_of` */
	const char *goal_of;
	bool goal_batched; /* that of CPU time is meant for batched requests only */
	/* Before the first run, by the connection's own calls; may set conn->priv. */
	int (*open)(struct conn *c);
	/* The request of slot->step; false if there is nothing left to ask. */
	bool (*encode)(struct conn *c, struct slot *s, struct enc *e);
	/* The reply to it; adds the units it completed. */
	enum step (*decode)(struct conn *c, struct slot *s, struct dec *d, uint64_t *units);
	/* After the last run: what was written is read back and compared. Frees conn->priv. */
	int (*close)(struct conn *c);
};

struct load_result {
	double seconds;
	double client_cpu; /* ns */
	double server_cpu; /* ns; -1: not known. Filled in by whoever knows the server */
	struct tally total;
	uint64_t units_min, units_max; /* of a connection */
};

/* How the bench was told to run a load. */
struct load_how {
	double seconds; /* 0: until encode() has nothing left */
	unsigned threads;
	bool batched;
};

/* 0, or -1 with the first failed connection's reason in `error`. */
int load_run(struct conn *conns, unsigned n, const struct load_how *how, struct load_result *r,
	     char error[200]);

uint64_t now_ns(void);

extern const struct workload *const workloads[]; /* ends with NULL */

#endif

/*
 * What an operation costs when the server holds much: clients, objects, opens, locks; and how much
 * memory each of them takes.
 */
#ifndef BENCH_SCALE_H
#define BENCH_SCALE_H

#include <stdio.h>

#include "tests/bench/lab.h"

struct scale_how {
	double seconds;	  /* of a run of a probe */
	unsigned rounds;  /* of which the median and the least count */
	unsigned clients; /* as many as that, and a few less */
	unsigned others;  /* objects, opens, locks */
	unsigned stages;  /* bits of scale_stage() */
};

/* The server's cache-time: what it has shall stay while it is measured. */
#define SCALE_CACHE_TIME "86400"

/* Descriptors for all that; before the server is started. */
void scale_prepare(void);
/* As many clients as a server takes by default, with some to spare: half of its descriptors. */
unsigned scale_clients(void);
/* The bit of a stage of this name; 0: there is none. */
unsigned scale_stage(const char *name);
/* Prints a table to stdout and `also`. 0 or -1. */
int scale_run(const struct server *server, const struct scale_how *how, FILE *also);

#endif

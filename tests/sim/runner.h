/*
 * What the simulations' main() have in common: profiles and seeds, each run in a process of its own, so that one
 * that fails, or is killed, does not keep others from being run. Every one that fails is named with its seed.
 *
 *	PROGRAM [--seed N] [--seeds N] [--seconds N] [--commands N] [--verbose] [PROFILE...]
 *
 * --seconds: fresh seeds, all profiles in turn, until so much time has passed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RUNNER_SEEN 8

struct runner_counts {
	uint64_t done;	  /* what clients asked for and were answered */
	uint64_t applied; /* commands, by all state machines together */
	uint64_t seen[RUNNER_SEEN]; /* how often what `struct runner` names has happened */
};

struct runner {
	const char *program;
	unsigned nprofiles;
	const char *(*profile)(unsigned i);
	/* One run, in a child: says "ok - ..." or "not ok - ..." with exit(1). */
	void (*run)(unsigned profile, uint64_t seed, uint64_t commands, struct runner_counts *counts);
	/* A profile whose runs have done less than 1/least of `commands` on average, fails, too; 0: none. */
	unsigned least;
	/* What must have happened at least once in all runs together, or they test less than they say. */
	const char *seen[RUNNER_SEEN];
};

/* The exit status. */
int runner_main(const struct runner *r, int argc, char **argv);

/*
 * A state machine to try logs with: per source of commands it counts them, and a hash over all of them
 * tells whether two nodes have applied the same in the same order. It checks of each command that its
 * bytes have come whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"

#define TOY_SOURCES 256

struct toy_command {
	uint64_t source; /* who submits: never 0, and never used by another */
	uint64_t seq;	 /* grows within a source */
	uint32_t probe;	 /* not 0: the state here is shown under this number */
	uint32_t padding; /* further bytes, to make it longer */
};

struct toy_result {
	bool refused;
	uint64_t count; /* commands applied, this one included */
};

struct toy_count {
	uint64_t source, n, last;
};

struct toy {
	uint64_t n, hash;
	struct toy_count counts[TOY_SOURCES];
	unsigned ncounts;
	unsigned errors; /* commands that were damaged or out of their source's order */
};

/* Malloc'ed; 0 or -ENOMEM. */
int toy_encode(const struct toy_command *c, uint8_t **out, size_t *len);
/* `c` is filled with what it was. */
void toy_apply(struct toy *t, uint32_t origin, const uint8_t *p, size_t len, struct toy_command *c,
	       struct toy_result *result);
int toy_snapshot(const struct toy *t, uint8_t **out, size_t *len);
int toy_restore(struct toy *t, const uint8_t *p, size_t len);
/* How many of the source's commands were applied. */
uint64_t toy_applied(const struct toy *t, uint64_t source);

/*
 * The application that it is, for one thread: `ctx` begins with a struct toy. What a test wants to know of it
 * replaces here. members() and phase() do nothing.
 */
struct cluster_app toy_app(void *ctx);

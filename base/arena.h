/*
 * Memory that lives as long as one request. Allocation moves a pointer; everything is
 * released at once by arena_reset() or arena_free(). One arena belongs to one thread
 * at a time. Pointers stay valid until the reset: chunks are never moved.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct arena_chunk;

struct arena {
	uint8_t *next; /* the first free byte */
	uint8_t *end;
	struct arena_chunk *chunks; /* newest first */
	size_t total;		    /* bytes held, all chunks */
};

void arena_init(struct arena *a);
/* `size` bytes, aligned to 16, not cleared; NULL when out of memory. */
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK;
/* The same, cleared. */
void *arena_zalloc(struct arena *a, size_t size) MUST_CHECK;
/* A copy of `len` bytes with a NUL behind them; NULL when out of memory. */
char *arena_strndup(struct arena *a, const void *bytes, size_t len) MUST_CHECK;
/* Releases everything but one chunk of ordinary size, which is kept for the next request. */
void arena_reset(struct arena *a);
void arena_free(struct arena *a);

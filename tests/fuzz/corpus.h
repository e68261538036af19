/* Inputs to start from: scenarios played by the client of tests/wire against fuzz_server. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct corpus_item {
	const char *name;
	uint8_t *data;
	size_t len;
};

#define CORPUS_MAX 16

/* Fills `items` (CORPUS_MAX), returns how many. Their memory is never freed. */
unsigned corpus_make(struct corpus_item *items);

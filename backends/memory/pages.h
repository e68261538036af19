/*
 * A file's contents: pages found by their number in a tree that is as high as the highest page
 * needs. Pages that nobody wrote do not exist and read as zeros. Not synchronised: the export's
 * lock covers it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

struct page_node;

struct pages {
	void *root;	 /* a page if height is 0, else a node; NULL: empty */
	unsigned height; /* levels of nodes above the pages */
	uint64_t count;	 /* pages that exist */
};

/* The page, or NULL. */
uint8_t *pages_get(const struct pages *p, uint64_t number);
/* The page, made of zeros if it does not exist. NULL: out of memory. */
uint8_t *pages_make(struct pages *p, uint64_t number);
/* Frees pages `first` to `last`. */
void pages_drop(struct pages *p, uint64_t first, uint64_t last);
/* The lowest existing page from `number` on; false: none. */
bool pages_next(const struct pages *p, uint64_t number, uint64_t *found);
/* The lowest missing page from `number` on. */
uint64_t pages_next_hole(const struct pages *p, uint64_t number);

#include "backends/memory/pages.h"

#include <stdlib.h>

#define FAN_BITS 6
#define FAN	 (1u << FAN_BITS)

struct page_node {
	void *child[FAN];
};

/* How many pages a subtree of that height holds; beyond 2^63 it saturates. */
static uint64_t reach(unsigned height)
{
	return height * FAN_BITS >= 63 ? UINT64_MAX : 1ull << (height * FAN_BITS);
}

static unsigned slot(uint64_t number, unsigned height)
{
	return (unsigned)(number >> ((height - 1) * FAN_BITS)) % FAN;
}

uint8_t *pages_get(const struct pages *p, uint64_t number)
{
	void *at = p->root;

	if (number >= reach(p->height))
		return NULL;
	for (unsigned h = p->height; at && h > 0; h--)
		at = ((struct page_node *)at)->child[slot(number, h)];
	return at;
}

static bool grow(struct pages *p, uint64_t number)
{
	while (number >= reach(p->height)) {
		if (p->root) {
			struct page_node *n = calloc(1, sizeof(*n));

			if (!n)
				return false;
			n->child[0] = p->root;
			p->root = n;
		}
		p->height++;
	}
	return true;
}

uint8_t *pages_make(struct pages *p, uint64_t number)
{
	void **at = &p->root;

	if (!grow(p, number))
		return NULL;
	for (unsigned h = p->height; h > 0; h--) {
		if (!*at)
			*at = calloc(1, sizeof(struct page_node));
		if (!*at)
			return NULL;
		at = &((struct page_node *)*at)->child[slot(number, h)];
	}
	if (!*at) {
		*at = calloc(1, PAGE_BYTES);
		if (*at)
			p->count++;
	}
	return *at;
}

/* Frees what of the subtree lies within first..last; `base` is its lowest page. NULL: all gone. */
static void *drop(struct pages *p, void *at, unsigned height, uint64_t base, uint64_t first,
		  uint64_t last)
{
	struct page_node *n = at;
	bool empty = true;

	if (!at)
		return NULL;
	if (height == 0) {
		if (base < first || base > last)
			return at;
		p->count--;
		free(at);
		return NULL;
	}
	for (unsigned i = 0; i < FAN; i++) {
		uint64_t low = base + i * reach(height - 1);
		uint64_t high = low + (reach(height - 1) - 1);

		if (n->child[i] && high >= first && low <= last)
			n->child[i] = drop(p, n->child[i], height - 1, low, first, last);
		if (n->child[i])
			empty = false;
	}
	if (!empty)
		return at;
	free(n);
	return NULL;
}

void pages_drop(struct pages *p, uint64_t first, uint64_t last)
{
	p->root = drop(p, p->root, p->height, 0, first, last);
	if (!p->root)
		p->height = 0;
}

static bool next(const void *at, unsigned height, uint64_t base, uint64_t number, uint64_t *found)
{
	const struct page_node *n = at;

	if (!at)
		return false;
	if (height == 0) {
		*found = base;
		return base >= number;
	}
	for (unsigned i = 0; i < FAN; i++) {
		uint64_t low = base + i * reach(height - 1);

		if (low + (reach(height - 1) - 1) >= number &&
		    next(n->child[i], height - 1, low, number, found))
			return true;
	}
	return false;
}

bool pages_next(const struct pages *p, uint64_t number, uint64_t *found)
{
	return next(p->root, p->height, 0, number, found);
}

uint64_t pages_next_hole(const struct pages *p, uint64_t number)
{
	while (pages_get(p, number))
		number++;
	return number;
}

#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE 8192
#define ALIGN	   16u

struct arena_chunk {
	struct arena_chunk *older;
	size_t size; /* of data[] */
	_Alignas(ALIGN) uint8_t data[];
};

void arena_init(struct arena *a)
{
	*a = (struct arena){ 0 };
}

static int arena_grow(struct arena *a, size_t size)
{
	size_t data = size > CHUNK_SIZE ? size : CHUNK_SIZE;
	struct arena_chunk *c;

	if (data > SIZE_MAX - sizeof(*c))
		return -1;
	c = malloc(sizeof(*c) + data);
	if (!c)
		return -1;
	c->older = a->chunks;
	c->size = data;
	a->chunks = c;
	a->next = c->data;
	a->end = c->data + data;
	a->total += data;
	return 0;
}

void *arena_alloc(struct arena *a, size_t size)
{
	if (size > SIZE_MAX - ALIGN)
		return NULL;
	/* Nothing is something too: NULL would say out of memory. */
	size = size ? (size + ALIGN - 1) & ~(size_t)(ALIGN - 1) : ALIGN;
	if (size > (size_t)(a->end - a->next) && arena_grow(a, size) != 0)
		return NULL;

	void *p = a->next;

	a->next += size;
	return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
	void *p = arena_alloc(a, size);

	if (p)
		memset(p, 0, size);
	return p;
}

char *arena_strndup(struct arena *a, const void *bytes, size_t len)
{
	char *s = len < SIZE_MAX ? arena_alloc(a, len + 1) : NULL;

	if (s) {
		memcpy(s, bytes, len);
		s[len] = '\0';
	}
	return s;
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *keep = NULL;

	for (struct arena_chunk *c = a->chunks, *older; c; c = older) {
		older = c->older;
		if (!keep && c->size == CHUNK_SIZE)
			keep = c;
		else
			free(c);
	}
	arena_init(a);
	if (keep) {
		keep->older = NULL;
		a->chunks = keep;
		a->next = keep->data;
		a->end = keep->data + keep->size;
		a->total = keep->size;
	}
}

void arena_free(struct arena *a)
{
	for (struct arena_chunk *c = a->chunks, *older; c; c = older) {
		older = c->older;
		free(c);
	}
	arena_init(a);
}

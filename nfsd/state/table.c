#include "nfsd/state/table.h"

#include <stdlib.h>

#define FIRST_SIZE 8

static struct table_node **chain_of(struct table *t, uint64_t hash)
{
	return t->size ? &t->buckets[hash >> 16 & (t->size - 1)] : &t->one;
}

static void grow(struct table *t)
{
	uint32_t old_size = t->size ? t->size : 1;
	struct table_node **old = t->size ? t->buckets : &t->one;
	uint32_t size = t->size ? t->size * 2 : FIRST_SIZE;
	struct table_node **buckets = calloc(size, sizeof(*buckets));

	if (!buckets || size == 0) {
		free(buckets);
		return;
	}
	for (uint32_t i = 0; i < old_size; i++) {
		struct table_node *n = old[i], *next;

		for (; n; n = next) {
			struct table_node **chain = &buckets[n->hash >> 16 & (size - 1)];

			next = n->next;
			n->next = *chain;
			*chain = n;
		}
	}
	free(t->buckets);
	t->buckets = buckets;
	t->one = NULL;
	t->size = size;
}

void table_insert(struct table *t, struct table_node *n, uint64_t hash)
{
	struct table_node **chain;

	if (t->count >= (t->size ? t->size : 2))
		grow(t);
	chain = chain_of(t, hash);
	n->hash = hash;
	n->next = *chain;
	*chain = n;
	t->count++;
}

void table_remove(struct table *t, struct table_node *n)
{
	struct table_node **at = chain_of(t, n->hash);

	while (*at != n)
		at = &(*at)->next;
	*at = n->next;
	t->count--;
}

void table_free(struct table *t)
{
	free(t->buckets);
	t->buckets = NULL;
	t->one = NULL;
	t->size = t->count = 0;
}

void stripes_init(struct stripe stripes[STRIPES])
{
	for (unsigned i = 0; i < STRIPES; i++)
		mutex_init(&stripes[i].lock);
}

void stripes_destroy(struct stripe stripes[STRIPES])
{
	for (unsigned i = 0; i < STRIPES; i++) {
		table_free(&stripes[i].table);
		mutex_destroy(&stripes[i].lock);
	}
}

struct table_node *table_any(const struct table *t)
{
	for (uint32_t i = 0; i < t->size; i++) {
		if (t->buckets[i])
			return t->buckets[i];
	}
	return t->size ? NULL : t->one;
}

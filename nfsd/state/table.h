/*
 * Hash tables of embedded nodes. The table grows by doubling; when it cannot, its chains get
 * longer and nothing fails. struct table is not locked; struct stripe is a part of a bigger
 * table, chosen by the hash, with a lock of its own.
 *
 * The order within a table is unspecified and must never decide a result.
 */
#pragma once

#include <stdint.h>

#include "base/lock.h"

struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table {
	struct table_node **buckets; /* NULL: only `one` */
	struct table_node *one;
	uint32_t size; /* a power of two, or 0 */
	uint32_t count;
};

void table_insert(struct table *t, struct table_node *n, uint64_t hash);
/* `n` must be in the table. */
void table_remove(struct table *t, struct table_node *n);
void table_free(struct table *t);
/* Any of the nodes; NULL: the table is empty. */
struct table_node *table_any(const struct table *t);

/* The low bits of a hash choose the stripe, so the bucket comes from those above. */
static inline struct table_node *table_chain(const struct table *t, uint64_t hash)
{
	return t->size ? t->buckets[hash >> 16 & (t->size - 1)] : t->one;
}

/* Visits the nodes with this hash; the body compares keys. */
#define table_for_each(pos, table, wanted)                           \
	for (pos = table_chain(table, wanted); pos; pos = pos->next) \
		if (pos->hash == (wanted))

#define STRIPES 256

struct stripe {
	struct mutex lock;
	struct table table;
} __attribute__((aligned(64)));

static inline struct stripe *stripe_of(struct stripe stripes[STRIPES], uint64_t hash)
{
	return &stripes[hash & (STRIPES - 1)];
}

void stripes_init(struct stripe stripes[STRIPES]);
void stripes_destroy(struct stripe stripes[STRIPES]);

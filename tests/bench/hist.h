/* Times in ns, counted in buckets of 3 % width: 32 to every doubling. */
#ifndef BENCH_HIST_H
#define BENCH_HIST_H

#include <stdint.h>

#define HIST_SUB     32u
#define HIST_BUCKETS (40u * HIST_SUB)

struct hist {
	uint64_t total;
	uint32_t count[HIST_BUCKETS];
};

static inline unsigned hist_bucket(uint64_t ns)
{
	unsigned exponent, bucket;

	if (ns < HIST_SUB)
		return (unsigned)ns;
	exponent = 63 - (unsigned)__builtin_clzll(ns) - 5;
	bucket = (exponent + 1) * HIST_SUB + (unsigned)(ns >> exponent) - HIST_SUB;
	return bucket < HIST_BUCKETS ? bucket : HIST_BUCKETS - 1;
}

static inline void hist_add(struct hist *h, uint64_t ns)
{
	h->count[hist_bucket(ns)]++;
	h->total++;
}

static inline void hist_merge(struct hist *h, const struct hist *other)
{
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		h->count[i] += other->count[i];
	h->total += other->total;
}

/* The time, in ns, that `share` (0..1) of them did not exceed: the middle of its bucket. */
static inline double hist_quantile(const struct hist *h, double share)
{
	uint64_t left = (uint64_t)((double)h->total * share);

	for (unsigned i = 0; i < HIST_BUCKETS; i++) {
		if (left < h->count[i]) {
			unsigned exponent = i / HIST_SUB;

			if (exponent == 0)
				return i;
			return ((double)(HIST_SUB + i % HIST_SUB) + 0.5) *
			       (double)(1ull << (exponent - 1));
		}
		left -= h->count[i];
	}
	return 0;
}

#endif

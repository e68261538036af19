/* Hashing: SipHash-2-4 where a keyed, unforgeable tag is needed; a fast hash for tables. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0, k1;
};

/* SipHash-2-4 of `len` bytes, as its authors define it (64-bit output). */
uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

/* For hash tables: SipHash-1-3 under a key drawn when the process started. */
uint64_t hash_bytes(const void *data, size_t len);

static inline uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 32;
	return x;
}

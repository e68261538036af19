#include "base/hash.h"

#include <endian.h>
#include <pthread.h>
#include <string.h>

#include "base/compiler.h"
#include "base/random.h"

static inline uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t m, int rounds)
{
	s->v3 ^= m;
#pragma GCC unroll 4
	for (int i = 0; i < rounds; i++)
		sip_round(s);
	s->v0 ^= m;
}

static inline uint64_t load(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, 8);
	return le64toh(word);
}

/* The last `left` < 8 bytes of `len`, at `p`: by one load where there are 8, because a loop is
 * mispredicted. */
static inline uint64_t rest(const uint8_t *p, size_t left, size_t len)
{
	uint64_t word = 0;

	if (left == 0)
		return 0;
	if (likely(len >= 8))
		return load(p + left - 8) >> (64 - 8 * left);
	for (size_t i = 0; i < left; i++)
		word |= (uint64_t)p[i] << (8 * i);
	return word;
}

/* SipHash-`rounds`-`last`. */
static inline uint64_t sip(const struct siphash_key *key, const void *data, size_t len, int rounds,
			   int last)
{
	const uint8_t *p = data;
	struct sip s = {
		.v0 = key->k0 ^ 0x736f6d6570736575u,
		.v1 = key->k1 ^ 0x646f72616e646f6du,
		.v2 = key->k0 ^ 0x6c7967656e657261u,
		.v3 = key->k1 ^ 0x7465646279746573u,
	};
	size_t left = len;

	for (; left >= 8; left -= 8, p += 8)
		sip_word(&s, load(p), rounds);
	sip_word(&s, (uint64_t)len << 56 | rest(p, left, len), rounds);
	s.v2 ^= 0xff;
#pragma GCC unroll 4
	for (int i = 0; i < last; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len)
{
	return sip(key, data, len, 2, 4);
}

static struct siphash_key table_key;
static pthread_once_t table_key_once = PTHREAD_ONCE_INIT;

static void draw_table_key(void)
{
	random_bytes(&table_key, sizeof(table_key));
}

uint64_t hash_bytes(const void *data, size_t len)
{
	pthread_once(&table_key_once, draw_table_key);
	return sip(&table_key, data, len, 1, 3);
}

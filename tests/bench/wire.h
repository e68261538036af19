/*
 * XDR (RFC 4506) for the load generator: an encoder over a fixed buffer, a decoder over a record.
 *
 * It shares nothing with rpc/: what the server encodes wrongly must not be decoded wrongly in the
 * same way here, and its cost must not change with the server's code.
 *
 * Neither side checks call by call. Running off the end sets `bad`, which whoever began the
 * message looks at once at its end.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct enc {
	uint8_t *base; /* the record mark */
	uint8_t *p;
	uint8_t *end;
	uint8_t *count_at; /* where a compound's number of operations goes */
	uint32_t count;
	const uint8_t *body; /* sent after the bytes above without being copied; not owned */
	size_t body_len;     /* a multiple of 4 */
	bool bad;
};

struct dec {
	const uint8_t *p;
	const uint8_t *end;
	bool bad;
};

static inline void store32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

static inline uint32_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static inline uint8_t *enc_room(struct enc *e, size_t n)
{
	uint8_t *p = e->p;

	if ((size_t)(e->end - p) < n) {
		e->bad = true;
		return NULL;
	}
	e->p += n;
	return p;
}

static inline void put32(struct enc *e, uint32_t v)
{
	uint8_t *p = enc_room(e, 4);

	if (p)
		store32(p, v);
}

static inline void put64(struct enc *e, uint64_t v)
{
	put32(e, (uint32_t)(v >> 32));
	put32(e, (uint32_t)v);
}

/* Bytes whose number the other side knows: no length, no padding; n is a multiple of 4. */
static inline void put_fixed(struct enc *e, const void *data, size_t n)
{
	uint8_t *p = enc_room(e, n);

	if (p)
		memcpy(p, data, n);
}

static inline void put_opaque(struct enc *e, const void *data, size_t n)
{
	size_t padded = (n + 3) & ~(size_t)3;
	uint8_t *p;

	put32(e, (uint32_t)n);
	p = enc_room(e, padded);
	if (!p || n == 0)
		return;
	store32(p + padded - 4, 0);
	memcpy(p, data, n);
}

static inline void put_string(struct enc *e, const char *s)
{
	put_opaque(e, s, strlen(s));
}

/* The next n bytes, or NULL (and bad) if there are fewer. */
static inline const uint8_t *get_fixed(struct dec *d, size_t n)
{
	const uint8_t *p = d->p;

	if ((size_t)(d->end - p) < n) {
		d->bad = true;
		return NULL;
	}
	d->p += n;
	return p;
}

static inline uint32_t get32(struct dec *d)
{
	const uint8_t *p = get_fixed(d, 4);

	return p ? load32(p) : 0;
}

static inline uint64_t get64(struct dec *d)
{
	uint64_t high = get32(d);

	return high << 32 | get32(d);
}

/* Counted bytes; *n is 0 and the result NULL where there are none left. */
static inline const uint8_t *get_opaque(struct dec *d, uint32_t *n)
{
	const uint8_t *p;

	*n = get32(d);
	p = get_fixed(d, ((size_t)*n + 3) & ~(size_t)3);
	if (!p)
		*n = 0;
	return p;
}

#endif

/*
 * XDR (RFC 4506) for the hot path: a decoder over bytes in memory and an encoder into one
 * growing buffer with file extents between its bytes.
 *
 * Decoding: every function checks the bytes left before it reads and returns false, without
 * consuming anything that matters, when they do not suffice or a bound is exceeded. Nothing
 * is copied: opaque data point into the record.
 *
 * Encoding: an encoder that cannot grow (limit reached, out of memory) sets `failed` and
 * ignores everything after it; the caller checks once, at the end, and may go back to an
 * earlier position (xdr_out_rewind), which also clears `failed`.
 */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "base/compiler.h"

static inline size_t xdr_pad(size_t len)
{
	return (4 - (len & 3)) & 3;
}

/* ---- decoding ---- */

struct xdr_in {
	const uint8_t *p; /* next byte to decode */
	const uint8_t *end;
};

static inline void xdr_in_init(struct xdr_in *x, const void *bytes, size_t len)
{
	x->p = bytes;
	x->end = len ? x->p + len : x->p; /* no bytes may be NULL */
}

static inline size_t xdr_in_left(const struct xdr_in *x)
{
	return (size_t)(x->end - x->p);
}

static inline bool xdr_get_u32(struct xdr_in *x, uint32_t *v)
{
	uint32_t be;

	if (unlikely(xdr_in_left(x) < 4))
		return false;
	memcpy(&be, x->p, 4);
	x->p += 4;
	*v = be32toh(be);
	return true;
}

static inline bool xdr_get_u64(struct xdr_in *x, uint64_t *v)
{
	uint64_t be;

	if (unlikely(xdr_in_left(x) < 8))
		return false;
	memcpy(&be, x->p, 8);
	x->p += 8;
	*v = be64toh(be);
	return true;
}

/* XDR bool: anything but 0 and 1 is refused. */
static inline bool xdr_get_bool(struct xdr_in *x, bool *v)
{
	uint32_t u;

	if (!xdr_get_u32(x, &u) || u > 1)
		return false;
	*v = u;
	return true;
}

/* `len` bytes and their padding; *bytes points into the record. */
static inline bool xdr_get_fixed(struct xdr_in *x, const uint8_t **bytes, size_t len)
{
	size_t left = xdr_in_left(x);

	if (unlikely(len > left || xdr_pad(len) > left - len))
		return false;
	*bytes = x->p;
	x->p += len + xdr_pad(len);
	return true;
}

/* Counted opaque of at most `max` bytes. */
static inline bool xdr_get_opaque(struct xdr_in *x, uint32_t max, const uint8_t **bytes,
				  uint32_t *len)
{
	return xdr_get_u32(x, len) && *len <= max && xdr_get_fixed(x, bytes, *len);
}

/* `len` bytes copied out, with their padding consumed. */
static inline bool xdr_get_copy(struct xdr_in *x, void *to, size_t len)
{
	const uint8_t *p;

	if (!xdr_get_fixed(x, &p, len))
		return false;
	memcpy(to, p, len);
	return true;
}

/* ---- encoding ---- */

/* `len` bytes of `fd` at `offset` that are sent between the bytes before and after `at`. */
struct xdr_extent {
	size_t at; /* position in the encoder's memory bytes */
	int fd;
	off_t offset;
	size_t len;
	void (*release)(void *arg); /* called once the bytes are sent or dropped; may be NULL */
	/* Before that, if they cannot be read: the connection ends, as they were promised; may be NULL */
	void (*unreadable)(void *arg);
	void *release_arg; /* of both */
	struct xdr_extent *next; /* in order of `at` */
};

struct xdr_out {
	uint8_t *buf; /* malloc'ed (or NULL when cap is 0) */
	size_t len;   /* memory bytes encoded */
	size_t cap;
	size_t limit; /* greatest length, memory and extents together; may be changed at any time */
	size_t extent_len; /* bytes in extents */
	bool failed;
	struct xdr_extent *extents, **extents_tail;
};

/* A position to go back to. */
struct xdr_mark {
	size_t len, extent_len;
};

void xdr_out_init(struct xdr_out *x, size_t limit);
/* Releases the extents and the memory. */
void xdr_out_free(struct xdr_out *x);
/* Makes the encoder as new but keeps its memory when that is of ordinary size. */
void xdr_out_reset(struct xdr_out *x);

/* Out of line: makes room for `n` more bytes, or sets failed and returns false. */
bool xdr_out_grow(struct xdr_out *x, size_t n);

/* Total length so far, extents included. */
static inline size_t xdr_out_total(const struct xdr_out *x)
{
	return x->len + x->extent_len;
}

/* `n` bytes to be filled by the caller (the caller pads); NULL when failed. */
static inline uint8_t *xdr_out_reserve(struct xdr_out *x, size_t n)
{
	if (unlikely(x->failed || n > x->cap - x->len || xdr_out_total(x) + n > x->limit) &&
	    !xdr_out_grow(x, n))
		return NULL;

	uint8_t *p = x->buf + x->len;

	x->len += n;
	return p;
}

static inline void xdr_put_u32(struct xdr_out *x, uint32_t v)
{
	uint8_t *p = xdr_out_reserve(x, 4);
	uint32_t be = htobe32(v);

	if (likely(p != NULL))
		memcpy(p, &be, 4);
}

static inline void xdr_put_u64(struct xdr_out *x, uint64_t v)
{
	uint8_t *p = xdr_out_reserve(x, 8);
	uint64_t be = htobe64(v);

	if (likely(p != NULL))
		memcpy(p, &be, 8);
}

static inline void xdr_put_bool(struct xdr_out *x, bool v)
{
	xdr_put_u32(x, v);
}

/* `len` bytes and zero padding. */
static inline void xdr_put_fixed(struct xdr_out *x, const void *bytes, size_t len)
{
	size_t pad = xdr_pad(len);
	uint8_t *p = xdr_out_reserve(x, len + pad);

	if (likely(p != NULL)) {
		if (len)
			memcpy(p, bytes, len);
		memset(p + len, 0, pad);
	}
}

static inline void xdr_put_opaque(struct xdr_out *x, const void *bytes, uint32_t len)
{
	xdr_put_u32(x, len);
	xdr_put_fixed(x, bytes, len);
}

/* Overwrites the word at position `at` (a memory position: x->len when it was encoded). */
static inline void xdr_patch_u32(struct xdr_out *x, size_t at, uint32_t v)
{
	uint32_t be = htobe32(v);

	if (!x->failed)
		memcpy(x->buf + at, &be, 4);
}

/*
 * File bytes from here on; the caller encodes the length before and the padding behind.
 * `ext` is memory that lives until the reply is sent (the request's arena), filled by the
 * caller except `at` and `next`. On failure the extent is released and `failed` set.
 */
void xdr_put_extent(struct xdr_out *x, struct xdr_extent *ext);

static inline struct xdr_mark xdr_out_mark(const struct xdr_out *x)
{
	return (struct xdr_mark){ x->len, x->extent_len };
}

/* Drops everything encoded since the mark (extents are released) and clears `failed`. */
void xdr_out_rewind(struct xdr_out *x, struct xdr_mark m);

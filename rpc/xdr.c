/*
 * The encoder's slow paths: growing, extents, going back.
 *
 * Invariants: len <= cap; len + extent_len <= limit unless the limit was lowered; extents are
 * ordered by `at` and each `at` <= len; extents_tail points at the last `next` (or at `extents`).
 */
#include "rpc/xdr.h"

#include <stdlib.h>

#define FIRST_CAP 1024
/* A buffer up to this size is kept by xdr_out_reset(). */
#define KEEP_CAP 16384

void xdr_out_init(struct xdr_out *x, size_t limit)
{
	*x = (struct xdr_out){ .limit = limit };
	x->extents_tail = &x->extents;
}

static void release_extents(struct xdr_extent *e)
{
	while (e) {
		/* The extent's memory may go with its release. */
		struct xdr_extent *next = e->next;

		if (e->release)
			e->release(e->release_arg);
		e = next;
	}
}

void xdr_out_free(struct xdr_out *x)
{
	release_extents(x->extents);
	free(x->buf);
	xdr_out_init(x, x->limit);
}

void xdr_out_reset(struct xdr_out *x)
{
	release_extents(x->extents);
	if (x->cap > KEEP_CAP) {
		free(x->buf);
		x->buf = NULL;
		x->cap = 0;
	}
	x->len = x->extent_len = 0;
	x->failed = false;
	x->extents = NULL;
	x->extents_tail = &x->extents;
}

bool xdr_out_grow(struct xdr_out *x, size_t n)
{
	size_t cap = x->cap ? x->cap : FIRST_CAP;
	uint8_t *buf;

	if (x->failed || n > x->limit || xdr_out_total(x) > x->limit - n)
		goto fail;
	while (cap - x->len < n)
		cap *= 2;
	if (cap == x->cap)
		return true;
	buf = realloc(x->buf, cap);
	if (!buf)
		goto fail;
	x->buf = buf;
	x->cap = cap;
	return true;
fail:
	x->failed = true;
	return false;
}

void xdr_put_extent(struct xdr_out *x, struct xdr_extent *ext)
{
	if (x->failed || ext->len > x->limit || xdr_out_total(x) > x->limit - ext->len) {
		x->failed = true;
		if (ext->release)
			ext->release(ext->release_arg);
		return;
	}
	ext->at = x->len;
	ext->next = NULL;
	*x->extents_tail = ext;
	x->extents_tail = &ext->next;
	x->extent_len += ext->len;
}

void xdr_out_rewind(struct xdr_out *x, struct xdr_mark m)
{
	struct xdr_extent **link = &x->extents;
	size_t kept = 0;

	/* Extents before the mark add up to the mark's extent_len; an empty one may sit at it. */
	while (*link && (kept < m.extent_len || (*link)->at < m.len)) {
		kept += (*link)->len;
		link = &(*link)->next;
	}

	struct xdr_extent *dropped = *link;

	*link = NULL;
	x->extents_tail = link;
	x->len = m.len;
	x->extent_len = m.extent_len;
	x->failed = false;
	release_extents(dropped);
}

/* The XDR codec: bounds of the decoder; growth, limits, extents and rewinding of the encoder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "rpc/xdr.h"

static void decode_words(void **state)
{
	static const uint8_t bytes[] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
	struct xdr_in x;
	uint32_t a;
	uint64_t b;

	xdr_in_init(&x, bytes, 12);
	assert_true(xdr_get_u32(&x, &a));
	assert_int_equal(a, 0x01020304);
	assert_true(xdr_get_u64(&x, &b));
	assert_true(b == 0x05060708090a0b0cull);
	assert_int_equal(xdr_in_left(&x), 0);
	assert_false(xdr_get_u32(&x, &a));
	for (size_t len = 0; len < 8; len++) {
		xdr_in_init(&x, bytes, len);
		assert_false(xdr_get_u64(&x, &b));
		assert_int_equal(xdr_in_left(&x), len);
		assert_int_equal(xdr_get_u32(&x, &a), len >= 4);
	}
}

static void decode_bool(void **state)
{
	static const uint8_t bytes[] = { 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0 };
	struct xdr_in x;
	bool v = true;

	xdr_in_init(&x, bytes, sizeof(bytes));
	assert_true(xdr_get_bool(&x, &v));
	assert_false(v);
	assert_true(xdr_get_bool(&x, &v));
	assert_true(v);
	assert_false(xdr_get_bool(&x, &v));
	assert_false(xdr_get_bool(&x, &v));
}

/* An exactly sized heap buffer, so that a sanitizer sees every byte too far. */
static void decode_opaque_bounds(void **state)
{
	for (size_t size = 4; size <= 16; size++) {
		uint8_t *bytes = calloc(1, size);

		assert_non_null(bytes);
		for (uint32_t len = 0; len <= 20; len++) {
			struct xdr_in x;
			const uint8_t *p;
			uint32_t got;
			bool fits = 4 + len + xdr_pad(len) <= size;

			bytes[3] = (uint8_t)len;
			xdr_in_init(&x, bytes, size);
			assert_int_equal(xdr_get_opaque(&x, 8, &p, &got), fits && len <= 8);
			if (fits && len <= 8) {
				assert_ptr_equal(p, bytes + 4);
				assert_int_equal(got, len);
				assert_int_equal(xdr_in_left(&x), size - 4 - len - xdr_pad(len));
			}
		}
		free(bytes);
	}
}

static void decode_absurd_lengths(void **state)
{
	static const uint32_t lengths[] = { 0xffffffff, 0xfffffffe, 0xfffffffd, 0x80000000 };
	uint8_t bytes[8] = { 0 };

	for (size_t i = 0; i < 4; i++) {
		struct xdr_in x;
		const uint8_t *p;
		uint32_t be = htobe32(lengths[i]), got;

		memcpy(bytes, &be, 4);
		xdr_in_init(&x, bytes, sizeof(bytes));
		assert_false(xdr_get_opaque(&x, UINT32_MAX, &p, &got));
		xdr_in_init(&x, bytes, sizeof(bytes));
		assert_false(xdr_get_fixed(&x, &p, SIZE_MAX));
		assert_false(xdr_get_fixed(&x, &p, SIZE_MAX - 2));
	}
}

static void encode_and_decode(void **state)
{
	struct xdr_out o;
	struct xdr_in x;
	const uint8_t *p;
	uint32_t a, len;
	uint64_t b;
	bool v;
	char copy[5];

	xdr_out_init(&o, 1000);
	xdr_put_u32(&o, 0xdeadbeef);
	xdr_put_u64(&o, 0x0123456789abcdefull);
	xdr_put_bool(&o, true);
	xdr_put_opaque(&o, "hello", 5);
	xdr_put_fixed(&o, "world", 5);
	xdr_put_opaque(&o, NULL, 0);
	xdr_patch_u32(&o, 0, 0xfeedface);
	assert_false(o.failed);
	assert_int_equal(xdr_out_total(&o), 4 + 8 + 4 + 12 + 8 + 4);

	xdr_in_init(&x, o.buf, o.len);
	assert_true(xdr_get_u32(&x, &a));
	assert_int_equal(a, 0xfeedface);
	assert_true(xdr_get_u64(&x, &b));
	assert_true(b == 0x0123456789abcdefull);
	assert_true(xdr_get_bool(&x, &v) && v);
	assert_true(xdr_get_opaque(&x, 5, &p, &len));
	assert_memory_equal(p, "hello\0\0\0", 8);
	assert_true(xdr_get_copy(&x, copy, 5));
	assert_memory_equal(copy, "world", 5);
	assert_true(xdr_get_u32(&x, &a));
	assert_int_equal(a, 0);
	assert_int_equal(xdr_in_left(&x), 0);
	xdr_out_free(&o);
}

static void encode_grows(void **state)
{
	struct xdr_out o;
	struct xdr_in x;
	uint32_t v;

	xdr_out_init(&o, 1 << 20);
	for (uint32_t i = 0; i < 100000; i++)
		xdr_put_u32(&o, i);
	assert_false(o.failed);
	xdr_in_init(&x, o.buf, o.len);
	for (uint32_t i = 0; i < 100000; i++) {
		assert_true(xdr_get_u32(&x, &v));
		assert_int_equal(v, i);
	}
	xdr_out_reset(&o);
	assert_int_equal(o.cap, 0); /* too big to be kept */
	xdr_put_u32(&o, 1);
	xdr_out_reset(&o);
	assert_int_not_equal(o.cap, 0);
	assert_int_equal(o.len, 0);
	xdr_out_free(&o);
}

static void encode_limit(void **state)
{
	struct xdr_out o;
	struct xdr_mark m;

	xdr_out_init(&o, 10);
	xdr_put_u32(&o, 1);
	xdr_put_u32(&o, 2);
	assert_false(o.failed);
	m = xdr_out_mark(&o);
	xdr_put_u32(&o, 3);
	assert_true(o.failed);
	assert_int_equal(o.len, 8);
	xdr_patch_u32(&o, 0, 9); /* ignored now, and harmless */
	assert_null(xdr_out_reserve(&o, 1));
	xdr_out_rewind(&o, m);
	assert_false(o.failed);
	assert_non_null(xdr_out_reserve(&o, 2));
	assert_null(xdr_out_reserve(&o, 1));
	xdr_out_free(&o);

	xdr_out_init(&o, 100);
	xdr_put_opaque(&o, "0123456789", 10);
	o.limit = 5; /* lowered below what is there */
	xdr_put_u32(&o, 1);
	assert_true(o.failed);
	assert_int_equal(o.len, 16);
	xdr_out_free(&o);

	xdr_out_init(&o, 8);
	assert_null(xdr_out_reserve(&o, SIZE_MAX - 4));
	assert_true(o.failed);
	xdr_out_free(&o);
}

static void count_release(void *arg)
{
	++*(int *)arg;
}

static struct xdr_extent extent(size_t len, int *released)
{
	return (struct xdr_extent){
		.fd = -1, .len = len, .release = count_release, .release_arg = released
	};
}

static void extents_in_order(void **state)
{
	struct xdr_out o;
	int n[3] = { 0 };
	struct xdr_extent e[3] = { extent(10, &n[0]), extent(20, &n[1]), extent(0, &n[2]) };

	xdr_out_init(&o, 1000);
	xdr_put_u32(&o, 1);
	xdr_put_extent(&o, &e[0]);
	xdr_put_u32(&o, 2);
	xdr_put_extent(&o, &e[1]);
	xdr_put_extent(&o, &e[2]);
	assert_int_equal(xdr_out_total(&o), 38);
	assert_ptr_equal(o.extents, &e[0]);
	assert_ptr_equal(e[0].next, &e[1]);
	assert_ptr_equal(e[1].next, &e[2]);
	assert_int_equal(e[0].at, 4);
	assert_int_equal(e[1].at, 8);
	xdr_out_reset(&o);
	for (int i = 0; i < 3; i++)
		assert_int_equal(n[i], 1);
	xdr_out_free(&o);
	assert_int_equal(n[0], 1);
}

static void extents_rewind(void **state)
{
	struct xdr_out o;
	int n[4] = { 0 };
	struct xdr_extent e[4] = { extent(10, &n[0]), extent(20, &n[1]), extent(30, &n[2]),
				   extent(5, &n[3]) };
	struct xdr_mark m;

	xdr_out_init(&o, 1000);
	xdr_put_u32(&o, 1);
	xdr_put_extent(&o, &e[0]);
	m = xdr_out_mark(&o); /* right behind an extent */
	xdr_put_extent(&o, &e[1]);
	xdr_put_u32(&o, 2);
	xdr_put_extent(&o, &e[2]);
	xdr_out_rewind(&o, m);
	assert_int_equal(n[0], 0);
	assert_int_equal(n[1], 1);
	assert_int_equal(n[2], 1);
	assert_int_equal(xdr_out_total(&o), 14);
	xdr_put_extent(&o, &e[3]); /* the list's end is right */
	assert_ptr_equal(e[0].next, &e[3]);
	xdr_out_rewind(&o, (struct xdr_mark){ 0, 0 });
	assert_int_equal(n[0], 1);
	assert_int_equal(n[3], 1);
	assert_null(o.extents);
	xdr_out_free(&o);
	for (int i = 0; i < 4; i++)
		assert_int_equal(n[i], 1);
}

static void extent_beyond_limit_is_released(void **state)
{
	struct xdr_out o;
	int n[2] = { 0 };
	struct xdr_extent e[2] = { extent(97, &n[0]), extent(SIZE_MAX, &n[1]) };

	xdr_out_init(&o, 100);
	xdr_put_u32(&o, 1);
	xdr_put_extent(&o, &e[0]);
	assert_true(o.failed);
	assert_int_equal(n[0], 1);
	xdr_put_extent(&o, &e[1]); /* failed already */
	assert_int_equal(n[1], 1);
	xdr_out_rewind(&o, (struct xdr_mark){ 0, 0 });
	xdr_put_u32(&o, 1);
	e[0] = extent(96, &n[0]);
	xdr_put_extent(&o, &e[0]);
	assert_false(o.failed);
	xdr_put_u32(&o, 1);
	assert_true(o.failed);
	xdr_out_free(&o);
	assert_int_equal(n[0], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decode_words),
		cmocka_unit_test(decode_bool),
		cmocka_unit_test(decode_opaque_bounds),
		cmocka_unit_test(decode_absurd_lengths),
		cmocka_unit_test(encode_and_decode),
		cmocka_unit_test(encode_grows),
		cmocka_unit_test(encode_limit),
		cmocka_unit_test(extents_in_order),
		cmocka_unit_test(extents_rewind),
		cmocka_unit_test(extent_beyond_limit_is_released),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The example backend: expressions, its three directories, handles that hold for ever. */
#include "backend_fixture.h"

#include <time.h>

#include "backends/computed/computed.h"

static void expressions(void **state)
{
	static const struct {
		const char *text;
		int64_t value;
	} right[] = {
		{ "0", 0 },
		{ "1+1", 2 },
		{ "2+3*4", 14 },
		{ "(2+3)*4", 20 },
		{ "10-2-3", 5 },
		{ "100:7:2", 7 },
		{ "17%5", 2 },
		{ "-3*-(4-6)", -6 },
		{ "--5", 5 },
		{ "9223372036854775807", INT64_MAX },
		{ "-9223372036854775807-1", INT64_MIN },
	};
	static const char *const wrong[] = {
		"",
		"+",
		"1+",
		"1 + 1",
		"(1",
		"1)",
		"()",
		"a",
		"1:0",
		"1%0",
		"2**3",
		"0x10",
		"9223372036854775808",
		"9223372036854775807+1",
		"9223372036854775807*2",
		"(-9223372036854775807-1):-1",
		"-(-9223372036854775807-1)",
		"now",
	};
	int64_t value;

	for (unsigned i = 0; i < ARRAY_SIZE(right); i++) {
		assert_true(expression_value(right[i].text, &value));
		assert_int_equal(value, right[i].value);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++) {
		if (expression_value(wrong[i], &value))
			fail_msg("\"%s\" has the value %ld", wrong[i], (long)value);
	}
}

static struct fixture fx;

static int begin(void **state)
{
	fixture_open(&fx, "computed", "/computed");
	return 0;
}

static int end(void **state)
{
	fixture_close(&fx);
	return 0;
}

static const char *content_of(struct object *dir, const char *name)
{
	static char text[512];
	struct object *obj = look(&fx, dir, name);
	struct file *f = open_file(&fx, obj, ACCESS_READ, fx.alice);
	bool eof;
	size_t n = get(f, 0, text, sizeof(text) - 1, &eof);

	assert_true(eof);
	text[n] = '\0';
	file_unref(f);
	object_unref(obj);
	return text;
}

static void names_are_computed(void **state)
{
	struct object *calc = look(&fx, fx.root, "calc"), *obj;
	struct attr a;

	assert_string_equal(list(&fx, fx.root), "README calc clock");
	assert_string_equal(list(&fx, calc), "(2+3)*4 1+1 1000:7");
	assert_string_equal(content_of(calc, "1000:7"), "142\n");
	assert_string_equal(content_of(calc, "6*7"), "42\n"); /* not listed, but there */
	assert_err(try_lookup(&fx, calc, "6*", fx.alice), -ENOENT);
	assert_err(try_lookup(&fx, fx.root, "6*7", fx.alice), -ENOENT);
	obj = look(&fx, calc, "6*7");
	a = get_attr(obj);
	assert_int_equal(a.type, FILE_REGULAR);
	assert_int_equal(a.mode, 0444);
	assert_int_equal(a.size, 3);
	assert_int_equal(get_attr(obj).change, a.change);
	assert_err(try_open(&fx, obj, ACCESS_WRITE, fx.super), -EROFS);
	assert_err(try_lookup(&fx, obj, "x", fx.alice), -ENOTDIR);
	assert_int_equal(granted(&fx, obj, fx.super, ACCESS_READ | ACCESS_WRITE), ACCESS_READ);
	object_unref(obj);
	assert_err(try_open(&fx, calc, ACCESS_READ, fx.alice), -EISDIR);
	object_unref(calc);
}

static void reading_in_parts(void **state)
{
	struct object *obj = look(&fx, fx.root, "README");
	struct file *f = open_file(&fx, obj, ACCESS_READ, fx.alice);
	char whole[512], byte;
	size_t n = get(f, 0, whole, sizeof(whole), NULL);
	bool eof;

	assert_int_equal(get_attr(obj).size, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(get(f, i, &byte, 1, &eof), 1);
		assert_int_equal(byte, whole[i]);
		assert_int_equal(eof, i == n - 1);
	}
	assert_int_equal(get(f, n, &byte, 1, &eof), 0);
	assert_int_equal(get(f, UINT64_MAX, &byte, 1, &eof), 0);
	assert_true(eof);
	file_unref(f);
	object_unref(obj);
}

static void clock_tells_the_time(void **state)
{
	struct object *clock = look(&fx, fx.root, "clock"), *now = look(&fx, clock, "now");
	unsigned h, m, s;
	char name[16];

	assert_int_equal(sscanf(list(&fx, clock), "%u:%u:%u now uptime", &h, &m, &s), 3);
	assert_true(h < 24 && m < 60 && s < 61);
	snprintf(name, sizeof(name), "%02u:%02u:%02u", h, m, s);
	assert_ok(try_lookup(&fx, clock, name, fx.alice));
	assert_non_null(strstr(content_of(clock, name), name));
	assert_non_null(strstr(content_of(clock, "uptime"), "seconds"));
	assert_non_null(strstr(content_of(clock, "now"), ":"));
	assert_true(get_attr(now).change != get_attr(now).change);
	assert_err(try_lookup(&fx, clock, "24:00:00", fx.alice), -ENOENT);
	assert_err(try_lookup(&fx, clock, "1:2:3", fx.alice), -ENOENT);
	assert_err(try_lookup(&fx, clock, "12:34:5x", fx.alice), -ENOENT);
	assert_err(try_lookup(&fx, clock, "12:34:567", fx.alice), -ENOENT);
	object_unref(now);
	object_unref(clock);
}

static bool stop_after_one(void *arg, const struct dir_entry *entry)
{
	uint64_t *cookie = arg;

	if (*cookie)
		return false;
	*cookie = entry->cookie;
	return true;
}

static void listing_goes_on_at_cookies(void **state)
{
	struct object *calc = look(&fx, fx.root, "calc");
	struct readdir_args args = { .emit = stop_after_one };
	unsigned n = 0;

	do {
		uint64_t cookie = 0;

		args.arg = &cookie;
		assert_ok(fx.b->readdir(calc, fx.alice, &args));
		if (cookie) {
			assert_true(cookie > 2 && cookie > args.cookie);
			args.cookie = cookie;
			n++;
		}
	} while (!args.eof);
	assert_int_equal(n, 3);
	object_unref(calc);
}

static void handles_hold_for_ever(void **state)
{
	struct object *calc = look(&fx, fx.root, "calc"), *obj = look(&fx, calc, "6*7"), *up;
	struct backend_handle h, wrong;
	uint64_t fileid = get_attr(obj).fileid, fsid = get_attr(obj).fsid_major;

	assert_ok(fx.b->to_handle(obj, &h));
	object_unref(obj);
	object_unref(calc);
	fixture_restart(&fx);
	assert_ok(fx.b->from_handle(fx.exp, h.bytes, h.len, &obj));
	assert_int_equal(get_attr(obj).fileid, fileid);
	assert_int_equal(get_attr(obj).fsid_major, fsid);
	assert_int_equal(get_attr(obj).size, 3);
	object_unref(obj);
	for (uint8_t len = 0; len < h.len; len++) {
		if (len == 2)
			continue; /* "6", which is one, too */
		assert_err(fx.b->from_handle(fx.exp, h.bytes, len, &obj), -EBADF);
	}
	wrong = h;
	wrong.bytes[0] = 99;
	assert_err(fx.b->from_handle(fx.exp, wrong.bytes, wrong.len, &obj), -EBADF);
	wrong = h;
	wrong.bytes[2] = 0;
	assert_err(fx.b->from_handle(fx.exp, wrong.bytes, wrong.len, &obj), -EBADF);
	calc = look(&fx, fx.root, "calc");
	assert_ok(fx.b->lookup_parent(calc, fx.alice, &up));
	assert_int_equal(get_attr(up).fileid, get_attr(fx.root).fileid);
	object_unref(up);
	object_unref(calc);
	assert_err(fx.b->lookup_parent(fx.root, fx.alice, &up), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expressions),
		cmocka_unit_test(names_are_computed),
		cmocka_unit_test(reading_in_parts),
		cmocka_unit_test(clock_tells_the_time),
		cmocka_unit_test(listing_goes_on_at_cookies),
		cmocka_unit_test(handles_hold_for_ever),
	};

	return cmocka_run_group_tests_name("computed", tests, begin, end);
}

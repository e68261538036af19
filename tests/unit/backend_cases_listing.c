/* Reading directories: complete and correct, from every cookie, while names come and go. */
#include "backend_cases.h"

struct entry {
	char name[64];
	uint64_t cookie, fileid;
	enum file_type type;
	int error;
	struct attr attr;
	struct backend_handle handle;
};

struct collected {
	struct entry *entries;
	unsigned count, cap;
	unsigned take; /* refuse after that many in one call; 0: never */
	unsigned taken;
	void (*between)(struct collected *c); /* called for each entry taken */
	struct fixture *fx;
};

static bool collect(void *arg, const struct dir_entry *entry)
{
	struct collected *c = arg;
	struct entry *e;

	if (c->take && c->taken == c->take)
		return false;
	if (c->count == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 64;
		c->entries = realloc(c->entries, c->cap * sizeof(*c->entries));
		assert_non_null(c->entries);
	}
	e = &c->entries[c->count++];
	c->taken++;
	snprintf(e->name, sizeof(e->name), "%s", entry->name);
	assert_true(entry->cookie > 2);
	e->cookie = entry->cookie;
	e->fileid = entry->fileid;
	e->type = entry->type;
	e->error = entry->error;
	e->attr = entry->attr;
	e->handle = entry->handle;
	if (c->between)
		c->between(c);
	return true;
}

/* One call; true at the end. */
static bool read_some(struct fixture *fx, struct object *dir, const struct cred *cred,
		      uint64_t cookie, bool all, struct collected *c)
{
	struct readdir_args args = {
		.cookie = cookie, .want_attr = all, .want_handle = all, .emit = collect, .arg = c
	};

	c->taken = 0;
	c->fx = fx;
	assert_ok(fx->b->readdir(dir, cred, &args));
	return args.eof;
}

static void read_all(struct fixture *fx, struct object *dir, bool all, struct collected *c)
{
	uint64_t cookie = 0;

	while (!read_some(fx, dir, fx->alice, cookie, all, c)) {
		assert_true(c->taken > 0);
		cookie = c->entries[c->count - 1].cookie;
	}
}

static void fill(struct fixture *fx, struct object *dir, unsigned n)
{
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "entry-%u", i);
		if (i % 3 == 0)
			object_unref(make(fx, dir, name, FILE_FIFO, 0644, fx->alice));
		else
			touch(fx, dir, name, 0644, fx->alice);
	}
}

static unsigned number_of(const char *name)
{
	return (unsigned)strtoul(name + strlen("entry-"), NULL, 10);
}

static void entries_are_right(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct collected c = { 0 };

	fill(fx, fx->dir, 20);
	object_unref(make(fx, fx->dir, "sub", FILE_DIRECTORY, 0755, fx->alice));
	object_unref(make_symlink(fx, fx->dir, "link", "x", fx->alice));
	assert_true(read_some(fx, fx->dir, fx->alice, 0, true, &c));
	assert_int_equal(c.count, 22);
	for (unsigned i = 0; i < c.count; i++) {
		struct entry *e = &c.entries[i];
		struct object *obj = look(fx, fx->dir, e->name), *by_handle;
		struct attr a = get_attr(obj);

		assert_int_equal(e->error, 0);
		assert_int_equal(e->type, obj->type);
		assert_int_equal(e->fileid, a.mounted_on_fileid);
		assert_int_equal(e->attr.fileid, a.fileid);
		assert_int_equal(e->attr.mode, a.mode);
		assert_int_equal(e->attr.uid, ALICE);
		assert_int_equal(e->attr.type, a.type);
		assert_int_equal(e->attr.fsid_major, a.fsid_major);
		assert_int_equal(e->attr.fsid_minor, a.fsid_minor);
		assert_int_equal(e->attr.mounted_on_fileid, a.mounted_on_fileid);
		assert_ok(fx->b->from_handle(fx->exp, e->handle.bytes, e->handle.len, &by_handle));
		assert_ptr_equal(by_handle, obj);
		object_unref(by_handle);
		object_unref(obj);
	}
	free(c.entries);
}

static void empty_directory(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct collected c = { 0 };

	assert_true(read_some(fx, fx->dir, fx->alice, 0, true, &c));
	assert_int_equal(c.count, 0);
}

static void every_cookie_continues(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct collected all = { 0 };

	fill(fx, fx->dir, 100);
	assert_true(read_some(fx, fx->dir, fx->alice, 0, false, &all));
	assert_int_equal(all.count, 100);
	if (fx->persistent)
		fixture_restart(fx);
	for (unsigned i = 0; i < all.count; i++) {
		struct collected rest = { 0 };

		assert_true(read_some(fx, fx->dir, fx->alice, all.entries[i].cookie, false, &rest));
		assert_int_equal(rest.count, all.count - i - 1);
		for (unsigned j = 0; j < rest.count; j++)
			assert_string_equal(rest.entries[j].name, all.entries[i + 1 + j].name);
		free(rest.entries);
	}
	for (unsigned take = 1; take <= 7; take++) {
		struct collected parts = { .take = take };

		read_all(fx, fx->dir, take % 2 == 0, &parts);
		assert_int_equal(parts.count, all.count);
		for (unsigned j = 0; j < parts.count; j++)
			assert_string_equal(parts.entries[j].name, all.entries[j].name);
		free(parts.entries);
	}
	free(all.entries);
}

static void permissions_of_listing(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 0744, fx->alice), *file;
	struct collected c = { 0 };
	struct readdir_args args = { .emit = collect, .arg = &c };

	touch(fx, dir, "f", 0600, fx->alice);
	/* Readable but not searchable: names, but nothing about them. */
	assert_true(read_some(fx, dir, fx->bob, 0, true, &c));
	assert_int_equal(c.count, 1);
	assert_string_equal(c.entries[0].name, "f");
	assert_int_equal(c.entries[0].error, -EACCES);
	chmod_as(fx, dir, 0711, fx->alice);
	assert_err(fx->b->readdir(dir, fx->bob, &args), -EACCES);
	file_unref(make_file(fx, fx->dir, "f", 0600, fx->alice, &file));
	assert_err(fx->b->readdir(file, fx->alice, &args), -ENOTDIR);
	object_unref(file);
	object_unref(dir);
	free(c.entries);
}

static void remove_and_add(struct collected *c)
{
	char name[32];

	/* Each entry listed: one that was there goes, if it has an odd number, and a new one comes. */
	if (c->count % 2 == 0)
		return;
	snprintf(name, sizeof(name), "entry-%u", (c->count * 37 % 1000) | 1);
	try_remove(c->fx, c->fx->dir, name, c->fx->alice);
	snprintf(name, sizeof(name), "new-%u", c->count);
	object_unref(make(c->fx, c->fx->dir, name, FILE_FIFO, 0600, c->fx->alice));
}

/* Names that are there all the time are listed exactly once, whatever happens to others. */
static void change_while_listing(struct fixture *fx, bool all)
{
	struct collected c = { .take = 40, .between = remove_and_add };
	unsigned seen[1000] = { 0 };

	fill(fx, fx->dir, 1000);
	read_all(fx, fx->dir, all, &c);
	for (unsigned i = 0; i < c.count; i++) {
		if (strncmp(c.entries[i].name, "entry-", 6) == 0)
			seen[number_of(c.entries[i].name)]++;
	}
	for (unsigned i = 0; i < 1000; i += 2)
		assert_int_equal(seen[i], 1);
	for (unsigned i = 1; i < 1000; i += 2)
		assert_true(seen[i] <= 1);
	free(c.entries);
}

static void changes_while_listing(void **state)
{
	if (fixture_of(state)->shifting)
		skip();
	change_while_listing(fixture_of(state), false);
}

static void changes_while_listing_attributes(void **state)
{
	if (fixture_of(state)->shifting)
		skip();
	change_while_listing(fixture_of(state), true);
}

/* What goes between two calls is not told by the second, with its attributes, as if it were there. */
static void what_goes_between_calls(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct collected order = { 0 }, c = { .take = 10 };

	if (fx->shifting)
		skip();
	fill(fx, fx->dir, 60);
	assert_true(read_some(fx, fx->dir, fx->alice, 0, true, &order));
	assert_int_equal(order.count, 60);
	assert_false(read_some(fx, fx->dir, fx->alice, 0, true, &c));
	for (unsigned i = 10; i < 60; i += 2)
		assert_ok(try_remove(fx, fx->dir, order.entries[i].name, fx->alice));
	c.take = 0;
	assert_true(read_some(fx, fx->dir, fx->alice, c.entries[9].cookie, true, &c));
	assert_int_equal(c.count, 10 + 25);
	for (unsigned i = 0; i < 25; i++)
		assert_string_equal(c.entries[10 + i].name, order.entries[11 + 2 * i].name);
	free(order.entries);
	free(c.entries);
}

/* A listing that is gone on with tells what one does that begins there. */
static void assert_as_new(struct fixture *fx, struct object *dir, uint64_t cookie, bool all)
{
	struct collected on = { 0 }, anew = { 0 };

	assert_true(read_some(fx, dir, fx->alice, cookie, all, &on));
	assert_true(read_some(fx, dir, fx->bob, cookie, all, &anew));
	assert_int_equal(on.count, anew.count);
	for (unsigned i = 0; i < on.count; i++)
		assert_string_equal(on.entries[i].name, anew.entries[i].name);
	free(on.entries);
	free(anew.entries);
}

/*
 * What has come or gone between two calls, and is in the change attribute that the client knows, is in what
 * the second tells: with attributes, and names alone.
 */
static void goes_on_as_it_is(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 0755, fx->alice);
	char name[32];

	if (fx->shifting)
		skip();
	fill(fx, dir, 60);
	for (unsigned round = 0; round < 4; round++) {
		struct collected c = { .take = 10 };

		assert_false(read_some(fx, dir, fx->alice, 0, true, &c));
		for (unsigned i = 0; i < 10; i++) {
			snprintf(name, sizeof(name), "entry-%u", round * 10 + i);
			if (round % 2)
				try_remove(fx, dir, name, fx->alice);
			snprintf(name, sizeof(name), "new-%u", round * 10 + i);
			object_unref(make(fx, dir, name, FILE_FIFO, 0600, fx->alice));
		}
		assert_as_new(fx, dir, c.entries[9].cookie, round < 2);
		free(c.entries);
	}
	object_unref(dir);
}

/* Permission that has been taken away meanwhile counts. */
static void goes_on_while_permitted(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 0755, fx->alice);
	struct collected c = { .take = 10 };
	struct readdir_args args = { .want_attr = true, .emit = collect, .arg = &c };

	fill(fx, dir, 60);
	assert_false(read_some(fx, dir, fx->bob, 0, true, &c));
	chmod_as(fx, dir, 0711, fx->alice);
	args.cookie = c.entries[9].cookie;
	assert_err(fx->b->readdir(dir, fx->bob, &args), -EACCES);
	object_unref(dir);
	free(c.entries);
}

/* A listing is gone on with by whoever may: as often as one likes, and by nobody else. */
static void goes_on_for_its_user(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 0755, fx->alice);
	struct collected c = { .take = 10 }, again = { .take = 10 }, third = { .take = 10 };
	struct readdir_args args = { .want_attr = true, .emit = collect, .arg = &third };

	fill(fx, dir, 60);
	assert_false(read_some(fx, dir, fx->alice, 0, true, &c));
	args.cookie = c.entries[9].cookie;
	assert_false(read_some(fx, dir, fx->alice, args.cookie, true, &c));
	assert_false(read_some(fx, dir, fx->alice, args.cookie, true, &again));
	for (unsigned i = 0; i < 10; i++)
		assert_string_equal(again.entries[i].name, c.entries[10 + i].name);
	chmod_as(fx, dir, 0711, fx->alice);
	args.cookie = c.entries[19].cookie;
	assert_err(fx->b->readdir(dir, fx->bob, &args), -EACCES);
	assert_int_equal(third.count, 0);
	object_unref(dir);
	free(c.entries);
	free(again.entries);
}

static void large_directory(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct collected c = { .take = 500 };
	unsigned char *seen = calloc(6000, 1);

	assert_non_null(seen);
	fill(fx, fx->dir, 6000);
	read_all(fx, fx->dir, true, &c);
	assert_int_equal(c.count, 6000);
	for (unsigned i = 0; i < c.count; i++)
		assert_int_equal(seen[number_of(c.entries[i].name)]++, 0);
	free(seen);
	free(c.entries);
}

#define CASE(f)                         \
	{                               \
#f, f, NULL, NULL, NULL \
	}

const struct CMUnitTest cases_listing[] = {
	CASE(entries_are_right),
	CASE(empty_directory),
	CASE(every_cookie_continues),
	CASE(permissions_of_listing),
	CASE(changes_while_listing),
	CASE(large_directory),
	CASE(what_goes_between_calls),
	CASE(goes_on_for_its_user),
	CASE(goes_on_as_it_is),
	CASE(goes_on_while_permitted),
	CASE(changes_while_listing_attributes),
	{ NULL, NULL, NULL, NULL, NULL },
};

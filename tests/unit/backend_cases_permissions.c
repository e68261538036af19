/* Who may do what: modes, groups, sticky and setgid directories; setting attributes. */
#include "backend_cases.h"

#include <sys/stat.h>
#include <time.h>

static struct attr_set set_of(uint32_t mask)
{
	return (struct attr_set){ .mask = mask };
}

static void access_bits(void **state)
{
	struct fixture *fx = fixture_of(state);
	const unsigned rwx = ACCESS_READ | ACCESS_WRITE | ACCESS_EXECUTE;
	struct object *file, *dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 0710, fx->alice);

	file_unref(make_file(fx, fx->dir, "f", 0640, fx->alice, &file));
	assert_int_equal(granted(fx, file, fx->alice, rwx), ACCESS_READ | ACCESS_WRITE);
	assert_int_equal(granted(fx, file, fx->alice, ACCESS_EXECUTE), 0);
	assert_int_equal(granted(fx, file, fx->bob, rwx), 0);
	assert_int_equal(granted(fx, file, fx->super, rwx), ACCESS_READ | ACCESS_WRITE);
	assert_int_equal(granted(fx, dir, fx->alice, rwx), rwx);
	assert_int_equal(granted(fx, dir, fx->bob, rwx), 0);
	assert_int_equal(granted(fx, dir, fx->super, rwx), rwx);
	chmod_as(fx, file, 0111, fx->alice);
	assert_int_equal(granted(fx, file, fx->alice, rwx), ACCESS_EXECUTE);
	assert_int_equal(granted(fx, file, fx->super, rwx), rwx);
	/* The owner's bits count for the owner even if others have more. */
	chmod_as(fx, file, 0077, fx->alice);
	assert_int_equal(granted(fx, file, fx->alice, rwx), 0);
	assert_int_equal(granted(fx, file, fx->bob, rwx), rwx);
	object_unref(file);
	object_unref(dir);
}

static void supplementary_groups(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct attr_set group = set_of(ATTR_SET_GID);
	struct object *file;

	file_unref(make_file(fx, fx->dir, "f", 0060, fx->super, &file));
	group.gid = SHARED1;
	assert_ok(try_set(fx, file, fx->super, group));
	assert_ok(try_open(fx, file, ACCESS_READ | ACCESS_WRITE, fx->alice));
	assert_err(try_open(fx, file, ACCESS_READ, fx->bob), -EACCES);
	group.gid = SHARED2;
	assert_ok(try_set(fx, file, fx->super, group));
	assert_ok(try_open(fx, file, ACCESS_READ, fx->bob));
	assert_ok(try_open(fx, file, ACCESS_READ, fx->alice));
	object_unref(file);
}

static void sticky_directories(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *dir = make(fx, fx->dir, "tmp", FILE_DIRECTORY, 01777, fx->super);

	assert_int_equal(get_attr(dir).mode, 01777);
	touch(fx, dir, "f", 0666, fx->alice);
	assert_err(try_remove(fx, dir, "f", fx->bob), -EPERM);
	assert_err(try_rename(fx, dir, "f", dir, "g", fx->bob), -EPERM);
	touch(fx, dir, "mine", 0666, fx->bob);
	assert_err(try_rename(fx, dir, "mine", dir, "f", fx->bob), -EPERM);
	assert_ok(try_remove(fx, dir, "f", fx->alice));
	assert_ok(try_remove(fx, dir, "mine", fx->super));
	object_unref(dir);
}

static void setgid_directories(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 0777, fx->super), *obj;
	struct attr_set group = set_of(ATTR_SET_GID);
	struct attr a;

	group.gid = SHARED1;
	assert_ok(try_set(fx, dir, fx->super, group));
	chmod_as(fx, dir, 02777, fx->super);
	file_unref(make_file(fx, dir, "f", 0664, fx->alice, &obj));
	a = get_attr(obj);
	assert_int_equal(a.gid, SHARED1);
	assert_int_equal(a.mode, 0664);
	object_unref(obj);
	obj = make(fx, dir, "sub", FILE_DIRECTORY, 0755, fx->bob);
	a = get_attr(obj);
	assert_int_equal(a.gid, SHARED1);
	assert_int_equal(a.mode, 02755); /* inherited */
	object_unref(obj);
	/* Only members of the group may make setgid programs of it. */
	file_unref(make_file(fx, dir, "g", 02775, fx->alice, &obj));
	assert_int_equal(get_attr(obj).mode, 02775);
	object_unref(obj);
	file_unref(make_file(fx, dir, "h", 02775, fx->bob, &obj));
	assert_int_equal(get_attr(obj).mode, 0775);
	object_unref(obj);
	object_unref(dir);
}

static void modes(void **state)
{
	struct fixture *fx = fixture_of(state);
	static const uint32_t some[] = { 0, 0777, 0644, 04755, 01644, 07777 };
	struct attr_set mode = set_of(ATTR_SET_MODE);
	struct object *file, *link;
	char name[16];

	for (unsigned i = 0; i < 6; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		file_unref(make_file(fx, fx->dir, name, some[i], fx->alice, &file));
		assert_int_equal(get_attr(file).mode, some[i]);
		chmod_as(fx, file, some[5 - i], fx->alice);
		assert_int_equal(get_attr(file).mode, some[5 - i]);
		assert_err(try_set(fx, file, fx->bob, mode), -EPERM);
		assert_ok(try_set(fx, file, fx->super, mode));
		object_unref(file);
	}
	link = make_symlink(fx, fx->dir, "l", "f0", fx->alice);
	assert_err(try_set(fx, link, fx->alice, mode), -EOPNOTSUPP);
	object_unref(link);
}

static void owners(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct attr_set owner = set_of(ATTR_SET_UID), group = set_of(ATTR_SET_GID);
	struct object *file, *link;

	file_unref(make_file(fx, fx->dir, "f", 06775, fx->alice, &file));
	owner.uid = BOB;
	group.gid = BOB;
	assert_err(try_set(fx, file, fx->alice, owner), -EPERM);
	assert_err(try_set(fx, file, fx->alice, group), -EPERM);
	assert_err(try_set(fx, file, fx->bob, owner), -EPERM);
	group.gid = SHARED2;
	assert_err(try_set(fx, file, fx->bob, group), -EPERM);
	assert_ok(try_set(fx, file, fx->alice, group));
	assert_int_equal(get_attr(file).gid, SHARED2);
	assert_int_equal(get_attr(file).mode, 0775); /* setuid and setgid go with the old owner */
	assert_ok(try_set(fx, file, fx->super, owner));
	assert_int_equal(get_attr(file).uid, BOB);
	/* Together with a mode, the mode is what counts. */
	owner =
	    (struct attr_set){ .mask = ATTR_SET_UID | ATTR_SET_MODE, .uid = ALICE, .mode = 04711 };
	assert_ok(try_set(fx, file, fx->super, owner));
	assert_int_equal(get_attr(file).mode, 04711);
	object_unref(file);
	link = make_symlink(fx, fx->dir, "l", "nowhere", fx->alice);
	assert_ok(
	    try_set(fx, link, fx->super, (struct attr_set){ .mask = ATTR_SET_UID, .uid = BOB }));
	assert_int_equal(get_attr(link).uid, BOB);
	object_unref(link);
}

static void times(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct attr_set given = { .mask = ATTR_SET_ATIME | ATTR_SET_MTIME,
				  .atime = { 1234567890, 0 },
				  .mtime = { 987654321, 0 } };
	struct attr_set now = set_of(ATTR_SET_ATIME_NOW | ATTR_SET_MTIME_NOW);
	struct attr_set one = { .mask = ATTR_SET_MTIME, .mtime = { 5, 0 } };
	struct object *file, *link;
	struct attr a;

	file_unref(make_file(fx, fx->dir, "f", 0622, fx->alice, &file));
	assert_ok(try_set(fx, file, fx->alice, given));
	a = get_attr(file);
	assert_int_equal(a.atime.tv_sec, 1234567890);
	assert_int_equal(a.mtime.tv_sec, 987654321);
	assert_ok(try_set(fx, file, fx->alice, one));
	a = get_attr(file);
	assert_int_equal(a.atime.tv_sec, 1234567890);
	assert_int_equal(a.mtime.tv_sec, 5);
	assert_err(try_set(fx, file, fx->bob, given), -EPERM);
	assert_ok(try_set(fx, file, fx->bob, now)); /* may write */
	a = get_attr(file);
	assert_true(labs(a.mtime.tv_sec - time(NULL)) < 100);
	chmod_as(fx, file, 0600, fx->alice);
	assert_err(try_set(fx, file, fx->bob, now), -EACCES);
	object_unref(file);
	link = make_symlink(fx, fx->dir, "l", "nowhere", fx->alice);
	assert_ok(try_set(fx, link, fx->alice, one));
	assert_int_equal(get_attr(link).mtime.tv_sec, 5);
	object_unref(link);
}

static void sizes(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct attr_set size = set_of(ATTR_SET_SIZE);
	struct object *file, *fifo;
	uint32_t done;
	struct file *f = make_file(fx, fx->dir, "f", 0444, fx->alice, &file);
	char buf[16];

	put(f, 0, "0123456789", 10);
	size.size = 4;
	/* Nobody may write, but this file is open for it. */
	assert_err(try_set(fx, file, fx->bob, size), -EACCES);
	assert_err(try_set(fx, file, fx->alice, size), -EACCES);
	assert_ok(fx->b->setattr(file, f, fx->alice, &size, &done));
	assert_int_equal(done, ATTR_SET_SIZE);
	assert_int_equal(get_attr(file).size, 4);
	chmod_as(fx, file, 0600, fx->alice);
	size.size = 8;
	assert_ok(try_set(fx, file, fx->alice, size));
	assert_int_equal(get(f, 0, buf, 16, NULL), 8);
	assert_memory_equal(buf, "0123\0\0\0\0", 8); /* what was cut off does not come back */
	size.size = UINT64_MAX;
	assert_err(try_set(fx, file, fx->alice, size), -EFBIG);
	size.size = 0;
	assert_err(try_set(fx, fx->dir, fx->alice, size), -EISDIR);
	fifo = make(fx, fx->dir, "p", FILE_FIFO, 0666, fx->alice);
	assert_err(try_set(fx, fifo, fx->alice, size), -EINVAL);
	object_unref(fifo);
	file_unref(f);
	object_unref(file);
}

static void several_attributes(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct attr_set all = { .mask = ATTR_SET_SIZE | ATTR_SET_MODE | ATTR_SET_MTIME,
				.size = 3,
				.mode = 0400,
				.mtime = { 77, 0 } };
	struct attr_set part = { .mask = ATTR_SET_SIZE | ATTR_SET_UID, .size = 1, .uid = BOB };
	struct object *file;
	struct attr a;
	uint32_t done;

	file_unref(make_file(fx, fx->dir, "f", 0600, fx->alice, &file));
	assert_ok(try_set(fx, file, fx->alice, all));
	a = get_attr(file);
	assert_int_equal(a.size, 3);
	assert_int_equal(a.mode, 0400);
	assert_int_equal(a.mtime.tv_sec, 77);
	chmod_as(fx, file, 0600, fx->alice);
	assert_err(fx->b->setattr(file, NULL, fx->alice, &part, &done), -EPERM);
	a = get_attr(file);
	/* What was done is told. */
	assert_int_equal(done, a.size == 1 ? ATTR_SET_SIZE : 0);
	assert_int_equal(a.uid, ALICE);
	object_unref(file);
}

static void writing_clears_setuid(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *file;
	struct file *f;

	file_unref(make_file(fx, fx->dir, "f", 06777, fx->alice, &file));
	f = open_file(fx, file, ACCESS_WRITE, fx->super);
	put(f, 0, "x", 1);
	file_unref(f);
	assert_int_equal(get_attr(file).mode, 06777); /* root keeps them */
	f = open_file(fx, file, ACCESS_WRITE, fx->bob);
	put(f, 0, "y", 1);
	file_unref(f);
	assert_int_equal(get_attr(file).mode, 0777);
	object_unref(file);
}

#define CASE(f)                         \
	{                               \
#f, f, NULL, NULL, NULL \
	}

const struct CMUnitTest cases_permissions[] = {
	CASE(access_bits),
	CASE(supplementary_groups),
	CASE(sticky_directories),
	CASE(setgid_directories),
	CASE(modes),
	CASE(owners),
	CASE(times),
	CASE(sizes),
	CASE(several_attributes),
	CASE(writing_clears_setuid),
	{ NULL, NULL, NULL, NULL, NULL },
};

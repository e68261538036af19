/* Extended attributes: their life, their limits, and who may do what to them. */
#include "backend_cases.h"

#include <sys/stat.h>

/* A file of mode 0640 of alice's. NULL: this file system has none, and says so. */
static struct object *xattr_file(struct fixture *fx)
{
	struct fs_info info;
	struct dir_change change;
	struct object *obj;
	char names[XATTR_NAMES_MOST];
	size_t len;

	file_unref(make_file(fx, fx->dir, "f", 0640, fx->alice, &obj));
	assert_ok(fx->b->statfs(obj, fx->super, &info));
	if (info.has_xattrs)
		return obj;
	assert_err(fx->b->getxattr(obj, fx->alice, "k", NULL, 0, &len), -EOPNOTSUPP);
	assert_err(fx->b->setxattr(obj, fx->alice, "k", "v", 1, XATTR_SET_EITHER, &change),
		   -EOPNOTSUPP);
	assert_err(fx->b->removexattr(obj, fx->alice, "k", &change), -EOPNOTSUPP);
	assert_err(fx->b->listxattr(obj, fx->alice, names, &len), -EOPNOTSUPP);
	object_unref(obj);
	return NULL;
}

static int set_as(struct fixture *fx, struct object *obj, const struct cred *cred, const char *name,
		  const char *value, enum xattr_mode mode)
{
	struct dir_change change;

	return fx->b->setxattr(obj, cred, name, value, strlen(value), mode, &change);
}

static int remove_as(struct fixture *fx, struct object *obj, const struct cred *cred,
		     const char *name)
{
	struct dir_change change;

	return fx->b->removexattr(obj, cred, name, &change);
}

static void assert_value(struct fixture *fx, struct object *obj, const char *name,
			 const char *value)
{
	char got[64];
	size_t len;

	assert_ok(fx->b->getxattr(obj, fx->super, name, NULL, 0, &len));
	assert_int_equal(len, strlen(value));
	assert_ok(fx->b->getxattr(obj, fx->super, name, got, sizeof(got), &len));
	assert_int_equal(len, strlen(value));
	assert_memory_equal(got, value, len);
}

/* How many names there are, one of which is `name` unless that is NULL. */
static unsigned listed(struct fixture *fx, struct object *obj, const char *name)
{
	static char names[XATTR_NAMES_MOST];
	bool found = name == NULL;
	unsigned n = 0;
	size_t len;

	assert_ok(fx->b->listxattr(obj, fx->super, names, &len));
	for (size_t at = 0; at < len; at += strlen(names + at) + 1, n++)
		found = found || strcmp(names + at, name) == 0;
	assert_true(found);
	return n;
}

static void life(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx);
	char small[2];
	size_t len;

	if (!obj)
		skip();
	assert_int_equal(listed(fx, obj, NULL), 0);
	assert_err(fx->b->getxattr(obj, fx->alice, "k", NULL, 0, &len), -ENODATA);
	assert_err(remove_as(fx, obj, fx->alice, "k"), -ENODATA);
	assert_err(set_as(fx, obj, fx->alice, "k", "v", XATTR_SET_OLD), -ENODATA);
	assert_ok(set_as(fx, obj, fx->alice, "k", "value", XATTR_SET_NEW));
	assert_err(set_as(fx, obj, fx->alice, "k", "v", XATTR_SET_NEW), -EEXIST);
	assert_value(fx, obj, "k", "value");
	assert_err(fx->b->getxattr(obj, fx->alice, "k", small, sizeof(small), &len), -ERANGE);
	assert_ok(set_as(fx, obj, fx->alice, "k", "another", XATTR_SET_OLD));
	assert_value(fx, obj, "k", "another");
	assert_ok(set_as(fx, obj, fx->alice, "a/b", "", XATTR_SET_EITHER));
	assert_value(fx, obj, "a/b", "");
	assert_int_equal(listed(fx, obj, "a/b"), 2);
	assert_ok(remove_as(fx, obj, fx->alice, "k"));
	assert_int_equal(listed(fx, obj, "a/b"), 1);
	object_unref(obj);
}

static void of_directories(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx), *dir;

	if (!obj)
		skip();
	object_unref(obj);
	dir = make(fx, fx->dir, "d", FILE_DIRECTORY, 01777, fx->alice);
	assert_ok(set_as(fx, dir, fx->alice, "k", "v", XATTR_SET_EITHER));
	assert_value(fx, dir, "k", "v");
	/* Where names of others are safe, so are the directory's attributes. */
	assert_err(set_as(fx, dir, fx->bob, "k", "w", XATTR_SET_EITHER), -EPERM);
	assert_err(remove_as(fx, dir, fx->bob, "k"), -EPERM);
	chmod_as(fx, dir, 0777, fx->alice);
	assert_ok(set_as(fx, dir, fx->bob, "k", "w", XATTR_SET_EITHER));
	object_unref(dir);
}

static void of_others_not(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx), *link;
	size_t len;

	if (!obj)
		skip();
	link = make_symlink(fx, fx->dir, "l", "f", fx->alice);
	assert_err(fx->b->getxattr(link, fx->alice, "k", NULL, 0, &len), -EPERM);
	assert_err(set_as(fx, link, fx->super, "k", "v", XATTR_SET_EITHER), -EPERM);
	assert_err(remove_as(fx, link, fx->super, "k"), -EPERM);
	assert_int_equal(listed(fx, obj, NULL), 0);
	object_unref(link);
	object_unref(obj);
}

static void permission(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx);
	char names[XATTR_NAMES_MOST];
	size_t len;

	if (!obj)
		skip();
	assert_ok(set_as(fx, obj, fx->alice, "k", "v", XATTR_SET_EITHER));
	assert_err(fx->b->getxattr(obj, fx->bob, "k", NULL, 0, &len), -EACCES);
	assert_err(fx->b->listxattr(obj, fx->bob, names, &len), -EACCES);
	assert_err(set_as(fx, obj, fx->bob, "k", "w", XATTR_SET_EITHER), -EACCES);
	assert_err(remove_as(fx, obj, fx->bob, "k"), -EACCES);
	chmod_as(fx, obj, 0644, fx->alice);
	assert_ok(fx->b->getxattr(obj, fx->bob, "k", NULL, 0, &len));
	assert_ok(fx->b->listxattr(obj, fx->bob, names, &len));
	assert_err(set_as(fx, obj, fx->bob, "k", "w", XATTR_SET_EITHER), -EACCES);
	chmod_as(fx, obj, 0602, fx->alice);
	assert_err(fx->b->getxattr(obj, fx->bob, "k", NULL, 0, &len), -EACCES);
	assert_ok(set_as(fx, obj, fx->bob, "k", "w", XATTR_SET_EITHER));
	assert_ok(remove_as(fx, obj, fx->bob, "k"));
	object_unref(obj);
}

static void change_moves(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx);
	struct dir_change change;
	uint64_t before, between;

	if (!obj)
		skip();
	before = get_attr(obj).change;
	assert_ok(fx->b->setxattr(obj, fx->alice, "k", "v", 1, XATTR_SET_EITHER, &change));
	assert_int_not_equal(change.before, change.after);
	between = get_attr(obj).change;
	assert_int_not_equal(between, before);
	assert_ok(fx->b->removexattr(obj, fx->alice, "k", &change));
	assert_int_not_equal(change.before, change.after);
	assert_int_not_equal(get_attr(obj).change, between);
	object_unref(obj);
}

static void limits(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx);
	struct dir_change change;
	char *big = calloc(1, XATTR_VALUE_MOST + 1), name[XATTR_NAME_MOST + 1];
	int err;

	if (!obj) {
		free(big);
		skip();
	}
	assert_non_null(big);
	memset(name, 'n', XATTR_NAME_MOST);
	name[XATTR_NAME_MOST] = '\0';
	assert_ok(set_as(fx, obj, fx->alice, name, "v", XATTR_SET_EITHER));
	assert_value(fx, obj, name, "v");
	assert_int_equal(listed(fx, obj, name), 1);
	err = fx->b->setxattr(obj, fx->alice, "big", big, XATTR_VALUE_MOST, XATTR_SET_EITHER,
			      &change);
	assert_true(err == 0 || err == -ENOSPC || err == -E2BIG); /* ext4 has no room for it */
	assert_err(fx->b->setxattr(obj, fx->alice, "big", big, XATTR_VALUE_MOST + 1,
				   XATTR_SET_EITHER, &change),
		   -E2BIG);
	free(big);
	object_unref(obj);
}

/* They are there after a restart. */
static void lasting(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx);

	if (!obj)
		skip();
	assert_ok(set_as(fx, obj, fx->alice, "k", "v", XATTR_SET_EITHER));
	object_unref(obj);
	if (fx->persistent)
		fixture_restart(fx);
	obj = look(fx, fx->dir, "f");
	assert_value(fx, obj, "k", "v");
	object_unref(obj);
	assert_ok(try_remove(fx, fx->dir, "f", fx->alice));
}

static uint64_t bytes_free(struct fixture *fx)
{
	struct fs_info info;

	assert_ok(fx->b->statfs(fx->dir, fx->super, &info));
	return info.bytes_free;
}

/*
 * The backend in memory counts what they take, and has it back when they are replaced, removed, or go
 * with the file.
 */
static void space(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj = xattr_file(fx);
	uint64_t before, one;

	if (!obj)
		skip();
	if (fx->persistent) {
		object_unref(obj);
		skip();
	}
	before = bytes_free(fx);
	assert_ok(set_as(fx, obj, fx->alice, "k", "value", XATTR_SET_EITHER));
	one = bytes_free(fx);
	assert_true(one <= before - sizeof("k") - strlen("value"));
	assert_ok(set_as(fx, obj, fx->alice, "k", "other", XATTR_SET_EITHER));
	assert_int_equal(bytes_free(fx), one);
	assert_err(set_as(fx, obj, fx->alice, "k", "third", XATTR_SET_NEW), -EEXIST);
	assert_int_equal(bytes_free(fx), one);
	assert_ok(remove_as(fx, obj, fx->alice, "k"));
	assert_int_equal(bytes_free(fx), before);
	assert_ok(set_as(fx, obj, fx->alice, "k", "value", XATTR_SET_EITHER));
	object_unref(obj);
	assert_ok(try_remove(fx, fx->dir, "f", fx->alice));
	assert_true(bytes_free(fx) > before);
}

#define CASE(f)                         \
	{                               \
#f, f, NULL, NULL, NULL \
	}

const struct CMUnitTest cases_xattrs[] = {
	CASE(life),
	CASE(of_directories),
	CASE(of_others_not),
	CASE(permission),
	CASE(change_moves),
	CASE(limits),
	CASE(lasting),
	CASE(space),
	{ NULL, NULL, NULL, NULL, NULL },
};

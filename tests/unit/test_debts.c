/*
 * Changes of names that are put on stable storage when the compound has run (nfsd/debts.c): how
 * often that is asked for, and what a client hears if it fails. The directory /data gets a backend
 * that owes everything.
 */
#include <errno.h>
#include <string.h>

#include "backends/backend.h"
#include "tests/unit/ops_fixture.h"

static struct backend owing;	    /* memory's, but for what is below */
static const struct backend *inner; /* memory's */
static struct object *data;	    /* keeps its backend as long as we refer to it */
static unsigned settled;
static int settle_err;

static int owing_remove(struct object *dir, const struct cred *cred, const char *name,
			struct dir_change *change)
{
	int err = inner->remove(dir, cred, name, change);

	change->owes = !err && change->may_owe;
	return err;
}

static int owing_rename(struct object *from, const char *from_name, struct object *to,
			const char *to_name, const struct cred *cred,
			struct dir_change *from_change, struct dir_change *to_change)
{
	int err = inner->rename(from, from_name, to, to_name, cred, from_change, to_change);

	from_change->owes = !err && from_change->may_owe;
	to_change->owes = !err && to_change->may_owe;
	return err;
}

static int owing_open_create(struct object *dir, const struct cred *cred, const char *name,
			     unsigned access, const struct create_args *args,
			     struct dir_change *change, bool *created, struct object **out_obj,
			     struct file **out_file)
{
	int err = inner->open_create(dir, cred, name, access, args, change, created, out_obj,
				     out_file);

	change->owes = !err && *created && change->may_owe;
	return err;
}

static void owing_settle(struct list *jobs, bool alone)
{
	struct settle_job *job = list_first(jobs, struct settle_job, link);

	settled++;
	list_remove(&job->link);
	assert_true(list_empty(jobs));
	assert_int_equal(job->n, 1);
	assert_ptr_equal(job->dirs[0], data);
	job->err = settle_err;
	job->done(job);
}

static int setup(void **state)
{
	int err = fixture_setup(state);

	settled = 0;
	settle_err = 0;
	data = object_at("data");
	inner = data->backend;
	owing = *inner;
	owing.remove = owing_remove;
	owing.rename = owing_rename;
	owing.open_create = owing_open_create;
	owing.settle = owing_settle;
	data->backend = &owing;
	return err;
}

static int teardown(void **state)
{
	data->backend = inner;
	object_unref(data);
	return fixture_teardown(state);
}

static void remove_twice(struct exchange *e)
{
	go(e, "data");
	ask_name(e, OP_REMOVE, "a");
	ask_name(e, OP_REMOVE, "b");
	ask_attr(e, FATTR4_TYPE);
}

/* Two changes of one directory are settled together, before the reply. */
static void one_job(void **state)
{
	struct exchange *e = begin(1);

	make_file("data", "a", "", 0);
	make_file("data", "b", "", 0);
	remove_twice(e);
	send_expect(e, NFS4_OK);
	assert_int_equal(settled, 1);
	went(e, "data");
	for (unsigned i = 0; i < 2; i++) {
		result(e, OP_REMOVE, NFS4_OK);
		get_change(e);
	}
	assert_int_equal(got_u32(e), FILE_DIRECTORY);
	end(e);
}

/* A compound that fails has its changes settled all the same. */
static void failed_compound(void **state)
{
	struct exchange *e = begin(1);

	make_file("data", "a", "", 0);
	remove_twice(e);
	send_expect(e, NFS4ERR_NOENT);
	assert_int_equal(settled, 1);
	went(e, "data");
	result(e, OP_REMOVE, NFS4_OK);
	get_change(e);
	result(e, OP_REMOVE, NFS4ERR_NOENT);
	end(e);
}

static void nothing_changed(void **state)
{
	expect_name_op("data", OP_REMOVE, "none", NFS4ERR_NOENT);
	expect_name_op("data", OP_LOOKUP, "none", NFS4ERR_NOENT);
	assert_int_equal(settled, 0);
}

static void rename_settles_once(void **state)
{
	struct exchange *e = begin(0);

	make_file("data", "a", "", 0);
	go(e, "data");
	ask(e, OP_SAVEFH);
	ask_name(e, OP_RENAME, "a");
	put_name(e, "b");
	send_expect(e, NFS4_OK);
	assert_int_equal(settled, 1);
	went(e, "data");
	ok(e, OP_SAVEFH);
	result(e, OP_RENAME, NFS4_OK);
	get_change(e);
	get_change(e);
	end(e);
}

/* The reply ends where the first change was made. */
static void settling_fails(void **state)
{
	for (uint32_t minor = 0; minor < 3; minor++) {
		struct exchange *e = begin(minor);

		settle_err = 0;
		make_file("data", "a", "", 0);
		make_file("data", "b", "", 0);
		settle_err = -EIO;
		remove_twice(e);
		send_expect(e, NFS4ERR_IO);
		went(e, "data");
		result(e, OP_REMOVE, NFS4ERR_IO);
		end(e);
	}
}

static void ask_open(struct exchange *e, const char *owner, bool create, uint32_t deny)
{
	ask(e, OP_OPEN);
	xdr_put_u32(&e->req, 0);
	xdr_put_u32(&e->req, OPEN4_SHARE_ACCESS_READ);
	xdr_put_u32(&e->req, deny);
	xdr_put_u64(&e->req, 0);
	xdr_put_opaque(&e->req, owner, (uint32_t)strlen(owner));
	xdr_put_u32(&e->req, create ? OPEN4_CREATE : OPEN4_NOCREATE);
	if (create) {
		xdr_put_u32(&e->req, UNCHECKED4);
		xdr_put_u32(&e->req, 0);
		xdr_put_u32(&e->req, 0);
	}
	xdr_put_u32(&e->req, CLAIM_NULL);
	put_name(e, "new");
}

/* An open whose file could not be made for sure is none: nobody is kept out by it. */
static void open_is_undone(void **state)
{
	struct exchange *e = begin(1);

	ask(e, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&e->req, false);
	send_expect(e, NFS4_OK);
	ok(e, OP_RECLAIM_COMPLETE);
	end(e);

	settle_err = -EIO;
	e = begin(1);
	go(e, "data");
	ask_open(e, "one", true, OPEN4_SHARE_DENY_BOTH);
	ask_attr(e, FATTR4_SIZE);
	send_expect(e, NFS4ERR_IO);
	assert_int_equal(settled, 1);
	went(e, "data");
	result(e, OP_OPEN, NFS4ERR_IO);
	end(e);

	e = begin(1);
	go(e, "data");
	ask_open(e, "two", false, OPEN4_SHARE_DENY_NONE);
	send_expect(e, NFS4_OK);
	e->res.p = e->res.end;
	end(e);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(one_job),	       TEST(failed_compound), TEST(nothing_changed),
		TEST(rename_settles_once), TEST(settling_fails),  TEST(open_is_undone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* RPC headers and authentication: every answer of RFC 5531, over a real connection. */
#include "tests/unit/rpc_fixture.h"

#include <string.h>
#include <unistd.h>

static struct fixture f;

static int setup(void **state)
{
	fixture_start(&f, 1, NULL);
	return 0;
}

static int teardown(void **state)
{
	fixture_stop(&f);
	return 0;
}

/* Sends the record on a connection of its own; *reply is without the xid, which is checked. */
static void ask(const struct bytes *record, struct bytes *reply)
{
	int fd = client_connect(&f);

	assert_true(client_exchange(fd, record, reply));
	close(fd);
	assert_int_equal(take_u32(reply), 77);
	assert_int_equal(take_u32(reply), 1);
}

static void expect_words(struct bytes *reply, const uint32_t *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(take_u32(reply), words[i]);
	assert_int_equal(reply->len, 0);
}

#define EXPECT(reply, ...)                                     \
	expect_words(reply, (const uint32_t[]){ __VA_ARGS__ }, \
		     sizeof((const uint32_t[]){ __VA_ARGS__ }) / 4)

/* Asks and frees. */
#define ASK_EXPECT(record, ...)               \
	do {                                  \
		struct bytes reply_ = { 0 };  \
		ask(&(record), &reply_);      \
		EXPECT(&reply_, __VA_ARGS__); \
		bytes_free(&reply_);          \
		bytes_free(&(record));        \
	} while (0)

enum { ACCEPTED = 0, DENIED = 1, MISMATCH = 0, AUTH_ERR = 1 };

static void null_call_without_auth(void **state)
{
	struct bytes r = { 0 };

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	put_auth(&r, 0, NULL);
	put_auth(&r, 0, NULL);
	ASK_EXPECT(r, ACCEPTED, 0, 0, 0);
}

static void other_call_without_auth_is_too_weak(void **state)
{
	struct bytes r = { 0 };

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_WHOAMI);
	put_auth(&r, 0, NULL);
	put_auth(&r, 0, NULL);
	ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_TOOWEAK);
}

static void rpc_version_mismatch(void **state)
{
	for (uint32_t v = 0; v <= 4; v++) {
		struct bytes r = { 0 };

		if (v == 2)
			continue;
		put_call_header(&r, 77, v, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
		put_auth_sys(&r, 1);
		ASK_EXPECT(r, DENIED, MISMATCH, 2, 2);
	}
}

static void program_unavailable(void **state)
{
	struct bytes r = { 0 };

	put_call_header(&r, 77, 2, TEST_PROGRAM + 1, TEST_VERS_LO, PROC_NULL);
	put_auth_sys(&r, 1);
	ASK_EXPECT(r, ACCEPTED, 0, 0, 1);
}

static void program_mismatch_tells_versions(void **state)
{
	for (uint32_t v = 0; v <= 5; v++) {
		struct bytes r = { 0 };

		put_call_header(&r, 77, 2, TEST_PROGRAM, v, PROC_NULL);
		put_auth_sys(&r, 1);
		if (v >= TEST_VERS_LO && v <= TEST_VERS_HI)
			ASK_EXPECT(r, ACCEPTED, 0, 0, 0);
		else
			ASK_EXPECT(r, ACCEPTED, 0, 0, 2, TEST_VERS_LO, TEST_VERS_HI);
	}
}

static void procedure_unavailable(void **state)
{
	struct bytes r = { 0 };

	put_call(&r, 77, 999);
	ASK_EXPECT(r, ACCEPTED, 0, 0, 3);
}

static void garbage_args(void **state)
{
	struct bytes r = { 0 };

	put_call(&r, 77, PROC_ECHO);
	put_u32(&r, 100); /* but no 100 bytes */
	ASK_EXPECT(r, ACCEPTED, 0, 0, 4);
}

static void verdicts_of_the_handler(void **state)
{
	static const struct {
		uint32_t verdict, stat;
		uint32_t words[4];
	} cases[] = {
		{ RPC_GARBAGE_ARGS, 0, { ACCEPTED, 0, 0, 4 } },
		{ RPC_PROC_UNAVAIL, 0, { ACCEPTED, 0, 0, 3 } },
		{ RPC_SYSTEM_ERR, 0, { ACCEPTED, 0, 0, 5 } },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bytes r = { 0 }, reply = { 0 };

		put_call(&r, 77, PROC_VERDICT);
		put_u32(&r, cases[i].verdict);
		put_u32(&r, cases[i].stat);
		ask(&r, &reply);
		expect_words(&reply, cases[i].words, 4);
		bytes_free(&r);
		bytes_free(&reply);
	}
	for (uint32_t stat = 1; stat <= 5; stat++) {
		struct bytes r = { 0 };

		put_call(&r, 77, PROC_VERDICT);
		put_u32(&r, RPC_AUTH_ERROR);
		put_u32(&r, stat);
		ASK_EXPECT(r, DENIED, AUTH_ERR, stat);
	}
}

/* Every prefix of a good call that still has an xid and a type gets an answer. */
static void truncated_header(void **state)
{
	struct bytes whole = { 0 };

	put_call(&whole, 77, PROC_NULL);
	for (size_t len = 8; len < whole.len; len += 4) {
		struct bytes r = { 0 }, reply = { 0 };
		uint32_t kind, what;

		put_raw(&r, whole.p, len);
		ask(&r, &reply);
		kind = take_u32(&reply);
		if (len < 24) {
			assert_int_equal(kind, ACCEPTED);
			EXPECT(&reply, 0, 0, 4);
		} else {
			assert_int_equal(kind, DENIED);
			assert_int_equal(take_u32(&reply), AUTH_ERR);
			what = take_u32(&reply);
			/* 32 bytes of head and credential's length, and its 36 bytes. */
			assert_int_equal(what,
					 len < whole.len - 8 ? RPC_AUTH_BADCRED : RPC_AUTH_BADVERF);
		}
		bytes_free(&r);
		bytes_free(&reply);
	}
	bytes_free(&whole);
}

static void too_short_for_a_message_closes(void **state)
{
	for (size_t len = 0; len < 8; len++) {
		struct bytes r = { 0 }, out = { 0 };
		int fd = client_connect(&f);

		put_raw(&r, "\0\0\0\0\0\0\0\0", len);
		put_record(&out, &r);
		client_send(fd, &out);
		assert_true(client_closed(fd));
		close(fd);
		bytes_free(&r);
		bytes_free(&out);
	}
}

static void unknown_message_type_closes(void **state)
{
	struct bytes r = { 0 }, out = { 0 };
	int fd = client_connect(&f);

	put_u32(&r, 77);
	put_u32(&r, 2);
	put_u64(&r, 0);
	put_record(&out, &r);
	client_send(fd, &out);
	assert_true(client_closed(fd));
	close(fd);
	bytes_free(&r);
	bytes_free(&out);
}

/* ---- AUTH_SYS ---- */

struct sys {
	uint32_t machine_len; /* as sent */
	uint32_t machine_bytes;
	uint32_t ngroups;
	uint32_t group_words;
	uint32_t extra_words;
};

static void put_sys_call(struct bytes *r, const struct sys *s)
{
	struct bytes body = { 0 };
	static const char name[600] = { [0 ... 599] = 'm' };

	put_u32(&body, 1);
	put_u32(&body, s->machine_len);
	put_raw(&body, name, s->machine_bytes);
	put_raw(&body, "\0\0\0", (4 - s->machine_bytes % 4) % 4);
	put_u32(&body, 1000);
	put_u32(&body, 100);
	put_u32(&body, s->ngroups);
	for (uint32_t i = 0; i < s->group_words; i++)
		put_u32(&body, 3000 - i);
	for (uint32_t i = 0; i < s->extra_words; i++)
		put_u32(&body, 0);
	put_call_header(r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_WHOAMI);
	put_auth(r, 1, &body);
	put_auth(r, 0, NULL);
	bytes_free(&body);
}

static void auth_sys_identity(void **state)
{
	for (uint32_t groups = 0; groups <= 16; groups += 8) {
		struct bytes r = { 0 }, reply = { 0 };

		put_sys_call(&r, &(struct sys){ 255, 255, groups, groups, 0 });
		ask(&r, &reply);
		for (int i = 0; i < 4; i++)
			assert_int_equal(take_u32(&reply), 0);
		assert_int_equal(take_u32(&reply), 1);
		assert_int_equal(take_u32(&reply), 1000);
		assert_int_equal(take_u32(&reply), 100);
		assert_int_equal(take_u32(&reply), groups);
		for (uint32_t i = 0; i < groups; i++)
			assert_int_equal(take_u32(&reply), 3000 - groups + 1 + i); /* sorted */
		assert_int_equal(take_u32(&reply), 255);
		assert_int_equal(reply.len, 256);
		assert_int_equal(reply.p[254], 'm');
		bytes_free(&r);
		bytes_free(&reply);
	}
}

static void auth_sys_limits(void **state)
{
	static const struct sys bad[] = {
		{ 256, 256, 0, 0, 0 },	    /* machine name too long */
		{ 0xffffffff, 0, 0, 0, 0 }, /* absurd length */
		{ 8, 4, 0, 0, 0 },	    /* longer than it is; shifts everything */
		{ 4, 4, 17, 17, 0 },	    /* too many groups */
		{ 4, 4, 0xffffffff, 2, 0 }, /* absurd count */
		{ 4, 4, 3, 2, 0 },	    /* groups missing */
		{ 4, 4, 2, 2, 1 },	    /* something behind */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct bytes r = { 0 };

		put_sys_call(&r, &bad[i]);
		ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_BADCRED);
	}
}

static void credential_and_verifier_bodies(void **state)
{
	static const uint8_t zeros[404];
	struct bytes big = { 0 }, four = { 0 }, r = { 0 };

	put_raw(&big, zeros, 404);
	put_raw(&four, zeros, 4);

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	put_auth(&r, 1, &big); /* more than 400 bytes */
	put_auth(&r, 0, NULL);
	ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_BADCRED);

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	put_auth(&r, 0, NULL);
	put_auth(&r, 0, &big);
	ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_BADVERF);

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	put_auth(&r, 0, &four); /* AUTH_NONE has no body */
	put_auth(&r, 0, NULL);
	ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_BADCRED);

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	put_auth(&r, 0, NULL);
	put_auth(&r, 1, &four);
	ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_BADVERF);

	put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	put_auth(&r, 1, NULL); /* AUTH_SYS needs one */
	put_auth(&r, 0, NULL);
	ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_BADCRED);
	bytes_free(&big);
	bytes_free(&four);
}

static void unknown_flavors_are_rejected(void **state)
{
	static const uint32_t flavors[] = { 2, 3, 6, 390003, 0xffffffff };

	for (size_t i = 0; i < sizeof(flavors) / sizeof(flavors[0]); i++) {
		struct bytes r = { 0 };

		put_call_header(&r, 77, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
		put_auth(&r, flavors[i], NULL);
		put_auth(&r, 0, NULL);
		ASK_EXPECT(r, DENIED, AUTH_ERR, RPC_AUTH_REJECTEDCRED);
	}
}

/* More users than a connection remembers, in turn: everybody remains himself. */
static void many_users_on_one_connection(void **state)
{
	int fd = client_connect(&f);

	for (uint32_t i = 0; i < 100; i++) {
		struct bytes r = { 0 }, reply = { 0 };
		uint32_t uid = i % 3 == 0 ? 1 : i % 7;

		put_call_header(&r, i, 2, TEST_PROGRAM, TEST_VERS_LO, PROC_WHOAMI);
		put_auth_sys(&r, uid);
		assert_true(client_exchange(fd, &r, &reply));
		assert_int_equal(take_success(&reply), i);
		assert_int_equal(take_u32(&reply), 1);
		assert_int_equal(take_u32(&reply), uid);
		assert_int_equal(take_u32(&reply), 100);
		assert_int_equal(take_u32(&reply), 2);
		assert_int_equal(take_u32(&reply), 4);
		assert_int_equal(take_u32(&reply), 24);
		bytes_free(&r);
		bytes_free(&reply);
	}
	close(fd);
}

static void errors_leave_the_connection_in_step(void **state)
{
	int fd = client_connect(&f);
	struct bytes r = { 0 }, reply = { 0 };

	put_call_header(&r, 1, 9, TEST_PROGRAM, TEST_VERS_LO, PROC_NULL);
	assert_true(client_exchange(fd, &r, &reply));
	r.len = 0;
	put_call(&r, 2, 999);
	assert_true(client_exchange(fd, &r, &reply));
	r.len = 0;
	put_call(&r, 3, PROC_NULL);
	assert_true(client_exchange(fd, &r, &reply));
	assert_int_equal(take_success(&reply), 3);
	assert_int_equal(reply.len, 0);
	close(fd);
	bytes_free(&r);
	bytes_free(&reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(null_call_without_auth),
		cmocka_unit_test(other_call_without_auth_is_too_weak),
		cmocka_unit_test(rpc_version_mismatch),
		cmocka_unit_test(program_unavailable),
		cmocka_unit_test(program_mismatch_tells_versions),
		cmocka_unit_test(procedure_unavailable),
		cmocka_unit_test(garbage_args),
		cmocka_unit_test(verdicts_of_the_handler),
		cmocka_unit_test(truncated_header),
		cmocka_unit_test(too_short_for_a_message_closes),
		cmocka_unit_test(unknown_message_type_closes),
		cmocka_unit_test(auth_sys_identity),
		cmocka_unit_test(auth_sys_limits),
		cmocka_unit_test(credential_and_verifier_bodies),
		cmocka_unit_test(unknown_flavors_are_rejected),
		cmocka_unit_test(many_users_on_one_connection),
		cmocka_unit_test(errors_leave_the_connection_in_step),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

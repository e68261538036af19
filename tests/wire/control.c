/*
 * The control socket by way of the `atoll` tool: what clients hold is shown as it is, and bad
 * requests get an answer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define OUTPUT_MAX 65536

/* What `atoll WORDS --state DIR` prints; its exit status must be 0. */
static char *tool(const char *words)
{
	char *out = test_alloc(OUTPUT_MAX), command[1024];
	size_t len;
	FILE *p;

	snprintf(command, sizeof(command), "%s/atoll %s --state %s 2>&1",
		 getenv("ATOLL_BUILD_DIR"), words, wire_server_state());
	p = popen(command, "re");
	assert_non_null(p);
	len = fread(out, 1, OUTPUT_MAX - 1, p);
	out[len] = '\0';
	if (pclose(p) != 0)
		fail_msg("atoll %s: %s", words, out);
	return out;
}

/* The first line of `text` that has all of the words; fails if there is none. */
static void expect_line(const char *text, const char *const words[])
{
	char *copy = strcpy(test_alloc(strlen(text) + 1), text), *save = NULL;

	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		unsigned found = 0;

		for (; words[found] && strstr(line, words[found]); found++)
			;
		if (!words[found])
			return;
	}
	fail_msg("no line with `%s', `%s'... in:\n%s", words[0], words[1], text);
}
#define EXPECT_LINE(text, ...) expect_line(text, (const char *const[]){ __VA_ARGS__, NULL })

static void locks_shows_opens_and_ranges_by_path(void **state)
{
	struct client *c = client_new(minor_of(state));
	struct fh dir = test_dir(c);
	struct open_file f = open_create(c, owner_new(), &dir, "held", OPEN4_SHARE_ACCESS_BOTH,
					 OPEN4_SHARE_DENY_WRITE);
	struct lock_state l = { .owner = owner_new() };
	char *text;

	assert_int_equal(lock_range(c, &f, &l, WRITE_LT, 100, 50, NULL), NFS4_OK);
	text = tool("locks");
	EXPECT_LINE(text, "open ", " both ", " write ", wire_server_dir(), "/held");
	EXPECT_LINE(text, "lock ", " write ", " 100 ", " 149 ", wire_server_dir(), "/held");
	assert_int_equal(unlock_range(c, &f, &l, 100, 50), NFS4_OK);
	text = tool("locks");
	assert_null(strstr(text, " 149 "));
}

static void clients_and_sessions_count(void **state)
{
	struct client *c = client_new(1);
	struct fh dir = test_dir(c);
	char *text;

	open_create(c, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	text = tool("clients --json");
	assert_non_null(strstr(text, "\"opens\": 1"));
	assert_non_null(strstr(text, "\"lease_passed\": false"));
	text = tool("sessions --json");
	assert_non_null(strstr(text, "\"minor_version\": 1"));
	text = tool("status");
	EXPECT_LINE(text, "pid: ");
	EXPECT_LINE(text, "opens: ");
}

static void a_listing_keeps_to_its_limit(void **state)
{
	struct client *c = client_new(1);
	struct fh dir = test_dir(c);
	char *text;

	open_create(c, owner_new(), &dir, "1", OPEN4_SHARE_ACCESS_READ, 0);
	open_create(c, owner_new(), &dir, "2", OPEN4_SHARE_ACCESS_READ, 0);
	text = tool("locks --json --limit 1");
	assert_non_null(strstr(text, "\"truncated\": true"));
	assert_null(strstr(strstr(text, "\"kind\"") + 1, "\"kind\""));
}

static void reload_changes_exports(void **state)
{
	EXPECT_LINE(tool("reload"), "read again");
	EXPECT_LINE(tool("exports"), wire_server_dir());
}

/* Sends bytes to the control socket and returns what comes back before it is closed. */
static char *raw(const char *bytes, size_t len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char *out = test_alloc(OUTPUT_MAX);
	size_t got = 0;
	ssize_t n;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/control", wire_server_state());
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	/* A server that has read enough closes, and the rest finds nobody. */
	if (send(fd, bytes, len, MSG_NOSIGNAL) < 0)
		assert_true(errno == EPIPE || errno == ECONNRESET);
	shutdown(fd, SHUT_WR);
	while ((n = read(fd, out + got, OUTPUT_MAX - 1 - got)) > 0)
		got += (size_t)n;
	out[got] = '\0';
	close(fd);
	return out;
}

static void bad_requests_are_answered(void **state)
{
	static char much[OUTPUT_MAX];

	assert_non_null(strstr(raw("\n", 1), "\"error\":\"expected JSON\""));
	assert_non_null(strstr(raw("{}\n", 3), "expected an object with a"));
	assert_non_null(strstr(raw("[1]\n", 4), "expected an object with a"));
	assert_non_null(strstr(raw("{\"command\":\"no\"}\n", 17), "does not know"));
	assert_string_equal(raw("{\"command\":", 11), "");
	memset(much, 'x', sizeof(much));
	assert_string_equal(raw(much, sizeof(much)), "");
	EXPECT_LINE(tool("status"), "pid: ");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(locks_shows_opens_and_ranges_by_path),
		WIRE_TEST(clients_and_sessions_count),
		WIRE_TEST(a_listing_keeps_to_its_limit),
		WIRE_TEST(reload_changes_exports),
		WIRE_TEST(bad_requests_are_answered),
	};
	static const struct wire_options options = { 0 };

	if (wire_server_external())
		return 77;
	return wire_main("control", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

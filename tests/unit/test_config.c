/* atoll.conf: what it means, its errors, and the filehandle key's file. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/conf.h"

static char dir[] = "/tmp/atoll-config-XXXXXX";
static char file[64], key_file[64];

static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/atoll.conf", dir);
	snprintf(key_file, sizeof(key_file), "%s/handle.key", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(file);
	unlink(key_file);
	return rmdir(dir); /* fails if anything else was left behind */
}

static void write_to(const char *path, const void *bytes, size_t len, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
}

static int load(const char *text, struct config **c, struct config_error *err)
{
	write_to(file, text, strlen(text), 0600);
	*c = NULL;
	return config_load(file, c, err);
}

static struct config *load_good(const char *text)
{
	struct config_error err = { 0 };
	struct config *c;
	char why[600];

	if (load(text, &c, &err) != 0) {
		config_error_format(&err, why, sizeof(why));
		fail_msg("%s\nin:\n%s", why, text);
	}
	return c;
}

static void assert_listens(const struct config *c, unsigned i, const char *address, unsigned port)
{
	const struct sockaddr_storage *ss = &c->listen[i].addr;
	char text[INET6_ADDRSTRLEN];
	bool v4 = ss->ss_family == AF_INET;

	inet_ntop(ss->ss_family,
		  v4 ? (const void *)&((const struct sockaddr_in *)ss)->sin_addr
		     : (const void *)&((const struct sockaddr_in6 *)ss)->sin6_addr,
		  text, sizeof(text));
	assert_string_equal(text, address);
	assert_int_equal(ntohs(v4 ? ((const struct sockaddr_in *)ss)->sin_port
				  : ((const struct sockaddr_in6 *)ss)->sin6_port),
			 port);
	assert_int_equal(c->listen[i].len,
			 v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
}

static void test_defaults(void **state)
{
	static const char *const texts[] = { "", "# nothing\n; at all\n\n", "[atolld]\n" };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct config *c = load_good(texts[i]);

		assert_string_equal(c->file, file);
		assert_int_equal(c->nlisten, 2);
		assert_listens(c, 0, "0.0.0.0", 2049);
		assert_listens(c, 1, "::", 2049);
		assert_true(c->listen[0].optional && c->listen[1].optional);
		assert_int_equal(c->lease_seconds, 90);
		assert_int_equal(c->grace_seconds, 0);
		assert_string_equal(c->state_dir, "/var/lib/atoll");
		assert_string_equal(c->secret_file, "/var/lib/atoll/handle.key");
		assert_int_equal(c->nexports, 2);
		assert_string_equal(c->exports[0], "/etc/exports");
		assert_string_equal(c->exports[1], "/etc/exports.d");
		assert_true(c->exports_default);
		assert_int_equal(c->log_level, LOG_LEVEL_INFO);
		assert_int_equal(c->loops, 0);
		assert_int_equal(c->max_connections, 0);
		assert_int_equal(c->minor_versions, 7);
		assert_int_equal(c->max_io, 1 << 20);
		assert_int_equal(c->cache_seconds, 10);
		assert_true(c->rpcbind);
		assert_false(c->utf8_names);
		assert_true(c->delegations);
		config_free(c);
	}
}

static void test_everything(void **state)
{
	struct config *c = load_good("# settings\n"
				     "[atolld]\n"
				     "listen = 192.0.2.1, [2001:db8::1]:3000\n"
				     "\tLISTEN=::1\n"
				     "  listen = 127.0.0.1:0\n"
				     "port = 4000\n"
				     "lease-time = 10\n"
				     "grace-time = 7\n"
				     "max-clients = 11\n"
				     "max-opens = 12\n"
				     "max-locks = 13\n"
				     "max-owners = 18\n"
				     "max-sessions = 19\n"
				     "max-owners-per-client = 20\n"
				     "max-opens-per-client = 14\n"
				     "max-locks-per-client = 15\n"
				     "max-sessions-per-client = 16\n"
				     "max-slots-per-session = 17\n"
				     "state-dir = \"/var/lib/with space\"\n"
				     "secret-file='/etc/key'\n"
				     "exports = /a /b\n"
				     "; a comment\n"
				     "exports = /c\n"
				     "log-level = debug\n"
				     "loops = 3\n"
				     "max-connections = 77\n"
				     "max-io-size = 65536\n"
				     "cache-time = 86400\n"
				     "vers4.0 = N\n"
				     "vers4.1 = on\n"
				     "vers4.2 = false\n"
				     "rpcbind = 0\n"
				     "[ATOLLD]\n"
				     "delegations = n\n"
				     "utf8-names = Yes\n");

	assert_int_equal(c->nlisten, 4);
	assert_listens(c, 0, "192.0.2.1", 4000);
	assert_listens(c, 1, "2001:db8::1", 3000);
	assert_listens(c, 2, "::1", 4000);
	assert_listens(c, 3, "127.0.0.1", 0);
	assert_false(c->listen[0].optional);
	assert_int_equal(c->lease_seconds, 10);
	assert_int_equal(c->grace_seconds, 7);
	assert_int_equal(c->max_clients, 11);
	assert_int_equal(c->max_opens, 12);
	assert_int_equal(c->max_locks, 13);
	assert_int_equal(c->max_owners, 18);
	assert_int_equal(c->max_sessions, 19);
	assert_int_equal(c->max_owners_per_client, 20);
	assert_int_equal(c->max_opens_per_client, 14);
	assert_int_equal(c->max_locks_per_client, 15);
	assert_int_equal(c->max_sessions_per_client, 16);
	assert_int_equal(c->max_slots_per_session, 17);
	assert_string_equal(c->state_dir, "/var/lib/with space");
	assert_string_equal(c->secret_file, "/etc/key");
	assert_int_equal(c->nexports, 3);
	assert_string_equal(c->exports[0], "/a");
	assert_string_equal(c->exports[2], "/c");
	assert_false(c->exports_default);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(c->loops, 3);
	assert_int_equal(c->max_connections, 77);
	assert_int_equal(c->max_io, 65536);
	assert_int_equal(c->cache_seconds, 86400);
	assert_int_equal(c->minor_versions, 1 << 1);
	assert_false(c->rpcbind);
	assert_true(c->utf8_names);
	assert_false(c->delegations);
	config_free(c);
}

static void test_cluster_section(void **state)
{
	struct config *c = load_good("[cluster]\n"
				     "replication = safe\n"
				     "scope = office\n"
				     "addresses = 192.0.2.10/24, 192.0.2.11/24\n"
				     "addresses = 2001:db8::10/64\n"
				     "interface = eth0\n"
				     "vip_manager = external\n"
				     "secret = /etc/atoll.key\n"
				     "[atolld]\n"
				     "secret-file = /other\n");
	const struct config_cluster *cl = c->cluster;

	assert_true(cl->safe && cl->external_vips);
	assert_string_equal(cl->scope, "office");
	assert_string_equal(cl->interface, "eth0");
	assert_string_equal(c->secret_file, "/etc/atoll.key");
	assert_int_equal(cl->nvips, 3);
	assert_int_equal(cl->vips[1].addr.ss_family, AF_INET);
	assert_int_equal(cl->vips[1].prefix, 24);
	assert_int_equal(cl->vips[2].addr.ss_family, AF_INET6);
	assert_int_equal(cl->vips[2].prefix, 64);
	config_free(c);
}

static void test_cluster_defaults(void **state)
{
	struct config *c = load_good("[cluster]\nsecret = /etc/atoll.key\n");

	assert_non_null(c->cluster);
	assert_false(c->cluster->external_vips);
	assert_null(c->cluster->scope);
	assert_null(c->cluster->interface);
	assert_int_equal(c->cluster->nvips, 0);
	config_free(c);
	c = load_good("[atolld]\n");
	assert_null(c->cluster);
	config_free(c);
}

static void test_secret_file_follows_state_dir(void **state)
{
	struct config *c = load_good("[atolld]\nstate-dir = /x\n");

	assert_string_equal(c->secret_file, "/x/handle.key");
	config_free(c);
}

static const struct {
	const char *text;
	unsigned line;
	const char *found;
} bad[] = {
	{ "port = 1\n", 1, "before any section" },
	{ "[nfsd]\n", 1, "found the section [nfsd]; expected [atolld] or [cluster]" },
	{ "[atolld]\n\n[clusters]\n", 3, "found the section [clusters]" },
	{ "[cluster]\n", 0, "[cluster] has no secret" },
	{ "[cluster]\nport = 1\n", 2, "expected one of replication, scope" },
	{ "[atolld]\nscope = x\n", 2, "found the key `scope'" },
	{ "[cluster]\nsecret = x\n", 2, "expected an absolute path" },
	{ "[cluster]\nreplication = maybe\n", 2, "expected ordered or safe" },
	{ "[cluster]\nvip_manager = me\n", 2, "expected internal or external" },
	{ "[cluster]\nscope = a b\n", 2, "expected a name of at most 64" },
	{ "[cluster]\ninterface = 0123456789abcdef\n", 2, "expected a name of at most 15" },
	{ "[cluster]\naddresses = 192.0.2.1\n", 2, "192.0.2.10/24" },
	{ "[cluster]\naddresses = 192.0.2.1/33\n", 2, "192.0.2.10/24" },
	{ "[cluster]\naddresses = 192.0.2.1/0\n", 2, "192.0.2.10/24" },
	{ "[cluster]\naddresses = 192.0.2.1:1/24\n", 2, "192.0.2.10/24" },
	{ "[cluster]\naddresses = 2001:db8::1/129\n", 2, "192.0.2.10/24" },
	{ "[cluster]\naddresses = 192.0.2.1/24 192.0.2.1/24\n", 2, "every address once" },
	{ "[cluster]\naddresses = 192.0.2.1/24\naddresses = 192.0.2.1/24\n", 3, "every address" },
	{ "[atolld\n", 1, "not closed" },
	{ "[]\n", 1, "found the section []" },
	{ "[atolld]\nprot = 1\n", 2, "found the key `prot'; expected one of listen, port" },
	{ "[atolld]\n# x\n\nport\n", 4, "expected `key = value'" },
	{ "[atolld]\nport\nprot = 1\n", 2, "expected `key = value'" },
	{ "[atolld]\nport =\n", 2, "port: found `'; expected a value" },
	{ "[atolld]\nport = \"\"\n", 2, "expected a value" },
	{ "[atolld]\nport = 65536\n", 2, "port: found `65536'; expected a number from 0 to 65535" },
	{ "[atolld]\nport = -1\n", 2, "expected a number" },
	{ "[atolld]\nport = 2049x\n", 2, "expected a number" },
	{ "[atolld]\nport = 99999999999999999999999\n", 2, "expected a number" },
	{ "[atolld]\nport = 1\nport = 2\n", 3, "port a second time (first in line 2)" },
	{ "[atolld]\nport = 1\n[atolld]\nPort = 2\n", 4, "port a second time" },
	{ "[atolld]\nmax-opens = 0\n", 2, "expected a number from 1 to 1000000000" },
	{ "[atolld]\ngrace-time = 0\n", 2, "expected a number from 1 to 3600" },
	{ "[atolld]\nlease-time = 0\n", 2, "expected a number from 1 to 3600" },
	{ "[atolld]\nlease-time = 3601\n", 2, "expected a number from 1 to 3600" },
	{ "[atolld]\nlisten = localhost\n", 2, "listen: found `localhost'" },
	{ "[atolld]\nlisten = 127.0.0.1 127.1\n", 2, "found `127.1'" },
	{ "[atolld]\nlisten = 127.0.0.1:65536\n", 2, "expected an IPv4 or IPv6 address" },
	{ "[atolld]\nlisten = 127.0.0.1:\n", 2, "expected an IPv4 or IPv6 address" },
	{ "[atolld]\nlisten = [::1\n", 2, "expected an IPv4 or IPv6 address" },
	{ "[atolld]\nlisten = [::1]x\n", 2, "expected an IPv4 or IPv6 address" },
	{ "[atolld]\nlisten = [::1]:x\n", 2, "expected an IPv4 or IPv6 address" },
	{ "[atolld]\nexports = /a rel\n", 2, "exports: found `rel'; expected an absolute path" },
	{ "[atolld]\nstate-dir = x\n", 2, "state-dir: found `x'; expected an absolute path" },
	{ "[atolld]\nsecret-file = x\n", 2, "expected an absolute path" },
	{ "[atolld]\nlog-level = loud\n", 2, "expected error, warning, info or debug" },
	{ "[atolld]\nloops = 1025\n", 2, "expected a number from 0 to 1024" },
	{ "[atolld]\nmax-connections = 0\n", 2, "expected a number from 1" },
	{ "[atolld]\nmax-io-size = 4095\n", 2, "expected a number from 4096" },
	{ "[atolld]\nmax-io-size = 5000\n", 2, "multiple of 4096" },
	{ "[atolld]\ncache-time = 9\n", 2, "expected a number from 10 to 86400" },
	{ "[atolld]\ncache-time = 86401\n", 2, "expected a number from 10 to 86400" },
	{ "[atolld]\nvers4.0 = maybe\n", 2, "vers4.0: found `maybe'; expected yes or no" },
	{ "[atolld]\nrpcbind = 2\n", 2, "expected yes or no" },
	{ "[atolld]\nutf8-names = x\n", 2, "expected yes or no" },
	{ "[atolld]\ndelegations = 2\n", 2, "expected yes or no" },
	{ "[atolld]\nvers4.0=n\nvers4.1=n\nvers4.2=n\n", 0, "at least one" },
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct config_error err = { 0 };
		struct config *c;

		if (load(bad[i].text, &c, &err) != -EINVAL || c)
			fail_msg("accepted: %s", bad[i].text);
		if (err.line != bad[i].line || !strstr(err.message, bad[i].found) ||
		    strcmp(err.file, file) != 0)
			fail_msg("%s\n%s:%u: %s\nexpected %u: %s", bad[i].text, err.file, err.line,
				 err.message, bad[i].line, bad[i].found);
	}
}

static void test_long_line(void **state)
{
	char text[1000];
	struct config_error err;
	struct config *c;

	memset(text, 'a', sizeof(text));
	memcpy(text, "[atolld]\nexports = /", 20);
	strcpy(text + sizeof(text) - 2, "\n");
	assert_int_equal(load(text, &c, &err), -EINVAL);
	assert_int_equal(err.line, 2);
	assert_non_null(strstr(err.message, "shorter lines"));
}

static void test_missing_file(void **state)
{
	struct config_error err;
	struct config *c = NULL;

	assert_int_equal(config_load("/no/such/file", &c, &err), -ENOENT);
	assert_string_equal(err.file, "/no/such/file");
	assert_null(c);
}

static void test_set(void **state)
{
	struct config *c = config_new();
	struct config_error err;

	assert_int_equal(config_set(c, "port", "1000", &err), 0);
	assert_int_equal(config_set(c, "port", "0", &err), 0);
	assert_int_equal(config_set(c, "listen", "127.0.0.1", &err), 0);
	assert_int_equal(config_set(c, "port", "x", &err), -EINVAL);
	assert_string_equal(err.file, "");
	assert_int_equal(err.line, 0);
	assert_int_equal(config_set(c, "nonsense", "1", &err), -EINVAL);
	assert_int_equal(config_finish(c, &err), 0);
	assert_null(c->file);
	assert_int_equal(c->nlisten, 1);
	assert_listens(c, 0, "127.0.0.1", 0);
	config_free(c);
}

static void test_error_format(void **state)
{
	struct config_error err;
	char text[64];

	config_error_set(&err, -1, "f", 2, 3, "x %d", 5);
	config_error_format(&err, text, sizeof(text));
	assert_string_equal(text, "f:2:3: x 5");
	config_error_set(&err, -1, "f", 2, 0, "x");
	config_error_format(&err, text, sizeof(text));
	assert_string_equal(text, "f:2: x");
	config_error_set(&err, -1, "f", 0, 0, "x");
	config_error_format(&err, text, sizeof(text));
	assert_string_equal(text, "f: x");
	assert_int_equal(config_error_set(NULL, -EIO, NULL, 0, 0, "x"), -EIO);
	config_error_set(&err, -1, NULL, 0, 0, "x");
	config_error_format(&err, text, 2);
	assert_string_equal(text, "x");
}

/* ---- the key ---- */

static void test_key_is_made_once(void **state)
{
	uint8_t a[CONFIG_KEY_SIZE], b[CONFIG_KEY_SIZE], zero[CONFIG_KEY_SIZE] = { 0 };
	struct config_error err;
	struct stat st;
	mode_t old = umask(0);

	unlink(key_file);
	assert_int_equal(config_load_key(key_file, a, &err), 0);
	umask(old);
	assert_int_equal(stat(key_file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, CONFIG_KEY_SIZE);
	assert_int_equal(config_load_key(key_file, b, &err), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_memory_not_equal(a, zero, sizeof(a));
	/* Another file, another key. */
	unlink(key_file);
	assert_int_equal(config_load_key(key_file, b, &err), 0);
	assert_memory_not_equal(a, b, sizeof(a));
}

static void test_key_errors(void **state)
{
	uint8_t key[CONFIG_KEY_SIZE];
	struct config_error err;

	write_to(key_file, "short", 5, 0600);
	assert_int_equal(config_load_key(key_file, key, &err), -EINVAL);
	assert_string_equal(err.file, key_file);
	assert_non_null(strstr(err.message, "found 5 bytes"));
	write_to(key_file, "0123456789abcdefX", 17, 0600);
	assert_int_equal(config_load_key(key_file, key, &err), -EINVAL);
	write_to(key_file, "0123456789abcdef", 16, 0644);
	assert_int_equal(config_load_key(key_file, key, &err), -EPERM);
	assert_non_null(strstr(err.message, "found mode 0644; expected 0600"));
	assert_int_equal(config_load_key("/no/such/dir/key", key, &err), -ENOENT);
	assert_int_equal(config_load_key(dir, key, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_everything),
		cmocka_unit_test(test_secret_file_follows_state_dir),
		cmocka_unit_test(test_cluster_section),
		cmocka_unit_test(test_cluster_defaults),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long_line),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_error_format),
		cmocka_unit_test(test_key_is_made_once),
		cmocka_unit_test(test_key_errors),
	};

	return cmocka_run_group_tests_name("config", tests, make_dir, remove_dir);
}

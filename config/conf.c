/*
 * atoll.conf: libinih splits lines, one table says which keys there are.
 *
 * libinih's handler is not told the line it is at, a heading without keys is not reported to
 * it, an over-long line would be silently cut in two and an indented one appended to the key
 * before it. So lines come to it through read_line(), which counts them, checks headings and
 * length, and removes indentation (in nfs.conf(5) it has no meaning).
 */
#include "config/conf.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <limits.h>
#include <stddef.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/random.h"

#define SECTION		  "atolld"
#define CLUSTER_SECTION	  "cluster"
#define SECTIONS	  "[" SECTION "] or [" CLUSTER_SECTION "]"
#define DEFAULT_PORT	  2049
#define DEFAULT_LEASE	  90
#define DEFAULT_HANG	  5
#define DEFAULT_STATE_DIR "/var/lib/atoll"
#define DEFAULT_MAX_IO	  (1u << 20)
#define DEFAULT_CACHE	  10

/* Where a value comes from and where complaints about it go. */
struct setting {
	struct config *config;
	const char *section;
	const char *key;
	const char *value;
	const char *file;
	unsigned line;
	struct config_error *err;
};

struct key_row {
	const char *section;
	const char *name;
	bool several; /* may be given more than once */
	int (*set)(struct setting *s, int arg);
	int arg;
};

/* What one listen value said, until the port is known. */
struct pending_listen {
	struct sockaddr_storage addr;
	socklen_t len;
	bool has_port;
};

#define MAX_KEYS 64

struct config_private {
	unsigned given_at[MAX_KEYS]; /* line of each key of the table; 0: not in the file */
	struct pending_listen *listen;
	unsigned nlisten;
	char *file, *state_dir, *secret_file, *cluster_secret;
};

static int bad_value(const struct setting *s, const char *expected)
{
	return config_error_set(s->err, -EINVAL, s->file, s->line, 0,
				"%s: found `%.80s'; expected %s", s->key, s->value, expected);
}

/* ---- values ---- */

/* A decimal number within the bounds. */
static int get_number(const struct setting *s, uint64_t min, uint64_t max, uint64_t *out)
{
	char expected[80], *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(s->value, &end, 10);
	if (isdigit((unsigned char)s->value[0]) && !*end && !errno && n >= min && n <= max) {
		*out = n;
		return 0;
	}
	snprintf(expected, sizeof(expected), "a number from %llu to %llu", (unsigned long long)min,
		 (unsigned long long)max);
	return bad_value(s, expected);
}

static int get_bool(const struct setting *s, bool *out)
{
	static const char *const yes[] = { "y", "yes", "true", "t", "on", "1" };
	static const char *const no[] = { "n", "no", "false", "f", "off", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcasecmp(s->value, yes[i]) == 0 || strcasecmp(s->value, no[i]) == 0) {
			*out = strcasecmp(s->value, yes[i]) == 0;
			return 0;
		}
	}
	return bad_value(s, "yes or no");
}

/* A copy of the absolute path in the value goes to *slot. */
static int get_path(const struct setting *s, char **slot)
{
	char *copy;

	if (s->value[0] != '/')
		return bad_value(s, "an absolute path");
	copy = strdup(s->value);
	if (!copy)
		return config_error_nomem(s->err);
	free(*slot);
	*slot = copy;
	return 0;
}

/* Calls `add` for every word of a list separated by blanks and commas. */
static int for_each_word(struct setting *s, int (*add)(struct setting *s))
{
	char *copy = strdup(s->value), *rest, *word;
	struct setting one = *s;
	int rc = 0;

	if (!copy)
		return config_error_nomem(s->err);
	rest = copy;
	while (!rc && (word = strsep(&rest, " \t,"))) {
		one.value = word;
		if (*word)
			rc = add(&one);
	}
	free(copy);
	return rc;
}

/* ---- addresses ---- */

static bool parse_port(const char *text, int *port)
{
	unsigned long n;
	char *end;

	n = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || n > 65535)
		return false;
	*port = (int)n;
	return true;
}

/*
 * Splits HOST[:PORT]. `host` receives the part before, without brackets. -EINVAL if the port is
 * bad or a bracket open.
 */
static int split_port(const char *text, char *host, size_t size, int *port)
{
	const char *end, *colon = strchr(text, ':');

	*port = -1;
	if (text[0] == '[') {
		end = strchr(++text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return -EINVAL;
		colon = end[1] ? end + 1 : NULL;
	} else if (colon && strchr(colon + 1, ':')) {
		colon = NULL; /* a bare IPv6 address */
		end = text + strlen(text);
	} else {
		end = colon ? colon : text + strlen(text);
	}
	if ((size_t)(end - text) >= size || (colon && !parse_port(colon + 1, port)))
		return -EINVAL;
	memcpy(host, text, (size_t)(end - text));
	host[end - text] = '\0';
	return 0;
}

static void set_sockaddr_port(struct sockaddr_storage *addr, int port)
{
	if (addr->ss_family == AF_INET)
		((struct sockaddr_in *)addr)->sin_port = htons((uint16_t)port);
	else
		((struct sockaddr_in6 *)addr)->sin6_port = htons((uint16_t)port);
}

int config_parse_address(const char *text, struct sockaddr_storage *addr, socklen_t *len, int *port)
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai;
	struct in_addr in;

	if (split_port(text, host, sizeof(host), port) != 0)
		return -EINVAL;
	/* getaddrinfo would also take 127.1; only inet_pton knows what people mean. */
	if (!strchr(host, ':') && inet_pton(AF_INET, host, &in) != 1)
		return -EINVAL;
	if (getaddrinfo(host, NULL, &hints, &ai) != 0)
		return -EINVAL;
	memset(addr, 0, sizeof(*addr));
	memcpy(addr, ai->ai_addr, ai->ai_addrlen);
	*len = ai->ai_addrlen;
	freeaddrinfo(ai);
	if (*port >= 0)
		set_sockaddr_port(addr, *port);
	return 0;
}

static int add_pending(struct setting *s, const struct pending_listen *p)
{
	struct config_private *priv = s->config->priv;
	struct pending_listen *bigger;

	bigger = reallocarray(priv->listen, priv->nlisten + 1, sizeof(*bigger));
	if (!bigger)
		return config_error_nomem(s->err);
	priv->listen = bigger;
	priv->listen[priv->nlisten++] = *p;
	return 0;
}

static int add_listen(struct setting *s)
{
	struct pending_listen p = { 0 };
	int port;

	if (config_parse_address(s->value, &p.addr, &p.len, &port) != 0)
		return bad_value(s, "an IPv4 or IPv6 address, as in 192.0.2.1, 192.0.2.1:2049, "
				    "2001:db8::1 or [2001:db8::1]:2049");
	p.has_port = port >= 0;
	return add_pending(s, &p);
}

/* ---- keys ---- */

static int set_listen(struct setting *s, int arg)
{
	return for_each_word(s, add_listen);
}

static int add_exports(struct setting *s)
{
	struct config *c = s->config;
	const char **bigger;

	if (s->value[0] != '/')
		return bad_value(s, "an absolute path");
	bigger = reallocarray(c->exports, c->nexports + 1, sizeof(*bigger));
	if (!bigger)
		return config_error_nomem(s->err);
	c->exports = bigger;
	c->exports[c->nexports] = strdup(s->value);
	return c->exports[c->nexports] ? (c->nexports++, 0) : config_error_nomem(s->err);
}

static int set_exports(struct setting *s, int arg)
{
	return for_each_word(s, add_exports);
}

static int set_port(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 0, 65535, &n);

	if (!rc)
		s->config->port = (uint16_t)n;
	return rc;
}

static int set_lease(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 1, 3600, &n);

	if (!rc)
		s->config->lease_seconds = (unsigned)n;
	return rc;
}

static int set_grace(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 1, 3600, &n);

	if (!rc)
		s->config->grace_seconds = (unsigned)n;
	return rc;
}

static int set_cache_time(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 10, 86400, &n);

	if (!rc)
		s->config->cache_seconds = (unsigned)n;
	return rc;
}

static int set_loops(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 0, 1024, &n);

	if (!rc)
		s->config->loops = (unsigned)n;
	return rc;
}

static int set_max_connections(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 1, 1000000, &n);

	if (!rc)
		s->config->max_connections = (unsigned)n;
	return rc;
}

/* One of the numbers in struct config, at `offset`; at least 1. */
static int set_limit(struct setting *s, int offset)
{
	uint64_t n;
	int rc = get_number(s, 1, 1000000000, &n);

	if (!rc)
		*(uint32_t *)((char *)s->config + offset) = (uint32_t)n;
	return rc;
}

static int set_max_io(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 4096, 16u << 20, &n);

	if (rc)
		return rc;
	if (n % 4096)
		return bad_value(s, "a multiple of 4096");
	s->config->max_io = (uint32_t)n;
	return 0;
}

static int set_state_dir(struct setting *s, int arg)
{
	return get_path(s, &s->config->priv->state_dir);
}

static int set_secret_file(struct setting *s, int arg)
{
	return get_path(s, &s->config->priv->secret_file);
}

static int set_log_level(struct setting *s, int arg)
{
	if (log_level_parse(s->value, &s->config->log_level) != 0)
		return bad_value(s, "error, warning, info or debug");
	return 0;
}

static int set_minor_version(struct setting *s, int minor)
{
	bool on;
	int rc = get_bool(s, &on);

	if (rc)
		return rc;
	if (on)
		s->config->minor_versions |= 1u << minor;
	else
		s->config->minor_versions &= ~(1u << minor);
	return 0;
}

static int set_rpcbind(struct setting *s, int arg)
{
	return get_bool(s, &s->config->rpcbind);
}

static int set_delegations(struct setting *s, int arg)
{
	return get_bool(s, &s->config->delegations);
}

static int set_utf8_names(struct setting *s, int arg)
{
	return get_bool(s, &s->config->utf8_names);
}

/* ---- the keys of [cluster] ---- */

static int set_replication(struct setting *s, int arg)
{
	s->config->cluster->safe = strcasecmp(s->value, "safe") == 0;
	if (!s->config->cluster->safe && strcasecmp(s->value, "ordered") != 0)
		return bad_value(s, "ordered or safe");
	return 0;
}

/* A word of at most `max` bytes. */
static int get_word(const struct setting *s, size_t max, const char **slot)
{
	char expected[60], *copy;

	if (strlen(s->value) > max || strpbrk(s->value, " \t,/")) {
		snprintf(expected, sizeof(expected), "a name of at most %zu letters", max);
		return bad_value(s, expected);
	}
	copy = strdup(s->value);
	if (!copy)
		return config_error_nomem(s->err);
	free((char *)*slot);
	*slot = copy;
	return 0;
}

static int set_scope(struct setting *s, int arg)
{
	return get_word(s, 64, &s->config->cluster->scope);
}

static int set_interface(struct setting *s, int arg)
{
	return get_word(s, IF_NAMESIZE - 1, &s->config->cluster->interface);
}

static bool parse_vip(const char *text, struct config_vip *vip)
{
	const char *slash = strchr(text, '/');
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
	unsigned long prefix;
	char *end;
	int port;

	if (!slash || (size_t)(slash - text) >= sizeof(host) || !isdigit((unsigned char)slash[1]))
		return false;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	prefix = strtoul(slash + 1, &end, 10);
	if (*end || config_parse_address(host, &vip->addr, &vip->len, &port) != 0 || port >= 0)
		return false;
	vip->prefix = (unsigned)prefix;
	return prefix >= 1 && prefix <= (vip->addr.ss_family == AF_INET ? 32 : 128);
}

static int add_vip(struct setting *s)
{
	struct config_cluster *c = s->config->cluster;
	struct config_vip vip = { 0 }, *bigger;

	if (!parse_vip(s->value, &vip))
		return bad_value(s, "an address with its prefix length, as in 192.0.2.10/24 or "
				    "2001:db8::10/64");
	for (unsigned i = 0; i < c->nvips; i++)
		if (memcmp(&c->vips[i].addr, &vip.addr, sizeof(vip.addr)) == 0)
			return bad_value(s, "every address once");
	bigger = reallocarray(c->vips, c->nvips + 1, sizeof(*bigger));
	if (!bigger)
		return config_error_nomem(s->err);
	c->vips = bigger;
	c->vips[c->nvips++] = vip;
	return 0;
}

static int set_addresses(struct setting *s, int arg)
{
	return for_each_word(s, add_vip);
}

static int set_vip_manager(struct setting *s, int arg)
{
	s->config->cluster->external_vips = strcasecmp(s->value, "external") == 0;
	if (!s->config->cluster->external_vips && strcasecmp(s->value, "internal") != 0)
		return bad_value(s, "internal or external");
	return 0;
}

static int set_hang_time(struct setting *s, int arg)
{
	uint64_t n;
	int rc = get_number(s, 2, 3600, &n);

	if (!rc)
		s->config->cluster->hang_seconds = (unsigned)n;
	return rc;
}

static int set_cluster_secret(struct setting *s, int arg)
{
	return get_path(s, &s->config->priv->cluster_secret);
}

static const struct key_row keys[] = {
	{ SECTION, "listen", true, set_listen, 0 },
	{ SECTION, "port", false, set_port, 0 },
	{ SECTION, "exports", true, set_exports, 0 },
	{ SECTION, "lease-time", false, set_lease, 0 },
	{ SECTION, "grace-time", false, set_grace, 0 },
	{ SECTION, "state-dir", false, set_state_dir, 0 },
	{ SECTION, "secret-file", false, set_secret_file, 0 },
	{ SECTION, "log-level", false, set_log_level, 0 },
	{ SECTION, "loops", false, set_loops, 0 },
	{ SECTION, "max-connections", false, set_max_connections, 0 },
	{ SECTION, "max-clients", false, set_limit, offsetof(struct config, max_clients) },
	{ SECTION, "max-opens", false, set_limit, offsetof(struct config, max_opens) },
	{ SECTION, "max-locks", false, set_limit, offsetof(struct config, max_locks) },
	{ SECTION, "max-owners", false, set_limit, offsetof(struct config, max_owners) },
	{ SECTION, "max-sessions", false, set_limit, offsetof(struct config, max_sessions) },
	{ SECTION, "max-owners-per-client", false, set_limit,
	  offsetof(struct config, max_owners_per_client) },
	{ SECTION, "max-opens-per-client", false, set_limit,
	  offsetof(struct config, max_opens_per_client) },
	{ SECTION, "max-locks-per-client", false, set_limit,
	  offsetof(struct config, max_locks_per_client) },
	{ SECTION, "max-delegations", false, set_limit, offsetof(struct config, max_delegations) },
	{ SECTION, "max-delegations-per-client", false, set_limit,
	  offsetof(struct config, max_delegations_per_client) },
	{ SECTION, "max-sessions-per-client", false, set_limit,
	  offsetof(struct config, max_sessions_per_client) },
	{ SECTION, "max-slots-per-session", false, set_limit,
	  offsetof(struct config, max_slots_per_session) },
	{ SECTION, "max-io-size", false, set_max_io, 0 },
	{ SECTION, "cache-time", false, set_cache_time, 0 },
	{ SECTION, "vers4.0", false, set_minor_version, 0 },
	{ SECTION, "vers4.1", false, set_minor_version, 1 },
	{ SECTION, "vers4.2", false, set_minor_version, 2 },
	{ SECTION, "rpcbind", false, set_rpcbind, 0 },
	{ SECTION, "delegations", false, set_delegations, 0 },
	{ SECTION, "utf8-names", false, set_utf8_names, 0 },
	{ CLUSTER_SECTION, "replication", false, set_replication, 0 },
	{ CLUSTER_SECTION, "scope", false, set_scope, 0 },
	{ CLUSTER_SECTION, "addresses", true, set_addresses, 0 },
	{ CLUSTER_SECTION, "interface", false, set_interface, 0 },
	{ CLUSTER_SECTION, "vip_manager", false, set_vip_manager, 0 },
	{ CLUSTER_SECTION, "hang-time", false, set_hang_time, 0 },
	{ CLUSTER_SECTION, "secret", false, set_cluster_secret, 0 },
};
_Static_assert(ARRAY_SIZE(keys) <= MAX_KEYS, "given_at is too short");

static int unknown_key(const struct setting *s)
{
	char known[sizeof(((struct config_error *)0)->message)] = "";
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && len < sizeof(known); i++)
		if (strcasecmp(keys[i].section, s->section) == 0)
			len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s",
						len ? ", " : "", keys[i].name);
	return config_error_set(s->err, -EINVAL, s->file, s->line, 0,
				"found the key `%.40s'; expected one of %s", s->key, known);
}

/* Removes one pair of quotes around the value, as nfs.conf(5) does. */
static char *unquote(const char *value)
{
	size_t len = strlen(value);

	if (len >= 2 && (value[0] == '"' || value[0] == '\'') && value[len - 1] == value[0])
		return strndup(value + 1, len - 2);
	return strdup(value);
}

static int apply(struct setting *s)
{
	struct config_private *priv = s->config->priv;
	const struct key_row *row = NULL;
	char *value;
	int rc;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !row; i++)
		if (strcasecmp(keys[i].section, s->section) == 0 &&
		    strcasecmp(keys[i].name, s->key) == 0)
			row = &keys[i];
	if (!row)
		return unknown_key(s);
	s->key = row->name;
	if (!row->several && s->line && priv->given_at[row - keys])
		return config_error_set(s->err, -EINVAL, s->file, s->line, 0,
					"found %s a second time (first in line %u); expected it "
					"once",
					row->name, priv->given_at[row - keys]);
	priv->given_at[row - keys] = s->line;
	value = unquote(s->value);
	if (!value)
		return config_error_nomem(s->err);
	s->value = value;
	rc = *value ? row->set(s, row->arg) : bad_value(s, "a value");
	free(value);
	return rc;
}

int config_set(struct config *c, const char *key, const char *value, struct config_error *err)
{
	struct setting s = {
		.config = c,
		.section = SECTION,
		.key = key,
		.value = value,
		.file = "",
		.err = err,
	};

	return apply(&s);
}

/* ---- life cycle ---- */

struct config *config_new(void)
{
	struct config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->priv = calloc(1, sizeof(*c->priv));
	if (!c->priv) {
		free(c);
		return NULL;
	}
	c->port = DEFAULT_PORT;
	c->lease_seconds = DEFAULT_LEASE;
	c->log_level = LOG_LEVEL_INFO;
	c->minor_versions = 7;
	c->max_io = DEFAULT_MAX_IO;
	c->cache_seconds = DEFAULT_CACHE;
	c->rpcbind = true;
	c->delegations = true;
	return c;
}

static void free_cluster(struct config_cluster *c)
{
	if (!c)
		return;
	free((char *)c->scope);
	free((char *)c->interface);
	free(c->vips);
	free(c);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->nexports; i++)
		free((char *)c->exports[i]);
	free(c->exports);
	free(c->listen);
	free(c->priv->listen);
	free(c->priv->file);
	free(c->priv->state_dir);
	free(c->priv->secret_file);
	free(c->priv->cluster_secret);
	free_cluster(c->cluster);
	free(c->priv);
	free(c);
}

static int finish_paths(struct config *c, struct config_error *err)
{
	struct config_private *priv = c->priv;
	struct setting s = { .config = c, .key = "exports", .err = err };

	if (!priv->state_dir && !(priv->state_dir = strdup(DEFAULT_STATE_DIR)))
		return config_error_nomem(err);
	if (!priv->secret_file &&
	    asprintf(&priv->secret_file, "%s/handle.key", priv->state_dir) < 0) {
		priv->secret_file = NULL;
		return config_error_nomem(err);
	}
	c->file = priv->file;
	c->state_dir = priv->state_dir;
	c->secret_file = priv->cluster_secret ? priv->cluster_secret : priv->secret_file;
	if (c->nexports)
		return 0;
	c->exports_default = true;
	s.value = "/etc/exports,/etc/exports.d";
	return set_exports(&s, 0);
}

static int finish_listen(struct config *c, struct config_error *err)
{
	struct config_private *priv = c->priv;
	bool everywhere = priv->nlisten == 0;
	struct setting s = { .config = c, .key = "listen", .err = err };
	int rc;

	if (everywhere) {
		s.value = "0.0.0.0,::";
		rc = set_listen(&s, 0);
		if (rc)
			return rc;
	}
	c->listen = calloc(priv->nlisten, sizeof(*c->listen));
	if (!c->listen)
		return config_error_nomem(err);
	for (unsigned i = 0; i < priv->nlisten; i++) {
		struct config_listen *l = &c->listen[i];

		l->addr = priv->listen[i].addr;
		l->len = priv->listen[i].len;
		l->optional = everywhere;
		if (!priv->listen[i].has_port)
			set_sockaddr_port(&l->addr, c->port);
	}
	c->nlisten = priv->nlisten;
	return 0;
}

static int finish_cluster(const struct config *c, struct config_error *err)
{
	if (!c->cluster || c->priv->cluster_secret)
		return 0;
	return config_error_set(err, -EINVAL, c->priv->file, 0, 0,
				"[" CLUSTER_SECTION "] has no secret; expected the file with the key "
				"that filehandles are signed with, the same on every node");
}

int config_finish(struct config *c, struct config_error *err)
{
	int rc = finish_paths(c, err);

	if (!rc)
		rc = finish_listen(c, err);
	if (!rc)
		rc = finish_cluster(c, err);
	if (!rc && !c->minor_versions)
		rc = config_error_set(err, -EINVAL, c->file, 0, 0,
				      "vers4.0, vers4.1 and vers4.2 are all off; expected at least "
				      "one of them to be on");
	return rc;
}

/* ---- the file ---- */

struct reader {
	FILE *f;
	struct config *config;
	const char *path;
	unsigned line;
	struct config_error *err;
	int rc; /* the first error */
};

/* Is it this heading? `len` is that of the text within the brackets. */
static bool heads(const char *line, size_t len, const char *section)
{
	return len == strlen(section) && strncasecmp(line + 1, section, len) == 0;
}

/* Only these headings may be; libinih itself reports only headings with keys. */
static int check_heading(struct reader *r, const char *line)
{
	size_t len = strcspn(line, "]");

	if (!line[len])
		return config_error_set(r->err, -EINVAL, r->path, r->line, 0,
					"found `[' that is not closed; expected " SECTIONS);
	len--;
	if (heads(line, len, CLUSTER_SECTION)) {
		if (!r->config->cluster)
			r->config->cluster = calloc(1, sizeof(*r->config->cluster));
		if (!r->config->cluster)
			return config_error_nomem(r->err);
		if (!r->config->cluster->hang_seconds)
			r->config->cluster->hang_seconds = DEFAULT_HANG;
		return 0;
	}
	if (!heads(line, len, SECTION))
		return config_error_set(r->err, -EINVAL, r->path, r->line, 0,
					"found the section [%.*s]; expected " SECTIONS,
					(int)(len > 80 ? 80 : len), line + 1);
	return 0;
}

/* fgets for libinih: one line, without indentation; NULL ends. */
static char *read_line(char *buf, int size, void *arg)
{
	struct reader *r = arg;
	size_t len, indent;

	if (r->rc || !fgets(buf, size, r->f)) {
		if (!r->rc && ferror(r->f))
			r->rc = config_error_set(r->err, -EIO, r->path, 0, 0, "cannot read");
		return NULL;
	}
	r->line++;
	len = strlen(buf);
	if (len && buf[len - 1] != '\n' && !feof(r->f)) {
		r->rc = config_error_set(r->err, -EINVAL, r->path, r->line, 0,
					 "found a line of more than %d bytes, or a NUL byte; "
					 "expected shorter lines of text",
					 size - 2);
		return NULL;
	}
	indent = strspn(buf, " \t\r");
	memmove(buf, buf + indent, len - indent + 1);
	if (buf[0] == '[')
		r->rc = check_heading(r, buf);
	return r->rc ? NULL : buf;
}

/* libinih's handler: nonzero goes on. */
static int handle_key(void *arg, const char *section, const char *name, const char *value)
{
	struct reader *r = arg;
	struct setting s = {
		.config = r->config,
		.section = section,
		.key = name,
		.value = value ? value : "",
		.file = r->path,
		.line = r->line,
		.err = r->err,
	};

	if (r->rc)
		return 0;
	if (!section[0])
		r->rc = config_error_set(r->err, -EINVAL, r->path, r->line, 0,
					 "found `%.40s' before any section; expected " SECTIONS
					 " first",
					 name);
	else
		r->rc = apply(&s);
	return r->rc == 0;
}

static int read_file(struct reader *r)
{
	int line = ini_parse_stream(read_line, r, handle_key, r);

	/* libinih reads on behind a line without '=', to an error of ours perhaps. */
	if (r->rc && (line <= 0 || (unsigned)line >= r->line))
		return r->rc;
	if (line == -2)
		return config_error_nomem(r->err);
	if (line != 0)
		return config_error_set(r->err, -EINVAL, r->path, (unsigned)line, 0,
					"expected `key = value', a [section] or a comment");
	return 0;
}

int config_load(const char *path, struct config **out, struct config_error *err)
{
	struct reader r = { .path = path, .err = err };
	int rc;

	r.f = fopen(path, "re");
	if (!r.f)
		return config_error_set(err, -errno, path, 0, 0, "cannot open: %s",
					strerror(errno));
	r.config = config_new();
	rc = r.config ? read_file(&r) : config_error_nomem(err);
	if (!rc && !(r.config->priv->file = strdup(path)))
		rc = config_error_nomem(err);
	if (!rc)
		rc = config_finish(r.config, err);
	fclose(r.f);
	if (rc)
		config_free(r.config);
	else
		*out = r.config;
	return rc;
}

/* ---- the filehandle key ---- */

static int key_error(struct config_error *err, const char *path, const char *what, int errnum)
{
	return config_error_set(err, -errnum, path, 0, 0, "cannot %s the filehandle key: %s", what,
				strerror(errnum));
}

/* Writes a new key beside `path` and links it there, so that the file is never seen half. */
static int create_key(const char *path, struct config_error *err)
{
	uint8_t key[CONFIG_KEY_SIZE];
	char *tmp;
	int fd, rc = 0;

	if (asprintf(&tmp, "%s.XXXXXX", path) < 0)
		return config_error_nomem(err);
	fd = mkostemp(tmp, O_CLOEXEC); /* mode 0600 */
	if (fd < 0) {
		rc = key_error(err, path, "create", errno);
		free(tmp);
		return rc;
	}
	random_bytes(key, sizeof(key));
	errno = EIO;
	if (write(fd, key, sizeof(key)) != (ssize_t)sizeof(key) || fsync(fd) != 0)
		rc = key_error(err, path, "write", errno);
	else if (link(tmp, path) != 0 && errno != EEXIST)
		rc = key_error(err, path, "create", errno);
	unlink(tmp);
	close(fd);
	free(tmp);
	return rc;
}

static int check_key_file(int fd, const char *path, struct config_error *err)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return key_error(err, path, "read", errno);
	if (!S_ISREG(st.st_mode) || st.st_size != CONFIG_KEY_SIZE)
		return config_error_set(err, -EINVAL, path, 0, 0,
					"found %lld bytes; expected a file of %d bytes, the "
					"filehandle key",
					(long long)st.st_size, CONFIG_KEY_SIZE);
	if (st.st_mode & 077)
		return config_error_set(err, -EPERM, path, 0, 0,
					"found mode %04o; expected 0600: others must not read the "
					"filehandle key",
					st.st_mode & 07777);
	return 0;
}

int config_load_key(const char *path, uint8_t key[CONFIG_KEY_SIZE], struct config_error *err)
{
	int rc;

	if (access(path, F_OK) != 0 && errno == ENOENT) {
		rc = create_key(path, err);
		if (rc)
			return rc;
	}
	return config_read_key(path, key, err);
}

int config_read_key(const char *path, uint8_t key[CONFIG_KEY_SIZE], struct config_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int rc;

	if (fd < 0)
		return key_error(err, path, "open", errno);
	rc = check_key_file(fd, path, err);
	errno = EIO;
	if (!rc && read(fd, key, CONFIG_KEY_SIZE) != CONFIG_KEY_SIZE)
		rc = key_error(err, path, "read", errno);
	close(fd);
	return rc;
}

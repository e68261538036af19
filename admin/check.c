/*
 * `atoll check FILE...`: says of every file what is wrong with it, or what it means.
 *
 * A file whose name ends in .conf, or whose first word is a [section], is an atoll.conf; its
 * exports files are checked with it. All others are exports(5) files (a directory: its
 * *.exports).
 */
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/admin.h"
#include "config/conf.h"
#include "config/exports.h"

static const char usage_text[] =
    "usage: atoll check FILE...\n"
    "\n"
    "Checks atoll.conf (and the exports files it names) and exports(5) files. Prints what they\n"
    "mean, and exits with 0, or prints FILE:LINE:COLUMN: MESSAGE and exits with 1.\n";

static int report(const struct config_error *err)
{
	char text[600];

	config_error_format(err, text, sizeof(text));
	fflush(stdout);
	fprintf(stderr, "%s\n", text);
	return EXIT_PROBLEM;
}

/* ---- exports ---- */

static void print_entry(const struct export_entry *e)
{
	char text[512], fsid[40];
	struct stat st;

	export_fsid_format(&e->fsid, fsid, sizeof(fsid));
	printf("%s\n", e->path);
	printf("    defined at %s:%u\n", e->file, e->line);
	printf("    backend=%s%s%s%s%s\n", e->backend, fsid[0] ? ",fsid=" : "", fsid,
	       e->mountpoint ? ",mountpoint=" : "", e->mountpoint ? e->mountpoint : "");
	for (unsigned i = 0; i < export_client_count(e); i++) {
		const struct export_options *options;
		const char *client = export_client_get(e, i, &options);

		export_options_format(options, text, sizeof(text));
		printf("    %s(%s)\n", client, text);
	}
	if (strcmp(e->backend, "vfs") != 0)
		return;
	if (stat(e->path, &st) != 0 || !S_ISDIR(st.st_mode))
		printf("    note: there is no such directory on this machine\n");
	else if (!export_is_mounted(e))
		printf("    note: nothing is mounted at %s, so it is not exported\n",
		       e->mountpoint);
}

static int check_exports(const struct exports_defaults *defaults, const char *const *paths,
			 unsigned npaths)
{
	struct exports *exports;
	struct config_error err;

	if (exports_load_with(defaults, paths, npaths, &exports, &err) != 0)
		return report(&err);
	for (unsigned i = 0; i < exports_count(exports); i++)
		print_entry(exports_get(exports, i));
	if (!exports_count(exports))
		printf("nothing is exported\n");
	exports_free(exports);
	return EXIT_OK;
}

/* ---- atoll.conf ---- */

static void print_listen(const struct config_listen *l)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	bool v6 = l->addr.ss_family == AF_INET6;

	if (getnameinfo((const struct sockaddr *)&l->addr, l->len, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		printf("listen = %s%s%s:%s\n", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

static void print_config(const struct config *c)
{
	static const char *const levels[] = { "error", "warning", "info", "debug" };

	for (unsigned i = 0; i < c->nlisten; i++)
		print_listen(&c->listen[i]);
	for (unsigned i = 0; i < c->nexports; i++)
		printf("exports = %s\n", c->exports[i]);
	printf("lease-time = %u\n", c->lease_seconds);
	printf("state-dir = %s\n", c->state_dir);
	printf("secret-file = %s\n", c->secret_file);
	printf("log-level = %s\n", levels[c->log_level]);
	printf("loops = %u\n", c->loops);
	if (c->max_connections)
		printf("max-connections = %u\n", c->max_connections);
	printf("max-io-size = %u\n", c->max_io);
	printf("cache-time = %u\n", c->cache_seconds);
	for (unsigned minor = 0; minor < 3; minor++)
		printf("vers4.%u = %s\n", minor, c->minor_versions & (1u << minor) ? "yes" : "no");
	printf("rpcbind = %s\n", c->rpcbind ? "yes" : "no");
	printf("utf8-names = %s\n", c->utf8_names ? "yes" : "no");
}

static int check_config(const char *path)
{
	struct config_error err;
	struct exports_defaults defaults;
	const char **paths;
	struct config *c;
	unsigned n = 0;
	int status;

	if (config_load(path, &c, &err) != 0)
		return report(&err);
	print_config(c);
	defaults = (struct exports_defaults){ .utf8_names = c->utf8_names };
	paths = calloc(c->nexports, sizeof(*paths));
	for (unsigned i = 0; paths && i < c->nexports; i++)
		if (!c->exports_default || access(c->exports[i], F_OK) == 0)
			paths[n++] = c->exports[i];
	if (!paths) {
		config_error_nomem(&err);
		status = report(&err);
	} else {
		status = check_exports(&defaults, paths, n);
	}
	free(paths);
	config_free(c);
	return status;
}

/* ---- which of the two ---- */

/* Does the first line that says anything begin a section? */
static bool begins_section(const char *path)
{
	char line[1024];
	bool section = false;
	FILE *f = fopen(path, "re");

	while (f && fgets(line, sizeof(line), f)) {
		const char *p = line + strspn(line, " \t\r\n");

		if (!*p || *p == '#' || *p == ';')
			continue;
		section = *p == '[';
		break;
	}
	if (f)
		fclose(f);
	return section;
}

static bool is_config(const char *path)
{
	size_t len = strlen(path);
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return false;
	return (len > 5 && strcmp(path + len - 5, ".conf") == 0) || begins_section(path);
}

int admin_check(int argc, char **argv)
{
	static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
	int opt, status = EXIT_OK;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt != 'h')
			return EXIT_USAGE;
		fputs(usage_text, stdout);
		return EXIT_OK;
	}
	if (optind == argc) {
		fputs(usage_text, stderr);
		return EXIT_USAGE;
	}
	for (int i = optind; i < argc; i++) {
		const char *path = argv[i];
		int one = is_config(path) ? check_config(path) : check_exports(NULL, &path, 1);

		if (one != EXIT_OK)
			status = one;
	}
	return status;
}

/*
 * `atoll status`, `clients`, `sessions`, `locks`, `exports`, `reload`, `nodes`, `addresses`, `drain`,
 * `undrain`: questions to a running daemon. The daemon answers in JSON; here it is printed as it is (--json), or as a table that a
 * row of `views` describes.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/control.h"
#include "base/compiler.h"

#define COLUMNS_MAX 10

/* A table: the array of the answer that has its rows, and which members are its columns. */
struct view {
	const char *command, *summary;
	const char *rows; /* NULL: the answer itself, a line a member */
	const char *columns[COLUMNS_MAX];
	bool wants_node; /* its one word is a node's number, not a directory */
};

static const struct view views[] = {
	{ "status", "Whether the server runs, and how much its clients hold.", NULL, { 0 } },
	{ "clients",
	  "The clients that the server knows. `home' is the node that a client's requests reach (1\n"
	  "without a cluster), `silent_ms' how long this node has not heard of it.",
	  "clients",
	  { "client", "home", "name", "sessions", "opens", "locks", "delegations", "silent_ms" } },
	{ "sessions",
	  "The sessions of clients that mount with NFSv4.1 and 4.2.",
	  "sessions",
	  { "session", "client", "minor_version", "slots", "connections", "back_channel" } },
	{ "locks",
	  "What clients have open, locked or delegated, and in which file.",
	  "locks",
	  { "kind", "client", "type", "access", "deny", "first", "last", "file" } },
	{ "exports", "The exports in force, and who gets them how.", "exports", { 0 } },
	{ "reload", "Has the server read the exports again. Clients keep what they hold.", NULL, { 0 } },
	{ "nodes",
	  "The nodes of the cluster that this server belongs to. `behind' is by how many changes a node is "
	  "behind this one, as far as it has said.",
	  "nodes",
	  { "node", "self", "phase", "drained", "addresses", "behind", "heard_ms" } },
	{ "addresses",
	  "The cluster's virtual addresses, and which node holds which.",
	  "addresses",
	  { "address", "node", "moves_to", "connections" } },
	{ "drain",
	  "Moves a node's virtual addresses, and with them its clients, to the other nodes, and waits until "
	  "that is done. It gets none until it is undrained, whatever happens to it meanwhile.",
	  NULL,
	  { 0 },
	  true },
	{ "undrain", "Lets a drained node have virtual addresses again.", NULL, { 0 }, true },
};

struct request {
	const struct view *view;
	const char *dir, *state, *config;
	const char *most, *node;
	bool json;
};

static void print_usage(FILE *to, const struct view *v)
{
	fprintf(to,
		"usage: atoll %s %s [--state DIR] [--config FILE]%s [--json]\n"
		"\n"
		"%s\n"
		"\n"
		"%s"
		"  --state DIR    the server's state directory\n"
		"  --config FILE  the server's configuration; default " ADMIN_DEFAULT_CONFIG "\n",
		v->command, v->wants_node ? "NODE" : "[DIR]", v->columns[0] ? " [--limit N]" : "",
		v->summary,
		v->wants_node ? "  NODE           its number, as `atoll nodes' shows it\n"
			      : "  DIR            the directory that `atoll serve DIR' serves; default: "
				"the system's atolld\n");
	if (v->columns[0])
		fputs("  --limit N      at most N entries; default 10000\n", to);
	fputs("  --json         for programs\n", to);
}

/* ---- tables ---- */

/* A value as a person reads it; `buf` has 32 bytes. */
static const char *text_of(const json_t *value, char *buf)
{
	if (json_is_string(value))
		return *json_string_value(value) ? json_string_value(value) : "-";
	if (json_is_integer(value)) {
		snprintf(buf, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
		return buf;
	}
	if (json_is_boolean(value))
		return json_is_true(value) ? "yes" : "no";
	return "-";
}

static void print_table(const struct view *v, const json_t *rows)
{
	int width[COLUMNS_MAX];
	const json_t *row;
	char buf[32];
	size_t i;

	for (int c = 0; c < COLUMNS_MAX && v->columns[c]; c++) {
		width[c] = (int)strlen(v->columns[c]);
		json_array_foreach(rows, i, row) {
			int len =
			    (int)strlen(text_of(json_object_get(row, v->columns[c]), buf));

			width[c] = len > width[c] ? len : width[c];
		}
	}
	for (int c = 0; c < COLUMNS_MAX && v->columns[c]; c++)
		printf("%s%-*s", c ? "  " : "", v->columns[c + 1] ? width[c] : 0, v->columns[c]);
	putchar('\n');
	json_array_foreach(rows, i, row) {
		for (int c = 0; c < COLUMNS_MAX && v->columns[c]; c++)
			printf("%s%-*s", c ? "  " : "", v->columns[c + 1] ? width[c] : 0,
			       text_of(json_object_get(row, v->columns[c]), buf));
		putchar('\n');
	}
}

static void print_members(json_t *reply)
{
	const char *key;
	json_t *value;
	char buf[32];

	json_object_foreach(reply, key, value)
		printf("%s: %s\n", key, text_of(value, buf));
}

static void print_exports(const json_t *exports)
{
	const json_t *e, *c;
	char buf[32];
	size_t i, k;

	json_array_foreach(exports, i, e) {
		printf("%s (backend %s, fsid %s)\n",
		       json_string_value(json_object_get(e, "path")),
		       text_of(json_object_get(e, "backend"), buf),
		       text_of(json_object_get(e, "fsid"), buf));
		json_array_foreach(json_object_get(e, "clients"), k, c)
			printf("  %s(%s)\n", json_string_value(json_object_get(c, "client")),
			       json_string_value(json_object_get(c, "options")));
	}
}

static void print_reply(const struct request *r, json_t *reply)
{
	const json_t *rows = r->view->rows ? json_object_get(reply, r->view->rows) : NULL;

	if (r->json) {
		json_dumpf(reply, stdout, JSON_INDENT(2));
		putchar('\n');
		return;
	}
	if (r->view->columns[0])
		print_table(r->view, rows);
	else if (rows)
		print_exports(rows);
	else
		print_members(reply);
	if (json_is_true(json_object_get(reply, "truncated")))
		fprintf(stderr, "atoll: there are more; --limit N shows them\n");
}

/* ---- asking ---- */

static int say_failure(const char *state_dir, int rc)
{
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		fprintf(stderr, "atoll: no server runs on the state directory %s\n", state_dir);
	else if (rc == -EBADMSG)
		fprintf(stderr, "atoll: the server ended before it had answered\n");
	else
		fprintf(stderr, "atoll: cannot ask the server of %s: %s\n", state_dir,
			strerror(-rc));
	return EXIT_PROBLEM;
}

static int ask(const struct request *r, const char *state_dir)
{
	json_t *question = json_pack("{s:s}", "command", r->view->command), *reply;
	const char *error;
	int rc = question ? 0 : -ENOMEM;

	if (!rc && r->most)
		json_object_set_new(question, "limit", json_integer(atoll(r->most)));
	if (!rc && r->node)
		json_object_set_new(question, "node", json_integer(atoll(r->node)));
	if (!rc)
		rc = control_ask(state_dir, question, &reply);
	json_decref(question);
	if (rc)
		return say_failure(state_dir, rc);
	error = json_string_value(json_object_get(reply, "error"));
	if (error)
		fprintf(stderr, "atoll: %s\n", error);
	else
		print_reply(r, reply);
	rc = error ? EXIT_PROBLEM : EXIT_OK;
	json_decref(reply);
	return rc;
}

static int usage_error(const struct view *v, const char *what)
{
	fprintf(stderr, "atoll: %s\n\n", what);
	print_usage(stderr, v);
	return EXIT_USAGE;
}

static const struct view *find_view(const char *command)
{
	for (size_t i = 0; i < ARRAY_SIZE(views); i++)
		if (strcmp(views[i].command, command) == 0)
			return &views[i];
	return NULL;
}

static bool is_limit(const char *text)
{
	return *text && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 9;
}

/* EXIT_OK: go on; -1: --help; else an exit status. */
static int parse(int argc, char **argv, struct request *r)
{
	static const struct option options[] = {
		{ "state", required_argument, NULL, 's' },
		{ "config", required_argument, NULL, 'c' },
		{ "limit", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	char message[120];
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, "hc:n:", options, NULL)) != -1) {
		if (opt == 'h')
			return -1;
		else if (opt == 's')
			r->state = optarg;
		else if (opt == 'c')
			r->config = optarg;
		else if (opt == 'n')
			r->most = optarg;
		else if (opt == 'j')
			r->json = true;
		else {
			snprintf(message, sizeof(message),
				 "found `%.60s'; expected an option that exists, with its value",
				 argv[optind - 1]);
			return usage_error(r->view, message);
		}
	}
	if (r->most && (!r->view->columns[0] || !is_limit(r->most)))
		return usage_error(r->view, "--limit: expected a number, and a listing");
	if (r->view->wants_node) {
		r->node = optind < argc ? argv[optind++] : "";
		if (!is_limit(r->node))
			return usage_error(r->view, "expected a node's number");
	}
	r->dir = optind < argc && !r->node ? argv[optind++] : NULL;
	if (optind < argc || (r->dir != NULL) + (r->state != NULL) + (r->config != NULL) > 1)
		return usage_error(r->view, "expected one of DIR, --state and --config");
	return EXIT_OK;
}

int admin_show(int argc, char **argv)
{
	struct request r = { .view = find_view(argv[0]) };
	int rc = parse(argc, argv, &r);
	char *state_dir;

	if (rc == -1) {
		print_usage(stdout, r.view);
		return EXIT_OK;
	}
	if (rc != EXIT_OK)
		return rc;
	state_dir = admin_state_dir(r.dir, r.state, r.config);
	if (!state_dir)
		return EXIT_PROBLEM;
	rc = ask(&r, state_dir);
	free(state_dir);
	return rc;
}

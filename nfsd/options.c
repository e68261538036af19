#include "nfsd/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

#define DEFAULT_CONFIG "/etc/atoll.conf"
#define SERVE_STATE    "/var/lib/atoll"

static const char usage_text[] =
    "usage: atolld [-c FILE] [--log-level LEVEL]\n"
    "       atolld --serve DIR [options of `atoll serve']\n"
    "\n"
    "The NFSv4 server. It stays in the foreground and ends on SIGINT and SIGTERM; SIGHUP\n"
    "reads the exports again.\n"
    "\n"
    "  -c, --config FILE     settings; default " DEFAULT_CONFIG " if it exists\n"
    "      --log-level LEVEL error, warning, info or debug\n"
    "      --drop-addresses  remove the cluster's virtual addresses from this machine and end: for\n"
    "                        when the server has been killed\n"
    "      --serve           serve one directory without any file; see atoll(8)\n"
    "      --help            this text\n"
    "      --version         the version\n";

enum {
	OPT_SERVE = 256,
	OPT_LISTEN,
	OPT_PORT,
	OPT_ALLOW,
	OPT_RO,
	OPT_NO_ROOT_SQUASH,
	OPT_INSECURE,
	OPT_ASYNC,
	OPT_LEASE,
	OPT_GRACE,
	OPT_CACHE,
	OPT_STATE,
	OPT_BACKEND,
	OPT_NO_DELEGATIONS,
	OPT_RPCBIND,
	OPT_DROP_ADDRESSES,
	OPT_LOG_LEVEL,
	OPT_HELP,
	OPT_VERSION
};

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "serve", no_argument, NULL, OPT_SERVE },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "port", required_argument, NULL, OPT_PORT },
	{ "allow", required_argument, NULL, OPT_ALLOW },
	{ "ro", no_argument, NULL, OPT_RO },
	{ "no-root-squash", no_argument, NULL, OPT_NO_ROOT_SQUASH },
	{ "insecure", no_argument, NULL, OPT_INSECURE },
	{ "async", no_argument, NULL, OPT_ASYNC },
	{ "lease", required_argument, NULL, OPT_LEASE },
	{ "grace", required_argument, NULL, OPT_GRACE },
	{ "cache-time", required_argument, NULL, OPT_CACHE },
	{ "state", required_argument, NULL, OPT_STATE },
	{ "backend", required_argument, NULL, OPT_BACKEND },
	{ "no-delegations", no_argument, NULL, OPT_NO_DELEGATIONS },
	{ "rpcbind", no_argument, NULL, OPT_RPCBIND },
	{ "drop-addresses", no_argument, NULL, OPT_DROP_ADDRESSES },
	{ "log-level", required_argument, NULL, OPT_LOG_LEVEL },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ 0 },
};

/* What getopt found, before it is given a meaning. */
struct command_line {
	bool serve, serve_only; /* serve_only: an option that needs --serve was given */
	const char *config_file, *log_level;
	const char *state, *backend;
	const char *port, *lease, *grace, *cache;
	const char **listen;
	unsigned nlisten;
	bool read_only, no_root_squash, insecure, async, no_delegations, rpcbind;
	struct daemon_options *o; /* allow goes there at once */
};

/* One clear line and exit status `code`. */
static int fail(int *status, int code, const char *message)
{
	log_error("%s", message);
	*status = code;
	return -1;
}

static int usage_error(int *status, const char *message)
{
	fail(status, 2, message);
	fputs("Try `atoll serve --help' or `atolld --help'.\n", stderr);
	return -1;
}

static int config_failure(int *status, int code, const struct config_error *err)
{
	char text[600];

	config_error_format(err, text, sizeof(text));
	return fail(status, code, text);
}

/* ---- the words ---- */

static void take_option(struct command_line *cl, int opt, const char *arg)
{
	cl->serve_only |= opt >= OPT_LISTEN && opt <= OPT_RPCBIND;
	switch (opt) {
	case 'c':
		cl->config_file = arg;
		break;
	case OPT_SERVE:
		cl->serve = true;
		break;
	case OPT_LISTEN:
		cl->listen[cl->nlisten++] = arg;
		break;
	case OPT_PORT:
		cl->port = arg;
		break;
	case OPT_ALLOW:
		cl->o->allow[cl->o->nallow++] = arg;
		break;
	case OPT_RO:
		cl->read_only = true;
		break;
	case OPT_NO_ROOT_SQUASH:
		cl->no_root_squash = true;
		break;
	case OPT_INSECURE:
		cl->insecure = true;
		break;
	case OPT_ASYNC:
		cl->async = true;
		break;
	case OPT_LEASE:
		cl->lease = arg;
		break;
	case OPT_GRACE:
		cl->grace = arg;
		break;
	case OPT_CACHE:
		cl->cache = arg;
		break;
	case OPT_STATE:
		cl->state = arg;
		break;
	case OPT_BACKEND:
		cl->backend = arg;
		break;
	case OPT_NO_DELEGATIONS:
		cl->no_delegations = true;
		break;
	case OPT_RPCBIND:
		cl->rpcbind = true;
		break;
	case OPT_DROP_ADDRESSES:
		cl->o->drop_addresses = true;
		break;
	case OPT_LOG_LEVEL:
		cl->log_level = arg;
		break;
	}
}

/* -1 with *status set for everything that ends here. */
static int read_words(int argc, char **argv, struct command_line *cl, int *status)
{
	char message[200];
	int opt;

	opterr = 0;
	while ((opt = getopt_long(argc, argv, ":c:", long_options, NULL)) != -1) {
		if (opt == OPT_HELP || opt == OPT_VERSION) {
			fputs(opt == OPT_HELP ? usage_text : "atolld " ATOLL_VERSION "\n", stdout);
			*status = fflush(stdout) == 0 ? 0 : 1;
			return -1;
		}
		if (opt == '?' || opt == ':') {
			snprintf(message, sizeof(message),
				 opt == '?' ? "found the option `%.80s'; expected one that exists"
					    : "option %.80s: found no value; expected one",
				 argv[optind - 1]);
			return usage_error(status, message);
		}
		take_option(cl, opt, optarg);
	}
	return 0;
}

/* ---- --serve ---- */

static int set_key(struct config *c, const char *option, const char *key, const char *value,
		   int *status)
{
	struct config_error err;
	char text[400];
	bool names_key;

	if (!value || config_set(c, key, value, &err) == 0)
		return 0;
	/* The message begins with the key; people know the option. */
	names_key = strncmp(err.message, key, strlen(key)) == 0;
	snprintf(text, sizeof(text), "%s%s", names_key ? option : "",
		 err.message + (names_key ? strlen(key) : 0));
	return usage_error(status, text);
}

/* -1 with *status and a message unless `dir` can be served. */
static int resolve_directory(struct daemon_options *o, const char *dir, int *status)
{
	char message[PATH_MAX + 100];
	struct stat st;

	o->serve_dir = realpath(dir, NULL);
	if (o->serve_dir && stat(o->serve_dir, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	snprintf(message, sizeof(message), "cannot serve %s: %s; give a directory that exists", dir,
		 o->serve_dir ? strerror(ENOTDIR) : strerror(errno));
	return fail(status, 1, message);
}

/*
 * The state directory, malloc'ed. Every served directory has one of its own by default, the
 * same next time: the handles that clients hold are to be good after a restart.
 */
static char *state_dir(const struct command_line *cl)
{
	static const struct siphash_key fixed = { 0 };
	const char *dir = cl->o->serve_dir;
	char *path, *cwd;
	int n;

	if (cl->state && cl->state[0] == '/')
		return strdup(cl->state);
	if (!cl->state) {
		n = asprintf(&path, SERVE_STATE "/serve-%016llx",
			     (unsigned long long)siphash(&fixed, dir, strlen(dir)));
		return n < 0 ? NULL : path;
	}
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return NULL;
	n = asprintf(&path, "%s/%s", cwd, cl->state);
	free(cwd);
	return n < 0 ? NULL : path;
}

static int set_listen(struct config *c, const struct command_line *cl, int *status)
{
	int rc = 0;

	for (unsigned i = 0; i < cl->nlisten && !rc; i++)
		rc = set_key(c, "--listen", "listen", cl->listen[i], status);
	/* Nothing said: this machine only. Clients named, but no address: all addresses. */
	if (!rc && !cl->nlisten && !cl->o->nallow)
		rc = set_key(c, "--listen", "listen", "127.0.0.1,::1", status);
	return rc;
}

/* The options within the parentheses of the export that --serve stands for. */
static int make_export_options(const struct command_line *cl, char **out)
{
	return asprintf(out, "fsid=0,crossmnt,%s,%s,%s%s%s%s", cl->read_only ? "ro" : "rw",
			cl->no_root_squash ? "no_root_squash" : "root_squash",
			cl->insecure ? "insecure" : "secure", cl->async ? ",async" : "",
			cl->backend ? ",backend=" : "", cl->backend ? cl->backend : "");
}

/* Are --allow and --backend such as exports(5) takes? */
static int check_exports(const struct daemon_options *o, int *status)
{
	struct exports *exports;
	struct config_error err;

	if (daemon_options_exports(o, &exports, &err) != 0)
		return usage_error(status, err.message);
	exports_free(exports);
	return 0;
}

static int configure_serve(struct command_line *cl, const char *dir, int *status)
{
	struct daemon_options *o = cl->o;
	struct config *c = o->config;
	char *state;
	int rc;

	if (resolve_directory(o, dir, status) != 0)
		return -1;
	if (set_listen(c, cl, status) != 0 || set_key(c, "--port", "port", cl->port, status) != 0 ||
	    set_key(c, "--lease", "lease-time", cl->lease, status) != 0 ||
	    set_key(c, "--grace", "grace-time", cl->grace, status) != 0 ||
	    set_key(c, "--cache-time", "cache-time", cl->cache, status) != 0 ||
	    set_key(c, "--no-delegations", "delegations", cl->no_delegations ? "no" : "yes",
		    status) != 0 ||
	    set_key(c, "--rpcbind", "rpcbind", cl->rpcbind ? "yes" : "no", status) != 0)
		return -1;
	state = state_dir(cl);
	rc = state ? set_key(c, "--state", "state-dir", state, status)
		   : fail(status, 1, "cannot find a directory for the state: give --state");
	free(state);
	if (rc)
		return rc;
	if (make_export_options(cl, &o->serve_options) < 0) {
		o->serve_options = NULL;
		return fail(status, 1, "out of memory");
	}
	if (!o->nallow)
		o->allow[o->nallow++] = "*";
	return check_exports(o, status);
}

/* ---- the whole ---- */

static int configure_file(struct command_line *cl, int *status)
{
	struct daemon_options *o = cl->o;
	const char *file = cl->config_file;
	struct config_error err;

	if (cl->serve_only)
		return usage_error(status, "found an option of --serve without it");
	if (!file && access(DEFAULT_CONFIG, F_OK) == 0)
		file = DEFAULT_CONFIG;
	if (!file)
		return 0;
	config_free(o->config);
	o->config = NULL;
	return config_load(file, &o->config, &err) ? config_failure(status, 1, &err) : 0;
}

static int configure(struct command_line *cl, int argc, char **argv, int *status)
{
	struct daemon_options *o = cl->o;
	struct config_error err;

	if (argc - optind != (cl->serve ? 1 : 0))
		return usage_error(status, cl->serve && argc == optind
					       ? "found no directory; expected one to serve"
					   : cl->serve
					       ? "found several directories; expected one"
					       : "found a word without an option before it");
	if (cl->serve && cl->config_file)
		return usage_error(status, "found --serve and --config; expected one of them");
	if (cl->serve ? configure_serve(cl, argv[optind], status) : configure_file(cl, status))
		return -1;
	if (!o->config->nlisten && config_finish(o->config, &err) != 0)
		return config_failure(status, 2, &err);
	if (cl->log_level && log_level_parse(cl->log_level, &o->config->log_level) != 0)
		return usage_error(status, "option --log-level: expected error, warning, info or "
					   "debug");
	return 0;
}

int daemon_options_parse(int argc, char **argv, struct daemon_options *o, int *status)
{
	struct command_line cl = { .o = o };
	int rc = -1;

	*o = (struct daemon_options){ .config = config_new() };
	o->allow = calloc((size_t)argc + 1, sizeof(*o->allow));
	cl.listen = calloc((size_t)argc + 1, sizeof(*cl.listen));
	if (!o->config || !o->allow || !cl.listen)
		fail(status, 1, "out of memory");
	else if (read_words(argc, argv, &cl, status) == 0)
		rc = configure(&cl, argc, argv, status);
	free(cl.listen);
	if (rc)
		daemon_options_free(o);
	return rc;
}

void daemon_options_free(struct daemon_options *o)
{
	config_free(o->config);
	free(o->serve_dir);
	free(o->serve_options);
	free(o->allow);
	*o = (struct daemon_options){ 0 };
}

/* ---- exports ---- */

static int serve_exports(const struct daemon_options *o, struct exports **out,
			 struct config_error *err)
{
	struct exports *x = exports_new();
	int rc = 0;

	if (!x)
		return config_error_nomem(err);
	for (unsigned i = 0; i < o->nallow && !rc; i++)
		rc = exports_add(x, o->serve_dir, o->allow[i], o->serve_options, err);
	if (rc)
		exports_free(x);
	else
		*out = x;
	return rc;
}

/* The default files need not exist; those that somebody wrote down must. */
static unsigned existing_paths(const struct config *c, const char **paths)
{
	unsigned n = 0;

	for (unsigned i = 0; i < c->nexports; i++)
		if (!c->exports_default || access(c->exports[i], F_OK) == 0)
			paths[n++] = c->exports[i];
	return n;
}

int daemon_options_exports(const struct daemon_options *o, struct exports **out,
			   struct config_error *err)
{
	const struct config *c = o->config;
	struct exports_defaults defaults = { .utf8_names = c->utf8_names };
	const char **paths;
	int rc;

	if (o->serve_dir)
		return serve_exports(o, out, err);
	paths = calloc(c->nexports, sizeof(*paths));
	if (!paths)
		return config_error_nomem(err);
	rc = exports_load_with(&defaults, paths, existing_paths(c, paths), out, err);
	free(paths);
	if (!rc)
		exports_drop_unmounted(*out);
	return rc;
}

/*
 * The bench: starts the servers, runs the rows, writes the reports.
 *
 * A row is a workload, asked by somebody, at a number of connections and a depth. Its teams
 * (Atoll's, the peer's, and the limit: echo or stream) stand ready together and run in turns, a
 * short time each, in alternating order; what is reported is the median over the rounds. So
 * whatever else the machine does, it does to all of them.
 *
 * The servers are idle while it is not their turn: only one team runs at any time.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/lab.h"
#include "tests/bench/result.h"
#include "tests/bench/scale.h"
#include "tests/bench/tree.h"

#define ROUNDS_MAX	99u
#define USER_UID	1000u
#define STREAM_ROUNDS	3u

enum { OURS, PEER, SIDES };

struct options {
	double seconds;
	unsigned rounds, threads;
	bool quick, no_peer, no_atoll, no_limits;
	bool scaling, async;
	unsigned others, stages;
	const char *who; /* root, user, or NULL: both */
	const char *peer;
	pid_t peer_pid;
	const char *atoll, *image_dir, *out_dir;
	const struct workload *chosen[32];
	unsigned n_chosen;
};

struct side {
	bool there;
	struct server server;
	struct tree *tree;
};

/* Connections that stand ready for a row. */
struct team {
	const struct side *side;
	struct conn *conns;
	unsigned n;
	bool ok;
};

static struct options options;
static struct result result;
static struct side sides[SIDES];
static struct server echoes[2], streams;
static bool failures;

static const struct stat_of {
	size_t offset;
} stats[] = {
	{ offsetof(struct figures, rate) },	  { offsetof(struct figures, p50) },
	{ offsetof(struct figures, p99) },	  { offsetof(struct figures, cpu) },
	{ offsetof(struct figures, client_cpu) }, { offsetof(struct figures, requests) },
	{ offsetof(struct figures, fair) },	  { offsetof(struct figures, delays) },
};

/* ---- figures ---- */

static double at(const struct figures *g, const struct stat_of *which)
{
	double v;

	memcpy(&v, (const char *)g + which->offset, sizeof(v));
	return v;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The median of every figure by itself. */
static void median(const struct figures *rounds, unsigned n, struct figures *out)
{
	for (size_t i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
		double values[ROUNDS_MAX], v;

		for (unsigned k = 0; k < n; k++)
			values[k] = at(&rounds[k], &stats[i]);
		qsort(values, n, sizeof(values[0]), compare);
		v = (values[(n - 1) / 2] + values[n / 2]) / 2;
		memcpy((char *)out + stats[i].offset, &v, sizeof(v));
	}
	out->known = true;
}

static void to_figures(const struct load_result *r, struct figures *g)
{
	double units = (double)r->total.units;

	if (units < 1)
		units = 1;
	g->known = true;
	g->rate = (double)r->total.units / r->seconds;
	g->p50 = hist_quantile(&r->total.latency, 0.50) / 1e3;
	g->p99 = hist_quantile(&r->total.latency, 0.99) / 1e3;
	g->cpu = r->server_cpu < 0 ? -1 : r->server_cpu / units / 1e3;
	g->client_cpu = r->client_cpu / units / 1e3;
	g->requests = (double)r->total.requests / units;
	g->fair = r->units_max > 0 ? (double)r->units_min / (double)r->units_max : 0;
	g->delays = (double)r->total.delays / units;
}

/* ---- teams ---- */

static int team_open(struct team *t, const struct server *server, struct tree *tree,
		     const struct workload *w, const struct config *config, const struct cred *cred,
		     char error[200])
{
	t->n = config->conns;
	t->conns = calloc(t->n, sizeof(t->conns[0]));
	if (!t->conns) {
		snprintf(error, 200, "out of memory");
		return -1;
	}
	for (unsigned i = 0; i < t->n; i++)
		t->conns[i].fd = -1;
	for (unsigned i = 0; i < t->n; i++) {
		struct conn *c = &t->conns[i];

		c->index = i;
		c->workload = w;
		c->tree = tree;
		if (conn_open(c, &server->addr, cred, config->depth, w->raw) || w->open(c)) {
			snprintf(error, 200, "setting up: %.180s", c->error);
			return -1;
		}
	}
	t->ok = true;
	return 0;
}

static int team_close(struct team *t, char error[200])
{
	int ret = 0;

	for (unsigned i = 0; t->conns && i < t->n; i++) {
		struct conn *c = &t->conns[i];

		if (t->ok && !c->error[0] && c->workload->close(c) && ret == 0) {
			snprintf(error, 200, "%.190s", c->error);
			ret = -1;
		}
		/* A server that may hang is not told of each connection's end. */
		if (!t->ok)
			c->clientid = 0;
		free(c->priv);
		conn_close(c);
	}
	free(t->conns);
	t->conns = NULL;
	t->ok = false;
	return ret;
}

static int team_run(struct team *t, const struct server *server, const struct config *config,
		    double seconds, struct load_result *r, char error[200])
{
	const struct load_how how = { .seconds = seconds,
				      .threads = options.threads,
				      .batched = config->batched };
	double before = lab_cpu(server);

	if (load_run(t->conns, t->n, &how, r, error)) {
		t->ok = false;
		return -1;
	}
	r->server_cpu = before < 0 ? -1 : lab_cpu(server) - before;
	return 0;
}

/* ---- limits ---- */

/* The better echo loop at each configuration. */
static struct server *best_echo[CONFIGS_MAX];

static int echo_run(struct server *server, const struct config *config, double seconds,
		    struct load_result *r, char error[200])
{
	struct team team = { 0 };
	int ret = team_open(&team, server, NULL, &echo_workload, config, NULL, error) ||
		  team_run(&team, server, config, seconds, r, error);

	team_close(&team, error);
	return ret ? -1 : 0;
}

static void choose_echo(unsigned config)
{
	struct load_result *r = malloc(sizeof(*r));
	double best = -1;
	char error[200] = "";

	best_echo[config] = &echoes[0];
	echo_sizes = (struct echo_sizes){ 44, 28 };
	for (unsigned round = 0; r && round < 2; round++) {
		for (unsigned i = 0; i < 2; i++) {
			if (echo_run(&echoes[i], &result.configs[config], options.seconds / 2, r,
				     error))
				fprintf(stderr, "bench: echo: %s\n", error);
			else if ((double)r->total.units / r->seconds > best) {
				best = (double)r->total.units / r->seconds;
				best_echo[config] = &echoes[i];
			}
		}
	}
	free(r);
}

/* Is it one of these names, with blanks between them? */
static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (*list) {
		size_t word = strcspn(list, " ");

		if (word == len && strncmp(list, name, len) == 0)
			return true;
		list += word + strspn(list + word, " ");
	}
	return false;
}

/* Streams by the ways that a workload's limit names; the best rate and the least CPU time of them. */
static int limit_streams(const struct row *row, struct load_result *r, struct figures *g)
{
	struct figures one = { 0 };

	g->p50 = g->p99 = -1; /* nothing is asked, nothing answered */
	for (unsigned i = 0; i < stream_ways_count; i++) {
		if (!listed(row->workload->limit, stream_ways[i].name))
			continue;
		if (stream_run(&streams, &stream_ways[i], row->config->conns, options.seconds, r,
			       g->error))
			return -1;
		to_figures(r, &one);
		if (!g->known || one.cpu < g->cpu)
			g->cpu = one.cpu;
		if (!g->known || one.rate > g->rate)
			g->rate = one.rate;
		g->known = true;
	}
	return 0;
}

/* As many echoes as the unit has requests; `like` are figures of a server in this row. */
static int limit_echo(const struct row *row, const struct figures *like, struct load_result *r,
		      struct figures *g)
{
	if (echo_run(best_echo[row->config - result.configs], row->config, options.seconds, r,
		     g->error))
		return -1;
	to_figures(r, g);
	if (like->requests > 0) {
		g->rate /= like->requests;
		g->cpu *= like->requests;
		g->client_cpu *= like->requests;
	}
	return 0;
}

/* The limit of a row for one round. */
static int limit_run(const struct row *row, const struct figures *like, struct figures *g)
{
	struct load_result *r = malloc(sizeof(*r));
	int ret;

	memset(g, 0, sizeof(*g));
	if (!r) {
		snprintf(g->error, sizeof(g->error), "out of memory");
		return -1;
	}
	if (strcmp(row->workload->limit, "echo") == 0)
		ret = limit_echo(row, like, r, g);
	else
		ret = limit_streams(row, r, g);
	free(r);
	return ret;
}

/* All ways in turn, as the rows do it. */
static void measure_streams_at(unsigned conns, struct load_result *r)
{
	const unsigned rounds = options.rounds < STREAM_ROUNDS ? options.rounds : STREAM_ROUNDS;
	struct figures g[STREAM_WAYS_MAX][STREAM_ROUNDS], middle;
	unsigned n[STREAM_WAYS_MAX] = { 0 };
	char error[200] = "";

	for (unsigned k = 0; k < rounds * stream_ways_count; k++) {
		unsigned way = k % stream_ways_count;

		if (stream_run(&streams, &stream_ways[way], conns, options.seconds, r, error)) {
			fprintf(stderr, "bench: %s\n", error);
			failures = true;
			continue;
		}
		to_figures(r, &g[way][n[way]++]);
	}
	for (unsigned way = 0; way < stream_ways_count; way++) {
		if (n[way] == 0 || result.n_streams == STREAMS_MAX)
			continue;
		median(g[way], n[way], &middle);
		result.streams[result.n_streams++] =
		    (struct stream_figure){ &stream_ways[way], conns, middle.rate, middle.cpu };
	}
}

static void measure_streams(void)
{
	struct load_result *r = malloc(sizeof(*r));

	for (unsigned i = 0; r && i < result.n_configs; i++) {
		bool again = false;

		for (unsigned k = 0; k < i; k++)
			again = again || result.configs[k].conns == result.configs[i].conns;
		if (!again)
			measure_streams_at(result.configs[i].conns, r);
	}
	free(r);
}

/* The cost, in us, of a raw system call or, per MiB, of a stream; negative if not known. */
static double cost_of(const char *name, size_t len, unsigned conns)
{
	for (const struct raw_cost *c = result.raw; c && c->name; c++) {
		if (strlen(c->name) == len && strncmp(c->name, name, len) == 0)
			return c->us;
	}
	for (unsigned i = 0; i < result.n_streams; i++) {
		const struct stream_figure *s = &result.streams[i];

		if (s->conns == conns && strlen(s->way->name) == len &&
		    strncmp(s->way->name, name, len) == 0)
			return s->cpu;
	}
	return -1;
}

/* The least CPU time a unit can cost: the limit's, and the system calls of the workload's floor. */
static double floor_of(const struct row *row)
{
	const char *p = row->workload->floor;
	double sum = row->limit.cpu;

	if (!row->limit.known || sum < 0 || !result.raw)
		return -1;
	while (p && *p) {
		size_t len = strcspn(p, " ");
		double us = cost_of(p, len, 0);

		if (us < 0)
			return -1;
		sum += us;
		p += len + strspn(p + len, " ");
	}
	return sum;
}

static void set_goals(struct row *row)
{
	const struct workload *w = row->workload;
	const struct config *c = row->config;
	double of = 0;

	row->goal = 0;
	if (c->conns == 1 && c->depth == 1)
		row->goal = w->goal[0];
	else if (c->conns == 1 && c->depth == 16)
		row->goal = w->goal[1];
	else if (c->conns == 4 && c->depth == 8)
		row->goal = w->goal[2];
	if (w->goal_of)
		of = cost_of(w->goal_of, strlen(w->goal_of), c->conns);
	/* A single request that finds the server asleep costs a wake-up: the goals are for depth. */
	row->goal_cpu = of < 0 || c->depth == 1 ? 0 : w->goal_cpu + w->goal_factor * of;
	if (w->goal_batched && !c->batched)
		row->goal_cpu = 0;
}

/* ---- files ---- */

static FILE *output(const char *name)
{
	char path[PATH_MAX + 32];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", options.out_dir, name);
	f = fopen(path, "we");
	if (!f)
		fprintf(stderr, "bench: %s: %s\n", path, strerror(errno));
	return f;
}

/* A whole file at any time: what was measured so far is not lost with what comes next. */
static int write_json(void)
{
	char new[PATH_MAX + 32], path[PATH_MAX + 32];
	FILE *f = output("bench.json.new");
	int err;

	if (!f)
		return -1;
	report_json(f, &result);
	err = ferror(f);
	err |= fclose(f);
	snprintf(new, sizeof(new), "%s/bench.json.new", options.out_dir);
	snprintf(path, sizeof(path), "%s/bench.json", options.out_dir);
	if (err || rename(new, path) != 0) {
		fprintf(stderr, "bench: %s: %s\n", path, strerror(errno));
		return -1;
	}
	return 0;
}

static int write_svg(void)
{
	FILE *svg = output("bench.svg");

	if (!svg)
		return -1;
	plot_svg(svg, &result);
	return fclose(svg);
}

/* ---- servers ---- */

static int start_server(unsigned which)
{
	struct server *s = &sides[which].server;

	if (which == OURS)
		return lab_start_atoll(s, options.atoll, options.out_dir, options.async,
				       options.scaling ? SCALE_CACHE_TIME : NULL);
	if (options.peer)
		return lab_use_peer(s, options.peer, options.peer_pid ? options.peer_pid : -1);
	return lab_start_ganesha(s, options.out_dir);
}

static int start_side(unsigned which)
{
	struct side *side = &sides[which];

	if (start_server(which))
		return -1;
	if (!side->tree)
		side->tree = malloc(sizeof(*side->tree));
	if (!side->tree)
		return -1;
	*side->tree = (struct tree){ .addr = side->server.addr, .path = side->server.path };
	side->there = true;
	return 0;
}

/*
 * After a row that failed: a server of ours may have crashed, hang, or have been left with wrong
 * data, and the next rows are not to suffer from it. Of a server that is not ours only the data are
 * written anew.
 */
static void side_again(unsigned which)
{
	struct side *side = &sides[which];

	if (!side->server.ours) {
		side->tree->data_files = 0;
		return;
	}
	side->there = false;
	lab_stop(&side->server);
	if (start_side(which))
		fprintf(stderr, "bench: %s has no further rows\n", side->server.name);
	else
		fprintf(stderr, "bench: %s was started anew\n", side->server.name);
}

/* ---- rows ---- */

/* Echoes of the same sizes as the row's requests and replies on average. */
static void take_sizes(const struct load_result *r)
{
	double requests = (double)r->total.requests;

	if (requests < 1)
		return;
	echo_sizes.request = (uint32_t)((double)r->total.bytes_out / requests) & ~3u;
	echo_sizes.reply = (uint32_t)((double)r->total.bytes_in / requests) & ~3u;
	if (echo_sizes.request < 12)
		echo_sizes.request = 12;
}

static int side_open(struct team *team, struct side *side, const struct row *row,
		     const struct cred *cred, struct figures *g, struct load_result *r)
{
	team->side = side;
	if (tree_prepare(side->tree, row->workload->parts, row->config->conns, g->error) ||
	    team_open(team, &side->server, side->tree, row->workload, row->config, cred,
		      g->error) ||
	    team_run(team, &side->server, row->config, options.seconds / 4, r, g->error))
		return -1;
	to_figures(r, g);
	take_sizes(r);
	return 0;
}

struct round_figures {
	struct figures of[3][ROUNDS_MAX];
	unsigned n[3];
	struct load_result scratch;
};

static void run_side(struct team *team, const struct row *row, struct figures *out,
		     struct round_figures *all, unsigned which)
{
	struct figures *g = &all->of[which][all->n[which]];

	if (!team->ok)
		return;
	if (team_run(team, &team->side->server, row->config, options.seconds, &all->scratch,
		     out->error)) {
		out->known = false;
		return;
	}
	to_figures(&all->scratch, g);
	all->n[which]++;
}

/* The limit does not depend on who asks. */
static bool limit_known(struct row *row)
{
	for (unsigned i = 0; i < result.n_rows; i++) {
		const struct row *other = &result.rows[i];

		if (other->workload == row->workload && other->config == row->config &&
		    other->limit.known) {
			row->limit = other->limit;
			return true;
		}
	}
	return false;
}

static void run_rounds(struct row *row, struct team teams[SIDES], struct round_figures *all,
		       bool with_limit)
{
	const struct figures *like = row->ours.known ? &row->ours : &row->peer;

	for (unsigned round = 0; round < options.rounds; round++) {
		for (unsigned turn = 0; turn < SIDES; turn++) {
			unsigned which = (round + turn) % 2;

			run_side(&teams[which], row, which == OURS ? &row->ours : &row->peer, all,
				 which);
		}
		if (with_limit && !row->limit.error[0]) {
			struct figures *g = &all->of[2][all->n[2]];

			if (limit_run(row, like, g))
				memcpy(row->limit.error, g->error, sizeof(g->error));
			else
				all->n[2]++;
		}
	}
}

static void run_row(struct row *row)
{
	struct figures *of[3] = { &row->ours, &row->peer, &row->limit };
	struct round_figures *all = calloc(1, sizeof(*all));
	struct team teams[SIDES] = { 0 };
	bool with_limit;
	struct cred cred;

	if (!all) {
		snprintf(row->ours.error, sizeof(row->ours.error), "out of memory");
		failures = true;
		return;
	}
	if (strcmp(row->who, "user") == 0)
		cred_user(&cred, USER_UID);
	else
		cred_root(&cred);
	for (int i = SIDES - 1; i >= 0; i--) {
		if (sides[i].there)
			side_open(&teams[i], &sides[i], row, &cred, of[i], &all->scratch);
	}
	with_limit = !options.no_limits && (teams[OURS].ok || teams[PEER].ok) && !limit_known(row);
	run_rounds(row, teams, all, with_limit);
	for (unsigned i = 0; i < SIDES; i++) {
		if (team_close(&teams[i], of[i]->error))
			all->n[i] = 0; /* figures of work that was not done right are none */
	}
	for (unsigned i = 0; i < 3; i++) {
		if (all->n[i] > 0 && !of[i]->error[0])
			median(all->of[i], all->n[i], of[i]);
		else if (i < SIDES || with_limit)
			of[i]->known = false;
		if (of[i]->error[0])
			failures = true;
		if (i < SIDES && sides[i].there && of[i]->error[0])
			side_again(i);
	}
	row->floor = floor_of(row);
	set_goals(row);
	free(all);
}

static int run_rows(FILE *table)
{
	static const char *const names[] = { "root", "user" };

	for (unsigned i = 0; i < result.n_configs; i++) {
		const struct config *config = &result.configs[i];

		if (!options.no_limits)
			choose_echo(i);
		report_config(stdout, &result, config);
		report_config(table, &result, config);
		for (unsigned k = 0; k < options.n_chosen * 2; k++) {
			const struct workload *w = options.chosen[k / 2];
			const char *who = names[k % 2];
			struct row *row = &result.rows[result.n_rows];

			if (w->anyone ? k % 2 == 1 : options.who && strcmp(options.who, who) != 0)
				continue;
			*row = (struct row){ .workload = w, .config = config };
			row->who = w->anyone ? "any" : who;
			run_row(row);
			result.n_rows++;
			report_row(stdout, &result, row);
			fflush(stdout);
			report_row(table, &result, row);
			fflush(table);
			if (write_json())
				return -1;
		}
	}
	return 0;
}

/* ---- the command line ---- */

static const char usage_text[] =
    "usage: atoll-bench [WORKLOAD...] [OPTIONS]\n"
    "       atoll-bench scaling [idle|clients|locks|objects|opens...] [--quick] [--others N]\n"
    "  --list                the workloads\n"
    "  --quick               few short runs at three configurations: an idea, no figures to keep\n"
    "  --seconds S           of each run; default 0.5, of scaling 0.2\n"
    "  --rounds N            alternated runs of each row; default 5, of scaling 15\n"
    "  --at CxD[b]           C connections, D requests in flight on each; b: those made together\n"
    "                        are sent together. May be repeated.\n"
    "                        Default: 1x1 1x16 1x16b 4x8 4x8b; with --quick 1x1 1x16b 4x8b\n"
    "  --threads N           of the load generator; default one a processor\n"
    "  --who root|user       only rows asked by root, or by an ordinary user\n"
    "  --peer HOST:PORT/EXPORT  against this server instead of a Ganesha of our own\n"
    "  --peer-pid PID        its process, if it runs on this machine: for its CPU time\n"
    "  --no-peer, --no-atoll, --no-limits   leave these out\n"
    "  --async               Atoll's export with the promise of the peer's: names may be answered\n"
    "                        before they are on stable storage\n"
    "  --atoll PROGRAM       default: ../../atoll from here\n"
    "  --image DIR           where the disk image lies; default: in memory\n"
    "  --others N            scaling: objects, opens, locks; default 1000000, with --quick 20000\n"
    "  --out DIR             where bench.txt, bench.json, bench.svg and the logs go; default: .\n";

static int usage(const char *format, const char *word)
{
	if (format) {
		fputs("bench: ", stderr);
		fprintf(stderr, "%s: %s\n", format, word);
	}
	fputs(usage_text, format ? stderr : stdout);
	return format ? 2 : 0;
}

static int add_config(const char *text)
{
	struct config *c = &result.configs[result.n_configs];
	char end[2] = "";
	int n;

	if (result.n_configs == CONFIGS_MAX)
		return usage("too many --at", text);
	n = sscanf(text, "%ux%u%1s", &c->conns, &c->depth, end);
	c->batched = n == 3 && end[0] == 'b';
	if (n < 2 || (n == 3 && !c->batched) || c->conns < 1 || c->conns > CONNS_MAX ||
	    c->depth < 1 || c->depth > DEPTH_MAX)
		return usage("--at wants CxD or CxDb, up to 64x32", text);
	snprintf(c->name, sizeof(c->name), "%ux%u%s", c->conns % 100, c->depth % 100,
		 c->batched ? "b" : "");
	result.n_configs++;
	return 0;
}

static int list(void)
{
	for (unsigned i = 0; workloads[i]; i++)
		printf("%-14s per %-6s %s\n", workloads[i]->name, workloads[i]->unit,
		       workloads[i]->does);
	return 0;
}

static int choose(const char *name)
{
	if (strcmp(name, "scaling") == 0) {
		options.scaling = options.no_peer = options.no_limits = true;
		return 0;
	}
	if (options.scaling && scale_stage(name)) {
		options.stages |= scale_stage(name);
		return 0;
	}
	for (unsigned i = 0; workloads[i]; i++) {
		if (strcmp(workloads[i]->name, name) != 0)
			continue;
		if (options.n_chosen == sizeof(options.chosen) / sizeof(options.chosen[0]))
			return usage("too many workloads", name);
		options.chosen[options.n_chosen++] = workloads[i];
		return 0;
	}
	return usage("no workload of this name (--list shows them)", name);
}

enum {
	OPT_LIST = 256,
	OPT_QUICK,
	OPT_SECONDS,
	OPT_ROUNDS,
	OPT_AT,
	OPT_THREADS,
	OPT_OTHERS,
	OPT_WHO,
	OPT_PEER,
	OPT_PEER_PID,
	OPT_NO_PEER,
	OPT_NO_ATOLL,
	OPT_NO_LIMITS,
	OPT_ASYNC,
	OPT_ATOLL,
	OPT_IMAGE,
	OPT_OUT,
	OPT_HELP,
};

static const struct option long_options[] = {
	{ "list", no_argument, NULL, OPT_LIST },
	{ "quick", no_argument, NULL, OPT_QUICK },
	{ "seconds", required_argument, NULL, OPT_SECONDS },
	{ "rounds", required_argument, NULL, OPT_ROUNDS },
	{ "at", required_argument, NULL, OPT_AT },
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "others", required_argument, NULL, OPT_OTHERS },
	{ "who", required_argument, NULL, OPT_WHO },
	{ "peer", required_argument, NULL, OPT_PEER },
	{ "peer-pid", required_argument, NULL, OPT_PEER_PID },
	{ "no-peer", no_argument, NULL, OPT_NO_PEER },
	{ "no-atoll", no_argument, NULL, OPT_NO_ATOLL },
	{ "no-limits", no_argument, NULL, OPT_NO_LIMITS },
	{ "async", no_argument, NULL, OPT_ASYNC },
	{ "atoll", required_argument, NULL, OPT_ATOLL },
	{ "image", required_argument, NULL, OPT_IMAGE },
	{ "out", required_argument, NULL, OPT_OUT },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

static int numeric_option(int opt, const char *arg)
{
	char *end;
	double v = strtod(arg, &end);

	if (*end || end == arg || !(v > 0) || v > 100000000)
		return usage("a number was expected", arg);
	switch (opt) {
	case OPT_SECONDS:
		options.seconds = v;
		return 0;
	case OPT_ROUNDS:
		options.rounds = v > ROUNDS_MAX ? ROUNDS_MAX : v < 1 ? 1 : (unsigned)v;
		return 0;
	case OPT_THREADS:
		options.threads = v > CONNS_MAX ? CONNS_MAX : v < 1 ? 1 : (unsigned)v;
		return 0;
	case OPT_OTHERS:
		options.others = v > 1000000 ? 1000000 : v < 1000 ? 1000 : (unsigned)v;
		return 0;
	default:
		options.peer_pid = (pid_t)v;
		return 0;
	}
}

static int text_option(int opt, const char *arg)
{
	switch (opt) {
	case OPT_AT:
		return add_config(arg);
	case OPT_WHO:
		options.who = arg;
		if (strcmp(arg, "root") != 0 && strcmp(arg, "user") != 0)
			return usage("--who wants root or user", arg);
		return 0;
	case OPT_PEER:
		options.peer = arg;
		return 0;
	case OPT_ATOLL:
		options.atoll = arg;
		return 0;
	case OPT_IMAGE:
		options.image_dir = arg;
		return 0;
	default:
		options.out_dir = arg;
		return 0;
	}
}

static int plain_option(int opt)
{
	switch (opt) {
	case OPT_QUICK:
		options.quick = true;
		return 0;
	case OPT_NO_PEER:
		options.no_peer = true;
		return 0;
	case OPT_NO_ATOLL:
		options.no_atoll = true;
		return 0;
	case OPT_ASYNC:
		options.async = true;
		return 0;
	default:
		options.no_limits = true;
		return 0;
	}
}

/* 0: go on; otherwise the exit status + 1. */
static int parse(int argc, char **argv)
{
	int opt, err = 0;

	while (!err && (opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (opt) {
		case OPT_LIST:
			return list() + 1;
		case OPT_HELP:
			return usage(NULL, NULL) + 1;
		case OPT_SECONDS:
		case OPT_ROUNDS:
		case OPT_THREADS:
		case OPT_OTHERS:
		case OPT_PEER_PID:
			err = numeric_option(opt, optarg);
			break;
		case OPT_AT:
		case OPT_WHO:
		case OPT_PEER:
		case OPT_ATOLL:
		case OPT_IMAGE:
		case OPT_OUT:
			err = text_option(opt, optarg);
			break;
		case OPT_QUICK:
		case OPT_NO_PEER:
		case OPT_NO_ATOLL:
		case OPT_NO_LIMITS:
		case OPT_ASYNC:
			err = plain_option(opt);
			break;
		default:
			err = 2;
		}
	}
	for (; !err && optind < argc; optind++)
		err = choose(argv[optind]);
	return err ? err + 1 : 0;
}

static int defaults(const char *self)
{
	static const char *const full[] = { "1x1", "1x16", "1x16b", "4x8", "4x8b" };
	static const char *const quick[] = { "1x1", "1x16b", "4x8b" };
	static char atoll[PATH_MAX], out[PATH_MAX];
	char dir[PATH_MAX];
	char *slash;

	for (unsigned i = 0; options.n_chosen == i && workloads[i]; i++)
		options.chosen[options.n_chosen++] = workloads[i];
	if (result.n_configs == 0) {
		for (unsigned i = 0; i < (options.quick ? 3 : 5); i++)
			add_config(options.quick ? quick[i] : full[i]);
	}
	if (options.seconds == 0)
		options.seconds = options.quick || options.scaling ? 0.2 : 0.5;
	if (options.rounds == 0)
		options.rounds = options.quick ? 3 : options.scaling ? 15 : 5;
	if (options.threads == 0)
		options.threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	/* Both are used after the mounts have changed; relative paths would still do, links not. */
	if (!options.atoll) {
		if (!realpath(self, dir))
			return usage("no such path", self);
		slash = strrchr(dir, '/');
		*slash = '\0';
		snprintf(atoll, sizeof(atoll), "%.*s/../../atoll", PATH_MAX - 20, dir);
		options.atoll = atoll;
	}
	if (!realpath(options.out_dir ? options.out_dir : ".", out))
		return usage("no such directory", options.out_dir);
	options.out_dir = out;
	return 0;
}

/* ---- all of it ---- */

static int start_servers(void)
{
	if (!options.no_limits && (lab_start_child(&echoes[0], "echo (epoll)", echo_epoll) ||
				   lab_start_child(&echoes[1], "echo (threads)", echo_threads) ||
				   lab_start_child(&streams, "streams", stream_serve)))
		return -1;
	if (!options.no_atoll && start_side(OURS))
		return -1;
	return !options.no_peer && start_side(PEER) ? -1 : 0;
}

static void stop_servers(void)
{
	char error[200];

	if (options.peer && sides[PEER].there && tree_remove(sides[PEER].tree, error))
		fprintf(stderr, "bench: the peer keeps %s: %s\n", sides[PEER].tree->name, error);
	for (unsigned i = 0; i < SIDES; i++) {
		lab_stop(&sides[i].server);
		free(sides[i].tree);
	}
	for (unsigned i = 0; i < 2; i++)
		lab_stop(&echoes[i]);
	lab_stop(&streams);
}

static int measure_scaling(void)
{
	struct scale_how how = {
		.seconds = options.seconds,
		.rounds = options.rounds,
		.clients = options.quick ? 1000 : 10000,
		.stages = options.stages,
		.others = options.others  ? options.others
			  : options.quick ? 20000
					  : 1000000,
	};
	FILE *table = output("scaling.txt");
	unsigned most = scale_clients();
	int ret;

	if (!table)
		return -1;
	if (how.clients > most)
		how.clients = most;
	ret = scale_run(&sides[OURS].server, &how, table);
	fclose(table);
	return ret;
}

static int measure_all(void)
{
	FILE *table = output("bench.txt");
	int ret;

	if (!table)
		return -1;
	result.rows = calloc(2ul * result.n_configs * options.n_chosen, sizeof(struct row));
	if (!result.rows) {
		fclose(table);
		return -1;
	}
	report_head(stdout, &result);
	report_head(table, &result);
	if (!options.no_limits) {
		result.raw = raw_measure(options.seconds / 4);
		failures = failures || !result.raw;
		measure_streams();
	}
	report_limits(stdout, &result);
	report_limits(table, &result);
	ret = run_rows(table);
	fclose(table);
	return write_json() | write_svg() | ret;
}

int main(int argc, char **argv)
{
	int status = parse(argc, argv);

	if (status)
		return status - 1;
	status = defaults(argv[0]);
	if (status)
		return status;
	if (options.scaling)
		scale_prepare();
	if (lab_enter(!options.peer, options.image_dir))
		return 1;
	status = start_servers() ? 1 : 0;
	if (status == 0) {
		result.peer_name = sides[PEER].there ? sides[PEER].server.name : NULL;
		result.seconds = options.seconds;
		result.rounds = options.rounds;
		result.threads = options.threads;
		status = (options.scaling ? measure_scaling() : measure_all()) ? 1 : 0;
	}
	stop_servers();
	free(result.rows);
	return status ? status : failures;
}

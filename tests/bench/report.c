/* The table and the JSON file. */
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/result.h"

void report_machine(char text[256])
{
	struct utsname u;

	uname(&u);
	snprintf(text, 256, "%s %.64s, %ld processors", u.sysname, u.release,
		 sysconf(_SC_NPROCESSORS_ONLN));
}

void report_head(FILE *f, const struct result *r)
{
	char machine[256], date[32];
	time_t now = time(NULL);
	struct tm tm;

	report_machine(machine);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M", gmtime_r(&now, &tm));
	fprintf(f, "Atoll %s against %s, %s UTC, %s\n", ATOLL_VERSION,
		r->peer_name ? r->peer_name : "nobody", date, machine);
	fprintf(f, "medians of %u alternated runs of %.2f s; times in us\n", r->rounds, r->seconds);
}

void report_limits(FILE *f, const struct result *r)
{
	if (r->raw)
		fprintf(f, "\nraw system calls, CPU us each\n");
	for (const struct raw_cost *c = r->raw; c && c->name; c++)
		fprintf(f, "  %-20s %8.2f  %s\n", c->name, c->us, c->does);
	if (r->n_streams > 0)
		fprintf(
		    f, "\nstreams                conns    MiB/s  CPU us/MiB of the serving side\n");
	for (unsigned i = 0; i < r->n_streams; i++) {
		const struct stream_figure *s = &r->streams[i];

		fprintf(f, "  %-20s %5u %8.0f %8.0f\n", s->way->name, s->conns, s->rate, s->cpu);
	}
}

/* A number in `width` columns: three digits that matter, or a dash if it is not known. */
static void number(FILE *f, int width, double v)
{
	if (v < 0)
		fprintf(f, " %*s", width, "-");
	else
		fprintf(f, " %*.*f", width, v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v);
}

void report_config(FILE *f, const struct result *r, const struct config *c)
{
	fprintf(f, "\nc=%u d=%u%s\n", c->conns, c->depth,
		c->depth == 1 ? ""
		: c->batched  ? ", sent together"
			      : ", each request sent on its own");
	fprintf(f, "%-13s %-4s  %9s %7s %7s %7s  %9s %7s %7s %7s  %6s %5s  %9s %5s  %6s %6s\n", "",
		"", "atoll/s", "p50", "p99", "cpu", r->peer_name ? r->peer_name : "peer", "p50",
		"p99", "cpu", "/peer", "goal", "limit/s", "/lim", "floor", "goal");
}

static void figures(FILE *f, const struct figures *g)
{
	if (!g->known) {
		fprintf(f, "  %9s %7s %7s %7s", g->error[0] ? "failed" : "-", "-", "-", "-");
		return;
	}
	fputc(' ', f);
	number(f, 9, g->rate);
	number(f, 7, g->p50);
	number(f, 7, g->p99);
	number(f, 7, g->cpu);
}

static double ratio(const struct figures *a, const struct figures *b)
{
	return a->known && b->known && b->rate > 0 ? a->rate / b->rate : -1;
}

void report_row(FILE *f, const struct result *r, const struct row *row)
{
	fprintf(f, "%-13s %-4s", row->workload->name, row->who);
	figures(f, &row->ours);
	figures(f, &row->peer);
	fputc(' ', f);
	number(f, 6, ratio(&row->ours, &row->peer));
	number(f, 5, row->goal > 0 ? row->goal : -1);
	fputc(' ', f);
	number(f, 9, row->limit.known ? row->limit.rate : -1);
	number(f, 5, ratio(&row->ours, &row->limit));
	fputc(' ', f);
	number(f, 6, row->floor);
	number(f, 6, row->goal_cpu > 0 ? row->goal_cpu : -1);
	fputc('\n', f);
	if (row->ours.error[0])
		fprintf(f, "%-13s       atoll: %s\n", "", row->ours.error);
	if (row->peer.error[0])
		fprintf(f, "%-13s       %s: %s\n", "", r->peer_name, row->peer.error);
	if (row->limit.error[0])
		fprintf(f, "%-13s       limit: %s\n", "", row->limit.error);
}

/* ---- JSON ---- */

static void json_string(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fprintf(f, "\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			fprintf(f, "\\u%04x", (unsigned char)*s);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void json_number(FILE *f, const char *name, double v)
{
	if (v < 0)
		fprintf(f, ", \"%s\": null", name);
	else
		fprintf(f, ", \"%s\": %.6g", name, v);
}

static void json_figures(FILE *f, const char *name, const struct figures *g)
{
	if (!g->known && !g->error[0])
		return;
	fprintf(f, ",\n     \"%s\": {", name);
	if (!g->known) {
		fprintf(f, "\"error\": ");
		json_string(f, g->error);
		fputc('}', f);
		return;
	}
	fprintf(f, "\"rate\": %.6g", g->rate);
	json_number(f, "p50_us", g->p50);
	json_number(f, "p99_us", g->p99);
	json_number(f, "cpu_us_per_unit", g->cpu);
	json_number(f, "client_cpu_us_per_unit", g->client_cpu);
	json_number(f, "requests_per_unit", g->requests);
	json_number(f, "slowest_to_fastest_connection", g->fair);
	json_number(f, "delays_per_unit", g->delays);
	fputc('}', f);
}

static void json_row(FILE *f, const struct row *row)
{
	fprintf(f, "    {\"workload\": \"%s\", \"unit\": \"%s\", \"who\": \"%s\", \"at\": \"%s\"",
		row->workload->name, row->workload->unit, row->who, row->config->name);
	fprintf(f, ", \"conns\": %u, \"depth\": %u, \"batched\": %s", row->config->conns,
		row->config->depth, row->config->batched ? "true" : "false");
	json_number(f, "rate_over_peer", ratio(&row->ours, &row->peer));
	json_number(f, "rate_over_limit", ratio(&row->ours, &row->limit));
	json_number(f, "goal_over_peer", row->goal > 0 ? row->goal : -1);
	json_number(f, "cpu_floor_us", row->floor);
	json_number(f, "cpu_goal_us", row->goal_cpu > 0 ? row->goal_cpu : -1);
	json_figures(f, "atoll", &row->ours);
	json_figures(f, "peer", &row->peer);
	json_figures(f, "limit", &row->limit);
	fputc('}', f);
}

void report_json(FILE *f, const struct result *r)
{
	char machine[256];

	report_machine(machine);
	fprintf(f, "{\"atoll\": \"%s\", \"time\": %lld, \"machine\": ", ATOLL_VERSION,
		(long long)time(NULL));
	json_string(f, machine);
	fprintf(f, ", \"peer\": ");
	if (r->peer_name)
		json_string(f, r->peer_name);
	else
		fprintf(f, "null");
	fprintf(f, ",\n  \"seconds\": %g, \"rounds\": %u, \"client_threads\": %u,\n", r->seconds,
		r->rounds, r->threads);
	fprintf(f, "  \"system_calls_us\": {");
	for (const struct raw_cost *c = r->raw; c && c->name; c++)
		fprintf(f, "%s\"%s\": %.4g", c == r->raw ? "" : ", ", c->name, c->us);
	fprintf(f, "},\n  \"streams\": [");
	for (unsigned i = 0; i < r->n_streams; i++) {
		const struct stream_figure *s = &r->streams[i];

		fprintf(f, "%s\n    {\"way\": \"%s\", \"conns\": %u", i ? "," : "", s->way->name,
			s->conns);
		fprintf(f, ", \"mib_per_s\": %.6g, \"cpu_us_per_mib\": %.6g}", s->rate, s->cpu);
	}
	fprintf(f, "],\n  \"rows\": [");
	for (unsigned i = 0; i < r->n_rows; i++) {
		fputs(i ? ",\n" : "\n", f);
		json_row(f, &r->rows[i]);
	}
	fprintf(f, "]}\n");
}

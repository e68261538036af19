/*
 * The plot: for every configuration a panel with a line for each workload. Left, the rate over the
 * peer's; right, the server's CPU time per unit. Both axes are logarithmic. Filled marks are root,
 * hollow ones an ordinary user; circles are Atoll, squares the peer.
 */
#include <math.h>
#include <string.h>

#include "tests/bench/result.h"

#define LINE   22.0
#define TOP    60.0
#define LABELS 120.0
#define WIDTH  420.0
#define GAP    70.0
#define MARGIN 20.0
#define TITLE  46.0
#define OURS   "#0b6e8f"
#define THEIRS "#b5541c"
#define QUIET  "#8a8a8a"

struct axis {
	double x, low, high;
};

static double place(const struct axis *a, double v)
{
	double share;

	if (v < a->low)
		v = a->low;
	if (v > a->high)
		v = a->high;
	share = log(v / a->low) / log(a->high / a->low);
	return a->x + share * WIDTH;
}

static void text(FILE *f, double x, double y, const char *anchor, const char *colour, const char *s)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"%s\">", x, y, anchor,
		colour);
	for (; *s; s++) {
		if (*s == '<')
			fputs("&lt;", f);
		else if (*s == '&')
			fputs("&amp;", f);
		else
			fputc(*s, f);
	}
	fputs("</text>\n", f);
}

static void line(FILE *f, double x1, double y1, double x2, double y2, const char *colour)
{
	fprintf(f, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1,
		y1, x2, y2, colour);
}

static void mark(FILE *f, double x, double y, bool ours, bool hollow)
{
	const char *colour = ours ? OURS : THEIRS;

	if (ours)
		fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4.5\"", x, y);
	else
		fprintf(f, "<rect x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\"", x - 4, y - 4);
	fprintf(f, " stroke=\"%s\" stroke-width=\"1.5\" fill=\"%s\"/>\n", colour,
		hollow ? "#ffffff" : colour);
}

/* A goal: what is on its right side (of a rate) or left side (of CPU time) reaches it. */
static void goal(FILE *f, double x, double y)
{
	fprintf(f, "<path d=\"M%.1f %.1f v14\" stroke=\"#222\" stroke-width=\"2\"/>\n", x, y - 7);
}

/* Steps of 1, 2, 5 would crowd: a line at every power of `step`. */
static void grid(FILE *f, const struct axis *a, double top, double bottom, double step)
{
	for (double v = a->low; v <= a->high * 1.001; v *= step) {
		char label[32];
		double x = place(a, v);

		snprintf(label, sizeof(label), "%g", v);
		line(f, x, top, x, bottom, fabs(v - 1) < 0.001 ? "#555" : "#e2e2e2");
		text(f, x, top - 5, "middle", QUIET, label);
	}
}

static void plot_row(FILE *f, const struct row *row, const struct axis *rate,
		     const struct axis *cpu, double y)
{
	bool user = strcmp(row->who, "user") == 0;
	double shift = user ? 4 : -4;

	if (row->ours.known && row->peer.known && row->peer.rate > 0)
		mark(f, place(rate, row->ours.rate / row->peer.rate), y + shift, true, user);
	if (row->goal > 0 && !user)
		goal(f, place(rate, row->goal), y);
	if (row->goal_cpu > 0 && !user)
		goal(f, place(cpu, row->goal_cpu), y);
	if (row->floor > 0 && !user)
		fprintf(f, "<path d=\"M%.1f %.1f l5 5 l-5 5 z\" fill=\"%s\"/>\n",
			place(cpu, row->floor), y - 5, QUIET);
	if (row->peer.known && row->peer.cpu > 0)
		mark(f, place(cpu, row->peer.cpu), y + shift, false, user);
	if (row->ours.known && row->ours.cpu > 0)
		mark(f, place(cpu, row->ours.cpu), y + shift, true, user);
}

static unsigned lines_of(const struct result *r, const struct config *c)
{
	unsigned n = 0;
	const struct workload *last = NULL;

	for (unsigned i = 0; i < r->n_rows; i++) {
		if (r->rows[i].config == c && r->rows[i].workload != last) {
			last = r->rows[i].workload;
			n++;
		}
	}
	return n;
}

static double panel(FILE *f, const struct result *r, const struct config *c, double top)
{
	const struct axis rate = { MARGIN + LABELS, 0.125, 64 };
	const struct axis cpu = { MARGIN + LABELS + WIDTH + GAP, 0.1, 10000 };
	double first = top + TITLE, bottom = first + lines_of(r, c) * LINE, y = first - LINE / 2;
	const struct workload *last = NULL;
	char title[128];

	snprintf(title, sizeof(title), "c=%u d=%u%s", c->conns, c->depth,
		 c->depth == 1 ? ""
		 : c->batched  ? ", sent together"
			       : ", each sent on its own");
	fprintf(f, "<g font-weight=\"bold\">\n");
	text(f, MARGIN, top + 12, "start", "#222", title);
	fprintf(f, "</g>\n");
	text(f, rate.x + WIDTH / 2, top + 12, "middle", "#222", "rate over the peer's");
	text(f, cpu.x + WIDTH / 2, top + 12, "middle", "#222", "server's CPU time per unit, us");
	grid(f, &rate, first - 8, bottom, 2);
	grid(f, &cpu, first - 8, bottom, 10);
	for (unsigned i = 0; i < r->n_rows; i++) {
		const struct row *row = &r->rows[i];

		if (row->config != c)
			continue;
		if (row->workload != last) {
			last = row->workload;
			y += LINE;
			text(f, rate.x - 10, y + 4, "end", "#222", last->name);
		}
		plot_row(f, row, &rate, &cpu, y);
	}
	return bottom + 24;
}

static void legend(FILE *f, const struct result *r)
{
	double x = MARGIN + LABELS, y = 44;

	mark(f, x, y - 4, true, false);
	text(f, x + 10, y, "start", "#222", "Atoll");
	mark(f, x + 70, y - 4, false, false);
	text(f, x + 80, y, "start", "#222", r->peer_name ? r->peer_name : "peer");
	text(f, x + 160, y, "start", "#222", "filled: root, hollow: an ordinary user");
	goal(f, x + 410, y - 4);
	text(f, x + 418, y, "start", "#222", "goal");
	fprintf(f, "<path d=\"M%.1f %.1f l5 5 l-5 5 z\" fill=\"%s\"/>\n", x + 470, y - 9, QUIET);
	text(f, x + 480, y, "start", "#222", "the least: echo or stream, and raw system calls");
}

void plot_svg(FILE *f, const struct result *r)
{
	double width = 2 * MARGIN + LABELS + 2 * WIDTH + GAP, height = TOP;
	char machine[256], title[400];

	for (unsigned i = 0; i < r->n_configs; i++)
		height += TITLE + 24 + lines_of(r, &r->configs[i]) * LINE;
	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
		"viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n",
		width, height, width, height);
	fprintf(f, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n");
	report_machine(machine);
	snprintf(title, sizeof(title), "Atoll %s against %s. %s; medians of %u runs of %.2f s",
		 ATOLL_VERSION, r->peer_name ? r->peer_name : "nobody", machine, r->rounds,
		 r->seconds);
	text(f, MARGIN, 20, "start", "#222", title);
	legend(f, r);
	height = TOP;
	for (unsigned i = 0; i < r->n_configs; i++)
		height = panel(f, r, &r->configs[i], height);
	fprintf(f, "</svg>\n");
}

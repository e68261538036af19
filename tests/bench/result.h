/* What a run of the bench found, for the table, the JSON file and the plot. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdio.h>

#include "tests/bench/limit.h"

#define CONFIGS_MAX 16u
#define STREAMS_MAX (CONFIGS_MAX * STREAM_WAYS_MAX)

struct config {
	char name[16]; /* CxD, and b for batched */
	unsigned conns, depth;
	bool batched;
};

/* Medians of the rounds. Times in us. */
struct figures {
	bool known;
	char error[200]; /* why not, if it was tried */
	double rate;	 /* units per second */
	double p50, p99; /* of a whole cycle */
	double cpu;	 /* server's, per unit; negative: not known */
	double client_cpu;
	double requests; /* per unit */
	double fair;	 /* slowest connection's share of the fastest one's rate */
	double delays;	 /* requests that the server wanted to have repeated, per unit */
};

struct row {
	const struct workload *workload;
	const struct config *config;
	const char *who;
	struct figures ours, peer, limit;
	double
	    floor; /* CPU that echo or stream and raw system calls took, us; negative: not known */
	double goal;	 /* rate over the peer's; 0: none for this configuration */
	double goal_cpu; /* us; 0: none */
};

struct stream_figure {
	const struct stream_way *way;
	unsigned conns;
	double rate, cpu; /* MiB/s, us per MiB at the serving side */
};

struct result {
	const char *peer_name; /* NULL: none */
	double seconds;
	unsigned rounds, threads;
	struct config configs[CONFIGS_MAX];
	unsigned n_configs;
	struct row *rows;
	unsigned n_rows;
	struct stream_figure streams[STREAMS_MAX];
	unsigned n_streams;
	const struct raw_cost *raw; /* NULL: not measured */
};

/* Two system names of the machine, for the head of a report. */
void report_machine(char text[256]);

void report_head(FILE *f, const struct result *r);
void report_limits(FILE *f, const struct result *r);
void report_config(FILE *f, const struct result *r, const struct config *c);
void report_row(FILE *f, const struct result *r, const struct row *row);
void report_json(FILE *f, const struct result *r);
void plot_svg(FILE *f, const struct result *r);

#endif

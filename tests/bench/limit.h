/*
 * What the machine can do at most, measured with the same load generator and in the same
 * alternation as the servers: servers that do nothing but move the bytes.
 *
 * echo: answers every record with one of the size that the record asks for. The request is
 *   {mark, xid, size of the reply with its mark, padding}, the reply {mark, xid, padding}.
 *   Two event loops are tried, one epoll loop per core and a blocking thread per connection; the
 *   better one for a number of connections and a depth is the limit there.
 * streams: MiB after MiB of a file in the page cache without any request, by the ways there are:
 *   sendfile, pread+send; and to a file, without or with an fdatasync after each 16 MiB: splice,
 *   recv+pwrite. The connection's first byte chooses.
 */
#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H

#include "tests/bench/lab.h"
#include "tests/bench/load.h"

void echo_epoll(int listener);
void echo_threads(int listener);
void stream_serve(int listener); /* works in LAB_FS */

extern const struct workload echo_workload;

/* Sizes of echo_workload's records, marks included. Set while no load runs. */
struct echo_sizes {
	uint32_t request, reply;
};

extern struct echo_sizes echo_sizes;

struct stream_way {
	const char *name;
	char code;
	bool to_file;
};

#define STREAM_WAYS_MAX 6u

extern const struct stream_way stream_ways[STREAM_WAYS_MAX];
extern const unsigned stream_ways_count;

/* `conns` streams at once for so long; units are MiB. */
int stream_run(const struct server *to, const struct stream_way *way, unsigned conns,
	       double seconds, struct load_result *r, char error[200]);

/* A raw system call's time on the file system that is exported. */
struct raw_cost {
	const char *name;
	const char *does;
	double us;
};

/* Measures all; the list ends with a name NULL. NULL (and a line on stderr) if one fails. */
const struct raw_cost *raw_measure(double seconds_each);

#endif

/*
 * A daemon without NFS: a toy state machine (tests/sim/toy.h) on cluster/corosync.c, for tests of
 * the log with real corosyncs.
 *
 *	cluster_node [--safe] [--format N] [--state DIR] [--hang MS] [--ballast BYTES]
 *
 * Says what happens, a line each: `phase NAME`, `members N...`, `probe K COUNT HASH ERRORS` where the command
 * `probe K` of any node has its place. Takes orders, a line each:
 *
 *	load N		keeps N commands in flight until `stop`
 *	probe K		submits a probe; `done K` or `refused K` when it has come back
 *	check FILE	writes SOURCE DONE REFUSED of its load to FILE
 *	applied SOURCE	prints `applied SOURCE N`
 *	pause		prints `pause MS`, the longest time its load has waited for a command since the last `pause`
 *	quit		ends
 *
 * A node whose state is lost ends with status 3: start it again.
 */
#include <getopt.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/random.h"
#include "cluster/cluster.h"
#include "tests/sim/toy.h"

#define MAX_LOAD 256

static struct cluster *cluster;
static struct mutex lock = MUTEX_INITIALIZER;
static struct toy toy GUARDED_BY(lock);
static size_t ballast; /* bytes that a snapshot is longer */

static uint64_t source;
static _Atomic uint64_t next_seq = 1;
static _Atomic uint64_t done_count, refused_count, longest_ns;
static _Atomic bool loading;
static struct mutex order = MUTEX_INITIALIZER; /* sequence numbers are submitted in their order */

static const char *const phases[] = { "joining", "serving", "suspended", "lost" };

/* ---- the application ---- */

static int encode(void *ctx, const void *command, uint8_t **out, size_t *len)
{
	return toy_encode(command, out, len);
}

static void apply_bytes(void *ctx, uint32_t origin, const uint8_t *p, size_t len, void *result)
{
	struct toy_command c;

	mutex_lock(&lock);
	toy_apply(&toy, origin, p, len, &c, result);
	if (c.probe)
		printf("probe %u %" PRIu64 " %016" PRIx64 " %u\n", c.probe, toy.n, toy.hash, toy.errors);
	mutex_unlock(&lock);
}

static void refuse(void *ctx, void *result)
{
	*(struct toy_result *)result = (struct toy_result){ .refused = true };
}

static int snapshot(void *ctx, uint8_t **out, size_t *len)
{
	uint8_t *bigger;
	int err;

	mutex_lock(&lock);
	err = toy_snapshot(&toy, out, len);
	mutex_unlock(&lock);
	if (err || !ballast)
		return err;
	bigger = realloc(*out, *len + ballast);
	if (!bigger) {
		free(*out);
		return -ENOMEM;
	}
	memset(bigger + *len, 0x5a, ballast);
	*out = bigger;
	*len += ballast;
	return 0;
}

static int restore(void *ctx, const uint8_t *p, size_t len)
{
	int err;

	mutex_lock(&lock);
	err = toy_restore(&toy, p, len < sizeof(toy) ? len : sizeof(toy));
	mutex_unlock(&lock);
	return err;
}

static void members(void *ctx, const struct cluster_members *m)
{
	char text[CLUSTER_MAX_NODES * 11 + 1] = "";
	size_t len = 0;

	for (uint32_t i = 0; i < m->n; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, " %u", m->nodes[i]);
	printf("members%s\n", text);
}

static void phase(void *ctx, enum cluster_phase p)
{
	printf("phase %s\n", phases[p]);
	if (p == CLUSTER_LOST)
		_exit(3);
}

/* ---- load ---- */

static void post(void *arg)
{
	sem_post(arg);
}

/* Submits one and waits for it. */
static struct toy_result submit(uint32_t probe)
{
	struct toy_command c = { .source = source, .probe = probe, .padding = 40 };
	struct toy_result result = { .refused = true };
	enum cluster_submitted s;
	sem_t sem;

	sem_init(&sem, 0, 0);
	mutex_lock(&order);
	c.seq = atomic_fetch_add(&next_seq, 1);
	s = cluster_submit(cluster, &c, &result, post, &sem);
	mutex_unlock(&order);
	if (s == CLUSTER_PENDING)
		sem_wait(&sem);
	sem_destroy(&sem);
	return result;
}

static void note_pause(uint64_t ns)
{
	uint64_t seen = atomic_load(&longest_ns);

	while (ns > seen && !atomic_compare_exchange_weak(&longest_ns, &seen, ns))
		;
}

static void *load(void *arg)
{
	uint64_t last = clock_mono_ns();

	while (atomic_load(&loading)) {
		struct toy_result r = submit(0);
		uint64_t t = clock_mono_ns();

		if (r.refused) {
			atomic_fetch_add(&refused_count, 1);
			usleep(1000);
			continue;
		}
		atomic_fetch_add(&done_count, 1);
		note_pause(t - last);
		last = t;
	}
	return NULL;
}

static pthread_t threads[MAX_LOAD];
static unsigned nthreads;

static void start_load(unsigned n)
{
	atomic_store(&loading, true);
	while (nthreads < n && nthreads < MAX_LOAD)
		if (pthread_create(&threads[nthreads], NULL, load, NULL) != 0)
			break;
		else
			nthreads++;
}

static void stop_load(void)
{
	atomic_store(&loading, false);
	while (nthreads)
		pthread_join(threads[--nthreads], NULL);
}

/* ---- orders ---- */

static void check(const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		return;
	fprintf(f, "%" PRIu64 " %" PRIu64 " %" PRIu64 "\n", source, atomic_load(&done_count),
		atomic_load(&refused_count));
	fclose(f);
}

static void obey(char *line)
{
	char *arg = strchr(line, ' ');
	uint64_t n = arg ? strtoull(arg + 1, NULL, 10) : 0;

	if (arg)
		*arg++ = '\0';
	if (strcmp(line, "load") == 0) {
		start_load((unsigned)n);
	} else if (strcmp(line, "stop") == 0) {
		stop_load();
		printf("stopped\n");
	} else if (strcmp(line, "probe") == 0) {
		printf("%s %" PRIu64 "\n", submit((uint32_t)n).refused ? "refused" : "done", n);
	} else if (strcmp(line, "check") == 0 && arg) {
		check(arg);
		printf("checked\n");
	} else if (strcmp(line, "applied") == 0) {
		mutex_lock(&lock);
		printf("applied %" PRIu64 " %" PRIu64 "\n", n, toy_applied(&toy, n));
		mutex_unlock(&lock);
	} else if (strcmp(line, "pause") == 0) {
		printf("pause %llu\n", (unsigned long long)(atomic_exchange(&longest_ns, 0) / NS_PER_MS));
	}
}

static void obey_orders(void)
{
	char line[300];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "quit") == 0)
			break;
		obey(line);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "safe", no_argument, NULL, 's' },
		{ "format", required_argument, NULL, 'f' },
		{ "state", required_argument, NULL, 'd' },
		{ "hang", required_argument, NULL, 'h' },
		{ "ballast", required_argument, NULL, 'b' },
		{ 0 },
	};
	struct cluster_config config = { .scope = NULL };
	struct cluster_app app = {
		.format = 1,
		.encode = encode,
		.apply_bytes = apply_bytes,
		.refuse = refuse,
		.snapshot = snapshot,
		.restore = restore,
		.members = members,
		.phase = phase,
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			config.safe = true;
		else if (opt == 'f')
			app.format = (uint32_t)atoi(optarg);
		else if (opt == 'd')
			config.state_dir = optarg;
		else if (opt == 'h')
			config.hang_ms = (uint32_t)atoi(optarg);
		else if (opt == 'b')
			ballast = (size_t)atoll(optarg);
		else
			return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (!source)
		source = random_u64() >> 16; /* shells can count so far */
	cluster = cluster_corosync_new(&app, &config);
	if (!cluster || cluster_start(cluster) != 0) {
		log_error("cannot start");
		return 1;
	}
	obey_orders();
	stop_load();
	cluster_free(cluster);
	return 0;
}

/*
 * How many commands a second, and how long one takes: the log against libcpg alone.
 *
 *	bench_log bare|ordered|safe idle			a node that only takes part; until its stdin ends
 *	bench_log bare|ordered|safe DEPTH SECONDS [BYTES]	prints `DEPTH COMMANDS/S MEDIAN-US P99-US`
 *
 * `bare` multicasts messages of the same size with cpg_mcast_joined(), DEPTH at a time, and waits for each to
 * come back: what no log on corosync can beat by much. Every thread of the log's load is one of DEPTH that
 * submits a command and sleeps until it is done, as a request of a client does.
 */
#include <corosync/cpg.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "cluster/cluster.h"

#define MAX_SAMPLES 4000000
#define MAX_DEPTH   256

static size_t command_bytes = 120;
static uint64_t deadline;
static uint32_t *samples; /* nanoseconds */
static _Atomic size_t nsamples;

static void sample(uint64_t since)
{
	size_t i = atomic_fetch_add(&nsamples, 1);

	if (i < MAX_SAMPLES)
		samples[i] = (uint32_t)(clock_mono_ns() - since);
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void report(unsigned depth, double seconds)
{
	size_t n = atomic_load(&nsamples);
	size_t kept = n < MAX_SAMPLES ? n : MAX_SAMPLES;

	if (!kept)
		return;
	qsort(samples, kept, sizeof(*samples), compare);
	printf("%u %.0f %.0f %.0f\n", depth, (double)n / seconds, samples[kept / 2] / 1e3,
	       samples[kept / 100 * 99] / 1e3);
}

/* ---- libcpg alone ---- */

static uint64_t sent_at[MAX_DEPTH];
static unsigned sent, back;
static uint32_t self;

static void on_message(cpg_handle_t h, const struct cpg_name *group, uint32_t node, uint32_t pid, void *p,
		       size_t len)
{
	if (node == self)
		sample(sent_at[back++ % MAX_DEPTH]);
}

static void on_change(cpg_handle_t h, const struct cpg_name *group, const struct cpg_address *m, size_t nm,
		      const struct cpg_address *l, size_t nl, const struct cpg_address *j, size_t nj)
{
}

static int run_bare(unsigned depth)
{
	cpg_callbacks_t callbacks = { on_message, on_change };
	struct cpg_name group = { .length = 5, .value = "bench" };
	struct pollfd pfds[2] = { { .events = POLLIN }, { .fd = 0, .events = POLLIN } };
	char *bytes = calloc(1, command_bytes);
	struct iovec iov = { bytes, command_bytes };
	cpg_handle_t h;

	if (!bytes || cpg_initialize(&h, &callbacks) != CS_OK || cpg_local_get(h, &self) != CS_OK ||
	    cpg_join(h, &group) != CS_OK || cpg_fd_get(h, &pfds[0].fd) != CS_OK) {
		fprintf(stderr, "no corosync\n");
		return 1;
	}
	while (depth ? clock_mono_ns() < deadline : !(pfds[1].revents)) {
		while (sent - back < depth) {
			sent_at[sent % MAX_DEPTH] = clock_mono_ns();
			if (cpg_mcast_joined(h, CPG_TYPE_AGREED, &iov, 1) != CS_OK)
				break;
			sent++;
		}
		poll(pfds, depth ? 1 : 2, 100);
		cpg_dispatch(h, CS_DISPATCH_ALL);
	}
	cpg_finalize(h);
	free(bytes);
	return 0;
}

/* ---- the log ---- */

static struct cluster *cluster;
static _Atomic uint64_t applied;
static _Atomic unsigned members_now;

static int encode(void *ctx, const void *command, uint8_t **out, size_t *len)
{
	*len = command_bytes;
	*out = calloc(1, command_bytes);
	return *out ? 0 : -1;
}

static void apply_bytes(void *ctx, uint32_t origin, const uint8_t *p, size_t len, void *result)
{
	atomic_fetch_add_explicit(&applied, 1, memory_order_relaxed);
	if (result)
		*(int *)result = 1;
}

static void refuse(void *ctx, void *result)
{
	*(int *)result = 0;
}

static int snapshot(void *ctx, uint8_t **out, size_t *len)
{
	*len = 1;
	*out = calloc(1, 1);
	return *out ? 0 : -1;
}

static int restore(void *ctx, const uint8_t *p, size_t len)
{
	return 0;
}

static void members(void *ctx, const struct cluster_members *m)
{
	atomic_store(&members_now, m->n);
}

static void phase(void *ctx, enum cluster_phase p)
{
}

static void post(void *arg)
{
	sem_post(arg);
}

static void *load(void *arg)
{
	sem_t sem;

	sem_init(&sem, 0, 0);
	while (clock_mono_ns() < deadline) {
		uint64_t t = clock_mono_ns();
		int result;

		if (cluster_submit(cluster, "", &result, post, &sem) == CLUSTER_PENDING)
			sem_wait(&sem);
		if (result)
			sample(t);
		else
			usleep(1000);
	}
	sem_destroy(&sem);
	return NULL;
}

static int run_log(bool safe, unsigned depth, unsigned seconds)
{
	struct cluster_config config = { .scope = safe ? "bench-safe" : "bench-ordered", .safe = safe };
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
	pthread_t threads[MAX_DEPTH];
	unsigned n = 0;
	char c;

	cluster = cluster_corosync_new(&app, &config);
	if (!cluster || cluster_start(cluster) != 0)
		return 1;
	if (!depth) {
		while (read(0, &c, 1) > 0)
			;
		cluster_free(cluster);
		return 0;
	}
	while (atomic_load(&members_now) < 3)
		usleep(10000);
	deadline = clock_mono_ns() + seconds * NS_PER_SEC;
	while (n < depth && pthread_create(&threads[n], NULL, load, NULL) == 0)
		n++;
	while (n)
		pthread_join(threads[--n], NULL);
	cluster_free(cluster);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned depth = 0, seconds = 0;
	int rc;

	if (argc < 3)
		return 2;
	log_set_level(LOG_LEVEL_ERROR);
	if (strcmp(argv[2], "idle") != 0 && argc > 3) {
		depth = (unsigned)atoi(argv[2]);
		seconds = (unsigned)atoi(argv[3]);
	}
	if (argc > 4)
		command_bytes = (size_t)atoi(argv[4]);
	if (depth > MAX_DEPTH)
		depth = MAX_DEPTH;
	samples = malloc(MAX_SAMPLES * sizeof(*samples));
	if (!samples)
		return 1;
	deadline = clock_mono_ns() + seconds * NS_PER_SEC;
	rc = strcmp(argv[1], "bare") == 0 ? run_bare(depth)
					  : run_log(strcmp(argv[1], "safe") == 0, depth, seconds);
	if (!rc && depth)
		report(depth, seconds);
	free(samples);
	return rc;
}

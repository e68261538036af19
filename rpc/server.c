/* The server as a whole: made, started, stopped, freed; limits and statistics. */
#include "rpc/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

#define MIB ((size_t)1 << 20)

/* When buffers are given back: so many seconds with no more calls than these (leases are renewed
 * even by clients that do nothing); and again once there have been so many since. */
#define QUIET_SECONDS 5
#define QUIET_CALLS   200
#define AGAIN_CALLS   2000

/* A quarter of the machine's memory, but no more than this. */
#define MEMORY_MOST  (512 * MIB)
#define MEMORY_LEAST (8 * MIB)

static size_t memory_share(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
	size_t share = pages > 0 && size > 0 ? (size_t)pages * (size_t)size / 4 : MEMORY_MOST;

	return share < MEMORY_MOST ? share : MEMORY_MOST;
}

/* Half of the descriptors, the others are for files. */
static unsigned connection_share(void)
{
	struct rlimit rl;
	unsigned most = 16384;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur / 2 < most)
		most = rl.rlim_cur > 4 ? (unsigned)(rl.rlim_cur / 2) : 2;
	return most;
}

void rpc_limits_default(struct rpc_limits *l)
{
	*l = (struct rpc_limits){
		.max_record = MIB + 64 * 1024,
		.max_reply = MIB + 64 * 1024,
		.max_connections = connection_share(),
		.max_calls_per_conn = 1024,
		.max_conn_memory = 64 * MIB,
		.max_memory = memory_share(),
		.idle_seconds = 600,
		.record_seconds = 60,
		.max_threads = 64,
		.spare_seconds = 30,
	};
}

/* Limits that the server can work with: at least a loop and a spare, and room for some records. */
static void sanitize(struct rpc_limits *l, unsigned loops)
{
	size_t least = MEMORY_LEAST + 4 * l->max_record;

	if (l->max_memory < least)
		l->max_memory = least;
	if (l->max_threads < loops + 1)
		l->max_threads = loops + 1;
	if (!l->max_calls_per_conn)
		l->max_calls_per_conn = 1;
	if (!l->spare_seconds)
		l->spare_seconds = 1;
}

int rpc_server_new(const struct rpc_limits *limits, unsigned loops, struct rpc_server **out)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct rpc_server *s;

	if (limits->max_record > INT32_MAX || limits->max_reply > INT32_MAX)
		return -EINVAL;
	if (!loops)
		loops = cores > 0 ? (unsigned)cores : 1;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->limits = *limits;
	sanitize(&s->limits, loops);
	list_init(&s->workers);
	list_init(&s->exited);
	list_init(&s->spares);
	mutex_init(&s->lock);
	mutex_init(&s->visits.asking);
	mutex_init(&s->visits.lock);
	cond_init(&s->visits.answered);
	mutex_init(&s->bigs_lock);
	mutex_init(&s->watcher_lock);
	cond_init(&s->changed);
	cond_init(&s->watcher_cond);
	s->loops = calloc(loops, sizeof(*s->loops));
	s->watched = calloc(loops, sizeof(*s->watched));
	s->loops_seen = calloc(loops, sizeof(*s->loops_seen));
	if (!s->loops || !s->watched || !s->loops_seen)
		goto fail;
	for (; s->nloops < loops; s->nloops++) {
		s->loops[s->nloops] = loop_new(s);
		if (!s->loops[s->nloops]) {
			int err = errno ? -errno : -ENOMEM;

			rpc_server_free(s);
			return err;
		}
	}
	*out = s;
	return 0;
fail:
	rpc_server_free(s);
	return -ENOMEM;
}

int rpc_server_add_program(struct rpc_server *s, const struct rpc_program *p)
{
	if (s->started)
		return -EBUSY;
	if (s->nprograms == MAX_PROGRAMS)
		return -ENOSPC;
	s->programs[s->nprograms++] = *p;
	return 0;
}

void rpc_server_on_reply(struct rpc_server *s,
			 void (*reply)(struct rpc_conn *conn, const void *bytes, size_t len,
				       void *ctx),
			 void *ctx)
{
	s->on_reply = reply;
	s->on_reply_ctx = ctx;
}

void rpc_server_on_conn(struct rpc_server *s,
			void (*conn)(struct rpc_conn *conn, bool open, void *ctx), void *ctx)
{
	s->on_conn = conn;
	s->on_conn_ctx = ctx;
}

int rpc_server_start(struct rpc_server *s)
{
	int err = 0;

	if (s->started)
		return -EBUSY;
	s->started = true;
	for (unsigned i = 0; i < s->nloops && !err; i++) {
		struct worker *w = worker_reserve(s);

		if (w)
			worker_assign(w, s->loops[i]);
		else
			err = -EAGAIN;
	}

	/* The first spare, so that the first call to block finds one. */
	struct worker *spare = err ? NULL : worker_reserve(s);

	if (spare)
		worker_unreserve(spare);
	if (!err)
		err = spare ? watcher_start(s) : -EAGAIN;
	if (err)
		rpc_server_stop(s, 0);
	return err;
}

static void wake_all(struct rpc_server *s)
{
	for (unsigned i = 0; i < s->nloops; i++)
		loop_wake(s->loops[i]);
}

void rpc_server_stop(struct rpc_server *s, unsigned seconds)
{
	uint64_t deadline = clock_mono_ns() + seconds * NS_PER_SEC;

	if (!s->started || atomic_load(&s->quit))
		return;
	atomic_store(&s->draining, true);
	wake_all(s);
	mutex_lock(&s->lock);
	while (atomic_load(&s->nconns) && cond_wait_until(&s->changed, &s->lock, deadline)) {
		/* A connection has gone; wait for the others. */
	}
	atomic_store(&s->quit, true);
	mutex_unlock(&s->lock);
	watcher_join(s);
	wake_all(s);
	workers_join(s);
	for (unsigned i = 0; i < s->nloops; i++)
		loop_close_inbox(s->loops[i]);
	listeners_close(s);
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	listeners_close(s);
	/* Memory that becomes free wakes nobody any more. */
	atomic_store(&s->starved, false);
	for (unsigned i = 0; i < s->nloops; i++)
		loop_free(s->loops[i]);
	rxbuf_pool_free(s, s->bigs);
	free(s->loops);
	free(s->watched);
	free(s->loops_seen);
	mutex_destroy(&s->lock);
	mutex_destroy(&s->visits.asking);
	mutex_destroy(&s->visits.lock);
	cond_destroy(&s->visits.answered);
	mutex_destroy(&s->bigs_lock);
	mutex_destroy(&s->watcher_lock);
	cond_destroy(&s->changed);
	cond_destroy(&s->watcher_cond);
	free(s);
}

void rpc_server_stats(struct rpc_server *s, struct rpc_stats *st)
{
	struct worker_counters sum = { 0 };
	struct worker *w;

	mutex_lock(&s->lock);
	worker_add_counters(&sum, &s->past);
	list_for_each (w, &s->workers, link)
		worker_add_counters(&sum, &w->n);
	*st = (struct rpc_stats){
		.calls = sum.calls,
		.replies = sum.replies,
		.bytes_in = sum.bytes_in,
		.bytes_out = sum.bytes_out,
		.garbage = sum.garbage,
		.dropped_connections = atomic_load(&s->dropped_connections),
		.loops_given = sum.given,
		.loops_stolen = atomic_load(&s->stolen),
		.payloads = atomic_load(&s->payloads),
		.payloads_spilled = atomic_load(&s->payloads_spilled),
		.connections = atomic_load(&s->nconns),
		.threads = s->nworkers,
		.parked = sum.parked > sum.resumed ? (unsigned)(sum.parked - sum.resumed) : 0,
		.memory = atomic_load(&s->memory),
	};
	mutex_unlock(&s->lock);
}

/* ---- memory for reuse ---- */

static uint64_t calls_so_far(struct rpc_server *s)
{
	uint64_t calls;
	struct worker *w;

	mutex_lock(&s->lock);
	calls = atomic_load_explicit(&s->past.calls, memory_order_relaxed);
	list_for_each (w, &s->workers, link)
		calls += atomic_load_explicit(&w->n.calls, memory_order_relaxed);
	mutex_unlock(&s->lock);
	return calls;
}

static void free_bigs(struct rpc_server *s)
{
	struct rxbuf *bigs;

	mutex_lock(&s->bigs_lock);
	bigs = s->bigs;
	s->bigs = NULL;
	s->nbigs = 0;
	mutex_unlock(&s->bigs_lock);
	rxbuf_pool_free(s, bigs);
}

/* Threads empty their pools themselves; those that wait are woken for it. */
static void trim(struct rpc_server *s)
{
	struct worker *w;

	free_bigs(s);
	atomic_fetch_add(&s->trims, 1);
	wake_all(s);
	mutex_lock(&s->lock);
	list_for_each (w, &s->spares, spare_link)
		cond_signal(&w->wake);
	mutex_unlock(&s->lock);
}

bool rpc_server_tick(struct rpc_server *s)
{
	uint64_t calls = calls_so_far(s), fresh = calls - s->tick.calls;

	s->tick.calls = calls;
	s->tick.since += fresh;
	if (fresh > QUIET_CALLS || (s->tick.quiet > QUIET_SECONDS && s->tick.since > AGAIN_CALLS))
		s->tick.quiet = 0;
	else if (s->tick.quiet <= QUIET_SECONDS)
		s->tick.quiet++;
	else
		return false;
	if (s->tick.quiet == QUIET_SECONDS) {
		s->tick.since = 0;
		trim(s);
	}
	/* A tick later, as the threads have to free theirs first. */
	return s->tick.quiet > QUIET_SECONDS;
}

/* ---- signs of life ---- */

static bool loop_moves(struct rpc_server *s, unsigned i, bool watched)
{
	struct loop_seen *seen = &s->loops_seen[i], now = {
		.state = atomic_load(&s->loops[i]->state),
		.turns = atomic_load_explicit(&s->loops[i]->turns, memory_order_relaxed),
	};
	bool same = seen->state == now.state && seen->turns == now.turns, asked = seen->asked;

	*seen = now;
	seen->asked = true;
	loop_wake(s->loops[i]);
	if (!same || !asked)
		return true;
	/* The watcher has no thread to give the loop to: all of them are in calls. */
	return (now.state & LOOP_STATE_MASK) == LOOP_IN_CALL && watched;
}

bool rpc_server_moves(struct rpc_server *s)
{
	uint64_t ticks = atomic_load_explicit(&s->watcher_ticks, memory_order_relaxed);
	bool watched = ticks != s->watcher_ticks_seen, moves = true;

	s->watcher_ticks_seen = ticks;
	for (unsigned i = 0; i < s->nloops; i++)
		moves &= loop_moves(s, i, watched);
	return moves;
}

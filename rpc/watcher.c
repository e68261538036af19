/*
 * The watcher takes loops away from threads that are stuck in a call: at every tick it compares
 * each loop's state with that of the tick before; the same section still running means that one
 * call has lasted a whole tick. Its loop then gets a spare thread.
 *
 * But not if the thread has only been without a processor: where others take those (corosync runs
 * with real-time priority), a spare thread would wait for one as well, and cost more. So the kernel is
 * asked what the thread is at. If it waits for something the loop is taken at once; if it runs or
 * could run, at the next tick and only if it did run.
 *
 * Ticks cost: at five thousand a second two to six per cent of a busy server's time. They are that
 * frequent only for a while after calls have been found stuck that held up other connections, where
 * more are likely to follow.
 *
 * When all loops have been waiting for a while, the watcher sleeps, and the first loop that
 * wakes up wakes it. Neither can miss the other: the watcher says that it sleeps and then looks
 * at the loops' states, a loop states that it runs and then looks whether the watcher sleeps,
 * all in sequentially consistent order.
 */
#include "rpc/internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define TICK_NS	    (1000 * 1000)
#define ALERT_NS    (200 * 1000) /* a tick while alert */
#define RAN_NS	    (100 * 1000) /* in a tick: it has a processor */
#define ALERT_TICKS 100		 /* after a call was found stuck */
#define QUIET_TICKS 8		 /* without any activity, until the watcher sleeps */

static bool steal(struct rpc_server *s, struct loop *l, uint64_t state)
{
	struct worker *spare = worker_reserve(s);

	if (!spare)
		return false;
	if (!atomic_compare_exchange_strong(&l->state, &state, LOOP_RUNNING)) {
		worker_unreserve(spare);
		return false;
	}
	atomic_fetch_add(&s->stolen, 1);
	worker_assign(spare, l);
	return true;
}

/* Does it run, or could it if there were a processor? If that cannot be known, no. */
static bool is_ready(pid_t tid)
{
	char path[48], stat[96], *name_end;
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, stat, sizeof(stat) - 1);
		close(fd);
	}
	if (n <= 0)
		return false;
	stat[n] = '\0';
	name_end = strrchr(stat, ')');
	return name_end && name_end[1] == ' ' && name_end[2] == 'R';
}

/* The time that the thread has run; 0: it is no more. */
static uint64_t ran_ns(pid_t tid)
{
	/* How the kernel numbers threads' clocks (clock_getres(2), pthread_getcpuclockid(3)). */
	const clockid_t clock = (clockid_t)(~(unsigned)tid << 3 | 6);
	struct timespec t;

	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_SEC + (uint64_t)t.tv_nsec;
}

/* In the same call as at the last tick: is it stuck, and not only without a processor? */
static bool is_stuck(struct loop *l, struct loop_watched *seen)
{
	pid_t tid = atomic_load_explicit(&l->owner, memory_order_relaxed);
	uint64_t before = seen->ran_ns;

	if (!is_ready(tid))
		return true;
	seen->ran_ns = ran_ns(tid);
	if (seen->ready && seen->ran_ns - before >= RAN_NS)
		return true;
	seen->ready = true;
	return false;
}

struct tick {
	bool active; /* a loop has done something since the last tick */
	bool stolen; /* a loop with others to serve has been taken */
};

static struct tick tick(struct rpc_server *s)
{
	struct tick t = { 0 };

	for (unsigned i = 0; i < s->nloops; i++) {
		struct loop *l = s->loops[i];
		uint64_t state = atomic_load(&l->state);
		struct loop_watched *seen = &s->watched[i];

		t.active |= state != LOOP_IDLE;
		if ((state & LOOP_STATE_MASK) != LOOP_IN_CALL || state != seen->state)
			*seen = (struct loop_watched){ .state = state };
		else if (is_stuck(l, seen) && steal(s, l, state))
			t.stolen |= atomic_load_explicit(&l->nconns, memory_order_relaxed) > 1;
	}
	return t;
}

static bool all_idle(struct rpc_server *s)
{
	for (unsigned i = 0; i < s->nloops; i++) {
		if (atomic_load(&s->loops[i]->state) != LOOP_IDLE)
			return false;
	}
	return true;
}

static void sleep_until_woken(struct rpc_server *s)
{
	mutex_lock(&s->watcher_lock);
	atomic_store(&s->watcher_asleep, true);
	if (all_idle(s)) {
		while (atomic_load(&s->watcher_asleep) && !atomic_load(&s->quit))
			cond_wait(&s->watcher_cond, &s->watcher_lock);
	}
	atomic_store(&s->watcher_asleep, false);
	mutex_unlock(&s->watcher_lock);
}

void watcher_rouse(struct rpc_server *s)
{
	mutex_lock(&s->watcher_lock);
	atomic_store(&s->watcher_asleep, false);
	cond_signal(&s->watcher_cond);
	mutex_unlock(&s->watcher_lock);
}

static void *watcher_main(void *arg)
{
	struct rpc_server *s = arg;
	unsigned quiet = 0, alert = 0;

	pthread_setname_np(pthread_self(), "rpc-watcher");
	prctl(PR_SET_TIMERSLACK, 1000ul, 0ul, 0ul, 0ul);
	while (!atomic_load(&s->quit)) {
		struct tick t = tick(s);

		count(&s->watcher_ticks, 1);
		quiet = t.active ? 0 : quiet + 1;
		if (t.stolen)
			alert = ALERT_TICKS;
		else if (alert > 0)
			alert--;
		if (quiet >= QUIET_TICKS) {
			sleep_until_woken(s);
			quiet = 0;
		}
		nanosleep(&(struct timespec){ .tv_nsec = alert ? ALERT_NS : TICK_NS }, NULL);
	}
	return NULL;
}

int watcher_start(struct rpc_server *s)
{
	int err = thread_start(&s->watcher, watcher_main, s);

	s->watcher_started = err == 0;
	return err;
}

void watcher_join(struct rpc_server *s)
{
	if (!s->watcher_started)
		return;
	watcher_rouse(s);
	pthread_join(s->watcher, NULL);
	s->watcher_started = false;
}

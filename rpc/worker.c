/*
 * The server's threads. A worker owns a loop, or finishes a call whose loop was taken from it,
 * or waits in server->spares. Spares are taken last in, first out, so that those not needed
 * become old and end.
 *
 *	spare --reserve--> reserved --assign--> owner --lost loop, call done--> spare --> ended
 *	   ^------unreserve----'
 */
#include "rpc/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/blocking.h"
#include "base/clock.h"
#include "base/log.h"

#define LOG_EVERY (10 * NS_PER_SEC)

static _Thread_local struct worker *self;

struct worker *worker_self(void)
{
	return self;
}

/* Adds up the counters of a worker. */
void worker_add_counters(struct worker_counters *sum, const struct worker_counters *n)
{
	count(&sum->calls, n->calls);
	count(&sum->replies, n->replies);
	count(&sum->bytes_in, n->bytes_in);
	count(&sum->bytes_out, n->bytes_out);
	count(&sum->garbage, n->garbage);
	count(&sum->parked, n->parked);
	count(&sum->resumed, n->resumed);
	count(&sum->given, n->given);
}

bool worker_trim(struct worker *w)
{
	uint32_t trims = atomic_load_explicit(&w->server->trims, memory_order_relaxed);

	if (likely(w->trimmed == trims))
		return false;
	w->trimmed = trims;
	call_pool_free(w->server, w->calls);
	rxbuf_pool_free(w->server, w->bufs);
	w->calls = NULL;
	w->bufs = NULL;
	w->ncalls = w->nbufs = 0;
	return true;
}

/* Waits for a loop; NULL: this thread is to end (and is on server->exited). */
static struct loop *next_loop(struct worker *w)
{
	struct rpc_server *s = w->server;
	uint64_t patience = (uint64_t)s->limits.spare_seconds * NS_PER_SEC;
	uint64_t deadline = clock_mono_ns() + patience;
	struct loop *l;

	mutex_lock(&s->lock);
	/* A new one is reserved, or was and is a spare already. */
	if (!w->reserved && list_empty(&w->spare_link))
		list_push_front(&s->spares, &w->spare_link);
	for (;;) {
		l = w->assigned;
		if (l) {
			w->assigned = NULL;
			w->reserved = false;
			break;
		}
		if (!w->reserved && atomic_load(&s->quit))
			break;
		if (w->trimmed != atomic_load(&s->trims)) {
			mutex_unlock(&s->lock);
			worker_trim(w);
			mutex_lock(&s->lock);
			continue;
		}
		if (cond_wait_until(&w->wake, &s->lock, deadline))
			continue;
		if (!w->reserved && !w->assigned && s->spares.next != s->spares.prev)
			break;
		deadline = clock_mono_ns() + patience;
	}
	if (!l) {
		list_remove(&w->spare_link);
		list_remove(&w->link);
		list_push_back(&s->exited, &w->link);
		s->nworkers--;
		worker_add_counters(&s->past, &w->n);
		cond_broadcast(&s->changed);
	}
	mutex_unlock(&s->lock);
	return l;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct loop *l;

	self = w;
	w->tid = gettid();
	pthread_setname_np(pthread_self(), "rpc");
	blocking_set_hook(loop_blocks, w);
	while ((l = next_loop(w)) != NULL)
		loop_run(w, l);
	blocking_set_hook(NULL, NULL);
	self = NULL;
	call_pool_free(w->server, w->calls);
	rxbuf_pool_free(w->server, w->bufs);
	return NULL;
}

/* Signals are for the program's other threads; SIGPIPE of sendfile() for nobody. */
int thread_start(pthread_t *t, void *(*main)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all;
	int err = pthread_attr_init(&attr);

	if (err)
		return -err;
	sigfillset(&all);
	err = pthread_attr_setsigmask_np(&attr, &all);
	if (!err)
		err = pthread_create(t, &attr, main, arg);
	pthread_attr_destroy(&attr);
	return -err;
}

/* Threads that have ended need to be joined; they hold nothing any more. */
static void join_exited(struct list *exited)
{
	while (!list_empty(exited)) {
		struct worker *w = list_first(exited, struct worker, link);

		list_remove(&w->link);
		pthread_join(w->thread, NULL);
		cond_destroy(&w->wake);
		free(w);
	}
}

/* A new worker, reserved for the caller. */
static struct worker *worker_new(struct rpc_server *s) REQUIRES(s->lock)
{
	struct worker *w;
	int err;

	if (s->nworkers >= s->limits.max_threads)
		return NULL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->server = s;
	w->reserved = true;
	cond_init(&w->wake);
	list_init(&w->spare_link);
	list_push_back(&s->workers, &w->link);
	s->nworkers++;
	err = thread_start(&w->thread, worker_main, w);
	if (err) {
		if (clock_mono_ns() >= s->thread_log_after)
			log_warn("cannot start another thread: %s; slow calls wait for each other",
				 strerror(-err));
		s->thread_log_after = clock_mono_ns() + LOG_EVERY;
		list_remove(&w->link);
		s->nworkers--;
		cond_destroy(&w->wake);
		free(w);
		return NULL;
	}
	return w;
}

struct worker *worker_reserve(struct rpc_server *s)
{
	struct list exited = LIST_INITIALIZER(exited);
	struct worker *w = NULL;

	mutex_lock(&s->lock);
	if (!atomic_load(&s->quit)) {
		w = list_first(&s->spares, struct worker, spare_link);
		if (w) {
			list_remove(&w->spare_link);
			w->reserved = true;
		} else {
			w = worker_new(s);
		}
	}
	list_splice_back(&exited, &s->exited);
	mutex_unlock(&s->lock);
	join_exited(&exited);
	return w;
}

void worker_assign(struct worker *w, struct loop *l)
{
	struct rpc_server *s = w->server;

	mutex_lock(&s->lock);
	w->assigned = l;
	cond_signal(&w->wake);
	mutex_unlock(&s->lock);
}

void worker_unreserve(struct worker *w)
{
	struct rpc_server *s = w->server;

	mutex_lock(&s->lock);
	w->reserved = false;
	list_push_front(&s->spares, &w->spare_link);
	cond_signal(&w->wake);
	mutex_unlock(&s->lock);
}

/* After quit was set: every thread ends once its loop is empty and its call has returned. */
void workers_join(struct rpc_server *s)
{
	struct list exited = LIST_INITIALIZER(exited);
	struct worker *w;

	mutex_lock(&s->lock);
	list_for_each (w, &s->workers, link)
		cond_signal(&w->wake);
	while (!list_empty(&s->workers))
		cond_wait(&s->changed, &s->lock);
	list_splice_back(&exited, &s->exited);
	mutex_unlock(&s->lock);
	join_exited(&exited);
}

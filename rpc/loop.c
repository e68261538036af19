/*
 * Loops: what the owner of a loop does, and how others reach it. The rules of ownership are told
 * in internal.h.
 *
 * One turn: settle() works off everything that is not an event of epoll (replies to flush, news
 * from other threads, resumed calls, buffered input), then epoll_wait(), then the events. The
 * events' replies are sent by the next turn's settle(), one sendmsg() per connection. Whenever
 * code that is not rpc's may have run, the owner asks whether it still is the owner (w->loop).
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

#define EVENTS 64

/* ---- sections ---- */

void section_enter(struct worker *w)
{
	struct loop *l = w->loop;

	if (!l)
		return;
	w->section = ++l->seq << LOOP_SEQ_SHIFT | LOOP_IN_CALL;
	atomic_store_explicit(&l->state, w->section, memory_order_release);
}

bool section_leave(struct worker *w)
{
	uint64_t expected = w->section;

	if (!w->loop)
		return false;
	w->section = 0;
	if (unlikely(!atomic_compare_exchange_strong(&w->loop->state, &expected, LOOP_RUNNING))) {
		w->loop = NULL;
		return false;
	}
	return true;
}

bool loop_give(struct worker *w)
{
	struct loop *l = w->loop;
	struct worker *spare = worker_reserve(w->server);

	if (!spare)
		return false;
	w->loop = NULL;
	count(&w->n.given, 1);
	worker_assign(spare, l);
	return true;
}

/* The hook of blocking_section(): in a handler, so no other call may be finished here. */
void loop_blocks(void *arg)
{
	struct worker *w = arg;
	struct loop *l = w->loop;

	if (!l || !w->section || !section_leave(w))
		return;

	/* Flushing may put a connection back at the list's end. */
	for (struct list *last = l->flush.prev; !list_empty(&l->flush);) {
		struct rpc_conn *c = list_first(&l->flush, struct rpc_conn, flush_link);
		bool end = &c->flush_link == last;

		list_remove(&c->flush_link);
		conn_flush(w, c, true);
		if (end)
			break;
	}
	if (!loop_give(w))
		section_enter(w);
}

/* ---- reaching a loop ---- */

/* Returns whether inbox_fd must be written, after the lock is released. */
static bool must_signal(struct loop *l) REQUIRES(l->inbox_lock)
{
	struct worker *w = worker_self();

	atomic_store(&l->inbox_any, true);
	/* The owner outside of a section looks into its inbox before it waits. */
	if (l->inbox_signalled || (w && w->loop == l && !w->section))
		return false;
	l->inbox_signalled = true;
	return true;
}

static void signal_loop(struct loop *l)
{
	uint64_t one = 1;

	if (write(l->inbox_fd, &one, sizeof(one)) < 0) {
		/* EAGAIN: the counter is full, so the loop wakes anyhow. */
	}
}

void loop_wake(struct loop *l)
{
	bool signal;

	mutex_lock(&l->inbox_lock);
	signal = must_signal(l);
	mutex_unlock(&l->inbox_lock);
	if (signal)
		signal_loop(l);
}

void loop_kick_conn(struct rpc_conn *c)
{
	struct loop *l = c->loop;
	bool signal = false;

	mutex_lock(&l->inbox_lock);
	if (!c->in_inbox && !l->inbox_closed) {
		c->in_inbox = true;
		rpc_conn_ref(c);
		list_push_back(&l->inbox_conns, &c->attention_link);
		signal = must_signal(l);
	}
	mutex_unlock(&l->inbox_lock);
	if (signal)
		signal_loop(l);
}

void rpc_call_resume(struct rpc_call *pub)
{
	struct call *call = container_of(pub, struct call, pub);
	struct loop *l = pub->conn->loop;
	int running = PARK_RUNNING;
	bool signal = false;

	if (atomic_compare_exchange_strong(&call->park, &running, PARK_RESUMED))
		return;
	mutex_lock(&l->inbox_lock);
	if (atomic_load(&call->park) == PARK_PARKED && !l->inbox_closed) {
		atomic_store(&call->park, PARK_RESUMED);
		list_remove(&call->link);
		list_push_back(&l->inbox_calls, &call->link);
		signal = must_signal(l);
	}
	mutex_unlock(&l->inbox_lock);
	if (signal)
		signal_loop(l);
}

void rpc_call_later(struct rpc_call *pub, struct rpc_later *later)
{
	struct list just_this = LIST_INITIALIZER(just_this);
	struct loop *l = pub->conn->loop;
	struct worker *w = worker_self();

	if (!w || w->loop != l || !w->section) {
		list_push_back(&just_this, &later->link);
		later->fn(&just_this, false);
		return;
	}
	/* The loop may have been taken away without our knowing: section_left() looks after that. */
	mutex_lock(&l->inbox_lock);
	list_push_back(&l->later, &later->link);
	l->nlater++;
	atomic_store(&l->later_any, true);
	mutex_unlock(&l->inbox_lock);
}

/* The owner asks: are there no calls but those that have left something to be done, `n` of them? */
static bool is_all(struct loop *l, unsigned n)
{
	struct rpc_conn *c = list_first(&l->conns, struct rpc_conn, conns_link);

	return c && c->conns_link.next == &l->conns && list_empty(&l->pending) &&
	       LOAD_CALLS(atomic_load(&c->load)) == n;
}

static void call_later(struct list *laters, bool alone)
{
	struct rpc_later *first, *next, *tmp;

	while ((first = list_first(laters, struct rpc_later, link))) {
		struct list same = LIST_INITIALIZER(same);

		list_for_each_safe (next, tmp, laters, link) {
			if (next->fn != first->fn)
				continue;
			list_remove(&next->link);
			list_push_back(&same, &next->link);
		}
		first->fn(&same, alone);
	}
}

/* What calls have left to be done; the worker may have lost its loop afterwards. */
static void run_later(struct worker *w, struct loop *l)
{
	struct list laters = LIST_INITIALIZER(laters);
	unsigned n;
	bool alone;

	if (likely(!atomic_load(&l->later_any)))
		return;
	mutex_lock(&l->inbox_lock);
	atomic_store(&l->later_any, false);
	list_splice_back(&laters, &l->later);
	n = l->nlater;
	l->nlater = 0;
	mutex_unlock(&l->inbox_lock);
	alone = w->loop == l && is_all(l, n);
	section_enter(w);
	call_later(&laters, alone);
	section_leave(w);
}

/* After a call. The loop's new owner may have looked before the call left something to be done. */
static void section_left(struct worker *w, struct loop *l)
{
	if (unlikely(!section_leave(w)))
		run_later(w, l);
}

/* The handler says PARKED; false if the call has been resumed already. */
static bool call_park(struct call *call)
{
	struct rpc_conn *c = call->pub.conn;
	struct loop *l = c->loop;
	int running = PARK_RUNNING;
	bool parked;

	call->pub.alone = false;
	call_charge(call);
	mutex_lock(&l->inbox_lock);
	list_push_back(&l->parked, &call->link);
	call->counted = !call->pub.resumes_soon;
	atomic_fetch_add(&c->parked, call->counted);
	parked = atomic_compare_exchange_strong(&call->park, &running, PARK_PARKED);
	if (!parked) {
		list_remove(&call->link);
		atomic_fetch_sub(&c->parked, call->counted);
	}
	mutex_unlock(&l->inbox_lock);
	return parked;
}

void call_run(struct worker *w, struct call *call, bool resume)
{
	const struct rpc_program *p = call->program;
	struct rpc_conn *c = call->pub.conn;
	enum rpc_verdict v;

	section_enter(w);
	for (;;) {
		v = resume ? call->pub.resume(&call->pub) : p->handle(&call->pub, p->ctx);
		if (v != RPC_PARKED)
			break;
		/* A parked call may be anywhere by now, unless it comes back at once. */
		rpc_conn_ref(c);
		if (call_park(call)) {
			count(&w->n.parked, 1);
			section_left(w, c->loop);
			if (unlikely(atomic_load(&c->quiet_wanted)))
				loop_kick_conn(c);
			rpc_conn_unref(c);
			return;
		}
		rpc_conn_unref(c);
		atomic_store(&call->park, PARK_RUNNING);
		resume = true;
	}
	section_left(w, c->loop);
	if (unlikely(v == RPC_DROP)) {
		rpc_conn_close(c);
		call_finish(w, call);
		return;
	}
	if (unlikely(v != RPC_REPLY))
		message_error(call, v);
	call_reply(w, call);
}

/* ---- the owner's turn ---- */

void loop_add_pending(struct loop *l, struct rpc_conn *c)
{
	if (list_empty(&c->pending_link))
		list_push_back(&l->pending, &c->pending_link);
}

void loop_add_flush(struct loop *l, struct rpc_conn *c)
{
	if (list_empty(&c->flush_link))
		list_push_back(&l->flush, &c->flush_link);
}

static bool flush_all(struct worker *w, struct loop *l)
{
	while (!list_empty(&l->flush)) {
		struct rpc_conn *c = list_first(&l->flush, struct rpc_conn, flush_link);

		list_remove(&c->flush_link);
		conn_flush(w, c, false);
		if (w->loop != l)
			return false;
	}
	return true;
}

static void take_inbox(struct loop *l)
{
	mutex_lock(&l->inbox_lock);
	atomic_store(&l->inbox_any, false);
	l->inbox_signalled = false;
	list_splice_back(&l->attention, &l->inbox_conns);
	list_splice_back(&l->resumed, &l->inbox_calls);
	mutex_unlock(&l->inbox_lock);
}

static bool attend_all(struct worker *w, struct loop *l)
{
	while (!list_empty(&l->attention)) {
		struct rpc_conn *c = list_first(&l->attention, struct rpc_conn, attention_link);

		mutex_lock(&l->inbox_lock);
		list_remove(&c->attention_link);
		c->in_inbox = false;
		mutex_unlock(&l->inbox_lock);
		conn_attend(w, c);
		rpc_conn_unref(c);
		if (w->loop != l)
			return false;
	}
	return true;
}

static bool run_resumed(struct worker *w, struct loop *l)
{
	while (!list_empty(&l->resumed)) {
		struct call *call = list_first(&l->resumed, struct call, link);

		list_remove(&call->link);
		atomic_fetch_sub(&call->pub.conn->parked, call->counted);
		atomic_store(&call->park, PARK_RUNNING);
		count(&w->n.resumed, 1);
		call_run(w, call, true);
		if (w->loop != l)
			return false;
	}
	return true;
}

static bool process_pending(struct worker *w, struct loop *l)
{
	while (!list_empty(&l->pending)) {
		struct rpc_conn *c = list_first(&l->pending, struct rpc_conn, pending_link);

		conn_process(w, c);
		if (w->loop != l)
			return false;
		list_remove(&c->pending_link);
	}
	return true;
}

static void recheck_all(struct loop *l)
{
	struct rpc_conn *c;

	if (likely(!atomic_load_explicit(&l->recheck, memory_order_relaxed)) ||
	    !atomic_exchange(&l->recheck, false))
		return;
	list_for_each (c, &l->conns, conns_link)
		conn_recheck(c);
}

void loop_visit(struct loop *l)
{
	struct visits *v = &l->server->visits;
	struct sockaddr_storage address;
	unsigned busy = 0;
	struct rpc_conn *c;
	uint64_t number;
	enum visit what;

	if (likely(!atomic_load_explicit(&l->visit, memory_order_relaxed)) ||
	    !atomic_exchange(&l->visit, false))
		return;
	mutex_lock(&v->lock);
	number = v->number;
	what = v->what;
	address = v->address;
	mutex_unlock(&v->lock);
	if (number == l->visited)
		return;
	l->visited = number;
	list_for_each (c, &l->conns, conns_link) {
		if (!address_same_host(&c->local, &address))
			continue;
		if (what == VISIT_RESET) {
			conn_reset(c);
			continue;
		}
		conn_freeze(c);
		busy += conn_is_busy(c);
	}
	mutex_lock(&v->lock);
	if (number == v->number) {
		v->busy += busy;
		if (--v->left == 0)
			cond_broadcast(&v->answered);
	}
	mutex_unlock(&v->lock);
}

/* Every connection is to look whether it can be closed: on stopping. */
static void drain(struct loop *l)
{
	struct rpc_conn *c;
	bool quit = atomic_load(&l->server->quit);

	if (likely(!atomic_load_explicit(&l->server->draining, memory_order_relaxed)))
		return;
	if (l->draining && !(quit && !l->quitting))
		return;
	l->draining = true;
	l->quitting = quit;
	if (l == l->server->loops[0])
		listeners_close(l->server);
	list_for_each (c, &l->conns, conns_link)
		conn_drain(c);
}

static bool unsettled(struct loop *l)
{
	return atomic_load(&l->later_any) || !list_empty(&l->flush) || !list_empty(&l->finished) ||
	       !list_empty(&l->attention) || !list_empty(&l->resumed) || atomic_load(&l->inbox_any);
}

/* False if the loop was lost. */
static bool settle(struct worker *w, struct loop *l)
{
	do {
		struct list finished = LIST_INITIALIZER(finished);

		/* Left to others it can be done while replies are sent; done here it would hold them up. */
		if (l->conns.next != l->conns.prev)
			run_later(w, l);
		if (w->loop != l)
			return false;
		list_splice_back(&finished, &l->finished);
		out_finish_list(w, &finished);
		if (w->loop != l || !flush_all(w, l))
			return false;
		run_later(w, l);
		if (w->loop != l)
			return false;
		/* First the inbox, then what its signal may have been about. */
		if (atomic_load(&l->inbox_any))
			take_inbox(l);
		drain(l);
		loop_visit(l);
		recheck_all(l);
		if (!attend_all(w, l))
			return false;
		if (!atomic_load_explicit(&l->server->quit, memory_order_relaxed) &&
		    !run_resumed(w, l))
			return false;
		if (!process_pending(w, l))
			return false;
	} while (unsettled(l) && !(l->quitting && list_empty(&l->conns)));
	return true;
}

static void sweep(struct loop *l)
{
	const struct rpc_limits *lim = &l->server->limits;
	unsigned shortest = lim->record_seconds;
	struct rpc_conn *c;

	if (lim->idle_seconds && (!shortest || lim->idle_seconds < shortest))
		shortest = lim->idle_seconds;
	if (!shortest)
		shortest = 60;
	if (l->now_ns < l->next_sweep_ns)
		return;
	l->next_sweep_ns = l->now_ns + shortest * (NS_PER_SEC / 4);
	list_for_each (c, &l->conns, conns_link)
		conn_sweep(c, l->now_ns);
}

/* Milliseconds until the loop has something to do by itself; -1: never. */
static int wait_ms(struct loop *l)
{
	uint64_t next = list_empty(&l->conns) ? 0 : l->next_sweep_ns;

	if (l == l->server->loops[0]) {
		uint64_t accept = listeners_tick(l->server, l->now_ns);

		if (accept && (!next || accept < next))
			next = accept;
	}
	if (!next)
		return -1;
	return next <= l->now_ns ? 0 : (int)((next - l->now_ns) / NS_PER_MS) + 1;
}

static void clear_inbox_fd(struct loop *l)
{
	uint64_t n;

	if (read(l->inbox_fd, &n, sizeof(n)) < 0) {
		/* EAGAIN: another owner has read it. */
	}
}

static void handle(struct worker *w, const struct epoll_event *ev)
{
	struct source *src = ev->data.ptr;

	switch (src->kind) {
	case SOURCE_CONN:
		conn_event(w, container_of(src, struct rpc_conn, source), ev->events);
		break;
	case SOURCE_LISTENER:
		listener_event(w, container_of(src, struct listener, source));
		break;
	case SOURCE_INBOX:
		clear_inbox_fd(w->loop);
		break;
	}
}

/* Looks again and again, for a little while; 0: nothing came. */
static int spin(struct loop *l, struct epoll_event *ev)
{
	uint64_t start = clock_mono_ns(), ns;
	int n;

	do {
		n = epoll_wait(l->epfd, ev, EVENTS, 0);
		ns = clock_mono_ns() - start;
	} while (n == 0 && ns < SPIN_NS);
	spin_ended(&l->spin, n != 0, ns);
	return n;
}

static int wait_events(struct worker *w, struct loop *l, struct epoll_event *ev)
{
	uint64_t calls = atomic_load_explicit(&w->n.calls, memory_order_relaxed), start;
	bool single = calls - l->calls_seen <= 1;
	int ms = wait_ms(l), n;

	l->calls_seen = calls;
	if (single && spin_wanted(&l->spin)) {
		n = spin(l, ev);
		if (n != 0)
			return n;
	}
	start = clock_mono_ns();
	n = epoll_wait(l->epfd, ev, EVENTS, ms);
	spin_slept(&l->spin, single, clock_mono_ns() - start);
	return n;
}

void loop_run(struct worker *w, struct loop *l)
{
	struct epoll_event ev[EVENTS];

	w->loop = l;
	w->section = 0;
	atomic_store_explicit(&l->owner, w->tid, memory_order_relaxed);
	for (;;) {
		l->now_ns = clock_coarse_ns();
		count(&l->turns, 1);
		sweep(l);
		if (!settle(w, l))
			return;
		if (l->quitting && list_empty(&l->conns))
			break;

		atomic_store_explicit(&l->state, LOOP_IDLE, memory_order_release);

		int n = wait_events(w, l, ev);

		/* Ordered before the look whether the watcher sleeps. */
		atomic_exchange(&l->state, LOOP_RUNNING);
		watcher_wake(w->server);
		worker_trim(w);
		if (n < 0 && errno != EINTR) {
			log_error("epoll_wait: %s; giving up", strerror(errno));
			abort();
		}
		l->now_ns = clock_coarse_ns();
		for (int i = 0; i < n; i++) {
			handle(w, &ev[i]);
			if (w->loop != l)
				return;
		}
	}
	run_later(w, l);
	w->loop = NULL;
}

/* ---- life ---- */

struct loop *loop_new(struct rpc_server *s)
{
	struct loop *l = calloc(1, sizeof(*l));
	struct epoll_event ev = { .events = EPOLLIN };

	if (!l)
		return NULL;
	l->inbox_source.kind = SOURCE_INBOX;
	l->server = s;
	list_init(&l->conns);
	list_init(&l->pending);
	list_init(&l->flush);
	list_init(&l->attention);
	list_init(&l->resumed);
	list_init(&l->finished);
	list_init(&l->inbox_conns);
	list_init(&l->inbox_calls);
	list_init(&l->parked);
	list_init(&l->later);
	mutex_init(&l->inbox_lock);
	atomic_init(&l->state, LOOP_RUNNING);
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	l->inbox_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ev.data.ptr = &l->inbox_source;
	if (l->epfd < 0 || l->inbox_fd < 0 ||
	    epoll_ctl(l->epfd, EPOLL_CTL_ADD, l->inbox_fd, &ev) != 0) {
		int err = errno;

		loop_free(l);
		errno = err;
		return NULL;
	}
	return l;
}

/* Calls that nobody will run any more. */
static void finish_calls(struct list *calls)
{
	while (!list_empty(calls)) {
		struct call *call = list_first(calls, struct call, link);

		list_remove(&call->link);
		call_finish(NULL, call);
	}
}

/* Connections with news that nobody will hear any more. */
static void drop_attention(struct loop *l)
{
	while (!list_empty(&l->attention)) {
		struct rpc_conn *c = list_first(&l->attention, struct rpc_conn, attention_link);

		list_remove(&c->attention_link);
		/* Accepted when the loop had ended: no program knows of it. */
		if (!c->started && atomic_exchange(&c->open, false)) {
			atomic_fetch_sub(&l->server->nconns, 1);
			rpc_conn_unref(c);
		}
		rpc_conn_unref(c);
	}
}

void loop_close_inbox(struct loop *l)
{
	struct call *call;

	mutex_lock(&l->inbox_lock);
	l->inbox_closed = true;
	list_splice_back(&l->parked, &l->inbox_calls);
	list_splice_back(&l->parked, &l->resumed);
	list_for_each (call, &l->parked, link)
		atomic_store(&call->park, PARK_DROPPED);
	list_splice_back(&l->attention, &l->inbox_conns);
	mutex_unlock(&l->inbox_lock);
	drop_attention(l);
}

void loop_free(struct loop *l)
{
	loop_close_inbox(l);
	finish_calls(&l->parked);
	rxbuf_unref(l->server, l->rx);
	if (l->inbox_fd >= 0)
		close(l->inbox_fd);
	if (l->epfd >= 0)
		close(l->epfd);
	mutex_destroy(&l->inbox_lock);
	free(l);
}

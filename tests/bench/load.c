/* The loop of the load generator. See load.h. */
#include "tests/bench/load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define STALL_MS 30000

struct team {
	struct conn *conns;
	unsigned n;
	bool batched;
	uint64_t deadline;    /* ns; UINT64_MAX: none */
	pthread_mutex_t gate; /* held until all may start */
	bool cancelled;	      /* set before the gate opens */
};

struct member {
	struct team *team;
	unsigned index, stride; /* its connections: index, index + stride... */
	pthread_t thread;
	unsigned busy; /* slots with a request in flight */
	double cpu;    /* ns */
};

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Makes and queues the slot's next request; leaves the slot idle if there is none. */
static int slot_next(struct member *m, struct conn *c, struct slot *s)
{
	struct enc e;

	if (!c->workload->encode(c, s, &e)) {
		if (c->error[0])
			return -1;
		m->busy--;
		return 0;
	}
	if (call_end(c, s, &e))
		return -1;
	conn_queue(c, s);
	return m->team->batched ? 0 : conn_flush(c);
}

static int take_reply(struct member *m, struct conn *c, struct dec *d, uint64_t now)
{
	uint32_t id = d->end - d->p < 4 ? UINT32_MAX : load32(d->p) & 0xff;
	struct slot *s = id < c->depth ? &c->slots[id] : NULL;
	enum step step;

	if (!s || !s->in_flight || load32(d->p) != s->xid)
		return conn_fail(c, "a reply that nobody waits for");
	s->in_flight = false;
	if (!c->workload->raw && rpc_reply(c, s, d))
		return -1;
	step = c->workload->decode(c, s, d, &c->tally.units);
	if (step == STEP_FAILED || (step != STEP_AGAIN && expect_end(c, d)))
		return -1;
	if (step == STEP_AGAIN)
		c->tally.delays++;
	if (step == STEP_DONE) {
		hist_add(&c->tally.latency, now - s->since);
		s->step = 0;
		s->since = now;
		if (now >= m->team->deadline) {
			m->busy--;
			return 0;
		}
	}
	return slot_next(m, c, s);
}

static int take_input(struct member *m, struct conn *c, bool wait)
{
	struct dec d;
	uint64_t now;
	int n = conn_read(c, wait);

	if (n <= 0)
		return n;
	now = now_ns();
	c->tally.last = now;
	while (conn_record(c, &d)) {
		if (take_reply(m, c, &d, now))
			return -1;
	}
	if (c->error[0])
		return -1;
	return conn_flush(c);
}

static int start_conn(struct member *m, struct conn *c)
{
	uint64_t now = now_ns();

	for (unsigned i = 0; i < c->depth; i++) {
		struct slot *s = &c->slots[i];

		s->since = now;
		s->step = 0;
		m->busy++;
		if (slot_next(m, c, s))
			return -1;
	}
	return conn_flush(c);
}

/* A single connection with nothing left to send can simply wait in recv. */
static int loop_single(struct member *m, struct conn *c)
{
	while (m->busy > 0 && c->sent == c->queued) {
		if (take_input(m, c, true) < 0)
			return -1;
	}
	return 0;
}

static int watch(int ep, struct conn *c, int how)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

	c->want_out = c->sent < c->queued;
	if (c->want_out)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(ep, how, c->fd, &ev) != 0)
		return conn_fail(c, "epoll_ctl: %s", strerror(errno));
	return 0;
}

static int loop_many(struct member *m, int ep, struct conn *first)
{
	if (first->want_out != (first->sent < first->queued) && watch(ep, first, EPOLL_CTL_MOD))
		return -1;
	while (m->busy > 0) {
		struct epoll_event ev[16];
		int n = epoll_wait(ep, ev, 16, STALL_MS);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return conn_fail(first, n < 0 ? "epoll_wait failed" : "no reply for 30 s");
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if ((ev[i].events & EPOLLOUT) && conn_flush(c))
				return -1;
			if ((ev[i].events & ~(uint32_t)EPOLLOUT) && take_input(m, c, false) < 0)
				return -1;
			if (c->want_out != (c->sent < c->queued) && watch(ep, c, EPOLL_CTL_MOD))
				return -1;
		}
		if (m->stride >= m->team->n && first->sent == first->queued)
			return 0;
	}
	return 0;
}

static int run_member(struct member *m, int ep)
{
	struct team *t = m->team;
	struct conn *first = &t->conns[m->index];

	for (unsigned i = m->index; i < t->n; i += m->stride) {
		if (start_conn(m, &t->conns[i]) || watch(ep, &t->conns[i], EPOLL_CTL_ADD))
			return -1;
	}
	while (m->busy > 0) {
		/* With one connection: epoll only while the socket is full. */
		if (m->stride >= t->n && loop_single(m, first))
			return -1;
		if (m->busy > 0 && loop_many(m, ep, first))
			return -1;
	}
	return 0;
}

static double thread_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void *member_main(void *arg)
{
	struct member *m = arg;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	double before;

	pthread_mutex_lock(&m->team->gate);
	pthread_mutex_unlock(&m->team->gate);
	before = thread_cpu();
	if (m->team->cancelled)
		conn_fail(&m->team->conns[m->index], "no thread for a connection");
	else if (ep < 0)
		conn_fail(&m->team->conns[m->index], "epoll_create1: %s", strerror(errno));
	else
		run_member(m, ep);
	m->cpu = thread_cpu() - before;
	if (ep >= 0)
		close(ep);
	return NULL;
}

static int collect(const struct team *t, uint64_t began, struct load_result *r, char error[200])
{
	uint64_t last = began;

	r->units_min = UINT64_MAX;
	for (unsigned i = 0; i < t->n; i++) {
		struct conn *c = &t->conns[i];

		if (c->error[0]) {
			snprintf(error, 200, "%s", c->error);
			return -1;
		}
		hist_merge(&r->total.latency, &c->tally.latency);
		r->total.units += c->tally.units;
		r->total.requests += c->tally.requests;
		r->total.delays += c->tally.delays;
		r->total.bytes_in += c->tally.bytes_in;
		r->total.bytes_out += c->tally.bytes_out;
		if (c->tally.units < r->units_min)
			r->units_min = c->tally.units;
		if (c->tally.units > r->units_max)
			r->units_max = c->tally.units;
		if (c->tally.last > last)
			last = c->tally.last;
	}
	r->seconds = (double)(last - began) / 1e9;
	return 0;
}

int load_run(struct conn *conns, unsigned n, const struct load_how *how, struct load_result *r,
	     char error[200])
{
	unsigned threads = how->threads < n ? how->threads : n, running = 0;
	struct team team = { .conns = conns, .n = n, .batched = how->batched };
	struct member *members = calloc(threads, sizeof(*members));
	uint64_t began;

	memset(r, 0, sizeof(*r));
	if (!members) {
		snprintf(error, 200, "out of memory");
		return -1;
	}
	for (unsigned i = 0; i < n; i++)
		memset(&conns[i].tally, 0, sizeof(conns[i].tally));
	pthread_mutex_init(&team.gate, NULL);
	pthread_mutex_lock(&team.gate);
	for (; running < threads; running++) {
		struct member *m = &members[running];

		*m = (struct member){ .team = &team, .index = running, .stride = threads };
		if (pthread_create(&m->thread, NULL, member_main, m) != 0) {
			conn_fail(&conns[running], "no thread for a connection");
			team.cancelled = true;
			break;
		}
	}
	began = now_ns();
	team.deadline = how->seconds > 0 ? began + (uint64_t)(how->seconds * 1e9) : UINT64_MAX;
	pthread_mutex_unlock(&team.gate);
	while (running > 0) {
		pthread_join(members[--running].thread, NULL);
		r->client_cpu += members[running].cpu;
	}
	pthread_mutex_destroy(&team.gate);
	free(members);
	return collect(&team, began, r, error);
}

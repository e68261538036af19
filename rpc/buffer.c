/*
 * Receive buffers and the account of memory.
 *
 * Three kinds: ordinary ones of RX_SIZE, which workers keep for reuse; big ones that hold the
 * longest record allowed, mapped so that only what has been received takes memory, of which the
 * server keeps a few for reuse; and small ones for records that arrive in pieces, which grow.
 */
#include "rpc/internal.h"

#include <stdlib.h>
#include <sys/mman.h>

void server_mem_add(struct rpc_server *s, size_t n)
{
	atomic_fetch_add(&s->memory, n);
}

void server_mem_sub(struct rpc_server *s, size_t n)
{
	atomic_fetch_sub(&s->memory, n);
	/* Some distance below the limit, lest connections stop and go with every buffer. */
	if (likely(!atomic_load(&s->starved)) || !server_memory_ok(s, true))
		return;
	if (!atomic_exchange(&s->starved, false))
		return;
	for (unsigned i = 0; i < s->nloops; i++) {
		atomic_store(&s->loops[i]->recheck, true);
		loop_wake(s->loops[i]);
	}
}

static struct rxbuf *rxbuf_init(struct rxbuf *b, int kind, size_t cap)
{
	atomic_init(&b->refs, 1);
	b->kind = kind;
	b->cap = cap;
	b->next = NULL;
	b->pipe[0] = b->pipe[1] = -1;
	return b;
}

struct rxbuf *rxbuf_get(struct worker *w)
{
	struct rxbuf *b = w->bufs;

	if (b) {
		w->bufs = b->next;
		w->nbufs--;
		atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
		return b;
	}
	b = malloc(RX_SIZE);
	if (!b)
		return NULL;
	server_mem_add(w->server, RX_SIZE);
	return rxbuf_init(b, RX_POOLED, RX_SIZE - sizeof(*b));
}

static size_t big_size(const struct rpc_server *s)
{
	return (sizeof(struct rxbuf) + s->limits.max_record + 4095) & ~(size_t)4095;
}

struct rxbuf *rxbuf_get_big(struct rpc_server *s)
{
	size_t size = big_size(s);
	struct rxbuf *b;

	mutex_lock(&s->bigs_lock);
	b = s->bigs;
	if (b) {
		s->bigs = b->next;
		s->nbigs--;
	}
	mutex_unlock(&s->bigs_lock);
	if (b) {
		atomic_store_explicit(&b->refs, 1, memory_order_relaxed);
		return b; /* with its pipe, if it has one */
	}
	b = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0);
	if (b == MAP_FAILED)
		return NULL;
	server_mem_add(s, size);
	return rxbuf_init(b, RX_BIG, size - sizeof(*b));
}

struct rxbuf *rxbuf_get_malloc(struct rpc_server *s, size_t cap)
{
	struct rxbuf *b = malloc(sizeof(*b) + cap);

	if (!b)
		return NULL;
	server_mem_add(s, sizeof(*b) + cap);
	return rxbuf_init(b, RX_MALLOC, cap);
}

static void rxbuf_free(struct rpc_server *s, struct rxbuf *b)
{
	size_t size = sizeof(*b) + b->cap;

	payload_forget(s, b);
	if (b->kind == RX_BIG)
		munmap(b, size);
	else
		free(b);
	server_mem_sub(s, size);
}

static bool rxbuf_keep(struct rpc_server *s, struct rxbuf *b)
{
	struct worker *w = worker_self();
	bool kept = false;

	if (!server_may_pool(s))
		return false;
	if (b->kind == RX_POOLED && w && w->server == s && w->nbufs < WORKER_BUFFERS) {
		b->next = w->bufs;
		w->bufs = b;
		w->nbufs++;
		return true;
	}
	if (b->kind == RX_BIG) {
		payload_drop(s, b);
		mutex_lock(&s->bigs_lock);
		if (s->nbigs < SERVER_BIGS) {
			b->next = s->bigs;
			s->bigs = b;
			s->nbigs++;
			kept = true;
		}
		mutex_unlock(&s->bigs_lock);
	}
	return kept;
}

void rxbuf_unref(struct rpc_server *s, struct rxbuf *b)
{
	if (b && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1 &&
	    !rxbuf_keep(s, b))
		rxbuf_free(s, b);
}

void rxbuf_pool_free(struct rpc_server *s, struct rxbuf *list)
{
	for (struct rxbuf *b = list, *next; b; b = next) {
		next = b->next;
		rxbuf_free(s, b);
	}
}

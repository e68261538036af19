/*
 * What the files of rpc/ share and nobody else sees.
 *
 * Threads and loops
 *
 *	A loop is an epoll set with the connections that belong to it for life. At any time exactly
 *	one thread (worker) owns the loop and may touch its fields and its connections' receive
 *	side. The owner reads, runs handlers and sends the batch's replies.
 *
 *	   IDLE ----------> RUNNING ----------> IN_CALL|seq      (loop->state)
 *	     ^   epoll_wait    |  ^   section      |      |
 *	     +-----------------+  +----------------+      | watcher (or blocking_section():
 *	                          ^                       v  the owner itself, by way of RUNNING)
 *	                          +---- RUNNING, with a spare worker as the new owner
 *
 *	While IN_CALL the owner runs code that is not rpc's and touches nothing of the loop; that is
 *	when the loop can be taken away. The owner notices when its compare-and-swap back to RUNNING
 *	fails; from then on w->loop is NULL, it finishes what it holds (its call's reply, under the
 *	connection's lock) and becomes a spare. Everything unfinished of the loop is therefore
 *	kept in the loop: connections with buffered input (pending), with replies to send
 *	(flush), with news from other threads (attention), what calls have left to be done
 *	(later), and the inbox.
 *
 * Locks, in order: visits.asking; visits.lock; loop->inbox_lock; conn->lock; server->lock (threads).
 * None is held over a system call on a socket, nor over code that is not rpc's.
 *
 * References: a connection is kept by its loop until torn down, by each call, and by whoever
 * took rpc_conn_ref(). A receive buffer is kept by the loop that reads into it, by connections
 * with unparsed bytes in it and by the calls decoded from it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/lock.h"
#include "rpc/rpc.h"
#include "rpc/spin.h"

#define RX_SIZE	       65536 /* an ordinary receive buffer, header included */
#define MAX_PROGRAMS   8
#define AUTH_BODY_MAX  400 /* RFC 5531 section 8.2 */
#define CONN_AUTHS     4
#define AS_BIG	       32768 /* bytes arrived from which on a record gets a big buffer */
#define WORKER_CALLS   128 /* calls and buffers that a worker keeps for reuse */
#define WORKER_BUFFERS 8
#define ALONE_AFTER    8  /* calls in a row that were alone until the next one hears so */
#define SERVER_BIGS    16 /* big buffers that the server keeps for reuse */

struct worker;
struct loop;
struct call;

/* ---- receive buffers (buffer.c) ---- */

struct rxbuf {
	_Atomic uint32_t refs; /* loop reading into it, connections with input in it, calls */
	enum { RX_POOLED, RX_BIG, RX_MALLOC } kind;
	size_t cap;
	int pipe[2];	 /* of a big one, for payloads (payload.c); -1: none */
	struct rxbuf *next; /* in a pool */
	_Alignas(16) uint8_t data[];
};

/* All of them: one reference for the caller; NULL when out of memory. */
struct rxbuf *rxbuf_get(struct worker *w);
/* For the longest record allowed. */
struct rxbuf *rxbuf_get_big(struct rpc_server *s);
struct rxbuf *rxbuf_get_malloc(struct rpc_server *s, size_t cap);
void rxbuf_unref(struct rpc_server *s, struct rxbuf *b);
static inline struct rxbuf *rxbuf_ref(struct rxbuf *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}
void rxbuf_pool_free(struct rpc_server *s, struct rxbuf *list);

/*
 * Memory held by the server's buffers and calls, in use or in pools. Nothing is kept in pools
 * while more than half of what is allowed is in use.
 */
static inline bool server_may_pool(struct rpc_server *s);
void server_mem_add(struct rpc_server *s, size_t n);
void server_mem_sub(struct rpc_server *s, size_t n);

/* ---- payloads that stay outside of memory (payload.c) ---- */

struct assembly;

/* Has the record grown so that a payload should be looked for? Then looks, once for each record. */
void payload_look(struct rpc_conn *c);
/* Splices more of the payload; as read(2): the bytes, 0, -errno. */
ssize_t payload_receive(struct rpc_conn *c);
/* Where the bytes in the pipe belong; of length 0 if there are none. */
struct rpc_hole payload_hole(const struct assembly *as);
/* The buffer is not used any more: no bytes of this record for the next one. */
void payload_drop(struct rpc_server *s, struct rxbuf *b);
/* The buffer is to be freed. */
void payload_forget(struct rpc_server *s, struct rxbuf *b);

/* ---- what epoll tells about ---- */

enum source_kind { SOURCE_CONN, SOURCE_LISTENER, SOURCE_INBOX };
struct source {
	enum source_kind kind;
};

/* ---- authentication (auth.c, auth_sys.c) ---- */

/* A decoded AUTH_SYS credential; kept by the connection's cache and by calls. Immutable. */
struct auth_sys {
	_Atomic uint32_t refs;
	uint32_t body_len;
	const struct cred *cred;
	char machine[256];
	uint8_t body[AUTH_BODY_MAX];
};

void auth_sys_unref(struct auth_sys *a);

/* Credential or verifier as it came. */
struct opaque_auth {
	uint32_t flavor;
	const uint8_t *body;
	uint32_t len;
};

/* What a flavor does at the ways in and out. RPCSEC_GSS will have its row. */
struct auth_ops {
	uint32_t flavor;
	/* Fills call->auth. 0, an auth_stat, or -ENOMEM. */
	int (*accept)(struct call *call, const struct opaque_auth *cred,
		      const struct opaque_auth *verf);
	/* The verifier of an accepted reply. */
	void (*put_verf)(struct call *call, struct xdr_out *x);
};

extern const struct auth_ops auth_none_ops, auth_sys_ops;
/* NULL for a flavor that we do not know. */
const struct auth_ops *auth_ops_of(uint32_t flavor);

/* ---- messages (message.c) ---- */

enum message {
	MESSAGE_CALL,  /* run the program's handler */
	MESSAGE_ERROR, /* the reply, an error, is encoded */
	MESSAGE_REPLY, /* of the peer to a call of ours */
	MESSAGE_BAD,   /* nothing that could be answered */
};

/*
 * A record of `len` bytes whose first ones are `head`: does its program let a part of it stay
 * outside of memory? *span is that part of the record.
 */
bool message_payload(const struct rpc_server *s, struct xdr_in head, size_t len,
		     struct rpc_span *span);
/* Decodes the header at call->pub.args, which moves on to the arguments. */
enum message message_decode(struct call *call);
/* Replaces whatever call->pub.reply holds by the error that `v` says. */
void message_error(struct call *call, enum rpc_verdict v);
/* Writes the record mark; false if the reply has failed. */
bool message_seal(struct xdr_out *x);

/* ---- calls ---- */

/* A record to be sent. In a connection's batch, queue or sendq. */
struct out {
	struct list link;
	struct xdr_out *x;
	size_t sent;	   /* of its memory bytes */
	size_t ext_sent;   /* of its first extent; sent extents leave x->extents */
	struct call *call; /* the call that it answers, or */
	struct outgoing *outgoing;
};

/* A record of rpc_conn_send(). */
struct outgoing {
	struct out out;
	struct xdr_out x;
	struct rpc_conn *conn; /* a reference */
	size_t bytes;	       /* counted in conn->outgoing_bytes and server->memory */
};

void outgoing_finish(struct outgoing *o);

enum park {
	PARK_RUNNING, /* in handler or resume */
	PARK_RESUMED, /* rpc_call_resume() came while RUNNING */
	PARK_PARKED,
	PARK_DROPPED, /* server stopped; under the loop's inbox_lock */
};

struct call {
	struct rpc_call pub;
	struct out out;
	struct rxbuf *rx; /* the record is in it */
	struct rpc_server *server;
	const struct rpc_program *program;
	const struct auth_ops *auth_ops;
	struct auth_sys *sys; /* what auth.cred points into; or NULL */
	size_t load;	      /* bytes counted in conn->load */
	size_t charged;	      /* bytes counted in server->memory */
	_Atomic int park;     /* enum park */
	bool counted;	      /* in conn->parked */
	struct list link;     /* loop->parked, ->inbox_calls (inbox_lock), ->resumed (owner) */
	struct call *next;    /* in a pool */
};

struct call *call_new(struct worker *w, struct rpc_conn *c, struct rxbuf *rx, const uint8_t *record,
		      size_t len);
/* Counts the memory that the call holds by now. */
void call_charge(struct call *call);
/* The reply is complete: counts what the call holds until it is sent. */
void call_held(struct call *call);
/*
 * done(), then everything it holds. `w` NULL: not on a worker. A worker may have lost its loop
 * afterwards.
 */
void call_finish(struct worker *w, struct call *call);
void call_pool_free(struct rpc_server *s, struct call *list);

/* ---- connections (transport.c) ---- */

/* A record being put together from fragments, or arriving in several reads. Loop owner's. */
struct assembly {
	struct rxbuf *buf; /* NULL: nothing yet */
	size_t len;	   /* bytes of the record so far */
	uint32_t frag_left;
	bool started;	   /* a fragment's mark has been seen */
	bool last;	   /* the current fragment ends the record */
	bool complete;	   /* to be dispatched */
	bool looked;	   /* for a payload, or there is no use in it */
	uint8_t mark_have; /* bytes of the next mark */
	uint8_t mark[4];
	/* A payload that goes into buf's pipe; of the record. hole_to 0: none. */
	size_t hole_from, hole_to;
};

struct rpc_conn {
	struct source source;
	/* Immutable. */
	struct rpc_server *server;
	struct loop *loop;
	uint64_t id;
	struct sockaddr_storage peer, local;
	bool outgoing; /* made by rpc_server_connect(): only replies may come */

	/* Any thread. */
	_Atomic uint32_t refs;
	_Atomic bool open;
	_Atomic bool paused; /* reading stopped for load; whoever lowers it kicks the loop */
	_Atomic bool close_asked;
	_Atomic bool quiet_wanted; /* kick the loop whenever a call ends */
	_Atomic uint64_t load;	   /* LOAD_CALL per call in flight + bytes of records and replies */
	_Atomic uint32_t parked;
	_Atomic uint64_t progress_ns; /* when the socket last took bytes */
	void *slot;

	/* The loop owner's: receive side and lists. */
	struct list conns_link;	  /* loop->conns */
	struct list pending_link; /* loop->pending */
	struct list flush_link;	  /* loop->flush */
	struct list batch;	  /* replies of this batch (struct out) */
	unsigned batch_len;
	struct rxbuf *in; /* holds the unparsed bytes in_p..in_end, if any */
	const uint8_t *in_p, *in_end;
	struct assembly as;
	bool started;	      /* known to epoll */
	bool told;	      /* server->on_conn knows that it is open */
	bool eof;	      /* the peer sends no more */
	bool failed;	      /* to be torn down; nothing is read or answered any more */
	bool frozen;	      /* its own address is about to leave: nothing more is read */
	bool payloads;	      /* the last record had one: the next read is a short one */
	unsigned unpiped;     /* records for which no payload is looked for */
	uint64_t received_ns; /* when anything came */
	uint64_t payload_ns;  /* when the record being put together last grew */
	struct auth_sys *auths[CONN_AUTHS]; /* most recent first */

	/* Under the loop's inbox_lock. */
	struct list attention_link; /* loop->inbox_conns or (owner's) loop->attention */
	bool in_inbox;

	/* Under lock. */
	struct mutex lock;
	int fd;		       /* -1: closed */
	uint32_t events;       /* registered with epoll */
	bool reading;	       /* EPOLLIN wanted */
	bool blocked;	       /* socket full, EPOLLOUT wanted */
	uint64_t blocked_ns;   /* since when */
	bool sending;	       /* a thread sends: it alone uses sendq, and fd stays */
	bool dead;	       /* torn down: nothing is queued any more */
	bool broken;	       /* sending failed: to be torn down */
	struct list queue;     /* struct out, to be sent next */
	struct list sendq;     /* the sender's; under lock when nobody sends */
	size_t outgoing_bytes; /* in records of rpc_conn_send() not sent yet */
};

#define LOAD_CALL     ((uint64_t)1 << 44)
#define LOAD_CALLS(l) ((unsigned)((l) >> 44))
#define LOAD_BYTES(l) ((size_t)((l) & (LOAD_CALL - 1)))

struct rpc_conn *conn_new(struct loop *l, int fd, const struct sockaddr_storage *peer, uint64_t id);
/* All of these: on the thread that owns the loop; it may not own it any more afterwards. */
void conn_start(struct worker *w, struct rpc_conn *c);
void conn_event(struct worker *w, struct rpc_conn *c, uint32_t events);
void conn_process(struct worker *w, struct rpc_conn *c);
void conn_attend(struct worker *w, struct rpc_conn *c);
void conn_teardown(struct worker *w, struct rpc_conn *c);
/* Closes it if nothing has happened for too long. */
void conn_sweep(struct rpc_conn *c, uint64_t now);
/*
 * Sends the batch and what others have queued, unless another thread does. In a handler
 * (nested) no extents are sent and finished calls are left to the loop.
 */
void conn_flush(struct worker *w, struct rpc_conn *c, bool nested);
/* Memory has become free: goes on if paused. */
void conn_recheck(struct rpc_conn *c);
/* Reads no more and closes when nothing is running any more. */
void conn_drain(struct rpc_conn *c);
/* The reply is encoded: sends it, with the batch if the worker owns the connection's loop. */
void call_reply(struct worker *w, struct call *call);
/* A call is no longer in flight. */
void conn_unload(struct rpc_conn *c, size_t bytes);

/* send.c: takes from sendq; 0: all sent, -EAGAIN, -EBUSY (nested, extent next), -errno. */
int send_queue(struct worker *w, struct rpc_conn *c, bool nested, struct list *finished);
/* Releases and finishes unsent or sent records; the worker may have lost its loop afterwards. */
void out_finish_list(struct worker *w, struct list *outs);

/* ---- loops and threads (loop.c, worker.c) ---- */

enum { LOOP_IDLE, LOOP_RUNNING, LOOP_IN_CALL, LOOP_STATE_MASK = 3, LOOP_SEQ_SHIFT = 2 };

struct loop {
	struct source inbox_source;
	/* Immutable. */
	struct rpc_server *server;
	int epfd, inbox_fd;

	_Atomic uint64_t state; /* LOOP_*, and the section's number above */
	_Atomic uint64_t turns; /* the owner's; for rpc_server_moves() */
	_Atomic unsigned nconns;
	_Atomic int owner; /* its thread's number, the kernel's */

	/* The owner's. */
	uint64_t seq;
	struct rxbuf *rx;
	size_t rx_used;
	struct list conns, pending, flush, attention; /* struct rpc_conn */
	struct list resumed, finished; /* struct call; struct out sent in a handler */
	uint64_t now_ns, next_sweep_ns;
	struct spin spin;
	unsigned alone;		 /* calls in a row that were alone on the loop */
	uint64_t calls_seen;	 /* of its worker, before the last wait */
	bool draining, quitting; /* server's draining and quit have been acted on */
	uint64_t visited;	 /* the last question answered */

	struct mutex inbox_lock;
	struct list inbox_conns, inbox_calls, parked;
	struct list later; /* struct rpc_later */
	unsigned nlater;
	_Atomic bool later_any;
	bool inbox_signalled; /* inbox_fd has been written */
	bool inbox_closed;    /* the server has stopped */
	_Atomic bool inbox_any;
	_Atomic bool recheck; /* paused connections may go on: memory is free again */
	_Atomic bool visit;   /* there is a question for loop_visit() */
};

/* One thread of the server. */
struct worker {
	struct rpc_server *server;
	pthread_t thread;

	/* Under server->lock. */
	struct list link;	/* server->workers or ->exited */
	struct list spare_link; /* server->spares */
	struct cond wake;
	bool reserved; /* somebody is about to assign it a loop */
	struct loop *assigned;

	/* The thread's own. */
	int tid; /* its number, the kernel's */
	struct loop *loop;  /* owned, as far as it knows */
	uint64_t section;   /* loop->state while IN_CALL */
	struct call *calls; /* pools */
	struct rxbuf *bufs;
	unsigned ncalls, nbufs;
	uint32_t trimmed; /* server->trims when the pools were last emptied */

	/* Written by the thread, read by rpc_server_stats(). */
	struct worker_counters {
		_Atomic uint64_t calls, replies, bytes_in, bytes_out, garbage, parked, resumed,
		    given;
	} n;
};

static inline void count(_Atomic uint64_t *n, uint64_t add)
{
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + add,
			      memory_order_relaxed);
}

/* The calling thread's worker; NULL on other threads. */
struct worker *worker_self(void);

/* The owner enters code that is not rpc's; the loop can be taken away until section_leave(). */
void section_enter(struct worker *w);
/* False if the loop has been taken away (or the worker owned none). */
bool section_leave(struct worker *w);
/* The owner (RUNNING) gives its loop to a spare thread; false if there is none. */
bool loop_give(struct worker *w);

struct loop *loop_new(struct rpc_server *s);
/* The owner's main function: returns when the loop was lost or has quit. */
void loop_run(struct worker *w, struct loop *l);
void loop_free(struct loop *l);
/* Parked calls are dropped; nothing comes in any more. When no thread runs the loop. */
void loop_close_inbox(struct loop *l);
/* The hook of blocking_section(). */
void loop_blocks(void *arg);
/* Any thread: the connection has news for its loop. */
void loop_kick_conn(struct rpc_conn *c);
/* Any thread. */
void loop_wake(struct loop *l);
void loop_add_pending(struct loop *l, struct rpc_conn *c);
void loop_add_flush(struct loop *l, struct rpc_conn *c);
/* Runs handler or resume function and acts on the verdict. */
void call_run(struct worker *w, struct call *call, bool resume);

/* A worker that waits for work, or a new one; NULL if the bound is reached. */
struct worker *worker_reserve(struct rpc_server *s);
void worker_assign(struct worker *w, struct loop *l);
void worker_unreserve(struct worker *w);
void worker_add_counters(struct worker_counters *sum, const struct worker_counters *n);
void workers_join(struct rpc_server *s);
/* Empties the calling worker's pools if the server has asked for it; false if not. */
bool worker_trim(struct worker *w);
int thread_start(pthread_t *t, void *(*main)(void *), void *arg);

/* ---- the watcher (watcher.c) ---- */

int watcher_start(struct rpc_server *s);
void watcher_join(struct rpc_server *s);
void watcher_rouse(struct rpc_server *s);

/* ---- listeners (listener.c) ---- */

struct listener {
	struct source source;
	struct rpc_server *server;
	int fd; /* -1: closed */
	bool paused;
};

void listener_event(struct worker *w, struct listener *li);
/* On loop 0: resumes paused listeners when it is time; returns the time to look again, or 0. */
uint64_t listeners_tick(struct rpc_server *s, uint64_t now);
void listeners_close(struct rpc_server *s);
/* For every connection, accepted or made. */
void socket_set_options(int fd);
struct loop *loop_least_loaded(struct rpc_server *s);

/* ---- connections to one address (address.c) ---- */

#define MAX_FROZEN 64

enum visit { VISIT_FREEZE, VISIT_RESET };

/* What is asked of all loops: one question at a time. */
struct visits {
	struct mutex asking; /* held by whoever asks, all the time; before lock */

	struct mutex lock;
	struct cond answered;
	uint64_t number; /* of the question, from 1 */
	enum visit what;
	struct sockaddr_storage address;
	unsigned left, busy; /* loops that have not answered; connections that were not quiet */
	struct sockaddr_storage frozen[MAX_FROZEN];
	_Atomic unsigned nfrozen; /* changed under lock */
};

/* The owner's: answers if there is a question. */
void loop_visit(struct loop *l);
/* Whatever the ports. */
bool address_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* Is the connection's own address frozen? */
bool conn_is_frozen(struct rpc_conn *c);
/* Loop owner's, both: nothing more is read; closed without a FIN. */
void conn_freeze(struct rpc_conn *c);
void conn_reset(struct rpc_conn *c);
/* Loop owner's: calls run, or replies are not all with the peer yet. */
bool conn_is_busy(struct rpc_conn *c);

/* ---- the server (server.c) ---- */

#define MAX_LISTENERS 16

struct rpc_server {
	/* Immutable after start. */
	struct rpc_limits limits;
	struct rpc_program programs[MAX_PROGRAMS];
	unsigned nprograms;
	void (*on_reply)(struct rpc_conn *conn, const void *bytes, size_t len, void *ctx);
	void *on_reply_ctx;
	void (*on_conn)(struct rpc_conn *conn, bool open, void *ctx);
	void *on_conn_ctx;
	struct loop **loops;
	unsigned nloops;
	bool started;

	/* Workers that have not seen it change yet free what they keep for reuse. Rarely written. */
	_Atomic uint32_t trims;

	/* The ticking thread's (rpc_server_tick). */
	struct {
		uint64_t calls; /* so far, at the last tick */
		uint64_t since; /* calls since the last trim */
		unsigned quiet; /* ticks with next to no calls */
	} tick;
	/* The thread's that asks rpc_server_moves(): what it saw last. */
	struct loop_seen {
		uint64_t state, turns;
		bool asked;
	} * loops_seen;
	uint64_t watcher_ticks_seen;

	/* Loop 0's owner's. */
	struct listener listeners[MAX_LISTENERS];
	unsigned nlisteners;
	uint64_t accept_paused_until; /* 0: not paused */
	uint64_t accept_log_after;

	/* Any thread. */
	_Atomic size_t memory;
	_Atomic bool starved; /* memory was at its limit and connections were paused for it */
	_Atomic unsigned nconns;
	_Atomic uint64_t next_id;
	_Atomic uint64_t dropped_connections, stolen;
	_Atomic uint64_t payloads, payloads_spilled;
	_Atomic bool draining; /* stop accepting and reading; close what is quiet */
	_Atomic bool quit;     /* close everything, threads end */

	struct visits visits;

	/* Threads; under lock. */
	struct mutex lock;
	uint64_t thread_log_after;
	struct list workers, exited, spares; /* spares: last in, first out */
	unsigned nworkers;
	struct worker_counters past; /* of workers that are gone */
	struct cond changed;	     /* a connection or thread went while stopping */

	/* Big buffers; under bigs_lock, a leaf. */
	struct mutex bigs_lock;
	struct rxbuf *bigs;
	unsigned nbigs;
	_Atomic unsigned npipes; /* of big buffers, in use or not */

	/* The watcher (watcher.c). */
	pthread_t watcher;
	bool watcher_started;
	struct mutex watcher_lock;
	struct cond watcher_cond;
	_Atomic bool watcher_asleep; /* set under watcher_lock */
	_Atomic uint64_t watcher_ticks;
	/* The watcher's own: each loop as it was at the last tick. */
	struct loop_watched {
		uint64_t state;
		bool ready;	 /* its thread was running, or waiting for a processor, */
		uint64_t ran_ns; /* and had run for so long by then */
	} *watched;
};

/* A loop has become active: the watcher watches again. */
static inline void watcher_wake(struct rpc_server *s)
{
	if (unlikely(atomic_load(&s->watcher_asleep)))
		watcher_rouse(s);
}

static inline bool server_may_pool(struct rpc_server *s)
{
	return atomic_load_explicit(&s->memory, memory_order_relaxed) <= s->limits.max_memory / 2;
}
/* Below the limit, or with `low` well below it: where paused connections go on. */
static inline bool server_memory_ok(struct rpc_server *s, bool low)
{
	size_t now = atomic_load(&s->memory), max = s->limits.max_memory;

	return low ? now <= max / 8 * 7 : now < max;
}

/*
 * ONC RPC (RFC 5531) server over TCP: what users of rpc/ see.
 *
 * A server has listeners, loops and programs. Every complete call arrives at its program's
 * handler on the thread that read it. The handler encodes results into call->reply and
 * returns RPC_REPLY, or keeps the call (RPC_PARKED) and finishes it later from any thread
 * with rpc_call_resume(). A call owns the bytes it was decoded from and its arena until its
 * reply is on the wire, so nothing else holds up its connection meanwhile.
 *
 * Handlers run on threads that own an epoll loop each. A handler that is about to block says
 * blocking_section() (base/blocking.h): its loop then goes on in another thread, and so it does
 * when the handler is found busy for some hundred microseconds. Several calls, also of one
 * connection, are therefore handled at the same time.
 *
 *	static enum rpc_verdict handle(struct rpc_call *call, void *ctx)
 *	{
 *		uint32_t a;
 *		if (!xdr_get_u32(&call->args, &a))
 *			return RPC_GARBAGE_ARGS;
 *		xdr_put_u32(&call->reply, a + 1);
 *		return RPC_REPLY;
 *	}
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/arena.h"
#include "base/cred.h"
#include "base/list.h"
#include "rpc/xdr.h"

struct rpc_server;
struct rpc_conn;
struct rpc_call;

/* Security flavors (RFC 5531 section 8, RFC 2203). */
enum rpc_flavor { RPC_AUTH_NONE = 0, RPC_AUTH_SYS = 1, RPC_AUTH_GSS = 6 };

/* Why authentication failed (RFC 5531 section 9). */
enum rpc_auth_stat {
	RPC_AUTH_OK = 0,
	RPC_AUTH_BADCRED = 1,
	RPC_AUTH_REJECTEDCRED = 2,
	RPC_AUTH_BADVERF = 3,
	RPC_AUTH_REJECTEDVERF = 4,
	RPC_AUTH_TOOWEAK = 5,
};

enum rpc_verdict {
	RPC_REPLY, /* results are encoded in call->reply; SYSTEM_ERR is sent if that has failed */
	/*
	 * Somebody holds the call and will rpc_call_resume() it, perhaps has already: call->resume
	 * never runs before the handler has returned.
	 */
	RPC_PARKED,
	RPC_DROP,	  /* no reply: the connection is closed (retransmission will ask again) */
	RPC_GARBAGE_ARGS, /* arguments cannot be decoded */
	RPC_PROC_UNAVAIL, /* no such procedure */
	RPC_SYSTEM_ERR,	  /* out of memory and the like */
	RPC_AUTH_ERROR,	  /* rejected with call->auth_error */
};

/* Who calls, as the flavor says. */
struct rpc_auth {
	enum rpc_flavor flavor;
	/*
	 * AUTH_SYS; NULL for AUTH_NONE. As the client sent it: also root, and also (uid_t)-1, which
	 * setfsuid() would not take. Valid as long as the call: cred_ref() to keep it
	 * longer.
	 */
	const struct cred *cred;
	const char *machine; /* AUTH_SYS machine name, for messages; as long as the call */
};

/*
 * Part of a call that is not in memory: `len` bytes (0: all is in memory) that wait in the pipe `fd`
 * and whose place in the record is `at`. Whoever consumes bytes of the pipe takes them for good.
 */
struct rpc_hole {
	uint8_t *at;
	size_t len;
	int fd;
};

/* A range of bytes. */
struct rpc_span {
	size_t from, to;
};

/* Bytes of the record mark (RFC 5531 section 11) at the head of every encoded record. */
#define RPC_MARK_LEN 4

struct rpc_call {
	/* Set by rpc before the handler runs; the handler only reads. */
	uint32_t xid, program, version, procedure;
	struct rpc_auth auth;
	struct rpc_conn *conn; /* alive as long as the call */
	struct arena arena;    /* everything that the request needs until its reply is sent */
	size_t record_len;     /* of the whole RPC call message, without record marks */

	/*
	 * Its connection is the only one of the loop and has had one call at a time for a while:
	 * until the handler has returned or blocking_section() was said, a short wait here holds up
	 * nobody.
	 */
	bool alone;

	/* The handler's to use. */
	struct xdr_in args; /* the procedure's arguments, to the record's end */
	/* In the arguments, if the program has said that there may be one (rpc_program.payload). */
	struct rpc_hole hole;
	/*
	 * The procedure's results; record mark and RPC header are in it already, so the RPC
	 * message's length so far is xdr_out_total(&call->reply) - RPC_MARK_LEN.
	 */
	struct xdr_out reply;
	enum rpc_auth_stat auth_error;
	enum rpc_verdict (*resume)(struct rpc_call *call); /* runs after rpc_call_resume() */
	/*
	 * Called once after the reply was handed to the socket or the call dropped, before its
	 * memory goes; may be NULL. On a thread of the server, in no handler, where
	 * blocking_section() helps as it does there (or in rpc_server_free()).
	 */
	void (*done)(struct rpc_call *call);
	void *user;
	/*
	 * Set when parking: whatever the call waits for is sure to come soon, so a server that stops
	 * waits for it as for a call that runs.
	 */
	bool resumes_soon;
};

/* One program: a range of versions and a handler for all of its procedures. */
struct rpc_program {
	uint32_t number, min_version, max_version;
	enum rpc_verdict (*handle)(struct rpc_call *call, void *ctx);
	/*
	 * A connection has gone; its sessions lose it. Called once per connection, when
	 * rpc_conn_is_open() is false already; calls of the connection may still be running and
	 * run to their end without a reply. May be NULL.
	 */
	void (*conn_closed)(struct rpc_conn *conn, void *ctx);
	/*
	 * A long call is arriving: `head` is the beginning of its arguments, which are going to have `len`
	 * bytes. True: the bytes *span of the arguments, or those at its end, may stay in a pipe
	 * (call->hole), because the handler reads none of them before rpc_call_fill(). On the loop's
	 * owner; a function of the bytes alone, which does not block. May be NULL.
	 */
	bool (*payload)(uint32_t procedure, struct xdr_in head, size_t len, struct rpc_span *span);
	void *ctx;
};

struct rpc_limits {
	size_t max_record;	     /* longest call, bytes; longer: connection closed */
	size_t max_reply;	     /* longest reply, bytes */
	unsigned max_connections;    /* further ones are accepted and closed */
	unsigned max_calls_per_conn; /* executing or unsent; beyond: stop reading */
	size_t max_conn_memory;	     /* bytes of records and replies held; beyond: stop reading */
	size_t max_memory;	     /* the same over all connections */
	unsigned idle_seconds;	 /* a connection without traffic that long is closed; 0: never */
	unsigned record_seconds; /* a half-sent record or an unread reply makes no progress */
	/*
	 * Threads that run loops or block in calls, all together. When all of them block, the
	 * server stops taking calls until one returns.
	 */
	unsigned max_threads;
	unsigned spare_seconds; /* a thread without work that long ends; one always stays */
};

/* Sensible values: 1 MiB payloads, 16,384 connections (or what RLIMIT_NOFILE allows)... */
void rpc_limits_default(struct rpc_limits *l);

/* A server without listeners. `loops` 0: one per core. 0 or -errno. */
int rpc_server_new(const struct rpc_limits *limits, unsigned loops, struct rpc_server **out);
/* Before rpc_server_start(). The structure is copied. */
int rpc_server_add_program(struct rpc_server *s, const struct rpc_program *p);
/*
 * Before rpc_server_start(): who gets the RPC replies (mtype REPLY) that arrive on connections,
 * answers to calls sent with rpc_conn_send(). `bytes` (from the xid on) are valid during the call
 * only. Without a handler replies are ignored.
 */
void rpc_server_on_reply(struct rpc_server *s,
			 void (*reply)(struct rpc_conn *conn, const void *bytes, size_t len,
				       void *ctx),
			 void *ctx);
/*
 * Before rpc_server_start(): who is told of connections that clients make and of their end, in this
 * order and once each, with the rules of conn_closed().
 */
void rpc_server_on_conn(struct rpc_server *s,
			void (*conn)(struct rpc_conn *conn, bool open, void *ctx), void *ctx);
/*
 * Connections to one of this machine's addresses (`local`, whatever the port), which is about to go
 * elsewhere. While an address is frozen nothing more is read from them, old or new; what has been
 * read in part is dropped, the client will send it again elsewhere. Returns how many of them still
 * have calls running (parked ones aside) or replies that the client does not have, as far as can be told
 * within a tenth of a second; ask again until it is none. -ENOSPC: too many are frozen already.
 */
int rpc_server_freeze(struct rpc_server *s, const struct sockaddr *local);
/*
 * Closes them without a word that the client would take for an end of the connection (a reset, no
 * FIN; once the address is gone, nothing at all) and ends the freeze.
 */
void rpc_server_reset(struct rpc_server *s, const struct sockaddr *local);
/*
 * Listens on `addr` (IPv4, or IPv6 without the mapped IPv4 range). Port 0 lets the kernel choose.
 * *bound (may be NULL) receives the address in use. 0 or -errno.
 */
int rpc_server_listen(struct rpc_server *s, const struct sockaddr *addr, socklen_t len,
		      struct sockaddr_storage *bound);
/* The same with a socket that listens already; it is taken over if that succeeds. */
int rpc_server_adopt(struct rpc_server *s, int fd, struct sockaddr_storage *bound);
/*
 * Before rpc_server_stop(): copies of the listening sockets' descriptors, at most `cap`, which go
 * on listening for the caller. Returns how many.
 */
unsigned rpc_server_keep_listeners(struct rpc_server *s, int *fds, unsigned cap);
/*
 * Starts loops, spare threads and the watcher. Those threads take no signals, SIGPIPE included, so
 * the program need not ignore it for them. 0 or -errno.
 */
int rpc_server_start(struct rpc_server *s);
/*
 * Stops accepting and reading, waits up to `seconds` until running calls have replied, closes
 * everything and joins all threads (so a handler that never returns is waited for). Parked calls
 * are dropped: resuming them from now on does nothing, and rpc_server_free() calls their done().
 */
void rpc_server_stop(struct rpc_server *s, unsigned seconds);
/* After rpc_server_stop() (or if never started), when nobody holds a call or connection. */
void rpc_server_free(struct rpc_server *s);

/*
 * Hands a parked call to a loop, which runs call->resume and goes by its verdict, also when the
 * connection has gone meanwhile. Any thread, also the handler's own before it returns. Once for
 * every RPC_PARKED.
 */
void rpc_call_resume(struct rpc_call *call);

/* Something to be done that is cheaper for many calls at a time. */
struct rpc_later {
	/*
	 * For all of them that have the same fn, in `laters`. `alone`: nothing else is under way on the
	 * loop, so that a short wait here holds up nobody.
	 */
	void (*fn)(struct list *laters, bool alone);
	struct list link;
};

/*
 * In a handler: fn() is called once the call's loop has run all the calls that had come, before it
 * waits for more; or at once, if the loop is another thread's by now. On any thread. The call may
 * be parked until then, and `later` is the caller's memory.
 */
void rpc_call_later(struct rpc_call *call, struct rpc_later *later);

/*
 * Reads what waits in the pipe into its place in the record: call->hole has no length any more. If
 * nothing has been taken from the pipe that cannot fail, or the kernel is at fault: -errno.
 */
int rpc_call_fill(struct rpc_call *call);

/* Connections are counted references; a call holds one on its own. */
struct rpc_conn *rpc_conn_ref(struct rpc_conn *conn);
void rpc_conn_unref(struct rpc_conn *conn);
/* Peer's and own address; valid as long as the reference. */
const struct sockaddr *rpc_conn_peer(const struct rpc_conn *conn);
const struct sockaddr *rpc_conn_local(const struct rpc_conn *conn);
/* Unique among all connections of this process's life; never 0. */
uint64_t rpc_conn_id(const struct rpc_conn *conn);
bool rpc_conn_is_open(const struct rpc_conn *conn);
/* Closes soon, after replies already queued. Any thread. */
void rpc_conn_close(struct rpc_conn *conn);
/*
 * A pointer of the program's own for this connection (for nfsd: a cache of the session looked up
 * last). Read and written with the program's own synchronisation.
 */
void **rpc_conn_slot(struct rpc_conn *conn);

/*
 * A record of the caller's own, e.g. a call to the peer: rpc_record_begin() on a fresh encoder
 * (it leaves room for the record mark), then the RPC message, then rpc_conn_send() from any
 * thread. That takes the contents over in any case and leaves *x empty. 0, -ENOTCONN, -EMSGSIZE
 * (failed or longer than max_reply), -ENOBUFS (the peer does not read), -ENOMEM. Extents are
 * allowed if they live until their release().
 */
void rpc_record_begin(struct xdr_out *x, size_t limit);
int rpc_conn_send(struct rpc_conn *conn, struct xdr_out *x);
/*
 * A connection to a peer that listens, as a reference in *out; never blocks. Records may be sent
 * at once and go out when it stands. If it cannot be made it ends like any other: conn_closed()
 * of the programs is called (perhaps before this returns). Calls from the peer are not accepted
 * on it. After rpc_server_start(); 0 or -errno.
 */
int rpc_server_connect(struct rpc_server *s, const struct sockaddr *addr, socklen_t len,
		       struct rpc_conn **out);
/* Closes soon and drops what has not been sent. Any thread. */
void rpc_conn_abort(struct rpc_conn *conn);

/* For `atoll status` and tests. */
struct rpc_stats {
	uint64_t calls, replies, bytes_in, bytes_out, garbage, dropped_connections;
	uint64_t loops_given;  /* a thread said that it blocks and gave its loop away */
	uint64_t loops_stolen; /* the watcher took the loop of a thread stuck in a call */
	uint64_t payloads;	   /* records of which a part came by a pipe */
	uint64_t payloads_spilled; /* and that part was too much for the pipe */
	unsigned connections, threads, parked;
	size_t memory;
};
void rpc_server_stats(struct rpc_server *s, struct rpc_stats *st);

/*
 * To be called about once a second, by one thread. Buffers are kept for reuse while there is work;
 * after some seconds of quiet they are given back. True when that has been done, so that the
 * caller may give back to the system what it has freed itself.
 */
bool rpc_server_tick(struct rpc_server *s);
/*
 * Has the server moved since this was asked last? To be called about once a second, by one thread.
 * Every loop is asked to make a turn until the next time. False if one has not, and its thread is
 * not in a call, or is in one from which the watcher should have taken the loop but has not moved
 * either. Calls that take long do not count, however many: what they wait for may be the file system.
 */
bool rpc_server_moves(struct rpc_server *s);

/*
 * ONC RPC (RFC 5531) server over TCP: what users of rpc/ see.
 *
 * A server has listeners, loops and programs. Every complete call arrives at its program's
 * handler on the thread that read it. The handler encodes results into call->reply and
 * returns RPC_REPLY, or keeps the call (RPC_PARKED) and finishes it later from any thread
 * with rpc_call_resume(). A call owns the bytes it was decoded from and its arena until its
 * reply is on the wire, so nothing else holds up its connection meanwhile.
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
	RPC_REPLY,	   /* results are encoded in call->reply */
	RPC_PARKED,	   /* somebody holds the call and will rpc_call_resume() it */
	RPC_DROP,	   /* no reply: the connection is closed (retransmission will ask again) */
	RPC_GARBAGE_ARGS,  /* arguments cannot be decoded */
	RPC_PROC_UNAVAIL,  /* no such procedure */
	RPC_SYSTEM_ERR,	   /* out of memory and the like */
	RPC_AUTH_ERROR,	   /* rejected with call->auth_error */
};

/* Who calls, as the flavor says. */
struct rpc_auth {
	enum rpc_flavor flavor;
	const struct cred *cred; /* AUTH_SYS; NULL for AUTH_NONE; owned by the call */
	const char *machine;	 /* AUTH_SYS machine name, for messages; in the arena */
};

struct rpc_call {
	/* Set by rpc before the handler runs; the handler only reads. */
	uint32_t xid, program, version, procedure;
	struct rpc_auth auth;
	struct rpc_conn *conn; /* alive as long as the call */
	struct arena arena;    /* everything that the request needs until its reply is sent */
	size_t record_len;     /* of the whole RPC call message, without record marks */

	/* The handler's to use. */
	struct xdr_in args;   /* the procedure's arguments, to the record's end */
	struct xdr_out reply; /* the procedure's results; the RPC header is in it already */
	enum rpc_auth_stat auth_error;
	enum rpc_verdict (*resume)(struct rpc_call *call); /* runs after rpc_call_resume() */
	/*
	 * Called once after the reply was handed to the socket or the call dropped, before its
	 * memory goes; may be NULL.
	 */
	void (*done)(struct rpc_call *call);
	void *user;
};

/* One program: a range of versions and a handler for all of its procedures. */
struct rpc_program {
	uint32_t number, min_version, max_version;
	enum rpc_verdict (*handle)(struct rpc_call *call, void *ctx);
	/* A connection has gone; its sessions lose it. May be NULL. */
	void (*conn_closed)(struct rpc_conn *conn, void *ctx);
	void *ctx;
};

struct rpc_limits {
	size_t max_record;	  /* longest call, bytes; longer: connection closed */
	size_t max_reply;	  /* longest reply, bytes */
	unsigned max_connections; /* further ones are accepted and closed */
	unsigned max_calls_per_conn; /* executing or unsent; beyond: stop reading */
	size_t max_conn_memory;	     /* bytes of records and replies held; beyond: stop reading */
	size_t max_memory;	     /* the same over all connections */
	unsigned idle_seconds;	     /* a connection without traffic that long is closed; 0: never */
	unsigned record_seconds;     /* a half-sent record or an unread reply makes no progress */
};

/* Sensible values: 1 MiB payloads, 16,384 connections (or what RLIMIT_NOFILE allows)... */
void rpc_limits_default(struct rpc_limits *l);

/* A server without listeners. `loops` 0: one per core. 0 or -errno. */
int rpc_server_new(const struct rpc_limits *limits, unsigned loops, struct rpc_server **out);
/* Before rpc_server_start(). The structure is copied. */
int rpc_server_add_program(struct rpc_server *s, const struct rpc_program *p);
/*
 * Listens on `addr` (IPv4, or IPv6 without the mapped IPv4 range). Port 0 lets the kernel choose.
 * *bound (may be NULL) receives the address in use. 0 or -errno.
 */
int rpc_server_listen(struct rpc_server *s, const struct sockaddr *addr, socklen_t len,
		      struct sockaddr_storage *bound);
/* Starts loops, spare threads and the watcher. */
int rpc_server_start(struct rpc_server *s);
/*
 * Stops accepting and reading, waits up to `seconds` until running calls have replied, closes
 * everything and joins all threads. Parked calls are dropped.
 */
void rpc_server_stop(struct rpc_server *s, unsigned seconds);
/* After rpc_server_stop(). */
void rpc_server_free(struct rpc_server *s);

/* Hands a parked call to a loop, which runs call->resume and goes by its verdict. Any thread. */
void rpc_call_resume(struct rpc_call *call);

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

/* For `atoll status` and tests. */
struct rpc_stats {
	uint64_t calls, replies, bytes_in, bytes_out, garbage, dropped_connections;
	unsigned connections, threads, parked;
	size_t memory;
};
void rpc_server_stats(struct rpc_server *s, struct rpc_stats *st);

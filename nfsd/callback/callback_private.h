/*
 * Inside of the callbacks.
 *
 *	callbacks
 *	 |- client (by client ID), made when it first has a way back
 *	 |    |- waiting: calls that no slot has yet, the first come first
 *	 |    `- channel: an address (minor version 0, exactly one), or a session
 *	 |         `- slot: at most one call at a time that the client has not answered
 *	 |- conn (by connection): those bound to a back channel, and those we have made
 *	 `- slots by xid, for replies
 *
 * A call:
 *	waiting --slot free, path up--> on a slot, sent --answer--> finished --thread--> done()
 *	   |  ^                           |
 *	   |  `--- connection lost -------+   (4.1: stays on its slot and is sent again from there)
 *	   `------------------------------+-- deadline --> finished
 *
 * A session's slot outlives its call: a client that has not answered within the call's time may
 * do so later, and until then the slot has no other (RFC 8881 section 2.10.6.1). When its
 * connection goes, an empty compound with the same sequence id finds out whether the client had
 * seen the call: if so it says that this is a false or uncached retry, and the slot goes on with
 * the next. Calls are therefore never kept as bytes but encoded each time they are sent; a client
 * may get one twice.
 *
 * A session's client can be called once it has used the session, which shows that it knows it.
 * One that does not use it for a while gets a CB_NULL, which names no session and takes no slot: its
 * answer is as good as that of a probe.
 *
 * All of it is under callbacks.lock. The order of locks is waiters.lock > callbacks.lock > those
 * of the state machine and of connections; done() is called with none of them. Time passes in the
 * callbacks' thread, which also calls done(); sending is done by whichever thread has cause to.
 */
#pragma once

#include <pthread.h>

#include "base/list.h"
#include "base/lock.h"
#include "nfsd/callback/callback.h"
#include "nfsd/state/back.h"
#include "nfsd/state/table.h"

struct channel;
struct waiters;

struct callbacks {
	/* Immutable. */
	struct nfs_server *server;
	struct state *state;
	struct waiters *waiters;
	uint64_t timeout_ns; /* for an answer */
	char machine[64];    /* of our AUTH_SYS credentials */
	struct rpc_server *rpc; /* once attached; NULL: calls have no path */

	struct mutex lock; /* guards the rest */
	struct cond wake;
	bool running, stopping, kicked;
	pthread_t thread;
	struct table clients, conns, xids;
	struct list all_clients;
	struct list calls;    /* not finished, by deadline (callback_call.by_deadline) */
	struct list inflight; /* slots with a call sent, by deadline */
	struct list overdue;  /* slots whose time is over */
	struct list wakeful;  /* channels with wake_ns */
	struct list finished; /* calls to be done() */
	uint32_t next_xid;
};

struct cb_client {
	struct table_node by_id;
	struct list in_all;
	uint64_t clientid;
	bool v40;
	struct list channels; /* one if v40 */
	struct list waiting;  /* callback_call.link */
};

struct cb_slot {
	struct channel *channel; /* immutable */
	uint32_t index;		 /* immutable */
	bool busy;
	struct callback_call *call; /* NULL: a probe, or the call has not waited for the answer */
	uint32_t seqid;		    /* sessions: of the last call answered */
	bool overdue;		    /* in callbacks.overdue */
	unsigned tries;
	/* The sending that an answer is awaited of; conn_id 0: to be sent, at due_ns. */
	uint64_t conn_id, due_ns, deadline_ns;
	uint32_t xid;
	struct table_node by_xid;
	struct list in_flight; /* callbacks.inflight or .overdue */
};

struct channel {
	struct cb_client *client;
	struct list in_client;
	struct list in_wakeful;
	uint64_t wake_ns; /* 0: never */
	uint32_t nslots;
	struct cb_slot slots[BACK_SLOTS_MAX];

	/* not v40 */
	struct sessionid session;
	bool unused;	     /* its client has not used the session yet */
	struct cb_slot null; /* no slot of the session's: for a CB_NULL */

	/* v40 */
	struct callback_address address;
	struct sockaddr_storage to;
	socklen_t to_len; /* 0: nothing that we could connect to */
	enum back_path path;
	struct rpc_conn *conn; /* a reference; NULL: not connected */
	bool answered;	       /* something has come over this connection */
	unsigned failures;     /* in a row; the next try is later each time */
	uint64_t retry_ns;
};

/* A connection that can be or is used for calls. */
struct cb_conn {
	struct table_node by_id;
	struct rpc_conn *conn; /* a reference */
	struct channel *v40;   /* whose it is, if we have made it */
};

/* ---- callback.c ---- */

struct cb_client *client_find(struct callbacks *cb, uint64_t clientid) REQUIRES(&cb->lock);
/* NULL when out of memory, or if the client has gone. */
struct cb_client *client_obtain(struct callbacks *cb, uint64_t clientid, bool v40)
    REQUIRES(&cb->lock);
struct channel *channel_new(struct callbacks *cb, struct cb_client *client, uint32_t nslots)
    REQUIRES(&cb->lock);
/* Its calls wait again; it is freed. */
void channel_free(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
/* Something is to be done for it at `when`, or earlier if that was said before. */
void channel_wake_at(struct callbacks *cb, struct channel *ch, uint64_t when) REQUIRES(&cb->lock);
/* Sends what can be sent to the client now. */
void client_pump(struct callbacks *cb, struct cb_client *client) REQUIRES(&cb->lock);
/* Sends an empty call, unless one is on its way. */
void channel_probe(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
/* CB_NULL to a session's client, unless an empty call is on its way. */
void channel_call_null(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
bool conn_register(struct callbacks *cb, struct rpc_conn *conn, struct channel *v40)
    REQUIRES(&cb->lock);
struct cb_conn *conn_find(struct callbacks *cb, uint64_t conn_id) REQUIRES(&cb->lock);
void conn_forget(struct callbacks *cb, struct cb_conn *c) REQUIRES(&cb->lock);
/* The slot is free; its call, if any, is the caller's now. */
void slot_release(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock);
/* The slot's sending has gone for good: it is to be sent again, not before `due`. */
void slot_unsend(struct callbacks *cb, struct cb_slot *slot, uint64_t due) REQUIRES(&cb->lock);
/* The call on the slot waits for a slot again, before all others; the slot is free. */
void slot_requeue(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock);
/* The slot's call is finished with this answer, the slot is free. */
void slot_answered(struct callbacks *cb, struct cb_slot *slot, enum nfsstat4 status,
		   const struct xdr_in *body) REQUIRES(&cb->lock);

/* ---- message.c: what the two kinds of channels have in common on the wire ---- */

/* The head of a call, for anything of an authenticated (or not) RPC. */
struct rpc_head {
	uint32_t xid, program, procedure, flavor, uid, gid;
	const char *machine;
};

enum { CB_NULL = 0, CB_COMPOUND = 1 };

void put_rpc_head(struct xdr_out *x, const struct rpc_head *h);
/* Tag, minor version, ident and the number of operations. */
void put_compound_head(struct xdr_out *x, uint32_t minor, uint32_t ident, uint32_t nops);
/* From behind the xid to the results of a successful call; false if it was none. */
bool get_rpc_reply(struct xdr_in *x);
/* CB_COMPOUND4res up to the array. */
bool get_compound_head(struct xdr_in *x, enum nfsstat4 *status, uint32_t *nops);
/* An element of the array up to its body. */
bool get_op_head(struct xdr_in *x, uint32_t *op, enum nfsstat4 *status);

/* ---- session.c and address.c: the two kinds of channels ---- */

/* May calls be sent on it? Probes may all the same. */
bool session_usable(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
bool address_usable(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
/*
 * Sends the slot's call or a probe: 0 with slot->conn_id, -ENOTCONN (no connection now),
 * -EMSGSIZE (never).
 */
int session_send(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock);
int address_send(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock);
/* A reply to the slot's call, from behind the xid. */
void session_reply(struct callbacks *cb, struct cb_slot *slot, struct xdr_in *x)
    REQUIRES(&cb->lock);
void address_reply(struct callbacks *cb, struct cb_slot *slot, struct xdr_in *x)
    REQUIRES(&cb->lock);
/* No answer in time. */
void session_overdue(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock);
void address_overdue(struct callbacks *cb, struct cb_slot *slot) REQUIRES(&cb->lock);
/* wake_ns has come. */
void session_awake(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
void address_awake(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
/*
 * A client of minor version 0 that has been there since before the server was restarted: its address
 * is known to the state machine, and was let through then. NULL: it is none.
 */
struct cb_client *address_restore(struct callbacks *cb, uint64_t clientid) REQUIRES(&cb->lock);
/* The connection that we made has gone. */
void address_conn_lost(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
/* Gives up its connection. */
void address_close(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock);
/* A universal address (RFC 5665) of netid tcp or tcp6: its length, 0 if it is none to call. */
socklen_t address_parse(const char *netid, const char *addr, struct sockaddr_storage *out);

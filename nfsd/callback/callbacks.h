/* The life of the callbacks, for nfsd/server.c and nfsd/effects.c. */
#pragma once

#include "nfsd/callback/callback.h"

struct callbacks;

/* Without a thread or connections as yet. NULL: out of memory. */
struct callbacks *callbacks_new(struct nfs_server *server);
/* Starts the thread; calls go over connections of `rpc` from now on. 0 or -errno. */
int callbacks_start(struct callbacks *cb, struct rpc_server *rpc);
/*
 * After rpc_server_stop(): joins the thread, finishes all calls as CALLBACK_GONE, and gives up all
 * connections.
 */
void callbacks_stop(struct callbacks *cb);
void callbacks_free(struct callbacks *cb);

/* The handlers of rpc: a reply (ctx: the callbacks), a connection that has gone. */
void callbacks_reply(struct rpc_conn *conn, const void *bytes, size_t len, void *ctx);
void callbacks_conn_closed(struct callbacks *cb, struct rpc_conn *conn);

/* Effects. */
void callbacks_client_gone(struct callbacks *cb, uint64_t clientid);
void callbacks_session_gone(struct callbacks *cb, uint64_t clientid,
			    const struct sessionid *session);
/* Immutable. */
struct waiters *callbacks_waiters(struct callbacks *cb);
/* Makes the thread look at once whether there is work. */
void callbacks_kick(struct callbacks *cb);

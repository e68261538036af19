/*
 * Calls from the server to its clients: CB_COMPOUND with one operation.
 *
 * Minor version 0 is called at the address that SETCLIENTID gave, over a connection that the
 * server makes (RFC 7530 section 10.2.1); the others over any connection of theirs that is bound
 * to the back channel of a session (RFC 8881 section 2.10.3). The caller of callback_send() sees
 * no difference. Nothing here ever blocks the calling thread, and no client can make another one
 * wait: every call ends by its time-out.
 *
 *	static void recalled(struct callback_call *call)
 *	{
 *		struct recall *r = container_of(call, struct recall, call);
 *
 *		if (call->outcome == CALLBACK_ANSWERED && call->status == NFS4_OK)
 *			...
 *		free(r);
 *	}
 *
 *	r->call = (struct callback_call){ .clientid = id, .op = OP_CB_RECALL,
 *					  .args = { r->bytes, len }, .done = recalled };
 *	callback_send(server, &r->call);
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "nfsd/nfs4.h"
#include "nfsd/state/state.h"
#include "rpc/rpc.h"

struct nfs_server;

enum callback_outcome {
	CALLBACK_ANSWERED,  /* the client has answered: `status` and `result` */
	CALLBACK_TIMED_OUT, /* sent, but no answer came in time; it may have arrived all the same */
	CALLBACK_NO_PATH,   /* could not be sent: no connection, or the client takes no such calls */
	CALLBACK_GONE,	    /* the client has gone meanwhile, or the server is stopping */
};

/*
 * The request of a session that made what this call is about (e.g. the OPEN that granted the
 * delegation to be recalled). The client is told as long as it may not have seen its reply yet
 * (RFC 8881 section 2.10.6.3). slot_use has all three while a request runs.
 */
struct callback_referral {
	bool present;
	struct sessionid session;
	uint32_t slot, seqid;
};

/* One call. The caller's memory, usually part of something bigger; it must live until done(). */
struct callback_call {
	/* The caller's. */
	uint64_t clientid;
	uint32_t op;	   /* enum nfs_cb_opnum4 */
	struct bytes args; /* the operation's encoded arguments, without its number; until done() */
	struct callback_referral referral;
	uint64_t timeout_ns; /* for an answer; 0: as long as is usual */
	/*
	 * Called exactly once, by the callbacks' own thread (so never from within callback_send())
	 * and with no lock held. It must not block for long; it may submit commands, send further
	 * calls and free the call.
	 */
	void (*done)(struct callback_call *call);

	/* Set when done() is called. */
	enum callback_outcome outcome;
	enum nfsstat4 status; /* of the operation, if answered */
	struct xdr_in result; /* what follows the status; valid during done() */

	/* callbacks' own. */
	struct list link, by_deadline;
	uint64_t deadline_ns;
	bool sent;
	uint8_t *body; /* what `result` is over */
};

/* Sends a call, now or when there is a way to the client. Any thread. */
void callback_send(struct nfs_server *server, struct callback_call *call);
/*
 * True if the client has answered on its callback path and nothing since says that it would not
 * now. A client without it gets nothing that may have to be recalled. Cheap: asked by every OPEN.
 */
bool callback_path_up(struct nfs_server *server, uint64_t clientid);

/* ---- for the operations that make or change a way back ---- */

/* SETCLIENTID_CONFIRM over `conn` has succeeded: tries the address that it confirms. */
void callback_client_confirmed(struct nfs_server *server, uint64_t clientid,
			       struct rpc_conn *conn);
/* `conn` has been bound to the back channel of a session, by CREATE_SESSION or otherwise. */
void callback_conn_bound(struct nfs_server *server, const struct sessionid *session,
			 struct rpc_conn *conn);
/* A SEQUENCE of a session whose back channel has not been tried (slot_use.probe_back). */
void callback_session_used(struct nfs_server *server, const struct sessionid *session);

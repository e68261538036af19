/*
 * One COMPOUND request: the state that its operations share, and the services they use.
 *
 * A compound is executed by one thread at a time. An operation that must wait returns
 * NFS4_PARKED; whoever completes the wait calls compound_resume(), and the operation's run
 * function is called again with c->phase as it left it. Everything it needs then lives in the
 * arena (c->op_state), nothing on a stack.
 */
#pragma once

#include "base/cred.h"
#include "base/list.h"
#include "nfsd/exports.h"
#include "nfsd/fh.h"
#include "nfsd/nfs4.h"
#include "nfsd/server_private.h"
#include "nfsd/state/state.h"
#include "rpc/rpc.h"

struct op_row;
struct asking;
struct drc_entry;
struct debts;
struct local_op;

/* Bytes of the reply held back for the status of the operation that finds it full. */
#define STATUS_ROOM 12 /* op number, status, an empty bitmap */

/* Returned by an operation in place of a status: not finished, the compound is parked. */
#define NFS4_PARKED ((enum nfsstat4)0x7fffffff)

/* A filehandle with what it leads to. Empty when object is NULL. */
struct place {
	struct export *export;
	struct object *object; /* reference */
	const struct export_options *options; /* this client's in the export */
	const struct cred *cred; /* the caller, mapped by the options (squash) */
	bool cred_mapped;	 /* it is not the call's own, but a reference */
	struct nfs_fh fh;	 /* encoded lazily: see compound_fh() */
	bool wrong_sec;		 /* the caller's flavor will not do here: it only leads on */
	bool has_stateid;	 /* the current (or saved) stateid, RFC 8881 section 16.2.3.1.2 */
	struct stateid stateid;
};

struct compound {
	/* Immutable while it runs. */
	struct nfs_server *server;
	struct rpc_call *call;
	struct export_set *exports; /* in use: the set in force when the request came */
	unsigned exports_stripe;
	uint32_t minor;
	uint32_t nops;
	struct bytes principal; /* the caller as compared by the state machine; in the arena */
	const uint8_t *args_start; /* of the procedure's arguments, for request hashes */

	/* Where it is. */
	uint32_t index;		  /* of the operation being executed */
	uint32_t opnum;
	const struct op_row *row; /* of that operation; NULL: illegal */
	void *args;		  /* its decoded arguments */
	unsigned phase;		  /* the operation's own; 0 at its start */
	void *op_state;		  /* the operation's own, in the arena */
	bool error_body;	  /* set by an operation whose failure has a body */
	uint8_t nguards;	  /* deleg_guard(): until the operation ends */
	uint16_t guards[6];
	struct asking *asking;	  /* deleg_ask(): likewise */
	bool agreeing;		  /* deleg_agree() has it wait */
	struct local_op *local_op; /* local_locks.h: NULL, or in the arena */

	struct place current, saved;

	/* Minor versions > 0: the session, once SEQUENCE has run. */
	bool has_session;
	bool uncached_retry; /* a retry whose reply was not kept: RETRY_UNCACHED_REP */
	struct slot_use slot;
	uint64_t clientid; /* 0 before SEQUENCE and in minor version 0 */

	struct debts *debts; /* changes to be on stable storage before the reply; NULL: none */

	struct drc_entry *drc; /* minor version 0: this request's place in the cache */

	/* Of nodes of a cluster. */
	struct state_result *submitted; /* of the command that it waits for */
	uint64_t arriving;   /* the client, while: */
	bool sure;	     /* the state here is as new as the request */
	bool adopting;	     /* that is the adoption of its client, before the operation runs */
	bool refused;	     /* a command of it was: minor version 0 gets no reply */
	_Atomic bool debt_refused; /* one that the reply waited for: there is none */
	bool expire_ordered; /* compound_expire_conflict(): not free before the next command */
	bool exactly_once;   /* has done what a retry must not do again */
	struct state_result *intent; /* intent.h: of what the operation has told; NULL: nothing */
	_Atomic uint32_t owed; /* commands that must have been applied before the reply goes, and 1 */
	uint32_t nresults;	/* of the reply */
	/* While the node does not serve: lull.h. `lulled` changes under its lock. */
	struct list lull;
	enum { LULL_NONE, LULL_WAITING, LULL_OVER } lulled;
	uint64_t lull_until;	/* 0: it has not waited yet */
	uint32_t lull_closings; /* nfs_server.closings when it began to wait */
	bool lull_void;		/* the node had served before, and did not any more */

	size_t most; /* bytes the reply may have; its encoder's limit is less by STATUS_ROOM */
	/* Positions in the reply: COMPOUND4res, and the operation's status and body. */
	size_t res_at, status_at, body_at;
	struct xdr_mark op_mark;
};

/* ---- what operations use ---- */

/* The reply cannot take what an operation has to say (RFC 8881 section 2.10.6.4; RESOURCE at minor version 0). */
enum nfsstat4 compound_too_big(const struct compound *c);

/* With sessions there is no RESOURCE; without, a request that it refuses has not used up its seqid. */
static inline enum nfsstat4 compound_out_of_memory(const struct compound *c)
{
	return c->minor == 0 ? NFS4ERR_RESOURCE : NFS4ERR_DELAY;
}

static inline struct xdr_out *reply_of(struct compound *c)
{
	return &c->call->reply;
}

/*
 * Makes `obj` (reference taken over, also on failure) of `exp` the current filehandle: finds the
 * client's options, checks port and flavor, maps the caller. The current stateid is dropped.
 * ACCESS, WRONGSEC, SERVERFAULT.
 */
enum nfsstat4 compound_set_current(struct compound *c, struct export *exp, struct object *obj);
/*
 * The same for an object found by name in the current export: crosses into an export mounted
 * there. NOENT for pseudo directories in which the client may see nothing.
 */
enum nfsstat4 compound_enter(struct compound *c, struct object *obj);
/*
 * In an operation that puts a filehandle: is what follows one that answers for the flavor itself, so
 * that this operation may not say WRONGSEC (RFC 8881 section 2.6.3.1.1)? False in any other.
 */
bool compound_leads_on(struct compound *c);
/* Resolves filehandle bytes into the current filehandle. BADHANDLE, STALE, ACCESS, WRONGSEC. */
enum nfsstat4 compound_put_fh(struct compound *c, const uint8_t *bytes, uint32_t len);
/* The current filehandle's bytes. */
enum nfsstat4 compound_fh(struct compound *c, const struct nfs_fh **out);
void place_clear(struct place *p);
/* A copy with references of its own; `to` is cleared first. */
void place_copy(struct place *to, const struct place *from);

/*
 * The key by which the state machine knows the current file: the same for every way to it.
 * In the arena. SERVERFAULT / DELAY when out of memory.
 */
enum nfsstat4 compound_file_key(struct compound *c, struct bytes *key);
enum nfsstat4 compound_object_key(struct compound *c, struct object *obj, struct bytes *key);
/* The same from a handle, in the caller's memory. */
struct file_key {
	uint32_t len;
	uint8_t bytes[16 + BACKEND_HANDLE_MAX];
};
void file_key_make(const struct backend *be, const struct backend_handle *handle,
		   struct file_key *out);

/* 0, or what an operation must answer if it needs a directory: NOTDIR. */
enum nfsstat4 place_want_directory(const struct place *p);
/* The same for LOOKUP, LOOKUPP and OPEN, which say SYMLINK to a symbolic link. */
enum nfsstat4 compound_want_search(struct compound *c);
/* 0, or what I/O answers on what is no regular file: ISDIR, SYMLINK, INVAL, WRONG_TYPE. */
enum nfsstat4 compound_want_regular(struct compound *c);
/* ROFS if the export (or the pseudo file system) is read-only for this client. */
enum nfsstat4 compound_want_writable(struct compound *c);

/*
 * Submits a command: 0 when `result` is there, else NFS4_PARKED, which the operation returns
 * after setting c->phase. Both structures must be in the arena.
 */
enum nfsstat4 compound_submit(struct compound *c, struct state_command *cmd,
			      struct state_result *result);
/*
 * For operations whose result is just the command's status: submits, and returns the status or
 * NFS4_PARKED with c->phase 1 and c->op_state the struct state_result.
 */
enum nfsstat4 compound_submit_simple(struct compound *c, struct state_command *cmd);
/*
 * After a command failed because of `conflict_client`: if that client's lease has passed it is
 * expired and true returned: submit again.
 */
bool compound_expire_conflict(struct compound *c, uint64_t conflict_client);
/*
 * The same for what only reads the state. True: read again. Else *status is the answer, DELAY if the
 * client's state will be free only when the log gets there.
 */
bool compound_expire_and_read(struct compound *c, uint64_t conflict_client, enum nfsstat4 *status);
/*
 * The client's requests come here: makes this node its home. 0, NFS4_PARKED (upon which the operation
 * begins again), or DELAY.
 */
enum nfsstat4 compound_adopt(struct compound *c, uint64_t clientid);
/*
 * Before the client is told that something of it is not known: this node may lag behind the one
 * that the client was at a moment ago. True if it does not, or if it cannot be found out; else the
 * operation returns *status, and begins again when it is parked.
 */
bool compound_is_sure(struct compound *c, enum nfsstat4 *status);
/* A command may have made this node the client's home. */
void compound_arrived(struct compound *c, uint64_t clientid);
/*
 * Submits a command that nobody waits for but the reply. `settled` is called with `arg`, by any
 * thread, when it has been applied (or will not be).
 */
void compound_owe(struct compound *c, const struct state_command *cmd,
		  void (*settled)(struct compound *c, void *arg), void *arg);
/*
 * server_owner4.so_major_id as the client sees it. In a cluster it belongs to the address that the
 * client speaks to: a virtual address keeps its identity wherever it goes, and two addresses are
 * two servers that a client's trunking discovery does not merge, so that they can go apart. NULL: out
 * of memory.
 */
const char *compound_server_major(struct compound *c);
/*
 * A client's owner string: what it is to one of those servers it is not to another. False: out
 * of memory.
 */
bool compound_client_owner(struct compound *c, struct bytes owner, struct bytes *out);
/*
 * After a command failed because of a limit of all clients together: if there are clients that have
 * been silent for longer than their lease, the longest silent is expired and true
 * returned: submit again.
 */
bool compound_make_room(struct compound *c, const struct state_result *result);
/*
 * For commands that make clients or sessions: submits, and again as long as who is in the way
 * (CLID_INUSE, a limit of all clients together) can be expired. 0 when the result is there for good,
 * or NFS4_PARKED: called again, with c->phase 1, it goes on.
 */
struct submission {
	struct state_command *cmd;
	struct state_result *result;
};
/* It becomes c->op_state. NULL: out of memory. */
struct submission *compound_submission(struct compound *c, enum state_command_type type);
enum nfsstat4 compound_submit_firmly(struct compound *c);
/*
 * Before the reply that tells of something granted to `clientid`: that it may reclaim it after a
 * crash, and that whoever had it before may not, is on stable storage. 0 or DELAY. May block.
 */
enum nfsstat4 compound_promise(struct compound *c, uint64_t clientid);
/* Before something is submitted that would have to be promised: can it be? 0 or DELAY. May block. */
enum nfsstat4 compound_can_promise(struct compound *c);
/*
 * A client of minor version 0 asks for something new, so it has reclaimed what it wanted (it has no
 * RECLAIM_COMPLETE to say so). 0, or GRACE if others have not.
 */
enum nfsstat4 compound_ask_new_v40(struct compound *c, uint64_t clientid);
/*
 * In exports with exactly_once: tells all nodes that the request has begun an operation, or (begun.op
 * 0) its reply. NULL: out of memory.
 */
struct state_command *compound_keep_command(struct compound *c, struct begun begun,
					    struct bytes reply);
/* Room for the result of one, as if unused. NULL: out of memory. */
struct state_result *compound_result(struct compound *c);
/* A command for the caller: minor version, client, principal filled. NULL: out of memory. */
struct state_command *compound_command(struct compound *c, enum state_command_type type);
/*
 * Replaces the special current stateid (RFC 8881 section 8.2.3) by its value. BAD_STATEID when
 * there is none. Minor version 0 has no current stateid: unchanged.
 */
enum nfsstat4 compound_resolve_stateid(struct compound *c, struct stateid *id);
void compound_set_stateid(struct compound *c, const struct stateid *id);

/*
 * The reply may have `most` bytes, of which successful results take `bodies` at most: what does not
 * fit there is answered with a status that does. `most` is more than STATUS_ROOM.
 */
void compound_limit_reply(struct compound *c, size_t most, size_t bodies);

/* ---- running ---- */

/* The COMPOUND procedure. */
enum rpc_verdict compound_run(struct nfs_server *server, struct rpc_call *call);
/* A parked compound goes on; any thread. */
void compound_resume(struct compound *c);

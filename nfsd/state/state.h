/*
 * The state machine: everything that clients hold.
 *
 * It changes only by commands. A command carries all that is not deterministic (random
 * verifiers, times), so that every node that applies the same commands in the same order has
 * the same state. state_apply() changes the state and answers with a result and effects;
 * nfsd never calls it itself but submits commands through cluster/cluster.h, whose solo
 * implementation applies at once in the caller's thread. Any number of threads may apply and
 * read at once: locks per client and per file, see state_private.h.
 *
 * Beside the replicated state there is the node's own, which no command depends on: when a client
 * was last heard of, its slots and cached replies, the open files behind the opens. The
 * functions for it are below the commands.
 *
 * Every client has a home, the node that its requests reach. Only its home submits commands for
 * it (those of another node are refused: NFS4ERR_DELAY) and judges its lease. At another node
 * its first request submits CMD_ADOPT. A client whose node has left the cluster is homeless until
 * then; the lowest node judges its lease meanwhile. A cluster of one is node 1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backends/backend.h"
#include "nfsd/nfs4.h"

struct state;
struct session;

/* Bytes owned by somebody else. */
struct bytes {
	const uint8_t *p;
	uint32_t len;
};

struct stateid {
	uint32_t seqid;
	uint8_t other[NFS4_OTHER_SIZE];
};

struct nfs_verifier {
	uint8_t data[NFS4_VERIFIER_SIZE];
};

struct sessionid {
	uint8_t data[NFS4_SESSIONID_SIZE];
};

/* A request of a session; or, with bytes that stand for an open-owner, one of that. */
struct request_ref {
	bool present;
	struct sessionid session;
	uint32_t slot, seqid;
};

/* What a request has told all nodes before it changed anything, nfsd/intent.h. */
struct begun {
	uint32_t op;	 /* its operation's place in the compound, from 1; 0: nothing */
	uint64_t object; /* what its name led to, as a hash; 0: nothing */
};

/* channel_attrs4 without the RDMA part (RFC 8881 section 18.36). */
struct channel_attrs {
	uint32_t header_pad, max_request, max_response, max_response_cached, max_ops, max_slots;
};

struct state_limits {
	uint32_t max_clients, max_sessions_per_client, max_slots_per_session;
	uint32_t max_opens_per_client, max_locks_per_client, max_owners_per_client;
	uint32_t max_delegs_per_client;
	uint32_t max_locks;		/* all clients together; likewise the next ones */
	uint32_t max_delegs;
	uint32_t max_opens;
	uint32_t max_owners;
	uint32_t max_sessions;
	size_t max_reply_cache;		/* bytes of cached replies, all sessions */
	struct channel_attrs fore;	/* what CREATE_SESSION grants at most */
};

struct state_config {
	uint32_t epoch;	       /* differs from all earlier instances; part of client IDs and stateids */
	unsigned lease_seconds;
	unsigned courtesy_seconds; /* how long a silent client's state is kept if nobody needs it */
	struct state_limits limits;
	uint64_t (*now_ns)(void *arg); /* monotonic; NULL: clock_coarse_ns */
	void *now_arg;
};

void state_config_default(struct state_config *c);
/* 0 or -ENOMEM. */
int state_new(const struct state_config *config, struct state **out);
void state_free(struct state *s);

/* ---------------------------------------------------------------- commands ---- */

enum state_command_type {
	CMD_SETCLIENTID,
	CMD_SETCLIENTID_CONFIRM,
	CMD_EXCHANGE_ID,
	CMD_CREATE_SESSION,
	CMD_DESTROY_SESSION,
	CMD_BACKCHANNEL_CTL,
	CMD_DESTROY_CLIENTID,
	CMD_RECLAIM_COMPLETE,
	CMD_EXPIRE_CLIENT,
	CMD_OPEN,
	CMD_OPEN_CONFIRM,
	CMD_OPEN_DOWNGRADE,
	CMD_CLOSE,
	CMD_LOCK,
	CMD_UNLOCK,
	CMD_RELEASE_LOCKOWNER,
	CMD_FREE_STATEID,
	CMD_OWNER_ADVANCE,
	CMD_DELEGATE,
	CMD_RECALL,
	CMD_DELEG_RETURN,
	CMD_REVOKE,
	CMD_START_GRACE,
	CMD_END_GRACE,
	CMD_ADOPT,	   /* `clientid` has come to this node */
	CMD_MEMBERS,	   /* whose home is none of these nodes is homeless */
	CMD_SILENT,	   /* its judge says that its lease has passed */
	CMD_SLOT_REPLY,	   /* what a request has begun, or was answered: for a retry elsewhere */
	CMD_BACK_ANSWERED, /* a call over a session's back channel has been answered */
	CMD_REPLY_KEPT,	   /* minor version 0's for the cache of duplicate requests */
	CMD_GRANT_SEEN,	   /* this node has applied the grant of a delegation of another */
	CMD_COUNT,
};

/* Before a client's owner string there may be this much, which keeps name spaces apart. */
#define CLIENT_OWNER_EXTRA 256

/* clientaddr4 and friends of SETCLIENTID (RFC 7530 section 16.33). */
struct callback_target {
	uint32_t program, ident;
	struct bytes netid, addr;
};

/* A client that held something when the last instance ended without handing its state over. */
struct state_reclaimer {
	struct bytes key; /* as in struct state_record */
	struct nfs_verifier verifier;
};

/* The range of a byte-range lock as in the protocol: length NFS4_UINT64_MAX = to end of file. */
struct lock_range {
	uint64_t offset, length;
};

/*
 * What a node keeps beside a lock stateid (nfsd/local_locks.c embeds it): a reference is the
 * stateid's, until EFFECT_LOCKS_GONE gives it back.
 */
struct lock_attachment {
	_Atomic uint32_t refs;
};

struct state_command {
	enum state_command_type type;
	uint32_t node; /* where it was submitted; 0: at the only node, 1 */
	/* Minor version 0 speaks of client IDs and seqids, 1 and 2 of sessions. */
	uint32_t minor;
	/* The client that asks, by its session (minor > 0) or its argument; 0: none yet. */
	uint64_t clientid;
	/*
	 * It may have been applied already, for a node that died before it answered: then the stateid
	 * of the argument is one behind, or has gone with what it stood for.
	 */
	bool maybe_retry;
	/*
	 * Minor version 0, but for OPEN: the sequence id of the stateid's owner that came with the request.
	 * With one that its owner's last command had, whose outcome was never recorded by OWNER_ADVANCE, it
	 * is a retry of that.
	 */
	bool sequenced;
	uint32_t owner_seqid;
	struct bytes principal; /* who asks: flavor and name, compared as bytes */
	union {
		struct {
			struct bytes owner; /* nfs_client_id4.id */
			struct nfs_verifier verifier;
			struct callback_target callback;
			struct nfs_verifier confirm; /* fresh and random */
		} setclientid;
		struct {
			struct nfs_verifier confirm;
		} setclientid_confirm; /* clientid above */
		struct {
			struct bytes owner; /* client_owner4.co_ownerid */
			struct nfs_verifier verifier;
			uint32_t flags;
			uint32_t state_protect; /* SP4_NONE, SP4_MACH_CRED (SSV is refused before) */
			struct bytes impl_name; /* may be empty: for `atoll clients` */
		} exchange_id;
		struct {
			uint32_t sequence, flags;
			struct channel_attrs fore, back;
			uint32_t cb_program;
			uint32_t cb_uid, cb_gid; /* of the AUTH_SYS callback parameters, if any */
			uint32_t cb_flavor;	 /* RPC_AUTH_*; UINT32_MAX: none that we have */
			uint8_t random[8];	 /* makes the session ID unguessable */
		} create_session; /* clientid above */
		struct {
			struct sessionid session;
		} destroy_session;
		struct {
			struct sessionid session;
			uint32_t cb_program, cb_uid, cb_gid, cb_flavor; /* as of create_session */
		} backchannel_ctl;
		struct {
			bool one_fs;
		} reclaim_complete; /* minor version 0: the client has asked for something new */
		struct {
			/*
			 * That the lease has passed is a matter of a clock, which must not decide
			 * what a command does: the client's judge has decided, see state_judge().
			 * But if the client has been adopted since, that was about another life.
			 */
			uint32_t adoptions;
		} expire_client;
		struct {
			struct bytes owner; /* open_owner4.owner */
			struct bytes file;  /* the file's key: same bytes = same file */
			uint32_t access, deny; /* OPEN4_SHARE_ACCESS_*, _DENY_*, no want bits */
			uint32_t claim;	       /* enum open_claim_type4 */
			bool truncates;	       /* it will: for delegations as good as a write */
			/* Who opens: who opens it again if it must be (state_opener()); may be NULL. */
			const struct cred *cred;
			/*
			 * OPEN_DELEGATE_READ or _WRITE if one is welcome (its client can be called
			 * back), with the filehandle as the client knows it.
			 */
			uint32_t delegate;
			struct bytes fh;
			uint64_t change; /* the file's change attribute: for a write delegation */
			bool times;	 /* the client would keep its times, too */
			bool directory;	 /* CMD_DELEGATE only: that is what it is */
			/* With a delegation no open is needed, unless the owner has one. */
			bool xor_delegation;
			struct request_ref request;
			struct stateid deleg_stateid; /* CLAIM_DELEGATE_CUR, CLAIM_DELEG_CUR_FH */
		} open; /* DELEGATE: a delegation without an open, so without owner, access, deny */
		struct {
			struct stateid stateid;
			struct bytes file; /* of the current filehandle; else BAD_STATEID */
			uint32_t access, deny;
		} open_downgrade; /* the same for OPEN_CONFIRM and CLOSE, without access/deny */
		struct {
			struct bytes file;
			enum nfs_lock_type4 type; /* READW_LT, WRITEW_LT: would wait */
			struct lock_range range;
			bool reclaim;
			bool new_owner;
			struct stateid stateid;	 /* open stateid if new_owner, else lock stateid */
			struct bytes owner;	 /* lock_owner4.owner if new_owner */
			uint32_t lock_seqid;	 /* minor version 0, if new_owner: the lock-owner's */
			bool local; /* the node has the lock on the file itself, too */
			/*
			 * Not NFS4_OK: what is in the way lies outside the state (a process of the
			 * node, say), and this is the answer unless there is another reason to
			 * refuse. DENIED: because of this lock.
			 */
			enum nfsstat4 refuse;
			bool refuse_over_limit; /* see state_result.over_limit */
			enum nfs_lock_type4 refuse_type;
			struct lock_range refuse_range;
			struct bytes refuse_owner;
		} lock;
		struct {
			struct bytes file;
			struct stateid stateid;
			struct lock_range range;
		} unlock;
		struct {
			struct bytes owner;
		} release_lockowner;
		struct {
			struct stateid stateid;
		} free_stateid;
		struct {
			bool lock_owner;    /* else an open-owner */
			struct bytes owner; /* of `clientid` */
			uint32_t seqid;
			struct bytes reply; /* the operation's encoded result, for a replay */
			struct bytes fh;    /* OPEN: the current filehandle after it */
		} owner_advance; /* minor version 0 */
		struct {
			struct bytes file;
			bool changes; /* else it is only looked at: read delegations may stay */
		} recall; /* of others than clientid (0: of all) */
		struct {
			struct stateid stateid;
			struct bytes file;
		} deleg_return;
		struct {
			struct stateid stateid;
		} revoke; /* of clientid: the server has waited long enough */
		struct {
			const struct state_reclaimer *clients;
			uint32_t n;
			bool anybody; /* they are not known: whoever asks may reclaim */
			/*
			 * Of several: the grace period does not end by itself when all listed are
			 * done, but by CMD_END_GRACE, so that other nodes' lists can be added.
			 */
			bool more_to_come;
			/*
			 * Of several: which state the list was kept beside, as of cluster_members. Who
			 * was not a member of the latest does not know what its clients have lost since,
			 * so only lists of the latest that is known count.
			 */
			uint64_t generation[3];
			bool complete; /* no list: all there are have come; now the clients may reclaim */
		} start_grace; /* before anything is granted; END_GRACE and ADOPT have no arguments */
		struct {
			const uint32_t *nodes;
			uint32_t n;
		} members;
		struct {
			uint32_t adoptions; /* as of expire_client */
		} silent;
		struct {
			struct sessionid session;
			uint32_t slot, seqid;
			uint64_t request_hash;
			struct begun begun;
			struct bytes reply; /* COMPOUND4res; of what has only begun: empty */
		} slot_reply;
		struct {
			struct sessionid session;
			uint32_t slot, seqid;
		} back_answered;
		struct {
			struct bytes key; /* drc.h */
			struct begun begun;
			struct bytes reply; /* as above */
		} reply_kept;
		struct {
			struct stateid stateid; /* of the delegation, of `clientid` */
			bool contended;		/* somebody is at work here who did not see it */
		} grant_seen;
	};
};

/* LOCK4denied: who is in the way. The owner's bytes live in the result. */
struct lock_conflict {
	uint64_t clientid;
	struct lock_range range;
	enum nfs_lock_type4 type;
	uint32_t owner_len;
	uint8_t owner[NFS4_OPAQUE_LIMIT];
};

struct state_result {
	enum nfsstat4 status;
	bool refused; /* not applied, and never will be: the log does not take commands now */
	bool takes_chores;    /* nfsd's, as the next (nfsd/chores.h): the submitter will do them */
	struct chore *chores; /* NULL: none */
	/*
	 * With NFS4ERR_SHARE_DENIED, LOCKED, DENIED, CLID_INUSE (of SETCLIENTID and EXCHANGE_ID),
	 * and with NFS4ERR_DELAY of OPEN when a delegation must be returned first:
	 * a client in the way. If state_is_courtesy() says that its lease has passed, expire it
	 * and submit again.
	 */
	uint64_t conflict_client;
	/*
	 * A limit of all clients together was hit. Expire the one that state_longest_silent() names
	 * and submit again.
	 */
	bool over_limit;
	bool locks_left; /* UNLOCK: the lock-owner has other locks in the file */
	union {
		struct {
			uint64_t clientid;
			struct nfs_verifier confirm;
			/* CLID_INUSE (of SETCLIENTID_CONFIRM, too): whose id it is. */
			char netid[16], addr[64];
		} setclientid;
		struct {
			uint64_t clientid;
			uint32_t sequence, flags;
		} exchange_id;
		struct {
			struct sessionid session;
			uint32_t sequence, flags;
			struct channel_attrs fore, back;
		} create_session;
		struct {
			struct stateid stateid;
			bool needs_confirm; /* minor version 0: OPEN4_RESULT_CONFIRM */
			bool upgraded;	    /* the owner had the file open already */
			bool no_open;	    /* there is the delegation instead; stateid is zero */
			uint32_t delegation; /* enum open_delegation_type4; none: */
			uint32_t why_none;   /* enum why_no_delegation4, if one was asked for */
			struct stateid deleg_stateid;
		} open;
		struct stateid stateid; /* OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE, LOCK, UNLOCK */
		struct lock_conflict denied;
	};
};

/* What is zero in one that has not been used: all but most of `denied.owner`, which is long. */
#define STATE_RESULT_HEAD (offsetof(struct state_result, denied) + 128)

/* What a node must do because a command was applied. */
enum state_effect_type {
	EFFECT_LOCK_FREED,    /* ranges, share reservations or delegations of `file` became free */
	EFFECT_RECALL,	      /* the delegation `stateid` of `clientid` must be called back */
	EFFECT_SESSION_GONE,  /* its connections are no longer bound */
	EFFECT_CLIENT_GONE,
	EFFECT_CLIENT_RECORD, /* the first thing has been granted to it: state_record_take() */
	/* `key` of `clientid`: what it holds is about to become free, or a part has been revoked */
	EFFECT_CLIENT_FORGET,
	EFFECT_GRACE_ENDED,
	EFFECT_LOCKS_GONE, /* a lock stateid with an attachment has gone */
	EFFECT_CLIENT_MOVED, /* it has another home, or none: no connection of before is good */
	EFFECT_REPLY_KEPT,   /* `key`, `begun`, `reply` of CMD_REPLY_KEPT */
	EFFECT_GRANTED,	     /* the delegation `stateid` of `file`, asked for at `node`; not when reclaimed */
	EFFECT_GRANT_SEEN,   /* `node` has applied it: `contended` of CMD_GRANT_SEEN */
};

struct state_effect {
	enum state_effect_type type;
	uint64_t clientid;
	struct sessionid session;
	struct bytes file; /* valid during the call */
	struct bytes fh;   /* likewise; EFFECT_RECALL: the filehandle that the client knows */
	struct stateid stateid;
	struct request_ref granted_by;
	struct bytes key;  /* likewise */
	struct lock_attachment *attachment; /* the stateid's reference is the receiver's now */
	struct begun begun;
	struct bytes reply; /* likewise */
	uint32_t node;
	bool contended;
};

struct state_effects {
	void (*emit)(void *arg, const struct state_effect *effect); /* NULL: nobody cares */
	void *arg;
};

/*
 * Applies one command. Never fails itself: the result has the status (NFS4ERR_DELAY,
 * NFS4ERR_RESOURCE... when memory or a limit is exhausted, and then nothing has changed).
 */
void state_apply(struct state *s, const struct state_command *cmd, struct state_result *result,
		 const struct state_effects *effects);

/* ------------------------------------------------- leases (this node's own) ---- */

/* RENEW: 0, STALE_CLIENTID, EXPIRED, ACCESS. */
enum nfsstat4 state_renew(struct state *s, uint64_t clientid, struct bytes principal);
/* Renewal by an operation of minor version 0 that names the client (RFC 7530 section 9.5), if it is known. */
void state_heard_v40(struct state *s, uint64_t clientid);
/*
 * The client whose lease has passed longest ago, with or without opens; 0: there is none. Looks at
 * all clients, but after it has found none not again within a second.
 */
uint64_t state_longest_silent(struct state *s);
/*
 * True if the client exists and its lease has passed, as its judge has found, so that its state may
 * be taken from it: by *expire, which does nothing any more if the client has come to another
 * node meanwhile.
 */
bool state_judge(struct state *s, uint64_t clientid, struct state_command *expire);
bool state_is_courtesy(struct state *s, uint64_t clientid); /* the same, without a command */
/*
 * Clients about which this node, their judge, should say by CMD_SILENT that their lease has passed:
 * other nodes do not know. Fills at most `cap`, returns how many.
 */
unsigned state_silence(struct state *s, struct state_command *cmds, unsigned cap);
/*
 * The clients that should be expired now: unconfirmed or stateless and past the lease, or past
 * the courtesy. Fills at most `cap` IDs, returns how many.
 */
unsigned state_expirable(struct state *s, uint64_t *clientids, unsigned cap);
/* With sessions: true once the client has sent RECLAIM_COMPLETE (a plain OPEN before: NFS4ERR_GRACE). */
bool state_reclaim_completed(struct state *s, uint64_t clientid);

/* ------------------------------------------------------------ homes, members ---- */

/*
 * Returned in place of a status: the client has another home, or has been told of as silent; submit
 * CMD_ADOPT and try again.
 */
#define STATE_AWAY ((enum nfsstat4)0x7ffffffe)

/* This node's number, before there is any client; without it, it is 1. */
void state_set_node(struct state *s, uint32_t node);
uint32_t state_node(const struct state *s);
uint32_t state_epoch(const struct state *s);
/* Is this node the lowest of those that have the state? It judges homeless clients. */
void state_set_lowest(struct state *s, bool lowest);
/* True if a client's home is none of these nodes: the lowest of them submits CMD_MEMBERS. */
bool state_has_orphans(struct state *s, const uint32_t *nodes, uint32_t n);
/* Every lease begins anew: this node could not hear of clients for a while. */
void state_renew_all(struct state *s);
/* Is this node the home of the client, whether it is silent or not? */
bool state_is_at_home(struct state *s, uint64_t clientid);
/* False: no such client. *home 0: none. */
bool state_client_home(struct state *s, uint64_t clientid, uint32_t *home);
/* True if the client exists and a CMD_ADOPT must come before anything is done for it here. */
bool state_is_away(struct state *s, uint64_t clientid);
/* The same for a client of a session; *clientid is filled then. */
bool state_session_is_away(struct state *s, const struct sessionid *session, uint64_t *clientid);
/*
 * True once memory has run out in the middle of a command, in a way that other nodes have not
 * seen: a replicated state is void then.
 */
bool state_has_diverged(const struct state *s);

/* ------------------------------------------ the grace period, stable storage ---- */

/* True while nothing new may be had. */
bool state_in_grace(struct state *s);
/* 0 if the client may reclaim now; NO_GRACE, DELAY while lists are gathered, or why the client ID is no good. */
enum nfsstat4 state_may_reclaim(struct state *s, uint32_t minor, uint64_t clientid);
/* True if everybody listed is done and only END_GRACE is missing (start_grace.more_to_come). */
bool state_grace_is_done(struct state *s);
/* In the grace period of several, while lists may still come. */
bool state_grace_gathers(struct state *s);
/*
 * If all lists have come (start_grace.complete): the generation of those that count (zeros: none is known). False
 * if they have not.
 */
bool state_grace_generation(struct state *s, uint64_t generation[3]);
/* Nothing new has been granted, and a grace period has not begun or goes on: a list counts. */
bool state_grace_is_open(struct state *s);
/* Is this the lowest of the nodes? It does what one of them must do. */
bool state_is_lowest(const struct state *s);
/* How many clients held something before, and how many of them are not done with reclaiming. */
void state_grace_progress(struct state *s, uint32_t *listed, uint32_t *waiting);

/* What stable storage keeps of a client: enough to know it again. */
struct state_record {
	uint8_t *key; /* kind, owner string and principal, as bytes; malloc'ed */
	uint32_t key_len;
	struct nfs_verifier verifier;
};

/*
 * The client's record, to be stored, for the first who asks: 0 with *out filled; -EALREADY when
 * somebody has asked before; -ENOENT, no such client (any more), or none to be recorded; -ENOMEM.
 */
int state_record_take(struct state *s, uint64_t clientid, struct state_record *out);
/* It could not be stored: the next who asks gets it. */
void state_record_untake(struct state *s, uint64_t clientid);
/* It is on stable storage now. */
void state_record_stored(struct state *s, uint64_t clientid);
/* Also true when there is nothing to be stored. */
bool state_record_is_stored(struct state *s, uint64_t clientid);
/* Those with a record, as after reading a snapshot: 0 or -ENOMEM; *ids is malloc'ed. */
int state_recorded_clients(struct state *s, uint64_t **ids, size_t *n);
/* The client that a stateid of minor version 0 speaks of, whether it exists or not; 0: none of ours. */
uint64_t state_stateid_client(struct state *s, const struct stateid *id);

/* ------------------------------------------- sessions and slots (this node's) ---- */

struct sequence_args {
	struct sessionid session;
	uint32_t seqid, slot, highest_slot;
	bool cache_this;
	uint32_t request_len;  /* bytes of the RPC call: beyond the channel's, REQ_TOO_BIG */
	uint32_t reply_least;  /* bytes of a reply that ends with SEQUENCE */
	uint32_t nops;	       /* of the compound: beyond the channel's, TOO_MANY_OPS */
	uint64_t request_hash; /* of the whole compound: a retry must have the same */
	uint64_t conn_id;      /* rpc_conn_id(); bound to the fore channel when SP4_NONE */
};

/* A slot in use by one request. Lives in the compound. */
struct slot_use {
	struct session *session; /* a reference until state_sequence_end() */
	uint64_t clientid;
	uint32_t slot, seqid;
	uint64_t request_hash;
	bool cache_this;
	/*
	 * The first on this slot since its client came from another node: perhaps a retry. As long as the
	 * log has `refused` what it asked for, the next one may be, too.
	 */
	bool maybe_retry, refused;
	struct begun begun; /* this very request, by a node of before that has given no reply */
	bool probe_back; /* the client knows its session now: its back channel can be tried */
	struct channel_attrs fore;
	/* SEQUENCE's results: */
	uint32_t highest_slot, target_highest_slot, status_flags;
	/* Not NULL: this is a retry; answer with these bytes (valid until state_sequence_end). */
	const uint8_t *replay;
	uint32_t replay_len;
};

/*
 * SEQUENCE (RFC 8881 section 18.46): 0 with `use` filled (also for a replay), or the error:
 * BADSESSION, CONN_NOT_BOUND_TO_SESSION, TOO_MANY_OPS, REQ_TOO_BIG, BADSLOT, BAD_HIGH_SLOT,
 * SEQ_MISORDERED, SEQ_FALSE_RETRY, DELAY (the first try is still running, or memory is short),
 * RETRY_UNCACHED_REP. Renews the lease.
 * RETRY_UNCACHED_REP is not SEQUENCE's own status (section 2.10.6.1.3): SEQUENCE answers
 * NFS4_OK with the values in `use`, which are filled then, too, and the second operation gets
 * the error. There is no state_sequence_end() after any error.
 */
enum nfsstat4 state_sequence(struct state *s, const struct sequence_args *args,
			     struct slot_use *use);
/*
 * The request is done: `reply` is the encoded COMPOUND4res for a later retry, or NULL if it
 * is not to be cached (a retry gets RETRY_UNCACHED_REP). Copies the bytes.
 */
void state_sequence_end(struct state *s, struct slot_use *use, const void *reply, uint32_t len);
void slot_use_session_id(const struct slot_use *use, struct sessionid *out);
/* True if the slot in use is one of this session. */
bool slot_use_is_session(const struct slot_use *use, const struct sessionid *session);
/* BIND_CONN_TO_SESSION. *dir in: channel_dir_from_client4, out: channel_dir_from_server4. */
enum nfsstat4 state_bind_conn(struct state *s, const struct sessionid *session, uint64_t conn_id,
			      uint32_t *dir);
/* True if the connection is bound to the session, by whichever means. */
bool state_conn_is_bound(struct state *s, const struct sessionid *session, uint64_t conn_id);
/* 0, or BADSESSION; *clientid the session's (for DESTROY_SESSION's and others' checks). */
enum nfsstat4 state_session_client(struct state *s, const struct sessionid *session,
				   uint64_t *clientid);
/* The connection has gone: it is bound to nothing any more. */
void state_conn_closed(struct state *s, uint64_t conn_id);

/* -------------------------------------------------- using stateids (reads) ---- */

static inline bool stateid_is_anonymous(const struct stateid *id)
{
	static const uint8_t zeros[NFS4_OTHER_SIZE];

	return id->seqid == 0 && __builtin_memcmp(id->other, zeros, sizeof(zeros)) == 0;
}

static inline bool stateid_is_read_bypass(const struct stateid *id)
{
	static const uint8_t ones[NFS4_OTHER_SIZE] = { [0 ... NFS4_OTHER_SIZE - 1] = 0xff };

	return id->seqid == NFS4_UINT32_MAX &&
	       __builtin_memcmp(id->other, ones, sizeof(ones)) == 0;
}

/*
 * May a READ, WRITE or size-changing SETATTR with this stateid go ahead on `file`? `access` is
 * ACCESS_READ or ACCESS_WRITE. For special stateids checks share reservations of others
 * (LOCKED); else finds the open (or the open of a lock) and renews its client's lease.
 * *out (reference; NULL for special stateids or when the file is not attached) is the open
 * file with that access. Errors: BAD_STATEID, OLD_STATEID, STALE_STATEID, EXPIRED,
 * OPENMODE, LOCKED, ADMIN_REVOKED; conflict_client as in state_result.
 */
enum nfsstat4 state_use_stateid(struct state *s, uint32_t minor, uint64_t clientid,
				const struct stateid *id, struct bytes file, unsigned access,
				struct file **out, uint64_t *conflict_client);

/*
 * Attaches the open file behind an open's stateid for file->access, or drops it if there is one
 * already or the open has gone. Takes over the caller's reference.
 */
void state_attach_file(struct state *s, const struct stateid *id, struct file *file);

/*
 * When state_use_stateid() found no open file though the stateid is an open's (or a lock's or a
 * delegation's): as whom to open it, because the OPEN was the permission. *cred is a reference,
 * *with the access to open with, *holder the stateid to attach the file to. False: not known.
 */
bool state_opener(struct state *s, const struct stateid *id, unsigned access,
		  const struct cred **cred, unsigned *with, struct stateid *holder);

/* LOCKT: 0, DENIED with *denied, or an error. Changes nothing. owner's client: `clientid`. */
enum nfsstat4 state_lockt(struct state *s, uint64_t clientid, struct bytes owner,
			  struct bytes file, enum nfs_lock_type4 type, struct lock_range range,
			  struct lock_conflict *denied);

/* What is attached to this lock stateid, with a reference; NULL: it is none, or nothing is. */
struct lock_attachment *state_lock_attachment(struct state *s, const struct stateid *id);
/*
 * The lock stateid takes over the caller's reference of `a`, unless something is attached to it
 * already or it has gone: false.
 */
bool state_attach_lock(struct state *s, const struct stateid *id, struct lock_attachment *a) MUST_CHECK;

/* Longer keys than backends make. */
#define STATE_FILE_KEY_MAX 256

/* Takes it off again: the reference is the caller's. NULL: there was nothing. */
struct lock_attachment *state_detach_lock(struct state *s, const struct stateid *id);

/* Byte ranges that a lock-owner holds in a file. */
struct state_span {
	uint64_t first, last; /* inclusive; NFS4_UINT64_MAX: to the end */
	bool exclusive;
};
/*
 * What the lock-owner holds in the file from `first` to `last`, in order: the first `cap` of it; how
 * many. They may reach beyond both ends. Nothing is held if the client or the owner has gone.
 */
size_t state_lock_spans(struct state *s, uint64_t clientid, struct bytes owner, struct bytes file,
			uint64_t first, uint64_t last, struct state_span *out, size_t cap);
/* Whose locks a LOCK or LOCKU with this lock stateid is about. */
struct state_locker {
	uint64_t clientid;
	uint32_t owner_len, file_len;
	uint8_t owner[NFS4_OPAQUE_LIMIT];
	uint8_t file[STATE_FILE_KEY_MAX];
};
/* False: not a stateid of a lock. */
bool state_locker(struct state *s, const struct stateid *id, struct state_locker *out);
/*
 * The lock stateids of the client (0: of all clients) with locks that are to be on the files, too
 * (state_command.lock.local): 0 or -ENOMEM; *ids is malloc'ed.
 */
int state_local_locks(struct state *s, uint64_t clientid, struct stateid **ids, size_t *n);

/*
 * Is a delegation of another client than `clientid` (0: of any) in the way of what is about to be
 * done to the file without a command? `changes`: it or its attributes change; else it is looked at
 * where a write delegation may know better. *recall: submit a CMD_RECALL, not everything in the
 * way has been recalled yet. Whoever is in the way is in *conflict_client.
 */
bool state_deleg_conflict(struct state *s, struct bytes file, uint64_t clientid, bool changes,
			  uint64_t *conflict_client, bool *recall);
/*
 * May the client be given a delegation of the file? Not if it did not return one in time, or has one
 * of this file.
 */
bool state_may_delegate(struct state *s, uint64_t clientid, struct bytes file);

struct state_deleg {
	uint64_t clientid;
	uint32_t type;
	bool recalled, directory;
	bool times; /* the client keeps the file's times, too */
	/* Write: the change attributes that the client knows, told last and with the grant. */
	uint64_t change, granted_change;
	uint8_t fh_len, fh[NFS4_FHSIZE]; /* as the client knows it */
};

/* Has the client any? Cheap. */
bool state_has_delegs(struct state *s, uint64_t clientid);
/* Is there any write delegation? Cheap. */
bool state_has_write_delegs(struct state *s);
/* Is this the stateid of a write delegation of the file with which the client keeps its times? */
bool state_keeps_times(struct state *s, uint64_t clientid, const struct stateid *id,
		       struct bytes file);
/* The type of the client's delegation of the file; OPEN_DELEGATE_NONE: it has none. */
uint32_t state_deleg_type(struct state *s, uint64_t clientid, struct bytes file);

/* A client with delegations. */
struct state_holder {
	uint64_t clientid;
	uint32_t ndelegs;
};
/* Those of minor versions above 0; at most `cap`. */
unsigned state_holders(struct state *s, struct state_holder *out, unsigned cap);
/* How many delegations there are. Cheap. */
uint64_t state_ndelegs(struct state *s);
/* All limits in force. A restored state brings those of the node that began it. */
struct state_limits state_limits(const struct state *s);
/* Limits as configured: of a client, of all together. */
void state_deleg_limits(struct state *s, uint32_t *client, uint32_t *all);
/* A client of minor version 0 with delegations whose callback path is down (RFC 7530 16.30.5). */
bool state_path_is_missed(struct state *s, uint64_t clientid);
/* The write delegation of the file that another client than `clientid` holds. False: none. */
bool state_write_deleg(struct state *s, struct bytes file, uint64_t clientid,
		       struct state_deleg *out);
/*
 * `clientid` has been told the file's change attribute: if it has a write delegation of it, it will
 * know it by that. This node's own.
 */
void state_note_change(struct state *s, struct bytes file, uint64_t clientid, uint64_t change);

/*
 * All that `clientid` (0: anybody) holds, as they are at the beginning; `fn` may submit commands. 0 or
 * -ENOMEM.
 */
int state_each_deleg(struct state *s, uint64_t clientid,
		     void (*fn)(void *arg, const struct state_deleg *d), void *arg);
/* Is this delegation still there, and not revoked? */
bool state_deleg_is_held(struct state *s, uint64_t clientid, const struct stateid *id);

/* A delegation that was recalled more than a lease ago: to be revoked by CMD_REVOKE. */
struct state_overdue {
	uint64_t clientid;
	uint32_t minor;
	struct stateid stateid;
};
/* Fills at most `cap`, returns how many. This node's own clock. */
unsigned state_revocable(struct state *s, struct state_overdue *out, unsigned cap);

/* TEST_STATEID, one stateid of minor version > 0. */
enum nfsstat4 state_test_stateid(struct state *s, uint64_t clientid, const struct stateid *id);
/*
 * True if an open denies `access` (OPEN4_SHARE_ACCESS_*), or, with access 0, if the file is open at
 * all: REMOVE and RENAME may ask. *conflict_client is whose open it is.
 */
bool state_file_denied(struct state *s, struct bytes file, uint32_t access,
		       uint64_t *conflict_client);

/* -------------------- minor version 0: owners' sequence ids (RFC 7530 9.1.7) ---- */

/* An owner held for one seqid-bearing request; further ones of the same owner wait. */
struct owner_hold;

struct owner_replay {
	bool replay;	    /* answer with `reply` and make `fh` current (if it has bytes) */
	struct bytes reply; /* valid until state_owner_release() */
	struct bytes fh;
};

/*
 * Begins OPEN (by client ID and open-owner; made if unknown), 0 with *hold, or STALE_CLIENTID,
 * EXPIRED, BAD_SEQID, RESOURCE.
 */
enum nfsstat4 state_owner_hold(struct state *s, uint64_t clientid, struct bytes owner,
			       uint32_t seqid, struct owner_hold **hold,
			       struct owner_replay *replay);
/*
 * The same for OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE, LOCK of a new lock-owner (open stateid), and
 * LOCK and LOCKU (lock stateid): the owner is the stateid's. Also BAD_STATEID, STALE_STATEID,
 * EXPIRED. A replay is recognised even if the stateid has been closed since.
 */
enum nfsstat4 state_owner_hold_by_stateid(struct state *s, const struct stateid *id,
					  uint32_t seqid, struct owner_hold **hold,
					  struct owner_replay *replay);
/*
 * Fills `cmd` as the CMD_OWNER_ADVANCE that records the request's outcome, to be submitted
 * before the release; false if `status` is one that does not advance the sequence id.
 */
bool state_owner_advance(struct owner_hold *hold, enum nfsstat4 status, struct bytes reply,
			 struct bytes fh, struct state_command *cmd);
void state_owner_release(struct state *s, struct owner_hold *hold);

/* ----------------------------------------------------------- introspection ---- */

struct state_counts {
	uint64_t clients, sessions, open_owners, lock_owners, opens, locks, delegations, files,
	    cached_bytes;
};
void state_get_counts(struct state *s, struct state_counts *out);

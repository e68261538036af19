/*
 * Inside of the state machine: its objects, who owns which field, and the locks.
 *
 *	state
 *	 |- names: client_name -> the confirmed and the unconfirmed client of an owner string
 *	 |- client (by client ID)
 *	 |    |- session (by session ID) -> slots with cached replies; bindings to connections
 *	 |    |- deleg: a delegation, one per file (a held, too)
 *	 |    `- owner, open or lock (by its bytes)
 *	 |         `- held: what a stateid stands for (by stateid, and by owner and parent)
 *	 |              |- open: one per open-owner and file
 *	 |              `- lock_state: one per lock-owner and open
 *	 `- state_file (by key) -> its opens, share counters, byte ranges
 *
 * Locks, in the order in which they are taken:
 *	state.names_lock > client.lock > state_file.lock
 *			   client.lock > session.lock > stripe
 *	and grace.lock and every stripe of a table are leaves: nothing is taken while one is held.
 * No two clients', files', sessions' or stripes' locks are held at once. Nothing is called back
 * (effects, file_unref) with a lock held: a command collects in struct after what remains
 * to be done, and finish() does it.
 *
 * What the locks guard is said at each field. Two need a word:
 *  - A stateid's fields that READ and WRITE need (seqid, access, files...) change under the
 *    client's lock AND the lock of the stateid's stripe, so either suffices to read them.
 *    That makes state_use_stateid() take one short lock that other stateids do not share.
 *  - A state_file lives as long as it has references, counted under its stripe; opens hold one.
 *
 * References: a client is held by its place in the table, by each session, and by whoever is at
 * work for it. Once `dead` it has left the tables and holds nothing; the memory waits for the
 * last reference. A session is held by its place in the table and by each slot in use. An owner
 * is held by its place in the client's table, where it stays while it has stateids, and by an
 * owner_hold.
 *
 * Determinism: IDs come from counters that only commands advance; lists are in the order of
 * commands; no result depends on an address or on a hash table's order (but for who of several
 * in the way is named). The epoch and the limits are those of the node that began, and travel with
 * the snapshot. Exempt, because they are the node's own: leases, slots, bindings, files attached,
 * owners known only to a hold. What cannot be made the same is memory that runs out at one node:
 * `diverged` says so, and such a node must give up its state and join anew.
 *
 * Commands of a replicated log are applied by one thread; reads go on beside it.
 */
#pragma once

#include "base/list.h"
#include "base/lock.h"
#include "nfsd/state/back.h"
#include "nfsd/state/state.h"
#include "nfsd/state/table.h"
#include "nfsd/state/tree.h"

struct after;
struct work;

/* The grace period, grace.c. */
struct grace_entry {
	struct table_node node;
	bool done;
	bool stale; /* of an older list than another: it may reclaim nothing */
	struct nfs_verifier verifier;
	uint32_t len;
	uint8_t key[];
};

struct grace {
	_Atomic bool active; /* written under lock, as the next */
	_Atomic bool ended;  /* since the last announcement */

	struct mutex lock; /* a leaf; guards the rest */
	bool started;
	bool more_to_come;	   /* ends by END_GRACE only */
	bool complete;		   /* of those: nobody may reclaim before */
	uint64_t generation[3];	   /* of those: of the latest list */
	bool anybody;		   /* who held something is not known */
	uint32_t listed, waiting;  /* clients that did; of them, those not done */
	struct table entries;	   /* by key, empty when it is over */
	struct grace_entry **all;  /* the same */
	uint32_t nentries;
	uint32_t room; /* for pointers in `all` */
};

struct state {
	struct state_config config; /* immutable once there are clients */

	_Atomic uint32_t node;	     /* this one's number */
	_Atomic bool judges_homeless; /* this node is the lowest */
	_Atomic bool diverged;	     /* memory ran out while a command was applied */
	_Atomic bool granted;	     /* something new, that was no reclaim */

	struct grace grace;

	struct mutex names_lock; /* guards the next group, and see struct client */
	struct table names;
	struct list clients;	 /* all, oldest first */
	struct list unconfirmed; /* those never confirmed, oldest first */
	uint32_t nclients;

	_Atomic uint64_t all_alive_ns; /* this node's: until then no client's lease has passed */

	struct mutex reply_lock; /* a leaf; guards: */
	size_t reply_reserved;	 /* bytes of replies that sessions may cache */

	struct mutex recall_lock; /* a leaf; guards: */
	struct list recalled;	  /* delegations recalled, not yet returned; the longest so first */

	_Atomic uint32_t last_client; /* the newest client's counter; written under names_lock */

	struct stripe by_clientid[STRIPES];
	struct stripe by_session[STRIPES];
	struct stripe by_stateid[STRIPES];
	struct stripe by_file[STRIPES];
	struct stripe by_conn[STRIPES];

	_Atomic uint64_t nsessions, nopen_owners, nlock_owners, nopens, nlocks, ndelegs, nfiles;
	_Atomic uint64_t nwrite_delegs; /* of ndelegs */
	_Atomic uint64_t cached_bytes;
};

/* ------------------------------------------------------------------ clients ---- */

#define NETID_MAX 16
#define ADDR_MAX  64

struct callback {
	uint32_t program, ident;
	char netid[NETID_MAX], addr[ADDR_MAX]; /* empty if the client's did not fit */
};

/* A confirmed client of minor version 0 has asked for another callback (RFC 7530 16.33.5). */
struct callback_update {
	struct callback callback;
	struct nfs_verifier confirm;
};

/*
 * An owner string. Minor version 0 and sessions have separate name spaces: an EXCHANGE_ID
 * never touches what a SETCLIENTID of the same bytes made (RFC 8881 section 2.4.1 allows a
 * server to compare them; a host that mounts with both at once would lose its state).
 */
struct client_name {
	struct table_node node;
	bool v40;
	struct client *confirmed, *unconfirmed; /* at most one of each; not both NULL */
	uint32_t len;
	uint8_t bytes[];
};

enum record { RECORD_NONE, RECORD_TAKEN, RECORD_STORED };

/* The one-slot reply cache of CREATE_SESSION (RFC 8881 section 18.36.4). */
struct create_slot {
	uint32_t sequence;
	uint64_t principal; /* principal_hash() of who asked */
	enum nfsstat4 status;
	struct sessionid session;
	uint32_t flags;
	struct channel_attrs fore, back;
};

struct client {
	struct table_node by_id;
	_Atomic uint32_t refs;

	/* Immutable. */
	uint64_t id;
	uint32_t counter; /* the low half of id */
	bool v40;
	struct nfs_verifier verifier;
	uint32_t state_protect;
	uint32_t principal_len, key_len;
	uint8_t *principal;
	uint8_t *key; /* how stable storage and the grace period know it: client_make_key() */

	/* Under names_lock. */
	struct client_name *name;
	struct list in_clients, in_unconfirmed;
	struct nfs_verifier confirm; /* minor version 0 */
	struct callback callback;
	struct callback_update *update;
	struct create_slot create; /* the others */
	uint32_t last_session;

	_Atomic bool confirmed;	       /* written under names_lock */
	_Atomic uint64_t heard_ns;     /* this node's: when the lease was last renewed */
	_Atomic uint64_t nopens;       /* written under lock; no opens: no state worth keeping */
	_Atomic bool reclaim_complete; /* written under lock */
	_Atomic uint32_t ndelegs;      /* written under lock, as the next two; without the revoked */
	_Atomic uint32_t nrevoked;     /* revoked delegations not yet freed */
	_Atomic bool kept_deleg;       /* did not return one in time: gets none any more */
	_Atomic bool reclaim_needed;   /* it held something before the restart; until RECLAIM_COMPLETE */
	_Atomic bool recorded;	       /* something has been granted; written under lock */
	/* Written under lock: see home.c. */
	_Atomic uint32_t home;	    /* node; 0: none */
	_Atomic uint32_t adoptions; /* how often that has changed; written after the rest */
	_Atomic bool silent;	    /* its judge has said so */
	_Atomic bool judged;	    /* this node's: it has said, or is about to say, that the lease has passed */
	_Atomic enum record record;    /* this node's: its record in stable storage */
	_Atomic enum back_path callback_path; /* this node's; minor version 0 */

	struct mutex lock; /* guards the rest */
	bool dead;
	bool reclaimed;	  /* an open, in this instance */
	uint32_t last_id; /* of stateids and lock-owners */
	uint32_t nlocks, nowners, nidle, nsessions;
	struct table owners; /* by kind and bytes */
	struct table pairs;  /* stateids by owner and file, or owner and open */
	struct list busy;    /* owners with stateids */
	struct list idle;    /* owners without, the longest so first */
	struct list delegs;  /* the revoked included */
	struct list sessions;
	struct cond owner_released;
};

/* Fills c->key (v40 and principal are set): 0 or -ENOMEM. */
int client_make_key(struct client *c, struct bytes owner);
/* The client with this ID, with a reference; NULL if there is none. */
struct client *client_get(struct state *s, uint64_t clientid);
struct client *client_get_counter(struct state *s, uint32_t counter);
void client_unref(struct client *c);
/* Why client_get() found nothing: STALE_CLIENTID, or EXPIRED for one that has existed. */
enum nfsstat4 client_missing(struct state *s, uint64_t clientid);
/* A confirmed client of minor version 0: 0, STALE_CLIENTID, EXPIRED. */
enum nfsstat4 client_get_v40(struct state *s, uint64_t clientid, struct client **out);
void client_heard(struct state *s, struct client *c);
/* Is this node the one to judge the client's lease? */
bool client_is_judged_here(const struct state *s, const struct client *c);
/* It is at home at `node` (0: nowhere) from now on. Nothing happens if it is already. */
void client_settle(struct state *s, struct client *c, uint32_t node,
		   const struct state_effects *effects);
/* The same for a command that makes or confirms a client: what was judged before it is void in any case. */
void client_asked(struct state *s, struct client *c, uint32_t node,
		  const struct state_effects *effects);
/* Must be adopted before anything is done for it here. */
static inline bool client_is_away(const struct state *s, const struct client *c)
{
	return c->home != s->node || c->silent || c->judged;
}
/* Where a command was submitted. */
static inline uint32_t command_node(const struct state_command *cmd)
{
	return cmd->node ? cmd->node : 1;
}
/* Makes an unconfirmed record the confirmed one; the record it replaces, withdrawn, or NULL. */
struct client *client_confirm(struct state *s, struct client *c) REQUIRES(&s->names_lock);
/* A record as in a snapshot. NULL: out of memory, or one that cannot be. */
struct client *client_restore(struct state *s, uint32_t counter, bool v40, bool confirmed,
			      struct bytes owner, const struct nfs_verifier *verifier,
			      struct bytes principal) REQUIRES(&s->names_lock);
/* Frees what a withdrawn client holds, without any lock. NULL is allowed. */
void client_destroy(struct state *s, struct client *c, const struct state_effects *effects);

/* ----------------------------------------------------------------- sessions ---- */

#define SLOTS_PER_CHUNK	 16
#define SLOTS_MAX	 1024
#define SLOT_SMALL_REPLY 128

enum slot_state { SLOT_IDLE, SLOT_RUNNING, SLOT_REPLAYING };

struct slot {
	uint32_t seqid; /* of the last request; 0 and !used: none yet */
	bool used, cached;
	bool told_target; /* the last reply asked for fewer slots */
	enum slot_state state;
	uint64_t request_hash;
	uint32_t reply_len, reply_cap;
	uint8_t *reply; /* `small`, or reply_cap bytes of its own */
	/*
	 * The client has come from another node and has not used the slot here: what is above is not
	 * known, and its first request may have any seqid.
	 */
	bool unknown;
	bool maybe_retry; /* what it is used for now may have been done at another node */
	struct slot_reply *kept; /* replicated, or NULL */
	uint8_t small[SLOT_SMALL_REPLY];
};

/* CMD_SLOT_REPLY: the same on every node. */
struct slot_reply {
	uint32_t seqid, len;
	uint64_t request_hash;
	struct begun begun; /* there is no reply yet; op 0: there is */
	uint8_t bytes[];
};

/* A connection bound to a session, explicitly or by a SEQUENCE (RFC 8881 section 2.10.3.1). */
struct binding {
	struct table_node by_conn; /* under the connection's stripe */
	struct session *session;   /* immutable; no reference: unbound before the session goes */
	uint64_t conn_id;	   /* immutable */
	struct list in_session;	   /* this and the rest under session.lock */
	uint32_t dir;		   /* CDFS4_* */
	bool is_explicit;	   /* by CREATE_SESSION or BIND_CONN_TO_SESSION */
};

struct session {
	struct table_node by_id;
	_Atomic uint32_t refs;

	/* Immutable. */
	struct sessionid id;
	struct client *client; /* a reference */
	uint32_t minor;	       /* minor version of the CREATE_SESSION */
	uint32_t flags;	       /* CREATE_SESSION4_FLAG_* as granted */
	struct channel_attrs fore, back;
	size_t reserved; /* its part of state.reply_reserved */

	struct list in_client; /* under client.lock */

	struct mutex lock; /* guards the rest */
	bool dead;
	uint32_t cb_program, cb_flavor, cb_uid, cb_gid;
	bool moved;		   /* slots not used yet are unknown */
	bool had_back;		   /* a connection has been bound to the back channel */
	bool back_probe;	   /* the next SEQUENCE has it tried */
	enum back_path back_path;  /* this and the next: see back.h */
	uint32_t back_seqids[BACK_SLOTS_MAX];
	struct list bindings; /* the oldest first */
	uint32_t nbindings;
	uint32_t nslots;      /* what the client may use now: highest_slotid + 1 */
	uint32_t target;      /* what it is asked to keep to; <= nslots */
	uint64_t squeezed_ns; /* when memory last ran out: `target` was lowered */
	struct slot *chunks[SLOTS_MAX / SLOTS_PER_CHUNK]; /* NULL until a slot of it is used */
};

/* The session with a reference, or NULL. */
struct session *session_get(struct state *s, const struct sessionid *id);
void session_unref(struct state *s, struct session *session);
/* Out of the table and of its client's list, onto after->sessions. */
void session_unlink(struct state *s, struct client *c, struct session *session, struct after *after)
    REQUIRES(&c->lock);
/* Makes `conn_id` one of the session's connections; false if the session is dead. */
bool session_bind(struct state *s, struct session *session, uint64_t conn_id, uint32_t dir,
		  bool is_explicit) REQUIRES(&session->lock);
void session_unbind_all(struct state *s, struct session *session) REQUIRES(&session->lock);
struct binding *session_binding(struct session *session, uint64_t conn_id) REQUIRES(&session->lock);
struct slot *session_slot(struct session *session, uint32_t n) REQUIRES(&session->lock);
/* Its client has another home: no connection is bound, no slot's state known. */
void session_moved(struct state *s, struct session *session);
/* Puts a reply into a slot as one that is replicated: false: out of memory. */
bool slot_keep(struct session *session, uint32_t n, const struct slot_reply *what,
	       const uint8_t *bytes) REQUIRES(&session->lock);
/* A session as in a snapshot, without slots. NULL: out of memory. */
struct session *session_restore(struct state *s, struct client *c, const struct sessionid *id,
				uint32_t flags, const struct channel_attrs *fore,
				const struct channel_attrs *back) REQUIRES(&c->lock);
/* A connection has been bound to the back channel; one has been unbound (from either channel). */
void session_back_bound(struct session *session) REQUIRES(&session->lock);
void session_back_unbound(struct session *session) REQUIRES(&session->lock);

/* ------------------------------------------------------------------- owners ---- */

#define OWNERS_IDLE_MAX 512

enum owner_kind { OWNER_OPEN, OWNER_LOCK };

struct owner_reply {
	uint32_t reply_len, fh_len;
	uint8_t bytes[]; /* reply, then fh */
};

/* An open-owner or lock-owner. All under its client's lock. */
struct owner {
	struct table_node by_name; /* client.owners */
	struct client *client;	   /* immutable; valid while linked, or a hold keeps it */
	struct list in_client;	   /* client.busy or client.idle */
	struct list states;
	uint32_t refs;
	uint32_t uid; /* orders byte ranges; unique in the client; immutable once known */
	uint32_t seqid;
	uint64_t principal;  /* principal_hash() of who opened last: may RENEW */
	uint8_t kind;	     /* immutable: enum owner_kind */
	bool linked;	     /* in the client's table */
	bool known;	     /* to the state machine, in a list; else only an owner_hold has it */
	bool busy;	     /* in client.busy, else in client.idle */
	bool confirmed;	     /* always, but for open-owners of minor version 0 */
	bool has_seqid;	     /* seqid and reply are those of the last request */
	bool held;	     /* by an owner_hold */
	bool denied;	     /* its last request was a first LOCK, denied: may be submitted again */
	bool closed_now;     /* the last request was the CLOSE that made `closed` */
	bool applied;	     /* a command with `applied_seqid`, which OWNER_ADVANCE has not recorded */
	uint32_t applied_seqid;
	struct open *closed; /* what it closed last: a retried CLOSE must find its owner */
	struct owner_reply *reply;
	uint32_t len; /* immutable, as the bytes */
	uint8_t bytes[];
};

/* Also those that only a hold has. */
struct owner *owner_find(struct client *c, enum owner_kind kind, struct bytes bytes)
    REQUIRES(&c->lock);
/* The known owner, or NULL. */
struct owner *owner_find_known(struct client *c, enum owner_kind kind, struct bytes bytes)
    REQUIRES(&c->lock);
/*
 * The owner, made known if it is not: 0, or why there is no room. It is idle; owner_settle()
 * when the command ends without a stateid for it.
 */
enum nfsstat4 owner_obtain(struct state *s, struct client *c, enum owner_kind kind,
			   struct bytes bytes, struct state_result *result, struct owner **out)
    REQUIRES(&c->lock);
/* Out of the table; the reference that the table had is dropped. It has no stateids. */
void owner_unlink(struct state *s, struct client *c, struct owner *o) REQUIRES(&c->lock);
void owner_unref(struct owner *o);
/* Its first stateid is coming. */
void owner_became_busy(struct client *c, struct owner *o) REQUIRES(&c->lock);
/*
 * Its last stateid may have gone. With sessions an owner without one is forgotten; minor version
 * 0 keeps it for its sequence id, the last OWNERS_IDLE_MAX of a client.
 */
void owner_settle(struct state *s, struct client *c, struct owner *o) REQUIRES(&c->lock);
/* What a snapshot has of an owner beside the obvious. NULL, false: out of memory. */
struct owner_reply *owner_reply_new(struct bytes reply, struct bytes fh);
bool owner_restore_closed(struct state *s, struct owner *o, uint32_t id, uint32_t seqid);
/* Forgets what it closed. */
void owner_drop_closed(struct state *s, struct client *c, struct owner *o) REQUIRES(&c->lock);
/* True if `seqid` follows the owner's last one (RFC 7530 section 9.1.3). */
bool owner_seqid_is_next(const struct owner *o, uint32_t seqid);
/* The command on the client has ended so. */
void owner_applied(struct work *w, enum nfsstat4 status) REQUIRES(&w->c->lock);
/* False for the errors that leave an owner's sequence id as it was (RFC 7530 section 9.1.7). */
bool status_advances_seqid(enum nfsstat4 status);
/* A principal as an owner remembers it; the same on every node. */
uint64_t principal_hash(struct bytes principal);

/* ------------------------------------------------------------------ stateids ---- */

enum held_kind {
	HELD_OPEN,
	HELD_LOCK,
	HELD_DELEG,
	HELD_CLOSED, /* an open after its CLOSE, kept for a retry; minor version 0 */
};

/* What a stateid stands for; the common part of struct open and struct lock_state. */
struct held {
	struct table_node by_id;   /* under the stripe */
	struct table_node by_pair; /* client.pairs */
	struct client *client;	   /* immutable */
	struct owner *owner;	   /* immutable; it cannot go before its stateids; deleg: NULL */
	struct state_file *file;   /* a reference if open; NULL once closed */
	struct list in_owner; /* deleg: in client.delegs */
	uint32_t id;	/* immutable */
	uint32_t seqid; /* this and kind: both locks to write */
	enum held_kind kind;
};

struct open {
	struct held h;
	struct list in_file; /* under state_file.lock */
	struct list lock_states;
	uint8_t access, deny;  /* the unions; both locks to write */
	bool unconfirmed;      /* both locks to write */
	uint16_t pairs;	       /* which (access, deny) it was opened with: bit access * 4 + deny */
	struct file *files[3]; /* references, by access - 1; both locks to write */
	const struct cred *creds[3]; /* who opened it with that access, references or NULL */
	uint64_t request; /* which request opened it last (request_id()); both locks to write */
};

struct lock_state {
	struct held h;
	struct open *open; /* immutable */
	struct list in_open;
	uint32_t nranges;
	bool local; /* its locks are to be on the file as well; never off again */
	struct lock_attachment *attached; /* this node's; a reference, under the stripe */
};

#define DELEG_FH_MAX NFS4_FHSIZE

struct deleg {
	struct held h;
	/* Immutable. */
	uint8_t type; /* OPEN_DELEGATE_READ or _WRITE; of a directory: READ */
	bool times, directory;
	uint8_t fh_len, fh[DELEG_FH_MAX];
	struct request_ref granted_by;

	bool revoked;	     /* this and the next: both locks to write */
	struct file *file;   /* a reference, for READ and WRITE under the delegation */
	const struct cred *cred; /* who opened it, a reference or NULL; under the client's lock */
	struct list in_file; /* under state_file.lock, as the next; not if revoked */
	bool recalled;
	/* The file's, as the client has been told last and with the grant; write only. */
	uint64_t change, granted_change;
	struct list in_recalled; /* under state.recall_lock, as the next */
	uint64_t recalled_ns;	 /* this node's */
};

static inline struct deleg *held_deleg(struct held *h)
{
	return container_of(h, struct deleg, h);
}

static inline struct open *held_open(struct held *h)
{
	return container_of(h, struct open, h);
}

static inline struct lock_state *held_lock(struct held *h)
{
	return container_of(h, struct lock_state, h);
}

/* The stripe of a stateid. */
uint64_t stateid_hash(uint32_t counter, uint32_t id);
void stateid_fill(const struct state *s, const struct held *h, struct stateid *out);
uint32_t stateid_counter(const struct stateid *id);
bool stateid_is_special(const struct stateid *id);
/* seqid's rules: 0, OLD_STATEID, BAD_STATEID. */
enum nfsstat4 stateid_check_seqid(uint32_t minor, uint32_t seqid, uint32_t current);
/* Which client a stateid speaks of, with a reference. Errors as for a stateid in use. */
enum nfsstat4 stateid_client(struct state *s, uint32_t minor, uint64_t clientid,
			     const struct stateid *id, struct client **out);
/* Why its client is not there, or not this one. */
enum nfsstat4 stateid_client_gone(struct state *s, uint32_t minor, const struct stateid *id);
/* Any stateid of `c` by its "other" part, the closed included; NULL: none. */
struct held *held_find(struct state *s, struct client *c, const struct stateid *id)
    REQUIRES(&c->lock);
/* Looks a stateid up and checks everything: file (if it has bytes), kind, seqid. */
enum nfsstat4 held_check(struct state *s, struct client *c, uint32_t minor,
			 const struct stateid *id, struct bytes file, enum held_kind kind,
			 struct held **out) REQUIRES(&c->lock);
/* Gives `h` (kind, client, owner, file set) an ID and makes it known. `parent`: its file or open. */
void held_link(struct state *s, struct client *c, struct held *h, const void *parent)
    REQUIRES(&c->lock);
/* Only the ID, and that it is found by it. */
void held_publish(struct state *s, struct client *c, struct held *h) REQUIRES(&c->lock);
/* The same with the ID and seqid that it had in a snapshot. */
void held_restore(struct state *s, struct client *c, struct held *h, const void *parent,
		  uint32_t id, uint32_t seqid) REQUIRES(&c->lock);
/* Out of the tables and its owner's list; its references stay. */
void held_unlink(struct state *s, struct client *c, struct held *h) REQUIRES(&c->lock);
/* Advances seqid, with the stripe locked by the caller or not. */
void held_bump(struct state *s, struct client *c, struct held *h) REQUIRES(&c->lock);
/* The stripe whose lock, with the client's, lets the hot fields change. */
struct stripe *held_stripe(struct state *s, const struct held *h);
struct open *open_find(struct client *c, const struct owner *o, const struct state_file *f)
    REQUIRES(&c->lock);
struct lock_state *lock_state_find(struct client *c, const struct owner *o, const struct open *open)
    REQUIRES(&c->lock);

/* -------------------------------------------------------------------- files ---- */

struct state_file {
	struct table_node by_key; /* under the stripe, as is refs */
	uint32_t refs;		  /* opens; whoever looks at it */

	struct mutex lock; /* guards the next */
	struct list opens, delegs; /* delegs: neither returned nor revoked */
	uint32_t access_count[2], deny_count[2]; /* opens with READ, with WRITE */
	struct tree_node *owned;		 /* all byte ranges, by owner and start */
	struct tree_node *shared, *exclusive;	 /* by start: the read locks, the write locks */

	uint32_t len; /* immutable, as the key */
	uint8_t key[];
};

/* The file with a reference; made if need be when `create`. NULL: none, or out of memory. */
struct state_file *state_file_get(struct state *s, struct bytes key, bool create);
struct state_file *state_file_ref(struct state *s, struct state_file *f);
void state_file_put(struct state *s, struct state_file *f);
bool state_file_is(const struct state_file *f, struct bytes key);
/*
 * The first open that denies `access` or has what `deny` denies; NULL: none. An open-owner's own are
 * no exception (RFC 7530 section 9.9, RFC 8881 section 9.7).
 */
struct open *state_file_conflict(struct state_file *f, uint32_t access, uint32_t deny)
    REQUIRES(&f->lock);

/* -------------------------------------------------------------- byte ranges ---- */

struct range; /* ranges.c */

/* Inclusive bounds; `last` NFS4_UINT64_MAX is also "to the end of the file". */
struct span {
	uint64_t first, last;
};

/* 0 or INVAL (RFC 7530 section 16.10.4). */
enum nfsstat4 span_from(struct lock_range range, struct span *out);
/* A range of another owner than `me` (may be NULL) in the way of a lock; NULL: none. */
const struct range *ranges_conflict(struct state_file *f, const struct owner *me, struct span span,
				    bool exclusive) REQUIRES(&f->lock);
void range_describe(const struct range *r, struct lock_conflict *out);
/*
 * How many new nodes ranges_set() or ranges_clear() may need; and the nodes themselves, in a
 * chain; NULL when out of memory.
 */
unsigned ranges_needed(struct state_file *f, const struct owner *me, struct span span, bool set)
    REQUIRES(&f->lock);
struct range *ranges_alloc(unsigned n);
void ranges_free(struct range *spare);
/*
 * Both cannot fail, and take nodes from *spare. The change of the number of ranges. *weakened: an
 * exclusive range, or a part of one, has become shared.
 */
int ranges_set(struct state_file *f, struct lock_state *st, struct span span, bool exclusive,
	       struct range **spare, bool *weakened) REQUIRES(&f->lock);
int ranges_clear(struct state_file *f, const struct owner *me, struct span span,
		 struct range **spare) REQUIRES(&f->lock);
/* The owner's first range that ends at or behind `from`; false: none. */
bool ranges_next(struct state_file *f, const struct owner *me, uint64_t from, struct span *span,
		 bool *exclusive, const struct lock_state **st) REQUIRES(&f->lock);
/* How many ranges of the owner lie within the span; counts no further than `most`. */
unsigned ranges_within(struct state_file *f, const struct owner *me, struct span span,
		       unsigned most) REQUIRES(&f->lock);
/* Has the owner any? */
bool ranges_any(struct state_file *f, const struct owner *me) REQUIRES(&f->lock);
/* All of one lock stateid. */
int ranges_drop(struct state_file *f, struct lock_state *st) REQUIRES(&f->lock);

/* --------------------------------------------------- opens and lock stateids ---- */

/* Takes an open with its lock stateids out of everything, onto after->opens. */
void open_unlink(struct state *s, struct client *c, struct open *open, struct after *after)
    REQUIRES(&c->lock);
void open_drop_creds(struct open *open);
/* As in a snapshot, see snapshot.c. NULL, false: out of memory. */
struct open *open_restore(struct state *s, struct client *c, struct owner *o, struct bytes file,
			  const struct open *what) REQUIRES(&c->lock);
struct lock_state *lock_state_restore(struct state *s, struct client *c, struct owner *o,
				      struct open *open, uint32_t id, uint32_t seqid)
    REQUIRES(&c->lock);
bool lock_restore(struct state *s, struct client *c, struct lock_state *st, struct span span,
		  bool exclusive) REQUIRES(&c->lock);
/* The same and frees it, with its byte ranges; what is attached to it goes onto after->locks. */
void lock_state_free(struct state *s, struct client *c, struct lock_state *st, struct after *after)
    REQUIRES(&c->lock);

/* -------------------------------------------------------------- delegations ---- */

/*
 * Recalls the delegations that are in the way of `clientid` changing the file (or just opening
 * it); whose they are, 0: there is none.
 */
uint64_t deleg_recall_others(struct state *s, struct state_file *f, uint64_t clientid, bool changes,
			     struct after *after) REQUIRES(&f->lock);
void deleg_emit_recalls(struct after *after, const struct state_effects *effects);
/* What the client has been asked to return and has not: its new home asks again. */
void deleg_recall_again(struct state *s, struct client *c, struct after *after)
    REQUIRES(&c->lock);
/* Out of everything, onto after->delegs. */
void deleg_unlink(struct state *s, struct client *c, struct deleg *d, struct after *after)
    REQUIRES(&c->lock);
void deleg_free(struct state *s, struct deleg *d);
/* As in a snapshot; `what` has h.id, h.seqid, type, revoked and fh. NULL: out of memory. */
struct deleg *deleg_restore(struct state *s, struct client *c, struct bytes file,
			    const struct deleg *what) REQUIRES(&c->lock);

/* ----------------------------------------------------------------- commands ---- */

/* What is left to be done when a command has let its locks go. */
struct after {
	struct list locks;	  /* struct lock_state by h.in_owner: to be freed */
	struct list opens;	  /* struct open by h.in_owner: to be freed, their files told */
	struct list delegs;	  /* struct deleg by h.in_owner: to be freed */
	struct list recalls;	  /* effects */
	struct file *files[3];	  /* references to drop */
	struct list sessions;	  /* struct session by in_client */
	struct state_file *freed; /* a reference: ranges or shares of it became free */
	struct {
		struct state_file *file; /* a reference: a delegation of it was granted; NULL: none */
		uint64_t clientid;
		struct stateid stateid;
		uint32_t node;
	} granted;
	uint64_t moved;		  /* this client has another home; 0: none */
	uint64_t record;	  /* this client is to be recorded; 0: none */
};

void after_init(struct after *after);
void after_freed(struct state *s, struct after *after, struct state_file *f);
/* Without any lock: emits the effects and releases what `after` holds. */
void finish(struct state *s, struct after *after, const struct state_effects *effects);

/* --------------------------------------------------------------- grace period ---- */

void grace_init(struct grace *g);
void grace_destroy(struct grace *g);
/* A client has been confirmed. */
void grace_client_confirmed(struct state *s, struct client *c);
/* It has reclaimed all that it will. */
void grace_client_done(struct state *s, struct client *c);
/* 0, or NO_GRACE. */
enum nfsstat4 grace_may_reclaim(struct state *s, const struct client *c);
/* 0, or GRACE: nothing new during the grace period, or before the client's RECLAIM_COMPLETE. */
enum nfsstat4 grace_may_claim_new(struct state *s, const struct client *c);
/* One of those who held something, as in a snapshot. False: out of memory. */
bool grace_restore(struct grace *g, struct bytes key, const struct nfs_verifier *verifier,
		   bool is_done, bool stale) REQUIRES(&g->lock);
/* Emits EFFECT_GRACE_ENDED if it has. */
void grace_announce(struct state *s, const struct state_effects *effects);
/* Something has been granted to the client: it is to be on the list after a crash. */
void client_granted(struct client *c, struct after *after) REQUIRES(&c->lock);
/*
 * A part of what it holds is about to be taken from it. Emits EFFECT_CLIENT_FORGET at once: it must
 * come before anybody else can be granted that part.
 */
void client_revoked(struct client *c, const struct state_effects *effects) REQUIRES(&c->lock);
/* It knows by now of all that was taken. */
void client_acknowledged(struct client *c, struct after *after) REQUIRES(&c->lock);
/* What it holds will now become free: it is to be on no list. */
void client_forget(struct client *c, const struct state_effects *effects);

/* A command at work on its client, whose lock is held. */
struct work {
	struct state *s;
	struct client *c;
	const struct state_command *cmd;
	struct state_result *result;
	struct after *after;
	bool repeated; /* it has been applied already, for a node that died before it answered */
	const struct state_effects *effects; /* for what must be told before the locks are given up */
	struct owner *sequenced; /* whose sequence id the command has; a reference */
};

/* The command is one of this owner's sequence. */
void work_sequenced(struct work *w, struct owner *o) REQUIRES(&w->c->lock);
/* Has it been applied already, with the same sequence id? */
bool work_is_again(const struct work *w, const struct owner *o) REQUIRES(&w->c->lock);

/* held_check() for a command's stateid; it may have been applied already (maybe_retry). */
enum nfsstat4 work_find(struct work *w, const struct stateid *id, struct bytes file,
			enum held_kind kind, struct held **out) REQUIRES(&w->c->lock);
/* held_bump() for a command that was not applied before: a retry finds what the first has left. */
void work_bump(struct work *w, struct held *h) REQUIRES(&w->c->lock);

typedef enum nfsstat4 client_command(struct work *w);
typedef enum nfsstat4 global_command(struct state *s, const struct state_command *cmd,
				     struct state_result *result,
				     const struct state_effects *effects);

global_command cmd_setclientid, cmd_setclientid_confirm, cmd_exchange_id, cmd_create_session,
    cmd_destroy_session, cmd_destroy_clientid, cmd_expire_client, cmd_start_grace, cmd_end_grace,
    cmd_adopt, cmd_members, cmd_silent, cmd_reply_kept, cmd_grant_seen;
enum nfsstat4 cmd_backchannel_ctl(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_reclaim_complete(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_open(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_open_confirm(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_open_downgrade(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_close(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_lock(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_unlock(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_release_lockowner(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_free_stateid(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_owner_advance(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_delegate(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_deleg_return(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_revoke(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_slot_reply(struct work *w) REQUIRES(&w->c->lock);
enum nfsstat4 cmd_back_answered(struct work *w) REQUIRES(&w->c->lock);
global_command cmd_recall;

/* OPEN's: is the delegation there that the claim speaks of, and does it cover the open? */
enum nfsstat4 deleg_check_claim(struct work *w) REQUIRES(&w->c->lock);
/* OPEN's: what deleg_grant() may grant; NULL: nothing wished, or no room. */
struct deleg *deleg_prepare(struct work *w, struct state_file *f) REQUIRES(&w->c->lock);
/* Grants it, with a reference to the file, or frees it. NULL is allowed. `o` opens; NULL: nobody. */
void deleg_grant(struct work *w, struct state_file *f, struct deleg *d, const struct owner *o)
    REQUIRES(&w->c->lock) REQUIRES(&f->lock);
/* A retry gets to hear of the delegation that its first try was granted, if it was. */
void deleg_grant_again(struct work *w, struct state_file *f) REQUIRES(&w->c->lock)
    REQUIRES(&f->lock);

/* Memory has run out in a command, in a place that no status tells of. */
void command_lacks_memory(void);
/* Memory or a limit is exhausted. */
enum nfsstat4 out_of_memory(uint32_t minor);
enum nfsstat4 over_limit(uint32_t minor);

/* ------------------------------------------------------------------ helpers ---- */

uint64_t state_now(const struct state *s);
static inline bool bytes_equal(struct bytes a, const void *p, uint32_t len)
{
	return a.len == len && (len == 0 || __builtin_memcmp(a.p, p, len) == 0);
}

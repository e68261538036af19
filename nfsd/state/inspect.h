/*
 * What clients hold, for people: `atoll clients`, `atoll locks`, `atoll sessions`.
 *
 * Each function visits a moment's objects, client by client in the order in which they came; what
 * comes or goes meanwhile may be missed. `visit` is called with locks of the state held: it may not
 * call the state, and what it is given is valid during the call. It returns false to stop.
 */
#pragma once

#include "nfsd/state/state.h"

struct state_client_info {
	uint64_t clientid;
	bool v40, confirmed;
	struct bytes owner; /* nfs_client_id4.id or co_ownerid */
	uint32_t home;	    /* the node that its requests reach; 0: none just now */
	uint64_t silent_ms; /* this node's: since it was last heard of */
	bool lease_passed;
	bool recorded; /* in stable storage */
	uint32_t sessions, owners, locks, delegations, revoked;
	uint64_t opens;
	const char *callback; /* minor version 0: the universal address; "" for none */
};

struct state_session_info {
	uint64_t clientid;
	struct sessionid session;
	uint32_t minor, slots, connections;
	bool back_channel;  /* it has a connection for it */
	uint32_t back_path; /* enum back_path */
};

enum state_hold_kind { HOLD_OPEN, HOLD_LOCK, HOLD_DELEGATION };

/* One open, one locked range, or one delegation. */
struct state_hold_info {
	enum state_hold_kind kind;
	uint64_t clientid;
	struct bytes owner; /* open-owner or lock-owner; empty for a delegation */
	struct bytes file;  /* the file's key */
	uint32_t access, deny; /* open: OPEN4_SHARE_*; delegation: OPEN_DELEGATE_* in access */
	uint64_t first, last;  /* lock: inclusive; last NFS4_UINT64_MAX: to the end of the file */
	bool exclusive;	       /* lock */
	bool recalled, revoked; /* delegation */
};

typedef bool state_visit_client(void *arg, const struct state_client_info *info);
typedef bool state_visit_session(void *arg, const struct state_session_info *info);
typedef bool state_visit_hold(void *arg, const struct state_hold_info *info);

/* 0 or -ENOMEM. */
int state_visit_clients(struct state *s, state_visit_client *visit, void *arg);
int state_visit_sessions(struct state *s, state_visit_session *visit, void *arg);
int state_visit_holds(struct state *s, state_visit_hold *visit, void *arg);

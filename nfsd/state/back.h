/*
 * What the state machine knows of the ways back to a client, for nfsd/callback/: addresses,
 * sessions with a back channel, connections bound to them. All of it is this node's own or read
 * only; no command is needed for it.
 */
#pragma once

#include "nfsd/state/state.h"

/* Slots of a session's back channel; more calls at once wait in line. */
#define BACK_SLOTS_MAX 16
/* What CB_COMPOUND with CB_SEQUENCE and one operation needs of ca_maxoperations. */
#define BACK_OPS 2

/* What is known about a session's back channel. */
enum back_path {
	BACK_UNTRIED, /* nothing yet, or there was no connection meanwhile */
	BACK_UP,      /* the client has answered */
	BACK_DOWN,    /* it did not answer in time */
	BACK_FAULT,   /* it and we do not agree on the slots: it should make a new session */
};

/* A session with a back channel. */
struct back_channel {
	uint64_t clientid;
	uint32_t minor; /* version of the protocol that the client speaks */
	uint32_t program, flavor, uid, gid; /* flavor: RPC_AUTH_*; UINT32_MAX: none that we have */
	struct channel_attrs attrs;
	uint32_t nslots; /* at least 1, at most BACK_SLOTS_MAX */
	enum back_path path;
	unsigned nconns; /* bound to the back channel */
	uint32_t seqids[BACK_SLOTS_MAX]; /* per slot, of the last call that was answered */
};

/* False if there is no such session (any more). */
bool state_back_channel(struct state *s, const struct sessionid *session,
			struct back_channel *out);
/* Up to `cap` connections bound to its back channel, those bound last first; how many. */
unsigned state_back_conns(struct state *s, const struct sessionid *session, uint64_t *conn_ids,
			  unsigned cap);
/* The client has answered the call with this sequence id on a slot. */
void state_back_answered(struct state *s, const struct sessionid *session, uint32_t slot,
			 uint32_t seqid);
void state_set_back_path(struct state *s, const struct sessionid *session, enum back_path path);
/* True while the reply of the request with `seqid` on this (fore) slot may not have been seen. */
bool state_slot_is_current(struct state *s, const struct sessionid *session, uint32_t slot,
			   uint32_t seqid);

/* clientaddr4 and friends of a confirmed client of minor version 0, as text. */
struct callback_address {
	uint32_t program, ident;
	char netid[16], addr[64];
};

/* False if there is no such client, or it is none of minor version 0. */
bool state_callback_address(struct state *s, uint64_t clientid, struct callback_address *out);
/* Minor version 0: how the way back to the client is from now on. */
void state_set_callback_path(struct state *s, uint64_t clientid, enum back_path path);
/* Is there a way back to the client that has been tried and is there now? */
bool state_callback_up(struct state *s, uint64_t clientid);

/*
 * Would this lock be granted now? For those who wait for it; changes nothing and renews no lease.
 * False also if the client has gone.
 */
bool state_lock_is_free(struct state *s, uint64_t clientid, struct bytes owner, struct bytes file,
			enum nfs_lock_type4 type, struct lock_range range);
/* The lock-owner of a lock stateid: its length, 0 if there is none (or it is an open's). */
uint32_t state_lock_owner(struct state *s, uint64_t clientid, const struct stateid *id,
			  uint8_t owner[NFS4_OPAQUE_LIMIT]);

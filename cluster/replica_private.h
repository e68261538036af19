/* What the files of the replica share. */
#pragma once

#include "base/list.h"
#include "cluster/outbox.h"
#include "cluster/replica.h"

/* What is known of a member, by the order's messages alone; except `heard_ns`. */
enum peer_state {
	PEER_UNHEARD,	/* no HELLO of this round yet */
	PEER_JOINING,	/* has no state */
	PEER_LOADING,	/* gets the snapshot that is being given */
	PEER_RESTORED,	/* has got it, and will say READY */
	PEER_ACTIVE,
	PEER_SUSPENDED, /* has a state that may be old */
	PEER_VOID,	/* has a state that is void, or no place here */
	PEER_OUT,	/* evicted: as if it had left */
};

struct peer {
	struct node_address addr;
	enum peer_state state;
	bool heard;	/* has said HELLO in this round */
	bool foreign;	/* another version */
	bool quorate, eager; /* its HELLO's */
	bool before_us; /* was in the group when this process came */
	uint32_t protocol, format;
	uint32_t session;
	struct position position; /* its HELLO's */
	struct memory memory;
	uint64_t acked;	   /* commands that it has applied, as it said */
	uint64_t heard_ns; /* this node's clock */
};

/* A message that a joining node keeps. */
struct kept {
	struct list link;
	struct node_address from; /* node 0: no message, but a struct cluster_members */
	size_t len;
	uint8_t bytes[];
};

struct replica {
	struct replica_options o;
	struct outbox outbox;

	/* All below is the order's thread's. */
	bool connected;
	struct node_address self;
	struct peer peers[CLUSTER_MAX_NODES]; /* ascending by node and pid */
	unsigned npeers;
	struct round round;
	bool ring_quorate; /* corosync has quorum here */
	bool quorate;	   /* and the members that are awake would have it by themselves */
	bool said_quorate, said_eager; /* in the last HELLO */
	bool unsure;
	bool told; /* in this round members with a quorum of votes have said that they know of this generation */
	uint64_t untold_since; /* since then it serves without; 0: it does not */
	bool said_untold;
	bool first_view;     /* of this connection is still to come */
	uint32_t last_ring_node; /* the last view's ring, perhaps of an earlier connection */
	uint64_t last_ring_seq;
	uint64_t gone; /* a sum over those that have left since the ring began, or its youngest member came */
	unsigned absent;	/* nodes of the ring without a member */
	unsigned missing;	/* all nodes without a member */
	uint64_t quorate_since; /* 0: it has none */

	enum cluster_phase phase;
	bool tracking; /* `position` follows the order: active, or restored and not READY yet */
	/* If it is not tracking, the generation is that of the active members, as far as known. */
	struct position position;
	struct memory memory;
	struct generation earlier; /* if it began the state: what had served before */

	/* Own commands that are applied, in order: `applied` may be told, `waiting` for acks. */
	struct list applied, waiting;
	/*
	 * Own commands that were in flight when this node was suspended. Others may have applied them, but then
	 * they are ahead, and this state is lost.
	 */
	struct list adrift;

	/* The snapshot that is being given in this view, wherever. */
	bool giving;
	uint64_t giving_id;
	struct node_address giver;
	uint32_t failed_giver; /* the node that could not, last; 0: none */
	uint64_t retry_ns;     /* this node does not try before */
	uint64_t needed_ns;    /* since then somebody needs one and nobody gives it; 0: nobody does */
	/* If this node is the giver. */
	uint8_t *give;
	size_t give_len, give_sent;
	struct position give_position;
	unsigned give_flight; /* chunks */
	/* If this node gets it. */
	bool loading;
	uint8_t *load;
	size_t load_total, load_got;
	struct position load_position;
	struct list kept;
	size_t kept_bytes;

	/* What is to be sent; each is built when it can be. */
	bool hello_due, mark_due, ready_due, ack_due, failed_due, withdraw_due, status_due;
	uint64_t withdrawn_id; /* the snapshot that withdraw_due is about */
	bool mark_flight, ready_flight, ack_flight;
	bool blocked;
	uint64_t status_ns; /* the last STATUS */
	uint64_t tick_ns;   /* the last tick */
	uint64_t alive_ns;  /* the clock does not count what was silent before */
	uint64_t heard_self_ns;
	uint64_t current_until;
	uint64_t token_ns; /* corosync's; 0: not known */
	uint64_t awake_ns; /* until when it is known to have missed nothing; 0: not known */
	bool said_duplicate, said_malformed;
};

struct peer *replica_find(struct replica *r, struct node_address a);
/* The member that this process is; NULL when not a member. */
struct peer *replica_self(struct replica *r);
bool replica_same(struct node_address a, struct node_address b);
/* The lowest active member; NULL. */
struct peer *replica_first_active(struct replica *r);
unsigned replica_count(const struct replica *r, enum peer_state state);
/* 0 if it went out. */
int replica_send(struct replica *r, struct message *m);
void replica_lost(struct replica *r, const char *why);
/* A batch, a broadcast: applies it. */
void replica_apply_message(struct replica *r, struct node_address from, const struct message *m);
void replica_set_phase(struct replica *r, enum cluster_phase phase);
void replica_tell_members(struct replica *r);
void replica_activate(struct replica *r);

/* ---- join.c ---- */

/* Of those who join: what the application is to be told once the state is there. */
void join_keep_members(struct replica *r, const struct cluster_members *m);
/* If this node is the one to give a snapshot and somebody needs it, a MARK is due. */
void join_consider(struct replica *r);
void join_mark(struct replica *r, struct peer *from, const struct message *m);
void join_snapshot(struct replica *r, struct peer *from, const struct message *m);
void join_failed(struct replica *r, struct peer *from, uint64_t id);
void join_ready(struct replica *r, struct peer *from, const struct round *round);
/* Keeps a message that this node, which is loading, will need. */
void join_keep(struct replica *r, struct node_address from, const uint8_t *p, size_t len);
/* The giver has gone, or there is nobody active any more: nothing is given. */
void join_stop(struct replica *r);
/* Sends what is due. */
void join_pump(struct replica *r);

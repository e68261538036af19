/*
 * What nodes say to each other, as bytes: big-endian, every length checked.
 *
 * Every message begins with a type, a protocol version, the sender's session and a body that depends on
 * the type. HELLO's layout is frozen: nodes of any version can read each other's, and so say who has
 * which version. Everything else is read only by nodes of the same protocol and format.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"

#define MESSAGE_PROTOCOL 1u

#define MESSAGE_HEADER	    8	/* type, protocol, session */
#define MESSAGE_CHUNK	    32768 /* bytes of a snapshot in one message */
#define MESSAGE_MAX_COMMAND 262144 /* bytes of one command */
#define MESSAGE_BATCH	    65536 /* a batch that has as much takes no further command */
#define MESSAGE_MAX	    (MESSAGE_MAX_COMMAND + 64)

enum message_type {
	MESSAGE_HELLO = 1,
	MESSAGE_BATCH_OF_COMMANDS,
	MESSAGE_ACK,
	MESSAGE_STATUS,
	MESSAGE_MARK,
	MESSAGE_SNAPSHOT,
	MESSAGE_SNAPSHOT_FAILED,
	MESSAGE_READY,
	MESSAGE_EVICT,
	MESSAGE_APP,
};

/* One process of the group. */
struct node_address {
	uint32_t node, pid;
};

/* Which states there have been: a later one has a later lineage, or a greater epoch in the same. */
struct generation {
	uint64_t created; /* the lineage: when it began, wall clock in nanoseconds, ... */
	uint64_t id;	  /* ... and random */
	uint64_t epoch;	  /* grows when nodes have gone: the ring in which it was decided, and a count in it */
};

/*
 * What a node knows of the latest generation, also after it has been started again. That one was decided does
 * not mean that it has served: the nodes it concerned may not have lived to see the decision.
 */
struct memory {
	struct generation decided, served;
};

/* A place in the order, and what was applied up to there. */
struct position {
	struct generation generation;
	uint64_t index;	 /* commands applied */
	uint64_t digest; /* of all of them */
};

/* A view's name, and how often its members have begun anew to say hello. */
struct round {
	uint64_t view;
	uint32_t n;
};

struct message_hello {
	uint32_t format;
	enum cluster_phase phase;
	bool quorate;  /* it has quorum, and need not wait for daemons that may come */
	bool restored; /* joining: it has the state and will say READY */
	bool eager;    /* it does not wait for nodes that may have a state that is known to exist */
	struct round round;
	/* Of the state, if phase is SERVING or SUSPENDED; else its generation is what this node would begin. */
	struct position position;
	struct memory memory;
};

struct message_batch {
	uint64_t seq;	/* the sender's batches, counted */
	uint64_t acked; /* the sender's applied index */
	bool safe;	/* the sender waits for acks */
	uint32_t count;
	const uint8_t *commands; /* count times: length (4 bytes), bytes */
	size_t len;
};

struct message_mark {
	struct round round;
	uint64_t id; /* of the snapshot */
	struct generation generation;
};

struct message_snapshot {
	uint64_t id;
	struct position position; /* at the mark */
	uint64_t total, offset;	  /* bytes */
	const uint8_t *p;
	size_t len;
};

/* A message that has been read. */
struct message {
	enum message_type type;
	uint32_t protocol;
	uint32_t session;
	union {
		struct message_hello hello;
		struct message_batch batch;
		struct message_mark mark;
		struct message_snapshot snapshot;
		uint64_t acked;		/* ACK */
		struct {
			uint64_t acked, sent_ns;
		} status;
		uint64_t failed;	/* SNAPSHOT_FAILED: the id */
		struct round ready;	/* READY */
		struct {
			struct round round;
			struct node_address who;
		} evict;
		struct {
			const uint8_t *p;
			size_t len;
		} app;
	};
};

/*
 * Writes `m` to `out`, which has room for it: MESSAGE_HEADER + 128 bytes suffice for all types without
 * bytes of their own. The length.
 */
size_t message_write(uint8_t *out, const struct message *m);
/*
 * Reads a message; pointers go into `p`. A HELLO of any protocol can be read. 0; -EPROTO: another
 * protocol; -EINVAL: no message, or one that was cut.
 */
int message_read(const uint8_t *p, size_t len, struct message *m);

/* The header of a batch that is filled in place; its length. */
#define MESSAGE_BATCH_HEADER (MESSAGE_HEADER + 24)
void message_write_batch_header(uint8_t out[MESSAGE_BATCH_HEADER], uint32_t session,
				const struct message_batch *b);
/* The next command of a batch that message_read() has accepted; false at the end. */
bool message_next_command(struct message_batch *b, const uint8_t **p, size_t *len);

static inline void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}

static inline uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

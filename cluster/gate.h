/*
 * From corosync's events to the replica's views.
 *
 * corosync tells about a new ring in pieces: the group's changes (who left, who joined) and the ring's
 * identifier come in the order of messages; who of the ring's nodes came from elsewhere and whether the ring
 * is quorate come beside it. The gate keeps what comes in the order from the first piece on until the last one is
 * there, so that every node that goes through the change judges it alike, and then lets it through.
 *
 *	open --change by nodes, or a ring--> closed --quorum of the last ring known--> open
 *
 * What belongs to a ring that was replaced before its quorum was known counts as not quorate.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "cluster/replica.h"

#define GATE_MAX_MEMBERS 128 /* processes of a group; as libcpg */

struct ring {
	uint32_t node;
	uint64_t seq;
};

struct gate {
	struct replica *replica;
	/*
	 * Had the nodes of this ring that did not come from elsewhere quorum by themselves? Asked when the
	 * ring is quorate.
	 */
	bool (*moved_had_quorum)(void *ctx, struct ring ring);
	/* All that is known of changes of the ring up to here shall be told to the replica now. */
	void (*drain)(void *ctx);
	void *ctx;

	bool have_ring, closed;
	struct ring ring; /* of the last view */
	struct node_address members[GATE_MAX_MEMBERS]; /* of the last view */
	unsigned nmembers;
	struct list events;
	bool have_quorum;
	struct ring quorum_ring;
	bool quorate;
	uint32_t nodes[CLUSTER_MAX_NODES]; /* of the ring */
	unsigned nnodes;
	unsigned configured; /* nodes that the cluster has when it is complete; 0: unknown */
};

void gate_init(struct gate *g, struct replica *replica);
/* Forgets everything: the connection is gone. */
void gate_reset(struct gate *g);

/* In the order. False when out of memory: the order is broken, the connection must be given up. */
MUST_CHECK bool gate_message(struct gate *g, struct node_address from, const void *p, size_t len);
/* `by_nodes`: the ring has changed, or else processes came or went. */
MUST_CHECK bool gate_change(struct gate *g, const struct node_address *members, unsigned nmembers,
			    const struct node_address *left, unsigned nleft, bool by_nodes);
MUST_CHECK bool gate_ring(struct gate *g, struct ring ring, const uint32_t *nodes, unsigned nnodes);
/* Beside it. */
void gate_quorum(struct gate *g, struct ring ring, bool quorate);

/*
 * One node's half of the replication protocol, without any I/O: corosync.c and tests/sim drive it.
 *
 * It is told what the group's order brings - messages, and views (who is a member) - and says what to
 * send. All its callers but replica_submit() and replica_broadcast() are one thread, the order's. What it relies
 * on is virtual synchrony: members that go from one view to the next together have been given the same
 * messages, in the same order, in between.
 *
 * The ACTIVE SET of a view is those members that have the state and serve. It is common knowledge: it
 * changes only by what the order brings, and every member of it has the same one at the same place.
 *
 *	view that continues		active members that are still there stay active; if some have gone, the
 *					epoch of the generation grows
 *	view that does not		nobody is active: those that were are suspended. So it is when there is no
 *					quorum, or when it is not sure that the active members alone had it
 *	HELLO without quorum of an	the same, in the order: quorum has gone while the ring stayed, or the members
 *	active one			have too few votes without those of nodes that have no daemon, or one that hangs
 *	HELLO of all, none active	all quorate: of the suspended, those that have the latest state become active,
 *					the others are lost; without any state the lowest node begins one. Both
 *					wait a while for nodes that may have a state and are not here (yet). The
 *					latest is one of the last generation that was decided, or, if all nodes are
 *					here, of the last that is known to have served
 *	READY				its sender becomes active
 *	EVICT				somebody who has been silent for long is treated as if he had left
 *
 * EVICT, and HELLO of one that serves without quorum, begin a new ROUND of the view, in which all say HELLO again. That
 * they do is a function of the order alone, never of what a member knows besides: one in another round than the rest
 * would wait for their HELLOs, and they for its, until the ring changes.
 *
 * A joining node is given a snapshot by the lowest active node: MARK's place in the order is the
 * snapshot's; what comes behind it the joining node keeps until it has restored, then it applies it and
 * says READY. If the giver goes, the next one begins anew.
 *
 * Invariants.
 *  1. Commands are applied only by active members, and by a joining one between its MARK and READY: all in
 *     the same order from the same state. (index, digest) are equal at equal places.
 *  2. Two disjoint sets are never active in one generation, as each needs quorum; a set that goes on without
 *     members raises the epoch, so whoever was left behind is known by its lower generation.
 *  3. A command is done (its submitter told) only if it was applied while nothing was known of a change of
 *     the ring; in between it is held until the next view continues. Under `safe`, only once all active
 *     members have said that they have applied it. In a new generation, only once members with a quorum of
 *     votes have said that they know of it. So of any members that have a quorum at another time at least one
 *     knows, and remembers, that it has served.
 *  4. A command that was refused is never applied, unless the phase is LOST: what was in flight is refused
 *     only when the state is known to be the latest, and its batch carries the session of before.
 *  5. A node's state is void (lost) once others have served without it. Nothing leads back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "cluster/message.h"

struct replica;

/* What it needs of the world. */
struct replica_io {
	/* Multicasts to the group, any thread. 0; -EAGAIN or another error: not now. */
	int (*send)(void *ctx, const uint8_t *p, size_t len);
	uint64_t (*mono_ns)(void *ctx);
	uint64_t (*wall_ns)(void *ctx);
	uint64_t (*random)(void *ctx);
	/* Keep this for the next start; it may be late. */
	void (*remember)(void *ctx, const struct memory *memory);
	/* Are the votes of these nodes a quorum? Ascending, none twice. */
	bool (*enough)(void *ctx, const uint32_t *nodes, unsigned n);
	void *ctx;
};

struct replica_options {
	struct cluster_app app;
	struct replica_io io;
	bool safe;
	uint32_t hang_ms;	/* 0: 5 s */
	/*
	 * How long a state is neither begun nor resumed while nodes of the ring have no daemon in the group;
	 * and how long none is begun while any node is missing and there is known to have been one.
	 */
	uint32_t patience_ms, begin_patience_ms;
	struct memory memory;	/* of the last start, or zeros */
};

/* Who is a member now. */
struct replica_view {
	uint32_t ring_node; /* the ring's identifier */
	uint64_t ring_seq; /* never 0 */
	const struct node_address *members, *left; /* those that left and came back are in both */
	unsigned nmembers, nleft;
	unsigned absent;  /* nodes of the ring that have no member */
	unsigned missing; /* nodes of the cluster that have no member */
	bool quorate;
	/* Those that came here together from the last view had quorum without those that came from others. */
	bool continues;
};

/* NULL when out of memory. */
struct replica *replica_new(const struct replica_options *options);
/* Refuses what is pending. No callback runs afterwards. */
void replica_free(struct replica *r);

/* See cluster_submit(), cluster_broadcast(). Any thread. */
enum cluster_submitted replica_submit(struct replica *r, const void *command, void *result,
				      void (*done)(void *arg), void *arg);
int replica_broadcast(struct replica *r, const void *p, size_t len);

/* ---- the order's thread ---- */

/* The group was joined, as this process. A view follows. */
void replica_connected(struct replica *r, struct node_address self);
/* The group is gone: no order until the next replica_connected(). */
void replica_disconnected(struct replica *r);
void replica_view(struct replica *r, const struct replica_view *v);
void replica_message(struct replica *r, struct node_address from, const uint8_t *p, size_t len);
/* The ring is changing; a view will follow. Until then nothing counts as done. */
void replica_unsure(struct replica *r);
/*
 * Until `asked_ns` this process has missed nothing of the order, as far as its own corosync can say: it was asked
 * then, has answered, and has nothing for this process that has not been taken.
 */
void replica_heard_all(struct replica *r, uint64_t asked_ns);
/* corosync's token time-out: before it has passed nobody goes on without a node. 0: not known. */
void replica_token(struct replica *r, uint32_t ms);
/* Quorum has come or gone while the ring stayed the same. */
void replica_quorum(struct replica *r, bool quorate);
/* Tells submitters what is done, and sends what is due. After every batch of the above. */
void replica_flush(struct replica *r);
/* Time passes; several times a second. */
void replica_tick(struct replica *r);
/* After how many nanoseconds replica_flush() should be called, because commands are gathered; 0: they are not. */
uint64_t replica_gathers(struct replica *r);
/* Must replica_flush() be called soon, since send() failed? Any thread. */
bool replica_blocked(struct replica *r);

enum cluster_phase replica_phase(const struct replica *r);
/* Its state's place; only between calls of the above. */
struct position replica_position(const struct replica *r);
/* Until when it may trust its state (struct cluster, current_until). */
uint64_t replica_current_until(const struct replica *r);
void replica_status(const struct replica *r, struct cluster_status *status);

/*
 * What the nodes of a cluster know in common about virtual addresses: which there are, who holds
 * which, who is drained, and which connections clients have to them.
 *
 * It changes only by what the ordered log says (members, messages, a restored snapshot), so it is
 * the same at every node at the same place in the order. It does no I/O: what this node has to do is
 * told to `ops`, what it has to say to the others is encoded by vip_say_...() for
 * cluster_broadcast().
 *
 * An address's life:
 *
 *	held by A --A died-----------------------------> held by B (B takes it at once)
 *	   |                                                ^
 *	   `--A is to give it up (drained, leaving, others--+
 *	      have fewer): moving to B; A lets its requests
 *	      end and says RELEASED
 *
 * So while A lives, an address is at A or, once A has said so, at B. If A's connection to the
 * cluster is lost, it lets go by itself (phase SUSPENDED), and the others do not wait for it.
 *
 * Not thread-safe: vip_manager.c keeps it under its lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/cluster.h"
#include "cluster/vip.h"

/* A client's connection to a virtual address. */
struct vip_peer {
	uint8_t addr[16]; /* of the address's family */
	uint16_t port;
};

/* What this node has to do. Called in the midst of a change: must not come back. */
struct vip_ops {
	/*
	 * This node holds the address from now on. `lost` are the connections that clients had to
	 * it elsewhere, which are to be provoked; valid during the call only.
	 */
	void (*hold)(void *ctx, const struct vip *v, const struct vip_peer *lost, unsigned nlost);
	/* Lets go in good order, then says RELEASED. May be followed by hold() or drop(). */
	void (*release)(void *ctx, const struct vip *v);
	/* Lets go at once. */
	void (*drop)(void *ctx, const struct vip *v);
	void *ctx;
};

struct vip_state;

/* `vips` count if this node founds the cluster. NULL when out of memory. */
struct vip_state *vip_state_new(const struct vip_ops *ops, const struct vip *vips, unsigned n);
void vip_state_free(struct vip_state *s); /* NULL is allowed; lets go of nothing */

/* ---- what the log says ---- */

void vip_state_members(struct vip_state *s, const struct cluster_members *m);
void vip_state_phase(struct vip_state *s, enum cluster_phase phase);
/* Messages that cannot be understood are ignored: false. */
bool vip_state_message(struct vip_state *s, uint32_t origin, const uint8_t *p, size_t len);
/* The whole, malloc'ed: 0 or -ENOMEM. */
int vip_state_snapshot(const struct vip_state *s, uint8_t **out, size_t *len);
/* 0, -EINVAL, -ENOMEM. */
int vip_state_restore(struct vip_state *s, const uint8_t *p, size_t len);

/* ---- what this node says: bytes for cluster_broadcast(), their number ---- */

#define VIP_MESSAGE_MOST (8 + 18 * VIP_MOST)

/* A connection to the address `local` came into being or has gone; 0 unless
 * `peer` is of its family. */
size_t vip_say_connection(uint8_t *out, bool open, const struct vip *v,
			  const struct sockaddr *peer);
/* This node does not hold it any more. */
size_t vip_say_released(uint8_t *out, const struct vip *v);
/* `node` is to have no addresses (or may again). */
size_t vip_say_drained(uint8_t *out, uint32_t node, bool drained);
/* This node stops soon and wants no addresses. */
size_t vip_say_leaving(uint8_t *out);
/* The cluster's addresses are these. */
size_t vip_say_list(uint8_t *out, const struct vip *vips, unsigned n);

/* ---- for people and tests ---- */

struct vip_view {
	struct vip vip;
	uint32_t holder; /* 0: nobody */
	uint32_t next;	 /* it moves there; 0: it stays */
	unsigned connections;
};

unsigned vip_state_count(const struct vip_state *s);
void vip_state_view(const struct vip_state *s, unsigned i, struct vip_view *out);
/* NULL: not one of the cluster's. */
const struct vip *vip_state_find(const struct vip_state *s, const struct sockaddr *local);
bool vip_state_is_drained(const struct vip_state *s, uint32_t node);
/* As many nodes are drained as can be remembered. */
bool vip_state_drained_full(const struct vip_state *s);
/* Members that are neither drained nor leaving, other than `but`. */
unsigned vip_state_able(const struct vip_state *s, uint32_t but);

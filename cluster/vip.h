/*
 * Virtual addresses: what they are, and who gets which.
 *
 * A cluster has a list of addresses that clients mount from. Each is held by exactly one of the
 * nodes that serve. vip_assign() says by which; it is a function of its arguments alone, so nodes
 * that agree on those agree on the result.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define VIP_MOST 64 /* addresses in a cluster */
#define VIP_TEXT 64 /* room for one as text */

struct vip {
	uint8_t family;	  /* 4 or 6 */
	uint8_t prefix;	  /* bits */
	uint8_t addr[16]; /* 4 or 16 bytes, network order; the rest is 0 */
};

/* Parses ADDRESS/PREFIX or ADDRESS (the whole of it is the prefix). 0 or -EINVAL. */
int vip_parse(const char *text, struct vip *out);
/* ADDRESS, or with `prefix` ADDRESS/PREFIX; into `text`, VIP_TEXT bytes, which is returned. */
const char *vip_format(const struct vip *v, bool prefix, char *text);
/* The same address, whatever the prefix. */
bool vip_same(const struct vip *a, const struct vip *b);
/* Has a socket this address (also as an IPv4-mapped one)? */
bool vip_matches(const struct vip *v, const struct sockaddr *addr);
void vip_sockaddr(const struct vip *v, uint16_t port, struct sockaddr_storage *out, socklen_t *len);

/* A node that can hold addresses. */
struct vip_node {
	uint32_t id; /* not 0 */
	bool avoid;  /* drained: holds one only if there is nobody else */
};

/*
 * Finds a holder for each of `n` addresses. before[i] is who had address i, 0: nobody. after[i]
 * will be a node of the list, or 0 if that is empty.
 *
 * No address moves without need: only one without a holder that may keep it goes elsewhere, and
 * then as few as it takes until no two nodes differ by more than one.
 */
void vip_assign(const struct vip_node *nodes, unsigned nnodes, const uint32_t *before,
		uint32_t *after, unsigned n);

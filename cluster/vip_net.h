/*
 * Virtual addresses and the kernel: adding, removing, announcing, provoking clients. Needs
 * CAP_NET_ADMIN and CAP_NET_RAW; the supervisor is who has them.
 */
#pragma once

#include <stdint.h>

#include "cluster/vip.h"
#include "cluster/vip_state.h"

/*
 * The interface to put `v` on: `name`, or if that is empty the one with another address of the same
 * network. Its index, or -ENODEV.
 */
int vip_net_interface(const struct vip *v, const char *name);
/*
 * Adds `v` to an interface. IPv6 without duplicate address detection, for which there is no time,
 * and never as the source of what this machine sends. 0, also if it is there already, or -errno.
 */
int vip_net_add(const struct vip *v, int ifindex);
/* Removes it from whatever interface has it, but not from the loopback. 0, also if none has, or
 * -errno. */
int vip_net_remove(const struct vip *v);
/*
 * Ends what this machine's kernel still has of TCP connections to `v`, from when it had the address
 * before: a client that connects anew from the same port would be answered by the old connection.
 * Before the address is added. A client that still believes in such a connection may be told of its
 * end; one that has a newer one is not harmed, as the sequence numbers are not those. 0 or -errno.
 */
int vip_net_forget(const struct vip *v);
/*
 * Tells the neighbourhood where the address is now: gratuitous ARP (a request and a reply), or an
 * unsolicited neighbour advertisement with the override flag to all nodes. 0 or -errno.
 */
int vip_net_announce(const struct vip *v, int ifindex);
/*
 * Provokes clients whose connections to v:`port` died with another node: each is sent an ACK that
 * cannot be in its window. Its kernel answers with what it has; this machine, which does not know
 * the connection, resets it; the client connects anew at once. A client that has done so already is
 * not harmed: nothing but one more ACK comes from it. 0 or -errno, of the last that failed.
 */
int vip_net_provoke(const struct vip *v, uint16_t port, const struct vip_peer *peers, unsigned n);

/*
 * A local peer's socket is looked up in /proc/net/tcp or tcp6, whose lines give local address,
 * remote address and the owner's uid. The answer is kept in the connection's slot.
 */
#include "nfsd/peer.h"

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/blocking.h"

/* What rpc_conn_slot() holds. */
enum peer_answer { PEER_NOT_ASKED, PEER_PRIVILEGED, PEER_ORDINARY };

#define ENDPOINT_LEN 48

/* Sockets that their process has closed are shown as root's, so only this state will do. */
#define ESTABLISHED 1

static in_port_t port_of(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)sa)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)sa)->sin6_port);
}

static bool is_loopback(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 ==
		       IN_LOOPBACKNET;
	return sa->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)sa)->sin6_addr);
}

/* As the kernel prints it: the address's 32-bit words in hexadecimal, a colon, the port. */
static void format_endpoint(const struct sockaddr *sa, char out[ENDPOINT_LEN])
{
	const void *addr;
	size_t words;
	char *p = out;

	if (sa->sa_family == AF_INET) {
		addr = &((const struct sockaddr_in *)sa)->sin_addr;
		words = 1;
	} else {
		addr = &((const struct sockaddr_in6 *)sa)->sin6_addr;
		words = 4;
	}
	for (size_t i = 0; i < words; i++) {
		uint32_t word;

		memcpy(&word, (const char *)addr + 4 * i, 4);
		p += sprintf(p, "%08X", word);
	}
	sprintf(p, ":%04X", port_of(sa));
}

/* True if the socket from `peer` to `here` belongs to root; false if not or not to be found. */
static bool socket_is_roots(const struct sockaddr *peer, const struct sockaddr *here)
{
	char from[ENDPOINT_LEN], to[ENDPOINT_LEN], local[ENDPOINT_LEN], remote[ENDPOINT_LEN];
	char line[512];
	unsigned state, uid;
	bool roots = false;
	FILE *f = fopen(peer->sa_family == AF_INET ? "/proc/self/net/tcp" : "/proc/self/net/tcp6", "re");

	if (!f)
		return false;
	format_endpoint(peer, from);
	format_endpoint(here, to);
	while (!roots && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %*[^:]: %47s %47s %x %*s %*s %*s %u", local, remote, &state,
			   &uid) == 4)
			roots = uid == 0 && state == ESTABLISHED && strcmp(local, from) == 0 && strcmp(remote, to) == 0;
	}
	fclose(f);
	return roots;
}

static bool ask(struct rpc_conn *conn)
{
	const struct sockaddr *peer = rpc_conn_peer(conn);

	if (peer->sa_family != AF_INET && peer->sa_family != AF_INET6)
		return false;
	if (port_of(peer) < IPPORT_RESERVED)
		return true;
	if (!is_loopback(peer))
		return false;
	blocking_section();
	return socket_is_roots(peer, rpc_conn_local(conn));
}

bool peer_is_privileged(struct rpc_conn *conn)
{
	_Atomic uintptr_t *slot = (_Atomic uintptr_t *)rpc_conn_slot(conn);
	uintptr_t answer = atomic_load_explicit(slot, memory_order_relaxed);

	if (answer == PEER_NOT_ASKED) {
		answer = ask(conn) ? PEER_PRIVILEGED : PEER_ORDINARY;
		atomic_store_explicit(slot, answer, memory_order_relaxed);
	}
	return answer == PEER_PRIVILEGED;
}

/*
 * Registration with rpcbind (RFC 1833), by way of libntirpc: for the daemon only, in a library
 * of its own (rpcbind_dep). NFSv4 clients do not need it; rpcinfo, showmount and firewalls do.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rpcbind_service {
	uint32_t program;
	uint32_t min_version, max_version;
	uint16_t port; /* of TCP, host order */
	bool ipv4, ipv6;
};

/*
 * Registers every version on tcp and tcp6, in place of what is registered there. 0;
 * -ECONNREFUSED when no rpcbind runs (at once); -EACCES when it refuses; -ETIMEDOUT when it does
 * not answer. That takes up to 9 seconds, so a caller in a hurry has a thread for it. One
 * thread at a time.
 */
int rpcbind_register(const struct rpcbind_service *s);
/* Takes the registration back. The same results. */
int rpcbind_unregister(const struct rpcbind_service *s);

/* Who is at the other end of a connection, as far as that can be trusted. */
#pragma once

#include "rpc/rpc.h"

/*
 * True if only a privileged process can have made this connection: it comes from a port below
 * 1024 (exports(5) `secure`), or from this machine itself and from a socket that root owns, which is
 * as good and lets tools that root runs here use any port. Asked once per connection.
 */
bool peer_is_privileged(struct rpc_conn *conn);

/*
 * Calls to the address of a client of minor version 0: RFC 7530 sections 3.4 and 16.33.
 *
 *	UNTRIED --probe (CB_NULL) answered--> UP <--probe answered-- DOWN
 *	   `------no connection, no answer, refused--> DOWN: tried again after 1, 2, 4... s
 *
 * The connection is made when there is something to send, and kept as long as the client keeps it.
 * One that ends after it has carried answers is no failure; the next is made at once.
 */
#include "nfsd/callback/callback_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "nfsd/callback/callbacks.h"
#include "nfsd/server_private.h"

#define RETRY_FIRST_NS NS_PER_SEC
#define RETRY_DOUBLED  9 /* times at most: about ten minutes */
#define MESSAGE_MOST   65536

/* ---- addresses ---- */

/* A decimal number up to 255 from *p to `end`, no sign, no space. */
static bool get_octet(const char *p, const char *end, unsigned *out)
{
	unsigned v = 0;

	if (p == end || end - p > 3)
		return false;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return false;
		v = v * 10 + (unsigned)(*p - '0');
	}
	*out = v;
	return v <= 255;
}

/* The port of "HOST.P1.P2", and HOST. */
static bool split_address(const char *addr, char host[INET6_ADDRSTRLEN], in_port_t *port)
{
	const char *low = strrchr(addr, '.'), *high;
	unsigned p1, p2;

	if (!low)
		return false;
	high = memrchr(addr, '.', (size_t)(low - addr));
	if (!high || high == addr || high - addr >= INET6_ADDRSTRLEN)
		return false;
	if (!get_octet(high + 1, low, &p1) || !get_octet(low + 1, low + strlen(low), &p2))
		return false;
	memcpy(host, addr, (size_t)(high - addr));
	host[high - addr] = '\0';
	*port = htons((in_port_t)(p1 << 8 | p2));
	return *port != 0;
}

static bool is_unicast4(struct in_addr a)
{
	uint32_t h = ntohl(a.s_addr);

	return h >> 24 != 0 && !IN_MULTICAST(h) && h != INADDR_BROADCAST;
}

socklen_t address_parse(const char *netid, const char *addr, struct sockaddr_storage *out)
{
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
	char host[INET6_ADDRSTRLEN];
	in_port_t port;

	memset(out, 0, sizeof(*out));
	if (!split_address(addr, host, &port))
		return 0;
	if (strcmp(netid, "tcp") == 0 && inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = port;
		return is_unicast4(in->sin_addr) ? sizeof(*in) : 0;
	}
	if (strcmp(netid, "tcp6") == 0 && inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = port;
		/* A link-local address says nothing without the link. */
		return IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr) ||
			       IN6_IS_ADDR_MULTICAST(&in6->sin6_addr) ||
			       IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ?
			   0 :
			   sizeof(*in6);
	}
	return 0;
}

static bool is_loopback(const struct sockaddr *sa)
{
	const struct in6_addr *a6 = &((const struct sockaddr_in6 *)sa)->sin6_addr;

	if (sa->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr) >> 24 == 127;
	if (sa->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(a6) || (IN6_IS_ADDR_V4MAPPED(a6) && a6->s6_addr[12] == 127);
	return true;
}

/* ---- the path ---- */

static void set_path(struct callbacks *cb, struct channel *ch, enum back_path path)
    REQUIRES(&cb->lock)
{
	if (ch->path == path)
		return;
	log_debug("client %016llx: callback path %s", (unsigned long long)ch->client->clientid,
		  path == BACK_UP ? "up" : path == BACK_DOWN ? "down" : "not tried");
	ch->path = path;
	state_set_callback_path(cb->state, ch->client->clientid, path);
}

void address_close(struct callbacks *cb, struct channel *ch)
{
	struct cb_conn *c = ch->conn ? conn_find(cb, rpc_conn_id(ch->conn)) : NULL;

	if (!ch->conn)
		return;
	if (c)
		conn_forget(cb, c);
	rpc_conn_abort(ch->conn);
	rpc_conn_unref(ch->conn);
	ch->conn = NULL;
	ch->answered = false;
}

/* Not now: probes are over, calls wait for a slot again. */
static void requeue_all(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock)
{
	for (uint32_t i = ch->nslots; i-- > 0;) {
		if (ch->slots[i].busy)
			slot_requeue(cb, &ch->slots[i]);
	}
}

static void failed(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock)
{
	unsigned doubled = ch->failures < RETRY_DOUBLED ? ch->failures : RETRY_DOUBLED;

	ch->failures++;
	ch->retry_ns = clock_mono_ns() + (RETRY_FIRST_NS << doubled);
	address_close(cb, ch);
	set_path(cb, ch, BACK_DOWN);
	requeue_all(cb, ch);
	channel_wake_at(cb, ch, ch->retry_ns);
}

void address_conn_lost(struct callbacks *cb, struct channel *ch)
{
	bool answered = ch->answered;

	address_close(cb, ch);
	if (!answered) {
		failed(cb, ch);
		return;
	}
	requeue_all(cb, ch);
	if (ch->path == BACK_UNTRIED)
		channel_probe(cb, ch);
	client_pump(cb, ch->client);
}

/* ---- sending ---- */

bool address_usable(struct callbacks *cb, struct channel *ch)
{
	return ch->path == BACK_UP;
}

static int connect_to(struct callbacks *cb, struct channel *ch) REQUIRES(&cb->lock)
{
	struct rpc_conn *conn;
	int err;

	if (ch->to_len == 0 || clock_mono_ns() < ch->retry_ns)
		return -ENOTCONN;
	err = rpc_server_connect(cb->rpc, (struct sockaddr *)&ch->to, ch->to_len, &conn);
	if (err)
		return err;
	if (!conn_register(cb, conn, ch)) {
		rpc_conn_abort(conn);
		rpc_conn_unref(conn);
		return -ENOMEM;
	}
	ch->conn = conn;
	ch->answered = false;
	return 0;
}

static void encode(struct callbacks *cb, struct cb_slot *slot, struct xdr_out *x)
{
	const struct callback_address *to = &slot->channel->address;
	struct callback_call *call = slot->call;
	struct rpc_head head = {
		.xid = slot->xid,
		.program = to->program,
		.procedure = call ? CB_COMPOUND : CB_NULL,
		.flavor = call ? RPC_AUTH_SYS : RPC_AUTH_NONE,
		.machine = cb->machine,
	};

	rpc_record_begin(x, MESSAGE_MOST);
	put_rpc_head(x, &head);
	if (!call)
		return;
	put_compound_head(x, 0, to->ident, 1);
	xdr_put_u32(x, call->op);
	xdr_put_fixed(x, call->args.p, call->args.len);
}

int address_send(struct callbacks *cb, struct cb_slot *slot)
{
	struct channel *ch = slot->channel;
	struct xdr_out x;
	int err = 0;

	if (!ch->conn)
		err = connect_to(cb, ch);
	if (err)
		return -ENOTCONN;
	encode(cb, slot, &x);
	if (x.failed) {
		xdr_out_free(&x);
		return -EMSGSIZE;
	}
	if (rpc_conn_send(ch->conn, &x) != 0)
		return -ENOTCONN;
	slot->conn_id = rpc_conn_id(ch->conn);
	return 0;
}

/* ---- answers ---- */

static void take_compound(struct callbacks *cb, struct cb_slot *slot, struct xdr_in *x)
    REQUIRES(&cb->lock)
{
	enum nfsstat4 overall, status;
	uint32_t nops, op;

	if (!get_compound_head(x, &overall, &nops))
		overall = NFS4ERR_BADXDR, nops = 0;
	status = overall;
	if (nops > 0 &&
	    (!get_op_head(x, &op, &status) || (op != slot->call->op && op != OP_CB_ILLEGAL)))
		status = NFS4ERR_BADXDR;
	slot_answered(cb, slot, status, x);
}

void address_reply(struct callbacks *cb, struct cb_slot *slot, struct xdr_in *x)
{
	struct channel *ch = slot->channel;

	if (!get_rpc_reply(x)) {
		failed(cb, ch);
		return;
	}
	ch->answered = true;
	ch->failures = 0;
	ch->retry_ns = 0;
	set_path(cb, ch, BACK_UP);
	if (slot->call)
		take_compound(cb, slot, x);
	else
		slot_release(cb, slot);
	client_pump(cb, ch->client);
}

void address_overdue(struct callbacks *cb, struct cb_slot *slot)
{
	failed(cb, slot->channel);
}

void address_awake(struct callbacks *cb, struct channel *ch)
{
	if (ch->path != BACK_UP && ch->to_len) {
		channel_probe(cb, ch);
		if (!ch->conn && clock_mono_ns() >= ch->retry_ns)
			failed(cb, ch); /* not even a descriptor for it: a failure like others */
		else if (!ch->conn)
			channel_wake_at(cb, ch, ch->retry_ns);
	}
	client_pump(cb, ch->client);
}

/* ---- clients come ---- */

static struct channel *address_channel(struct callbacks *cb, uint64_t clientid) REQUIRES(&cb->lock)
{
	struct cb_client *client = client_obtain(cb, clientid, true);

	if (!client)
		return NULL;
	if (list_empty(&client->channels))
		return channel_new(cb, client, BACK_SLOTS_MAX);
	return list_first(&client->channels, struct channel, in_client);
}

static void confirmed(struct callbacks *cb, uint64_t clientid, const struct sockaddr *peer)
    REQUIRES(&cb->lock)
{
	struct callback_address address;
	struct channel *ch;

	if (!state_callback_address(cb->state, clientid, &address))
		return;
	ch = address_channel(cb, clientid);
	if (!ch)
		return;
	/* Whatever there was before is not what the client wants now. */
	address_close(cb, ch);
	requeue_all(cb, ch);
	set_path(cb, ch, BACK_UNTRIED);
	ch->address = address;
	ch->failures = 0;
	ch->retry_ns = 0;
	ch->to_len = address_parse(address.netid, address.addr, &ch->to);
	/* Nobody else gets this machine to call its own services. */
	if (ch->to_len && is_loopback((struct sockaddr *)&ch->to) && !is_loopback(peer))
		ch->to_len = 0;
	if (ch->to_len)
		address_awake(cb, ch);
	else
		set_path(cb, ch, BACK_DOWN);
}

struct cb_client *address_restore(struct callbacks *cb, uint64_t clientid)
{
	struct sockaddr_in ourselves = { .sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	confirmed(cb, clientid, (const struct sockaddr *)&ourselves);
	return client_find(cb, clientid);
}

void callback_client_confirmed(struct nfs_server *server, uint64_t clientid, struct rpc_conn *conn)
{
	struct callbacks *cb = server->callbacks;

	mutex_lock(&cb->lock);
	if (cb->rpc && !cb->stopping)
		confirmed(cb, clientid, rpc_conn_peer(conn));
	mutex_unlock(&cb->lock);
}

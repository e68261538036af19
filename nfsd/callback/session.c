/*
 * Calls over the back channel of a session: RFC 8881 sections 2.10.3 and 20.9.
 *
 * Whether the path is up is kept with the session in the state machine, where SEQUENCE tells the
 * client and OPEN asks. It goes up with an answer and down when one does not come in time; a
 * client that binds a connection has it tried again. When client and server do not agree
 * on a slot, or no slot is left, only a new session helps, which BACKCHANNEL_FAULT asks for.
 */
#include "nfsd/callback/callback_private.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "nfsd/callback/callbacks.h"
#include "nfsd/server_private.h"

/* A connection just bound is left alone that long: the client is to see the reply first. */
#define BIND_GRACE_NS (20 * NS_PER_MS)
/* A client that has not used its new session for so long is called by CB_NULL. */
#define UNUSED_NS NS_PER_SEC
/* The client asks to be called later. */
#define DELAY_NS (100 * NS_PER_MS)
#define TRIES_MOST 100
#define CONNS_TRIED 8

static bool session_info(struct callbacks *cb, struct channel *ch, struct back_channel *info)
{
	return state_back_channel(cb->state, &ch->session, info);
}

static bool can_be_called(const struct back_channel *info)
{
	return info->flavor != UINT32_MAX && info->attrs.max_ops >= BACK_OPS;
}

bool session_usable(struct callbacks *cb, struct channel *ch)
{
	struct back_channel info;

	return session_info(cb, ch, &info) && info.path == BACK_UP && info.nconns > 0;
}

static void set_path(struct callbacks *cb, struct channel *ch, enum back_path path)
{
	static const char *const words[] = { "not tried", "up", "down", "faulty" };
	struct back_channel info;

	if (!session_info(cb, ch, &info) || info.path == path)
		return;
	log_debug("client %016llx: back channel %s", (unsigned long long)ch->client->clientid,
		  words[path]);
	state_set_back_path(cb->state, &ch->session, path);
}

/* ---- sending ---- */

static uint32_t highest_busy(const struct channel *ch)
{
	uint32_t highest = 0;

	for (uint32_t i = 0; i < ch->nslots; i++) {
		if (ch->slots[i].busy)
			highest = i;
	}
	return highest;
}

static void put_referral(struct callbacks *cb, struct xdr_out *x, const struct callback_referral *r)
{
	if (!r || !r->present || !state_slot_is_current(cb->state, &r->session, r->slot, r->seqid)) {
		xdr_put_u32(x, 0);
		return;
	}
	xdr_put_u32(x, 1);
	xdr_put_fixed(x, r->session.data, NFS4_SESSIONID_SIZE);
	xdr_put_u32(x, 1);
	xdr_put_u32(x, r->seqid);
	xdr_put_u32(x, r->slot);
}

static void encode(struct callbacks *cb, struct cb_slot *slot, const struct back_channel *info,
		   struct xdr_out *x)
{
	struct callback_call *call = slot->call;
	bool null = slot == &slot->channel->null;
	struct rpc_head head = {
		.xid = slot->xid,
		.program = info->program,
		.procedure = null ? CB_NULL : CB_COMPOUND,
		.flavor = info->flavor,
		.uid = info->uid,
		.gid = info->gid,
		.machine = cb->machine,
	};

	rpc_record_begin(x, info->attrs.max_request);
	put_rpc_head(x, &head);
	if (null)
		return;
	put_compound_head(x, info->minor, 0, call ? 2 : 1);
	xdr_put_u32(x, OP_CB_SEQUENCE);
	xdr_put_fixed(x, slot->channel->session.data, NFS4_SESSIONID_SIZE);
	xdr_put_u32(x, slot->seqid + 1);
	xdr_put_u32(x, slot->index);
	xdr_put_u32(x, highest_busy(slot->channel));
	xdr_put_bool(x, false); /* cachethis: a call may be made twice */
	put_referral(cb, x, call ? &call->referral : NULL);
	if (call) {
		xdr_put_u32(x, call->op);
		xdr_put_fixed(x, call->args.p, call->args.len);
	}
}

int session_send(struct callbacks *cb, struct cb_slot *slot)
{
	struct back_channel info;
	uint64_t ids[CONNS_TRIED];
	unsigned n;

	if (!session_info(cb, slot->channel, &info) || !can_be_called(&info))
		return -ENOTCONN;
	n = state_back_conns(cb->state, &slot->channel->session, ids, CONNS_TRIED);
	for (unsigned i = 0; i < n; i++) {
		struct cb_conn *c = conn_find(cb, ids[i]);
		struct xdr_out x;

		if (!c)
			continue;
		encode(cb, slot, &info, &x);
		if (x.failed) {
			xdr_out_free(&x);
			return -EMSGSIZE;
		}
		if (rpc_conn_send(c->conn, &x) == 0) {
			slot->conn_id = ids[i];
			return 0;
		}
	}
	return -ENOTCONN;
}

/* ---- answers ---- */

/* The client takes no (such) calls: it may change that, and bind a connection then. */
static void refused(struct callbacks *cb, struct cb_slot *slot, enum back_path path)
    REQUIRES(&cb->lock)
{
	struct cb_client *client = slot->channel->client;

	set_path(cb, slot->channel, path);
	slot_requeue(cb, slot);
	client_pump(cb, client); /* over another session, perhaps */
}

static void consume_seqid(struct callbacks *cb, struct cb_slot *slot)
{
	slot->seqid++;
	if (!cb->server->replicated) {
		state_back_answered(cb->state, &slot->channel->session, slot->index, slot->seqid);
		return;
	}
	/* Whoever calls the client next, from another node perhaps, must know. */
	cluster_submit(cb->server->cluster,
		       &(struct state_command){
			   .type = CMD_BACK_ANSWERED,
			   .minor = 1,
			   .clientid = slot->channel->client->clientid,
			   .back_answered = { slot->channel->session, slot->index, slot->seqid } },
		       NULL, NULL, NULL);
}

static void sequence_failed(struct callbacks *cb, struct cb_slot *slot, enum nfsstat4 status)
    REQUIRES(&cb->lock)
{
	struct channel *ch = slot->channel;

	if (++slot->tries > TRIES_MOST)
		status = NFS4ERR_BADSESSION;
	switch (status) {
	case NFS4ERR_DELAY:
		slot_unsend(cb, slot, clock_mono_ns() + DELAY_NS);
		channel_wake_at(cb, ch, slot->due_ns);
		break;
	case NFS4ERR_RETRY_UNCACHED_REP:
	case NFS4ERR_SEQ_FALSE_RETRY:
		/* What was sent before has arrived. */
		consume_seqid(cb, slot);
		slot_unsend(cb, slot, 0);
		client_pump(cb, ch->client);
		break;
	default:
		log_info("client %016llx: CB_SEQUENCE failed with status %u; asking for a new session",
			 (unsigned long long)ch->client->clientid, status);
		refused(cb, slot, BACK_FAULT);
		break;
	}
}

static bool get_sequence(struct cb_slot *slot, struct xdr_in *x)
{
	struct sessionid session;
	uint32_t seqid, slotid, highest, target;

	return xdr_get_copy(x, session.data, NFS4_SESSIONID_SIZE) && xdr_get_u32(x, &seqid) &&
	       xdr_get_u32(x, &slotid) && xdr_get_u32(x, &highest) && xdr_get_u32(x, &target) &&
	       memcmp(&session, &slot->channel->session, sizeof(session)) == 0 &&
	       seqid == slot->seqid + 1 && slotid == slot->index;
}

static void take_result(struct callbacks *cb, struct cb_slot *slot, enum nfsstat4 overall,
			uint32_t nops, struct xdr_in *x) REQUIRES(&cb->lock)
{
	enum nfsstat4 status = overall;
	uint32_t op;

	if (slot->call && nops > 1 &&
	    (!get_op_head(x, &op, &status) || (op != slot->call->op && op != OP_CB_ILLEGAL)))
		status = NFS4ERR_BADXDR;
	slot_answered(cb, slot, status, x);
}

/* It says that somebody answers; that nobody does it leaves to the probe that comes with use. */
static void null_answered(struct callbacks *cb, struct channel *ch, bool well) REQUIRES(&cb->lock)
{
	struct back_channel info;

	slot_release(cb, &ch->null);
	if (!well || !session_info(cb, ch, &info) || info.path != BACK_UNTRIED)
		return;
	set_path(cb, ch, BACK_UP);
	client_pump(cb, ch->client);
}

void session_reply(struct callbacks *cb, struct cb_slot *slot, struct xdr_in *x)
{
	struct channel *ch = slot->channel;
	enum nfsstat4 overall, status;
	uint32_t nops, op;

	if (slot == &ch->null) {
		null_answered(cb, ch, get_rpc_reply(x));
		return;
	}
	if (!get_rpc_reply(x) || !get_compound_head(x, &overall, &nops)) {
		refused(cb, slot, BACK_DOWN);
		return;
	}
	if (nops == 0 || !get_op_head(x, &op, &status) || op != OP_CB_SEQUENCE) {
		refused(cb, slot, BACK_FAULT);
		return;
	}
	if (status != NFS4_OK) {
		sequence_failed(cb, slot, status);
		return;
	}
	if (!get_sequence(slot, x)) {
		refused(cb, slot, BACK_FAULT);
		return;
	}
	consume_seqid(cb, slot);
	set_path(cb, ch, BACK_UP);
	take_result(cb, slot, overall, nops, x);
	client_pump(cb, ch->client);
}

/* ---- time ---- */

void session_overdue(struct callbacks *cb, struct cb_slot *slot)
{
	struct channel *ch = slot->channel;
	enum back_path path = BACK_FAULT;

	if (slot == &ch->null) {
		null_answered(cb, ch, false);
		return;
	}
	for (uint32_t i = 0; i < ch->nslots; i++) {
		if (!ch->slots[i].busy)
			path = BACK_DOWN;
	}
	set_path(cb, ch, path);
}

void session_awake(struct callbacks *cb, struct channel *ch)
{
	struct back_channel info;

	if (!session_info(cb, ch, &info))
		return;
	if (info.nconns > 0 && info.path == BACK_UNTRIED && ch->unused)
		channel_call_null(cb, ch);
	else if (info.nconns > 0 && (info.path == BACK_UNTRIED || info.path == BACK_DOWN))
		channel_probe(cb, ch);
	client_pump(cb, ch->client);
}

/* ---- sessions come into use ---- */

static struct channel *session_channel(struct callbacks *cb, struct cb_client *client,
				       const struct sessionid *session) REQUIRES(&cb->lock)
{
	struct channel *ch;

	list_for_each (ch, &client->channels, in_client) {
		if (memcmp(&ch->session, session, sizeof(*session)) == 0)
			return ch;
	}
	return NULL;
}

/* The session's channel, made now if need be; NULL: out of memory, or it can have none. */
static struct channel *channel_of(struct callbacks *cb, const struct sessionid *session, bool *fresh)
    REQUIRES(&cb->lock)
{
	struct back_channel info;
	struct cb_client *client;
	struct channel *ch;

	*fresh = false;
	if (cb->stopping || !state_back_channel(cb->state, session, &info) || !can_be_called(&info))
		return NULL;
	client = client_obtain(cb, info.clientid, false);
	if (!client)
		return NULL;
	ch = session_channel(cb, client, session);
	if (ch)
		return ch;
	ch = channel_new(cb, client, info.nslots);
	if (!ch)
		return NULL;
	ch->session = *session;
	for (uint32_t i = 0; i < ch->nslots; i++)
		ch->slots[i].seqid = info.seqids[i];
	*fresh = true;
	return ch;
}

static void session_used(struct callbacks *cb, const struct sessionid *session) REQUIRES(&cb->lock)
{
	bool fresh;
	struct channel *ch = channel_of(cb, session, &fresh);

	if (!ch)
		return;
	ch->unused = false;
	channel_probe(cb, ch);
}

void callback_session_used(struct nfs_server *server, const struct sessionid *session)
{
	struct callbacks *cb = server->callbacks;

	mutex_lock(&cb->lock);
	if (cb->rpc)
		session_used(cb, session);
	mutex_unlock(&cb->lock);
}

void callback_conn_bound(struct nfs_server *server, const struct sessionid *session,
			 struct rpc_conn *conn)
{
	struct callbacks *cb = server->callbacks;
	struct channel *ch = NULL;
	bool open, fresh;

	mutex_lock(&cb->lock);
	if (cb->stopping || (!conn_find(cb, rpc_conn_id(conn)) && !conn_register(cb, conn, NULL))) {
		mutex_unlock(&cb->lock);
		return;
	}
	/* If it has gone already, nobody else will say so. */
	open = rpc_conn_is_open(conn);
	if (open)
		ch = channel_of(cb, session, &fresh);
	if (ch && fresh)
		ch->unused = true;
	if (ch)
		channel_wake_at(cb, ch,
				clock_mono_ns() + (ch->unused ? UNUSED_NS : BIND_GRACE_NS));
	mutex_unlock(&cb->lock);
	if (!open) {
		state_conn_closed(cb->state, rpc_conn_id(conn));
		callbacks_conn_closed(cb, conn);
	}
}

void callbacks_session_gone(struct callbacks *cb, uint64_t clientid, const struct sessionid *session)
{
	struct cb_client *client;
	struct channel *ch;

	mutex_lock(&cb->lock);
	client = client_find(cb, clientid);
	ch = client ? session_channel(cb, client, session) : NULL;
	if (ch) {
		channel_free(cb, ch);
		client_pump(cb, client);
	}
	mutex_unlock(&cb->lock);
}

/* SEQUENCE: RFC 8881 section 18.46. */
#include <string.h>

#include "base/hash.h"
#include "nfsd/callback/callback.h"
#include "nfsd/ops_list.h"
#include "nfsd/write_payload.h"

/* What follows the status in a successful result. */
#define SEQUENCE_RESULT (NFS4_SESSIONID_SIZE + 20)

struct sequence_op_args {
	struct sessionid session;
	uint32_t seqid, slot, highest_slot;
	bool cache_this;
};

static bool sequence_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct sequence_op_args *a = args;

	return xdr_get_copy(x, a->session.data, sizeof(a->session.data)) &&
	       xdr_get_u32(x, &a->seqid) && xdr_get_u32(x, &a->slot) &&
	       xdr_get_u32(x, &a->highest_slot) && xdr_get_bool(x, &a->cache_this);
}

/* It needs no key of its own: what it is mixed with has one. */
static uint64_t principal_hash(const struct compound *c)
{
	uint64_t word = 0, h = c->principal.len;

	for (uint32_t at = 0; at < c->principal.len; at += 8) {
		uint32_t left = c->principal.len - at;

		memcpy(&word, c->principal.p + at, left < 8 ? left : 8);
		h = hash_u64(h ^ word);
	}
	return h;
}

/*
 * The operations behind SEQUENCE, and who asks: what makes a retry the same request. (A WRITE's
 * payload need not be hashed whole for that, and may not be in memory.) It must be known again by the
 * next process, so the key is not this process's own.
 */
static uint64_t request_hash(struct compound *c)
{
	const struct siphash_key *key = &c->server->options.handle_key;
	const struct xdr_in *rest = &c->call->args;
	size_t len = xdr_in_left(rest);
	uint64_t h = siphash(key, rest->p, len < REQUEST_HASHED ? len : REQUEST_HASHED);

	return h ^ hash_u64(len ^ (uint64_t)c->nops << 40) ^ principal_hash(c);
}

/* Behind SEQUENCE, which always fits, the reply may not be longer than the session allows. */
static void limit_reply(struct compound *c)
{
	const struct channel_attrs *fore = &c->slot.fore;
	size_t least = xdr_out_total(reply_of(c)) + STATUS_ROOM; /* a long tag may need it */
	size_t most = fore->max_response < c->most ? fore->max_response : c->most;

	if (most < least)
		most = least;
	compound_limit_reply(c, most, c->slot.cache_this ? fore->max_response_cached : most);
}

/* The client may have been elsewhere a moment ago, and this node may not have heard all of it. */
static bool is_doubtful(const struct compound *c, enum nfsstat4 status)
{
	return c->server->replicated && !c->sure &&
	       (status == NFS4ERR_BADSESSION || status == NFS4ERR_SEQ_MISORDERED);
}

static enum nfsstat4 sequence_run(struct compound *c, void *args)
{
	struct sequence_op_args *a = args;
	struct xdr_out *x = reply_of(c);
	struct sequence_args seq = {
		.session = a->session,
		.seqid = a->seqid,
		.slot = a->slot,
		.highest_slot = a->highest_slot,
		.cache_this = a->cache_this,
		.request_len = (uint32_t)c->call->record_len,
		.reply_least = (uint32_t)xdr_out_total(x) + SEQUENCE_RESULT,
		.nops = c->nops,
		.request_hash = request_hash(c),
		.conn_id = rpc_conn_id(c->call->conn),
	};
	enum nfsstat4 status = state_sequence(c->server->state, &seq, &c->slot);
	uint64_t clientid;

	while (unlikely(status == STATE_AWAY || is_doubtful(c, status))) {
		if (status != STATE_AWAY)
			compound_is_sure(c, &status);
		else if (state_session_is_away(c->server->state, &a->session, &clientid))
			status = compound_adopt(c, clientid);
		else
			status = NFS4_OK;
		if (status != NFS4_OK)
			return status; /* parked: this function will be called again */
		status = state_sequence(c->server->state, &seq, &c->slot);
	}
	if (status == NFS4ERR_RETRY_UNCACHED_REP)
		c->uncached_retry = true; /* the next operation says so, section 2.10.6.1.3 */
	else if (status != NFS4_OK)
		return status;
	else
		c->has_session = true;
	if (c->slot.probe_back)
		callback_session_used(c->server, &a->session);
	c->clientid = c->slot.clientid;
	if (c->slot.replay && c->has_session)
		return NFS4_OK; /* the dispatcher answers with it */
	xdr_put_fixed(x, a->session.data, NFS4_SESSIONID_SIZE);
	xdr_put_u32(x, a->seqid);
	xdr_put_u32(x, a->slot);
	xdr_put_u32(x, c->slot.highest_slot);
	xdr_put_u32(x, c->slot.target_highest_slot);
	xdr_put_u32(x, c->slot.status_flags);
	limit_reply(c);
	return NFS4_OK;
}

const struct op_row op_sequence = {
	.name = "SEQUENCE",
	.min_minor = 1,
	.max_minor = 2,
	.max_body = SEQUENCE_RESULT,
	.args_size = sizeof(struct sequence_op_args),
	.decode = sequence_decode,
	.run = sequence_run,
};

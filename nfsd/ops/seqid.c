#include "nfsd/ops/seqid.h"

#include <string.h>

#include "nfsd/ops.h"

/*
 * What is remembered: operation number, status, body. Another operation with the sequence id of
 * an earlier one is no replay of it (RFC 7530 section 9.1.9).
 */
static enum nfsstat4 replay_result(struct compound *c, const struct owner_replay *replay)
{
	struct xdr_in in;
	uint32_t opnum, status;
	enum nfsstat4 fh_status;

	xdr_in_init(&in, replay->reply.p, replay->reply.len);
	if (!xdr_get_u32(&in, &opnum) || !xdr_get_u32(&in, &status))
		return NFS4ERR_SERVERFAULT;
	if (opnum != c->opnum)
		return NFS4ERR_BAD_SEQID;
	if (replay->fh.len > 0) {
		fh_status = compound_put_fh(c, replay->fh.p, replay->fh.len);
		if (fh_status != NFS4_OK)
			return fh_status;
	}
	c->error_body = status != NFS4_OK && xdr_in_left(&in) > 0;
	xdr_put_fixed(reply_of(c), in.p, xdr_in_left(&in));
	return (enum nfsstat4)status;
}

enum nfsstat4 seqid_begun(struct compound *c, struct seqid *s, enum nfsstat4 status,
			  const struct owner_replay *replay)
{
	if (status != NFS4_OK) {
		s->hold = NULL;
		return status;
	}
	if (!replay->replay)
		return NFS4_OK;
	status = replay_result(c, replay);
	state_owner_release(c->server->state, s->hold);
	s->hold = NULL;
	s->replayed = true;
	return status;
}

enum nfsstat4 seqid_begin(struct compound *c, struct seqid *s, const struct stateid *id,
			  uint32_t seqid)
{
	struct owner_replay replay = { 0 };
	enum nfsstat4 status;

	*s = (struct seqid){ 0 };
	if (c->minor > 0)
		return NFS4_OK;
	status = state_owner_hold_by_stateid(c->server->state, id, seqid, &s->hold, &replay);
	return seqid_begun(c, s, status, &replay);
}

void seqid_put(const struct seqid *s, uint32_t seqid, struct state_command *cmd)
{
	cmd->sequenced = s->hold != NULL;
	cmd->owner_seqid = s->hold ? seqid : 0;
}

/* The owner's next request must find what this one has left. */
static void release(struct compound *c, void *hold)
{
	state_owner_release(c->server->state, hold);
}

enum nfsstat4 seqid_end(struct compound *c, struct seqid *s, enum nfsstat4 status)
{
	struct xdr_out *x = reply_of(c);
	struct state_command cmd = { 0 };
	bool with_body = (status == NFS4_OK || c->error_body) && !x->failed;
	size_t body = with_body ? x->len - c->body_at : 0;
	const struct nfs_fh *fh = NULL;
	uint32_t head[2] = { htobe32(c->opnum), htobe32(status) };
	uint8_t *reply;

	if (!s->hold)
		return status;
	reply = arena_alloc(&c->call->arena, sizeof(head) + body);
	if (reply) {
		memcpy(reply, head, sizeof(head));
		memcpy(reply + sizeof(head), x->buf + c->body_at, body);
	}
	if (status == NFS4_OK && c->current.object)
		(void)!compound_fh(c, &fh);
	if (state_owner_advance(s->hold, status,
				(struct bytes){ reply, reply ? (uint32_t)(sizeof(head) + body) : 0 },
				fh ? (struct bytes){ fh->data, fh->len } : (struct bytes){ 0 },
				&cmd))
		compound_owe(c, &cmd, release, s->hold);
	else
		release(c, s->hold);
	s->hold = NULL;
	return status;
}

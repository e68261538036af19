/*
 * LOCK, LOCKT and LOCKU: RFC 8881 sections 18.10 to 18.12, RFC 7530 sections 16.10 to 16.12. The
 * ranges themselves are in state/lock.c.
 */
#include <string.h>

#include "nfsd/callback/callbacks.h"
#include "nfsd/callback/waiters.h"
#include "nfsd/local_locks.h"
#include "nfsd/ops/seqid.h"
#include "nfsd/ops_list.h"
#include "nfsd/state/back.h"

/* LOCK4denied with an owner of the greatest length */
#define DENIED_MAX (8 + 8 + 4 + 8 + 4 + NFS4_OPAQUE_LIMIT)

static bool get_range(struct xdr_in *x, struct lock_range *r)
{
	return xdr_get_u64(x, &r->offset) && xdr_get_u64(x, &r->length);
}

static bool get_type(struct xdr_in *x, uint32_t *type)
{
	return xdr_get_u32(x, type) && *type >= READ_LT && *type <= WRITEW_LT;
}

static enum nfsstat4 check_range(const struct lock_range *r)
{
	if (r->length == 0 ||
	    (r->length != NFS4_UINT64_MAX && r->length > NFS4_UINT64_MAX - r->offset))
		return NFS4ERR_INVAL;
	return NFS4_OK;
}

static void put_denied(struct compound *c, const struct lock_conflict *d)
{
	struct xdr_out *x = reply_of(c);

	c->error_body = true;
	xdr_put_u64(x, d->range.offset);
	xdr_put_u64(x, d->range.length);
	xdr_put_u32(x, d->type);
	xdr_put_u64(x, d->clientid);
	xdr_put_opaque(x, d->owner, d->owner_len);
}

/* ---- LOCK ---- */

struct lock_args {
	uint32_t type;
	bool reclaim;
	struct lock_range range;
	bool new_owner;
	uint32_t open_seqid, lock_seqid;
	struct stateid stateid; /* open stateid of a new lock-owner, else lock stateid */
	uint64_t clientid;
	struct bytes owner;
};

struct lock_progress {
	struct seqid seqid;
	struct state_command *cmd;
	struct state_result *result;
	struct lock_wait *wait; /* if it is denied; NULL: the client only polls */
	struct local_op local;
};

static bool get_locker(struct xdr_in *x, struct lock_args *a)
{
	if (!xdr_get_bool(x, &a->new_owner))
		return false;
	if (!a->new_owner)
		return xdr_get_stateid(x, &a->stateid) && xdr_get_u32(x, &a->lock_seqid);
	return xdr_get_u32(x, &a->open_seqid) && xdr_get_stateid(x, &a->stateid) &&
	       xdr_get_u32(x, &a->lock_seqid) && xdr_get_u64(x, &a->clientid) &&
	       xdr_get_opaque(x, NFS4_OPAQUE_LIMIT, &a->owner.p, &a->owner.len);
}

static bool lock_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct lock_args *a = args;

	return get_type(x, &a->type) && xdr_get_bool(x, &a->reclaim) &&
	       get_range(x, &a->range) && get_locker(x, a);
}

static struct waiters *waiters_of(struct compound *c)
{
	return callbacks_waiters(c->server->callbacks);
}

/* Who is to be told when the lock is free; out of memory nobody is. */
static void prepare_wait(struct compound *c, struct lock_args *a, struct lock_progress *o)
{
	bool waits = a->type == READW_LT || a->type == WRITEW_LT;
	const struct nfs_fh *fh;
	struct lock_wait *wait;
	uint8_t *owner;

	if (!waits || c->minor == 0 || !callback_path_up(c->server, c->clientid) ||
	    compound_fh(c, &fh) != NFS4_OK)
		return;
	wait = arena_zalloc(&c->call->arena, sizeof(*wait) + NFS4_OPAQUE_LIMIT);
	if (!wait)
		return;
	owner = (uint8_t *)(wait + 1);
	wait->owner = a->owner;
	if (!a->new_owner)
		wait->owner = (struct bytes){ owner, state_lock_owner(c->server->state, c->clientid,
								      &a->stateid, owner) };
	if (wait->owner.len == 0)
		return;
	wait->clientid = c->clientid;
	wait->file = o->cmd->lock.file;
	wait->fh = (struct bytes){ fh->data, fh->len };
	wait->type = a->type;
	wait->range = a->range;
	wait->referral = (struct callback_referral){ .present = true,
						     .slot = c->slot.slot,
						     .seqid = c->slot.seqid };
	slot_use_session_id(&c->slot, &wait->referral.session);
	o->wait = wait;
}

static enum nfsstat4 lock_try(struct compound *c, struct lock_progress *o)
{
	local_lock_try(c, &o->local, o->cmd);
	return compound_submit(c, o->cmd, o->result);
}

static enum nfsstat4 lock_submit(struct compound *c, struct lock_args *a, struct lock_progress *o)
{
	enum nfsstat4 status = compound_want_regular(c);

	if (status == NFS4_OK)
		status = check_range(&a->range);
	if (status == NFS4_OK && !a->reclaim && c->minor == 0)
		status = compound_ask_new_v40(
		    c, state_stateid_client(c->server->state, &a->stateid));
	if (status == NFS4_OK)
		status = compound_can_promise(c);
	if (status != NFS4_OK)
		return status;
	o->cmd = compound_command(c, CMD_LOCK);
	o->result = compound_result(c);
	if (!o->cmd || !o->result)
		return compound_out_of_memory(c);
	if (c->minor == 0 && a->new_owner)
		o->cmd->clientid = a->clientid;
	seqid_put(&o->seqid, a->new_owner ? a->open_seqid : a->lock_seqid, o->cmd);
	o->cmd->lock.type = a->type;
	o->cmd->lock.reclaim = a->reclaim;
	o->cmd->lock.range = a->range;
	o->cmd->lock.new_owner = a->new_owner;
	o->cmd->lock.stateid = a->stateid;
	o->cmd->lock.owner = a->owner;
	o->cmd->lock.lock_seqid = a->lock_seqid;
	status = compound_file_key(c, &o->cmd->lock.file);
	if (status != NFS4_OK)
		return status;
	c->phase = 1;
	prepare_wait(c, a, o);
	if (o->wait && waiters_ahead(waiters_of(c), o->wait, &o->result->denied)) {
		o->result->status = NFS4ERR_DENIED;
		return NFS4_OK;
	}
	return lock_try(c, o);
}

/* Has what was in the way been moved out of it? */
static bool lock_again(struct compound *c, struct lock_progress *o)
{
	struct state_result *result = o->result;

	return (result->status == NFS4ERR_DENIED &&
		compound_expire_conflict(c, result->conflict_client)) ||
	       compound_make_room(c, result) || local_lock_again(&o->local, o->cmd, result);
}

static enum nfsstat4 lock_finish(struct compound *c, struct lock_progress *o)
{
	struct state_result *result = o->result;

	while (lock_again(c, o)) {
		if (lock_try(c, o) == NFS4_PARKED)
			return NFS4_PARKED;
	}
	if (o->wait)
		o->wait->local = local_lock_waits(&o->local, o->cmd, result);
	local_lock_end(c, &o->local, o->cmd, result);
	if (result->status == NFS4_OK)
		result->status = compound_promise(c, 0);
	if (o->wait && result->status == NFS4ERR_DENIED)
		waiters_add(waiters_of(c), o->wait);
	else if (o->wait && result->status == NFS4_OK)
		waiters_granted(waiters_of(c), o->wait);
	if (result->status == NFS4ERR_DENIED) {
		put_denied(c, &result->denied);
	} else if (result->status == NFS4_OK) {
		xdr_put_stateid(reply_of(c), &result->stateid);
		compound_set_stateid(c, &result->stateid);
	}
	return result->status;
}

static enum nfsstat4 lock_begin(struct compound *c, struct lock_args *a, struct lock_progress *o)
{
	enum nfsstat4 status = compound_resolve_stateid(c, &a->stateid);

	if (status != NFS4_OK)
		return status;
	return seqid_begin(c, &o->seqid, &a->stateid, a->new_owner ? a->open_seqid : a->lock_seqid);
}

static enum nfsstat4 lock_run(struct compound *c, void *args)
{
	struct lock_args *a = args;
	struct lock_progress *o = c->op_state;
	enum nfsstat4 status = NFS4_OK;

	if (c->phase == 0) {
		c->op_state = o = arena_zalloc(&c->call->arena, sizeof(*o));
		if (!o)
			return compound_out_of_memory(c);
		status = lock_begin(c, a, o);
		if (status != NFS4_OK || o->seqid.replayed)
			return status;
		status = lock_submit(c, a, o);
	}
	if (status == NFS4_OK)
		status = lock_finish(c, o);
	if (status == NFS4_PARKED)
		return status;
	return seqid_end(c, &o->seqid, status);
}

static uint64_t lock_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct lock_args *)args)->stateid);
}

const struct op_row op_lock = {
	.name = "LOCK",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = DENIED_MAX,
	.args_size = sizeof(struct lock_args),
	.decode = lock_decode,
	.run = lock_run,
	.client = lock_client,
};

/* ---- LOCKT ---- */

struct lockt_args {
	uint32_t type;
	struct lock_range range;
	uint64_t clientid;
	struct bytes owner;
};

static bool lockt_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct lockt_args *a = args;

	return get_type(x, &a->type) && get_range(x, &a->range) && xdr_get_u64(x, &a->clientid) &&
	       xdr_get_opaque(x, NFS4_OPAQUE_LIMIT, &a->owner.p, &a->owner.len);
}

static enum nfsstat4 lockt_run(struct compound *c, void *args)
{
	struct lockt_args *a = args;
	uint64_t clientid = c->minor == 0 ? a->clientid : c->clientid;
	enum nfsstat4 status = compound_want_regular(c);
	struct lock_conflict *denied = arena_zalloc(&c->call->arena, sizeof(*denied));
	struct bytes file;

	if (!denied)
		return compound_out_of_memory(c);
	if (status == NFS4_OK)
		status = check_range(&a->range);
	if (status == NFS4_OK)
		status = compound_file_key(c, &file);
	if (status != NFS4_OK)
		return status;
	do {
		status = state_lockt(c->server->state, clientid, a->owner, file, a->type, a->range,
				     denied);
		if (status == NFS4_OK)
			status = local_lock_test(c, clientid, a->owner, file, a->type, a->range,
						 denied);
	} while (status == NFS4ERR_DENIED &&
		 compound_expire_and_read(c, denied->clientid, &status));
	if (status == NFS4ERR_DENIED)
		put_denied(c, denied);
	return status;
}

static uint64_t lockt_client(struct compound *c, const void *args)
{
	return c->minor == 0 ? ((const struct lockt_args *)args)->clientid : 0;
}

const struct op_row op_lockt = {
	.name = "LOCKT",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = DENIED_MAX,
	.args_size = sizeof(struct lockt_args),
	.decode = lockt_decode,
	.run = lockt_run,
	.client = lockt_client,
};

/* ---- LOCKU ---- */

struct locku_args {
	uint32_t type, seqid;
	struct stateid stateid;
	struct lock_range range;
};

static bool locku_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct locku_args *a = args;

	return get_type(x, &a->type) && xdr_get_u32(x, &a->seqid) &&
	       xdr_get_stateid(x, &a->stateid) && get_range(x, &a->range);
}

static enum nfsstat4 locku_submit(struct compound *c, struct locku_args *a,
				  struct lock_progress *o)
{
	enum nfsstat4 status = NFS4_OK;

	/* RFC 8881's table of errors has none for the type: the stateid will not do. */
	if (c->minor == 0)
		status = compound_want_regular(c);
	if (status == NFS4_OK)
		status = check_range(&a->range);
	if (status != NFS4_OK)
		return status;
	o->cmd = compound_command(c, CMD_UNLOCK);
	o->result = compound_result(c);
	if (!o->cmd || !o->result)
		return compound_out_of_memory(c);
	seqid_put(&o->seqid, a->seqid, o->cmd);
	o->cmd->unlock.stateid = a->stateid;
	o->cmd->unlock.range = a->range;
	status = compound_file_key(c, &o->cmd->unlock.file);
	if (status != NFS4_OK)
		return status;
	c->phase = 1;
	local_unlock_begin(c, &o->local, o->cmd);
	return compound_submit(c, o->cmd, o->result);
}

static enum nfsstat4 locku_run(struct compound *c, void *args)
{
	struct locku_args *a = args;
	struct lock_progress *o = c->op_state;
	enum nfsstat4 status = NFS4_OK;

	if (c->phase == 0) {
		c->op_state = o = arena_zalloc(&c->call->arena, sizeof(*o));
		if (!o)
			return compound_out_of_memory(c);
		status = compound_resolve_stateid(c, &a->stateid);
		if (status == NFS4_OK)
			status = seqid_begin(c, &o->seqid, &a->stateid, a->seqid);
		if (status != NFS4_OK || o->seqid.replayed)
			return status;
		status = locku_submit(c, a, o);
		if (status == NFS4_PARKED)
			return status;
	}
	if (status == NFS4_OK) {
		status = o->result->status;
		local_unlock_end(c, &o->local, o->result);
	}
	if (status == NFS4_OK) {
		xdr_put_stateid(reply_of(c), &o->result->stateid);
		compound_set_stateid(c, &o->result->stateid);
	}
	return seqid_end(c, &o->seqid, status);
}

static uint64_t locku_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct locku_args *)args)->stateid);
}

const struct op_row op_locku = {
	.name = "LOCKU",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 16,
	.args_size = sizeof(struct locku_args),
	.decode = locku_decode,
	.run = locku_run,
	.client = locku_client,
};

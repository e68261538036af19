/*
 * WANT_DELEGATION: RFC 8881 section 18.49. A delegation of a regular file without an open. Wants
 * are not remembered: who gets none is told so, and asks again.
 *
 *	phase 0  may the client have one? the file is opened as its user, watched, and the grant submitted
 *	phase 1  it has been granted, or there was somebody else
 */
#include "nfsd/callback/callback.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_local.h"
#include "nfsd/ops/open_delegation.h"
#include "nfsd/ops_list.h"

struct want_args {
	uint32_t want, claim, delegate_type;
};

struct want_progress {
	struct deleg_granting granting;
	struct file *file;
	bool recall;
};

static bool want_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct want_args *a = args;

	if (!xdr_get_u32(x, &a->want) || !xdr_get_u32(x, &a->claim))
		return false;
	switch (a->claim) {
	case CLAIM_FH:
	case CLAIM_DELEG_PREV_FH:
		return true;
	case CLAIM_PREVIOUS:
		return xdr_get_u32(x, &a->delegate_type);
	default:
		return false;
	}
}

static enum nfsstat4 check_args(struct compound *c, const struct want_args *a)
{
	uint32_t want = a->want & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK;

	if ((a->want & ~(OPEN4_SHARE_ACCESS_BOTH | open_want_flags(c->minor))) ||
	    want > OPEN4_SHARE_ACCESS_WANT_CANCEL)
		return NFS4ERR_INVAL;
	if (a->claim == CLAIM_DELEG_PREV_FH)
		return NFS4ERR_NOTSUPP;
	if (a->claim == CLAIM_PREVIOUS)
		return state_may_reclaim(c->server->state, c->minor, c->clientid);
	if (want == OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE ||
	    want == OPEN4_SHARE_ACCESS_WANT_NO_DELEG)
		return NFS4ERR_INVAL;
	if (!state_reclaim_completed(c->server->state, c->clientid) ||
	    state_in_grace(c->server->state))
		return NFS4ERR_GRACE;
	return NFS4_OK;
}

/* Why there can be none of this object at all; UINT32_MAX: there can. */
static uint32_t why_not_of_type(const struct object *obj, uint32_t want)
{
	switch (obj->type) {
	case FILE_REGULAR:
		return UINT32_MAX;
	case FILE_DIRECTORY:
		return WND4_IS_DIR;
	default:
		return want == OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG ? WND4_WRITE_DELEG_NOT_SUPP_FTYPE
								   : WND4_NOT_SUPP_FTYPE;
	}
}

/* Without an open it is not known what the client will do: who has no preference shares. */
static uint32_t type_of(const struct want_args *a)
{
	if (a->claim == CLAIM_PREVIOUS)
		return a->delegate_type == OPEN_DELEGATE_READ ||
			       a->delegate_type == OPEN_DELEGATE_WRITE
			   ? a->delegate_type
			   : OPEN_DELEGATE_NONE;
	switch (a->want & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK) {
	case OPEN4_SHARE_ACCESS_WANT_READ_DELEG:
	case OPEN4_SHARE_ACCESS_WANT_ANY_DELEG:
		return OPEN_DELEGATE_READ;
	case OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG:
		return OPEN_DELEGATE_WRITE;
	default:
		return OPEN_DELEGATE_NONE;
	}
}

static enum nfsstat4 answer(struct compound *c, const struct want_args *a,
			    const struct want_progress *p, uint32_t type, uint32_t why)
{
	struct open_delegation d = { .type = type, .want = a->want, .why = why };

	/* OPEN_DELEGATE_NONE is no answer to this operation. */
	if (a->claim == CLAIM_PREVIOUS)
		d.want = OPEN4_SHARE_ACCESS_WANT_ANY_DELEG;
	if (type != OPEN_DELEGATE_NONE) {
		d.stateid = p->granting.result->open.deleg_stateid;
		d.times = p->granting.cmd->open.times && type == OPEN_DELEGATE_WRITE;
		d.recall = p->recall;
		compound_set_stateid(c, &d.stateid);
	}
	put_open_delegation(c, &d);
	return NFS4_OK;
}

static int open_as_caller(struct compound *c, uint32_t type, bool reclaim, struct file **out)
{
	struct object *obj = c->current.object;
	unsigned access = type == OPEN_DELEGATE_WRITE ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ;

	return obj->backend->open(obj, c->current.cred, access | (reclaim ? ACCESS_OWNER : 0), out);
}

static enum nfsstat4 want_begin(struct compound *c, const struct want_args *a,
				struct want_progress *p)
{
	uint32_t type = type_of(a), why = why_not_of_type(c->current.object, a->want);
	bool reclaim = a->claim == CLAIM_PREVIOUS;
	struct bytes key;
	enum nfsstat4 status;

	if (why != UINT32_MAX)
		return answer(c, a, p, OPEN_DELEGATE_NONE, why);
	if (type == OPEN_DELEGATE_WRITE && compound_want_writable(c) != NFS4_OK)
		return answer(c, a, p, OPEN_DELEGATE_NONE, WND4_WRITE_DELEG_NOT_SUPP_FTYPE);
	status = compound_file_key(c, &key);
	if (status != NFS4_OK)
		return status;
	why = WND4_RESOURCE;
	if (!reclaim)
		type =
		    deleg_wish(c, c->clientid, key, OPEN4_SHARE_ACCESS_BOTH,
			       type == OPEN_DELEGATE_READ    ? OPEN4_SHARE_ACCESS_WANT_READ_DELEG
			       : type == OPEN_DELEGATE_WRITE ? OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG
							     : OPEN4_SHARE_ACCESS_WANT_CANCEL,
			       &why);
	/* Whom the file's permissions do not let read or write it would not be served by one. */
	if (type == OPEN_DELEGATE_NONE || open_as_caller(c, type, reclaim, &p->file) != 0)
		return answer(c, a, p, OPEN_DELEGATE_NONE, why);
	if (!local_watch(c, c->current.object, p->file, type, &why)) {
		if (!reclaim)
			return answer(c, a, p, OPEN_DELEGATE_NONE, why);
		p->recall = true;
	} else {
		p->granting.watched = object_ref(c->current.object);
	}
	status = deleg_grant_submit(c, &p->granting, a->claim, type,
				    a->want & OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS);
	return status;
}

static enum nfsstat4 want_finish(struct compound *c, const struct want_args *a,
				 struct want_progress *p)
{
	struct state_result *result = p->granting.result;
	uint32_t why;
	enum nfsstat4 status = deleg_grant_finish(c, &p->granting, p->file, &why);

	if (status != NFS4_OK)
		return status;
	if (p->recall && result->open.delegation != OPEN_DELEGATE_NONE)
		deleg_recall_all(c, p->granting.cmd->open.file);
	p->recall |= a->claim == CLAIM_PREVIOUS && !callback_path_up(c->server, c->clientid);
	return answer(c, a, p, result->open.delegation, why);
}

static enum nfsstat4 want_run(struct compound *c, void *args)
{
	const struct want_args *a = args;
	struct want_progress *p = c->op_state;
	enum nfsstat4 status = NFS4_OK;

	if (c->phase == 0) {
		status = check_args(c, a);
		if (status != NFS4_OK)
			return status;
		c->op_state = p = arena_zalloc(&c->call->arena, sizeof(*p));
		if (!p)
			return NFS4ERR_DELAY;
		status = want_begin(c, a, p);
	}
	if (status == NFS4_OK && c->phase == 1)
		status = want_finish(c, a, p);
	if (status == NFS4_PARKED)
		return status;
	deleg_grant_end(&p->granting);
	file_unref(p->file);
	return status;
}

const struct op_row op_want_delegation = {
	.name = "WANT_DELEGATION",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = OPEN_DELEGATION_MAX,
	.args_size = sizeof(struct want_args),
	.decode = want_decode,
	.run = want_run,
};

/*
 * GET_DIR_DELEGATION: RFC 8881 section 18.39. The delegation is recalled by any change of the
 * directory's entries or attributes by others; there are no notifications, and no wants.
 */
#include <string.h>

#include "nfsd/attrs.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_local.h"
#include "nfsd/ops/readdir.h"
#include "nfsd/ops_list.h"

struct dir_args {
	bool signal;
};

static bool get_time(struct xdr_in *x)
{
	uint64_t sec;
	uint32_t nsec;

	return xdr_get_u64(x, &sec) && xdr_get_u32(x, &nsec);
}

static bool dir_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct dir_args *a = args;
	struct attr_bitmap ignored;
	bool unknown;

	return xdr_get_bool(x, &a->signal) && xdr_get_bitmap(x, &ignored, &unknown) &&
	       get_time(x) && get_time(x) && xdr_get_bitmap(x, &ignored, &unknown) &&
	       xdr_get_bitmap(x, &ignored, &unknown);
}

/* Not now. Who asks to be told when, is refused, because nobody will tell. */
static enum nfsstat4 unavailable(struct compound *c, const struct dir_args *a, bool has_one)
{
	struct xdr_out *x = reply_of(c);

	if (a->signal && !has_one)
		return NFS4ERR_DIRDELEG_UNAVAIL;
	xdr_put_u32(x, GDD4_UNAVAIL);
	xdr_put_bool(x, false);
	return NFS4_OK;
}

static enum nfsstat4 dir_begin(struct compound *c, const struct dir_args *a,
			       struct deleg_granting *g)
{
	struct bytes key;
	uint32_t why;
	unsigned granted;
	enum nfsstat4 status = place_want_directory(&c->current);
	struct object *dir = c->current.object;

	if (status == NFS4_OK && (!state_reclaim_completed(c->server->state, c->clientid) ||
				  state_in_grace(c->server->state)))
		status = NFS4ERR_GRACE;
	if (status == NFS4_OK)
		status = compound_file_key(c, &key);
	if (status != NFS4_OK)
		return status;
	if (dir->backend->access(dir, c->current.cred, ACCESS_READ, &granted) != 0 || !granted)
		return NFS4ERR_ACCESS;
	if (state_deleg_type(c->server->state, c->clientid, key) != OPEN_DELEGATE_NONE)
		return unavailable(c, a, true);
	/* In the pseudo file system and at exports' edges there is more than the directory. */
	if (!c->current.export->entry || c->current.export->has_junctions ||
	    deleg_wish(c, c->clientid, key, OPEN4_SHARE_ACCESS_READ,
		       OPEN4_SHARE_ACCESS_WANT_READ_DELEG, &why) == OPEN_DELEGATE_NONE ||
	    !local_watch(c, dir, NULL, OPEN_DELEGATE_NONE, &why))
		return unavailable(c, a, false);
	g->watched = object_ref(dir);
	return deleg_grant_submit(c, g, CLAIM_FH, OPEN_DELEGATE_READ, false);
}

static enum nfsstat4 dir_finish(struct compound *c, const struct dir_args *a,
				struct deleg_granting *g)
{
	struct xdr_out *x = reply_of(c);
	uint32_t why;
	enum nfsstat4 status = deleg_grant_finish(c, g, NULL, &why);

	if (status != NFS4_OK)
		return status;
	if (g->result->open.delegation == OPEN_DELEGATE_NONE)
		return unavailable(c, a, false);
	xdr_put_u32(x, GDD4_OK);
	xdr_put_fixed(x, readdir_verifier, NFS4_VERIFIER_SIZE);
	xdr_put_stateid(x, &g->result->open.deleg_stateid);
	xdr_put_u32(x, 0); /* notifications, attributes of children, of the directory: none */
	xdr_put_u32(x, 0);
	xdr_put_u32(x, 0);
	compound_set_stateid(c, &g->result->open.deleg_stateid);
	return NFS4_OK;
}

static enum nfsstat4 dir_run(struct compound *c, void *args)
{
	const struct dir_args *a = args;
	struct deleg_granting *g = c->op_state;
	enum nfsstat4 status = NFS4_OK;

	if (c->phase == 0) {
		c->op_state = g = arena_zalloc(&c->call->arena, sizeof(*g));
		if (!g)
			return NFS4ERR_DELAY;
		status = dir_begin(c, a, g);
	}
	if (status == NFS4_OK && c->phase == 1)
		status = dir_finish(c, a, g);
	if (status != NFS4_PARKED)
		deleg_grant_end(g);
	return status;
}

const struct op_row op_get_dir_delegation = {
	.name = "GET_DIR_DELEGATION",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 4 + NFS4_VERIFIER_SIZE + 16 + 12,
	.args_size = sizeof(struct dir_args),
	.decode = dir_decode,
	.run = dir_run,
};

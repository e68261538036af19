/*
 * SETATTR: RFC 8881 section 18.30, RFC 7530 section 16.32.
 *
 * attrsset is part of the answer also when the operation fails: it says what was set before.
 */
#include "nfsd/attrs.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_ask.h"
#include "nfsd/ops/io_file.h"
#include "nfsd/ops_list.h"

struct setattr_args {
	struct stateid stateid;
	struct fattr attrs;
};

static bool setattr_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct setattr_args *a = args;

	return xdr_get_stateid(x, &a->stateid) && xdr_get_fattr(x, &a->attrs);
}

/* Only regular files have a size to set. */
static enum nfsstat4 check_size_type(struct compound *c)
{
	switch (c->current.object->type) {
	case FILE_REGULAR:
		return NFS4_OK;
	case FILE_DIRECTORY:
		return c->minor == 0 ? NFS4ERR_ISDIR : NFS4ERR_INVAL;
	default:
		return NFS4ERR_INVAL;
	}
}

/*
 * A size change is a write: the stateid must allow it, and nobody's share reservation may deny
 * it. *file: what the client has open, NULL for the special stateids.
 */
static enum nfsstat4 use_stateid(struct compound *c, struct stateid id, struct file **file)
{
	struct state *state = c->server->state;
	struct bytes key;
	uint64_t conflict = 0;
	enum nfsstat4 status = compound_resolve_stateid(c, &id);

	if (!status)
		status = compound_file_key(c, &key);
	if (status)
		return status;
	do {
		status = state_use_stateid(state, c->minor, c->clientid, &id, key, ACCESS_WRITE,
					   file, &conflict);
	} while (status == NFS4ERR_LOCKED && compound_expire_and_read(c, conflict, &status));
	if (!status && !*file)
		status = io_reopen(c, &id, ACCESS_WRITE, file);
	if (!status && *file)
		status = io_caller_may(c, *file, ACCESS_WRITE);
	return status;
}

/* Minor version 0 tells who asks only by the stateid of a size change. */
static enum nfsstat4 break_delegations(struct compound *c, const struct setattr_args *a,
				       const struct attr_set *set)
{
	uint64_t clientid = c->clientid;

	if (c->minor == 0 && (set->mask & ATTR_SET_SIZE) && !stateid_is_anonymous(&a->stateid) &&
	    !stateid_is_read_bypass(&a->stateid))
		clientid = state_stateid_client(c->server->state, &a->stateid);
	return deleg_break(c, c->current.object, clientid, true);
}

#define HOLDER_TIMES (ATTR_SET_HOLDER_ATIME | ATTR_SET_HOLDER_MTIME)

/* Only who has a delegation with which it keeps the times; and that is what lets it set them. */
static enum nfsstat4 check_holder(struct compound *c, struct stateid id)
{
	struct bytes key;
	enum nfsstat4 status = compound_resolve_stateid(c, &id);

	if (!status)
		status = compound_file_key(c, &key);
	if (!status && !state_keeps_times(c->server->state, c->clientid, &id, key))
		status = NFS4ERR_BAD_STATEID;
	return status;
}

static enum nfsstat4 set_holder_times(struct compound *c, const struct attr_set *set)
{
	return deleg_store_times(c->current.object,
				 set->mask & ATTR_SET_HOLDER_ATIME ? &set->holder_atime : NULL,
				 set->mask & ATTR_SET_HOLDER_MTIME ? &set->holder_mtime : NULL);
}

static enum nfsstat4 set_attributes(struct compound *c, const struct setattr_args *a,
				    uint32_t *done)
{
	struct object *obj = c->current.object;
	struct file *file = NULL;
	struct attr_set set;
	uint32_t others = 0;
	enum nfsstat4 status = fattr_to_attr_set(c, &a->attrs, false, &set);
	int err;

	if (!status && set.has_umask)
		status = NFS4ERR_INVAL; /* for creation only, RFC 8275 section 5 */
	if (!status && (set.mask & ATTR_SET_SIZE))
		status = check_size_type(c);
	if (!status)
		status = compound_want_writable(c);
	if (!status && (set.mask & ATTR_SET_SIZE))
		status = use_stateid(c, a->stateid, &file);
	if (!status && (set.mask & HOLDER_TIMES))
		status = check_holder(c, a->stateid);
	if (!status && set.mask)
		status = break_delegations(c, a, &set);
	if (!status && set.mask && !obj->backend->setattr)
		status = NFS4ERR_NOTSUPP;
	if (!status && (set.mask & HOLDER_TIMES)) {
		status = set_holder_times(c, &set);
		*done = status ? 0 : set.mask & HOLDER_TIMES;
		set.mask &= ~(uint32_t)HOLDER_TIMES;
	}
	if (status || !set.mask) {
		file_unref(file);
		return status;
	}
	err = obj->backend->setattr(obj, file, c->current.cred, &set, &others);
	file_unref(file);
	*done |= err ? others : set.mask;
	return status_from_errno(err);
}

static enum nfsstat4 setattr_run(struct compound *c, void *args)
{
	const struct setattr_args *a = args;
	struct attr_bitmap attrsset;
	uint32_t done = 0;
	enum nfsstat4 status = set_attributes(c, a, &done);

	attr_set_bitmap(&a->attrs, done, &attrsset);
	xdr_put_bitmap(reply_of(c), &attrsset);
	c->error_body = status != NFS4_OK;
	return status;
}

static uint64_t setattr_client(struct compound *c, const void *args)
{
	return stateid_speaks_of(c, &((const struct setattr_args *)args)->stateid);
}

const struct op_row op_setattr = {
	.name = "SETATTR",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES | ROW_ERROR_MASK,
	.max_body = ATTR_BITMAP_MAX,
	.args_size = sizeof(struct setattr_args),
	.decode = setattr_decode,
	.run = setattr_run,
	.client = setattr_client,
};

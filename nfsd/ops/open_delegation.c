#include "nfsd/ops/open_delegation.h"

#include "nfsd/ops.h"

/* What a client may hold back under a write delegation. */
#define HELD_BACK_MAX	(64u << 20)
#define HELD_BACK_BLOCK 4096u

uint32_t open_want_flags(uint32_t minor)
{
	uint32_t flags = 0;

	if (minor > 0)
		flags |= OPEN4_SHARE_ACCESS_WANT_DELEG_MASK |
			 OPEN4_SHARE_ACCESS_WANT_SIGNAL_DELEG_WHEN_RESRC_AVAIL |
			 OPEN4_SHARE_ACCESS_WANT_PUSH_DELEG_WHEN_UNCONTENDED;
	if (minor > 1)
		flags |= OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS |
			 OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION;
	return flags;
}

/* open_none_delegation4: with the reason where a minor version above 0 asked for one. */
static void put_none(struct xdr_out *x, const struct open_delegation *d)
{
	uint32_t want = d->want & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK, why = d->why;

	if (want == OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE) {
		xdr_put_u32(x, OPEN_DELEGATE_NONE);
		return;
	}
	if (want == OPEN4_SHARE_ACCESS_WANT_NO_DELEG)
		why = WND4_NOT_WANTED;
	if (want == OPEN4_SHARE_ACCESS_WANT_CANCEL)
		why = WND4_CANCELLED;
	xdr_put_u32(x, OPEN_DELEGATE_NONE_EXT);
	xdr_put_u32(x, why);
	/* The server will neither push nor signal. */
	if (why == WND4_CONTENTION || why == WND4_RESOURCE)
		xdr_put_bool(x, false);
}

/* nfsace4 that lets nobody do anything without asking by ACCESS or OPEN. */
static void put_no_ace(struct xdr_out *x)
{
	xdr_put_u32(x, 0); /* ACE4_ACCESS_ALLOWED_ACE_TYPE */
	xdr_put_u32(x, 0);
	xdr_put_u32(x, 0);
	xdr_put_opaque(x, NULL, 0);
}

/*
 * What the client may hold back beyond its CLOSE: less than there is room for, so that a write that
 * an application believes done does not fail for want of space.
 */
static void put_space_limit(struct compound *c)
{
	struct object *obj = c->current.object;
	struct xdr_out *x = reply_of(c);
	struct fs_info info;
	uint64_t bytes = 0;

	if (obj->backend->statfs(obj, c->current.cred, &info) == 0 && !info.has_quota)
		bytes =
		    info.bytes_avail / 16 < HELD_BACK_MAX ? info.bytes_avail / 16 : HELD_BACK_MAX;
	xdr_put_u32(x, NFS_LIMIT_BLOCKS);
	xdr_put_u32(x, (uint32_t)(bytes / HELD_BACK_BLOCK));
	xdr_put_u32(x, HELD_BACK_BLOCK);
}

void put_open_delegation(struct compound *c, const struct open_delegation *d)
{
	struct xdr_out *x = reply_of(c);

	if (d->type == OPEN_DELEGATE_NONE) {
		put_none(x, d);
		return;
	}
	xdr_put_u32(x, d->times ? OPEN_DELEGATE_WRITE_ATTRS_DELEG : d->type);
	xdr_put_stateid(x, &d->stateid);
	xdr_put_bool(x, d->recall);
	if (d->type == OPEN_DELEGATE_WRITE)
		put_space_limit(c);
	put_no_ace(x);
}

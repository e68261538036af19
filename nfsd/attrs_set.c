/* From a client's fattr4 to what a backend shall set: SETATTR, CREATE, OPEN. */
#include "nfsd/attrs_private.h"
#include "nfsd/idmap.h"

#define MODE_MASK  07777u
#define UMASK_MASK 0777u

enum nfsstat4 attr_decode_size(struct xdr_in *x, struct attr_set *set)
{
	if (!xdr_get_u64(x, &set->size))
		return NFS4ERR_BADXDR;
	if (set->size > INT64_MAX)
		return NFS4ERR_FBIG;
	set->mask |= ATTR_SET_SIZE;
	return NFS4_OK;
}

enum nfsstat4 attr_decode_mode(struct xdr_in *x, struct attr_set *set)
{
	if (!xdr_get_u32(x, &set->mode))
		return NFS4ERR_BADXDR;
	if (set->mode & ~MODE_MASK)
		return NFS4ERR_INVAL;
	set->mask |= ATTR_SET_MODE;
	return NFS4_OK;
}

/* RFC 8275 section 5. */
enum nfsstat4 attr_decode_mode_umask(struct xdr_in *x, struct attr_set *set)
{
	if (!xdr_get_u32(x, &set->mode) || !xdr_get_u32(x, &set->umask))
		return NFS4ERR_BADXDR;
	if ((set->mode & ~MODE_MASK) || (set->umask & ~UMASK_MASK))
		return NFS4ERR_INVAL;
	set->has_umask = true;
	set->mask |= ATTR_SET_MODE;
	return NFS4_OK;
}

static enum nfsstat4 decode_id(struct xdr_in *x, enum idmap_kind kind, uint32_t *id)
{
	const uint8_t *text;
	uint32_t len;

	if (!xdr_get_opaque(x, NFS4_UINT32_MAX, &text, &len))
		return NFS4ERR_BADXDR;
	return idmap_from_text(kind, text, len, id);
}

enum nfsstat4 attr_decode_owner(struct xdr_in *x, struct attr_set *set)
{
	set->mask |= ATTR_SET_UID;
	return decode_id(x, IDMAP_USER, &set->uid);
}

enum nfsstat4 attr_decode_owner_group(struct xdr_in *x, struct attr_set *set)
{
	set->mask |= ATTR_SET_GID;
	return decode_id(x, IDMAP_GROUP, &set->gid);
}

/* settime4; *now: the server's time is asked for. */
static enum nfsstat4 decode_settime(struct xdr_in *x, bool *now, struct timespec *ts)
{
	uint32_t how, nsec;
	uint64_t sec;

	if (!xdr_get_u32(x, &how))
		return NFS4ERR_BADXDR;
	*now = how == SET_TO_SERVER_TIME4;
	if (*now)
		return NFS4_OK;
	if (how != SET_TO_CLIENT_TIME4 || !xdr_get_u64(x, &sec) || !xdr_get_u32(x, &nsec))
		return NFS4ERR_BADXDR;
	if (nsec >= 1000000000u)
		return NFS4ERR_INVAL;
	ts->tv_sec = (time_t)(int64_t)sec;
	ts->tv_nsec = (long)nsec;
	return NFS4_OK;
}

enum nfsstat4 attr_decode_atime(struct xdr_in *x, struct attr_set *set)
{
	bool now = false;
	enum nfsstat4 status = decode_settime(x, &now, &set->atime);

	set->mask |= now ? ATTR_SET_ATIME_NOW : ATTR_SET_ATIME;
	return status;
}

enum nfsstat4 attr_decode_mtime(struct xdr_in *x, struct attr_set *set)
{
	bool now = false;
	enum nfsstat4 status = decode_settime(x, &now, &set->mtime);

	set->mask |= now ? ATTR_SET_MTIME_NOW : ATTR_SET_MTIME;
	return status;
}

static enum nfsstat4 decode_time(struct xdr_in *x, struct timespec *ts)
{
	uint64_t sec;
	uint32_t nsec;

	if (!xdr_get_u64(x, &sec) || !xdr_get_u32(x, &nsec))
		return NFS4ERR_BADXDR;
	if (nsec >= 1000000000u)
		return NFS4ERR_INVAL;
	ts->tv_sec = (time_t)(int64_t)sec;
	ts->tv_nsec = (long)nsec;
	return NFS4_OK;
}

enum nfsstat4 attr_decode_holder_atime(struct xdr_in *x, struct attr_set *set)
{
	set->mask |= ATTR_SET_HOLDER_ATIME;
	return decode_time(x, &set->holder_atime);
}

enum nfsstat4 attr_decode_holder_mtime(struct xdr_in *x, struct attr_set *set)
{
	set->mask |= ATTR_SET_HOLDER_MTIME;
	return decode_time(x, &set->holder_mtime);
}

/* Which attributes may come at all: before their values, which those unknown would hide. */
static enum nfsstat4 check_mask(uint32_t minor, const struct fattr *f, bool exclusive)
{
	if (f->unknown_bits || !attr_subset(&f->mask, attr_supported(minor)))
		return NFS4ERR_ATTRNOTSUPP;
	if (!attr_subset(&f->mask, exclusive ? attr_exclcreat(minor) : attr_settable(minor)))
		return NFS4ERR_INVAL;
	if (attr_test(&f->mask, FATTR4_MODE) && attr_test(&f->mask, FATTR4_MODE_UMASK))
		return NFS4ERR_INVAL;
	return NFS4_OK;
}

enum nfsstat4 fattr_to_attr_set(struct compound *c, const struct fattr *f, bool exclusive,
				struct attr_set *set)
{
	enum nfsstat4 status = check_mask(c->minor, f, exclusive);
	struct xdr_in x;

	*set = (struct attr_set){ 0 };
	if (status)
		return status;
	xdr_in_init(&x, f->values.p, f->values.len);
	for_each_attr(attr, &f->mask)
	{
		status = attr_rows[attr].decode(&x, set);
		if (status)
			return status;
	}
	return xdr_in_left(&x) ? NFS4ERR_BADXDR : NFS4_OK;
}

enum nfsstat4 attr_set_check_new(const struct attr_set *set)
{
	return set->mask & (ATTR_SET_HOLDER_ATIME | ATTR_SET_HOLDER_MTIME) ? NFS4ERR_INVAL : NFS4_OK;
}

void attr_set_bitmap(const struct fattr *f, uint32_t done, struct attr_bitmap *out)
{
	*out = (struct attr_bitmap){ 0 };
	for_each_attr(attr, &f->mask) if (attr_rows[attr].set_bits & done) attr_add(out, attr);
}

/*
 * SECINFO and SECINFO_NO_NAME: which security flavors lead on. RFC 8881 sections 18.29 and
 * 18.45, RFC 7530 section 16.31.
 *
 * They answer also where the caller's own flavor will not do: that is what they are for. So the
 * name is looked up in the current directory, but the export it leads to is not entered.
 */
#include <errno.h>

#include "nfsd/ops_list.h"

#define RPCSEC_GSS 6u

/* What compound_set_current() accepts of enum export_sec. */
#define SERVED_FLAVORS SEC_SYS

struct no_name_args {
	uint32_t style; /* enum secinfo_style4 */
};

/* 1.2.840.113554.1.2.2, Kerberos 5, in DER (RFC 7530 section 3.2.1.1). */
static const uint8_t krb5_oid[] = {
	0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02
};

enum gss_service { GSS_NONE = 1, GSS_INTEGRITY = 2, GSS_PRIVACY = 3 };

static void put_krb5(struct xdr_out *x, enum gss_service service)
{
	xdr_put_u32(x, RPCSEC_GSS);
	xdr_put_opaque(x, krb5_oid, sizeof(krb5_oid));
	xdr_put_u32(x, 0); /* quality of protection: the default */
	xdr_put_u32(x, service);
}

static bool put_flavor(struct xdr_out *x, uint8_t sec)
{
	switch (sec) {
	case SEC_SYS:
		xdr_put_u32(x, RPC_AUTH_SYS);
		return true;
	case SEC_NONE:
		xdr_put_u32(x, RPC_AUTH_NONE);
		return true;
	case SEC_KRB5:
		put_krb5(x, GSS_NONE);
		return true;
	case SEC_KRB5I:
		put_krb5(x, GSS_INTEGRITY);
		return true;
	case SEC_KRB5P:
		put_krb5(x, GSS_PRIVACY);
		return true;
	default:
		return false;
	}
}

/*
 * secinfo4<>, the most preferred flavor first. Of several, those that requests cannot use yet are
 * left out: a client would try them in vain. Where there are no others it learns what is missing.
 */
static void put_flavors(struct xdr_out *x, const struct export_options *options)
{
	size_t count_at = x->len;
	uint32_t count = 0;
	bool any_served = options->sec_flavors & SERVED_FLAVORS;

	xdr_put_u32(x, 0);
	for (unsigned i = 0; i < EXPORT_NSEC && options->sec_order[i]; i++)
		if (!any_served || (options->sec_order[i] & SERVED_FLAVORS))
			count += put_flavor(x, options->sec_order[i]);
	xdr_patch_u32(x, count_at, count);
}

/*
 * The answer for what lies in `exp`. Minor version 1 then has no current filehandle any more, nor has
 * version 0 one that it may not use.
 */
static enum nfsstat4 answer(struct compound *c, struct export *exp)
{
	const struct export_options *options =
	    export_client_options(c->exports, exp, rpc_conn_peer(c->call->conn));

	if (!options)
		return NFS4ERR_ACCESS;
	put_flavors(reply_of(c), options);
	if (c->minor || c->current.wrong_sec)
		place_clear(&c->current);
	return NFS4_OK;
}

static bool secinfo_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_name(x, args);
}

static enum nfsstat4 secinfo_run(struct compound *c, void *args)
{
	struct export *exp = c->current.export, *across;
	struct object *dir = c->current.object, *found;
	const char *name;
	enum nfsstat4 status = place_want_directory(&c->current);
	int err;

	if (!status)
		status = compound_check_name(c, args, &name);
	if (status)
		return status;
	err = dir->backend->lookup(dir, c->current.cred, name, &found);
	if (err)
		return status_from_errno(err);
	across = export_set_cross(c->exports, exp, found);
	if (!exp->entry && !export_pseudo_visible(c->exports, found, rpc_conn_peer(c->call->conn)))
		status = NFS4ERR_NOENT;
	object_unref(found);
	return status ? status : answer(c, across ? across : exp);
}

static bool secinfo_no_name_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct no_name_args *a = args;

	return xdr_get_u32(x, &a->style) && a->style <= SECINFO_STYLE4_PARENT;
}

/* The export of the directory above the current one. */
static enum nfsstat4 find_parent(struct compound *c, struct export **exp)
{
	struct object *dir = c->current.object, *found = NULL;
	enum nfsstat4 status = place_want_directory(&c->current);
	int err;

	*exp = c->current.export;
	if (status)
		return status;
	err = dir->backend->lookup_parent
		  ? dir->backend->lookup_parent(dir, c->current.cred, &found)
		  : -ENOENT;
	if (!err)
		object_unref(found);
	if (err == -ENOENT && (*exp)->parent) {
		*exp = (*exp)->parent;
		err = 0;
	}
	return status_from_errno(err);
}

static enum nfsstat4 secinfo_no_name_run(struct compound *c, void *args)
{
	const struct no_name_args *a = args;
	struct export *exp = c->current.export;
	enum nfsstat4 status = NFS4_OK;

	if (a->style == SECINFO_STYLE4_PARENT)
		status = find_parent(c, &exp);
	return status ? status : answer(c, exp);
}

const struct op_row op_secinfo = {
	.name = "SECINFO",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_LEADS_ON,
	.args_size = sizeof(struct name4),
	.decode = secinfo_decode,
	.run = secinfo_run,
};

const struct op_row op_secinfo_no_name = {
	.name = "SECINFO_NO_NAME",
	.min_minor = 1,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_LEADS_ON,
	.args_size = sizeof(struct no_name_args),
	.decode = secinfo_no_name_decode,
	.run = secinfo_no_name_run,
};

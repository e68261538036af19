/*
 * SAVEFH and RESTOREFH: RFC 8881 sections 18.27 and 18.28, RFC 7530 sections 16.29 and 16.30.
 * The current stateid is saved and restored with the filehandle (RFC 8881 section 16.2.3.1.2).
 */
#include "nfsd/ops_list.h"

static enum nfsstat4 savefh_run(struct compound *c, void *args)
{
	place_copy(&c->saved, &c->current);
	return NFS4_OK;
}

const struct op_row op_savefh = {
	.name = "SAVEFH",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_LEADS_ON,
	.run = savefh_run,
};

static enum nfsstat4 restorefh_run(struct compound *c, void *args)
{
	if (!c->saved.object)
		return c->minor == 0 ? NFS4ERR_RESTOREFH : NFS4ERR_NOFILEHANDLE;
	if (c->saved.wrong_sec && !compound_leads_on(c))
		return NFS4ERR_WRONGSEC;
	place_copy(&c->current, &c->saved);
	return NFS4_OK;
}

const struct op_row op_restorefh = {
	.name = "RESTOREFH",
	.max_minor = 2,
	.run = restorefh_run,
};

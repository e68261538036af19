/* GETFH: RFC 8881 section 18.8, RFC 7530 section 16.8. */
#include "nfsd/ops_list.h"

static enum nfsstat4 getfh_run(struct compound *c, void *args)
{
	const struct nfs_fh *fh;
	enum nfsstat4 status = compound_fh(c, &fh);

	if (status == NFS4_OK)
		xdr_put_opaque(reply_of(c), fh->data, fh->len);
	return status;
}

const struct op_row op_getfh = {
	.name = "GETFH",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 4 + NFS4_FHSIZE,
	.run = getfh_run,
};

/* RENEW: RFC 7530 section 16.30. */
#include "nfsd/ops_list.h"

struct renew_args {
	uint64_t clientid;
};

static bool renew_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_u64(x, &((struct renew_args *)args)->clientid);
}

static enum nfsstat4 renew_run(struct compound *c, void *args)
{
	uint64_t clientid = ((struct renew_args *)args)->clientid;
	enum nfsstat4 status = state_renew(c->server->state, clientid, c->principal);

	/* It is renewed all the same (section 16.30.5): the client is to mend its callback path. */
	if (status == NFS4_OK && state_path_is_missed(c->server->state, clientid))
		status = NFS4ERR_CB_PATH_DOWN;
	return status;
}

static uint64_t renew_client(struct compound *c, const void *args)
{
	return c->minor == 0 ? ((const struct renew_args *)args)->clientid : 0;
}

const struct op_row op_renew = {
	.name = "RENEW",
	.max_minor = 0,
	.args_size = sizeof(struct renew_args),
	.decode = renew_decode,
	.run = renew_run,
	.client = renew_client,
};

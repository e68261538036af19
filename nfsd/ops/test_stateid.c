/* TEST_STATEID: RFC 8881 section 18.48. */
#include "nfsd/ops_list.h"

struct test_stateid_args {
	uint32_t count;
	struct xdr_in ids; /* stateid4<>, decoded as they are tested */
};

#define STATEID_BYTES (4 + NFS4_OTHER_SIZE)

static bool test_stateid_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct test_stateid_args *a = args;
	const uint8_t *p;

	if (!xdr_get_u32(x, &a->count) || a->count > xdr_in_left(x) / STATEID_BYTES ||
	    !xdr_get_fixed(x, &p, (size_t)a->count * STATEID_BYTES))
		return false;
	xdr_in_init(&a->ids, p, (size_t)a->count * STATEID_BYTES);
	return true;
}

static enum nfsstat4 test_stateid_run(struct compound *c, void *args)
{
	struct test_stateid_args *a = args;
	struct xdr_out *x = reply_of(c);
	struct stateid id;

	xdr_put_u32(x, a->count);
	while (xdr_in_left(&a->ids) > 0 && xdr_get_stateid(&a->ids, &id))
		xdr_put_u32(x, state_test_stateid(c->server->state, c->clientid, &id));
	return NFS4_OK;
}

const struct op_row op_test_stateid = {
	.name = "TEST_STATEID",
	.min_minor = 1,
	.max_minor = 2,
	.args_size = sizeof(struct test_stateid_args),
	.decode = test_stateid_decode,
	.run = test_stateid_run,
};

/*
 * AUTH_SYS (RFC 5531 appendix A).
 *
 * A connection remembers the last few credentials as the bytes that they came in, so that a
 * client that sends the same ones again (they all do) costs one comparison. The stamp, the
 * first word, is the client's business and not compared. What a call takes from here is a
 * counted reference, since the connection may forget it while the call is parked.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <stdlib.h>

#define MACHINE_MAX 255
#define GROUPS_MAX  16
#define STAMP_LEN   4

void auth_sys_unref(struct auth_sys *a)
{
	if (a && atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) == 1) {
		cred_unref(a->cred);
		free(a);
	}
}

static bool same_body(const struct auth_sys *a, const struct opaque_auth *cred)
{
	return a && a->body_len == cred->len &&
	       memcmp(a->body + STAMP_LEN, cred->body + STAMP_LEN, cred->len - STAMP_LEN) == 0;
}

/* The connection's memory of `cred`, moved to the front; NULL if it has none. */
static struct auth_sys *remembered(struct rpc_conn *c, const struct opaque_auth *cred)
{
	for (unsigned i = 0; i < CONN_AUTHS; i++) {
		struct auth_sys *a = c->auths[i];

		if (!same_body(a, cred))
			continue;
		memmove(c->auths + 1, c->auths, i * sizeof(c->auths[0]));
		c->auths[0] = a;
		return a;
	}
	return NULL;
}

static void remember(struct rpc_conn *c, struct auth_sys *a)
{
	auth_sys_unref(c->auths[CONN_AUTHS - 1]);
	memmove(c->auths + 1, c->auths, (CONN_AUTHS - 1) * sizeof(c->auths[0]));
	c->auths[0] = a;
}

/* For messages to people: no control characters. */
static void copy_machine(struct auth_sys *a, const uint8_t *name, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		a->machine[i] = name[i] >= ' ' && name[i] < 0x7f ? (char)name[i] : '?';
	a->machine[len] = '\0';
}

/* 0, an auth_stat, or -ENOMEM. */
static int decode(const struct opaque_auth *cred, struct auth_sys **out)
{
	struct xdr_in x;
	uint32_t stamp, machine_len, uid, gid, n;
	const uint8_t *machine;
	gid_t groups[GROUPS_MAX];

	xdr_in_init(&x, cred->body, cred->len);
	if (!xdr_get_u32(&x, &stamp) || !xdr_get_opaque(&x, MACHINE_MAX, &machine, &machine_len) ||
	    !xdr_get_u32(&x, &uid) || !xdr_get_u32(&x, &gid) || !xdr_get_u32(&x, &n) ||
	    n > GROUPS_MAX)
		return RPC_AUTH_BADCRED;
	for (uint32_t i = 0; i < n; i++) {
		if (!xdr_get_u32(&x, &groups[i]))
			return RPC_AUTH_BADCRED;
	}
	if (xdr_in_left(&x) != 0)
		return RPC_AUTH_BADCRED;

	struct auth_sys *a = malloc(sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->cred = cred_get(uid, gid, groups, n);
	if (!a->cred) {
		free(a);
		return -ENOMEM;
	}
	atomic_init(&a->refs, 1);
	copy_machine(a, machine, machine_len);
	memcpy(a->body, cred->body, cred->len);
	a->body_len = cred->len;
	*out = a;
	return 0;
}

static int sys_accept(struct call *call, const struct opaque_auth *cred,
		      const struct opaque_auth *verf)
{
	struct rpc_conn *c = call->pub.conn;
	struct auth_sys *a;

	if (cred->len < STAMP_LEN)
		return RPC_AUTH_BADCRED;
	if (verf->flavor != RPC_AUTH_NONE || verf->len != 0)
		return RPC_AUTH_BADVERF;
	a = remembered(c, cred);
	if (!a) {
		int err = decode(cred, &a);

		if (err)
			return err;
		remember(c, a);
	}
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	call->sys = a;
	call->pub.auth = (struct rpc_auth){
		.flavor = RPC_AUTH_SYS,
		.cred = a->cred,
		.machine = a->machine,
	};
	return 0;
}

const struct auth_ops auth_sys_ops = {
	.flavor = RPC_AUTH_SYS,
	.accept = sys_accept,
	.put_verf = NULL,
};

/* callback_sec_parms4<> (RFC 8881 section 18.36.1), of CREATE_SESSION and BACKCHANNEL_CTL. */
#pragma once

#include "rpc/xdr.h"

/*
 * Of the flavors offered, what we use: AUTH_SYS with this identity, else AUTH_NONE (also if nothing
 * is offered). UINT32_MAX: there are only others, so the client cannot be called back.
 */
struct callback_sec {
	uint32_t flavor, uid, gid;
};

/* False: there are only others. A GSS handle of a callback is none that we know: NOENT. */
bool callback_sec_usable(const struct callback_sec *sec);
bool xdr_get_callback_sec(struct xdr_in *x, struct callback_sec *sec);

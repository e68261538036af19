/* open_delegation4, as OPEN and WANT_DELEGATION answer it: RFC 8881 section 18.16.2. */
#pragma once

#include "nfsd/compound.h"

struct open_delegation {
	uint32_t type; /* OPEN_DELEGATE_NONE, _READ or _WRITE */
	struct stateid stateid;
	bool recall; /* it is to be returned at once */
	bool times;  /* write: the client keeps the file's times, too */
	/* None: what was wanted (OPEN4_SHARE_ACCESS_WANT_*), and why there is none. */
	uint32_t want, why;
};

/* Bytes at most. */
#define OPEN_DELEGATION_MAX (4 + 16 + 4 + 12 + 16)

/* Of the current file. */
void put_open_delegation(struct compound *c, const struct open_delegation *d);

/* The share_access bits with wants of `minor` that have a meaning. */
uint32_t open_want_flags(uint32_t minor);

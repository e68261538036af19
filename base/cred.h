/*
 * Who a request acts as: user, group and supplementary groups. Interned: two equal
 * identities are one object, so they are compared by pointer and a thread that already
 * runs as `cred` need not switch. Immutable; reference counted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"

#define CRED_MAX_GROUPS 1024

struct cred {
	uid_t uid;
	gid_t gid;
	uint32_t ngroups;
	const gid_t *groups; /* sorted, without duplicates */
};

/* The interned identity, with a reference for the caller; NULL when out of memory. */
const struct cred *cred_get(uid_t uid, gid_t gid, const gid_t *groups, uint32_t ngroups) MUST_CHECK;
const struct cred *cred_ref(const struct cred *cred);
void cred_unref(const struct cred *cred); /* NULL is allowed */
/* root with no supplementary groups; never freed, needs no reference. */
const struct cred *cred_root(void);

/* True if `gid` is the primary or a supplementary group. */
bool cred_in_group(const struct cred *cred, gid_t gid);

/*
 * Interned identities. A table of buckets, each with its lock; an identity is in the table
 * from its making until its last reference goes. Taking the last reference and removing from
 * the table happen under the bucket's lock, so a look-up never finds a dying identity.
 */
#include "base/cred.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/lock.h"

#define BUCKETS 256

struct interned {
	struct cred cred; /* immutable */
	uint64_t hash;
	_Atomic uint32_t refs; /* holders of a reference; 1 -> 0 only under the bucket's lock */
	struct interned *next; /* under the bucket's lock */
	gid_t groups[];
};

static struct bucket {
	struct mutex lock;
	struct interned *first; /* under lock */
} buckets[BUCKETS] = { [0 ... BUCKETS - 1] = { .lock = MUTEX_INITIALIZER } };

static const struct cred root = { 0 };

static int by_gid(const void *a, const void *b)
{
	gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

	return x < y ? -1 : x > y;
}

static struct interned *interned_new(uid_t uid, gid_t gid, const gid_t *groups, uint32_t n)
{
	struct interned *c = malloc(sizeof(*c) + n * sizeof(gid_t));
	uint32_t unique = 0;

	if (!c)
		return NULL;
	if (n)
		memcpy(c->groups, groups, n * sizeof(gid_t));
	qsort(c->groups, n, sizeof(gid_t), by_gid);
	for (uint32_t i = 0; i < n; i++) {
		if (unique == 0 || c->groups[unique - 1] != c->groups[i])
			c->groups[unique++] = c->groups[i];
	}
	c->cred = (struct cred){ .uid = uid, .gid = gid, .ngroups = unique, .groups = c->groups };
	c->hash = hash_u64((uint64_t)uid << 32 | gid) ^ hash_bytes(c->groups, unique * sizeof(gid_t));
	c->refs = 1;
	return c;
}

static bool interned_equal(const struct interned *a, const struct interned *b)
{
	return a->hash == b->hash && a->cred.uid == b->cred.uid && a->cred.gid == b->cred.gid &&
	       a->cred.ngroups == b->cred.ngroups &&
	       memcmp(a->groups, b->groups, a->cred.ngroups * sizeof(gid_t)) == 0;
}

const struct cred *cred_get(uid_t uid, gid_t gid, const gid_t *groups, uint32_t ngroups)
{
	struct interned *fresh, *c;

	if (uid == 0 && gid == 0 && ngroups == 0)
		return &root;
	fresh = interned_new(uid, gid, groups, ngroups);
	if (!fresh)
		return NULL;

	struct bucket *b = &buckets[fresh->hash % BUCKETS];

	mutex_lock(&b->lock);
	for (c = b->first; c; c = c->next) {
		if (interned_equal(c, fresh))
			break;
	}
	if (c) {
		c->refs++;
	} else {
		fresh->next = b->first;
		b->first = fresh;
	}
	mutex_unlock(&b->lock);
	if (!c)
		return &fresh->cred;
	free(fresh);
	return &c->cred;
}

const struct cred *cred_ref(const struct cred *cred)
{
	if (cred != &root)
		container_of(cred, struct interned, cred)->refs++;
	return cred;
}

void cred_unref(const struct cred *cred)
{
	if (!cred || cred == &root)
		return;

	struct interned *c = container_of(cred, struct interned, cred);
	struct bucket *b = &buckets[c->hash % BUCKETS];
	uint32_t refs = c->refs;

	while (refs > 1) {
		if (atomic_compare_exchange_weak(&c->refs, &refs, refs - 1))
			return;
	}
	mutex_lock(&b->lock);
	if (--c->refs == 0) {
		struct interned **link = &b->first;

		while (*link != c)
			link = &(*link)->next;
		*link = c->next;
		free(c);
	}
	mutex_unlock(&b->lock);
}

const struct cred *cred_root(void)
{
	return &root;
}

bool cred_in_group(const struct cred *cred, gid_t gid)
{
	if (cred->gid == gid)
		return true;
	return cred->ngroups &&
	       bsearch(&gid, cred->groups, cred->ngroups, sizeof(gid), by_gid) != NULL;
}

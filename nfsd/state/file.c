/*
 * Files as the state machine knows them: a key (the filehandle's bytes), who has it open with
 * what access and denial, and the byte ranges. A file is there as long as something refers to it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/state/state_private.h"

bool state_file_is(const struct state_file *f, struct bytes key)
{
	return bytes_equal(key, f->key, f->len);
}

static struct state_file *find(struct stripe *stripe, uint64_t hash, struct bytes key)
    REQUIRES(&stripe->lock)
{
	struct table_node *n;

	table_for_each(n, &stripe->table, hash)
	{
		struct state_file *f = container_of(n, struct state_file, by_key);

		if (state_file_is(f, key))
			return f;
	}
	return NULL;
}

static struct state_file *file_new(struct bytes key)
{
	struct state_file *f = malloc(sizeof(*f) + key.len);

	if (!f)
		return NULL;
	memset(f, 0, sizeof(*f));
	mutex_init(&f->lock);
	list_init(&f->opens);
	list_init(&f->delegs);
	f->len = key.len;
	if (key.len)
		memcpy(f->key, key.p, key.len);
	return f;
}

struct state_file *state_file_get(struct state *s, struct bytes key, bool create)
{
	uint64_t hash = hash_bytes(key.p, key.len);
	struct stripe *stripe = stripe_of(s->by_file, hash);
	struct state_file *f;

	mutex_lock(&stripe->lock);
	f = find(stripe, hash, key);
	if (!f && create) {
		f = file_new(key);
		if (f) {
			table_insert(&stripe->table, &f->by_key, hash);
			s->nfiles++;
		}
	}
	if (f)
		f->refs++;
	mutex_unlock(&stripe->lock);
	return f;
}

struct state_file *state_file_ref(struct state *s, struct state_file *f)
{
	struct stripe *stripe = stripe_of(s->by_file, f->by_key.hash);

	mutex_lock(&stripe->lock);
	f->refs++;
	mutex_unlock(&stripe->lock);
	return f;
}

void state_file_put(struct state *s, struct state_file *f)
{
	struct stripe *stripe = stripe_of(s->by_file, f->by_key.hash);
	bool last;

	mutex_lock(&stripe->lock);
	last = --f->refs == 0;
	if (last)
		table_remove(&stripe->table, &f->by_key);
	mutex_unlock(&stripe->lock);
	if (!last)
		return;
	s->nfiles--;
	mutex_destroy(&f->lock);
	free(f);
}

/* Opens with one of the READ and WRITE bits. */
static bool counted(const uint32_t count[2], uint32_t bits)
{
	return ((bits & 1) && count[0]) || ((bits & 2) && count[1]);
}

struct open *state_file_conflict(struct state_file *f, uint32_t access, uint32_t deny)
{
	struct open *open;

	/* The counts decide; who it is must be looked for only if there is somebody. */
	if (!counted(f->deny_count, access) && !counted(f->access_count, deny))
		return NULL;
	list_for_each (open, &f->opens, in_file) {
		if ((open->deny & access) || (open->access & deny))
			return open;
	}
	return NULL;
}

/* access 0: is it open at all? */
bool state_file_denied(struct state *s, struct bytes key, uint32_t access,
		       uint64_t *conflict_client)
{
	struct state_file *f = state_file_get(s, key, false);
	struct open *open;

	if (!f)
		return false;
	mutex_lock(&f->lock);
	if (access == 0)
		open = list_first(&f->opens, struct open, in_file);
	else
		open = state_file_conflict(f, access, 0);
	if (open)
		*conflict_client = open->h.client->id;
	mutex_unlock(&f->lock);
	state_file_put(s, f);
	return open != NULL;
}

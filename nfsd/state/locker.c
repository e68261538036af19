/*
 * What lock-owners hold, as those see it who keep the same locks on the files themselves
 * (nfsd/local_locks.c). Everything here only reads.
 */
#include <stdlib.h>
#include <string.h>

#include "nfsd/state/state_private.h"

bool state_locker(struct state *s, const struct stateid *id, struct state_locker *out)
{
	struct client *c = stateid_is_special(id) ? NULL
						  : client_get_counter(s, stateid_counter(id));
	struct held *h;
	bool is_lock;

	if (!c)
		return false;
	mutex_lock(&c->lock);
	h = c->dead ? NULL : held_find(s, c, id);
	is_lock = h && h->kind == HELD_LOCK && h->owner->len <= sizeof(out->owner) &&
		  h->file->len <= sizeof(out->file);
	if (is_lock) {
		out->clientid = c->id;
		out->owner_len = h->owner->len;
		memcpy(out->owner, h->owner->bytes, h->owner->len);
		out->file_len = h->file->len;
		memcpy(out->file, h->file->key, h->file->len);
	}
	mutex_unlock(&c->lock);
	client_unref(c);
	return is_lock;
}

static size_t copy_spans(struct state_file *f, const struct owner *owner, struct span within,
			 struct state_span *out, size_t cap) REQUIRES(&f->lock)
{
	const struct lock_state *st;
	uint64_t from = within.first;
	struct span span;
	bool exclusive;
	size_t n = 0;

	while (n < cap && ranges_next(f, owner, from, &span, &exclusive, &st) &&
	       span.first <= within.last) {
		out[n++] = (struct state_span){ span.first, span.last, exclusive };
		if (span.last >= within.last)
			break;
		from = span.last + 1;
	}
	return n;
}

size_t state_lock_spans(struct state *s, uint64_t clientid, struct bytes owner, struct bytes file,
			uint64_t first, uint64_t last, struct state_span *out, size_t cap)
{
	struct client *c = client_get(s, clientid);
	struct state_file *f = c ? state_file_get(s, file, false) : NULL;
	const struct owner *o;
	size_t n = 0;

	if (f) {
		mutex_lock(&c->lock);
		o = c->dead ? NULL : owner_find_known(c, OWNER_LOCK, owner);
		if (o) {
			mutex_lock(&f->lock);
			n = copy_spans(f, o, (struct span){ first, last }, out, cap);
			mutex_unlock(&f->lock);
		}
		mutex_unlock(&c->lock);
		state_file_put(s, f);
	}
	if (c)
		client_unref(c);
	return n;
}

/* ---- all that are on files, too ---- */

struct stateids {
	struct stateid *all;
	size_t n, cap;
};

static bool add_stateid(struct stateids *ids, const struct stateid *id)
{
	if (ids->n == ids->cap) {
		size_t cap = ids->cap ? 2 * ids->cap : 64;
		struct stateid *all = reallocarray(ids->all, cap, sizeof(*all));

		if (!all)
			return false;
		ids->all = all;
		ids->cap = cap;
	}
	ids->all[ids->n++] = *id;
	return true;
}

static bool add_client(struct state *s, struct client *c, struct stateids *ids)
{
	struct owner *owner;
	struct stateid id;
	struct held *h;
	bool ok = true;

	mutex_lock(&c->lock);
	list_for_each (owner, &c->busy, in_client) {
		if (owner->kind != OWNER_LOCK)
			continue;
		list_for_each (h, &owner->states, in_owner) {
			if (!held_lock(h)->local || held_lock(h)->nranges == 0)
				continue;
			stateid_fill(s, h, &id);
			ok = ok && add_stateid(ids, &id);
		}
	}
	mutex_unlock(&c->lock);
	return ok;
}

static bool add_one(struct state *s, uint64_t clientid, struct stateids *ids)
{
	struct client *c = client_get(s, clientid);
	bool ok = !c || add_client(s, c, ids);

	if (c)
		client_unref(c);
	return ok;
}

static bool add_all(struct state *s, struct stateids *ids)
{
	struct client *c;
	bool ok = true;

	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients)
		ok = ok && add_client(s, c, ids);
	mutex_unlock(&s->names_lock);
	return ok;
}

int state_local_locks(struct state *s, uint64_t clientid, struct stateid **out, size_t *n)
{
	struct stateids ids = { 0 };
	bool ok = clientid ? add_one(s, clientid, &ids) : add_all(s, &ids);

	if (!ok) {
		free(ids.all);
		return -ENOMEM;
	}
	*out = ids.all;
	*n = ids.n;
	return 0;
}

/*
 * Ways back to clients, see back.h. Everything here is the node's own knowledge: read under the
 * locks of its objects, and no command ever depends on it.
 */
#include <string.h>

#include "nfsd/state/back.h"
#include "nfsd/state/state_private.h"

/* ------------------------------------------------------------------- sessions ---- */

static unsigned count_back(const struct session *session) REQUIRES(&session->lock)
{
	const struct binding *b;
	unsigned n = 0;

	list_for_each (b, &session->bindings, in_session)
		n += (b->dir & CDFS4_BACK) != 0;
	return n;
}

static uint32_t back_slots(const struct session *session)
{
	uint32_t asked = session->back.max_slots;

	if (asked == 0)
		return 1;
	return asked < BACK_SLOTS_MAX ? asked : BACK_SLOTS_MAX;
}

bool state_back_channel(struct state *s, const struct sessionid *id, struct back_channel *out)
{
	struct session *session = session_get(s, id);
	bool dead;

	if (!session)
		return false;
	mutex_lock(&session->lock);
	dead = session->dead;
	*out = (struct back_channel){
		.clientid = session->client->id,
		.minor = session->minor,
		.program = session->cb_program,
		.flavor = session->cb_flavor,
		.uid = session->cb_uid,
		.gid = session->cb_gid,
		.attrs = session->back,
		.nslots = back_slots(session),
		.path = session->back_path,
		.nconns = count_back(session),
	};
	memcpy(out->seqids, session->back_seqids, sizeof(out->seqids));
	mutex_unlock(&session->lock);
	session_unref(s, session);
	return !dead;
}

unsigned state_back_conns(struct state *s, const struct sessionid *id, uint64_t *conn_ids,
			  unsigned cap)
{
	struct session *session = session_get(s, id);
	struct list *at;
	unsigned n = 0;

	if (!session)
		return 0;
	mutex_lock(&session->lock);
	for (at = session->bindings.prev; at != &session->bindings && n < cap; at = at->prev) {
		const struct binding *b = list_entry(at, struct binding, in_session);

		if (b->dir & CDFS4_BACK)
			conn_ids[n++] = b->conn_id;
	}
	mutex_unlock(&session->lock);
	session_unref(s, session);
	return n;
}

void state_back_answered(struct state *s, const struct sessionid *id, uint32_t slot, uint32_t seqid)
{
	struct session *session = session_get(s, id);

	if (!session)
		return;
	mutex_lock(&session->lock);
	if (slot < BACK_SLOTS_MAX)
		session->back_seqids[slot] = seqid;
	mutex_unlock(&session->lock);
	session_unref(s, session);
}

void state_set_back_path(struct state *s, const struct sessionid *id, enum back_path path)
{
	struct session *session = session_get(s, id);

	if (!session)
		return;
	mutex_lock(&session->lock);
	session->back_path = path;
	mutex_unlock(&session->lock);
	session_unref(s, session);
}

bool state_slot_is_current(struct state *s, const struct sessionid *id, uint32_t slot,
			   uint32_t seqid)
{
	struct session *session = session_get(s, id);
	const struct slot *chunk;
	bool current = false;

	if (!session)
		return false;
	mutex_lock(&session->lock);
	if (slot < session->nslots) {
		chunk = session->chunks[slot / SLOTS_PER_CHUNK];
		current = chunk && chunk[slot % SLOTS_PER_CHUNK].used &&
			  chunk[slot % SLOTS_PER_CHUNK].seqid == seqid;
	}
	mutex_unlock(&session->lock);
	session_unref(s, session);
	return current;
}

void session_back_bound(struct session *session)
{
	session->had_back = true;
	if (session->back_path == BACK_UP)
		return;
	session->back_path = BACK_UNTRIED;
	session->back_probe = true;
}

void session_back_unbound(struct session *session)
{
	if (count_back(session) == 0 && session->back_path == BACK_UP)
		session->back_path = BACK_UNTRIED;
}

/* -------------------------------------------------------------------- clients ---- */

bool state_callback_address(struct state *s, uint64_t clientid, struct callback_address *out)
{
	struct client *c;

	if (client_get_v40(s, clientid, &c) != NFS4_OK)
		return false;
	mutex_lock(&s->names_lock);
	out->program = c->callback.program;
	out->ident = c->callback.ident;
	memcpy(out->netid, c->callback.netid, sizeof(out->netid));
	memcpy(out->addr, c->callback.addr, sizeof(out->addr));
	mutex_unlock(&s->names_lock);
	client_unref(c);
	return true;
}

void state_set_callback_path(struct state *s, uint64_t clientid, enum back_path path)
{
	struct client *c = client_get(s, clientid);

	if (!c)
		return;
	atomic_store_explicit(&c->callback_path, path, memory_order_relaxed);
	client_unref(c);
}

static bool session_is_up(struct session *session)
{
	bool up;

	mutex_lock(&session->lock);
	up = session->back_path == BACK_UP && count_back(session) > 0;
	mutex_unlock(&session->lock);
	return up;
}

bool state_callback_up(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	struct session *session;
	bool up;

	if (!c)
		return false;
	up = atomic_load_explicit(&c->callback_path, memory_order_relaxed) == BACK_UP;
	if (!c->v40) {
		mutex_lock(&c->lock);
		list_for_each (session, &c->sessions, in_client) {
			up = session_is_up(session);
			if (up)
				break;
		}
		mutex_unlock(&c->lock);
	}
	client_unref(c);
	return up;
}

/* ---------------------------------------------------------------------- locks ---- */

bool state_lock_is_free(struct state *s, uint64_t clientid, struct bytes owner, struct bytes file,
			enum nfs_lock_type4 type, struct lock_range range)
{
	bool exclusive = type == WRITE_LT || type == WRITEW_LT;
	struct client *c = client_get(s, clientid);
	struct state_file *f;
	struct span span;
	bool is_free = true;

	if (!c)
		return false;
	f = span_from(range, &span) == NFS4_OK ? state_file_get(s, file, false) : NULL;
	if (f) {
		mutex_lock(&c->lock);
		mutex_lock(&f->lock);
		is_free = !ranges_conflict(f, owner_find_known(c, OWNER_LOCK, owner), span,
					   exclusive);
		mutex_unlock(&f->lock);
		mutex_unlock(&c->lock);
		state_file_put(s, f);
	}
	client_unref(c);
	return is_free;
}

uint32_t state_lock_owner(struct state *s, uint64_t clientid, const struct stateid *id,
			  uint8_t owner[NFS4_OPAQUE_LIMIT])
{
	struct client *c = client_get(s, clientid);
	struct held *h;
	uint32_t len = 0;

	if (!c)
		return 0;
	mutex_lock(&c->lock);
	h = c->dead ? NULL : held_find(s, c, id);
	if (h && h->kind == HELD_LOCK && h->owner->len <= NFS4_OPAQUE_LIMIT) {
		len = h->owner->len;
		memcpy(owner, h->owner->bytes, len);
	}
	mutex_unlock(&c->lock);
	client_unref(c);
	return len;
}

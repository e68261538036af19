/*
 * The grace period after a start without the state of before, and who may reclaim in it (RFC 7530
 * section 9.6.2, RFC 8881 section 8.4.2).
 *
 *	START_GRACE --> active --END_GRACE (time is up), or the last entry is done--> over
 *
 * It begins with the list of the clients that held something, as stable storage knows it, or
 * with the admission that nobody knows (anybody: then it lasts its whole time). While it is active
 * there are only reclaims; each of the clients listed is waited for until it is done:
 *  - with sessions, when it has sent RECLAIM_COMPLETE;
 *  - minor version 0 says nothing of that kind. A client is done with its first request for
 *    something new after it has reclaimed something: clients recover before they let
 *    applications go on. One that came back with another verifier has rebooted, and has
 *    nothing to reclaim;
 *  - when it destroys its client ID.
 * It may still not get what it held, if that conflicts with what another has reclaimed.
 *
 * In a cluster that starts after a full outage each node has a list, and some may know of a client
 * what others do not: each node adds its own (START_GRACE with more_to_come) as it comes, as long as
 * nothing new has been granted. A node that was away before the outage has an old list, with clients on it whose
 * locks others may have got since (RFC 8881 section 8.4.2.1): of lists of different generations only
 * those of the latest count, and nobody may reclaim until all lists that can be had are there (`complete`).
 * Such a grace period does not end by itself, because there may be more to come: the lowest node
 * ends it, see recorder.c.
 *
 * Clients are known by their key: kind, owner string, principal. Somebody else who uses a
 * listed client's owner string is not that client.
 *
 * Also here: whether a client is to be on the list next time. It is recorded with the first open
 * that is granted to it, for minor version 0 once that is confirmed, and forgotten, before
 * anything of it becomes free, when it is destroyed, replaced or expired; also when a delegation was
 * revoked, until it has acknowledged that (RFC 8881 section 8.4.3).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/state/state_private.h"

/* ------------------------------------------------------------------------- keys ---- */

int client_make_key(struct client *c, struct bytes owner)
{
	uint32_t len = htobe32(owner.len);

	c->key_len = (uint32_t)(1 + sizeof(len)) + owner.len + c->principal_len;
	c->key = malloc(c->key_len);
	if (!c->key)
		return -ENOMEM;
	c->key[0] = c->v40 ? 0 : 1;
	memcpy(c->key + 1, &len, sizeof(len));
	if (owner.len)
		memcpy(c->key + 1 + sizeof(len), owner.p, owner.len);
	if (c->principal_len)
		memcpy(c->key + 1 + sizeof(len) + owner.len, c->principal, c->principal_len);
	return 0;
}

static struct grace_entry *find(struct grace *g, struct bytes key) REQUIRES(&g->lock)
{
	uint64_t hash = hash_bytes(key.p, key.len);
	struct table_node *n;

	table_for_each(n, &g->entries, hash)
	{
		struct grace_entry *e = container_of(n, struct grace_entry, node);

		if (bytes_equal(key, e->key, e->len))
			return e;
	}
	return NULL;
}

static struct grace_entry *find_client(struct grace *g, const struct client *c) REQUIRES(&g->lock)
{
	return find(g, (struct bytes){ c->key, c->key_len });
}

static struct grace_entry *find_listed(struct grace *g, const struct client *c) REQUIRES(&g->lock)
{
	struct grace_entry *e = find_client(g, c);

	return e && !e->stale ? e : NULL;
}

/* ---------------------------------------------------------------- start and end ---- */

void grace_init(struct grace *g)
{
	mutex_init(&g->lock);
}

static void free_entries(struct grace *g) REQUIRES(&g->lock)
{
	for (uint32_t i = 0; i < g->nentries; i++) {
		table_remove(&g->entries, &g->all[i]->node);
		free(g->all[i]);
	}
	free(g->all);
	g->all = NULL;
	g->nentries = g->room = 0;
}

void grace_destroy(struct grace *g)
{
	mutex_lock(&g->lock);
	free_entries(g);
	mutex_unlock(&g->lock);
	table_free(&g->entries);
	mutex_destroy(&g->lock);
}

static void end(struct grace *g) REQUIRES(&g->lock)
{
	g->active = false;
	g->ended = true;
	free_entries(g);
}

static void done(struct grace *g, struct grace_entry *e) REQUIRES(&g->lock)
{
	if (e->done)
		return;
	e->done = true;
	if (!e->stale && --g->waiting == 0 && !g->anybody && !g->more_to_come)
		end(g);
}

static bool have_room(struct grace *g) REQUIRES(&g->lock)
{
	uint32_t room = g->room ? 2 * g->room : 16;
	struct grace_entry **more;

	if (g->nentries < g->room)
		return true;
	more = reallocarray(g->all, room, sizeof(struct grace_entry *));
	if (!more)
		return false;
	g->all = more;
	g->room = room;
	return true;
}

static void count_in(struct grace *g, struct grace_entry *e) REQUIRES(&g->lock)
{
	if (!e->stale)
		return;
	e->stale = false;
	g->listed++;
	g->waiting += !e->done;
}

static bool add(struct grace *g, const struct state_reclaimer *r) REQUIRES(&g->lock)
{
	struct grace_entry *e = find(g, r->key);

	if (e) {
		count_in(g, e);
		return true;
	}
	if (!have_room(g))
		return false;
	e = malloc(sizeof(*e) + r->key.len);
	if (!e)
		return false;
	*e = (struct grace_entry){ .verifier = r->verifier, .len = r->key.len, .stale = true };
	memcpy(e->key, r->key.p, r->key.len);
	table_insert(&g->entries, &e->node, hash_bytes(e->key, e->len));
	g->all[g->nentries++] = e;
	count_in(g, e);
	return true;
}

bool grace_restore(struct grace *g, struct bytes key, const struct nfs_verifier *verifier,
		   bool is_done, bool stale)
{
	const struct state_reclaimer r = { .key = key, .verifier = *verifier };
	uint32_t before = g->nentries, listed = g->listed, waiting = g->waiting;

	if (!add(g, &r) || g->nentries == before)
		return false;
	g->all[g->nentries - 1]->done = is_done;
	g->all[g->nentries - 1]->stale = stale;
	g->listed = listed;
	g->waiting = waiting;
	return true;
}

/* < 0, 0, > 0: the command's list is older, as old, later than what is there. */
static int compare_generation(const struct grace *g, const struct state_command *cmd)
    REQUIRES(&g->lock)
{
	for (unsigned i = 0; i < ARRAY_SIZE(g->generation); i++) {
		if (cmd->start_grace.generation[i] != g->generation[i])
			return cmd->start_grace.generation[i] < g->generation[i] ? -1 : 1;
	}
	return 0;
}

/* A later list has come: what the others said does not count. */
static void outdate(struct grace *g) REQUIRES(&g->lock)
{
	for (uint32_t i = 0; i < g->nentries; i++)
		g->all[i]->stale = true;
	g->listed = g->waiting = 0;
	g->anybody = false;
}

/* Nobody has anything to reclaim if nobody is listed. */
static enum nfsstat4 complete(struct grace *g) REQUIRES(&g->lock)
{
	if (!g->started || !g->more_to_come)
		return NFS4ERR_INVAL;
	g->complete = true;
	if (g->active && !g->anybody && g->listed == 0)
		end(g);
	return NFS4_OK;
}

/*
 * Only at the very start, before there is any client; or, of several nodes, before anything new has
 * been granted. Those who were listed already and are done stay so.
 */
static enum nfsstat4 start(struct state *s, struct grace *g, const struct state_command *cmd)
    REQUIRES(&g->lock)
{
	bool more = cmd->start_grace.more_to_come;
	int order = compare_generation(g, cmd);

	if (cmd->start_grace.complete)
		return complete(g);
	if (g->started && (!more || !g->more_to_come || s->granted || order < 0))
		return NFS4ERR_INVAL;
	if (!g->active)
		g->listed = g->waiting = 0;
	if (order > 0) {
		outdate(g);
		memcpy(g->generation, cmd->start_grace.generation, sizeof(g->generation));
	}
	for (uint32_t i = 0; i < cmd->start_grace.n; i++) {
		if (add(g, &cmd->start_grace.clients[i]))
			continue;
		if (!g->started) {
			free_entries(g);
			g->listed = g->waiting = 0;
		}
		return out_of_memory(1);
	}
	g->anybody |= cmd->start_grace.anybody;
	g->started = true;
	g->more_to_come = more;
	g->active = g->anybody || g->listed || (more && !g->complete);
	return NFS4_OK;
}

enum nfsstat4 cmd_start_grace(struct state *s, const struct state_command *cmd,
			      struct state_result *result, const struct state_effects *effects)
{
	enum nfsstat4 status;

	mutex_lock(&s->grace.lock);
	status = start(s, &s->grace, cmd);
	mutex_unlock(&s->grace.lock);
	return status;
}

enum nfsstat4 cmd_end_grace(struct state *s, const struct state_command *cmd,
			    struct state_result *result, const struct state_effects *effects)
{
	struct grace *g = &s->grace;

	mutex_lock(&g->lock);
	if (g->active)
		end(g);
	mutex_unlock(&g->lock);
	return NFS4_OK;
}

/* -------------------------------------------------------------- a client's part ---- */

void grace_client_confirmed(struct state *s, struct client *c)
{
	struct grace *g = &s->grace;
	struct grace_entry *e;

	if (!g->active)
		return;
	mutex_lock(&g->lock);
	e = find_client(g, c);
	if (e && c->v40 && memcmp(&e->verifier, &c->verifier, sizeof(e->verifier)) != 0)
		done(g, e);
	else if (e && !c->v40 && !e->done && !e->stale)
		c->reclaim_needed = true;
	mutex_unlock(&g->lock);
}

void grace_client_done(struct state *s, struct client *c)
{
	struct grace *g = &s->grace;
	struct grace_entry *e;

	c->reclaim_needed = false;
	if (!g->active)
		return;
	mutex_lock(&g->lock);
	e = find_client(g, c);
	if (e)
		done(g, e);
	mutex_unlock(&g->lock);
}

/*
 * Whoever is not listed may have lost what it held to somebody else: that is NO_GRACE, after which
 * a client tries to get its files anew (RFC 8881 section 8.4.3).
 */
enum nfsstat4 grace_may_reclaim(struct state *s, const struct client *c)
{
	struct grace *g = &s->grace;
	enum nfsstat4 status = NFS4ERR_NO_GRACE;
	struct grace_entry *e;

	if (!g->active || (!c->v40 && c->reclaim_complete))
		return NFS4ERR_NO_GRACE;
	mutex_lock(&g->lock);
	e = find_listed(g, c);
	if (g->active && g->more_to_come && !g->complete)
		status = NFS4ERR_DELAY;
	else if (g->active && (g->anybody || (e && (c->v40 || !e->done))))
		status = NFS4_OK;
	mutex_unlock(&g->lock);
	return status;
}

enum nfsstat4 grace_may_claim_new(struct state *s, const struct client *c)
{
	if (s->grace.active || (!c->v40 && !c->reclaim_complete))
		return NFS4ERR_GRACE;
	return NFS4_OK;
}

bool state_in_grace(struct state *s)
{
	return s->grace.active;
}

enum nfsstat4 state_may_reclaim(struct state *s, uint32_t minor, uint64_t clientid)
{
	struct client *c;
	enum nfsstat4 status = NFS4_OK;

	if (minor == 0)
		status = client_get_v40(s, clientid, &c);
	else if (!(c = client_get(s, clientid)))
		status = NFS4ERR_EXPIRED;
	if (status)
		return status;
	status = grace_may_reclaim(s, c);
	client_unref(c);
	return status;
}

bool state_grace_is_open(struct state *s)
{
	struct grace *g = &s->grace;
	bool open;

	mutex_lock(&g->lock);
	open = !s->granted && (!g->started || g->active);
	mutex_unlock(&g->lock);
	return open;
}

bool state_grace_is_done(struct state *s)
{
	struct grace *g = &s->grace;
	bool is_done;

	mutex_lock(&g->lock);
	is_done = g->active && !g->anybody && g->waiting == 0 && (!g->more_to_come || g->complete);
	mutex_unlock(&g->lock);
	return is_done;
}

bool state_grace_gathers(struct state *s)
{
	struct grace *g = &s->grace;
	bool gathers;

	mutex_lock(&g->lock);
	gathers = g->active && g->more_to_come && !g->complete;
	mutex_unlock(&g->lock);
	return gathers;
}

bool state_grace_generation(struct state *s, uint64_t generation[3])
{
	struct grace *g = &s->grace;
	bool complete;

	mutex_lock(&g->lock);
	complete = g->complete;
	memcpy(generation, g->generation, sizeof(g->generation));
	mutex_unlock(&g->lock);
	return complete;
}

void state_grace_progress(struct state *s, uint32_t *listed, uint32_t *waiting)
{
	mutex_lock(&s->grace.lock);
	*listed = s->grace.listed;
	*waiting = s->grace.waiting;
	mutex_unlock(&s->grace.lock);
}

void grace_announce(struct state *s, const struct state_effects *effects)
{
	if (atomic_exchange(&s->grace.ended, false) && effects->emit)
		effects->emit(effects->arg, &(struct state_effect){ .type = EFFECT_GRACE_ENDED });
}

/* ------------------------------------------------------------ for the next time ---- */

/*
 * Something was taken from it and it has not said that it knows, which minor version 0 cannot: what
 * it would reclaim may be somebody else's by now.
 */
static bool unaware(const struct client *c) REQUIRES(&c->lock)
{
	return c->nrevoked || (c->v40 && c->kept_deleg);
}

void client_granted(struct client *c, struct after *after)
{
	if (c->recorded || unaware(c))
		return;
	c->recorded = true;
	after->record = c->id;
}

static void emit_forget(const struct client *c, const struct state_effects *effects)
{
	if (effects->emit)
		effects->emit(effects->arg,
			      &(struct state_effect){ .type = EFFECT_CLIENT_FORGET,
						      .clientid = c->id,
						      .key = { c->key, c->key_len } });
}

void client_revoked(struct client *c, const struct state_effects *effects)
{
	if (!c->recorded)
		return;
	/* First, lest a promise takes the record anew once it is forgotten. */
	c->recorded = false;
	emit_forget(c, effects);
}

void client_acknowledged(struct client *c, struct after *after)
{
	if (c->nopens || c->ndelegs)
		client_granted(c, after);
}

void client_forget(struct client *c, const struct state_effects *effects)
{
	if (c->recorded)
		emit_forget(c, effects);
}

static int copy_record(const struct client *c, struct state_record *out)
{
	out->key = malloc(c->key_len);
	if (!out->key)
		return -ENOMEM;
	memcpy(out->key, c->key, c->key_len);
	out->key_len = c->key_len;
	out->verifier = c->verifier;
	return 0;
}

int state_record_take(struct state *s, uint64_t clientid, struct state_record *out)
{
	struct client *c = client_get(s, clientid);
	int err;

	if (!c)
		return -ENOENT;
	if (!c->recorded)
		err = -ENOENT;
	else
		err = c->record == RECORD_NONE ? copy_record(c, out) : -EALREADY;
	if (err == 0)
		c->record = RECORD_TAKEN;
	client_unref(c);
	return err;
}

void state_record_untake(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);

	if (!c)
		return;
	c->record = RECORD_NONE;
	client_unref(c);
}

void state_record_stored(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	enum record taken = RECORD_TAKEN;

	if (!c)
		return;
	/* Not if it has been removed since. */
	atomic_compare_exchange_strong(&c->record, &taken, RECORD_STORED);
	client_unref(c);
}

bool state_record_is_stored(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	bool stored;

	if (!c)
		return true; /* there is nothing to store */
	stored = c->record == RECORD_STORED || !c->recorded;
	client_unref(c);
	return stored;
}

int state_recorded_clients(struct state *s, uint64_t **ids, size_t *n)
{
	struct client *c;
	int err = 0;

	*n = 0;
	mutex_lock(&s->names_lock);
	*ids = malloc((s->nclients ? s->nclients : 1) * sizeof(**ids));
	if (!*ids)
		err = -ENOMEM;
	list_for_each (c, &s->clients, in_clients)
		if (!err && c->recorded)
			(*ids)[(*n)++] = c->id;
	mutex_unlock(&s->names_lock);
	return err;
}

/*
 * Client records: how a client becomes known, confirmed, replaced and forgotten.
 *
 * An owner string (client_name) has at most one confirmed and one unconfirmed record. The
 * unconfirmed one comes from SETCLIENTID or EXCHANGE_ID and is replaced by the next; it
 * becomes the confirmed one by SETCLIENTID_CONFIRM or the first CREATE_SESSION, and what was
 * confirmed before goes with all its state.
 *
 *	(none) --SETCLIENTID/EXCHANGE_ID--> unconfirmed --CONFIRM/CREATE_SESSION--> confirmed
 *	   ^                                     |                                     |
 *	   `--- replaced, evicted, expired ------'      replaced, destroyed, expired --'
 *
 * All of that happens under names_lock. A record that leaves is first taken out of the names
 * and of the table (client_withdraw), so that nobody finds it any more, and then, without
 * names_lock, emptied (client_destroy): that may take long.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/state/state_private.h"

/* ------------------------------------------------------------ finding a record ---- */

struct client *client_get_counter(struct state *s, uint32_t counter)
{
	uint64_t hash = hash_u64(counter);
	struct stripe *stripe = stripe_of(s->by_clientid, hash);
	struct client *found = NULL;
	struct table_node *n;

	mutex_lock(&stripe->lock);
	table_for_each(n, &stripe->table, hash)
	{
		struct client *c = container_of(n, struct client, by_id);

		if (c->counter == counter) {
			atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
			found = c;
			break;
		}
	}
	mutex_unlock(&stripe->lock);
	return found;
}

struct client *client_get(struct state *s, uint64_t clientid)
{
	if (clientid >> 32 != s->config.epoch)
		return NULL;
	return client_get_counter(s, (uint32_t)clientid);
}

void client_unref(struct client *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	table_free(&c->owners);
	table_free(&c->pairs);
	cond_destroy(&c->owner_released);
	mutex_destroy(&c->lock);
	free(c->update);
	free(c->principal);
	free(c->key);
	free(c);
}

enum nfsstat4 client_missing(struct state *s, uint64_t clientid)
{
	uint32_t counter = (uint32_t)clientid;

	if (clientid >> 32 != s->config.epoch || counter == 0 || counter > s->last_client)
		return NFS4ERR_STALE_CLIENTID;
	return NFS4ERR_EXPIRED;
}

enum nfsstat4 client_get_v40(struct state *s, uint64_t clientid, struct client **out)
{
	struct client *c = client_get(s, clientid);

	if (!c)
		return client_missing(s, clientid);
	if (!c->v40 || !c->confirmed) {
		client_unref(c);
		return NFS4ERR_STALE_CLIENTID;
	}
	*out = c;
	return NFS4_OK;
}

/* Locks come with opens; sessions are state as well (RFC 8881 section 2.4.2). */
static bool client_has_state(struct client *c)
{
	bool sessions;

	mutex_lock(&c->lock);
	sessions = c->nsessions != 0;
	mutex_unlock(&c->lock);
	return sessions || c->nopens != 0 || c->ndelegs != 0;
}

static bool same_principal(const struct client *c, const struct state_command *cmd)
{
	return bytes_equal(cmd->principal, c->principal, c->principal_len);
}

static bool same_verifier(const struct nfs_verifier *a, const struct nfs_verifier *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* ------------------------------------------------------------------------ names ---- */

static struct client_name *name_find(struct state *s, bool v40, struct bytes owner)
    REQUIRES(&s->names_lock)
{
	uint64_t hash = hash_bytes(owner.p, owner.len) + v40;
	struct table_node *n;

	table_for_each(n, &s->names, hash)
	{
		struct client_name *name = container_of(n, struct client_name, node);

		if (name->v40 == v40 && bytes_equal(owner, name->bytes, name->len))
			return name;
	}
	return NULL;
}

static struct client_name *name_new(bool v40, struct bytes owner)
{
	struct client_name *name = malloc(sizeof(*name) + owner.len);

	if (!name)
		return NULL;
	*name = (struct client_name){ .v40 = v40, .len = owner.len };
	if (owner.len)
		memcpy(name->bytes, owner.p, owner.len);
	return name;
}

/* ----------------------------------------------------------- coming and going ---- */

static struct client *client_new(struct state *s, bool v40, struct bytes owner,
				 const struct nfs_verifier *verifier, struct bytes principal)
{
	struct client *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->principal = malloc(principal.len ? principal.len : 1);
	if (!c->principal) {
		free(c);
		return NULL;
	}
	if (principal.len)
		memcpy(c->principal, principal.p, principal.len);
	c->principal_len = principal.len;
	c->refs = 1;
	c->v40 = v40;
	if (client_make_key(c, owner) != 0) {
		free(c->principal);
		free(c);
		return NULL;
	}
	c->verifier = *verifier;
	mutex_init(&c->lock);
	cond_init(&c->owner_released);
	list_init(&c->in_clients);
	list_init(&c->in_unconfirmed);
	list_init(&c->busy);
	list_init(&c->idle);
	list_init(&c->delegs);
	list_init(&c->sessions);
	return c;
}

/* Takes the record out of the names and the table: nobody finds it any more. */
static void client_withdraw(struct state *s, struct client *c) REQUIRES(&s->names_lock)
{
	struct client_name *name = c->name;
	struct stripe *stripe = stripe_of(s->by_clientid, c->by_id.hash);

	if (name->confirmed == c)
		name->confirmed = NULL;
	if (name->unconfirmed == c)
		name->unconfirmed = NULL;
	if (!name->confirmed && !name->unconfirmed) {
		table_remove(&s->names, &name->node);
		free(name);
	}
	c->name = NULL;
	list_remove(&c->in_clients);
	list_remove(&c->in_unconfirmed);
	s->nclients--;
	mutex_lock(&stripe->lock);
	table_remove(&stripe->table, &c->by_id);
	mutex_unlock(&stripe->lock);
}

static void empty_owner(struct state *s, struct client *c, struct owner *o, struct after *after)
    REQUIRES(&c->lock)
{
	o->refs++; /* with sessions it goes with its last stateid */
	while (!list_empty(&o->states)) {
		struct held *h = list_first(&o->states, struct held, in_owner);

		if (h->kind == HELD_OPEN)
			open_unlink(s, c, held_open(h), after);
		else
			lock_state_free(s, c, held_lock(h), after);
	}
	owner_unref(o);
}

static void empty_owners(struct state *s, struct client *c, struct after *after) REQUIRES(&c->lock)
{
	while (!list_empty(&c->busy))
		empty_owner(s, c, list_first(&c->busy, struct owner, in_client), after);
	while (!list_empty(&c->idle))
		owner_unlink(s, c, list_first(&c->idle, struct owner, in_client));
}

void client_destroy(struct state *s, struct client *c, const struct state_effects *effects)
{
	struct after after;
	struct state_effect gone = { .type = EFFECT_CLIENT_GONE };

	if (!c)
		return;
	gone.clientid = c->id;
	client_forget(c, effects);
	after_init(&after);
	mutex_lock(&c->lock);
	c->dead = true;
	while (!list_empty(&c->sessions))
		session_unlink(s, c, list_first(&c->sessions, struct session, in_client), &after);
	while (!list_empty(&c->delegs))
		deleg_unlink(s, c, held_deleg(list_first(&c->delegs, struct held, in_owner)),
			     &after);
	empty_owners(s, c, &after);
	cond_broadcast(&c->owner_released);
	mutex_unlock(&c->lock);
	finish(s, &after, effects);
	if (effects->emit)
		effects->emit(effects->arg, &gone);
	client_unref(c);
}

/* At the limit the oldest record that was never confirmed makes room. */
static enum nfsstat4 client_room(struct state *s, uint32_t minor, struct client **evicted)
    REQUIRES(&s->names_lock)
{
	struct client *c;

	if (s->last_client == UINT32_MAX)
		return NFS4ERR_SERVERFAULT; /* 2^32 clients in one epoch: a restart is due */
	if (s->nclients < s->config.limits.max_clients)
		return NFS4_OK;
	c = list_first(&s->unconfirmed, struct client, in_unconfirmed);
	if (!c)
		return over_limit(minor);
	client_withdraw(s, c);
	*evicted = c;
	return NFS4_OK;
}

/* Was it the number of clients that stood in the way? */
static void note_full(struct state *s, enum nfsstat4 status, struct state_result *result)
    REQUIRES(&s->names_lock)
{
	result->over_limit = (status == NFS4ERR_RESOURCE || status == NFS4ERR_DELAY) &&
			     s->nclients >= s->config.limits.max_clients;
}

/* Gives a new record its ID and makes it the name's unconfirmed one. */
static void client_establish(struct state *s, struct client *c, struct client_name *name,
			     uint32_t home) REQUIRES(&s->names_lock)
{
	uint64_t hash;
	struct stripe *stripe;

	c->counter = ++s->last_client;
	c->id = (uint64_t)s->config.epoch << 32 | c->counter;
	c->home = home;
	c->name = name;
	name->unconfirmed = c;
	list_push_back(&s->clients, &c->in_clients);
	list_push_back(&s->unconfirmed, &c->in_unconfirmed);
	s->nclients++;
	client_heard(s, c);
	hash = hash_u64(c->counter);
	stripe = stripe_of(s->by_clientid, hash);
	mutex_lock(&stripe->lock);
	table_insert(&stripe->table, &c->by_id, hash);
	mutex_unlock(&stripe->lock);
}

struct client *client_restore(struct state *s, uint32_t counter, bool v40, bool confirmed,
			      struct bytes owner, const struct nfs_verifier *verifier,
			      struct bytes principal)
{
	struct client_name *name = name_find(s, v40, owner);
	struct client *c;

	if (name && (name->unconfirmed || (name->confirmed && confirmed)))
		return NULL;
	c = client_new(s, v40, owner, verifier, principal);
	if (!c)
		return NULL;
	if (!name) {
		name = name_new(v40, owner);
		if (!name) {
			client_unref(c);
			return NULL;
		}
		table_insert(&s->names, &name->node, hash_bytes(owner.p, owner.len) + v40);
	}
	s->last_client = counter - 1;
	client_establish(s, c, name, s->node);
	if (confirmed) {
		name->confirmed = c;
		name->unconfirmed = NULL;
		c->confirmed = true;
		list_remove(&c->in_unconfirmed);
	}
	return c;
}

struct client *client_confirm(struct state *s, struct client *c)
{
	struct client *old = c->name->confirmed;

	c->name->confirmed = c;
	c->name->unconfirmed = NULL;
	c->confirmed = true;
	list_remove(&c->in_unconfirmed);
	grace_client_confirmed(s, c);
	if (old)
		client_withdraw(s, old);
	return old;
}

/* The client has asked where the command comes from: that is its home. */
static void settle_asker(struct state *s, uint64_t clientid, const struct state_command *cmd,
			 const struct state_effects *effects)
{
	struct client *c = client_get(s, clientid);

	if (!c)
		return;
	client_asked(s, c, command_node(cmd), effects);
	client_unref(c);
}

/* ------------------------------------------------- SETCLIENTID (RFC 7530 16.33) ---- */

static void copy_text(char *to, size_t size, struct bytes from)
{
	memset(to, 0, size);
	if (from.len && from.len < size)
		memcpy(to, from.p, from.len);
}

static void callback_fill(struct callback *to, const struct callback_target *from)
{
	to->program = from->program;
	to->ident = from->ident;
	copy_text(to->netid, sizeof(to->netid), from->netid);
	copy_text(to->addr, sizeof(to->addr), from->addr);
}

static enum nfsstat4 clid_inuse(const struct client *c, struct state_result *result)
{
	memcpy(result->setclientid.netid, c->callback.netid, sizeof(c->callback.netid));
	memcpy(result->setclientid.addr, c->callback.addr, sizeof(c->callback.addr));
	result->conflict_client = c->id;
	return NFS4ERR_CLID_INUSE;
}

/* The confirmed record with the same verifier: only its callback is to change, once confirmed. */
static enum nfsstat4 setclientid_update(struct state *s, struct client *c,
					const struct state_command *cmd,
					struct state_result *result) REQUIRES(&s->names_lock)
{
	if (!c->update) {
		c->update = calloc(1, sizeof(*c->update));
		if (!c->update)
			return out_of_memory(0);
	}
	callback_fill(&c->update->callback, &cmd->setclientid.callback);
	c->update->confirm = cmd->setclientid.confirm;
	result->setclientid.clientid = c->id;
	result->setclientid.confirm = c->update->confirm;
	return NFS4_OK;
}

/* Any other case: a new unconfirmed record replaces the one there may be. */
static enum nfsstat4 establish_unconfirmed(struct state *s, const struct state_command *cmd,
					   bool v40, struct bytes owner,
					   const struct nfs_verifier *verifier, struct client **out,
					   struct client **replaced, struct client **evicted)
    REQUIRES(&s->names_lock)
{
	struct client_name *name = name_find(s, v40, owner), *fresh = NULL;
	struct client *c = client_new(s, v40, owner, verifier, cmd->principal);
	enum nfsstat4 status;

	if (!c)
		return out_of_memory(cmd->minor);
	fresh = name_new(v40, owner); /* withdrawing the old record may free the name */
	if (!fresh) {
		status = out_of_memory(cmd->minor);
		goto fail;
	}
	if (!name || !name->unconfirmed) {
		status = client_room(s, cmd->minor, evicted);
		if (status)
			goto fail;
	} else {
		*replaced = name->unconfirmed;
		client_withdraw(s, *replaced);
	}
	name = name_find(s, v40, owner);
	if (name) {
		free(fresh);
	} else {
		name = fresh;
		table_insert(&s->names, &name->node, hash_bytes(owner.p, owner.len) + v40);
	}
	client_establish(s, c, name, command_node(cmd));
	*out = c;
	return NFS4_OK;
fail:
	free(fresh);
	client_unref(c);
	return status;
}

static enum nfsstat4 setclientid(struct state *s, const struct state_command *cmd,
				 struct state_result *result, struct client **replaced,
				 struct client **evicted) REQUIRES(&s->names_lock)
{
	struct client_name *name = name_find(s, true, cmd->setclientid.owner);
	struct client *confirmed = name ? name->confirmed : NULL, *c;
	bool same = confirmed && same_principal(confirmed, cmd);
	enum nfsstat4 status;

	/* RFC 7530 section 9.1.2: one without state may be taken over by anybody. */
	if (confirmed && !same && client_has_state(confirmed))
		return clid_inuse(confirmed, result);
	if (same && same_verifier(&confirmed->verifier, &cmd->setclientid.verifier)) {
		status = setclientid_update(s, confirmed, cmd, result);
		if (status == NFS4_OK && name->unconfirmed) {
			*replaced = name->unconfirmed;
			client_withdraw(s, *replaced);
		}
		return status;
	}
	status = establish_unconfirmed(s, cmd, true, cmd->setclientid.owner,
				       &cmd->setclientid.verifier, &c, replaced, evicted);
	if (status)
		return status;
	if (confirmed) {
		free(confirmed->update);
		confirmed->update = NULL;
	}
	callback_fill(&c->callback, &cmd->setclientid.callback);
	c->confirm = cmd->setclientid.confirm;
	result->setclientid.clientid = c->id;
	result->setclientid.confirm = c->confirm;
	return NFS4_OK;
}

enum nfsstat4 cmd_setclientid(struct state *s, const struct state_command *cmd,
			      struct state_result *result, const struct state_effects *effects)
{
	struct client *replaced = NULL, *evicted = NULL;
	enum nfsstat4 status;

	mutex_lock(&s->names_lock);
	status = setclientid(s, cmd, result, &replaced, &evicted);
	note_full(s, status, result);
	mutex_unlock(&s->names_lock);
	if (status == NFS4_OK)
		settle_asker(s, result->setclientid.clientid, cmd, effects);
	client_destroy(s, replaced, effects);
	client_destroy(s, evicted, effects);
	return status;
}

/* ----------------------------------------- SETCLIENTID_CONFIRM (RFC 7530 16.34) ---- */

/* The record is confirmed already: a callback update, or a retry of the confirmation. */
static enum nfsstat4 confirm_again(struct state *s, struct client *c,
				   const struct state_command *cmd, struct state_result *result)
    REQUIRES(&s->names_lock)
{
	const struct nfs_verifier *confirm = &cmd->setclientid_confirm.confirm;
	bool update = c->update && same_verifier(&c->update->confirm, confirm);

	if (!update && !same_verifier(&c->confirm, confirm))
		return NFS4ERR_STALE_CLIENTID;
	if (!same_principal(c, cmd))
		return clid_inuse(c, result);
	if (update) {
		c->callback = c->update->callback;
		c->confirm = c->update->confirm;
		free(c->update);
		c->update = NULL;
	}
	return NFS4_OK;
}

static enum nfsstat4 confirm_new(struct state *s, struct client *c, const struct state_command *cmd,
				 struct state_result *result, struct client **old)
    REQUIRES(&s->names_lock)
{
	struct client *confirmed = c->name->confirmed;

	if (!same_verifier(&c->confirm, &cmd->setclientid_confirm.confirm))
		return NFS4ERR_STALE_CLIENTID;
	if (!same_principal(c, cmd))
		return clid_inuse(c, result);
	/* It was without state when somebody else's SETCLIENTID was let through. */
	if (confirmed && !same_principal(confirmed, cmd) && client_has_state(confirmed))
		return clid_inuse(confirmed, result);
	*old = client_confirm(s, c);
	return NFS4_OK;
}

enum nfsstat4 cmd_setclientid_confirm(struct state *s, const struct state_command *cmd,
				      struct state_result *result,
				      const struct state_effects *effects)
{
	struct client *old = NULL, *c;
	enum nfsstat4 status;

	mutex_lock(&s->names_lock);
	c = client_get(s, cmd->clientid);
	if (!c || !c->v40)
		status = NFS4ERR_STALE_CLIENTID;
	else if (c->confirmed)
		status = confirm_again(s, c, cmd, result);
	else
		status = confirm_new(s, c, cmd, result, &old);
	mutex_unlock(&s->names_lock);
	if (c) {
		if (status == NFS4_OK) {
			client_heard(s, c);
			settle_asker(s, cmd->clientid, cmd, effects);
		}
		client_unref(c);
	}
	client_destroy(s, old, effects);
	return status;
}

/* --------------------------------------------------- EXCHANGE_ID (RFC 8881 18.35) ---- */

static void exchange_result(struct client *c, struct state_result *result)
{
	result->exchange_id.clientid = c->id;
	result->exchange_id.sequence = c->create.sequence + 1;
	result->exchange_id.flags =
	    EXCHGID4_FLAG_USE_NON_PNFS | (c->confirmed ? EXCHGID4_FLAG_CONFIRMED_R : 0);
}

/* With UPD_CONFIRMED_REC_A: cases 6 to 9 of section 18.35.4. */
static enum nfsstat4 exchange_update(struct client *confirmed, const struct state_command *cmd,
				     struct state_result *result)
{
	if (!confirmed)
		return NFS4ERR_NOENT;
	if (!same_verifier(&confirmed->verifier, &cmd->exchange_id.verifier))
		return NFS4ERR_NOT_SAME;
	if (!same_principal(confirmed, cmd))
		return NFS4ERR_PERM;
	exchange_result(confirmed, result);
	return NFS4_OK;
}

struct gone {
	struct client *replaced, *collided, *evicted;
};

/* Cases 1 to 5. */
static enum nfsstat4 exchange_new(struct state *s, struct client *confirmed,
				  const struct state_command *cmd, struct state_result *result,
				  struct gone *gone) REQUIRES(&s->names_lock)
{
	bool collision = confirmed && !same_principal(confirmed, cmd);
	struct client *c;
	enum nfsstat4 status;

	if (collision && client_has_state(confirmed)) { /* 3 */
		result->conflict_client = confirmed->id;
		return NFS4ERR_CLID_INUSE;
	}
	if (confirmed && !collision &&
	    same_verifier(&confirmed->verifier, &cmd->exchange_id.verifier)) { /* 2 */
		if (confirmed->name->unconfirmed) {
			gone->replaced = confirmed->name->unconfirmed;
			client_withdraw(s, gone->replaced);
		}
		exchange_result(confirmed, result);
		return NFS4_OK;
	}
	status =
	    establish_unconfirmed(s, cmd, false, cmd->exchange_id.owner, &cmd->exchange_id.verifier,
				  &c, &gone->replaced, &gone->evicted); /* 1, 4, 5 */
	if (status)
		return status;
	if (collision) { /* 3, without state */
		gone->collided = confirmed;
		client_withdraw(s, confirmed);
	}
	c->state_protect = cmd->exchange_id.state_protect;
	/* A contrived result in the slot before the first CREATE_SESSION. */
	c->create.status = NFS4ERR_SEQ_MISORDERED;
	exchange_result(c, result);
	return NFS4_OK;
}

enum nfsstat4 cmd_exchange_id(struct state *s, const struct state_command *cmd,
			      struct state_result *result, const struct state_effects *effects)
{
	struct gone gone = { 0 };
	struct client_name *name;
	struct client *confirmed;
	enum nfsstat4 status;

	mutex_lock(&s->names_lock);
	name = name_find(s, false, cmd->exchange_id.owner);
	confirmed = name ? name->confirmed : NULL;
	if (cmd->exchange_id.flags & EXCHGID4_FLAG_UPD_CONFIRMED_REC_A)
		status = exchange_update(confirmed, cmd, result);
	else
		status = exchange_new(s, confirmed, cmd, result, &gone);
	note_full(s, status, result);
	mutex_unlock(&s->names_lock);
	if (status == NFS4_OK)
		settle_asker(s, result->exchange_id.clientid, cmd, effects);
	client_destroy(s, gone.replaced, effects);
	client_destroy(s, gone.collided, effects);
	client_destroy(s, gone.evicted, effects);
	return status;
}

/* ------------------------------------- DESTROY_CLIENTID, expiry, RECLAIM_COMPLETE ---- */

/*
 * The check and `dead` are under the client's lock together, so that no open slips in between.
 */
static enum nfsstat4 destroy_if_unused(struct state *s, struct client *c) REQUIRES(&s->names_lock)
{
	bool busy;

	mutex_lock(&c->lock);
	busy = c->nsessions != 0 || c->nopens != 0 || c->ndelegs != 0;
	if (!busy)
		c->dead = true;
	mutex_unlock(&c->lock);
	if (busy)
		return NFS4ERR_CLIENTID_BUSY;
	client_withdraw(s, c);
	return NFS4_OK;
}

enum nfsstat4 cmd_destroy_clientid(struct state *s, const struct state_command *cmd,
				   struct state_result *result, const struct state_effects *effects)
{
	enum nfsstat4 status = NFS4ERR_STALE_CLIENTID;
	struct client *c;

	mutex_lock(&s->names_lock);
	c = client_get(s, cmd->clientid);
	if (c && !c->v40)
		status = destroy_if_unused(s, c);
	mutex_unlock(&s->names_lock);
	if (status == NFS4_OK) {
		grace_client_done(s, c);
		client_destroy(s, c, effects);
	}
	if (c)
		client_unref(c);
	return status;
}

/*
 * The client's judge has decided; here it just happens, unless the client has settled elsewhere
 * since. A client that came back to the same node between the decision and its place in the order
 * finds its lease expired, which it had been.
 */
enum nfsstat4 cmd_expire_client(struct state *s, const struct state_command *cmd,
				struct state_result *result, const struct state_effects *effects)
{
	struct client *c;

	mutex_lock(&s->names_lock);
	c = client_get(s, cmd->clientid);
	if (c && c->adoptions != cmd->expire_client.adoptions) {
		client_unref(c);
		c = NULL;
	}
	if (c)
		client_withdraw(s, c);
	mutex_unlock(&s->names_lock);
	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	client_destroy(s, c, effects);
	client_unref(c);
	return NFS4_OK;
}

enum nfsstat4 cmd_reclaim_complete(struct work *w)
{
	/* Minor version 0 says it by asking for something new, if it has reclaimed at all. */
	if (w->c->v40) {
		if (w->c->reclaimed)
			grace_client_done(w->s, w->c);
		return NFS4_OK;
	}
	/* No file system ever migrates here: those for one are ignored (RFC 8881 18.51.4). */
	if (w->cmd->reclaim_complete.one_fs)
		return NFS4_OK;
	if (w->c->reclaim_complete)
		return NFS4ERR_COMPLETE_ALREADY;
	w->c->reclaim_complete = true;
	grace_client_done(w->s, w->c);
	return NFS4_OK;
}

/*
 * Homes: which node a client's requests reach. See state.h.
 *
 *	            first command, EXCHANGE_ID...      ADOPT, at another node
 *	(no record) ------------------------> home = N --------------------> home = M
 *	                                         |                              ^
 *	                                         `--> 0, homeless --------------'
 *	                                   N has left (CMD_MEMBERS)      ADOPT
 *
 * Who judges a client's lease: its home; of a homeless one the lowest node. The judge alone knows
 * when the client was last heard of, and tells the others with CMD_SILENT when the lease has passed.
 * So a conflict with a client of another node is decided at once and without asking: if it is silent
 * it may be expired by whoever needs what it holds, else it is there. A silent client that is back,
 * at its home or elsewhere, is adopted before anything is done for it; also while the judge's word is on
 * its way. CMD_SILENT and CMD_EXPIRE_CLIENT carry the client's count of adoptions: what was judged before
 * does nothing after it.
 *
 * With a new home every lease begins anew, connections of before are no good, and what a slot's last
 * request was is not known but for what CMD_SLOT_REPLY has said. Delegations that were recalled are
 * recalled again, because the answer may have been lost.
 */
#include <stdlib.h>
#include <string.h>

#include "nfsd/state/state_private.h"

bool client_is_judged_here(const struct state *s, const struct client *c)
{
	uint32_t home = c->home;

	return home == s->node || (home == 0 && s->judges_homeless);
}

void state_set_node(struct state *s, uint32_t node)
{
	s->node = node;
}

uint32_t state_node(const struct state *s)
{
	return s->node;
}

uint32_t state_epoch(const struct state *s)
{
	return s->config.epoch;
}

/* ------------------------------------------------------------------------ moving ---- */

/* What this node keeps of the client's locks beside the state: its new home will. */
struct attachments {
	struct lock_attachment **all; /* with the stateids' references */
	size_t n, room;
};

static struct lock_attachment *detach(struct state *s, struct lock_state *st)
{
	struct stripe *stripe = held_stripe(s, &st->h);
	struct lock_attachment *a;

	mutex_lock(&stripe->lock);
	a = st->attached;
	st->attached = NULL;
	mutex_unlock(&stripe->lock);
	return a;
}

static bool attachments_room(struct attachments *as)
{
	size_t room = as->room ? 2 * as->room : 16;
	struct lock_attachment **more;

	if (as->n < as->room)
		return true;
	more = reallocarray(as->all, room, sizeof(struct lock_attachment *));
	if (!more)
		return false;
	as->all = more;
	as->room = room;
	return true;
}

/* Without memory the rest stays on the files until its locks go. */
static void detach_all(struct state *s, struct client *c, struct attachments *as)
    REQUIRES(&c->lock)
{
	struct owner *o;
	struct held *h;

	list_for_each (o, &c->busy, in_client) {
		list_for_each (h, &o->states, in_owner) {
			if (h->kind != HELD_LOCK || !attachments_room(as))
				continue;
			as->all[as->n] = detach(s, held_lock(h));
			as->n += as->all[as->n] != NULL;
		}
	}
}

static void emit_detached(struct attachments *as, const struct state_effects *effects)
{
	for (size_t i = 0; i < as->n && effects->emit; i++)
		effects->emit(effects->arg, &(struct state_effect){ .type = EFFECT_LOCKS_GONE,
								    .attachment = as->all[i] });
	free(as->all);
}

void client_settle(struct state *s, struct client *c, uint32_t node,
		   const struct state_effects *effects)
{
	struct attachments attached = { 0 };
	struct session *session;
	struct after after;

	after_init(&after);
	mutex_lock(&c->lock);
	if (!c->dead) {
		c->silent = c->judged = false;
		client_heard(s, c);
		c->adoptions++;
	}
	if (c->home != node && !c->dead) {
		c->home = node;
		after.moved = c->id;
		list_for_each (session, &c->sessions, in_client)
			session_moved(s, session);
		deleg_recall_again(s, c, &after);
		detach_all(s, c, &attached);
	}
	mutex_unlock(&c->lock);
	emit_detached(&attached, effects);
	finish(s, &after, effects);
}

/*
 * Its lease is renewed only where the command is applied, not when the request came. Who judged it to be silent
 * meanwhile has said so behind the command: that must do nothing.
 */
void client_asked(struct state *s, struct client *c, uint32_t node,
		  const struct state_effects *effects)
{
	if (unlikely(c->home != node || c->silent)) {
		client_settle(s, c, node, effects);
		return;
	}
	mutex_lock(&c->lock);
	c->adoptions++;
	mutex_unlock(&c->lock);
}

enum nfsstat4 cmd_adopt(struct state *s, const struct state_command *cmd,
			struct state_result *result, const struct state_effects *effects)
{
	struct client *c = client_get(s, cmd->clientid);

	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	client_settle(s, c, command_node(cmd), effects);
	client_unref(c);
	return NFS4_OK;
}

enum nfsstat4 cmd_silent(struct state *s, const struct state_command *cmd,
			 struct state_result *result, const struct state_effects *effects)
{
	struct client *c = client_get(s, cmd->clientid);

	if (!c)
		return NFS4ERR_STALE_CLIENTID;
	mutex_lock(&c->lock);
	if (c->adoptions == cmd->silent.adoptions)
		c->silent = true;
	mutex_unlock(&c->lock);
	client_unref(c);
	return NFS4_OK;
}

/* ----------------------------------------------------------------------- members ---- */

static bool is_member(const uint32_t *nodes, uint32_t n, uint32_t node)
{
	for (uint32_t i = 0; i < n; i++) {
		if (nodes[i] == node)
			return true;
	}
	return false;
}

/* Those whose home has gone, with references; *all malloc'ed. How many. */
static uint32_t gather_orphans(struct state *s, const uint32_t *nodes, uint32_t n,
			       struct client ***all) REQUIRES(&s->names_lock)
{
	struct client *c;
	uint32_t found = 0;

	*all = malloc((s->nclients + 1) * sizeof(struct client *));
	if (!*all) {
		command_lacks_memory();
		return 0;
	}
	list_for_each (c, &s->clients, in_clients) {
		if (c->home == 0 || is_member(nodes, n, c->home))
			continue;
		atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
		(*all)[found++] = c;
	}
	return found;
}

enum nfsstat4 cmd_members(struct state *s, const struct state_command *cmd,
			  struct state_result *result, const struct state_effects *effects)
{
	struct client **orphans;
	uint32_t found;

	mutex_lock(&s->names_lock);
	found = gather_orphans(s, cmd->members.nodes, cmd->members.n, &orphans);
	mutex_unlock(&s->names_lock);
	for (uint32_t i = 0; i < found; i++) {
		client_settle(s, orphans[i], 0, effects);
		client_unref(orphans[i]);
	}
	free(orphans);
	return NFS4_OK;
}

bool state_has_orphans(struct state *s, const uint32_t *nodes, uint32_t n)
{
	struct client *c;
	bool found = false;

	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients) {
		found = c->home != 0 && !is_member(nodes, n, c->home);
		if (found)
			break;
	}
	mutex_unlock(&s->names_lock);
	return found;
}

void state_set_lowest(struct state *s, bool lowest)
{
	s->judges_homeless = lowest;
}

bool state_is_lowest(const struct state *s)
{
	return s->judges_homeless;
}

/* ----------------------------------------------------------------------- reading ---- */

bool state_client_home(struct state *s, uint64_t clientid, uint32_t *home)
{
	struct client *c = client_get(s, clientid);

	if (!c)
		return false;
	*home = c->home;
	client_unref(c);
	return true;
}

bool state_is_at_home(struct state *s, uint64_t clientid)
{
	uint32_t home;

	return state_client_home(s, clientid, &home) && home == s->node;
}

bool state_is_away(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	bool away;

	if (!c)
		return false;
	away = client_is_away(s, c);
	client_unref(c);
	return away;
}

bool state_session_is_away(struct state *s, const struct sessionid *id, uint64_t *clientid)
{
	struct session *session = session_get(s, id);
	bool away;

	if (!session)
		return false;
	*clientid = session->client->id;
	away = client_is_away(s, session->client);
	session_unref(s, session);
	return away;
}

/* ----------------------------------------------- replies for retries elsewhere ---- */

enum nfsstat4 cmd_slot_reply(struct work *w)
{
	const struct state_command *cmd = w->cmd;
	struct session *session = session_get(w->s, &cmd->slot_reply.session);
	struct slot_reply what = {
		.seqid = cmd->slot_reply.seqid,
		.len = cmd->slot_reply.reply.len,
		.request_hash = cmd->slot_reply.request_hash,
		.begun = cmd->slot_reply.begun,
	};
	enum nfsstat4 status = NFS4_OK;

	if (!session)
		return NFS4ERR_BADSESSION;
	mutex_lock(&session->lock);
	if (session->client != w->c || cmd->slot_reply.slot >= session->fore.max_slots)
		status = NFS4ERR_BADSLOT;
	else if (!slot_keep(session, cmd->slot_reply.slot, &what, cmd->slot_reply.reply.p))
		status = out_of_memory(cmd->minor);
	mutex_unlock(&session->lock);
	session_unref(w->s, session);
	return status;
}

enum nfsstat4 cmd_back_answered(struct work *w)
{
	state_back_answered(w->s, &w->cmd->back_answered.session, w->cmd->back_answered.slot,
			    w->cmd->back_answered.seqid);
	return NFS4_OK;
}

/* The cache of minor version 0 is the server's, not the state's: it is only told. */
enum nfsstat4 cmd_reply_kept(struct state *s, const struct state_command *cmd,
			     struct state_result *result, const struct state_effects *effects)
{
	if (effects->emit)
		effects->emit(effects->arg,
			      &(struct state_effect){ .type = EFFECT_REPLY_KEPT,
						      .key = cmd->reply_kept.key,
						      .begun = cmd->reply_kept.begun,
						      .reply = cmd->reply_kept.reply });
	return NFS4_OK;
}

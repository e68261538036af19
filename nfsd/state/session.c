/*
 * Sessions: CREATE_SESSION with its one-slot reply cache, DESTROY_SESSION, and the connections
 * bound to a session.
 *
 * A session's reply cache is paid for in advance: CREATE_SESSION takes slots * cached size out
 * of limits.max_reply_cache and grants fewer slots when that runs low, so that a request that
 * asks for its reply to be cached is never refused for it later. The memory itself comes when a
 * slot is first used so.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/state/state_private.h"

/*
 * The least sizes with which a COMPOUND of SEQUENCE alone can pass: RPC call header with empty
 * credential and verifier (40 bytes), empty tag, minor version, count, and SEQUENCE; RPC reply
 * header (24 bytes), status, empty tag, count, SEQUENCE's result, and the status of an operation
 * behind it for which there is no room.
 */
#define MIN_REQUEST  (40 + 12 + 4 + NFS4_SESSIONID_SIZE + 16)
#define MIN_RESPONSE (24 + 12 + 8 + NFS4_SESSIONID_SIZE + 20 + 12)
#define MIN_OPS	     2

/* A session may take this part of the reply cache that is still free... */
#define CACHE_SHARE 4096
/* ...but always gets this many slots if there is room at all. */
#define FEW_SLOTS 4

/* Connections per session; a client that binds more loses the oldest. */
#define BINDINGS_MAX 256

static uint64_t sessionid_hash(const struct sessionid *id)
{
	uint64_t random;

	memcpy(&random, id->data, sizeof(random));
	return hash_u64(random);
}

struct session *session_get(struct state *s, const struct sessionid *id)
{
	uint64_t hash = sessionid_hash(id);
	struct stripe *stripe = stripe_of(s->by_session, hash);
	struct session *found = NULL;
	struct table_node *n;

	mutex_lock(&stripe->lock);
	table_for_each(n, &stripe->table, hash)
	{
		struct session *session = container_of(n, struct session, by_id);

		if (memcmp(&session->id, id, sizeof(*id)) == 0) {
			atomic_fetch_add_explicit(&session->refs, 1, memory_order_relaxed);
			found = session;
			break;
		}
	}
	mutex_unlock(&stripe->lock);
	return found;
}

static void session_free(struct session *session)
{
	for (unsigned i = 0; i < ARRAY_SIZE(session->chunks); i++) {
		struct slot *chunk = session->chunks[i];

		for (unsigned j = 0; chunk && j < SLOTS_PER_CHUNK; j++) {
			if (chunk[j].reply_cap)
				free(chunk[j].reply);
			free(chunk[j].kept);
		}
		free(chunk);
	}
	mutex_destroy(&session->lock);
	free(session);
}

static uint64_t cached_bytes_of(const struct session *session)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(session->chunks); i++) {
		const struct slot *chunk = session->chunks[i];

		for (unsigned j = 0; chunk && j < SLOTS_PER_CHUNK; j++)
			bytes += chunk[j].reply_cap;
	}
	return bytes;
}

void session_unref(struct state *s, struct session *session)
{
	struct client *c = session->client;

	if (atomic_fetch_sub_explicit(&session->refs, 1, memory_order_acq_rel) != 1)
		return;
	s->cached_bytes -= cached_bytes_of(session);
	session_free(session);
	client_unref(c);
}

void session_unlink(struct state *s, struct client *c, struct session *session, struct after *after)
{
	struct stripe *stripe = stripe_of(s->by_session, session->by_id.hash);

	list_remove(&session->in_client);
	list_push_back(&after->sessions, &session->in_client);
	c->nsessions--;
	s->nsessions--;
	/* Now, not with the last reference: commands must find the same budget everywhere. */
	mutex_lock(&s->reply_lock);
	s->reply_reserved -= session->reserved;
	mutex_unlock(&s->reply_lock);
	mutex_lock(&stripe->lock);
	table_remove(&stripe->table, &session->by_id);
	mutex_unlock(&stripe->lock);
	mutex_lock(&session->lock);
	session->dead = true;
	session_unbind_all(s, session);
	mutex_unlock(&session->lock);
}

/* ------------------------------------------------ CREATE_SESSION (RFC 8881 18.36) ---- */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static enum nfsstat4 check_channels(const struct state_command *cmd)
{
	const struct channel_attrs *fore = &cmd->create_session.fore;
	const struct channel_attrs *back = &cmd->create_session.back;

	if (fore->max_request < MIN_REQUEST || fore->max_response < MIN_RESPONSE)
		return NFS4ERR_TOOSMALL;
	/* Also if no connection is bound to it yet: one may be later. */
	if (back->max_request < MIN_REQUEST || back->max_response < MIN_RESPONSE)
		return NFS4ERR_TOOSMALL;
	return NFS4_OK;
}

static struct channel_attrs grant_fore(const struct state *s, const struct channel_attrs *asked)
{
	const struct channel_attrs *most = &s->config.limits.fore;
	struct channel_attrs fore = {
		.max_request = min_u32(asked->max_request, most->max_request),
		.max_response = min_u32(asked->max_response, most->max_response),
		.max_response_cached =
		    min_u32(asked->max_response_cached, most->max_response_cached),
		.max_ops = min_u32(asked->max_ops, most->max_ops),
		.max_slots = min_u32(asked->max_slots, most->max_slots),
	};

	fore.max_slots = min_u32(fore.max_slots, s->config.limits.max_slots_per_session);
	if (fore.max_ops < MIN_OPS)
		fore.max_ops = MIN_OPS;
	if (fore.max_slots == 0)
		fore.max_slots = 1;
	return fore;
}

/*
 * Takes the replies of the session's slots out of the budget; fewer slots when it runs low. DELAY
 * when it has run out.
 */
static enum nfsstat4 reserve_replies(struct state *s, struct session *session,
				     struct state_result *result)
{
	size_t each = session->fore.max_response_cached, free_bytes, share;
	uint32_t slots = session->fore.max_slots;
	enum nfsstat4 status = NFS4_OK;

	if (each == 0)
		return NFS4_OK;
	mutex_lock(&s->reply_lock);
	free_bytes = s->config.limits.max_reply_cache > s->reply_reserved
			 ? s->config.limits.max_reply_cache - s->reply_reserved
			 : 0; /* restored from an instance that had more */
	share = free_bytes / CACHE_SHARE / each;
	if (share < FEW_SLOTS)
		share = free_bytes / each < FEW_SLOTS ? free_bytes / each : FEW_SLOTS;
	if (share == 0) {
		status = NFS4ERR_DELAY;
		result->over_limit = true;
	} else {
		session->fore.max_slots =
		    min_u32(slots, (uint32_t)min_u32(SLOTS_MAX, (uint32_t)share));
		session->reserved = session->fore.max_slots * each;
		s->reply_reserved += session->reserved;
	}
	mutex_unlock(&s->reply_lock);
	return status;
}

/* Unguessable, and unlike any other: random bytes, the client, a counter. */
static void make_sessionid(struct client *c, const uint8_t random[8], struct sessionid *id)
{
	uint32_t words[2] = { htobe32(c->counter), htobe32(++c->last_session) };

	memcpy(id->data, random, 8);
	memcpy(id->data + 8, words, sizeof(words));
}

static enum nfsstat4 session_new(struct state *s, struct client *c, const struct state_command *cmd,
				 struct state_result *result, struct session **out)
    REQUIRES(&s->names_lock)
{
	struct session *session = calloc(1, sizeof(*session));
	enum nfsstat4 status;

	if (!session)
		return out_of_memory(cmd->minor);
	mutex_init(&session->lock);
	list_init(&session->bindings);
	list_init(&session->in_client);
	session->refs = 1;
	session->client = c;
	/* No persistence, no RDMA. */
	session->flags = cmd->create_session.flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN;
	session->fore = grant_fore(s, &cmd->create_session.fore);
	session->back = cmd->create_session.back;
	session->back.header_pad = 0;
	session->minor = cmd->minor;
	session->cb_program = cmd->create_session.cb_program;
	session->cb_uid = cmd->create_session.cb_uid;
	session->cb_gid = cmd->create_session.cb_gid;
	session->cb_flavor = cmd->create_session.cb_flavor;
	/* The first slots with the session: a client that has one can use it. */
	session->chunks[0] = calloc(SLOTS_PER_CHUNK, sizeof(struct slot));
	status = session->chunks[0] ? reserve_replies(s, session, result)
				    : out_of_memory(cmd->minor);
	if (status) {
		session_free(session);
		return status;
	}
	session->nslots = session->target = session->fore.max_slots;
	make_sessionid(c, cmd->create_session.random, &session->id);
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	*out = session;
	return NFS4_OK;
}

static void session_link(struct state *s, struct client *c, struct session *session)
    REQUIRES(&c->lock)
{
	uint64_t hash = sessionid_hash(&session->id);
	struct stripe *stripe = stripe_of(s->by_session, hash);

	list_push_back(&c->sessions, &session->in_client);
	c->nsessions++;
	s->nsessions++;
	mutex_lock(&stripe->lock);
	table_insert(&stripe->table, &session->by_id, hash);
	mutex_unlock(&stripe->lock);
}

struct session *session_restore(struct state *s, struct client *c, const struct sessionid *id,
				uint32_t flags, const struct channel_attrs *fore,
				const struct channel_attrs *back)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	mutex_init(&session->lock);
	list_init(&session->bindings);
	list_init(&session->in_client);
	session->refs = 1;
	session->client = c;
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	session->id = *id;
	session->flags = flags;
	session->fore = *fore;
	session->back = *back;
	session->reserved = (size_t)fore->max_slots * fore->max_response_cached;
	mutex_lock(&s->reply_lock);
	s->reply_reserved += session->reserved;
	mutex_unlock(&s->reply_lock);
	session_link(s, c, session);
	return session;
}

/* What CREATE_SESSION answers is kept in the client's slot, errors too. */
static enum nfsstat4 create_answer(struct client *c, enum nfsstat4 status,
				   struct state_result *result)
{
	const struct create_slot *slot = &c->create;

	if (status == NFS4_OK) {
		result->create_session.session = slot->session;
		result->create_session.sequence = slot->sequence;
		result->create_session.flags = slot->flags;
		result->create_session.fore = slot->fore;
		result->create_session.back = slot->back;
	}
	return status;
}

static enum nfsstat4 make_session(struct state *s, struct client *c,
				  const struct state_command *cmd, struct state_result *result)
    REQUIRES(&s->names_lock)
{
	struct session *session = NULL;
	enum nfsstat4 status = check_channels(cmd);
	bool room;

	if (status)
		return status;
	mutex_lock(&c->lock);
	room = c->nsessions < s->config.limits.max_sessions_per_client;
	mutex_unlock(&c->lock);
	if (!room)
		return NFS4ERR_NOSPC;
	result->over_limit = s->nsessions >= s->config.limits.max_sessions;
	if (result->over_limit)
		return NFS4ERR_DELAY;
	status = session_new(s, c, cmd, result, &session);
	if (status)
		return status;
	c->create.session = session->id;
	c->create.flags = session->flags;
	c->create.fore = session->fore;
	c->create.back = session->back;
	mutex_lock(&c->lock);
	session_link(s, c, session);
	mutex_unlock(&c->lock);
	return NFS4_OK;
}

static enum nfsstat4 create_session(struct state *s, struct client *c,
				    const struct state_command *cmd, struct state_result *result,
				    struct client **old) REQUIRES(&s->names_lock)
{
	uint32_t sequence = cmd->create_session.sequence;
	bool same = bytes_equal(cmd->principal, c->principal, c->principal_len);
	struct client *confirmed = c->name->confirmed;
	bool answered = sequence == c->create.sequence;
	enum nfsstat4 status;

	/* A cached answer is for whoever asked: it names a session. */
	if (answered && c->create.status == NFS4_OK &&
	    principal_hash(cmd->principal) != c->create.principal)
		return NFS4ERR_CLID_INUSE;
	/*
	 * A retry of what was too small is so again. Who asks for other sizes has not used the sequence id
	 * up, as far as some clients know.
	 */
	if (answered && c->create.status != NFS4ERR_TOOSMALL)
		return create_answer(c, c->create.status, result);
	if (!answered && sequence != c->create.sequence + 1)
		return NFS4ERR_SEQ_MISORDERED;
	/* Whoever did not make the record cannot confirm it; nor use up its sequence id. */
	if (!c->confirmed && !same)
		return NFS4ERR_CLID_INUSE;
	if (confirmed && confirmed != c &&
	    !bytes_equal(cmd->principal, confirmed->principal, confirmed->principal_len) &&
	    confirmed->nopens != 0)
		return NFS4ERR_CLID_INUSE;
	status = make_session(s, c, cmd, result);
	if (status == NFS4ERR_DELAY)
		return status; /* no room: nothing has happened, not even this request */
	c->create.sequence = sequence;
	c->create.principal = principal_hash(cmd->principal);
	c->create.status = status;
	if (status == NFS4_OK && !c->confirmed)
		*old = client_confirm(s, c);
	return create_answer(c, status, result);
}

enum nfsstat4 cmd_create_session(struct state *s, const struct state_command *cmd,
				 struct state_result *result, const struct state_effects *effects)
{
	enum nfsstat4 status = NFS4ERR_STALE_CLIENTID;
	struct client *old = NULL, *c;

	mutex_lock(&s->names_lock);
	c = client_get(s, cmd->clientid);
	if (c && !c->v40)
		status = create_session(s, c, cmd, result, &old);
	mutex_unlock(&s->names_lock);
	if (c) {
		if (status == NFS4_OK) {
			client_heard(s, c);
			client_asked(s, c, command_node(cmd), effects);
		}
		client_unref(c);
	}
	client_destroy(s, old, effects);
	return status;
}

enum nfsstat4 cmd_destroy_session(struct state *s, const struct state_command *cmd,
				  struct state_result *result, const struct state_effects *effects)
{
	struct session *session = session_get(s, &cmd->destroy_session.session);
	struct after after;
	struct client *c;
	bool dead;

	if (!session)
		return NFS4ERR_BADSESSION;
	after_init(&after);
	c = session->client;
	mutex_lock(&c->lock);
	mutex_lock(&session->lock);
	dead = session->dead;
	mutex_unlock(&session->lock);
	if (!dead)
		session_unlink(s, c, session, &after);
	mutex_unlock(&c->lock);
	finish(s, &after, effects);
	session_unref(s, session);
	return dead ? NFS4ERR_BADSESSION : NFS4_OK;
}

/* --------------------------------------------------------------- connections ---- */

struct binding *session_binding(struct session *session, uint64_t conn_id)
{
	struct binding *b;

	list_for_each (b, &session->bindings, in_session) {
		if (b->conn_id == conn_id)
			return b;
	}
	return NULL;
}

static void unbind(struct state *s, struct session *session, struct binding *b)
    REQUIRES(&session->lock)
{
	struct stripe *stripe = stripe_of(s->by_conn, b->by_conn.hash);

	mutex_lock(&stripe->lock);
	table_remove(&stripe->table, &b->by_conn);
	mutex_unlock(&stripe->lock);
	list_remove(&b->in_session);
	session->nbindings--;
	session_back_unbound(session);
	free(b);
}

void session_unbind_all(struct state *s, struct session *session)
{
	while (!list_empty(&session->bindings))
		unbind(s, session, list_first(&session->bindings, struct binding, in_session));
}

bool session_bind(struct state *s, struct session *session, uint64_t conn_id, uint32_t dir,
		  bool is_explicit)
{
	struct binding *b = session_binding(session, conn_id);
	uint64_t hash = hash_u64(conn_id);
	struct stripe *stripe = stripe_of(s->by_conn, hash);

	if (!b) {
		b = calloc(1, sizeof(*b));
		if (!b)
			return false;
		if (session->nbindings == BINDINGS_MAX)
			unbind(s, session,
			       list_first(&session->bindings, struct binding, in_session));
		b->session = session;
		b->conn_id = conn_id;
		list_push_back(&session->bindings, &b->in_session);
		session->nbindings++;
		mutex_lock(&stripe->lock);
		table_insert(&stripe->table, &b->by_conn, hash);
		mutex_unlock(&stripe->lock);
	}
	b->dir |= dir;
	b->is_explicit |= is_explicit;
	if (dir & CDFS4_BACK)
		session_back_bound(session);
	return true;
}

/* What channel_dir_from_client4 asks for is always granted. */
static uint32_t granted_dir(uint32_t dir)
{
	switch (dir) {
	case CDFC4_FORE:
		return CDFS4_FORE;
	case CDFC4_BACK:
		return CDFS4_BACK;
	case CDFC4_FORE_OR_BOTH:
	case CDFC4_BACK_OR_BOTH:
		return CDFS4_BOTH;
	default:
		return 0;
	}
}

/*
 * A connection that BIND_CONN_TO_SESSION or CREATE_SESSION has bound keeps its channels: to
 * demand others is INVAL (RFC 8881 section 18.34.3). What it has may satisfy "or both". One
 * that is bound only because a SEQUENCE came over it may still be bound properly.
 */
static enum nfsstat4 bind_locked(struct state *s, struct session *session, uint64_t conn_id,
				 uint32_t *dir) REQUIRES(&session->lock)
{
	struct binding *b = session_binding(session, conn_id);
	uint32_t granted = granted_dir(*dir);

	if (session->dead)
		return NFS4ERR_BADSESSION;
	if (granted == 0)
		return NFS4ERR_INVAL;
	if (b && b->is_explicit) {
		bool enough = b->dir == granted ||
			      (*dir == CDFC4_FORE_OR_BOTH && (b->dir & CDFS4_FORE)) ||
			      (*dir == CDFC4_BACK_OR_BOTH && (b->dir & CDFS4_BACK));

		if (!enough)
			return NFS4ERR_INVAL;
		*dir = b->dir;
		if (b->dir & CDFS4_BACK)
			session_back_bound(session); /* the client wants it tried again */
		return NFS4_OK;
	}
	if (!session_bind(s, session, conn_id, granted, true))
		return NFS4ERR_DELAY;
	session_binding(session, conn_id)->dir = granted;
	*dir = granted;
	return NFS4_OK;
}

enum nfsstat4 state_bind_conn(struct state *s, const struct sessionid *id, uint64_t conn_id,
			      uint32_t *dir)
{
	struct session *session = session_get(s, id);
	enum nfsstat4 status;

	if (!session)
		return NFS4ERR_BADSESSION;
	mutex_lock(&session->lock);
	status = bind_locked(s, session, conn_id, dir);
	mutex_unlock(&session->lock);
	if (status == NFS4_OK)
		client_heard(s, session->client);
	session_unref(s, session);
	return status;
}

bool state_conn_is_bound(struct state *s, const struct sessionid *id, uint64_t conn_id)
{
	struct session *session = session_get(s, id);
	bool bound;

	if (!session)
		return false;
	mutex_lock(&session->lock);
	bound = session_binding(session, conn_id) != NULL;
	mutex_unlock(&session->lock);
	session_unref(s, session);
	return bound;
}

enum nfsstat4 state_session_client(struct state *s, const struct sessionid *id, uint64_t *clientid)
{
	struct session *session = session_get(s, id);

	if (!session)
		return NFS4ERR_BADSESSION;
	*clientid = session->client->id;
	session_unref(s, session);
	return NFS4_OK;
}

/* One of the sessions that the connection is bound to, with a reference. */
static struct session *bound_session(struct state *s, uint64_t conn_id)
{
	uint64_t hash = hash_u64(conn_id);
	struct stripe *stripe = stripe_of(s->by_conn, hash);
	struct session *found = NULL;
	struct table_node *n;

	mutex_lock(&stripe->lock);
	table_for_each(n, &stripe->table, hash)
	{
		struct binding *b = container_of(n, struct binding, by_conn);

		if (b->conn_id == conn_id) {
			found = b->session;
			atomic_fetch_add_explicit(&found->refs, 1, memory_order_relaxed);
			break;
		}
	}
	mutex_unlock(&stripe->lock);
	return found;
}

void state_conn_closed(struct state *s, uint64_t conn_id)
{
	struct session *session;

	while ((session = bound_session(s, conn_id)) != NULL) {
		struct binding *b;

		mutex_lock(&session->lock);
		b = session_binding(session, conn_id);
		if (b)
			unbind(s, session, b);
		mutex_unlock(&session->lock);
		session_unref(s, session);
	}
}

/* BACKCHANNEL_CTL (RFC 8881 section 18.33): calls back to another program from now on. */
enum nfsstat4 cmd_backchannel_ctl(struct work *w)
{
	struct session *session = session_get(w->s, &w->cmd->backchannel_ctl.session);

	if (!session)
		return NFS4ERR_BADSESSION;
	mutex_lock(&session->lock);
	session->cb_program = w->cmd->backchannel_ctl.cb_program;
	session->cb_uid = w->cmd->backchannel_ctl.cb_uid;
	session->cb_gid = w->cmd->backchannel_ctl.cb_gid;
	session->cb_flavor = w->cmd->backchannel_ctl.cb_flavor;
	mutex_unlock(&session->lock);
	session_unref(w->s, session);
	return NFS4_OK;
}

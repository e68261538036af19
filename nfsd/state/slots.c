/*
 * SEQUENCE: slots and their cached replies. All of it is the node's own.
 *
 *	          new seqid                     end, reply kept or not
 *	  IDLE ---------------> RUNNING ------------------------------> IDLE
 *	   |  same seqid, cached                end
 *	   `-------------------> REPLAYING ---------------------------> IDLE
 *
 * A slot belongs to one request while it is not IDLE; whoever else comes gets DELAY. The reply
 * of a slot is written only by the request that runs on it, so a replay may read it
 * without the session's lock.
 *
 * When memory for a slot cannot be had, the client is asked to keep to the slots below
 * (target_highest_slotid). Once a request on a slot whose last reply said so shows that it does,
 * those above are retired and their memory is free; they are unknown then (BADSLOT) and begin
 * anew if memory is back REGROW_SECONDS later (RFC 8881 section 2.10.6.1).
 *
 * After its client has moved here from another node a slot is unknown: its first request may have
 * any sequence id, unless it is the one whose reply is replicated, or one before it. If there is no
 * reply yet, only that the request was begun, it runs once more and is told so (slot_use.begun).
 *
 * Replies up to SLOT_SMALL_REPLY bytes need no memory of their own, which covers that of a lone
 * SEQUENCE, always cached. For a request with cachethis the buffer is there before it runs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "nfsd/state/state_private.h"

#define REGROW_SECONDS 10

struct slot *session_slot(struct session *session, uint32_t n)
{
	struct slot **chunk = &session->chunks[n / SLOTS_PER_CHUNK];

	if (!*chunk) {
		*chunk = calloc(SLOTS_PER_CHUNK, sizeof(struct slot));
		for (unsigned i = 0; *chunk && i < SLOTS_PER_CHUNK; i++)
			(*chunk)[i].unknown = session->moved;
	}
	return *chunk ? *chunk + n % SLOTS_PER_CHUNK : NULL;
}

void session_moved(struct state *s, struct session *session)
{
	mutex_lock(&session->lock);
	session_unbind_all(s, session);
	session->moved = true;
	session->had_back = session->flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN;
	session->back_path = BACK_UNTRIED;
	session->back_probe = false;
	session->nslots = session->target = session->fore.max_slots;
	for (uint32_t n = 0; n < session->nslots; n++) {
		struct slot *chunk = session->chunks[n / SLOTS_PER_CHUNK];

		if (chunk)
			chunk[n % SLOTS_PER_CHUNK].unknown = true;
	}
	mutex_unlock(&session->lock);
}

bool slot_keep(struct session *session, uint32_t n, const struct slot_reply *what,
	       const uint8_t *bytes)
{
	struct slot *slot = session_slot(session, n);
	struct slot_reply *kept = slot ? malloc(sizeof(*kept) + what->len) : NULL;

	if (!kept)
		return false;
	*kept = *what;
	if (what->len)
		memcpy(kept->bytes, bytes, what->len);
	free(slot->kept);
	slot->kept = kept;
	return true;
}

static bool has_back_channel(struct session *session) REQUIRES(&session->lock)
{
	struct binding *b;

	list_for_each (b, &session->bindings, in_session) {
		if (b->dir & CDFS4_BACK)
			return true;
	}
	return false;
}

/*
 * The back channel is missed only once there has been one, or when it does not answer: a client
 * that is told so binds connections again and again. Whether another session of the client has one does not matter to
 * it, so both flags go together.
 */
static uint32_t status_flags(struct session *session) REQUIRES(&session->lock)
{
	uint32_t flags = session->client->reclaim_needed ? SEQ4_STATUS_RESTART_RECLAIM_NEEDED : 0;

	if (session->client->nrevoked)
		flags |= SEQ4_STATUS_RECALLABLE_STATE_REVOKED;
	if (session->back_path == BACK_FAULT)
		return flags | SEQ4_STATUS_BACKCHANNEL_FAULT;
	if (session->back_path == BACK_DOWN || (session->had_back && !has_back_channel(session)))
		flags |= SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION;
	return flags;
}

static void fill_use(struct session *session, const struct sequence_args *args,
		     struct slot_use *use) REQUIRES(&session->lock)
{
	*use = (struct slot_use){
		.session = session,
		.clientid = session->client->id,
		.slot = args->slot,
		.seqid = args->seqid,
		.request_hash = args->request_hash,
		.cache_this = args->cache_this,
		.probe_back = session->back_probe,
		.fore = session->fore,
		.highest_slot = session->nslots - 1,
		.target_highest_slot = session->target - 1,
		.status_flags = status_flags(session),
	};
	session->back_probe = false;
}

static enum nfsstat4 check_session(struct state *s, struct session *session,
				   const struct sequence_args *args) REQUIRES(&session->lock)
{
	if (session->dead)
		return NFS4ERR_BADSESSION;
	if (unlikely(client_is_away(s, session->client)))
		return STATE_AWAY;
	if (!session_binding(session, args->conn_id)) {
		if (session->client->state_protect != SP4_NONE)
			return NFS4ERR_CONN_NOT_BOUND_TO_SESSION;
		/* Out of memory it stays unbound, and the next SEQUENCE tries again. */
		session_bind(s, session, args->conn_id, CDFS4_FORE, false);
	}
	if (args->nops > session->fore.max_ops)
		return NFS4ERR_TOO_MANY_OPS;
	if (args->request_len > session->fore.max_request)
		return NFS4ERR_REQ_TOO_BIG;
	if (args->slot >= session->nslots)
		return NFS4ERR_BADSLOT;
	if (args->highest_slot >= session->nslots)
		return NFS4ERR_BAD_HIGH_SLOT;
	return NFS4_OK;
}

/* Same seqid as the last: answer from the cache. */
static enum nfsstat4 retry(struct session *session, struct slot *slot,
			   const struct sequence_args *args, struct slot_use *use)
    REQUIRES(&session->lock)
{
	if (!slot->used)
		return NFS4ERR_SEQ_MISORDERED; /* the contrived result of a new slot */
	if (slot->request_hash != args->request_hash)
		return NFS4ERR_SEQ_FALSE_RETRY;
	if (slot->state != SLOT_IDLE)
		return NFS4ERR_DELAY;
	fill_use(session, args, use);
	if (!slot->cached) {
		use->session = NULL;
		return NFS4ERR_RETRY_UNCACHED_REP;
	}
	slot->state = SLOT_REPLAYING;
	use->replay = slot->reply;
	use->replay_len = slot->reply_len;
	return NFS4_OK;
}

static enum nfsstat4 ensure_buffer(struct state *s, struct session *session, struct slot *slot)
    REQUIRES(&session->lock)
{
	uint32_t need = session->fore.max_response_cached;
	uint8_t *buf;

	if (slot->reply_cap >= need || need <= SLOT_SMALL_REPLY)
		return NFS4_OK;
	buf = malloc(need);
	if (!buf)
		return NFS4ERR_DELAY;
	/* The old reply may be in `small`; a new request means the client has had it. */
	slot->reply = buf;
	slot->reply_cap = need;
	s->cached_bytes += need;
	return NFS4_OK;
}

/* ----------------------------------------------------- fewer slots, and more again ---- */

static void squeeze(struct state *s, struct session *session, uint32_t slot)
    REQUIRES(&session->lock)
{
	if (slot < session->target)
		session->target = slot ? slot : 1;
	session->squeezed_ns = state_now(s);
}

static bool idle_from(struct session *session, uint32_t first) REQUIRES(&session->lock)
{
	for (uint32_t n = first; n < session->nslots; n++) {
		const struct slot *chunk = session->chunks[n / SLOTS_PER_CHUNK];

		if (chunk && chunk[n % SLOTS_PER_CHUNK].state != SLOT_IDLE)
			return false;
	}
	return true;
}

static uint32_t chunks_for(uint32_t slots)
{
	return (slots + SLOTS_PER_CHUNK - 1) / SLOTS_PER_CHUNK;
}

/* What is replicated stays. */
static bool keeps_replies(const struct slot *chunk)
{
	for (unsigned i = 0; i < SLOTS_PER_CHUNK; i++) {
		if (chunk[i].kept)
			return true;
	}
	return false;
}

/* Makes the slots from `target` on as if they had never been used. */
static void retire(struct state *s, struct session *session) REQUIRES(&session->lock)
{
	for (uint32_t n = session->target; n < session->nslots; n++) {
		struct slot **chunk = &session->chunks[n / SLOTS_PER_CHUNK], *slot;
		struct slot_reply *kept;

		if (!*chunk)
			continue;
		slot = *chunk + n % SLOTS_PER_CHUNK;
		if (slot->reply_cap) {
			s->cached_bytes -= slot->reply_cap;
			free(slot->reply);
		}
		kept = slot->kept;
		memset(slot, 0, sizeof(*slot));
		slot->kept = kept;
	}
	for (uint32_t i = chunks_for(session->target); i < chunks_for(session->nslots); i++) {
		if (session->chunks[i] && keeps_replies(session->chunks[i]))
			continue;
		free(session->chunks[i]);
		session->chunks[i] = NULL;
	}
	session->nslots = session->target;
}

/* A new request has come: does the client keep to fewer slots by now, may it have more again? */
static void adjust_slots(struct state *s, struct session *session, const struct slot *slot,
			 const struct sequence_args *args) REQUIRES(&session->lock)
{
	uint32_t target = session->target;

	if (likely(target == session->fore.max_slots))
		return;
	if (target < session->nslots && slot->told_target && args->slot < target &&
	    args->highest_slot < target && idle_from(session, target))
		retire(s, session);
	if (target == session->nslots &&
	    state_now(s) - session->squeezed_ns > REGROW_SECONDS * NS_PER_SEC)
		session->nslots = session->target = target + 1;
}

/* The first request on an unknown slot makes it known; `kept` is what another node has answered. */
static enum nfsstat4 meet(struct state *s, struct session *session, struct slot *slot,
			  const struct sequence_args *args) REQUIRES(&session->lock)
{
	const struct slot_reply *kept = slot->kept;
	enum nfsstat4 status;

	if (slot->state != SLOT_IDLE)
		return NFS4ERR_DELAY;
	slot->seqid = args->seqid - 1;
	slot->used = slot->cached = false;
	if (kept && (int32_t)(args->seqid - kept->seqid) < 0)
		return NFS4ERR_SEQ_MISORDERED;
	if (kept && args->seqid == kept->seqid && !kept->begun.op) {
		status = kept->len > SLOT_SMALL_REPLY ? ensure_buffer(s, session, slot) : NFS4_OK;
		if (status)
			return status;
		slot->reply = slot->reply_cap ? slot->reply : slot->small;
		slot->seqid = kept->seqid;
		slot->request_hash = kept->request_hash;
		slot->reply_len = kept->len;
		slot->used = true;
		slot->cached = kept->len <= (slot->reply_cap ? slot->reply_cap : SLOT_SMALL_REPLY);
		if (slot->cached)
			memcpy(slot->reply, kept->bytes, kept->len);
	}
	slot->unknown = false;
	return NFS4_OK;
}

/* Has another node begun to do what is asked for now? */
static struct begun begun_elsewhere(const struct slot *slot)
{
	const struct slot_reply *kept = slot->kept;

	if (kept && kept->seqid == slot->seqid && kept->request_hash == slot->request_hash)
		return kept->begun;
	return (struct begun){ 0 };
}

static enum nfsstat4 sequence_locked(struct state *s, struct session *session,
				     const struct sequence_args *args, struct slot_use *use)
    REQUIRES(&session->lock)
{
	enum nfsstat4 status = check_session(s, session, args);
	struct slot *slot;
	bool met;

	if (status)
		return status;
	slot = session_slot(session, args->slot);
	if (!slot) {
		squeeze(s, session, args->slot);
		return NFS4ERR_DELAY;
	}
	met = slot->unknown;
	if (unlikely(met)) {
		status = meet(s, session, slot, args);
		if (status)
			return status;
	}
	if (args->seqid == slot->seqid)
		return retry(session, slot, args, use);
	if (args->seqid != slot->seqid + 1)
		return NFS4ERR_SEQ_MISORDERED;
	if (slot->state != SLOT_IDLE)
		return NFS4ERR_DELAY;
	if (args->reply_least > session->fore.max_response)
		return NFS4ERR_REP_TOO_BIG;
	if (args->cache_this && args->reply_least > session->fore.max_response_cached)
		return NFS4ERR_REP_TOO_BIG_TO_CACHE;
	if (args->cache_this) {
		status = ensure_buffer(s, session, slot);
		if (status) {
			squeeze(s, session, args->slot);
			return status;
		}
	}
	adjust_slots(s, session, slot, args);
	slot->seqid = args->seqid;
	slot->used = true;
	slot->cached = false;
	slot->request_hash = args->request_hash;
	slot->state = SLOT_RUNNING;
	slot->told_target = session->target < session->nslots;
	fill_use(session, args, use);
	slot->maybe_retry |= met;
	use->maybe_retry = slot->maybe_retry;
	use->begun = begun_elsewhere(slot);
	return NFS4_OK;
}

enum nfsstat4 state_sequence(struct state *s, const struct sequence_args *args,
			     struct slot_use *use)
{
	struct session *session = session_get(s, &args->session);
	enum nfsstat4 status;

	*use = (struct slot_use){ 0 };
	if (!session)
		return NFS4ERR_BADSESSION;
	mutex_lock(&session->lock);
	status = sequence_locked(s, session, args, use);
	mutex_unlock(&session->lock);
	if (status == NFS4_OK || status == NFS4ERR_RETRY_UNCACHED_REP)
		client_heard(s, session->client);
	if (status != NFS4_OK)
		session_unref(s, session);
	return status;
}

/* Where a reply of `len` bytes goes; NULL: it is not kept. */
static uint8_t *reply_space(struct slot *slot, uint32_t len)
{
	if (len <= slot->reply_cap)
		return slot->reply;
	if (len <= SLOT_SMALL_REPLY && !slot->reply_cap)
		return slot->small;
	return NULL;
}

void state_sequence_end(struct state *s, struct slot_use *use, const void *reply, uint32_t len)
{
	struct session *session = use->session;
	struct slot *slot;
	uint8_t *space;

	if (!session)
		return;
	mutex_lock(&session->lock);
	slot = session_slot(session, use->slot); /* it is there: the request runs on it */
	if (slot->state == SLOT_RUNNING && reply) {
		space = reply_space(slot, len);
		if (space) {
			memcpy(space, reply, len);
			slot->reply = space;
			slot->reply_len = len;
			slot->cached = true;
		}
	}
	slot->state = SLOT_IDLE;
	slot->maybe_retry &= use->refused;
	mutex_unlock(&session->lock);
	use->session = NULL;
	use->replay = NULL;
	client_heard(s, session->client);
	session_unref(s, session);
}

void slot_use_session_id(const struct slot_use *use, struct sessionid *out)
{
	*out = use->session->id;
}

bool slot_use_is_session(const struct slot_use *use, const struct sessionid *session)
{
	return use->session && memcmp(&use->session->id, session, sizeof(*session)) == 0;
}

/*
 * Opens and share reservations: OPEN, OPEN_CONFIRM, OPEN_DOWNGRADE, CLOSE.
 *
 * There is one open per open-owner and file. Its access and deny are the unions of what the OPENs
 * asked for; `pairs` remembers what they were, because OPEN_DOWNGRADE may only go to the union of
 * some of them. The file counts opens with each bit, so a conflict is found without a search.
 *
 * Minor version 0: the first open of an owner is unconfirmed until OPEN_CONFIRM; nothing else may
 * be done with it, and another OPEN of the owner cancels it. A closed open stays behind, empty,
 * so that a retried CLOSE finds the owner that has its reply, until the owner's next request.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/state/state_private.h"

static bool valid_share(uint32_t access, uint32_t deny)
{
	return access >= OPEN4_SHARE_ACCESS_READ && access <= OPEN4_SHARE_ACCESS_BOTH &&
	       deny <= OPEN4_SHARE_DENY_BOTH;
}

static uint16_t pair_bit(uint32_t access, uint32_t deny)
{
	return (uint16_t)(1u << (access * 4 + deny));
}

static void count_share(struct state_file *f, uint32_t access, uint32_t deny, int change)
    REQUIRES(&f->lock)
{
	for (unsigned i = 0; i < 2; i++) {
		if (access & 1u << i)
			f->access_count[i] += (uint32_t)change;
		if (deny & 1u << i)
			f->deny_count[i] += (uint32_t)change;
	}
}

/* Replaces the unions, in the open and in the file's counts. */
static void set_share(struct state *s, struct client *c, struct open *open, struct state_file *f,
		      uint32_t access, uint32_t deny) REQUIRES(&c->lock) REQUIRES(&f->lock)
{
	struct stripe *stripe = held_stripe(s, &open->h);

	count_share(f, open->access, open->deny, -1);
	count_share(f, access, deny, 1);
	mutex_lock(&stripe->lock);
	open->access = (uint8_t)access;
	open->deny = (uint8_t)deny;
	mutex_unlock(&stripe->lock);
}

/* ----------------------------------------------------------------------- OPEN ---- */

static enum nfsstat4 may_open(const struct work *w)
{
	const struct state_command *cmd = w->cmd;

	if (!valid_share(cmd->open.access, cmd->open.deny))
		return NFS4ERR_INVAL;
	if (cmd->open.claim == CLAIM_PREVIOUS)
		return grace_may_reclaim(w->s, w->c);
	return grace_may_claim_new(w->s, w->c);
}

static void open_detach(struct state *s, struct client *c, struct open *open, struct after *after)
    REQUIRES(&c->lock);

/* The owner stays, even if nothing is to be remembered of it: another open is coming. */
static void cancel_unconfirmed(struct work *w, struct owner *o) REQUIRES(&w->c->lock)
{
	if (o->confirmed)
		return;
	while (!list_empty(&o->states))
		open_detach(w->s, w->c, held_open(list_first(&o->states, struct held, in_owner)),
			    w->after);
}

static bool opens_left(const struct work *w)
{
	const struct state_limits *limits = &w->s->config.limits;

	w->result->over_limit = w->s->nopens >= limits->max_opens;
	return w->c->nopens < limits->max_opens_per_client && !w->result->over_limit;
}

static struct open *open_new(struct client *c, struct owner *o, struct state_file *f)
{
	struct open *open = calloc(1, sizeof(*open));

	if (!open)
		return NULL;
	open->h.client = c;
	open->h.owner = o;
	open->h.file = f;
	open->h.kind = HELD_OPEN;
	open->unconfirmed = !o->confirmed;
	list_init(&open->lock_states);
	return open;
}

static void open_link(struct work *w, struct open *open, struct state_file *f) REQUIRES(&w->c->lock)
    REQUIRES(&f->lock)
{
	list_push_back(&f->opens, &open->in_file);
	held_link(w->s, w->c, &open->h, f);
	w->c->nopens++;
	w->s->nopens++;
}

static enum nfsstat4 share_denied(struct work *w, const struct open *other)
{
	if (w->cmd->open.claim == CLAIM_PREVIOUS)
		return NFS4ERR_RECLAIM_CONFLICT;
	w->result->conflict_client = other->h.client->id;
	return NFS4ERR_SHARE_DENIED;
}

/* If a delegation is wished instead of an open, and can be granted, there is no open. */
static bool deleg_instead(struct work *w, struct state_file *f, struct open *fresh,
			  struct deleg **deleg) REQUIRES(&w->c->lock) REQUIRES(&f->lock)
{
	if (!*deleg || !w->cmd->open.xor_delegation || w->cmd->open.deny != OPEN4_SHARE_DENY_NONE)
		return false;
	deleg_grant(w, f, *deleg, fresh->h.owner);
	*deleg = NULL;
	w->result->open.no_open = w->result->open.delegation != OPEN_DELEGATE_NONE;
	return w->result->open.no_open;
}

/*
 * `fresh` is to become the owner's open of the file, unless it has one; else it is NULL. A
 * delegation, if one is wished, is taken from *deleg.
 */
/* A request of a session in a word; 0: of none. */
static uint64_t request_id(const struct request_ref *r)
{
	static const struct siphash_key key = { 0 };
	const uint64_t place = (uint64_t)r->slot << 32 | r->seqid;
	uint8_t bytes[NFS4_SESSIONID_SIZE + 8];

	if (!r->present)
		return 0;
	memcpy(bytes, r->session.data, NFS4_SESSIONID_SIZE);
	for (unsigned i = 0; i < 8; i++)
		bytes[NFS4_SESSIONID_SIZE + i] = (uint8_t)(place >> (8 * i));
	return siphash(&key, bytes, sizeof(bytes)) | 1;
}

/*
 * A client whose node has died with the reply sends the same request again. It has not seen the
 * stateid that it was given, so it must be given that one and no later (a client waits for the
 * ones between).
 */
static bool is_retry(const struct work *w, const struct open *open)
{
	uint64_t id = request_id(&w->cmd->open.request);

	return open && id && open->request == id;
}

static enum nfsstat4 open_file(struct work *w, struct state_file *f, struct open *open,
			       struct open *fresh, struct deleg **deleg) REQUIRES(&w->c->lock)
{
	uint32_t access = w->cmd->open.access, deny = w->cmd->open.deny;
	bool changes = (access & OPEN4_SHARE_ACCESS_WRITE) || (deny & OPEN4_SHARE_DENY_READ) ||
		       w->cmd->open.truncates;
	uint64_t holder;
	struct open *other;
	enum nfsstat4 status = NFS4_OK;

	mutex_lock(&f->lock);
	if (unlikely(is_retry(w, open))) {
		deleg_grant_again(w, f);
		mutex_unlock(&f->lock);
		return NFS4_OK;
	}
	holder = deleg_recall_others(w->s, f, w->c->id, changes, w->after);
	other = state_file_conflict(f, access, deny);
	if (holder) {
		w->result->conflict_client = holder;
		status = NFS4ERR_DELAY;
	} else if (other) {
		status = share_denied(w, other);
	} else if (open) {
		set_share(w->s, w->c, open, f, open->access | access, open->deny | deny);
		open->pairs |= pair_bit(access, deny);
		held_bump(w->s, w->c, &open->h);
	} else if (deleg_instead(w, f, fresh, deleg)) {
		/* No open. */
	} else {
		fresh->access = (uint8_t)access;
		fresh->deny = (uint8_t)deny;
		fresh->pairs = pair_bit(access, deny);
		count_share(f, access, deny, 1);
		open_link(w, fresh, f);
	}
	if (status == NFS4_OK)
		(open ? open : fresh)->request = request_id(&w->cmd->open.request);
	if (status == NFS4_OK && *deleg) {
		deleg_grant(w, f, *deleg, open ? open->h.owner : fresh->h.owner);
		*deleg = NULL;
	}
	mutex_unlock(&f->lock);
	return status;
}

/* The first who opened it with that access will do for all that follow. */
static void keep_cred(struct open *open, uint32_t access, const struct cred *cred)
{
	if (cred && !open->creds[access - 1])
		open->creds[access - 1] = cred_ref(cred);
}

void open_drop_creds(struct open *open)
{
	for (unsigned i = 0; i < ARRAY_SIZE(open->creds); i++) {
		cred_unref(open->creds[i]);
		open->creds[i] = NULL;
	}
}

static enum nfsstat4 open_owned(struct work *w, struct owner *o) REQUIRES(&w->c->lock)
{
	struct state_file *f;
	struct open *open, *fresh = NULL;
	struct deleg *deleg = NULL;
	enum nfsstat4 status;

	f = state_file_get(w->s, w->cmd->open.file, true);
	if (!f)
		return out_of_memory(w->cmd->minor);
	open = o->confirmed ? open_find(w->c, o, f) : NULL;
	if (!open) {
		status = opens_left(w) ? NFS4_OK : over_limit(w->cmd->minor);
		if (status == NFS4_OK) {
			fresh = open_new(w->c, o, f);
			if (!fresh)
				status = out_of_memory(w->cmd->minor);
		}
		if (status)
			goto out;
	}
	cancel_unconfirmed(w, o); /* only now that memory cannot run out any more */
	deleg = deleg_prepare(w, f);
	status = open_file(w, f, open, fresh, &deleg);
	if (status)
		goto out;
	if (w->result->open.no_open) {
		client_granted(w->c, w->after);
		goto out;
	}
	stateid_fill(w->s, open ? &open->h : &fresh->h, &w->result->open.stateid);
	w->result->open.needs_confirm = !o->confirmed;
	w->result->open.upgraded = open != NULL;
	o->principal = principal_hash(w->cmd->principal);
	keep_cred(open ? open : fresh, w->cmd->open.access, w->cmd->open.cred);
	if (o->confirmed)
		client_granted(w->c, w->after);
	if (fresh)
		return NFS4_OK; /* it has the file's reference */
out:
	free(deleg);
	if (status || w->result->open.no_open)
		free(fresh);
	state_file_put(w->s, f);
	return status;
}

enum nfsstat4 cmd_open(struct work *w)
{
	bool reclaim = w->cmd->open.claim == CLAIM_PREVIOUS, confirmed;
	enum nfsstat4 status = may_open(w);
	struct owner *o;

	w->result->open.no_open = false;
	w->result->open.stateid = (struct stateid){ 0 };
	if (status == NFS4_OK)
		status = deleg_check_claim(w);
	if (status)
		return status;
	status = owner_obtain(w->s, w->c, OWNER_OPEN, w->cmd->open.owner, w->result, &o);
	if (status)
		return status;
	/* A reclaim needs no confirmation (RFC 7530 section 9.1.11). */
	confirmed = o->confirmed;
	o->confirmed |= reclaim;
	status = open_owned(w, o);
	if (status)
		o->confirmed = confirmed;
	else
		w->c->reclaimed |= reclaim;
	if (status == NFS4_OK && !reclaim && unlikely(!w->s->granted))
		w->s->granted = true;
	if (status || w->result->open.no_open)
		owner_settle(w->s, w->c, o);
	return status;
}

struct open *open_restore(struct state *s, struct client *c, struct owner *o, struct bytes file,
			  const struct open *what)
{
	struct state_file *f;
	struct open *open;

	f = state_file_get(s, file, true);
	if (!f)
		return NULL;
	open = open_new(c, o, f);
	if (!open) {
		state_file_put(s, f);
		return NULL;
	}
	open->access = what->access;
	open->deny = what->deny;
	open->pairs = what->pairs;
	open->unconfirmed = what->unconfirmed;
	open->request = what->request;
	mutex_lock(&f->lock);
	count_share(f, open->access, open->deny, 1);
	list_push_back(&f->opens, &open->in_file);
	mutex_unlock(&f->lock);
	held_restore(s, c, &open->h, f, what->h.id, what->h.seqid);
	c->nopens++;
	s->nopens++;
	return open;
}

/* ------------------------------------------------------ OPEN_CONFIRM, DOWNGRADE ---- */

static enum nfsstat4 find_open(struct work *w, bool unconfirmed, struct open **out)
    REQUIRES(&w->c->lock)
{
	struct held *h;
	enum nfsstat4 status =
	    work_find(w, &w->cmd->open_downgrade.stateid, w->cmd->open_downgrade.file, HELD_OPEN, &h);

	if (status)
		return status;
	/* A retry of OPEN_CONFIRM finds it confirmed. */
	if (held_open(h)->unconfirmed != unconfirmed && !(unconfirmed && w->repeated))
		return NFS4ERR_BAD_STATEID;
	*out = held_open(h);
	return NFS4_OK;
}

enum nfsstat4 cmd_open_confirm(struct work *w)
{
	struct stripe *stripe;
	struct open *open;
	enum nfsstat4 status = find_open(w, true, &open);

	if (status)
		return status;
	stripe = held_stripe(w->s, &open->h);
	mutex_lock(&stripe->lock);
	open->unconfirmed = false;
	mutex_unlock(&stripe->lock);
	open->h.owner->confirmed = true;
	client_granted(w->c, w->after);
	work_bump(w, &open->h);
	stateid_fill(w->s, &open->h, &w->result->stateid);
	return NFS4_OK;
}

/*
 * The pairs that fit within access and deny: those that stay in effect. The downgrade is
 * legal if their union is just that (RFC 7530 section 16.19.4).
 */
static uint16_t pairs_within(const struct open *open, uint32_t access, uint32_t deny, bool *exact)
{
	uint32_t a, d, all_access = 0, all_deny = 0;
	uint16_t within = 0;

	for (a = OPEN4_SHARE_ACCESS_READ; a <= OPEN4_SHARE_ACCESS_BOTH; a++) {
		for (d = OPEN4_SHARE_DENY_NONE; d <= OPEN4_SHARE_DENY_BOTH; d++) {
			if (!(open->pairs & pair_bit(a, d)) || (a & ~access) || (d & ~deny))
				continue;
			within |= pair_bit(a, d);
			all_access |= a;
			all_deny |= d;
		}
	}
	*exact = all_access == access && all_deny == deny;
	return within;
}

enum nfsstat4 cmd_open_downgrade(struct work *w)
{
	uint32_t access = w->cmd->open_downgrade.access, deny = w->cmd->open_downgrade.deny;
	struct state_file *f;
	struct open *open;
	uint16_t within;
	bool exact;
	enum nfsstat4 status = find_open(w, false, &open);

	if (status)
		return status;
	if (!valid_share(access, deny))
		return NFS4ERR_INVAL;
	within = pairs_within(open, access, deny, &exact);
	if (!exact)
		return NFS4ERR_INVAL;
	f = open->h.file;
	mutex_lock(&f->lock);
	if (open->access != access || open->deny != deny)
		after_freed(w->s, w->after, f);
	set_share(w->s, w->c, open, f, access, deny);
	mutex_unlock(&f->lock);
	open->pairs = within;
	work_bump(w, &open->h);
	stateid_fill(w->s, &open->h, &w->result->stateid);
	return NFS4_OK;
}

/* ---------------------------------------------------------------------- CLOSE ---- */

/* Its share reservation and byte ranges are free, but the file and the stateid remain. */
static void open_release(struct state *s, struct client *c, struct open *open, struct after *after)
    REQUIRES(&c->lock)
{
	struct state_file *f = open->h.file;

	while (!list_empty(&open->lock_states))
		lock_state_free(s, c, list_first(&open->lock_states, struct lock_state, in_open),
				after);
	mutex_lock(&f->lock);
	count_share(f, open->access, open->deny, -1);
	list_remove(&open->in_file);
	mutex_unlock(&f->lock);
	c->nopens--;
	s->nopens--;
}

static void open_detach(struct state *s, struct client *c, struct open *open, struct after *after)
{
	open_release(s, c, open, after);
	held_unlink(s, c, &open->h);
	list_push_back(&after->opens, &open->h.in_owner);
}

void open_unlink(struct state *s, struct client *c, struct open *open, struct after *after)
{
	struct owner *o = open->h.owner;

	open_detach(s, c, open, after);
	owner_settle(s, c, o);
}

/* What remains is found by its stateid and says who the owner was. */
static void open_keep_closed(struct work *w, struct open *open) REQUIRES(&w->c->lock)
{
	struct owner *o = open->h.owner;
	struct state_file *f = open->h.file;
	struct stripe *stripe = held_stripe(w->s, &open->h);

	open_release(w->s, w->c, open, w->after);
	table_remove(&w->c->pairs, &open->h.by_pair);
	list_remove(&open->h.in_owner);
	mutex_lock(&stripe->lock);
	open->h.kind = HELD_CLOSED;
	open->h.file = NULL;
	memcpy(w->after->files, open->files, sizeof(open->files));
	memset(open->files, 0, sizeof(open->files));
	mutex_unlock(&stripe->lock);
	open_drop_creds(open);
	after_freed(w->s, w->after, f);
	state_file_put(w->s, f);
	owner_drop_closed(w->s, w->c, o);
	o->closed = open;
	o->closed_now = true;
	owner_settle(w->s, w->c, o);
}

/* Minor version 0: this CLOSE has closed it already. */
static bool was_closed(struct work *w) REQUIRES(&w->c->lock)
{
	const struct held *h = held_find(w->s, w->c, &w->cmd->open_downgrade.stateid);

	if (!h || h->kind != HELD_CLOSED || !work_is_again(w, h->owner))
		return false;
	stateid_fill(w->s, h, &w->result->stateid);
	w->result->stateid.seqid++;
	return true;
}

enum nfsstat4 cmd_close(struct work *w)
{
	struct open *open;
	enum nfsstat4 status = find_open(w, false, &open);

	if (status == NFS4ERR_BAD_STATEID && was_closed(w))
		return NFS4_OK;
	if (status == NFS4ERR_BAD_STATEID && w->cmd->maybe_retry) {
		w->result->stateid = (struct stateid){ .seqid = NFS4_UINT32_MAX };
		return NFS4_OK; /* it has been closed */
	}
	if (status)
		return status;
	if (w->cmd->minor == 0) {
		stateid_fill(w->s, &open->h, &w->result->stateid);
		w->result->stateid.seqid++;
		open_keep_closed(w, open);
	} else {
		/* RFC 8881 section 18.2.4: the stateid that is always invalid. */
		w->result->stateid = (struct stateid){ .seqid = NFS4_UINT32_MAX };
		open_unlink(w->s, w->c, open, w->after);
	}
	return NFS4_OK;
}

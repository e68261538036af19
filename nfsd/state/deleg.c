/*
 * Delegations: what a client may do with a file without asking, until it is recalled.
 *
 *	           grant (a part of OPEN)            conflict of another client
 *	(none) ---------------------------> granted ---------------------------> recalled
 *	   ^                                   |                                    |
 *	   |<-------- DELEGRETURN, expiry -----+------------------------------------|
 *	   |                                                    CMD_REVOKE: a lease later
 *	   |      FREE_STATEID, expiry (minor version 0: at once)                   v
 *	   `-------------------------------------------------------------------- revoked
 *
 * Invariants:
 *  - a client has at most one delegation of a file that is not revoked;
 *  - a file with a write delegation has no open and no delegation of another client;
 *  - a file with read delegations has no open for writing, and none that denies reading, of a
 *    client other than the only one that has a delegation of it.
 * A granted or recalled delegation is in its file's list, a revoked one is not: it stands in
 * nobody's way, only its stateid remains so that its client learns what has happened.
 *
 * Whoever conflicts gets NFS4ERR_DELAY and comes again; the delegation is marked, and the effect
 * EFFECT_RECALL emitted, once. A directory's delegation is a read delegation, given by CMD_DELEGATE,
 * and recalled by whoever changes the directory. What an OPEN wishes is decided at the node where it starts (is there
 * a way back to the client? was the file contended a moment ago?); whether it can be, here.
 *
 * Operations that are no commands (REMOVE, SETATTR...) ask state_deleg_conflict() and submit a
 * CMD_RECALL if there is something to be recalled.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "nfsd/state/state_private.h"

static bool in_the_way(const struct deleg *d, uint64_t clientid, bool changes)
{
	return d->h.client->id != clientid && (changes || d->type == OPEN_DELEGATE_WRITE);
}

static uint64_t deleg_hash(const struct state_file *f)
{
	return hash_u64((uintptr_t)f);
}

static struct deleg *deleg_find(struct client *c, const struct state_file *f) REQUIRES(&c->lock)
{
	uint64_t hash = deleg_hash(f);
	struct table_node *n;

	table_for_each(n, &c->pairs, hash)
	{
		struct held *h = container_of(n, struct held, by_pair);

		if (h->kind == HELD_DELEG && h->file == f && !held_deleg(h)->revoked)
			return held_deleg(h);
	}
	return NULL;
}

/* One more (1) or less (-1) that is not revoked. */
static void count_deleg(struct state *s, struct client *c, const struct deleg *d, int change)
    REQUIRES(&c->lock)
{
	c->ndelegs += (uint32_t)change;
	s->ndelegs += (uint64_t)(int64_t)change;
	if (d->type == OPEN_DELEGATE_WRITE)
		s->nwrite_delegs += (uint64_t)(int64_t)change;
}

/* ---------------------------------------------------------------------- recall ---- */

/* An effect on its way: the delegation may have gone when it is emitted. */
struct recall {
	struct list link;
	struct state_effect effect;
	uint8_t bytes[]; /* the filehandle, then the file's key */
};

static struct recall *recall_new(const struct state *s, const struct deleg *d,
				 const struct state_file *f)
{
	struct recall *r = malloc(sizeof(*r) + d->fh_len + f->len);

	if (!r) {
		command_lacks_memory();
		return NULL;
	}
	*r = (struct recall){ .effect = { .type = EFFECT_RECALL,
					  .clientid = d->h.client->id,
					  .fh = { r->bytes, d->fh_len },
					  .file = { r->bytes + d->fh_len, f->len },
					  .granted_by = d->granted_by } };
	stateid_fill(s, &d->h, &r->effect.stateid);
	memcpy(r->bytes, d->fh, d->fh_len);
	memcpy(r->bytes + d->fh_len, f->key, f->len);
	return r;
}

/* Without memory for the effect it stays unmarked: who conflicts comes again. */
static void deleg_recall(struct state *s, struct deleg *d, struct state_file *f,
			 struct after *after) REQUIRES(&f->lock)
{
	struct recall *r = d->recalled ? NULL : recall_new(s, d, f);

	if (!r)
		return;
	d->recalled = true;
	list_push_back(&after->recalls, &r->link);
	mutex_lock(&s->recall_lock);
	d->recalled_ns = state_now(s);
	list_push_back(&s->recalled, &d->in_recalled);
	mutex_unlock(&s->recall_lock);
}

uint64_t deleg_recall_others(struct state *s, struct state_file *f, uint64_t clientid, bool changes,
			     struct after *after)
{
	uint64_t other = 0;
	struct deleg *d;

	list_for_each (d, &f->delegs, in_file) {
		if (!in_the_way(d, clientid, changes))
			continue;
		other = d->h.client->id;
		deleg_recall(s, d, f, after);
	}
	return other;
}

void deleg_recall_again(struct state *s, struct client *c, struct after *after)
{
	struct held *h;

	list_for_each (h, &c->delegs, in_owner) {
		struct deleg *d = held_deleg(h);
		struct recall *r;
		bool recalled;

		if (d->revoked)
			continue;
		mutex_lock(&h->file->lock);
		recalled = d->recalled;
		mutex_unlock(&h->file->lock);
		if (!recalled)
			continue;
		r = recall_new(s, d, h->file);
		if (r)
			list_push_back(&after->recalls, &r->link);
		mutex_lock(&s->recall_lock);
		list_remove(&d->in_recalled);
		d->recalled_ns = state_now(s);
		list_push_back(&s->recalled, &d->in_recalled);
		mutex_unlock(&s->recall_lock);
	}
}

void deleg_emit_recalls(struct after *after, const struct state_effects *effects)
{
	struct recall *r, *next;

	list_for_each_safe (r, next, &after->recalls, link) {
		if (effects->emit)
			effects->emit(effects->arg, &r->effect);
		free(r);
	}
}

enum nfsstat4 cmd_recall(struct state *s, const struct state_command *cmd,
			 struct state_result *result, const struct state_effects *effects)
{
	struct state_file *f = state_file_get(s, cmd->recall.file, false);
	struct after after;

	if (!f)
		return NFS4_OK;
	after_init(&after);
	mutex_lock(&f->lock);
	deleg_recall_others(s, f, cmd->clientid, cmd->recall.changes, &after);
	mutex_unlock(&f->lock);
	finish(s, &after, effects);
	state_file_put(s, f);
	return NFS4_OK;
}

bool state_deleg_conflict(struct state *s, struct bytes key, uint64_t clientid, bool changes,
			  uint64_t *conflict_client, bool *recall)
{
	struct state_file *f;
	struct deleg *d;

	*conflict_client = 0;
	*recall = false;
	if (s->ndelegs == 0)
		return false;
	f = state_file_get(s, key, false);
	if (!f)
		return false;
	mutex_lock(&f->lock);
	list_for_each (d, &f->delegs, in_file) {
		if (!in_the_way(d, clientid, changes))
			continue;
		*conflict_client = d->h.client->id;
		*recall |= !d->recalled;
	}
	mutex_unlock(&f->lock);
	state_file_put(s, f);
	return *conflict_client != 0;
}

/* ----------------------------------------------------------------------- grant ---- */

struct deleg *deleg_prepare(struct work *w, struct state_file *f)
{
	const struct state_command *cmd = w->cmd;
	const struct state_limits *limits = &w->s->config.limits;
	struct deleg *d;

	w->result->open.delegation = OPEN_DELEGATE_NONE;
	w->result->open.why_none = WND4_RESOURCE;
	if (cmd->open.delegate == OPEN_DELEGATE_NONE || cmd->open.fh.len > sizeof(d->fh))
		return NULL;
	if (w->c->ndelegs >= limits->max_delegs_per_client || w->s->ndelegs >= limits->max_delegs ||
	    w->c->kept_deleg)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (!d) {
		command_lacks_memory();
		return NULL;
	}
	d->h.client = w->c;
	d->h.file = f;
	d->h.kind = HELD_DELEG;
	d->type = (uint8_t)cmd->open.delegate;
	d->granted_by = cmd->open.request;
	d->change = d->granted_change = cmd->open.change;
	d->times = cmd->open.times && cmd->open.delegate == OPEN_DELEGATE_WRITE;
	d->directory = cmd->open.directory;
	d->fh_len = (uint8_t)cmd->open.fh.len;
	memcpy(d->fh, cmd->open.fh.p, cmd->open.fh.len);
	list_init(&d->in_recalled);
	return d;
}

/* An open of another client that does not go together with a delegation. */
static bool opened_by_others(struct state_file *f, const struct client *c, uint32_t type)
    REQUIRES(&f->lock)
{
	struct open *open;

	if (type == OPEN_DELEGATE_READ && f->access_count[1] == 0 && f->deny_count[0] == 0)
		return false;
	list_for_each (open, &f->opens, in_file) {
		if (open->h.client != c &&
		    (type == OPEN_DELEGATE_WRITE || (open->access & OPEN4_SHARE_ACCESS_WRITE) ||
		     (open->deny & OPEN4_SHARE_DENY_READ)))
			return true;
	}
	return false;
}

/* The client is to hear of it. */
static void note_granted(struct work *w, struct state_file *f, const struct deleg *d)
{
	w->result->open.delegation = d->type;
	stateid_fill(w->s, &d->h, &w->result->open.deleg_stateid);
	if (w->cmd->open.claim == CLAIM_PREVIOUS)
		return;
	w->after->granted.file = state_file_ref(w->s, f);
	w->after->granted.clientid = w->c->id;
	w->after->granted.stateid = w->result->open.deleg_stateid;
	w->after->granted.node = command_node(w->cmd);
}

void deleg_grant(struct work *w, struct state_file *f, struct deleg *d, const struct owner *o)
{
	if (!d)
		return;
	if ((o && !o->confirmed) || deleg_find(w->c, f)) {
		free(d);
		return;
	}
	/* Of the delegations only read ones can be left when the open was granted. */
	if (opened_by_others(f, w->c, d->type) ||
	    (d->type == OPEN_DELEGATE_WRITE && !list_empty(&f->delegs))) {
		w->result->open.why_none = WND4_CONTENTION;
		free(d);
		return;
	}
	state_file_ref(w->s, f);
	list_push_back(&f->delegs, &d->in_file);
	held_publish(w->s, w->c, &d->h);
	table_insert(&w->c->pairs, &d->h.by_pair, deleg_hash(f));
	list_push_back(&w->c->delegs, &d->h.in_owner);
	count_deleg(w->s, w->c, d, 1);
	if (w->cmd->open.cred)
		d->cred = cred_ref(w->cmd->open.cred);
	note_granted(w, f, d);
}

/* WANT_DELEGATION, GET_DIR_DELEGATION: nobody is called back for it. */
enum nfsstat4 cmd_delegate(struct work *w)
{
	const struct state_command *cmd = w->cmd;
	enum nfsstat4 status = cmd->open.claim == CLAIM_PREVIOUS
				   ? grace_may_reclaim(w->s, w->c)
				   : grace_may_claim_new(w->s, w->c);
	struct state_file *f;
	struct deleg *d;

	if (status)
		return status;
	f = state_file_get(w->s, cmd->open.file, true);
	if (!f)
		return out_of_memory(cmd->minor);
	d = deleg_prepare(w, f);
	mutex_lock(&f->lock);
	deleg_grant(w, f, d, NULL);
	mutex_unlock(&f->lock);
	if (w->result->open.delegation != OPEN_DELEGATE_NONE) {
		client_granted(w->c, w->after);
		w->c->reclaimed |= cmd->open.claim == CLAIM_PREVIOUS;
		w->s->granted |= cmd->open.claim != CLAIM_PREVIOUS;
	}
	state_file_put(w->s, f);
	return NFS4_OK;
}

void deleg_grant_again(struct work *w, struct state_file *f)
{
	const struct request_ref *r = &w->cmd->open.request;
	const struct deleg *d = deleg_find(w->c, f);

	if (!d || d->revoked || !d->granted_by.present || d->granted_by.slot != r->slot ||
	    d->granted_by.seqid != r->seqid ||
	    memcmp(d->granted_by.session.data, r->session.data, NFS4_SESSIONID_SIZE) != 0)
		return;
	note_granted(w, f, d);
}

/* The state is as it was: only told. */
enum nfsstat4 cmd_grant_seen(struct state *s, const struct state_command *cmd,
			     struct state_result *result, const struct state_effects *effects)
{
	if (effects->emit)
		effects->emit(effects->arg,
			      &(struct state_effect){ .type = EFFECT_GRANT_SEEN,
						      .clientid = cmd->clientid,
						      .stateid = cmd->grant_seen.stateid,
						      .node = command_node(cmd),
						      .contended = cmd->grant_seen.contended });
	return NFS4_OK;
}

struct deleg *deleg_restore(struct state *s, struct client *c, struct bytes file,
			    const struct deleg *what)
{
	struct deleg *d = malloc(sizeof(*d));
	uint32_t last = c->last_id;

	if (!d)
		return NULL;
	*d = *what;
	d->h.file = state_file_get(s, file, true);
	if (!d->h.file) {
		free(d);
		return NULL;
	}
	d->h.client = c;
	d->h.kind = HELD_DELEG;
	list_init(&d->in_file);
	list_init(&d->in_recalled);
	c->last_id = what->h.id - 1;
	held_publish(s, c, &d->h);
	c->last_id = last;
	d->h.seqid = what->h.seqid;
	table_insert(&c->pairs, &d->h.by_pair, deleg_hash(d->h.file));
	list_push_back(&c->delegs, &d->h.in_owner);
	if (d->revoked) {
		c->nrevoked++;
		return d;
	}
	mutex_lock(&d->h.file->lock);
	list_push_back(&d->h.file->delegs, &d->in_file);
	mutex_unlock(&d->h.file->lock);
	if (d->recalled) {
		mutex_lock(&s->recall_lock);
		d->recalled_ns = state_now(s);
		list_push_back(&s->recalled, &d->in_recalled);
		mutex_unlock(&s->recall_lock);
	}
	count_deleg(s, c, d, 1);
	return d;
}

/* What the client opens under its delegation must be covered by it. */
enum nfsstat4 deleg_check_claim(struct work *w)
{
	const struct state_command *cmd = w->cmd;
	struct held *h;
	enum nfsstat4 status;

	if (cmd->open.claim != CLAIM_DELEGATE_CUR && cmd->open.claim != CLAIM_DELEG_CUR_FH)
		return NFS4_OK;
	status = held_check(w->s, w->c, cmd->minor, &cmd->open.deleg_stateid, cmd->open.file,
			    HELD_DELEG, &h);
	if (status)
		return status;
	if (held_deleg(h)->revoked)
		return NFS4ERR_DELEG_REVOKED;
	if (held_deleg(h)->type == OPEN_DELEGATE_READ &&
	    (cmd->open.access & OPEN4_SHARE_ACCESS_WRITE))
		return NFS4ERR_INVAL;
	return NFS4_OK;
}

/* ------------------------------------------------------- return and revocation ---- */

/* Out of everybody's way; its stateid stays. */
static void deleg_withdraw(struct state *s, struct client *c, struct deleg *d)
    REQUIRES(&c->lock)
{
	struct state_file *f = d->h.file;

	mutex_lock(&f->lock);
	list_remove(&d->in_file);
	mutex_unlock(&f->lock);
	mutex_lock(&s->recall_lock);
	list_remove(&d->in_recalled);
	mutex_unlock(&s->recall_lock);
	count_deleg(s, c, d, -1);
}

void deleg_unlink(struct state *s, struct client *c, struct deleg *d, struct after *after)
{
	if (d->revoked)
		c->nrevoked--;
	else
		deleg_withdraw(s, c, d);
	held_unlink(s, c, &d->h);
	list_push_back(&after->delegs, &d->h.in_owner);
}

void deleg_free(struct state *s, struct deleg *d)
{
	file_unref(d->file);
	cred_unref(d->cred);
	state_file_put(s, d->h.file);
	free(d);
}

static enum nfsstat4 find_deleg(struct work *w, struct bytes file, struct deleg **out)
    REQUIRES(&w->c->lock)
{
	struct held *h;
	enum nfsstat4 status = held_check(
	    w->s, w->c, w->cmd->minor, &w->cmd->deleg_return.stateid, file, HELD_DELEG, &h);

	if (status)
		return status;
	*out = held_deleg(h);
	return NFS4_OK;
}

enum nfsstat4 cmd_deleg_return(struct work *w)
{
	struct deleg *d;
	enum nfsstat4 status = find_deleg(w, w->cmd->deleg_return.file, &d);

	if (status == NFS4ERR_BAD_STATEID && w->cmd->maybe_retry)
		return NFS4_OK; /* it has been returned */
	if (status)
		return status;
	if (d->revoked)
		return NFS4ERR_DELEG_REVOKED;
	deleg_unlink(w->s, w->c, d, w->after);
	return NFS4_OK;
}

/*
 * Minor version 0 could not free the stateid of what is gone: there it is forgotten at once, and
 * the client recovers from BAD_STATEID.
 */
enum nfsstat4 cmd_revoke(struct work *w)
{
	struct stripe *stripe;
	struct deleg *d;
	enum nfsstat4 status = find_deleg(w, (struct bytes){ 0 }, &d);

	if (status)
		return status;
	if (d->revoked)
		return NFS4_OK;
	w->c->kept_deleg = true;
	client_revoked(w->c, w->effects);
	if (w->c->v40) {
		deleg_unlink(w->s, w->c, d, w->after);
		return NFS4_OK;
	}
	deleg_withdraw(w->s, w->c, d);
	after_freed(w->s, w->after, d->h.file);
	stripe = held_stripe(w->s, &d->h);
	mutex_lock(&stripe->lock);
	d->revoked = true;
	w->after->files[0] = d->file;
	d->file = NULL;
	mutex_unlock(&stripe->lock);
	w->c->nrevoked++;
	return NFS4_OK;
}

unsigned state_revocable(struct state *s, struct state_overdue *out, unsigned cap)
{
	uint64_t now = state_now(s), lease = s->config.lease_seconds * NS_PER_SEC;
	struct deleg *d;
	unsigned n = 0;

	mutex_lock(&s->recall_lock);
	list_for_each (d, &s->recalled, in_recalled) {
		if (n == cap || now - d->recalled_ns <= lease)
			break; /* those behind were recalled later */
		if (d->h.client->home != s->node)
			continue; /* where it is at home, they look, too */
		out[n].clientid = d->h.client->id;
		out[n].minor = d->h.client->v40 ? 0 : 1;
		stateid_fill(s, &d->h, &out[n].stateid);
		n++;
	}
	mutex_unlock(&s->recall_lock);
	return n;
}

bool state_deleg_is_held(struct state *s, uint64_t clientid, const struct stateid *id)
{
	struct client *c = client_get(s, clientid);
	struct held *h;
	bool waiting;

	if (!c)
		return false;
	mutex_lock(&c->lock);
	h = c->dead ? NULL : held_find(s, c, id);
	waiting = h && h->kind == HELD_DELEG && !held_deleg(h)->revoked;
	mutex_unlock(&c->lock);
	client_unref(c);
	return waiting;
}

bool state_may_delegate(struct state *s, uint64_t clientid, struct bytes key)
{
	struct client *c = client_get(s, clientid);
	struct state_file *f;
	bool may;

	if (!c)
		return false;
	may = !c->kept_deleg;
	f = may && c->ndelegs ? state_file_get(s, key, false) : NULL;
	if (f) {
		mutex_lock(&c->lock);
		may = !deleg_find(c, f);
		mutex_unlock(&c->lock);
		state_file_put(s, f);
	}
	client_unref(c);
	return may;
}

/* Without `recalled`. */
static void deleg_describe(const struct deleg *d, struct state_deleg *out)
{
	out->clientid = d->h.client->id;
	out->type = d->type;
	out->recalled = false;
	out->directory = d->directory;
	out->times = d->times;
	out->change = d->change;
	out->granted_change = d->granted_change;
	out->fh_len = d->fh_len;
	memcpy(out->fh, d->fh, d->fh_len);
}

bool state_has_delegs(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	bool has;

	if (!c)
		return false;
	has = c->ndelegs != 0;
	client_unref(c);
	return has;
}

bool state_has_write_delegs(struct state *s)
{
	return s->nwrite_delegs != 0;
}

bool state_write_deleg(struct state *s, struct bytes key, uint64_t clientid,
		       struct state_deleg *out)
{
	struct state_file *f = s->nwrite_delegs ? state_file_get(s, key, false) : NULL;
	struct deleg *d;
	bool found = false;

	if (!f)
		return false;
	mutex_lock(&f->lock);
	list_for_each (d, &f->delegs, in_file) {
		if (!in_the_way(d, clientid, false))
			continue;
		deleg_describe(d, out);
		out->recalled = d->recalled;
		found = true;
	}
	mutex_unlock(&f->lock);
	state_file_put(s, f);
	return found;
}

void state_note_change(struct state *s, struct bytes key, uint64_t clientid, uint64_t change)
{
	struct state_file *f = s->nwrite_delegs ? state_file_get(s, key, false) : NULL;
	struct deleg *d;

	if (!f)
		return;
	mutex_lock(&f->lock);
	list_for_each (d, &f->delegs, in_file) {
		if (d->h.client->id == clientid)
			d->change = change;
	}
	mutex_unlock(&f->lock);
	state_file_put(s, f);
}

int state_each_deleg(struct state *s, uint64_t clientid,
		     void (*fn)(void *arg, const struct state_deleg *d), void *arg)
{
	struct state_deleg *all;
	uint64_t room;
	size_t n = 0;
	struct client *c;
	struct held *h;

	mutex_lock(&s->names_lock);
	room = s->ndelegs;
	all = calloc(room ? room : 1, sizeof(*all));
	list_for_each (c, &s->clients, in_clients) {
		if (clientid && c->id != clientid)
			continue;
		mutex_lock(&c->lock);
		list_for_each (h, &c->delegs, in_owner) {
			const struct deleg *d = held_deleg(h);

			if (!all || d->revoked || n == room)
				continue;
			deleg_describe(d, &all[n++]);
		}
		mutex_unlock(&c->lock);
	}
	mutex_unlock(&s->names_lock);
	for (size_t i = 0; all && i < n; i++)
		fn(arg, &all[i]);
	free(all);
	return all ? 0 : -ENOMEM;
}

bool state_keeps_times(struct state *s, uint64_t clientid, const struct stateid *id,
		       struct bytes file)
{
	struct client *c = client_get(s, clientid);
	struct held *h;
	bool keeps;

	if (!c)
		return false;
	mutex_lock(&c->lock);
	keeps = !c->dead && held_check(s, c, 1, id, file, HELD_DELEG, &h) == NFS4_OK &&
		held_deleg(h)->times && !held_deleg(h)->revoked;
	mutex_unlock(&c->lock);
	client_unref(c);
	return keeps;
}

uint32_t state_deleg_type(struct state *s, uint64_t clientid, struct bytes key)
{
	struct client *c = client_get(s, clientid);
	uint32_t type = OPEN_DELEGATE_NONE;
	struct state_file *f;
	struct deleg *d;

	if (!c)
		return OPEN_DELEGATE_NONE;
	f = c->ndelegs ? state_file_get(s, key, false) : NULL;
	if (f) {
		mutex_lock(&c->lock);
		d = deleg_find(c, f);
		if (d)
			type = d->type;
		mutex_unlock(&c->lock);
		state_file_put(s, f);
	}
	client_unref(c);
	return type;
}

/* -------------------------------------------------------------------- being full ---- */

uint64_t state_ndelegs(struct state *s)
{
	return s->ndelegs;
}

unsigned state_holders(struct state *s, struct state_holder *out, unsigned cap)
{
	struct client *c;
	unsigned n = 0;

	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients) {
		if (n == cap)
			break;
		if (!c->v40 && c->ndelegs)
			out[n++] = (struct state_holder){ c->id, c->ndelegs };
	}
	mutex_unlock(&s->names_lock);
	return n;
}

struct state_limits state_limits(const struct state *s)
{
	return s->config.limits;
}

void state_deleg_limits(struct state *s, uint32_t *client, uint32_t *all)
{
	*client = s->config.limits.max_delegs_per_client;
	*all = s->config.limits.max_delegs;
}

bool state_path_is_missed(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	bool missed;

	if (!c)
		return false;
	/* One that has not been tried since the server started is missed by nobody yet. */
	missed = c->v40 && c->ndelegs && c->callback_path == BACK_DOWN;
	client_unref(c);
	return missed;
}

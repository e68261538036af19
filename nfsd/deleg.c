/*
 * The policy of delegations and their recalls; see deleg.h.
 *
 * A recall:
 *	EFFECT_RECALL -> sent -> answered well: forgotten; the client returns the delegation
 *	                   |---> the client has gone: forgotten
 *	                   `---> anything else: in `failed` until the next tick, then sent again
 *	                         as long as the delegation is there
 * It is the callbacks' from callback_send() to recall_done(), and under `lock` while it is in
 * `failed`. That a delegation is revoked a lease after its recall does not depend on any of this.
 *
 * Two tables, by the hash of the file's key, need no lock: `recalled`, which file's delegation was
 * last recalled and when, so that files that clients fight over are left alone for a while; and
 * `guards`, how many operations just now rely on nobody having one. Files that share a place forget
 * each other's recalls and are guarded together, no harm.
 */
#include "nfsd/deleg.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "nfsd/attrs.h"
#include "nfsd/callback/callback.h"
#include "nfsd/deleg_agree.h"
#include "nfsd/deleg_ask.h"
#include "nfsd/deleg_local.h"
#include "nfsd/deleg_private.h"
#include "nfsd/ops.h"

#define BACK_OFF_MS  30000
#define REVOKE_BATCH 64

struct recall {
	struct callback_call call;
	struct nfs_server *server;
	struct list link;
	struct stateid stateid;
	uint8_t args[]; /* CB_RECALL4args */
};

/* A delegation or an open that was granted but that its client will not hear of: it goes back. */
struct unheard {
	struct nfs_server *server;
	struct list link;
	struct state_command cmd;
	struct state_result result;
	uint8_t file[];
};

struct delegations *delegations_new(void)
{
	struct delegations *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	mutex_init(&d->lock);
	list_init(&d->failed);
	list_init(&d->unreturned);
	list_init(&d->recalls_any);
	mutex_init(&d->ask_lock);
	list_init(&d->queries);
	mutex_init(&d->agree_lock);
	list_init(&d->agreements);
	return d;
}

void delegations_free(struct delegations *d)
{
	struct unheard *u, *next_unheard;
	struct recall *r, *next;

	if (!d)
		return;
	list_for_each_safe (r, next, &d->failed, link)
		free(r);
	list_for_each_safe (u, next_unheard, &d->unreturned, link)
		free(u);
	deleg_full_end(d);
	deleg_agree_free(d);
	mutex_destroy(&d->agree_lock);
	mutex_destroy(&d->ask_lock);
	mutex_destroy(&d->lock);
	free(d);
}

static unsigned place_of(struct bytes key)
{
	return (unsigned)(hash_bytes(key.p, key.len) % DELEG_PLACES);
}

/* What stands in `recalled` for this file now: milliseconds below, the hash above. */
#define RECALLED_TIME ((UINT64_C(1) << 40) - 1)

static uint64_t recall_mark(struct bytes key)
{
	uint64_t now_ms = clock_coarse_ns() / (NS_PER_SEC / 1000);

	return (hash_bytes(key.p, key.len) & ~RECALLED_TIME) | (now_ms & RECALLED_TIME);
}

/* -------------------------------------------------------------------- recalls ---- */

static void recall_done(struct callback_call *call)
{
	struct recall *r = container_of(call, struct recall, call);
	struct delegations *d = r->server->delegations;

	if (call->outcome == CALLBACK_GONE ||
	    (call->outcome == CALLBACK_ANSWERED && call->status == NFS4_OK)) {
		free(r);
		return;
	}
	/*
	 * The client is busy, or does not know the delegation yet because the OPEN's reply is
	 * behind the recall, or there is no way to it.
	 */
	mutex_lock(&d->lock);
	list_push_back(&d->failed, &r->link);
	mutex_unlock(&d->lock);
}

static void put_word(uint8_t **p, uint32_t word)
{
	word = htobe32(word);
	memcpy(*p, &word, sizeof(word));
	*p += sizeof(word);
}

/* CB_RECALL4args (RFC 8881 section 20.2): stateid, truncate, filehandle. */
static struct recall *recall_new(struct nfs_server *s, const struct state_effect *e)
{
	size_t len = 4 + NFS4_OTHER_SIZE + 4 + 4 + e->fh.len + xdr_pad(e->fh.len);
	struct recall *r = calloc(1, sizeof(*r) + len);
	uint8_t *p;

	if (!r)
		return NULL;
	r->server = s;
	r->stateid = e->stateid;
	p = r->args;
	put_word(&p, e->stateid.seqid);
	memcpy(p, e->stateid.other, NFS4_OTHER_SIZE);
	p += NFS4_OTHER_SIZE;
	put_word(&p, false);
	put_word(&p, e->fh.len);
	memcpy(p, e->fh.p, e->fh.len);
	r->call = (struct callback_call){
		.clientid = e->clientid,
		.op = OP_CB_RECALL,
		.args = { r->args, (uint32_t)len },
		.referral = { .present = e->granted_by.present,
			      .session = e->granted_by.session,
			      .slot = e->granted_by.slot,
			      .seqid = e->granted_by.seqid },
		.done = recall_done,
	};
	return r;
}

void deleg_recall_effect(struct nfs_server *s, const struct state_effect *e)
{
	struct recall *r;

	atomic_store_explicit(&s->delegations->recalled[place_of(e->file)], recall_mark(e->file),
			      memory_order_relaxed);
	if (!state_is_at_home(s->state, e->clientid))
		return; /* its home has a way to it */
	r = recall_new(s, e);
	if (r)
		callback_send(s, &r->call);
	else
		log_warn("client %016llx: out of memory for a recall; its delegation will be "
			 "revoked in %u s",
			 (unsigned long long)e->clientid, s->options.lease_seconds);
}

static void retry_failed(struct nfs_server *s)
{
	struct delegations *d = s->delegations;
	struct list again = LIST_INITIALIZER(again);
	struct recall *r, *next;

	mutex_lock(&d->lock);
	list_splice_back(&again, &d->failed);
	mutex_unlock(&d->lock);
	list_for_each_safe (r, next, &again, link) {
		list_remove(&r->link);
		if (state_deleg_is_held(s->state, r->call.clientid, &r->stateid))
			callback_send(s, &r->call);
		else
			free(r);
	}
}

static void given_back(void *arg)
{
	struct unheard *u = arg;
	struct delegations *d = u->server->delegations;

	if (likely(!u->result.refused)) {
		free(u);
		return;
	}
	mutex_lock(&d->lock);
	list_push_back(&d->unreturned, &u->link);
	mutex_unlock(&d->lock);
}

static void give_back(struct unheard *u)
{
	u->result.refused = false;
	if (cluster_submit(u->server->cluster, &u->cmd, &u->result, given_back, u) ==
	    CLUSTER_APPLIED)
		given_back(u);
}

static void take_back(struct nfs_server *s, const struct state_command *cmd)
{
	bool opens = cmd->type == CMD_CLOSE;
	struct bytes file = opens ? cmd->open_downgrade.file : cmd->deleg_return.file;
	struct unheard *u = calloc(1, sizeof(*u) + file.len);

	if (!u) {
		cluster_submit(s->cluster, cmd, NULL, NULL, NULL);
		return;
	}
	u->server = s;
	u->cmd = *cmd;
	memcpy(u->file, file.p, file.len);
	if (opens)
		u->cmd.open_downgrade.file.p = u->file;
	else
		u->cmd.deleg_return.file.p = u->file;
	give_back(u);
}

void deleg_give_back(struct compound *c, uint64_t clientid, const struct stateid *id,
		     struct bytes file)
{
	take_back(c->server, &(struct state_command){
				 .type = CMD_DELEG_RETURN,
				 .minor = c->minor,
				 .clientid = clientid,
				 .deleg_return = { .stateid = *id, .file = file },
			     });
}

void deleg_close_unheard(struct compound *c, uint64_t clientid, const struct stateid *id,
			 struct bytes file)
{
	take_back(c->server, &(struct state_command){
				 .type = CMD_CLOSE,
				 .minor = c->minor,
				 .clientid = clientid,
				 .open_downgrade = { .stateid = *id, .file = file },
			     });
}

/*
 * Of a client that has gone elsewhere meanwhile nothing can be given back from here: its delegation is revoked a
 * lease after somebody needs the file, and its open it finds when it sends the OPEN again.
 */
static void retry_unreturned(struct nfs_server *s)
{
	struct delegations *d = s->delegations;
	struct list again = LIST_INITIALIZER(again);
	struct unheard *u, *next;

	mutex_lock(&d->lock);
	list_splice_back(&again, &d->unreturned);
	mutex_unlock(&d->lock);
	list_for_each_safe (u, next, &again, link) {
		list_remove(&u->link);
		if (state_is_at_home(s->state, u->cmd.clientid))
			give_back(u);
		else
			free(u);
	}
}

static void revoke(struct nfs_server *s, const struct state_overdue *o)
{
	struct state_command cmd = {
		.type = CMD_REVOKE,
		.minor = o->minor,
		.clientid = o->clientid,
		.revoke = { o->stateid },
	};

	log_warn("client %016llx: did not return a delegation within %u s of its recall; revoked, "
		 "and it gets no more",
		 (unsigned long long)o->clientid, s->options.lease_seconds);
	cluster_submit(s->cluster, &cmd, NULL, NULL, NULL);
}

void deleg_tick(struct nfs_server *s)
{
	struct state_overdue overdue[REVOKE_BATCH];
	unsigned n = state_revocable(s->state, overdue, REVOKE_BATCH);

	for (unsigned i = 0; i < n; i++)
		revoke(s, &overdue[i]);
	retry_failed(s);
	retry_unreturned(s);
	deleg_full_tick(s);
	deleg_agree_tick(s, clock_mono_ns());
}

/* --------------------------------------------------------------------- granting ---- */

static bool contended(struct delegations *d, struct bytes key)
{
	unsigned place = place_of(key);
	uint64_t then = atomic_load_explicit(&d->recalled[place], memory_order_relaxed);

	/* Another file's mark makes a difference beyond every time. */
	return d->guards[place] != 0 || recall_mark(key) - then < BACK_OFF_MS;
}

/*
 * A write delegation is given only to who opens for reading, too: under it the client reads as it
 * likes. Minor version 0 gets none, because its GETATTR does not say who asks: the holder of a
 * write delegation would be taken for another client.
 */
static uint32_t wished_type(struct compound *c, uint32_t access, uint32_t want)
{
	bool may_write = (access & OPEN4_SHARE_ACCESS_WRITE) && c->minor > 0;

	switch (want & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK) {
	case OPEN4_SHARE_ACCESS_WANT_READ_DELEG:
		return access & OPEN4_SHARE_ACCESS_READ ? OPEN_DELEGATE_READ : OPEN_DELEGATE_NONE;
	case OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG:
		return may_write ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_NONE;
	case OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE:
		/* Who only writes has little use for it, and is given one only if it says so. */
		if (access == OPEN4_SHARE_ACCESS_WRITE)
			return OPEN_DELEGATE_NONE;
		/* fallthrough */
	case OPEN4_SHARE_ACCESS_WANT_ANY_DELEG:
		if (access == OPEN4_SHARE_ACCESS_READ)
			return OPEN_DELEGATE_READ;
		return may_write ? OPEN_DELEGATE_WRITE : OPEN_DELEGATE_NONE;
	default:
		return OPEN_DELEGATE_NONE; /* WANT_NO_DELEG, WANT_CANCEL */
	}
}

bool deleg_may_read(struct compound *c)
{
	struct object *obj = c->current.object;
	unsigned granted = 0;

	return obj->backend->access(obj, c->current.cred, ACCESS_READ, &granted) == 0 && granted;
}

/* It has one already, which is not exchanged for another kind; or it gets no more at all. */
static uint32_t why_not_another(struct nfs_server *s, uint64_t clientid, struct bytes key,
				uint32_t type)
{
	uint32_t has = state_deleg_type(s->state, clientid, key);

	if (has == OPEN_DELEGATE_READ && type == OPEN_DELEGATE_WRITE)
		return WND4_NOT_SUPP_UPGRADE;
	if (has == OPEN_DELEGATE_WRITE && type == OPEN_DELEGATE_READ)
		return WND4_NOT_SUPP_DOWNGRADE;
	return WND4_RESOURCE;
}

uint32_t deleg_wish(struct compound *c, uint64_t clientid, struct bytes key, uint32_t access,
		    uint32_t want, uint32_t *why)
{
	struct nfs_server *s = c->server;
	bool may = s->options.delegations && !c->current.options->no_delegations;
	uint32_t type = may ? wished_type(c, access, want) : OPEN_DELEGATE_NONE;

	*why = WND4_RESOURCE;
	if (type == OPEN_DELEGATE_NONE || !callback_path_up(s, clientid))
		return OPEN_DELEGATE_NONE;
	if (type == OPEN_DELEGATE_WRITE && access == OPEN4_SHARE_ACCESS_WRITE && !deleg_may_read(c))
		return OPEN_DELEGATE_NONE;
	if (!state_may_delegate(s->state, clientid, key)) {
		*why = why_not_another(s, clientid, key, type);
		return OPEN_DELEGATE_NONE;
	}
	if (!deleg_agree_is_likely(s) || contended(s->delegations, key)) {
		*why = WND4_CONTENTION;
		return OPEN_DELEGATE_NONE;
	}
	return type;
}

bool deleg_first_complaint(struct delegations *d, uint64_t export_id)
{
	return !atomic_flag_test_and_set(&d->complained[export_id % DELEG_COMPLAINTS]);
}

enum nfsstat4 deleg_grant_submit(struct compound *c, struct deleg_granting *g, uint32_t claim,
				 uint32_t type, bool times)
{
	struct object *obj = c->current.object;
	const struct nfs_fh *fh;
	struct attr attr;
	enum nfsstat4 status;

	g->cmd = compound_command(c, CMD_DELEGATE);
	g->result = arena_zalloc(&c->call->arena, sizeof(*g->result));
	if (!g->cmd || !g->result)
		return NFS4ERR_DELAY;
	status = compound_file_key(c, &g->cmd->open.file);
	if (status == NFS4_OK)
		status = compound_fh(c, &fh);
	if (status != NFS4_OK)
		return status;
	g->cmd->open.claim = claim;
	g->cmd->open.cred = c->current.cred;
	g->cmd->open.delegate = type;
	g->cmd->open.times = times;
	g->cmd->open.directory = obj->type == FILE_DIRECTORY;
	g->cmd->open.fh = (struct bytes){ fh->data, fh->len };
	if (type == OPEN_DELEGATE_WRITE && obj->backend->getattr(obj, &attr) == 0)
		g->cmd->open.change = attr.change;
	g->cmd->open.request.present = true;
	g->cmd->open.request.slot = c->slot.slot;
	g->cmd->open.request.seqid = c->slot.seqid;
	slot_use_session_id(&c->slot, &g->cmd->open.request.session);
	c->phase = 1;
	return compound_submit(c, g->cmd, g->result);
}

/* Not kept: somebody needs the file just now, or it cannot be promised. */
static void take_back_grant(struct compound *c, struct deleg_granting *g)
{
	deleg_give_back(c, c->clientid, &g->result->open.deleg_stateid, g->cmd->open.file);
	g->result->open.delegation = OPEN_DELEGATE_NONE;
}

enum nfsstat4 deleg_grant_finish(struct compound *c, struct deleg_granting *g, struct file *file,
				 uint32_t *why)
{
	struct state_result *result = g->result;
	enum nfsstat4 status = result->status;
	bool contended;

	if (status == NFS4_OK)
		status = deleg_agree(c, g->cmd, result, &contended);
	if (status != NFS4_OK)
		return status;
	*why = result->open.why_none;
	if (result->open.delegation == OPEN_DELEGATE_NONE)
		return NFS4_OK;
	if (contended ||
	    (g->cmd->open.claim != CLAIM_PREVIOUS && deleg_is_guarded(c, g->cmd->open.file))) {
		take_back_grant(c, g);
		*why = WND4_CONTENTION;
		return NFS4_OK;
	}
	status = compound_promise(c, c->clientid);
	if (status != NFS4_OK)
		take_back_grant(c, g);
	else if (file)
		state_attach_file(c->server->state, &result->open.deleg_stateid, file_ref(file));
	return status;
}

void deleg_grant_end(struct deleg_granting *g)
{
	if (!g->watched)
		return;
	local_settled(g->watched);
	object_unref(g->watched);
	g->watched = NULL;
}

/* ------------------------------------------------------------------------ guards ---- */

/* Sequentially consistent: a grant sees the guard, or who guards sees the grant. */
void deleg_guard(struct compound *c, struct bytes key)
{
	if (!c->server->options.delegations || c->nguards == ARRAY_SIZE(c->guards))
		return;
	for (unsigned i = 0; i < c->nguards; i++) {
		if (c->guards[i] == place_of(key))
			return; /* also of an operation that runs once more (intent.h) */
	}
	c->guards[c->nguards] = (uint16_t)place_of(key);
	c->server->delegations->guards[c->guards[c->nguards]]++;
	c->nguards++;
}

bool deleg_is_guarded(struct compound *c, struct bytes key)
{
	unsigned place = place_of(key);
	uint32_t own = 0;

	for (unsigned i = 0; i < c->nguards; i++)
		own += c->guards[i] == place;
	return c->server->delegations->guards[place] > own;
}

bool deleg_is_busy(struct nfs_server *s, struct bytes key)
{
	return s->delegations->guards[place_of(key)] != 0;
}

void deleg_guards_end(struct compound *c)
{
	while (c->nguards)
		c->server->delegations->guards[c->guards[--c->nguards]]--;
}

/* ---------------------------------------------------------------------- conflicts ---- */

static void submit_recall(struct compound *c, struct bytes key, uint64_t clientid, bool changes)
{
	struct state_command cmd = {
		.type = CMD_RECALL,
		.minor = c->minor,
		.clientid = clientid,
		.recall = { .file = key, .changes = changes },
	};

	cluster_submit(c->server->cluster, &cmd, NULL, NULL, NULL);
}

/* A name that is there makes no difference to the directory: then others may keep their delegations. */
enum nfsstat4 deleg_break_dir(struct compound *c, const struct place *dir, uint64_t clientid,
			      const char *only_new)
{
	struct object *obj = dir->object, *found;
	uint64_t holder;
	struct bytes key;
	bool due;

	if (!c->server->options.delegations)
		return NFS4_OK;
	if (only_new && compound_object_key(c, obj, &key) == NFS4_OK) {
		deleg_guard(c, key);
		if (!state_deleg_conflict(c->server->state, key, clientid, true, &holder, &due))
			return NFS4_OK;
		if (obj->backend->lookup(obj, dir->cred, only_new, &found) == 0) {
			object_unref(found);
			return NFS4_OK;
		}
	}
	return deleg_break(c, obj, clientid, true);
}

void deleg_recall_all(struct compound *c, struct bytes key)
{
	submit_recall(c, key, 0, true);
}

enum nfsstat4 deleg_break(struct compound *c, struct object *obj, uint64_t clientid, bool changes)
{
	uint64_t holder, expired = 0;
	enum nfsstat4 status;
	struct bytes key;
	bool recall;

	if (!c->server->options.delegations ||
	    (obj->type != FILE_REGULAR && obj->type != FILE_DIRECTORY))
		return NFS4_OK;
	status = compound_object_key(c, obj, &key);
	if (status != NFS4_OK)
		return status;
	if (changes)
		deleg_guard(c, key);
	while (state_deleg_conflict(c->server->state, key, clientid, changes, &holder, &recall)) {
		/* Its lease may have passed; once is enough, the command may be applied later. */
		if (holder != expired && compound_expire_conflict(c, holder)) {
			expired = holder;
			continue;
		}
		if (recall)
			submit_recall(c, key, clientid, changes);
		return NFS4ERR_DELAY;
	}
	return NFS4_OK;
}

enum nfsstat4 deleg_break_name(struct compound *c, const struct place *dir, const char *name)
{
	struct object *found;
	enum nfsstat4 status;

	if (!c->server->options.delegations ||
	    dir->object->backend->lookup(dir->object, dir->cred, name, &found) != 0)
		return NFS4_OK;
	status = deleg_break(c, found, c->clientid, true);
	object_unref(found);
	return status;
}

/* ---- attributes ---- */

enum nfsstat4 attr_ask_holder(struct compound *c, struct object *obj,
			      const struct attr_bitmap *wanted)
{
	enum nfsstat4 status;
	struct bytes key;

	if (obj->type != FILE_REGULAR || !deleg_knows_better(wanted) ||
	    !state_has_write_delegs(c->server->state))
		return NFS4_OK;
	status = compound_object_key(c, obj, &key);
	if (status == NFS4_OK && deleg_ask(c, key)) {
		c->phase = 1;
		status = deleg_ask_wait(c);
	}
	return status;
}

enum nfsstat4 attr_take_answer(struct attr_source *src)
{
	const struct deleg_answer *answer;
	enum nfsstat4 status;
	struct bytes key;

	if (!src->c->asking || src->object->type != FILE_REGULAR)
		return NFS4_OK;
	status = compound_object_key(src->c, src->object, &key);
	if (status != NFS4_OK)
		return status;
	answer = deleg_answer(src->c, key);
	if (!answer)
		return NFS4_OK;
	if (answer->answered)
		return deleg_answer_apply(src->c, src->object, answer, &src->attr);
	/* It must come back, if it has not meanwhile: then the attributes are good. */
	return deleg_break(src->c, src->object, src->c->clientid, false);
}

void attr_note_told(struct attr_source *src, const struct attr_bitmap *wanted)
{
	struct compound *c = src->c;
	struct bytes key;

	if (c->clientid && attr_test(wanted, FATTR4_CHANGE) && src->object->type == FILE_REGULAR &&
	    state_has_write_delegs(c->server->state) &&
	    compound_object_key(c, src->object, &key) == NFS4_OK)
		state_note_change(c->server->state, key, c->clientid, src->attr.change);
}

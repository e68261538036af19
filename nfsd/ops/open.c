/*
 * OPEN: RFC 8881 section 18.16, RFC 7530 section 16.16.
 *
 *	phase 0  the arguments are checked, the file is found or made and opened with the caller's
 *		 credentials (the kernel judges), then the share reservation is submitted; once more from
 *		 the start if all nodes had to be told of the intent to make it (intent.h)
 *	phase 1  it has been granted or refused: the open file goes to the open state, or is closed
 *
 * The file is opened first because permissions come first; it is truncated last, because an open
 * that is refused must not harm it.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/attrs.h"
#include "nfsd/debts.h"
#include "nfsd/deleg.h"
#include "nfsd/callback/callback.h"
#include "nfsd/intent.h"
#include "nfsd/deleg_agree.h"
#include "nfsd/deleg_local.h"
#include "nfsd/ops/open_delegation.h"
#include "nfsd/ops/seqid.h"
#include "nfsd/ops_list.h"

struct open_args {
	uint32_t seqid, access, deny;
	uint64_t clientid;
	struct bytes owner;
	uint32_t opentype, createmode;
	struct fattr attrs; /* UNCHECKED4, GUARDED4, EXCLUSIVE4_1 */
	struct nfs_verifier verifier;
	uint32_t claim, delegate_type;
	struct stateid delegate_stateid;
	struct name4 name;
};

/* What lives from phase 0 to the end. */
struct open_progress {
	struct seqid seqid;
	struct file *file; /* reference until it is attached */
	struct dir_change change;
	struct attr_set attrs;
	uint32_t attrs_done; /* enum attr_set_bits set at creation or by truncating */
	bool truncate;
	bool recall;		/* at once: it had to be given to who reclaims it */
	bool contended;		/* at another node somebody is at work with the file */
	struct object *watched; /* reference: a delegation of it is being granted, or not */
	uint32_t why_none;	/* why_no_delegation4, if none was even tried */
	struct state_command *cmd;
	struct state_result *result;
};

static bool get_createhow(struct xdr_in *x, struct open_args *a)
{
	if (!xdr_get_u32(x, &a->createmode))
		return false;
	switch (a->createmode) {
	case UNCHECKED4:
	case GUARDED4:
		return xdr_get_fattr(x, &a->attrs);
	case EXCLUSIVE4:
		return xdr_get_copy(x, a->verifier.data, NFS4_VERIFIER_SIZE);
	case EXCLUSIVE4_1:
		return xdr_get_copy(x, a->verifier.data, NFS4_VERIFIER_SIZE) &&
		       xdr_get_fattr(x, &a->attrs);
	default:
		return false;
	}
}

static bool get_claim(struct xdr_in *x, struct open_args *a)
{
	if (!xdr_get_u32(x, &a->claim))
		return false;
	switch (a->claim) {
	case CLAIM_NULL:
	case CLAIM_DELEGATE_PREV:
		return xdr_get_name(x, &a->name);
	case CLAIM_PREVIOUS:
		return xdr_get_u32(x, &a->delegate_type);
	case CLAIM_DELEGATE_CUR:
		return xdr_get_stateid(x, &a->delegate_stateid) && xdr_get_name(x, &a->name);
	case CLAIM_DELEG_CUR_FH:
		return xdr_get_stateid(x, &a->delegate_stateid);
	case CLAIM_FH:
	case CLAIM_DELEG_PREV_FH:
		return true;
	default:
		return false;
	}
}

static bool open_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct open_args *a = args;

	return xdr_get_u32(x, &a->seqid) && xdr_get_u32(x, &a->access) &&
	       xdr_get_u32(x, &a->deny) && xdr_get_u64(x, &a->clientid) &&
	       xdr_get_opaque(x, NFS4_OPAQUE_LIMIT, &a->owner.p, &a->owner.len) &&
	       xdr_get_u32(x, &a->opentype) && a->opentype <= OPEN4_CREATE &&
	       (a->opentype == OPEN4_NOCREATE || get_createhow(x, a)) && get_claim(x, a);
}

static bool by_handle(const struct open_args *a)
{
	return a->claim == CLAIM_FH || a->claim == CLAIM_PREVIOUS ||
	       a->claim == CLAIM_DELEG_CUR_FH || a->claim == CLAIM_DELEG_PREV_FH;
}

bool open_names_file(struct xdr_in *x, struct arena *arena)
{
	struct open_args *a = arena_zalloc(arena, sizeof(*a));

	return !a || !open_decode(x, arena, a) || !by_handle(a);
}

/* ---- phase 0 ---- */

static enum nfsstat4 check_share(struct compound *c, struct open_args *a)
{
	uint32_t known = OPEN4_SHARE_ACCESS_BOTH | open_want_flags(c->minor);
	uint32_t want = a->access & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK;

	if ((a->access & ~known) || (a->access & OPEN4_SHARE_ACCESS_BOTH) == 0 ||
	    want > OPEN4_SHARE_ACCESS_WANT_CANCEL || a->deny > OPEN4_SHARE_DENY_BOTH)
		return NFS4ERR_INVAL;
	return NFS4_OK;
}

/* Which claims can be made at all, and when. */
static enum nfsstat4 check_claim(struct compound *c, struct open_args *a)
{
	if (c->minor == 0 && a->claim > CLAIM_DELEGATE_PREV)
		return NFS4ERR_INVAL;
	switch (a->claim) {
	case CLAIM_PREVIOUS:
		if (a->opentype == OPEN4_CREATE)
			return NFS4ERR_INVAL;
		return state_may_reclaim(c->server->state, c->minor,
					 c->minor ? c->clientid : a->clientid);
	case CLAIM_DELEGATE_PREV:
	case CLAIM_DELEG_PREV_FH:
		return NFS4ERR_NOTSUPP;
	case CLAIM_FH:
	case CLAIM_DELEGATE_CUR:
	case CLAIM_DELEG_CUR_FH:
		if (a->opentype == OPEN4_CREATE)
			return NFS4ERR_INVAL;
		break;
	default:
		break;
	}
	/* Now, and not only when it is submitted: a file must not be made and then not opened. */
	if (c->minor == 0)
		return compound_ask_new_v40(c, a->clientid);
	if (!state_reclaim_completed(c->server->state, c->clientid) ||
	    state_in_grace(c->server->state))
		return NFS4ERR_GRACE;
	return NFS4_OK;
}

static enum nfsstat4 check_writable(struct compound *c, struct open_args *a)
{
	if ((a->access & OPEN4_SHARE_ACCESS_WRITE) || a->opentype == OPEN4_CREATE)
		return compound_want_writable(c);
	return NFS4_OK;
}

/* Only regular files are opened; section 18.16.3 says what the others get. */
static enum nfsstat4 check_type(const struct object *obj)
{
	switch (obj->type) {
	case FILE_REGULAR:
		return NFS4_OK;
	case FILE_DIRECTORY:
		return NFS4ERR_ISDIR;
	default:
		return NFS4ERR_SYMLINK;
	}
}

/*
 * Opens the current file. Who may execute a file may read it here, because a client executes
 * by reading (its kernel has checked the execute bit, and ours has too).
 */
static int open_object(struct compound *c, unsigned access, struct file **out)
{
	struct object *obj = c->current.object;
	const struct backend *be = obj->backend;
	unsigned granted;
	int err = be->open(obj, c->current.cred, access, out);

	if (err == -EACCES && access == ACCESS_READ &&
	    be->access(obj, c->current.cred, ACCESS_EXECUTE, &granted) == 0 &&
	    (granted & ACCESS_EXECUTE))
		err = be->open(obj, cred_root(), access, out);
	return err;
}

/*
 * A file without a name is there for those who have it open. That a backend still has it otherwise is
 * chance: another node, or a program on the server, has removed it. A client that is told so looks
 * the name up again.
 */
static enum nfsstat4 check_name_left(struct compound *c)
{
	struct object *obj = c->current.object;
	struct attr attr;
	struct bytes key;
	uint64_t whose;
	enum nfsstat4 status;
	int err = obj->backend->getattr(obj, &attr);

	if (err)
		return status_from_errno(err);
	if (attr.nlink != 0)
		return NFS4_OK;
	status = compound_file_key(c, &key);
	if (status != NFS4_OK)
		return status;
	return state_file_denied(c->server->state, key, 0, &whose) ? NFS4_OK : NFS4ERR_STALE;
}

static enum nfsstat4 open_current(struct compound *c, struct open_args *a,
				  struct open_progress *o)
{
	enum nfsstat4 status = check_type(c->current.object);
	unsigned access;
	int err;

	/*
	 * By name a special file is SYMLINK, too: clients then look it up, as they must (Linux
	 * takes WRONG_TYPE for an I/O error). Who opens by handle knows what it is.
	 */
	if (status == NFS4ERR_SYMLINK && a->claim != CLAIM_NULL &&
	    c->current.object->type != FILE_SYMLINK)
		return NFS4ERR_WRONG_TYPE;
	if (status == NFS4_OK && a->claim == CLAIM_FH)
		status = check_name_left(c);
	if (status != NFS4_OK)
		return status;
	access = a->access & OPEN4_SHARE_ACCESS_BOTH;
	/*
	 * What its owner could open when it was new must not be lost to its mode; and what was
	 * opened under a delegation has been promised.
	 */
	if (a->claim == CLAIM_PREVIOUS || a->claim == CLAIM_DELEGATE_CUR ||
	    a->claim == CLAIM_DELEG_CUR_FH)
		access |= ACCESS_OWNER;
	err = open_object(c, access, &o->file);
	return err ? status_from_errno(err) : NFS4_OK;
}

static enum nfsstat4 open_existing(struct compound *c, struct open_args *a, const char *name,
				   struct open_progress *o)
{
	struct object *dir = c->current.object, *obj;
	struct attr attr;
	enum nfsstat4 status;
	int err = dir->backend->lookup(dir, c->current.cred, name, &obj);

	if (err == 0) {
		err = dir->backend->getattr(dir, &attr);
		if (err)
			object_unref(obj);
	}
	if (err)
		return status_from_errno(err);
	/* Nothing changes in the directory. */
	o->change =
	    (struct dir_change){ .atomic = true, .before = attr.change, .after = attr.change };
	status = check_type(obj);
	if (status != NFS4_OK) {
		object_unref(obj);
		return status;
	}
	status = compound_enter(c, obj);
	return status == NFS4_OK ? open_current(c, a, o) : status;
}

static enum nfsstat4 create_args(struct compound *c, struct open_args *a, struct open_progress *o,
				 struct create_args *how)
{
	enum nfsstat4 status = NFS4_OK;

	*how = (struct create_args){ .type = FILE_REGULAR };
	memcpy(how->verifier, a->verifier.data, BACKEND_VERIFIER_LEN);
	switch (a->createmode) {
	case UNCHECKED4:
		how->mode = CREATE_UNCHECKED;
		break;
	case GUARDED4:
		how->mode = CREATE_GUARDED;
		break;
	default:
		how->mode = CREATE_EXCLUSIVE;
		break;
	}
	if (a->createmode != EXCLUSIVE4)
		status = fattr_to_attr_set(c, &a->attrs, a->createmode == EXCLUSIVE4_1, &o->attrs);
	if (status == NFS4_OK)
		status = attr_set_check_new(&o->attrs);
	how->attrs = o->attrs;
	/* The open itself decides about truncating, after the share reservation. */
	if (how->mode == CREATE_UNCHECKED && (o->attrs.mask & ATTR_SET_SIZE) && o->attrs.size == 0)
		how->attrs.mask &= ~(uint32_t)ATTR_SET_SIZE;
	return status;
}

static void open_undo(struct compound *c, struct open_progress *o);
static void return_delegation(struct compound *c, struct open_progress *o);

/*
 * The file was not made for sure: if the open has been granted, the client must not know of it, nor
 * of a delegation, whose recall it could not answer.
 */
static void open_unsettled(struct compound *c, void *arg)
{
	struct open_progress *o = arg;

	/* It may have been made by another node, and could not be opened here. */
	if (!o->result || o->result->status != NFS4_OK)
		return;
	return_delegation(c, o);
	if (!o->file)
		open_undo(c, o);
}

/* The node that had the request before has made the file, and could not say so. */
static enum nfsstat4 open_made(struct compound *c, struct open_args *a, struct intent *intent,
			       struct open_progress *o)
{
	struct object *dir = c->current.object, *obj;
	enum nfsstat4 status;
	int err = intent_made(c, intent, &o->change, &obj);

	if (err)
		return status_from_errno(err);
	if (o->change.owes)
		debts_add(c, dir, open_unsettled, o);
	o->attrs_done = o->attrs.mask;
	status = compound_set_current(c, c->current.export, obj);
	if (status != NFS4_OK)
		return status;
	/* Who makes a file may open it whatever its mode. */
	err = open_object(c, (a->access & OPEN4_SHARE_ACCESS_BOTH) | ACCESS_OWNER, &o->file);
	return err ? status_from_errno(err) : NFS4_OK;
}

static enum nfsstat4 open_create(struct compound *c, struct open_args *a, const char *name,
				 struct open_progress *o)
{
	struct object *dir = c->current.object, *obj;
	struct create_args how;
	struct intent intent = {
		.kind = INTENT_MAKE, .dir = &c->current, .name = name, .make = &how
	};
	enum nfsstat4 status;
	bool created;
	int err;

	if (c->minor == 0 && a->createmode == EXCLUSIVE4_1)
		return NFS4ERR_INVAL;
	status = create_args(c, a, o, &how);
	if (status != NFS4_OK)
		return status;
	if (!dir->backend->open_create)
		return NFS4ERR_ROFS;
	status = deleg_break_dir(c, &c->current, c->minor ? c->clientid : a->clientid, name);
	/* What else there is may be found made: UNCHECKED, or by its verifier. */
	if (status == NFS4_OK && how.mode == CREATE_GUARDED)
		status = intent_begin(c, &intent);
	if (status != NFS4_OK)
		return status;
	o->change.may_owe = c->minor > 0 && debts_accept(c, dir, 1);
	if (intent.done)
		return open_made(c, a, &intent, o);
	err = dir->backend->open_create(dir, c->current.cred, name,
					a->access & OPEN4_SHARE_ACCESS_BOTH, &how, &o->change,
					&created, &obj, &o->file);
	if (err == -ELOOP || err == -EINVAL)
		return NFS4ERR_SYMLINK; /* the name is no regular file */
	if (err)
		return status_from_errno(err);
	if (o->change.owes)
		debts_add(c, dir, open_unsettled, o);
	if (created || how.mode == CREATE_EXCLUSIVE)
		o->attrs_done = o->attrs.mask;
	else if (o->attrs.mask & ATTR_SET_SIZE)
		o->truncate = o->attrs.size == 0;
	return compound_set_current(c, c->current.export, obj);
}

static enum nfsstat4 open_file(struct compound *c, struct open_args *a, struct open_progress *o)
{
	enum nfsstat4 status = check_share(c, a);
	const char *name;

	if (status == NFS4_OK)
		status = check_claim(c, a);
	if (status == NFS4_OK)
		status = compound_can_promise(c);
	/* With a flavor that will not do here only a name that leads elsewhere can be opened. */
	if (status == NFS4_OK && c->current.wrong_sec &&
	    (by_handle(a) || a->opentype == OPEN4_CREATE))
		status = NFS4ERR_WRONGSEC;
	if (status == NFS4_OK && by_handle(a)) {
		status = check_writable(c, a);
		return status == NFS4_OK ? open_current(c, a, o) : status;
	}
	if (status == NFS4_OK)
		status = compound_want_search(c);
	if (status == NFS4_OK)
		status = compound_check_name(c, &a->name, &name);
	if (status == NFS4_OK)
		status = check_writable(c, a);
	if (status != NFS4_OK)
		return status;
	if (a->opentype == OPEN4_CREATE)
		return open_create(c, a, name, o);
	return open_existing(c, a, name, o);
}

/* Who reclaims a delegation had it; minor version 0 is given read ones only. */
static uint32_t reclaimed_type(struct compound *c, const struct open_args *a)
{
	if (!(a->access & OPEN4_SHARE_ACCESS_READ) && !deleg_may_read(c))
		return OPEN_DELEGATE_NONE;
	if (a->delegate_type == OPEN_DELEGATE_READ ||
	    (a->delegate_type == OPEN_DELEGATE_WRITE && c->minor > 0))
		return a->delegate_type;
	return OPEN_DELEGATE_NONE;
}

/*
 * Programs on this machine must not get in its way. What is reclaimed is given back with a recall if
 * they do.
 */
static void watch_wished(struct compound *c, const struct open_args *a, struct open_progress *o)
{
	struct object *obj = c->current.object;

	if (local_watch(c, obj, o->file, o->cmd->open.delegate, &o->why_none))
		o->watched = object_ref(obj);
	else if (a->claim == CLAIM_PREVIOUS)
		o->recall = true;
	else
		o->cmd->open.delegate = OPEN_DELEGATE_NONE;
}

/* Minor version 0: the open-owner and its sequence id tell a request from others. */
static void name_request(struct state_command *cmd, const struct open_args *a)
{
	static const struct siphash_key key; /* the same on all nodes */
	uint64_t words[2] = { htobe64(a->clientid),
			      htobe64(siphash(&key, a->owner.p, a->owner.len)) };

	static_assert(sizeof(words) == sizeof(cmd->open.request.session), "two words");
	memcpy(&cmd->open.request.session, words, sizeof(words));
	cmd->open.request.seqid = a->seqid;
	cmd->open.request.present = true;
}

static enum nfsstat4 fill_wish(struct compound *c, const struct open_args *a,
			       struct open_progress *o)
{
	struct state_command *cmd = o->cmd;
	const struct nfs_fh *fh;
	struct attr attr;
	enum nfsstat4 status;

	cmd->open.deleg_stateid = a->delegate_stateid;
	cmd->open.times = a->access & OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS;
	cmd->open.xor_delegation = a->claim != CLAIM_PREVIOUS &&
				   (a->access & OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION);
	if (c->has_session) {
		cmd->open.request.present = true;
		cmd->open.request.slot = c->slot.slot;
		cmd->open.request.seqid = c->slot.seqid;
		slot_use_session_id(&c->slot, &cmd->open.request.session);
	} else {
		name_request(cmd, a);
	}
	if (a->claim == CLAIM_PREVIOUS)
		cmd->open.delegate = reclaimed_type(c, a);
	else if (a->claim == CLAIM_NULL || a->claim == CLAIM_FH)
		cmd->open.delegate = deleg_wish(c, cmd->clientid, cmd->open.file, cmd->open.access,
						a->access, &o->why_none);
	if (cmd->open.delegate != OPEN_DELEGATE_NONE)
		watch_wished(c, a, o);
	if (cmd->open.delegate == OPEN_DELEGATE_NONE)
		return NFS4_OK;
	/* The client reads it in the same compound; if it cannot be read, every answer is news. */
	if (cmd->open.delegate == OPEN_DELEGATE_WRITE &&
	    c->current.object->backend->getattr(c->current.object, &attr) == 0)
		cmd->open.change = attr.change;
	status = compound_fh(c, &fh);
	if (status != NFS4_OK)
		return status;
	cmd->open.fh = (struct bytes){ fh->data, fh->len };
	return NFS4_OK;
}

static enum nfsstat4 open_submit(struct compound *c, struct open_args *a, struct open_progress *o)
{
	enum nfsstat4 status;

	o->cmd = compound_command(c, CMD_OPEN);
	o->result = compound_result(c);
	if (!o->cmd || !o->result)
		return compound_out_of_memory(c);
	if (c->minor == 0)
		o->cmd->clientid = a->clientid;
	status = compound_file_key(c, &o->cmd->open.file);
	if (status != NFS4_OK)
		return status;
	o->cmd->open.owner = a->owner;
	o->cmd->open.access = a->access & OPEN4_SHARE_ACCESS_BOTH;
	o->cmd->open.deny = a->deny;
	o->cmd->open.claim = a->claim;
	o->cmd->open.cred = c->current.cred;
	o->cmd->open.truncates = o->truncate;
	if (o->truncate)
		deleg_guard(c, o->cmd->open.file);
	status = fill_wish(c, a, o);
	if (status != NFS4_OK)
		return status;
	c->phase = 1;
	return compound_submit(c, o->cmd, o->result);
}

/* ---- phase 1 ---- */

/* The open was granted but the file cannot be truncated: as if it had not been granted. */
static void open_undo(struct compound *c, struct open_progress *o)
{
	if (!o->result->open.upgraded && !o->result->open.no_open)
		deleg_close_unheard(c, o->cmd->clientid, &o->result->open.stateid,
				    o->cmd->open.file);
}

/* A delegation that the client will not hear of. */
static void return_delegation(struct compound *c, struct open_progress *o)
{
	if (o->result->open.delegation == OPEN_DELEGATE_NONE)
		return;
	deleg_give_back(c, o->cmd->clientid, &o->result->open.deleg_stateid, o->cmd->open.file);
	o->result->open.delegation = OPEN_DELEGATE_NONE;
}

/* READ and WRITE may come with the delegation's stateid from now on. */
static void settle_delegation(struct compound *c, const struct open_args *a,
			      struct open_progress *o)
{
	struct state_result *result = o->result;

	if (result->open.delegation == OPEN_DELEGATE_NONE)
		return;
	if (o->contended ||
	    (a->claim != CLAIM_PREVIOUS && deleg_is_guarded(c, o->cmd->open.file))) {
		return_delegation(c, o);
		result->open.why_none = WND4_CONTENTION;
		return;
	}
	/* A write delegation is for reading, too: its file is opened when that is first needed. */
	if (result->open.delegation == OPEN_DELEGATE_READ ||
	    o->file->access == (ACCESS_READ | ACCESS_WRITE))
		state_attach_file(c->server->state, &result->open.deleg_stateid,
				  file_ref(o->file));
	if (o->recall)
		deleg_recall_all(c, o->cmd->open.file);
}

static enum nfsstat4 open_truncate(struct compound *c, struct open_progress *o)
{
	struct attr_set size_only = { .mask = ATTR_SET_SIZE, .size = 0 };
	struct object *obj = c->current.object;
	struct file *writable = o->file->access & ACCESS_WRITE ? o->file : NULL;
	uint32_t done;
	int err = obj->backend->setattr(obj, writable, c->current.cred, &size_only, &done);

	if (err) {
		open_undo(c, o);
		return status_from_errno(err);
	}
	o->attrs_done |= ATTR_SET_SIZE;
	return NFS4_OK;
}

static void put_delegation(struct compound *c, const struct open_args *a,
			   const struct open_progress *o)
{
	const struct state_result *result = o->result;
	struct open_delegation d = {
		.type = result->open.delegation,
		.stateid = result->open.deleg_stateid,
		.times = o->cmd->open.times && result->open.delegation == OPEN_DELEGATE_WRITE,
		.want = a->access,
		.why = o->cmd->open.delegate == OPEN_DELEGATE_NONE ? o->why_none
								   : result->open.why_none,
	};

	/* A reclaimed one cannot stay if its client cannot be called. */
	if (a->claim == CLAIM_PREVIOUS)
		d.recall = o->recall || !callback_path_up(c->server, o->cmd->clientid);
	put_open_delegation(c, &d);
}

static void put_result(struct compound *c, const struct open_args *a,
		       const struct open_progress *o)
{
	struct xdr_out *x = reply_of(c);
	struct attr_bitmap attrset = { 0 };
	uint32_t rflags = OPEN4_RESULT_LOCKTYPE_POSIX;

	if (o->result->open.needs_confirm)
		rflags |= OPEN4_RESULT_CONFIRM;
	if (o->result->open.no_open)
		rflags |= OPEN4_RESULT_NO_OPEN_STATEID;
	if (c->minor > 0 && callback_path_up(c->server, c->clientid))
		rflags |= OPEN4_RESULT_MAY_NOTIFY_LOCK;
	if (a->opentype == OPEN4_CREATE && a->createmode != EXCLUSIVE4)
		attr_set_bitmap(&a->attrs, o->attrs_done, &attrset);
	xdr_put_stateid(x, &o->result->open.stateid);
	xdr_put_change_info(x, &o->change);
	xdr_put_u32(x, rflags);
	xdr_put_bitmap(x, &attrset);
	put_delegation(c, a, o);
}

static enum nfsstat4 open_finish(struct compound *c, struct open_args *a, struct open_progress *o);

/* The delegation that there was instead of an open could not stay: now without one. */
static enum nfsstat4 open_after_all(struct compound *c, struct open_args *a,
				    struct open_progress *o)
{
	o->cmd->open.delegate = OPEN_DELEGATE_NONE;
	o->why_none = WND4_CONTENTION;
	o->truncate = false; /* it has been */
	if (compound_submit(c, o->cmd, o->result) == NFS4_PARKED)
		return NFS4_PARKED;
	return open_finish(c, a, o);
}

static enum nfsstat4 open_finish(struct compound *c, struct open_args *a, struct open_progress *o)
{
	struct state_result *result = o->result;
	enum nfsstat4 status = NFS4_OK;

	while (((result->status == NFS4ERR_SHARE_DENIED || result->status == NFS4ERR_DELAY) &&
		compound_expire_conflict(c, result->conflict_client)) ||
	       compound_make_room(c, result)) {
		if (compound_submit(c, o->cmd, result) == NFS4_PARKED)
			return NFS4_PARKED;
	}
	if (result->status != NFS4_OK)
		return result->status;
	if (deleg_agree(c, o->cmd, result, &o->contended) == NFS4_PARKED)
		return NFS4_PARKED;
	if (o->truncate)
		status = open_truncate(c, o);
	if (status != NFS4_OK) {
		return_delegation(c, o);
		return status;
	}
	settle_delegation(c, a, o);
	if (result->open.no_open && result->open.delegation == OPEN_DELEGATE_NONE)
		return open_after_all(c, a, o);
	if (result->open.no_open) {
		compound_set_stateid(c, &result->open.deleg_stateid);
	} else {
		state_attach_file(c->server->state, &result->open.stateid, o->file);
		o->file = NULL;
		compound_set_stateid(c, &result->open.stateid);
	}
	/* What has to be confirmed first is not promised yet. */
	status = compound_promise(c, result->open.needs_confirm ? 0 : o->cmd->clientid);
	if (status == NFS4_OK)
		put_result(c, a, o);
	else
		return_delegation(c, o);
	return status;
}

static enum nfsstat4 open_begin(struct compound *c, struct open_args *a, struct open_progress *o)
{
	struct owner_replay replay = { 0 };
	enum nfsstat4 status;

	if (c->minor > 0)
		return NFS4_OK;
	status = state_owner_hold(c->server->state, a->clientid, a->owner, a->seqid,
				  &o->seqid.hold, &replay);
	return seqid_begun(c, &o->seqid, status, &replay);
}

static enum nfsstat4 open_run(struct compound *c, void *args)
{
	struct open_args *a = args;
	struct open_progress *o = c->op_state;
	enum nfsstat4 status = NFS4_OK;

	if (!o) {
		c->op_state = o = arena_zalloc(&c->call->arena, sizeof(*o));
		if (!o)
			return compound_out_of_memory(c);
		status = open_begin(c, a, o);
		if (status != NFS4_OK || o->seqid.replayed)
			return status;
	}
	if (c->phase == 0) {
		status = open_file(c, a, o);
		if (status == NFS4_OK)
			status = open_submit(c, a, o);
	}
	if (status == NFS4_OK)
		status = open_finish(c, a, o);
	if (status == NFS4_PARKED)
		return status;
	if (o->watched) {
		local_settled(o->watched);
		object_unref(o->watched);
	}
	file_unref(o->file);
	return seqid_end(c, &o->seqid, status);
}

static uint64_t open_client(struct compound *c, const void *args)
{
	return c->minor == 0 ? ((const struct open_args *)args)->clientid : 0;
}

const struct op_row op_open = {
	.name = "OPEN",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_LEADS_ON | ROW_ONCE,
	.max_body = 16 + 20 + 4 + ATTR_BITMAP_MAX + OPEN_DELEGATION_MAX,
	.args_size = sizeof(struct open_args),
	.decode = open_decode,
	.run = open_run,
	.client = open_client,
};

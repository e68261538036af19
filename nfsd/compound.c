/*
 * The life of a compound
 *
 *	compound_run:  header decoded, reply begun
 *	   |
 *	   v
 *	compound_go:   for each operation: decode -> checks -> run -> status into the reply
 *	   |    ^              |
 *	   |    |              | NFS4_PARKED: the call is kept; compound_resume() leads back
 *	   |    +--------------+
 *	   v
 *	compound_end:  parked once more if changes have to be on stable storage first (debts.h)
 *	   |
 *	   v
 *	compound_close: counts and status patched; slot and duplicate cache learn the reply
 *
 * The reply is encoded in place. Each result is op number, status, body; the body of a failed
 * operation is dropped unless it set c->error_body. STATUS_ROOM bytes of the reply are held back so
 * that the operation that finds the reply full can still say so.
 */
#include "nfsd/compound.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "nfsd/chores.h"
#include "nfsd/debts.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_agree.h"
#include "nfsd/deleg_ask.h"
#include "nfsd/deleg_local.h"
#include "nfsd/drc.h"
#include "nfsd/local_locks.h"
#include "nfsd/lull.h"
#include "nfsd/ops.h"
#include "nfsd/peer.h"
#include "nfsd/recorder.h"
#include "nfsd/utf8.h"

#define MAX_TAG	    1024 /* bytes; longer ones are not worth echoing */
#define MAX_OPS_V40 512
#define MAJOR_MAX   160 /* bytes: a scope, an address, a node, and what is between them */

_Static_assert(MAJOR_MAX <= CLIENT_OWNER_EXTRA, "it goes in front of owner strings");

/* ---- places ---- */

void place_clear(struct place *p)
{
	object_unref(p->object);
	if (p->cred_mapped)
		cred_unref(p->cred);
	p->cred_mapped = false;
	p->object = NULL;
	p->cred = NULL;
	p->export = NULL;
	p->fh.len = 0;
	p->wrong_sec = false;
	p->has_stateid = false;
}

void place_copy(struct place *to, const struct place *from)
{
	struct object *obj = object_ref(from->object);
	const struct cred *cred = from->cred_mapped ? cred_ref(from->cred) : from->cred;

	place_clear(to);
	*to = *from;
	to->object = obj;
	to->cred = cred;
}

/* No user or group has the number -1, with which the kernel's calls mean "as it is". */
static bool names_nobody(const struct cred *caller)
{
	return caller->uid == UINT32_MAX || cred_in_group(caller, UINT32_MAX);
}

/*
 * The caller as the export's options let them act; *is_mapped: as somebody else, a reference. NULL:
 * out of memory.
 */
static const struct cred *map_cred(const struct cred *caller, const struct export_options *o,
				   bool *is_mapped)
{
	const struct cred *mapped;
	gid_t groups[CRED_MAX_GROUPS];
	uint32_t n = 0;
	bool squash_root = o->squash == SQUASH_ROOT;

	if (o->squash == SQUASH_ALL || names_nobody(caller))
		return cred_get(o->anon_uid, o->anon_gid, NULL, 0);
	if (!squash_root || (caller->uid != 0 && !cred_in_group(caller, 0))) {
		*is_mapped = false;
		return caller;
	}
	for (uint32_t i = 0; i < caller->ngroups; i++)
		groups[n++] = caller->groups[i] ? caller->groups[i] : o->anon_gid;
	mapped = cred_get(caller->uid ? caller->uid : o->anon_uid,
			  caller->gid ? caller->gid : o->anon_gid, groups, n);
	return mapped;
}

static uint32_t flavor_bit(enum rpc_flavor flavor)
{
	return flavor == RPC_AUTH_SYS ? SEC_SYS : 0;
}

static bool puts_filehandle(uint32_t opnum)
{
	return opnum == OP_PUTFH || opnum == OP_PUTROOTFH || opnum == OP_PUTPUBFH ||
	       opnum == OP_RESTOREFH;
}

bool compound_leads_on(struct compound *c)
{
	struct xdr_in rest = c->call->args;
	uint32_t next = c->index + 1, opnum = OP_SAVEFH;

	if (!puts_filehandle(c->opnum))
		return false;
	/* SAVEFH has no arguments and does not count. */
	for (; next < c->nops && opnum == OP_SAVEFH; next++)
		if (!xdr_get_u32(&rest, &opnum))
			return true; /* what cannot be decoded does nothing */
	switch (opnum) {
	case OP_SAVEFH: /* nothing else follows */
	case OP_LOOKUP:
	case OP_LOOKUPP:
	case OP_SECINFO:
	case OP_SECINFO_NO_NAME:
		return true;
	case OP_OPEN:
		return open_names_file(&rest, &c->call->arena);
	default:
		return puts_filehandle(opnum);
	}
}

enum nfsstat4 compound_set_current(struct compound *c, struct export *exp, struct object *obj)
{
	struct place *here = &c->current;
	const struct export_options *options;
	const struct cred *cred;
	bool is_mapped = true;
	bool wrong_sec;

	if (here->object && here->export == exp) {
		if (unlikely(here->wrong_sec) && !compound_leads_on(c)) {
			object_unref(obj);
			return NFS4ERR_WRONGSEC;
		}
		/* The same export again: nothing else to ask. */
		object_unref(here->object);
		here->object = obj;
		here->fh.len = 0;
		here->has_stateid = false;
		return NFS4_OK;
	}
	options = export_client_options(c->exports, exp, rpc_conn_peer(c->call->conn));
	if (!options || (options->secure && !peer_is_privileged(c->call->conn))) {
		object_unref(obj);
		return NFS4ERR_ACCESS;
	}
	wrong_sec = !(options->sec_flavors & flavor_bit(c->call->auth.flavor));
	if (unlikely(wrong_sec) && !compound_leads_on(c)) {
		object_unref(obj);
		return NFS4ERR_WRONGSEC;
	}
	cred = map_cred(c->call->auth.cred, options, &is_mapped);
	if (!cred) {
		object_unref(obj);
		return NFS4ERR_DELAY;
	}
	place_clear(here);
	here->export = exp;
	here->object = obj;
	here->options = options;
	here->cred = cred;
	here->cred_mapped = is_mapped;
	here->wrong_sec = wrong_sec;
	return NFS4_OK;
}

enum nfsstat4 compound_enter(struct compound *c, struct object *obj)
{
	struct export *exp = c->current.export, *to;
	struct object *root;
	int err;

	/* What READDIR leaves out cannot be looked up either. */
	if (!exp->entry && !export_pseudo_visible(c->exports, obj, rpc_conn_peer(c->call->conn))) {
		object_unref(obj);
		return NFS4ERR_NOENT;
	}
	/* A stack of exports on one directory is not possible: one crossing suffices. */
	to = export_set_cross(c->exports, exp, obj);
	if (!to)
		return compound_set_current(c, exp, obj);
	object_unref(obj);
	err = to->backend->backend->root(to->backend, &root);
	return err ? status_from_errno(err) : compound_set_current(c, to, root);
}

enum nfsstat4 compound_put_fh(struct compound *c, const uint8_t *bytes, uint32_t len)
{
	uint64_t id;
	struct bytes handle;
	struct export *exp;
	struct object *obj;
	enum nfsstat4 status;
	int err;

	status = fh_decode(&c->server->options.handle_key, bytes, len, &id, &handle);
	if (status != NFS4_OK)
		return status;
	exp = export_set_find(c->exports, id);
	if (!exp)
		return NFS4ERR_STALE;
	err = exp->backend->backend->from_handle(exp->backend, handle.p, handle.len, &obj);
	if (err)
		return err == -EBADF ? NFS4ERR_BADHANDLE : status_from_errno(err);
	status = compound_set_current(c, exp, obj);
	if (status == NFS4_OK) {
		memcpy(c->current.fh.data, bytes, len);
		c->current.fh.len = (uint8_t)len;
	}
	return status;
}

enum nfsstat4 compound_fh(struct compound *c, const struct nfs_fh **out)
{
	struct place *here = &c->current;
	struct backend_handle handle;

	if (here->fh.len == 0) {
		int err = here->object->backend->to_handle(here->object, &handle);

		if (err)
			return status_from_errno(err);
		fh_encode(&c->server->options.handle_key, here->export->id, &handle, &here->fh);
	}
	*out = &here->fh;
	return NFS4_OK;
}

enum nfsstat4 compound_file_key(struct compound *c, struct bytes *key)
{
	return compound_object_key(c, c->current.object, key);
}

void file_key_make(const struct backend *be, const struct backend_handle *handle,
		   struct file_key *out)
{
	size_t name_len = strnlen(be->name, sizeof(out->bytes) - BACKEND_HANDLE_MAX);

	memcpy(out->bytes, be->name, name_len);
	memcpy(out->bytes + name_len, handle->bytes, handle->len);
	out->len = (uint32_t)(name_len + handle->len);
}

enum nfsstat4 compound_object_key(struct compound *c, struct object *obj, struct bytes *key)
{
	struct backend_handle handle;
	struct file_key *made;
	int err = obj->backend->to_handle(obj, &handle);

	if (err)
		return status_from_errno(err);
	made = arena_alloc(&c->call->arena, sizeof(*made));
	if (!made)
		return NFS4ERR_DELAY;
	file_key_make(obj->backend, &handle, made);
	*key = (struct bytes){ made->bytes, made->len };
	return NFS4_OK;
}

enum nfsstat4 place_want_directory(const struct place *p)
{
	return p->object->type == FILE_DIRECTORY ? NFS4_OK : NFS4ERR_NOTDIR;
}

enum nfsstat4 compound_want_search(struct compound *c)
{
	if (c->current.object->type == FILE_SYMLINK)
		return NFS4ERR_SYMLINK;
	return place_want_directory(&c->current);
}

enum nfsstat4 compound_want_regular(struct compound *c)
{
	switch (c->current.object->type) {
	case FILE_REGULAR:
		return NFS4_OK;
	case FILE_DIRECTORY:
		return NFS4ERR_ISDIR;
	case FILE_SYMLINK:
		return c->minor == 0 ? NFS4ERR_INVAL : NFS4ERR_SYMLINK;
	default:
		return c->minor == 0 ? NFS4ERR_INVAL : NFS4ERR_WRONG_TYPE;
	}
}

enum nfsstat4 compound_want_writable(struct compound *c)
{
	if (c->current.options->read_only ||
	    (c->current.export->backend->capabilities & BACKEND_READ_ONLY))
		return NFS4ERR_ROFS;
	return NFS4_OK;
}

/* ---- names ---- */

enum nfsstat4 compound_check_name(struct compound *c, const struct name4 *name, const char **out)
{
	char *s;

	if (name->len == 0)
		return NFS4ERR_INVAL;
	if (name->len > 255)
		return NFS4ERR_NAMETOOLONG;
	if (memchr(name->p, '\0', name->len))
		return NFS4ERR_BADCHAR;
	if (memchr(name->p, '/', name->len))
		return NFS4ERR_BADCHAR;
	if (c->current.options->utf8_names && !utf8_valid(name->p, name->len))
		return NFS4ERR_INVAL;
	if (name->p[0] == '.' && (name->len == 1 || (name->len == 2 && name->p[1] == '.')))
		return NFS4ERR_BADNAME;
	s = arena_strndup(&c->call->arena, name->p, name->len);
	if (!s)
		return NFS4ERR_DELAY;
	*out = s;
	return NFS4_OK;
}

/* ---- the state machine ---- */

static void submit_done(void *arg)
{
	compound_resume(arg);
}

/* Minor version 0: the client would count a sequence id that nobody here has. */
static void note_refusal(struct compound *c)
{
	if (c->submitted && c->submitted->refused)
		c->refused = true;
	c->submitted = NULL;
}

static void do_chores(struct compound *c)
{
	struct chore *first = c->submitted ? c->submitted->chores : NULL;

	if (likely(!first))
		return;
	c->submitted->chores = NULL;
	chores_run(c->server, first);
}

enum nfsstat4 compound_submit(struct compound *c, struct state_command *cmd,
			      struct state_result *result)
{
	result->refused = false;
	result->takes_chores = c->server->replicated;
	result->chores = NULL;
	c->submitted = result;
	if (cluster_submit(c->server->cluster, cmd, result, submit_done, c) == CLUSTER_PENDING)
		return NFS4_PARKED;
	do_chores(c);
	note_refusal(c);
	return NFS4_OK;
}

/* ---- what the reply waits for ---- */

struct debt {
	struct compound *c;
	struct state_command cmd;
	struct state_result result;
	void (*settled)(struct compound *c, void *arg);
	void *arg;
};

static bool owes_no_more(struct compound *c)
{
	return atomic_fetch_sub(&c->owed, 1) == 1;
}

static void debt_paid(void *arg)
{
	struct debt *d = arg;
	struct compound *c = d->c;

	if (d->settled)
		d->settled(c, d->arg);
	if (d->result.refused)
		c->debt_refused = true;
	if (owes_no_more(c))
		compound_resume(c);
}

void compound_owe(struct compound *c, const struct state_command *cmd,
		  void (*settled)(struct compound *c, void *arg), void *arg)
{
	struct debt *d = c->server->replicated ? arena_zalloc(&c->call->arena, sizeof(*d)) : NULL;

	if (!d) {
		/* At once; or, without memory, the node may die before others have it. */
		cluster_submit(c->server->cluster, cmd, NULL, NULL, NULL);
		if (settled)
			settled(c, arg);
		return;
	}
	*d = (struct debt){ .c = c, .cmd = *cmd, .settled = settled, .arg = arg };
	c->owed++;
	if (cluster_submit(c->server->cluster, &d->cmd, &d->result, debt_paid, d) ==
	    CLUSTER_PENDING)
		return;
	c->owed--; /* it is not the last: the compound itself runs */
	if (settled)
		settled(c, arg);
	c->debt_refused |= d->result.refused;
}

enum nfsstat4 compound_submit_simple(struct compound *c, struct state_command *cmd)
{
	struct state_result *result = compound_result(c);

	if (!result)
		return compound_out_of_memory(c);
	c->op_state = result;
	c->phase = 1;
	if (compound_submit(c, cmd, result) == NFS4_PARKED)
		return NFS4_PARKED;
	return result->status;
}

bool compound_expire_conflict(struct compound *c, uint64_t conflict_client)
{
	enum expiry expiry;

	if (conflict_client == 0 || conflict_client == c->clientid)
		return false;
	expiry = nfs_server_expire_client(c->server, conflict_client);
	c->expire_ordered = expiry == EXPIRY_ORDERED;
	return expiry != EXPIRY_NONE;
}

bool compound_expire_and_read(struct compound *c, uint64_t conflict_client, enum nfsstat4 *status)
{
	if (!compound_expire_conflict(c, conflict_client))
		return false;
	if (c->expire_ordered)
		*status = NFS4ERR_DELAY;
	return !c->expire_ordered;
}

/* ---- which server the client speaks to ---- */

static bool is_loopback(const struct sockaddr *addr)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)addr;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

	if (addr->sa_family == AF_INET)
		return (ntohl(in4->sin_addr.s_addr) >> 24) == 127;
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

const char *compound_server_major(struct compound *c)
{
	const struct sockaddr *local = rpc_conn_local(c->call->conn);
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)local;
	const size_t size = MAJOR_MAX;
	char host[INET6_ADDRSTRLEN] = "", *major;
	const void *addr;
	int family = local->sa_family;

	if (!c->server->replicated)
		return c->server->owner_major;
	major = arena_alloc(&c->call->arena, size);
	if (!major)
		return NULL;
	addr = family == AF_INET ? (const void *)&((const struct sockaddr_in *)local)->sin_addr
				 : &in6->sin6_addr;
	if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		addr = in6->sin6_addr.s6_addr + 12;
		family = AF_INET;
	}
	inet_ntop(family, addr, host, sizeof(host));
	/* Every machine has these addresses: they are another server at each. */
	if (is_loopback(local))
		snprintf(major, size, "%s/%s/%u", c->server->owner_major, host,
			 state_node(c->server->state));
	else
		snprintf(major, size, "%s/%s", c->server->owner_major, host);
	return major;
}

bool compound_client_owner(struct compound *c, struct bytes owner, struct bytes *out)
{
	const char *major = c->server->replicated ? compound_server_major(c) : "";
	size_t len = major ? strlen(major) + 1 : 0;
	uint8_t *p;

	*out = owner;
	if (!c->server->replicated)
		return true;
	p = len ? arena_alloc(&c->call->arena, len + owner.len) : NULL;
	if (!p)
		return false;
	memcpy(p, major, len); /* with its NUL: it ends there whatever follows */
	memcpy(p + len, owner.p, owner.len);
	*out = (struct bytes){ p, (uint32_t)(len + owner.len) };
	return true;
}

/* ---- homes ---- */

enum nfsstat4 compound_adopt(struct compound *c, uint64_t clientid)
{
	struct state_command *cmd = compound_command(c, CMD_ADOPT);
	struct state_result *result = compound_result(c);

	if (!cmd || !result)
		return NFS4ERR_DELAY;
	cmd->clientid = clientid;
	c->adopting = true;
	c->arriving = clientid;
	if (compound_submit(c, cmd, result) == NFS4_PARKED)
		return NFS4_PARKED;
	c->adopting = false;
	if (result->refused)
		return NFS4ERR_DELAY;
	compound_arrived(c, clientid);
	return NFS4_OK;
}

void compound_arrived(struct compound *c, uint64_t clientid)
{
	if (!c->server->replicated || !clientid)
		return;
	local_locks_take(c->server, clientid);
	local_adopt(c->server, clientid);
}

/* An ordered command that does nothing: when it has been applied, so has all before it. */
bool compound_is_sure(struct compound *c, enum nfsstat4 *status)
{
	if (!c->server->replicated || c->sure)
		return true;
	c->sure = true;
	*status = compound_adopt(c, 0);
	return false;
}

/* The client that the operation speaks of, if not by its session, may have come from elsewhere. */
static enum nfsstat4 welcome(struct compound *c)
{
	uint64_t clientid = c->row->client ? c->row->client(c, c->args) : 0;
	enum nfsstat4 status = NFS4_OK;
	uint32_t home;

	if (!clientid)
		return NFS4_OK;
	if (!state_client_home(c->server->state, clientid, &home)) {
		compound_is_sure(c, &status);
		if (status != NFS4_OK)
			return status;
	}
	return state_is_away(c->server->state, clientid) ? compound_adopt(c, clientid) : NFS4_OK;
}

/* The command that the compound waited for has been applied; was it only the adoption? */
static enum nfsstat4 welcomed(struct compound *c)
{
	do_chores(c);
	note_refusal(c);
	if (!c->adopting)
		return NFS4_OK;
	c->adopting = false;
	if (c->refused)
		return NFS4ERR_DELAY;
	compound_arrived(c, c->arriving);
	return NFS4_OK;
}

bool compound_make_room(struct compound *c, const struct state_result *result)
{
	uint64_t silent = 0;

	if (result->over_limit)
		silent = state_longest_silent(c->server->state);
	return compound_expire_conflict(c, silent);
}

struct submission *compound_submission(struct compound *c, enum state_command_type type)
{
	struct submission *s = arena_zalloc(&c->call->arena, sizeof(*s));

	if (!s)
		return NULL;
	s->cmd = compound_command(c, type);
	s->result = arena_zalloc(&c->call->arena, sizeof(*s->result));
	if (!s->cmd || !s->result)
		return NULL;
	c->op_state = s;
	return s;
}

static bool moved_out_of_the_way(struct compound *c, const struct state_result *result)
{
	return (result->status == NFS4ERR_CLID_INUSE &&
		compound_expire_conflict(c, result->conflict_client)) ||
	       compound_make_room(c, result);
}

enum nfsstat4 compound_submit_firmly(struct compound *c)
{
	struct submission *s = c->op_state;

	while (c->phase == 0 || moved_out_of_the_way(c, s->result)) {
		c->phase = 1;
		if (compound_submit(c, s->cmd, s->result) == NFS4_PARKED)
			return NFS4_PARKED;
	}
	return NFS4_OK;
}

enum nfsstat4 compound_promise(struct compound *c, uint64_t clientid)
{
	return recorder_promise(c->server->recorder, clientid);
}

/* What is granted and then not promised could not always be taken back. */
enum nfsstat4 compound_can_promise(struct compound *c)
{
	return recorder_promise(c->server->recorder, 0);
}

enum nfsstat4 compound_ask_new_v40(struct compound *c, uint64_t clientid)
{
	struct state_command cmd = { .type = CMD_RECLAIM_COMPLETE, .clientid = clientid };

	if (!state_in_grace(c->server->state))
		return NFS4_OK;
	/* If it is applied later, a later try of the client finds the grace period over. */
	cluster_submit(c->server->cluster, &cmd, NULL, NULL, NULL);
	return state_in_grace(c->server->state) ? NFS4ERR_GRACE : NFS4_OK;
}

struct state_result *compound_result(struct compound *c)
{
	struct state_result *result = arena_alloc(&c->call->arena, sizeof(*result));

	_Static_assert(sizeof(result->setclientid) <= 128 && sizeof(result->exchange_id) <= 128 &&
			   sizeof(result->create_session) <= 128 && sizeof(result->open) <= 128 &&
			   sizeof(result->stateid) <= 128 &&
			   offsetof(struct lock_conflict, owner) <= 128,
		       "the head has all of it");
	if (result)
		memset(result, 0, STATE_RESULT_HEAD);
	return result;
}

struct state_command *compound_command(struct compound *c, enum state_command_type type)
{
	struct state_command *cmd = arena_zalloc(&c->call->arena, sizeof(*cmd));

	if (cmd) {
		cmd->type = type;
		cmd->minor = c->minor;
		cmd->clientid = c->clientid;
		cmd->maybe_retry = c->has_session && c->slot.maybe_retry;
		cmd->principal = c->principal;
	}
	return cmd;
}

enum nfsstat4 compound_resolve_stateid(struct compound *c, struct stateid *id)
{
	static const uint8_t zeros[NFS4_OTHER_SIZE];

	if (c->minor == 0 || id->seqid != 1 || memcmp(id->other, zeros, sizeof(zeros)) != 0)
		return NFS4_OK;
	if (!c->current.has_stateid)
		return NFS4ERR_BAD_STATEID;
	*id = c->current.stateid;
	return NFS4_OK;
}

void compound_set_stateid(struct compound *c, const struct stateid *id)
{
	c->current.stateid = *id;
	c->current.has_stateid = true;
}

/* ---- running ---- */

/* The principal as the state machine compares it: flavor and user. */
static bool set_principal(struct compound *c)
{
	uint32_t words[2] = { c->call->auth.flavor,
			      c->call->auth.cred ? c->call->auth.cred->uid : UINT32_MAX };
	uint8_t *p = arena_alloc(&c->call->arena, sizeof(words));

	if (!p)
		return false;
	memcpy(p, words, sizeof(words));
	c->principal = (struct bytes){ p, sizeof(words) };
	return true;
}

/* Before an operation is looked at: may it come here (RFC 8881 sections 2.10.2 and 16.1)? */
static enum nfsstat4 check_position(struct compound *c)
{
	if (c->minor == 0)
		return NFS4_OK;
	if (c->opnum == OP_SEQUENCE)
		return c->index == 0 ? NFS4_OK : NFS4ERR_SEQUENCE_POS;
	if (c->index == 0 && !(c->row->flags & ROW_NO_SESSION))
		return NFS4ERR_OP_NOT_IN_SESSION;
	if (c->index == 0 && c->nops > 1)
		return NFS4ERR_NOT_ONLY_OP;
	return NFS4_OK;
}

static enum nfsstat4 check_filehandles(const struct compound *c)
{
	if ((c->row->flags & ROW_NEEDS_FH) && !c->current.object)
		return NFS4ERR_NOFILEHANDLE;
	if ((c->row->flags & ROW_NEEDS_SAVED_FH) && !c->saved.object)
		return NFS4ERR_NOFILEHANDLE;
	if (unlikely(c->current.wrong_sec) && (c->row->flags & ROW_NEEDS_FH) &&
	    !(c->row->flags & ROW_LEADS_ON))
		return NFS4ERR_WRONGSEC;
	/* The two have no flavor in common: RFC 8881 section 2.6.3.1.2. */
	if (unlikely(c->saved.wrong_sec) && (c->row->flags & ROW_NEEDS_SAVED_FH))
		return NFS4ERR_XDEV;
	return NFS4_OK;
}

void compound_limit_reply(struct compound *c, size_t most, size_t bodies)
{
	if (bodies > most - STATUS_ROOM)
		bodies = most - STATUS_ROOM;
	c->most = most;
	reply_of(c)->limit = bodies;
}

enum nfsstat4 compound_too_big(const struct compound *c)
{
	if (c->minor == 0)
		return NFS4ERR_RESOURCE;
	if (c->has_session && c->slot.cache_this &&
	    c->slot.fore.max_response_cached < c->slot.fore.max_response)
		return NFS4ERR_REP_TOO_BIG_TO_CACHE;
	return NFS4ERR_REP_TOO_BIG;
}

/*
 * Nor must a file be opened or made whose filehandle, asked for at once, there is no room for (RFC
 * 8881 section 2.10.6.4).
 */
static size_t handle_room(const struct compound *c)
{
	struct xdr_in rest = c->call->args;
	uint32_t next;

	if ((c->opnum != OP_OPEN && c->opnum != OP_CREATE) || c->index + 1 >= c->nops ||
	    !xdr_get_u32(&rest, &next) || next != OP_GETFH)
		return 0;
	return 8 + 4 + NFS4_FHSIZE;
}

/* What changes something must not find out afterwards that its result does not fit. */
static enum nfsstat4 check_reply_room(struct compound *c)
{
	struct xdr_out *x = reply_of(c);

	if (xdr_out_total(x) + c->row->max_body + handle_room(c) > x->limit ||
	    ((c->row->flags & ROW_MODIFIES) && !xdr_out_grow(x, c->row->max_body)))
		return compound_too_big(c);
	return NFS4_OK;
}

static enum nfsstat4 op_prepare(struct compound *c)
{
	struct rpc_call *call = c->call;
	enum nfsstat4 status;

	if (!c->row)
		return NFS4ERR_OP_ILLEGAL;
	status = check_position(c);
	if (status != NFS4_OK)
		return status;
	if (!c->row->run)
		return NFS4ERR_NOTSUPP;
	if (c->row->args_size) {
		c->args = arena_zalloc(&call->arena, c->row->args_size);
		if (!c->args)
			return NFS4ERR_DELAY;
		if (!c->row->decode(&call->args, &call->arena, c->args))
			return NFS4ERR_BADXDR;
	}
	status = check_filehandles(c);
	return status == NFS4_OK ? check_reply_room(c) : status;
}

/* What could never have been done was not (RFC 8881 section 2.10.6.1.3). */
static enum nfsstat4 uncached_retry(struct compound *c)
{
	enum nfsstat4 status = op_prepare(c);

	if (status == NFS4ERR_OP_ILLEGAL || status == NFS4ERR_NOTSUPP || status == NFS4ERR_BADXDR)
		return status;
	return NFS4ERR_RETRY_UNCACHED_REP;
}

/*
 * May nothing be promised now? Minor version 0: a seqid that the client has used must not be left
 * uncounted.
 */
static bool must_wait(struct compound *c)
{
	return (c->index == 0 || c->minor > 0) && unlikely(!nfs_server_serves(c->server));
}

/* Begins the next operation and its result. */
static enum nfsstat4 op_begin(struct compound *c)
{
	struct xdr_out *x = reply_of(c);
	bool decoded = xdr_get_u32(&c->call->args, &c->opnum);

	c->row = decoded ? op_find(c->opnum, c->minor) : NULL;
	if (!c->row)
		c->opnum = OP_ILLEGAL;
	c->op_mark = xdr_out_mark(x);
	c->phase = 0;
	c->op_state = NULL;
	c->intent = NULL;
	c->error_body = false;
	xdr_put_u32(x, c->opnum);
	c->status_at = x->len;
	xdr_put_u32(x, NFS4_OK);
	c->body_at = x->len;
	if (x->failed)
		return compound_too_big(c);
	if (!decoded)
		return NFS4ERR_BADXDR;
	if (c->uncached_retry)
		return uncached_retry(c);
	return must_wait(c) ? NFS4ERR_DELAY : op_prepare(c);
}

/* Ends the operation's result: puts the status in, drops a body that does not belong. */
static enum nfsstat4 op_finish(struct compound *c, enum nfsstat4 status)
{
	struct xdr_out *x = reply_of(c);
	size_t limit;

	deleg_guards_end(c);
	deleg_ask_end(c);
	deleg_agree_end(c);
	if (x->failed && (status == NFS4_OK || c->error_body)) {
		status = compound_too_big(c);
		c->error_body = false;
	}
	if (status != NFS4_OK && !c->error_body) {
		xdr_out_rewind(x, c->op_mark);
		limit = x->limit;
		x->limit = c->most;
		xdr_put_u32(x, c->opnum);
		xdr_put_u32(x, status);
		if (c->row && (c->row->flags & ROW_ERROR_MASK))
			xdr_put_u32(x, 0);
		x->limit = limit;
	} else if (status != NFS4_OK) {
		xdr_patch_u32(x, c->status_at, status);
	}
	return status;
}

/* Gives back what the compound held. */
static void compound_release(struct compound *c)
{
	place_clear(&c->current);
	place_clear(&c->saved);
	debts_release(c);
	nfs_server_exports_done(c->server, c->exports, c->exports_stripe);
	c->exports = NULL;
}

/*
 * The call's end. A compound that was parked when the server stopped never came to its own end: the
 * session's slot and the duplicate cache must not wait for it.
 */
static void compound_done(struct rpc_call *call)
{
	struct compound *c = call->user;

	if (!c->exports)
		return;
	do_chores(c);
	lull_forget(c);
	deleg_ask_end(c);
	deleg_agree_end(c);
	if (c->local_op)
		local_op_abandon(c->local_op);
	if (c->has_session)
		state_sequence_end(c->server->state, &c->slot, NULL, 0);
	if (c->drc)
		drc_abandon(c->server->drc, c->drc);
	compound_release(c);
}

/* The reply is complete: whoever may be asked again learns it, and it goes. */
static enum rpc_verdict compound_answer(struct compound *c)
{
	struct xdr_out *x = reply_of(c);
	size_t start = c->res_at;
	/*
	 * Put off at SEQUENCE a client would wait for long; where it finds the address now it is
	 * told more.
	 */
	bool dropped = c->debt_refused ||
		       (c->refused && (c->minor == 0 || (c->opnum == OP_SEQUENCE && c->index == 0)));

	if (c->has_session) {
		bool cache = (c->slot.cache_this || c->nresults == 1) && x->extent_len == 0;

		c->slot.refused = c->refused;

		state_sequence_end(c->server->state, &c->slot, cache ? x->buf + start : NULL,
				   (uint32_t)(cache ? x->len - start : 0));
		c->has_session = false;
	}
	if (c->drc) {
		drc_finish(c->server->drc, c->drc,
			   x->extent_len || c->refused ? NULL : x->buf + start, x->len - start);
		c->drc = NULL;
	}
	compound_release(c);
	return dropped ? RPC_DROP : RPC_REPLY;
}

/* All nodes know what they must. */
static enum rpc_verdict compound_paid(struct rpc_call *call)
{
	return compound_answer(call->user);
}

struct state_command *compound_keep_command(struct compound *c, struct begun begun,
					    struct bytes reply)
{
	struct state_command *cmd =
	    compound_command(c, c->minor == 0 ? CMD_REPLY_KEPT : CMD_SLOT_REPLY);

	if (!cmd)
		return NULL;
	if (c->minor == 0) {
		cmd->reply_kept.begun = begun;
		cmd->reply_kept.reply = reply;
		if (!drc_make_key(c->server->drc, c->call, c->args_start, &cmd->reply_kept.key))
			return NULL;
		return cmd;
	}
	slot_use_session_id(&c->slot, &cmd->slot_reply.session);
	cmd->slot_reply.slot = c->slot.slot;
	cmd->slot_reply.seqid = c->slot.seqid;
	cmd->slot_reply.request_hash = c->slot.request_hash;
	cmd->slot_reply.begun = begun;
	cmd->slot_reply.reply = reply;
	return cmd;
}

/* What must not be done twice is answered from memory wherever the client asks again. */
static void keep_reply(struct compound *c)
{
	struct xdr_out *x = reply_of(c);
	struct bytes reply = { x->buf + c->res_at, (uint32_t)(x->len - c->res_at) };
	struct state_command *cmd;

	if (!c->exactly_once || x->extent_len || x->failed)
		return;
	if (c->has_session ? !c->slot.cache_this : !c->drc)
		return;
	cmd = compound_keep_command(c, (struct begun){ 0 }, reply);
	if (cmd)
		compound_owe(c, cmd, NULL, NULL);
}

static enum rpc_verdict compound_close(struct compound *c, enum nfsstat4 status, uint32_t nresults)
{
	struct xdr_out *x = reply_of(c);
	size_t start = c->res_at;
	uint32_t tag_len;

	memcpy(&tag_len, x->buf + start + 4, 4);
	tag_len = be32toh(tag_len);
	xdr_patch_u32(x, start, status);
	xdr_patch_u32(x, start + 8 + tag_len + xdr_pad(tag_len), nresults);
	c->nresults = nresults;
	if (unlikely(c->server->replicated)) {
		keep_reply(c);
		c->call->resume = compound_paid;
		if (!owes_no_more(c))
			return RPC_PARKED;
	}
	return compound_answer(c);
}

static enum rpc_verdict compound_settled(struct rpc_call *call)
{
	struct compound *c = call->user;
	uint32_t nresults;
	enum nfsstat4 status = debts_settled(c, &nresults);

	return compound_close(c, status, nresults);
}

static enum rpc_verdict compound_end(struct compound *c, enum nfsstat4 status, uint32_t nresults)
{
	c->call->resume = compound_settled;
	if (debts_settle(c, status, nresults))
		return RPC_PARKED;
	return compound_close(c, status, nresults);
}

/* A retry whose reply is known: the cached COMPOUND4res takes the place of what we have. */
static enum rpc_verdict compound_replay(struct compound *c, const uint8_t *reply, uint32_t len)
{
	struct xdr_out *x = reply_of(c);

	xdr_out_rewind(x, (struct xdr_mark){ c->res_at, 0 });
	x->limit = c->most;
	xdr_put_fixed(x, reply, len);
	if (c->has_session)
		state_sequence_end(c->server->state, &c->slot, NULL, 0);
	c->has_session = false;
	compound_release(c);
	return x->failed ? RPC_SYSTEM_ERR : RPC_REPLY;
}

/*
 * Minor version 0 has no slots: what is neither idempotent nor protected by a seqid is looked
 * up in the cache of duplicate requests before it runs. True: *verdict is the answer.
 */
static bool answered_before(struct compound *c, enum rpc_verdict *verdict)
{
	const uint8_t *reply;
	size_t len;

	if (c->minor != 0 || c->drc || !(c->row->flags & ROW_MODIFIES))
		return false;
	c->drc = drc_begin(c->server->drc, c->call, c->args_start, &reply, &len);
	if (!c->drc || !reply)
		return false;
	*verdict = compound_replay(c, reply, (uint32_t)len);
	drc_release(c->server->drc, c->drc);
	c->drc = NULL;
	return true;
}

/* Has the operation done what a retry at another node must not do again? */
static void note_exactly_once(struct compound *c)
{
	const struct export_options *here = c->current.options;

	if ((c->row->flags & (ROW_MODIFIES | ROW_ONCE)) && here && here->exactly_once)
		c->exactly_once = true;
}

static enum rpc_verdict compound_go(struct compound *c, bool resumed)
{
	enum nfsstat4 status = NFS4_OK;
	enum rpc_verdict verdict;

	for (; c->index < c->nops; c->index++) {
		if (!resumed) {
			if (must_wait(c) && lull_wait(c))
				return RPC_PARKED;
			status = op_begin(c);
			if (status == NFS4_OK && answered_before(c, &verdict))
				return verdict;
			if (status == NFS4_OK && unlikely(c->server->replicated))
				status = welcome(c);
		} else if (unlikely(c->server->replicated)) {
			bool adopted = c->adopting;

			status = welcomed(c);
			/* If it only made sure, there may be a client to be adopted now. */
			if (status == NFS4_OK && adopted)
				status = welcome(c);
		}
		resumed = false;
		if (status == NFS4_OK)
			status = c->row->run(c, c->args);
		if (status == NFS4_PARKED)
			return RPC_PARKED;
		if (status == NFS4_OK && unlikely(c->server->replicated))
			note_exactly_once(c);
		if (c->has_session && c->slot.replay)
			return compound_replay(c, c->slot.replay, c->slot.replay_len);
		status = op_finish(c, status);
		if (status != NFS4_OK)
			return compound_end(c, status, c->index + 1);
	}
	return compound_end(c, status, c->index);
}

static enum rpc_verdict compound_continue(struct rpc_call *call)
{
	struct compound *c = call->user;

	if (c->lulled == LULL_NONE)
		return compound_go(c, true);
	return lull_over(c) ? compound_go(c, false) : RPC_DROP;
}

void compound_resume(struct compound *c)
{
	rpc_call_resume(c->call);
}

/* COMPOUND4res without results, for what is refused as a whole. */
static enum nfsstat4 check_whole(struct compound *c, struct bytes tag)
{
	if (c->minor > 2 || !(c->server->options.minor_versions & 1u << c->minor))
		return NFS4ERR_MINOR_VERS_MISMATCH;
	if (!utf8_valid(tag.p, tag.len))
		return NFS4ERR_INVAL;
	if (c->minor == 0 && c->nops > MAX_OPS_V40)
		return NFS4ERR_RESOURCE;
	return NFS4_OK;
}

enum rpc_verdict compound_run(struct nfs_server *server, struct rpc_call *call)
{
	struct xdr_in *in = &call->args;
	struct xdr_out *x = &call->reply;
	struct compound *c = arena_zalloc(&call->arena, sizeof(*c));
	enum nfsstat4 status;
	struct bytes tag;

	if (!c)
		return RPC_SYSTEM_ERR;
	c->args_start = in->p;
	if (!xdr_get_opaque(in, MAX_TAG, &tag.p, &tag.len) || !xdr_get_u32(in, &c->minor) ||
	    !xdr_get_u32(in, &c->nops))
		return RPC_GARBAGE_ARGS;
	c->server = server;
	c->call = call;
	c->owed = 1;
	call->user = c;
	call->resume = compound_continue;
	call->done = compound_done;
	if (!set_principal(c))
		return RPC_SYSTEM_ERR;
	c->res_at = x->len;
	xdr_put_u32(x, NFS4_OK);
	xdr_put_opaque(x, tag.p, tag.len);
	xdr_put_u32(x, 0);
	if (x->failed)
		return RPC_SYSTEM_ERR;
	c->exports = nfs_server_exports_use(server, &c->exports_stripe);
	compound_limit_reply(c, x->limit, x->limit);
	status = check_whole(c, tag);
	if (status != NFS4_OK)
		return compound_end(c, status, 0);
	return compound_go(c, false);
}

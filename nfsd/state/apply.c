/*
 * state_apply(): one row per command. A command on a client's own things runs under that
 * client's lock, found by its client ID or by the stateid in the command; the few that change
 * who the clients are run under names_lock, which they take themselves.
 */
#include <stddef.h>
#include <stdlib.h>

#include "nfsd/state/state_private.h"

enum finds { GLOBAL, BY_CLIENTID, BY_STATEID };

struct row {
	enum finds finds;
	global_command *global;
	client_command *on_client;
	size_t stateid; /* its offset in struct state_command */
};

#define CLIENT_ROW(fn)                                \
	{                                             \
		.finds = BY_CLIENTID, .on_client = fn \
	}
#define STATEID_ROW(fn, part)                                                      \
	{                                                                          \
		BY_STATEID, NULL, fn, offsetof(struct state_command, part.stateid) \
	}

static const struct row rows[] = {
	[CMD_SETCLIENTID] = { GLOBAL, cmd_setclientid },
	[CMD_SETCLIENTID_CONFIRM] = { GLOBAL, cmd_setclientid_confirm },
	[CMD_EXCHANGE_ID] = { GLOBAL, cmd_exchange_id },
	[CMD_CREATE_SESSION] = { GLOBAL, cmd_create_session },
	[CMD_DESTROY_SESSION] = { GLOBAL, cmd_destroy_session },
	[CMD_DESTROY_CLIENTID] = { GLOBAL, cmd_destroy_clientid },
	[CMD_EXPIRE_CLIENT] = { GLOBAL, cmd_expire_client },
	[CMD_BACKCHANNEL_CTL] = CLIENT_ROW(cmd_backchannel_ctl),
	[CMD_RECLAIM_COMPLETE] = CLIENT_ROW(cmd_reclaim_complete),
	[CMD_OPEN] = CLIENT_ROW(cmd_open),
	[CMD_OPEN_CONFIRM] = STATEID_ROW(cmd_open_confirm, open_downgrade),
	[CMD_OPEN_DOWNGRADE] = STATEID_ROW(cmd_open_downgrade, open_downgrade),
	[CMD_CLOSE] = STATEID_ROW(cmd_close, open_downgrade),
	[CMD_LOCK] = STATEID_ROW(cmd_lock, lock),
	[CMD_UNLOCK] = STATEID_ROW(cmd_unlock, unlock),
	[CMD_RELEASE_LOCKOWNER] = CLIENT_ROW(cmd_release_lockowner),
	[CMD_FREE_STATEID] = STATEID_ROW(cmd_free_stateid, free_stateid),
	[CMD_OWNER_ADVANCE] = CLIENT_ROW(cmd_owner_advance),
	[CMD_DELEGATE] = CLIENT_ROW(cmd_delegate),
	[CMD_RECALL] = { GLOBAL, cmd_recall },
	[CMD_DELEG_RETURN] = STATEID_ROW(cmd_deleg_return, deleg_return),
	[CMD_REVOKE] = CLIENT_ROW(cmd_revoke),
	[CMD_START_GRACE] = { GLOBAL, cmd_start_grace },
	[CMD_END_GRACE] = { GLOBAL, cmd_end_grace },
	[CMD_ADOPT] = { GLOBAL, cmd_adopt },
	[CMD_MEMBERS] = { GLOBAL, cmd_members },
	[CMD_SILENT] = { GLOBAL, cmd_silent },
	[CMD_SLOT_REPLY] = CLIENT_ROW(cmd_slot_reply),
	[CMD_BACK_ANSWERED] = CLIENT_ROW(cmd_back_answered),
	[CMD_REPLY_KEPT] = { GLOBAL, cmd_reply_kept },
	[CMD_GRANT_SEEN] = { GLOBAL, cmd_grant_seen },
};

/* Of the command that this thread is applying. */
static _Thread_local bool lacks_memory;

void command_lacks_memory(void)
{
	lacks_memory = true;
}

static const struct stateid *command_stateid(const struct row *row, const struct state_command *cmd)
{
	return (const struct stateid *)((const char *)cmd + row->stateid);
}

/*
 * The client of a session was there when SEQUENCE passed; if it has gone since, its lease has
 * expired or it was destroyed. EXPIRED is an error that these operations may return.
 */
static enum nfsstat4 client_by_id(struct state *s, const struct state_command *cmd,
				  struct client **out)
{
	if (cmd->minor == 0)
		return client_get_v40(s, cmd->clientid, out);
	*out = client_get(s, cmd->clientid);
	return *out ? NFS4_OK : NFS4ERR_EXPIRED;
}

static enum nfsstat4 apply_on_client(struct state *s, const struct row *row,
				     const struct state_command *cmd, struct state_result *result,
				     const struct state_effects *effects)
{
	struct after after;
	struct work w = {
		.s = s, .cmd = cmd, .result = result, .after = &after, .effects = effects
	};
	enum nfsstat4 status;

	if (row->finds == BY_CLIENTID)
		status = client_by_id(s, cmd, &w.c);
	else
		status =
		    stateid_client(s, cmd->minor, cmd->clientid, command_stateid(row, cmd), &w.c);
	if (status)
		return status;
	after_init(&after);
	mutex_lock(&w.c->lock);
	/*
	 * What a node has submitted before its client went elsewhere must not be done behind what the
	 * client has done there; nor is anything done for one that was judged to be silent.
	 */
	result->refused = (w.c->home != command_node(cmd) || w.c->silent) && !w.c->dead;
	if (unlikely(result->refused)) {
		status = NFS4ERR_DELAY;
	} else if (!w.c->dead) {
		status = row->on_client(&w);
		owner_applied(&w, status);
	} else if (row->finds == BY_CLIENTID) {
		status = NFS4ERR_EXPIRED;
	} else {
		status = stateid_client_gone(s, cmd->minor, command_stateid(row, cmd));
	}
	mutex_unlock(&w.c->lock);
	finish(s, &after, effects);
	client_unref(w.c);
	return status;
}

void state_apply(struct state *s, const struct state_command *cmd, struct state_result *result,
		 const struct state_effects *effects)
{
	static const struct state_effects nobody;
	const struct row *row = &rows[cmd->type];

	result->conflict_client = 0;
	result->over_limit = false;
	result->refused = false;
	lacks_memory = false;
	if (!effects)
		effects = &nobody;
	if (row->finds == GLOBAL)
		result->status = row->global(s, cmd, result, effects);
	else
		result->status = apply_on_client(s, row, cmd, result, effects);
	if (unlikely(s->grace.ended))
		grace_announce(s, effects);
	if (unlikely(lacks_memory))
		s->diverged = true;
}

bool state_has_diverged(const struct state *s)
{
	return s->diverged;
}

void after_init(struct after *after)
{
	*after = (struct after){ 0 };
	list_init(&after->locks);
	list_init(&after->opens);
	list_init(&after->delegs);
	list_init(&after->recalls);
	list_init(&after->sessions);
}

void after_freed(struct state *s, struct after *after, struct state_file *f)
{
	if (!after->freed)
		after->freed = state_file_ref(s, f);
}

static void emit(const struct state_effects *effects, const struct state_effect *effect)
{
	if (effects->emit)
		effects->emit(effects->arg, effect);
}

static void emit_freed(const struct state_effects *effects, const struct state_file *f)
{
	emit(effects,
	     &(struct state_effect){ .type = EFFECT_LOCK_FREED, .file = { f->key, f->len } });
}

static void emit_granted(struct state *s, const struct after *after,
			 const struct state_effects *effects)
{
	const struct state_file *f = after->granted.file;

	emit(effects, &(struct state_effect){ .type = EFFECT_GRANTED,
					      .clientid = after->granted.clientid,
					      .stateid = after->granted.stateid,
					      .node = after->granted.node,
					      .file = { f->key, f->len } });
	state_file_put(s, after->granted.file);
}

static void drop_files(struct file *files[3])
{
	for (int i = 0; i < 3; i++)
		file_unref(files[i]);
}

void finish(struct state *s, struct after *after, const struct state_effects *effects)
{
	struct lock_state *lock, *next_lock;
	struct open *open, *next_open;
	struct deleg *deleg, *next_deleg;
	struct session *session, *next_session;

	/* First: who is told that something is free must find it so on the file, too. */
	list_for_each_safe (lock, next_lock, &after->locks, h.in_owner) {
		emit(effects, &(struct state_effect){ .type = EFFECT_LOCKS_GONE,
						      .attachment = lock->attached });
		free(lock);
	}
	list_for_each_safe (open, next_open, &after->opens, h.in_owner) {
		emit_freed(effects, open->h.file);
		drop_files(open->files);
		open_drop_creds(open);
		state_file_put(s, open->h.file);
		free(open);
	}
	list_for_each_safe (deleg, next_deleg, &after->delegs, h.in_owner) {
		emit_freed(effects, deleg->h.file);
		deleg_free(s, deleg);
	}
	if (after->moved)
		emit(effects, &(struct state_effect){ .type = EFFECT_CLIENT_MOVED,
						      .clientid = after->moved });
	deleg_emit_recalls(after, effects);
	if (after->granted.file)
		emit_granted(s, after, effects);
	drop_files(after->files);
	if (after->record)
		emit(effects, &(struct state_effect){ .type = EFFECT_CLIENT_RECORD,
						      .clientid = after->record });
	if (after->freed) {
		emit_freed(effects, after->freed);
		state_file_put(s, after->freed);
	}
	list_for_each_safe (session, next_session, &after->sessions, in_client) {
		emit(effects, &(struct state_effect){ .type = EFFECT_SESSION_GONE,
						      .clientid = session->client->id,
						      .session = session->id });
		session_unref(s, session);
	}
}

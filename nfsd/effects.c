/*
 * One row per effect. The functions hand on what has happened to the thread that will act on it, and
 * may themselves only read the state.
 */
#include "nfsd/effects.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "nfsd/callback/callbacks.h"
#include "nfsd/callback/waiters.h"
#include "nfsd/chores.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_agree.h"
#include "nfsd/deleg_local.h"
#include "nfsd/drc.h"
#include "nfsd/local_locks.h"
#include "nfsd/server_private.h"

typedef void carry_out(struct nfs_server *s, const struct state_effect *e);

static void say_freed(struct nfs_server *s, struct bytes file)
{
	waiters_freed(callbacks_waiters(s->callbacks), file);
	local_again(file);
}

struct freed {
	uint32_t len;
	uint8_t key[];
};

static void say_freed_later(struct nfs_server *s, void *arg)
{
	struct freed *f = arg;

	say_freed(s, (struct bytes){ f->key, f->len });
	free(f);
}

/* The waiters' lock may be held by one that asks a file system whether a lock is free. */
static bool waiters_may_block(struct nfs_server *s)
{
	return chores_collects() && waiters_any(callbacks_waiters(s->callbacks));
}

/* Who is told that something is free must find it so on the file, too. */
static void lock_freed(struct nfs_server *s, const struct state_effect *e)
{
	bool later = chores_any() || waiters_may_block(s);
	struct freed *f = later ? malloc(sizeof(*f) + e->file.len) : NULL;

	if (f) {
		f->len = e->file.len;
		memcpy(f->key, e->file.p, f->len);
		if (chores_put_off(say_freed_later, f))
			return;
		free(f);
	}
	say_freed(s, e->file);
}

static void session_gone(struct nfs_server *s, const struct state_effect *e)
{
	callbacks_session_gone(s->callbacks, e->clientid, &e->session);
}

static void forget_waiters_later(struct nfs_server *s, void *arg)
{
	uint64_t *clientid = arg;

	waiters_client_gone(callbacks_waiters(s->callbacks), *clientid);
	free(clientid);
}

/* Later may be after the client has come back, and waits again: then it has to poll. */
static void forget_waiters(struct nfs_server *s, uint64_t clientid)
{
	uint64_t *copy = waiters_may_block(s) ? malloc(sizeof(*copy)) : NULL;

	if (copy) {
		*copy = clientid;
		if (chores_put_off(forget_waiters_later, copy))
			return;
		free(copy);
	}
	waiters_client_gone(callbacks_waiters(s->callbacks), clientid);
}

static void client_gone(struct nfs_server *s, const struct state_effect *e)
{
	forget_waiters(s, e->clientid);
	callbacks_client_gone(s->callbacks, e->clientid);
}

static void take_locks_off(struct nfs_server *s, void *arg)
{
	local_locks_gone(s, arg);
}

static void locks_gone(struct nfs_server *s, const struct state_effect *e)
{
	if (!chores_put_off(take_locks_off, e->attachment))
		local_locks_gone(s, e->attachment);
}

/* Wherever it was before, nothing on its way to it will arrive; its new home sends it again. */
static void client_moved(struct nfs_server *s, const struct state_effect *e)
{
	forget_waiters(s, e->clientid);
	callbacks_client_gone(s->callbacks, e->clientid);
	if (state_is_away(s->state, e->clientid))
		local_locks_leave(s, e->clientid);
}

static void reply_kept(struct nfs_server *s, const struct state_effect *e)
{
	drc_keep(s->drc, e->key, e->begun, e->reply);
}

static carry_out *const rows[] = {
	[EFFECT_LOCK_FREED] = lock_freed,
	[EFFECT_RECALL] = deleg_recall_effect,
	[EFFECT_SESSION_GONE] = session_gone,
	[EFFECT_CLIENT_GONE] = client_gone,
	[EFFECT_LOCKS_GONE] = locks_gone,
	[EFFECT_CLIENT_MOVED] = client_moved,
	[EFFECT_REPLY_KEPT] = reply_kept,
	[EFFECT_GRANTED] = deleg_granted_effect,
	[EFFECT_GRANT_SEEN] = deleg_seen_effect,
};

void effects_emit(void *arg, const struct state_effect *effect)
{
	if (effect->type < ARRAY_SIZE(rows) && rows[effect->type])
		rows[effect->type](arg, effect);
}

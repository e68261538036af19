/*
 * Puts the parts of the server together: exports, state machine, ordered log. Order of life:
 * the registry of backends outlives the state (opens hold files), which outlives nothing else.
 */
#include "nfsd/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "nfsd/chores.h"
#include "nfsd/compound.h"
#include "nfsd/callback/callbacks.h"
#include "nfsd/debts.h"
#include "nfsd/deleg.h"
#include "nfsd/drc.h"
#include "nfsd/effects.h"
#include "nfsd/handover.h"
#include "nfsd/nameless.h"
#include "nfsd/local_locks.h"
#include "nfsd/lull.h"
#include "nfsd/deleg_local.h"
#include "nfsd/recorder.h"
#include "nfsd/replication.h"
#include "nfsd/server_private.h"
#include "nfsd/write_payload.h"

#define DEFAULT_LEASE	   90
#define DEFAULT_COURTESY   (24 * 3600)
#define COMPOUND_OVERHEAD  4096 /* bytes of a request or reply beside its payload */
#define EXPIRE_BATCH	   64

void nfs_server_options_default(struct nfs_server_options *o)
{
	*o = (struct nfs_server_options){
		.minor_versions = 7,
		.lease_seconds = DEFAULT_LEASE,
		.courtesy_seconds = DEFAULT_COURTESY,
		.max_io = 1 << 20,
		.delegations = true,
		.epoch = (uint32_t)(clock_real_ns() / NS_PER_SEC),
		.cluster_new = cluster_solo_new,
	};
	random_bytes(&o->handle_key, sizeof(o->handle_key));
}

/* Stable storage first: whoever else is told may act on it. */
static void emit(void *arg, const struct state_effect *effect)
{
	struct nfs_server *s = arg;

	if (s->recorder)
		recorder_effect(s->recorder, effect);
	effects_emit(s, effect);
}

static void apply(void *ctx, const void *command, void *result)
{
	struct nfs_server *s = ctx;
	struct state_effects effects = { emit, s };
	struct state_result ignored;

	state_apply(s->state, command, result ? result : &ignored, &effects);
}

/* What the last process has handed over, if it has. */
static int take_over(struct nfs_server *s, const struct state_config *config)
{
	struct state_counts n;
	int err;

	/* In a cluster the others have it; if there are none, its clients have to reclaim. */
	if (!s->options.state_dir || !s->options.served || s->replicated)
		return 0;
	err = handover_read(s->state, s->drc, s->options.state_dir, s->options.served);
	if (err) {
		state_free(s->state);
		s->state = NULL;
		return state_new(config, &s->state);
	}
	s->restored = true;
	state_get_counts(s->state, &n);
	log_info("going on where the last process stopped: %llu clients, %llu opens, %llu locks",
		 (unsigned long long)n.clients, (unsigned long long)n.opens,
		 (unsigned long long)n.locks);
	return 0;
}

static void set_limit(uint32_t *limit, uint32_t asked)
{
	if (asked)
		*limit = asked;
}

static void set_limits(struct state_limits *l, const struct nfs_server_options *o)
{
	set_limit(&l->max_clients, o->max_clients);
	set_limit(&l->max_opens, o->max_opens);
	set_limit(&l->max_locks, o->max_locks);
	set_limit(&l->max_delegs, o->max_delegations);
	set_limit(&l->max_delegs_per_client, o->max_delegations_per_client);
	set_limit(&l->max_owners, o->max_owners);
	set_limit(&l->max_sessions, o->max_sessions);
	set_limit(&l->max_owners_per_client, o->max_owners_per_client);
	set_limit(&l->max_opens_per_client, o->max_opens_per_client);
	set_limit(&l->max_locks_per_client, o->max_locks_per_client);
	set_limit(&l->max_sessions_per_client, o->max_sessions_per_client);
	set_limit(&l->max_slots_per_session, o->max_slots_per_session);
	set_limit(&l->fore.max_slots, o->max_slots_per_session);
}

static int start_state(struct nfs_server *s)
{
	struct state_config config;
	struct cluster_app app = { .apply = apply };
	int err;

	state_config_default(&config);
	config.epoch = s->options.epoch;
	config.lease_seconds = s->options.lease_seconds;
	config.courtesy_seconds = s->options.courtesy_seconds;
	config.limits.fore.max_request = s->options.max_io + COMPOUND_OVERHEAD;
	config.limits.fore.max_response = s->options.max_io + COMPOUND_OVERHEAD;
	set_limits(&config.limits, &s->options);
	err = state_new(&config, &s->state);
	if (!err)
		err = take_over(s, &config);
	if (err)
		return err;
	s->callbacks = callbacks_new(s);
	s->delegations = delegations_new();
	if (!s->callbacks || !s->delegations)
		return -ENOMEM;
	app.ctx = s;
	if (s->replicated)
		replication_app(s, &app);
	s->cluster = s->options.cluster_new(&app, &s->options.cluster);
	if (s->cluster && s->options.lull_ms)
		s->lulls = lulls_new(s);
	return s->cluster && (s->lulls || !s->options.lull_ms) ? 0 : -ENOMEM;
}

static int start_recorder(struct nfs_server *s, struct config_error *err)
{
	struct recorder_params params = {
		.replicated = s->replicated,
		.state_dir = s->options.state_dir,
		.instance = s->options.instance,
		.earlier = s->options.earlier,
		.lease_seconds = s->options.lease_seconds,
		.grace_seconds = s->options.grace_seconds,
		.restored = s->restored,
	};

	s->options.state_dir = NULL; /* the caller's */
	return params.state_dir ? recorder_new(s, &params, &s->recorder, err) : 0;
}

static void name_owner(struct nfs_server *s)
{
	if (s->options.scope)
		snprintf(s->owner_major, sizeof(s->owner_major), "%s", s->options.scope);
	else if (gethostname(s->owner_major, sizeof(s->owner_major)) != 0)
		snprintf(s->owner_major, sizeof(s->owner_major), "atoll");
	s->owner_major[sizeof(s->owner_major) - 1] = '\0';
	s->options.scope = NULL;
}

/* Puts the set into all stripes; NULL: none. Who uses the one before has a reference from now on. */
static void stripes_set(struct nfs_server *s, struct export_set *set)
{
	for (unsigned i = 0; i < EXPORT_STRIPES; i++) {
		struct exports_stripe *st = &s->stripes[i];
		struct export_set *old;

		mutex_lock(&st->lock);
		old = st->set;
		for (; st->users > 0; st->users--)
			export_set_ref(old);
		st->set = set ? export_set_ref(set) : NULL;
		mutex_unlock(&st->lock);
		export_set_unref(old);
	}
}

int nfs_server_new(const struct nfs_server_options *options, struct exports *exports,
		   struct nfs_server **out, struct config_error *err)
{
	struct nfs_server *s = aligned_alloc(_Alignof(struct nfs_server), sizeof(*s));
	int code = -ENOMEM;

	*err = (struct config_error){ .message = "out of memory" };
	if (!s)
		return code;
	memset(s, 0, sizeof(*s));
	s->options = *options;
	s->replicated = options->replicated;
	s->serving = !s->replicated;
	if (s->options.courtesy_seconds == 0)
		s->options.courtesy_seconds = DEFAULT_COURTESY;
	name_owner(s);
	mutex_init(&s->exports_lock);
	for (unsigned i = 0; i < EXPORT_STRIPES; i++)
		mutex_init(&s->stripes[i].lock);
	mutex_init(&s->members_lock);
	mutex_init(&s->settling_lock);
	cond_init(&s->settled);
	s->drc = drc_new(&s->options.handle_key);
	s->local_locks = local_locks_new();
	s->registry = export_registry_new(s->options.cache_seconds);
	if (s->drc && s->local_locks && s->registry)
		code = start_state(s);
	if (code == 0)
		code = start_recorder(s, err);
	if (code == 0)
		code = export_set_new(s->registry, exports, &s->exports, err);
	if (code == 0) {
		stripes_set(s, s->exports);
		local_start(s);
		local_restore(s);
	}
	if (code) {
		nfs_server_free(s);
		return code;
	}
	if (s->restored)
		local_locks_take(s, 0);
	*out = s;
	return 0;
}

int nfs_server_reload(struct nfs_server *s, struct exports *exports, struct config_error *err)
{
	struct export_set *fresh, *old;
	int code = export_set_new(s->registry, exports, &fresh, err);

	if (code)
		return code;
	mutex_lock(&s->exports_lock);
	old = s->exports;
	s->exports = fresh;
	stripes_set(s, fresh);
	mutex_unlock(&s->exports_lock);
	export_set_unref(old);
	return 0;
}

struct export_set *nfs_server_exports_use(struct nfs_server *s, unsigned *stripe)
{
	static _Atomic unsigned threads;
	static _Thread_local unsigned mine; /* the stripe + 1 */
	struct exports_stripe *st;
	struct export_set *set;

	if (unlikely(mine == 0))
		mine = 1 + atomic_fetch_add(&threads, 1) % EXPORT_STRIPES;
	*stripe = mine - 1;
	st = &s->stripes[*stripe];
	mutex_lock(&st->lock);
	set = st->set;
	st->users++;
	mutex_unlock(&st->lock);
	return set;
}

void nfs_server_exports_done(struct nfs_server *s, struct export_set *set, unsigned stripe)
{
	struct exports_stripe *st = &s->stripes[stripe];
	bool replaced;

	mutex_lock(&st->lock);
	replaced = st->set != set;
	st->users -= !replaced;
	mutex_unlock(&st->lock);
	if (unlikely(replaced))
		export_set_unref(set);
}

struct export_set *nfs_server_exports(struct nfs_server *s)
{
	struct export_set *set;

	mutex_lock(&s->exports_lock);
	set = export_set_ref(s->exports);
	mutex_unlock(&s->exports_lock);
	return set;
}

static enum rpc_verdict handle(struct rpc_call *call, void *ctx)
{
	switch (call->procedure) {
	case NFSPROC4_NULL:
		return RPC_REPLY;
	case NFSPROC4_COMPOUND:
		return compound_run(ctx, call);
	default:
		return RPC_PROC_UNAVAIL;
	}
}

static void conn_closed(struct rpc_conn *conn, void *ctx)
{
	struct nfs_server *s = ctx;

	state_conn_closed(s->state, rpc_conn_id(conn));
	callbacks_conn_closed(s->callbacks, conn);
}

struct rpc_program nfs_server_program(struct nfs_server *s)
{
	return (struct rpc_program){
		.number = NFS4_PROGRAM,
		.min_version = NFS4_VERSION,
		.max_version = NFS4_VERSION,
		.handle = handle,
		.conn_closed = conn_closed,
		.payload = write_payload_find,
		.ctx = s,
	};
}

/* All nodes are one server to clients, whatever the machines are called. */
static void name_cluster(struct nfs_server *s)
{
	struct cluster_status status;

	cluster_get_status(s->cluster, &status);
	if (status.scope[0])
		snprintf(s->owner_major, sizeof(s->owner_major), "%s", status.scope);
}

int nfs_server_attach(struct nfs_server *s, struct rpc_server *rpc)
{
	struct rpc_program program = nfs_server_program(s);
	int err = rpc_server_add_program(rpc, &program);

	if (err)
		return err;
	rpc_server_on_reply(rpc, callbacks_reply, s->callbacks);
	err = callbacks_start(s->callbacks, rpc);
	if (!err && s->replicated)
		err = chores_start(s, &s->chores);
	if (!err)
		err = cluster_start(s->cluster);
	if (!err && s->replicated)
		name_cluster(s);
	return err;
}

static void stop_log(struct nfs_server *s)
{
	cluster_free(s->cluster);
	s->cluster = NULL;
	chores_stop(s->chores);
	s->chores = NULL;
}

void nfs_server_detach(struct nfs_server *s)
{
	lulls_stop(s->lulls);
	callbacks_stop(s->callbacks);
	debts_await(s);
	if (!s->replicated)
		return;
	/* Its thread submits recalls for programs on this machine, which go on now. */
	local_stop(s);
	/* What is still waiting for its place in the order is refused while its calls are there. */
	s->serving = false;
	stop_log(s);
}

enum expiry nfs_server_expire_client(struct nfs_server *s, uint64_t clientid)
{
	struct state_command cmd;

	if (!state_judge(s->state, clientid, &cmd))
		return EXPIRY_NONE;
	log_info("client %016llx: lease expired, its opens and locks are released",
		 (unsigned long long)clientid);
	return cluster_submit(s->cluster, &cmd, NULL, NULL, NULL) == CLUSTER_PENDING
		   ? EXPIRY_ORDERED
		   : EXPIRY_DONE;
}

/* The other nodes are told whose lease has passed: they cannot know. */
static void tell_silence(struct nfs_server *s)
{
	struct state_command cmds[EXPIRE_BATCH];
	unsigned n = state_silence(s->state, cmds, EXPIRE_BATCH);

	for (unsigned i = 0; i < n; i++)
		cluster_submit(s->cluster, &cmds[i], NULL, NULL, NULL);
}

/* All clients are looked at, of which there may be many: not every second if leases are long. */
static void expire_silent(struct nfs_server *s)
{
	uint64_t ids[EXPIRE_BATCH], now = clock_coarse_ns();
	unsigned n;

	if (now < s->expire_after_ns)
		return;
	n = state_expirable(s->state, ids, EXPIRE_BATCH);
	for (unsigned i = 0; i < n; i++)
		nfs_server_expire_client(s, ids[i]);
	if (n < EXPIRE_BATCH)
		s->expire_after_ns = now + s->options.lease_seconds * (NS_PER_SEC / 16);
}

void nfs_server_tick(struct nfs_server *s)
{
	if (!nfs_server_serves(s))
		return;
	if (s->replicated) {
		tell_silence(s);
		replication_tick(s);
	}
	expire_silent(s);
	deleg_tick(s);
	drc_age(s->drc, 2 * s->options.lease_seconds);
}

void nfs_server_tick_records(struct nfs_server *s)
{
	if (s->recorder && nfs_server_serves(s))
		recorder_tick(s->recorder);
}

void nfs_server_tick_files(struct nfs_server *s)
{
	if (!nfs_server_serves(s))
		return;
	local_locks_tick(s);
	nameless_tick(s->state);
}

bool nfs_server_moves(struct nfs_server *s, uint64_t then)
{
	return cluster_has_moved(s->cluster, then);
}

void nfs_server_hand_over(struct nfs_server *s, const char *state_dir)
{
	/* A cluster lives on without this node, and what is written now will be old. */
	if (!s->replicated)
		handover_write(s->state, s->drc, state_dir, s->options.instance);
}

void nfs_server_keep_nameless(struct nfs_server *s)
{
	nameless_collect(s->state);
}

void nfs_server_free(struct nfs_server *s)
{
	if (!s)
		return;
	if (s->callbacks)
		callbacks_stop(s->callbacks); /* its last calls may submit commands */
	local_stop(s);
	stop_log(s);
	recorder_free(s->recorder);
	callbacks_free(s->callbacks);
	if (s->state)
		state_free(s->state);
	local_locks_free(s->local_locks);
	stripes_set(s, NULL);
	export_set_unref(s->exports);
	export_registry_free(s->registry);
	drc_free(s->drc);
	delegations_free(s->delegations);
	mutex_destroy(&s->exports_lock);
	for (unsigned i = 0; i < EXPORT_STRIPES; i++)
		mutex_destroy(&s->stripes[i].lock);
	mutex_destroy(&s->members_lock);
	lulls_free(s->lulls);
	mutex_destroy(&s->settling_lock);
	cond_destroy(&s->settled);
	free(s);
}

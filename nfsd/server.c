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
#include "nfsd/compound.h"
#include "nfsd/drc.h"
#include "nfsd/server_private.h"

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
		.epoch = (uint32_t)(clock_real_ns() / NS_PER_SEC),
		.cluster_new = cluster_solo_new,
	};
	random_bytes(&o->handle_key, sizeof(o->handle_key));
}

static void apply(void *ctx, const void *command, void *result)
{
	struct state_effects none = { 0 };
	struct state_result ignored;

	state_apply(ctx, command, result ? result : &ignored, &none);
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
	err = state_new(&config, &s->state);
	if (err)
		return err;
	app.ctx = s->state;
	s->cluster = s->options.cluster_new(&app);
	return s->cluster ? 0 : -ENOMEM;
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

int nfs_server_new(const struct nfs_server_options *options, struct exports *exports,
		   struct nfs_server **out, struct config_error *err)
{
	struct nfs_server *s = calloc(1, sizeof(*s));
	int code = -ENOMEM;

	*err = (struct config_error){ .message = "out of memory" };
	if (!s)
		return code;
	s->options = *options;
	if (s->options.courtesy_seconds == 0)
		s->options.courtesy_seconds = DEFAULT_COURTESY;
	name_owner(s);
	mutex_init(&s->exports_lock);
	s->drc = drc_new();
	s->registry = export_registry_new();
	if (s->drc && s->registry)
		code = start_state(s);
	if (code == 0)
		code = export_set_new(s->registry, exports, &s->exports, err);
	if (code) {
		nfs_server_free(s);
		return code;
	}
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
	mutex_unlock(&s->exports_lock);
	export_set_unref(old);
	return 0;
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
}

struct rpc_program nfs_server_program(struct nfs_server *s)
{
	return (struct rpc_program){
		.number = NFS4_PROGRAM,
		.min_version = NFS4_VERSION,
		.max_version = NFS4_VERSION,
		.handle = handle,
		.conn_closed = conn_closed,
		.ctx = s,
	};
}

void nfs_server_expire_client(struct nfs_server *s, uint64_t clientid)
{
	struct state_command cmd = {
		.type = CMD_EXPIRE_CLIENT,
		.clientid = clientid,
		.expire_client = { .courtesy_only = true },
	};
	struct state_result result;

	log_info("client %016llx: lease expired, its opens and locks are released",
		 (unsigned long long)clientid);
	cluster_submit(s->cluster, &cmd, &result, NULL, NULL);
}

void nfs_server_tick(struct nfs_server *s)
{
	uint64_t ids[EXPIRE_BATCH];
	unsigned n = state_expirable(s->state, ids, EXPIRE_BATCH);

	for (unsigned i = 0; i < n; i++)
		nfs_server_expire_client(s, ids[i]);
}

void nfs_server_free(struct nfs_server *s)
{
	if (!s)
		return;
	cluster_free(s->cluster);
	if (s->state)
		state_free(s->state);
	export_set_unref(s->exports);
	export_registry_free(s->registry);
	drc_free(s->drc);
	mutex_destroy(&s->exports_lock);
	free(s);
}

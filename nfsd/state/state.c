/* Making and freeing the state, what every file needs, and counting. */
#include "nfsd/state/state_private.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

void state_config_default(struct state_config *c)
{
	*c = (struct state_config){
		.epoch = 1,
		.lease_seconds = 90,
		.courtesy_seconds = 24 * 3600,
		.limits = {
			.max_clients = 100000,
			.max_sessions_per_client = 64,
			.max_slots_per_session = 256,
			.max_opens_per_client = 2000000,
			.max_locks_per_client = 2000000,
			.max_owners_per_client = 2000000,
			.max_delegs_per_client = 20000,
			.max_locks = 8000000,
			.max_delegs = 100000,
			.max_opens = 4000000,
			.max_owners = 8000000,
			.max_sessions = 200000,
			.max_reply_cache = 1u << 30,
			.fore = {
				/* 1 MiB of data and what surrounds it */
				.max_request = (1u << 20) + 65536,
				.max_response = (1u << 20) + 65536,
				.max_response_cached = 4096,
				.max_ops = 128,
				.max_slots = 256,
			},
		},
	};
}

int state_new(const struct state_config *config, struct state **out)
{
	/* Stripes want their alignment; the size is a multiple of it. */
	struct state *s = aligned_alloc(_Alignof(struct state), sizeof(*s));

	if (!s)
		return -ENOMEM;
	__builtin_memset(s, 0, sizeof(*s));
	s->config = *config;
	if (s->config.limits.max_slots_per_session > SLOTS_MAX)
		s->config.limits.max_slots_per_session = SLOTS_MAX;
	s->node = 1;
	grace_init(&s->grace);
	mutex_init(&s->names_lock);
	mutex_init(&s->reply_lock);
	mutex_init(&s->recall_lock);
	list_init(&s->recalled);
	list_init(&s->clients);
	list_init(&s->unconfirmed);
	stripes_init(s->by_clientid);
	stripes_init(s->by_session);
	stripes_init(s->by_stateid);
	stripes_init(s->by_file);
	stripes_init(s->by_conn);
	*out = s;
	return 0;
}

void state_free(struct state *s)
{
	struct state_command cmd = { .type = CMD_EXPIRE_CLIENT };
	const struct state_effects nobody = { 0 };
	struct state_result result;

	if (!s)
		return;
	for (;;) {
		struct client *c;

		mutex_lock(&s->names_lock);
		c = list_first(&s->clients, struct client, in_clients);
		cmd.clientid = c ? c->id : 0;
		cmd.expire_client.adoptions = c ? c->adoptions : 0;
		mutex_unlock(&s->names_lock);
		if (!c)
			break;
		state_apply(s, &cmd, &result, &nobody);
	}
	stripes_destroy(s->by_clientid);
	stripes_destroy(s->by_session);
	stripes_destroy(s->by_stateid);
	stripes_destroy(s->by_file);
	stripes_destroy(s->by_conn);
	table_free(&s->names);
	mutex_destroy(&s->recall_lock);
	mutex_destroy(&s->reply_lock);
	mutex_destroy(&s->names_lock);
	grace_destroy(&s->grace);
	free(s);
}

uint64_t state_now(const struct state *s)
{
	return s->config.now_ns ? s->config.now_ns(s->config.now_arg) : clock_coarse_ns();
}

/* A client waits and tries again: memory may come back. */
enum nfsstat4 out_of_memory(uint32_t minor)
{
	command_lacks_memory();
	return NFS4ERR_DELAY;
}

/* With sessions there is no NFS4ERR_RESOURCE. */
enum nfsstat4 over_limit(uint32_t minor)
{
	return minor == 0 ? NFS4ERR_RESOURCE : NFS4ERR_DELAY;
}

void state_get_counts(struct state *s, struct state_counts *out)
{
	mutex_lock(&s->names_lock);
	out->clients = s->nclients;
	mutex_unlock(&s->names_lock);
	out->sessions = s->nsessions;
	out->open_owners = s->nopen_owners;
	out->lock_owners = s->nlock_owners;
	out->opens = s->nopens;
	out->locks = s->nlocks;
	out->delegations = s->ndelegs;
	out->files = s->nfiles;
	out->cached_bytes = s->cached_bytes;
}

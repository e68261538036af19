/*
 * Too many delegations, or too little memory: clients are asked to return some (CB_RECALL_ANY, RFC
 * 8881 section 20.6), which ones is theirs to choose. Minor version 0 has no such call; its clients
 * get no more when the limit is reached.
 *
 * A client is asked when it, or all clients together, have more than 7/8 of what they may have, or
 * the machine has less than 1/32 of its memory available; it may keep half of what the limit, or
 * memory, would let it have. It is not asked again within a quarter of a lease.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "nfsd/callback/callback.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_private.h"
#include "nfsd/server_private.h"

#define HOLDERS_MOST 4096
#define WORTH_IT     16 /* so few delegations are no burden on memory */

/* Under delegations.lock, but for `call` while it is on its way. */
struct recall_any {
	struct callback_call call;
	struct nfs_server *server;
	struct list link;
	uint64_t until_ns; /* not again before */
	bool done;
	uint32_t args[3]; /* CB_RECALL_ANY4args */
};

static void recall_any_done(struct callback_call *call)
{
	struct recall_any *r = container_of(call, struct recall_any, call);
	struct delegations *d = r->server->delegations;

	mutex_lock(&d->lock);
	r->done = true;
	mutex_unlock(&d->lock);
}

static bool asked_lately(struct delegations *d, uint64_t clientid) REQUIRES(&d->lock)
{
	struct recall_any *r;

	list_for_each (r, &d->recalls_any, link) {
		if (r->call.clientid == clientid)
			return true;
	}
	return false;
}

static void ask(struct nfs_server *s, uint64_t clientid, uint32_t keep)
{
	struct delegations *d = s->delegations;
	struct recall_any *r = NULL;

	if (!callback_path_up(s, clientid))
		return;
	mutex_lock(&d->lock);
	if (!asked_lately(d, clientid))
		r = calloc(1, sizeof(*r));
	if (r) {
		r->server = s;
		r->until_ns = clock_mono_ns() + s->options.lease_seconds * NS_PER_SEC / 4;
		r->args[0] = htobe32(keep);
		r->args[1] = htobe32(1);
		r->args[2] = htobe32(1u << RCA4_TYPE_MASK_RDATA_DLG |
				     1u << RCA4_TYPE_MASK_WDATA_DLG | 1u << RCA4_TYPE_MASK_DIR_DLG);
		r->call = (struct callback_call){
			.clientid = clientid,
			.op = OP_CB_RECALL_ANY,
			.args = { (const uint8_t *)r->args, sizeof(r->args) },
			.done = recall_any_done,
		};
		list_push_back(&d->recalls_any, &r->link);
	}
	mutex_unlock(&d->lock);
	if (r)
		callback_send(s, &r->call);
}

static void forget_old(struct delegations *d)
{
	uint64_t now = clock_mono_ns();
	struct recall_any *r, *next;

	mutex_lock(&d->lock);
	list_for_each_safe (r, next, &d->recalls_any, link) {
		if (!r->done || r->until_ns > now)
			continue;
		list_remove(&r->link);
		free(r);
	}
	mutex_unlock(&d->lock);
}

/* Without the lines it is never short: an old kernel, no /proc. */
static bool memory_is_short(void)
{
	unsigned long long total = 0, available = 0, kb;
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];

	while (f && fgets(line, sizeof(line), f) && !(total && available)) {
		if (sscanf(line, "MemTotal: %llu kB", &kb) == 1)
			total = kb;
		else if (sscanf(line, "MemAvailable: %llu kB", &kb) == 1)
			available = kb + 1;
	}
	if (f)
		fclose(f);
	return total && available && available < total / 32;
}

static bool nearly(uint64_t n, uint32_t limit)
{
	return n * 8 > (uint64_t)limit * 7;
}

void deleg_full_tick(struct nfs_server *s)
{
	uint32_t limit_each, limit_all;
	uint64_t total = state_ndelegs(s->state);
	struct state_holder *holders;
	bool full, short_of_memory;
	unsigned n;

	forget_old(s->delegations);
	state_deleg_limits(s->state, &limit_each, &limit_all);
	full = nearly(total, limit_all);
	short_of_memory = total >= WORTH_IT && memory_is_short();
	if (!full && !short_of_memory && !nearly(total, limit_each))
		return;
	holders = calloc(HOLDERS_MOST, sizeof(*holders));
	if (!holders)
		return;
	n = state_holders(s->state, holders, HOLDERS_MOST);
	for (unsigned i = 0; i < n; i++) {
		uint64_t has = holders[i].ndelegs, keep = has;

		if (nearly(has, limit_each))
			keep = limit_each / 2;
		if (full && has * limit_all / (2 * total) < keep)
			keep = has * limit_all / (2 * total);
		if (short_of_memory && has / 2 < keep)
			keep = has / 2;
		if (keep < has)
			ask(s, holders[i].clientid, (uint32_t)keep);
	}
	free(holders);
}

void deleg_full_end(struct delegations *d)
{
	struct recall_any *r, *next;

	list_for_each_safe (r, next, &d->recalls_any, link)
		free(r);
}

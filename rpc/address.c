/*
 * Connections to one of this machine's addresses, all of them: an address that goes elsewhere takes its
 * clients along. Connections belong to loops, so loops are asked, and answer in their next turn.
 */
#include "rpc/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "base/clock.h"

#define PATIENCE (100 * NS_PER_MS)

bool address_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
		       ((const struct sockaddr_in *)b)->sin_addr.s_addr;
	return a->ss_family == AF_INET6 &&
	       memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
		      &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

bool conn_is_frozen(struct rpc_conn *c)
{
	struct visits *v = &c->server->visits;
	bool frozen = false;

	if (likely(!atomic_load(&v->nfrozen)))
		return false;
	mutex_lock(&v->lock);
	for (unsigned i = 0; i < v->nfrozen; i++)
		frozen |= address_same_host(&v->frozen[i], &c->local);
	mutex_unlock(&v->lock);
	return frozen;
}

static bool store(struct sockaddr_storage *to, const struct sockaddr *from)
{
	memset(to, 0, sizeof(*to));
	if (from->sa_family == AF_INET)
		memcpy(to, from, sizeof(struct sockaddr_in));
	else if (from->sa_family == AF_INET6)
		memcpy(to, from, sizeof(struct sockaddr_in6));
	return to->ss_family == AF_INET || to->ss_family == AF_INET6;
}

static bool set_frozen(struct visits *v, const struct sockaddr_storage *a, bool on)
    REQUIRES(v->lock)
{
	unsigned i = 0;

	while (i < v->nfrozen && !address_same_host(&v->frozen[i], a))
		i++;
	if (on && i == v->nfrozen) {
		if (i == MAX_FROZEN)
			return false;
		v->frozen[v->nfrozen++] = *a;
	} else if (!on && i < v->nfrozen) {
		v->frozen[i] = v->frozen[--v->nfrozen];
	}
	return true;
}

/* All loops do it; the number of busy connections, at least one if a loop has not answered. */
static int ask(struct rpc_server *s, enum visit what, const struct sockaddr_storage *a)
{
	struct visits *v = &s->visits;
	uint64_t deadline = clock_mono_ns() + PATIENCE;
	int busy;

	mutex_lock(&v->lock);
	if (!set_frozen(v, a, what == VISIT_FREEZE)) {
		mutex_unlock(&v->lock);
		return -ENOSPC;
	}
	v->number++;
	v->what = what;
	v->address = *a;
	v->left = s->nloops;
	v->busy = 0;
	mutex_unlock(&v->lock);
	for (unsigned i = 0; i < s->nloops; i++) {
		atomic_store(&s->loops[i]->visit, true);
		loop_wake(s->loops[i]);
	}
	mutex_lock(&v->lock);
	while (v->left && cond_wait_until(&v->answered, &v->lock, deadline)) {
		/* One loop less. */
	}
	busy = (int)(v->busy + v->left);
	mutex_unlock(&v->lock);
	return busy;
}

int rpc_server_freeze(struct rpc_server *s, const struct sockaddr *local)
{
	struct sockaddr_storage a;
	int busy;

	if (!store(&a, local))
		return 0;
	mutex_lock(&s->visits.asking);
	busy = ask(s, VISIT_FREEZE, &a);
	mutex_unlock(&s->visits.asking);
	return busy;
}

void rpc_server_reset(struct rpc_server *s, const struct sockaddr *local)
{
	struct sockaddr_storage a;

	if (!store(&a, local))
		return;
	mutex_lock(&s->visits.asking);
	ask(s, VISIT_RESET, &a);
	mutex_unlock(&s->visits.asking);
}

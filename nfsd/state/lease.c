/*
 * Leases: this node's knowledge of when it last heard of a client. Nothing expires by itself:
 * a silent client keeps its state until somebody needs what it holds (state_judge) or the
 * courtesy has passed (state_expirable); then an EXPIRE_CLIENT is submitted. Both ask only about
 * clients that are judged here, see home.c.
 */
#include "base/clock.h"
#include "nfsd/state/state_private.h"

void client_heard(struct state *s, struct client *c)
{
	uint64_t now = state_now(s);

	/* Most requests find it renewed within the same tick: spare the cache line. */
	if (atomic_load_explicit(&c->heard_ns, memory_order_relaxed) != now)
		atomic_store_explicit(&c->heard_ns, now, memory_order_relaxed);
}

static bool silent_for(struct state *s, struct client *c, uint64_t seconds)
{
	uint64_t heard = atomic_load_explicit(&c->heard_ns, memory_order_relaxed);
	uint64_t now = state_now(s);

	return now > heard && now - heard > seconds * NS_PER_SEC;
}

/* Whoever has a file open may renew, too (RFC 7530 section 16.28.5). */
static bool has_open(struct client *c, struct bytes principal)
{
	uint64_t hash = principal_hash(principal);
	struct owner *o;
	bool found = false;

	mutex_lock(&c->lock);
	list_for_each (o, &c->busy, in_client) {
		found = o->kind == OWNER_OPEN && o->principal == hash;
		if (found)
			break;
	}
	mutex_unlock(&c->lock);
	return found;
}

enum nfsstat4 state_renew(struct state *s, uint64_t clientid, struct bytes principal)
{
	struct client *c;
	enum nfsstat4 status = client_get_v40(s, clientid, &c);

	if (status)
		return status;
	if (bytes_equal(principal, c->principal, c->principal_len) || has_open(c, principal))
		client_heard(s, c);
	else
		status = NFS4ERR_ACCESS;
	client_unref(c);
	return status;
}

void state_heard_v40(struct state *s, uint64_t clientid)
{
	struct client *c;

	if (client_get_v40(s, clientid, &c) != NFS4_OK)
		return;
	client_heard(s, c);
	client_unref(c);
}

uint64_t state_longest_silent(struct state *s)
{
	uint64_t now = state_now(s), oldest = now, found = 0;
	struct client *c;

	if (now < s->all_alive_ns)
		return 0;
	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients) {
		uint64_t heard = atomic_load_explicit(&c->heard_ns, memory_order_relaxed);

		bool lapsed = client_is_judged_here(s, c)
				  ? silent_for(s, c, s->config.lease_seconds)
				  : c->silent;

		if (heard < oldest && lapsed) {
			oldest = heard;
			found = c->id;
		}
	}
	mutex_unlock(&s->names_lock);
	if (!found)
		s->all_alive_ns = now + NS_PER_SEC;
	return found;
}

static bool has_lapsed(struct state *s, struct client *c)
{
	return client_is_judged_here(s, c) && silent_for(s, c, s->config.lease_seconds);
}

/*
 * True if the judge, which this node is, finds that the lease has passed. What it then says has no place in the
 * order yet: a request that comes before it has one must not be answered as if the client had its lease
 * again. So from here on the client is adopted first, as one that is silent.
 */
static bool judge(struct state *s, struct client *c)
{
	if (!has_lapsed(s, c))
		return false;
	c->judged = true;
	if (has_lapsed(s, c))
		return true;
	c->judged = false;
	return false;
}

/*
 * Elsewhere the word of its judge counts. The adoptions are read first: a client that settles
 * meanwhile makes them differ at the latest when the command has its place.
 */
bool state_judge(struct state *s, uint64_t clientid, struct state_command *expire)
{
	struct client *c = client_get(s, clientid);
	bool lapsed;

	if (!c)
		return false;
	*expire = (struct state_command){
		.type = CMD_EXPIRE_CLIENT,
		.clientid = clientid,
		.expire_client = { .adoptions = c->adoptions },
	};
	lapsed = c->silent || judge(s, c);
	client_unref(c);
	return lapsed;
}

bool state_is_courtesy(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	bool is;

	if (!c)
		return false;
	is = c->silent || has_lapsed(s, c);
	client_unref(c);
	return is;
}

unsigned state_silence(struct state *s, struct state_command *cmds, unsigned cap)
{
	struct client *c;
	unsigned n = 0;

	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients) {
		uint32_t adoptions = c->adoptions;

		if (n == cap)
			break;
		if (c->silent || !judge(s, c))
			continue;
		cmds[n++] = (struct state_command){
			.type = CMD_SILENT,
			.clientid = c->id,
			.silent = { .adoptions = adoptions },
		};
	}
	mutex_unlock(&s->names_lock);
	return n;
}

void state_renew_all(struct state *s)
{
	struct client *c;

	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients)
		client_heard(s, c);
	mutex_unlock(&s->names_lock);
}

static bool expirable(struct state *s, struct client *c)
{
	if (!client_is_judged_here(s, c))
		return false;
	if (!c->confirmed || (c->nopens == 0 && c->ndelegs == 0))
		return silent_for(s, c, s->config.lease_seconds);
	return silent_for(s, c, (uint64_t)s->config.lease_seconds + s->config.courtesy_seconds);
}

unsigned state_expirable(struct state *s, uint64_t *clientids, unsigned cap)
{
	struct client *c;
	unsigned n = 0;

	mutex_lock(&s->names_lock);
	list_for_each (c, &s->clients, in_clients) {
		if (n == cap)
			break;
		if (expirable(s, c))
			clientids[n++] = c->id;
	}
	mutex_unlock(&s->names_lock);
	return n;
}

bool state_reclaim_completed(struct state *s, uint64_t clientid)
{
	struct client *c = client_get(s, clientid);
	bool done;

	if (!c)
		return false;
	done = c->reclaim_complete;
	client_unref(c);
	return done;
}

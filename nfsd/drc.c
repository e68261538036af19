/*
 * Entries are in a hash table and, oldest first, in a list. Everything is under one lock: only
 * requests of minor version 0 that change the name space come here. An entry with holders is never
 * thrown out, so the bytes of its reply stay while they are being sent.
 * An entry is shared when the log has told all nodes its reply, or that it was begun (drc_keep()); only
 * such go to a node that joins. One that was begun at another node and has no reply belongs to the
 * first that asks for it again.
 */
#include "nfsd/drc.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/blocking.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/lock.h"
#include "nfsd/state/snapshot_io.h"

#define DRC_BUCKETS	1024
#define DRC_MAX_ENTRIES 4096
#define VERSION		2
#define DRC_MAX_REPLY	4096 /* longer ones belong to requests that need no protection */

/* Numbers are big-endian: nodes tell it to each other. */
struct drc_key {
	uint8_t addr[16];
	uint32_t xid, uid;
	uint64_t len, hash;
};

struct drc_entry {
	struct drc_key key;
	struct list age;
	struct drc_entry *next; /* in its bucket */
	uint64_t born_ns;
	unsigned holders; /* the first request, and duplicates looking at the reply */
	bool finished;
	bool shared; /* all nodes know the reply, also one that joins: it may be there before `finished` */
	struct begun begun; /* good until there is a reply */
	uint8_t *reply; /* NULL although finished: it could not be kept, or was never given */
	size_t len;
};

struct drc {
	struct siphash_key hash_key; /* immutable */
	struct mutex lock;	     /* everything below and in the entries */
	struct cond finished;
	struct drc_entry *buckets[DRC_BUCKETS];
	struct list by_age;
	unsigned count;
};

struct drc *drc_new(const struct siphash_key *hash_key)
{
	struct drc *d = calloc(1, sizeof(*d));

	if (d) {
		d->hash_key = *hash_key;
		mutex_init(&d->lock);
		cond_init(&d->finished);
		list_init(&d->by_age);
	}
	return d;
}

static void entry_free(struct drc_entry *e)
{
	free(e->reply);
	free(e);
}

void drc_free(struct drc *d)
{
	struct drc_entry *e, *tmp;

	if (!d)
		return;
	list_for_each_safe (e, tmp, &d->by_age, age)
		entry_free(e);
	cond_destroy(&d->finished);
	mutex_destroy(&d->lock);
	free(d);
}

static struct drc_key key_of(const struct drc *d, struct rpc_call *call, const uint8_t *args)
{
	const struct sockaddr *peer = rpc_conn_peer(call->conn);
	size_t len = (size_t)(call->args.end - args);
	struct drc_key k;

	memset(&k, 0, sizeof(k)); /* compared with memcmp */
	k.xid = htobe32(call->xid);
	k.uid = htobe32(call->auth.cred ? call->auth.cred->uid : UINT32_MAX);
	k.len = htobe64(len);
	k.hash = htobe64(siphash(&d->hash_key, args, len));
	if (peer->sa_family == AF_INET6)
		memcpy(k.addr, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
	else if (peer->sa_family == AF_INET)
		memcpy(k.addr, &((const struct sockaddr_in *)peer)->sin_addr, 4);
	return k;
}

static struct drc_entry **bucket_of(struct drc *d, const struct drc_key *k)
{
	return &d->buckets[hash_bytes(k, sizeof(*k)) % DRC_BUCKETS];
}

static void entry_remove(struct drc *d, struct drc_entry *e) REQUIRES(d->lock)
{
	struct drc_entry **link = bucket_of(d, &e->key);

	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	list_remove(&e->age);
	d->count--;
	entry_free(e);
}

static void drop_oldest(struct drc *d) REQUIRES(d->lock)
{
	struct drc_entry *e;

	list_for_each (e, &d->by_age, age) {
		if (e->holders == 0) {
			entry_remove(d, e);
			return;
		}
	}
}

static struct drc_entry *entry_add(struct drc *d, const struct drc_key *k) REQUIRES(d->lock)
{
	struct drc_entry *e = calloc(1, sizeof(*e));
	struct drc_entry **bucket = bucket_of(d, k);

	if (!e)
		return NULL;
	if (d->count >= DRC_MAX_ENTRIES)
		drop_oldest(d);
	e->key = *k;
	e->born_ns = clock_coarse_ns();
	e->holders = 1;
	e->next = *bucket;
	*bucket = e;
	list_push_back(&d->by_age, &e->age);
	d->count++;
	return e;
}

static struct drc_entry *entry_find(struct drc *d, const struct drc_key *k) REQUIRES(d->lock)
{
	struct drc_entry *e;

	for (e = *bucket_of(d, k); e; e = e->next) {
		if (memcmp(&e->key, k, sizeof(*k)) == 0)
			return e;
	}
	return NULL;
}

struct drc_entry *drc_begin(struct drc *d, struct rpc_call *call, const uint8_t *args,
			    const uint8_t **reply, size_t *len)
{
	struct drc_key k = key_of(d, call, args);
	struct drc_entry *e;

	*reply = NULL;
	mutex_lock(&d->lock);
	e = entry_find(d, &k);
	if (!e) {
		e = entry_add(d, &k);
		mutex_unlock(&d->lock);
		return e;
	}
	e->holders++;
	if (!e->finished) {
		mutex_unlock(&d->lock);
		blocking_section();
		mutex_lock(&d->lock);
	}
	while (!e->finished)
		cond_wait(&d->finished, &d->lock);
	if (e->reply) {
		*reply = e->reply;
		*len = e->len;
	} else if (e->begun.op) {
		e->finished = false;
	} else {
		e->holders--;
		e = NULL;
	}
	mutex_unlock(&d->lock);
	return e;
}

void drc_finish(struct drc *d, struct drc_entry *e, const uint8_t *reply, size_t len)
{
	uint8_t *copy = reply && len <= DRC_MAX_REPLY ? malloc(len) : NULL;

	if (copy)
		memcpy(copy, reply, len);
	mutex_lock(&d->lock);
	if (copy || !e->shared) {
		free(e->reply);
		e->reply = copy;
		e->len = len;
	}
	e->finished = true;
	e->holders--;
	cond_broadcast(&d->finished);
	mutex_unlock(&d->lock);
}

bool drc_make_key(struct drc *d, struct rpc_call *call, const uint8_t *args, struct bytes *key)
{
	struct drc_key *k = arena_alloc(&call->arena, sizeof(*k));

	if (!k)
		return false;
	*k = key_of(d, call, args);
	*key = (struct bytes){ (const uint8_t *)k, sizeof(*k) };
	return true;
}

/* The entry for what is being shared; of a request that is running here it gets it early. */
static struct drc_entry *entry_to_share(struct drc *d, const struct drc_key *k) REQUIRES(d->lock)
{
	struct drc_entry *e = entry_find(d, k);

	if (!e) {
		e = entry_add(d, k);
		if (!e)
			return NULL;
		e->finished = true;
		e->holders = 0;
	}
	e->shared = true;
	return e;
}

static void keep_begun(struct drc *d, const struct drc_key *k, const struct begun *begun)
{
	struct drc_entry *e;

	mutex_lock(&d->lock);
	e = entry_to_share(d, k);
	if (e)
		e->begun = *begun;
	mutex_unlock(&d->lock);
}

struct begun drc_begun(struct drc *d, struct bytes key)
{
	struct begun begun = { 0 };
	struct drc_entry *e;
	struct drc_key k;

	memcpy(&k, key.p, sizeof(k));
	mutex_lock(&d->lock);
	e = entry_find(d, &k);
	if (e && !e->reply)
		begun = e->begun;
	mutex_unlock(&d->lock);
	return begun;
}

static void keep_reply(struct drc *d, const struct drc_key *k, struct bytes reply)
{
	uint8_t *copy = malloc(reply.len ? reply.len : 1);
	struct drc_entry *e;

	if (copy && reply.len <= DRC_MAX_REPLY) {
		if (reply.len)
			memcpy(copy, reply.p, reply.len);
		mutex_lock(&d->lock);
		e = entry_to_share(d, k);
		if (e && !e->reply) { /* else somebody may be looking at it */
			e->reply = copy;
			e->len = reply.len;
			copy = NULL;
		}
		mutex_unlock(&d->lock);
	}
	free(copy);
}

void drc_keep(struct drc *d, struct bytes key, struct begun begun, struct bytes reply)
{
	struct drc_key k;

	if (key.len != sizeof(k))
		return;
	memcpy(&k, key.p, sizeof(k));
	if (begun.op)
		keep_begun(d, &k, &begun);
	else
		keep_reply(d, &k, reply);
}

void drc_release(struct drc *d, struct drc_entry *e)
{
	mutex_lock(&d->lock);
	e->holders--;
	mutex_unlock(&d->lock);
}

void drc_abandon(struct drc *d, struct drc_entry *e)
{
	drc_finish(d, e, NULL, 0);
}

void drc_age(struct drc *d, unsigned seconds)
{
	uint64_t now = clock_coarse_ns(), most = seconds * NS_PER_SEC;
	struct drc_entry *e, *tmp;

	mutex_lock(&d->lock);
	list_for_each_safe (e, tmp, &d->by_age, age) {
		if (now - e->born_ns < most)
			break;
		if (e->holders == 0)
			entry_remove(d, e);
	}
	mutex_unlock(&d->lock);
}

/* ---- for the next process, and for nodes that join ---- */

static bool is_to_go(const struct drc_entry *e, bool replica)
{
	if (!e->reply)
		return e->begun.op;
	return replica ? e->shared : e->finished;
}

static void put_entries(struct snapshot_out *o, struct drc *d)
{
	struct drc_entry *e;

	snapshot_put_u32(o, VERSION);
	mutex_lock(&d->lock);
	list_for_each (e, &d->by_age, age) {
		if (!is_to_go(e, o->replica))
			continue;
		snapshot_put_u32(o, 1);
		snapshot_put(o, &e->key, sizeof(e->key));
		snapshot_put_u32(o, e->reply ? 0 : e->begun.op);
		snapshot_put_u64(o, e->begun.object);
		snapshot_put_bytes(o, e->reply, e->reply ? (uint32_t)e->len : 0);
	}
	mutex_unlock(&d->lock);
	snapshot_put_u32(o, 0);
}

static void get_entries(struct snapshot_in *in, struct drc *d)
{
	if (snapshot_get_u32(in) != VERSION)
		snapshot_bad(in);
	/* What comes before damage is as it was written. */
	while (snapshot_get_bool(in)) {
		struct drc_key k;
		struct begun begun;
		struct bytes reply;

		snapshot_get(in, &k, sizeof(k));
		begun.op = snapshot_get_u32(in);
		begun.object = snapshot_get_u64(in);
		reply.p = snapshot_get_bytes(in, DRC_MAX_REPLY, &reply.len);
		if (!in->err)
			drc_keep(d, (struct bytes){ (const uint8_t *)&k, sizeof(k) }, begun, reply);
	}
}

int drc_save(struct drc *d, int fd)
{
	struct snapshot_out o;
	int err = snapshot_out_init(&o, fd);

	if (err)
		return err;
	put_entries(&o, d);
	return snapshot_out_finish(&o);
}

int drc_load(struct drc *d, int fd)
{
	struct snapshot_in in;
	int err = snapshot_in_init(&in, fd);

	if (err)
		return err;
	get_entries(&in, d);
	return snapshot_in_finish(&in);
}

int drc_replicate(struct drc *d, uint8_t **out, size_t *len)
{
	struct snapshot_out o;
	int err = snapshot_out_init_sink(&o, SNAPSHOT_MEMORY);

	if (err)
		return err;
	o.replica = true;
	put_entries(&o, d);
	err = snapshot_out_finish(&o);
	if (err) {
		free(o.bytes);
		return err;
	}
	*out = o.bytes;
	*len = o.nbytes;
	return 0;
}

int drc_restore(struct drc *d, const uint8_t *p, size_t len)
{
	struct snapshot_in in;
	int err = snapshot_in_init_memory(&in, p, len);

	if (err)
		return err;
	get_entries(&in, d);
	return snapshot_in_finish(&in);
}

/*
 * Nodes of a cluster as clients see them: COMPOUNDs against three servers in this process, on a
 * replicated log that applies every command at all nodes at once. They share one file system (of
 * memory). A node that dies is just not there any more for the others.
 */
#include "tests/unit/ops_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cluster/message.h"
#include "cluster/stable.h"
#include "nfsd/chores.h"
#include "nfsd/compound.h"
#include "nfsd/deleg.h"
#include "nfsd/deleg_agree.h"
#include "nfsd/deleg_private.h"
#include "nfsd/lull.h"
#include "nfsd/recorder.h"
#include "nfsd/state/back.h"
#include "nfsd/state/snapshot.h"

#define NODES	3
#define LEASE	90
#define PENDING 64

/* ------------------------------------------------------------------------- the log ---- */

struct node {
	struct cluster cluster;
	unsigned number; /* 0: none */
	bool member;
	bool closed; /* without quorum */
	bool dying; /* what it begins it still says, and nothing more */
	bool no_advance; /* it dies before it could say what minor version 0's requests came to */
	bool no_returns; /* the log has no room for delegations that come back, nor for CLOSE */
	uint64_t silent_ns;
	bool slow; /* what it submits from within another command waits for apply_held() */
};

/* A command that was submitted from within another. */
struct later {
	struct node *from;
	uint8_t *bytes;
	size_t len;
};

static struct node nodes[NODES + 1];
static struct nfs_server *servers[NODES + 1];
static struct nfs_server *replaced[2]; /* by others of the same number; the first ones' files live on */
static unsigned starting; /* the node whose cluster is being made */
static bool starts_closed;
static const char *state_dir; /* of node 1; NULL: none */
static bool applying, in_order;
static uint64_t epoch; /* the third number of the state's generation */
static uint64_t earlier_epoch; /* and of the last one that served before */
static struct later later[PENDING], held[PENDING];
static unsigned nlater, nheld;

static void apply_everywhere(struct node *from, const uint8_t *bytes, size_t len, void *result)
{
	for (unsigned i = 1; i <= NODES; i++) {
		struct node *n = &nodes[i];

		if (n->member)
			n->cluster.app.apply_bytes(n->cluster.app.ctx, from->number, bytes, len,
						   n == from ? result : NULL);
	}
}

static void apply_held(void)
{
	for (unsigned i = 0; i < nheld; i++) {
		apply_everywhere(held[i].from, held[i].bytes, held[i].len, NULL);
		free(held[i].bytes);
	}
	nheld = 0;
}

static void run_later(void)
{
	for (unsigned i = 0; i < nlater; i++) {
		if (later[i].from->slow) {
			assert_true(nheld < PENDING);
			held[nheld++] = later[i];
			continue;
		}
		apply_everywhere(later[i].from, later[i].bytes, later[i].len, NULL);
		free(later[i].bytes);
	}
	nlater = 0;
}

/* The first thing that a request says of itself. */
static bool is_begin(const struct state_command *cmd)
{
	switch (cmd->type) {
	case CMD_SLOT_REPLY:
		return cmd->slot_reply.begun.op != 0;
	case CMD_REPLY_KEPT:
		return cmd->reply_kept.begun.op != 0;
	default:
		return cmd->type == CMD_ADOPT;
	}
}

static enum cluster_submitted node_submit(struct cluster *c, const void *command, void *result,
					  void (*done)(void *arg), void *arg)
{
	struct node *n = container_of(c, struct node, cluster);
	uint8_t *bytes;
	size_t len;

	if (!n->member || n->closed || (n->dying && !is_begin(command)) ||
	    (n->no_advance &&
	     ((const struct state_command *)command)->type == CMD_OWNER_ADVANCE) ||
	    (n->no_returns &&
	     (((const struct state_command *)command)->type == CMD_DELEG_RETURN ||
	      ((const struct state_command *)command)->type == CMD_CLOSE))) {
		if (result)
			c->app.refuse(c->app.ctx, result);
		return CLUSTER_APPLIED;
	}
	assert_int_equal(c->app.encode(c->app.ctx, command, &bytes, &len), 0);
	assert_true(len <= MESSAGE_MAX_COMMAND);
	if (applying) {
		assert_null(done);
		assert_true(nlater < PENDING);
		later[nlater++] = (struct later){ n, bytes, len };
		return CLUSTER_PENDING;
	}
	applying = true;
	apply_everywhere(n, bytes, len, result);
	free(bytes);
	run_later();
	applying = false;
	if (!done)
		return CLUSTER_PENDING;
	/* Now so, now so. */
	in_order = !in_order;
	if (in_order)
		return CLUSTER_APPLIED;
	done(arg);
	return CLUSTER_PENDING;
}

static void tell_members(void)
{
	struct cluster_members m = { .generation = { 7, 1, epoch },
				     .earlier = { 7, 1, earlier_epoch } };

	for (unsigned i = 1; i <= NODES; i++) {
		if (nodes[i].member)
			m.nodes[m.n++] = i;
	}
	applying = true;
	for (unsigned i = 1; i <= NODES; i++) {
		m.self = i;
		if (nodes[i].member)
			nodes[i].cluster.app.members(nodes[i].cluster.app.ctx, &m);
	}
	run_later();
	applying = false;
}

static struct node *a_member(void)
{
	for (unsigned i = 1; i <= NODES; i++) {
		if (nodes[i].member)
			return &nodes[i];
	}
	return NULL;
}

static int node_start(struct cluster *c)
{
	struct node *n = container_of(c, struct node, cluster), *giver = a_member();
	uint8_t *bytes;
	size_t len;

	if (giver) {
		assert_int_equal(giver->cluster.app.snapshot(giver->cluster.app.ctx, &bytes, &len),
				 0);
		assert_int_equal(c->app.restore(c->app.ctx, bytes, len), 0);
		free(bytes);
	}
	n->member = true;
	tell_members();
	c->app.phase(c->app.ctx, CLUSTER_SERVING);
	return 0;
}

static void node_status(struct cluster *c, struct cluster_status *status)
{
	*status = (struct cluster_status){
		.phase = CLUSTER_SERVING,
		.self = container_of(c, struct node, cluster)->number,
	};
	for (unsigned i = 1; i <= NODES; i++)
		status->nodes[status->n++] = (struct cluster_node_status){
			.node = i,
			.present = nodes[i].member,
			.phase = CLUSTER_SERVING,
			.heard_ns = nodes[i].silent_ns,
		};
	strcpy(status->scope, "atoll");
}

static void node_free(struct cluster *c)
{
	container_of(c, struct node, cluster)->member = false;
}

static struct cluster *node_new(const struct cluster_app *app, const struct cluster_config *config)
{
	struct node *n = &nodes[starting];

	*n = (struct node){
		.cluster = { .app = *app,
			     .start = node_start,
			     .status = node_status,
			     .current_until = UINT64_MAX,
			     .submit = node_submit,
			     .free = node_free },
		.number = starting,
		.closed = starts_closed,
	};
	return &n->cluster;
}

/* ----------------------------------------------------------------------- the nodes ---- */

static struct exports *exports_of(const char *options)
{
	struct exports *e = exports_new();
	struct config_error err;

	assert_non_null(e);
	assert_int_equal(exports_add(e, "/data", "127.0.0.1", options, &err), 0);
	return e;
}

static void start_node(unsigned i)
{
	struct nfs_server_options o;
	struct config_error err;

	nfs_server_options_default(&o);
	memset(&o.handle_key, 7, sizeof(o.handle_key));
	o.lease_seconds = LEASE;
	o.epoch = 100 + i;
	o.replicated = true;
	o.cluster_new = node_new;
	/* Those of the node that begins count; with these the tests would not come far. */
	if (i > 1)
		o.max_clients = o.max_opens = o.max_locks = o.max_sessions = 1;
	o.delegations = false; /* whoever watches for local programs is one in a process */
	if (i == 1 && state_dir) {
		o.state_dir = state_dir;
		o.instance = 2;
		o.earlier = true;
	}
	starting = i;
	assert_int_equal(
	    nfs_server_new(&o, exports_of("rw,insecure,no_root_squash,exactly_once,backend=memory"),
			   &servers[i], &err),
	    0);
	/* One file system: that of the first. */
	if (i > 1) {
		export_set_unref(servers[i]->exports);
		servers[i]->exports = nfs_server_exports(servers[1]);
		for (unsigned k = 0; k < EXPORT_STRIPES; k++) {
			export_set_unref(servers[i]->stripes[k].set);
			servers[i]->stripes[k].set = export_set_ref(servers[i]->exports);
		}
		for (unsigned k = 0; k < EXPORT_STRIPES; k++) {
			export_set_unref(servers[i]->stripes[k].set);
			servers[i]->stripes[k].set = nfs_server_exports(servers[1]);
		}
	}
	assert_int_equal(chores_start(servers[i], &servers[i]->chores), 0);
	assert_int_equal(cluster_start(servers[i]->cluster), 0);
	strcpy(servers[i]->owner_major, "atoll");
}

static void at(unsigned i)
{
	server = servers[i];
}

/* The node is dead: the others go on without it. */
static void kill_node(unsigned i)
{
	nodes[i].member = false;
	tell_members();
}

static void same_everywhere(void)
{
	uint64_t first = 0, digest;
	bool any = false;

	for (unsigned i = 1; i <= NODES; i++) {
		if (!nodes[i].member)
			continue;
		assert_int_equal(state_digest(servers[i]->state, &digest), 0);
		assert_true(!any || digest == first);
		first = digest;
		any = true;
	}
}

static int setup(void **state)
{
	caller = cred_root();
	connection = 1;
	server_address = "10.0.0.100";
	nlater = 0;
	memset(nodes, 0, sizeof(nodes));
	for (unsigned i = 1; i <= NODES; i++)
		start_node(i);
	at(1);
	make_file("data", "f", "hello", 5);
	return 0;
}

static void test_limits(void **state)
{
	struct state_limits first = state_limits(servers[1]->state);

	assert_true(first.max_opens > 1);
	for (unsigned i = 2; i <= NODES; i++) {
		struct state_limits l = state_limits(servers[i]->state);

		assert_memory_equal(&l, &first, sizeof(l));
	}
	/* Whoever begins a state after an outage of all nodes begins with its own. */
	kill_node(1);
	kill_node(2);
	kill_node(3);
	replaced[0] = servers[2];
	replaced[1] = servers[1];
	start_node(2);
	start_node(1);
	assert_int_equal(state_limits(servers[1]->state).max_opens, 1);
	assert_int_equal(state_limits(servers[2]->state).max_opens, 1);
}

static int teardown(void **state)
{
	same_everywhere();
	for (unsigned i = NODES; i > 0; i--) {
		nfs_server_free(servers[i]);
		nodes[i].member = false;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(replaced); i++) {
		nfs_server_free(replaced[i]);
		replaced[i] = NULL;
	}
	return 0;
}

/* --------------------------------------------------------------------- 4.1 clients ---- */

struct client41 {
	uint64_t id;
	uint8_t session[NFS4_SESSIONID_SIZE];
	uint32_t seqid[4]; /* of the last request on the slot */
};

static struct exchange *ask_exchange_id(const char *owner)
{
	struct exchange *e = begin_bare(1);

	ask(e, OP_EXCHANGE_ID);
	xdr_put_u64(&e->req, 12345);
	xdr_put_opaque(&e->req, owner, (uint32_t)strlen(owner));
	xdr_put_u32(&e->req, 0);
	xdr_put_u32(&e->req, SP4_NONE);
	xdr_put_u32(&e->req, 0);
	return e;
}

static void put_channel(struct exchange *e)
{
	static const uint32_t attrs[] = { 0, 1 << 20, 1 << 20, 8192, 64, 4, 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(attrs); i++)
		xdr_put_u32(&e->req, attrs[i]);
}

static struct exchange *request(struct client41 *c, uint32_t slot, uint32_t seqid)
{
	struct exchange *e = begin_bare(1);

	ask(e, OP_SEQUENCE);
	xdr_put_fixed(&e->req, c->session, sizeof(c->session));
	xdr_put_u32(&e->req, seqid);
	xdr_put_u32(&e->req, slot);
	xdr_put_u32(&e->req, 3);
	xdr_put_bool(&e->req, true);
	return e;
}

static struct exchange *next_request(struct client41 *c, uint32_t slot)
{
	return request(c, slot, ++c->seqid[slot]);
}

static void done(struct exchange *e)
{
	e->res.p = e->res.end;
	end(e);
}

static struct client41 new_client(const char *owner)
{
	struct client41 c = { 0 };
	struct exchange *e = ask_exchange_id(owner);
	uint32_t sequence;

	send_expect(e, NFS4_OK);
	ok(e, OP_EXCHANGE_ID);
	c.id = get_u64(e);
	sequence = get_u32(e);
	done(e);
	e = begin_bare(1);
	ask(e, OP_CREATE_SESSION);
	xdr_put_u64(&e->req, c.id);
	xdr_put_u32(&e->req, sequence);
	xdr_put_u32(&e->req, 0);
	put_channel(e);
	put_channel(e);
	xdr_put_u32(&e->req, 0x40000000);
	xdr_put_u32(&e->req, 1);
	xdr_put_u32(&e->req, RPC_AUTH_NONE);
	send_expect(e, NFS4_OK);
	ok(e, OP_CREATE_SESSION);
	assert_true(xdr_get_copy(&e->res, c.session, sizeof(c.session)));
	done(e);
	e = next_request(&c, 0);
	ask(e, OP_RECLAIM_COMPLETE);
	xdr_put_bool(&e->req, false);
	assert_true(send_any(e)); /* it may have said so before */
	assert_true(e->status == NFS4_OK || e->status == NFS4ERR_COMPLETE_ALREADY);
	done(e);
	return c;
}

static void put_stateid(struct exchange *e, const struct stateid *id)
{
	xdr_put_u32(&e->req, id->seqid);
	xdr_put_fixed(&e->req, id->other, sizeof(id->other));
}

static struct stateid get_stateid(struct exchange *e)
{
	struct stateid id;

	id.seqid = get_u32(e);
	assert_true(xdr_get_copy(&e->res, id.other, sizeof(id.other)));
	return id;
}

static void put_open(struct exchange *e, uint64_t clientid, uint32_t seqid, const char *owner,
		     uint32_t access, uint32_t deny)
{
	ask(e, OP_OPEN);
	xdr_put_u32(&e->req, seqid);
	xdr_put_u32(&e->req, access);
	xdr_put_u32(&e->req, deny);
	xdr_put_u64(&e->req, clientid);
	put_name(e, owner);
	xdr_put_u32(&e->req, OPEN4_NOCREATE);
	xdr_put_u32(&e->req, CLAIM_NULL);
	put_name(e, "f");
}

static enum nfsstat4 open_f(struct client41 *c, uint32_t access, uint32_t deny, struct stateid *id)
{
	struct exchange *e = next_request(c, 0);
	enum nfsstat4 status;

	go(e, "data");
	put_open(e, 0, 0, "owner", access | OPEN4_SHARE_ACCESS_WANT_NO_DELEG, deny);
	assert_true(send_any(e));
	status = e->status;
	if (status == NFS4_OK) {
		e->res.p += 8 + NFS4_SESSIONID_SIZE + 20;
		went(e, "data");
		ok(e, OP_OPEN);
		*id = get_stateid(e);
	}
	done(e);
	return status;
}

/* LOCK of a new lock-owner. */
static enum nfsstat4 lock_f(struct client41 *c, uint32_t slot, const struct stateid *open,
			    const char *owner, uint64_t offset, struct stateid *id)
{
	struct exchange *e = next_request(c, slot);
	enum nfsstat4 status;

	go(e, "data/f");
	ask(e, OP_LOCK);
	xdr_put_u32(&e->req, WRITE_LT);
	xdr_put_bool(&e->req, false);
	xdr_put_u64(&e->req, offset);
	xdr_put_u64(&e->req, 10);
	xdr_put_bool(&e->req, true);
	xdr_put_u32(&e->req, 0);
	put_stateid(e, open);
	xdr_put_u32(&e->req, 0);
	xdr_put_u64(&e->req, 0);
	put_name(e, owner);
	assert_true(send_any(e));
	status = e->status;
	if (status == NFS4_OK) {
		e->res.p += 8 + NFS4_SESSIONID_SIZE + 20;
		went(e, "data/f");
		ok(e, OP_LOCK);
		*id = get_stateid(e);
	}
	done(e);
	return status;
}

static enum nfsstat4 unlock_f(struct client41 *c, uint32_t slot, const struct stateid *lock,
			      uint64_t offset)
{
	struct exchange *e = next_request(c, slot);
	enum nfsstat4 status;

	go(e, "data/f");
	ask(e, OP_LOCKU);
	xdr_put_u32(&e->req, WRITE_LT);
	xdr_put_u32(&e->req, 0);
	put_stateid(e, lock);
	xdr_put_u64(&e->req, offset);
	xdr_put_u64(&e->req, 10);
	assert_true(send_any(e));
	status = e->status;
	done(e);
	return status;
}

static enum nfsstat4 read_f(struct client41 *c, const struct stateid *id)
{
	struct exchange *e = next_request(c, 0);
	enum nfsstat4 status;

	go(e, "data/f");
	ask(e, OP_READ);
	put_stateid(e, id);
	xdr_put_u64(&e->req, 0);
	xdr_put_u32(&e->req, 100);
	assert_true(send_any(e));
	status = e->status;
	done(e);
	return status;
}

static enum nfsstat4 status_of(struct exchange *e)
{
	enum nfsstat4 status;

	assert_true(send_any(e));
	status = e->status;
	done(e);
	return status;
}

static uint32_t home_of(uint64_t id)
{
	uint32_t home = UINT32_MAX;

	assert_true(state_client_home(server->state, id, &home));
	return home;
}

/* -------------------------------------------------------------------------- tests ---- */

#define RW OPEN4_SHARE_ACCESS_BOTH

static void test_goes_on_elsewhere(void **state)
{
	struct client41 a = new_client("a"), b;
	struct stateid open, lock, other, none;

	assert_int_equal(open_f(&a, RW, 0, &open), NFS4_OK);
	assert_int_equal(lock_f(&a, 0, &open, "l", 0, &lock), NFS4_OK);
	assert_int_equal(home_of(a.id), 1);
	same_everywhere();
	kill_node(1);
	at(2);
	assert_int_equal(home_of(a.id), 0);
	/* Somebody else does not get it meanwhile. */
	b = new_client("b");
	assert_int_equal(open_f(&b, RW, 0, &other), NFS4_OK);
	assert_int_equal(lock_f(&b, 0, &other, "l", 0, &none), NFS4ERR_DENIED);
	/* The same session, the same stateids. */
	connection = 2;
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	assert_int_equal(home_of(a.id), 2);
	assert_int_equal(read_f(&a, &lock), NFS4_OK);
	assert_int_equal(unlock_f(&a, 1, &lock, 0), NFS4_OK);
	assert_int_equal(lock_f(&b, 0, &other, "l", 0, &none), NFS4_OK);
}

static void test_conflicts_between_nodes(void **state)
{
	struct client41 a = new_client("a"), b;
	struct stateid open, lock, other, none;

	assert_int_equal(open_f(&a, RW, OPEN4_SHARE_DENY_WRITE, &open), NFS4_OK);
	assert_int_equal(lock_f(&a, 0, &open, "l", 0, &lock), NFS4_OK);
	at(3);
	b = new_client("b");
	assert_int_equal(open_f(&b, RW, 0, &other), NFS4ERR_SHARE_DENIED);
	assert_int_equal(open_f(&b, OPEN4_SHARE_ACCESS_READ, 0, &other), NFS4_OK);
	at(1);
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	at(3);
	assert_int_equal(lock_f(&b, 0, &other, "l", 0, &none), NFS4ERR_OPENMODE);
	same_everywhere();
}

/* ---- a file system that keeps one waiting ---- */

static const struct backend *memory;
static pthread_t log_thread; /* here the one that applies what anybody submits */
static _Atomic unsigned closed_by_log;
static sem_t may_close, is_closed;

static void close_slowly(struct file *file)
{
	if (pthread_equal(pthread_self(), log_thread))
		closed_by_log++;
	else
		while (sem_wait(&may_close) != 0)
			;
	memory->file_free(file);
	sem_post(&is_closed);
}

/* What was judged before the client was last heard of does nothing. */
static void expire(uint64_t clientid)
{
	struct state_command cmd = { .type = CMD_EXPIRE_CLIENT, .clientid = clientid };
	uint32_t home;

	while (state_client_home(server->state, clientid, &home)) {
		assert_true(cmd.expire_client.adoptions < 100);
		cluster_submit(server->cluster, &cmd, NULL, NULL, NULL);
		cmd.expire_client.adoptions++;
	}
}

/* Another node has a client's state go: its files are closed where it was, but not by the log's thread. */
static void test_expiry_does_not_wait(void **state)
{
	struct client41 a = new_client("a"), b;
	struct object *f = object_at("data/f");
	struct stateid open, other;
	struct backend slow;

	memory = f->backend;
	slow = *memory;
	slow.file_free = close_slowly;
	log_thread = pthread_self();
	closed_by_log = 0;
	sem_init(&may_close, 0, 0);
	sem_init(&is_closed, 0, 0);
	assert_int_equal(open_f(&a, RW, 0, &open), NFS4_OK);
	at(2);
	f->backend = &slow;
	expire(a.id);
	assert_int_equal(closed_by_log, 0);
	/* That one stands still, and its node goes on. */
	at(1);
	b = new_client("b");
	assert_int_equal(open_f(&b, RW, 0, &other), NFS4_OK);
	same_everywhere();
	assert_int_equal(sem_trywait(&is_closed), -1);
	sem_post(&may_close);
	while (sem_wait(&is_closed) != 0)
		;
	f->backend = memory;
	object_unref(f);
}

/* What was done but not answered is asked for again at the next node. */
static void test_retry_of_state(void **state)
{
	struct client41 a = new_client("a");
	struct stateid open, lock;

	assert_int_equal(open_f(&a, RW, 0, &open), NFS4_OK);
	assert_int_equal(lock_f(&a, 0, &open, "l", 0, &lock), NFS4_OK);
	assert_int_equal(unlock_f(&a, 1, &lock, 0), NFS4_OK); /* the client never hears of it */
	kill_node(1);
	at(2);
	a.seqid[1]--;
	assert_int_equal(unlock_f(&a, 1, &lock, 0), NFS4_OK);
	/* Only as the first on its slot. */
	assert_int_equal(unlock_f(&a, 1, &lock, 0), NFS4ERR_OLD_STATEID);
}

static enum nfsstat4 make(struct client41 *c, uint32_t seqid, const char *name)
{
	static const uint8_t mode_0755[] = { 0, 0, 1, 0xed };
	struct exchange *e = request(c, 2, seqid);

	go(e, "data");
	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, NF4DIR);
	put_name(e, name);
	put_fattr(e, FATTR4_MODE, mode_0755, sizeof(mode_0755));
	return status_of(e);
}

/* A directory is made once, though the client asks twice. */
static void test_exactly_once(void **state)
{
	struct client41 a = new_client("a");

	assert_int_equal(make(&a, 1, "d"), NFS4_OK);
	same_everywhere();
	kill_node(1);
	at(3);
	assert_int_equal(make(&a, 1, "d"), NFS4_OK);
	assert_int_equal(make(&a, 1, "d"), NFS4_OK);
	assert_int_equal(make(&a, 2, "d"), NFS4ERR_EXIST);
}

static void test_exactly_once_v40(void **state)
{
	static const uint8_t mode_0755[] = { 0, 0, 1, 0xed };

	for (unsigned i = 0; i < 2; i++) {
		struct exchange *e = begin_bare(0);

		at(i + 1);
		same_xid = 4711;
		go(e, "data");
		ask(e, OP_CREATE);
		xdr_put_u32(&e->req, NF4DIR);
		put_name(e, "once");
		put_fattr(e, FATTR4_MODE, mode_0755, sizeof(mode_0755));
		assert_int_equal(status_of(e), NFS4_OK);
		same_xid = 0;
		if (i == 0)
			kill_node(1);
	}
}

static enum nfsstat4 make_v40(uint32_t xid, const char *name)
{
	static const uint8_t mode_0755[] = { 0, 0, 1, 0xed };
	struct exchange *e = begin_bare(0);
	enum nfsstat4 status;

	same_xid = xid;
	go(e, "data");
	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, NF4DIR);
	put_name(e, name);
	put_fattr(e, FATTR4_MODE, mode_0755, sizeof(mode_0755));
	status = status_of(e);
	same_xid = 0;
	return status;
}

/* A node that has joined since knows the reply as well: of who gave it, and of who was told. */
static void test_exactly_once_v40_joiner(void **state)
{
	kill_node(3);
	nfs_server_free(servers[3]);
	assert_int_equal(make_v40(4711, "once"), NFS4_OK);
	at(2);
	assert_int_equal(make_v40(4712, "twice"), NFS4_OK);
	start_node(3);
	kill_node(1);
	kill_node(2);
	at(3);
	assert_int_equal(make_v40(4711, "once"), NFS4_OK);
	assert_int_equal(make_v40(4712, "twice"), NFS4_OK);
	assert_int_equal(make_v40(4713, "once"), NFS4ERR_EXIST);
}

/* ---- delegations ---- */

/* The state is told that its back channel works. */
static struct client41 new_client_back(const char *owner)
{
	struct client41 c = new_client(owner);
	uint32_t dir = CDFC4_BACK;
	struct sessionid id;

	memcpy(id.data, c.session, sizeof(id.data));
	assert_int_equal(state_bind_conn(server->state, &id, 99, &dir), NFS4_OK);
	state_set_back_path(server->state, &id, BACK_UP);
	assert_true(state_callback_up(server->state, c.id));
	return c;
}

/* The delegation that an OPEN for reading gets. */
static uint32_t open_delegated(struct client41 *c)
{
	struct exchange *e = next_request(c, 0);
	uint32_t words, type;

	go(e, "data");
	put_open(e, 0, 0, "owner",
		 OPEN4_SHARE_ACCESS_READ | OPEN4_SHARE_ACCESS_WANT_READ_DELEG, 0);
	send_expect(e, NFS4_OK);
	went(e, "data");
	ok(e, OP_OPEN);
	get_stateid(e);
	e->res.p += 20 + 4;
	words = get_u32(e);
	e->res.p += 4 * words;
	type = get_u32(e);
	done(e);
	return type;
}

static void set_delegations(bool on)
{
	for (unsigned i = 1; i <= NODES; i++)
		servers[i]->options.delegations = on;
}

/* Something is under way at the node that looked for delegations before. */
static void set_guards(unsigned node, uint32_t n)
{
	for (unsigned i = 0; i < DELEG_PLACES; i++)
		servers[node]->delegations->guards[i] = n;
}

/* A delegation is told of only if no node is at work with the file. */
static void test_grant_needs_all(void **state)
{
	struct client41 a = new_client_back("a"), b;
	struct state_counts n;

	set_delegations(true);
	set_guards(2, 1);
	assert_int_equal(open_delegated(&a), OPEN_DELEGATE_NONE_EXT);
	state_get_counts(servers[3]->state, &n);
	assert_int_equal(n.delegations, 0);
	set_guards(2, 0);
	at(3);
	b = new_client_back("b");
	assert_int_equal(open_delegated(&b), OPEN_DELEGATE_READ);
	same_everywhere();
}

/* A delegation that its client will not hear of goes back, if not at once. */
static void test_unheard_goes_back(void **state)
{
	struct client41 a = new_client_back("a");
	struct state_counts n;

	set_delegations(true);
	set_guards(2, 1);
	nodes[1].no_returns = true;
	assert_int_equal(open_delegated(&a), OPEN_DELEGATE_NONE_EXT);
	set_guards(2, 0);
	deleg_tick(servers[1]);
	state_get_counts(servers[3]->state, &n);
	assert_int_equal(n.delegations, 1);
	nodes[1].no_returns = false;
	deleg_tick(servers[1]);
	state_get_counts(servers[3]->state, &n);
	assert_int_equal(n.delegations, 0);
}

static int set_nothing(struct object *obj, struct file *file, const struct cred *cred,
		       const struct attr_set *set, uint32_t *done)
{
	*done = 0;
	return -EIO;
}

/* OPEN that truncates. */
static enum nfsstat4 open_empty(struct client41 *c)
{
	struct exchange *e = next_request(c, 0);

	go(e, "data");
	ask(e, OP_OPEN);
	xdr_put_u32(&e->req, 0);
	xdr_put_u32(&e->req, RW | OPEN4_SHARE_ACCESS_WANT_NO_DELEG);
	xdr_put_u32(&e->req, OPEN4_SHARE_DENY_WRITE);
	xdr_put_u64(&e->req, 0);
	put_name(e, "owner");
	xdr_put_u32(&e->req, OPEN4_CREATE);
	xdr_put_u32(&e->req, UNCHECKED4);
	xdr_put_u32(&e->req, 1);
	xdr_put_u32(&e->req, 1u << FATTR4_SIZE);
	xdr_put_u32(&e->req, 8);
	xdr_put_u64(&e->req, 0);
	xdr_put_u32(&e->req, CLAIM_NULL);
	put_name(e, "f");
	return status_of(e);
}

/* So does an open, if the file could not be truncated; but not one that the client has by then. */
static void test_undone_open_is_closed(void **state)
{
	struct client41 a = new_client("a"), b;
	struct object *f = object_at("data/f");
	const struct backend *be = f->backend;
	struct backend fails = *be;
	struct state_counts n;
	struct stateid open;

	fails.setattr = set_nothing;
	for (unsigned again = 0; again < 2; again++) {
		nodes[1].no_returns = true;
		f->backend = &fails;
		assert_int_equal(open_empty(&a), NFS4ERR_IO);
		f->backend = be;
		deleg_tick(servers[1]);
		state_get_counts(servers[3]->state, &n);
		assert_int_equal(n.opens, 1);
		if (again)
			assert_int_equal(open_f(&a, OPEN4_SHARE_ACCESS_READ, 0, &open), NFS4_OK);
		nodes[1].no_returns = false;
		deleg_tick(servers[1]);
		state_get_counts(servers[3]->state, &n);
		assert_int_equal(n.opens, again);
	}
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	at(2);
	b = new_client("b");
	assert_int_equal(open_f(&b, RW, 0, &open), NFS4ERR_SHARE_DENIED);
	same_everywhere();
	object_unref(f);
}

/* From now on programs of the machine may use the files, too; and the memory backend can watch none. */
static void make_public(void *arg, const struct state_deleg *d)
{
	struct export_set *set = nfs_server_exports(server);
	struct export *exp;
	struct bytes handle;
	uint64_t id;

	assert_int_equal(
	    fh_decode(&server->options.handle_key, d->fh, d->fh_len, &id, &handle), NFS4_OK);
	exp = export_set_find(set, id);
	assert_non_null(exp);
	exp->backend->capabilities &= ~(uint32_t)BACKEND_PRIVATE;
	export_set_unref(set);
}

/* As compound_file_key() of /data/f, which is the first that is delegated. */
static void take_key(void *arg, const struct state_deleg *d)
{
	static struct file_key key;
	struct backend_handle raw;
	struct export_set *set = nfs_server_exports(server);
	struct bytes handle;
	struct export *exp;
	struct object *obj;
	uint64_t id;

	assert_int_equal(
	    fh_decode(&server->options.handle_key, d->fh, d->fh_len, &id, &handle), NFS4_OK);
	exp = export_set_find(set, id);
	assert_int_equal(
	    exp->backend->backend->from_handle(exp->backend, handle.p, handle.len, &obj), 0);
	assert_int_equal(exp->backend->backend->to_handle(obj, &raw), 0);
	file_key_make(exp->backend->backend, &raw, &key);
	object_unref(obj);
	export_set_unref(set);
	*(struct bytes *)arg = (struct bytes){ key.bytes, key.len };
}

static unsigned parked;

static void let_go(void)
{
	parked++;
	applying = true;
	apply_held();
	applying = false;
}

static void kill_slow(void)
{
	parked++;
	kill_node(3);
}

static void let_time_pass(void)
{
	parked++;
	deleg_agree_tick(servers[1], clock_mono_ns() + 6 * NS_PER_SEC);
}

/* The answer waits for the last node to have said so, or to have gone. */
static void test_grant_waits(void **state)
{
	struct client41 a = new_client_back("a"), b = new_client_back("b"),
			c = new_client_back("c"), d = new_client_back("d");
	struct state_counts n;

	set_delegations(true);
	nodes[3].slow = true;
	while_parked = let_go;
	parked = 0;
	assert_int_equal(open_delegated(&a), OPEN_DELEGATE_READ);
	assert_int_equal(parked, 1);
	set_guards(3, 1);
	assert_int_equal(open_delegated(&b), OPEN_DELEGATE_NONE_EXT);
	assert_int_equal(parked, 2);
	set_guards(3, 0);
	while_parked = let_time_pass;
	assert_int_equal(open_delegated(&c), OPEN_DELEGATE_NONE_EXT);
	assert_int_equal(parked, 3);
	let_go();
	parked--;
	while_parked = kill_slow;
	assert_int_equal(open_delegated(&d), OPEN_DELEGATE_READ);
	assert_int_equal(parked, 4);
	while_parked = NULL;
	for (unsigned i = 0; i < nheld; i++)
		free(held[i].bytes);
	nheld = 0;
	state_get_counts(servers[2]->state, &n);
	assert_int_equal(n.delegations, 2);
}

static void fall_silent(void)
{
	parked++;
	nodes[3].silent_ns = 2 * NS_PER_SEC;
	deleg_agree_tick(servers[1], clock_mono_ns() + 2 * NS_PER_SEC);
}

/* A node hangs: nobody waits for its agreement for long, and after that nobody asks for it. */
static void test_silent_node(void **state)
{
	struct client41 a = new_client_back("a"), b = new_client_back("b"),
			c = new_client_back("c");

	set_delegations(true);
	nodes[3].slow = true;
	while_parked = fall_silent;
	parked = 0;
	assert_int_equal(open_delegated(&a), OPEN_DELEGATE_NONE_EXT);
	assert_int_equal(parked, 1);
	assert_int_equal(open_delegated(&b), OPEN_DELEGATE_NONE_EXT);
	assert_int_equal(parked, 1);
	nodes[3].silent_ns = 0;
	deleg_tick(servers[1]);
	while_parked = let_go;
	assert_int_equal(open_delegated(&c), OPEN_DELEGATE_READ);
	assert_int_equal(parked, 2);
	while_parked = NULL;
}

/* A delegation that has moved with its client is watched at the new home, or has to come back. */
static void test_delegation_moves(void **state)
{
	struct client41 a = new_client_back("a");
	struct stateid none = { 0 };
	uint64_t holder;
	struct bytes key;
	bool due;

	set_delegations(true);
	assert_int_equal(open_delegated(&a), OPEN_DELEGATE_READ);
	assert_int_equal(state_each_deleg(server->state, a.id, take_key, &key), 0);
	assert_true(state_deleg_conflict(servers[2]->state, key, 0, true, &holder, &due));
	assert_true(due);
	kill_node(1);
	at(2);
	assert_int_equal(state_each_deleg(server->state, a.id, make_public, NULL), 0);
	assert_int_equal(read_f(&a, &none), NFS4_OK);
	assert_int_equal(home_of(a.id), 2);
	assert_true(state_deleg_conflict(server->state, key, 0, true, &holder, &due));
	assert_false(due); /* it has been recalled */
}

/* Without quorum nothing is said but that it takes a while. */
static void test_gate(void **state)
{
	struct client41 a = new_client("a");
	struct stateid open;
	struct exchange *e;

	assert_int_equal(open_f(&a, RW, 0, &open), NFS4_OK);
	nodes[1].cluster.app.phase(nodes[1].cluster.app.ctx, CLUSTER_SUSPENDED);
	assert_int_equal(read_f(&a, &open), NFS4ERR_DELAY);
	assert_int_equal(status_of(ask_exchange_id("b")), NFS4ERR_DELAY);
	e = begin_bare(0);
	go(e, "data");
	assert_int_equal(status_of(e), NFS4ERR_DELAY);
	nodes[1].cluster.app.phase(nodes[1].cluster.app.ctx, CLUSTER_SERVING);
	a.seqid[0]--; /* the slot was not touched */
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	/* A process that was stopped does not trust what it knows. */
	nodes[1].cluster.current_until = clock_mono_ns() - 1;
	assert_int_equal(read_f(&a, &open), NFS4ERR_DELAY);
	nodes[1].cluster.current_until = UINT64_MAX;
	a.seqid[0]--;
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	/* Commands are refused before the phase changes. */
	nodes[1].closed = true;
	assert_int_equal(open_f(&a, RW, 0, &open), NFS4ERR_DELAY);
	nodes[1].closed = false;
	assert_int_equal(open_f(&a, RW, 0, &open), NFS4_OK);
}

/* ---- what waits while a node does not serve ---- */

static void say_phase(enum cluster_phase phase)
{
	nodes[1].cluster.app.phase(nodes[1].cluster.app.ctx, phase);
}

static void trust_again(void)
{
	nodes[1].cluster.current_until = UINT64_MAX;
	await_resumed();
}

static void serve_again(void)
{
	say_phase(CLUSTER_SERVING);
	await_resumed();
}

static void lose_and_serve_again(void)
{
	say_phase(CLUSTER_SUSPENDED);
	nodes[1].cluster.current_until = UINT64_MAX;
	serve_again();
}

/* It gets no answer. */
static void ask_in_vain(struct client41 *c)
{
	struct exchange *e = request(c, 1, 1);

	go(e, "data");
	assert_false(send_any(e));
	end(e);
}

static void test_lull(void **state)
{
	struct client41 a = new_client("a");
	struct stateid open;

	assert_int_equal(open_f(&a, RW, 0, &open), NFS4_OK);
	servers[1]->options.lull_ms = 3600 * 1000;
	servers[1]->lulls = lulls_new(servers[1]);
	assert_non_null(servers[1]->lulls);
	/* It had not ceased to serve: what has waited is done. */
	nodes[1].cluster.current_until = clock_mono_ns() - 1;
	while_parked = trust_again;
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	/* It had, before or after the request came: who knows what the client has done elsewhere. */
	say_phase(CLUSTER_SUSPENDED);
	while_parked = serve_again;
	ask_in_vain(&a);
	nodes[1].cluster.current_until = clock_mono_ns() - 1;
	while_parked = lose_and_serve_again;
	ask_in_vain(&a);
	while_parked = NULL;
	assert_int_equal(read_f(&a, &open), NFS4_OK);
	/* Not for ever. */
	servers[1]->options.lull_ms = 1;
	say_phase(CLUSTER_SUSPENDED);
	while_parked = await_resumed;
	assert_int_equal(read_f(&a, &open), NFS4ERR_DELAY);
	while_parked = NULL;
	say_phase(CLUSTER_SERVING);
}

/* An address that moves is the same server; two addresses are two. */
static void test_identity(void **state)
{
	struct client41 a = new_client("a"), again, other;

	at(2);
	again = new_client("a");
	assert_true(again.id == a.id);
	assert_int_equal(home_of(a.id), 2);
	server_address = "10.0.0.101";
	other = new_client("a");
	assert_true(other.id != a.id);
	same_everywhere();
}

/* ---- minor version 0 ---- */

static uint64_t new_client40(const char *owner)
{
	struct exchange *e = begin_bare(0);
	struct nfs_verifier confirm;
	uint64_t id;

	ask(e, OP_SETCLIENTID);
	xdr_put_u64(&e->req, 12345);
	put_name(e, owner);
	xdr_put_u32(&e->req, 0x40000000);
	put_name(e, "tcp");
	put_name(e, "127.0.0.1.3.4");
	xdr_put_u32(&e->req, 1);
	send_expect(e, NFS4_OK);
	ok(e, OP_SETCLIENTID);
	id = get_u64(e);
	assert_true(xdr_get_copy(&e->res, confirm.data, sizeof(confirm.data)));
	end(e);
	e = begin_bare(0);
	ask(e, OP_SETCLIENTID_CONFIRM);
	xdr_put_u64(&e->req, id);
	xdr_put_fixed(&e->req, confirm.data, sizeof(confirm.data));
	send_expect(e, NFS4_OK);
	done(e);
	return id;
}

static struct stateid open40(uint64_t id, uint32_t seqid, const char *owner)
{
	struct exchange *e = begin_bare(0);
	struct stateid open;

	go(e, "data");
	put_open(e, id, seqid, owner, RW, 0);
	send_expect(e, NFS4_OK);
	went(e, "data");
	ok(e, OP_OPEN);
	open = get_stateid(e);
	done(e);
	return open;
}

static struct exchange *ask_confirm40(const struct stateid *open, uint32_t seqid)
{
	struct exchange *e = begin_bare(0);

	go(e, "data/f");
	ask(e, OP_OPEN_CONFIRM);
	put_stateid(e, open);
	xdr_put_u32(&e->req, seqid);
	return e;
}

static struct exchange *ask_close40(const struct stateid *open, uint32_t seqid)
{
	struct exchange *e = begin_bare(0);

	go(e, "data/f");
	ask(e, OP_CLOSE);
	xdr_put_u32(&e->req, seqid);
	put_stateid(e, open);
	return e;
}

static void test_v40_goes_on_elsewhere(void **state)
{
	uint64_t id = new_client40("v40");
	struct stateid open = open40(id, 1, "o");
	struct exchange *e = ask_confirm40(&open, 2);

	send_expect(e, NFS4_OK);
	went(e, "data/f");
	ok(e, OP_OPEN_CONFIRM);
	open = get_stateid(e);
	end(e);
	same_everywhere();
	kill_node(1);
	at(2);
	/* The last request again, which was answered; then the next. */
	e = ask_confirm40(&open, 2);
	assert_int_equal(status_of(e), NFS4_OK);
	assert_int_equal(home_of(id), 2);
	kill_node(2);
	at(3);
	e = begin_bare(0);
	ask(e, OP_RENEW);
	xdr_put_u64(&e->req, id);
	assert_int_equal(status_of(e), NFS4_OK);
	assert_int_equal(home_of(id), 3);
	assert_int_equal(status_of(ask_close40(&open, 3)), NFS4_OK);
}

/* A sequence id that the client has used is not lost: it gets no answer, and asks again elsewhere. */
static void test_v40_refused(void **state)
{
	uint64_t id = new_client40("v40");
	struct stateid open = open40(id, 1, "o");
	struct exchange *e = ask_confirm40(&open, 2);

	nodes[1].closed = true;
	assert_false(send_any(e));
	e->res.p = e->res.end;
	end(e);
	nodes[1].closed = false;
	kill_node(1);
	at(2);
	assert_int_equal(status_of(ask_confirm40(&open, 2)), NFS4_OK);
}

/* What the exchange's last operation, `opnum`, has answered: a stateid. */
static struct stateid stateid_of(struct exchange *e, const char *path, uint32_t opnum)
{
	struct stateid id;

	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, opnum);
	id = get_stateid(e);
	done(e);
	return id;
}

static struct exchange *ask_open40(uint64_t id, uint32_t seqid, uint32_t access)
{
	struct exchange *e = begin_bare(0);

	go(e, "data");
	put_open(e, id, seqid, "o", access, 0);
	return e;
}

static struct exchange *ask_downgrade40(const struct stateid *open, uint32_t seqid)
{
	struct exchange *e = begin_bare(0);

	go(e, "data/f");
	ask(e, OP_OPEN_DOWNGRADE);
	put_stateid(e, open);
	xdr_put_u32(&e->req, seqid);
	xdr_put_u32(&e->req, OPEN4_SHARE_ACCESS_READ);
	xdr_put_u32(&e->req, 0);
	return e;
}

static struct exchange *ask_lock40(const struct stateid *id, uint64_t new_owner, uint32_t seqid)
{
	struct exchange *e = begin_bare(0);

	go(e, "data/f");
	ask(e, OP_LOCK);
	xdr_put_u32(&e->req, READ_LT);
	xdr_put_bool(&e->req, false);
	xdr_put_u64(&e->req, 10 * (uint64_t)seqid);
	xdr_put_u64(&e->req, 5);
	xdr_put_bool(&e->req, new_owner != 0);
	if (new_owner) {
		xdr_put_u32(&e->req, seqid);
		put_stateid(e, id);
		xdr_put_u32(&e->req, 1);
		xdr_put_u64(&e->req, new_owner);
		put_name(e, "l");
	} else {
		put_stateid(e, id);
		xdr_put_u32(&e->req, seqid);
	}
	return e;
}

static struct exchange *ask_unlock40(const struct stateid *id, uint32_t seqid)
{
	struct exchange *e = begin_bare(0);

	go(e, "data/f");
	ask(e, OP_LOCKU);
	xdr_put_u32(&e->req, READ_LT);
	xdr_put_u32(&e->req, seqid);
	put_stateid(e, id);
	xdr_put_u64(&e->req, 0);
	xdr_put_u64(&e->req, 15);
	return e;
}

/* ---- a node dies between a change and its reply ---- */

enum wish_kind { WISH_REMOVE, WISH_RENAME, WISH_LINK, WISH_DIR, WISH_SYMLINK, WISH_GUARDED };

struct wish {
	enum wish_kind kind;
	const char *name; /* in data */
	const char *to;	  /* RENAME: the new name; SYMLINK: the target */
};

/* A client of either minor version. */
struct asker {
	uint32_t minor;
	struct client41 c;
	uint64_t id40;
	uint32_t xid, seqid40;
};

static struct asker new_asker(uint32_t minor)
{
	struct asker a = { .minor = minor, .xid = 5000 };

	if (minor)
		a.c = new_client("asker");
	else
		a.id40 = new_client40("asker40");
	return a;
}

static void ask_make(struct exchange *e, uint32_t type, const struct wish *w)
{
	static const uint8_t mode_0755[] = { 0, 0, 1, 0xed };

	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, type);
	if (type == NF4LNK)
		put_name(e, w->to);
	put_name(e, w->name);
	put_fattr(e, FATTR4_MODE, mode_0755, sizeof(mode_0755));
}

/* Of a mode with which nobody could open it for writing. */
static void ask_guarded(struct exchange *e, const struct asker *a, const char *name)
{
	static const uint8_t mode_0400[] = { 0, 0, 1, 0 };

	ask(e, OP_OPEN);
	xdr_put_u32(&e->req, a->seqid40);
	xdr_put_u32(&e->req, RW);
	xdr_put_u32(&e->req, 0);
	xdr_put_u64(&e->req, a->id40);
	put_name(e, "owner");
	xdr_put_u32(&e->req, OPEN4_CREATE);
	xdr_put_u32(&e->req, GUARDED4);
	put_fattr(e, FATTR4_MODE, mode_0400, sizeof(mode_0400));
	xdr_put_u32(&e->req, CLAIM_NULL);
	put_name(e, name);
}

static void put_wish(struct exchange *e, const struct asker *a, const struct wish *w)
{
	go(e, w->kind == WISH_LINK ? "data/f" : "data");
	switch (w->kind) {
	case WISH_REMOVE:
		ask_name(e, OP_REMOVE, w->name);
		break;
	case WISH_RENAME:
		ask(e, OP_SAVEFH);
		ask_name(e, OP_RENAME, w->name);
		put_name(e, w->to);
		break;
	case WISH_LINK:
		ask(e, OP_SAVEFH);
		go(e, "data");
		ask_name(e, OP_LINK, w->name);
		break;
	case WISH_DIR:
		ask_make(e, NF4DIR, w);
		break;
	case WISH_SYMLINK:
		ask_make(e, NF4LNK, w);
		break;
	case WISH_GUARDED:
		ask_guarded(e, a, w->name);
		break;
	}
}

/* False: there was no answer. A retry is the same request as the last. */
static bool asks(struct asker *a, const struct wish *w, bool retry, enum nfsstat4 *status)
{
	struct exchange *e;
	bool answered;

	if (!retry) {
		a->xid++;
		a->c.seqid[2]++;
		a->seqid40 += w->kind == WISH_GUARDED;
	}
	e = a->minor ? request(&a->c, 2, a->c.seqid[2]) : begin_bare(0);
	same_xid = a->minor ? 0 : a->xid;
	put_wish(e, a, w);
	answered = send_any(e);
	*status = e->status;
	done(e);
	same_xid = 0;
	return answered;
}

static enum nfsstat4 asked(struct asker *a, const struct wish *w, bool retry)
{
	enum nfsstat4 status;

	assert_true(asks(a, w, retry, &status));
	return status;
}

/* The change is made, and nobody else knows the answer. Whoever asks now asks the other node. */
static void asks_the_dying(struct asker *a, const struct wish *w)
{
	unsigned here = server == servers[1] ? 1 : 2;
	enum nfsstat4 status;

	nodes[here].dying = true;
	assert_false(asks(a, w, false, &status));
	nodes[here].dying = false;
	same_everywhere();
	at(3 - here);
}

static const struct wish made[] = {
	{ WISH_DIR, "d" }, { WISH_SYMLINK, "s", "to" }, { WISH_LINK, "l" }, { WISH_GUARDED, "g" },
};

/* What is taken for done is what this very request has begun. */
static void each_is_done_once(uint32_t minor)
{
	struct asker a = new_asker(minor);
	struct wish rename = { WISH_RENAME, .to = "new" }, gone = { WISH_REMOVE, "new" };

	for (unsigned i = 0; i < ARRAY_SIZE(made); i++) {
		struct wish removed = { WISH_REMOVE, made[i].name };

		asks_the_dying(&a, &made[i]);
		assert_int_equal(asked(&a, &made[i], true), NFS4_OK);
		assert_int_equal(asked(&a, &made[i], false), NFS4ERR_EXIST);
		rename.name = made[i].name;
		asks_the_dying(&a, &rename);
		assert_int_equal(asked(&a, &rename, true), NFS4_OK);
		assert_int_equal(asked(&a, &rename, false), NFS4ERR_NOENT);
		asks_the_dying(&a, &gone);
		assert_int_equal(asked(&a, &gone, true), NFS4_OK);
		assert_int_equal(asked(&a, &gone, false), NFS4ERR_NOENT);
		assert_int_equal(asked(&a, &removed, false), NFS4ERR_NOENT);
	}
}

static void test_begun(void **state)
{
	each_is_done_once(1);
}

static void test_begun_v40(void **state)
{
	each_is_done_once(0);
}

/* Others go on meanwhile. */
static void others_change_it(uint32_t minor)
{
	static const struct wish dir = { WISH_DIR, "d" }, again = { WISH_DIR, "d2" },
				 gone = { WISH_REMOVE, "d" }, link = { WISH_LINK, "d" },
				 rename = { WISH_RENAME, "d", "e" }, gone_e = { WISH_REMOVE, "e" },
				 within = { WISH_RENAME, "d2", "d" };
	struct asker a = new_asker(minor);

	/* A new file of the name is not removed. */
	make_dir("data", "d");
	asks_the_dying(&a, &gone);
	make_dir("data", "d");
	assert_int_equal(asked(&a, &gone, true), NFS4_OK);
	assert_int_equal(asked(&a, &dir, false), NFS4ERR_EXIST);
	/* The target is another file by now, or there is a new source. */
	asks_the_dying(&a, &rename);
	assert_int_equal(asked(&a, &gone_e, false), NFS4_OK);
	asks_the_dying(&a, &again); /* the last request of all is the one that is known */
	assert_int_equal(asked(&a, &again, true), NFS4_OK);
	assert_int_equal(asked(&a, &within, false), NFS4_OK);
	asks_the_dying(&a, &rename);
	make_dir("data", "d");
	assert_int_equal(asked(&a, &rename, true), NFS4_OK);
	assert_int_equal(asked(&a, &dir, false), NFS4ERR_EXIST);
	assert_int_equal(asked(&a, &gone, false), NFS4_OK);
	assert_int_equal(asked(&a, &gone_e, false), NFS4_OK);
	asks_the_dying(&a, &dir);
	make_dir("data/d", "in it");
	assert_int_equal(asked(&a, &dir, true), NFS4ERR_EXIST);
	/* It was not done, as far as can be seen: so it is now. */
	make_file("data", "x", "", 0);
	assert_int_equal(asked(&a, &(struct wish){ WISH_REMOVE, "x" }, false), NFS4_OK);
	asks_the_dying(&a, &(struct wish){ WISH_LINK, "x" });
	make_dir("data", "y");
	assert_int_equal(asked(&a, &(struct wish){ WISH_RENAME, "x", "z" }, false), NFS4_OK);
	assert_int_equal(asked(&a, &link, false), NFS4ERR_EXIST);
}

static void test_begun_others(void **state)
{
	others_change_it(1);
}

static void test_begun_others_v40(void **state)
{
	others_change_it(0);
}

/* A node that has joined since knows what was begun. */
static void joiner_knows(uint32_t minor)
{
	static const struct wish dir = { WISH_DIR, "d" };
	struct asker a = new_asker(minor);

	kill_node(3);
	nfs_server_free(servers[3]);
	asks_the_dying(&a, &dir);
	start_node(3);
	kill_node(1);
	kill_node(2);
	at(3);
	assert_int_equal(asked(&a, &dir, true), NFS4_OK);
	assert_int_equal(asked(&a, &dir, false), NFS4ERR_EXIST);
}

static void test_begun_joiner(void **state)
{
	joiner_knows(1);
}

static void test_begun_joiner_v40(void **state)
{
	joiner_knows(0);
}

/* What cannot be told is not done. */
static void test_begun_refused(void **state)
{
	static const struct wish dir = { WISH_DIR, "d" };
	struct asker a = new_asker(1), b = new_asker(0);
	enum nfsstat4 status;

	nodes[1].closed = true;
	assert_int_equal(asked(&a, &dir, false), NFS4ERR_DELAY);
	assert_false(asks(&b, &dir, false, &status));
	nodes[1].closed = false;
	assert_int_equal(asked(&b, &dir, true), NFS4_OK);
	assert_int_equal(asked(&a, &dir, false), NFS4ERR_EXIST);
}

static void settle_nothing(struct list *jobs, bool alone)
{
	struct settle_job *job;

	while ((job = list_first(jobs, struct settle_job, link))) {
		list_remove(&job->link);
		job->err = -EIO;
		job->done(job);
	}
}

static int open_nothing(struct object *obj, const struct cred *cred, unsigned access,
			struct file **out)
{
	return -EACCES;
}

/* What another node has made can neither be opened here nor be put on stable storage: no open is there to be undone. */
static void test_begun_unsettled(void **state)
{
	struct asker a = new_asker(1);
	struct object *dir, *obj;
	const struct backend *be;
	struct backend unsettled, unopened;

	asks_the_dying(&a, &made[3]);
	dir = object_at("data");
	obj = object_at("data/g");
	be = dir->backend;
	unsettled = unopened = *be;
	unsettled.settle = settle_nothing;
	unopened.open = open_nothing;
	dir->backend = &unsettled;
	obj->backend = &unopened;
	assert_int_equal(asked(&a, &made[3], true), NFS4ERR_IO);
	dir->backend = obj->backend = be;
	object_unref(obj);
	object_unref(dir);
}

/* It is done at one node, which cannot say so any more; another is asked the same. */
static struct stateid at_next(struct exchange *first, struct exchange *again, const char *path,
			      uint32_t opnum, uint32_t want_seqid)
{
	unsigned here = server == servers[1] ? 1 : 2;
	struct stateid id;

	nodes[here].no_advance = true;
	assert_false(send_any(first));
	first->res.p = first->res.end;
	end(first);
	nodes[here].no_advance = false;
	at(3 - here);
	id = stateid_of(again, path, opnum);
	assert_int_equal(id.seqid, want_seqid);
	same_everywhere();
	return id;
}

#define AT_NEXT(ask, path, op, seqid) at_next(ask, ask, path, op, seqid)

/* A node dies between what a request does and its sequence id: the retry does nothing again. */
static void test_v40_dies_between(void **state)
{
	uint64_t id = new_client40("v40");
	struct stateid open, lock;
	struct state_counts n;

	open = AT_NEXT(ask_open40(id, 1, RW), "data", OP_OPEN, 1);
	open = AT_NEXT(ask_confirm40(&open, 2), "data/f", OP_OPEN_CONFIRM, 2);
	open = AT_NEXT(ask_open40(id, 3, OPEN4_SHARE_ACCESS_READ), "data", OP_OPEN, 3);
	open = AT_NEXT(ask_downgrade40(&open, 4), "data/f", OP_OPEN_DOWNGRADE, 4);
	lock = AT_NEXT(ask_lock40(&open, id, 5), "data/f", OP_LOCK, 1);
	lock = AT_NEXT(ask_lock40(&lock, 0, 2), "data/f", OP_LOCK, 2);
	lock = AT_NEXT(ask_unlock40(&lock, 3), "data/f", OP_LOCKU, 3);
	open = AT_NEXT(ask_close40(&open, 6), "data/f", OP_CLOSE, 5);
	state_get_counts(server->state, &n);
	assert_int_equal(n.opens, 0);
	assert_int_equal(n.locks, 0);
	/* It goes on. */
	open = stateid_of(ask_open40(id, 7, RW), "data", OP_OPEN);
	assert_int_equal(status_of(ask_close40(&open, 8)), NFS4_OK);
}

/* ------------------------------------------------------------- after a full outage ---- */

#define LISTED 5000 /* more than one command can hold */

static char listed_dir[] = "/tmp/atoll-nodes-XXXXXX";

static int setup_listed(void **state)
{
	struct stable_params params = { .dir = mkdtemp(listed_dir), .instance = 1, .lease = LEASE };
	struct stable_change *changes = calloc(LISTED, sizeof(*changes));
	uint8_t(*keys)[80] = calloc(LISTED, sizeof(*keys));
	struct stable_list list;
	struct stable *stable;

	assert_non_null(params.dir);
	assert_int_equal(stable_open(&params, &stable, &list), 0);
	for (uint32_t i = 0; i < LISTED; i++) {
		memcpy(keys[i], &i, sizeof(i));
		changes[i] = (struct stable_change){
			.holder = i + 1,
			.key = { keys[i], sizeof(keys[i]) },
			.value = { keys[i], NFS4_VERIFIER_SIZE },
		};
	}
	assert_int_equal(stable_commit(stable, changes, LISTED), 0);
	stable_list_free(&list);
	stable_close(stable);
	free(changes);
	free(keys);
	nlater = 0;
	memset(nodes, 0, sizeof(nodes));
	memset(servers, 0, sizeof(servers));
	state_dir = listed_dir;
	return 0;
}

static int teardown_listed(void **state)
{
	char command[sizeof(listed_dir) + 16];

	nfs_server_free(servers[1]);
	memset(servers, 0, sizeof(servers));
	memset(nodes, 0, sizeof(nodes));
	state_dir = NULL;
	starts_closed = false;
	snprintf(command, sizeof(command), "rm -r %s", listed_dir);
	assert_int_equal(system(command), 0);
	memcpy(strrchr(listed_dir, '-') + 1, "XXXXXX", 6);
	return 0;
}

static uint32_t count_listed(void)
{
	uint32_t listed, waiting;

	state_grace_progress(servers[1]->state, &listed, &waiting);
	assert_int_equal(listed, waiting);
	return listed;
}

static void test_long_list(void **state)
{
	start_node(1);
	assert_int_equal(count_listed(), LISTED);
	assert_true(state_in_grace(servers[1]->state));
}

/* Quorum goes before the list has its place in the order. */
static void test_list_again(void **state)
{
	struct cluster_app *app = &nodes[1].cluster.app;

	starts_closed = true;
	start_node(1);
	assert_int_equal(count_listed(), 0);
	app->phase(app->ctx, CLUSTER_SUSPENDED);
	nodes[1].closed = false;
	app->phase(app->ctx, CLUSTER_SERVING);
	assert_int_equal(count_listed(), LISTED);
	assert_true(state_in_grace(servers[1]->state));
	/* Once more does no harm. */
	app->phase(app->ctx, CLUSTER_SUSPENDED);
	app->phase(app->ctx, CLUSTER_SERVING);
	assert_int_equal(count_listed(), LISTED);
}

/* The tag of the list, as the recorder writes it: of generation { 7, 1, tag }. */
static void put_tag(uint8_t tag)
{
	struct stable_params params = { .dir = listed_dir, .instance = 1, .lease = LEASE };
	static const uint8_t key[] = { 2 };
	uint8_t value[24] = { [7] = 7, [15] = 1, [23] = tag };
	struct stable_change change = { .holder = 0,
					.key = { key, sizeof(key) },
					.value = { value, sizeof(value) } };
	struct stable_list list;
	struct stable *stable;

	assert_int_equal(stable_open(&params, &stable, &list), 0);
	assert_int_equal(stable_commit(stable, &change, 1), 0);
	stable_list_free(&list);
	stable_close(stable);
}

static uint8_t get_tag(size_t *others)
{
	struct stable_params params = {
		.dir = listed_dir, .instance = 3, .earlier = true, .lease = LEASE
	};
	struct stable_list list;
	struct stable *stable;
	uint8_t tag = 0;

	*others = 0;
	assert_int_equal(stable_open(&params, &stable, &list), 0);
	for (size_t i = 0; i < list.n; i++) {
		if (list.records[i].key.len == 1)
			tag = list.records[i].value.p[23];
		else
			++*others;
	}
	stable_list_free(&list);
	stable_close(stable);
	return tag;
}

/* Node 1 was away before the outage; another has told of a client, with a list of a later generation. */
static void test_old_list(void **state)
{
	struct state_reclaimer someone = { .key = { (const uint8_t *)"someone", 7 } };
	struct state_command cmd = {
		.type = CMD_START_GRACE,
		.start_grace = { .clients = &someone, .more_to_come = true, .generation = { 7, 1, 9 } },
	};
	struct cluster_app *app = &nodes[1].cluster.app;

	put_tag(8);
	cmd.start_grace.n = 1;
	starts_closed = true;
	start_node(1);
	app->phase(app->ctx, CLUSTER_SUSPENDED);
	nodes[1].closed = false;
	cluster_submit(servers[1]->cluster, &cmd, NULL, NULL, NULL);
	app->phase(app->ctx, CLUSTER_SERVING);
	assert_int_equal(count_listed(), 1);
}

static void tick_records(void)
{
	for (int i = 0; i < 3; i++)
		nfs_server_tick_records(servers[1]);
}

static void begin_and_tick(void)
{
	start_node(1);
	tick_records();
}

/* In how many lines is this said meanwhile? */
static unsigned count_said(void (*meanwhile)(void), const char *what)
{
	FILE *log = tmpfile();
	int stderr_fd = dup(STDERR_FILENO);
	char line[512];
	unsigned n = 0;

	assert_true(log && stderr_fd >= 0 && dup2(fileno(log), STDERR_FILENO) >= 0);
	meanwhile();
	dup2(stderr_fd, STDERR_FILENO);
	close(stderr_fd);
	rewind(log);
	while (fgets(line, sizeof(line), log))
		n += strstr(line, what) != NULL;
	fclose(log);
	return n;
}

/* How often does the node that begins say that a later list than { 7, 1, 8 } is missing? */
static unsigned complaints_of_lists(uint64_t served)
{
	unsigned n;

	put_tag(8);
	earlier_epoch = served;
	n = count_said(begin_and_tick, "list of clients is as late");
	earlier_epoch = 0;
	return n;
}

/* The end of the grace period is in the log, once, whoever writes the list first. */
static void test_end_is_said(void **state)
{
	put_tag(8);
	begin_and_tick();
	assert_true(state_in_grace(servers[1]->state));
	cluster_submit(servers[1]->cluster, &(struct state_command){ .type = CMD_END_GRACE }, NULL,
		       NULL, NULL);
	assert_int_equal(recorder_promise(servers[1]->recorder, 0), NFS4_OK);
	assert_int_equal(count_said(tick_records, "the grace period is over"), 1);
}

static void test_list_is_latest(void **state)
{
	assert_int_equal(complaints_of_lists(8), 0);
}

static void test_list_is_missing(void **state)
{
	assert_int_equal(complaints_of_lists(9), 1);
}

/* The list is of the generation that its node has seen last as a member. */
static void test_tag(void **state)
{
	size_t others;

	put_tag(8);
	epoch = 9;
	start_node(1);
	assert_int_equal(count_listed(), LISTED);
	assert_true(state_grace_gathers(servers[1]->state));
	nfs_server_tick_records(servers[1]);
	assert_false(state_grace_gathers(servers[1]->state));
	assert_true(state_in_grace(servers[1]->state));
	/* Nothing of the earlier list has been reclaimed yet: it is what it was. */
	nfs_server_free(servers[1]);
	nodes[1].member = false;
	assert_int_equal(get_tag(&others), 8);
	assert_int_equal(others, LISTED);
	start_node(1);
	cluster_submit(servers[1]->cluster, &(struct state_command){ .type = CMD_END_GRACE }, NULL,
		       NULL, NULL);
	nfs_server_tick_records(servers[1]);
	epoch = 10;
	tell_members();
	nfs_server_free(servers[1]);
	nodes[1].member = false;
	assert_int_equal(get_tag(&others), 10);
	assert_int_equal(others, 0);
	epoch = 0;
	start_node(1); /* for the teardown */
}

/* Nothing is promised after the grace period before the list says that it is of this generation, tick or no tick. */
static void test_tag_before_promise(void **state)
{
	size_t others;

	put_tag(8);
	epoch = 9;
	start_node(1);
	assert_int_equal(recorder_promise(servers[1]->recorder, 0), NFS4_OK);
	nfs_server_free(servers[1]);
	nodes[1].member = false;
	assert_int_equal(get_tag(&others), 8);
	start_node(1);
	cluster_submit(servers[1]->cluster, &(struct state_command){ .type = CMD_END_GRACE }, NULL,
		       NULL, NULL);
	assert_int_equal(recorder_promise(servers[1]->recorder, 0), NFS4_OK);
	nfs_server_free(servers[1]);
	nodes[1].member = false;
	assert_int_equal(get_tag(&others), 9);
	assert_int_equal(others, 0);
	epoch = 0;
	start_node(1); /* for the teardown */
}

#define LISTED_TEST(fn) cmocka_unit_test_setup_teardown(fn, setup_listed, teardown_listed)
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_limits), TEST(test_goes_on_elsewhere),	   TEST(test_conflicts_between_nodes),
		TEST(test_retry_of_state),	   TEST(test_exactly_once),
		TEST(test_expiry_does_not_wait),
		TEST(test_exactly_once_v40),	   TEST(test_exactly_once_v40_joiner),
		TEST(test_begun),		   TEST(test_begun_v40),
		TEST(test_begun_others),	   TEST(test_begun_others_v40),
		TEST(test_begun_joiner),	   TEST(test_begun_joiner_v40),
		TEST(test_begun_refused),	   TEST(test_begun_unsettled),
		TEST(test_grant_needs_all),	   TEST(test_grant_waits),
		TEST(test_unheard_goes_back),
		TEST(test_undone_open_is_closed),	   TEST(test_silent_node),
		TEST(test_delegation_moves),
		TEST(test_gate),
		TEST(test_lull),
		TEST(test_identity),		   TEST(test_v40_goes_on_elsewhere),
		TEST(test_v40_refused),		   TEST(test_v40_dies_between),
		LISTED_TEST(test_long_list),
		LISTED_TEST(test_list_again),	   LISTED_TEST(test_old_list),
		LISTED_TEST(test_list_is_latest),  LISTED_TEST(test_list_is_missing),
		LISTED_TEST(test_end_is_said),
		LISTED_TEST(test_tag), LISTED_TEST(test_tag_before_promise),
	};

	return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}

/*
 * A node of a cluster over corosync: the replica's I/O.
 *
 * One thread, the order's, has the connections to corosync: the group (libcpg: messages and members, in
 * one order), the quorum (libquorum), and the ring's nodes as they come and go (libcmap), which tells earliest that
 * a ring is changing. What they say goes through the gate (gate.h) to the replica (replica.h), which
 * calls the application. If corosync ends, the thread waits until it is back.
 *
 *	submitters --outbox--> cpg_mcast_joined ~~~> the thread: gate -> replica -> application
 *
 * Locks, none held while the application is called: `sending` around the use of the group's handle for
 * sending, which any thread does, against its end; `published` for what status() shows; `keeping` for the
 * generation that a second thread writes to disk. The outbox has its own, taken before `sending`.
 */
#include <corosync/cmap.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <corosync/votequorum.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/random.h"
#include "cluster/cluster.h"
#include "cluster/gate.h"
#include "cluster/generation.h"
#include "cluster/replica.h"

#define TICK_NS	       (100 * NS_PER_MS)
#define RECONNECT_MS   200
#define CONNECT_NS     (3600 * NS_PER_SEC) /* it is corosync that may hang; without it nothing can be done */
#define RETRY_MS       1 /* after corosync would not take a message */
#define VOTES_TRIES    100
#define PATIENCE_MS    2000
#define BEGIN_PATIENCE_MS 10000
#define DISPATCH_AT_ONCE 64

struct nodelist {
	struct ring ring;
	uint32_t moved[CLUSTER_MAX_NODES]; /* the ring's nodes that came from the same ring as this one */
	unsigned nmoved, njoined;
};

struct corosync {
	struct cluster cluster;
	struct replica *replica;
	char scope[sizeof(((struct cluster_status *)0)->scope)]; /* empty: corosync's */
	char *state_dir;					  /* NULL: none */
	bool safe;
	int wake; /* eventfd */
	_Atomic bool stopping;
	bool started;
	pthread_t thread, keeper;

	/* The order's thread's. */
	struct gate gate;
	bool connected, broken, said_waiting;
	cpg_handle_t cpg;
	quorum_handle_t quorum;
	votequorum_handle_t votes;
	cmap_handle_t cmap;
	cmap_track_handle_t track;
	int cpg_fd, quorum_fd, cmap_fd;
	struct nodelist nodelist;

	struct mutex sending;
	bool can_send; /* under sending */

	struct mutex published;
	struct cluster_status status; /* under published */

	struct mutex keeping;
	struct cond keep_news;
	/* Under keeping. */
	struct memory keep;
	bool keep_due, keep_stop;
};

/* ---- what the replica needs ---- */

static void wake_up(struct corosync *c)
{
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then the thread is awake. */
	if (write(c->wake, &one, sizeof(one)) != sizeof(one))
		return;
}

static int multicast(void *ctx, const uint8_t *p, size_t len)
{
	struct corosync *c = ctx;
	struct iovec iov = { (void *)p, len };
	cs_error_t cs = CS_ERR_TRY_AGAIN;

	mutex_lock(&c->sending);
	if (c->can_send)
		cs = cpg_mcast_joined(c->cpg, CPG_TYPE_AGREED, &iov, 1);
	mutex_unlock(&c->sending);
	if (cs == CS_OK)
		return 0;
	wake_up(c);
	return cs == CS_ERR_TRY_AGAIN ? -EAGAIN : -EIO;
}

static uint64_t mono_ns(void *ctx)
{
	return clock_mono_ns();
}

static uint64_t wall_ns(void *ctx)
{
	return clock_real_ns();
}

static uint64_t draw(void *ctx)
{
	return random_u64();
}

static void remember(void *ctx, const struct memory *memory)
{
	struct corosync *c = ctx;

	mutex_lock(&c->keeping);
	c->keep = *memory;
	c->keep_due = true;
	cond_signal(&c->keep_news);
	mutex_unlock(&c->keeping);
}

/* The disk may be slow: a thread of its own waits for it. */
static void *keep_generations(void *arg)
{
	struct corosync *c = arg;
	struct memory m;
	int err;

	mutex_lock(&c->keeping);
	for (;;) {
		while (!c->keep_due && !c->keep_stop)
			cond_wait(&c->keep_news, &c->keeping);
		if (!c->keep_due)
			break;
		c->keep_due = false;
		m = c->keep;
		mutex_unlock(&c->keeping);
		err = c->state_dir ? generation_store(c->state_dir, &m) : 0;
		if (err)
			log_warn("cluster: cannot write to %s: %s; after an outage of the whole cluster this node may "
				 "take an old state for the latest",
				 c->state_dir, strerror(-err));
		mutex_lock(&c->keeping);
	}
	mutex_unlock(&c->keeping);
	return NULL;
}

/* ---- what corosync says ---- */

static struct corosync *of_cpg(cpg_handle_t h)
{
	void *ctx = NULL;

	cpg_context_get(h, &ctx);
	return ctx;
}

static void on_message(cpg_handle_t h, const struct cpg_name *group, uint32_t node, uint32_t pid, void *p,
		       size_t len)
{
	struct corosync *c = of_cpg(h);

	if (!gate_message(&c->gate, (struct node_address){ node, pid }, p, len))
		c->broken = true;
}

static unsigned copy_addresses(struct node_address *to, const struct cpg_address *from, size_t n)
{
	if (n > GATE_MAX_MEMBERS)
		n = GATE_MAX_MEMBERS;
	for (size_t i = 0; i < n; i++)
		to[i] = (struct node_address){ from[i].nodeid, from[i].pid };
	return (unsigned)n;
}

static bool any_reason(const struct cpg_address *a, size_t n, uint32_t reason)
{
	for (size_t i = 0; i < n; i++)
		if (a[i].reason == reason)
			return true;
	return false;
}

static void on_change(cpg_handle_t h, const struct cpg_name *group, const struct cpg_address *members,
		      size_t nmembers, const struct cpg_address *left, size_t nleft,
		      const struct cpg_address *joined, size_t njoined)
{
	struct corosync *c = of_cpg(h);
	struct node_address m[GATE_MAX_MEMBERS], l[GATE_MAX_MEMBERS];
	unsigned nm = copy_addresses(m, members, nmembers), nl = copy_addresses(l, left, nleft);

	if (!gate_change(&c->gate, m, nm, l, nl,
			 any_reason(left, nleft, CPG_REASON_NODEDOWN) ||
			     any_reason(joined, njoined, CPG_REASON_NODEUP)))
		c->broken = true;
}

static void on_ring(cpg_handle_t h, struct cpg_ring_id ring, uint32_t nnodes, const uint32_t *nodes)
{
	struct corosync *c = of_cpg(h);

	if (!gate_ring(&c->gate, (struct ring){ ring.nodeid, ring.seq }, nodes, nnodes))
		c->broken = true;
}

static struct corosync *of_quorum(quorum_handle_t h)
{
	const void *ctx = NULL;

	quorum_context_get(h, &ctx);
	return (struct corosync *)ctx;
}

static void on_quorum(quorum_handle_t h, uint32_t quorate, struct quorum_ring_id ring, uint32_t n,
		      const uint32_t *nodes)
{
	gate_quorum(&of_quorum(h)->gate, (struct ring){ ring.nodeid, ring.seq }, quorate != 0);
}

static bool contains(const uint32_t *nodes, uint32_t n, uint32_t node)
{
	for (uint32_t i = 0; i < n; i++)
		if (nodes[i] == node)
			return true;
	return false;
}

static void on_nodelist(quorum_handle_t h, struct quorum_ring_id ring, uint32_t n, const uint32_t *nodes,
			uint32_t njoined, const uint32_t *joined, uint32_t nleft, const uint32_t *left)
{
	struct nodelist *l = &of_quorum(h)->nodelist;

	*l = (struct nodelist){ .ring = { ring.nodeid, ring.seq }, .njoined = njoined };
	for (uint32_t i = 0; i < n && l->nmoved < CLUSTER_MAX_NODES; i++)
		if (!contains(joined, njoined, nodes[i]))
			l->moved[l->nmoved++] = nodes[i];
}

/* Before the ring's change begins to show elsewhere, a node of it is marked as having left. */
static void on_node(cmap_handle_t h, cmap_track_handle_t track, int32_t event, const char *key,
		    struct cmap_notify_value now, struct cmap_notify_value before, void *ctx)
{
	struct corosync *c = ctx;
	size_t len = strlen(key);

	if (len > 7 && strcmp(key + len - 7, ".status") == 0 && now.type == CMAP_VALUETYPE_STRING &&
	    now.data && strncmp(now.data, "left", now.len) == 0)
		replica_unsure(c->replica);
}

/* ---- what the gate asks ---- */

/* Have these nodes quorum, perhaps with the vote that a quorum device gives them now? */
static bool have_quorum(struct corosync *c, const uint32_t *nodes, unsigned n, bool with_device)
{
	unsigned votes = 0, needed = 0, device = 0;

	for (unsigned i = 0; i < n; i++) {
		struct votequorum_info info;
		cs_error_t cs = CS_ERR_TRY_AGAIN;

		for (int tries = 0; cs == CS_ERR_TRY_AGAIN && tries < VOTES_TRIES; tries++) {
			if (tries)
				poll(NULL, 0, RETRY_MS);
			cs = votequorum_getinfo(c->votes, nodes[i], &info);
		}
		if (cs != CS_OK)
			return false;
		votes += info.node_votes;
		needed = info.quorum;
		if (with_device && (info.flags & VOTEQUORUM_INFO_QDEVICE_CAST_VOTE))
			device = info.qdevice_votes;
	}
	return needed && votes + device >= needed;
}

static bool enough(void *ctx, const uint32_t *nodes, unsigned n)
{
	return have_quorum(ctx, nodes, n, true);
}

static bool moved_had_quorum(void *ctx, struct ring ring)
{
	struct corosync *c = ctx;
	const struct nodelist *l = &c->nodelist;

	if (l->ring.node != ring.node || l->ring.seq != ring.seq)
		return false;
	return !l->njoined || have_quorum(c, l->moved, l->nmoved, false);
}

static void drain_cmap(void *ctx)
{
	struct corosync *c = ctx;
	struct pollfd pfd = { c->cmap_fd, POLLIN, 0 };

	if (poll(&pfd, 1, 0) == 1 && cmap_dispatch(c->cmap, CS_DISPATCH_ALL) != CS_OK)
		c->broken = true;
}

/* ---- connections ---- */

static void publish(struct corosync *c)
{
	mutex_lock(&c->published);
	replica_status(c->replica, &c->status);
	mutex_unlock(&c->published);
}

static void disconnect(struct corosync *c)
{
	mutex_lock(&c->sending);
	c->can_send = false;
	mutex_unlock(&c->sending);
	cluster_busy(&c->cluster, CONNECT_NS);
	if (c->cpg)
		cpg_finalize(c->cpg);
	if (c->quorum)
		quorum_finalize(c->quorum);
	if (c->votes)
		votequorum_finalize(c->votes);
	if (c->cmap)
		cmap_finalize(c->cmap);
	c->cpg = 0;
	c->quorum = 0;
	c->votes = 0;
	c->cmap = 0;
	cluster_busy(&c->cluster, 0);
	gate_reset(&c->gate);
	c->nodelist = (struct nodelist){ 0 };
	if (c->connected)
		replica_disconnected(c->replica);
	c->connected = c->broken = false;
}

/* The nodes that corosync.conf names; returns how many. */
static unsigned find_configured(struct corosync *c)
{
	char key[CMAP_KEYNAME_MAXLEN + 1];
	uint32_t ids[CLUSTER_MAX_NODES], id;
	cmap_iter_handle_t iter;
	unsigned n = 0, nids = 0, node;

	if (cmap_iter_init(c->cmap, "nodelist.node.", &iter) != CS_OK)
		return 0;
	while (cmap_iter_next(c->cmap, iter, key, NULL, NULL) == CS_OK) {
		size_t len = strlen(key);

		if (len <= 7 || strcmp(key + len - 7, ".nodeid") != 0 ||
		    sscanf(key, "nodelist.node.%u", &node) != 1)
			continue;
		n++;
		if (nids < CLUSTER_MAX_NODES && cmap_get_uint32(c->cmap, key, &id) == CS_OK)
			ids[nids++] = id;
	}
	cmap_iter_finalize(c->cmap, iter);
	mutex_lock(&c->published);
	c->status.nconfigured = nids;
	memcpy(c->status.configured, ids, nids * sizeof(ids[0]));
	mutex_unlock(&c->published);
	return n;
}

/* False: corosync does not answer. */
static bool read_token(struct corosync *c)
{
	uint32_t ms;

	/* Of a corosync that hangs, or has just died, the answer may take as long as it likes. */
	cluster_busy(&c->cluster, CONNECT_NS);
	if (cmap_get_uint32(c->cmap, "runtime.config.totem.token", &ms) != CS_OK)
		return false;
	cluster_busy(&c->cluster, 0);
	replica_token(c->replica, ms);
	return true;
}

static cs_error_t connect_cmap(struct corosync *c)
{
	cs_error_t cs = cmap_initialize(&c->cmap);
	char *name = NULL;

	if (cs != CS_OK) {
		c->cmap = 0;
		return cs;
	}
	cs = cmap_fd_get(c->cmap, &c->cmap_fd);
	if (cs == CS_OK)
		cs = cmap_track_add(c->cmap, "runtime.members.",
				    CMAP_TRACK_ADD | CMAP_TRACK_MODIFY | CMAP_TRACK_PREFIX, on_node, c,
				    &c->track);
	c->gate.configured = find_configured(c);
	read_token(c);
	if (cs != CS_OK || c->scope[0])
		return cs;
	if (cmap_get_string(c->cmap, "totem.cluster_name", &name) == CS_OK && name)
		snprintf(c->scope, sizeof(c->scope), "%s", name);
	else
		snprintf(c->scope, sizeof(c->scope), "atoll");
	free(name);
	mutex_lock(&c->published);
	memcpy(c->status.scope, c->scope, sizeof(c->scope));
	mutex_unlock(&c->published);
	return CS_OK;
}

static cs_error_t connect_quorum(struct corosync *c)
{
	quorum_model_v1_data_t model = {
		.model = QUORUM_MODEL_V1,
		.quorum_notify_fn = on_quorum,
		.nodelist_notify_fn = on_nodelist,
	};
	uint32_t type = QUORUM_FREE;
	cs_error_t cs = quorum_model_initialize(&c->quorum, QUORUM_MODEL_V1, (quorum_model_data_t *)&model,
						&type, c);

	if (cs != CS_OK) {
		c->quorum = 0;
		return cs;
	}
	if (type != QUORUM_SET) {
		if (!c->said_waiting)
			log_error("cluster: corosync has no quorum provider, so that every part of a divided "
				  "cluster would serve; set quorum.provider to corosync_votequorum and "
				  "restart corosync");
		return CS_ERR_NOT_EXIST;
	}
	cs = quorum_fd_get(c->quorum, &c->quorum_fd);
	if (cs == CS_OK)
		cs = quorum_trackstart(c->quorum, CS_TRACK_CURRENT | CS_TRACK_CHANGES);
	if (cs == CS_OK) {
		cs = votequorum_initialize(&c->votes, NULL);
		if (cs != CS_OK)
			c->votes = 0;
	}
	return cs;
}

static cs_error_t connect_group(struct corosync *c, struct node_address *self)
{
	cpg_model_v1_data_t model = {
		.model = CPG_MODEL_V1,
		.cpg_deliver_fn = on_message,
		.cpg_confchg_fn = on_change,
		.cpg_totem_confchg_fn = on_ring,
		.flags = CPG_MODEL_V1_DELIVER_INITIAL_TOTEM_CONF,
	};
	struct cpg_name group;
	unsigned node = 0;
	cs_error_t cs = cpg_model_initialize(&c->cpg, CPG_MODEL_V1, (cpg_model_data_t *)&model, c);

	if (cs != CS_OK) {
		c->cpg = 0;
		return cs;
	}
	cs = cpg_fd_get(c->cpg, &c->cpg_fd);
	if (cs == CS_OK)
		cs = cpg_local_get(c->cpg, &node);
	if (cs != CS_OK)
		return cs;
	*self = (struct node_address){ node, (uint32_t)getpid() };
	group.length = (uint32_t)snprintf(group.value, sizeof(group.value), "atoll.%s", c->scope);
	return cpg_join(c->cpg, &group);
}

/* Everything or nothing. */
static bool try_connect(struct corosync *c)
{
	struct node_address self;
	cs_error_t cs;

	cluster_busy(&c->cluster, CONNECT_NS);
	cs = connect_cmap(c);
	if (cs == CS_OK)
		cs = connect_quorum(c);
	if (cs == CS_OK)
		cs = connect_group(c, &self);
	if (cs != CS_OK) {
		if (!c->said_waiting)
			log_warn("cluster: no connection to corosync (%s); waiting for it", cs_strerror(cs));
		c->said_waiting = true;
		disconnect(c);
		return false;
	}
	log_info("cluster: node %u of %s, connected to corosync", self.node, c->scope);
	c->said_waiting = false;
	c->connected = true;
	replica_connected(c->replica, self);
	mutex_lock(&c->sending);
	c->can_send = true;
	mutex_unlock(&c->sending);
	return true;
}

/* ---- the order's thread ---- */

/* True: there is no more for now. */
static bool dispatch_group(struct corosync *c)
{
	for (int i = 0; i < DISPATCH_AT_ONCE && !c->broken; i++) {
		cs_error_t cs = cpg_dispatch(c->cpg, CS_DISPATCH_ONE_NONBLOCKING);

		if (cs == CS_ERR_TRY_AGAIN)
			return true;
		if (cs != CS_OK)
			c->broken = true;
	}
	return false;
}

/* Asks corosync something, whatever it is, to see that it is awake. */
static void ask_corosync(struct corosync *c)
{
	uint64_t asked = clock_mono_ns();

	if (read_token(c) && dispatch_group(c) && !c->gate.closed)
		replica_heard_all(c->replica, asked);
}

/* Events, and then what they lead to: replies only when nothing says that the ring is changing. */
static void dispatch(struct corosync *c, const struct pollfd pfds[4])
{
	uint64_t ignored;

	if (pfds[0].revents && read(c->wake, &ignored, sizeof(ignored)) < 0)
		log_debug("cluster: woken for nothing");
	if (pfds[3].revents)
		drain_cmap(c);
	if (pfds[1].revents)
		dispatch_group(c);
	if (pfds[2].revents && quorum_dispatch(c->quorum, CS_DISPATCH_ALL) != CS_OK)
		c->broken = true;
	for (int i = 1; i < 4; i++)
		if (pfds[i].revents & (POLLHUP | POLLERR | POLLNVAL))
			c->broken = true;
	if (!c->broken)
		drain_cmap(c);
	if (!c->broken)
		replica_flush(c->replica);
}

static void show(struct corosync *c)
{
	atomic_store_explicit(&c->cluster.current_until, replica_current_until(c->replica),
			      memory_order_relaxed);
}

static int wait_for_news(struct corosync *c, struct pollfd pfds[4], uint64_t next_tick)
{
	uint64_t now = clock_mono_ns(), left = next_tick > now ? next_tick - now : 0;
	uint64_t gathers = replica_gathers(c->replica);
	struct timespec t;

	if (replica_blocked(c->replica) && left > RETRY_MS * NS_PER_MS)
		left = RETRY_MS * NS_PER_MS;
	if (gathers && gathers < left)
		left = gathers;
	t = (struct timespec){ .tv_nsec = (long)left }; /* less than a second */
	return ppoll(pfds, 4, &t, NULL);
}

static void run_connected(struct corosync *c, uint64_t *next_tick)
{
	struct pollfd pfds[4] = {
		{ c->wake, POLLIN, 0 },
		{ c->cpg_fd, POLLIN, 0 },
		{ c->quorum_fd, POLLIN, 0 },
		{ c->cmap_fd, POLLIN, 0 },
	};
	enum cluster_phase phase = replica_phase(c->replica);

	if (wait_for_news(c, pfds, *next_tick) < 0)
		return;
	dispatch(c, pfds);
	if (clock_mono_ns() >= *next_tick) {
		if (phase == CLUSTER_SERVING && !c->broken)
			ask_corosync(c);
		drain_cmap(c);
		replica_tick(c->replica);
		*next_tick = clock_mono_ns() + TICK_NS;
		publish(c);
	}
	if (phase != replica_phase(c->replica))
		publish(c);
	show(c);
	if (c->broken) {
		log_warn("cluster: the connection to corosync is gone");
		c->said_waiting = true;
	}
	if (c->broken || replica_phase(c->replica) == CLUSTER_LOST) {
		disconnect(c);
		publish(c);
		show(c);
	}
}

static void wait_disconnected(struct corosync *c)
{
	struct pollfd pfd = { c->wake, POLLIN, 0 };
	uint64_t ignored;

	if (poll(&pfd, 1, RECONNECT_MS) == 1 && read(c->wake, &ignored, sizeof(ignored)) < 0)
		log_debug("cluster: woken for nothing");
}

static void *run(void *arg)
{
	struct corosync *c = arg;
	uint64_t next_tick = clock_mono_ns();

	pthread_setname_np(pthread_self(), "order");
	while (!atomic_load(&c->stopping)) {
		cluster_busy(&c->cluster, 0);
		/* A void state has no place in the group: the application starts as a new process. */
		if (c->connected)
			run_connected(c, &next_tick);
		else if (replica_phase(c->replica) == CLUSTER_LOST || !try_connect(c))
			wait_disconnected(c);
	}
	disconnect(c);
	return NULL;
}

/* ---- the seam ---- */

static enum cluster_submitted submit(struct cluster *cl, const void *command, void *result,
				     void (*done)(void *arg), void *arg)
{
	struct corosync *c = container_of(cl, struct corosync, cluster);

	return replica_submit(c->replica, command, result, done, arg);
}

static int broadcast(struct cluster *cl, const void *p, size_t len)
{
	return replica_broadcast(container_of(cl, struct corosync, cluster)->replica, p, len);
}

static void get_status(struct cluster *cl, struct cluster_status *status)
{
	struct corosync *c = container_of(cl, struct corosync, cluster);

	mutex_lock(&c->published);
	*status = c->status;
	mutex_unlock(&c->published);
}

static void stop_keeper(struct corosync *c)
{
	mutex_lock(&c->keeping);
	c->keep_stop = true;
	cond_signal(&c->keep_news);
	mutex_unlock(&c->keeping);
	pthread_join(c->keeper, NULL);
}

static int start(struct cluster *cl)
{
	struct corosync *c = container_of(cl, struct corosync, cluster);
	int err = pthread_create(&c->keeper, NULL, keep_generations, c);

	if (err)
		return -err;
	err = pthread_create(&c->thread, NULL, run, c);
	if (err)
		stop_keeper(c);
	else
		c->started = true;
	return -err;
}

static void destroy(struct corosync *c)
{
	if (c->replica)
		replica_free(c->replica);
	if (c->wake >= 0)
		close(c->wake);
	mutex_destroy(&c->sending);
	mutex_destroy(&c->published);
	mutex_destroy(&c->keeping);
	cond_destroy(&c->keep_news);
	free(c->state_dir);
	free(c);
}

static void corosync_free(struct cluster *cl)
{
	struct corosync *c = container_of(cl, struct corosync, cluster);

	if (c->started) {
		atomic_store(&c->stopping, true);
		wake_up(c);
		pthread_join(c->thread, NULL);
		stop_keeper(c);
	}
	destroy(c);
}

bool cluster_has_corosync(void)
{
	return true;
}

static struct replica *new_replica(struct corosync *c, const struct cluster_config *config)
{
	struct replica_options o = {
		.app = c->cluster.app,
		.io = { multicast, mono_ns, wall_ns, draw, remember, enough, c },
		.safe = config->safe,
		.hang_ms = config->hang_ms,
		.patience_ms = PATIENCE_MS,
		.begin_patience_ms = BEGIN_PATIENCE_MS,
	};

	if (c->state_dir)
		generation_load(c->state_dir, &o.memory);
	return replica_new(&o);
}

struct cluster *cluster_corosync_new(const struct cluster_app *app, const struct cluster_config *config)
{
	struct corosync *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->cluster = (struct cluster){
		.app = *app,
		.start = start,
		.status = get_status,
		.submit = submit,
		.broadcast = broadcast,
		.free = corosync_free,
	};
	mutex_init(&c->sending);
	mutex_init(&c->published);
	mutex_init(&c->keeping);
	cond_init(&c->keep_news);
	c->safe = config->safe;
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (config->scope)
		snprintf(c->scope, sizeof(c->scope), "%s", config->scope);
	memcpy(c->status.scope, c->scope, sizeof(c->scope));
	if (config->state_dir)
		c->state_dir = strdup(config->state_dir);
	if (c->wake >= 0 && (!config->state_dir || c->state_dir))
		c->replica = new_replica(c, config);
	if (!c->replica) {
		destroy(c);
		return NULL;
	}
	gate_init(&c->gate, c->replica);
	c->gate.moved_had_quorum = moved_had_quorum;
	c->gate.drain = drain_cmap;
	c->gate.ctx = c;
	return &c->cluster;
}

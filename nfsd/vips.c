/*
 * Three kinds of threads meet here, under one lock:
 *
 * - the log's, which changes the common state; what that wants done with an address is noted in its
 *   slot (want), the latest wish counts;
 * - our own, which carries wishes out: it talks to the supervisor, and waits for requests to end;
 * - the RPC server's, which tell of connections.
 *
 * Only our own thread touches `frozen` of a slot. It holds no lock while it acts for one, which is
 * `busy` meanwhile. A release that is overtaken by another wish is broken off where that is noticed.
 */
#include "nfsd/vips.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "base/log.h"

#define SLOTS	    (2 * VIP_MOST) /* of the cluster's addresses, and of those that it had before */
#define END_NS	    (3 * NS_PER_SEC) /* that long requests may take to end before an address moves */
#define LOOK_NS	    NS_PER_MS
#define RESET_NS    (1500 * NS_PER_MS) /* then the old connections are swept away */
#define LEAVE_NS    (8 * NS_PER_SEC)
#define AGAIN_NS    (100 * NS_PER_MS) /* until what the log did not take is said again */
#define MESSAGE_TAG 'V'

enum want { WANT_NOTHING, WANT_HOLD, WANT_RELEASE };

struct slot {
	struct vip vip;
	enum want want;
	bool dirty; /* the wish has not been carried out */
	bool busy;  /* our thread is at it */
	bool keep;  /* WANT_NOTHING: its connections may be of use again */
	bool gone;  /* WANT_RELEASE: it has been let go of */
	struct vip_peer *lost;
	unsigned nlost;
	bool frozen;	   /* its connections are */
	uint64_t reset_ns; /* when they are to go; 0: not yet */
	uint64_t say_ns;   /* gone, but nobody knows: when to say so again; 0: it has been said */
};

struct vips {
	struct vips_options options;
	struct rpc_server *rpc;
	struct cluster_app inner;
	struct cluster *cluster;
	pthread_t thread;
	bool ended; /* the thread; the main thread's */

	struct mutex lock;
	struct cond changed;
	/* Under lock. */
	struct vip_state *state;
	uint32_t self;
	enum cluster_phase phase;
	struct slot slots[SLOTS];
	unsigned nslots;
	bool quit;
};

/* The log's functions get the server's context, not ours. */
static struct vips *the_vips;

/* ---- wishes, from the log's thread with the lock held ---- */

static struct slot *slot_of(struct vips *v, const struct vip *vip) REQUIRES(v->lock)
{
	for (unsigned i = 0; i < v->nslots; i++)
		if (vip_same(&v->slots[i].vip, vip))
			return &v->slots[i];
	if (v->nslots < SLOTS) {
		v->slots[v->nslots].vip = *vip;
		return &v->slots[v->nslots++];
	}
	/* So many have been replaced by others: one that is done with serves again. */
	for (unsigned i = 0; i < v->nslots; i++) {
		struct slot *s = &v->slots[i];

		if (s->want == WANT_NOTHING && !s->dirty && !s->busy && !s->reset_ns) {
			*s = (struct slot){ .vip = *vip };
			return s;
		}
	}
	return NULL;
}

static void wish(struct vips *v, const struct vip *vip, enum want want) REQUIRES(v->lock)
{
	struct slot *s = slot_of(v, vip);
	char text[VIP_TEXT];

	if (!s) {
		log_error("too many virtual addresses: %s is left alone",
			  vip_format(vip, true, text));
		return;
	}
	s->vip = *vip;
	s->want = want;
	s->dirty = true;
	s->gone = false;
	s->say_ns = 0;
	s->keep = v->phase != CLUSTER_SERVING;
	cond_broadcast(&v->changed);
}

static void want_hold(void *ctx, const struct vip *vip, const struct vip_peer *lost,
		      unsigned nlost) NO_THREAD_SAFETY
{
	struct vips *v = ctx;
	struct vip_peer *more;
	struct slot *s;

	wish(v, vip, WANT_HOLD);
	s = slot_of(v, vip);
	if (!s || !nlost)
		return;
	more = reallocarray(s->lost, s->nlost + nlost, sizeof(*more));
	if (!more)
		return; /* these clients will notice later */
	memcpy(more + s->nlost, lost, nlost * sizeof(*more));
	s->lost = more;
	s->nlost += nlost;
}

static void want_release(void *ctx, const struct vip *vip) NO_THREAD_SAFETY
{
	wish(ctx, vip, WANT_RELEASE);
}

static void want_nothing(void *ctx, const struct vip *vip) NO_THREAD_SAFETY
{
	wish(ctx, vip, WANT_NOTHING);
}

/* ---- carrying out, in our own thread ---- */

static int say(struct vips *v, const uint8_t *bytes, size_t len)
{
	uint8_t tagged[1 + VIP_MESSAGE_MOST];

	if (!v->cluster)
		return -EAGAIN;
	tagged[0] = MESSAGE_TAG;
	memcpy(tagged + 1, bytes, len);
	return cluster_broadcast(v->cluster, tagged, len + 1);
}

static bool still(struct vips *v, const struct slot *s, enum want want)
{
	bool same;

	mutex_lock(&v->lock);
	same = s->want == want && !s->dirty && !v->quit;
	mutex_unlock(&v->lock);
	return same;
}

static void set_reset(struct vips *v, struct slot *s, uint64_t at_ns)
{
	mutex_lock(&v->lock);
	s->reset_ns = at_ns;
	mutex_unlock(&v->lock);
}

/* The slot is our thread's, or that has ended. */
static void reset(struct vips *v, struct slot *s)
{
	struct sockaddr_storage ss;
	socklen_t len;

	s->frozen = false;
	set_reset(v, s, 0);
	vip_sockaddr(&s->vip, 0, &ss, &len);
	if (v->rpc)
		rpc_server_reset(v->rpc, (const struct sockaddr *)&ss);
}

/* Everything that clients have asked for is done and answered, or has had its time. */
static void let_requests_end(struct vips *v, struct slot *s)
{
	const struct timespec look = { .tv_nsec = LOOK_NS };
	uint64_t limit = clock_mono_ns() + END_NS;
	struct sockaddr_storage ss;
	socklen_t len;

	vip_sockaddr(&s->vip, 0, &ss, &len);
	s->frozen = true;
	while (v->rpc && rpc_server_freeze(v->rpc, (const struct sockaddr *)&ss) > 0 &&
	       still(v, s, WANT_RELEASE) && clock_mono_ns() < limit)
		nanosleep(&look, NULL);
}

static void carry_out_hold(struct vips *v, struct slot *s, const struct vip *vip,
			   struct vip_peer *lost, unsigned nlost)
{
	char text[VIP_TEXT];

	if (s->frozen)
		reset(v, s);
	if (supervisor_hold(v->options.supervisor, vip, lost, nlost) == 0)
		log_info("holding the virtual address %s", vip_format(vip, true, text));
}

/*
 * Others wait for this. If the log takes nothing, since this node does not serve, they do not; if memory is
 * short it is said again.
 */
static void say_released(struct vips *v, struct slot *s, const struct vip *vip)
{
	uint8_t bytes[VIP_MESSAGE_MOST];
	int rc = say(v, bytes, vip_say_released(bytes, vip));

	mutex_lock(&v->lock);
	if (s->gone)
		s->say_ns = rc && rc != -EAGAIN ? clock_mono_ns() + AGAIN_NS : 0;
	mutex_unlock(&v->lock);
}

static void carry_out_release(struct vips *v, struct slot *s, const struct vip *vip)
{
	char text[VIP_TEXT];

	let_requests_end(v, s);
	if (!still(v, s, WANT_RELEASE))
		return;
	supervisor_drop(v->options.supervisor, vip);
	mutex_lock(&v->lock);
	s->reset_ns = clock_mono_ns() + RESET_NS;
	s->gone = !s->dirty;
	mutex_unlock(&v->lock);
	log_info("letting the virtual address %s go", vip_format(vip, true, text));
	say_released(v, s, vip);
}

static bool resets_later(struct vips *v, const struct slot *s)
{
	bool later;

	mutex_lock(&v->lock);
	later = s->reset_ns != 0;
	mutex_unlock(&v->lock);
	return later;
}

static void carry_out_drop(struct vips *v, struct slot *s, const struct vip *vip, bool keep)
{
	char text[VIP_TEXT];

	supervisor_drop(v->options.supervisor, vip);
	log_info("not holding the virtual address %s any more", vip_format(vip, true, text));
	if (!keep && !resets_later(v, s))
		reset(v, s);
}

static struct slot *next_wish(struct vips *v) REQUIRES(v->lock)
{
	for (unsigned i = 0; i < v->nslots; i++)
		if (v->slots[i].dirty)
			return &v->slots[i];
	return NULL;
}

/* When something is to be done with a slot; UINT64_MAX: nothing. */
static uint64_t due_ns(const struct slot *s)
{
	uint64_t due = s->reset_ns ? s->reset_ns : UINT64_MAX;

	return s->say_ns && s->say_ns < due ? s->say_ns : due;
}

/* The slot with which something is to be done next. */
static struct slot *next_due(struct vips *v) REQUIRES(v->lock)
{
	struct slot *best = NULL;

	for (unsigned i = 0; i < v->nslots; i++) {
		struct slot *s = &v->slots[i];

		if (due_ns(s) != UINT64_MAX && (!best || due_ns(s) < due_ns(best)))
			best = s;
	}
	return best;
}

static void do_due(struct vips *v, struct slot *s) REQUIRES(v->lock)
{
	struct vip vip = s->vip;
	bool say_again = s->say_ns && s->say_ns == due_ns(s);

	s->busy = true;
	mutex_unlock(&v->lock);
	if (say_again)
		say_released(v, s, &vip);
	else
		reset(v, s);
	mutex_lock(&v->lock);
	s->busy = false;
}

static void carry_out(struct vips *v, struct slot *s) REQUIRES(v->lock)
{
	struct vip vip = s->vip;
	struct vip_peer *lost = s->lost;
	unsigned nlost = s->nlost;
	enum want want = s->want;
	bool keep = s->keep;

	s->dirty = false;
	s->busy = true;
	s->lost = NULL;
	s->nlost = 0;
	mutex_unlock(&v->lock);
	if (want == WANT_HOLD)
		carry_out_hold(v, s, &vip, lost, nlost);
	else if (want == WANT_RELEASE)
		carry_out_release(v, s, &vip);
	else
		carry_out_drop(v, s, &vip, keep);
	free(lost);
	mutex_lock(&v->lock);
	s->busy = false;
	cond_broadcast(&v->changed);
}

static void *run(void *arg)
{
	struct vips *v = arg;

	pthread_setname_np(pthread_self(), "addresses");
	mutex_lock(&v->lock);
	while (!v->quit) {
		struct slot *s = next_wish(v), *d = next_due(v);

		if (s)
			carry_out(v, s);
		else if (!d)
			cond_wait(&v->changed, &v->lock);
		else if (!cond_wait_until(&v->changed, &v->lock, due_ns(d)))
			do_due(v, d);
	}
	mutex_unlock(&v->lock);
	return NULL;
}

/* ---- what the log says ---- */

static void on_members(void *ctx, const struct cluster_members *m)
{
	struct vips *v = the_vips;

	/* The server need not know of those that it is not one of yet. */
	if (v->inner.members && v->phase == CLUSTER_SERVING)
		v->inner.members(ctx, m);
	mutex_lock(&v->lock);
	v->self = m->self;
	vip_state_members(v->state, m);
	mutex_unlock(&v->lock);
}

static void on_phase(void *ctx, enum cluster_phase phase)
{
	struct vips *v = the_vips;

	/* Without leave to serve the addresses go first, with it they come last. */
	if (phase == CLUSTER_SERVING && v->inner.phase)
		v->inner.phase(ctx, phase);
	mutex_lock(&v->lock);
	v->phase = phase;
	vip_state_phase(v->state, phase);
	mutex_unlock(&v->lock);
	if (phase != CLUSTER_SERVING && v->inner.phase)
		v->inner.phase(ctx, phase);
}

static void on_message(void *ctx, uint32_t origin, const uint8_t *p, size_t len)
{
	struct vips *v = the_vips;

	if (!len || p[0] != MESSAGE_TAG) {
		if (v->inner.message)
			v->inner.message(ctx, origin, p, len);
		return;
	}
	mutex_lock(&v->lock);
	if (!vip_state_message(v->state, origin, p + 1, len - 1))
		log_warn("node %u says something about addresses that is not understood", origin);
	mutex_unlock(&v->lock);
}

/* Ours, its length before it (4 bytes), then the server's. */
static int take_snapshot(void *ctx, uint8_t **out, size_t *len)
{
	struct vips *v = the_vips;
	uint8_t *ours = NULL, *theirs = NULL, *both;
	size_t nours, ntheirs;
	int rc;

	mutex_lock(&v->lock);
	rc = vip_state_snapshot(v->state, &ours, &nours);
	mutex_unlock(&v->lock);
	if (!rc)
		rc = v->inner.snapshot(ctx, &theirs, &ntheirs);
	if (rc) {
		free(ours);
		return rc;
	}
	both = malloc(4 + nours + ntheirs);
	if (both) {
		for (unsigned i = 0; i < 4; i++)
			both[i] = (uint8_t)(nours >> (24 - 8 * i));
		memcpy(both + 4, ours, nours);
		memcpy(both + 4 + nours, theirs, ntheirs);
		*out = both;
		*len = 4 + nours + ntheirs;
	}
	free(ours);
	free(theirs);
	return both ? 0 : -ENOMEM;
}

static bool same_list(const struct vips *v) REQUIRES(v->lock)
{
	struct vip_view view;
	unsigned n = vip_state_count(v->state), same = 0;

	for (unsigned i = 0; i < n; i++) {
		vip_state_view(v->state, i, &view);
		for (unsigned j = 0; j < v->options.n; j++)
			same += vip_same(&view.vip, &v->options.vips[j]) &&
				view.vip.prefix == v->options.vips[j].prefix;
	}
	return same == n && n == v->options.n;
}

static int restore_snapshot(void *ctx, const uint8_t *p, size_t len)
{
	struct vips *v = the_vips;
	size_t nours = 0;
	int rc;

	for (unsigned i = 0; i < 4 && len >= 4; i++)
		nours = nours << 8 | p[i];
	if (len < 4 || nours > len - 4)
		return -EINVAL;
	mutex_lock(&v->lock);
	rc = vip_state_restore(v->state, p + 4, nours);
	if (!rc && !same_list(v))
		log_warn(
		    "the virtual addresses of this node's configuration are not the cluster's, "
		    "which count; to change them, write the same ones on all nodes and reload "
		    "one");
	mutex_unlock(&v->lock);
	return rc ? rc : v->inner.restore(ctx, p + 4 + nours, len - 4 - nours);
}

struct cluster *vips_cluster_new(const struct cluster_app *app, const struct cluster_config *config)
{
	struct vips *v = the_vips;
	struct cluster_app outer = *app;

	v->inner = *app;
	outer.members = on_members;
	outer.phase = on_phase;
	outer.message = on_message;
	outer.snapshot = take_snapshot;
	outer.restore = restore_snapshot;
	v->cluster = v->options.cluster_new(&outer, config);
	return v->cluster;
}

/* ---- connections ---- */

static void on_conn(struct rpc_conn *conn, bool open, void *ctx)
{
	struct vips *v = ctx;
	uint8_t bytes[VIP_MESSAGE_MOST];
	const struct vip *found;
	struct vip vip;
	size_t len;

	mutex_lock(&v->lock);
	found = vip_state_find(v->state, rpc_conn_local(conn));
	if (found)
		vip = *found;
	mutex_unlock(&v->lock);
	if (!found)
		return;
	len = vip_say_connection(bytes, open, &vip, rpc_conn_peer(conn));
	/* What the others do not know makes this client notice later that we have died. */
	if (len)
		say(v, bytes, len);
}

void vips_attach(struct vips *v, struct rpc_server *rpc)
{
	v->rpc = rpc;
	rpc_server_on_conn(rpc, on_conn, v);
}

/* ---- life ---- */

struct vips *vips_new(const struct vips_options *o)
{
	struct vips *v = calloc(1, sizeof(*v));
	struct vip_ops ops = { want_hold, want_release, want_nothing, v };
	sigset_t all, before;
	int err;

	if (!v)
		return NULL;
	v->options = *o;
	v->phase = CLUSTER_JOINING;
	v->state = vip_state_new(&ops, o->vips, o->n);
	mutex_init(&v->lock);
	cond_init(&v->changed);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = v->state ? pthread_create(&v->thread, NULL, run, v) : ENOMEM;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		vip_state_free(v->state);
		free(v);
		return NULL;
	}
	the_vips = v;
	return v;
}

static bool holds_any(struct vips *v) REQUIRES(v->lock)
{
	for (unsigned i = 0; i < v->nslots; i++)
		if (v->slots[i].want == WANT_HOLD || v->slots[i].dirty ||
		    (v->slots[i].want == WANT_RELEASE && !v->slots[i].gone))
			return true;
	return false;
}

static void hand_over(struct vips *v)
{
	uint64_t limit = clock_mono_ns() + LEAVE_NS;
	uint8_t bytes[VIP_MESSAGE_MOST];
	bool others;

	mutex_lock(&v->lock);
	others = v->phase == CLUSTER_SERVING && vip_state_able(v->state, v->self);
	mutex_unlock(&v->lock);
	if (!others || say(v, bytes, vip_say_leaving(bytes)) != 0)
		return;
	mutex_lock(&v->lock);
	while (holds_any(v) && cond_wait_until(&v->changed, &v->lock, limit)) {
		/* One less, or another wish. */
	}
	mutex_unlock(&v->lock);
}

static void end_thread(struct vips *v)
{
	mutex_lock(&v->lock);
	v->quit = true;
	cond_broadcast(&v->changed);
	mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	v->ended = true;
	for (unsigned i = 0; i < v->nslots; i++)
		supervisor_drop(v->options.supervisor, &v->slots[i].vip);
}

void vips_leave(struct vips *v)
{
	hand_over(v);
	end_thread(v);
	/*
	 * Closed in the ordinary way, without an address to send a FIN from, they would stay in
	 * this kernel for minutes. A client that is back then with the same port would talk to a
	 * ghost.
	 */
	for (unsigned i = 0; i < v->nslots; i++)
		reset(v, &v->slots[i]);
}

void vips_free(struct vips *v)
{
	if (!v)
		return;
	if (!v->ended)
		end_thread(v);
	for (unsigned i = 0; i < v->nslots; i++)
		free(v->slots[i].lost);
	vip_state_free(v->state);
	mutex_destroy(&v->lock);
	cond_destroy(&v->changed);
	the_vips = NULL;
	free(v);
}

/* ---- for people ---- */

/* Is there such a node, as far as can be told? */
static bool is_node(struct vips *v, uint32_t node)
{
	struct cluster_status st = { 0 };
	bool found = false;

	if (!vips_status(v, &st) || !st.nconfigured)
		return true;
	for (uint32_t i = 0; i < st.n; i++)
		found |= st.nodes[i].node == node;
	for (uint32_t i = 0; i < st.nconfigured; i++)
		found |= st.configured[i] == node;
	return found;
}

int vips_drain(struct vips *v, uint32_t node, bool drained)
{
	uint8_t bytes[VIP_MESSAGE_MOST];
	bool known = is_node(v, node);
	int rc = 0;

	mutex_lock(&v->lock);
	if (vip_state_is_drained(v->state, node))
		known = true; /* one that has been removed since may be undrained */
	else if (drained && vip_state_drained_full(v->state))
		rc = -ENOSPC;
	else if (drained && !vip_state_able(v->state, node))
		rc = -EBUSY;
	mutex_unlock(&v->lock);
	if (!known)
		rc = -ENOENT;
	return rc ? rc : say(v, bytes, vip_say_drained(bytes, node, drained));
}

int vips_set_list(struct vips *v, const struct vip *vips, unsigned n)
{
	uint8_t bytes[VIP_MESSAGE_MOST];

	return say(v, bytes, vip_say_list(bytes, vips, n));
}

bool vips_is_drained(struct vips *v, uint32_t node)
{
	bool drained;

	mutex_lock(&v->lock);
	drained = vip_state_is_drained(v->state, node);
	mutex_unlock(&v->lock);
	return drained;
}

bool vips_status(struct vips *v, struct cluster_status *out)
{
	if (!v->cluster || !v->cluster->status)
		return false;
	cluster_get_status(v->cluster, out);
	return true;
}

unsigned vips_list(struct vips *v, struct vip_view *out, unsigned room)
{
	unsigned n;

	mutex_lock(&v->lock);
	n = vip_state_count(v->state);
	for (unsigned i = 0; i < n && i < room; i++)
		vip_state_view(v->state, i, &out[i]);
	mutex_unlock(&v->lock);
	return n < room ? n : room;
}

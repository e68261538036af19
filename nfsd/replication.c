/*
 * The model: all nodes apply the same commands in the same order, so they have the same state. This
 * file turns commands into bytes and back, gives the state to nodes that join and takes it, and opens
 * and closes the gate (nfs_server.serving): while it is closed every compound waits (lull.h), or is answered with
 * NFS4ERR_DELAY, because what is known here may be old.
 *
 * Two things void this node's state for good: others went on without it (CLUSTER_LOST), or memory ran
 * out while a command was applied, so that this node has not done what others have. Then the process
 * starts anew and joins as if it had never been there.
 *
 * All of it but encode() is called by the log's thread, in the order of the log.
 */
#include "nfsd/replication.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "nfsd/deleg_agree.h"
#include "nfsd/drc.h"
#include "nfsd/chores.h"
#include "nfsd/epoch.h"
#include "nfsd/recorder.h"
#include "nfsd/state/command_io.h"
#include "nfsd/state/snapshot.h"

#define WHOLE_STATE_NS (60 * NS_PER_SEC) /* to write or read millions of opens, on a busy machine */

static void close_gate(struct nfs_server *s)
{
	if (!s->serving)
		return;
	/* Who sees it closed sees that it has been. */
	s->closings++;
	s->serving = false;
}

static void give_up(struct nfs_server *s)
{
	close_gate(s);
	if (s->options.lost)
		s->options.lost(s->options.node_arg);
}

static int encode(void *ctx, const void *command, uint8_t **out, size_t *len)
{
	return command_encode(command, out, len);
}

static void check_divergence(struct nfs_server *s)
{
	if (likely(!state_has_diverged(s->state)))
		return;
	log_error("out of memory while applying what the other nodes have applied: this node gives "
		  "up its state and joins the cluster anew");
	give_up(s);
}

static void apply_bytes(void *ctx, uint32_t origin, const uint8_t *p, size_t len, void *result)
{
	struct nfs_server *s = ctx;
	struct state_result *own = result;
	struct command_decoded decoded;
	struct chore *chores;
	bool takes;
	int err = command_decode(p, len, &decoded);

	if (err) {
		log_error("a command of node %u cannot be applied: %s; this node gives up its state "
			  "and joins the cluster anew",
			  origin, err == -ENOMEM ? "out of memory" : "it is damaged");
		give_up(s);
		if (result)
			s->cluster->app.refuse(ctx, result);
		return;
	}
	decoded.cmd.node = origin;
	takes = own && own->takes_chores;
	chores_collect();
	s->cluster->app.apply(ctx, &decoded.cmd, result);
	chores = chores_collected();
	if (takes)
		own->chores = chores;
	else
		chores_hand_over(s->chores, s, chores);
	command_decoded_free(&decoded);
	check_divergence(s);
}

static void refuse(void *ctx, void *result)
{
	struct state_result *r = result;

	*r = (struct state_result){ .status = NFS4ERR_DELAY, .refused = true };
}

/* The state, the length of which comes first (8 bytes), and the replies kept for minor version 0. */
static int snapshot(void *ctx, uint8_t **out, size_t *len)
{
	struct nfs_server *s = ctx;
	uint8_t *state = NULL, *replies = NULL, *all = NULL;
	size_t nstate, nreplies;
	uint64_t head;
	int err;

	cluster_busy(s->cluster, WHOLE_STATE_NS);
	err = state_replicate(s->state, &state, &nstate);
	if (!err)
		err = drc_replicate(s->drc, &replies, &nreplies);
	if (!err) {
		all = malloc(sizeof(head) + nstate + nreplies);
		err = all ? 0 : -ENOMEM;
	}
	if (!err) {
		head = htobe64(nstate);
		memcpy(all, &head, sizeof(head));
		memcpy(all + sizeof(head), state, nstate);
		memcpy(all + sizeof(head) + nstate, replies, nreplies);
		*out = all;
		*len = sizeof(head) + nstate + nreplies;
	}
	free(state);
	free(replies);
	return err;
}

static int restore_all(struct nfs_server *s, const uint8_t *p, size_t len)
{
	uint64_t head;
	int err;

	if (len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, p, sizeof(head));
	p += sizeof(head);
	len -= sizeof(head);
	head = be64toh(head);
	if (head > len)
		return -EBADMSG;
	err = state_restore(s->state, p, head);
	return err ? err : drc_restore(s->drc, p + head, len - head);
}

#define SAME_LIMIT(field) \
	say_limit(#field, own->field, (uint64_t)theirs.field)

static void say_limit(const char *name, uint64_t own, uint64_t theirs)
{
	if (own != theirs)
		log_warn("this node's limit %s is %llu, but the cluster's is %llu, from the node that began its "
			 "state; it counts until all nodes have been stopped",
			 name, (unsigned long long)own, (unsigned long long)theirs);
}

/* Commands must have the same outcome everywhere, so limits are part of the state. */
static void say_limits(const struct nfs_server *s, const struct state_limits *own)
{
	struct state_limits theirs = state_limits(s->state);

	SAME_LIMIT(max_clients);
	SAME_LIMIT(max_sessions);
	SAME_LIMIT(max_sessions_per_client);
	SAME_LIMIT(max_slots_per_session);
	SAME_LIMIT(max_owners);
	SAME_LIMIT(max_owners_per_client);
	SAME_LIMIT(max_opens);
	SAME_LIMIT(max_opens_per_client);
	SAME_LIMIT(max_locks);
	SAME_LIMIT(max_locks_per_client);
	SAME_LIMIT(max_delegs);
	SAME_LIMIT(max_delegs_per_client);
	SAME_LIMIT(fore.max_request);
	SAME_LIMIT(fore.max_response);
}

static int restore(void *ctx, const uint8_t *p, size_t len)
{
	struct nfs_server *s = ctx;
	struct state_limits own = state_limits(s->state);
	struct state_counts n;
	int err;

	cluster_busy(s->cluster, WHOLE_STATE_NS);
	err = restore_all(s, p, len);
	if (err)
		return err;
	s->restored = true;
	say_limits(s, &own);
	if (s->options.joined)
		s->options.joined(s->options.node_arg, state_epoch(s->state));
	state_get_counts(s->state, &n);
	log_info("joined the cluster with %llu clients, %llu opens, %llu locks",
		 (unsigned long long)n.clients, (unsigned long long)n.opens,
		 (unsigned long long)n.locks);
	return 0;
}

/*
 * Clients of nodes that have gone are homeless: by a command, so that a node that is joining learns it
 * at the same place as the others. The lowest node says it, and again if the log did not take it.
 */
static void name_orphans(struct nfs_server *s)
{
	struct cluster_members m;

	mutex_lock(&s->members_lock);
	m = s->members;
	mutex_unlock(&s->members_lock);
	if (m.n == 0 || m.nodes[0] != m.self || !state_has_orphans(s->state, m.nodes, m.n))
		return;
	cluster_submit(s->cluster,
		       &(struct state_command){ .type = CMD_MEMBERS,
						.members = { m.nodes, m.n } },
		       NULL, NULL, NULL);
}

void replication_tick(struct nfs_server *s)
{
	name_orphans(s);
}

/*
 * Opens when the log serves and it is known who this node is. Who could not be heard while it was
 * closed has a whole lease again.
 */
static void open_gate(struct nfs_server *s)
{
	if (s->serving || s->phase != CLUSTER_SERVING || state_node(s->state) == 0)
		return;
	state_renew_all(s->state);
	if (s->recorder)
		recorder_serve(s->recorder, s->restored);
	s->restored = true;
	s->serving = true;
}

static void members(void *ctx, const struct cluster_members *m)
{
	struct nfs_server *s = ctx;

	mutex_lock(&s->members_lock);
	s->members = *m;
	mutex_unlock(&s->members_lock);
	state_set_node(s->state, m->self);
	backend_set_node(m->self);
	state_set_lowest(s->state, m->n > 0 && m->nodes[0] == m->self);
	if (s->recorder && !s->restored)
		recorder_expect(s->recorder, m->earlier);
	if (s->recorder)
		recorder_generation(s->recorder, m->generation);
	open_gate(s);
	deleg_agree_members(s, m);
	name_orphans(s);
}

static void phase(void *ctx, enum cluster_phase phase)
{
	static const char *const words[] = {
		[CLUSTER_JOINING] = "joins the cluster",
		[CLUSTER_SERVING] = "serves",
		[CLUSTER_SUSPENDED] = "has no quorum: clients have to wait",
		[CLUSTER_LOST] = "was left behind: it gives up its state and joins the cluster anew",
	};
	struct nfs_server *s = ctx;

	log_info("this node %s", words[phase]);
	s->phase = phase;
	if (phase == CLUSTER_SERVING)
		open_gate(s);
	else
		close_gate(s);
	if (phase == CLUSTER_LOST)
		give_up(s);
}

void replication_app(struct nfs_server *s, struct cluster_app *app)
{
	state_set_node(s->state, 0); /* not known yet */
	app->format = COMMAND_FORMAT << 16 | SNAPSHOT_VERSION;
	app->encode = encode;
	app->apply_bytes = apply_bytes;
	app->refuse = refuse;
	app->snapshot = snapshot;
	app->restore = restore;
	app->members = members;
	app->phase = phase;
}

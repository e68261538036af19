#include "nfsd/node.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "nfsd/restart.h"

#define DRAIN_SECONDS 10 /* that long `atoll drain` waits for addresses to have moved */

static void convert(const struct config_vip *from, struct vip *to)
{
	*to = (struct vip){ .prefix = (uint8_t)from->prefix };
	if (from->addr.ss_family == AF_INET) {
		to->family = 4;
		memcpy(to->addr, &((const struct sockaddr_in *)&from->addr)->sin_addr, 4);
	} else {
		to->family = 6;
		memcpy(to->addr, &((const struct sockaddr_in6 *)&from->addr)->sin6_addr, 16);
	}
}

/* The addresses that this process is to manage. 0 or -1 (logged). */
static int take_addresses(const struct config_cluster *c, struct vip **out, unsigned *n)
{
	*n = c->external_vips ? 0 : c->nvips;
	*out = calloc(*n ? *n : 1, sizeof(**out));
	if (!*out) {
		log_error("out of memory");
		return -1;
	}
	if (*n > VIP_MOST) {
		log_error("[cluster] has %u addresses; expected at most %d", *n, VIP_MOST);
		free(*out);
		return -1;
	}
	for (unsigned i = 0; i < *n; i++)
		convert(&c->vips[i], &(*out)[i]);
	return 0;
}

int node_begin(struct node *n, const struct config *c, char **argv)
{
	struct supervisor_params params = { .port = c->port, .argv = argv };
	char *program;

	if (!c->cluster)
		return 0;
	if (take_addresses(c->cluster, &n->vips, &n->nvips) != 0)
		return -1;
	program = restart_program();
	params.vips = n->vips;
	params.nvips = n->nvips;
	params.interface = c->cluster->interface ? c->cluster->interface : "";
	params.hang_ms = c->cluster->hang_seconds * 1000;
	params.program = program;
	n->supervisor = supervisor_start(&params);
	free(program);
	if (n->supervisor)
		return 0;
	log_error("out of memory");
	return -1;
}

int node_prepare(struct node *n, const struct config *c, struct nfs_server_options *o)
{
	struct vips_options vips = { n->vips, n->nvips, n->supervisor, o->cluster_new };

	if (!c->cluster)
		return 0;
	n->addresses = vips_new(&vips);
	if (!n->addresses) {
		log_error("cannot manage virtual addresses: out of memory or threads");
		return -1;
	}
	o->cluster_new = vips_cluster_new;
	return 0;
}

void node_attach(struct node *n, struct rpc_server *rpc)
{
	if (n->addresses)
		vips_attach(n->addresses, rpc);
}

/* The order of a list says nothing. */
static bool is_current(struct node *n, const struct vip *list, unsigned count)
{
	struct vip_view views[VIP_MOST];
	unsigned now = vips_list(n->addresses, views, VIP_MOST), same = 0;

	for (unsigned i = 0; i < now; i++)
		for (unsigned j = 0; j < count; j++)
			same += vip_same(&views[i].vip, &list[j]) &&
				views[i].vip.prefix == list[j].prefix;
	return same == now && now == count;
}

int node_reload(struct node *n, const struct config *c)
{
	struct vip *list;
	unsigned count;
	int rc;

	/* Who manages addresses is decided at the start: that takes none away from the others. */
	if (!n->addresses || !c->cluster || c->cluster->external_vips)
		return 0;
	if (take_addresses(c->cluster, &list, &count) != 0)
		return -EINVAL;
	/* Without news nobody is told: exports can be read again also where nobody can be. */
	rc = is_current(n, list, count) ? 0 : vips_set_list(n->addresses, list, count);
	free(list);
	return rc;
}

void node_tick(struct node *n)
{
	supervisor_pet(n->supervisor);
}

void node_leave(struct node *n)
{
	supervisor_unwatch(n->supervisor);
	if (n->addresses)
		vips_leave(n->addresses);
}

void node_free(struct node *n)
{
	vips_free(n->addresses);
	free(n->vips);
}

/* ---- for people ---- */

static int not_in_a_cluster(json_t *reply)
{
	json_object_set_new(reply, "error",
			    json_string("this server is not a node of a cluster: its configuration "
					"has no section [cluster]"));
	return -ENOTSUP;
}

static const char *phase_name(enum cluster_phase phase)
{
	switch (phase) {
	case CLUSTER_JOINING:
		return "joining";
	case CLUSTER_SERVING:
		return "serving";
	case CLUSTER_SUSPENDED:
		return "suspended";
	case CLUSTER_LOST:
		return "lost";
	}
	return "?";
}

/* "192.0.2.10 2001:db8::10": what the node holds. */
static json_t *addresses_of(uint32_t node, const struct vip_view *views, unsigned n)
{
	char all[VIP_MOST * VIP_TEXT] = "", one[VIP_TEXT];
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		if (views[i].holder == node)
			len +=
			    (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", len ? " " : "",
					     vip_format(&views[i].vip, false, one));
	return json_string(all);
}

int node_report_nodes(struct node *n, json_t *reply)
{
	struct vip_view views[VIP_MOST];
	struct cluster_status st = { 0 };
	json_t *nodes = json_array();
	unsigned nviews;

	if (!n->addresses || !vips_status(n->addresses, &st)) {
		json_decref(nodes);
		return not_in_a_cluster(reply);
	}
	nviews = vips_list(n->addresses, views, VIP_MOST);
	for (uint32_t i = 0; i < st.n; i++) {
		const struct cluster_node_status *node = &st.nodes[i];
		bool self = node->node == st.self;
		uint64_t behind = st.applied > node->applied ? st.applied - node->applied : 0;

		json_array_append_new(
		    nodes,
		    json_pack("{s:I, s:b, s:s, s:b, s:o, s:I, s:I}", "node", (json_int_t)node->node,
			      "self", self, "phase",
			      self	      ? phase_name(st.phase)
			      : node->present ? phase_name(node->phase)
					      : "absent",
			      "drained", vips_is_drained(n->addresses, node->node), "addresses",
			      addresses_of(node->node, views, nviews), "behind",
			      self ? (json_int_t)0 : (json_int_t)behind, "heard_ms",
			      self ? (json_int_t)0 : (json_int_t)(node->heard_ns / NS_PER_MS)));
	}
	json_object_set_new(reply, "quorate", json_boolean(st.quorate));
	json_object_set_new(reply, "replication", json_string(st.safe ? "safe" : "ordered"));
	json_object_set_new(reply, "scope", json_string(st.scope));
	json_object_set_new(reply, "nodes", nodes);
	return 0;
}

int node_report_addresses(struct node *n, json_t *reply)
{
	struct vip_view views[VIP_MOST];
	json_t *list = json_array();
	char text[VIP_TEXT];
	unsigned nviews;

	if (!n->addresses) {
		json_decref(list);
		return not_in_a_cluster(reply);
	}
	nviews = vips_list(n->addresses, views, VIP_MOST);
	for (unsigned i = 0; i < nviews; i++) {
		const struct vip_view *v = &views[i];

		json_array_append_new(list,
				      json_pack("{s:s, s:o, s:o, s:I}", "address",
						vip_format(&v->vip, true, text), "node",
						v->holder ? json_integer(v->holder) : json_null(),
						"moves_to",
						v->next ? json_integer(v->next) : json_null(),
						"connections", (json_int_t)v->connections));
	}
	json_object_set_new(reply, "addresses", list);
	return 0;
}

/* Has it heard of the change, and are all addresses elsewhere? */
static bool is_drained(struct node *n, uint32_t node)
{
	struct vip_view views[VIP_MOST];
	unsigned nviews = vips_list(n->addresses, views, VIP_MOST);

	for (unsigned i = 0; i < nviews; i++)
		if (views[i].holder == node || views[i].next == node)
			return false;
	return vips_is_drained(n->addresses, node);
}

static int await_drained(struct node *n, uint32_t node, bool drained)
{
	const struct timespec look = { .tv_nsec = 5 * (long)NS_PER_MS };
	uint64_t limit = clock_mono_ns() + DRAIN_SECONDS * NS_PER_SEC;

	while (drained ? !is_drained(n, node) : vips_is_drained(n->addresses, node)) {
		if (clock_mono_ns() > limit)
			return -ETIMEDOUT;
		nanosleep(&look, NULL);
	}
	return 0;
}

int node_drain(struct node *n, const json_t *request, bool drained, json_t *reply)
{
	const json_t *number = json_object_get(request, "node");
	json_int_t node = json_is_integer(number) ? json_integer_value(number) : 0;
	const char *why = NULL;
	int rc;

	if (!n->addresses)
		return not_in_a_cluster(reply);
	rc = node > 0 && node <= UINT32_MAX ? vips_drain(n->addresses, (uint32_t)node, drained)
					    : -ENOENT;
	if (!rc)
		rc = await_drained(n, (uint32_t)node, drained);
	if (rc == -ENOENT)
		why = "the cluster has no node of that number; see `atoll nodes'";
	else if (rc == -ENOSPC)
		why = "too many nodes are drained; undrain those that are gone for good";
	else if (rc == -EBUSY)
		why =
		    "no other node could take its addresses: they are all drained, leaving or not "
		    "there";
	else if (rc == -EAGAIN)
		why = "this node does not serve now; ask another one, or wait";
	else if (rc == -ENOBUFS)
		why = "corosync on this node takes no messages now; ask another node, or wait";
	else if (rc == -ETIMEDOUT)
		why = "the node is marked, but its addresses have not all moved yet; see `atoll "
		      "addresses'";
	if (why)
		json_object_set_new(reply, "error", json_string(why));
	else if (!rc)
		json_object_set_new(reply, drained ? "drained" : "undrained", json_integer(node));
	return rc;
}

int node_drop_addresses(const struct config *c)
{
	struct vip *vips;
	unsigned n;
	int rc;

	if (!c->cluster || c->cluster->external_vips)
		return 0;
	if (take_addresses(c->cluster, &vips, &n) != 0)
		return -1;
	rc = supervisor_clean(vips, n);
	free(vips);
	return rc ? -1 : 0;
}

#include "nfsd/node.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "nfsd/restart.h"

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

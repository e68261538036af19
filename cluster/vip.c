#include "cluster/vip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- addresses ---- */

static bool parse_prefix(const char *text, unsigned most, uint8_t *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (text[0] < '0' || text[0] > '9' || *end || n < 1 || n > most)
		return false;
	*out = (uint8_t)n;
	return true;
}

int vip_parse(const char *text, struct vip *out)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);
	static const uint8_t none[16];

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	*out = (struct vip){ 0 };
	if (inet_pton(AF_INET, host, out->addr) == 1) {
		out->family = 4;
		out->prefix = 32;
	} else if (inet_pton(AF_INET6, host, out->addr) == 1) {
		out->family = 6;
		out->prefix = 128;
	} else {
		return -EINVAL;
	}
	if (memcmp(out->addr, none, sizeof(none)) == 0)
		return -EINVAL;
	if (slash && !parse_prefix(slash + 1, out->prefix, &out->prefix))
		return -EINVAL;
	return 0;
}

const char *vip_format(const struct vip *v, bool prefix, char *text)
{
	char host[INET6_ADDRSTRLEN];

	if (!inet_ntop(v->family == 4 ? AF_INET : AF_INET6, v->addr, host, sizeof(host)))
		strcpy(host, "?");
	if (prefix)
		snprintf(text, VIP_TEXT, "%s/%u", host, v->prefix);
	else
		snprintf(text, VIP_TEXT, "%s", host);
	return text;
}

bool vip_same(const struct vip *a, const struct vip *b)
{
	return a->family == b->family && memcmp(a->addr, b->addr, sizeof(a->addr)) == 0;
}

bool vip_matches(const struct vip *v, const struct sockaddr *addr)
{
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)addr;
	const struct in6_addr *in6 = &((const struct sockaddr_in6 *)addr)->sin6_addr;

	if (addr->sa_family == AF_INET)
		return v->family == 4 && memcmp(v->addr, &in4->sin_addr, 4) == 0;
	if (addr->sa_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(in6))
		return v->family == 4 && memcmp(v->addr, in6->s6_addr + 12, 4) == 0;
	return v->family == 6 && memcmp(v->addr, in6->s6_addr, 16) == 0;
}

void vip_sockaddr(const struct vip *v, uint16_t port, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (v->family == 4) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		memcpy(&in4->sin_addr, v->addr, 4);
		*len = sizeof(*in4);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, v->addr, 16);
		*len = sizeof(*in6);
	}
}

/* ---- who gets which ---- */

static bool usable(const struct vip_node *node, bool last_resort)
{
	return last_resort || !node->avoid;
}

static unsigned held_by(uint32_t id, const uint32_t *holder, unsigned n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < n; i++)
		count += holder[i] == id;
	return count;
}

static bool can_keep(const struct vip_node *nodes, unsigned nnodes, bool last_resort, uint32_t id)
{
	for (unsigned i = 0; i < nnodes; i++)
		if (nodes[i].id == id)
			return usable(&nodes[i], last_resort);
	return false;
}

/* The node with the fewest addresses (most: with the most); the lowest number of several. */
static uint32_t extreme(const struct vip_node *nodes, unsigned nnodes, bool last_resort,
			const uint32_t *holder, unsigned n, bool most)
{
	uint32_t best = 0;
	unsigned best_count = 0;

	for (unsigned i = 0; i < nnodes; i++) {
		unsigned count = held_by(nodes[i].id, holder, n);

		if (!usable(&nodes[i], last_resort))
			continue;
		if (best && (most ? count < best_count : count > best_count))
			continue;
		if (best && count == best_count && nodes[i].id > best)
			continue;
		best = nodes[i].id;
		best_count = count;
	}
	return best;
}

/* The last one of `from` goes to `to`. */
static void move_one(uint32_t from, uint32_t to, uint32_t *holder, unsigned n)
{
	while (n-- > 0) {
		if (holder[n] == from) {
			holder[n] = to;
			return;
		}
	}
}

void vip_assign(const struct vip_node *nodes, unsigned nnodes, const uint32_t *before,
		uint32_t *after, unsigned n)
{
	bool last_resort = true;

	for (unsigned i = 0; i < nnodes; i++)
		last_resort &= nodes[i].avoid;
	for (unsigned i = 0; i < n; i++)
		after[i] = can_keep(nodes, nnodes, last_resort, before[i]) ? before[i] : 0;
	for (unsigned i = 0; i < n && nnodes; i++)
		if (!after[i])
			after[i] = extreme(nodes, nnodes, last_resort, after, n, false);
	while (nnodes) {
		uint32_t low = extreme(nodes, nnodes, last_resort, after, n, false);
		uint32_t high = extreme(nodes, nnodes, last_resort, after, n, true);

		if (held_by(high, after, n) <= held_by(low, after, n) + 1)
			break;
		move_one(high, low, after, n);
	}
}

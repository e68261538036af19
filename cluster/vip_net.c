/*
 * rtnetlink by hand: the three requests needed are shorter than a library's calls for them. Every
 * function opens its own sockets, so there is nothing to keep and nothing to recover.
 */
#include "cluster/vip_net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/if_packet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/compiler.h"

/* ---- interfaces ---- */

static const uint8_t *address_bytes(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET
		   ? (const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr
		   : ((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr;
}

static int family_of(const struct vip *v)
{
	return v->family == 4 ? AF_INET : AF_INET6;
}

static size_t bytes_of(const struct vip *v)
{
	return v->family == 4 ? 4 : 16;
}

static bool same_network(const uint8_t *a, const uint8_t *b, unsigned prefix)
{
	unsigned whole = prefix / 8, rest = prefix % 8;
	uint8_t mask = (uint8_t)(0xff00 >> rest);

	return memcmp(a, b, whole) == 0 && (!rest || ((a[whole] ^ b[whole]) & mask) == 0);
}

static unsigned prefix_of(const struct ifaddrs *ifa, size_t bytes)
{
	const uint8_t *mask = ifa->ifa_netmask ? address_bytes(ifa->ifa_netmask) : NULL;
	unsigned n = 0;

	while (mask && n < bytes * 8 && mask[n / 8] & (0x80 >> (n % 8)))
		n++;
	return n;
}

/* Is it of the network that the address belongs to, as its own prefix or the virtual one's says? */
static bool is_neighbour(const struct vip *v, const struct ifaddrs *ifa)
{
	unsigned prefix;

	if (!ifa->ifa_addr || ifa->ifa_addr->sa_family != family_of(v) ||
	    ifa->ifa_flags & IFF_LOOPBACK ||
	    memcmp(address_bytes(ifa->ifa_addr), v->addr, bytes_of(v)) == 0)
		return false;
	prefix = v->prefix;
	if (prefix == bytes_of(v) * 8)
		prefix = prefix_of(ifa, bytes_of(v));
	return prefix && prefix < bytes_of(v) * 8 &&
	       same_network(v->addr, address_bytes(ifa->ifa_addr), prefix);
}

int vip_net_interface(const struct vip *v, const char *name)
{
	struct ifaddrs *list, *ifa;
	unsigned index = 0;

	if (name && *name) {
		index = if_nametoindex(name);
		return index ? (int)index : -ENODEV;
	}
	if (getifaddrs(&list) != 0)
		return -errno;
	for (ifa = list; ifa && !index; ifa = ifa->ifa_next)
		if (is_neighbour(v, ifa))
			index = if_nametoindex(ifa->ifa_name);
	freeifaddrs(list);
	return index ? (int)index : -ENODEV;
}

/* ---- rtnetlink ---- */

struct request {
	struct nlmsghdr head;
	struct ifaddrmsg addr;
	uint8_t attributes[96];
};

static void add_attribute(struct request *r, unsigned short type, const void *p, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), p, len);
	r->head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

/* Sends it and waits for the kernel's verdict: 0 or -errno. */
static int ask(const struct request *r)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		uint8_t rest[256];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), rc;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = send(fd, r, r->head.nlmsg_len, 0);
	if (n == (ssize_t)r->head.nlmsg_len)
		n = recv(fd, &answer, sizeof(answer), 0);
	if (n < 0)
		rc = -errno;
	else if ((size_t)n < sizeof(answer.head) + sizeof(answer.err) ||
		 answer.head.nlmsg_type != NLMSG_ERROR)
		rc = -EPROTO;
	else
		rc = answer.err.error;
	close(fd);
	return rc;
}

static int change(uint16_t type, uint16_t flags, const struct vip *v, unsigned prefix, int ifindex)
{
	uint32_t address_flags = IFA_F_NODAD, no_lifetime[4] = { 0 };
	struct request r = {
		.head = { .nlmsg_len = NLMSG_LENGTH(sizeof(r.addr)),
			  .nlmsg_type = type,
			  .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags) },
		.addr = { .ifa_family = (uint8_t)family_of(v),
			  .ifa_prefixlen = (uint8_t)prefix,
			  .ifa_index = (uint32_t)ifindex },
	};

	add_attribute(&r, IFA_LOCAL, v->addr, bytes_of(v));
	add_attribute(&r, IFA_ADDRESS, v->addr, bytes_of(v));
	if (type == RTM_NEWADDR && v->family == 6) {
		add_attribute(&r, IFA_FLAGS, &address_flags, sizeof(address_flags));
		/* Valid for ever, but preferred never: deprecated, no source of new connections. */
		no_lifetime[1] = UINT32_MAX;
		add_attribute(&r, IFA_CACHEINFO, no_lifetime, sizeof(no_lifetime));
	}
	return ask(&r);
}

/*
 * The whole address if the interface reaches the network by an address of its own: then nothing
 * depends on the virtual one, neither a route nor the choice of sources.
 */
static unsigned prefix_on(const struct vip *v, int ifindex)
{
	struct ifaddrs *list, *ifa;
	unsigned prefix = v->prefix;

	if (getifaddrs(&list) != 0)
		return prefix;
	for (ifa = list; ifa; ifa = ifa->ifa_next)
		if (is_neighbour(v, ifa) && (int)if_nametoindex(ifa->ifa_name) == ifindex)
			prefix = (unsigned)bytes_of(v) * 8;
	freeifaddrs(list);
	return prefix;
}

int vip_net_add(const struct vip *v, int ifindex)
{
	int rc = change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, v, prefix_on(v, ifindex), ifindex);

	return rc == -EEXIST ? 0 : rc;
}

int vip_net_remove(const struct vip *v)
{
	struct ifaddrs *list, *ifa;
	int rc = 0;

	if (getifaddrs(&list) != 0)
		return -errno;
	for (ifa = list; ifa; ifa = ifa->ifa_next) {
		int err;

		if (!ifa->ifa_addr || ifa->ifa_addr->sa_family != family_of(v) ||
		    ifa->ifa_flags & IFF_LOOPBACK ||
		    memcmp(address_bytes(ifa->ifa_addr), v->addr, bytes_of(v)) != 0)
			continue;
		err = change(RTM_DELADDR, 0, v, prefix_of(ifa, bytes_of(v)),
			     (int)if_nametoindex(ifa->ifa_name));
		if (err && err != -EADDRNOTAVAIL)
			rc = err;
	}
	freeifaddrs(list);
	return rc;
}

/* ---- sock_diag ---- */

struct diag_request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 diag;
};

static struct diag_request diag_request(uint16_t type, uint16_t flags, int family)
{
	return (struct diag_request){
		.head = { .nlmsg_len = sizeof(struct diag_request),
			  .nlmsg_type = type,
			  .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags) },
		.diag = { .sdiag_family = (uint8_t)family,
			  .sdiag_protocol = IPPROTO_TCP,
			  .idiag_states = ~(1u << TCP_LISTEN) },
	};
}

/* Asks for the end of one connection; whether there still was one does not matter. */
static int destroy(int fd, const struct inet_diag_msg *m)
{
	struct diag_request r = diag_request(SOCK_DESTROY, 0, m->idiag_family);

	r.diag.idiag_states = ~0u;
	r.diag.id = m->id;
	return send(fd, &r, sizeof(r), 0) == sizeof(r) ? 0 : -errno;
}

/* What of a dump is a connection to the address is destroyed. 1: there is more to come. */
static int forget_some(const struct vip *v, const void *bytes, size_t len, int to)
{
	int rc = 1;

	for (const struct nlmsghdr *h = bytes; NLMSG_OK(h, len) && rc == 1; h = NLMSG_NEXT(h, len)) {
		const struct inet_diag_msg *m = NLMSG_DATA(h);

		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((const struct nlmsgerr *)NLMSG_DATA(h))->error;
		if (memcmp(m->id.idiag_src, v->addr, bytes_of(v)) == 0)
			rc = destroy(to, m) ? -errno : 1;
	}
	return rc;
}

int vip_net_forget(const struct vip *v)
{
	struct diag_request dump = diag_request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family_of(v));
	_Alignas(struct nlmsghdr) uint8_t bytes[32768];
	int from = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int to = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int rc = from < 0 || to < 0 || send(from, &dump, sizeof(dump), 0) < 0 ? -errno : 1;

	while (rc == 1) {
		ssize_t n = recv(from, bytes, sizeof(bytes), 0);

		rc = n < 0 ? -errno : forget_some(v, bytes, (size_t)n, to);
	}
	if (from >= 0)
		close(from);
	if (to >= 0)
		close(to);
	return rc;
}

/* ---- announcing ---- */

/* The interface's hardware address; false if it has none of Ethernet's kind. */
static bool hardware_address(int ifindex, uint8_t mac[ETH_ALEN])
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = fd >= 0 && if_indextoname((unsigned)ifindex, ifr.ifr_name) &&
		  ioctl(fd, SIOCGIFHWADDR, &ifr) == 0 && ifr.ifr_hwaddr.sa_family == ARPHRD_ETHER;

	if (ok)
		memcpy(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
	if (fd >= 0)
		close(fd);
	return ok;
}

struct arp {
	struct arphdr head;
	uint8_t sender_mac[ETH_ALEN], sender[4], target_mac[ETH_ALEN], target[4];
} __attribute__((packed));

static int announce_arp(const struct vip *v, int ifindex, const uint8_t *mac)
{
	static const uint8_t everybody[ETH_ALEN] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	static const uint16_t kinds[] = { ARPOP_REQUEST, ARPOP_REPLY };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ARP),
				  .sll_ifindex = ifindex,
				  .sll_halen = ETH_ALEN };
	struct arp arp = { .head = { .ar_hrd = htons(ARPHRD_ETHER),
				     .ar_pro = htons(ETH_P_IP),
				     .ar_hln = ETH_ALEN,
				     .ar_pln = 4 } };
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = 0;

	if (fd < 0)
		return -errno;
	memcpy(to.sll_addr, everybody, ETH_ALEN);
	memcpy(arp.sender_mac, mac, ETH_ALEN);
	/* In a reply that is to count as gratuitous the kernel wants the sender's; in a request
	 * any. */
	memcpy(arp.target_mac, mac, ETH_ALEN);
	memcpy(arp.sender, v->addr, 4);
	memcpy(arp.target, v->addr, 4);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		arp.head.ar_op = htons(kinds[i]);
		if (sendto(fd, &arp, sizeof(arp), MSG_DONTWAIT, (struct sockaddr *)&to,
			   sizeof(to)) < 0)
			rc = -errno;
	}
	close(fd);
	return rc;
}

struct advertisement {
	struct nd_neighbor_advert head;
	struct nd_opt_hdr option;
	uint8_t mac[ETH_ALEN];
} __attribute__((packed));

static int announce_neighbour(const struct vip *v, int ifindex, const uint8_t *mac)
{
	struct advertisement na = { .option = { ND_OPT_TARGET_LINKADDR, 1 } };
	struct sockaddr_in6 from = { .sin6_family = AF_INET6 };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_scope_id = (uint32_t)ifindex };
	int fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6), hops = 255, rc = 0;

	if (fd < 0)
		return -errno;
	na.head.nd_na_type = ND_NEIGHBOR_ADVERT;
	na.head.nd_na_flags_reserved = ND_NA_FLAG_OVERRIDE;
	memcpy(&na.head.nd_na_target, v->addr, 16);
	memcpy(na.mac, mac, ETH_ALEN);
	memcpy(&from.sin6_addr, v->addr, 16);
	inet_pton(AF_INET6, "ff02::1", &to.sin6_addr);
	/* The kernel fills in the checksum of ICMPv6. */
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops)) != 0 ||
	    setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &ifindex, sizeof(ifindex)) != 0 ||
	    bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
	    sendto(fd, &na, sizeof(na), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

int vip_net_announce(const struct vip *v, int ifindex)
{
	uint8_t mac[ETH_ALEN];

	if (!hardware_address(ifindex, mac))
		return 0; /* nobody keeps such addresses for a link without them */
	return v->family == 4 ? announce_arp(v, ifindex, mac) : announce_neighbour(v, ifindex, mac);
}

/* ---- provoking ---- */

static uint32_t sum_words(uint32_t sum, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(b[i] << 8 | b[i + 1]);
	return sum;
}

/* The checksum over the pseudo header and a segment without data, in network order. */
static uint16_t tcp_checksum(const struct vip *v, const struct vip_peer *peer,
			     const struct tcphdr *tcp)
{
	uint32_t sum = IPPROTO_TCP + (uint32_t)sizeof(*tcp);

	sum = sum_words(sum, v->addr, bytes_of(v));
	sum = sum_words(sum, peer->addr, bytes_of(v));
	sum = sum_words(sum, tcp, sizeof(*tcp));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int provoke_one(int fd, const struct vip *v, uint16_t port, const struct vip_peer *peer,
		       uint32_t seq)
{
	struct tcphdr tcp = { .source = htons(port),
			      .dest = htons(peer->port),
			      .seq = htonl(seq),
			      .doff = sizeof(tcp) / 4,
			      .ack = 1,
			      .window = htons(1024) };
	struct sockaddr_storage to;
	struct vip host = { .family = v->family };
	socklen_t len;

	memcpy(host.addr, peer->addr, sizeof(host.addr));
	vip_sockaddr(&host, 0, &to, &len);
	tcp.check = tcp_checksum(v, peer, &tcp);
	if (sendto(fd, &tcp, sizeof(tcp), MSG_DONTWAIT, (struct sockaddr *)&to, len) < 0)
		return -errno;
	return 0;
}

int vip_net_provoke(const struct vip *v, uint16_t port, const struct vip_peer *peers, unsigned n)
{
	/* Which sequence numbers are in the window is not known here; these two never both are. */
	static const uint32_t seqs[] = { 0, 0x80000000 };
	struct sockaddr_storage from;
	socklen_t len;
	int fd, rc = 0, no_buffer = 0;

	if (!n)
		return 0;
	fd = socket(family_of(v), SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	if (fd < 0)
		return -errno;
	/* It would be shown all of this machine's traffic: as little of that as there can be. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &no_buffer, sizeof(no_buffer));
	vip_sockaddr(v, 0, &from, &len);
	if (bind(fd, (struct sockaddr *)&from, len) != 0)
		rc = -errno;
	for (unsigned i = 0; i < n && !rc; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(seqs); j++) {
			int err = provoke_one(fd, v, port, &peers[i], seqs[j]);

			if (err)
				rc = err;
		}
	}
	close(fd);
	return rc;
}

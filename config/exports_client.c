/*
 * Clients of an export: what a specification may look like, and who it is about.
 *
 * Matching goes by the address of the connection. Names are asked of the resolver at the time of
 * the match, never at load: a name server that is away must not keep an export from being read.
 * For wildcards and netgroups the address's name is looked up and believed only if that name
 * leads back to the address; without such a name they see the address in figures.
 */
#include "config/exports_private.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/blocking.h"
#include "base/lock.h"

/* innetgr(3) is not thread-safe. */
static struct mutex netgroup_lock = MUTEX_INITIALIZER;

/* ---- addresses ---- */

static unsigned address_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

static struct ip_address ipv4_address(const void *bytes)
{
	struct ip_address a = { .family = AF_INET };

	memcpy(a.bytes, bytes, 4);
	return a;
}

static struct ip_address address_of(const struct sockaddr *sa)
{
	struct ip_address a = { .family = AF_UNSPEC };
	const struct sockaddr_in6 *in6;

	if (sa->sa_family == AF_INET)
		return ipv4_address(&((const struct sockaddr_in *)sa)->sin_addr);
	if (sa->sa_family != AF_INET6)
		return a;
	in6 = (const struct sockaddr_in6 *)sa;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return ipv4_address(in6->sin6_addr.s6_addr + 12);
	a.family = AF_INET6;
	memcpy(a.bytes, &in6->sin6_addr, 16);
	a.scope = in6->sin6_scope_id;
	return a;
}

/* Numbers only, with an optional %interface behind an IPv6 address. */
static bool parse_address(const char *text, struct ip_address *a)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	struct addrinfo *ai;
	uint8_t ipv4[4];

	/* inet_pton, as getaddrinfo also takes 10.1 and 0x7f000001. */
	if (inet_pton(AF_INET, text, ipv4) == 1) {
		*a = ipv4_address(ipv4);
		return true;
	}
	if (!strchr(text, ':') || getaddrinfo(text, NULL, &hints, &ai) != 0)
		return false;
	*a = address_of(ai->ai_addr);
	freeaddrinfo(ai);
	return a->family != AF_UNSPEC;
}

/* The first `bits` bits agree. */
static bool prefix_equal(const struct ip_address *a, const struct ip_address *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (a->family != b->family || memcmp(a->bytes, b->bytes, whole) != 0)
		return false;
	if (a->scope && b->scope && a->scope != b->scope)
		return false;
	return !rest || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0;
}

static bool address_equal(const struct ip_address *a, const struct ip_address *b)
{
	return prefix_equal(a, b, address_bits(a->family));
}

static void clear_host_bits(struct ip_address *a, unsigned prefix_len)
{
	for (unsigned bit = prefix_len; bit < address_bits(a->family); bit++)
		a->bytes[bit / 8] = (uint8_t)(a->bytes[bit / 8] & ~(0x80u >> (bit % 8)));
}

/* ---- parsing ---- */

/* What client_parse() is working on. */
struct spec {
	const char *text;
	struct export_client *client;
	char *why;
	size_t why_size;
};

#define SPEC_ERROR(s, ...) (snprintf((s)->why, (s)->why_size, __VA_ARGS__), -EINVAL)

/* A decimal prefix length up to `max`; -1 if it is none. */
static int parse_prefix_len(const char *text, unsigned max)
{
	unsigned n = 0;

	if (!*text || strlen(text) > 3)
		return -1;
	for (; *text; text++) {
		if (!isdigit((unsigned char)*text))
			return -1;
		n = n * 10 + (unsigned)(*text - '0');
	}
	return n <= max ? (int)n : -1;
}

/* 255.255.252.0 -> 22; -1 if the ones are not contiguous or it is no mask. */
static int parse_dotted_mask(const char *text)
{
	struct in_addr in;
	uint32_t mask, host;

	if (inet_pton(AF_INET, text, &in) != 1)
		return -1;
	mask = ntohl(in.s_addr);
	host = ~mask;
	return host & (host + 1) ? -1 : __builtin_popcount(mask);
}

static int parse_network(struct spec *s)
{
	const char *slash = strchr(s->text, '/');
	char base[INET6_ADDRSTRLEN + 32];
	struct export_client *c = s->client;
	int len;

	if ((size_t)(slash - s->text) >= sizeof(base))
		return SPEC_ERROR(s, "expected an IPv4 or IPv6 address before the slash");
	memcpy(base, s->text, (size_t)(slash - s->text));
	base[slash - s->text] = '\0';
	if (!parse_address(base, &c->address))
		return SPEC_ERROR(s,
				  "found `%.80s' before the slash; expected an IPv4 or IPv6 "
				  "address",
				  base);
	len = parse_prefix_len(slash + 1, address_bits(c->address.family));
	if (len < 0 && c->address.family == AF_INET)
		len = parse_dotted_mask(slash + 1);
	if (len < 0)
		return SPEC_ERROR(s,
				  "found `%.80s' behind the slash; expected a prefix length "
				  "from 0 to %s",
				  slash + 1,
				  c->address.family == AF_INET
				      ? "32 or a mask such as 255.255.252.0"
				      : "128");
	c->kind = CLIENT_NETWORK;
	c->prefix_len = (unsigned)len;
	clear_host_bits(&c->address, c->prefix_len);
	return 0;
}

static int parse_netgroup(struct spec *s)
{
	if (!s->text[1])
		return SPEC_ERROR(s, "expected the name of a netgroup behind `@'");
	s->client->kind = CLIENT_NETGROUP;
	return 0;
}

static int parse_wildcard(struct spec *s)
{
	size_t len = strlen(s->text);
	struct ip_address a;
	char inner[INET6_ADDRSTRLEN];

	if (s->text[0] == '[' && s->text[len - 1] == ']' && len - 2 < sizeof(inner)) {
		memcpy(inner, s->text + 1, len - 2);
		inner[len - 2] = '\0';
		if (parse_address(inner, &a))
			return SPEC_ERROR(s, "expected the IPv6 address without brackets: %s",
					  inner);
	}
	for (const char *p = strchr(s->text, '['); p; p = strchr(p, '[')) {
		p = strchr(p, ']');
		if (!p)
			return SPEC_ERROR(s, "expected `]' to end the character class begun by "
					     "`['");
	}
	s->client->kind = CLIENT_WILDCARD;
	return 0;
}

static int parse_gss(struct spec *s)
{
	static const struct {
		const char *text;
		enum export_sec sec;
	} forms[] = {
		{ "gss/krb5", SEC_KRB5 },
		{ "gss/krb5i", SEC_KRB5I },
		{ "gss/krb5p", SEC_KRB5P },
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (strcmp(forms[i].text, s->text) == 0) {
			s->client->kind = CLIENT_GSS;
			s->client->gss = forms[i].sec;
			return 0;
		}
	}
	return SPEC_ERROR(s, "expected gss/krb5, gss/krb5i or gss/krb5p (or a client and sec=)");
}

static int parse_host(struct spec *s)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	const char *t = s->text;

	s->client->kind = CLIENT_HOST;
	if (parse_address(t, &s->client->address))
		return 0;
	if (strchr(t, ':'))
		return SPEC_ERROR(s, "expected an IPv6 address, and this is none");
	if (!t[strspn(t, "0123456789.")])
		return SPEC_ERROR(s, "expected an IPv4 address of four numbers from 0 to 255");
	for (const char *p = t; *p; p++)
		if (!strchr(letters, *p) && !isdigit((unsigned char)*p) && !strchr("-._", *p))
			return SPEC_ERROR(s,
					  "found `%c'; expected a host name, an address, a "
					  "network, a wildcard or @netgroup",
					  *p);
	if (t[0] == '-' || t[0] == '.' || strstr(t, ".."))
		return SPEC_ERROR(s, "expected a host name, and this is none");
	return 0;
}

/* The text that is the same for two specifications of the same client. */
static char *canonical_spec(const struct export_client *c, const char *spec)
{
	char text[INET6_ADDRSTRLEN], *copy;

	if (c->address.family != AF_UNSPEC && !c->address.scope) {
		inet_ntop(c->address.family, c->address.bytes, text, sizeof(text));
		if (c->kind == CLIENT_NETWORK)
			return asprintf(&copy, "%s/%u", text, c->prefix_len) < 0 ? NULL : copy;
		return strdup(text);
	}
	copy = strdup(spec);
	if (copy && (c->kind == CLIENT_HOST || c->kind == CLIENT_WILDCARD))
		for (char *p = copy; *p; p++)
			*p = (char)tolower((unsigned char)*p);
	return copy;
}

int client_parse(const char *spec, struct export_client *c, char *why, size_t why_size)
{
	struct spec s = { .text = spec, .client = c, .why = why, .why_size = why_size };
	int err = 0;

	*c = (struct export_client){ 0 };
	if (!*spec)
		err = SPEC_ERROR(&s, "expected a client");
	else if (strcmp(spec, "*") == 0)
		c->kind = CLIENT_ANY;
	else if (spec[0] == '@')
		err = parse_netgroup(&s);
	else if (strncmp(spec, "gss/", 4) == 0)
		err = parse_gss(&s);
	else if (strpbrk(spec, "*?["))
		err = parse_wildcard(&s);
	else if (strchr(spec, '/'))
		err = parse_network(&s);
	else
		err = parse_host(&s);
	if (err)
		return err;
	c->spec = canonical_spec(c, spec);
	return c->spec ? 0 : -ENOMEM;
}

void client_release(struct export_client *c)
{
	free(c->spec);
	c->spec = NULL;
}

/* ---- matching ---- */

/* The peer, with its name looked up when somebody first asks for it. */
struct peer {
	struct ip_address address;
	bool named;	       /* `name` is set */
	char name[NI_MAXHOST]; /* confirmed name, or the address in figures */
	char figures[INET6_ADDRSTRLEN];
};

/* Does `name` lead to the address? */
static bool name_has_address(const char *name, const struct ip_address *a)
{
	struct addrinfo hints = { .ai_family = a->family, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list;
	bool found = false;

	blocking_section();
	if (getaddrinfo(name, NULL, &hints, &list) != 0)
		return false;
	for (struct addrinfo *ai = list; ai && !found; ai = ai->ai_next) {
		struct ip_address b = address_of(ai->ai_addr);

		found = address_equal(a, &b);
	}
	freeaddrinfo(list);
	return found;
}

static int reverse_lookup(const struct ip_address *a, char *name, socklen_t size)
{
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} u = { .sa = { .sa_family = (sa_family_t)a->family } };
	socklen_t len = a->family == AF_INET ? sizeof(u.in) : sizeof(u.in6);

	if (a->family == AF_INET) {
		memcpy(&u.in.sin_addr, a->bytes, 4);
	} else {
		memcpy(&u.in6.sin6_addr, a->bytes, 16);
		u.in6.sin6_scope_id = a->scope;
	}
	blocking_section();
	return getnameinfo(&u.sa, len, name, size, NULL, 0, NI_NAMEREQD);
}

static const char *peer_name(struct peer *p)
{
	if (p->named)
		return p->name;
	p->named = true;
	if (reverse_lookup(&p->address, p->name, sizeof(p->name)) != 0 ||
	    !name_has_address(p->name, &p->address))
		snprintf(p->name, sizeof(p->name), "%s", p->figures);
	return p->name;
}

static bool in_netgroup(const char *group, const char *host)
{
	int found;

	mutex_lock(&netgroup_lock);
	found = innetgr(group, host, NULL, NULL);
	mutex_unlock(&netgroup_lock);
	return found;
}

/* By name, by name without domain, or by address in figures. */
static bool match_netgroup(const char *group, struct peer *p)
{
	const char *name = peer_name(p);
	char label[NI_MAXHOST];

	blocking_section();
	if (in_netgroup(group, name) || in_netgroup(group, p->figures))
		return true;
	if (strcmp(name, p->figures) == 0)
		return false;
	snprintf(label, sizeof(label), "%.*s", (int)strcspn(name, "."), name);
	return in_netgroup(group, label);
}

static bool client_matches(const struct export_client *c, struct peer *p)
{
	switch (c->kind) {
	case CLIENT_HOST:
		if (c->address.family != AF_UNSPEC)
			return address_equal(&c->address, &p->address);
		return name_has_address(c->spec, &p->address);
	case CLIENT_NETWORK:
		return prefix_equal(&c->address, &p->address, c->prefix_len);
	case CLIENT_WILDCARD:
		return fnmatch(c->spec, peer_name(p), FNM_CASEFOLD) == 0;
	case CLIENT_NETGROUP:
		return match_netgroup(c->spec + 1, p);
	case CLIENT_ANY:
	case CLIENT_GSS:
		return true;
	case CLIENT_KINDS:
		break;
	}
	return false;
}

const struct export_options *export_match(const struct export_entry *entry,
					  const struct sockaddr *addr)
{
	struct peer p = { .address = address_of(addr) };
	const struct export_clients *clients = entry->clients;

	if (p.address.family == AF_UNSPEC)
		return NULL;
	inet_ntop(p.address.family, p.address.bytes, p.figures, sizeof(p.figures));
	for (int kind = 0; kind < CLIENT_KINDS; kind++)
		for (unsigned i = 0; i < clients->n; i++)
			if (clients->v[i].kind == (enum client_kind)kind &&
			    client_matches(&clients->v[i], &p))
				return &clients->v[i].options;
	return NULL;
}

unsigned export_client_count(const struct export_entry *entry)
{
	return entry->clients->n;
}

const char *export_client_get(const struct export_entry *entry, unsigned index,
			      const struct export_options **options)
{
	const struct export_client *c = &entry->clients->v[index];

	*options = &c->options;
	return c->spec;
}

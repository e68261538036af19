/*
 * Which client an address is: every form of client, and exports(5)'s precedence between them.
 * The name service is a table here (linked with --wrap), so the machine's own does not matter.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/exports.h"

/* ---- the name service ---- */

/* Names and their addresses; reverse: the address leads to the name. */
static const struct {
	const char *name, *address;
	bool reverse;
} hosts[] = {
	{ "client.example.org", "192.0.2.1", true },
	{ "multi.example.org", "192.0.2.2", true },
	{ "multi.example.org", "192.0.2.3", false },
	{ "six.example.org", "2001:db8::6", true },
	{ "short", "192.0.2.1", false },
	/* 192.0.2.66 claims to be "liar.example.org", which is another machine. */
	{ "liar.example.org", "192.0.2.67", false },
	{ "node7.cluster.example.org", "192.0.2.70", true },
};

static const struct {
	const char *group, *host;
} netgroups[] = {
	{ "trusted", "client.example.org" },
	{ "byaddress", "192.0.2.99" },
	{ "shortnames", "node7" },
};

static unsigned lookups; /* of names, forward and reverse */

int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res);
int __wrap_getnameinfo(const struct sockaddr *sa, socklen_t len, char *host, socklen_t hostlen,
		       char *serv, socklen_t servlen, int flags);
int __wrap_innetgr(const char *group, const char *host, const char *user, const char *domain);

/* Real answers, chained, for every address of the name in the family asked for. */
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		       struct addrinfo **res)
{
	struct addrinfo numeric = *hints, **tail = res;

	if (hints->ai_flags & AI_NUMERICHOST)
		return __real_getaddrinfo(node, service, hints, res);
	lookups++;
	numeric.ai_flags = AI_NUMERICHOST;
	*res = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		if (strcmp(hosts[i].name, node) != 0 ||
		    __real_getaddrinfo(hosts[i].address, NULL, &numeric, tail) != 0)
			continue;
		while (*tail)
			tail = &(*tail)->ai_next;
	}
	return *res ? 0 : EAI_NONAME;
}

int __wrap_getnameinfo(const struct sockaddr *sa, socklen_t len, char *host, socklen_t hostlen,
		       char *serv, socklen_t servlen, int flags)
{
	char text[INET6_ADDRSTRLEN];

	assert_true(flags & NI_NAMEREQD);
	lookups++;
	inet_ntop(sa->sa_family,
		  sa->sa_family == AF_INET
		      ? (const void *)&((const struct sockaddr_in *)sa)->sin_addr
		      : (const void *)&((const struct sockaddr_in6 *)sa)->sin6_addr,
		  text, sizeof(text));
	if (strcmp(text, "192.0.2.66") == 0) {
		snprintf(host, hostlen, "liar.example.org");
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		if (hosts[i].reverse && strcmp(hosts[i].address, text) == 0) {
			snprintf(host, hostlen, "%s", hosts[i].name);
			return 0;
		}
	}
	return EAI_NONAME;
}

int __wrap_innetgr(const char *group, const char *host, const char *user, const char *domain)
{
	assert_null(user);
	assert_null(domain);
	for (size_t i = 0; i < ARRAY_SIZE(netgroups); i++)
		if (strcmp(netgroups[i].group, group) == 0 && strcmp(netgroups[i].host, host) == 0)
			return 1;
	return 0;
}

/* ---- the cases ---- */

static const struct {
	const char *clients; /* behind the path; each has anonuid=N to tell which matched */
	const char *address;
	unsigned who; /* its anonuid; 0: none matches */
} cases[] = {
	/* Addresses. */
	{ "192.0.2.1(anonuid=1)", "192.0.2.1", 1 },
	{ "192.0.2.1(anonuid=1)", "192.0.2.2", 0 },
	{ "192.0.2.1(anonuid=1)", "::ffff:192.0.2.1", 1 },
	{ "::ffff:192.0.2.1(anonuid=1)", "192.0.2.1", 1 },
	{ "2001:db8::1(anonuid=1)", "2001:db8::1", 1 },
	{ "2001:db8::1(anonuid=1)", "2001:db8::2", 0 },
	{ "192.0.2.1(anonuid=1)", "2001:db8::1", 0 },
	{ "fe80::1(anonuid=1)", "fe80::1%lo", 1 },
	{ "fe80::1%lo(anonuid=1)", "fe80::1%lo", 1 },

	/* Networks. */
	{ "192.0.2.0/24(anonuid=1)", "192.0.2.255", 1 },
	{ "192.0.2.0/24(anonuid=1)", "192.0.3.0", 0 },
	{ "192.0.2.0/25(anonuid=1)", "192.0.2.127", 1 },
	{ "192.0.2.0/25(anonuid=1)", "192.0.2.128", 0 },
	{ "192.0.2.77/255.255.255.0(anonuid=1)", "192.0.2.1", 1 },
	{ "0.0.0.0/0(anonuid=1)", "203.0.113.9", 1 },
	{ "0.0.0.0/0(anonuid=1)", "2001:db8::1", 0 },
	{ "192.0.2.0/24(anonuid=1)", "::ffff:192.0.2.9", 1 },
	{ "2001:db8::/33(anonuid=1)", "2001:db8:7fff::1", 1 },
	{ "2001:db8::/33(anonuid=1)", "2001:db8:8000::1", 0 },
	{ "::/0(anonuid=1)", "2001:db8::1", 1 },
	{ "::/0(anonuid=1)", "192.0.2.1", 0 },
	{ "192.0.2.1/32(anonuid=1)", "192.0.2.1", 1 },
	{ "192.0.2.1/32(anonuid=1)", "192.0.2.0", 0 },

	/* Names. */
	{ "client.example.org(anonuid=1)", "192.0.2.1", 1 },
	{ "Client.EXAMPLE.org(anonuid=1)", "192.0.2.1", 1 },
	{ "short(anonuid=1)", "192.0.2.1", 1 },
	{ "client.example.org(anonuid=1)", "192.0.2.2", 0 },
	{ "multi.example.org(anonuid=1)", "192.0.2.3", 1 },
	{ "six.example.org(anonuid=1)", "2001:db8::6", 1 },
	{ "six.example.org(anonuid=1)", "192.0.2.6", 0 },
	{ "nobody.example.org(anonuid=1)", "192.0.2.1", 0 },

	/* Wildcards: by a name that leads back to the address, else by the figures. */
	{ "*.example.org(anonuid=1)", "192.0.2.1", 1 },
	{ "*.EXAMPLE.org(anonuid=1)", "192.0.2.1", 1 },
	{ "c?ient.*(anonuid=1)", "192.0.2.1", 1 },
	{ "node[0-9].*.org(anonuid=1)", "192.0.2.70", 1 },
	{ "node[0-6].*.org(anonuid=1)", "192.0.2.70", 0 },
	{ "*.example.org(anonuid=1)", "2001:db8::6", 1 },
	{ "*.example.org(anonuid=1)", "192.0.2.66", 0 },
	{ "*.example.org(anonuid=1)", "192.0.2.3", 0 },
	{ "192.0.2.*(anonuid=1)", "192.0.2.99", 1 },
	{ "192.0.2.*(anonuid=1)", "192.0.2.1", 0 },

	/* Netgroups. */
	{ "@trusted(anonuid=1)", "192.0.2.1", 1 },
	{ "@trusted(anonuid=1)", "192.0.2.2", 0 },
	{ "@byaddress(anonuid=1)", "192.0.2.99", 1 },
	{ "@shortnames(anonuid=1)", "192.0.2.70", 1 },
	{ "@nosuch(anonuid=1)", "192.0.2.1", 0 },

	/* Everybody. */
	{ "*(anonuid=1)", "192.0.2.1", 1 },
	{ "*(anonuid=1)", "2001:db8::1", 1 },
	{ "gss/krb5(anonuid=1)", "192.0.2.1", 1 },

	/* Precedence, whatever the order in the line. */
	{ "*(anonuid=6) @trusted(anonuid=5) *.org(anonuid=4) 192.0.2.0/24(anonuid=3) "
	  "192.0.2.1(anonuid=2)",
	  "192.0.2.1", 2 },
	{ "*(anonuid=6) @trusted(anonuid=5) *.org(anonuid=4) 192.0.2.0/24(anonuid=3) "
	  "client.example.org(anonuid=2)",
	  "192.0.2.1", 2 },
	{ "*(anonuid=6) @trusted(anonuid=5) *.org(anonuid=4) 192.0.2.0/24(anonuid=3)", "192.0.2.1",
	  3 },
	{ "*(anonuid=6) @trusted(anonuid=5) *.org(anonuid=4)", "192.0.2.1", 4 },
	{ "*(anonuid=6) @trusted(anonuid=5)", "192.0.2.1", 5 },
	{ "gss/krb5(anonuid=7) *(anonuid=6)", "192.0.2.1", 6 },
	/* Of one kind, the first in the line. */
	{ "192.0.0.0/16(anonuid=1) 192.0.2.0/24(anonuid=2)", "192.0.2.1", 1 },
	{ "192.0.2.0/24(anonuid=2) 192.0.0.0/16(anonuid=1)", "192.0.2.1", 2 },
	{ "short(anonuid=1) 192.0.2.1(anonuid=2)", "192.0.2.1", 1 },
	{ "*.org(anonuid=1) client.*(anonuid=2)", "192.0.2.1", 1 },
	{ "gss/krb5i(anonuid=1) gss/krb5(anonuid=2)", "192.0.2.1", 1 },
};

static void make_address(const char *text, struct sockaddr_storage *ss)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST }, *ai;

	assert_int_equal(__real_getaddrinfo(text, NULL, &hints, &ai), 0);
	memcpy(ss, ai->ai_addr, ai->ai_addrlen);
	freeaddrinfo(ai);
}

static unsigned match(const char *clients, const char *address)
{
	char line[512];
	struct exports *x = NULL;
	struct config_error err = { 0 };
	struct sockaddr_storage ss;
	const struct export_options *o;
	unsigned who;

	snprintf(line, sizeof(line), "/a %s", clients);
	if (exports_parse("exports", line, &x, &err) != 0)
		fail_msg("%s: %s", clients, err.message);
	make_address(address, &ss);
	o = export_match(exports_get(x, 0), (struct sockaddr *)&ss);
	who = o ? o->anon_uid : 0;
	exports_free(x);
	return who;
}

static void test_match(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned who = match(cases[i].clients, cases[i].address);

		if (who != cases[i].who)
			fail_msg("%s asks for %s: got %u, expected %u", cases[i].address,
				 cases[i].clients, who, cases[i].who);
	}
}

/* Addresses alone must not wait for a name server. */
static void test_no_needless_lookups(void **state)
{
	lookups = 0;
	assert_int_equal(match("192.0.2.1(anonuid=1) *.org(anonuid=2) @trusted(anonuid=3)",
			       "192.0.2.1"),
			 1);
	assert_int_equal(match("192.0.2.0/24(anonuid=1) *.org(anonuid=2)", "192.0.2.1"), 1);
	assert_int_equal(match("*(anonuid=1)", "192.0.2.1"), 1);
	assert_int_equal(lookups, 0);
	/* One reverse lookup and its confirmation, however many patterns there are. */
	assert_int_equal(match("a.*(anonuid=1) b.*(anonuid=2) @trusted(anonuid=3)", "192.0.2.1"),
			 3);
	assert_int_equal(lookups, 2);
}

static void test_other_families(void **state)
{
	struct sockaddr sa = { .sa_family = AF_UNIX };
	struct exports *x = NULL;
	struct config_error err;

	assert_int_equal(exports_parse("exports", "/a *", &x, &err), 0);
	assert_null(export_match(exports_get(x, 0), &sa));
	exports_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_no_needless_lookups),
		cmocka_unit_test(test_other_families),
	};

	return cmocka_run_group_tests_name("exports_match", tests, NULL, NULL);
}

/* exports(5) text: what it means, and the line, column and words of every error. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/exports.h"

static struct exports *parse(const char *text)
{
	struct exports *x = NULL;
	struct config_error err = { 0 };
	char why[600];

	if (exports_parse("exports", text, &x, &err) == 0)
		return x;
	config_error_format(&err, why, sizeof(why));
	fail_msg("%s\nin:\n%s", why, text);
	return NULL;
}

/* ---- what is accepted ---- */

/* One text with one export and one client; what they come out as. */
static const struct {
	const char *text;
	const char *path, *client, *options;
} good[] = {
	{ "/a *", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *()", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(rw,async,insecure,no_root_squash)", "/a", "*",
	  "rw,no_root_squash,no_all_squash,async,insecure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(rw,ro)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(async,sync,insecure,secure,crossmnt,nocrossmnt,nohide,hide,utf8,no_utf8)", "/a",
	  "*", "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(local_locks,no_local_locks)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,no_local_locks,anonuid=65534,"
	  "anongid=65534,sec=sys" },
	{ "/a *(no_local_locks,local_locks)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(delegations,no_delegations)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,no_delegations,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(no_delegations,delegations)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(crossmnt,nohide,utf8)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,crossmnt,nohide,utf8,anonuid=65534,"
	  "anongid=65534,sec=sys" },
	{ "/a *(all_squash,anonuid=150,anongid=100)", "/a", "*",
	  "ro,root_squash,all_squash,sync,secure,anonuid=150,anongid=100,sec=sys" },
	{ "/a *(no_root_squash,all_squash,no_all_squash)", "/a", "*",
	  "ro,no_root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a *(anonuid=-2,anongid=4294967294)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=4294967294,anongid=4294967294,"
	  "sec=sys" },
	{ "/a *(sec=krb5p:krb5i:krb5:sys:none)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,"
	  "sec=krb5p:krb5i:krb5:sys:none" },
	{ "/a *(sec=unix:null,sec=sys:krb5)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,"
	  "sec=sys:none:krb5" },
	{ "/a *(sec=krb5,rw,no_root_squash,sec=sys,ro,all_squash)", "/a", "*",
	  "sync,secure,anonuid=65534,anongid=65534,sec=krb5,rw,no_root_squash,no_all_squash,"
	  "sec=sys,ro,root_squash,all_squash" },
	{ "/a *(rw,sec=krb5,sec=sys,ro,secure)", "/a", "*",
	  "sync,secure,anonuid=65534,anongid=65534,sec=krb5,rw,root_squash,no_all_squash,"
	  "sec=sys,ro,root_squash,no_all_squash" },
	/* Nothing to do for us, but no error either. */
	{ "/a *(wdelay,no_wdelay,subtree_check,no_subtree_check,secure_locks,insecure_locks,"
	  "auth_nlm,no_auth_nlm,acl,no_acl,nordirplus,pnfs,no_pnfs,no_security_label,"
	  "xprtsec=none:tls:mtls)",
	  "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=sys" },
	/* Defaults lines, of which the last one adds to the ones before. */
	{ "/a -rw,async -insecure *(sync)", "/a", "*",
	  "rw,root_squash,no_all_squash,sync,insecure,anonuid=65534,anongid=65534,sec=sys" },
	{ "/a -sec=krb5,rw *(ro)", "/a", "*",
	  "ro,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=krb5" },
	{ "/a gss/krb5i(rw)", "/a", "gss/krb5i",
	  "rw,root_squash,no_all_squash,sync,secure,anonuid=65534,anongid=65534,sec=krb5i" },

	/* Paths. */
	{ "/ *", "/", "*", NULL },
	{ "//a///b/ *", "/a/b", "*", NULL },
	{ "\"/with space\" *", "/with space", "*", NULL },
	{ "/with\\040space\\011tab *", "/with space\ttab", "*", NULL },
	{ "/quo\\042te *", "/quo\"te", "*", NULL },
	{ "/par(en *", "/par(en", "*", NULL },
	{ "/a\\bc\\12 *", "/a\\bc\\12", "*", NULL },
	{ "/ha#sh *", "/ha#sh", "*", NULL },
	{ "/\"a b\"/c *", "/a b/c", "*", NULL },
	{ "/..a/b.. *", "/..a/b..", "*", NULL },

	/* Comments, blanks, continuation. */
	{ "# comment\n\n \t \n/a * # more\n#end", "/a", "*", NULL },
	{ "/a *(rw)#close", "/a", "*", NULL },
	{ "/a \\\n\t*", "/a", "*", NULL },
	{ "/a\\\n*", "/a", "*", NULL },
	{ "/a *\r\n", "/a", "*", NULL },
	{ "/a \\\r\n *\r\n", "/a", "*", NULL },
	{ "# no continuation \\\n/a *", "/a", "*", NULL },
	{ "   /a *", "/a", "*", NULL },

	/* Clients. */
	{ "/a 10.1.2.3", "/a", "10.1.2.3", NULL },
	{ "/a 10.1.2.3/24", "/a", "10.1.2.0/24", NULL },
	{ "/a 10.1.2.3/255.255.0.0", "/a", "10.1.0.0/16", NULL },
	{ "/a 0.0.0.0/0", "/a", "0.0.0.0/0", NULL },
	{ "/a 10.1.2.3/32", "/a", "10.1.2.3/32", NULL },
	{ "/a 10.1.2.3/0.0.0.0", "/a", "0.0.0.0/0", NULL },
	{ "/a 2001:DB8::1", "/a", "2001:db8::1", NULL },
	{ "/a 2001:db8:1:2:3::/61", "/a", "2001:db8:1::/61", NULL },
	{ "/a ::/0", "/a", "::/0", NULL },
	{ "/a ::ffff:10.1.2.3", "/a", "10.1.2.3", NULL },
	{ "/a Host-1.Example_x.ORG", "/a", "host-1.example_x.org", NULL },
	{ "/a *.Example.org", "/a", "*.example.org", NULL },
	{ "/a build[0-9]?.x", "/a", "build[0-9]?.x", NULL },
	{ "/a @Trusted", "/a", "@Trusted", NULL },
	{ "/a gss/krb5", "/a", "gss/krb5", NULL },
	{ "/a gss/krb5p", "/a", "gss/krb5p", NULL },
};

static void test_good(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct exports *x = parse(good[i].text);
		const struct export_options *o;
		char text[512];

		assert_int_equal(exports_count(x), 1);

		const struct export_entry *e = exports_get(x, 0);

		assert_string_equal(e->path, good[i].path);
		assert_string_equal(e->backend, "vfs");
		assert_string_equal(e->file, "exports");
		assert_int_equal(export_client_count(e), 1);
		assert_string_equal(export_client_get(e, 0, &o), good[i].client);
		export_options_format(o, text, sizeof(text));
		if (good[i].options)
			assert_string_equal(text, good[i].options);
		exports_free(x);
	}
}

static void test_example_of_the_manual(void **state)
{
	struct exports *x = parse("# sample /etc/exports file\n"
				  "/               master(rw) trusty(rw,no_root_squash)\n"
				  "/projects       proj*.local.domain(rw)\n"
				  "/usr            *.local.domain(ro) @trusted(rw)\n"
				  "/home/joe       pc001(rw,all_squash,anonuid=150,anongid=100)\n"
				  "/pub            *(ro,insecure,all_squash)\n"
				  "/srv/www        -sync,rw server @trusted @external(ro)\n"
				  "/foo            2001:db8:9:e54::/64(rw) 192.0.2.0/24(rw)\n"
				  "/build          buildhost[0-9].local.domain(rw)\n");
	static const unsigned clients[] = { 2, 1, 2, 1, 1, 3, 2, 1 };
	const struct export_options *o;

	assert_int_equal(exports_count(x), ARRAY_SIZE(clients));
	for (unsigned i = 0; i < ARRAY_SIZE(clients); i++) {
		assert_int_equal(export_client_count(exports_get(x, i)), clients[i]);
		assert_int_equal(exports_get(x, i)->line, i + 2);
	}
	assert_string_equal(export_client_get(exports_get(x, 5), 0, &o), "server");
	assert_false(o->read_only);
	assert_string_equal(export_client_get(exports_get(x, 5), 2, &o), "@external");
	assert_true(o->read_only);
	exports_free(x);
}

/* The defaults of one line do not reach the next. */
static void test_defaults_end_with_the_line(void **state)
{
	struct exports *x = parse("/a -rw,all_squash b(ro) c\n/d e\n");
	const struct export_options *o;

	export_client_get(exports_get(x, 0), 0, &o);
	assert_true(o->read_only);
	assert_int_equal(o->squash, SQUASH_ALL);
	export_client_get(exports_get(x, 0), 1, &o);
	assert_false(o->read_only);
	export_client_get(exports_get(x, 1), 0, &o);
	assert_true(o->read_only);
	assert_int_equal(o->squash, SQUASH_ROOT);
	exports_free(x);
}

static void test_flavors(void **state)
{
	struct exports *x = parse("/a *(sec=krb5,rw,sec=krb5p:sys,all_squash)\n"
				  "/b *(sec=krb5i,rw,no_root_squash)\n");
	const struct export_options *o;

	export_client_get(exports_get(x, 0), 0, &o);
	assert_int_equal(o->sec_flavors, SEC_KRB5 | SEC_KRB5P | SEC_SYS);
	assert_int_equal(o->sec_order[0], SEC_KRB5);
	assert_int_equal(o->sec_order[1], SEC_KRB5P);
	assert_int_equal(o->sec_order[2], SEC_SYS);
	assert_int_equal(o->sec_order[3], 0);
	assert_false(export_flavor(o, SEC_KRB5)->read_only);
	assert_int_equal(export_flavor(o, SEC_KRB5)->squash, SQUASH_ROOT);
	assert_true(export_flavor(o, SEC_KRB5P)->read_only);
	assert_int_equal(export_flavor(o, SEC_KRB5P)->squash, SQUASH_ALL);
	/* The plain fields are those of sys... */
	assert_true(o->read_only);
	assert_int_equal(o->squash, SQUASH_ALL);
	/* ...or of the first flavor, if sys is not in use. */
	export_client_get(exports_get(x, 1), 0, &o);
	assert_int_equal(o->sec_flavors, SEC_KRB5I);
	assert_false(o->read_only);
	assert_int_equal(o->squash, SQUASH_NONE);
	exports_free(x);
}

static void test_lines_of_one_path_add_up(void **state)
{
	struct exports *x = parse("/a b(ro)\n/c *\n/a/ d(rw) e(backend=memory,fsid=5,mp=/x)\n");
	const struct export_entry *e = exports_get(x, 0);

	assert_int_equal(exports_count(x), 2);
	assert_int_equal(export_client_count(e), 3);
	assert_int_equal(e->line, 1);
	assert_string_equal(e->backend, "memory");
	assert_int_equal(e->fsid.kind, FSID_NUMBER);
	assert_int_equal(e->fsid.number, 5);
	assert_string_equal(e->mountpoint, "/x");
	exports_free(x);
}

static const struct {
	const char *option;
	int kind;
	const char *text;
} fsids[] = {
	{ "ro", FSID_NONE, "" },
	{ "fsid=0", FSID_ROOT, "root" },
	{ "fsid=root", FSID_ROOT, "root" },
	{ "fsid=0x10", FSID_NUMBER, "16" },
	{ "fsid=4294967295", FSID_NUMBER, "4294967295" },
	{ "fsid=1,fsid=2", FSID_NUMBER, "2" },
	{ "fsid=01234567-89ab-CDEF-0123-456789abcdef", FSID_UUID,
	  "01234567-89ab-cdef-0123-456789abcdef" },
	{ "fsid=0123456789abcdef:0123456789abcdef", FSID_UUID,
	  "01234567-89ab-cdef-0123-456789abcdef" },
	/* Both forms: the UUID is for kernels that know it, unless this is the root. */
	{ "fsid=7,fsid=0123456789abcdef0123456789abcdef", FSID_UUID,
	  "01234567-89ab-cdef-0123-456789abcdef" },
	{ "fsid=0123456789abcdef0123456789abcdef,fsid=7", FSID_UUID,
	  "01234567-89ab-cdef-0123-456789abcdef" },
	{ "fsid=0123456789abcdef0123456789abcdef,fsid=0", FSID_ROOT, "root" },
};

static void test_fsid(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(fsids); i++) {
		char line[128], text[40];
		struct exports *x;

		snprintf(line, sizeof(line), "/a *(%s)", fsids[i].option);
		x = parse(line);
		assert_int_equal(exports_get(x, 0)->fsid.kind, fsids[i].kind);
		export_fsid_format(&exports_get(x, 0)->fsid, text, sizeof(text));
		assert_string_equal(text, fsids[i].text);
		exports_free(x);
	}
}

static void test_mountpoint(void **state)
{
	struct exports *x = parse("/proc *(mp)\n/usr/bin *(mountpoint)\n/tmp *(mountpoint=/proc)\n"
				  "/dev *(mp=/no/such/place)\n/ *\n");

	assert_string_equal(exports_get(x, 0)->mountpoint, "/proc");
	assert_true(export_is_mounted(exports_get(x, 0)));
	assert_string_equal(exports_get(x, 1)->mountpoint, "/usr/bin");
	assert_false(export_is_mounted(exports_get(x, 1)));
	assert_true(export_is_mounted(exports_get(x, 2)));
	assert_false(export_is_mounted(exports_get(x, 3)));
	assert_true(export_is_mounted(exports_get(x, 4)));
	exports_drop_unmounted(x);
	assert_int_equal(exports_count(x), 3);
	assert_string_equal(exports_get(x, 1)->path, "/tmp");
	assert_string_equal(exports_get(x, 2)->path, "/");
	exports_free(x);
}

static void test_empty(void **state)
{
	static const char *const texts[] = { "", "\n\n", "# only this", "  \\\n  " };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct exports *x = parse(texts[i]);

		assert_int_equal(exports_count(x), 0);
		exports_free(x);
	}
}

/* ---- what is refused ---- */

static const struct {
	const char *text;
	unsigned line, column;
	const char *found; /* somewhere in the message */
} bad[] = {
	/* Lines. */
	{ "/a", 1, 3, "found no client for /a" },
	{ "\n/a # *\n", 2, 7, "found no client" },
	{ "/a -rw\n", 1, 7, "found no client" },
	{ "a *", 1, 1, "absolute path" },
	{ "# x\n  ./a *", 2, 3, "absolute path" },
	{ "\"\" *", 1, 1, "absolute path" },
	{ "/a/../b *", 1, 1, "without . and .." },
	{ "/. *", 1, 1, "without . and .." },
	{ "/a (rw)", 1, 4, "`(' without a client" },
	{ "/a b (rw)", 1, 6, "`(' without a client" },
	{ "/a )", 1, 4, "found `)'" },
	{ "/a b)", 1, 5, "found `)' behind a client" },
	{ "/a b(rw)c", 1, 9, "found `c' behind `)'" },
	{ "/a b(rw)(ro)", 1, 9, "found `(' behind `)'" },
	{ "/a \\\n  b \\\n (rw)", 3, 2, "`(' without a client" },

	/* Words. */
	{ "\"/a *\n", 1, 1, "quote that is not closed" },
	{ "/a\"b \\\nc\" *", 1, 3, "quote that is not closed" },
	{ "/a\\000 *", 1, 3, "\\000" },
	{ "/a \"b", 1, 4, "quote that is not closed" },
	{ "/a\\777 *", 1, 3, "\\777" },

	/* Option lists. */
	{ "/a b(rw", 1, 5, "not closed" },
	{ "/a b(rw\n)", 1, 5, "not closed" },
	{ "/a b(rw, ro)", 1, 9, "found a blank" },
	{ "/a b(rw ,ro)", 1, 8, "found a blank" },
	{ "/a b(rw(", 1, 8, "found `('" },
	{ "/a b(rw,,ro)", 1, 9, "found `,'" },
	{ "/a b(rw,)", 1, 9, "after a comma" },
	{ "/a b(,rw)", 1, 6, "found `,'" },
	{ "/a b((", 1, 6, "found `('" },
	{ "/a b(", 1, 6, "the line's end" },
	{ "/a - b", 1, 5, "found a blank" },
	{ "/a -rw, b", 1, 8, "found a blank" },
	{ "/a -rw,bad b", 1, 8, "found `bad'" },
	{ "/a b(writable)", 1, 6, "found `writable'" },
	{ "/a b(rw,RO)", 1, 9, "found `RO'" },
	{ "/a b(ro=1)", 1, 8, "expected no value" },
	{ "/a b(rw,fsid)", 1, 9, "option fsid: found no value" },
	{ "/a b(anonuid)", 1, 6, "option anonuid: found no value" },

	/* Values. */
	{ "/a b(anonuid=)", 1, 14, "expected a user id" },
	{ "/a b(anonuid=joe)", 1, 14, "found `joe'; expected a user id" },
	{ "/a b(anonuid=1x)", 1, 14, "expected a user id" },
	{ "/a b(anonuid=-1)", 1, 14, "expected a user id" },
	{ "/a b(anongid=4294967295)", 1, 14, "expected a group id" },
	{ "/a b(anongid=99999999999999999999)", 1, 14, "expected a group id" },
	{ "/a b(fsid=x)", 1, 11, "found `x'" },
	{ "/a b(fsid=-1)", 1, 11, "found `-1'" },
	{ "/a b(fsid=4294967296)", 1, 11, "UUID" },
	{ "/a b(fsid=0123456789abcdef0123456789abcde)", 1, 11, "UUID" },
	{ "/a b(fsid=0123456789abcdef0123456789abcdef0)", 1, 11, "UUID" },
	{ "/a b(fsid=0123456789abcdef0123456789abcdeg)", 1, 11, "UUID" },
	{ "/a b(sec=)", 1, 10, "expected sys, krb5" },
	{ "/a b(sec=krb)", 1, 10, "found `krb'" },
	{ "/a b(sec=krb5:krb6)", 1, 15, "found `krb6'" },
	{ "/a b(sec=sys:)", 1, 14, "expected sys" },
	{ "/a b(backend=)", 1, 14, "name of a backend" },
	{ "/a b(backend=V/f)", 1, 14, "name of a backend" },
	{ "/a b(mp=rel)", 1, 9, "absolute path" },
	{ "/a b(xprtsec=tls)", 1, 14, "TLS" },
	{ "/a b(xprtsec=none:x)", 1, 14, "none, tls or mtls" },
	{ "/a b(refer=/x@h)", 1, 6, "option refer is known from exports(5) but not supported" },
	{ "/a b(rw,replicas=/x@h)", 1, 9, "option replicas is known" },
	{ "/a b(security_label)", 1, 6, "option security_label is known" },

	/* Clients. */
	{ "/a 10.1.2.256", 1, 4, "four numbers" },
	{ "/a 10.1.2", 1, 4, "four numbers" },
	{ "/a b 10.1.2.3/33(rw)", 1, 6, "prefix length from 0 to 32" },
	{ "/a 10.1.2.3/", 1, 4, "prefix length" },
	{ "/a 10.1.2.3/-1", 1, 4, "prefix length" },
	{ "/a 10.1.2.3/255.0.255.0", 1, 4, "prefix length" },
	{ "/a ::1/129", 1, 4, "from 0 to 128" },
	{ "/a ::1/255.0.0.0", 1, 4, "from 0 to 128" },
	{ "/a host/24", 1, 4, "found `host' before the slash" },
	{ "/a /24", 1, 4, "before the slash" },
	{ "/a ::1::", 1, 4, "IPv6 address" },
	{ "/a [::1]", 1, 4, "without brackets" },
	{ "/a [2001:db8::1](rw)", 1, 4, "without brackets" },
	{ "/a h[0-9", 1, 4, "expected `]'" },
	{ "/a @", 1, 4, "name of a netgroup" },
	{ "/a gss/krb4", 1, 4, "gss/krb5" },
	{ "/a h!x", 1, 4, "found `!'" },
	{ "/a .x", 1, 4, "host name" },
	{ "/a a..b", 1, 4, "host name" },
	{ "/a \"\"", 1, 4, "expected a client" },

	/* What contradicts something else. */
	{ "/a b c b", 1, 8, "found client `b' a second time" },
	{ "/a b\n/a/ B(rw)", 2, 5, "a second time for /a" },
	{ "/a 10.1.2.0/24 10.1.2.9/255.255.255.0", 1, 16, "a second time" },
	{ "/a ::1 0::1", 1, 8, "a second time" },
	{ "/a *\n/a *", 2, 4, "a second time" },
	{ "/a b(fsid=1) c(fsid=2)", 1, 14, "all clients of one path must agree" },
	{ "/a b(backend=vfs) c(backend=memory)", 1, 19, "all clients of one path must agree" },
	{ "/a b(mp) c(mp=/x)", 1, 10, "all clients of one path must agree" },
	{ "/a b(fsid=3)\n/c d(fsid=3)", 2, 4, "that of /a (exports:1)" },
	{ "/a b(fsid=0)\n/c d(fsid=root)", 2, 4, "that of /a" },
};

static void test_bad(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct exports *x = NULL;
		struct config_error err = { 0 };
		int rc = exports_parse("exports", bad[i].text, &x, &err);

		if (rc != -EINVAL || x)
			fail_msg("accepted: %s", bad[i].text);
		if (err.line != bad[i].line || err.column != bad[i].column ||
		    !strstr(err.message, bad[i].found) || strcmp(err.file, "exports") != 0)
			fail_msg("%s\n%s:%u:%u: %s\nexpected %u:%u: %s", bad[i].text, err.file,
				 err.line, err.column, err.message, bad[i].line, bad[i].column,
				 bad[i].found);
	}
}

static void test_long_word(void **state)
{
	size_t len = 5000;
	char *text = malloc(len + 10);
	struct exports *x = NULL;
	struct config_error err;

	memset(text, 'a', len);
	text[0] = '/';
	strcpy(text + len, " *");
	assert_int_equal(exports_parse("exports", text, &x, &err), -EINVAL);
	assert_int_equal(err.column, 1);
	assert_non_null(strstr(err.message, "4095 bytes"));
	free(text);
}

/* ---- files ---- */

static char dir[] = "/tmp/atoll-exports-XXXXXX";

static void write_file(const char *name, const void *text, size_t len)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
}

static int make_dir(void **state)
{
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	static const char *const names[] = { "b.exports",   "a.exports", ".hidden.exports",
					     "exports.txt", "main",	 "sub.exports" };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (unlink(path) != 0)
			rmdir(path);
	}
	return rmdir(dir);
}

static void test_files(void **state)
{
	char main_path[128], big[3 << 12];
	const char *paths[] = { main_path, dir };
	struct exports *x = NULL;
	struct config_error err;

	snprintf(main_path, sizeof(main_path), "%s/main", dir);
	/* Larger than one read. */
	memset(big, '#', sizeof(big));
	memcpy(big + sizeof(big) - 6, "\n/m *\n", 6);
	write_file("main", big, sizeof(big));
	write_file("b.exports", "/b *\n", 5);
	write_file("a.exports", "/a *", 4);
	write_file(".hidden.exports", "bad", 3);
	write_file("exports.txt", "bad", 3);
	assert_int_equal(exports_load(paths, 2, &x, &err), 0);
	assert_int_equal(exports_count(x), 3);
	assert_string_equal(exports_get(x, 0)->path, "/m");
	assert_string_equal(exports_get(x, 1)->path, "/a");
	assert_string_equal(exports_get(x, 2)->path, "/b");
	assert_int_equal(exports_get(x, 0)->line, 2);
	exports_free(x);
}

static void test_file_errors(void **state)
{
	char path[128];
	const char *paths[] = { path };
	const char *dirs[] = { dir };
	struct exports *x = NULL;
	struct config_error err;

	snprintf(path, sizeof(path), "%s/missing", dir);
	assert_int_equal(exports_load(paths, 1, &x, &err), -ENOENT);
	assert_string_equal(err.file, path);
	assert_int_equal(err.line, 0);
	assert_non_null(strstr(err.message, "No such file"));

	write_file("b.exports", "/a *\n/b \0*\n", 11);
	assert_int_equal(exports_load(dirs, 1, &x, &err), -EINVAL);
	assert_non_null(strstr(err.file, "/b.exports"));
	assert_int_equal(err.line, 2);
	assert_non_null(strstr(err.message, "NUL"));
	write_file("b.exports", "/b *\n", 5);

	snprintf(path, sizeof(path), "%s/sub.exports", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(exports_load(dirs, 1, &x, &err), -EISDIR);
	assert_string_equal(err.file, path);
	assert_int_equal(rmdir(path), 0);

	/* An error in a file of the directory names that file. */
	write_file("b.exports", "/b *\n/b *\n", 10);
	assert_int_equal(exports_load(dirs, 1, &x, &err), -EINVAL);
	assert_non_null(strstr(err.file, "/b.exports"));
	assert_int_equal(err.line, 2);
	assert_null(x);
}

static void test_load_with_defaults(void **state)
{
	struct exports_defaults defaults = { .utf8_names = true };
	char path[128];
	const char *paths[] = { path };
	const struct export_options *o;
	struct exports *x = NULL;
	struct config_error err;

	snprintf(path, sizeof(path), "%s/main", dir);
	write_file("main", "/a b c(no_utf8)", 15);
	assert_int_equal(exports_load_with(&defaults, paths, 1, &x, &err), 0);
	export_client_get(exports_get(x, 0), 0, &o);
	assert_true(o->utf8_names);
	export_client_get(exports_get(x, 0), 1, &o);
	assert_false(o->utf8_names);
	exports_free(x);
}

/* ---- sets made by code ---- */

static void test_add(void **state)
{
	struct exports *x = exports_new();
	const struct export_options *o;
	struct config_error err;

	assert_int_equal(exports_add(x, "/with space/", "10.0.0.0/8", "rw,fsid=0", &err), 0);
	assert_int_equal(exports_add(x, "/with space", "*", "", &err), 0);
	assert_int_equal(exports_count(x), 1);
	assert_string_equal(exports_get(x, 0)->path, "/with space");
	assert_string_equal(exports_get(x, 0)->backend, "vfs");
	assert_int_equal(exports_get(x, 0)->fsid.kind, FSID_ROOT);
	assert_string_equal(export_client_get(exports_get(x, 0), 0, &o), "10.0.0.0/8");
	assert_false(o->read_only);

	/* Refusals leave nothing behind. */
	assert_int_equal(exports_add(x, "/b", "10.0.0.0/99", "rw", &err), -EINVAL);
	assert_string_equal(err.file, "");
	assert_non_null(strstr(err.message, "prefix length"));
	assert_int_equal(exports_add(x, "/b", "*", "rw,nonsense", &err), -EINVAL);
	assert_int_equal(exports_add(x, "/b", "*", "rw ro", &err), -EINVAL);
	assert_int_equal(exports_add(x, "b", "*", "rw", &err), -EINVAL);
	assert_int_equal(exports_add(x, "/with space", "*", "rw", &err), -EINVAL);
	assert_int_equal(exports_count(x), 1);
	assert_int_equal(export_client_count(exports_get(x, 0)), 2);
	exports_free(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_example_of_the_manual),
		cmocka_unit_test(test_defaults_end_with_the_line),
		cmocka_unit_test(test_flavors),
		cmocka_unit_test(test_lines_of_one_path_add_up),
		cmocka_unit_test(test_fsid),
		cmocka_unit_test(test_mountpoint),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long_word),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_file_errors),
		cmocka_unit_test(test_load_with_defaults),
		cmocka_unit_test(test_add),
	};

	return cmocka_run_group_tests_name("exports_parse", tests, make_dir, remove_dir);
}

/*
 * Export options: one row per option says its name, whether it takes a value, and what it does
 * to the set. Options that have no meaning in a userspace NFSv4 server but stand in existing
 * files are rows that do nothing; options that would promise what Atoll does not do are rows
 * that are refused.
 *
 * Flavors: options behind a sec= are about its flavors alone, if they are among those that may
 * vary (ro, rw and the squashing ones); in front of any sec= of the same list they are about all.
 */
#include "config/exports_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One option as it is being read. */
struct option {
	struct option_set *set;
	uint32_t active; /* flavors of the last sec= in this list; 0: none yet */
	const char *name;
	const char *value; /* NULL: none */
	/* Places, for messages. */
	const struct lexer *lx;
	unsigned line, column, value_column;
};

enum option_value { NO_VALUE, NEEDS_VALUE, MAY_HAVE_VALUE };

struct option_row {
	const char *name;
	enum option_value value;
	int (*set)(struct option *opt, int arg);
	int arg;
};

static int bad_value(const struct option *opt, const char *expected)
{
	return config_error_set(opt->lx->err, -EINVAL, opt->lx->file, opt->line, opt->value_column,
				"option %s: found `%s'; expected %s", opt->name, opt->value,
				expected);
}

/* ---- options that may vary between flavors ---- */

enum varying { VARY_READ_ONLY, VARY_ROOT_SQUASH, VARY_ALL_SQUASH };

static int set_varying(struct option *opt, enum varying what, bool on)
{
	struct option_set *s = opt->set;
	uint32_t flavors = opt->active ? opt->active : (1u << EXPORT_NSEC) - 1;

	for (unsigned i = 0; i < EXPORT_NSEC; i++) {
		if (!(flavors & (1u << i)))
			continue;
		if (what == VARY_READ_ONLY)
			s->flavor[i].read_only = on;
		else if (what == VARY_ROOT_SQUASH)
			s->flavor[i].root_squash = on;
		else
			s->flavor[i].all_squash = on;
	}
	return 0;
}

static int set_read_only(struct option *opt, int on)
{
	return set_varying(opt, VARY_READ_ONLY, on);
}

static int set_root_squash(struct option *opt, int on)
{
	return set_varying(opt, VARY_ROOT_SQUASH, on);
}

static int set_all_squash(struct option *opt, int on)
{
	return set_varying(opt, VARY_ALL_SQUASH, on);
}

/* ---- plain flags ---- */

static int set_secure(struct option *opt, int on)
{
	opt->set->o.secure = on;
	return 0;
}

static int set_async(struct option *opt, int on)
{
	opt->set->o.async = on;
	return 0;
}

static int set_crossmnt(struct option *opt, int on)
{
	opt->set->o.crossmnt = on;
	return 0;
}

static int set_nohide(struct option *opt, int on)
{
	opt->set->o.nohide = on;
	return 0;
}

static int set_exactly_once(struct option *opt, int on)
{
	opt->set->o.exactly_once = on;
	return 0;
}

static int set_no_delegations(struct option *opt, int on)
{
	opt->set->o.no_delegations = on;
	return 0;
}

static int set_utf8(struct option *opt, int on)
{
	opt->set->o.utf8_names = on;
	return 0;
}

static int set_local_locks(struct option *opt, int on)
{
	opt->set->o.local_locks = on;
	return 0;
}

static int set_nothing(struct option *opt, int arg)
{
	return 0;
}

static int set_unsupported(struct option *opt, int arg)
{
	return config_error_set(opt->lx->err, -EINVAL, opt->lx->file, opt->line, opt->column,
				"option %s is known from exports(5) but not supported by this "
				"version of Atoll; remove it",
				opt->name);
}

/* ---- values ---- */

/*
 * A user or group id. -1 means "no id" to the kernel and is refused; other negative numbers are
 * what old files write for ids at the upper end (-2).
 */
static int set_anon_id(struct option *opt, int is_group)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(opt->value, &end, 10);
	if (!*opt->value || *end || errno || isspace((unsigned char)*opt->value) || n == -1 ||
	    n < INT32_MIN || n >= UINT32_MAX)
		return bad_value(opt, is_group ? "a group id from 0 to 4294967294"
					       : "a user id from 0 to 4294967294");
	if (is_group)
		opt->set->o.anon_gid = (gid_t)n;
	else
		opt->set->o.anon_uid = (uid_t)n;
	return 0;
}

/* 32 hexadecimal digits with any punctuation between them. */
static bool parse_uuid(const char *text, uint8_t uuid[16])
{
	unsigned digits = 0;

	for (const char *p = text; *p; p++) {
		unsigned char c = (unsigned char)*p;

		if (isxdigit(c)) {
			int v = isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;

			if (digits == 32)
				return false;
			if (digits % 2)
				uuid[digits / 2] = (uint8_t)(uuid[digits / 2] | v);
			else
				uuid[digits / 2] = (uint8_t)(v << 4);
			digits++;
		} else if (isalnum(c) || isspace(c)) {
			return false;
		}
	}
	return digits == 32;
}

static int set_fsid(struct option *opt, int arg)
{
	struct option_set *s = opt->set;
	uint8_t uuid[16];
	char *end;
	unsigned long long n;

	if (parse_uuid(opt->value, uuid)) {
		memcpy(s->fsid_uuid, uuid, sizeof(uuid));
		s->has_fsid_uuid = true;
		return 0;
	}
	if (strcmp(opt->value, "root") == 0) {
		s->has_fsid_number = true;
		s->fsid_number = 0;
		return 0;
	}
	errno = 0;
	n = strtoull(opt->value, &end, 0);
	if (!isdigit((unsigned char)*opt->value) || *end || errno || n > UINT32_MAX)
		return bad_value(opt, "`root', a number from 0 to 4294967295, or a UUID of 32 "
				      "hexadecimal digits");
	s->has_fsid_number = true;
	s->fsid_number = (uint32_t)n;
	return 0;
}

static int set_backend(struct option *opt, int arg)
{
	const char *v = opt->value;
	char *copy;

	if (!*v || v[strspn(v, "abcdefghijklmnopqrstuvwxyz0123456789_-")])
		return bad_value(opt, "the name of a backend, such as vfs or memory");
	copy = strdup(v);
	if (!copy)
		return config_error_nomem(opt->lx->err);
	free(opt->set->backend);
	opt->set->backend = copy;
	return 0;
}

static int set_mountpoint(struct option *opt, int arg)
{
	char *copy;

	if (opt->value && opt->value[0] != '/')
		return bad_value(opt, "an absolute path");
	copy = strdup(opt->value ? opt->value : "");
	if (!copy)
		return config_error_nomem(opt->lx->err);
	free(opt->set->mountpoint);
	opt->set->mountpoint = copy;
	return 0;
}

static const struct {
	const char *name;
	enum export_sec sec;
} flavors[] = {
	{ "sys", SEC_SYS },	{ "unix", SEC_SYS },  { "krb5", SEC_KRB5 }, { "krb5i", SEC_KRB5I },
	{ "krb5p", SEC_KRB5P }, { "none", SEC_NONE }, { "null", SEC_NONE },
};

static enum export_sec flavor_by_name(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(flavors); i++)
		if (strlen(flavors[i].name) == len && memcmp(flavors[i].name, name, len) == 0)
			return flavors[i].sec;
	return 0;
}

static void add_flavor(struct export_options *o, enum export_sec sec)
{
	unsigned i = 0;

	if (o->sec_flavors & sec)
		return;
	while (o->sec_order[i])
		i++;
	o->sec_order[i] = (uint8_t)sec;
	o->sec_flavors |= sec;
}

/* A colon-separated list; several sec= add up, as exportfs has it. */
static int set_sec(struct option *opt, int arg)
{
	const char *p = opt->value;

	opt->active = 0;
	for (;;) {
		size_t len = strcspn(p, ":");
		enum export_sec sec = flavor_by_name(p, len);

		if (!sec)
			return config_error_set(opt->lx->err, -EINVAL, opt->lx->file, opt->line,
						opt->value_column + (unsigned)(p - opt->value),
						"option sec: found `%.*s'; expected sys, krb5, "
						"krb5i, krb5p or none, separated by colons",
						(int)len, p);
		add_flavor(&opt->set->o, sec);
		opt->active |= sec;
		if (!p[len])
			return 0;
		p += len + 1;
	}
}

/* Transport security: only a list that also allows plain TCP can be kept for now. */
static int set_xprtsec(struct option *opt, int arg)
{
	bool plain = false;

	for (const char *p = opt->value;;) {
		size_t len = strcspn(p, ":");

		if (len == 4 && memcmp(p, "none", 4) == 0)
			plain = true;
		else if (!(len == 3 && memcmp(p, "tls", 3) == 0) &&
			 !(len == 4 && memcmp(p, "mtls", 4) == 0))
			return bad_value(opt, "none, tls or mtls, separated by colons");
		if (!p[len])
			break;
		p += len + 1;
	}
	if (!plain)
		return bad_value(opt, "a list with `none' in it: this version of Atoll does not "
				      "speak TLS");
	return 0;
}

/* Sorted by what they are about; the order has no meaning. */
static const struct option_row rows[] = {
	{ "ro", NO_VALUE, set_read_only, true },
	{ "rw", NO_VALUE, set_read_only, false },
	{ "root_squash", NO_VALUE, set_root_squash, true },
	{ "no_root_squash", NO_VALUE, set_root_squash, false },
	{ "all_squash", NO_VALUE, set_all_squash, true },
	{ "no_all_squash", NO_VALUE, set_all_squash, false },
	{ "anonuid", NEEDS_VALUE, set_anon_id, false },
	{ "anongid", NEEDS_VALUE, set_anon_id, true },
	{ "sec", NEEDS_VALUE, set_sec, 0 },
	{ "secure", NO_VALUE, set_secure, true },
	{ "insecure", NO_VALUE, set_secure, false },
	{ "async", NO_VALUE, set_async, true },
	{ "sync", NO_VALUE, set_async, false },
	{ "crossmnt", NO_VALUE, set_crossmnt, true },
	{ "nocrossmnt", NO_VALUE, set_crossmnt, false },
	{ "nohide", NO_VALUE, set_nohide, true },
	{ "hide", NO_VALUE, set_nohide, false },
	{ "fsid", NEEDS_VALUE, set_fsid, 0 },
	{ "mountpoint", MAY_HAVE_VALUE, set_mountpoint, 0 },
	{ "mp", MAY_HAVE_VALUE, set_mountpoint, 0 },
	{ "xprtsec", NEEDS_VALUE, set_xprtsec, 0 },

	/* Atoll's own. */
	{ "backend", NEEDS_VALUE, set_backend, 0 },
	{ "delegations", NO_VALUE, set_no_delegations, false },
	{ "no_delegations", NO_VALUE, set_no_delegations, true },
	{ "exactly_once", NO_VALUE, set_exactly_once, true },
	{ "no_exactly_once", NO_VALUE, set_exactly_once, false },
	{ "utf8", NO_VALUE, set_utf8, true },
	{ "no_utf8", NO_VALUE, set_utf8, false },
	{ "local_locks", NO_VALUE, set_local_locks, true },
	{ "no_local_locks", NO_VALUE, set_local_locks, false },

	/* Without effect here: how knfsd gathers writes, what NFSv3 and NLM do. */
	{ "wdelay", NO_VALUE, set_nothing, 0 },
	{ "no_wdelay", NO_VALUE, set_nothing, 0 },
	{ "subtree_check", NO_VALUE, set_nothing, 0 },
	{ "no_subtree_check", NO_VALUE, set_nothing, 0 },
	{ "secure_locks", NO_VALUE, set_nothing, 0 },
	{ "insecure_locks", NO_VALUE, set_nothing, 0 },
	{ "auth_nlm", NO_VALUE, set_nothing, 0 },
	{ "no_auth_nlm", NO_VALUE, set_nothing, 0 },
	{ "acl", NO_VALUE, set_nothing, 0 },
	{ "no_acl", NO_VALUE, set_nothing, 0 },
	{ "nordirplus", NO_VALUE, set_nothing, 0 },
	{ "no_pnfs", NO_VALUE, set_nothing, 0 },
	{ "no_security_label", NO_VALUE, set_nothing, 0 },
	/* pNFS is the server's to offer: a client without layouts loses nothing but speed. */
	{ "pnfs", NO_VALUE, set_nothing, 0 },

	/* Would promise what is not there. */
	{ "security_label", NO_VALUE, set_unsupported, 0 },
	{ "refer", MAY_HAVE_VALUE, set_unsupported, 0 },
	{ "replicas", MAY_HAVE_VALUE, set_unsupported, 0 },
};

/* ---- lists ---- */

void options_init(struct option_set *set, const struct exports_defaults *defaults)
{
	*set = (struct option_set){
		.o = { .secure = true, .local_locks = true, .anon_uid = 65534, .anon_gid = 65534 },
	};
	if (defaults)
		set->o.utf8_names = defaults->utf8_names;
	for (unsigned i = 0; i < EXPORT_NSEC; i++) {
		set->flavor[i].read_only = true;
		set->flavor[i].root_squash = true;
	}
}

int options_copy(struct option_set *to, const struct option_set *from)
{
	*to = *from;
	to->backend = from->backend ? strdup(from->backend) : NULL;
	to->mountpoint = from->mountpoint ? strdup(from->mountpoint) : NULL;
	if ((from->backend && !to->backend) || (from->mountpoint && !to->mountpoint)) {
		options_release(to);
		return -ENOMEM;
	}
	return 0;
}

void options_release(struct option_set *set)
{
	free(set->backend);
	free(set->mountpoint);
	set->backend = set->mountpoint = NULL;
}

void options_finish(struct option_set *set)
{
	struct export_options *o = &set->o;
	enum export_sec first;

	if (!o->sec_flavors)
		add_flavor(o, SEC_SYS);
	for (unsigned i = 0; i < EXPORT_NSEC; i++) {
		o->by_flavor[i].read_only = set->flavor[i].read_only;
		o->by_flavor[i].squash = set->flavor[i].all_squash    ? SQUASH_ALL
					 : set->flavor[i].root_squash ? SQUASH_ROOT
								      : SQUASH_NONE;
	}
	first = o->sec_flavors & SEC_SYS ? SEC_SYS : (enum export_sec)o->sec_order[0];
	o->read_only = export_flavor(o, first)->read_only;
	o->squash = export_flavor(o, first)->squash;
}

/* Applies one word of a list; `w` is split at its first '='. */
static int apply_word(const struct lexer *lx, struct word *w, struct option_set *set,
		      uint32_t *active)
{
	char *eq = strchr(w->text, '=');
	struct option opt = {
		.set = set,
		.active = *active,
		.name = w->text,
		.value = eq ? eq + 1 : NULL,
		.lx = lx,
		.line = w->line,
		.column = w->column,
		.value_column = w->column + (eq ? (unsigned)(eq + 1 - w->text) : 0),
	};
	const struct option_row *row = NULL;
	int err;

	if (eq)
		*eq = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(rows) && !row; i++)
		if (strcmp(rows[i].name, opt.name) == 0)
			row = &rows[i];
	if (!row)
		return config_error_set(lx->err, -EINVAL, lx->file, w->line, w->column,
					"found `%s'; expected an export option (see exports(5)), "
					"and this is none that Atoll knows",
					opt.name);
	if (row->value == NO_VALUE && opt.value)
		return config_error_set(lx->err, -EINVAL, lx->file, w->line, opt.value_column - 1,
					"option %s: found `=%s'; expected no value", opt.name,
					opt.value);
	if (row->value == NEEDS_VALUE && !opt.value)
		return config_error_set(lx->err, -EINVAL, lx->file, w->line, w->column,
					"option %s: found no value; expected %s=...", opt.name,
					opt.name);
	err = row->set(&opt, row->arg);
	*active = opt.active;
	return err;
}

int options_parse(struct lexer *lx, bool parenthesized, struct option_set *set)
{
	uint32_t active = 0;
	struct word w;
	int err;

	if (parenthesized && lex_peek(lx) == ')')
		return 0; /* host() is all defaults */
	for (;;) {
		err = lex_word(lx, parenthesized ? ",()" : ",", &w);
		if (err)
			return err;
		if (!w.len)
			return config_error_set(lx->err, -EINVAL, lx->file, w.line, w.column,
						"found %s; expected an export option",
						lex_peek(lx) == ','	     ? "`,'"
						: lex_peek(lx) == ')'	     ? "`)' after a comma"
						: lex_peek(lx) == '('	     ? "`('"
						: lex_is_blank(lex_peek(lx)) ? "a blank"
									     : "the line's end");
		err = apply_word(lx, &w, set, &active);
		if (err)
			return err;
		if (lex_peek(lx) != ',')
			return 0;
		lex_advance(lx);
	}
}

/* ---- text ---- */

/* The options that may vary, for one flavor. */
static const char *varying_text(const struct export_flavor *f)
{
	static const char *const text[2][3] = {
		{ [SQUASH_ROOT] = "rw,root_squash,no_all_squash",
		  [SQUASH_NONE] = "rw,no_root_squash,no_all_squash",
		  [SQUASH_ALL] = "rw,root_squash,all_squash" },
		{ [SQUASH_ROOT] = "ro,root_squash,no_all_squash",
		  [SQUASH_NONE] = "ro,no_root_squash,no_all_squash",
		  [SQUASH_ALL] = "ro,root_squash,all_squash" },
	};

	return text[f->read_only][f->squash];
}

static const char *flavor_name(uint8_t sec)
{
	for (size_t i = 0; i < ARRAY_SIZE(flavors); i++)
		if (flavors[i].sec == sec)
			return flavors[i].name;
	return "?";
}

void export_options_format(const struct export_options *o, char *buf, size_t size)
{
	bool uniform = true;
	FILE *f;

	if (!size)
		return;
	buf[0] = '\0';
	f = fmemopen(buf, size, "w");
	if (!f)
		return;
	for (unsigned i = 0; i < EXPORT_NSEC && o->sec_order[i]; i++)
		uniform = uniform && varying_text(export_flavor(o, o->sec_order[i])) ==
					 varying_text(export_flavor(o, o->sec_order[0]));
	if (uniform)
		fprintf(f, "%s,", varying_text(export_flavor(o, o->sec_order[0])));
	fprintf(f, "%s,%s,%s%s%s%s%s%sanonuid=%u,anongid=%u", o->async ? "async" : "sync",
		o->secure ? "secure" : "insecure", o->crossmnt ? "crossmnt," : "",
		o->nohide ? "nohide," : "", o->utf8_names ? "utf8," : "",
		o->no_delegations ? "no_delegations," : "", o->local_locks ? "" : "no_local_locks,", o->exactly_once ? "exactly_once," : "",
		o->anon_uid, o->anon_gid);
	for (unsigned i = 0; i < EXPORT_NSEC && o->sec_order[i]; i++) {
		fprintf(f, "%s%s", uniform && i ? ":" : ",sec=", flavor_name(o->sec_order[i]));
		if (!uniform)
			fprintf(f, ",%s", varying_text(export_flavor(o, o->sec_order[i])));
	}
	fclose(f);
	buf[size - 1] = '\0';
}

void export_fsid_format(const struct export_fsid *fsid, char *buf, size_t size)
{
	const uint8_t *u = fsid->uuid;

	switch (fsid->kind) {
	case FSID_NONE:
		snprintf(buf, size, "%s", "");
		break;
	case FSID_ROOT:
		snprintf(buf, size, "root");
		break;
	case FSID_NUMBER:
		snprintf(buf, size, "%u", fsid->number);
		break;
	case FSID_UUID:
		snprintf(buf, size,
			 "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
			 u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11],
			 u[12], u[13], u[14], u[15]);
		break;
	}
}

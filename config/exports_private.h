/*
 * What the parts of the exports parser share.
 *
 *	exports_lex.c      characters -> words with their place: quotes, \ooo, comments, continuation
 *	exports_options.c  one table of options; an option list fills a struct option_set
 *	exports_client.c   client specifications, and which of them an address matches
 *	exports.c          lines and files -> struct exports
 *
 * A struct exports grows only while it is loaded or filled by exports_add(); afterwards it is
 * immutable and may be read by any number of threads.
 */
#pragma once

#include <limits.h>

#include "config/exports.h"

/* ---- words ---- */

/* Where the parser stands in a text. `p` is never moved past the terminating NUL. */
struct lexer {
	const char *file;
	const char *p;
	unsigned line, column; /* of *p, from 1; columns count bytes */
	struct config_error *err;
};

/* One word, unquoted. */
struct word {
	char text[PATH_MAX];
	size_t len;
	unsigned line, column; /* of its first character */
	bool quoted;	       /* some of it was quoted or escaped */
};

void lex_init(struct lexer *lx, const char *file, const char *text, struct config_error *err);
/* The next character; a backslash with the newline behind it counts as one blank. 0: the end. */
int lex_peek(const struct lexer *lx);
void lex_advance(struct lexer *lx);
/* Skips blanks and a comment, up to the next word or the line's end. */
void lex_skip_blanks(struct lexer *lx);
/*
 * Reads up to an unquoted blank, the line's end, or an unquoted character of `stops`. May be
 * empty. 0, or -EINVAL with the lexer's err filled.
 */
int lex_word(struct lexer *lx, const char *stops, struct word *w);
bool lex_is_blank(int c); /* space, tab, carriage return */

/* ---- options ---- */

/* What option lists say about one client, as they are read. */
struct option_set {
	struct export_options o; /* by_flavor, read_only and squash are set by options_finish() */
	struct {
		bool read_only, root_squash, all_squash;
	} flavor[EXPORT_NSEC];
	/* About the export as a whole: every client that gives one must give the same. */
	bool has_fsid_number, has_fsid_uuid;
	uint32_t fsid_number;
	uint8_t fsid_uuid[16];
	char *backend;	  /* malloc'ed; NULL: not given */
	char *mountpoint; /* malloc'ed; NULL: not given; "" the export's own path */
};

void options_init(struct option_set *set, const struct exports_defaults *defaults);
int options_copy(struct option_set *to, const struct option_set *from); /* 0 or -ENOMEM */
void options_release(struct option_set *set);
/*
 * Reads a comma-separated list. In parentheses it ends before ')', which is left to the caller;
 * else at a blank or the line's end. 0 or -EINVAL/-ENOMEM with the lexer's err filled.
 */
int options_parse(struct lexer *lx, bool parenthesized, struct option_set *set);
/* Completes set->o after the last list. */
void options_finish(struct option_set *set);

/* ---- clients ---- */

/* In order of precedence (exports(5), "Machine Name Formats"); gss/ clients come last. */
enum client_kind {
	CLIENT_HOST,
	CLIENT_NETWORK,
	CLIENT_WILDCARD,
	CLIENT_NETGROUP,
	CLIENT_ANY,
	CLIENT_GSS,
	CLIENT_KINDS
};

/* An address of either family; IPv4-mapped IPv6 addresses are IPv4 here. */
struct ip_address {
	int family; /* AF_INET, AF_INET6, or AF_UNSPEC for none */
	uint8_t bytes[16];
	uint32_t scope; /* IPv6 link-local interface; 0: any */
};

struct export_client {
	enum client_kind kind;
	char *spec;		   /* canonical text; names in lower case */
	struct ip_address address; /* CLIENT_HOST given as address, CLIENT_NETWORK's base */
	unsigned prefix_len;	   /* CLIENT_NETWORK */
	enum export_sec gss;	   /* CLIENT_GSS */
	struct export_options options;
};

struct export_clients {
	struct export_client *v;
	unsigned n, cap;
};

/*
 * Parses a specification. On failure `why` says what is wrong with it, in a sentence that goes
 * on from "client `SPEC': ". 0, -EINVAL or -ENOMEM.
 */
int client_parse(const char *spec, struct export_client *c, char *why, size_t why_size);
void client_release(struct export_client *c);

/*
 * atolld's command line. Two forms: with a configuration file, or --serve DIR with options that
 * stand for one. Both end in a struct config and a function that loads the exports.
 */
#pragma once

#include <stdbool.h>

#include "config/conf.h"
#include "config/exports.h"

struct daemon_options {
	struct config *config; /* finished */
	/* --serve: the directory and who gets it how; NULL when there is a file. */
	char *serve_dir;     /* real path */
	char *serve_options; /* exports(5) options */
	const char **allow;  /* exports(5) clients; points into argv */
	unsigned nallow;
	bool drop_addresses; /* --drop-addresses: nothing else is to be done */
};

/*
 * Parses argv. 0: go on; otherwise *status is what the process shall exit with, everything that
 * is to be said has been.
 */
int daemon_options_parse(int argc, char **argv, struct daemon_options *o, int *status);
void daemon_options_free(struct daemon_options *o);

/* The exports that the options or the configuration's files say. 0 or -errno with `err`. */
int daemon_options_exports(const struct daemon_options *o, struct exports **out,
			   struct config_error *err);

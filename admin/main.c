/* `atoll SUBCOMMAND ...`: a row per subcommand. */
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "base/compiler.h"

static const struct {
	const char *name, *arguments, *summary;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "serve", "DIR [OPTIONS]", "serve a directory, without any configuration", admin_serve },
	{ "check", "FILE...", "check exports(5) files and atoll.conf", admin_check },
	{ "status", "[DIR]", "whether the server runs, and how much it holds", admin_show },
	{ "clients", "[DIR]", "the clients it knows", admin_show },
	{ "sessions", "[DIR]", "their sessions", admin_show },
	{ "locks", "[DIR]", "what they have open, locked or delegated", admin_show },
	{ "exports", "[DIR]", "the exports in force", admin_show },
	{ "reload", "[DIR]", "read the exports again", admin_show },
	{ "restart", "[DIR]", "restart the server; clients keep what they hold", admin_restart },
	{ "nodes", "[DIR]", "the nodes of its cluster", admin_show },
	{ "addresses", "[DIR]", "the cluster's virtual addresses", admin_show },
	{ "drain", "NODE", "move a node's addresses and clients to others", admin_show },
	{ "undrain", "NODE", "let it have some again", admin_show },
	{ "ping", "HOST[:PORT]", "ask an NFSv4 server whether it is there", admin_ping },
};

static void usage(FILE *to)
{
	fputs("usage: atoll SUBCOMMAND ...\n\n", to);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  atoll %-9s %-14s %s\n", commands[i].name, commands[i].arguments,
			commands[i].summary);
	fputs("\n`atoll SUBCOMMAND --help' says more, `atoll --version' the version.\n", to);
}

/* Output that could not be written is a failure. */
static int finish(int status)
{
	return fflush(stdout) == 0 && !ferror(stdout) ? status : EXIT_PROBLEM;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		usage(stdout);
		return finish(EXIT_OK);
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("atoll " ATOLL_VERSION);
		return finish(EXIT_OK);
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return finish(commands[i].run(argc - 1, argv + 1));
	fprintf(stderr, "atoll: found `%s'; expected a subcommand\n\n", argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}

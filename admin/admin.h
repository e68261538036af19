/* The `atoll` tool: one function per subcommand; each parses its own options. */
#pragma once

/* Exit statuses of all subcommands. */
enum { EXIT_OK = 0, EXIT_PROBLEM = 1, EXIT_USAGE = 2 };

#define ADMIN_DEFAULT_CONFIG "/etc/atoll.conf"

/*
 * The state directory of the server of `atoll serve DIR`, of --state or of --config (at most one is
 * given, the others NULL; none: the system's): malloc'ed. NULL: it has been said why.
 */
char *admin_state_dir(const char *dir, const char *state, const char *config);

/* argv[0] is the subcommand's name. They return the exit status. */
int admin_serve(int argc, char **argv);
int admin_check(int argc, char **argv);
int admin_restart(int argc, char **argv);
/* status, clients, sessions, locks, exports, reload: argv[0] says which. */
int admin_show(int argc, char **argv);
int admin_ping(int argc, char **argv);

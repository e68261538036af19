/* The `atoll` tool: one function per subcommand; each parses its own options. */
#pragma once

/* Exit statuses of all subcommands. */
enum { EXIT_OK = 0, EXIT_PROBLEM = 1, EXIT_USAGE = 2 };

/* argv[0] is the subcommand's name. They return the exit status. */
int admin_serve(int argc, char **argv);
int admin_check(int argc, char **argv);
int admin_restart(int argc, char **argv);
int admin_ping(int argc, char **argv);

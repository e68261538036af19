/*
 * The server under test: `atoll serve` of the build, on a fresh directory, in namespaces of the
 * test's own (network: only loopback; mounts: a tmpfs that nobody else sees and that goes with
 * the process). Needs root; without it the suite is skipped, and says so.
 *
 * ATOLL_WIRE_BACKEND=memory serves that backend in place of a directory.
 *
 * For comparison the tests can be pointed to another server that runs already:
 *	ATOLL_WIRE_SERVER=127.0.0.1:2049 ATOLL_WIRE_DIR=/its/directory
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

/* What a suite wants of its server. */
struct wire_options {
	unsigned lease; /* seconds; 0: 90 */
	const char *const *extra; /* more arguments of `atoll serve`, NULL-terminated, or NULL */
	/*
	 * NULL: `atoll serve` of one directory. Else `atolld -c FILE`: this function makes the
	 * directories to be exported below `dir` and calls wire_write_exports().
	 */
	void (*prepare)(const char *dir);
	const char *settings; /* with `prepare`: more lines of atoll.conf; NULL: none */
	unsigned nofile;      /* the server's RLIMIT_NOFILE, which it cannot raise; 0: as it is */
	unsigned long fsize;  /* its RLIMIT_FSIZE, bytes; 0: as it is */
};

/* Runs a suite's tests against one server; the exit status for main(). */
int wire_main(const char *suite, const struct wire_options *o, const struct CMUnitTest *tests,
	      size_t n);

/* Each test runs between these (see WIRE_TEST). */
int wire_setup(void **state);
int wire_teardown(void **state);

#define WIRE_TEST(f)                                   \
	{                                              \
#f, f, wire_setup, wire_teardown, NULL \
	}
/* One test for one minor version, which it gets as minor_of(state). */
#define WIRE_MINOR(f, m)                                                          \
	{                                                                         \
#f "/4." #m, f, wire_setup, wire_teardown, (void *)(uintptr_t)(m) \
	}
#define WIRE_ALL_MINORS(f) WIRE_MINOR(f, 0), WIRE_MINOR(f, 1), WIRE_MINOR(f, 2)
#define WIRE_SESSIONS(f)   WIRE_MINOR(f, 1), WIRE_MINOR(f, 2)

static inline uint32_t minor_of(void **state)
{
	return (uint32_t)(uintptr_t)*state;
}

/* Where the server listens. */
const struct sockaddr *wire_server_addr(socklen_t *len);
/* The directory that is served, on this machine. */
const char *wire_server_dir(void);
/* True if the server is not ours to stop or to configure. */
bool wire_server_external(void);
/* Skips the running test if the server cannot be restarted without losing its files. */
void wire_need_restart(void);
/* Skips it if the files are not in wire_server_dir(): another backend than vfs. */
void wire_need_disk(void);
/* How many descriptors the server has open. */
unsigned wire_server_descriptors(void);
/* How many bytes of memory are the server's own (RssAnon). */
uint64_t wire_server_memory(void);
/* What it needs: memory of its own (not of files), open descriptors, threads. */
struct wire_usage {
	unsigned long memory_kb;
	unsigned descriptors, threads;
};
struct wire_usage wire_server_usage(void);
/* How many descriptors it has of files that have no name any more. */
unsigned wire_server_nameless(void);
/* Puts exports(5) text where the server looks for it. */
void wire_write_exports(const char *text);
/* SIGHUP: the server reads its exports again (and says so by its effect only). */
void wire_server_reload(void);
/* Stops the server by SIGTERM, and starts it again on the same directory and port. */
void wire_server_restart(void);
/* Only the stop. */
void wire_server_stop(void);
/* The server restarts by itself, in its process, as `atoll restart` has it do. */
void wire_server_exec(void);
/* A crash, by SIGKILL; then the start on the same directory and port. */
void wire_server_kill(void);
void wire_server_start(void);
/*
 * From the next start on the server's monotonic clock is that many seconds ahead, as if it were of
 * another boot of the machine. False: this kernel has no time namespaces.
 */
bool wire_server_clock(long seconds);
/* Its state directory. */
const char *wire_server_state(void);
/* How many lines with that text the server has logged. */
unsigned wire_server_said(const char *text);
/* Kills it and starts it where nobody has been yet: only its key is kept. Skips if it is not ours. */
void wire_server_fresh(void);

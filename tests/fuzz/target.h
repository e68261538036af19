/*
 * The server of the fuzz tests: nfsd with its state machine and the memory backend in this
 * process, no sockets, no threads, no randomness. The same calls get the same replies each time,
 * so that recorded handles, session IDs and stateids are valid whenever the record is played.
 *
 * An input is a sequence of records, each the arguments of one COMPOUND:
 *	2 bytes flags: bit 0: the call comes over the second connection, bit 1: by user 1000
 *	2 bytes length, little-endian
 *	the bytes
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct fuzz_server;

#define FUZZ_SECOND_CONN 1u
#define FUZZ_USER	 2u
#define FUZZ_HEADER	 4
#define FUZZ_RECORD_MAX	 65535
#define FUZZ_REPLY_MAX	 (1u << 20)

/* Never NULL. */
struct fuzz_server *fuzz_server_new(void);
void fuzz_server_free(struct fuzz_server *s);
/*
 * One COMPOUND. The length of its result in `reply` (FUZZ_REPLY_MAX bytes), or -1 if there is
 * none: arguments that are garbage. Ends the process if the reply is not well-formed.
 */
int fuzz_compound(struct fuzz_server *s, unsigned flags, const uint8_t *args, size_t len,
		  uint8_t *reply);
/* A whole input, on a fresh server. */
void fuzz_input(const uint8_t *data, size_t len);

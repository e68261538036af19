/*
 * Commands as bytes, for a replicated log.
 *
 * The format has a number, and nodes with different numbers are not in one cluster: there is no
 * negotiation and nothing optional within a command. Any change of what command_io.c writes, of
 * what a command does, or of the snapshot is a new number.
 */
#pragma once

#include <stddef.h>

#include "nfsd/state/state.h"

#define COMMAND_FORMAT 6

/* The bytes of a command, malloc'ed; 0 or -ENOMEM. `node` is not among them: the log knows it. */
int command_encode(const struct state_command *cmd, uint8_t **out, size_t *len);

/* A command made of bytes; it points into them. */
struct command_decoded {
	struct state_command cmd;
	/* What it owns. */
	struct state_reclaimer *clients;
	uint32_t *nodes;
	const struct cred *cred;
};

/*
 * 0; -EBADMSG, these are no bytes of a command; -ENOMEM. Whatever the bytes are, nothing outside
 * of them is read. To be freed if 0.
 */
int command_decode(const uint8_t *p, size_t len, struct command_decoded *out);
void command_decoded_free(struct command_decoded *d);

/*
 * Owners and groups between numbers and the strings of the protocol (RFC 7530 section 5.9,
 * RFC 8881 section 5.9).
 *
 * A string of digits is a number itself, in both directions: that is what clients of AUTH_SYS
 * understand and send, and it needs no name service and loses nothing. name@domain is
 * translated by libnfsidmap (its configuration: /etc/idmapd.conf), which may block, so answers are
 * kept for a time in a table of bounded size. Any thread may call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "nfsd/nfs4.h"

enum idmap_kind { IDMAP_USER, IDMAP_GROUP };

/* Room that idmap_to_text() needs. */
#define IDMAP_TEXT_MAX 12

/* The string for `id`, not terminated; returns its length. */
size_t idmap_to_text(uint32_t id, char out[IDMAP_TEXT_MAX]);
/*
 * The number that a string from a client means. INVAL: not UTF-8; BADOWNER: nobody here has that
 * name (or 4294967295, which is no user on Linux); DELAY: out of memory.
 */
enum nfsstat4 idmap_from_text(enum idmap_kind kind, const uint8_t *text, uint32_t len,
			      uint32_t *id);
/* Forgets cached answers and the configuration: names are looked up anew. */
void idmap_flush(void);

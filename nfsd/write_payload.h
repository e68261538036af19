/*
 * Which part of a COMPOUND may stay outside of memory: the data of a WRITE, which are spliced to the
 * file if the file's backend can do that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rpc/rpc.h"

/* Bytes behind SEQUENCE by which a retry is known again: they have to be in memory. */
#define REQUEST_HASHED 512

/*
 * rpc_program.payload: `head` is the beginning of a procedure's arguments of `len` bytes. True for a
 * COMPOUND of [SEQUENCE] PUTFH WRITE..., whose WRITE is UNSTABLE: whatever comes before the data
 * reads nothing behind *span's beginning, and the WRITE asks for the rest if it wants it (write.c).
 */
bool write_payload_find(uint32_t procedure, struct xdr_in head, size_t len, struct rpc_span *span);

/*
 * The bytes of a snapshot: a stream in chunks, each with a tag that depends on all before it.
 *
 *	chunk	length, 4 bytes | that many bytes | tag, 8 bytes
 *	end	a chunk of length 0
 *
 * The tag is SipHash-2-4 of the chunk's bytes under a key made of the tag before and the chunk's
 * number. A damaged, shortened or mixed up file is noticed at the first chunk that is not as it
 * was written, and before any byte of it is used. Numbers are big-endian, as in XDR, but nothing
 * is padded.
 *
 * Errors stick: after one, everything written is dropped and everything read is zero, so that
 * callers check where it matters and once at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define SNAPSHOT_CHUNK 65536u

/* Where the chunks go. */
enum snapshot_sink {
	SNAPSHOT_FILE_SINK, /* `fd` */
	SNAPSHOT_MEMORY,    /* `bytes` */
	SNAPSHOT_DIGEST,    /* nowhere: the last tag tells two snapshots apart */
};

struct snapshot_out {
	int fd;
	enum snapshot_sink sink;
	bool replica; /* what nodes have in common only, see snapshot.c */
	uint8_t *bytes; /* SNAPSHOT_MEMORY: malloc'ed, the caller's at the end */
	size_t nbytes, room;
	int err; /* 0 or -errno; the first */
	uint64_t tag, nchunks;
	uint32_t len; /* bytes of the chunk being filled */
	uint8_t *chunk;
};

/* 0 or -ENOMEM. */
int snapshot_out_init(struct snapshot_out *o, int fd) MUST_CHECK;
/* The same without a file. */
int snapshot_out_init_sink(struct snapshot_out *o, enum snapshot_sink sink) MUST_CHECK;
void snapshot_put(struct snapshot_out *o, const void *bytes, size_t len);
/* With its length in front. */
void snapshot_put_bytes(struct snapshot_out *o, const void *bytes, uint32_t len);
void snapshot_put_u32(struct snapshot_out *o, uint32_t v);
void snapshot_put_u64(struct snapshot_out *o, uint64_t v);
/* Writes what is left and the end. 0 or -errno of the whole. Frees in any case. */
int snapshot_out_finish(struct snapshot_out *o) MUST_CHECK;

struct snapshot_in {
	int fd;
	const uint8_t *from; /* not NULL: in place of `fd` */
	size_t left;
	bool replica;
	int err; /* -EBADMSG: not as it was written, or not what is expected */
	uint64_t tag, nchunks;
	uint32_t len, at; /* of the chunk being read */
	bool ended;
	uint8_t *chunk;
	uint8_t *bytes; /* of the last snapshot_get_bytes() */
	uint32_t bytes_cap;
};

int snapshot_in_init(struct snapshot_in *in, int fd) MUST_CHECK;
int snapshot_in_init_memory(struct snapshot_in *in, const uint8_t *from, size_t len) MUST_CHECK;
void snapshot_get(struct snapshot_in *in, void *bytes, size_t len);
/* What snapshot_put_bytes() wrote, at most `max` bytes; valid until the next call. Never NULL. */
const uint8_t *snapshot_get_bytes(struct snapshot_in *in, uint32_t max, uint32_t *len);
uint32_t snapshot_get_u32(struct snapshot_in *in);
uint64_t snapshot_get_u64(struct snapshot_in *in);
bool snapshot_get_bool(struct snapshot_in *in);
/* What has been read makes no sense: -EBADMSG from now on. */
void snapshot_bad(struct snapshot_in *in);
/* Nothing may follow. 0 or -errno of the whole. Frees in any case. */
int snapshot_in_finish(struct snapshot_in *in) MUST_CHECK;

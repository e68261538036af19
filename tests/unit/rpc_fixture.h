/*
 * A small RPC program on a server of its own, and a client that writes bytes by hand: what the
 * tests of rpc/ share. The client knows RPC from RFC 5531 alone and uses nothing of rpc/.
 */
#pragma once

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "rpc/rpc.h"

#define TEST_PROGRAM 0x20000001u
#define TEST_VERS_LO 2u
#define TEST_VERS_HI 3u

enum {
	PROC_NULL,
	PROC_ECHO,	    /* opaque -> opaque */
	PROC_PARK,	    /* u32 key -> key, when the test resumes it */
	PROC_BLOCK,	    /* u32 key -> key: says that it blocks, until the test opens the gate */
	PROC_STUCK,	    /* u32 key -> key: the same without saying so */
	PROC_READ,	    /* u64 offset, u32 len -> opaque of the fixture's file, u32 0xfeed */
	PROC_DROP,	    /* no reply */
	PROC_FILL,	    /* u32 n -> n bytes 0,1,2..., as opaque */
	PROC_SELF,	    /* u32 key -> key: resumed before the handler returns */
	PROC_VERDICT,	    /* u32 verdict, u32 auth_stat, after encoding junk and an extent */
	PROC_WHOAMI,	    /* -> flavor, uid, gid, gids<>, machine */
	PROC_COUNT_EXTENTS, /* u32 n, u32 len -> n extents of len bytes each, 4 bytes between */
	PROC_NAP,   /* u32 key -> key: sleeps four times that many microseconds; odd ones say so */
	PROC_ALONE, /* -> rpc_call.alone */
	PROC_CLOSE, /* -> a reply; and the connection is closed behind it */
	PROC_LATER, /* u32 key -> key, how many of these had begun: resumed by rpc_call_later() */
	PROC_LATE,  /* u32 key -> the same, but first it is stuck until the test opens the gate */
	PROC_BUSY,  /* u32 key -> key: as PROC_STUCK, but it runs all the time */
	/*
	 * u32 enum payload_way, opaque, u32 -> u32 bytes that waited in a pipe, opaque, u32. The opaque
	 * may come by a pipe but for its first 100 bytes.
	 */
	PROC_PAYLOAD,
};

/* How PROC_PAYLOAD gets its bytes. */
enum payload_way {
	PAYLOAD_FILL,  /* from the record */
	PAYLOAD_TAKE,  /* from the pipe */
	PAYLOAD_LEAVE, /* not at all; the reply has none */
	PAYLOAD_HALF,  /* half of what is in the pipe; the reply has none */
	PAYLOAD_STUCK, /* from the pipe, once the test has opened gate 0 */
	PAYLOAD_PARK,  /* parks at key 0; when it is resumed from the record */
};

#define KEYS 256

struct fixture {
	struct rpc_server *server;
	uint16_t port;
	int file; /* what PROC_READ reads; -1: none */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* Under lock. */
	struct rpc_call *parked[KEYS];
	bool entered[KEYS], gate[KEYS];
	unsigned closed;       /* conn_closed calls */
	unsigned closed_open;  /* of them, with the connection still open */
	unsigned done;	       /* call->done calls */
	unsigned laters;       /* PROC_LATER and PROC_LATE begun */
	unsigned laters_alone; /* of them, done where nothing else was under way */
	unsigned extents_out, extents_released, extents_unreadable;
	uint64_t last_conn;
	struct rpc_conn *kept; /* PROC_NULL keeps a reference to its connection if keep is set */
	bool keep;
	unsigned peer_replies;
	uint8_t peer_reply[64];
	size_t peer_reply_len;
};

/* Default limits changed by `tune` (may be NULL); 0 loops: one. */
void fixture_start(struct fixture *f, unsigned loops, void (*tune)(struct rpc_limits *l));
void fixture_stop(struct fixture *f);
/* Waits until the handler of `key` has begun. */
void fixture_wait_entered(struct fixture *f, unsigned key);
struct rpc_call *fixture_wait_parked(struct fixture *f, unsigned key);
void fixture_open_gate(struct fixture *f, unsigned key);
void fixture_wait_closed(struct fixture *f, unsigned n);
struct rpc_stats fixture_stats(struct fixture *f);

/* ---- bytes ---- */

struct bytes {
	uint8_t *p;
	size_t len, cap;
};

void bytes_free(struct bytes *b);
void put_raw(struct bytes *b, const void *p, size_t len);
void put_u32(struct bytes *b, uint32_t v);
void put_u64(struct bytes *b, uint64_t v);
void put_opaque(struct bytes *b, const void *p, uint32_t len);
/* The head of a call with AUTH_SYS (uid 1000, gid 100, groups 4 and 24). */
void put_call(struct bytes *b, uint32_t xid, uint32_t proc);
/* The same with anything different. */
void put_call_header(struct bytes *b, uint32_t xid, uint32_t rpcvers, uint32_t prog, uint32_t vers,
		     uint32_t proc);
void put_auth(struct bytes *b, uint32_t flavor, const struct bytes *body);
void put_auth_sys(struct bytes *b, uint32_t uid);
/* Appends `record` to `out` as one fragment. */
void put_record(struct bytes *out, const struct bytes *record);

/* ---- client ---- */

int client_connect(const struct fixture *f);
void client_send(int fd, const struct bytes *b);
/* Reads one record into `b`; false at the end of the stream. */
bool client_recv(int fd, struct bytes *b);
/* True if the server closes within the time that no test takes. */
bool client_closed(int fd);
/* Takes the head of an accepted, successful reply away; checks it. Returns the xid. */
uint32_t take_success(struct bytes *b);
uint32_t take_u32(struct bytes *b);
/* One call with a u32 argument, sent; the reply is not awaited. */
void client_call_u32(int fd, uint32_t xid, uint32_t proc, uint32_t arg);
/* Sends `record`, awaits the reply. */
bool client_exchange(int fd, const struct bytes *record, struct bytes *reply);

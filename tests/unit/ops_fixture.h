/*
 * COMPOUNDs against a server in this process, without RPC: what the tests of operations share.
 *
 * A test builds a request operation by operation, sends it, and walks through the results in
 * order. Requests are encoded with rpc/xdr.h; results are decoded here field by field. The
 * connection is a fake: linked with --wrap for the few functions of rpc/ that compounds use.
 *
 * The server has three exports of memory: /data (read-write), /data/inner/ro (read-only, inside
 * the first) and /secret (not for our address).
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "nfsd/attrs.h"
#include "nfsd/server_private.h"

#define TEST_UID 1000
#define TEST_GID 1000

/* One request and its reply. */
struct exchange {
	struct xdr_out req;
	size_t nops_at;
	uint32_t nops;
	struct xdr_out reply; /* owns the bytes that `res` walks through */
	struct xdr_in res;
	enum nfsstat4 status;
	uint32_t nresults;
};

extern struct nfs_server *server;
extern const struct cred *caller; /* whoever the next request comes from */
extern const char *server_address; /* IPv4, as the client sees it */
extern uint64_t connection;	   /* the number of the fake one */
extern uint32_t same_xid;	   /* not 0: the next request's, again */
extern void (*while_parked)(void); /* NULL, or: who parked is not resumed yet */
/* There: until another thread has resumed the call. */
void await_resumed(void);

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* A request of that minor version; 1 and 2 begin with SEQUENCE in a session of the fixture's. */
struct exchange *begin(uint32_t minor);
/* The same without SEQUENCE. */
struct exchange *begin_bare(uint32_t minor);
/* Sends, whatever comes: false if the connection is closed in place of a reply. */
bool send_any(struct exchange *e);
/* Puts an operation's number. */
void ask(struct exchange *e, uint32_t opnum);
/* Sends and checks the status of the whole; SEQUENCE's result is stepped over. */
void send_expect(struct exchange *e, enum nfsstat4 status);
/* The next result: its number and status. */
void result(struct exchange *e, uint32_t opnum, enum nfsstat4 status);
/* Everything has been read. */
void end(struct exchange *e);

/* ---- operations in requests ---- */

void put_name(struct exchange *e, const char *name);
/* PUTROOTFH and a LOOKUP for every component. */
void go(struct exchange *e, const char *path);
void ask_name(struct exchange *e, uint32_t opnum, const char *name);
void ask_attr(struct exchange *e, unsigned attr);
/* A fattr4 of one attribute. */
void put_fattr(struct exchange *e, unsigned attr, const void *values, uint32_t len);
void put_anonymous(struct exchange *e);

/* ---- results ---- */

uint32_t get_u32(struct exchange *e);
uint64_t get_u64(struct exchange *e);
/* The results of go(). */
void went(struct exchange *e, const char *path);
/* A result without a body. */
void ok(struct exchange *e, uint32_t opnum);
struct dir_change get_change(struct exchange *e);
/* The result of ask_attr(): the value's bytes, valid until end(). */
struct bytes got_attr(struct exchange *e);
uint64_t got_u64(struct exchange *e);
uint32_t got_u32(struct exchange *e);

/* ---- whole requests ---- */

/* The status of a request that is `path` and one operation with a name. */
void expect_name_op(const char *path, uint32_t opnum, const char *name, enum nfsstat4 status);
void make_dir(const char *path, const char *name);
void make_link(const char *path, const char *name, const char *target);
/* A reference. */
struct object *object_at(const char *path);
/* A regular file with that content, made at the backend as `caller`. */
void make_file(const char *path, const char *name, const void *data, size_t len);
/* The same for a FIFO: also where the protocol may not, on a read-only export. */
void make_fifo(const char *path, const char *name);
/* WRITE with the anonymous stateid. */
void write_block(const char *path, uint64_t offset, const void *data, uint32_t len);
uint64_t attr_u64(const char *path, unsigned attr);
uint32_t attr_u32(const char *path, unsigned attr);
void set_mode(const char *path, uint32_t mode);
struct nfs_fh fh_of(const char *path);

/*
 * A connection of the load generator: a socket, an NFSv4.1 client and session of its own, and
 * `depth` slots, each with at most one request in flight.
 *
 * Everything here is used by one thread at a time: the thread that set the connection up, then,
 * during a run, the thread it was given to (load.c). The data of WRITE are sent from where they lie,
 * requests' heads from the slot or a copy.
 *
 * Functions that can fail return 0 or -1; the reason is then in conn->error, the first one stays.
 */
#ifndef BENCH_CONN_H
#define BENCH_CONN_H

#include <netinet/in.h>
#include <sys/uio.h>

#include "tests/bench/hist.h"
#include "tests/bench/nfs.h"
#include "tests/bench/wire.h"

#define HEAD_MAX   2048u /* a request without the data of a WRITE */
#define DEPTH_MAX  32u
#define REPLY_MAX  (1u << 20) /* of READ data, or of a READDIR */
#define RECORD_MAX (REPLY_MAX + 65536u)

struct workload;
struct tree;

struct fh {
	uint32_t len;
	uint8_t data[NFS4_FH_MAX];
};

struct stateid {
	uint8_t bytes[16]; /* seqid and other, as on the wire */
};

/* Who asks: an AUTH_SYS credential as it stands in the call. */
struct cred {
	const char *name;
	uint32_t len;
	uint8_t bytes[160];
};

struct slot {
	uint32_t id;
	uint32_t seqid; /* of the next request */
	uint32_t xid;	/* of the one in flight */
	bool in_flight;
	uint64_t since; /* when the cycle's first request was made, ns */
	/* Where the workload is in its cycle, and what it has to remember from step to step. */
	unsigned step;
	uint32_t item, gen;
	uint64_t offset, cookie, sum;
	uint8_t verifier[8];
	struct stateid state;
	struct fh fh;
	/* The request. */
	size_t head_len, body_len;
	const uint8_t *body;
	uint8_t head[HEAD_MAX];
};

struct tally {
	struct hist latency; /* of whole cycles */
	uint64_t units, requests, delays;
	uint64_t bytes_out, bytes_in;
	uint64_t last; /* when the last reply was read, ns */
};

struct conn {
	int fd;
	unsigned index; /* among the connections of its team */
	bool any_port;	/* more connections than there are reserved ports */
	const struct cred *cred;
	uint64_t clientid;
	uint8_t session[NFS4_SESSIONID];
	uint32_t create_seq;
	unsigned depth;
	struct slot *slots;
	uint32_t xids;
	uint64_t random;
	/* Sending: requests queued in iov[sent..queued), their heads copied to tx as far as it goes. */
	struct iovec *iov;
	uint8_t *tx;
	size_t tx_len;
	unsigned sent, queued;
	bool want_out;
	/* Receiving: rx[start..end) has been read and not yet been used. */
	uint8_t *rx;
	size_t start, end;
	/* The workload's. */
	const struct workload *workload;
	struct tree *tree;
	void *priv;
	struct tally tally;
	char error[200];
};

/*
 * Connects (from a reserved port where the process may) and makes a client ID and a session with
 * `depth` slots. With `raw`, only the socket.
 */
int conn_open(struct conn *c, const struct sockaddr_in *to, const struct cred *cred, unsigned depth,
	      bool raw);

/* Destroys session and client ID, if there are any, and closes. Keeps c->error. */
void conn_close(struct conn *c);

int conn_fail(struct conn *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline uint32_t conn_random(struct conn *c, uint32_t below)
{
	uint64_t x = c->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	c->random = x;
	return (uint32_t)(((x >> 32) * below) >> 32);
}

/* ---- calls, by hand: begin, operations, conn_call(), expect()... ---- */

/* Begins a call of this procedure in the slot's buffer, with the credential. */
void call_begin(struct conn *c, struct slot *s, struct enc *e, const struct cred *cred,
		uint32_t procedure);

/* Begins a compound of minor version 1 with its SEQUENCE; `keep` asks for the reply to be cached. */
void compound_begin(struct conn *c, struct slot *s, struct enc *e, const struct cred *cred,
		    bool keep);

/* Ends what was begun: record mark, number of operations. */
int call_end(struct conn *c, struct slot *s, struct enc *e);

/* Sends slot 0's compound and waits for the reply, repeating it while the server says DELAY. */
int conn_call(struct conn *c, struct enc *e, struct dec *d);

enum reply { REPLY_OK = 0, REPLY_FAILED = -1, REPLY_DELAY = 1 };

/* Checks the RPC header of a record; `d` is left at the results. */
int rpc_reply(struct conn *c, struct slot *s, struct dec *d);

/* Checks a compound's head and its SEQUENCE; `d` is left at the second result. */
enum reply compound_reply(struct conn *c, struct slot *s, struct dec *d);

/* Takes the next result: it must be of this operation and successful. */
int expect(struct conn *c, struct dec *d, uint32_t op);

/* The same, with the status returned in *status instead of judged. */
int expect_any(struct conn *c, struct dec *d, uint32_t op, uint32_t *status);

int expect_end(struct conn *c, struct dec *d);

/* ---- sending and receiving during a run ---- */

void conn_queue(struct conn *c, struct slot *s);

/* Sends what is queued as far as the socket takes it. */
int conn_flush(struct conn *c);

/* Reads once from the socket; 0 if there was nothing (only without `wait`). */
int conn_read(struct conn *c, bool wait);

/* The next whole record of what was read, without its mark; false if there is none. */
bool conn_record(struct conn *c, struct dec *d);

/* ---- operations, as they are put into a compound ---- */

void op_access(struct enc *e, uint32_t bits);
void op_close(struct enc *e, const struct stateid *state);
void op_commit(struct enc *e);
void op_create_dir(struct enc *e, const char *name, uint32_t mode);
void op_getattr(struct enc *e, uint32_t word0, uint32_t word1);
void op_getfh(struct enc *e);
void op_lock(struct enc *e, const struct stateid *lock, uint64_t offset, uint64_t length);
/* The first lock of an owner; the owner is `id` of this connection's client. */
void op_lock_first(struct enc *e, const struct conn *c, const struct stateid *open, uint32_t id,
		   uint64_t offset, uint64_t length);
void op_locku(struct enc *e, const struct stateid *lock, uint64_t offset, uint64_t length);
void op_lookup(struct enc *e, const char *name);
/* OPEN by name in the current directory; owner as above. With create: UNCHECKED, of this mode. */
void op_open(struct enc *e, const struct conn *c, uint32_t owner, const char *name, uint32_t access,
	     bool create, uint32_t mode);
void op_putfh(struct enc *e, const struct fh *fh);
void op_putrootfh(struct enc *e);
void op_read(struct enc *e, const struct stateid *state, uint64_t offset, uint32_t count);
void op_readdir(struct enc *e, uint64_t cookie, const uint8_t verifier[8], uint32_t maxcount);
void op_remove(struct enc *e, const char *name);
void op_rename(struct enc *e, const char *from, const char *to);
void op_savefh(struct enc *e);
/* Must be the last one: its data are sent from where they lie. */
void op_write(struct enc *e, const struct stateid *state, uint64_t offset, uint32_t stable,
	      const uint8_t *data, uint32_t count);

/* ---- results that have something in them ---- */

int result_fh(struct conn *c, struct dec *d, struct fh *fh);	       /* GETFH, with its status */
int result_open(struct conn *c, struct dec *d, struct stateid *state); /* OPEN */
int result_stateid(struct conn *c, struct dec *d, uint32_t op, struct stateid *state);
/* GETATTR of LINUX_ATTRS: exactly these attributes; their size and fileid. */
int result_attrs(struct conn *c, struct dec *d, uint64_t *size, uint64_t *fileid);

#endif

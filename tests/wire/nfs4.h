/*
 * A small NFSv4 client for tests, by an encoder that shares no code with the server: every
 * byte is written and read by libtirpc's XDR primitives. From the tree it takes numbers only.
 *
 * Life of a request: compound_begin() (or begin(), which adds SEQUENCE), add_...() for every
 * operation, call(). The reply is decoded completely and at once: every operation's result
 * must parse and no byte may be left over, or the test fails. Results stand in reply->op[].
 *
 *	struct client *cl = client_new(1);
 *	struct compound *q = begin(cl);
 *
 *	add_putrootfh(q);
 *	add_lookup(q, "file");
 *	add_getfh(q);
 *	struct reply *r = call(q);
 *
 *	expect(r, NFS4_OK);
 *	use(last(r)->fh);
 *
 * Memory and connections belong to the running test and go with it (wire_teardown()).
 * Nothing here is thread safe; a test has one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rpc/types.h>
#include <rpc/xdr.h>

#include "nfsd/nfs4.h"

#define ATTR_MAX 87 /* one more than the highest attribute number known here */
#define OPS_MAX	 256

/* ---- the test's memory ---- */

/* Zeroed; freed when the test ends. Never NULL. */
void *test_alloc(size_t len);
/* What was allocated since the mark is freed: for tests that receive much. */
const void *test_mark(void);
void test_release(const void *mark);

/* ---- connections and RPC (RFC 5531) ---- */

struct conn {
	int fd;
	uint32_t next_xid;
	/* Credentials put into calls. AUTH_SYS (1) with these ids, or AUTH_NONE (0). */
	uint32_t flavor, uid, gid, ngids, gids[16];
	unsigned number;      /* of the connection in this test */
	uint8_t *local_reply; /* of conn_local_hook, not received yet */
	size_t local_len;
	struct conn *next;
	/* Calls of the server's that came while a reply was awaited, the first first. */
	struct cb_call *calls;
};

/*
 * Not NULL: there is no network; every record that is sent is answered by this function at once
 * (tests/fuzz). The reply is memory of the test.
 */
extern uint8_t *(*conn_local_hook)(struct conn *c, const uint8_t *call, size_t len,
				   size_t *reply_len);

/* A connection to the server under test as uid 0; fails the test if there is none. */
struct conn *conn_new(void);
void conn_close(struct conn *c);
/* Bytes as they are, without a record mark. False if the server has closed the connection. */
bool conn_send_raw(struct conn *c, const void *bytes, size_t len);
/* One record in one fragment. */
bool conn_send(struct conn *c, const void *bytes, size_t len);
/*
 * The next record, reassembled; NULL if the server has closed the connection. Fails the test
 * when nothing comes for RECV_SECONDS.
 */
uint8_t *conn_recv(struct conn *c, size_t *len);
/* True if the server closes the connection (and sends nothing before) within the time-out. */
bool conn_closed_by_server(struct conn *c);
/* True if something can be read within `ms` milliseconds. */
bool conn_readable(struct conn *c, int ms);

/* How an RPC reply went (RFC 5531 section 9). */
enum rpc_outcome {
	RPC_SUCCESS_R,
	RPC_PROG_UNAVAIL_R,
	RPC_PROG_MISMATCH_R,
	RPC_PROC_UNAVAIL_R,
	RPC_GARBAGE_ARGS_R,
	RPC_SYSTEM_ERR_R,
	RPC_MISMATCH_R,	  /* denied: low and high are set */
	RPC_AUTH_ERROR_R, /* denied: auth_stat is set */
};

struct rpc_reply {
	uint32_t xid;
	enum rpc_outcome outcome;
	uint32_t low, high, auth_stat;
	uint8_t *body;
	size_t body_len;
};

/* An encoder over memory of the test; it grows. */
struct enc {
	XDR xdr;
	char *buf;
	size_t cap;
};

void enc_init(struct enc *e, size_t cap);
size_t enc_len(struct enc *e);
void put_u32(struct enc *e, uint32_t v);
void put_u64(struct enc *e, uint64_t v);
void put_i64(struct enc *e, int64_t v);
void put_bool(struct enc *e, bool v);
void put_opaque(struct enc *e, const void *p, uint32_t len);
void put_string(struct enc *e, const char *s);
void put_fixed(struct enc *e, const void *p, uint32_t len);

/* The header of a call with the connection's credentials; returns its xid. */
uint32_t rpc_put_call(struct enc *e, struct conn *c, uint32_t prog, uint32_t vers, uint32_t proc);
/* The next reply, parsed; NULL if the connection was closed. */
struct rpc_reply *rpc_recv(struct conn *c);
/* The same; fails the test if the connection was closed. */
struct rpc_reply *rpc_must_recv(struct conn *c);
/* Sends the encoded call and waits for its reply. */
struct rpc_reply *rpc_call(struct conn *c, struct enc *e);

/* ---- protocol types ---- */

struct fh {
	uint32_t len;
	uint8_t data[NFS4_FHSIZE];
};

struct sid {
	uint32_t seqid;
	uint8_t other[NFS4_OTHER_SIZE];
};

extern const struct sid SID_ANONYMOUS; /* all zeros */
extern const struct sid SID_BYPASS;    /* all ones */
extern const struct sid SID_CURRENT;   /* RFC 8881 section 8.2.3: seqid 1, other zeros */
extern const struct sid SID_INVALID;   /* the same: seqid all ones, other zeros */

struct verf {
	uint8_t data[NFS4_VERIFIER_SIZE];
};

struct bitmap {
	uint32_t n;
	uint32_t w[3];
};

void bm_set(struct bitmap *b, unsigned attr);
bool bm_has(const struct bitmap *b, unsigned attr);
/* bitmap of the attributes listed, ended by -1 */
struct bitmap bm_of(int first, ...);

/* One attribute's value. Which members count depends on the attribute. */
struct attr {
	uint64_t num;	  /* numbers, booleans, fsid.major, specdata1, seconds */
	uint64_t num2;	  /* fsid.minor, specdata2, nanoseconds, umask */
	struct bitmap bm; /* supported_attrs, suppattr_exclcreat */
	char *str;	  /* owner, owner_group, filehandle, mimetype; NUL added */
	uint32_t str_len;
	uint32_t bits[5]; /* open_arguments */
};

struct attrs {
	struct bitmap mask;
	struct attr a[ATTR_MAX];
};

/* Set one attribute for SETATTR, CREATE, OPEN, VERIFY. */
void at_num(struct attrs *a, unsigned attr, uint64_t v);
void at_str(struct attrs *a, unsigned attr, const char *s);
/* time_access_set, time_modify_set: client's time */
void at_time(struct attrs *a, unsigned attr, int64_t sec, uint32_t nsec);
/* the same: server's time */
void at_time_now(struct attrs *a, unsigned attr);

struct cinfo {
	bool atomic;
	uint64_t before, after;
};

struct entry {
	uint64_t cookie;
	char *name;
	struct attrs *attrs;
};

struct denied {
	uint64_t offset, length, clientid;
	uint32_t type, owner_len;
	uint8_t *owner;
};

struct chan {
	uint32_t header_pad, max_request, max_response, max_cached, max_ops, max_requests;
};

/* One operation's result. What is set depends on the operation. */
struct result {
	uint32_t op, status;
	uint32_t access, supported;
	struct sid sid; /* OPEN, CLOSE, LOCK, ... */
	struct verf verf;
	struct cinfo cinfo, cinfo2; /* RENAME: source, target */
	struct bitmap attrset;
	struct attrs *attrs;
	struct fh fh;
	struct denied denied;
	uint32_t rflags, delegation, why_none;
	struct sid deleg_sid;
	bool recall;
	uint32_t gdd; /* GET_DIR_DELEGATION: gddrnf4_status */
	bool eof;
	uint8_t *data; /* READ, READLINK (NUL added), impl id */
	uint32_t len;
	uint32_t count, committed; /* WRITE; COPY: count in count64 */
	uint64_t count64, offset;
	uint32_t n; /* entries, flavors, statuses */
	struct entry *entries; /* LISTXATTRS: names only; the cookie in count64 */
	uint32_t *list; /* SECINFO flavors, TEST_STATEID codes */
	/* SETCLIENTID, EXCHANGE_ID, CREATE_SESSION, SEQUENCE, BIND_CONN */
	uint64_t clientid;
	uint32_t sequence, flags, protect;
	uint8_t session[NFS4_SESSIONID_SIZE];
	uint32_t slot, highest_slot, target_highest_slot, status_flags;
	struct chan fore, back;
	uint64_t minor_id;
	char *major_id, *scope;
	uint32_t major_len, scope_len;
	char *netid, *addr; /* CLID_INUSE */
};

struct reply {
	uint32_t status;
	char *tag;
	uint32_t tag_len;
	uint32_t nops;
	struct result *op;
	struct rpc_reply *rpc;
};

/* ---- clients ---- */

#define SLOTS_MAX 64

struct client {
	struct conn *conn;
	uint32_t minor;
	uint64_t clientid;
	char id[64];
	struct verf verf;
	/* minor > 0 */
	uint8_t session[NFS4_SESSIONID_SIZE];
	uint32_t cs_sequence; /* for the next CREATE_SESSION */
	struct chan fore;
	uint32_t slot_seq[SLOTS_MAX]; /* of the next request */
	bool cache_this;
};

/*
 * A confirmed client of its own connection and of a name that nobody else has: SETCLIENTID and
 * SETCLIENTID_CONFIRM, or EXCHANGE_ID, CREATE_SESSION and RECLAIM_COMPLETE.
 */
struct client *client_new(uint32_t minor);
/* Nothing but the structure and a connection. */
struct client *client_bare(uint32_t minor);
/* What client_new() does after client_bare(). */
void client_establish(struct client *cl);
/*
 * After a restart of the server: connection, client ID and session anew, same user; no
 * RECLAIM_COMPLETE.
 */
void client_return(struct client *cl);
/* 4.1: another session of the same client over its connection replaces the one in use. */
void client_new_session(struct client *cl);

/* ---- compounds ---- */

struct compound {
	struct conn *conn;
	struct client *client; /* may be NULL */
	uint32_t minor, xid, nops;
	bool sequenced; /* call() advances the slot */
	uint32_t slot;
	struct enc enc;
	u_int count_at;	       /* position of the number of operations */
	uint32_t ops[OPS_MAX]; /* expected in the reply */
	u_int op_at[OPS_MAX];  /* positions of the operation numbers */
};

/* A compound without any operation. */
struct compound *compound_begin(struct conn *c, uint32_t minor, const char *tag);
/* SEQUENCE on slot 0 first if minor > 0. */
struct compound *begin(struct client *cl);
struct compound *begin_slot(struct client *cl, uint32_t slot);
/* begin() and PUTFH */
struct compound *begin_at(struct client *cl, const struct fh *fh);
/* The encoded call, complete; *len bytes. */
const uint8_t *compound_bytes(struct compound *q, size_t *len);
bool compound_send(struct compound *q);
/* Parses an RPC reply as that of the compound; fails the test unless it is well-formed. */
struct reply *compound_parse(struct compound *q, struct rpc_reply *rpc);
/* Sends, waits, parses. Fails the test if the RPC was not successful. */
struct reply *call(struct compound *q);
/* Books the slot as used after the reply was received by other means than call(). */
void compound_done(struct compound *q, const struct reply *r);

struct result *last(struct reply *r);
/* The first result of that operation; fails the test if there is none. */
struct result *result_of(struct reply *r, uint32_t op);

/* Any operation number without arguments, for what has no function here. */
void add_raw(struct compound *q, uint32_t op);

void add_access(struct compound *q, uint32_t access);
void add_close(struct compound *q, uint32_t seqid, const struct sid *sid);
void add_commit(struct compound *q, uint64_t offset, uint32_t count);
/* `data`: link text of NF4LNK; d1, d2: of devices */
void add_create(struct compound *q, uint32_t type, const char *name, const char *data, uint32_t d1,
		uint32_t d2, const struct attrs *a);
void add_delegpurge(struct compound *q, uint64_t clientid);
void add_delegreturn(struct compound *q, const struct sid *sid);
void add_getattr(struct compound *q, struct bitmap bm);
void add_getfh(struct compound *q);
void add_link(struct compound *q, const char *name);
void add_lock_new(struct compound *q, uint32_t type, bool reclaim, uint64_t off, uint64_t len,
		  uint32_t open_seqid, const struct sid *open, uint32_t lock_seqid,
		  uint64_t clientid, const char *owner);
void add_lock_more(struct compound *q, uint32_t type, bool reclaim, uint64_t off, uint64_t len,
		   const struct sid *lock, uint32_t lock_seqid);
void add_lockt(struct compound *q, uint32_t type, uint64_t off, uint64_t len, uint64_t clientid,
	       const char *owner);
void add_locku(struct compound *q, uint32_t type, uint32_t seqid, const struct sid *sid,
	       uint64_t off, uint64_t len);
void add_lookup(struct compound *q, const char *name);
void add_lookup_n(struct compound *q, const void *name, uint32_t len);
void add_lookupp(struct compound *q);
void add_nverify(struct compound *q, const struct attrs *a);
void add_openattr(struct compound *q, bool create);
void add_open_confirm(struct compound *q, const struct sid *sid, uint32_t seqid);
void add_open_downgrade(struct compound *q, const struct sid *sid, uint32_t seqid, uint32_t access,
			uint32_t deny);
void add_putfh(struct compound *q, const struct fh *fh);
void add_putpubfh(struct compound *q);
void add_putrootfh(struct compound *q);
void add_read(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t count);
void add_readdir(struct compound *q, uint64_t cookie, const struct verf *verf, uint32_t dircount,
		 uint32_t maxcount, struct bitmap bm);
void add_readlink(struct compound *q);
void add_remove(struct compound *q, const char *name);
void add_rename(struct compound *q, const char *from, const char *to);
void add_renew(struct compound *q, uint64_t clientid);
void add_restorefh(struct compound *q);
void add_savefh(struct compound *q);
void add_secinfo(struct compound *q, const char *name);
void add_setattr(struct compound *q, const struct sid *sid, const struct attrs *a);
void add_setclientid(struct compound *q, const struct verf *verf, const char *id, uint32_t cb_prog,
		     const char *netid, const char *addr, uint32_t ident);
void add_setclientid_confirm(struct compound *q, uint64_t clientid, const struct verf *verf);
void add_verify(struct compound *q, const struct attrs *a);
void add_write(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t stable,
	       const void *data, uint32_t len);
void add_release_lockowner(struct compound *q, uint64_t clientid, const char *owner);

void add_backchannel_ctl(struct compound *q, uint32_t program);
void add_bind_conn(struct compound *q, const uint8_t *session, uint32_t dir);
void add_exchange_id(struct compound *q, const struct verf *verf, const char *owner, uint32_t flags,
		     uint32_t protect);
void add_create_session(struct compound *q, uint64_t clientid, uint32_t sequence, uint32_t flags,
			const struct chan *fore, const struct chan *back);
void add_destroy_session(struct compound *q, const uint8_t *session);
void add_free_stateid(struct compound *q, const struct sid *sid);
void add_get_dir_delegation(struct compound *q);
/* gdda_signal_deleg_avail, one word of notification types. */
void add_get_dir_delegation_of(struct compound *q, bool signal, uint32_t notifications);
/* `type`: with CLAIM_PREVIOUS */
void add_want_delegation(struct compound *q, uint32_t want, uint32_t claim, uint32_t type);
void add_secinfo_no_name(struct compound *q, uint32_t style);
void add_sequence(struct compound *q, const uint8_t *session, uint32_t seqid, uint32_t slot,
		  uint32_t highest_slot, bool cache_this);
void add_test_stateid(struct compound *q, const struct sid *sids, uint32_t n);
void add_destroy_clientid(struct compound *q, uint64_t clientid);
void add_reclaim_complete(struct compound *q, bool one_fs);

void add_allocate(struct compound *q, const struct sid *sid, uint64_t offset, uint64_t len);
void add_deallocate(struct compound *q, const struct sid *sid, uint64_t offset, uint64_t len);
void add_seek(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t what);
void add_copy(struct compound *q, const struct sid *src, const struct sid *dst, uint64_t src_off,
	      uint64_t dst_off, uint64_t len, bool consecutive, bool synchronous);
void add_clone(struct compound *q, const struct sid *src, const struct sid *dst, uint64_t src_off,
	       uint64_t dst_off, uint64_t len);
void add_io_advise(struct compound *q, const struct sid *sid, uint64_t offset, uint64_t len,
		   struct bitmap hints);
void add_read_plus(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t count);
void add_offload_status(struct compound *q, uint32_t op, const struct sid *sid);
/* RFC 8276; setxattr_option4: 0 either, 1 create, 2 replace */
void add_getxattr(struct compound *q, const char *key);
void add_setxattr(struct compound *q, uint32_t option, const char *key, const void *value,
		  uint32_t len);
void add_listxattrs(struct compound *q, uint64_t cookie, uint32_t maxcount);
void add_removexattr(struct compound *q, const char *key);

/* OPEN with everything that it can have. Zeroes: CLAIM_NULL, OPEN4_NOCREATE. */
struct open_args {
	uint32_t seqid, access, deny;
	uint64_t clientid;
	const char *owner;
	uint32_t opentype, createmode;
	const struct attrs *attrs; /* UNCHECKED4, GUARDED4, EXCLUSIVE4_1; may be NULL */
	struct verf verf;	   /* EXCLUSIVE4, EXCLUSIVE4_1 */
	uint32_t claim;
	const char *name;	/* CLAIM_NULL, CLAIM_DELEGATE_CUR, CLAIM_DELEGATE_PREV */
	uint32_t name_len;	/* 0: strlen() */
	uint32_t delegate_type; /* CLAIM_PREVIOUS */
	struct sid deleg_sid;	/* CLAIM_DELEGATE_CUR */
};
void add_open(struct compound *q, const struct open_args *a);

/* ---- things that tests do all the time ---- */

/* An open-owner or lock-owner with its sequence id of minor version 0. */
struct owner {
	char name[64];
	uint32_t seqid; /* of the next request */
};

struct owner *owner_new(void);

/* A directory of this test's own below the root. */
struct fh test_dir(struct client *cl);
struct fh root_fh(struct client *cl);
/* LOOKUP; the status, and the handle when it is OK. */
uint32_t lookup(struct client *cl, const struct fh *dir, const char *name, struct fh *out);
/* CREATE of a type other than NF4REG (devices 1,3), or an empty file by OPEN and CLOSE. */
struct fh make(struct client *cl, const struct fh *dir, uint32_t type, const char *name);
/* A regular file with that content. */
struct fh make_file(struct client *cl, const struct fh *dir, const char *name, const void *data,
		    uint32_t len);
struct attrs *getattrs(struct client *cl, const struct fh *fh, struct bitmap bm);
uint64_t getattr_num(struct client *cl, const struct fh *fh, unsigned attr);
uint32_t remove_name(struct client *cl, const struct fh *dir, const char *name);

struct open_file {
	struct fh fh;
	struct sid sid;
	struct owner *owner;
	uint32_t rflags;
	struct result *result; /* of the OPEN */
};

/*
 * OPEN by the owner, with OPEN_CONFIRM when it is asked for, and GETFH. The arguments' owner,
 * client ID and seqid are filled in. The status; *out is set when it is OK.
 */
uint32_t open_any(struct client *cl, struct owner *o, const struct fh *dir, struct open_args *a,
		  struct open_file *out);
/* OPEN of an existing name. */
uint32_t open_status(struct client *cl, struct owner *o, const struct fh *dir, const char *name,
		     uint32_t access, uint32_t deny, struct open_file *out);
/* OPEN4_CREATE UNCHECKED4 mode 0644; must succeed. */
struct open_file open_create(struct client *cl, struct owner *o, const struct fh *dir,
			     const char *name, uint32_t access, uint32_t deny);
uint32_t close_status(struct client *cl, struct open_file *f);
void close_file(struct client *cl, struct open_file *f);
/* True if a status makes minor version 0's seqid advance (RFC 7530 section 9.1.7). */
bool seqid_advances(uint32_t status);

struct lock_state {
	struct sid sid; /* valid once a LOCK has succeeded */
	struct owner *owner;
	bool have;
};

/* LOCK by the owner of `ls` on the open file, new or existing. `r` (may be NULL): the result. */
uint32_t lock_range(struct client *cl, struct open_file *f, struct lock_state *ls, uint32_t type,
		    uint64_t off, uint64_t len, struct result **r);
uint32_t unlock_range(struct client *cl, struct open_file *f, struct lock_state *ls, uint64_t off,
		      uint64_t len);
uint32_t lockt(struct client *cl, const struct fh *fh, struct owner *o, uint32_t type, uint64_t off,
	       uint64_t len, struct result **r);

/* ---- being called back (back.c) ---- */

/*
 * A call of the server's. Those that are only to find out whether somebody answers (CB_NULL, a
 * lone CB_SEQUENCE) have op 0.
 */
struct cb_call {
	struct conn *conn;
	struct cb_call *next;
	uint32_t xid, program, procedure, flavor, uid, gid;
	uint32_t minor, ident;
	/* CB_SEQUENCE */
	bool sequenced;
	uint8_t session[NFS4_SESSIONID_SIZE];
	uint32_t seqid, slot, highest_slot;
	bool cache_this;
	uint32_t nreferrals; /* lists; the first call of the first list: */
	uint8_t ref_session[NFS4_SESSIONID_SIZE];
	uint32_t ref_seqid, ref_slot;
	/* The operation. */
	uint32_t op;
	struct fh fh;	   /* CB_RECALL, CB_GETATTR, CB_NOTIFY_LOCK */
	struct sid sid;	   /* CB_RECALL */
	bool truncate;	   /* likewise */
	struct bitmap bm;  /* CB_GETATTR, CB_RECALL_ANY */
	uint32_t keep;	   /* CB_RECALL_ANY */
	uint64_t clientid; /* CB_NOTIFY_LOCK */
	uint8_t *owner;
	uint32_t owner_len;
};

/* The next call, also one that only probes; fails the test when none comes. Not answered yet. */
struct cb_call *cb_recv_any(struct conn *c);
/* The next call with an operation; answers those that only probe meanwhile. */
struct cb_call *cb_recv(struct conn *c);
/* True if no call with an operation comes for `ms` milliseconds; answers those that only probe. */
bool cb_quiet(struct conn *c, int ms);
/* Answers: CB_SEQUENCE is fine (if there is one), the operation (if any) has this status. */
void cb_answer(const struct cb_call *call, uint32_t status);
/* The same with a body behind the status. */
void cb_answer_body(const struct cb_call *call, uint32_t status, const void *body, size_t len);
/* CB_SEQUENCE itself fails. */
void cb_answer_sequence(const struct cb_call *call, uint32_t status);
/* As if there were no such program. */
void cb_answer_unavailable(const struct cb_call *call);

/* Where the server can connect to a client of minor version 0. */
struct cb_listener {
	int fd;
	char netid[8], addr[64]; /* universal address */
};

/* On a loopback address of AF_INET or AF_INET6. */
struct cb_listener *cb_listen(int family);
void cb_listener_close(struct cb_listener *l);
/* The server's connection; fails the test when none comes. */
struct conn *cb_accept(struct cb_listener *l);
/*
 * SETCLIENTID and SETCLIENTID_CONFIRM with that address (again); then cb_accept() and
 * cb_recv_any() give the CB_NULL.
 */
void cb_setclientid(struct client *cl, const char *netid, const char *addr, uint32_t program,
		    uint32_t ident);

/*
 * A confirmed client that has been found to answer, so that it may be given whatever needs
 * that: with sessions its connection is the back channel's, too; of minor version 0 the server's
 * connection is in *back.
 */
struct client *client_new_back(uint32_t minor, struct conn **back);
/* The status flags of a SEQUENCE of its own. */
uint32_t client_status_flags(struct client *cl);
/* BIND_CONN_TO_SESSION of another connection, both channels; it is not the client's conn. */
struct conn *client_bind_conn(struct client *cl, uint32_t dir);

/* ---- expectations ---- */

const char *status_name(uint32_t status);
/* True if the RFC's tables allow the operation to answer so in that minor version. */
bool status_is_valid(uint32_t minor, uint32_t op, uint32_t status);

#define expect(r, st)		 expect_at(r, st, __FILE__, __LINE__)
#define expect_status(got, want) expect_status_at(got, want, __FILE__, __LINE__)
/* One of several statuses, ended by -1: where the RFC leaves a choice. */
#define expect_one_of(got, ...) expect_one_of_at(__FILE__, __LINE__, got, __VA_ARGS__, -1)

/* The compound's status is `st`, and so is its last operation's. */
void expect_at(const struct reply *r, uint32_t st, const char *file, int line);
void expect_status_at(uint32_t got, uint32_t want, const char *file, int line);
void expect_one_of_at(const char *file, int line, uint32_t got, ...);
/* Fails the test with a message. */
_Noreturn void fail_test(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
#define fail_with(...) fail_test(__FILE__, __LINE__, __VA_ARGS__)
#define check(cond)                             \
	do {                                    \
		if (!(cond))                    \
			fail_with("%s", #cond); \
	} while (0)
#define check_num(got, want) check_num_at(got, want, #got, __FILE__, __LINE__)
void check_num_at(uint64_t got, uint64_t want, const char *what, const char *file, int line);

/* Internal to the library. */
struct conn *conn_adopt(int fd);
struct cb_call *cb_parse(struct conn *c, const uint8_t *bytes, size_t len);
void test_memory_free(void);
void conns_free(void);

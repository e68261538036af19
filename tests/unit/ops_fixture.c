#include "tests/unit/ops_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "nfsd/compound.h"

#define REPLY_MAX (1u << 20)

struct nfs_server *server;
const struct cred *caller;
const char *server_address = "127.0.0.1";
uint64_t connection = 1;
uint32_t same_xid;

static const struct cred *user;
static struct {
	bool exists;
	uint8_t id[NFS4_SESSIONID_SIZE];
	uint32_t seqid;
} session;

/* ---- the fake connection ---- */

static const struct sockaddr_in peer = { .sin_family = AF_INET };
static void *conn_slot;

const struct sockaddr *__wrap_rpc_conn_peer(const struct rpc_conn *conn);
uint64_t __wrap_rpc_conn_id(const struct rpc_conn *conn);
void __wrap_rpc_call_resume(struct rpc_call *call);
void __wrap_rpc_call_later(struct rpc_call *call, struct rpc_later *later);
void **__wrap_rpc_conn_slot(struct rpc_conn *conn);

const struct sockaddr *__wrap_rpc_conn_peer(const struct rpc_conn *conn)
{
	static struct sockaddr_in addr;

	addr = peer;
	addr.sin_port = htons(700);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return (const struct sockaddr *)&addr;
}

const struct sockaddr *__wrap_rpc_conn_local(const struct rpc_conn *conn);

const struct sockaddr *__wrap_rpc_conn_local(const struct rpc_conn *conn)
{
	static struct sockaddr_in addr;

	addr = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(2049) };
	assert_int_equal(inet_pton(AF_INET, server_address, &addr.sin_addr), 1);
	return (const struct sockaddr *)&addr;
}

static pthread_mutex_t resuming = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t has_resumed = PTHREAD_COND_INITIALIZER;
static bool resumed; /* under resuming */
void (*while_parked)(void);

void __wrap_rpc_call_resume(struct rpc_call *call)
{
	pthread_mutex_lock(&resuming);
	resumed = true;
	pthread_cond_signal(&has_resumed);
	pthread_mutex_unlock(&resuming);
}

/* There is no loop that has anything else to do. */
void __wrap_rpc_call_later(struct rpc_call *call, struct rpc_later *later)
{
	struct list just_this = LIST_INITIALIZER(just_this);

	list_push_back(&just_this, &later->link);
	later->fn(&just_this, false);
}

void await_resumed(void)
{
	pthread_mutex_lock(&resuming);
	while (!resumed)
		pthread_cond_wait(&has_resumed, &resuming);
	pthread_mutex_unlock(&resuming);
}

/* Has it been? Not any more. */
static bool take_resumed(void)
{
	bool was;

	pthread_mutex_lock(&resuming);
	was = resumed;
	resumed = false;
	pthread_mutex_unlock(&resuming);
	return was;
}

uint64_t __wrap_rpc_conn_id(const struct rpc_conn *conn)
{
	return connection;
}

void **__wrap_rpc_conn_slot(struct rpc_conn *conn)
{
	return &conn_slot;
}

/* ---- life ---- */

static void add_export(struct exports *e, const char *path, const char *client, const char *opts)
{
	struct config_error err;

	if (exports_add(e, path, client, opts, &err) != 0)
		fail_msg("%s: %s", path, err.message);
}

static struct exports *first_exports(void)
{
	struct exports *e = exports_new();

	assert_non_null(e);
	add_export(e, "/data", "127.0.0.1", "rw,insecure,no_root_squash,backend=memory");
	add_export(e, "/secret", "192.0.2.1", "rw,backend=memory");
	return e;
}

/* The inner export's directory must be there before it can be joined. */
static struct exports *all_exports(void)
{
	struct exports *e = first_exports();

	add_export(e, "/data/inner/ro", "127.0.0.1", "ro,insecure,backend=memory");
	return e;
}

int fixture_setup(void **state)
{
	struct nfs_server_options options;
	struct config_error err;
	struct exports *e;

	user = cred_get(TEST_UID, TEST_GID, NULL, 0);
	assert_non_null(user);
	caller = cred_root();
	session.exists = false;
	nfs_server_options_default(&options);
	options.scope = "test";
	e = first_exports();
	assert_int_equal(nfs_server_new(&options, e, &server, &err), 0);
	set_mode("data", 0777);
	make_dir("data", "inner");
	make_dir("data/inner", "ro");
	e = all_exports();
	assert_int_equal(nfs_server_reload(server, e, &err), 0);
	caller = user;
	return 0;
}

int fixture_teardown(void **state)
{
	nfs_server_free(server);
	cred_unref(user);
	return 0;
}

/* ---- sessions ---- */

struct exchange *begin_bare(uint32_t minor)
{
	struct exchange *e = calloc(1, sizeof(*e));

	assert_non_null(e);
	xdr_out_init(&e->req, 1 << 20);
	xdr_put_opaque(&e->req, "tag", 3);
	xdr_put_u32(&e->req, minor);
	e->nops_at = e->req.len;
	xdr_put_u32(&e->req, 0);
	return e;
}

static void put_channel(struct exchange *e)
{
	static const uint32_t attrs[] = { 0, 1 << 20, 1 << 20, 8192, 64, 4, 0 };

	for (unsigned i = 0; i < ARRAY_SIZE(attrs); i++)
		xdr_put_u32(&e->req, attrs[i]);
}

static uint64_t exchange_id(uint32_t *seqid)
{
	struct exchange *e = begin_bare(1);
	uint64_t clientid;

	ask(e, OP_EXCHANGE_ID);
	xdr_put_u64(&e->req, 12345);
	xdr_put_opaque(&e->req, "owner", 5);
	xdr_put_u32(&e->req, 0);
	xdr_put_u32(&e->req, SP4_NONE);
	xdr_put_u32(&e->req, 0);
	send_expect(e, NFS4_OK);
	result(e, OP_EXCHANGE_ID, NFS4_OK);
	clientid = get_u64(e);
	*seqid = get_u32(e);
	e->res.p = e->res.end;
	end(e);
	return clientid;
}

static void create_session(void)
{
	uint32_t seqid;
	uint64_t clientid = exchange_id(&seqid);
	struct exchange *e = begin_bare(1);

	ask(e, OP_CREATE_SESSION);
	xdr_put_u64(&e->req, clientid);
	xdr_put_u32(&e->req, seqid);
	xdr_put_u32(&e->req, 0);
	put_channel(e);
	put_channel(e);
	xdr_put_u32(&e->req, 0x40000000);
	xdr_put_u32(&e->req, 1); /* one kind of callback security: none */
	xdr_put_u32(&e->req, RPC_AUTH_NONE);
	send_expect(e, NFS4_OK);
	result(e, OP_CREATE_SESSION, NFS4_OK);
	assert_true(xdr_get_copy(&e->res, session.id, sizeof(session.id)));
	e->res.p = e->res.end;
	end(e);
	session.exists = true;
	session.seqid = 0;
}

static void put_sequence(struct exchange *e)
{
	ask(e, OP_SEQUENCE);
	xdr_put_fixed(&e->req, session.id, sizeof(session.id));
	xdr_put_u32(&e->req, ++session.seqid);
	xdr_put_u32(&e->req, 0);
	xdr_put_u32(&e->req, 0);
	xdr_put_bool(&e->req, false);
}

struct exchange *begin(uint32_t minor)
{
	struct exchange *e;

	if (minor && !session.exists) {
		const struct cred *who = caller;

		caller = user;
		create_session();
		caller = who;
	}
	e = begin_bare(minor);
	if (minor)
		put_sequence(e);
	return e;
}

/* ---- sending ---- */

void ask(struct exchange *e, uint32_t opnum)
{
	xdr_put_u32(&e->req, opnum);
	e->nops++;
}

static enum rpc_verdict run(struct exchange *e)
{
	struct rpc_call call = {
		.program = NFS4_PROGRAM,
		.version = NFS4_VERSION,
		.procedure = NFSPROC4_COMPOUND,
		.auth = { .flavor = RPC_AUTH_SYS, .cred = caller },
	};
	static uint32_t xid;
	enum rpc_verdict verdict;

	assert_false(e->req.failed);
	xdr_patch_u32(&e->req, e->nops_at, e->nops);
	call.xid = same_xid ? same_xid : ++xid;
	call.record_len = e->req.len;
	arena_init(&call.arena);
	xdr_in_init(&call.args, e->req.buf, e->req.len);
	xdr_out_init(&call.reply, REPLY_MAX);
	/* The solo log answers at once; who parks all the same has been resumed by now. */
	take_resumed();
	verdict = compound_run(server, &call);
	while (verdict == RPC_PARKED) {
		bool was = take_resumed();

		if (!was && while_parked) {
			while_parked();
			was = take_resumed();
		}
		assert_true(was);
		verdict = call.resume(&call);
	}
	if (call.done)
		call.done(&call);
	assert_false(call.reply.failed);
	e->reply = call.reply;
	if (!e->reply.extents)
		e->reply.extents_tail = &e->reply.extents;
	arena_free(&call.arena);
	return verdict;
}

bool send_any(struct exchange *e)
{
	const uint8_t *tag;
	uint32_t len;

	if (run(e) == RPC_DROP)
		return false;
	xdr_in_init(&e->res, e->reply.buf, e->reply.len);
	e->status = get_u32(e);
	assert_true(xdr_get_opaque(&e->res, 1024, &tag, &len));
	assert_int_equal(len, 3);
	e->nresults = get_u32(e);
	return true;
}

void send_expect(struct exchange *e, enum nfsstat4 status)
{
	const uint8_t *tag;
	uint32_t len, opnum;
	bool sequence;

	assert_int_equal(run(e), RPC_REPLY);
	memcpy(&opnum, e->req.buf + e->nops_at + 4, 4);
	sequence = be32toh(opnum) == OP_SEQUENCE;
	xdr_in_init(&e->res, e->reply.buf, e->reply.len);
	e->status = get_u32(e);
	assert_true(xdr_get_opaque(&e->res, 1024, &tag, &len));
	assert_int_equal(len, 3);
	e->nresults = get_u32(e);
	if (sequence) {
		result(e, OP_SEQUENCE, NFS4_OK);
		assert_true(xdr_get_fixed(&e->res, &tag, NFS4_SESSIONID_SIZE + 20));
	}
	assert_int_equal(e->status, status);
}

void result(struct exchange *e, uint32_t opnum, enum nfsstat4 status)
{
	assert_int_equal(get_u32(e), opnum);
	assert_int_equal(get_u32(e), status);
}

void end(struct exchange *e)
{
	assert_int_equal(xdr_in_left(&e->res), 0);
	xdr_out_free(&e->req);
	xdr_out_free(&e->reply);
	free(e);
}

/* ---- operations ---- */

void put_name(struct exchange *e, const char *name)
{
	xdr_put_opaque(&e->req, name, (uint32_t)strlen(name));
}

/* Calls `each` with every component of `path`. */
static void components(struct exchange *e, const char *path,
		       void (*each)(struct exchange *e, const char *name))
{
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		each(e, name);
}

static void lookup_one(struct exchange *e, const char *name)
{
	ask_name(e, OP_LOOKUP, name);
}

static void looked_up_one(struct exchange *e, const char *name)
{
	ok(e, OP_LOOKUP);
}

void go(struct exchange *e, const char *path)
{
	ask(e, OP_PUTROOTFH);
	components(e, path, lookup_one);
}

void went(struct exchange *e, const char *path)
{
	ok(e, OP_PUTROOTFH);
	components(e, path, looked_up_one);
}

void ask_name(struct exchange *e, uint32_t opnum, const char *name)
{
	ask(e, opnum);
	put_name(e, name);
}

void ask_attr(struct exchange *e, unsigned attr)
{
	struct attr_bitmap b = { 0 };

	attr_add(&b, attr);
	ask(e, OP_GETATTR);
	xdr_put_bitmap(&e->req, &b);
}

void put_fattr(struct exchange *e, unsigned attr, const void *values, uint32_t len)
{
	struct attr_bitmap b = { 0 };

	attr_add(&b, attr);
	xdr_put_bitmap(&e->req, &b);
	xdr_put_opaque(&e->req, values, len);
}

void put_anonymous(struct exchange *e)
{
	static const uint8_t zeros[4 + NFS4_OTHER_SIZE];

	xdr_put_fixed(&e->req, zeros, sizeof(zeros));
}

/* ---- results ---- */

uint32_t get_u32(struct exchange *e)
{
	uint32_t v;

	assert_true(xdr_get_u32(&e->res, &v));
	return v;
}

uint64_t get_u64(struct exchange *e)
{
	uint64_t v;

	assert_true(xdr_get_u64(&e->res, &v));
	return v;
}

void ok(struct exchange *e, uint32_t opnum)
{
	result(e, opnum, NFS4_OK);
}

struct dir_change get_change(struct exchange *e)
{
	struct dir_change change = { 0 };

	assert_true(xdr_get_bool(&e->res, &change.atomic));
	change.before = get_u64(e);
	change.after = get_u64(e);
	return change;
}

struct bytes got_attr(struct exchange *e)
{
	struct fattr f;

	result(e, OP_GETATTR, NFS4_OK);
	assert_true(xdr_get_fattr(&e->res, &f));
	assert_false(attr_empty(&f.mask));
	return f.values;
}

uint64_t got_u64(struct exchange *e)
{
	struct bytes b = got_attr(e);
	uint64_t be;

	assert_int_equal(b.len, 8);
	memcpy(&be, b.p, 8);
	return be64toh(be);
}

uint32_t got_u32(struct exchange *e)
{
	struct bytes b = got_attr(e);
	uint32_t be;

	assert_int_equal(b.len, 4);
	memcpy(&be, b.p, 4);
	return be32toh(be);
}

/* ---- whole requests ---- */

void expect_name_op(const char *path, uint32_t opnum, const char *name, enum nfsstat4 status)
{
	struct exchange *e = begin(0);

	go(e, path);
	ask_name(e, opnum, name);
	send_expect(e, status);
	went(e, path);
	result(e, opnum, status);
	e->res.p = e->res.end;
	end(e);
}

static void create(const char *path, const char *name, uint32_t type, const char *target)
{
	static const uint8_t mode_0755[] = { 0, 0, 1, 0xed };
	struct exchange *e = begin(0);

	go(e, path);
	ask(e, OP_CREATE);
	xdr_put_u32(&e->req, type);
	if (target)
		put_name(e, target);
	put_name(e, name);
	put_fattr(e, FATTR4_MODE, mode_0755, sizeof(mode_0755));
	send_expect(e, NFS4_OK);
	e->res.p = e->res.end;
	end(e);
}

void make_dir(const char *path, const char *name)
{
	create(path, name, NF4DIR, NULL);
}

void make_link(const char *path, const char *name, const char *target)
{
	create(path, name, NF4LNK, target);
}

/* The object at `path`, by the way of the protocol: its filehandle, decoded. */
struct object *object_at(const char *path)
{
	struct nfs_fh fh = fh_of(path);
	struct export_set *set = nfs_server_exports(server);
	struct export *exp;
	struct bytes handle;
	struct object *obj;
	uint64_t id;

	assert_int_equal(fh_decode(&server->options.handle_key, fh.data, fh.len, &id, &handle),
			 NFS4_OK);
	exp = export_set_find(set, id);
	assert_non_null(exp);
	assert_int_equal(exp->backend->backend->from_handle(exp->backend, handle.p, handle.len,
							    &obj),
			 0);
	export_set_unref(set);
	return obj;
}

static void write_all(struct file *file, const void *data, size_t len)
{
	struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
	struct payload_in in = { .iov = &iov, .iovcnt = 1, .pipe_fd = -1, .len = len };
	enum stability how = FILE_SYNC;
	size_t written = 0;

	if (!len)
		return;
	assert_int_equal(file->object->backend->write(file, 0, &in, &how, &written), 0);
	assert_int_equal(written, len);
}

void make_file(const char *path, const char *name, const void *data, size_t len)
{
	struct object *dir = object_at(path), *obj;
	struct create_args args = {
		.type = FILE_REGULAR,
		.attrs = { .mask = ATTR_SET_MODE, .mode = 0644 },
		.mode = CREATE_GUARDED,
	};
	struct dir_change change = { 0 };
	struct file *file;
	bool created;

	assert_int_equal(dir->backend->open_create(dir, caller, name, ACCESS_WRITE, &args, &change,
						   &created, &obj, &file),
			 0);
	assert_true(created);
	write_all(file, data, len);
	file_unref(file);
	object_unref(obj);
	object_unref(dir);
}

void make_fifo(const char *path, const char *name)
{
	struct object *dir = object_at(path), *obj;
	struct create_args args = {
		.type = FILE_FIFO,
		.attrs = { .mask = ATTR_SET_MODE, .mode = 0666 },
		.mode = CREATE_GUARDED,
	};
	struct dir_change change = { 0 };

	assert_int_equal(dir->backend->create(dir, cred_root(), name, &args, &change, &obj), 0);
	object_unref(obj);
	object_unref(dir);
}

void write_block(const char *path, uint64_t offset, const void *data, uint32_t len)
{
	struct exchange *e = begin(0);

	go(e, path);
	ask(e, OP_WRITE);
	put_anonymous(e);
	xdr_put_u64(&e->req, offset);
	xdr_put_u32(&e->req, FILE_SYNC4);
	xdr_put_opaque(&e->req, data, len);
	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, OP_WRITE);
	assert_int_equal(get_u32(e), len);
	e->res.p = e->res.end;
	end(e);
}

uint64_t attr_u64(const char *path, unsigned attr)
{
	struct exchange *e = begin(0);
	uint64_t v;

	go(e, path);
	ask_attr(e, attr);
	send_expect(e, NFS4_OK);
	went(e, path);
	v = got_u64(e);
	end(e);
	return v;
}

uint32_t attr_u32(const char *path, unsigned attr)
{
	struct exchange *e = begin(0);
	uint32_t v;

	go(e, path);
	ask_attr(e, attr);
	send_expect(e, NFS4_OK);
	went(e, path);
	v = got_u32(e);
	end(e);
	return v;
}

void set_mode(const char *path, uint32_t mode)
{
	struct exchange *e = begin(0);
	uint32_t be = htobe32(mode);

	go(e, path);
	ask(e, OP_SETATTR);
	put_anonymous(e);
	put_fattr(e, FATTR4_MODE, &be, 4);
	send_expect(e, NFS4_OK);
	e->res.p = e->res.end;
	end(e);
}

struct nfs_fh fh_of(const char *path)
{
	struct exchange *e = begin(0);
	struct nfs_fh fh;
	const uint8_t *p;
	uint32_t len;

	go(e, path);
	ask(e, OP_GETFH);
	send_expect(e, NFS4_OK);
	went(e, path);
	ok(e, OP_GETFH);
	assert_true(xdr_get_opaque(&e->res, NFS4_FHSIZE, &p, &len));
	memcpy(fh.data, p, len);
	fh.len = (uint8_t)len;
	end(e);
	return fh;
}

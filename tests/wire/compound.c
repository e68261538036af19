/*
 * COMPOUND (RFC 7530 section 14.2, RFC 8881 section 16.2): what holds for every operation.
 * Order, limits, arguments that do not decode, filehandles that are not there or not real.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/samples.h"

/* ---- the header ---- */

/* RFC 7530 section 14.2.3: an unknown minor version, with no results and the tag. */
static void minor_version_mismatch(void **state)
{
	static const uint32_t minors[] = { 3, 4, 100, 0xffffffff };
	struct conn *c = conn_new();

	for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++) {
		struct compound *q = compound_begin(c, minors[i], "a tag");
		struct reply *r;

		add_putrootfh(q);
		add_raw(q, 77777);
		r = call(q);
		check_num(r->status, NFS4ERR_MINOR_VERS_MISMATCH);
		check_num(r->nops, 0);
		check(strcmp(r->tag, "a tag") == 0);
	}
}

/* RFC 7530 section 14.2.3: the tag comes back as it was. */
static void tag_is_echoed(void **state)
{
	struct conn *c = conn_new();
	char tag[1025];

	for (uint32_t len = 0; len <= 1024; len = len < 10 ? len + 1 : len * 2) {
		struct compound *q;
		struct reply *r;

		memset(tag, 'x', sizeof(tag));
		tag[len] = 0;
		q = compound_begin(c, 0, tag);
		add_putrootfh(q);
		r = call(q);
		expect(r, NFS4_OK);
		check_num(r->tag_len, len);
		check(memcmp(r->tag, tag, len) == 0);
	}
}

/* A compound of nothing succeeds (RFC 8881 section 16.2.3: zero or more operations). */
static void no_operations(void **state)
{
	struct compound *q = compound_begin(conn_new(), minor_of(state), "");

	expect(call(q), NFS4_OK);
}

/* The first failure ends the compound; what came before it stands. */
static void stops_at_first_error(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q = begin_at(cl, &dir);
	struct reply *r;

	add_create(q, NF4DIR, "made", NULL, 0, 0, NULL);
	add_putrootfh(q);
	add_lookup(q, "there is no such name");
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
	r = call(q);
	expect(r, NFS4ERR_NOENT);
	check_num(last(r)->op, OP_LOOKUP);
	check_num(r->nops, q->nops - 1);
	expect_status(lookup(cl, &dir, "made", NULL), NFS4_OK);
}

/* ---- operation numbers ---- */

/* RFC 7530 section 16.35, RFC 8881 section 18.52: numbers that do not exist. */
static void illegal_operations(void **state)
{
	static const uint32_t numbers[] = { 0,	  1,	 2,	76,	    100,
					    1000, 10043, 10044, 0x7fffffff, 0xffffffff };
	struct client *cl = client_new(minor_of(state));

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct compound *q = begin(cl);
		struct reply *r;

		add_putrootfh(q);
		add_raw(q, numbers[i]);
		add_getfh(q);
		r = call(q);
		expect(r, NFS4ERR_OP_ILLEGAL);
		check_num(last(r)->op, OP_ILLEGAL);
		check_num(r->nops, q->nops - 1);
	}
}

/* Operations of later minor versions are illegal in earlier ones (RFC 8178 section 6). */
static void later_operations(void **state)
{
	uint32_t minor = minor_of(state);
	struct client *cl = client_new(minor);

	for (size_t i = 0; i < samples_n; i++) {
		struct compound *q = begin(cl);
		struct reply *r;

		if (sample_in(&samples[i], minor))
			continue;
		add_putrootfh(q);
		samples[i].put(q, cl);
		r = call(q);
		expect(r, NFS4ERR_OP_ILLEGAL);
		check_num(last(r)->op, OP_ILLEGAL);
	}
}

/* RFC 8881 section 17: minor version 0's own operations must not be implemented. */
static void operations_gone(void **state)
{
	struct client *cl = client_new(minor_of(state));

	for (size_t i = 0; i < samples_n; i++) {
		struct compound *q = begin(cl);

		if (!(samples[i].flags & GONE))
			continue;
		add_putrootfh(q);
		samples[i].put(q, cl);
		expect(call(q), NFS4ERR_NOTSUPP);
	}
}

/* ---- SEQUENCE's place (RFC 8881 sections 2.10.2, 2.10.6, 18.46) ---- */

/* Operations that need a session, without one. */
static void not_in_session(void **state)
{
	struct client *cl = client_new(minor_of(state));

	for (size_t i = 0; i < samples_n; i++) {
		const struct sample *s = &samples[i];
		struct compound *q = compound_begin(cl->conn, cl->minor, "");
		struct reply *r;

		if (!sample_in(s, cl->minor) || s->flags & (ALONE | GONE) || s->op == OP_SEQUENCE)
			continue;
		s->put(q, cl);
		r = call(q);
		if (s->flags & OPTIONAL && r->status == NFS4ERR_NOTSUPP)
			continue;
		expect(r, NFS4ERR_OP_NOT_IN_SESSION);
		check_num(r->nops, 1);
	}
}

/* SEQUENCE that is not the first operation. */
static void sequence_position(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);
	struct reply *r;

	add_sequence(q, cl->session, cl->slot_seq[0] + 1, 0, 0, false);
	r = call(q);
	expect(r, NFS4ERR_SEQUENCE_POS);
	check_num(r->nops, 2);

	q = begin(cl);
	add_putrootfh(q);
	add_sequence(q, cl->session, cl->slot_seq[0] + 1, 0, 0, false);
	expect(call(q), NFS4ERR_SEQUENCE_POS);
}

/* Operations that do without SEQUENCE must be alone then. */
static void not_only_operation(void **state)
{
	struct client *cl = client_new(minor_of(state));

	for (size_t i = 0; i < samples_n; i++) {
		struct compound *q = compound_begin(cl->conn, cl->minor, "");

		if (!(samples[i].flags & ALONE))
			continue;
		samples[i].put(q, cl);
		add_putrootfh(q);
		expect(call(q), NFS4ERR_NOT_ONLY_OP);
	}
}

/* ---- limits of the channel (RFC 8881 section 2.10.6.4) ---- */

static struct client *limited_client(uint32_t minor, const struct chan *want)
{
	static const struct chan back = { 0, 4096, 4096, 0, 2, 1 };
	struct client *cl = client_new(minor);
	struct compound *q = compound_begin(cl->conn, minor, "");
	struct reply *r;

	add_create_session(q, cl->clientid, cl->cs_sequence, 0, want, &back);
	r = call(q);
	expect(r, NFS4_OK);
	cl->cs_sequence++;
	memcpy(cl->session, r->op[0].session, sizeof(cl->session));
	cl->fore = r->op[0].fore;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		cl->slot_seq[i] = 1;
	/* Never more than was asked for. */
	check(cl->fore.max_request <= want->max_request);
	check(cl->fore.max_response <= want->max_response);
	check(cl->fore.max_cached <= want->max_cached);
	check(cl->fore.max_ops <= want->max_ops);
	check(cl->fore.max_requests <= want->max_requests);
	return cl;
}

static void too_many_operations(void **state)
{
	struct chan want = { 0, 65536, 65536, 4096, 8, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	uint32_t most = cl->fore.max_ops;
	struct compound *q = begin(cl);

	for (uint32_t i = 1; i < most; i++)
		add_putrootfh(q);
	expect(call(q), NFS4_OK);
	q = begin(cl);
	for (uint32_t i = 1; i <= most; i++)
		add_putrootfh(q);
	expect(call(q), NFS4ERR_TOO_MANY_OPS);
}

static void request_too_big(void **state)
{
	struct chan want = { 0, 4096, 65536, 4096, 16, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	struct compound *q = begin(cl);
	char *data = test_alloc(8192);
	struct reply *r;

	add_putrootfh(q);
	add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, data, 8192);
	r = call(q);
	expect(r, NFS4ERR_REQ_TOO_BIG);
	check_num(r->nops, 1);
	/* The session goes on. */
	q = begin(cl);
	add_putrootfh(q);
	expect(call(q), NFS4_OK);
}

/* The reply limit counts the whole RPC reply, and no reply is ever longer. */
static void reply_too_big(void **state)
{
	struct chan want = { 0, 65536, 2048, 1024, 100, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	uint32_t most = cl->fore.max_ops;
	struct compound *q = begin(cl);
	struct reply *r;
	bool too_big = false;

	check(most >= 8);
	add_putrootfh(q);
	/* Attributes of some 100 bytes each time. */
	for (uint32_t i = 2; i < most; i++)
		add_getattr(q, bm_of(FATTR4_SUPPORTED_ATTRS, FATTR4_FSID, FATTR4_FILEHANDLE,
				     FATTR4_TIME_ACCESS, FATTR4_TIME_MODIFY, FATTR4_TIME_METADATA,
				     FATTR4_OWNER, FATTR4_OWNER_GROUP, FATTR4_SPACE_TOTAL,
				     FATTR4_SPACE_FREE, FATTR4_FILEID, -1));
	r = call(q);
	too_big = r->status == NFS4ERR_REP_TOO_BIG;
	if (!too_big)
		fail_with("got %s after %u operations, expected NFS4ERR_REP_TOO_BIG",
			  status_name(r->status), r->nops);
	check(r->rpc->body_len + 24 <= cl->fore.max_response);
	q = begin(cl);
	add_putrootfh(q);
	expect(call(q), NFS4_OK);
}

/* A READ that asks for more than the reply can take. */
static void read_beyond_reply_limit(void **state)
{
	struct chan want = { 0, 65536, 4096, 1024, 16, 4 };
	struct client *cl = limited_client(minor_of(state), &want), *other = client_new(1);
	struct fh dir = test_dir(other);
	char *data = test_alloc(16384);
	struct fh fh = make_file(other, &dir, "f", data, 16384);
	struct compound *q = begin_at(cl, &fh);
	struct reply *r;

	add_read(q, &SID_ANONYMOUS, 0, 16384);
	r = call(q);
	/* Too big, or less than was asked for. */
	expect_one_of(r->status, NFS4_OK, NFS4ERR_REP_TOO_BIG);
	check(r->rpc->body_len + 24 <= cl->fore.max_response);
	if (r->status == NFS4_OK)
		check(last(r)->len > 0 && !last(r)->eof);
}

static void reply_too_big_to_cache(void **state)
{
	struct chan want = { 0, 65536, 65536, 512, 100, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	struct compound *q;
	struct reply *r;
	uint32_t n = cl->fore.max_ops;

	cl->cache_this = true;
	q = begin(cl);
	add_putrootfh(q);
	for (uint32_t i = 2; i < n; i++)
		add_getattr(q, bm_of(FATTR4_FILEHANDLE, FATTR4_OWNER, FATTR4_OWNER_GROUP,
				     FATTR4_FSID, FATTR4_SPACE_TOTAL, FATTR4_FILEID, -1));
	r = call(q);
	expect(r, NFS4ERR_REP_TOO_BIG_TO_CACHE);
	/* Without the wish to cache it is no matter. */
	cl->cache_this = false;
	if (r->op[0].status != NFS4_OK)
		return;
	q = begin(cl);
	add_putrootfh(q);
	for (uint32_t i = 2; i < n; i++)
		add_getattr(q, bm_of(FATTR4_FILEHANDLE, FATTR4_OWNER, FATTR4_OWNER_GROUP,
				     FATTR4_FSID, FATTR4_SPACE_TOTAL, FATTR4_FILEID, -1));
	expect(call(q), NFS4_OK);
}

/* An entry for which there is room in a reply, but not in one that is cached. */
static void entry_too_big_to_cache(void **state)
{
	struct chan want = { 0, 65536, 65536, 300, 16, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	struct fh dir = test_dir(cl);
	struct verf none = { 0 };
	char name[240];

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	make_file(cl, &dir, name, "", 0);
	for (int cached = 1; cached >= 0; cached--) {
		struct compound *q;

		cl->cache_this = cached;
		q = begin_at(cl, &dir);
		add_readdir(q, 0, &none, 4096, 8192, bm_of(FATTR4_FILEID, -1));
		expect(call(q), cached ? NFS4ERR_REP_TOO_BIG_TO_CACHE : NFS4_OK);
	}
}

/* A session that caches nothing at all: whoever asks for it all the same is told so. */
static void nothing_cacheable(void **state)
{
	struct chan want = { 0, 65536, 65536, 0, 16, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	struct compound *q;

	cl->cache_this = true;
	q = begin(cl);
	add_putrootfh(q);
	add_getattr(q, bm_of(FATTR4_TYPE, -1));
	expect(call(q), NFS4ERR_REP_TOO_BIG_TO_CACHE);
	cl->cache_this = false;
	q = begin(cl);
	add_putrootfh(q);
	expect(call(q), NFS4_OK);
}

/*
 * Where not even SEQUENCE's own result can be cached, SEQUENCE says so, and the slot stays as it
 * was (section 18.46.3).
 */
static void sequence_not_cacheable(void **state)
{
	struct chan want = { 0, 65536, 65536, 10, 16, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct reply *r;

	add_sequence(q, cl->session, cl->slot_seq[0], 0, 0, true);
	add_putrootfh(q);
	r = call(q);
	expect(r, NFS4ERR_REP_TOO_BIG_TO_CACHE);
	check_num(r->nops, 1);
	q = begin(cl);
	add_putrootfh(q);
	expect(call(q), NFS4_OK);
}

/* The narrowest session that the server grants still gets well-formed errors. */
static void narrow_session(void **state)
{
	struct client *cl = NULL;
	struct compound *q;
	struct reply *r;

	for (uint32_t most = 80; most < 1000 && !cl; most += 4) {
		static const struct chan back = { 0, 4096, 4096, 0, 2, 1 };
		struct chan want = { 0, 65536, most, most, 16, 4 };
		struct client *try = client_new(minor_of(state));

		q = compound_begin(try->conn, try->minor, "");
		add_create_session(q, try->clientid, try->cs_sequence, 0, &want, &back);
		r = call(q);
		if (r->status == NFS4ERR_TOOSMALL)
			continue;
		expect(r, NFS4_OK);
		cl = try;
		memcpy(cl->session, last(r)->session, sizeof(cl->session));
		cl->slot_seq[0] = 1;
	}
	check(cl != NULL);
	for (int i = 0; i < 2; i++) {
		cl->cache_this = i;
		q = begin(cl);
		add_putrootfh(q);
		add_getattr(q,
			    bm_of(FATTR4_TYPE, FATTR4_FSID, FATTR4_OWNER, FATTR4_FILEHANDLE, -1));
		r = call(q);
		expect_one_of(r->status, NFS4ERR_REP_TOO_BIG, NFS4ERR_REP_TOO_BIG_TO_CACHE);
	}
}

/* A retry of what was not to be cached: the reply all the same, or RETRY_UNCACHED_REP. */
static void retry_uncached(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q = begin_at(cl, &dir);
	struct rpc_reply *again;
	struct reply *r;

	add_create(q, NF4DIR, "once", NULL, 0, 0, NULL);
	r = call(q);
	expect(r, NFS4_OK);
	again = rpc_call(q->conn, &q->enc);
	r = compound_parse(q, again);
	expect_one_of(r->status, NFS4_OK, NFS4ERR_RETRY_UNCACHED_REP);
	q = begin(cl);
	expect(call(q), NFS4_OK);
}

/* Of what is not there the reply cache cannot have forgotten the reply (section 2.10.6.1.3). */
static void retry_uncached_illegal(void **state)
{
	struct client *cl = client_new(minor_of(state));
	const uint32_t ops[] = { 2, OP_SETCLIENTID };

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		struct compound *q = begin(cl);
		uint32_t status = i ? NFS4ERR_NOTSUPP : NFS4ERR_OP_ILLEGAL;

		add_raw(q, ops[i]);
		expect(call(q), status);
		expect(compound_parse(q, rpc_call(q->conn, &q->enc)), status);
	}
}

/* A file that could not be named in the reply is not made (section 2.10.6.4). */
static void no_room_for_handle(void **state)
{
	struct chan want = { 0, 65536, 290, 290, 16, 4 };
	struct client *cl = limited_client(minor_of(state), &want);
	struct client *wide = client_new(minor_of(state));
	struct fh dir = test_dir(wide);
	struct compound *q = begin_at(cl, &dir);

	add_create(q, NF4DIR, "never", NULL, 0, 0, NULL);
	add_getfh(q);
	expect(call(q), NFS4ERR_REP_TOO_BIG);
	expect_status(lookup(wide, &dir, "never", NULL), NFS4ERR_NOENT);
	/* Who does not ask for it may have it made. */
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "made", NULL, 0, 0, NULL);
	expect(call(q), NFS4_OK);
}

/* Minor version 0 has no negotiated limits; absurd numbers of operations end in an error. */
static void many_operations_40(void **state)
{
	struct conn *c = conn_new();
	struct compound *q = compound_begin(c, 0, "");
	struct reply *r;

	for (int i = 0; i < 200; i++)
		add_putrootfh(q);
	r = call(q);
	expect_one_of(r->status, NFS4_OK, NFS4ERR_RESOURCE);
	check(r->nops <= 200);
}

/* ---- arguments that do not decode ---- */

/* Sends the compound and returns whatever RPC has to say. */
static struct rpc_reply *exchange(struct compound *q)
{
	size_t len;

	compound_bytes(q, &len);
	return rpc_call(q->conn, &q->enc);
}

/* GARBAGE_ARGS, or the operation's BADXDR; `also`: another status that will do. */
static void expect_garbage(struct compound *q, struct rpc_reply *rpc, uint32_t op, size_t cut,
			   uint32_t also)
{
	struct reply *r;

	if (rpc->outcome == RPC_GARBAGE_ARGS_R)
		return;
	r = compound_parse(q, rpc);
	compound_done(q, r);
	if (r->status == NFS4ERR_BADXDR || (also && r->status == also))
		return;
	fail_with("operation %u, cut %zu bytes behind its start: got %s from operation %u", op, cut,
		  status_name(r->status), r->nops ? last(r)->op : 0);
}

/* Every operation, cut off at every byte. */
static void truncated_arguments(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < samples_n; i++) {
		const struct sample *s = &samples[i];
		struct compound *q;
		size_t cut = 0, full, start;

		if (!sample_in(s, cl->minor) || (s->flags & GONE && cl->minor > 0))
			continue;
		do {
			bool optional = s->flags & (cl->minor ? OPTIONAL : OPTIONAL_40);
			bool alone = s->flags & ALONE || s->op == OP_SEQUENCE;

			q = alone ? compound_begin(cl->conn, cl->minor, "") : begin(cl);
			if (!alone) {
				add_putfh(q, &dir);
				add_savefh(q);
			}
			s->put(q, cl);
			compound_bytes(q, &full);
			start = q->op_at[q->nops - 1];
			if (start + cut >= full)
				break;
			check(conn_send(cl->conn, q->enc.buf, start + cut));
			expect_garbage(q, rpc_must_recv(cl->conn), s->op, cut,
				       optional ? NFS4ERR_NOTSUPP : 0);
			cut++;
		} while (true);
	}
}

/* More operations announced than there are. */
static void fewer_operations_than_announced(void **state)
{
	static const uint32_t counts[] = { 3, 4, 100, 0x7fffffff, 0xffffffff };
	uint32_t minor = minor_of(state);
	struct client *cl = client_new(minor);

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		struct compound *q = begin(cl);
		u_int end;
		struct rpc_reply *rpc;
		struct reply *r;

		add_putrootfh(q);
		end = xdr_getpos(&q->enc.xdr);
		check(xdr_setpos(&q->enc.xdr, q->count_at));
		put_u32(&q->enc, counts[i]);
		check(xdr_setpos(&q->enc.xdr, end));
		rpc = rpc_call(cl->conn, &q->enc);
		if (rpc->outcome == RPC_GARBAGE_ARGS_R)
			continue;
		q->nops = OPS_MAX;
		for (uint32_t n = minor ? 2 : 1; n < OPS_MAX; n++)
			q->ops[n] = OP_ILLEGAL;
		r = compound_parse(q, rpc);
		compound_done(q, r);
		expect_one_of(r->status, NFS4ERR_BADXDR, NFS4ERR_RESOURCE, NFS4ERR_TOO_MANY_OPS,
			      NFS4ERR_OP_ILLEGAL);
	}
}

/* Lengths far beyond the record, wherever there is one. */
static void hostile_lengths(void **state)
{
	static const uint32_t lengths[] = { 0xffffffff, 0xfffffffc, 0x80000000, 0x7fffffff,
					    0x01000000 };
	static const uint32_t ops[] = { OP_LOOKUP, OP_PUTFH,   OP_REMOVE,
					OP_LINK,   OP_GETATTR, OP_SECINFO };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct compound *q;

		for (size_t o = 0; o < sizeof(ops) / sizeof(ops[0]); o++) {
			q = begin_at(cl, &dir);
			add_savefh(q);
			add_raw(q, ops[o]);
			put_u32(&q->enc, lengths[i]);
			put_u64(&q->enc, 0);
			expect_garbage(q, exchange(q), ops[o], 4,
				       ops[o] == OP_PUTFH ? NFS4ERR_BADHANDLE : 0);
		}
		/* WRITE: data; SETATTR: bitmap, and the values' length. */
		q = begin_at(cl, &dir);
		add_raw(q, OP_WRITE);
		put_u32(&q->enc, 0);
		put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
		put_u64(&q->enc, 0);
		put_u32(&q->enc, 2);
		put_u32(&q->enc, lengths[i]);
		expect_garbage(q, exchange(q), OP_WRITE, 0, 0);
		q = begin_at(cl, &dir);
		add_raw(q, OP_SETATTR);
		put_u32(&q->enc, 0);
		put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
		put_u32(&q->enc, 1);
		put_u32(&q->enc, 1u << FATTR4_SIZE);
		put_u32(&q->enc, lengths[i]);
		put_u64(&q->enc, 0);
		expect_garbage(q, exchange(q), OP_SETATTR, 0, 0);
	}
}

/* RFC 4506 section 4.4: a boolean is 0 or 1. */
static void bad_booleans(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q = begin_at(cl, &dir);

	add_raw(q, OP_LOCK);
	put_u32(&q->enc, READ_LT);
	put_u32(&q->enc, 2); /* reclaim */
	put_u64(&q->enc, 0);
	put_u64(&q->enc, 1);
	put_u32(&q->enc, 0);
	put_u32(&q->enc, 0);
	put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
	put_u32(&q->enc, 0);
	expect_garbage(q, exchange(q), OP_LOCK, 0, 0);

	q = begin_at(cl, &dir);
	add_raw(q, OP_LOCK);
	put_u32(&q->enc, READ_LT);
	put_u32(&q->enc, 0);
	put_u64(&q->enc, 0);
	put_u64(&q->enc, 1);
	put_u32(&q->enc, 7); /* new owner */
	put_u32(&q->enc, 0);
	put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
	put_u32(&q->enc, 0);
	expect_garbage(q, exchange(q), OP_LOCK, 0, 0);
}

/* Unions and enumerations without that arm: BADXDR, or INVAL where the RFC has it. */
static void bad_discriminants(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q;
	struct open_args a = {
		.seqid = 1, .access = 1, .owner = "o", .name = "n", .clientid = cl->clientid
	};

	a.opentype = 2;
	q = begin_at(cl, &dir);
	add_open(q, &a);
	expect_garbage(q, exchange(q), OP_OPEN, 0, NFS4ERR_INVAL);
	a.opentype = OPEN4_CREATE;
	a.createmode = 9;
	q = begin_at(cl, &dir);
	add_open(q, &a);
	expect_garbage(q, exchange(q), OP_OPEN, 0, NFS4ERR_INVAL);
	a.opentype = OPEN4_NOCREATE;
	a.claim = 9;
	q = begin_at(cl, &dir);
	add_open(q, &a);
	expect_garbage(q, exchange(q), OP_OPEN, 0, NFS4ERR_INVAL);
	/* SETATTR of a time by a way that does not exist. */
	q = begin_at(cl, &dir);
	add_raw(q, OP_SETATTR);
	put_u32(&q->enc, 0);
	put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
	put_u32(&q->enc, 2);
	put_u32(&q->enc, 0);
	put_u32(&q->enc, 1u << (FATTR4_TIME_MODIFY_SET - 32));
	put_u32(&q->enc, 4);
	put_u32(&q->enc, 2);
	expect_garbage(q, exchange(q), OP_SETATTR, 0, NFS4ERR_INVAL);
}

/* The values of a fattr4 must fill their length exactly. */
static void attribute_length_mismatch(void **state)
{
	static const uint32_t lens[] = { 0, 4, 12, 16 };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		struct compound *q = begin_at(cl, &dir);

		add_raw(q, OP_SETATTR);
		put_u32(&q->enc, 0);
		put_fixed(&q->enc, SID_ANONYMOUS.other, 12);
		put_u32(&q->enc, 1);
		put_u32(&q->enc, 1u << FATTR4_SIZE);
		put_opaque(&q->enc, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", lens[i]);
		expect_garbage(q, exchange(q), OP_SETATTR, 0, 0);
	}
}

/* RFC 7530 section 2.2: an owner is at most NFS4_OPAQUE_LIMIT bytes. */
static void owner_too_long(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	char owner[1026];
	struct open_args a = {
		.seqid = 1, .access = 1, .owner = owner, .name = "n", .clientid = cl->clientid
	};
	struct compound *q = begin_at(cl, &dir);

	memset(owner, 'o', sizeof(owner));
	owner[1025] = 0;
	add_open(q, &a);
	expect_garbage(q, exchange(q), OP_OPEN, 0, 0);
	/* Exactly the limit is fine. */
	owner[1024] = 0;
	q = begin_at(cl, &dir);
	add_open(q, &a);
	expect(call(q), NFS4ERR_NOENT);
}

/* ---- filehandles ---- */

/* NOFILEHANDLE from every operation that needs a current filehandle (RFC 8881 15.1.2.5). */
static void no_filehandle(void **state)
{
	struct client *cl = client_new(minor_of(state));

	for (size_t i = 0; i < samples_n; i++) {
		const struct sample *s = &samples[i];
		struct compound *q;
		struct reply *r;

		if (!sample_in(s, cl->minor) || !(s->flags & NEEDS_FH) ||
		    (s->flags & GONE && cl->minor > 0))
			continue;
		q = begin(cl);
		s->put(q, cl);
		r = call(q);
		if (r->status == NFS4ERR_NOTSUPP && s->flags & (cl->minor ? OPTIONAL : OPTIONAL_40))
			continue;
		if (r->status != NFS4ERR_NOFILEHANDLE)
			fail_with("operation %u without a filehandle: %s", s->op,
				  status_name(r->status));
	}
}

/* The same for the saved one, with only a current filehandle. */
static void no_saved_filehandle(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q;

	for (size_t i = 0; i < samples_n; i++) {
		const struct sample *s = &samples[i];
		struct reply *r;

		if (!sample_in(s, cl->minor) || !(s->flags & NEEDS_SAVED))
			continue;
		q = begin(cl);
		add_putrootfh(q);
		s->put(q, cl);
		r = call(q);
		if (r->status == NFS4ERR_NOTSUPP && s->flags & OPTIONAL)
			continue;
		expect(r, NFS4ERR_NOFILEHANDLE);
	}
	/* RFC 7530 section 16.29 has a status of its own. */
	q = begin(cl);
	add_putrootfh(q);
	add_restorefh(q);
	expect(call(q), cl->minor == 0 ? NFS4ERR_RESTOREFH : NFS4ERR_NOFILEHANDLE);
}

/* SAVEFH and RESTOREFH (RFC 8881 sections 18.27, 18.28). */
static void save_and_restore(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub");
	struct compound *q = begin_at(cl, &dir);
	struct reply *r;

	add_savefh(q);
	add_lookup(q, "sub");
	add_getfh(q);
	add_restorefh(q);
	add_getfh(q);
	add_restorefh(q);
	add_lookup(q, "sub");
	r = call(q);
	expect(r, NFS4_OK);
	check(result_of(r, OP_GETFH)->fh.len == sub.len);
	check(memcmp(result_of(r, OP_GETFH)->fh.data, sub.data, sub.len) == 0);
	check(r->op[r->nops - 3].fh.len == dir.len);
	check(memcmp(r->op[r->nops - 3].fh.data, dir.data, dir.len) == 0);
}

static uint32_t putfh_status(struct client *cl, const struct fh *fh)
{
	struct compound *q = begin_at(cl, fh);

	add_getattr(q, bm_of(FATTR4_TYPE, -1));
	return call(q)->status;
}

/* Handles cut short, forged in any byte, or made up (RFC 8881 section 15.1.2.1). */
static void bad_handles(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), fh;

	for (uint32_t i = 0; i < dir.len; i++) {
		fh = dir;
		fh.len = i;
		expect_one_of(putfh_status(cl, &fh), NFS4ERR_BADHANDLE);
		for (int bit = 0; bit < 8; bit += 3) {
			fh = dir;
			fh.data[i] ^= (uint8_t)(1u << bit);
			expect_one_of(putfh_status(cl, &fh), NFS4ERR_BADHANDLE);
		}
	}
	if (dir.len < NFS4_FHSIZE) {
		fh = dir;
		fh.data[fh.len++] = 0;
		expect_status(putfh_status(cl, &fh), NFS4ERR_BADHANDLE);
	}
	for (int i = 0; i < 256; i++) {
		memset(fh.data, i, sizeof(fh.data));
		fh.len = NFS4_FHSIZE;
		expect_status(putfh_status(cl, &fh), NFS4ERR_BADHANDLE);
	}
}

/* RFC 7530 section 2.1: a handle of more than NFS4_FHSIZE bytes is no handle at all. */
static void handle_too_long(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);
	char bytes[132] = { 0 };

	add_raw(q, OP_PUTFH);
	put_opaque(&q->enc, bytes, 129);
	expect_garbage(q, exchange(q), OP_PUTFH, 0, NFS4ERR_BADHANDLE);
}

/* A handle whose object is gone: STALE (RFC 8881 section 15.1.2.9). */
static void stale_handles(void **state)
{
	static const uint32_t types[] = { NF4REG, NF4DIR, NF4LNK, NF4FIFO };
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct fh fh = make(cl, &dir, types[i], "gone");

		expect_status(putfh_status(cl, &fh), NFS4_OK);
		expect_status(remove_name(cl, &dir, "gone"), NFS4_OK);
		expect_status(putfh_status(cl, &fh), NFS4ERR_STALE);
		/* A new object of the same name, perhaps with the same inode number, is another. */
		make(cl, &dir, types[i], "gone");
		expect_status(putfh_status(cl, &fh), NFS4ERR_STALE);
		expect_status(remove_name(cl, &dir, "gone"), NFS4_OK);
	}
}

/* A handle is the same each time, and leads to the object wherever it has been moved. */
static void handles_are_persistent(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), a = make(cl, &dir, NF4DIR, "a"), b;
	struct fh file = make_file(cl, &a, "file", "content", 7);
	struct compound *q;

	check_num(getattr_num(cl, &dir, FATTR4_FH_EXPIRE_TYPE), FH4_PERSISTENT);
	q = begin_at(cl, &dir);
	add_savefh(q);
	add_putfh(q, &dir);
	add_rename(q, "a", "b");
	expect(call(q), NFS4_OK);
	expect_status(lookup(cl, &dir, "b", &b), NFS4_OK);
	check(b.len == a.len && memcmp(b.data, a.data, a.len) == 0);
	q = begin_at(cl, &file);
	add_read(q, &SID_ANONYMOUS, 0, 100);
	expect(call(q), NFS4_OK);
}

/* The handles of one object over two names are equal; of two objects they differ. */
static void handles_identify(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), f = make(cl, &dir, NF4REG, "f"),
		  g = make(cl, &dir, NF4REG, "g");
	struct fh h;
	struct compound *q = begin_at(cl, &f);

	add_savefh(q);
	add_putfh(q, &dir);
	add_link(q, "h");
	expect(call(q), NFS4_OK);
	expect_status(lookup(cl, &dir, "h", &h), NFS4_OK);
	check(h.len == f.len && memcmp(h.data, f.data, f.len) == 0);
	check(g.len != f.len || memcmp(g.data, f.data, f.len) != 0);
}

/* A server that was restarted knows its handles (RFC 8881 section 4.2.2). */
static void handles_survive_restart(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "data", 4);

	wire_need_restart();
	wire_server_restart();
	cl = client_new(1);
	expect_status(putfh_status(cl, &fh), NFS4_OK);
	check_num(getattr_num(cl, &fh, FATTR4_SIZE), 4);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_TEST(minor_version_mismatch),
		WIRE_TEST(tag_is_echoed),
		WIRE_ALL_MINORS(no_operations),
		WIRE_ALL_MINORS(stops_at_first_error),
		WIRE_ALL_MINORS(illegal_operations),
		WIRE_MINOR(later_operations, 0),
		WIRE_MINOR(later_operations, 1),
		WIRE_SESSIONS(operations_gone),
		WIRE_SESSIONS(not_in_session),
		WIRE_SESSIONS(sequence_position),
		WIRE_SESSIONS(not_only_operation),
		WIRE_SESSIONS(too_many_operations),
		WIRE_SESSIONS(request_too_big),
		WIRE_SESSIONS(reply_too_big),
		WIRE_SESSIONS(read_beyond_reply_limit),
		WIRE_SESSIONS(reply_too_big_to_cache),
		WIRE_SESSIONS(entry_too_big_to_cache),
		WIRE_SESSIONS(nothing_cacheable),
		WIRE_SESSIONS(sequence_not_cacheable),
		WIRE_SESSIONS(narrow_session),
		WIRE_SESSIONS(retry_uncached),
		WIRE_SESSIONS(retry_uncached_illegal),
		WIRE_SESSIONS(no_room_for_handle),
		WIRE_TEST(many_operations_40),
		WIRE_ALL_MINORS(truncated_arguments),
		WIRE_ALL_MINORS(fewer_operations_than_announced),
		WIRE_ALL_MINORS(hostile_lengths),
		WIRE_ALL_MINORS(bad_booleans),
		WIRE_ALL_MINORS(bad_discriminants),
		WIRE_ALL_MINORS(attribute_length_mismatch),
		WIRE_ALL_MINORS(owner_too_long),
		WIRE_ALL_MINORS(no_filehandle),
		WIRE_ALL_MINORS(no_saved_filehandle),
		WIRE_ALL_MINORS(save_and_restore),
		WIRE_ALL_MINORS(bad_handles),
		WIRE_ALL_MINORS(handle_too_long),
		WIRE_ALL_MINORS(stale_handles),
		WIRE_ALL_MINORS(handles_are_persistent),
		WIRE_ALL_MINORS(handles_identify),
		WIRE_TEST(handles_survive_restart),
	};

	return wire_main("compound", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Client IDs and sessions of minor versions 1 and 2 (RFC 8881 sections 2.4, 2.10, 18.34 to
 * 18.51): EXCHANGE_ID's cases, CREATE_SESSION and its replay, slots and the reply cache,
 * connections, and the operations on stateids as such.
 */
#include <stdio.h>
#include <string.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

static const struct chan fore_wanted = { 0, 65536, 65536, 4096, 16, 8 };
static const struct chan back_wanted = { 0, 4096, 4096, 0, 2, 1 };

static struct result *exchange_id_on(struct conn *c, struct client *cl, const struct verf *verf,
				     uint32_t flags, uint32_t protect)
{
	struct compound *q = compound_begin(c, cl->minor, "");
	struct reply *r;

	add_exchange_id(q, verf, cl->id, flags, protect);
	r = call(q);
	check_num(r->nops, 1);
	return last(r);
}

/* EXCHANGE_ID with the client's own name and verifier. */
static struct result *exchange_id(struct client *cl, uint32_t flags)
{
	return exchange_id_on(cl->conn, cl, &cl->verf, flags, SP4_NONE);
}

static struct result *create_session(struct client *cl, uint64_t clientid, uint32_t sequence,
				     uint32_t flags, const struct chan *fore)
{
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct reply *r;

	add_create_session(q, clientid, sequence, flags, fore, &back_wanted);
	r = call(q);
	check_num(r->nops, 1);
	return last(r);
}

/* A client ID that is not confirmed, with the sequence for its first CREATE_SESSION. */
static struct client *unconfirmed(uint32_t minor)
{
	struct client *cl = client_bare(minor);
	struct result *r = exchange_id(cl, 0);

	expect_status(r->status, NFS4_OK);
	cl->clientid = r->clientid;
	cl->cs_sequence = r->sequence;
	return cl;
}

static struct verf other_verf(const struct client *cl)
{
	struct verf v = cl->verf;

	v.data[0] ^= 0x55;
	return v;
}

/* The status of a SEQUENCE with these numbers, alone in its compound. */
static struct result *sequence(struct conn *c, struct client *cl, uint32_t seqid, uint32_t slot,
			       uint32_t highest)
{
	struct compound *q = compound_begin(c, cl->minor, "");
	struct reply *r;

	add_sequence(q, cl->session, seqid, slot, highest, false);
	r = call(q);
	check_num(r->nops, 1);
	return last(r);
}

static void check_session_works(struct client *cl)
{
	struct compound *q = begin(cl);

	add_putrootfh(q);
	expect(call(q), NFS4_OK);
}

/* ---- EXCHANGE_ID (section 18.35.4's cases) ---- */

/* Case 1, New Owner ID; and what every answer holds. */
static void exchange_id_new(void **state)
{
	struct client *cl = client_bare(minor_of(state)), *other = client_bare(minor_of(state));
	struct result *r = exchange_id(cl, 0), *o = exchange_id(other, 0);
	uint32_t role = r->flags & EXCHGID4_FLAG_MASK_PNFS;

	expect_status(r->status, NFS4_OK);
	expect_status(o->status, NFS4_OK);
	check(r->clientid != o->clientid);
	check(!(r->flags & EXCHGID4_FLAG_CONFIRMED_R));
	/* Section 18.35.3: at least one of the roles is set, and NON_PNFS never with MDS. */
	check(role != 0);
	check(!(role & EXCHGID4_FLAG_USE_NON_PNFS) || !(role & EXCHGID4_FLAG_USE_PNFS_MDS));
	/* One server: the same owner and scope for all clients (section 2.10.4). */
	check(r->major_len > 0 && r->scope_len > 0);
	check(r->major_len == o->major_len && !memcmp(r->major_id, o->major_id, r->major_len));
	check(r->scope_len == o->scope_len && !memcmp(r->scope, o->scope, r->scope_len));
	check_num(r->minor_id, o->minor_id);
}

/* Case 2, Non-Update on Existing Client ID: the same ID, said to be confirmed. */
static void exchange_id_again(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct result *r = exchange_id(cl, 0);

	expect_status(r->status, NFS4_OK);
	check_num(r->clientid, cl->clientid);
	check(r->flags & EXCHGID4_FLAG_CONFIRMED_R);
	check_session_works(cl);
}

/* Case 3, Client Collision: another principal must not take over a client that has state. */
static void exchange_id_collision(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	struct conn *c = conn_new();
	struct verf v = other_verf(cl);

	c->uid = 4711;
	expect_status(exchange_id_on(c, cl, &cl->verf, 0, SP4_NONE)->status, NFS4ERR_CLID_INUSE);
	expect_status(exchange_id_on(c, cl, &v, 0, SP4_NONE)->status, NFS4ERR_CLID_INUSE);
	close_file(cl, &f);
}

/* "Associated state includes unrevoked sessions" (section 2.4.2); without any the ID is free. */
static void exchange_id_collision_with_session(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct conn *c = conn_new();
	struct compound *q;
	struct result *r;

	c->uid = 4711;
	expect_status(exchange_id_on(c, cl, &cl->verf, 0, SP4_NONE)->status, NFS4ERR_CLID_INUSE);
	check_session_works(cl);
	q = begin(cl);
	add_destroy_session(q, cl->session);
	expect(call(q), NFS4_OK);
	r = exchange_id_on(c, cl, &cl->verf, 0, SP4_NONE);
	expect_status(r->status, NFS4_OK);
	check(r->clientid != cl->clientid);
	check(!(r->flags & EXCHGID4_FLAG_CONFIRMED_R));
	/* The old ID went with it. */
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4ERR_STALE_CLIENTID);
}

/* Case 4, Replacement of Unconfirmed Record: the old ID is no more. */
static void exchange_id_replaces_unconfirmed(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct verf v = other_verf(cl);
	struct result *r;

	r = exchange_id(cl, 0);
	expect_status(r->status, NFS4_OK);
	check(r->clientid != cl->clientid);
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4ERR_STALE_CLIENTID);
	cl->clientid = r->clientid;
	r = exchange_id_on(cl->conn, cl, &v, 0, SP4_NONE);
	expect_status(r->status, NFS4_OK);
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4ERR_STALE_CLIENTID);
	expect_status(create_session(cl, r->clientid, r->sequence, 0, &fore_wanted)->status,
		      NFS4_OK);
}

/*
 * Case 5, Client Restart: with a new verifier the record goes on beside the new one until the
 * new ID is confirmed; then its session and its state are gone at once.
 */
static void exchange_id_restart(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new(), *oo = owner_new();
	struct open_file f =
	    open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, OPEN4_SHARE_DENY_BOTH);
	struct verf v = other_verf(cl);
	struct result *r = exchange_id_on(cl->conn, cl, &v, 0, SP4_NONE);

	(void)f;
	expect_status(r->status, NFS4_OK);
	check(r->clientid != cl->clientid);
	check(!(r->flags & EXCHGID4_FLAG_CONFIRMED_R));
	check_session_works(cl);
	expect_status(open_status(other, oo, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_SHARE_DENIED);
	expect_status(create_session(cl, r->clientid, r->sequence, 0, &fore_wanted)->status,
		      NFS4_OK);
	expect_status(sequence(cl->conn, cl, cl->slot_seq[0], 0, 0)->status, NFS4ERR_BADSESSION);
	expect_status(open_status(other, oo, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL), NFS4_OK);
}

/* Case 6, Update. */
static void exchange_id_update(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct result *r = exchange_id(cl, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A);

	expect_status(r->status, NFS4_OK);
	check_num(r->clientid, cl->clientid);
	check(r->flags & EXCHGID4_FLAG_CONFIRMED_R);
	check(!(r->flags & EXCHGID4_FLAG_UPD_CONFIRMED_REC_A));
	check_session_works(cl);
}

/* Case 7, Update but No Confirmed Record. */
static void exchange_id_update_unknown(void **state)
{
	struct client *cl = client_bare(minor_of(state)), *un = unconfirmed(minor_of(state));

	expect_status(exchange_id(cl, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A)->status, NFS4ERR_NOENT);
	expect_status(exchange_id(un, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A)->status, NFS4ERR_NOENT);
	/* The unconfirmed record is left intact. */
	expect_status(create_session(un, un->clientid, un->cs_sequence, 0, &fore_wanted)->status,
		      NFS4_OK);
}

/* Case 8, Update but Wrong Verifier. */
static void exchange_id_update_verifier(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct verf v = other_verf(cl);

	expect_status(
	    exchange_id_on(cl->conn, cl, &v, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A, SP4_NONE)->status,
	    NFS4ERR_NOT_SAME);
	check_session_works(cl);
}

/* Case 9, Update but Wrong Principal. */
static void exchange_id_update_principal(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct conn *c = conn_new();

	c->uid = 4711;
	expect_status(
	    exchange_id_on(c, cl, &cl->verf, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A, SP4_NONE)->status,
	    NFS4ERR_PERM);
	check_session_works(cl);
}

/* Section 18.35.3: flags that only the server sets, or that are not defined. */
static void exchange_id_bad_flags(void **state)
{
	static const uint32_t flags[] = { EXCHGID4_FLAG_CONFIRMED_R, 0x00000010, 0x08000000 };
	struct client *cl = client_bare(minor_of(state));

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		expect_status(exchange_id(cl, flags[i])->status, NFS4ERR_INVAL);
	/* Defined by RFC 7862 section 14.1 for minor version 2. */
	expect_status(exchange_id(cl, EXCHGID4_FLAG_SUPP_FENCE_OPS)->status,
		      cl->minor == 1 ? NFS4ERR_INVAL : NFS4_OK);
}

/* Defined flags are all taken. */
static void exchange_id_good_flags(void **state)
{
	struct client *cl = client_bare(minor_of(state));

	expect_status(exchange_id(cl, EXCHGID4_FLAG_SUPP_MOVED_REFER |
					  EXCHGID4_FLAG_SUPP_MOVED_MIGR |
					  EXCHGID4_FLAG_BIND_PRINC_STATEID |
					  EXCHGID4_FLAG_USE_NON_PNFS | EXCHGID4_FLAG_USE_PNFS_MDS |
					  EXCHGID4_FLAG_USE_PNFS_DS)
			  ->status,
		      NFS4_OK);
}

/* Section 18.35.3: state protection needs RPCSEC_GSS; SSV also algorithms known to both. */
static void exchange_id_protection(void **state)
{
	struct client *cl = client_bare(minor_of(state));
	struct result *r = exchange_id_on(cl->conn, cl, &cl->verf, 0, SP4_MACH_CRED);

	expect_status(r->status, NFS4ERR_INVAL);
	r = exchange_id_on(cl->conn, cl, &cl->verf, 0, SP4_SSV);
	expect_one_of(r->status, NFS4ERR_INVAL, NFS4ERR_HASH_ALG_UNSUPP, NFS4ERR_ENCR_ALG_UNSUPP);
}

/* SP4_SSV with so many algorithms of each kind, and a window of that many versions. */
static uint32_t exchange_id_ssv(struct client *cl, uint32_t hashes, uint32_t ciphers,
				uint32_t window)
{
	/* id-sha256 and id-aes256-CBC; that neither is offered is no secret */
	static const char oid[] = "\x60\x86\x48\x01\x65\x03\x04\x02\x01";
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	const uint32_t counts[2] = { hashes, ciphers };

	add_raw(q, OP_EXCHANGE_ID);
	put_fixed(&q->enc, cl->verf.data, 8);
	put_string(&q->enc, cl->id);
	put_u32(&q->enc, 0);
	put_u32(&q->enc, SP4_SSV);
	put_u32(&q->enc, 0); /* spo_must_enforce */
	put_u32(&q->enc, 0); /* spo_must_allow */
	for (int kind = 0; kind < 2; kind++) {
		put_u32(&q->enc, counts[kind]);
		for (uint32_t i = 0; i < counts[kind]; i++)
			put_opaque(&q->enc, oid, sizeof(oid) - 1);
	}
	put_u32(&q->enc, window);
	put_u32(&q->enc, 0); /* ssp_num_gss_handles */
	put_u32(&q->enc, 0); /* eia_client_impl_id */
	return call(q)->status;
}

/* Section 18.35.3: nothing to choose from is INVAL, nothing that the server has is another error. */
static void exchange_id_ssv_choices(void **state)
{
	struct client *cl = client_bare(minor_of(state));

	expect_status(exchange_id_ssv(cl, 0, 1, 1), NFS4ERR_INVAL);
	expect_status(exchange_id_ssv(cl, 1, 0, 1), NFS4ERR_INVAL);
	expect_status(exchange_id_ssv(cl, 1, 1, 0), NFS4ERR_INVAL);
	expect_one_of(exchange_id_ssv(cl, 1, 1, 1), NFS4ERR_INVAL, NFS4ERR_HASH_ALG_UNSUPP,
		      NFS4ERR_ENCR_ALG_UNSUPP);
}

/* nfs_impl_id4<1>: a second one does not decode. */
static void exchange_id_two_implementations(void **state)
{
	struct client *cl = client_bare(minor_of(state));
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct rpc_reply *rpc;
	size_t len;

	add_raw(q, OP_EXCHANGE_ID);
	put_fixed(&q->enc, cl->verf.data, 8);
	put_string(&q->enc, cl->id);
	put_u32(&q->enc, 0);
	put_u32(&q->enc, SP4_NONE);
	put_u32(&q->enc, 2);
	for (int i = 0; i < 2; i++) {
		put_string(&q->enc, "d");
		put_string(&q->enc, "n");
		put_u64(&q->enc, 0);
		put_u32(&q->enc, 0);
	}
	compound_bytes(q, &len);
	rpc = rpc_call(cl->conn, &q->enc);
	if (rpc->outcome != RPC_GARBAGE_ARGS_R)
		expect(compound_parse(q, rpc), NFS4ERR_BADXDR);
}

/* EXCHANGE_ID behind SEQUENCE is no exception (section 18.35.3). */
static void exchange_id_in_session(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);
	struct reply *r;

	add_exchange_id(q, &cl->verf, cl->id, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A, SP4_NONE);
	add_putrootfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(r->op[1].clientid, cl->clientid);
}

/* ---- CREATE_SESSION (section 18.36) ---- */

/* The first session confirms the client ID; the values granted are within those asked for. */
static void create_session_confirms(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct chan want = { 0, 100000, 90000, 5000, 20, 10 };
	struct result *r = create_session(cl, cl->clientid, cl->cs_sequence, 0, &want);

	expect_status(r->status, NFS4_OK);
	check_num(r->sequence, cl->cs_sequence);
	check_num(r->flags, 0);
	check(r->fore.header_pad == 0);
	check(r->fore.max_request <= want.max_request && r->fore.max_request > 1000);
	check(r->fore.max_response <= want.max_response && r->fore.max_response > 1000);
	check(r->fore.max_cached <= want.max_cached);
	check(r->fore.max_ops > 1 && r->fore.max_requests >= 1);
	check_num(r->back.max_ops, back_wanted.max_ops);
	check_num(r->back.max_requests, back_wanted.max_requests);
	check(r->back.max_request <= back_wanted.max_request);
	check(r->back.max_response <= back_wanted.max_response);
	check(exchange_id(cl, 0)->flags & EXCHGID4_FLAG_CONFIRMED_R);
}

/* Phase 1: no such client ID. */
static void create_session_stale(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));

	expect_status(
	    create_session(cl, cl->clientid + 0x1000000, cl->cs_sequence, 0, &fore_wanted)->status,
	    NFS4ERR_STALE_CLIENTID);
	expect_status(create_session(cl, 0, 1, 0, &fore_wanted)->status, NFS4ERR_STALE_CLIENTID);
}

/* Phase 2: the same sequence again is a retry and gets the same session, also later. */
static void create_session_replay(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct result *a = create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted);
	struct result *b = create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted);

	expect_status(a->status, NFS4_OK);
	expect_status(b->status, NFS4_OK);
	check(memcmp(a->session, b->session, sizeof(a->session)) == 0);
	check(memcmp(&a->fore, &b->fore, sizeof(a->fore)) == 0);
	check(memcmp(&a->back, &b->back, sizeof(a->back)) == 0);
	check(a->sequence == b->sequence && a->flags == b->flags);
	/* A new one: another session. */
	b = create_session(cl, cl->clientid, cl->cs_sequence + 1, 0, &fore_wanted);
	expect_status(b->status, NFS4_OK);
	check(memcmp(a->session, b->session, sizeof(a->session)) != 0);
}

/* Phase 2: sequences out of order; before the first one the contrived result is replayed. */
static void create_session_misordered(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	uint32_t s = cl->cs_sequence;

	expect_status(create_session(cl, cl->clientid, s - 1, 0, &fore_wanted)->status,
		      NFS4ERR_SEQ_MISORDERED);
	expect_status(create_session(cl, cl->clientid, s + 1, 0, &fore_wanted)->status,
		      NFS4ERR_SEQ_MISORDERED);
	expect_status(create_session(cl, cl->clientid, s + 0x80000000, 0, &fore_wanted)->status,
		      NFS4ERR_SEQ_MISORDERED);
	expect_status(create_session(cl, cl->clientid, s, 0, &fore_wanted)->status, NFS4_OK);
	expect_status(create_session(cl, cl->clientid, s + 2, 0, &fore_wanted)->status,
		      NFS4ERR_SEQ_MISORDERED);
	expect_status(create_session(cl, cl->clientid, s + 1, 0, &fore_wanted)->status, NFS4_OK);
	expect_status(create_session(cl, cl->clientid, s, 0, &fore_wanted)->status,
		      NFS4ERR_SEQ_MISORDERED);
}

/* Channels on which nothing could ever be said. */
static void create_session_too_small(void **state)
{
	struct chan small = fore_wanted;
	struct client *cl = unconfirmed(minor_of(state));

	small.max_request = 20;
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &small)->status,
		      NFS4ERR_TOOSMALL);
	/* The slot has moved on: the error is what a retry gets (phase 2). */
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &small)->status,
		      NFS4ERR_TOOSMALL);
	small = fore_wanted;
	small.max_response = 0;
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence + 1, 0, &small)->status,
		      NFS4ERR_TOOSMALL);
	expect_status(
	    create_session(cl, cl->clientid, cl->cs_sequence + 2, 0, &fore_wanted)->status,
	    NFS4_OK);
}

/* The back channel's sizes count, whether a connection is bound to it at once or not. */
static void create_session_back_too_small(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct chan back = { 0, 10, 8192, 8192, 128, 1 };
	struct compound *q;

	for (uint32_t flags = 0; flags <= CREATE_SESSION4_FLAG_CONN_BACK_CHAN;
	     flags += CREATE_SESSION4_FLAG_CONN_BACK_CHAN) {
		q = compound_begin(cl->conn, cl->minor, "");
		add_create_session(q, cl->clientid, cl->cs_sequence, flags, &fore_wanted, &back);
		expect(call(q), NFS4ERR_TOOSMALL);
	}
	/* Some clients take it that the sequence id has not been used up. */
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4_OK);
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4_OK);
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence + 2, 0, &fore_wanted)->status,
		      NFS4ERR_SEQ_MISORDERED);
}

/* Flags that are not defined. */
static void create_session_bad_flags(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));

	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0xf0, &fore_wanted)->status,
		      NFS4ERR_INVAL);
}

/* What was not asked for is not set; what a TCP server cannot do neither. */
static void create_session_flags(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct result *r =
	    create_session(cl, cl->clientid, cl->cs_sequence,
			   CREATE_SESSION4_FLAG_PERSIST | CREATE_SESSION4_FLAG_CONN_RDMA,
			   &fore_wanted);

	expect_status(r->status, NFS4_OK);
	check(!(r->flags & ~CREATE_SESSION4_FLAG_PERSIST));
	r = create_session(cl, cl->clientid, cl->cs_sequence + 1,
			   CREATE_SESSION4_FLAG_CONN_BACK_CHAN, &fore_wanted);
	expect_status(r->status, NFS4_OK);
	check(!(r->flags & ~CREATE_SESSION4_FLAG_CONN_BACK_CHAN));
}

/* Phase 3: the principal has changed since EXCHANGE_ID. */
static void create_session_principal(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));

	cl->conn->uid = 4711;
	expect_status(
	    create_session(cl, cl->clientid, cl->cs_sequence - 1, 0, &fore_wanted)->status,
	    NFS4ERR_SEQ_MISORDERED);
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4ERR_CLID_INUSE);
	/* Nothing has changed by that. */
	cl->conn->uid = 0;
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4_OK);
}

/* A cached answer names a session: it is for whoever asked (section 18.36.4, phase 2). */
static void create_session_replay_of_others(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct result *a = create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted), *b;
	uint32_t uid = cl->conn->uid;

	expect_status(a->status, NFS4_OK);
	cl->conn->uid = 4711;
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4ERR_CLID_INUSE);
	/* With SP4_NONE it may make one of its own, and ask for that again. */
	b = create_session(cl, cl->clientid, cl->cs_sequence + 1, 0, &fore_wanted);
	expect_status(b->status, NFS4_OK);
	check(memcmp(a->session, b->session, sizeof(a->session)) != 0);
	expect_status(
	    create_session(cl, cl->clientid, cl->cs_sequence + 1, 0, &fore_wanted)->status,
	    NFS4_OK);
	cl->conn->uid = uid;
	expect_status(
	    create_session(cl, cl->clientid, cl->cs_sequence + 1, 0, &fore_wanted)->status,
	    NFS4ERR_CLID_INUSE);
}

/* Absurd values end in a small session or an error, not in memory for a billion slots. */
static void create_session_absurd(void **state)
{
	struct chan huge = {
		0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff
	};
	struct client *cl = unconfirmed(minor_of(state));
	struct result *r = create_session(cl, cl->clientid, cl->cs_sequence, 0, &huge);

	expect_status(r->status, NFS4_OK);
	check(r->fore.max_requests <= 65536 && r->fore.max_requests >= 1);
	check(r->fore.max_request <= 64 << 20);

	huge = fore_wanted;
	huge.max_requests = 0;
	r = create_session(cl, cl->clientid, cl->cs_sequence + 1, 0, &huge);
	expect_one_of(r->status, NFS4_OK, NFS4ERR_INVAL, NFS4ERR_TOOSMALL);
	huge = fore_wanted;
	huge.max_ops = 0;
	r = create_session(cl, cl->clientid, cl->cs_sequence + 2, 0, &huge);
	expect_one_of(r->status, NFS4_OK, NFS4ERR_INVAL, NFS4ERR_TOOSMALL);
}

/* ca_rdma_ird<1>: a second element does not decode. */
static void create_session_rdma_ird(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct rpc_reply *rpc;
	size_t len;

	add_raw(q, OP_CREATE_SESSION);
	put_u64(&q->enc, cl->clientid);
	put_u32(&q->enc, cl->cs_sequence);
	put_u32(&q->enc, 0);
	for (int chan = 0; chan < 2; chan++) {
		for (int i = 0; i < 6; i++)
			put_u32(&q->enc, i == 0 ? 0 : 5000);
		put_u32(&q->enc, 2);
		put_u64(&q->enc, 0);
	}
	put_u32(&q->enc, 1);
	put_u32(&q->enc, 0);
	compound_bytes(q, &len);
	rpc = rpc_call(cl->conn, &q->enc);
	if (rpc->outcome != RPC_GARBAGE_ARGS_R)
		expect(compound_parse(q, rpc), NFS4ERR_BADXDR);
}

/* csa_sec_parms: several flavors, among them AUTH_SYS with its parameters. */
static void create_session_callback_security(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));
	struct compound *q = compound_begin(cl->conn, cl->minor, "");

	add_raw(q, OP_CREATE_SESSION);
	put_u64(&q->enc, cl->clientid);
	put_u32(&q->enc, cl->cs_sequence);
	put_u32(&q->enc, 0);
	for (int chan = 0; chan < 2; chan++) {
		for (int i = 0; i < 6; i++)
			put_u32(&q->enc, i == 0 ? 0 : 5000);
		put_u32(&q->enc, 0);
	}
	put_u32(&q->enc, 0x40000000);
	put_u32(&q->enc, 2);
	put_u32(&q->enc, 1); /* AUTH_SYS: authsys_parms */
	put_u32(&q->enc, 1);
	put_string(&q->enc, "host");
	put_u32(&q->enc, 0);
	put_u32(&q->enc, 0);
	put_u32(&q->enc, 2);
	put_u32(&q->enc, 5);
	put_u32(&q->enc, 6);
	put_u32(&q->enc, 0); /* AUTH_NONE */
	expect(call(q), NFS4_OK);
}

/*
 * Of several the server takes what it can; a GSS handle that it has not given is NOENT (section
 * 18.36.3).
 */
static void create_session_callback_gss(void **state)
{
	for (uint32_t others = 0; others < 2; others++) {
		struct client *cl = unconfirmed(minor_of(state));
		struct compound *q = compound_begin(cl->conn, cl->minor, "");

		add_raw(q, OP_CREATE_SESSION);
		put_u64(&q->enc, cl->clientid);
		put_u32(&q->enc, cl->cs_sequence);
		put_u32(&q->enc, 0);
		for (int chan = 0; chan < 2; chan++) {
			for (int i = 0; i < 6; i++)
				put_u32(&q->enc, i == 0 ? 0 : 5000);
			put_u32(&q->enc, 0);
		}
		put_u32(&q->enc, 0x40000000);
		put_u32(&q->enc, 1 + others);
		put_u32(&q->enc, 6); /* RPCSEC_GSS: gss_cb_handles4 */
		put_u32(&q->enc, 1);
		put_string(&q->enc, "handle of the server");
		put_string(&q->enc, "handle of the client");
		if (others)
			put_u32(&q->enc, 0); /* AUTH_NONE */
		expect(call(q), others ? NFS4_OK : NFS4ERR_NOENT);
	}
}

/* Several sessions of one client, each with slots of its own; a client ID is in both. */
static void two_sessions(void **state)
{
	struct client *cl = client_new(minor_of(state)), first = *cl;
	struct fh dir = test_dir(cl);
	struct open_file f;
	struct compound *q;

	first.slot_seq[0] = cl->slot_seq[0];
	f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	first.slot_seq[0] = cl->slot_seq[0];
	client_new_session(cl);
	check_session_works(cl);
	check_session_works(&first);
	/* State belongs to the client, not to the session. */
	q = begin_at(cl, &f.fh);
	add_write(q, &f.sid, 0, FILE_SYNC4, "x", 1);
	expect(call(q), NFS4_OK);
	q = compound_begin(cl->conn, cl->minor, "");
	add_destroy_session(q, first.session);
	expect(call(q), NFS4_OK);
	check_session_works(cl);
	close_file(cl, &f);
}

/* ---- SEQUENCE (sections 2.10.6 and 18.46) ---- */

static void sequence_results(void **state)
{
	struct client *cl = client_new(minor_of(state));
	uint32_t top = cl->fore.max_requests - 1;

	for (uint32_t slot = 0; slot <= top && slot < 8; slot++) {
		struct result *r = sequence(cl->conn, cl, cl->slot_seq[slot], slot, slot);

		expect_status(r->status, NFS4_OK);
		check(memcmp(r->session, cl->session, sizeof(cl->session)) == 0);
		check_num(r->sequence, cl->slot_seq[slot]);
		check_num(r->slot, slot);
		check(r->highest_slot <= top);
		check(r->target_highest_slot <= top);
		check_num(r->status_flags &
			      (SEQ4_STATUS_EXPIRED_ALL_STATE_REVOKED |
			       SEQ4_STATUS_EXPIRED_SOME_STATE_REVOKED |
			       SEQ4_STATUS_ADMIN_STATE_REVOKED | SEQ4_STATUS_LEASE_MOVED |
			       SEQ4_STATUS_RESTART_RECLAIM_NEEDED),
			  0);
		cl->slot_seq[slot]++;
	}
}

static void sequence_bad_session(void **state)
{
	struct client *cl = client_new(minor_of(state));

	for (int i = 0; i < NFS4_SESSIONID_SIZE; i++) {
		cl->session[i] ^= 0x40;
		expect_status(sequence(cl->conn, cl, 1, 0, 0)->status, NFS4ERR_BADSESSION);
		cl->session[i] ^= 0x40;
	}
}

static void sequence_bad_slot(void **state)
{
	struct client *cl = client_new(minor_of(state));
	uint32_t n = cl->fore.max_requests;

	expect_status(sequence(cl->conn, cl, 1, n, n)->status, NFS4ERR_BADSLOT);
	expect_status(sequence(cl->conn, cl, 1, 0xffffffff, 0xffffffff)->status, NFS4ERR_BADSLOT);
	expect_status(sequence(cl->conn, cl, cl->slot_seq[0], 0, n)->status, NFS4ERR_BAD_HIGH_SLOT);
	expect_status(sequence(cl->conn, cl, cl->slot_seq[0], 0, 0xffffffff)->status,
		      NFS4ERR_BAD_HIGH_SLOT);
	check_session_works(cl);
}

static void sequence_misordered(void **state)
{
	struct client *cl = client_new(minor_of(state));
	uint32_t s = cl->slot_seq[0];

	expect_status(sequence(cl->conn, cl, s + 1, 0, 0)->status, NFS4ERR_SEQ_MISORDERED);
	expect_status(sequence(cl->conn, cl, s + 2, 0, 0)->status, NFS4ERR_SEQ_MISORDERED);
	expect_status(sequence(cl->conn, cl, s - 2, 0, 0)->status, NFS4ERR_SEQ_MISORDERED);
	expect_status(sequence(cl->conn, cl, s + 0x80000000, 0, 0)->status, NFS4ERR_SEQ_MISORDERED);
	/* A slot never used: 0 replays the contrived SEQ_MISORDERED (section 18.36.4). */
	expect_status(sequence(cl->conn, cl, 0, 1, 1)->status, NFS4ERR_SEQ_MISORDERED);
	expect_status(sequence(cl->conn, cl, 2, 1, 1)->status, NFS4ERR_SEQ_MISORDERED);
	expect_status(sequence(cl->conn, cl, 1, 1, 1)->status, NFS4_OK);
	check_session_works(cl);
}

/* Replays byte for byte (xid aside), over the same and over another connection. */
static void check_same_reply(struct compound *q, struct reply *first, struct conn *c)
{
	struct rpc_reply *again;
	size_t len;

	compound_bytes(q, &len);
	again = rpc_call(c, &q->enc);
	check_num(again->outcome, RPC_SUCCESS_R);
	check_num(again->body_len, first->rpc->body_len);
	check(memcmp(again->body, first->rpc->body, again->body_len) == 0);
}

/* Section 2.10.6.1: a retry with sa_cachethis gets the cached reply and changes nothing. */
static void replay_cached(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q;
	struct reply *r;

	cl->cache_this = true;
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "once", NULL, 0, 0, NULL);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_same_reply(q, r, cl->conn);
	check_same_reply(q, r, conn_new());

	q = begin_at(cl, &dir);
	add_remove(q, "once");
	r = call(q);
	expect(r, NFS4_OK);
	check_same_reply(q, r, cl->conn);
	check_session_works(cl);
}

/* The cached reply of a failure is a failure, though it would succeed by now. */
static void replay_cached_error(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct client *other = client_new(minor_of(state));
	struct compound *q;
	struct reply *r;

	cl->cache_this = true;
	q = begin_at(cl, &dir);
	add_remove(q, "later");
	r = call(q);
	expect(r, NFS4ERR_NOENT);
	make(other, &dir, NF4DIR, "later");
	check_same_reply(q, r, cl->conn);
	expect_status(lookup(other, &dir, "later", NULL), NFS4_OK);
}

/* SEQUENCE alone is always in the cache (section 2.10.6.1.3). */
static void replay_sequence_alone(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);
	struct reply *r = call(q);

	expect(r, NFS4_OK);
	check_same_reply(q, r, cl->conn);
	check_same_reply(q, r, cl->conn);
}

/* An OPEN that creates, retried: the same stateid, no second open. */
static void replay_open(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct attrs *a = test_alloc(sizeof(*a));
	struct open_args args = { .access = OPEN4_SHARE_ACCESS_WRITE,
				  .clientid = cl->clientid,
				  .owner = o->name,
				  .opentype = OPEN4_CREATE,
				  .createmode = GUARDED4,
				  .attrs = a,
				  .name = "f" };
	struct compound *q;
	struct reply *r;

	at_num(a, FATTR4_MODE, 0600);
	cl->cache_this = true;
	q = begin_at(cl, &dir);
	add_open(q, &args);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_same_reply(q, r, conn_new());
	check_num(result_of(r, OP_OPEN)->sid.seqid, 1);
}

/* Section 2.10.6.1.3.1: the sequence ID of the last request with another request. */
static void false_retry(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q;
	uint32_t seq;

	cl->cache_this = true;
	seq = cl->slot_seq[0];
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "a", NULL, 0, 0, NULL);
	expect(call(q), NFS4_OK);

	cl->slot_seq[0] = seq;
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "b", NULL, 0, 0, NULL);
	expect(call(q), NFS4ERR_SEQ_FALSE_RETRY);
	cl->slot_seq[0] = seq;
	q = begin_at(cl, &dir);
	add_remove(q, "a");
	add_getattr(q, bm_of(FATTR4_CHANGE, -1));
	expect(call(q), NFS4ERR_SEQ_FALSE_RETRY);
	cl->slot_seq[0] = seq + 1;
	expect_status(lookup(cl, &dir, "a", NULL), NFS4_OK);
	expect_status(lookup(cl, &dir, "b", NULL), NFS4ERR_NOENT);
}

/* Slots are independent of each other (section 2.10.6.1). */
static void slots_are_independent(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q;
	struct reply *r;

	cl->cache_this = true;
	q = begin_slot(cl, 1);
	add_putfh(q, &dir);
	add_create(q, NF4DIR, "one", NULL, 0, 0, NULL);
	r = call(q);
	expect(r, NFS4_OK);
	for (int i = 0; i < 5; i++)
		check_session_works(cl);
	check_same_reply(q, r, cl->conn);
}

/* Connections join a session by using it (section 2.10.3.1), like Linux's nconnect. */
static void several_connections(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct conn *conns[4];
	struct fh dir = test_dir(cl);

	for (uint32_t i = 0; i < 4; i++)
		conns[i] = conn_new();
	for (uint32_t round = 0; round < 20; round++) {
		struct compound *q[4];

		for (uint32_t i = 0; i < 4; i++) {
			char name[32];

			cl->conn = conns[(i + round) % 4];
			snprintf(name, sizeof(name), "%u-%u", round, i);
			q[i] = begin_slot(cl, i);
			add_putfh(q[i], &dir);
			add_create(q[i], NF4DIR, name, NULL, 0, 0, NULL);
			check(compound_send(q[i]));
		}
		for (uint32_t i = 0; i < 4; i++) {
			struct reply *r = compound_parse(q[i], rpc_must_recv(q[i]->conn));

			compound_done(q[i], r);
			expect(r, NFS4_OK);
		}
	}
	/* One goes away; the session does not. */
	conn_close(conns[0]);
	cl->conn = conns[1];
	check_session_works(cl);
}

/* A session outlives its last connection (section 2.10.3.1). */
static void session_outlives_connections(void **state)
{
	struct client *cl = client_new(minor_of(state));

	conn_close(cl->conn);
	cl->conn = conn_new();
	check_session_works(cl);
}

/* ---- BIND_CONN_TO_SESSION (section 18.34) ---- */

static struct result *bind_conn(struct conn *c, struct client *cl, const uint8_t *session,
				uint32_t dir)
{
	struct compound *q = compound_begin(c, cl->minor, "");

	add_bind_conn(q, session, dir);
	return last(call(q));
}

static void bind_conn_directions(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct result *r;

	client_new_session(cl);
	r = bind_conn(conn_new(), cl, cl->session, CDFC4_FORE);
	expect_status(r->status, NFS4_OK);
	check(memcmp(r->session, cl->session, sizeof(cl->session)) == 0);
	check_num(r->flags, CDFS4_FORE);
	r = bind_conn(conn_new(), cl, cl->session, CDFC4_FORE_OR_BOTH);
	expect_status(r->status, NFS4_OK);
	check(r->flags == CDFS4_FORE || r->flags == CDFS4_BOTH);
	r = bind_conn(conn_new(), cl, cl->session, CDFC4_BACK_OR_BOTH);
	expect_status(r->status, NFS4_OK);
	check(r->flags == CDFS4_BACK || r->flags == CDFS4_BOTH);
	r = bind_conn(conn_new(), cl, cl->session, CDFC4_BACK);
	expect_status(r->status, NFS4_OK);
	check_num(r->flags, CDFS4_BACK);
}

static void bind_conn_errors(void **state)
{
	struct client *cl = client_new(minor_of(state));
	uint8_t session[NFS4_SESSIONID_SIZE];
	struct conn *c = conn_new();
	struct rpc_reply *rpc;
	struct compound *q;
	size_t len;

	memcpy(session, cl->session, sizeof(session));
	session[3] ^= 1;
	expect_status(bind_conn(c, cl, session, CDFC4_FORE)->status, NFS4ERR_BADSESSION);
	/* A direction that does not exist. */
	q = compound_begin(c, cl->minor, "");
	add_bind_conn(q, cl->session, 9);
	compound_bytes(q, &len);
	rpc = rpc_call(c, &q->enc);
	if (rpc->outcome != RPC_GARBAGE_ARGS_R)
		expect_one_of(compound_parse(q, rpc)->status, NFS4ERR_BADXDR, NFS4ERR_INVAL);
	/* Section 18.34.3: alone in its compound, also with SEQUENCE. */
	q = begin(cl);
	add_bind_conn(q, cl->session, CDFC4_FORE);
	expect(call(q), NFS4ERR_NOT_ONLY_OP);
}

/* ---- the end of sessions and clients ---- */

static uint32_t destroy_session(struct conn *c, struct client *cl)
{
	struct compound *q = compound_begin(c, cl->minor, "");

	add_destroy_session(q, cl->session);
	return call(q)->status;
}

static uint32_t destroy_clientid(struct client *cl, uint64_t clientid)
{
	struct compound *q = compound_begin(cl->conn, cl->minor, "");

	add_destroy_clientid(q, clientid);
	return call(q)->status;
}

/* Section 18.37. */
static void destroy_session_ends_it(void **state)
{
	struct client *cl = client_new(minor_of(state));

	expect_status(destroy_session(cl->conn, cl), NFS4_OK);
	expect_status(destroy_session(cl->conn, cl), NFS4ERR_BADSESSION);
	expect_status(sequence(cl->conn, cl, cl->slot_seq[0], 0, 0)->status, NFS4ERR_BADSESSION);
	expect_status(bind_conn(cl->conn, cl, cl->session, CDFC4_FORE)->status, NFS4ERR_BADSESSION);
	/* The client ID is there still. */
	client_new_session(cl);
	check_session_works(cl);
}

/* Behind the session's own SEQUENCE, as the last operation. */
static void destroy_session_within(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);

	add_destroy_session(q, cl->session);
	expect(call(q), NFS4_OK);
	expect_status(sequence(cl->conn, cl, cl->slot_seq[0], 0, 0)->status, NFS4ERR_BADSESSION);
}

/* Section 18.37.3: "MUST be invoked on a connection that is associated with the session". */
static void destroy_session_of_others(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct conn *c = conn_new();

	expect_status(destroy_session(other->conn, cl), NFS4ERR_CONN_NOT_BOUND_TO_SESSION);
	expect_status(destroy_session(c, cl), NFS4ERR_CONN_NOT_BOUND_TO_SESSION);
	check_session_works(cl);
	/* A SEQUENCE makes the connection the session's. */
	expect_status(sequence(c, cl, cl->slot_seq[0]++, 0, 0)->status, NFS4_OK);
	expect_status(destroy_session(c, cl), NFS4_OK);
	expect_status(destroy_session(c, cl), NFS4ERR_BADSESSION);
}

/* Behind the SEQUENCE of another session, anywhere (section 18.37.3). */
static void destroy_another_session(void **state)
{
	struct client *cl = client_new(minor_of(state)), first = *cl;
	struct compound *q;

	client_new_session(cl);
	q = begin(cl);
	add_putrootfh(q);
	add_destroy_session(q, first.session);
	add_getfh(q);
	expect(call(q), NFS4_OK);
	expect_status(sequence(cl->conn, &first, first.slot_seq[0], 0, 0)->status,
		      NFS4ERR_BADSESSION);
	check_session_works(cl);
}

/* Section 18.50: busy while there is a session, then gone for good. */
static void destroy_clientid_rules(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q;

	expect_status(destroy_clientid(cl, cl->clientid), NFS4ERR_CLIENTID_BUSY);
	q = begin(cl);
	add_destroy_clientid(q, cl->clientid);
	expect(call(q), NFS4ERR_CLIENTID_BUSY);
	expect_status(destroy_session(cl->conn, cl), NFS4_OK);
	expect_status(destroy_clientid(cl, cl->clientid), NFS4_OK);
	expect_status(destroy_clientid(cl, cl->clientid), NFS4ERR_STALE_CLIENTID);
	expect_status(create_session(cl, cl->clientid, cl->cs_sequence, 0, &fore_wanted)->status,
		      NFS4ERR_STALE_CLIENTID);
}

static void destroy_clientid_unconfirmed(void **state)
{
	struct client *cl = unconfirmed(minor_of(state));

	expect_status(destroy_clientid(cl, cl->clientid), NFS4_OK);
	expect_status(destroy_clientid(cl, cl->clientid), NFS4ERR_STALE_CLIENTID);
	expect_status(destroy_clientid(cl, 0), NFS4ERR_STALE_CLIENTID);
}

/* From within another client's session it works too (section 18.50.3). */
static void destroy_clientid_in_session(void **state)
{
	struct client *cl = client_new(minor_of(state)), *un = unconfirmed(minor_of(state));
	struct compound *q = begin(cl);

	add_destroy_clientid(q, un->clientid);
	expect(call(q), NFS4_OK);
}

/* With opens and no session: RFC 8881 section 18.50.3 calls it busy. */
static void destroy_clientid_with_state(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);

	open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	expect_status(destroy_session(cl->conn, cl), NFS4_OK);
	expect_status(destroy_clientid(cl, cl->clientid), NFS4ERR_CLIENTID_BUSY);
}

/* ---- RECLAIM_COMPLETE (section 18.51) ---- */

static struct client *not_reclaimed(uint32_t minor)
{
	struct client *cl = unconfirmed(minor);

	client_new_session(cl);
	return cl;
}

static uint32_t reclaim_complete(struct client *cl, bool one_fs, bool with_fh)
{
	struct compound *q = begin(cl);

	if (with_fh)
		add_putrootfh(q);
	add_reclaim_complete(q, one_fs);
	return call(q)->status;
}

static void reclaim_complete_once(void **state)
{
	struct client *cl = not_reclaimed(minor_of(state));

	expect_status(reclaim_complete(cl, false, false), NFS4_OK);
	expect_status(reclaim_complete(cl, false, false), NFS4ERR_COMPLETE_ALREADY);
}

static void reclaim_complete_one_fs(void **state)
{
	struct client *cl = not_reclaimed(minor_of(state));

	expect_status(reclaim_complete(cl, true, false), NFS4ERR_NOFILEHANDLE);
	expect_status(reclaim_complete(cl, true, true), NFS4_OK);
	/* It is not the global one. */
	expect_status(reclaim_complete(cl, false, true), NFS4_OK);
}

/* Plain locking operations before it: GRACE. */
static void grace_before_reclaim_complete(void **state)
{
	struct client *cl = not_reclaimed(minor_of(state)), *done = client_new(minor_of(state));
	struct fh dir = test_dir(done);

	make(done, &dir, NF4REG, "f");
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_GRACE);
	/* What takes no state is not concerned. */
	expect_status(lookup(cl, &dir, "f", NULL), NFS4_OK);
	expect_status(reclaim_complete(cl, false, false), NFS4_OK);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4_OK);
}

/* Reclaims when there is nothing to reclaim any more: NO_GRACE. */
static void reclaim_after_complete(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), fh = make(cl, &dir, NF4REG, "f");
	struct open_args a = { .access = OPEN4_SHARE_ACCESS_READ, .claim = CLAIM_PREVIOUS };
	struct open_file f, g;
	struct compound *q;

	expect_status(open_any(cl, owner_new(), &fh, &a, &f), NFS4ERR_NO_GRACE);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &g),
		      NFS4_OK);
	q = begin_at(cl, &g.fh);
	add_lock_new(q, READ_LT, true, 0, 1, 0, &g.sid, 0, cl->clientid, "o");
	expect(call(q), NFS4ERR_NO_GRACE);
}

/* ---- TEST_STATEID and FREE_STATEID (sections 18.38, 18.48) ---- */

static void test_stateid_list(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	struct sid sids[8];
	struct open_file g;
	struct compound *q;
	struct result *r;

	sids[0] = f.sid;
	sids[0].seqid = 0; /* the newest */
	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &g), NFS4_OK);
	check(memcmp(f.sid.other, g.sid.other, sizeof(f.sid.other)) == 0);
	check_num(g.sid.seqid, f.sid.seqid + 1);
	sids[1] = g.sid;
	sids[2] = f.sid; /* old */
	sids[3] = g.sid;
	sids[3].seqid += 10; /* not issued yet */
	sids[4] = g.sid;
	sids[4].other[11] ^= 0x77;
	sids[5] = SID_ANONYMOUS;
	sids[6] = SID_BYPASS;
	sids[7] = SID_CURRENT;
	q = begin(cl);
	add_test_stateid(q, sids, 8);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	check_num(r->n, 8);
	expect_status(r->list[0], NFS4_OK);
	expect_status(r->list[1], NFS4_OK);
	expect_status(r->list[2], NFS4ERR_OLD_STATEID);
	for (int i = 3; i < 8; i++)
		expect_status(r->list[i], NFS4ERR_BAD_STATEID);
	/* No stateids; and another client's. */
	q = begin(cl);
	add_test_stateid(q, sids, 0);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	check_num(r->n, 0);
	q = begin(other);
	add_test_stateid(q, sids + 1, 1);
	r = last(call(q));
	expect_status(r->status, NFS4_OK);
	expect_status(r->list[0], NFS4ERR_BAD_STATEID);
	close_file(cl, &g);
	q = begin(cl);
	add_test_stateid(q, sids + 1, 1);
	expect_status(last(call(q))->list[0], NFS4ERR_BAD_STATEID);
}

static uint32_t free_stateid(struct client *cl, const struct sid *sid)
{
	struct compound *q = begin(cl);

	add_free_stateid(q, sid);
	return call(q)->status;
}

static void free_stateid_rules(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct lock_state ls = { .owner = owner_new() };
	struct sid bad = f.sid, old;

	expect_status(free_stateid(cl, &f.sid), NFS4ERR_LOCKS_HELD);
	bad.other[10] ^= 0xff;
	expect_status(free_stateid(cl, &bad), NFS4ERR_BAD_STATEID);
	expect_status(free_stateid(cl, &SID_ANONYMOUS), NFS4ERR_BAD_STATEID);
	expect_status(lock_range(cl, &f, &ls, WRITE_LT, 0, 10, NULL), NFS4_OK);
	expect_status(free_stateid(cl, &ls.sid), NFS4ERR_LOCKS_HELD);
	old = ls.sid;
	expect_status(unlock_range(cl, &f, &ls, 0, 10), NFS4_OK);
	expect_status(free_stateid(cl, &old), NFS4ERR_OLD_STATEID);
	expect_status(free_stateid(cl, &ls.sid), NFS4_OK);
	expect_status(free_stateid(cl, &ls.sid), NFS4ERR_BAD_STATEID);
	expect_status(unlock_range(cl, &f, &ls, 0, 10), NFS4ERR_BAD_STATEID);
	close_file(cl, &f);
	expect_status(free_stateid(cl, &f.sid), NFS4ERR_BAD_STATEID);
}

/* ---- the current stateid (sections 8.2.3 and 16.2.3.1.2) ---- */

static void put_create_open(struct compound *q, struct client *cl, const char *name)
{
	struct attrs *a = test_alloc(sizeof(*a));
	struct open_args args = { .access = OPEN4_SHARE_ACCESS_BOTH,
				  .clientid = cl->clientid,
				  .owner = owner_new()->name,
				  .opentype = OPEN4_CREATE,
				  .createmode = UNCHECKED4,
				  .attrs = a,
				  .name = name };

	at_num(a, FATTR4_MODE, 0644);
	add_open(q, &args);
}

/* OPEN, WRITE, READ, LOCK, LOCKU and CLOSE in one compound. */
static void current_stateid(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct compound *q = begin_at(cl, &dir);
	struct reply *r;

	put_create_open(q, cl, "f");
	add_write(q, &SID_CURRENT, 0, FILE_SYNC4, "hello", 5);
	add_read(q, &SID_CURRENT, 0, 10);
	add_close(q, 0, &SID_CURRENT);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(result_of(r, OP_READ)->len, 5);

	q = begin_at(cl, &dir);
	put_create_open(q, cl, "f");
	add_lock_new(q, WRITE_LT, false, 0, 5, 0, &SID_CURRENT, 0, cl->clientid, "lock owner");
	add_read(q, &SID_CURRENT, 0, 10);
	add_locku(q, WRITE_LT, 0, &SID_CURRENT, 0, 5);
	expect(call(q), NFS4_OK);
}

/* Operations that change the filehandle forget it; SAVEFH and RESTOREFH carry it. */
static void current_stateid_goes(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub");
	struct compound *q = begin_at(cl, &dir);
	struct fh fh;

	put_create_open(q, cl, "f");
	add_savefh(q);
	add_putfh(q, &sub);
	put_create_open(q, cl, "g");
	add_write(q, &SID_CURRENT, 0, FILE_SYNC4, "g", 1);
	add_restorefh(q);
	add_write(q, &SID_CURRENT, 0, FILE_SYNC4, "ff", 2);
	add_getattr(q, bm_of(FATTR4_SIZE, -1));
	expect(call(q), NFS4_OK);
	expect_status(lookup(cl, &dir, "f", &fh), NFS4_OK);
	check_num(getattr_num(cl, &fh, FATTR4_SIZE), 2);

	q = begin_at(cl, &dir);
	put_create_open(q, cl, "f");
	add_putfh(q, &fh);
	add_read(q, &SID_CURRENT, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
	q = begin_at(cl, &dir);
	put_create_open(q, cl, "f");
	add_putfh(q, &dir);
	add_lookup(q, "f");
	add_close(q, 0, &SID_CURRENT);
	expect(call(q), NFS4ERR_BAD_STATEID);
	/* No stateid in the compound at all. */
	q = begin_at(cl, &fh);
	add_read(q, &SID_CURRENT, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
}

/* Section 18.2.4: CLOSE answers with the invalid special stateid, which nothing takes. */
static void closed_stateid(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct compound *q = begin_at(cl, &f.fh);
	struct reply *r;

	add_close(q, 0, &f.sid);
	add_read(q, &SID_CURRENT, 0, 1);
	r = call(q);
	expect(r, NFS4ERR_BAD_STATEID);
	check(memcmp(&result_of(r, OP_CLOSE)->sid, &SID_INVALID, sizeof(SID_INVALID)) == 0);
	q = begin_at(cl, &f.fh);
	add_read(q, &SID_INVALID, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
}

/* Section 8.2.3: other combinations of all zeros and all ones are invalid. */
static void malformed_special_stateids(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct sid sids[3] = { SID_ANONYMOUS, SID_BYPASS, SID_BYPASS };

	sids[0].seqid = 2;
	sids[1].seqid = 0;
	sids[2].seqid = 1;
	for (int i = 0; i < 3; i++) {
		struct compound *q = begin_at(cl, &fh);

		add_read(q, &sids[i], 0, 1);
		expect(call(q), NFS4ERR_BAD_STATEID);
	}
}

/* Section 8.2.2: seqid 0 means the newest; old and future ones are told apart. */
static void stateid_sequence(void **state)
{
	struct client *cl = client_new(minor_of(state)), *other = client_new(minor_of(state));
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0), g;
	struct sid sid;
	struct compound *q;

	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &g), NFS4_OK);
	sid = g.sid;
	sid.seqid = 0;
	q = begin_at(cl, &f.fh);
	add_write(q, &sid, 0, UNSTABLE4, "x", 1);
	expect(call(q), NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_read(q, &f.sid, 0, 1);
	expect(call(q), NFS4ERR_OLD_STATEID);
	sid.seqid = g.sid.seqid + 1;
	q = begin_at(cl, &f.fh);
	add_read(q, &sid, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
	/* Another client's use, and another file. */
	q = begin_at(other, &f.fh);
	add_read(q, &g.sid, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
	f.fh = make_file(cl, &dir, "other", "x", 1);
	q = begin_at(cl, &f.fh);
	add_read(q, &g.sid, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
}

/* ---- others ---- */

/* Section 18.45 and 2.6.3.1.1.8: flavors, and the filehandle is consumed. */
static void secinfo_no_name(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct fh dir = test_dir(cl), root = root_fh(cl);
	struct compound *q;
	struct reply *r;
	bool sys = false;

	for (uint32_t style = 0; style <= 1; style++) {
		q = begin_at(cl, &dir);
		add_secinfo_no_name(q, style);
		add_getfh(q);
		r = call(q);
		expect(r, NFS4ERR_NOFILEHANDLE);
		for (uint32_t i = 0; i < result_of(r, OP_SECINFO_NO_NAME)->n; i++)
			sys = sys || result_of(r, OP_SECINFO_NO_NAME)->list[i] == 1;
		check(sys);
	}
	q = begin_at(cl, &root);
	add_secinfo_no_name(q, SECINFO_STYLE4_PARENT);
	expect(call(q), NFS4ERR_NOENT);
}

/* Section 18.39: a client that cannot be called gets no delegation of a directory. */
static void get_dir_delegation(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);
	struct reply *r;

	add_putrootfh(q);
	add_get_dir_delegation(q);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->gdd, GDD4_UNAVAIL);
}

/* Section 18.33 on a session without a back channel. */
static void backchannel_ctl(void **state)
{
	struct client *cl = client_new(minor_of(state));
	struct compound *q = begin(cl);

	add_backchannel_ctl(q, 0x40000001);
	expect_one_of(call(q)->status, NFS4_OK, NFS4ERR_NOTSUPP);
}

/* Many clients and sessions: none is mixed up with another. */
static void many_clients(void **state)
{
	enum { N = 50 };
	struct client *cl[N];

	for (int i = 0; i < N; i++)
		cl[i] = client_new(minor_of(state));
	for (int i = 0; i < N; i++) {
		for (int j = 0; j < i; j++) {
			check(cl[i]->clientid != cl[j]->clientid);
			check(memcmp(cl[i]->session, cl[j]->session, NFS4_SESSIONID_SIZE) != 0);
		}
		check_session_works(cl[i]);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_SESSIONS(exchange_id_new),
		WIRE_SESSIONS(exchange_id_again),
		WIRE_SESSIONS(exchange_id_collision),
		WIRE_SESSIONS(exchange_id_collision_with_session),
		WIRE_SESSIONS(exchange_id_replaces_unconfirmed),
		WIRE_SESSIONS(exchange_id_restart),
		WIRE_SESSIONS(exchange_id_update),
		WIRE_SESSIONS(exchange_id_update_unknown),
		WIRE_SESSIONS(exchange_id_update_verifier),
		WIRE_SESSIONS(exchange_id_update_principal),
		WIRE_SESSIONS(exchange_id_bad_flags),
		WIRE_SESSIONS(exchange_id_good_flags),
		WIRE_SESSIONS(exchange_id_protection),
		WIRE_SESSIONS(exchange_id_ssv_choices),
		WIRE_SESSIONS(exchange_id_two_implementations),
		WIRE_SESSIONS(exchange_id_in_session),
		WIRE_SESSIONS(create_session_confirms),
		WIRE_SESSIONS(create_session_stale),
		WIRE_SESSIONS(create_session_replay),
		WIRE_SESSIONS(create_session_misordered),
		WIRE_SESSIONS(create_session_too_small),
		WIRE_SESSIONS(create_session_back_too_small),
		WIRE_SESSIONS(create_session_bad_flags),
		WIRE_SESSIONS(create_session_flags),
		WIRE_SESSIONS(create_session_principal),
		WIRE_SESSIONS(create_session_replay_of_others),
		WIRE_SESSIONS(create_session_absurd),
		WIRE_SESSIONS(create_session_rdma_ird),
		WIRE_SESSIONS(create_session_callback_security),
		WIRE_SESSIONS(create_session_callback_gss),
		WIRE_SESSIONS(two_sessions),
		WIRE_SESSIONS(sequence_results),
		WIRE_SESSIONS(sequence_bad_session),
		WIRE_SESSIONS(sequence_bad_slot),
		WIRE_SESSIONS(sequence_misordered),
		WIRE_SESSIONS(replay_cached),
		WIRE_SESSIONS(replay_cached_error),
		WIRE_SESSIONS(replay_sequence_alone),
		WIRE_SESSIONS(replay_open),
		WIRE_SESSIONS(false_retry),
		WIRE_SESSIONS(slots_are_independent),
		WIRE_SESSIONS(several_connections),
		WIRE_SESSIONS(session_outlives_connections),
		WIRE_SESSIONS(bind_conn_directions),
		WIRE_SESSIONS(bind_conn_errors),
		WIRE_SESSIONS(destroy_session_ends_it),
		WIRE_SESSIONS(destroy_session_within),
		WIRE_SESSIONS(destroy_session_of_others),
		WIRE_SESSIONS(destroy_another_session),
		WIRE_SESSIONS(destroy_clientid_rules),
		WIRE_SESSIONS(destroy_clientid_unconfirmed),
		WIRE_SESSIONS(destroy_clientid_in_session),
		WIRE_SESSIONS(destroy_clientid_with_state),
		WIRE_SESSIONS(reclaim_complete_once),
		WIRE_SESSIONS(reclaim_complete_one_fs),
		WIRE_SESSIONS(grace_before_reclaim_complete),
		WIRE_SESSIONS(reclaim_after_complete),
		WIRE_SESSIONS(test_stateid_list),
		WIRE_SESSIONS(free_stateid_rules),
		WIRE_SESSIONS(current_stateid),
		WIRE_SESSIONS(current_stateid_goes),
		WIRE_SESSIONS(closed_stateid),
		WIRE_SESSIONS(malformed_special_stateids),
		WIRE_SESSIONS(stateid_sequence),
		WIRE_SESSIONS(secinfo_no_name),
		WIRE_SESSIONS(get_dir_delegation),
		WIRE_SESSIONS(backchannel_ctl),
		WIRE_SESSIONS(many_clients),
	};

	return wire_main("session", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * What only minor version 0 has (RFC 7530): SETCLIENTID, sequence IDs of owners with their
 * replay, OPEN_CONFIRM, RENEW, RELEASE_LOCKOWNER, and the retransmission of other requests.
 */
#include <stdio.h>
#include <string.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

/* ---- SETCLIENTID and SETCLIENTID_CONFIRM (sections 16.33, 16.34) ---- */

static struct result *setclientid_on(struct conn *c, struct client *cl, const struct verf *verf)
{
	struct compound *q = compound_begin(c, 0, "");

	add_setclientid(q, verf, cl->id, 0x40000000, "tcp", "127.0.0.1.0.0", 1);
	return last(call(q));
}

static uint32_t confirm_on(struct conn *c, uint64_t clientid, const struct verf *verf)
{
	struct compound *q = compound_begin(c, 0, "");

	add_setclientid_confirm(q, clientid, verf);
	return call(q)->status;
}

static uint32_t renew(struct client *cl, uint64_t clientid)
{
	struct compound *q = begin(cl);

	add_renew(q, clientid);
	return call(q)->status;
}

static struct verf other_verf(const struct client *cl)
{
	struct verf v = cl->verf;

	v.data[0] ^= 0x55;
	return v;
}

/* A new client; a confirmation that is repeated succeeds again. */
static void setclientid_new(void **state)
{
	struct client *cl = client_bare(0);
	struct result *r = setclientid_on(cl->conn, cl, &cl->verf);

	expect_status(r->status, NFS4_OK);
	expect_status(confirm_on(cl->conn, r->clientid, &r->verf), NFS4_OK);
	expect_status(confirm_on(cl->conn, r->clientid, &r->verf), NFS4_OK);
	expect_status(renew(cl, r->clientid), NFS4_OK);
}

/* The unconfirmed record is replaced by each new SETCLIENTID. */
static void setclientid_replaces_unconfirmed(void **state)
{
	struct client *cl = client_bare(0);
	struct result *a = setclientid_on(cl->conn, cl, &cl->verf);
	struct result *b = setclientid_on(cl->conn, cl, &cl->verf);

	expect_status(a->status, NFS4_OK);
	expect_status(b->status, NFS4_OK);
	check(a->clientid != b->clientid || memcmp(&a->verf, &b->verf, sizeof(a->verf)) != 0);
	expect_status(confirm_on(cl->conn, a->clientid, &a->verf), NFS4ERR_STALE_CLIENTID);
	expect_status(confirm_on(cl->conn, b->clientid, &b->verf), NFS4_OK);
}

/* The same client and verifier: an update of the callback; the ID and the state stay. */
static void setclientid_callback_update(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	struct result *r = setclientid_on(cl->conn, cl, &cl->verf);

	expect_status(r->status, NFS4_OK);
	check_num(r->clientid, cl->clientid);
	expect_status(confirm_on(cl->conn, r->clientid, &r->verf), NFS4_OK);
	close_file(cl, &f);
}

/* Another verifier: the client has restarted; what it held is gone once it confirms. */
static void setclientid_restart(void **state)
{
	struct client *cl = client_new(0), *other = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f =
	    open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, OPEN4_SHARE_DENY_BOTH);
	struct verf v = other_verf(cl);
	struct owner *o = owner_new();
	struct result *r = setclientid_on(cl->conn, cl, &v);
	uint32_t status;

	expect_status(r->status, NFS4_OK);
	check(r->clientid != cl->clientid);
	/* Not confirmed yet: nothing has changed. */
	expect_status(renew(cl, cl->clientid), NFS4_OK);
	expect_status(open_status(other, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_SHARE_DENIED);
	expect_status(confirm_on(cl->conn, r->clientid, &r->verf), NFS4_OK);
	expect_status(open_status(other, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL), NFS4_OK);
	status = renew(cl, cl->clientid);
	expect_one_of(status, NFS4ERR_STALE_CLIENTID, NFS4ERR_EXPIRED);
	status = close_status(cl, &f);
	expect_one_of(status, NFS4ERR_BAD_STATEID, NFS4ERR_EXPIRED, NFS4ERR_STALE_STATEID);
}

/* Another principal: refused, with the address of the one in use. */
static void setclientid_in_use(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	struct verf v = other_verf(cl);
	struct conn *c = conn_new();
	struct result *r;

	c->uid = 4711;
	r = setclientid_on(c, cl, &v);
	expect_status(r->status, NFS4ERR_CLID_INUSE);
	check(strcmp(r->netid, "tcp") == 0);
	check(strcmp(r->addr, "127.0.0.1.0.0") == 0);
	close_file(cl, &f);
}

/* Confirmations of nothing, with another verifier, by another principal. */
static void setclientid_confirm_errors(void **state)
{
	struct client *cl = client_bare(0);
	struct result *r = setclientid_on(cl->conn, cl, &cl->verf);
	struct conn *c = conn_new();
	struct verf wrong = r->verf;

	wrong.data[3] ^= 1;
	expect_status(confirm_on(cl->conn, r->clientid, &wrong), NFS4ERR_STALE_CLIENTID);
	expect_status(confirm_on(cl->conn, 0, &r->verf), NFS4ERR_STALE_CLIENTID);
	expect_status(confirm_on(cl->conn, r->clientid + 0x10000, &r->verf),
		      NFS4ERR_STALE_CLIENTID);
	c->uid = 4711;
	expect_status(confirm_on(c, r->clientid, &r->verf), NFS4ERR_CLID_INUSE);
	expect_status(confirm_on(cl->conn, r->clientid, &r->verf), NFS4_OK);
}

/* A client ID that is not confirmed is none (section 16.16.5: STALE_CLIENTID). */
static void unconfirmed_client_cannot_open(void **state)
{
	struct client *cl = client_bare(0), *done = client_new(0);
	struct fh dir = test_dir(done);
	struct result *r = setclientid_on(cl->conn, cl, &cl->verf);

	make(done, &dir, NF4REG, "f");
	cl->clientid = r->clientid;
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_STALE_CLIENTID);
	expect_status(renew(cl, cl->clientid), NFS4ERR_STALE_CLIENTID);
}

/* Section 16.28. */
static void renew_unknown(void **state)
{
	struct client *cl = client_new(0);

	expect_status(renew(cl, cl->clientid), NFS4_OK);
	expect_status(renew(cl, 0), NFS4ERR_STALE_CLIENTID);
	expect_status(renew(cl, 0x1234567812345678), NFS4ERR_STALE_CLIENTID);
}

/* ---- OPEN's sequence IDs and OPEN_CONFIRM (sections 9.1.7 and 16.18) ---- */

/* A bare OPEN of an existing file; nothing is confirmed or counted. */
static struct reply *raw_open(struct client *cl, struct owner *o, const struct fh *dir,
			      const char *name, uint32_t access, uint32_t seqid)
{
	struct open_args a = { .seqid = seqid,
			       .access = access,
			       .clientid = cl->clientid,
			       .owner = o->name,
			       .name = name };
	struct compound *q = begin_at(cl, dir);

	add_open(q, &a);
	add_getfh(q);
	return call(q);
}

static struct result *raw_confirm(struct client *cl, const struct fh *fh, const struct sid *sid,
				  uint32_t seqid)
{
	struct compound *q = begin_at(cl, fh);

	add_open_confirm(q, sid, seqid);
	return last(call(q));
}

static bool same_sid(const struct sid *a, const struct sid *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* An owner's first OPEN asks for confirmation, later ones do not. */
static void open_confirm_once(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct reply *r;
	struct result *open, *c;
	struct fh fh;

	make_file(cl, &dir, "f", "x", 1);
	make_file(cl, &dir, "g", "x", 1);
	r = raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 100);
	expect(r, NFS4_OK);
	open = result_of(r, OP_OPEN);
	check(open->rflags & OPEN4_RESULT_CONFIRM);
	fh = last(r)->fh;
	c = raw_confirm(cl, &fh, &open->sid, 101);
	expect_status(c->status, NFS4_OK);
	check(memcmp(c->sid.other, open->sid.other, sizeof(c->sid.other)) == 0);
	check_num(c->sid.seqid, open->sid.seqid + 1);
	r = raw_open(cl, o, &dir, "g", OPEN4_SHARE_ACCESS_READ, 102);
	expect(r, NFS4_OK);
	check(!(result_of(r, OP_OPEN)->rflags & OPEN4_RESULT_CONFIRM));
}

/* Until then the stateid is good for OPEN_CONFIRM only. */
static void unconfirmed_stateid(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct owner *o = owner_new();
	struct reply *r = raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 1);
	struct sid sid;
	struct compound *q;

	expect(r, NFS4_OK);
	sid = result_of(r, OP_OPEN)->sid;
	q = begin_at(cl, &fh);
	add_lock_new(q, READ_LT, false, 0, 1, 2, &sid, 1, cl->clientid, "lock owner");
	expect(call(q), NFS4ERR_BAD_STATEID);
	q = begin_at(cl, &fh);
	add_open_downgrade(q, &sid, 2, OPEN4_SHARE_ACCESS_READ, 0);
	expect(call(q), NFS4ERR_BAD_STATEID);
	expect_status(raw_confirm(cl, &fh, &sid, 2)->status, NFS4_OK);
}

/* A further OPEN of an unconfirmed owner, with any seqid, cancels the first one. */
static void unconfirmed_owner_opens_again(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct owner *o = owner_new();
	struct reply *r = raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 5);
	struct sid first, second;

	expect(r, NFS4_OK);
	first = result_of(r, OP_OPEN)->sid;
	r = raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 77);
	expect(r, NFS4_OK);
	second = result_of(r, OP_OPEN)->sid;
	check(result_of(r, OP_OPEN)->rflags & OPEN4_RESULT_CONFIRM);
	expect_status(raw_confirm(cl, &fh, &second, 78)->status, NFS4_OK);
	if (memcmp(first.other, second.other, sizeof(first.other)) != 0)
		expect_status(raw_confirm(cl, &fh, &first, 79)->status, NFS4ERR_BAD_STATEID);
}

/* OPEN_CONFIRM out of order, of nothing, and repeated. */
static void open_confirm_errors(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct reply *r = raw_open(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 10);
	struct sid sid, bad;
	struct result *a, *b;

	expect(r, NFS4_OK);
	sid = bad = result_of(r, OP_OPEN)->sid;
	expect_status(raw_confirm(cl, &fh, &sid, 13)->status, NFS4ERR_BAD_SEQID);
	bad.other[11] ^= 0x5a;
	expect_status(raw_confirm(cl, &fh, &bad, 11)->status, NFS4ERR_BAD_STATEID);
	a = raw_confirm(cl, &fh, &sid, 11);
	expect_status(a->status, NFS4_OK);
	b = raw_confirm(cl, &fh, &sid, 11);
	expect_status(b->status, NFS4_OK);
	check(same_sid(&a->sid, &b->sid));
	/* Confirmed already. */
	expect_status(raw_confirm(cl, &fh, &a->sid, 12)->status, NFS4ERR_BAD_STATEID);
}

/* Section 9.1.9: the last request again is answered again; nothing is done twice. */
static void open_replay(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f;
	struct reply *a, *b;

	make_file(cl, &dir, "f", "x", 1);
	make_file(cl, &dir, "g", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f), NFS4_OK);
	a = raw_open(cl, o, &dir, "g", OPEN4_SHARE_ACCESS_READ, o->seqid);
	expect(a, NFS4_OK);
	b = raw_open(cl, o, &dir, "g", OPEN4_SHARE_ACCESS_READ, o->seqid);
	expect(b, NFS4_OK);
	check(same_sid(&result_of(a, OP_OPEN)->sid, &result_of(b, OP_OPEN)->sid));
	/* The filehandle is the opened file's also in the replay. */
	check(memcmp(&last(a)->fh, &last(b)->fh, sizeof(struct fh)) == 0);
	/* Over another connection, though the file is gone by now. */
	expect_status(remove_name(cl, &dir, "g"), NFS4_OK);
	cl->conn = conn_new();
	b = raw_open(cl, o, &dir, "g", OPEN4_SHARE_ACCESS_READ, o->seqid);
	expect(b, NFS4_OK);
	check(same_sid(&result_of(a, OP_OPEN)->sid, &result_of(b, OP_OPEN)->sid));
	o->seqid++;
	a = raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, o->seqid);
	expect(a, NFS4_OK);
}

/* A failed OPEN is remembered as well, and advances the seqid. */
static void open_replay_of_error(void **state)
{
	struct client *cl = client_new(0), *other = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f;

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f), NFS4_OK);
	expect(raw_open(cl, o, &dir, "later", OPEN4_SHARE_ACCESS_READ, o->seqid), NFS4ERR_NOENT);
	make_file(other, &dir, "later", "x", 1);
	expect(raw_open(cl, o, &dir, "later", OPEN4_SHARE_ACCESS_READ, o->seqid), NFS4ERR_NOENT);
	expect(raw_open(cl, o, &dir, "later", OPEN4_SHARE_ACCESS_READ, o->seqid + 1), NFS4_OK);
}

/* Seqids out of order. */
static void open_bad_seqid(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f;
	uint32_t s;

	make_file(cl, &dir, "f", "x", 1);
	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f), NFS4_OK);
	s = o->seqid;
	expect(raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, s + 1), NFS4ERR_BAD_SEQID);
	expect(raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, s - 2), NFS4ERR_BAD_SEQID);
	expect(raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, s + 50), NFS4ERR_BAD_SEQID);
	expect(raw_open(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, s), NFS4_OK);
}

/* The same seqid with another kind of request is no retry (section 9.1.9). */
static void replay_of_another_operation(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	struct compound *q = begin_at(cl, &f.fh);

	add_close(q, f.owner->seqid - 1, &f.sid);
	expect(call(q), NFS4ERR_BAD_SEQID);
	close_file(cl, &f);
}

/* An owner of the same name at another client is another owner. */
static void owners_are_independent(void **state)
{
	struct client *a = client_new(0), *b = client_new(0);
	struct fh dir = test_dir(a);
	struct owner *o = owner_new(), *same_name = owner_new();
	struct open_file f, g;

	make_file(a, &dir, "f", "x", 1);
	*same_name = *o;
	same_name->seqid = 400;
	expect_status(open_status(a, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f), NFS4_OK);
	expect_status(open_status(b, same_name, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &g),
		      NFS4_OK);
	check(memcmp(f.sid.other, g.sid.other, sizeof(f.sid.other)) != 0);
	close_file(a, &f);
	close_file(b, &g);
}

/* ---- CLOSE, OPEN_DOWNGRADE (sections 16.2, 16.19) ---- */

static struct reply *raw_close(struct client *cl, const struct fh *fh, const struct sid *sid,
			       uint32_t seqid)
{
	struct compound *q = begin_at(cl, fh);

	add_close(q, seqid, sid);
	return call(q);
}

static void close_replay(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);
	struct reply *a, *b;

	expect(raw_close(cl, &f.fh, &f.sid, o->seqid + 1), NFS4ERR_BAD_SEQID);
	a = raw_close(cl, &f.fh, &f.sid, o->seqid);
	expect(a, NFS4_OK);
	b = raw_close(cl, &f.fh, &f.sid, o->seqid);
	expect(b, NFS4_OK);
	check(same_sid(&last(a)->sid, &last(b)->sid));
	cl->conn = conn_new();
	expect(raw_close(cl, &f.fh, &f.sid, o->seqid), NFS4_OK);
	expect_one_of(raw_close(cl, &f.fh, &f.sid, o->seqid + 1)->status, NFS4ERR_BAD_STATEID,
		      NFS4ERR_OLD_STATEID);
}

/* The owner of an open that was closed may open again, with the next seqid or afresh. */
static void open_after_close(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0);

	for (int i = 0; i < 5; i++) {
		close_file(cl, &f);
		expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f),
			      NFS4_OK);
	}
	close_file(cl, &f);
}

static void open_downgrade_replay(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0), g;
	struct reply *r[2];

	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &g), NFS4_OK);
	for (int i = 0; i < 2; i++) {
		struct compound *q = begin_at(cl, &f.fh);

		add_open_downgrade(q, &g.sid, o->seqid, OPEN4_SHARE_ACCESS_READ, 0);
		r[i] = call(q);
		expect(r[i], NFS4_OK);
	}
	check(same_sid(&last(r[0])->sid, &last(r[1])->sid));
	check_num(last(r[0])->sid.seqid, g.sid.seqid + 1);
}

/* ---- stateids (section 9.1.4) ---- */

/* Seqids of stateids: 0 is nothing special in minor version 0. */
static void stateid_seqids(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0), g;
	struct sid sid;
	struct compound *q;

	expect_status(open_status(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &g), NFS4_OK);
	check(memcmp(f.sid.other, g.sid.other, sizeof(f.sid.other)) == 0);
	q = begin_at(cl, &f.fh);
	add_read(q, &f.sid, 0, 1);
	expect(call(q), NFS4ERR_OLD_STATEID);
	sid = g.sid;
	sid.seqid = 0;
	q = begin_at(cl, &f.fh);
	add_read(q, &sid, 0, 1);
	expect(call(q), NFS4ERR_OLD_STATEID);
	sid.seqid = g.sid.seqid + 1;
	q = begin_at(cl, &f.fh);
	add_read(q, &sid, 0, 1);
	expect(call(q), NFS4ERR_BAD_STATEID);
	q = begin_at(cl, &f.fh);
	add_read(q, &g.sid, 0, 1);
	expect(call(q), NFS4_OK);
}

/* Stateids that the server never issued. */
static void stateid_forged(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);

	for (int i = 1; i < 256; i += 17) {
		struct compound *q = begin_at(cl, &fh);
		struct sid sid = { 1, { 0 } };

		memset(sid.other, i, sizeof(sid.other));
		add_read(q, &sid, 0, 1);
		expect_one_of(call(q)->status, NFS4ERR_BAD_STATEID, NFS4ERR_STALE_STATEID);
		q = begin_at(cl, &fh);
		add_close(q, 1, &sid);
		expect_one_of(call(q)->status, NFS4ERR_BAD_STATEID, NFS4ERR_STALE_STATEID);
	}
}

/* ---- LOCK's sequence IDs (sections 9.1.7, 16.10) ---- */

static struct reply *raw_lock_new(struct client *cl, struct open_file *f, uint32_t open_seqid,
				  uint32_t lock_seqid, const char *owner, uint64_t off)
{
	struct compound *q = begin_at(cl, &f->fh);

	add_lock_new(q, WRITE_LT, false, off, 10, open_seqid, &f->sid, lock_seqid, cl->clientid,
		     owner);
	return call(q);
}

static void lock_seqids(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct sid sid, next;
	struct compound *q;
	struct reply *a, *b;

	/* The open-owner's seqid is checked first. */
	expect(raw_lock_new(cl, &f, o->seqid + 1, 1, "lo", 0), NFS4ERR_BAD_SEQID);
	a = raw_lock_new(cl, &f, o->seqid, 1, "lo", 0);
	expect(a, NFS4_OK);
	sid = last(a)->sid;
	b = raw_lock_new(cl, &f, o->seqid, 1, "lo", 0);
	expect(b, NFS4_OK);
	check(same_sid(&last(b)->sid, &sid));
	o->seqid++;

	/* Then the lock-owner's. */
	q = begin_at(cl, &f.fh);
	add_lock_more(q, WRITE_LT, false, 20, 10, &sid, 9);
	expect(call(q), NFS4ERR_BAD_SEQID);
	q = begin_at(cl, &f.fh);
	add_lock_more(q, WRITE_LT, false, 20, 10, &sid, 2);
	a = call(q);
	expect(a, NFS4_OK);
	next = last(a)->sid;
	check_num(next.seqid, sid.seqid + 1);
	check(memcmp(next.other, sid.other, sizeof(sid.other)) == 0);
	q = begin_at(cl, &f.fh);
	add_lock_more(q, WRITE_LT, false, 20, 10, &sid, 2);
	b = call(q);
	expect(b, NFS4_OK);
	check(same_sid(&last(b)->sid, &next));

	/* LOCKU: its replay, and the stateid before it is old. */
	q = begin_at(cl, &f.fh);
	add_locku(q, WRITE_LT, 3, &next, 0, 10);
	a = call(q);
	expect(a, NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_locku(q, WRITE_LT, 3, &next, 0, 10);
	b = call(q);
	expect(b, NFS4_OK);
	check(same_sid(&last(a)->sid, &last(b)->sid));
	q = begin_at(cl, &f.fh);
	add_locku(q, WRITE_LT, 4, &next, 0, 10);
	expect(call(q), NFS4ERR_OLD_STATEID);
	q = begin_at(cl, &f.fh);
	add_locku(q, WRITE_LT, 7, &last(a)->sid, 0, 10);
	expect(call(q), NFS4ERR_BAD_SEQID);
	close_file(cl, &f);
}

/* A denial is remembered like any other answer. */
static void lock_denied_replay(void **state)
{
	struct client *cl = client_new(0), *other = client_new(0);
	struct fh dir = test_dir(cl);
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0), g;
	struct lock_state ls = { .owner = owner_new() };
	struct reply *a, *b;

	expect_status(open_status(other, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &g),
		      NFS4_OK);
	expect_status(lock_range(other, &g, &ls, WRITE_LT, 0, 100, NULL), NFS4_OK);
	a = raw_lock_new(cl, &f, o->seqid, 1, "lo", 0);
	expect(a, NFS4ERR_DENIED);
	expect_status(unlock_range(other, &g, &ls, 0, 100), NFS4_OK);
	b = raw_lock_new(cl, &f, o->seqid, 1, "lo", 0);
	expect(b, NFS4ERR_DENIED);
	check_num(last(b)->denied.offset, last(a)->denied.offset);
	check_num(last(b)->denied.length, last(a)->denied.length);
	check_num(last(b)->denied.clientid, last(a)->denied.clientid);
	o->seqid++;
	expect(raw_lock_new(cl, &f, o->seqid, 1, "lo", 0), NFS4_OK);
}

/* CLOSE with byte ranges held: they are released, or CLOSE says LOCKS_HELD (16.2.4). */
static void close_with_locks(void **state)
{
	struct client *cl = client_new(0), *other = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct lock_state ls = { .owner = owner_new() };
	uint32_t status;

	expect_status(lock_range(cl, &f, &ls, WRITE_LT, 0, 100, NULL), NFS4_OK);
	status = close_status(cl, &f);
	expect_one_of(status, NFS4_OK, NFS4ERR_LOCKS_HELD);
	if (status == NFS4_OK)
		expect_status(lockt(other, &f.fh, owner_new(), WRITE_LT, 0, 100, NULL), NFS4_OK);
}

/* ---- RELEASE_LOCKOWNER (section 16.37) ---- */

static uint32_t release_lockowner(struct client *cl, uint64_t clientid, const char *owner)
{
	struct compound *q = begin(cl);

	add_release_lockowner(q, clientid, owner);
	return call(q)->status;
}

static void release_lockowner_rules(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct lock_state ls = { .owner = owner_new() };

	expect_status(release_lockowner(cl, cl->clientid, "never heard of"), NFS4_OK);
	expect_status(release_lockowner(cl, 0, "owner"), NFS4ERR_STALE_CLIENTID);
	expect_status(lock_range(cl, &f, &ls, WRITE_LT, 0, 10, NULL), NFS4_OK);
	expect_status(release_lockowner(cl, cl->clientid, ls.owner->name), NFS4ERR_LOCKS_HELD);
	expect_status(unlock_range(cl, &f, &ls, 0, 10), NFS4_OK);
	expect_status(release_lockowner(cl, cl->clientid, ls.owner->name), NFS4_OK);
	expect_status(unlock_range(cl, &f, &ls, 0, 10), NFS4ERR_BAD_STATEID);
	/* The name is free for a new lock-owner with another seqid. */
	ls.have = false;
	ls.owner->seqid = 1000;
	expect_status(lock_range(cl, &f, &ls, WRITE_LT, 0, 10, NULL), NFS4_OK);
	close_file(cl, &f);
}

/* ---- retransmission of requests without sequence IDs ---- */

/*
 * The reply was lost: the same call with the same xid over a new connection is answered as it
 * was the first time, not done again (RFC 5531 section 9, RFC 7530 section 9.1.7).
 */
static void check_retransmission(struct client *cl, struct compound *q)
{
	struct reply *r = call(q);
	struct rpc_reply *again;
	size_t len;

	expect(r, NFS4_OK);
	conn_close(cl->conn);
	cl->conn = conn_new();
	compound_bytes(q, &len);
	again = rpc_call(cl->conn, &q->enc);
	check_num(again->outcome, RPC_SUCCESS_R);
	expect(compound_parse(q, again), NFS4_OK);
	check_num(again->body_len, r->rpc->body_len);
	check(memcmp(again->body, r->rpc->body, again->body_len) == 0);
	/* Next calls get xids of their own. */
	cl->conn->next_xid = q->xid + 1;
}

static void retransmission(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct compound *q;

	cl->conn->next_xid = 0x7a5b0000;
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "made", NULL, 0, 0, NULL);
	check_retransmission(cl, q);
	q = begin_at(cl, &dir);
	add_savefh(q);
	add_rename(q, "made", "renamed");
	check_retransmission(cl, q);
	q = begin_at(cl, &dir);
	add_remove(q, "renamed");
	check_retransmission(cl, q);
	make_file(cl, &dir, "file", "x", 1);
	q = begin_at(cl, &dir);
	add_lookup(q, "file");
	add_savefh(q);
	add_putfh(q, &dir);
	add_link(q, "second");
	check_retransmission(cl, q);
}

/* An xid that comes round again with another call is that other call. */
static void xid_reused(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct compound *q;

	for (int i = 0; i < 10; i++) {
		char name[8];

		snprintf(name, sizeof(name), "d%d", i);
		cl->conn->next_xid = 0x5a5a5a5a;
		q = begin_at(cl, &dir);
		add_create(q, NF4DIR, name, NULL, 0, 0, NULL);
		expect(call(q), NFS4_OK);
	}
	for (int i = 0; i < 10; i++) {
		char name[8];

		snprintf(name, sizeof(name), "d%d", i);
		expect_status(lookup(cl, &dir, name, NULL), NFS4_OK);
	}
}

/* Another client's call is another call, even if it has the same bytes and xid. */
static void retransmission_by_others(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct conn *c = conn_new();
	struct compound *q;

	c->uid = 4711;
	cl->conn->next_xid = c->next_xid = 0x6b6b6b6b;
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "mine", NULL, 0, 0, NULL);
	expect(call(q), NFS4_OK);
	cl->conn = c;
	q = begin_at(cl, &dir);
	add_create(q, NF4DIR, "mine", NULL, 0, 0, NULL);
	expect_one_of(call(q)->status, NFS4ERR_EXIST, NFS4ERR_ACCESS);
}

/* ---- what is not supported, or does not exist here ---- */

/* Claims and create modes of later minor versions (section 16.16: not in 4.0's unions). */
static void later_claims(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct open_args a = { .seqid = 1,
			       .access = OPEN4_SHARE_ACCESS_READ,
			       .clientid = cl->clientid,
			       .owner = "some owner",
			       .claim = CLAIM_FH };
	struct rpc_reply *rpc;
	struct compound *q;
	size_t len;

	for (int i = 0; i < 2; i++) {
		q = begin_at(cl, i == 0 ? &fh : &dir);
		add_open(q, &a);
		compound_bytes(q, &len);
		rpc = rpc_call(cl->conn, &q->enc);
		if (rpc->outcome != RPC_GARBAGE_ARGS_R)
			expect_one_of(compound_parse(q, rpc)->status, NFS4ERR_BADXDR, NFS4ERR_INVAL,
				      NFS4ERR_NOTSUPP);
		a.claim = CLAIM_NULL;
		a.name = "g";
		a.opentype = OPEN4_CREATE;
		a.createmode = EXCLUSIVE4_1;
	}
}

/* Section 16.16.5: reclaims outside of a grace period. */
static void reclaim_without_grace(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct open_args a = { .access = OPEN4_SHARE_ACCESS_READ, .claim = CLAIM_PREVIOUS };
	struct open_file f;
	struct compound *q;

	expect_status(open_any(cl, owner_new(), &fh, &a, &f), NFS4ERR_NO_GRACE);
	f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	q = begin_at(cl, &fh);
	add_lock_new(q, READ_LT, true, 0, 1, f.owner->seqid, &f.sid, 1, cl->clientid, "lo");
	expect(call(q), NFS4ERR_NO_GRACE);
}

/* No delegations to return or to purge. */
static void delegations(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl), fh = make_file(cl, &dir, "f", "x", 1);
	struct compound *q = begin_at(cl, &fh);
	struct sid sid = { 1, { 1, 2, 3 } };

	add_delegreturn(q, &sid);
	expect_one_of(call(q)->status, NFS4ERR_NOTSUPP, NFS4ERR_BAD_STATEID, NFS4ERR_STALE_STATEID);
	q = begin(cl);
	add_delegpurge(q, cl->clientid);
	expect_one_of(call(q)->status, NFS4_OK, NFS4ERR_NOTSUPP);
}

/* A server that has crashed knows neither client IDs nor stateids (section 9.6.2). */
static void server_restart(void **state)
{
	struct client *cl = client_new(0);
	struct fh dir = test_dir(cl);
	struct open_file f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	struct compound *q;

	wire_need_restart();
	wire_server_kill();
	wire_server_start();
	cl->conn = conn_new();
	expect_status(renew(cl, cl->clientid), NFS4ERR_STALE_CLIENTID);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, NULL),
		      NFS4ERR_STALE_CLIENTID);
	q = begin_at(cl, &f.fh);
	add_read(q, &f.sid, 0, 10);
	expect(call(q), NFS4ERR_STALE_STATEID);
	expect_status(close_status(cl, &f), NFS4ERR_STALE_STATEID);
	client_establish(cl);
	/* Those of the tests before may want theirs back first. */
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &f),
		      NFS4ERR_GRACE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		WIRE_TEST(setclientid_new),
		WIRE_TEST(setclientid_replaces_unconfirmed),
		WIRE_TEST(setclientid_callback_update),
		WIRE_TEST(setclientid_restart),
		WIRE_TEST(setclientid_in_use),
		WIRE_TEST(setclientid_confirm_errors),
		WIRE_TEST(unconfirmed_client_cannot_open),
		WIRE_TEST(renew_unknown),
		WIRE_TEST(open_confirm_once),
		WIRE_TEST(unconfirmed_stateid),
		WIRE_TEST(unconfirmed_owner_opens_again),
		WIRE_TEST(open_confirm_errors),
		WIRE_TEST(open_replay),
		WIRE_TEST(open_replay_of_error),
		WIRE_TEST(open_bad_seqid),
		WIRE_TEST(replay_of_another_operation),
		WIRE_TEST(owners_are_independent),
		WIRE_TEST(close_replay),
		WIRE_TEST(open_after_close),
		WIRE_TEST(open_downgrade_replay),
		WIRE_TEST(stateid_seqids),
		WIRE_TEST(stateid_forged),
		WIRE_TEST(lock_seqids),
		WIRE_TEST(lock_denied_replay),
		WIRE_TEST(close_with_locks),
		WIRE_TEST(release_lockowner_rules),
		WIRE_TEST(retransmission),
		WIRE_TEST(xid_reused),
		WIRE_TEST(retransmission_by_others),
		WIRE_TEST(later_claims),
		WIRE_TEST(reclaim_without_grace),
		WIRE_TEST(delegations),
		WIRE_TEST(server_restart),
	};

	return wire_main("v40", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

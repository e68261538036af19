/*
 * CB_GETATTR (RFC 8881 sections 10.4.3 and 20.1): what other clients see of the attributes of a
 * file that one has a write delegation of.
 */
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define QUIET_MS 150
#define RW	 OPEN4_SHARE_ACCESS_BOTH
#define NO_SIZE	 UINT64_MAX

/* A file of 7 bytes, and a client with a write delegation of it; another one. */
struct scene {
	struct client *cl, *other;
	struct fh dir, fh;
	struct open_file open;
	struct sid deleg;
	struct attrs *granted; /* the attributes when it was */
};

static const struct bitmap *wanted(void)
{
	static struct bitmap bm;

	bm = bm_of(FATTR4_TYPE, FATTR4_CHANGE, FATTR4_SIZE, FATTR4_TIME_METADATA,
		   FATTR4_TIME_MODIFY, -1);
	return &bm;
}

/* Until its change attribute says the same twice: that of a file just changed is in motion. */
static struct attrs *settled(struct client *cl, const struct fh *fh)
{
	struct attrs *a = getattrs(cl, fh, *wanted()), *b;

	for (int i = 0; i < 1000; i++) {
		b = getattrs(cl, fh, *wanted());
		if (a->a[FATTR4_CHANGE].num == b->a[FATTR4_CHANGE].num)
			return b;
		a = b;
	}
	fail_with("the change attribute does not settle");
}

static struct scene delegated(uint32_t minor, uint32_t other_minor)
{
	struct scene s = { .cl = client_new_back(minor, NULL), .other = client_new(other_minor) };

	s.dir = test_dir(s.other);
	s.fh = make_file(s.other, &s.dir, "f", "content", 7);
	settled(s.other, &s.fh);
	expect_status(open_status(s.cl, owner_new(), &s.dir, "f", RW, 0, &s.open), NFS4_OK);
	check_num(s.open.result->delegation, OPEN_DELEGATE_WRITE);
	s.deleg = s.open.result->deleg_sid;
	s.granted = getattrs(s.cl, &s.fh, *wanted());
	return s;
}

/* The server asks the holder. */
static struct cb_call *asked(struct scene *s)
{
	struct cb_call *cb = cb_recv(s->cl->conn);

	check_num(cb->op, OP_CB_GETATTR);
	check_num(cb->fh.len, s->fh.len);
	check(memcmp(cb->fh.data, s->fh.data, cb->fh.len) == 0);
	check(bm_has(&cb->bm, FATTR4_CHANGE) && bm_has(&cb->bm, FATTR4_SIZE));
	return cb;
}

/* fattr4 of change and size, or of change only. */
static void answer(struct cb_call *cb, uint64_t change, uint64_t size)
{
	struct enc e;

	enc_init(&e, 64);
	put_u32(&e, 1);
	put_u32(&e, 1u << FATTR4_CHANGE | (size == NO_SIZE ? 0 : 1u << FATTR4_SIZE));
	put_u32(&e, size == NO_SIZE ? 8 : 16);
	put_u64(&e, change);
	if (size != NO_SIZE)
		put_u64(&e, size);
	cb_answer_body(cb, NFS4_OK, e.buf, enc_len(&e));
}

static struct reply *receive(struct compound *q)
{
	struct reply *r = compound_parse(q, rpc_must_recv(q->conn));

	compound_done(q, r);
	return r;
}

static struct compound *ask_attrs(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->fh);

	add_getattr(q, *wanted());
	check(compound_send(q));
	return q;
}

static struct attrs *get_attrs(struct scene *s, uint64_t change, uint64_t size)
{
	struct compound *q = ask_attrs(s);
	struct reply *r;

	answer(asked(s), change, size);
	r = receive(q);
	expect(r, NFS4_OK);
	return last(r)->attrs;
}

static uint64_t change_of(const struct attrs *a)
{
	return a->a[FATTR4_CHANGE].num;
}

static bool later(const struct attr *a, const struct attr *b)
{
	return a->num > b->num || (a->num == b->num && a->num2 > b->num2);
}

/* ---- */

static void not_modified(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct attrs *a = get_attrs(&s, change_of(s.granted), 7);

	check_num(change_of(a), change_of(s.granted));
	check_num(a->a[FATTR4_SIZE].num, 7);
	check_num(a->a[FATTR4_TIME_MODIFY].num, s.granted->a[FATTR4_TIME_MODIFY].num);
	check_num(a->a[FATTR4_TIME_MODIFY].num2, s.granted->a[FATTR4_TIME_MODIFY].num2);
}

/* Each time another change attribute and times that do not go back, and the holder's size. */
static void modified(void **state)
{
	struct scene s = delegated(2, minor_of(state));
	uint64_t theirs = change_of(s.granted) + 1;
	struct attrs *a = get_attrs(&s, theirs, 100), *b;

	check(change_of(a) != change_of(s.granted));
	check_num(a->a[FATTR4_SIZE].num, 100);
	check(later(&a->a[FATTR4_TIME_MODIFY], &s.granted->a[FATTR4_TIME_MODIFY]));
	b = get_attrs(&s, theirs, 200);
	check(change_of(b) != change_of(a));
	check_num(b->a[FATTR4_SIZE].num, 200);
	check(!later(&a->a[FATTR4_TIME_MODIFY], &b->a[FATTR4_TIME_MODIFY]));
	/* The file knows the times, should the holder never write: only the size was a promise. */
	b = getattrs(s.cl, &s.fh, *wanted());
	check_num(b->a[FATTR4_SIZE].num, 7);
	check(!later(&a->a[FATTR4_TIME_MODIFY], &b->a[FATTR4_TIME_MODIFY]));
}

/* The holder has written back, and knows no change attribute but that of the grant. */
static void written_back(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct compound *q = begin_at(s.cl, &s.fh);
	uint64_t granted = change_of(s.granted);
	struct attrs *a, *b;

	add_write(q, &s.deleg, 0, FILE_SYNC4, "0123456789", 10);
	expect(call(q), NFS4_OK);
	/* Let it settle: nobody asks the holder when it asks itself, */
	a = settled(s.cl, &s.fh);
	s.granted = a;
	a = get_attrs(&s, change_of(s.granted), 10);
	check_num(change_of(a), change_of(s.granted));
	check_num(a->a[FATTR4_SIZE].num, 10);
	/* also if it keeps to that of the grant, */
	a = get_attrs(&s, granted, 10);
	check_num(change_of(a), change_of(s.granted));
	check_num(a->a[FATTR4_TIME_MODIFY].num2, s.granted->a[FATTR4_TIME_MODIFY].num2);
	/* and writes once more: it does not know what change attribute that has made. */
	q = begin_at(s.cl, &s.fh);
	add_write(q, &s.deleg, 10, FILE_SYNC4, "0123456789", 10);
	expect(call(q), NFS4_OK);
	b = get_attrs(&s, change_of(s.granted), 20);
	check(change_of(b) != change_of(a));
	check_num(b->a[FATTR4_SIZE].num, 20);
	check(!later(&a->a[FATTR4_TIME_MODIFY], &b->a[FATTR4_TIME_MODIFY]));
}

static void verify(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct compound *q = begin_at(s.other, &s.fh);
	struct attrs at = { 0 };
	struct reply *r;

	at_num(&at, FATTR4_SIZE, 100);
	add_verify(q, &at);
	add_getfh(q);
	check(compound_send(q));
	answer(asked(&s), change_of(s.granted) + 1, 100);
	r = receive(q);
	expect(r, NFS4_OK);
}

/* Not of what a holder does not know better, and the holder is not asked itself. */
static void not_asked(void **state)
{
	struct scene s = delegated(1, minor_of(state));

	getattr_num(s.other, &s.fh, FATTR4_TYPE);
	getattr_num(s.other, &s.fh, FATTR4_FILEID);
	getattrs(s.cl, &s.fh, *wanted());
	getattrs(s.other, &s.dir, *wanted());
	check(cb_quiet(s.cl->conn, QUIET_MS));
}

/* Who asks while the question is on its way gets the same answer. */
static void asked_once(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct scene t = s;
	struct compound *q[2];
	struct cb_call *cb;

	t.other = client_new(minor_of(state));
	q[0] = ask_attrs(&s);
	cb = asked(&s);
	q[1] = ask_attrs(&t);
	check(cb_quiet(s.cl->conn, QUIET_MS));
	answer(cb, change_of(s.granted) + 1, 50);
	for (int i = 0; i < 2; i++) {
		struct reply *r = receive(q[i]);

		expect(r, NFS4_OK);
		check_num(last(r)->attrs->a[FATTR4_SIZE].num, 50);
	}
}

static void give_back(struct scene *s)
{
	struct compound *q = begin_at(s->cl, &s->fh);

	add_delegreturn(q, &s->deleg);
	expect(call(q), NFS4_OK);
}

static void recalled(struct scene *s)
{
	struct cb_call *cb = cb_recv(s->cl->conn);

	check_num(cb->op, OP_CB_RECALL);
	cb_answer(cb, NFS4_OK);
}

/* A holder that cannot answer must return it. */
static void no_answer(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct compound *q = ask_attrs(&s);
	struct enc e;

	cb_answer(asked(&s), NFS4ERR_BADHANDLE);
	expect(receive(q), NFS4ERR_DELAY);
	recalled(&s);
	q = ask_attrs(&s);
	expect(receive(q), NFS4ERR_DELAY); /* it is on its way back: not asked again */
	give_back(&s);
	getattrs(s.other, &s.fh, *wanted());

	/* Nonsense is no answer. */
	s = delegated(1, minor_of(state));
	q = ask_attrs(&s);
	enc_init(&e, 64);
	put_u32(&e, 1);
	put_u32(&e, 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE);
	put_u32(&e, 4);
	put_u32(&e, 1);
	cb_answer_body(asked(&s), NFS4_OK, e.buf, enc_len(&e));
	expect(receive(q), NFS4ERR_DELAY);
	recalled(&s);
	give_back(&s);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* One who says nothing keeps others waiting for a few seconds only. */
static void silence(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	double start = now();
	struct compound *q = ask_attrs(&s);
	struct cb_call *cb = asked(&s);

	expect(receive(q), NFS4ERR_DELAY);
	check(now() - start > 2 && now() - start < 8);
	cb_answer(cb, NFS4_OK);
}

/* It returns the delegation instead of answering. */
static void returned_meanwhile(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct compound *q = ask_attrs(&s);
	struct cb_call *cb = asked(&s);
	struct reply *r;

	give_back(&s);
	cb_answer(cb, NFS4ERR_BADHANDLE);
	r = receive(q);
	expect(r, NFS4_OK);
	check_num(last(r)->attrs->a[FATTR4_SIZE].num, 7);
}

/* An answer of change only is enough. */
static void change_only(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct attrs *a = get_attrs(&s, change_of(s.granted) + 1, NO_SIZE);

	check(change_of(a) != change_of(s.granted));
	check_num(a->a[FATTR4_SIZE].num, 7);
}

/* The asker goes before the answer comes. */
static void asker_goes(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct compound *q;
	struct cb_call *cb;

	ask_attrs(&s);
	cb = asked(&s);
	conn_close(s.other->conn);
	s.other = client_new(1);
	q = ask_attrs(&s);
	/* It waits for the question that is on its way: an answer that comes before it would not be its own. */
	check(cb_quiet(s.cl->conn, QUIET_MS));
	answer(cb, change_of(s.granted), 7);
	expect(receive(q), NFS4_OK);
	get_attrs(&s, change_of(s.granted), 7);
}

/* ---- READDIR ---- */

static struct compound *list(struct scene *s)
{
	struct compound *q = begin_at(s->other, &s->dir);
	struct verf none = { 0 };

	add_readdir(q, 0, &none, 4096, 8192, *wanted());
	check(compound_send(q));
	return q;
}

static struct attrs *entry_of(struct reply *r, const char *name)
{
	expect(r, NFS4_OK);
	for (uint32_t i = 0; i < last(r)->n; i++) {
		if (strcmp(last(r)->entries[i].name, name) == 0)
			return last(r)->entries[i].attrs;
	}
	fail_with("no entry %s", name);
}

static void readdir(void **state)
{
	struct scene s = delegated(1, minor_of(state));
	struct compound *q;
	struct reply *r;

	make_file(s.other, &s.dir, "g", "x", 1);
	q = list(&s);
	answer(asked(&s), change_of(s.granted) + 1, 1000);
	r = receive(q);
	check_num(entry_of(r, "f")->a[FATTR4_SIZE].num, 1000);
	check(change_of(entry_of(r, "f")) != change_of(s.granted));
	check_num(entry_of(r, "g")->a[FATTR4_SIZE].num, 1);
	check_num(last(r)->n, 2);
	/* Nobody waits for who does not answer. */
	q = list(&s);
	cb_answer(asked(&s), NFS4ERR_RESOURCE);
	r = receive(q);
	check_num(entry_of(r, "f")->a[FATTR4_SIZE].num, 7);
	check(cb_quiet(s.cl->conn, QUIET_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_ALL_MINORS(not_modified),	     WIRE_ALL_MINORS(modified),
		WIRE_ALL_MINORS(written_back),	     WIRE_ALL_MINORS(verify),
		WIRE_ALL_MINORS(not_asked),	     WIRE_SESSIONS(asked_once),
		WIRE_ALL_MINORS(no_answer),	     WIRE_MINOR(silence, 1),
		WIRE_ALL_MINORS(returned_meanwhile), WIRE_MINOR(change_only, 2),
		WIRE_SESSIONS(asker_goes),	     WIRE_ALL_MINORS(readdir),
	};

	return wire_main("wire_deleg_getattr", NULL, tests, sizeof(tests) / sizeof(tests[0]));
}

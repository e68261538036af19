/*
 * Calls to clients (RFC 7530 sections 3.4 and 10.2.1, RFC 8881 sections 2.10.3 and 20.9) and
 * CB_NOTIFY_LOCK (section 20.11). The lease is the shortest, which makes the time in which a
 * client has to answer about three seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/daemon.h"
#include "tests/wire/nfs4.h"

#define LEASE	    10
#define SHORT_MS    150 /* that nothing comes within it is as good as never */
#define PATH_DOWN   (SEQ4_STATUS_CB_PATH_DOWN | SEQ4_STATUS_CB_PATH_DOWN_SESSION)
#define CB_PROGRAM  0x40000000
#define SECONDS_MOST 8 /* for the server to find out that a client does not answer */

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A session with a back channel of `slots` slots; its client has not used it. */
static struct client *unused(uint32_t minor, uint32_t slots)
{
	const struct chan back = { 0, 4096, 4096, 0, 2, slots };
	struct chan want = { 0, 1100000, 1100000, 8192, 64, 16 };
	struct client *cl = client_bare(minor);
	struct compound *q = compound_begin(cl->conn, minor, "");
	struct reply *r;

	add_exchange_id(q, &cl->verf, cl->id, 0, SP4_NONE);
	r = call(q);
	expect(r, NFS4_OK);
	cl->clientid = r->op[0].clientid;
	q = compound_begin(cl->conn, minor, "");
	add_create_session(q, cl->clientid, r->op[0].sequence, CREATE_SESSION4_FLAG_CONN_BACK_CHAN,
			  &want, &back);
	r = call(q);
	expect(r, NFS4_OK);
	memcpy(cl->session, r->op[0].session, sizeof(cl->session));
	cl->fore = r->op[0].fore;
	return cl;
}

static void use(struct client *cl)
{
	struct compound *q = begin(cl);

	add_reclaim_complete(q, false);
	expect(call(q), NFS4_OK);
}

/* A session whose probe has not been answered. */
static struct client *untried(uint32_t minor, uint32_t slots)
{
	struct client *cl = unused(minor, slots);

	/* The client must have seen its session before it is called. */
	check(!conn_readable(cl->conn, SHORT_MS));
	use(cl);
	return cl;
}

/* A file that `holder` has locked from 0 to 99. */
struct contest {
	struct client *setup;
	struct fh dir;
	struct client *holder;
	struct open_file open;
	struct lock_state lock;
};

static struct contest contest(uint32_t minor)
{
	struct contest t = { .setup = client_new(minor) };

	t.dir = test_dir(t.setup);
	t.holder = client_new(minor);
	t.open = open_create(t.holder, owner_new(), &t.dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	t.lock.owner = owner_new();
	expect_status(lock_range(t.holder, &t.open, &t.lock, WRITE_LT, 0, 100, NULL), NFS4_OK);
	return t;
}

/* A client that can be called, with the file open. */
struct waiter {
	struct client *cl;
	struct open_file open;
	struct lock_state lock;
};

static struct waiter waiter_of(struct client *cl, const struct fh *dir)
{
	struct waiter w = { .cl = cl };

	expect_status(open_status(cl, owner_new(), dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &w.open),
		      NFS4_OK);
	w.lock.owner = owner_new();
	return w;
}

static struct waiter waiter(uint32_t minor, const struct fh *dir)
{
	return waiter_of(client_new_back(minor, NULL), dir);
}

static uint32_t try_lock(struct waiter *w, uint32_t type, uint64_t off, uint64_t len)
{
	return lock_range(w->cl, &w->open, &w->lock, type, off, len, NULL);
}

static void unlock(struct contest *t)
{
	expect_status(unlock_range(t->holder, &t->open, &t->lock, 0, 100), NFS4_OK);
}

static void check_notified(struct waiter *w, const struct cb_call *cb)
{
	check_num(cb->op, OP_CB_NOTIFY_LOCK);
	check_num(cb->minor, w->cl->minor);
	check_num(cb->clientid, w->cl->clientid);
	check_num(cb->owner_len, strlen(w->lock.owner->name));
	check(memcmp(cb->owner, w->lock.owner->name, cb->owner_len) == 0);
	check_num(cb->fh.len, w->open.fh.len);
	check(memcmp(cb->fh.data, w->open.fh.data, cb->fh.len) == 0);
}

/* Receives the notification and says yes. */
static void notified(struct waiter *w)
{
	struct cb_call *cb = cb_recv(w->cl->conn);

	check_notified(w, cb);
	cb_answer(cb, NFS4_OK);
}

/* ---- probes ---- */

static void probe(void **state)
{
	struct client *cl = untried(minor_of(state), 4);
	struct cb_call *cb = cb_recv_any(cl->conn);

	check_num(cb->program, CB_PROGRAM);
	check_num(cb->flavor, 0); /* all that the session offers */
	check_num(cb->minor, cl->minor);
	check(cb->sequenced && cb->op == 0 && !cb->cache_this);
	check(memcmp(cb->session, cl->session, sizeof(cl->session)) == 0);
	check_num(cb->seqid, 1);
	check_num(cb->slot, 0);
	check_num(cb->nreferrals, 0);
	cb_answer(cb, NFS4_OK);
	check_num(client_status_flags(cl), 0);
	/* Once is enough. */
	check(!conn_readable(cl->conn, SHORT_MS));
}

/* Whoever has a session and does not use it is asked all the same whether it can be called. */
static void null_call(void **state)
{
	struct client *cl = unused(minor_of(state), 1), *mute = unused(minor_of(state), 1);
	struct cb_call *cb = cb_recv_any(cl->conn);
	struct fh dir;
	struct open_file f;

	check_num(cb->program, CB_PROGRAM);
	check_num(cb->procedure, 0);
	check(!cb->sequenced);
	cb_answer(cb, NFS4_OK);
	/* It takes no slot of the session's, and need not be answered. */
	cb = cb_recv_any(mute->conn);
	check_num(cb->procedure, 0);
	for (int i = 0; i < 2; i++) {
		struct client *either = i ? mute : cl;

		use(either);
		cb = cb_recv_any(either->conn);
		check(cb->sequenced && cb->op == 0);
		check_num(cb->seqid, 1);
		cb_answer(cb, NFS4_OK);
		check_num(client_status_flags(either), 0);
		dir = test_dir(either);
		f = open_create(either, owner_new(), &dir, i ? "g" : "f",
				OPEN4_SHARE_ACCESS_BOTH, 0);
		check(f.rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK);
	}
}

/* OPEN says whether notifications may come. */
static void may_notify(void **state)
{
	struct client *with = client_new_back(minor_of(state), NULL);
	struct client *without = client_new(minor_of(state));
	struct fh dir = test_dir(with);
	struct open_file f = open_create(with, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);

	check(f.rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK);
	f = open_create(without, owner_new(), &dir, "g", OPEN4_SHARE_ACCESS_BOTH, 0);
	check(!(f.rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK));
}

/* Until the flags are there; returns them. */
static uint32_t await_flags(struct client *cl, uint32_t wanted)
{
	struct timespec step = { .tv_nsec = 50 * 1000 * 1000 };
	double start = now();
	uint32_t flags;

	while (!((flags = client_status_flags(cl)) & wanted)) {
		if (now() - start > SECONDS_MOST)
			fail_with("status flags %#x after %d s, expected %#x", flags, SECONDS_MOST,
				  wanted);
		nanosleep(&step, NULL);
	}
	return flags;
}

/* A client that does not answer is told so, and nobody waits for it. */
static void silent_client(void **state)
{
	struct client *cl = untried(minor_of(state), 4), *other = client_new_back(minor_of(state), NULL);
	struct cb_call *cb = cb_recv_any(cl->conn);
	double start = now();

	check_num(client_status_flags(other), 0);
	check(now() - start < 10);
	check_num(await_flags(cl, PATH_DOWN), PATH_DOWN);
	check_num(client_status_flags(other), 0);
	/* Late, but welcome. */
	cb_answer(cb, NFS4_OK);
	check_num(client_status_flags(cl), 0);
}

/* With no slot left only a new session helps. */
static void silent_on_only_slot(void **state)
{
	struct client *cl = untried(minor_of(state), 1);

	cb_recv_any(cl->conn);
	check_num(await_flags(cl, PATH_DOWN | SEQ4_STATUS_BACKCHANNEL_FAULT),
		  SEQ4_STATUS_BACKCHANNEL_FAULT);
}

/* After the path was down, a connection bound has it tried. */
static void rebind(void **state)
{
	struct client *cl = client_new_back(minor_of(state), NULL);
	struct conn *second = client_bind_conn(cl, CDFC4_BACK_OR_BOTH), *old = cl->conn;
	struct cb_call *cb;

	check(cb_quiet(second, SHORT_MS));
	cl->conn = second;
	conn_close(old);
	/* Still a way back: by the second. */
	check_num(client_status_flags(cl), 0);
	conn_close(second);
	cl->conn = conn_new();
	check_num(await_flags(cl, PATH_DOWN), PATH_DOWN);
	second = client_bind_conn(cl, CDFC4_BACK);
	cb = cb_recv_any(second);
	check(cb->sequenced && cb->op == 0);
	check_num(cb->seqid, 2);
	cb_answer(cb, NFS4_OK);
	check_num(client_status_flags(cl), 0);
}

static void no_such_program(void **state)
{
	struct client *cl = untried(minor_of(state), 4);
	struct compound *q;
	struct cb_call *cb;

	cb_answer_unavailable(cb_recv_any(cl->conn));
	check_num(client_status_flags(cl), PATH_DOWN);
	q = begin(cl);
	add_backchannel_ctl(q, 0x40000001);
	expect(call(q), NFS4_OK);
	q = compound_begin(cl->conn, cl->minor, "");
	add_bind_conn(q, cl->session, CDFC4_FORE_OR_BOTH);
	expect(call(q), NFS4_OK);
	cb = cb_recv_any(cl->conn);
	check_num(cb->program, 0x40000001);
	check_num(cb->seqid, 1); /* the first was never taken */
	cb_answer(cb, NFS4_OK);
	check_num(client_status_flags(cl), 0);
}

static void misordered(void **state)
{
	struct client *cl = untried(minor_of(state), 4);

	cb_answer_sequence(cb_recv_any(cl->conn), NFS4ERR_SEQ_MISORDERED);
	check_num(client_status_flags(cl), SEQ4_STATUS_BACKCHANNEL_FAULT);
}

static void delayed(void **state)
{
	struct client *cl = untried(minor_of(state), 4);
	struct cb_call *first = cb_recv_any(cl->conn), *again;

	cb_answer_sequence(first, NFS4ERR_DELAY);
	again = cb_recv_any(cl->conn);
	check_num(again->seqid, first->seqid);
	check_num(again->slot, first->slot);
	check(again->xid != first->xid);
	cb_answer(again, NFS4_OK);
	check_num(client_status_flags(cl), 0);
}

/* The client has seen that sequence id: the next one it is. */
static void seen_before(void **state)
{
	struct client *cl = untried(minor_of(state), 4);
	struct cb_call *first = cb_recv_any(cl->conn), *again;

	cb_answer_sequence(first, NFS4ERR_RETRY_UNCACHED_REP);
	again = cb_recv_any(cl->conn);
	check_num(again->seqid, first->seqid + 1);
	cb_answer_sequence(again, NFS4ERR_SEQ_FALSE_RETRY);
	again = cb_recv_any(cl->conn);
	check_num(again->seqid, first->seqid + 2);
	cb_answer(again, NFS4_OK);
	check_num(client_status_flags(cl), 0);
}

/* An answer from anybody else is none. */
static void forged_answer(void **state)
{
	struct client *cl = untried(minor_of(state), 4), *thief = client_new(minor_of(state));
	struct cb_call *cb = cb_recv_any(cl->conn), forged = *cb;
	struct open_file f;
	struct fh dir = test_dir(thief);

	forged.conn = thief->conn;
	cb_answer(&forged, NFS4_OK);
	client_status_flags(thief); /* it has been read */
	f = open_create(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0);
	check(!(f.rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK));
	cb_answer(cb, NFS4_OK);
	expect_status(open_status(cl, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0, &f),
		      NFS4_OK);
	check(f.rflags & OPEN4_RESULT_MAY_NOTIFY_LOCK);
}

/* ---- CB_NOTIFY_LOCK ---- */

static void notify(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter w = waiter(minor_of(state), &t.dir);

	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4ERR_DENIED);
	check(cb_quiet(w.cl->conn, SHORT_MS));
	unlock(&t);
	notified(&w);
	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4_OK);
	check(cb_quiet(w.cl->conn, SHORT_MS));
}

/* Who does not wait is not told; nor is one who waits for something else. */
static void not_notified(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter polls = waiter(minor_of(state), &t.dir), part = waiter(minor_of(state), &t.dir);

	expect_status(try_lock(&polls, WRITE_LT, 0, 10), NFS4ERR_DENIED);
	expect_status(try_lock(&part, WRITEW_LT, 90, 10), NFS4ERR_DENIED);
	expect_status(unlock_range(t.holder, &t.open, &t.lock, 0, 50), NFS4_OK);
	check(cb_quiet(polls.cl->conn, SHORT_MS));
	check(cb_quiet(part.cl->conn, 0));
	expect_status(unlock_range(t.holder, &t.open, &t.lock, 90, 10), NFS4_OK);
	notified(&part);
	check(cb_quiet(polls.cl->conn, 0));
}

/* One after the other, in the order in which they came. */
static void in_order(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter w[3];

	for (int i = 0; i < 3; i++) {
		w[i] = waiter(minor_of(state), &t.dir);
		expect_status(try_lock(&w[i], WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	}
	/* To ask again does not cost one's place. */
	expect_status(try_lock(&w[0], WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	unlock(&t);
	for (int i = 0; i < 3; i++) {
		notified(&w[i]);
		for (int j = i + 1; j < 3; j++)
			check(cb_quiet(w[j].cl->conn, 30));
		/* Those behind cannot overtake. */
		if (i < 2)
			expect_status(try_lock(&w[2], WRITEW_LT, 0, 100), NFS4ERR_DENIED);
		expect_status(try_lock(&w[i], WRITEW_LT, 0, 100), NFS4_OK);
		expect_status(unlock_range(w[i].cl, &w[i].open, &w[i].lock, 0, 100), NFS4_OK);
	}
}

/* Readers do not wait for each other. */
static void readers_together(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter w[2];

	for (int i = 0; i < 2; i++) {
		w[i] = waiter(minor_of(state), &t.dir);
		expect_status(try_lock(&w[i], READW_LT, 0, 100), NFS4ERR_DENIED);
	}
	unlock(&t);
	notified(&w[0]);
	notified(&w[1]);
	expect_status(try_lock(&w[1], READW_LT, 0, 100), NFS4_OK);
	expect_status(try_lock(&w[0], READW_LT, 0, 100), NFS4_OK);
}

/* One who is told and does not come holds the others up for a moment only. */
static void told_and_gone(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter gone = waiter(minor_of(state), &t.dir), next = waiter(minor_of(state), &t.dir);
	double start;

	expect_status(try_lock(&gone, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	expect_status(try_lock(&next, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	unlock(&t);
	start = now();
	notified(&gone);
	notified(&next);
	check(now() - start < 5);
	expect_status(try_lock(&next, WRITEW_LT, 0, 100), NFS4_OK);
}

/* One who refuses does not even do that. */
static void refuses(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter first = waiter(minor_of(state), &t.dir), next = waiter(minor_of(state), &t.dir);
	double start;

	expect_status(try_lock(&first, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	expect_status(try_lock(&next, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	unlock(&t);
	start = now();
	cb_answer(cb_recv(first.cl->conn), NFS4ERR_NOTSUPP);
	notified(&next);
	check(now() - start < 10);
}

/* The lock goes with its holder: by CLOSE, and when the client destroys itself. */
static void freed_otherwise(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter w = waiter(minor_of(state), &t.dir);
	struct compound *q;

	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4ERR_DENIED);
	close_file(t.holder, &t.open);
	notified(&w);
	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4_OK);
	/* A downgraded lock frees those who want to read. */
	t.holder = client_new_back(minor_of(state), NULL);
	{
		struct waiter r = waiter_of(t.holder, &t.dir);

		expect_status(try_lock(&r, READW_LT, 0, 10), NFS4ERR_DENIED);
		expect_status(try_lock(&w, READ_LT, 0, 10), NFS4_OK);
		notified(&r);
		expect_status(try_lock(&r, READW_LT, 0, 10), NFS4_OK);
	}
	q = begin(w.cl);
	expect(call(q), NFS4_OK);
}

/* Waiters of a client that goes are no more. */
static void waiter_goes(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter gone = waiter(minor_of(state), &t.dir), next = waiter(minor_of(state), &t.dir);
	struct verf other = gone.cl->verf;
	struct compound *q;
	struct reply *r;

	expect_status(try_lock(&gone, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	expect_status(try_lock(&next, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	/* The client restarts: another verifier, confirmed by a session. */
	other.data[0] ^= 0xff;
	q = compound_begin(gone.cl->conn, gone.cl->minor, "");
	add_exchange_id(q, &other, gone.cl->id, 0, SP4_NONE);
	r = call(q);
	expect(r, NFS4_OK);
	gone.cl->clientid = r->op[0].clientid;
	gone.cl->cs_sequence = r->op[0].sequence;
	client_new_session(gone.cl);
	unlock(&t);
	notified(&next);
}

/*
 * The connection goes with the call on its way: it is made again over another one, in the same
 * place. An earlier answer of the client's would make it a retry.
 */
static void connection_lost(void **state)
{
	struct contest t = contest(minor_of(state));
	struct client *cl = client_new_back(minor_of(state), NULL);
	struct waiter w = waiter_of(cl, &t.dir);
	struct conn *second = client_bind_conn(cl, CDFC4_BACK_OR_BOTH);
	struct cb_call *first, *again;

	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4ERR_DENIED);
	unlock(&t);
	/* What was bound last is used first. */
	first = cb_recv(second);
	check_notified(&w, first);
	check(cb_quiet(cl->conn, SHORT_MS));
	conn_close(second);
	again = cb_recv(cl->conn);
	check_notified(&w, again);
	check_num(again->slot, first->slot);
	check_num(again->seqid, first->seqid);
	cb_answer_sequence(again, NFS4ERR_RETRY_UNCACHED_REP);
	again = cb_recv(cl->conn);
	check_notified(&w, again);
	check_num(again->seqid, first->seqid + 1);
	cb_answer(again, NFS4_OK);
	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4_OK);
}

/* No connection is left: the call waits for the next. */
static void all_connections_lost(void **state)
{
	struct contest t = contest(minor_of(state));
	struct client *cl = client_new_back(minor_of(state), NULL);
	struct waiter w = waiter_of(cl, &t.dir);
	struct cb_call *first, *again;
	struct conn *old = cl->conn;

	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4ERR_DENIED);
	unlock(&t);
	first = cb_recv(cl->conn);
	conn_close(old);
	cl->conn = client_bind_conn(cl, CDFC4_FORE_OR_BOTH);
	again = cb_recv(cl->conn);
	check_notified(&w, again);
	check_num(again->slot, first->slot);
	check_num(again->seqid, first->seqid);
	cb_answer(again, NFS4_OK);
	expect_status(try_lock(&w, WRITEW_LT, 0, 10), NFS4_OK);
	check_num(client_status_flags(cl), 0);
}

/* More calls than slots: the others wait in line. */
static void more_than_slots(void **state)
{
	struct contest t = contest(minor_of(state));
	struct client *cl = untried(minor_of(state), 2);
	struct waiter w[5];
	struct cb_call *cb[5];

	cb_answer(cb_recv_any(cl->conn), NFS4_OK);
	client_status_flags(cl);
	for (unsigned i = 0; i < 5; i++) {
		w[i] = waiter_of(cl, &t.dir);
		expect_status(try_lock(&w[i], WRITEW_LT, i * 10, 10), NFS4ERR_DENIED);
	}
	unlock(&t);
	for (int i = 0; i < 2; i++) {
		cb[i] = cb_recv(cl->conn);
		check_notified(&w[i], cb[i]);
	}
	check(cb[0]->slot != cb[1]->slot && cb[0]->slot < 2 && cb[1]->slot < 2);
	check(cb_quiet(cl->conn, SHORT_MS));
	for (int i = 2; i < 5; i++) {
		cb_answer(cb[i - 2], NFS4_OK);
		cb[i] = cb_recv(cl->conn);
		check_notified(&w[i], cb[i]);
		check_num(cb[i]->slot, cb[i - 2]->slot);
		check_num(cb[i]->seqid, cb[i - 2]->seqid + 1);
	}
}

/* A client that waits and does not answer holds nobody up for longer than the time it has. */
static void waiter_silent(void **state)
{
	struct contest t = contest(minor_of(state));
	struct waiter w = waiter(minor_of(state), &t.dir), next = waiter(minor_of(state), &t.dir);
	struct cb_call *cb;

	expect_status(try_lock(&w, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	expect_status(try_lock(&next, WRITEW_LT, 0, 100), NFS4ERR_DENIED);
	unlock(&t);
	cb = cb_recv(w.cl->conn);
	check_notified(&w, cb);
	notified(&next);
	expect_status(try_lock(&next, WRITEW_LT, 0, 100), NFS4_OK);
	check_num(await_flags(w.cl, PATH_DOWN), PATH_DOWN);
}

/* ---- minor version 0 ---- */

static void null_probe(int family)
{
	struct client *cl = client_bare(0);
	struct cb_listener *l = cb_listen(family);
	struct cb_call *cb;
	struct conn *c;

	cb_setclientid(cl, l->netid, l->addr, 0x40001234, 77);
	c = cb_accept(l);
	cb = cb_recv_any(c);
	check_num(cb->procedure, 0);
	check_num(cb->program, 0x40001234);
	cb_answer(cb, NFS4_OK);
	check(cb_quiet(c, SHORT_MS));
}

static void null_ipv4(void **state)
{
	null_probe(AF_INET);
}

static void null_ipv6(void **state)
{
	null_probe(AF_INET6);
}

/* Another address of the same client is tried, and the connection to the old one given up. */
static void address_changes(void **state)
{
	struct client *cl = client_bare(0);
	struct cb_listener *first = cb_listen(AF_INET), *second = cb_listen(AF_INET);
	struct conn *a, *b;

	cb_setclientid(cl, first->netid, first->addr, CB_PROGRAM, 1);
	a = cb_accept(first);
	cb_answer(cb_recv_any(a), NFS4_OK);
	cb_setclientid(cl, second->netid, second->addr, CB_PROGRAM, 2);
	b = cb_accept(second);
	cb_answer(cb_recv_any(b), NFS4_OK);
	check(conn_closed_by_server(a));
	check(cb_quiet(b, SHORT_MS));
}

/* The server tries again, later each time, when nobody listens, or nobody answers. */
static void tried_again(void **state)
{
	struct client *cl = client_bare(0);
	struct cb_listener *l = cb_listen(AF_INET);
	double start = now();
	struct conn *c;

	cb_setclientid(cl, l->netid, l->addr, CB_PROGRAM, 1);
	c = cb_accept(l);
	cb_recv_any(c);
	conn_close(c);
	c = cb_accept(l);
	check(now() - start > 0.8);
	cb_answer_unavailable(cb_recv_any(c));
	check(conn_closed_by_server(c));
	c = cb_accept(l);
	check(now() - start > 2.5);
	cb_answer(cb_recv_any(c), NFS4_OK);
	check(cb_quiet(c, SHORT_MS));
}

/* Addresses that are none do no harm. */
static void bad_addresses(void **state)
{
	static const char *const bad[][2] = {
		{ "tcp", "" },		     { "tcp", "127.0.0.1" },
		{ "tcp", "127.0.0.1.0.0" },  { "tcp", "127.0.0.1.256.1" },
		{ "tcp", "127.0.0.1.8.-1" }, { "tcp", "224.0.0.1.8.1" },
		{ "tcp", "0.0.0.0.8.1" },    { "tcp", "255.255.255.255.8.1" },
		{ "tcp6", "::.8.1" },	     { "tcp6", "fe80::1.8.1" },
		{ "tcp6", "ff02::1.8.1" },   { "udp", "127.0.0.1.8.1" },
		{ "tcp", ".8.1" },	     { "tcp", "....." },
		{ "tcp6", "127.0.0.1.8.1" }, { "tcp", "127.0.0.1.8.1.8.1.8.1.8.1.8.1.8.1.8.1.8.1" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct client *cl = client_bare(0);
		struct compound *q;

		cb_setclientid(cl, bad[i][0], bad[i][1], CB_PROGRAM, 1);
		q = begin(cl);
		add_renew(q, cl->clientid);
		expect(call(q), NFS4_OK);
		conn_close(cl->conn);
	}
}

/* A peer that the server has connected to is no client by that. */
static void no_calls_back(void **state)
{
	struct conn *c;
	struct compound *q;
	size_t len;
	const uint8_t *bytes;

	client_new_back(0, &c);
	q = compound_begin(c, 0, "");
	add_putrootfh(q);
	bytes = compound_bytes(q, &len);
	check(conn_send(c, bytes, len));
	check(conn_closed_by_server(c));
}

/* OPEN for reading until the server has found out that the client answers. */
static struct open_file open_delegated(struct client *cl, const struct fh *dir, const char *name)
{
	struct timespec step = { .tv_nsec = 20 * 1000 * 1000 };
	struct owner *o = owner_new(); /* one that is not confirmed gets none */
	struct open_file f;

	for (double start = now(); now() - start < SECONDS_MOST; nanosleep(&step, NULL)) {
		expect_status(open_status(cl, o, dir, name, OPEN4_SHARE_ACCESS_READ, 0, &f),
			      NFS4_OK);
		if (f.result->delegation == OPEN_DELEGATE_READ)
			return f;
		close_file(cl, &f);
	}
	fail_with("no delegation");
}

/* After a planned restart nobody has confirmed the address anew, and it is called all the same. */
static void address_survives_restart(void **state)
{
	struct client *setup = client_new(1), *cl = client_bare(0), *writer;
	struct fh dir = test_dir(setup);
	struct cb_listener *l = cb_listen(AF_INET);
	struct open_file f, g;
	struct compound *q;
	struct cb_call *cb;
	struct conn *c;

	make(setup, &dir, NF4REG, "f");
	cb_setclientid(cl, l->netid, l->addr, CB_PROGRAM, 4711);
	c = cb_accept(l);
	cb_answer(cb_recv_any(c), NFS4_OK);
	f = open_delegated(cl, &dir, "f");
	wire_server_restart();
	check(conn_closed_by_server(c));
	cl->conn = conn_new();
	writer = client_new(1);
	expect_status(open_status(writer, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_WRITE, 0, &g),
		      NFS4ERR_DELAY);
	c = cb_accept(l);
	cb = cb_recv(c);
	check_num(cb->op, OP_CB_RECALL);
	check_num(cb->minor, 0);
	check_num(cb->ident, 4711);
	check_num(cb->program, CB_PROGRAM);
	check(memcmp(cb->fh.data, f.fh.data, f.fh.len) == 0);
	cb_answer(cb, NFS4_OK);
	q = begin_at(cl, &f.fh);
	add_delegreturn(q, &cb->sid);
	expect(call(q), NFS4_OK);
	expect_status(open_status(writer, owner_new(), &dir, "f", OPEN4_SHARE_ACCESS_WRITE, 0, &g),
		      NFS4_OK);
}

int main(void)
{
	static const struct wire_options options = { .lease = LEASE };
	static const struct CMUnitTest tests[] = {
		WIRE_SESSIONS(probe),
		WIRE_SESSIONS(null_call),
		WIRE_SESSIONS(may_notify),
		WIRE_MINOR(silent_client, 1),
		WIRE_MINOR(silent_on_only_slot, 1),
		WIRE_SESSIONS(rebind),
		WIRE_MINOR(no_such_program, 1),
		WIRE_MINOR(misordered, 1),
		WIRE_MINOR(delayed, 1),
		WIRE_MINOR(seen_before, 1),
		WIRE_MINOR(forged_answer, 1),
		WIRE_SESSIONS(notify),
		WIRE_MINOR(not_notified, 1),
		WIRE_SESSIONS(in_order),
		WIRE_MINOR(readers_together, 1),
		WIRE_MINOR(told_and_gone, 1),
		WIRE_MINOR(refuses, 1),
		WIRE_MINOR(freed_otherwise, 1),
		WIRE_MINOR(waiter_goes, 1),
		WIRE_SESSIONS(connection_lost),
		WIRE_MINOR(all_connections_lost, 1),
		WIRE_MINOR(more_than_slots, 1),
		WIRE_MINOR(waiter_silent, 1),
		WIRE_TEST(null_ipv4),
		WIRE_TEST(null_ipv6),
		WIRE_TEST(address_changes),
		WIRE_TEST(tried_again),
		WIRE_TEST(bad_addresses),
		WIRE_TEST(no_calls_back),
		WIRE_TEST(address_survives_restart),
	};

	return wire_main("callback", &options, tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * What tests do all the time: clients with their sessions, files, opens, locks; and the
 * expectations.
 */
#include "tests/wire/nfs4.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/wire/daemon.h"

/* ---- expectations ---- */

void fail_test(const char *file, int line, const char *fmt, ...)
{
	char msg[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	print_error("%s\n", msg);
	_fail(file, line);
	__builtin_unreachable();
}

void expect_status_at(uint32_t got, uint32_t want, const char *file, int line)
{
	char name[64];

	if (got == want)
		return;
	snprintf(name, sizeof(name), "%s", status_name(got));
	fail_test(file, line, "got %s, expected %s", name, status_name(want));
}

void expect_at(const struct reply *r, uint32_t st, const char *file, int line)
{
	char name[64];

	if (r->status == st)
		return;
	snprintf(name, sizeof(name), "%s", status_name(r->status));
	fail_test(file, line, "got %s from operation %u (number %u of the compound), expected %s",
		  name, r->nops ? r->op[r->nops - 1].op : 0, r->nops, status_name(st));
}

void expect_one_of_at(const char *file, int line, uint32_t got, ...)
{
	char name[64];
	char wanted[512] = "";
	va_list ap;
	int st;

	va_start(ap, got);
	while ((st = va_arg(ap, int)) != -1) {
		size_t at = strlen(wanted);

		if (got == (uint32_t)st) {
			va_end(ap);
			return;
		}
		snprintf(wanted + at, sizeof(wanted) - at, " %s", status_name((uint32_t)st));
	}
	va_end(ap);
	snprintf(name, sizeof(name), "%s", status_name(got));
	fail_test(file, line, "got %s, expected one of%s", name, wanted);
}

void check_num_at(uint64_t got, uint64_t want, const char *what, const char *file, int line)
{
	if (got != want)
		fail_test(file, line, "%s is %llu (%#llx), expected %llu (%#llx)", what,
			  (unsigned long long)got, (unsigned long long)got,
			  (unsigned long long)want, (unsigned long long)want);
}

/* ---- clients and sessions ---- */

static uint64_t counter;

/* Not used by anyone before, also not by an earlier run against the same server. */
static uint64_t unique(void)
{
	struct timespec ts;

	if (!counter && conn_local_hook) {
		counter = 1; /* a fresh server each time, and the same words */
	} else if (!counter) {
		clock_gettime(CLOCK_REALTIME, &ts);
		counter = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	}
	return ++counter;
}

struct client *client_bare(uint32_t minor)
{
	struct client *cl = test_alloc(sizeof(*cl));
	uint64_t n = unique();

	cl->minor = minor;
	cl->conn = conn_new();
	snprintf(cl->id, sizeof(cl->id), "wire test %llu", (unsigned long long)n);
	memcpy(cl->verf.data, &n, sizeof(n));
	cl->fore = (struct chan){ 0, 1100000, 1100000, 8192, 64, 16 };
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		cl->slot_seq[i] = 1;
	return cl;
}

static void establish_40(struct client *cl)
{
	struct compound *q = begin(cl);
	struct reply *r;
	struct verf confirm;

	add_setclientid(q, &cl->verf, cl->id, 0x40000000, "tcp", "127.0.0.1.0.0", 1);
	r = call(q);
	expect(r, NFS4_OK);
	cl->clientid = r->op[0].clientid;
	confirm = r->op[0].verf;
	q = begin(cl);
	add_setclientid_confirm(q, cl->clientid, &confirm);
	expect(call(q), NFS4_OK);
}

void client_new_session(struct client *cl)
{
	static const struct chan back = { 0, 4096, 4096, 0, 2, 1 };
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct chan want = { 0, 1100000, 1100000, 8192, 64, 16 };
	struct reply *r;

	add_create_session(q, cl->clientid, cl->cs_sequence, 0, &want, &back);
	r = call(q);
	expect(r, NFS4_OK);
	cl->cs_sequence++;
	memcpy(cl->session, r->op[0].session, sizeof(cl->session));
	cl->fore = r->op[0].fore;
	for (unsigned i = 0; i < SLOTS_MAX; i++)
		cl->slot_seq[i] = 1;
}

static void begin_41(struct client *cl)
{
	struct compound *q = compound_begin(cl->conn, cl->minor, "");
	struct reply *r;

	add_exchange_id(q, &cl->verf, cl->id, 0, SP4_NONE);
	r = call(q);
	expect(r, NFS4_OK);
	cl->clientid = r->op[0].clientid;
	cl->cs_sequence = r->op[0].sequence;
	client_new_session(cl);
}

void client_return(struct client *cl)
{
	struct conn *before = cl->conn;

	cl->conn = conn_new();
	cl->conn->flavor = before->flavor;
	cl->conn->uid = before->uid;
	cl->conn->gid = before->gid;
	if (cl->minor == 0)
		establish_40(cl);
	else
		begin_41(cl);
}

static void establish_41(struct client *cl)
{
	struct compound *q;

	begin_41(cl);
	q = begin(cl);
	add_reclaim_complete(q, false);
	expect(call(q), NFS4_OK);
}

void client_establish(struct client *cl)
{
	if (cl->minor == 0)
		establish_40(cl);
	else
		establish_41(cl);
}

struct client *client_new(uint32_t minor)
{
	struct client *cl = client_bare(minor);

	client_establish(cl);
	return cl;
}

struct compound *begin_slot(struct client *cl, uint32_t slot)
{
	struct compound *q = compound_begin(cl->conn, cl->minor, "wire");

	q->client = cl;
	if (cl->minor > 0) {
		q->sequenced = true;
		q->slot = slot;
		add_sequence(q, cl->session, cl->slot_seq[slot], slot, slot, cl->cache_this);
	}
	return q;
}

struct compound *begin(struct client *cl)
{
	return begin_slot(cl, 0);
}

struct compound *begin_at(struct client *cl, const struct fh *fh)
{
	struct compound *q = begin(cl);

	add_putfh(q, fh);
	return q;
}

void compound_done(struct compound *q, const struct reply *r)
{
	if (q->sequenced && r->nops && r->op[0].op == OP_SEQUENCE && r->op[0].status == NFS4_OK)
		q->client->slot_seq[q->slot]++;
}

struct reply *call(struct compound *q)
{
	size_t len;
	struct rpc_reply *rpc;
	struct reply *r;

	compound_bytes(q, &len);
	rpc = rpc_call(q->conn, &q->enc);
	if (rpc->outcome != RPC_SUCCESS_R)
		fail_with("RPC outcome %d of a compound", rpc->outcome);
	r = compound_parse(q, rpc);
	compound_done(q, r);
	return r;
}

/* ---- files ---- */

struct fh root_fh(struct client *cl)
{
	struct compound *q = begin(cl);
	struct reply *r;

	add_putrootfh(q);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	return last(r)->fh;
}

uint32_t lookup(struct client *cl, const struct fh *dir, const char *name, struct fh *out)
{
	struct compound *q = begin_at(cl, dir);
	struct reply *r;

	add_lookup(q, name);
	add_getfh(q);
	r = call(q);
	if (r->status == NFS4_OK && out)
		*out = last(r)->fh;
	return r->status;
}

struct fh test_dir(struct client *cl)
{
	struct fh root = root_fh(cl);
	char name[64];

	snprintf(name, sizeof(name), "t%llu", (unsigned long long)unique());
	return make(cl, &root, NF4DIR, name);
}

static struct fh make_regular(struct client *cl, const struct fh *dir, const char *name)
{
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, dir, name, OPEN4_SHARE_ACCESS_BOTH, 0);

	close_file(cl, &f);
	return f.fh;
}

struct fh make(struct client *cl, const struct fh *dir, uint32_t type, const char *name)
{
	struct attrs *a = test_alloc(sizeof(*a));
	struct compound *q;
	struct reply *r;

	if (type == NF4REG)
		return make_regular(cl, dir, name);
	at_num(a, FATTR4_MODE, 0755);
	q = begin_at(cl, dir);
	add_create(q, type, name, "/nowhere/at/all", 1, 3, a);
	add_getfh(q);
	r = call(q);
	expect(r, NFS4_OK);
	return last(r)->fh;
}

struct fh make_file(struct client *cl, const struct fh *dir, const char *name, const void *data,
		    uint32_t len)
{
	struct owner *o = owner_new();
	struct open_file f = open_create(cl, o, dir, name, OPEN4_SHARE_ACCESS_BOTH, 0);
	struct compound *q = begin_at(cl, &f.fh);
	struct reply *r;

	add_write(q, &f.sid, 0, FILE_SYNC4, data, len);
	r = call(q);
	expect(r, NFS4_OK);
	check_num(last(r)->count, len);
	close_file(cl, &f);
	return f.fh;
}

struct attrs *getattrs(struct client *cl, const struct fh *fh, struct bitmap bm)
{
	struct compound *q = begin_at(cl, fh);
	struct reply *r;

	add_getattr(q, bm);
	r = call(q);
	expect(r, NFS4_OK);
	return last(r)->attrs;
}

uint64_t getattr_num(struct client *cl, const struct fh *fh, unsigned attr)
{
	struct attrs *a = getattrs(cl, fh, bm_of((int)attr, -1));

	check(bm_has(&a->mask, attr));
	return a->a[attr].num;
}

uint32_t remove_name(struct client *cl, const struct fh *dir, const char *name)
{
	struct compound *q = begin_at(cl, dir);

	add_remove(q, name);
	return call(q)->status;
}

/* ---- opens ---- */

struct owner *owner_new(void)
{
	struct owner *o = test_alloc(sizeof(*o));

	snprintf(o->name, sizeof(o->name), "owner %llu", (unsigned long long)unique());
	o->seqid = 1;
	return o;
}

bool seqid_advances(uint32_t status)
{
	switch (status) {
	case NFS4ERR_STALE_CLIENTID:
	case NFS4ERR_STALE_STATEID:
	case NFS4ERR_BAD_STATEID:
	case NFS4ERR_BAD_SEQID:
	case NFS4ERR_BADXDR:
	case NFS4ERR_RESOURCE:
	case NFS4ERR_NOFILEHANDLE:
	case NFS4ERR_MOVED:
		return false;
	default:
		return true;
	}
}

static void confirm(struct client *cl, struct open_file *f)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_open_confirm(q, &f->sid, f->owner->seqid);
	r = call(q);
	expect(r, NFS4_OK);
	f->owner->seqid++;
	f->sid = last(r)->sid;
}

uint32_t open_any(struct client *cl, struct owner *o, const struct fh *dir, struct open_args *a,
		  struct open_file *out)
{
	struct compound *q = begin_at(cl, dir);
	struct reply *r;
	struct result *open;
	uint32_t at = cl->minor > 0 ? 2 : 1;

	a->owner = o->name;
	a->clientid = cl->clientid;
	a->seqid = cl->minor == 0 ? o->seqid : 0;
	add_open(q, a);
	add_getfh(q);
	r = call(q);
	if (r->nops <= at)
		return r->status; /* PUTFH has failed */
	open = &r->op[at];
	if (cl->minor == 0 && seqid_advances(open->status))
		o->seqid++;
	if (r->status != NFS4_OK)
		return r->status;
	*out = (struct open_file){ .fh = last(r)->fh,
				   .sid = open->sid,
				   .owner = o,
				   .rflags = open->rflags,
				   .result = open };
	if (open->rflags & OPEN4_RESULT_CONFIRM) {
		check_num(cl->minor, 0);
		confirm(cl, out);
	}
	return NFS4_OK;
}

uint32_t open_status(struct client *cl, struct owner *o, const struct fh *dir, const char *name,
		     uint32_t access, uint32_t deny, struct open_file *out)
{
	struct open_args a = { .access = access, .deny = deny, .name = name };
	struct open_file f;

	return open_any(cl, o, dir, &a, out ? out : &f);
}

struct open_file open_create(struct client *cl, struct owner *o, const struct fh *dir,
			     const char *name, uint32_t access, uint32_t deny)
{
	struct attrs *attrs = test_alloc(sizeof(*attrs));
	struct open_args a = { .access = access,
			       .deny = deny,
			       .name = name,
			       .opentype = OPEN4_CREATE,
			       .createmode = UNCHECKED4,
			       .attrs = attrs };
	struct open_file f;

	at_num(attrs, FATTR4_MODE, 0644);
	expect_status(open_any(cl, o, dir, &a, &f), NFS4_OK);
	return f;
}

uint32_t close_status(struct client *cl, struct open_file *f)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_close(q, cl->minor == 0 ? f->owner->seqid : 0, &f->sid);
	r = call(q);
	if (cl->minor == 0 && seqid_advances(r->status))
		f->owner->seqid++;
	return r->status;
}

void close_file(struct client *cl, struct open_file *f)
{
	expect_status(close_status(cl, f), NFS4_OK);
}

/* ---- locks ---- */

uint32_t lock_range(struct client *cl, struct open_file *f, struct lock_state *ls, uint32_t type,
		    uint64_t off, uint64_t len, struct result **out)
{
	struct compound *q = begin_at(cl, &f->fh);
	bool v40 = cl->minor == 0;
	struct reply *r;

	if (ls->have)
		add_lock_more(q, type, false, off, len, &ls->sid, v40 ? ls->owner->seqid : 0);
	else
		add_lock_new(q, type, false, off, len, v40 ? f->owner->seqid : 0, &f->sid,
			     v40 ? ls->owner->seqid : 0, cl->clientid, ls->owner->name);
	r = call(q);
	if (v40 && seqid_advances(r->status)) {
		if (!ls->have)
			f->owner->seqid++;
		/* A lock-owner that was not accepted keeps its seqid: nothing knows it yet. */
		if (ls->have || r->status == NFS4_OK)
			ls->owner->seqid++;
	}
	if (r->status == NFS4_OK) {
		ls->sid = last(r)->sid;
		ls->have = true;
	}
	if (out)
		*out = last(r);
	return r->status;
}

uint32_t unlock_range(struct client *cl, struct open_file *f, struct lock_state *ls, uint64_t off,
		      uint64_t len)
{
	struct compound *q = begin_at(cl, &f->fh);
	struct reply *r;

	add_locku(q, WRITE_LT, cl->minor == 0 ? ls->owner->seqid : 0, &ls->sid, off, len);
	r = call(q);
	if (cl->minor == 0 && seqid_advances(r->status))
		ls->owner->seqid++;
	if (r->status == NFS4_OK)
		ls->sid = last(r)->sid;
	return r->status;
}

uint32_t lockt(struct client *cl, const struct fh *fh, struct owner *o, uint32_t type, uint64_t off,
	       uint64_t len, struct result **out)
{
	struct compound *q = begin_at(cl, fh);
	struct reply *r;

	add_lockt(q, type, off, len, cl->clientid, o->name);
	r = call(q);
	if (out)
		*out = last(r);
	return r->status;
}

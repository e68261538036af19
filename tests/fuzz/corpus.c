/*
 * Records scenarios: the client of tests/wire, with libtirpc's encoder, talks to a fuzz_server
 * by way of conn_local_hook, and what it says is written down as an input.
 */
#include "tests/fuzz/corpus.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/target.h"
#include "tests/wire/nfs4.h"
#include "tests/wire/samples.h"

#define ITEM_CAP (1u << 20)

static struct fuzz_server *server;
static struct corpus_item *recording;

/* The arguments of the procedure: behind the credential and the verifier. */
static size_t args_at(const uint8_t *call)
{
	uint32_t cred_len;

	memcpy(&cred_len, call + 28, 4);
	return 32 + ((__builtin_bswap32(cred_len) + 3) & ~3u) + 8;
}

static void record(unsigned flags, const uint8_t *args, size_t len)
{
	uint8_t *p = recording->data + recording->len;

	if (len > FUZZ_RECORD_MAX || recording->len + FUZZ_HEADER + len > ITEM_CAP)
		fail_with("the scenario is too long for an input");
	p[0] = (uint8_t)flags;
	p[1] = 0;
	p[2] = (uint8_t)len;
	p[3] = (uint8_t)(len >> 8);
	memcpy(p + FUZZ_HEADER, args, len);
	recording->len += FUZZ_HEADER + len;
}

/* One call, answered with an accepted reply of RPC around the result. */
static uint8_t *exchange(struct conn *c, const uint8_t *call, size_t len, size_t *reply_len)
{
	unsigned flags = (c->number & 1 ? FUZZ_SECOND_CONN : 0) | (c->uid ? FUZZ_USER : 0);
	uint8_t *reply = test_alloc(24 + FUZZ_REPLY_MAX);
	size_t at = args_at(call);
	int n;

	record(flags, call + at, len - at);
	n = fuzz_compound(server, flags, call + at, len - at, reply + 24);
	memcpy(reply, call, 4);
	reply[7] = 1; /* REPLY; the other words are zero: accepted, AUTH_NONE, SUCCESS */
	if (n < 0)
		reply[23] = 4; /* GARBAGE_ARGS */
	*reply_len = 24 + (n < 0 ? 0 : (size_t)n);
	return reply;
}

/* ---- scenarios ---- */

/* Every operation once, each in a compound of its own with a filehandle before it. */
static void every_operation(uint32_t minor)
{
	struct client *cl = client_new(minor);
	struct fh dir = test_dir(cl), file = make_file(cl, &dir, "name", "content", 7);

	for (size_t i = 0; i < samples_n; i++) {
		bool alone = samples[i].flags & ALONE || samples[i].op == OP_SEQUENCE;
		struct compound *q;

		if (!sample_in(&samples[i], minor))
			continue;
		q = alone ? compound_begin(cl->conn, minor, "") : begin_at(cl, &file);
		if (!alone) {
			add_savefh(q);
			add_putfh(q, i % 2 ? &dir : &file);
		}
		samples[i].put(q, cl);
		call(q);
	}
}

/* Names come and go. */
static void names(uint32_t minor)
{
	static const uint32_t types[] = { NF4DIR, NF4LNK, NF4FIFO, NF4CHR, NF4REG };
	struct client *cl = client_new(minor);
	struct fh dir = test_dir(cl), sub = make(cl, &dir, NF4DIR, "sub");
	struct compound *q;

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		char name[8], other[8];

		snprintf(name, sizeof(name), "n%zu", i);
		snprintf(other, sizeof(other), "m%zu", i);
		make(cl, &dir, types[i], name);
		q = begin_at(cl, &dir);
		add_savefh(q);
		add_putfh(q, &sub);
		add_rename(q, name, other);
		add_readdir(q, 0, NULL, 1000, 2000,
			    bm_of(FATTR4_TYPE, FATTR4_FILEHANDLE, FATTR4_MODE, FATTR4_OWNER,
				  FATTR4_TIME_MODIFY, -1));
		add_lookup(q, other);
		add_readlink(q);
		call(q);
		q = begin_at(cl, &sub);
		add_secinfo(q, other);
		call(q);
		q = begin_at(cl, &sub);
		add_remove(q, other);
		add_lookupp(q);
		add_getfh(q);
		call(q);
	}
}

/* Attributes in both directions. */
static void attributes(uint32_t minor)
{
	struct client *cl = client_new(minor);
	struct fh dir = test_dir(cl), file = make_file(cl, &dir, "f", "0123456789", 10);
	struct attrs *a = test_alloc(sizeof(*a)), *got;
	struct compound *q;
	struct bitmap all = { 3, { 0xffffffff, 0xffffffff, 0xffffffff } };

	all.w[1] &= ~(1u << (FATTR4_TIME_ACCESS_SET - 32) | 1u << (FATTR4_TIME_MODIFY_SET - 32));
	all.w[2] &= ~(1u << (FATTR4_MODE_UMASK - 64) | 1u << (FATTR4_MODE_SET_MASKED - 64));
	q = begin_at(cl, &file);
	add_getattr(q, all);
	got = last(call(q))->attrs;
	at_num(a, FATTR4_SIZE, 5);
	at_num(a, FATTR4_MODE, 0640);
	at_str(a, FATTR4_OWNER, "1000");
	at_str(a, FATTR4_OWNER_GROUP, "1000");
	at_time(a, FATTR4_TIME_ACCESS_SET, 1, 2);
	at_time_now(a, FATTR4_TIME_MODIFY_SET);
	q = begin_at(cl, &file);
	add_setattr(q, &SID_ANONYMOUS, a);
	add_access(q, 0x3f);
	call(q);
	q = begin_at(cl, &file);
	add_verify(q, got);
	call(q);
	q = begin_at(cl, &file);
	add_nverify(q, got);
	call(q);
}

/* One whose data are not in memory at first (target.c), and they must be right nevertheless. */
static void long_write(struct client *cl, const struct open_file *f)
{
	uint8_t *data = test_alloc(3000);
	struct compound *q = begin_at(cl, &f->fh);
	struct result *r;

	for (unsigned i = 0; i < 3000; i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	add_write(q, &f->sid, 50, UNSTABLE4, data, 3000);
	add_getattr(q, bm_of(FATTR4_SIZE, -1));
	add_read(q, &f->sid, 50, 3000);
	r = last(call(q));
	check_num(r->len, 3000);
	check(memcmp(r->data, data, 3000) == 0);
}

/* Opens, locks, reads and writes of two clients that are in each other's way. */
static void state_and_io(uint32_t minor)
{
	struct client *a = client_new(minor), *b = client_new(minor);
	struct fh dir = test_dir(a);
	struct owner *oa = owner_new(), *ob = owner_new();
	struct open_file fa = open_create(a, oa, &dir, "f", OPEN4_SHARE_ACCESS_BOTH, 0), fb;
	struct lock_state la = { .owner = owner_new() }, lb = { .owner = owner_new() };
	struct compound *q = begin_at(a, &fa.fh);

	add_write(q, &fa.sid, 3, UNSTABLE4, "hello, world", 12);
	add_commit(q, 0, 0);
	add_read(q, &fa.sid, 0, 100);
	add_write(q, &SID_ANONYMOUS, 100, FILE_SYNC4, "x", 1);
	call(q);
	long_write(a, &fa);
	open_status(b, ob, &dir, "f", OPEN4_SHARE_ACCESS_READ, 0, &fb);
	lock_range(a, &fa, &la, WRITE_LT, 0, 100, NULL);
	lock_range(a, &fa, &la, READ_LT, 50, UINT64_MAX, NULL);
	unlock_range(a, &fa, &la, 20, 10);
	lock_range(b, &fb, &lb, READ_LT, 60, 10, NULL);
	lockt(b, &fb.fh, lb.owner, WRITE_LT, 0, 1, NULL);
	open_status(a, oa, &dir, "f", OPEN4_SHARE_ACCESS_READ, OPEN4_SHARE_DENY_WRITE, &fa);
	q = begin_at(a, &fa.fh);
	add_open_downgrade(q, &fa.sid, oa->seqid, OPEN4_SHARE_ACCESS_BOTH, 0);
	call(q);
	if (minor > 1) {
		q = begin_at(a, &fa.fh);
		add_allocate(q, &SID_ANONYMOUS, 0, 1000);
		add_seek(q, &SID_ANONYMOUS, 0, NFS4_CONTENT_HOLE);
		add_deallocate(q, &SID_ANONYMOUS, 0, 10);
		add_read_plus(q, &SID_ANONYMOUS, 0, 1000);
		call(q);
	}
	if (minor > 0) {
		struct sid sids[2] = { fa.sid, la.sid };

		q = begin(a);
		add_test_stateid(q, sids, 2);
		add_free_stateid(q, &la.sid);
		call(q);
	}
	close_status(b, &fb);
	remove_name(b, &dir, "f");
	close_status(a, &fa);
}

/* What only sessions have: replays, several slots, their end. */
static void sessions(uint32_t minor)
{
	struct client *cl = client_new(minor);
	struct compound *q;

	cl->cache_this = true;
	q = begin(cl);
	add_putrootfh(q);
	add_create(q, NF4DIR, "once", NULL, 0, 0, NULL);
	call(q);
	cl->slot_seq[0]--;
	q = begin(cl);
	add_putrootfh(q);
	add_create(q, NF4DIR, "once", NULL, 0, 0, NULL);
	call(q);
	q = begin_slot(cl, 3);
	add_putrootfh(q);
	call(q);
	q = compound_begin(cl->conn, minor, "");
	add_bind_conn(q, cl->session, CDFC4_FORE_OR_BOTH);
	call(q);
	q = compound_begin(cl->conn, minor, "");
	add_exchange_id(q, &cl->verf, cl->id, EXCHGID4_FLAG_UPD_CONFIRMED_REC_A, SP4_NONE);
	call(q);
	client_new_session(cl);
	q = begin(cl);
	add_destroy_session(q, cl->session);
	call(q);
	q = compound_begin(cl->conn, minor, "");
	add_destroy_clientid(q, cl->clientid);
	call(q);
}

static const struct {
	const char *name;
	void (*play)(uint32_t minor);
	uint32_t from, to; /* minor versions */
} scenarios[] = {
	{ "every-operation", every_operation, 0, 2 },
	{ "names", names, 0, 2 },
	{ "attributes", attributes, 0, 2 },
	{ "state-and-io", state_and_io, 0, 2 },
	{ "sessions", sessions, 1, 2 },
};

unsigned corpus_make(struct corpus_item *items)
{
	unsigned n = 0;

	conn_local_hook = exchange;
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		for (uint32_t minor = scenarios[i].from; minor <= scenarios[i].to; minor++) {
			char *name = malloc(64);

			recording = &items[n++];
			recording->data = malloc(ITEM_CAP);
			if (!name || !recording->data || n > CORPUS_MAX)
				abort();
			snprintf(name, 64, "%s-4.%u", scenarios[i].name, minor);
			recording->name = name;
			recording->len = 0;
			server = fuzz_server_new();
			scenarios[i].play(minor);
			fuzz_server_free(server);
			conns_free();
			test_memory_free();
		}
	}
	return n;
}

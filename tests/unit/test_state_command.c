/*
 * Commands as bytes: each kind with random contents there and back, field by field; and bytes that
 * are damaged in every way, which must be refused or be some command, but never be read beyond
 * their end (a sanitizer sees that: every input is an allocation of its own size).
 *
 * The seed is printed; ATOLL_SEED=N runs that one again.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cred.h"
#include "base/random.h"
#include "nfsd/state/command_io.h"

#define ROUNDS	200
#define DAMAGES 400
#define MOST	300 /* bytes of a byte string */

/* What random commands point to. */
struct pool {
	uint64_t random;
	uint8_t bytes[65536];
	size_t used;
	struct state_reclaimer clients[8];
	uint32_t nodes[8];
	const struct cred *cred;
};

static uint32_t pick(struct pool *p)
{
	p->random ^= p->random << 13;
	p->random ^= p->random >> 7;
	p->random ^= p->random << 17;
	return (uint32_t)(p->random >> 20);
}

static uint64_t pick64(struct pool *p)
{
	return (uint64_t)pick(p) << 32 | pick(p);
}

static void pick_fixed(struct pool *p, void *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)to)[i] = (uint8_t)pick(p);
}

static struct bytes pick_bytes(struct pool *p)
{
	struct bytes b = { p->bytes + p->used, pick(p) % 4 ? pick(p) % MOST : 0 };

	pick_fixed(p, p->bytes + p->used, b.len);
	p->used += b.len;
	assert_true(p->used < sizeof(p->bytes));
	return b;
}

static struct stateid pick_stateid(struct pool *p)
{
	struct stateid id = { .seqid = pick(p) };

	pick_fixed(p, id.other, sizeof(id.other));
	return id;
}

static struct channel_attrs pick_channel(struct pool *p)
{
	return (struct channel_attrs){ pick(p), pick(p), pick(p), pick(p), pick(p), pick(p) };
}

static const struct cred *pick_cred(struct pool *p)
{
	gid_t groups[32];
	uint32_t n = pick(p) % 33;

	for (uint32_t i = 0; i < n; i++)
		groups[i] = pick(p);
	cred_unref(p->cred);
	p->cred = pick(p) % 3 ? cred_get(pick(p), pick(p), groups, n) : NULL;
	return p->cred;
}

static void pick_open(struct pool *p, struct state_command *c)
{
	c->open.owner = pick_bytes(p);
	c->open.file = pick_bytes(p);
	c->open.access = pick(p);
	c->open.deny = pick(p);
	c->open.claim = pick(p);
	c->open.truncates = pick(p) & 1;
	c->open.cred = pick_cred(p);
	c->open.delegate = pick(p);
	c->open.fh = pick_bytes(p);
	c->open.change = pick64(p);
	c->open.times = pick(p) & 1;
	c->open.directory = pick(p) & 1;
	c->open.xor_delegation = pick(p) & 1;
	c->open.request.present = pick(p) & 1;
	pick_fixed(p, &c->open.request.session, sizeof(c->open.request.session));
	c->open.request.slot = pick(p);
	c->open.request.seqid = pick(p);
	c->open.deleg_stateid = pick_stateid(p);
}

static void pick_lock(struct pool *p, struct state_command *c)
{
	c->lock.file = pick_bytes(p);
	c->lock.type = (enum nfs_lock_type4)(pick(p) % 4 + 1);
	c->lock.range = (struct lock_range){ pick64(p), pick64(p) };
	c->lock.reclaim = pick(p) & 1;
	c->lock.new_owner = pick(p) & 1;
	c->lock.stateid = pick_stateid(p);
	c->lock.owner = pick_bytes(p);
	c->lock.lock_seqid = pick(p);
	c->lock.local = pick(p) & 1;
	if (pick(p) & 1)
		return; /* granted if it can be: without the rest */
	c->lock.refuse = (enum nfsstat4)(pick(p) | 1);
	c->lock.refuse_over_limit = pick(p) & 1;
	c->lock.refuse_type = (enum nfs_lock_type4)(pick(p) % 4 + 1);
	c->lock.refuse_range = (struct lock_range){ pick64(p), pick64(p) };
	c->lock.refuse_owner = pick_bytes(p);
}

static void pick_create_session(struct pool *p, struct state_command *c)
{
	c->create_session.sequence = pick(p);
	c->create_session.flags = pick(p);
	c->create_session.fore = pick_channel(p);
	c->create_session.back = pick_channel(p);
	c->create_session.cb_program = pick(p);
	c->create_session.cb_uid = pick(p);
	c->create_session.cb_gid = pick(p);
	c->create_session.cb_flavor = pick(p);
	pick_fixed(p, c->create_session.random, sizeof(c->create_session.random));
}

static void pick_setclientid(struct pool *p, struct state_command *c)
{
	c->setclientid.owner = pick_bytes(p);
	pick_fixed(p, &c->setclientid.verifier, 8);
	c->setclientid.callback.program = pick(p);
	c->setclientid.callback.ident = pick(p);
	c->setclientid.callback.netid = pick_bytes(p);
	c->setclientid.callback.addr = pick_bytes(p);
	pick_fixed(p, &c->setclientid.confirm, 8);
}

static void pick_start_grace(struct pool *p, struct state_command *c)
{
	c->start_grace.n = pick(p) % 8;
	c->start_grace.clients = p->clients;
	for (uint32_t i = 0; i < c->start_grace.n; i++) {
		p->clients[i].key = pick_bytes(p);
		pick_fixed(p, &p->clients[i].verifier, 8);
	}
	c->start_grace.anybody = pick(p) & 1;
	c->start_grace.more_to_come = pick(p) & 1;
	for (unsigned i = 0; i < 3; i++)
		c->start_grace.generation[i] = pick64(p);
	c->start_grace.complete = pick(p) & 1;
}

/* No default: the compiler says when a command is missing. */
static void pick_arguments(struct pool *p, struct state_command *c)
{
	switch (c->type) {
	case CMD_SETCLIENTID:
		pick_setclientid(p, c);
		break;
	case CMD_SETCLIENTID_CONFIRM:
		pick_fixed(p, &c->setclientid_confirm.confirm, 8);
		break;
	case CMD_EXCHANGE_ID:
		c->exchange_id.owner = pick_bytes(p);
		pick_fixed(p, &c->exchange_id.verifier, 8);
		c->exchange_id.flags = pick(p);
		c->exchange_id.state_protect = pick(p);
		c->exchange_id.impl_name = pick_bytes(p);
		break;
	case CMD_CREATE_SESSION:
		pick_create_session(p, c);
		break;
	case CMD_DESTROY_SESSION:
		pick_fixed(p, &c->destroy_session.session, 16);
		break;
	case CMD_BACKCHANNEL_CTL:
		pick_fixed(p, &c->backchannel_ctl, sizeof(c->backchannel_ctl));
		break;
	case CMD_RECLAIM_COMPLETE:
		c->reclaim_complete.one_fs = pick(p) & 1;
		break;
	case CMD_EXPIRE_CLIENT:
		c->expire_client.adoptions = pick(p);
		break;
	case CMD_OPEN:
	case CMD_DELEGATE:
		pick_open(p, c);
		break;
	case CMD_OPEN_CONFIRM:
	case CMD_OPEN_DOWNGRADE:
	case CMD_CLOSE:
		c->open_downgrade.stateid = pick_stateid(p);
		c->open_downgrade.file = pick_bytes(p);
		c->open_downgrade.access = pick(p);
		c->open_downgrade.deny = pick(p);
		break;
	case CMD_LOCK:
		pick_lock(p, c);
		break;
	case CMD_UNLOCK:
		c->unlock.file = pick_bytes(p);
		c->unlock.stateid = pick_stateid(p);
		c->unlock.range = (struct lock_range){ pick64(p), pick64(p) };
		break;
	case CMD_RELEASE_LOCKOWNER:
		c->release_lockowner.owner = pick_bytes(p);
		break;
	case CMD_FREE_STATEID:
		c->free_stateid.stateid = pick_stateid(p);
		break;
	case CMD_OWNER_ADVANCE:
		c->owner_advance.lock_owner = pick(p) & 1;
		c->owner_advance.owner = pick_bytes(p);
		c->owner_advance.seqid = pick(p);
		c->owner_advance.reply = pick_bytes(p);
		c->owner_advance.fh = pick_bytes(p);
		break;
	case CMD_RECALL:
		c->recall.file = pick_bytes(p);
		c->recall.changes = pick(p) & 1;
		break;
	case CMD_DELEG_RETURN:
		c->deleg_return.stateid = pick_stateid(p);
		c->deleg_return.file = pick_bytes(p);
		break;
	case CMD_REVOKE:
		c->revoke.stateid = pick_stateid(p);
		break;
	case CMD_START_GRACE:
		pick_start_grace(p, c);
		break;
	case CMD_MEMBERS:
		c->members.n = pick(p) % 8;
		c->members.nodes = p->nodes;
		pick_fixed(p, p->nodes, sizeof(p->nodes));
		break;
	case CMD_SILENT:
		c->silent.adoptions = pick(p);
		break;
	case CMD_SLOT_REPLY:
		pick_fixed(p, &c->slot_reply.session, 16);
		c->slot_reply.slot = pick(p);
		c->slot_reply.seqid = pick(p);
		c->slot_reply.request_hash = pick64(p);
		c->slot_reply.begun.op = pick(p);
		c->slot_reply.begun.object = pick64(p);
		c->slot_reply.reply = pick_bytes(p);
		break;
	case CMD_BACK_ANSWERED:
		pick_fixed(p, &c->back_answered, sizeof(c->back_answered));
		break;
	case CMD_REPLY_KEPT:
		c->reply_kept.key = pick_bytes(p);
		c->reply_kept.begun.op = pick(p);
		c->reply_kept.begun.object = pick64(p);
		c->reply_kept.reply = pick_bytes(p);
		break;
	case CMD_GRANT_SEEN:
		pick_fixed(p, &c->grant_seen.stateid, sizeof(c->grant_seen.stateid));
		c->grant_seen.contended = pick(p) & 1;
		break;
	case CMD_DESTROY_CLIENTID:
	case CMD_END_GRACE:
	case CMD_ADOPT:
	case CMD_COUNT:
		break;
	}
}

static struct state_command pick_command(struct pool *p, enum state_command_type type)
{
	struct state_command c;

	p->used = 0;
	memset(&c, 0, sizeof(c));
	c.type = type;
	c.minor = pick(p);
	c.clientid = pick64(p);
	c.sequenced = pick(p) & 1;
	c.owner_seqid = c.sequenced ? pick(p) : 0;
	c.maybe_retry = pick(p) & 1;
	c.principal = pick_bytes(p);
	pick_arguments(p, &c);
	return c;
}

/*
 * Replaces pointers of the decoded command by those of the original where what they point to is equal;
 * then the two structures must be the same, all fields, whatever they are called.
 */
static void adopt_pointers(const struct state_command *from, struct state_command *to)
{
	const uint8_t *const *a = (const void *)from;
	const uint8_t **b = (void *)to;

	/* A byte string is a pointer and its length behind it. */
	for (size_t i = 0; i + 1 < sizeof(*from) / sizeof(*a); i++) {
		uint32_t len, same;

		memcpy(&len, &a[i + 1], sizeof(len));
		memcpy(&same, &b[i + 1], sizeof(same));
		if (a[i] && b[i] && a[i] != b[i] && len == same && len <= MOST &&
		    (uintptr_t)a[i] > 1u << 16 && (uintptr_t)b[i] > 1u << 16)
			b[i] = a[i];
	}
}

static void compare_bytes(struct bytes a, struct bytes b)
{
	assert_int_equal(a.len, b.len);
	if (a.len)
		assert_memory_equal(a.p, b.p, a.len);
}

/* Encoding what was decoded gives the same bytes: nothing was lost on the way in. */
static void encode_again(const struct state_command *cmd, const uint8_t *bytes, size_t len)
{
	uint8_t *again;
	size_t again_len;

	assert_int_equal(command_encode(cmd, &again, &again_len), 0);
	assert_int_equal(again_len, len);
	assert_memory_equal(again, bytes, len);
	free(again);
}

/* And nothing on the way out: two commands that differ anywhere have other bytes. */
static void compare(const struct state_command *a, struct state_command *b)
{
	compare_bytes(a->principal, b->principal);
	if (a->type == CMD_START_GRACE) {
		for (uint32_t i = 0; i < a->start_grace.n; i++)
			compare_bytes(a->start_grace.clients[i].key, b->start_grace.clients[i].key);
		b->start_grace.clients = a->start_grace.clients;
	}
	if (a->type == CMD_MEMBERS) {
		assert_memory_equal(a->members.nodes, b->members.nodes, 4 * a->members.n);
		b->members.nodes = a->members.nodes;
	}
	if (a->type == CMD_OPEN || a->type == CMD_DELEGATE)
		assert_ptr_equal(a->open.cred, b->open.cred); /* identities are interned */
	adopt_pointers(a, b);
	assert_memory_equal(a, b, sizeof(*a));
}

static void round_trip(struct pool *p, enum state_command_type type)
{
	struct state_command cmd = pick_command(p, type);
	struct command_decoded decoded;
	uint8_t *bytes;
	size_t len;

	assert_int_equal(command_encode(&cmd, &bytes, &len), 0);
	assert_int_equal(command_decode(bytes, len, &decoded), 0);
	encode_again(&decoded.cmd, bytes, len);
	compare(&cmd, &decoded.cmd);
	command_decoded_free(&decoded);
	free(bytes);
}

static void damage(struct pool *p, uint8_t *bytes, size_t *len)
{
	switch (pick(p) % 4) {
	case 0:
		*len = pick(p) % (*len + 1);
		break;
	case 1:
		bytes[pick(p) % *len] ^= (uint8_t)(1u << pick(p) % 8);
		break;
	case 2:
		memset(bytes + pick(p) % *len, 0xff, 1);
		break;
	default:
		for (unsigned i = pick(p) % 8; i > 0; i--)
			bytes[pick(p) % *len] = (uint8_t)pick(p);
		break;
	}
}

static void decode_damaged(struct pool *p, const uint8_t *bytes, size_t whole)
{
	struct command_decoded decoded;
	uint8_t *copy = malloc(whole), *exact;
	size_t len = whole;
	int err;

	assert_non_null(copy);
	memcpy(copy, bytes, whole);
	damage(p, copy, &len);
	exact = malloc(len ? len : 1);
	assert_non_null(exact);
	memcpy(exact, copy, len);
	free(copy);
	err = command_decode(exact, len, &decoded);
	assert_true(err == 0 || err == -EBADMSG);
	if (err == 0) {
		assert_true(decoded.cmd.type < CMD_COUNT);
		command_decoded_free(&decoded);
	}
	free(exact);
}

static uint64_t seed(void)
{
	const char *given = getenv("ATOLL_SEED");
	uint64_t s = given ? strtoull(given, NULL, 10) : random_u64() | 1;

	print_message("ATOLL_SEED=%llu\n", (unsigned long long)s);
	return s;
}

static void test_round_trip(void **state)
{
	struct pool *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->random = seed();
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned type = 0; type < CMD_COUNT; type++)
			round_trip(p, (enum state_command_type)type);
	}
	cred_unref(p->cred);
	free(p);
}

static void test_damaged(void **state)
{
	struct pool *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->random = seed();
	for (unsigned type = 0; type < CMD_COUNT; type++) {
		struct state_command cmd = pick_command(p, (enum state_command_type)type);
		uint8_t *bytes;
		size_t len;

		assert_int_equal(command_encode(&cmd, &bytes, &len), 0);
		for (unsigned i = 0; i < DAMAGES; i++)
			decode_damaged(p, bytes, len);
		free(bytes);
	}
	cred_unref(p->cred);
	free(p);
}

/* What follows, and what is missing, is seen. */
static void test_length(void **state)
{
	struct state_command cmd = { .type = CMD_CLOSE, .minor = 1 };
	struct command_decoded decoded;
	uint8_t *bytes, longer[256] = { 0 };
	size_t len;

	assert_int_equal(command_encode(&cmd, &bytes, &len), 0);
	memcpy(longer, bytes, len);
	assert_int_equal(command_decode(longer, len, &decoded), 0);
	command_decoded_free(&decoded);
	assert_int_equal(command_decode(longer, len + 1, &decoded), -EBADMSG);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(command_decode(longer, n, &decoded), -EBADMSG);
	cmd.type = CMD_COUNT;
	free(bytes);
	assert_int_equal(command_encode(&cmd, &bytes, &len), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_length),
	};

	return cmocka_run_group_tests_name("state_command", tests, NULL, NULL);
}

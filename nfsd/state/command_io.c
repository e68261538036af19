/*
 * Every command is visited by one function for both directions: what is written and what is read
 * cannot differ. Numbers are big-endian, nothing is padded, byte strings have their length in
 * front. The switch over the commands has no default and the sizes below are asserted, so that neither
 * a new command nor a new field is forgotten without the compiler's saying so.
 */
#include "nfsd/state/command_io.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cred.h"

/* When one of these fails a field has come or gone: visit it below, and raise COMMAND_FORMAT. */
#define ASSERT_SIZE(part, size)                                                       \
	_Static_assert(sizeof(((struct state_command *)0)->part) == (size),           \
		       "fields of " #part " have changed")
ASSERT_SIZE(setclientid, 72);
ASSERT_SIZE(setclientid_confirm, 8);
ASSERT_SIZE(exchange_id, 48);
ASSERT_SIZE(create_session, 80);
ASSERT_SIZE(destroy_session, 16);
ASSERT_SIZE(backchannel_ctl, 32);
ASSERT_SIZE(reclaim_complete, 1);
ASSERT_SIZE(expire_client, 4);
ASSERT_SIZE(open, 136);
ASSERT_SIZE(open_downgrade, 40);
ASSERT_SIZE(lock, 136);
ASSERT_SIZE(unlock, 48);
ASSERT_SIZE(release_lockowner, 16);
ASSERT_SIZE(free_stateid, 16);
ASSERT_SIZE(owner_advance, 64);
ASSERT_SIZE(recall, 24);
ASSERT_SIZE(deleg_return, 32);
ASSERT_SIZE(revoke, 16);
ASSERT_SIZE(start_grace, 48);
ASSERT_SIZE(members, 16);
ASSERT_SIZE(silent, 4);
ASSERT_SIZE(slot_reply, 64);
ASSERT_SIZE(back_answered, 24);
ASSERT_SIZE(reply_kept, 48);
ASSERT_SIZE(grant_seen, 20);

struct io {
	bool decoding;
	int err; /* the first; later visits do nothing */
	/* Encoding: what there is, its room. Decoding: the bytes, how many, and the place in them. */
	uint8_t *out;
	const uint8_t *in;
	size_t len, room, at;
	struct command_decoded *decoded;
};

/* ---------------------------------------------------------------- small things ---- */

static bool make_room(struct io *io, size_t more)
{
	size_t room = io->room ? io->room : 256;
	uint8_t *bigger;

	while (room - io->len < more)
		room *= 2;
	if (room == io->room)
		return true;
	bigger = realloc(io->out, room);
	if (!bigger) {
		io->err = -ENOMEM;
		return false;
	}
	io->out = bigger;
	io->room = room;
	return true;
}

/* The next `len` bytes of the input, or NULL. */
static const uint8_t *take(struct io *io, size_t len)
{
	const uint8_t *p = io->in + io->at;

	if (io->err || len > io->len - io->at) {
		if (io->err == 0)
			io->err = -EBADMSG;
		return NULL;
	}
	io->at += len;
	return p;
}

static void io_fixed(struct io *io, void *bytes, size_t len)
{
	const uint8_t *p;

	if (io->decoding) {
		p = take(io, len);
		if (p)
			memcpy(bytes, p, len);
		else
			memset(bytes, 0, len);
	} else if (io->err == 0 && make_room(io, len)) {
		memcpy(io->out + io->len, bytes, len);
		io->len += len;
	}
}

static void io_u32(struct io *io, uint32_t *v)
{
	uint32_t be = htobe32(*v);

	io_fixed(io, &be, sizeof(be));
	*v = be32toh(be);
}

static void io_u64(struct io *io, uint64_t *v)
{
	uint64_t be = htobe64(*v);

	io_fixed(io, &be, sizeof(be));
	*v = be64toh(be);
}

static void io_bool(struct io *io, bool *v)
{
	uint8_t byte = *v;

	io_fixed(io, &byte, 1);
	if (byte > 1 && io->err == 0)
		io->err = -EBADMSG;
	*v = byte == 1;
}

static void io_bytes(struct io *io, struct bytes *b)
{
	io_u32(io, &b->len);
	if (!io->decoding) {
		if (b->len)
			io_fixed(io, (void *)b->p, b->len);
		return;
	}
	b->p = take(io, b->len);
	if (!b->p)
		b->len = 0;
}

static void io_verifier(struct io *io, struct nfs_verifier *v)
{
	io_fixed(io, v->data, sizeof(v->data));
}

static void io_session(struct io *io, struct sessionid *id)
{
	io_fixed(io, id->data, sizeof(id->data));
}

static void io_stateid(struct io *io, struct stateid *id)
{
	io_u32(io, &id->seqid);
	io_fixed(io, id->other, sizeof(id->other));
}

static void io_range(struct io *io, struct lock_range *r)
{
	io_u64(io, &r->offset);
	io_u64(io, &r->length);
}

static void io_channel(struct io *io, struct channel_attrs *a)
{
	io_u32(io, &a->header_pad);
	io_u32(io, &a->max_request);
	io_u32(io, &a->max_response);
	io_u32(io, &a->max_response_cached);
	io_u32(io, &a->max_ops);
	io_u32(io, &a->max_slots);
}

static void io_request(struct io *io, struct request_ref *r)
{
	io_bool(io, &r->present);
	io_session(io, &r->session);
	io_u32(io, &r->slot);
	io_u32(io, &r->seqid);
}

static void io_begun(struct io *io, struct begun *b)
{
	io_u32(io, &b->op);
	io_u64(io, &b->object);
}

/* ------------------------------------------------------ what is more than bytes ---- */

static void put_cred(struct io *io, const struct cred *cred)
{
	uint32_t uid = cred->uid, gid = cred->gid, n = cred->ngroups;

	io_u32(io, &uid);
	io_u32(io, &gid);
	io_u32(io, &n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t group = cred->groups[i];

		io_u32(io, &group);
	}
}

static const struct cred *get_cred(struct io *io)
{
	gid_t groups[CRED_MAX_GROUPS];
	uint32_t uid = 0, gid = 0, n = 0;
	const struct cred *cred;

	io_u32(io, &uid);
	io_u32(io, &gid);
	io_u32(io, &n);
	if (n > CRED_MAX_GROUPS && io->err == 0)
		io->err = -EBADMSG;
	for (uint32_t i = 0; io->err == 0 && i < n; i++) {
		uint32_t group = 0;

		io_u32(io, &group);
		groups[i] = group;
	}
	if (io->err)
		return NULL;
	cred = cred_get(uid, gid, groups, n);
	if (!cred)
		io->err = -ENOMEM;
	return cred;
}

static void io_cred(struct io *io, const struct cred **cred)
{
	bool present = *cred != NULL;

	io_bool(io, &present);
	if (io->decoding)
		*cred = io->decoded->cred = present ? get_cred(io) : NULL;
	else if (present)
		put_cred(io, *cred);
}

static void io_reclaimers(struct io *io, const struct state_reclaimer **clients, uint32_t *n)
{
	struct state_reclaimer *all, one;

	io_u32(io, n);
	if (!io->decoding) {
		for (uint32_t i = 0; i < *n; i++) {
			one = (*clients)[i];
			io_bytes(io, &one.key);
			io_verifier(io, &one.verifier);
		}
		return;
	}
	/* Each takes some bytes: a damaged count allocates nothing big. */
	if (*n > (io->len - io->at) / (4 + NFS4_VERIFIER_SIZE) && io->err == 0)
		io->err = -EBADMSG;
	if (io->err)
		*n = 0;
	*clients = all = io->decoded->clients = calloc(*n ? *n : 1, sizeof(*all));
	if (!all) {
		io->err = -ENOMEM;
		*n = 0;
	}
	for (uint32_t i = 0; i < *n; i++) {
		io_bytes(io, &all[i].key);
		io_verifier(io, &all[i].verifier);
	}
}

static void io_nodes(struct io *io, const uint32_t **nodes, uint32_t *n)
{
	uint32_t *all, node;

	io_u32(io, n);
	if (!io->decoding) {
		for (uint32_t i = 0; i < *n; i++) {
			node = (*nodes)[i];
			io_u32(io, &node);
		}
		return;
	}
	if (*n > (io->len - io->at) / 4 && io->err == 0)
		io->err = -EBADMSG;
	if (io->err)
		*n = 0;
	*nodes = all = io->decoded->nodes = calloc(*n ? *n : 1, sizeof(*all));
	if (!all) {
		io->err = -ENOMEM;
		*n = 0;
	}
	for (uint32_t i = 0; i < *n; i++)
		io_u32(io, &all[i]);
}

/* --------------------------------------------------------------- the commands ---- */

static void io_setclientid(struct io *io, struct state_command *c)
{
	struct callback_target *cb = &c->setclientid.callback;

	io_bytes(io, &c->setclientid.owner);
	io_verifier(io, &c->setclientid.verifier);
	io_u32(io, &cb->program);
	io_u32(io, &cb->ident);
	io_bytes(io, &cb->netid);
	io_bytes(io, &cb->addr);
	io_verifier(io, &c->setclientid.confirm);
}

static void io_exchange_id(struct io *io, struct state_command *c)
{
	io_bytes(io, &c->exchange_id.owner);
	io_verifier(io, &c->exchange_id.verifier);
	io_u32(io, &c->exchange_id.flags);
	io_u32(io, &c->exchange_id.state_protect);
	io_bytes(io, &c->exchange_id.impl_name);
}

static void io_create_session(struct io *io, struct state_command *c)
{
	io_u32(io, &c->create_session.sequence);
	io_u32(io, &c->create_session.flags);
	io_channel(io, &c->create_session.fore);
	io_channel(io, &c->create_session.back);
	io_u32(io, &c->create_session.cb_program);
	io_u32(io, &c->create_session.cb_uid);
	io_u32(io, &c->create_session.cb_gid);
	io_u32(io, &c->create_session.cb_flavor);
	io_fixed(io, c->create_session.random, sizeof(c->create_session.random));
}

static void io_backchannel_ctl(struct io *io, struct state_command *c)
{
	io_session(io, &c->backchannel_ctl.session);
	io_u32(io, &c->backchannel_ctl.cb_program);
	io_u32(io, &c->backchannel_ctl.cb_uid);
	io_u32(io, &c->backchannel_ctl.cb_gid);
	io_u32(io, &c->backchannel_ctl.cb_flavor);
}

static void io_open(struct io *io, struct state_command *c)
{
	io_bytes(io, &c->open.owner);
	io_bytes(io, &c->open.file);
	io_u32(io, &c->open.access);
	io_u32(io, &c->open.deny);
	io_u32(io, &c->open.claim);
	io_bool(io, &c->open.truncates);
	io_cred(io, &c->open.cred);
	io_u32(io, &c->open.delegate);
	io_bytes(io, &c->open.fh);
	io_u64(io, &c->open.change);
	io_bool(io, &c->open.times);
	io_bool(io, &c->open.directory);
	io_bool(io, &c->open.xor_delegation);
	io_request(io, &c->open.request);
	io_stateid(io, &c->open.deleg_stateid);
}

static void io_open_downgrade(struct io *io, struct state_command *c)
{
	io_stateid(io, &c->open_downgrade.stateid);
	io_bytes(io, &c->open_downgrade.file);
	io_u32(io, &c->open_downgrade.access);
	io_u32(io, &c->open_downgrade.deny);
}

static void io_refusal(struct io *io, struct state_command *c)
{
	uint32_t status = c->lock.refuse, type = c->lock.refuse_type;

	io_u32(io, &status);
	c->lock.refuse = (enum nfsstat4)status;
	if (status == NFS4_OK)
		return;
	io_bool(io, &c->lock.refuse_over_limit);
	io_u32(io, &type);
	c->lock.refuse_type = (enum nfs_lock_type4)type;
	io_range(io, &c->lock.refuse_range);
	io_bytes(io, &c->lock.refuse_owner);
}

static void io_lock(struct io *io, struct state_command *c)
{
	uint32_t type = c->lock.type;

	io_bytes(io, &c->lock.file);
	io_u32(io, &type);
	c->lock.type = (enum nfs_lock_type4)type;
	io_range(io, &c->lock.range);
	io_bool(io, &c->lock.reclaim);
	io_bool(io, &c->lock.new_owner);
	io_stateid(io, &c->lock.stateid);
	io_bytes(io, &c->lock.owner);
	io_u32(io, &c->lock.lock_seqid);
	io_bool(io, &c->lock.local);
	io_refusal(io, c);
}

static void io_unlock(struct io *io, struct state_command *c)
{
	io_bytes(io, &c->unlock.file);
	io_stateid(io, &c->unlock.stateid);
	io_range(io, &c->unlock.range);
}

static void io_owner_advance(struct io *io, struct state_command *c)
{
	io_bool(io, &c->owner_advance.lock_owner);
	io_bytes(io, &c->owner_advance.owner);
	io_u32(io, &c->owner_advance.seqid);
	io_bytes(io, &c->owner_advance.reply);
	io_bytes(io, &c->owner_advance.fh);
}

static void io_slot_reply(struct io *io, struct state_command *c)
{
	io_session(io, &c->slot_reply.session);
	io_u32(io, &c->slot_reply.slot);
	io_u32(io, &c->slot_reply.seqid);
	io_u64(io, &c->slot_reply.request_hash);
	io_begun(io, &c->slot_reply.begun);
	io_bytes(io, &c->slot_reply.reply);
}

static void io_start_grace(struct io *io, struct state_command *c)
{
	io_reclaimers(io, &c->start_grace.clients, &c->start_grace.n);
	io_bool(io, &c->start_grace.anybody);
	io_bool(io, &c->start_grace.more_to_come);
	for (unsigned i = 0; i < ARRAY_SIZE(c->start_grace.generation); i++)
		io_u64(io, &c->start_grace.generation[i]);
	io_bool(io, &c->start_grace.complete);
}

static void io_arguments(struct io *io, struct state_command *c)
{
	switch (c->type) {
	case CMD_SETCLIENTID:
		io_setclientid(io, c);
		break;
	case CMD_SETCLIENTID_CONFIRM:
		io_verifier(io, &c->setclientid_confirm.confirm);
		break;
	case CMD_EXCHANGE_ID:
		io_exchange_id(io, c);
		break;
	case CMD_CREATE_SESSION:
		io_create_session(io, c);
		break;
	case CMD_DESTROY_SESSION:
		io_session(io, &c->destroy_session.session);
		break;
	case CMD_BACKCHANNEL_CTL:
		io_backchannel_ctl(io, c);
		break;
	case CMD_RECLAIM_COMPLETE:
		io_bool(io, &c->reclaim_complete.one_fs);
		break;
	case CMD_EXPIRE_CLIENT:
		io_u32(io, &c->expire_client.adoptions);
		break;
	case CMD_OPEN:
	case CMD_DELEGATE:
		io_open(io, c);
		break;
	case CMD_OPEN_CONFIRM:
	case CMD_OPEN_DOWNGRADE:
	case CMD_CLOSE:
		io_open_downgrade(io, c);
		break;
	case CMD_LOCK:
		io_lock(io, c);
		break;
	case CMD_UNLOCK:
		io_unlock(io, c);
		break;
	case CMD_RELEASE_LOCKOWNER:
		io_bytes(io, &c->release_lockowner.owner);
		break;
	case CMD_FREE_STATEID:
		io_stateid(io, &c->free_stateid.stateid);
		break;
	case CMD_OWNER_ADVANCE:
		io_owner_advance(io, c);
		break;
	case CMD_RECALL:
		io_bytes(io, &c->recall.file);
		io_bool(io, &c->recall.changes);
		break;
	case CMD_DELEG_RETURN:
		io_stateid(io, &c->deleg_return.stateid);
		io_bytes(io, &c->deleg_return.file);
		break;
	case CMD_REVOKE:
		io_stateid(io, &c->revoke.stateid);
		break;
	case CMD_START_GRACE:
		io_start_grace(io, c);
		break;
	case CMD_MEMBERS:
		io_nodes(io, &c->members.nodes, &c->members.n);
		break;
	case CMD_SILENT:
		io_u32(io, &c->silent.adoptions);
		break;
	case CMD_SLOT_REPLY:
		io_slot_reply(io, c);
		break;
	case CMD_BACK_ANSWERED:
		io_session(io, &c->back_answered.session);
		io_u32(io, &c->back_answered.slot);
		io_u32(io, &c->back_answered.seqid);
		break;
	case CMD_REPLY_KEPT:
		io_bytes(io, &c->reply_kept.key);
		io_begun(io, &c->reply_kept.begun);
		io_bytes(io, &c->reply_kept.reply);
		break;
	case CMD_GRANT_SEEN:
		io_stateid(io, &c->grant_seen.stateid);
		io_bool(io, &c->grant_seen.contended);
		break;
	case CMD_DESTROY_CLIENTID:
	case CMD_END_GRACE:
	case CMD_ADOPT:
		break;
	case CMD_COUNT:
		io->err = -EBADMSG;
		break;
	}
}

static void io_command(struct io *io, struct state_command *c)
{
	uint32_t type = c->type;

	io_u32(io, &type);
	if (type >= CMD_COUNT && io->err == 0)
		io->err = -EBADMSG;
	if (io->err)
		return;
	c->type = (enum state_command_type)type;
	io_u32(io, &c->minor);
	io_u64(io, &c->clientid);
	io_bool(io, &c->maybe_retry);
	io_bool(io, &c->sequenced);
	if (c->sequenced)
		io_u32(io, &c->owner_seqid);
	io_bytes(io, &c->principal);
	io_arguments(io, c);
}

int command_encode(const struct state_command *cmd, uint8_t **out, size_t *len)
{
	struct state_command copy = *cmd; /* visited, and written back what it was */
	struct io io = { .decoding = false };

	io_command(&io, &copy);
	if (io.err) {
		free(io.out);
		return io.err;
	}
	*out = io.out;
	*len = io.len;
	return 0;
}

int command_decode(const uint8_t *p, size_t len, struct command_decoded *out)
{
	struct io io = { .decoding = true, .in = p, .len = len, .decoded = out };

	*out = (struct command_decoded){ 0 };
	io_command(&io, &out->cmd);
	if (io.err == 0 && io.at != io.len)
		io.err = -EBADMSG;
	if (io.err)
		command_decoded_free(out);
	return io.err;
}

void command_decoded_free(struct command_decoded *d)
{
	free(d->clients);
	free(d->nodes);
	cred_unref(d->cred);
	*d = (struct command_decoded){ 0 };
}

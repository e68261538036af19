#include "test_state_fixture.h"

#include <stdlib.h>

#include "base/clock.h"
#include "nfsd/state/command_io.h"
#include "nfsd/state/snapshot.h"
#include "nfsd/state/state_private.h"

int files_live;

/* The backends' half of struct file: here it is memory that is counted. */
void file_unref(struct file *file)
{
	if (!file || atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	__atomic_fetch_sub(&files_live, 1, __ATOMIC_RELAXED);
	free(file);
}

struct file *make_file(unsigned access)
{
	struct file *file = calloc(1, sizeof(*file));

	assert_non_null(file);
	file->access = access;
	file->refs = 1;
	__atomic_fetch_add(&files_live, 1, __ATOMIC_RELAXED);
	return file;
}

static uint64_t fixture_now(void *arg)
{
	return ((struct fixture *)arg)->now_ns;
}

void fixture_init(struct fixture *f, void (*change)(struct state_config *c))
{
	struct state_config config;

	memset(f, 0, sizeof(*f));
	f->now_ns = 1000 * NS_PER_SEC;
	f->lock_seqid = 1;
	state_config_default(&config);
	config.epoch = EPOCH;
	config.lease_seconds = LEASE;
	config.now_ns = fixture_now;
	config.now_arg = f;
	if (change)
		change(&config);
	assert_int_equal(state_new(&config, &f->s), 0);
	f->config = config;
}

/* One place in the order: the same state, also at a node that joins there. */
static void compare_twin(struct fixture *f)
{
	uint64_t here, there, joined;
	struct state *third;
	uint8_t *bytes;
	size_t len;

	assert_int_equal(state_digest(f->s, &here), 0);
	assert_int_equal(state_digest(f->twin, &there), 0);
	assert_true(here == there);
	assert_int_equal(state_replicate(f->twin, &bytes, &len), 0);
	assert_int_equal(state_new(&f->config, &third), 0);
	assert_int_equal(state_restore(third, bytes, len), 0);
	free(bytes);
	assert_int_equal(state_digest(third, &joined), 0);
	assert_true(here == joined);
	/* It goes on in place of the other. */
	state_free(f->twin);
	f->twin = third;
}

void fixture_end(struct fixture *f)
{
	if (f->twin)
		compare_twin(f);
	state_free(f->s);
	state_free(f->twin);
	assert_int_equal(files_live, 0);
}

int fixture_setup(void **state)
{
	*state = malloc(sizeof(struct fixture));
	if (!*state)
		return -1;
	fixture_init(*state, NULL);
	return 0;
}

int fixture_teardown(void **state)
{
	fixture_end(*state);
	free(*state);
	return 0;
}

void fixture_forget_effects(struct fixture *f)
{
	f->nfreed = f->nsessions_gone = f->nclients_gone = 0;
	f->nrecalls = f->nmoved = f->nkept = 0;
	f->nrecords = f->nforgotten = f->ngraces_ended = 0;
}

void pass_seconds(struct fixture *f, unsigned seconds)
{
	f->now_ns += seconds * NS_PER_SEC;
}

static void note_effect(void *arg, const struct state_effect *e)
{
	struct fixture *f = arg;

	switch (e->type) {
	case EFFECT_LOCK_FREED:
		assert_true(e->file.len < sizeof(f->freed[0]));
		if (f->nfreed < MAX_EFFECTS) {
			memcpy(f->freed[f->nfreed], e->file.p, e->file.len);
			f->freed[f->nfreed][e->file.len] = 0;
		}
		f->nfreed++;
		break;
	case EFFECT_RECALL:
		f->nrecalls++;
		f->recalled_client = e->clientid;
		f->recalled = e->stateid;
		assert_int_equal(e->fh.len, 2);
		assert_memory_equal(e->fh.p, "fh", 2);
		break;
	case EFFECT_SESSION_GONE:
		f->nsessions_gone++;
		break;
	case EFFECT_CLIENT_GONE:
		f->nclients_gone++;
		break;
	case EFFECT_CLIENT_RECORD:
		f->nrecords++;
		break;
	case EFFECT_CLIENT_FORGET:
		assert_true(e->key.len != 0);
		f->nforgotten++;
		/* With the client's lock held: state_get_counts() must not be asked. */
		f->delegs_when_forgotten = f->s->ndelegs;
		break;
	case EFFECT_LOCKS_GONE:
		assert_non_null(e->attachment);
		e->attachment->refs--;
		break;
	case EFFECT_GRACE_ENDED:
		f->ngraces_ended++;
		break;
	case EFFECT_CLIENT_MOVED:
		f->nmoved++;
		break;
	case EFFECT_REPLY_KEPT:
		f->nkept++;
		break;
	case EFFECT_GRANTED:
	case EFFECT_GRANT_SEEN:
		break;
	}
}

/* As at another node: the command comes as bytes. */
static void run_twin(struct fixture *f, const struct state_command *cmd)
{
	struct command_decoded decoded;
	struct state_result result;
	uint8_t *bytes;
	size_t len;

	assert_int_equal(command_encode(cmd, &bytes, &len), 0);
	assert_int_equal(command_decode(bytes, len, &decoded), 0);
	decoded.cmd.node = cmd->node;
	memset(&result, 0xa5, sizeof(result));
	state_apply(f->twin, &decoded.cmd, &result, NULL);
	command_decoded_free(&decoded);
	free(bytes);
	assert_memory_equal(&result, &f->r, sizeof(result));
	if (++f->ncommands % 1000 == 0)
		compare_twin(f);
}

enum nfsstat4 run(struct fixture *f, const struct state_command *cmd)
{
	struct state_effects effects = { note_effect, f };

	memset(&f->r, 0xa5, sizeof(f->r));
	state_apply(f->s, cmd, &f->r, &effects);
	if (f->twin)
		run_twin(f, cmd);
	return f->r.status;
}

struct bytes text(const char *t)
{
	return (struct bytes){ (const uint8_t *)t, (uint32_t)strlen(t) };
}

/* Each letter stands for a principal of one byte. */
static struct bytes principal_of(char letter)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	return (struct bytes){ (const uint8_t *)letters + (letter - 'A'), 1 };
}

static struct nfs_verifier verifier_of(char letter)
{
	struct nfs_verifier v;

	memset(&v, letter, sizeof(v));
	return v;
}

enum nfsstat4 setclientid(struct fixture *f, const char *owner, char verifier, char principal)
{
	static char confirm;
	struct state_command cmd = {
		.type = CMD_SETCLIENTID,
		.principal = principal_of(principal),
		.setclientid = { .owner = text(owner),
				 .verifier = verifier_of(verifier),
				 .callback = { .program = 0x40000000,
					       .netid = text("tcp"),
					       .addr = text("127.0.0.1.3.4") },
				 .confirm = verifier_of(++confirm) },
	};

	return run(f, &cmd);
}

enum nfsstat4 setclientid_confirm(struct fixture *f, uint64_t clientid, struct nfs_verifier confirm,
				  char principal)
{
	return run(f, &(struct state_command){ .type = CMD_SETCLIENTID_CONFIRM,
					       .clientid = clientid,
					       .principal = principal_of(principal),
					       .setclientid_confirm.confirm = confirm });
}

uint64_t client_v40(struct fixture *f, const char *owner)
{
	uint64_t id;

	assert_ok(setclientid(f, owner, 'v', 'A'));
	id = f->r.setclientid.clientid;
	assert_ok(setclientid_confirm(f, id, f->r.setclientid.confirm, 'A'));
	return id;
}

enum nfsstat4 exchange_id(struct fixture *f, const char *owner, char verifier, char principal,
			  uint32_t flags)
{
	return run(f, &(struct state_command){ .type = CMD_EXCHANGE_ID,
					       .minor = 1,
					       .principal = principal_of(principal),
					       .exchange_id = { .owner = text(owner),
								.verifier = verifier_of(verifier),
								.flags = flags } });
}

struct state_command create_session_cmd(uint64_t clientid, uint32_t sequence, char principal)
{
	static _Atomic uint32_t random;
	uint32_t mine = ++random;
	struct state_command cmd = {
		.type = CMD_CREATE_SESSION,
		.minor = 1,
		.clientid = clientid,
		.principal = principal_of(principal),
		.create_session = { .sequence = sequence,
				    .fore = { .max_request = 1 << 20,
					      .max_response = 1 << 20,
					      .max_response_cached = 2048,
					      .max_ops = 16,
					      .max_slots = 32 },
				    .back = { .max_request = 4096,
					      .max_response = 4096,
					      .max_ops = 2,
					      .max_slots = 4 } },
	};

	memcpy(cmd.create_session.random, &mine, sizeof(mine));
	return cmd;
}

enum nfsstat4 create_session(struct fixture *f, uint64_t clientid, uint32_t sequence,
			     char principal)
{
	struct state_command cmd = create_session_cmd(clientid, sequence, principal);

	return run(f, &cmd);
}

uint64_t client_v41(struct fixture *f, const char *owner, struct sessionid *session)
{
	uint64_t id;

	assert_ok(exchange_id(f, owner, 'v', 'A', 0));
	id = f->r.exchange_id.clientid;
	assert_ok(create_session(f, id, f->r.exchange_id.sequence, 'A'));
	if (session)
		*session = f->r.create_session.session;
	assert_ok(on_client(f, CMD_RECLAIM_COMPLETE, id));
	return id;
}

enum nfsstat4 on_client(struct fixture *f, enum state_command_type type, uint64_t clientid)
{
	struct state_command cmd = { .type = type, .clientid = clientid };

	/* As somebody who has judged it just now. */
	if (type == CMD_EXPIRE_CLIENT)
		(void)!state_judge(f->s, clientid, &cmd);
	cmd.minor = 1;
	return run(f, &cmd);
}

enum nfsstat4 do_open(struct fixture *f, uint32_t minor, uint64_t clientid, const char *owner,
		      const char *file, uint32_t access, uint32_t deny)
{
	return run(f, &(struct state_command){ .type = CMD_OPEN,
					       .minor = minor,
					       .clientid = clientid,
					       .principal = principal_of('A'),
					       .open = { .owner = text(owner),
							 .file = text(file),
							 .access = access,
							 .deny = deny } });
}

enum nfsstat4 on_open(struct fixture *f, enum state_command_type type, uint32_t minor,
		      uint64_t clientid, struct stateid id, const char *file, uint32_t access,
		      uint32_t deny)
{
	return run(f, &(struct state_command){ .type = type,
					       .minor = minor,
					       .clientid = clientid,
					       .open_downgrade = { .stateid = id,
								   .file = text(file),
								   .access = access,
								   .deny = deny } });
}

struct stateid open_v40(struct fixture *f, uint64_t clientid, const char *owner, const char *file,
			uint32_t access, uint32_t deny)
{
	struct stateid id;

	assert_ok(do_open(f, 0, clientid, owner, file, access, deny));
	id = f->r.open.stateid;
	if (!f->r.open.needs_confirm)
		return id;
	assert_ok(on_open(f, CMD_OPEN_CONFIRM, 0, 0, id, file, 0, 0));
	return f->r.stateid;
}

struct stateid open_v41(struct fixture *f, uint64_t clientid, const char *owner, const char *file,
			uint32_t access, uint32_t deny)
{
	assert_ok(do_open(f, 1, clientid, owner, file, access, deny));
	return f->r.open.stateid;
}

enum nfsstat4 lock_new(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid open,
		       const char *owner, const char *file, enum nfs_lock_type4 type,
		       uint64_t offset, uint64_t length)
{
	return run(f, &(struct state_command){ .type = CMD_LOCK,
					       .minor = minor,
					       .clientid = clientid,
					       .lock = { .file = text(file),
							 .type = type,
							 .range = { offset, length },
							 .new_owner = true,
							 .stateid = open,
							 .owner = text(owner),
							 .lock_seqid = f->lock_seqid } });
}

enum nfsstat4 lock_more(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id,
			const char *file, enum nfs_lock_type4 type, uint64_t offset,
			uint64_t length)
{
	return run(f, &(struct state_command){ .type = CMD_LOCK,
					       .minor = minor,
					       .clientid = clientid,
					       .lock = { .file = text(file),
							 .type = type,
							 .range = { offset, length },
							 .stateid = id } });
}

enum nfsstat4 unlock(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id,
		     const char *file, uint64_t offset, uint64_t length)
{
	return run(f, &(struct state_command){ .type = CMD_UNLOCK,
					       .minor = minor,
					       .clientid = clientid,
					       .unlock = { .file = text(file),
							   .stateid = id,
							   .range = { offset, length } } });
}

enum nfsstat4 release_lockowner(struct fixture *f, uint64_t clientid, const char *owner)
{
	return run(f, &(struct state_command){ .type = CMD_RELEASE_LOCKOWNER,
					       .clientid = clientid,
					       .release_lockowner.owner = text(owner) });
}

enum nfsstat4 free_stateid(struct fixture *f, uint64_t clientid, struct stateid id)
{
	return run(f, &(struct state_command){ .type = CMD_FREE_STATEID,
					       .minor = 1,
					       .clientid = clientid,
					       .free_stateid.stateid = id });
}

enum nfsstat4 lockt(struct fixture *f, uint64_t clientid, const char *owner, const char *file,
		    enum nfs_lock_type4 type, uint64_t offset, uint64_t length)
{
	return state_lockt(f->s, clientid, text(owner), text(file), type,
			   (struct lock_range){ offset, length }, &f->r.denied);
}

enum nfsstat4 use(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id,
		  const char *file, unsigned access)
{
	struct file *out = NULL;
	enum nfsstat4 status;

	status = state_use_stateid(f->s, minor, clientid, &id, text(file), access, &out,
				   &f->r.conflict_client);
	file_unref(out);
	return status;
}

struct state_counts counts(struct fixture *f)
{
	struct state_counts c;

	state_get_counts(f->s, &c);
	return c;
}

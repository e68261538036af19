/*
 * Byte-range locks on the files themselves; see local_locks.h.
 *
 * A locker is what a lock-owner of a client has locked in one file: an open file description, to
 * which the kernel counts its locks. It is found by (client, owner, file), and from a lock
 * stateid directly, because it is attached to it. The state machine has the truth; what is on
 * the file follows it, in this order:
 *
 *	LOCK	the file, then the state. What is in the way on the file becomes part of the command
 *		(lock.refuse), so that a request is judged by the same rules, in the same order and with
 *		the same sequence ids, whoever refuses it. If the state refuses, the file gets back
 *		what it had. That can only weaken what is locked, and so never fails; hence a lock is never
 *		made weaker before the state has it so.
 *	LOCKU	the state, then the file.
 *	the rest (CLOSE, a client that goes...)  the state; EFFECT_LOCKS_GONE brings the locker, which
 *		closes its file with the last reference, or else is made to follow.
 *
 * Only the client's home node has its locks on files: when it moves, they are dropped at the one and
 * taken at the other.
 *
 * Invariant: outside the ranges of the operations in `ops` that have `taken` theirs, what a locker
 * has on the file is at least what its owner has in the state; and exactly that when nobody is at
 * work. sync() makes a range follow the state, under the locker's lock, and leaves those ranges
 * alone: each of these operations sees to its own when it ends. An operation that nobody disturbed
 * knows what the truth is without looking; that is the fast path: one fcntl() for LOCK, one for
 * LOCKU. Two LOCKs of one owner on overlapping ranges at once: the second is told to wait (DELAY).
 *
 * Descriptors: a locker has its file open, pinned while it has locks (the backend may park it
 * otherwise). Of those that have, there are at most an eighth of RLIMIT_NOFILE; beyond that a LOCK
 * is answered as at any other limit, and clients that are silent for longer than their lease go.
 *
 * Locks, in this order: locker.lock; the state machine's; a stripe of the table; local_locks.lock.
 * A reference is an attached lock stateid's, a local_op's, a waiter's, or the list `behind`.
 */
#include "nfsd/local_locks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "nfsd/chores.h"
#include "nfsd/ops.h"
#include "nfsd/state/table.h"

#define SPANS	   16 /* read from the state at once */
#define TRIES_MOST 4
#define LOCKER_MAX (NFS4_OPAQUE_LIMIT + STATE_FILE_KEY_MAX)

struct local_locks {
	uint32_t most; /* immutable */
	_Atomic uint32_t holding;
	_Atomic bool complained; /* a file system has no locks */
	struct stripe table[STRIPES];

	struct mutex lock;
	struct list behind; /* under lock: what is on the file is less than it should be */
};

struct locker {
	struct lock_attachment base;
	struct table_node by_key; /* under the stripe */

	/* Immutable. */
	struct nfs_server *server;
	uint64_t clientid;
	struct bytes owner, file_key; /* in bytes[] */

	struct list in_behind; /* under local_locks.lock */

	struct mutex lock; /* guards the rest */
	struct file *file; /* a reference; NULL: not opened yet */
	bool holds;	   /* counted in local_locks.holding: there may be locks on the file... */
	bool exclusive;	   /* ...even exclusive ones */
	bool is_behind, complained;
	struct list ops; /* struct local_op at work */
	uint8_t bytes[];
};

struct local_locks *local_locks_new(void)
{
	struct local_locks *ll = calloc(1, sizeof(*ll));
	struct rlimit rl;

	if (!ll)
		return NULL;
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0 || rl.rlim_cur > UINT32_MAX)
		rl.rlim_cur = UINT32_MAX;
	ll->most = (uint32_t)rl.rlim_cur / 8;
	if (ll->most == 0)
		ll->most = 1;
	stripes_init(ll->table);
	mutex_init(&ll->lock);
	list_init(&ll->behind);
	return ll;
}

/* ---- lockers ---- */

static void locker_free(struct locker *l)
{
	if (l->holds)
		l->server->local_locks->holding--;
	file_unref(l->file);
	mutex_destroy(&l->lock);
	free(l);
}

/* Whoever still has references is gone or going, too. */
void local_locks_free(struct local_locks *ll)
{
	struct table_node *n;

	if (!ll)
		return;
	for (unsigned i = 0; i < STRIPES; i++) {
		struct stripe *stripe = &ll->table[i];

		mutex_lock(&stripe->lock);
		while ((n = table_any(&stripe->table))) {
			table_remove(&stripe->table, n);
			locker_free(container_of(n, struct locker, by_key));
		}
		mutex_unlock(&stripe->lock);
	}
	stripes_destroy(ll->table);
	mutex_destroy(&ll->lock);
	free(ll);
}

static uint64_t locker_hash(uint64_t clientid, struct bytes owner, struct bytes file)
{
	return hash_u64(clientid ^ hash_bytes(owner.p, owner.len)) ^
	       hash_bytes(file.p, file.len);
}

static void locker_ref(struct locker *l)
{
	atomic_fetch_add_explicit(&l->base.refs, 1, memory_order_relaxed);
}

/* With a reference; NULL: there is none. */
static struct locker *find_in(struct stripe *stripe, uint64_t hash, uint64_t clientid,
			      struct bytes owner, struct bytes file) REQUIRES(&stripe->lock)
{
	struct table_node *n;

	table_for_each(n, &stripe->table, hash)
	{
		struct locker *l = container_of(n, struct locker, by_key);

		if (l->clientid == clientid && l->owner.len == owner.len &&
		    l->file_key.len == file.len && memcmp(l->owner.p, owner.p, owner.len) == 0 &&
		    memcmp(l->file_key.p, file.p, file.len) == 0) {
			locker_ref(l);
			return l;
		}
	}
	return NULL;
}

static struct locker *locker_find(struct nfs_server *s, uint64_t clientid, struct bytes owner,
				  struct bytes file)
{
	uint64_t hash = locker_hash(clientid, owner, file);
	struct stripe *stripe = stripe_of(s->local_locks->table, hash);
	struct locker *l;

	mutex_lock(&stripe->lock);
	l = find_in(stripe, hash, clientid, owner, file);
	mutex_unlock(&stripe->lock);
	return l;
}

static struct locker *locker_new(struct nfs_server *s, uint64_t clientid, struct bytes owner,
				 struct bytes file)
{
	struct locker *l = calloc(1, sizeof(*l) + owner.len + file.len);

	if (!l)
		return NULL;
	l->base.refs = 1;
	l->server = s;
	l->clientid = clientid;
	memcpy(l->bytes, owner.p, owner.len);
	memcpy(l->bytes + owner.len, file.p, file.len);
	l->owner = (struct bytes){ l->bytes, owner.len };
	l->file_key = (struct bytes){ l->bytes + owner.len, file.len };
	list_init(&l->in_behind);
	list_init(&l->ops);
	mutex_init(&l->lock);
	return l;
}

/* With a reference, made if need be. NULL: out of memory. */
static struct locker *locker_get(struct nfs_server *s, uint64_t clientid, struct bytes owner,
				 struct bytes file)
{
	uint64_t hash = locker_hash(clientid, owner, file);
	struct stripe *stripe = stripe_of(s->local_locks->table, hash);
	struct locker *l;

	if (owner.len + file.len > LOCKER_MAX)
		return NULL;
	mutex_lock(&stripe->lock);
	l = find_in(stripe, hash, clientid, owner, file);
	if (!l) {
		l = locker_new(s, clientid, owner, file);
		if (l)
			table_insert(&stripe->table, &l->by_key, hash);
	}
	mutex_unlock(&stripe->lock);
	return l;
}

/* The last reference is given back under the stripe, so that nobody finds it then. */
void locker_unref(struct locker *l)
{
	uint32_t refs;
	struct stripe *stripe;

	if (!l)
		return;
	refs = atomic_load(&l->base.refs);
	while (refs > 1) {
		if (atomic_compare_exchange_weak(&l->base.refs, &refs, refs - 1))
			return;
	}
	stripe = stripe_of(l->server->local_locks->table, l->by_key.hash);
	mutex_lock(&stripe->lock);
	refs = atomic_fetch_sub(&l->base.refs, 1);
	if (refs == 1)
		table_remove(&stripe->table, &l->by_key);
	mutex_unlock(&stripe->lock);
	if (refs == 1)
		locker_free(l);
}

/* Gives it back if it is the last reference; false: there are others. */
static bool locker_unref_last(struct locker *l)
{
	struct stripe *stripe = stripe_of(l->server->local_locks->table, l->by_key.hash);
	bool last;

	mutex_lock(&stripe->lock);
	last = l->base.refs == 1;
	if (last)
		table_remove(&stripe->table, &l->by_key);
	mutex_unlock(&stripe->lock);
	if (last)
		locker_free(l);
	return last;
}

/* ---- the file ---- */

static const struct backend *backend_of(const struct locker *l)
{
	return l->file->object->backend;
}

static int set_lock(struct locker *l, enum file_lock_kind kind, uint64_t first, uint64_t last,
		    struct file_lock *holder) REQUIRES(&l->lock)
{
	struct file_lock want = { .kind = kind, .first = first, .last = last };

	return backend_of(l)->lock(l->file, &want, holder);
}

/* Nothing of its owner is locked any more: the file need not stay open. */
static void let_go(struct locker *l) REQUIRES(&l->lock)
{
	if (!l->holds)
		return;
	(void)!set_lock(l, FILE_UNLOCKED, 0, UINT64_MAX, NULL);
	l->holds = l->exclusive = false;
	l->server->local_locks->holding--;
}

/* False: too many have locks. */
static bool hold(struct locker *l, bool whatever) REQUIRES(&l->lock)
{
	struct local_locks *ll = l->server->local_locks;

	if (l->holds)
		return true;
	if (ll->holding++ >= ll->most && !whatever) {
		ll->holding--;
		return false;
	}
	l->holds = true;
	return true;
}

static void fall_behind(struct locker *l, int err) REQUIRES(&l->lock)
{
	struct local_locks *ll = l->server->local_locks;

	if (!l->complained)
		log_error("client %016llx: a byte-range lock that it holds is not on the file "
			  "(%s): a process on this machine may have it, too. Trying again",
			  (unsigned long long)l->clientid, strerror(-err));
	l->is_behind = l->complained = true;
	mutex_lock(&ll->lock);
	if (list_empty(&l->in_behind)) {
		list_push_back(&ll->behind, &l->in_behind);
		locker_ref(l);
	}
	mutex_unlock(&ll->lock);
}

/*
 * Makes the file follow `spans`, which are all that the owner has between `first` and `last`, but
 * leaves alone what others than `self` have taken.
 */
static void follow_part(struct locker *l, const struct local_op *self, uint64_t first,
			uint64_t last, const struct state_span *spans, size_t n) REQUIRES(&l->lock)
{
	size_t i = 0;

	for (;;) {
		enum file_lock_kind kind = FILE_UNLOCKED;
		uint64_t end = last;
		bool leave = false;
		const struct local_op *op;
		int err;

		while (i < n && spans[i].last < first)
			i++;
		if (i < n && spans[i].first <= first) {
			kind = spans[i].exclusive ? FILE_EXCLUSIVE : FILE_SHARED;
			end = spans[i].last < end ? spans[i].last : end;
		} else if (i < n && spans[i].first <= end) {
			end = spans[i].first - 1;
		}
		list_for_each (op, &l->ops, in_locker) {
			if (op == self || !op->taken || op->last < first || op->first > end)
				continue;
			leave |= op->first <= first;
			if (op->first > first)
				end = op->first - 1;
			else if (op->last < end)
				end = op->last;
		}
		err = leave ? 0 : set_lock(l, kind, first, end, NULL);
		if (err && kind != FILE_UNLOCKED)
			fall_behind(l, err);
		if (end >= last)
			break;
		first = end + 1;
	}
}

/* Makes the file follow the state from `first` to `last`. */
static void sync_range(struct locker *l, const struct local_op *self, uint64_t first, uint64_t last)
    REQUIRES(&l->lock)
{
	struct state *s = l->server->state;
	struct state_span spans[SPANS];
	const struct local_op *op;
	bool others = false;
	size_t n;

	if (!l->file)
		return;
	for (uint64_t from = first;;) {
		uint64_t to = last;

		n = state_lock_spans(s, l->clientid, l->owner, l->file_key, from, last, spans,
				     SPANS);
		if (n == SPANS && spans[n - 1].last < last)
			to = spans[n - 1].last;
		follow_part(l, self, from, to, spans, n);
		if (to >= last)
			break;
		from = to + 1;
	}
	list_for_each (op, &l->ops, in_locker)
		others |= op != self && op->taken;
	if (!others && state_lock_spans(s, l->clientid, l->owner, l->file_key, 0, UINT64_MAX,
					spans, 1) == 0)
		let_go(l);
}

/*
 * `fresh`, open for writing, too, takes the place of a file open for reading. All that is locked
 * there is shared, and so can be locked twice for the moment.
 */
static int move_locks(struct locker *l, struct file *fresh) REQUIRES(&l->lock)
{
	struct state_span spans[SPANS];
	const struct local_op *op;
	size_t n = SPANS;
	int err = 0;

	for (uint64_t from = 0; err == 0 && n == SPANS;) {
		n = state_lock_spans(l->server->state, l->clientid, l->owner, l->file_key, from,
				     UINT64_MAX, spans, SPANS);
		for (size_t i = 0; i < n && err == 0; i++) {
			struct file_lock want = { FILE_SHARED, spans[i].first, spans[i].last, 0 };

			err = backend_of(l)->lock(fresh, &want, NULL);
		}
		if (n == 0 || spans[n - 1].last == UINT64_MAX)
			break;
		from = spans[n - 1].last + 1;
	}
	list_for_each (op, &l->ops, in_locker) {
		struct file_lock want = { FILE_SHARED, op->first, op->last, 0 };

		if (err == 0 && op->taken)
			err = backend_of(l)->lock(fresh, &want, NULL);
	}
	return err;
}

/* Opening says EAGAIN where somebody's lease on the file must be broken first: no lock's conflict. */
static int not_again(int err)
{
	return err == -EAGAIN ? -EBUSY : err;
}

/* 0 or -errno: the file is open for what that kind of lock needs. */
static int open_file(struct locker *l, struct object *obj, const struct cred *cred, bool exclusive)
    REQUIRES(&l->lock)
{
	unsigned access = ACCESS_READ | (exclusive ? ACCESS_WRITE : 0);
	struct file *fresh;
	int err;

	if (l->file && (l->file->access & access) == access)
		return 0;
	err = obj->backend->reopen(obj, cred, access, &fresh);
	if (err)
		return not_again(err);
	if (l->holds)
		err = move_locks(l, fresh);
	if (err) {
		file_unref(fresh);
		return not_again(err);
	}
	file_unref(l->file);
	l->file = fresh;
	return 0;
}

/* ---- LOCK ---- */

static uint64_t last_of(struct lock_range r)
{
	return r.length == NFS4_UINT64_MAX ? UINT64_MAX : r.offset + r.length - 1;
}

static bool is_exclusive(enum nfs_lock_type4 type)
{
	return type == WRITE_LT || type == WRITEW_LT;
}

static bool is_wanted(const struct compound *c)
{
	const struct backend *b = c->current.object->backend;

	return c->current.options->local_locks && b->lock && b->reopen;
}

static uint32_t name_holder(const struct file_lock *holder, char *out, size_t size)
{
	char host[65];
	int n;

	if (gethostname(host, sizeof(host)) != 0)
		snprintf(host, sizeof(host), "the server");
	host[sizeof(host) - 1] = '\0';
	if (holder->pid > 0)
		n = snprintf(out, size, "process %d on %s", (int)holder->pid, host);
	else
		n = snprintf(out, size, "a process on %s", host);
	return n > 0 && (size_t)n < size ? (uint32_t)n : 0;
}

static struct lock_range range_of(const struct file_lock *l)
{
	return (struct lock_range){
		.offset = l->first,
		.length = l->last == UINT64_MAX ? NFS4_UINT64_MAX : l->last - l->first + 1,
	};
}

static void refuse_because_of(struct compound *c, struct state_command *cmd,
			      const struct file_lock *holder)
{
	char *name = arena_alloc(&c->call->arena, 100);

	cmd->lock.refuse = NFS4ERR_DENIED;
	cmd->lock.refuse_type = holder->kind == FILE_EXCLUSIVE ? WRITE_LT : READ_LT;
	cmd->lock.refuse_range = range_of(holder);
	cmd->lock.refuse_owner = (struct bytes){ 0 };
	if (name)
		cmd->lock.refuse_owner =
		    (struct bytes){ (uint8_t *)name, name_holder(holder, name, 100) };
}

static enum nfsstat4 too_many(uint32_t minor)
{
	return minor == 0 ? NFS4ERR_RESOURCE : NFS4ERR_DELAY;
}

/* Of the errors of opening and locking, what LOCK and LOCKT may say. */
static enum nfsstat4 error_status(uint32_t minor, int err)
{
	switch (-err) {
	case EMFILE:
	case ENFILE:
	case ENOLCK:
		return too_many(minor);
	case EACCES:
	case EPERM:
	case EROFS:
		return NFS4ERR_ACCESS;
	case ESTALE:
		return NFS4ERR_STALE;
	case ENOMEM:
	case EBUSY: /* somebody's lease on the file is being broken */
	case ETXTBSY:
	case EINTR:
		return NFS4ERR_DELAY;
	default:
		return NFS4ERR_SERVERFAULT;
	}
}

static bool has_no_locks(int err)
{
	return err == -EOPNOTSUPP || err == -ENOSYS || err == -EINVAL;
}

static void complain(struct local_locks *ll)
{
	if (!atomic_exchange(&ll->complained, true))
		log_warn("a file system has no byte-range locks of its own: processes on this "
			 "machine do not see those of clients there");
}

/* Shared where the owner has no lock yet; what is exclusive must not get weaker. */
static int fill_gaps(struct locker *l, const struct local_op *op, struct file_lock *holder)
    REQUIRES(&l->lock)
{
	struct state_span spans[SPANS];
	uint64_t from = op->first;
	size_t n = SPANS;
	int err = 0;

	while (err == 0 && n == SPANS) {
		n = state_lock_spans(l->server->state, l->clientid, l->owner, l->file_key, from,
				     op->last, spans, SPANS);
		for (size_t i = 0; i < n && err == 0; i++) {
			if (spans[i].first > from)
				err = set_lock(l, FILE_SHARED, from, spans[i].first - 1, holder);
			if (spans[i].last >= op->last)
				return err;
			from = spans[i].last + 1;
		}
	}
	return err ? err : set_lock(l, FILE_SHARED, from, op->last, holder);
}

/* True: another LOCK of the owner on the range is at work. */
static bool begin_op(struct locker *l, struct local_op *op, bool takes) REQUIRES(&l->lock)
{
	struct local_op *other;
	bool busy = false;

	list_for_each (other, &l->ops, in_locker) {
		if (other == op || other->first > op->last || other->last < op->first)
			continue;
		op->disturbed = other->disturbed = true;
		busy |= takes && other->taken;
	}
	if (list_empty(&op->in_locker))
		list_push_back(&l->ops, &op->in_locker);
	return busy;
}

/*
 * What the state will refuse anyway should not be locked on the file, not even for a moment, and the
 * file must not be opened for it. Asked before it is.
 */
static bool has_chances(struct compound *c, const struct state_command *cmd)
{
	unsigned access = is_exclusive(cmd->lock.type) ? ACCESS_WRITE : ACCESS_READ;
	struct state *s = c->server->state;
	struct file *file;
	uint64_t conflict;
	enum nfsstat4 status;

	if (stateid_is_anonymous(&cmd->lock.stateid) || stateid_is_read_bypass(&cmd->lock.stateid))
		return false;
	if (!cmd->lock.reclaim && state_in_grace(s))
		return false;
	status = state_use_stateid(s, c->minor, c->clientid, &cmd->lock.stateid, cmd->lock.file,
				   access, &file, &conflict);
	if (status == NFS4_OK)
		file_unref(file);
	return status == NFS4_OK;
}

/* 0 or -errno; -ECANCELED: the state will refuse. */
static int take(struct compound *c, struct local_op *op, const struct state_command *cmd,
		struct file_lock *holder) REQUIRES(&op->locker->lock)
{
	struct locker *l = op->locker;
	bool upgrade = l->file && op->exclusive && !(l->file->access & ACCESS_WRITE);
	int err;

	if (upgrade && !has_chances(c, cmd))
		return -ECANCELED;
	err = open_file(l, c->current.object, c->current.cred, op->exclusive);
	if (err)
		return err;
	if (!hold(l, false))
		return -EMFILE;
	if (op->exclusive || !l->exclusive)
		err = set_lock(l, op->exclusive ? FILE_EXCLUSIVE : FILE_SHARED, op->first, op->last,
			       holder);
	else
		err = fill_gaps(l, op, holder);
	if (err == 0) {
		op->taken = true;
		l->exclusive |= op->exclusive;
	} else {
		sync_range(l, op, op->first, op->last); /* some gaps may have been filled */
	}
	return err;
}

static void lock_file(struct compound *c, struct local_op *op, struct state_command *cmd)
{
	struct local_locks *ll = c->server->local_locks;
	struct locker *l = op->locker;
	struct file_lock holder;
	int err = 0;

	mutex_lock(&l->lock);
	if (op->taken)
		goto out;
	if (begin_op(l, op, true)) {
		cmd->lock.refuse = NFS4ERR_DELAY;
		goto out;
	}
	err = take(c, op, cmd, &holder);
	if (err == -EAGAIN) {
		op->maybe_ours = holder.pid == 0;
		refuse_because_of(c, cmd, &holder);
	} else if (has_no_locks(err)) {
		complain(ll);
	} else if (err && err != -ECANCELED) {
		cmd->lock.refuse = error_status(c->minor, err);
		cmd->lock.refuse_over_limit = err == -EMFILE || err == -ENFILE || err == -ENOLCK;
	}
out:
	cmd->lock.local = op->taken;
	mutex_unlock(&l->lock);
}

static struct locker *locker_of_stateid(struct nfs_server *s, const struct stateid *id)
{
	struct lock_attachment *a = state_lock_attachment(s->state, id);

	return a ? container_of(a, struct locker, base) : NULL;
}

/* NULL: out of memory. */
static struct locker *make_locker(struct compound *c, const struct state_command *cmd)
{
	struct nfs_server *s = c->server;
	struct state_locker *who;

	if (cmd->lock.new_owner)
		return locker_get(s, state_stateid_client(s->state, &cmd->lock.stateid),
				  cmd->lock.owner, cmd->lock.file);
	/* A lock stateid from before local locks were switched on, or from another node. */
	who = arena_alloc(&c->call->arena, sizeof(*who));
	if (!who || !state_locker(s->state, &cmd->lock.stateid, who))
		return NULL;
	return locker_get(s, who->clientid, (struct bytes){ who->owner, who->owner_len },
			  cmd->lock.file);
}

/* False: there is nothing to be done on the file, the state will refuse. */
static bool find_locker(struct compound *c, struct local_op *op, struct state_command *cmd)
{
	struct locker *l = NULL;

	if (!cmd->lock.new_owner)
		l = locker_of_stateid(c->server, &cmd->lock.stateid);
	op->attached = l != NULL;
	if (!l && !has_chances(c, cmd))
		return false;
	if (!l)
		l = make_locker(c, cmd);
	if (!l) {
		cmd->lock.refuse = NFS4ERR_DELAY;
		return false;
	}
	op->first = cmd->lock.range.offset;
	op->last = last_of(cmd->lock.range);
	op->exclusive = is_exclusive(cmd->lock.type);
	list_init(&op->in_locker);
	op->locker = l;
	c->local_op = op;
	return true;
}

void local_lock_try(struct compound *c, struct local_op *op, struct state_command *cmd)
{
	cmd->lock.local = false;
	cmd->lock.refuse = NFS4_OK;
	cmd->lock.refuse_over_limit = false;
	op->maybe_ours = false;
	if (is_wanted(c) && (op->locker || find_locker(c, op, cmd)))
		lock_file(c, op, cmd);
}

static bool refused_locally(const struct state_command *cmd, const struct state_result *result)
{
	return result->status == NFS4ERR_DENIED && cmd->lock.refuse == NFS4ERR_DENIED &&
	       result->conflict_client == 0;
}

/* In the way may have been a lock of another client, which has gone since. */
bool local_lock_again(struct local_op *op, const struct state_command *cmd,
		      const struct state_result *result)
{
	return op->locker && op->maybe_ours && refused_locally(cmd, result) &&
	       op->tries++ < TRIES_MOST &&
	       local_lock_is_free(op->locker, cmd->lock.type, cmd->lock.range);
}

/* Gives the operation's reference to the lock stateid, if it has none. */
static bool attach(struct compound *c, struct local_op *op, const struct stateid *id)
{
	struct locker *l = op->locker;

	if (op->attached || !op->taken)
		return false;
	locker_ref(l); /* ours, for the case that the stateid goes in this moment */
	if (state_attach_lock(c->server->state, id, &l->base)) {
		locker_unref(l);
		return true;
	}
	/* It has one, the same; or it has gone already. */
	mutex_lock(&l->lock);
	sync_range(l, NULL, op->first, op->last);
	mutex_unlock(&l->lock);
	locker_unref(l);
	return false;
}

void local_lock_end(struct compound *c, struct local_op *op, const struct state_command *cmd,
		    const struct state_result *result)
{
	struct locker *l = op->locker;
	bool given = false, follow;

	if (!l)
		return;
	c->local_op = NULL;
	mutex_lock(&l->lock);
	if (result->status == NFS4_OK)
		follow = op->disturbed || (op->taken && !op->exclusive && l->exclusive);
	else
		follow = op->taken || op->disturbed;
	if (follow)
		sync_range(l, op, op->first, op->last);
	list_remove(&op->in_locker);
	mutex_unlock(&l->lock);
	if (result->status == NFS4_OK)
		given = attach(c, op, &result->stateid);
	op->locker = NULL;
	if (!given)
		locker_unref(l);
}

/* ---- LOCKU ---- */

void local_unlock_begin(struct compound *c, struct local_op *op, const struct state_command *cmd)
{
	struct locker *l = locker_of_stateid(c->server, &cmd->unlock.stateid);

	if (!l)
		return;
	op->locker = l;
	op->first = cmd->unlock.range.offset;
	op->last = last_of(cmd->unlock.range);
	list_init(&op->in_locker);
	c->local_op = op;
	mutex_lock(&l->lock);
	begin_op(l, op, false);
	mutex_unlock(&l->lock);
}

static bool is_alone(const struct locker *l, const struct local_op *op)
{
	const struct local_op *other;

	list_for_each (other, &l->ops, in_locker) {
		if (other != op)
			return false;
	}
	return true;
}

void local_unlock_end(struct compound *c, struct local_op *op, const struct state_result *result)
{
	struct locker *l = op->locker;

	if (!l)
		return;
	c->local_op = NULL;
	op->locker = NULL;
	mutex_lock(&l->lock);
	if (op->disturbed)
		sync_range(l, op, op->first, op->last);
	else if (result->status != NFS4_OK || !l->file)
		;
	else if (!result->locks_left && is_alone(l, op))
		let_go(l);
	else
		(void)!set_lock(l, FILE_UNLOCKED, op->first, op->last, NULL);
	list_remove(&op->in_locker);
	mutex_unlock(&l->lock);
	locker_unref(l);
}

void local_op_abandon(struct local_op *op)
{
	struct locker *l = op->locker;

	if (!l)
		return;
	op->locker = NULL;
	mutex_lock(&l->lock);
	sync_range(l, op, op->first, op->last);
	list_remove(&op->in_locker);
	mutex_unlock(&l->lock);
	locker_unref(l);
}

/* ---- asking ---- */

static struct file_lock as_file_lock(enum nfs_lock_type4 type, struct lock_range range)
{
	return (struct file_lock){ .kind = is_exclusive(type) ? FILE_EXCLUSIVE : FILE_SHARED,
				   .first = range.offset,
				   .last = last_of(range) };
}

/* -ENOENT: the owner has nothing open by which its own locks could be told from others'. */
static int test_own(struct locker *l, const struct file_lock *want, struct file_lock *holder)
{
	int err = -ENOENT;

	mutex_lock(&l->lock);
	if (l->file)
		err = backend_of(l)->lock_test(l->file, want, holder);
	mutex_unlock(&l->lock);
	return err;
}

/* As the caller: without an open nothing says that it may know what is done with the file. */
static int test_object(struct compound *c, const struct file_lock *want, struct file_lock *holder)
{
	struct object *obj = c->current.object;
	struct file *file;
	int err = obj->backend->open(obj, c->current.cred, ACCESS_READ | ACCESS_OWNER, &file);

	if (err == -EACCES)
		err = obj->backend->open(obj, c->current.cred, ACCESS_WRITE | ACCESS_OWNER, &file);
	if (err)
		return not_again(err);
	err = obj->backend->lock_test(file, want, holder);
	file_unref(file);
	return err;
}

enum nfsstat4 local_lock_test(struct compound *c, uint64_t clientid, struct bytes owner,
			      struct bytes file, enum nfs_lock_type4 type, struct lock_range range,
			      struct lock_conflict *denied)
{
	struct file_lock want = as_file_lock(type, range), holder;
	struct locker *l;
	int err = -ENOENT;

	if (!is_wanted(c))
		return NFS4_OK;
	l = locker_find(c->server, clientid, owner, file);
	if (l)
		err = test_own(l, &want, &holder);
	locker_unref(l);
	if (err == -ENOENT)
		err = test_object(c, &want, &holder);
	if (err == 0 || has_no_locks(err))
		return NFS4_OK;
	if (err != -EAGAIN)
		return error_status(c->minor, err);
	*denied = (struct lock_conflict){
		.range = range_of(&holder),
		.type = holder.kind == FILE_EXCLUSIVE ? WRITE_LT : READ_LT,
	};
	denied->owner_len = name_holder(&holder, (char *)denied->owner, sizeof(denied->owner));
	return NFS4ERR_DENIED;
}

struct locker *local_lock_waits(struct local_op *op, const struct state_command *cmd,
				const struct state_result *result)
{
	if (!op->locker || !refused_locally(cmd, result))
		return NULL;
	locker_ref(op->locker);
	return op->locker;
}

bool local_lock_is_free(struct locker *l, enum nfs_lock_type4 type, struct lock_range range)
{
	struct file_lock want = as_file_lock(type, range), holder;

	return test_own(l, &want, &holder) != -EAGAIN;
}

bool local_lock_is_free_now(struct locker *l, enum nfs_lock_type4 type, struct lock_range range)
{
	struct file_lock want = as_file_lock(type, range), holder;
	int err = -ENOENT;

	if (!mutex_trylock(&l->lock))
		return false;
	if (l->file)
		err = backend_of(l)->lock_test(l->file, &want, &holder);
	mutex_unlock(&l->lock);
	return err != -EAGAIN;
}

/* ---- following the state from elsewhere ---- */

void local_locks_gone(struct nfs_server *s, struct lock_attachment *a)
{
	struct locker *l = container_of(a, struct locker, base);
	struct local_op *op;

	if (locker_unref_last(l))
		return; /* its locks have gone with its file */
	mutex_lock(&l->lock);
	list_for_each (op, &l->ops, in_locker)
		op->disturbed = true;
	sync_range(l, NULL, 0, UINT64_MAX);
	mutex_unlock(&l->lock);
	locker_unref(l);
}

/* Opens the file if need be, and locks what the owner has. */
static void catch_up(struct locker *l) REQUIRES(&l->lock)
{
	struct export_set *set = nfs_server_exports(l->server);
	struct object *obj = NULL;
	struct state_span spans[SPANS];
	bool exclusive = false;
	size_t n = SPANS;
	int err = 0;

	for (uint64_t from = 0; n == SPANS && !exclusive; from = spans[n - 1].last + 1) {
		n = state_lock_spans(l->server->state, l->clientid, l->owner, l->file_key, from,
				     UINT64_MAX, spans, SPANS);
		for (size_t i = 0; i < n; i++)
			exclusive |= spans[i].exclusive;
		if (n == 0 || spans[n - 1].last == UINT64_MAX)
			break;
	}
	l->is_behind = false;
	err = export_set_object(set, l->file_key.p, l->file_key.len, &obj);
	if (err == 0 && (!obj->backend->lock || !obj->backend->reopen))
		err = -EOPNOTSUPP;
	if (err == 0)
		err = open_file(l, obj, cred_root(), exclusive);
	if (err == 0) {
		hold(l, true);
		l->exclusive |= exclusive;
		sync_range(l, NULL, 0, UINT64_MAX);
	} else if (!has_no_locks(err)) {
		fall_behind(l, err);
	}
	object_unref(obj);
	export_set_unref(set);
}

static void take_stateid(struct nfs_server *s, const struct stateid *id, struct state_locker *who)
{
	struct locker *l;

	if (!state_locker(s->state, id, who))
		return;
	l = locker_get(s, who->clientid, (struct bytes){ who->owner, who->owner_len },
		       (struct bytes){ who->file, who->file_len });
	if (!l) {
		log_error("client %016llx: out of memory for its byte-range locks on the file",
			  (unsigned long long)who->clientid);
		return;
	}
	mutex_lock(&l->lock);
	catch_up(l);
	mutex_unlock(&l->lock);
	if (!state_attach_lock(s->state, id, &l->base))
		locker_unref(l);
}

void local_locks_take(struct nfs_server *s, uint64_t clientid)
{
	struct state_locker *who = malloc(sizeof(*who));
	struct stateid *ids = NULL;
	size_t n = 0;

	if (!who || state_local_locks(s->state, clientid, &ids, &n) != 0)
		log_error("out of memory: clients' byte-range locks are not on the files");
	backend_restore_identity();
	for (size_t i = 0; i < n; i++)
		take_stateid(s, &ids[i], who);
	backend_restore_identity();
	free(ids);
	free(who);
}

static void gone(struct nfs_server *s, void *arg)
{
	local_locks_gone(s, arg);
}

/* Of those that the state could not hand over as EFFECT_LOCKS_GONE, for want of memory. */
void local_locks_leave(struct nfs_server *s, uint64_t clientid)
{
	struct lock_attachment *a;
	struct stateid *ids = NULL;
	size_t n = 0;

	if (state_local_locks(s->state, clientid, &ids, &n) != 0)
		log_error("client %016llx: out of memory, its byte-range locks stay on this node's files",
			  (unsigned long long)clientid);
	for (size_t i = 0; i < n; i++) {
		a = state_detach_lock(s->state, &ids[i]);
		if (a && !chores_put_off(gone, a))
			gone(s, a);
	}
	free(ids);
}

void local_locks_tick(struct nfs_server *s)
{
	struct local_locks *ll = s->local_locks;
	struct list again = LIST_INITIALIZER(again);
	struct locker *l;

	mutex_lock(&ll->lock);
	list_splice_back(&again, &ll->behind);
	while ((l = list_first(&again, struct locker, in_behind))) {
		list_remove(&l->in_behind);
		mutex_unlock(&ll->lock);
		mutex_lock(&l->lock);
		catch_up(l);
		if (!l->is_behind)
			log_info("client %016llx: its byte-range lock is on the file now",
				 (unsigned long long)l->clientid);
		l->complained = l->is_behind;
		mutex_unlock(&l->lock);
		locker_unref(l);
		mutex_lock(&ll->lock);
	}
	mutex_unlock(&ll->lock);
}

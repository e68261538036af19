/*
 * Byte-range locks as processes of this machine see them: what the state machine grants is locked
 * on the file, too, and what local processes have locked there is in the way of clients. On
 * where an export does not say no_local_locks. local_locks.c tells how it is kept right.
 */
#pragma once

#include "base/list.h"
#include "nfsd/compound.h"

struct local_locks;
struct locker;

/* NULL: out of memory. RLIMIT_NOFILE is settled. */
struct local_locks *local_locks_new(void);
/* Nobody works on it any more; the exports are still there. */
void local_locks_free(struct local_locks *ll);

/* A LOCK or LOCKU at work. Zeroed at first; lives with its compound. */
struct local_op {
	struct locker *locker; /* a reference; NULL: nothing to be done on the file */
	/* Under the locker's lock: */
	struct list in_locker;
	uint64_t first, last;
	bool exclusive;
	bool taken;	/* locked on the file, whether the state knows it yet or not */
	bool disturbed; /* another one of the same lock-owner was at work on the range meanwhile */
	/* The compound's: */
	bool attached;	      /* found by a lock stateid, so it is the stateid's already */
	bool maybe_ours;      /* in the way was a lock without a process */
	unsigned tries;
};

/*
 * LOCK, before its command is submitted, each time: locks the range on the file and sets cmd->lock.local,
 * or says in cmd->lock.refuse why that cannot be. `cmd` is otherwise complete.
 */
void local_lock_try(struct compound *c, struct local_op *op, struct state_command *cmd);
/* It was refused because of what was on the file, but that may have gone: try again. */
bool local_lock_again(struct local_op *op, const struct state_command *cmd,
		      const struct state_result *result);
/* The command's last result is there. */
void local_lock_end(struct compound *c, struct local_op *op, const struct state_command *cmd,
		    const struct state_result *result);
/* LOCKU, around its command. */
void local_unlock_begin(struct compound *c, struct local_op *op, const struct state_command *cmd);
void local_unlock_end(struct compound *c, struct local_op *op, const struct state_result *result);
/* The compound ends before its time. */
void local_op_abandon(struct local_op *op);

/* LOCKT, where the state machine sees nothing in the way: 0, DENIED with *denied, or an error. */
enum nfsstat4 local_lock_test(struct compound *c, uint64_t clientid, struct bytes owner,
			      struct bytes file, enum nfs_lock_type4 type, struct lock_range range,
			      struct lock_conflict *denied);

/*
 * For those who wait. The locker of a LOCK that was refused because of a local process, with a
 * reference; NULL: it was not.
 */
struct locker *local_lock_waits(struct local_op *op, const struct state_command *cmd,
				const struct state_result *result);
/* Is there still something in the way? */
bool local_lock_is_free(struct locker *l, enum nfs_lock_type4 type, struct lock_range range);
/*
 * The same without waiting for whoever is at work with the locker, who may be opening a file and wait
 * for local_use(): false then, ask again. For callers with locks that effects take.
 */
bool local_lock_is_free_now(struct locker *l, enum nfs_lock_type4 type, struct lock_range range);
void locker_unref(struct locker *l); /* NULL is allowed */

/* EFFECT_LOCKS_GONE. */
void local_locks_gone(struct nfs_server *s, struct lock_attachment *a);
/*
 * This node is now the one that keeps the locks of the client (0: of all) on the files: after a
 * restart, when it is adopted. What is in the way is said, and tried again by the tick.
 */
void local_locks_take(struct nfs_server *s, uint64_t clientid);
/* Another node does now: the locks of the client go from the files here. */
void local_locks_leave(struct nfs_server *s, uint64_t clientid);
/* Every second. */
void local_locks_tick(struct nfs_server *s);

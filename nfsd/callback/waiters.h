/*
 * Those who wait for byte-range locks: LOCK with READW_LT or WRITEW_LT that was denied, of clients
 * with a back channel. They are told by CB_NOTIFY_LOCK when they should try again (RFC 8881
 * section 20.11), the one who came first first. This node's own; a waiter that is forgotten
 * (there are too many, memory is short) polls, as it must be ready to do anyway.
 */
#pragma once

#include "nfsd/callback/callback.h"

struct waiters;

/* A LOCK that would wait. */
struct lock_wait {
	uint64_t clientid;
	struct bytes owner; /* lock_owner4.owner */
	struct bytes file;  /* the file's key */
	struct bytes fh;
	enum nfs_lock_type4 type;
	struct lock_range range;
	struct callback_referral referral; /* the LOCK request */
	/*
	 * A local process is in the way, which will not say when it goes: to be asked about. A
	 * reference that waiters_add() takes over, or NULL.
	 */
	struct locker *local;
};

struct waiters *waiters_new(struct nfs_server *server);
void waiters_free(struct waiters *w);

/* The LOCK was denied: it waits, or goes on waiting in the place that it has. */
void waiters_add(struct waiters *w, const struct lock_wait *wait);
/* The LOCK was granted. */
void waiters_granted(struct waiters *w, const struct lock_wait *wait);
/*
 * True if somebody who came before has been told to try again and has not yet done so: the LOCK is
 * denied because of them, so that nobody who waits is overtaken by others who wait.
 */
bool waiters_ahead(struct waiters *w, const struct lock_wait *wait, struct lock_conflict *denied);

/* Is there anybody? */
bool waiters_any(const struct waiters *w);

/*
 * Effects. What is done here may wait for a file system: waiters_run() looks at locks on files. The cluster's log
 * leaves it to others (nfsd/chores.h).
 */
void waiters_freed(struct waiters *w, struct bytes file);
void waiters_client_gone(struct waiters *w, uint64_t clientid);

/* The callbacks' thread: does what is due; when there will be more, UINT64_MAX: not known. */
uint64_t waiters_run(struct waiters *w);

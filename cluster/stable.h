/*
 * Stable storage: the clients that may reclaim what they hold after a crash, in
 * STATE_DIR/clients.db (SQLite, WAL, synchronous=FULL).
 *
 * A record is a key (who: bytes that mean nothing here), a holder (which life of that client; a
 * removal by another than the record's holder does nothing) and a value. A commit that
 * has returned 0 survives a crash of the process, of the machine and the loss of its power.
 *
 * The file STATE_DIR/clients.complete says that the database has every record. When a change cannot
 * be written it is taken away first, which needs no space: the next instance then knows that it
 * does not know, and must let anybody reclaim. Only if that fails, too, is there an error.
 *
 * Nothing is lost in silence: whatever goes wrong is logged here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stable;

struct stable_bytes {
	const uint8_t *p;
	uint32_t len;
};

/* One step of a commit: a record's new holder and value, or its removal. */
struct stable_change {
	bool remove;
	uint64_t holder;
	struct stable_bytes key, value;
};

struct stable_record {
	uint64_t holder;
	struct stable_bytes key, value;
};

enum stable_found {
	STABLE_FIRST,	 /* no instance has run on this directory before: nobody can reclaim */
	STABLE_COMPLETE, /* `records` are all that were active */
	STABLE_LOST,	 /* who was active is not known: `records` is empty */
};

/* What earlier instances have left. */
struct stable_list {
	enum stable_found found;
	struct stable_record *records;
	size_t n;
	uint32_t lease; /* seconds, of the last instance; 0: not known */
};

struct stable_params {
	const char *dir;   /* the state directory */
	uint64_t instance; /* this one's number, greater than every earlier one's */
	bool earlier;	   /* others have run on this directory */
	uint32_t lease;	   /* seconds, of this instance */
};

/*
 * Opens or makes the database and reads what is there. 0; -ENOMEM; -EBUSY when another process uses
 * it (logged). A database that is missing, damaged, not readable or not writable is no error:
 * that is logged, and told by list->found; see stable_commit() for what happens without one.
 */
int stable_open(const struct stable_params *params, struct stable **out, struct stable_list *list);
void stable_list_free(struct stable_list *list);
void stable_close(struct stable *s); /* NULL is allowed */

/*
 * Writes the changes in their order and together; they are durable on return, or the next instance
 * will let anybody reclaim. -errno: neither, so nothing that depends on them may be
 * promised (logged from time to time). Blocks.
 */
int stable_commit(struct stable *s, const struct stable_change *changes, size_t n);
/* Writes what could not be written before, if there is any. As stable_commit(). */
int stable_retry(struct stable *s);
/*
 * The grace period is over: what earlier instances left is removed, and from now on the database is
 * complete. 0 or -errno as above.
 */
int stable_forget_earlier(struct stable *s);

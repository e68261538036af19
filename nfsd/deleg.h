/*
 * Delegations as operations see them: when one is worth giving, who must give one back before
 * something can be done, and the recalls on their way. What is held is in nfsd/state/deleg.c.
 *
 * An operation that changes a file, or looks at what a write delegation may know better, calls
 * deleg_break() first. From then on until the operation ends no delegation of that file is given
 * at this node, so that a check and what follows it cannot be separated by a grant; for those of
 * other nodes see deleg_agree.h.
 */
#pragma once

#include "nfsd/compound.h"

struct delegations;

struct delegations *delegations_new(void); /* NULL: out of memory */
/* After the callbacks have stopped: every recall has ended. */
void delegations_free(struct delegations *d);

/* EFFECT_RECALL. */
void deleg_recall_effect(struct nfs_server *s, const struct state_effect *e);
/* About once a second: recalls that failed are tried again, what is overdue is revoked. */
void deleg_tick(struct nfs_server *s);

/*
 * The kind of delegation worth giving for an OPEN of the file `key` with `access` (no want bits)
 * and OPEN4_SHARE_ACCESS_WANT_* `want`: enum open_delegation_type4. None: *why (why_no_delegation4).
 */
uint32_t deleg_wish(struct compound *c, uint64_t clientid, struct bytes key, uint32_t access,
		    uint32_t want, uint32_t *why);
/* A write delegation is for all opens (RFC 8881 section 10.4): who may not read the file gets none. */
bool deleg_may_read(struct compound *c);
/* True once for each export (or rather more seldom): that its files cannot be delegated. */
bool deleg_first_complaint(struct delegations *d, uint64_t export_id);
/* A delegation that is asked for without an open: WANT_DELEGATION, GET_DIR_DELEGATION. */
struct deleg_granting {
	struct object *watched; /* reference: from local_watch() on, NULL if it has not succeeded */
	struct state_command *cmd;
	struct state_result *result;
};

/* Of the current object: submits the grant. 0, or NFS4_PARKED, with phase 1; or an error. */
enum nfsstat4 deleg_grant_submit(struct compound *c, struct deleg_granting *g, uint32_t claim,
				 uint32_t type, bool times);
/*
 * Phase 1: the command's status. What was granted is kept with `file` (may be NULL), or has been
 * taken back, and result->open.delegation says so; then *why.
 */
enum nfsstat4 deleg_grant_finish(struct compound *c, struct deleg_granting *g, struct file *file,
				 uint32_t *why);
/*
 * The client will not hear of this delegation, which has been granted to it: it goes back, and if the log does not
 * take commands now, later. Never blocks.
 */
void deleg_give_back(struct compound *c, uint64_t clientid, const struct stateid *id,
		     struct bytes file);
/*
 * Likewise an open. If the client has opened the file once more by the time that it is done, that open stays: the
 * stateid is an old one then.
 */
void deleg_close_unheard(struct compound *c, uint64_t clientid, const struct stateid *id,
			 struct bytes file);
/* The operation has ended, however. */
void deleg_grant_end(struct deleg_granting *g);
/* No delegation of this file is given at this node until the operation ends. */
void deleg_guard(struct compound *c, struct bytes key);
/* Does another operation have it guarded? Then a grant must be taken back. */
bool deleg_is_guarded(struct compound *c, struct bytes key);
/* Does any operation? */
bool deleg_is_busy(struct nfs_server *s, struct bytes key);
/* The operation has ended. */
void deleg_guards_end(struct compound *c);

/*
 * Before something is done to `obj` (nothing is held of what is no regular file): 0, or DELAY if a
 * delegation of another client than `clientid` (0: nobody known, every client counts) is in the
 * way; it has been recalled then. `changes`: contents or attributes change.
 */
enum nfsstat4 deleg_break(struct compound *c, struct object *obj, uint64_t clientid, bool changes);
/* The same for what a name in a directory leads to. A name that is not there: 0. */
enum nfsstat4 deleg_break_name(struct compound *c, const struct place *dir, const char *name);
/*
 * Before an entry is made, removed or renamed: the same for the directory's own delegation. With
 * `only_new` (may be NULL) nothing is in the way if that name is there already.
 */
enum nfsstat4 deleg_break_dir(struct compound *c, const struct place *dir, uint64_t clientid,
			      const char *only_new);
/* Recalls whatever there is of the file. */
void deleg_recall_all(struct compound *c, struct bytes key);

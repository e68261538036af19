/*
 * CB_GETATTR: what the holder of a write delegation knows of its file, for other clients that read
 * its attributes (RFC 8881 sections 10.4.3 and 20.1). So GETATTR need not recall the delegation.
 *
 *	status = deleg_ask(c, key, &wanted);		phase 0, for each file
 *	status = deleg_ask_wait(c);			NFS4_PARKED: come again in phase 1
 *	...
 *	answer = deleg_answer(c, key);			what was learnt
 *	status = deleg_answer_apply(c, obj, answer, &attr);
 *
 * The questions of an operation end with it.
 */
#pragma once

#include "nfsd/attrs.h"

struct deleg_answer {
	bool answered; /* false: the holder could not be asked, or does not answer */
	bool has_change, has_size, has_atime, has_mtime;
	uint64_t change, size;
	struct timespec atime, mtime; /* time_deleg_access, time_deleg_modify */
	uint64_t known_change, granted_change; /* those that the holder was told: last, with the grant */
};

/* The attributes that a write delegation's holder may know better. */
bool deleg_knows_better(const struct attr_bitmap *wanted);
/*
 * Asks the holder of the write delegation of the file `key`, if another client than the caller has
 * one: true if an answer is on its way or there (ask once), false if there is nobody to ask.
 */
bool deleg_ask(struct compound *c, struct bytes key);
/* NFS4_PARKED until all have answered, then (or at once) 0. */
enum nfsstat4 deleg_ask_wait(struct compound *c);
/* NULL: nobody was asked about this file. */
const struct deleg_answer *deleg_answer(struct compound *c, struct bytes key);
/*
 * Makes `attr`, as read of `obj`, what the answer says. A modified file gets new times and a
 * new change attribute on the server, too, so that they never go back.
 */
enum nfsstat4 deleg_answer_apply(struct compound *c, struct object *obj,
				 const struct deleg_answer *answer, struct attr *attr);
/*
 * Stores the times that a holder has kept (NULL: not known), on its behalf: what is earlier than the
 * file's own is ignored, the future is now. Linux cannot set an access time without a new
 * ctime, so it is stored only along with a time of modification.
 */
enum nfsstat4 deleg_store_times(struct object *obj, const struct timespec *atime,
				const struct timespec *mtime);
/* The operation has ended, or the call has without it. */
void deleg_ask_end(struct compound *c);

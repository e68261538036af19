/*
 * What an operation is about to do to names, told to all nodes before it does it.
 *
 * A node may die after it has removed, renamed or made something and before another knows the reply.
 * The client asks again elsewhere, and would be told that there is nothing to remove, or that the name
 * is taken. So in exports with exactly_once an operation that would succeed says in the log which
 * request it belongs to and what the name leads to (struct begun); the reply that is kept takes the
 * place of that. A node that finds a request begun, without a reply, takes what it finds done for done.
 *
 *	intent = { .kind, .dir, .name ... };
 *	status = intent_begin(c, &intent);	the last check; NFS4_PARKED: the operation runs once more
 *	err = intent.done ? intent_change(dir, &change) : backend->remove(...);
 *
 * Nothing of this happens, or costs anything, elsewhere.
 */
#pragma once

#include "nfsd/compound.h"

enum intent_kind { INTENT_REMOVE, INTENT_RENAME, INTENT_LINK, INTENT_MAKE };

struct intent {
	enum intent_kind kind;
	const struct place *dir;
	const char *name; /* in `dir`: what goes away, or becomes */
	/* RENAME */
	const struct place *to;
	const char *to_name;
	struct object *linked;		/* LINK */
	const struct create_args *make; /* MAKE: CREATE, OPEN with GUARDED4 */
	bool done;			/* out: it has been done; only the answer is missing */
};

/*
 * 0: go on, as `done` says; NFS4_PARKED, upon which the operation is run again from its start, with
 * the same intent; or the status to end with: all nodes could not be told.
 */
enum nfsstat4 intent_begin(struct compound *c, struct intent *i);
/* The directory of what has been done, as it is now. 0 or -errno. */
int intent_change(struct object *dir, struct dir_change *change);
/* The object that has been made (a reference), with the attributes that it is to have. 0 or -errno. */
int intent_made(struct compound *c, const struct intent *i, struct dir_change *change,
		struct object **out);

/*
 * See intent.h. What was begun is known by 4.1's slots (state/slots.c) and, for minor version 0, by the
 * cache of duplicate requests (drc.c).
 *
 * Is it done? The operations before the one that was begun last are, for certain. Of that one the
 * names tell, and where they do not the answer is one that could have been given: a name that was seen
 * at the begin and now leads elsewhere was taken away in between, if not by this request then at that
 * time by another.
 */
#include "nfsd/intent.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/drc.h"

/* Is what it does kept for a retry at another node at all? */
static bool applies(const struct compound *c)
{
	return c->server->replicated && c->current.options->exactly_once &&
	       (c->minor == 0 || (c->has_session && c->slot.cache_this));
}

static bool hash_of(struct compound *c, struct object *obj, uint64_t *hash)
{
	static const struct siphash_key same_everywhere;
	struct bytes key;

	if (compound_object_key(c, obj, &key) != NFS4_OK)
		return false;
	*hash = siphash(&same_everywhere, key.p, key.len);
	return true;
}

/* For certain: out of memory it may be either. */
static bool is_other(struct compound *c, struct object *obj, uint64_t hash)
{
	uint64_t its;

	return hash_of(c, obj, &its) && its != hash;
}

static bool is_same(struct compound *c, struct object *obj, uint64_t hash)
{
	uint64_t its;

	return hash_of(c, obj, &its) && its == hash;
}

/* 0 with *out NULL: there is no such name. */
static int look(const struct place *dir, const char *name, struct object **out)
{
	int err = dir->object->backend->lookup(dir->object, dir->cred, name, out);

	if (err)
		*out = NULL;
	return err == -ENOENT ? 0 : err;
}

/* ---- what there is, and whether it is what the request would have made ---- */

static bool any_entry(void *arg, const struct dir_entry *entry)
{
	*(bool *)arg = true;
	return false;
}

static bool is_empty(struct object *dir)
{
	bool any = false;
	struct readdir_args args = { .emit = any_entry, .arg = &any };

	return dir->backend->readdir(dir, cred_root(), &args) == 0 && !any;
}

static bool has_target(struct compound *c, struct object *obj, const char *target)
{
	size_t want = strlen(target), len;
	char *buf = arena_alloc(&c->call->arena, want + 1);

	return buf && obj->backend->readlink(obj, cred_root(), buf, want + 1, &len) == 0 &&
	       len == want && memcmp(buf, target, len) == 0;
}

static bool is_owned(const struct compound *c, const struct attr *attr, const struct attr_set *set)
{
	return attr->uid == c->current.cred->uid ||
	       ((set->mask & ATTR_SET_UID) && attr->uid == set->uid);
}

static bool is_as_made(struct compound *c, struct object *obj, const struct create_args *make)
{
	uint64_t size = make->attrs.mask & ATTR_SET_SIZE ? make->attrs.size : 0;
	struct attr attr;

	if (obj->type != make->type || obj->backend->getattr(obj, &attr) != 0 ||
	    !is_owned(c, &attr, &make->attrs))
		return false;
	switch (make->type) {
	case FILE_REGULAR:
		return attr.size == 0 || attr.size == size;
	case FILE_DIRECTORY:
		return is_empty(obj);
	case FILE_SYMLINK:
		return has_target(c, obj, make->target);
	case FILE_BLOCK:
	case FILE_CHAR:
		return attr.rdev_major == make->rdev_major && attr.rdev_minor == make->rdev_minor;
	default:
		return true;
	}
}

static bool is_renamed(struct compound *c, const struct intent *i, struct object *found,
		       const struct begun *before)
{
	struct object *target;
	bool same;

	if (found && !is_other(c, found, before->object))
		return false;
	if (look(i->to, i->to_name, &target) != 0 || !target)
		return false;
	same = is_same(c, target, before->object);
	object_unref(target);
	return same;
}

static bool was_done(struct compound *c, const struct intent *i, struct object *found,
		     const struct begun *before)
{
	bool went_on = before->op > c->index + 1;
	uint64_t linked;

	switch (i->kind) {
	case INTENT_REMOVE:
		return went_on || !found || is_other(c, found, before->object);
	case INTENT_RENAME:
		return went_on || is_renamed(c, i, found, before);
	case INTENT_LINK:
		return found && hash_of(c, i->linked, &linked) && is_same(c, found, linked);
	case INTENT_MAKE:
		return found && is_as_made(c, found, i->make);
	}
	return false;
}

/* ---- telling, and being told ---- */

static enum nfsstat4 begun_before(struct compound *c, struct begun *before)
{
	struct bytes key;

	if (c->minor > 0) {
		*before = c->slot.begun;
		return NFS4_OK;
	}
	if (!drc_make_key(c->server->drc, c->call, c->args_start, &key))
		return compound_out_of_memory(c);
	*before = drc_begun(c->server->drc, key);
	return NFS4_OK;
}

/* Is it in the log, and may this node go on? */
static enum nfsstat4 told(struct compound *c)
{
	if (c->intent->status != NFS4_OK || c->intent->refused)
		return NFS4ERR_DELAY;
	c->exactly_once = true; /* however it ends */
	return NFS4_OK;
}

static enum nfsstat4 tell(struct compound *c, struct object *found)
{
	struct begun begun = { .op = c->index + 1 };
	struct state_command *cmd;

	if (found && !hash_of(c, found, &begun.object))
		return compound_out_of_memory(c);
	cmd = compound_keep_command(c, begun, (struct bytes){ 0 });
	c->intent = compound_result(c);
	if (!cmd || !c->intent)
		return compound_out_of_memory(c);
	if (compound_submit(c, cmd, c->intent) == NFS4_PARKED)
		return NFS4_PARKED;
	return told(c);
}

enum nfsstat4 intent_begin(struct compound *c, struct intent *i)
{
	bool must_be_there = i->kind == INTENT_REMOVE || i->kind == INTENT_RENAME;
	enum nfsstat4 status;
	struct begun before;
	struct object *found;

	i->done = false;
	if (likely(!applies(c)))
		return NFS4_OK;
	if (c->intent)
		return told(c);
	if (look(i->dir, i->name, &found) != 0)
		return NFS4_OK; /* the operation will say why */
	status = begun_before(c, &before);
	if (status == NFS4_OK && before.op > c->index)
		i->done = was_done(c, i, found, &before);
	else if (status == NFS4_OK && must_be_there == (found != NULL))
		status = tell(c, found);
	object_unref(found);
	return status;
}

int intent_change(struct object *dir, struct dir_change *change)
{
	struct attr attr;
	int err = dir->backend->getattr(dir, &attr);

	if (err)
		return err;
	/* Whoever did it may not have come to making it stable. */
	*change = (struct dir_change){ .before = attr.change,
				       .after = attr.change,
				       .may_owe = change->may_owe,
				       .owes = change->may_owe };
	return 0;
}

/* It may have been made, but not have got all its attributes. */
static int dress(struct compound *c, struct object *obj, const struct create_args *make)
{
	struct attr_set set = make->attrs;
	uint32_t done;

	/* What the mode is after a umask the directory's default ACL decides, when it is made. */
	if (set.has_umask || obj->type == FILE_SYMLINK)
		set.mask &= ~(uint32_t)ATTR_SET_MODE;
	set.has_umask = false;
	return set.mask ? obj->backend->setattr(obj, NULL, c->current.cred, &set, &done) : 0;
}

int intent_made(struct compound *c, const struct intent *i, struct dir_change *change,
		struct object **out)
{
	struct object *dir = i->dir->object, *obj;
	int err = look(i->dir, i->name, &obj);

	if (err)
		return err;
	if (!obj)
		return -ENOENT; /* gone in this moment */
	err = dress(c, obj, i->make);
	if (err == 0)
		err = intent_change(dir, change);
	if (err)
		object_unref(obj);
	else
		*out = obj;
	return err;
}

/*
 * See deleg_local.h. There is no state here: whether anybody relies on a file is asked of the state
 * machine each time, by the backend's thread (local_use()). When a delegation goes, an effect has
 * the backend ask again.
 */
#include "nfsd/deleg_local.h"

#include <errno.h>
#include <string.h>

#include "base/blocking.h"
#include "base/log.h"
#include "nfsd/deleg.h"

/* As compound_object_key(), without a compound. */
static bool key_of(struct object *obj, struct file_key *key)
{
	struct backend_handle handle;

	if (obj->backend->to_handle(obj, &handle) != 0)
		return false;
	file_key_make(obj->backend, &handle, key);
	return true;
}

static void recall(struct nfs_server *s, struct bytes key, bool changes)
{
	struct state_command cmd = {
		.type = CMD_RECALL,
		.recall = { .file = key, .changes = changes },
	};

	cluster_submit(s->cluster, &cmd, NULL, NULL, NULL);
}

static enum local_verdict local_use(void *arg, struct object *obj, enum local_use use)
{
	struct nfs_server *s = arg;
	uint64_t holder, expired = 0;
	struct bytes file;
	struct file_key key;
	bool due;

	if (!key_of(obj, &key))
		return LOCAL_UNWATCHED;
	file = (struct bytes){ key.bytes, key.len };
	if (!state_deleg_conflict(s->state, file, 0, true, &holder, &due))
		return LOCAL_UNWATCHED;
	if (use == LOCAL_NONE)
		return LOCAL_MAY;
	while (state_deleg_conflict(s->state, file, 0, use != LOCAL_READ, &holder, &due)) {
		if (holder != expired && state_is_courtesy(s->state, holder)) {
			expired = holder;
			nfs_server_expire_client(s, holder);
			continue;
		}
		if (due)
			recall(s, file, use != LOCAL_READ);
		return LOCAL_WAIT;
	}
	return LOCAL_MAY;
}

/* ---- granting ---- */

static void say_unwatchable(struct compound *c, int err)
{
	const struct export_entry *entry = c->current.export->entry;

	if (deleg_first_complaint(c->server->delegations, c->current.export->id))
		log_warn("%s: no delegations of its files: use by programs on this machine cannot "
			 "be noticed (%s)",
			 entry ? entry->path : "/", strerror(-err));
}

bool local_watch(struct compound *c, struct object *obj, struct file *file, uint32_t type,
		 uint32_t *why)
{
	enum watch_kind kind = !file			     ? WATCH_DIRECTORY
			       : type == OPEN_DELEGATE_WRITE ? WATCH_EXCLUSIVE
							     : WATCH_SHARED;
	int err = -EOPNOTSUPP;

	if (obj->export->capabilities & BACKEND_PRIVATE)
		return true;
	if (obj->backend->watch)
		err = obj->backend->watch(obj, file, kind);
	if (!err)
		return true;
	switch (err) {
	case -EAGAIN:
		*why = WND4_CONTENTION;
		break;
	case -ENOMEM:
	case -ENOSPC:
		*why = WND4_RESOURCE;
		break;
	default:
		*why = WND4_NOT_SUPP_FTYPE;
		say_unwatchable(c, err);
		break;
	}
	return false;
}

void local_settled(struct object *obj)
{
	if (obj->backend->watch_settled)
		obj->backend->watch_settled(obj);
}

void local_again(struct bytes key)
{
	for (unsigned i = 0; backend_list[i]; i++) {
		const struct backend *be = backend_list[i];
		size_t name_len = strlen(be->name);

		if (be->watch_again && key.len > name_len && memcmp(key.p, be->name, name_len) == 0)
			be->watch_again(key.p + name_len, key.len - name_len);
	}
}

/* ---- life ---- */

void local_start(struct nfs_server *s)
{
	if (!s->options.delegations)
		return;
	for (unsigned i = 0; backend_list[i]; i++) {
		const struct backend *be = backend_list[i];
		int err = be->watch_start ? be->watch_start(local_use, s) : 0;

		if (err)
			log_warn(
			    "no delegations of files of the %s backend: use by programs on this "
			    "machine cannot be noticed (fanotify: %s)%s",
			    be->name, strerror(-err),
			    err == -EPERM ? "; it needs CAP_SYS_ADMIN" : "");
	}
}

void local_stop(struct nfs_server *s)
{
	for (unsigned i = 0; backend_list[i]; i++) {
		if (backend_list[i]->watch_stop)
			backend_list[i]->watch_stop();
	}
}

static int watch_restored(struct object *obj, uint32_t type)
{
	const struct backend *be = obj->backend;
	unsigned access = type == OPEN_DELEGATE_WRITE ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ;
	struct file *file = NULL;
	int err = 0;

	if (!be->watch)
		return -EOPNOTSUPP;
	if (obj->type == FILE_REGULAR)
		err = be->reopen ? be->reopen(obj, cred_root(), access, &file)
				 : be->open(obj, cred_root(), access, &file);
	if (!err)
		err = be->watch(obj, file,
				!file			      ? WATCH_DIRECTORY
				: type == OPEN_DELEGATE_WRITE ? WATCH_EXCLUSIVE
							      : WATCH_SHARED);
	if (!err)
		be->watch_settled(obj);
	file_unref(file);
	return err;
}

/* Somebody may have used the file meanwhile, and may still: then it is not the client's alone. */
static void restore_one(void *arg, const struct state_deleg *d)
{
	struct nfs_server *s = arg;
	struct export_set *set = nfs_server_exports(s);
	struct object *obj = NULL;
	struct export *exp = NULL;
	struct bytes handle;
	struct file_key key;
	uint64_t id;

	if (fh_decode(&s->options.handle_key, d->fh, d->fh_len, &id, &handle) == NFS4_OK)
		exp = export_set_find(set, id);
	if (exp &&
	    exp->backend->backend->from_handle(exp->backend, handle.p, handle.len, &obj) == 0) {
		if (!(exp->backend->capabilities & BACKEND_PRIVATE) &&
		    watch_restored(obj, d->type) != 0 && key_of(obj, &key))
			recall(s, (struct bytes){ key.bytes, key.len }, true);
		object_unref(obj);
	}
	export_set_unref(set);
}

static void restore_of(struct nfs_server *s, uint64_t clientid)
{
	if (state_each_deleg(s->state, clientid, restore_one, s) != 0)
		log_warn(
		    "out of memory: programs on this machine may use delegated files unnoticed");
	backend_restore_identity();
}

void local_restore(struct nfs_server *s)
{
	if (!s->restored)
		return;
	restore_of(s, 0);
}

void local_adopt(struct nfs_server *s, uint64_t clientid)
{
	if (!s->options.delegations || !state_has_delegs(s->state, clientid))
		return;
	blocking_section();
	restore_of(s, clientid);
}

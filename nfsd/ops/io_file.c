#include "nfsd/ops/io_file.h"

#include "nfsd/deleg.h"
#include "nfsd/ops.h"

static int reopen(struct object *obj, const struct cred *cred, unsigned access, struct file **out)
{
	const struct backend *be = obj->backend;

	return be->reopen ? be->reopen(obj, cred, access, out)
			  : be->open(obj, cred, access | ACCESS_OWNER, out);
}

enum nfsstat4 io_reopen(struct compound *c, const struct stateid *id, unsigned access,
			struct file **out)
{
	struct stateid holder;
	const struct cred *cred;
	struct file *file;
	unsigned with;
	int err;

	if (!state_opener(c->server->state, id, access, &cred, &with, &holder))
		return NFS4_OK;
	err = reopen(c->current.object, cred, with, &file);
	cred_unref(cred);
	if (err)
		return status_from_errno(err);
	state_attach_file(c->server->state, &holder, file_ref(file));
	*out = file;
	return NFS4_OK;
}

enum nfsstat4 io_caller_may(struct compound *c, const struct file *file, unsigned access)
{
	struct object *obj = c->current.object;
	unsigned wanted = access == ACCESS_READ ? ACCESS_READ | ACCESS_EXECUTE : access, granted;
	struct attr attr;

	if (likely(!file->opener || file->opener == c->current.cred))
		return NFS4_OK;
	if (obj->backend->access(obj, c->current.cred, wanted, &granted) == 0 && granted)
		return NFS4_OK;
	if (obj->backend->getattr(obj, &attr) == 0 && attr.uid == c->current.cred->uid)
		return NFS4_OK;
	return NFS4ERR_ACCESS;
}

enum nfsstat4 io_file(struct compound *c, struct stateid *id, unsigned access, struct file **out)
{
	struct object *obj = c->current.object;
	enum nfsstat4 status = compound_want_regular(c);
	uint64_t conflict = 0;
	struct bytes file;
	int err;

	if (status == NFS4_OK)
		status = compound_resolve_stateid(c, id);
	if (status == NFS4_OK)
		status = compound_file_key(c, &file);
	if (status != NFS4_OK)
		return status;
	if (stateid_is_anonymous(id) || stateid_is_read_bypass(id)) {
		status = deleg_break(c, obj, c->clientid, access & ACCESS_WRITE);
		if (status != NFS4_OK)
			return status;
	}
	do {
		*out = NULL;
		status = state_use_stateid(c->server->state, c->minor, c->clientid, id, file,
					   access, out, &conflict);
	} while (status == NFS4ERR_LOCKED && compound_expire_and_read(c, conflict, &status));
	/* I/O with what it has reclaimed is something new, too. */
	if (c->minor == 0 && status == NFS4_OK && !stateid_is_anonymous(id) &&
	    !stateid_is_read_bypass(id))
		(void)!compound_ask_new_v40(c, state_stateid_client(c->server->state, id));
	if (status == NFS4_OK && !*out)
		status = io_reopen(c, id, access, out);
	if (status == NFS4_OK && *out) {
		status = io_caller_may(c, *out, access);
		if (status != NFS4_OK) {
			file_unref(*out);
			*out = NULL;
		}
		return status;
	}
	if (status != NFS4_OK)
		return status;
	err = obj->backend->open(obj, c->current.cred, access, out);
	return err ? status_from_errno(err) : NFS4_OK;
}

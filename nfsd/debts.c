/*
 * The model: an operation that changes names says so here instead of waiting for fsync. Operations
 * after it go on. When the compound has run, all its directories are settled as one job, with those
 * of all compounds that came together, and the compound is parked meanwhile (unless it is alone on
 * its loop and the disk is quick). The client has been told nothing yet, and whoever sees the change
 * before it is stable sees what it would see with a server that is in the middle of fsync().
 *
 * If settling fails, the reply is cut off at the first operation that owed something, which then
 * says why; what can be taken back (an open that the client will not know of) is. The operations
 * behind it have been executed all the same, as far as they concern this server's memory.
 *
 * Minor version 0: the result of an OPEN is remembered with its owner's sequence id when the
 * operation ends, which is too early; it settles by itself.
 */
#include "nfsd/debts.h"

#include "nfsd/ops.h"

struct debts {
	struct settle_job job; /* its objects are references */
	struct rpc_later later;
	struct compound *c;

	/* Of the first operation that owes. */
	uint32_t index, opnum;
	struct xdr_mark mark;
	void (*undo)(struct compound *c, void *arg);
	void *undo_arg;

	/* How the compound has ended. */
	enum nfsstat4 status;
	uint32_t nresults;
};

bool debts_accept(struct compound *c, const struct object *dir, unsigned n)
{
	if (!dir->backend->settle)
		return false;
	if (!c->debts)
		c->debts = arena_zalloc(&c->call->arena, sizeof(*c->debts));
	return c->debts && c->debts->job.n + n <= SETTLE_DIRS &&
	       (c->debts->job.n == 0 || c->debts->job.dirs[0]->export == dir->export);
}

void debts_add(struct compound *c, struct object *dir, void (*undo)(struct compound *c, void *arg),
	       void *arg)
{
	struct debts *d = c->debts;

	if (d->job.n == 0) {
		d->c = c;
		d->index = c->index;
		d->opnum = c->opnum;
		d->mark = c->op_mark;
		d->undo = undo;
		d->undo_arg = arg;
	}
	for (unsigned i = 0; i < d->job.n; i++) {
		if (d->job.dirs[i] == dir)
			return;
	}
	d->job.dirs[d->job.n++] = object_ref(dir);
}

/* On a thread of the backend's, or on ours, while the compound still runs. */
static void job_done(struct settle_job *job)
{
	struct debts *d = container_of(job, struct debts, job);
	struct nfs_server *s = d->c->server;

	compound_resume(d->c);
	/* The compound may be gone by now. */
	mutex_lock(&s->settling_lock);
	if (--s->settling == 0)
		cond_broadcast(&s->settled);
	mutex_unlock(&s->settling_lock);
}

/* Each export's jobs at once: one commit is enough for them. */
static void settle(struct list *laters, bool alone)
{
	struct debts *first, *d, *tmp;

	while ((first = list_first(laters, struct debts, later.link))) {
		struct object *dir = first->job.dirs[0];
		struct list jobs = LIST_INITIALIZER(jobs);

		list_for_each_safe (d, tmp, laters, later.link) {
			if (d->job.dirs[0]->export != dir->export)
				continue;
			list_remove(&d->later.link);
			list_push_back(&jobs, &d->job.link);
		}
		dir->backend->settle(&jobs, alone);
	}
}

bool debts_settle(struct compound *c, enum nfsstat4 status, uint32_t nresults)
{
	struct debts *d = c->debts;

	if (!d || d->job.n == 0)
		return false;
	d->status = status;
	d->nresults = nresults;
	mutex_lock(&c->server->settling_lock);
	c->server->settling++;
	mutex_unlock(&c->server->settling_lock);
	c->call->resumes_soon = true;
	d->job.done = job_done;
	d->later.fn = settle;
	if (c->call->alone) {
		struct list just_this = LIST_INITIALIZER(just_this);

		list_push_back(&just_this, &d->later.link);
		settle(&just_this, true);
	} else {
		rpc_call_later(c->call, &d->later);
	}
	return true;
}

enum nfsstat4 debts_settled(struct compound *c, uint32_t *nresults)
{
	struct debts *d = c->debts;
	struct xdr_out *x = reply_of(c);

	*nresults = d->nresults;
	if (!d->job.err)
		return d->status;
	if (d->undo)
		d->undo(c, d->undo_arg);
	d->status = status_from_errno(d->job.err);
	*nresults = d->index + 1;
	xdr_out_rewind(x, d->mark);
	x->limit = c->most;
	xdr_put_u32(x, d->opnum);
	xdr_put_u32(x, d->status);
	return d->status;
}

void debts_release(struct compound *c)
{
	struct debts *d = c->debts;

	for (unsigned i = 0; d && i < d->job.n; i++)
		object_unref(d->job.dirs[i]);
	c->debts = NULL;
}

void debts_await(struct nfs_server *s)
{
	mutex_lock(&s->settling_lock);
	while (s->settling > 0)
		cond_wait(&s->settled, &s->settling_lock);
	mutex_unlock(&s->settling_lock);
}

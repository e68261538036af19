/*
 * READDIR: RFC 8881 section 18.23, RFC 7530 section 16.24.
 *
 * Entries are encoded straight into the reply while the backend walks the directory; the one
 * that goes beyond a limit is taken back, and the backend told to stop. Three limits:
 *
 *	maxcount	all of READDIR4resok; TOOSMALL if not even one entry fits
 *	dircount	names and cookies; a hint: never keeps out the first entry; 0: none
 *	the reply	of the session or connection: what does not fit comes next time
 *
 * Cookies are the backend's and stay valid while the directory exists, over restarts too. So the
 * verifier is one constant: any other is NOT_SAME, but zero is let pass with any cookie, since
 * a client that comes back to a remembered position after it has forgotten the directory has
 * no other to show.
 *
 * An entry that another export covers shows that export's root, with the fileid of the covered
 * directory as mounted_on_fileid. In the pseudo file system what the client may not see is
 * left out.
 *
 * Files that another client has a write delegation of: their holders are asked while the entries are
 * put together for the first time, and with the answers this is done once more. Who does not answer
 * is not waited for; the entry then shows what the server knows.
 */
#include <errno.h>

#include "nfsd/attrs.h"
#include "nfsd/deleg_ask.h"
#include "nfsd/ops/readdir.h"
#include "nfsd/ops_list.h"

#define LAST_RESERVED_COOKIE 2

/* Verifier, end of the list and eof: what the result has without entries. */
#define EMPTY_RESULT (NFS4_VERIFIER_SIZE + 4 + 4)

/* More than any entry takes. */
#define ENTRY_ROOM 16384

/* Holders of write delegations asked by one READDIR. */
#define ASKED_MOST 64

struct readdir_op_args {
	uint64_t cookie;
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	uint32_t dircount, maxcount;
	struct attr_bitmap wanted;
};

const uint8_t readdir_verifier[NFS4_VERIFIER_SIZE] = { 'a', 't', 'o', 'l', 'l', 0, 0, 1 };

/* One READDIR while its entries come. */
struct listing {
	struct compound *c;
	struct xdr_out *x;
	struct attr_bitmap wanted;
	size_t end;	   /* xdr_out_total() may not exceed it */
	uint64_t dircount; /* what is left of it */
	bool want_attr;	   /* entries come with their attributes */
	bool junctions;	   /* entries may be covered by other exports, and it matters */
	bool need_object;  /* attributes of file systems are asked for */
	bool ask;	   /* holders of write delegations may know better */
	unsigned asked;	   /* in phase 0: how many were */
	unsigned entries;
	bool full;		     /* an entry did not fit */
	enum nfsstat4 status;	     /* why the operation fails, whatever came before */
	struct attr_source src;	     /* of plain entries; keeps fs_info from one to the next */
	uint64_t fs_major, fs_minor; /* whose fs_info that is */
};

static bool readdir_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct readdir_op_args *a = args;
	bool unknown;

	return xdr_get_u64(x, &a->cookie) && xdr_get_copy(x, a->verifier, NFS4_VERIFIER_SIZE) &&
	       xdr_get_u32(x, &a->dircount) && xdr_get_u32(x, &a->maxcount) &&
	       xdr_get_bitmap(x, &a->wanted, &unknown);
}

/* ---- the attributes of one entry ---- */

/* Instead of attributes: the error, and what is known all the same. */
static enum nfsstat4 put_error(struct listing *l, const struct dir_entry *entry,
			       enum nfsstat4 error)
{
	struct attr_bitmap mask = { 0 };

	if (!attr_test(&l->wanted, FATTR4_RDATTR_ERROR))
		return error;
	attr_add(&mask, FATTR4_RDATTR_ERROR);
	if (attr_test(&l->wanted, FATTR4_MOUNTED_ON_FILEID))
		attr_add(&mask, FATTR4_MOUNTED_ON_FILEID);
	l->src.rdattr_error = error;
	l->src.have_mounted_on = true;
	l->src.mounted_on_fileid = entry->fileid;
	error = attr_encode(&l->src, &mask, l->x);
	l->src.rdattr_error = NFS4_OK;
	return error;
}

/* The root of the export that covers the entry. */
static enum nfsstat4 put_covering(struct listing *l, const struct dir_entry *entry,
				  struct export *exp, const struct export_options *options)
{
	struct compound *c = l->c;
	struct object *root;
	struct attr_source src;
	enum nfsstat4 status;
	int err;

	if (!options)
		return put_error(l, entry, NFS4ERR_ACCESS);
	if (!(options->sec_flavors & SEC_SYS))
		return put_error(l, entry, NFS4ERR_WRONGSEC);
	err = exp->backend->backend->root(exp->backend, &root);
	if (err)
		return put_error(l, entry, status_from_errno(err));
	status = attr_source_init(&src, c, exp, root, options);
	src.have_mounted_on = true;
	src.mounted_on_fileid = entry->fileid;
	if (!status)
		status = attr_encode(&src, &l->wanted, l->x);
	object_unref(root);
	return status ? put_error(l, entry, status) : NFS4_OK;
}

/*
 * Figures of the entry's file system: of the one before if that is the same, else from the
 * object itself, which *object then refers to.
 */
static enum nfsstat4 find_fs_info(struct listing *l, const struct dir_entry *entry,
				  struct object **object)
{
	struct backend_export *exp = l->src.export->backend;
	int err;

	if (l->src.have_fs_info && l->fs_major == entry->attr.fsid_major &&
	    l->fs_minor == entry->attr.fsid_minor)
		return NFS4_OK;
	l->src.have_fs_info = false;
	l->fs_major = entry->attr.fsid_major;
	l->fs_minor = entry->attr.fsid_minor;
	err = exp->backend->from_handle(exp, entry->handle.bytes, entry->handle.len, object);
	return status_from_errno(err);
}

/* What the holder of a write delegation knows about l->src.attr. */
static enum nfsstat4 ask_holder(struct listing *l, const struct dir_entry *entry)
{
	struct backend_export *exp = l->src.export->backend;
	const struct deleg_answer *answer;
	struct file_key key;
	struct object *obj;
	enum nfsstat4 status;

	file_key_make(exp->backend, &entry->handle, &key);
	if (l->c->phase == 0) {
		if (l->asked < ASKED_MOST && deleg_ask(l->c, (struct bytes){ key.bytes, key.len }))
			l->asked++;
		return NFS4_OK;
	}
	answer = deleg_answer(l->c, (struct bytes){ key.bytes, key.len });
	if (!answer || !answer->answered ||
	    exp->backend->from_handle(exp, entry->handle.bytes, entry->handle.len, &obj) != 0)
		return NFS4_OK;
	status = deleg_answer_apply(l->c, obj, answer, &l->src.attr);
	object_unref(obj);
	return status;
}

static enum nfsstat4 put_plain(struct listing *l, const struct dir_entry *entry)
{
	struct attr_source *src = &l->src;
	struct nfs_fh fh;
	struct object *object = NULL;
	enum nfsstat4 status = NFS4_OK;

	if (l->want_attr)
		src->attr = entry->attr;
	src->have_mounted_on = true;
	src->mounted_on_fileid = entry->fileid;
	if (l->ask && entry->attr.type == FILE_REGULAR)
		status = ask_holder(l, entry);
	if (!status && l->need_object)
		status = find_fs_info(l, entry, &object);
	if (attr_test(&l->wanted, FATTR4_FILEHANDLE)) {
		fh_encode(&l->c->server->options.handle_key, src->export->id, &entry->handle, &fh);
		src->fh = &fh;
	}
	src->object = object;
	if (!status)
		status = attr_encode(src, &l->wanted, l->x);
	src->object = NULL;
	src->fh = NULL;
	object_unref(object);
	return status ? put_error(l, entry, status) : NFS4_OK;
}

/* ---- one entry ---- */

/* What an entry turns out to be. */
struct entry_view {
	bool hidden;
	struct export *covering;	      /* NULL: plain */
	const struct export_options *options; /* this client's in `covering`; NULL: none */
};

static bool pseudo_visible(struct listing *l, const struct dir_entry *entry)
{
	struct backend_export *exp = l->src.export->backend;
	struct object *node;
	bool visible;

	if (exp->backend->from_handle(exp, entry->handle.bytes, entry->handle.len, &node) != 0)
		return false;
	visible = export_pseudo_visible(l->c->exports, node, rpc_conn_peer(l->c->call->conn));
	object_unref(node);
	return visible;
}

static struct entry_view view_entry(struct listing *l, const struct dir_entry *entry)
{
	struct compound *c = l->c;
	struct export *here = l->src.export;
	struct entry_view v = { 0 };

	/* It went while we were listing: that is as if it had gone before. */
	if (entry->error == -ENOENT || entry->error == -ESTALE) {
		v.hidden = true;
		return v;
	}
	if (!l->junctions || entry->error)
		return v;
	v.covering = export_set_cross_handle(c->exports, here, &entry->handle);
	if (v.covering)
		v.options =
		    export_client_options(c->exports, v.covering, rpc_conn_peer(c->call->conn));
	if (!here->entry)
		v.hidden = v.covering && v.options ? false : !pseudo_visible(l, entry);
	return v;
}

static enum nfsstat4 put_attributes(struct listing *l, const struct dir_entry *entry,
				    const struct entry_view *view)
{
	if (entry->error)
		return put_error(l, entry, status_from_errno(entry->error));
	if (view->covering)
		return put_covering(l, entry, view->covering, view->options);
	return put_plain(l, entry);
}

/* True if the backend shall go on. */
static bool take_entry(struct listing *l, const struct dir_entry *entry,
		       const struct entry_view *view)
{
	struct xdr_out *x = l->x;
	struct xdr_mark mark = xdr_out_mark(x);
	uint32_t len = (uint32_t)strlen(entry->name);
	uint64_t size = 8 + 4 + len + xdr_pad(len); /* as dircount counts */
	enum nfsstat4 status;

	if (l->entries && size > l->dircount) {
		l->full = true;
		return false;
	}
	xdr_put_u32(x, true); /* an entry follows */
	xdr_put_u64(x, entry->cookie);
	xdr_put_opaque(x, entry->name, len);
	status = put_attributes(l, entry, view);
	if (status) {
		l->status = status;
		return false;
	}
	if (x->failed && x->limit > mark.len + mark.extent_len + ENTRY_ROOM) {
		l->status = NFS4ERR_DELAY; /* not the limit: out of memory */
		return false;
	}
	if (x->failed || xdr_out_total(x) > l->end) {
		xdr_out_rewind(x, mark);
		l->full = true;
		return false;
	}
	l->dircount -= size < l->dircount ? size : l->dircount;
	l->entries++;
	return true;
}

static bool emit(void *arg, const struct dir_entry *entry)
{
	struct listing *l = arg;
	struct entry_view view = view_entry(l, entry);

	return view.hidden || take_entry(l, entry, &view);
}

/* ---- the operation ---- */

static enum nfsstat4 check_args(struct compound *c, const struct readdir_op_args *a)
{
	static const uint8_t zero[NFS4_VERIFIER_SIZE];
	enum nfsstat4 status = place_want_directory(&c->current);

	if (status)
		return status;
	if (attr_intersects(&a->wanted, attr_set_only(c->minor)))
		return NFS4ERR_INVAL;
	if (a->cookie && a->cookie <= LAST_RESERVED_COOKIE)
		return NFS4ERR_BAD_COOKIE;
	if (a->cookie && memcmp(a->verifier, readdir_verifier, NFS4_VERIFIER_SIZE) != 0 &&
	    memcmp(a->verifier, zero, NFS4_VERIFIER_SIZE) != 0)
		return NFS4ERR_NOT_SAME;
	return a->maxcount < EMPTY_RESULT ? NFS4ERR_TOOSMALL : NFS4_OK;
}

/* What the entries need of the backend; `room` is what the reply has left. */
static void prepare(struct listing *l, struct compound *c, const struct readdir_op_args *a,
		    size_t room, struct readdir_args *rd)
{
	const struct place *dir = &c->current;
	struct attr_bitmap wanted = a->wanted;

	for (unsigned i = 0; i < ATTR_WORDS; i++)
		wanted.word[i] &= attr_supported(c->minor)->word[i];
	*l = (struct listing){
		.c = c,
		.x = reply_of(c),
		.wanted = wanted,
		.dircount = a->dircount ? a->dircount : UINT64_MAX,
		.want_attr = !attr_subset(&wanted, attr_of_dir_entry()),
		.need_object = attr_intersects(&wanted, attr_of_file_system()),
		.ask = deleg_knows_better(&wanted) && state_has_write_delegs(c->server->state),
		.src = { .c = c, .export = dir->export, .options = dir->options },
	};
	/*
	 * What is known without a look at the object is the same for a covered directory, so
	 * handles are not needed to find out; but in the pseudo file system some entries are left
	 * out.
	 */
	l->junctions = dir->export->has_junctions && (l->want_attr || !dir->export->entry);
	/* The two words behind the entries are counted already. */
	l->end = xdr_out_total(l->x) + (a->maxcount < room ? a->maxcount : room) - 8;

	*rd = (struct readdir_args){
		.cookie = a->cookie,
		.want_attr = l->want_attr,
		.want_handle =
		    l->junctions || l->need_object || l->ask || attr_test(&wanted, FATTR4_FILEHANDLE),
		.room = a->maxcount < room ? a->maxcount : room,
		.emit = emit,
		.arg = l,
	};
}

/* Not one entry: who asked for too little, the client's maxcount or its session? */
static enum nfsstat4 nothing_fits(struct compound *c, const struct readdir_op_args *a, size_t room)
{
	if (c->minor && room < a->maxcount)
		return compound_too_big(c);
	return NFS4ERR_TOOSMALL;
}

static enum nfsstat4 readdir_run(struct compound *c, void *args)
{
	const struct readdir_op_args *a = args;
	struct object *dir = c->current.object;
	struct xdr_out *x = reply_of(c);
	size_t room = x->limit > xdr_out_total(x) ? x->limit - xdr_out_total(x) : 0;
	struct xdr_mark mark = xdr_out_mark(x);
	struct listing *l;
	struct readdir_args rd;
	enum nfsstat4 status = check_args(c, a);
	int err;

	if (status)
		return status;
	if (room < EMPTY_RESULT)
		return nothing_fits(c, a, room);
	l = arena_alloc(&c->call->arena, sizeof(*l));
	if (!l)
		return NFS4ERR_DELAY;
	prepare(l, c, a, room, &rd);
	xdr_put_fixed(x, readdir_verifier, NFS4_VERIFIER_SIZE);
	err = dir->backend->readdir(dir, c->current.cred, &rd);
	if (err == -EINVAL && a->cookie)
		return NFS4ERR_BAD_COOKIE; /* the file system cannot go to where it says */
	if (err || l->status)
		return err ? status_from_errno(err) : l->status;
	if (l->full && l->entries == 0)
		return nothing_fits(c, a, room);
	if (l->asked) {
		xdr_out_rewind(x, mark);
		c->phase = 1;
		return deleg_ask_wait(c) == NFS4_PARKED ? NFS4_PARKED : readdir_run(c, args);
	}
	xdr_put_u32(x, false); /* no further entry */
	xdr_put_bool(x, rd.eof && !l->full);
	return NFS4_OK;
}

const struct op_row op_readdir = {
	.name = "READDIR",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.args_size = sizeof(struct readdir_op_args),
	.decode = readdir_decode,
	.run = readdir_run,
};

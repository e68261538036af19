/*
 * ACCESS: RFC 8881 section 18.1.
 *
 * `supported` says which of the asked bits mean something for an object of that type, `access`
 * which of those the caller has. The backend answers in read, write and execute; the protocol's
 * six bits are made of those. Removing is a matter of the directory that holds the name, so
 * DELETE is answered for directories, where it means: entries of it may go.
 */
#include "nfsd/ops_list.h"

/* The bits that exist; minor version 2 has three more (RFC 8276 section 8.5). */
#define BITS_KNOWN 0x3fu
#define BITS_XATTR (ACCESS4_XAREAD | ACCESS4_XAWRITE | ACCESS4_XALIST)

/* Files and directories have extended attributes; ops/xattr.c. */
#define OF_XATTRS                                \
	{ ACCESS4_XAREAD, ACCESS_READ, false },  \
	{ ACCESS4_XAWRITE, ACCESS_WRITE, true }, \
	{ ACCESS4_XALIST, ACCESS_READ, false }

struct access_args {
	uint32_t wanted;
};

struct access_meaning {
	uint32_t bit;	/* ACCESS4_* */
	unsigned needs; /* enum access_bits */
	bool modifies;	/* never granted on a read-only export */
};

static const struct access_meaning of_directory[] = {
	{ ACCESS4_READ, ACCESS_READ, false },
	{ ACCESS4_LOOKUP, ACCESS_EXECUTE, false },
	{ ACCESS4_MODIFY, ACCESS_WRITE | ACCESS_EXECUTE, true },
	{ ACCESS4_EXTEND, ACCESS_WRITE | ACCESS_EXECUTE, true },
	{ ACCESS4_DELETE, ACCESS_WRITE | ACCESS_EXECUTE, true },
	OF_XATTRS,
	{ 0 },
};

static const struct access_meaning of_file[] = {
	{ ACCESS4_READ, ACCESS_READ, false },
	{ ACCESS4_MODIFY, ACCESS_WRITE, true },
	{ ACCESS4_EXTEND, ACCESS_WRITE, true },
	{ ACCESS4_EXECUTE, ACCESS_EXECUTE, false },
	OF_XATTRS,
	{ 0 },
};

static const struct access_meaning of_link[] = {
	{ ACCESS4_READ, ACCESS_READ, false },
	{ ACCESS4_MODIFY, ACCESS_WRITE, true },
	{ ACCESS4_EXTEND, ACCESS_WRITE, true },
	{ ACCESS4_EXECUTE, ACCESS_EXECUTE, false },
	{ 0 },
};

/* Devices, pipes and sockets are the client's own: writing to them does not write here. */
static const struct access_meaning of_special[] = {
	{ ACCESS4_READ, ACCESS_READ, false },
	{ ACCESS4_MODIFY, ACCESS_WRITE, false },
	{ ACCESS4_EXTEND, ACCESS_WRITE, false },
	{ ACCESS4_EXECUTE, ACCESS_EXECUTE, false },
	{ 0 },
};

static const struct access_meaning *meanings(enum file_type type)
{
	switch (type) {
	case FILE_DIRECTORY:
		return of_directory;
	case FILE_REGULAR:
		return of_file;
	case FILE_SYMLINK:
		return of_link;
	default:
		return of_special;
	}
}

static bool access_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct access_args *a = args;

	return xdr_get_u32(x, &a->wanted);
}

static enum nfsstat4 access_run(struct compound *c, void *args)
{
	const struct access_args *a = args;
	struct object *obj = c->current.object;
	const struct access_meaning *table = meanings(obj->type);
	bool writable = compound_want_writable(c) == NFS4_OK;
	unsigned needed = 0, have = 0;
	uint32_t wanted = a->wanted, supported = 0, granted = 0;
	int err;

	if (wanted & ~(BITS_KNOWN | (c->minor >= 2 ? BITS_XATTR : 0)))
		return NFS4ERR_INVAL;
	if (!obj->backend->getxattr)
		wanted &= ~BITS_XATTR;
	for (const struct access_meaning *m = table; m->bit; m++)
		if (wanted & m->bit) {
			supported |= m->bit;
			needed |= m->needs;
		}
	err = needed ? obj->backend->access(obj, c->current.cred, needed, &have) : 0;
	if (err)
		return status_from_errno(err);
	for (const struct access_meaning *m = table; m->bit; m++)
		if ((supported & m->bit) && (have & m->needs) == m->needs &&
		    (writable || !m->modifies))
			granted |= m->bit;
	xdr_put_u32(reply_of(c), supported);
	xdr_put_u32(reply_of(c), granted);
	return NFS4_OK;
}

const struct op_row op_access = {
	.name = "ACCESS",
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 8,
	.args_size = sizeof(struct access_args),
	.decode = access_decode,
	.run = access_run,
};

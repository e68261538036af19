/*
 * The operations: one row each in ops.c, one file each in ops/.
 *
 * A file in ops/ holds everything of its operation: the argument structure, decode (arguments
 * from XDR; false: BADXDR), and run (does it, and encodes the result's body into the reply;
 * the operation number and status around it are the dispatcher's).
 */
#pragma once

#include "nfsd/compound.h"

enum op_flags {
	ROW_NEEDS_FH = 1 << 0,	   /* NOFILEHANDLE without a current filehandle */
	ROW_NEEDS_SAVED_FH = 1 << 1, /* likewise the saved one */
	ROW_NO_SESSION = 1 << 2,	   /* minor > 0: may come first in place of SEQUENCE, then alone */
	ROW_ERROR_MASK = 1 << 4,    /* a failure, too, is followed by a bitmap (SETATTR4res) */
	ROW_ONCE = 1 << 6,	   /* may change something that a retry would not find as it was */
	ROW_MODIFIES = 1 << 3,	   /* changes something: cached for 4.0's duplicate requests */
	ROW_LEADS_ON = 1 << 5,	   /* may be asked with a flavor that does not do for the filehandle */
};

struct op_row {
	const char *name;
	uint8_t min_minor, max_minor;
	uint16_t flags;	   /* enum op_flags */
	uint32_t max_body; /* bound of a successful body, bytes, if it is not asked for by size */
	size_t args_size;  /* 0: no arguments */
	bool (*decode)(struct xdr_in *x, struct arena *arena, void *args);
	enum nfsstat4 (*run)(struct compound *c, void *args); /* NULL: NOTSUPP */
	/*
	 * The client that the arguments speak of, where no session does; 0: of none. In a cluster it
	 * is made at home here before the operation runs. May be NULL.
	 */
	uint64_t (*client)(struct compound *c, const void *args);
};

/* op_row.client for what has a stateid, of minor version 0. */
static inline uint64_t stateid_speaks_of(struct compound *c, const struct stateid *id)
{
	return c->minor == 0 ? state_stateid_client(c->server->state, id) : 0;
}

/* The row of `opnum`; NULL if the number is illegal in that minor version. */
const struct op_row *op_find(uint32_t opnum, uint32_t minor);

/* ---- helpers of several operations ---- */

/* A component4: checks length and (option of the export) UTF-8, then gives a C string. */
struct name4 {
	const uint8_t *p;
	uint32_t len;
};

static inline bool xdr_get_name(struct xdr_in *x, struct name4 *n)
{
	return xdr_get_opaque(x, NFS4_UINT32_MAX, &n->p, &n->len);
}

/*
 * INVAL (empty), NAMETOOLONG, BADNAME (".", "..", '/'), BADCHAR (NUL, bad UTF-8 if the export asks for UTF-8).
 * *out is in the arena.
 */
enum nfsstat4 compound_check_name(struct compound *c, const struct name4 *name, const char **out);

static inline bool xdr_get_stateid(struct xdr_in *x, struct stateid *id)
{
	return xdr_get_u32(x, &id->seqid) && xdr_get_copy(x, id->other, sizeof(id->other));
}

static inline void xdr_put_stateid(struct xdr_out *x, const struct stateid *id)
{
	xdr_put_u32(x, id->seqid);
	xdr_put_fixed(x, id->other, sizeof(id->other));
}

static inline void xdr_put_change_info(struct xdr_out *x, const struct dir_change *change)
{
	xdr_put_bool(x, change->atomic);
	xdr_put_u64(x, change->before);
	xdr_put_u64(x, change->after);
}

/* True unless OPEN's arguments, which are at `x`, name the current filehandle itself. */
bool open_names_file(struct xdr_in *x, struct arena *arena);

/* errno (negative) of a backend as the status of NFSv4. */
enum nfsstat4 status_from_errno(int err);

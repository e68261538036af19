/*
 * Requests: COMPOUND and the arguments of every operation (RFC 7531, RFC 8881, RFC 7863).
 */
#include "tests/wire/nfs4.h"

#include <stdarg.h>
#include <string.h>

#define COMPOUND_CAP 2048

const struct sid SID_ANONYMOUS = { 0 };
const struct sid SID_BYPASS = { 0xffffffff,
				{ 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255 } };
const struct sid SID_CURRENT = { 1, { 0 } };
const struct sid SID_INVALID = { 0xffffffff, { 0 } };

/* ---- bitmaps and attributes ---- */

void bm_set(struct bitmap *b, unsigned attr)
{
	check(attr / 32 < 3);
	b->w[attr / 32] |= 1u << attr % 32;
	if (b->n <= attr / 32)
		b->n = attr / 32 + 1;
}

bool bm_has(const struct bitmap *b, unsigned attr)
{
	return attr / 32 < b->n && attr / 32 < 3 && (b->w[attr / 32] >> attr % 32 & 1);
}

struct bitmap bm_of(int first, ...)
{
	struct bitmap b = { 0 };
	va_list ap;

	va_start(ap, first);
	for (int a = first; a >= 0; a = va_arg(ap, int))
		bm_set(&b, (unsigned)a);
	va_end(ap);
	return b;
}

void at_num(struct attrs *a, unsigned attr, uint64_t v)
{
	bm_set(&a->mask, attr);
	a->a[attr].num = v;
}

void at_str(struct attrs *a, unsigned attr, const char *s)
{
	bm_set(&a->mask, attr);
	a->a[attr].str_len = (uint32_t)strlen(s);
	a->a[attr].str = test_alloc(strlen(s) + 1);
	memcpy(a->a[attr].str, s, strlen(s));
}

void at_time(struct attrs *a, unsigned attr, int64_t sec, uint32_t nsec)
{
	bm_set(&a->mask, attr);
	a->a[attr].num = (uint64_t)sec;
	a->a[attr].num2 = nsec;
}

void at_time_now(struct attrs *a, unsigned attr)
{
	bm_set(&a->mask, attr);
	a->a[attr].num2 = UINT64_MAX;
}

static void put_bitmap(struct enc *e, const struct bitmap *b)
{
	put_u32(e, b->n);
	for (uint32_t i = 0; i < b->n; i++)
		put_u32(e, i < 3 ? b->w[i] : 0);
}

static void put_attr(struct enc *e, unsigned n, const struct attr *a)
{
	switch (n) {
	case FATTR4_TYPE:
	case FATTR4_MODE:
	case FATTR4_FH_EXPIRE_TYPE:
	case FATTR4_LEASE_TIME:
	case FATTR4_NUMLINKS:
	case FATTR4_ACLSUPPORT:
	case FATTR4_MAXNAME:
	case FATTR4_MAXLINK:
	case FATTR4_RDATTR_ERROR:
	case FATTR4_CHANGE_ATTR_TYPE:
		put_u32(e, (uint32_t)a->num);
		break;
	case FATTR4_CHANGE:
	case FATTR4_SIZE:
	case FATTR4_FILEID:
	case FATTR4_MOUNTED_ON_FILEID:
	case FATTR4_SPACE_USED:
	case FATTR4_MAXFILESIZE:
	case FATTR4_MAXREAD:
	case FATTR4_MAXWRITE:
		put_u64(e, a->num);
		break;
	case FATTR4_LINK_SUPPORT:
	case FATTR4_SYMLINK_SUPPORT:
	case FATTR4_NAMED_ATTR:
	case FATTR4_UNIQUE_HANDLES:
	case FATTR4_ARCHIVE:
	case FATTR4_HIDDEN:
	case FATTR4_SYSTEM:
	case FATTR4_CASE_INSENSITIVE:
	case FATTR4_CASE_PRESERVING:
		put_bool(e, a->num);
		break;
	case FATTR4_FSID:
		put_u64(e, a->num);
		put_u64(e, a->num2);
		break;
	case FATTR4_FILEHANDLE:
	case FATTR4_OWNER:
	case FATTR4_OWNER_GROUP:
	case FATTR4_MIMETYPE:
		put_opaque(e, a->str, a->str_len);
		break;
	case FATTR4_TIME_ACCESS_SET:
	case FATTR4_TIME_MODIFY_SET:
		if (a->num2 == UINT64_MAX) {
			put_u32(e, SET_TO_SERVER_TIME4);
			break;
		}
		put_u32(e, SET_TO_CLIENT_TIME4);
		/* fall through */
	case FATTR4_TIME_ACCESS:
	case FATTR4_TIME_MODIFY:
	case FATTR4_TIME_METADATA:
	case FATTR4_TIME_CREATE:
	case FATTR4_TIME_BACKUP:
	case FATTR4_TIME_DELTA:
	case FATTR4_TIME_DELEG_ACCESS:
	case FATTR4_TIME_DELEG_MODIFY:
		put_i64(e, (int64_t)a->num);
		put_u32(e, (uint32_t)a->num2);
		break;
	case FATTR4_MODE_SET_MASKED:
	case FATTR4_MODE_UMASK:
		put_u32(e, (uint32_t)a->num);
		put_u32(e, (uint32_t)a->num2);
		break;
	case FATTR4_SUPPORTED_ATTRS:
	case FATTR4_SUPPATTR_EXCLCREAT:
		put_bitmap(e, &a->bm);
		break;
	default:
		/* Unknown to this encoder: the value as it was given. */
		if (a->str_len)
			put_fixed(e, a->str, a->str_len);
		else
			put_u32(e, (uint32_t)a->num);
	}
}

/* fattr4 */
static void put_attrs(struct enc *e, const struct attrs *a)
{
	static const struct attrs none;
	struct enc values;

	if (!a)
		a = &none;
	put_bitmap(e, &a->mask);
	enc_init(&values, 512);
	for (unsigned i = 0; i < ATTR_MAX; i++)
		if (bm_has(&a->mask, i))
			put_attr(&values, i, &a->a[i]);
	put_opaque(e, values.buf, (uint32_t)enc_len(&values));
}

/* ---- compounds ---- */

struct compound *compound_begin(struct conn *c, uint32_t minor, const char *tag)
{
	struct compound *q = test_alloc(sizeof(*q));

	q->conn = c;
	q->minor = minor;
	enc_init(&q->enc, COMPOUND_CAP);
	q->xid = rpc_put_call(&q->enc, c, NFS4_PROGRAM, NFS4_VERSION, NFSPROC4_COMPOUND);
	put_string(&q->enc, tag);
	put_u32(&q->enc, minor);
	q->count_at = xdr_getpos(&q->enc.xdr);
	put_u32(&q->enc, 0);
	return q;
}

const uint8_t *compound_bytes(struct compound *q, size_t *len)
{
	u_int end = xdr_getpos(&q->enc.xdr);

	check(xdr_setpos(&q->enc.xdr, q->count_at));
	put_u32(&q->enc, q->nops);
	check(xdr_setpos(&q->enc.xdr, end));
	*len = end;
	return (const uint8_t *)q->enc.buf;
}

bool compound_send(struct compound *q)
{
	size_t len;
	const uint8_t *bytes = compound_bytes(q, &len);

	return conn_send(q->conn, bytes, len);
}

void add_raw(struct compound *q, uint32_t op)
{
	check(q->nops < OPS_MAX);
	q->op_at[q->nops] = xdr_getpos(&q->enc.xdr);
	q->ops[q->nops++] = op;
	put_u32(&q->enc, op);
}

static void put_sid(struct enc *e, const struct sid *sid)
{
	put_u32(e, sid->seqid);
	put_fixed(e, sid->other, sizeof(sid->other));
}

void add_access(struct compound *q, uint32_t access)
{
	add_raw(q, OP_ACCESS);
	put_u32(&q->enc, access);
}

void add_close(struct compound *q, uint32_t seqid, const struct sid *sid)
{
	add_raw(q, OP_CLOSE);
	put_u32(&q->enc, seqid);
	put_sid(&q->enc, sid);
}

void add_commit(struct compound *q, uint64_t offset, uint32_t count)
{
	add_raw(q, OP_COMMIT);
	put_u64(&q->enc, offset);
	put_u32(&q->enc, count);
}

void add_create(struct compound *q, uint32_t type, const char *name, const char *data, uint32_t d1,
		uint32_t d2, const struct attrs *a)
{
	add_raw(q, OP_CREATE);
	put_u32(&q->enc, type);
	if (type == NF4LNK)
		put_string(&q->enc, data);
	if (type == NF4BLK || type == NF4CHR) {
		put_u32(&q->enc, d1);
		put_u32(&q->enc, d2);
	}
	put_string(&q->enc, name);
	put_attrs(&q->enc, a);
}

void add_delegpurge(struct compound *q, uint64_t clientid)
{
	add_raw(q, OP_DELEGPURGE);
	put_u64(&q->enc, clientid);
}

void add_delegreturn(struct compound *q, const struct sid *sid)
{
	add_raw(q, OP_DELEGRETURN);
	put_sid(&q->enc, sid);
}

void add_getattr(struct compound *q, struct bitmap bm)
{
	add_raw(q, OP_GETATTR);
	put_bitmap(&q->enc, &bm);
}

void add_getfh(struct compound *q)
{
	add_raw(q, OP_GETFH);
}

void add_link(struct compound *q, const char *name)
{
	add_raw(q, OP_LINK);
	put_string(&q->enc, name);
}

static void put_lock(struct compound *q, uint32_t type, bool reclaim, uint64_t off, uint64_t len,
		     bool new_owner)
{
	add_raw(q, OP_LOCK);
	put_u32(&q->enc, type);
	put_bool(&q->enc, reclaim);
	put_u64(&q->enc, off);
	put_u64(&q->enc, len);
	put_bool(&q->enc, new_owner);
}

void add_lock_new(struct compound *q, uint32_t type, bool reclaim, uint64_t off, uint64_t len,
		  uint32_t open_seqid, const struct sid *open, uint32_t lock_seqid,
		  uint64_t clientid, const char *owner)
{
	put_lock(q, type, reclaim, off, len, true);
	put_u32(&q->enc, open_seqid);
	put_sid(&q->enc, open);
	put_u32(&q->enc, lock_seqid);
	put_u64(&q->enc, clientid);
	put_string(&q->enc, owner);
}

void add_lock_more(struct compound *q, uint32_t type, bool reclaim, uint64_t off, uint64_t len,
		   const struct sid *lock, uint32_t lock_seqid)
{
	put_lock(q, type, reclaim, off, len, false);
	put_sid(&q->enc, lock);
	put_u32(&q->enc, lock_seqid);
}

void add_lockt(struct compound *q, uint32_t type, uint64_t off, uint64_t len, uint64_t clientid,
	       const char *owner)
{
	add_raw(q, OP_LOCKT);
	put_u32(&q->enc, type);
	put_u64(&q->enc, off);
	put_u64(&q->enc, len);
	put_u64(&q->enc, clientid);
	put_string(&q->enc, owner);
}

void add_locku(struct compound *q, uint32_t type, uint32_t seqid, const struct sid *sid,
	       uint64_t off, uint64_t len)
{
	add_raw(q, OP_LOCKU);
	put_u32(&q->enc, type);
	put_u32(&q->enc, seqid);
	put_sid(&q->enc, sid);
	put_u64(&q->enc, off);
	put_u64(&q->enc, len);
}

void add_lookup(struct compound *q, const char *name)
{
	add_lookup_n(q, name, (uint32_t)strlen(name));
}

void add_lookup_n(struct compound *q, const void *name, uint32_t len)
{
	add_raw(q, OP_LOOKUP);
	put_opaque(&q->enc, name, len);
}

void add_lookupp(struct compound *q)
{
	add_raw(q, OP_LOOKUPP);
}

void add_nverify(struct compound *q, const struct attrs *a)
{
	add_raw(q, OP_NVERIFY);
	put_attrs(&q->enc, a);
}

void add_openattr(struct compound *q, bool create)
{
	add_raw(q, OP_OPENATTR);
	put_bool(&q->enc, create);
}

void add_open_confirm(struct compound *q, const struct sid *sid, uint32_t seqid)
{
	add_raw(q, OP_OPEN_CONFIRM);
	put_sid(&q->enc, sid);
	put_u32(&q->enc, seqid);
}

void add_open_downgrade(struct compound *q, const struct sid *sid, uint32_t seqid, uint32_t access,
			uint32_t deny)
{
	add_raw(q, OP_OPEN_DOWNGRADE);
	put_sid(&q->enc, sid);
	put_u32(&q->enc, seqid);
	put_u32(&q->enc, access);
	put_u32(&q->enc, deny);
}

void add_putfh(struct compound *q, const struct fh *fh)
{
	add_raw(q, OP_PUTFH);
	put_opaque(&q->enc, fh->data, fh->len);
}

void add_putpubfh(struct compound *q)
{
	add_raw(q, OP_PUTPUBFH);
}

void add_putrootfh(struct compound *q)
{
	add_raw(q, OP_PUTROOTFH);
}

void add_read(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t count)
{
	add_raw(q, OP_READ);
	put_sid(&q->enc, sid);
	put_u64(&q->enc, offset);
	put_u32(&q->enc, count);
}

void add_readdir(struct compound *q, uint64_t cookie, const struct verf *verf, uint32_t dircount,
		 uint32_t maxcount, struct bitmap bm)
{
	static const struct verf zero;

	add_raw(q, OP_READDIR);
	put_u64(&q->enc, cookie);
	put_fixed(&q->enc, verf ? verf->data : zero.data, NFS4_VERIFIER_SIZE);
	put_u32(&q->enc, dircount);
	put_u32(&q->enc, maxcount);
	put_bitmap(&q->enc, &bm);
}

void add_readlink(struct compound *q)
{
	add_raw(q, OP_READLINK);
}

void add_remove(struct compound *q, const char *name)
{
	add_raw(q, OP_REMOVE);
	put_string(&q->enc, name);
}

void add_rename(struct compound *q, const char *from, const char *to)
{
	add_raw(q, OP_RENAME);
	put_string(&q->enc, from);
	put_string(&q->enc, to);
}

void add_renew(struct compound *q, uint64_t clientid)
{
	add_raw(q, OP_RENEW);
	put_u64(&q->enc, clientid);
}

void add_restorefh(struct compound *q)
{
	add_raw(q, OP_RESTOREFH);
}

void add_savefh(struct compound *q)
{
	add_raw(q, OP_SAVEFH);
}

void add_secinfo(struct compound *q, const char *name)
{
	add_raw(q, OP_SECINFO);
	put_string(&q->enc, name);
}

void add_setattr(struct compound *q, const struct sid *sid, const struct attrs *a)
{
	add_raw(q, OP_SETATTR);
	put_sid(&q->enc, sid);
	put_attrs(&q->enc, a);
}

void add_setclientid(struct compound *q, const struct verf *verf, const char *id, uint32_t cb_prog,
		     const char *netid, const char *addr, uint32_t ident)
{
	add_raw(q, OP_SETCLIENTID);
	put_fixed(&q->enc, verf->data, NFS4_VERIFIER_SIZE);
	put_string(&q->enc, id);
	put_u32(&q->enc, cb_prog);
	put_string(&q->enc, netid);
	put_string(&q->enc, addr);
	put_u32(&q->enc, ident);
}

void add_setclientid_confirm(struct compound *q, uint64_t clientid, const struct verf *verf)
{
	add_raw(q, OP_SETCLIENTID_CONFIRM);
	put_u64(&q->enc, clientid);
	put_fixed(&q->enc, verf->data, NFS4_VERIFIER_SIZE);
}

void add_verify(struct compound *q, const struct attrs *a)
{
	add_raw(q, OP_VERIFY);
	put_attrs(&q->enc, a);
}

void add_write(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t stable,
	       const void *data, uint32_t len)
{
	add_raw(q, OP_WRITE);
	put_sid(&q->enc, sid);
	put_u64(&q->enc, offset);
	put_u32(&q->enc, stable);
	put_opaque(&q->enc, data, len);
}

void add_release_lockowner(struct compound *q, uint64_t clientid, const char *owner)
{
	add_raw(q, OP_RELEASE_LOCKOWNER);
	put_u64(&q->enc, clientid);
	put_string(&q->enc, owner);
}

static void put_createhow(struct enc *e, const struct open_args *a)
{
	put_u32(e, a->createmode);
	if (a->createmode == EXCLUSIVE4 || a->createmode == EXCLUSIVE4_1)
		put_fixed(e, a->verf.data, NFS4_VERIFIER_SIZE);
	if (a->createmode != EXCLUSIVE4)
		put_attrs(e, a->attrs);
}

void add_open(struct compound *q, const struct open_args *a)
{
	struct enc *e = &q->enc;

	add_raw(q, OP_OPEN);
	put_u32(e, a->seqid);
	put_u32(e, a->access);
	put_u32(e, a->deny);
	put_u64(e, a->clientid);
	put_string(e, a->owner);
	put_u32(e, a->opentype);
	if (a->opentype == OPEN4_CREATE)
		put_createhow(e, a);
	put_u32(e, a->claim);
	switch (a->claim) {
	case CLAIM_NULL:
	case CLAIM_DELEGATE_PREV:
		put_opaque(e, a->name, a->name_len ? a->name_len : (uint32_t)strlen(a->name));
		break;
	case CLAIM_PREVIOUS:
		put_u32(e, a->delegate_type);
		break;
	case CLAIM_DELEGATE_CUR:
		put_sid(e, &a->deleg_sid);
		put_string(e, a->name);
		break;
	case CLAIM_DELEG_CUR_FH:
		put_sid(e, &a->deleg_sid);
		break;
	}
}

/* ---- minor version 1 ---- */

/* callback_sec_parms4<>: one, AUTH_NONE */
static void put_cb_sec(struct enc *e)
{
	put_u32(e, 1);
	put_u32(e, 0);
}

void add_backchannel_ctl(struct compound *q, uint32_t program)
{
	add_raw(q, OP_BACKCHANNEL_CTL);
	put_u32(&q->enc, program);
	put_cb_sec(&q->enc);
}

void add_bind_conn(struct compound *q, const uint8_t *session, uint32_t dir)
{
	add_raw(q, OP_BIND_CONN_TO_SESSION);
	put_fixed(&q->enc, session, NFS4_SESSIONID_SIZE);
	put_u32(&q->enc, dir);
	put_bool(&q->enc, false);
}

void add_exchange_id(struct compound *q, const struct verf *verf, const char *owner, uint32_t flags,
		     uint32_t protect)
{
	struct enc *e = &q->enc;

	add_raw(q, OP_EXCHANGE_ID);
	put_fixed(e, verf->data, NFS4_VERIFIER_SIZE);
	put_string(e, owner);
	put_u32(e, flags);
	put_u32(e, protect);
	if (protect == SP4_MACH_CRED) {
		put_u32(e, 0); /* must enforce: empty bitmap */
		put_u32(e, 0); /* must allow */
	}
	if (protect == SP4_SSV) {
		put_u32(e, 0);
		put_u32(e, 0);
		put_u32(e, 0); /* hash algorithms */
		put_u32(e, 0); /* encryption algorithms */
		put_u32(e, 1); /* window */
		put_u32(e, 1); /* GSS handles */
	}
	put_u32(e, 1); /* one nfs_impl_id4 */
	put_string(e, "example.org");
	put_string(e, "atoll wire test");
	put_i64(e, 1);
	put_u32(e, 0);
}

static void put_chan(struct enc *e, const struct chan *c)
{
	put_u32(e, c->header_pad);
	put_u32(e, c->max_request);
	put_u32(e, c->max_response);
	put_u32(e, c->max_cached);
	put_u32(e, c->max_ops);
	put_u32(e, c->max_requests);
	put_u32(e, 0); /* no RDMA */
}

void add_create_session(struct compound *q, uint64_t clientid, uint32_t sequence, uint32_t flags,
			const struct chan *fore, const struct chan *back)
{
	struct enc *e = &q->enc;

	add_raw(q, OP_CREATE_SESSION);
	put_u64(e, clientid);
	put_u32(e, sequence);
	put_u32(e, flags);
	put_chan(e, fore);
	put_chan(e, back);
	put_u32(e, 0x40000000); /* callback program */
	put_cb_sec(e);
}

void add_destroy_session(struct compound *q, const uint8_t *session)
{
	add_raw(q, OP_DESTROY_SESSION);
	put_fixed(&q->enc, session, NFS4_SESSIONID_SIZE);
}

void add_free_stateid(struct compound *q, const struct sid *sid)
{
	add_raw(q, OP_FREE_STATEID);
	put_sid(&q->enc, sid);
}

void add_want_delegation(struct compound *q, uint32_t want, uint32_t claim, uint32_t type)
{
	add_raw(q, OP_WANT_DELEGATION);
	put_u32(&q->enc, want);
	put_u32(&q->enc, claim);
	if (claim == CLAIM_PREVIOUS)
		put_u32(&q->enc, type);
}

void add_get_dir_delegation(struct compound *q)
{
	add_get_dir_delegation_of(q, false, 0);
}

void add_get_dir_delegation_of(struct compound *q, bool signal, uint32_t notifications)
{
	struct enc *e = &q->enc;

	add_raw(q, OP_GET_DIR_DELEGATION);
	put_bool(e, signal);
	put_u32(e, notifications ? 1 : 0);
	if (notifications)
		put_u32(e, notifications);
	put_i64(e, 0);
	put_u32(e, 0);
	put_i64(e, 0);
	put_u32(e, 0);
	put_u32(e, 0); /* child attributes */
	put_u32(e, 0); /* directory attributes */
}

void add_secinfo_no_name(struct compound *q, uint32_t style)
{
	add_raw(q, OP_SECINFO_NO_NAME);
	put_u32(&q->enc, style);
}

void add_sequence(struct compound *q, const uint8_t *session, uint32_t seqid, uint32_t slot,
		  uint32_t highest_slot, bool cache_this)
{
	add_raw(q, OP_SEQUENCE);
	put_fixed(&q->enc, session, NFS4_SESSIONID_SIZE);
	put_u32(&q->enc, seqid);
	put_u32(&q->enc, slot);
	put_u32(&q->enc, highest_slot);
	put_bool(&q->enc, cache_this);
}

void add_test_stateid(struct compound *q, const struct sid *sids, uint32_t n)
{
	add_raw(q, OP_TEST_STATEID);
	put_u32(&q->enc, n);
	for (uint32_t i = 0; i < n; i++)
		put_sid(&q->enc, &sids[i]);
}

void add_destroy_clientid(struct compound *q, uint64_t clientid)
{
	add_raw(q, OP_DESTROY_CLIENTID);
	put_u64(&q->enc, clientid);
}

void add_reclaim_complete(struct compound *q, bool one_fs)
{
	add_raw(q, OP_RECLAIM_COMPLETE);
	put_bool(&q->enc, one_fs);
}

/* ---- minor version 2 ---- */

static void put_range(struct compound *q, uint32_t op, const struct sid *sid, uint64_t offset,
		      uint64_t len)
{
	add_raw(q, op);
	put_sid(&q->enc, sid);
	put_u64(&q->enc, offset);
	put_u64(&q->enc, len);
}

void add_allocate(struct compound *q, const struct sid *sid, uint64_t offset, uint64_t len)
{
	put_range(q, OP_ALLOCATE, sid, offset, len);
}

void add_deallocate(struct compound *q, const struct sid *sid, uint64_t offset, uint64_t len)
{
	put_range(q, OP_DEALLOCATE, sid, offset, len);
}

void add_seek(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t what)
{
	add_raw(q, OP_SEEK);
	put_sid(&q->enc, sid);
	put_u64(&q->enc, offset);
	put_u32(&q->enc, what);
}

void add_copy(struct compound *q, const struct sid *src, const struct sid *dst, uint64_t src_off,
	      uint64_t dst_off, uint64_t len, bool consecutive, bool synchronous)
{
	add_raw(q, OP_COPY);
	put_sid(&q->enc, src);
	put_sid(&q->enc, dst);
	put_u64(&q->enc, src_off);
	put_u64(&q->enc, dst_off);
	put_u64(&q->enc, len);
	put_bool(&q->enc, consecutive);
	put_bool(&q->enc, synchronous);
	put_u32(&q->enc, 0); /* no source server */
}

void add_clone(struct compound *q, const struct sid *src, const struct sid *dst, uint64_t src_off,
	       uint64_t dst_off, uint64_t len)
{
	add_raw(q, OP_CLONE);
	put_sid(&q->enc, src);
	put_sid(&q->enc, dst);
	put_u64(&q->enc, src_off);
	put_u64(&q->enc, dst_off);
	put_u64(&q->enc, len);
}

void add_io_advise(struct compound *q, const struct sid *sid, uint64_t offset, uint64_t len,
		   struct bitmap hints)
{
	put_range(q, OP_IO_ADVISE, sid, offset, len);
	put_bitmap(&q->enc, &hints);
}

void add_read_plus(struct compound *q, const struct sid *sid, uint64_t offset, uint32_t count)
{
	add_raw(q, OP_READ_PLUS);
	put_sid(&q->enc, sid);
	put_u64(&q->enc, offset);
	put_u32(&q->enc, count);
}

void add_offload_status(struct compound *q, uint32_t op, const struct sid *sid)
{
	add_raw(q, op);
	put_sid(&q->enc, sid);
}

void add_getxattr(struct compound *q, const char *key)
{
	add_raw(q, OP_GETXATTR);
	put_string(&q->enc, key);
}

void add_setxattr(struct compound *q, uint32_t option, const char *key, const void *value,
		  uint32_t len)
{
	add_raw(q, OP_SETXATTR);
	put_u32(&q->enc, option);
	put_string(&q->enc, key);
	put_opaque(&q->enc, value, len);
}

void add_listxattrs(struct compound *q, uint64_t cookie, uint32_t maxcount)
{
	add_raw(q, OP_LISTXATTRS);
	put_u64(&q->enc, cookie);
	put_u32(&q->enc, maxcount);
}

void add_removexattr(struct compound *q, const char *key)
{
	add_raw(q, OP_REMOVEXATTR);
	put_string(&q->enc, key);
}

/*
 * Replies: COMPOUND4res and the result of every operation, decoded strictly. Whatever is
 * missing, too long, out of its range or left over fails the test.
 */
#include "tests/wire/nfs4.h"

#include <stdio.h>
#include <string.h>

struct dec {
	XDR xdr;
	uint32_t len;
	const char *where; /* for messages */
};

static uint32_t get_u32(struct dec *d)
{
	uint32_t v;

	if (!xdr_uint32_t(&d->xdr, &v))
		fail_with("reply too short in %s", d->where);
	return v;
}

static uint64_t get_u64(struct dec *d)
{
	uint64_t v;

	if (!xdr_uint64_t(&d->xdr, &v))
		fail_with("reply too short in %s", d->where);
	return v;
}

static bool get_bool(struct dec *d)
{
	uint32_t v = get_u32(d);

	if (v > 1)
		fail_with("a boolean is %u in %s", v, d->where);
	return v;
}

static void get_fixed(struct dec *d, void *to, uint32_t len)
{
	if (!xdr_opaque(&d->xdr, to, len))
		fail_with("reply too short in %s", d->where);
}

/* Counted bytes of the test's memory, with a NUL behind. */
static char *get_opaque(struct dec *d, uint32_t max, uint32_t *len)
{
	char *p;

	*len = get_u32(d);
	if (*len > max || *len > d->len)
		fail_with("%u bytes where %u are the limit in %s", *len, max, d->where);
	p = test_alloc((size_t)*len + 1);
	get_fixed(d, p, *len);

	/* libtirpc skips the padding; RFC 4506 section 3 says that it is zero. */
	static const char zeros[4];
	u_int at = xdr_getpos(&d->xdr);
	uint32_t pad = (4 - *len % 4) % 4;
	const char *base = (const char *)d->xdr.x_base;

	check(memcmp(base + at - pad, zeros, pad) == 0);
	return p;
}

static void get_sid(struct dec *d, struct sid *sid)
{
	sid->seqid = get_u32(d);
	get_fixed(d, sid->other, sizeof(sid->other));
}

static void get_cinfo(struct dec *d, struct cinfo *c)
{
	c->atomic = get_bool(d);
	c->before = get_u64(d);
	c->after = get_u64(d);
}

static void get_bitmap(struct dec *d, struct bitmap *b)
{
	b->n = get_u32(d);
	if (b->n > 3)
		fail_with("a bitmap of %u words in %s", b->n, d->where);
	for (uint32_t i = 0; i < b->n; i++)
		b->w[i] = get_u32(d);
}

static void skip_acl(struct dec *d)
{
	uint32_t n = get_u32(d), len;

	for (uint32_t i = 0; i < n; i++) {
		get_u32(d);
		get_u32(d);
		get_u32(d);
		get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
	}
}

static uint32_t skip_pathname(struct dec *d)
{
	uint32_t n = get_u32(d), len;

	for (uint32_t i = 0; i < n; i++)
		get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
	return n;
}

/* fs_locations4; num: the number of locations */
static uint32_t get_fs_locations(struct dec *d)
{
	uint32_t n, len;

	skip_pathname(d);
	n = get_u32(d);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t servers = get_u32(d);

		for (uint32_t s = 0; s < servers; s++)
			get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
		skip_pathname(d);
	}
	return n;
}

static uint32_t get_u32_list(struct dec *d)
{
	uint32_t n = get_u32(d);

	for (uint32_t i = 0; i < n; i++)
		get_u32(d);
	return n;
}

static void get_attr(struct dec *d, unsigned n, struct attr *a)
{
	switch (n) {
	case FATTR4_SUPPORTED_ATTRS:
	case FATTR4_SUPPATTR_EXCLCREAT:
		get_bitmap(d, &a->bm);
		break;
	case FATTR4_TYPE:
	case FATTR4_FH_EXPIRE_TYPE:
	case FATTR4_LEASE_TIME:
	case FATTR4_RDATTR_ERROR:
	case FATTR4_ACLSUPPORT:
	case FATTR4_MAXLINK:
	case FATTR4_MAXNAME:
	case FATTR4_MODE:
	case FATTR4_NUMLINKS:
	case FATTR4_FS_CHARSET_CAP:
	case FATTR4_CHANGE_ATTR_TYPE:
	case FATTR4_CLONE_BLKSIZE:
	case FATTR4_LAYOUT_BLKSIZE:
	case FATTR4_LAYOUT_ALIGNMENT:
		a->num = get_u32(d);
		break;
	case FATTR4_CHANGE:
	case FATTR4_SIZE:
	case FATTR4_FILEID:
	case FATTR4_FILES_AVAIL:
	case FATTR4_FILES_FREE:
	case FATTR4_FILES_TOTAL:
	case FATTR4_MAXFILESIZE:
	case FATTR4_MAXREAD:
	case FATTR4_MAXWRITE:
	case FATTR4_QUOTA_AVAIL_HARD:
	case FATTR4_QUOTA_AVAIL_SOFT:
	case FATTR4_QUOTA_USED:
	case FATTR4_SPACE_AVAIL:
	case FATTR4_SPACE_FREE:
	case FATTR4_SPACE_TOTAL:
	case FATTR4_SPACE_USED:
	case FATTR4_SPACE_FREED:
	case FATTR4_MOUNTED_ON_FILEID:
		a->num = get_u64(d);
		break;
	case FATTR4_LINK_SUPPORT:
	case FATTR4_SYMLINK_SUPPORT:
	case FATTR4_NAMED_ATTR:
	case FATTR4_UNIQUE_HANDLES:
	case FATTR4_ARCHIVE:
	case FATTR4_CANSETTIME:
	case FATTR4_CASE_INSENSITIVE:
	case FATTR4_CASE_PRESERVING:
	case FATTR4_CHOWN_RESTRICTED:
	case FATTR4_HIDDEN:
	case FATTR4_HOMOGENEOUS:
	case FATTR4_NO_TRUNC:
	case FATTR4_SYSTEM:
	case FATTR4_XATTR_SUPPORT:
		a->num = get_bool(d);
		break;
	case FATTR4_FSID:
		a->num = get_u64(d);
		a->num2 = get_u64(d);
		break;
	case FATTR4_RAWDEV:
	case FATTR4_MODE_SET_MASKED:
	case FATTR4_MODE_UMASK:
		a->num = get_u32(d);
		a->num2 = get_u32(d);
		break;
	case FATTR4_FILEHANDLE:
		a->str = get_opaque(d, NFS4_FHSIZE, &a->str_len);
		break;
	case FATTR4_MIMETYPE:
	case FATTR4_OWNER:
	case FATTR4_OWNER_GROUP:
		a->str = get_opaque(d, NFS4_OPAQUE_LIMIT, &a->str_len);
		break;
	case FATTR4_TIME_ACCESS:
	case FATTR4_TIME_BACKUP:
	case FATTR4_TIME_CREATE:
	case FATTR4_TIME_DELTA:
	case FATTR4_TIME_METADATA:
	case FATTR4_TIME_MODIFY:
		a->num = get_u64(d);
		a->num2 = get_u32(d);
		check(a->num2 < 1000000000);
		break;
	case FATTR4_OPEN_ARGUMENTS:
		for (int i = 0; i < 5; i++) {
			struct bitmap bm;

			get_bitmap(d, &bm);
			check(bm.n <= 1);
			a->bits[i] = bm.n ? bm.w[0] : 0;
		}
		break;
	case FATTR4_ACL:
		skip_acl(d);
		break;
	case FATTR4_DACL:
	case FATTR4_SACL:
		get_u32(d);
		skip_acl(d);
		break;
	case FATTR4_FS_LOCATIONS:
		a->num = get_fs_locations(d);
		break;
	case FATTR4_FS_LAYOUT_TYPES:
	case FATTR4_LAYOUT_TYPES:
		a->num = get_u32_list(d);
		break;
	default:
		fail_with("attribute %u in a reply is not known to the test", n);
	}
}

/* fattr4: the values must fill their length exactly. */
static struct attrs *get_attrs(struct dec *d)
{
	struct attrs *a = test_alloc(sizeof(*a));
	u_int start;
	uint32_t len;

	get_bitmap(d, &a->mask);
	len = get_u32(d);
	start = xdr_getpos(&d->xdr);
	for (unsigned i = 0; i < 96; i++) {
		if (!bm_has(&a->mask, i))
			continue;
		if (i >= ATTR_MAX)
			fail_with("attribute %u in a reply is not known to the test", i);
		get_attr(d, i, &a->a[i]);
	}
	check_num(xdr_getpos(&d->xdr) - start, len);
	return a;
}

static void get_denied(struct dec *d, struct result *r)
{
	r->denied.offset = get_u64(d);
	r->denied.length = get_u64(d);
	r->denied.type = get_u32(d);
	r->denied.clientid = get_u64(d);
	r->denied.owner = (uint8_t *)get_opaque(d, NFS4_OPAQUE_LIMIT, &r->denied.owner_len);
}

static void get_delegation(struct dec *d, struct result *r)
{
	uint32_t len;

	r->delegation = get_u32(d);
	switch (r->delegation) {
	case OPEN_DELEGATE_NONE:
		return;
	case OPEN_DELEGATE_READ:
	case OPEN_DELEGATE_READ_ATTRS_DELEG:
	case OPEN_DELEGATE_WRITE:
	case OPEN_DELEGATE_WRITE_ATTRS_DELEG:
		get_sid(d, &r->deleg_sid);
		r->recall = get_bool(d);
		if (r->delegation == OPEN_DELEGATE_WRITE ||
		    r->delegation == OPEN_DELEGATE_WRITE_ATTRS_DELEG) {
			check(get_u32(d) - 1 < 2);
			get_u64(d);
		}
		get_u32(d); /* the permissions' ACE */
		get_u32(d);
		get_u32(d);
		get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
		return;
	case OPEN_DELEGATE_NONE_EXT:
		r->why_none = get_u32(d);
		if (r->why_none == WND4_CONTENTION || r->why_none == WND4_RESOURCE)
			get_bool(d);
		return;
	default:
		fail_with("delegation type %u", r->delegation);
	}
}

static void get_open(struct dec *d, struct result *r)
{
	get_sid(d, &r->sid);
	get_cinfo(d, &r->cinfo);
	r->rflags = get_u32(d);
	get_bitmap(d, &r->attrset);
	get_delegation(d, r);
}

static void get_readdir(struct dec *d, struct result *r)
{
	struct entry *entries = NULL;
	uint32_t cap = 0;

	get_fixed(d, r->verf.data, NFS4_VERIFIER_SIZE);
	while (get_bool(d)) {
		struct entry *e;
		uint32_t len;

		if (r->n == cap) {
			struct entry *more = test_alloc((cap + 64) * 2 * sizeof(*more));

			if (cap)
				memcpy(more, entries, cap * sizeof(*more));
			cap = (cap + 64) * 2;
			entries = more;
		}
		e = &entries[r->n++];
		e->cookie = get_u64(d);
		e->name = get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
		check(len > 0 && strlen(e->name) == len);
		e->attrs = get_attrs(d);
	}
	r->eof = get_bool(d);
	r->entries = entries;
}

static void get_secinfo(struct dec *d, struct result *r)
{
	uint32_t len;

	r->n = get_u32(d);
	check(r->n <= 16);
	r->list = test_alloc(16 * sizeof(*r->list));
	for (uint32_t i = 0; i < r->n; i++) {
		r->list[i] = get_u32(d);
		if (r->list[i] == 6) {
			get_opaque(d, 64, &len);
			get_u32(d);
			get_u32(d);
		}
	}
}

static void get_chan(struct dec *d, struct chan *c)
{
	uint32_t rdma;

	c->header_pad = get_u32(d);
	c->max_request = get_u32(d);
	c->max_response = get_u32(d);
	c->max_cached = get_u32(d);
	c->max_ops = get_u32(d);
	c->max_requests = get_u32(d);
	rdma = get_u32(d);
	check(rdma <= 1);
	if (rdma)
		get_u32(d);
}

static void get_exchange_id(struct dec *d, struct result *r)
{
	struct bitmap bm;
	uint32_t len, n;

	r->clientid = get_u64(d);
	r->sequence = get_u32(d);
	r->flags = get_u32(d);
	r->protect = get_u32(d);
	if (r->protect == SP4_MACH_CRED) {
		get_bitmap(d, &bm);
		get_bitmap(d, &bm);
	} else {
		check_num(r->protect, SP4_NONE);
	}
	r->minor_id = get_u64(d);
	r->major_id = get_opaque(d, NFS4_OPAQUE_LIMIT, &r->major_len);
	r->scope = get_opaque(d, NFS4_OPAQUE_LIMIT, &r->scope_len);
	n = get_u32(d);
	check(n <= 1);
	if (n) {
		get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
		get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
		get_u64(d);
		get_u32(d);
	}
}

static void get_create_session(struct dec *d, struct result *r)
{
	get_fixed(d, r->session, NFS4_SESSIONID_SIZE);
	r->sequence = get_u32(d);
	r->flags = get_u32(d);
	get_chan(d, &r->fore);
	get_chan(d, &r->back);
}

static void get_sequence(struct dec *d, struct result *r)
{
	get_fixed(d, r->session, NFS4_SESSIONID_SIZE);
	r->sequence = get_u32(d);
	r->slot = get_u32(d);
	r->highest_slot = get_u32(d);
	r->target_highest_slot = get_u32(d);
	r->status_flags = get_u32(d);
}

/* READ_PLUS: the segments' data and holes are put together in `data`. */
static void get_read_plus(struct dec *d, struct result *r)
{
	uint8_t *all = test_alloc(2u << 20);
	uint32_t n;

	r->eof = get_bool(d);
	n = get_u32(d);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t what = get_u32(d), len;
		uint64_t offset = get_u64(d);

		if (i == 0)
			r->offset = offset;
		check_num(offset, r->offset + r->len);
		if (what == NFS4_CONTENT_DATA) {
			char *p = get_opaque(d, (2u << 20) - r->len, &len);

			memcpy(all + r->len, p, len);
		} else {
			uint64_t hole = get_u64(d);

			check_num(what, NFS4_CONTENT_HOLE);
			check(hole <= (2u << 20) - r->len);
			len = (uint32_t)hole;
		}
		r->len += len;
	}
	r->data = all;
}

static void get_listxattrs(struct dec *d, struct result *r)
{
	uint32_t len;

	r->count64 = get_u64(d);
	r->n = get_u32(d);
	check(r->n <= 65536);
	r->entries = test_alloc((r->n + 1) * sizeof(*r->entries));
	for (uint32_t i = 0; i < r->n; i++)
		r->entries[i].name = get_opaque(d, 255, &len);
	r->eof = get_bool(d);
}

/* The body after a status of NFS4_OK. */
static void get_ok_body(struct dec *d, struct result *r)
{
	uint32_t len;

	switch (r->op) {
	case OP_ACCESS:
		r->supported = get_u32(d);
		r->access = get_u32(d);
		break;
	case OP_CLOSE:
	case OP_LOCK:
	case OP_LOCKU:
	case OP_OPEN_CONFIRM:
	case OP_OPEN_DOWNGRADE:
		get_sid(d, &r->sid);
		break;
	case OP_COMMIT:
		get_fixed(d, r->verf.data, NFS4_VERIFIER_SIZE);
		break;
	case OP_CREATE:
		get_cinfo(d, &r->cinfo);
		get_bitmap(d, &r->attrset);
		break;
	case OP_GETATTR:
		r->attrs = get_attrs(d);
		break;
	case OP_GETFH: {
		char *p = get_opaque(d, NFS4_FHSIZE, &r->fh.len);

		memcpy(r->fh.data, p, r->fh.len);
		break;
	}
	case OP_LINK:
	case OP_REMOVE:
		get_cinfo(d, &r->cinfo);
		break;
	case OP_OPEN:
		get_open(d, r);
		break;
	case OP_READ:
		r->eof = get_bool(d);
		r->data = (uint8_t *)get_opaque(d, 2u << 20, &r->len);
		break;
	case OP_READ_PLUS:
		get_read_plus(d, r);
		break;
	case OP_READDIR:
		get_readdir(d, r);
		break;
	case OP_READLINK:
		r->data = (uint8_t *)get_opaque(d, 65536, &r->len);
		break;
	case OP_RENAME:
		get_cinfo(d, &r->cinfo);
		get_cinfo(d, &r->cinfo2);
		break;
	case OP_SECINFO:
	case OP_SECINFO_NO_NAME:
		get_secinfo(d, r);
		break;
	case OP_SETCLIENTID:
		r->clientid = get_u64(d);
		get_fixed(d, r->verf.data, NFS4_VERIFIER_SIZE);
		break;
	case OP_WRITE:
		r->count = get_u32(d);
		r->committed = get_u32(d);
		get_fixed(d, r->verf.data, NFS4_VERIFIER_SIZE);
		break;
	case OP_BIND_CONN_TO_SESSION:
		get_fixed(d, r->session, NFS4_SESSIONID_SIZE);
		r->flags = get_u32(d);
		check(!get_bool(d)); /* RDMA mode */
		break;
	case OP_EXCHANGE_ID:
		get_exchange_id(d, r);
		break;
	case OP_CREATE_SESSION:
		get_create_session(d, r);
		break;
	case OP_SEQUENCE:
		get_sequence(d, r);
		break;
	case OP_TEST_STATEID:
		r->n = get_u32(d);
		check(r->n <= 1024);
		r->list = test_alloc((r->n + 1) * sizeof(*r->list));
		for (uint32_t i = 0; i < r->n; i++)
			r->list[i] = get_u32(d);
		break;
	case OP_GET_DIR_DELEGATION:
		r->gdd = get_u32(d);
		if (r->gdd == GDD4_UNAVAIL) {
			check(!get_bool(d)); /* nobody will signal */
			break;
		}
		check_num(r->gdd, GDD4_OK);
		get_fixed(d, r->verf.data, NFS4_VERIFIER_SIZE);
		get_sid(d, &r->deleg_sid);
		for (int i = 0; i < 3; i++) {
			struct bitmap none;

			get_bitmap(d, &none);
			check_num(none.n, 0);
		}
		break;
	case OP_WANT_DELEGATION:
		get_delegation(d, r);
		break;
	case OP_SEEK:
		r->eof = get_bool(d);
		r->offset = get_u64(d);
		break;
	case OP_COPY:
		len = get_u32(d);
		check(len <= 1);
		if (len)
			get_sid(d, &r->sid);
		r->count64 = get_u64(d);
		r->committed = get_u32(d);
		get_fixed(d, r->verf.data, NFS4_VERIFIER_SIZE);
		get_bool(d); /* consecutive */
		get_bool(d); /* synchronous */
		break;
	case OP_IO_ADVISE:
		get_bitmap(d, &r->attrset);
		break;
	case OP_GETXATTR:
		r->data = (uint8_t *)get_opaque(d, 1u << 20, &r->len);
		break;
	case OP_SETXATTR:
	case OP_REMOVEXATTR:
		get_cinfo(d, &r->cinfo);
		break;
	case OP_LISTXATTRS:
		get_listxattrs(d, r);
		break;
	case OP_DELEGPURGE:
	case OP_DELEGRETURN:
	case OP_LOCKT:
	case OP_LOOKUP:
	case OP_LOOKUPP:
	case OP_NVERIFY:
	case OP_OPENATTR:
	case OP_PUTFH:
	case OP_PUTPUBFH:
	case OP_PUTROOTFH:
	case OP_RENEW:
	case OP_RESTOREFH:
	case OP_SAVEFH:
	case OP_SETCLIENTID_CONFIRM:
	case OP_VERIFY:
	case OP_RELEASE_LOCKOWNER:
	case OP_BACKCHANNEL_CTL:
	case OP_DESTROY_SESSION:
	case OP_FREE_STATEID:
	case OP_DESTROY_CLIENTID:
	case OP_RECLAIM_COMPLETE:
	case OP_ALLOCATE:
	case OP_DEALLOCATE:
	case OP_CLONE:
		break;
	default:
		fail_with("the server carried out operation %u, unknown to the test", r->op);
	}
}

/* Errors with a body. */
static void get_error_body(struct dec *d, struct result *r)
{
	uint32_t len;

	if ((r->op == OP_LOCK || r->op == OP_LOCKT) && r->status == NFS4ERR_DENIED)
		get_denied(d, r);
	if (r->op == OP_SETCLIENTID && r->status == NFS4ERR_CLID_INUSE) {
		r->netid = get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
		r->addr = get_opaque(d, NFS4_OPAQUE_LIMIT, &len);
	}
	if (r->op == OP_COPY && r->status == NFS4ERR_OFFLOAD_NO_REQS) {
		get_bool(d);
		get_bool(d);
	}
}

static void get_result(struct dec *d, struct result *r)
{
	static char where[64];

	r->op = get_u32(d);
	r->status = get_u32(d);
	snprintf(where, sizeof(where), "the result of operation %u, status %u", r->op, r->status);
	d->where = where;
	/* SETATTR4res is no union: the attributes set stand behind every status. */
	if (r->op == OP_SETATTR)
		get_bitmap(d, &r->attrset);
	else if (r->status == NFS4_OK)
		get_ok_body(d, r);
	else
		get_error_body(d, r);
}

/* The operations answered are those asked for, and only the last one may have failed. */
static void check_order(const struct compound *q, const struct reply *r)
{
	for (uint32_t i = 0; i < r->nops; i++) {
		if (r->op[i].op != q->ops[i] && r->op[i].op != OP_ILLEGAL)
			fail_with("result %u is of operation %u, asked was %u", i, r->op[i].op,
				  q->ops[i]);
		if (i + 1 < r->nops && r->op[i].status != NFS4_OK)
			fail_with("operation %u failed but the compound went on", r->op[i].op);
		if (!status_is_valid(q->minor, r->op[i].op, r->op[i].status))
			fail_with("operation %u answered with %s, which no RFC allows it",
				  r->op[i].op, status_name(r->op[i].status));
	}
	if (r->nops)
		check_num(r->status, r->op[r->nops - 1].status);
	if (r->status == NFS4_OK)
		check_num(r->nops, q->nops);
}

struct reply *compound_parse(struct compound *q, struct rpc_reply *rpc)
{
	struct reply *r = test_alloc(sizeof(*r));
	struct dec d = { .len = (uint32_t)rpc->body_len, .where = "COMPOUND4res" };

	r->rpc = rpc;
	check_num(rpc->xid, q->xid);
	check_num(rpc->outcome, RPC_SUCCESS_R);
	xdrmem_create(&d.xdr, (char *)rpc->body, (u_int)rpc->body_len, XDR_DECODE);
	r->status = get_u32(&d);
	r->tag = get_opaque(&d, 65536, &r->tag_len);
	r->nops = get_u32(&d);
	if (r->nops > q->nops)
		fail_with("%u results for %u operations", r->nops, q->nops);
	r->op = test_alloc((r->nops + 1) * sizeof(*r->op));
	for (uint32_t i = 0; i < r->nops; i++)
		get_result(&d, &r->op[i]);
	if (xdr_getpos(&d.xdr) != rpc->body_len)
		fail_with("%zu bytes are left over behind the reply",
			  rpc->body_len - xdr_getpos(&d.xdr));
	check_order(q, r);
	return r;
}

struct result *last(struct reply *r)
{
	check(r->nops > 0);
	return &r->op[r->nops - 1];
}

struct result *result_of(struct reply *r, uint32_t op)
{
	for (uint32_t i = 0; i < r->nops; i++)
		if (r->op[i].op == op)
			return &r->op[i];
	fail_with("the reply has no result of operation %u; its status is %s", op,
		  status_name(r->status));
}

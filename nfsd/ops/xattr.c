/*
 * GETXATTR, SETXATTR, LISTXATTRS and REMOVEXATTR: extended attributes, RFC 8276 section 8.4.
 *
 * Regular files and directories have them. Other objects are of the wrong type, but their list, which
 * clients ask for when somebody lists a directory, is empty.
 *
 * A list comes in pieces: the names are in the order of a hash of theirs, and the cookie of a name is
 * that hash. So it goes on at the right place whatever has come or gone meanwhile, after a restart
 * and at another node, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "nfsd/deleg.h"
#include "nfsd/ops_list.h"
#include "nfsd/utf8.h"

/* An attribute that changes while it is read is read so often. */
#define READ_TRIES 4

/* Cookie, count and eof: what LISTXATTRS answers at least. */
#define EMPTY_LIST (8 + 4 + 4)

static enum nfsstat4 check_object(const struct compound *c)
{
	const struct object *obj = c->current.object;

	if (!obj->backend->getxattr)
		return NFS4ERR_NOTSUPP;
	if (obj->type != FILE_REGULAR && obj->type != FILE_DIRECTORY)
		return NFS4ERR_WRONG_TYPE;
	return NFS4_OK;
}

/* Any bytes but NUL are a key, unless the export asks for UTF-8. GETXATTR has no BADCHAR. */
static enum nfsstat4 check_key(struct compound *c, const struct name4 *key, const char **out)
{
	if (key->len == 0)
		return NFS4ERR_INVAL;
	if (key->len > XATTR_NAME_MOST)
		return NFS4ERR_NAMETOOLONG;
	if (memchr(key->p, '\0', key->len))
		return c->opnum == OP_GETXATTR ? NFS4ERR_INVAL : NFS4ERR_BADCHAR;
	if (c->current.options->utf8_names && !utf8_valid(key->p, key->len))
		return NFS4ERR_INVAL;
	*out = arena_strndup(&c->call->arena, key->p, key->len);
	return *out ? NFS4_OK : NFS4ERR_DELAY;
}

/* What has to be so before an attribute is changed. */
static enum nfsstat4 check_change(struct compound *c, const struct name4 *key, const char **name)
{
	enum nfsstat4 status = check_object(c);

	if (status == NFS4_OK)
		status = check_key(c, key, name);
	if (status == NFS4_OK)
		status = compound_want_writable(c);
	if (status == NFS4_OK)
		status = deleg_break(c, c->current.object, c->clientid, true);
	return status;
}

static bool get_key(struct xdr_in *x, struct arena *arena, void *args)
{
	return xdr_get_name(x, args);
}

/* ---- GETXATTR ---- */

static int put_value(struct compound *c, const char *name)
{
	struct object *obj = c->current.object;
	struct xdr_out *x = reply_of(c);
	size_t len, got = 0;
	uint8_t *p;
	int err = obj->backend->getxattr(obj, c->current.cred, name, NULL, 0, &len);

	if (err)
		return err;
	xdr_put_u32(x, (uint32_t)len);
	p = xdr_out_reserve(x, len + xdr_pad(len));
	if (!p || len == 0)
		return 0; /* the dispatcher sees that it does not fit */
	err = obj->backend->getxattr(obj, c->current.cred, name, p, len, &got);
	if (!err && got != len)
		err = -ERANGE;
	if (!err)
		memset(p + len, 0, xdr_pad(len));
	return err;
}

static enum nfsstat4 getxattr_run(struct compound *c, void *args)
{
	struct xdr_mark mark = xdr_out_mark(reply_of(c));
	enum nfsstat4 status = check_object(c);
	const char *name;
	int err = -ERANGE;

	if (status == NFS4_OK)
		status = check_key(c, args, &name);
	if (status != NFS4_OK)
		return status;
	for (int i = 0; err == -ERANGE && i < READ_TRIES; i++) {
		xdr_out_rewind(reply_of(c), mark);
		err = put_value(c, name);
	}
	if (err == -E2BIG)
		return NFS4ERR_NOXATTR; /* it is there, and the kernel does not give it away */
	return err == -ERANGE ? NFS4ERR_DELAY : status_from_errno(err);
}

const struct op_row op_getxattr = {
	.name = "GETXATTR",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = 4,
	.args_size = sizeof(struct name4),
	.decode = get_key,
	.run = getxattr_run,
};

/* ---- SETXATTR ---- */

struct setxattr_args {
	struct name4 key; /* first: get_key() */
	uint32_t option;  /* enum xattr_mode has setxattr_option4's values */
	const uint8_t *value;
	uint32_t len;
};

_Static_assert(XATTR_SET_EITHER == 0 && XATTR_SET_NEW == 1 && XATTR_SET_OLD == 2,
	       "setxattr_option4");

static bool setxattr_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct setxattr_args *a = args;

	return xdr_get_u32(x, &a->option) && a->option <= XATTR_SET_OLD &&
	       xdr_get_name(x, &a->key) && xdr_get_opaque(x, NFS4_UINT32_MAX, &a->value, &a->len);
}

static enum nfsstat4 setxattr_run(struct compound *c, void *args)
{
	const struct setxattr_args *a = args;
	struct object *obj = c->current.object;
	struct dir_change change = { 0 };
	const char *name;
	enum nfsstat4 status;
	int err;

	if (a->len > XATTR_VALUE_MOST)
		return NFS4ERR_XATTR2BIG;
	status = check_change(c, &a->key, &name);
	if (status != NFS4_OK)
		return status;
	err = obj->backend->setxattr(obj, c->current.cred, name, a->value, a->len,
				     (enum xattr_mode)a->option, &change);
	if (err)
		return status_from_errno(err);
	xdr_put_change_info(reply_of(c), &change);
	return NFS4_OK;
}

const struct op_row op_setxattr = {
	.name = "SETXATTR",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES,
	.max_body = 20,
	.args_size = sizeof(struct setxattr_args),
	.decode = setxattr_decode,
	.run = setxattr_run,
};

/* ---- REMOVEXATTR ---- */

static enum nfsstat4 removexattr_run(struct compound *c, void *args)
{
	struct object *obj = c->current.object;
	struct dir_change change = { 0 };
	const char *name;
	enum nfsstat4 status = check_change(c, args, &name);
	int err;

	if (status != NFS4_OK)
		return status;
	err = obj->backend->removexattr(obj, c->current.cred, name, &change);
	if (err)
		return status_from_errno(err);
	xdr_put_change_info(reply_of(c), &change);
	return NFS4_OK;
}

const struct op_row op_removexattr = {
	.name = "REMOVEXATTR",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH | ROW_MODIFIES,
	.max_body = 20,
	.args_size = sizeof(struct name4),
	.decode = get_key,
	.run = removexattr_run,
};

/* ---- LISTXATTRS ---- */

struct listxattrs_args {
	uint64_t cookie;
	uint32_t maxcount;
};

struct key {
	uint64_t cookie;
	const char *name;
	uint32_t len;
};

struct keys {
	struct key *all;
	size_t n;
	char *names; /* what they point into */
};

static bool listxattrs_decode(struct xdr_in *x, struct arena *arena, void *args)
{
	struct listxattrs_args *a = args;

	return xdr_get_u64(x, &a->cookie) && xdr_get_u32(x, &a->maxcount);
}

/* Never 0, which asks for the start. */
static uint64_t cookie_of(const char *name, size_t len)
{
	static const struct siphash_key key = { 8276, 843 }; /* the same on all nodes, for ever */

	return siphash(&key, name, len) / 2 + 1;
}

static int compare_keys(const void *a, const void *b)
{
	const struct key *x = a, *y = b;

	return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

static size_t count_names(const char *names, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += names[i] == '\0';
	return n;
}

static void keys_free(struct keys *keys)
{
	free(keys->all);
	free(keys->names);
}

/*
 * All keys of the object, in the order of their cookies; keys_free() in any case. Not of the arena, which
 * would keep them for every LISTXATTRS of a long compound.
 */
static enum nfsstat4 find_keys(struct compound *c, struct keys *out)
{
	struct object *obj = c->current.object;
	char *names = out->names = malloc(XATTR_NAMES_MOST);
	size_t len;
	int err;

	if (!names)
		return NFS4ERR_DELAY;
	err = obj->backend->listxattr(obj, c->current.cred, names, &len);
	if (err == -E2BIG)
		return NFS4ERR_IO; /* nobody on the server can list them either */
	if (err)
		return status_from_errno(err);
	out->all = malloc((count_names(names, len) + 1) * sizeof(struct key));
	if (!out->all)
		return NFS4ERR_DELAY;
	for (size_t at = 0; at < len; at += out->all[out->n++].len + 1) {
		size_t one = strlen(names + at);

		out->all[out->n] =
		    (struct key){ cookie_of(names + at, one), names + at, (uint32_t)one };
	}
	qsort(out->all, out->n, sizeof(struct key), compare_keys);
	return NFS4_OK;
}

/* LISTXATTRS4resok, in `room` bytes. False: not one of the keys that are left fits. */
static bool put_keys(struct xdr_out *x, const struct keys *keys, uint64_t cookie, size_t room)
{
	size_t end = xdr_out_total(x) + room - 4, head = x->len;
	uint32_t count = 0;
	bool eof = true;

	xdr_put_u64(x, cookie);
	xdr_put_u32(x, 0);
	for (size_t i = 0; i < keys->n; i++) {
		const struct key *k = &keys->all[i];

		if (k->cookie <= cookie)
			continue;
		if (xdr_out_total(x) + 4 + k->len + xdr_pad(k->len) > end) {
			eof = false;
			break;
		}
		xdr_put_opaque(x, k->name, k->len);
		cookie = k->cookie;
		count++;
	}
	xdr_put_bool(x, eof);
	xdr_patch_u32(x, head, (uint32_t)(cookie >> 32));
	xdr_patch_u32(x, head + 4, (uint32_t)cookie);
	xdr_patch_u32(x, head + 8, count);
	return eof || count > 0;
}

static enum nfsstat4 listxattrs_run(struct compound *c, void *args)
{
	const struct listxattrs_args *a = args;
	struct xdr_out *x = reply_of(c);
	size_t left = x->limit > xdr_out_total(x) ? x->limit - xdr_out_total(x) : 0;
	size_t room = a->maxcount < left ? a->maxcount : left;
	struct keys keys = { 0 };
	enum nfsstat4 status = check_object(c);

	if (status == NFS4_OK)
		status = find_keys(c, &keys);
	else if (status == NFS4ERR_WRONG_TYPE)
		status = NFS4_OK; /* it has none */
	if (status == NFS4_OK && (room < EMPTY_LIST || !put_keys(x, &keys, a->cookie, room)))
		status = a->maxcount > left ? compound_too_big(c) : NFS4ERR_TOOSMALL;
	keys_free(&keys);
	return status;
}

const struct op_row op_listxattrs = {
	.name = "LISTXATTRS",
	.min_minor = 2,
	.max_minor = 2,
	.flags = ROW_NEEDS_FH,
	.max_body = EMPTY_LIST,
	.args_size = sizeof(struct listxattrs_args),
	.decode = listxattrs_decode,
	.run = listxattrs_run,
};

#include "tests/wire/samples.h"

static const struct sid some_sid = { 1, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 } };
static const uint8_t some_session[NFS4_SESSIONID_SIZE] = { 9, 8, 7, 6, 5, 4, 3, 2, 1 };
static const struct verf some_verf = { { 1, 2, 3, 4, 5, 6, 7, 8 } };

static struct attrs *some_attrs(void)
{
	struct attrs *a = test_alloc(sizeof(*a));

	at_num(a, FATTR4_MODE, 0600);
	at_str(a, FATTR4_OWNER, "0");
	at_time(a, FATTR4_TIME_MODIFY_SET, 1000000000, 5);
	return a;
}

#define SAMPLE(name, ...)                                             \
	static void put_##name(struct compound *q, struct client *cl) \
	{                                                             \
		__VA_ARGS__;                                          \
	}

SAMPLE(access, add_access(q, 0x3f))
SAMPLE(close, add_close(q, 1, &some_sid))
SAMPLE(commit, add_commit(q, 0, 0))
SAMPLE(create, add_create(q, NF4LNK, "name", "target", 0, 0, some_attrs()))
SAMPLE(delegpurge, add_delegpurge(q, cl->clientid))
SAMPLE(delegreturn, add_delegreturn(q, &some_sid))
SAMPLE(want_delegation, add_want_delegation(q, OPEN4_SHARE_ACCESS_WANT_READ_DELEG, CLAIM_FH, 0))
SAMPLE(getattr, add_getattr(q, bm_of(FATTR4_TYPE, FATTR4_MODE, -1)))
SAMPLE(getfh, add_getfh(q))
SAMPLE(link, add_link(q, "name"))
SAMPLE(lock, add_lock_new(q, READ_LT, false, 0, 10, 1, &some_sid, 1, cl->clientid, "owner"))
SAMPLE(lockt, add_lockt(q, READ_LT, 0, 10, cl->clientid, "owner"))
SAMPLE(locku, add_locku(q, READ_LT, 1, &some_sid, 0, 10))
SAMPLE(lookup, add_lookup(q, "name"))
SAMPLE(lookupp, add_lookupp(q))
SAMPLE(nverify, add_nverify(q, some_attrs()))
SAMPLE(openattr, add_openattr(q, false))
SAMPLE(open_confirm, add_open_confirm(q, &some_sid, 1))
SAMPLE(open_downgrade, add_open_downgrade(q, &some_sid, 1, 1, 0))
SAMPLE(putpubfh, add_putpubfh(q))
SAMPLE(putrootfh, add_putrootfh(q))
SAMPLE(read, add_read(q, &SID_ANONYMOUS, 0, 10))
SAMPLE(readdir, add_readdir(q, 0, NULL, 1000, 1000, bm_of(FATTR4_TYPE, -1)))
SAMPLE(readlink, add_readlink(q))
SAMPLE(remove, add_remove(q, "name"))
SAMPLE(rename, add_rename(q, "name", "other"))
SAMPLE(renew, add_renew(q, cl->clientid))
SAMPLE(restorefh, add_restorefh(q))
SAMPLE(savefh, add_savefh(q))
SAMPLE(secinfo, add_secinfo(q, "name"))
SAMPLE(setattr, add_setattr(q, &SID_ANONYMOUS, some_attrs()))
SAMPLE(setclientid, add_setclientid(q, &some_verf, cl->id, 1, "tcp", "127.0.0.1.0.0", 1))
SAMPLE(setclientid_confirm, add_setclientid_confirm(q, cl->clientid, &some_verf))
SAMPLE(verify, add_verify(q, some_attrs()))
SAMPLE(write, add_write(q, &SID_ANONYMOUS, 0, FILE_SYNC4, "hello", 5))
SAMPLE(release_lockowner, add_release_lockowner(q, cl->clientid, "owner"))

static void put_open(struct compound *q, struct client *cl)
{
	struct open_args a = { .seqid = 1,
			       .access = OPEN4_SHARE_ACCESS_READ,
			       .clientid = cl->clientid,
			       .owner = "owner",
			       .opentype = OPEN4_CREATE,
			       .createmode = UNCHECKED4,
			       .attrs = some_attrs(),
			       .name = "name" };

	add_open(q, &a);
}

static void put_putfh(struct compound *q, struct client *cl)
{
	struct fh fh = { .len = 21, .data = "this is no filehandle" };

	add_putfh(q, &fh);
}

SAMPLE(backchannel_ctl, add_backchannel_ctl(q, 0x40000000))
SAMPLE(bind_conn, add_bind_conn(q, some_session, CDFC4_FORE))
SAMPLE(exchange_id, add_exchange_id(q, &some_verf, "some owner", 0, SP4_NONE))
SAMPLE(destroy_session, add_destroy_session(q, some_session))
SAMPLE(free_stateid, add_free_stateid(q, &some_sid))
SAMPLE(get_dir_delegation, add_get_dir_delegation(q))
SAMPLE(secinfo_no_name, add_secinfo_no_name(q, SECINFO_STYLE4_CURRENT_FH))
SAMPLE(test_stateid, add_test_stateid(q, &some_sid, 1))
SAMPLE(destroy_clientid, add_destroy_clientid(q, cl->clientid + 1))
SAMPLE(reclaim_complete, add_reclaim_complete(q, false))
SAMPLE(sequence, add_sequence(q, some_session, 1, 0, 0, false))

static void put_create_session(struct compound *q, struct client *cl)
{
	struct chan c = { 0, 65536, 65536, 8192, 16, 4 };

	add_create_session(q, cl->clientid + 1, 1, 0, &c, &c);
}

SAMPLE(allocate, add_allocate(q, &SID_ANONYMOUS, 0, 10))
SAMPLE(deallocate, add_deallocate(q, &SID_ANONYMOUS, 0, 10))
SAMPLE(seek, add_seek(q, &SID_ANONYMOUS, 0, NFS4_CONTENT_DATA))
SAMPLE(copy, add_copy(q, &SID_ANONYMOUS, &SID_ANONYMOUS, 0, 0, 10, true, true))
SAMPLE(clone, add_clone(q, &SID_ANONYMOUS, &SID_ANONYMOUS, 0, 0, 10))
SAMPLE(io_advise, add_io_advise(q, &SID_ANONYMOUS, 0, 10, bm_of(1, -1)))
SAMPLE(read_plus, add_read_plus(q, &SID_ANONYMOUS, 0, 10))
SAMPLE(offload_status, add_offload_status(q, OP_OFFLOAD_STATUS, &some_sid))
SAMPLE(offload_cancel, add_offload_status(q, OP_OFFLOAD_CANCEL, &some_sid))

SAMPLE(getxattr, add_getxattr(q, "key"))
SAMPLE(setxattr, add_setxattr(q, 0, "key", "value", 5))
SAMPLE(listxattrs, add_listxattrs(q, 0, 1000))
SAMPLE(removexattr, add_removexattr(q, "key"))

const struct sample samples[] = {
	{ OP_ACCESS, 0, NEEDS_FH, put_access },
	{ OP_CLOSE, 0, NEEDS_FH, put_close },
	{ OP_COMMIT, 0, NEEDS_FH, put_commit },
	{ OP_CREATE, 0, NEEDS_FH, put_create },
	{ OP_DELEGPURGE, 0, OPTIONAL | OPTIONAL_40, put_delegpurge },
	{ OP_DELEGRETURN, 0, NEEDS_FH | OPTIONAL | OPTIONAL_40, put_delegreturn },
	{ OP_GETATTR, 0, NEEDS_FH, put_getattr },
	{ OP_GETFH, 0, NEEDS_FH | NO_ARGS, put_getfh },
	{ OP_LINK, 0, NEEDS_FH | NEEDS_SAVED, put_link },
	{ OP_LOCK, 0, NEEDS_FH, put_lock },
	{ OP_LOCKT, 0, NEEDS_FH, put_lockt },
	{ OP_LOCKU, 0, NEEDS_FH, put_locku },
	{ OP_LOOKUP, 0, NEEDS_FH, put_lookup },
	{ OP_LOOKUPP, 0, NEEDS_FH | NO_ARGS, put_lookupp },
	{ OP_NVERIFY, 0, NEEDS_FH, put_nverify },
	{ OP_OPEN, 0, NEEDS_FH, put_open },
	{ OP_OPENATTR, 0, NEEDS_FH | OPTIONAL | OPTIONAL_40, put_openattr },
	{ OP_OPEN_CONFIRM, 0, NEEDS_FH | GONE, put_open_confirm },
	{ OP_OPEN_DOWNGRADE, 0, NEEDS_FH, put_open_downgrade },
	{ OP_PUTFH, 0, 0, put_putfh },
	{ OP_PUTPUBFH, 0, NO_ARGS, put_putpubfh },
	{ OP_PUTROOTFH, 0, NO_ARGS, put_putrootfh },
	{ OP_READ, 0, NEEDS_FH, put_read },
	{ OP_READDIR, 0, NEEDS_FH, put_readdir },
	{ OP_READLINK, 0, NEEDS_FH | NO_ARGS, put_readlink },
	{ OP_REMOVE, 0, NEEDS_FH, put_remove },
	{ OP_RENAME, 0, NEEDS_FH | NEEDS_SAVED, put_rename },
	{ OP_RENEW, 0, GONE, put_renew },
	{ OP_RESTOREFH, 0, NO_ARGS, put_restorefh },
	{ OP_SAVEFH, 0, NEEDS_FH | NO_ARGS, put_savefh },
	{ OP_SECINFO, 0, NEEDS_FH, put_secinfo },
	{ OP_SETATTR, 0, NEEDS_FH, put_setattr },
	{ OP_SETCLIENTID, 0, GONE, put_setclientid },
	{ OP_SETCLIENTID_CONFIRM, 0, GONE, put_setclientid_confirm },
	{ OP_VERIFY, 0, NEEDS_FH, put_verify },
	{ OP_WRITE, 0, NEEDS_FH, put_write },
	{ OP_RELEASE_LOCKOWNER, 0, GONE, put_release_lockowner },
	{ OP_BACKCHANNEL_CTL, 1, OPTIONAL, put_backchannel_ctl },
	{ OP_BIND_CONN_TO_SESSION, 1, ALONE, put_bind_conn },
	{ OP_EXCHANGE_ID, 1, ALONE, put_exchange_id },
	{ OP_CREATE_SESSION, 1, ALONE, put_create_session },
	{ OP_DESTROY_SESSION, 1, ALONE, put_destroy_session },
	{ OP_FREE_STATEID, 1, 0, put_free_stateid },
	{ OP_GET_DIR_DELEGATION, 1, NEEDS_FH | OPTIONAL, put_get_dir_delegation },
	{ OP_WANT_DELEGATION, 1, NEEDS_FH | OPTIONAL, put_want_delegation },
	{ OP_SECINFO_NO_NAME, 1, NEEDS_FH, put_secinfo_no_name },
	{ OP_SEQUENCE, 1, 0, put_sequence },
	{ OP_TEST_STATEID, 1, 0, put_test_stateid },
	{ OP_DESTROY_CLIENTID, 1, ALONE, put_destroy_clientid },
	{ OP_RECLAIM_COMPLETE, 1, 0, put_reclaim_complete },
	{ OP_ALLOCATE, 2, NEEDS_FH | OPTIONAL, put_allocate },
	{ OP_COPY, 2, NEEDS_FH | NEEDS_SAVED | OPTIONAL, put_copy },
	{ OP_DEALLOCATE, 2, NEEDS_FH | OPTIONAL, put_deallocate },
	{ OP_IO_ADVISE, 2, NEEDS_FH | OPTIONAL, put_io_advise },
	{ OP_OFFLOAD_CANCEL, 2, 0, put_offload_cancel },
	{ OP_OFFLOAD_STATUS, 2, 0, put_offload_status },
	{ OP_READ_PLUS, 2, NEEDS_FH | OPTIONAL, put_read_plus },
	{ OP_SEEK, 2, NEEDS_FH | OPTIONAL, put_seek },
	{ OP_CLONE, 2, NEEDS_FH | NEEDS_SAVED | OPTIONAL, put_clone },
	{ OP_GETXATTR, 2, NEEDS_FH | OPTIONAL, put_getxattr },
	{ OP_SETXATTR, 2, NEEDS_FH | OPTIONAL, put_setxattr },
	{ OP_LISTXATTRS, 2, NEEDS_FH | OPTIONAL, put_listxattrs },
	{ OP_REMOVEXATTR, 2, NEEDS_FH | OPTIONAL, put_removexattr },
};
const size_t samples_n = sizeof(samples) / sizeof(samples[0]);

/*
 * The table of operations: number -> row. The only list; see ops.h for what a row holds.
 */
#include "nfsd/ops.h"
#include "nfsd/ops_list.h"

static const struct op_row *const rows[] = {
	[OP_ACCESS] = &op_access,
	[OP_ALLOCATE] = &op_allocate,
	[OP_BACKCHANNEL_CTL] = &op_backchannel_ctl,
	[OP_BIND_CONN_TO_SESSION] = &op_bind_conn_to_session,
	[OP_CLONE] = &op_clone,
	[OP_CLOSE] = &op_close,
	[OP_COMMIT] = &op_commit,
	[OP_COPY] = &op_copy,
	[OP_CREATE] = &op_create,
	[OP_CREATE_SESSION] = &op_create_session,
	[OP_DEALLOCATE] = &op_deallocate,
	[OP_DELEGPURGE] = &op_delegpurge,
	[OP_DELEGRETURN] = &op_delegreturn,
	[OP_DESTROY_CLIENTID] = &op_destroy_clientid,
	[OP_DESTROY_SESSION] = &op_destroy_session,
	[OP_EXCHANGE_ID] = &op_exchange_id,
	[OP_FREE_STATEID] = &op_free_stateid,
	[OP_GET_DIR_DELEGATION] = &op_get_dir_delegation,
	[OP_GETATTR] = &op_getattr,
	[OP_GETFH] = &op_getfh,
	[OP_GETXATTR] = &op_getxattr,
	[OP_IO_ADVISE] = &op_io_advise,
	[OP_LINK] = &op_link,
	[OP_LISTXATTRS] = &op_listxattrs,
	[OP_LOCK] = &op_lock,
	[OP_LOCKT] = &op_lockt,
	[OP_LOCKU] = &op_locku,
	[OP_LOOKUP] = &op_lookup,
	[OP_LOOKUPP] = &op_lookupp,
	[OP_NVERIFY] = &op_nverify,
	[OP_OFFLOAD_CANCEL] = &op_offload_cancel,
	[OP_OFFLOAD_STATUS] = &op_offload_status,
	[OP_OPEN] = &op_open,
	[OP_OPENATTR] = &op_openattr,
	[OP_OPEN_CONFIRM] = &op_open_confirm,
	[OP_OPEN_DOWNGRADE] = &op_open_downgrade,
	[OP_PUTFH] = &op_putfh,
	[OP_PUTPUBFH] = &op_putpubfh,
	[OP_PUTROOTFH] = &op_putrootfh,
	[OP_READ] = &op_read,
	[OP_READDIR] = &op_readdir,
	[OP_READLINK] = &op_readlink,
	[OP_READ_PLUS] = &op_read_plus,
	[OP_RECLAIM_COMPLETE] = &op_reclaim_complete,
	[OP_RELEASE_LOCKOWNER] = &op_release_lockowner,
	[OP_REMOVE] = &op_remove,
	[OP_REMOVEXATTR] = &op_removexattr,
	[OP_RENAME] = &op_rename,
	[OP_RENEW] = &op_renew,
	[OP_RESTOREFH] = &op_restorefh,
	[OP_SAVEFH] = &op_savefh,
	[OP_SECINFO] = &op_secinfo,
	[OP_SECINFO_NO_NAME] = &op_secinfo_no_name,
	[OP_SEEK] = &op_seek,
	[OP_SEQUENCE] = &op_sequence,
	[OP_SET_SSV] = &op_set_ssv,
	[OP_SETATTR] = &op_setattr,
	[OP_SETCLIENTID] = &op_setclientid,
	[OP_SETCLIENTID_CONFIRM] = &op_setclientid_confirm,
	[OP_SETXATTR] = &op_setxattr,
	[OP_TEST_STATEID] = &op_test_stateid,
	[OP_VERIFY] = &op_verify,
	[OP_WANT_DELEGATION] = &op_want_delegation,
	[OP_WRITE] = &op_write,
};

/* Numbers that a minor version defines, whether we implement them or not. */
static const uint32_t last_legal[] = { OP_RELEASE_LOCKOWNER, OP_RECLAIM_COMPLETE,
				       OP_REMOVEXATTR };

/* A legal operation without a row of its own. */
static const struct op_row not_supported = { .name = "NOTSUPP", .max_minor = UINT8_MAX };

const struct op_row *op_find(uint32_t opnum, uint32_t minor)
{
	const struct op_row *row;

	if (opnum < OP_ACCESS || minor >= ARRAY_SIZE(last_legal) || opnum > last_legal[minor])
		return NULL;
	row = opnum < ARRAY_SIZE(rows) ? rows[opnum] : NULL;
	if (!row || minor < row->min_minor || minor > row->max_minor)
		return &not_supported;
	return row;
}

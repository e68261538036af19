/*
 * Every operation that is implemented: the row that its file in ops/ defines. ops.c puts them
 * into the table by number.
 */
#pragma once

#include "nfsd/ops.h"

extern const struct op_row op_access;
extern const struct op_row op_allocate;
extern const struct op_row op_backchannel_ctl;
extern const struct op_row op_bind_conn_to_session;
extern const struct op_row op_clone;
extern const struct op_row op_close;
extern const struct op_row op_commit;
extern const struct op_row op_copy;
extern const struct op_row op_create;
extern const struct op_row op_create_session;
extern const struct op_row op_deallocate;
extern const struct op_row op_delegpurge;
extern const struct op_row op_delegreturn;
extern const struct op_row op_destroy_clientid;
extern const struct op_row op_destroy_session;
extern const struct op_row op_exchange_id;
extern const struct op_row op_free_stateid;
extern const struct op_row op_get_dir_delegation;
extern const struct op_row op_getattr;
extern const struct op_row op_getfh;
extern const struct op_row op_getxattr;
extern const struct op_row op_io_advise;
extern const struct op_row op_link;
extern const struct op_row op_listxattrs;
extern const struct op_row op_lock;
extern const struct op_row op_lockt;
extern const struct op_row op_locku;
extern const struct op_row op_lookup;
extern const struct op_row op_lookupp;
extern const struct op_row op_nverify;
extern const struct op_row op_offload_cancel;
extern const struct op_row op_offload_status;
extern const struct op_row op_open;
extern const struct op_row op_open_confirm;
extern const struct op_row op_open_downgrade;
extern const struct op_row op_openattr;
extern const struct op_row op_putfh;
extern const struct op_row op_putpubfh;
extern const struct op_row op_putrootfh;
extern const struct op_row op_read;
extern const struct op_row op_read_plus;
extern const struct op_row op_readdir;
extern const struct op_row op_readlink;
extern const struct op_row op_reclaim_complete;
extern const struct op_row op_release_lockowner;
extern const struct op_row op_remove;
extern const struct op_row op_removexattr;
extern const struct op_row op_rename;
extern const struct op_row op_renew;
extern const struct op_row op_restorefh;
extern const struct op_row op_savefh;
extern const struct op_row op_secinfo;
extern const struct op_row op_secinfo_no_name;
extern const struct op_row op_seek;
extern const struct op_row op_sequence;
extern const struct op_row op_set_ssv;
extern const struct op_row op_setattr;
extern const struct op_row op_setclientid;
extern const struct op_row op_setclientid_confirm;
extern const struct op_row op_setxattr;
extern const struct op_row op_test_stateid;
extern const struct op_row op_verify;
extern const struct op_row op_want_delegation;
extern const struct op_row op_write;

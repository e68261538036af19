/* Numbers of RFC 8881 (and RFC 5531) that the load generator sends or expects. */
#ifndef BENCH_NFS_H
#define BENCH_NFS_H

#define NFS_PROGRAM 100003u
#define NFS_VERSION 4u

enum {
	OP_ACCESS = 3,
	OP_CLOSE = 4,
	OP_COMMIT = 5,
	OP_CREATE = 6,
	OP_GETATTR = 9,
	OP_GETFH = 10,
	OP_LOCK = 12,
	OP_LOCKU = 14,
	OP_LOOKUP = 15,
	OP_OPEN = 18,
	OP_PUTFH = 22,
	OP_PUTROOTFH = 24,
	OP_READ = 25,
	OP_READDIR = 26,
	OP_REMOVE = 28,
	OP_RENAME = 29,
	OP_SAVEFH = 32,
	OP_WRITE = 38,
	OP_EXCHANGE_ID = 42,
	OP_CREATE_SESSION = 43,
	OP_DESTROY_SESSION = 44,
	OP_SEQUENCE = 53,
	OP_DESTROY_CLIENTID = 57,
	OP_RECLAIM_COMPLETE = 58,
};

enum {
	NFS4_OK = 0,
	NFS4ERR_NOENT = 2,
	NFS4ERR_EXIST = 17,
	NFS4ERR_DELAY = 10008,
};

enum { UNSTABLE4 = 0, FILE_SYNC4 = 2 };
enum { WRITE_LT = 2 };
enum { OPEN_DELEGATE_NONE = 0, OPEN_DELEGATE_NONE_EXT = 3 };

#define OPEN_READ	 1u
#define OPEN_BOTH	 3u
#define WANT_NO_DELEG	 0x0400u
#define EXCHGID_NON_PNFS 0x00010000u
#define NFS4_FH_MAX	 128
#define NFS4_SESSIONID	 16
#define ACCESS_ALL	 0x3fu /* READ LOOKUP MODIFY EXTEND DELETE EXECUTE */
#define ACCESS_FILE_RW	 0x0du /* READ MODIFY EXTEND: what mode 0666 gives to everyone */

/* What the Linux client asks of a file (nfs4_fattr_bitmap): type, change, size, fsid, fileid; */
#define LINUX_ATTRS_0 0x0010011au
/* mode, numlinks, owner, owner_group, rawdev, space_used, three times, mounted_on_fileid. */
#define LINUX_ATTRS_1 0x00b0a23au
/* What it adds in a READDIR with attributes: rdattr_error, filehandle. */
#define LINUX_READDIR_0 (LINUX_ATTRS_0 | 1u << 11 | 1u << 19)
#define ATTR_SIZE	4
#define ATTR_FILEID	20
#define ATTR_MODE_1	(1u << 1) /* in the bitmap's second word */

#endif

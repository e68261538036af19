/*
 * errno and NFSv4 status: the one place where they meet.
 *
 * Backends speak -errno, the protocol enum nfsstat4. What an operation of the protocol means by
 * an errno of its own (a rename onto a directory, say) is mapped in that operation's file.
 *
 * Out of memory and out of descriptors are NFS4ERR_DELAY: nothing has been done, and the client
 * asks again. Operations answer the same when the request's arena is exhausted. Whatever is not
 * known here is NFS4ERR_IO: the client must not take it for anything milder.
 */
#include <errno.h>

#include "nfsd/ops.h"

enum nfsstat4 status_from_errno(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return NFS4_OK;
	case EPERM:
		return NFS4ERR_PERM;
	case ENOENT:
		return NFS4ERR_NOENT;
	case ENXIO:
	case ENODEV:
		return NFS4ERR_NXIO;
	case EACCES:
		return NFS4ERR_ACCESS;
	case EEXIST:
		return NFS4ERR_EXIST;
	case EXDEV:
		return NFS4ERR_XDEV;
	case ENOTDIR:
		return NFS4ERR_NOTDIR;
	case EISDIR:
		return NFS4ERR_ISDIR;
	case EINVAL:
	case EDOM:
		return NFS4ERR_INVAL;
	case EFBIG:
	case EOVERFLOW:
		return NFS4ERR_FBIG;
	case ENOSPC:
		return NFS4ERR_NOSPC;
	case EROFS:
		return NFS4ERR_ROFS;
	case EMLINK:
		return NFS4ERR_MLINK;
	case ENAMETOOLONG:
		return NFS4ERR_NAMETOOLONG;
	case ENOTEMPTY:
		return NFS4ERR_NOTEMPTY;
	case EDQUOT:
		return NFS4ERR_DQUOT;
	case ESTALE:
		return NFS4ERR_STALE;
	case EBADF:
		return NFS4ERR_BADHANDLE; /* from_handle: never a handle of ours */
	case ELOOP:
		return NFS4ERR_SYMLINK;
	case EOPNOTSUPP:
	case ENOSYS:
	case ENOTTY:
		return NFS4ERR_NOTSUPP;
	case EBUSY:
	case ETXTBSY:
		return NFS4ERR_FILE_OPEN; /* in use at the server, e.g. a mount point */
	case EILSEQ:
		return NFS4ERR_BADCHAR;
	case EAGAIN:
	case EINTR:
	case ETIMEDOUT:
	case ENOMEM:
	case ENOBUFS:
	case EMFILE:
	case ENFILE:
		return NFS4ERR_DELAY;
	case EDEADLK:
		return NFS4ERR_DEADLOCK;
	case ENODATA:
		return NFS4ERR_NOXATTR;
	case E2BIG:
		return NFS4ERR_XATTR2BIG;
	case EFAULT:
	case ENOTRECOVERABLE:
		return NFS4ERR_SERVERFAULT;
	default: /* EIO, ENOLINK, EREMOTEIO, ESHUTDOWN... */
		return NFS4ERR_IO;
	}
}

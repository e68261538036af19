/*
 * Filehandles on the wire: version, export, the backend's handle bytes, and a keyed hash over
 * them, so that a forged, truncated or foreign handle is told from one of ours before anything
 * is looked up. They hold nothing that a restart or another node would change.
 *
 *	 0	version (1)
 *	 1	length of the backend's handle, n
 *	 2	export id, 8 bytes, big-endian
 *	10	backend's handle, n bytes
 *	10+n	SipHash-2-4 of the bytes before, 8 bytes, big-endian
 */
#pragma once

#include "backends/backend.h"
#include "base/hash.h"
#include "nfsd/nfs4.h"
#include "nfsd/state/state.h"

struct nfs_fh {
	uint8_t len;
	uint8_t data[NFS4_FHSIZE];
};

void fh_encode(const struct siphash_key *key, uint64_t export_id,
	       const struct backend_handle *handle, struct nfs_fh *out);
/* 0 or NFS4ERR_BADHANDLE. *handle points into `data`. */
enum nfsstat4 fh_decode(const struct siphash_key *key, const uint8_t *data, uint32_t len,
			uint64_t *export_id, struct bytes *handle);

#include "nfsd/fh.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

#define FH_VERSION  1
#define FH_HEADER   10
#define FH_TAG	    8
#define FH_OVERHEAD (FH_HEADER + FH_TAG)

static_assert(BACKEND_HANDLE_MAX + FH_OVERHEAD <= NFS4_FHSIZE, "a handle must fit");

static uint64_t fh_tag(const struct siphash_key *key, const uint8_t *data, size_t len)
{
	return htobe64(siphash(key, data, len));
}

void fh_encode(const struct siphash_key *key, uint64_t export_id,
	       const struct backend_handle *handle, struct nfs_fh *out)
{
	uint64_t id = htobe64(export_id);
	size_t signed_len = FH_HEADER + (size_t)handle->len;
	uint64_t tag;

	out->data[0] = FH_VERSION;
	out->data[1] = handle->len;
	memcpy(out->data + 2, &id, sizeof(id));
	memcpy(out->data + FH_HEADER, handle->bytes, handle->len);
	tag = fh_tag(key, out->data, signed_len);
	memcpy(out->data + signed_len, &tag, FH_TAG);
	out->len = (uint8_t)(signed_len + FH_TAG);
}

enum nfsstat4 fh_decode(const struct siphash_key *key, const uint8_t *data, uint32_t len,
			uint64_t *export_id, struct bytes *handle)
{
	uint64_t tag, id;

	if (len < FH_OVERHEAD || len > NFS4_FHSIZE || data[0] != FH_VERSION ||
	    data[1] != len - FH_OVERHEAD)
		return NFS4ERR_BADHANDLE;
	tag = fh_tag(key, data, len - FH_TAG);
	if (memcmp(&tag, data + len - FH_TAG, FH_TAG) != 0)
		return NFS4ERR_BADHANDLE;
	memcpy(&id, data + 2, sizeof(id));
	*export_id = be64toh(id);
	*handle = (struct bytes){ data + FH_HEADER, data[1] };
	return NFS4_OK;
}

#include "nfsd/state/snapshot_io.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"

#define FIRST_TAG 0x61746f6c6c736e61u

static uint64_t chunk_tag(uint64_t before, uint64_t n, const uint8_t *bytes, uint32_t len)
{
	struct siphash_key key = { before, n };

	return siphash(&key, bytes, len);
}

/* ---------------------------------------------------------------------- writing ---- */

int snapshot_out_init(struct snapshot_out *o, int fd)
{
	*o = (struct snapshot_out){ .fd = fd, .tag = FIRST_TAG, .chunk = malloc(SNAPSHOT_CHUNK) };
	return o->chunk ? 0 : -ENOMEM;
}

int snapshot_out_init_sink(struct snapshot_out *o, enum snapshot_sink sink)
{
	int err = snapshot_out_init(o, -1);

	o->sink = sink;
	return err;
}

static void keep_all(struct snapshot_out *o, const void *bytes, size_t len)
{
	size_t room = o->room ? o->room : SNAPSHOT_CHUNK;
	uint8_t *bigger;

	while (room - o->nbytes < len)
		room *= 2;
	if (room != o->room) {
		bigger = realloc(o->bytes, room);
		if (!bigger) {
			o->err = -ENOMEM;
			return;
		}
		o->bytes = bigger;
		o->room = room;
	}
	memcpy(o->bytes + o->nbytes, bytes, len);
	o->nbytes += len;
}

static void write_all(struct snapshot_out *o, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	if (o->sink == SNAPSHOT_DIGEST)
		return;
	if (o->sink == SNAPSHOT_MEMORY) {
		if (o->err == 0)
			keep_all(o, bytes, len);
		return;
	}
	while (len > 0 && o->err == 0) {
		ssize_t n = write(o->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			o->err = n < 0 ? -errno : -EIO;
			break;
		}
		p += n;
		len -= (size_t)n;
	}
}

static void write_chunk(struct snapshot_out *o)
{
	uint32_t len = htobe32(o->len);
	uint64_t tag;

	o->tag = chunk_tag(o->tag, o->nchunks++, o->chunk, o->len);
	tag = htobe64(o->tag);
	write_all(o, &len, sizeof(len));
	write_all(o, o->chunk, o->len);
	write_all(o, &tag, sizeof(tag));
	o->len = 0;
}

void snapshot_put(struct snapshot_out *o, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	while (len > 0) {
		size_t room = SNAPSHOT_CHUNK - o->len, n = len < room ? len : room;

		memcpy(o->chunk + o->len, p, n);
		o->len += (uint32_t)n;
		p += n;
		len -= n;
		if (o->len == SNAPSHOT_CHUNK)
			write_chunk(o);
	}
}

void snapshot_put_u32(struct snapshot_out *o, uint32_t v)
{
	uint32_t be = htobe32(v);

	if (unlikely(SNAPSHOT_CHUNK - o->len <= sizeof(be))) {
		snapshot_put(o, &be, sizeof(be));
		return;
	}
	memcpy(o->chunk + o->len, &be, sizeof(be));
	o->len += sizeof(be);
}

void snapshot_put_u64(struct snapshot_out *o, uint64_t v)
{
	snapshot_put_u32(o, (uint32_t)(v >> 32));
	snapshot_put_u32(o, (uint32_t)v);
}

void snapshot_put_bytes(struct snapshot_out *o, const void *bytes, uint32_t len)
{
	snapshot_put_u32(o, len);
	snapshot_put(o, bytes, len);
}

int snapshot_out_finish(struct snapshot_out *o)
{
	if (o->len > 0)
		write_chunk(o);
	write_chunk(o); /* the end */
	free(o->chunk);
	o->chunk = NULL;
	return o->err;
}

/* ---------------------------------------------------------------------- reading ---- */

int snapshot_in_init(struct snapshot_in *in, int fd)
{
	*in = (struct snapshot_in){ .fd = fd, .tag = FIRST_TAG, .chunk = malloc(SNAPSHOT_CHUNK) };
	return in->chunk ? 0 : -ENOMEM;
}

int snapshot_in_init_memory(struct snapshot_in *in, const uint8_t *from, size_t len)
{
	int err = snapshot_in_init(in, -1);

	in->from = from;
	in->left = len;
	return err;
}

void snapshot_bad(struct snapshot_in *in)
{
	if (in->err == 0)
		in->err = -EBADMSG;
}

static void read_all(struct snapshot_in *in, void *bytes, size_t len)
{
	uint8_t *p = bytes;

	if (in->from) {
		if (len > in->left)
			snapshot_bad(in);
		if (in->err)
			return;
		memcpy(bytes, in->from, len);
		in->from += len;
		in->left -= len;
		return;
	}
	while (len > 0 && in->err == 0) {
		ssize_t n = read(in->fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			in->err = -errno;
		else if (n == 0)
			snapshot_bad(in);
		if (n <= 0)
			break;
		p += n;
		len -= (size_t)n;
	}
}

static void read_chunk(struct snapshot_in *in)
{
	uint32_t len = 0;
	uint64_t tag = 0;

	in->at = in->len = 0;
	if (in->ended)
		snapshot_bad(in);
	read_all(in, &len, sizeof(len));
	len = be32toh(len);
	if (len > SNAPSHOT_CHUNK)
		snapshot_bad(in);
	if (in->err)
		return;
	read_all(in, in->chunk, len);
	read_all(in, &tag, sizeof(tag));
	if (in->err)
		return;
	in->tag = chunk_tag(in->tag, in->nchunks++, in->chunk, len);
	if (in->tag != be64toh(tag)) {
		snapshot_bad(in);
		return;
	}
	in->len = len;
	in->ended = len == 0;
}

void snapshot_get(struct snapshot_in *in, void *bytes, size_t len)
{
	uint8_t *p = bytes;

	while (len > 0) {
		size_t left, n;

		if (in->err == 0 && in->at == in->len)
			read_chunk(in);
		if (in->err == 0 && in->ended)
			snapshot_bad(in);
		if (in->err) {
			memset(p, 0, len);
			return;
		}
		left = in->len - in->at;
		n = len < left ? len : left;
		memcpy(p, in->chunk + in->at, n);
		in->at += (uint32_t)n;
		p += n;
		len -= n;
	}
}

uint32_t snapshot_get_u32(struct snapshot_in *in)
{
	uint32_t be;

	snapshot_get(in, &be, sizeof(be));
	return be32toh(be);
}

uint64_t snapshot_get_u64(struct snapshot_in *in)
{
	uint64_t be;

	snapshot_get(in, &be, sizeof(be));
	return be64toh(be);
}

bool snapshot_get_bool(struct snapshot_in *in)
{
	uint32_t v = snapshot_get_u32(in);

	if (v > 1)
		snapshot_bad(in);
	return v == 1;
}

const uint8_t *snapshot_get_bytes(struct snapshot_in *in, uint32_t max, uint32_t *len)
{
	static const uint8_t none[1];
	uint32_t n = snapshot_get_u32(in);
	uint8_t *bytes;

	*len = 0;
	if (n > max)
		snapshot_bad(in);
	if (in->err || n == 0)
		return none;
	if (n > in->bytes_cap) {
		bytes = realloc(in->bytes, n);
		if (!bytes) {
			in->err = -ENOMEM;
			return none;
		}
		in->bytes = bytes;
		in->bytes_cap = n;
	}
	snapshot_get(in, in->bytes, n);
	if (in->err)
		return none;
	*len = n;
	return in->bytes;
}

int snapshot_in_finish(struct snapshot_in *in)
{
	if (in->err == 0 && in->at < in->len)
		snapshot_bad(in);
	if (in->err == 0 && !in->ended)
		read_chunk(in);
	if (in->err == 0 && !in->ended)
		snapshot_bad(in);
	if (in->err == 0 && in->from && in->left)
		snapshot_bad(in);
	free(in->chunk);
	free(in->bytes);
	in->chunk = in->bytes = NULL;
	return in->err;
}

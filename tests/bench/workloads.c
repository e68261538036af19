/*
 * The workloads: one row each at the end of this file.
 *
 * A workload is a cycle of requests (most have one) that a slot repeats. encode() makes the request
 * of the step the slot is at, decode() checks the reply to the last byte and says where the cycle
 * goes on. What a slot has to remember is in the slot, what a connection has to is in its `priv`.
 *
 * What is checked: every status, filehandle, size and fileid; READ data by one line of every page,
 * and whole at every CHECK_EVERYth reply; of a directory that each listing has every name once;
 * written files are read back and compared at the end.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/bench/load.h"
#include "tests/bench/tree.h"

#define HOT_FILES   64u /* that lookups and opens choose from */
#define READ_BYTES  4096u
#define CHECK_EVERY 16u
#define COMMIT_MIB  16u
#define DIR_BYTES   131072u
#define USERS	    8u

/* Compounds end alike: a step that got no answer is asked again. */
#define TAKE_COMPOUND(c, s, d)                                                   \
	do {                                                                     \
		enum reply reply_ = compound_reply(c, s, d);                     \
		if (reply_ != REPLY_OK)                                          \
			return reply_ == REPLY_DELAY ? STEP_AGAIN : STEP_FAILED; \
		if (expect(c, d, OP_PUTFH))                                      \
			return STEP_FAILED;                                      \
	} while (0)

static enum step done(struct slot *s, uint64_t *units, uint64_t n)
{
	s->step = 0;
	*units += n;
	return STEP_DONE;
}

static enum step wrong(struct conn *c, const char *what)
{
	conn_fail(c, "%s", what);
	return STEP_FAILED;
}

static int no_setup(struct conn *c)
{
	return 0;
}

/* ---- null ---- */

static bool null_encode(struct conn *c, struct slot *s, struct enc *e)
{
	call_begin(c, s, e, NULL, 0);
	return true;
}

static enum step null_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	return done(s, units, 1);
}

/* ---- getattr, lookup, access ---- */

static bool getattr_encode(struct conn *c, struct slot *s, struct enc *e)
{
	s->item = conn_random(c, FILES);
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &c->tree->files[s->item].fh);
	op_getattr(e, LINUX_ATTRS_0, LINUX_ATTRS_1);
	return true;
}

static int check_attrs(struct conn *c, struct slot *s, struct dec *d)
{
	uint64_t size, fileid;

	if (result_attrs(c, d, &size, &fileid))
		return -1;
	if (size != PAGE || fileid != c->tree->files[s->item].fileid)
		return conn_fail(c, "GETATTR: another file's attributes");
	return 0;
}

static int check_fh(struct conn *c, struct slot *s, struct dec *d)
{
	const struct fh *want = &c->tree->files[s->item].fh;
	struct fh fh;

	if (result_fh(c, d, &fh))
		return -1;
	if (fh.len != want->len || memcmp(fh.data, want->data, fh.len) != 0)
		return conn_fail(c, "GETFH: another file's handle");
	return 0;
}

static enum step getattr_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE_COMPOUND(c, s, d);
	return check_attrs(c, s, d) ? STEP_FAILED : done(s, units, 1);
}

static void lookup_as(struct conn *c, struct slot *s, struct enc *e, const struct cred *cred)
{
	char name[32];

	s->item = conn_random(c, FILES);
	file_name(name, s->item);
	compound_begin(c, s, e, cred, false);
	op_putfh(e, &c->tree->files_dir);
	op_lookup(e, name);
	op_getfh(e);
	op_getattr(e, LINUX_ATTRS_0, LINUX_ATTRS_1);
}

static bool lookup_encode(struct conn *c, struct slot *s, struct enc *e)
{
	lookup_as(c, s, e, c->cred);
	return true;
}

static enum step lookup_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE_COMPOUND(c, s, d);
	if (expect(c, d, OP_LOOKUP) || check_fh(c, s, d) || check_attrs(c, s, d))
		return STEP_FAILED;
	return done(s, units, 1);
}

static bool access_encode(struct conn *c, struct slot *s, struct enc *e)
{
	s->item = conn_random(c, FILES);
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &c->tree->files[s->item].fh);
	op_access(e, ACCESS_ALL);
	return true;
}

static int check_access(struct conn *c, struct dec *d)
{
	uint32_t supported, granted;

	if (expect(c, d, OP_ACCESS))
		return -1;
	supported = get32(d);
	granted = get32(d);
	/* Of mode 0666; some servers count LOOKUP, DELETE or root's EXECUTE in. */
	if ((granted & ACCESS_FILE_RW) != ACCESS_FILE_RW || (granted & ~supported))
		return conn_fail(c, "ACCESS: %#x of %#x", granted, supported);
	return 0;
}

static enum step access_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE_COMPOUND(c, s, d);
	return check_access(c, d) ? STEP_FAILED : done(s, units, 1);
}

/* ---- several users on one connection ---- */

static int users_open(struct conn *c)
{
	struct cred *creds = calloc(USERS, sizeof(*creds));

	if (!creds)
		return conn_fail(c, "out of memory");
	for (uint32_t i = 0; i < USERS; i++)
		cred_user(&creds[i], 1000 + i);
	c->priv = creds;
	return 0;
}

static bool users_encode(struct conn *c, struct slot *s, struct enc *e)
{
	const struct cred *creds = c->priv;

	lookup_as(c, s, e, &creds[c->xids % USERS]);
	return true;
}

static int free_priv(struct conn *c)
{
	free(c->priv);
	c->priv = NULL;
	return 0;
}

/* ---- reading and writing the connection's file ---- */

struct data_priv {
	struct stateid open;
	uint32_t next; /* block to read */
	uint32_t replies;
	uint32_t uncommitted; /* MiB */
	bool verifier_known, dirty;
	uint8_t verifier[8];
	uint32_t gen[DATA_BYTES / PAGE]; /* of each block, 4 KiB or 1 MiB */
};

static int data_open(struct conn *c)
{
	struct data_priv *p = calloc(1, sizeof(*p));
	char name[32];
	struct fh fh;

	if (!p)
		return conn_fail(c, "out of memory");
	c->priv = p;
	snprintf(name, sizeof(name), "data-%u", c->index);
	return open_by_name(c, &c->tree->root, name, OPEN_BOTH, 0, false, &p->open, &fh);
}

static int data_close(struct conn *c)
{
	struct data_priv *p = c->priv;
	int ret = close_file(c, &c->tree->data[c->index], &p->open);

	free_priv(c);
	return ret;
}

static void read_at(struct conn *c, struct slot *s, struct enc *e, uint64_t offset, uint32_t count)
{
	const struct data_priv *p = c->priv;

	s->offset = offset;
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &c->tree->data[c->index]);
	op_read(e, &p->open, offset, count);
}

static bool read4k_encode(struct conn *c, struct slot *s, struct enc *e)
{
	read_at(c, s, e, (uint64_t)conn_random(c, DATA_BYTES / READ_BYTES) * READ_BYTES,
		READ_BYTES);
	return true;
}

static bool read1m_encode(struct conn *c, struct slot *s, struct enc *e)
{
	struct data_priv *p = c->priv;

	read_at(c, s, e, (uint64_t)(p->next++ % (DATA_BYTES / MIB)) * MIB, MIB);
	return true;
}

/* `len` bytes of READ against what the file holds there. */
static int check_data(struct conn *c, struct dec *d, uint32_t file, uint64_t offset, uint32_t len,
		      bool whole)
{
	const uint8_t *want = page_data(file, offset / PAGE, 0), *data;
	uint32_t n;

	if (expect(c, d, OP_READ))
		return -1;
	get32(d); /* eof */
	data = get_opaque(d, &n);
	if (!data || n != len)
		return conn_fail(c, "READ: %u of %u bytes", n, len);
	if (whole) {
		if (memcmp(data, want, len) != 0)
			return conn_fail(c, "READ: wrong data");
		return 0;
	}
	for (uint32_t i = 0; i < len; i += PAGE) {
		if (memcmp(data + i, want + i, 64) != 0)
			return conn_fail(c, "READ: wrong data at %u", i);
	}
	return 0;
}

static enum step read_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units,
			     uint32_t len)
{
	struct data_priv *p = c->priv;

	TAKE_COMPOUND(c, s, d);
	if (check_data(c, d, data_file(c->index), s->offset, len, p->replies++ % CHECK_EVERY == 0))
		return STEP_FAILED;
	return done(s, units, 1);
}

static enum step read4k_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	return read_decode(c, s, d, units, READ_BYTES);
}

static enum step read1m_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	return read_decode(c, s, d, units, MIB);
}

/*
 * Blocks belong to slots (block % depth), so that no two writes of one block are in flight and what
 * it must hold in the end is known.
 */
static void write_at(struct conn *c, struct slot *s, struct enc *e, uint32_t size)
{
	struct data_priv *p = c->priv;
	uint32_t own = DATA_BYTES / size / c->depth;

	s->item = (size == MIB ? s->gen++ % own : conn_random(c, own)) * c->depth + s->id;
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &c->tree->data[c->index]);
	op_write(e, &p->open, (uint64_t)s->item * size, UNSTABLE4,
		 page_data(data_file(c->index), (uint64_t)s->item * size / PAGE,
			   p->gen[s->item] + 1),
		 size);
	p->dirty = true;
}

static int check_verifier(struct conn *c, struct dec *d)
{
	struct data_priv *p = c->priv;
	const uint8_t *verifier = get_fixed(d, 8);

	if (!verifier)
		return conn_fail(c, "a truncated write verifier");
	if (p->verifier_known && memcmp(p->verifier, verifier, 8) != 0)
		return conn_fail(c, "the write verifier changed: data may be lost");
	memcpy(p->verifier, verifier, 8);
	p->verifier_known = true;
	return 0;
}

static int check_write(struct conn *c, struct slot *s, struct dec *d, uint32_t size)
{
	struct data_priv *p = c->priv;
	uint32_t n;

	if (expect(c, d, OP_WRITE))
		return -1;
	n = get32(d);
	get32(d); /* committed */
	if (n != size)
		return conn_fail(c, "WRITE: %u of %u bytes", n, size);
	p->gen[s->item]++;
	return check_verifier(c, d);
}

static bool write4k_encode(struct conn *c, struct slot *s, struct enc *e)
{
	write_at(c, s, e, PAGE);
	return true;
}

static enum step write4k_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE_COMPOUND(c, s, d);
	return check_write(c, s, d, PAGE) ? STEP_FAILED : done(s, units, 1);
}

enum { WRITE_STEP, COMMIT_STEP };

static bool write1m_encode(struct conn *c, struct slot *s, struct enc *e)
{
	if (s->step == WRITE_STEP) {
		write_at(c, s, e, MIB);
		return true;
	}
	compound_begin(c, s, e, c->cred, true);
	op_putfh(e, &c->tree->data[c->index]);
	op_commit(e);
	return true;
}

static enum step write1m_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	struct data_priv *p = c->priv;

	TAKE_COMPOUND(c, s, d);
	if (s->step == COMMIT_STEP) {
		if (expect(c, d, OP_COMMIT) || check_verifier(c, d))
			return STEP_FAILED;
		return done(s, units, 1);
	}
	if (check_write(c, s, d, MIB))
		return STEP_FAILED;
	if (++p->uncommitted < COMMIT_MIB)
		return done(s, units, 1);
	p->uncommitted = 0;
	s->step = COMMIT_STEP;
	return STEP_MORE;
}

static int write_commit(struct conn *c)
{
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, &c->tree->data[c->index]);
	op_commit(&e);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || expect(c, &d, OP_COMMIT))
		return -1;
	return check_verifier(c, &d);
}

/* Compares with what was written, then puts back what the other workloads expect there. */
static int write_close(struct conn *c, uint32_t size)
{
	struct data_priv *p = c->priv;
	const struct fh *fh = &c->tree->data[c->index];
	struct enc e;
	struct dec d;

	if (p->dirty && (write_commit(c) || data_verify(c, &p->open, size, p->gen)))
		return -1;
	for (uint64_t at = 0; p->dirty && at < DATA_BYTES; at += MIB) {
		compound_begin(c, &c->slots[0], &e, c->cred, false);
		op_putfh(&e, fh);
		op_write(&e, &p->open, at, UNSTABLE4, page_data(data_file(c->index), at / PAGE, 0),
			 MIB);
		if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || expect(c, &d, OP_WRITE))
			return -1;
	}
	return data_close(c);
}

static int write4k_close(struct conn *c)
{
	return write_close(c, PAGE);
}

static int write1m_close(struct conn *c)
{
	return write_close(c, MIB);
}

/* ---- openclose, create ---- */

/* What the Linux client sends to open a file by name. */
static void open_request(struct conn *c, struct slot *s, struct enc *e, const struct fh *dir,
			 const char *name, uint32_t access, bool create)
{
	compound_begin(c, s, e, c->cred, true);
	op_putfh(e, dir);
	op_open(e, c, s->id, name, access, create, 0666);
	op_getfh(e);
	op_access(e, ACCESS_ALL);
	op_getattr(e, LINUX_ATTRS_0, LINUX_ATTRS_1);
}

static void close_request(struct conn *c, struct slot *s, struct enc *e)
{
	compound_begin(c, s, e, c->cred, true);
	op_putfh(e, &s->fh);
	op_close(e, &s->state);
}

static int check_open(struct conn *c, struct slot *s, struct dec *d)
{
	if (result_open(c, d, &s->state) || check_fh(c, s, d) || check_access(c, d) ||
	    check_attrs(c, s, d))
		return -1;
	s->fh = c->tree->files[s->item].fh;
	return 0;
}

enum { OPEN_STEP, CLOSE_STEP, REMOVE_STEP };

static bool openclose_encode(struct conn *c, struct slot *s, struct enc *e)
{
	char name[32];

	if (s->step == CLOSE_STEP) {
		close_request(c, s, e);
		return true;
	}
	s->item = conn_random(c, HOT_FILES);
	file_name(name, s->item);
	open_request(c, s, e, &c->tree->files_dir, name, OPEN_READ, false);
	return true;
}

static enum step openclose_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE_COMPOUND(c, s, d);
	if (s->step == OPEN_STEP) {
		s->step = CLOSE_STEP;
		return check_open(c, s, d) ? STEP_FAILED : STEP_MORE;
	}
	return result_stateid(c, d, OP_CLOSE, &s->state) ? STEP_FAILED : done(s, units, 1);
}

static void own_name(char name[32], const struct slot *s, const char *what)
{
	snprintf(name, 32, "%s-%u-%u", what, s->id, s->gen);
}

static bool create_encode(struct conn *c, struct slot *s, struct enc *e)
{
	const struct fh *dir = &c->tree->conn_dir[c->index];
	char name[32];

	switch (s->step) {
	case OPEN_STEP:
		own_name(name, s, "new");
		open_request(c, s, e, dir, name, OPEN_BOTH, true);
		break;
	case CLOSE_STEP:
		close_request(c, s, e);
		break;
	default:
		own_name(name, s, "new");
		compound_begin(c, s, e, c->cred, true);
		op_putfh(e, dir);
		op_remove(e, name);
	}
	return true;
}

/* An OPEN that created: an empty file. */
static int check_created(struct conn *c, struct slot *s, struct dec *d)
{
	uint64_t size, fileid;

	if (result_open(c, d, &s->state) || result_fh(c, d, &s->fh) || check_access(c, d) ||
	    result_attrs(c, d, &size, &fileid))
		return -1;
	return size == 0 ? 0 : conn_fail(c, "OPEN: a new file that is not empty");
}

static enum step create_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE_COMPOUND(c, s, d);
	switch (s->step++) {
	case OPEN_STEP:
		return check_created(c, s, d) ? STEP_FAILED : STEP_MORE;
	case CLOSE_STEP:
		return result_stateid(c, d, OP_CLOSE, &s->state) ? STEP_FAILED : STEP_MORE;
	default:
		if (expect(c, d, OP_REMOVE))
			return STEP_FAILED;
		get_fixed(d, 20); /* change_info */
		s->gen++;
		return done(s, units, 1);
	}
}

/* ---- readdir ---- */

static bool readdir_encode(struct conn *c, struct slot *s, struct enc *e)
{
	if (s->step == 0) {
		s->cookie = 0;
		s->sum = 0;
		s->item = 0;
		memset(s->verifier, 0, sizeof(s->verifier));
	}
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &c->tree->dir);
	op_readdir(e, s->cookie, s->verifier, DIR_BYTES);
	return true;
}

/* One entry; all of its attributes must be there and without rdattr_error. */
static int take_entry(struct conn *c, struct slot *s, struct dec *d)
{
	const uint8_t *name, *values;
	uint32_t len, words, word0, word1;

	s->cookie = get64(d);
	name = get_opaque(d, &len);
	words = get32(d);
	word0 = get32(d);
	word1 = get32(d);
	if (words == 3)
		get32(d);
	if (d->bad || words < 2 || words > 3 || word0 != LINUX_READDIR_0 || word1 != LINUX_ATTRS_1)
		return conn_fail(c, "READDIR: an entry without all attributes (%08x %08x)", word0,
				 word1);
	s->sum += name_hash(name, len);
	s->item++;
	values = get_opaque(d, &len);
	/* type 4, change 8, size 8, fsid 16, rdattr_error 4 */
	if (!values || len < 40 || load32(values + 36) != 0)
		return conn_fail(c, "READDIR: an entry with rdattr_error");
	return 0;
}

static enum step readdir_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	const uint8_t *verifier;
	uint32_t before, eof;

	TAKE_COMPOUND(c, s, d);
	if (expect(c, d, OP_READDIR))
		return STEP_FAILED;
	verifier = get_fixed(d, 8);
	if (!verifier)
		return wrong(c, "READDIR: truncated");
	memcpy(s->verifier, verifier, sizeof(s->verifier));
	before = s->item;
	while (get32(d) == 1) {
		if (take_entry(c, s, d))
			return STEP_FAILED;
	}
	eof = get32(d);
	*units += s->item - before;
	if (!eof && s->item == before)
		return wrong(c, "READDIR: no entry, yet not the end");
	if (!eof) {
		s->step = 1;
		return STEP_MORE;
	}
	if (s->item != ENTRIES || s->sum != c->tree->entries_sum)
		return wrong(c, "READDIR: entries are missing, or there twice");
	return done(s, units, 0);
}

/* ---- lock and unlock ---- */

#define LOCK_BYTES 100u

static int lock_unlock_first(struct conn *c, const struct stateid *open, struct slot *s)
{
	const struct fh *fh = &c->tree->data[c->index];
	uint64_t offset = (uint64_t)s->id * LOCK_BYTES;
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, fh);
	op_lock_first(&e, c, open, s->id, offset, LOCK_BYTES);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) ||
	    result_stateid(c, &d, OP_LOCK, &s->state))
		return -1;
	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, fh);
	op_locku(&e, &s->state, offset, LOCK_BYTES);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH))
		return -1;
	return result_stateid(c, &d, OP_LOCKU, &s->state);
}

/* A lock-owner of its own for each slot. */
static int lock_open(struct conn *c)
{
	struct data_priv *p;

	if (data_open(c))
		return -1;
	p = c->priv;
	for (unsigned i = 0; i < c->depth; i++) {
		if (lock_unlock_first(c, &p->open, &c->slots[i]))
			return -1;
	}
	return 0;
}

enum { LOCK_STEP, UNLOCK_STEP };

static bool lock_encode(struct conn *c, struct slot *s, struct enc *e)
{
	uint64_t offset = (uint64_t)s->id * LOCK_BYTES;

	compound_begin(c, s, e, c->cred, true);
	op_putfh(e, &c->tree->data[c->index]);
	if (s->step == LOCK_STEP)
		op_lock(e, &s->state, offset, LOCK_BYTES);
	else
		op_locku(e, &s->state, offset, LOCK_BYTES);
	return true;
}

static enum step lock_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	bool unlock = s->step == UNLOCK_STEP;

	TAKE_COMPOUND(c, s, d);
	if (result_stateid(c, d, unlock ? OP_LOCKU : OP_LOCK, &s->state))
		return STEP_FAILED;
	if (unlock)
		return done(s, units, 1);
	s->step = UNLOCK_STEP;
	return STEP_MORE;
}

/* ---- a mix like a build ---- */

#define OBJECT_BYTES 16384u

/* What one compilation asks for: headers sought, found, read; an object file written and renamed. */
enum build_step {
	BUILD_MISS,
	BUILD_LOOKUP,
	BUILD_ACCESS,
	BUILD_GETATTR,
	BUILD_OPEN,
	BUILD_READ,
	BUILD_CLOSE,
	BUILD_CREATE,
	BUILD_WRITE,
	BUILD_COMMIT,
	BUILD_CLOSE_NEW,
	BUILD_RENAME,
	BUILD_REMOVE,
};

static const uint8_t build_steps[] = {
	BUILD_MISS,    BUILD_LOOKUP,  BUILD_ACCESS,  BUILD_GETATTR, BUILD_OPEN,	     BUILD_READ,
	BUILD_CLOSE,   BUILD_MISS,    BUILD_MISS,    BUILD_LOOKUP,  BUILD_OPEN,	     BUILD_READ,
	BUILD_CLOSE,   BUILD_GETATTR, BUILD_GETATTR, BUILD_ACCESS,  BUILD_OPEN,	     BUILD_READ,
	BUILD_CLOSE,   BUILD_CREATE,  BUILD_WRITE,   BUILD_COMMIT,  BUILD_CLOSE_NEW, BUILD_RENAME,
	BUILD_GETATTR, BUILD_REMOVE,
};

/* The steps on files that are there. */
static void build_old(struct conn *c, struct slot *s, struct enc *e)
{
	char name[32];

	switch (build_steps[s->step]) {
	case BUILD_LOOKUP:
		lookup_as(c, s, e, c->cred);
		break;
	case BUILD_ACCESS:
		access_encode(c, s, e);
		break;
	case BUILD_GETATTR:
		getattr_encode(c, s, e);
		break;
	case BUILD_OPEN:
		s->item = conn_random(c, FILES);
		file_name(name, s->item);
		open_request(c, s, e, &c->tree->files_dir, name, OPEN_READ, false);
		break;
	case BUILD_READ:
		compound_begin(c, s, e, c->cred, false);
		op_putfh(e, &s->fh);
		op_read(e, &s->state, 0, PAGE);
		break;
	default:
		compound_begin(c, s, e, c->cred, false);
		op_putfh(e, &c->tree->files_dir);
		op_lookup(e, "not-there.h");
	}
}

/* The steps on the file that is made. */
static void build_new(struct conn *c, struct slot *s, struct enc *e)
{
	const struct fh *dir = &c->tree->conn_dir[c->index];
	char name[32], object[32];

	own_name(name, s, "tmp");
	own_name(object, s, "object");
	switch (build_steps[s->step]) {
	case BUILD_CREATE:
		open_request(c, s, e, dir, name, OPEN_BOTH, true);
		return;
	case BUILD_CLOSE_NEW:
		close_request(c, s, e);
		return;
	default:
		break;
	}
	compound_begin(c, s, e, c->cred, build_steps[s->step] != BUILD_WRITE);
	switch (build_steps[s->step]) {
	case BUILD_WRITE:
		op_putfh(e, &s->fh);
		op_write(e, &s->state, 0, UNSTABLE4, page_data(0, 0, 0), OBJECT_BYTES);
		break;
	case BUILD_COMMIT:
		op_putfh(e, &s->fh);
		op_commit(e);
		break;
	case BUILD_RENAME:
		op_putfh(e, dir);
		op_savefh(e);
		op_rename(e, name, object);
		break;
	default:
		op_putfh(e, dir);
		op_remove(e, object);
	}
}

static bool build_encode(struct conn *c, struct slot *s, struct enc *e)
{
	if (build_steps[s->step] == BUILD_CLOSE)
		close_request(c, s, e);
	else if (build_steps[s->step] < BUILD_CLOSE)
		build_old(c, s, e);
	else
		build_new(c, s, e);
	return true;
}

static int build_check_old(struct conn *c, struct slot *s, struct dec *d)
{
	uint32_t status;

	switch (build_steps[s->step]) {
	case BUILD_LOOKUP:
		return expect(c, d, OP_LOOKUP) || check_fh(c, s, d) || check_attrs(c, s, d);
	case BUILD_ACCESS:
		return check_access(c, d);
	case BUILD_GETATTR:
		return check_attrs(c, s, d);
	case BUILD_OPEN:
		return check_open(c, s, d);
	case BUILD_READ:
		return check_data(c, d, s->item, 0, PAGE, true);
	default:
		if (expect_any(c, d, OP_LOOKUP, &status))
			return -1;
		return status == NFS4ERR_NOENT
			   ? 0
			   : conn_fail(c, "LOOKUP of what is not there: status %u", status);
	}
}

static int build_check_new(struct conn *c, struct slot *s, struct dec *d)
{
	switch (build_steps[s->step]) {
	case BUILD_CREATE:
		return check_created(c, s, d);
	case BUILD_WRITE:
		if (expect(c, d, OP_WRITE) || get32(d) != OBJECT_BYTES)
			return conn_fail(c, "WRITE: not all of it");
		get_fixed(d, 12);
		return 0;
	case BUILD_COMMIT:
		if (expect(c, d, OP_COMMIT))
			return -1;
		get_fixed(d, 8);
		return 0;
	case BUILD_RENAME:
		if (expect(c, d, OP_SAVEFH) || expect(c, d, OP_RENAME))
			return -1;
		get_fixed(d, 40);
		return 0;
	case BUILD_REMOVE:
		if (expect(c, d, OP_REMOVE))
			return -1;
		get_fixed(d, 20);
		return 0;
	default:
		return result_stateid(c, d, OP_CLOSE, &s->state);
	}
}

static enum step build_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	uint8_t what = build_steps[s->step];

	TAKE_COMPOUND(c, s, d);
	if (what < BUILD_CLOSE ? build_check_old(c, s, d) : build_check_new(c, s, d))
		return STEP_FAILED;
	if (++s->step < sizeof(build_steps))
		return STEP_MORE;
	s->gen++;
	return done(s, units, 1);
}

/* ---- the list ---- */

static const struct workload null_workload = {
	.name = "null",
	.unit = "call",
	.does = "the NULL procedure, without credential",
	.anyone = true,
	.limit = "echo",
	.goal = { 2.0, 15, 12 },
	.goal_cpu = 0.5,
	.goal_batched = true,
	.open = no_setup,
	.encode = null_encode,
	.decode = null_decode,
	.close = no_setup,
};

static const struct workload getattr_workload = {
	.name = "getattr",
	.unit = "call",
	.does = "PUTFH GETATTR of what the Linux client asks, one of 1,000 files",
	.parts = TREE_FILES,
	.limit = "echo",
	.floor = "statx",
	.goal = { 1.5, 5, 6 },
	.goal_cpu = 3,
	.open = no_setup,
	.encode = getattr_encode,
	.decode = getattr_decode,
	.close = no_setup,
};

static const struct workload lookup_workload = {
	.name = "lookup",
	.unit = "call",
	.does = "PUTFH LOOKUP GETFH GETATTR, one of 1,000 names",
	.parts = TREE_FILES,
	.limit = "echo",
	.floor = "name_to_handle_at statx",
	.goal = { 1.5, 4, 4 },
	.goal_cpu = 5,
	.open = no_setup,
	.encode = lookup_encode,
	.decode = lookup_decode,
	.close = no_setup,
};

static const struct workload access_workload = {
	.name = "access",
	.unit = "call",
	.does = "PUTFH ACCESS, one of 1,000 files",
	.parts = TREE_FILES,
	.limit = "echo",
	.goal = { 1.6, 7, 8 },
	.goal_cpu = 2,
	.open = no_setup,
	.encode = access_encode,
	.decode = access_decode,
	.close = no_setup,
};

static const struct workload read4k_workload = {
	.name = "read4k",
	.unit = "call",
	.does = "PUTFH READ of 4 KiB at random in 32 MiB, open file",
	.parts = TREE_DATA,
	.limit = "echo",
	.floor = "pread-4k",
	.goal = { 1.5, 5, 5 },
	.goal_cpu = 3.5,
	.open = data_open,
	.encode = read4k_encode,
	.decode = read4k_decode,
	.close = data_close,
};

static const struct workload read1m_workload = {
	.name = "read1m",
	.unit = "MiB",
	.does = "PUTFH READ of 1 MiB, in sequence, open file",
	.parts = TREE_DATA,
	.limit = "sendfile pread+send",
	.goal = { 1.5, 2, 3 },
	.goal_factor = 1.3,
	.goal_of = "sendfile",
	.open = data_open,
	.encode = read1m_encode,
	.decode = read1m_decode,
	.close = data_close,
};

static const struct workload write4k_workload = {
	.name = "write4k",
	.unit = "call",
	.does = "PUTFH WRITE (UNSTABLE) of 4 KiB at random in 32 MiB, open file",
	.parts = TREE_DATA,
	.limit = "echo",
	.floor = "pwrite-4k",
	.goal = { 1.5, 4.5, 5 },
	.goal_cpu = 2,
	.goal_factor = 1.3,
	.goal_of = "pwrite-4k",
	.open = data_open,
	.encode = write4k_encode,
	.decode = write4k_decode,
	.close = write4k_close,
};

static const struct workload write1m_workload = {
	.name = "write1m",
	.unit = "MiB",
	.does = "PUTFH WRITE (UNSTABLE) of 1 MiB, after every 16 a COMMIT, open file",
	.parts = TREE_DATA,
	.limit = "splice+sync recv+pwrite+sync",
	.goal = { 2, 2, 4 },
	.goal_factor = 1.5,
	.goal_of = "splice",
	.open = data_open,
	.encode = write1m_encode,
	.decode = write1m_decode,
	.close = write1m_close,
};

static const struct workload openclose_workload = {
	.name = "openclose",
	.unit = "cycle",
	.does = "PUTFH OPEN GETFH ACCESS GETATTR, then PUTFH CLOSE; one of 64 files",
	.parts = TREE_FILES,
	.limit = "echo",
	.floor = "open-proc-fd statx",
	.goal = { 1.6, 4, 4 },
	.goal_cpu = 10,
	.open = no_setup,
	.encode = openclose_encode,
	.decode = openclose_decode,
	.close = no_setup,
};

static const struct workload create_workload = {
	.name = "create+remove",
	.unit = "cycle",
	.does = "OPEN that creates (with GETFH ACCESS GETATTR), CLOSE, REMOVE",
	.parts = TREE_CONN,
	.limit = "echo",
	.floor = "create-unlink name_to_handle_at statx",
	.goal = { 1.6, 3, 3.5 },
	.goal_cpu = 40,
	.open = no_setup,
	.encode = create_encode,
	.decode = create_decode,
	.close = no_setup,
};

static const struct workload readdir_workload = {
	.name = "readdir",
	.unit = "entry",
	.does = "READDIR of 10,000 entries with the Linux client's attributes, 128 KiB at a time",
	.parts = TREE_DIR,
	.limit = "echo",
	.floor = "getdents+statx",
	.goal = { 1.3, 1.3, 2 },
	.goal_factor = 1.2,
	.goal_of = "getdents+statx",
	.open = no_setup,
	.encode = readdir_encode,
	.decode = readdir_decode,
	.close = no_setup,
};

static const struct workload lock_workload = {
	.name = "lock+unlock",
	.unit = "cycle",
	.does = "LOCK and LOCKU of a range, each slot with its own lock-owner and range",
	.parts = TREE_DATA,
	.limit = "echo",
	.goal = { 2.2, 8, 9 },
	.goal_cpu = 2.5,
	.open = lock_open,
	.encode = lock_encode,
	.decode = lock_decode,
	.close = data_close,
};

static const struct workload build_workload = {
	.name = "build",
	.unit = "file",
	.does =
	    "26 requests as one compilation makes: names sought, headers read, an object written",
	.parts = TREE_FILES | TREE_CONN,
	.limit = "echo",
	.open = no_setup,
	.encode = build_encode,
	.decode = build_decode,
	.close = no_setup,
};

static const struct workload users_workload = {
	.name = "users",
	.unit = "call",
	.does = "lookup, asked by 8 ordinary users in turn on each connection",
	.parts = TREE_FILES,
	.anyone = true,
	.limit = "echo",
	.floor = "name_to_handle_at statx credentials",
	.open = users_open,
	.encode = users_encode,
	.decode = lookup_decode,
	.close = free_priv,
};

const struct workload *const workloads[] = {
	&null_workload,	   &getattr_workload, &lookup_workload,
	&access_workload,  &read4k_workload,  &read1m_workload,
	&write4k_workload, &write1m_workload, &openclose_workload,
	&create_workload,  &readdir_workload, &lock_workload,
	&build_workload,   &users_workload,   NULL,
};

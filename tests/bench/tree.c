/* Making the files that the workloads work on, and what they hold. See tree.h. */
#include "tests/bench/tree.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/bench/load.h"

#define MAKE_DEPTH  16u
#define ANY_OWNER   0xffffu
#define DATA_PERIOD 251u /* pages; a prime, so that no misplaced block looks right */

/* ---- names and contents ---- */

void file_name(char name[32], uint32_t i)
{
	snprintf(name, 32, "file-%04u", i);
}

static void entry_name(char name[32], uint32_t i)
{
	snprintf(name, 32, "entry-%05u", i);
}

uint64_t name_hash(const uint8_t *name, uint32_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (uint32_t i = 0; i < len; i++)
		h = (h ^ name[i]) * 0x100000001b3u;
	return h;
}

static uint8_t pages[(size_t)(DATA_PERIOD + MIB / PAGE) * PAGE];

static void fill_pages(void)
{
	uint64_t x = 0x2545f4914f6cdd1du;
	size_t period = (size_t)DATA_PERIOD * PAGE;

	for (size_t i = 0; i < period; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(pages + i, &x, 8);
	}
	for (size_t i = period; i < sizeof(pages); i++)
		pages[i] = pages[i - period];
}

const uint8_t *page_data(uint32_t file, uint64_t page, uint32_t gen)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fill_pages);
	return pages + (page + (uint64_t)file * 97 + (uint64_t)gen * 31) % DATA_PERIOD * PAGE;
}

/* ---- credentials ---- */

static void cred_fill(struct cred *cred, uint32_t uid, uint32_t gid, const uint32_t *groups,
		      uint32_t n)
{
	struct enc e = { .p = cred->bytes, .end = cred->bytes + sizeof(cred->bytes) };

	put32(&e, 1); /* AUTH_SYS */
	put32(&e, 0);
	put32(&e, 0); /* stamp */
	put_string(&e, "atoll-bench");
	put32(&e, uid);
	put32(&e, gid);
	put32(&e, n);
	for (uint32_t i = 0; i < n; i++)
		put32(&e, groups[i]);
	cred->len = (uint32_t)(e.p - cred->bytes);
	store32(cred->bytes + 4, cred->len - 8);
}

void cred_root(struct cred *cred)
{
	const uint32_t group = 0;

	cred->name = "root";
	cred_fill(cred, 0, 0, &group, 1);
}

void cred_user(struct cred *cred, uint32_t uid)
{
	const uint32_t groups[] = { 24, 27, 44, 100, 2000 + uid, 3000 + uid, uid };

	cred->name = "user";
	cred_fill(cred, uid, uid, groups, sizeof(groups) / sizeof(groups[0]));
}

/* ---- single calls ---- */

int open_by_name(struct conn *c, const struct fh *dir, const char *name, uint32_t access,
		 uint32_t owner, bool create, struct stateid *state, struct fh *fh)
{
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, dir);
	op_open(&e, c, owner, name, access, create, 0666);
	op_getfh(&e);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || result_open(c, &d, state))
		return -1;
	return result_fh(c, &d, fh) || expect_end(c, &d) ? -1 : 0;
}

int close_file(struct conn *c, const struct fh *fh, const struct stateid *state)
{
	struct stateid closed;
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, fh);
	op_close(&e, state);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH))
		return -1;
	return result_stateid(c, &d, OP_CLOSE, &closed);
}

static int lookup_root(struct conn *c, const char *path, struct fh *fh)
{
	char copy[512], *save = NULL;
	struct enc e;
	struct dec d;
	unsigned parts = 0;

	snprintf(copy, sizeof(copy), "%s", path);
	compound_begin(c, &c->slots[0], &e, c->cred, false);
	op_putrootfh(&e);
	for (char *part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		op_lookup(&e, part);
		parts++;
	}
	op_getfh(&e);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTROOTFH))
		return -1;
	while (parts-- > 0) {
		if (expect(c, &d, OP_LOOKUP))
			return -1;
	}
	return result_fh(c, &d, fh) || expect_end(c, &d) ? -1 : 0;
}

/* mkdir; a mode that a umask-like setting of the server cut would show in the user's rows. */
static int make_dir(struct conn *c, const struct fh *parent, const char *name, struct fh *fh)
{
	struct enc e;
	struct dec d;
	uint32_t words;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, parent);
	op_create_dir(&e, name, 0777);
	op_getfh(&e);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || expect(c, &d, OP_CREATE))
		return -1;
	get_fixed(&d, 20);
	words = get32(&d);
	get_fixed(&d, (size_t)(words < 8 ? words : 8) * 4);
	return result_fh(c, &d, fh) || expect_end(c, &d) ? -1 : 0;
}

static int remove_name(struct conn *c, const struct fh *dir, const char *name)
{
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, true);
	op_putfh(&e, dir);
	op_remove(&e, name);
	return conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || expect(c, &d, OP_REMOVE) ? -1 : 0;
}

static int write_block(struct conn *c, const struct fh *fh, const struct stateid *state,
		       uint64_t offset, const uint8_t *data, uint32_t count)
{
	struct enc e;
	struct dec d;

	compound_begin(c, &c->slots[0], &e, c->cred, false);
	op_putfh(&e, fh);
	op_write(&e, state, offset, UNSTABLE4, data, count);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || expect(c, &d, OP_WRITE))
		return -1;
	if (get32(&d) != count)
		return conn_fail(c, "WRITE: not all of it");
	return 0;
}

static int read_block(struct conn *c, const struct fh *fh, const struct stateid *state,
		      uint64_t offset, uint32_t count, const uint8_t **data)
{
	struct enc e;
	struct dec d;
	uint32_t n;

	compound_begin(c, &c->slots[0], &e, c->cred, false);
	op_putfh(&e, fh);
	op_read(&e, state, offset, count);
	if (conn_call(c, &e, &d) || expect(c, &d, OP_PUTFH) || expect(c, &d, OP_READ))
		return -1;
	get32(&d); /* eof */
	*data = get_opaque(&d, &n);
	if (!*data || n != count)
		return conn_fail(c, "READ: %u of %u bytes", n, count);
	return 0;
}

int data_verify(struct conn *c, const struct stateid *open, uint32_t unit, const uint32_t *gen)
{
	for (uint64_t at = 0; at < DATA_BYTES; at += MIB) {
		const uint8_t *data;

		if (read_block(c, &c->tree->data[c->index], open, at, MIB, &data))
			return -1;
		for (uint64_t i = at; i < at + MIB; i += unit) {
			const uint8_t *want =
			    page_data(data_file(c->index), i / PAGE, gen ? gen[i / unit] : 0);

			if (memcmp(data + (i - at), want, unit) != 0)
				return conn_fail(c, "wrong data at %llu of a file that was written",
						 (unsigned long long)i);
		}
	}
	return 0;
}

/* ---- many files, at depth ---- */

struct maker {
	struct tree *tree;
	uint32_t next, last;
	bool entries; /* dir/entry-NNNNN, empty; else files/file-NNNN */
};

enum { MAKE_OPEN, MAKE_WRITE, MAKE_CLOSE };

static bool make_encode(struct conn *c, struct slot *s, struct enc *e)
{
	struct maker *m = c->priv;
	char name[32];

	if (s->step == MAKE_OPEN && !s->sum) {
		if (m->next == m->last)
			return false;
		s->item = m->next++;
		s->sum = 1; /* the slot has a file: a delayed OPEN is asked again for the same */
	}
	compound_begin(c, s, e, c->cred, s->step != MAKE_WRITE);
	switch (s->step) {
	case MAKE_OPEN:
		if (m->entries)
			entry_name(name, s->item);
		else
			file_name(name, s->item);
		op_putfh(e, m->entries ? &m->tree->dir : &m->tree->files_dir);
		op_open(e, c, s->id, name, OPEN_BOTH, true, 0666);
		op_getfh(e);
		op_getattr(e, LINUX_ATTRS_0, LINUX_ATTRS_1);
		break;
	case MAKE_WRITE:
		op_putfh(e, &s->fh);
		op_write(e, &s->state, 0, UNSTABLE4, page_data(s->item, 0, 0), PAGE);
		break;
	default:
		op_putfh(e, &s->fh);
		op_close(e, &s->state);
	}
	return true;
}

static enum step make_opened(struct conn *c, struct slot *s, struct dec *d)
{
	struct maker *m = c->priv;
	uint64_t size, fileid;

	if (result_open(c, d, &s->state) || result_fh(c, d, &s->fh) ||
	    result_attrs(c, d, &size, &fileid))
		return STEP_FAILED;
	s->step = m->entries ? MAKE_CLOSE : MAKE_WRITE;
	if (!m->entries)
		m->tree->files[s->item] = (struct tree_file){ s->fh, fileid };
	return STEP_MORE;
}

static enum step make_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	struct stateid closed;
	enum reply r = compound_reply(c, s, d);

	if (r != REPLY_OK)
		return r == REPLY_DELAY ? STEP_AGAIN : STEP_FAILED;
	if (expect(c, d, OP_PUTFH))
		return STEP_FAILED;
	switch (s->step) {
	case MAKE_OPEN:
		return make_opened(c, s, d);
	case MAKE_WRITE:
		if (expect(c, d, OP_WRITE) || get32(d) != PAGE)
			return conn_fail(c, "WRITE: not all of it"), STEP_FAILED;
		get_fixed(d, 12); /* committed, verifier */
		s->step = MAKE_CLOSE;
		return STEP_MORE;
	default:
		if (result_stateid(c, d, OP_CLOSE, &closed))
			return STEP_FAILED;
		s->sum = 0;
		++*units;
		return STEP_DONE;
	}
}

static const struct workload make_workload = {
	.name = "make",
	.encode = make_encode,
	.decode = make_decode,
};

static int make_many(struct conn *c, struct tree *t, bool entries, uint32_t count)
{
	struct maker m = { .tree = t, .last = count, .entries = entries };
	const struct load_how how = { .threads = 1, .batched = true };
	struct load_result *r = malloc(sizeof(*r));
	char error[200] = "";

	if (!r)
		return conn_fail(c, "out of memory");
	c->workload = &make_workload;
	c->priv = &m;
	load_run(c, 1, &how, r, error);
	c->priv = NULL;
	free(r);
	return c->error[0] ? -1 : 0;
}

/* ---- the tree ---- */

static int make_root(struct conn *c, struct tree *t)
{
	snprintf(t->name, sizeof(t->name), "atoll-bench.%d", (int)getpid());
	return lookup_root(c, t->path, &t->export) || make_dir(c, &t->export, t->name, &t->root)
		   ? -1
		   : 0;
}

static int make_files(struct conn *c, struct tree *t)
{
	if (make_dir(c, &t->root, "files", &t->files_dir) || make_many(c, t, false, FILES))
		return -1;
	t->have |= TREE_FILES;
	return 0;
}

static int make_entries(struct conn *c, struct tree *t)
{
	char name[32];

	if (make_dir(c, &t->root, "dir", &t->dir) || make_many(c, t, true, ENTRIES))
		return -1;
	t->entries_sum = 0;
	for (uint32_t i = 0; i < ENTRIES; i++) {
		entry_name(name, i);
		t->entries_sum += name_hash((const uint8_t *)name, (uint32_t)strlen(name));
	}
	t->have |= TREE_DIR;
	return 0;
}

static int make_conn_dir(struct conn *c, struct tree *t)
{
	char name[32];

	snprintf(name, sizeof(name), "conn-%u", t->conn_dirs);
	if (make_dir(c, &t->root, name, &t->conn_dir[t->conn_dirs]))
		return -1;
	t->conn_dirs++;
	return 0;
}

static int make_data(struct conn *c, struct tree *t)
{
	unsigned i = t->data_files;
	struct stateid state;
	char name[32];

	snprintf(name, sizeof(name), "data-%u", i);
	if (open_by_name(c, &t->root, name, OPEN_BOTH, ANY_OWNER, true, &state, &t->data[i]))
		return -1;
	for (uint64_t at = 0; at < DATA_BYTES; at += MIB) {
		if (write_block(c, &t->data[i], &state, at, page_data(data_file(i), at / PAGE, 0),
				MIB))
			return -1;
	}
	t->data_files++;
	return close_file(c, &t->data[i], &state);
}

static int prepare(struct conn *c, struct tree *t, unsigned parts, unsigned conns)
{
	if (t->root.len == 0 && make_root(c, t))
		return -1;
	if ((parts & ~t->have & TREE_FILES) && make_files(c, t))
		return -1;
	if ((parts & ~t->have & TREE_DIR) && make_entries(c, t))
		return -1;
	while ((parts & TREE_CONN) && t->conn_dirs < conns) {
		if (make_conn_dir(c, t))
			return -1;
	}
	while ((parts & TREE_DATA) && t->data_files < conns) {
		if (make_data(c, t))
			return -1;
	}
	return 0;
}

static int remove_all(struct conn *c, struct tree *t)
{
	char name[32];

	for (uint32_t i = 0; (t->have & TREE_FILES) && i < FILES; i++) {
		file_name(name, i);
		if (remove_name(c, &t->files_dir, name))
			return -1;
	}
	for (uint32_t i = 0; (t->have & TREE_DIR) && i < ENTRIES; i++) {
		entry_name(name, i);
		if (remove_name(c, &t->dir, name))
			return -1;
	}
	if ((t->files_dir.len && remove_name(c, &t->root, "files")) ||
	    (t->dir.len && remove_name(c, &t->root, "dir")))
		return -1;
	for (unsigned i = 0; i < t->conn_dirs; i++) {
		snprintf(name, sizeof(name), "conn-%u", i);
		if (remove_name(c, &t->root, name))
			return -1;
	}
	for (unsigned i = 0; i < t->data_files; i++) {
		snprintf(name, sizeof(name), "data-%u", i);
		if (remove_name(c, &t->root, name))
			return -1;
	}
	return remove_name(c, &t->export, t->name);
}

/* As root, on a connection of its own. */
static int with_conn(struct tree *t, char error[200],
		     int (*run)(struct conn *c, struct tree *t, unsigned parts, unsigned conns),
		     unsigned parts, unsigned conns)
{
	struct conn *c = calloc(1, sizeof(*c));
	struct cred cred;
	int ret = -1;

	if (!c) {
		snprintf(error, 200, "out of memory");
		return -1;
	}
	cred_root(&cred);
	c->tree = t;
	if (conn_open(c, &t->addr, &cred, MAKE_DEPTH, false) == 0)
		ret = run(c, t, parts, conns);
	conn_close(c);
	if (ret)
		snprintf(error, 200, "making or removing files: %.160s", c->error);
	free(c);
	return ret;
}

static int remove_run(struct conn *c, struct tree *t, unsigned parts, unsigned conns)
{
	return remove_all(c, t);
}

int tree_prepare(struct tree *t, unsigned parts, unsigned conns, char error[200])
{
	unsigned missing = parts & ~t->have & (TREE_FILES | TREE_DIR);

	if (parts == 0)
		return 0;
	if (t->root.len > 0 && !missing && (!(parts & TREE_CONN) || t->conn_dirs >= conns) &&
	    (!(parts & TREE_DATA) || t->data_files >= conns))
		return 0;
	return with_conn(t, error, prepare, parts, conns);
}

int tree_remove(struct tree *t, char error[200])
{
	return t->root.len > 0 ? with_conn(t, error, remove_run, 0, 0) : 0;
}

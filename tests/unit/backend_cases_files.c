/* Regular files: opening, making, reading, writing, holes, change attributes. */
#include "backend_cases.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int try_create(struct fixture *fx, const char *name, unsigned access,
		      const struct create_args *args, const struct cred *cred, bool *created,
		      struct file **file)
{
	struct dir_change change = { 0 };
	struct object *obj;
	int err =
	    fx->b->open_create(fx->dir, cred, name, access, args, &change, created, &obj, file);

	if (!err)
		object_unref(obj);
	return err;
}

static struct create_args plain(enum create_mode how, uint32_t mode)
{
	return (struct create_args){
		.type = FILE_REGULAR,
		.attrs = { .mask = ATTR_SET_MODE, .mode = mode },
		.mode = how,
		.verifier = "1234567",
	};
}

static void opening(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *link = make_symlink(fx, fx->dir, "l", "f", fx->alice);
	struct object *fifo = make(fx, fx->dir, "p", FILE_FIFO, 0666, fx->alice);
	struct object *file;
	struct file *f;
	char byte;

	file_unref(make_file(fx, fx->dir, "f", 0444, fx->alice, &file));
	assert_err(try_open(fx, fx->dir, ACCESS_READ, fx->alice), -EISDIR);
	assert_err(try_open(fx, link, ACCESS_READ, fx->alice), -ELOOP);
	assert_err(try_open(fx, fifo, ACCESS_READ, fx->alice), -EINVAL);
	assert_ok(try_open(fx, file, ACCESS_READ, fx->bob));
	assert_err(try_open(fx, file, ACCESS_WRITE, fx->bob), -EACCES);
	assert_err(try_open(fx, file, ACCESS_READ | ACCESS_WRITE, fx->alice), -EACCES);
	assert_ok(try_open(fx, file, ACCESS_WRITE | ACCESS_OWNER, fx->alice));
	assert_err(try_open(fx, file, ACCESS_WRITE | ACCESS_OWNER, fx->bob), -EACCES);
	assert_ok(try_open(fx, file, ACCESS_WRITE, fx->super));
	/* A program that may only be run has to be read to be run. */
	chmod_as(fx, file, 0111, fx->alice);
	assert_ok(try_open(fx, file, ACCESS_READ, fx->bob));
	assert_err(try_open(fx, file, ACCESS_READ | ACCESS_WRITE, fx->bob), -EACCES);
	chmod_as(fx, file, 0600, fx->alice);
	f = open_file(fx, file, ACCESS_READ, fx->alice);
	assert_err(try_put(f, 0, "x", 1, UNSTABLE, &(size_t){ 0 }), -EBADF);
	file_unref(f);
	f = open_file(fx, file, ACCESS_WRITE, fx->alice);
	assert_err(fx->b->read(f, 0, &(struct payload_out){ .buf = &byte, .cap = 1 }), -EBADF);
	file_unref(f);
	object_unref(file);
	object_unref(fifo);
	object_unref(link);
}

static void create_unchecked_and_guarded(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct create_args un = plain(CREATE_UNCHECKED, 0640), gu = plain(CREATE_GUARDED, 0640);
	struct object *obj;
	struct file *f;
	bool created;

	assert_ok(try_create(fx, "f", ACCESS_WRITE, &un, fx->alice, &created, &f));
	assert_true(created);
	put(f, 0, "data", 4);
	file_unref(f);
	un.attrs.mode = 0777;
	assert_ok(try_create(fx, "f", ACCESS_READ, &un, fx->alice, &created, &f));
	assert_false(created);
	file_unref(f);
	obj = look(fx, fx->dir, "f");
	assert_int_equal(get_attr(obj).mode, 0640); /* as it was */
	assert_int_equal(get_attr(obj).size, 4);
	assert_int_equal(get_attr(obj).uid, ALICE);
	object_unref(obj);
	assert_err(try_create(fx, "f", ACCESS_READ, &un, fx->bob, &created, &f), -EACCES);
	assert_err(try_create(fx, "f", ACCESS_READ, &gu, fx->alice, &created, &f), -EEXIST);
	/* Whoever makes a file may use it, whatever its mode. */
	gu.attrs.mode = 0;
	assert_ok(try_create(fx, "g", ACCESS_READ | ACCESS_WRITE, &gu, fx->alice, &created, &f));
	put(f, 0, "data", 4);
	file_unref(f);
	/* Existing names that are no files. */
	object_unref(make(fx, fx->dir, "d", FILE_DIRECTORY, 0755, fx->alice));
	object_unref(make_symlink(fx, fx->dir, "l", "f", fx->alice));
	object_unref(make(fx, fx->dir, "p", FILE_FIFO, 0666, fx->alice));
	assert_err(try_create(fx, "d", ACCESS_READ, &un, fx->alice, &created, &f), -EISDIR);
	assert_err(try_create(fx, "l", ACCESS_READ, &un, fx->alice, &created, &f), -ELOOP);
	assert_err(try_create(fx, "p", ACCESS_READ, &un, fx->alice, &created, &f), -EINVAL);
	chmod_as(fx, fx->dir, 0755, fx->super);
	assert_err(try_create(fx, "new", ACCESS_READ, &un, fx->bob, &created, &f), -EACCES);
	assert_err(try_lookup(fx, fx->dir, "new", fx->bob), -ENOENT);
}

static void create_exclusive(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct create_args ex = plain(CREATE_EXCLUSIVE, 0400), other = ex;
	struct create_args gu = plain(CREATE_GUARDED, 0600);
	struct object *obj;
	struct attr a;
	struct file *f;
	bool created = false;

	other.verifier[0] = 'x';
	assert_ok(try_create(fx, "f", ACCESS_READ | ACCESS_WRITE, &ex, fx->alice, &created, &f));
	assert_true(created);
	put(f, 0, "data", 4);
	file_unref(f);
	obj = look(fx, fx->dir, "f");
	a = get_attr(obj);
	assert_int_equal(a.mode, 0400);
	/* The times are those of making it. */
	assert_true(labs(a.mtime.tv_sec - time(NULL)) < 100);
	assert_true(labs(a.atime.tv_sec - time(NULL)) < 100);
	object_unref(obj);
	assert_err(try_create(fx, "f", ACCESS_READ, &other, fx->alice, &created, &f), -EEXIST);
	assert_err(try_create(fx, "f", ACCESS_READ, &gu, fx->alice, &created, &f), -EEXIST);
	if (fx->persistent)
		fixture_restart(fx);
	created = false;
	assert_ok(try_create(fx, "f", ACCESS_READ | ACCESS_WRITE, &ex, fx->alice, &created, &f));
	assert_true(created);
	file_unref(f);
	assert_err(try_create(fx, "f", ACCESS_READ, &ex, fx->bob, &created, &f), -EACCES);
	touch(fx, fx->dir, "plain", 0600, fx->alice);
	assert_err(try_create(fx, "plain", ACCESS_READ, &ex, fx->alice, &created, &f), -EEXIST);
}

static struct attr named_attr(struct fixture *fx, const char *name)
{
	struct object *obj = look(fx, fx->dir, name);
	struct attr a = get_attr(obj);

	object_unref(obj);
	return a;
}

static void create_with_attributes(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct create_args args = plain(CREATE_GUARDED, 04751);
	struct object *obj;
	struct attr a;
	struct file *f;
	bool created;

	args.attrs.mask |= ATTR_SET_UID | ATTR_SET_GID | ATTR_SET_SIZE | ATTR_SET_MTIME;
	args.attrs.uid = BOB;
	args.attrs.gid = SHARED1;
	args.attrs.size = 12345;
	args.attrs.mtime.tv_sec = 99;
	assert_ok(try_create(fx, "f", ACCESS_READ, &args, fx->super, &created, &f));
	file_unref(f);
	obj = look(fx, fx->dir, "f");
	a = get_attr(obj);
	assert_int_equal(a.mode, 04751);
	assert_int_equal(a.uid, BOB);
	assert_int_equal(a.gid, SHARED1);
	assert_int_equal(a.size, 12345);
	assert_int_equal(a.mtime.tv_sec, 99);
	object_unref(obj);
	assert_err(try_create(fx, "g", ACCESS_READ, &args, fx->alice, &created, &f), -EPERM);
	assert_err(try_lookup(fx, fx->dir, "g", fx->alice), -ENOENT);
	args = plain(CREATE_EXCLUSIVE, 0666);
	args.attrs.has_umask = true;
	args.attrs.umask = 022;
	assert_ok(try_create(fx, "h", ACCESS_READ, &args, fx->alice, &created, &f));
	assert_int_equal(named_attr(fx, "h").mode, 0644);
	file_unref(f);
	args.mode = CREATE_UNCHECKED;
	args.attrs.umask = 077;
	assert_ok(try_create(fx, "i", ACCESS_READ, &args, fx->alice, &created, &f));
	assert_int_equal(named_attr(fx, "i").mode, 0600);
	file_unref(f);
}

static void reading_to_the_end(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, NULL);
	static char data[10000], buf[20000];
	static const struct {
		uint64_t offset;
		size_t cap, got;
		bool eof;
	} reads[] = {
		{ 0, 10000, 10000, true },  { 0, 9999, 9999, false },	 { 0, 20000, 10000, true },
		{ 9999, 1, 1, true },	    { 9998, 1, 1, false },	 { 10000, 10, 0, true },
		{ 20000, 10, 0, true },	    { 4096, 4096, 4096, false }, { 8192, 4096, 1808, true },
		{ INT64_MAX, 10, 0, true }, { UINT64_MAX, 10, 0, true },
	};
	bool eof;

	assert_int_equal(get(f, 0, buf, 10, &eof), 0);
	assert_true(eof);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 7 + i / 256);
	put(f, 0, data, sizeof(data));
	for (unsigned i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
		size_t n = get(f, reads[i].offset, buf, reads[i].cap, &eof);

		assert_int_equal(n, reads[i].got);
		assert_int_equal(eof, reads[i].eof);
		if (n > 0)
			assert_memory_equal(buf, data + reads[i].offset, n);
	}
	file_unref(f);
}

static void reading_by_descriptor(void **state)
{
	struct fixture *fx = fixture_of(state);
	char buf[100];
	struct payload_out out = { .buf = buf, .cap = sizeof(buf), .fd_wanted = true };
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);

	put(f, 0, "0123456789", 10);
	if (fx->exp->capabilities & BACKEND_READ_BY_FD) {
		/* Nothing to send from, and no buffer. */
		out.buf = NULL;
		assert_err(fx->b->read(f, 10, &out), -EAGAIN);
		out.buf = buf;
	}
	assert_ok(fx->b->read(f, 3, &out));
	assert_int_equal(out.filled, 7);
	assert_true(out.eof);
	if (!(fx->exp->capabilities & BACKEND_READ_BY_FD)) {
		assert_int_equal(out.fd, -1);
	} else {
		assert_true(out.fd >= 0);
		/* The extent outlives the file's closing. */
		file_unref(f);
		f = NULL;
		assert_int_equal(pread(out.fd, buf, 7, out.offset), 7);
		out.release(out.release_arg);
	}
	assert_memory_equal(buf, "3456789", 7);
	file_unref(f);
	object_unref(obj);
}

static void writing_stably(void **state)
{
	struct fixture *fx = fixture_of(state);
	static const enum stability levels[] = { UNSTABLE, DATA_SYNC, FILE_SYNC };
	uint8_t before[BACKEND_VERIFIER_LEN], after[BACKEND_VERIFIER_LEN];
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	struct iovec iov = { "abcd", 4 };
	struct payload_in in = { .iov = &iov, .iovcnt = 1, .pipe_fd = -1, .len = 4 };
	char buf[20];

	fx->b->write_verifier(fx->exp, before);
	for (unsigned i = 0; i < 3; i++) {
		enum stability how = levels[i];
		size_t written = 0;

		assert_ok(fx->b->write(f, i * 4, &in, &how, &written));
		assert_int_equal(written, 4);
		assert_true(how >= levels[i]);
	}
	assert_ok(fx->b->commit(obj, 0, 0));
	assert_ok(fx->b->commit(obj, 0, 4));
	assert_err(fx->b->commit(fx->dir, 0, 0), -EISDIR);
	fx->b->write_verifier(fx->exp, after);
	assert_memory_equal(before, after, BACKEND_VERIFIER_LEN);
	assert_int_equal(get(f, 0, buf, 20, NULL), 12);
	assert_memory_equal(buf, "abcdabcdabcd", 12);
	assert_err(try_put(f, INT64_MAX, "xy", 2, UNSTABLE, &(size_t){ 0 }), -EFBIG);
	assert_err(try_put(f, UINT64_MAX, "x", 1, FILE_SYNC, &(size_t){ 0 }), -EFBIG);
	file_unref(f);
	object_unref(obj);
}

/* Bytes in memory first, the rest in a pipe, many pieces. */
static void writing_from_a_pipe(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	static char data[40000], buf[40001];
	struct iovec iov[100];
	struct payload_in in = { .iov = iov, .iovcnt = 100, .pipe_len = 30000, .len = 40000 };
	int ends[2];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 11 + i / 256);
	for (unsigned i = 0; i < 100; i++)
		iov[i] = (struct iovec){ data + i * 100, 100 };
	for (enum stability how = UNSTABLE; how <= FILE_SYNC; how++) {
		enum stability done = how;
		size_t written = 0;
		bool eof;

		assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
		assert_int_equal(write(ends[1], data + 10000, 30000), 30000);
		in.pipe_fd = ends[0];
		assert_ok(fx->b->write(f, 7, &in, &done, &written));
		assert_int_equal(written, 40000);
		assert_true(done >= how);
		close(ends[0]);
		close(ends[1]);
		assert_int_equal(get(f, 7, buf, sizeof(buf), &eof), 40000);
		assert_true(eof);
		assert_memory_equal(buf, data, 40000);
		assert_ok(try_set(fx, obj, fx->alice, (struct attr_set){ .mask = ATTR_SET_SIZE }));
	}
	file_unref(f);
	object_unref(obj);
}

/* The kernel does not splice from a socket to a file: as little as to some file systems. */
static void writing_what_cannot_be_spliced(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	static char data[100000], buf[100001];
	struct iovec iov = { data, 777 };
	struct payload_in in = { .iov = &iov, .iovcnt = 1, .pipe_len = 99223, .len = 100000 };
	enum stability how = UNSTABLE;
	size_t written = 0;
	int ends[2];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 11 + i / 256);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(write(ends[1], data + 777, 99223), 99223);
	in.pipe_fd = ends[0];
	assert_ok(fx->b->write(f, 7, &in, &how, &written));
	assert_int_equal(written, 100000);
	assert_int_equal(get(f, 7, buf, sizeof(buf), NULL), 100000);
	assert_memory_equal(buf, data, 100000);
	/* Nothing is there: an error, not an endless wait, nor bytes that nobody has sent. */
	close(ends[1]);
	in.iovcnt = 0;
	in.len = in.pipe_len;
	assert_err(fx->b->write(f, 7, &in, &how, &written), -EIO);
	close(ends[0]);
	file_unref(f);
	object_unref(obj);
}

static void sparse_files(void **state)
{
	struct fixture *fx = fixture_of(state);
	const uint64_t far = 5ull << 30; /* beyond 32 bits */
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	char buf[8192], zeros[8192] = { 0 };
	uint64_t at;

	put(f, far, "end", 3);
	put(f, 0, "begin", 5);
	assert_int_equal(get_attr(obj).size, far + 3);
	assert_true(get_attr(obj).used < 1 << 20);
	assert_int_equal(get(f, 65536, buf, sizeof(buf), NULL), sizeof(buf));
	assert_memory_equal(buf, zeros, sizeof(buf));
	assert_ok(fx->b->seek(f, 0, false, &at));
	assert_int_equal(at, 0);
	assert_ok(fx->b->seek(f, 0, true, &at));
	assert_true(at >= 512 && at <= 65536); /* a block */
	assert_ok(fx->b->seek(f, at, false, &at));
	assert_true(at > (1 << 20) && at <= far);
	assert_ok(fx->b->seek(f, far, true, &at));
	assert_int_equal(at, far + 3);
	assert_err(fx->b->seek(f, far + 3, false, &at), -ENXIO);
	assert_err(fx->b->seek(f, UINT64_MAX, true, &at), -ENXIO);
	file_unref(f);
	object_unref(obj);
}

static void allocating(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	static char data[65536], buf[65536];

	memset(data, 'd', sizeof(data));
	assert_ok(fx->b->allocate(f, 0, 200000));
	assert_int_equal(get_attr(obj).size, 200000);
	assert_true(get_attr(obj).used >= 200000);
	put(f, 0, data, sizeof(data));
	assert_ok(fx->b->deallocate(f, 1000, 50000));
	assert_int_equal(get_attr(obj).size, 200000);
	memset(data + 1000, 0, 50000);
	assert_int_equal(get(f, 0, buf, sizeof(buf), NULL), sizeof(buf));
	assert_memory_equal(buf, data, sizeof(buf));
	assert_err(fx->b->allocate(f, UINT64_MAX - 5, 10), -EFBIG);
	file_unref(f);
	object_unref(obj);
}

static void copying(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct file *from = make_file(fx, fx->dir, "from", 0600, fx->alice, NULL);
	struct file *to = make_file(fx, fx->dir, "to", 0600, fx->alice, NULL);
	static char data[131072], buf[131073];
	uint64_t done = 0, n;
	int err;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i * 13 + i / 256);
	put(from, 0, data, sizeof(data));
	while (done < 100000) {
		assert_ok(fx->b->copy(from, 1 + done, to, done, 100000 - done, &n));
		assert_true(n > 0);
		done += n;
	}
	assert_int_equal(get(to, 0, buf, sizeof(buf), NULL), 100000);
	assert_memory_equal(buf, data + 1, 100000);
	assert_ok(fx->b->copy(from, sizeof(data), to, 0, 10, &n));
	assert_int_equal(n, 0);
	err = fx->b->clone(from, 0, to, 0, 0);
	if (err != -EOPNOTSUPP) {
		assert_ok(err);
		assert_int_equal(get(to, 0, buf, sizeof(buf), NULL), sizeof(data));
		assert_memory_equal(buf, data, sizeof(data));
	}
	file_unref(from);
	file_unref(to);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void assert_all_different(uint64_t *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_value);
	for (size_t i = 1; i < n; i++)
		assert_true(values[i] != values[i - 1]);
}

/* No two states have the same change attribute, however quickly one follows another. */
static void change_attribute_of_files(void **state)
{
	struct fixture *fx = fixture_of(state);
	static uint64_t seen[10000];
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);

	for (uint32_t i = 0; i < 10000; i++) {
		if (i % 2)
			put(f, 0, &i, sizeof(i));
		else
			chmod_as(fx, obj, i % 4 ? 0600 : 0640, fx->alice);
		seen[i] = get_attr(obj).change;
	}
	assert_all_different(seen, 10000);
	file_unref(f);
	object_unref(obj);
}

static void change_attribute_of_directories(void **state)
{
	struct fixture *fx = fixture_of(state);
	static uint64_t seen[1000];
	struct object *to = make(fx, fx->dir, "to", FILE_DIRECTORY, 0777, fx->alice), *file;

	for (uint32_t i = 0; i < 1000; i += 5) {
		touch(fx, fx->dir, "f", 0600, fx->alice);
		seen[i] = get_attr(fx->dir).change;
		assert_ok(try_rename(fx, fx->dir, "f", fx->dir, "g", fx->alice));
		seen[i + 1] = get_attr(fx->dir).change;
		file = look(fx, fx->dir, "g");
		assert_ok(try_link(fx, file, fx->dir, "h", fx->alice));
		object_unref(file);
		seen[i + 2] = get_attr(fx->dir).change;
		assert_ok(try_rename(fx, fx->dir, "g", to, "g", fx->alice));
		seen[i + 3] = get_attr(fx->dir).change;
		assert_ok(try_remove(fx, fx->dir, "h", fx->alice));
		seen[i + 4] = get_attr(fx->dir).change;
	}
	assert_all_different(seen, 1000);
	object_unref(to);
}

static void unchanged_is_unchanged(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct object *obj;
	struct file *f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	struct timespec tick;
	uint64_t change;
	char buf[4];

	put(f, 0, "data", 4);
	/* When the clock's tick is over the value is final. */
	clock_getres(CLOCK_REALTIME_COARSE, &tick);
	nanosleep(&(struct timespec){ .tv_nsec = 2 * tick.tv_nsec }, NULL);
	change = get_attr(obj).change;
	get(f, 0, buf, 4, NULL);
	assert_int_equal(get_attr(obj).change, change);
	assert_int_equal(granted(fx, obj, fx->bob, ACCESS_READ), 0);
	assert_int_equal(get_attr(obj).change, change);
	file_unref(f);
	object_unref(obj);
}

static void filled_file_system(void **state)
{
	struct fixture *fx = fixture_of(state);
	static char chunk[65536], buf[65536];
	struct object *obj;
	struct file *f, *early;
	uint64_t at = 0;
	size_t n = 0;
	int err = 0;

	if (!fx->small)
		skip();
	memset(chunk, 'c', sizeof(chunk));
	early = make_file(fx, fx->dir, "early", 0600, fx->alice, NULL);
	assert_ok(try_put(early, 0, chunk, sizeof(chunk), FILE_SYNC, &n));
	f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	while (at < 2ull << 30 && err == 0) {
		err = try_put(f, at, chunk, sizeof(chunk), FILE_SYNC, &n);
		if (!err)
			at += n;
	}
	assert_err(err, -ENOSPC);
	assert_int_equal(get_attr(obj).size, at); /* all that was reported, and no more */
	assert_int_equal(get(early, 0, buf, sizeof(buf), NULL), sizeof(buf));
	assert_memory_equal(buf, chunk, sizeof(buf));
	file_unref(early);
	file_unref(f);
	assert_ok(try_remove(fx, fx->dir, "f", fx->alice));
	object_unref(obj);
	assert_ok(try_remove(fx, fx->dir, "early", fx->alice));
}

static void file_system_figures(void **state)
{
	struct fixture *fx = fixture_of(state);
	struct fs_info before, after;
	struct object *obj;
	struct file *f;
	static char data[1 << 20];
	size_t n;

	memset(data, 'x', sizeof(data));
	memset(&before, 0x5a, sizeof(before));
	assert_ok(fx->b->statfs(fx->dir, fx->alice, &before));
	assert_true(before.bytes_total >= before.bytes_free);
	assert_true(before.bytes_free >= before.bytes_avail);
	assert_int_equal(before.max_name, 255);
	assert_true(before.max_link >= 1000);
	assert_true(before.max_file_size >= 1ull << 40);
	assert_true(before.has_links && before.has_symlinks && before.case_preserving);
	f = make_file(fx, fx->dir, "f", 0600, fx->alice, &obj);
	assert_ok(try_put(f, 0, data, sizeof(data), FILE_SYNC, &n));
	file_unref(f);
	assert_ok(fx->b->statfs(fx->dir, fx->alice, &after));
	/* btrfs counts when it has written its trees. */
	assert_true(after.bytes_free <= before.bytes_free);
	object_unref(obj);
}

#define CASE(f)                         \
	{                               \
#f, f, NULL, NULL, NULL \
	}

const struct CMUnitTest cases_files[] = {
	CASE(opening),
	CASE(create_unchecked_and_guarded),
	CASE(create_exclusive),
	CASE(create_with_attributes),
	CASE(reading_to_the_end),
	CASE(reading_by_descriptor),
	CASE(writing_stably),
	CASE(writing_from_a_pipe),
	CASE(writing_what_cannot_be_spliced),
	CASE(sparse_files),
	CASE(allocating),
	CASE(copying),
	CASE(change_attribute_of_files),
	CASE(change_attribute_of_directories),
	CASE(unchanged_is_unchanged),
	CASE(file_system_figures),
	CASE(filled_file_system),
	{ NULL, NULL, NULL, NULL, NULL },
};

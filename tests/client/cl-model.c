/*
 * One file against a model in memory: random reads, writes, truncations, mappings, reopens, and on
 * NFSv4.2 holes, allocations, seeks and copies; after each, and at the end, the file must be what
 * the model says.
 *
 *   cl-model FILE SEED OPERATIONS [v42]
 *
 * Prints the seed and the last operations when something differs.
 */
#include <sys/mman.h>

#include "cl.h"

enum { LIMIT = 600000, HISTORY = 12 };

struct model {
	const char *name;
	int fd;
	int64_t size;
	unsigned char data[LIMIT]; /* bytes at and after size are zero */
	struct stream random;
	char history[HISTORY][96];
	unsigned steps;
};

__attribute__((format(printf, 2, 3))) static void note(struct model *m, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(m->history[m->steps++ % HISTORY], sizeof(m->history[0]), fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 2, 3), noreturn)) static void wrong(struct model *m, const char *fmt,
								  ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (unsigned i = m->steps > HISTORY ? m->steps - HISTORY : 0; i < m->steps; i++)
		printf("  %u: %s\n", i, m->history[i % HISTORY]);
	die("%s: %s", m->name, text);
}

/* Some range: mostly within the file, of sizes around what a page and an rsize are. */
static void some_range(struct model *m, int64_t *at, int64_t *length)
{
	static const int64_t sizes[] = { 1, 10, 511, 4096, 4097, 40000, 200000 };

	*length = 1 + (int64_t)below(&m->random,
				     sizes[below(&m->random, sizeof(sizes) / sizeof(*sizes))]);
	*at = (int64_t)below(&m->random, LIMIT - *length);
	if (below(&m->random, 4) == 0)
		*at &= ~4095;
}

static void compare(struct model *m, const unsigned char *got, int64_t at, int64_t length)
{
	if (!memcmp(got, m->data + at, (size_t)length))
		return;
	for (int64_t i = 0; i < length; i++)
		if (got[i] != m->data[at + i])
			wrong(m, "byte %lld of %lld is %02x, expected %02x", (long long)(at + i),
			      (long long)m->size, got[i], m->data[at + i]);
}

static void op_read(struct model *m)
{
	static unsigned char buf[LIMIT];
	int64_t at, length, expected;
	ssize_t n;

	some_range(m, &at, &length);
	note(m, "read %lld+%lld", (long long)at, (long long)length);
	expected = at >= m->size ? 0 : m->size - at < length ? m->size - at : length;
	n = pread(m->fd, buf, (size_t)length, at);
	if (n != expected)
		wrong(m, "read gave %zd, expected %lld (%s)", n, (long long)expected,
		      n < 0 ? strerror(errno) : "");
	compare(m, buf, at, n);
}

static void scribble(struct model *m, int64_t at, int64_t length)
{
	for (int64_t i = 0; i < length; i++)
		m->data[at + i] = (unsigned char)(1 + below(&m->random, 255));
	if (at + length > m->size)
		m->size = at + length;
}

static void op_write(struct model *m)
{
	int64_t at, length;
	ssize_t n;

	some_range(m, &at, &length);
	note(m, "write %lld+%lld", (long long)at, (long long)length);
	scribble(m, at, length);
	n = pwrite(m->fd, m->data + at, (size_t)length, at);
	if (n != length)
		wrong(m, "write gave %zd (%s)", n, n < 0 ? strerror(errno) : "");
}

static void op_append(struct model *m)
{
	int64_t at = m->size, length = 1 + (int64_t)below(&m->random, 3000);
	int fd;
	ssize_t n;

	if (at + length > LIMIT)
		return;
	note(m, "append %lld", (long long)length);
	fd = open(m->name, O_WRONLY | O_APPEND);
	if (fd < 0)
		wrong(m, "open to append: %s", strerror(errno));
	scribble(m, at, length);
	n = write(fd, m->data + at, (size_t)length);
	if (n != length || close(fd))
		wrong(m, "append gave %zd (%s)", n, strerror(errno));
}

static void op_truncate(struct model *m)
{
	int64_t size = (int64_t)below(&m->random, LIMIT);

	if (below(&m->random, 5) == 0)
		size = 0;
	note(m, "truncate %lld -> %lld", (long long)m->size, (long long)size);
	if (ftruncate(m->fd, size))
		wrong(m, "truncate: %s", strerror(errno));
	if (size < m->size)
		memset(m->data + size, 0, (size_t)(m->size - size));
	m->size = size;
}

static void op_map(struct model *m)
{
	bool writes = below(&m->random, 2);
	unsigned char *p;
	int64_t at, length;

	if (m->size < 2)
		return;
	at = (int64_t)below(&m->random, m->size - 1);
	length = 1 + (int64_t)below(&m->random, m->size - at);
	note(m, "mmap %s %lld+%lld", writes ? "write" : "read", (long long)at, (long long)length);
	p = mmap(NULL, (size_t)m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (p == MAP_FAILED)
		wrong(m, "mmap: %s", strerror(errno));
	compare(m, p + at, at, length);
	if (writes) {
		scribble(m, at, length);
		memcpy(p + at, m->data + at, (size_t)length);
	}
	if (munmap(p, (size_t)m->size))
		wrong(m, "munmap: %s", strerror(errno));
}

static void open_file(struct model *m, int flags)
{
	m->fd = open(m->name, O_RDWR | flags, 0644);
	if (m->fd < 0)
		wrong(m, "open: %s", strerror(errno));
}

static void op_reopen(struct model *m)
{
	note(m, "close, drop caches, open");
	if (fsync(m->fd) || posix_fadvise(m->fd, 0, 0, POSIX_FADV_DONTNEED) || close(m->fd))
		wrong(m, "fsync or close: %s", strerror(errno));
	open_file(m, 0);
}

static void op_stat(struct model *m)
{
	struct stat st;

	note(m, "stat");
	if (fstat(m->fd, &st))
		wrong(m, "stat: %s", strerror(errno));
	if (st.st_size != m->size)
		wrong(m, "size is %lld, expected %lld", (long long)st.st_size, (long long)m->size);
}

static void op_punch(struct model *m)
{
	int64_t at, length, end;

	some_range(m, &at, &length);
	note(m, "punch %lld+%lld", (long long)at, (long long)length);
	if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, length))
		wrong(m, "punch hole: %s", strerror(errno));
	end = at + length < m->size ? at + length : m->size;
	if (at < end)
		memset(m->data + at, 0, (size_t)(end - at));
}

static void op_allocate(struct model *m)
{
	int64_t at, length;

	some_range(m, &at, &length);
	note(m, "allocate %lld+%lld", (long long)at, (long long)length);
	if (fallocate(m->fd, 0, at, length))
		wrong(m, "fallocate: %s", strerror(errno));
	if (at + length > m->size)
		m->size = at + length;
}

static void op_seek(struct model *m)
{
	static const unsigned char zeros[LIMIT];
	int64_t at, data, hole;

	if (!m->size)
		return;
	at = (int64_t)below(&m->random, m->size);
	note(m, "seek from %lld", (long long)at);
	data = lseek(m->fd, at, SEEK_DATA);
	if (data < 0 && errno != ENXIO)
		wrong(m, "SEEK_DATA: %s", strerror(errno));
	if (data < 0)
		data = m->size;
	if (data < at || data > m->size || memcmp(m->data + at, zeros, (size_t)(data - at)))
		wrong(m, "SEEK_DATA from %lld gives %lld: skips data", (long long)at,
		      (long long)data);
	hole = lseek(m->fd, at, SEEK_HOLE);
	if (hole < at || hole > m->size)
		wrong(m, "SEEK_HOLE from %lld gives %lld, size %lld (%s)", (long long)at,
		      (long long)hole, (long long)m->size, hole < 0 ? strerror(errno) : "");
}

static void op_copy(struct model *m)
{
	int64_t from, to, length, done = 0;

	some_range(m, &from, &length);
	to = (int64_t)below(&m->random, LIMIT - length);
	if (from >= m->size)
		return;
	if (from + length > m->size)
		length = m->size - from;
	if (from < to + length && to < from + length)
		return; /* the kernel refuses overlapping ranges of one file */
	note(m, "copy %lld+%lld -> %lld", (long long)from, (long long)length, (long long)to);
	while (done < length) {
		off_t in = from + done, out = to + done;
		ssize_t n = copy_file_range(m->fd, &in, m->fd, &out, (size_t)(length - done), 0);

		if (n <= 0)
			wrong(m, "copy_file_range gave %zd (%s)", n,
			      n ? strerror(errno) : "nothing copied");
		done += n;
	}
	memmove(m->data + to, m->data + from, (size_t)length);
	if (to + length > m->size)
		m->size = to + length;
}

static void whole(struct model *m)
{
	static unsigned char buf[LIMIT];
	int64_t at = 0;

	note(m, "compare the whole file");
	op_stat(m);
	for (ssize_t n; at < m->size; at += n) {
		n = pread(m->fd, buf + at, (size_t)(m->size - at), at);
		if (n <= 0)
			wrong(m, "read at %lld gave %zd (%s)", (long long)at, n, strerror(errno));
	}
	compare(m, buf, 0, m->size);
}

int main(int argc, char **argv)
{
	typedef void operation(struct model * m);
	static operation *const ops[] = { op_read,     op_read,	  op_write, op_write,  op_truncate,
					  op_map,      op_append, op_stat,  op_reopen, op_punch,
					  op_allocate, op_seek,	  op_copy };
	enum { V42 = 9 }; /* from here on NFSv4.2 */
	static struct model m;
	bool v42 = argc == 5 && !strcmp(argv[4], "v42");

	if (argc < 4)
		die("usage: cl-model FILE SEED OPERATIONS [v42]");
	m.name = argv[1];
	m.random.at = (uint64_t)number(argv[2]);
	open_file(&m, O_CREAT | O_TRUNC);
	for (int64_t i = number(argv[3]); i > 0; i--) {
		ops[below(&m.random, v42 ? sizeof(ops) / sizeof(*ops) : V42)](&m);
		if (i % 50 == 0)
			whole(&m);
	}
	op_reopen(&m);
	whole(&m);
	close(m.fd);
	return 0;
}

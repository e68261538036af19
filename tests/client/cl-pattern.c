/*
 * Writes and checks files whose every byte is known.
 *
 *   cl-pattern write FILE SEED OFFSET LENGTH [bs=N] [direct] [sync] [mmap] [shuffle] [trunc]
 *   cl-pattern check FILE SEED OFFSET LENGTH [bs=N] [direct] [mmap] [size=N]
 *   cl-pattern zero  FILE OFFSET LENGTH           the range reads as zeros
 *
 * check takes "-" for the file that is open as standard input.
 *
 * The byte at offset o is a function of the seed and o alone: ranges may be written in any order
 * and by several writers, and a block that lands in the wrong place is noticed.
 */
#include <sys/mman.h>

#include "cl.h"

enum { ALIGN = 4096 };

struct options {
	int64_t block;
	int64_t size; /* the file must be of this size; -1: not checked */
	bool direct, sync, mmap, shuffle, trunc;
};

static struct options parse_options(char **arg)
{
	struct options o = { .block = 256 << 10, .size = -1 };

	for (; *arg; arg++) {
		if (!strncmp(*arg, "bs=", 3))
			o.block = number(*arg + 3);
		else if (!strncmp(*arg, "size=", 5))
			o.size = number(*arg + 5);
		else if (!strcmp(*arg, "direct"))
			o.direct = true;
		else if (!strcmp(*arg, "sync"))
			o.sync = true;
		else if (!strcmp(*arg, "mmap"))
			o.mmap = true;
		else if (!strcmp(*arg, "shuffle"))
			o.shuffle = true;
		else if (!strcmp(*arg, "trunc"))
			o.trunc = true;
		else
			die("unknown option %s", *arg);
	}
	if (o.block <= 0)
		die("bs= must be positive");
	return o;
}

static void fill(unsigned char *buf, uint64_t seed, int64_t offset, int64_t length)
{
	uint64_t base = mix(seed);

	for (int64_t i = 0; i < length;) {
		uint64_t at = (uint64_t)(offset + i);
		uint64_t word = mix(base + at / 8);
		unsigned skip = at % 8;

		for (; skip < 8 && i < length; skip++, i++)
			buf[i] = (unsigned char)(word >> (8 * skip));
	}
}

static void compare(const char *name, const unsigned char *got, const unsigned char *want,
		    int64_t offset, int64_t length)
{
	int64_t bad = 0, first = -1;

	if (!memcmp(got, want, (size_t)length))
		return;
	for (int64_t i = 0; i < length; i++) {
		if (got[i] == want[i])
			continue;
		if (first < 0)
			first = i;
		bad++;
	}
	die("%s: %lld of %lld bytes from offset %lld are wrong; the first at %lld: got %02x, "
	    "expected %02x",
	    name, (long long)bad, (long long)length, (long long)offset, (long long)(offset + first),
	    got[first], want[first]);
}

static void *buffer(int64_t size)
{
	void *p;

	if (posix_memalign(&p, ALIGN, (size_t)size))
		die("no memory for a buffer of %lld bytes", (long long)size);
	return p;
}

static void *map(int fd, const char *name, int prot, int64_t offset, int64_t length)
{
	void *p = mmap(NULL, (size_t)length, prot, MAP_SHARED, fd, offset);

	if (p == MAP_FAILED)
		die_errno("mmap", name);
	return p;
}

static void write_block(int fd, const char *name, const unsigned char *buf, int64_t offset,
			int64_t length)
{
	for (int64_t done = 0; done < length;) {
		ssize_t n = pwrite(fd, buf + done, (size_t)(length - done), offset + done);

		if (n <= 0)
			die("write %s at %lld: %s", name, (long long)(offset + done),
			    n ? strerror(errno) : "nothing written");
		done += n;
	}
}

static void read_block(int fd, const char *name, unsigned char *buf, int64_t offset, int64_t length)
{
	for (int64_t done = 0; done < length;) {
		ssize_t n = pread(fd, buf + done, (size_t)(length - done), offset + done);

		if (n < 0)
			die("read %s at %lld: %s", name, (long long)(offset + done),
			    strerror(errno));
		if (n == 0)
			die("%s: end of file at %lld, expected data up to %lld", name,
			    (long long)(offset + done), (long long)(offset + length));
		done += n;
	}
}

static int do_write(const char *name, uint64_t seed, int64_t offset, int64_t length,
		    struct options o)
{
	int64_t blocks = (length + o.block - 1) / o.block;
	int flags = O_RDWR | O_CREAT | (o.direct ? O_DIRECT : 0) | (o.sync ? O_SYNC : 0) |
		    (o.trunc ? O_TRUNC : 0);
	int fd = open(name, flags, 0666);
	unsigned char *buf = buffer(o.block);
	unsigned char *mapped = NULL;

	if (fd < 0)
		die_errno("open", name);
	if (o.mmap) {
		struct stat st;

		if (fstat(fd, &st))
			die_errno("stat", name);
		if (st.st_size < offset + length && ftruncate(fd, offset + length))
			die_errno("truncate", name);
		mapped = map(fd, name, PROT_READ | PROT_WRITE, offset, length);
	}
	for (int64_t i = 0; i < blocks; i++) {
		/* 7919 is prime, so that every block has its turn unless there are multiples of it */
		int64_t b = o.shuffle && blocks % 7919 ? i * 7919 % blocks : i;
		int64_t n = length - b * o.block < o.block ? length - b * o.block : o.block;

		fill(buf, seed, offset + b * o.block, n);
		if (mapped)
			memcpy(mapped + b * o.block, buf, (size_t)n);
		else
			write_block(fd, name, buf, offset + b * o.block, n);
	}
	if (mapped && (msync(mapped, (size_t)length, MS_SYNC) || munmap(mapped, (size_t)length)))
		die_errno("msync", name);
	free(buf);
	if (close(fd))
		die_errno("close", name);
	return 0;
}

static int do_check(const char *name, uint64_t seed, int64_t offset, int64_t length,
		    struct options o)
{
	int fd = strcmp(name, "-") ? open(name, O_RDONLY | (o.direct ? O_DIRECT : 0)) : dup(0);
	unsigned char *want = buffer(o.block), *got = buffer(o.block);
	unsigned char *mapped = NULL;
	struct stat st;

	if (fd < 0)
		die_errno("open", name);
	if (fstat(fd, &st))
		die_errno("stat", name);
	if (o.size >= 0 && st.st_size != o.size)
		die("%s: size is %lld, expected %lld", name, (long long)st.st_size,
		    (long long)o.size);
	if (o.mmap)
		mapped = map(fd, name, PROT_READ, offset, length);
	for (int64_t at = 0; at < length; at += o.block) {
		int64_t n = length - at < o.block ? length - at : o.block;

		fill(want, seed, offset + at, n);
		if (!mapped)
			read_block(fd, name, got, offset + at, n);
		compare(name, mapped ? mapped + at : got, want, offset + at, n);
	}
	if (mapped)
		munmap(mapped, (size_t)length);
	free(want);
	free(got);
	close(fd);
	return 0;
}

static int do_zero(const char *name, int64_t offset, int64_t length)
{
	enum { STEP = 256 << 10 };
	int fd = open(name, O_RDONLY);
	unsigned char *got = buffer(STEP), *want = buffer(STEP);

	if (fd < 0)
		die_errno("open", name);
	memset(want, 0, STEP);
	for (int64_t at = 0; at < length; at += STEP) {
		int64_t n = length - at < STEP ? length - at : STEP;

		read_block(fd, name, got, offset + at, n);
		compare(name, got, want, offset + at, n);
	}
	free(got);
	free(want);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "zero"))
		return do_zero(argv[2], number(argv[3]), number(argv[4]));
	if (argc >= 6 && !strcmp(argv[1], "write"))
		return do_write(argv[2], (uint64_t)number(argv[3]), number(argv[4]),
				number(argv[5]), parse_options(argv + 6));
	if (argc >= 6 && !strcmp(argv[1], "check"))
		return do_check(argv[2], (uint64_t)number(argv[3]), number(argv[4]),
				number(argv[5]), parse_options(argv + 6));
	die("usage: cl-pattern write|check FILE SEED OFFSET LENGTH [OPTION]..., cl-pattern zero "
	    "FILE OFFSET LENGTH");
}

/*
 * File data on its way between a socket and a file, in a form that lets it go without
 * being copied through this process where the other end can do that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * WRITE: where the bytes are. First `iov`, then `pipe_len` bytes waiting in the pipe
 * `pipe_fd` (-1: none), which a backend with descriptors splices to its file and any other
 * reads. The backend need not consume all: whoever made the source drains what is left.
 */
struct payload_in {
	const struct iovec *iov;
	int iovcnt;
	int pipe_fd;
	size_t pipe_len;
	size_t len; /* all together */
};

/*
 * READ: the caller offers `buf` of `cap` bytes. The backend either fills it (filled = bytes,
 * fd = -1), or, when the caller set `fd_wanted` and the file has a descriptor, answers with an
 * extent: `fd` with `filled` bytes at `offset`, which stay readable until release(release_arg).
 * With fd_wanted `buf` may be NULL: the backend answers -EAGAIN when an extent will not do (no
 * descriptor, pages not in memory), and the caller asks again with a buffer.
 * A short extent at send time (the file was truncated meanwhile) is sent as zeros.
 */
struct payload_out {
	void *buf;
	size_t cap;
	bool fd_wanted;

	size_t filled;
	bool eof; /* the data reach the end of the file */
	int fd;
	off_t offset;
	void (*release)(void *arg);
	void (*unreadable)(void *arg); /* before release: the bytes could not be read after all */
	void *release_arg;
};

/* Echo servers and streams. See limit.h. */
#include "tests/bench/limit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/bench/tree.h"

#define ECHO_BUFFER  (256u * 1024)
#define FILE_MIB     32u
#define SYNC_MIB     16u
#define STREAM_STALL 30

static const uint8_t zeros[MIB + 65536];

static void no_delay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* ---- echo ---- */

struct echo {
	int fd;
	size_t have;   /* bytes in `in` */
	size_t queued; /* bytes in `out` */
	uint8_t in[ECHO_BUFFER];
	uint8_t out[ECHO_BUFFER];
};

static int send_all(int fd, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int echo_reply(struct echo *e, const uint8_t *record)
{
	uint32_t size = load32(record + 8);
	size_t part;

	if (size < 8 || size > sizeof(zeros))
		return -1;
	/* Replies that are longer than the buffer leave it as it fills. */
	if (e->queued + 8 > sizeof(e->out)) {
		if (send_all(e->fd, e->out, e->queued))
			return -1;
		e->queued = 0;
	}
	store32(e->out + e->queued, 0x80000000u | (size - 4));
	memcpy(e->out + e->queued + 4, record + 4, 4);
	e->queued += 8;
	for (size_t left = size - 8; left > 0; left -= part) {
		part = sizeof(e->out) - e->queued < left ? sizeof(e->out) - e->queued : left;
		/* The padding is whatever the buffer holds. */
		e->queued += part;
		if (part < left) {
			if (send_all(e->fd, e->out, e->queued))
				return -1;
			e->queued = 0;
		}
	}
	return 0;
}

/* Reads once, answers all whole records, sends once. */
static int echo_turn(struct echo *e, int flags)
{
	ssize_t n = recv(e->fd, e->in + e->have, sizeof(e->in) - e->have, flags);
	size_t at = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	e->have += (size_t)n;
	while (e->have - at >= 12) {
		size_t len = 4 + (load32(e->in + at) & 0x7fffffffu);

		if (len > sizeof(e->in))
			return -1;
		if (e->have - at < len)
			break;
		if (echo_reply(e, e->in + at))
			return -1;
		at += len;
	}
	e->have -= at;
	memmove(e->in, e->in + at, e->have);
	if (e->queued > 0 && send_all(e->fd, e->out, e->queued))
		return -1;
	e->queued = 0;
	return 0;
}

static struct echo *echo_accept(int listener)
{
	struct echo *e;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e) {
		close(fd);
		return NULL;
	}
	no_delay(fd);
	e->fd = fd;
	return e;
}

static void echo_end(struct echo *e)
{
	close(e->fd);
	free(e);
}

static void *echo_loop(void *arg)
{
	int ep = *(int *)arg;

	for (;;) {
		struct epoll_event ev[32];
		int n = epoll_wait(ep, ev, 32, -1);

		for (int i = 0; i < n; i++) {
			if (echo_turn(ev[i].data.ptr, MSG_DONTWAIT))
				echo_end(ev[i].data.ptr);
		}
	}
	return NULL;
}

void echo_epoll(int listener)
{
	static int eps[64];
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned loops = cores < 1 ? 1 : cores > 64 ? 64 : (unsigned)cores;
	pthread_t thread;

	for (unsigned i = 0; i < loops; i++) {
		eps[i] = epoll_create1(EPOLL_CLOEXEC);
		if (eps[i] < 0 || pthread_create(&thread, NULL, echo_loop, &eps[i]) != 0)
			return;
	}
	for (unsigned next = 0;;) {
		struct echo *e = echo_accept(listener);
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = e };

		if (e && epoll_ctl(eps[next++ % loops], EPOLL_CTL_ADD, e->fd, &ev) != 0)
			echo_end(e);
	}
}

static void *echo_thread(void *arg)
{
	struct echo *e = arg;

	while (echo_turn(e, 0) == 0)
		;
	echo_end(e);
	return NULL;
}

void echo_threads(int listener)
{
	for (;;) {
		struct echo *e = echo_accept(listener);
		pthread_t thread;

		if (!e)
			continue;
		if (pthread_create(&thread, NULL, echo_thread, e) != 0)
			echo_end(e);
		else
			pthread_detach(thread);
	}
}

struct echo_sizes echo_sizes = { 44, 28 };

static int echo_open(struct conn *c)
{
	return 0;
}

static bool echo_encode(struct conn *c, struct slot *s, struct enc *e)
{
	size_t rest = echo_sizes.request - 12;
	uint8_t *p;

	*e = (struct enc){ .base = s->head, .p = s->head + 4, .end = s->head + HEAD_MAX };
	s->xid = ++c->xids << 8 | s->id;
	put32(e, s->xid);
	put32(e, echo_sizes.reply);
	/* What comes with the call's head is copied, as in a call; the data of a WRITE are not. */
	if (rest <= 1024) {
		p = enc_room(e, rest);
		if (p)
			memset(p, 0, rest);
	} else {
		e->body = zeros;
		e->body_len = rest;
	}
	return true;
}

static enum step echo_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	if ((size_t)(d->end - d->p) != echo_sizes.reply - 4) {
		conn_fail(c, "an echo of another size");
		return STEP_FAILED;
	}
	d->p = d->end;
	++*units;
	return STEP_DONE;
}

const struct workload echo_workload = {
	.name = "echo",
	.raw = true,
	.open = echo_open,
	.encode = echo_encode,
	.decode = echo_decode,
	.close = echo_open,
};

/* ---- streams: the serving side ---- */

const struct stream_way stream_ways[STREAM_WAYS_MAX] = {
	{ "sendfile", 's', false },   { "pread+send", 'p', false },
	{ "splice", 'l', true },      { "recv+pwrite", 'w', true },
	{ "splice+sync", 'L', true }, { "recv+pwrite+sync", 'W', true },
};
const unsigned stream_ways_count = STREAM_WAYS_MAX;

static void stream_sendfile(int fd, int file)
{
	for (;;) {
		off_t at = 0;

		while (at < FILE_MIB * (off_t)MIB) {
			if (sendfile(fd, file, &at, MIB) <= 0)
				return;
		}
	}
}

static void stream_pread(int fd, int file, uint8_t *buffer)
{
	for (off_t at = 0;; at = (at + MIB) % (FILE_MIB * (off_t)MIB)) {
		if (pread(file, buffer, MIB, at) != MIB || send_all(fd, buffer, MIB))
			return;
	}
}

static void maybe_sync(int file, bool sync, off_t at)
{
	if (sync && at / MIB % SYNC_MIB == SYNC_MIB - 1)
		fdatasync(file);
}

static void stream_pwrite(int fd, int file, bool sync, uint8_t *buffer)
{
	for (off_t at = 0;; at = (at + MIB) % (FILE_MIB * (off_t)MIB)) {
		if (recv(fd, buffer, MIB, MSG_WAITALL) != MIB ||
		    pwrite(file, buffer, MIB, at) != MIB)
			return;
		maybe_sync(file, sync, at);
	}
}

static int splice_mib(int fd, const int pipe[2], int file, off_t at)
{
	size_t left = MIB;

	while (left > 0) {
		ssize_t n = splice(fd, NULL, pipe[1], NULL, left, SPLICE_F_MOVE);

		if (n <= 0)
			return -1;
		left -= (size_t)n;
		while (n > 0) {
			ssize_t out = splice(pipe[0], NULL, file, &at, (size_t)n, SPLICE_F_MOVE);

			if (out <= 0)
				return -1;
			n -= out;
		}
	}
	return 0;
}

static void stream_splice(int fd, int file, bool sync)
{
	int pipe[2];

	if (pipe2(pipe, O_CLOEXEC) != 0)
		return;
	fcntl(pipe[1], F_SETPIPE_SZ, (int)MIB);
	for (off_t at = 0; splice_mib(fd, pipe, file, at) == 0;
	     at = (at + MIB) % (FILE_MIB * (off_t)MIB))
		maybe_sync(file, sync, at);
	close(pipe[0]);
	close(pipe[1]);
}

static void *stream_thread(void *arg)
{
	int fd = *(int *)arg, file = open(LAB_FS, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint8_t *buffer = malloc(MIB);
	char way, ready = 1;
	bool ok = file >= 0 && buffer;

	free(arg);
	for (unsigned i = 0; ok && i < FILE_MIB; i++)
		ok = pwrite(file, page_data(0, i, 0), MIB, (off_t)i * MIB) == MIB;
	/* The file is there before the clock of the other side starts. */
	ok = ok && recv(fd, &way, 1, MSG_WAITALL) == 1 && send_all(fd, &ready, 1) == 0 &&
	     recv(fd, &ready, 1, MSG_WAITALL) == 1;
	if (ok && way == 's')
		stream_sendfile(fd, file);
	else if (ok && way == 'p')
		stream_pread(fd, file, buffer);
	else if (ok && (way == 'l' || way == 'L'))
		stream_splice(fd, file, way == 'L');
	else if (ok)
		stream_pwrite(fd, file, way == 'W', buffer);
	free(buffer);
	if (file >= 0)
		close(file);
	close(fd);
	return NULL;
}

void stream_serve(int listener)
{
	for (;;) {
		pthread_t thread;
		int *fd = malloc(sizeof(*fd));

		if (!fd)
			return;
		*fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (*fd < 0 || pthread_create(&thread, NULL, stream_thread, fd) != 0) {
			if (*fd >= 0)
				close(*fd);
			free(fd);
			continue;
		}
		pthread_detach(thread);
	}
}

/* ---- streams: the client's side ---- */

struct stream {
	const struct stream_way *way;
	int fd;
	uint64_t deadline;
	uint64_t bytes;
	pthread_t thread;
	bool failed;
};

static void *stream_client(void *arg)
{
	struct stream *s = arg;
	uint8_t *buffer = malloc(MIB);
	char go = 1;

	s->failed = !buffer || send_all(s->fd, &go, 1);
	while (!s->failed && now_ns() < s->deadline) {
		ssize_t n = s->way->to_file ? send(s->fd, page_data(0, 0, 0), MIB, MSG_NOSIGNAL)
					    : recv(s->fd, buffer, MIB, 0);

		if (n <= 0)
			s->failed = true;
		else
			s->bytes += (uint64_t)n;
	}
	free(buffer);
	return NULL;
}

static int stream_connect(struct stream *s, const struct sockaddr_in *to)
{
	struct timeval tv = { .tv_sec = STREAM_STALL };
	char ready;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -1;
	setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	no_delay(s->fd);
	if (connect(s->fd, (const struct sockaddr *)to, sizeof(*to)) != 0 ||
	    send_all(s->fd, &s->way->code, 1) || recv(s->fd, &ready, 1, MSG_WAITALL) != 1)
		return -1;
	return 0;
}

int stream_run(const struct server *to, const struct stream_way *way, unsigned conns,
	       double seconds, struct load_result *r, char error[200])
{
	struct stream streams[CONNS_MAX];
	struct linger reset = { .l_onoff = 1 };
	unsigned ready = 0, running = 0;
	uint64_t began = 0, bytes = 0;
	double cpu = 0;
	int ret = -1;

	memset(r, 0, sizeof(*r));
	for (; ready < conns; ready++) {
		streams[ready] = (struct stream){ .way = way };
		if (stream_connect(&streams[ready], &to->addr))
			goto out;
	}
	cpu = lab_cpu(to);
	began = now_ns();
	for (; running < conns; running++) {
		streams[running].deadline = began + (uint64_t)(seconds * 1e9);
		if (pthread_create(&streams[running].thread, NULL, stream_client,
				   &streams[running]) != 0)
			goto out;
	}
	ret = 0;
out:
	for (unsigned i = 0; i < running; i++) {
		pthread_join(streams[i].thread, NULL);
		bytes += streams[i].bytes;
		if (streams[i].failed)
			ret = -1;
	}
	r->total.units = bytes / MIB;
	r->seconds = (double)(now_ns() - began) / 1e9;
	r->server_cpu = lab_cpu(to) - cpu;
	for (unsigned i = 0; i < ready + (ready < conns); i++) {
		if (streams[i].fd >= 0) {
			setsockopt(streams[i].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(streams[i].fd);
		}
	}
	if (ret)
		snprintf(error, 200, "the %s stream failed: %s", way->name, strerror(errno));
	return ret;
}

#include "nfsd/nameless.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "backends/backend.h"
#include "base/log.h"

#define ENVIRONMENT "ATOLL_NAMELESS" /* a descriptor, in decimal, of a file of `struct record`s */
#define MAGIC	    0x61746e31u	     /* changes with struct record */
#define MOST	    65536	     /* files; fewer if descriptors are few */

/* What the next program reads, and what this one keeps. */
struct record {
	uint32_t magic;
	int32_t fd;
	uint32_t key_len;
	uint8_t key[STATE_FILE_KEY_MAX];
};

/* The main thread's. */
static struct record *kept;
static size_t nkept, cap;

static bool make_room(void)
{
	size_t more = cap ? cap * 2 : 16;
	struct record *p;

	if (nkept < cap)
		return true;
	p = realloc(kept, more * sizeof(*p));
	if (!p)
		return false;
	kept = p;
	cap = more;
	return true;
}

static struct bytes key_of(const struct record *r)
{
	return (struct bytes){ r->key, r->key_len };
}

static bool is_open(struct state *s, const struct record *r)
{
	uint64_t whose;

	return state_file_denied(s, key_of(r), 0, &whose);
}

static void forget(size_t i)
{
	close(kept[i].fd);
	kept[i] = kept[--nkept];
}

/* ---- after ---- */

static bool is_sound(const struct record *r)
{
	return r->magic == MAGIC && r->fd > 2 && r->key_len <= sizeof(r->key) &&
	       fcntl(r->fd, F_SETFD, FD_CLOEXEC) == 0;
}

void nameless_inherit(void)
{
	const char *text = getenv(ENVIRONMENT);
	int fd = text ? atoi(text) : -1;

	unsetenv(ENVIRONMENT);
	if (fd < 3)
		return;
	while (make_room() && read(fd, &kept[nkept], sizeof(*kept)) == sizeof(*kept) &&
	       is_sound(&kept[nkept]))
		nkept++;
	close(fd);
}

void nameless_tick(struct state *s)
{
	if (nkept == 0 || state_in_grace(s))
		return;
	for (size_t i = nkept; i-- > 0;) {
		if (!is_open(s, &kept[i]))
			forget(i);
	}
}

/* ---- before ---- */

struct collection {
	struct state *state;
	const struct backend *backend;
	size_t most, left_out;
};

static bool is_kept(const struct record *r)
{
	for (size_t i = 0; i < nkept; i++) {
		if (kept[i].key_len == r->key_len && memcmp(kept[i].key, r->key, r->key_len) == 0)
			return true;
	}
	return false;
}

static void collect(void *arg, int fd, const struct backend_handle *handle)
{
	struct collection *c = arg;
	size_t name_len = strlen(c->backend->name);
	struct record r = { .magic = MAGIC };

	if (name_len + handle->len > sizeof(r.key))
		return;
	memcpy(r.key, c->backend->name, name_len);
	memcpy(r.key + name_len, handle->bytes, handle->len);
	r.key_len = (uint32_t)(name_len + handle->len);
	/* It may be open for a moment only, or several times. */
	if (!is_open(c->state, &r) || is_kept(&r))
		return;
	r.fd = nkept < c->most && make_room() ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
	if (r.fd < 0)
		c->left_out++;
	else
		kept[nkept++] = r;
}

/* The next program needs descriptors of its own. */
static size_t most_descriptors(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) != 0 || rl.rlim_cur / 4 > MOST)
		return MOST;
	return rl.rlim_cur / 4;
}

void nameless_collect(struct state *s)
{
	struct collection c = { .state = s, .most = most_descriptors() };

	nameless_tick(s);
	for (unsigned i = 0; backend_list[i]; i++) {
		c.backend = backend_list[i];
		if (c.backend->each_nameless)
			c.backend->each_nameless(collect, &c);
	}
	if (c.left_out)
		log_warn("%zu open files without a name are lost by the restart: descriptors are "
			 "short",
			 c.left_out);
}

int nameless_pass(void)
{
	size_t len = nkept * sizeof(*kept), done = 0;
	char text[16];
	int fd;

	if (nkept == 0)
		return 0;
	fd = memfd_create("nameless", 0);
	if (fd < 0)
		return -errno;
	while (done < len) {
		ssize_t n = write(fd, (const char *)kept + done, len - done);

		if (n <= 0)
			goto fail;
		done += (size_t)n;
	}
	snprintf(text, sizeof(text), "%d", fd);
	if (lseek(fd, 0, SEEK_SET) != 0 || setenv(ENVIRONMENT, text, 1) != 0)
		goto fail;
	for (size_t i = 0; i < nkept; i++)
		fcntl(kept[i].fd, F_SETFD, 0);
	return 0;
fail:
	close(fd);
	return -ENOSPC;
}

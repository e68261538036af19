#include "backend_fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"

static char place[64];

/* ---- the place ---- */

bool place_begin(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("skipped: these tests mount file systems, which takes root\n");
		return false;
	}
	snprintf(place, sizeof(place), "/tmp/atoll-test.%d", getpid());
	if (mkdir(place, 0755) < 0 || mount("atoll-test", place, "tmpfs", 0, "mode=0755") < 0) {
		print_message("skipped: no tmpfs to work in: %s\n", strerror(errno));
		return false;
	}
	return true;
}

void place_end(void)
{
	backend_restore_identity();
	umount2(place, MNT_DETACH);
	rmdir(place);
}

const char *place_path(const char *fmt, ...)
{
	static char paths[16][256];
	static unsigned next;
	char *p = paths[next++ % 16];
	int n = snprintf(p, 256, "%s/", place);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p + n, 256 - (size_t)n, fmt, ap);
	va_end(ap);
	return p;
}

bool run(const char *const argv[])
{
	extern char **environ;
	posix_spawn_file_actions_t fa;
	int status;
	pid_t pid;
	bool ok;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
	ok = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)argv, environ) == 0 &&
	     waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	posix_spawn_file_actions_destroy(&fa);
	return ok;
}

void make_dir(const char *path, mode_t mode)
{
	backend_restore_identity();
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail_msg("mkdir %s: %s", path, strerror(errno));
	assert_int_equal(chmod(path, mode), 0);
}

static unsigned images;

const char *last_image(void)
{
	return place_path("image.%u", images);
}

bool mount_image(const char *fs, unsigned megabytes, const char *at)
{
	return mount_image_with(fs, "-q", megabytes, at);
}

bool mount_image_with(const char *fs, const char *option, unsigned megabytes, const char *at)
{
	const char *image = place_path("image.%u", ++images);
	char mkfs[32];
	int fd;

	backend_restore_identity();
	fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)megabytes << 20) < 0)
		fail_msg("%s: %s", image, strerror(errno));
	close(fd);
	snprintf(mkfs, sizeof(mkfs), "/sbin/mkfs.%s", fs);
	make_dir(at, 0755);
	if (access(mkfs, X_OK) < 0 || !RUN(mkfs, "-q", option, image) ||
	    !RUN("mount", "-o", "loop", "-t", fs, image, at)) {
		print_message("skipped: no %s on a loop device here\n", fs);
		return false;
	}
	return true;
}

/* ---- fixtures ---- */

static void open_root(struct fixture *fx)
{
	assert_ok(fx->b->export_open(&fx->params, &fx->exp));
	assert_ok(fx->b->root(fx->exp, &fx->root));
}

void fixture_open(struct fixture *fx, const char *backend, const char *path)
{
	static const gid_t alices[] = { SHARED1, SHARED2 }, bobs[] = { SHARED2 };

	fx->b = backend_find(backend);
	assert_non_null(fx->b);
	fx->params.path = path;
	fx->super = cred_root();
	fx->alice = cred_get(ALICE, ALICE, alices, 2);
	fx->bob = cred_get(BOB, BOB, bobs, 1);
	open_root(fx);
}

void fixture_restart(struct fixture *fx)
{
	struct backend_handle h = { 0 };

	if (fx->dir) {
		assert_ok(fx->b->to_handle(fx->dir, &h));
		object_unref(fx->dir);
	}
	object_unref(fx->root);
	fx->b->export_close(fx->exp);
	open_root(fx);
	if (fx->dir)
		assert_ok(fx->b->from_handle(fx->exp, h.bytes, h.len, &fx->dir));
}

void fixture_close(struct fixture *fx)
{
	object_unref(fx->root);
	fx->b->export_close(fx->exp);
	cred_unref(fx->alice);
	cred_unref(fx->bob);
	backend_restore_identity();
}

void fixture_fresh_dir(struct fixture *fx)
{
	static unsigned number;
	char name[32];

	snprintf(name, sizeof(name), "test.%u", number++);
	fx->dir = make(fx, fx->root, name, FILE_DIRECTORY, 0777, fx->super);
}

void fixture_drop_dir(struct fixture *fx)
{
	object_unref(fx->dir);
	fx->dir = NULL;
}

/* ---- calls ---- */

struct attr get_attr(struct object *obj)
{
	struct attr a;

	memset(&a, 0x5a, sizeof(a));
	assert_ok(obj->backend->getattr(obj, &a));
	return a;
}

struct object *look(struct fixture *fx, struct object *dir, const char *name)
{
	struct object *obj;

	assert_ok(fx->b->lookup(dir, fx->super, name, &obj));
	return obj;
}

int try_lookup(struct fixture *fx, struct object *dir, const char *name, const struct cred *cred)
{
	struct object *obj;
	int err = fx->b->lookup(dir, cred, name, &obj);

	if (!err)
		object_unref(obj);
	return err;
}

static int create(struct fixture *fx, struct object *dir, const char *name,
		  const struct create_args *args, const struct cred *cred, struct object **out)
{
	struct dir_change change = { 0 };

	return fx->b->create(dir, cred, name, args, &change, out);
}

struct object *make(struct fixture *fx, struct object *dir, const char *name, enum file_type type,
		    uint32_t mode, const struct cred *cred)
{
	struct create_args args = {
		.type = type,
		.attrs = { .mask = ATTR_SET_MODE, .mode = mode },
	};
	struct object *obj;

	assert_ok(create(fx, dir, name, &args, cred, &obj));
	return obj;
}

int try_make(struct fixture *fx, struct object *dir, const char *name, enum file_type type,
	     uint32_t mode, const struct cred *cred)
{
	struct create_args args = {
		.type = type,
		.attrs = { .mask = ATTR_SET_MODE, .mode = mode },
		.target = "target",
	};
	struct object *obj;
	int err = create(fx, dir, name, &args, cred, &obj);

	if (!err)
		object_unref(obj);
	return err;
}

struct object *make_symlink(struct fixture *fx, struct object *dir, const char *name,
			    const char *target, const struct cred *cred)
{
	struct create_args args = { .type = FILE_SYMLINK, .target = target };
	struct object *obj;

	assert_ok(create(fx, dir, name, &args, cred, &obj));
	return obj;
}

struct file *make_file(struct fixture *fx, struct object *dir, const char *name, uint32_t mode,
		       const struct cred *cred, struct object **obj)
{
	struct create_args args = {
		.type = FILE_REGULAR,
		.attrs = { .mask = ATTR_SET_MODE, .mode = mode },
		.mode = CREATE_GUARDED,
	};
	struct dir_change change = { 0 };
	struct object *made;
	struct file *file;
	bool created;

	assert_ok(fx->b->open_create(dir, cred, name, ACCESS_READ | ACCESS_WRITE, &args, &change,
				     &created, &made, &file));
	assert_true(created);
	if (obj)
		*obj = made;
	else
		object_unref(made);
	return file;
}

void touch(struct fixture *fx, struct object *dir, const char *name, uint32_t mode,
	   const struct cred *cred)
{
	file_unref(make_file(fx, dir, name, mode, cred, NULL));
}

struct file *open_file(struct fixture *fx, struct object *obj, unsigned access,
		       const struct cred *cred)
{
	struct file *file;

	assert_ok(fx->b->open(obj, cred, access, &file));
	return file;
}

int try_open(struct fixture *fx, struct object *obj, unsigned access, const struct cred *cred)
{
	struct file *file;
	int err = fx->b->open(obj, cred, access, &file);

	if (!err)
		file_unref(file);
	return err;
}

int try_remove(struct fixture *fx, struct object *dir, const char *name, const struct cred *cred)
{
	struct dir_change change = { 0 };

	return fx->b->remove(dir, cred, name, &change);
}

int try_rename(struct fixture *fx, struct object *from, const char *from_name, struct object *to,
	       const char *to_name, const struct cred *cred)
{
	struct dir_change from_change = { 0 }, to_change = { 0 };

	return fx->b->rename(from, from_name, to, to_name, cred, &from_change, &to_change);
}

int try_link(struct fixture *fx, struct object *obj, struct object *dir, const char *name,
	     const struct cred *cred)
{
	struct dir_change change = { 0 };

	return fx->b->link(obj, dir, cred, name, &change);
}

int try_set(struct fixture *fx, struct object *obj, const struct cred *cred, struct attr_set set)
{
	uint32_t done;
	int err = fx->b->setattr(obj, NULL, cred, &set, &done);

	if (!err)
		assert_int_equal(done, set.mask);
	return err;
}

void chmod_as(struct fixture *fx, struct object *obj, uint32_t mode, const struct cred *cred)
{
	assert_ok(try_set(fx, obj, cred, (struct attr_set){ .mask = ATTR_SET_MODE, .mode = mode }));
}

unsigned granted(struct fixture *fx, struct object *obj, const struct cred *cred, unsigned wanted)
{
	unsigned got = 0x5a;

	assert_ok(fx->b->access(obj, cred, wanted, &got));
	return got;
}

int try_put(struct file *file, uint64_t offset, const void *data, size_t len, enum stability how,
	    size_t *written)
{
	struct iovec iov = { (void *)data, len };
	struct payload_in in = { .iov = &iov, .iovcnt = 1, .pipe_fd = -1, .len = len };

	return file->object->backend->write(file, offset, &in, &how, written);
}

void put(struct file *file, uint64_t offset, const void *data, size_t len)
{
	size_t written = 0;

	assert_ok(try_put(file, offset, data, len, UNSTABLE, &written));
	assert_int_equal(written, len);
}

size_t get(struct file *file, uint64_t offset, void *buf, size_t cap, bool *eof)
{
	struct payload_out out = { .buf = buf, .cap = cap };

	assert_ok(file->object->backend->read(file, offset, &out));
	assert_int_equal(out.fd, -1);
	assert_true(out.filled <= cap);
	if (eof)
		*eof = out.eof;
	return out.filled;
}

struct listing {
	char *names[64];
	unsigned count;
};

static bool collect(void *arg, const struct dir_entry *entry)
{
	struct listing *l = arg;

	assert_true(l->count < 64);
	l->names[l->count++] = strdup(entry->name);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

const char *list(struct fixture *fx, struct object *dir)
{
	static char text[64 * 256];
	struct listing l = { .count = 0 };
	struct readdir_args args = { .emit = collect, .arg = &l };

	assert_ok(fx->b->readdir(dir, fx->super, &args));
	assert_true(args.eof);
	qsort(l.names, l.count, sizeof(char *), by_text);
	text[0] = '\0';
	for (unsigned i = 0; i < l.count; i++) {
		if (i > 0)
			strcat(text, " ");
		strcat(text, l.names[i]);
		free(l.names[i]);
	}
	return text;
}

/*
 * What is vfs's own: mounts below an export, identities of file systems and threads, descriptors
 * that run out, storage that fails.
 */
#include "backend_fixture.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/quota.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/clock.h"

static struct fixture open_export(const char *path, bool crossmnt)
{
	struct fixture fx = { .persistent = true, .params.crossmnt = crossmnt };

	fixture_open(&fx, "vfs", path);
	return fx;
}

static uint64_t ino_of(const char *path)
{
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	return st.st_ino;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void mount_tmpfs(const char *at, const char *options)
{
	make_dir(at, 0755);
	if (mount("atoll-test", at, "tmpfs", 0, options) < 0)
		fail_msg("tmpfs at %s: %s", at, strerror(errno));
}

/* Messages that a test provokes go nowhere. */
static int real_stderr = -1;

static void quiet_begin(void)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(null, STDERR_FILENO);
	close(null);
}

static void quiet_end(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
}

/* ---- mounts below an export ---- */

/* top/ m1/ (a tmpfs) sub/m2/ (another), with a file in each; and top/plain. */
struct layout {
	const char *top, *m1, *m2;
	uint64_t m1_covered, m2_covered;
};

static struct layout lay_out(const char *name)
{
	struct layout l = { .top = place_path("%s", name) };

	make_dir(l.top, 0755);
	l.m1 = place_path("%s/m1", name);
	make_dir(l.m1, 0755);
	/* Numbers on the covering and the covered side are to differ. */
	write_file(place_path("%s/plain", name), "plain");
	make_dir(place_path("%s/later", name), 0755);
	l.m1_covered = ino_of(l.m1);
	mount_tmpfs(l.m1, NULL);
	make_dir(place_path("%s/m1/sub", name), 0755);
	l.m2 = place_path("%s/m1/sub/m2", name);
	make_dir(l.m2, 0755);
	l.m2_covered = ino_of(l.m2);
	mount_tmpfs(l.m2, NULL);
	write_file(place_path("%s/m1/one", name), "1");
	write_file(place_path("%s/m1/sub/m2/two", name), "2");
	return l;
}

static void take_down(const struct layout *l)
{
	backend_restore_identity();
	umount2(l->m2, MNT_DETACH);
	umount2(l->m1, MNT_DETACH);
}

static struct object *look_path(struct fixture *fx, const char *path)
{
	struct object *at = object_ref(fx->root), *next;
	char text[256], *save, *name;

	snprintf(text, sizeof(text), "%s", path);
	for (name = strtok_r(text, "/", &save); name; name = strtok_r(NULL, "/", &save)) {
		next = look(fx, at, name);
		object_unref(at);
		at = next;
	}
	return at;
}

struct wanted_entry {
	const char *name;
	struct dir_entry found;
	bool seen;
};

static bool keep_entry(void *arg, const struct dir_entry *entry)
{
	struct wanted_entry *w = arg;

	if (strcmp(entry->name, w->name) == 0) {
		w->found = *entry;
		w->seen = true;
	}
	return true;
}

static struct dir_entry entry_of(struct fixture *fx, struct object *dir, const char *name)
{
	struct wanted_entry w = { .name = name };
	struct readdir_args args = {
		.want_attr = true, .want_handle = true, .emit = keep_entry, .arg = &w
	};

	assert_ok(fx->b->readdir(dir, fx->super, &args));
	assert_true(w.seen);
	return w.found;
}

static void assert_parent(struct fixture *fx, struct object *dir, struct object *parent)
{
	struct object *up;

	assert_ok(fx->b->lookup_parent(dir, fx->super, &up));
	assert_ptr_equal(up, parent);
	object_unref(up);
}

static void crossmnt_follows_mounts(void **state)
{
	struct layout l = lay_out("cross");
	struct fixture fx = open_export(l.top, true);
	struct object *m1 = look_path(&fx, "m1"), *sub = look_path(&fx, "m1/sub");
	struct object *m2 = look_path(&fx, "m1/sub/m2"), *two = look_path(&fx, "m1/sub/m2/two");
	struct attr root = get_attr(fx.root), a1 = get_attr(m1), a2 = get_attr(m2);
	struct dir_entry e;

	assert_int_equal(a1.fileid, ino_of(l.m1));
	assert_int_equal(a1.mounted_on_fileid, l.m1_covered);
	assert_int_equal(a2.fileid, ino_of(l.m2));
	assert_int_equal(a2.mounted_on_fileid, l.m2_covered);
	assert_true(root.fsid_major != a1.fsid_major);
	assert_true(root.fsid_major != a2.fsid_major);
	assert_true(a1.fsid_major != a2.fsid_major);
	assert_int_equal(get_attr(two).fsid_major, a2.fsid_major);
	assert_int_equal(get_attr(two).mounted_on_fileid, get_attr(two).fileid);
	e = entry_of(&fx, fx.root, "m1");
	assert_int_equal(e.error, 0);
	assert_int_equal(e.fileid, l.m1_covered);
	assert_int_equal(e.attr.mounted_on_fileid, l.m1_covered);
	assert_int_equal(e.attr.fileid, a1.fileid);
	assert_int_equal(e.attr.fsid_major, a1.fsid_major);
	e = entry_of(&fx, sub, "m2");
	assert_int_equal(e.attr.mounted_on_fileid, l.m2_covered);
	assert_int_equal(e.attr.fsid_major, a2.fsid_major);
	assert_parent(&fx, m2, sub);
	assert_parent(&fx, sub, m1);
	assert_parent(&fx, m1, fx.root);
	assert_err(try_rename(&fx, m2, "two", m1, "two", fx.super), -EXDEV);
	assert_err(try_link(&fx, two, m1, "two", fx.super), -EXDEV);
	assert_err(try_remove(&fx, fx.root, "m1", fx.super), -EBUSY);
	object_unref(two);
	object_unref(m2);
	object_unref(sub);
	object_unref(m1);
	fixture_close(&fx);
	take_down(&l);
}

/* After a restart a handle is all there is: nobody has walked there. */
static void crossmnt_handles_survive_restart(void **state)
{
	struct layout l = lay_out("restart");
	struct fixture fx = open_export(l.top, true);
	struct object *m2 = look_path(&fx, "m1/sub/m2"), *two = look_path(&fx, "m1/sub/m2/two"),
		      *up;
	struct backend_handle hm, ht;
	uint64_t fsid = get_attr(two).fsid_major, fileid = get_attr(two).fileid;

	assert_ok(fx.b->to_handle(m2, &hm));
	assert_ok(fx.b->to_handle(two, &ht));
	object_unref(two);
	object_unref(m2);
	fixture_restart(&fx);
	assert_ok(fx.b->from_handle(fx.exp, ht.bytes, ht.len, &two));
	assert_int_equal(get_attr(two).fsid_major, fsid);
	assert_int_equal(get_attr(two).fileid, fileid);
	assert_ok(fx.b->from_handle(fx.exp, hm.bytes, hm.len, &m2));
	assert_int_equal(get_attr(m2).mounted_on_fileid, l.m2_covered);
	/* Up over a mount that is not known yet. */
	assert_ok(fx.b->lookup_parent(m2, fx.super, &up));
	assert_int_equal(get_attr(up).fileid, ino_of(place_path("restart/m1/sub")));
	object_unref(up);
	object_unref(m2);
	object_unref(two);
	fixture_close(&fx);
	take_down(&l);
}

static void crossmnt_mounts_come_and_go(void **state)
{
	struct layout l = lay_out("come");
	struct fixture fx = open_export(l.top, true);
	const char *later = place_path("come/later");
	struct object *dir = look_path(&fx, "later"), *mounted, *file;
	struct backend_handle h;

	backend_restore_identity();
	mount_tmpfs(later, NULL);
	write_file(place_path("come/later/new"), "n");
	mounted = look_path(&fx, "later");
	assert_ptr_not_equal(mounted, dir);
	file = look(&fx, mounted, "new");
	assert_ok(fx.b->to_handle(file, &h));
	assert_true(get_attr(file).fsid_major != get_attr(dir).fsid_major);
	object_unref(file);
	object_unref(mounted);
	/* When nobody has used it for two rounds it can be unmounted. */
	vfs_trim(vfs_export(fx.exp));
	vfs_trim(vfs_export(fx.exp));
	backend_restore_identity();
	assert_int_equal(umount(later), 0);
	assert_err(fx.b->from_handle(fx.exp, h.bytes, h.len, &file), -ESTALE);
	mounted = look_path(&fx, "later");
	assert_ptr_equal(mounted, dir);
	object_unref(mounted);
	object_unref(dir);
	fixture_close(&fx);
	take_down(&l);
}

static void without_crossmnt_what_is_beneath_shows(void **state)
{
	struct layout l = lay_out("nocross");
	struct fixture fx = open_export(l.top, false), cross = open_export(l.top, true);
	struct object *m1 = look_path(&fx, "m1"), *one = look_path(&cross, "m1/one"), *obj;
	struct backend_handle h;
	struct dir_entry e;

	assert_string_equal(list(&fx, m1), "");
	assert_int_equal(get_attr(m1).fileid, l.m1_covered);
	assert_int_equal(get_attr(m1).mounted_on_fileid, l.m1_covered);
	assert_int_equal(get_attr(m1).fsid_major, get_attr(fx.root).fsid_major);
	e = entry_of(&fx, fx.root, "m1");
	assert_int_equal(e.attr.fileid, l.m1_covered);
	assert_parent(&fx, m1, fx.root);
	/* What is mounted there is not in this export, by handle neither. */
	assert_ok(cross.b->to_handle(one, &h));
	assert_err(fx.b->from_handle(fx.exp, h.bytes, h.len, &obj), -ESTALE);
	/* Nor can what is mounted be pulled off by removing what is beneath. */
	assert_err(try_remove(&fx, fx.root, "m1", fx.super), -EBUSY);
	assert_int_equal(access(place_path("nocross/m1/one"), F_OK), 0);
	object_unref(one);
	object_unref(m1);
	fixture_close(&cross);
	fixture_close(&fx);
	take_down(&l);
}

/* A directory moved out of the export by somebody local is no way up. */
static void escape(bool crossmnt)
{
	const char *name = crossmnt ? "escape-cross" : "escape";
	struct object *inner, *outer, *up;
	struct fixture fx;

	make_dir(place_path("%s", name), 0755);
	make_dir(place_path("%s/export", name), 0755);
	make_dir(place_path("%s/export/d", name), 0755);
	make_dir(place_path("%s/export/d/e", name), 0755);
	fx = open_export(place_path("%s/export", name), crossmnt);
	outer = look_path(&fx, "d");
	inner = look_path(&fx, "d/e");
	backend_restore_identity();
	assert_int_equal(rename(place_path("%s/export/d", name), place_path("%s/d", name)), 0);
	assert_err(fx.b->lookup_parent(outer, fx.super, &up), -ENOENT);
	assert_err(fx.b->lookup_parent(inner, fx.super, &up), -ENOENT);
	assert_err(fx.b->lookup_parent(fx.root, fx.super, &up), -ENOENT);
	backend_restore_identity();
	assert_int_equal(rename(place_path("%s/d", name), place_path("%s/export/d", name)), 0);
	assert_parent(&fx, inner, outer);
	assert_parent(&fx, outer, fx.root);
	object_unref(inner);
	object_unref(outer);
	fixture_close(&fx);
}

static void no_way_above_the_root(void **state)
{
	escape(false);
	escape(true);
}

static void read_only_mounts(void **state)
{
	const char *at = place_path("readonly");
	struct fixture fx;

	mount_tmpfs(at, NULL);
	write_file(place_path("readonly/f"), "f");
	assert_int_equal(mount(NULL, at, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
	fx = open_export(at, false);
	assert_err(try_make(&fx, fx.root, "d", FILE_DIRECTORY, 0755, fx.super), -EROFS);
	assert_err(try_remove(&fx, fx.root, "f", fx.super), -EROFS);
	fx.dir = look(&fx, fx.root, "f");
	assert_int_equal(granted(&fx, fx.dir, fx.super, ACCESS_READ | ACCESS_WRITE), ACCESS_READ);
	assert_err(try_open(&fx, fx.dir, ACCESS_WRITE, fx.super), -EROFS);
	assert_ok(try_open(&fx, fx.dir, ACCESS_READ, fx.super));
	fixture_drop_dir(&fx);
	fixture_close(&fx);
	umount(at);
}

/* ---- what cannot be exported ---- */

static void exports_refused(void **state)
{
	const struct backend *b = backend_find("vfs");
	struct export_params params = { .path = "/proc" };
	struct backend_export *exp;

	quiet_begin();
	assert_err(b->export_open(&params, &exp), -EOPNOTSUPP);
	params.path = place_path("nothing/here");
	assert_err(b->export_open(&params, &exp), -ENOENT);
	write_file(place_path("a-file"), "");
	params.path = place_path("a-file");
	assert_err(b->export_open(&params, &exp), -ENOTDIR);
	params.path = place_path("a-file/below");
	assert_err(b->export_open(&params, &exp), -ENOTDIR);
	quiet_end();
}

/* ---- identities of file systems ---- */

static struct backend_handle handle_of_file(struct fixture *fx, const char *name)
{
	struct backend_handle h = { 0 };
	struct object *obj = look(fx, fx->root, name);

	assert_ok(fx->b->to_handle(obj, &h));
	object_unref(obj);
	return h;
}

/* The device number may change with every boot; handles may not. */
static void handles_survive_another_device(const char *fs, unsigned megabytes)
{
	const char *at = place_path("moved-%s", fs);
	char image[64], loop[64];
	struct backend_handle h;
	struct fixture fx;
	struct object *obj;
	struct stat before, after;

	if (!mount_image(fs, megabytes, at))
		return;
	assert_int_equal(stat(at, &before), 0);
	snprintf(image, sizeof(image), "%s", last_image());
	fx = open_export(at, false);
	touch(&fx, fx.root, "f", 0600, fx.super);
	h = handle_of_file(&fx, "f");
	fixture_close(&fx);
	assert_int_equal(umount(at), 0);
	/* Takes the loop device that was free, so that ours gets another. */
	snprintf(loop, sizeof(loop), "%s", place_path("other-%s", fs));
	assert_true(mount_image("ext4", 8, loop));
	assert_true(RUN("mount", "-o", "loop", "-t", fs, image, at));
	assert_int_equal(stat(at, &after), 0);
	if (strcmp(fs, "btrfs") != 0) /* which numbers by itself */
		assert_int_not_equal(before.st_dev, after.st_dev);
	fx = open_export(at, false);
	assert_ok(fx.b->from_handle(fx.exp, h.bytes, h.len, &obj));
	object_unref(obj);
	fixture_close(&fx);
	umount(at);
	umount(loop);
}

static void identity_is_not_the_device(void **state)
{
	handles_survive_another_device("ext4", 16);
	handles_survive_another_device("xfs", 320);
	handles_survive_another_device("btrfs", 128);
}

static void administrators_fsid_counts(void **state)
{
	const char *at = place_path("fsid");
	struct fixture fx = { .persistent = true, .params.fsid = "17" };
	struct backend_handle h;
	struct object *obj;
	uint64_t fsid;

	make_dir(at, 0755);
	write_file(place_path("fsid/f"), "f");
	fixture_open(&fx, "vfs", at);
	h = handle_of_file(&fx, "f");
	fsid = get_attr(fx.root).fsid_major;
	fixture_restart(&fx);
	assert_int_equal(get_attr(fx.root).fsid_major, fsid);
	assert_ok(fx.b->from_handle(fx.exp, h.bytes, h.len, &obj));
	object_unref(obj);
	fx.params.fsid = "18";
	fixture_restart(&fx);
	assert_true(get_attr(fx.root).fsid_major != fsid);
	assert_err(fx.b->from_handle(fx.exp, h.bytes, h.len, &obj), -ESTALE);
	fixture_close(&fx);
}

/* Two file systems with one UUID, as a snapshot mounted beside its origin. */
static void copies_are_told_apart(void **state)
{
	const char *top = place_path("copies"), *one = place_path("copies/one"),
		   *two = place_path("copies/two");
	char image[64], copy[64];
	struct fixture fx;
	struct object *a, *b;

	make_dir(top, 0755);
	if (!mount_image("ext4", 8, one))
		skip();
	snprintf(image, sizeof(image), "%s", last_image());
	snprintf(copy, sizeof(copy), "%s", place_path("copy"));
	write_file(place_path("copies/one/f"), "one");
	umount(one);
	assert_true(RUN("cp", image, copy));
	make_dir(two, 0755);
	assert_true(RUN("mount", "-o", "loop", image, one));
	assert_true(RUN("mount", "-o", "loop", copy, two));
	quiet_begin();
	fx = open_export(top, true);
	a = look_path(&fx, "one/f");
	b = look_path(&fx, "two/f");
	assert_ptr_not_equal(a, b);
	assert_true(get_attr(a).fsid_major != get_attr(b).fsid_major);
	object_unref(a);
	object_unref(b);
	fixture_close(&fx);
	quiet_end();
	umount(one);
	umount(two);
}

static void btrfs_subvolumes(void **state)
{
	const char *at = place_path("subvolumes");
	struct object *sub, *file;
	struct backend_handle h;
	struct dir_entry e;
	struct fixture fx;
	uint64_t minor;

	if (!mount_image("btrfs", 128, at) ||
	    !RUN("btrfs", "subvolume", "create", place_path("subvolumes/first")) ||
	    !RUN("btrfs", "subvolume", "create", place_path("subvolumes/s")))
		skip();
	write_file(place_path("subvolumes/s/f"), "f");
	fx = open_export(at, false);
	sub = look_path(&fx, "s");
	file = look_path(&fx, "s/f");
	minor = get_attr(sub).fsid_minor;
	/* File numbers are a subvolume's own, so it has to have an fsid of its own. */
	assert_true(minor != get_attr(fx.root).fsid_minor);
	assert_int_equal(get_attr(file).fsid_minor, minor);
	assert_true(get_attr(sub).mounted_on_fileid != get_attr(sub).fileid);
	e = entry_of(&fx, fx.root, "s");
	assert_int_equal(e.fileid, get_attr(sub).mounted_on_fileid);
	assert_int_equal(e.attr.mounted_on_fileid, get_attr(sub).mounted_on_fileid);
	assert_int_equal(e.attr.fsid_minor, minor);
	assert_parent(&fx, sub, fx.root);
	assert_ok(fx.b->to_handle(file, &h));
	object_unref(sub);
	object_unref(file);
	fixture_restart(&fx);
	assert_ok(fx.b->from_handle(fx.exp, h.bytes, h.len, &file));
	assert_int_equal(get_attr(file).fsid_minor, minor);
	object_unref(file);
	fixture_close(&fx);
	umount(at);
}

/* ---- whom a thread acts as ---- */

static uint64_t effective_caps(void)
{
	FILE *f = fopen("/proc/thread-self/status", "re");
	unsigned long long caps = 0;
	char line[256];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		sscanf(line, "CapEff: %llx", &caps);
	fclose(f);
	return caps;
}

static void *act_as_root(void *arg)
{
	struct fixture *fx = arg;
	struct object *file = NULL;
	int err = fx->b->lookup(fx->root, fx->super, "f", &file);

	object_unref(file);
	return err || syscall(SYS_setfsuid, -1) != 0 ? fx : NULL;
}

static void identity_of_threads(void **state)
{
	const uint64_t user_caps = 1u << 6 | 1u << 7; /* CAP_SETGID, CAP_SETUID */
	const char *at = place_path("identity");
	gid_t groups[8];
	uint64_t all;
	struct fixture fx;
	pthread_t thread;
	void *failed;

	make_dir(at, 0700);
	write_file(place_path("identity/f"), "f");
	fx = open_export(at, false);
	backend_restore_identity();
	all = effective_caps();
	assert_err(try_lookup(&fx, fx.root, "f", fx.alice), -EACCES);
	assert_int_equal(syscall(SYS_setfsuid, -1), ALICE);
	assert_int_equal(syscall(SYS_setfsgid, -1), ALICE);
	assert_int_equal(syscall(SYS_getgroups, 8, groups), 2);
	assert_int_equal(effective_caps(), all & user_caps);
	/* A thread inherits its maker's identity; it may not stay with it. */
	assert_int_equal(pthread_create(&thread, NULL, act_as_root, &fx), 0);
	pthread_join(thread, &failed);
	assert_null(failed);
	assert_int_equal(syscall(SYS_setfsuid, -1), ALICE);
	backend_restore_identity();
	assert_int_equal(syscall(SYS_setfsuid, -1), 0);
	assert_int_equal(syscall(SYS_getgroups, 8, groups), 0);
	assert_int_equal(effective_caps(), all);
	fixture_close(&fx);
}

struct maker {
	struct fixture *fx;
	int err;
	uint32_t mode;
};

static void *make_under_umask(void *arg)
{
	struct create_args args = { .type = FILE_DIRECTORY,
				    .attrs = { .mask = ATTR_SET_MODE, .mode = 0777 } };
	struct maker *m = arg;
	struct dir_change change = { 0 };
	struct object *obj;
	struct attr a;

	unshare(CLONE_FS); /* not to disturb the other threads */
	umask(077);
	m->err = m->fx->b->create(m->fx->root, m->fx->alice, "d", &args, &change, &obj);
	if (!m->err) {
		m->err = m->fx->b->getattr(obj, &a);
		m->mode = a.mode;
		object_unref(obj);
	}
	return NULL;
}

/* The process's umask is no business of the clients'. */
static void umask_of_the_process(void **state)
{
	const char *at = place_path("umask");
	struct fixture fx;
	struct maker m = { .fx = &fx };
	pthread_t thread;

	make_dir(at, 0777);
	fx = open_export(at, false);
	assert_int_equal(pthread_create(&thread, NULL, make_under_umask, &m), 0);
	pthread_join(thread, NULL);
	assert_ok(m.err);
	assert_int_equal(m.mode, 0777);
	fixture_close(&fx);
}

/* The block quota of a user, 0: none. False if the file system has no quotas. */
static bool set_quota(const char *at, uid_t uid, uint64_t bytes)
{
	struct if_dqblk dq = { .dqb_bhardlimit = bytes / 1024, .dqb_valid = QIF_BLIMITS };
	int fd = open(at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unsigned cmd = (unsigned)Q_SETQUOTA << SUBCMDSHIFT | USRQUOTA;
	bool ok = syscall(SYS_quotactl_fd, fd, cmd, uid, &dq) == 0;

	close(fd);
	return ok;
}

/* The server's own capabilities are no way around a user's quota. */
static void quotas_hold(void **state)
{
	static char data[512 << 10];
	const char *at = place_path("quota");
	struct fs_info info;
	struct fixture fx;
	struct file *f;
	size_t n = 0, total = 0;
	int err = 0;

	if (!mount_image_with("ext4", "-Oquota", 16, at) || umount(at) < 0 ||
	    !RUN("mount", "-o", "loop,usrquota", last_image(), at) ||
	    !set_quota(at, ALICE, 1 << 20))
		skip();
	assert_int_equal(chmod(at, 0777), 0);
	fx = open_export(at, false);
	assert_ok(fx.b->statfs(fx.root, fx.bob, &info));
	assert_false(info.has_quota);
	f = make_file(&fx, fx.root, "f", 0666, fx.alice, NULL);
	while (err == 0 && total < 4 << 20) {
		err = try_put(f, total, data, sizeof(data), FILE_SYNC, &n);
		total += err ? 0 : n;
	}
	assert_err(err, -EDQUOT);
	assert_true(total <= 1 << 20);
	assert_ok(fx.b->statfs(fx.root, fx.alice, &info));
	assert_true(info.has_quota);
	assert_true(info.quota_used >= total);
	assert_true(info.quota_avail_hard <= (1 << 20) - total);
	file_unref(f);
	f = make_file(&fx, fx.root, "g", 0666, fx.bob, NULL);
	assert_ok(try_put(f, 0, data, sizeof(data), FILE_SYNC, &n)); /* has none */
	file_unref(f);
	fixture_close(&fx);
	umount(at);
}

/* user::rwx group::rwx other::r-- as a default ACL, in the kernel's form. */
static const uint8_t default_acl[] = {
	2, 0, 0,    0,	  1,	0,    7,  0, 0xff, 0xff, 0xff, 0xff, 4,	   0,
	7, 0, 0xff, 0xff, 0xff, 0xff, 32, 0, 4,	   0,	 0xff, 0xff, 0xff, 0xff,
};

static void default_acl_replaces_umask(void **state)
{
	struct create_args args = {
		.type = FILE_DIRECTORY,
		.attrs = { .mask = ATTR_SET_MODE, .mode = 0777, .has_umask = true, .umask = 077 },
	};
	const char *at = place_path("acl");
	struct dir_change change = { 0 };
	struct object *obj;
	struct file *file;
	struct fixture fx;
	bool created;

	if (!mount_image("ext4", 8, at))
		skip();
	assert_int_equal(chmod(at, 0777), 0);
	assert_int_equal(setxattr(at, "system.posix_acl_default", default_acl, sizeof(default_acl),
				  0),
			 0);
	fx = open_export(at, false);
	assert_ok(fx.b->create(fx.root, fx.alice, "d", &args, &change, &obj));
	assert_int_equal(get_attr(obj).mode, 0774);
	object_unref(obj);
	args.attrs.mode = 0666;
	for (args.mode = CREATE_UNCHECKED; args.mode <= CREATE_EXCLUSIVE; args.mode++) {
		char name[] = { (char)('a' + args.mode), 0 };

		assert_ok(fx.b->open_create(fx.root, fx.alice, name, ACCESS_READ, &args, &change,
					    &created, &obj, &file));
		assert_int_equal(get_attr(obj).mode, 0664);
		file_unref(file);
		object_unref(obj);
	}
	fixture_close(&fx);
	umount(at);
}

/* ---- descriptors ---- */

static unsigned open_descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 4096; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

#define FILES 600
#define HELD  60

static struct rlimit all_descriptors;

static int few_begin(void **state)
{
	return getrlimit(RLIMIT_NOFILE, &all_descriptors);
}

static int few_end(void **state)
{
	return setrlimit(RLIMIT_NOFILE, &all_descriptors);
}

static void limit_descriptors(unsigned n)
{
	struct rlimit low = all_descriptors;

	low.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
}

static void few_descriptors(void **state)
{
	const char *at = place_path("few");
	struct object *held[HELD], *again;
	struct file *open[HELD];
	unsigned before = open_descriptors();
	struct fixture fx;
	char name[16], byte;

	make_dir(at, 0777);
	limit_descriptors(before + 100);
	fx = open_export(at, false);
	for (unsigned i = 0; i < FILES; i++) {
		struct object *obj;
		struct file *f;

		snprintf(name, sizeof(name), "f%u", i);
		f = make_file(&fx, fx.root, name, 0600, fx.alice, &obj);
		put(f, 0, name, 1 + strlen(name));
		if (i % (FILES / HELD) == 0) {
			held[i / (FILES / HELD)] = obj;
			open[i / (FILES / HELD)] = f; /* twice as many as there is room for */
			continue;
		}
		file_unref(f);
		object_unref(obj);
	}
	for (unsigned i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		again = look(&fx, fx.root, name);
		if (i % (FILES / HELD) == 0)
			assert_ptr_equal(again, held[i / (FILES / HELD)]);
		object_unref(again);
	}
	/* Open files work on though their permission has gone, and their names. */
	for (unsigned i = 0; i < HELD; i++) {
		char text[16];

		snprintf(name, sizeof(name), "f%u", i * (FILES / HELD));
		chmod_as(&fx, held[i], 0, fx.alice);
		if (i % 2)
			assert_ok(try_remove(&fx, fx.root, name, fx.alice));
		assert_int_equal(get(open[i], 0, text, sizeof(text), NULL), 1 + strlen(name));
		assert_string_equal(text, name);
		put(open[i], 100, "x", 1);
	}
	for (unsigned i = 0; i < HELD; i++) {
		assert_int_equal(get(open[i], 100, &byte, 1, NULL), 1);
		assert_int_equal(byte, 'x');
		file_unref(open[i]);
		object_unref(held[i]);
	}
	fixture_close(&fx);
	/* /proc/self/fd stays open for the process's life. */
	assert_true(open_descriptors() <= before + 1);
}

struct few {
	uint64_t cookie;
	unsigned left;
};

static bool take_few(void *arg, const struct dir_entry *entry)
{
	struct few *few = arg;

	if (few->left == 0)
		return false;
	few->left--;
	few->cookie = entry->cookie;
	return true;
}

/* A directory stays open between READDIRs of one listing; but never more than a few, and not for
 * ever. */
static void listings_are_closed(void **state)
{
	const char *at = place_path("lists");
	unsigned before = open_descriptors();
	struct object *dirs[100];
	struct fixture fx;
	char name[16];

	make_dir(at, 0777);
	fx = open_export(at, false);
	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(name, sizeof(name), "d%u", i);
		dirs[i] = make(&fx, fx.root, name, FILE_DIRECTORY, 0755, fx.alice);
		touch(&fx, dirs[i], "a", 0600, fx.alice);
		touch(&fx, dirs[i], "b", 0600, fx.alice);
	}
	while (vfs_listings_close(vfs_export(fx.exp), false) > 0)
		;
	before = open_descriptors();
	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++) {
		struct few few = { .left = 1 };
		struct readdir_args args = { .want_attr = true, .emit = take_few, .arg = &few };

		assert_ok(fx.b->readdir(dirs[i], fx.alice, &args));
		assert_false(args.eof);
	}
	assert_true(open_descriptors() > before);
	assert_true(open_descriptors() <= before + 64);
	assert_int_equal(vfs_listings_close(vfs_export(fx.exp), true), 0);
	assert_int_equal(vfs_listings_close(vfs_export(fx.exp), false), 64);
	assert_int_equal(open_descriptors(), before);
	/* One that goes on to the end; and one that is still kept when the export is closed. */
	for (unsigned i = 0; i < 2; i++) {
		struct few few = { .left = 1 };
		struct readdir_args args = { .want_attr = true, .emit = take_few, .arg = &few };

		assert_ok(fx.b->readdir(dirs[i], fx.alice, &args));
		assert_int_equal(open_descriptors(), before + 1);
		few.left = 2;
		args.cookie = few.cookie;
		if (i == 0)
			assert_ok(fx.b->readdir(dirs[i], fx.alice, &args));
		assert_int_equal(open_descriptors(), before + i);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++)
		object_unref(dirs[i]);
	fixture_close(&fx);
	assert_true(open_descriptors() < before);
}

static void descriptors_used_up(void **state)
{
	const char *at = place_path("none");
	unsigned before = open_descriptors(), n = 0;
	struct object *held[128];
	struct fixture fx;
	char name[16];
	int err = 0;

	make_dir(at, 0777);
	fx = open_export(at, false);
	for (unsigned i = 0; i < 128; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		touch(&fx, fx.root, name, 0600, fx.alice);
	}
	limit_descriptors(before + 60);
	vfs_trim(vfs_export(fx.exp));
	vfs_trim(vfs_export(fx.exp));
	while (n < 128 && err == 0) {
		snprintf(name, sizeof(name), "f%u", n);
		err = fx.b->lookup(fx.root, fx.alice, name, &held[n]);
		n += err == 0;
	}
	/* All in use: an error, and no harm done. */
	assert_err(err, -ENFILE);
	assert_true(n > 30);
	while (n > 0)
		object_unref(held[--n]);
	assert_ok(try_lookup(&fx, fx.root, "f127", fx.alice));
	fixture_close(&fx);
}

/* Unused objects stay for the export's time, others as long as they are asked for. */
static void unused_objects_stay_for_a_time(void **state)
{
	const char *at = place_path("stay");
	struct fixture fx = { .persistent = true, .params.cache_seconds = 3600 };
	struct vfs_export *exp;
	unsigned with_both;
	uint64_t hour = 3600ull * 1000000000, first;

	make_dir(at, 0777);
	fixture_open(&fx, "vfs", at);
	exp = vfs_export(fx.exp);
	touch(&fx, fx.root, "a", 0600, fx.alice);
	touch(&fx, fx.root, "b", 0600, fx.alice);
	with_both = exp->cached;
	first = exp->evict_at;
	/* The thread comes by much more often. */
	for (unsigned i = 1; i <= 359; i++)
		vfs_trim_at(exp, first - i);
	assert_int_equal(exp->cached, with_both);
	assert_int_equal(exp->evict_at, first);
	/* Asked for since they were made: from here on it counts. */
	vfs_trim_at(exp, first);
	vfs_trim_at(exp, first + hour - 1);
	assert_int_equal(exp->cached, with_both);
	assert_ok(try_lookup(&fx, fx.root, "a", fx.alice));
	vfs_trim_at(exp, first + hour);
	assert_int_equal(exp->cached, with_both - 1);
	vfs_trim_at(exp, first + 2 * hour - 1);
	assert_int_equal(exp->cached, with_both - 1);
	vfs_trim_at(exp, first + 2 * hour);
	assert_int_equal(exp->cached, with_both - 2);
	/* What clients remove does not wait for it. */
	touch(&fx, fx.root, "c", 0600, fx.alice);
	assert_int_equal(exp->cached, with_both - 1);
	assert_ok(try_remove(&fx, fx.root, "c", fx.alice));
	assert_int_equal(exp->cached, with_both - 2);
	fixture_close(&fx);
}

static uint64_t free_bytes(const char *at)
{
	struct statvfs st;

	assert_int_equal(statvfs(at, &st), 0);
	return (uint64_t)st.f_bfree * st.f_frsize;
}

/* Descriptors kept for later must not keep the storage of removed files. */
static void removed_files_give_up_their_storage(void **state)
{
	const char *at = place_path("storage");
	static char data[1 << 20];
	struct object *obj;
	uint64_t before;
	struct file *f;
	struct fixture fx;

	memset(data, 'x', sizeof(data));
	mount_tmpfs(at, "size=8m,mode=0777");
	fx = open_export(at, false);
	before = free_bytes(at);
	for (unsigned i = 0; i < 3; i++) {
		f = make_file(&fx, fx.root, "f", 0600, fx.alice, &obj);
		put(f, 0, data, sizeof(data));
		assert_true(free_bytes(at) + sizeof(data) <= before);
		if (i == 0) { /* idle when it is removed */
			file_unref(f);
			object_unref(obj);
			assert_ok(try_remove(&fx, fx.root, "f", fx.alice));
		} else if (i == 1) { /* in use when it is removed */
			assert_ok(try_remove(&fx, fx.root, "f", fx.alice));
			file_unref(f);
			object_unref(obj);
		} else { /* removed by somebody else */
			file_unref(f);
			object_unref(obj);
			backend_restore_identity();
			assert_int_equal(unlink(place_path("storage/f")), 0);
			vfs_trim(vfs_export(fx.exp));
			vfs_trim(vfs_export(fx.exp));
		}
		assert_int_equal(free_bytes(at), before);
	}
	/* Replaced by a rename. */
	f = make_file(&fx, fx.root, "old", 0600, fx.alice, NULL);
	put(f, 0, data, sizeof(data));
	file_unref(f);
	touch(&fx, fx.root, "new", 0600, fx.alice);
	assert_ok(try_rename(&fx, fx.root, "new", fx.root, "old", fx.alice));
	assert_int_equal(free_bytes(at), before);
	fixture_close(&fx);
	umount(at);
}

/* ---- storage that fails ---- */

/* An ext4 whose image is on a tmpfs too small for it: writing back fails when that is full. */
static bool mount_failing(const char *name)
{
	const char *small = place_path("%s-image", name), *at = place_path("%s", name);
	const char *image = place_path("%s-image/image", name);
	int fd;

	mount_tmpfs(small, "size=6m");
	fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 64 << 20), 0);
	close(fd);
	make_dir(at, 0755);
	if (!RUN("/sbin/mkfs.ext4", "-q", "-E", "lazy_itable_init=1", "-O", "^has_journal",
		 image) ||
	    !RUN("mount", "-o", "loop", image, at))
		return false;
	assert_int_equal(chmod(at, 0777), 0);
	return true;
}

static void unmount_failing(const char *name)
{
	umount2(place_path("%s", name), MNT_DETACH);
	umount2(place_path("%s-image", name), MNT_DETACH);
}

/* More than there is storage for, but only into memory. */
static void write_too_much(struct file *f)
{
	static char data[1 << 20];

	memset(data, 'x', sizeof(data));
	for (unsigned i = 0; i < 16; i++)
		put(f, (uint64_t)i << 20, data, sizeof(data));
}

static void failed_write_back_changes_the_verifier(void **state)
{
	uint8_t before[BACKEND_VERIFIER_LEN], after[BACKEND_VERIFIER_LEN];
	struct object *obj, *other;
	struct file *f, *g;
	struct fixture fx;
	int err;

	if (!mount_failing("failing"))
		skip();
	fx = open_export(place_path("failing"), false);
	f = make_file(&fx, fx.root, "f", 0600, fx.alice, &obj);
	g = make_file(&fx, fx.root, "g", 0600, fx.alice, &other);
	put(g, 0, "good", 4);
	assert_ok(fx.b->commit(other, 0, 0));
	fx.b->write_verifier(fx.exp, before);
	write_too_much(f);
	file_unref(f); /* the error is not lost with the file that wrote */
	quiet_begin();
	err = fx.b->commit(obj, 0, 0);
	quiet_end();
	assert_true(err == -EIO || err == -ENOSPC); /* as the loop device has it */
	fx.b->write_verifier(fx.exp, after);
	assert_memory_not_equal(before, after, BACKEND_VERIFIER_LEN);
	file_unref(g);
	object_unref(other);
	object_unref(obj);
	fixture_close(&fx);
	unmount_failing("failing");
}

/* Somebody local calling fsync first does not hide the error from the clients. */
static void errors_told_to_others_are_told_to_clients(void **state)
{
	uint8_t before[BACKEND_VERIFIER_LEN], after[BACKEND_VERIFIER_LEN];
	struct object *obj;
	struct file *f;
	struct fixture fx;
	int fd, err;

	if (!mount_failing("failing2"))
		skip();
	fx = open_export(place_path("failing2"), false);
	f = make_file(&fx, fx.root, "f", 0600, fx.alice, &obj);
	write_too_much(f);
	fx.b->write_verifier(fx.exp, before);
	backend_restore_identity();
	fd = open(place_path("failing2/f"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fsync(fd), -1);
	/* Until all that could be lost is lost, and nothing is left to fail anew. */
	for (unsigned i = 0; i < 100 && fsync(fd) < 0; i++)
		;
	assert_int_equal(fsync(fd), 0);
	close(fd);
	quiet_begin();
	err = fx.b->commit(obj, 0, 0);
	quiet_end();
	assert_true(err == -EIO || err == -ENOSPC); /* as the loop device has it */
	fx.b->write_verifier(fx.exp, after);
	assert_memory_not_equal(before, after, BACKEND_VERIFIER_LEN);
	file_unref(f);
	object_unref(obj);
	fixture_close(&fx);
	unmount_failing("failing2");
}

/* ---- power loss: what is on the image when an operation has answered ---- */

struct loss {
	const char *fs;
	char image[64], at[64];
};

/* Mounts a copy of the image as it is now, and asks it. */
static bool after_loss(const struct loss *l, bool (*holds)(const char *top))
{
	const char *copy = place_path("copy-of-%s", l->fs), *at = place_path("lost-%s", l->fs);
	bool xfs = strcmp(l->fs, "xfs") == 0, ok;

	make_dir(at, 0755);
	assert_true(RUN("cp", "--sparse=always", l->image, copy));
	assert_true(RUN("mount", "-t", l->fs, "-o", xfs ? "loop,nouuid" : "loop", copy, at));
	ok = holds(at);
	assert_int_equal(umount(at), 0);
	return ok;
}

static const char *under(const char *top, const char *name)
{
	static char path[2][128];
	static unsigned n;

	snprintf(path[++n % 2], sizeof(path[0]), "%s/%s", top, name);
	return path[n % 2];
}

static bool exists(const char *top, const char *name)
{
	return access(under(top, name), F_OK) == 0;
}

static bool has_directory(const char *top)
{
	return exists(top, "d");
}

static bool has_file(const char *top)
{
	return exists(top, "d/f");
}

static bool has_exclusive(const char *top)
{
	return getxattr(under(top, "d/x"), "trusted.atoll.verifier", NULL, 0) == 8;
}

static bool has_link(const char *top)
{
	return exists(top, "linked") && exists(top, "d/f");
}

static bool has_symlink(const char *top)
{
	char target[8];

	return readlink(under(top, "s"), target, sizeof(target)) == 4;
}

static bool has_moved(const char *top)
{
	return exists(top, "d/moved") && !exists(top, "linked");
}

static bool has_removed(const char *top)
{
	return !exists(top, "d/moved") && exists(top, "d/f");
}

static bool has_mode(const char *top)
{
	struct stat st;

	return stat(under(top, "d/f"), &st) == 0 && (st.st_mode & 07777) == 0604;
}

static bool has_data(const char *top)
{
	char data[16] = "";
	FILE *f = fopen(under(top, "d/f"), "re");
	bool ok = f && fread(data, 1, sizeof(data), f) == 8 && memcmp(data, "syncunst", 8) == 0;

	if (f)
		fclose(f);
	return ok;
}

/* ---- changes that the caller has settled ---- */

#define JOBS 100

static bool has_owed(const char *top)
{
	unsigned n = 0;

	for (unsigned i = 0; i < JOBS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "d/o%u", i);
		n += exists(top, name);
	}
	return n == JOBS && exists(top, "p/o");
}

static bool lacks_owed(const char *top)
{
	return !exists(top, "d/o0") && !exists(top, "p/o") && exists(top, "d/o1");
}

static struct mutex jobs_lock = MUTEX_INITIALIZER;
static struct cond jobs_cond;
static unsigned jobs_done;

static void job_done(struct settle_job *job)
{
	mutex_lock(&jobs_lock);
	jobs_done++;
	cond_signal(&jobs_cond);
	mutex_unlock(&jobs_lock);
}

/* Each job once; all of them answered. */
static void settle_jobs(struct fixture *fx, struct settle_job *jobs, unsigned n, bool alone)
{
	struct list some = LIST_INITIALIZER(some);

	jobs_done = 0;
	for (unsigned i = 0; i < n; i++) {
		jobs[i].done = job_done;
		jobs[i].err = -1;
		list_push_back(&some, &jobs[i].link);
		/* The first by itself. */
		if (i == 0 || i + 1 == n)
			fx->b->settle(&some, alone);
	}
	mutex_lock(&jobs_lock);
	while (jobs_done < n)
		cond_wait(&jobs_cond, &jobs_lock);
	mutex_unlock(&jobs_lock);
	for (unsigned i = 0; i < n; i++)
		assert_ok(jobs[i].err);
}

static void owe_file(struct fixture *fx, struct object *dir, const char *name)
{
	struct create_args args = { .type = FILE_REGULAR, .mode = CREATE_GUARDED };
	struct dir_change change = { .may_owe = true };
	struct object *obj;
	struct file *file;
	bool created;

	assert_ok(fx->b->open_create(dir, fx->super, name, ACCESS_WRITE, &args, &change, &created,
				     &obj, &file));
	assert_true(created && change.owes);
	file_unref(file);
	object_unref(obj);
}

static void owe_removal(struct fixture *fx, struct object *dir, const char *name)
{
	struct dir_change change = { .may_owe = true };

	assert_ok(fx->b->remove(dir, fx->super, name, &change));
	assert_true(change.owes);
}

static bool has_second(const char *top)
{
	return exists(top, "d/first") && exists(top, "p/first") && exists(top, "d/second");
}

/* What was done to one directory after a commit is not in that of the other, whose changes came before. */
static void owe_around_a_commit(struct fixture *fx, struct object *d, struct object *p,
				struct loss *l)
{
	struct settle_job jobs[3] = { { .dirs = { d }, .n = 1 },
				      { .dirs = { p }, .n = 1 },
				      { .dirs = { d }, .n = 1 } };
	struct list all = LIST_INITIALIZER(all);

	owe_file(fx, d, "first");
	owe_file(fx, p, "first");
	assert_int_equal(syncfs(vfs_object(d)->settle_fd), 0);
	owe_file(fx, d, "second");
	jobs_done = 0;
	for (unsigned i = 0; i < 3; i++) {
		jobs[i].done = job_done;
		list_push_back(&all, &jobs[i].link);
	}
	fx->b->settle(&all, true);
	mutex_lock(&jobs_lock);
	while (jobs_done < 3)
		cond_wait(&jobs_cond, &jobs_lock);
	mutex_unlock(&jobs_lock);
	assert_true(after_loss(l, has_second));
}

/* Many at a time, of two directories. */
static void owe_and_settle(struct fixture *fx, struct object *d, struct loss *l)
{
	struct object *p = make(fx, fx->root, "p", FILE_DIRECTORY, 0755, fx->super);
	struct settle_job jobs[JOBS] = { { .dirs = { d, p }, .n = 2 } };

	cond_init(&jobs_cond);
	owe_file(fx, p, "o");
	for (unsigned i = 0; i < JOBS; i++) {
		char name[16];

		snprintf(name, sizeof(name), "o%u", i);
		owe_file(fx, d, name);
		if (i > 0)
			jobs[i] = (struct settle_job){ .dirs = { d }, .n = 1 };
	}
	settle_jobs(fx, jobs, JOBS, false);
	assert_true(after_loss(l, has_owed));
	owe_removal(fx, d, "o0");
	owe_removal(fx, p, "o");
	settle_jobs(fx, jobs, 1, false);
	assert_true(after_loss(l, lacks_owed));
	/* One after the other, in this thread if that is quick. */
	for (unsigned i = 0; i < 8; i++) {
		owe_file(fx, d, "o0");
		owe_file(fx, p, "o");
		settle_jobs(fx, jobs, 1, true);
		if (i == 7)
			break;
		owe_removal(fx, d, "o0");
		owe_removal(fx, p, "o");
		settle_jobs(fx, jobs, 1, true);
	}
	assert_true(after_loss(l, has_owed));
	owe_removal(fx, d, "o0");
	owe_removal(fx, p, "o");
	settle_jobs(fx, jobs, 1, true);
	assert_true(after_loss(l, lacks_owed));
	owe_around_a_commit(fx, d, p, l);
	cond_destroy(&jobs_cond);
	object_unref(p);
}

static void lose_power(const char *fs, unsigned megabytes)
{
	struct create_args exclusive = { .type = FILE_REGULAR, .mode = CREATE_EXCLUSIVE };
	struct loss l = { .fs = fs };
	struct object *d, *f, *obj;
	struct dir_change change = { 0 };
	struct file *file, *x;
	struct fixture fx;
	bool created;
	size_t n;

	snprintf(l.at, sizeof(l.at), "%s", place_path("power-%s", fs));
	if (!mount_image(fs, megabytes, l.at))
		return;
	snprintf(l.image, sizeof(l.image), "%s", last_image());
	fx = open_export(l.at, false);
	d = make(&fx, fx.root, "d", FILE_DIRECTORY, 0755, fx.super);
	assert_true(after_loss(&l, has_directory));
	file = make_file(&fx, d, "f", 0600, fx.super, &f);
	assert_true(after_loss(&l, has_file));
	assert_ok(fx.b->open_create(d, fx.super, "x", ACCESS_WRITE, &exclusive, &change, &created,
				    &obj, &x));
	file_unref(x);
	assert_true(after_loss(&l, has_exclusive));
	object_unref(obj);
	assert_ok(try_link(&fx, f, fx.root, "linked", fx.super));
	assert_true(after_loss(&l, has_link));
	object_unref(make_symlink(&fx, fx.root, "s", "else", fx.super));
	assert_true(after_loss(&l, has_symlink));
	assert_ok(try_rename(&fx, fx.root, "linked", d, "moved", fx.super));
	assert_true(after_loss(&l, has_moved));
	assert_ok(try_remove(&fx, d, "moved", fx.super));
	assert_true(after_loss(&l, has_removed));
	chmod_as(&fx, f, 0604, fx.super);
	assert_true(after_loss(&l, has_mode));
	assert_ok(try_put(file, 0, "sync", 4, FILE_SYNC, &n));
	put(file, 4, "unst", 4);
	assert_ok(fx.b->commit(f, 0, 0));
	assert_true(after_loss(&l, has_data));
	owe_and_settle(&fx, d, &l);
	file_unref(file);
	object_unref(f);
	object_unref(d);
	fixture_close(&fx);
	umount(l.at);
}

static void answered_changes_survive_power_loss(void **state)
{
	lose_power("ext4", 16);
	lose_power("xfs", 320);
}

/* Whether one fsync is enough for all directories is known of ext4 with a journal, and of nothing else. */
static void only_a_journal_commits_all(void **state)
{
	static const struct {
		const char *fs, *options;
		unsigned megabytes;
		bool all;
	} kinds[] = {
		{ "ext4", "-q", 16, true },
		{ "ext4", "-O^has_journal", 8, false },
		{ "xfs", "-q", 320, false },
	};
	const char *at = place_path("journal");
	struct fixture fx;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!mount_image_with(kinds[i].fs, kinds[i].options, kinds[i].megabytes, at))
			continue;
		fx = open_export(at, false);
		assert_int_equal(vfs_object(fx.root)->mount->one_commit, kinds[i].all);
		fixture_close(&fx);
		umount(at);
	}
	assert_false(vfs_commits_all(EXT4_SUPER_MAGIC, 0));
}

/* ---- handles of directory entries that are remembered ---- */

#define EXT4_HANDLE 1 /* its kind: number and generation of the inode, 32 bits each */

static struct statx an_inode(uint64_t ino, int64_t sec, uint32_t nsec)
{
	return (struct statx){ .stx_mask = STATX_INO | STATX_BTIME,
			       .stx_ino = ino,
			       .stx_btime = { .tv_sec = sec, .tv_nsec = nsec } };
}

static bool is_kept(struct vfs_mount *m, const struct statx *sx, const uint32_t *handle)
{
	uint8_t kind = 0, len = 0, bytes[VFS_KERNEL_HANDLE];

	return vfs_handles_find(m, sx, &kind, bytes, &len) && kind == EXT4_HANDLE && len == 8 &&
	       memcmp(bytes, handle, 8) == 0;
}

static void keep(struct vfs_mount *m, const struct statx *sx, const uint32_t *handle)
{
	vfs_handles_keep(m, sx, EXT4_HANDLE, (const uint8_t *)handle, 8);
}

/* A handle is given to the inode only that it was told for: the number and when it was made. */
static void remembered_handles(void **state)
{
	struct vfs_mount m = { .fs_type = EXT4_SUPER_MAGIC };
	uint32_t handle[2] = { 12, 7777 }, other[2] = { 13, 1 };
	int64_t now = time(NULL);
	struct statx sx = an_inode(12, now - 100, 5), later = an_inode(12, now - 100, 6),
		     young = an_inode(12, now, 0), wrong = an_inode(14, now - 100, 5),
		     same_slot = an_inode(12 + (1 << 16), now - 100, 5), unborn = sx;

	assert_false(is_kept(&m, &sx, handle));
	keep(&m, &sx, handle);
	assert_true(is_kept(&m, &sx, handle));
	assert_false(is_kept(&m, &later, handle));
	assert_false(is_kept(&m, &same_slot, handle));
	/* Another inode could be made at this moment. */
	keep(&m, &young, handle);
	assert_false(is_kept(&m, &young, handle));
	/* The name has come to mean another inode between the two questions. */
	keep(&m, &wrong, other);
	assert_false(is_kept(&m, &wrong, other));
	/* No birth time. */
	unborn.stx_mask = STATX_INO;
	assert_false(is_kept(&m, &unborn, handle));
	/* A kind of handle, or a file system, of which nothing is known. */
	assert_true(is_kept(&m, &sx, handle));
	vfs_handles_forget(&m, EXT4_HANDLE, (const uint8_t *)handle, 8);
	assert_false(is_kept(&m, &sx, handle));
	vfs_handles_keep(&m, &sx, 0x77, (const uint8_t *)handle, 8);
	assert_false(is_kept(&m, &sx, handle));
	m.fs_type = TMPFS_MAGIC;
	keep(&m, &sx, handle);
	assert_false(is_kept(&m, &sx, handle));
	vfs_handles_free(&m);
}

/* What a vanished client left uncommitted keeps its object until it is on storage. */
static void unstable_objects_are_kept_until_committed(void **state)
{
	const char *at = place_path("unstable");
	struct vfs_object *v;
	struct object *obj;
	struct file *f;
	struct fixture fx;

	make_dir(at, 0777);
	fx = open_export(at, false);
	f = make_file(&fx, fx.root, "f", 0600, fx.alice, &obj);
	v = vfs_object(obj);
	assert_int_equal(v->sync_fd, -1);
	put(f, 0, "x", 1);
	assert_true(v->sync_fd >= 0);
	put(f, 1, "y", 1);
	assert_ok(fx.b->commit(obj, 0, 0));
	assert_int_equal(v->sync_fd, -1);
	put(f, 2, "z", 1);
	file_unref(f);
	vfs_trim(vfs_export(fx.exp)); /* in use: left alone */
	assert_true(v->sync_fd >= 0);
	object_unref(obj);
	vfs_trim(vfs_export(fx.exp));
	obj = look(&fx, fx.root, "f");
	assert_ptr_equal(obj, &v->base); /* still there, as it had been asked for */
	assert_int_equal(v->sync_fd, -1);
	object_unref(obj);
	fixture_close(&fx);
}

/* ---- the change attribute's arithmetic, for kernels that this one is not ---- */

/* One of several nodes: looks end with its number, and other clocks may be behind. */
static void change_of_nodes(void **state)
{
	const struct timespec stamp = { 1700000000, 500000000 };
	const uint64_t t = 1700000000500000000u, ms = NS_PER_MS;
	struct vfs_instant now = { .coarse = t + 4 * ms, .fine = t + 5 * ms };
	uint64_t a, b;

	backend_set_node(3);
	a = vfs_change(1, &stamp, now);
	b = vfs_change(1, &stamp, now);
	backend_set_node(4);
	assert_true(a != b && a % 128 == 2 * 3 + 1 && b % 128 == 2 * 3 + 1);
	assert_int_equal(vfs_change(1, &stamp, now) % 128, 2 * 4 + 1);
	now.coarse = t + 21 * ms;
	assert_int_equal(vfs_change(1, &stamp, now), 2 * t);
	backend_set_node(0);
}

static void change_of_times(void **state)
{
	const struct timespec stamp = { 1700000000, 500000000 };
	const uint64_t t = 1700000000500000000u, ms = NS_PER_MS;
	struct vfs_instant now = { .coarse = t, .fine = t + ms };
	uint64_t a, b;

	/* Multigrain: the stamp itself. */
	assert_int_equal(vfs_change(0, &stamp, now), t);
	/* The stamp's tick is not over: each look is on its own, even at one instant. */
	a = vfs_change(1, &stamp, now);
	b = vfs_change(1, &stamp, now);
	assert_true(a != b && a % 2 == 1 && b % 2 == 1);
	/* It is over. */
	now.coarse = t + 4 * ms;
	assert_int_equal(vfs_change(1, &stamp, now), 2 * t);
	assert_int_equal(vfs_change(1, &stamp, now), 2 * t);
	/* Whole seconds: over when the second is. */
	now.coarse = t + 300 * ms;
	assert_int_equal(vfs_change(NS_PER_SEC, &(struct timespec){ 1700000000, 0 }, now) % 2, 1);
	now.coarse = t + 500 * ms;
	assert_int_equal(vfs_change(NS_PER_SEC, &(struct timespec){ 1700000000, 0 }, now),
			 2 * 1700000000000000000u);
	/* From a clock that was set back since. */
	now = (struct vfs_instant){ .coarse = t - 5 * NS_PER_SEC, .fine = t - 5 * NS_PER_SEC };
	assert_int_equal(vfs_change(1, &stamp, now), 2 * t);
}

/* ---- without CAP_SYS_ADMIN: no private clones, no trusted.* attributes ---- */

static void drop_sys_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	syscall(SYS_capget, &header, data);
	data[0].effective &= ~(1u << CAP_SYS_ADMIN);
	data[0].permitted &= ~(1u << CAP_SYS_ADMIN);
	syscall(SYS_capset, &header, data);
}

struct poor_thread {
	struct fixture *fx;
	const char *path;
	int err;
};

/* Capabilities are a thread's own. */
static void *open_poorly(void *arg)
{
	struct poor_thread *p = arg;

	drop_sys_admin();
	p->fx->b = backend_find("vfs");
	p->fx->params.path = p->path;
	p->err = p->fx->b->export_open(&p->fx->params, &p->fx->exp);
	return NULL;
}

static struct fixture open_without_sys_admin(const char *path)
{
	struct fixture fx = { .super = cred_root() };
	struct poor_thread p = { .fx = &fx, .path = path };
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, open_poorly, &p), 0);
	pthread_join(thread, NULL);
	assert_ok(p.err);
	assert_ok(fx.b->root(fx.exp, &fx.root));
	return fx;
}

static void without_clones_mounts_are_hidden(void **state)
{
	struct layout l = lay_out("noclone");
	struct fixture fx = open_without_sys_admin(l.top);
	struct object *later, *up;

	assert_false(vfs_export(fx.exp)->clone);
	assert_err(try_lookup(&fx, fx.root, "m1", fx.super), -EACCES);
	assert_int_equal(entry_of(&fx, fx.root, "m1").error, -EACCES);
	assert_int_equal(entry_of(&fx, fx.root, "plain").error, 0);
	later = look_path(&fx, "later");
	assert_parent(&fx, later, fx.root);
	backend_restore_identity();
	assert_int_equal(rename(place_path("noclone/later"), place_path("noclone-later")), 0);
	assert_err(fx.b->lookup_parent(later, fx.super, &up), -ENOENT);
	object_unref(later);
	fixture_close(&fx);
	take_down(&l);
}

struct exclusive {
	struct fixture *fx;
	bool created[3];
	int err[3];
};

/* Makes a file, asks again, and asks with another verifier. */
static void *create_exclusively(void *arg)
{
	struct create_args args = { .type = FILE_REGULAR,
				    .attrs = { .mask = ATTR_SET_MODE, .mode = 0600 },
				    .mode = CREATE_EXCLUSIVE,
				    .verifier = "VERIFIE" };
	struct exclusive *e = arg;
	struct dir_change change = { 0 };
	struct object *obj;
	struct file *file;

	drop_sys_admin();
	for (unsigned i = 0; i < 3; i++) {
		args.verifier[7] = i == 2;
		e->err[i] = e->fx->b->open_create(e->fx->root, e->fx->super, "f", ACCESS_WRITE,
						  &args, &change, &e->created[i], &obj, &file);
		if (e->err[i] == 0) {
			file_unref(file);
			object_unref(obj);
		}
	}
	return NULL;
}

/* A verifier in user.* is nothing that clients see, change or take away: it would be told as theirs. */
static void assert_verifier_is_hidden(struct fixture *fx, const char *path)
{
	static char names[XATTR_NAMES_MOST];
	static const char name[] = "atoll.verifier";
	struct dir_change change;
	struct object *obj;
	char value[16];
	size_t len;

	if (getxattr(path, "user.atoll.verifier", NULL, 0) < 0) {
		assert_int_equal(errno,
				 EOPNOTSUPP); /* this file system has none: it is in memory */
		return;
	}
	assert_ok(fx->b->lookup(fx->root, fx->super, "f", &obj));
	assert_ok(fx->b->setxattr(obj, fx->super, "own", "x", 1, XATTR_SET_NEW, &change));
	assert_ok(fx->b->listxattr(obj, fx->super, names, &len));
	assert_int_equal(len, sizeof("own"));
	assert_string_equal(names, "own");
	assert_err(fx->b->getxattr(obj, fx->super, name, value, sizeof(value), &len), -EPERM);
	assert_err(fx->b->setxattr(obj, fx->super, name, "x", 1, XATTR_SET_EITHER, &change),
		   -EPERM);
	assert_err(fx->b->removexattr(obj, fx->super, name, &change), -EPERM);
	backend_restore_identity();
	assert_int_equal(getxattr(path, "user.atoll.verifier", NULL, 0), 8);
	object_unref(obj);
}

static void verifiers_without_trusted_attributes(void **state)
{
	const char *at = place_path("user-xattr");
	struct fixture fx;
	struct exclusive e = { .fx = &fx };
	pthread_t thread;

	make_dir(at, 0755);
	fx = open_export(at, false);
	assert_int_equal(pthread_create(&thread, NULL, create_exclusively, &e), 0);
	pthread_join(thread, NULL);
	assert_ok(e.err[0]);
	assert_ok(e.err[1]);
	assert_err(e.err[2], -EEXIST);
	assert_true(e.created[0] && e.created[1]);
	backend_restore_identity();
	assert_int_equal(getxattr(place_path("user-xattr/f"), "trusted.atoll.verifier", NULL, 0),
			 -1);
	assert_verifier_is_hidden(&fx, place_path("user-xattr/f"));
	fixture_close(&fx);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(change_of_times),
		cmocka_unit_test(change_of_nodes),
		cmocka_unit_test(crossmnt_follows_mounts),
		cmocka_unit_test(crossmnt_handles_survive_restart),
		cmocka_unit_test(crossmnt_mounts_come_and_go),
		cmocka_unit_test(without_crossmnt_what_is_beneath_shows),
		cmocka_unit_test(no_way_above_the_root),
		cmocka_unit_test(read_only_mounts),
		cmocka_unit_test(exports_refused),
		cmocka_unit_test(identity_is_not_the_device),
		cmocka_unit_test(administrators_fsid_counts),
		cmocka_unit_test(copies_are_told_apart),
		cmocka_unit_test(btrfs_subvolumes),
		cmocka_unit_test(identity_of_threads),
		cmocka_unit_test(umask_of_the_process),
		cmocka_unit_test(quotas_hold),
		cmocka_unit_test(default_acl_replaces_umask),
		cmocka_unit_test_setup_teardown(few_descriptors, few_begin, few_end),
		cmocka_unit_test(listings_are_closed),
		cmocka_unit_test_setup_teardown(descriptors_used_up, few_begin, few_end),
		cmocka_unit_test(unused_objects_stay_for_a_time),
		cmocka_unit_test(removed_files_give_up_their_storage),
		cmocka_unit_test(unstable_objects_are_kept_until_committed),
		cmocka_unit_test(failed_write_back_changes_the_verifier),
		cmocka_unit_test(errors_told_to_others_are_told_to_clients),
		cmocka_unit_test(answered_changes_survive_power_loss),
		cmocka_unit_test(only_a_journal_commits_all),
		cmocka_unit_test(remembered_handles),
		cmocka_unit_test(without_clones_mounts_are_hidden),
		cmocka_unit_test(verifiers_without_trusted_attributes),
	};
	int failed;

	if (!place_begin())
		return 77; /* meson: skipped */
	failed = cmocka_run_group_tests_name("vfs", tests, NULL, NULL);
	place_end();
	return failed;
}

/*
 * What the backend tests share: the storages that they run on, and backend calls in the form that
 * tests like them, failing the test when the call fails.
 *
 * The program takes a mount namespace of its own, with a tmpfs as its working place, so that all it
 * mounted and made is gone when it ends.
 */
#pragma once

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/backend.h"

struct fixture {
	const struct backend *b;
	struct backend_export *exp;
	struct export_params params;
	bool persistent; /* contents survive closing the export */
	bool small;	 /* can be filled */
	bool shifting;	 /* directory positions move when names go: tmpfs before Linux 6.6 */
	struct object *root;
	struct object *dir; /* a fresh directory of mode 0777 for each test */
	const struct cred *super;
	const struct cred *alice; /* 1001:1001, groups 2001 and 2002 */
	const struct cred *bob;	  /* 1002:1002, group 2002 */
};

#define ALICE	1001
#define BOB	1002
#define SHARED1 2001
#define SHARED2 2002

#define assert_ok(call) assert_err(call, 0)
#define assert_err(call, expected)                                                        \
	do {                                                                              \
		int err_ = (call);                                                        \
		if (err_ != (expected))                                                   \
			fail_msg("%s:%d: %s: %s, expected %s", __FILE__, __LINE__, #call, \
				 strerror(-err_), strerror(-(expected)));                 \
	} while (0)

/* ---- the place where tests work ---- */

/*
 * Takes a private mount namespace with a tmpfs at /tmp/atoll-test.PID; false, with a message,
 * without the privileges for it.
 */
bool place_begin(void);
void place_end(void);
/* A path within the place; valid until the 16th next call. */
const char *place_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Runs a program quietly; true if it exits with 0. */
bool run(const char *const argv[]);
#define RUN(...) run((const char *const[]){ __VA_ARGS__, NULL })
/*
 * Makes an image of `megabytes`, a file system of type `fs` (mkfs.FS has to exist) on it, and
 * mounts it at `at`. False if that is not to be had here.
 */
bool mount_image(const char *fs, unsigned megabytes, const char *at);
/* The same with an option for mkfs. */
bool mount_image_with(const char *fs, const char *option, unsigned megabytes, const char *at);
/* The image made last. */
const char *last_image(void);
void make_dir(const char *path, mode_t mode);

/* ---- fixtures ---- */

void fixture_open(struct fixture *fx, const char *backend, const char *path);
/* Closes the export and opens it again, as a restart does. fx->dir is found again by its handle. */
void fixture_restart(struct fixture *fx);
void fixture_close(struct fixture *fx);
/* For each test. */
void fixture_fresh_dir(struct fixture *fx);
void fixture_drop_dir(struct fixture *fx);

/* ---- calls ---- */

struct attr get_attr(struct object *obj);
struct object *look(struct fixture *fx, struct object *dir, const char *name);
int try_lookup(struct fixture *fx, struct object *dir, const char *name, const struct cred *cred);
struct object *make(struct fixture *fx, struct object *dir, const char *name, enum file_type type,
		    uint32_t mode, const struct cred *cred);
int try_make(struct fixture *fx, struct object *dir, const char *name, enum file_type type,
	     uint32_t mode, const struct cred *cred);
struct object *make_symlink(struct fixture *fx, struct object *dir, const char *name,
			    const char *target, const struct cred *cred);
/* A new regular file, open for reading and writing. `obj` may be NULL. */
struct file *make_file(struct fixture *fx, struct object *dir, const char *name, uint32_t mode,
		       const struct cred *cred, struct object **obj);
/* The same without keeping anything. */
void touch(struct fixture *fx, struct object *dir, const char *name, uint32_t mode,
	   const struct cred *cred);
struct file *open_file(struct fixture *fx, struct object *obj, unsigned access,
		       const struct cred *cred);
int try_open(struct fixture *fx, struct object *obj, unsigned access, const struct cred *cred);
int try_remove(struct fixture *fx, struct object *dir, const char *name, const struct cred *cred);
int try_rename(struct fixture *fx, struct object *from, const char *from_name, struct object *to,
	       const char *to_name, const struct cred *cred);
int try_link(struct fixture *fx, struct object *obj, struct object *dir, const char *name,
	     const struct cred *cred);
int try_set(struct fixture *fx, struct object *obj, const struct cred *cred, struct attr_set set);
void chmod_as(struct fixture *fx, struct object *obj, uint32_t mode, const struct cred *cred);
unsigned granted(struct fixture *fx, struct object *obj, const struct cred *cred, unsigned wanted);
/* Whole or failed. */
void put(struct file *file, uint64_t offset, const void *data, size_t len);
int try_put(struct file *file, uint64_t offset, const void *data, size_t len, enum stability how,
	    size_t *written);
/* Up to `cap` bytes at `offset`; how many. */
size_t get(struct file *file, uint64_t offset, void *buf, size_t cap, bool *eof);
/* The names in the directory, sorted and joined by blanks, in a static buffer. */
const char *list(struct fixture *fx, struct object *dir);

/* Several threads at once, as several users. Run under TSan as well. */
#include "backend_cases.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS	150

struct worker {
	pthread_t thread;
	struct fixture *fx;
	const struct cred *cred;
	unsigned number;
	struct object *common; /* all write to it */
	int err;
	const char *failed; /* cmocka's assertions are for the main thread only */
};

#define EXPECT(w, condition)                      \
	do {                                      \
		if (!(condition)) {               \
			(w)->failed = #condition; \
			return;                   \
		}                                 \
	} while (0)

static struct create_args plain_file(void)
{
	return (struct create_args){
		.type = FILE_REGULAR,
		.attrs = { .mask = ATTR_SET_MODE, .mode = 0600 },
		.mode = CREATE_GUARDED,
	};
}

/* A file of the thread's own, from its making to its end; the names are in a directory of all. */
static void one_life(struct worker *w, unsigned round)
{
	const struct backend *b = w->fx->b;
	struct create_args args = plain_file();
	struct backend_handle h;
	struct dir_change c = { 0 }, d = { 0 };
	struct object *obj, *again;
	struct file *f;
	char name[32], renamed[32], buf[32];
	size_t n = 0;
	struct attr a;
	bool created;
	int err;

	snprintf(name, sizeof(name), "f-%u-%u", w->number, round);
	snprintf(renamed, sizeof(renamed), "g-%u", w->number);
	EXPECT(w, b->open_create(w->fx->dir, w->cred, name, ACCESS_READ | ACCESS_WRITE, &args, &c,
				 &created, &obj, &f) == 0);
	EXPECT(w, try_put(f, 0, name, sizeof(name), UNSTABLE, &n) == 0 && n == sizeof(name));
	EXPECT(w, b->getattr(obj, &a) == 0 && a.uid == w->cred->uid && a.size == sizeof(name));
	EXPECT(w, b->to_handle(obj, &h) == 0);
	EXPECT(w, b->rename(w->fx->dir, name, w->fx->dir, renamed, w->cred, &c, &d) == 0);
	EXPECT(w, b->lookup(w->fx->dir, w->cred, renamed, &again) == 0 && again == obj);
	object_unref(again);
	EXPECT(w, b->from_handle(w->fx->exp, h.bytes, h.len, &again) == 0 && again == obj);
	object_unref(again);
	struct payload_out out = { .buf = buf, .cap = sizeof(buf) };
	EXPECT(w, b->read(f, 0, &out) == 0 && out.filled == sizeof(name));
	EXPECT(w, memcmp(buf, name, sizeof(name)) == 0);
	EXPECT(w, b->commit(obj, 0, 0) == 0);
	EXPECT(w, b->remove(w->fx->dir, w->cred, renamed, &c) == 0);
	file_unref(f);
	object_unref(obj);
	err = b->from_handle(w->fx->exp, h.bytes, h.len, &again);
	if (err == 0) {
		/* Another thread, listing the directory, has the kernel hold it for a moment. */
		EXPECT(w, b->getattr(again, &a) == 0 && a.nlink == 0);
		object_unref(again);
		return;
	}
	w->err = err;
	EXPECT(w, err == -ESTALE);
}

static bool count_entry(void *arg, const struct dir_entry *entry)
{
	++*(unsigned *)arg;
	return true;
}

/* Everybody uses the same file and directory. */
static void together(struct worker *w, unsigned round)
{
	const struct backend *b = w->fx->b;
	unsigned entries = 0;
	struct readdir_args args = {
		.want_attr = true, .want_handle = true, .emit = count_entry, .arg = &entries
	};
	struct object *obj;
	struct attr a;
	struct file *f;
	size_t n;

	EXPECT(w, b->lookup(w->fx->dir, w->cred, "common", &obj) == 0 && obj == w->common);
	EXPECT(w, b->open(obj, w->cred, ACCESS_WRITE, &f) == 0);
	EXPECT(w, try_put(f, w->number * 4096 + round, "x", 1, UNSTABLE, &n) == 0);
	EXPECT(w, b->commit(obj, 0, 0) == 0);
	EXPECT(w, b->getattr(obj, &a) == 0);
	file_unref(f);
	object_unref(obj);
	EXPECT(w, b->readdir(w->fx->dir, w->cred, &args) == 0 && args.eof && entries >= 1);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 0; i < ROUNDS && !w->failed; i++) {
		one_life(w, i);
		if (!w->failed)
			together(w, i);
	}
	return NULL;
}

static void many_threads(void **state)
{
	struct fixture *fx = fixture_of(state);
	const struct cred *creds[] = { fx->alice, fx->bob, fx->super };
	struct worker w[THREADS] = { 0 };
	struct object *common;

	file_unref(make_file(fx, fx->dir, "common", 0666, fx->alice, &common));
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].fx = fx;
		w[i].number = i;
		w[i].cred = creds[i % 3];
		w[i].common = common;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(w[i].thread, NULL);
	for (unsigned i = 0; i < THREADS; i++) {
		if (w[i].failed)
			fail_msg("thread %u: %s: %s", i, w[i].failed, strerror(-w[i].err));
	}
	assert_string_equal(list(fx, fx->dir), "common");
	assert_int_equal(get_attr(common).size, (THREADS - 1) * 4096 + ROUNDS);
	object_unref(common);
}

#define CASE(f)                         \
	{                               \
#f, f, NULL, NULL, NULL \
	}

const struct CMUnitTest cases_sharing[] = {
	CASE(many_threads),
	{ NULL, NULL, NULL, NULL, NULL },
};

/*
 * Scaling of cost. See scale.h.
 *
 * A stage fills the server with something, in steps, and after each step the probes (ordinary
 * workloads at one connection and 16 requests sent together) tell what an operation costs the
 * server now: the median of many short runs, and the least, which other work on the machine moves
 * less. What has been filled in stays to the end, but for the clients, who leave; so the first line of
 * a stage is what its others are to be compared with. Memory is the server's anonymous memory before and after, divided by what has come.
 */
#include "tests/bench/scale.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/load.h"
#include "tests/bench/tree.h"

#define DEPTH	     16u
#define FIRST	     10u	/* of objects, opens, locks */
#define DESCRIPTORS  (1u << 22) /* or what there may be */
#define IDLE_SECONDS 30u
#define ROUNDS_MAX   99u
#define FILL_OWNER   0x10000u /* owners from here on are not the workloads' */

static const struct server *server;
static const struct scale_how *how;
static struct tree tree;
static struct cred root_cred;
static FILE *table;
static char error[200];

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void say(const char *format, ...)
{
	va_list args, again;

	va_start(args, format);
	va_copy(again, args);
	vprintf(format, args);
	fflush(stdout);
	vfprintf(table, format, again);
	va_end(again);
	va_end(args);
}

static int failed(const char *what)
{
	if (error[0])
		fprintf(stderr, "bench: %s: %s\n", what, error);
	else
		fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	return -1;
}

/* ---- the server's memory ---- */

static double memory(void)
{
	char path[64], line[128];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", server->pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return (double)kib * 1024;
}

/* ---- connections ---- */

static int open_conn(struct conn *c, unsigned index, unsigned depth)
{
	*c = (struct conn){ .fd = -1, .index = index, .tree = &tree, .any_port = true };
	if (conn_open(c, &server->addr, &root_cred, depth, false) == 0)
		return 0;
	snprintf(error, sizeof(error), "%s", c->error);
	return -1;
}

/* How many descriptors the server has. */
static unsigned descriptors(void)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", server->pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 2 ? n - 2 : 0;
}

/* ---- probes ---- */

static const char *const probes[] = { "null", "getattr", "lookup", "openclose", "lock+unlock" };

#define PROBES (sizeof(probes) / sizeof(probes[0]))

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(values[0]), compare);
	return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

struct cost {
	double cpu, least; /* of the server's time, us a unit */
	double rate;	   /* units a second */
};

static int probe(const struct workload *w, struct cost *cost)
{
	const struct load_how load = { .seconds = how->seconds, .threads = 1, .batched = true };
	static struct load_result r;
	double cpus[ROUNDS_MAX], rates[ROUNDS_MAX];
	struct conn c;
	int ret = -1;

	if (tree_prepare(&tree, w->parts, 1, error) || open_conn(&c, 0, DEPTH))
		return failed(w->name);
	c.workload = w;
	if (w->open(&c))
		goto out;
	for (unsigned i = 0; i < how->rounds; i++) {
		double before = lab_cpu(server);

		if (load_run(&c, 1, &load, &r, error))
			goto out;
		cpus[i] = (lab_cpu(server) - before) / (double)r.total.units / 1e3;
		rates[i] = (double)r.total.units / r.seconds;
	}
	cost->cpu = median(cpus, how->rounds);
	cost->least = cpus[0]; /* they are in order now */
	cost->rate = median(rates, how->rounds);
	ret = w->close(&c);
out:
	if (ret && !error[0])
		snprintf(error, sizeof(error), "%s", c.error);
	free(c.priv);
	conn_close(&c);
	return ret ? failed(w->name) : 0;
}

static int all_probes(unsigned n, const char *what)
{
	say("%10u %-8s", n, what);
	for (unsigned i = 0; i < PROBES; i++) {
		struct cost cost;

		for (unsigned k = 0; workloads[k]; k++) {
			if (strcmp(workloads[k]->name, probes[i]) == 0 &&
			    probe(workloads[k], &cost))
				return -1;
		}
		say("  %8.0f %6.2f %6.2f", cost.rate, cost.cpu, cost.least);
	}
	say("\n");
	return 0;
}

static void head(void)
{
	say("\n%19s", "");
	for (unsigned i = 0; i < PROBES; i++)
		say("  %22s", probes[i]);
	say("\n%19s", "the server holds");
	for (unsigned i = 0; i < PROBES; i++)
		say("  %8s %6s %6s", "rate/s", "us", "least");
	say("\n");
}

/* ---- clients ---- */

/*
 * Opens clients number n to `upto`; how many there are now. Their large buffers are not going to be used before
 * they leave.
 */
static unsigned open_clients(struct conn *conns, unsigned n, unsigned upto)
{
	for (; n < upto; n++) {
		if (open_conn(&conns[n], n, 1)) {
			conn_close(&conns[n]);
			break;
		}
		free(conns[n].rx);
		conns[n].rx = NULL;
	}
	return n;
}

static void close_clients(struct conn *conns, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		conns[i].rx = malloc(RECORD_MAX + 65536);
		if (!conns[i].rx)
			conns[i].clientid = 0; /* left to its lease */
		conn_close(&conns[i]);
	}
	free(conns);
}

static int stage_clients(void)
{
	struct conn *conns = calloc(how->clients, sizeof(*conns));
	double before = memory();
	unsigned n = 0;
	int ret = conns ? 0 : -1;

	for (unsigned next = 1; ret == 0 && n + 1 < how->clients; next *= 10) {
		if (next > how->clients)
			next = how->clients;
		/* The probe's is one of them. */
		n = open_clients(conns, n, next - 1);
		ret = n + 1 < next ? -1 : all_probes(next, "clients");
	}
	if (ret == 0 && n > 0)
		say("memory: %.0f bytes a client, with its connection and session of one slot\n",
		    (memory() - before) / n);
	close_clients(conns, n);
	return ret ? failed("clients") : 0;
}

/* What a server that nobody asks for anything takes. */
static int stage_idle(void)
{
	const unsigned numbers[] = { 1, 1000, how->clients };
	struct conn *conns = calloc(how->clients, sizeof(*conns));
	unsigned n = 0;
	int ret = conns ? 0 : -1;

	for (unsigned i = 0; ret == 0 && i < 3 && n < how->clients; i++) {
		unsigned next = numbers[i] < how->clients ? numbers[i] : how->clients;
		double before;

		n = open_clients(conns, n, next);
		if (n < next) {
			ret = -1;
			break;
		}
		/* First what their coming has left behind has to end. */
		nanosleep(&(struct timespec){ .tv_sec = IDLE_SECONDS / 10 }, NULL);
		before = lab_cpu(server);
		nanosleep(&(struct timespec){ .tv_sec = IDLE_SECONDS }, NULL);
		say("idle for %u s with %u client%s: %.4f %% of a processor\n", IDLE_SECONDS, n,
		    n == 1 ? "" : "s", (lab_cpu(server) - before) / IDLE_SECONDS / 1e7);
	}
	close_clients(conns, n);
	return ret ? failed("idle clients") : 0;
}

/* ---- what is filled in through the protocol ---- */

static struct fill {
	unsigned next, end;
	struct fh dir; /* objects */
} fill;

/* The compound's results, behind SEQUENCE. */
#define TAKE(c, s, d)                                                            \
	do {                                                                     \
		enum reply taken_ = compound_reply(c, s, d);                     \
		if (taken_ != REPLY_OK)                                          \
			return taken_ == REPLY_DELAY ? STEP_AGAIN : STEP_FAILED; \
	} while (0)

static enum step next_step(struct slot *s, uint64_t *units)
{
	s->step = 0;
	*units += 1;
	return STEP_DONE;
}

static void object_name(char name[32], unsigned i)
{
	snprintf(name, 32, "o%07u", i);
}

/*
 * Objects are looked up, several in a request. They stay, since the server is started with a long cache-time
 * (scale.h).
 */
#define OBJECTS_AT_ONCE 7u /* PUTFH and LOOKUP each, and SEQUENCE: the session may have 16 */

static bool object_encode(struct conn *c, struct slot *s, struct enc *e)
{
	char name[32];

	s->item = fill.end - fill.next;
	if (s->item == 0)
		return false;
	if (s->item > OBJECTS_AT_ONCE)
		s->item = OBJECTS_AT_ONCE;
	compound_begin(c, s, e, c->cred, false);
	for (unsigned i = 0; i < s->item; i++) {
		object_name(name, fill.next++);
		op_putfh(e, &fill.dir);
		op_lookup(e, name);
	}
	return true;
}

static enum step object_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE(c, s, d);
	for (unsigned i = 0; i < s->item; i++) {
		if (expect(c, d, OP_PUTFH) || expect(c, d, OP_LOOKUP))
			return STEP_FAILED;
	}
	*units += s->item;
	return STEP_DONE;
}

/* Every open is a state of its own: another owner for each pass over the files without locks. */
static bool open_encode(struct conn *c, struct slot *s, struct enc *e)
{
	char name[32];

	if (fill.next == fill.end)
		return false;
	file_name(name, fill.next % (FILES / 2));
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &tree.files_dir);
	op_open(e, c, FILL_OWNER + fill.next / (FILES / 2), name, OPEN_READ, false, 0);
	fill.next++;
	return true;
}

static enum step open_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE(c, s, d);
	if (expect(c, d, OP_PUTFH) || result_open(c, d, &s->state))
		return STEP_FAILED;
	return next_step(s, units);
}

/*
 * Each slot opens a file and locks ranges that do not touch, one in a request; `gen` counts those of
 * the file. The probes open other files: the kernel keeps a file's locks in a list that whoever
 * closes the file walks through.
 */
#define LOCKS_OF_FILE 2000u

enum { LOCK_OPEN, LOCK_FIRST, LOCK_MORE };

static bool lock_encode(struct conn *c, struct slot *s, struct enc *e)
{
	char name[32];

	if (s->step == LOCK_OPEN) {
		if (fill.next >= fill.end)
			return false;
		s->item = FILES / 2 + fill.next / LOCKS_OF_FILE;
		s->gen =
		    fill.end - fill.next < LOCKS_OF_FILE ? fill.end - fill.next : LOCKS_OF_FILE;
		fill.next += LOCKS_OF_FILE;
		file_name(name, s->item);
	}
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, s->step == LOCK_OPEN ? &tree.files_dir : &s->fh);
	if (s->step == LOCK_OPEN) {
		op_open(e, c, FILL_OWNER, name, OPEN_BOTH, false, 0);
		op_getfh(e);
	} else if (s->step == LOCK_FIRST) {
		op_lock_first(e, c, &s->state, FILL_OWNER, 2ull * s->gen, 1);
	} else {
		op_lock(e, &s->state, 2ull * s->gen, 1);
	}
	return true;
}

static enum step lock_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	TAKE(c, s, d);
	if (expect(c, d, OP_PUTFH))
		return STEP_FAILED;
	if (s->step == LOCK_OPEN) {
		s->step = LOCK_FIRST;
		return result_open(c, d, &s->state) || result_fh(c, d, &s->fh) ? STEP_FAILED
									       : STEP_MORE;
	}
	if (result_stateid(c, d, OP_LOCK, &s->state))
		return STEP_FAILED;
	s->step = LOCK_MORE;
	*units += 1;
	return --s->gen > 0 ? STEP_MORE : next_step(s, &(uint64_t){ 0 });
}

static const struct workload objects_fill = { .encode = object_encode, .decode = object_decode };
static const struct workload opens_fill = { .encode = open_encode, .decode = open_decode };
static const struct workload locks_fill = { .encode = lock_encode, .decode = lock_decode };

static int fill_up(struct conn *c, const struct workload *w, unsigned from, unsigned to)
{
	const struct load_how load = { .threads = 1, .batched = true };
	static struct load_result r;

	fill.next = from;
	fill.end = to;
	c->workload = w;
	if (load_run(c, 1, &load, &r, error))
		return -1;
	if (r.total.units == to - from)
		return 0;
	snprintf(error, sizeof(error), "%llu of %u came", (unsigned long long)r.total.units,
		 to - from);
	return -1;
}

/* One more of a stage's steps: so many that there are `n`. */
static int step(struct conn *c, const char *what, const struct workload *w, unsigned from,
		unsigned n)
{
	double before = memory(), took;
	uint64_t began = now_ns();

	if (fill_up(c, w, from, n))
		return -1;
	took = (double)(now_ns() - began) / 1e9;
	if (from > 0)
		say("memory: %.0f bytes for each of the %s (they came at %.0f a second)\n",
		    (memory() - before) / (n - from), what, (n - from) / took);
	return all_probes(n, what);
}

/* After the last probe: each object has a descriptor, and none comes back that is gone. */
static int all_there(unsigned n)
{
	unsigned fds = descriptors();

	say("the server has %u descriptors now\n", fds);
	if (fds >= n)
		return 0;
	snprintf(error, sizeof(error), "the server has let some go");
	return -1;
}

/* FIRST of them, a hundred times as many, and so on; all in the end. */
static int stage(const char *what, const struct workload *w, unsigned all)
{
	unsigned n = 0, next = FIRST;
	struct conn c;
	int ret = 0;

	if (tree_prepare(&tree, TREE_FILES, 1, error) || open_conn(&c, 1, DEPTH))
		return failed(what);
	while (ret == 0 && n < all) {
		ret = step(&c, what, w, n, next);
		n = next;
		next = all / 100 > n ? n * 100 : all;
	}
	if (ret == 0 && w == &objects_fill)
		ret = all_there(all);
	if (ret)
		failed(what);
	/* What it holds stays: the server will be stopped with it. */
	c.clientid = 0;
	conn_close(&c);
	return ret;
}

/* As many as a server keeps, each with a descriptor: half of what it may have. */
static unsigned objects(void)
{
	struct rlimit files = { DESCRIPTORS, DESCRIPTORS };

	getrlimit(RLIMIT_NOFILE, &files);
	return files.rlim_cur / 2 < how->others ? (unsigned)(files.rlim_cur / 2) : how->others;
}

/* Made beside the server, which is quicker. */
static int make_objects(unsigned n)
{
	char dir[128], name[32];
	struct enc e;
	struct dec d;
	struct conn c;
	int at, ret = -1;

	snprintf(dir, sizeof(dir), "%s/%s/many", LAB_FS, server->name);
	if (mkdir(dir, 0755) != 0)
		return failed(dir);
	at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; at >= 0 && i < n; i++) {
		int fd;

		object_name(name, i);
		fd = openat(at, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
		if (fd < 0) {
			close(at);
			return failed(name);
		}
		close(fd);
	}
	if (at >= 0)
		close(at);
	if (open_conn(&c, 1, 1))
		return failed("many");
	compound_begin(&c, &c.slots[0], &e, c.cred, false);
	op_putfh(&e, &tree.export);
	op_lookup(&e, "many");
	op_getfh(&e);
	if (conn_call(&c, &e, &d) == 0 && expect(&c, &d, OP_PUTFH) == 0 &&
	    expect(&c, &d, OP_LOOKUP) == 0 && result_fh(&c, &d, &fill.dir) == 0)
		ret = 0;
	snprintf(error, sizeof(error), "%s", c.error);
	conn_close(&c);
	return ret ? failed("many") : 0;
}

/* ---- all of it ---- */

void scale_prepare(void)
{
	struct rlimit files;

	for (rlim_t most = DESCRIPTORS; most >= 1u << 20; most /= 2) {
		files = (struct rlimit){ most, most };
		if (setrlimit(RLIMIT_NOFILE, &files) == 0)
			return;
	}
	if (getrlimit(RLIMIT_NOFILE, &files) != 0)
		return;
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
}

unsigned scale_clients(void)
{
	struct rlimit files = { DESCRIPTORS, DESCRIPTORS };

	getrlimit(RLIMIT_NOFILE, &files);
	return files.rlim_cur > 400 ? (unsigned)(files.rlim_cur / 2 - 100) : 100;
}

static int stage_locks(void)
{
	return stage("locks", &locks_fill, how->others);
}

static int stage_objects(void)
{
	unsigned n = objects();

	if (n < how->others)
		say("%u objects and not %u: RLIMIT_NOFILE allows no more\n", n, how->others);
	if (tree_prepare(&tree, TREE_FILES, 1, error) || make_objects(n))
		return failed("objects");
	return stage("objects", &objects_fill, n);
}

static int stage_opens(void)
{
	return stage("opens", &opens_fill, how->others);
}

static const struct {
	const char *name;
	int (*run)(void);
} stages[] = {
	{ "idle", stage_idle },	      { "clients", stage_clients }, { "locks", stage_locks },
	{ "objects", stage_objects }, { "opens", stage_opens },
};

#define STAGES (sizeof(stages) / sizeof(stages[0]))

unsigned scale_stage(const char *name)
{
	for (unsigned i = 0; i < STAGES; i++) {
		if (strcmp(stages[i].name, name) == 0)
			return 1u << i;
	}
	return 0;
}

int scale_run(const struct server *s, const struct scale_how *h, FILE *also)
{
	server = s;
	how = h;
	table = also;
	tree.addr = s->addr;
	tree.path = s->path;
	cred_root(&root_cred);
	say("scaling: c=1 d=16, sent together, CPU time of the server per unit: median and least "
	    "of "
	    "%u runs of %.2f s\n",
	    h->rounds, h->seconds);
	head();
	for (unsigned i = 0; i < STAGES; i++) {
		if ((h->stages == 0 || (h->stages & 1u << i)) && stages[i].run())
			return -1;
	}
	return 0;
}

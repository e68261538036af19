/*
 * Scaling of cost. See scale.h.
 *
 * A stage fills the server with something, in steps, and after each step the probes (ordinary
 * workloads at one connection and 16 requests sent together) tell what an operation costs the
 * server now. What has been filled in stays to the end, but for the clients, who leave; the first
 * line of a stage is therefore what its others are to be compared with. Memory is the server's
 * anonymous memory before and after, divided by what has come.
 */
#include "tests/bench/scale.h"

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

#define DEPTH	    16u
#define FIRST	    10u /* of objects, opens, locks */
#define DESCRIPTORS (1u << 20)
#define IDLE_NS	    5000000000L
#define ROUNDS_MAX  99u
#define FILL_OWNER  0x10000u /* owners from here on are not the workloads' */

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

/* ---- probes ---- */

static const char *const probes[] = { "null", "getattr", "openclose", "lock+unlock" };

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

/* CPU time of the server's for a unit, and units a second. */
static int probe(const struct workload *w, double *cpu, double *rate)
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
	*cpu = median(cpus, how->rounds);
	*rate = median(rates, how->rounds);
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
		double cpu, rate;

		for (unsigned k = 0; workloads[k]; k++) {
			if (strcmp(workloads[k]->name, probes[i]) == 0 &&
			    probe(workloads[k], &cpu, &rate))
				return -1;
		}
		say("  %8.0f %6.2f", rate, cpu);
	}
	say("\n");
	return 0;
}

static void head(void)
{
	say("\n%19s", "");
	for (unsigned i = 0; i < PROBES; i++)
		say("  %15s", probes[i]);
	say("\n%19s", "the server holds");
	for (unsigned i = 0; i < PROBES; i++)
		say("  %8s %6s", "rate/s", "us");
	say("\n");
}

/* ---- clients ---- */

static void idle_cpu(unsigned clients)
{
	double before;

	/* First what the probes have left behind has to end. */
	nanosleep(&(struct timespec){ .tv_sec = 2 }, NULL);
	before = lab_cpu(server);
	nanosleep(&(struct timespec){ .tv_sec = IDLE_NS / 1000000000L }, NULL);
	say("idle with %u clients: %.2f %% of a processor\n", clients,
	    (lab_cpu(server) - before) / IDLE_NS * 100);
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
		for (; n + 1 < next && ret == 0; n++) {
			ret = open_conn(&conns[n], n, 1);
			/* Its buffer is not going to be used. */
			free(conns[n].rx);
			conns[n].rx = NULL;
		}
		if (ret == 0)
			ret = all_probes(next, "clients");
	}
	if (ret == 0 && n > 0) {
		say("memory: %.0f bytes a client, with its connection and session of one slot\n",
		    (memory() - before) / n);
		idle_cpu(n);
	}
	for (unsigned i = 0; i < n; i++)
		conn_close(&conns[i]);
	free(conns);
	return ret ? failed("clients") : 0;
}

/* ---- what is filled in through the protocol ---- */

static struct fill {
	unsigned next, end;
	struct fh dir; /* objects */
} fill;

/* The compound's results, behind SEQUENCE. */
#define TAKE(c, s, d)                                          \
	do {                                                   \
		enum reply taken_ = compound_reply(c, s, d);   \
		if (taken_ != REPLY_OK)                        \
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

static bool object_encode(struct conn *c, struct slot *s, struct enc *e)
{
	char name[32];

	if (fill.next == fill.end)
		return false;
	object_name(name, fill.next++);
	compound_begin(c, s, e, c->cred, false);
	op_putfh(e, &fill.dir);
	op_lookup(e, name);
	op_getattr(e, LINUX_ATTRS_0, LINUX_ATTRS_1);
	return true;
}

static enum step object_decode(struct conn *c, struct slot *s, struct dec *d, uint64_t *units)
{
	uint64_t size, fileid;

	TAKE(c, s, d);
	if (expect(c, d, OP_PUTFH) || expect(c, d, OP_LOOKUP) ||
	    result_attrs(c, d, &size, &fileid))
		return STEP_FAILED;
	return next_step(s, units);
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
		s->gen = fill.end - fill.next < LOCKS_OF_FILE ? fill.end - fill.next : LOCKS_OF_FILE;
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

/* FIRST of them, then all. */
static int stage(const char *what, const struct workload *w, unsigned all)
{
	double before, took;
	struct conn c;
	uint64_t began;
	int ret = -1;

	if (tree_prepare(&tree, TREE_FILES, 1, error) || open_conn(&c, 1, DEPTH))
		return failed(what);
	if (fill_up(&c, w, 0, FIRST) || all_probes(FIRST, what))
		goto out;
	before = memory();
	began = now_ns();
	if (fill_up(&c, w, FIRST, all))
		goto out;
	took = (double)(now_ns() - began) / 1e9;
	say("memory: %.0f bytes for each of the %s (they came at %.0f a second)\n",
	    (memory() - before) / (all - FIRST), what, (all - FIRST) / took);
	ret = all_probes(all, what);
out:
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
	struct rlimit files = { DESCRIPTORS, DESCRIPTORS };

	if (setrlimit(RLIMIT_NOFILE, &files) == 0 || getrlimit(RLIMIT_NOFILE, &files) != 0)
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

int scale_run(const struct server *s, const struct scale_how *h, FILE *also)
{
	server = s;
	how = h;
	table = also;
	tree.addr = s->addr;
	tree.path = s->path;
	cred_root(&root_cred);
	say("scaling: c=1 d=16, sent together, CPU time of the server per unit; medians of %u runs "
	    "of %.2f s\n",
	    h->rounds, h->seconds);
	head();
	return stage_clients() || stage("locks", &locks_fill, h->others) || make_objects(objects()) ||
			       stage("objects", &objects_fill, objects()) ||
			       stage("opens", &opens_fill, h->others)
		   ? -1
		   : 0;
}

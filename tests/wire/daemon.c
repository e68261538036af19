#include "tests/wire/daemon.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/wire/nfs4.h"

#define SKIPPED	      77 /* meson's exit status for it */
#define START_SECONDS 30
#define STOP_SECONDS  30
#define LOG_NAME      "log"

static struct {
	struct wire_options options;
	struct sockaddr_in addr;
	bool external;
	const char *backend; /* NULL: vfs */
	long clock;	     /* seconds ahead */
	bool died;	     /* by itself, at least once: the suite has failed */
	pid_t pid;
	char mount[16];
	char dir[64];
	char state[64];
	char log[64];
} srv;

const struct sockaddr *wire_server_addr(socklen_t *len)
{
	*len = sizeof(srv.addr);
	return (struct sockaddr *)&srv.addr;
}

const char *wire_server_dir(void)
{
	return srv.dir;
}

bool wire_server_external(void)
{
	return srv.external;
}

static void die(const char *what)
{
	fprintf(stderr, "wire: %s: %s\n", what, strerror(errno));
	exit(99); /* meson: error, not failure */
}

static void show_log(void)
{
	char buf[4096];
	size_t n;
	FILE *f = fopen(srv.log, "r");

	if (!f)
		return;
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		fwrite(buf, 1, n, stderr);
	fclose(f);
}

/* True if the log holds words of a sanitizer's report. */
static bool log_has_report(void)
{
	static const char *const words[] = { "Sanitizer", "runtime error:", "Assertion" };
	char *line = NULL;
	size_t cap = 0;
	bool found = false;
	FILE *f = fopen(srv.log, "r");

	if (!f)
		return false;
	while (!found && getline(&line, &cap, f) > 0)
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			found = found || strstr(line, words[i]);
	free(line);
	fclose(f);
	return found;
}

/* Namespaces: loopback alone, and a tmpfs over a directory that is there anyway. */
static void isolate(const char *program)
{
	static const char *const places[] = { "/mnt", "/media", "/srv" };
	struct ifreq ifr = { .ifr_name = "lo" };
	int s;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS))
		die("unshare");
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("private mounts");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		size_t len = strlen(places[i]);

		if (strncmp(program, places[i], len) == 0)
			continue;
		if (mount("atoll-wire", places[i], "tmpfs", 0, "size=2g,mode=0755"))
			continue;
		snprintf(srv.mount, sizeof(srv.mount), "%s", places[i]);
		break;
	}
	if (!srv.mount[0])
		die("tmpfs");
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (s < 0 || ioctl(s, SIOCSIFFLAGS, &ifr))
		die("loopback");
	close(s);
}

/* A port that nobody uses; in a network namespace of our own nobody takes it meanwhile. */
static uint16_t free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (s < 0 || bind(s, (struct sockaddr *)&a, len) ||
	    getsockname(s, (struct sockaddr *)&a, &len))
		die("no free port");
	close(s);
	return a.sin_port;
}

/* Waits for the line `ready`. */
static bool wait_ready(int out)
{
	struct timespec start, now;
	char buf[8192] = "\n";
	size_t len = 1;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		struct pollfd p = { .fd = out, .events = POLLIN };
		ssize_t n;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > START_SECONDS || len == sizeof(buf) - 1)
			return false;
		if (poll(&p, 1, 1000) <= 0)
			continue;
		n = read(out, buf + len, sizeof(buf) - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		buf[len] = 0;
	} while (!strstr(buf, "\nready\n"));
	return true;
}

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", srv.mount, name);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		die(path);
}

void wire_write_exports(const char *text)
{
	write_file("exports", text);
}

/* The arguments after the program's name. */
static void serve_words(const char **argv, size_t n)
{
	static char lease[16], port[16];

	snprintf(lease, sizeof(lease), "%u", srv.options.lease ? srv.options.lease : 90);
	snprintf(port, sizeof(port), "%u", ntohs(srv.addr.sin_port));
	argv[n++] = "serve";
	argv[n++] = srv.dir;
	argv[n++] = "--listen";
	argv[n++] = "127.0.0.1";
	argv[n++] = "--port";
	argv[n++] = port;
	argv[n++] = "--no-root-squash";
	argv[n++] = "--insecure"; /* client ports above 1023 */
	argv[n++] = "--state";
	argv[n++] = srv.state;
	argv[n++] = "--lease";
	argv[n++] = lease;
	if (srv.backend) {
		argv[n++] = "--backend";
		argv[n++] = srv.backend;
	}
	for (const char *const *e = srv.options.extra; e && *e && n < 30; e++)
		argv[n++] = *e;
	argv[n] = NULL;
}

static void config_words(const char **argv, size_t n)
{
	static char path[64];
	char text[512];

	snprintf(text, sizeof(text),
		 "[atolld]\nlisten = 127.0.0.1\nport = %u\nexports = %s/exports\n"
		 "lease-time = %u\nstate-dir = %s\nrpcbind = no\n%s",
		 ntohs(srv.addr.sin_port), srv.mount, srv.options.lease ? srv.options.lease : 90,
		 srv.state, srv.options.settings ? srv.options.settings : "");
	write_file("atoll.conf", text);
	snprintf(path, sizeof(path), "%s/atoll.conf", srv.mount);
	argv[n++] = "-c";
	argv[n++] = path;
	argv[n] = NULL;
}

/* Without the capability the server stays within what it is given. */
static void limit_descriptors(unsigned n)
{
	struct rlimit rl = { n, n };

	if (n && (prctl(PR_CAPBSET_DROP, CAP_SYS_RESOURCE) || setrlimit(RLIMIT_NOFILE, &rl)))
		_exit(127);
}

static void limit_files(unsigned long bytes)
{
	struct rlimit rl = { bytes, bytes };

	if (bytes && setrlimit(RLIMIT_FSIZE, &rl))
		_exit(127);
}

bool wire_server_clock(long seconds)
{
	srv.clock = seconds;
#ifdef __SANITIZE_THREAD__
	return false; /* its runtime has a thread, and only who has none may enter such a namespace */
#else
	return access("/proc/self/ns/time_for_children", F_OK) == 0;
#endif
}

static void shift_clock(long seconds)
{
	char text[100];
	int fd, n = snprintf(text, sizeof(text), "monotonic %ld 0\nboottime %ld 0\n", seconds,
			     seconds);

	if (seconds == 0)
		return;
	if (unshare(CLONE_NEWTIME))
		_exit(127);
	fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		_exit(127);
	close(fd);
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWTIME))
		_exit(127);
}

static void exec_server(int out)
{
	char program[512];
	const char *argv[32];
	int log;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	limit_descriptors(srv.options.nofile);
	limit_files(srv.options.fsize);
	shift_clock(srv.clock);
	snprintf(program, sizeof(program), "%s/%s", getenv("ATOLL_BUILD_DIR"),
		 srv.options.prepare ? "atolld" : "atoll");
	argv[0] = program;
	if (srv.options.prepare)
		config_words(argv, 1);
	else
		serve_words(argv, 1);
	log = open(srv.log, O_WRONLY | O_CREAT | O_APPEND, 0644);
	dup2(out, 1);
	dup2(log, 2);
	execv(program, (char *const *)(uintptr_t)argv);
	dprintf(2, "cannot run %s: %s\n", program, strerror(errno));
	_exit(127);
}

static int out_pipe = -1;

static bool start_server(void)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		die("pipe");
	srv.pid = fork();
	if (srv.pid < 0)
		die("fork");
	if (srv.pid == 0)
		exec_server(p[1]);
	close(p[1]);
	if (out_pipe >= 0)
		close(out_pipe);
	out_pipe = p[0]; /* kept open: the server may go on writing */
	if (wait_ready(out_pipe))
		return true;
	fprintf(stderr, "wire: the server did not say ready; its log:\n");
	show_log();
	return false;
}

/* Waits for the server's end, by SIGKILL if it takes too long. True if it ended with status 0. */
static bool await_end(void)
{
	struct timespec start, now, step = { .tv_nsec = 2 * 1000 * 1000 };
	int status;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (waitpid(srv.pid, &status, WNOHANG) == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > STOP_SECONDS) {
			fprintf(stderr, "wire: the server did not stop within %d s\n",
				STOP_SECONDS);
			kill(srv.pid, SIGKILL);
			waitpid(srv.pid, &status, 0);
			break;
		}
		nanosleep(&step, NULL);
	}
	srv.pid = 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status))
		fprintf(stderr, "wire: the server was killed by signal %d\n", WTERMSIG(status));
	else
		fprintf(stderr, "wire: the server ended with status %d\n", WEXITSTATUS(status));
	return false;
}

static bool stop_server(void)
{
	bool ok;

	if (!srv.pid)
		return true;
	kill(srv.pid, SIGTERM);
	ok = await_end();
	if (!ok)
		show_log();
	return ok;
}

void wire_need_restart(void)
{
	if (srv.external || srv.backend)
		skip();
}

void wire_need_disk(void)
{
	if (srv.backend)
		skip();
}

unsigned wire_server_descriptors(void)
{
	char path[64];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)srv.pid);
	d = opendir(path);
	if (!d)
		fail_with("%s: %s", path, strerror(errno));
	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

uint64_t wire_server_memory(void)
{
	unsigned long long kib = 0;
	char path[64], line[200];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)srv.pid);
	f = fopen(path, "r");
	if (!f)
		fail_with("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f) && sscanf(line, "RssAnon: %llu kB", &kib) != 1)
		;
	fclose(f);
	check(kib != 0);
	return kib * 1024;
}

unsigned wire_server_nameless(void)
{
	char path[64], target[512];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)srv.pid);
	d = opendir(path);
	if (!d)
		fail_with("%s: %s", path, strerror(errno));
	while ((e = readdir(d))) {
		ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);

		target[len > 0 ? len : 0] = '\0';
		n += strncmp(target, srv.dir, strlen(srv.dir)) == 0 && strstr(target, " (deleted)");
	}
	closedir(d);
	return n;
}

struct wire_usage wire_server_usage(void)
{
	struct wire_usage u = { .descriptors = wire_server_descriptors() };
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)srv.pid);
	f = fopen(path, "r");
	if (!f)
		fail_with("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "RssAnon: %lu", &u.memory_kb);
		sscanf(line, "Threads: %u", &u.threads);
	}
	fclose(f);
	return u;
}

void wire_server_reload(void)
{
	kill(srv.pid, SIGHUP);
}

void wire_server_restart(void)
{
	if (!stop_server() || !start_server()) {
		srv.died = true;
		fail_with("the server does not restart cleanly");
	}
}

void wire_server_stop(void)
{
	if (!stop_server()) {
		srv.died = true;
		fail_with("the server does not stop cleanly");
	}
}

void wire_server_exec(void)
{
	kill(srv.pid, SIGUSR2);
	if (!wait_ready(out_pipe)) {
		srv.died = true;
		show_log();
		fail_with("the server does not restart by itself");
	}
}

void wire_server_kill(void)
{
	if (srv.pid) {
		kill(srv.pid, SIGKILL);
		waitpid(srv.pid, NULL, 0);
		srv.pid = 0;
	}
}

void wire_server_start(void)
{
	if (!start_server()) {
		srv.died = true;
		fail_with("the server does not start again");
	}
}

const char *wire_server_state(void)
{
	return srv.state;
}

unsigned wire_server_said(const char *text)
{
	char *line = NULL;
	size_t cap = 0;
	unsigned found = 0;
	FILE *f = fopen(srv.log, "r");

	check(f != NULL);
	while (getline(&line, &cap, f) > 0)
		found += strstr(line, text) != NULL;
	free(line);
	fclose(f);
	return found;
}

int wire_setup(void **state)
{
	int status;

	if (!srv.pid || waitpid(srv.pid, &status, WNOHANG) == 0)
		return 0;
	/* It died in the test before; the others shall still have their say. */
	srv.died = true;
	fprintf(stderr, "wire: THE SERVER DIED (wait status %#x); its log:\n", status);
	show_log();
	srv.pid = 0;
	return start_server() ? 0 : -1;
}

int wire_teardown(void **state)
{
	conns_free();
	test_memory_free();
	return 0;
}

static bool use_external(const char *spec)
{
	const char *dir = getenv("ATOLL_WIRE_DIR");
	char host[64];
	unsigned port;

	if (sscanf(spec, "%63[0-9.]:%u", host, &port) != 2 || !dir) {
		fprintf(stderr, "wire: ATOLL_WIRE_SERVER=ADDRESS:PORT and ATOLL_WIRE_DIR\n");
		return false;
	}
	srv.external = true;
	srv.addr.sin_family = AF_INET;
	srv.addr.sin_port = htons((uint16_t)port);
	inet_pton(AF_INET, host, &srv.addr.sin_addr);
	snprintf(srv.dir, sizeof(srv.dir), "%s", dir);
	return true;
}

int wire_main(const char *suite, const struct wire_options *o, const struct CMUnitTest *tests,
	      size_t n)
{
	const char *external = getenv("ATOLL_WIRE_SERVER");
	const char *build = getenv("ATOLL_BUILD_DIR");
	const char *filter = getenv("ATOLL_WIRE_FILTER");
	bool clean = true;
	int failed;

	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	umask(0);
	if (o)
		srv.options = *o;
	srv.backend = getenv("ATOLL_WIRE_BACKEND");
	if (external) {
		if (!use_external(external))
			return 99;
	} else {
		if (geteuid() != 0) {
			printf("1..0 # SKIP needs root: file handles and namespaces\n");
			return SKIPPED;
		}
		if (!build) {
			fprintf(stderr, "wire: ATOLL_BUILD_DIR is not set\n");
			return 99;
		}
		isolate(build);
		snprintf(srv.dir, sizeof(srv.dir), "%s/export", srv.mount);
		snprintf(srv.log, sizeof(srv.log), "%s/%s", srv.mount, LOG_NAME);
		snprintf(srv.state, sizeof(srv.state), "%s/state", srv.mount);
		if (mkdir(srv.dir, 0777) || mkdir(srv.state, 0700))
			die(srv.dir);
		srv.addr.sin_family = AF_INET;
		srv.addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		srv.addr.sin_port = free_port();
		if (srv.options.prepare)
			srv.options.prepare(srv.dir);
		if (!start_server())
			return 99;
	}
	if (filter)
		cmocka_set_test_filter(filter);
	failed = _cmocka_run_group_tests(suite, tests, n, NULL, NULL);
	if (!external) {
		clean = stop_server() && !srv.died;
		if (log_has_report()) {
			fprintf(stderr, "wire: the server's log has a report:\n");
			show_log();
			clean = false;
		}
	}
	return failed || !clean;
}

void wire_server_fresh(void)
{
	char path[512];
	struct dirent *e;
	DIR *d;

	if (wire_server_external())
		skip();
	wire_server_kill();
	d = opendir(wire_server_state());
	assert_true(d != NULL);
	while ((e = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", wire_server_state(), e->d_name);
		if (e->d_name[0] != '.' && strcmp(e->d_name, "handle.key") != 0)
			assert_true(unlink(path) == 0);
	}
	closedir(d);
	wire_server_start();
}

/*
 * The supervisor with workers that die, hang, restart and end, in a network namespace of its own.
 * Each case runs supervisor_start() in a child process; its workers write what they are to a log
 * that the case reads. Needs root; skips itself otherwise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/supervisor.h"

#define WAIT_MS 10000
#define PORT	2049

static bool able;
static int tell[2]; /* what workers say, a line each */
static FILE *told;
static struct vip vip;
static char *self;

static int group_setup(void **state)
{
	log_set_level(LOG_LEVEL_ERROR);
	able = geteuid() == 0 && system("ip -V >/dev/null 2>&1") == 0 && unshare(CLONE_NEWNET) == 0;
	if (able && system("ip link set lo up; ip link add cable0 type veth peer name cable1;"
			   "ip addr add 10.78.0.1/24 dev cable0; ip link set cable0 up;"
			   "ip link set cable1 up") != 0)
		return -1;
	return vip_parse("10.78.0.5/24", &vip);
}

static int setup(void **state)
{
	if (!able)
		return 0;
	if (pipe2(tell, O_CLOEXEC) != 0)
		return -1;
	told = fdopen(tell[0], "r");
	/* A line at a time: poll() does not see what stdio has read ahead. */
	return told && setvbuf(told, NULL, _IONBF, 0) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	if (!able)
		return 0;
	fclose(told);
	close(tell[1]);
	return 0;
}

static void say(const char *what)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "%s %d\n", what, (int)getpid());

	if (write(tell[1], line, (size_t)n) != n)
		_exit(99);
}

/* The next line must begin with `what`; its number. */
static pid_t await(const char *what)
{
	struct pollfd p = { .fd = tell[0], .events = POLLIN };
	char line[64], word[32];
	int pid;

	if (poll(&p, 1, WAIT_MS) <= 0)
		fail_msg("%s: nothing comes", what);
	assert_non_null(fgets(line, sizeof(line), told));
	assert_int_equal(sscanf(line, "%31s %d", word, &pid), 2);
	assert_string_equal(word, what);
	return pid;
}

static bool has_address(void)
{
	return system("ip -o addr | grep -q '10[.]78[.]0[.]5/'") == 0;
}

static pid_t start(void (*work)(struct supervisor *s), unsigned hang_ms)
{
	static char *argv[] = { NULL, (char *)"again", NULL };
	struct supervisor_params params = { .vips = &vip,
					    .nvips = 1,
					    .interface = "",
					    .port = PORT,
					    .hang_ms = hang_ms,
					    .program = self,
					    .argv = argv };
	pid_t pid = fork();

	assert_true(pid >= 0);
	argv[0] = self;
	if (pid == 0) {
		struct supervisor *s = supervisor_start(&params);

		if (!s)
			_exit(98);
		supervisor_pet(s);
		work(s);
		_exit(97);
	}
	return pid;
}

static int await_end(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Until a signal ends it. */
static void hold_and_wait(struct supervisor *s)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (supervisor_hold(s, &vip, NULL, 0) != 0)
		_exit(96);
	say("up");
	while (sigwait(&set, &sig) == 0) {
		say(sig == SIGHUP ? "hup" : "term");
		if (sig == SIGTERM)
			_exit(0);
		supervisor_pet(s);
	}
}

static void test_signals_and_end(void **state)
{
	pid_t boss;

	if (!able)
		skip();
	boss = start(hold_and_wait, 60000);
	assert_int_not_equal(await("up"), boss);
	assert_true(has_address());
	kill(boss, SIGHUP);
	await("hup");
	kill(boss, SIGTERM);
	await("term");
	assert_int_equal(await_end(boss), 0);
	assert_false(has_address());
}

static void test_stale_address(void **state)
{
	pid_t boss;

	if (!able)
		skip();
	assert_int_equal(system("ip addr add 10.78.0.5/32 dev cable0"), 0);
	boss = start(hold_and_wait, 60000);
	await("up");
	kill(boss, SIGTERM);
	await("term");
	assert_int_equal(await_end(boss), 0);
	assert_false(has_address());
}

static void await_no_address(void)
{
	uint64_t limit = clock_mono_ns() + WAIT_MS * NS_PER_MS;

	while (has_address())
		assert_true(clock_mono_ns() < limit);
}

static void end(pid_t boss)
{
	kill(boss, SIGTERM);
	await("term");
	assert_int_equal(await_end(boss), 0);
}

static void test_killed_worker(void **state)
{
	pid_t boss, first, second;

	if (!able)
		skip();
	boss = start(hold_and_wait, 60000);
	first = await("up");
	kill(first, SIGKILL);
	second = await("up");
	assert_int_not_equal(first, second);
	assert_true(has_address());
	end(boss);
}

static void test_hanging_worker(void **state)
{
	pid_t boss, first;

	if (!able)
		skip();
	boss = start(hold_and_wait, 300);
	first = await("up");
	kill(first, SIGSTOP);
	assert_int_not_equal(await("up"), first);
	kill(boss, SIGTERM);
	await("term");
	await_end(boss);
}

/* The keeper does what the supervisor cannot do any more. */
static void test_killed_supervisor(void **state)
{
	pid_t boss, worker;
	int status;

	if (!able)
		skip();
	boss = start(hold_and_wait, 60000);
	worker = await("up");
	assert_true(has_address());
	kill(boss, SIGKILL);
	assert_int_equal(waitpid(boss, &status, 0), boss);
	await_no_address();
	while (kill(worker, 0) == 0)
		usleep(1000);
}

static void fail_at_once(struct supervisor *s)
{
	_exit(3);
}

static void fail_unpetted(void)
{
	struct supervisor_params params = {
		.vips = &vip, .nvips = 1, .interface = "", .hang_ms = 1000
	};

	if (supervisor_start(&params))
		fail_at_once(NULL);
	_exit(98);
}

/* A worker that never was well is not started again: its message is about the configuration. */
static void test_first_failure(void **state)
{
	pid_t boss;

	if (!able)
		skip();
	boss = fork();
	assert_true(boss >= 0);
	if (boss == 0)
		fail_unpetted();
	assert_int_equal(await_end(boss), 3);
}

static void ask_for_restart(struct supervisor *s)
{
	say("first");
	_exit(SUPERVISOR_RESTART);
}

/* The program is run again: main() with "again". */
static void test_restart(void **state)
{
	char text[16];
	pid_t boss;

	if (!able)
		skip();
	snprintf(text, sizeof(text), "%d", tell[1]);
	setenv("TELL", text, 1);
	fcntl(tell[1], F_SETFD, 0);
	boss = start(ask_for_restart, 60000);
	await("first");
	assert_int_equal(await("again"), boss);
	assert_int_equal(await_end(boss), 5);
}

/* ---- connections of a worker that is killed ---- */

static void serve_one(struct supervisor *s)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (supervisor_hold(s, &vip, NULL, 0) != 0 ||
	    bind(fd, (struct sockaddr *)&in4, sizeof(in4)) != 0 || listen(fd, 4) != 0)
		_exit(96);
	say("listening");
	if (accept(fd, NULL, NULL) < 0)
		_exit(95);
	say("accepted");
	for (;;)
		pause();
}

/*
 * The client, in another namespace as any client is, hears nothing when its server is killed,
 * neither FIN nor reset, for as long as another node may need to take over.
 */
static void test_silent_death(void **state)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), other, fd;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct pollfd p;
	char command[200];
	pid_t boss, worker;

	if (!able)
		skip();
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	other = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	snprintf(command, sizeof(command), "ip link set cable1 netns /proc/%d/fd/%d", (int)getpid(),
		 other);
	assert_int_equal(system(command), 0);
	boss = start(serve_one, 60000);
	worker = await("listening");
	assert_int_equal(setns(other, CLONE_NEWNET), 0);
	assert_int_equal(system("ip link set lo up; ip addr add 10.78.0.2/24 dev cable1;"
				"ip link set cable1 up"),
			 0);
	memcpy(&to.sin_addr, vip.addr, 4);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(await("accepted"), worker);
	assert_int_equal(setns(own, CLONE_NEWNET), 0);
	kill(worker, SIGKILL);
	/* The next worker listens on the same port, so all of the first one is gone. */
	assert_int_not_equal(await("listening"), worker);
	p = (struct pollfd){ .fd = fd, .events = POLLIN | POLLRDHUP };
	assert_int_equal(poll(&p, 1, 100), 0);
	kill(boss, SIGTERM);
	close(fd);
	close(own);
	close(other);
	assert_int_equal(await_end(boss), 128 + SIGTERM);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_signals_and_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_worker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hanging_worker, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed_supervisor, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_failure, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silent_death, setup, teardown),
	};

	if (argc > 1) {
		const char *fd = getenv("TELL");

		tell[1] = fd ? atoi(fd) : -1;
		say("again");
		return 5;
	}
	self = realpath("/proc/self/exe", NULL);
	return cmocka_run_group_tests(tests, group_setup, NULL);
}

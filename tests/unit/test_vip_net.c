/*
 * Virtual addresses and the kernel, in network namespaces of the test's own: two machines, "server"
 * and "client", joined by a cable. Needs root; skips itself otherwise.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "cluster/vip_net.h"

#define PORT	2049
#define WAIT_MS 3000

static int server_ns = -1, client_ns = -1;

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("%s", command);
}

static int new_namespace(void)
{
	if (unshare(CLONE_NEWNET) != 0)
		return -1;
	return open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
}

static int group_setup(void **state)
{
	char command[200];

	log_set_level(LOG_LEVEL_ERROR);
	if (geteuid() != 0 || system("ip -V >/dev/null 2>&1") != 0)
		return 0;
	client_ns = new_namespace();
	server_ns = new_namespace();
	if (server_ns < 0 || client_ns < 0)
		return 0;
	snprintf(command, sizeof(command),
		 "ip link add cable0 type veth peer name cable1 netns /proc/%d/fd/%d",
		 (int)getpid(), client_ns);
	run(command);
	run("ip link set lo up; ip addr add 10.77.0.1/24 dev cable0;"
	    "ip addr add fd77::1/64 dev cable0 nodad; ip link set cable0 up");
	enter(client_ns);
	run("ip link set lo up; ip addr add 10.77.0.2/24 dev cable1;"
	    "ip addr add fd77::2/64 dev cable1 nodad; ip link set cable1 up");
	enter(server_ns);
	return 0;
}

static int setup(void **state)
{
	if (client_ns >= 0 && server_ns >= 0)
		enter(server_ns);
	return 0;
}

static void need_namespaces(void)
{
	if (client_ns < 0 || server_ns < 0)
		skip();
}

static struct vip vip_of(const char *text)
{
	struct vip v;

	assert_int_equal(vip_parse(text, &v), 0);
	return v;
}

/* How many lines `ip addr` has with the words. */
static int has_address(const char *words)
{
	char command[200], answer[32] = "";
	FILE *p;

	snprintf(command, sizeof(command), "ip -o addr | grep -c '%s '", words);
	p = popen(command, "r");
	assert_non_null(p);
	assert_non_null(fgets(answer, sizeof(answer), p));
	pclose(p);
	return atoi(answer);
}

static void add_and_remove(const char *text, const char *seen)
{
	struct vip v = vip_of(text);
	int ifindex = vip_net_interface(&v, "");

	assert_int_equal(ifindex, if_nametoindex("cable0"));
	assert_int_equal(vip_net_interface(&v, "cable0"), ifindex);
	assert_int_equal(vip_net_remove(&v), 0);
	assert_int_equal(vip_net_add(&v, ifindex), 0);
	assert_int_equal(vip_net_add(&v, ifindex), 0);
	assert_int_equal(has_address(seen), 1);
	assert_int_equal(vip_net_remove(&v), 0);
	assert_int_equal(has_address(seen), 0);
	assert_int_equal(vip_net_remove(&v), 0);
}

static void test_add_and_remove(void **state)
{
	need_namespaces();
	add_and_remove("10.77.0.5/24", "10.77.0.5/32");
	add_and_remove("10.77.0.6", "10.77.0.6/32");
	add_and_remove("fd77::5/64", "fd77::5/128");
	add_and_remove("fd77::6", "fd77::6/128");
}

/* What was put there with another prefix, by hand or by another version, goes as well. */
static void test_remove_others(void **state)
{
	struct vip v = vip_of("10.77.0.5/24");

	need_namespaces();
	run("ip addr add 10.77.0.5/16 dev cable0");
	assert_int_equal(vip_net_remove(&v), 0);
	assert_int_equal(has_address("10.77.0.5/16"), 0);
	assert_int_equal(has_address("10.77.0.1/24"), 1);
}

static void test_no_interface(void **state)
{
	struct vip v = vip_of("192.0.2.5/24");

	need_namespaces();
	assert_int_equal(vip_net_interface(&v, ""), -ENODEV);
	assert_int_equal(vip_net_interface(&v, "nosuch0"), -ENODEV);
	assert_int_equal(vip_net_interface(&v, "cable0"), if_nametoindex("cable0"));
	/* Nothing else there is of its network: then its prefix counts. */
	assert_int_equal(vip_net_add(&v, (int)if_nametoindex("cable0")), 0);
	assert_int_equal(has_address("192.0.2.5/24"), 1);
	assert_int_equal(vip_net_remove(&v), 0);
	assert_int_not_equal(vip_net_add(&v, 4242), 0);
}

static void test_no_privileges(void **state)
{
	struct vip v = vip_of("10.77.0.5/24");
	int ifindex, status;
	pid_t pid;

	need_namespaces();
	ifindex = vip_net_interface(&v, "");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(setuid(65534) == 0 && vip_net_add(&v, ifindex) == -EPERM &&
			      vip_net_announce(&v, ifindex) == -EPERM
			  ? 0
			  : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* What the client's kernel thinks the address's hardware address is. */
static void neighbour(const char *address, char *mac, size_t size)
{
	char command[200];
	FILE *p;

	mac[0] = '\0';
	enter(client_ns);
	snprintf(command, sizeof(command),
		 "ip neigh show %s dev cable1 | sed 's/.*lladdr \\([^ ]*\\).*/\\1/'", address);
	p = popen(command, "r");
	assert_non_null(p);
	if (!fgets(mac, (int)size, p))
		mac[0] = '\0';
	pclose(p);
	enter(server_ns);
	mac[strcspn(mac, "\n")] = '\0';
}

/* A neighbour that believes something else learns better. */
static void announce(const char *address)
{
	static const char old[] = "02:00:00:00:00:99";
	struct vip v = vip_of(address);
	int ifindex = vip_net_interface(&v, "");
	uint64_t limit = clock_mono_ns() + WAIT_MS * NS_PER_MS;
	char command[200], mac[64];

	enter(client_ns);
	snprintf(command, sizeof(command), "ip neigh replace %s lladdr %s dev cable1 nud reachable",
		 address, old);
	run(command);
	neighbour(address, mac, sizeof(mac));
	assert_string_equal(mac, old);
	assert_int_equal(vip_net_add(&v, ifindex), 0);
	/* More than once, as the supervisor does: one may get lost while the link comes up. */
	do {
		assert_int_equal(vip_net_announce(&v, ifindex), 0);
		neighbour(address, mac, sizeof(mac));
	} while (strcmp(mac, old) == 0 && clock_mono_ns() < limit);
	if (strcmp(mac, old) == 0)
		fail_msg("%s is still thought to be at %s", address, mac);
	assert_string_not_equal(mac, "");
	assert_int_equal(vip_net_remove(&v), 0);
}

static void test_announce(void **state)
{
	need_namespaces();
	/* A kernel takes gratuitous ARP within a second of the last change for a fight. */
	enter(client_ns);
	run("sysctl -q net.ipv4.neigh.cable1.locktime=0");
	enter(server_ns);
	announce("10.77.0.5");
	announce("fd77::5");
}

static int listen_on(const struct vip *v)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, on = 1;

	vip_sockaddr(v, PORT, &ss, &len);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static int connect_to(const struct vip *v, struct vip_peer *me)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	vip_sockaddr(v, PORT, &ss, &len);
	enter(client_ns);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	enter(server_ns);
	len = sizeof(ss);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	*me = (struct vip_peer){ 0 };
	if (v->family == 4)
		memcpy(me->addr, &((struct sockaddr_in *)&ss)->sin_addr, 4);
	else
		memcpy(me->addr, &((struct sockaddr_in6 *)&ss)->sin6_addr, 16);
	me->port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	return fd;
}

/* Ends a connection as a machine without power does. */
static void vanish(int fd)
{
	int on = 1;

	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on)), 0);
	close(fd);
}

static bool has_ended(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	if (poll(&p, 1, ms) == 0)
		return false;
	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	return true;
}

/* What is left of connections ends; those to other addresses go on. */
static void forget(const char *address, const char *other)
{
	struct vip v = vip_of(address), own = vip_of(other);
	struct vip_peer me;
	int listener, old, old_server, kept_listener, kept, kept_server;
	char c;

	assert_int_equal(vip_net_add(&v, vip_net_interface(&v, "")), 0);
	listener = listen_on(&v);
	old = connect_to(&v, &me);
	old_server = accept(listener, NULL, NULL);
	kept_listener = listen_on(&own);
	kept = connect_to(&own, &me);
	kept_server = accept(kept_listener, NULL, NULL);
	assert_true(old_server >= 0 && kept_server >= 0);
	assert_int_equal(vip_net_remove(&v), 0);
	assert_int_equal(vip_net_forget(&v), 0);
	assert_int_equal(recv(old_server, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNABORTED);
	assert_int_equal(send(kept, "x", 1, 0), 1);
	assert_int_equal(recv(kept_server, &c, 1, 0), 1);
	assert_int_equal(vip_net_forget(&v), 0);
	close(old);
	close(old_server);
	close(listener);
	close(kept);
	close(kept_server);
	close(kept_listener);
}

static void test_forget(void **state)
{
	need_namespaces();
	forget("10.77.0.5", "10.77.0.1");
	forget("fd77::5", "fd77::1");
}

/* A client whose server has vanished learns it at once, and one that is served is not disturbed. */
static void provoke(const char *address)
{
	struct vip v = vip_of(address);
	struct vip_peer peers[2];
	int listener, dead, alive, dead_server, alive_server;
	char c = 0;

	assert_int_equal(vip_net_add(&v, vip_net_interface(&v, "")), 0);
	listener = listen_on(&v);
	dead = connect_to(&v, &peers[0]);
	dead_server = accept(listener, NULL, NULL);
	alive = connect_to(&v, &peers[1]);
	alive_server = accept(listener, NULL, NULL);
	assert_true(dead_server >= 0 && alive_server >= 0);
	vanish(dead_server);
	assert_false(has_ended(dead, 50));
	assert_int_equal(vip_net_provoke(&v, PORT, peers, 2), 0);
	assert_true(has_ended(dead, WAIT_MS));
	assert_false(has_ended(alive, 50));
	assert_int_equal(send(alive, "x", 1, 0), 1);
	assert_int_equal(recv(alive_server, &c, 1, 0), 1);
	assert_int_equal(c, 'x');
	close(dead);
	close(alive);
	close(alive_server);
	close(listener);
	assert_int_equal(vip_net_remove(&v), 0);
}

static void test_provoke(void **state)
{
	need_namespaces();
	provoke("10.77.0.5/24");
	provoke("fd77::5/64");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_add_and_remove, setup),
		cmocka_unit_test_setup(test_remove_others, setup),
		cmocka_unit_test_setup(test_no_interface, setup),
		cmocka_unit_test_setup(test_no_privileges, setup),
		cmocka_unit_test_setup(test_announce, setup),
		cmocka_unit_test_setup(test_forget, setup),
		cmocka_unit_test_setup(test_provoke, setup),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}

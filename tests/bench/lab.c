/* Namespaces, the file system, server processes. See lab.h. */
#include "tests/bench/lab.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define IMAGE_BYTES   (12LL << 30) /* sparse; 64 connections use half of it */
#define START_SECONDS 30
#define STOP_SECONDS  10
#define POLL_NS	      5000000

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int complain(const char *format, ...)
{
	va_list args;

	fputs("bench: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return -1;
}

/* ---- namespaces ---- */

static int loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = -1;

	if (fd < 0)
		return -1;
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr) == 0)
		ret = 0;
	close(fd);
	return ret;
}

static int enter_namespaces(bool private_net)
{
	int flags = CLONE_NEWNS | (private_net ? CLONE_NEWNET : 0);

	if (unshare(flags) != 0)
		return complain("namespaces: %s (it must be run as root)", strerror(errno));
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return complain("making the mounts private: %s", strerror(errno));
	if (private_net && loopback_up() != 0)
		return complain("bringing lo up: %s", strerror(errno));
	if (mount("bench", LAB_DIR, "tmpfs", 0, "size=90%") != 0)
		return complain("a tmpfs on %s: %s", LAB_DIR, strerror(errno));
	/* Ganesha's pid file and sockets, and no system bus for it to claim a name on. */
	if (mount("bench", "/run", "tmpfs", 0, "mode=755") != 0 || mkdir("/run/ganesha", 0755) != 0)
		return complain("a tmpfs on /run: %s", strerror(errno));
	return 0;
}

/* ---- the file system ---- */

static int open_image(const char *image_dir)
{
	int fd = open(image_dir ? image_dir : LAB_DIR, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return complain("an image in %s: %s", image_dir ? image_dir : LAB_DIR,
				strerror(errno));
	if (ftruncate(fd, IMAGE_BYTES) != 0) {
		close(fd);
		return complain("an image of %lld bytes: %s", IMAGE_BYTES, strerror(errno));
	}
	return fd;
}

/* A free loop device on the image; detached when it is closed by everybody. */
static int attach_loop(int image, char path[32])
{
	struct loop_config config = { .fd = (uint32_t)image };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = -1;

	if (control < 0)
		return complain("/dev/loop-control: %s", strerror(errno));
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	for (int tries = 0; tries < 50 && fd < 0; tries++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);

		if (number < 0)
			break;
		snprintf(path, 32, "/dev/loop%d", number);
		if (access(path, F_OK) != 0)
			mknod(path, S_IFBLK | 0660, makedev(7, (unsigned)number));
		fd = open(path, O_RDWR | O_CLOEXEC);
		/* Somebody else may have been quicker with this one. */
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) != 0) {
			close(fd);
			fd = -1;
		}
	}
	close(control);
	return fd >= 0 ? fd : complain("no free loop device: %s", strerror(errno));
}

/* Runs a command and waits for it. */
static int command(char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return complain("fork: %s", strerror(errno));
	if (pid == 0) {
		execvp(argv[0], argv);
		complain("%s: %s", argv[0], strerror(errno));
		_exit(127);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return complain("%s failed", argv[0]);
	return 0;
}

static int make_fs(const char *device)
{
	char *argv[] = { (char *)"mkfs.ext4",
			 (char *)"-q",
			 (char *)"-F",
			 (char *)"-E",
			 (char *)"lazy_itable_init=0,lazy_journal_init=0",
			 (char *)"-i",
			 (char *)"8192", /* a million files */
			 (char *)device,
			 NULL };

	if (command(argv))
		return -1;
	if (mkdir(LAB_FS, 0755) != 0 || mount(device, LAB_FS, "ext4", 0, NULL) != 0)
		return complain("mounting %s: %s", device, strerror(errno));
	return 0;
}

int lab_enter(bool private_net, const char *image_dir)
{
	int image, loop, ret;
	char device[32];

	if (enter_namespaces(private_net))
		return -1;
	image = open_image(image_dir);
	if (image < 0)
		return -1;
	loop = attach_loop(image, device);
	close(image);
	if (loop < 0)
		return -1;
	ret = make_fs(device);
	close(loop);
	return ret;
}

/* ---- processes ---- */

static void child_setup(pid_t parent)
{
	struct rlimit files;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* As their units would give them. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

static int spawn(struct server *s, char *const argv[], const char *log_dir)
{
	pid_t parent = getpid();
	char log[512];
	int fd;

	snprintf(log, sizeof(log), "%s/%s.log", log_dir, s->name);
	/* What it said before it was started again is kept. */
	fd = open(log, O_WRONLY | O_CREAT | (s->starts++ ? O_APPEND : O_TRUNC) | O_CLOEXEC, 0644);
	if (fd < 0)
		return complain("%s: %s", log, strerror(errno));
	s->pid = fork();
	if (s->pid == 0) {
		child_setup(parent);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execvp(argv[0], argv);
		complain("%s: %s", argv[0], strerror(errno));
		_exit(127);
	}
	close(fd);
	if (s->pid < 0)
		return complain("fork: %s", strerror(errno));
	s->ours = true;
	if (clock_getcpuclockid(s->pid, &s->clock) != 0)
		return complain("%s: no clock of its CPU time", s->name);
	return 0;
}

static bool answers(const struct server *s)
{
	/* NULL, AUTH_NONE */
	static const uint32_t call[11] = { 0x80000028, 1, 0, 2, 100003, 4, 0, 0, 0, 0, 0 };
	struct timeval tv = { .tv_sec = 5 };
	uint32_t wire[11], reply[7];
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	if (fd < 0)
		return false;
	for (int i = 0; i < 11; i++)
		wire[i] = htonl(call[i]);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	ok = connect(fd, (const struct sockaddr *)&s->addr, sizeof(s->addr)) == 0 &&
	     send(fd, wire, sizeof(wire), MSG_NOSIGNAL) == sizeof(wire) &&
	     recv(fd, reply, sizeof(reply), MSG_WAITALL) == sizeof(reply) && ntohl(reply[1]) == 1;
	close(fd);
	return ok;
}

static int await(struct server *s, const char *log_dir)
{
	for (int64_t left = START_SECONDS * 1000000000LL; left > 0; left -= POLL_NS) {
		int status;

		if (answers(s))
			return 0;
		if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
			s->ours = false;
			return complain("%s did not start; see %s/%s.log", s->name, log_dir,
					s->name);
		}
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
	return complain("%s does not answer; see %s/%s.log", s->name, log_dir, s->name);
}

/* A port of loopback that is free now. */
static int free_port(struct server *s)
{
	socklen_t len = sizeof(s->addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), ret = -1;

	s->addr = (struct sockaddr_in){ .sin_family = AF_INET };
	s->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&s->addr, len) == 0 &&
	    getsockname(fd, (struct sockaddr *)&s->addr, &len) == 0)
		ret = 0;
	if (fd >= 0)
		close(fd);
	return ret == 0 ? 0 : complain("no free port: %s", strerror(errno));
}

/* Empty; `state` is what the server knows from before, which the files do not outlive. */
static int make_export(const struct server *s, const char *state, char dir[64])
{
	char *argv[] = { (char *)"rm", (char *)"-rf", dir, (char *)state, NULL };

	snprintf(dir, 64, "%s/%s", LAB_FS, s->name);
	if (s->starts > 0 && command(argv) != 0)
		return -1;
	if (mkdir(dir, 0755) != 0 || chmod(dir, 0755) != 0)
		return complain("%s: %s", dir, strerror(errno));
	return 0;
}

int lab_start_atoll(struct server *s, const char *program, const char *log_dir, bool async,
		    const char *cache_time)
{
	static const char state[] = LAB_DIR "/atoll-state";
	char dir[64], port[8];
	char *argv[] = {
		(char *)program,     (char *)"serve",  dir,	   (char *)"--listen",
		(char *)"127.0.0.1", (char *)"--port", port,	   (char *)"--no-root-squash",
		(char *)"--state",   (char *)state,    [16] = NULL
	};
	unsigned n = 10;

	s->name = "atoll";
	s->path = "/";
	if (make_export(s, state, dir) || free_port(s))
		return -1;
	if (async)
		argv[n++] = (char *)"--async";
	if (cache_time) {
		argv[n++] = (char *)"--cache-time";
		argv[n++] = (char *)cache_time;
	}
	snprintf(port, sizeof(port), "%u", ntohs(s->addr.sin_port));
	return spawn(s, argv, log_dir) || await(s, log_dir) ? -1 : 0;
}

static int ganesha_config(const struct server *s, const char *dir, const char *path)
{
	FILE *f = fopen(path, "we");

	if (!f)
		return complain("%s: %s", path, strerror(errno));
	fprintf(f,
		"NFS_CORE_PARAM { NFS_Port = %u; Protocols = 4;\n"
		"  Enable_NLM = false; Enable_RQUOTA = false; }\n"
		"NFSV4 { Graceless = true; RecoveryRoot = %s/ganesha; RecoveryBackend = fs; }\n"
		"EXPORT { Export_Id = 1; Path = %s; Pseudo = /bench; Access_Type = RW;\n"
		"  Squash = No_Root_Squash; SecType = sys; Protocols = 4; Transports = TCP;\n"
		"  FSAL { Name = VFS; } }\n",
		ntohs(s->addr.sin_port), LAB_DIR, dir);
	if (fclose(f) != 0)
		return complain("%s: %s", path, strerror(errno));
	return 0;
}

int lab_start_ganesha(struct server *s, const char *log_dir)
{
	static const char config[] = LAB_DIR "/ganesha.conf";
	char dir[64];
	char *argv[] = { (char *)"ganesha.nfsd",
			 (char *)"-F",
			 (char *)"-L",
			 (char *)"/dev/stderr",
			 (char *)"-f",
			 (char *)config,
			 (char *)"-p",
			 (char *)"/run/ganesha/ganesha.pid",
			 (char *)"-N",
			 (char *)"NIV_EVENT",
			 NULL };

	s->name = "ganesha";
	s->path = "/bench";
	if (make_export(s, LAB_DIR "/ganesha", dir) || free_port(s) ||
	    ganesha_config(s, dir, config))
		return -1;
	return spawn(s, argv, log_dir) || await(s, log_dir) ? -1 : 0;
}

int lab_use_peer(struct server *s, const char *where, pid_t pid)
{
	static char copy[512];
	struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *found;
	char *slash, *colon;
	int err;

	snprintf(copy, sizeof(copy), "%s", where);
	s->name = "peer";
	slash = strchr(copy, '/');
	s->path = slash ? strdup(slash) : "/";
	if (!s->path)
		return complain("out of memory");
	if (slash)
		*slash = '\0';
	colon = strrchr(copy, ':');
	if (colon)
		*colon++ = '\0';
	err = getaddrinfo(copy, colon ? colon : "2049", &hints, &found);
	if (err)
		return complain("%s: %s", where, gai_strerror(err));
	memcpy(&s->addr, found->ai_addr, sizeof(s->addr));
	freeaddrinfo(found);
	s->pid = pid;
	if (pid > 0 && clock_getcpuclockid(pid, &s->clock) != 0)
		return complain("process %d: no clock of its CPU time", (int)pid);
	if (!answers(s))
		return complain("%s does not answer", where);
	return 0;
}

int lab_start_child(struct server *s, const char *name, void (*run)(int listener))
{
	pid_t parent = getpid();
	socklen_t len = sizeof(s->addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	s->name = name;
	s->addr = (struct sockaddr_in){ .sin_family = AF_INET };
	s->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&s->addr, len) != 0 || listen(fd, 128) != 0 ||
	    getsockname(fd, (struct sockaddr *)&s->addr, &len) != 0)
		return complain("%s: %s", name, strerror(errno));
	s->pid = fork();
	if (s->pid == 0) {
		child_setup(parent);
		signal(SIGPIPE, SIG_IGN);
		run(fd);
		_exit(1);
	}
	close(fd);
	if (s->pid < 0)
		return complain("fork: %s", strerror(errno));
	s->ours = true;
	return clock_getcpuclockid(s->pid, &s->clock) == 0
		   ? 0
		   : complain("%s: no clock of its CPU time", name);
}

void lab_stop(struct server *s)
{
	int status;

	if (!s->ours)
		return;
	s->ours = false;
	kill(s->pid, SIGTERM);
	for (int64_t left = STOP_SECONDS * 1000000000LL; left > 0; left -= POLL_NS) {
		if (waitpid(s->pid, &status, WNOHANG) == s->pid)
			return;
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
	kill(s->pid, SIGKILL);
	waitpid(s->pid, &status, 0);
}

double lab_cpu(const struct server *s)
{
	struct timespec t;

	if (s->pid <= 0 || clock_gettime(s->clock, &t) != 0)
		return -1;
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

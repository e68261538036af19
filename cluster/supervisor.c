/*
 * The supervisor's process, the keeper's, and the worker's end of the channel (supervisor.h).
 *
 * The supervisor's life, `worker` being its child:
 *
 *	starting --fork--> RUNNING --worker gone--> CLOSING --keeper gone--> pause --> starting
 *	                      |    (addresses removed)  |
 *	                      `--hang: addresses        `--stopping, or the first worker failed
 *	                         removed, SIGKILL          at once: exit with its status
 *
 * It is one thread with one ppoll(), and nothing it does waits for anybody.
 */
#include "cluster/supervisor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "base/log.h"
#include "cluster/vip_net.h"

#define CHUNK	     256	       /* peers in a message */
#define CLOSING_NS   (400 * NS_PER_MS) /* until others have taken over and said so */
#define REPLY_MS     3000	       /* the supervisor has never been that slow */
#define PAUSE_LEAST  (500 * NS_PER_MS) /* before the next worker; doubled up to */
#define PAUSE_MOST   (30 * NS_PER_SEC) /* this; and as at first after */
#define PAUSE_FORGET (60 * NS_PER_SEC) /* a worker that has run so long */
#define CHECK_NS     (2 * NS_PER_SEC)  /* are the addresses still there? */

enum kind { PET, UNWATCH, HOLD, DROP, DONE };

struct message {
	uint32_t kind;
	int32_t err; /* of DONE */
	uint32_t npeers;
	bool more; /* of HOLD: further peers follow, then the answer */
	struct vip vip;
	struct vip_peer peers[CHUNK];
};

static size_t message_size(const struct message *m)
{
	return offsetof(struct message, peers) + m->npeers * sizeof(m->peers[0]);
}

/* ---- the worker's end ---- */

struct supervisor {
	int fd;
	struct mutex lock; /* one question at a time */
};

void supervisor_pet(struct supervisor *s)
{
	struct message m = { .kind = PET };

	/* A full channel: the supervisor has enough to read that tells it of our life. */
	if (s)
		(void)!send(s->fd, &m, message_size(&m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void supervisor_unwatch(struct supervisor *s)
{
	struct message m = { .kind = UNWATCH };

	if (s)
		(void)!send(s->fd, &m, message_size(&m), MSG_NOSIGNAL);
}

static int await_done(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct message m;
	int n;

	do
		n = poll(&p, 1, REPLY_MS);
	while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	if (recv(fd, &m, sizeof(m), MSG_DONTWAIT) < (ssize_t)offsetof(struct message, peers))
		return -EPIPE;
	return m.err;
}

static int ask(struct supervisor *s, struct message *m, const struct vip_peer *peers, unsigned n)
{
	unsigned sent = 0;
	int rc = 0;

	mutex_lock(&s->lock);
	do {
		m->npeers = n - sent < CHUNK ? n - sent : CHUNK;
		memcpy(m->peers, peers + sent, m->npeers * sizeof(*peers));
		sent += m->npeers;
		m->more = sent < n;
		if (send(s->fd, m, message_size(m), MSG_NOSIGNAL) < 0)
			rc = errno == ECONNRESET ? -EPIPE : -errno;
	} while (!rc && m->more);
	if (!rc)
		rc = await_done(s->fd);
	mutex_unlock(&s->lock);
	return rc;
}

int supervisor_hold(struct supervisor *s, const struct vip *v, const struct vip_peer *peers,
		    unsigned n)
{
	static const struct vip_peer none;
	struct message m = { .kind = HOLD, .vip = *v };

	return s ? ask(s, &m, n ? peers : &none, n) : -EPIPE;
}

int supervisor_drop(struct supervisor *s, const struct vip *v)
{
	static const struct vip_peer none;
	struct message m = { .kind = DROP, .vip = *v };

	return s ? ask(s, &m, &none, 0) : -EPIPE;
}

/* ---- addresses ---- */

static int remove_address(const struct vip *v)
{
	char text[VIP_TEXT];
	int rc = vip_net_remove(v);

	if (rc)
		log_error("cannot remove the virtual address %s: %s; remove it by hand (ip address "
			  "del), or two machines may answer to it",
			  vip_format(v, true, text), strerror(-rc));
	return rc;
}

int supervisor_clean(const struct vip *vips, unsigned n)
{
	int rc = 0;

	for (unsigned i = 0; i < n; i++) {
		int err = remove_address(&vips[i]);

		rc = err ? err : rc;
	}
	return rc;
}

/* One that the worker wants held. */
struct held {
	struct vip vip;
	int err;		/* of the last try to add it */
	struct vip_peer *peers; /* to be provoked again */
	unsigned npeers, repeats;
	uint64_t since_ns;
};

/* When announcement and provocation are repeated: some get lost, some come too early. */
static const uint16_t repeat_ms[] = { 20, 100, 300, 1000, 3000 };

struct boss {
	struct supervisor_params params;
	sigset_t mine;	 /* signals taken by way of `signals` */
	sigset_t before; /* the signal mask that the worker gets */
	char name[16];
	int signals, channel, go, gone;
	pid_t worker; /* 0: gone */
	bool stopping, ready_once, petted, hung;
	int status; /* the worker's exit status, for the supervisor's own */
	uint64_t started_ns, petted_ns, closing_ns, pause_ns, next_check_ns;
	unsigned nheld;
	struct held held[VIP_MOST];
};

static struct held *find_held(struct boss *b, const struct vip *v)
{
	for (unsigned i = 0; i < b->nheld; i++)
		if (vip_same(&b->held[i].vip, v))
			return &b->held[i];
	return NULL;
}

static void complain(struct held *h, int err, const char *what)
{
	char text[VIP_TEXT];

	if (err != h->err && err)
		log_error("cannot %s the virtual address %s: %s; %s", what,
			  vip_format(&h->vip, true, text), strerror(-err),
			  err == -ENODEV  ? "name its interface in [cluster] (interface)"
			  : err == -EPERM ? "the supervisor needs CAP_NET_ADMIN and CAP_NET_RAW"
					  : "clients cannot use it here; trying again");
	h->err = err;
}

static void put_on_interface(struct boss *b, struct held *h)
{
	int ifindex = vip_net_interface(&h->vip, b->params.interface);
	int err = ifindex < 0 ? ifindex : vip_net_add(&h->vip, ifindex);

	if (err) {
		complain(h, err, "add");
		return;
	}
	err = vip_net_announce(&h->vip, ifindex);
	complain(h, err, "announce");
}

static void provoke(struct boss *b, struct held *h)
{
	char text[VIP_TEXT];
	int err = vip_net_provoke(&h->vip, b->params.port, h->peers, h->npeers);

	if (err && !h->repeats)
		log_warn("cannot tell clients of %s that it has moved: %s; they will notice later",
			 vip_format(&h->vip, false, text), strerror(-err));
}

/* Connections from when this node had the address before. */
static void forget(const struct held *h)
{
	char text[VIP_TEXT];
	int err = vip_net_forget(&h->vip);

	if (err)
		log_warn("cannot end what is left of old connections to %s: %s; clients may take long "
			 "to connect anew",
			 vip_format(&h->vip, false, text), strerror(-err));
}

static int hold(struct boss *b, const struct message *m)
{
	struct held *h = find_held(b, &m->vip);
	struct vip_peer *bigger;

	if (!h) {
		if (b->nheld == VIP_MOST)
			return -ENOSPC;
		h = &b->held[b->nheld++];
		*h = (struct held){ .vip = m->vip };
		forget(h);
	}
	bigger = reallocarray(h->peers, h->npeers + m->npeers + 1, sizeof(*bigger));
	if (bigger) {
		h->peers = bigger;
		memcpy(h->peers + h->npeers, m->peers, m->npeers * sizeof(*bigger));
		h->npeers += m->npeers;
	}
	if (m->more)
		return 0;
	h->repeats = 0;
	h->since_ns = clock_mono_ns();
	put_on_interface(b, h);
	provoke(b, h);
	return h->err;
}

static int drop(struct boss *b, const struct vip *v)
{
	struct held *h = find_held(b, v);

	if (h) {
		free(h->peers);
		*h = b->held[--b->nheld];
	}
	return remove_address(v);
}

/* What has been put on an interface, and what is configured whoever put it there. */
static void drop_all(struct boss *b)
{
	while (b->nheld)
		drop(b, &b->held[0].vip);
	supervisor_clean(b->params.vips, b->params.nvips);
}

static void repeat(struct boss *b, struct held *h, uint64_t now)
{
	if (h->repeats == ARRAY_SIZE(repeat_ms) ||
	    now < h->since_ns + repeat_ms[h->repeats] * NS_PER_MS)
		return;
	h->repeats++;
	put_on_interface(b, h);
	provoke(b, h);
	if (h->repeats == ARRAY_SIZE(repeat_ms)) {
		free(h->peers);
		h->peers = NULL;
		h->npeers = 0;
	}
}

/* One that could not be added, or that somebody has removed. */
static void check(struct boss *b, struct held *h)
{
	int ifindex = vip_net_interface(&h->vip, b->params.interface);
	int err = ifindex < 0 ? ifindex : vip_net_add(&h->vip, ifindex);

	if (h->err && !err)
		vip_net_announce(&h->vip, ifindex);
	complain(h, err, "add");
}

/* ---- the keeper ---- */

struct pipes {
	int channel[2]; /* supervisor, worker */
	int go[2];	/* the supervisor's words to the keeper */
	int gone[2];	/* ends when neither worker nor keeper has descriptors any more */
};

struct keeper {
	int go, gone; /* its ends */
	pid_t worker;
};

/* Calls `act` for every descriptor that is open. */
static void each_descriptor(void (*act)(const struct keeper *k, int fd), const struct keeper *k)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	if (!d) {
		for (int fd = 0; fd < 65536; fd++)
			act(k, fd);
		return;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			act(k, atoi(e->d_name));
	closedir(d);
}

static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t len = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
	       protocol == IPPROTO_TCP;
}

/*
 * All but the clients' connections, and the pipes: corosync is to see by its end of a socket that
 * the worker is gone, and files are to lose their locks.
 */
static void close_other(const struct keeper *k, int fd)
{
	if (fd != k->go && fd != k->gone && fd != STDERR_FILENO && !is_tcp(fd))
		close(fd);
}

/*
 * The connections go without a FIN: a reset, which has no address to come from and finds
 * nobody. Nothing of them stays behind in this machine that would meet the same client's next one.
 * They are closed one by one, before the end of the pipe `gone` tells that it is done.
 */
static void reset_connection(const struct keeper *k, int fd)
{
	struct linger at_once = { .l_onoff = 1 };

	if (!is_tcp(fd))
		return;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

/* The supervisor's next word; false: it has died. */
static bool await_word(int fd)
{
	ssize_t n;
	char c;

	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Two words: the worker is gone; its addresses have been taken over. */
static _Noreturn void keeper(const struct supervisor_params *params, const struct keeper *k)
{
	sigset_t all;

	prctl(PR_SET_NAME, "atoll-keeper", 0, 0, 0);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	if (!await_word(k->go)) {
		supervisor_clean(params->vips, params->nvips);
		kill(k->worker, SIGKILL);
	} else {
		each_descriptor(close_other, k);
		await_word(k->go);
	}
	each_descriptor(reset_connection, k);
	_exit(0);
}

/*
 * A raw clone(): glibc has none that shares descriptors but not memory. The copy has one thread,
 * like the original, and calls nothing that asks for its thread ID.
 */
static void start_keeper(const struct supervisor_params *params, const struct pipes *p)
{
	struct keeper k = { p->go[0], p->gone[1], getpid() };
	long pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, NULL, NULL, NULL);

	if (pid == 0)
		keeper(params, &k);
	if (pid < 0)
		log_warn("no keeper: %s; should this process be killed, clients will take some "
			 "seconds longer to go on at another node",
			 strerror(errno));
}

/* ---- the supervisor ---- */

static const int passed_on[] = { SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2 };

static void close_pair(const int fds[2])
{
	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
}

static int open_pipes(struct pipes *p)
{
	int err;

	*p = (struct pipes){ { -1, -1 }, { -1, -1 }, { -1, -1 } };
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, p->channel) == 0 &&
	    pipe2(p->go, O_CLOEXEC) == 0 && pipe2(p->gone, O_CLOEXEC) == 0)
		return 0;
	err = -errno;
	close_pair(p->channel);
	close_pair(p->go);
	close_pair(p->gone);
	return err;
}

/* In the worker. NULL: out of memory. */
static struct supervisor *become_worker(struct boss *b, const struct pipes *p)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	prctl(PR_SET_NAME, b->name, 0, 0, 0);
	close(b->signals);
	close(p->channel[0]);
	close(p->go[1]);
	close(p->gone[0]);
	/* From here on descriptors are the keeper's, too: go[0] and gone[1] stay. */
	start_keeper(&b->params, p);
	sigprocmask(SIG_SETMASK, &b->before, NULL);
	if (!s)
		return NULL;
	s->fd = p->channel[1];
	mutex_init(&s->lock);
	return s;
}

/* A worker: 0 in it, its process ID in the supervisor, or -errno. */
static pid_t spawn(struct boss *b, struct supervisor **out)
{
	struct pipes p;
	int rc = open_pipes(&p);
	pid_t pid;

	if (rc)
		return rc;
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		rc = -errno;
		close_pair(p.channel);
		close_pair(p.go);
		close_pair(p.gone);
		return rc;
	}
	if (pid == 0) {
		*out = become_worker(b, &p);
		return 0;
	}
	close(p.channel[1]);
	close(p.go[0]);
	close(p.gone[1]);
	b->channel = p.channel[0];
	b->go = p.go[1];
	b->gone = p.gone[0];
	b->worker = pid;
	b->petted = b->hung = false;
	b->started_ns = clock_mono_ns();
	return pid;
}

static void answer(struct boss *b, int err)
{
	struct message m = { .kind = DONE, .err = err };

	(void)!send(b->channel, &m, message_size(&m), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* One message. False: there are no more for now. */
static bool serve_channel(struct boss *b)
{
	struct message m;
	ssize_t n = recv(b->channel, &m, sizeof(m), MSG_DONTWAIT);

	if (n < (ssize_t)offsetof(struct message, peers) || m.npeers > CHUNK ||
	    (size_t)n < message_size(&m))
		return false;
	if (m.kind == PET) {
		b->petted = b->ready_once = true;
		b->petted_ns = clock_mono_ns();
	} else if (m.kind == UNWATCH) {
		b->petted = false;
	} else if (m.kind == HOLD) {
		/* It may take long to die, and its addresses are somebody else's by then. */
		int err = b->hung ? -ESHUTDOWN : hold(b, &m);

		if (!m.more)
			answer(b, err);
	} else if (m.kind == DROP) {
		answer(b, drop(b, &m.vip));
	}
	return true;
}

static void take_signal(struct boss *b)
{
	struct signalfd_siginfo info;

	if (read(b->signals, &info, sizeof(info)) != sizeof(info))
		return;
	if ((int)info.ssi_signo == SIGCHLD)
		return; /* reap() looks */
	if ((int)info.ssi_signo == SIGTERM || (int)info.ssi_signo == SIGINT)
		b->stopping = true;
	if (b->worker > 0)
		kill(b->worker, (int)info.ssi_signo);
}

static void say_end(const struct boss *b, int status)
{
	if (WIFSIGNALED(status))
		log_error("the server (process %ld) was killed by signal %d (%s)", (long)b->worker,
			  WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) && WEXITSTATUS(status) != SUPERVISOR_RESTART &&
		 WEXITSTATUS(status) != SUPERVISOR_RENEW)
		log_error("the server (process %ld) ended with status %d", (long)b->worker,
			  WEXITSTATUS(status));
}

/* The worker is gone: its addresses first. */
static void worker_gone(struct boss *b, int status)
{
	uint64_t now = clock_mono_ns();

	drop_all(b);
	(void)!write(b->go, "", 1);
	say_end(b, status);
	b->worker = 0;
	b->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	/* Who ended in good order has left nobody waiting. */
	b->closing_ns = now + (WIFSIGNALED(status) ? CLOSING_NS : 0);
	if (now - b->started_ns > PAUSE_FORGET)
		b->pause_ns = 0;
}

static void reap(struct boss *b)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != b->worker)
			continue;
		/* Its last words: that it was well once. */
		while (serve_channel(b)) {
		}
		worker_gone(b, status);
	}
}

static void watch_for_hang(struct boss *b, uint64_t now)
{
	if (!b->petted || now < b->petted_ns + b->params.hang_ms * NS_PER_MS)
		return;
	log_error("the server (process %ld) has not moved for %u ms; killing it", (long)b->worker,
		  b->params.hang_ms);
	drop_all(b);
	kill(b->worker, SIGKILL);
	b->petted = false;
	b->hung = true;
}

/* The time of the next thing to do; UINT64_MAX: none. */
static uint64_t next_event(const struct boss *b)
{
	uint64_t next = UINT64_MAX;

	if (!b->worker)
		return b->closing_ns;
	if (b->petted)
		next = b->petted_ns + b->params.hang_ms * NS_PER_MS;
	if (b->nheld && b->next_check_ns < next)
		next = b->next_check_ns;
	for (unsigned i = 0; i < b->nheld; i++) {
		const struct held *h = &b->held[i];
		uint64_t at;

		if (h->repeats == ARRAY_SIZE(repeat_ms))
			continue;
		at = h->since_ns + repeat_ms[h->repeats] * NS_PER_MS;
		next = at < next ? at : next;
	}
	return next;
}

static void do_due(struct boss *b)
{
	uint64_t now = clock_mono_ns();

	if (!b->worker) {
		if (now >= b->closing_ns && b->go >= 0) {
			(void)!write(b->go, "", 1);
			close(b->go);
			b->go = -1;
			b->closing_ns = UINT64_MAX;
		}
		return;
	}
	for (unsigned i = 0; i < b->nheld; i++)
		repeat(b, &b->held[i], now);
	if (now >= b->next_check_ns) {
		for (unsigned i = 0; i < b->nheld; i++)
			check(b, &b->held[i]);
		b->next_check_ns = now + CHECK_NS;
	}
	watch_for_hang(b, now);
}

/* Waits for one thing to happen and sees to it. False: worker and keeper are gone. */
static bool step(struct boss *b)
{
	struct pollfd p[] = {
		{ .fd = b->signals, .events = POLLIN },
		{ .fd = b->worker ? b->channel : -1, .events = POLLIN },
		{ .fd = b->gone, .events = POLLIN },
	};
	uint64_t next = next_event(b), now = clock_mono_ns();
	uint64_t left = next > now ? next - now : 0;
	struct timespec ts = { (time_t)(left / NS_PER_SEC), (long)(left % NS_PER_SEC) };

	if (ppoll(p, ARRAY_SIZE(p), next == UINT64_MAX ? NULL : &ts, NULL) < 0 && errno != EINTR)
		return true;
	if (p[0].revents)
		take_signal(b);
	if (b->worker)
		reap(b);
	/* What came before a hang was noticed counts. */
	while (b->worker && serve_channel(b)) {
	}
	do_due(b);
	if (p[2].revents && b->worker)
		reap(b);
	return b->worker || !p[2].revents;
}

/* Without a worker: signals that end it all, and the pause. */
static void pause_between(struct boss *b)
{
	uint64_t now = clock_mono_ns(), until = now + b->pause_ns;

	b->pause_ns = b->pause_ns ? 2 * b->pause_ns : PAUSE_LEAST;
	if (b->pause_ns > PAUSE_MOST)
		b->pause_ns = PAUSE_MOST;
	while (!b->stopping && (now = clock_mono_ns()) < until) {
		struct pollfd p = { .fd = b->signals, .events = POLLIN };

		if (poll(&p, 1, (int)((until - now) / NS_PER_MS) + 1) > 0)
			take_signal(b);
	}
}

/* Is there to be another worker? */
static bool go_on(struct boss *b)
{
	char *program = (char *)b->params.program;

	close(b->channel);
	close(b->gone);
	if (b->go >= 0)
		close(b->go);
	if (b->stopping || b->status == 0 ||
	    (!b->ready_once && b->status != SUPERVISOR_RENEW && b->status != SUPERVISOR_RESTART))
		return false;
	if (b->status == SUPERVISOR_RESTART && program) {
		sigprocmask(SIG_SETMASK, &b->before, NULL);
		execv(program, b->params.argv);
		log_error("cannot run %s again: %s; going on with what was there before", program,
			  strerror(errno));
		sigprocmask(SIG_BLOCK, &b->mine, NULL);
		return true;
	}
	if (b->status == SUPERVISOR_RENEW)
		return true;
	pause_between(b);
	return !b->stopping;
}

static void prepare(struct boss *b)
{
	sigemptyset(&b->mine);
	sigaddset(&b->mine, SIGCHLD);
	for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
		sigaddset(&b->mine, passed_on[i]);
	sigprocmask(SIG_BLOCK, &b->mine, &b->before);
	signal(SIGPIPE, SIG_IGN);
	b->signals = signalfd(-1, &b->mine, SFD_CLOEXEC | SFD_NONBLOCK);
	prctl(PR_GET_NAME, b->name, 0, 0, 0);
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

struct supervisor *supervisor_start(const struct supervisor_params *params)
{
	struct boss b = { .params = *params };
	struct supervisor *s = NULL;

	prepare(&b);
	if (b.signals < 0) {
		log_error("cannot start the supervisor: %s", strerror(errno));
		exit(1);
	}
	do {
		pid_t pid;

		supervisor_clean(params->vips, params->nvips);
		pid = spawn(&b, &s);
		if (pid == 0)
			return s;
		if (pid < 0) {
			log_error("cannot start the server: %s", strerror(-pid));
			b.status = 1;
			break;
		}
		prctl(PR_SET_NAME, "atoll-guard", 0, 0, 0);
		while (step(&b)) {
		}
	} while (go_on(&b));
	exit(b.status);
}

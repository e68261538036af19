/*
 * Lets User Mode Linux run well on hosts newer than it knows. Preloaded into linux.uml.
 *
 * The state of processors. Debian's linux.uml (6.1) keeps 2696 bytes of extended state for a guest's process, which is all
 * up to AVX-512 and the protection keys. The host's PTRACE_SETREGSET wants the whole of its own
 * state (11008 bytes with AMX) and refuses less with EFAULT, so that no guest gets as far as its
 * first program. The host is handed the missing rest: zeroes, in which the header says that it is not in use, and in
 * guests it never is.
 *
 * Packets that nobody fetches. The guest's kernel is told of a packet by SIGIO, and asks an edge-triggered epoll set
 * which of its files has something. The host's tap puts the packet into its queue, sends SIGIO, and only then wakes
 * epoll; a guest that runs on another processor may have asked before that and been told "none". It then leaves the packet
 * until the next one arrives: if the sender waits for an answer, until TCP sends again, after 200 ms. It is rare (one of some
 * 20,000 packets), and shows only where nothing else arrives. So whenever the first question after a signal is answered
 * "none", taps whose queue has something are put into the set anew, which looks at the queue itself, and it is asked again.
 * At worst a guest looks once more at a queue that it is about to read anyhow.
 *
 * linux.uml runs one virtual processor in one thread and on small stacks, hence the static buffers.
 */
#include <elf.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- the state of processors ---- */

static char state[65536];
static size_t state_size; /* of the host's, once it is known to be larger than a guest's */

static long set_whole_state(long request, long pid, struct iovec *part)
{
	struct iovec whole = { state, sizeof(state) };

	if (part->iov_len > sizeof(state)) {
		errno = EFAULT;
		return -1;
	}
	if (!state_size) {
		if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole))
			return -1;
		state_size = whole.iov_len;
		memset(state, 0, sizeof(state));
	}
	memcpy(state, part->iov_base, part->iov_len);
	whole.iov_len = state_size;
	return syscall(SYS_ptrace, request, pid, NT_X86_XSTATE, &whole);
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list ap;
	long pid, addr, data, peeked, result;

	va_start(ap, request);
	pid = va_arg(ap, pid_t);
	addr = va_arg(ap, long);
	data = va_arg(ap, long);
	va_end(ap);
	if (request == PTRACE_PEEKTEXT || request == PTRACE_PEEKDATA ||
	    request == PTRACE_PEEKUSER) {
		/* the system call stores the word, the function returns it */
		result = syscall(SYS_ptrace, request, pid, addr, &peeked);
		return result ? result : peeked;
	}
	if (request == PTRACE_SETREGSET && addr == NT_X86_XSTATE && state_size)
		return set_whole_state(request, pid, (struct iovec *)data);
	result = syscall(SYS_ptrace, request, pid, addr, data);
	if (result && errno == EFAULT && request == PTRACE_SETREGSET && addr == NT_X86_XSTATE)
		return set_whole_state(request, pid, (struct iovec *)data);
	return result;
}

/* ---- packets that nobody fetches ---- */

#define TAPS	  8
#define TAP_MAJOR 10 /* /dev/net/tun */
#define TAP_MINOR 200

static struct pollfd taps[TAPS];
static struct epoll_event tap_events[TAPS];
static int tap_count;

static bool is_tap(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && major(st.st_rdev) == TAP_MAJOR &&
	       minor(st.st_rdev) == TAP_MINOR;
}

static void forget_tap(int fd)
{
	for (int i = 0; i < tap_count; i++)
		if (taps[i].fd == fd) {
			tap_count--;
			taps[i] = taps[tap_count];
			tap_events[i] = tap_events[tap_count];
			return;
		}
}

static void note_tap(int fd, const struct epoll_event *event)
{
	forget_tap(fd);
	if (tap_count == TAPS || !(event->events & EPOLLIN) || !is_tap(fd))
		return;
	taps[tap_count] = (struct pollfd){ .fd = fd, .events = POLLIN };
	tap_events[tap_count++] = *event;
}

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
	long result = syscall(SYS_epoll_ctl, set, operation, fd, event);

	if (operation == EPOLL_CTL_DEL)
		forget_tap(fd);
	else if (result == 0)
		note_tap(fd, event);
	return (int)result;
}

/* Puts taps with packets among what the set tells of next. Returns whether there were any. */
static bool look_at_taps(int set)
{
	bool found = false;

	if (!tap_count || syscall(SYS_poll, taps, tap_count, 0) <= 0)
		return false;
	for (int i = 0; i < tap_count; i++)
		if (taps[i].revents & POLLIN)
			found |= syscall(SYS_epoll_ctl, set, EPOLL_CTL_MOD, taps[i].fd,
					 &tap_events[i]) == 0;
	return found;
}

/* It asks, without waiting, until the answer is "none". */
int epoll_wait(int set, struct epoll_event *events, int max, int timeout)
{
	static bool again; /* not the first question after a signal */
	long n = syscall(SYS_epoll_wait, set, events, max, timeout);

	if (n == 0 && !again && look_at_taps(set))
		n = syscall(SYS_epoll_wait, set, events, max, timeout);
	again = n > 0;
	return (int)n;
}

/*
 * Lets User Mode Linux run on processors whose register state is larger than it knows (AMX).
 *
 * Debian's linux.uml (6.1) keeps 2696 bytes of extended state for a guest's process, which is all
 * up to AVX-512 and the protection keys. The host's PTRACE_SETREGSET wants the whole of its own
 * state (11008 bytes with AMX) and refuses less with EFAULT, so that no guest gets as far as its
 * first program. This library is preloaded into linux.uml and hands the host the missing rest:
 * zeroes, in which the header says that it is not in use, and in guests it never is.
 *
 * linux.uml runs one virtual processor in one thread and on small stacks, hence the static buffer.
 */
#include <elf.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

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

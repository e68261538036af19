/*
 * Whom a thread acts as.
 *
 * glibc's setgroups() and its kin change all threads of the process; the raw system calls
 * change the calling thread only, which is what is wanted here. A thread's identity has two
 * parts, kept in `me`: the user and groups (fsuid, fsgid, groups), and which capabilities are in
 * effect. For a user other than root none is but CAP_SETUID and CAP_SETGID: the kernel takes
 * away by itself those that override file permissions when fsuid leaves 0, but not for instance
 * CAP_SYS_RESOURCE, with which users could exceed their quota and take the blocks that
 * are reserved for root.
 *
 *	daemon's own --assume(user)--> user, bare <--assume(user)/privileged()--> user, all caps
 *	     ^                                                                        |
 *	     +------------------------ backend_restore_identity() --------------------+
 *
 * An identity stays with the thread until the next one is assumed, so that consecutive requests
 * of one user cost nothing. The daemon's own is fsuid 0 with all capabilities it was permitted.
 * The thread holds a reference to its identity; equal identities are one pointer (base/cred.h).
 *
 * The thread also leaves the file system context (umask, working directory) that threads
 * otherwise share, so that a request's umask (RFC 8275) is applied by the kernel, which knows
 * when a default ACL takes its place.
 */
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/vfs/vfs.h"
#include "base/log.h"

#ifdef SYS_setgroups32
#define SYS_SETGROUPS SYS_setgroups32
#define SYS_SETFSUID  SYS_setfsuid32
#define SYS_SETFSGID  SYS_setfsgid32
#else
#define SYS_SETGROUPS SYS_setgroups
#define SYS_SETFSUID  SYS_setfsuid
#define SYS_SETFSGID  SYS_setfsgid
#endif

#define CAP_BIT(cap) (1ull << (cap))
#define CAPS_OF_USER (CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID))

static _Thread_local struct {
	bool ready;		 /* the rest holds */
	const struct cred *cred; /* NULL: the daemon's own identity, or none that is sure */
	bool sure;		 /* cred is what the kernel has */
	bool all_caps;		 /* all of `caps` are in effect */
	mode_t umask;
	uint64_t caps; /* permitted to the thread */
} me;

static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;

static void thread_exits(void *unused)
{
	cred_unref(me.cred);
	me.cred = NULL;
	me.sure = false;
}

static void make_key(void)
{
	if (pthread_key_create(&exit_key, thread_exits) != 0)
		abort();
}

static int caps_get(uint64_t *permitted)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
	return 0;
}

static int caps_set(uint64_t effective)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .permitted = (uint32_t)me.caps, .effective = (uint32_t)effective },
		{ .permitted = (uint32_t)(me.caps >> 32),
		  .effective = (uint32_t)(effective >> 32) },
	};

	if (syscall(SYS_capset, &header, data) < 0)
		return -errno;
	return 0;
}

/*
 * Nothing is known of the identity of a new thread: it has inherited its maker's, who may have
 * been acting as a user.
 */
static int thread_begin(void)
{
	int err = caps_get(&me.caps);

	if (err)
		return err;
	pthread_once(&exit_once, make_key);
	if (pthread_setspecific(exit_key, &me) != 0)
		return -ENOMEM;
	if (unshare(CLONE_FS) < 0)
		return -errno;
	umask(0);
	me.umask = 0;
	me.all_caps = false;
	me.cred = NULL;
	me.sure = false;
	me.ready = true;
	return 0;
}

static inline int thread_ready(void)
{
	return likely(me.ready) ? 0 : thread_begin();
}

/* setfsuid and setfsgid report the previous value, never failure: ask again to be sure. */
static int switch_ids(const struct cred *to, const struct cred *from)
{
	bool same_groups = from && from->ngroups == to->ngroups &&
			   (to->ngroups == 0 ||
			    memcmp(from->groups, to->groups, to->ngroups * sizeof(gid_t)) == 0);

	if (!same_groups && syscall(SYS_SETGROUPS, (size_t)to->ngroups, to->groups) < 0)
		return -errno;
	/* Each change costs about a microsecond. */
	if (!from || from->gid != to->gid)
		syscall(SYS_SETFSGID, to->gid);
	if (!from || from->uid != to->uid)
		syscall(SYS_SETFSUID, to->uid);
	if ((gid_t)syscall(SYS_SETFSGID, -1) != to->gid ||
	    (uid_t)syscall(SYS_SETFSUID, -1) != to->uid)
		return -EPERM;
	return 0;
}

/* Once: it is a matter of how the server was started, or of a client's nonsense. */
static void complain(const struct cred *cred, int err)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&said))
		log_warn("cannot act as user %u, group %u: %s; such requests are refused",
			 cred->uid, cred->gid, strerror(-err));
}

static int assume(const struct cred *cred)
{
	int err = thread_ready();

	if (err)
		return err;
	if (me.cred != cred || !me.sure) {
		/* Between users the capabilities stay as they are. */
		bool bare = me.sure && me.cred && me.cred->uid != 0 && !me.all_caps;

		err = switch_ids(cred, me.sure ? me.cred : NULL);
		me.sure = false;
		if (err) {
			complain(cred, err);
			return err;
		}
		cred_unref(me.cred);
		me.cred = cred_ref(cred);
		if (bare && cred->uid != 0) {
			me.sure = true;
			return 0;
		}
	}
	/* The kernel has changed some of them together with fsuid. */
	err = caps_set(cred->uid == 0 ? me.caps : me.caps & CAPS_OF_USER);
	me.sure = !err;
	me.all_caps = cred->uid == 0;
	return err;
}

int vfs_assume(const struct cred *cred)
{
	if (likely(me.cred == cred && me.sure && (!me.all_caps || cred->uid == 0)))
		return 0;
	return assume(cred);
}

int vfs_assume_privileged(void)
{
	int err = thread_ready();

	if (err || likely(me.all_caps && me.sure))
		return err;
	err = caps_set(me.caps);
	if (!err)
		me.all_caps = true;
	return err;
}

bool vfs_privileged(void)
{
	return me.ready && me.all_caps;
}

void vfs_drop_privileges(void)
{
	if (me.cred && me.sure && vfs_assume(me.cred) < 0)
		me.sure = false;
}

void backend_restore_identity(void)
{
	if (me.ready && !me.cred && me.sure && me.all_caps)
		return;
	me.sure = false;
	if (thread_ready() < 0 || switch_ids(cred_root(), NULL) < 0 || caps_set(me.caps) < 0)
		log_error("a thread cannot take back the server's own identity");
	else
		me.sure = true;
	cred_unref(me.cred);
	me.cred = NULL;
	me.all_caps = true;
}

void vfs_umask(mode_t mask)
{
	if (thread_ready() == 0 && me.umask != mask) {
		umask(mask);
		me.umask = mask;
	}
}

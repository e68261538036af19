#include "nfsd/privileges.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/compiler.h"
#include "base/log.h"

/*
 * `needed`: a kernel's file system cannot be served without it. While a thread acts as a user it
 * has none of these in effect but CAP_SETUID and CAP_SETGID (backends/vfs/credentials.c).
 */
static const struct {
	cap_value_t cap;
	bool needed;
	const char *name;
} kept[] = {
	{ CAP_CHOWN, true, "CAP_CHOWN" },
	/* root of a no_root_squash client */
	{ CAP_DAC_OVERRIDE, true, "CAP_DAC_OVERRIDE" },
	/* open_by_handle_at(2) */
	{ CAP_DAC_READ_SEARCH, true, "CAP_DAC_READ_SEARCH" },
	{ CAP_FOWNER, true, "CAP_FOWNER" },
	{ CAP_FSETID, true, "CAP_FSETID" },
	/* setfsuid(2) and its kin, for every request's user */
	{ CAP_SETUID, true, "CAP_SETUID" },
	{ CAP_SETGID, true, "CAP_SETGID" },
	/* device files */
	{ CAP_MKNOD, false, "CAP_MKNOD" },
	/* to find out whether programs on this machine have a file open */
	{ CAP_LEASE, false, "CAP_LEASE" },
	/* reserved blocks, and root beyond its quota */
	{ CAP_SYS_RESOURCE, false, "CAP_SYS_RESOURCE" },
	/* fanotify, without which there are no delegations; private clones of mounts,
	 * trusted.* attributes, quotas: worse substitutes without */
	{ CAP_SYS_ADMIN, false, "CAP_SYS_ADMIN" },
};

static bool has_cap(cap_t caps, cap_value_t cap)
{
	cap_flag_value_t on = CAP_CLEAR;

	return cap_get_flag(caps, cap, CAP_PERMITTED, &on) == 0 && on == CAP_SET;
}

bool privileges_suffice(char *missing, size_t size)
{
	cap_t caps = cap_get_proc();
	size_t len = 0;

	missing[0] = '\0';
	if (!caps) {
		snprintf(missing, size, "all (capget: %s)", strerror(errno));
		return false;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kept) && len < size; i++)
		if (kept[i].needed && !has_cap(caps, kept[i].cap))
			len += (size_t)snprintf(missing + len, size - len, "%s%s", len ? " " : "",
						kept[i].name);
	cap_free(caps);
	return len == 0;
}

static bool is_kept(cap_value_t cap)
{
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		if (kept[i].cap == cap)
			return true;
	return false;
}

/* Without CAP_SETPCAP the bounding set stays: then no_new_privs has to do. */
static void drop_bounding_set(cap_t caps)
{
	if (!has_cap(caps, CAP_SETPCAP))
		return;
	for (cap_value_t cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!is_kept(cap) && CAP_IS_SUPPORTED(cap) && cap_drop_bound(cap) != 0)
			log_debug("capability %d stays in the bounding set: %s", cap,
				  strerror(errno));
}

int privileges_drop(void)
{
	cap_t have = cap_get_proc(), want = cap_init();
	int rc = 0;

	if (!have || !want) {
		rc = -errno;
		goto out;
	}
	for (size_t i = 0; i < ARRAY_SIZE(kept) && !rc; i++) {
		cap_value_t cap = kept[i].cap;

		if (has_cap(have, cap) &&
		    (cap_set_flag(want, CAP_PERMITTED, 1, &cap, CAP_SET) != 0 ||
		     cap_set_flag(want, CAP_EFFECTIVE, 1, &cap, CAP_SET) != 0))
			rc = -errno;
	}
	if (rc)
		goto out;
	drop_bounding_set(have);
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (cap_set_proc(want) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		rc = -errno;
out:
	cap_free(have);
	cap_free(want);
	return rc;
}

/* What fs.nr_open allows. */
static rlim_t nofile_ceiling(void)
{
	unsigned long n = 0;
	FILE *f = fopen("/proc/sys/fs/nr_open", "re");

	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

unsigned long privileges_raise_nofile(void)
{
	struct rlimit now, want;

	if (getrlimit(RLIMIT_NOFILE, &now) != 0)
		return 0;
	want.rlim_cur = want.rlim_max = nofile_ceiling();
	if (want.rlim_max > now.rlim_max && setrlimit(RLIMIT_NOFILE, &want) == 0)
		return want.rlim_cur;
	now.rlim_cur = now.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &now) != 0 && getrlimit(RLIMIT_NOFILE, &now) != 0)
		return 0;
	return now.rlim_cur;
}

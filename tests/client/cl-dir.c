/*
 * Large directories: made, listed, and listed while they change.
 *
 *   cl-dir make  DIR PREFIX COUNT      empty files PREFIX0000000...
 *   cl-dir check DIR PREFIX COUNT      each of them is listed exactly once; prints how many other
 * names there are cl-dir remove DIR PREFIX COUNT cl-dir churn DIR SECONDS           creates,
 * renames and removes other names ("churn...") for that long cl-dir race  DIR PREFIX COUNT N    N
 * listings while a process churns; readdir must give each stable name once cl-dir seek  DIR telldir
 * and seekdir lead back to the same names
 */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "cl.h"

static DIR *open_dir(const char *path)
{
	DIR *dir = opendir(path);

	if (!dir)
		die_errno("opendir", path);
	return dir;
}

static void make(const char *path, const char *prefix, int64_t count)
{
	char name[PATH_MAX];

	for (int64_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%s%07lld", path, prefix, (long long)i);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);

		if (fd < 0)
			die_errno("create", name);
		if (close(fd))
			die_errno("close", name);
	}
}

static void remove_all(const char *path, const char *prefix, int64_t count)
{
	char name[PATH_MAX];

	for (int64_t i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s/%s%07lld", path, prefix, (long long)i);
		if (unlink(name))
			die_errno("unlink", name);
	}
}

/* One listing; returns how many names there are beside the stable ones, "." and "..". */
static int64_t check(const char *path, const char *prefix, int64_t count)
{
	size_t length = strlen(prefix);
	unsigned char *seen = calloc((size_t)count + 1, 1);
	int64_t stable = 0, others = 0;
	int dots = 0;
	DIR *dir = open_dir(path);
	struct dirent *e;

	if (!seen)
		die("no memory");
	while (errno = 0, (e = readdir(dir))) {
		char *end;
		long long n;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
			dots++;
			continue;
		}
		if (strncmp(e->d_name, prefix, length)) {
			others++;
			continue;
		}
		n = strtoll(e->d_name + length, &end, 10);
		if (*end || n < 0 || n >= count)
			die("%s: a name that nobody made: %s", path, e->d_name);
		if (seen[n]++)
			die("%s: %s is listed twice", path, e->d_name);
		stable++;
	}
	if (errno)
		die_errno("readdir", path);
	if (dots != 2)
		die("%s: . and .. are listed %d times together", path, dots);
	for (int64_t i = 0; stable != count && i < count; i++)
		if (!seen[i])
			die("%s: %lld of %lld names are missing; the first is %s%07lld", path,
			    (long long)(count - stable), (long long)count, prefix, (long long)i);
	free(seen);
	closedir(dir);
	return others;
}

static void churn_once(const char *path, struct stream *s)
{
	char a[PATH_MAX], b[PATH_MAX];

	snprintf(a, sizeof(a), "%s/churn%03d", path, (int)below(s, 500));
	snprintf(b, sizeof(b), "%s/churn%03d", path, (int)below(s, 500));
	switch (below(s, 3)) {
	case 0: {
		int fd = open(a, O_WRONLY | O_CREAT, 0644);

		if (fd < 0)
			die_errno("create", a);
		close(fd);
		break;
	}
	case 1:
		if (rename(a, b) && errno != ENOENT)
			die_errno("rename", a);
		break;
	default:
		if (unlink(a) && errno != ENOENT)
			die_errno("unlink", a);
	}
}

static void churn(const char *path, int64_t seconds)
{
	struct stream s = { 42 };
	time_t end = time(NULL) + seconds;

	while (time(NULL) < end)
		churn_once(path, &s);
}

static void race(const char *path, const char *prefix, int64_t count, int64_t rounds)
{
	int64_t others = 0;
	int status;
	pid_t pid = fork();

	if (pid < 0)
		die_errno("fork", "");
	if (pid == 0) {
		churn(path, 3600);
		_exit(0);
	}
	for (int64_t i = 0; i < rounds; i++)
		others += check(path, prefix, count);
	if (waitpid(pid, &status, WNOHANG) != 0)
		die("the churning process failed");
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	printf("%lld changing names seen in %lld listings\n", (long long)others, (long long)rounds);
}

static void seek(const char *path)
{
	enum { MAX = 1000 };
	struct {
		long at;
		char name[NAME_MAX + 1];
	} *mark = calloc(MAX, sizeof(*mark));
	DIR *dir = open_dir(path);
	struct dirent *e;
	size_t n = 0, every = 0;

	if (!mark)
		die("no memory");
	for (;;) {
		long at = telldir(dir);

		e = readdir(dir);
		if (!e)
			break;
		if (every++ % 17 || n == MAX)
			continue;
		mark[n].at = at;
		strcpy(mark[n++].name, e->d_name);
	}
	while (n--) {
		seekdir(dir, mark[n].at);
		e = readdir(dir);
		if (!e || strcmp(e->d_name, mark[n].name))
			die("%s: position %ld was %s, now %s", path, mark[n].at, mark[n].name,
			    e ? e->d_name : "the end");
	}
	closedir(dir);
	free(mark);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	if (argc == 5 && !strcmp(verb, "make"))
		make(argv[2], argv[3], number(argv[4]));
	else if (argc == 5 && !strcmp(verb, "check"))
		printf("%lld\n", (long long)check(argv[2], argv[3], number(argv[4])));
	else if (argc == 5 && !strcmp(verb, "remove"))
		remove_all(argv[2], argv[3], number(argv[4]));
	else if (argc == 4 && !strcmp(verb, "churn"))
		churn(argv[2], number(argv[3]));
	else if (argc == 6 && !strcmp(verb, "race"))
		race(argv[2], argv[3], number(argv[4]), number(argv[5]));
	else if (argc == 3 && !strcmp(verb, "seek"))
		seek(argv[2]);
	else
		die("usage: cl-dir make|check|remove DIR PREFIX COUNT, race DIR PREFIX COUNT N, "
		    "churn DIR SECONDS, "
		    "seek DIR");
	return 0;
}

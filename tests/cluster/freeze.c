/*
 * Stops some threads of a process, while its others go on: as a deadlock does, or a file system that does not
 * answer.
 *
 *	cluster_freeze PID NAME...
 *
 * Says `frozen N` when N threads with one of these names stand still, and lets them go on when it ends, which it
 * does when its standard input ends.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_named(const char *pid, const char *tid, char **names, int n)
{
	char path[300], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/task/%s/comm", pid, tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(name, sizeof(name), f))
		name[0] = '\0';
	fclose(f);
	name[strcspn(name, "\n")] = '\0';
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool freeze(pid_t tid)
{
	int status;

	return ptrace(PTRACE_SEIZE, tid, NULL, NULL) == 0 && ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) == 0 &&
	       waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status);
}

/* Until the input ends. Who is killed meanwhile has not gone before its tracer has seen it. */
static void hold(void)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };

	while (poll(&input, 1, 20) == 0)
		while (waitpid(-1, NULL, __WALL | WNOHANG) > 0)
			;
}

int main(int argc, char **argv)
{
	char path[300];
	struct dirent *e;
	unsigned n = 0;
	DIR *d;

	if (argc < 3)
		return 2;
	snprintf(path, sizeof(path), "/proc/%s/task", argv[1]);
	d = opendir(path);
	if (!d)
		return 1;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.' || !is_named(argv[1], e->d_name, argv + 2, argc - 2))
			continue;
		if (!freeze(atoi(e->d_name))) {
			fprintf(stderr, "thread %s: %s\n", e->d_name, strerror(errno));
			return 1;
		}
		n++;
	}
	closedir(d);
	printf("frozen %u\n", n);
	fflush(stdout);
	hold();
	return 0;
}

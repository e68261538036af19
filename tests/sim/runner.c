#include "tests/sim/runner.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"

#define MOST_PROFILES 32
#define ENOUGH_COMMANDS 5000 /* in a run, for everything to happen in one of each profile */

struct session {
	const struct runner *r;
	struct runner_counts *shared; /* with the child */
	struct runner_counts total;
	uint64_t commands, runs, failed;
	uint64_t done[MOST_PROFILES], seeds[MOST_PROFILES];
	bool wanted[MOST_PROFILES];
};

/* A run's own words for a failure are its own; a signal has none. */
static void say_end(const struct session *s, unsigned i, uint64_t seed, int status)
{
	if (!WIFEXITED(status))
		printf("not ok - %s seed %" PRIu64 ": ended by signal %d\n", s->r->profile(i), seed,
		       WTERMSIG(status));
	printf("# reproduce: %s --seed %" PRIu64 " --seeds 1 --commands %" PRIu64 " %s\n",
	       s->r->program, seed, s->commands, s->r->profile(i));
	fflush(stdout);
}

static void run_one(struct session *s, unsigned i, uint64_t seed)
{
	int status = 0;
	pid_t child;

	*s->shared = (struct runner_counts){ 0 };
	fflush(stdout);
	child = fork();
	if (child == 0) {
		s->r->run(i, seed, s->commands, s->shared);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("# a run cannot be made");
		exit(1);
	}
	s->runs++;
	s->seeds[i]++;
	s->done[i] += s->shared->done;
	s->total.done += s->shared->done;
	s->total.applied += s->shared->applied;
	for (unsigned k = 0; k < RUNNER_SEEN; k++)
		s->total.seen[k] += s->shared->seen[k];
	if (status == 0)
		return;
	s->failed++;
	say_end(s, i, seed, status);
}

static void run_seed(struct session *s, uint64_t seed)
{
	for (unsigned i = 0; i < s->r->nprofiles; i++) {
		if (s->wanted[i])
			run_one(s, i, seed);
	}
}

/* One seed alone may have had little quorum. */
static void check_least(struct session *s)
{
	for (unsigned i = 0; i < s->r->nprofiles && s->r->least; i++) {
		if (s->seeds[i] < 4 || s->done[i] >= s->commands * s->seeds[i] / s->r->least)
			continue;
		printf("not ok - %s: hardly anything was done\n", s->r->profile(i));
		s->runs++;
		s->failed++;
	}
}

/* Only of all profiles together: not each has the faults that it takes. */
static void check_seen(struct session *s)
{
	for (unsigned i = 0; i < s->r->nprofiles; i++)
		if (!s->seeds[i] || s->commands < ENOUGH_COMMANDS)
			return;
	for (unsigned k = 0; k < RUNNER_SEEN && s->r->seen[k]; k++) {
		printf("%s - %s: %" PRIu64 "\n", s->total.seen[k] ? "ok" : "not ok", s->r->seen[k],
		       s->total.seen[k]);
		s->runs++;
		s->failed += !s->total.seen[k];
	}
}

/* Of the processor: others may be at work beside. */
static void say_speed(const struct session *s)
{
	struct rusage u;
	double seconds;

	getrusage(RUSAGE_CHILDREN, &u);
	seconds = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		  (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6 + 1e-6;
	printf("# a second of one core: %.0f requests answered, %.0f commands applied\n",
	       (double)s->total.done / seconds, (double)s->total.applied / seconds);
}

static void choose(struct session *s, int n, char **names)
{
	for (unsigned i = 0; i < s->r->nprofiles; i++) {
		s->wanted[i] = n == 0;
		for (int k = 0; k < n; k++)
			s->wanted[i] |= strcmp(names[k], s->r->profile(i)) == 0;
	}
}

int runner_main(const struct runner *r, int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "seeds", required_argument, NULL, 'n' },
		{ "seconds", required_argument, NULL, 't' },
		{ "commands", required_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' },
		{ 0 },
	};
	uint64_t seed = random_u64() >> 32, seeds = 3, seconds = 0, begun = clock_mono_ns();
	struct session s = { .r = r, .commands = 20000 };
	int opt;

	log_set_level(LOG_LEVEL_ERROR);
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			seed = strtoull(optarg, NULL, 10);
		else if (opt == 'n')
			seeds = strtoull(optarg, NULL, 10);
		else if (opt == 't')
			seconds = strtoull(optarg, NULL, 10);
		else if (opt == 'c')
			s.commands = strtoull(optarg, NULL, 10);
		else if (opt == 'v')
			log_set_level(LOG_LEVEL_DEBUG);
		else
			return 2;
	}
	s.shared = mmap(NULL, sizeof(*s.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s.shared == MAP_FAILED || r->nprofiles > MOST_PROFILES)
		return 1;
	choose(&s, argc - optind, argv + optind);
	printf("# first seed %" PRIu64 "\n", seed);
	for (uint64_t n = 0; seconds ? clock_mono_ns() - begun < seconds * NS_PER_SEC : n < seeds; n++)
		run_seed(&s, seed + n);
	check_least(&s);
	check_seen(&s);
	printf("1..%" PRIu64 "\n", s.runs);
	say_speed(&s);
	munmap(s.shared, sizeof(*s.shared));
	return s.failed ? 1 : 0;
}

/*
 * When a loop waits awake.
 *
 * A thread that sleeps in epoll_wait() costs the next request a wake-up: on virtual machines, where
 * an idle processor is left to the host, some 10 us, as much as a small request takes altogether. So
 * a loop whose requests come one after the other asks epoll again and again for a little while
 * before it sleeps.
 *
 * - Short sleeps after single calls are counted; SPIN_AFTER of them in a row and the next wait is spun.
 * - A spin that meets its event earns a credit; one in vain (SPIN_NS went by) costs SPIN_COST of them:
 *   another thread may have wanted the processor, even the client.
 * - No credit left: short sleeps are counted anew, from -penalty, which doubles each time. With all of
 *   its credit again a loop has no penalty to fear.
 *
 * So an idle server sleeps, and spins that do not pay are few: one in thousands of waits. With more
 * calls in a turn wake-ups are shared, and the processor has better uses.
 *
 * All of it is the loop's owner's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SPIN_NS		  20000 /* awake for that long at most */
#define SPIN_SHORT_NS	  50000 /* a wait, wake-up included, that a spin might replace */
#define SPIN_AFTER	  8
#define SPIN_COST	  8
#define SPIN_CREDIT_MOST  64
#define SPIN_PENALTY_MOST 4096

struct spin {
	int shorts; /* short sleeps in a row; below 0: after too many spins in vain */
	int credit;
	int penalty;
};

/* Is the next wait to be spun? */
static inline bool spin_wanted(const struct spin *s)
{
	return s->shorts >= SPIN_AFTER;
}

static inline void spin_ended(struct spin *s, bool hit, uint64_t ns)
{
	if (hit && ns <= SPIN_SHORT_NS) {
		if (s->credit < SPIN_CREDIT_MOST && ++s->credit == SPIN_CREDIT_MOST)
			s->penalty = 0;
		return;
	}
	s->credit -= SPIN_COST;
	s->shorts = 0;
	if (s->credit >= 0)
		return;
	s->credit = 0;
	s->penalty = s->penalty ? 2 * s->penalty : 2 * SPIN_AFTER;
	if (s->penalty > SPIN_PENALTY_MOST)
		s->penalty = SPIN_PENALTY_MOST;
	s->shorts = -s->penalty;
}

/* Something came after a sleep of `ns`; `single`: there had been one call before it at most. */
static inline void spin_slept(struct spin *s, bool single, uint64_t ns)
{
	if (!single || ns > SPIN_SHORT_NS)
		s->shorts = s->shorts < 0 ? s->shorts : 0;
	else if (s->shorts < SPIN_AFTER)
		s->shorts++;
}

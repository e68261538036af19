/*
 * What a command leaves to be done with files: to close those that nobody holds any more, to take
 * clients' locks off them. A cluster file system may keep one waiting for that as long as it
 * recovers, and the thread of the cluster's log must not wait for it: nothing would be applied here
 * meanwhile, and the others would put this node out. So it collects what a command leaves, and the
 * request that has submitted the command does it before it goes on; its client is told of the CLOSE
 * when the file is closed and its locks are off.
 *
 * What others have submitted, or nobody waits for (a client's expiry or move, a revocation), is done by a
 * thread of its own, one command after the other.
 */
#pragma once

#include <stdbool.h>

struct chore;
struct chores;
struct nfs_server;

/* The thread; 0 or -errno. */
int chores_start(struct nfs_server *s, struct chores **out);
/*
 * Leaves to it what chores_collected() gave, NULL: nothing. Never waits for a file system; but if `c` is NULL
 * it is all done here.
 */
void chores_hand_over(struct chores *c, struct nfs_server *s, struct chore *first);
/* Nothing more comes. Waits until all is done, which may be long. NULL is allowed. */
void chores_stop(struct chores *c);

/* From here on this thread puts off what it can, until chores_collected() gives it to the caller,
 * NULL: nothing. */
void chores_collect(void);
struct chore *chores_collected(void);
/*
 * Is to be done later: `run` will get `arg`. False: this thread does not collect, or there is no
 * memory; then the caller does it.
 */
bool chores_put_off(void (*run)(struct nfs_server *s, void *arg), void *arg);
/* Does this thread collect? */
bool chores_collects(void);
/* Has it put off something, after which others must come? */
bool chores_any(void);
/*
 * Does all of it, in order. It may block, as it may without a cluster, where the request does the
 * same while its command is applied; but hardly ever does, so nothing is announced (base/blocking.h):
 * to give each CLOSE's loop away would cost more than the CLOSE.
 */
void chores_run(struct nfs_server *s, struct chore *first);

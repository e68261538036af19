/*
 * What a command leaves to be done with files: to close those that nobody holds any more, to take
 * clients' locks off them. A cluster file system may keep one waiting for that as long as it
 * recovers, and the thread of the cluster's log must not wait for it: nothing would be applied here
 * meanwhile, and the others would put this node out. So it collects what a command leaves, and the
 * request that has submitted the command does it before it goes on; its client is told of the CLOSE
 * when the file is closed and its locks are off.
 *
 * What others have submitted, or nobody waits for, is done at once as ever: a client's expiry or
 * move.
 */
#pragma once

#include <stdbool.h>

struct chore;
struct nfs_server;

/* From here on this thread puts off what it can, until chores_collected() gives it to the caller,
 * NULL: nothing. */
void chores_collect(void);
struct chore *chores_collected(void);
/*
 * Is to be done later: `run` will get `arg`. False: this thread does not collect, or there is no
 * memory; then the caller does it.
 */
bool chores_put_off(void (*run)(struct nfs_server *s, void *arg), void *arg);
/* Has this thread put off something, after which others must come? */
bool chores_any(void);
/* Does all of it, in order. May block. */
void chores_run(struct nfs_server *s, struct chore *first);

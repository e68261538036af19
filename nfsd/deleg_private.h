/* What the files of delegations share. */
#pragma once

#include <stdatomic.h>

#include "base/list.h"
#include "base/lock.h"

#define DELEG_PLACES	 4096
#define DELEG_COMPLAINTS 64

struct nfs_server;
struct delegations;

/* deleg_full.c: once a second; every call has ended. */
void deleg_full_tick(struct nfs_server *s);
void deleg_full_end(struct delegations *d);

struct delegations {
	_Atomic uint64_t recalled[DELEG_PLACES]; /* RECALLED_TIME: when; the rest: whose hash */
	_Atomic uint32_t guards[DELEG_PLACES];
	atomic_flag complained[DELEG_COMPLAINTS];

	struct mutex lock;
	struct list failed;	 /* under lock: struct recall */
	struct list unreturned;	 /* under lock: struct unheard that the log did not take */
	struct list recalls_any; /* under lock, deleg_full.c: who was asked lately */

	struct mutex ask_lock; /* deleg_ask.c */
	struct list queries;   /* under ask_lock: questions on their way */

	struct mutex agree_lock; /* deleg_agree.c */
	struct list agreements;	 /* under agree_lock: grants that others have to know, oldest first */
	_Atomic bool is_silent;	 /* as of the last tick: a node is, so that there is no agreement */
};

/*
 * What has to be done again and again, and now and then on demand, by threads of its own: so that a
 * file system or a disk that keeps one waiting holds up neither the others nor the process's first
 * thread, which takes signals and tells the supervisor of a cluster node that the server is well.
 */
#pragma once

#include <stdbool.h>

struct keeping;

/* One thread's work. */
struct keeping_work {
	const char *name;	 /* the thread's; at most 15 bytes */
	void (*tick)(void *arg); /* about once a second */
	void (*ask)(void *arg);	 /* after keeping_ask(); may be NULL */
	void *arg;
};

/* Starts the thread: 0 or -errno. */
int keeping_start(const struct keeping_work *work, struct keeping **out);
/* ask() is to run soon; several that come before it does are one. Any thread, never blocks. */
void keeping_ask(struct keeping *k);
/* Waits until the thread has ended, which may be long if it waits for a disk. NULL is allowed. */
void keeping_stop(struct keeping *k);

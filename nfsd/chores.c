#include "nfsd/chores.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#include "backends/backend.h"
#include "base/lock.h"

struct chore {
	struct chore *next;
	void (*run)(struct nfs_server *s, void *arg);
	void *arg;
};

static _Thread_local struct collection {
	bool collects;
	struct chore *first, **end;
} mine;

static void free_file(struct nfs_server *s, void *arg)
{
	struct file *file = arg;

	file->object->backend->file_free(file);
}

static bool put_off_file(struct file *file)
{
	return chores_put_off(free_file, file);
}

void chores_collect(void)
{
	mine = (struct collection){ .collects = true };
	mine.end = &mine.first;
	file_on_last(put_off_file);
}

struct chore *chores_collected(void)
{
	mine.collects = false;
	file_on_last(NULL);
	return mine.first;
}

bool chores_put_off(void (*run)(struct nfs_server *s, void *arg), void *arg)
{
	struct chore *c = mine.collects ? malloc(sizeof(*c)) : NULL;

	if (!c)
		return false;
	*c = (struct chore){ .run = run, .arg = arg };
	*mine.end = c;
	mine.end = &c->next;
	return true;
}

bool chores_collects(void)
{
	return mine.collects;
}

bool chores_any(void)
{
	return mine.collects && mine.first;
}

void chores_run(struct nfs_server *s, struct chore *first)
{
	while (first) {
		struct chore *c = first;

		first = c->next;
		c->run(s, c->arg);
		free(c);
	}
}

/* ---- the thread ---- */

struct chores {
	struct nfs_server *server; /* immutable */
	pthread_t thread;

	struct mutex lock; /* guards the rest */
	struct cond news;
	struct chore *first, **end;
	bool stop;
};

static void *run(void *arg)
{
	struct chores *c = arg;
	struct chore *first;

	pthread_setname_np(pthread_self(), "chores");
	mutex_lock(&c->lock);
	while (c->first || !c->stop) {
		first = c->first;
		if (!first) {
			cond_wait(&c->news, &c->lock);
			continue;
		}
		c->first = NULL;
		c->end = &c->first;
		mutex_unlock(&c->lock);
		chores_run(c->server, first);
		mutex_lock(&c->lock);
	}
	mutex_unlock(&c->lock);
	return NULL;
}

static void chores_free(struct chores *c)
{
	mutex_destroy(&c->lock);
	cond_destroy(&c->news);
	free(c);
}

int chores_start(struct nfs_server *s, struct chores **out)
{
	struct chores *c = calloc(1, sizeof(*c));
	sigset_t all, before;
	int err;

	if (!c)
		return -ENOMEM;
	c->server = s;
	c->end = &c->first;
	mutex_init(&c->lock);
	cond_init(&c->news);
	/* Signals are the first thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&c->thread, NULL, run, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err) {
		chores_free(c);
		return -err;
	}
	*out = c;
	return 0;
}

void chores_hand_over(struct chores *c, struct nfs_server *s, struct chore *first)
{
	if (!first)
		return;
	if (!c) {
		chores_run(s, first);
		return;
	}
	mutex_lock(&c->lock);
	*c->end = first;
	while (*c->end)
		c->end = &(*c->end)->next;
	cond_signal(&c->news);
	mutex_unlock(&c->lock);
}

void chores_stop(struct chores *c)
{
	if (!c)
		return;
	mutex_lock(&c->lock);
	c->stop = true;
	cond_signal(&c->news);
	mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	chores_free(c);
}

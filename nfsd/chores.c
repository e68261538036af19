#include "nfsd/chores.h"

#include <stddef.h>
#include <stdlib.h>

#include "backends/backend.h"
#include "base/blocking.h"

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

bool chores_any(void)
{
	return mine.collects && mine.first;
}

void chores_run(struct nfs_server *s, struct chore *first)
{
	if (!first)
		return;
	blocking_section();
	backend_restore_identity();
	while (first) {
		struct chore *c = first;

		first = c->next;
		c->run(s, c->arg);
		free(c);
	}
}

/* The list of backends, and the last-reference side of reference counting. */
#include "backends/backend.h"

#include <string.h>

#include "backends/computed/computed.h"
#include "backends/memory/memory.h"
#include "backends/vfs/vfs.h"

const struct backend *const backend_list[] = {
	&vfs_backend,
	&memory_backend,
	&computed_backend,
	NULL,
};

const struct backend *backend_find(const char *name)
{
	for (unsigned i = 0; backend_list[i]; i++) {
		if (strcmp(backend_list[i]->name, name) == 0)
			return backend_list[i];
	}
	return NULL;
}

/*
 * The last reference is not given back here but by object_free, under whatever lock the backend
 * finds its objects by: otherwise somebody could find the object between the two steps.
 */
void object_unref(struct object *obj)
{
	if (!obj)
		return;

	uint32_t refs = atomic_load_explicit(&obj->refs, memory_order_acquire);

	while (refs > 1) {
		if (atomic_compare_exchange_weak_explicit(&obj->refs, &refs, refs - 1,
							  memory_order_acq_rel,
							  memory_order_acquire))
			return;
	}
	obj->backend->object_free(obj);
}

static _Thread_local bool (*take_last)(struct file *file);

void file_on_last(bool (*take)(struct file *file))
{
	take_last = take;
}

void file_unref(struct file *file)
{
	if (!file)
		return;
	if (atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) == 1 &&
	    !(take_last && take_last(file)))
		file->object->backend->file_free(file);
}

/* -------------------------------------------------------------------- several nodes ---- */

static _Atomic uint32_t this_node;

void backend_set_node(uint32_t node)
{
	this_node = node;
}

uint32_t backend_node(void)
{
	return this_node;
}

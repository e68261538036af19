#include "base/blocking.h"

#include <stddef.h>

static _Thread_local void (*thread_hook)(void *arg);
static _Thread_local void *thread_arg;

void blocking_set_hook(void (*hook)(void *arg), void *arg)
{
	thread_hook = hook;
	thread_arg = arg;
}

void blocking_section(void)
{
	if (thread_hook)
		thread_hook(thread_arg);
}

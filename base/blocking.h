/*
 * A thread that is about to block says so, so that whoever gave it work (rpc's loops) can let
 * another thread go on meanwhile. Code below rpc calls blocking_section() without knowing whom
 * it tells; in a thread without a hook it does nothing.
 */
#pragma once

/* Sets the calling thread's hook; NULL removes it. */
void blocking_set_hook(void (*hook)(void *arg), void *arg);

/*
 * The calling thread may now block for long: fsync, a cold page, a name service. Cheap to call
 * again within one request.
 */
void blocking_section(void);

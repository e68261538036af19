/*
 * A call's life: made for a record, run by call_run() (loop.c), finished once its reply is sent
 * or dropped. Workers keep finished calls, with their arena's first chunk and the reply's buffer,
 * for the next ones.
 */
#include "rpc/internal.h"

#include <stdlib.h>

void call_charge(struct call *call)
{
	size_t now = sizeof(*call) + call->pub.arena.total + call->pub.reply.cap;

	if (now > call->charged)
		server_mem_add(call->server, now - call->charged);
	else if (now < call->charged)
		server_mem_sub(call->server, call->charged - now);
	call->charged = now;
}

static struct call *call_alloc(struct worker *w)
{
	struct call *call = w->calls;

	if (call) {
		w->calls = call->next;
		w->ncalls--;
		return call;
	}
	call = calloc(1, sizeof(*call));
	if (!call)
		return NULL;
	call->server = w->server;
	arena_init(&call->pub.arena);
	xdr_out_init(&call->pub.reply, 0);
	call_charge(call);
	return call;
}

struct call *call_new(struct worker *w, struct rpc_conn *c, struct rxbuf *rx, const uint8_t *record,
		      size_t len)
{
	struct call *call = call_alloc(w);

	if (!call)
		return NULL;
	call->pub.auth = (struct rpc_auth){ 0 };
	call->pub.conn = rpc_conn_ref(c);
	call->pub.record_len = len;
	call->pub.reply.limit = w->server->limits.max_reply + RPC_MARK_LEN;
	call->pub.auth_error = RPC_AUTH_OK;
	call->pub.resume = NULL;
	call->pub.done = NULL;
	call->pub.user = NULL;
	call->pub.resumes_soon = false;
	call->pub.alone = false;
	call->pub.hole = (struct rpc_hole){ .fd = -1 };
	call->counted = false;
	xdr_in_init(&call->pub.args, record, len);
	call->out = (struct out){ .x = &call->pub.reply, .call = call };
	call->rx = rxbuf_ref(rx);
	call->program = NULL;
	call->auth_ops = NULL;
	call->sys = NULL;
	atomic_store_explicit(&call->park, PARK_RUNNING, memory_order_relaxed);
	list_init(&call->link);
	call->load = len;
	atomic_fetch_add(&c->load, LOAD_CALL + len);
	return call;
}

void call_held(struct call *call)
{
	size_t reply = xdr_out_total(&call->pub.reply);

	call_charge(call);
	/* Small replies are covered by the bound of the calls. */
	if (reply > 4096) {
		call->load += reply;
		atomic_fetch_add(&call->pub.conn->load, reply);
	}
}

void call_finish(struct worker *w, struct call *call)
{
	struct rpc_server *s = call->server;
	struct rpc_conn *c = call->pub.conn;

	/* Code that is not rpc's: done(), and the release of extents that were not sent. */
	if (call->pub.done || call->pub.reply.extents) {
		if (w)
			section_enter(w);
		if (call->pub.done)
			call->pub.done(&call->pub);
		xdr_out_reset(&call->pub.reply);
		if (w)
			section_leave(w);
	} else {
		xdr_out_reset(&call->pub.reply);
	}
	arena_reset(&call->pub.arena);
	rxbuf_unref(s, call->rx);
	auth_sys_unref(call->sys);
	conn_unload(c, call->load);
	call_charge(call);
	if (w && w->ncalls < WORKER_CALLS && server_may_pool(s)) {
		call->next = w->calls;
		w->calls = call;
		w->ncalls++;
	} else {
		call->next = NULL;
		call_pool_free(s, call);
	}
	rpc_conn_unref(c);
}

void call_pool_free(struct rpc_server *s, struct call *list)
{
	for (struct call *call = list, *next; call; call = next) {
		next = call->next;
		arena_free(&call->pub.arena);
		xdr_out_free(&call->pub.reply);
		server_mem_sub(s, call->charged);
		free(call);
	}
}

/* A node's virtual addresses (nfsd/vips.c) between a log, a supervisor and an RPC server that are this test. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "nfsd/vips.h"

#define SAID_MOST 16

static struct cluster_app app; /* what the log calls */
static struct vip address;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t news = PTHREAD_COND_INITIALIZER;
/* Under lock. */
static unsigned holds, drops;
static uint8_t said[SAID_MOST][64]; /* what went to all */
static size_t said_len[SAID_MOST];
static unsigned nsaid, refusals;
static int refuse_with; /* what broadcasts fail with, `refusals` times */

/* ---- what vips.c calls ---- */

static void count(unsigned *what)
{
	pthread_mutex_lock(&lock);
	(*what)++;
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
}

int supervisor_hold(struct supervisor *s, const struct vip *v, const struct vip_peer *peers, unsigned n)
{
	count(&holds);
	return 0;
}

int supervisor_drop(struct supervisor *s, const struct vip *v)
{
	count(&drops);
	return 0;
}

int rpc_server_freeze(struct rpc_server *s, const struct sockaddr *local)
{
	return 0;
}

void rpc_server_reset(struct rpc_server *s, const struct sockaddr *local)
{
}

void rpc_server_on_conn(struct rpc_server *s, void (*conn)(struct rpc_conn *, bool, void *), void *ctx)
{
}

const struct sockaddr *rpc_conn_local(const struct rpc_conn *conn)
{
	return NULL;
}

const struct sockaddr *rpc_conn_peer(const struct rpc_conn *conn)
{
	return NULL;
}

static int broadcast(struct cluster *c, const void *p, size_t len)
{
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (refusals) {
		refusals--;
		rc = refuse_with;
	} else {
		assert_true(nsaid < SAID_MOST && len <= sizeof(said[0]));
		memcpy(said[nsaid], p, len);
		said_len[nsaid++] = len;
	}
	pthread_cond_broadcast(&news);
	pthread_mutex_unlock(&lock);
	return rc;
}

static void status(struct cluster *c, struct cluster_status *out)
{
	*out = (struct cluster_status){ .nconfigured = 3, .configured = { 1, 2, 3 } };
}

static struct cluster log_of_nodes = { .broadcast = broadcast, .status = status };

static struct cluster *make_log(const struct cluster_app *a, const struct cluster_config *config)
{
	app = *a;
	return &log_of_nodes;
}

/* ---- what the test does ---- */

static void await(const unsigned *what, unsigned n)
{
	pthread_mutex_lock(&lock);
	while (*what < n)
		pthread_cond_wait(&news, &lock);
	pthread_mutex_unlock(&lock);
}

static void refuse(int with, unsigned times)
{
	pthread_mutex_lock(&lock);
	refuse_with = with;
	refusals = times;
	pthread_mutex_unlock(&lock);
}

static void await_refused(void)
{
	pthread_mutex_lock(&lock);
	while (refusals)
		pthread_cond_wait(&news, &lock);
	pthread_mutex_unlock(&lock);
}

/* The log says what was said last, as from node 1. */
static void deliver(unsigned i)
{
	app.message(app.ctx, 1, said[i], said_len[i]);
}

static void members(uint32_t n)
{
	struct cluster_members m = { .self = 1, .n = n, .nodes = { 1, 2, 3 } };

	app.members(app.ctx, &m);
}

static struct vips *holding(void)
{
	struct vips_options o = { &address, 1, NULL, make_log };
	static const struct cluster_app inner;
	struct vips *v;

	log_set_level(LOG_LEVEL_ERROR);
	holds = drops = nsaid = refusals = 0;
	assert_int_equal(vip_parse("192.0.2.1/24", &address), 0);
	v = vips_new(&o);
	assert_non_null(v);
	assert_ptr_equal(vips_cluster_new(&inner, NULL), &log_of_nodes);
	members(1);
	app.phase(app.ctx, CLUSTER_SERVING);
	await(&holds, 1);
	return v;
}

/* Others wait until a node says that it has let an address go: it does, whatever it takes. */
static void test_said_again(void **state)
{
	struct vips *v = holding();
	struct vip_view view;

	members(2);
	assert_int_equal(vips_drain(v, 1, true), 0);
	refuse(-ENOMEM, 3);
	deliver(0);
	await(&drops, 1);
	await_refused();
	await(&nsaid, 2);
	deliver(1);
	assert_int_equal(vips_list(v, &view, 1), 1);
	assert_int_equal(view.holder, 2);
	vips_free(v);
}

/* Where nobody can be told nobody waits. */
static void test_not_served(void **state)
{
	struct vips *v = holding();

	members(2);
	assert_int_equal(vips_drain(v, 1, true), 0);
	refuse(-EAGAIN, 1);
	deliver(0);
	await_refused();
	app.phase(app.ctx, CLUSTER_SUSPENDED);
	await(&drops, 2);
	vips_free(v);
	assert_int_equal(nsaid, 1);
}

static void test_drain_whom(void **state)
{
	struct vips *v = holding();

	assert_int_equal(vips_drain(v, 4, true), -ENOENT);
	assert_int_equal(vips_drain(v, 4, false), -ENOENT);
	assert_int_equal(vips_drain(v, 1, true), -EBUSY);
	/* One that is not there now. */
	assert_int_equal(vips_drain(v, 3, true), 0);
	assert_int_equal(nsaid, 1);
	deliver(0);
	assert_true(vips_is_drained(v, 3));
	assert_int_equal(vips_drain(v, 3, false), 0);
	vips_free(v);
}

static void test_drained_full(void **state)
{
	struct vips *v = holding();

	members(2);
	for (uint32_t i = 1; i <= CLUSTER_MAX_NODES; i++) {
		said[0][0] = 'V';
		said_len[0] = 1 + vip_say_drained(said[0] + 1, 100 + i, true);
		deliver(0);
	}
	assert_int_equal(vips_drain(v, 2, true), -ENOSPC);
	/* Those are no nodes any more. */
	assert_int_equal(vips_drain(v, 101, false), 0);
	deliver(0);
	assert_int_equal(vips_drain(v, 2, true), 0);
	vips_free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_said_again),
		cmocka_unit_test(test_not_served),
		cmocka_unit_test(test_drain_whom),
		cmocka_unit_test(test_drained_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

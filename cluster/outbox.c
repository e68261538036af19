#include "cluster/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCHES_IN_FLIGHT 2
#define MAX_COMMANDS	  65536
#define MAX_BYTES	  (64u << 20)
#define MAX_SAYS	  (4u << 20)
#define GATHER_MAX_NS	  (500 * 1000)

int outbox_init(struct outbox *o, int (*send)(void *ctx, const uint8_t *p, size_t len),
		uint64_t (*now)(void *ctx), void *ctx, bool safe)
{
	*o = (struct outbox){
		.send = send,
		.now = now,
		.ctx = ctx,
		.safe = safe,
		.limits = { BATCHES_IN_FLIGHT, MAX_COMMANDS, MAX_BYTES, MAX_SAYS },
		.next_batch = 1,
		.session = 1,
		.buffer = malloc(MESSAGE_MAX),
	};
	mutex_init(&o->lock);
	list_init(&o->queue);
	list_init(&o->flight);
	list_init(&o->says);
	return o->buffer ? 0 : -ENOMEM;
}

void outbox_destroy(struct outbox *o)
{
	free(o->buffer);
	mutex_destroy(&o->lock);
}

/* Copies as many queued commands as fit behind the header; the batch's length. */
static size_t fill_batch(struct outbox *o, struct message_batch *b) REQUIRES(&o->lock)
{
	size_t len = MESSAGE_BATCH_HEADER;
	struct outbox_entry *e;

	list_for_each(e, &o->queue, link) {
		if (b->count && len + 4 + e->len > MESSAGE_BATCH)
			break;
		put32(o->buffer + len, (uint32_t)e->len);
		memcpy(o->buffer + len + 4, e->bytes, e->len);
		len += 4 + e->len;
		b->count++;
	}
	message_write_batch_header(o->buffer, atomic_load(&o->session), b);
	return len;
}

/* The first `count` queued commands are in flight. */
static void launch(struct outbox *o, uint32_t count) REQUIRES(&o->lock)
{
	while (count--) {
		struct outbox_entry *e = list_first(&o->queue, struct outbox_entry, link);

		o->commands--;
		o->bytes -= e->len;
		free(e->bytes);
		e->bytes = NULL;
		e->batch = o->next_batch;
		list_remove(&e->link);
		list_push_back(&o->flight, &e->link);
	}
	o->sent_ns = o->batches ? 0 : o->now(o->ctx);
	o->batches++;
	o->next_batch++;
	o->gather = 0;
}

static void free_say(struct outbox *o, struct outbox_entry *e) REQUIRES(&o->lock)
{
	list_remove(&e->link);
	o->says_bytes -= e->len;
	free(e->bytes);
	free(e);
}

/* Have all been sent? */
static bool pump_says(struct outbox *o) REQUIRES(&o->lock)
{
	struct outbox_entry *e, *tmp;

	list_for_each_safe(e, tmp, &o->says, link) {
		if (o->send(o->ctx, e->bytes, e->len) != 0)
			return false;
		free_say(o, e);
	}
	return true;
}

/* Is what is queued worth a message now? */
static bool is_due(struct outbox *o) REQUIRES(&o->lock)
{
	if (list_empty(&o->queue) || o->batches >= o->limits.batches)
		return false;
	return o->bytes >= MESSAGE_BATCH || (!o->batches && o->commands >= o->gather);
}

/* A batch of n has come back, and nothing is in flight. */
static void begin_gathering(struct outbox *o, unsigned n) REQUIRES(&o->lock)
{
	uint64_t took = o->sent_ns ? o->now(o->ctx) - o->sent_ns : 0;

	if (took)
		o->round_ns = o->round_ns ? o->round_ns - o->round_ns / 8 + took / 8 : took;
	o->gather = n / 2;
	o->gather_until = 0;
}

/* The order's thread has told those who waited for the last batch, or comes to see whether it was long enough. */
static void gather_on(struct outbox *o) REQUIRES(&o->lock)
{
	uint64_t now, wait = o->round_ns / 2;

	if (o->gather <= 1)
		return;
	now = o->now(o->ctx);
	if (!o->gather_until)
		o->gather_until = now + (wait < GATHER_MAX_NS ? wait : GATHER_MAX_NS);
	if (now >= o->gather_until)
		o->gather = 0;
}

static void pump(struct outbox *o) REQUIRES(&o->lock)
{
	o->blocked = o->open && !pump_says(o);
	if (o->blocked)
		return;
	while (o->open && is_due(o)) {
		struct message_batch b = {
			.seq = o->next_batch,
			.acked = atomic_load(&o->applied),
			.safe = o->safe,
		};
		size_t len = fill_batch(o, &b);

		o->blocked = o->send(o->ctx, o->buffer, len) != 0;
		if (o->blocked)
			return;
		launch(o, b.count);
	}
	o->blocked = false;
}

int outbox_submit(struct outbox *o, uint8_t *bytes, size_t len, void *result,
		  void (*done)(void *arg), void *arg)
{
	struct outbox_entry *e;
	int err = 0;

	if (len > MESSAGE_MAX_COMMAND)
		return -EMSGSIZE;
	e = malloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	*e = (struct outbox_entry){
		.result = result,
		.done = done,
		.arg = arg,
		.bytes = bytes,
		.len = len,
	};
	mutex_lock(&o->lock);
	if (!o->open)
		err = -EAGAIN;
	else if (o->commands >= o->limits.commands || o->bytes + len > o->limits.bytes)
		err = -ENOBUFS;
	if (!err) {
		list_push_back(&o->queue, &e->link);
		o->commands++;
		o->bytes += len;
		pump(o);
	}
	mutex_unlock(&o->lock);
	if (err)
		free(e);
	return err;
}

int outbox_say(struct outbox *o, const void *p, size_t len)
{
	struct message m = {
		.type = MESSAGE_APP,
		.protocol = MESSAGE_PROTOCOL,
		.app = { p, len },
	};
	struct outbox_entry *e = calloc(1, sizeof(*e));
	int err = 0;

	if (e)
		e->bytes = malloc(MESSAGE_HEADER + len);
	if (!e || !e->bytes) {
		free(e);
		return -ENOMEM;
	}
	mutex_lock(&o->lock);
	if (!o->open)
		err = -EAGAIN;
	else if (o->says_bytes + MESSAGE_HEADER + len > o->limits.says)
		err = -ENOBUFS;
	if (!err) {
		m.session = atomic_load(&o->session);
		e->len = message_write(e->bytes, &m);
		o->says_bytes += e->len;
		list_push_back(&o->says, &e->link);
		pump(o);
	}
	mutex_unlock(&o->lock);
	if (err) {
		free(e->bytes);
		free(e);
	}
	return err;
}

void outbox_pump(struct outbox *o)
{
	mutex_lock(&o->lock);
	gather_on(o);
	pump(o);
	mutex_unlock(&o->lock);
}

uint64_t outbox_gathers(struct outbox *o)
{
	uint64_t ns = 0, now;

	mutex_lock(&o->lock);
	if (o->open && o->gather > 1 && o->gather_until) {
		now = o->now(o->ctx);
		ns = o->gather_until > now ? o->gather_until - now : 1;
	}
	mutex_unlock(&o->lock);
	return ns;
}

bool outbox_blocked(struct outbox *o)
{
	bool blocked;

	mutex_lock(&o->lock);
	blocked = o->blocked && o->open;
	mutex_unlock(&o->lock);
	return blocked;
}

void outbox_open(struct outbox *o)
{
	mutex_lock(&o->lock);
	o->open = true;
	mutex_unlock(&o->lock);
}

void outbox_close(struct outbox *o, struct list *queued, struct list *flight)
{
	struct outbox_entry *e, *tmp;

	mutex_lock(&o->lock);
	o->open = false;
	o->batches = 0;
	o->gather = 0;
	o->commands = 0;
	o->bytes = 0;
	list_for_each(e, &o->queue, link) {
		free(e->bytes);
		e->bytes = NULL;
	}
	list_for_each_safe(e, tmp, &o->says, link)
		free_say(o, e);
	list_splice_back(flight, &o->flight);
	list_splice_back(queued, &o->queue);
	atomic_fetch_add(&o->session, 1);
	mutex_unlock(&o->lock);
}

void outbox_take(struct outbox *o, uint64_t seq, struct list *out)
{
	struct outbox_entry *e, *tmp;
	unsigned n = 0;

	mutex_lock(&o->lock);
	list_for_each_safe(e, tmp, &o->flight, link) {
		if (e->batch != seq)
			break;
		list_remove(&e->link);
		list_push_back(out, &e->link);
		n++;
	}
	if (n && --o->batches == 0)
		begin_gathering(o, n);
	mutex_unlock(&o->lock);
}

/*
 * The commands of this node on their way into the order.
 *
 *	submitted -> queued -> in flight (in a batch) -> taken by the replica on delivery
 *	                `-----------`-> given back when the outbox is closed
 *
 * One batch is in flight at a time, or two if there is enough for a full one, so commands that come meanwhile travel
 * together in the next (group commit). The submitter's own thread sends if there is room in flight, otherwise whoever
 * learns that a batch has come back. Batches are numbered; they come back in the order in which they were sent, or
 * never, if the outbox has been closed in between.
 *
 * Those whose commands have come back together will soon have others. The first of them must not travel alone, and the
 * rest wait for its return: each message costs every node far more than a command in it does. So after a batch of
 * several the next one *gathers*: until it has half as many, or is full, or for half the time that a batch takes to come back.
 * A command that was alone, and what comes when none is expected, is sent at once. (What is told later than it comes back,
 * under `safe`, is not waited for so long: then nothing is gained, and whoever comes in that time waits in vain.)
 *
 * Lock: one, over everything here; nothing else is taken while it is held, but send() is called. It
 * may be used from any thread; outbox_take(), outbox_open() and outbox_close() are for the replica's.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/lock.h"
#include "cluster/message.h"

/* A command; free() frees it. */
struct outbox_entry {
	struct list link;
	void *result; /* NULL: nobody waits */
	void (*done)(void *arg);
	void *arg;
	uint64_t batch; /* in flight: the number of its batch */
	uint64_t index; /* applied: its place (the replica's) */
	uint8_t *bytes; /* malloc'ed; NULL once sent */
	size_t len;
};

struct outbox_limits {
	unsigned batches; /* in flight */
	size_t commands, bytes; /* queued */
	size_t says; /* bytes of whole messages that wait to be sent */
};

struct outbox {
	/* 0; -EAGAIN: not now, outbox_pump() will be called again; anything else as well. */
	int (*send)(void *ctx, const uint8_t *p, size_t len);
	uint64_t (*now)(void *ctx); /* nanoseconds */
	void *ctx;
	bool safe;		     /* batches ask for acks; immutable */
	struct outbox_limits limits; /* immutable */
	_Atomic uint64_t applied;    /* what batches say that this node has applied */
	_Atomic uint32_t session;    /* of what is sent */

	struct mutex lock;
	/* Under lock. */
	bool open;
	bool blocked; /* the last send() did not succeed */
	struct list queue, flight;
	struct list says; /* whole messages, sent before commands */
	size_t commands, bytes; /* in queue */
	size_t says_bytes;	/* in says */
	unsigned batches;	/* in flight */
	uint64_t next_batch;
	unsigned gather;       /* so many commands are worth being sent before... */
	uint64_t gather_until; /* ...this; 0: the order's thread has not begun to wait yet */
	uint64_t sent_ns;      /* when the only batch in flight was sent; 0: there are two */
	uint64_t round_ns;     /* how long one takes, on average */
	uint8_t *buffer; /* MESSAGE_MAX bytes, to build a batch in */
};

/* 0 or -ENOMEM. */
int outbox_init(struct outbox *o, int (*send)(void *ctx, const uint8_t *p, size_t len),
		uint64_t (*now)(void *ctx), void *ctx, bool safe);
/* It must be closed. */
void outbox_destroy(struct outbox *o);

/*
 * Takes over `bytes` if it returns 0. -EAGAIN: closed; -ENOBUFS: too much is queued;
 * -EMSGSIZE; -ENOMEM.
 */
int outbox_submit(struct outbox *o, uint8_t *bytes, size_t len, void *result,
		  void (*done)(void *arg), void *arg);
/*
 * Sends a message of type APP with these bytes, which are copied. 0, -EAGAIN: closed; -ENOBUFS: too much waits for
 * corosync to take it; -ENOMEM.
 */
int outbox_say(struct outbox *o, const void *p, size_t len);
/* Sends what there is room for. */
void outbox_pump(struct outbox *o);
/* After how many nanoseconds outbox_pump() should be called, because commands are gathered; 0: they are not. */
uint64_t outbox_gathers(struct outbox *o);
/* Is something waiting that send() would not take? */
bool outbox_blocked(struct outbox *o);

/* From now on commands are taken. */
void outbox_open(struct outbox *o);
/*
 * No more; those that were queued are appended to `queued`, those that were in flight to `flight`. If the latter
 * come from here on, all nodes ignore them, as they are of an earlier session.
 */
void outbox_close(struct outbox *o, struct list *queued, struct list *flight);
/* Own batch `seq` has been delivered: its entries are appended to `out`, in order. */
void outbox_take(struct outbox *o, uint64_t seq, struct list *out);

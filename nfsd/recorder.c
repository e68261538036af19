/*
 * Changes of the records are queued in the order in which the state machine's effects tell of them.
 * Whoever is about to promise something waits until all that was queued by then is written;
 * the first of those who wait writes for all (group commit), so nobody waits who need not and
 * no thread is kept for it.
 *
 * What must come before what:
 *  - a client's record before the reply with the first thing granted to it: recorder_promise();
 *  - the end of a record before others get what its client lost. EFFECT_CLIENT_FORGET comes
 *    before anything becomes free, so it is in the queue before the command that grants it to
 *    somebody else, and that one's promise waits for it;
 *  - the end of the records that nobody reclaimed before the end of the grace period whose time is
 *    up: grace_over() writes, then submits the command. When the grace period ends because all
 *    clients are done, nobody is left whose record could do harm, and they are removed later.
 *
 * Of a node of a cluster the database also says which generation of the state it has all clients of: a record
 * with a key of its own (the tag). It is in the queue behind all that was granted before and in front of all that
 * is granted in the new generation. So if a node was away when the generation changed, and everything goes
 * down later, its list has an older tag than the others', and does not count (state/grace.c).
 *
 * A record names the client ID as its holder, so that the end of one life of a client does not
 * take away the record of the next. A record is queued only while its client exists, looked up
 * under `lock`: its EFFECT_CLIENT_FORGET, if it comes at all, is behind it then.
 */
#include "nfsd/recorder.h"

#include <endian.h>
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "cluster/stable.h"
#include "nfsd/server_private.h"

struct recorder {
	struct nfs_server *server; /* immutable, as the next two */
	struct stable *stable;
	bool replicated;
	uint64_t grace_ends_ns; /* monotonic; the housekeeping thread's, as the next two */
	uint64_t served_ns;
	unsigned grace_seconds;

	struct stable_list earlier; /* replicated: from recorder_serve() on the log thread's */
	uint64_t earlier_generation[3]; /* likewise: of that list; 0: not known */
	bool served, anybody;	    /* likewise */
	/*
	 * The list of this node has not got all clients of the state, or not of its generation, until what was wanted is
	 * done: after the state was given to us, or begun, and after a grace period.
	 */
	_Atomic unsigned all_wanted, all_done; /* all_done: under catching_up */
	struct mutex catching_up; /* taken before `lock` */

	_Atomic bool grace_ended; /* and earlier instances' records are to be removed */

	struct mutex lock; /* guards the rest */
	struct cond committed;
	struct stable_change *queue;
	size_t nqueue, room;
	bool committing;
	uint64_t expected[3];	/* of the latest list there should be; 0: not known, or looked at */
	uint64_t generation[3]; /* of the state; 0: none yet */
	bool tagged;		/* the database has all clients of it, and says so */
	_Atomic uint64_t nqueued, ndone; /* ever; written under lock */
	_Atomic bool failing;		 /* the last commit promises nothing; likewise */
};

/* -------------------------------------------------------------------- the queue ---- */

static bool queue_room(struct recorder *r) REQUIRES(&r->lock)
{
	size_t room = r->room ? 2 * r->room : 64;
	struct stable_change *bigger;

	if (r->nqueue < r->room)
		return true;
	bigger = reallocarray(r->queue, room, sizeof(*bigger));
	if (!bigger)
		return false;
	r->queue = bigger;
	r->room = room;
	return true;
}

static void queue_add(struct recorder *r, const struct stable_change *change) REQUIRES(&r->lock)
{
	r->queue[r->nqueue++] = *change;
	r->nqueued++;
}

static void free_changes(struct stable_change *changes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((void *)changes[i].key.p); /* the value is behind it */
	free(changes);
}

/* Writes all that is queued, without the lock meanwhile. */
static void commit(struct recorder *r) REQUIRES(&r->lock)
{
	struct stable_change *changes = r->queue;
	size_t n = r->nqueue;
	int err;

	r->queue = NULL;
	r->nqueue = r->room = 0;
	r->committing = true;
	mutex_unlock(&r->lock);
	err = stable_commit(r->stable, changes, n);
	free_changes(changes, n);
	mutex_lock(&r->lock);
	r->committing = false;
	r->failing = err != 0;
	r->ndone += n;
	cond_broadcast(&r->committed);
}

/* Until all that has been queued by now is written, or cannot be. */
static bool flush(struct recorder *r)
{
	uint64_t upto = r->nqueued;
	bool tried = false, ok;

	if (r->ndone >= upto && !r->failing)
		return true;
	blocking_section();
	backend_restore_identity();
	mutex_lock(&r->lock);
	while (r->ndone < upto || (r->failing && !tried)) {
		tried = true;
		if (r->committing)
			cond_wait(&r->committed, &r->lock);
		else
			commit(r);
	}
	ok = !r->failing;
	mutex_unlock(&r->lock);
	return ok;
}

/* ------------------------------------------------------------ recording, forgetting ---- */

/* No client's key begins so. */
static const uint8_t tag_key[] = { 2 };
#define TAG_BYTES 24

/* From here on what is queued is of this generation. 0 or -ENOMEM. */
static int queue_tag(struct recorder *r) REQUIRES(&r->lock)
{
	uint8_t *bytes = queue_room(r) ? malloc(sizeof(tag_key) + TAG_BYTES) : NULL;

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, tag_key, sizeof(tag_key));
	for (unsigned i = 0; i < ARRAY_SIZE(r->generation); i++) {
		uint64_t word = htobe64(r->generation[i]);

		memcpy(bytes + sizeof(tag_key) + 8 * i, &word, sizeof(word));
	}
	queue_add(r, &(struct stable_change){ .key = { bytes, sizeof(tag_key) },
					      .value = { bytes + sizeof(tag_key), TAG_BYTES } });
	return 0;
}

/* If there is no memory for the tag the next promise, or tick, writes all. */
void recorder_generation(struct recorder *r, const uint64_t generation[3])
{
	mutex_lock(&r->lock);
	if (memcmp(r->generation, generation, sizeof(r->generation)) != 0) {
		memcpy(r->generation, generation, sizeof(r->generation));
		if (r->tagged && queue_tag(r) != 0) {
			r->tagged = false;
			r->all_wanted++;
		}
	}
	mutex_unlock(&r->lock);
}

void recorder_expect(struct recorder *r, const uint64_t generation[3])
{
	mutex_lock(&r->lock);
	memcpy(r->expected, generation, sizeof(r->expected));
	mutex_unlock(&r->lock);
}

/* Takes the tag out of the list. */
static void take_tag(struct recorder *r, struct stable_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		struct stable_record *found = &list->records[i], record = *found;

		if (record.key.len != sizeof(tag_key) || record.key.p[0] != tag_key[0])
			continue;
		for (unsigned k = 0; k < 3 && record.value.len == TAG_BYTES; k++) {
			uint64_t word;

			memcpy(&word, record.value.p + 8 * k, sizeof(word));
			r->earlier_generation[k] = be64toh(word);
		}
		*found = list->records[--list->n];
		free((void *)record.key.p);
		free((void *)record.value.p);
		return;
	}
}

/* One piece of memory for both, the key first. */
static bool make_change(const struct state_record *record, uint64_t clientid,
			struct stable_change *change)
{
	uint8_t *bytes = realloc(record->key, record->key_len + sizeof(record->verifier));

	if (!bytes)
		return false;
	memcpy(bytes + record->key_len, &record->verifier, sizeof(record->verifier));
	*change = (struct stable_change){
		.holder = clientid,
		.key = { bytes, record->key_len },
		.value = { bytes + record->key_len, sizeof(record->verifier) },
	};
	return true;
}

/* 0: it is queued, or need not be. */
static int record(struct recorder *r, uint64_t clientid) REQUIRES(&r->lock)
{
	struct state_record taken;
	struct stable_change change;
	int err;

	if (!queue_room(r))
		return -ENOMEM;
	err = state_record_take(r->server->state, clientid, &taken);
	if (err)
		return err == -ENOMEM ? err : 0;
	if (!make_change(&taken, clientid, &change)) {
		free(taken.key);
		state_record_untake(r->server->state, clientid);
		return -ENOMEM;
	}
	queue_add(r, &change);
	return 0;
}

/* Without memory for the queue: after all that is in it, at once. */
static void forget_now(struct recorder *r, struct stable_change *change)
{
	flush(r);
	if (stable_commit(r->stable, change, 1) != 0) {
		mutex_lock(&r->lock);
		r->failing = true;
		mutex_unlock(&r->lock);
	}
}

static void forget(struct recorder *r, const struct state_effect *effect)
{
	struct stable_change change = {
		.remove = true,
		.holder = effect->clientid,
		.key = { effect->key.p, effect->key.len },
	};
	uint8_t *copy = malloc(effect->key.len);
	bool queued = false;

	if (copy) {
		memcpy(copy, effect->key.p, effect->key.len);
		mutex_lock(&r->lock);
		queued = queue_room(r);
		if (queued) {
			change.key.p = copy;
			queue_add(r, &change);
			state_record_untake(r->server->state, effect->clientid);
		}
		mutex_unlock(&r->lock);
	}
	if (queued)
		return;
	free(copy);
	forget_now(r, &change);
}

void recorder_effect(struct recorder *r, const struct state_effect *effect)
{
	switch (effect->type) {
	case EFFECT_CLIENT_RECORD:
		/* If memory is short the promise of it tries again. */
		mutex_lock(&r->lock);
		(void)!record(r, effect->clientid);
		mutex_unlock(&r->lock);
		break;
	case EFFECT_CLIENT_FORGET:
		forget(r, effect);
		break;
	case EFFECT_GRACE_ENDED:
		r->grace_ended = true;
		break;
	default:
		break;
	}
}

static int record_all(struct recorder *r);

/*
 * Not in a grace period: it removes what has not been reclaimed. Afterwards nothing is promised before the list says that
 * it has all clients and is of this generation: after an outage right then an older one, perhaps of a node that was
 * away, would count as much. False: that cannot be had now.
 */
static bool catch_up(struct recorder *r)
{
	unsigned wanted = r->all_wanted;
	bool ok;

	if (r->all_done == wanted || state_in_grace(r->server->state))
		return true;
	blocking_section();
	backend_restore_identity();
	mutex_lock(&r->catching_up);
	wanted = r->all_wanted;
	ok = r->all_done == wanted || record_all(r) == 0;
	if (ok)
		r->all_done = wanted;
	mutex_unlock(&r->catching_up);
	return ok;
}

enum nfsstat4 recorder_promise(struct recorder *r, uint64_t clientid)
{
	bool stored;
	int err = 0;

	if (!r)
		return NFS4_OK;
	if (!catch_up(r))
		return NFS4ERR_DELAY;
	stored = !clientid || state_record_is_stored(r->server->state, clientid);
	if (!stored) {
		mutex_lock(&r->lock);
		err = record(r, clientid);
		mutex_unlock(&r->lock);
	}
	if (err || !flush(r))
		return NFS4ERR_DELAY;
	if (!stored)
		state_record_stored(r->server->state, clientid);
	return NFS4_OK;
}

/* --------------------------------------------------------------- the grace period ---- */

static struct state_reclaimer *reclaimers_of(const struct stable_list *list)
{
	struct state_reclaimer *all = calloc(list->n ? list->n : 1, sizeof(*all));

	for (size_t i = 0; all && i < list->n; i++) {
		const struct stable_record *from = &list->records[i];

		all[i].key = (struct bytes){ from->key.p, from->key.len };
		if (from->value.len == sizeof(all[i].verifier))
			memcpy(&all[i].verifier, from->value.p, from->value.len);
	}
	return all;
}

/* Not shorter than the last instance's lease: its clients ask that seldom (RFC 8881 8.4.2.1). */
static unsigned grace_seconds(const struct recorder_params *p, const struct stable_list *list)
{
	if (p->grace_seconds)
		return p->grace_seconds;
	return list->lease > p->lease_seconds ? list->lease : p->lease_seconds;
}

static void submitted(void *arg)
{
	sem_post(arg);
}

static enum nfsstat4 submit(struct recorder *r, const struct state_command *cmd)
{
	struct state_result result = { 0 };
	sem_t sem;

	sem_init(&sem, 0, 0);
	if (cluster_submit(r->server->cluster, cmd, &result, submitted, &sem) == CLUSTER_PENDING)
		while (sem_wait(&sem) != 0)
			;
	sem_destroy(&sem);
	return result.status;
}

static int begin_grace(struct recorder *r, const struct recorder_params *p,
		       const struct stable_list *list)
{
	struct state_reclaimer *all = reclaimers_of(list);
	struct state_command cmd = { .type = CMD_START_GRACE };
	enum nfsstat4 status;
	unsigned seconds = grace_seconds(p, list);
	bool anybody = list->found == STABLE_LOST;

	if (!all)
		return -ENOMEM;
	cmd.start_grace.clients = all;
	cmd.start_grace.n = (uint32_t)list->n;
	cmd.start_grace.anybody = anybody;
	status = submit(r, &cmd);
	free(all);
	if (status != NFS4_OK)
		return -ENOMEM;
	r->grace_ends_ns = clock_mono_ns() + seconds * NS_PER_SEC;
	if (anybody)
		log_warn("grace period of %u s: clients may reclaim what they held, and get "
			 "nothing new until it is over", seconds);
	else
		log_info("grace period until the %u client%s that held something have reclaimed it, "
			 "at most %u s",
			 cmd.start_grace.n, list->n == 1 ? "" : "s", seconds);
	return 0;
}

static bool write_tag(struct recorder *r)
{
	int err;

	mutex_lock(&r->lock);
	err = queue_tag(r);
	mutex_unlock(&r->lock);
	return !err && flush(r);
}

/* The time is up. First the records of those who stayed away, then what they held. */
static void end_grace(struct recorder *r)
{
	struct state_command cmd = { .type = CMD_END_GRACE };

	/* The earlier tag goes with the earlier records. */
	if (r->replicated && !write_tag(r))
		return;
	if (stable_forget_earlier(r->stable) != 0)
		return; /* logged; nothing new is granted until that works */
	/* Not waited for: in a cluster that may take until there is quorum again. */
	cluster_submit(r->server->cluster, &cmd, NULL, NULL, NULL);
}

/* ------------------------------------------------ the same for nodes of a cluster ---- */

/* Other nodes' lists may come a moment after the first node serves, and are not to be missed. */
#define LISTS_NS (3 * NS_PER_SEC)

/* A command has a limit, which the lists of thousands of clients pass: they go in pieces. */
#define PIECE_BYTES 65536

/* How many of them go into one command. */
static uint32_t one_command(const struct state_reclaimer *all, size_t n)
{
	size_t bytes = 0;
	uint32_t k = 0;

	while (k < n && bytes < PIECE_BYTES)
		bytes += all[k++].key.len + sizeof(all->verifier) + 4;
	return k;
}

/*
 * This node's list goes into the order before anything that is granted here. If others have served
 * since it was written, or something has been granted already, it has no effect.
 */
static void list_earlier(struct recorder *r, bool restored)
{
	struct state_reclaimer *all = reclaimers_of(&r->earlier), *next = all;
	size_t left = r->earlier.n;

	if (!all) {
		log_error("out of memory for the list of clients: they cannot reclaim");
		return;
	}
	/* Also an empty list: it says that there is nobody else. */
	if (!left && restored && !r->anybody && !r->earlier_generation[0])
		goto out;
	do {
		struct state_command cmd = {
			.type = CMD_START_GRACE,
			.start_grace = { .clients = next,
					 .n = one_command(next, left),
					 .anybody = r->anybody,
					 .more_to_come = true },
		};

		memcpy(cmd.start_grace.generation, r->earlier_generation,
		       sizeof(r->earlier_generation));
		cluster_submit(r->server->cluster, &cmd, NULL, NULL, NULL);
		next += cmd.start_grace.n;
		left -= cmd.start_grace.n;
	} while (left);
out:
	free(all);
}

void recorder_serve(struct recorder *r, bool restored)
{
	if (!r->served) {
		r->served = true;
		r->anybody = r->earlier.found == STABLE_LOST && !restored;
		list_earlier(r, restored);
	} else if (state_grace_is_open(r->server->state)) {
		/* What was on its way when this node was suspended has got no place. */
		list_earlier(r, restored);
	} else {
		stable_list_free(&r->earlier);
	}
	r->all_wanted++;
}

/* Does every node that is there serve? Then its list has come. */
static bool all_serve(struct recorder *r)
{
	struct cluster_status *st = calloc(1, sizeof(*st));
	bool all = st != NULL;

	if (!st)
		return false;
	cluster_get_status(r->server->cluster, st);
	for (uint32_t i = 0; i < st->n; i++)
		all &= !st->nodes[i].present || st->nodes[i].phase == CLUSTER_SERVING;
	free(st);
	return all;
}

static void say_complete(struct recorder *r)
{
	struct state_command cmd = { .type = CMD_START_GRACE,
				     .start_grace = { .more_to_come = true, .complete = true } };
	uint32_t listed, waiting;

	state_grace_progress(r->server->state, &listed, &waiting);
	log_info("the nodes have told their lists of clients: %u may reclaim what they held", listed);
	cluster_submit(r->server->cluster, &cmd, NULL, NULL, NULL);
}

static bool is_earlier(const uint64_t a[3], const uint64_t b[3])
{
	for (unsigned i = 0; i < 3; i++) {
		if (a[i] != b[i])
			return a[i] < b[i];
	}
	return false;
}

/* The lists say of each other which is the latest, but not whether a later one is missing. */
static void check_lists(struct recorder *r)
{
	uint64_t expected[3], found[3];

	if (!state_grace_generation(r->server->state, found))
		return;
	mutex_lock(&r->lock);
	memcpy(expected, r->expected, sizeof(expected));
	memset(r->expected, 0, sizeof(r->expected));
	mutex_unlock(&r->lock);
	if (is_earlier(found, expected))
		log_warn("no node's list of clients is as late as the last state that is known to "
			 "have served: the nodes that had it are not here, or everything stopped "
			 "before it was written. Clients that are not in the list cannot reclaim "
			 "what they held, and one that is may reclaim what it had lost to another "
			 "by then");
}

static void tick_replicated(struct recorder *r)
{
	uint64_t now = clock_mono_ns();
	bool in_grace = state_in_grace(r->server->state);

	if (!r->served_ns)
		r->served_ns = now;
	check_lists(r);
	catch_up(r);
	if (in_grace && !r->grace_ends_ns)
		r->grace_ends_ns = now + r->grace_seconds * NS_PER_SEC;
	if (!in_grace || !state_is_lowest(r->server->state))
		return;
	if (state_grace_gathers(r->server->state) &&
	    (now - r->served_ns >= LISTS_NS || all_serve(r)))
		say_complete(r);
	if (now >= r->grace_ends_ns ||
	    (now - r->served_ns >= LISTS_NS && state_grace_is_done(r->server->state)))
		end_grace(r);
}

static void after_grace(struct recorder *r)
{
	uint32_t listed, waiting;

	if (!atomic_exchange(&r->grace_ended, false))
		return;
	state_grace_progress(r->server->state, &listed, &waiting);
	if (r->grace_ends_ns)
		log_info("the grace period is over: %u of %u clients have come back",
			 listed - waiting, listed);
	r->grace_ends_ns = 0;
	if (stable_forget_earlier(r->stable) != 0)
		r->grace_ended = true;
}

void recorder_tick(struct recorder *r)
{
	if (r->replicated)
		tick_replicated(r);
	else if (clock_mono_ns() >= r->grace_ends_ns && state_in_grace(r->server->state))
		end_grace(r);
	after_grace(r);
	if (flush(r))
		(void)!stable_retry(r->stable);
}

/* ------------------------------------------------------------------- life cycle ---- */

/* The clients live on, as this instance's. */
static int record_all(struct recorder *r)
{
	uint64_t *ids;
	size_t n;
	int err = state_recorded_clients(r->server->state, &ids, &n);

	if (err)
		return err;
	mutex_lock(&r->lock);
	for (size_t i = 0; i < n && !err; i++)
		err = record(r, ids[i]);
	if (r->replicated && !err)
		err = queue_tag(r);
	r->tagged = r->replicated && !err;
	mutex_unlock(&r->lock);
	/* What cannot be written is logged, and tried again; earlier instances' records go together with that. */
	if (!err && flush(r)) {
		for (size_t i = 0; i < n; i++)
			state_record_stored(r->server->state, ids[i]);
	}
	if (!err && stable_forget_earlier(r->stable) != 0)
		r->grace_ended = true;
	free(ids);
	return err;
}

static int begin(struct recorder *r, const struct recorder_params *p, struct stable_list *list)
{
	if (p->replicated) {
		r->grace_seconds = grace_seconds(p, list);
		r->earlier = *list;
		*list = (struct stable_list){ 0 };
		return 0;
	}
	if (p->restored)
		return record_all(r);
	if (list->found == STABLE_LOST || list->n)
		return begin_grace(r, p, list);
	return 0;
}

int recorder_new(struct nfs_server *server, const struct recorder_params *p, struct recorder **out,
		 struct config_error *err)
{
	struct recorder *r = calloc(1, sizeof(*r));
	struct stable_params params = {
		.dir = p->state_dir,
		.instance = p->instance,
		.earlier = p->earlier,
		.lease = p->lease_seconds,
	};
	struct stable_list list = { 0 };
	int code = -ENOMEM;

	*err = (struct config_error){ .message = "out of memory" };
	if (!r)
		return code;
	r->server = server;
	r->replicated = p->replicated;
	mutex_init(&r->lock);
	mutex_init(&r->catching_up);
	cond_init(&r->committed);
	code = stable_open(&params, &r->stable, &list);
	if (code == -EBUSY)
		*err = (struct config_error){ .message = "the state directory is in use" };
	if (code == 0) {
		take_tag(r, &list);
		code = begin(r, p, &list);
	}
	stable_list_free(&list);
	if (code) {
		recorder_free(r);
		return code;
	}
	*out = r;
	return 0;
}

void recorder_free(struct recorder *r)
{
	if (!r)
		return;
	if (r->stable) {
		after_grace(r); /* the tick may not have seen the end */
		flush(r);
		stable_close(r->stable);
	}
	free_changes(r->queue, r->nqueue);
	stable_list_free(&r->earlier);
	cond_destroy(&r->committed);
	mutex_destroy(&r->catching_up);
	mutex_destroy(&r->lock);
	free(r);
}

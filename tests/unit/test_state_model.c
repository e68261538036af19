/*
 * Random commands on the state machine and on a model that is too simple to be wrong: shares as
 * lists of what was opened, byte ranges as arrays of bytes, a delegation per client and file. Every
 * status, stateid seqid and conflict is compared, and every effect that recalls. A second state
 * machine gets the same commands, and none of the reads: it must answer the same, byte for byte, as
 * another node would.
 *
 * The seed is printed; ATOLL_SEED=N runs that one again.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/random.h"
#include "test_state_fixture.h"

#define CLIENTS 3
#define OWNERS	2 /* open-owners and lock-owners of each client */
#define FILES	3
#define BYTES	24 /* the last stands for all behind it */
#define STEPS	40000
#define ROUNDS	3

struct model_open {
	bool open;
	bool seen[4][4]; /* [access][deny] in effect */
	uint32_t access, deny;
	struct stateid id;
};

/* One lock-owner through one open. */
struct model_lock_state {
	bool known;
	struct stateid id;
};

struct model_deleg {
	uint32_t type; /* OPEN_DELEGATE_*; NONE: none, or `revoked` */
	bool recalled, revoked;
	struct stateid id;
};

struct model {
	struct fixture f;
	uint64_t client[CLIENTS];
	struct model_open open[CLIENTS][OWNERS][FILES];
	struct model_deleg deleg[CLIENTS][FILES];
	bool kept[CLIENTS]; /* has not returned a delegation: gets no more */
	struct model_lock_state state[CLIENTS][OWNERS][OWNERS][FILES]; /* lock-owner, open-owner */
	char type[CLIENTS][OWNERS][FILES][BYTES]; /* by lock-owner: 'R', 'W' or 0 */
	char via[CLIENTS][OWNERS][FILES][BYTES];  /* through which open-owner */
	unsigned incarnation;
	uint64_t random;
	unsigned step;
};

static const char *const owner_names[OWNERS] = { "one", "two" };
static const char *const file_names[FILES] = { "x", "y", "z" };

static unsigned pick(struct model *m, unsigned n)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (unsigned)(m->random >> 20) % n;
}

static void new_client(struct model *m, unsigned c)
{
	char name[16];

	snprintf(name, sizeof(name), "c%u-%u", c, m->incarnation++);
	m->client[c] = client_v41(&m->f, name, NULL);
}

static void expect(struct model *m, enum nfsstat4 status)
{
	if (m->f.r.status != status)
		fail_msg("step %u: got %d, the model says %d", m->step, (int)m->f.r.status,
			 (int)status);
}

static void expect_stateid(struct model *m, const struct stateid *got, const struct stateid *want)
{
	if (got->seqid != want->seqid || memcmp(got->other, want->other, NFS4_OTHER_SIZE) != 0)
		fail_msg("step %u: stateid with seqid %u, the model says %u", m->step, got->seqid,
			 want->seqid);
}

/* ------------------------------------------------------------------------- opens ---- */

/* An owner's own open is no exception. */
static bool share_conflict(const struct model *m, unsigned file, uint32_t access, uint32_t deny,
			   uint64_t with)
{
	for (unsigned c2 = 0; c2 < CLIENTS; c2++) {
		for (unsigned o2 = 0; o2 < OWNERS; o2++) {
			const struct model_open *other = &m->open[c2][o2][file];

			if (!other->open)
				continue;
			if (with && m->client[c2] != with)
				continue;
			if ((other->deny & access) || (other->access & deny))
				return true;
		}
	}
	return false;
}

/* Recalls the delegations of all but `c` that are in the way; how many recalls were due. */
static bool recall_others(struct model *m, unsigned c, unsigned file, bool changes, unsigned *due)
{
	bool conflict = false;

	*due = 0;
	for (unsigned c2 = 0; c2 < CLIENTS; c2++) {
		struct model_deleg *d = &m->deleg[c2][file];

		if (c2 == c || d->type == OPEN_DELEGATE_NONE ||
		    (d->type == OPEN_DELEGATE_READ && !changes))
			continue;
		conflict = true;
		*due += !d->recalled;
		d->recalled = true;
	}
	return conflict;
}

/* May the client have a delegation of that type beside what others have open and delegated? */
static bool may_delegate(const struct model *m, unsigned c, unsigned file, uint32_t type)
{
	bool write = type == OPEN_DELEGATE_WRITE;

	if (type == OPEN_DELEGATE_NONE || m->kept[c] || m->deleg[c][file].type)
		return false;
	for (unsigned c2 = 0; c2 < CLIENTS; c2++) {
		if (c2 == c)
			continue;
		if (write && m->deleg[c2][file].type)
			return false;
		for (unsigned o = 0; o < OWNERS; o++) {
			const struct model_open *other = &m->open[c2][o][file];

			if (other->open && (write || (other->access & 2) || (other->deny & 1)))
				return false;
		}
	}
	return true;
}

static void expect_delegation(struct model *m, unsigned c, unsigned file, bool granted,
			      uint32_t type)
{
	struct model_deleg *d = &m->deleg[c][file];

	assert_int_equal(m->f.r.open.delegation, granted ? type : OPEN_DELEGATE_NONE);
	if (granted)
		*d = (struct model_deleg){ .type = type, .id = m->f.r.open.deleg_stateid };
}

static enum nfsstat4 open_wishing(struct model *m, unsigned c, unsigned o, unsigned file,
				  uint32_t access, uint32_t deny, uint32_t type, bool instead)
{
	return run(&m->f, &(struct state_command){ .type = CMD_OPEN,
						   .minor = 1,
						   .clientid = m->client[c],
						   .open = { .owner = text(owner_names[o]),
							     .file = text(file_names[file]),
							     .access = access,
							     .deny = deny,
							     .delegate = type,
							     .xor_delegation = instead,
							     .fh = text("fh") } });
}

static void step_open(struct model *m, unsigned c, unsigned o, unsigned file)
{
	struct model_open *open = &m->open[c][o][file];
	uint32_t access = 1 + pick(m, 3), deny = pick(m, 3) ? 0 : pick(m, 4), type = pick(m, 3);
	bool granted, instead = pick(m, 4) == 0;
	unsigned due;

	fixture_forget_effects(&m->f);
	open_wishing(m, c, o, file, access, deny, type, instead);
	if (recall_others(m, c, file, (access & 2) || (deny & 1), &due)) {
		expect(m, NFS4ERR_DELAY);
		assert_int_equal(m->f.nrecalls, due);
		return;
	}
	assert_int_equal(m->f.nrecalls, 0);
	if (share_conflict(m, file, access, deny, 0)) {
		expect(m, NFS4ERR_SHARE_DENIED);
		assert_true(share_conflict(m, file, access, deny, m->f.r.conflict_client));
		return;
	}
	expect(m, NFS4_OK);
	granted = may_delegate(m, c, file, type);
	expect_delegation(m, c, file, granted, type);
	instead = instead && granted && !open->open && deny == 0;
	assert_int_equal(m->f.r.open.no_open, instead);
	if (instead)
		return;
	assert_int_equal(m->f.r.open.upgraded, open->open);
	if (open->open) {
		open->id.seqid++;
		expect_stateid(m, &m->f.r.open.stateid, &open->id);
	} else {
		assert_int_equal(m->f.r.open.stateid.seqid, 1);
	}
	open->id = m->f.r.open.stateid;
	open->open = true;
	open->seen[access][deny] = true;
	open->access |= access;
	open->deny |= deny;
}

static void forget_via(struct model *m, unsigned c, unsigned o, unsigned file)
{
	for (unsigned lo = 0; lo < OWNERS; lo++) {
		m->state[c][lo][o][file].known = false;
		for (unsigned i = 0; i < BYTES; i++) {
			if (m->via[c][lo][file][i] == (char)o)
				m->type[c][lo][file][i] = 0;
		}
	}
}

static void step_close(struct model *m, unsigned c, unsigned o, unsigned file)
{
	struct model_open *open = &m->open[c][o][file];

	on_open(&m->f, CMD_CLOSE, 1, m->client[c], open->id, file_names[file], 0, 0);
	if (!open->open) {
		expect(m, NFS4ERR_BAD_STATEID);
		return;
	}
	expect(m, NFS4_OK);
	forget_via(m, c, o, file);
	memset(open, 0, sizeof(*open));
}

/* Is there a subset of what was opened whose union is (access, deny)? All subsets are tried. */
static bool may_downgrade(const struct model_open *open, uint32_t access, uint32_t deny)
{
	uint32_t pair_access[12], pair_deny[12];
	unsigned n = 0;

	for (uint32_t a = 1; a <= 3; a++) {
		for (uint32_t d = 0; d <= 3; d++) {
			if (open->seen[a][d]) {
				pair_access[n] = a;
				pair_deny[n++] = d;
			}
		}
	}
	for (unsigned subset = 1; subset < 1u << n; subset++) {
		uint32_t a = 0, d = 0;

		for (unsigned i = 0; i < n; i++) {
			if (subset & 1u << i) {
				a |= pair_access[i];
				d |= pair_deny[i];
			}
		}
		if (a == access && d == deny)
			return true;
	}
	return false;
}

static void step_downgrade(struct model *m, unsigned c, unsigned o, unsigned file)
{
	struct model_open *open = &m->open[c][o][file];
	uint32_t access = 1 + pick(m, 3), deny = pick(m, 4);

	on_open(&m->f, CMD_OPEN_DOWNGRADE, 1, m->client[c], open->id, file_names[file], access,
		deny);
	if (!open->open) {
		expect(m, NFS4ERR_BAD_STATEID);
		return;
	}
	if (!may_downgrade(open, access, deny)) {
		expect(m, NFS4ERR_INVAL);
		return;
	}
	expect(m, NFS4_OK);
	open->id.seqid++;
	expect_stateid(m, &m->f.r.stateid, &open->id);
	open->access = access;
	open->deny = deny;
	for (uint32_t a = 1; a <= 3; a++) {
		for (uint32_t d = 0; d <= 3; d++)
			open->seen[a][d] &= !(a & ~access) && !(d & ~deny);
	}
}

/* ------------------------------------------------------------------------- locks ---- */

struct where {
	uint64_t offset, length;
	unsigned first, last; /* bytes of the model */
};

static struct where pick_range(struct model *m)
{
	struct where w;

	w.first = pick(m, BYTES);
	w.last = w.first + pick(m, BYTES - w.first);
	w.offset = w.first;
	w.length = w.last == BYTES - 1 ? TO_EOF : w.last - w.first + 1;
	return w;
}

static bool lock_conflict(const struct model *m, unsigned c, unsigned lo, unsigned file,
			  const struct where *w, bool write)
{
	for (unsigned c2 = 0; c2 < CLIENTS; c2++) {
		for (unsigned o2 = 0; o2 < OWNERS; o2++) {
			if (c2 == c && o2 == lo)
				continue;
			for (unsigned i = w->first; i <= w->last; i++) {
				char t = m->type[c2][o2][file][i];

				if (t == 'W' || (t == 'R' && write))
					return true;
			}
		}
	}
	return false;
}

/* What a DENIED names must be there, as it says, and in the way. */
static void expect_denied(struct model *m, unsigned file, const struct where *w)
{
	const struct lock_conflict *d = &m->f.r.denied;
	unsigned c, o, first = (unsigned)d->range.offset, last;

	for (c = 0; c < CLIENTS && m->client[c] != d->clientid; c++)
		;
	assert_true(c < CLIENTS);
	for (o = 0; o < OWNERS && memcmp(owner_names[o], d->owner, d->owner_len) != 0; o++)
		;
	assert_true(o < OWNERS);
	last = d->range.length == TO_EOF ? BYTES - 1 : first + (unsigned)d->range.length - 1;
	assert_true(first <= w->last && last >= w->first && last < BYTES);
	for (unsigned i = first; i <= last; i++)
		assert_int_equal(m->type[c][o][file][i], d->type == WRITE_LT ? 'W' : 'R');
}

static void step_lock(struct model *m, unsigned c, unsigned o, unsigned file)
{
	unsigned lo = pick(m, OWNERS);
	struct model_open *open = &m->open[c][o][file];
	struct model_lock_state *st = &m->state[c][lo][o][file];
	bool write = pick(m, 2), by_open = !st->known || pick(m, 4) == 0;
	enum nfs_lock_type4 type = (write ? WRITE_LT : READ_LT) + (pick(m, 2) ? 2 : 0);
	struct where w = pick_range(m);

	if (by_open)
		lock_new(&m->f, 1, m->client[c], open->id, owner_names[lo], file_names[file], type,
			 w.offset, w.length);
	else
		lock_more(&m->f, 1, m->client[c], st->id, file_names[file], type, w.offset,
			  w.length);
	if (!open->open) {
		expect(m, NFS4ERR_BAD_STATEID);
		return;
	}
	if (!(open->access & (write ? 2 : 1))) {
		expect(m, NFS4ERR_OPENMODE);
		return;
	}
	if (lock_conflict(m, c, lo, file, &w, write)) {
		expect(m, NFS4ERR_DENIED);
		expect_denied(m, file, &w);
		return;
	}
	expect(m, NFS4_OK);
	if (st->known) {
		st->id.seqid++;
		expect_stateid(m, &m->f.r.stateid, &st->id);
	} else {
		assert_int_equal(m->f.r.stateid.seqid, 1);
	}
	st->known = true;
	st->id = m->f.r.stateid;
	memset(&m->type[c][lo][file][w.first], write ? 'W' : 'R', w.last - w.first + 1);
	memset(&m->via[c][lo][file][w.first], (int)o, w.last - w.first + 1);
}

static void step_unlock(struct model *m, unsigned c, unsigned o, unsigned file)
{
	unsigned lo = pick(m, OWNERS);
	struct model_lock_state *st = &m->state[c][lo][o][file];
	struct where w = pick_range(m);

	unlock(&m->f, 1, m->client[c], st->id, file_names[file], w.offset, w.length);
	if (!st->known) {
		expect(m, NFS4ERR_BAD_STATEID);
		return;
	}
	expect(m, NFS4_OK);
	st->id.seqid++;
	expect_stateid(m, &m->f.r.stateid, &st->id);
	memset(&m->type[c][lo][file][w.first], 0, w.last - w.first + 1);
}

static void step_free(struct model *m, unsigned c, unsigned o, unsigned file)
{
	unsigned lo = pick(m, OWNERS);
	struct model_lock_state *st = &m->state[c][lo][o][file];
	bool held = false;

	for (unsigned i = 0; i < BYTES; i++)
		held |= m->type[c][lo][file][i] && m->via[c][lo][file][i] == (char)o;
	free_stateid(&m->f, m->client[c], st->id);
	if (!st->known) {
		expect(m, NFS4ERR_BAD_STATEID);
	} else if (held) {
		expect(m, NFS4ERR_LOCKS_HELD);
	} else {
		expect(m, NFS4_OK);
		st->known = false;
	}
}

static void step_lockt(struct model *m, unsigned c, unsigned o, unsigned file)
{
	struct where w = pick_range(m);
	bool write = pick(m, 2), conflict = lock_conflict(m, c, o, file, &w, write);

	m->f.r.status = lockt(&m->f, m->client[c], owner_names[o], file_names[file],
			      write ? WRITE_LT : READ_LT, w.offset, w.length);
	expect(m, conflict ? NFS4ERR_DENIED : NFS4_OK);
	if (conflict)
		expect_denied(m, file, &w);
}

static void step_use(struct model *m, unsigned c, unsigned o, unsigned file)
{
	const struct model_open *open = &m->open[c][o][file];
	const struct model_lock_state *st = &m->state[c][pick(m, OWNERS)][o][file];
	unsigned access = 1 + pick(m, 2);
	bool by_lock = st->known && pick(m, 2);

	m->f.r.status =
	    use(&m->f, 1, m->client[c], by_lock ? st->id : open->id, file_names[file], access);
	if (open->open)
		expect(m, open->access & access ? NFS4_OK : NFS4ERR_OPENMODE);
	else if (share_conflict(m, file, access, 0, 0)) /* its stateid is the anonymous one */
		expect(m, NFS4ERR_LOCKED);
	else
		expect(m, NFS4_OK);
}

/* ------------------------------------------------------------------- delegations ---- */

static void step_return(struct model *m, unsigned c, unsigned file)
{
	struct model_deleg *d = &m->deleg[c][file];

	run(&m->f, &(struct state_command){ .type = CMD_DELEG_RETURN,
					    .minor = 1,
					    .clientid = m->client[c],
					    .deleg_return = { d->id, text(file_names[file]) } });
	if (d->type) {
		expect(m, NFS4_OK);
		memset(d, 0, sizeof(*d));
	} else {
		expect(m, d->revoked ? NFS4ERR_DELEG_REVOKED : NFS4ERR_BAD_STATEID);
	}
}

/* A delegation without an open: nobody is called for it. */
static void step_delegate(struct model *m, unsigned c, unsigned file)
{
	uint32_t type = pick(m, 3);
	bool granted = may_delegate(m, c, file, type);

	fixture_forget_effects(&m->f);
	run(&m->f, &(struct state_command){ .type = CMD_DELEGATE,
					    .minor = 1,
					    .clientid = m->client[c],
					    .open = { .file = text(file_names[file]),
						      .delegate = type,
						      .fh = text("fh") } });
	expect(m, NFS4_OK);
	expect_delegation(m, c, file, granted, type);
	assert_int_equal(m->f.nrecalls, 0);
}

static void step_recall(struct model *m, unsigned c, unsigned file)
{
	bool changes = pick(m, 2), conflict, recall;
	uint64_t other;
	unsigned due;

	conflict = state_deleg_conflict(m->f.s, text(file_names[file]), m->client[c], changes,
					&other, &recall);
	fixture_forget_effects(&m->f);
	run(&m->f, &(struct state_command){ .type = CMD_RECALL,
					    .clientid = m->client[c],
					    .recall = { text(file_names[file]), changes } });
	assert_int_equal(conflict, recall_others(m, c, file, changes, &due));
	assert_int_equal(recall, due > 0);
	assert_int_equal(m->f.nrecalls, due);
}

static void step_revoke(struct model *m, unsigned c, unsigned file)
{
	struct model_deleg *d = &m->deleg[c][file];

	if (!d->recalled || pick(m, 4))
		return;
	assert_ok(run(&m->f, &(struct state_command){ .type = CMD_REVOKE,
						      .minor = 1,
						      .clientid = m->client[c],
						      .revoke = { d->id } }));
	d->type = OPEN_DELEGATE_NONE;
	d->recalled = false;
	d->revoked = true;
	m->kept[c] = true;
}

static void step_use_delegation(struct model *m, unsigned c, unsigned file)
{
	const struct model_deleg *d = &m->deleg[c][file];
	unsigned access = 1 + pick(m, 2);

	if (!d->type && !d->revoked)
		return;
	m->f.r.status = use(&m->f, 1, m->client[c], d->id, file_names[file], access);
	if (d->revoked)
		expect(m, NFS4ERR_DELEG_REVOKED);
	else
		expect(m, access == 2 && d->type == OPEN_DELEGATE_READ ? NFS4ERR_OPENMODE : NFS4_OK);
}

static void step_delegation(struct model *m, unsigned c, unsigned file)
{
	switch (pick(m, 9)) {
	case 0:
		step_recall(m, c, file);
		break;
	case 8:
		step_delegate(m, c, file);
		break;
	case 1:
		step_revoke(m, c, file);
		break;
	case 2:
	case 3:
		step_use_delegation(m, c, file);
		break;
	default:
		step_return(m, c, file);
		break;
	}
}

static unsigned model_delegations(const struct model *m)
{
	unsigned n = 0;

	for (unsigned c = 0; c < CLIENTS; c++) {
		for (unsigned file = 0; file < FILES; file++)
			n += m->deleg[c][file].type != OPEN_DELEGATE_NONE;
	}
	return n;
}

static void step_expire(struct model *m, unsigned c)
{
	assert_ok(on_client(&m->f, CMD_EXPIRE_CLIENT, m->client[c]));
	memset(m->open[c], 0, sizeof(m->open[c]));
	memset(m->deleg[c], 0, sizeof(m->deleg[c]));
	m->kept[c] = false;
	memset(m->state[c], 0, sizeof(m->state[c]));
	memset(m->type[c], 0, sizeof(m->type[c]));
	new_client(m, c);
}

/* Ranges as the model's bytes make them: neighbours of one type and stateid are one. */
static unsigned model_ranges(const struct model *m)
{
	unsigned n = 0;

	for (unsigned c = 0; c < CLIENTS; c++) {
		for (unsigned o = 0; o < OWNERS; o++) {
			for (unsigned file = 0; file < FILES; file++) {
				const char *t = m->type[c][o][file], *v = m->via[c][o][file];

				for (unsigned i = 0; i < BYTES; i++)
					n += t[i] &&
					     (i == 0 || t[i - 1] != t[i] || v[i - 1] != v[i]);
			}
		}
	}
	return n;
}

static void one_step(struct model *m)
{
	unsigned c = pick(m, CLIENTS), o = pick(m, OWNERS), file = pick(m, FILES);
	unsigned what = pick(m, 110);

	if (what < 18)
		step_open(m, c, o, file);
	else if (what < 22)
		step_close(m, c, o, file);
	else if (what < 27)
		step_downgrade(m, c, o, file);
	else if (what < 60)
		step_lock(m, c, o, file);
	else if (what < 80)
		step_unlock(m, c, o, file);
	else if (what < 83)
		step_free(m, c, o, file);
	else if (what < 90)
		step_lockt(m, c, o, file);
	else if (what < 99)
		step_use(m, c, o, file);
	else if (what < 109)
		step_delegation(m, c, file);
	else if (pick(m, 5) == 0)
		step_expire(m, c);
	assert_int_equal(counts(&m->f).locks, model_ranges(m));
	assert_int_equal(counts(&m->f).delegations, model_delegations(m));
}

static void run_model(uint64_t seed)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->random = seed | 1;
	fixture_init(&m->f, NULL);
	assert_int_equal(state_new(&m->f.config, &m->f.twin), 0);
	for (unsigned c = 0; c < CLIENTS; c++)
		new_client(m, c);
	for (m->step = 0; m->step < STEPS; m->step++)
		one_step(m);
	fixture_end(&m->f);
	free(m);
}

static void test_model(void **state)
{
	const char *given = getenv("ATOLL_SEED");

	for (unsigned i = 0; i < (given ? 1 : ROUNDS); i++) {
		uint64_t seed = given ? strtoull(given, NULL, 10) : random_u64();

		print_message("ATOLL_SEED=%llu\n", (unsigned long long)seed);
		run_model(seed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_model) };

	return cmocka_run_group_tests_name("state_model", tests, NULL, NULL);
}

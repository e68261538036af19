/*
 * Byte ranges of a file.
 *
 * A range belongs to a lock stateid and through it to a lock-owner. Invariants:
 *  1. the ranges of one owner in a file never overlap, whatever their types and stateids;
 *  2. adjacent ranges of one stateid have different types (else they would be one);
 *  3. two overlapping ranges of different owners are both shared.
 *
 * Each range is in two trees. `owned`, by owner and first byte, finds an owner's ranges to
 * cut, merge and free. `shared` or `exclusive`, by first byte, finds conflicts: a node knows, of
 * its subtree, the greatest last byte and whose it is, and the greatest among all other owners; so
 * "somebody else's range that overlaps" takes O(log n) however many ranges of the asker lie in
 * between.
 */
#include <stdlib.h>

#include "nfsd/state/state_private.h"

struct range {
	struct tree_node by_owner, by_first;
	struct span span;
	struct lock_state *st;
	bool exclusive;
	/* Of the subtree in by_first: */
	bool has_other;
	const struct owner *top_owner;
	uint64_t top_last;   /* the greatest last byte, by top_owner */
	uint64_t other_last; /* the greatest of any other owner, if has_other */
};

static const struct owner *owner_of(const struct range *r)
{
	return r->st->h.owner;
}

/* -------------------------------------------------------------------- the trees ---- */

static struct range *owner_node(const struct tree_node *n)
{
	return n ? container_of(n, struct range, by_owner) : NULL;
}

static struct range *first_node(const struct tree_node *n)
{
	return n ? container_of(n, struct range, by_first) : NULL;
}

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

/* Owners in an order that is the same on every node. */
static int compare_owners(const struct owner *a, const struct owner *b)
{
	int order = compare_u64(a->client->counter, b->client->counter);

	return order ? order : compare_u64(a->uid, b->uid);
}

static int compare_by_owner(const struct tree_node *a, const struct tree_node *b)
{
	const struct range *x = owner_node(a), *y = owner_node(b);
	int order = compare_owners(owner_of(x), owner_of(y));

	return order ? order : compare_u64(x->span.first, y->span.first);
}

static int compare_by_first(const struct tree_node *a, const struct tree_node *b)
{
	const struct range *x = first_node(a), *y = first_node(b);
	int order = compare_u64(x->span.first, y->span.first);

	return order ? order : compare_owners(owner_of(x), owner_of(y));
}

static void add_other(struct range *r, uint64_t last)
{
	if (!r->has_other || last > r->other_last)
		r->other_last = last;
	r->has_other = true;
}

/*
 * The top is the greatest of the node's own end and its children's tops. Of a part (the node
 * itself, a child) whose top is another owner's, that top is its greatest other end; of a part
 * whose top is the same owner's, it is that part's other end.
 */
static void update_ends(struct tree_node *n)
{
	struct range *r = first_node(n);
	const struct range *child[2] = { first_node(n->left), first_node(n->right) };

	r->has_other = false;
	r->top_owner = owner_of(r);
	r->top_last = r->span.last;
	for (unsigned i = 0; i < 2; i++) {
		if (child[i] && child[i]->top_last > r->top_last) {
			r->top_owner = child[i]->top_owner;
			r->top_last = child[i]->top_last;
		}
	}
	if (r->top_owner != owner_of(r))
		add_other(r, r->span.last);
	for (unsigned i = 0; i < 2; i++) {
		if (child[i] && child[i]->top_owner != r->top_owner)
			add_other(r, child[i]->top_last);
		else if (child[i] && child[i]->has_other)
			add_other(r, child[i]->other_last);
	}
}

static const struct tree_type owned_type = { compare_by_owner, NULL };
static const struct tree_type first_type = { compare_by_first, update_ends };

static void range_in(struct state_file *f, struct range *r) REQUIRES(&f->lock)
{
	tree_insert(&owned_type, &f->owned, &r->by_owner);
	tree_insert(&first_type, r->exclusive ? &f->exclusive : &f->shared, &r->by_first);
}

static void range_out(struct state_file *f, struct range *r) REQUIRES(&f->lock)
{
	tree_remove(&owned_type, &f->owned, &r->by_owner);
	tree_remove(&first_type, r->exclusive ? &f->exclusive : &f->shared, &r->by_first);
}

/* The owner's first range that ends at or behind `from`. */
static struct range *own_from(struct state_file *f, const struct owner *me, uint64_t from)
    REQUIRES(&f->lock)
{
	struct tree_node *n = f->owned;
	struct range *best = NULL;

	while (n) {
		struct range *r = owner_node(n);
		int order = compare_owners(owner_of(r), me);

		if (order == 0 && r->span.last >= from) {
			best = r;
			n = n->left;
		} else {
			n = order > 0 ? n->left : n->right;
		}
	}
	return best;
}

/* -------------------------------------------------------------------- conflicts ---- */

static bool others_last(const struct range *r, const struct owner *me, uint64_t *last)
{
	if (r->top_owner != me) {
		*last = r->top_last;
		return true;
	}
	*last = r->other_last;
	return r->has_other;
}

/*
 * The first range of another owner that overlaps. If the left subtree has one that ends behind
 * our first byte but none that overlaps, all to its right begin too late: so one path is
 * walked, not two.
 */
static const struct range *find_other(const struct tree_node *n, const struct owner *me,
				      struct span span)
{
	const struct range *r = first_node(n), *found;
	uint64_t last;

	if (!r || !others_last(r, me, &last) || last < span.first)
		return NULL;
	found = find_other(n->left, me, span);
	if (found)
		return found;
	if (r->span.first > span.last)
		return NULL;
	if (owner_of(r) != me && r->span.last >= span.first)
		return r;
	return find_other(n->right, me, span);
}

const struct range *ranges_conflict(struct state_file *f, const struct owner *me, struct span span,
				    bool exclusive)
{
	const struct range *found = find_other(f->exclusive, me, span);

	return found || !exclusive ? found : find_other(f->shared, me, span);
}

enum nfsstat4 span_from(struct lock_range range, struct span *out)
{
	if (range.length == 0)
		return NFS4ERR_INVAL;
	out->first = range.offset;
	if (range.length == NFS4_UINT64_MAX) {
		out->last = NFS4_UINT64_MAX;
		return NFS4_OK;
	}
	if (range.length > NFS4_UINT64_MAX - range.offset)
		return NFS4ERR_INVAL;
	out->last = range.offset + range.length - 1;
	return NFS4_OK;
}

void range_describe(const struct range *r, struct lock_conflict *out)
{
	const struct owner *o = owner_of(r);

	out->clientid = o->client->id;
	out->range.offset = r->span.first;
	out->range.length =
	    r->span.last == NFS4_UINT64_MAX ? NFS4_UINT64_MAX : r->span.last - r->span.first + 1;
	out->type = r->exclusive ? WRITE_LT : READ_LT;
	out->owner_len = o->len < sizeof(out->owner) ? o->len : (uint32_t)sizeof(out->owner);
	__builtin_memcpy(out->owner, o->bytes, out->owner_len);
}

/* ---------------------------------------------------------- setting and clearing ---- */

struct range *ranges_alloc(unsigned n)
{
	struct range *chain = NULL;

	while (n-- > 0) {
		struct range *r = calloc(1, sizeof(*r));

		if (!r) {
			ranges_free(chain);
			return NULL;
		}
		r->by_owner.left = chain ? &chain->by_owner : NULL;
		chain = r;
	}
	return chain;
}

static struct range *take(struct range **chain)
{
	struct range *r = *chain;

	*chain = owner_node(r->by_owner.left);
	return r;
}

static void give(struct range **chain, struct range *r)
{
	r->by_owner.left = *chain ? &(*chain)->by_owner : NULL;
	*chain = r;
}

void ranges_free(struct range *chain)
{
	while (chain)
		free(take(&chain));
}

/* One for the new range; one more where a single range sticks out at both sides and is cut. */
unsigned ranges_needed(struct state_file *f, const struct owner *me, struct span span, bool set)
{
	struct range *r = me ? own_from(f, me, span.first) : NULL;
	bool around = r && r->span.first < span.first && r->span.last > span.last;

	return (set ? 1 : 0) + (around ? 1 : 0);
}

/* Takes `span` out of `r`, which overlaps it. */
static int cut(struct state_file *f, struct range *r, struct span span, struct range **spare)
    REQUIRES(&f->lock)
{
	bool before = r->span.first<span.first, behind = r->span.last> span.last;
	struct span old = r->span;

	range_out(f, r);
	if (before) {
		r->span.last = span.first - 1;
		range_in(f, r);
	}
	if (behind) {
		struct range *rest = before ? take(spare) : r;

		rest->st = r->st;
		rest->exclusive = r->exclusive;
		rest->span = (struct span){ span.last + 1, old.last };
		range_in(f, rest);
	}
	r->st->nranges += (uint32_t)(before + behind - 1);
	if (!before && !behind)
		give(spare, r);
	return before + behind - 1;
}

static bool overlaps(struct span a, struct span b)
{
	return a.first <= b.last && b.first <= a.last;
}

int ranges_set(struct state_file *f, struct lock_state *st, struct span span, bool exclusive,
	       struct range **spare, bool *weakened)
{
	const struct owner *me = st->h.owner;
	/* Neighbours, too: they may be merged. */
	uint64_t from = span.first ? span.first - 1 : 0;
	uint64_t to = span.last == NFS4_UINT64_MAX ? span.last : span.last + 1;
	struct span merged = span;
	struct range *r;
	int change = 1;

	*weakened = false;
	while ((r = own_from(f, me, from)) != NULL && r->span.first <= to) {
		uint64_t last = r->span.last;

		if (r->st == st && r->exclusive == exclusive) {
			if (r->span.first < merged.first)
				merged.first = r->span.first;
			if (last > merged.last)
				merged.last = last;
			range_out(f, r);
			st->nranges--;
			give(spare, r);
			change--;
		} else if (overlaps(r->span, span)) {
			*weakened |= r->exclusive && !exclusive;
			change += cut(f, r, span, spare);
		}
		if (last == NFS4_UINT64_MAX)
			break;
		from = last + 1;
	}
	r = take(spare);
	r->st = st;
	r->exclusive = exclusive;
	r->span = merged;
	range_in(f, r);
	st->nranges++;
	return change;
}

int ranges_clear(struct state_file *f, const struct owner *me, struct span span,
		 struct range **spare)
{
	uint64_t from = span.first;
	struct range *r;
	int change = 0;

	while ((r = own_from(f, me, from)) != NULL && r->span.first <= span.last) {
		uint64_t last = r->span.last;

		change += cut(f, r, span, spare);
		if (last >= span.last)
			break;
		from = last + 1;
	}
	return change;
}

bool ranges_next(struct state_file *f, const struct owner *me, uint64_t from, struct span *span,
		 bool *exclusive, const struct lock_state **st)
{
	const struct range *r = own_from(f, me, from);

	if (!r)
		return false;
	*span = r->span;
	*exclusive = r->exclusive;
	*st = r->st;
	return true;
}

unsigned ranges_within(struct state_file *f, const struct owner *me, struct span span,
		       unsigned most)
{
	uint64_t from = span.first;
	struct range *r;
	unsigned n = 0;

	while (n < most && (r = own_from(f, me, from)) != NULL && r->span.last <= span.last) {
		n += r->span.first >= span.first;
		if (r->span.last == span.last)
			break;
		from = r->span.last + 1;
	}
	return n;
}

bool ranges_any(struct state_file *f, const struct owner *me)
{
	return own_from(f, me, 0) != NULL;
}

int ranges_drop(struct state_file *f, struct lock_state *st)
{
	uint64_t from = 0;
	int change = 0;

	while (st->nranges) {
		struct range *r = own_from(f, st->h.owner, from);

		from = r->span.last + 1;
		if (r->st != st)
			continue;
		range_out(f, r);
		free(r);
		st->nranges--;
		change--;
	}
	return change;
}

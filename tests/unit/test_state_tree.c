/* The balanced tree: order, balance and what nodes know of their subtrees, after every change. */
#include <stdlib.h>

#include "nfsd/state/tree.h"
#include "test_state_fixture.h"

#define N 500

struct item {
	struct tree_node node;
	int key;
	int size; /* of the subtree */
};

static struct item *item(const struct tree_node *n)
{
	return container_of(n, struct item, node);
}

static int compare(const struct tree_node *a, const struct tree_node *b)
{
	return item(a)->key - item(b)->key;
}

static int size(const struct tree_node *n)
{
	return n ? item(n)->size : 0;
}

static void update(struct tree_node *n)
{
	item(n)->size = 1 + size(n->left) + size(n->right);
}

static const struct tree_type type = { compare, update };

/* Checks all invariants below `n`; its height. */
static int check(const struct tree_node *n, int above, int below, int *count)
{
	int l, r;

	if (!n)
		return 0;
	assert_true(item(n)->key > above && item(n)->key < below);
	l = check(n->left, above, item(n)->key, count);
	r = check(n->right, item(n)->key, below, count);
	assert_in_range(l - r + 1, 0, 2);
	assert_int_equal(n->height, (l > r ? l : r) + 1);
	assert_int_equal(item(n)->size, 1 + size(n->left) + size(n->right));
	++*count;
	return n->height;
}

static void check_all(const struct tree_node *root, int expected)
{
	int count = 0;

	check(root, -1, N, &count);
	assert_int_equal(count, expected);
}

/* Inserts and removes in the orders that `order` says: key of the i-th step. */
static void fill_and_empty(int (*order)(int i))
{
	static struct item items[N];
	struct tree_node *root = NULL;

	for (int i = 0; i < N; i++) {
		items[i].key = order(i);
		tree_insert(&type, &root, &items[i].node);
		check_all(root, i + 1);
	}
	for (int i = 0; i < N; i++) {
		tree_remove(&type, &root, &items[(i * 7) % N].node);
		check_all(root, N - i - 1);
	}
	assert_null(root);
}

static int ascending(int i)
{
	return i;
}

static int descending(int i)
{
	return N - 1 - i;
}

static int zigzag(int i)
{
	return i % 2 ? N - 1 - i / 2 : i / 2;
}

static int scattered(int i)
{
	return i * 211 % N; /* 211 and 500 have no common factor */
}

static void test_ascending(void **state)
{
	fill_and_empty(ascending);
}

static void test_descending(void **state)
{
	fill_and_empty(descending);
}

static void test_zigzag(void **state)
{
	fill_and_empty(zigzag);
}

static void test_scattered(void **state)
{
	fill_and_empty(scattered);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ascending),
		cmocka_unit_test(test_descending),
		cmocka_unit_test(test_zigzag),
		cmocka_unit_test(test_scattered),
	};

	return cmocka_run_group_tests_name("state_tree", tests, NULL, NULL);
}

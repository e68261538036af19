/*
 * AVL trees of embedded nodes, with a hook that keeps what a node knows about its subtree
 * (an interval tree's greatest end). Keys are unique. Not locked.
 */
#pragma once

struct tree_node {
	struct tree_node *left, *right;
	int height; /* a leaf's is 1 */
};

struct tree_type {
	int (*compare)(const struct tree_node *a, const struct tree_node *b);
	/* Recomputes what `n` says about its subtree from itself and its children; may be NULL. */
	void (*update)(struct tree_node *n);
};

void tree_insert(const struct tree_type *type, struct tree_node **root, struct tree_node *n);
/* `n` must be in the tree and its key must be what it was when it was inserted. */
void tree_remove(const struct tree_type *type, struct tree_node **root, struct tree_node *n);

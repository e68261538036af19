#include "nfsd/state/tree.h"

#include <stddef.h>

static int height(const struct tree_node *n)
{
	return n ? n->height : 0;
}

static void update(const struct tree_type *type, struct tree_node *n)
{
	int l = height(n->left), r = height(n->right);

	n->height = (l > r ? l : r) + 1;
	if (type->update)
		type->update(n);
}

static struct tree_node *rotate_right(const struct tree_type *type, struct tree_node *n)
{
	struct tree_node *top = n->left;

	n->left = top->right;
	top->right = n;
	update(type, n);
	update(type, top);
	return top;
}

static struct tree_node *rotate_left(const struct tree_type *type, struct tree_node *n)
{
	struct tree_node *top = n->right;

	n->right = top->left;
	top->left = n;
	update(type, n);
	update(type, top);
	return top;
}

/* Restores the balance at `n`, whose subtrees are balanced and differ by 2 at most. */
static struct tree_node *balance(const struct tree_type *type, struct tree_node *n)
{
	int diff = height(n->left) - height(n->right);

	if (diff > 1) {
		if (height(n->left->left) < height(n->left->right))
			n->left = rotate_left(type, n->left);
		return rotate_right(type, n);
	}
	if (diff < -1) {
		if (height(n->right->right) < height(n->right->left))
			n->right = rotate_right(type, n->right);
		return rotate_left(type, n);
	}
	update(type, n);
	return n;
}

static struct tree_node *insert(const struct tree_type *type, struct tree_node *root,
				struct tree_node *n)
{
	if (!root) {
		n->left = n->right = NULL;
		update(type, n);
		return n;
	}
	if (type->compare(n, root) < 0)
		root->left = insert(type, root->left, n);
	else
		root->right = insert(type, root->right, n);
	return balance(type, root);
}

/* Takes the leftmost node out of the subtree and says which it was. */
static struct tree_node *take_first(const struct tree_type *type, struct tree_node *root,
				    struct tree_node **first)
{
	if (!root->left) {
		*first = root;
		return root->right;
	}
	root->left = take_first(type, root->left, first);
	return balance(type, root);
}

static struct tree_node *erase(const struct tree_type *type, struct tree_node *root,
			       struct tree_node *n)
{
	struct tree_node *next, *rest;

	if (root != n) {
		if (type->compare(n, root) < 0)
			root->left = erase(type, root->left, n);
		else
			root->right = erase(type, root->right, n);
		return balance(type, root);
	}
	if (!n->left)
		return n->right;
	if (!n->right)
		return n->left;
	rest = take_first(type, n->right, &next);
	next->left = n->left;
	next->right = rest;
	return balance(type, next);
}

void tree_insert(const struct tree_type *type, struct tree_node **root, struct tree_node *n)
{
	*root = insert(type, *root, n);
}

void tree_remove(const struct tree_type *type, struct tree_node **root, struct tree_node *n)
{
	*root = erase(type, *root, n);
}

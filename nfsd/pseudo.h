/*
 * The pseudo file system: the directories that lead from `/` to exports, as a backend of its own
 * (RFC 8881 section 7.3), read-only and the same for every client but for what each may see.
 */
#pragma once

#include "backends/backend.h"

struct export;

/* A directory. Its tree is built once and then immutable. */
struct pseudo_node;

/* An empty tree. NULL when out of memory. */
struct backend_export *pseudo_new(void);
void pseudo_free(struct backend_export *pseudo);
/* The node at `path` (absolute, "/" for the root), made with its ancestors; NULL: no memory. */
struct pseudo_node *pseudo_make(struct backend_export *pseudo, const char *path);
void pseudo_set_export(struct pseudo_node *node, struct export *exp);

/* The node that an object is, and the export that covers it (NULL: none). */
struct pseudo_node *pseudo_node_of(struct object *obj);
struct object *pseudo_object(struct pseudo_node *node);
struct export *pseudo_export(const struct pseudo_node *node);
struct pseudo_node *pseudo_parent(struct pseudo_node *node);
uint64_t pseudo_fileid(const struct pseudo_node *node);
/* True if `pred` holds for an export at or below the node. */
bool pseudo_any(const struct pseudo_node *node, bool (*pred)(struct export *exp, void *arg),
		void *arg);

/*
 * A grant of a delegation is good when every node agrees.
 *
 * An operation that changes a file without a command (REMOVE, SETATTR, a WRITE without an open...) looks at its
 * own node's state for delegations and then does what it does; the log is not asked. So a node that has not
 * applied a grant yet, or has begun such an operation just before, may change a file that another node's client
 * takes for its own. Therefore, in a cluster, the client hears of its delegation only after every member has applied
 * the grant and said whether an operation that looked before it is still under way there (deleg_guard()). If
 * one is, the delegation is given back unheard of. Whatever looks later finds it and has it recalled.
 *
 *	CMD_OPEN, CMD_DELEGATE applied at its own node:	an agreement, which waits for the other members
 *	                       applied at another:	CMD_GRANT_SEEN from there
 *	CMD_GRANT_SEEN applied at the grant's node:	one member less to wait for
 *	the members have changed			those that have gone are not waited for
 *	the last one has spoken				the compound goes on
 *
 * That costs one more round of the log for each grant, and nothing for all else.
 */
#pragma once

#include "nfsd/compound.h"

struct cluster_members;

/* EFFECT_GRANTED, EFFECT_GRANT_SEEN. By the log's thread. */
void deleg_granted_effect(struct nfs_server *s, const struct state_effect *e);
void deleg_seen_effect(struct nfs_server *s, const struct state_effect *e);
/* By the log's thread. */
void deleg_agree_members(struct nfs_server *s, const struct cluster_members *m);
/*
 * Not while some node has not been heard for a while, which must say whether it agrees: then nothing should be granted
 * that has to wait for it.
 */
bool deleg_agree_is_likely(struct nfs_server *s);
/*
 * What `result` says was granted by `cmd`: 0 once all nodes have spoken, and *contended if it must be
 * returned; NFS4_PARKED: to be asked again when the compound goes on.
 */
enum nfsstat4 deleg_agree(struct compound *c, const struct state_command *cmd,
			  const struct state_result *result, bool *contended);
/* The operation or the call has ended, however. */
void deleg_agree_end(struct compound *c);
/*
 * About once a second: who does not hear from a member for long, 5 seconds or so, and less if that is silent altogether,
 * does without the delegation.
 */
void deleg_agree_tick(struct nfs_server *s, uint64_t now_ns);

struct delegations;
void deleg_agree_free(struct delegations *d);

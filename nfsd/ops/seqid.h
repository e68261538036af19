/*
 * Minor version 0: the operations that carry an owner's sequence id (RFC 7530 section 9.1.7).
 * Each begins by holding the owner, which recognises a replay, and ends by recording its outcome.
 * In minor versions above 0 both do nothing.
 */
#pragma once

#include "nfsd/compound.h"

struct seqid {
	struct owner_hold *hold; /* NULL: nothing to record */
	bool replayed;		 /* the reply is encoded already: the operation is done */
};

/*
 * After state_owner_hold*() has returned `status`: on a replay encodes the remembered result,
 * restores the filehandle, sets s->replayed and returns the status to answer.
 */
enum nfsstat4 seqid_begun(struct compound *c, struct seqid *s, enum nfsstat4 status,
			  const struct owner_replay *replay);
/* Holds the owner of a stateid. 0, the error, or with s->replayed the remembered status. */
enum nfsstat4 seqid_begin(struct compound *c, struct seqid *s, const struct stateid *id,
			  uint32_t seqid);
/* The command is what the request is about: it may have been applied for a node that died then. */
void seqid_put(const struct seqid *s, uint32_t seqid, struct state_command *cmd);
/* Records the result as encoded so far and lets the owner go. Returns `status`. */
enum nfsstat4 seqid_end(struct compound *c, struct seqid *s, enum nfsstat4 status);

/*
 * What the tests of the state machine share: a state with a clock of the test's own, and
 * commands as one-line calls that return the status and leave the result in f->r.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "nfsd/state/state.h"

#define EPOCH	    0x11223344u
#define LEASE	    90u
#define TO_EOF	    NFS4_UINT64_MAX
#define MAX_EFFECTS 64

struct fixture {
	struct state *s;
	/* Another node: every command is applied there, too, and must have the same result. */
	struct state *twin;
	unsigned ncommands; /* that it has had */
	struct state_result r;
	struct state_config config;
	uint64_t now_ns;
	/* Effects since the last fixture_forget_effects(). */
	unsigned nfreed, nsessions_gone, nclients_gone;
	unsigned nrecalls, nmoved, nkept;
	uint64_t recalled_client; /* of the last recall */
	struct stateid recalled;
	unsigned nrecords, nforgotten, ngraces_ended;
	uint64_t delegs_when_forgotten; /* there were so many at the last EFFECT_CLIENT_FORGET */
	char freed[MAX_EFFECTS][32];
	uint32_t lock_seqid; /* of the next new lock-owner, minor version 0 */
};

extern int files_live; /* struct file made by make_file() and not yet freed */

int fixture_setup(void **state);
int fixture_teardown(void **state);
/* A fixture whose limits `change` may lower. */
void fixture_init(struct fixture *f, void (*change)(struct state_config *c));
void fixture_end(struct fixture *f);
void fixture_forget_effects(struct fixture *f);
void pass_seconds(struct fixture *f, unsigned seconds);

struct bytes text(const char *text);
struct file *make_file(unsigned access);
enum nfsstat4 run(struct fixture *f, const struct state_command *cmd);

/* Clients. `verifier` and the principal are told by a letter. */
enum nfsstat4 setclientid(struct fixture *f, const char *owner, char verifier, char principal);
enum nfsstat4 setclientid_confirm(struct fixture *f, uint64_t clientid, struct nfs_verifier confirm,
				  char principal);
uint64_t client_v40(struct fixture *f, const char *owner);
enum nfsstat4 exchange_id(struct fixture *f, const char *owner, char verifier, char principal,
			  uint32_t flags);
struct state_command create_session_cmd(uint64_t clientid, uint32_t sequence, char principal);
enum nfsstat4 create_session(struct fixture *f, uint64_t clientid, uint32_t sequence,
			     char principal);
/* A client with a session, reclaim complete. */
uint64_t client_v41(struct fixture *f, const char *owner, struct sessionid *session);
enum nfsstat4 on_client(struct fixture *f, enum state_command_type type, uint64_t clientid);

/* Opens and locks; minor version 0 or 1. */
enum nfsstat4 do_open(struct fixture *f, uint32_t minor, uint64_t clientid, const char *owner,
		      const char *file, uint32_t access, uint32_t deny);
enum nfsstat4 on_open(struct fixture *f, enum state_command_type type, uint32_t minor,
		      uint64_t clientid, struct stateid id, const char *file, uint32_t access,
		      uint32_t deny);
/* An open of minor version 0, confirmed if it must be. */
struct stateid open_v40(struct fixture *f, uint64_t clientid, const char *owner, const char *file,
			uint32_t access, uint32_t deny);
struct stateid open_v41(struct fixture *f, uint64_t clientid, const char *owner, const char *file,
			uint32_t access, uint32_t deny);
enum nfsstat4 lock_new(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid open,
		       const char *owner, const char *file, enum nfs_lock_type4 type,
		       uint64_t offset, uint64_t length);
enum nfsstat4 lock_more(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id,
			const char *file, enum nfs_lock_type4 type, uint64_t offset,
			uint64_t length);
enum nfsstat4 unlock(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id,
		     const char *file, uint64_t offset, uint64_t length);
enum nfsstat4 release_lockowner(struct fixture *f, uint64_t clientid, const char *owner);
enum nfsstat4 free_stateid(struct fixture *f, uint64_t clientid, struct stateid id);
enum nfsstat4 lockt(struct fixture *f, uint64_t clientid, const char *owner, const char *file,
		    enum nfs_lock_type4 type, uint64_t offset, uint64_t length);
enum nfsstat4 use(struct fixture *f, uint32_t minor, uint64_t clientid, struct stateid id,
		  const char *file, unsigned access);

struct state_counts counts(struct fixture *f);

#define assert_ok(call)		assert_int_equal(call, NFS4_OK)
#define assert_status(call, st) assert_int_equal(call, st)

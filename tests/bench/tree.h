/*
 * The files that the workloads work on, made through the protocol itself (so that any server can
 * be measured, wherever its disk is), in a directory of the bench's own below the export:
 *
 *   files/file-NNNN    FILES files of 4 KiB
 *   dir/entry-NNNNN    ENTRIES empty files
 *   conn-N/            a directory of each connection
 *   data-N             a file of DATA_BYTES of each connection
 *
 * Everything in it belongs to root and may be used by everybody. A tree is written by
 * tree_prepare() only; while loads run it is read by all threads.
 */
#ifndef BENCH_TREE_H
#define BENCH_TREE_H

#include "tests/bench/conn.h"

#define FILES	   1000u
#define ENTRIES	   10000u
#define CONNS_MAX  64u
#define PAGE	   4096u
#define MIB	   (1u << 20)
#define DATA_BYTES (32u * MIB)

enum tree_part {
	TREE_FILES = 1,
	TREE_DIR = 2,
	TREE_CONN = 4,
	TREE_DATA = 8,
};

struct tree_file {
	struct fh fh;
	uint64_t fileid;
};

struct tree {
	struct sockaddr_in addr;
	const char *path; /* of the export, below the server's root */
	char name[32];	  /* of our directory in it */
	unsigned have;	  /* enum tree_part, what there is for each connection counted below */
	unsigned conn_dirs, data_files;
	struct fh export, root, files_dir, dir;
	struct tree_file files[FILES];
	struct fh conn_dir[CONNS_MAX];
	struct fh data[CONNS_MAX];
	uint64_t entries_sum; /* of the hashes of the names in dir/ */
};

/* Makes what is missing of `parts` for so many connections. The reason of a failure is in `error`. */
int tree_prepare(struct tree *t, unsigned parts, unsigned conns, char error[200]);

/* Removes everything it made. */
int tree_remove(struct tree *t, char error[200]);

void file_name(char name[32], uint32_t i);
uint64_t name_hash(const uint8_t *name, uint32_t len);

/*
 * What the page of this number in this file holds after having been written `gen` times; the next
 * pages of the file follow it, up to a MiB. Valid for ever.
 */
const uint8_t *page_data(uint32_t file, uint64_t page, uint32_t gen);

/* Numbers of files for page_data(): a small file's is its own, a data-N's is this. */
static inline uint32_t data_file(unsigned conn)
{
	return FILES + conn;
}

void cred_root(struct cred *cred);
/* A user in a handful of groups, as users are; all numbers follow from the uid. */
void cred_user(struct cred *cred, uint32_t uid);

/* Reads a whole data file back through the protocol; gen[] is per `unit` bytes, or NULL for 0. */
int data_verify(struct conn *c, const struct stateid *open, uint32_t unit, const uint32_t *gen);

/* Opens a file by name in a directory; owner 0xffff is left to the callers of this one. */
int open_by_name(struct conn *c, const struct fh *dir, const char *name, uint32_t access,
		 uint32_t owner, bool create, struct stateid *state, struct fh *fh);
int close_file(struct conn *c, const struct fh *fh, const struct stateid *state);

#endif

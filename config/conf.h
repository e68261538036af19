/*
 * The daemon's settings: atoll.conf (INI in the style of nfs.conf(5)) or, for `atoll serve`,
 * options that set the same keys. A struct config is filled by config_load() or by
 * config_new() and config_set(), then finished by config_finish(); from then on it is immutable.
 * docs/atoll.conf.5 describes the keys.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/log.h"
#include "config/error.h"

struct config_listen {
	struct sockaddr_storage addr; /* with the port; port 0: the kernel chooses */
	socklen_t len;
	bool optional; /* a default: passed over where the family does not exist */
};

/* A virtual address of the cluster, with the length of its network's prefix. */
struct config_vip {
	struct sockaddr_storage addr; /* port 0 */
	socklen_t len;
	unsigned prefix;
};

/* The section [cluster]: this daemon is a node of one. */
struct config_cluster {
	bool safe;	     /* replication = safe: wait until every node has a change */
	const char *scope;   /* NULL: corosync's cluster_name */
	struct config_vip *vips;
	unsigned nvips;
	const char *interface; /* where virtual addresses go; NULL: where their network is */
	bool external_vips;    /* somebody else assigns them */
	unsigned hang_seconds; /* a server that has not moved for so long is killed */
};

struct config {
	const char *file; /* NULL: no file */

	struct config_listen *listen; /* at least one after config_finish() */
	unsigned nlisten;
	uint16_t port; /* for listen addresses without one */

	unsigned lease_seconds; /* 1 to 3600 */
	unsigned grace_seconds; /* 0: the lease, or the last instance's if that was longer */
	const char *state_dir;
	const char *secret_file; /* the filehandle key's; default STATE_DIR/handle.key */

	const char **exports; /* exports(5) files and directories */
	unsigned nexports;
	bool exports_default; /* `exports` was not given: a missing path is passed over */

	enum log_level log_level;
	unsigned loops;		  /* 0: one per core */
	unsigned max_connections; /* 0: rpc's default */
	uint32_t minor_versions;  /* bit N: NFSv4.N is served; at least one is set */
	/* What clients may hold, in total and each; 0: the state machine's default. */
	uint32_t max_clients, max_opens, max_locks, max_owners, max_sessions;
	uint32_t max_opens_per_client, max_locks_per_client, max_owners_per_client;
	uint32_t max_sessions_per_client;
	uint32_t max_delegations, max_delegations_per_client;
	uint32_t max_slots_per_session;
	uint32_t max_io;	  /* greatest READ and WRITE, bytes; a multiple of 4096 */
	unsigned cache_seconds;	  /* unused files stay open so long, 10 to 86400 */
	bool rpcbind;		  /* register with rpcbind, if one runs */
	bool delegations;	  /* give some, where they help */
	bool utf8_names;	  /* default of the export option utf8 */

	struct config_cluster *cluster; /* NULL: a server of its own */

	struct config_private *priv; /* what is needed until config_finish() */
};

/* All defaults; NULL when out of memory. */
struct config *config_new(void);
/*
 * Sets one key of section [atolld], as a line `key = value` of the file would.
 * 0, -EINVAL or -ENOMEM with `err` filled (file and line 0).
 */
int config_set(struct config *c, const char *key, const char *value, struct config_error *err);
/* Fills in what depends on other keys. The last change. 0, -EINVAL or -ENOMEM. */
int config_finish(struct config *c, struct config_error *err);
/* Reads a whole file, finished. 0, -EINVAL/-ENOMEM/-errno with `err` filled. */
int config_load(const char *path, struct config **out, struct config_error *err);
void config_free(struct config *c); /* NULL is allowed */

/*
 * Parses ADDRESS, ADDRESS:PORT, [IPV6], [IPV6]:PORT or IPV6, numeric only. *port is -1 when
 * the text has none (the address then has port 0). 0 or -EINVAL.
 */
int config_parse_address(const char *text, struct sockaddr_storage *addr, socklen_t *len,
			 int *port);

#define CONFIG_KEY_SIZE 16

/*
 * The key that filehandles are signed with, from `path`; drawn and stored there with mode 0600
 * if the file does not exist. All nodes of a cluster and all restarts need the same.
 * 0, or -errno with `err` filled.
 */
int config_load_key(const char *path, uint8_t key[CONFIG_KEY_SIZE], struct config_error *err);
/* The same without drawing one: a node of a cluster needs the key that the others have. */
int config_read_key(const char *path, uint8_t key[CONFIG_KEY_SIZE], struct config_error *err);

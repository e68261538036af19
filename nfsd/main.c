/*
 * The daemon's composition root: settings, exports, the NFS server, the RPC server, the process.
 *
 * Order matters. Capabilities and limits belong to the process's first thread and are inherited
 * by the others, so they are settled before anything starts threads; listeners are bound before
 * that, while ports below 1024 can still be had. The first thread then waits for signals, which it
 * alone takes, and in a cluster looks once a second whether the server moves, and says so to the
 * supervisor. It never waits for a file system: housekeeping is done by three threads (housekeeping.h),
 * one for what is in memory only, one for the state directory (on which the grace periods of all nodes depend), and
 * one for what reaches the file systems that are served.
 */
#include <errno.h>
#include <malloc.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "admin/control.h"
#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"
#include "nfsd/epoch.h"
#include "nfsd/handover.h"
#include "nfsd/housekeeping.h"
#include "nfsd/nameless.h"
#include "nfsd/node.h"
#include "nfsd/options.h"
#include "nfsd/privileges.h"
#include "nfsd/report.h"
#include "nfsd/restart.h"
#include "nfsd/server.h"
#include "rpc/rpc.h"
#include "rpc/rpcbind.h"

#define LULL_MS	     20000 /* longer than corosync takes to find out that a node is lost */
#define STOP_SECONDS 10 /* how long running requests may take at the end */

struct daemon {
	struct daemon_options options;
	struct rpc_server *rpc;
	struct nfs_server *nfs;
	struct sockaddr_storage *bound; /* addresses listened on, with their ports */
	unsigned nbound;
	uint32_t instance;
	struct control *control;   /* NULL: the control socket could not be made */
	struct mutex reload_lock;  /* one reload at a time: by signal, by the control socket */
	char *program; /* what a restart runs */
	bool running; /* the RPC server's threads */
	bool rpcbind; /* registered */
	bool in_place; /* it ends to become the next program */
	struct node node;
	/* NULL: not started */
	struct keeping *state_keeping, *record_keeping, *file_keeping;
};

static void notify(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#endif
}

static int fail(const struct config_error *err)
{
	char text[600];

	config_error_format(err, text, sizeof(text));
	log_error("%s", text);
	return -1;
}

/* ---- start ---- */

/* mkdir -p with mode 0700 for what is new. */
static int make_directory(const char *path)
{
	char *copy = strdup(path);
	int rc = 0;

	if (!copy)
		return -ENOMEM;
	for (char *p = copy + 1;; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		rc = mkdir(copy, 0700) == 0 || errno == EEXIST ? 0 : -errno;
		*p = c;
		if (rc || !c)
			break;
	}
	free(copy);
	return rc;
}

/* A node of a cluster takes no key but the one that the others have. */
static int load_secret(const struct config *c, uint8_t key[CONFIG_KEY_SIZE])
{
	struct config_error err;
	int rc = c->cluster ? config_read_key(c->secret_file, key, &err)
			    : config_load_key(c->secret_file, key, &err);

	if (!rc)
		return 0;
	fail(&err);
	if (c->cluster && rc == -ENOENT)
		log_error("%s is the secret that the nodes of a cluster share: make it on one "
			  "(head -c %d /dev/urandom) and copy it, with mode 0600, to all",
			  c->secret_file, CONFIG_KEY_SIZE);
	return -1;
}

static int prepare_state(const struct config *c, struct nfs_server_options *o)
{
	struct config_error err;
	uint32_t served;
	uint8_t bytes[CONFIG_KEY_SIZE];
	int rc = make_directory(c->state_dir);

	if (rc) {
		log_error("cannot create the state directory %s: %s; create it, or name another "
			  "one (state-dir, --state)",
			  c->state_dir, strerror(-rc));
		return -1;
	}
	if (load_secret(c, bytes) != 0)
		return -1;
	_Static_assert(sizeof(o->handle_key) == sizeof(bytes), "the key's size");
	memcpy(&o->handle_key, bytes, sizeof(bytes));
	o->state_dir = c->state_dir;
	o->earlier = epoch_has_earlier(c->state_dir);
	if (epoch_next(c->state_dir, &o->epoch, &served, &err) != 0)
		return fail(&err);
	o->instance = o->epoch;
	o->served = served;
	return 0;
}

/* By any thread: the first one takes the signal and becomes a new process. */
static void start_anew(void *arg)
{
	kill(getpid(), RESTART_SIGNAL);
}

/* If all nodes should stop, whichever begins anew must not use the cluster's epoch again. */
static void note_epoch(void *arg, uint32_t epoch)
{
	const struct daemon *d = arg;
	struct config_error err;

	if (epoch_raise(d->options.config->state_dir, epoch, &err) != 0)
		fail(&err);
}

#define EVICT_LEAST_MS 5000

/*
 * When the others put out a node whose server hangs, and give its addresses away: not before its own supervisor has taken
 * them off. What it was last heard of is up to half a second older than its last word to the supervisor.
 */
static uint32_t evict_ms(unsigned hang_seconds)
{
	uint32_t ms = hang_seconds * 1000 + 2000;

	return ms > EVICT_LEAST_MS ? ms : EVICT_LEAST_MS;
}

static int prepare_cluster(struct daemon *d, struct nfs_server_options *o)
{
	const struct config *c = d->options.config;

	if (!c->cluster)
		return 0;
	if (!cluster_has_corosync()) {
		log_error("[cluster] in %s: this atolld was built without corosync; build it with "
			  "-Dcluster=enabled, or remove the section",
			  c->file);
		return -1;
	}
	o->cluster_new = cluster_corosync_new;
	o->replicated = true;
	o->lost = start_anew;
	o->joined = note_epoch;
	o->node_arg = d;
	o->lull_ms = LULL_MS;
	o->cluster = (struct cluster_config){
		.scope = c->cluster->scope,
		.safe = c->cluster->safe,
		.state_dir = c->state_dir,
		.hang_ms = evict_ms(c->cluster->hang_seconds),
	};
	return node_prepare(&d->node, c, o);
}

/* The kernel's file systems need capabilities; say so at once rather than fail at a handle. */
static int check_privileges(const struct exports *exports)
{
	char missing[200];
	bool needed = false;

	for (unsigned i = 0; i < exports_count(exports); i++)
		needed |= strcmp(exports_get(exports, i)->backend, "vfs") == 0;
	if (!needed || privileges_suffice(missing, sizeof(missing)))
		return 0;
	log_error("no privileges to serve directories: %s missing; run as root", missing);
	return -1;
}

static int start_nfs(struct daemon *d, struct exports *exports)
{
	const struct config *c = d->options.config;
	struct nfs_server_options o;
	struct config_error err;

	nfs_server_options_default(&o);
	o.minor_versions = c->minor_versions;
	o.lease_seconds = c->lease_seconds;
	o.max_io = c->max_io;
	o.cache_seconds = c->cache_seconds;
	o.grace_seconds = c->grace_seconds;
	o.delegations = c->delegations;
	o.max_clients = c->max_clients;
	o.max_opens = c->max_opens;
	o.max_locks = c->max_locks;
	o.max_delegations = c->max_delegations;
	o.max_delegations_per_client = c->max_delegations_per_client;
	o.max_owners = c->max_owners;
	o.max_sessions = c->max_sessions;
	o.max_owners_per_client = c->max_owners_per_client;
	o.max_opens_per_client = c->max_opens_per_client;
	o.max_locks_per_client = c->max_locks_per_client;
	o.max_sessions_per_client = c->max_sessions_per_client;
	o.max_slots_per_session = c->max_slots_per_session;
	if (prepare_state(c, &o) != 0 || prepare_cluster(d, &o) != 0)
		return -1;
	d->instance = o.epoch;
	return nfs_server_new(&o, exports, &d->nfs, &err) ? fail(&err) : 0;
}

static int load_and_start_nfs(struct daemon *d)
{
	struct exports *exports;
	struct config_error err;

	if (daemon_options_exports(&d->options, &exports, &err) != 0)
		return fail(&err);
	if (!exports_count(exports))
		log_warn("nothing is exported: clients will see an empty directory; name "
			 "directories in /etc/exports and reload");
	if (check_privileges(exports) == 0 && start_nfs(d, exports) == 0)
		return 0;
	exports_free(exports);
	return -1;
}

static uint16_t port_of(const struct sockaddr_storage *ss)
{
	return ntohs(ss->ss_family == AF_INET ? ((const struct sockaddr_in *)ss)->sin_port
					      : ((const struct sockaddr_in6 *)ss)->sin6_port);
}

static void address_text(const struct sockaddr_storage *ss, char *host, size_t size)
{
	socklen_t len =
	    ss->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

	if (getnameinfo((const struct sockaddr *)ss, len, host, (socklen_t)size, NULL, 0,
			NI_NUMERICHOST) != 0)
		snprintf(host, size, "?");
}

static int listen_failed(const struct config_listen *l, int errnum)
{
	char host[NI_MAXHOST];

	address_text(&l->addr, host, sizeof(host));
	log_error("cannot listen on %s port %u: %s; %s", host, port_of(&l->addr), strerror(errnum),
		  errnum == EADDRINUSE	    ? "stop what uses the port, or choose another one "
					      "(port, --port)"
		  : errnum == EADDRNOTAVAIL ? "give an address that this machine has"
		  : errnum == EACCES	    ? "ports below 1024 need CAP_NET_BIND_SERVICE"
					    : "choose another address or port");
	return -1;
}

/*
 * A kernel-chosen port (0) is chosen once: further addresses listen on the port that the first
 * one got.
 */
static void share_port(const struct daemon *d, struct sockaddr_storage *addr)
{
	in_port_t *port = addr->ss_family == AF_INET ? &((struct sockaddr_in *)addr)->sin_port
						     : &((struct sockaddr_in6 *)addr)->sin6_port;

	if (*port == 0 && d->nbound)
		*port = htons(port_of(&d->bound[0]));
}

static bool is_loopback_default(const struct daemon *d, const struct config_listen *l)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&l->addr;

	return d->options.serve_dir && l->addr.ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static int start_listening(struct daemon *d)
{
	const struct config *c = d->options.config;

	d->bound = calloc(c->nlisten, sizeof(*d->bound));
	if (!d->bound) {
		log_error("cannot listen: out of memory");
		return -1;
	}
	for (unsigned i = 0; i < c->nlisten; i++) {
		struct config_listen l = c->listen[i];
		struct sockaddr_storage bound;
		int rc;

		share_port(d, &l.addr);
		rc = restart_listen(d->rpc, (struct sockaddr *)&l.addr, l.len, &bound);
		if ((rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL) &&
		    (l.optional || is_loopback_default(d, &l))) {
			log_debug("no IPv6 here: listening on IPv4 only");
			continue;
		}
		if (rc)
			return listen_failed(&l, -rc);
		d->bound[d->nbound++] = bound;
	}
	restart_inherited();
	if (d->nbound)
		return 0;
	log_error("cannot listen: this machine has neither IPv4 nor IPv6; set up a network");
	return -1;
}

static int make_rpc_server(struct daemon *d)
{
	const struct config *c = d->options.config;
	struct rpc_limits limits;
	int rc;

	rpc_limits_default(&limits);
	if (c->max_connections)
		limits.max_connections = c->max_connections;
	/* Room for the payload and the rest of a compound. */
	if (limits.max_record < c->max_io + 65536u)
		limits.max_record = c->max_io + 65536u;
	if (limits.max_reply < c->max_io + 65536u)
		limits.max_reply = c->max_io + 65536u;
	rc = rpc_server_new(&limits, c->loops, &d->rpc);
	if (rc)
		log_error("cannot make the RPC server: %s", strerror(-rc));
	return rc;
}

/* From here on clients may do something that an earlier instance's snapshot does not know. */
static int begin_service(struct daemon *d)
{
	const char *state_dir = d->options.config->state_dir;
	struct config_error err;
	int rc;

	if (epoch_serve(state_dir, d->instance, &err) != 0)
		return fail(&err);
	handover_remove(state_dir);
	rc = restart_say_pid(state_dir, d->instance, d->node.supervisor ? getppid() : getpid());
	if (rc)
		log_warn("%s/" RESTART_PID_FILE ": %s; `atoll restart' will not find this process",
			 state_dir, strerror(-rc));
	return 0;
}

static int start_rpc(struct daemon *d)
{
	int rc = begin_service(d);

	if (rc)
		return -1;
	node_attach(&d->node, d->rpc);
	rc = nfs_server_attach(d->nfs, d->rpc);
	if (!rc)
		rc = rpc_server_start(d->rpc);
	if (rc)
		log_error("cannot start the RPC server: %s", strerror(-rc));
	d->running = rc == 0;
	return rc;
}

static int settle_privileges(void)
{
	int rc = privileges_drop();

	if (rc)
		log_error("cannot give up privileges: %s", strerror(-rc));
	return rc;
}

/* ---- what the control socket asks for ---- */

/* Of the configuration file only the cluster's addresses are taken while the daemon runs. */
static int reload_addresses(struct daemon *d, struct config_error *err)
{
	struct config *fresh;
	int rc;

	if (!d->options.config->cluster || !d->options.config->file)
		return 0;
	rc = config_load(d->options.config->file, &fresh, err);
	if (rc)
		return rc;
	rc = node_reload(&d->node, fresh);
	config_free(fresh);
	return rc ? config_error_set(err, rc, NULL, 0, 0,
				     "the cluster cannot be told of the addresses: %s",
				     strerror(-rc))
		  : 0;
}

/* 0 or -errno with `err` filled; logged. */
static int reload(struct daemon *d, struct config_error *err)
{
	struct exports *exports;
	int rc;

	mutex_lock(&d->reload_lock);
	rc = daemon_options_exports(&d->options, &exports, err);
	if (!rc) {
		rc = nfs_server_reload(d->nfs, exports, err);
		if (rc)
			exports_free(exports);
	}
	if (!rc)
		rc = reload_addresses(d, err);
	mutex_unlock(&d->reload_lock);
	if (rc) {
		fail(err);
		log_warn("what could not be read stays as it was");
	} else {
		log_info("exports read again");
	}
	return rc;
}

static uint64_t limit_of(const json_t *request)
{
	const json_t *limit = json_object_get(request, "limit");

	return json_is_integer(limit) && json_integer_value(limit) >= 0
		   ? (uint64_t)json_integer_value(limit)
		   : REPORT_MOST;
}

static int command_status(void *ctx, const json_t *request, json_t *reply)
{
	const struct daemon *d = ctx;
	struct mallinfo2 heap = mallinfo2();
	struct rpc_stats st;

	rpc_server_stats(d->rpc, &st);
	json_object_set_new(reply, "pid", json_integer(getpid()));
	json_object_set_new(reply, "instance", json_integer(d->instance));
	json_object_set_new(reply, "connections", json_integer(st.connections));
	json_object_set_new(reply, "threads", json_integer(st.threads));
	json_object_set_new(reply, "calls", json_integer((json_int_t)st.calls));
	json_object_set_new(reply, "bytes_in", json_integer((json_int_t)st.bytes_in));
	json_object_set_new(reply, "bytes_out", json_integer((json_int_t)st.bytes_out));
	json_object_set_new(reply, "buffers", json_integer((json_int_t)st.memory));
	json_object_set_new(reply, "heap", json_integer((json_int_t)(heap.uordblks + heap.hblkhd)));
	return report_status(d->nfs, reply);
}

static int command_clients(void *ctx, const json_t *request, json_t *reply)
{
	return report_clients(((struct daemon *)ctx)->nfs, limit_of(request), reply);
}

static int command_sessions(void *ctx, const json_t *request, json_t *reply)
{
	return report_sessions(((struct daemon *)ctx)->nfs, limit_of(request), reply);
}

static int command_locks(void *ctx, const json_t *request, json_t *reply)
{
	return report_locks(((struct daemon *)ctx)->nfs, limit_of(request), reply);
}

static int command_exports(void *ctx, const json_t *request, json_t *reply)
{
	return report_exports(((struct daemon *)ctx)->nfs, reply);
}

static int command_reload(void *ctx, const json_t *request, json_t *reply)
{
	struct config_error err;
	char text[600];
	int rc = reload(ctx, &err);

	if (rc) {
		config_error_format(&err, text, sizeof(text));
		json_object_set_new(reply, "error", json_string(text));
	} else {
		json_object_set_new(reply, "exports", json_string("read again"));
	}
	return rc;
}

static int command_nodes(void *ctx, const json_t *request, json_t *reply)
{
	return node_report_nodes(&((struct daemon *)ctx)->node, reply);
}

static int command_addresses(void *ctx, const json_t *request, json_t *reply)
{
	return node_report_addresses(&((struct daemon *)ctx)->node, reply);
}

static int command_drain(void *ctx, const json_t *request, json_t *reply)
{
	return node_drain(&((struct daemon *)ctx)->node, request, true, reply);
}

static int command_undrain(void *ctx, const json_t *request, json_t *reply)
{
	return node_drain(&((struct daemon *)ctx)->node, request, false, reply);
}

static const struct control_command commands[] = {
	{ "status", command_status },	  { "clients", command_clients },
	{ "sessions", command_sessions }, { "locks", command_locks },
	{ "exports", command_exports },	  { "reload", command_reload },
	{ "nodes", command_nodes },	  { "addresses", command_addresses },
	{ "drain", command_drain },	  { "undrain", command_undrain },
	{ 0 },
};

/* Before the RPC server's threads make files: it changes the umask for a moment. */
static void start_control(struct daemon *d)
{
	const char *state_dir = d->options.config->state_dir;
	int rc = control_start(state_dir, commands, d, &d->control);

	if (rc)
		log_warn("%s/" CONTROL_SOCKET ": %s; `atoll status' and the like will not find "
			 "this process",
			 state_dir, strerror(-rc));
}

/*
 * The heap has a part for every few threads. Many parts stay large because each has something
 * small and lasting at its end; requests hardly use the heap, so that few of them suffice.
 */
static void settle_heap(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	mallopt(M_ARENA_MAX, cores > 2 ? (int)cores * 2 : 4);
}

static int start(struct daemon *d)
{
	settle_heap();
	log_debug("at most %lu open files", privileges_raise_nofile());
	d->program = restart_program();
	if (make_rpc_server(d) != 0 || start_listening(d) != 0)
		return -1;
	if (settle_privileges() != 0 || load_and_start_nfs(d) != 0)
		return -1;
	start_control(d);
	return start_rpc(d) == 0 ? 0 : -1;
}

/* ---- running ---- */

static bool is_wildcard(const struct sockaddr_storage *ss)
{
	return ss->ss_family == AF_INET
		   ? ((const struct sockaddr_in *)ss)->sin_addr.s_addr == INADDR_ANY
		   : IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)ss)->sin6_addr);
}

/* ADDRESS:PORT, with brackets around IPv6. */
static void print_address(const struct sockaddr_storage *ss)
{
	bool v6 = ss->ss_family == AF_INET6;
	char host[NI_MAXHOST];

	address_text(ss, host, sizeof(host));
	printf(" %s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", port_of(ss));
}

static void print_mount_command(const struct sockaddr_storage *ss)
{
	bool v6 = ss->ss_family == AF_INET6;
	char host[NI_MAXHOST];

	address_text(ss, host, sizeof(host));
	if (is_wildcard(ss)) {
		v6 = false;
		if (gethostname(host, sizeof(host)) != 0)
			snprintf(host, sizeof(host), "SERVER");
	}
	printf("mount -t nfs4 -o port=%u %s%s%s:/ /mnt\n", port_of(ss), v6 ? "[" : "", host,
	       v6 ? "]" : "");
}

/* What a person who typed `atoll serve' wants to know. */
static void say_how_to_mount(const struct daemon *d)
{
	const struct daemon_options *o = &d->options;

	printf("serving %s as / (%s)\nlistening on", o->serve_dir, o->serve_options);
	for (unsigned i = 0; i < d->nbound; i++)
		print_address(&d->bound[i]);
	printf("\nclients:");
	for (unsigned i = 0; i < o->nallow; i++)
		printf(" %s",
		       strcmp(o->allow[i], "*") == 0 ? "all that can reach it" : o->allow[i]);
	printf("\n");
	print_mount_command(&d->bound[0]);
}

static bool listens_by(const struct daemon *d, int family)
{
	for (unsigned i = 0; i < d->nbound; i++)
		if (d->bound[i].ss_family == family)
			return true;
	return false;
}

static struct rpcbind_service rpcbind_service(const struct daemon *d)
{
	struct rpc_program program = nfs_server_program(d->nfs);

	return (struct rpcbind_service){
		.program = program.number,
		.min_version = program.min_version,
		.max_version = program.max_version,
		.port = port_of(&d->bound[0]),
		.ipv4 = listens_by(d, AF_INET),
		.ipv6 = listens_by(d, AF_INET6),
	};
}

/* A machine without rpcbind is in order: NFSv4 clients do not ask it. */
static void register_with_rpcbind(struct daemon *d)
{
	struct rpcbind_service service = rpcbind_service(d);
	int rc = rpcbind_register(&service);

	d->rpcbind = rc == 0;
	if (rc == 0)
		log_info("registered port %u with rpcbind", service.port);
	else if (rc == -ECONNREFUSED)
		log_info("not registered with rpcbind, which does not run; NFSv4 clients do not "
			 "need it");
	else
		log_warn("not registered with rpcbind: %s; NFSv4 clients do not need it",
			 strerror(-rc));
}

static void unregister_from_rpcbind(const struct daemon *d)
{
	struct rpcbind_service service = rpcbind_service(d);
	int rc = rpcbind_unregister(&service);

	if (rc)
		log_info("rpcbind keeps the registration: %s", strerror(-rc));
}

static void announce(struct daemon *d)
{
	char host[NI_MAXHOST];

	if (d->options.serve_dir)
		say_how_to_mount(d);
	for (unsigned i = 0; i < d->nbound && !d->options.serve_dir; i++) {
		address_text(&d->bound[i], host, sizeof(host));
		log_info("listening on %s port %u", host, port_of(&d->bound[i]));
	}
	puts("ready");
	fflush(stdout);
	notify("READY=1");
	if (d->options.config->rpcbind)
		register_with_rpcbind(d);
}

static void reload_by_signal(void *arg)
{
	struct daemon *d = arg;
	struct config_error err;

	notify("RELOADING=1");
	reload(d, &err); /* the log has it */
	notify("READY=1");
}

static void block_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, RESTART_SIGNAL);
	pthread_sigmask(SIG_BLOCK, set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void tick_state(void *arg)
{
	struct daemon *d = arg;

	nfs_server_tick(d->nfs);
	if (rpc_server_tick(d->rpc))
		malloc_trim(0);
}

static void tick_records(void *arg)
{
	nfs_server_tick_records(((struct daemon *)arg)->nfs);
}

static void tick_files(void *arg)
{
	nfs_server_tick_files(((struct daemon *)arg)->nfs);
}

static int start_housekeeping(struct daemon *d)
{
	struct keeping_work state = { "keep-state", tick_state, NULL, d };
	struct keeping_work records = { "keep-records", tick_records, NULL, d };
	struct keeping_work files = { "keep-files", tick_files, reload_by_signal, d };
	int rc = keeping_start(&state, &d->state_keeping);

	if (!rc)
		rc = keeping_start(&records, &d->record_keeping);
	if (!rc)
		rc = keeping_start(&files, &d->file_keeping);
	if (rc)
		log_error("cannot start a thread: %s", strerror(-rc));
	return rc;
}

/*
 * The parts of the server without which nobody can be served, and which nothing outside of this
 * process holds up: the threads that take requests, and the one that puts changes of what clients
 * hold into the cluster's order. What waits for a file system is none of them.
 */
static bool moves(struct daemon *d, uint64_t since)
{
	bool rpc = rpc_server_moves(d->rpc), log = nfs_server_moves(d->nfs, since);

	if (!rpc || !log)
		log_warn("%s not moved for a second",
			 log ? "a thread that takes requests has"
			 : rpc ? "the thread of the cluster's log has"
			       : "threads that take requests and that of the cluster's log have");
	return rpc && log;
}

/* Until SIGINT or SIGTERM, or the signal to restart: true. */
static bool run(struct daemon *d, const sigset_t *signals)
{
	uint64_t last = clock_mono_ns(), next = last + NS_PER_SEC;

	for (;;) {
		uint64_t now = clock_mono_ns(), left = next > now ? next - now : 0;
		struct timespec ts = { (time_t)(left / NS_PER_SEC), (long)(left % NS_PER_SEC) };
		int sig = sigtimedwait(signals, NULL, &ts);

		if (sig == SIGINT || sig == SIGTERM || sig == RESTART_SIGNAL)
			return sig == RESTART_SIGNAL;
		if (sig == SIGHUP)
			keeping_ask(d->file_keeping);
		now = clock_mono_ns();
		if (now < next)
			continue;
		if (d->node.supervisor && moves(d, last))
			node_tick(&d->node);
		last = now;
		next = now + NS_PER_SEC;
	}
}

/* The addresses go before anything that may have to wait. */
static void stop(struct daemon *d)
{
	node_leave(&d->node);
	control_stop(d->control);
	keeping_stop(d->state_keeping);
	keeping_stop(d->record_keeping);
	keeping_stop(d->file_keeping);
	if (d->running)
		rpc_server_stop(d->rpc, STOP_SECONDS);
	if (d->nfs)
		nfs_server_detach(d->nfs);
	if (d->rpc)
		rpc_server_free(d->rpc);
	if (d->running)
		nfs_server_hand_over(d->nfs, d->options.config->state_dir);
	if (d->running && d->in_place)
		nfs_server_keep_nameless(d->nfs);
	if (d->nfs)
		nfs_server_free(d->nfs);
	node_free(&d->node);
	free(d->bound);
	daemon_options_free(&d->options);
}

static void stop_for_good(struct daemon *d)
{
	notify("STOPPING=1");
	if (d->rpcbind)
		unregister_from_rpcbind(d);
	stop(d);
	free(d->program);
}

/* Returns only if there is no new program to become. */
static int restart(struct daemon *d, char **argv)
{
	int rc;

	bool supervised = d->node.supervisor != NULL;

	log_info("restarting");
	notify("RELOADING=1");
	d->in_place = !supervised;
	if (!supervised)
		restart_keep(d->rpc);
	stop(d);
	if (supervised) {
		free(d->program);
		return SUPERVISOR_RESTART;
	}
	rc = nameless_pass();
	if (rc)
		log_warn("open files without a name are lost by the restart: %s", strerror(-rc));
	rc = d->program ? restart_exec(d->program, argv) : -ENOENT;
	log_error("cannot run %s again: %s; start the server by hand",
		  d->program ? d->program : "the server", strerror(-rc));
	free(d->program);
	return 1;
}

static int drop_addresses(struct daemon *d)
{
	int rc = node_drop_addresses(d->options.config);

	daemon_options_free(&d->options);
	return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct daemon d = { 0 };
	sigset_t signals;
	int status;

	if (daemon_options_parse(argc, argv, &d.options, &status) != 0)
		return status;
	log_set_level(d.options.config->log_level);
	umask(0);
	if (d.options.drop_addresses)
		return drop_addresses(&d);
	if (node_begin(&d.node, d.options.config, argv) != 0)
		return 1;
	mutex_init(&d.reload_lock);
	block_signals(&signals);
	restart_inherit();
	nameless_inherit();
	status = start(&d) == 0 && start_housekeeping(&d) == 0 ? 0 : 1;
	if (status == 0) {
		announce(&d);
		if (run(&d, &signals))
			return restart(&d, argv);
		log_info("stopping");
	}
	stop_for_good(&d);
	return status;
}

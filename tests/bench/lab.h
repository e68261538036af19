/*
 * The place where the servers are measured, made so that it vanishes with the bench: a mount
 * namespace (and, unless a server elsewhere takes part, a network namespace), in it a journalled
 * ext4 on a loop device that is detached with its last mount, and server processes that die with
 * their parent.
 */
#ifndef BENCH_LAB_H
#define BENCH_LAB_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/types.h>

#define LAB_DIR "/mnt"	      /* a tmpfs of ours there */
#define LAB_FS	LAB_DIR "/fs" /* the ext4 */

/*
 * Makes namespaces and file system. The image is an unlinked file in image_dir, or lies in memory
 * if that is NULL. Must be called before there are threads. One line on stderr and -1 on failure.
 */
int lab_enter(bool private_net, const char *image_dir);

struct server {
	const char *name;
	struct sockaddr_in addr;
	const char *path; /* of the export */
	pid_t pid;	  /* -1: not known, its CPU time is not measured */
	bool ours;	  /* to be stopped */
	unsigned starts;  /* so far */
	clockid_t clock;
};

/*
 * Start a server on LAB_FS/<name> and wait until it answers; its output goes to log_dir/<name>.log. One
 * that was stopped (or has died) starts again without anything that it had. cache_time NULL: the default.
 */
int lab_start_atoll(struct server *s, const char *program, const char *log_dir, bool async,
		    const char *cache_time);
int lab_start_ganesha(struct server *s, const char *log_dir);

/* A server that runs somewhere: "HOST:PORT/EXPORT"; pid -1 if it is not on this machine. */
int lab_use_peer(struct server *s, const char *where, pid_t pid);

/* A child of ours that serves until it is killed. */
int lab_start_child(struct server *s, const char *name, void (*run)(int listener));

void lab_stop(struct server *s);

/* CPU time of all threads of the server so far, in ns; -1 if it is not known. */
double lab_cpu(const struct server *s);

#endif

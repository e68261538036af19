/*
 * The database of client records, and the file that vouches for it.
 *
 *	clients(key, instance, holder, value)	one row for each client that may hold something
 *	meta(name, value)			"lease" of the instance that runs or ran last
 *
 * Invariants, while the file clients.complete exists:
 *  - every client that has been promised something by the instance that runs has a row with
 *    its number; every one that may yet reclaim has a row of its last instance;
 *  - a client whose state was taken from it has none.
 * It exists except
 *  - after a change could not be written, until it has been (`missed` keeps it);
 *  - while anybody may reclaim, because who might is not known: until that grace period ends.
 *
 * The database is locked exclusively as long as it is open: no shared memory, no other process.
 */
#include "cluster/stable.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/lock.h"
#include "base/log.h"

#define DATABASE	"clients.db"
#define COMPLETE	"clients.complete"
#define DAMAGED		"clients.db.damaged"
#define APPLICATION_ID	0x41746f6c /* "Atol" */
#define SCHEMA_VERSION	1
#define COMPLAIN_NS	(30 * NS_PER_SEC)
#define RETRY_NS	NS_PER_SEC /* while writing fails it is tried no more often than that */
#define MISSED_MAX	4096 /* changes; with more the records are as good as lost */

/* Changes that could not be written, in their order; a copy. */
struct missed {
	struct missed *next;
	struct stable_change change;
	uint8_t bytes[];
};

struct stable {
	/* Immutable after stable_open(). */
	char *dir;
	int dir_fd;
	uint64_t instance;
	uint32_t lease;

	struct mutex lock; /* guards the rest */
	sqlite3 *db;	   /* NULL: could not be opened; nothing is recorded */
	sqlite3_stmt *put, *remove;
	bool complete;	   /* COMPLETE exists */
	bool anybody;	   /* until the grace period ends there cannot be one */
	bool forgotten;	   /* a missed change could not even be remembered */
	bool failing;	   /* the last commit failed: for the log */
	bool due;	   /* the next commit removes the records of earlier instances */
	uint64_t complained_ns;
	struct missed *missed, **missed_tail;
	unsigned nmissed;
	uint64_t failed_ns; /* when writing was last tried in vain */
};

/* ------------------------------------------------------------------ saying so ---- */

static const char *remedy(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_FULL:
		return "make room on that file system";
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_CANTOPEN:
	case SQLITE_AUTH:
		return "make the state directory and its files writable for the server";
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return "check the disk; the file can be removed while the server is stopped";
	default:
		return "check the disk that the state directory is on";
	}
}

static void say_unwritable(struct stable *s, int rc)
{
	if (s->failing)
		return;
	s->failing = true;
	log_error("%s/" DATABASE ": cannot record a client: %s; %s. Until then, should the server "
		  "crash, the next start waits a whole grace period and must let every client "
		  "reclaim",
		  s->dir, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(rc), remedy(rc));
}

static void say_nothing_works(struct stable *s, int errnum)
{
	uint64_t now = clock_mono_ns();

	if (s->complained_ns && now - s->complained_ns < COMPLAIN_NS)
		return;
	s->complained_ns = now;
	log_error("%s: clients cannot be recorded, and " COMPLETE " cannot be removed to say so: "
		  "%s; clients that open files must wait until the state directory is writable",
		  s->dir, strerror(errnum));
}

static void say_lost(const struct stable_params *p, const char *why, const char *todo)
{
	log_error("%s/" DATABASE " %s: which clients held state is not known. For a whole grace "
		  "period every client may reclaim and nobody gets anything new, and locks of "
		  "clients that had lost them cannot be told from others; %s",
		  p->dir, why, todo);
}

/* ---------------------------------------------------------- the file that vouches ---- */

static bool is_complete(const struct stable *s)
{
	struct stat st;

	return fstatat(s->dir_fd, COMPLETE, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int set_complete(struct stable *s) REQUIRES(&s->lock)
{
	int fd;

	if (s->complete)
		return 0;
	fd = openat(s->dir_fd, COMPLETE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	if (fsync(s->dir_fd) != 0)
		return -errno;
	s->complete = true;
	return 0;
}

static int set_incomplete(struct stable *s) REQUIRES(&s->lock)
{
	if (!s->complete)
		return 0;
	if (unlinkat(s->dir_fd, COMPLETE, 0) != 0 && errno != ENOENT)
		return -errno;
	if (fsync(s->dir_fd) != 0)
		return -errno;
	s->complete = false;
	return 0;
}

/* ------------------------------------------------------------- talking to SQLite ---- */

static int exec(struct stable *s, const char *sql) REQUIRES(&s->lock)
{
	return sqlite3_exec(s->db, sql, NULL, NULL, NULL);
}

static int get_number(sqlite3 *db, const char *sql, int64_t *out)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(db, sql, -1, &q, NULL);

	if (rc)
		return rc;
	rc = sqlite3_step(q);
	if (rc == SQLITE_ROW) {
		*out = sqlite3_column_int64(q, 0);
		rc = SQLITE_OK;
	} else if (rc == SQLITE_DONE) {
		*out = 0;
		rc = SQLITE_OK;
	}
	sqlite3_finalize(q);
	return rc;
}

/* Runs a statement that gives no rows, with its number ?1. */
static int run_number(struct stable *s, const char *sql, uint64_t number) REQUIRES(&s->lock)
{
	sqlite3_stmt *q;
	int rc = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL);

	if (rc)
		return rc;
	sqlite3_bind_int64(q, 1, (int64_t)number);
	rc = sqlite3_step(q);
	sqlite3_finalize(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static void roll_back(struct stable *s) REQUIRES(&s->lock)
{
	if (!sqlite3_get_autocommit(s->db))
		exec(s, "ROLLBACK");
}

static void close_db(struct stable *s) REQUIRES(&s->lock)
{
	sqlite3_finalize(s->put);
	sqlite3_finalize(s->remove);
	s->put = s->remove = NULL;
	sqlite3_close(s->db);
	s->db = NULL;
}

/* --------------------------------------------------------------------- opening ---- */

static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE clients(key BLOB PRIMARY KEY, instance INTEGER NOT NULL,"
    " holder INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id = 1098149740;" /* APPLICATION_ID */
    "PRAGMA user_version = 1;"		  /* SCHEMA_VERSION */
    "COMMIT";

/* SQLite gives its files the mode of the first. */
static int make_private(struct stable *s)
{
	int fd = openat(s->dir_fd, DATABASE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errno == EROFS || errno == EACCES ? SQLITE_READONLY : SQLITE_CANTOPEN;
	close(fd);
	return SQLITE_OK;
}

static int open_db(struct stable *s) REQUIRES(&s->lock)
{
	char *path;
	int rc = make_private(s);

	if (rc)
		return rc;
	if (asprintf(&path, "%s/" DATABASE, s->dir) < 0)
		return SQLITE_NOMEM;
	rc = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	free(path);
	if (rc == SQLITE_OK)
		rc = exec(s, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
			     "PRAGMA synchronous = FULL");
	return rc;
}

static int create_schema(struct stable *s) REQUIRES(&s->lock)
{
	int rc = exec(s, schema);

	roll_back(s);
	return rc;
}

static bool is_ok(sqlite3 *db)
{
	sqlite3_stmt *q;
	bool ok = false;

	if (sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &q, NULL) != SQLITE_OK)
		return false;
	if (sqlite3_step(q) == SQLITE_ROW)
		ok = strcmp((const char *)sqlite3_column_text(q, 0), "ok") == 0;
	sqlite3_finalize(q);
	return ok;
}

/* SQLITE_NOTADB: this is not, or no longer, a database of ours. *empty: it has nothing yet. */
static int check_schema(struct stable *s, bool *empty) REQUIRES(&s->lock)
{
	int64_t tables = 0, id = 0, version = 0;
	int rc = get_number(s->db, "SELECT count(*) FROM sqlite_schema", &tables);

	if (rc == SQLITE_OK)
		rc = get_number(s->db, "PRAGMA application_id", &id);
	if (rc == SQLITE_OK)
		rc = get_number(s->db, "PRAGMA user_version", &version);
	*empty = rc == SQLITE_OK && tables == 0;
	if (rc == SQLITE_OK && !*empty &&
	    (id != APPLICATION_ID || version != SCHEMA_VERSION || !is_ok(s->db)))
		rc = SQLITE_NOTADB;
	return rc;
}

static int prepare(struct stable *s) REQUIRES(&s->lock)
{
	int rc = sqlite3_prepare_v2(s->db,
				    "INSERT OR REPLACE INTO clients(key, instance, holder, value) "
				    "VALUES(?1, ?2, ?3, ?4)",
				    -1, &s->put, NULL);

	if (rc)
		return rc;
	return sqlite3_prepare_v2(s->db, "DELETE FROM clients WHERE key = ?1 AND holder = ?2", -1,
				  &s->remove, NULL);
}

/* ------------------------------------------------------------- reading the records ---- */

static int copy_blob(sqlite3_stmt *q, int column, struct stable_bytes *out)
{
	const void *from = sqlite3_column_blob(q, column);
	int len = sqlite3_column_bytes(q, column);
	uint8_t *copy = malloc(len ? (size_t)len : 1);

	if (!copy)
		return SQLITE_NOMEM;
	if (len)
		memcpy(copy, from, (size_t)len);
	*out = (struct stable_bytes){ copy, (uint32_t)len };
	return SQLITE_OK;
}

static int add_record(struct stable_list *list, size_t *room, sqlite3_stmt *q)
{
	struct stable_record *bigger, *r;
	int rc;

	if (list->n == *room) {
		*room = *room ? 2 * *room : 64;
		bigger = reallocarray(list->records, *room, sizeof(*bigger));
		if (!bigger)
			return SQLITE_NOMEM;
		list->records = bigger;
	}
	r = &list->records[list->n];
	*r = (struct stable_record){ .holder = (uint64_t)sqlite3_column_int64(q, 1) };
	rc = copy_blob(q, 0, &r->key);
	if (rc == SQLITE_OK)
		rc = copy_blob(q, 2, &r->value);
	if (rc)
		free((void *)r->key.p);
	else
		list->n++;
	return rc;
}

static int read_records(struct stable *s, struct stable_list *list) REQUIRES(&s->lock)
{
	sqlite3_stmt *q;
	size_t room = 0;
	int64_t lease = 0;
	int rc = sqlite3_prepare_v2(s->db, "SELECT key, holder, value FROM clients ORDER BY key",
				    -1, &q, NULL);

	if (rc)
		return rc;
	while ((rc = sqlite3_step(q)) == SQLITE_ROW) {
		rc = add_record(list, &room, q);
		if (rc)
			break;
	}
	sqlite3_finalize(q);
	if (rc == SQLITE_DONE)
		rc = get_number(s->db, "SELECT value FROM meta WHERE name = 'lease'", &lease);
	list->lease = (uint32_t)lease;
	return rc;
}

void stable_list_free(struct stable_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free((void *)list->records[i].key.p);
		free((void *)list->records[i].value.p);
	}
	free(list->records);
	list->records = NULL;
	list->n = 0;
}

/* --------------------------------------------------------------- opening, all of it ---- */

/* A damaged database is kept for whoever wants to look at it; a new one takes its place. */
static int start_anew(struct stable *s) REQUIRES(&s->lock)
{
	int rc;

	close_db(s);
	if (renameat(s->dir_fd, DATABASE, s->dir_fd, DAMAGED) != 0 && errno != ENOENT)
		return SQLITE_READONLY;
	/* A log that is left would be replayed into the new one. */
	if (unlinkat(s->dir_fd, DATABASE "-wal", 0) != 0 && errno != ENOENT)
		return SQLITE_READONLY;
	rc = open_db(s);
	return rc ? rc : create_schema(s);
}

static int existing_db(struct stable *s, struct stable_list *list, bool *empty) REQUIRES(&s->lock)
{
	int rc = open_db(s);

	if (rc == SQLITE_OK)
		rc = check_schema(s, empty);
	if (rc == SQLITE_OK && !*empty)
		rc = read_records(s, list);
	return rc;
}

static bool is_damage(int rc)
{
	rc &= 0xff;
	return rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT || rc == SQLITE_ERROR ||
	       rc == SQLITE_SCHEMA || rc == SQLITE_FORMAT;
}

static bool is_busy(int rc)
{
	return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

/* What the file holds decides whether earlier instances' clients are known. */
static int look(struct stable *s, const struct stable_params *p, struct stable_list *list)
    REQUIRES(&s->lock)
{
	struct stat st;
	bool empty = true, missing = fstatat(s->dir_fd, DATABASE, &st, 0) != 0 && errno == ENOENT;
	int rc = existing_db(s, list, &empty);

	list->found = p->earlier ? STABLE_COMPLETE : STABLE_FIRST;
	if (is_busy(rc) || rc == SQLITE_NOMEM)
		return rc;
	if (rc) {
		char why[200];

		list->found = STABLE_LOST;
		snprintf(why, sizeof(why), "cannot be used (%s)",
			 s->db && is_damage(rc) ? "it is damaged" : sqlite3_errstr(rc));
		say_lost(p, why,
			 is_damage(rc) ? "the file is kept as " DAMAGED : remedy(rc));
		return is_damage(rc) ? start_anew(s) : rc;
	}
	if (p->earlier && empty) {
		list->found = STABLE_LOST;
		say_lost(p, missing ? "is missing" : "is empty",
			 "if this is not the server's first start with this version, find out who "
			 "removed it");
	} else if (p->earlier && !s->complete) {
		list->found = STABLE_LOST;
		say_lost(p, "is not complete",
			 "the log of the last instance says what it could not write, and why");
	}
	return empty ? create_schema(s) : SQLITE_OK;
}

/* Says that this instance has begun; with it every later write is seen to be possible. */
static int begin_instance(struct stable *s, const struct stable_list *list) REQUIRES(&s->lock)
{
	int rc = prepare(s);

	if (rc == SQLITE_OK)
		rc = run_number(s,
				"INSERT OR REPLACE INTO meta(name, value) VALUES('lease', ?1)",
				s->lease);
	if (rc == SQLITE_OK)
		s->anybody = list->found == STABLE_LOST;
	return rc;
}

static void vouch(struct stable *s, const struct stable_list *list) REQUIRES(&s->lock)
{
	int err = list->found == STABLE_LOST ? set_incomplete(s) : set_complete(s);

	if (err)
		log_error("%s/" COMPLETE ": cannot %s the file: %s; make the state directory "
			  "writable for the server",
			  s->dir, s->complete ? "remove" : "make", strerror(-err));
}

static struct stable *stable_new(const struct stable_params *p)
{
	struct stable *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->dir = strdup(p->dir);
	s->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	s->instance = p->instance;
	s->lease = p->lease;
	s->missed_tail = &s->missed;
	mutex_init(&s->lock);
	if (s->dir)
		return s;
	stable_close(s);
	return NULL;
}

int stable_open(const struct stable_params *p, struct stable **out, struct stable_list *list)
{
	struct stable *s = stable_new(p);
	int rc;

	*list = (struct stable_list){ 0 };
	if (!s)
		return -ENOMEM;
	mutex_lock(&s->lock);
	s->complete = is_complete(s);
	rc = look(s, p, list);
	if (rc == SQLITE_OK)
		rc = begin_instance(s, list);
	if (list->found == STABLE_LOST)
		stable_list_free(list);
	if (rc && !is_busy(rc) && rc != SQLITE_NOMEM) {
		/* It runs without records, and the next instance is told so. */
		say_unwritable(s, rc);
		close_db(s);
		s->forgotten = true;
		rc = set_incomplete(s);
		if (rc)
			say_nothing_works(s, -rc);
		rc = SQLITE_OK;
	} else if (rc == SQLITE_OK) {
		vouch(s, list);
	}
	mutex_unlock(&s->lock);
	if (rc == SQLITE_OK) {
		*out = s;
		return 0;
	}
	if (is_busy(rc))
		log_error("%s/" DATABASE " is in use: another server runs on this state directory; "
			  "stop it, or name another directory (state-dir, --state)",
			  p->dir);
	stable_list_free(list);
	stable_close(s);
	return is_busy(rc) ? -EBUSY : -ENOMEM;
}

static void drop_missed(struct stable *s)
{
	while (s->missed) {
		struct missed *m = s->missed;

		s->missed = m->next;
		free(m);
	}
	s->missed_tail = &s->missed;
	s->nmissed = 0;
}

void stable_close(struct stable *s)
{
	if (!s)
		return;
	mutex_lock(&s->lock);
	close_db(s);
	drop_missed(s);
	mutex_unlock(&s->lock);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	mutex_destroy(&s->lock);
	free(s->dir);
	free(s);
}

/* --------------------------------------------------------------------- changes ---- */

static int write_change(struct stable *s, const struct stable_change *c) REQUIRES(&s->lock)
{
	sqlite3_stmt *q = c->remove ? s->remove : s->put;
	int rc;

	sqlite3_bind_blob(q, 1, c->key.p, (int)c->key.len, SQLITE_STATIC);
	if (c->remove) {
		sqlite3_bind_int64(q, 2, (int64_t)c->holder);
	} else {
		sqlite3_bind_int64(q, 2, (int64_t)s->instance);
		sqlite3_bind_int64(q, 3, (int64_t)c->holder);
		/* An empty blob, not NULL. */
		sqlite3_bind_blob(q, 4, c->value.len ? (const void *)c->value.p : "",
				  (int)c->value.len, SQLITE_STATIC);
	}
	rc = sqlite3_step(q);
	sqlite3_reset(q);
	sqlite3_clear_bindings(q);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* Also what was missed before: the order stays. */
static int write_all(struct stable *s, const struct stable_change *changes, size_t n)
    REQUIRES(&s->lock)
{
	int rc = exec(s, "BEGIN IMMEDIATE");

	for (const struct missed *m = s->missed; rc == SQLITE_OK && m; m = m->next)
		rc = write_change(s, &m->change);
	for (size_t i = 0; rc == SQLITE_OK && i < n; i++)
		rc = write_change(s, &changes[i]);
	if (rc == SQLITE_OK && s->due)
		rc = run_number(s, "DELETE FROM clients WHERE instance < ?1", s->instance);
	return rc == SQLITE_OK ? exec(s, "COMMIT") : rc;
}

/* To be written with the next commit that succeeds. */
static void remember(struct stable *s, const struct stable_change *c) REQUIRES(&s->lock)
{
	struct missed *m = NULL;

	if (s->nmissed < MISSED_MAX)
		m = malloc(sizeof(*m) + c->key.len + c->value.len);
	if (!m) {
		s->forgotten = true;
		return;
	}
	s->nmissed++;
	m->next = NULL;
	m->change = *c;
	memcpy(m->bytes, c->key.p, c->key.len);
	m->change.key.p = m->bytes;
	if (c->value.len)
		memcpy(m->bytes + c->key.len, c->value.p, c->value.len);
	m->change.value.p = m->bytes + c->key.len;
	*s->missed_tail = m;
	s->missed_tail = &m->next;
}

/* Changes are not in the database: the next instance is to know. */
static int not_written(struct stable *s, const struct stable_change *changes, size_t n, int rc)
    REQUIRES(&s->lock)
{
	int err;

	say_unwritable(s, rc);
	s->failed_ns = clock_mono_ns();
	if (s->db) {
		roll_back(s);
		for (size_t i = 0; i < n; i++)
			remember(s, &changes[i]);
	}
	err = set_incomplete(s);
	if (err)
		say_nothing_works(s, -err);
	return err;
}

/* Everything is written: the database is whole again, unless more than changes was lost. */
static void written(struct stable *s) REQUIRES(&s->lock)
{
	int err;

	s->due = false;
	drop_missed(s);
	if (s->failing)
		log_info("%s/" DATABASE ": clients are recorded again", s->dir);
	s->failing = false;
	if (s->anybody || s->forgotten)
		return;
	err = set_complete(s);
	if (err)
		log_error("%s/" COMPLETE ": cannot make the file: %s; until it is there, the next "
			  "start will let every client reclaim",
			  s->dir, strerror(-err));
}

/* With a long list of missed changes each attempt takes long, and the voucher is away anyway. */
static bool too_soon(const struct stable *s) REQUIRES(&s->lock)
{
	return s->missed && !s->complete && clock_mono_ns() - s->failed_ns < RETRY_NS;
}

static int commit(struct stable *s, const struct stable_change *changes, size_t n)
    REQUIRES(&s->lock)
{
	int rc;

	if (n > 0 && too_soon(s)) {
		for (size_t i = 0; i < n; i++)
			remember(s, &changes[i]);
		return 0;
	}
	rc = s->db ? write_all(s, changes, n) : SQLITE_CANTOPEN;

	if (rc)
		return not_written(s, changes, n, rc);
	written(s);
	return 0;
}

int stable_commit(struct stable *s, const struct stable_change *changes, size_t n)
{
	int err;

	mutex_lock(&s->lock);
	err = commit(s, changes, n);
	mutex_unlock(&s->lock);
	return err;
}

int stable_retry(struct stable *s)
{
	int err = 0;

	mutex_lock(&s->lock);
	if (s->db && (s->missed || s->due))
		err = commit(s, NULL, 0);
	mutex_unlock(&s->lock);
	return err;
}

int stable_forget_earlier(struct stable *s)
{
	int err;

	mutex_lock(&s->lock);
	s->anybody = false;
	s->due = true;
	err = commit(s, NULL, 0);
	mutex_unlock(&s->lock);
	return err;
}

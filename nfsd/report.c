/*
 * Listings for people and scripts. The state is copied into JSON values while it is visited, under
 * its locks; what takes longer (finding out the paths of files) comes afterwards.
 */
#include "nfsd/report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "nfsd/server_private.h"
#include "nfsd/state/back.h"
#include "nfsd/state/inspect.h"

struct listing {
	json_t *entries;
	uint64_t most;
	bool truncated;
	int err;
};

/* ---- values ---- */

/* Bytes that a client chose: as text with what is not printable as \xNN. */
static json_t *text_of(struct bytes b)
{
	char *text = malloc(b.len * 4 + 1), *p = text;
	json_t *value;

	if (!text)
		return NULL;
	for (uint32_t i = 0; i < b.len; i++) {
		uint8_t c = b.p[i];

		if (c >= 0x20 && c < 0x7f && c != '\\')
			*p++ = (char)c;
		else
			p += sprintf(p, "\\x%02x", c);
	}
	*p = '\0';
	value = json_string(text);
	free(text);
	return value;
}

static json_t *hex_of(const void *bytes, size_t len)
{
	char text[2 * 128 + 1], *p = text;
	const uint8_t *b = bytes;

	for (size_t i = 0; i < len && i < 128; i++)
		p += sprintf(p, "%02x", b[i]);
	*p = '\0';
	return json_string(text);
}

static json_t *id_of(uint64_t clientid)
{
	return json_sprintf("%016llx", (unsigned long long)clientid);
}

/* Takes `value` over; NULL: out of memory. */
static int set(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) ? -ENOMEM : 0;
}

/* Is there room for another entry? A new object at the list's end, borrowed; NULL: stop. */
static json_t *next_entry(struct listing *l)
{
	json_t *entry;

	if (json_array_size(l->entries) >= l->most) {
		l->truncated = true;
		return NULL;
	}
	entry = json_object();
	if (json_array_append_new(l->entries, entry)) {
		l->err = -ENOMEM;
		return NULL;
	}
	return entry;
}

static int begin(struct listing *l, json_t *reply, const char *name, uint64_t most)
{
	*l = (struct listing){ .entries = json_array(), .most = most };
	return set(reply, name, l->entries);
}

static int end(struct listing *l, json_t *reply, int err)
{
	if (!err)
		err = l->err;
	return err ? err : set(reply, "truncated", json_boolean(l->truncated));
}

/* ---- clients ---- */

static bool add_client(void *arg, const struct state_client_info *info)
{
	struct listing *l = arg;
	json_t *e = next_entry(l);
	int err = 0;

	if (!e)
		return false;
	err |= set(e, "client", id_of(info->clientid));
	err |= set(e, "name", text_of(info->owner));
	err |= set(e, "sessions_used", json_boolean(!info->v40));
	err |= set(e, "confirmed", json_boolean(info->confirmed));
	err |= set(e, "home", json_integer(info->home));
	err |= set(e, "silent_ms", json_integer((json_int_t)info->silent_ms));
	err |= set(e, "lease_passed", json_boolean(info->lease_passed));
	err |= set(e, "recorded", json_boolean(info->recorded));
	err |= set(e, "sessions", json_integer(info->sessions));
	err |= set(e, "opens", json_integer((json_int_t)info->opens));
	err |= set(e, "locks", json_integer(info->locks));
	err |= set(e, "delegations", json_integer(info->delegations));
	err |= set(e, "revoked", json_integer(info->revoked));
	if (*info->callback)
		err |= set(e, "callback", json_string(info->callback));
	l->err = err ? -ENOMEM : 0;
	return !err;
}

int report_clients(struct nfs_server *s, uint64_t most, json_t *reply)
{
	struct listing l;
	int err = begin(&l, reply, "clients", most);

	if (!err)
		err = state_visit_clients(s->state, add_client, &l);
	return end(&l, reply, err);
}

/* ---- sessions ---- */

static const char *back_path_name(const struct state_session_info *info)
{
	static const char *const names[] = {
		[BACK_UNTRIED] = "untried",
		[BACK_UP] = "up",
		[BACK_DOWN] = "down",
		[BACK_FAULT] = "fault",
	};

	return info->back_channel ? names[info->back_path] : "none";
}

static bool add_session(void *arg, const struct state_session_info *info)
{
	struct listing *l = arg;
	json_t *e = next_entry(l);
	int err = 0;

	if (!e)
		return false;
	err |= set(e, "session", hex_of(info->session.data, sizeof(info->session.data)));
	err |= set(e, "client", id_of(info->clientid));
	err |= set(e, "minor_version", json_integer(info->minor));
	err |= set(e, "slots", json_integer(info->slots));
	err |= set(e, "connections", json_integer(info->connections));
	err |= set(e, "back_channel", json_string(back_path_name(info)));
	l->err = err ? -ENOMEM : 0;
	return !err;
}

int report_sessions(struct nfs_server *s, uint64_t most, json_t *reply)
{
	struct listing l;
	int err = begin(&l, reply, "sessions", most);

	if (!err)
		err = state_visit_sessions(s->state, add_session, &l);
	return end(&l, reply, err);
}

/* ---- what is held ---- */

/* A byte count that JSON's integers may not hold. */
static json_t *offset_of(uint64_t value)
{
	return value > INT64_MAX ? json_sprintf("%llu", (unsigned long long)value)
				 : json_integer((json_int_t)value);
}

static const char *share_name(uint32_t share)
{
	static const char *const names[] = { "none", "read", "write", "both" };

	return names[share & 3];
}

static int fill_lock(json_t *e, const struct state_hold_info *info)
{
	int err = set(e, "type", json_string(info->exclusive ? "write" : "read"));

	err |= set(e, "first", offset_of(info->first));
	if (info->last != NFS4_UINT64_MAX)
		err |= set(e, "last", offset_of(info->last));
	return err;
}

static int fill_hold(json_t *e, const struct state_hold_info *info)
{
	int err = 0;

	switch (info->kind) {
	case HOLD_OPEN:
		err |= set(e, "access", json_string(share_name(info->access)));
		err |= set(e, "deny", json_string(share_name(info->deny)));
		break;
	case HOLD_LOCK:
		err |= fill_lock(e, info);
		break;
	case HOLD_DELEGATION:
		err |= set(e, "type", json_string(share_name(info->access)));
		err |= set(e, "recalled", json_boolean(info->recalled));
		err |= set(e, "revoked", json_boolean(info->revoked));
		break;
	}
	return err;
}

static bool add_hold(void *arg, const struct state_hold_info *info)
{
	static const char *const kinds[] = { "open", "lock", "delegation" };
	struct listing *l = arg;
	json_t *e = next_entry(l);
	int err = 0;

	if (!e)
		return false;
	err |= set(e, "kind", json_string(kinds[info->kind]));
	err |= set(e, "client", id_of(info->clientid));
	if (info->owner.len)
		err |= set(e, "owner", hex_of(info->owner.p, info->owner.len));
	err |= set(e, "file", json_stringn_nocheck((const char *)info->file.p, info->file.len));
	err |= fill_hold(e, info);
	l->err = err ? -ENOMEM : 0;
	return !err;
}

/* compound_object_key()'s inverse: the path of a file that some export has; false: none does. */
static bool path_of(struct export_set *exports, const uint8_t *key, size_t len, char *buf,
		    size_t cap)
{
	struct export *e;
	bool found = false;

	for (unsigned i = 0; !found && (e = export_set_get(exports, i)); i++) {
		const struct backend *b = e->backend->backend;
		size_t name = strlen(b->name);
		struct object *obj;

		if (!b->path || len < name || memcmp(key, b->name, name) != 0 ||
		    b->from_handle(e->backend, key + name, len - name, &obj) != 0)
			continue;
		found = b->path(obj, buf, cap) == 0;
		object_unref(obj);
	}
	return found;
}

static int name_file(struct export_set *exports, json_t *entry)
{
	const json_t *file = json_object_get(entry, "file");
	const uint8_t *key = (const uint8_t *)json_string_value(file);
	size_t len = json_string_length(file);
	char path[PATH_MAX];

	if (len && path_of(exports, key, len, path, sizeof(path))) {
		struct bytes text = { (const uint8_t *)path, (uint32_t)strlen(path) };

		return set(entry, "file", text_of(text));
	}
	return set(entry, "file", hex_of(key, len));
}

int report_locks(struct nfs_server *s, uint64_t most, json_t *reply)
{
	struct export_set *exports;
	struct listing l;
	int err = begin(&l, reply, "locks", most);
	size_t i;
	json_t *entry;

	if (!err)
		err = state_visit_holds(s->state, add_hold, &l);
	err = end(&l, reply, err);
	/* Without memory the list may be gone. */
	if (err)
		return err;
	exports = nfs_server_exports(s);
	json_array_foreach(l.entries, i, entry) {
		if (!err)
			err = name_file(exports, entry);
	}
	export_set_unref(exports);
	return err;
}

/* ---- exports ---- */

static int add_exported_to(const struct export_entry *entry, json_t *clients)
{
	const struct export_options *options;
	char text[512];

	for (unsigned i = 0; i < export_client_count(entry); i++) {
		const char *client = export_client_get(entry, i, &options);
		json_t *c = json_object();

		export_options_format(options, text, sizeof(text));
		if (json_array_append_new(clients, c) || set(c, "client", json_string(client)) ||
		    set(c, "options", json_string(text)))
			return -ENOMEM;
	}
	return 0;
}

static int add_export(const struct export *e, json_t *out)
{
	char fsid[40];
	json_t *clients = json_array();
	int err = set(out, "clients", clients);

	if (!err)
		err = add_exported_to(e->entry, clients);
	export_fsid_format(&e->entry->fsid, fsid, sizeof(fsid));
	err |= set(out, "path", json_string(e->entry->path));
	err |= set(out, "backend", json_string(e->entry->backend));
	if (*fsid)
		err |= set(out, "fsid", json_string(fsid));
	return err ? -ENOMEM : 0;
}

int report_exports(struct nfs_server *s, json_t *reply)
{
	struct export_set *exports = nfs_server_exports(s);
	struct listing l;
	int err = begin(&l, reply, "exports", UINT64_MAX);
	struct export *e;

	for (unsigned i = 0; !err && (e = export_set_get(exports, i)); i++) {
		json_t *entry = next_entry(&l);

		err = entry ? add_export(e, entry) : -ENOMEM;
	}
	export_set_unref(exports);
	return err;
}

/* ---- status ---- */

int report_status(struct nfs_server *s, json_t *reply)
{
	struct state_counts n;
	uint32_t listed, waiting;
	int err = 0;

	state_get_counts(s->state, &n);
	state_grace_progress(s->state, &listed, &waiting);
	err |= set(reply, "version", json_string(ATOLL_VERSION));
	err |= set(reply, "lease_seconds", json_integer(s->options.lease_seconds));
	err |= set(reply, "grace", json_boolean(state_in_grace(s->state)));
	err |= set(reply, "grace_waiting_for", json_integer(waiting));
	err |= set(reply, "clients", json_integer((json_int_t)n.clients));
	err |= set(reply, "sessions", json_integer((json_int_t)n.sessions));
	err |= set(reply, "opens", json_integer((json_int_t)n.opens));
	err |= set(reply, "locks", json_integer((json_int_t)n.locks));
	err |= set(reply, "delegations", json_integer((json_int_t)n.delegations));
	err |= set(reply, "files", json_integer((json_int_t)n.files));
	err |= set(reply, "reply_cache_bytes", json_integer((json_int_t)n.cached_bytes));
	return err ? -ENOMEM : 0;
}

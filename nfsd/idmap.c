/*
 * Model: a direct-mapped table of recent answers, ENTRIES of them, each for a (kind, name) with
 * the time when it ends; a newer name with the same hash takes the place. Unknown names are kept
 * too, but shorter. `lock` guards the table; `library_lock` serialises libnfsidmap, whose state is
 * global to the process. They are never held together, and no answer is waited for with `lock`.
 */
#include "nfsd/idmap.h"

#include <nfsidmap.h>
#include <string.h>

#include "base/blocking.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/lock.h"
#include "nfsd/utf8.h"

#define ENTRIES	    1024u
#define NAME_LEN    256u
#define KNOWN_FOR   (600 * NS_PER_SEC)
#define UNKNOWN_FOR (60 * NS_PER_SEC)
#define NO_ID	    0xffffffffu /* (uid_t)-1: never a user */

struct answer {
	uint64_t until_ns; /* 0: empty */
	uint32_t id;
	bool known;
	uint8_t kind;
	uint16_t len;
	char name[NAME_LEN];
};

static struct mutex lock = MUTEX_INITIALIZER;
static struct answer table[ENTRIES] GUARDED_BY(lock);

static struct mutex library_lock = MUTEX_INITIALIZER;
static bool library_ready GUARDED_BY(library_lock);
static bool library_failed GUARDED_BY(library_lock);

size_t idmap_to_text(uint32_t id, char out[IDMAP_TEXT_MAX])
{
	char digits[IDMAP_TEXT_MAX];
	size_t n = 0;

	do {
		digits[n++] = (char)('0' + id % 10);
		id /= 10;
	} while (id);
	for (size_t i = 0; i < n; i++)
		out[i] = digits[n - 1 - i];
	return n;
}

/* Digits without a leading zero, as RFC 7530 section 5.9 wants numbers. */
static bool parse_number(const uint8_t *text, uint32_t len, uint32_t *id)
{
	uint64_t value = 0;

	if (len == 0 || len > 10 || (text[0] == '0' && len > 1))
		return false;
	for (uint32_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(text[i] - '0');
	}
	if (value > NFS4_UINT32_MAX)
		return false;
	*id = (uint32_t)value;
	return true;
}

static struct answer *slot_of(enum idmap_kind kind, const char *name, size_t len) REQUIRES(lock)
{
	return &table[(hash_bytes(name, len) + kind) % ENTRIES];
}

static bool cache_get(enum idmap_kind kind, const char *name, size_t len, bool *known, uint32_t *id)
{
	bool hit;

	mutex_lock(&lock);

	const struct answer *a = slot_of(kind, name, len);

	hit = a->until_ns > clock_coarse_ns() && a->kind == kind && a->len == len &&
	      memcmp(a->name, name, len) == 0;
	if (hit) {
		*known = a->known;
		*id = a->id;
	}
	mutex_unlock(&lock);
	return hit;
}

static void cache_put(enum idmap_kind kind, const char *name, size_t len, bool known, uint32_t id)
{
	mutex_lock(&lock);

	struct answer *a = slot_of(kind, name, len);

	*a = (struct answer){
		.until_ns = clock_coarse_ns() + (known ? KNOWN_FOR : UNKNOWN_FOR),
		.id = id,
		.known = known,
		.kind = (uint8_t)kind,
		.len = (uint16_t)len,
	};
	memcpy(a->name, name, len);
	mutex_unlock(&lock);
}

/* Reads /etc/idmapd.conf once. Without it names of any domain stay unknown. */
static bool library_open(void) REQUIRES(library_lock)
{
	if (!library_ready && !library_failed) {
		if (nfs4_init_name_mapping(NULL) == 0)
			library_ready = true;
		else
			library_failed = true;
	}
	return library_ready;
}

/* Not nfs4_owner_to_uid(): that makes `nobody` of everybody it does not know. */
static bool library_ask(enum idmap_kind kind, char *name, uint32_t *id)
{
	uid_t uid;
	gid_t gid;
	bool known = false;

	blocking_section();
	mutex_lock(&library_lock);
	if (library_open()) {
		if (kind == IDMAP_USER && nfs4_name_to_uid(name, &uid) == 0) {
			*id = uid;
			known = true;
		} else if (kind == IDMAP_GROUP && nfs4_name_to_gid(name, &gid) == 0) {
			*id = gid;
			known = true;
		}
	}
	mutex_unlock(&library_lock);
	return known;
}

enum nfsstat4 idmap_from_text(enum idmap_kind kind, const uint8_t *text, uint32_t len, uint32_t *id)
{
	char name[NAME_LEN];
	uint32_t found = NO_ID;
	bool known;

	if (len == 0 || !utf8_valid(text, len))
		return NFS4ERR_INVAL;
	if (parse_number(text, len, &found)) {
		if (found == NO_ID)
			return NFS4ERR_BADOWNER;
		*id = found;
		return NFS4_OK;
	}
	if (len >= NAME_LEN || memchr(text, '\0', len))
		return NFS4ERR_BADOWNER;
	memcpy(name, text, len);
	name[len] = '\0';
	if (!cache_get(kind, name, len, &known, &found)) {
		known = library_ask(kind, name, &found) && found != NO_ID;
		cache_put(kind, name, len, known, found);
	}
	if (!known)
		return NFS4ERR_BADOWNER;
	*id = found;
	return NFS4_OK;
}

void idmap_flush(void)
{
	mutex_lock(&library_lock);
	if (library_ready)
		nfs4_term_name_mapping();
	library_ready = library_failed = false;
	mutex_unlock(&library_lock);
	mutex_lock(&lock);
	memset(table, 0, sizeof(table));
	mutex_unlock(&lock);
}

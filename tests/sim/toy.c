#include "tests/sim/toy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

/* A command's bytes: the struct, then padding that depends on it. */

static uint8_t filler(const struct toy_command *c, size_t i)
{
	return (uint8_t)(c->seq + i * 7);
}

int toy_encode(const struct toy_command *c, uint8_t **out, size_t *len)
{
	*len = sizeof(*c) + c->padding;
	*out = malloc(*len);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, c, sizeof(*c));
	for (uint32_t i = 0; i < c->padding; i++)
		(*out)[sizeof(*c) + i] = filler(c, i);
	return 0;
}

static struct toy_count *count_of(struct toy *t, uint64_t source)
{
	for (unsigned i = 0; i < t->ncounts; i++)
		if (t->counts[i].source == source)
			return &t->counts[i];
	if (t->ncounts == TOY_SOURCES)
		return NULL;
	t->counts[t->ncounts] = (struct toy_count){ .source = source };
	return &t->counts[t->ncounts++];
}

static bool is_whole(const struct toy_command *c, const uint8_t *p, size_t len)
{
	if (len != sizeof(*c) + c->padding)
		return false;
	for (uint32_t i = 0; i < c->padding; i++)
		if (p[sizeof(*c) + i] != filler(c, i))
			return false;
	return true;
}

void toy_apply(struct toy *t, uint32_t origin, const uint8_t *p, size_t len, struct toy_command *c,
	       struct toy_result *result)
{
	struct siphash_key key = { t->hash, origin };
	struct toy_count *count;

	*c = (struct toy_command){ 0 };
	if (len >= sizeof(*c))
		memcpy(c, p, sizeof(*c));
	count = count_of(t, c->source);
	if (len < sizeof(*c) || !is_whole(c, p, len) || !count || c->seq <= count->last)
		t->errors++;
	t->n++;
	t->hash = siphash(&key, p, len);
	if (count) {
		count->n++;
		count->last = c->seq;
	}
	if (result)
		*result = (struct toy_result){ .count = t->n };
}

int toy_snapshot(const struct toy *t, uint8_t **out, size_t *len)
{
	*len = sizeof(*t);
	*out = malloc(*len);
	if (!*out)
		return -ENOMEM;
	memcpy(*out, t, *len);
	return 0;
}

int toy_restore(struct toy *t, const uint8_t *p, size_t len)
{
	if (len != sizeof(*t))
		return -EINVAL;
	memcpy(t, p, len);
	return 0;
}

uint64_t toy_applied(const struct toy *t, uint64_t source)
{
	for (unsigned i = 0; i < t->ncounts; i++)
		if (t->counts[i].source == source)
			return t->counts[i].n;
	return 0;
}

static int app_encode(void *ctx, const void *command, uint8_t **out, size_t *len)
{
	return toy_encode(command, out, len);
}

static void app_apply(void *ctx, uint32_t origin, const uint8_t *p, size_t len, void *result)
{
	struct toy_command c;

	toy_apply(ctx, origin, p, len, &c, result);
}

static void app_refuse(void *ctx, void *result)
{
	*(struct toy_result *)result = (struct toy_result){ .refused = true };
}

static int app_snapshot(void *ctx, uint8_t **out, size_t *len)
{
	return toy_snapshot(ctx, out, len);
}

static int app_restore(void *ctx, const uint8_t *p, size_t len)
{
	return toy_restore(ctx, p, len);
}

static void app_members(void *ctx, const struct cluster_members *m)
{
}

static void app_phase(void *ctx, enum cluster_phase p)
{
}

struct cluster_app toy_app(void *ctx)
{
	return (struct cluster_app){
		.ctx = ctx,
		.format = 1,
		.encode = app_encode,
		.apply_bytes = app_apply,
		.refuse = app_refuse,
		.snapshot = app_snapshot,
		.restore = app_restore,
		.members = app_members,
		.phase = app_phase,
	};
}

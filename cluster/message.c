#include "cluster/message.h"

#include <errno.h>
#include <string.h>

/* ---- writing ---- */

struct writer {
	uint8_t *p;
};

static void w32(struct writer *w, uint32_t v)
{
	put32(w->p, v);
	w->p += 4;
}

static void w64(struct writer *w, uint64_t v)
{
	put64(w->p, v);
	w->p += 8;
}

static void w_bytes(struct writer *w, const uint8_t *p, size_t len)
{
	if (len)
		memcpy(w->p, p, len);
	w->p += len;
}

static void w_round(struct writer *w, const struct round *r)
{
	w64(w, r->view);
	w32(w, r->n);
}

static void w_generation(struct writer *w, const struct generation *g)
{
	w64(w, g->created);
	w64(w, g->id);
	w64(w, g->epoch);
}

static void w_position(struct writer *w, const struct position *p)
{
	w_generation(w, &p->generation);
	w64(w, p->index);
	w64(w, p->digest);
}

static void w_header(struct writer *w, enum message_type type, uint32_t protocol, uint32_t session)
{
	w32(w, (uint32_t)type << 16 | protocol);
	w32(w, session);
}

static void w_hello(struct writer *w, const struct message_hello *h)
{
	w32(w, h->format);
	w32(w, (uint32_t)h->eager << 9 | (uint32_t)h->restored << 8 | (uint32_t)h->phase << 1 | h->quorate);
	w_round(w, &h->round);
	w_position(w, &h->position);
	w_generation(w, &h->memory.decided);
	w_generation(w, &h->memory.served);
}

static void w_snapshot(struct writer *w, const struct message_snapshot *s)
{
	w64(w, s->id);
	w_position(w, &s->position);
	w64(w, s->total);
	w64(w, s->offset);
	w_bytes(w, s->p, s->len);
}

size_t message_write(uint8_t *out, const struct message *m)
{
	struct writer w = { out };

	w_header(&w, m->type, m->protocol, m->session);
	switch (m->type) {
	case MESSAGE_HELLO:
		w_hello(&w, &m->hello);
		break;
	case MESSAGE_ACK:
		w64(&w, m->acked);
		break;
	case MESSAGE_STATUS:
		w64(&w, m->status.acked);
		w64(&w, m->status.sent_ns);
		break;
	case MESSAGE_MARK:
		w_round(&w, &m->mark.round);
		w64(&w, m->mark.id);
		w_generation(&w, &m->mark.generation);
		break;
	case MESSAGE_SNAPSHOT:
		w_snapshot(&w, &m->snapshot);
		break;
	case MESSAGE_SNAPSHOT_FAILED:
		w64(&w, m->failed);
		break;
	case MESSAGE_READY:
		w_round(&w, &m->ready);
		break;
	case MESSAGE_EVICT:
		w_round(&w, &m->evict.round);
		w32(&w, m->evict.who.node);
		w32(&w, m->evict.who.pid);
		break;
	case MESSAGE_APP:
		w_bytes(&w, m->app.p, m->app.len);
		break;
	case MESSAGE_BATCH_OF_COMMANDS:
		break; /* message_write_batch_header() */
	}
	return (size_t)(w.p - out);
}

void message_write_batch_header(uint8_t out[MESSAGE_BATCH_HEADER], uint32_t session,
				const struct message_batch *b)
{
	struct writer w = { out };

	w_header(&w, MESSAGE_BATCH_OF_COMMANDS, MESSAGE_PROTOCOL, session);
	w64(&w, b->seq);
	w64(&w, b->acked);
	w32(&w, b->safe);
	w32(&w, b->count);
}

/* ---- reading ---- */

/* Once something is missing, everything reads as 0 and `short_of` stays. */
struct reader {
	const uint8_t *p, *end;
	bool short_of;
};

static const uint8_t *take(struct reader *r, size_t n)
{
	static const uint8_t zeros[8];
	const uint8_t *p = r->p;

	if ((size_t)(r->end - r->p) < n) {
		r->short_of = true;
		r->p = r->end;
		return zeros;
	}
	r->p += n;
	return p;
}

static uint32_t r32(struct reader *r)
{
	return get32(take(r, 4));
}

static uint64_t r64(struct reader *r)
{
	return get64(take(r, 8));
}

static void r_round(struct reader *r, struct round *out)
{
	out->view = r64(r);
	out->n = r32(r);
}

static void r_generation(struct reader *r, struct generation *g)
{
	g->created = r64(r);
	g->id = r64(r);
	g->epoch = r64(r);
}

static void r_position(struct reader *r, struct position *p)
{
	r_generation(r, &p->generation);
	p->index = r64(r);
	p->digest = r64(r);
}

static const uint8_t *r_rest(struct reader *r, size_t *len)
{
	const uint8_t *p = r->p;

	*len = (size_t)(r->end - r->p);
	r->p = r->end;
	return p;
}

static void r_hello(struct reader *r, struct message_hello *h)
{
	uint32_t flags;

	h->format = r32(r);
	flags = r32(r);
	h->quorate = flags & 1;
	h->phase = (enum cluster_phase)(flags >> 1 & 0x7f);
	h->restored = flags >> 8 & 1;
	h->eager = flags >> 9 & 1;
	if ((flags >> 1 & 0x7f) > CLUSTER_LOST)
		r->short_of = true;
	r_round(r, &h->round);
	r_position(r, &h->position);
	r_generation(r, &h->memory.decided);
	r_generation(r, &h->memory.served);
}

static void r_batch(struct reader *r, struct message_batch *b)
{
	struct reader commands;

	b->seq = r64(r);
	b->acked = r64(r);
	b->safe = r32(r) != 0;
	b->count = r32(r);
	b->commands = r_rest(r, &b->len);
	commands = (struct reader){ b->commands, b->commands + b->len, false };
	for (uint32_t i = 0; i < b->count && !commands.short_of; i++)
		take(&commands, r32(&commands));
	if (commands.short_of || commands.p != commands.end)
		r->short_of = true;
}

static void r_snapshot(struct reader *r, struct message_snapshot *s)
{
	s->id = r64(r);
	r_position(r, &s->position);
	s->total = r64(r);
	s->offset = r64(r);
	s->p = r_rest(r, &s->len);
	if (s->offset > s->total || s->len > s->total - s->offset)
		r->short_of = true;
}

static void r_body(struct reader *r, struct message *m)
{
	switch (m->type) {
	case MESSAGE_HELLO:
		r_hello(r, &m->hello);
		break;
	case MESSAGE_BATCH_OF_COMMANDS:
		r_batch(r, &m->batch);
		break;
	case MESSAGE_ACK:
		m->acked = r64(r);
		break;
	case MESSAGE_STATUS:
		m->status.acked = r64(r);
		m->status.sent_ns = r64(r);
		break;
	case MESSAGE_MARK:
		r_round(r, &m->mark.round);
		m->mark.id = r64(r);
		r_generation(r, &m->mark.generation);
		break;
	case MESSAGE_SNAPSHOT:
		r_snapshot(r, &m->snapshot);
		break;
	case MESSAGE_SNAPSHOT_FAILED:
		m->failed = r64(r);
		break;
	case MESSAGE_READY:
		r_round(r, &m->ready);
		break;
	case MESSAGE_EVICT:
		r_round(r, &m->evict.round);
		m->evict.who.node = r32(r);
		m->evict.who.pid = r32(r);
		break;
	case MESSAGE_APP:
		m->app.p = r_rest(r, &m->app.len);
		break;
	default:
		r->short_of = true;
	}
}

int message_read(const uint8_t *p, size_t len, struct message *m)
{
	struct reader r = { p, p + len, false };
	uint32_t head = r32(&r);

	m->type = (enum message_type)(head >> 16);
	m->protocol = head & 0xffff;
	m->session = r32(&r);
	if (r.short_of)
		return -EINVAL;
	if (m->protocol != MESSAGE_PROTOCOL && m->type != MESSAGE_HELLO)
		return -EPROTO;
	r_body(&r, m);
	/* A later version's HELLO may have more behind what all know. */
	if (r.short_of || (r.p != r.end && m->protocol == MESSAGE_PROTOCOL))
		return -EINVAL;
	return 0;
}

bool message_next_command(struct message_batch *b, const uint8_t **p, size_t *len)
{
	if (!b->count)
		return false;
	b->count--;
	*len = get32(b->commands);
	*p = b->commands + 4;
	b->commands += 4 + *len;
	return true;
}

/*
 * One well-formed call of every operation, for tests that go over all of them: cut short, out
 * of place, without a filehandle. The arguments are plausible; nobody expects them to succeed.
 */
#pragma once

#include "tests/wire/nfs4.h"

enum sample_flags {
	NEEDS_FH = 1 << 0,    /* NOFILEHANDLE without a current filehandle */
	NEEDS_SAVED = 1 << 1, /* and a saved one */
	OPTIONAL = 1 << 2,    /* may be answered with NOTSUPP in minor versions > 0 */
	OPTIONAL_40 = 1 << 3, /* likewise in minor version 0 */
	ALONE = 1 << 4,	      /* minor > 0: may come without SEQUENCE, then alone */
	GONE = 1 << 5,	      /* of minor version 0; later ones must answer NOTSUPP */
	NO_ARGS = 1 << 6,
};

struct sample {
	uint32_t op;
	uint32_t min_minor;
	unsigned flags;
	void (*put)(struct compound *q, struct client *cl);
};

extern const struct sample samples[];
extern const size_t samples_n;

/* True if the sample is an operation of that minor version at all. */
static inline bool sample_in(const struct sample *s, uint32_t minor)
{
	return minor >= s->min_minor;
}

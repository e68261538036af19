/* How everything in config/ says what is wrong: one place in one text, and one sentence. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"

/* Where parsing stopped and why. `message` says what was found and what was expected. */
struct config_error {
	char file[256];
	unsigned line, column; /* from 1; 0: not about a place in the text */
	char message[256];
};

/*
 * Fills `err` (NULL is allowed) and returns `code`, so that a caller can write
 * `return config_error_set(err, -EINVAL, ...)`. `file` may be NULL or "" for none.
 */
int config_error_set(struct config_error *err, int code, const char *file, unsigned line,
		     unsigned column, const char *fmt, ...) PRINTF_LIKE(6, 7);

/* -ENOMEM, with its message. */
int config_error_nomem(struct config_error *err);

/* "FILE:LINE:COLUMN: MESSAGE" with what is unknown left out; always NUL-terminated. */
void config_error_format(const struct config_error *err, char *buf, size_t size);

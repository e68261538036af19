/*
 * Messages to people, on stderr: one line each, "what, where, what to do".
 * Under systemd (JOURNAL_STREAM set) lines begin with the <N> level prefix that the journal reads.
 */
#pragma once

#include "base/compiler.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Messages above `level` are not printed. The default is LOG_LEVEL_INFO. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* Parses "error", "warn"/"warning", "info" or "debug"; 0, or -EINVAL. */
int log_level_parse(const char *text, enum log_level *level);

void log_message(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_message(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_message(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (unlikely(log_get_level() >= LOG_LEVEL_DEBUG))                                  \
			log_message(LOG_LEVEL_DEBUG, __VA_ARGS__);                                 \
	} while (0)

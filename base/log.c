#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Atomic int max_level = LOG_LEVEL_INFO;

static const struct {
	const char *name;
	int syslog_priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", 3 },
	[LOG_LEVEL_WARN] = { "warning", 4 },
	[LOG_LEVEL_INFO] = { "info", 6 },
	[LOG_LEVEL_DEBUG] = { "debug", 7 },
};

void log_set_level(enum log_level level)
{
	max_level = (int)level;
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&max_level, memory_order_relaxed);
}

int log_level_parse(const char *text, enum log_level *level)
{
	if (strcmp(text, "warn") == 0)
		text = "warning";
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(text, levels[i].name) == 0) {
			*level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* One write(2) per message, so that lines of several threads do not mix. */
void log_message(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	int saved = errno;
	int len;
	va_list ap;

	if (level > log_get_level())
		return;
	if (getenv("JOURNAL_STREAM"))
		len = snprintf(line, sizeof(line), "<%d>", levels[level].syslog_priority);
	else
		len = snprintf(line, sizeof(line), "atoll: %s%s",
			       level == LOG_LEVEL_INFO ? "" : levels[level].name,
			       level == LOG_LEVEL_INFO ? "" : ": ");
	va_start(ap, fmt);
	int body = vsnprintf(line + len, sizeof(line) - (size_t)len - 1, fmt, ap);
	va_end(ap);
	if (body < 0)
		body = 0;
	len += body;
	if ((size_t)len > sizeof(line) - 2)
		len = (int)sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)len) < 0) {
		/* Nowhere left to say it. */
	}
	errno = saved;
}

#include "config/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int config_error_set(struct config_error *err, int code, const char *file, unsigned line,
		     unsigned column, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	snprintf(err->file, sizeof(err->file), "%s", file ? file : "");
	err->line = line;
	err->column = column;
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	return code;
}

int config_error_nomem(struct config_error *err)
{
	return config_error_set(err, -ENOMEM, NULL, 0, 0, "out of memory");
}

void config_error_format(const struct config_error *err, char *buf, size_t size)
{
	if (!err->file[0])
		snprintf(buf, size, "%s", err->message);
	else if (!err->line)
		snprintf(buf, size, "%s: %s", err->file, err->message);
	else if (!err->column)
		snprintf(buf, size, "%s:%u: %s", err->file, err->line, err->message);
	else
		snprintf(buf, size, "%s:%u:%u: %s", err->file, err->line, err->column,
			 err->message);
}

/* Words of an exports file, each with its line and column. */
#include "config/exports_private.h"

#include <errno.h>
#include <string.h>

void lex_init(struct lexer *lx, const char *file, const char *text, struct config_error *err)
{
	*lx = (struct lexer){ .file = file, .p = text, .line = 1, .column = 1, .err = err };
}

bool lex_is_blank(int c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Length of a backslash with the line end behind it, or 0. */
static size_t continuation_len(const char *p)
{
	if (p[0] != '\\')
		return 0;
	if (p[1] == '\n')
		return 2;
	return p[1] == '\r' && p[2] == '\n' ? 3 : 0;
}

int lex_peek(const struct lexer *lx)
{
	return continuation_len(lx->p) ? ' ' : (unsigned char)*lx->p;
}

void lex_advance(struct lexer *lx)
{
	size_t continuation = continuation_len(lx->p);

	if (!*lx->p)
		return;
	if (continuation || *lx->p == '\n') {
		lx->line++;
		lx->column = 1;
		lx->p += continuation ? continuation : 1;
		return;
	}
	lx->column++;
	lx->p++;
}

void lex_skip_blanks(struct lexer *lx)
{
	while (lex_is_blank(lex_peek(lx)))
		lex_advance(lx);
	if (*lx->p != '#')
		return;
	/* A backslash does not carry a comment over to the next line. */
	while (*lx->p && *lx->p != '\n') {
		lx->p++;
		lx->column++;
	}
}

static bool is_octal(char c)
{
	return c >= '0' && c <= '7';
}

/* \ooo at the current place: its value, or -1 if it is no escape. */
static int octal_escape(const char *p)
{
	if (p[0] != '\\' || !is_octal(p[1]) || !is_octal(p[2]) || !is_octal(p[3]))
		return -1;
	return (p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0');
}

/* Takes one character or escape into the word. */
static int take_char(struct lexer *lx, struct word *w)
{
	int escaped = octal_escape(lx->p);

	if (escaped == 0 || escaped > 255)
		return config_error_set(lx->err, -EINVAL, lx->file, lx->line, lx->column,
					"found the escape \\%.3s; expected an octal character "
					"code from \\001 to \\377",
					lx->p + 1);
	if (w->len == sizeof(w->text) - 1)
		return config_error_set(lx->err, -EINVAL, lx->file, w->line, w->column,
					"found a word of more than %zu bytes; expected a shorter "
					"one",
					sizeof(w->text) - 1);
	if (escaped < 0) {
		w->text[w->len++] = *lx->p;
		lex_advance(lx);
		return 0;
	}
	w->text[w->len++] = (char)escaped;
	w->quoted = true;
	lx->p += 4;
	lx->column += 4;
	return 0;
}

int lex_word(struct lexer *lx, const char *stops, struct word *w)
{
	bool in_quotes = false;
	unsigned quote_line = 0, quote_column = 0;

	w->len = 0;
	w->line = lx->line;
	w->column = lx->column;
	w->quoted = false;
	for (;;) {
		int c = lex_peek(lx);

		if (c == 0 || c == '\n' || (in_quotes && continuation_len(lx->p)))
			break;
		if (c == '"') {
			in_quotes = !in_quotes;
			quote_line = lx->line;
			quote_column = lx->column;
			w->quoted = true;
			lex_advance(lx);
			continue;
		}
		if (!in_quotes && (lex_is_blank(c) || strchr(stops, c)))
			break;

		int err = take_char(lx, w);

		if (err)
			return err;
	}
	if (in_quotes)
		return config_error_set(lx->err, -EINVAL, lx->file, quote_line, quote_column,
					"found a quote that is not closed; expected another \" "
					"on the same line");
	w->text[w->len] = '\0';
	return 0;
}

/* Integer expressions by recursive descent; a file name's length bounds the recursion. */
#include <stddef.h>

#include "backends/computed/computed.h"

struct parser {
	const char *at;
	bool ok;
};

static int64_t sum(struct parser *p);

static int64_t number(struct parser *p)
{
	int64_t v = 0;

	p->ok = p->ok && *p->at >= '0' && *p->at <= '9';
	while (p->ok && *p->at >= '0' && *p->at <= '9') {
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, *p->at - '0', &v))
			p->ok = false;
		p->at++;
	}
	return v;
}

static int64_t factor(struct parser *p)
{
	int64_t v;

	if (*p->at == '-') {
		p->at++;
		v = factor(p);
		if (__builtin_sub_overflow((int64_t)0, v, &v))
			p->ok = false;
		return v;
	}
	if (*p->at != '(')
		return number(p);
	p->at++;
	v = sum(p);
	p->ok = p->ok && *p->at == ')';
	if (p->ok)
		p->at++;
	return v;
}

static int64_t product(struct parser *p)
{
	int64_t v = factor(p);

	while (p->ok && (*p->at == '*' || *p->at == ':' || *p->at == '%')) {
		char op = *p->at++;
		int64_t w = factor(p);

		if (op == '*')
			p->ok = p->ok && !__builtin_mul_overflow(v, w, &v);
		else if (!p->ok || w == 0 || (w == -1 && v == INT64_MIN))
			p->ok = false;
		else
			v = op == ':' ? v / w : v % w;
	}
	return v;
}

static int64_t sum(struct parser *p)
{
	int64_t v = product(p);

	while (p->ok && (*p->at == '+' || *p->at == '-')) {
		char op = *p->at++;
		int64_t w = product(p);

		if (op == '+' ? __builtin_add_overflow(v, w, &v) : __builtin_sub_overflow(v, w, &v))
			p->ok = false;
	}
	return v;
}

bool expression_value(const char *text, int64_t *value)
{
	struct parser p = { text, true };

	*value = sum(&p);
	return p.ok && *p.at == '\0';
}

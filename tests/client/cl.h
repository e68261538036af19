/*
 * What the programs that run in guests share: ending with a clear message, numbers with a unit, a
 * random stream. The programs are single-threaded, use no library but libc and end at the first
 * thing that is wrong.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ends the program with status 1 and a message. */
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stdout, fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	exit(1);
}

#define die_errno(what, name) die("%s %s: %s", what, name, strerror(errno))

/* A number with an optional unit k, M, G, T (1024). */
static inline int64_t number(const char *text)
{
	char *end;
	long long n;

	errno = 0;
	n = strtoll(text, &end, 0);
	if (errno || end == text)
		die("\"%s\" is not a number", text);
	switch (*end) {
	case 'T':
		n *= 1024;
		__attribute__((fallthrough));
	case 'G':
		n *= 1024;
		__attribute__((fallthrough));
	case 'M':
		n *= 1024;
		__attribute__((fallthrough));
	case 'k':
		n *= 1024;
		end++;
	}
	if (*end)
		die("\"%s\" is not a number", text);
	return n;
}

/* The finaliser of SplitMix64: a good hash of one word. */
static inline uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

struct stream {
	uint64_t at;
};

/* The next random number below n. */
static inline uint64_t below(struct stream *s, uint64_t n)
{
	return mix(s->at += 0x9e3779b97f4a7c15u) % n;
}

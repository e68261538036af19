/*
 * Fuzzing without a fuzzer: plays the corpus as it is, then mutations of it, a fixed number with
 * a printed seed. What is wrong shows as a crash, a sanitizer's report or abort() in target.c;
 * the input is kept in a file then.
 *
 *	fuzz_compound [--runs N] [--seed N] [--corpus DIR] [FILE...]
 *
 * --corpus DIR writes the corpus there (for libFuzzer) and ends; FILEs are played once.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/fuzz/corpus.h"
#include "tests/fuzz/target.h"

#define INPUT_CAP (2u << 20)

static struct corpus_item corpus[CORPUS_MAX];
static unsigned corpus_n;
static uint8_t input[INPUT_CAP];
static size_t input_len;
static uint64_t rng;

static uint32_t below(uint32_t n)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return n ? (uint32_t)(rng >> 16) % n : 0;
}

/* ---- when something goes wrong ---- */

/* Only what a signal handler may do. */
static void save_input(void)
{
	static const char path[] = "fuzz-crash.input";
	static const char msg[] = "fuzz: the input is in fuzz-crash.input\n";
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	if (fd >= 0 && write(fd, input, input_len) == (ssize_t)input_len)
		(void)!write(2, msg, sizeof(msg) - 1);
}

static void on_signal(int sig)
{
	save_input();
	signal(sig, SIG_DFL);
	raise(sig);
}

/* The sanitizers have it, and handle the signals themselves. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void)
{
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };

	if (__sanitizer_set_death_callback) {
		__sanitizer_set_death_callback(save_input);
		signal(SIGABRT, on_signal);
		return;
	}
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], on_signal);
}

/* ---- mutations ---- */

/* The record at a random place: its offset, and its length with the header. */
static size_t some_record(size_t *len)
{
	uint32_t n = 0, which;
	size_t at = 0;

	for (size_t i = 0; i + FUZZ_HEADER <= input_len; n++)
		i += FUZZ_HEADER + (input[i + 2] | (size_t)input[i + 3] << 8);
	which = below(n);
	for (;; which--) {
		*len = FUZZ_HEADER + (input[at + 2] | (size_t)input[at + 3] << 8);
		if (*len > input_len - at)
			*len = input_len - at;
		if (which == 0 || at + *len + FUZZ_HEADER > input_len)
			return at;
		at += *len;
	}
}

static void set_record_length(size_t at, size_t len)
{
	input[at + 2] = (uint8_t)len;
	input[at + 3] = (uint8_t)(len >> 8);
}

static void put_word(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static uint32_t some_word(void)
{
	static const uint32_t words[] = {
		0,     1,	   2,	       3,	   4,	       7,	   8,	  16,
		127,   128,	   255,	       1023,	   1024,       1025,	   4096,  65535,
		65536, 0x7fffffff, 0x80000000, 0xfffffffc, 0xfffffffe, 0xffffffff, 10044, 100
	};

	return below(3) ? words[below(sizeof(words) / sizeof(words[0]))] : below(80);
}

/* A word of the record becomes another one, most often a length, a number or an operation. */
static void change_word(size_t at, size_t len)
{
	size_t words = (len - FUZZ_HEADER) / 4;

	if (words)
		put_word(input + at + FUZZ_HEADER + 4 * below((uint32_t)words), some_word());
}

static void change_bits(size_t at, size_t len)
{
	if (len > FUZZ_HEADER)
		input[at + FUZZ_HEADER + below((uint32_t)(len - FUZZ_HEADER))] ^=
		    (uint8_t)(1u << below(8));
}

/* Bytes go, or come twice. */
static void cut(size_t at, size_t len)
{
	size_t body = len - FUZZ_HEADER, from, n;

	if (body < 8)
		return;
	from = at + FUZZ_HEADER + 4 * below((uint32_t)(body / 4));
	n = 4 * (1 + below(4)) - below(2);
	if (n > at + len - from)
		n = at + len - from;
	memmove(input + from, input + from + n, input_len - from - n);
	input_len -= n;
	set_record_length(at, body - n);
}

static void repeat(size_t at, size_t len)
{
	size_t body = len - FUZZ_HEADER, from, n;

	if (body < 8 || input_len + 64 > INPUT_CAP || body + 64 > FUZZ_RECORD_MAX)
		return;
	from = at + FUZZ_HEADER + 4 * below((uint32_t)(body / 4));
	n = 4 * (1 + below(16));
	if (n > at + len - from)
		n = at + len - from;
	memmove(input + from + n, input + from, input_len - from);
	input_len += n;
	set_record_length(at, body + n);
}

/* Whole records: gone, twice, or by somebody else. */
static void drop_record(size_t at, size_t len)
{
	memmove(input + at, input + at + len, input_len - at - len);
	input_len -= len;
}

static void double_record(size_t at, size_t len)
{
	if (input_len + len > INPUT_CAP)
		return;
	memmove(input + at + len, input + at, input_len - at);
	input_len += len;
}

static void change_flags(size_t at, size_t len)
{
	input[at] ^= (uint8_t)(1u << below(2));
}

/* A record of another scenario comes in between. */
static void splice_record(size_t at, size_t len)
{
	const struct corpus_item *other = &corpus[below(corpus_n)];
	size_t from = 0, n = 0;

	for (uint32_t skip = below(40); from + FUZZ_HEADER <= other->len; skip--) {
		n = FUZZ_HEADER + (other->data[from + 2] | (size_t)other->data[from + 3] << 8);
		if (skip == 0)
			break;
		from += n;
	}
	if (from + n > other->len || n == 0 || input_len + n > INPUT_CAP)
		return;
	memmove(input + at + n, input + at, input_len - at);
	memcpy(input + at, other->data + from, n);
	input_len += n;
}

static void mutate(void)
{
	static void (*const ways[])(size_t at, size_t len) = {
		change_word, change_word, change_word,	 change_bits,  change_bits,   cut,
		repeat,	     drop_record, double_record, change_flags, splice_record,
	};

	for (uint32_t n = 1 + below(6); n > 0 && input_len > FUZZ_HEADER; n--) {
		size_t len, at = some_record(&len);

		if (len >= FUZZ_HEADER)
			ways[below(sizeof(ways) / sizeof(ways[0]))](at, len);
	}
}

/* ---- running ---- */

static void play_corpus(void)
{
	for (unsigned i = 0; i < corpus_n; i++) {
		memcpy(input, corpus[i].data, corpus[i].len);
		input_len = corpus[i].len;
		fuzz_input(input, input_len);
	}
}

static void play_mutations(unsigned runs, uint64_t seed)
{
	for (unsigned i = 0; i < runs; i++) {
		const struct corpus_item *item;

		/* Each run depends on the seed and its number alone. */
		rng = (seed + i) * 0x9e3779b97f4a7c15ull | 1;
		item = &corpus[below(corpus_n)];
		memcpy(input, item->data, item->len);
		input_len = item->len;
		mutate();
		fuzz_input(input, input_len);
	}
}

static int play_file(const char *path)
{
	FILE *f = fopen(path, "rb");

	if (!f) {
		perror(path);
		return 1;
	}
	input_len = fread(input, 1, sizeof(input), f);
	fclose(f);
	fuzz_input(input, input_len);
	printf("%s: played\n", path);
	return 0;
}

static int write_corpus(const char *dir)
{
	for (unsigned i = 0; i < corpus_n; i++) {
		char path[4096];
		FILE *f;
		bool ok;

		snprintf(path, sizeof(path), "%s/%s", dir, corpus[i].name);
		f = fopen(path, "wb");
		ok = f && fwrite(corpus[i].data, 1, corpus[i].len, f) == corpus[i].len;
		if (!f || fclose(f) || !ok) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "runs", 1, NULL, 'r' },
						 { "seed", 1, NULL, 's' },
						 { "corpus", 1, NULL, 'c' },
						 { 0 } };
	uint64_t seed = (uint64_t)time(NULL) << 8;
	const char *dir = NULL;
	unsigned runs = 2000;
	int o, failed = 0;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'r')
			runs = (unsigned)strtoul(optarg, NULL, 0);
		else if (o == 's')
			seed = strtoull(optarg, NULL, 0);
		else if (o == 'c')
			dir = optarg;
		else
			return 2;
	}
	corpus_n = corpus_make(corpus);
	if (dir)
		return write_corpus(dir);
	watch();
	if (optind < argc) {
		for (; optind < argc; optind++)
			failed |= play_file(argv[optind]);
		return failed;
	}
	printf("%u inputs, %u mutations, seed %llu\n", corpus_n, runs, (unsigned long long)seed);
	fflush(stdout);
	play_corpus();
	play_mutations(runs, seed);
	return 0;
}

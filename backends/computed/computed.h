/* computed: files whose names and contents are functions. The worked example of backend.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct backend;
extern const struct backend computed_backend;

/*
 * The value of an integer expression of + - * : % ( ), where : divides because a name cannot have
 * a slash. False if it is none, or has no value in 64 bits.
 */
bool expression_value(const char *text, int64_t *value);

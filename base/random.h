/* Random bytes from the kernel (getrandom(2)). Never fails: without randomness the process ends. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void random_bytes(void *buf, size_t len);
uint64_t random_u64(void);

/* UTF-8 (RFC 3629) as NFSv4 strings carry it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True if all of it is well-formed: no overlong form, no surrogate, nothing above U+10FFFF. */
bool utf8_valid(const uint8_t *p, size_t len);

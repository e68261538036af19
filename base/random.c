#include "base/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/log.h"

void random_bytes(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len > 0) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno != EINTR) {
			log_error("getrandom: no random numbers from the kernel; giving up");
			abort();
		}
		if (n > 0) {
			p += n;
			len -= (size_t)n;
		}
	}
}

uint64_t random_u64(void)
{
	uint64_t x;

	random_bytes(&x, sizeof(x));
	return x;
}

#include "nfsd/utf8.h"

/* Continuation bytes that a lead byte asks for; -1: no lead byte. */
static int continuation_count(uint8_t lead)
{
	if (lead < 0x80)
		return 0;
	if (lead >= 0xc2 && lead <= 0xdf) /* C0 and C1 would be overlong */
		return 1;
	if (lead >= 0xe0 && lead <= 0xef)
		return 2;
	if (lead >= 0xf0 && lead <= 0xf4)
		return 3;
	return -1;
}

/* The second byte rules out overlong forms, surrogates and what lies above U+10FFFF. */
static bool second_byte_valid(uint8_t lead, uint8_t second)
{
	uint8_t low = 0x80, high = 0xbf;

	switch (lead) {
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f;
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	default:
		break;
	}
	return second >= low && second <= high;
}

bool utf8_valid(const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;

	while (p < end) {
		uint8_t lead = *p++;
		int more = continuation_count(lead);

		if (more == 0)
			continue;
		if (more < 0 || more > end - p || !second_byte_valid(lead, *p))
			return false;
		for (int i = 1; i < more; i++)
			if ((p[i] & 0xc0) != 0x80)
				return false;
		p += more;
	}
	return true;
}

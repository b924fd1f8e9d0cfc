/*
 * wire.c - frames of a server.
 */
#include "tests/fuzz/wire.h"

#include "tests/fuzz/fuzz.h"

#include <string.h>

#define FRAME_MAX 16384 /* no target allows more */

enum {
	DATA = 0,
	HEADERS = 1,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	WINDOW_UPDATE = 8,
	CONTINUATION = 9,
	END_STREAM = 1,
	END_HEADERS = 4,
};

/* How far the server is with a stream. */
enum {
	STREAM_IDLE = 0,
	STREAM_RESPONDING, /* headers have come */
	STREAM_ENDED,      /* END_STREAM has */
	STREAM_RESET,
};

void
wire_init(struct wire *wire)
{
	*wire = (struct wire){ .head_len = 0 };
}

static void
headers(unsigned char *state, unsigned flags)
{
	fuzz_check(*state == STREAM_IDLE || *state == STREAM_RESPONDING);
	/* The second list of a stream is the trailers. */
	fuzz_check(*state == STREAM_IDLE || (flags & END_STREAM) != 0);
	*state = flags & END_STREAM ? STREAM_ENDED : STREAM_RESPONDING;
}

static void
frame(
    struct wire *wire, uint32_t len, unsigned type, unsigned flags, uint32_t id)
{
	unsigned char *state, untold = STREAM_IDLE;
	bool known = id % 2 == 1 && id / 2 < WIRE_STREAMS;

	state = known ? &wire->stream[id / 2] : &untold;
	fuzz_check(len <= FRAME_MAX);
	fuzz_check(wire->greeted || type == SETTINGS);
	fuzz_check(wire->continues == 0 ||
	    (type == CONTINUATION && id == wire->continues));
	switch (type) {
	case DATA:
		fuzz_check(!known || *state == STREAM_RESPONDING);
		fuzz_check(id % 2 == 1);
		if (flags & END_STREAM)
			*state = STREAM_ENDED;
		wire->messages += len > 0;
		break;
	case HEADERS:
		fuzz_check(id % 2 == 1);
		headers(state, flags);
		wire->continues = flags & END_HEADERS ? 0 : id;
		break;
	case CONTINUATION:
		fuzz_check(wire->continues != 0);
		wire->continues = flags & END_HEADERS ? 0 : id;
		break;
	case RST_STREAM:
		fuzz_check(id % 2 == 1 && len == 4);
		*state = STREAM_RESET;
		break;
	case SETTINGS:
		fuzz_check(id == 0 && len % 6 == 0);
		wire->greeted = true;
		break;
	case PING:
		fuzz_check(id == 0 && len == 8);
		break;
	case GOAWAY:
		fuzz_check(id == 0 && len >= 8);
		wire->gone = true;
		break;
	case WINDOW_UPDATE:
		fuzz_check(len == 4);
		break;
	default:
		fuzz_check(!"a frame that a server has no use for");
	}
}

void
wire_feed(struct wire *wire, const unsigned char *bytes, size_t len)
{
	while (len > 0) {
		const unsigned char *h = wire->head;
		size_t n = len;

		if (wire->left > 0) {
			if (n > wire->left)
				n = wire->left;
			wire->left -= (uint32_t)n;
			bytes += n;
			len -= n;
			continue;
		}
		wire->head[wire->head_len++] = *bytes++;
		len--;
		if (wire->head_len < sizeof(wire->head))
			continue;
		wire->head_len = 0;
		wire->left = (uint32_t)h[0] << 16 | (uint32_t)h[1] << 8 | h[2];
		frame(wire, wire->left, h[3], h[4],
		    ((uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 |
			(uint32_t)h[7] << 8 | h[8]) &
			INT32_MAX);
	}
}

/*
 * client_frames.c - fuzz target: what a server may do to a client, one after
 * the other: answers, pieces of them, control frames, hanging up.
 */
#include "tests/fuzz/caller.h"
#include "tests/fuzz/frames.h"

#define FRAMES_MAX ((size_t)1 << 20)

/* Streams of the first calls, and one that was never opened. */
static uint32_t
pick(unsigned which)
{
	return 2 * (which % 6) + 1;
}

static void
answer(struct fuzz_input *in, unsigned op)
{
	uint32_t id = pick(fuzz_byte(in));
	struct buf out;

	buf_init(&out, FRAMES_MAX);
	if (op < 4)
		frames_response(&out, in, id);
	else if (op < 8)
		frames_data(&out, in, id);
	else if (op < 11)
		frames_trailers(&out, in, id);
	else
		frames_control(&out, in, id);
	caller_say(op & 1 ? 0 : op / 32, out.data, out.len);
	buf_fini(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	unsigned how = fuzz_byte(&in), kinds = fuzz_byte(&in);

	caller_start((kinds & 3) + 1, kinds >> 2, (how & 8) != 0);
	if ((how & 0x80) == 0)
		caller_say(0, caller_hello, sizeof(caller_hello));
	while (in.len > 0) {
		unsigned op = fuzz_byte(&in);

		if (op % 16 == 15)
			caller_hang_up(op / 16);
		else if (op % 16 == 13)
			caller_add((op & 16) != 0);
		else if (op % 16 == 14)
			caller_say(op / 16, caller_hello, sizeof(caller_hello));
		else
			answer(&in, op % 16);
		if (op >= 0x80)
			caller_run();
	}
	caller_end((how >> 5 & 3) % 3);
	return 0;
}

/*
 * client.c - fuzz target: bytes of a server into the client. The first bytes
 * say how they are cut, which calls wait for them, and how it ends.
 */
#include "tests/fuzz/caller.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	unsigned how = fuzz_byte(&in), kinds = fuzz_byte(&in);
	size_t piece = (how & 7) * 16;

	caller_start((kinds & 3) + 1, kinds >> 2, (how & 8) != 0);
	if ((how & 0x80) == 0)
		caller_say(0, caller_hello, sizeof(caller_hello));
	caller_run();
	while (in.len > 0) {
		struct fuzz_input part = fuzz_take(
		    &in, piece > 0 ? piece : in.len);

		caller_say(0, part.at, part.len);
		caller_run();
	}
	caller_end((how >> 5 & 3) % 3);
	return 0;
}

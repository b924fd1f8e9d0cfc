/*
 * server.c - fuzz target: bytes into a connection of the server. The first
 * byte says how they are cut and whether the connection preface is part of
 * them; at each cut a little time passes.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/host.h"

#include <string.h>

static const char hello[] =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	unsigned how = fuzz_byte(&in);
	size_t piece = (how & 0x3f) * 16;
	struct host host;

	host_start(&host);
	host_open(&host, &host.conn[0]);
	if ((how & 0x80) == 0)
		host_send(&host, &host.conn[0], hello, sizeof(hello) - 1);
	while (in.len > 0) {
		struct fuzz_input part = fuzz_take(
		    &in, piece > 0 ? piece : in.len);

		host_send(&host, &host.conn[0], part.at, part.len);
		host_run(&host);
		host_wait(&host, 10);
	}
	host_end(&host, (how & 0x40) != 0);
	return 0;
}

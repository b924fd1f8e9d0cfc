/*
 * percent.c - fuzz target: percent-encoding. What is encoded is clean and is
 * decoded again; decoding takes anything and never makes it longer.
 */
#include "rpc/grpc.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	auto_free char *encoded = malloc(GRPC_PERCENT_ROOM(size));
	auto_free char *back = malloc(GRPC_PERCENT_ROOM(size));
	size_t n = grpc_percent_encode(encoded, text, size);

	fuzz_check(n >= size && n < GRPC_PERCENT_ROOM(size));
	fuzz_check(encoded[n] == '\0' && strlen(encoded) == n);
	for (size_t i = 0; i < n; i++)
		fuzz_check(encoded[i] >= ' ' && encoded[i] <= '~');
	fuzz_check(n == 0 || (encoded[0] != ' ' && encoded[n - 1] != ' '));
	fuzz_check(grpc_percent_decode(back, encoded, n) == size);
	fuzz_check(size == 0 || memcmp(back, data, size) == 0);
	/* In place, as it is done with what a peer sends. */
	fuzz_check(grpc_percent_decode(encoded, encoded, n) == size);
	fuzz_check(size == 0 || memcmp(encoded, data, size) == 0);
	fuzz_check(grpc_percent_decode(back, text, size) <= size);
	return 0;
}

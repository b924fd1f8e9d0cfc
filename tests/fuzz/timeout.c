/*
 * timeout.c - fuzz target: grpc-timeout. What is written can be read and is
 * no shorter than what was meant; what is read is never negative.
 */
#include "rpc/grpc.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#define LONGEST_MS (INT64_C(99999999) * 3600 * 1000)

/* Rounded up by less than one unit, and all but the longest are exact. */
static void
check_fmt(int64_t ms)
{
	char out[GRPC_TIMEOUT_MAX];
	int64_t back = -1;

	grpc_timeout_fmt(out, ms);
	fuzz_check(strlen(out) < GRPC_TIMEOUT_MAX);
	fuzz_check(grpc_timeout_parse(out, strlen(out), &back) == 0);
	if (ms < 0)
		fuzz_check(back == 0);
	else if (ms > LONGEST_MS)
		fuzz_check(back == LONGEST_MS);
	else
		fuzz_check(back >= ms && back - ms <= ms / 1000);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t ms = -1;
	int rc = grpc_timeout_parse((const char *)data, size, &ms);

	fuzz_check(
	    rc == 0 ? ms >= 0 && ms <= LONGEST_MS : rc == -EINVAL && ms == -1);
	if (rc == 0)
		check_fmt(ms);
	if (size >= sizeof(ms)) {
		memcpy(&ms, data, sizeof(ms));
		check_fmt(ms);
	}
	return 0;
}

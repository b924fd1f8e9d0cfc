/*
 * listen_parse.c - fuzz target: socket addresses. What is taken is a path that
 * can be written as an endpoint again; what is refused has a reason.
 */
#include "rpc/h2io.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>
#include <sys/socket.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	auto_free char *endpoint = mem_new(size + 1), *again = NULL;
	struct sockaddr_un address, same;
	struct err err = ERR_INIT;

	if (size > 0)
		memcpy(endpoint, data, size);
	if (endpoint_parse(endpoint, &address, &err) < 0) {
		fuzz_check(err.code == ERR_INVALID_ARGUMENT);
		fuzz_check(err.text[0] != '\0');
		return 0;
	}
	fuzz_check(address.sun_family == AF_UNIX);
	fuzz_check(address.sun_path[0] != '\0');
	fuzz_check(str_ends(endpoint, address.sun_path));
	again = str_fmt("unix://%s", address.sun_path);
	fuzz_check(endpoint_parse(again, &same, &err) == 0);
	fuzz_check(str_eq(same.sun_path, address.sun_path));
	return 0;
}

/*
 * ctl_details.c - details of failures as rbd-csictl prints them, also what is
 * no such thing.
 */
#include "ctl/details.h"
#include "tests/tap.h"

#include <stdlib.h>

static const struct {
	const char *name;
	const char *bytes;
	size_t len;
	const char *want;
} cases[] = {
#define BYTES(literal) literal, sizeof(literal) - 1
	{ "nothing", BYTES(""), "" },
	{ "a code and a message", BYTES("\10\5\22\2no"), "" },
	{ "an ErrorInfo of nothing",
	    BYTES("\32\30\12\26x/google.rpc.ErrorInfo"),
	    "  google.rpc.ErrorInfo: reason , domain \n" },
	{ "a type without a host", BYTES("\32\11\12\3a.b\22\2xy"),
	    "  a.b: 2 bytes\n" },
	{ "two details", BYTES("\32\5\12\3/ab\32\5\12\3/cd"),
	    "  ab: 0 bytes\n  cd: 0 bytes\n" },
	{ "an escape", BYTES("\32\10\12\6\33[2Jab"), "  ?[2Jab: 0 bytes\n" },
	{ "half a detail", BYTES("\32\5\12\3/"), "  (details are garbled)\n" },
	{ "an ErrorInfo that is garbled",
	    BYTES("\32\33\12\26x/google.rpc.ErrorInfo\22\1\12"),
	    "  google.rpc.ErrorInfo: (garbled)\n" },
};

int
main(void)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *got = NULL;
		size_t len;
		FILE *out = open_memstream(&got, &len);

		if (out == NULL)
			return 1;
		ctl_details_print(out, cases[i].bytes, cases[i].len);
		(void)fclose(out);
		is_str(got, cases[i].want, "%s", cases[i].name);
		free(got);
	}
	return tap_end();
}

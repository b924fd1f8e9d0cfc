/*
 * units.c - durations and sizes as people type them.
 */
#include "base/units.h"
#include "tests/tap.h"

#include <inttypes.h>

static void
test_durations(void)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = { { "0", 0 }, { "1s", 1000 }, { "1m30s", 90000 },
		{ "500ms", 500 }, { "1.5h", 5400000 }, { "2h45m0.5s", 9900500 },
		{ "1000us", 1 }, { ".5s", 500 } };
	static const char *const bad[] = { "", "5", "s", "1x", "-1s", "1s2",
		"1 s", ".s", "99999999h" };
	int64_t ms;

	for (size_t i = 0; i < countof(good); i++) {
		ms = -1;
		ok(units_parse_duration(good[i].text, &ms) == 0 &&
			ms == good[i].ms,
		    "%s is %" PRId64 " ms", good[i].text, good[i].ms);
	}
	for (size_t i = 0; i < countof(bad); i++)
		ok(units_parse_duration(bad[i], &ms) < 0,
		    "\"%s\" is no duration", bad[i]);
}

static void
test_bytes(void)
{
	static const struct {
		const char *text;
		int64_t bytes;
	} good[] = { { "0", 0 }, { "4096", 4096 }, { "16KiB", 16384 },
		{ "4Mi", 4194304 }, { "1GiB", INT64_C(1) << 30 },
		{ "8589934591GiB", INT64_C(8589934591) << 30 } };
	static const char *const bad[] = { "", "KiB", "1kb", "1 KiB", "-1",
		"1.5MiB", "1KiBx", "8589934592GiB", "99999999999999999999" };
	int64_t bytes;

	for (size_t i = 0; i < countof(good); i++) {
		bytes = -1;
		ok(units_parse_bytes(good[i].text, &bytes) == 0 &&
			bytes == good[i].bytes,
		    "%s is %" PRId64 " bytes", good[i].text, good[i].bytes);
	}
	for (size_t i = 0; i < countof(bad); i++)
		ok(units_parse_bytes(bad[i], &bytes) < 0,
		    "\"%s\" is no number of bytes", bad[i]);
}

int
main(void)
{
	test_durations();
	test_bytes();
	return tap_end();
}

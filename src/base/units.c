/*
 * units.c - see units.h.
 */
#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

int
units_parse_duration(const char *text, int64_t *ms)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 },
		{ "m", 60e9 }, { "h", 3600e9 } };
	double sum_ns = 0;

	if (str_eq(text, "0")) {
		*ms = 0;
		return 0;
	}
	if (*text == '\0')
		return -EINVAL;
	while (*text != '\0') {
		double number = 0, scale = 1;
		bool digits = false;
		size_t u = 0;

		for (; isdigit((unsigned char)*text); text++, digits = true)
			number = number * 10 + (*text - '0');
		if (*text == '.')
			for (text++; isdigit((unsigned char)*text);
			     text++, digits = true) {
				scale /= 10;
				number += scale * (*text - '0');
			}
		while (u < countof(units) && !str_starts(text, units[u].name))
			u++;
		if (!digits || u == countof(units))
			return -EINVAL;
		text += strlen(units[u].name);
		sum_ns += number * units[u].ns;
	}
	if (sum_ns > 9.2e18) /* Go's durations end there */
		return -ERANGE;
	*ms = (int64_t)(sum_ns / 1e6 + 0.5);
	return 0;
}

int
units_parse_bytes(const char *text, int64_t *bytes)
{
	static const struct {
		const char *name;
		unsigned shift;
	} unit[] = { { "", 0 }, { "KiB", 10 }, { "Ki", 10 }, { "MiB", 20 },
		{ "Mi", 20 }, { "GiB", 30 }, { "Gi", 30 } };
	size_t digits = strspn(text, "0123456789");
	auto_free char *number = str_dup(text);
	uint64_t n;

	number[digits] = '\0';
	if (str_to_u64(number, &n) < 0)
		return -EINVAL;
	for (size_t i = 0; i < countof(unit); i++)
		if (str_eq(text + digits, unit[i].name)) {
			if (n > (uint64_t)INT64_MAX >> unit[i].shift)
				return -ERANGE;
			*bytes = (int64_t)(n << unit[i].shift);
			return 0;
		}
	return -EINVAL;
}

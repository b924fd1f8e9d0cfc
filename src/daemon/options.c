/*
 * options.c - reads the command line by the table. The syntax is that of Go's
 * flag package, because existing manifests are written for it: -x and --x are
 * the same, a value follows after "=" or as the next argument, and a bool
 * takes its value after "=" only.
 */
#include "daemon/options_table.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

const struct option_def *
option_find(const char *name, size_t len)
{
	for (size_t i = 0; i < option_count; i++)
		if (strlen(option_table[i].name) == len &&
		    memcmp(option_table[i].name, name, len) == 0)
			return &option_table[i];
	return NULL;
}

bool
options_is_known(const char *name)
{
	return option_find(name, strlen(name)) != NULL;
}

int
option_parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE",
		"True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE",
		"False" };

	for (size_t i = 0; i < countof(yes); i++) {
		if (str_eq(text, yes[i])) {
			*value = true;
			return 0;
		}
		if (str_eq(text, no[i])) {
			*value = false;
			return 0;
		}
	}
	return -EINVAL;
}

static int
parse_int(const char *text, int64_t *value)
{
	bool negative = *text == '-';
	uint64_t n;
	int rc = str_to_u64(text + negative, &n);

	if (rc < 0)
		return rc;
	if (n > (uint64_t)INT64_MAX)
		return -ERANGE;
	*value = negative ? -(int64_t)n : (int64_t)n;
	return 0;
}

/* The unit at *text in nanoseconds, 0 for none; moves on behind it. */
static double
duration_unit(const char **text)
{
	static const struct {
		const char *name;
		double ns;
	} unit[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 },
		{ "m", 60e9 }, { "h", 3600e9 } };

	for (size_t i = 0; i < countof(unit); i++)
		if (str_starts(*text, unit[i].name)) {
			*text += strlen(unit[i].name);
			return unit[i].ns;
		}
	return 0;
}

int
options_parse_duration(const char *text, int64_t *ms)
{
	double sum_ns = 0;

	if (str_eq(text, "0")) {
		*ms = 0;
		return 0;
	}
	if (*text == '\0')
		return -EINVAL;
	while (*text != '\0') {
		double number = 0, scale = 1, ns;
		bool digits = false;

		for (; isdigit((unsigned char)*text); text++, digits = true)
			number = number * 10 + (*text - '0');
		if (*text == '.')
			for (text++; isdigit((unsigned char)*text);
			     text++, digits = true) {
				scale /= 10;
				number += scale * (*text - '0');
			}
		ns = duration_unit(&text);
		if (!digits || ns == 0)
			return -EINVAL;
		sum_ns += number * ns;
	}
	if (sum_ns > 9.2e18) /* Go's durations end there */
		return -ERANGE;
	*ms = (int64_t)(sum_ns / 1e6 + 0.5);
	return 0;
}

int
options_parse_bytes(const char *text, int64_t *bytes)
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

static bool
option_in_range(const struct option_def *def, int64_t value)
{
	return value >= def->min && value <= def->max;
}

static int
option_range_error(
    const struct option_def *def, const char *text, struct err *err)
{
	if (def->kind == OPTION_DURATION)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "--%s=%s: must be from %lldms to %lldms", def->name, text,
		    (long long)def->min, (long long)def->max);
	return err_set(err, ERR_INVALID_ARGUMENT,
	    "--%s=%s: must be from %lld to %lld%s", def->name, text,
	    (long long)def->min, (long long)def->max,
	    def->kind == OPTION_BYTES ? " bytes" : "");
}

/* Checks `text` and stores it where the table says. */
static int
option_set(struct options *o, const struct option_def *def, const char *text,
    struct err *err)
{
	void *at = def->field != 0 ? (char *)o + def->field - 1 : NULL;
	const char *want = NULL;
	int64_t number = 0;
	bool flag = false;

	switch (def->kind) {
	case OPTION_STRING:
		if (at != NULL)
			*(const char **)at = text;
		return 0;
	case OPTION_BOOL:
		if (option_parse_bool(text, &flag) < 0)
			want = "true or false";
		else if (at != NULL)
			*(bool *)at = flag;
		break;
	case OPTION_INT:
		if (parse_int(text, &number) < 0)
			want = "a whole number";
		break;
	case OPTION_DURATION:
		if (options_parse_duration(text, &number) < 0)
			want = "a duration such as 90s, 1m30s or 500ms";
		break;
	case OPTION_BYTES:
		if (options_parse_bytes(text, &number) < 0)
			want = "a number of bytes such as 65536, 64KiB or 4MiB";
		break;
	case OPTION_ANY:
		return 0;
	}
	if (want != NULL)
		return err_set(err, ERR_INVALID_ARGUMENT, "--%s=%s: must be %s",
		    def->name, text, want);
	if (def->kind == OPTION_BOOL)
		return 0;
	if (!option_in_range(def, number))
		return option_range_error(def, text, err);
	if (at != NULL)
		*(int64_t *)at = number;
	return 0;
}

int
option_next(int argc, char *const argv[], int *at,
    const struct option_def **def, const char **text, struct err *err)
{
	const char *arg = argv[*at], *name = arg, *equals;
	size_t len;

	if (name[0] != '-' || name[1] == '\0')
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "unexpected argument \"%s\": options start with a dash",
		    arg);
	name += name[1] == '-' ? 2 : 1;
	equals = strchr(name, '=');
	len = equals != NULL ? (size_t)(equals - name) : strlen(name);
	*def = option_find(name, len);
	if (*def == NULL)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "unknown option \"%s\" (--help lists them)", arg);
	if (equals != NULL)
		*text = equals + 1;
	else if ((*def)->kind == OPTION_BOOL)
		*text = "true";
	else if (*at + 1 < argc)
		*text = argv[++*at];
	else
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "option \"%s\" needs a value", arg);
	return 0;
}

int
options_parse(struct options *o, int argc, char *const argv[], struct err *err)
{
	const char *endpoint = getenv("CSI_ENDPOINT");

	*o = (struct options){ .type_text = "" };
	for (size_t i = 0; i < option_count; i++)
		if (option_table[i].field != 0 &&
		    option_set(
			o, &option_table[i], option_table[i].value, err) < 0)
			abort(); /* a default that its own check refuses */
	if (!str_is_empty(endpoint))
		o->endpoint = endpoint;

	for (int i = 1; i < argc; i++) {
		const struct option_def *def;
		const char *text;
		int rc = option_next(argc, argv, &i, &def, &text, err);

		if (rc == 0)
			rc = option_set(o, def, text, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Options of ceph-csi's own manifests that nobody wonders about. */
static bool
option_is_silent(const struct option_def *def, const char *text)
{
	return def->group == GROUP_KLOG || str_eq(text, def->value);
}

void
options_each_ignored(int argc, char *const argv[],
    void (*tell)(const char *name, const char *help))
{
	for (int i = 1; i < argc; i++) {
		const struct option_def *def = NULL;
		const char *text = "";

		if (option_next(argc, argv, &i, &def, &text, NULL) < 0 ||
		    def == NULL)
			return;
		if ((def->use == OPTION_IGNORED ||
			def->use == OPTION_CHECKED) &&
		    !option_is_silent(def, text))
			tell(def->name, def->help);
	}
}

/*
 * bench_print.c - a table, CSV, or JSON of results, which are JSON already.
 */
#include "ctl/bench_print.h"

#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

#define SLIGHT 0.02 /* of an RPC's time: a state that no table tells */

static const char *const figures[] = { "min", "mean", "p50", "p90", "p95",
	"p99", "p99.9", "max" };

enum bench_format
bench_format_of(const char *text)
{
	if (text == NULL || str_eq(text, "table"))
		return BENCH_TABLE;
	return str_eq(text, "csv") ? BENCH_CSV : BENCH_JSON;
}

void
bench_print_head(enum bench_format format)
{
	if (format != BENCH_CSV)
		return;
	(void)fputs(
	    "callers,phase,seconds,passed,failed,codes,retried,missed,rate,generator_cpu,name,count",
	    stdout);
	for (size_t i = 0; i < countof(figures); i++)
		(void)printf(",%s_ms", figures[i]);
	(void)putchar('\n');
	(void)fflush(stdout);
}

static json_int_t
integer_of(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static double
number_of(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

/* "UNAVAILABLE 5, ABORTED 2"; the caller frees. */
static char *
codes_text(const json_t *phase, const char *separator)
{
	char *text = str_dup("");
	const char *code;
	json_t *count;

	json_object_foreach (json_object_get(phase, "codes"), code, count)
		ctl_text_add(&text, separator, "%s %lld", code,
		    (long long)json_integer_value(count));
	return text;
}

static void
print_csv(size_t callers, const json_t *phase, const json_t *times)
{
	auto_free char *codes = codes_text(phase, ";");

	(void)printf("%zu,%s,%.6f,%lld,%lld,%s,%lld,%lld,%.3f,%.1f,%s,%lld",
	    callers, json_get_string(phase, "name"),
	    number_of(phase, "seconds"), integer_of(phase, "passed"),
	    integer_of(phase, "failed"), codes, integer_of(phase, "retried"),
	    integer_of(phase, "missed"), number_of(phase, "rate"),
	    number_of(phase, "generator_cpu"),
	    times != NULL ? json_get_string(times, "name") : "",
	    times != NULL ? integer_of(times, "count") : 0);
	for (size_t i = 0; i < countof(figures); i++)
		if (times != NULL)
			(void)printf(",%.6f", number_of(times, figures[i]));
		else
			(void)putchar(',');
	(void)putchar('\n');
}

/* The sum of all, in ms; 0 for NULL. */
static double
sum_of(const json_t *times)
{
	return number_of(times, "mean") * number_of(times, "count");
}

/* Is it a state in which the RPC before the slash spends next to nothing? */
static bool
is_slight(const json_t *list, const json_t *times)
{
	const char *name = json_get_string(times, "name");
	const char *slash = strchr(name, '/');
	size_t i;
	json_t *rpc;

	if (slash == NULL)
		return false;
	json_array_foreach (list, i, rpc) {
		const char *other = json_get_string(rpc, "name");

		if (strncmp(other, name, (size_t)(slash - name)) == 0 &&
		    other[slash - name] == '\0')
			return sum_of(times) < sum_of(rpc) * SLIGHT;
	}
	return true;
}

static void
print_times(const json_t *times)
{
	(void)printf("  %-46s %8lld", json_get_string(times, "name"),
	    integer_of(times, "count"));
	for (size_t i = 0; i < countof(figures); i++)
		(void)printf(" %9.3f", number_of(times, figures[i]));
	(void)putchar('\n');
}

static void
print_table(size_t callers, const json_t *phase)
{
	auto_free char *codes = codes_text(phase, ", ");
	const json_t *list = json_object_get(phase, "times");
	const json_t *lag = json_object_get(phase, "lag");
	size_t i;
	json_t *times;

	(void)printf("%s: %lld in %.1f s", json_get_string(phase, "name"),
	    integer_of(phase, "passed"), number_of(phase, "seconds"));
	if (integer_of(phase, "passed") > 0)
		(void)printf(", %.1f/s", number_of(phase, "rate"));
	if (callers > 0)
		(void)printf(", %zu at once", callers);
	if (integer_of(phase, "retried") > 0)
		(void)printf(", %lld retries", integer_of(phase, "retried"));
	if (integer_of(phase, "missed") > 0)
		(void)printf(", %lld could not begin in time",
		    integer_of(phase, "missed"));
	if (integer_of(phase, "failed") > 0)
		(void)printf(
		    ", %lld failed: %s", integer_of(phase, "failed"), codes);
	(void)printf("; the generator used %.0f %% of a core\n",
	    number_of(phase, "generator_cpu"));
	if (json_array_size(list) > 0) {
		(void)printf("  %-46s %8s", "ms", "count");
		for (i = 0; i < countof(figures); i++)
			(void)printf(" %9s", figures[i]);
		(void)putchar('\n');
	}
	json_array_foreach (list, i, times)
		if (!is_slight(list, times))
			print_times(times);
	if (lag != NULL)
		print_times(lag);
}

void
bench_print_phase(enum bench_format format, size_t callers, const json_t *phase)
{
	const json_t *list = json_object_get(phase, "times");
	const json_t *lag = json_object_get(phase, "lag");
	size_t i;
	json_t *times;

	if (format == BENCH_TABLE)
		print_table(callers, phase);
	if (format == BENCH_CSV) {
		if (json_array_size(list) == 0)
			print_csv(callers, phase, NULL);
		json_array_foreach (list, i, times)
			print_csv(callers, phase, times);
		if (lag != NULL)
			print_csv(callers, phase, lag);
	}
	(void)fflush(stdout); /* for who measures something else meanwhile */
}

void
bench_print_end(enum bench_format format, const json_t *document)
{
	if (format != BENCH_JSON)
		return;
	(void)json_dumpf(document, stdout, JSON_REAL_PRECISION(9));
	(void)putchar('\n');
}

void
bench_print_compared(enum bench_format format, json_t *rows, json_t *differ)
{
	static const char *const headings[] = { "PHASE", "NAME", "FIGURE", "A",
		"B", "B/A", "95 %", "VERDICT", NULL };
	auto_json json_t *cells = json_array();
	size_t i;
	json_t *row;

	if (format == BENCH_JSON) {
		auto_json json_t *document = json_pack(
		    "{s:O, s:O}", "differ", differ, "figures", rows);

		ctl_print_json(document);
		return;
	}
	if (format == BENCH_CSV)
		(void)puts(
		    "callers,phase,name,figure,a,b,ratio,low,high,verdict");
	json_array_foreach (rows, i, row) {
		const char *phase = json_get_string(row, "phase");
		const char *name = json_get_string(row, "name");
		const char *figure = json_get_string(row, "figure");
		const char *verdict = json_get_string(row, "verdict");
		json_int_t callers = integer_of(row, "callers");
		auto_free char *a = str_fmt("%.3f", number_of(row, "a"));
		auto_free char *b = str_fmt("%.3f", number_of(row, "b"));
		auto_free char *ratio = str_fmt(
		    "%.3f", number_of(row, "ratio"));
		bool bounded = json_object_get(row, "low") != NULL;
		auto_free char *low = str_fmt("%.3f", number_of(row, "low"));
		auto_free char *high = str_fmt("%.3f", number_of(row, "high"));
		auto_free char *range = bounded ? str_fmt("%s to %s", low, high)
						: str_dup("-");
		auto_free char *at = callers > 0
		    ? str_fmt("%s, %lld at once", phase, callers)
		    : str_dup(phase);

		if (format == BENCH_CSV)
			(void)printf("%lld,%s,%s,%s,%s,%s,%s,%s,%s,%s\n",
			    callers, phase, name, figure, a, b, ratio,
			    bounded ? low : "", bounded ? high : "", verdict);
		(void)json_array_append_new(cells,
		    json_pack("[s, s, s, s, s, s, s, s]", at, name, figure, a,
			b, ratio, range, verdict));
	}
	if (format == BENCH_CSV)
		return;
	ctl_print_table(headings, cells);
	json_array_foreach (differ, i, row)
		(void)printf(i == 0 ? "They differ in: %s" : ", %s",
		    json_string_value(row));
	if (json_array_size(differ) > 0)
		(void)putchar('\n');
}

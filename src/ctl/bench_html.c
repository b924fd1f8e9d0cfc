/*
 * bench_html.c - the page: circumstances, and for each phase its times, how they
 * are distributed, what happened over time, and the slowest with their states.
 */
#include "ctl/bench_html.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Of a plot, in the units of its viewBox; around it are the labels. */
#define WIDTH 640.0
#define HEIGHT 200.0
#define LEFT 56.0
#define BOTTOM 24.0
#define TOP 8.0

#define LINES_MAX 6 /* in one plot, and colours for them */

static const char *const figures[] = { "count", "min", "mean", "p50", "p90",
	"p95", "p99", "p99.9", "max" };

static const char head[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--fg:#1c2733;--dim:#5b6b7b;--bg:#fff;--line:#d5dde5;--bad:#c62828;\n"
    "--c0:#1565c0;--c1:#e07b00;--c2:#2e7d32;--c3:#8e24aa;--c4:#00838f;--c5:#6d4c41}\n"
    "@media(prefers-color-scheme:dark){:root{--fg:#e3e8ee;--dim:#9aa7b5;--bg:#14181d;--line:#333c46;--bad:#ef6c6c;\n"
    "--c0:#64a8f0;--c1:#f0a94a;--c2:#7cc47f;--c3:#cf8ee0;--c4:#4fc3cf;--c5:#bc9a8c}}\n"
    "body{font:15px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:0 auto;max-width:72rem;padding:1rem}\n"
    "h1{font-size:1.5rem;margin:.2rem 0}h2{font-size:1.2rem;margin:2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1rem}\n"
    "h3{font-size:.95rem;margin:1rem 0 .3rem;color:var(--dim);font-weight:600}p{margin:.3rem 0}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.86rem}\n"
    "th,td{text-align:left;padding:.15rem .7rem .15rem 0;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}\n"
    "td.n,th.n{text-align:right}th{color:var(--dim);font-weight:600}td.s{color:var(--dim);padding-left:1rem}\n"
    "td.w{white-space:normal;overflow-wrap:anywhere;min-width:12rem}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:0 1.5rem}\n"
    "svg{width:100%;height:auto;display:block}svg text{font:14px system-ui,sans-serif;fill:var(--dim)}\n"
    ".grid{stroke:var(--line)}.bar{fill:var(--c0)}.bad{fill:var(--bad)}polyline{fill:none;stroke-width:2}\n"
    ".key{font-size:.82rem}.key span{display:inline-block;margin-right:1rem}.key i{display:inline-block;width:.8em;height:.8em;margin-right:.35em}\n"
    ".states{display:flex;height:.9rem;width:16rem;max-width:60vw;background:var(--line)}.states i{display:block;height:100%}\n"
    ".bad-text{color:var(--bad)}\n"
    "</style>\n";

static double
figure_number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

/* Text of others as text. NULL is nothing. */
static void
put_html(FILE *out, const char *text)
{
	for (const char *at = text != NULL ? text : ""; *at != '\0'; at++)
		switch (*at) {
		case '<':
			(void)fputs("&lt;", out);
			break;
		case '>':
			(void)fputs("&gt;", out);
			break;
		case '&':
			(void)fputs("&amp;", out);
			break;
		case '"':
			(void)fputs("&quot;", out);
			break;
		default:
			(void)fputc(*at, out);
		}
}

/* Milliseconds with three digits that say something. */
static void
put_ms(FILE *out, double ms)
{
	int digits = ms >= 100 || ms <= 0 ? 0 : ms >= 10 ? 1 : ms >= 1 ? 2 : 3;

	(void)fprintf(out, "%.*f", digits, ms);
}

static bool
is_state(const json_t *times)
{
	return strchr(json_get_string(times, "name"), '/') != NULL;
}

/* ---- circumstances --------------------------------------------------------- */

static void
put_row(FILE *out, const char *name, const char *value)
{
	if (str_is_empty(value))
		return;
	(void)fputs("<tr><th>", out);
	put_html(out, name);
	(void)fputs("</th><td class=\"w\">", out);
	put_html(out, value);
	(void)fputs("</td></tr>\n", out);
}

/* "name value" of all members, with commas; the caller frees. */
static char *
members_text(const json_t *object)
{
	char *text = str_dup("");
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)(uintptr_t)object, name, value) {
		const char *is = json_string_value(value);

		ctl_text_add(&text, ", ", "%s%s%s", name, is != NULL ? " " : "",
		    is != NULL ? is : "");
	}
	return text;
}

static void
put_circumstances(FILE *out, const json_t *document)
{
	const json_t *host = json_object_get(document, "host");
	const json_t *driver = json_object_get(document, "driver");
	const json_t *load = json_object_get(host, "load");
	auto_free char *options = members_text(
	    json_object_get(document, "options"));
	auto_free char *parameters = members_text(
	    json_object_get(document, "parameters"));
	auto_free char *machine = str_fmt(
	    "%s: %d processors (%s), %.1f GiB, %s %s, load at the start %.1f",
	    json_get_string(host, "name"),
	    (int)figure_number(host, "processors"),
	    json_get_string(host, "processor"),
	    figure_number(host, "memory") / (1 << 30),
	    json_get_string(host, "kernel"), json_get_string(host, "machine"),
	    json_number_value(json_array_get(load, 0)));
	auto_free char *who = str_fmt("%s %s",
	    json_get_string(driver, "name") != NULL
		? json_get_string(driver, "name")
		: "unknown",
	    json_get_string(driver, "version") != NULL
		? json_get_string(driver, "version")
		: "");
	auto_free char *left_out = str_dup("");
	size_t i;
	json_t *each;

	json_array_foreach (json_object_get(document, "left_out"), i, each)
		ctl_text_add(&left_out, ", ", "%s", json_string_value(each));
	(void)fputs("<table>\n", out);
	put_row(out, "driver", who);
	put_row(out, "begun", json_get_string(document, "began"));
	put_row(out, "machine", machine);
	put_row(out, "options", options);
	put_row(out, "parameters", parameters);
	put_row(out, "left out: not served", left_out);
	put_row(out, "measured by", json_get_string(document, "tool"));
	put_row(out, "run", json_get_string(document, "run"));
	(void)fputs("</table>\n", out);
	if (json_is_true(json_object_get(document, "interrupted")))
		(void)fputs(
		    "<p class=\"bad-text\">It was interrupted.</p>\n", out);
}

/* ---- plots ----------------------------------------------------------------- */

static void
plot_begin(FILE *out, const char *title)
{
	(void)fprintf(out,
	    "<div><h3>%s</h3><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n",
	    title, LEFT + WIDTH + 28, TOP + HEIGHT + BOTTOM, title);
}

static void
plot_y(FILE *out, double at, const char *label)
{
	double y = TOP + HEIGHT * (1 - at);

	(void)fprintf(out,
	    "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
	    LEFT, LEFT + WIDTH, y, y, LEFT - 6, y + 4, label);
}

static void
plot_x(FILE *out, double at, const char *label)
{
	(void)fprintf(out,
	    "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n",
	    LEFT + WIDTH * at, TOP + HEIGHT + 20, label);
}

/* Nines: 0 for 0 %, 1 for 90 %, 2 for 99 %. */
static double
nines(double part)
{
	return -log10(1 - part);
}

/* One line: the times up to each part of the calls. */
static void
put_line(FILE *out, const json_t *times, int colour, double most_nines,
    double low, double high)
{
	double count = figure_number(times, "count"), seen = 0;
	size_t i;
	json_t *bucket;

	(void)fprintf(out, "<polyline stroke=\"var(--c%d)\" points=\"", colour);
	json_array_foreach (json_object_get(times, "buckets"), i, bucket) {
		double ms = json_number_value(json_array_get(bucket, 0));
		double n = json_number_value(json_array_get(bucket, 1));
		double y = TOP +
		    HEIGHT *
			(1 - (log10(ms > 0 ? ms : 1e-6) - low) / (high - low));

		/* Where this bucket begins and ends. */
		for (int end = 0; end < 2; end++) {
			double part = (seen + (end ? n : 0)) / count;
			double x = part >= 1 ? most_nines : nines(part);

			(void)fprintf(out, "%.1f,%.1f ",
			    LEFT + WIDTH * fmin(x, most_nines) / most_nines,
			    fmin(fmax(y, TOP), TOP + HEIGHT));
		}
		seen += n;
	}
	(void)fputs("\"/>\n", out);
}

/* Both axes are logarithmic: the tail is what one looks for. */
static void
put_distribution(FILE *out, const json_t *list)
{
	static const struct {
		double part;
		const char *label;
	} marks[] = { { 0, "0" }, { 0.5, "50 %" }, { 0.9, "90 %" },
		{ 0.99, "99 %" }, { 0.999, "99.9 %" }, { 0.9999, "99.99 %" } };
	double least = INFINITY, most = 0, count = 1, most_nines, low, high;
	int lines = 0;
	size_t i;
	json_t *times;

	json_array_foreach (list, i, times) {
		if (is_state(times))
			continue;
		least = fmin(least, fmax(figure_number(times, "min"), 1e-6));
		most = fmax(most, figure_number(times, "max"));
		count = fmax(count, figure_number(times, "count"));
	}
	if (most <= 0)
		return;
	low = floor(log10(least));
	high = fmax(ceil(log10(most)), low + 1);
	most_nines = fmin(fmax(log10(count), 1), 4);
	plot_begin(out, "Latency: so many of the calls took no longer, ms");
	for (int y = (int)low; y <= (int)high; y++) {
		char label[24];

		(void)snprintf(label, sizeof(label), "%g", pow(10, y));
		plot_y(out, (y - low) / (high - low), label);
	}
	for (i = 0; i < countof(marks); i++)
		if (nines(marks[i].part) <= most_nines)
			plot_x(out, nines(marks[i].part) / most_nines,
			    marks[i].label);
	json_array_foreach (list, i, times)
		if (!is_state(times) && lines < LINES_MAX)
			put_line(out, times, lines++, most_nines, low, high);
	(void)fputs("</svg><div class=\"key\">", out);
	lines = 0;
	json_array_foreach (list, i, times)
		if (!is_state(times) && lines < LINES_MAX) {
			(void)fprintf(out,
			    "<span><i style=\"background:var(--c%d)\"></i>",
			    lines++);
			put_html(out, json_get_string(times, "name"));
			(void)fputs("</span>", out);
		}
	(void)fputs("</div></div>\n", out);
}

/* Bars over time; `above` (may be NULL) are put on them, in red. */
static void
put_bars(FILE *out, const char *title, const json_t *slots, const char *name,
    const char *above, double per)
{
	const json_t *bars = json_object_get(slots, name);
	const json_t *reds = above != NULL ? json_object_get(slots, above)
					   : NULL;
	double seconds = figure_number(slots, "seconds"), most = 0, width;
	size_t count = json_array_size(bars), i;
	char label[24];

	for (i = 0; i < count; i++)
		most = fmax(most,
		    (json_number_value(json_array_get(bars, i)) +
			json_number_value(json_array_get(reds, i))) /
			per);
	if (most <= 0)
		return;
	width = WIDTH / (double)count;
	plot_begin(out, title);
	for (int tick = 0; tick <= 2; tick++) {
		(void)snprintf(label, sizeof(label), "%.3g", most * tick / 2);
		plot_y(out, tick / 2.0, label);
		(void)snprintf(label, sizeof(label), "%.3g s",
		    seconds * (double)count * tick / 2);
		plot_x(out, tick / 2.0, label);
	}
	for (i = 0; i < count; i++) {
		double height = HEIGHT *
		    json_number_value(json_array_get(bars, i)) / per / most;
		double red = HEIGHT *
		    json_number_value(json_array_get(reds, i)) / per / most;
		double x = LEFT + width * (double)i;

		(void)fprintf(out,
		    "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>",
		    x, TOP + HEIGHT - height, fmax(width - 0.5, 0.5), height);
		if (red > 0)
			(void)fprintf(out,
			    "<rect class=\"bad\" x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\"/>",
			    x, TOP + HEIGHT - height - red,
			    fmax(width - 0.5, 0.5), red);
	}
	(void)fputs("</svg></div>\n", out);
}

/* ---- tables ---------------------------------------------------------------- */

static void
put_times(FILE *out, const json_t *list, const json_t *lag)
{
	size_t i;
	json_t *times;

	(void)fputs(
	    "<h3>Times, ms</h3><div class=\"wide\"><table><tr><th></th>", out);
	for (i = 0; i < countof(figures); i++)
		(void)fprintf(out, "<th class=\"n\">%s</th>", figures[i]);
	(void)fputs("</tr>\n", out);
	for (i = 0; i <= json_array_size(list); i++) {
		times = i < json_array_size(list) ? json_array_get(list, i)
						  : (json_t *)(uintptr_t)lag;
		if (times == NULL)
			continue;
		(void)fprintf(
		    out, "<tr><td%s>", is_state(times) ? " class=\"s\"" : "");
		put_html(out, json_get_string(times, "name"));
		(void)fprintf(out, "</td><td class=\"n\">%.0f</td>",
		    figure_number(times, "count"));
		for (size_t j = 1; j < countof(figures); j++) {
			(void)fputs("<td class=\"n\">", out);
			put_ms(out, figure_number(times, figures[j]));
			(void)fputs("</td>", out);
		}
		(void)fputs("</tr>\n", out);
	}
	(void)fputs("</table></div>\n", out);
}

/* A bar of the states' times, and those that are a part of it. */
static void
put_states(FILE *out, const json_t *slow)
{
	double took = figure_number(slow, "took");
	const json_t *states = json_object_get(slow, "states");
	size_t i;
	json_t *state;

	(void)fputs("<td class=\"w\">", out);
	if (states == NULL)
		(void)fputs("not known", out);
	else
		(void)fputs("<div class=\"states\">", out);
	json_array_foreach (states, i, state)
		(void)fprintf(out,
		    "<i style=\"width:%.1f%%;background:var(--c%zu)\"></i>",
		    fmin(100,
			100 * json_number_value(json_array_get(state, 1)) /
			    fmax(took, 1e-6)),
		    i % LINES_MAX);
	if (states != NULL)
		(void)fputs("</div>", out);
	json_array_foreach (states, i, state) {
		double ms = json_number_value(json_array_get(state, 1));

		if (ms < took * 0.02)
			continue;
		put_html(out, json_string_value(json_array_get(state, 0)));
		(void)fputc(' ', out);
		put_ms(out, ms);
		(void)fputs(" &ensp;", out);
	}
	(void)fputs("</td>", out);
}

static void
put_slowest(FILE *out, const json_t *list)
{
	size_t i;
	json_t *slow;

	if (json_array_size(list) == 0)
		return;
	(void)fputs(
	    "<h3>The slowest</h3><div class=\"wide\"><table><tr><th>RPC</th><th class=\"n\">took, ms</th><th class=\"n\">begun at, s</th><th>states, ms</th><th>about</th></tr>\n",
	    out);
	json_array_foreach (list, i, slow) {
		(void)fputs("<tr><td>", out);
		put_html(out, json_get_string(slow, "name"));
		(void)fputs("</td><td class=\"n\">", out);
		put_ms(out, figure_number(slow, "took"));
		(void)fprintf(out, "</td><td class=\"n\">%.2f</td>",
		    figure_number(slow, "began") / 1000);
		put_states(out, slow);
		(void)fputs("<td class=\"w\">", out);
		put_html(out, json_get_string(slow, "subject"));
		(void)fputs("</td></tr>\n", out);
	}
	(void)fputs("</table></div>\n", out);
}

static void
put_phase(FILE *out, const json_t *phase)
{
	const json_t *list = json_object_get(phase, "times");
	const json_t *slots = json_object_get(phase, "slots");
	const char *code;
	json_t *count;

	(void)fputs("<h2>", out);
	put_html(out, json_get_string(phase, "name"));
	if (figure_number(phase, "callers") > 0)
		(void)fprintf(
		    out, ", %.0f at once", figure_number(phase, "callers"));
	(void)fprintf(out,
	    "</h2>\n<p><b>%.0f</b> in %.1f s: <b>%.4g/s</b>. The generator used %.0f %% of a core.</p>\n",
	    figure_number(phase, "passed"), figure_number(phase, "seconds"),
	    figure_number(phase, "rate"),
	    figure_number(phase, "generator_cpu"));
	if (figure_number(phase, "retried") > 0 ||
	    figure_number(phase, "missed") > 0)
		(void)fprintf(out,
		    "<p>%.0f retries; %.0f could not begin in time.</p>\n",
		    figure_number(phase, "retried"),
		    figure_number(phase, "missed"));
	json_object_foreach (json_object_get(phase, "codes"), code, count) {
		(void)fprintf(out, "<p class=\"bad-text\">%lld failed: ",
		    (long long)json_integer_value(count));
		put_html(out, code);
		(void)fputs("</p>\n", out);
	}
	(void)fputs("<div class=\"plots\">\n", out);
	put_distribution(out, list);
	put_bars(out, "Done over time, 1/s (failures in red)", slots, "passed",
	    "failed", figure_number(slots, "seconds"));
	put_bars(
	    out, "The slowest that ended then, ms", slots, "slowest", NULL, 1);
	(void)fputs("</div>\n", out);
	put_times(out, list, json_object_get(phase, "lag"));
	put_slowest(out, json_object_get(phase, "slowest"));
}

int
bench_html_write(const char *path, const json_t *document, struct err *err)
{
	FILE *out = fopen(path, "we");
	size_t i;
	json_t *phase;

	if (out == NULL)
		return err_set_rc(err, -errno, "write %s", path);
	(void)fputs(head, out);
	(void)fputs("<title>bench ", out);
	put_html(out, json_get_string(document, "kind"));
	(void)fputs("</title></head><body>\n<h1>rbd-csictl bench ", out);
	put_html(out, json_get_string(document, "kind"));
	(void)fputs("</h1>\n", out);
	put_circumstances(out, document);
	json_array_foreach (json_object_get(document, "phases"), i, phase)
		put_phase(out, phase);
	(void)fputs("</body></html>\n", out);
	i = (size_t)ferror(out);
	if (fclose(out) != 0 || i != 0)
		return err_set_rc(err, -EIO, "write %s", path);
	return 0;
}

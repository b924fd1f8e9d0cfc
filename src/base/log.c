/*
 * log.c - formats a line in one buffer and writes it with one call, so that
 * lines of several processes do not mix.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096 /* what a pipe takes at once */

/* Of one event: so many lines at once, and so many a second after that. */
#define BURST 200
#define LINES_PER_S 10
#define LIMITED_MAX 64 /* events; beyond that they are not limited */

struct limited {
	char event[48];    /* a copy; "": nobody's; what is longer is cut off */
	int64_t credit_ms; /* lines that it may still write, as time */
	int64_t at_ms;     /* as of */
	unsigned left_out;
};

static struct {
	const char *program;
	enum log_level level;
	enum log_format format;
	void (*sink)(enum log_level level, const char *line);
	struct limited limited[LIMITED_MAX];
	unsigned left_out; /* of all */
} lg = { .program = "rbd-csi", .level = LOG_LEVEL_INFO };

static const char *const level_name[] = { "error", "warn", "info", "debug" };

void
log_init(const char *program, enum log_level level, enum log_format format)
{
	lg.program = program;
	lg.level = level;
	lg.format = format;
}

bool
log_enabled(enum log_level level)
{
	return level <= lg.level;
}

enum log_level
log_level(void)
{
	return lg.level;
}

void
log_set_level(enum log_level level)
{
	lg.level = level;
}

int
log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < countof(level_name); i++) {
		if (!str_eq(name, level_name[i]))
			continue;
		*level = (enum log_level)i;
		return 0;
	}
	return -EINVAL;
}

const char *
log_level_name(enum log_level level)
{
	return level_name[level];
}

void
log_set_sink(void (*sink)(enum log_level level, const char *line))
{
	lg.sink = sink;
}

/* ---- text that is cut where it does not fit ------------------------------ */

struct log_text {
	char *buf;
	size_t size, used; /* always one byte is left for the NUL */
	bool strings; /* all strings are in quotes: what is not is a number */
};

static void
put(struct log_text *out, const char *s, size_t len)
{
	size_t room = out->size - 1 - out->used;

	if (len > room)
		len = room;
	memcpy(out->buf + out->used, s, len);
	out->used += len;
	out->buf[out->used] = '\0';
}

/* So many bytes at the beginning need no escape, in quotes or without. */
static size_t
plain_len(const char *s, size_t len)
{
	static const bool plain[256] = {
		[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... '~'] = true
	};
	size_t n = 0;

	while (n < len && plain[(unsigned char)s[n]])
		n++;
	return n;
}

/*
 * Writes the first character of s[len], or its escape as JSON has it, into
 * `text`; returns its bytes in `s`.
 */
static size_t
escape(const char *s, size_t len, bool quotes, char text[8])
{
	static const char plain[] = "\b\t\n\f\r", letter[] = "btnfr";
	const char *known;
	uint32_t point;
	size_t n = str_utf8(s, len, &point);

	if (n == 0) {
		(void)snprintf(text, 8, "\\ufffd");
		return 1;
	}
	known = point != 0 && point < 0x20 ? strchr(plain, (int)point) : NULL;
	if (known != NULL) {
		(void)snprintf(text, 8, "\\%c", letter[known - plain]);
	} else if (str_is_control(point)) {
		(void)snprintf(text, 8, "\\u%04x", point);
	} else if (quotes && (point == '"' || point == '\\')) {
		(void)snprintf(text, 8, "\\%c", (int)point);
	} else {
		memcpy(text, s, n);
		text[n] = '\0';
	}
	return n;
}

/* `keep` bytes stay free, for a quote that has to follow. */
static void
put_escaped(
    struct log_text *out, const char *s, size_t len, bool quotes, size_t keep)
{
	while (len > 0) {
		size_t room = out->size - 1 - keep - out->used;
		size_t n = plain_len(s, len < room ? len : room);
		char text[8];

		if (n > 0) {
			put(out, s, n);
		} else {
			n = escape(s, len, quotes, text);
			if (strlen(text) > room)
				return;
			put(out, text, strlen(text));
		}
		s += n;
		len -= n;
	}
}

static void
put_quoted(struct log_text *out, const char *s, size_t len)
{
	if (out->used + 3 > out->size)
		return;
	put(out, "\"", 1);
	put_escaped(out, s, len, true, 1);
	put(out, "\"", 1);
}

/* Would quotes change nothing, since the text is one log_quote() already? */
static bool
is_quoted(const char *s, size_t len)
{
	char text[8];
	bool escaped = false;
	size_t n;

	if (len < 2 || s[0] != '"' || s[len - 1] != '"')
		return false;
	for (size_t i = 1; i < len - 1; i += n) {
		n = plain_len(s + i, len - 1 - i);
		if (n == 0) {
			n = escape(s + i, len - 1 - i, false, text);
			if (strncmp(text, s + i, n) != 0 ||
			    (s[i] == '"' && !escaped))
				return false;
		}
		escaped = s[i] == '\\' && !escaped;
	}
	return !escaped;
}

/* The value of a key: in quotes if it could be taken for something else. */
static void
put_value(struct log_text *out, const char *s, size_t len)
{
	bool plain = !out->strings && memchr(s, ' ', len) == NULL;

	if (is_quoted(s, len)) {
		put(out, s, len);
		return;
	}
	for (size_t i = 0, n; i < len && plain; i += n) {
		char text[8];

		n = plain_len(s + i, len - i);
		if (n > 0)
			continue;
		n = escape(s + i, len - i, true, text);
		plain = strlen(text) == n && memcmp(text, s + i, n) == 0;
	}
	if (plain)
		put(out, s, len);
	else
		put_quoted(out, s, len);
}

const char *
log_quote(char *buf, size_t size, const char *s)
{
	struct log_text out = { .buf = buf, .size = size };

	if (size < 3)
		return "";
	s = s != NULL ? s : "";
	put_quoted(&out, s, strlen(s));
	return buf;
}

/* ---- lines --------------------------------------------------------------- */

/* Everything but a string, as printf would write it. */
static void
put_number(struct log_text *out, const char *spec, size_t len, va_list *ap)
{
	char one[16], text[64] = "";
	int longs = 0;

	if (len >= sizeof(one))
		abort();
	memcpy(one, spec, len);
	one[len] = '\0';
	for (size_t i = 1; i + 1 < len; i++)
		longs += one[i] == 'l' || one[i] == 'z' || one[i] == 'j' ||
		    one[i] == 't';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	/* NOLINTBEGIN(bugprone-branch-clone): the types differ */
	if (strchr("aefgAEFG", one[len - 1]) != NULL)
		(void)snprintf(text, sizeof(text), one, va_arg(*ap, double));
	else if (one[len - 1] == 'p')
		(void)snprintf(text, sizeof(text), one, va_arg(*ap, void *));
	else if (longs > 0) /* all of 8 bytes where we run */
		(void)snprintf(text, sizeof(text), one, va_arg(*ap, long));
	else
		(void)snprintf(text, sizeof(text), one, va_arg(*ap, int));
		/* NOLINTEND(bugprone-branch-clone) */
#pragma GCC diagnostic pop
	put(out, text, strlen(text));
}

_Static_assert(sizeof(long) == sizeof(long long) &&
	sizeof(long) == sizeof(size_t) && sizeof(long) == sizeof(intmax_t),
    "put_number() takes one for the other");

/*
 * printf, but for strings: whatever comes from outside, a line stays one line
 * and a value stays one value.
 */
static void
put_formatted(struct log_text *out, const char *fmt, va_list *ap)
{
	for (const char *p = fmt; *p != '\0';) {
		const char *spec, *s;
		size_t max = SIZE_MAX, len = strcspn(p, "%");

		put(out, p, len);
		p += len;
		if (*p == '\0')
			return;
		spec = p++;
		p += strspn(p, "-+ #0123456789.*lhzjt");
		if (*p == '\0')
			return;
		if (*p == '%') {
			put(out, "%", 1);
		} else if (*p == 's') {
			const char *dot = memchr(spec, '.', (size_t)(p - spec));

			if (dot != NULL)
				max = (size_t)(dot[1] == '*'
					? va_arg(*ap, int)
					: (int)strtol(dot + 1, NULL, 10));
			s = va_arg(*ap, char *);
			s = s != NULL ? s : "(null)";
			len = strnlen(s, max);
			/* What stands before it tells what it is. */
			if (spec > fmt && spec[-1] == '=')
				put_value(out, s, len);
			else
				put_escaped(out, s, len,
				    spec > fmt + 1 && spec[-1] == '"' &&
					spec[-2] == '=',
				    0);
		} else {
			put_number(out, spec, (size_t)(p + 1 - spec), ap);
		}
		p++;
	}
}

static void
put_cstr(struct log_text *out, const char *s)
{
	put(out, s, strlen(s));
}

/* No snprintf() for what every line has. */
static void
put_decimal(struct log_text *out, unsigned n, unsigned width)
{
	char text[16];
	unsigned at = sizeof(text);

	do {
		text[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0 || sizeof(text) - at < width);
	put(out, text + at, sizeof(text) - at);
}

static void
put_time(struct log_text *out)
{
	static time_t second = -1; /* that `text` is about */
	static char text[32];
	struct timespec ts;
	struct tm tm;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (ts.tv_sec != second) {
		second = ts.tv_sec;
		(void)gmtime_r(&second, &tm);
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.", &tm);
	}
	put_cstr(out, text);
	put_decimal(out, (unsigned)(ts.tv_nsec / 1000000), 3);
	put_cstr(out, "Z");
}

/* ---- JSON ------------------------------------------------------------------ */

/* As JSON has numbers; printf makes no others that have a leading zero. */
static bool
is_number(const char *s, size_t len)
{
	size_t i = len > 0 && s[0] == '-', digits = strspn(s + i, "0123456789");

	if (digits == 0 || (digits > 1 && s[i] == '0'))
		return false;
	i += digits;
	if (i < len && s[i] == '.') {
		digits = strspn(s + i + 1, "0123456789");
		if (digits == 0)
			return false;
		i += 1 + digits;
	}
	return i == len;
}

/* The bytes of a value: in quotes, or up to a blank. 0: its quote is open. */
static size_t
value_len(const char *s)
{
	if (*s != '"')
		return strcspn(s, " ");
	for (size_t i = 1; s[i] != '\0'; i++)
		if (s[i] == '\\' && s[i + 1] != '\0')
			i++;
		else if (s[i] == '"')
			return i + 1;
	return 0;
}

/* ,"key":value; nothing if it does not fit. */
static void
put_member(struct log_text *out, const char *key, size_t key_len,
    const char *value, size_t len)
{
	size_t before = out->used;

	put(out, ",\"", 2);
	put(out, key, key_len);
	put(out, "\":", 2);
	if (len > 0 && (is_number(value, len) || is_quoted(value, len)))
		put(out, value, len);
	else
		put_quoted(out, value, len);
	if (out->used + sizeof("}\n") < out->size)
		return;
	out->used = before;
	out->buf[before] = '\0';
}

/* "key=value key=value" as members; what is no such pair is the "detail". */
static void
put_members(struct log_text *out, const char *text)
{
	char rest[LINE_MAX_BYTES / 2] = "";
	struct log_text detail = { .buf = rest, .size = sizeof(rest) };

	for (const char *p = text; *p != '\0'; p += *p == ' ') {
		size_t key = strspn(p, "abcdefghijklmnopqrstuvwxyz0123456789_"),
		       len;

		if (key == 0 || p[key] != '=') {
			len = strcspn(p, " ");
			put(&detail, " ", detail.used > 0);
			put(&detail, p, len);
			p += len;
			continue;
		}
		len = value_len(p + key + 1);
		if (len > 0 || p[key + 1] != '"')
			put_member(out, p, key, p + key + 1, len);
		else /* it was cut off */
			put_member(
			    out, p, key, p + key + 2, strlen(p + key + 2));
		p += key + 1 + (len > 0 ? len : strlen(p + key + 1));
	}
	if (*rest != '\0')
		put_member(out, "detail", strlen("detail"), rest, detail.used);
}

/* ---- repeats ----------------------------------------------------------------- */

static struct limited *
limited_of(const char *event)
{
	for (size_t i = 0; i < LIMITED_MAX; i++) {
		struct limited *l = &lg.limited[i];

		if (l->event[0] == '\0') {
			*l = (struct limited){ .credit_ms = BURST * 1000 /
				    LINES_PER_S,
				.at_ms = clock_now_ms() };
			(void)!str_put(l->event, sizeof(l->event), "%s", event);
		}
		if (strncmp(l->event, event, sizeof(l->event) - 1) == 0)
			return l;
	}
	return NULL;
}

static void
limited_refill(struct limited *l)
{
	int64_t now_ms = clock_now_ms();

	if (now_ms > l->at_ms) /* only tests turn it back */
		l->credit_ms += now_ms - l->at_ms;
	l->at_ms = now_ms;
	if (l->credit_ms > BURST * 1000 / LINES_PER_S)
		l->credit_ms = BURST * 1000 / LINES_PER_S;
}

/* May this line be written? */
static bool
limited_take(const char *event)
{
	struct limited *l = limited_of(event);

	if (l == NULL)
		return true;
	limited_refill(l);
	if (l->credit_ms < 1000 / LINES_PER_S) {
		l->left_out++;
		lg.left_out++;
		return false;
	}
	l->credit_ms -= 1000 / LINES_PER_S;
	return true;
}

static void write_line(enum log_level level, const char *event, const char *fmt,
    ...) __attribute__((format(printf, 3, 4)));

/* Tells what was left out of events that have become calm. */
static void
tell_left_out(void)
{
	for (size_t i = 0; lg.left_out > 0 && i < LIMITED_MAX; i++) {
		struct limited *l = &lg.limited[i];
		unsigned n = l->left_out;

		if (n == 0)
			continue;
		limited_refill(l);
		if (l->credit_ms < 1000)
			continue;
		lg.left_out -= n;
		l->left_out = 0;
		write_line(LOG_LEVEL_WARN, "log.suppressed", "of=%s lines=%u",
		    l->event, n);
	}
}

/* ---- a line -------------------------------------------------------------------- */

static void
vwrite_line(
    enum log_level level, const char *event, const char *fmt, va_list *ap)
{
	char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES / 2];
	bool json = lg.format == LOG_FORMAT_JSON;
	struct log_text in = {
		.buf = text, .size = sizeof(text), .strings = json
	};
	struct log_text out = { .buf = line, .size = sizeof(line) };
	int saved = errno;

	text[0] = '\0';
	put_formatted(&in, fmt, ap);
	put_cstr(&out, json ? "{\"time\":\"" : "");
	put_time(&out);
	put_cstr(&out, json ? "\",\"level\":\"" : " ");
	put_cstr(&out, level_name[level]);
	put_cstr(&out, json ? "\",\"program\":\"" : " ");
	put_cstr(&out, lg.program);
	put_cstr(&out, json ? "\",\"process\":" : "[");
	put_decimal(&out, (unsigned)getpid(), 1);
	put_cstr(&out, json ? ",\"event\":\"" : "] ");
	put_cstr(&out, event);
	if (json) {
		put(&out, "\"", 1);
		put_members(&out, text);
		put(&out, "}\n", 2);
	} else {
		put(&out, " ", 1);
		put(&out, text, in.used);
		put(&out, "\n", 1);
	}
	if (lg.sink != NULL) {
		line[out.used - 1] = '\0';
		lg.sink(level, line);
	} else {
		(void)!write(STDERR_FILENO, line, out.used);
	}
	errno = saved;
}

static void
write_line(enum log_level level, const char *event, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vwrite_line(level, event, fmt, &ap);
	va_end(ap);
}

void
log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(level))
		return;
	if (lg.left_out > 0)
		tell_left_out();
	if (level <= LOG_LEVEL_WARN && lg.level < LOG_LEVEL_DEBUG &&
	    !limited_take(event))
		return;
	va_start(ap, fmt);
	vwrite_line(level, event, fmt, &ap);
	va_end(ap);
}

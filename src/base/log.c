/*
 * log.c - formats a line in one buffer and writes it with one call, so that
 * lines of several processes do not mix.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048

static struct {
	const char *program;
	enum log_level level;
	enum log_format format;
	void (*sink)(enum log_level level, const char *line);
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

void
log_set_sink(void (*sink)(enum log_level level, const char *line))
{
	lg.sink = sink;
}

const char *
log_quote(char *buf, size_t size, const char *s)
{
	size_t n = 0;

	if (size < 3)
		return "";
	buf[n++] = '"';
	for (s = s != NULL ? s : ""; *s != '\0' && n + 3 < size; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			buf[n++] = '\\';
		buf[n++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
	buf[n++] = '"';
	buf[n] = '\0';
	return buf;
}

static void
put_time(char *buf, size_t size)
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	n = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, size - n, ".%03ldZ", ts.tv_nsec / 1000000);
}

void
log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES], text[LINE_MAX_BYTES / 2], when[40];
	char quoted[LINE_MAX_BYTES - 200];
	int saved = errno, n;
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_time(when, sizeof(when));
	if (lg.format == LOG_FORMAT_JSON)
		n = snprintf(line, sizeof(line),
		    "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\","
		    "\"pid\":%d,\"event\":\"%s\",\"detail\":%s}\n",
		    when, level_name[level], lg.program, (int)getpid(), event,
		    log_quote(quoted, sizeof(quoted), text));
	else
		n = snprintf(line, sizeof(line), "%s %s %s[%d] %s %s\n", when,
		    level_name[level], lg.program, (int)getpid(), event, text);
	if (n >= (int)sizeof(line)) {
		n = (int)sizeof(line) - 1;
		line[n - 1] = '\n';
	}
	if (lg.sink != NULL) {
		line[n - 1] = '\0';
		lg.sink(level, line);
	} else {
		(void)!write(STDERR_FILENO, line, (size_t)n);
	}
	errno = saved;
}

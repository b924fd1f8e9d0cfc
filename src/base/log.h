/*
 * log.h - one line per event on standard error: a time, a level, an event
 * name and key=value pairs, which are keys and values in JSON, too. Never a
 * secret. docs/LOGS.md has all events and keys.
 *
 * Warnings and errors of one event that come too fast are left out, and
 * counted in a line "log.suppressed".
 *
 *	log_info("rpc.end", "method=%s code=%s ms=%lld", ...);
 *
 * Values come from outside as they like: a "%s" after "=" is put in quotes when
 * it has blanks, quotes or control characters in it, and no string brings a
 * control character or a byte that is not UTF-8 into the log; those are
 * escaped as in JSON. log_quote() is for text that is put together first.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR = 0, /* something is broken and needs a person */
	LOG_LEVEL_WARN,      /* something odd that we got over */
	LOG_LEVEL_INFO,      /* start, stop, RPC ends, sessions, children */
	LOG_LEVEL_DEBUG,     /* state changes */
};

enum log_format {
	LOG_FORMAT_TEXT = 0,
	LOG_FORMAT_JSON,
};

/* `program` must live as long as the process. */
void log_init(
    const char *program, enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
enum log_level log_level(void);
void log_set_level(enum log_level level);
/* "error", "warn", "info" or "debug"; -EINVAL: none of them. */
int log_level_parse(const char *name, enum log_level *level);
const char *log_level_name(enum log_level level);

/*
 * Tests: sends whole lines (without newline) to `sink` instead of standard
 * error; NULL goes back.
 */
void log_set_sink(void (*sink)(enum log_level level, const char *line));

void log_line(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(event, ...) log_line(LOG_LEVEL_ERROR, event, __VA_ARGS__)
#define log_warn(event, ...) log_line(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_info(event, ...) log_line(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_debug(event, ...)                                                  \
	do {                                                                   \
		if (log_enabled(LOG_LEVEL_DEBUG))                              \
			log_line(LOG_LEVEL_DEBUG, event, __VA_ARGS__);         \
	} while (0)

/*
 * Copies `s` (may be NULL) into buf[size] in double quotes, with quotes,
 * backslashes, control characters and what is not UTF-8 escaped as in JSON,
 * and what does not fit cut off. Returns buf.
 */
const char *log_quote(char *buf, size_t size, const char *s);

#endif

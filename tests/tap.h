/*
 * tap.h - the Test Anything Protocol for C tests, all of it.
 *
 *	int main(void)
 *	{
 *		ok(1 + 1 == 2, "addition works");
 *		is_str(name, "rbd", "the name is kept");
 *		return tap_end();
 *	}
 *
 * Test names are sentences. A test that dies in the middle prints no plan,
 * which the harness counts as a failure.
 */
#ifndef TAP_H
#define TAP_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int tap_run, tap_failed;

static inline bool __attribute__((format(printf, 4, 5)))
tap_ok(bool good, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", good ? "" : "not ", ++tap_run);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (!good) {
		tap_failed++;
		printf("# failed at %s:%d\n", file, line);
	}
	fflush(stdout);
	return good;
}

static inline void __attribute__((format(printf, 1, 2)))
diag(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

#define ok(good, ...) tap_ok((good), __FILE__, __LINE__, __VA_ARGS__)

#define is_int(got, want, ...)                                                 \
	do {                                                                   \
		intmax_t got_ = (intmax_t)(got), want_ = (intmax_t)(want);     \
		if (!ok(got_ == want_, __VA_ARGS__))                           \
			diag("got %jd, want %jd", got_, want_);                \
	} while (0)

#define is_str(got, want, ...)                                                 \
	do {                                                                   \
		const char *got_ = (got), *want_ = (want);                     \
		bool same_ = got_ == want_ ||                                  \
		    (got_ != NULL && want_ != NULL &&                          \
			strcmp(got_, want_) == 0);                             \
		if (!ok(same_, __VA_ARGS__))                                   \
			diag("got '%s', want '%s'",                            \
			    got_ != NULL ? got_ : "(null)",                    \
			    want_ != NULL ? want_ : "(null)");                 \
	} while (0)

static inline int
tap_end(void)
{
	printf("1..%d\n", tap_run);
	if (tap_failed > 0)
		printf("# %d of %d failed\n", tap_failed, tap_run);
	return tap_failed == 0 ? 0 : 1;
}

#endif

/*
 * fuzz.h - what all fuzz targets share. A target is one function that takes
 * bytes; libFuzzer calls it (scripts/fuzz), or replay.c does, with the corpus.
 *
 * The rule that holds it together: the same bytes do the same every time, so
 * a target leaves nothing behind and asks no clock but the fake one.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "base/str.h"

#include <stdio.h>

/* By this name libFuzzer knows it. Always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Like assert(), but there in every build. */
#define fuzz_check(good)                                                       \
	do {                                                                   \
		if (!(good)) {                                                 \
			(void)fprintf(stderr, "%s:%d: wrong: %s\n", __FILE__,  \
			    __LINE__, #good);                                  \
			abort();                                               \
		}                                                              \
	} while (0)

/* Input that is taken from the front; zeroes follow its end. */
struct fuzz_input {
	const uint8_t *at;
	size_t len;
};

static inline unsigned
fuzz_byte(struct fuzz_input *in)
{
	if (in->len == 0)
		return 0;
	in->len--;
	return *in->at++;
}

static inline unsigned
fuzz_short(struct fuzz_input *in)
{
	unsigned high = fuzz_byte(in);

	return high << 8 | fuzz_byte(in);
}

/* At most `len` bytes, as many as there are. */
static inline struct fuzz_input
fuzz_take(struct fuzz_input *in, size_t len)
{
	struct fuzz_input taken = *in;

	if (taken.len > len)
		taken.len = len;
	in->at += taken.len;
	in->len -= taken.len;
	return taken;
}

#endif

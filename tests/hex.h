/*
 * hex.h - bytes as tests show them.
 */
#ifndef TESTS_HEX_H
#define TESTS_HEX_H

#include <stdio.h>

/* In lower case; out holds 2 * len + 1. */
static inline void
hex_fmt(char *out, const void *bytes, size_t len)
{
	out[0] = '\0';
	for (size_t i = 0; i < len; i++)
		(void)snprintf(
		    out + 2 * i, 3, "%02x", ((const unsigned char *)bytes)[i]);
}

#endif

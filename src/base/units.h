/*
 * units.h - durations and sizes as people type them, the same in all programs.
 */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include "base/str.h"

/*
 * A duration as Go has it: "90s", "1h30m", "500ms", "0". 0, -EINVAL, or
 * -ERANGE beyond Go's longest.
 */
int units_parse_duration(const char *text, int64_t *ms) must_check;

/* Bytes: "65536", "64KiB" or "64Ki", up to GiB. 0, -EINVAL or -ERANGE. */
int units_parse_bytes(const char *text, int64_t *bytes) must_check;

#endif

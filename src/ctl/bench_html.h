/*
 * bench_html.h - a benchmark's document as a page for people.
 */
#ifndef CTL_BENCH_HTML_H
#define CTL_BENCH_HTML_H

#include "base/json.h"

/*
 * Writes the page: one file with everything in it, no script, which opens
 * without network. Whatever comes from a driver is text there. Returns 0, or
 * a negative errno.
 */
int bench_html_write(
    const char *path, const json_t *document, struct err *err) must_check;

#endif

/*
 * bench_about.h - the document of a benchmark: its circumstances, and then what
 * it has measured.
 */
#ifndef CTL_BENCH_ABOUT_H
#define CTL_BENCH_ABOUT_H

#include "ctl/bench.h"

/*
 * {"format", "tool", "run", "kind", "began", "host", "driver", "options",
 * "phases": []}; the caller owns it. `run` may be NULL.
 */
json_t *bench_document(const struct bench_plan *plan, const char *run);

/*
 * The end: adds how long it took and whether it was interrupted, prints it if
 * it was not printed before, and writes the page of --html. False: that could
 * not be written, and standard error says so.
 */
bool bench_document_end(const struct bench_plan *plan, json_t *document);

#endif

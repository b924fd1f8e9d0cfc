/*
 * bench_print.h - the results of a benchmark for people and for programs. A
 * table and CSV are printed phase by phase, as they end; JSON once, at the end.
 */
#ifndef CTL_BENCH_PRINT_H
#define CTL_BENCH_PRINT_H

#include "base/json.h"

enum bench_format {
	BENCH_TABLE = 0,
	BENCH_CSV,
	BENCH_JSON,
};

/* "table", "csv" or "json"; NULL: a table. */
enum bench_format bench_format_of(const char *text);

/* Before the first phase. */
void bench_print_head(enum bench_format format);

/* A phase, as result_json() has it, with so many callers (0: no limit). */
void bench_print_phase(
    enum bench_format format, size_t callers, const json_t *phase);

/* The whole document: JSON prints it, the others have. */
void bench_print_end(enum bench_format format, const json_t *document);

/* What bench_compare.h gives. */
void bench_print_compared(
    enum bench_format format, json_t *rows, json_t *differ);

#endif

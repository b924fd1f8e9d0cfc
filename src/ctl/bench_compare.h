/*
 * bench_compare.h - two results of `bench ... -o json`, figure by figure.
 */
#ifndef CTL_BENCH_COMPARE_H
#define CTL_BENCH_COMPARE_H

#include "ctl/bench_print.h"

/*
 * Rows of {"callers", "phase", "name", "figure", "a", "b", "ratio", "low",
 * "high", "verdict"} for what both have: the rates, and mean, p50, p90 and p99
 * of times. low and high bound B / A with 95 % confidence; they are absent
 * where there is too little to tell. The caller owns them.
 */
json_t *bench_compare_rows(const json_t *a, const json_t *b);

/* What else differs between them: texts. The caller owns them. */
json_t *bench_compare_circumstances(const json_t *a, const json_t *b);

#endif

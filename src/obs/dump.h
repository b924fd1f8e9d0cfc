/*
 * dump.h - what lives right now, as text: operations with their state, age
 * and trail, children, and what other modules add. For SIGUSR1 and whoever
 * asks later.
 */
#ifndef OBS_DUMP_H
#define OBS_DUMP_H

#include "base/buf.h"

/* Adds lines of a module to each dump; at most 8 of them. */
void dump_add_source(void (*source)(struct buf *out));

void dump_text(struct buf *out);

/* One log line for each line of the text; a handler of SIGUSR1. */
void dump_log(int signo);

#endif

/*
 * trace.h - the requests that have ended last, with the time of each of their
 * states: what the Admin service's Trace tells.
 *
 * The rule that holds it together: a ring of fixed length, whose entries own
 * their text; the oldest one makes room.
 */
#ifndef DAEMON_TRACE_H
#define DAEMON_TRACE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define TRACE_MAX 1024

struct trace_entry {
	int64_t ended_ms;   /* of the wall clock */
	int64_t ms;         /* from arrival to end */
	uint64_t id;        /* "op" in the log */
	const char *method; /* string constant */
	enum err_code code;
	const char *key;    /* what it was about */
	const char *states; /* "STATE:ms,..." */
	const char *text;   /* of its failure, or "" */
};

/* Notes the end of a request; key, states and text are copied. */
void trace_add(const struct trace_entry *ended);

/* The i-th, the newest first; NULL: there are no more. */
const struct trace_entry *trace_at(size_t i);
void trace_fini(void);

#endif

/*
 * trace.h - the requests that have ended last, with the time of each of their
 * states: what the Admin service's Trace tells.
 *
 * The rule that holds it together: a ring of fixed length, whose entries own
 * their text; the oldest one makes room.
 */
#ifndef DAEMON_TRACE_H
#define DAEMON_TRACE_H

#include "daemon/request.h"

#define TRACE_MAX 1024

struct trace_entry {
	int64_t ended_ms; /* of the wall clock */
	int64_t ms;       /* from arrival to end */
	uint64_t id;      /* "op" in the log */
	const char *method;
	enum err_code code;
	char *key;    /* what it was about */
	char *states; /* "STATE:ms,..." */
	char *text;   /* of its failure, or "" */
};

/* Called at the end of each request. */
void trace_add(const struct request *r);

/* The i-th, the newest first; NULL: there are no more. */
const struct trace_entry *trace_at(size_t i);
void trace_fini(void);

#endif

/*
 * caller.h - a client with a few calls under way, for the fuzz targets that
 * play its server. Each call must end, once, whatever the server says.
 */
#ifndef TESTS_FUZZ_CALLER_H
#define TESTS_FUZZ_CALLER_H

#include "tests/fuzz/fuzz.h"

enum caller_end {
	CALLER_CLOSE = 0, /* the server closes all connections */
	CALLER_TIME,      /* the deadlines are over */
	CALLER_CANCEL,    /* the calls are taken back */
};

/*
 * Starts `count` (1 to 4) calls, of one message each way or of many: one bit
 * of `kinds` each says which.
 */
void caller_start(unsigned count, unsigned kinds, bool connect_per_call);

/* Starts one more, if there is room for it. */
void caller_add(bool many);

/* Sends to the newest connection, or to an older one. */
void caller_say(unsigned back, const void *bytes, size_t len);
void caller_hang_up(unsigned back);

/* Until nothing moves any more. */
void caller_run(void);

/* How it ends; checks that it does. */
void caller_end(enum caller_end how);

/* What a server sends first: SETTINGS, and an acknowledgement of ours. */
extern const unsigned char caller_hello[18];

#endif

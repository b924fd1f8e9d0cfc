/*
 * talks.h - conversations of each kind with the service of ledger.h.
 */
#ifndef TESTS_RPC_TALKS_H
#define TESTS_RPC_TALKS_H

#include "tests/rpc/script.h"

struct talk {
	const char *name;
	void (*write)(struct script *script);
	bool timed;  /* the calls have a deadline of 5 s */
	bool races;  /* it depends on time whether some calls are answered */
	bool varies; /* so it does whether any call is, and how */
	bool lasts;  /* calls that wait for their client, until a drain */
	struct server_limits limits;
};

extern const struct talk talks[];
extern const size_t talk_count;

/* The script of a talk; script_fini() is the caller's. */
void talk_script(const struct talk *talk, struct script *script);

#endif

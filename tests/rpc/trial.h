/*
 * trial.h - what the sweeps have in common: a server, a client, a clock and
 * books, made anew for each trial, so that each is judged by itself, memory
 * included.
 */
#ifndef TESTS_RPC_TRIAL_H
#define TESTS_RPC_TRIAL_H

#include "tests/rpc/ledger.h"
#include "tests/rpc/talks.h"
#include "tests/rpc/wire.h"

#include <stdint.h>

#define TRIAL_IDLE_MS (INT64_C(600) * 1000)
#define TRIAL_LONG_MS (INT64_C(1200) * 1000) /* longer than any timer */

extern struct server *trial_server; /* NULL: ended */
extern struct wire trial_wire;

/* Prepares log, loop and memory; the first thing in main(). */
void trial_init(char **argv);

void trial_begin(
    const struct talk *talk, enum ledger_mode mode, enum ledger_gone gone);

/* Time passes, and what follows from it happens. */
void trial_pass(int64_t ms);

/* Notes what is wrong with this trial; the first one counts. */
void trial_expect(bool good, const char *what);
void trial_expect_counts(size_t calls, size_t connections);
/* The judge of wire.h is content; see there. */
void trial_expect_order(bool cut, char *answers);

void trial_end_server(void); /* no effect if it has ended */

/*
 * One trial of its own: the answers to all of it, when it is sent in pieces of
 * so many bytes. Returns what was wrong, or NULL.
 */
const char *trial_talk(const struct talk *talk, const struct script *script,
    size_t piece, char *answers);

/* Each talk once: what is allocated once and kept is allocated then. */
void trial_warm_up(void);

/* Ends server and client, closes the books. NULL, or what was wrong. */
const char *trial_end(void);

/* Trials of one kind, and how many went wrong; says why for the first few. */
struct tally {
	unsigned trials, failed;
};
bool tally_count(struct tally *tally, const char *wrong);

/* At most so far from the end of a frame. */
bool trial_near_border(const struct script *script, size_t at, size_t distance);

#endif

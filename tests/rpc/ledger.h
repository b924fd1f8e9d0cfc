/*
 * ledger.h - a service that keeps books: each call that reaches a handler is
 * written down and has to end exactly once, by its answer or by gone().
 *
 *	/s.S/Unary	answers with the request
 *	/s.S/Fail	fails ABORTED with the request as text
 *	/s.S/Count	"N SIZE": sends N messages of SIZE bytes
 *	/s.S/Sum	reads all messages, answers "COUNT BYTES"
 *	/s.S/Echo	sends each message back as it comes
 *	/s.S/Early	fails at once and reads nothing; its client streams
 *	/s.S/Eager	sends one message before it reads any, then as Sum
 *	/s.S/Meta	answers with the metadata of the request
 *	/s.S/Details	fails ABORTED with details
 */
#ifndef TESTS_RPC_LEDGER_H
#define TESTS_RPC_LEDGER_H

#include "rpc/call.h"

extern const struct rpc_service ledger_service;
extern const struct router ledger_router; /* nothing but that */

/* When a handler that has all it needs answers. */
enum ledger_mode {
	LEDGER_NOW = 0, /* inside the callback that told it so */
	LEDGER_LATER,   /* in the next turn of the loop */
	LEDGER_HELD,    /* not before ledger_release() or ledger_end_all() */
};

/* What a handler does inside gone(). */
enum ledger_gone {
	LEDGER_FORGETS = 0,
	LEDGER_LAST_WORDS, /* a deadline: answers the call itself */
	LEDGER_HANDS_OVER, /* answers all other calls, as if they had waited */
};

/* Empties the books. */
void ledger_start(enum ledger_mode mode, enum ledger_gone gone);

/* From now on as LEDGER_NOW, also those that are held. */
void ledger_release(void);

/*
 * Each open call is ended from outside its callbacks, wherever it is: in
 * turns with OK, a message or an error.
 */
void ledger_end_all(void);

size_t ledger_open(void);
unsigned ledger_started(void);

/*
 * Closes the books. NULL, or what is wrong: a call that has not ended, ended
 * twice, or was told something after its end.
 */
const char *ledger_close(void);

#endif

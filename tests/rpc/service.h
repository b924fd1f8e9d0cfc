/*
 * service.h - what the tests of the server call.
 *
 *	/test.T/Echo	answers with the request
 *	/test.T/Big	answers with as many bytes as the request says (decimal)
 *	/test.T/Fail	fails NOT_FOUND with the request as text
 *	/test.T/Wait	keeps the call until service_answer()
 */
#ifndef TESTS_RPC_SERVICE_H
#define TESTS_RPC_SERVICE_H

#include "rpc/server.h"

extern const struct router service_router;

/* Calls of Wait: how many are kept, and how they went. */
extern unsigned service_waiting;
extern unsigned service_gone[3];       /* by enum call_gone */
extern int64_t service_deadline_ms;    /* of the newest call */
extern const char *service_last_words; /* sent when the deadline comes */

void service_answer(void); /* answers all that wait */

#endif

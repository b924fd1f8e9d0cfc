/*
 * manyservice.h - what tests of the client call: a service whose calls have
 * many messages. One call of it at a time.
 *
 *	/t.S/Count	sends many.to_send messages of many.size bytes
 *	/t.S/Sum	answers with the number of messages and of bytes
 *	/t.S/Echo	sends each message back
 *	/t.S/Fail	reads one, sends "one" and "two", then fails ABORTED
 *			with details
 *	/t.S/Meta	sends the metadata "x-text" back before its answer,
 *			and "x-data-bin" behind it
 *	/t.S/MetaFail	fails at once, with metadata
 */
#ifndef TESTS_RPC_MANYSERVICE_H
#define TESTS_RPC_MANYSERVICE_H

#include "rpc/server.h"

struct many {
	struct call *open; /* NULL: it has ended */
	unsigned gone[3];  /* by enum call_gone */
	unsigned messages; /* read */
	size_t bytes;      /* of them */
	unsigned sent, to_send;
	size_t size;
	bool held; /* the first message is not read */
};

extern struct many many;
extern const struct router many_router;

void many_fail(void); /* Fail does so before it has read anything */

#endif

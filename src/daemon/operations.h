/*
 * operations.h - Admin/ListOperations: what runs now.
 */
#ifndef DAEMON_OPERATIONS_H
#define DAEMON_OPERATIONS_H

#include "rpc/call.h"

/*
 * Serves a call: sends the list once, or each time that it has changed, until
 * the caller goes or the server leaves.
 */
void operations_list(struct call *call);

#endif

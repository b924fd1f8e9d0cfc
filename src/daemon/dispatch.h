/*
 * dispatch.h - from a call to its execution and back: who serves it, which
 * lock it needs, whether it is a retry of what runs already.
 */
#ifndef DAEMON_DISPATCH_H
#define DAEMON_DISPATCH_H

#include "csi/rpc.h"
#include "daemon/config.h"
#include "daemon/identity.h"
#include "rpc/call.h"

struct dispatch_setup {
	struct identity identity;
	const struct config *config;
	const struct csi_impl *node; /* Node RPCs that run in this process */
	size_t node_count;
	int64_t slow_ms; /* report executions older than this; 0: never */
};

void dispatch_init(const struct dispatch_setup *setup);
void dispatch_fini(void); /* nothing may run any more */

/*
 * Takes any call of a CSI service (router.fallback), and ends it now or
 * later. An execution that has lost its last caller goes on; it is stopped
 * early, where that is safe, when nobody has asked again for a while.
 */
void dispatch_call(struct call *call);

/* Executions, also those without a caller. */
size_t dispatch_running(void);

/* Calls `idle` from the loop once nothing runs (at once, if so already). */
void dispatch_when_idle(void (*idle)(void));

#endif

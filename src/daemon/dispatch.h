/*
 * dispatch.h - from a call to whoever serves it.
 */
#ifndef DAEMON_DISPATCH_H
#define DAEMON_DISPATCH_H

#include "daemon/identity.h"
#include "daemon/request.h"

struct dispatch_setup {
	struct identity identity;
	struct requests_setup requests;
};

void dispatch_init(const struct dispatch_setup *setup);
void dispatch_fini(void); /* nothing may run any more */

/* Takes any call of a CSI service (router.fallback), ends it now or later. */
void dispatch_call(struct call *call);

#endif

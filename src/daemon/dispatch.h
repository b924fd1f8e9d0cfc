/*
 * dispatch.h - from a call to whoever serves it; the RPCs that the daemon
 * answers from what it knows: who it is, what it serves, which node this is.
 */
#ifndef DAEMON_DISPATCH_H
#define DAEMON_DISPATCH_H

#include "daemon/labels.h"
#include "daemon/request.h"

struct dispatch_setup {
	const char *driver_name;
	const char *node_id;
	const struct labels *labels; /* of the node; NULL: none are known */
	const char
	    *domain_labels;  /* those that are topology domains; has all */
	int64_t max_volumes; /* 0: not told */
	bool controller;     /* the Controller service is served */
	bool node;           /* the Node service is served */
	struct requests_setup requests;
};

void dispatch_init(const struct dispatch_setup *setup);
void dispatch_fini(void); /* nothing may run any more */

/* Takes any call of a CSI service (router.fallback), ends it now or later. */
void dispatch_call(struct call *call);

#endif

/*
 * router.h - from a request's path to its handler, by const tables.
 */
#ifndef RPC_ROUTER_H
#define RPC_ROUTER_H

#include "rpc/call.h"

/* Ends the call, at once or later. */
typedef void call_handler(struct call *call);

struct rpc_method {
	const char *name; /* "NodeStageVolume" */
	call_handler *start;
};

struct rpc_service {
	const char *name; /* "csi.v1.Node" */
	const struct rpc_method *methods;
	size_t method_count;
};

struct router {
	const struct rpc_service *const *services;
	size_t service_count;
	/*
	 * Gets each well-formed "/service/method" whose service is not in the
	 * table, and ends the call like any handler; NULL: UNIMPLEMENTED.
	 */
	call_handler *fallback;
};

/*
 * The handler for a path, or NULL: then `err` says UNIMPLEMENTED and why. A
 * path that does not begin with '/' matches nothing (CVE-2026-33186).
 */
call_handler *router_find(
    const struct router *router, const char *path, struct err *err);

#endif

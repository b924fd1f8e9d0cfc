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
	/*
	 * The client sends any number of messages: the handler is called as
	 * soon as the headers are there, and reads them by stream_read(). If
	 * false, it is called with the one message in call->request.
	 */
	bool client_streams;
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
	 * table, like any method; without `start`: UNIMPLEMENTED.
	 */
	struct rpc_method fallback;
	/*
	 * Told of each call that ends, also of those that reached no handler,
	 * with the path as sent and microseconds since it began. May be NULL.
	 */
	void (*ended)(const char *path, enum err_code code, int64_t us);
};

/*
 * The method for a path, or NULL: then `err` says UNIMPLEMENTED and why. A
 * path that does not begin with '/' matches nothing (CVE-2026-33186).
 */
const struct rpc_method *router_find(
    const struct router *router, const char *path, struct err *err);

#endif

/*
 * health.h - grpc.health.v1: Check, List and Watch. Sources: grpc/grpc
 * doc/health-checking.md, gRFC A90.
 */
#ifndef RPC_HEALTH_H
#define RPC_HEALTH_H

#include "rpc/call.h"

extern const struct rpc_service health_service;

/*
 * Everything in `services` is SERVING from now on, and so is the server as a
 * whole, which goes by the empty name. The names must outlive the service.
 */
void health_init(const char *const *services, size_t count);

/*
 * Before the server drains: all is NOT_SERVING for good, and those who watch
 * are told so. The drain then ends their calls.
 */
void health_shutdown(void);

#endif

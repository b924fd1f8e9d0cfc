/*
 * testservice.h - grpc.testing.TestService, which gRPC's own interoperability
 * clients call; source: grpc/grpc doc/interop-test-descriptions.md. There is
 * no compression: a compressed request is refused before it comes here.
 */
#ifndef TESTS_INTEROP_TESTSERVICE_H
#define TESTS_INTEROP_TESTSERVICE_H

#include "rpc/call.h"

extern const struct rpc_service testservice;

#endif

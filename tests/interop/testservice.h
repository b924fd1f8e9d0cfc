/*
 * testservice.h - grpc.testing.TestService, which gRPC's own interoperability
 * clients call; source: grpc/grpc doc/interop-test-descriptions.md. Not here:
 * echoed metadata, compression.
 */
#ifndef TESTS_INTEROP_TESTSERVICE_H
#define TESTS_INTEROP_TESTSERVICE_H

#include "rpc/router.h"

extern const struct rpc_service testservice;

#endif

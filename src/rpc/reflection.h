/*
 * reflection.h - server reflection v1 and v1alpha: which services there are,
 * and the files that describe them, so that grpcurl needs no .proto file.
 * Source: grpc/grpc doc/server-reflection.md.
 */
#ifndef RPC_REFLECTION_H
#define RPC_REFLECTION_H

#include "rpc/call.h"

extern const struct rpc_service reflection_v1, reflection_v1alpha;

/*
 * `set` is a google.protobuf.FileDescriptorSet with all imports, as protoc
 * --include_imports --descriptor_set_out makes it; `services` are the names
 * told. Both must outlive the service. Returns 0 or -EBADMSG.
 */
int reflection_init(const void *set, size_t set_len,
    const char *const *services, size_t count) must_check;

#endif

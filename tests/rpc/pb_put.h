/*
 * pb_put.h - protobuf's wire format, written field by field: for messages that
 * no generated code would make.
 */
#ifndef TESTS_RPC_PB_PUT_H
#define TESTS_RPC_PB_PUT_H

#include "base/pb.h"

/* Append a field; 0 or -EMSGSIZE. */
int pb_put(
    struct buf *out, unsigned number, const void *bytes, size_t len) must_check;
int pb_put_varint(struct buf *out, unsigned number, uint64_t value) must_check;

#endif

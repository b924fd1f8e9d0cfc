/*
 * json_pb.h - protobuf messages as JSON and back, by protobuf's own mapping
 * (proto3 JSON): lowerCamelCase names, 64-bit numbers as strings, enums by
 * name, and written only, since no request has them: timestamps as RFC 3339,
 * wrappers as plain values.
 *
 * Reading is liberal where that mapping is (original field names, numbers or
 * strings, enums by number) and strict elsewhere: an unknown field is an
 * error, because a mistyped field that is left out in silence does harm.
 */
#ifndef CTL_JSON_PB_H
#define CTL_JSON_PB_H

#include "base/arena.h"
#include "base/json.h"

#include <protobuf-c/protobuf-c.h>

/*
 * A message of `type` from a JSON object, in the arena. NULL with INVALID_ARGUMENT whose text begins with the
 * path of the value, as in "volumeCapabilities[0].mount.fsTypo: ...".
 */
ProtobufCMessage *json_pb_read(const ProtobufCMessageDescriptor *type,
    const json_t *json, struct arena *arena, struct err *err);

/*
 * The JSON of a message; fields with default values are left out. The caller
 * owns the reference. NULL with INTERNAL if a string is not UTF-8 or a
 * timestamp out of range.
 */
json_t *json_pb_write(const ProtobufCMessage *message, struct err *err);

#endif

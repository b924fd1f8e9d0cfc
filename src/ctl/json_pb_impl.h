/*
 * json_pb_impl.h - shared by json_pb*.c, for nobody else.
 */
#ifndef CTL_JSON_PB_IMPL_H
#define CTL_JSON_PB_IMPL_H

#include "ctl/json_pb.h"

enum json_pb_kind {
	JSON_PB_OBJECT = 0, /* a message like any other */
	JSON_PB_TIMESTAMP,  /* google.protobuf.Timestamp: a string */
	JSON_PB_WRAPPER,    /* google.protobuf.Int64Value, ...: its value */
};

enum json_pb_kind json_pb_kind_of(const ProtobufCMessageDescriptor *type);

#define JSON_PB_NAME_MAX 64 /* the longest field name of CSI has 25 */

/* "volume_id" as "volumeId". */
void json_pb_camel(char *out, size_t size, const char *name);

/* Seconds that a timestamp may have: years 1 to 9999. */
#define JSON_PB_SECONDS_MIN INT64_C(-62135596800)
#define JSON_PB_SECONDS_MAX INT64_C(253402300799)
#define JSON_PB_NANOS 1000000000

#endif

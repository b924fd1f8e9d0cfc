/*
 * reflect.h - looking at any message through its descriptor: for code that
 * treats all fields alike (fingerprints, text checks, JSON).
 */
#ifndef CSI_REFLECT_H
#define CSI_REFLECT_H

#include "base/str.h"

#include <protobuf-c/protobuf-c.h>

/*
 * How many values a field has: the elements of a repeated field; of a
 * singular one 1 if it is set (a scalar: differs from its default), else 0.
 */
size_t reflect_count(
    const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/* Where a repeated field has its count. */
size_t *reflect_counter(
    ProtobufCMessage *message, const ProtobufCFieldDescriptor *field);

/*
 * The address of value `i`: of a char * for strings, of a ProtobufCMessage *
 * for messages, of the number itself otherwise.
 */
const void *reflect_at(const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, size_t i);

/* The size of one value as it lies in a message or an array. */
size_t reflect_size(ProtobufCType type);

/* Whether the field was declared as a map. */
bool reflect_is_map(const ProtobufCFieldDescriptor *field);

/* The string in the field of this name; "": there is none. */
const char *reflect_text(const ProtobufCMessage *message, const char *name);

/* The message type of a message field. */
const ProtobufCMessageDescriptor *reflect_type(
    const ProtobufCFieldDescriptor *field);

#endif

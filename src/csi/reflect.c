/*
 * reflect.c - field access by descriptor.
 */
#include "csi/reflect.h"

#include <string.h>

const ProtobufCMessageDescriptor *
reflect_type(const ProtobufCFieldDescriptor *field)
{
	return field->descriptor;
}

size_t
reflect_size(ProtobufCType type)
{
	switch ((int)type) {
	case PROTOBUF_C_TYPE_MESSAGE:
	case PROTOBUF_C_TYPE_STRING:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return sizeof(uint64_t);
	default: /* 32-bit numbers, enums, bools */
		return sizeof(uint32_t);
	}
}

static const void *
member(const ProtobufCMessage *message, unsigned offset)
{
	return (const char *)message + offset;
}

static bool
is_set(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	const void *value = member(message, field->offset);
	static const unsigned char zero[sizeof(ProtobufCBinaryData)];
	const char *s;

	if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
		return *(const uint32_t *)member(
			   message, field->quantifier_offset) == field->id;
	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(ProtobufCMessage *const *)value != NULL;
	case PROTOBUF_C_TYPE_STRING:
		s = *(char *const *)value;
		return s != NULL && *s != '\0';
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)value)->len > 0;
	default:
		return memcmp(value, zero, reflect_size(field->type)) != 0;
	}
}

size_t
reflect_count(
    const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return *(const size_t *)member(
		    message, field->quantifier_offset);
	return is_set(message, field) ? 1 : 0;
}

size_t *
reflect_counter(
    ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
	return (size_t *)(uintptr_t)member(message, field->quantifier_offset);
}

const void *
reflect_at(const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, size_t i)
{
	const void *value = member(message, field->offset);

	if (field->label != PROTOBUF_C_LABEL_REPEATED)
		return value;
	return *(const char *const *)value + i * reflect_size(field->type);
}

bool
reflect_is_map(const ProtobufCFieldDescriptor *field)
{
	const ProtobufCMessageDescriptor *type;

	if (field->label != PROTOBUF_C_LABEL_REPEATED ||
	    field->type != PROTOBUF_C_TYPE_MESSAGE)
		return false;
	type = reflect_type(field);
	return str_ends(type->short_name, "Entry") && type->n_fields == 2 &&
	    type->fields[0].id == 1 && type->fields[1].id == 2 &&
	    strcmp(type->fields[0].name, "key") == 0 &&
	    strcmp(type->fields[1].name, "value") == 0;
}

const char *
reflect_text(const ProtobufCMessage *message, const char *name)
{
	const ProtobufCFieldDescriptor *field =
	    protobuf_c_message_descriptor_get_field_by_name(
		message->descriptor, name);
	const char *text = NULL;

	if (field != NULL && field->type == PROTOBUF_C_TYPE_STRING &&
	    field->label != PROTOBUF_C_LABEL_REPEATED)
		memcpy(&text, reflect_at(message, field, 0), sizeof(text));
	return text != NULL ? text : "";
}

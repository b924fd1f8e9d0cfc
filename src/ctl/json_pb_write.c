/*
 * json_pb_write.c - from a message to JSON. A NULL json_t means that something
 * below could not be written; json_pb_write() says so once, at the end.
 */
#include "csi/reflect.h"
#include "ctl/json_pb_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

static json_t *write_message(const ProtobufCMessage *message);

/* 64-bit numbers are strings: readers of JSON may have no such integers. */
static json_t *
write_signed64(int64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, value);
	return json_string(text);
}

static json_t *
write_unsigned64(uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_string(text);
}

static json_t *
write_double(double d)
{
	if (isnan(d))
		return json_string("NaN");
	if (isinf(d))
		return json_string(d < 0 ? "-Infinity" : "Infinity");
	return json_real(d);
}

static json_t *
write_bytes(const ProtobufCBinaryData *data)
{
	auto_free char *text = mem_new(str_base64_len(data->len));

	str_base64(text, data->data, data->len);
	return json_string(text);
}

static json_t *
write_enum(const ProtobufCEnumDescriptor *type, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
	    type, value);

	return v != NULL ? json_string(v->name) : json_integer(value);
}

static json_t *
write_value(const ProtobufCFieldDescriptor *field, const void *value)
{
	switch ((int)field->type) {
	case PROTOBUF_C_TYPE_MESSAGE:
		return write_message(*(ProtobufCMessage *const *)value);
	case PROTOBUF_C_TYPE_STRING:
		return json_string(*(char *const *)value);
	case PROTOBUF_C_TYPE_BYTES:
		return write_bytes(value);
	case PROTOBUF_C_TYPE_BOOL:
		return json_boolean(*(const protobuf_c_boolean *)value);
	case PROTOBUF_C_TYPE_ENUM:
		return write_enum(field->descriptor, *(const int *)value);
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		return json_integer(*(const uint32_t *)value);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return write_signed64(*(const int64_t *)value);
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		return write_unsigned64(*(const uint64_t *)value);
	case PROTOBUF_C_TYPE_FLOAT:
		return write_double((double)*(const float *)value);
	case PROTOBUF_C_TYPE_DOUBLE:
		return write_double(*(const double *)value);
	default: /* the signed 32-bit kinds */
		return json_integer(*(const int32_t *)value);
	}
}

static json_t *
write_array(const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, size_t count)
{
	auto_json json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(array,
			write_value(field, reflect_at(message, field, i))) < 0)
			return NULL;
	return take_ptr(&array);
}

static json_t *
write_map(const ProtobufCMessage *message,
    const ProtobufCFieldDescriptor *field, size_t count)
{
	auto_json json_t *object = json_object();
	const ProtobufCMessageDescriptor *type = reflect_type(field);

	for (size_t i = 0; i < count; i++) {
		const ProtobufCMessage *entry = *(
		    ProtobufCMessage *const *)reflect_at(message, field, i);
		const char *key = *(char *const *)reflect_at(
		    entry, &type->fields[0], 0);

		if (json_object_set_new(object, key,
			write_value(&type->fields[1],
			    reflect_at(entry, &type->fields[1], 0))) < 0)
			return NULL;
	}
	return take_ptr(&object);
}

static json_t *
write_object(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	auto_json json_t *object = json_object();

	for (unsigned f = 0; f < type->n_fields; f++) {
		const ProtobufCFieldDescriptor *field = &type->fields[f];
		size_t count = reflect_count(message, field);
		char name[JSON_PB_NAME_MAX];
		json_t *value;

		if (count == 0)
			continue;
		if (reflect_is_map(field))
			value = write_map(message, field, count);
		else if (field->label == PROTOBUF_C_LABEL_REPEATED)
			value = write_array(message, field, count);
		else
			value = write_value(
			    field, reflect_at(message, field, 0));
		json_pb_camel(name, sizeof(name), field->name);
		if (json_object_set_new(object, name, value) < 0)
			return NULL;
	}
	return take_ptr(&object);
}

/* With as many digits of the fraction as are needed: none, 3, 6 or 9. */
static json_t *
write_timestamp(const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	int64_t seconds = *(const int64_t *)reflect_at(
	    message, &type->fields[0], 0);
	int32_t nanos = *(const int32_t *)reflect_at(
	    message, &type->fields[1], 0);
	time_t t = (time_t)seconds;
	char text[48], fraction[16] = "";
	struct tm tm;

	if (seconds < JSON_PB_SECONDS_MIN || seconds > JSON_PB_SECONDS_MAX ||
	    nanos < 0 || nanos >= JSON_PB_NANOS || gmtime_r(&t, &tm) == NULL)
		return NULL;
	if (nanos % 1000 != 0)
		(void)snprintf(fraction, sizeof(fraction), ".%09d", nanos);
	else if (nanos % 1000000 != 0)
		(void)snprintf(
		    fraction, sizeof(fraction), ".%06d", nanos / 1000);
	else if (nanos != 0)
		(void)snprintf(
		    fraction, sizeof(fraction), ".%03d", nanos / 1000000);
	(void)snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d%sZ",
	    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
	    tm.tm_sec, fraction);
	return json_string(text);
}

static json_t *
write_message(const ProtobufCMessage *message)
{
	const ProtobufCFieldDescriptor *first = message->descriptor->fields;

	switch (json_pb_kind_of(message->descriptor)) {
	case JSON_PB_TIMESTAMP:
		return write_timestamp(message);
	case JSON_PB_WRAPPER:
		return write_value(first, reflect_at(message, first, 0));
	case JSON_PB_OBJECT:
		break;
	}
	return write_object(message);
}

json_t *
json_pb_write(const ProtobufCMessage *message, struct err *err)
{
	json_t *json = write_message(message);

	if (json == NULL)
		(void)err_set(err, ERR_INTERNAL,
		    "%s: holds text that is not "
		    "UTF-8 or a time out of range",
		    message->descriptor->short_name);
	return json;
}
